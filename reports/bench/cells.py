"""The cells of the grid, the points that fill them, and the start that both sides share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixtures import COVARIANCES, Dirichlet
from mixtures.ascent.kmeans import nearest, seed
from mixtures.ascent.starts import ENOUGH
from mixtures.ascent.states import SOFTENING, hard
from mixtures.datasets.simulated import simulate
from mixtures.memory import check_memory
from mixtures.model import Family

SEED = 0

# Smallest distance between two means in cluster standard deviations: neighbours overlap, and EM takes hundreds of steps.
SEPARATION = 2.5

BLOCK = 10_000


class Cell(NamedTuple):
    """N points of D features, K clusters."""

    n: int
    d: int
    k: int

    def __str__(self) -> str:
        return f"{short(self.n)} × {self.d}, K = {self.k}"


GRID = (
    Cell(1_000, 2, 3),
    Cell(100_000, 2, 5),
    Cell(100_000, 10, 10),
    Cell(1_000_000, 2, 5),
    Cell(200_000, 20, 20),
    Cell(50_000, 50, 10),
)


@dataclass(frozen=True)
class Problem:
    """A cell under one covariance structure.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family : Family
        Ours, with its default prior; scikit-learn is told its covariance structure.
    allocation : Dirichlet
    r : ndarray, shape (N, K)
        Responsibilities from which both sides take their first M-step.
    """

    x: np.ndarray
    family: Family
    allocation: Dirichlet
    r: np.ndarray


def short(n: int) -> str:
    """A round number from 1000 up as in 2e5, any other as it is."""
    digits = str(n).rstrip("0")
    return f"{digits}e{len(str(n)) - 1}" if n >= 1000 and len(digits) == 1 else f"{n:,}"


def parse_cells(text: str) -> tuple[Cell, ...]:
    """Cells from "1e5x2x5,2e5x20x20".

    Raises
    ------
    ValueError
        If a cell is not three whole numbers of at least 1, or has too few rows for its clusters.
    """
    return tuple(_parse_cell(part.strip()) for part in text.split(","))


def parse_map(text: str) -> Cell:
    """The cell of a memory map, which need not fit into memory, from "1e8x2x5".

    Raises
    ------
    ValueError
        See `parse_cells`.
    """
    return _parse_cell(text.strip(), mapped=True)


def _parse_cell(text: str, mapped: bool = False) -> Cell:
    try:
        numbers = [float(part) for part in text.split("x")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(number.is_integer() and number >= 1 for number in numbers):
        raise ValueError(f"{text!r} is no cell; give rows x features x clusters, for example 1e5x2x5")
    cell = Cell(*(int(number) for number in numbers))
    if not mapped:
        check_memory(8 * cell.n * (2 * cell.d + cell.k), f"cell {text}", "give fewer rows")
    least = (1000 if mapped else 10) * cell.k * (cell.d + 1)
    if cell.n < least:
        raise ValueError(f"cell {text} needs at least {1000 if mapped else 10} K (D + 1) = {least} rows")
    return cell


def parse_covariances(text: str) -> tuple[str, ...]:
    """Covariance structures from "full,tied" or "all".

    Raises
    ------
    ValueError
        If one is unknown.
    """
    names = tuple(COVARIANCES) if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in COVARIANCES]:
        raise ValueError(
            f"there is no covariance structure {unknown[0]!r}; choose from {', '.join(COVARIANCES)}, or all"
        )
    return names


def points(cell: Cell) -> np.ndarray:
    """The points of a cell, shape (N, D), always the same."""
    return np.concatenate(list(blocks(cell)))


def blocks(cell: Cell) -> Iterator[np.ndarray]:
    """`points` in blocks of rows, of a Gaussian mixture with full covariances and even weights."""
    rng = np.random.default_rng(SEED)
    truth = simulate(1, cell.k, cell.d, separation=SEPARATION, rng=rng).truth
    assert truth is not None
    roots = np.linalg.cholesky(truth["covariances"])
    for start in range(0, cell.n, BLOCK):
        labels = rng.integers(cell.k, size=min(BLOCK, cell.n - start))
        block = rng.standard_normal((len(labels), cell.d))
        for k in range(cell.k):
            block[labels == k] = truth["means"][k] + block[labels == k] @ roots[k].T
        yield block


def pose(x: np.ndarray, covariance: str, k: int) -> Problem:
    """The problem of fitting K clusters of one structure to x, with a start: each point near one of K seeds."""
    family = COVARIANCES[covariance].from_data(x, k)
    z = family.coordinates(x)
    some = z[:ENOUGH]
    centres = seed(some[None], np.ones(len(some)), k, np.random.default_rng(SEED).random((1, k)))[0]
    return Problem(x, family, Dirichlet.symmetric(k), softened(nearest(z, centres), k))


def softened(labels: np.ndarray, k: int) -> np.ndarray:
    """Responsibilities (N, K) that follow the labels but for a small even share, from which either side can start."""
    return (1 - SOFTENING) * hard(labels, k) + SOFTENING / k
