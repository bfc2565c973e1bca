"""The facts of a run that no number shows: what was fitted to what, with which versions; how a manifest is written and read."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mixtures.datasets.checks import n_patterns
from mixtures.families.parameters import blocks_of
from mixtures.model import Allocation, Family
from reports.comparison.files import write_text
from reports.comparison.prepared import Data
from reports.metrics.recovery import UNKNOWN, is_known

# Cells of a table that are counted.
MOST_CELLS = 1e15

PACKAGES = ("mixtures", "numpy", "scipy", "pymc", "pytensor", "jax", "numpyro", "nutpie", "arviz", "scikit-learn")


class ManifestError(ValueError):
    """A manifest that cannot be read, is damaged, or was written in another format."""


def write(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as JSON, whole or not at all; arrays become lists."""
    write_text(path, json.dumps(manifest, indent=2, default=lambda value: value.tolist()) + "\n")


def kind_of(path: Path) -> str | None:
    """What kind of results a manifest is of, where it says so; what is wrong with it is told when it is read."""
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def read(path: Path, schema: Any, what: str, version: int, *, older: Any = None) -> dict[str, Any]:
    """Read a manifest and check it, whole, against its schema.

    Parameters
    ----------
    path : Path
    schema : type
        A `typing.TypedDict`; what the manifest holds besides is passed over.
    what : str
        Of what it is, in words with its article.
    version : int
        The format that it must be of.
    older : type, optional
        What one of an earlier format must hold to be read too.

    Raises
    ------
    ManifestError
        If it cannot be read, or is not such a manifest.
    """
    import msgspec

    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        written = manifest["format"]
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestError(
            f"{path} is damaged, or not the manifest of {what} ({type(error).__name__}: {error})"
        ) from error
    if older is not None and type(written) is int and written < version:
        schema = older
    elif written != version:
        raise ManifestError(f"{path} was written in format {written!r}, not {version}")
    try:
        msgspec.convert(manifest, schema)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{path} is damaged ({error})") from error
    return manifest


def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    return {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p)) is not None}


def describe_run(command: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The command, unless the facts have another, the time, the seed, the versions and the machine."""
    return {
        "command": facts.get("command", command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": facts.get("seed"),
        "versions": versions(),
        "platform": machine(),
    }


def machine() -> str:
    """The operating system and the kind of processor."""
    return f"{platform.system()} {platform.machine()}"


def describe_data(data: Data, name: str, standardize: bool, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size, names, origin and digest of the data."""
    return {
        "name": name,
        "source": facts.get("source"),
        "n": len(data.x),
        "n_fitted": data.n_fitted,
        "n_heldout": len(data.heldout),
        "n_missing": int(np.isnan(data.x).sum()),
        "d": len(data.features),
        "lengths": None if data.lengths is None else list(data.lengths),
        "features": list(data.features),
        "digest": data.digest,
        "standardized": standardize,
        "label_column": facts.get("label_column"),
        "n_classes": None if data.labels is None else len(set(data.labels) - {UNKNOWN}),
        "n_unlabelled": None if data.labels is None else int((~is_known(data.labels)).sum()),
        "notes": [*facts.get("notes", ()), *data.notes],
        "left_out": list(facts.get("left_out", ())),
    }


def describe_model(family: Family, allocation: Allocation, given: Iterable[str] = ()) -> dict[str, Any]:
    """The model in symbols, its hyperparameters in the units of the data, and which of them were given and not computed."""
    return {
        "family": family.name,
        "covariance": family.covariance,
        "blocks": {block: list(names) for block, names in blocks_of((*allocation.dims, *family.parameters)).items()},
        "n_components": allocation.n_components,
        "n_parameters": allocation.n_free() + family.n_free(allocation.n_components),
        **_prior_of_labels(allocation),
        "text": "; ".join((*allocation.equations, *family.equations)),
        "prior": {name: np.asarray(value).tolist() for name, value in family.prior_in_data_units().items()},
        "given": sorted(given),
    }


def _prior_of_labels(allocation: Any) -> dict[str, Any]:
    """The concentration of weights, and of a chain whether its start is free, and the prior of its transitions."""
    found = {"alpha0": float(allocation.alpha0[0])}
    if allocation.independent:
        return found
    return found | {"start": allocation.start, "a0": allocation.a0.tolist()}


def describe_columns(data: Data, image: list[int] | None = None) -> dict[str, Any]:
    """What every feature holds, and the names of the levels of those that have some.

    Of a table of nothing else, whose rows have no order, how many different rows there are, and can be where that is not beyond
    counting; and the picture whose pixels the features are.
    """
    cells = float(np.prod(np.array(data.n_levels, dtype=float)))
    whole = data.lengths is None and len(data.levels) == len(data.features)
    found: dict[str, Any] = {
        "kinds": dict(zip(data.features, data.kinds, strict=True)),
        "levels": {name: list(levels) for name, levels in data.levels.items()},
        "n_patterns": n_patterns(data.x) if whole else None,
        "n_cells": int(cells) if whole and cells < MOST_CELLS else None,
    }
    return found if image is None else found | {"image": image}


def peak_memory() -> float | None:
    """Peak resident memory of this process in MB, where the system tells."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
