"""The folder of a study: one manifest, the cells, the page; a run goes on in it, and never in another's."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.comparison.manifest import versions
from reports.comparison.results import ResultsError, check_free

CELLS, PAGE = "cells", "report.html"


def check_study(folder: Path, study: str, what: str, version: int) -> dict[str, Any] | None:
    """The manifest of the study that is in the folder, None where there is nothing yet.

    Parameters
    ----------
    folder : Path
    study, what : str
        Name of the study, that of its manifest, and the same in words with its article.
    version : int
        Format of its numbers.

    Raises
    ------
    ResultsError
        If the folder cannot be written, or holds anything but such a study by this version.
    """
    path = _path(folder, study)
    if not path.is_file():
        if folder.is_dir() and any(each.suffix != ".part" for each in folder.iterdir()):
            raise ResultsError(f"{folder} holds something else than {what}; give another folder with --out")
        check_free(folder, overwrite=False)
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = manifest["format"], dict(manifest["versions"]).get("mixtures")
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} is damaged ({error}); give another folder with --out") from error
    current = version, versions().get("mixtures")
    if written != current:
        raise ResultsError(
            f"{folder} was written by mixtures {written[1]} in format {written[0]}, and this is {current[1]}, format "
            f"{current[0]}: their numbers do not mix; give another folder with --out"
        )
    return manifest


def write_manifest(folder: Path, study: str, version: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a study, whole or not at all, and return it: the facts, the versions, time and machine."""
    manifest = {
        "study": study,
        "format": version,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(_path(folder, study), json.dumps(manifest, indent=2) + "\n")
    return manifest


def write_page(folder: Path, html: str) -> None:
    """Write the page of a study, whole or not at all: on a full disk an earlier one stays."""
    write_text(folder / PAGE, html)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    part = path.with_suffix(".part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _path(folder: Path, study: str) -> Path:
    return folder / f"{study}.json"
