"""Starts for sequences: contiguous pieces that are alike begin in one state.

Rows by themselves tell states apart by their location alone; pieces tell them apart by whatever differs in the means of the
sufficient statistics, such as a variance.
"""

from __future__ import annotations

import numpy as np

from mixtures.ascent.starts import guesses
from mixtures.ascent.states import BLOCK_ELEMENTS
from mixtures.errors import DistinctRowsError
from mixtures.model import Allocation, Family
from mixtures.rows.sequences import Sequences

# Pieces for each state, the fewest rows of one where the sequence has them, and the most pieces that are looked at.
PIECES, FEWEST, MOST = 10, 3, 2000


def segments(
    x: Sequences, weights: np.ndarray | None, family: Family, K: int, restarts: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Statistics (restarts, K, P) of pieces of the sequences clustered by k-means++; None if too few are distinct.

    Parameters
    ----------
    x : Sequences
    weights : ndarray, shape (N,), or None
    family : Family
    K, restarts : int
    rng : numpy.random.Generator
    """
    edges = _pieces(x, max(FEWEST, len(x) // (PIECES * K)))
    starts, stops = edges[:-1], edges[1:]
    if len(starts) > MOST:
        chosen = np.sort(rng.choice(len(starts), MOST, replace=False))
        starts, stops = starts[chosen], stops[chosen]
    P = 1 + int(family.monomials[-1, 0])
    if len(starts) == len(edges) - 1 and len(x) * P <= BLOCK_ELEMENTS:
        t = family.features(x.x)
        sums, squares = np.add.reduceat(t, starts), (t**2).sum(0)
    else:
        both = np.array([_sums(family, x.x, a, b) for a, b in zip(starts, stops, strict=True)])
        sums, squares = both[:, 0], both[:, 1].sum(0)
    n = sums[:, 0].sum()
    mean, spread = sums / sums[:, :1], np.sqrt(np.maximum(squares / n - (sums.sum(0) / n) ** 2, 0))
    differ = (spread > 0) & (np.ptp(mean, axis=0) > 0)
    if not differ.any():
        return None
    z = mean[:, differ] / spread[differ]  # what differs between pieces by more than rows do counts for more
    try:
        r = guesses(z[None], sums[:, 0], K, "k-means++", range(restarts), [rng])[0]
    except DistinctRowsError:
        return None
    own = sums if weights is None else sums * weights[starts][:, None]
    total = len(x) if weights is None else weights.sum()
    return (r.swapaxes(-1, -2) @ own) * (total / own[:, 0].sum())


def with_segments(
    s: np.ndarray,
    x: Sequences,
    weights: np.ndarray | None,
    family: Family,
    allocation: Allocation,
    rng: np.random.Generator,
) -> np.ndarray:
    """The states s (R, K, C) with every other pair of them begun from pieces of the sequences instead."""
    runs = np.arange(len(s)) // 2 % 2 == 1
    found = segments(x, weights, family, allocation.n_components, int(runs.sum()), rng) if runs.any() else None
    if found is None:
        return s
    points = allocation.split(s)[1].copy()
    points[runs] = found
    return allocation.begin(points, x, weights)


def _pieces(x: Sequences, rows: int) -> np.ndarray:
    """Edges of pieces of about so many rows, none of which is in two sequences."""
    parts = [np.linspace(own.start, own.stop, 1 + max(1, (own.stop - own.start) // rows))[:-1] for own in x.slices()]
    return np.append(np.concatenate(parts).astype(int), len(x))


def _sums(family: Family, x: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Sums of t(x) and of their squares over some rows, (2, P)."""
    P = 1 + int(family.monomials[-1, 0])
    step, total = max(1, BLOCK_ELEMENTS // P), np.zeros((2, P))
    for first in range(start, stop, step):
        t = family.features(x[first : min(first + step, stop)])
        total += [t.sum(0), (t**2).sum(0)]
    return total
