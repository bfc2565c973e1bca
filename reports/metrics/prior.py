"""How far the posterior leans on its prior: power-scaling of prior and likelihood, and other scales of the clusters' prior.

Power-scaling (Kallioinen, Paananen, Bürkner & Vehtari 2024, *Statistics and Computing* 34:57) asks how the posterior moves if

    p_a(theta | x)  is proportional to  p(theta)^a p(x | theta)      or      p(theta) p(x | theta)^a

for a near 1, by importance weights p(theta)^(a - 1) or p(x | theta)^(a - 1) of the draws at hand. The sensitivity of a
parameter is the derivative, with respect to log2 a, of the cumulative Jensen-Shannon distance between its marginal
distributions. The prior is the joint density of pi and theta. Neither it nor the likelihood knows how clusters are named,
so draws may be relabelled before.

A posterior with several modes can move by more than such derivatives see: the draws know only the modes that they are in.
Hence CAVI under three priors, whose scale W0^-1 of the clusters' covariances (the "scale" of Fraley & Raftery 2007, *Journal
of Classification* 24:155-181) is a quarter of the one given, that one, and four times as large: a cluster is then expected to
be half, as and twice as wide. Of probabilities and rates it is the number of pseudo-observations that is a quarter or four
times as large, and the mean stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import ConvergenceWarning, Fit
from mixtures.engines.responsibilities import log_sum
from mixtures.methods import cavi
from mixtures.seeds import Rng, generator
from reports.metrics import Row
from reports.metrics.parameters import scalars
from reports.metrics.recovery import is_known

if TYPE_CHECKING:
    import xarray as xr

# Powers at which the derivative is taken, and the sensitivity from which one counts (Kallioinen et al., sections 2 and 3).
ALPHAS = 0.99, 1.01
SENSITIVE = 0.05

# Relative spread of logarithms up to which a density is constant.
ROUNDING = 1e-12

# Stretches of the draws whose sensitivities tell the error, at least.
STRETCHES = 4

CONFLICT, STRONG = "prior-data conflict", "strong prior / weak likelihood"
NONE, OPEN = "none", "cannot tell"

FACTORS = (0.25, 1.0, 4.0)

# Starts of CAVI under each prior: as many as take about this many points together.
STARTS, STARTED = (4, 40), 200_000


def examine(
    fits: Mapping[str, Fit],
    posteriors: Mapping[str, xr.Dataset],
    responsibilities: Mapping[str, np.ndarray],
    reference: Mapping[str, Any],
    x: np.ndarray,
    labels: np.ndarray | None,
    at_scales: Callable[[], list[dict[str, Any]]],
) -> tuple[dict[str, Any] | None, list[Row]]:
    """What the manifest says of prior sensitivity, None where nothing can be said, and the sensitivity of every parameter.

    Parameters
    ----------
    fits : mapping of Fit
        By method, those with a posterior as draws in one labelling.
    posteriors : mapping of xarray.Dataset
        The same draws, as `mixtures.Fit.draws` gives them.
    responsibilities : mapping of ndarray, shape (N, K)
        By method, averaged over its draws.
    reference : mapping
        The manifest's entry on the reference: only a trusted one is power-scaled.
    x : ndarray, shape (N, D)
    labels : ndarray, shape (N,), optional
        Known classes.
    at_scales : callable
        Gives what `scales` finds for the first fit.
    """
    if (
        getattr(next(iter(fits.values())).allocation, "start", "free") == "stationary"
    ):  # which no posterior in closed form has
        return None, []
    method = reference["method"]
    facts = {
        "scaled": method if reference["trusted"] else None,
        "scales": at_scales(),
        "merged": {} if labels is None else {m: merged(r, labels) for m, r in responsibilities.items()},
    }
    return facts, power_scaling(fits[method], posteriors[method], x) if facts["scaled"] else []


def power_scaling(fit: Fit, posterior: xr.Dataset, x: np.ndarray) -> list[Row]:
    """``prior_sensitivity`` and ``likelihood_sensitivity`` of every scalar parameter, on the scale on which it is compared.

    The standard error is that of a mean over stretches of the draws, a chain or less each. Sensitivities cannot be negative:
    near zero the noise of the draws makes them too large, by about 0.01 with 4000 draws.

    Parameters
    ----------
    fit : Fit
        With draws from the posterior in one labelling.
    posterior : xarray.Dataset
        The same draws, as `mixtures.Fit.draws` gives them.
    x : ndarray, shape (N, D)
    """
    weights, theta = np.maximum(fit.held.weights, np.finfo(float).tiny), fit.held.theta
    log_p = {
        "prior": fit.allocation.log_prior(weights) + fit.family.log_prior(theta),
        "likelihood": fit.total_log_likelihood(x),
    }
    return power_scaled(fit.method, scalars(posterior), log_p)


def power_scaled(method: str, values: Mapping[str, np.ndarray], log_p: Mapping[str, np.ndarray]) -> list[Row]:
    """`power_scaling` of scalars (chain, draw) by name, by log densities (chain, draw) of "prior" and "likelihood"."""
    chains, draws = next(iter(log_p.values())).shape
    parts = [
        (slice(c, c + 1), part)
        for c in range(chains)
        for part in np.array_split(np.arange(draws), -(-STRETCHES // chains))
    ]
    rows = []
    for name, scaled in log_p.items():
        whole = sensitivity(values, scaled)
        by_part = np.array([sensitivity({k: v[part] for k, v in values.items()}, scaled[part]) for part in parts])
        errors = by_part.std(0, ddof=1) / np.sqrt(len(parts))
        rows += [
            Row(method, f"{name}_sensitivity", target, value, se)
            for target, value, se in zip(values, whole.tolist(), errors.tolist(), strict=True)
        ]
    return rows


def sensitivity(values: Mapping[str, np.ndarray], log_p: np.ndarray) -> np.ndarray:
    """Sensitivity of each scalar (chain, draw) to powers of the density whose logarithms are ``log_p`` (chain, draw).

    Powers of a density that is constant, such as a uniform prior, change nothing: the sensitivity is 0.
    """
    from arviz_stats.base import array_stats

    if np.ptp(log_p) <= ROUNDING * max(1.0, np.abs(log_p).max()):
        return np.zeros(len(values))
    log_weights = [power_scaled_weights(log_p, alpha) for alpha in ALPHAS]
    lower, upper = (np.exp(each - log_sum(each.ravel())) for each in log_weights)
    return np.array(
        [
            float(array_stats.power_scale_sense(v, lower, upper, lower_alpha=ALPHAS[0], upper_alpha=ALPHAS[1]))
            for v in values.values()
        ]
    )


def power_scaled_weights(log_p: np.ndarray, alpha: float) -> np.ndarray:
    """Log weights of draws under a density to the power ``alpha``, the largest smoothed where they are not all equal."""
    from arviz_stats.base import array_stats

    try:
        return np.asarray(array_stats.power_scale_lw(log_p, alpha=alpha, axis=(-2, -1)))
    except ValueError:  # the largest are equal, as where a likelihood saturates: there is no tail to smooth
        return (alpha - 1) * log_p


def diagnose(prior: float, prior_se: float, likelihood: float, likelihood_se: float) -> str:
    """What two sensitivities come to (Kallioinen et al. 2024, section 3), two standard errors left to each side of 0.05.

    A parameter that both prior and likelihood move is a compromise between them, which is a prior-data conflict; one that the
    prior alone moves has a strong prior or a weak likelihood.
    """
    low, high = (
        [value + sign * 2 * se > SENSITIVE for value, se in ((prior, prior_se), (likelihood, likelihood_se))]
        for sign in (-1, 1)
    )
    if not high[0]:
        return NONE
    if low[0] and (low[1] or not high[1]):
        return CONFLICT if low[1] else STRONG
    return OPEN


def scales(
    fit: Fit,
    x: np.ndarray,
    labels: np.ndarray | None,
    others: Mapping[str, np.ndarray],
    rng: Rng,
) -> list[dict[str, Any]]:
    """CAVI's best optimum under priors of other scales, beside that under the prior itself.

    Parameters
    ----------
    fit : Fit
        Whose model and prior it is about.
    x : ndarray, shape (N, D)
    labels : ndarray, shape (N,), optional
        Known classes.
    others : mapping of ndarray, shape (N, K)
        Responsibilities of fits, from which CAVI starts besides its own starts, so that no optimum already known is missed.
    rng : numpy.random.Generator or int
        Source of the starts.

    Returns
    -------
    list of dict
        Of every scale its ``factor``, the expected ``weights`` in falling order, how many clusters are ``occupied`` (most
        probable for a point), the ``bound`` in nats, which can be compared between priors, ``ari``, the adjusted Rand index of
        its most probable clusters with those under each of the scales in turn, and with the classes (``ari_classes``), the
        classes that it puts in one cluster (``merged``; see `merged`), and whether it ``converged``.
    """
    rng = generator(rng)
    from sklearn.metrics.cluster import adjusted_rand_score

    known = None if labels is None else is_known(labels)
    restarts = int(np.clip(STARTED // len(x), *STARTS))
    found = []
    for factor, own in zip(FACTORS, rng.spawn(len(FACTORS)), strict=True):
        family = fit.family.rescaled(factor)
        starts: list[dict[str, Any]] = [{"restarts": restarts}, *({"init": r} for r in others.values())]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by `converged`
            fits = [cavi.fit(x, family, fit.allocation, rng=own, **start) for start in starts]
        found.append(max(fits, key=lambda f: f.bound[-1]))
    responsibilities = [f.responsibilities(x) for f in found]
    clusters = [r.argmax(1) for r in responsibilities]
    return [
        {
            "factor": factor,
            "weights": np.sort(_shares(f))[::-1].tolist(),
            "occupied": len(np.unique(z)),
            "bound": float(f.bound[-1]),
            "ari": [float(adjusted_rand_score(z, other)) for other in clusters],
            "ari_classes": None if known is None else float(adjusted_rand_score(labels[known], z[known])),  # type: ignore[index]
            "merged": [] if labels is None else merged(r, labels),
            "converged": f.converged,
        }
        for factor, f, r, z in zip(FACTORS, found, responsibilities, clusters, strict=True)
    ]


def _shares(fit: Fit) -> np.ndarray:
    """The expected weights under q, or of a chain the stationary distribution of its expected transitions, (K,)."""
    allocation: Any = fit.allocation
    mean = allocation.mean(fit.posterior.alpha)  # type: ignore[union-attr]
    return np.asarray(mean if allocation.independent else allocation.stationary(mean[:, 1:]))


def merged(r: np.ndarray, labels: np.ndarray) -> list[dict[str, list[int]]]:
    """Groups of classes that share a cluster: by class how many of its points are there, and how many it has.

    A class is where most of its points are, by their most probable clusters. Nothing is said where there are more classes than
    clusters, some of which must then share.

    Parameters
    ----------
    r : ndarray, shape (N, K)
        Responsibilities.
    labels : ndarray, shape (N,)
    """
    known = is_known(labels)
    r, (classes, of) = r[known], np.unique(labels[known], return_inverse=True)
    table = np.zeros((len(classes), r.shape[1]), dtype=int)
    np.add.at(table, (of, r.argmax(1)), 1)
    if len(classes) > r.shape[1]:
        return []
    home = table.argmax(1)
    groups = [np.flatnonzero(home == k) for k in np.unique(home)]
    return [
        {str(classes[c]): [int(table[c, home[c]]), int(table[c].sum())] for c in group}
        for group in groups
        if len(group) > 1
    ]
