"""One labelling for all: cluster numbers are arbitrary, so results are matched to a reference before they are compared."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from mixtures.fit import Conjugate, Fit

# Enough points to tell labellings apart; more would only cost time.
LARGEST = 1000

# Clusters up to which trying all K! orders of many draws takes less time than an assignment problem for each.
MOST_ENUMERATED = 5

# Draws from which Stephens' iteration is started.
STARTS = 3


class Aligned(NamedTuple):
    """A relabelled fit, the share of draws whose labels moved, and the share that left their chain's usual labelling."""

    fit: Fit
    moved: float
    switched: float


def assignment(overlap: np.ndarray) -> np.ndarray:
    """The order of clusters that maximises the total overlap with the reference.

    Parameters
    ----------
    overlap : ndarray, shape (K, K)
        Row: reference cluster; column: cluster to be matched.

    Returns
    -------
    ndarray, shape (K,)
        For each reference cluster, the cluster that takes its place.
    """
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(overlap, maximize=True)[1]


def assignments(overlaps: np.ndarray) -> np.ndarray:
    """`assignment` of many overlaps (S, K, K), shape (S, K): the best of all orders where these are few."""
    K = overlaps.shape[-1]
    if K > MOST_ENUMERATED:
        return np.array([assignment(overlap) for overlap in overlaps])
    orders = np.array(list(permutations(range(K))))
    return orders[overlaps[:, range(K), orders].sum(-1).argmax(1)]


def align(fit: Fit, reference: np.ndarray, x: np.ndarray) -> Aligned:
    """Bring a fit, draw by draw, to the labelling of reference responsibilities.

    Each draw's clusters are permuted so that its responsibilities agree most with the reference, sum_n sum_k r_nk r'_nk,
    which is an assignment problem in K clusters.

    Parameters
    ----------
    fit : Fit
    reference : ndarray, shape (N, K)
        Responsibilities that define the labelling.
    x : ndarray, shape (N, D), or Sequences
        The points they belong to; at most 1000 of them, evenly spaced, are used.

    Returns
    -------
    Aligned
    """
    every = max(1, -(-len(x) // LARGEST))
    reference = reference[::every]
    if isinstance(fit.posterior, Conjugate):
        own = fit.responsibilities(x[::every]) if fit.allocation.independent else fit.responsibilities(x)[::every]
        order = assignment(reference.T @ own)
        moved = float(np.any(order != np.arange(len(order))))
        return Aligned(replace(fit, posterior=fit.posterior.permute(order)), moved, 0.0)
    chains, draws, K = fit.held.weights.shape[:3]
    overlap = np.zeros((chains * draws, K, K))
    for some, rows, r in fit.each_responsibilities(x, every):
        overlap[some] += np.einsum("nj,snk->sjk", reference[rows], r, optimize=True)
    orders = assignments(overlap).reshape(chains, draws, K)
    moved = np.any(orders != np.arange(K), axis=-1).mean()
    switched = 1 - np.mean([agreement(chain) for chain in orders])
    return Aligned(replace(fit, posterior=fit.held.permute(orders)), float(moved), float(switched))


def stephens(r: np.ndarray) -> np.ndarray:
    """Orders of clusters that bring draws closest to one matrix of responsibilities.

    Algorithm 2 of Stephens (2000, *JRSS B* 62:795-809), which knows nothing of a pivot: with Q the mean of the permuted
    responsibilities, each draw takes the permutation of least divergence, sum_n sum_k r_nk log(r_nk / q_nk), until the
    total falls no more. Of several starts, each with one draw for Q, the one of least total divergence is kept.

    Parameters
    ----------
    r : ndarray, shape (S, N, K)
        Responsibilities under every draw.

    Returns
    -------
    ndarray of int, shape (S, K)
        For each place, the cluster of the draw that takes it.
    """
    starts = np.linspace(0, len(r), min(len(r), STARTS), endpoint=False).astype(int)
    ends = [_closest_orders(r, r[start]) for start in starts]
    return min(ends, key=lambda end: end[1])[0]


def agreement(orders: np.ndarray) -> float:
    """Share of draws that have the most common of their orders (S, K)."""
    return float(np.unique(orders, axis=0, return_counts=True)[1].max() / len(orders))


def sort_by_mean(fit: Fit, x: np.ndarray) -> np.ndarray:
    """Responsibilities (N, K) of a fit whose clusters are numbered by their mean in the first feature, smallest first."""
    r = fit.responsibilities(x)
    return r[:, np.argsort(r.T @ np.asarray(x)[:, 0] / np.maximum(r.sum(0), np.finfo(float).tiny))]


def _closest_orders(r: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, float]:
    """Orders (S, K) at which Stephens' iteration from q (N, K) ends, and the sum of -sum_n sum_k r_nk log q_nk over draws."""
    least = np.inf
    while True:
        # r log r has the same sum in every order; a q_nk of zero would rule out what no draw has shown so far.
        overlap = np.tensordot(np.log(np.maximum(q, np.finfo(float).tiny)), r, axes=(0, 1)).swapaxes(0, 1)  # (S, K, K)
        orders = assignments(overlap)
        total = -float(np.take_along_axis(overlap, orders[:, :, None], axis=2).sum())
        if not total < least:
            return orders, total
        least = total
        q = np.take_along_axis(r, orders[:, None], axis=2).mean(0)
