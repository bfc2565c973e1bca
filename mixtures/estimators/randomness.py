"""Random numbers of the estimators: scikit-learn's own for the starts that it makes, and a generator for the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from mixtures.ascent.likewise import numbers

# Numbers that are kept for a seed.
KEPT = 1000


def drawn(
    random_state: Any, init: str, restarts: int, rows: int, K: int
) -> tuple[Iterable[np.ndarray], np.random.Generator]:
    """The `numbers` that scikit-learn draws for its starts, and a generator for others, which their number does not matter to.

    Both are kept for whole numbers, as a RandomState takes long to begin. Many numbers are drawn start by start.
    """
    rows = 0 if init.startswith("k-means") else rows  # on which those of k-means do not depend
    if type(random_state) is int and restarts * max(rows, 1) * K <= KEPT:
        own, entropy = _of_seed(random_state, init, restarts, rows, K)
    else:
        own, entropy = _of(check_random_state(random_state), init, restarts, rows, K)
    return own, np.random.default_rng(entropy)


@lru_cache(1000)
def _of_seed(seed: int, init: str, restarts: int, rows: int, K: int) -> tuple[Iterable[np.ndarray], np.ndarray]:
    return _of(check_random_state(seed), init, restarts, rows, K)


def _of(
    source: np.random.RandomState, init: str, restarts: int, rows: int, K: int
) -> tuple[Iterable[np.ndarray], np.ndarray]:
    begin = source.get_state()
    entropy = _words(source)
    if init == "random" and restarts * rows * K > KEPT:
        return _one_by_one(source, begin, restarts, rows, K), entropy
    source.set_state(begin)
    return numbers(source, init, restarts, rows, K), entropy


def _one_by_one(source: np.random.RandomState, begin: Any, restarts: int, rows: int, K: int) -> Iterator[np.ndarray]:
    source.set_state(begin)
    for _ in range(restarts):
        yield from numbers(source, "random", 1, rows, K)


def generator(random_state: np.random.RandomState) -> np.random.Generator:
    """A generator that the state of the other determines."""
    return np.random.default_rng(_words(random_state))


def _words(random_state: np.random.RandomState) -> np.ndarray:
    return random_state.randint(2**32, size=4, dtype=np.uint32)
