"""The folder of a study: one manifest, the cells, the page; a run goes on in it, and never in another's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NotRequired, TypedDict

from reports.comparison.files import clear, is_leftover
from reports.comparison.manifest import ManifestError, machine, read, versions, write
from reports.comparison.results import ResultsError, check_place

CELLS, PAGE = "cells", "report.html"


class Manifest(TypedDict):
    """What a study that goes on asks of the manifest that it finds."""

    format: int
    versions: dict[str, str]
    settings: NotRequired[dict[str, Any]]


def check_study(folder: Path, study: str, what: str, version: int, schema: type = Manifest) -> dict[str, Any] | None:
    """The manifest of the study that is in the folder, None where there is nothing yet.

    Parameters
    ----------
    folder : Path
    study, what : str
        Name of the study, that of its manifest, and the same in words with its article.
    version : int
        Format of its numbers.
    schema : type
        A `typing.TypedDict` of what is asked of the manifest.

    Raises
    ------
    ResultsError
        If the folder cannot be written, or holds anything but such a study by this version.
    """
    path = _path(folder, study)
    if not path.is_file():
        if folder.is_dir() and not all(map(is_leftover, folder.iterdir())):
            raise ResultsError(f"{folder} holds something else than {what}; give another folder with --out")
        if folder.resolve() == Path.cwd():
            raise ResultsError(f"{folder} is the working folder; give a new folder with --out")
        check_place(folder, moved=False)
        return None
    check_place(folder, moved=False)
    clear(folder / CELLS)
    try:
        manifest = read(path, schema, what, version)
    except ManifestError as error:
        raise ResultsError(f"{error}; give another folder with --out") from error
    written, current = manifest["versions"].get("mixtures"), versions().get("mixtures")
    if written != current:
        raise ResultsError(
            f"{folder} was written by mixtures {written} in format {version}, and this is mixtures {current}: their numbers do "
            "not mix; give another folder with --out"
        )
    return manifest


def has_study(folder: Path, study: str) -> bool:
    """Whether a folder is that of a study of this name."""
    return _path(folder, study).is_file()


def saved[S](
    folder: Path, study: str, what: str, version: int, schema: type, settings: type[S], count: str
) -> tuple[S, int, dict[str, Any]]:
    """What is saved of a study: its settings, the number in its manifest under ``count``, and the manifest.

    See `check_study`; ``settings`` is a dataclass.

    Raises
    ------
    ResultsError
        If there is none, or it is damaged.
    """
    import msgspec

    manifest = check_study(folder, study, what, version, schema)
    if manifest is None or not any((folder / CELLS).glob("*.parquet")):
        raise ResultsError(f"{folder} has nothing measured yet; give the command again that began it")
    try:
        return msgspec.convert(manifest.get("settings"), settings), manifest[count], manifest
    except msgspec.ValidationError as error:
        raise ResultsError(f"the manifest of {folder} is damaged (settings: {error})") from error


def write_manifest(folder: Path, study: str, version: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a study, whole or not at all, and return it: the facts, the versions, time and machine."""
    manifest = {
        "study": study,
        "format": version,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "platform": machine(),
        "versions": versions(),
        **facts,
    }
    folder.resolve().mkdir(parents=True, exist_ok=True)
    write(_path(folder, study), manifest)
    return manifest


@contextmanager
def temporary(folder: str | Path | None) -> Iterator[Path]:
    """The folder, or one that is there for as long as the context."""
    if folder is not None:
        yield Path(folder)
        return
    with TemporaryDirectory(prefix="mixtures-") as made:
        yield Path(made) / "study"


def _path(folder: Path, study: str) -> Path:
    return folder / f"{study}.json"
