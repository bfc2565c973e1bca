"""The Gibbs sampler against the exact posterior, symmetry, NUTS and the prior, and what it says of itself."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from conftest import three_clusters
from scipy import stats
from scipy.spatial import KDTree
from scipy.special import softmax

from mixtures import COVARIANCES, ConvergenceWarning, Dirichlet, StickBreaking, labels
from mixtures.ascent.starts import starts
from mixtures.datasets import load
from mixtures.engines import fused, plain
from mixtures.engines.passes import one_pass
from mixtures.methods import exact, gibbs
from mixtures.methods.gibbs import Proposals, Sampler, split_rhat
from mixtures.methods.partitions import labellings, one_hot

every_structure = pytest.mark.parametrize("covariance", COVARIANCES)
ALLOCATIONS = [Dirichlet.symmetric(3, 0.7), Dirichlet(np.array([0.5, 2.0, 1.2])), StickBreaking(3, 1.5)]


def problem(N, covariance, K=3, seed=3):
    """Two clumps of points, and a family with nothing symmetric about its prior."""
    rng = np.random.default_rng(seed)
    x = 40 + 3 * (rng.standard_normal((N, 2)) + 1.5 * rng.integers(2, size=(N, 1)))
    W0 = {"diag": np.array([0.02, 0.04]), "spherical": 0.03}.get(covariance, np.array([[0.02, 0.01], [0.01, 0.04]]))
    return x, COVARIANCES[covariance].from_data(x, K, m0=x[0] + 1, beta0=0.3, W0=W0, nu0=6.7)


def sampler_for(x, family, allocation, rng, engine="auto"):
    return Sampler(family, allocation, one_pass(x, None, family, x.size, engine=engine), len(x), rng)


def fit_short(*args, **options):
    """A fit of which nobody asks whether it has converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return gibbs.fit(*args, **options)


def standard_error(v):
    """Monte Carlo standard errors of the mean of v (chain, draw, ...), by the effective sample size of ArviZ."""
    from arviz_stats.base import array_stats

    flat = v.reshape(*v.shape[:2], -1)
    ess = [array_stats.ess(flat[..., i], method="mean") for i in range(flat.shape[-1])]
    return (v.std((0, 1)).ravel() / np.sqrt(ess)).reshape(v.shape[2:])


def agree(v, expected, errors=5.0, floor=1e-4):
    """Whether the mean of v (chain, draw, ...) is as expected, within some standard errors."""
    v = np.asarray(v, dtype=float)
    off = np.abs(v.mean((0, 1)) - expected)
    assert np.all(off < errors * np.fmax(standard_error(v), floor)), (off / standard_error(v)).max()


@every_structure
@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_every_step_leaves_the_posterior_of_labellings_as_it_is(allocation, covariance, rng):
    """All 243 labellings of five points: states drawn from p(z | x) have that distribution after each kind of step, too.

    The library of the jumps comes from labellings evenly spaced, and does not look like the posterior.
    """
    n = 30_000
    x, family = problem(5, covariance)
    z = labellings(5, 3, partitions=False)
    s = one_hot(z, 3) @ family.features(x)
    sampler = sampler_for(x, family, allocation, rng)
    p = softmax(sampler.log_joint(s))
    tree = KDTree(s.reshape(len(s), -1))
    library = sampler.library([sampler.sweep(s[::9]), sampler.sweep(s[::20])])
    steps = {
        "sweep": lambda s: sampler.sweep(s).s,
        "exchange": lambda s: sampler.exchange(s)[0],
        "jump": lambda s: sampler.jump(s, library, sampler.propose(library, len(s)))[0],
    }
    for name, step in steps.items():
        before = rng.choice(len(s), n, p=p)
        distance, after = tree.query(step(s[before]).reshape(n, -1))
        assert distance.max() < 1e-6
        assert (after != before).mean() > 0.05, name
        cell = np.where(p < 10 / n, np.argmax(p), np.arange(len(p)))  # rare labellings join the most probable one
        observed, expected = np.bincount(cell[after]), np.bincount(cell, n * p)
        assert stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-6, name


def test_a_jump_keeps_the_names(rng):
    """A chain whose proposal is its own labelling stays what it is, whatever its clusters are called."""
    x, family = problem(12, "full")
    sampler = sampler_for(x, family, ALLOCATIONS[1], rng)
    (s,) = one_hot(np.arange(12)[None] % 3, 3) @ family.features(x)
    library = sampler.library([sampler.sweep(s[None])])
    named = s[np.array(list(permutations(range(3))))]
    order = sampler._order(named, library.reference)
    own = Proposals(np.take_along_axis(named, order[..., None], axis=1), np.full(6, np.inf))
    after, accepted = sampler.jump(named, library, own)
    assert accepted.all()
    np.testing.assert_array_equal(after, named)


@every_structure
def test_parameters_drawn_after_data_drawn_from_the_prior_are_from_the_prior(covariance, rng):
    """Geweke (2004, JASA 99:799-804): a sweep of chains with data sets of their own, drawn with parameters from the prior."""
    R, N, K = 4000, 6, 3
    _, family = problem(20, covariance)
    allocation = Dirichlet(np.array([0.5, 2.0, 1.2]))
    prior = Sampler(family, allocation, partial(plain.pass_, family, np.zeros((R, 1, 2)), None), 1, rng)
    drawn = prior.sweep(np.zeros((R, K, 1 + family.monomials[-1, 0])))
    z = (rng.random((R, N, 1)) > np.cumsum(drawn.weights, axis=1)[:, None, :-1]).sum(-1)
    clusters = {name: v.reshape(R * K, *v.shape[2:]) for name, v in drawn.theta.items()}
    x = family.simulate(clusters, (z + K * np.arange(R)[:, None]).ravel(), rng).reshape(R, N, 2)
    sampler = Sampler(family, allocation, partial(plain.pass_, family, x, None), N, rng)
    s = one_hot(z, K) @ family.features(x)
    for _ in range(2):
        sweep = sampler.sweep(s)
        s = sweep.s
    for before, after in [(drawn.weights, sweep.weights), *((drawn.theta[n], sweep.theta[n]) for n in drawn.theta)]:
        same = stats.ks_2samp(before.reshape(R, -1), after.reshape(R, -1), axis=0)
        assert same.pvalue.min() > 1e-5
    assert (sweep.weights != drawn.weights).all()


@pytest.mark.parametrize(
    ("covariance", "allocation"),
    [*((covariance, Dirichlet.symmetric(3, 0.8)) for covariance in COVARIANCES), ("full", StickBreaking(3, 1.5))],
    ids=str,
)
def test_gibbs_is_the_exact_posterior(covariance, allocation):
    """Whatever needs no labels, within five Monte Carlo standard errors of the sum over all labellings."""
    x, family = problem(9, covariance)
    fit = gibbs.fit(x, family, allocation, rng=np.random.default_rng(1), draws=1500, tune=100)
    known = exact.fit(x, family, allocation)
    assert fit.converged
    r = np.exp(np.concatenate([rho for _, rho in fit.log_rho(x)], axis=1))
    r = (r / r.sum(-1, keepdims=True)).reshape(4, 1500, 9, 3)
    pairs = np.triu_indices(9, 1)
    agree(np.einsum("csnk,csmk->csnm", r, r)[:, :, *pairs], known.info["coclustering"][pairs])
    agree(fit.sample_stats["occupied"][..., None] == np.arange(1, 4), known.info["occupied"])
    weights, theta = fit.held.weights, family.to_data(fit.held.theta)
    agree((weights[..., None] * theta["means"]).sum(2), known.info["moments"]["mean"])
    agree((weights[..., None, None] * theta["covariances"]).sum(2), known.info["moments"]["within"])
    points = np.concatenate([x, [[30.0, 50.0], [42.0, 44.0]]])
    agree(np.exp(fit.log_likelihood(points)), np.exp(known.log_predictive(points)), floor=1e-6)
    if isinstance(allocation, Dirichlet):
        agree(weights, 1 / 3)  # the names are at random


def mirrored(rng):
    """Points in the corners of a square, mirrored in its diagonal, with two clusters of one shape, (48, 2)."""
    corners = np.repeat([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], [6, 6, 12], axis=0)
    x = 1.6 * corners + 0.5 * rng.standard_normal((24, 2))
    x = np.concatenate([x, x[:, ::-1]])
    return x, COVARIANCES["tied"].from_data(x, 2), Dirichlet.symmetric(2)


def side_by_side(fit):
    """Whether the two clusters lie side by side, not one above the other, (chain, draw)."""
    offset = np.abs(np.diff(fit.held.theta["means"], axis=2)[:, :, 0])
    return offset[..., 0] > offset[..., 1]


@pytest.mark.parametrize("ahead", [gibbs.AHEAD, 7 * 4 * 48, 1], ids="{} points ahead".format)
def test_a_chain_visits_two_modes_as_often_as_their_mass_says(ahead, rng, monkeypatch):
    """By symmetry, clusters lie side by side with probability 1/2; however many jumps are prepared at once."""
    monkeypatch.setattr(gibbs, "AHEAD", ahead)
    fit = gibbs.fit(*mirrored(rng), rng=rng)
    assert fit.held.weights.shape == (4, 1000, 2)
    assert fit.converged
    assert fit.info["fewest_jumps"] > 500
    for chain in side_by_side(fit):
        agree(chain[None], 0.5)


def test_chains_that_stay_in_modes_of_their_own_are_reported(rng, monkeypatch):
    monkeypatch.setattr(Sampler, "jump", lambda self, s, *_: (s, np.zeros(len(s), bool)))
    with pytest.warns(ConvergenceWarning, match="split R-hat is"):
        fit = gibbs.fit(*mirrored(rng), rng=rng, chains=8, tune=50)
    assert set(side_by_side(fit).mean(1)) == {0, 1}
    assert fit.info["jumps"] == fit.info["fewest_jumps"] == 0
    assert fit.info["rhat"] > 1.5
    assert not fit.converged


def test_chains_agree_on_iris_wherever_they_start():
    """Standardised iris at K = 3, with modes near weights (.33, .33, .33) and (.61, .33, .06).

    Chains that start in one or the other, or nowhere, have one distribution after forty sweeps; sweeps alone need thousands.
    """
    data = load("iris")
    x, species = (data.x - data.x.mean(0)) / data.x.std(0), np.repeat(range(3), 50)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    fit = fit_short(x, family, allocation, rng=np.random.default_rng(1))
    assert fit.info["rhat"] < 1.03
    smallest = fit.held.weights.min(-1)
    assert np.all((smallest > 0.2).any(1))
    assert np.all((smallest < 0.08).mean(1) > 0.5)

    rng = np.random.default_rng(2)
    sampler = sampler_for(x, family, allocation, rng, engine="fused")
    _, library = gibbs._tune(
        sampler, starts(x, None, 150, family, allocation, "k-means++", 64, rng), 200, 1, lambda _: None
    )
    ends = {}
    for name, z in [("species", species), ("two", np.minimum(species, 1)), ("random", rng.integers(3, size=150))]:
        start = np.tile(one_hot(z[None], 3) @ family.features(x), (100, 1, 1))
        for jumps in (True, False):
            s = start
            for _ in range(40):
                s = sampler.sweep(s).s
                s = sampler.jump(s, library, sampler.propose(library, len(s)))[0] if jumps else s
            ends[name, jumps] = np.sort(s[..., 0])[:, 0]
    for name in ("two", "random"):
        assert stats.ks_2samp(ends["species", True], ends[name, True]).pvalue > 1e-3
        assert stats.ks_2samp(ends["species", False], ends[name, False]).pvalue < 1e-6


def test_of_many_points_only_every_fifth_sweep_is_followed_by_a_jump(rng, monkeypatch):
    """The posterior is the same: with jumps after all sweeps or some, the means of one cluster are the conjugate ones."""
    monkeypatch.setattr(gibbs, "LARGE", 39)
    x = np.concatenate([rng.normal(0, 1, (20, 1)), rng.normal(12, 2, (20, 1))])
    model = x, COVARIANCES["full"].from_data(x, 2), Dirichlet.symmetric(2)
    few, all_ = (gibbs.fit(data, *model[1:], rng=1, draws=500, tune=50, walkers=8) for data in (x, x[:39]))
    jumped = few.sample_stats["jumped"]
    assert np.flatnonzero(jumped.any(0)).tolist() == [n for n in range(0, 500, 5) if jumped[:, n].any()]
    assert few.info["jumps"] == pytest.approx(jumped[:, ::5].mean())
    assert few.info["jumps"] > 0.5
    assert few.info["fewest_jumps"] == jumped.sum(1).min() <= 100 < all_.info["fewest_jumps"]
    means = np.sort(few.held.theta["means"][..., 0], axis=-1)
    s = np.stack([model[1].features(part).sum(0) for part in np.split(x, 2)])
    expected = model[1].posterior(s).m[:, 0]
    assert np.all(np.abs(means.mean((0, 1)) - np.sort(expected)) < 4.5 * standard_error(means))


def test_nuts_agrees(rng):
    """Two clusters that no draw confuses, so that all parameters can be compared."""
    from models.methods import nuts

    x = np.concatenate([rng.standard_normal((20, 1)), 12 + 2 * rng.standard_normal((30, 1))])
    model = x, COVARIANCES["full"].from_data(x, 2), Dirichlet.symmetric(2)
    fits = [gibbs.fit(*model, rng=rng), nuts.fit(*model, rng=rng, draws=500, tune=500)]
    reference = np.eye(2)[np.repeat([0, 1], [20, 30])]
    ours, theirs = (labels.align(fit, reference, x).fit.held for fit in fits)
    for one, other in [(ours.weights, theirs.weights), *((ours.theta[n], theirs.theta[n]) for n in ours.theta)]:
        for f in (np.asarray, np.square):
            a, b = f(one), f(other)
            error = np.hypot(standard_error(a), standard_error(b))
            assert np.all(np.abs(a.mean((0, 1)) - b.mean((0, 1))) < 4.5 * error)


def test_the_same_seed_gives_the_same_draws_on_any_number_of_threads(rng, monkeypatch):
    x = three_clusters(9000, rng)
    model = x, COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    options = {"draws": 10, "tune": 10, "walkers": 8, "engine": "fused"}

    first, other = (fit_short(*model, rng=np.random.default_rng(seed), **options).held for seed in (1, 2))
    for threads in (1, 3):
        pool = ThreadPoolExecutor(threads)
        monkeypatch.setattr(fused, "pool", lambda pool=pool: pool)
        again = fit_short(*model, rng=np.random.default_rng(1), **options).held
        np.testing.assert_array_equal(again.weights, first.weights)
        for name, value in first.theta.items():
            np.testing.assert_array_equal(again.theta[name], value)
    assert not np.array_equal(first.weights, other.weights)


@every_structure
def test_fit_answers_as_every_other(covariance, rng):
    x = three_clusters(150, rng, separation=8.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    fit = fit_short(x, family, allocation, rng=rng, draws=300, tune=50, chains=2)
    assert (fit.method, fit.kind, fit.n_components, len(fit.bound)) == ("gibbs", "mcmc", 3, 0)
    assert set(fit.seconds) == {"compile", "run"}
    tree = fit.draws(600, rng)
    assert tree["posterior"]["covariances"].shape == (2, 300, 3, 2, 2)
    for name in ("lp", "occupied", "jumped"):
        assert tree["sample_stats"][name].shape == (2, 300)
    switched = np.diff(np.argmax(fit.held.theta["means"][..., 0], axis=-1), axis=1) != 0
    assert switched.mean() > 0.1  # the names of clusters change
    assert fit.info["exchanges"] == 1
    reference = np.eye(3)[np.argmin(((x[:, None] - 8 * np.array([[0, 0], [1, 0], [0, 1]])) ** 2).sum(-1), axis=1)]
    aligned = labels.align(fit, reference, x).fit
    means = family.to_data(aligned.held.theta)["means"]
    assert np.abs(means.mean((0, 1)) - reference.T @ x / reference.sum(0)[:, None]).max() < 0.2
    assert np.all(means.std((0, 1)) < 0.6)


def test_log_joint_is_that_of_the_labels(rng):
    """Far clusters: every draw has the same partition, and lp is the exact log p(x, z) up to the names."""
    x = three_clusters(12, rng, separation=100.0)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    fit = fit_short(x, family, allocation, rng=rng, draws=200, tune=50)
    known = exact.fit(x, family, allocation)
    assert known.info["occupied"][2] > 0.999
    best = fit.sample_stats["lp"].max()
    assert best + np.log(6) == pytest.approx(known.info["log_evidence"][-1], abs=0.01)


def test_one_cluster_needs_no_moves(rng):
    x = rng.standard_normal((40, 2))
    family, allocation = COVARIANCES["full"].from_data(x, 1), Dirichlet.symmetric(1)
    heard = []
    fit = gibbs.fit(x, family, allocation, rng=rng, draws=500, tune=10, tell=lambda *steps: heard.append(steps))
    total = 10 * 64 + 500 * 4
    assert heard == [(n, total) for n in (*range(64, 641, 64), *range(644, total + 1, 4))]
    assert fit.info["rhat"] == 1
    np.testing.assert_allclose(fit.held.weights, 1, rtol=1e-15)
    q = family.posterior(family.features(x).sum(0, keepdims=True))
    agree(fit.held.theta["means"], q.m)
    agree(fit.held.theta["covariances"], family.mean(q)["covariances"])


def test_split_rhat_is_that_of_arviz(rng):
    from arviz_stats.base import array_stats

    v = np.cumsum(rng.standard_normal((3, 101, 2)), axis=1)
    expected = [array_stats.rhat(v[..., i], method="split") for i in range(2)]
    np.testing.assert_allclose(split_rhat(v), expected, rtol=1e-12)
    assert split_rhat(np.full((4, 100), -813.6285840000001)) == 1  # whose means differ by a rounding error
    assert split_rhat(1 + 1e-13 * np.repeat([[0.0], [1.0]], 10, axis=1)) == 1
    assert split_rhat(np.repeat([[0.0], [1.0]], 10, axis=1)) == np.inf
    assert np.isnan(split_rhat(np.ones((4, 3))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws is 0; expected at least 1"),
        ({"tune": 0}, "tune is 0; expected at least 1"),
        ({"chains": 0}, "chains is 0; expected at least 1"),
        ({"walkers": 3}, "no more chains than walkers"),
        ({"engine": "abacus"}, "expected auto, plain, fused or jax"),
    ],
)
def test_bad_options_are_refused(options, message, rng):
    x, family = problem(9, "full")
    with pytest.raises(ValueError, match=message):
        gibbs.fit(x, family, Dirichlet.symmetric(3), rng=rng, **options)


def test_bad_data_and_improper_priors_are_refused(rng):
    x, family = problem(9, "full")
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        gibbs.fit(broken, family, Dirichlet.symmetric(3), rng=rng)
    improper = replace(family, prior=replace(family.prior, beta=np.asarray(0.0)))
    with pytest.raises(ValueError, match="prior of the clusters is improper"):
        gibbs.fit(x, improper, Dirichlet.symmetric(3), rng=rng)


def test_too_few_draws_to_judge_are_not_converged(rng):
    x, family = problem(9, "full")
    with pytest.warns(ConvergenceWarning, match="nan"):
        fit = gibbs.fit(x, family, Dirichlet.symmetric(3), rng=rng, draws=3, tune=1, chains=1, walkers=1)
    assert not fit.converged


@pytest.mark.parametrize(("n", "walkers"), [(1000, 64), (400_000, 40), (10**6, 16), (10**9, 16)])
def test_many_rows_have_fewer_walkers(n, walkers):
    assert gibbs.walkers_for(n, 4) == walkers
    assert gibbs.walkers_for(n, 50) == max(walkers, 50)


def stationary_problem():
    """Six counts in three series, and priors in which no two states are alike."""
    from mixtures import Markov, Poisson, Sequences

    x = Sequences(np.array([[1.0], [4.0], [3.0], [0.0], [5.0], [2.0]]), [2, 2, 2])
    return x, Poisson.from_data(x, 2), Markov(np.ones(2), np.array([[3.0, 1.0], [0.4, 0.9]]), "stationary")


def test_a_stationary_start_has_the_posterior_of_every_path(rng):
    """Expectations of A and of the share of each state, by all 64 paths and draws of A weighted by the start."""
    x, family, allocation = stationary_problem()
    z = np.array(list(np.ndindex(*[2] * 6)))
    counts = allocation.labelled(z, x, 2)
    A = allocation.conjugate.sample(allocation.conjugate.posterior(counts), 1500, rng)[..., 1:]
    pi = allocation.stationary(A)
    starts_ = (pi[..., None, :] ** counts[..., 0][:, None]).prod((-2, -1))
    s = np.eye(2)[z].swapaxes(-1, -2) @ family.features(x.x)
    log_p = family.log_marginal(s) + allocation.log_transitions(counts)
    w = np.exp(log_p - log_p.max()) * starts_
    expected = (w[..., None, None] * A).sum((0, 1)) / w.sum()
    share = (w[..., None] * pi).sum((0, 1)) / w.sum()
    fit = fit_short(x, family, allocation, rng=1, draws=600, tune=20, chains=8, walkers=8)
    held = fit.posterior.weights
    np.testing.assert_allclose(held[..., 0], allocation.stationary(held[..., 1:]), atol=1e-9)
    agree(held[..., 1:], expected, floor=6e-3)
    agree(held[..., 0], share, floor=6e-3)
    assert 0.05 < fit.info["jumps"] < 1
    assert 0 < fit.info["exchanges"] < 1


def test_without_data_a_stationary_start_leaves_the_prior(rng):
    """Chains of which nothing was seen, begun in the prior, stay in it: sweeps, exchanges and jumps (Geweke 2004)."""
    from mixtures import Poisson, Sequences
    from mixtures.methods.stationary import StationarySampler

    C, x, allocation = 800, Sequences(np.full((12, 1), np.nan), [2] * 6), stationary_problem()[2]
    family = Poisson.from_data(np.array([[1.0], [np.nan], [4.0]]), 2, missing=True)
    sampler = StationarySampler(family, allocation, one_pass(x, None, family, 24, engine="plain"), 12, rng)
    A = allocation.conjugate.sample(allocation.prior, C, rng)[..., 1:]
    weights = np.concatenate([allocation.stationary(A)[..., None], A], axis=-1)
    eta = np.concatenate([np.zeros((C, 2, family.features(x.x).shape[1])), allocation.natural(weights)], axis=-1)
    s = np.concatenate([sampler.draw(eta)[1], A], axis=-1)
    sweep = sampler.sweep(s)
    library = sampler.library([sampler.sweep(sweep.s)])
    s = sweep.s
    for _ in range(4):
        s, jumped = sampler.jump(sampler.sweep(s).s, library, sampler.propose(library, C))
        assert jumped.any()
    for row, alpha in enumerate(allocation.a0):
        assert stats.kstest(s[:, row, -2], stats.beta(*alpha).cdf).pvalue > 1e-4
