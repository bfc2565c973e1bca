"""The one pass where all clusters have the same coefficients of some statistics, as those of z z^T under one covariance matrix.

With t = (t', t'') and eta_k = (eta_k', eta''), of which the second part is the same for all clusters,

    log z_n = log sum_k exp(t'_n . eta_k') + t''_n . eta''        sum_n w_n log z_n = sum' + (sum_n w_n t''_n) . eta''

so that responsibilities follow from t' alone, and the sum of t'' over all rows is found once. A step asks only for the sum over
clusters of what these have of it; each is given its share by the number of its points. Labels that are drawn may be moved one
by one afterwards, for which all statistics are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Shared:
    """A pass of which all but the first is over the statistics t' alone, unless labels are drawn.

    Parameters
    ----------
    whole : callable
        The pass over all statistics, which the first call makes.
    linear : callable
        Makes the pass over the first of them.
    first : int
        How many these are, Q.
    """

    whole: Callable[..., tuple[np.ndarray, np.ndarray]]
    linear: Callable[[], Callable[..., tuple[np.ndarray, np.ndarray]]]
    first: int
    pass_: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    total: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `mixtures.engines.plain.pass_`; expected statistics beyond the first are shares of their sum over all rows."""
        Q = self.first
        if u is not None:
            return self.whole(eta, u)
        if self.pass_ is None:
            log_z, s = self.whole(eta)
            self.pass_, self.total = self.linear(), s.reshape(-1, *s.shape[-2:])[0].sum(0)
        else:
            beyond, own = self.pass_(np.ascontiguousarray(eta[..., :Q]))
            log_z, s = beyond + eta[..., 0, Q:] @ self.total[Q:], np.empty_like(eta)
            s[..., :Q] = own
        np.multiply(s[..., :1] / self.total[0], self.total[Q:], out=s[..., Q:])
        return log_z, s
