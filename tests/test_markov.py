"""Hidden Markov models: the allocation, every method on it, and digits that others have published."""

import pickle
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import logsumexp
from test_conformance import FAMILIES, every_family, problem
from test_sequences import chain, enumerated, paths

from mixtures import (
    Bernoulli,
    Categorical,
    CollapseError,
    Dirichlet,
    Gaussian,
    Markov,
    Poisson,
    Product,
    Sequences,
    TiedGaussian,
)
from mixtures.allocations.stationary import stationary
from mixtures.ascent.segments import segments
from mixtures.datasets import load_series
from mixtures.engines.passes import one_pass
from mixtures.labels import align
from mixtures.methods import cavi, em, exact, gibbs
from mixtures.sequences import given

ALLOCATIONS = [
    Markov.symmetric(3),
    Markov.symmetric(3, 0.5, 2.0, sticky=3.0),
    Markov(np.array([0.5, 2.0, 1.2]), np.array([[1.0, 2.0, 0.3], [4.0, 1.5, 1.0], [0.7, 0.7, 2.2]])),
]
every_chain = pytest.mark.parametrize("allocation", ALLOCATIONS, ids=["flat", "sticky", "uneven"])


def random_counts(rng, *shape):
    return rng.gamma(1.0, 3.0, (*shape, 3, 4))


@every_chain
def test_expected_natural_is_the_gradient_of_the_log_marginal(allocation, rng):
    counts = random_counts(rng)
    exact = allocation.expected_natural(allocation.posterior(counts))
    for index in np.ndindex(*counts.shape):
        step = np.zeros_like(counts)
        step[index] = 1e-5
        rise = allocation.log_marginal(counts + step) - allocation.log_marginal(counts - step)
        assert rise / 2e-5 == pytest.approx(exact[index], rel=1e-5, abs=1e-5)


@every_chain
def test_draws_have_the_moments_of_the_posterior(allocation, rng):
    q = allocation.posterior(random_counts(rng))
    w = allocation.sample(q, 20_000, rng)
    np.testing.assert_allclose(w[..., 1:].sum(-1), 1)
    np.testing.assert_allclose(w[..., 0].sum(-1), 1)
    for drawn, expected in ((w, allocation.mean(q)), (allocation.natural(w), allocation.expected_natural(q))):
        assert np.abs((drawn.mean(0) - expected) / drawn.std(0) * np.sqrt(len(w))).max() < 5


@every_chain
def test_bayes_rule_holds_for_start_and_transitions(allocation, rng):
    counts = random_counts(rng)
    q = allocation.posterior(counts)
    w = allocation.sample(q, 1, rng)[0]
    joint = (counts * allocation.natural(w)).sum() + allocation.log_prior(w)
    assert allocation.log_density(w, q) == pytest.approx(joint - allocation.log_marginal(counts), rel=1e-9)
    expected = stats.dirichlet(allocation.alpha0).logpdf(w[:, 0])
    expected += sum(stats.dirichlet(a).logpdf(row) for a, row in zip(allocation.a0, w[:, 1:], strict=True))
    assert allocation.log_prior(w) == pytest.approx(expected, rel=1e-9)


def test_the_log_marginal_is_that_of_a_path(rng):
    """Polya urns, one step after another."""
    allocation, z = ALLOCATIONS[2], rng.integers(3, size=9)
    rows = Sequences(np.zeros((9, 1)), [4, 5])
    urn, total = allocation.prior.copy(), 0.0
    for own in rows.slices():
        total += np.log(urn[z[own][0], 0] / urn[:, 0].sum())
        urn[z[own][0], 0] += 1
        for j, k in pairwise(z[own]):
            total += np.log(urn[j, 1 + k] / urn[j, 1:].sum())
            urn[j, 1 + k] += 1
    assert allocation.log_marginal(allocation.labelled(z, rows, 3)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("start", ["free", "stationary"])
def test_the_peak_of_starts_and_transitions(start, rng):
    """Against a general optimiser over the logits."""
    allocation, counts = Markov.symmetric(3, 1.5, 1.3, start=start), random_counts(rng, 2)
    found = allocation.maximum_likelihood(counts)
    np.testing.assert_allclose(found[0], allocation.maximum_likelihood(counts[0]), rtol=1e-9)

    def loss(logits, c):
        a = np.exp(logits.reshape(4, 3))
        a /= a.sum(1, keepdims=True)
        first = a[0] if start == "free" else stationary(a[1:])
        return -(c[:, 0] * np.log(first)).sum() - (c[:, 1:] * np.log(a[1:])).sum()

    for c, ours in zip(counts, found, strict=True):
        value = -(c * np.log(ours)).sum()
        best = optimize.minimize(loss, np.zeros(12), args=(c,), tol=1e-12)
        assert value == pytest.approx(best.fun, rel=1e-7)
        if start == "stationary":
            np.testing.assert_allclose(ours[:, 0] @ ours[:, 1:], ours[:, 0], rtol=1e-9)


def test_the_mode_has_the_largest_posterior_density(rng):
    for start in ("free", "stationary"):
        allocation, counts = Markov.symmetric(3, 1.5, 1.3, start=start), random_counts(rng)
        peak = allocation.mode(counts)
        value = (counts * np.log(peak)).sum() + allocation.log_prior(peak)
        for _ in range(50):
            way = rng.dirichlet(np.ones(3), 4).T
            near = 0.99 * peak + 0.01 * way
            near[:, 1:] = 0.99 * peak[:, 1:] + 0.01 * rng.dirichlet(np.ones(3), 3)
            if start == "stationary":
                near[:, 0] = stationary(near[:, 1:])
            assert (counts * np.log(near)).sum() + allocation.log_prior(near) < value


def series(K, n, rng, D=1, stay=0.9):
    """Gaussian points whose state stays with this probability, and the states."""
    z = np.zeros(n, dtype=int)
    for t in range(1, n):
        z[t] = z[t - 1] if rng.random() < stay else rng.integers(K)
    return 3.0 * z[:, None] + rng.standard_normal((n, D)), z


METHODS = {
    "em": em.fit,
    "map": lambda *args, **options: em.fit(*args, prior=True, **options),
    "cavi": cavi.fit,
}


@pytest.mark.parametrize("method", METHODS)
@every_family
def test_every_family_climbs_and_knows_its_likelihood(Family, method, rng):
    """The bound never falls (the loop raises where it does), and at its end it is what the fit says of the data."""
    family, _, _, x = problem(1, 2, rng, n=45, Family=Family)
    rows = Sequences(x, [20, 1, 24])
    fit = METHODS[method](rows, family, Markov.symmetric(2, 1.5, 1.5), rng=rng, restarts=3, tol=1e-7)
    assert np.isfinite(fit.bound).all()
    assert fit.converged
    r = fit.responsibilities(rows)
    np.testing.assert_allclose(r.sum(1), 1, rtol=1e-9)
    if method == "em":
        assert fit.log_likelihood(rows).sum() == pytest.approx(fit.info["log_likelihood"], rel=1e-9)
        assert fit.log_predictive(rows).sum() == pytest.approx(fit.info["log_likelihood"], rel=1e-9)


@every_family
def test_the_bound_is_below_the_evidence(Family, rng):
    """Of all paths of a short series, with every constant kept; the gap is more than log K! for two modes alike."""
    family, _, _, x = problem(1, 2, rng, n=20, Family=Family)
    allocation, rows = Markov.symmetric(2, 0.8, 0.6, sticky=1.0), Sequences(x[:7], [5, 2])
    log_joint = joint_of_paths(family, allocation, rows)
    fit = cavi.fit(rows, family, allocation, rng=rng, restarts=4)
    evidence = logsumexp(log_joint)
    assert evidence - 8 < fit.bound[-1] < evidence


def joint_of_paths(family, allocation, rows):
    """log p(x, z) of all paths, parameters integrated out, by the chain rule of predictive densities."""
    z = paths(len(rows), allocation.n_components)
    t, one_hot = family.features(rows.x), np.eye(allocation.n_components)[z]
    log_p = family.log_marginal(one_hot.swapaxes(1, 2) @ t) + family.log_base(rows.x).sum()
    return log_p + allocation.log_marginal(allocation.labelled(z, rows, allocation.n_components))


def test_a_chain_without_memory_is_a_mixture(rng):
    """Equal rows of A, also equal to the start: every quantity is that of the mixture with these weights."""
    x, _ = series(2, 50, rng)
    family, weights = Gaussian.from_data(x, 2), np.array([0.3, 0.7])
    mixture = em.fit(x, family, Dirichlet.symmetric(2), rng=rng)
    theta = {name: v[0, 0] for name, v in family.to_data(mixture.held.theta).items()}
    fit = given(family, Markov.symmetric(2), weights, np.tile(weights, (2, 1)), theta)
    from dataclasses import replace

    from mixtures import Draws

    same = replace(mixture, posterior=Draws(weights[None, None], mixture.held.theta))
    np.testing.assert_allclose(fit.responsibilities(x), same.responsibilities(x), atol=1e-10)
    np.testing.assert_allclose(fit.filtered(x), same.responsibilities(x), atol=1e-10)
    np.testing.assert_allclose(fit.log_predictive(x), same.log_predictive(x), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_names_of_states_do_not_matter(method, rng):
    """Data and a start with states renamed give the fit with states renamed."""
    x, z = series(3, 60, rng)
    family, allocation, order = Gaussian.from_data(x, 3), Markov.symmetric(3, 1.2, 1.1), np.array([2, 0, 1])
    first = METHODS[method](x, family, allocation, rng=rng, init=z)
    second = METHODS[method](x, family, allocation, rng=rng, init=np.argsort(order)[z])
    assert first.bound[-1] == pytest.approx(second.bound[-1], rel=1e-12)
    np.testing.assert_allclose(first.responsibilities(x)[:, order], second.responsibilities(x), atol=1e-6)
    moved = align(second, first.responsibilities(x), x).fit
    np.testing.assert_allclose(moved.responsibilities(x), first.responsibilities(x), atol=1e-6)
    if method != "cavi":
        ours, theirs = moved.held.weights, first.held.weights
    else:
        ours, theirs = moved.posterior.alpha, first.posterior.alpha
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_states_are_recovered(rng):
    x, z = series(3, 400, rng, D=2, stay=0.95)
    for method in METHODS.values():
        fit = method(Sequences(x, [150, 250]), Gaussian.from_data(x, 3), Markov.symmetric(3), rng=rng, restarts=4)
        path = fit.viterbi(x).states
        assert max(np.mean(np.array(order)[path] == z) for order in permutations(range(3))) > 0.95


@pytest.mark.robustness("numbers")
def test_a_start_in_which_a_state_empties_is_dropped_and_counted(rng):
    x = np.concatenate([np.linspace(-3, 3, 20), np.full(10, 7.0)])[:, None]
    with pytest.raises(CollapseError, match="all 4 starts"):
        em.fit(x, Gaussian.from_data(x, 2), Markov.symmetric(2), rng=rng, restarts=4)
    y, _ = series(2, 60, rng)
    fit = em.fit(y, Gaussian.from_data(y, 6), Markov.symmetric(6), rng=rng, restarts=12)
    assert fit.info["collapsed"] + fit.info["reached"] <= 12
    assert np.isfinite(fit.held.weights).all()
    np.testing.assert_allclose(fit.held.weights[0, 0, :, 1:].sum(1), 1)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize(("K", "lengths"), [(1, [12]), (3, [1] * 12), (3, [2] * 6), (4, [12])])
@pytest.mark.parametrize("method", METHODS)
def test_short_sequences_and_one_state(method, K, lengths, rng):
    x = rng.poisson(4, (12, 1)) * 1.0
    fit = METHODS[method](Sequences(x, lengths), Poisson.from_data(x, K), Markov.symmetric(K), rng=rng, restarts=3)
    tree = fit.draws(5, rng)["posterior"]
    np.testing.assert_allclose(tree["transitions"].sum("cluster_"), 1, rtol=1e-9)
    np.testing.assert_allclose(tree["initial"].sum("cluster"), 1, rtol=1e-9)


@pytest.mark.robustness("numbers")
def test_a_state_that_ends_every_sequence_has_no_row_of_zeros(rng):
    """Next to nothing was counted that leaves it; where nothing was, its row of A is any, and taken as even."""
    x = np.tile([0.0, 0.0, 40.0], 8)[:, None]
    fit = em.fit(Sequences(x, [3] * 8), Poisson.from_data(x, 2), Markov.symmetric(2), rng=rng)
    np.testing.assert_allclose(fit.held.weights[0, 0, :, 1:].sum(1), 1)
    peak = Markov.symmetric(2).maximum_likelihood(np.array([[8.0, 8.0, 8.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(peak, [[1, 0.5, 0.5], [0, 0.5, 0.5]])


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(2), np.ones((2, 3))), r"expected \(K,\) and \(K, K\)"),
        ((np.array([1.0, 0.0]), np.ones((2, 2))), "alpha0 is"),
        ((np.ones(2), np.array([[1.0, np.nan], [1.0, 1.0]])), "a0 is"),
        ((np.ones(2), np.ones((2, 2)), "equal"), "free or stationary"),
    ],
)
def test_priors_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Markov(*arguments)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("initial", "transitions", "message"),
    [
        ([0.5, 0.4], [[0.5, 0.5], [0.5, 0.5]], "the sum of initial is 0.9; expected 1"),
        ([0.5, 0.5], [[0.5, 0.5], [0.0, 0.0]], "row 1 of transitions sums to 0; expected 1"),
        ([0.5, 0.5], [[0.5, 0.7], [0.5, 0.5]], "row 0 of transitions sums to 1.2; expected 1"),
        ([1.5, -0.5], [[0.5, 0.5], [0.5, 0.5]], "expected probabilities, at least 0"),
        ([1.0], [[0.5, 0.5], [0.5, 0.5]], r"initial has shape \(1,\); expected \(2,\)"),
        ([0.5, 0.5], [0.5, 0.5], r"transitions has shape \(2,\)"),
        ([0.5, np.nan], [[0.5, 0.5], [0.5, 0.5]], "expected probabilities"),
    ],
)
def test_parameters_that_are_no_probabilities_are_refused(initial, transitions, message):
    family = Poisson.from_data(np.arange(5.0)[:, None], 2)
    with pytest.raises(ValueError, match=message):
        given(family, Markov.symmetric(2), initial, transitions, {"rates": [[1.0], [2.0]]})


@pytest.mark.robustness("errors")
def test_what_a_chain_cannot_do_is_said(rng):
    x, _ = series(2, 20, rng)
    family = Gaussian.from_data(x, 2)
    with pytest.raises(ValueError, match=r"no conjugate posterior: the bound of CAVI would need E\[log pi\(A\)\]"):
        cavi.fit(x, family, Markov.symmetric(2, start="stationary"), rng=rng)
    with pytest.raises(ValueError, match=r"expected \(2,\), one a sequence"):
        em.fit(Sequences(x, [10, 10]), family, Markov.symmetric(2), rng=rng, weights=np.ones(20))
    with pytest.raises(ValueError, match="concentrations of at least 1"):
        em.fit(x, family, Markov.symmetric(2, a0=0.5), rng=rng, prior=True)
    gap = x.copy()
    gap[7] = np.nan
    with pytest.raises(ValueError, match="missing or infinite values, the first in row 7"):
        em.fit(gap, family, Markov.symmetric(2), rng=rng)
    with pytest.raises(ValueError, match="steps is 0"):
        em.fit(x, family, Markov.symmetric(2), rng=rng).forecast(x, 0)


def test_gibbs_keeps_the_gaps_of_a_series_and_says_which_it_cannot_draw(rng):
    x = rng.poisson(4, (8, 1)) * 1.0
    x[3] = np.nan
    family, allocation = Poisson.from_data(x, 2, missing=True), EXACT[0]
    fit = gibbs.fit(x, family, allocation, rng=rng, draws=200, tune=20, walkers=4)
    log_joint = joint_of_paths(family, allocation, Sequences(x))
    p = np.exp(log_joint - logsumexp(log_joint))
    batches = fit.sample_stats["lp"].reshape(-1, 50).mean(1)
    assert abs(batches.mean() - p @ log_joint) < 4 * batches.std() / np.sqrt(len(batches))
    y = rng.standard_normal((12, 2))
    y[4, 0] = np.nan
    with pytest.raises(ValueError, match="not drawn in sequences"):
        gibbs.fit(y, Gaussian.from_data(y, 2, missing=True), Markov.symmetric(2), rng=rng)


def test_weights_of_sequences_are_repetitions(rng):
    x, _ = series(2, 60, rng)
    family = Gaussian.from_data(x, 2)
    rows, again = Sequences(x, [20, 40]), Sequences(x[[*range(20)] * 3 + [*range(20, 60)]], [20, 20, 20, 40])
    init = np.array([[0.0], [3.0]])
    weighted = em.fit(rows, family, Markov.symmetric(2), rng=rng, weights=np.array([3.0, 1.0]), init=init)
    repeated = em.fit(again, family, Markov.symmetric(2), rng=rng, init=init)
    assert weighted.bound[-1] == pytest.approx(repeated.bound[-1], rel=1e-8)


def test_learning_from_batches_of_sequences(rng):
    x, _ = series(2, 400, rng)
    family, learned = Gaussian.from_data(x, 2), {}
    for name, method in (("em", em), ("cavi", cavi)):
        fit = None
        for start in range(0, 400, 100):
            batch = Sequences(x[start : start + 100], [50, 50])
            fit = method.partial_fit(batch, family, Markov.symmetric(2), rng=rng, previous=fit)
        learned[name] = fit.log_predictive(x).sum()
        whole = method.fit(Sequences(x, [50] * 8), family, Markov.symmetric(2), rng=rng)
        assert learned[name] > whole.log_predictive(x).sum() - 10


def test_a_fit_is_saved_and_starts_another(rng):
    x, _ = series(2, 50, rng)
    family, allocation = Gaussian.from_data(x, 2), Markov.symmetric(2)
    fit = pickle.loads(pickle.dumps(em.fit(x, family, allocation, rng=rng)))
    again = em.fit(x, family, allocation, rng=rng, init=fit)
    assert again.info["passes"] < 5
    assert again.bound[-1] == pytest.approx(fit.bound[-1], abs=1e-6)


def random_fit(Family, K, rng):
    family, _, s, x = problem(1, K, rng, n=14, Family=Family)
    theta = {name: v[0] for name, v in family.sample(family.posterior(s), 1, rng).items()}
    log_pi, log_A = chain(K, rng)
    return given(family, Markov.symmetric(K), np.exp(log_pi), np.exp(log_A), family.to_data(theta)), x


@pytest.mark.parametrize("Family", FAMILIES, ids=lambda f: f.name)
def test_what_a_point_estimate_tells_is_the_sum_over_paths(Family, rng):
    """Likelihood, filtered and smoothed probabilities, most probable path, and forecasts at given parameters."""
    fit, x = random_fit(Family, 2, rng)
    x = x[:6]
    ((_, log_rho),) = fit.log_density(x)
    natural = fit.allocation.natural(fit.held.weights[0, 0])
    log_pi, log_A = natural[:, 0], natural[:, 1:]
    log_z, r, _, (path, best) = enumerated(log_rho[0], log_pi, log_A)
    ends = [enumerated(log_rho[0, :t], log_pi, log_A) for t in range(1, 7)]
    assert fit.log_likelihood(x)[0, 0] == pytest.approx([log_z], rel=1e-9)
    np.testing.assert_allclose(np.cumsum(fit.log_predictive(x)), [end[0] for end in ends], rtol=1e-9)
    np.testing.assert_allclose(fit.filtered(x), [end[1][-1] for end in ends], atol=1e-9)
    np.testing.assert_allclose(fit.responsibilities(x), r, atol=1e-9)
    np.testing.assert_array_equal(fit.viterbi(x).states, path)
    assert fit.viterbi(x).log_joint == pytest.approx([best], rel=1e-9)
    A = np.exp(log_A)
    np.testing.assert_allclose(fit.forecast(x, 3), [r[-1] @ A @ A @ A], atol=1e-9)
    joined = [fit.log_likelihood(np.concatenate([x, y[None]])).item() - log_z for y in x]
    np.testing.assert_allclose(fit.log_forecast(x, x)[0], joined, rtol=1e-7, atol=1e-9)


def point(family, initial, A, **theta):
    return given(family, Markov.symmetric(len(A)), initial, np.array(A), theta)


def test_earthquakes_with_a_stationary_start():
    """Zucchini & MacDonald (2009), chapters 3 and 4; digits beyond theirs from a general optimiser of their likelihood."""
    rows = load_series("earthquakes").rows
    fit = em.fit(rows, Poisson.from_data(rows, 2), Markov.symmetric(2, start="stationary"), rng=1, restarts=2)
    assert fit.info["log_likelihood"] == pytest.approx(-342.3183, abs=5e-5)
    assert (fit.info["aic"], fit.info["bic"]) == pytest.approx((692.64, 703.33), abs=5e-3)
    rates = fit.held.theta["rates"].ravel()
    weights = fit.held.weights[0, 0][np.argsort(rates)]
    np.testing.assert_allclose(np.sort(rates), [15.472, 26.125], atol=5e-4)
    np.testing.assert_allclose(weights[:, 0], [0.6608, 0.3392], atol=5e-5)
    np.testing.assert_allclose(np.sort(weights[:, 1:], axis=1), [[0.0660, 0.9340], [0.1285, 0.8715]], atol=5e-5)


@pytest.mark.parametrize(
    ("K", "log_likelihood", "rates"),
    [(2, -341.8787, [15.4208, 26.0182]), (3, -328.5275, [13.1338, 19.7132, 29.7097])],
)
def test_earthquakes_with_a_free_start(K, log_likelihood, rates):
    """Zucchini & MacDonald (2009), tables 4.1 and 4.2."""
    rows = load_series("earthquakes").rows
    fit = em.fit(rows, Poisson.from_data(rows, K), Markov.symmetric(K), rng=1, restarts=4, tol=1e-13)
    assert fit.info["log_likelihood"] == pytest.approx(log_likelihood, abs=5e-5)
    np.testing.assert_allclose(np.sort(fit.held.theta["rates"].ravel()), rates, atol=5e-5)
    if K == 2:
        A = fit.held.weights[0, 0, np.argsort(fit.held.theta["rates"].ravel()), 1:]
        np.testing.assert_allclose(np.sort(A, axis=1), [[0.07163, 0.92837], [0.11903, 0.88097]], atol=5e-6)


def test_speed_of_responses():
    """Visser & Speekenbrink (2010), section 4.1, where the three series are taken for one."""
    rows = Sequences(load_series("speed").of("rt").x)
    fit = em.fit(rows, Gaussian.from_data(rows, 2), Markov.symmetric(2), rng=1, restarts=4)
    assert fit.info["log_likelihood"] == pytest.approx(-88.73, abs=5e-3)
    assert (fit.info["aic"], fit.info["bic"]) == pytest.approx((191.5, 220.1), abs=0.05)
    one = em.fit(rows, Gaussian.from_data(rows, 1), Markov.symmetric(1), rng=1, restarts=1)
    assert one.info["log_likelihood"] == pytest.approx(-305.33, abs=5e-3)


def test_the_federal_funds_rate_at_given_parameters():
    """Stata 14 manual, mswitch: log likelihood, filtered and smoothed probabilities of the first state, to 1e-6."""
    series = load_series("fedfunds")
    family = TiedGaussian.from_data(series.rows, 2)
    A = [[0.9820939, 0.0179061], [0.0503587, 0.9496413]]
    theta = {"means": [[3.70877], [9.556793]], "covariances": np.full((2, 1, 1), 2.107562**2)}
    fit = point(family, None, A, **theta)
    assert fit.log_likelihood(series.rows).item() == pytest.approx(-508.63592, abs=5e-6)
    index = list(series.data.index)
    when = [index.index(quarter) for quarter in ("1956Q1", "1973Q1", "1984Q4", "1990Q1")]
    filtered, smoothed = fit.filtered(series.rows)[when, 0], fit.responsibilities(series.rows)[when, 0]
    np.testing.assert_allclose(filtered, [0.9999228, 0.9818339, 0.0016472, 0.0067634], atol=1e-6)
    np.testing.assert_allclose(smoothed, [0.999996, 0.5537605, 0.0000347, 0.0003805], atol=1e-6)


def test_the_umbrella_chain():
    """Russell & Norvig (2010), section 15.2."""
    x = np.array([[1.0], [1.0], [0.0], [1.0], [1.0]])
    fit = point(Bernoulli.from_data(x, 2), [0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]], probabilities=[[0.9], [0.2]])
    assert fit.log_likelihood(x).item() == pytest.approx(-3.3725, abs=5e-5)
    np.testing.assert_allclose(fit.responsibilities(x)[:, 0], [0.8673, 0.8204, 0.3075, 0.8204, 0.8673], atol=5e-5)
    path = fit.viterbi(x)
    assert path.states.tolist() == [0, 0, 1, 0, 0]
    assert path.log_joint == pytest.approx([-4.4590], abs=5e-5)


def test_a_published_ascent_by_em():
    """tsmatz/hmm-lds-em-algorithm: 100 steps of EM from a start near a saddle, whose states differ by their start alone."""
    rows = load_series("tsmatz-hmm").rows
    family, A = Gaussian.from_data(rows, 3), 0.3 + 0.1 * np.eye(3)
    same = {"means": np.ones((3, 2)), "covariances": np.tile([[1.0, 0.5], [0.5, 1.0]], (3, 1, 1))}
    first = point(family, [0.3, 0.3, 0.4], A, **same)
    assert first.log_likelihood(rows).item() == pytest.approx(-117303.0104, abs=5e-5)
    pass_, s = one_pass(rows, None, family, 3000), first.state(rows)
    for _ in range(100):
        log_z, s = pass_(em.step(family, Markov.symmetric(3), s)[0])
    assert log_z == pytest.approx(-4408.3980, abs=5e-5)
    counts, points = Markov.symmetric(3).split(s)
    theta = family.to_data(family.maximum_likelihood(points))
    order = np.argsort(-theta["means"][:, 0])
    np.testing.assert_allclose(
        theta["means"][order], [[16.0733, 0.9699], [0.9901, 16.0155], [-4.9809, -5.0423]], atol=5e-5
    )
    expected = [[0.7193, 0.1253, 0.1554], [0, 0.4864, 0.5136], [0.3660, 0.3301, 0.3039]]
    A = Markov.symmetric(3).maximum_likelihood(counts)[:, 1:]
    np.testing.assert_allclose(A[np.ix_(order, order)], expected, atol=5e-5)


EXACT = [Markov.symmetric(2, 0.8, 0.6, sticky=1.0), Markov(np.array([0.5, 1.5]), np.array([[2.0, 0.7], [1.1, 3.0]]))]


@pytest.mark.parametrize("allocation", EXACT, ids=["alike", "uneven"])
@every_family
def test_exact_sums_are_those_over_all_paths(Family, allocation, rng):
    family, _, _, x = problem(1, 2, rng, n=20, Family=Family)
    rows = Sequences(x[:7], [4, 3])
    fit = exact.fit(rows, family, allocation)
    log_joint = joint_of_paths(family, allocation, rows)
    assert fit.info["log_evidence"][-1] == pytest.approx(logsumexp(log_joint), rel=1e-10)
    z, p = paths(7, 2), np.exp(log_joint - logsumexp(log_joint))
    np.testing.assert_allclose(
        fit.info["coclustering"], np.einsum("p,ptk,psk->ts", p, np.eye(2)[z], np.eye(2)[z]), atol=1e-10
    )
    alpha = allocation.posterior(allocation.labelled(z, rows, 2))
    A = fit.draws(4000, rng)["posterior"]["transitions"].values[0]
    stays = np.trace(A, axis1=1, axis2=2)
    expected = p @ np.trace(allocation.mean(alpha)[:, :, 1:], axis1=1, axis2=2)
    assert abs(stays.mean() - expected) < 4 * stays.std() / np.sqrt(len(stays))
    ahead = Sequences(np.vstack([rows.x, rows.x[:1]]), [4, 4])
    joined = logsumexp(joint_of_paths(family, allocation, ahead)) - logsumexp(log_joint)
    assert fit.posterior.log_predictive(rows.x[:1]) == pytest.approx(joined, rel=1e-9)


@pytest.mark.parametrize(
    ("Family", "allocation"),
    [*zip(FAMILIES, EXACT * len(FAMILIES), strict=False)],
    ids=[f.name for f in FAMILIES],
)
def test_gibbs_samples_the_exact_posterior(Family, allocation, rng):
    family, _, _, x = problem(1, 2, rng, n=20, Family=Family)
    rows = Sequences(x[:7], [4, 3])
    fit = gibbs.fit(rows, family, allocation, rng=rng, draws=400, tune=40, walkers=4)
    log_joint, z = joint_of_paths(family, allocation, rows), paths(7, 2)
    p = np.exp(log_joint - logsumexp(log_joint))
    mean = allocation.mean(allocation.posterior(allocation.labelled(z, rows, 2)))
    lp = fit.sample_stats["lp"]
    stays = np.trace(fit.held.weights[..., 1:], axis1=-2, axis2=-1)
    starts = (fit.held.weights[..., 0] ** 2).sum(-1)
    alpha = allocation.posterior(allocation.labelled(z, rows, 2))[..., 0]
    squares = (alpha * (alpha + 1)).sum(-1) / (alpha.sum(-1) * (alpha.sum(-1) + 1))
    for found, expected in (
        (lp, p @ log_joint),
        (stays, p @ np.trace(mean[..., 1:], axis1=1, axis2=2)),
        (starts, p @ squares),
    ):
        batches = found.reshape(-1, 50).mean(1)
        assert abs(batches.mean() - expected) < 4 * batches.std() / np.sqrt(len(batches))


@pytest.mark.parametrize("method", [em, cavi], ids=["em", "cavi"])
def test_many_sequences_are_fitted_one_by_one(method, rng):
    xs = [series(2, n, rng)[0] for n in (30, 50)]
    families = [Gaussian.from_data(x, 2) for x in xs]
    rngs = [np.random.default_rng(seed) for seed in (1, 2)]
    many = method.fit_many(xs, families, Markov.symmetric(2), rng=rngs, restarts=2)
    for x, family, seed, fit in zip(xs, families, (1, 2), many, strict=True):
        alone = method.fit(x, family, Markov.symmetric(2), rng=seed, restarts=2)
        np.testing.assert_allclose(fit.bound, alone.bound)
    same = np.repeat(np.arange(3.0), 10)[:, None]
    (lost,) = em.fit_many([same], [Gaussian.from_data(same, 3)], Markov.symmetric(3), rng=0, restarts=2)
    assert isinstance(lost, CollapseError)


def test_states_that_differ_in_spread_alone_are_found_from_pieces(rng):
    """Every state has the mean 0, so that rows by themselves say little; pieces differ in their mean square."""
    z = np.repeat([0, 1, 0, 1, 0, 1], 50)
    x = (np.array([1.0, 3.0])[z] * rng.standard_normal(300))[:, None]
    family, rows = Gaussian.from_data(x, 2), Sequences(x, [100, 200])
    s = segments(rows, None, family, 2, 4, rng)
    assert s[..., 0].sum(-1) == pytest.approx(300)
    np.testing.assert_allclose(s.sum(1), np.tile(family.features(x).sum(0), (4, 1)), atol=1e-9)
    square = s[..., 2] / s[..., 0]
    assert np.all(square.max(-1) > 3 * square.min(-1))
    assert segments(Sequences(np.ones((4, 1)), [2, 2]), None, family, 2, 1, rng) is None


@pytest.mark.parametrize("Family", FAMILIES, ids=lambda f: f.name)
def test_a_gap_is_a_step_without_emission(Family, rng):
    """Whole rows and single values missing: the pass and the fit are those of the sum over paths with what was seen."""
    x, options = problem(2, 2, rng, n=30, Family=Family)[3], {}
    if Family is Product:
        columns = [np.arange(j, x.shape[1], 4) for j in range(4)]
        options = {"families": [Categorical, Poisson, Bernoulli, TiedGaussian], "columns": columns}
        options["hyperparameters"] = [{"missing": True} for _ in columns]
    else:
        options = {"missing": True}
    x[7], x[2, 0], x[11, 1] = np.nan, np.nan, np.nan
    family, rows = Family.from_data(x, 2, **options), Sequences(x, [12, 18])
    fit = em.fit(rows, family, Markov.symmetric(2), rng=rng, restarts=2)
    (log_rho,) = (block[0] for _, block in fit.log_density(x))
    np.testing.assert_allclose(log_rho[7], 0, atol=1e-12)
    natural = fit.allocation.natural(fit.held.weights[0, 0])
    ends = [enumerated(log_rho[own], natural[:, 0], natural[:, 1:]) for own in (slice(0, 12), slice(12, 23))]
    short = Sequences(x[:23], [12, 11])
    np.testing.assert_allclose(fit.log_likelihood(short)[0, 0], [end[0] for end in ends], rtol=1e-9)
    np.testing.assert_allclose(fit.responsibilities(short), np.concatenate([end[1] for end in ends]), atol=1e-9)
    assert fit.log_likelihood(rows).sum() == pytest.approx(fit.info["log_likelihood"], rel=1e-9)
    assert fit.info["icl"] >= fit.info["bic"] - 1e-9
    bound = cavi.fit(rows, family, Markov.symmetric(2), rng=rng, restarts=2)
    assert np.isfinite(bound.responsibilities(rows)).all()
    assert np.isfinite(bound.log_predictive(rows)).all()


def test_simulated_sequences_follow_the_chain(rng):
    fit, _ = random_fit(Poisson, 2, rng)
    x, z = fit.sample([400] * 10, rng)
    counts = fit.allocation.labelled(z, Sequences(x, [400] * 10), 2)
    A, rates = fit.held.weights[0, 0, :, 1:], fit.held.theta["rates"][0, 0, :, 0]
    n = counts[:, 1:].sum(1, keepdims=True)
    assert np.abs((counts[:, 1:] / n - A) / np.sqrt(A * (1 - A) / n)).max() < 4.5
    assert np.abs((np.array([x[z == k].mean() for k in range(2)]) - rates) / np.sqrt(rates / n[:, 0])).max() < 4.5
    assert fit.sample(7, rng)[0].shape == (7, 1)
    for n in (-1, 1.5, [3, -1]):
        with pytest.raises(ValueError, match="expected a number of points, or one for each sequence"):
            fit.sample(n, rng)
    for steps in (0, 1.5):
        with pytest.raises(ValueError, match="expected a whole number of at least 1"):
            fit.forecast(x, steps=steps)


def test_the_likelihood_of_new_sequences_by_draws(rng):
    """Of a posterior in closed form the mean over draws, near the plug-in where there are many data; of a point its own."""
    x, _ = series(2, 300, rng)
    new = Sequences(series(2, 20, rng)[0], [12, 8])
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Markov.symmetric(2), rng=rng, restarts=2)
    found = fit.log_evidence(new, 500, rng)
    plug_in = fit.log_predictive(new)
    np.testing.assert_allclose(found.value, [plug_in[:12].sum(), plug_in[12:].sum()], atol=0.5)
    assert np.all((found.error > 0) & (found.error < 0.2))
    again = fit.log_evidence(new, 500, rng)
    assert np.all(np.abs(again.value - found.value) < 5 * np.hypot(found.error, again.error))
    held = fit.as_draws(2, 50, rng)
    p = held.log_likelihood(new).reshape(-1, 2)
    total = held.log_predictive(new)
    np.testing.assert_allclose([total[:12].sum(), total[12:].sum()], logsumexp(p, axis=0) - np.log(100), rtol=1e-9)
    point = em.fit(x, Gaussian.from_data(x, 2), Markov.symmetric(2), rng=rng, restarts=2)
    assert point.log_evidence(new, 1, rng).value == pytest.approx(point.log_likelihood(new)[0, 0])
