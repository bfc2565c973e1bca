"""What size of departure a study of S simulations shows: the power of each check of a calibration, at the check's own level.

A departure is detectable where a study of this size shows it with probability `POWER`. What is smaller is more likely to be
missed, so that "no departure detected" says nothing of it.

The alternatives for ranks: the exact posterior of a quantity is normal with standard deviation s, and the method's is

    N(m + delta s, (r s)^2)     in place of     N(m, s^2)

with the same delta and r for every data set. The truth is at Phi((z - delta) / r) of the method's posterior, z ~ N(0, 1).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import ndtr

from reports.studies.calibration.judgement import Band, flips
from reports.studies.intervals import wilson

POWER = 0.8

STUDIES = 400
"""Simulated studies behind a power; its Monte Carlo error is below 0.025, and near 0.02 at `POWER`."""

STEPS = 9
"""Halvings of a bracket: its ends are then 0.2% of it apart."""

LARGEST = 5.0
"""Departures are looked for up to so many standard deviations, and up to this ratio of them."""


class Ranks(NamedTuple):
    """Smallest departures from uniform ranks that a study shows; missing where it shows none up to `LARGEST`.

    Attributes
    ----------
    shift : float
        |delta|, in posterior standard deviations.
    narrow, wide : float
        Highest r below 1, and lowest above it.
    """

    shift: float
    narrow: float
    wide: float


def coverage(level: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Highest coverage below a level, and lowest above it, that Wilson's interval of n independent cases leaves out.

    With probability `POWER`, by the binomial distribution; missing where no count of n cases would do.
    """
    counts = range(n + 1)
    too_few = bisect_left(counts, True, key=lambda k: wilson(k / n, n, confidence)[1] >= level) - 1
    too_many = bisect_left(counts, True, key=lambda k: wilson(k / n, n, confidence)[0] > level)
    below = above = np.nan
    if too_few >= 0:
        below = brentq(lambda p: stats.binom.cdf(too_few, n, p) - POWER, 0, level)
    if too_many <= n:
        above = brentq(lambda p: stats.binom.sf(too_many - 1, n, p) - POWER, level, 1)
    return float(below), float(above)


def ranks(band: Band, alpha: float, rng: np.random.Generator) -> Ranks:
    """What the band of S ranks in 0..L shows at the level alpha, by simulation of studies."""
    S, L = len(band.below) - 1, band.below.shape[1]
    z, seed = rng.standard_normal((STUDIES, S)), int(rng.integers(2**63))

    def power(delta: float, r: float) -> float:
        found = np.random.default_rng(seed).binomial(L, ndtr((z - delta) / r))
        return float((band.p_values(found) < alpha).mean())

    return Ranks(
        smallest(lambda delta: power(delta, 1.0), 0, LARGEST),
        smallest(lambda r: power(0.0, r), 1, 1 / LARGEST),
        smallest(lambda r: power(0.0, r), 1, LARGEST),
    )


def bias(S: int, alpha: float, rng: np.random.Generator) -> float:
    """Smallest |delta| that the test of symmetry of S ranks shows at the level alpha; it does not depend on r.

    The test orders the truths by their distance from the middle: by |z - delta|, with the sign of z - delta as the side.
    """
    z, times = rng.standard_normal((STUDIES, S)), flips(alpha)
    null = np.sort(_excess(rng.choice(np.array([-1, 1], np.int8), (times, S))))
    allowed = math.ceil(alpha * (1 + times) - 1) - 1  # reflections at least as lopsided, for a p-value below alpha
    limit = null[-1 - allowed]

    def power(delta: float) -> float:
        offset = z - delta
        order = np.argsort(-np.abs(offset), axis=1)
        return float((_excess(np.sign(np.take_along_axis(offset, order, 1))) > limit).mean())

    return smallest(power, 0, LARGEST)


def _excess(side: np.ndarray) -> np.ndarray:
    """Largest excess of one side over the other beyond any distance, of sides (..., S) without ties, farthest first."""
    return np.abs(side.cumsum(-1)).max(-1)


def smallest(power: Callable[[float], float], nothing: float, everything: float) -> float:
    """The departure nearest to ``nothing`` at which the power is `POWER`, which rises from there to ``everything``.

    Missing where even ``everything`` has less.
    """
    if power(everything) < POWER:
        return np.nan
    low, high = nothing, everything
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
