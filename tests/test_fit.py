"""The result object: draws, predictive densities, responsibilities, sampling, labels."""

import numpy as np
import pytest
from conftest import three_clusters
from scipy import integrate, stats

from mixtures import COVARIANCES, Dirichlet, Draws, Fit, Gaussian, labels
from mixtures.methods import cavi, em


@pytest.fixture(scope="module")
def x():
    return three_clusters(150, np.random.default_rng(11)) * [2.0, 0.5] + 10


@pytest.fixture(scope="module")
def fits(x):
    family, allocation = Gaussian.from_data(x, 3), Dirichlet.symmetric(3)
    rng = np.random.default_rng(2)
    closed = cavi.fit(x, family, allocation, rng=rng)
    return {
        "em": em.fit(x, family, allocation, rng=rng),
        "cavi": closed,
        "draws": closed.as_draws(4, 1000, np.random.default_rng(3)),
    }


@pytest.mark.parametrize("name", ["em", "cavi", "draws"])
def test_draws_have_one_shape_for_every_method(name, fits, rng):
    tree = fits[name].draws(8, rng)
    posterior = tree["posterior"]
    assert posterior["weights"].dims == ("chain", "draw", "cluster")
    assert posterior["means"].dims == ("chain", "draw", "cluster", "feature")
    assert posterior["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_")
    assert posterior["weights"].shape == (1, 8, 3)
    np.testing.assert_allclose(posterior["weights"].sum("cluster"), 1)


def test_held_chains_stay_apart(fits, rng):
    tree = fits["draws"].draws(4000, rng)
    assert tree["posterior"]["means"].shape == (4, 1000, 3, 2)
    np.testing.assert_array_equal(tree["posterior"]["weights"], fits["draws"].posterior.weights)


@pytest.mark.parametrize("name", ["em", "cavi", "draws"])
def test_predictive_density_integrates_to_one(name, rng):
    """Ten points in one dimension, where averaging over the posterior widens the density most."""
    x = rng.standard_normal((10, 1)) * 3
    family, allocation = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)
    fit = {"em": em, "cavi": cavi, "draws": cavi}[name].fit(x, family, allocation, rng=rng, restarts=20)
    if name == "draws":
        fit = fit.as_draws(1, 200, rng)
    log_density = fit.log_predictive
    breaks = np.concatenate([np.sort(x[:, 0])[[0, 5, -1]], [-1e4, 1e4, -50, 50]])
    total, _ = integrate.quad(
        lambda v: float(np.exp(log_density(np.array([[v]])))[0]), -1e5, 1e5, points=breaks, limit=1000, epsabs=1e-7
    )
    assert total == pytest.approx(1, abs=2e-4)


def test_predictive_over_draws_tends_to_the_closed_form(x, fits):
    one = np.exp(fits["cavi"].log_predictive(x[:20]))
    per_draw = np.exp(fits["draws"].log_likelihood(x[:20])).reshape(4000, -1)
    error = per_draw.std(0) / np.sqrt(len(per_draw))
    assert np.abs((per_draw.mean(0) - one) / error).max() < 4.5
    np.testing.assert_allclose(np.exp(fits["draws"].log_predictive(x[:20])), per_draw.mean(0), rtol=1e-10)


def test_responsibilities_are_bayes_rule_for_a_point_estimate(x, fits):
    weights, theta = fits["em"].parameters(1, np.random.default_rng(0))
    raw = fits["em"].family.to_data(theta)
    joint = np.transpose(
        [
            w * stats.multivariate_normal(m, C).pdf(x)
            for w, m, C in zip(weights[0], raw["means"][0], raw["covariances"][0], strict=True)
        ]
    )
    np.testing.assert_allclose(fits["em"].responsibilities(x), joint / joint.sum(1, keepdims=True), atol=1e-9)


def test_blocks_do_not_change_the_numbers(x, fits, monkeypatch):
    whole = fits["draws"].log_predictive(x), fits["draws"].responsibilities(x), fits["draws"].log_likelihood(x)
    monkeypatch.setattr("mixtures.fit.BLOCK_ELEMENTS", 4000 * 3 * 7)
    pieces = fits["draws"].log_predictive(x), fits["draws"].responsibilities(x), fits["draws"].log_likelihood(x)
    for one, two in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("name", ["em", "cavi", "draws"])
def test_sampled_points_follow_the_predictive_density(name, fits, rng):
    """The mean log density of sampled points is minus the entropy: compare two independent samples' densities by rank."""
    fit = fits[name]
    points, own = fit.sample(4000, rng)
    weights, theta = fit.parameters(4000, rng)
    assert np.bincount(own, minlength=3) / 4000 == pytest.approx(weights.mean(0), abs=4.5 * np.sqrt(0.25 / 4000))
    means = (weights[..., None] * fit.family.to_data(theta)["means"]).sum(1).mean(0)
    error = points.std(0) / np.sqrt(4000)
    assert np.abs((points.mean(0) - means) / error).max() < 4.5


def shuffled(fit, rng):
    chains, draws, K = fit.posterior.weights.shape
    orders = np.array([[rng.permutation(K) for _ in range(draws)] for _ in range(chains)])
    return Fit(**{**fit.__dict__, "posterior": fit.posterior.permute(orders)}), orders


def test_alignment_undoes_any_relabelling(x, fits, rng):
    reference = fits["cavi"].responsibilities(x)
    usual = labels.align(fits["draws"], reference, x)
    mixed, orders = shuffled(usual.fit, rng)
    back = labels.align(mixed, reference, x)
    np.testing.assert_array_equal(back.fit.posterior.theta["means"], usual.fit.posterior.theta["means"])
    assert usual.moved == 0
    assert back.moved == pytest.approx(np.any(orders != np.arange(3), axis=-1).mean())
    assert back.switched > 0.7


def test_a_chain_with_its_own_labelling_moves_without_switching(x, fits):
    reference = fits["cavi"].responsibilities(x)
    orders = np.broadcast_to(np.arange(3), (4, 1000, 3)).copy()
    orders[2] = [1, 2, 0]
    other = Fit(**{**fits["draws"].__dict__, "posterior": fits["draws"].posterior.permute(orders)})
    aligned = labels.align(other, reference, x)
    assert (aligned.moved, aligned.switched) == (0.25, 0.0)


def test_closed_forms_are_aligned_too(x, fits):
    reference = fits["cavi"].responsibilities(x)[:, [1, 2, 0]]
    aligned = labels.align(fits["cavi"], reference, x)
    assert aligned.moved == 1
    np.testing.assert_allclose(aligned.fit.responsibilities(x), reference, atol=1e-12)


def test_sorted_labelling_follows_the_first_feature(x, fits):
    r = labels.sort_by_mean(fits["em"], x)
    means = (r.T @ x[:, 0]) / r.sum(0)
    assert np.all(np.diff(means) > 0)


def test_draws_permute_every_parameter_alike(rng):
    weights = rng.dirichlet(np.ones(3), (2, 5))
    theta = {"means": weights[..., None] * 10, "covariances": weights[..., None, None] * 100}
    order = rng.permuted(np.broadcast_to(np.arange(3), (2, 5, 3)), axis=-1)
    moved = Draws(weights, theta).permute(order)
    np.testing.assert_allclose(moved.theta["means"][..., 0], moved.weights * 10)
    np.testing.assert_allclose(moved.theta["covariances"][..., 0, 0], moved.weights * 100)
    np.testing.assert_allclose(moved.weights[0, 0], weights[0, 0][order[0, 0]])


def test_no_draws_are_refused(fits, rng):
    with pytest.raises(ValueError, match="at least one draw"):
        fits["em"].draws(0, rng)


def test_closed_forms_hold_no_log_likelihood(x, fits):
    with pytest.raises(TypeError, match="as_draws"):
        fits["cavi"].log_likelihood(x)


def test_points_of_another_width_are_refused(x, fits):
    for fit in fits.values():
        with pytest.raises(ValueError, match="x has 1 columns; the model has 2 features"):
            fit.log_predictive(x[:, :1])
        with pytest.raises(ValueError, match="the model has 2 features"):
            fit.responsibilities(x[:, :1])


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("family", COVARIANCES.values(), ids=COVARIANCES)
@pytest.mark.parametrize("method", [em, cavi])
def test_points_beyond_all_numbers_have_no_density_and_equal_responsibilities(method, family, rng):
    x = three_clusters(60, rng)
    fit = method.fit(x, family.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    far = np.array([[1e300, 1e300], [-1e300, 1e300], [0.0, 0.0]])
    assert np.isneginf(fit.log_predictive(far)).tolist() == [True, True, False]
    r = fit.responsibilities(far)
    assert r[:2].tolist() == [[0.5, 0.5]] * 2
    assert r[2].sum() == pytest.approx(1)
