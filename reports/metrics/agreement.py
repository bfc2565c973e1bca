"""How far a posterior is from the reference, parameter by parameter.

Parameters are compared where moments exist: weights by their log odds, variances by their logarithms, correlations by Fisher's
z, locations as they are (`reports.metrics.parameters`). Quantiles and their Monte Carlo errors then do the rest, so that heavy
tails cost nothing.

Two posteriors are compared without a fit: ``posterior_agreement("mine", posterior, reference, independent=False)`` takes
two `xarray.Dataset` of draws, (chain, draw, ...) with ``weights``, ``means`` and ``covariances`` as far as they are there, and
returns rows that `reports.comparison.verdict.judge` turns into a verdict. Where one reference serves many posteriors, summarise
it once by `marginals` and call `marginal_agreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from reports.metrics import Row
from reports.metrics.parameters import BLOCKS, kind, scalars

if TYPE_CHECKING:
    import xarray as xr

# Quantiles of a normal distribution: its interquartile range in sds.
IQR = 1.349

# Pairs of parameters that are named, and scalars above which only weights and locations are paired.
NAMED_PAIRS = 5
MOST_PAIRED = 2000

# Larger is worse; the worst of each metric over a block stands under the block's name.
WORST: dict[str, Callable[[float], float]] = {
    "median_shift": abs,
    "width_ratio": lambda ratio: abs(np.log(max(ratio, np.finfo(float).tiny))),
    "coverage95": lambda coverage: -coverage,
    "wasserstein": abs,
    "wasserstein_floor": abs,
    "median_shift_corrected": abs,
}


class Marginal:
    """The draws of one scalar, with its quantiles and their Monte Carlo errors, each worked out once.

    Parameters
    ----------
    draws : ndarray, shape (chain, draw)
    independent : bool
        Whether the draws are independent, so that their number is their effective sample size.
    """

    def __init__(self, draws: np.ndarray, independent: bool) -> None:
        self.draws, self.independent = draws, independent
        self.ordered = np.sort(draws, axis=None)
        self._errors: dict[float, float] = {}

    def quantile(self, p: float) -> float:
        """The quantile of probability p, between draws by interpolation."""
        place = p * (self.ordered.size - 1)
        low = int(place)
        return float(np.interp(place, [low, low + 1], self.ordered[[low, min(low + 1, self.ordered.size - 1)]]))

    def error(self, p: float) -> float:
        """Monte Carlo standard error of a quantile, 0 of a point.

        Half the distance of the order statistics between which the quantile lies with probability 68% (Vehtari et al. 2021,
        *Bayesian Analysis* 16:667-718, section 4).
        """
        if self.draws.size == 1:
            return 0.0
        if p not in self._errors:
            self._errors[p] = self._independent_error(p) if self.independent else self._chain_error(p)
        return self._errors[p]

    def _independent_error(self, p: float) -> float:
        low, high = _places(self.ordered.size, p)
        return float(self.ordered[high] - self.ordered[low]) / 2

    def _chain_error(self, p: float) -> float:
        from arviz_stats.base import array_stats

        return float(array_stats.mcse(self.draws, method="quantile", prob=p))

    def share(self, low: float, high: float) -> float:
        """Share of the draws from low to high, both included."""
        return (
            float(np.searchsorted(self.ordered, high, "right") - np.searchsorted(self.ordered, low)) / self.ordered.size
        )

    def size(self, low: float, high: float) -> float:
        """Effective number of draws for the share of them between low and high."""
        from arviz_stats.base import array_stats

        if self.independent:
            return float(self.ordered.size)
        inside = (self.draws >= low) & (self.draws <= high)
        return float(array_stats.ess(inside.astype(float), method="mean"))

    @property
    def unit(self) -> float:
        """The interquartile range over 1.349, which is the sd where the distribution is normal."""
        return (self.quantile(0.75) - self.quantile(0.25)) / IQR

    @property
    def width(self) -> float:
        """Width of the central 90% interval."""
        return self.quantile(0.95) - self.quantile(0.05)

    @property
    def width_error(self) -> float:
        """Standard error of `width`."""
        return float(np.hypot(self.error(0.05), self.error(0.95)))

    @cached_property
    def floor(self) -> float:
        """Wasserstein-1 distance of two halves of the draws."""
        return distance(*(np.sort(half, axis=None) for half in halves(self.draws)))


@lru_cache(maxsize=256)
def _places(n: int, p: float) -> tuple[int, int]:
    """Places, among n ordered independent draws, of the ends of the central 68% interval of a quantile."""
    from scipy.stats import beta, norm

    low, high = beta.ppf(norm.cdf([-1, 1]), n * p + 1, n * (1 - p) + 1) * n - 1
    return max(0, int(np.floor(low))), min(n - 1, int(np.ceil(high)))


def marginals(posterior: xr.Dataset, *, independent: bool) -> dict[str, Marginal]:
    """Every scalar of a posterior on the scale on which it is compared, ready for `marginal_agreement`."""
    return {name: Marginal(values, independent) for name, values in scalars(posterior).items()}


def posterior_agreement(
    method: str,
    posterior: xr.Dataset,
    reference: xr.Dataset,
    *,
    independent: bool,
    reference_independent: bool = True,
) -> list[Row]:
    """Shift, width, coverage and distance of every scalar parameter from the reference's; see `marginal_agreement`.

    Parameters
    ----------
    posterior, reference : xarray.Dataset
        Draws (chain, draw, ...) in one labelling and the same units; a single draw is a point estimate.
    independent, reference_independent : bool
        Whether the draws are independent; those of a Markov chain are not, and their errors follow from effective sample sizes.
    """
    return marginal_agreement(
        method,
        marginals(posterior, independent=independent),
        marginals(reference, independent=reference_independent),
    )


def marginal_agreement(method: str, own: Mapping[str, Marginal], reference: Mapping[str, Marginal]) -> list[Row]:
    """Shift, width, coverage and distance of every scalar parameter from the reference's.

    ``median_shift`` is the difference of the medians over the reference's interquartile range / 1.349, ``width_ratio`` the
    ratio of the widths of the central 90% intervals, ``coverage95`` the probability under the reference of the method's
    central 95% interval, and ``wasserstein`` the Wasserstein-1 distance in the unit of the shift, to be read beside
    ``wasserstein_floor``, that between two halves of the reference. A point estimate has only the first, which is infinite,
    without an error, where it is at the boundary. Standard errors hold the Monte Carlo error of both sides. The worst of each
    metric in a block stands again under the block's name.

    A parameter that does not vary in half of the reference's draws has no unit and no rows.
    """
    rows: list[Row] = []
    for target, truth in reference.items():
        if truth.unit > 0:
            rows += of_one(method, target, own[target], truth)
    return rows + worst(rows)


def of_one(method: str, target: str, own: Marginal, truth: Marginal) -> list[Row]:
    """The rows of one scalar that varies in the reference; see `marginal_agreement`."""
    unit = truth.unit
    shift = (own.quantile(0.5) - truth.quantile(0.5)) / unit
    if np.isinf(shift):
        return [Row(method, "median_shift", target, shift)]
    unit_error = np.hypot(truth.error(0.25), truth.error(0.75)) / IQR
    errors = own.error(0.5), truth.error(0.5), shift * unit_error
    rows = [Row(method, "median_shift", target, shift, float(np.linalg.norm(errors)) / unit)]
    if own.draws.size == 1:
        return rows
    ratio = own.width / truth.width
    ratio_error = (
        ratio * np.hypot(own.width_error / own.width, truth.width_error / truth.width) if ratio > 0 else np.nan
    )
    return [
        *rows,
        Row(method, "width_ratio", target, ratio, float(ratio_error)),
        Row(method, "coverage95", target, *_coverage(own, truth)),
        Row(method, "wasserstein", target, distance(own.ordered, truth.ordered) / unit),
        Row(method, "wasserstein_floor", target, truth.floor / unit),
    ]


def _coverage(own: Marginal, truth: Marginal) -> tuple[float, float]:
    """Probability under ``truth`` of the central 95% interval of ``own``, and its standard error.

    The error is that of the share of draws of ``truth``, kept from zero by one draw more on either side, and that of the
    interval's ends: half of what ``truth`` holds within one standard error of each.
    """
    low, high = (own.quantile(p) for p in (0.025, 0.975))
    coverage, n = truth.share(low, high), truth.size(low, high)
    kept = (coverage * n + 1) / (n + 2)
    ends = [truth.share(q - own.error(p), q + own.error(p)) / 2 for q, p in ((low, 0.025), (high, 0.975))]
    return coverage, float(np.linalg.norm([np.sqrt(kept * (1 - kept) / n), *ends]))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two samples in rising order."""
    if a.size == b.size:
        return float(np.abs(a - b).mean())
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(a, b))


def worst(rows: list[Row]) -> list[Row]:
    """The row of each metric that is furthest from ideal in each block, under the block's name."""
    found = []
    for block in BLOCKS:
        own = [row for row in rows if (of := kind(row.target)) is not None and of.block == block]
        by_metric = {metric: [row for row in own if row.metric == metric] for metric in WORST}
        extremes = [max(those, key=lambda row: WORST[row.metric](row.value)) for those in by_metric.values() if those]
        found += [row._replace(target=block) for row in extremes]
    return found


def lost_correlations(method: str, posterior: xr.Dataset, reference: xr.Dataset) -> list[Row]:
    """Rank correlations between scalar parameters, less the reference's: what a factorised posterior cannot have.

    Of ranks (Spearman), because a nearly empty cluster's variances have the tails of their prior.

    ``correlation_floor`` is the largest difference over all pairs between two halves of the reference. ``correlation_error`` is
    the difference for the pairs that differ most, five at most and only where it exceeds that floor, the largest again under
    the target "all", and ``correlation_reference`` the reference's own correlation of these pairs. Standard errors are
    (1 - r^2) / sqrt(ESS), those of normal draws. The last weight is left out, since the weights add up to one.
    """
    own, truth = scalars(posterior), scalars(reference)
    if next(iter(own.values())).size == 1:
        return []
    weights = [name for name in truth if name.startswith("weights")]
    last = weights[-1:] if len(weights) > 1 else []
    names = [name for name in truth if name not in last and truth[name].std() > 0 and own[name].std() > 0]
    if len(names) > MOST_PAIRED:
        names = [name for name in names if (of := kind(name)) is None or of.block != "spreads"]
    return correlations(method, own, truth, names)


def correlations(
    method: str,
    own: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    every: bool = False,
) -> list[Row]:
    """`lost_correlations` of the scalars ``names``, (chain, draw) each in both; of ``every`` size, floor or not."""
    from arviz_stats.base import array_stats
    from scipy.stats import rankdata

    if len(names) < 2 or own[names[0]].size == 1:
        return []

    def correlation(draws: list[np.ndarray]) -> np.ndarray:
        return np.corrcoef([rankdata(values) for values in draws])[np.triu_indices(len(names), 1)]

    def error(r: float, values: tuple[np.ndarray, np.ndarray]) -> float:
        return float((1 - r**2) / np.sqrt(min(float(array_stats.ess(v)) for v in values)))

    r, r_reference = correlation([own[name] for name in names]), correlation([truth[name] for name in names])
    first, second = (correlation([halves(truth[name])[side] for name in names]) for side in (0, 1))
    floor, gaps = np.abs(first - second).max(), np.abs(r - r_reference)
    places, rows = np.triu_indices(len(names), 1), []
    for pair in (p for p in np.argsort(-gaps, kind="stable")[:NAMED_PAIRS] if every or gaps[p] > floor):
        a, b = (names[side[pair]] for side in places)
        se_reference = error(r_reference[pair], (truth[a], truth[b]))
        se = np.hypot(error(r[pair], (own[a], own[b])), se_reference)
        rows += [
            Row(method, "correlation_error", f"{a} ~ {b}", r[pair] - r_reference[pair], se),
            Row(method, "correlation_reference", f"{a} ~ {b}", r_reference[pair], se_reference),
        ]
    return [*rows, *(row._replace(target="all") for row in rows[:1]), Row(method, "correlation_floor", "all", floor)]


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws (chain, draw, ...) in two: the even chains and the odd ones, or the halves of a single chain."""
    if len(values) > 1:
        return values[::2], values[1::2]
    return values[:, : values.shape[1] // 2], values[:, values.shape[1] // 2 :]
