"""The PyMC twins against the hand-written models, and ADVI and NUTS against what is known in closed form."""

import contextlib
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

from mixtures import (
    COVARIANCES,
    Bernoulli,
    Categorical,
    ConvergenceWarning,
    DiagonalGaussian,
    Dirichlet,
    Draws,
    Fit,
    Gaussian,
    Markov,
    Poisson,
    Product,
    Sequences,
    TiedGaussian,
)
from mixtures.ascent.states import statistics
from mixtures.methods import cavi, exact
from mixtures.sequences import SequenceFit
from models import beginnings, cache, joint, vi
from models.families import twin
from models.flat import by_jax, flatten
from models.loops import Loops
from models.methods import advi, nuts

every_structure = pytest.mark.parametrize("covariance", COVARIANCES)


def model_of(K, D, rng, n=30, covariance="full"):
    x = 50 + 7 * rng.standard_normal((n, D)) @ rng.standard_normal((D, D))
    W0 = rng.uniform(0.5, 2, D) / x.var(0) if covariance == "diag" else None
    family = COVARIANCES[covariance].from_data(x, K, m0=x.mean(0) + 3, beta0=0.3, W0=W0, nu0=D + 1.5)
    return x, family, Dirichlet(0.7 + np.arange(K))


def parameters(family, allocation, size, rng):
    """Draws from the prior, except that beta0 is 1, so that some means are near the data."""
    K = allocation.n_components
    p = family.posterior(np.zeros((K, family.features(family.origin[None]).shape[1])))
    return allocation.sample(allocation.alpha0, size, rng), family.sample(p, size, rng)


def log_jacobian(family, weights, theta, centred):
    """log |d(pi, mu, Lambda) / d v| at one (pi, theta), where v are the unconstrained values.

    pi = softmax(y, -sum y):            K prod_k pi_k
    c = exp(v), A_ii = sqrt(c):         dA_ii/dv = A_ii / 2
    M = A A^T, lower triangles:         2^D prod_i A_ii^(D+1-i), i = 1..D
    Lambda = L M L^T:                   |L|^(D+1)
    lambda = exp(v):                    lambda
    mu_k = m0 + F_k^-T u / sqrt(beta0): |F_k|^-1 beta0^(-D/2), none where the means are free
    """
    K, D = theta["means"].shape
    total = np.log(K) + np.log(weights).sum() if K > 1 else 0.0
    if "variances" in theta:
        total -= np.log(theta["variances"]).sum()
    else:
        L = np.linalg.cholesky(np.linalg.inv(family.prior.W_inv))
        for Sigma in theta["covariances"][: 1 if family.covariance == "tied" else K]:
            log_A = np.log(np.diag(np.linalg.solve(L, np.linalg.cholesky(np.linalg.inv(Sigma)))))
            total += (log_A - np.log(2)).sum()
            total += D * np.log(2) + ((D - np.arange(D)) * log_A).sum()
            total += (D + 1) * np.log(np.diag(L)).sum()
    if not centred:
        log_det_F = -np.linalg.slogdet(family.covariances(theta))[1] / 2
        total -= log_det_F.sum() + K * D / 2 * np.log(family.prior.beta.item())
    return total


def as_tree(family, weights, theta):
    """A posterior group with the free variables of the twin at the given draws (S, K, ...)."""
    free = {"weights": weights}
    for name, v in twin(family).unconstrain(family, theta).items():
        if not name.endswith("_simplex__"):
            free[name.removesuffix("_log__")] = np.exp(v) if name.endswith("_log__") else v
    data = {name: (("chain", "draw", *(f"{name}{i}" for i in range(1, a.ndim))), a[None]) for name, a in free.items()}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(data)})


def latin():
    """Of (K, D, centred, covariance) a third, in which every K and every D meets every pair of the other two."""
    pairs = [(centred, covariance) for centred in (False, True) for covariance in COVARIANCES]
    return [(K, (1, 2, 4)[(K + i) % 3], *pair) for i, pair in enumerate(pairs) for K in (1, 2, 3)]


@pytest.mark.parametrize(("K", "D", "centred", "covariance"), latin())
def test_log_joint_is_the_hand_written_one(K, D, centred, covariance, rng):
    x, family, allocation = model_of(K, D, rng, covariance=covariance)
    log_joint = joint.build(x, family, allocation, centred=centred).compile_logp(mode="JAX")
    weights, thetas = parameters(family, allocation, 5, rng)
    log_likelihood = fit_of(family, allocation, weights, thetas).log_likelihood(x)[0].sum(1)
    for i, pi in enumerate(weights):
        theta = {name: a[i] for name, a in thetas.items()}
        expected = log_likelihood[i] + allocation.log_prior(pi) + family.log_prior(theta)
        expected += log_jacobian(family, pi, theta, centred)
        v = joint.unconstrain(family, allocation, pi, theta, centred=centred)
        assert float(log_joint(v)) == pytest.approx(expected, rel=1e-9)


def discrete(kind, K, rng, n=25):
    """Data of one kind, or of all kinds in one table, and a family with nothing symmetric about its prior."""
    binary, counts = (rng.random((n, 3)) < 0.4) * 1.0, rng.poisson(3.0, (n, 2)) * 1.0
    codes = np.column_stack([rng.integers(C, size=n) for C in (3, 2, 3, 1)]) * 1.0
    levels = [3, 2, 3, 1]
    if kind == "bernoulli":
        return binary, Bernoulli.from_data(binary, K, a0=[1.2, 0.7, 3.0], b0=0.8)
    if kind == "poisson":
        return counts, Poisson.from_data(counts, K, a0=[1.5, 2.5], b0=[0.4, 0.9])
    if kind == "categorical":
        a0 = [rng.uniform(0.5, 2, C) for C in levels]
        return codes, Categorical.from_data(codes, K, levels=levels, a0=a0)
    x = np.column_stack([counts, 50 + 7 * rng.standard_normal((n, 2)), codes, 9 + rng.standard_normal((n, 3)), binary])
    kinds = [Poisson, TiedGaussian, Categorical, DiagonalGaussian, Bernoulli]
    columns = [[0, 1], [3, 2], [4, 5, 6, 7], [8, 9, 10], [11, 13, 12]]
    options = [{}, {"beta0": 0.3}, {"levels": levels}, {"beta0": 0.4}, {"a0": 1.3}]
    return x, Product.from_data(x, K, families=kinds, columns=columns, hyperparameters=options)


def log_jacobian_of(family, theta, centred):
    """log |d theta / d v| of the clusters alone.

    mu = 1 / (1 + exp(-v)): mu (1 - mu)      lambda = exp(v): lambda      mu = softmax(y, -sum y) of C levels: C prod_c mu_c
    """
    if isinstance(family, Product):
        return sum(log_jacobian_of(part, own, centred) for part, own in family.parts_of(theta))
    if isinstance(family, Bernoulli):
        return np.log(theta["probabilities"] * (1 - theta["probabilities"])).sum()
    if isinstance(family, Poisson):
        return np.log(theta["rates"]).sum()
    if isinstance(family, Categorical):
        several = np.array([C for C in family.levels if C > 1])
        return len(theta["probabilities"]) * np.log(several).sum() + np.log(family.flat(theta)).sum()
    return log_jacobian(family, np.array([1 / len(theta["means"])]), theta, centred)  # without the weights


@pytest.mark.parametrize(
    ("kind", "K", "centred"),
    [
        ("bernoulli", 2, False),
        ("categorical", 3, False),
        ("poisson", 2, False),
        ("product", 1, True),
        ("product", 3, False),
    ],
)
def test_log_joint_of_every_kind_of_columns(kind, K, centred, rng):
    x, family = discrete(kind, K, rng)
    allocation = Dirichlet(0.7 + np.arange(K))
    model = joint.build(x, family, allocation, centred=centred)
    log_joint = model.compile_logp(mode="JAX")
    weights = allocation.sample(allocation.alpha0, 4, rng)
    thetas = family.sample(family.posterior(np.zeros((K, 1 + family.monomials[-1, 0]))), 4, rng)
    log_likelihood = fit_of(family, allocation, weights, thetas).log_likelihood(x)[0].sum(1)
    for i, pi in enumerate(weights):
        theta = {name: a[i] for name, a in thetas.items()}
        expected = log_likelihood[i] + allocation.log_prior(pi) + family.log_prior(theta)
        expected += log_jacobian_of(family, theta, centred)
        expected += np.log(K) + np.log(pi).sum() if K > 1 else 0.0
        v = joint.unconstrain(family, allocation, pi, theta, centred=centred)
        assert float(log_joint(v)) == pytest.approx(expected, rel=1e-9)
    flat = flatten(model, ("weights", *family.parameters))
    back = flat.constrain(flat.join(joint.unconstrain(family, allocation, weights, thetas, centred=centred))[0])
    assert set(back) == {"weights", *thetas}
    for name, value in {"weights": weights, **thetas}.items():
        np.testing.assert_allclose(back[name], value[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "K", "start"), [("poisson", 1, "free"), ("product", 2, "stationary"), ("bernoulli", 3, "free")]
)
def test_log_joint_of_chains_is_the_hand_written_one(kind, K, start, rng):
    """With sequences of lengths 1, 20 and 4, of which the last ends in a row of which nothing is known where gaps may be."""
    x, family = discrete(kind, K, rng)
    if kind == "bernoulli":
        x[-1] = np.nan
        family = Bernoulli.from_data(x, K, a0=[1.2, 0.7, 3.0], b0=0.8, missing=True)
    rows, allocation = Sequences(x, [1, 20, 4]), Markov(0.7 + np.arange(K), 0.5 + rng.random((K, K)), start)
    model = joint.build(rows, family, allocation)
    log_joint = model.compile_logp(mode="JAX")
    weights = allocation.conjugate.sample(allocation.prior, 3, rng)
    if start == "stationary":
        weights[..., 0] = allocation.stationary(weights[..., 1:])
    thetas = family.sample(family.posterior(np.zeros((K, 1 + family.monomials[-1, 0]))), 3, rng)
    held = Draws(weights[None], {name: v[None] for name, v in thetas.items()})
    fit = SequenceFit("any", "mcmc", family, allocation, held, np.empty(0), True, {})
    log_likelihood = fit.log_likelihood(rows)[0].sum(1)
    for i, own in enumerate(weights):
        theta = {name: a[i] for name, a in thetas.items()}
        expected = log_likelihood[i] + allocation.log_prior(own) + family.log_prior(theta)
        expected += log_jacobian_of(family, theta, False)
        if K > 1:  # as in `log_jacobian`, for each simplex
            free = [*own[:, 1:], *([own[:, 0]] if start == "free" else [])]
            expected += sum(np.log(K) + np.log(p).sum() for p in free)
        assert float(log_joint(joint.unconstrain(family, allocation, own, theta))) == pytest.approx(expected, rel=1e-9)
    flat = flatten(model, joint.parameters(family, allocation))
    back = joint.posterior(
        allocation, flat.constrain(flat.join(joint.unconstrain(family, allocation, weights, thetas))[0])
    )
    np.testing.assert_allclose(back.weights, weights[0], rtol=1e-9)
    with model:
        assert pm.draw(model["x"], draws=2, random_seed=1, mode="FAST_COMPILE").shape == (2, *x.shape)


@pytest.mark.parametrize("kind", ["categorical", "product"])
def test_the_twin_predicts_as_the_family_does(kind, rng):
    x, family = discrete(kind, 2, rng)
    allocation = Dirichlet(np.array([1.0, 2.0]))
    with joint.build(x, family, allocation) as model:
        prior = pm.draw(model["x"], draws=300, random_seed=1, mode="FAST_COMPILE")
    assert prior.shape == (300, *x.shape)
    q = family.posterior(np.zeros((2, 1 + family.monomials[-1, 0])))
    theta = family.sample(q, 7500, rng)
    weights = allocation.sample(allocation.alpha0, 7500, rng)
    ours, _ = Fit(
        "any",
        "mcmc",
        family,
        allocation,
        Draws(weights[None], {k: v[None] for k, v in theta.items()}),
        np.empty(0),
        True,
        {},
    ).sample(7500, rng)
    a, b = np.median(prior[:, 0], axis=0), np.median(ours, axis=0)
    scale = np.maximum(np.subtract(*np.quantile(ours, [0.75, 0.25], axis=0)), 1.0)
    assert np.abs((a - b) / scale).max() < 0.6


@every_structure
def test_centred_means_are_drawn_from_their_prior(covariance, rng):
    """sqrt(beta0) chol(Lambda)^T (mu - m0) is standard normal whatever Lambda is."""
    x, family, allocation = model_of(2, 2, rng, covariance=covariance)
    model, names = joint.build(x, family, allocation, centred=True), family.parameters
    values = pm.draw([model[name] for name in names], draws=2000, random_seed=3, mode="FAST_COMPILE")
    theta = dict(zip(names, values, strict=True))
    F = np.linalg.cholesky(np.linalg.inv(family.covariances(theta)))
    offset = np.sqrt(family.prior.beta) * (theta["means"] - family.prior.m)
    u = (F.swapaxes(-1, -2) @ offset[..., None]).reshape(2000, 4)
    assert np.abs(u.mean(0)).max() < 4.5 / np.sqrt(2000)
    assert np.abs(np.cov(u.T) - np.eye(4)).max() < 4.5 * np.sqrt(2 / 2000)


@every_structure
@pytest.mark.parametrize("centred", [False, True])
def test_constraining_undoes_unconstraining(centred, covariance, rng):
    x, family, allocation = model_of(3, 2, rng, covariance=covariance)
    flat = flatten(joint.build(x, family, allocation, centred=centred), ("weights", *family.parameters))
    weights, theta = parameters(family, allocation, 1, rng)
    v = flat.join(joint.unconstrain(family, allocation, weights, theta, centred=centred))
    assert v.shape == (1, flat.size)
    back = flat.constrain(v[0])
    assert set(back) == {"weights", *theta}
    for name, value in {"weights": weights, **theta}.items():
        np.testing.assert_allclose(back[name], value[0], rtol=1e-9)


def fit_of(family, allocation, weights, theta):
    posterior = Draws(weights[None], {name: a[None] for name, a in theta.items()})
    return Fit("any", "mcmc", family, allocation, posterior, np.empty(0), True, {})


def test_constants_that_shapes_depend_on_are_known_before_jax_traces():
    """As of the padding with which PyMC makes a matrix of correlations."""
    x = pt.vector("x", shape=(2,))
    padded = by_jax([x], [pt.pad(x[None], [[1, 0], [0, 1]])])
    np.testing.assert_array_equal(padded(np.array([3.0, 4.0]))[0], [[0, 0, 0], [3, 4, 0]])


def test_pymc_computes_the_log_likelihood_per_observation(rng):
    x, family, allocation = model_of(2, 2, rng)
    weights, theta = parameters(family, allocation, 4, rng)
    with joint.build(x, family, allocation):
        tree = pm.compute_log_likelihood(
            as_tree(family, weights, theta),
            extend_inferencedata=False,
            progressbar=False,
            compile_kwargs={"mode": "JAX"},
        )
    expected = fit_of(family, allocation, weights, theta).log_likelihood(x)
    np.testing.assert_allclose(tree["x"], expected, rtol=1e-10)


@every_structure
def test_pymc_predicts_in_the_units_of_the_data(covariance, rng):
    x, family, allocation = model_of(2, 2, rng, covariance=covariance)
    pi, draws = np.array([0.3, 0.7]), 400
    _, theta = parameters(family, allocation, 1, rng)
    with joint.build(x, family, allocation):
        tree = pm.sample_posterior_predictive(
            as_tree(family, np.tile(pi, (draws, 1)), {name: np.repeat(a, draws, axis=0) for name, a in theta.items()}),
            random_seed=1,
            progressbar=False,
            compile_kwargs={"mode": "FAST_COMPILE"},
        )
    x_new = tree["posterior_predictive"]["x"].to_numpy()
    assert x_new.shape == (1, draws, *x.shape)
    z = family.coordinates(x_new.reshape(-1, 2))
    mu, Sigma = theta["means"][0], family.covariances(theta)[0]
    second = (pi[:, None, None] * (Sigma + mu[:, :, None] * mu[:, None, :])).sum(0)
    for sample, expected in [(z, pi @ mu), (z[:, :, None] * z[:, None, :], second)]:
        error = sample.std(0) / np.sqrt(len(z))
        assert np.all(np.abs(sample.mean(0) - expected) < 4 * error)


@pytest.fixture(scope="module")
def one_cluster():
    rng = np.random.default_rng(5)
    x = 50 + rng.standard_normal((40, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]])
    return x, Gaussian.from_data(x, 1), Dirichlet.symmetric(1)


@pytest.fixture(scope="module", params=["numpyro", "nutpie"])
def sampled_and_heard(request, one_cluster):
    heard = []
    options = {"draws": 500, "tune": 500, "sampler": request.param, "tell": lambda *steps: heard.append(steps)}
    return nuts.fit(*one_cluster, **options, rng=np.random.default_rng(1)), heard


@pytest.fixture(scope="module")
def sampled(sampled_and_heard):
    return sampled_and_heard[0]


def counts_up_to(total, heard):
    """Whether the steps that were heard of rise to the total."""
    done = [each for each, _ in heard]
    return len(heard) > 1 and {of for _, of in heard} == {total} and done == sorted(done) and done[-1] == total


def test_nuts_tells_how_many_steps_are_done(sampled_and_heard):
    assert counts_up_to(4 * (500 + 500), sampled_and_heard[1])


def test_nuts_finds_the_normal_wishart_posterior(one_cluster, sampled):
    from arviz_stats.base import array_stats

    x, family, _ = one_cluster
    q = family.posterior(statistics(x, family, np.ones((len(x), 1))))
    D = x.shape[1]
    expected = {"means": q.m[0], "covariances": q.W_inv[0] / (q.nu[0] - D - 1)}
    assert sampled.posterior.weights.shape == (4, 500, 1)
    assert np.all(sampled.posterior.weights == 1)
    for name, target in expected.items():
        draws = sampled.posterior.theta[name][:, :, 0].reshape(4, 500, -1)
        for i, value in enumerate(target.ravel()):
            ess = array_stats.ess(draws[:, :, i], chain_axis=0, draw_axis=1)
            assert ess > 400
            assert abs(draws[:, :, i].mean() - value) < 4 * draws[:, :, i].std() / np.sqrt(ess), (name, i)
    deviation = (sampled.posterior.theta["means"][:, :, 0] - q.m[0]) ** 2
    variance = np.diag(q.W_inv[0]) / (q.beta[0] * (q.nu[0] - D - 1))
    ess = min(array_stats.ess(deviation[:, :, i], chain_axis=0, draw_axis=1) for i in range(D))
    assert np.all(np.abs(deviation.mean((0, 1)) - variance) < 4 * deviation.std((0, 1)) / np.sqrt(ess))


@pytest.mark.parametrize("covariance", ["tied", "diag", "spherical"])
def test_nuts_finds_the_conjugate_posterior(covariance, one_cluster):
    """Posterior means of mu and of eta, which holds log|Lambda|, Lambda mu and Lambda."""
    from arviz_stats.base import array_stats

    x = one_cluster[0]
    family = COVARIANCES[covariance].from_data(x, 1, m0=x.mean(0) + 4, beta0=4.0)
    fit = nuts.fit(x, family, Dirichlet.symmetric(1), draws=300, tune=300, chains=2, rng=np.random.default_rng(1))
    q = family.posterior(statistics(x, family, np.ones((len(x), 1))))
    theta = fit.posterior.theta
    draws = np.concatenate([theta["means"], family.natural(theta)], axis=-1)[:, :, 0]
    for i, expected in enumerate([*q.m[0], *family.expected_natural(q)[0]]):
        ess = array_stats.ess(draws[:, :, i], chain_axis=0, draw_axis=1, method="mean")
        assert ess > 100
        assert abs(draws[:, :, i].mean() - expected) < 4.5 * draws[:, :, i].std() / np.sqrt(ess), i


def test_nuts_reports_its_statistics_and_its_cost(sampled):
    assert sampled.kind == "mcmc"
    assert sampled.converged
    for name in ("diverging", "energy", "lp", "n_steps", "tree_depth", "acceptance_rate", "step_size"):
        assert sampled.sample_stats[name].shape == (4, 500)
    assert not sampled.sample_stats["reached_max_treedepth"].any()
    assert sampled.info["max_tree_depth"] == 10
    assert 0.8 < sampled.sample_stats["acceptance_rate"].mean() < 0.98  # the target is 0.9
    assert sampled.seconds["compile"] > 0
    assert sampled.seconds["run"] > 0


def test_pymcs_own_sampler_returns_the_same_things(one_cluster):
    heard = []
    options = {"draws": 200, "tune": 200, "chains": 2, "sampler": "pymc", "tell": lambda *steps: heard.append(steps)}
    fit = nuts.fit(*one_cluster, **options, rng=np.random.default_rng(1))
    assert counts_up_to(800, heard)
    q = fit.family.posterior(statistics(one_cluster[0], fit.family, np.ones((40, 1))))
    means = fit.posterior.theta["means"]
    assert means.shape == (2, 200, 1, 2)
    assert np.all(np.abs(means.mean((0, 1, 2)) - q.m[0]) < means.std((0, 1, 2)))
    assert fit.sample_stats["energy"].shape == fit.sample_stats["reached_max_treedepth"].shape == (2, 200)


def test_a_tree_is_cut_off_when_all_its_doublings_are_done():
    """By NumPyro: ten doublings are 1023 steps; fewer end in a U-turn or a divergence."""
    steps = np.array([[1023, 1022, 600, 511, 7, 1]])
    stats = nuts.depths(steps)
    assert stats["reached_max_treedepth"].tolist() == [[True, False, False, False, False, False]]
    assert stats["tree_depth"].tolist() == [[10, 10, 10, 9, 3, 1]]


def test_chains_start_from_modes_by_their_mass(monkeypatch):
    """Of optima that lie dozens of nats apart every chain takes the highest it has found; from a given fit all take its."""
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    x = np.repeat(corners, 25, axis=0) + rng.standard_normal((100, 2))
    family, allocation = Gaussian.from_data(x, 4), Dirichlet.symmetric(4)
    monkeypatch.setattr(beginnings, "SHARE", 1e8)  # so narrow that the start is the mode
    best = cavi.fit(x, family, allocation, rng=rng)
    lower = cavi.fit(x, family, allocation, init=np.repeat([0, 1, 2, 2], 25), rng=rng)
    assert best.bound[-1] > lower.bound[-1] + 20
    for start, fit in ((None, best), (lower, lower)):
        found = beginnings.modes(x, family, allocation, start, 8, rng)
        weights, theta = beginnings.starts(family, allocation, found, rng)
        s = statistics(x, family, fit.responsibilities(x))
        occupied = s[:, 0] > 1
        expected = s[occupied, 1:3] / s[occupied, :1]
        for pi, means in zip(weights, theta["means"], strict=True):
            found = means[pi > 0.01]
            np.testing.assert_allclose(sorted(found.tolist()), sorted(expected.tolist()), atol=1e-2)


def test_the_same_seed_gives_the_same_chains_whoever_listens(one_cluster):
    short, heard = {"draws": 20, "tune": 20, "chains": 2}, []
    listening = {"tell": lambda *steps: heard.append(steps)}
    first, second = (nuts.fit(*one_cluster, **short, **more, rng=np.random.default_rng(3)) for more in ({}, listening))
    assert counts_up_to(80, heard)
    means = first.posterior.theta["means"]
    np.testing.assert_array_equal(means, second.posterior.theta["means"])
    assert not np.array_equal(means[0], means[1])


@pytest.mark.parametrize("rank", ["meanfield", "fullrank"])
def test_advi_elbo_is_just_below_the_evidence(one_cluster, rank):
    x, family, _ = one_cluster
    evidence = family.log_marginal(statistics(x, family, np.ones((len(x), 1))))
    fit = advi.fit(*one_cluster, rank=rank, rng=np.random.default_rng(2))
    elbo, se = fit.info["elbo"], fit.info["elbo_se"]
    assert fit.converged
    assert fit.info["reached"] == fit.info["restarts"] == 4
    assert elbo == fit.bound[-1]
    assert evidence - {"meanfield": 1.5, "fullrank": 0.2}[rank] < elbo < evidence + 4 * se
    late = fit.bound[-51:-1]  # PyMC's own loss, at the last rate
    assert abs(late.mean() - elbo) < 4 * np.hypot(late.std() / np.sqrt(len(late)), se)
    assert len(fit.bound) <= 501
    assert fit.posterior.theta["means"].shape == (1, 4000, 1, 2)


def test_a_chain_that_pymc_cut_short_when_interrupted_is_no_result(one_cluster, monkeypatch):
    x, family, allocation = one_cluster

    def interrupted(*, draws, chains, **_):
        return xr.DataTree.from_dict(
            {"posterior": xr.Dataset({"v": (("chain", "draw"), np.zeros((chains, draws // 2)))})}
        )

    monkeypatch.setattr(pm, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nuts.fit(x, family, allocation, rng=np.random.default_rng(0), draws=10, tune=10, chains=2, sampler="pymc")


@pytest.mark.parametrize("rank", ["meanfield", "fullrank"])
def test_advi_takes_the_steps_of_pymc_and_averages_them(rank, one_cluster, monkeypatch):
    import jax
    import pytensor

    monkeypatch.setattr(vi, "AVERAGED", (0.25, 0.5))
    model = joint.build(*one_cluster)
    P = flatten(model, ("weights",)).size
    steps = 40
    scales = {"rho": np.full((1, P), -1.0)} if rank == "meanfield" else {"L_tril": np.full((1, P * (P + 1) // 2), -0.1)}
    init = {"mu": np.full((1, P), 0.1)} | scales
    flat = flatten(model, ("weights",))
    _, averages, losses = vi.Descent(flat, rank, steps, 0.01, 1)(init, np.random.default_rng(0))
    seeds = np.random.default_rng(0).integers(2**31, size=1)

    theirs = {"meanfield": pm.ADVI, "fullrank": pm.FullRankADVI}[rank](model=model, random_seed=0)
    (group,) = theirs.approx.groups
    for parameter in group.params:
        parameter.set_value(init[parameter.name][0])
    noise = pytensor.shared(np.zeros((1, P)))
    step = theirs.objective.step_function(
        obj_optimizer=pm.adam(learning_rate=0.01),
        obj_n_mc=1,
        score=True,
        more_replacements={group.symbolic_initial: noise},
        compile_kwargs={"mode": "JAX"},
    )
    keys, mu = jax.random.split(jax.random.PRNGKey(seeds[0]), steps), []
    for key, loss in zip(keys[: steps // 2], np.asarray(losses)[0], strict=False):  # before the rate falls
        noise.set_value(np.array(jax.random.normal(key, (1, P))))
        assert float(step()) == pytest.approx(loss, rel=1e-9)
        mu.append(next(p.get_value().copy() for p in group.params if p.name == "mu"))
    np.testing.assert_allclose(averages["mu"][0], np.mean(mu[10:], axis=0), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
def test_advi_with_the_same_seed_gives_the_same_draws_whoever_listens(one_cluster):
    short, heard = {"steps": 400, "draws": 100, "restarts": 2}, []
    listening = {"tell": lambda *steps: heard.append(steps)}
    first, second = (advi.fit(*one_cluster, **short, **more, rng=np.random.default_rng(3)) for more in ({}, listening))
    assert counts_up_to(800, heard)
    np.testing.assert_array_equal(first.posterior.theta["means"], second.posterior.theta["means"])
    assert first.info["elbo"] == second.info["elbo"]


def test_advi_stopped_early_has_not_converged(rng):
    """A long run has: see `test_advi_elbo_is_just_below_the_evidence`."""
    x = rng.standard_normal((60, 2)) + np.repeat([[0.0, 0.0], [20.0, 0.0]], 30, axis=0)
    family, allocation = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)
    within = {"means": np.array([[[-1.0, -1.0], [0.0, 0.0]]]), "covariances": np.array([[np.eye(2) / 10, np.eye(2)]])}
    start = fit_of(family, allocation, np.array([[0.5, 0.5]]), within)
    with pytest.warns(ConvergenceWarning, match="the ELBO had not settled"):
        fit = advi.fit(x, family, allocation, steps=400, restarts=1, start=start, rng=rng)
    assert not fit.converged
    best = cavi.fit(x, family, allocation, rng=rng).bound[-1]
    assert best - fit.info["elbo"] > 1  # nats that it is short of
    assert fit.info["rise"] > 1


@pytest.mark.parametrize(("below", "converged"), [(0.0, True), (0.05, True), (0.2, False)])
def test_advi_judges_the_objective_to_a_tenth_of_a_nat(below, converged, rng):
    """The target is standard normal; an average on the way is off by so many nats."""
    mean = np.zeros((1, 2, 2))
    mean[0, 1, 0] = np.sqrt(2 * below)
    ends = vi.Ends(np.zeros((1, 500)), mean, np.tile(np.eye(2), (1, 2, 1, 1)), rng.standard_normal((4000, 2)))
    settings = {"rank": "meanfield", "steps": 500, "learning_rate": 0.01, "restarts": 1}
    model = Gaussian.from_data(rng.standard_normal((9, 2)), 1), Dirichlet.symmetric(1)
    with contextlib.nullcontext() if converged else pytest.warns(ConvergenceWarning):
        fit = advi._result(
            ends,
            lambda v: -(v**2).sum(1) / 2 - np.log(2 * np.pi),
            lambda v: {"weights": np.ones((len(v), 1)), "means": v[:, None]},
            *model,
            settings,
        )
    assert fit.converged == converged
    assert abs(fit.info["rise"] - below) <= 4 * fit.info["rise_se"]
    assert fit.info["elbo"] == pytest.approx(0, abs=1e-12)


def test_advi_names_a_loss_that_is_not_a_number(one_cluster):
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        advi.fit(*one_cluster, steps=200, learning_rate=1e6, rng=np.random.default_rng(0))


def test_unknown_choices_are_named(one_cluster):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="numpyro, nutpie, pymc"):
        nuts.fit(*one_cluster, sampler="stan", rng=rng)
    with pytest.raises(ValueError, match="meanfield, fullrank"):
        advi.fit(*one_cluster, rank="low", rng=rng)
    with pytest.raises(ValueError, match="at least 1"):
        nuts.fit(*one_cluster, draws=0, rng=rng)
    with pytest.raises(ValueError, match="at least 200 steps"):
        advi.fit(*one_cluster, steps=10, rng=rng)


def test_compiled_once_they_serve_all_data_of_a_shape():
    """NUTS finds the conjugate mean of two data sets; ADVI ends where it does when it is compiled for one."""
    from arviz_stats.base import array_stats

    xs = [np.random.default_rng(i).normal(5 * i, 1, (20, 1)) for i in range(2)]
    frame = np.array([[1.0], [-1.0]])
    model = Gaussian.from_data(frame, 1, m0=np.zeros(1), beta0=0.1, W0=np.eye(1)), Dirichlet.symmetric(1)
    sampler = nuts.Compiled(np.zeros((20, 1)), *model, draws=300, tune=300, chains=2)
    optimiser = advi.Compiled(np.zeros((20, 1)), *model, steps=2000, draws=500, restarts=2)
    for x in xs:
        mu = sampler.fit(x, rng=np.random.default_rng(1)).held.theta["means"][..., 0, 0]
        expected = model[0].posterior(statistics(x, model[0], np.ones((20, 1)))).m.item()
        assert abs(mu.mean() - expected) < 4.5 * mu.std() / np.sqrt(array_stats.ess(mu, method="mean"))
        found = optimiser.fit(x, rng=np.random.default_rng(2))
    alone = advi.fit(x, *model, rng=np.random.default_rng(2), steps=2000, draws=500, restarts=2)
    assert found.info["elbo"] == pytest.approx(alone.info["elbo"], abs=1e-6)
    np.testing.assert_allclose(found.held.theta["means"], alone.held.theta["means"], rtol=1e-6)


def test_nuts_on_a_chain_finds_what_the_sum_over_all_paths_has(rng):
    """The sum of the rates, which is the same whatever the states are called."""
    x = Sequences(np.array([[0], [1], [0], [9], [12], [10], [1], [0], [2.0]]), [6, 3])
    family, allocation = Poisson.from_data(x.x, 2, a0=1.0, b0=0.3), Markov.symmetric(2, 1.0, 1.0)
    fit = nuts.fit(x, family, allocation, rng=rng, draws=500, tune=500, chains=2)
    draws = fit.held.theta["rates"].sum((-2, -1)).ravel()
    reference = exact.fit(x, family, allocation).posterior.sample(20_000, rng)[1]["rates"].sum((-2, -1))
    error = np.hypot(draws.std() / np.sqrt(len(draws) / 8), reference.std() / np.sqrt(len(reference)))  # autocorrelated
    assert abs(draws.mean() - reference.mean()) < 4 * error
    assert isinstance(fit, SequenceFit)
    assert fit.held.weights.shape[2:] == (2, 3)


@pytest.mark.parametrize("steps", [7, 40, 43])
def test_loops_make_every_step_once_and_in_order(steps):
    """Of 43 steps, in parts of three, the last two are made and dropped."""
    heard = []

    def step(state, number, data):
        return state + data * number, (number, state)

    data = [np.array([1, 10])]
    loops = Loops(lambda start: start, step, steps, [np.array([0, 5])], data)
    end, (numbers, before) = loops([np.array([0, 5])], data, lambda *said: heard.append(said))
    whole = steps * (steps - 1) // 2
    np.testing.assert_array_equal(end, [whole, 5 + 10 * whole])
    np.testing.assert_array_equal(numbers, np.tile(np.arange(steps), (2, 1)))
    np.testing.assert_array_equal(before[0], np.cumsum([0, *range(steps - 1)]))
    assert counts_up_to(2 * steps, heard)


def test_loops_are_kept_on_disk_though_somebody_listens(own_cache):
    """JAX keeps no compiled function that calls back."""
    starts = [np.arange(2.0)]
    with cache.kept():
        loops = Loops(lambda start: start, lambda state, _: (state / 3, state), 50, starts)
        loops(starts, tell=lambda *_: None)
    assert len(list(own_cache.glob("*-cache"))) >= 2  # the starts, and the part of a loop


@pytest.mark.parametrize("home", ["unknown", "/proc/nothing"])
def test_without_a_folder_for_caches_nothing_is_kept_and_nothing_said(home, monkeypatch, recwarn):
    import jax

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", unknown if home == "unknown" else lambda: Path(home))
    before = jax.config.jax_compilation_cache_dir
    with cache.kept():
        assert jax.config.jax_compilation_cache_dir == before
    assert not list(recwarn)
