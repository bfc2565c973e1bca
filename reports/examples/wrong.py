"""The variational Bayes of `reports.examples.gaussian` with one mistake, for a comparison to find: 10.30 without its 1/2.

Everything else is right, it converges, and its mean of mu is right. But E[tau] comes out half as large as it should be, so
that the variance of q(mu) is twice too large: its intervals are 1.41 times too wide. The bound that it prints falls from one
sweep to the next, which coordinate ascent cannot do: the cheapest of all checks already speaks against it.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from reports.examples.factorised import Factorised, moving
from reports.examples.gaussian import A0, B0, LAMBDA0, MU0, Data, bound, build, expected_squares, load

__all__ = ["build", "fit", "load"]


def fit(data: Data, rng: np.random.Generator) -> Factorised:
    """Coordinate ascent on q(mu) q(tau), with the rate of q(tau) wrong."""
    x = (load() | dict(data))["x"]
    N, tau = len(x), A0 / B0
    elbo: list[float] = []
    while moving(elbo):
        mu_N = (LAMBDA0 * MU0 + x.sum()) / (LAMBDA0 + N)  # 10.26
        lambda_N = (LAMBDA0 + N) * tau  # 10.27
        a_N = A0 + (N + 1) / 2  # 10.29
        b_N = B0 + expected_squares(x, mu_N, lambda_N)  # the mistake: half of the sum in 10.30
        tau = a_N / b_N
        elbo.append(bound(x, mu_N, lambda_N, a_N, b_N))
    return Factorised({"mu": stats.norm(mu_N, lambda_N**-0.5), "tau": stats.gamma(a_N, scale=1 / b_N)}, np.array(elbo))
