"""Linear dynamical systems: the smoother against the joint normal distribution, published digits, EM against an optimiser."""

import numpy as np
import pytest

from mixtures.dynamics import states, structure
from mixtures.engines import backwards, kalman
from mixtures.engines.kalman import LOG_2PI, Data, System
from mixtures.rows.sequences import Sequences


def moments(T, system):
    """Mean, diffuse directions and covariance of all states of T steps together, in one row."""
    H, q = len(system.A), system.E.shape[1]
    mean, E, cov = np.zeros((T, H)), np.zeros((T, H, q)), np.zeros((T, H, T, H))
    mean[0], E[0], cov[0, :, 0] = system.m0, system.E, system.P0
    for t in range(1, T):
        mean[t], E[t] = system.A @ mean[t - 1], system.A @ E[t - 1]
        for u in range(t):
            cov[t, :, u] = system.A @ cov[t - 1, :, u]
            cov[u, :, t] = cov[t, :, u].T
        cov[t, :, t] = system.A @ cov[t - 1, :, t - 1] @ system.A.T + system.Q
    return mean.ravel(), E.reshape(T * H, q), cov.reshape(T * H, T * H)


def joint(x, system):
    """log p(x), and means (T, H) and covariances (T, H, T, H) of the states given x, by the joint normal distribution."""
    (T, D), H, q = x.shape, len(system.A), system.E.shape[1]
    mean, E, cov = moments(T, system)
    C = np.zeros((T, D, T, H))
    C[np.arange(T), :, np.arange(T)] = system.C
    seen = ~np.isnan(x.ravel())
    C, R = C.reshape(T * D, T * H)[seen], np.kron(np.eye(T), system.R)[np.ix_(seen, seen)]
    y, slope = x.ravel()[seen] - C @ mean, C @ E
    inverse = np.linalg.inv(C @ cov @ C.T + R)
    information = slope.T @ inverse @ slope
    spread = np.linalg.inv(information)
    delta = spread @ slope.T @ inverse @ y
    rest = y - slope @ delta
    log_p = np.linalg.slogdet(inverse)[1] - rest @ inverse @ rest - len(y) * LOG_2PI - np.linalg.slogdet(information)[1]
    gain = cov @ C.T @ inverse
    own = E - gain @ slope
    posterior = cov - gain @ C @ cov + own @ spread @ own.T
    return (log_p + q * LOG_2PI) / 2, (mean + E @ delta + gain @ rest).reshape(T, H), posterior.reshape(T, H, T, H)


def a_system(rng, H, D, q=0, silent=(), T=None):
    """A system at random, of whose states the first q begin diffuse and some have no noise."""

    def covariance(n):
        root = rng.standard_normal((n, n))
        return root @ root.T + 0.1 * np.eye(n)

    Q, P0 = covariance(H), covariance(H)
    for i in silent:
        Q[i], Q[:, i] = 0, 0
    P0[:q], P0[:, :q] = 0, 0
    C = rng.standard_normal((D, H) if T is None else (T, D, H))
    return System(0.6 * rng.standard_normal((H, H)), Q, C, covariance(D), rng.standard_normal(H), P0, np.eye(H)[:, :q])


def some_rows(rng, T, D, missing):
    x = 3 * rng.standard_normal((T, D))
    x[rng.random((T, D)) < missing] = np.nan
    if missing:
        x[T // 2] = np.nan
    return x


CASES = {
    "one feature": {"H": 2, "D": 1},
    "gaps": {"H": 2, "D": 3, "missing": 0.3},
    "more features than states": {"H": 2, "D": 5, "missing": 0.3},
    "states without noise": {"H": 3, "D": 2, "missing": 0.3, "silent": (1, 2)},
    "diffuse": {"H": 2, "D": 1, "q": 2},
    "diffuse with gaps": {"H": 3, "D": 2, "q": 3, "missing": 0.4},
    "partly diffuse": {"H": 3, "D": 2, "q": 1, "missing": 0.3},
    "regressors": {"H": 2, "D": 2, "q": 1, "missing": 0.3, "rows": True},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_smoother_has_the_moments_of_the_joint_distribution(case):
    rng, T = np.random.default_rng(3), 8
    system = a_system(
        rng, case["H"], case["D"], case.get("q", 0), case.get("silent", ()), T if "rows" in case else None
    )
    x = some_rows(rng, T, case["D"], case.get("missing", 0))
    log_p, mean, cov = joint(x, system)
    found = backwards.smooth(Data(Sequences(x)), system, each=True)
    t = np.arange(T)
    V, pairs = cov[t, :, t], cov[t[1:], :, t[:-1]]
    assert found.log_z.sum() == pytest.approx(log_p, abs=1e-9)
    np.testing.assert_allclose(found.mean, mean, atol=1e-9)
    np.testing.assert_allclose(found.V, V, atol=1e-9)
    np.testing.assert_allclose(found.pairs[:-1], pairs, atol=1e-9)
    np.testing.assert_allclose(found.sums.steps, [V[:-1].sum(0), V[1:].sum(0), pairs.sum(0)], atol=1e-9)
    np.testing.assert_allclose(found.sums.within.sum(0), V.sum(0), atol=1e-9)
    np.testing.assert_allclose(found.sums.first[0], V[0], atol=1e-9)


def test_compiled_smoother_has_the_moments_of_the_plain_one_after_it_has_settled():
    rng, T = np.random.default_rng(8), 400
    system = a_system(rng, 3, 4)
    system = system._replace(A=system.A / (1.1 * np.abs(np.linalg.eigvals(system.A)).max()))
    x = rng.standard_normal((T, 4))
    x[200, 1], x[300] = np.nan, np.nan
    log_z, mean, V, pairs = kalman.plain(x, system)
    found = backwards.smooth(Data(Sequences(x)), system, each=True)
    part = kalman.track(kalman.collapse(Data(Sequences(x)), system), np.array([0, T]), system)
    assert len(part.covs) < T / 2  # covariances that do not change any more are not computed again
    np.testing.assert_allclose(found.log_z, log_z, rtol=1e-11)
    np.testing.assert_allclose(found.mean, mean, atol=1e-11)
    np.testing.assert_allclose(found.V, V, atol=1e-11)
    np.testing.assert_allclose(found.pairs[:-1], pairs, atol=1e-11)
    np.testing.assert_allclose(found.sums.steps, [V[:-1].sum(0), V[1:].sum(0), pairs.sum(0)], rtol=1e-9, atol=1e-9)
    within = [V[[300]].sum(0), V[[200]].sum(0), np.delete(V, [200, 300], 0).sum(0)]
    np.testing.assert_allclose(found.sums.within, within, rtol=1e-9, atol=1e-9)


def test_sequences_are_smoothed_one_by_one():
    rng = np.random.default_rng(2)
    system, x = a_system(rng, 2, 1, q=1), some_rows(rng, 12, 1, 0.2)
    both = backwards.smooth(Data(Sequences(x, [7, 5])), system, each=True)
    alone = [backwards.smooth(Data(Sequences(part)), system, each=True) for part in (x[:7], x[7:])]
    np.testing.assert_array_equal(both.mean, np.concatenate([one.mean for one in alone]))
    np.testing.assert_allclose(both.sums.steps, sum(one.sums.steps for one in alone), rtol=1e-12)
    np.testing.assert_array_equal(both.sums.first, np.concatenate([one.sums.first for one in alone]))


@pytest.mark.parametrize("name", ["local-level", "smooth-trend"])
def test_misspelt_structures_are_offered_the_nearest(name):
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        structure(name.replace("l-l", "_l").replace("th-t", "th_t"))


def test_responses_and_forecasts_are_sums_of_powers_of_the_transition():
    """C A^j, and C (A^h P A^h' + sum_(i < h) A^i Q A^i') C' + R for the h-th row to come, P the variance of the last state."""
    rng = np.random.default_rng(0)
    x, own = rng.standard_normal((9, 2)), a_system(rng, 2, 2)
    theta = {
        "transition": own.A, "emission": own.C, "state_covariance": own.Q, "observation_covariance": own.R,
        "initial_mean": own.m0, "initial_covariance": own.P0,
    }  # fmt: skip
    A, C, Q, R = own.A, own.C, own.Q, own.R
    powers = [np.linalg.matrix_power(A, j) for j in range(4)]
    np.testing.assert_allclose(states.impulse_response(theta, 3), [C @ B for B in powers], atol=1e-12)
    last = states.filter_(x, theta)
    mean, spread = states.forecast(x, theta, 3)
    for h in range(1, 4):
        P = powers[h] @ last.covariance[-1] @ powers[h].T + sum(B @ Q @ B.T for B in powers[:h])
        np.testing.assert_allclose(spread[0, h - 1], C @ P @ C.T + R, atol=1e-10)
        np.testing.assert_allclose(mean[0, h - 1], C @ powers[h] @ last.mean[-1], atol=1e-10)
