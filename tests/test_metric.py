"""The metric that NUTS starts from: what it is, what the warm-up makes of it, and that it is the only thing that changes."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from mixtures import Dirichlet, Gaussian
from models import joint, metric
from models.beginnings import about, modes, starts
from reports.comparison.catalogue import METHODS, Options


def test_a_covariance_is_shrunk_as_stan_does_and_leaves_out_what_is_not_finite(rng):
    v = rng.standard_normal((95, 3)) @ np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.1]])
    expected = 0.95 * np.cov(v, rowvar=False) + 1e-3 * 0.05 * np.eye(3)
    with_gaps = np.concatenate([v, [[-np.inf, 0.0, 0.0], [np.nan, 1.0, 1.0]]])
    for draws in (v, with_gaps):
        np.testing.assert_allclose(metric.covariance(draws, True), expected)
        np.testing.assert_allclose(metric.covariance(draws, False), np.diag(expected))
    np.testing.assert_array_equal(metric.covariance(with_gaps[95:], True), np.eye(3))
    np.testing.assert_array_equal(metric.covariance(with_gaps[95:], False), np.ones(3))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("factor", [1.0, 50.0, 1 / 50])
def test_a_metric_keeps_its_shape_where_it_was_right_and_gives_way_where_it_was_wrong(rng, dense, factor):
    """Of half the size, and off by the factor in one direction: the errors of log variances, beside those of S."""
    P, n = 20, 100
    root = np.tril(rng.standard_normal((P, P))) + 3 * np.eye(P) if dense else np.diag(np.geomspace(0.1, 10, P))
    scales = np.array([factor, *np.ones(P - 1)])
    S = np.cov(rng.standard_normal((n, P)) @ root.T, rowvar=False)
    given = root * scales @ root.T / 2
    S, given = (S, given) if dense else (np.diag(S), np.diag(given))

    def off(found):
        whole = found if dense else np.diag(found)
        relative = np.linalg.solve(root, np.linalg.solve(root, whole).T)
        return np.sqrt((np.log(np.linalg.eigvalsh(relative)) ** 2).mean())

    assert off(np.asarray(metric.cleaned(S, given, n / 2))) < 0.7 * off(S)
    assert off(given) >= 0.69


def test_more_directions_than_draws_leave_a_metric_that_is_positive_definite(rng):
    S = np.cov(rng.standard_normal((10, 40)), rowvar=False)
    found = np.asarray(metric.cleaned(S, np.eye(40), 10))
    np.testing.assert_allclose(found, np.trace(S) / 40 * np.eye(40), rtol=1e-5, atol=1e-5)


class State(NamedTuple):
    """What `metric.corrected` knows of NumPyro's state."""

    z: Any
    adapt_state: Any


class Own(NamedTuple):
    """Its part on the adaptation."""

    inverse_mass_matrix: Any
    mass_matrix_sqrt: Any
    mass_matrix_sqrt_inv: Any
    mm_state: Any
    step_size: float
    ss_state: Any


@pytest.mark.parametrize("dense", [True, False])
def test_the_warm_up_puts_the_chains_covariance_in_the_place_of_a_metric_far_off(rng, dense, monkeypatch):
    """Of 120 steps those from 30 to 99 count; what lies ahead and behind does not."""
    import jax
    from numpyro.infer.hmc_util import dual_averaging, welford_covariance

    z = rng.standard_normal((120, 2)) @ np.array([[10.0, 5.0], [0.0, 5.0]])
    z[:30] += 1000
    z[100:] -= 1000
    first = np.eye(2) if dense else np.ones(2)
    after = jax.jit(metric.corrected(120, dense))
    begin = welford_covariance(diagonal=not dense)[0](2)
    state = State(z[0], Own(first, first, first, begin, 0.5, dual_averaging()[0](0.0)))
    for number in range(120):
        state = after(state._replace(z=z[number]), number)
        if number == 98:
            np.testing.assert_array_equal(state.adapt_state.inverse_mass_matrix, first)
    own, S = state.adapt_state, np.cov(z[30:100], rowvar=False)
    S = S if dense else np.diag(S)
    np.testing.assert_allclose(own.inverse_mass_matrix, metric.cleaned(S, first, 70 / 4), rtol=1e-6)
    assert np.all(np.abs(own.inverse_mass_matrix - S) < 0.2 * np.abs(S).max())
    root = own.mass_matrix_sqrt_inv
    back = root.T @ root if dense else root**2
    np.testing.assert_allclose(back, own.inverse_mass_matrix, rtol=1e-6)


def test_each_chain_knows_the_posterior_in_its_own_labelling(rng):
    """Draws lie about the mode where the chain starts, whatever its clusters are called; and no wider than the starts."""
    x = np.concatenate([rng.normal(-5, 1, (60, 1)), rng.normal(5, 2, (40, 1))])
    family, allocation = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)
    s = modes(x, family, allocation, None, 8, rng)
    assert {tuple(np.argsort(each[:, 0])) for each in s} == {(0, 1), (1, 0)}
    weights, theta = about(family, allocation, s, rng)
    centre = s[:, :, 1] / s[:, :, 0]
    found = theta["means"][..., 0]
    error = found.std(1) / np.sqrt(found.shape[1])
    # the prior, as much as 1 / 100 of a point, draws the mean of q towards its own
    assert np.all(np.abs(found.mean(1) - centre) < 5 * error + 1e-2)
    v = joint.unconstrain(family, allocation, weights, theta)
    init = joint.unconstrain(family, allocation, *starts(family, allocation, np.repeat(s[:1], 2000, 0), rng))
    np.testing.assert_allclose(init["u"].std(0) / v["u"][0].std(0), 2, rtol=0.25)


def test_what_the_metric_starts_from_is_chosen_by_the_sampler_and_can_be_told():
    told = {
        name: METHODS["nuts"].settings(Options(**options))
        for name, options in {
            "default": {},
            "nutpie": {"sampler": "nutpie"},
            "adapt": {"metric": "adapt"},
            "short": {"tune": 50},
        }.items()
    }
    assert {name: (each["metric"], each["tune"]) for name, each in told.items()} == {
        "default": ("cavi", 300),
        "nutpie": ("adapt", 1000),
        "adapt": ("adapt", 1000),
        "short": ("cavi", 50),
    }
    with pytest.raises(ValueError, match="nutpie takes no metric from CAVI's posterior"):
        Options(sampler="nutpie", metric="cavi")
    with pytest.raises(ValueError, match="there is no metric 'dense'; choose one of cavi, adapt"):
        Options(metric="dense")
