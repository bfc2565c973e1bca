"""The fits of a comparison, one method after another, and what the manifest says of each."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixtures import CollapseError, Fit
from mixtures.chunks import Chunked
from mixtures.errors import FeatureError, reason_of
from mixtures.model import Allocation, Family
from models.cache import kept
from models.device import chosen
from reports.comparison.added import Added
from reports.comparison.catalogue import METHODS, Method, Options
from reports.comparison.entries import entry_of, noted, plain
from reports.comparison.progress import Watch
from reports.metrics.boundary import to_boundary

Entry = dict[str, Any]


@dataclass(frozen=True)
class Fitting:
    """What every method is given.

    Parameters
    ----------
    x : ndarray, shape (N, D), Sequences or Chunked
    features : sequence of str
        What messages call the columns.
    family, allocation : Family, Allocation
    options : Options
    cache : bool
        Whether what JAX compiles is kept.
    """

    x: Any
    features: Sequence[str]
    family: Family
    allocation: Allocation
    options: Options
    cache: bool

    def all(
        self, methods: Sequence[str], rngs: Sequence[np.random.Generator], progress: Watch
    ) -> tuple[dict[str, Fit], dict[str, Entry]]:
        """The fits that succeeded and the entries of all methods, in the order in which these are asked for.

        Parameters
        ----------
        methods : sequence of str
        rngs : sequence of numpy.random.Generator
            One for each of `METHODS`, asked for or not.
        progress : Watch
        """
        fits: dict[str, Fit] = {}
        entries: dict[str, Entry] = {}
        for method, rng in zip(METHODS, rngs, strict=True):
            if method not in methods:
                continue
            progress.tell(method, "running")
            start = next(iter(fits.values()), None)
            fit, entries[method] = self.one(method, start, rng, partial(progress.step, method))
            if fit is not None:
                fits[method] = fit
            progress.tell(method, "failed" if fit is None else "done")
        return {method: fits[method] for method in methods if method in fits}, {
            method: entries[method] for method in methods
        }

    def one(
        self, method: str, start: Fit | None, rng: np.random.Generator, step: Callable[[int, int], None]
    ) -> tuple[Fit | None, Entry]:
        """One method's fit, or None where it failed, and its entry in the manifest."""
        spec = METHODS[method]
        settings = spec.settings(self.options)
        entry = entry_of(spec.title, spec.kind, spec.bound_kind, settings)
        if spec.uses_start:
            settings = settings | {"start": start}
        if spec.tells:
            settings = settings | {"tell": step}
        fit = None
        with noted(entry, partial(_reason, spec, self.features)):
            began = time.perf_counter()
            module = importlib.import_module(spec.module)
            imported = time.perf_counter() - began
            terms = len(self.x) * self.allocation.n_components * (1 + int(self.family.monomials[-1, 0]))
            if spec.module.startswith("models."):
                with kept(self.cache), chosen(self.options.device, terms) as device:
                    fit = module.fit(self.x, self.family, self.allocation, rng=rng, **settings)
                entry["device"] = device._asdict()
            else:
                fit = module.fit(self.x, self.family, self.allocation, rng=rng, **settings)
        if fit is None:
            return None, entry
        if method == "em" and not isinstance(self.x, Chunked):
            fit = to_boundary(fit, self.x)
        info = plain(fit.info)
        entry["warnings"] += info.pop("warnings", [])
        seconds = {"import": imported} | fit.seconds
        return fit, entry | {"status": "ok", "converged": fit.converged, "seconds": seconds, "info": info}


def _reason(spec: Method, features: Sequence[str], error: Exception) -> str:
    """Why a method failed, and of a collapse what to do about it."""
    if not isinstance(error, CollapseError):
        return reason_of(error)
    if isinstance(error, FeatureError):  # it says what to do
        return error.named(features)
    return f"{error}{f'; try {spec.remedy}' if spec.remedy else ''}"


def entry_of_added(added: Added) -> Entry:
    """The manifest's entry of a result made elsewhere."""
    info = plain(added.fit.info)
    return entry_of(added.title, added.kind, added.bound_kind, {}) | {
        "status": "ok",
        "added": True,
        "converged": added.converged,
        "seconds": added.fit.seconds,
        "warnings": info.pop("warnings", []),
        "info": info,
    }
