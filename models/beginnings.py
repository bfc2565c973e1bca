"""Where chains begin, and what is known of the posterior there: modes, wider starts, and draws of CAVI's posterior."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import softmax

from mixtures.ascent import starts as initial
from mixtures.ascent.candidates import beginnings, in_turn
from mixtures.ascent.climb import climb
from mixtures.ascent.states import state
from mixtures.engines.passes import one_pass
from mixtures.fit import Fit
from mixtures.methods import cavi
from mixtures.model import Allocation, Family, Theta
from models.metric import DRAWS, DRAWS_A_PARAMETER

# Each chain looks at this many modes, and starts from one of them given this share of the data: twice as wide.
MODES = 10
SHARE = 0.25


def modes(
    x: np.ndarray, family: Family, allocation: Allocation, start: Fit | None, chains: int, rng: np.random.Generator
) -> np.ndarray:
    """Statistics (chains, K, P) of the mode of each chain.

    That of ``start``, or where one of several runs of CAVI ended, with probability proportional to exp(bound).
    """
    if start is not None:
        return np.stack([state(x, start)] * chains)
    step = partial(cavi.step, family, allocation.conjugate)
    hard = initial.starts(x, None, len(x), family, allocation.conjugate, "k-means++", chains * MODES, rng)
    s = beginnings(step, hard, in_turn(len(hard), MODES))
    pass_ = one_pass(x, None, family, len(x) * allocation.n_components)
    runs = climb(lambda _: (step, pass_), s, len(x), tol=0.1 / len(x), max_iter=10_000, accelerate=True)
    probability = softmax(runs.end.reshape(chains, MODES), axis=1)
    return np.stack([own[rng.choice(MODES, p=p)] for own, p in zip(np.split(runs.s, chains), probability, strict=True)])


def starts(family: Family, allocation: Allocation, s: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Theta]:
    """Weights (chains, K) and theta (chains, K, ...) of modes s (chains, K, P), as `models.methods.nuts.fit` says."""
    weights, theta = _posteriors(family, allocation, SHARE * s, 1, rng)
    return weights[:, 0], {name: v[:, 0] for name, v in theta.items()}


def about(family: Family, allocation: Allocation, s: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Theta]:
    """Weights (chains, M, K) and theta (chains, M, K, ...) drawn from CAVI's posterior at the modes s (chains, K, P)."""
    free = family.n_free(allocation.n_components) + allocation.n_free()
    return _posteriors(family, allocation, s, max(DRAWS, DRAWS_A_PARAMETER * free), rng)


def _posteriors(
    family: Family, allocation: Allocation, s: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, Theta]:
    """Draws of the weights (chains, size, K) and of theta (chains, size, K, ...) from the conjugate posteriors at s."""
    weights, thetas, own = [], [], allocation.conjugate
    for each in s:
        labels, points = own.split(each)
        weights.append(own.sample(own.posterior(labels), size, rng))
        thetas.append(family.sample(family.posterior(points), size, rng))
    return np.stack(weights), {name: np.stack([theta[name] for theta in thetas]) for name in thetas[0]}
