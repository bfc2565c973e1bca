"""The log evidence log p(x) in nats: estimates, bounds and approximations of one number, with their errors.

Bridge sampling (Meng & Wong 1996, *Statistica Sinica* 6:831-860) takes as many draws from the posterior as from a density q
that looks like it, and solves

    sum_(draws of q) sigma(l - log Z) = sum_(posterior draws) sigma(log Z - l)      l = log p(x, pi, theta) - log q(pi, theta)

with sigma the logistic function, for Z = p(x). Here q is an average of conjugate posteriors over M labellings drawn from the
posterior and over the names of their clusters (Frühwirth-Schnatter 2004, *Econometrics Journal* 7:143-167), so that it has
every mode and mirror image that the draws have. The prior cancels from l:

    q(pi, theta) = p(pi, theta) / (M K!) sum_m sum_names exp(s_m . eta) / p(x, z_m)
    l = log p(x | pi, theta) - log(1 / (M K!) sum_m perm_jk(exp(s_mj . eta_k)) / p(x, z_m))

with s_m the sufficient statistics of z_m, eta the natural parameters, and perm the permanent of a K x K matrix.
"""

from __future__ import annotations

from functools import reduce
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
from scipy.special import expit, gammaln, logsumexp

from mixtures import Conjugate, Fit
from mixtures.ascent.states import completed
from mixtures.engines import sequences
from mixtures.engines.passes import draw, one_pass
from mixtures.engines.responsibilities import fold
from mixtures.families.priors import check_proper
from mixtures.labels import LARGEST, assignment
from mixtures.model import Allocation, Family
from mixtures.seeds import Rng, generator
from reports.metrics import Row, quality

METRIC = "log_evidence"

# Draws of each kind that a bridge uses at most and at least; for each labelling of q it has so many.
DRAWS, FEWEST, A_LABELLING = 2000, 100, 5

# Terms of the passes over the points and of the sums over names that keep a bridge within seconds.
LARGEST_PASSES, LARGEST_SUM = 5e8, 3e7
BLOCK_ELEMENTS = 2_000_000

OF_ALL = "the points are a sample of the rows, and it needs the likelihood of all rows under many draws"


def evidence(fit: Fit, x: np.ndarray | None, rng: Rng) -> tuple[list[Row], dict[str, str]]:
    """Everything that one method has to say about the evidence, and why what it should have said is missing.

    Parameters
    ----------
    fit : Fit
        Draws of a variational fit must be as the method left them, not relabelled one by one.
    x : ndarray, shape (N, D), or None
        None where the points are a sample of the rows that were fitted: nothing that needs the likelihood of these under draws
        is computed.
    rng : numpy.random.Generator or int

    Returns
    -------
    rows : list of Row
        Metric ``log_evidence``; the target says which number it is: ``exact``, ``bridge``, ``smc``, ``importance``,
        ``elbo``, ``elbo_all_labellings`` or ``bic``.
    missing : dict of str
        By target, the reason why there is no such row.
    """
    rng = generator(rng)
    rows, missing = [], {}
    if fit.kind == "exact":
        rows.append(Row(fit.method, METRIC, "exact", float(fit.info["log_evidence"][-1])))
    if "log_evidence_runs" in fit.info:
        rows.append(Row(fit.method, METRIC, "smc", *mean_of_runs(np.asarray(fit.info["log_evidence_runs"]))))
    elif fit.kind == "mcmc":
        try:
            if x is None:
                raise ValueError(OF_ALL)
            rows.append(bridge(fit, x, rng))
        except ValueError as error:
            missing["bridge"] = str(error)
    if isinstance(fit.posterior, Conjugate) or "log_ratio" in fit.sample_stats:
        try:
            if x is None:
                raise ValueError(OF_ALL)
            rows.append(importance(fit, x, rng))
        except ValueError as error:
            missing["importance"] = str(error)
    if fit.kind == "variational" and len(fit.bound):
        bound, se = fit.info.get("elbo", fit.bound[-1]), fit.info.get("elbo_se", np.nan)
        rows.append(Row(fit.method, METRIC, "elbo", bound, se))
        rows.append(Row(fit.method, METRIC, "elbo_all_labellings", bound + gammaln(fit.n_components + 1), se))
    if "bic" in fit.info:
        rows.append(Row(fit.method, METRIC, "bic", -fit.info["bic"] / 2))
    return rows, missing


def bridge(fit: Fit, x: np.ndarray, rng: Rng) -> Row:
    """The log evidence by bridge sampling from posterior draws, over all labellings.

    The first half of every chain gives the labellings of q, the second the posterior draws, both thinned evenly. The
    standard error is that of Frühwirth-Schnatter (2004) for one run, the relative mean squared error of Z,

        var_q(f) / (n E_q[f]^2) + var_post(g) / (n_eff E_post[g]^2)      f = sigma(l - log Z)   g = sigma(log Z - l)

    with n_eff the effective number of the posterior draws for the mean of g: chains that disagree make it small, modes that
    no chain has found go unnoticed.

    Parameters
    ----------
    fit : Fit
        With draws from the posterior under any labellings.
    x : ndarray, shape (N, D)
    rng : numpy.random.Generator or int
        Source of the labellings and of the draws of q.

    Raises
    ------
    ValueError
        If there are too few draws, weights that do not sum to one, an improper prior, clusters that are not exchangeable a
        priori, or more points or clusters than can be summed over.
    """
    rng = generator(rng)
    _check(fit, len(x))
    family, allocation, K = fit.family, fit.allocation, fit.n_components
    chains, length = fit.held.weights.shape[:2]
    size = _affordable(len(x), K, allocation.independent)
    eta = fold(allocation.natural(fit.held.weights), family.natural(fit.held.theta))
    first, second = eta[:, : length // 2], eta[:, length // 2 :]
    pass_ = passes(x, family, allocation, size)

    library = _thin(first, size // A_LABELLING)
    library = library.reshape(-1, *library.shape[2:])
    _, s = draw(pass_, library, len(x), rng)
    posterior = _thin(second, size)
    both = np.stack(
        [posterior.reshape(-1, *posterior.shape[2:]), _draw(s, posterior[..., 0, 0].size, family, allocation, rng)]
    )
    log_ratio = pass_(both.reshape(-1, *both.shape[2:]))[0].reshape(2, -1)
    log_ratio -= [log_average(s, each, family, allocation) for each in both]

    log_z, se = bridged(*log_ratio, chains=chains)
    return Row(fit.method, METRIC, "bridge", log_z + float(family.log_base(np.asarray(x)).sum()), se)


def bridged(posterior: np.ndarray, proposal: np.ndarray, *, chains: int) -> tuple[float, float]:
    """log Z and its standard error from log ratios l at as many draws of the posterior, by chain, as of q; see `bridge`."""
    from arviz_stats.base import array_stats

    log_z = acceptance_ratio(posterior, proposal)
    g, f = expit(log_z - posterior), expit(proposal - log_z)
    n_eff = float(array_stats.ess(g.reshape(chains, -1), method="mean"))
    with np.errstate(divide="ignore", invalid="ignore"):  # where no draw of q is likely under p: not a number
        se = np.sqrt(f.var() / (len(f) * f.mean() ** 2) + g.var() / (n_eff * g.mean() ** 2))
    return log_z, float(se)


def passes(x: Any, family: Family, allocation: Allocation, size: int) -> Any:
    """The pass over the rows as this allocation takes them, for about ``size`` parameters at once."""
    if allocation.independent:
        return one_pass(x, None, family, size * len(x) * allocation.n_components)
    return sequences.one_pass(family, allocation.rows(x), None, "auto")


def acceptance_ratio(posterior: np.ndarray, proposal: np.ndarray) -> float:
    """log Z from log ratios l at equally many draws of the posterior and of q, each (S,).

    The optimal bridge of Meng & Wong (1996), which is the acceptance ratio of Bennett (1976, *Journal of Computational
    Physics* 22:245-268). The two sums are monotone in log Z and cross between the smallest and the largest ratio.
    """
    from scipy.optimize import brentq

    ratios = np.concatenate([posterior, proposal])
    return float(
        brentq(
            lambda log_z: expit(proposal - log_z).sum() - expit(log_z - posterior).sum(),
            ratios.min() - 1,
            ratios.max() + 1,
        )
    )


def log_average(s: np.ndarray, eta: np.ndarray, family: Family, allocation: Allocation) -> np.ndarray:
    """log of q(pi, theta) / p(pi, theta), shape (S,).

    Parameters
    ----------
    s : ndarray, shape (M, K, P)
        Sufficient statistics of labellings.
    eta : ndarray, shape (S, K, P)
        Natural parameters with log pi folded in.
    """
    labels, of_points = allocation.split(s)
    (M, K, _), log_joint = s.shape, family.log_marginal(of_points) + allocation.log_marginal(labels)
    constant = np.log(M) + gammaln(K + 1)
    if not allocation.independent:
        return _log_average_of_orders(s, eta, log_joint, allocation) - constant
    step = max(1, BLOCK_ELEMENTS // (M * (K**2 + 2**K)))
    blocks = (eta[start : start + step] for start in range(0, len(eta), step))
    return np.concatenate(
        [
            logsumexp(log_permanent(np.einsum("mjp,skp->jksm", s, block, optimize=True)) - log_joint, axis=1) - constant
            for block in blocks
        ]
    )


def _log_average_of_orders(s: np.ndarray, eta: np.ndarray, log_joint: np.ndarray, allocation: Allocation) -> np.ndarray:
    """log of the sum over statistics m and names of exp(s_m . eta) / p(x, z_m), name by name: of chains it is no permanent."""
    M, K, _ = s.shape
    orders = np.array(list(permutations(range(K))))
    every = allocation.permute(s[:, None], orders[None]).reshape(M * len(orders), -1)
    flat, step = eta.reshape(len(eta), -1), max(1, BLOCK_ELEMENTS // len(every))
    weights = np.repeat(log_joint, len(orders))
    return np.concatenate(
        [logsumexp(flat[i : i + step] @ every.T - weights, axis=1) for i in range(0, len(flat), step)]
    )


def log_permanent(a: np.ndarray) -> np.ndarray:
    """Log permanent of exp(a), a sum over the K! ways to pair rows with columns, for a (K, K, ...), shape (...).

    The first rows are paired with every set of as many columns in turn, which takes K 2^(K-1) terms.
    """
    K = len(a)
    paired = {0: np.zeros(a.shape[2:])}
    for columns in range(1, 2**K):
        row = columns.bit_count() - 1
        ways = (paired[columns ^ 1 << k] + a[row, k] for k in range(K) if columns >> k & 1)
        paired[columns] = reduce(np.logaddexp, ways)
    return paired[2**K - 1]


def importance(fit: Fit, x: np.ndarray, rng: Rng) -> Row:
    """The log evidence by Pareto-smoothed importance sampling from a variational posterior, over all labellings.

    Draws are counted where no other names of their clusters agree better with the labelling of q, and K! makes up for the
    mirror images: so much is exact, however q overlaps with its own. Where q misses a part of the posterior the estimate is
    too low and its error too small: the k-hat of `reports.metrics.quality` warns of that above 0.7 (Vehtari et al. 2024,
    *JMLR* 25:72), but does not see a mode that no draw reached.

    Parameters
    ----------
    fit : Fit
        In closed form, or with draws as ADVI left them and their ``log_ratio`` log p(x, v) - log q(v) in ``sample_stats``.
    x : ndarray, shape (N, D)
    rng : numpy.random.Generator or int

    Raises
    ------
    ValueError
        If fewer than 100 draws are in the labelling of q, or clusters that are not exchangeable a priori.
    """
    rng = generator(rng)
    _check_exchangeable(fit, len(x))
    size = int(np.clip(LARGEST_PASSES / (len(x) * fit.n_components), FEWEST, 2 * DRAWS))
    drawn = fit.as_draws(1, size, rng) if isinstance(fit.posterior, Conjugate) else fit
    log_ratio = quality.log_ratios(fit, drawn, x) if drawn is not fit else fit.sample_stats["log_ratio"].ravel()
    weights, theta = drawn.held.flat()
    eta = fold(fit.allocation.natural(weights), fit.family.natural(theta))
    if fit.allocation.independent:
        some = x[:: -(-len(x) // LARGEST)]
        reference = completed(some, fit.family, fit.responsibilities(some))
    else:
        reference = completed(np.asarray(x), fit.family, fit.responsibilities(x))
        eta = fit.allocation.split(eta)[1]
    reference += rng.standard_normal(reference.shape)  # tells clusters apart that are alike in q
    overlaps = np.einsum("jp,skp->sjk", reference, eta)
    own = np.array([np.array_equal(assignment(overlap), np.arange(len(overlap))) for overlap in overlaps])
    inside = log_ratio[own]
    if len(inside) < FEWEST:
        raise ValueError(
            f"{len(inside)} of {len(own)} draws are in the labelling of q; Pareto-smoothed weights need at least {FEWEST}: "
            "raise draws"
        )
    value, se = smoothed_mean(inside, len(own))
    return Row(fit.method, METRIC, "importance", float(value + gammaln(fit.n_components + 1)), se)


def smoothed_mean(log_ratio: np.ndarray, draws: int | None = None) -> tuple[float, float]:
    """Log of the mean of Pareto-smoothed weights exp(log_ratio), and its standard error.

    Parameters
    ----------
    log_ratio : ndarray, shape (S,)
    draws : int, optional
        Of how many draws the mean is, where those without a weight are not in ``log_ratio``.
    """
    smoothed, _ = quality.smoothed(log_ratio)
    inside = smoothed + (log_ratio - smoothed)[np.argmin(log_ratio)]  # the smallest is not smoothed, only normalised
    w = np.zeros(draws or len(log_ratio))
    w[: len(inside)] = np.exp(inside - inside.max())
    return float(inside.max() + np.log(w.mean())), float(w.std() / w.mean() / np.sqrt(len(w)))


def mean_of_runs(log_z: np.ndarray) -> tuple[float, float]:
    """Log of the mean of independent unbiased estimates Z given by their logarithms (R,), and its standard error.

    The error is that of the mean over the mean; one run has none.
    """
    z = np.exp(log_z - log_z.max())
    se = z.std(ddof=1) / z.mean() / np.sqrt(len(z)) if len(z) > 1 else np.nan
    return float(log_z.max() + np.log(z.mean())), float(se)


def _check(fit: Fit, n: int) -> None:
    weights = fit.held.weights
    if fit.held.size < 2 * FEWEST:
        raise ValueError(
            f"there are {fit.held.size} posterior draws; a bridge needs at least {2 * FEWEST}: half of them for its "
            "proposal, half to compare with it"
        )
    sums = weights.sum(-1) if fit.allocation.independent else weights[..., 1:].sum(-1)
    if (off := np.abs(sums - 1).max()) > 1e-6 or weights.min() < 0:
        raise ValueError(
            f"the weights of a draw sum to one up to {off:.3g}, and the smallest is {weights.min():.3g}; "
            "expected proportions"
        )
    _check_exchangeable(fit, n)
    check_proper(fit.family, 1 + fit.family.monomials[-1, 0])


def _check_exchangeable(fit: Fit, n: int) -> None:
    from mixtures.methods.exact_cost import exchangeable

    if not exchangeable(fit.allocation, min(n, 8)):
        raise ValueError(
            "the clusters differ a priori, and so do the labellings; expected a symmetric prior of the weights"
        )


def _affordable(n: int, K: int, independent: bool = True) -> int:
    """How many posterior draws a bridge between so many points and clusters may use."""
    by_passes = LARGEST_PASSES / ((2 + 1 / A_LABELLING) * n * (K if independent else K * K))
    names = K * 2.0 ** (K - 1) if independent else float(factorial(K))
    by_names = np.sqrt(A_LABELLING * LARGEST_SUM / (2 * names))
    size = int(min(DRAWS, by_passes, by_names))
    if size < FEWEST:
        raise ValueError(
            f"a bridge between {n} points in {K} clusters is within its limits for {size} draws only, and needs {FEWEST}; "
            "use fewer clusters or points"
        )
    return size


def _thin(draws: np.ndarray, size: int) -> np.ndarray:
    """About ``size`` of the draws (chain, draw, ...), as many of each chain and evenly spaced."""
    chains, length = draws.shape[:2]
    kept = min(length, max(1, size // chains))
    return draws[:, np.linspace(0, length, kept, endpoint=False).astype(int)]


def _draw(s: np.ndarray, n: int, family: Family, allocation: Allocation, rng: np.random.Generator) -> np.ndarray:
    """Natural parameters (n, K, P) of draws from the conjugate posteriors of labellings picked at random."""
    s = s[rng.integers(len(s), size=n)]
    theta = {name: v[0] for name, v in family.sample(family.posterior(allocation.split(s)[1]), 1, rng).items()}
    labels, _ = allocation.split(s)
    weights = np.array([allocation.sample(allocation.posterior(counts), 1, rng)[0] for counts in labels])
    return fold(allocation.natural(weights), family.natural(theta))
