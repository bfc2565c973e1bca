"""What a selection finds: every criterion for every candidate, what each chooses, and the clusters chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.metrics.criteria import Candidate, Clustering
from reports.studies.selection.bootstrap import RatioTest
from reports.studies.selection.choices import Choice

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CSV, MANIFEST, PLOT, PAGE = "selection.csv", "manifest.json", "selection.png", "report.html"


@dataclass(frozen=True)
class Selection:
    """Every criterion for every candidate, and what each chooses.

    Parameters
    ----------
    table : DataFrame
        A row a criterion and candidate: ``criterion``, ``covariance``, ``components``, ``value`` and ``se`` in nats (larger is
        better), ``difference`` from the best of the same criterion and structure with ``difference_se``, and ``missing``, the
        reason why there is no value. Of a test, the value is its p-value with its Monte Carlo error, and has no difference.
    fits : DataFrame
        A row a candidate: ``covariance``, ``components``, ``parameters`` (free ones) and how each fit went.
    choices : list of Choice
        For each criterion, within each structure and then, of several, among all; tests choose within a structure alone.
        Where of several candidates only one has a value, there is no choice.
    warnings : list of str
        What speaks against believing some of the numbers.
    manifest : dict
    x : ndarray, shape (N, D)
        The data.
    clusterings : dict
        The clusters of each chosen candidate; a candidate to which neither EM nor CAVI could be fitted has none.
    tests : list of RatioTest
        Of each candidate, where the bootstrap test is among the criteria.
    series : dict
        Signal and forecast of each chosen candidate, where these are linear dynamical systems.
    """

    table: pd.DataFrame
    fits: pd.DataFrame
    choices: list[Choice]
    warnings: list[str]
    manifest: dict[str, Any]
    x: np.ndarray
    clusterings: dict[Candidate, Clustering]
    tests: list[RatioTest] = field(default_factory=list)
    series: dict[Candidate, xr.Dataset] = field(default_factory=dict)

    def choice(self, criterion: str, among: str | None = None) -> Choice | None:
        """What a criterion chooses within a structure, or among all candidates; None where it has no value."""
        among = among or ("all" if self.fits["covariance"].nunique() > 1 else self.fits["covariance"].iloc[0])
        return next((one for one in self.choices if (one.criterion, one.among) == (criterion, among)), None)

    @property
    def chosen(self) -> dict[Candidate, list[str]]:
        """The candidates that criteria choose among all, each with its criteria; that of the most criteria first."""
        found: dict[Candidate, list[str]] = {}
        for criterion in self.manifest["criteria"]:
            if one := self.choice(criterion):
                found.setdefault(one.best, []).append(criterion)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0].components)))
