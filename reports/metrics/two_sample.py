"""Classifier two-sample test: can a classifier tell a method's draws from the reference's?

It sees all scalar parameters at once, and so what shifts, spreads and correlations leave out. An accuracy of 1/2 is chance.
The classifier is a boosting of small trees. On 2 x 2000 draws of 17 parameters it told means 0.3 sd apart in one parameter with
an accuracy of 0.54, sds 10% too small with 0.58, two lost correlations of 0.5 with 0.58 and six skewed margins with 0.66. A
logistic regression on squares and products saw the first three as well or better and skewness not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.seeds import Rng, generator
from reports.metrics import Row
from reports.metrics.agreement import halves
from reports.metrics.parameters import scalars

if TYPE_CHECKING:
    import xarray as xr

Draws = Mapping[Any, np.ndarray]

FOLDS = 5
LARGEST_SAMPLE = 2000


def two_sample(method: str, posterior: xr.Dataset, reference: xr.Dataset, rng: Rng) -> list[Row]:
    """``two_sample_accuracy``: how often a classifier is right about whose a draw is, the method's or the reference's.

    Lopez-Paz & Oquab 2017, *ICLR*, arXiv:1610.06545. Draws are thinned to their smallest effective sample size, since
    neighbours in a chain would give away whose they are. A point estimate, or fewer than five independent draws to a fold, has
    no row.
    """
    rng = generator(rng)
    return _compared(method, "two_sample_accuracy", scalars(posterior), scalars(reference), rng)


def floor(reference: str, posterior: xr.Dataset, rng: Rng) -> list[Row]:
    """``two_sample_floor``: the same between two halves of the reference's draws."""
    rng = generator(rng)
    first, second = zip(*(halves(values) for values in scalars(posterior).values()), strict=True)
    return _compared(reference, "two_sample_floor", dict(enumerate(first)), dict(enumerate(second)), rng)


def _compared(method: str, metric: str, a: Draws, b: Draws, rng: np.random.Generator) -> list[Row]:
    if min(next(iter(draws.values())).size for draws in (a, b)) < FOLDS**2:
        return []
    one, other = independent(a), independent(b)
    size = min(len(one), len(other), LARGEST_SAMPLE)
    if size < FOLDS**2:
        return []
    return [Row(method, metric, "all", *accuracy(_some(one, size), _some(other, size), rng))]


def accuracy(a: np.ndarray, b: np.ndarray, rng: Rng) -> tuple[float, float]:
    """Cross-validated accuracy of telling samples a from b, both (n, d), with its binomial standard error."""
    rng = generator(rng)
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**31))
    sides = np.repeat([0, 1], [len(a), len(b)])
    trees = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # so small a job waits for its threads longer than it computes
        share = float(cross_val_score(trees, np.concatenate([a, b]), sides, cv=folds).mean())
    return share, float(np.sqrt(share * (1 - share) / len(sides)))


def independent(draws: Draws) -> np.ndarray:
    """Every so-many-th of draws (chain, draw) of each scalar, as many as the smallest effective sample size, (n, d)."""
    from arviz_stats.base import array_stats

    chains, length = next(iter(draws.values())).shape
    fewest = min(float(array_stats.ess(values)) for values in draws.values() if values.std() > 0)
    step = int(np.ceil(chains * length / fewest)) if fewest < chains * length else 1
    return np.stack([values[:, ::step].ravel() for values in draws.values()], axis=1)


def _some(sample: np.ndarray, size: int) -> np.ndarray:
    return sample[np.linspace(0, len(sample), size, endpoint=False).astype(int)]
