"""Posterior predictive checks: can the model make data like these? By statistics that need no labels.

    pi_r, theta_r ~ posterior       y_r ~ p(y | pi_r, theta_r), as many points as x       p = P(T(y_r) >= T(x))

T may look at the parameters too (Gelman, Meng & Stern 1996, *Statistica Sinica* 6:733-807; Gelman et al. 2013, *Bayesian Data
Analysis*, section 6.3). The parameters have seen x, so that p is nearer to 1/2 than a uniform number where the model is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixtures import Fit
from mixtures.engines.missing import marginal, patterns
from mixtures.engines.responsibilities import fold, log_sum_draws
from mixtures.model import Family, Theta
from mixtures.seeds import Rng, generator
from reports.metrics import Row, discrete_checks

if TYPE_CHECKING:
    import xarray as xr

REPLICATES = 400

# Of more points than this so many are checked, evenly spaced; many points are replicated less often.
LARGEST = 5000
REPLICATED_POINTS = 1_000_000
BLOCK_ELEMENTS = 2_000_000

# Of columns with gaps, statistics of several need so many rows without one more than there are columns.
FEWEST_WHOLE = 10

# A tail area that speaks of a major failure of the model (*Bayesian Data Analysis*, section 6.3).
EXTREME = 0.01

# A bump of a kernel density, worked out on so many bins, counts as a mode from this share of the highest on.
BINS = 1024
LOWEST_MODE = 0.05

# Names of the discrepancies, which are shown as those of y_r minus those of x under the same draw.
G2 = "G²"
DISCREPANCIES = ("mean of −log p", "largest −log p", G2)


def check(
    fit: Fit,
    x: np.ndarray,
    features: Sequence[str],
    kinds: Sequence[str],
    rng: Rng,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Row], xr.Dataset]:
    """Compare data sets replicated from a fit with the data; a point estimate replicates without its uncertainty.

    Parameters
    ----------
    fit : Fit
    x : ndarray, shape (N, D)
    features, kinds : sequence of str
        Names of the columns, and what they hold; see `mixtures.tables.KINDS`.
    rng : numpy.random.Generator or int
    levels : mapping
        By nominal feature, the names of its levels in the order of their codes.

    Returns
    -------
    rows : list of Row
        By statistic ``ppc_p``, the posterior predictive p-value, in which a tie counts half, with its Monte Carlo error, which
        is at least the sd of a Beta(1/2, R + 1/2), what R replicates without an exception say; and ``ppc_distance``, observed
        minus mean replicated in sds of these.
    found : Dataset
        ``replicated`` (replicate, statistic) and ``observed`` (statistic), which is zero for `DISCREPANCIES`.
    """
    rng = generator(rng)
    x = x[np.linspace(0, len(x), min(len(x), LARGEST), endpoint=False).astype(int)]
    n, D = x.shape
    of = Statistics(x, features, kinds, levels or {})
    observed = {name: float(values[0]) for name, values in of(x[None]).items()}
    weights, theta = fit.parameters(min(REPLICATES, REPLICATED_POINTS // n), rng)
    parts = []
    blocks = min(len(weights), -(-len(weights) * n * max(D * D, of.width) // BLOCK_ELEMENTS))
    for some in np.array_split(np.arange(len(weights)), blocks):
        own = weights[some], {name: v[some] for name, v in theta.items()}
        y = replicate(fit.family, *own, n, rng)
        parts.append(of(y) | _discrepancies(fit, *own, y, x, g2=of.g2))
    replicated = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return tail_areas(fit.method, replicated, observed)


def tail_areas(
    method: str, replicated: Mapping[str, np.ndarray], observed: Mapping[str, float]
) -> tuple[list[Row], xr.Dataset]:
    """What `check` returns, of statistics of replicated data sets (R,) by name, and those of the data, zero by default."""
    import xarray as xr

    rows, observed = [], dict(observed)
    for name, values in replicated.items():
        value, R = observed.setdefault(name, 0.0), len(values)
        above = np.heaviside(values - value, 0.5)
        least = np.sqrt((R + 0.5) / 2 / (R + 2)) / (R + 1)
        rows.append(Row(method, "ppc_p", name, above.mean(), max(above.std() / np.sqrt(R), least)))
        if (sd := values.std()) > 0:
            rows.append(Row(method, "ppc_distance", name, (value - values.mean()) / sd))
    found = xr.Dataset(
        {
            "replicated": (("replicate", "statistic"), np.stack(list(replicated.values()), axis=1)),
            "observed": ("statistic", np.array([observed[name] for name in replicated])),
        },
        coords={"statistic": list(replicated)},
    )
    return rows, found


def replicate(family: Family, weights: np.ndarray, theta: Theta, n: int, rng: Rng) -> np.ndarray:
    """One simulated data set of ``n`` points for each of R draws, shape (R, n, D)."""
    rng = generator(rng)
    R, K = weights.shape
    below = np.cumsum(weights, axis=1)[:, None, :-1]
    own = (rng.random((R, n, 1)) > below).sum(-1) + K * np.arange(R)[:, None]
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
    return family.simulate(flat, own.ravel(), rng).reshape(R, n, -1)


class Statistics:
    """The statistics that suit columns of these kinds: of numbers `statistics`, of others those of `discrete_checks`.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    features, kinds : sequence of str
    levels : mapping
        By nominal feature, the names of its levels in the order of their codes.
    """

    def __init__(
        self, x: np.ndarray, features: Sequence[str], kinds: Sequence[str], levels: Mapping[str, Sequence[str]]
    ) -> None:
        self.columns = {kind: np.flatnonzero(np.isin(kinds, own)) for kind, own in TOGETHER.items()}
        self.names = {kind: tuple(features[int(j)] for j in own) for kind, own in self.columns.items()}
        self.levels = [tuple(levels[name]) for name in self.names["nominal"]]
        numbers = self.columns["numbers"]
        self.seen = None if not np.isnan(x).any() else ~np.isnan(x)
        known = x[~np.isnan(x[:, numbers]).any(1)][:, numbers]
        self.axis = _principal_axis(known) if len(numbers) and len(known) > 1 else np.ones(len(numbers))
        # Where every row is a pattern of its own, G2 says no more than the mean of -log p.
        whole = len(self.levels) == len(kinds) and self.seen is None
        self.g2 = whole and bool((discrete_checks.pattern_counts(x[None]) > 1).any())

    def __call__(self, y: np.ndarray) -> dict[str, np.ndarray]:
        """The statistics of data sets (R, n, D), (R,) each.

        Where values of x are missing, of what was seen there: those of one column of its own values, those of several columns
        of the rows in which none of them has a gap.
        """
        if self.seen is not None:
            return self._of_seen(y)
        numbers, counts, nominal = (y[..., own] for own in self.columns.values())
        found: dict[str, np.ndarray] = {}
        if self.names["numbers"]:
            found |= statistics(numbers, self.names["numbers"], self.axis)
        if self.names["counts"]:
            found |= discrete_checks.counts(counts, self.names["counts"])
        if self.names["nominal"]:
            found |= discrete_checks.nominal(nominal, self.names["nominal"], self.levels)
        if sum(bool(own) for own in self.names.values()) > 1:
            there = discrete_checks.indicators(nominal, list(map(len, self.levels))) if self.levels else nominal
            every = np.concatenate([numbers, counts, there], axis=-1)
            found["largest correlation eigenvalue, all columns"] = discrete_checks.largest_eigenvalue(every)
        return found

    def _of_seen(self, y: np.ndarray) -> dict[str, np.ndarray]:
        assert self.seen is not None
        functions: dict[str, Callable[..., dict[str, np.ndarray]]] = {
            "numbers": lambda y, j: statistics(y, tuple(self.names["numbers"][i] for i in j), self.axis[j]),
            "counts": lambda y, j: discrete_checks.counts(y, [self.names["counts"][i] for i in j]),
            "nominal": lambda y, j: discrete_checks.nominal(
                y, [self.names["nominal"][i] for i in j], [self.levels[i] for i in j]
            ),
        }
        found: dict[str, np.ndarray] = {}
        for kind, columns in self.columns.items():
            every = list(range(len(columns)))
            whole = self.seen[:, columns].all(1)
            if len(columns) > 1 and whole.sum() > len(columns) + FEWEST_WHOLE:
                found |= functions[kind](y[:, whole][..., columns], every)
            for j in every:
                own = self.seen[:, columns[j]]
                each = functions[kind](y[:, own][..., columns[[j]]], [j])
                found |= {name: v for name, v in each.items() if name != "modes"}
        return found

    @property
    def width(self) -> int:
        """How many numbers a row becomes, for blocks of bounded size."""
        return sum(map(len, self.levels)) + sum(map(len, self.names.values()))


TOGETHER = {"numbers": ("gaussian",), "counts": ("poisson",), "nominal": ("bernoulli", "categorical")}
"""Kinds of columns that share statistics."""


def statistics(y: np.ndarray, features: tuple[str, ...], axis: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of data sets (R, n, D) that do not depend on labels, (R,) each.

    Of every feature skewness, excess kurtosis and both ends; of several together the largest eigenvalue of their correlations
    and, where n > D + 1, Mardia's kurtosis (1970, *Biometrika* 57:519-530) less D (D + 2), its mean under a normal
    distribution; and the number of modes along ``axis`` (D,).
    """
    from scipy import stats

    _, n, D = y.shape
    y = np.ascontiguousarray(y.mT)  # sums run along memory
    size = np.frexp(np.abs(y).max((0, -1), keepdims=True))[1]
    own = np.ldexp(y, -size)  # of which fourth powers are numbers
    by_feature = {
        "skewness": stats.skew(own, axis=-1),
        "excess kurtosis": stats.kurtosis(own, axis=-1),
        "smallest": y.min(-1),
        "largest": y.max(-1),
    }
    found = {f"{name}[{f}]": v[:, d] for name, v in by_feature.items() for d, f in enumerate(features)}
    if D > 1:
        z = stats.zscore(own, axis=-1)
        correlation = z @ z.mT / n
        found["largest correlation eigenvalue"] = np.linalg.eigvalsh(correlation)[:, -1]
        if n > D + 1:
            squares = (z * (np.linalg.pinv(correlation, rcond=1e-10, hermitian=True) @ z)).sum(1)
            found["Mardia's kurtosis"] = (squares**2).mean(1) - D * (D + 2)
    return found | {"modes" if D == 1 else "modes on the principal axis": _modes(axis @ np.ldexp(y, -size.max()))}


def _discrepancies(
    fit: Fit, weights: np.ndarray, theta: Theta, y: np.ndarray, x: np.ndarray, *, g2: bool = False
) -> dict[str, np.ndarray]:
    """Mean and largest -log p(y_rn | theta_r) of the replicates (R, n, D), minus those of x under the same draw, in nats.

    And, where it is asked for, G2 of the patterns likewise; see `reports.metrics.goodness`.
    """
    eta = fold(fit.allocation.natural(weights), fit.family.natural(theta))
    if np.isnan(x).any():
        of_y, of_x = (-_log_p_of_seen(fit.family, eta, each) for each in (np.where(np.isnan(x), np.nan, y), x[None]))
        differences = [of_y.mean(1) - of_x.mean(1), of_y.max(1) - of_x.max(1)]
        return dict(zip(DISCREPANCIES, differences, strict=False))
    flat = y.reshape(-1, x.shape[1])
    t = fit.family.features(flat).reshape(*y.shape[:2], -1)
    of_y, of_x = (-log_sum_draws((eta @ each.mT).mT) for each in (t, fit.family.features(x)))
    if fit.family.has_base:
        of_y, of_x = of_y - fit.family.log_base(flat).reshape(y.shape[:2]), of_x - fit.family.log_base(x)
    differences = [of_y.mean(1) - of_x.mean(1), of_y.max(1) - of_x.max(1)]
    if g2:
        differences.append(discrete_checks.g2(y, -of_y) - discrete_checks.g2(x[None], -of_x))
    return dict(zip(DISCREPANCIES, differences, strict=False))


def _log_p_of_seen(family: Family, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p of what was seen of data sets (R, n, D), or of one (1, n, D), with the same gaps, under eta (R, K, P): (R, n)."""
    log_p = np.empty((len(eta), y.shape[1]))
    groups = patterns(family, y[0]) if family.linked else (np.ones((1, y.shape[2]), bool), [np.arange(y.shape[1])])
    for seen, rows in zip(*groups, strict=True):
        own = marginal(family, eta, seen[None])[0] if family.linked else eta
        flat = y[:, rows].reshape(-1, y.shape[2])
        t = family.features(flat).reshape(len(y), len(rows), -1)
        log_p[:, rows] = log_sum_draws((own @ t.mT).mT) + family.log_base(flat).reshape(len(y), -1)
    return log_p


def _principal_axis(x: np.ndarray) -> np.ndarray:
    """Direction (D,) of the first principal component of standardised data, to be applied to the data as they are."""
    if x.shape[1] == 1:
        return np.ones(1)
    return np.linalg.eigh(np.corrcoef(x, rowvar=False))[1][:, -1] / x.std(0)


def _modes(u: np.ndarray) -> np.ndarray:
    """Modes of a Gaussian kernel density of each row of u (R, n), counted, with Silverman's bandwidth (1986, eq. 3.31)."""
    R, n = u.shape
    sd, iqr = u.std(1), np.subtract(*np.quantile(u, [0.75, 0.25], axis=1))
    h = 0.9 * np.where(iqr > 0, np.minimum(sd, iqr / 1.34), sd) * n**-0.2
    low = u.min(1) - 4 * h
    width = (u.max(1) + 4 * h - low) / BINS
    bins = ((u - low[:, None]) / width[:, None]).astype(int) + BINS * np.arange(R)[:, None]
    counts = np.bincount(bins.ravel(), minlength=R * BINS).reshape(R, BINS)
    smooth = np.exp(-((2 * np.pi * np.fft.rfftfreq(BINS) * (h / width)[:, None]) ** 2) / 2)
    density = np.fft.irfft(np.fft.rfft(counts) * smooth, BINS)
    inside = density[:, 1:-1]
    higher = (inside > density[:, :-2]) & (inside >= density[:, 2:])
    return (higher & (inside > LOWEST_MODE * density.max(1, keepdims=True))).sum(1)
