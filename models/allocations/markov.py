r"""The twin of `mixtures.allocations.markov`: start and transitions, and the observed sequences with their states summed out.

    p(x | pi, A, theta) = pi B_1 A B_2 A .. A B_N 1      B_t = diag_k p(x_t | theta_k)

That is the forward recursion (PRML 13.36). A product of matrices may be taken in any order, and here it is taken two by two,
in log2 N rounds of products that do not wait for each other, for N products in a row would take N times the time of one call.
B_t is held as its sum, in logarithms, times the softmax over states; and after each round every matrix is divided by its sum.
At the first row of a sequence each row of A gives way to pi, which makes the one product that of all sequences.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.allocations.markov import Markov
from mixtures.model import Family
from mixtures.rows.sequences import Sequences
from mixtures.sequences import chain
from models.observed import Statistics, axes_of, log_densities, shown


def variables(allocation: Markov) -> TensorVariable:
    """The variables ``initial`` pi (K,) and ``transitions`` A (K, K), side by side (K, 1 + K); constants where K = 1.

    A stationary start is no free variable: pi = 1^T (I - A + U)^-1 with U all ones.
    """
    K = allocation.n_components
    if K > 1:
        A = pm.Dirichlet("transitions", allocation.a0, shape=(K, K), dims=("cluster", "cluster_"))
    else:
        A = pm.Deterministic("transitions", pt.ones((1, 1)), dims=("cluster", "cluster_"))
    if K > 1 and allocation.start == "free":
        pi = pm.Dirichlet("initial", allocation.alpha0, dims="cluster")
    else:
        pi = pm.Deterministic("initial", pt.linalg.solve((np.eye(K) - A + 1).T, pt.ones(K)), dims="cluster")
    return pt.concatenate([pi[:, None], A], axis=1)


def unconstrain(allocation: Markov, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The unconstrained values of start beside transitions (..., K, 1 + K), by name."""
    if allocation.n_components == 1:
        return {}
    log_pi, log_A = np.log(weights[..., 0]), np.log(weights[..., 1:])
    values = {"transitions_simplex__": (log_A - log_A.mean(-1, keepdims=True))[..., :-1]}
    if allocation.start == "free":
        values["initial_simplex__"] = (log_pi - log_pi.mean(-1, keepdims=True))[..., :-1]
    return values


def observe(
    x: Sequences,
    family: Family,
    weights: TensorVariable,
    theta: dict[str, TensorVariable],
    eta: TensorVariable,
    statistics: Statistics,
) -> None:
    """Add the observed ``x`` (N, D), whose one log density is that of all sequences in the units of x.

    Parameters
    ----------
    x : Sequences
    weights : TensorVariable, shape (K, 1 + K)
    family, theta, eta, statistics
        See `models.allocations.dirichlet.observe`.
    """
    gaps, firsts = np.isnan(x.x), np.zeros(len(x), dtype=bool)
    firsts[x.edges[:-1]] = True

    def logp(value: TensorVariable, eta: TensorVariable, weights: TensorVariable, *_: TensorVariable) -> TensorVariable:
        log_rho, log_base = log_densities(value, gaps, family, eta, statistics)
        logs = pt.special.log_softmax(log_rho, axis=0)
        B = pt.exp(logs).T[:, None, :] * pt.switch(firsts[:, None, None], weights[:, 0], weights[:, 1:])
        return (log_rho[0] - logs[0] + log_base).sum() + _log_product(B, len(x))

    def random(*parameters: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        _eta, weights, _rows, _columns, *values = parameters
        z = np.concatenate([chain(weights, int(n), rng) for n in x.lengths])
        return family.simulate(dict(zip(theta, values, strict=True)), z, rng)

    rows, columns = (np.zeros(n) for n in x.shape)  # which tell their numbers
    pm.CustomDist(
        "x",
        eta,
        weights,
        rows,
        columns,
        *theta.values(),
        logp=logp,
        random=random,
        signature=",".join(["(k,p),(k,j),(n),(d)", *axes_of(theta)]) + "->(n,d)",
        observed=shown(x.x, gaps),
    )


def _log_product(M: TensorVariable, n: int) -> TensorVariable:
    """Log of the sum of the first row of the product of n matrices (n, K, K)."""
    total = pt.zeros(())
    while n > 1:
        pairs = n // 2
        left, right, rest = M[0 : 2 * pairs : 2], M[1 : 2 * pairs : 2], M[2 * pairs :]
        M = left @ right
        size = M.sum((-2, -1), keepdims=True)
        total += pt.log(size).sum()
        M = pt.concatenate([M / size, rest]) if n % 2 else M / size
        n -= pairs
    return total + pt.log(M[0, 0].sum())
