"""What paths drawn from the posterior say that smoothed probabilities of single rows cannot: which rows share a state.

Given the parameters the states of two rows of a sequence depend on each other, so that the probability that they are the same
is no product of those of each.
"""

from __future__ import annotations

import numpy as np

from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from mixtures.sequences import SequenceFit
from reports.metrics.ahead import subset
from reports.metrics.label_free import Together, of_responsibilities

# Paths, and rows of them, that are drawn at most.
PATHS, LARGEST = 4000, 20_000_000


def shared(fit: SequenceFit, x: Sequences, rows: np.ndarray, rng: Rng) -> tuple[Together, float]:
    """The probabilities that two of some rows (n,) have one state, and the expected number of states that any row has.

    Of one set of parameters, too, many paths are drawn.
    """
    rng = generator(rng)
    chains, draws = fit.held.weights.shape[:2]
    each = max(2, min(PATHS, LARGEST // len(x)) // chains)
    chosen = np.linspace(0, draws, each if draws == 1 else min(draws, each), endpoint=False).astype(int)
    z = subset(fit, (np.arange(chains)[:, None] * draws + chosen).ravel()).paths(x, rng)
    indicators = (z[:, rows, None] == np.arange(fit.n_components)).astype(float)
    occupied = np.mean([(z == k).any(1) for k in range(fit.n_components)], axis=1).sum()
    return of_responsibilities(indicators, chains, len(chosen)), float(occupied)
