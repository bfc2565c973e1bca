"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mixtures.datasets.dataset import counted
from mixtures.datasets.kinds import KINDS, MISSING_VALUES
from reports.commands.stopping import NOTHING, outcome
from reports.commands.terminal import err, say
from reports.comparison.capacity import MOST_CANDIDATES
from reports.comparison.progress import Rate

if TYPE_CHECKING:
    import numpy as np

    from mixtures.chunks import Chunked
    from mixtures.datasets import Dataset

# Exit codes: a method failed and the others are there, the input cannot be used, interrupted from the keyboard.
FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def one_of(names: Iterable[str]) -> str:
    """How help shows an option that has few values.

    >>> one_of(["full", "tied"])
    '[full|tied]'
    """
    return f"[{'|'.join(names)}]"


Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of processes; the results do not depend on it.", show_default="one a core"),
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler instead.")
]
NaValues = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Comma-separated entries that are missing values besides the usual, as -999."),
]
Decimal = Annotated[str, typer.Option(metavar="MARK", help="Decimal mark of a text file.")]
Thousands = Annotated[
    str | None, typer.Option(metavar="MARK", help="Mark between thousands in a text file.", show_default="none")
]
LabelColumn = Annotated[str | None, typer.Option(help="Column with known classes; no method sees it.")]
IndexColumn = Annotated[
    str | None, typer.Option(help="Column that names the rows.", show_default="one that does, or their numbers")
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Comma-separated columns to use.", show_default="all but labels and row names"),
]
Counts = Annotated[
    str | None, typer.Option(metavar="LIST", help="Comma-separated columns of counts, which are taken as Poisson.")
]
Categorical = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Comma-separated columns of whole numbers that stand for categories."),
]
FamilyOption = Annotated[
    str | None,
    typer.Option(
        metavar=one_of(KINDS),
        help="What all other columns are.",
        show_default="numbers Gaussian, text categorical",
    ),
]
Missing = Annotated[
    str | None,
    typer.Option(
        metavar=one_of(MISSING_VALUES),
        help="Missing values: integrate over them, leave their rows out, or refuse them.",
        show_default="error",
    ),
]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="The same as --missing drop.")]
Hmm = Annotated[
    bool, typer.Option("--hmm", help="Rows are in the order of time: fit a hidden Markov model of K states.")
]
SequenceColumn = Annotated[
    str | None,
    typer.Option(
        "--sequence",
        metavar="COLUMN",
        help="Column that names the sequence of each row, sorted; implies --hmm.",
        show_default="one sequence",
    ),
]
Sticky = Annotated[
    float, typer.Option(help="What the prior of a hidden Markov model adds to the concentration of staying.")
]
GAPS = "a row that is left out would bring its neighbours together as if no time had passed; keep gaps with --missing model"
FILES = "a CSV, Parquet, Feather or .npy file"

MOST_NAMED = 16
"""Columns of one kind that are named on a line."""
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser when it is written.")]


def names_of(text: str | None) -> list[str] | None:
    """The names in a comma-separated list; one that holds a comma stands in quotes.

    >>> names_of('a, b,"length, cm",\\nc')
    ['a', 'b', 'length, cm', 'c']
    """
    if text is None:
        return None
    return [
        name.strip()
        for line in csv.reader(StringIO(text, newline=""), skipinitialspace=True)
        for name in line
        if name.strip()
    ]


def whole_numbers(text: str) -> list[int]:
    """The numbers of 1:8 or 2,3,5, or both."""
    ranges: list[range] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        last = last if colon else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise ValueError(f"--components is {text!r}; expected numbers of clusters such as 1:8 or 2,3,5")
        ranges.append(range(int(first), int(last) + 1))
    if (number := sum(map(len, ranges))) > MOST_CANDIDATES:
        raise ValueError(f"--components has {number:,} numbers of clusters; expected at most {MOST_CANDIDATES:,}")
    return [number for own in ranges for number in own]


def named_paths(pairs: list[str]) -> dict[str, Path]:
    """Paths by name from NAME=PATH."""
    paths: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise ValueError(f"--add {pair} is not of the form NAME=PATH, such as --add mine=draws.nc")
        if name in paths:
            raise ValueError(f"--add names {name!r} twice; give each result a name of its own")
        paths[name] = Path(path)
    return paths


def read_table(data: str, **settings: Any) -> Dataset:
    """The table that a command is about, after a line on each thing that was guessed in reading it and on what its columns are.

    Parameters
    ----------
    data : str
        A built-in set or a path.
    **settings
        Of `mixtures.datasets.load`; the lists as the command was given them.

    Raises
    ------
    mixtures.datasets.DataError
    """
    from mixtures import datasets

    lists = {name: names_of(settings.pop(name, None)) or () for name in ("na_values", "counts", "categorical")}
    loaded = datasets.load(data, columns=names_of(settings.pop("columns", None)), **(settings | lists))
    for note in loaded.notes:
        say(f"note: {note}", err)
    if set(loaded.kinds) != {"gaussian"}:
        say(f"columns: {described(loaded)}", err)
    return loaded


def read_many(
    data: str, rng: np.random.Generator, client: Any, unfit: dict[str, Any], **settings: Any
) -> tuple[Dataset, Chunked | None]:
    """A table of many files, after what was guessed in reading it: a sample, and all rows where these are more.

    Parameters
    ----------
    data : str
        A folder or a pattern.
    rng : numpy.random.Generator
    client : distributed.Client or None
    unfit : dict
        Options that do not suit such a table, by name, empty where they were not given.
    **settings
        Of `mixtures.datasets.load_many`; the lists as the command was given them.

    Raises
    ------
    mixtures.datasets.DataError
    """
    from mixtures import datasets

    if given := [name for name, value in unfit.items() if value]:
        raise datasets.DataError(f"{', '.join(given)} cannot be used on many files; give one file")
    room = None
    if client is not None:
        room = float(sum(worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()))
    lists: dict[str, Any] = {
        "columns": names_of(settings.pop("columns")),
        "counts": names_of(settings.pop("counts")) or (),
    }
    found = datasets.load_many(data, rng, workers_memory=room, **settings, **lists)
    for note in found.data.notes:
        say(f"note: {note}", err)
    return found


def cluster(stack: ExitStack, scheduler: str | None) -> Any:
    """A client of the Dask scheduler at an address, connected until the stack ends; None without an address."""
    if scheduler is None:
        return None
    from reports.studies.workers import connected

    return stack.enter_context(connected(scheduler))


def described(data: Dataset) -> str:
    """What each column of a data set was taken as; columns that are all alike by their number where they are many."""
    if len(set(data.kinds)) == 1 and len(data.features) > MOST_NAMED:
        return f"{data.kinds[0]}: all {len(data.features)}"
    levels = {name: f" ({counted(len(own), 'level')})" for name, own in data.levels.items()}
    named: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, kind in zip(data.features, data.kinds, strict=True):
        named[kind].append(name + (levels[name] if kind == "categorical" else ""))
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in named.items() if names)


def relative(path: Path) -> Path:
    """The path as seen from the working folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def unused(folder: Path) -> Path:
    """The folder, or the first numbered one beside it that does not exist."""
    candidates = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def save_in(save: Callable[[Path], Path], folder: Path, *, renumber: bool) -> Path:
    """Save, in the next free folder where another run has just taken a default one."""
    from reports.comparison.results import ResultsError

    while True:
        try:
            return save(folder)
        except ResultsError:
            if not renumber or not folder.exists():
                raise
            folder = unused(folder)


def keep(rate: Rate, folder: Path) -> Callable[[], str]:
    """Let it be said, where a signal ends a study, how much of it is kept; what says so."""

    def kept() -> str:
        if rate.line.total is None:
            return "nothing was measured" if folder.exists() else NOTHING
        return f"{rate.line.text} {rate.what} are kept in {relative(folder)}: give the same command to go on"

    outcome(kept)
    return kept


def check_open(open_: bool, report: bool) -> None:
    """End the command if a page is to be opened that is not to be written."""
    if open_ and not report:
        refuse(ValueError("--open shows the page, which --no-report leaves out; give one of the two"))


def refuse(error: Exception) -> NoReturn:
    """End the command with one line that says what cannot be used."""
    where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    say(f"error: {where}", err, "red")
    raise typer.Exit(UNUSABLE)
