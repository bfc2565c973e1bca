"""What every emission family and every allocation must satisfy."""

import pickle
import re
from functools import partial

import numpy as np
import pytest
from linear_maps import mapped_and_back, standardised
from scipy import integrate, optimize, stats
from scipy.special import digamma, gammaln, softmax

from mixtures import (
    Bernoulli,
    Categorical,
    CollapseError,
    DiagonalGaussian,
    Dirichlet,
    Gaussian,
    NormalWishart,
    Poisson,
    Product,
    SphericalGaussian,
    StickBreaking,
    TiedGaussian,
)
from mixtures.ascent.states import statistics
from mixtures.datasets import load
from mixtures.errors import FeatureError
from mixtures.methods import cavi, em

SHAPES = [(1, 1), (1, 3), (2, 2), (3, 1), (4, 3)]
GAUSSIAN = [Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian]
FAMILIES = [*GAUSSIAN, Bernoulli, Categorical, Poisson, Product]
every_structure = pytest.mark.parametrize("Family", GAUSSIAN, ids=lambda f: f.covariance)
every_family = pytest.mark.parametrize("Family", FAMILIES, ids=lambda f: f.name)
ALLOCATIONS = [
    *(Dirichlet.symmetric(3, alpha0) for alpha0 in (0.3, 1.0, 4.0)),
    Dirichlet(np.array([0.5, 2.0, 1.2])),
    *(StickBreaking(3, gamma0) for gamma0 in (0.3, 1.0, 4.0)),
]
every_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)


def random_x(n, D, rng):
    return rng.standard_normal((n, D)) @ rng.standard_normal((D, D)) * 3 + 40


def random_W0(Family, D, rng):
    """A prior scale of the family's shape with nothing symmetric about it."""
    matrix = stats.wishart(D + 3, np.eye(D)).rvs(random_state=rng).reshape(D, D) / 50
    return {"full": matrix, "tied": matrix, "diag": np.diagonal(matrix), "spherical": matrix[0, 0]}[Family.covariance]


def binary(n, D, K, rng):
    x = (rng.random((n, D)) < rng.uniform(0.2, 0.8, D)) * 1.0
    return x, Bernoulli.from_data(x, K, a0=rng.uniform(1.1, 3, D), b0=rng.uniform(1.1, 3, D))


def codes(n, D, K, rng):
    levels = [2 + d % 3 for d in range(D)]
    x = np.column_stack([rng.integers(C, size=n) for C in levels]) * 1.0
    return x, Categorical.from_data(x, K, levels=levels, a0=[rng.uniform(1.1, 3, C) for C in levels])


def counts(n, D, K, rng):
    x = rng.poisson(rng.uniform(0.5, 8, D), (n, D)) * 1.0
    return x, Poisson.from_data(x, K, a0=rng.uniform(1.1, 3, D), b0=rng.uniform(0.2, 2, D))


def mixed(n, D, K, rng):
    """D columns of every kind, those of a kind not side by side, with two parts that share the names of their parameters."""
    kinds = [(codes, Categorical), (counts, Poisson), (binary, Bernoulli)]
    made = [(*make(n, D, K, rng), Family) for make, Family in kinds]
    made.append((random_x(n, D, rng), None, TiedGaussian))
    options = [
        {"levels": made[0][1].levels, "a0": 1.3},
        {"a0": 1.2, "b0": 0.4},
        {"a0": 1.4, "b0": 1.2},
        {"beta0": 0.3, "nu0": D + 1.7},
    ]
    columns = [np.arange(j, 4 * D, 4) for j in range(4)]
    x = np.empty((n, 4 * D))
    for own, (part, _, _) in zip(columns, made, strict=True):
        x[:, own] = part
    families = [Family for *_, Family in made]
    return x, Product.from_data(x, K, families=families, columns=columns, hyperparameters=options)


DISCRETE = {Bernoulli: binary, Categorical: codes, Poisson: counts, Product: mixed}


def log_densities(family, theta, x):
    """log p(x_n | theta_k) by SciPy, (N, K)."""
    if isinstance(family, Product):
        return sum(
            log_densities(part, own, x[:, columns])
            for columns, (part, own) in zip(family.columns, family.parts_of(theta), strict=True)
        )
    raw = family.to_data(theta)
    if isinstance(family, Bernoulli):
        each = [stats.bernoulli(mu).logpmf(x).sum(1) for mu in raw["probabilities"]]
    elif isinstance(family, Poisson):
        each = [stats.poisson(rates).logpmf(x).sum(1) for rates in raw["rates"]]
    elif isinstance(family, Categorical):
        place = np.arange(x.shape[1]), x.astype(int)
        each = [np.log(mu[place]).sum(1) for mu in raw["probabilities"]]
    else:
        pairs = zip(raw["means"], raw["covariances"], strict=True)
        each = [stats.multivariate_normal(m, C).logpdf(x) for m, C in pairs]
    return np.transpose(each)


def problem(D, K, rng, n=40, Family=Gaussian):
    """A family with nothing symmetric about its prior, soft statistics, and the data behind them."""
    if Family in GAUSSIAN:
        x = random_x(n, D, rng)
        family = Family.from_data(x, K, m0=x[0], beta0=0.3, W0=random_W0(Family, D, rng), nu0=D + 1.7)
    else:
        x, family = DISCRETE[Family](n, D, K, rng)
    r = rng.dirichlet(np.ones(K), n)
    return family, r, statistics(x, family, r), x


def draw(family, s, rng):
    """One draw of theta from the posterior, without batch axes."""
    return {name: v[0] for name, v in family.sample(family.posterior(s), 1, rng).items()}


def as_data_units(family, q, k):
    """Hyperparameters of cluster k in the units of x: m, beta, W, nu."""
    W = np.linalg.inv(family.expand_matrix(q.W_inv[k]))
    return family.points(q.m[k]), q.beta[k], W, q.nu[k]


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_natural_parameters_give_the_log_density(D, K, Family, rng):
    family, _, s, x = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    ours = family.features(x) @ family.natural(theta).T + family.log_base(x)[:, None]
    np.testing.assert_allclose(ours, log_densities(family, theta, x), rtol=1e-9, atol=1e-9)
    assert set(theta) == set(family.parameters)
    assert set(family.to_data(theta)) == set(family.dims)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_parameters_return_from_the_units_of_the_data(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = family.sample(family.posterior(s), 3, rng)
    back = family.from_data_units(family.to_data(theta))
    assert set(back) == set(theta)
    for name in theta:
        np.testing.assert_allclose(back[name], theta[name], rtol=1e-10, atol=1e-10)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_expected_natural_is_the_gradient_of_the_log_marginal(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    exact = family.expected_natural(family.posterior(s))
    numeric = np.empty_like(s)
    for index in np.ndindex(*s.shape):
        step = np.zeros_like(s)
        step[index] = 1e-4
        numeric[index] = (family.log_marginal(s + step) - family.log_marginal(s - step)) / 2e-4
    np.testing.assert_allclose(numeric, exact, rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize(("D", "K"), [(1, 1), (2, 2), (4, 1)])
def test_expected_natural_is_the_mean_over_draws(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    q = family.posterior(s)
    eta = family.natural(family.sample(q, 20_000, rng))
    error = eta.std(axis=0) / np.sqrt(len(eta))
    z = (eta.mean(axis=0) - family.expected_natural(q)) / np.maximum(error, 1e-12)
    assert np.abs(z).max() < 4.5


@every_family
def test_statistics_may_carry_batch_axes(Family, rng):
    family, _, s, _ = problem(2, 3, rng, Family=Family)
    batch = np.stack([s, 2 * s, np.zeros_like(s)])
    np.testing.assert_allclose(family.log_marginal(batch), [family.log_marginal(each) for each in batch], rtol=1e-12)
    for one, many in zip(family.mode(s).values(), family.mode(batch).values(), strict=True):
        np.testing.assert_allclose(many[0], one, rtol=1e-12)
    thetas = family.sample(family.posterior(s), 4, rng)
    single = [family.log_prior({name: v[i] for name, v in thetas.items()}) for i in range(4)]
    np.testing.assert_allclose(family.log_prior(thetas), single, rtol=1e-12)


@every_family
@pytest.mark.parametrize(("D", "K"), [(1, 3), (3, 2)])
def test_mean_and_predictive_moments_are_those_of_draws(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, n=80, Family=Family)
    q = family.posterior(s)
    theta = family.sample(q, 20_000, rng)

    def agree(samples, expected):
        assert (
            np.abs((samples.mean(0) - expected) * np.sqrt(len(samples)) / np.maximum(samples.std(0), 1e-12)).max() < 5
        )

    for name, value in family.mean(q).items():
        agree(theta[name], value)
    mean, covariance = family.moments(q)
    if not family.gaussian:
        for k in range(K):
            own = {name: v[:, k] for name, v in theta.items()}
            z = family.coordinates(family.simulate(own, np.arange(20_000), rng))
            if Family is Product:  # its Gaussian parts have moments in the units of x
                z = family.points(z)
            agree(z, mean[k])
            offset = z - mean[k]
            agree(offset[:, :, None] * offset[:, None, :], covariance[k])
        return
    raw = family.to_data(theta)
    agree(raw["means"], mean)
    offset = raw["means"] - mean
    agree(raw["covariances"] + offset[..., :, None] * offset[..., None, :], covariance)


@every_family
def test_hyperparameters_may_carry_batch_axes(Family, rng):
    family, _, s, x = problem(2, 3, rng, Family=Family)
    batch = np.stack([s, 2 * s, np.zeros_like(s), s[::-1]]).reshape(2, 2, *s.shape)
    q = family.posterior(batch)
    draws = family.sample(q, 3000, rng)
    for i in np.ndindex(2, 2):
        one = family.posterior(batch[i])
        np.testing.assert_allclose(family.log_predictive(x, q)[:, *i], family.log_predictive(x, one), rtol=1e-12)
        for many, single in zip(family.moments(q), family.moments(one), strict=True):
            np.testing.assert_allclose(many[i], single, rtol=1e-12)
        for name, value in family.sample(one, 3000, rng).items():
            assert draws[name].shape == (3000, 2, 2, *value.shape[1:])
            same = stats.ks_2samp(draws[name][:, *i].reshape(3000, -1), value.reshape(3000, -1), axis=0)
            assert same.pvalue.min() > 1e-6


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_divergence_from_the_prior_is_zero_at_it_and_positive_elsewhere(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)

    def kl(s):
        return (s * family.expected_natural(family.posterior(s))).sum() - family.log_marginal(s)

    assert kl(np.zeros_like(s)) == pytest.approx(0, abs=1e-9)
    assert kl(s) > 0.1


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_posterior_density_is_likelihood_times_prior_over_evidence(D, K, Family, rng):
    """Bayes' rule at a random theta: log q(theta) = sum(s * eta(theta)) + log p(theta) - log p(x | z)."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    joint = (s * family.natural(theta)).sum() + family.log_prior(theta)
    posterior = family.log_density(theta, family.posterior(s))
    assert posterior == pytest.approx(joint - family.log_marginal(s), rel=1e-9)


@pytest.mark.parametrize(("D", "K"), [(1, 1), (4, 3)])
@pytest.mark.parametrize("Family", [Bernoulli, Categorical, Poisson], ids=lambda f: f.name)
def test_log_prior_of_discrete_families(Family, D, K, rng):
    """Against SciPy, feature by feature."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta, p = draw(family, s, rng), family.prior_in_data_units()
    if Family is Bernoulli:
        expected = stats.beta(p["a0"], p["b0"]).logpdf(theta["probabilities"]).sum()
    elif Family is Poisson:
        expected = stats.gamma(p["a0"], scale=1 / p["b0"]).logpdf(theta["rates"]).sum()
    else:
        expected = sum(
            stats.dirichlet(a0[:C]).logpdf(mu[:C])
            for cluster in theta["probabilities"]
            for mu, a0, C in zip(cluster, p["a0"], family.levels, strict=True)
        )
    assert family.log_prior(theta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("D", "K"), SHAPES)
@every_structure
def test_log_prior_is_normal_times_wishart(D, K, Family, rng):
    """Against SciPy, from the hyperparameters in the units of x; the Jacobian brings z to x."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    raw, p = family.to_data(theta), family.prior_in_data_units()
    expected = 0.0
    for mu, Sigma in zip(raw["means"], raw["covariances"], strict=True):
        expected += stats.multivariate_normal(p["m0"], Sigma / p["beta0"]).logpdf(mu)
    precisions = np.linalg.inv(raw["covariances"])
    nu0, W0_inv = float(p["nu0"]), p["W0_inv"]
    if Family.covariance in ("full", "tied"):
        wishart = stats.wishart(nu0, np.linalg.inv(W0_inv))
        expected += sum(wishart.logpdf(Lambda) for Lambda in precisions[: 1 if Family.covariance == "tied" else K])
    else:
        diagonal = np.diagonal(precisions, axis1=-2, axis2=-1)
        diagonal = diagonal if Family.covariance == "diag" else diagonal[:, :1]
        expected += stats.gamma(nu0 / 2, scale=2 / W0_inv).logpdf(diagonal).sum()
    assert family.log_prior(theta) + family.log_jacobian(K) == pytest.approx(expected, rel=1e-9)


def precision(theta):
    """Theta with its covariances or variances turned into precisions, and back."""
    turned = {"covariances": np.linalg.inv, "variances": np.reciprocal}
    return {name: turned[name](v) if name in turned else v for name, v in theta.items()}


def direction(theta, Family, rng):
    """A random direction in the means and the precisions that the structure allows."""
    steps = {name: rng.standard_normal(v.shape) for name, v in theta.items()}
    if "covariances" in steps:
        step = steps["covariances"] + steps["covariances"].swapaxes(-1, -2)
        tied = Family in (TiedGaussian, Product)
        steps["covariances"] = np.repeat(step[:1], len(step), axis=0) if tied else step
    for name, v in theta.items():
        if v.ndim == 3 and name == "probabilities":  # of all levels, whose sum stays
            there = v > 0
            steps[name] = np.where(there, steps[name], 0)
            steps[name] -= there * steps[name].sum(-1, keepdims=True) / there.sum(-1, keepdims=True)
            steps[name] /= 10
    return steps


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_mode_has_zero_gradient(D, K, Family, rng):
    """Perturb the mode in mu and Lambda: the log posterior sum(s * eta) + log prior must not rise to first order."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    mode = precision(family.mode(s))

    def log_posterior(step, h):
        theta = precision({name: v + h * step[name] for name, v in mode.items()})
        return (s * family.natural(theta)).sum() + family.log_prior(theta)

    for _ in range(5):
        step = direction(mode, Family, rng)
        ends = [log_posterior(step, h) for h in (-1e-5, 1e-5)]
        assert abs(ends[1] - ends[0]) / 2e-5 < 1e-4
        assert sum(ends) / 2 < log_posterior(step, 0)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_maximum_likelihood_has_zero_gradient(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    best = precision(family.maximum_likelihood(s))
    for _ in range(5):
        step = direction(best, Family, rng)
        ends = [
            (s * family.natural(precision({name: v + h * step[name] for name, v in best.items()}))).sum()
            for h in (-1e-4, 1e-4, 0)
        ]
        assert abs(ends[1] - ends[0]) / 2e-4 < 1e-4
        assert (ends[0] + ends[1]) / 2 < ends[2]


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_predictive_is_a_ratio_of_evidences(D, K, Family, rng):
    """p(x* | x, z* = k) = p(x, x*) / p(x) with x* added to cluster k."""
    family, _, s, x = problem(D, K, rng, Family=Family)
    star = x[:1] + (0.7 if family.gaussian else 0.0)
    ratios = []
    for k in range(K):
        added = s.copy()
        added[k] += family.features(star)[0]
        ratios.append(family.log_marginal(added) - family.log_marginal(s))
    ratios += family.log_base(star)
    np.testing.assert_allclose(family.log_predictive(star, family.posterior(s))[0], ratios, rtol=1e-9)


@every_family
def test_simulated_points_have_the_moments_of_their_cluster(Family, rng):
    """Within 5 standard errors, of means and of covariances by the fourth moments of the draws."""
    family, _, s, _ = problem(2, 2, rng, Family=Family)
    theta = draw(family, s, rng)
    x = family.simulate(theta, np.repeat([0, 1], 20_000), rng)
    z = family.points(family.coordinates(x))  # of categories the indicators
    means, covariances = family.cluster_moments(theta)
    for k, rows in enumerate((z[:20_000], z[20_000:])):
        assert np.abs((rows.mean(0) - means[k]) / np.sqrt(np.diagonal(covariances[k]) / 20_000)).max() < 5
        offset = rows - means[k]
        squares = offset[:, :, None] * offset[:, None, :]
        assert np.abs((squares.mean(0) - covariances[k]) / (squares.std(0) / np.sqrt(20_000) + 1e-9)).max() < 5


@every_family
def test_coordinates_of_moments_have_names_and_the_free_ones_determine_the_rest(Family, rng):
    family, _, s, x = problem(3, 2, rng, Family=Family)
    _, covariances = family.cluster_moments(draw(family, s, rng))
    names = family.moment_names([f"x{d}" for d in range(x.shape[1])])
    assert len(set(names)) == len(names) == covariances.shape[-1]
    free = covariances[:, family.free][:, :, family.free]
    assert [np.linalg.matrix_rank(C) for C in covariances] == [len(family.free)] * 2
    assert [np.linalg.matrix_rank(C) for C in free] == [len(family.free)] * 2


@pytest.mark.parametrize("Family", [Bernoulli, Categorical, Poisson, Product], ids=lambda f: f.name)
def test_what_is_near_the_boundary_moves_there_and_rules_values_out(Family, rng):
    family, _, s, _ = problem(2, 2, rng, Family=Family)
    theta = draw(family, s, rng)
    assert family.impossible(family.at_boundary(theta, 0.0)) is None
    name = next(name for name in theta if name not in ("means", "covariances"))
    levels = theta[name].shape[2:]
    theta[name][0, 0] = np.eye(*levels, dtype=float)[1] * (1 - 2e-8) + np.eye(*levels)[0] * 2e-8 if levels else 1e-8
    moved = family.at_boundary(theta, 1e-6)
    assert moved[name][0, 0].flat[0] == 0
    assert family.impossible(moved) is not None
    for other, values in theta.items():
        np.testing.assert_allclose(moved[other], values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("Family", [Bernoulli, Categorical, Poisson, Product], ids=lambda f: f.name)
def test_simulated_points_are_distributed_as_the_density_says(Family, rng):
    """Shares of the values that were drawn, against their probabilities."""
    family, _, s, _ = problem(1, 2, rng, Family=Family)
    theta = draw(family, s, rng)
    x = family.simulate(theta, np.repeat([0, 1], 20_000), rng)
    assert np.isfinite(family.features(x)).all()
    discrete = {name: v for name, v in theta.items() if name not in ("means", "covariances")}
    parts = [(family, theta, x)]
    if Family is Product:
        parts = [
            (part, own, x[:, columns])
            for columns, (part, own) in zip(family.columns, family.parts_of(theta), strict=True)
            if not part.gaussian
        ]
        assert len(parts) == len(discrete)
    for part, own, column in parts:
        values, where = np.unique(column, axis=0, return_inverse=True)
        p = np.exp(log_densities(part, own, values))
        for k in range(2):
            found = np.bincount(where.ravel()[20_000 * k : 20_000 * (k + 1)], minlength=len(values)) / 20_000
            assert np.abs((found - p[:, k]) / np.sqrt(p[:, k] * (1 - p[:, k]) / 20_000 + 1e-9)).max() < 5


@every_structure
def test_one_feature_makes_all_structures_the_full_one_for_one_cluster(Family, rng):
    x = random_x(15, 1, rng)
    ours, full = Family.from_data(x, 1), Gaussian.from_data(x, 1)
    a, b = (family.log_marginal(statistics(x, family, np.ones((15, 1)))) for family in (ours, full))
    assert float(a) == pytest.approx(float(b), rel=1e-10)


def test_diagonal_evidence_is_a_product_over_features(rng):
    x = random_x(15, 3, rng)
    family = DiagonalGaussian.from_data(x, 1, W0=np.array([0.1, 0.2, 0.4]), nu0=4.0)
    parts = [Gaussian.from_data(x[:, [d]], 1, W0=[[w]], nu0=4.0) for d, w in enumerate((0.1, 0.2, 0.4))]
    evidence = [f.log_marginal(statistics(x[:, [d]], f, np.ones((15, 1)))) for d, f in enumerate(parts)]
    assert float(family.log_marginal(statistics(x, family, np.ones((15, 1))))) == pytest.approx(
        sum(map(float, evidence))
    )


def log_integral(log_f):
    """log of the integral of exp(log_f(lambda)) over positive lambda, by quadrature in log lambda about the peak."""
    grid = np.linspace(-20, 20, 4001)
    values = np.array([log_f(np.exp(u)) + u for u in grid])
    return np.log(integrate.simpson(np.exp(values - values.max()), x=grid)) + values.max()


def test_spherical_evidence_by_quadrature(rng):
    """Given lambda a feature's points are jointly normal with covariance (I + 1 1^T / beta0) / lambda."""
    x = random_x(8, 3, rng)
    family = SphericalGaussian.from_data(x, 1, m0=x[0], beta0=0.5, W0=0.3, nu0=3.5)
    shape = np.eye(8) + 1 / 0.5

    def log_joint(lam):
        likelihood = sum(stats.multivariate_normal(np.full(8, x[0, d]), shape / lam).logpdf(x[:, d]) for d in range(3))
        return likelihood + stats.gamma(3.5 / 2, scale=2 * 0.3).logpdf(lam)

    ours = family.log_marginal(statistics(x, family, np.ones((8, 1))))
    assert float(ours) == pytest.approx(log_integral(log_joint), rel=1e-8)


def test_tied_evidence_by_quadrature(rng):
    """Two clusters in one dimension that share lambda, their points given."""
    x = random_x(9, 1, rng)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    family = TiedGaussian.from_data(x, 2, m0=x[0], beta0=0.5, W0=[[0.3]], nu0=3.5)

    def log_joint(lam):
        parts = [x[labels == k, 0] for k in range(2)]
        blocks = [
            stats.multivariate_normal(np.full(len(p), x[0, 0]), (np.eye(len(p)) + 2) / lam).logpdf(p) for p in parts
        ]
        return sum(blocks) + stats.gamma(3.5 / 2, scale=2 * 0.3).logpdf(lam)

    ours = family.log_marginal(statistics(x, family, np.eye(2)[labels]))
    assert float(ours) == pytest.approx(log_integral(log_joint), rel=1e-8)


@pytest.mark.parametrize("D", [1, 2, 4])
def test_draws_have_the_moments_of_the_normal_wishart(D, rng):
    family, _, s, _ = problem(D, 1, rng)
    q = family.posterior(s)
    theta = family.sample(q, 20_000, rng)
    Lambda = np.linalg.inv(theta["covariances"][:, 0])
    variance = q.nu[0] * (
        np.linalg.inv(q.W_inv[0]) ** 2
        + np.outer(np.diagonal(np.linalg.inv(q.W_inv[0])), np.diagonal(np.linalg.inv(q.W_inv[0])))
    )
    z = (Lambda.mean(0) - q.nu[0] * np.linalg.inv(q.W_inv[0])) / np.sqrt(variance / 20_000)
    assert np.abs(z).max() < 4.5
    covariance = q.W_inv[0] / (q.beta[0] * (q.nu[0] - D - 1))
    z = (theta["means"][:, 0].mean(0) - q.m[0]) / np.sqrt(np.diagonal(covariance) / 20_000)
    assert np.abs(z).max() < 4.5


def test_posterior_matches_brute_force_on_a_grid(rng):
    """One feature, one cluster: posterior moments by quadrature over (mu, lambda)."""
    x = np.array([[0.3], [1.9], [2.2], [4.0]])
    family = Gaussian.from_data(x, 1, m0=1.0, beta0=0.5, W0=[[0.7]], nu0=3.0)
    q = family.posterior(statistics(x, family, np.ones((4, 1))))

    nodes, weights = np.polynomial.legendre.leggauss(800)
    mu, lam = 2 + 14 * nodes[:, None], 6 + 6 * nodes  # in [-12, 16] and [0, 12]
    prior = stats.norm.pdf(mu, 1.0, (0.5 * lam) ** -0.5) * stats.gamma.pdf(lam, 1.5, scale=2 * 0.7)
    mass = 14 * weights[:, None] * 6 * weights * prior * stats.norm.pdf(x[..., None], mu, lam**-0.5).prod(0)
    evidence = mass.sum()
    m, _, W, nu = as_data_units(family, q, 0)
    np.testing.assert_allclose((mass * mu).sum() / evidence, m[0], rtol=1e-6)
    np.testing.assert_allclose((mass * lam).sum() / evidence, nu * W[0, 0], rtol=1e-6)
    np.testing.assert_allclose(np.log(evidence), family.log_marginal(statistics(x, family, np.ones((4, 1)))), rtol=1e-7)


@pytest.mark.parametrize("D", [1, 2, 3])
def test_predictive_is_the_student_t_of_the_book(D, rng):
    """PRML 10.81-10.82, against SciPy's Student-t, in the units of the data."""
    family, _, s, x = problem(D, 2, rng)
    q = family.posterior(s)
    theirs = []
    for k in range(2):
        m, beta, W, nu = as_data_units(family, q, k)
        L = (nu + 1 - D) * beta / (1 + beta) * W
        theirs.append(stats.multivariate_t(m, np.linalg.inv(L), nu + 1 - D).logpdf(x))
    np.testing.assert_allclose(family.log_predictive(x, q), np.transpose(theirs), rtol=1e-8, atol=1e-8)


@every_structure
def test_default_prior_is_that_of_fraley_and_raftery(Family, rng):
    x = random_x(50, 3, rng)
    prior = Family.from_data(x, 4).prior_in_data_units()
    covariance = np.cov(x.T) / 4 ** (2 / 3)
    variances = np.diagonal(covariance)
    scale = {"full": covariance, "tied": covariance, "diag": variances, "spherical": variances.mean()}[
        Family.covariance
    ]
    np.testing.assert_allclose(prior["m0"], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(prior["W0_inv"], scale, rtol=1e-9)
    assert (prior["beta0"], prior["nu0"]) == (0.01, 5.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nu0": 1.0}, "nu0 is 1"),
        ({"nu0": np.nan}, "nu0 is nan"),
        ({"m0": [0.0, np.nan]}, "m0 must be 2 finite numbers"),
        ({"m0": [0.0, 1.0, 2.0]}, "m0 must be 2 finite numbers"),
        ({"beta0": 0.0}, "beta0 is 0"),
        ({"W0": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
        ({"W0": [[1.0]]}, "shape"),
    ],
)
def test_hyperparameters_outside_their_range_are_refused(change, message, rng):
    with pytest.raises(ValueError, match=message):
        Gaussian.from_data(random_x(20, 2, rng), 2, **change)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([[0.0, 1.0], [np.nan, 2.0]]), "1 missing or infinite values, the first in row 1"),
        (np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), "feature 1 is constant"),
        (np.array([[0.0, 1.0], [1.0, 3.0]]), "singular"),
        (np.array([[0.0, 1.0], [1.0, 3.0], [0.5, 9.0]]) * 1e-200, "variance of feature 0 is too large or too small"),
        (np.array([[0.0, 1.0], [1.0, 3.0], [0.5, 9.0]]) * 1e200, "variance of feature 0 is too large or too small"),
        (np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [5.0, 10.0]]), "singular"),
    ],
)
def test_unusable_data_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        Gaussian.from_data(x, 2)


def counted(K):
    """Counts of K clusters, whole and soft, with nothing symmetric about them."""
    return np.array([4.0, 0.5, 9.0, 2.0])[:K]


def prior_of(allocation):
    return allocation.posterior(np.zeros(allocation.n_components))


def on_the_simplex(f, K):
    """The integral of f(pi) over d pi_1 ... d pi_(K-1), K = 2 or 3."""
    if K == 2:
        return integrate.quad(lambda a: f(np.array([a, 1 - a])), 0, 1)[0]
    return integrate.dblquad(lambda b, a: f(np.array([a, b, 1 - a - b])), 0, 1, 0, lambda a: 1 - a, epsabs=1e-9)[0]


@every_allocation
def test_expected_log_weights_are_the_mean_over_draws(allocation, rng):
    q = allocation.posterior(counted(allocation.n_components))
    log_pi = allocation.natural(allocation.sample(q, 40_000, rng))
    z = (log_pi.mean(0) - allocation.expected_natural(q)) / (log_pi.std(0) / 200)
    assert np.abs(z).max() < 4.5


@every_allocation
def test_expected_log_weights_are_the_gradient_of_the_log_marginal(allocation):
    counts = counted(allocation.n_components)
    steps = np.eye(len(counts)) * 1e-5
    numeric = [(allocation.log_marginal(counts + h) - allocation.log_marginal(counts - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(numeric, allocation.expected_natural(allocation.posterior(counts)), rtol=1e-6)


@every_allocation
def test_drawn_weights_sum_to_one_and_average_to_their_mean(allocation, rng):
    for counts in (np.zeros(allocation.n_components), counted(allocation.n_components)):
        q = allocation.posterior(counts)
        pi = allocation.sample(q, 40_000, rng)
        assert pi.min() >= 0
        np.testing.assert_allclose(pi.sum(-1), 1, rtol=1e-14)
        assert np.abs((pi.mean(0) - allocation.mean(q)) / (pi.std(0) / 200)).max() < 4.5
        assert allocation.mean(q).sum() == pytest.approx(1, rel=1e-14)


@every_allocation
def test_density_of_the_weights_is_likelihood_times_prior_over_evidence(allocation, rng):
    """Bayes' rule at random weights: log q(pi) = sum(N * log pi) + log p(pi) - log p(z)."""
    counts, pi = counted(allocation.n_components), rng.dirichlet(np.ones(allocation.n_components), 5)
    joint = (counts * np.log(pi)).sum(-1) + allocation.log_prior(pi)
    posterior = allocation.log_density(pi, allocation.posterior(counts))
    np.testing.assert_allclose(posterior, joint - allocation.log_marginal(counts), rtol=1e-10)


@every_allocation
def test_divergence_of_the_weights_is_that_of_their_densities(allocation, rng):
    """sum(N * E[log pi]) - log p(z) against the mean of log q - log p over draws from q; zero at the prior."""
    K = allocation.n_components
    q = allocation.posterior(counted(K))
    pi = allocation.sample(q, 40_000, rng)
    ratio = allocation.log_density(pi, q) - allocation.log_prior(pi)
    kl = (counted(K) * allocation.expected_natural(q)).sum() - allocation.log_marginal(counted(K))
    assert abs(ratio.mean() - kl) < 4.5 * ratio.std() / 200
    assert kl > 0.1
    assert allocation.log_marginal(np.zeros(K)) == pytest.approx(0, abs=1e-12)


@every_allocation
def test_probability_of_labels_is_a_product_of_predictive_ones(allocation):
    """p(z_1) p(z_2 | z_1) ... in an order of its own, each the mean weight given the labels so far."""
    counts, total = np.zeros(allocation.n_components), 0.0
    for z in (2, 0, 0, 1, 2, 0, 2):
        total += np.log(allocation.mean(allocation.posterior(counts))[z])
        counts[z] += 1
    assert allocation.log_marginal(counts) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("kind", [Dirichlet, StickBreaking])
def test_density_of_the_weights_integrates_to_one(kind, K):
    allocation = Dirichlet(np.array([2.5, 1.5, 1.2])[:K]) if kind is Dirichlet else StickBreaking(K, 1.7)
    for q in (prior_of(allocation), allocation.posterior(counted(K)), allocation.posterior(counted(K))[[1, 0, 2][:K]]):
        total = on_the_simplex(lambda pi, q=q: float(np.exp(allocation.log_density(pi, q))), K)
        assert total == pytest.approx(1, abs=1e-6)


@every_allocation
def test_permuted_weights_keep_their_density(allocation, rng):
    q, order, then = allocation.posterior(counted(3)), np.array([2, 0, 1]), np.array([0, 2, 1])
    pi = allocation.sample(q, 4, rng)
    moved = q[order]
    np.testing.assert_allclose(allocation.log_density(pi[:, order], moved), allocation.log_density(pi, q), rtol=1e-12)
    np.testing.assert_allclose(allocation.mean(moved), allocation.mean(q)[order], rtol=1e-12)
    np.testing.assert_allclose(allocation.expected_natural(moved), allocation.expected_natural(q)[order], rtol=1e-12)
    np.testing.assert_allclose(allocation.mean(moved[then]), allocation.mean(q)[order][then], rtol=1e-12)
    draws = allocation.sample(moved, 40_000, rng)
    assert np.abs((draws.mean(0) - allocation.mean(q)[order]) / (draws.std(0) / 200)).max() < 4.5


@every_allocation
def test_counts_may_carry_batch_axes(allocation, rng):
    batch = np.stack([counted(3), 2 * counted(3) + 1, np.array([3.0, 7.0, 0.2])])
    pi = rng.dirichlet(np.ones(3), 3)
    q, each = allocation.posterior(batch), [allocation.posterior(counts) for counts in batch]
    for many, single in (
        (allocation.log_marginal(batch), [allocation.log_marginal(counts) for counts in batch]),
        (allocation.maximum_likelihood(batch), batch / batch.sum(-1, keepdims=True)),
        (allocation.expected_natural(q), [allocation.expected_natural(one) for one in each]),
        (allocation.mean(q), [allocation.mean(one) for one in each]),
        (allocation.log_density(pi, q), [allocation.log_density(p, one) for p, one in zip(pi, each, strict=True)]),
        (allocation.log_prior(pi), [allocation.log_prior(p) for p in pi]),
    ):
        np.testing.assert_allclose(many, single, rtol=1e-12)


@pytest.mark.parametrize("allocation", [Dirichlet(np.ones(1)), StickBreaking(1, 0.7)], ids=lambda a: type(a).__name__)
def test_one_cluster_has_all_the_weight(allocation, rng):
    counts = np.array([5.0])
    q = allocation.posterior(counts)
    assert allocation.n_components == 1
    assert allocation.n_free() == 0
    for weights in (allocation.mean(q), allocation.mode(counts), allocation.maximum_likelihood(counts)):
        np.testing.assert_array_equal(weights, [1.0])
    np.testing.assert_array_equal(allocation.sample(q, 3, rng), np.ones((3, 1)))
    np.testing.assert_array_equal(allocation.expected_natural(q), [0.0])
    assert allocation.log_marginal(counts) == allocation.log_prior(np.ones(1)) == 0


def test_dirichlet_marginal_is_polyas_urn():
    """Labels 0, 1, 0 in turn under Dirichlet(2, 2): 1/2 * 2/5 * 3/6."""
    allocation = Dirichlet.symmetric(2, 2.0)
    assert np.exp(allocation.log_marginal(np.array([2.0, 1.0]))) == pytest.approx(1 / 2 * 2 / 5 * 3 / 6)


@pytest.mark.parametrize("alpha0", [1.0, 2.5])
def test_dirichlet_prior_against_scipy(alpha0, rng):
    allocation = Dirichlet.symmetric(3, alpha0)
    pi = rng.dirichlet(np.ones(3))
    assert allocation.log_prior(pi) == pytest.approx(stats.dirichlet(allocation.alpha0).logpdf(pi))


@pytest.mark.parametrize(
    "allocation",
    [Dirichlet(np.array([1.0, 2.5, 1.2, 4.0])), StickBreaking(2, 1.0), StickBreaking(4, 0.4), StickBreaking(4, 5.0)],
    ids=repr,
)
def test_mode_of_the_weights_is_where_an_optimiser_ends(allocation):
    """The maximum over pi of sum(N * log pi) + log p(pi), pi a softmax: a function of pi, without a Jacobian of its own."""
    counts = counted(allocation.n_components)

    def loss(logits):
        pi = softmax(np.append(logits, 0.0))
        return -((counts * np.log(pi)).sum() + allocation.log_prior(pi))

    best = optimize.minimize(loss, np.zeros(len(counts) - 1), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(allocation.mode(counts), softmax(np.append(best.x, 0.0)), atol=1e-6)


def test_modes_may_carry_batch_axes():
    batch = np.array([[4.0, 0.5, 9.0], [3.0, 7.0, 0.2]])
    for allocation in (Dirichlet.symmetric(3, 1.5), StickBreaking(3, 1.9)):
        np.testing.assert_allclose(allocation.mode(batch), [allocation.mode(counts) for counts in batch], rtol=1e-12)


def test_dirichlet_mode_needs_concentrations_of_one():
    with pytest.raises(ValueError, match="at least 1"):
        Dirichlet.symmetric(2, 0.5).mode(np.ones(2))


@pytest.mark.parametrize("alpha0", [[0.0, 1.0], [np.nan], [], [[1.0]]])
def test_dirichlet_concentrations_outside_their_range_are_refused(alpha0):
    with pytest.raises(ValueError, match="positive"):
        Dirichlet(np.array(alpha0))


@pytest.mark.parametrize(
    ("gamma0", "counts", "taker"),
    [(0.9, [5.0, 0.0], 0), (1.0, [5.0, 3.0, 0.5, 0.4], 1), (0.5, [5.0, 9.0, 0.3], 1), (1.9, [5.0, 0.0, 0.0], 0)],
)
def test_sticks_without_a_mode_are_refused(gamma0, counts, taker):
    """The taker leaves those after it a share e of what it found: the density of pi grows with every smaller e."""
    K = len(counts)
    allocation, counts = StickBreaking(K, gamma0), np.array(counts)
    with pytest.raises(CollapseError, match="has no mode"):
        allocation.mode(counts)
    pi = np.ones((3, K))
    pi[:, taker + 1 :] = np.array([[1e-3], [1e-6], [1e-9]])
    density = allocation.log_density(pi / pi.sum(1, keepdims=True), allocation.posterior(counts))
    assert np.all(np.diff(density) > 0.1)


def test_sticks_whose_density_has_no_limit_have_no_mode():
    """p(pi) is pi_3 / (pi_2 + pi_3) here: at pi = (1, 0, 0) it has any value from 0 to 1."""
    allocation = StickBreaking(3, 2.0)
    ratio = allocation.log_prior(np.array([1 - 1e-9, 0.9e-9, 0.1e-9])) - allocation.log_prior(np.array([0.1, 0.0, 0.9]))
    assert ratio == pytest.approx(np.log(0.1), rel=1e-6)
    with pytest.raises(ValueError, match="gamma0 above 2"):
        allocation.mode(np.array([5.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="has no mode"):
        StickBreaking(2, 1.0).mode(np.zeros(2))


def test_expected_log_sticks_by_hand():
    """E[log v] = -1 - 1/2 - ... - 1/gamma0 and E[log(1 - v)] = -1/gamma0 under Beta(1, gamma0), gamma0 a whole number."""
    allocation = StickBreaking(3, 2.0)
    np.testing.assert_allclose(allocation.expected_natural(prior_of(allocation)), [-3 / 2, -2, -1], rtol=1e-14)
    q = allocation.posterior(np.array([4.0, 0.5, 9.0]))
    log_v = digamma([5, 1.5]) - digamma([5 + 2 + 9.5, 1.5 + 2 + 9])
    log_rest = digamma([2 + 9.5, 2 + 9]) - digamma([5 + 2 + 9.5, 1.5 + 2 + 9])
    expected = [log_v[0], log_rest[0] + log_v[1], log_rest[0] + log_rest[1]]
    np.testing.assert_allclose(allocation.expected_natural(q), expected, rtol=1e-14)


def test_mean_sticks_by_hand():
    """Each cluster takes a share 1 / (1 + gamma0) of what is left, the last all of it."""
    allocation = StickBreaking(4, 3.0)
    np.testing.assert_allclose(allocation.mean(prior_of(allocation)), [1 / 4, 3 / 16, 9 / 64, 27 / 64], rtol=1e-14)


@pytest.mark.parametrize("gamma0", [0.6, 1.0, 3.5])
def test_probability_of_labels_under_sticks_by_quadrature(gamma0):
    """Each stick alone: the integral of v^(N_k) (1 - v)^(N_(k+1) + ... + N_K) Beta(v | 1, gamma0)."""

    def stick(v, N, after):
        return v**N * (1 - v) ** after * stats.beta.pdf(v, 1, gamma0)

    counts, total = counted(4), 0.0
    for k in range(3):
        powers = counts[k], counts[k + 1 :].sum()
        total += np.log(integrate.quad(stick, 0, 1, powers, epsabs=0)[0])
    assert StickBreaking(4, gamma0).log_marginal(counts) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("gamma0", [0.4, 1.0, 3.0])
def test_two_clusters_make_sticks_a_dirichlet(gamma0, rng):
    """pi_1 = v_1 ~ Beta(1, gamma0) is Dirichlet(1, gamma0); uniform where gamma0 is 1."""
    sticks, dirichlet = StickBreaking(2, gamma0), Dirichlet(np.array([1.0, gamma0]))
    counts, pi = np.array([[4.0, 3.5], [0.0, 11.0]]), rng.dirichlet(np.ones(2), 2)
    a, b = sticks.posterior(counts), dirichlet.posterior(counts)
    np.testing.assert_allclose(sticks.log_marginal(counts), dirichlet.log_marginal(counts), rtol=1e-12)
    np.testing.assert_allclose(sticks.expected_natural(a), dirichlet.expected_natural(b), rtol=1e-12)
    np.testing.assert_allclose(sticks.mean(a), dirichlet.mean(b), rtol=1e-12)
    np.testing.assert_allclose(sticks.log_density(pi, a), dirichlet.log_density(pi, b), rtol=1e-12)
    np.testing.assert_allclose(sticks.log_prior(pi), dirichlet.log_prior(pi), rtol=1e-12, atol=1e-14)
    assert sticks.n_free() == dirichlet.n_free() == 1
    if gamma0 >= 1:
        np.testing.assert_allclose(sticks.mode(counts), dirichlet.mode(counts), rtol=1e-12)


def test_short_sticks_keep_their_digits(rng):
    """With gamma0 = 0.02 log(1 - v) is -50 on average, where 1 - v from a rounded v would end at -37."""
    allocation = StickBreaking(2, 0.02)
    log_rest = np.log(allocation.sample(prior_of(allocation), 40_000, rng)[:, 1])
    assert abs(log_rest.mean() + 50) < 4.5 * log_rest.std() / 200


def test_weights_too_small_for_a_number_have_a_density():
    """With gamma0 = 0.02 each stick leaves about e^-50 of the last: twenty leave less than 1e-308."""
    allocation = StickBreaking(20, 0.02)
    pi = np.append([1.0], np.zeros(19))
    assert np.isfinite(allocation.log_prior(pi))
    assert np.isfinite(allocation.natural(pi)).all()


@pytest.mark.parametrize("gamma0", [0.0, -1.0, np.nan, np.inf, [1.0, 2.0]])
def test_stick_concentrations_outside_their_range_are_refused(gamma0):
    with pytest.raises(ValueError, match="one positive number"):
        StickBreaking(3, gamma0)


@pytest.mark.parametrize("n_components", [0, -2, 2.5])
def test_truncations_outside_their_range_are_refused(n_components):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        StickBreaking(n_components, 1.0)


def test_normal_wishart_normaliser_by_quadrature():
    """D = 1: the integral of lambda^((nu-1)/2) exp(-beta lambda (mu-m)^2 / 2 - w lambda / 2)."""
    q = NormalWishart(np.array([0.4]), np.asarray(1.5), np.array([[0.8]]), np.asarray(3.2))

    def density(mu, lam):
        return lam ** ((3.2 - 1) / 2) * np.exp(-1.5 / 2 * lam * (mu - 0.4) ** 2 - 0.8 * lam / 2)

    integral = integrate.dblquad(density, 0, 60, -30, 30, epsabs=1e-10)[0]
    assert float(q.log_normaliser()) == pytest.approx(np.log(integral), rel=1e-4)


def test_labellings_are_products_over_clusters(rng):
    """log p(z) is the sum of the factors of the counts, up to a number that the total alone decides."""
    allocation = Dirichlet(np.array([0.4, 1.0, 2.5]))
    counts = rng.multinomial(12, [0.2, 0.3, 0.5], size=20)
    constant = allocation.log_marginal(counts) - allocation.log_factors(counts).sum(-1)
    np.testing.assert_allclose(constant, gammaln(3.9) - gammaln(15.9), rtol=1e-12)
    np.testing.assert_array_equal(allocation.first(2).alpha0, [0.4, 1.0])


# linear coordinates


@pytest.mark.parametrize("condition", [1, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("Family", [Gaussian, TiedGaussian])
@pytest.mark.robustness("numbers")
def test_bounds_do_not_depend_on_the_columns_linear_coordinates(Family, condition, rng):
    """But for log|det| of each row, and of the parameters in a posterior density."""
    some = np.concatenate([rng.standard_normal((n, 3)) + 5 * np.eye(3)[k] for k, n in enumerate((50, 40, 30))])
    for rows in (some, standardised(load("penguins").x), standardised(load("iris").x)):
        mapped, x, log_det = mapped_and_back(rows, condition, rng)
        (one, other), allocation = (Family.from_data(y, 3) for y in (x, mapped)), Dirichlet.symmetric(3)
        parameters = one.log_jacobian(3) / one.log_volume
        settings = {"rng": 0, "restarts": 3}
        for fit, volume in (
            (em.fit, len(x)),
            (partial(em.fit, prior=True), len(x) - parameters),
            (cavi.fit, len(x)),
        ):
            expected = fit(x, one, allocation, **settings).bound[-1] - volume * log_det
            assert fit(mapped, other, allocation, **settings).bound[-1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.robustness("numbers")
def test_many_fits_do_not_depend_on_the_columns_linear_coordinates(prior, rng):
    mapped, x, log_det = mapped_and_back(standardised(load("iris").x), 1e12, rng)
    families = [Gaussian.from_data(y, 3) for y in (x, mapped)]
    one, other = em.fit_many([x, mapped], families, Dirichlet.symmetric(3), rng=[0, 0], restarts=3, prior=prior)
    volume = len(x) - prior * families[0].log_jacobian(3) / families[0].log_volume
    assert other.bound[-1] == pytest.approx(one.bound[-1] - volume * log_det, abs=1e-6)


@pytest.mark.parametrize("fit", [em.fit, cavi.fit])
@pytest.mark.parametrize("Family", [Gaussian, TiedGaussian])
@pytest.mark.robustness("numbers")
def test_one_start_ends_at_the_same_optimum_of_many_in_other_coordinates(Family, fit, rng):
    x = load("iris").x
    U, V = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    A = U @ np.diag(np.geomspace(1, 1e-6, 4)) @ V
    one, other = (
        fit(y, Family.from_data(y, 5), Dirichlet.symmetric(5), rng=1, restarts=1).bound[-1] for y in (x, x @ A.T)
    )
    assert other == pytest.approx(one - len(x) * np.linalg.slogdet(A)[1], abs=1e-4)


@pytest.mark.parametrize("Family", [Gaussian, TiedGaussian])
@pytest.mark.robustness("numbers")
def test_a_given_prior_mapped_along_changes_no_bound(Family, rng):
    x = np.concatenate([rng.standard_normal((n, 2)) + m for n, m in ((30, 0.0), (20, 5.0))])
    A, m0, W0 = np.array([[1.0, 1.0], [0.0, 1e-4]]), np.array([1.0, 2.0]), np.array([[2.0, 0.3], [0.3, 1.0]])
    inverse = np.linalg.inv(A)
    priors = {"m0": m0, "W0": W0}, {"m0": A @ m0, "W0": inverse.T @ W0 @ inverse}
    plain, mapped = (
        cavi.fit(y, Family.from_data(y, 2, **prior), Dirichlet.symmetric(2), rng=0).bound[-1]
        for y, prior in zip((x, x @ A.T), priors, strict=True)
    )
    assert mapped == pytest.approx(plain - len(x) * np.log(1e-4), abs=1e-5)


def test_columns_nearly_the_same_are_fitted_as_one_and_their_difference(rng):
    a = np.random.default_rng(0).integers(2, 990, 1500).astype(float)
    b = a + np.where(np.arange(1500) < 40, rng.integers(-5, 6, 1500), 0)
    bounds = [
        cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=0).bound[-1]
        for x in (np.column_stack([a, b]), np.column_stack([a, b - a]))
    ]
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)


DEPENDENT = {
    "feature 1 = 3.2808 feature 0": lambda a, b: [a, a / 0.3048, b],
    "feature 2 = feature 0 + feature 1": lambda a, b: [a, b, a + b],
    "feature 2 = -feature 0 - feature 1 + 1": lambda a, b: [a, b, 1 - a - b],
    "feature 1 = 2 feature 0": lambda a, b: [a, 2 * a, b, a + b],
    "feature 2 = feature 0 - 0.5 feature 1 - 7": lambda a, b: [1e8 + a, b, 1e8 + a - b / 2 - 7],
}


@pytest.mark.parametrize("said", DEPENDENT)
@pytest.mark.parametrize("Family", [Gaussian, TiedGaussian])
@pytest.mark.robustness("numbers")
def test_dependent_columns_are_named_with_their_combination(Family, said, rng):
    x = np.column_stack(DEPENDENT[said](*rng.standard_normal((2, 60))))
    with pytest.raises(FeatureError, match=f"^{re.escape(said)}: their covariance is singular") as caught:
        Family.from_data(x, 2)
    assert "'b'" in caught.value.named("abcd") or "'c'" in caught.value.named("abcd")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
