"""The classes that a fit puts rows in: their sizes, how well they are told apart, and how many rows are put in a wrong one.

All of it follows from the responsibilities r (N, K), with the modal class of a row the one of its largest.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from reports.metrics import Row


def sizes(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the rows in each class by responsibilities, and by modal class, (K,) each."""
    return r.mean(0), np.bincount(r.argmax(1), minlength=r.shape[1]) / len(r)


def entropy_r2(r: np.ndarray) -> float:
    """Entropy R²: by what share knowing a row lowers the entropy of its class; not a number for one class.

    1 - mean_n H(r_n) / H(mean_n r_n) (Vermunt & Magidson 2016, *Technical Guide for Latent GOLD 5.1*; Magidson
    1981, *Sociological Methods & Research* 10:177-194).
    """
    before = entr(r.mean(0)).sum()
    return float(1 - entr(r).sum(1).mean() / before) if before > 0 else np.nan


def relative_entropy(r: np.ndarray) -> float:
    """1 - sum_n H(r_n) / (N log K) (Ramaswamy, DeSarbo, Reibstein & Robinson 1993, *Marketing Science* 12:103-124)."""
    K = r.shape[1]
    return float(1 - entr(r).sum(1).mean() / np.log(K)) if K > 1 else np.nan


def classification_error(r: np.ndarray) -> float:
    """Expected share of the rows whose class is not their modal one, 1 - mean_n max_k r_nk."""
    return float(1 - r.max(1).mean())


def classification_table(r: np.ndarray) -> np.ndarray:
    """Expected number of rows that belong to class s, by row, and are put in modal class t, by column, (K, K).

    sum_n r_ns [t is the modal class of n] (Vermunt & Magidson 2016; Bakk, Tekle & Vermunt 2013, *Sociological
    Methodology* 43).
    """
    modal = np.eye(r.shape[1])[r.argmax(1)]
    return r.T @ modal


def classes(method: str, r: np.ndarray) -> list[Row]:
    """Sizes of the classes, and how well they are told apart.

    Returns
    -------
    list of Row
        ``class_share`` and ``class_share_modal`` by cluster; ``entropy_r2``, ``relative_entropy`` and ``classification_error``
        of the data, where there are several classes.
    """
    shares = zip(("class_share", "class_share_modal"), sizes(r), strict=True)
    rows = [Row(method, name, f"cluster {k}", float(v)) for name, own in shares for k, v in enumerate(own)]
    if r.shape[1] == 1:
        return rows
    numbers = {f.__name__: f(r) for f in (entropy_r2, relative_entropy, classification_error)}
    return rows + [Row(method, name, "data", value) for name, value in numbers.items()]
