"""The facts of a run that no number shows: what was fitted to what, with which versions."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mixtures import Dirichlet
from mixtures.model import Family
from reports.comparison.prepared import Data
from reports.metrics.recovery import UNKNOWN, is_known

PACKAGES = ("mixtures", "numpy", "scipy", "pymc", "pytensor", "jax", "numpyro", "nutpie", "arviz", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    return {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p)) is not None}


def describe_data(data: Data, digest: str, name: str, standardize: bool, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size, names, origin and digest of the data."""
    return {
        "name": name,
        "source": facts.get("source"),
        "n": len(data.x),
        "n_heldout": len(data.heldout),
        "d": len(data.features),
        "features": list(data.features),
        "digest": digest,
        "standardized": standardize,
        "label_column": facts.get("label_column"),
        "n_classes": None if data.labels is None else len(set(data.labels) - {UNKNOWN}),
        "n_unlabelled": None if data.labels is None else int((~is_known(data.labels)).sum()),
        "notes": list(facts.get("notes", ())),
    }


def describe_model(family: Family, allocation: Dirichlet, given: Iterable[str] = ()) -> dict[str, Any]:
    """The model in symbols, its hyperparameters in the units of the data, and which of them were given and not computed."""
    return {
        "family": family.name,
        "covariance": family.covariance,
        "n_components": len(allocation.alpha0),
        "alpha0": float(allocation.alpha0[0]),
        "text": "; ".join((*allocation.equations, *family.equations)),
        "prior": {name: np.asarray(value).tolist() for name, value in family.prior_in_data_units().items()},
        "given": sorted(given),
    }


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
