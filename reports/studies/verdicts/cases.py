"""What is held against the reference: draws that are right, and draws with a defect of known kind and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reports.comparison.verdict import LIMITS

# Three standard errors of a coverage of 0.9 by 4000 draws.
MARGIN = 0.015

PARAMETERS = ("weights", "locations", "spreads")

RIGHT = {
    "exact": "independent draws of the exact posterior",
    "chains": "Markov chains with the exact posterior as their distribution: one step in two stays where it is, the other is "
    "an independent draw",
    "against chains": "independent draws of the exact posterior, with such chains as the reference",
}
"""Methods that are right whatever the posterior; the reference is the exact one where nothing else is said."""

TRIED = {"gibbs": "our Gibbs sampler as a comparison runs it: right only where its chains have found every mode"}
"""Methods that are right where all goes well, tried on every fifth data set, since they take longest."""

EVERY = 5


@dataclass(frozen=True)
class Defect:
    """A kind of defect.

    Parameters
    ----------
    words, axis : str
        What is wrong, and what its size is, for readers.
    metric : str
        The quantity whose true value is the size.
    claims : tuple of str
        The claims that it spoils, which alone are counted.
    sizes : tuple of float
        From small to large.
    """

    words: str
    axis: str
    metric: str
    claims: tuple[str, ...]
    sizes: tuple[float, ...]

    @property
    def rising(self) -> bool:
        """Whether larger defects have larger sizes."""
        return self.sizes[-1] > self.sizes[0]

    @property
    def limit(self) -> float:
        """The limit of the verdict that the sizes cross."""
        low, high, _ = LIMITS[self.metric]
        limit = high if self.rising else low
        assert limit is not None
        return limit

    def place(self, size: float, coverage: float = np.nan) -> str:
        """Where a defect lies: "inside" the limits of the verdict, "at" one or "outside".

        Parameters
        ----------
        size : float
            Its true size.
        coverage : float, optional
            What the spoiled interval covers in truth, for it is judged too and may be less than its limit allows where the size
            is not; known to within `MARGIN`.
        """
        least = LIMITS["coverage95"].low
        assert least is not None
        beyond = (size > self.limit) == self.rising and size != self.limit
        if beyond or coverage < least - MARGIN:
            return "outside"
        return "at" if size == self.limit or coverage < least + MARGIN else "inside"


DEFECTS = {
    "width": Defect("intervals too narrow", "width ratio", "width_ratio", PARAMETERS, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "shift": Defect("median shifted", "shift (IQR / 1.349)", "median_shift", PARAMETERS, (0.25, 0.5, 0.6, 0.75, 1.0)),
    "clusters": Defect(
        "clusters merged in some draws",
        "difference",
        "coclustering_error",
        ("clusters",),
        (0.01, 0.02, 0.03, 0.05, 0.1),
    ),
    "density": Defect("some draws far away", "total variation", "predictive_tv", ("density",), (0.025, 0.05, 0.1, 0.2)),
}
"""Defects by name. In parameters they spoil one scalar a block, which is harder to find than all of them."""


class Case(NamedTuple):
    """A method without a planted defect (no size), or a defect with its size."""

    method: str
    size: float | None = None


def cases(seed: int = 0) -> Iterator[Case]:
    """Those of one seed, in order."""
    yield from map(Case, RIGHT)
    if seed % EVERY == 0:
        yield from map(Case, TRIED)
    for name, defect in DEFECTS.items():
        for size in defect.sizes:
            yield Case(name, size)
