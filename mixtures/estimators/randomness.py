"""Random numbers of the estimators: scikit-learn's own for the starts that it makes, and a generator for the others."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from mixtures.ascent.likewise import numbers

# Numbers that are kept for a seed.
KEPT = 1000


def drawn(random_state: Any, init: str, restarts: int, rows: int, K: int) -> tuple[np.ndarray, np.random.Generator]:
    """The `numbers` that scikit-learn draws for its starts, and a generator for others, which their number does not matter to.

    Both are kept for whole numbers, as a RandomState takes long to begin.
    """
    rows = 0 if init.startswith("k-means") else rows  # on which those of k-means do not depend
    if type(random_state) is int and restarts * max(rows, 1) * K <= KEPT:
        own, entropy = _of_seed(random_state, init, restarts, rows, K)
    else:
        own, entropy = _of(check_random_state(random_state), init, restarts, rows, K)
    return own, np.random.default_rng(entropy)


@lru_cache(1000)
def _of_seed(seed: int, init: str, restarts: int, rows: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    return _of(check_random_state(seed), init, restarts, rows, K)


def _of(source: np.random.RandomState, init: str, restarts: int, rows: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    begin = source.get_state()
    entropy = _words(source)
    source.set_state(begin)
    return numbers(source, init, restarts, rows, K), entropy


def generator(random_state: np.random.RandomState) -> np.random.Generator:
    """A generator that the state of the other determines."""
    return np.random.default_rng(_words(random_state))


def _words(random_state: np.random.RandomState) -> np.ndarray:
    return random_state.randint(2**32, size=4, dtype=np.uint32)
