"""The metric of NUTS, and how long it takes to find one: from the posterior of CAVI, or from nothing.

NUTS moves as if the unconstrained space had been turned and scaled by a metric, the inverse of its mass matrix, which should be
near the covariance of the posterior there (Neal 2011, *Handbook of Markov Chain Monte Carlo*, section 5.4.2.4). A warm-up that
starts from the identity makes most of its steps before it has learnt one. CAVI's posterior is known ahead in closed form: its
draws go through the model's own transforms, and their covariance is where the metric starts. `metric.md` says why the draws are
exact all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Steps of adaptation of each chain, by what its metric starts from.
TUNE = {"cavi": 300, "adapt": 1000}

METRICS = tuple(TUNE)

# Parts of the warm-up ahead of and behind the steps that correct a metric which is known nearly.
AHEAD, BEHIND = 1 / 4, 1 / 6

# Steps of a chain that tell as much about a covariance as one independent draw.
STEPS_A_DRAW = 4

# Draws of a posterior in closed form that give its covariance: at least, and for each free parameter.
DRAWS, DRAWS_A_PARAMETER = 1000, 10


def chosen(metric: str | None, sampler: str) -> str:
    """What the metric starts from: what was asked for, or else CAVI's posterior where the sampler can take a metric.

    Raises
    ------
    ValueError
        If there is no such metric, or the sampler takes none.
    """
    if metric is None:
        return "cavi" if sampler == "numpyro" else "adapt"
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; choose one of {', '.join(METRICS)}")
    if metric == "cavi" and sampler != "numpyro":
        raise ValueError(
            f"{sampler} takes no metric from CAVI's posterior; choose the metric adapt, or sample by numpyro"
        )
    return metric


def covariance(v: np.ndarray, dense: bool) -> np.ndarray:
    """The covariance (P, P) of draws v (M, P), or their variances (P,), shrunk as Stan does.

    Of M draws M / (M + 5) of the covariance is kept, and 5 / (M + 5) of a thousandth is added to every variance (Stan Reference
    Manual, chapter "MCMC Sampling", section "Euclidean metric"). Draws that are not finite, as where a weight has rounded to
    zero, are left out; where fewer than two remain, nothing is known and the metric is the identity.
    """
    v = v[np.isfinite(v).all(axis=1)]
    M, P = v.shape
    if M < 2:
        return np.eye(P) if dense else np.ones(P)
    own = np.cov(v, rowvar=False).reshape(P, P) if dense else v.var(0, ddof=1)
    floor = 1e-3 * 5 / (M + 5)
    return M / (M + 5) * own + (floor * np.eye(P) if dense else floor)


def cleaned(S: Any, metric: Any, n: float) -> Any:
    """A metric in which the covariance S of n draws has its say where it differs by more than its noise; traceable by JAX.

    In the coordinates in which the metric is the identity, the eigenvalues of S scatter about their true value within the band
    of Marchenko & Pastur (1967), c (1 - sqrt(P / n))^2 to c (1 + sqrt(P / n))^2, if that is the same for all. Those within take
    their mean, the others stay (Laloux, Cizeau, Bouchaud & Potters 1999, *Physical Review Letters* 83:1467-1470): a metric that
    was right keeps its shape, and one that was wrong in a few directions is corrected in these. Variances have the band of
    Donoho & Johnstone (1994, *Biometrika* 81:425-455), sqrt(2 log P) standard errors wide on either side.

    Parameters
    ----------
    S, metric : array, shape (P, P) or (P,)
        Matrices, or variances.
    n : float

    Examples
    --------
    >>> import numpy as np
    >>> metric = np.array([0.1, 0.5, 1.5, 2.0])
    >>> [f"{value:.2f}" for value in cleaned(np.array([3.3, 1.1, 2.9, 4.0]), metric, 100.0)]
    ['3.30', '1.02', '3.07', '4.09']
    """
    import jax.numpy as jnp
    from jax.scipy.linalg import solve_triangular

    P = len(S)
    if S.ndim == 1:
        width = (4 * jnp.log(P) / n) ** 0.5
        return metric * _levelled(S / metric, n, 1 - width, 1 + width)
    L = jnp.linalg.cholesky(metric)
    half = solve_triangular(L, S, lower=True)
    values, vectors = jnp.linalg.eigh(solve_triangular(L, half.T, lower=True))
    ratio = (P / n) ** 0.5
    values = _levelled(values, n, jnp.maximum(1 - ratio, 0) ** 2, (1 + ratio) ** 2)
    root = L @ vectors
    return (root * values) @ root.T


def _levelled(values: Any, n: float, low: Any, high: Any) -> Any:
    """Values (P,) with those in the band, relative to the middle one, at their mean; n draws in P directions have no middle."""
    import jax.numpy as jnp

    P = len(values)
    middle = jnp.where(n > P, jnp.sort(values)[(P - 1) // 2], 1.0)
    within = (values >= low * middle) & (values <= high * middle) | (values <= 0)
    return jnp.where(within, (values * within).sum() / within.sum(), values)


def corrected(tune: int, dense: bool) -> Callable[[Any, Any], Any]:
    """How NumPyro's state changes after each step of a warm-up whose metric is known nearly; traceable by JAX.

    After a quarter of the warm-up the steps of the chain are gathered, and a sixth before its end the metric is
    corrected by their covariance (`cleaned`), and the step size is adapted to it anew.

    Parameters
    ----------
    tune : int
        Steps of the warm-up.
    dense : bool
        Whether the metric is a matrix or variances.

    Returns
    -------
    callable
        From the state after a step and the number of the step, from 0 on, to the state.
    """
    import jax
    import jax.numpy as jnp
    from numpyro.infer.hmc_util import dual_averaging, welford_covariance

    _, update, final = welford_covariance(diagonal=not dense)
    first, last = int(AHEAD * tune), tune - int(BEHIND * tune) - 1

    def gathered(state: Any) -> Any:
        own = state.adapt_state
        return state._replace(adapt_state=own._replace(mm_state=update(state.z, own.mm_state)))

    def changed(state: Any) -> Any:
        own = state.adapt_state
        mean, m2, n = own.mm_state
        metric = cleaned(m2 / (n - 1), own.inverse_mass_matrix, n / STEPS_A_DRAW)
        metric, root, root_inv = final((mean, metric, 2))  # which divides by one draw less
        return state._replace(
            adapt_state=own._replace(
                inverse_mass_matrix=metric,
                mass_matrix_sqrt=root,
                mass_matrix_sqrt_inv=root_inv,
                ss_state=dual_averaging()[0](jnp.log(10 * own.step_size)),
            )
        )

    def after(state: Any, number: Any) -> Any:
        state = jax.lax.cond((first <= number) & (number <= last), gathered, lambda same: same, state)
        if last - first < 1:
            return state
        return jax.lax.cond(number == last, changed, lambda same: same, state)

    return after
