"""The shell's `mixtures`: where it starts. What takes time to load is loaded once signals are heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.commands import stopping

if TYPE_CHECKING:
    from reports.commands.parser import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the console script."""
    stopping.listen()
    from reports.comparison.loading import loading, seldom, without_docstrings

    without_docstrings()
    with loading():
        from reports.commands.folders import spare_matplotlib
        from reports.commands.parser import app
        from reports.commands.terminal import replace_unknown

    seldom()
    spare_matplotlib()
    replace_unknown()
    app(prog_name="mixtures")


def __getattr__(name: str) -> Any:
    """The commands, when they are first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reports.commands import parser

    return parser.app


if __name__ == "__main__":
    main()
