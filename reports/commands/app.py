"""The shell's `mixtures`: its commands, one a file."""

from __future__ import annotations

import typer

from reports.commands.bench import bench
from reports.commands.calibrate import calibrate
from reports.commands.compare import compare
from reports.commands.datasets import datasets
from reports.commands.overfit import overfit
from reports.commands.report import report
from reports.commands.select import select

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Fit one mixture model by several methods and see how far to trust each.",
)

for command in (compare, select, datasets, report, bench, overfit, calibrate):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="mixtures")


if __name__ == "__main__":
    main()
