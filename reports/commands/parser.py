"""The commands of the shell's `mixtures`, one a file, and how it refuses what they cannot read."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reports.commands.bench import bench
from reports.commands.calibrate import calibrate
from reports.commands.compare import compare
from reports.commands.datasets import datasets
from reports.commands.environment import settle
from reports.commands.options import INTERRUPTED, UNUSABLE, refuse
from reports.commands.overfit import overfit
from reports.commands.report import report
from reports.commands.select import select
from reports.commands.stopping import Ending, begin, close_output, so_far
from reports.commands.terminal import err, say
from reports.commands.validate import validate

COMMANDS: dict[Callable[..., None], str] = {
    compare: "Fit one mixture by several methods and compare them.",
    select: "Choose the number of clusters K.",
    validate: "Hold your own posterior of any PyMC model against a trusted one.",
    datasets: "List the built-in data sets.",
    report: "Write the page of an earlier comparison again.",
    bench: "Measure how fast this machine is.",
    overfit: "Study how much EM overfits on few data.",
    calibrate: "Check whether stated uncertainties are right.",
}

# What the parser of options raises: click's, which typer has or holds a copy of.
Refused: type[Exception] = typer.BadParameter.__mro__[2]


class Commands(TyperGroup):
    """The commands; what is wrong with options is said in one line, as all else that is wrong."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command, and leave with its exit code unless that is wanted back."""
        leave = settings.get("standalone_mode", True)
        try:
            code = super().main(*args, **settings | {"standalone_mode": False})
        except Refused as error:
            say(f"error: {_sentence(error)}", err, "red")
            code = UNUSABLE
        except typer.Abort:
            say("interrupted", err, "red")
            code = INTERRUPTED
        except ImportError as error:
            say(f"error: a library cannot be loaded ({error})", err, "red")
            code = UNUSABLE
        except OSError as error:
            if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EIO):
                raise  # else it is of an output, since what is written elsewhere has a name
            close_output(1)
            with suppress(OSError):
                say(f"error: the output cannot be written ({error.strerror}); {so_far()}", err, "red")
            close_output(2)
            code = UNUSABLE
        if leave:
            sys.exit(code)
        return code

    def invoke(self, context: Any) -> Any:
        """Run the command that was asked for; a signal ends it by one line."""
        with Ending(lambda line: say(line, err, "red"), typer.Exit):
            begin()
            return super().invoke(context)


def _sentence(error: Any) -> str:
    """What the parser says, beginning as our own messages do, and where to read on."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    command = error.ctx.command_path if error.ctx else "mixtures"
    return f"{text[0].lower()}{text[1:]} (see {command} --help)"


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for command, words in COMMANDS.items():
    app.command(short_help=words)(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mixtures {version('mixtures')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fit one mixture model by several methods and see how far to trust each."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(UNUSABLE)
    settle()
    try:
        Path.cwd()
    except OSError as error:  # it was deleted
        refuse(ValueError(f"the working folder cannot be used ({error.strerror}); change to another"))
