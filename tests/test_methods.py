"""EM, MAP-EM and CAVI: bounds, stationary points, invariances, starts and failures."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import collapsed_data, three_clusters
from scipy import stats
from scipy.special import logsumexp
from scipy.stats import norm

from mixtures import (
    COVARIANCES,
    Bernoulli,
    Categorical,
    CollapseError,
    ConvergenceWarning,
    DiagonalGaussian,
    Dirichlet,
    Gaussian,
    GaussianMixture,
    Markov,
    Poisson,
    StickBreaking,
)
from mixtures.ascent import starts as initial
from mixtures.ascent import states
from mixtures.ascent.ascend import best_of
from mixtures.ascent.candidates import beginnings, climb_from_best, in_turn
from mixtures.ascent.kmeans import lloyd, nearest, seed
from mixtures.ascent.starts import starts, starts_of_many
from mixtures.ascent.states import statistics
from mixtures.datasets import load
from mixtures.engines.plain import pass_
from mixtures.errors import FeatureError
from mixtures.labels import align, assignment, assignments
from mixtures.methods import cavi, em, exact

METHODS = {
    "em": lambda *a, **k: em.fit(*a, **k),
    "map": lambda *a, **k: em.fit(*a, prior=True, **k),
    "cavi": lambda *a, **k: cavi.fit(*a, **k),
}


every_structure = pytest.mark.parametrize("covariance", COVARIANCES)


def model(x, K, alpha0=1.0, covariance="full"):
    return COVARIANCES[covariance].from_data(x, K), Dirichlet.symmetric(K, alpha0)


def stick_model(x, K, gamma0):
    return COVARIANCES["full"].from_data(x, K), StickBreaking(K, gamma0)


def data_parameters(fit):
    """Weights, means and covariances in the units of x, of a point fit or the mean of CAVI's draws."""
    weights, theta = fit.parameters(1, np.random.default_rng(0))
    theta = fit.family.to_data(theta)
    return weights[0], theta["means"][0], theta["covariances"][0]


@pytest.mark.parametrize("D", [1, 2, 3])
def test_one_cluster_has_its_exact_evidence_as_bound(D, rng):
    """The log evidence of a Normal-Wishart model from its predictive densities, one point after another (SciPy's t)."""
    x = rng.standard_normal((12, D)) * 4 - 30
    family, allocation = model(x, 1)
    prior = family.prior_in_data_units()
    m, beta, W_inv, nu = prior["m0"], prior["beta0"], prior["W0_inv"], prior["nu0"]
    evidence = 0.0
    for point in x:
        scale = W_inv * (1 + beta) / ((nu + 1 - D) * beta)
        evidence += stats.multivariate_t(m, scale, nu + 1 - D).logpdf(point)
        W_inv = W_inv + beta / (beta + 1) * np.outer(point - m, point - m)
        m, beta, nu = (beta * m + point) / (beta + 1), beta + 1, nu + 1
    fit = cavi.fit(x, family, allocation, rng=rng)
    assert fit.bound[-1] == pytest.approx(evidence, rel=1e-10)


@every_structure
@pytest.mark.parametrize(
    ("N", "D", "allocation"),
    [
        (6, 1, Dirichlet.symmetric(2, 1.0)),
        (7, 2, Dirichlet.symmetric(2, 0.5)),
        (5, 1, Dirichlet.symmetric(3, 2.0)),
        (7, 2, StickBreaking(2, 0.4)),
        (6, 1, StickBreaking(3, 1.0)),
        (5, 1, StickBreaking(4, 3.0)),
    ],
    ids=repr,
)
def test_bound_is_below_the_evidence_summed_over_all_labellings(N, D, allocation, covariance, rng):
    x = np.concatenate([rng.standard_normal((N - 2, D)), rng.standard_normal((2, D)) + 6])
    K, terms = allocation.n_components, []
    family = COVARIANCES[covariance].from_data(x, K)
    for labels in itertools.product(range(K), repeat=N):
        s = statistics(x, family, np.eye(K)[list(labels)])
        terms.append(allocation.log_marginal(s[:, 0]) + family.log_marginal(s))
    evidence = logsumexp(terms)
    fit = cavi.fit(x, family, allocation, rng=rng, restarts=20)
    assert fit.bound[-1] < evidence
    assert fit.bound[-1] > evidence - 2 * np.log(K) - N


@every_structure
@pytest.mark.parametrize("method", METHODS)
def test_the_bound_never_falls(method, covariance, rng):
    x = three_clusters(200, rng, separation=2.5)
    fit = METHODS[method](x, *model(x, 3, covariance=covariance), rng=rng)
    assert fit.converged
    assert len(fit.bound) > 5
    assert np.diff(fit.bound).min() > -1e-9


@pytest.mark.parametrize("gamma0", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("method", METHODS)
def test_the_bound_never_falls_under_sticks(method, gamma0, rng):
    x = three_clusters(200, rng, separation=2.5)
    fit = METHODS[method](x, *stick_model(x, 3, gamma0), rng=rng)
    assert fit.converged
    assert len(fit.bound) > 5
    assert np.diff(fit.bound).min() > -1e-9


@pytest.mark.parametrize(("K", "gamma0"), [(1, 0.7), (2, 1.0)])
@pytest.mark.parametrize("method", METHODS)
def test_sticks_that_are_uniform_give_the_fit_of_a_uniform_dirichlet(method, K, gamma0, rng):
    x = three_clusters(90, rng, separation=3.0)
    r = rng.dirichlet(np.ones(K), len(x))
    ours, theirs = (METHODS[method](x, *m, init=r, rng=rng) for m in (stick_model(x, K, gamma0), model(x, K)))
    np.testing.assert_allclose(ours.bound, theirs.bound, rtol=1e-12)
    np.testing.assert_allclose(ours.log_predictive(x), theirs.log_predictive(x), rtol=1e-10)
    np.testing.assert_allclose(ours.responsibilities(x), theirs.responsibilities(x), atol=1e-10)


def test_a_relabelled_fit_under_sticks_is_the_same_posterior(rng):
    """Predictive density and draws keep, responsibilities and mean weights move with the labels; and all of it comes back."""
    x = three_clusters(90, rng, separation=3.0)
    fit = cavi.fit(x, *stick_model(x, 4, 1.5), rng=rng)
    r, order = fit.responsibilities(x), np.array([2, 3, 0, 1])
    moved = align(fit, r[:, order], x).fit
    np.testing.assert_allclose(moved.responsibilities(x), r[:, order], atol=1e-12)
    np.testing.assert_allclose(moved.log_predictive(x), fit.log_predictive(x), rtol=1e-12)
    one, two = (each.parameters(5, np.random.default_rng(4))[0] for each in (fit, moved))
    np.testing.assert_allclose(two, one[:, order], rtol=1e-12)
    again = align(moved, r, x).fit
    np.testing.assert_allclose(again.responsibilities(x), r, atol=1e-12)


def test_sticks_without_a_posterior_mode_are_a_collapse(rng):
    """Nearly all points in the first cluster: the density of the weights grows as the others lose theirs."""
    x = rng.standard_normal((30, 2))
    with pytest.raises(CollapseError, match="too few points are left for the last clusters"):
        METHODS["map"](x, *stick_model(x, 3, 0.5), init=np.zeros(30, dtype=int), rng=rng)


def test_em_bound_is_the_log_likelihood_at_its_parameters(rng):
    x = three_clusters(150, rng)
    fit = em.fit(x, *model(x, 3), rng=rng)
    pi, mu, Sigma = data_parameters(fit)
    density = sum(w * stats.multivariate_normal(m, C).pdf(x) for w, m, C in zip(pi, mu, Sigma, strict=True))
    assert fit.bound[-1] == pytest.approx(np.log(density).sum(), rel=1e-10)
    np.testing.assert_allclose(fit.log_predictive(x), np.log(density), rtol=1e-9)


def test_map_bound_is_the_log_joint_in_the_units_of_the_data(rng):
    x = three_clusters(150, rng) * [3.0, 0.2]
    family, allocation = model(x, 3, alpha0=2.0)
    fit = METHODS["map"](x, family, allocation, rng=rng)
    pi, mu, Sigma = data_parameters(fit)
    prior = family.prior_in_data_units()
    joint = stats.dirichlet(allocation.alpha0).logpdf(pi)
    joint += np.log(
        sum(w * stats.multivariate_normal(m, C).pdf(x) for w, m, C in zip(pi, mu, Sigma, strict=True))
    ).sum()
    for m, C in zip(mu, Sigma, strict=True):
        joint += stats.multivariate_normal(prior["m0"], C / prior["beta0"]).logpdf(m)
        joint += stats.wishart(float(prior["nu0"]), np.linalg.inv(prior["W0_inv"])).logpdf(np.linalg.inv(C))
    assert fit.bound[-1] == pytest.approx(joint, rel=1e-10)


@pytest.mark.parametrize("allocation", [Dirichlet.symmetric(2, 1.5), StickBreaking(3, 1.8)], ids=repr)
@pytest.mark.parametrize("prior", [False, True])
def test_em_ends_where_the_gradient_vanishes(prior, allocation, rng):
    """Central differences of the objective in log-ratios of pi, mu and the precision matrices, at the fitted point."""
    x = three_clusters(120, rng, separation=3.0)
    family = COVARIANCES["full"].from_data(x, allocation.n_components)
    fit = em.fit(x, family, allocation, rng=rng, prior=prior, tol=0.0)
    weights, theta = fit.parameters(1, rng)
    logits, mu, Lambda = np.log(weights[0]), theta["means"][0], np.linalg.inv(theta["covariances"][0])

    def objective(logits, mu, Lambda):
        theta = {"means": mu, "covariances": np.linalg.inv(Lambda)}
        log_pi = logits - logsumexp(logits)
        value = logsumexp(log_pi + family.features(x) @ family.natural(theta).T, axis=1).sum()
        return value + prior * (allocation.log_prior(np.exp(log_pi)) + family.log_prior(theta))

    for _ in range(6):
        step = rng.standard_normal(logits.shape), rng.standard_normal(mu.shape), rng.standard_normal(Lambda.shape)
        step = (step[0], step[1], step[2] + step[2].swapaxes(-1, -2))
        h = 1e-5
        ends = [objective(logits + e * step[0], mu + e * step[1], Lambda + e * step[2]) for e in (-h, h)]
        assert abs(ends[1] - ends[0]) / (2 * h) < 2e-3


@every_structure
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shift", "scale"), [(1e8, 1.0), (0.0, 1e-6), (-3e5, 1e3)])
def test_shift_and_scale_give_the_same_fit(method, shift, scale, covariance):
    """A shift of 1e8 leaves data of unit spread 1.5e-8 of rounding, so seven digits are what the input still holds."""
    rng = np.random.default_rng(5)
    x = three_clusters(200, rng)
    fits = [
        METHODS[method](y, *model(y, 3, covariance=covariance), rng=np.random.default_rng(1))
        for y in (x, x * scale + shift)
    ]
    r = [f.responsibilities(y) for f, y in zip(fits, (x, x * scale + shift), strict=True)]
    order = assignment(r[0].T @ r[1])  # rounding decides which of several starts at the same bound is kept
    np.testing.assert_allclose(r[0], r[1][:, order], atol=2e-6)
    density = [f.log_predictive(y) for f, y in zip(fits, (x, x * scale + shift), strict=True)]
    np.testing.assert_allclose(density[0], density[1] + 2 * np.log(scale), atol=2e-6)
    if method != "map":
        assert fits[0].bound[-1] == pytest.approx(fits[1].bound[-1] + 400 * np.log(scale), abs=1e-4)
    means = [data_parameters(f)[1] for f in fits]
    if method != "cavi":
        np.testing.assert_allclose(means[0] * scale + shift, means[1][order], rtol=1e-7, atol=1e-5 * scale)


@pytest.mark.parametrize("method", METHODS)
def test_relabelled_start_gives_the_relabelled_fit(method, rng):
    x = three_clusters(120, rng)
    r = rng.dirichlet(np.ones(3), len(x))
    order = np.array([2, 0, 1])
    one = METHODS[method](x, *model(x, 3), init=r, rng=rng)
    two = METHODS[method](x, *model(x, 3), init=r[:, order], rng=rng)
    np.testing.assert_allclose(one.responsibilities(x)[:, order], two.responsibilities(x), atol=1e-6)
    assert one.bound[-1] == pytest.approx(two.bound[-1], rel=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_fit(method):
    x = three_clusters(100, np.random.default_rng(3))
    rngs = [np.random.default_rng(seed) for seed in (7, 7, 8)]
    one, two, other = (METHODS[method](x, *model(x, 3), rng=rng, init="random") for rng in rngs)
    assert np.array_equal(one.bound, two.bound)
    assert not np.array_equal(one.bound, other.bound)


@pytest.mark.parametrize("init", ["k-means++", "k-means", "random"])
@pytest.mark.parametrize("method", METHODS)
def test_every_start_finds_well_separated_clusters(method, init, rng):
    x = three_clusters(150, rng, separation=20.0)
    truth = np.argmin(((x[:, None] - 20 * np.array([[0, 0], [1, 0], [0, 1]])) ** 2).sum(-1), axis=1)
    fit = METHODS[method](x, *model(x, 3), init=init, restarts=20, rng=rng)
    labels = fit.responsibilities(x).argmax(1)
    assert len(set(zip(labels, truth, strict=True))) == 3


def test_given_starts_are_used_as_given(rng):
    x = three_clusters(60, rng)
    family, allocation = model(x, 3)
    corners = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    z, seeds = family.near(x), family.near(corners)
    labels = np.argmin(((z[:, None] - seeds) ** 2).sum(-1), axis=1)
    (from_means,) = starts(x, None, len(x), family, allocation, corners, 5, rng)
    (from_labels,) = starts(x, None, len(x), family, allocation, labels, 5, rng)
    np.testing.assert_allclose(from_means, from_labels)
    np.testing.assert_allclose(from_labels[:, 0], np.bincount(labels))
    fit = cavi.fit(x, family, allocation, rng=rng)
    (from_fit,) = starts(x, None, len(x), family, allocation, fit, 5, rng)
    np.testing.assert_allclose(from_fit, statistics(x, family, fit.responsibilities(x)))


def test_every_second_start_is_softened_and_one_that_cannot_stand(rng):
    """A cluster of one point has no covariance; one without a point was given so, and is refused by the method."""
    x = three_clusters(60, rng)
    family, allocation = model(x, 3)
    labels = np.arange(60) % 3
    alone = np.where(np.arange(60) == 0, 0, 1 + labels % 2)
    hard = np.stack([statistics(x, family, np.eye(3)[z]) for z in (labels, labels, labels, alone, labels, labels % 2)])
    found = beginnings(partial(em.step, family, allocation), hard, in_turn(6, 3))
    counts = [(1 - share) * s[:, 0] + share * 20 for share, s in zip([0, 0.05, 0, 0.05, 0.05, 0], hard, strict=True)]
    np.testing.assert_allclose(found[..., 0], counts)
    np.testing.assert_allclose(found.sum(1), hard.sum(1), atol=1e-12)


@pytest.mark.parametrize("far", [9999, 99_999, 2.0**31, 1e12])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_clusters_close_to_each_other_are_found_beside_rows_far_away(covariance, far):
    """Codes for what is missing: at least as good as the groups' own moments, by SciPy."""
    rng = np.random.default_rng(3)
    x = np.r_[rng.normal(0, 1, 100), rng.normal(8, 1.5, 60), far + rng.normal(0, 0.5, 5)][:, None]
    groups = np.split(x, [100, 160])
    pooled = np.sqrt(sum(g.var() * len(g) for g in groups) / len(x)) if covariance == "tied" else None
    density = sum(len(g) / len(x) * norm.pdf(x, g.mean(), pooled or g.std()) for g in groups)
    expected = np.log(density).sum()
    fit = em.fit(x, COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3), rng=rng, restarts=4)
    assert expected <= fit.bound[-1] < expected + 1
    assert fit.converged
    assert fit.log_predictive(x).sum() == pytest.approx(fit.bound[-1], abs=1e-4)
    r = fit.responsibilities(x)
    assert fit.info["entropy"] == pytest.approx(-(r * np.log(np.maximum(r, 1e-300))).sum(), abs=1e-3)
    means = np.sort(fit.family.to_data({name: value[0, 0] for name, value in fit.held.theta.items()})["means"][:, 0])
    np.testing.assert_allclose(means, [x[:100].mean(), x[100:160].mean(), x[160:].mean()], atol=0.2)


def test_given_labels_are_kept_where_their_clusters_are_tight_beside_their_distance():
    rng = np.random.default_rng(3)
    x = np.r_[rng.normal(0, 1, 100), rng.normal(8, 1.5, 60), 1e9 + rng.normal(0, 0.5, 5)][:, None]
    fit = em.fit(x, *model(x, 3), rng=rng, init=np.repeat([0, 1, 2], [100, 60, 5]))
    np.testing.assert_allclose(fit.held.weights[0, 0] * 165, [100, 60, 5], atol=1)


def test_one_row_far_away_does_not_make_the_others_collapse():
    """Two clusters of the rest beside an entry of 1e7: the better explanation of them is as if the entry were not there."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (100, 3)), rng.normal(8, 1.5, (60, 3)), [[1e7, 0, 0], [1e7 + 1, 2, 1]]])
    x[-2:] += rng.normal(size=(2, 3))
    fit = em.fit(x, DiagonalGaussian.from_data(x, 3), Dirichlet.symmetric(3), rng=rng)
    alone = em.fit(x[:160], DiagonalGaussian.from_data(x[:160], 2), Dirichlet.symmetric(2), rng=rng)
    own = x[160:]
    pair = 2 * np.log(2 / 162) + norm.logpdf(own, own.mean(0), own.std(0)).sum()
    assert fit.bound[-1] == pytest.approx(alone.bound[-1] + 160 * np.log(160 / 162) + pair, abs=1e-3)


def test_rows_that_differ_by_rounding_alone_are_one_row():
    """0.1 + 0.2 is not 0.3: a cluster on their difference would have a density of 1e16."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(size=100), 0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2][:, None]
    fit = em.fit(x, *model(x, 2), rng=rng, init=np.repeat([0, 1], [100, 4]))
    assert fit.held.theta["covariances"].min() > 1e-3


@pytest.mark.parametrize(
    ("init", "restarts", "message"),
    [("kmeans", 3, "expected one of"), (np.zeros((4, 4)), 3, "neither responsibilities"), ("random", 0, "at least 1")],
)
def test_bad_starts_are_refused(init, restarts, message, rng):
    x = three_clusters(30, rng)
    with pytest.raises(ValueError, match=message):
        cavi.fit(x, *model(x, 3), init=init, restarts=restarts, rng=rng)


def test_more_clusters_than_distinct_rows_are_refused(rng):
    x = np.repeat([[0.0], [1.0]], 10, axis=0)
    with pytest.raises(ValueError, match="distinct rows; the data have 2"):
        cavi.fit(x, *model(x, 3), rng=rng)


def test_maximum_likelihood_names_the_collapse_and_the_prior_avoids_it(rng):
    x = collapsed_data()
    family, allocation = model(x, 2)
    with pytest.raises(CollapseError, match=r"starts ended in a collapse, the last: cluster [01] collapsed"):
        em.fit(x, family, allocation, init="k-means", rng=rng)
    fit = em.fit(x, family, allocation, init="k-means", rng=rng, prior=True)
    assert fit.converged
    assert sorted(data_parameters(fit)[0])[0] == pytest.approx(1 / 3, abs=0.01)


def test_an_empty_cluster_is_named(rng):
    x = rng.standard_normal((20, 1))
    with pytest.raises(CollapseError, match=r"cluster 1 is empty; use fewer components, other starts, or a prior"):
        em.fit(x, *model(x, 2), init=np.tile([1.0, 0.0], (20, 1)), rng=rng)


def test_stopping_early_warns(rng):
    x = three_clusters(100, rng, separation=1.0)
    with pytest.warns(ConvergenceWarning, match="no convergence in 3 passes"):
        fit = em.fit(x, *model(x, 3), rng=rng, max_iter=3)
    assert not fit.converged
    assert len(fit.bound) == 3


def test_a_falling_bound_raises():
    bounds = iter([1.0, 2.0, 1.5])
    with pytest.raises(ArithmeticError, match=r"fell by 0.5 nats in pass 3"):
        best_of(lambda s: (s, 0.0), lambda eta: (np.array([next(bounds)]), eta), np.zeros((1, 1, 1)), 10, 1e-9, 100)


def test_a_bound_that_is_not_a_number_raises():
    with pytest.raises(ArithmeticError, match="nan"):
        best_of(lambda s: (s, 0.0), lambda eta: (np.array([np.nan]), eta), np.zeros((1, 1, 1)), 10, 1e-9, 100)


def test_the_best_of_several_starts_is_kept_and_counted():
    """Four starts end at bounds 3, 5, 5 and a collapse."""
    ends = np.array([3.0, 5.0, 5.0])

    def natural(s):
        if np.any(s == 3):
            raise CollapseError("cluster 0 collapsed", (s == 3).all((1, 2)))
        return s, 0.0

    best = best_of(natural, lambda s: (ends[s[:, 0, 0].astype(int)], s), np.arange(4.0)[:, None, None], 1, 1e-9, 100)
    assert best.bound[-1] == 5.0
    assert best.info == {"passes": 2, "restarts": 4, "reached": 2, "collapsed": 1}
    assert best.s[0, 0] == 1


def test_the_next_best_candidate_of_a_start_replaces_one_that_collapses():
    """Of states (id, pass), 1 is far ahead of 2 until it collapses in pass 15; 3 collapses in the short run, and 4 lags."""

    def natural(s):
        lost = ((s[:, 0, 0] == 1) & (s[:, 0, 1] >= 15)) | ((s[:, 0, 0] == 3) & (s[:, 0, 1] >= 2))
        if lost.any():
            raise CollapseError("cluster 0 collapsed", lost)
        return s, 0.0

    def one_pass(eta):
        return np.array([0, 100, 50, 200, 10])[eta[:, 0, 0].astype(int)] + np.minimum(eta[:, 0, 1], 20), eta + np.array(
            [0, 1]
        )

    s = np.array([[4, 0], [1, 0], [2, 0], [4, 0], [3, 0], [3, 0], [3, 0], [3, 0], [3, 0]], dtype=float)[:, None]
    heard = []
    runs, tight = climb_from_best(
        lambda _: (natural, one_pass), s, 1, 3, 1e-9, 100, False, lambda runs: heard.append(runs.end.copy())
    )
    np.testing.assert_array_equal(runs.end, [70, 30, -np.inf])
    np.testing.assert_array_equal(runs.collapsed, [False, False, True])
    np.testing.assert_array_equal(runs.bounds(0), 50 + np.r_[:21, 20])
    assert [run for run, _ in tight] == [0, 1, 2]
    np.testing.assert_array_equal(tight[0][1], [[1, 14]])
    assert {end.shape for end in heard} == {(3,)}
    assert heard[12][0] == 112
    np.testing.assert_array_equal(heard[-1], runs.end)


def test_a_start_is_the_best_of_short_runs(monkeypatch):
    """On iris few single runs of EM find the best optimum of three clusters, and most of the best of six do, of thirty."""
    x = load("iris").x
    reached = []
    monkeypatch.setattr("mixtures.ascent.candidates.MORE", 0)
    monkeypatch.setattr("mixtures.ascent.candidates.move_on", lambda problem, runs, *_: runs)
    for number in (1, 6):
        monkeypatch.setattr("mixtures.ascent.candidates.CANDIDATES", number)
        fits = [em.fit(x, *model(x, 3), rng=seed, restarts=10) for seed in range(3)]
        reached.append(sum(fit.info["reached"] for fit in fits))
    assert reached[0] < 15
    assert reached[1] > 20


@pytest.mark.robustness("numbers")
def test_starts_suit_many_features(rng):
    """Of thirteen features seeds alone tell little: the wine data's five clusters are fitted at least as well as by k-means.

    scikit-learn 1.9.1 from ten starts (reg_covar 1e-10, tol 1e-7) ends at -1778.1, -1816.8 and -1774.7 by seeds 0-9, 10-19 and
    20-29.
    """
    x = load("wine").x
    x = (x - x.mean(0)) / x.std(0)
    fit = em.fit(x, *model(x, 5), rng=np.random.default_rng(0), restarts=10)
    assert fit.bound[-1] > -1774.7


def test_the_bound_belongs_to_the_state_that_is_returned(rng):
    x = three_clusters(100, rng, separation=2.0)
    family, allocation = model(x, 3)
    natural, one_pass = partial(cavi.step, family, allocation), partial(pass_, family, x, None)
    s = starts(x, None, len(x), family, allocation, "random", 1, rng)
    best = best_of(natural, one_pass, s, len(x), 1e-4, 1000)
    eta, extra = natural(best.s[None])
    assert one_pass(eta)[0] + extra == best.bound[-1]


def test_information_criteria_of_one_gaussian(rng):
    """K = 1: log likelihood in closed form, five parameters in two dimensions, no entropy."""
    x = rng.standard_normal((50, 2))
    info = em.fit(x, *model(x, 1), rng=rng).info
    L = stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x).sum()
    assert info["aic"] == pytest.approx(-2 * L + 10)
    assert info["bic"] == pytest.approx(-2 * L + 5 * np.log(50))
    assert info["icl"] == pytest.approx(info["bic"])


@pytest.mark.robustness("numbers")
@every_structure
def test_a_ridge_keeps_clusters_from_collapsing(covariance, rng):
    """Criteria are of the likelihood at the point, which lies above the objective under noise; of many data sets too."""
    x = np.concatenate([np.zeros((30, 2)), rng.gamma(1, 5, (50, 2))])
    family, allocation = model(x, 2, covariance=covariance)
    fit = em.fit(x, family, allocation, rng=rng, reg_covar=1e-3)
    assert np.linalg.eigvalsh(data_parameters(fit)[2]).min() >= 1e-3 * (1 - 1e-6)
    L = fit.log_predictive(x).sum()
    assert fit.info["log_likelihood"] == pytest.approx(L, abs=1e-6)
    assert fit.info["bic"] == pytest.approx(-2 * L + (family.n_free(2) + 1) * np.log(80), abs=1e-6)
    assert fit.info["icl"] - fit.info["bic"] == pytest.approx(
        2 * stats.entropy(fit.responsibilities(x), axis=1).sum(), abs=1e-6
    )
    assert fit.bound[-1] < L - 1e-3
    (many,) = em.fit_many([x], [family], allocation, rng=rng, reg_covar=1e-3)
    assert many.info["log_likelihood"] == pytest.approx(many.log_predictive(x).sum(), abs=1e-6)
    assert many.info["log_likelihood"] == pytest.approx(L, abs=1e-3)


@pytest.mark.robustness("numbers")
def test_starts_that_collapsed_early_are_counted_where_few_go_on():
    """Four starts, of which one collapses in the short runs and two go on."""

    def natural(s):
        if np.any(s == 3):
            raise CollapseError("cluster 0 collapsed", (s == 3).all((1, 2)))
        return s, 0.0

    ends = np.array([3.0, 5.0, 4.0])
    states = np.arange(4.0)[:, None, None]
    best = best_of(natural, lambda s: (ends[s[:, 0, 0].astype(int)], s), states, 1, 1e-9, 100, keep=2)
    assert (best.info["collapsed"], best.info["restarts"], best.info["reached"]) == (1, 4, 1)


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [None, 2])
def test_a_callback_hears_of_every_pass_and_may_stop(method, keep, rng):
    x = three_clusters(90, rng, separation=1.5)
    heard = []

    def listen(runs):
        heard.append(runs.end.max())
        if len(heard) == 5:
            raise StopIteration

    fit = METHODS[method](x, *model(x, 3), rng=rng, callback=listen, keep=keep)  # and warns of nothing
    assert (len(heard), len(fit.bound), fit.converged) == (5, 5, False)
    assert fit.bound[-1] == heard[-1]
    heard.clear()
    fit = METHODS[method](x, *model(x, 3), rng=rng, callback=lambda runs: heard.append(runs.end.max()), keep=keep)
    assert fit.converged
    assert len(heard) >= fit.info["passes"]
    assert heard[-1] == fit.bound[-1]


@every_structure
def test_em_reaches_the_likelihood_of_scikit_learn(covariance, rng):
    from sklearn.mixture import GaussianMixture

    x = three_clusters(300, rng, separation=3.0)
    settings = {"n_init": 10, "tol": 1e-12, "max_iter": 10_000, "reg_covar": 0, "random_state": 0}
    theirs = GaussianMixture(3, covariance_type=covariance, **settings).fit(x)
    ours = em.fit(x, *model(x, 3, covariance=covariance), rng=rng)
    assert ours.bound[-1] == pytest.approx(theirs.score(x) * len(x), abs=1e-4)
    assert ours.info["bic"] == pytest.approx(theirs.bic(x), abs=2e-4)
    assert ours.info["aic"] == pytest.approx(theirs.aic(x), abs=2e-4)


def test_icl_adds_twice_the_entropy_of_the_responsibilities(rng):
    x = three_clusters(200, rng, separation=2.5)
    fit = em.fit(x, *model(x, 3), rng=rng)
    entropy = stats.entropy(fit.responsibilities(x), axis=1).sum()
    assert entropy > 1
    assert fit.info["icl"] == pytest.approx(fit.info["bic"] + 2 * entropy)


def test_blocks_of_rows_add_up(rng, monkeypatch):
    """sum_n log sum_k exp(t . eta_k) and r^T t over all rows at once, against blocks of seven."""
    x = three_clusters(50, rng)
    family, _ = model(x, 2)
    eta = rng.standard_normal((2, 6))
    logits = family.features(x) @ eta.T
    r = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    monkeypatch.setattr("mixtures.engines.plain.BLOCK", 7)
    log_z, s = pass_(family, x, None, eta)
    assert log_z == pytest.approx(logsumexp(logits, axis=1).sum())
    np.testing.assert_allclose(s, r.T @ family.features(x))
    np.testing.assert_allclose(statistics(x, family, r, block=7), s)


@pytest.mark.parametrize("at_once", [400, 1100])
@pytest.mark.parametrize("init", initial.METHODS)
def test_starts_of_many_data_sets_are_those_of_each(init, at_once, rng, monkeypatch):
    """Whether one data set and two starts are held at once, or two data sets and all their starts."""
    for module in (initial, states):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", at_once)
    xs = np.stack([three_clusters(60, rng, separation=2.0) for _ in range(5)])
    family, allocation = Gaussian.from_data(xs[0], 3), Dirichlet.symmetric(3)
    rngs = [np.random.default_rng(g) for g in range(5)]
    stacked = family.stack([family] * 5)
    many = starts_of_many(family.coordinates(xs), stacked, allocation, init, 3, rngs, family.near(xs))
    for g, x in enumerate(xs):
        alone = starts(x, None, 60, family, allocation, init, 3, np.random.default_rng(g))
        np.testing.assert_allclose(many[g], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("init", "message"), [("spectral", "k-means"), (np.zeros(7), "neither")])
def test_bad_starts_of_many_are_refused(init, message, rng):
    xs = rng.standard_normal((2, 30, 2))
    family = Gaussian.from_data(xs[0], 3)
    with pytest.raises(ValueError, match=message):
        em.fit_many(xs, [family] * 2, Dirichlet.symmetric(3), init=init, rng=rng)


@pytest.mark.parametrize("method", [em, cavi])
@pytest.mark.parametrize("kind", ["labels", "responsibilities", "means", "Fit"])
def test_a_given_start_of_many_data_sets_is_that_of_each(kind, method, rng):
    """Each data set has coordinates of its own, in the last those that suit all rows but one."""
    x = three_clusters(60, rng, separation=2.0)
    y = np.arange(60) % 3
    xs = [x, x + np.array([1.0, -1.0]), np.r_[x[:-1], [[999.0, 1.0]]]]
    families = [Gaussian.from_data(each, 3) for each in xs]
    labels = Dirichlet.symmetric(3)
    init = {
        "labels": y,
        "responsibilities": 0.1 / 3 + 0.9 * np.eye(3)[y],
        "means": x[:3],
        "Fit": method.fit(x, families[0], labels, rng=0, init=y),
    }[kind]
    options = {"init": init} | ({"reg_covar": 1e-3} if method is em else {})
    many = method.fit_many(xs, families, labels, rng=0, **options)
    for each, family, fit in zip(xs, families, many, strict=True):
        alone = method.fit(each, family, labels, rng=0, **options)
        assert fit.bound[-1] == pytest.approx(alone.bound[-1], rel=1e-8)
        np.testing.assert_allclose(fit.log_predictive(x), alone.log_predictive(x), rtol=1e-5)


def test_seeds_are_drawn_by_squared_distance(rng):
    """A far point is one of a hundred: k-means++ always takes it or starts from it."""
    z = np.concatenate([rng.standard_normal((99, 1)) * 1e-3, [[100.0]]])
    centres = seed(np.broadcast_to(z, (50, *z.shape)), np.ones(100), 2, rng.random((50, 2)))
    np.testing.assert_array_equal(centres.max((1, 2)), 100)


def test_lloyd_ends_once_few_points_change(rng):
    """Of 3000 points on a line the steps end where one changes at most ten, long before the last change."""
    z = rng.uniform(size=(1, 3000, 1))
    weights, centres = np.ones(3000), np.linspace(0, 0.1, 4)[None, :, None]
    labels = lloyd(z, weights, centres)[0]
    means = np.array([z[0, labels == k].mean(0) for k in range(4)])
    changed = np.sum(nearest(z[0], means) != labels)
    assert 0 < changed <= 10


def test_lloyd_ends_where_every_point_is_nearest_to_its_own_mean(rng):
    z = three_clusters(200, rng, separation=2.0)
    for labels in lloyd(np.broadcast_to(z, (5, *z.shape)), np.ones(200), z[:15].reshape(5, 3, 2)):
        means = np.array([z[labels == k].mean(0) for k in range(3)])
        np.testing.assert_array_equal(labels, nearest(z, means))


@pytest.mark.parametrize("K", [1, 2, 4, 7])
def test_many_assignments_are_those_of_each(K, rng):
    overlaps = rng.random((50, K, K))
    np.testing.assert_array_equal(assignments(overlaps), [assignment(overlap) for overlap in overlaps])


@every_structure
def test_collapse_is_named_for_every_structure(covariance, rng):
    """Ten copies of one point far from the rest: without a prior the likelihood has no maximum, but for a pooled covariance."""
    x = np.concatenate([rng.standard_normal((20, 2)), np.full((10, 2), 9.0)])
    family, allocation = model(x, 2, covariance=covariance)
    if covariance == "tied":
        assert em.fit(x, family, allocation, init="k-means", rng=rng).converged
        return
    with pytest.raises(CollapseError, match=r"cluster [01] collapsed"):
        em.fit(x, family, allocation, init="k-means", rng=rng)
    assert cavi.fit(x, family, allocation, init="k-means", rng=rng).converged


@pytest.mark.parametrize(
    ("covariance", "allocation"),
    [*((covariance, Dirichlet.symmetric(3)) for covariance in COVARIANCES), ("full", StickBreaking(3, 2.0))],
    ids=repr,
)
def test_leave_one_out_is_a_refit_without_each_point(covariance, allocation, rng, monkeypatch):
    x = three_clusters(40, rng, separation=4.0)
    family = COVARIANCES[covariance].from_data(x, 3)
    fit = cavi.fit(x, family, allocation, rng=rng)
    r = fit.responsibilities(x)
    expected = []
    for n in range(len(x)):
        rest = np.arange(len(x)) != n
        refit = cavi.fit(x[rest], family, allocation, rng=rng, init=r[rest])
        expected.append(refit.log_predictive(x[[n]])[0])
    np.testing.assert_allclose(cavi.leave_one_out(fit, x), expected, atol=1e-3)
    monkeypatch.setattr(cavi, "LEAVE_ONE_OUT_BLOCK", 7 * x.shape[0] * 3)
    np.testing.assert_allclose(cavi.leave_one_out(fit, x), expected, atol=1e-3)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("value", [-1e12, 1e15])
def test_a_row_too_far_for_the_digits_of_the_others_is_named(value, rng):
    x = three_clusters(60, rng)
    x[3, 1] = value
    family = Gaussian.from_data(x, 3)
    with pytest.raises(
        FeatureError, match=r"Row 3 lies .* times their spread away from the others in feature 1"
    ) as raised:
        em.fit(x, family, Dirichlet.symmetric(3), rng=0)
    assert isinstance(raised.value, CollapseError)
    assert "in 'height', which" in raised.value.named(["width", "height"])
    frame = pd.DataFrame(x, columns=["width", "height"])
    assert GaussianMixture(4, random_state=0).fit(frame).weights_.min() == pytest.approx(
        1 / len(x)
    )  # a component of its own
    frame.loc[3] = value * 1e40, 0.0
    with pytest.raises(CollapseError, match=r"Row 3 lies .* in 'width'"):
        GaussianMixture(3, random_state=0).fit(frame)
    diagonal = em.fit(x, DiagonalGaussian.from_data(x, 4), Dirichlet.symmetric(4), rng=0, reg_covar=1e-6)
    assert np.isfinite(diagonal.bound[-1])  # whose coordinates a far row does not turn


@pytest.mark.robustness("errors")
def test_hyperparameters_beyond_what_numbers_hold_are_refused(rng):
    x = three_clusters(60, rng)
    large, scale = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": 1.0}, (1e-320, 1e308)
    for name, family in COVARIANCES.items():
        refused = [("nu0", 1e308), ("m0", 1e30), ("beta0", np.inf), *(("W0", large[name] * size) for size in scale)]
        for hyperparameter, value in refused:
            with pytest.raises(ValueError, match=hyperparameter):
                family.from_data(x, 2, **{hyperparameter: value})
        for hyperparameter, value in (("nu0", 1e15), ("m0", 1e4), ("beta0", 1e-300), ("W0", large[name] * 1e-100)):
            model = family.from_data(x, 2, **{hyperparameter: value}), Dirichlet.symmetric(2, 1e-300)
            assert np.isfinite(cavi.fit(x, *model, rng=rng, restarts=1).bound).all()
    for alpha0 in (1e-320, 1e308):
        with pytest.raises(ValueError, match="alpha0"):
            Dirichlet.symmetric(2, alpha0)


@pytest.mark.robustness("errors")
def test_what_is_no_number_of_clusters_or_no_hyperparameter_is_refused_with_its_name(rng):
    x = three_clusters(60, rng)
    allocations = {"alpha0": Dirichlet.symmetric, "gamma0": StickBreaking}
    for name, allocation in allocations.items():
        for value in ("a", None, 1j, [[1.0]], {}):
            with pytest.raises(ValueError, match=f"{name} is "):
                allocation(2, value)
    for name, value in itertools.product(("alpha0", "a0", "sticky"), ("a", None, 1j, [1.0])):
        with pytest.raises(ValueError, match=f"{name} is "):
            Markov.symmetric(2, **{name: value})
    for family in COVARIANCES.values():
        for name, value in itertools.product(("beta0", "nu0", "m0", "W0"), ("a", 1j, {}, [["a"]])):
            with pytest.raises(ValueError, match=f"{name} is "):
                family.from_data(x, 2, **{name: value})
    for K in (0, -1, 2.0, True, "2", None):
        for make in (*allocations.values(), Markov.symmetric, lambda K, _: Gaussian.from_data(x, K)):
            with pytest.raises(
                ValueError, match=f"n_components is {K!r}; a mixture needs a whole number of at least 1"
            ):
                make(K, 1.0)
    assert Dirichlet.symmetric(np.int8(2)).n_components == 2


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("prior", [1e-300, 1e-8, 1e3, 1e6, 1e14, 1e280])
@pytest.mark.parametrize("name", ["a0", "b0"])
@pytest.mark.parametrize("family", [Bernoulli, Categorical, Poisson])
def test_strong_and_weak_priors_of_discrete_data_have_a_bound_below_the_evidence(family, name, prior):
    """Differences of log Gamma functions of 1e14 have no digits left, and the bound fell."""
    if (family, name) == (Categorical, "b0") or (family, prior) == (Bernoulli, 1e-300):
        return
    x = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [0, 0], [1, 0]])
    model = family.from_data(x, 2, **{name: prior}), Dirichlet.symmetric(2)
    bound, (evidence,) = cavi.fit(x, *model, rng=0).bound[-1], exact.fit(x, *model).info["log_evidence"].ravel()[-1:]
    assert evidence - 6 * np.log(2) - 1e-6 * abs(evidence) <= bound <= evidence + 1e-9 * abs(evidence)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("family", [Poisson, Categorical])
@pytest.mark.parametrize("largest", [2**53, 1e300])
def test_counts_and_codes_too_large_for_their_digits_are_refused(family, largest):
    """Of counts of 2^53 the log probability was 0, and codes of it were as many levels to hold."""
    x = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, largest]])
    with pytest.raises(FeatureError, match=r"feature 1 has a (count|code) of "):
        family.from_data(x, 2)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.ma.array([0, 1] * 30, mask=[True, False] * 30), r"a start of shape \(60,\) holds masked entries"),
        ([["0", "0"], ["5", "5"]], r"a start of shape \(2, 2\) holds <U1; expected numbers"),
        (None, "holds object; expected numbers, or a name or a Fit"),
    ],
)
def test_a_start_that_is_none_is_told(start, message, rng):
    x = three_clusters(60, rng)
    with pytest.raises(ValueError, match=message):
        em.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=0, init=start)


@pytest.mark.robustness("numbers")
def test_a_start_from_a_fit_of_other_clusters_is_refused(rng):
    """It ended with the clusters of the fit, under weights for others."""
    x = three_clusters(60, rng)
    other = cavi.fit(x, Gaussian.from_data(x, 3), Dirichlet.symmetric(3), rng=0)
    for method in (em, cavi):
        with pytest.raises(ValueError, match="the Fit given as init has 3 clusters; expected 2"):
            method.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=0, init=other)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize(("name", "value"), [("a0", 1e-12), ("b0", 1e-300), ("a0", 1e300)])
def test_pseudo_observations_whose_sums_keep_no_digits_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; expected 1e-08 to"):
        Bernoulli.from_data(np.eye(2), 2, **{name: value})


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("structure", ["full", "diag"])
def test_equal_rows_at_the_mean_of_all_are_no_optimum(structure, engine, rng):
    """About the origin their digits stay however tight the cluster is, and a variance of 1e-135 once was the best end."""
    x = np.stack([np.repeat([0.0, 1.0, -1.0], [120, 40, 40]), rng.normal(size=200)], 1)
    family = COVARIANCES[structure].from_data(x, 2)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=3, engine=engine)
    covariances = family.to_data({name: a[0, 0] for name, a in fit.posterior.theta.items()})["covariances"]
    assert np.linalg.eigvalsh(covariances).min() > 0.01
    assert fit.info["log_likelihood"] < -400
