"""What allocations with independent labels share: the statistics of the labels are the counts of the clusters."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from mixtures.fit import Fit
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences


class Independent:
    """Labels that know nothing of each other, so that the state s holds no more than the statistics of the clusters."""

    independent: ClassVar[bool] = True
    fits: ClassVar[type[Fit]] = Fit
    dims: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("cluster",)}

    @property
    def conjugate(self) -> Self:
        """The same labels with a conjugate prior: these."""
        return self

    def rows(self, x: Rows) -> Rows:
        """The rows, whatever sequences they come in."""
        return x.x if isinstance(x, Sequences) else x

    def split(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The counts (..., K), and the statistics of the clusters' points (..., K, P), which hold them."""
        return s[..., 0], s

    def begin(self, s: np.ndarray, x: Rows, weights: np.ndarray | None) -> np.ndarray:
        """The state that goes with the points' statistics: these alone."""
        return s

    def labelled(self, z: np.ndarray, x: Rows, k: int) -> np.ndarray:
        """Counts (..., k) of labels (..., N)."""
        return np.stack([(z == j).sum(-1) for j in range(k)], axis=-1)

    def ahead(self, weights: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Weights (..., K) of the label after the last."""
        return weights

    def long_run(self, weights: np.ndarray) -> np.ndarray:
        """How probable each label is in the long run, (..., K): the weights."""
        return weights

    def permute(self, s: np.ndarray, order: np.ndarray) -> np.ndarray:
        """States s (..., K, P) with their clusters in the order (..., K)."""
        return np.take_along_axis(s, order[..., None], axis=-2)

    def named(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The weights by name."""
        return {"weights": weights}

    def weights_of(self, named: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `named`."""
        return named["weights"]

    def unlabelled(self, weights: np.ndarray) -> np.ndarray:
        """What of the weights (..., K) needs no labels: they in order of size."""
        return np.sort(weights, axis=-1)
