"""Values missing at random: brute-force integrals, a general optimiser, equivalences, published digits, Gibbs, the twins."""

import itertools
from functools import partial

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.optimize import minimize
from scipy.special import logsumexp

import mixtures
from mixtures import (
    COVARIANCES,
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Dirichlet,
    Draws,
    Fit,
    Gaussian,
    Poisson,
    Product,
    tables,
)
from mixtures.datasets import load
from mixtures.engines.missing import Grouped, densities, statistics
from mixtures.engines.passes import noise, one_pass
from mixtures.engines.responsibilities import normalise
from mixtures.methods import cavi, em, exact, gibbs

FAMILIES = ("full", "tied", "diag", "spherical", "bernoulli", "categorical", "poisson", "product")
every_family = pytest.mark.parametrize("name", FAMILIES)


def complete(name, n, rng):
    """Rows of two groups, of two to five columns."""
    high = rng.random((n, 1)) < 0.4
    if name in COVARIANCES:
        return 5 * high + rng.standard_normal((n, 3)) @ [[1.0, 0.5, 0.2], [0.0, 1.0, 0.4], [0.0, 0.0, 1.5]]
    binary = (rng.random((n, 4)) < np.where(high, 0.8, 0.2)) * 1.0
    if name == "bernoulli":
        return binary
    counts = rng.poisson(np.where(high, 8.0, 1.5), (n, 2)) * 1.0
    if name == "poisson":
        return counts
    codes = np.column_stack([rng.binomial(C - 1, np.where(high[:, 0], 0.8, 0.3)) for C in (3, 2, 4)]) * 1.0
    if name == "categorical":
        return codes
    numbers = 40 + 5 * high + rng.standard_normal((n, 2)) @ [[1.0, 0.7], [0.0, 1.0]]
    return np.column_stack([counts[:, 0], numbers, codes[:, 0], binary[:, 0]])


def with_gaps(x, share, rng):
    return np.where(rng.random(x.shape) < share, np.nan, x)


def family_of(name, x, K=2, missing=True):
    if name in COVARIANCES:
        return COVARIANCES[name].from_data(x, K, missing=missing)
    if name == "categorical":
        return Categorical.from_data(x, K, levels=[3, 2, 4], missing=missing)
    if name == "product":
        families, columns = [Poisson, Gaussian, Categorical, Bernoulli], [[0], [2, 1], [3], [4]]
        options = [{}, {}, {"levels": [3]}, {}]
        return Product.from_data(x, K, families=families, columns=columns, hyperparameters=options, missing=missing)
    return {"bernoulli": Bernoulli, "poisson": Poisson}[name].from_data(x, K, missing=missing)


def point(family, weights, theta):
    """A fit that holds one set of parameters, of shape (K, ...)."""
    held = Draws(np.asarray(weights)[None, None], {name: np.asarray(v)[None, None] for name, v in theta.items()})
    return Fit("given", "point", family, Dirichlet.symmetric(len(weights)), held, np.empty(0), True, {})


# ---- what is missing is integrated out


@pytest.mark.parametrize("name", ["full", "tied"])
def test_correlated_features_have_the_density_of_those_seen(name, rng):
    x = with_gaps(complete(name, 60, rng), 0.3, rng)
    x[0] = np.nan
    fit = em.fit(x, family_of(name, x), Dirichlet.symmetric(2), rng=1, restarts=3, reg_covar=0.1)
    theta = fit.family.to_data({name: v[0, 0] for name, v in fit.held.theta.items()})
    pi = fit.held.weights[0, 0]
    by_hand = []
    for row in x:
        o = np.flatnonzero(~np.isnan(row))
        each = [
            stats.multivariate_normal(mu[o], Sigma[np.ix_(o, o)]).logpdf(row[o]) if len(o) else 0.0
            for mu, Sigma in zip(theta["means"], theta["covariances"], strict=True)
        ]
        by_hand.append(logsumexp(np.log(pi) + each))
    np.testing.assert_allclose(fit.log_likelihood(x)[0, 0], by_hand, rtol=1e-10, atol=1e-10)
    assert fit.info["log_likelihood"] == pytest.approx(np.sum(by_hand), rel=1e-12)
    np.testing.assert_allclose(fit.responsibilities(x)[0], pi, rtol=1e-12)


def test_expected_natural_parameters_are_integrated_by_brute_force(rng):
    """log rho and E[t | x_o] under exp(t . eta), for eta that is no density's: that of CAVI."""
    x = complete("full", 40, rng)[:, :2]
    family = family_of("full", x)
    q = family.posterior((rng.dirichlet([1, 1], 40).T) @ family.features(x))
    eta = family.expected_natural(q)
    row = np.array([[x[0, 0], np.nan]])
    got = densities(family, row, eta)[0]
    for k in range(2):

        def f(v, p, k=k):
            t = family.features(np.array([[row[0, 0], v]]))[0]
            return np.exp(t @ eta[k]) * t[p]

        integrals = [integrate.quad(f, -60, 60, args=(p,), points=[0, 5], epsabs=1e-13)[0] for p in range(6)]
        assert got[k] == pytest.approx(np.log(integrals[0]), abs=1e-9)
        own = statistics(family, row, np.eye(2)[[k]], eta)[k]
        np.testing.assert_allclose(own, np.array(integrals) / integrals[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "poisson", "product"])
def test_discrete_values_are_summed_out(name, rng):
    """The density of what was seen is the sum over all that a missing value may be, under the predictive of every method."""
    x = complete(name, 40, rng)
    family = family_of(name, x)
    column = {"bernoulli": 1, "categorical": 2, "poisson": 0, "product": 3}[name]
    levels = np.arange({"bernoulli": 2, "categorical": 4, "poisson": 200, "product": 3}[name])
    row = x[:1].copy()
    row[0, column] = np.nan
    filled = np.repeat(row, len(levels), axis=0)
    filled[:, column] = levels
    allocation = Dirichlet.symmetric(2)
    for method in (em, cavi):
        fit = method.fit(x, family, allocation, rng=1, restarts=2)
        assert fit.log_predictive(row)[0] == pytest.approx(logsumexp(fit.log_predictive(filled)), abs=1e-9)


@pytest.mark.parametrize("name", COVARIANCES)
def test_the_predictive_of_a_closed_form_integrates_over_what_is_missing(name, rng):
    x = complete(name, 40, rng)
    fit = cavi.fit(x, family_of(name, x), Dirichlet.symmetric(2), rng=1, restarts=2)
    grid = np.linspace(-400, 400, 400_001)
    row = x[0].copy()
    row[1] = np.nan
    filled = np.repeat(row[None], len(grid), axis=0)
    filled[:, 1] = grid
    integral = integrate.trapezoid(np.exp(fit.log_predictive(filled)), grid)
    assert fit.log_predictive(row[None])[0] == pytest.approx(np.log(integral), abs=1e-5)


# ---- equivalences


@every_family
@pytest.mark.parametrize("method", ["em", "map", "cavi"])
def test_nothing_missing_changes_nothing(name, method, rng):
    x = complete(name, 80, rng)
    fit = cavi.fit if method == "cavi" else em.fit
    options = {"prior": True} if method == "map" else {}
    plain, other = (
        fit(x, family_of(name, x, missing=missing), Dirichlet.symmetric(2), rng=1, restarts=4, **options)
        for missing in (False, True)
    )
    assert other.bound[-1] == pytest.approx(plain.bound[-1], abs=1e-6)
    np.testing.assert_allclose(other.log_predictive(x), plain.log_predictive(x), atol=1e-4)


@every_family
@pytest.mark.parametrize("method", [em, cavi])
def test_rows_of_which_nothing_was_seen_are_kept_and_say_nothing(name, method, rng):
    x = with_gaps(complete(name, 60, rng), 0.1, rng)
    x = x[~np.isnan(x).all(1)]
    more = np.insert(x, [0, 30], np.nan, axis=0)
    without, fit = (
        method.fit(data, family_of(name, data), Dirichlet.symmetric(2), rng=1, restarts=2) for data in (x, more)
    )
    assert fit.bound[-1] == pytest.approx(without.bound[-1], abs=1e-8)
    np.testing.assert_allclose(fit.log_predictive(more)[[0, 31]], 0, atol=1e-12)
    alpha = getattr(fit.posterior, "alpha", None)
    expected = fit.held.weights[0, 0] if alpha is None else fit.allocation.mean(alpha)
    np.testing.assert_allclose(fit.responsibilities(more)[[0, 31]], [expected] * 2, rtol=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
@pytest.mark.parametrize("method", [em, cavi])
def test_an_item_missing_everywhere_leaves_the_rest_as_they_were(name, method, rng):
    x = with_gaps(complete(name, 60, rng), 0.1, rng)
    more = np.column_stack([x, np.full(len(x), np.nan)])
    Family = {"bernoulli": Bernoulli, "categorical": Categorical}[name]
    levels = [{"levels": [3, 2, 4]}, {"levels": [3, 2, 4, 2]}] if name == "categorical" else [{}, {}]
    fits = [
        method.fit(data, Family.from_data(data, 2, missing=True, **own), Dirichlet.symmetric(2), rng=1, restarts=2)
        for data, own in zip((x, more), levels, strict=True)
    ]
    assert fits[1].bound[-1] == pytest.approx(fits[0].bound[-1], abs=1e-9)
    np.testing.assert_allclose(fits[1].responsibilities(more), fits[0].responsibilities(x), atol=1e-8)


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("method", ["em", "map", "cavi"])
def test_shift_and_scale_of_the_data_do_not_matter(name, method, rng):
    """The default prior, the bound and the responsibilities: the same model in other units."""
    x = with_gaps(complete(name, 70, rng), 0.2, rng)
    scale = np.full(3, 1e3) if name == "spherical" else np.array([1e-3, 1.0, 1e4])
    other = (x + np.array([7.0, -3.0, 1e4])) * scale
    fit = cavi.fit if method == "cavi" else em.fit
    options = {"prior": True} if method == "map" else {}
    one, two = (
        fit(data, family_of(name, data), Dirichlet.symmetric(2), rng=1, restarts=2, **options) for data in (x, other)
    )
    each = (~np.isnan(x)) @ np.log(scale)
    moved = each.sum()
    if method == "map":
        moved += one.family.log_jacobian(2) - two.family.log_jacobian(2)
    assert two.bound[-1] == pytest.approx(one.bound[-1] - moved, rel=1e-7, abs=1e-5)
    np.testing.assert_allclose(two.log_predictive(other), one.log_predictive(x) - each, atol=1e-4)


@pytest.mark.parametrize("name", COVARIANCES)
def test_the_default_prior_is_that_of_complete_data_where_nothing_is_missing(name, rng):
    x = complete(name, 50, rng) * [1.0, 10.0, 0.1] + 5
    plain, other = (family_of(name, x, missing=missing).prior_in_data_units() for missing in (False, True))
    for key in plain:
        np.testing.assert_allclose(other[key], plain[key], rtol=1e-9)


# ---- the ascent


@every_family
@pytest.mark.parametrize("method", ["em", "map", "cavi"])
def test_the_bound_rises_and_no_guess_lowers_it(name, method, rng):
    """`mixtures.ascent.climb` itself refuses a fall of a plain step; here without guesses, so that every step is one."""
    x = with_gaps(complete(name, 50, rng), 0.3, rng)
    fit = cavi.fit if method == "cavi" else em.fit
    options = {"prior": True} if method == "map" else {}
    found = fit(x, family_of(name, x), Dirichlet.symmetric(2), rng=1, restarts=2, accelerate=False, **options)
    assert np.all(np.diff(found.bound) >= -1e-9 * np.abs(found.bound[-1]))


def test_em_finds_what_a_general_optimiser_finds(rng):
    """One cluster of correlated features, where the likelihood has one maximum; and two binary clusters."""
    x = with_gaps(complete("full", 25, rng)[:, :2], 0.3, rng)
    x = x[~np.isnan(x).all(1)]
    fit = em.fit(x, family_of("full", x, 1), Dirichlet.symmetric(1), rng=1, tol=1e-13)

    def loss(v):
        L = np.array([[np.exp(v[2]), 0], [v[3], np.exp(v[4])]])
        Sigma, total = L @ L.T, 0.0
        for row in x:
            o = np.flatnonzero(~np.isnan(row))
            total -= stats.multivariate_normal.logpdf(row[o], v[:2][o], Sigma[np.ix_(o, o)])
        return total

    best = minimize(loss, [2, 2, 0.5, 0, 0.5], method="BFGS", options={"gtol": 1e-8})
    assert fit.info["log_likelihood"] == pytest.approx(-best.fun, abs=1e-7)
    means = fit.family.to_data({name: v[0, 0] for name, v in fit.held.theta.items()})["means"][0]
    np.testing.assert_allclose(means, best.x[:2], atol=1e-4)


def test_a_mixture_is_at_a_maximum_of_the_likelihood(rng):
    """No direction raises it, by a general optimiser that starts from there."""
    x = with_gaps(complete("bernoulli", 60, rng), 0.2, rng)
    x = x[~np.isnan(x).all(1)]
    fit = em.fit(x, family_of("bernoulli", x), Dirichlet.symmetric(2), rng=1, tol=1e-13)

    def loss(v):
        logits = v[1:].reshape(2, 4)
        log_p = np.where(np.isnan(x)[:, None], 0, -np.logaddexp(0, np.where(x[:, None] == 1, -logits, logits))).sum(-1)
        return -logsumexp(log_p - np.logaddexp(0, [-v[0], v[0]]), axis=1).sum()

    found = max(-minimize(loss, rng.standard_normal(9) * 2, method="L-BFGS-B").fun for _ in range(6))
    assert fit.info["log_likelihood"] >= found - 1e-4


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical", "diag", "spherical"])
def test_the_bound_is_below_the_exact_evidence(name, rng):
    x = with_gaps(complete(name, 8, rng), 0.25, rng)
    family = family_of(name, x)
    allocation = Dirichlet.symmetric(2)
    evidence = exact.fit(x, family, allocation).info["log_evidence"][-1]
    bound = cavi.fit(x, family, allocation, rng=1).bound[-1]
    assert bound < evidence
    assert bound > evidence - 8


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical", "diag", "spherical"])
def test_one_cluster_is_exact_where_features_are_independent(name, rng):
    """The bound is the evidence: nothing but the parameters is unknown."""
    x = with_gaps(complete(name, 20, rng), 0.25, rng)
    x = x[~np.isnan(x).all(1)]
    family, one = family_of(name, x, 1), Dirichlet.symmetric(1)
    evidence = exact.fit(x, family, one).info["log_evidence"][-1]
    assert cavi.fit(x, family, one, rng=1).bound[-1] == pytest.approx(evidence, abs=1e-9)


def test_the_evidence_of_binary_rows_is_the_sum_over_all_that_is_missing(rng):
    x = with_gaps(complete("bernoulli", 5, rng), 0.25, rng)
    x[0] = [1, np.nan, 0, np.nan]
    family, allocation = family_of("bernoulli", x), Dirichlet.symmetric(2)
    gaps = np.argwhere(np.isnan(x))
    each = []
    for values in itertools.product([0.0, 1.0], repeat=len(gaps)):
        filled = x.copy()
        filled[tuple(gaps.T)] = values
        each.append(exact.fit(filled, family, allocation).info["log_evidence"][-1])
    assert exact.fit(x, family, allocation).info["log_evidence"][-1] == pytest.approx(logsumexp(each), abs=1e-9)


def test_what_is_impossible_is_so_by_what_was_seen(rng):
    """Beside correlated numbers that have gaps; a gap in the column itself makes nothing impossible."""
    x = np.array([[0.5, 1.0, 0.0], [np.nan, 1.5, 1.0], [0.2, np.nan, np.nan], [np.nan, np.nan, 0.0], [1.0, 0.0, 1.0]])
    more = np.column_stack([rng.standard_normal((9, 2)), np.arange(9) % 2])
    family = tables.family_of(np.vstack([x, more]), 2, ["gaussian", "gaussian", "bernoulli"], missing=True)
    theta = family.mean(family.posterior(family.rough(x).sum(0)[None].repeat(2, 0)))
    assert family.name == "product"
    for p, expected in (((0.0, 0.0), [0, 1, 0, 0, 1]), ((0.0, 0.5), [0, 0, 0, 0, 0]), ((1.0, 1.0), [1, 0, 0, 1, 0])):
        own = theta | {"probabilities": np.array(p)[:, None]}
        held = Draws(np.full((1, 1, 2), 0.5), {name: v[None, None] for name, v in own.items()})
        fit = Fit("given", "point", family, Dirichlet.symmetric(2), held, np.empty(0), True, {})
        assert np.isneginf(fit.log_predictive(x)).astype(int).tolist() == expected


def test_exact_sums_need_independent_features(rng):
    x = with_gaps(complete("full", 30, rng), 0.2, rng)
    with pytest.raises(ValueError, match="has no closed form"):
        exact.fit(x, family_of("full", x), Dirichlet.symmetric(2))


# ---- the engine


@pytest.mark.parametrize("name", ["full", "product", "diag", "bernoulli"])
def test_engines_blocks_and_weights_agree(name, rng):
    x = with_gaps(complete(name, 3000, rng), 0.2, rng)
    family = family_of(name, x)
    w = rng.integers(1, 4, len(x)).astype(float)
    s = rng.dirichlet([1, 1], (3, len(x))).swapaxes(-1, -2) @ family.rough(x)
    eta = family.expected_natural(family.posterior(s))
    log_z, found = one_pass(x, w, family, 1, engine="plain")(eta)
    log_rho = np.stack([densities(family, x, own) for own in eta]) if family.linked else eta @ family.features(x).T
    each, r = normalise(log_rho if family.linked else log_rho.swapaxes(-1, -2))
    np.testing.assert_allclose(log_z, each @ w, rtol=1e-10)
    if family.linked:
        by_hand = [statistics(family, x, r_own * w[:, None], own) for r_own, own in zip(r, eta, strict=True)]
        np.testing.assert_allclose(found, by_hand, rtol=1e-9, atol=1e-7)
    blocks = [(x[:1000], w[:1000]), (x[1000:], w[1000:])]
    others = [one_pass(blocks, None, family, 1, engine="plain")(eta)]
    repeated = np.repeat(np.arange(len(x)), w.astype(int))
    others.append(one_pass(x[repeated], None, family, 1, engine="plain")(eta))
    if family.affine:
        others.append(one_pass(x, w, family, 1, engine="fused")(eta))
        others.append(one_pass(blocks, None, family, 1, engine="fused")(eta))
    for other_log_z, other in others:
        np.testing.assert_allclose(other_log_z, log_z, rtol=1e-10)
        np.testing.assert_allclose(other, found, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_noise_is_about_the_values_that_were_seen(name, rng):
    """reg_covar: the mean of the pass's log densities over noise about every value seen, by simulation of the noise."""
    x = with_gaps(complete(name, 30, rng), 0.3, rng)
    family = family_of(name, x, 1)
    eta = family.natural(family.mode(family.rough(x).sum(0)[None]))
    expected = one_pass(x, None, family, 1, reg_covar=0.5)(eta)
    noisy = x + np.sqrt(0.5) * rng.standard_normal((20_000, *x.shape))
    log_z, s = one_pass(noisy.reshape(-1, 3), None, family, 1)(eta)
    np.testing.assert_allclose(expected[0], log_z / 20_000, rtol=2e-3)
    np.testing.assert_allclose(expected[1], s / 20_000, rtol=2e-2, atol=0.1)
    assert noise(family, 0.5)[0].any()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_noise_keeps_a_cluster_from_collapsing(covariance, rng):
    x = np.concatenate([rng.standard_normal((20, 2)), np.full((10, 2), 9.0)])
    x[[0, 25], [0, 1]] = np.nan
    family = COVARIANCES[covariance].from_data(x, 2, missing=True)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=rng, reg_covar=1e-4)
    assert np.all(np.diff(fit.bound) > -1e-9)


def test_patterns_with_many_rows_and_with_one_are_both_taken(rng):
    x = with_gaps(complete("full", 300, rng), 0.05, rng)
    family = family_of("full", x)
    grouped = one_pass(x, None, family, 1)
    assert isinstance(grouped, Grouped)
    rows = np.concatenate([batch.rows[batch.weights > 0] for batch in grouped.batches])
    assert sorted(rows) == list(range(300))


@pytest.mark.parametrize("name", ["full", "diag"])
def test_stochastic_and_masked_and_streamed_data(name, rng):
    x = with_gaps(complete(name, 400, rng), 0.15, rng)
    family, allocation = family_of(name, x), Dirichlet.symmetric(2)
    whole = em.fit(x, family, allocation, rng=1, restarts=3)
    masked = em.fit(np.ma.masked_invalid(x), family, allocation, rng=1, restarts=3)
    streamed = em.fit([x[:250], x[250:]], family, allocation, rng=1, restarts=3)
    assert masked.bound[-1] == pytest.approx(whole.bound[-1], abs=1e-9)
    assert streamed.bound[-1] == pytest.approx(whole.bound[-1], abs=1e-5)
    assert streamed.info["entropy"] == pytest.approx(whole.info["entropy"], abs=0.01)
    moved = em.partial_fit(x[:250], family, allocation, rng=1)
    moved = em.partial_fit(x[250:], family, allocation, rng=1, previous=moved)
    assert moved.log_predictive(x).mean() == pytest.approx(whole.log_predictive(x).mean(), abs=0.1)


@pytest.mark.parametrize("name", ["full", "diag", "bernoulli", "product"])
@pytest.mark.parametrize("method", [em, cavi])
def test_many_data_sets_have_the_fits_that_they_have_alone(method, name, rng):
    """Each with gaps of its own."""
    xs = [with_gaps(complete(name, 30, rng), 0.1, rng) for _ in range(2)]
    families, allocation = [family_of(name, x) for x in xs], Dirichlet.symmetric(2)
    many = method.fit_many(xs, families, allocation, rng=[1, 2], restarts=2)
    for fit, x, family, seed in zip(many, xs, families, (1, 2), strict=True):
        alone = method.fit(x, family, allocation, rng=seed, restarts=2)
        assert fit.bound[-1] == pytest.approx(alone.bound[-1], rel=1e-9)


def test_refused_without_being_asked_for(rng):
    x = with_gaps(complete("full", 30, rng), 0.2, rng)
    with pytest.raises(ValueError, match=r"leave those rows out, or give missing=True"):
        Gaussian.from_data(x, 2)
    family = family_of("full", complete("full", 30, rng), missing=False)
    for method in (em, cavi, gibbs):
        with pytest.raises(ValueError, match="missing=True"):
            method.fit(x, family, Dirichlet.symmetric(2), rng=1)
    with pytest.raises(ValueError, match="knows no missing values"):
        em.fit(complete("full", 30, rng), family, Dirichlet.symmetric(2), rng=1).impute(x, 2, 1)
    with pytest.raises(ValueError, match="infinite"):
        Gaussian.from_data(np.where(np.isnan(x), np.inf, x), 2, missing=True)
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match="feature 1 is missing in all rows"):
        Gaussian.from_data(x, 2, missing=True)


# ---- draws of what is missing


@every_family
def test_imputed_values_have_the_moments_of_the_predictive(name, rng):
    """The mean and spread of draws, against a density on a grid of the values that may stand there."""
    x = complete(name, 40, rng)
    family = family_of(name, x)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=1, restarts=3)
    column = 1
    row = x[:1].copy()
    row[0, column] = np.nan
    discrete = name in ("bernoulli", "categorical", "poisson")
    grid = np.arange({"bernoulli": 2, "categorical": 2}.get(name, 60)) if discrete else np.linspace(-20, 80, 20_001)
    filled = np.repeat(row, len(grid), axis=0)
    filled[:, column] = grid
    p = np.exp(fit.log_predictive(filled))
    p /= p.sum()
    mean, sd = p @ grid, np.sqrt(p @ (grid - p @ grid) ** 2)
    drawn = fit.impute(np.vstack([row, x[1:3]]), 1000, 5)
    assert drawn.shape == (1000, 3, x.shape[1])
    assert np.all(drawn[:, 1:] == x[1:3])
    assert np.all(np.delete(drawn[:, 0], column, 1) == np.delete(row[0], column))
    assert drawn[:, 0, column].mean() == pytest.approx(mean, abs=5 * sd / np.sqrt(1000))
    assert drawn[:, 0, column].std() == pytest.approx(sd, rel=0.25, abs=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "full"])
def test_gibbs_gives_the_exact_posterior(name, rng):
    """Against the exact sum, or for correlated features importance weights of draws from the prior."""
    allocation = Dirichlet.symmetric(2)
    x = complete(name, 6, rng)[:, :2]
    if name == "full":
        family = Gaussian.from_data(x, 2, m0=x.mean(0), W0=np.diag(0.1 / x.var(0)), nu0=10, beta0=1, missing=True)
    else:
        family = family_of(name, x)
    x[[0, 2, 3], [0, 1, 1]] = np.nan
    fit = gibbs.fit(x, family, allocation, rng=3, draws=800, tune=60, walkers=16)
    row = x[:3]
    if name == "bernoulli":
        expected, error = exact.fit(x, family, allocation).log_predictive(row), 0.0
    else:
        q = family.posterior(np.zeros((2, 1 + family.monomials[-1, 0])))
        n = 60_000
        prior = Draws(
            allocation.sample(allocation.posterior(np.zeros(2)), n, rng)[None],
            {key: v[None] for key, v in family.sample(q, n, rng).items()},
        )
        every = Fit("prior", "mcmc", family, allocation, prior, np.empty(0), True, {}).log_likelihood(x)[0]
        log_w = every.sum(1) - logsumexp(every.sum(1))
        assert 1 / np.exp(2 * log_w).sum() > 100
        expected = logsumexp(every[:, :3] + log_w[:, None], axis=0)
        w = np.exp(log_w)[:, None]
        error = np.sqrt((w**2 * (np.exp(every[:, :3] - expected) - 1) ** 2).sum(0))
    np.testing.assert_allclose(fit.log_predictive(row), expected, atol=0.06 + 4 * np.max(error))


# ---- the twins


@every_family
def test_twins_have_the_same_log_density(name, rng):
    pytensor = pytest.importorskip("pytensor")
    from models import joint

    x = with_gaps(complete(name, 20, rng), 0.3, rng)
    x[0] = np.nan
    family, allocation = family_of(name, x), Dirichlet.symmetric(2)
    weights = allocation.sample(allocation.posterior(np.zeros(2)), 2, rng)
    theta = family.sample(family.posterior(np.zeros((2, 1 + family.monomials[-1, 0]))), 2, rng)
    held = Draws(weights[None], {key: v[None] for key, v in theta.items()})
    mine = Fit("given", "mcmc", family, allocation, held, np.empty(0), True, {}).log_likelihood(x)[0].sum(-1)
    model = joint.build(x, family, allocation)
    values = joint.unconstrain(family, allocation, weights, theta)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        logp = model.compile_fn(model.datalogp)
    theirs = [float(logp({key: v[i] for key, v in values.items()})) for i in range(2)]
    np.testing.assert_allclose(theirs, mine, rtol=1e-9)
    assert [v.name for v in model.observed_RVs] == ["x"]
    assert not np.isnan(model.rvs_to_values[model["x"]].data).any()


def test_smc_and_full_rank_advi_find_the_evidence_of_what_was_seen(rng):
    """One cluster of binary rows: the evidence is exact, and q in log odds all but holds the posterior."""
    from models.methods import advi, smc
    from reports.metrics.evidence import evidence

    x = with_gaps(complete("bernoulli", 12, rng)[:, :2], 0.3, rng)
    x[0] = np.nan
    family, allocation = family_of("bernoulli", x, 1), Dirichlet.symmetric(1)
    exact_evidence = family.log_marginal(family.features(x).sum(0)[None])
    (row,), _ = evidence(smc.fit(x, family, allocation, rng=rng, draws=100, chains=2, moves=3), x, rng)
    assert abs(row.value - exact_evidence) < 4 * max(row.se, 0.1)
    fit = advi.fit(x, family, allocation, rank="fullrank", rng=rng, steps=2000, restarts=1)
    assert exact_evidence - 0.3 < fit.info["elbo"] < exact_evidence + 4 * fit.info["elbo_se"]


# ---- the classes in scikit-learn's shape


@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("name", ["GaussianMixture", "BayesianGaussianMixture"])
def test_estimators_integrate_over_what_is_missing(name, covariance_type, rng):
    x = complete(covariance_type, 150, rng)
    make = partial(
        getattr(mixtures, name),
        n_components=2,
        covariance_type=covariance_type,
        random_state=0,
        n_init=3,
        tol=1e-8,
        max_iter=500,
    )
    plain, other = make().fit(x), make(allow_missing=True).fit(x)
    assert other.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-6)
    np.testing.assert_allclose(other.score_samples(x), plain.score_samples(x), atol=1e-4)

    g = with_gaps(x, 0.15, rng)
    g[3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        make().fit(g)
    fitted = make(allow_missing=True, warm_start=True).fit(g)
    assert fitted.score_samples(g)[3] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(fitted.predict_proba(g)[3], fitted.weights_, atol=1e-9)
    bound = fitted.lower_bound_
    if name == "GaussianMixture":
        assert bound == pytest.approx(fitted.score_samples(g)[~np.isnan(g).all(1)].mean(), abs=1e-9)
        assert fitted.aic(g) < fitted.bic(g)
    assert fitted.fit(g).lower_bound_ == pytest.approx(bound, abs=1e-6 * max(1, abs(bound)))
    assert fitted.n_iter_ <= 3
    batches = make(allow_missing=True).partial_fit(g[:75]).partial_fit(g[75:])
    assert batches.score(g) == pytest.approx(fitted.score(g), abs=0.1)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("name", ["GaussianMixture", "BayesianGaussianMixture"])
def test_rows_without_gaps_have_one_fit_whether_gaps_are_allowed_or_not(name, covariance_type, rng):
    """Beside a code for what is missing, for which the components are tight."""
    x = np.concatenate([complete(covariance_type, 150, rng), np.full((1, 3), 9999.0)])
    make = partial(getattr(mixtures, name), n_components=3, covariance_type=covariance_type, random_state=0)
    plain, other = make().fit(x), make(allow_missing=True, warm_start=True).fit(x)
    for attribute in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_array_equal(getattr(other, attribute), getattr(plain, attribute))
    g = x.copy()
    g[:20, 0] = np.nan
    assert np.isfinite(other.score_samples(g)).all()
    if name == "BayesianGaussianMixture":
        for rows in (g, x):  # on to rows with gaps, and back
            assert other.fit(rows).converged_


@pytest.mark.parametrize("name", ["GaussianMixture", "BayesianGaussianMixture"])
def test_tags_say_whether_nan_is_taken(name):
    for allow in (False, True):
        mixture = getattr(mixtures, name)(allow_missing=allow)
        assert mixture.__sklearn_tags__().input_tags.allow_nan is allow


# ---- the harness


def test_prepared_data_refuse_drop_or_keep_gaps(rng):
    from reports.comparison.prepared import prepare

    x = with_gaps(complete("full", 40, rng), 0.1, rng)
    gaps = np.isnan(x).any(1)
    options = {"truth": None, "test_fraction": 0.0, "standardize": True, "rng": rng}
    with pytest.raises(ValueError, match="missing"):
        prepare(x, None, None, **options)
    dropped = prepare(x, np.arange(40), None, **options, missing="drop")
    kept = prepare(x, None, None, **options, missing="model")
    assert (len(dropped.x), len(kept.x)) == ((~gaps).sum(), 40)
    assert list(dropped.labels) == [str(n) for n in np.flatnonzero(~gaps)]
    assert "with missing values" in dropped.notes[-1]
    assert kept.missing
    assert kept.model(2, "full").missing
    assert not dropped.missing
    np.testing.assert_allclose(np.nanstd(kept.x, axis=0), 1)
    with pytest.raises(ValueError, match="expected one of"):
        prepare(x, None, None, **options, missing="ignore")


def test_a_comparison_integrates_over_gaps_and_its_page_says_so(rng):
    import reports
    from reports.page.missingness import missingness
    from reports.page.view import View

    x = with_gaps(complete("product", 60, rng), 0.15, rng)
    x[4] = np.nan
    kinds = ["poisson", "gaussian", "gaussian", "categorical", "bernoulli"]
    result = reports.compare(x, 2, rng=1, methods=["em", "cavi"], kinds=kinds, missing="model", restarts=2, draws=100)
    assert not result.failures
    metrics = result.results.metrics
    checked = metrics[(metrics["metric"] == "ppc_p") & (metrics["method"] == "cavi")]
    assert len(checked) > 5
    assert np.isfinite(checked["value"]).all()
    section = missingness(View(result.results))
    text = section.lead + " ".join(block.text for block in section.blocks if block.kind == "notice")
    assert f"{np.isnan(x).sum()} of 300 values" in section.lead
    assert "missing at random" in text
    assert "nothing was seen: 1 (5)" in text


def test_where_values_are_missing_is_held_against_the_levels_of_the_other_columns():
    """One column of three levels: b is missing where a is its second level, in 10 of 20 such rows and in none of 20 others."""
    from reports.page.missingness import by_column

    a = np.repeat([0.0, 1.0, 2.0], [10, 20, 10])
    b = np.where((np.arange(40) >= 10) & (np.arange(40) < 20), np.nan, np.arange(40) % 2)
    x = np.column_stack([a, b])
    table = by_column(np.isnan(x), ["a", "b"], x, {"a": ["low", "middle", "high"]})
    first, second = ([cell.text for cell in row] for row in table.rows)
    assert first[1:] == ["0", "0%", "–", "–"]
    sd, share = 0.5, 1 - 10 / 30  # of a = middle, which is half of all rows
    assert second[3:] == ["a = middle", f"{share / sd:.2f} ± {np.sqrt(1 / 10 + 1 / 30):.2f}"]


def test_added_draws_are_held_to_the_range_of_what_was_seen(rng):
    """The first row is a gap."""
    from reports.comparison.added import as_added
    from reports.comparison.prepared import prepare

    x = with_gaps(complete("full", 30, rng), 0.1, rng)
    x[0] = np.nan
    data = prepare(x, None, None, None, 0.0, False, rng, missing="model")
    family, allocation = data.model(2, "full"), Dirichlet.symmetric(2)
    fit = em.fit(data.x, family, allocation, rng=rng)
    point = {"weights": fit.held.weights[0, 0]} | {k: v[0, 0] for k, v in family.to_data(fit.held.theta).items()}
    added = as_added("mine", point, data, family, allocation).fit
    np.testing.assert_allclose(added.log_predictive(data.x), fit.log_predictive(data.x), atol=1e-9)
    with pytest.raises(ValueError, match="expected them in the units of the data"):
        as_added("mine", point | {"means": point["means"] + 1e300}, data, family, allocation)


def test_held_out_rows_are_scored_by_what_was_seen_of_them(rng):
    import reports

    x = with_gaps(complete("bernoulli", 16, rng), 0.3, rng)
    given = {"kinds": ["bernoulli"] * 4, "missing": "model", "test_fraction": 0.25, "draws": 100, "chains": 2}
    result = reports.compare(x, 1, rng=0, methods=["em"], **given)
    held, (p,) = result.results.data["x_heldout"].values, result.fits["em"].held.theta["probabilities"][0, 0]
    assert np.isnan(held).any()
    expected = np.nansum(np.where(held == 1, np.log(p), np.log1p(-p)) + 0 * held, axis=1)
    metrics = result.results.metrics.query("method == 'em'").set_index("metric")["value"]
    assert metrics["heldout_log_density"] == pytest.approx(expected.mean())


# ---- published digits


def test_election_with_all_rows():
    """Linzer & Lewis (2011, section 5.3) print the complete rows; all rows by an independent optimiser of the likelihood."""
    x = load("election", missing="model").x
    fit = em.fit(x, Categorical.from_data(x, 3, missing=True), Dirichlet.symmetric(3), rng=1, restarts=15)
    assert len(x) == 1785
    assert fit.info["log_likelihood"] == pytest.approx(-21311.54, abs=0.01)


HEART = {1: (-6565.8956, 22, -6627.478), 2: (-6390.2514, 45, -6516.216)}  # Marbac & Sedki, manual of R VarSelLCM


@pytest.mark.parametrize("K", HEART)
def test_heart_with_a_gap(K):
    from sklearn.metrics import adjusted_rand_score

    data = load("heart")
    x = data.x.copy()
    x[0, 0] = np.nan
    numbers = [3, 4, 7]
    codes = [d for d in range(12) if d not in [0, *numbers]]
    families = [Poisson, DiagonalGaussian, Categorical]
    family = Product.from_data(x, K, families=families, columns=[[0], numbers, codes], missing=True)
    fit = em.fit(x, family, Dirichlet.symmetric(K), rng=1, restarts=30)
    log_likelihood, free, criterion = HEART[K]
    assert fit.info["log_likelihood"] == pytest.approx(log_likelihood, abs=5e-4)
    assert family.n_free(K) + K - 1 == free
    assert -fit.info["bic"] / 2 == pytest.approx(criterion, abs=1e-3)
    if K == 2:
        found = adjusted_rand_score(data.labels, fit.responsibilities(x).argmax(1))
        assert found == pytest.approx(0.2218655, abs=5e-8)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("d", [2, 3])
def test_a_page_can_be_drawn_where_every_row_has_a_gap(d, rng):
    import reports
    from reports.page.joint import fit_figure
    from reports.page.opening import overview
    from reports.page.view import View

    x = rng.normal(size=(60, d))
    x[np.arange(60)[:, None] % d != np.arange(d)] = np.nan
    result = reports.compare(x, 2, rng=1, methods=["em"], missing="model", restarts=2)
    for figure in (overview(View(result.results)), fit_figure(View(result.results))):
        assert figure.caption.endswith("No row has all of these features, so that no point is drawn.")
