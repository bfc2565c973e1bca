"""What ranks say: whether they are uniform, what intervals cover, and on which side the middle lies.

A rank r among L draws is uniform on 0..L if the draws are from the posterior. S simulations give S independent ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy import stats

ALPHA = 0.05

REPLICATES = 10_000
FLIPS = 4_000
BLOCK = 500

TAIL = 5
"""Simulated studies at least that lie beyond a level."""


def flips(alpha: float) -> int:
    """Of how many reflections the test of symmetry at this level counts those that are as lopsided."""
    return max(FLIPS, ceil(TAIL / alpha))


@dataclass(frozen=True)
class Band:
    """Where the ECDF of S uniform ranks lies, everywhere at once, and how unusual one that leaves it is.

    At z_i = i / (L + 1) the number of ranks below i is Binomial(S, z_i). For every ECDF, gamma is twice the smallest of its
    tail probabilities over i = 1..L; the band holds those with a gamma above the alpha-quantile of that of uniform ranks
    (Säilynoja, Bürkner & Vehtari 2022, *Statistics and Computing* 32:32, with gamma's distribution simulated and
    not bounded, which also serves discrete ranks).

    Parameters
    ----------
    below, above : ndarray, shape (S + 1, L)
        Probability of so many ranks below i, or fewer, and or more.
    null : ndarray
        Gammas of uniform ranks, sorted.
    """

    below: np.ndarray
    above: np.ndarray
    null: np.ndarray

    @classmethod
    def of(cls, S: int, L: int, rng: np.random.Generator, alpha: float = ALPHA) -> Band:
        """The band of S ranks in 0..L, from so many studies of uniform ranks that a level of ``alpha`` can be seen."""
        z = np.arange(1, L + 1) / (L + 1)
        counts = np.arange(S + 1)[:, None]
        below, above = stats.binom.cdf(counts, S, z), stats.binom.sf(counts - 1, S, z)  # (S + 1, L)
        tail, i = np.minimum(below, above), np.arange(L)
        null = []
        for _ in range(max(REPLICATES, ceil(TAIL / alpha)) // BLOCK):
            drawn = rng.multinomial(S, np.full(L + 1, 1 / (L + 1)), size=BLOCK).cumsum(1)[:, :-1]
            null.append(2 * tail[drawn, i].min(1))
        return cls(below, above, np.sort(np.concatenate(null)))

    @property
    def z(self) -> np.ndarray:
        """Where the ECDF is looked at, shape (L,)."""
        L = self.below.shape[1]
        return np.arange(1, L + 1) / (L + 1)

    def p_value(self, ranks: np.ndarray) -> float:
        """Probability that uniform ranks are as far from the diagonal, by gamma."""
        return float(self.p_values(ranks[None])[0])

    def p_values(self, ranks: np.ndarray) -> np.ndarray:
        """The same for the ranks (B, S) of several studies, shape (B,)."""
        L = self.below.shape[1]
        counts = np.stack([_below(own, L) for own in ranks])  # (B, L)
        i = np.arange(L)
        gamma = 2 * np.minimum(self.below[counts, i], self.above[counts, i]).min(1)
        return (1 + np.searchsorted(self.null, gamma, side="right")) / (1 + len(self.null))

    def limits(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest ECDF in the band at the level 1 - alpha, each (L,)."""
        gamma = self.null[int(alpha * len(self.null))]
        S = len(self.below) - 1
        low = (2 * self.below < gamma).sum(0)
        high = S - (2 * self.above < gamma).sum(0)
        return low / S, high / S


def ecdf(ranks: np.ndarray, L: int) -> np.ndarray:
    """Share of the ranks below i, i = 1..L, shape (L,)."""
    return _below(ranks, L) / len(ranks)


def _below(ranks: np.ndarray, L: int) -> np.ndarray:
    return np.bincount(ranks, minlength=L + 1).cumsum()[:-1]


def covered(ranks: np.ndarray, L: int, level: float) -> np.ndarray:
    """Whether the truth is in the central interval between two draws that has exactly this probability; of the ranks' shape.

    With m = (L + 1) (1 - level) / 2, a whole number, it is the interval between the m-th draw from below and from above.
    """
    m = round((L + 1) * (1 - level) / 2)
    return (ranks >= m) & (ranks <= L - m)


def symmetry(ranks: np.ndarray, L: int, rng: np.random.Generator, alpha: float = ALPHA) -> float:
    """Probability that ranks symmetric about L / 2 are as lopsided as these.

    Yao, Vehtari, Simpson & Gelman (2018, arXiv:1802.02538) compare p_s = P_q(theta < theta'_s) with 1 - p_s by
    the Kolmogorov-Smirnov distance. The two samples mirror each other, so the distance is not that of independent ones. Here
    its distribution is that over random reflections of each p_s, which symmetry allows: by distance from 1/2, farthest first,
    it is the largest excess of one side over the other. There are enough reflections to see a level of ``alpha``.
    """
    side, last = farthest_first(ranks, L)
    times = flips(alpha)
    most, lopsided = excess(side, last), 0
    for start in range(0, times, FLIPS):
        flipped = side * rng.choice([-1, 1], (min(FLIPS, times - start), len(side)))
        lopsided += int((excess(flipped, last) >= most).sum())
    return (1 + lopsided) / (1 + times)


def farthest_first(ranks: np.ndarray, L: int) -> tuple[np.ndarray, np.ndarray]:
    """Sides of the middle, -1, 0 or 1, by distance from it, and whether each is the last at its distance; both (S,)."""
    offset = 2 * ranks - L
    order = np.argsort(-np.abs(offset), kind="stable")
    return np.sign(offset[order]), np.append(np.diff(np.abs(offset[order])) != 0, True)


def excess(side: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Largest excess of one side over the other beyond any distance, shape (...); over S, the Kolmogorov-Smirnov distance."""
    return np.abs(side.cumsum(-1)[..., last]).max(-1)
