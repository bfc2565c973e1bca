"""Where the ascents of a hidden Markov model begin, and the end that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from mixtures.allocations.markov import Markov
from mixtures.ascent.candidates import begun
from mixtures.ascent.climb import Natural, Runs, attempt, climb
from mixtures.ascent.segments import with_segments
from mixtures.ascent.starts import starts
from mixtures.ascent.states import soften
from mixtures.ascent.whole import Whole
from mixtures.engines.passes import Pass
from mixtures.errors import CollapseError, DistinctRowsError
from mixtures.model import Family
from mixtures.rows.sequences import Sequences

# Of a random start: how unequal the responsibilities of a value are, and the rows that are looked at.
UNEQUAL, LOOKED_AT = 0.5, 20_000


class Update(Protocol):
    """A step of R runs: from their states (R, K, C) to eta and what the objective has beside sum log_z."""

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Eta (R, K, C) and (R,)."""

    def take(self, runs: np.ndarray) -> Natural:
        """The step of some of the runs."""


class Followed(NamedTuple):
    """The run that ended highest, alone, its number among the starts, and how many starts were lost."""

    runs: Runs
    number: int
    lost: int


def beginnings(
    x: Sequences,
    family: Family,
    allocation: Markov,
    init: object,
    restarts: int,
    rng: np.random.Generator,
    compiled: bool = False,
) -> np.ndarray:
    """States (R, K, C) to begin from: as `mixtures.ascent.starts.starts`, and at random where too few rows are distinct."""
    try:
        s = starts(x, None, len(x), family, allocation, init, restarts, rng, compiled=compiled)
    except DistinctRowsError:
        return _random(x, family, allocation, restarts, rng)
    return with_segments(s, x, None, family, allocation, rng) if isinstance(init, str) else s


def _random(x: Sequences, family: Family, allocation: Markov, restarts: int, rng: np.random.Generator) -> np.ndarray:
    """States in which equal rows have the same random responsibilities, and transitions are random too."""
    K = allocation.n_components
    values, counts = np.unique(x.x[:: -(-len(x) // LOOKED_AT)], axis=0, return_counts=True)
    r = rng.dirichlet(np.full(K, UNEQUAL), (restarts, len(values))) * (counts * (len(x) / counts.sum()))[:, None]
    s = allocation.begin(r.swapaxes(-1, -2) @ family.rough(values), x, None)
    s[..., -K:] = s[..., -K:].sum(-1, keepdims=True) * rng.dirichlet(np.ones(K), (restarts, K))
    return s


def usable(
    natural: Natural, s: np.ndarray, blurred: Callable[[np.ndarray], np.ndarray], absorbing: bool
) -> tuple[np.ndarray, int]:
    """The states (R, K, C) from which a step can be taken, a little softened, and how many were lost.

    Every other state is softened, or all where hard ones are ``absorbing``: a value that no row of a state has would get
    probability zero, and keep it.

    Raises
    ------
    CollapseError
        If there is none.
    """
    s = soften(s) if absorbing else begun(natural, s)
    *_, lost = attempt(natural, s, [])
    if lost.any():
        s = np.where(lost[:, None, None], blurred(s), s)
    errors: list[CollapseError] = []
    *_, lost = attempt(natural, s, errors)
    if lost.all():
        raise CollapseError(f"all {len(s)} starts ended in a collapse, the last: {errors[-1]}") from errors[-1]
    return s[~lost], int(lost.sum())


def follow(
    update: Update, pass_: Pass, s: np.ndarray, n: float, tol: float, n_iter: int, compiled: Whole | None = None
) -> Followed:
    """Climb from s (R, K, C), in one compiled call if there is one, and keep the run that ends highest.

    Raises
    ------
    CollapseError
        If every run lost a state.
    """
    if compiled:
        runs = compiled.climb(s, n, tol, n_iter, True)
    else:
        runs = climb(lambda runs: (update.take(runs), pass_), s, n, tol, n_iter, True)
    if runs.collapsed.all():
        raise CollapseError(f"all {len(s)} starts ended in a collapse, the last: {runs.errors[-1]}") from runs.errors[
            -1
        ]
    best = int(np.argmax(runs.end))
    return Followed(runs.take(np.array([best])), best, int(runs.collapsed.sum()))
