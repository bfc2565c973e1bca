"""Coordinates in which near neighbours differ alike in all directions, so that clusters are about round."""

from __future__ import annotations

import numpy as np

# Nearest rows of each to which differences are taken, passes of the fixed point, and rows that are looked at.
NEIGHBOURS, PASSES, ENOUGH = 20, 4, 400

# Share of the metric before that a pass leaves in the next, so that none is singular where neighbours do not differ.
KEPT = 0.01


def by_neighbours(z: np.ndarray, weights: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """The map T (..., D, D) from points z to coordinates z T in which differences of neighbours, found there, are white.

    The data's own white coordinates squeeze clusters along what tells them apart. Neighbours are mostly of one cluster, so that
    their differences have its shape, whatever the clusters are (Art, Gnanadesikan & Kettenring 1982, *Utilitas Mathematica*
    21A:75-99). A difference d_nm = y_n - y_m counts in units of the distance h_n of the last neighbour, where its weight falls
    to zero, so that sparse clusters and rows far away weigh no more than others, and rounding of rows that are alike does not:

        W = sum_nm (1 - |d_nm|^2 / h_n^2) d_nm d_nm^T / h_n^2        y <- W^(-1/2) y

    A rotation of z leaves the distances of the result as they are.

    Parameters
    ----------
    z : ndarray, shape (..., N, D)
    weights : ndarray, shape (N,)
        How many observations each row stands for.
    diagonal : bool
        Whether features are scaled only, and W has no others than its diagonal entries.
    """
    D = z.shape[-1]
    y = z[..., _spread(weights), :]
    y = y - np.median(y, axis=-2, keepdims=True)
    k, T = min(NEIGHBOURS, y.shape[-2] - 1), np.broadcast_to(np.eye(D), (*z.shape[:-2], D, D))
    for _ in range(PASSES):
        length = (y**2).sum(-1)
        squares = length[..., None] + length[..., None, :] - 2 * y @ y.swapaxes(-2, -1)
        near = np.argpartition(squares, k, axis=-1)[..., : k + 1]
        d = y[..., None, :] - np.take_along_axis(y[..., None, :, :], near[..., None], axis=-2)
        squares = (d**2).sum(-1)
        furthest = squares.max(-1, keepdims=True)
        furthest[furthest == 0] = 1.0  # where all differences are none
        w = (1 - squares / furthest) / furthest
        d = d.reshape(*y.shape[:-2], -1, D)
        W = (d * w.reshape(*y.shape[:-2], -1, 1)).swapaxes(-2, -1) @ d
        W = W * np.eye(D) if diagonal else W
        trace = np.trace(W, axis1=-2, axis2=-1)[..., None, None]
        W = (1 - KEPT) * D * W / np.where(trace > 0, trace, 1.0) + KEPT * np.eye(D)
        root = np.linalg.inv(np.linalg.cholesky(W)).swapaxes(-2, -1)
        y, T = y @ root, T @ root
    return T


def _spread(weights: np.ndarray) -> np.ndarray:
    """Places of rows, each as often as it has weight, evenly over them: as many as there are, or `ENOUGH`."""
    total = weights.sum()
    M = min(ENOUGH, max(len(weights), round(total)))
    at = (np.arange(M) + 0.5) * (total / M)
    return np.minimum(np.searchsorted(np.cumsum(weights), at), len(weights) - 1)
