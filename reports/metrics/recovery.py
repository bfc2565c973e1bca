"""How well clusters recover known classes."""

from __future__ import annotations

import numpy as np

from reports.metrics import Row

BINS = 10
UNKNOWN = ""
"""The label of a row whose class is not known."""


def is_known(labels: np.ndarray) -> np.ndarray:
    """Mark the rows whose class is known."""
    return np.asarray(labels).astype(str) != UNKNOWN


def recovery(method: str, r: np.ndarray, labels: np.ndarray, suffix: str = "") -> list[Row]:
    """Scores of responsibilities (N, K) against class labels (N,), on the rows whose class is known.

    Responsibilities are averages over draws for every method that has draws. Those of q(z) of a closed form, which are surer
    since they leave out what is not known of the parameters, are told apart by a suffix of the metrics, ``_qz``.

    Always, but for fewer than two such rows: ``ari`` and ``ami`` (adjusted Rand index and adjusted mutual information of the
    most probable clusters) and ``accuracy`` after the best matching of clusters with classes. Only where there are as many
    clusters as classes:
    ``brier`` (mean squared error over all classes, 0 to 2), ``log_score`` (mean log probability of the right class, in
    nats; minus infinity, without an error, where one is zero or below the range of numbers) and ``calibration_error``
    (expected calibration error of the most probable cluster in ten bins).
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import adjusted_mutual_info_score, adjusted_rand_score

    known = is_known(labels)
    if known.sum() < 2:
        return []
    r, (classes, truth) = r[known], np.unique(labels[known], return_inverse=True)
    found = r.argmax(1)
    table = np.zeros((len(classes), r.shape[1]))
    np.add.at(table, (truth, found), 1)
    matched, order = linear_sum_assignment(table, maximize=True)
    rows = [
        Row(method, f"ari{suffix}", "data", adjusted_rand_score(truth, found)),
        Row(method, f"ami{suffix}", "data", adjusted_mutual_info_score(truth, found)),
        Row(method, f"accuracy{suffix}", "data", table[matched, order].sum() / len(r)),
    ]
    if r.shape[1] != len(classes):
        return rows
    p = r[:, order]
    right = p[range(len(p)), truth]
    confidence, hit = p.max(1), p.argmax(1) == truth
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((confidence - hit)[bin_of == b].sum()) for b in range(BINS)]
    with np.errstate(divide="ignore"):
        score = np.log(right)
    error = score.std() / np.sqrt(len(p)) if right.all() else np.nan
    squares = ((p - np.eye(len(classes))[truth]) ** 2).sum(1)
    n = np.sqrt(len(p))
    return [
        *rows,
        Row(method, f"brier{suffix}", "data", squares.mean(), squares.std() / n),
        Row(method, f"log_score{suffix}", "data", score.mean(), error),
        Row(method, f"calibration_error{suffix}", "data", sum(gaps) / len(p)),
    ]
