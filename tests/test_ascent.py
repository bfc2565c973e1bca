"""Faster ascents: quasi-Newton steps, short runs, many data sets side by side, batches as they come."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from conftest import collapsed_data, three_clusters
from linear_maps import mapped_and_back, standardised

from mixtures import COVARIANCES, CollapseError, ConvergenceWarning, DiagonalGaussian, Dirichlet, Gaussian, tables
from mixtures.ascent import climb
from mixtures.ascent import moves as moves_of
from mixtures.ascent.climb import _gradient
from mixtures.ascent.neighbours import by_neighbours
from mixtures.ascent.starts import near_points, starts
from mixtures.ascent.states import statistics
from mixtures.datasets import load
from mixtures.engines.passes import blur, noise, one_pass
from mixtures.errors import SingularError
from mixtures.methods import cavi, em
from reports.page.convergence import started

COUNTS = ("restarts", "reached", "collapsed")
STEPS = {"em": em.step, "map": em.map_step, "cavi": cavi.step}
FITS = {"em": em.fit, "map": partial(em.fit, prior=True), "cavi": cavi.fit}
MANY = {"em": em.fit_many, "map": partial(em.fit_many, prior=True), "cavi": cavi.fit_many}
ONLINE = {"em": em.partial_fit, "map": partial(em.partial_fit, prior=True), "cavi": cavi.partial_fit}
every_method = pytest.mark.parametrize("method", STEPS)
every_structure = pytest.mark.parametrize("covariance", COVARIANCES)


def test_starts_hold_no_more_than_a_block_of_features(rng):
    """1500 rows have 138 MB of features here, and 35 blocks 32 MB of statistics."""
    x = rng.normal(size=(1500, 150))
    family = DiagonalGaussian.from_data(x, 10)
    family = Gaussian(family.origin, np.diag(family.unit), None)
    tracemalloc.start()
    starts(x, None, len(x), family, Dirichlet.symmetric(10), "k-means++", 1, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.robustness("limits")
def test_lloyds_algorithm_copies_no_points_of_runs_that_all_move(rng):
    """Sorted and scaled points and those about their median are held, and a block of features."""
    x = rng.normal(size=(15_000, 60))
    family = Gaussian.from_data(x, 2)
    tracemalloc.start()
    starts(x, None, len(x), family, Dirichlet.symmetric(2), "k-means", 1, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4.7 * x.nbytes


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_statistics_of_many_features_come_from_matrix_products(covariance, rng, monkeypatch):
    x, weights = rng.normal(size=(30, 4)) + 3, rng.uniform(0.1, 2, 30)
    family = COVARIANCES[covariance].from_data(x, 2)
    for r in (np.eye(2)[rng.integers(2, size=(3, 30))], rng.dirichlet(np.ones(2), 30)):
        formed = statistics(x, family, r, weights)
        monkeypatch.setattr("mixtures.ascent.states.PRODUCTS", 0)
        np.testing.assert_allclose(statistics(x, family, r, weights), formed, rtol=1e-12, atol=1e-12)
        monkeypatch.undo()


def test_runs_too_large_to_be_held_together_are_climbed_apart(rng, monkeypatch):
    x = three_clusters(80, rng, separation=4.0)
    model = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    together, apart = [], []
    for fits, numbers in ((together, 10**6), (apart, 40)):
        monkeypatch.setattr(climb, "NUMBERS", numbers)
        fits += [FITS[method](x, *model, rng=np.random.default_rng(1), restarts=5) for method in FITS]
    for one, other in zip(together, apart, strict=True):
        assert other.bound[-1] == pytest.approx(one.bound[-1], abs=1e-6)
        assert [other.info[name] for name in COUNTS] == [one.info[name] for name in COUNTS]


@pytest.mark.parametrize("reg_covar", [0.0, 0.1])
@every_method
@every_structure
def test_the_gradient_of_the_bound_comes_without_a_pass(covariance, method, reg_covar, rng):
    """g = (d eta / d s)(F(s) - s), against a central difference of the bound itself along random directions."""
    x = three_clusters(60, rng, separation=2.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3, 1.5)
    natural, pass_ = partial(STEPS[method], family, allocation), one_pass(x, None, family, 1, reg_covar)
    s = starts(x, None, len(x), family, allocation, "random", 2, rng)
    s = blur(s, noise(family, reg_covar))

    def bound(s):
        eta, extra = natural(s)
        return pass_(eta)[0] + extra

    eta, _ = natural(s)
    f = pass_(eta)[1] - s
    gradient, known = _gradient(natural, s, f, eta)
    assert known.all()
    for _ in range(3):
        direction = rng.standard_normal(s.shape) * 0.02 * f
        numeric = (bound(s + 1e-2 * direction) - bound(s - 1e-2 * direction)) / 2e-2
        scale = np.sqrt(((gradient * direction) ** 2).sum((1, 2)))
        assert np.all(np.abs((gradient * direction).sum((1, 2)) - numeric) < 1e-3 * scale)


@every_method
@every_structure
def test_quasi_newton_steps_reach_the_same_optimum_in_fewer_passes(covariance, method, rng):
    x = three_clusters(1000, rng, separation=2.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    slow, quick = (
        FITS[method](x, family, allocation, rng=5, init=x[:3], accelerate=accelerate, tol=1e-11)
        for accelerate in (False, True)
    )
    assert quick.bound[-1] == pytest.approx(slow.bound[-1], abs=1e-5)
    assert quick.info["passes"] < slow.info["passes"] / 2
    assert quick.converged
    assert np.all(np.diff(quick.bound) >= -1e-9)


def test_guesses_that_lower_the_bound_are_not_kept(rng, monkeypatch):
    """Steps in a random direction in the place of the quasi-Newton ones: the ascent still ends at its optimum."""
    x = three_clusters(300, rng, separation=2.0)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    plain = cavi.fit(x, family, allocation, rng=np.random.default_rng(6), restarts=1, accelerate=False)

    def astray(self, s, f, g, asked, known):
        return rng.standard_normal(s.shape) * np.abs(f) * 1e3

    monkeypatch.setattr("mixtures.ascent.acceleration.QuasiNewton.direction", astray)
    led_astray = cavi.fit(x, family, allocation, rng=np.random.default_rng(6), restarts=1)
    assert np.all(np.diff(led_astray.bound) >= -1e-9)
    assert led_astray.info["passes"] > len(led_astray.bound)
    assert led_astray.bound[-1] == pytest.approx(plain.bound[-1], abs=1e-5)


@pytest.mark.parametrize("told", [None, lambda runs: None])
@pytest.mark.parametrize(("restarts", "seed", "said"), [(1, 4, "best of 1 start"), (3, 2, "best of 3 starts")])
def test_moves_from_the_best_optimum_find_a_higher_one(restarts, seed, said, told, monkeypatch):
    """With the loop in Python, which tells, and the compiled one; the starts are the same."""
    x = load("iris").x
    family, allocation = COVARIANCES["full"].from_data(x, 6), Dirichlet.symmetric(6)
    fit = partial(em.fit, x, family, allocation, rng=seed, restarts=restarts, callback=told)
    moved = fit()
    monkeypatch.setattr("mixtures.ascent.candidates.move_on", lambda problem, runs, *_: runs)
    plain = fit()
    assert moved.bound[-1] > plain.bound[-1] + 1
    assert moved.converged
    assert np.all(np.diff(moved.bound) >= -1e-9)
    assert moved.info["moved"]
    assert "moved" not in plain.info
    assert (moved.info["reached"], moved.info["restarts"]) == (0, restarts)  # as no start came there
    assert started(moved.info) == f"{said}, raised by merging and splitting clusters"


@pytest.mark.parametrize(("aim", "passes"), [(119.0, 60), (121.0, 20)])
def test_a_move_that_is_too_slow_to_come_to_the_bound_ends_with_its_trial(aim, passes):
    """States are numbers of passes, of which each gains a nat: at 19 after twenty, it has a hundred more to come to the aim."""
    problem = (lambda s: (s, 0.0), lambda eta: (eta[:, 0, 0] - 1, np.minimum(eta + 1, 60)))
    end = moves_of._climb(lambda _: problem, np.ones((3, 1, 1)), aim, 1.0, 1e-9, 500, False, None)
    assert end.end[0] == passes - 1


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_clear_clusters_among_few_rows_are_found(covariance):
    """In white coordinates rows that are few beside their features are all about as far from each other."""
    N, D = (200, 20) if covariance == "full" else (60, 20)
    rng = np.random.default_rng(1)
    labels = np.arange(N) % 3
    xs = [rng.uniform(-10, 10, (3, D))[labels] + 3 * rng.standard_normal((N, D)) for _ in range(2)]
    families, allocation = [COVARIANCES[covariance].from_data(x, 3) for x in xs], Dirichlet.symmetric(3)
    together = em.fit_many(xs, families, allocation, rng=[0, 1], restarts=4)
    for seed, (x, family, fit) in enumerate(zip(xs, families, together, strict=True)):
        known = em.fit(x, family, allocation, rng=0, init=labels).bound[-1] - 1e-3
        assert fit.bound[-1] > known
        assert em.fit(x, family, allocation, rng=seed, restarts=4).bound[-1] > known


@every_structure
def test_moves_take_first_the_clusters_that_an_optimum_describes_worst(covariance, rng):
    """Of three groups two are one cluster of the state, and the third is cut: its own clusters come last."""
    x = np.concatenate([rng.standard_normal((40, 2)) + centre for centre in ([0, 0], [12, 0], [0, 30])])
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    groups, cut = np.repeat([0, 1, 2], 40), np.repeat([0, 1, 1, 2], [80, 10, 10, 20])
    s, state = (statistics(x, family, np.eye(3)[labels]) for labels in (groups, cut))
    problem = lambda runs: (partial(em.step, family, allocation), None)  # noqa: E731
    clusters = moves_of._clusters(problem, state, np.stack([state, s]))
    assert {tuple(own) for own in clusters[:3]} == {tuple(own) for own in s}


@pytest.mark.parametrize("seed", range(6))
def test_clusters_that_white_coordinates_squeeze_are_found(seed):
    """The likelihood of iris that mclust comes to (VVV, 3): -180.186; k-means in white coordinates seldom leads there."""
    x = load("iris").x
    assert em.fit(x, Gaussian.from_data(x, 3), Dirichlet.symmetric(3), rng=seed, restarts=2).bound[-1] > -180.1865


@pytest.mark.parametrize("condition", [1, 1e4, 1e8])
@pytest.mark.robustness("numbers")
def test_what_is_near_by_neighbours_does_not_depend_on_the_columns_linear_coordinates(condition, rng):
    """Of rows with many equal distances and some far away; for a family of scaled columns, on their units."""
    x = np.concatenate([load("iris").x, [[99, 1, 2, 3], [999, 1, 2, 4]]])
    U, V = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    for Family, A in (
        (Gaussian, U @ np.diag(np.geomspace(1, 1 / condition, 4)) @ V),
        (DiagonalGaussian, np.diag(np.geomspace(1, 1 / condition, 4))),
    ):
        lengths = []
        for mapped in (x, x @ A.T):
            z = Family.from_data(mapped, 3).coordinates(mapped)
            near = z @ by_neighbours(z, np.ones(len(z)), Family is DiagonalGaussian)
            lengths.append(np.linalg.norm(near - near[:1], axis=1))
        one, other = (length / np.median(length) for length in lengths)
        np.testing.assert_allclose(other, one, rtol=1e-6 + 1e4 * np.finfo(float).eps * condition)


@pytest.mark.robustness("numbers")
def test_starts_are_as_far_from_each_other_in_nearly_dependent_columns(rng):
    mapped, x, _ = mapped_and_back(standardised(load("iris").x), 1e12, rng)
    points = [near_points(rows, np.ones(150), Gaussian.from_data(rows, 3), 150) for rows in (x, mapped)]
    one, other = (np.linalg.norm(z[:, None] - z, axis=-1) for z in points)
    np.testing.assert_allclose(other, one, atol=1e-10)


def test_rounding_of_rows_that_are_alike_does_not_change_what_is_near(rng):
    x = np.repeat(rng.standard_normal((60, 3)), 3, axis=0)
    exact, rounded = (by_neighbours(y, np.ones(180)) for y in (x, x + 1e-9 * rng.standard_normal(x.shape)))
    np.testing.assert_allclose(rounded, exact, atol=1e-6)


def test_rows_that_stand_for_several_are_near_as_their_copies_are(rng):
    x, times = rng.standard_normal((700, 3)), rng.integers(1, 4, size=700)
    for n in (80, 700):
        weighted = by_neighbours(x[:n], times[:n].astype(float))
        copied = by_neighbours(np.repeat(x[:n], times[:n], axis=0), np.ones(times[:n].sum()))
        np.testing.assert_array_equal(copied, weighted)


@pytest.mark.parametrize(("N", "features"), [(30, 10**6), (30, 0), (1001, 10**6)])
@pytest.mark.parametrize("init", ["k-means++", "k-means", "rows"])
def test_starts_are_the_same_in_compiled_loops(init, N, features, rng, monkeypatch):
    """Of few rows, of several blocks, and where there are too many features to be summed there."""
    monkeypatch.setattr("mixtures.ascent.starts.FEATURES", features)
    x = rng.normal(size=(N, 6)) * [1, 2, 3, 4, 5, 6] + 7
    family, allocation = Gaussian.from_data(x, 5), Dirichlet.symmetric(5)
    weights = rng.uniform(0.5, 2, N)
    plain, compiled = (
        starts(x, weights, N, family, allocation, init, 3, np.random.default_rng(0), None, 8, compiled)
        for compiled in (False, True)
    )
    np.testing.assert_allclose(compiled, plain, atol=1e-9 * N)


@pytest.mark.parametrize(("restarts", "rounds"), [(1, 0), (4, 0), (10, 5)])
def test_few_moves_are_tried_where_every_start_came_to_one_optimum(restarts, rounds, rng, monkeypatch):
    x = three_clusters(60, rng, separation=9.0)
    family, allocation = COVARIANCES["tied"].from_data(x, 3), Dirichlet.symmetric(3)
    tried = []
    moves = moves_of._moves
    monkeypatch.setattr(moves_of, "_moves", lambda *a: tried.append(a) or moves(*a))
    fit = em.fit(x, family, allocation, rng=0, restarts=restarts)
    assert fit.info["reached"] == restarts
    assert len(tried) == rounds


def test_only_the_runs_ahead_are_continued(rng):
    x = three_clusters(400, rng, separation=1.5)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    every = em.fit(x, family, allocation, rng=np.random.default_rng(8), restarts=8)
    kept = em.fit(x, family, allocation, rng=np.random.default_rng(8), restarts=8, keep=2)
    assert kept.info["restarts"] == 8
    assert kept.info["reached"] <= 2
    assert kept.bound[-1] == pytest.approx(every.bound[-1], abs=1e-4)
    assert np.all(np.diff(kept.bound) >= -1e-9)
    with pytest.raises(ValueError, match="keep is 0"):
        em.fit(x, family, allocation, rng=rng, keep=0)


@pytest.mark.parametrize("reg_covar", [0.0, 0.01])
@every_method
@every_structure
def test_many_data_sets_are_fitted_as_each_alone_is(covariance, method, reg_covar, rng):
    xs = np.stack([three_clusters(60, rng) * scale + shift for scale, shift in ((1, 0), (3, -5), (0.1, 100))])
    families, allocation = [COVARIANCES[covariance].from_data(x, 3) for x in xs], Dirichlet.symmetric(3)
    settings = {"restarts": 4, "tol": 1e-13, "reg_covar": reg_covar}
    together = MANY[method](xs, families, allocation, rng=np.random.default_rng(8), **settings)
    for x, family, rng_, fit in zip(xs, families, np.random.default_rng(8).spawn(3), together, strict=True):
        alone = FITS[method](x, family, allocation, rng=rng_, **settings)
        assert fit.bound[-1] == pytest.approx(alone.bound[-1], rel=1e-9)
        assert fit.info["collapsed"] == alone.info["collapsed"]
        np.testing.assert_allclose(fit.log_predictive(x), alone.log_predictive(x), atol=1e-4)
        if method == "em":
            assert fit.info["bic"] == pytest.approx(alone.info["bic"], rel=1e-8, abs=1e-5)
            assert fit.info["icl"] == pytest.approx(alone.info["icl"], rel=1e-5, abs=1e-4)


def test_more_data_sets_than_move_together(rng, monkeypatch):
    xs = rng.standard_normal((7, 30, 1))
    families, allocation = [COVARIANCES["full"].from_data(x, 2) for x in xs], Dirichlet.symmetric(2)
    once = cavi.fit_many(xs, families, allocation, rng=np.random.default_rng(9), restarts=2)
    monkeypatch.setattr("mixtures.ascent.many.TOGETHER", 4)
    again = cavi.fit_many(xs, families, allocation, rng=np.random.default_rng(9), restarts=2)
    assert [fit.bound[-1] for fit in once] == pytest.approx([fit.bound[-1] for fit in again])


def test_a_collapse_among_many_is_returned_in_its_place(rng):
    xs = [three_clusters(30, rng)[:, :1], collapsed_data(), rng.standard_normal((30, 1))]
    families, allocation = [COVARIANCES["full"].from_data(x, 2) for x in xs], Dirichlet.symmetric(2)
    fits = em.fit_many(xs, families, allocation, rng=rng, init="k-means", restarts=3)
    assert isinstance(fits[1], CollapseError)
    assert "all 3 starts ended in a collapse" in str(fits[1])
    assert fits[0].method == "em"


def test_many_that_stop_early_are_counted_once(rng):
    xs = [three_clusters(50, rng, separation=1.0) for _ in range(3)]
    families, allocation = [COVARIANCES["full"].from_data(x, 3) for x in xs], Dirichlet.symmetric(3)
    with pytest.warns(ConvergenceWarning, match="no convergence in 2 passes in 3 of 3 data sets"):
        fits = cavi.fit_many(xs, families, allocation, rng=rng, max_iter=2)
    assert not any(fit.converged for fit in fits)


def test_unequal_data_sets_are_refused(rng):
    xs = [rng.standard_normal((20, 2)), rng.standard_normal((21, 2))]
    families, allocation = [COVARIANCES["full"].from_data(x, 2) for x in xs], Dirichlet.symmetric(2)
    with pytest.raises(ValueError, match="must have one shape"):
        em.fit_many(xs, families, allocation, rng=rng)
    with pytest.raises(ValueError, match="2 data sets, 1 families"):
        em.fit_many(xs, families[:1], allocation, rng=rng)


def learn(method, x, family, allocation, size, **settings):
    fit = None
    for start in range(0, len(x), size):
        fit = ONLINE[method](x[start : start + size], family, allocation, previous=fit, **settings)
    return fit


@every_method
@every_structure
def test_batches_of_one_cluster_add_up_to_the_whole(covariance, method, rng):
    """K = 1 has no responsibilities to revise, so that at kappa = 1 nothing is lost; the last batch is a short one."""
    x = rng.standard_normal((130, 2)) * [1.0, 3.0]
    family, allocation = COVARIANCES[covariance].from_data(x, 1), Dirichlet.symmetric(1)
    pieces = learn(method, x, family, allocation, 40, kappa=1.0, rng=rng)
    whole = FITS[method](x, family, allocation, rng=rng)
    assert pieces.info["batches"] == 4
    np.testing.assert_allclose(pieces.log_predictive(x), whole.log_predictive(x), rtol=1e-10)
    assert pieces.bound.size == 0
    assert not pieces.converged


def test_the_early_batches_are_forgotten_at_the_rate_asked_for(rng):
    """Two batches, K = 1: weights (1 - rho) and rho with rho = (30 / 50)^0.6."""
    x = rng.standard_normal((50, 1))
    family, allocation = COVARIANCES["full"].from_data(x, 1), Dirichlet.symmetric(1)
    fit = em.partial_fit(x[:20], family, allocation, rng=rng)
    fit = em.partial_fit(x[20:], family, allocation, previous=fit, kappa=0.6, rng=rng)
    rho = (30 / 50) ** 0.6
    mean = family.to_data(fit.parameters(1, rng)[1])["means"][0, 0, 0]
    assert mean == pytest.approx((1 - rho) * x[:20].mean() + rho * x[20:].mean(), rel=1e-10)


@pytest.mark.parametrize("method", ["em", "cavi"])
def test_one_reading_in_batches_comes_close_to_the_optimum(method, rng):
    """Twenty thousand points in fifty batches: the log density is within a hundredth of a nat a point of the full fit's."""
    x = three_clusters(20_000, rng, separation=3.0)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    fit = learn(method, x, family, allocation, 400, rng=rng)
    whole = FITS[method](x, family, allocation, rng=rng, restarts=3)
    gap = whole.log_predictive(x).mean() - fit.log_predictive(x).mean()
    assert -1e-6 < gap < 0.01


def test_the_posterior_counts_the_observations_it_is_told(rng):
    x = rng.standard_normal((60, 1))
    family, allocation = COVARIANCES["full"].from_data(x, 1), Dirichlet.symmetric(1)
    seen = cavi.partial_fit(x, family, allocation, rng=rng)
    told = cavi.partial_fit(x, family, allocation, rng=rng, total=6000)
    assert seen.posterior.theta.beta[0] == pytest.approx(60.01)
    assert told.posterior.theta.beta[0] == pytest.approx(6000.01)


@pytest.mark.parametrize(("change", "message"), [({"kappa": 0.5}, "kappa is 0.5"), ({"total": -1.0}, "total is -1.0")])
def test_bad_rates_are_refused(change, message, rng):
    x = rng.standard_normal((60, 1))
    with pytest.raises(ValueError, match=message):
        cavi.partial_fit(x, COVARIANCES["full"].from_data(x, 1), Dirichlet.symmetric(1), rng=rng, **change)


@pytest.mark.robustness("numbers")
@every_structure
def test_many_fits_go_on_as_one_does_where_clusters_are_tight(covariance):
    """Three clusters 10^6 of their standard deviations apart: about one origin no digit of a variance is left."""
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    xs = [np.concatenate([corner + 1e-6 * rng.standard_normal((12, 2)) for corner in corners]) for _ in range(2)]
    families = [COVARIANCES[covariance].from_data(x, 3) for x in xs]
    allocation = Dirichlet.symmetric(3)
    together = em.fit_many(xs, families, allocation, rng=[1, 2], restarts=4)
    for fit, x, family, seed in zip(together, xs, families, (1, 2), strict=True):
        apart = em.fit(x, family, allocation, rng=seed, restarts=4)
        assert fit.bound[-1] == pytest.approx(apart.bound[-1], rel=1e-12)
        assert fit.info == pytest.approx(apart.info)
        of_groups = np.array([part.mean(0) for part in np.split(x, 3)])
        means = family.to_data({name: v[0, 0] for name, v in fit.held.theta.items()})["means"]
        np.testing.assert_allclose(sorted(means.tolist()), sorted(of_groups.tolist()), atol=1e-12)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("K", [1, 2])
def test_features_that_depend_are_named_with_the_combination(covariance, K):
    """Under a given prior scale nothing before EM asks for the data's own covariance."""
    x = np.random.default_rng(0).standard_normal((40, 2))
    x = np.column_stack([x, 2 * x[:, 0] - x[:, 1] + 3])
    family, allocation = COVARIANCES[covariance].from_data(x, K, W0=np.eye(3)), Dirichlet.symmetric(K)
    with pytest.raises(
        SingularError, match=r"feature 2 = 2 feature 0 - feature 1 \+ 3: every covariance is singular"
    ) as caught:
        em.fit(x, family, allocation, rng=0, restarts=2)
    assert isinstance(caught.value, CollapseError)
    assert caught.value.named("abc").startswith("'c' = 2 'a' - 'b' + 3: ")
    assert np.isfinite(em.fit(x, family, allocation, rng=0, restarts=2, reg_covar=1e-3).bound[-1])


@pytest.mark.robustness("numbers")
def test_only_numbers_are_said_to_depend_on_each_other():
    """A number that repeats a binary column makes no covariance singular; one that repeats a number does, by its own place."""
    rng = np.random.default_rng(0)
    binary, number = (rng.random(40) < 0.5) * 1.0, rng.standard_normal(40)
    allocation = Dirichlet.symmetric(2)
    mixed = tables.family_of(
        x := np.column_stack([binary, binary + 1, number]), 2, ["bernoulli", "gaussian", "gaussian"]
    )
    assert em.singular(x, mixed) is None
    twice = np.column_stack([number, binary, 2 * number])
    family = tables.family_of(twice, 2, ["gaussian", "bernoulli", "gaussian"], prior={"W0": np.eye(2)})
    with pytest.raises(SingularError) as caught:
        em.fit(twice, family, allocation, rng=0, restarts=2)
    assert caught.value.named("abc").startswith("'c' = 2 'a': ")


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("method", ONLINE)
def test_a_batch_unlike_those_before_it_is_named(method):
    """Batches at an offset are learned as they are without; one that leaves the first by 10^7 is refused with what to do."""
    rng, allocation = np.random.default_rng(0), Dirichlet.symmetric(2)
    x = three_clusters(120, rng)
    learn, means = ONLINE[method], []
    for offset in (0.0, 1e7):
        family, fit = COVARIANCES["full"].from_data(x[:60] + offset, 2), None
        for first in (0, 60):
            fit = learn(x[first : first + 60] + offset, family, allocation, rng=0, previous=fit)
        own = family.to_data({name: v[0, 0] for name, v in fit.as_draws(1, 1, 0).held.theta.items()})["means"] - offset
        means.append(own[own[:, 0].argsort()])
    if method != "cavi":  # of that it is a draw
        np.testing.assert_allclose(*means, atol=1e-5)
    family = COVARIANCES["full"].from_data(x[:60], 2)
    fit = learn(x[:60], family, allocation, rng=0)
    with pytest.raises(
        CollapseError, match=r"the rows of batch 2 lie .* begin with rows that look like the whole \(shuffle"
    ):
        learn(x[60:] + 1e7, family, allocation, rng=0, previous=fit)
