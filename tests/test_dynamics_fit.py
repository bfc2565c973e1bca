"""Fits of linear dynamical systems: published digits, EM against an optimiser, the bound against the evidence, bad input."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import gamma, matrix_normal, multivariate_normal, wishart

from mixtures.datasets import load, load_series, simulate_linear
from mixtures.dynamics import (
    LinearDynamics,
    autoregression,
    cavi,
    coordinates,
    em,
    gibbs,
    local_level,
    local_linear_trend,
    log_likelihood,
    random_regression,
    seasonal,
    smooth_trend,
    states,
    stationary,
    structure,
)
from mixtures.dynamics.checks import bounded
from mixtures.dynamics.climbing import ascend
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.joint import Entries, Joint
from mixtures.dynamics.passes import one_pass
from mixtures.dynamics.regression import Expected, Moments, Prior
from mixtures.dynamics.rows import Rows
from mixtures.dynamics.starts import starts
from mixtures.engines import backwards
from mixtures.engines.kalman import Data
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.rows.sequences import Sequences

NAN = float("nan")


@pytest.fixture(scope="module")
def nile():
    return load("nile").x


def at(model, noise, *variances):
    """Parameters of a structural model by its variances."""
    return {
        "transition": model.transition,
        "emission": model.emission,
        "state_covariance": np.diag(np.array(variances, dtype=float)),
        "observation_covariance": np.array([[noise]]),
    }


# Durbin & Koopman (2012, section 2.10), the log likelihood without the constant of the diffuse period.
def test_local_level_of_the_nile_has_the_published_maximum(nile):
    fit = em.fit(nile, local_level(), rng=0, restarts=2)
    assert fit.converged
    assert fit.bound[-1] == pytest.approx(-632.5456, abs=1e-4)
    assert fit.theta["observation_covariance"].item() == pytest.approx(15099, abs=2)
    assert fit.theta["state_covariance"].item() == pytest.approx(1469.1, abs=0.5)
    assert fit.bound[-1] + fit.diffuse_constant == pytest.approx(-632.5456 - np.log(2 * np.pi) / 2, abs=1e-4)


# UnobservedComponents of statsmodels 0.15.0 with use_exact_diffuse=True, at the maximum; p: two variances, one diffuse state.
def test_local_level_of_the_nile_has_the_criteria_of_statsmodels(nile):
    info = em.fit(nile, local_level(), rng=0, restarts=1).info
    assert info["parameters"] == 3
    assert info["aic"] == pytest.approx(1272.929177, abs=1e-4)
    assert info["bic"] == pytest.approx(1280.744688, abs=1e-4)


# Models of D features, and the free numbers of A, C, Q, R, m0 and P0 less those that only say what coordinates the states have;
# then the diffuse directions of a sequence (Durbin & Koopman 2012, section 7.4).
COUNTED = {
    "level": (local_level(), 2, 1),
    "trend": (local_linear_trend(), 3, 2),
    "smooth trend": (smooth_trend(), 2, 2),
    "seasonal": (seasonal(4), 3, 4),
    "autoregression": (autoregression(2), 2 + 2 + 2 + 2, 0),
    "latent": (LinearDynamics.latent(2, 3), (4 + 6 + 3 + 6 + 2 + 3) - 4, 0),
    "latent, diagonal noises": (
        LinearDynamics.latent(2, 3, state_covariance="diagonal", observation_covariance="diagonal"),
        (4 + 6 + 2 + 3 + 2 + 3) - 3,
        0,
    ),
    "latent, known start": (LinearDynamics.latent(2, 3, start="known"), (4 + 6 + 3 + 6) - 1, 0),
}


@pytest.mark.filterwarnings("ignore:no convergence")
@pytest.mark.parametrize(("model", "p", "q"), COUNTED.values(), ids=COUNTED)
def test_aic_and_bic_count_parameters_and_values_seen(model, p, q):
    """AIC = -2 L + 2 (p + q), BIC = -2 L + (p + q) log N, L with log(2 pi) / 2 for each diffuse direction of two sequences."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, model.D)).cumsum(0)
    x[3, 0] = x[15, -1] = np.nan
    fit = em.fit(Sequences(x, [14, 10]), model, rng=0, restarts=1, max_iter=3)
    L = log_likelihood(fit.x, fit.theta, model.diffuse).sum() - 2 * q * np.log(2 * np.pi) / 2
    p, n = p + 2 * q, 24 * model.D - 2
    assert fit.info["parameters"] == p
    assert fit.info["aic"] == pytest.approx(-2 * L + 2 * p, abs=1e-8)
    assert fit.info["bic"] == pytest.approx(-2 * L + p * np.log(n), abs=1e-8)


def test_nile_with_a_known_start_has_the_published_likelihood(nile):
    theta = at(local_level(), 33874.59, 15210.195) | {
        "initial_mean": np.zeros(1),
        "initial_covariance": np.full((1, 1), 1000.0),
    }
    assert log_likelihood(nile, theta).item() == pytest.approx(-697.8576, abs=1e-4)  # MARSS user guide, section 20.1


@pytest.mark.parametrize(
    ("model", "variances", "expected"),
    [
        (local_level(), (4.256647886e-6, 0.1182078808), -70.97242557),
        (local_linear_trend(), (1.339852549e-6, 0.01008704925, 0.0609176081), -31.15640107),
        (smooth_trend(), (0.0008824099, 0, 0.0753064234), -31.92261408),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_unemployment_has_the_likelihood_of_kfas(model, variances, expected):
    x = load("unemployment").x
    assert log_likelihood(x, at(model, *variances), "diffuse").item() == pytest.approx(expected, abs=2e-5)


def test_the_truth_of_tsmatz_lds_has_the_known_likelihood():
    data = load_series("tsmatz-lds").data
    theta = {name: data.truth[name] for name in LinearDynamics.dims} | {"initial_covariance": 1e-6 * np.eye(3)}
    assert log_likelihood(data.x, theta).sum() == pytest.approx(-9400.3918, abs=1e-4)


def test_em_of_tsmatz_lds_goes_where_others_went():
    """A change of 1e-14 in the start changes the log likelihood after 100 iterations by 0.05: the first ones are unstable.

    Where a path comes to the published likelihood its parameters are those published; after as many passes R spreads by 0.02.
    """
    x, P = load("tsmatz-lds").x, (np.ones((3, 3)) + np.eye(3)) / 2
    start = {
        "transition": np.arange(1, 1.9, 0.1)[:9].reshape(3, 3),
        "emission": np.ones((2, 3)),
        "state_covariance": P,
        "observation_covariance": np.array([[1, 0.5], [0.5, 1]]),
        "initial_mean": np.full(3, 10.0),
        "initial_covariance": P,
    }
    with pytest.warns(ConvergenceWarning):
        fit = em.fit(x, LinearDynamics.latent(3, 2), rng=0, init=start, max_iter=110, accelerate=False)
    assert fit.bound[99] == pytest.approx(-9394.1313, abs=0.15)
    with pytest.warns(ConvergenceWarning):
        fit = em.fit(
            x,
            LinearDynamics.latent(3, 2),
            rng=0,
            init=start,
            max_iter=int(np.searchsorted(fit.bound, -9394.1313)),
            accelerate=False,
        )
    values = fit.eigenvalues()[0]
    np.testing.assert_allclose(np.sort_complex(values), [0.6877 - 0.7262j, 0.6877 + 0.7262j, 0.9986], atol=1e-4)
    noise = fit.theta["observation_covariance"]
    np.testing.assert_allclose(noise, [[0.9656, 0.0446], [0.0446, 1.8810]], atol=0.005)


def a_series(T=60, seed=0, missing=0.1):
    """Two features of a system of two states, with gaps."""
    rng = np.random.default_rng(seed)
    truth = {
        "transition": np.array([[0.9, 0.3], [-0.2, 0.7]]),
        "emission": np.array([[1.0, 0.5], [-0.3, 1.0]]),
        "state_covariance": np.array([[1.0, 0.3], [0.3, 0.5]]),
        "observation_covariance": np.diag([0.3, 0.6]),
        "initial_mean": np.zeros(2),
        "initial_covariance": np.eye(2),
    }
    x = states.simulate(truth, T, rng)[0]
    x[rng.random(x.shape) < missing] = np.nan
    return x, truth


TRUTH = a_series()[1]

# Models, the length of an unconstrained vector, and how that is turned to the parameters that are free.
OPTIMISED = {
    "transition": (
        LinearDynamics(np.full((2, 2), NAN), TRUTH["emission"], "full", "diagonal"),
        lambda t: [
            *t["transition"].ravel(),
            *_root(t["state_covariance"]),
            *np.log(np.diag(t["observation_covariance"])),
        ],
        lambda v: {
            "transition": v[:4].reshape(2, 2),
            "state_covariance": _square(v[4:7]),
            "observation_covariance": np.diag(np.exp(v[7:])),
        },
    ),
    "single entries known": (
        LinearDynamics([[NAN, 0.3], [NAN, NAN]], TRUTH["emission"], "full", np.diag([0.3, NAN])),
        lambda t: [
            *t["transition"].ravel()[[0, 2, 3]],
            *_root(t["state_covariance"]),
            np.log(t["observation_covariance"][1, 1]),
        ],
        lambda v: {
            "transition": np.array([[v[0], 0.3], [v[1], v[2]]]),
            "state_covariance": _square(v[3:6]),
            "observation_covariance": np.diag([0.3, np.exp(v[6])]),
        },
    ),
    "one covariance known": (
        LinearDynamics(TRUTH["transition"], [[NAN, 0.5], [-0.3, NAN]], [[NAN, 0.3], [0.3, NAN]], "isotropic"),
        lambda t: [
            *t["emission"].ravel()[[0, 3]],
            *np.log(np.diag(t["state_covariance"])),
            np.log(t["observation_covariance"][0, 0]),
        ],
        lambda v: {
            "emission": np.array([[v[0], 0.5], [-0.3, v[1]]]),
            "state_covariance": np.array([[np.exp(v[2]), 0.3], [0.3, np.exp(v[3])]]),
            "observation_covariance": np.exp(v[4]) * np.eye(2),
        },
    ),
    "correlated noise": (
        LinearDynamics(TRUTH["transition"], TRUTH["emission"], "isotropic", "full"),
        lambda t: [np.log(t["state_covariance"][0, 0]), *_root(t["observation_covariance"])],
        lambda v: {"state_covariance": np.exp(v[0]) * np.eye(2), "observation_covariance": _square(v[1:])},
    ),
}


def _root(S):
    L = np.linalg.cholesky(S)
    return np.log(L[0, 0]), L[1, 0], np.log(L[1, 1])


def _square(v):
    L = np.array([[np.exp(v[0]), 0], [v[1], np.exp(v[2])]])
    return L @ L.T


@pytest.mark.parametrize("name", OPTIMISED)
def test_em_ends_at_a_general_optimisers_maximum(name):
    model, vector, theta = OPTIMISED[name]
    x, truth = a_series(60)
    fit = em.fit(x, model, rng=0, init=truth, tol=1e-10)

    def loss(v):
        return -log_likelihood(x, truth | theta(v)).sum()

    end = np.array(vector(fit.theta))
    assert fit.bound[-1] == pytest.approx(-loss(end), abs=1e-9)
    best = minimize(loss, end + 0.03, method="BFGS", options={"gtol": 1e-4})
    assert fit.bound[-1] == pytest.approx(-best.fun, abs=1e-5)


def test_em_of_the_nile_ends_at_a_general_optimisers_maximum(nile):
    best = minimize(
        lambda v: -log_likelihood(nile, at(local_level(), *np.exp(v)), "diffuse").item(),
        [8.0, 8.0],
        method="Nelder-Mead",
    )
    assert em.fit(nile, local_level(), rng=0, restarts=1).bound[-1] == pytest.approx(-best.fun, abs=1e-5)


def test_starts_that_stop_short_of_one_optimum_have_reached_it(nile):
    """At a gain of 1e-6 nats a row five starts end within 7e-4 nats of each other, in all."""
    assert em.fit(nile, local_level(), rng=0, tol=1e-6).info["reached"] == 5


@pytest.mark.parametrize("model", [LinearDynamics.latent(2, 2, start="diffuse"), local_level()])
def test_the_likelihood_of_a_diffuse_start_depends_on_the_unit_of_latent_states(model):
    """With z / c for z it is higher by log c for each of two states; what is known of a local level does not allow it."""
    x, theta = a_series(30)[0], TRUTH
    other = theta | {"emission": theta["emission"] * 7, "state_covariance": theta["state_covariance"] / 49}
    gain = float(log_likelihood(x, theta, [True] * 2).sum() - log_likelihood(x, other, [True] * 2).sum())
    assert gain == pytest.approx(2 * np.log(7), abs=1e-8)
    assert bounded(model) == (model.name == "local-level")


MODELS = {
    "latent": LinearDynamics.latent(2, 2),
    "diagonal": LinearDynamics.latent(2, 2, state_covariance="diagonal", observation_covariance="diagonal"),
    "isotropic": LinearDynamics.latent(2, 2, state_covariance="isotropic", observation_covariance="isotropic"),
    "diffuse": LinearDynamics(np.full((2, 2), NAN), np.eye(2), diffuse=True),
    "single entries": LinearDynamics([[NAN, 1], [0, NAN]], [[1, 0], [NAN, NAN]], "diagonal", "diagonal"),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("method", [em.fit, em.map_, cavi.fit])
def test_bounds_rise(model, method):
    x = Sequences(a_series(50)[0], [30, 20])
    with pytest.warns(ConvergenceWarning):
        fit = method(x, model, rng=1, restarts=1, max_iter=12, accelerate=False, tol=0)
    assert len(fit.bound) == 12
    assert np.all(np.diff(fit.bound) > -1e-9)


MOVABLE = {
    "latent": LinearDynamics.latent(2, 2),
    "known start": LinearDynamics.latent(2, 2, start="known", observation_covariance="diagonal"),
    "noises of their own": LinearDynamics.latent(2, 2, state_covariance="diagonal"),
    "one direction": LinearDynamics([[NAN, 0], [NAN, NAN]], np.full((2, 2), NAN), "diagonal"),
}


@pytest.mark.parametrize("step", [em.map_step, cavi.step])
@pytest.mark.parametrize("model", MOVABLE.values(), ids=MOVABLE)
def test_coordinates_of_states_are_climbed_by_their_gradient(model, step, rng):
    """And the bound rises by what is promised at least, for the pass that follows brings q(z) to its best."""
    x = a_series(40)[0]
    model, data = model.with_prior(x), Data(Sequences(x, [len(x)]))

    def objective(s):
        at, extra = step(model, s)
        eta = tuple(part.natural(own) for part, own in zip(model.parts, at, strict=True))
        return extra + sum(own.flat() @ by.flat() for own, by in zip(s, eta, strict=True)), eta

    def following(s):
        at, extra = step(model, s)
        log_z, s = one_pass(model, data, at)
        return log_z + extra, s

    bound, s = following(one_pass(model, data, starts(model, data, 1, rng)[0]).s)
    assert coordinates.movable(model)
    own = isinstance(model.moves, Rows) or isinstance(model.begins, Rows)
    numbers = np.array([1.2, 0.8] if own else [1.2, -0.3, 0.4, 0.8])
    _, slope = coordinates._lowered(objective, s, 40.0, numbers)
    for i, step_of in enumerate(1e-6 * np.eye(len(numbers))):
        ahead, behind = (coordinates._lowered(objective, s, 40.0, numbers + sign * step_of)[0] for sign in (1, -1))
        assert (ahead - behind) / 2e-6 == pytest.approx(slope[i], rel=1e-5, abs=1e-7)
    better = coordinates.moved(model, objective, s, 40.0)
    T = np.linalg.solve(s[1].yu, better[1].yu).T  # from the sums of x z^T and of x (T z)^T
    promised = objective(better)[0] - objective(s)[0] + 40 * np.linalg.slogdet(T)[1]
    assert promised > 0.01
    assert following(better)[0] >= bound + promised


def test_states_that_something_known_ties_down_stay_as_they_are():
    tied = [local_level(), autoregression(2), LinearDynamics.latent(2, 2, start="diffuse")]
    tied += [LinearDynamics([[NAN, 0.1], [NAN, NAN]], np.full((2, 2), NAN))]
    assert not any(coordinates.movable(model) for model in tied)


@pytest.mark.parametrize("step", [em.map_step, cavi.step])
def test_better_coordinates_save_passes(step):
    """Large numbers need loadings far from the prior's; both ways end at the same height."""
    x = 30 * a_series(60)[0]
    model, climb = LinearDynamics.latent(1, 2).with_prior(x), {"rng": 1, "restarts": 1, "tol": 1e-10}
    quick, slow = (ascend(step, x, model, move=move, **climb) for move in (True, False))
    assert quick.bound[-1] == pytest.approx(slow.bound[-1], abs=1e-4)
    assert 2 * len(quick.bound) < len(slow.bound)


def test_the_prior_lets_noise_be_small_beside_the_signal():
    """As in `tsmatz-lds`, whose features have a variance of 1028 and whose noises 1 and 2."""
    x = load("tsmatz-lds").x[:600]
    model = LinearDynamics.latent(3, 2)
    point, mode = (fit(x, model, rng=0, restarts=1) for fit in (em.fit, em.map_))
    lost = point.bound[-1] - log_likelihood(x, mode.theta).item()
    assert 0 < lost < model.identified() / 2  # what a draw of the posterior is below the maximum on average


STATIONARY = {
    "latent": LinearDynamics.latent(2, 2, start="stationary"),
    "diagonal": LinearDynamics.latent(2, 2, state_covariance="diagonal", start="stationary", name="diagonal"),
    "isotropic": LinearDynamics.latent(2, 2, state_covariance="isotropic", start="stationary", name="isotropic"),
    "known noise": LinearDynamics.latent(2, 2, state_covariance=[[1, 0.2], [0.2, 2]], start="stationary"),
    "single entries": LinearDynamics([[NAN, 0.1], [NAN, NAN]], [[1, 0], [NAN, NAN]], stationary=True),
    "known transition": LinearDynamics([[0.9, 0.1], [0, 0.8]], [[1, 0], [NAN, NAN]], stationary=True),
}


@pytest.mark.parametrize(
    ("model", "prior"),
    [
        pytest.param(model, prior, id=f"{name}-{'posterior' if prior else 'likelihood'}")
        for name, model in STATIONARY.items()
        for prior in (False, True)
        if not (prior and isinstance(model.moves, Entries))  # which have no conjugate prior
    ],
)
def test_a_stationary_start_is_part_of_the_m_step(model, prior):
    """Of many short sequences, whose starts say much: no change of A and Q leads higher, and the bound rises."""
    x, rng = Sequences(a_series(48)[0], [4] * 12), np.random.default_rng(0)
    model = model.with_prior(x) if prior else model
    own, s = model.moves, one_pass(model, Data(x), starts(model, Data(x), 1, rng)[0]).s
    A, Q = stationary.peak(own, s[0], s[2], prior)

    def value(A, Q):
        by_moves = sum((a * b).sum() for a, b in zip(s[0], own.natural(Expected(A, Q)), strict=True))
        by_prior = own.log_prior(A, Q) if prior else 0.0
        return by_moves + multivariate_normal(np.zeros(2), stationary.covariance(A, Q)).logpdf(roots).sum() + by_prior

    roots = np.sqrt(12) * np.linalg.cholesky(s[2].yy / 12).T  # two rows, whose squares sum to those of the twelve
    roots = np.concatenate([roots, np.zeros((10, 2))])
    if not own.settled:
        for h in 0.01 * rng.standard_normal(8):
            B = np.where(np.isnan(model.transition), h * rng.standard_normal((2, 2)), 0)
            T = np.eye(2) + h * np.tril(rng.standard_normal((2, 2)))
            T = {"isotropic": (1 + h) * np.eye(2), "diagonal": np.diag(np.diag(T))}.get(model.name, T)
            assert value(A + B, Q if not np.isnan(model.state_covariance).any() else T @ Q @ T.T) < value(A, Q)
    if not prior:
        with pytest.warns(ConvergenceWarning):
            fit = em.fit(x, model, rng=0, restarts=1, max_iter=4, accelerate=False, tol=0)
        assert np.all(np.diff(fit.bound) > -1e-9)
        assert fit.bound[-1] == pytest.approx(log_likelihood(x, fit.theta, "stationary").sum(), rel=1e-9)


def test_an_autoregression_with_a_stationary_start_has_the_likelihood_of_the_exact_one(nile):
    """Without noise of x it is that of `statsmodels` and R's `arima(method="ML")`; here that of the joint normal density."""
    x = (nile - nile.mean())[:30]
    model = autoregression(1, start="stationary", observation_covariance=[[1e-4]])
    fit = em.fit(x, model, rng=0, restarts=1)
    phi, q = fit.theta["transition"].item(), fit.theta["state_covariance"].item()
    lags = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))

    def level(v):
        S = np.exp(v[1]) * np.tanh(v[0]) ** lags / (1 - np.tanh(v[0]) ** 2)
        return multivariate_normal(np.zeros(30), S).logpdf(x[:, 0])

    best = minimize(lambda v: -level(v), [0.1, 9.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert fit.bound[-1] == pytest.approx(-best.fun, abs=1e-4)
    assert phi == pytest.approx(np.tanh(best.x[0]), abs=1e-3)
    assert q == pytest.approx(np.exp(best.x[1]), rel=1e-3)


def whole_moments(model, x, z, edges):
    """Moments of the regressions for states z and rows x of which NaN are left out, feature by feature."""
    moves, observes, begins = model.parts
    first = np.zeros(len(z), bool)
    first[edges[:-1]] = True
    u, y = z[np.flatnonzero(~first) - 1], z[~first]
    start = z[first]
    found = [
        moves.moments(len(u), y.T @ y, y.T @ u, u.T @ u),
        None,
        begins.moments(len(start), start.T @ start, start.sum(0)[:, None], np.full((1, 1), len(start))),
    ]
    if isinstance(observes, Rows):
        seen = ~np.isnan(x)
        filled, w = np.where(seen, x, 0), seen.astype(float)
        found[1] = Moments(w.sum(0), (filled**2).sum(0), filled.T @ z, np.einsum("nd,nh,nk->dhk", w, z, z))
    else:
        found[1] = observes.moments(len(x), x.T @ x, x.T @ z, z.T @ z)
    return found


@pytest.mark.parametrize("noise", ["full", "diagonal", "isotropic"])
def test_pass_of_cavi_is_the_integral_over_everything_latent(noise):
    """E_q(theta) log p(x, z) is quadratic in z, and in what is missing of correlated features; its integral is done at once."""
    x = a_series(6, missing=0)[0]
    x[[1, 4], [0, 1]] = np.nan
    x = Sequences(x, [4, 2])
    model = LinearDynamics.latent(2, 2, state_covariance=noise, observation_covariance=noise).with_prior(x)
    rng = np.random.default_rng(0)
    at = []
    for part in model.parts:
        u, y = rng.standard_normal((9, part.B.shape[1])), rng.standard_normal((9, 2))
        at.append(part.expected(part.posterior(part.moments(9, y.T @ y, y.T @ u, u.T @ u))))
    missing = np.isnan(x.x) if noise == "full" else np.zeros_like(x.x, bool)
    n = 12 + missing.sum()

    def log_joint(v):
        rows = x.x.copy()
        rows[missing] = v[12:]
        s = whole_moments(model, rows, v[:12].reshape(6, 2), x.edges)
        each = zip(model.parts, s, at, strict=True)
        return sum((a * b).sum() for part, own, e in each for a, b in zip(own, part.natural(e), strict=True))

    c, unit = log_joint(np.zeros(n)), np.eye(n)
    h = np.array([(log_joint(e) - log_joint(-e)) / 2 for e in unit])
    J = -np.array([[log_joint(a + b) - log_joint(a) - log_joint(b) + c for a in unit] for b in unit])
    integral = c + h @ np.linalg.solve(J, h) / 2 - np.linalg.slogdet(J / (2 * np.pi))[1] / 2
    assert one_pass(model, Data(x), tuple(at)).log_z == pytest.approx(integral, abs=1e-8)


def test_moments_of_a_pass_are_those_of_the_smoothed_states():
    """Sums over steps of E[y u^T], with what is known of A and m0 taken off; of both sequences."""
    x, truth = a_series(14, missing=0)
    x = Sequences(x, [8, 6])
    model = LinearDynamics([[NAN, 0.3], [NAN, NAN]], TRUTH["emission"], "full", "full", [0.5, NAN], "full")
    truth = truth | {"initial_mean": np.array([0.5, -0.2]), "transition": np.array([[0.9, 0.3], [-0.2, 0.7]])}
    moves, _, begins = one_pass(model, Data(x), model.at(truth)).s
    found, A, m0 = states.smooth(x, truth), np.array([[0, 0.3], [0, 0]]), np.array([0.5, 0])
    second = found.covariance + found.mean[:, :, None] * found.mean[:, None]
    after = np.delete(np.arange(14), [0, 8])
    cross = found.pairs[after - 1] + found.mean[after][:, :, None] * found.mean[after - 1][:, None]
    u, yu = second[after - 1], cross - A @ second[after - 1]
    yy = second[after] - A @ cross.swapaxes(1, 2) - cross @ A.T + A @ u @ A.T
    for value, expected in zip(moves, (12, yy.sum(0), yu.sum(0), u.sum(0)), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-10)
    first, gaps = found.covariance[[0, 8]], found.mean[[0, 8]] - m0
    np.testing.assert_allclose(begins.yy, first.sum(0) + gaps.T @ gaps, atol=1e-10)
    np.testing.assert_allclose(begins.yu[:, 0], gaps.sum(0), atol=1e-10)


def grid(prior, n=40):
    """Logarithms of a variance on a grid, with the log prior density of each."""
    half, rate = prior.dof / 2, prior.scale[0, 0] / 2
    log_v = np.linspace(*-np.log(gamma.ppf([1 - 1e-7, 1e-7], half, scale=1 / rate)), n)
    return log_v, gamma.logpdf(np.exp(-log_v), half, scale=1 / rate) - log_v


def test_bound_is_below_the_evidence_by_quadrature():
    """Of a local level seen eight times, whose two variances are integrated out on a grid."""
    x = np.random.default_rng(4).standard_normal(8).cumsum() + np.random.default_rng(5).standard_normal(8)
    model = local_level(diffuse=False, initial_mean=[0.0], initial_covariance=[[4.0]]).with_prior(x)
    (q, log_q), (r, log_r) = (grid(model.priors[name]) for name in ("transition", "emission"))
    known = {"initial_mean": np.zeros(1), "initial_covariance": np.full((1, 1), 4.0)}
    log_p = [[log_likelihood(x, at(model, np.exp(b), np.exp(a)) | known).item() for b in r] for a in q]
    cell = (q[1] - q[0]) * (r[1] - r[0])
    evidence = logsumexp(np.array(log_p) + log_q[:, None] + log_r) + np.log(cell)
    bound = cavi.fit(x, model, rng=0, restarts=1).bound[-1]
    assert evidence - 2 < bound < evidence


def test_bound_of_a_transition_is_below_its_evidence():
    x, truth = a_series(30)
    model = LinearDynamics(
        [[NAN, 0.3], [-0.2, 0.7]], truth["emission"], np.diag([1.0, 0.5]), truth["observation_covariance"]
    )
    model = model.with_prior(x)
    a = np.linspace(-1.5, 2, 201)
    log_p = [
        log_likelihood(
            x, truth | {"transition": np.array([[v, 0.3], [-0.2, 0.7]]), "state_covariance": np.diag([1, 0.5])}
        ).item()
        for v in a
    ]
    evidence = logsumexp(np.array(log_p) - a**2 / 2 - np.log(2 * np.pi) / 2) + np.log(a[1] - a[0])
    bound = cavi.fit(x, model, rng=0, restarts=1).bound[-1]
    assert evidence - 0.5 < bound < evidence


def a_regression(kind, prior=True):
    """A regression of two features on three regressors, and moments of rows of which all was seen."""
    rng = np.random.default_rng(7)
    prior = Prior(rng.standard_normal((2, 3)), np.diag([1.0, 2, 3]), 5.0, np.diag([2.0, 3.0]))
    free = np.full((2, 3), NAN)
    part = {
        "joint": Joint(free, np.full((2, 2), NAN), prior),
        "joint, known noise": Joint(free, np.array([[1.0, 0.3], [0.3, 1]]), prior),
        "joint, a known column": Joint(np.array([[NAN, 1, NAN], [NAN, 2, NAN]]), np.full((2, 2), NAN), prior),
        "rows": Rows(free, np.diag([NAN, NAN]), prior),
        "rows, one known": Rows(np.array([[NAN, 1, NAN], [0, NAN, NAN]]), np.diag([0.7, NAN]), prior),
        "common": Rows(free, np.diag([NAN, NAN]), prior, common=True),
    }[kind]
    u, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    rest = y - u @ part.known.T
    return part, part.moments(12, rest.T @ rest, rest.T @ u, u.T @ u), u, y


KINDS = ("joint", "joint, known noise", "joint, a known column", "rows", "rows, one known", "common")


@pytest.mark.parametrize("kind", KINDS)
def test_natural_parameters_give_the_log_likelihood(kind):
    part, s, u, y = a_regression(kind)
    B, Sigma = part.sample(part.posterior(s), np.random.default_rng(0))
    gaps = y - u @ B.T
    log_p = (
        -(len(u) * np.linalg.slogdet(2 * np.pi * Sigma)[1] + np.einsum("nd,de,ne", gaps, np.linalg.inv(Sigma), gaps))
        / 2
    )
    assert sum((a * b).sum() for a, b in zip(s, part.natural(Expected(B, Sigma)), strict=True)) == pytest.approx(log_p)


@pytest.mark.parametrize("kind", KINDS)
def test_expected_natural_parameters_are_the_mean_over_draws(kind):
    part, s, *_ = a_regression(kind)
    rng, q = np.random.default_rng(0), part.posterior(s)
    draws = np.array([part.natural(Expected(*part.sample(q, rng))).flat() for _ in range(1500)])
    error = draws.std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(part.natural(part.expected(q)).flat() - draws.mean(0)) <= 4.5 * error + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_log_marginal_is_the_expected_natural_parameters(kind):
    part, s, *_ = a_regression(kind)
    flat, h = s.flat(), 1e-5
    eta = part.natural(part.expected(part.posterior(s))).flat()
    symmetric = part.unflat(np.zeros_like(flat))
    for i in range(len(flat)):
        step = np.zeros_like(flat)
        step[i] = h
        step = _symmetrised(part, step)
        slope = (part.log_marginal(part.unflat(flat + step)) - part.log_marginal(part.unflat(flat - step))) / (2 * h)
        assert slope == pytest.approx((eta * step).sum() / h, rel=1e-5, abs=1e-6)
    assert part.log_marginal(symmetric) == pytest.approx(0, abs=1e-12)


def _symmetrised(part, step):
    """A change of symmetric moments that stays symmetric."""
    n, yy, yu, uu = part.unflat(step)
    yy = yy if yy.ndim == 1 else (yy + yy.T) / 2
    return Moments(n, yy, yu, (uu + uu.swapaxes(-1, -2)) / 2).flat()


@pytest.mark.parametrize("kind", ["joint", "joint, a known column"])
def test_prior_of_correlated_noises_is_matrix_normal_wishart(kind):
    part, s, *_ = a_regression(kind)
    B, Sigma = part.sample(part.posterior(s), np.random.default_rng(1))
    free, prior = part.columns, part.prior
    log_p = wishart.logpdf(np.linalg.inv(Sigma), prior.dof, np.linalg.inv(prior.scale))
    log_p += matrix_normal.logpdf(
        B[:, free], prior.mean[:, free], Sigma, np.linalg.inv(prior.precision[np.ix_(free, free)])
    )
    assert part.log_prior(B, Sigma) == pytest.approx(log_p)


@pytest.mark.parametrize("kind", ["rows", "rows, one known", "common"])
def test_prior_of_noises_of_their_own_is_normal_gamma(kind):
    part, s, *_ = a_regression(kind)
    B, Sigma = part.sample(part.posterior(s), np.random.default_rng(1))
    v, prior = np.diag(Sigma), part.prior
    log_p = 0.0
    for d in range(2):
        free = np.isnan(part.B[d])
        cov = v[d] * np.linalg.inv(prior.precision[np.ix_(free, free)])
        log_p += multivariate_normal.logpdf(B[d, free], prior.mean[d, free], cov)
        if np.isnan(part.variances[d]) and not (part.common and d):
            log_p += gamma.logpdf(1 / v[d], prior.dof / 2, scale=2 / prior.scale[d, d])
    assert part.log_prior(B, Sigma) == pytest.approx(log_p)


@pytest.mark.parametrize("kind", [*KINDS[:1], *KINDS[2:]])
def test_mode_is_no_lower_than_points_about_it(kind):
    part, s, *_ = a_regression(kind)

    def density(B, Sigma):
        fitted = sum((a * b).sum() for a, b in zip(s, part.natural(Expected(B, Sigma)), strict=True))
        return fitted + float(part.log_prior(B, Sigma))

    B, Sigma = part.peak(s, prior=True)
    rng, free = np.random.default_rng(0), np.isnan(part.B)
    for _ in range(20):
        grow = np.exp(1e-2 * rng.standard_normal() * np.isnan(np.diag(part.Sigma)) * 0.5)
        near = Sigma * grow[:, None] * grow
        assert density(B + 1e-2 * free * rng.standard_normal(B.shape), near) <= density(B, Sigma)


def test_states_are_drawn_from_their_posterior():
    x, truth = a_series(5)
    start = np.array([True, False])
    found = states.smooth(x, truth, start)
    many = Sequences(np.tile(x, (1500, 1)), [len(x)] * 1500)
    z = states.draw(many, truth, np.random.default_rng(0), start).reshape(1500, *found.mean.shape)
    sd = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))
    assert np.abs((z.mean(0) - found.mean) / sd).max() < 4.5 / np.sqrt(len(z))
    gaps = z - found.mean
    cov = np.einsum("sth,stk->thk", gaps, gaps) / len(z)
    np.testing.assert_allclose(cov, found.covariance, atol=5 * np.sqrt(2 / len(z)) * sd.max() ** 2)
    pairs = np.einsum("sth,stk->thk", gaps[:, 1:], gaps[:, :-1]) / len(z)
    np.testing.assert_allclose(pairs, found.pairs[:-1], atol=5 * np.sqrt(2 / len(z)) * sd.max() ** 2)


def test_a_million_steps_stay_safe():
    """With two states that all but repeat each other, and a noise of states of 1e-14 of that of the other."""
    T, rng = 1_000_000, np.random.default_rng(0)
    theta = {
        "transition": np.array([[1.0, 1e-9], [0, 1.0]]),
        "emission": np.array([[1.0, 1.0]]),
        "state_covariance": np.diag([1.0, 1e-14]),
        "observation_covariance": np.array([[1e-6]]),
    }
    x = rng.standard_normal((T, 1)).cumsum(0)
    x[1000:1100] = np.nan
    data, system = Data(Sequences(x)), states.system(theta, np.array([True, False]))
    found = backwards.smooth(data, system)
    assert np.isfinite(found.log_z).all()
    assert np.isfinite(found.mean).all()
    assert np.linalg.eigvalsh(found.sums.within.sum(0))[0] > 0
    # x has increments of variance one, each seen but for the first and those after gaps.
    assert found.log_z.sum() == pytest.approx(-(T - 101) * (np.log(2 * np.pi) + 1) / 2, rel=5e-3)


def test_hundreds_of_iterations_without_noise_to_find():
    """States that are seen without noise: R falls towards zero for as long as there are iterations, and nothing becomes NaN."""
    x = 1 + 0.1 * np.random.default_rng(0).standard_normal(40).cumsum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = em.fit(x, LinearDynamics.latent(1, 1), rng=0, restarts=1, max_iter=400, accelerate=False, tol=0)
    assert np.isfinite(fit.bound).all()
    assert all(np.isfinite(value).all() for value in fit.theta.values())


def test_a_free_start_of_one_sequence_keeps_its_digits():
    """Its likelihood grows while P0 shrinks, without end."""
    fit = em.fit(simulate_linear([150], 2, 2, rng=1).data.x, LinearDynamics.latent(2, 2), rng=0)
    assert 0.999e-6 < np.linalg.eigvalsh(fit.theta["initial_covariance"]).min() < 1e-5


def test_forecasts_are_gaps_at_the_end():
    x, truth = a_series(20)
    mean, spread = states.forecast(x, truth, 3)
    longer = states.filter_(np.vstack([x, np.full((3, 2), NAN)]), truth)
    np.testing.assert_allclose(mean[0], longer.predicted[-3:])
    np.testing.assert_allclose(spread[0], longer.spread[-3:])


def test_steps_add_up_to_the_likelihood():
    x, truth = a_series(20)
    x = Sequences(x, [12, 8])
    steps = states.log_steps(x, truth)
    np.testing.assert_allclose(states.log_likelihood(x, truth), [steps[:12].sum(), steps[12:].sum()], rtol=1e-12)
    ahead = states.log_likelihood(x.x[:7], truth) - states.log_likelihood(x.x[:6], truth)
    assert steps[6] == pytest.approx(ahead.item(), abs=1e-10)


def test_what_is_averaged_over_draws_has_the_moments_of_their_mixture():
    x, truth = a_series(12)
    other = truth | {"transition": np.array([[0.2, 0.0], [0.0, -0.4]])}
    posterior = {name: np.stack([truth[name], other[name]])[None] for name in truth}
    fit = DynamicsFit("gibbs", "mcmc", LinearDynamics.latent(2, 2), posterior, Sequences(x), np.empty(0), True, {})
    (a, P), (b, R) = (states.forecast(x, theta, 2) for theta in (truth, other))
    mean, covariance = fit.forecast(2)
    np.testing.assert_allclose(mean, (a + b) / 2)
    gap = (a - b) / 2
    np.testing.assert_allclose(covariance, (P + R) / 2 + gap[..., :, None] * gap[..., None, :])
    densities = [np.exp(states.log_steps(x, theta)) for theta in (truth, other)]
    np.testing.assert_allclose(np.exp(fit.filtered().log_z), np.mean(densities, axis=0))


def test_innovations_of_the_truth_are_standard_normal():
    x, truth = a_series(4000)
    errors = states.innovations(x, truth)
    seen = np.isfinite(errors)
    assert np.array_equal(seen, ~np.isnan(x))
    assert abs((errors[seen] ** 2).mean() - 1) < 5 * np.sqrt(2 / seen.sum())


def test_responses_do_not_depend_on_the_coordinates_of_states():
    _, theta = a_series()
    T = np.array([[2.0, 1], [0.5, -1]])
    other = theta | {
        "transition": T @ theta["transition"] @ np.linalg.inv(T),
        "emission": theta["emission"] @ np.linalg.inv(T),
        "state_covariance": T @ theta["state_covariance"] @ T.T,
        "initial_covariance": T @ theta["initial_covariance"] @ T.T,
    }
    np.testing.assert_allclose(states.responses(theta, 4), states.responses(other, 4))
    np.testing.assert_allclose(states.eigenvalues(theta), states.eigenvalues(other))
    x, _ = a_series(30)
    np.testing.assert_allclose(states.smooth(x, theta).signal, states.smooth(x, other).signal)


@pytest.mark.parametrize(
    ("model", "p"),
    [
        (local_level(), 2),
        (local_linear_trend(), 3),
        (smooth_trend(), 2),
        (seasonal(4), 3),
        (autoregression(3), 3 + 2 + 6),
        (random_regression(np.ones((5, 2))), 3),
        (LinearDynamics.latent(2, 3), 4 + 3 + 6 + 6 + 2 + 3),
        (
            LinearDynamics.latent(2, 3, state_covariance="isotropic", observation_covariance="diagonal"),
            4 + 1 + 6 + 3 + 2 + 3,
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_free_parameters_are_counted(model, p):
    assert model.n_free() == p


@pytest.mark.parametrize("structure", ["full", "diagonal", "isotropic", np.eye(3)], ids=str)
def test_every_structure_of_latent_noise_is_the_same_model(structure):
    """Any Q becomes the identity by a change of coordinates."""
    model = LinearDynamics.latent(3, 2, state_covariance=structure)
    assert model.identified() == 2 * 3 + 3 * 4 // 2 + 2 * 3 // 2 + 3 + 3 * 4 // 2
    known = LinearDynamics.latent(3, 2, state_covariance=structure, start="known")
    turns = 0 if str(structure) == "diagonal" else 3
    assert known.identified() == model.n_free() - 9 - turns


def test_a_regression_on_ones_is_a_local_level(nile):
    fits = [em.fit(nile, model, rng=0, restarts=1) for model in (local_level(), random_regression(np.ones(100)))]
    assert fits[0].bound[-1] == pytest.approx(fits[1].bound[-1], abs=1e-6)


def test_data_far_from_zero_give_the_same_fit(nile):
    fits = [em.fit(nile + shift, local_level(), rng=0, restarts=1) for shift in (0, 1e8)]
    assert fits[0].bound[-1] == pytest.approx(fits[1].bound[-1], abs=1e-4)


def prior_of(D, U, dof=5.0, scale=1.0):
    return Prior(np.zeros((D, U)), np.eye(U), dof, scale * np.eye(D))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: LinearDynamics([[1.0]], [[1.0]], observation_covariance=[[0.0]]), "observation_covariance is singular"),
        (lambda x: LinearDynamics(np.eye(2), [[1, 0]], [[1, 2], [2, 1]]), "not positive semi-definite"),
        (lambda x: LinearDynamics(np.eye(2), [[1, 0]], [[1, 0.2], [0.1, 1]]), "not symmetric"),
        (lambda x: LinearDynamics(np.eye(2), [[1, 0]], "diagnal"), "expected full, diagonal, isotropic"),
        (lambda x: LinearDynamics(np.eye(2), [[1.0]]), "expected .states, states. and .features, states."),
        (lambda x: LinearDynamics([[NAN]], [[1.0]], [[0.0]]), "state 0 moves without noise"),
        (lambda x: LinearDynamics.latent(0, 1), "at least one state"),
        (lambda x: em.fit([x, x[:, :1]], LinearDynamics.latent(1, 2), rng=0), "matrices of 1 and 2 features"),
        (lambda x: LinearDynamics.latent(1, 1, start="difuse"), "expected free, known, diffuse or stationary"),
        (lambda x: structure("local-levle"), "did you mean 'local-level'"),
        (lambda x: structure("seasonal"), "period"),
        (lambda x: seasonal(1), "at least 2"),
        (lambda x: em.fit(x, LinearDynamics.latent(2, 1), rng=0), "x has 2 features; the model has 1"),
        (lambda x: em.fit(x[:3], LinearDynamics.latent(3, 2), rng=0), "no more than the 3 states"),
        (lambda x: em.fit(x[:12], LinearDynamics.latent(4, 2), rng=0), "values for .* free parameters"),
        (lambda x: em.fit(np.full((5, 2), NAN), LinearDynamics.latent(1, 2), rng=0), "feature 0 was never seen"),
        (lambda x: em.fit(np.where(x > 0, np.inf, x), LinearDynamics.latent(1, 2), rng=0), "infinities"),
        (lambda x: states.filter_(x, TRUTH | {"transition": 1.1 * np.eye(2)}, "stationary"), "largest eigenvalue is 1.1"),
        (lambda x: states.filter_(x, TRUTH, "difuse"), "did you mean|expected known"),
        (lambda x: log_likelihood([1.0, NAN], at(local_linear_trend(), 1, 1, 1), "diffuse"), "do not determine the 2 diffuse"),
        (lambda x: states.forecast(x, TRUTH, 0), "at least one step"),
        (lambda x: cavi.fit(x, OPTIMISED["single entries known"][0], rng=0), "no conjugate prior"),
        (lambda x: em.fit(x[:1], LinearDynamics.latent(1, 2), rng=0), "has 1 row, no more than the 1 state"),
        (lambda x: em.fit(np.full(30, 5.0), local_level(), rng=0), "feature 0 is 5 in every row"),
        (lambda x: em.fit(1e200 * x, LinearDynamics.latent(1, 2), rng=0), "give it in other units"),
        (lambda x: em.fit(x, "local-level", rng=0), "model is 'local-level'; expected a LinearDynamics"),
        (lambda x: cavi.fit(x, "local-level", rng=0), "model is 'local-level'; expected a LinearDynamics"),
        (lambda x: em.fit(x, LinearDynamics.latent(2, 2), rng=0, init={"transition": np.eye(2)}), "theta has no 'emission'"),
        (lambda x: cavi.fit(x, LinearDynamics.latent(1, 2, start="stationary"), rng=0), "fit it by em, map, gibbs"),
        (lambda x: local_level(start="stationary"), "no stationary distribution: its largest eigenvalue is 1 in modulus"),
        (lambda x: em.fit(x, LinearDynamics.latent(1, 2, start="diffuse"), rng=0), "grows without bound with their unit"),
        (lambda x: LinearDynamics.latent(1, 1, start="stationary", diffuse=True), "both stationary and diffuse"),
        (
            lambda x: LinearDynamics.latent(2, 1, start="stationary", state_covariance=[[1, NAN], [NAN, NAN]]),
            "full, diagonal or known, not known in part",
        ),
        (
            lambda x: em.fit(x, LinearDynamics.latent(2, 2, start="stationary"), rng=0, init=TRUTH | {"transition": np.eye(2)}),
            "no stationary distribution: its largest eigenvalue is 1 in modulus",
        ),
        (lambda x: autoregression(2, start="known"), "is 'known'; expected free or stationary"),
        (lambda x: seasonal("x"), "period is 'x'"),
        (lambda x: states.smooth(np.where(x > 0, np.inf, x), TRUTH), "infinities"),
        (lambda x: states.smooth(x[:, :1], TRUTH), "x has 1 features; the emission has 2"),
        (lambda x: states.smooth(x, TRUTH | {"state_covariance": np.array([[1, 2], [2, 1.0]])}), "smallest eigenvalue is -1"),
        (lambda x: states.smooth(x, TRUTH | {"observation_covariance": np.zeros((2, 2))}), "not positive definite"),
        (lambda x: states.smooth(x, TRUTH | {"transition": np.eye(3)}), r"'emission' of shape .2, 2.; expected .2, 3."),
        (lambda x: states.smooth(x, TRUTH | {"transition": np.full((2, 2), NAN)}), "no finite numbers"),
        (lambda x: LinearDynamics.latent(2, 2, priors={"transition": 1}), "expected a mixtures.dynamics.Prior"),
        (lambda x: LinearDynamics.latent(2, 2, priors={"transition": prior_of(3, 3)}), "mean of shape .3, 3."),
        (lambda x: LinearDynamics.latent(2, 2, priors={"transition": prior_of(2, 2, dof=0.5)}), "expected more than 1"),
        (lambda x: LinearDynamics.latent(2, 2, priors={"emission": prior_of(2, 2, scale=-1)}), "scale that is not positive"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(call, said):
    with pytest.raises(ValueError, match=said) as refused:
        call(a_series()[0])
    assert "\n" not in str(refused.value)


def test_a_stationary_start_has_the_moments_that_the_transition_leaves(nile):
    theta = at(autoregression(2), 100.0, 2000.0, 0) | {"transition": np.array([[0.5, 0.2], [1, 0]])}
    x = nile - nile.mean()
    r0 = (
        2000 * 0.8 / (1.2 * (0.8**2 - 0.5**2))
    )  # variance of an autoregression of order two (Hamilton 1994, section 3.4)
    first = states.filter_(x, theta, "stationary")
    assert first.spread[0].item() == pytest.approx(r0 + 100)
    P0 = r0 * np.array([[1, 0.5 / 0.8], [0.5 / 0.8, 1]])
    known = theta | {"initial_mean": np.zeros(2), "initial_covariance": P0}
    assert log_likelihood(x, theta, "stationary") == pytest.approx(log_likelihood(x, known))


def test_a_list_of_matrices_is_sequences():
    x, truth = a_series(12)
    for lengths in ([5, 7], [6, 6]):
        parts = np.split(x, [lengths[0]])
        expected = states.log_likelihood(Sequences(x, lengths), truth)
        np.testing.assert_array_equal(states.log_likelihood(parts, truth), expected)


def test_a_row_of_which_nothing_was_seen_is_a_step():
    x, truth = a_series(12, missing=0)
    x[5] = NAN
    for model in MODELS.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = em.fit(x, model, rng=0, restarts=1, max_iter=2)
        assert np.isfinite(fit.bound).all()
    assert np.isfinite(states.smooth(x, truth).signal).all()


UNUSABLE = {
    "infinities": (lambda x: np.where(x > 0, np.inf, x), "infinities"),
    "nothing": (lambda x: np.full_like(x, np.nan), "feature 0 was never seen"),
    "another feature": (lambda x: np.hstack([x, x]), "x has 2 features; the model has 1"),
    "numbers whose squares' squares are none": (
        lambda x: 1e100 * x,
        "beyond what has fourth powers; give it in other units",
    ),
    "numbers whose squares' squares are zero": (
        lambda x: 1e-100 * x,
        "below what has fourth powers; give it in other units",
    ),
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("method", [em, cavi, gibbs])
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_series_that_cannot_be_used_is_refused_before_it_sets_a_prior(method, name, rng):
    change, message = UNUSABLE[name]
    with pytest.raises(ValueError, match=message):
        method.fit(change(rng.normal(size=(20, 1))), local_level(), rng=0)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("scale", [1e-60, 1e60])
@pytest.mark.parametrize("method", [em, cavi])
def test_a_unit_moves_the_bound_by_its_logarithm_alone(method, scale, rng):
    """Of the rows but one, which a diffuse level takes."""
    x = np.cumsum(rng.normal(size=(40, 1)), axis=0) + rng.normal(size=(40, 1))
    one, other = (method.fit(unit * x, local_level(), rng=0).bound[-1] for unit in (1, scale))
    assert other + 39 * np.log(scale) == pytest.approx(one, abs=1e-5)


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("method", [em, cavi])
def test_numbers_of_32_bits_are_those_of_64(method, rng):
    x = rng.normal(size=(30, 1)).astype(np.float32)
    one, other = (method.fit(own, local_level(), rng=0).bound[-1] for own in (x, x.astype(float)))
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.robustness("numbers")
@pytest.mark.filterwarnings("error")
def test_a_noise_without_variance_at_the_optimum_takes_no_thousands_of_passes():
    """A straight line is a random walk seen exactly, an alternation noise about a level that stays: both have closed forms."""
    n = 50
    line = em.fit(np.arange(n)[:, None], local_level(), rng=0)
    assert line.converged
    assert line.bound[-1] == pytest.approx(-(n - 1) / 2 * (np.log(2 * np.pi) + 1), abs=1e-6)
    assert line.info["passes"] < 200
    two = np.arange(n)[:, None] % 2.0
    still = em.fit(two, local_level(), rng=0)
    variance = ((two - two.mean()) ** 2).sum() / (n - 1)
    assert still.theta["observation_covariance"][0, 0] == pytest.approx(variance, rel=1e-6)
    assert still.converged


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("name", ["local-linear-trend", "smooth-trend"])
def test_rows_that_follow_a_model_without_error_have_no_maximum(name):
    with pytest.raises(CollapseError, match=r"all 5 starts ended in a collapse, the last: \w+ noise vanished"):
        em.fit(1e3 + 0.3 * np.arange(50)[:, None], structure(name), rng=0)
