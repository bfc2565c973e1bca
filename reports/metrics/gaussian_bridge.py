"""The log evidence of any density over real vectors, in nats, by bridge sampling between its draws and a Gaussian.

Meng & Wong (1996, *Statistica Sinica* 6:831-860): a Gaussian is fitted to the first half of every chain, and as many draws of
it are held against the second half (Gronau et al. 2017, *Journal of Mathematical Psychology* 81:80-97).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixtures.seeds import Rng, generator
from reports.metrics.evidence import bridged

# Standard error in nats from which an estimate says nothing, its own error included: the draws of both kinds hardly meet.
LARGEST_ERROR = 0.5

# Draws of each kind that a bridge uses at most; and, for each value of a vector, how many a Gaussian is fitted to at least.
DRAWS, A_VALUE = 4000, 10


def bridge(
    u: np.ndarray,
    log_p: np.ndarray | None,
    log_density: Callable[[np.ndarray], np.ndarray],
    rng: Rng,
    most: int = DRAWS,
) -> tuple[float, float]:
    """log p(y) and its standard error.

    Parameters
    ----------
    u : ndarray, shape (chain, draw, P)
        Draws of the posterior.
    log_p : ndarray, shape (chain, draw), optional
        log p(y, u) of these; by default computed where it is needed.
    log_density : callable
        From vectors (n, P) to log p(y, u), (n,).
    rng : numpy.random.Generator
    most : int
        Draws of each kind.

    Raises
    ------
    ValueError
        If there are too few draws for vectors as long, or the posterior is so far from normal that both hardly meet.
    """
    rng = generator(rng)
    chains, length, P = u.shape
    half = length // 2
    first = u[:, :half].reshape(-1, P)
    if len(first) < max(100, A_VALUE * P):
        raise ValueError(
            f"half of the draws are {len(first)}; a Gaussian over {P} unconstrained values needs {max(100, A_VALUE * P)}: "
            "raise draws"
        )
    mean, L = first.mean(0), np.linalg.cholesky(np.cov(first, rowvar=False).reshape(P, P))
    kept = min(length - half, most // chains)
    places = half + np.linspace(0, length - half, kept, endpoint=False).astype(int)
    posterior = u[:, places].reshape(-1, P)
    noise = rng.standard_normal((len(posterior), P))
    constant = P / 2 * np.log(2 * np.pi) + np.log(np.diagonal(L)).sum()

    def log_q(z: np.ndarray) -> np.ndarray:
        return -(z**2).sum(1) / 2 - constant

    own = log_density(posterior) if log_p is None else log_p[:, places].ravel()
    of_posterior = own - log_q(np.linalg.solve(L, (posterior - mean).T).T)
    of_proposal = log_density(mean + noise @ L.T) - log_q(noise)
    of_proposal = np.where(np.isfinite(of_proposal), of_proposal, of_posterior.min() - 1000)
    log_z, se = bridged(of_posterior, of_proposal, chains=chains)
    if not se < LARGEST_ERROR:
        error = f" (standard error {se:.2g} nats; below {LARGEST_ERROR} says something)" if np.isfinite(se) else ""
        raise ValueError(
            f"the posterior is far from normal: its draws and those of a Gaussian over {P} unconstrained values hardly meet"
            f"{error}"
        )
    return log_z, se
