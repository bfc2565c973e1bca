"""Linear maps of the columns, and the way back without rounding."""

from fractions import Fraction

import numpy as np


def standardised(x):
    return (x - x.mean(0)) / x.std(0)


def mapped_and_back(x, condition, rng):
    """Rows x A^T in floating point, for a random A of this condition; the rows that A maps to these, and log|det A|.

    Rounding of the mapped rows is eps times the condition in units of the narrowest direction, so that they are other data:
    the way back is by rational arithmetic, rounded once.
    """
    D = x.shape[1]
    U, V = (np.linalg.qr(rng.standard_normal((D, D)))[0] for _ in range(2))
    A = U @ np.diag(np.geomspace(1, 1 / condition, D)) @ V
    mapped, log_det = x @ A.T, 0.0
    M = [[Fraction(v) for v in row] for row in np.column_stack([A, mapped.T]).tolist()]
    for i in range(D):
        pivot = M[i][i]
        log_det += np.log(abs(float(pivot)))
        M[i] = [v / pivot for v in M[i]]
        for k in set(range(D)) - {i}:
            M[k] = [v - M[k][i] * w for v, w in zip(M[k], M[i], strict=True)]
    return mapped, np.array([[float(v) for v in row[D:]] for row in M]).T, log_det
