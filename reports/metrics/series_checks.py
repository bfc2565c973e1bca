"""Posterior predictive checks of rows in the order of time: series replicated from the fit beside the data.

    pi_r, A_r, theta_r ~ posterior       z_1 ~ pi_r, z_t ~ A_r[z_(t-1)], y_t ~ p(y | theta_(z_t)), series as long as those of x

Besides the statistics of `reports.metrics.checks`, which do not look at the order, there are autocorrelations and lengths of
runs, which do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixtures.model import Family, Theta
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from mixtures.sequences import SequenceFit
from reports.metrics import Row, checks
from reports.metrics.ahead import autocorrelation, subset

if TYPE_CHECKING:
    import xarray as xr

# Lags of the autocorrelations that are compared.
LAGS = (1, 2, 5)

# Features whose order in time is looked at, at most.
MOST = 12


def check(
    fit: SequenceFit,
    x: Sequences,
    features: Sequence[str],
    kinds: Sequence[str],
    rng: Rng,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Row], xr.Dataset]:
    """Compare series replicated from a fit with the data; see `reports.metrics.checks.check`."""
    rng = generator(rng)
    x = first_rows(x, checks.LARGEST)
    n = len(x)
    marginal = checks.Statistics(x.x, features, kinds, levels or {})
    ordered = InOrder(x, features, kinds)
    gaps = np.isnan(x.x)
    observed = {name: float(values[0]) for name, values in (marginal(x.x[None]) | ordered(x.x[None])).items()}
    S = fit.held.size
    number = min(checks.REPLICATES, checks.REPLICATED_POINTS // n)
    chosen = np.linspace(0, S, number, endpoint=False).astype(int)
    own = subset(fit, chosen)
    y = replicate(fit.family, *own.held.flat(), x.lengths, rng)
    y = np.where(gaps, np.nan, y)
    replicated = marginal(y) | ordered(y) | _discrepancies(own, y, x)
    return checks.tail_areas(fit.method, replicated, observed)


def first_rows(x: Sequences, most: int) -> Sequences:
    """The first sequences, the last of them cut, as far as they have so many rows together."""
    if len(x) <= most:
        return x
    lengths = np.diff(np.minimum(x.edges, most))
    return Sequences(x.x[:most], lengths[lengths > 0])


def states(weights: np.ndarray, lengths: np.ndarray, rng: Rng) -> np.ndarray:
    """States (R, N) of sequences of these lengths under R starts beside transitions (R, K, 1 + K)."""
    rng = generator(rng)
    R, N = len(weights), int(np.sum(lengths))
    reached = np.cumsum(np.concatenate([weights[..., :1].swapaxes(-1, -2), weights[..., 1:]], axis=1), axis=2)[..., :-1]
    z, u, runs = np.empty((R, N), dtype=int), rng.random((R, N)), np.arange(R)
    first = set(np.cumsum(np.append(0, lengths))[:-1].tolist())
    for t in range(N):
        row = reached[:, 0] if t in first else reached[runs, 1 + z[:, t - 1]]
        z[:, t] = (u[:, t, None] > row).sum(1)
    return z


def replicate(family: Family, weights: np.ndarray, theta: Theta, lengths: np.ndarray, rng: Rng) -> np.ndarray:
    """Series of these lengths for each of R draws, one after another, (R, N, D)."""
    rng = generator(rng)
    R, K = weights.shape[:2]
    z = states(weights, lengths, rng) + K * np.arange(R)[:, None]
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
    return family.simulate(flat, z.ravel(), rng).reshape(*z.shape, -1)


class InOrder:
    """The statistics that depend on the order of rows.

    Of numbers and counts autocorrelations, and mean and largest length of a run above the data's median; of levels the share of
    rows that repeat the one before, and the longest run of one level. A run ends with its sequence, or at a gap.

    Parameters
    ----------
    x : Sequences
        The data.
    features, kinds : sequence of str
    """

    def __init__(self, x: Sequences, features: Sequence[str], kinds: Sequence[str]) -> None:
        self.edges, self.features, self.kinds = x.edges, features[:MOST], kinds[:MOST]
        self.medians = np.nanmedian(x.x, axis=0)
        self.lags = [lag for lag in LAGS if x.lengths.max() > lag + 1]

    def __call__(self, y: np.ndarray) -> dict[str, np.ndarray]:
        """The statistics of data sets (R, N, D), (R,) each."""
        found: dict[str, np.ndarray] = {}
        for j, (name, kind) in enumerate(zip(self.features, self.kinds, strict=True)):
            own = y[..., j]
            if kind in ("gaussian", "poisson"):
                for lag in self.lags:
                    found[f"autocorrelation, lag {lag}[{name}]"] = autocorrelation(own, self.edges, lag)
                mean, longest = self.runs(own > self.medians[j], own)
                found[f"mean run above median[{name}]"] = mean
                found[f"longest run above median[{name}]"] = longest
            elif self.lags:
                found[f"share of repeats[{name}]"] = self.repeats(own)
                found[f"longest run of a level[{name}]"] = self.longest_level(own)
        return found

    def runs(self, inside: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and largest length of the runs of rows (R, N) that are inside."""
        begins = inside.copy()
        begins[:, 1:] &= ~inside[:, :-1]
        begins[:, self.edges[:-1]] = inside[:, self.edges[:-1]]
        number = begins.sum(1)
        mean = inside.sum(1) / np.maximum(number, 1)
        return mean, self._longest(inside, begins)

    def repeats(self, y: np.ndarray) -> np.ndarray:
        """Share of the rows whose level is that of the row before, (R,)."""
        return self._same(y).sum(1) / max(1, int(self._paired(y).sum()))

    def longest_level(self, y: np.ndarray) -> np.ndarray:
        """The longest run of one level, (R,)."""
        seen = ~np.isnan(y)
        return self._longest(seen, seen & ~self._same(y))

    def _same(self, y: np.ndarray) -> np.ndarray:
        same = np.zeros(y.shape, dtype=bool)
        same[:, 1:] = y[:, 1:] == y[:, :-1]
        same[:, self.edges[:-1]] = False
        return same

    def _paired(self, y: np.ndarray) -> np.ndarray:
        """Rows that were seen, as was the one before in their sequence; the same for all data sets, (N,)."""
        seen = ~np.isnan(y[0])
        paired = np.zeros(len(seen), dtype=bool)
        paired[1:] = seen[1:] & seen[:-1]
        paired[self.edges[:-1]] = False
        return paired

    @staticmethod
    def _longest(inside: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Length of the longest run of rows (R, N) that are inside, given where runs begin."""
        place = np.arange(1, inside.shape[1] + 1)
        start = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
        return np.where(inside, place - start + 1, 0).max(1).astype(float)


def _discrepancies(fit: SequenceFit, y: np.ndarray, x: Sequences) -> dict[str, np.ndarray]:
    """Mean and largest -log p(y_t | y_1 .. y_(t-1), theta_r) of replicates (R, N, D), minus those of x under the same draw."""
    of_x = -fit.log_steps(x)[0]
    of_y = -np.stack(
        [subset(fit, slice(r, r + 1)).log_steps(Sequences(own, x.lengths))[0, 0] for r, own in enumerate(y)]
    )
    differences = [of_y.mean(1) - of_x.mean(1), of_y.max(1) - of_x.max(1)]
    return dict(zip(checks.DISCREPANCIES, differences, strict=False))
