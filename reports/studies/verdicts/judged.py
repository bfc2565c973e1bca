"""Draws as the comparison sees them, and its verdict on one side held against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import Fit
from reports.comparison import measure, references
from reports.comparison.verdict import CLAIMS, judge
from reports.metrics import Row, agreement, label_free, reference
from reports.metrics.agreement import Marginal
from reports.metrics.label_free import Density, Together
from reports.metrics.parameters import BLOCKS

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison; what is asked of it is worked out once.

    Parameters
    ----------
    fit : Fit
        Draws in the labelling of the comparison.
    x : ndarray, shape (N, D)
    seed : int
        Of the points at which predictive densities are compared; both sides have the same, as in a comparison.
    scored : Fit, optional
        The same posterior in closed form, where there is one: its predictive density has no noise.
    """

    fit: Fit
    x: np.ndarray
    seed: int
    scored: Fit | None = None

    @cached_property
    def marginals(self) -> dict[str, Marginal]:
        """Every scalar parameter."""
        return agreement.marginals(self._posterior, independent=measure.independent(self.fit))

    @cached_property
    def together(self) -> Together:
        """Co-clustering of the data."""
        return label_free.together(self.fit, self.x)

    @cached_property
    def points(self) -> np.ndarray:
        """Points from the predictive density."""
        return self.fit.sample(measure.DENSITY_POINTS, np.random.default_rng(self.seed))[0]

    @cached_property
    def own_density(self) -> Density:
        """The predictive density at the side's own points."""
        return self.density(self.points)

    def density(self, x: np.ndarray) -> Density:
        """The predictive density at any points."""
        return label_free.density(self.scored or self.fit, x)

    @cached_property
    def entry(self) -> dict[str, Any]:
        """What the manifest of a comparison would say of this side as a reference."""
        if self.fit.kind != "mcmc":
            return references.exact_entry(self.fit.method)
        rows = measure.diagnosed(self.fit, self._posterior)
        chains = len(self.fit.held.weights)
        return references.reference_entry(self.fit.method, reference.checks(rows, chains, self.fit.sample_stats))

    @cached_property
    def _posterior(self) -> xr.Dataset:
        held = self.fit.held
        return self.fit.draws(held.weights[..., 0].size, np.random.default_rng(self.seed))["posterior"].to_dataset()


def verdict(own: Side, truth: Side, claims: Sequence[str] = CLAIMS) -> dict[str, dict[str, Any]]:
    """What a comparison says of one side with the other as the reference, claim by claim."""
    rows: list[Row] = []
    if not set(BLOCKS).isdisjoint(claims):
        rows += agreement.marginal_agreement("own", own.marginals, truth.marginals)
    if "clusters" in claims:
        rows += label_free.coclustering_error("own", own.together, truth.together)
    if "density" in claims:
        ours = own.own_density, own.density(truth.points)
        theirs = truth.density(own.points), truth.own_density
        rows += label_free.predictive_tv("own", ours, theirs)
    return judge(rows, own.fit.kind, reference=truth.entry, caveat=references.caveat(own.fit, own.entry), claims=claims)
