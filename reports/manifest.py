"""The facts of a run that no number shows: what was fitted to what, with which versions."""

from __future__ import annotations

import hashlib
import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from mixtures import Dirichlet
from mixtures.model import Family
from reports.prepared import Data

PACKAGES = ("mixtures", "numpy", "scipy", "pymc", "pytensor", "jax", "numpyro", "nutpie", "arviz", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages the numbers depend on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def describe_data(data: Data, name: str, standardize: bool, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size, names, origin and SHA-256 digest of the data, the held-out rows last."""
    return {
        "name": name,
        "source": facts.get("source"),
        "n": len(data.x),
        "n_heldout": len(data.heldout),
        "d": len(data.features),
        "features": list(data.features),
        "digest": hashlib.sha256(np.concatenate([data.x, data.heldout]).tobytes()).hexdigest(),
        "standardized": standardize,
        "label_column": facts.get("label_column"),
        "n_classes": None if data.labels is None else len(set(data.labels)),
    }


def describe_model(family: Family, allocation: Dirichlet) -> dict[str, Any]:
    """The model in symbols and its hyperparameters in the units of the data."""
    return {
        "family": family.name,
        "covariance": family.covariance,
        "n_components": len(allocation.alpha0),
        "alpha0": float(allocation.alpha0[0]),
        "text": "; ".join((*allocation.equations, *family.equations)),
        "prior": {name: np.asarray(value).tolist() for name, value in family.prior_in_data_units().items()},
    }


def peak_memory() -> float:
    """Peak resident memory of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
