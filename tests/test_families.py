"""Discrete and mixed columns by all hand-written methods: published digits, equivalences, and sums over all labellings."""

import itertools
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from mixtures import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Dirichlet,
    Draws,
    Fit,
    Gaussian,
    Poisson,
    Product,
    SphericalGaussian,
)
from mixtures.ascent.states import statistics
from mixtures.datasets import DataError, load
from mixtures.methods import cavi, em, exact, gibbs

KINDS = ("bernoulli", "categorical", "poisson", "product")
every_kind = pytest.mark.parametrize("kind", KINDS)


def table(kind, n, rng, K=2):
    """Rows of two groups, with a family for K clusters whose priors are not symmetric."""
    high = rng.random((n, 1)) < 0.5
    binary = (rng.random((n, 3)) < np.where(high, 0.8, 0.2)) * 1.0
    counts = rng.poisson(np.where(high, 6.0, 1.5), (n, 2)) * 1.0
    codes = np.column_stack([rng.binomial(C - 1, np.where(high[:, 0], 0.8, 0.3)) for C in (3, 2)]) * 1.0
    if kind == "bernoulli":
        return binary, Bernoulli.from_data(binary, K, a0=1.3, b0=[1.5, 1.1, 2.0])
    if kind == "poisson":
        return counts, Poisson.from_data(counts, K, a0=[1.5, 1.2])
    if kind == "categorical":
        return codes, Categorical.from_data(codes, K, levels=[3, 2], a0=[[1.2, 1.1, 1.4], [1.3, 1.5]])
    x = np.column_stack([counts, 40 + 5 * high + rng.standard_normal((n, 2)), codes, binary[:, :1]])
    families = [Poisson, Gaussian, Categorical, Bernoulli]
    options = [{}, {"nu0": 6.0}, {"levels": [3, 2]}, {}]
    columns = [[0, 1], [3, 2], [4, 5], [6]]
    return x, Product.from_data(x, K, families=families, columns=columns, hyperparameters=options)


def test_symbols_of_a_product_stand_for_one_thing(rng):
    """Means are mu and precisions lambda: beside them probabilities and rates have letters of their own."""
    lines = table("product", 20, rng)[1].equations
    left = [line.partition(" ")[0] for line in lines if "~" in line and not line.startswith("x_")]
    assert left.count("mu_k") == 1
    assert {"theta_kd", "p_kd"} <= set(left)
    assert not {"mu_kd", "lambda_kd"} & set(left)
    assert "x_nd | z_n = k ~ Poisson(theta_kd)" in lines


# ---- published digits

CARCINOMA = {  # Linzer & Lewis (2011, J. Stat. Software 42(10), section 5.1)
    2: (-317.2568, None, None, None),
    3: (-293.7050, 633.41, 697.1357, (0.4447, 0.3736, 0.1817)),
}


@pytest.mark.parametrize("Family", [Bernoulli, Categorical])
@pytest.mark.parametrize("K", CARCINOMA)
def test_carcinoma_is_as_published(K, Family):
    x = load("carcinoma").x
    fit = em.fit(x, Family.from_data(x, K), Dirichlet.symmetric(K), rng=1)
    log_likelihood, aic, bic, shares = CARCINOMA[K]
    assert fit.converged
    assert fit.info["log_likelihood"] == pytest.approx(log_likelihood, abs=5e-5)
    if shares:
        assert fit.info["aic"] == pytest.approx(aic, abs=5e-3)
        assert fit.info["bic"] == pytest.approx(bic, abs=5e-5)
        assert np.sort(fit.held.weights[0, 0])[::-1] == pytest.approx(shares, abs=5e-5)


def test_cheating_is_as_published():
    """Linzer & Lewis (2011, section 5.2)."""
    x = load("cheating").x
    fit = em.fit(x, Categorical.from_data(x, 2), Dirichlet.symmetric(2), rng=1)
    order = np.argsort(-fit.held.weights[0, 0])
    assert fit.info["log_likelihood"] == pytest.approx(-440.0271, abs=5e-5)
    assert fit.held.weights[0, 0, order] == pytest.approx([0.8394, 0.1606], abs=5e-5)
    assert fit.held.theta["probabilities"][0, 0, order, 0, 0] == pytest.approx([0.9834, 0.4231], abs=5e-5)


def test_alzheimer_is_as_published():
    """White & Murphy (2014, J. Stat. Software 61(13)) have the data; the digits are those of an independent optimiser."""
    x = load("alzheimer").x
    one, two = (em.fit(x, Bernoulli.from_data(x, K), Dirichlet.symmetric(K), rng=1) for K in (1, 2))
    order = np.argsort(two.held.weights[0, 0])
    assert one.info["log_likelihood"] == pytest.approx(-772.924404, abs=5e-7)
    assert two.info["log_likelihood"] == pytest.approx(-749.418424, abs=5e-7)
    assert two.info["bic"] == pytest.approx(1570.085, abs=5e-4)
    assert two.held.weights[0, 0, order] == pytest.approx([0.4440, 0.5560], abs=5e-5)
    probabilities = [[0.0933, 0.8056, 0.3882, 0.6460, 0.3778, 0.9640], [0.0679, 0.5332, 0.1022, 0.1211, 0.1329, 0.5866]]
    np.testing.assert_allclose(two.held.theta["probabilities"][0, 0, order], probabilities, atol=5e-5)


def test_election_is_as_published():
    """Linzer & Lewis (2011, section 5.3): three classes, the rows without gaps."""
    data = load("election")
    x = data.x
    assert x.shape == (1311, 12)
    assert data.levels["MORALG"] == ("1 Extremely well", "2 Quite well", "3 Not too well", "4 Not well at all")
    assert len(data.index) == 1311
    fit = em.fit(x, Categorical.from_data(x, 3), Dirichlet.symmetric(3), rng=1, restarts=4)
    assert fit.info["log_likelihood"] == pytest.approx(-16714.66, abs=5e-3)
    assert fit.info["aic"] == pytest.approx(33649.32, abs=1e-2)
    assert fit.info["bic"] == pytest.approx(34218.96, abs=1e-2)


def test_london_times_deaths_are_as_published():
    """Lange (2010, Applied Probability, table 2.6): plain EM takes 5,400 steps, along which a stopping rule may stop early."""
    x, counted = np.unique(load("deaths").x, axis=0, return_counts=True)
    days = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
    np.testing.assert_array_equal(counted, days)
    one, two = (
        em.fit(x, Poisson.from_data(x, K, weights=days), Dirichlet.symmetric(K), rng=1, weights=days) for K in (1, 2)
    )
    order = np.argsort(two.held.theta["rates"][0, 0, :, 0])
    assert one.info["log_likelihood"] == pytest.approx(-2001.397847, abs=5e-7)
    assert two.info["log_likelihood"] == pytest.approx(-1989.945860, abs=5e-7)
    assert two.held.weights[0, 0, order[0]] == pytest.approx(0.359885, abs=2e-5)
    assert two.held.theta["rates"][0, 0, order, 0] == pytest.approx([1.256095, 2.663404], abs=2e-5)
    assert two.info["passes"] < 500


def test_unknown_data_and_columns_are_named():
    with pytest.raises(DataError, match="did you mean 'carcinoma'"):
        load("carcinom")
    with pytest.raises(DataError, match="FRAUD"):
        load("cheating", columns=["FRAUT"])


# ---- equivalences


def test_two_levels_make_a_categorical_a_bernoulli(rng):
    """The same posterior, bound, evidence and optimum; its default prior is the same too."""
    x, _ = table("bernoulli", 40, rng)
    allocation = Dirichlet(np.array([1.0, 2.0]))
    for options in ({}, {"a0": 1.7, "b0": 0.6}):
        ones = Bernoulli.from_data(x, 2, **options)
        levels = {"a0": [[0.6, 1.7]] * 3} if options else {}
        both = Categorical.from_data(x, 2, **levels)
        np.testing.assert_allclose(both.prior.alpha.reshape(3, 2), np.column_stack([ones.prior.b, ones.prior.a]))
        for method, more in ((em.fit, {}), (cavi.fit, {})):
            a, b = (method(x, family, allocation, rng=3, init="random", **more) for family in (ones, both))
            assert a.bound[-1] == pytest.approx(b.bound[-1], abs=1e-6)
            np.testing.assert_allclose(np.sort(a.log_predictive(x)), np.sort(b.log_predictive(x)), atol=1e-4)
        a, b = (exact.fit(x[:7], family, allocation) for family in (ones, both))
        np.testing.assert_allclose(a.info["log_evidence"], b.info["log_evidence"], rtol=1e-12)


def test_a_product_of_gaussian_columns_is_diagonal(rng):
    x = 40 + 3 * rng.standard_normal((30, 3)) * [1, 2, 5]
    W0, allocation = np.array([0.1, 0.2, 0.4]), Dirichlet.symmetric(2)
    whole = DiagonalGaussian.from_data(x, 2, W0=W0, nu0=4.0, beta0=0.3)
    options = [{"W0": w, "nu0": 4.0, "beta0": 0.3} for w in W0]
    parts = Product.from_data(x, 2, families=[SphericalGaussian] * 3, columns=[[0], [1], [2]], hyperparameters=options)
    for method in (em.fit, cavi.fit):
        a, b = (method(x, family, allocation, rng=1) for family in (whole, parts))
        np.testing.assert_allclose(a.bound[-1], b.bound[-1], rtol=1e-9)
        np.testing.assert_allclose(a.log_predictive(x), b.log_predictive(x), rtol=1e-5)
    a, b = (exact.fit(x[:7], family, allocation) for family in (whole, parts))
    np.testing.assert_allclose(a.info["log_evidence"], b.info["log_evidence"], rtol=1e-11)
    assert whole.n_free(2) == parts.n_free(2)
    draws = parts.sample(parts.posterior(np.zeros((2, 7))), 4, rng)
    assert set(draws) == {name + end for name in ("means", "variances") for end in ("", "_2", "_3")}


# ---- against brute force


@every_kind
@pytest.mark.parametrize("alpha0", [(1.5, 0.7), (1.0, 1.0, 1.0)])
def test_exact_is_the_sum_over_all_labellings(kind, alpha0, rng):
    """log p(x, z) one point after another: each the predictive probability of its label and of itself."""
    x, family = table(kind, 5, rng, len(alpha0))
    allocation = Dirichlet(np.array(alpha0))
    K, t = len(alpha0), family.features(x)
    log_joint = []
    for z in itertools.product(range(K), repeat=len(x)):
        s, total = np.zeros((K, t.shape[1])), 0.0
        for n, k in enumerate(z):
            weights = allocation.mean(allocation.posterior(s[:, 0]))
            total += np.log(weights[k]) + family.log_predictive(x[n : n + 1], family.posterior(s))[0, k]
            s[k] += t[n]
        log_joint.append(total)
    fit = exact.fit(x, family, allocation)
    assert fit.info["log_evidence"][-1] == pytest.approx(logsumexp(log_joint), rel=1e-11)
    p = np.exp(np.array(log_joint) - logsumexp(log_joint))
    z = np.array(list(itertools.product(range(K), repeat=len(x))))
    together = np.einsum("z,znm->nm", p, z[:, :, None] == z[:, None, :])
    np.testing.assert_allclose(fit.info["coclustering"], together, atol=1e-12)


@every_kind
def test_bounds_are_below_the_evidence_and_never_fall(kind, rng):
    x, family = table(kind, 9, rng)
    allocation = Dirichlet(np.array([1.5, 2.0]))
    evidence = exact.fit(x, family, allocation).info["log_evidence"][-1]
    fit = cavi.fit(x, family, allocation, rng=1)
    assert evidence - 12 < fit.bound[-1] < evidence
    x, family = table(kind, 60, rng)
    for run in (
        em.fit(x, family, allocation, rng=1, accelerate=False),
        em.fit(x, family, allocation, rng=1, prior=True, accelerate=False),
        cavi.fit(x, family, allocation, rng=1, accelerate=False),
    ):
        assert run.converged
        assert len(run.bound) > 3
        assert np.diff(run.bound).min() > -1e-9 * len(x)


@every_kind
def test_the_objective_of_em_is_the_log_likelihood(kind, rng):
    x, family = table(kind, 60, rng)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=1)
    np.testing.assert_allclose(fit.log_predictive(x).sum(), fit.bound[-1], rtol=1e-9)
    np.testing.assert_allclose(fit.info["log_likelihood"], fit.bound[-1], rtol=1e-9)
    r = fit.responsibilities(x)
    entropy = -(r * np.log(np.maximum(r, 1e-300))).sum()
    assert fit.info["icl"] - fit.info["bic"] == pytest.approx(2 * entropy, abs=1e-4)


@every_kind
def test_gibbs_finds_the_exact_posterior(kind, rng):
    x, family = table(kind, 8, rng)
    allocation = Dirichlet(np.array([1.2, 1.2]))
    truth = exact.fit(x, family, allocation)
    fit = gibbs.fit(x, family, allocation, rng=5, draws=1000, tune=60, walkers=16)
    theirs = fit.log_predictive(x)
    r = np.concatenate([stats_of for _, stats_of in _indicators(fit, x)], axis=1)
    together = np.einsum("snk,smk->nm", r, r) / len(r)
    off = ~np.eye(len(x), dtype=bool)
    assert np.abs(together - truth.info["coclustering"])[off].max() < 0.06
    np.testing.assert_allclose(theirs, truth.log_predictive(x), atol=0.06)
    assert fit.sample_stats["lp"].mean() < truth.info["log_evidence"][-1]


def _indicators(fit, x):
    from mixtures.engines.responsibilities import normalise_draws

    return ((rows, normalise_draws(log_rho)[1]) for rows, log_rho in fit.log_rho(x))


@every_kind
def test_predictive_probabilities_are_those_of_draws(kind, rng):
    x, family = table(kind, 30, rng)
    fit = cavi.fit(x, family, Dirichlet.symmetric(2), rng=1)
    drawn = fit.as_draws(1, 4000, rng)
    np.testing.assert_allclose(fit.log_predictive(x), drawn.log_predictive(x), atol=0.1)
    new, labels = fit.sample(500, rng)
    assert new.shape == (500, x.shape[1])
    assert set(labels) <= {0, 1}
    assert np.isfinite(fit.log_predictive(new)).all()
    posterior = fit.draws(3, rng)["posterior"]
    assert set(posterior.data_vars) == {"weights", *family.dims}


def test_predictive_probabilities_sum_to_one(rng):
    """Over all binary patterns, all pairs of codes, and counts up to where nothing is left."""
    for kind, points in (
        ("bernoulli", itertools.product((0, 1), repeat=3)),
        ("categorical", itertools.product(range(3), range(2))),
        ("poisson", itertools.product(range(250), repeat=2)),
    ):
        x, family = table(kind, 30, rng)
        every = np.array(list(points), float)
        for fit in (
            em.fit(x, family, Dirichlet.symmetric(2), rng=1),
            cavi.fit(x, family, Dirichlet.symmetric(2), rng=1),
        ):
            assert logsumexp(fit.log_predictive(every)) == pytest.approx(0, abs=1e-6)


def test_leaving_one_out_is_refitting(rng):
    x, family = table("poisson", 14, rng)
    fit = cavi.fit(x, family, Dirichlet.symmetric(2), rng=1)
    quick = cavi.leave_one_out(fit, x, tol=1e-10)
    for n in (0, 7):
        rest = np.delete(x, n, axis=0)
        again = cavi.fit(rest, family, Dirichlet.symmetric(2), rng=1, init=fit, tol=1e-12)
        assert quick[n] == pytest.approx(again.log_predictive(x[n : n + 1])[0], abs=1e-4)


# ---- the boundary


def test_an_unseen_value_is_impossible_after_maximum_likelihood():
    x = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 1, 0]], float)
    new = np.array([[1, 0, 0], [0, 0, 1]], float)
    for Family in (Bernoulli, Categorical):
        family, allocation = Family.from_data(x, 2), Dirichlet.symmetric(2)
        point = em.fit(x, family, allocation, rng=1)
        assert np.isneginf(point.log_predictive(new)[0])
        assert np.isfinite(point.log_predictive(x)).all()
        assert np.isneginf(point.log_likelihood(new)[0, 0, 0])
        r = point.responsibilities(new)
        assert np.isfinite(r).all()
        np.testing.assert_allclose(r.sum(1), 1)
        assert np.isfinite(cavi.fit(x, family, allocation, rng=1).log_predictive(new)).all()
    counts = np.array([[0, 3], [0, 5], [0, 0], [0, 4]], float)
    point = em.fit(counts, Poisson.from_data(counts, 1, b0=1.0), Dirichlet.symmetric(1), rng=1)
    np.testing.assert_array_equal(point.log_predictive(np.array([[1.0, 3.0]])), [-np.inf])
    assert np.isfinite(point.log_predictive(counts)).all()


def test_a_cluster_in_which_a_row_is_impossible_has_no_part_in_it():
    """Many features hide a zero: the impossible cluster would be likelier if log 0 were -690."""
    D = 40
    mu = np.full((2, D), 1e-12)
    mu[1] = 1 - 1e-12
    mu[1, 0] = 0.0
    family = Bernoulli.from_data(np.eye(2, D), 2)
    fit = Fit(
        "any",
        "point",
        family,
        Dirichlet.symmetric(2),
        Draws(np.array([[[0.5, 0.5]]]), {"probabilities": mu[None, None]}),
        np.empty(0),
        True,
        {},
    )
    x = np.ones((1, D))
    np.testing.assert_allclose(fit.responsibilities(x), [[1.0, 0.0]])
    assert fit.log_predictive(x)[0] == pytest.approx(np.log(0.5) + D * np.log(1e-12), rel=1e-9)


def test_starts_do_not_rule_values_out():
    """A start that puts each row in one cluster has probabilities of zero, which EM never leaves: no such start gets there."""
    x = load("carcinoma").x
    family = Bernoulli.from_data(x, 3)
    ends = [em.fit(x, family, Dirichlet.symmetric(3), rng=seed, restarts=1).bound[-1] for seed in range(6)]
    assert np.sum(np.array(ends) > -293.7051) >= 3


def test_the_mode_of_the_default_prior_is_inside():
    x = load("carcinoma").x
    fit = em.fit(x, Bernoulli.from_data(x, 3), Dirichlet.symmetric(3), rng=1, prior=True)
    assert 0 < fit.held.theta["probabilities"].min() < fit.held.theta["probabilities"].max() < 1
    point = em.fit(x, Bernoulli.from_data(x, 3), Dirichlet.symmetric(3), rng=1)
    assert point.held.theta["probabilities"].min() < 1e-6


# ---- rows, weights, batches, many data sets


class Blocks:
    def __init__(self, x, weights=None):
        self.x, self.weights = x, weights

    def __iter__(self):
        for start in range(0, len(self.x), 7):
            rows = slice(start, start + 7)
            yield self.x[rows] if self.weights is None else (self.x[rows], self.weights[rows])


def from_rows(family, x, K, **more):
    if isinstance(family, Product):
        families = [type(part) for part in family.parts]
        return Product.from_data(x, K, families=families, columns=family.columns, **more)
    return type(family).from_data(x, K, **more)


@every_kind
def test_weights_are_repeated_rows_and_blocks_are_rows(kind, rng):
    x, family = table(kind, 30, rng)
    counts = rng.integers(1, 4, 30)
    repeated = np.repeat(x, counts, axis=0)
    start = rng.dirichlet([1, 1], 30)
    families = [
        from_rows(family, repeated, 2),
        from_rows(family, x, 2, weights=counts * 1.0),
        from_rows(family, Blocks(x, counts * 1.0), 2),
    ]
    runs = [
        (repeated, None, np.repeat(start, counts, axis=0)),
        (x, counts * 1.0, start),
        (Blocks(x, counts * 1.0), None, start),
    ]
    for method in (em.fit, cavi.fit):
        fits = [
            method(rows, own, Dirichlet.symmetric(2), rng=1, weights=w, init=init)
            for own, (rows, w, init) in zip(families, runs, strict=True)
        ]
        for other in fits[1:]:
            np.testing.assert_allclose(other.bound[-1], fits[0].bound[-1], rtol=1e-8)
            np.testing.assert_allclose(other.log_predictive(x), fits[0].log_predictive(x), atol=1e-3)
    log_likelihood = [
        em.fit(r, f, Dirichlet.symmetric(2), rng=1, weights=w, init=i).info["log_likelihood"]
        for f, (r, w, i) in zip(families, runs, strict=True)
    ]
    np.testing.assert_allclose(log_likelihood, log_likelihood[0], rtol=1e-8)


@every_kind
def test_batches_lead_where_all_rows_do(kind, rng):
    x, family = table(kind, 600, rng)
    allocation = Dirichlet.symmetric(2)
    whole = cavi.fit(x, family, allocation, rng=1)
    for method, options in ((cavi.partial_fit, {}), (em.partial_fit, {"prior": True})):
        learned = None
        for start in range(0, 600, 100):
            learned = method(x[start : start + 100], family, allocation, rng=1, previous=learned, **options)
        assert abs(learned.log_predictive(x).mean() - whole.log_predictive(x).mean()) < 0.05


@every_kind
def test_many_data_sets_are_fitted_as_each_alone(kind, rng):
    xs = [table(kind, 25, rng)[0] for _ in range(3)]
    levels = {"levels": [3, 2]}
    families = []
    for x in xs:
        more = {"product": {"hyperparameters": [{}, {}, levels, {}]}, "categorical": levels}.get(kind, {})
        families.append(from_rows(table(kind, 25, rng)[1], x, 2, **more))
    allocation = Dirichlet.symmetric(2)
    for module, options in ((em, {}), (em, {"prior": True}), (cavi, {})):
        together = module.fit_many(xs, families, allocation, rng=[1, 2, 3], restarts=3, **options)
        for x, family, fit, seed in zip(xs, families, together, (1, 2, 3), strict=True):
            alone = module.fit(x, family, allocation, rng=seed, restarts=3, **options)
            np.testing.assert_allclose(fit.bound[-1], alone.bound[-1], rtol=1e-7)
            np.testing.assert_allclose(fit.log_predictive(x).sum(), alone.log_predictive(x).sum(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "poisson"])
def test_the_compiled_engine_computes_the_same(kind, rng):
    x, family = table(kind, 500, rng)
    fits = [
        em.fit(x, family, Dirichlet.symmetric(2), rng=1, engine=engine, restarts=2) for engine in ("plain", "fused")
    ]
    assert fits[0].bound[-1] == pytest.approx(fits[1].bound[-1], rel=1e-10)


# ---- defaults, and what is refused


def test_default_priors_are_as_stated(rng):
    """One plus 1/K of an observation spread as the data are; for counts, exponential with their mean."""
    binary, counts = table("bernoulli", 40, rng)[0], table("poisson", 40, rng)[0]
    codes = table("categorical", 40, rng)[0]
    p = Bernoulli.from_data(binary, 4).prior_in_data_units()
    np.testing.assert_allclose(p["a0"], 1 + binary.mean(0) / 4)
    np.testing.assert_allclose(p["b0"], 1 + (1 - binary.mean(0)) / 4)
    a0 = Categorical.from_data(codes, 4).prior_in_data_units()["a0"]
    np.testing.assert_allclose(a0[0], 1 + np.bincount(codes[:, 0].astype(int), minlength=3) / 160)
    np.testing.assert_allclose(a0[1], np.append(1 + np.bincount(codes[:, 1].astype(int)) / 160, 0))
    p = Poisson.from_data(counts, 4).prior_in_data_units()
    np.testing.assert_allclose(p["a0"], 1)
    np.testing.assert_allclose(p["b0"], 1 / counts.mean(0))


def test_the_row_of_a_wrong_value_is_counted_over_blocks():
    x = np.zeros((20, 2))
    x[17, 1] = 0.5
    with pytest.raises(ValueError, match=r"x is 0\.5 in row 17, feature 1"):
        Bernoulli.from_data(Blocks(x), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bernoulli.from_data(np.array([[0.0, 1], [2, 0]]), 2), r"x is 2 in row 1, feature 0; expected 0 or 1"),
        (lambda: Bernoulli.from_data(np.eye(2), 2, a0=0.0), "a0 is 0.0; expected one positive"),
        (lambda: Bernoulli.from_data(np.eye(2), 2, b0=[1.0, 2.0, 3.0]), "or 2, one a feature"),
        (lambda: Bernoulli.from_data(np.eye(2), 0), "at least 1"),
        (lambda: Poisson.from_data(np.array([[1.0], [-1]]), 2), "x is -1 in row 1, feature 0; expected a count"),
        (lambda: Poisson.from_data(np.array([[1.0], [1.5]]), 2), "x is 1.5 in row 1, feature 0; expected a count"),
        (lambda: Poisson.from_data(np.array([[1.0, 0], [2, 0]]), 2), "feature 1 is 0 in all rows"),
        (
            lambda: Categorical.from_data(np.array([[0.0], [3]]), 2, levels=[3]),
            "x is 3 in row 1, feature 0; expected a code",
        ),
        (lambda: Categorical.from_data(np.array([[0.0], [0.5]]), 2), "x is 0.5 in row 1"),
        (lambda: Categorical.from_data(np.eye(2), 2, levels=[2]), "expected 2 positive numbers"),
        (lambda: Categorical.from_data(np.eye(2), 2, a0=[[1.0], [1.0, 1.0]]), r"a0 has \[1, 2\] numbers"),
        (lambda: Categorical.from_data(np.eye(2), 2, a0=-1.0), "expected positive numbers"),
        (lambda: Bernoulli.from_data(np.array([[0.0], [np.nan]]), 2), "missing or infinite"),
        (lambda: Product.from_data(np.eye(2), 2, families=[Bernoulli], columns=[[0]]), "each must belong to one part"),
        (lambda: Product.from_data(np.eye(2), 2, families=[Bernoulli], columns=[[0], [1]]), "as many of each"),
    ],
)
def test_unusable_data_and_hyperparameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("Family", "theta", "message"),
    [
        (
            Bernoulli,
            {"probabilities": [[0.5], [1.5]]},
            "probabilities reach from 0.5 to 1.5; expected numbers from 0 to 1",
        ),
        (Bernoulli, {"probabilities": [[0.5], [np.nan]]}, "expected numbers from 0 to 1"),
        (Categorical, {"probabilities": [[[0.5, 0.5]], [[-0.5, 1.5]]]}, "probabilities reach from -0.5 to 1.5"),
        (
            Categorical,
            {"probabilities": [[[0.5, 0.5]], [[0.5, 0.6]]]},
            "cluster 1, feature 0 sum to 1.1; expected 1, to wit",
        ),
        (Poisson, {"rates": [[1.0], [-2.0]]}, "rates reach from -2 to 1; expected finite numbers of at least 0"),
        (Poisson, {"rates": [[1.0], [np.inf]]}, "rates reach from 1 to inf; expected finite numbers"),
    ],
)
def test_points_are_drawn_from_probabilities_and_rates_alone(Family, theta, message):
    family = Family.from_data(np.array([[0.0], [1.0]]), 2)
    with pytest.raises(ValueError, match=message):
        family.simulate({name: np.array(values) for name, values in theta.items()}, np.array([0, 1]), 1)


def test_new_rows_must_have_known_levels(rng):
    x, family = table("categorical", 30, rng)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=1)
    with pytest.raises(ValueError, match="code below the number of levels"):
        fit.log_predictive(np.array([[2.0, 2.0]]))
    with pytest.raises(ValueError, match="3 columns; the model has 2"):
        fit.log_predictive(np.zeros((1, 3)))
    x, family = table("bernoulli", 30, rng)
    with pytest.raises(ValueError, match="a variance; no feature of the bernoulli family has one"):
        em.fit(x, family, Dirichlet.symmetric(2), rng=1, reg_covar=0.1)


@pytest.mark.parametrize("Family", [Bernoulli, Categorical, Poisson])
def test_unbounded_posteriors_have_no_mode(Family):
    family = Family.from_data(np.eye(2), 1, a0=0.5)
    with pytest.raises(ValueError, match="MAP needs a0"):
        family.mode(statistics(np.eye(2), family, np.ones((2, 1))))


def test_small_concentrations_are_drawn(rng):
    """Gamma variates below the smallest number: draws still sum to one, and half are at either end."""
    family = Categorical.from_data(np.eye(2), 1, a0=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mu = family.sample(family.posterior(np.zeros((1, 5))), 4000, rng)["probabilities"]
    np.testing.assert_allclose(mu.sum(-1), 1, rtol=1e-12)
    assert abs(mu[:, 0, 0, 0].mean() - 0.5) < 4.5 * 0.5 / np.sqrt(4000)
    assert stats.binomtest(int((mu[:, 0, 0, 0] > 0.999).sum()), 4000, 0.5).pvalue > 1e-5
