"""The compiled ascent of small data: equal to the readable loop, and used only where it repays its loading."""

import os
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import collapsed_data, three_clusters

from mixtures import (
    COVARIANCES,
    BayesianGaussianMixture,
    Dirichlet,
    Gaussian,
    GaussianHMM,
    GaussianMixture,
    Markov,
    Sequences,
    VariationalGaussianHMM,
)
from mixtures.allocations.stick_breaking import StickBreaking
from mixtures.ascent import whole
from mixtures.ascent.candidates import begun, climb_from_best
from mixtures.ascent.climb import climb
from mixtures.ascent.starts import starts
from mixtures.engines import loading, objects
from mixtures.engines.passes import blur, noise, one_pass
from mixtures.errors import CollapseError, DistinctRowsError
from mixtures.estimators import base
from mixtures.methods import cavi, em

METHODS = {"em": em, "cavi": cavi}
ALLOCATIONS = {"dirichlet": Dirichlet.symmetric(3, 0.7), "sticks": StickBreaking(3, 1.3)}


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Compiled loops wherever they serve."""
    pytest.importorskip("mixtures.engines.whole")
    for where, name in ((loading, "repaid"), (whole, "_ready")):
        monkeypatch.setattr(where, name, lambda *_, **__: True)


def problem(x, weights, covariance, method, allocation, reg_covar=0.0):
    """The readable step and pass, the compiled ascent, and hard starts softened in turn."""
    family = COVARIANCES[covariance].from_data(x, allocation.n_components)
    step = METHODS[method].step
    compiled = whole.whole(step, x, weights, family, allocation, reg_covar)
    natural = partial(step, family, allocation)
    pass_ = one_pass(x, weights, family, len(x), reg_covar, "plain")
    hard = starts(x, weights, len(x), family, allocation, "k-means++", 4, np.random.default_rng(1))
    return natural, pass_, compiled, begun(natural, blur(hard, noise(family, reg_covar)))


def same_trace(runs, plain):
    """Equal but for rounding, which grows near a saddle and is then a lag: seen in proportion to what a pass gains."""
    ours, theirs = np.array(runs.trace), np.array(plain.trace)
    gain = np.nanmax(np.abs(np.diff(theirs, axis=0)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-7 * gain)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_steps_passes_and_climbs_equal_the_readable_ones(covariance, method, allocation, rng):
    """Weighted rows far from the origin, with noise about them: the same numbers pass by pass, guesses included."""
    x = 5 + three_clusters(60, rng, separation=2.5) * [3.0, 0.5]
    weights = rng.uniform(0.2, 2, 60)
    natural, pass_, compiled, s = problem(x, weights, covariance, method, ALLOCATIONS[allocation], 0.1)
    for ours, theirs in ((compiled.natural(s), natural(s)), (compiled.pass_(natural(s)[0]), pass_(natural(s)[0]))):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-10)
    for start in s:
        plain = climb(lambda _: (natural, pass_), start[None], weights.sum(), 1e-7, 300, True)
        runs = compiled.climb(start[None], weights.sum(), 1e-7, 300, True)
        same_trace(runs, plain)
        np.testing.assert_allclose(runs.s, plain.s, rtol=1e-8, atol=1e-8)
        assert (runs.converged, runs.passes) == (plain.converged, plain.passes)


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("method", METHODS)
def test_sequences_climb_as_they_do_by_the_readable_loop(method, covariance, rng):
    """Weighted series, one of a single step, with starts and transitions under a prior: sixty passes, and the end."""
    x = three_clusters(60, rng, separation=2.0)[np.argsort(np.repeat(rng.permutation(12), 5), kind="stable")]
    rows, weights = Sequences(x, [40, 1, 19]), np.repeat([1.0, 2.0, 0.5], [40, 1, 19])
    allocation = Markov(np.array([0.5, 2.0, 1.2]), 1 + np.eye(3) * [2.0, 0.5, 1.0])
    natural, pass_, compiled, s = problem(rows, weights, covariance, method, allocation, 0.01)
    for ours, theirs in ((compiled.natural(s), natural(s)), (compiled.pass_(natural(s)[0]), pass_(natural(s)[0]))):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)
    for start in s[:2]:
        for passes in (60, 300):
            plain = climb(lambda _: (natural, pass_), start[None], weights.sum(), 1e-7, passes, True)
            runs = compiled.climb(start[None], weights.sum(), 1e-7, passes, True)
            if passes == 60:  # beyond them rounding may have grown to a lag
                same_trace(runs, plain)
                np.testing.assert_allclose(runs.s, plain.s, rtol=1e-7, atol=1e-7)
                assert runs.passes == plain.passes
        assert runs.converged == plain.converged
        np.testing.assert_allclose(runs.end, plain.end, atol=1e-5)


def test_a_run_takes_its_own_path_whatever_runs_are_beside_it(rng):
    x = three_clusters(80, rng, separation=2.0)
    *_, compiled, s = problem(x, None, "full", "cavi", ALLOCATIONS["dirichlet"])
    beside = compiled.climb(s, 80, 1e-8, 200, True)
    for run, start in enumerate(s):
        alone = compiled.climb(start[None], 80, 1e-8, 200, True)
        np.testing.assert_array_equal(beside.s[run], alone.s[0])
        np.testing.assert_array_equal(beside.bounds(run), alone.bounds(0))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_clusters_collapse_where_the_readable_loop_says_so(covariance, rng):
    x = collapsed_data() if covariance != "tied" else np.repeat([[0.0], [1.0], [5.0]], 10, axis=0)
    unit = np.eye(1) if covariance in ("full", "tied") else np.ones(1)
    family, allocation = COVARIANCES[covariance](np.zeros(1), unit, None), Dirichlet.symmetric(3)
    natural, pass_ = partial(em.step, family, allocation), one_pass(x, None, family, len(x))
    compiled = whole.whole(em.step, x, None, family, allocation)
    s = starts(x, None, len(x), family, allocation, "k-means++", 6, rng)
    plain = climb(lambda _: (natural, pass_), s, len(x), 1e-6, 200, True)
    runs = compiled.climb(s, len(x), 1e-6, 200, True)
    assert plain.collapsed.any()
    np.testing.assert_array_equal(runs.collapsed, plain.collapsed)
    np.testing.assert_array_equal(runs.passes, plain.passes)
    assert str(runs.errors[0]) == str(plain.errors[0])
    assert np.isneginf(runs.end[runs.collapsed]).all()
    with pytest.raises(CollapseError, match="empty"):
        compiled.natural(s * [[0.0], [1.0], [1.0]])


def test_short_runs_end_once_each_start_has_one_that_has_converged(rng):
    x = three_clusters(60, rng, separation=6.0)
    natural, pass_, compiled, s = problem(x, None, "full", "em", ALLOCATIONS["dirichlet"])
    same = {"n": 60, "each": 2, "tol": 1e-6, "max_iter": 500, "accelerate": True}
    plain, _ = climb_from_best(lambda _: (natural, pass_), s, **same)
    runs, _ = climb_from_best(lambda _: (natural, pass_), s, whole=compiled, **same)
    np.testing.assert_array_equal(runs.passes, plain.passes)
    np.testing.assert_allclose(runs.end, plain.end, rtol=1e-10)


def test_bounds_that_fall_or_are_no_numbers_are_refused(rng):
    x = three_clusters(60, rng, separation=2.0)
    *_, compiled, s = problem(x, None, "full", "em", ALLOCATIONS["dirichlet"])
    weights = np.where(np.arange(60) % 20 == 0, -2.0, 1.0)[None]  # the less probable, the better, for three of the rows
    x, _, *others = compiled.rows
    wrong = replace(compiled, rows=(x, weights, *others))
    with pytest.raises(ArithmeticError, match=r"the bound fell by .* nats in pass"):
        wrong.climb(s, 60, 1e-8, 50, True)
    nowhere = replace(compiled, rows=(np.nan * compiled.rows[0], *compiled.rows[1:]))
    with pytest.raises(ArithmeticError, match="the bound is nan after 0 passes"):
        nowhere.climb(s, 60, 1e-8, 50, True)


@pytest.mark.parametrize("init", ["k-means++", "k-means", "rows"])
def test_compiled_starts_equal_the_readable_ones(init, rng):
    x, weights = 100 + three_clusters(60, rng), rng.uniform(0.2, 2, 60)
    model = Gaussian.from_data(x, 3), Dirichlet.symmetric(3), init, 5
    plain, compiled = (
        starts(x, weights, 60, *model, np.random.default_rng(2), candidates=4, compiled=how) for how in (False, True)
    )
    np.testing.assert_allclose(compiled, plain, rtol=1e-12, atol=1e-10)
    with pytest.raises(DistinctRowsError, match="the data have 2"):
        starts(np.repeat(x[:2], 9, axis=0), None, 18, *model, rng, compiled=True)


@pytest.mark.parametrize("cls", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_estimators_fit_the_same_with_either(cls, covariance, rng, monkeypatch):
    x = three_clusters(60, rng, separation=3.0)
    mixture = partial(cls, n_components=3, covariance_type=covariance, n_init=2, random_state=0)
    compiled = mixture().fit(x)
    monkeypatch.setattr(loading, "repaid", lambda *_, **__: False)
    plain = mixture().fit(x)
    assert compiled.n_iter_ == plain.n_iter_
    assert compiled.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-10)
    np.testing.assert_allclose(compiled.covariances_, plain.covariances_, rtol=1e-7)


@pytest.mark.parametrize("cls", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_batches_move_estimators_the_same_with_either(cls, covariance, rng, monkeypatch):
    """Batches of several sizes and one of weighted rows; a ridge that is changed on the way is heeded."""
    x = 5 + three_clusters(200, rng, separation=3.0) * [1.0, 3.0]

    def learned():
        mixture = cls(n_components=3, covariance_type=covariance, random_state=0).partial_fit(x[:80])
        mixture.partial_fit(x[80:140]).set_params(reg_covar=0.1)
        return mixture.partial_fit(x[140:170]).partial_fit(x[170:], sample_weight=rng.permutation(30) + 1.0)

    monkeypatch.setattr(loading, "repaid", lambda *_, **__: False)
    state = rng.bit_generator.state
    plain = learned()
    rng.bit_generator.state = state
    monkeypatch.setattr(loading, "repaid", lambda _, saved: not 0.1 < saved < 0.3)  # for batches alone
    compiled = learned()
    assert compiled in base.COMPILED
    assert plain not in base.COMPILED
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_", "degrees_of_freedom_"):
        if hasattr(plain, name):
            np.testing.assert_allclose(getattr(compiled, name), getattr(plain, name), rtol=1e-11, atol=1e-13)
            assert np.shape(getattr(compiled, name)) == np.shape(getattr(plain, name))


def test_batches_that_leave_no_digits_are_refused_with_the_same_words(rng):
    x = np.repeat(rng.standard_normal((2, 1)), 30, axis=0)
    mixture = GaussianMixture(2, reg_covar=1e-6, random_state=0).partial_fit(x + 1e-3 * rng.standard_normal((60, 1)))
    mixture.set_params(reg_covar=0)
    with pytest.raises(CollapseError, match="collapsed: its smallest variance is zero to rounding"):
        _ = [mixture.partial_fit(x, kappa=0.51) for _ in range(400)]


@pytest.mark.parametrize(("engine", "loaded"), [("none", loading.LOADED_AFTER), ("whole", loading.LINKED_AFTER)])
def test_small_fits_run_in_the_plain_loop_until_compiled_loops_repay_their_loading(engine, loaded, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(loading, "_look_again", {})
    monkeypatch.delitem(sys.modules, f"mixtures.engines.{engine}", raising=False)
    repaid = partial(loading.repaid, f"mixtures.engines.{engine}")
    for compiled, after in ((True, loaded), (False, loading.COMPILED_AFTER)):
        monkeypatch.setattr(loading, "compiled", lambda _, compiled=compiled: compiled)
        monkeypatch.setattr(loading, "_saved", 0)
        assert not any(repaid(saved=0.5) for _ in range(2 * after))
        assert repaid()


def test_fits_whose_digits_must_not_depend_on_the_process_take_it_by_size_alone(rng, monkeypatch):
    """EM on 5600 rows, a pass of which is compiled anyway, but not on 100; and the answer of the loop is the same."""
    taken = []
    climbed = whole.Whole.climb
    monkeypatch.setattr(whole.Whole, "climb", lambda self, s, *a: taken.append(len(s)) or climbed(self, s, *a))
    model = Gaussian.from_data(three_clusters(100, rng), 3), Dirichlet.symmetric(3)
    em.fit(three_clusters(100, rng), *model, rng=1, restarts=2)
    assert taken == []
    x = three_clusters(5600, rng, separation=3.0)
    compiled = em.fit(x, *model, rng=1, restarts=2)
    assert taken
    monkeypatch.setattr(whole, "_ready", lambda: False)
    assert em.fit(x, *model, rng=1, restarts=2).bound[-1] == pytest.approx(compiled.bound[-1], rel=1e-10)


def test_the_cache_of_an_older_source_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not loading.compiled(whole.ENGINE)
    (tmp_path / "engines_1").mkdir()
    (tmp_path / "engines_1" / "whole.climb-1.py313.1.nbc").touch()  # of an older version, in which numba kept it
    assert not loading.compiled(whole.ENGINE)
    (tmp_path / "engines_1" / "whole.1.o").touch()  # for another processor
    assert not loading.compiled(whole.ENGINE)
    cached = tmp_path / "engines_1" / f"whole{objects.ending()}"
    cached.touch()
    assert loading.compiled(whole.ENGINE)
    os.utime(cached, (0, 0))
    assert not loading.compiled(whole.ENGINE)


@pytest.mark.parametrize("cls", [GaussianHMM, VariationalGaussianHMM])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_hidden_markov_models_fit_the_same_with_either(cls, covariance, rng, monkeypatch):
    """Under a prior that all states share: the step, the bounds pass by pass, what is fitted, and the better end of two."""
    x = np.array([[3.0, -1.0]]) + three_clusters(60, rng, separation=3.0)[np.argsort(rng.permutation(60) // 8)]
    prior = {"startprob_prior": 1.5, "transmat_prior": 1 + np.eye(3), "means_prior": 1.0}
    if cls is GaussianHMM:
        prior |= {"means_weight": 0.5, "covars_prior": 0.3, "covars_weight": 4.0}
    model = partial(cls, 3, covariance_type=covariance, n_iter=200, tol=1e-6, n_init=1, random_state=0, **prior)
    used = []
    climbed = whole.Whole.climb
    monkeypatch.setattr(whole.Whole, "climb", lambda self, s, *a: used.append(self) or climbed(self, s, *a))
    compiled = model().fit(x, [40, 1, 19])
    best = model(n_init=2).fit(x, [40, 1, 19])
    s = rng.uniform(1, 5, (1, 3, 1)) * used[0].pass_(rng.normal(size=(1, 3, used[0].rows[2].shape[1] + 4)))[1]
    for ours, theirs in zip(used[0].natural(s), used[0].plain(s), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    for where, name in ((loading, "repaid"), (whole, "_ready")):
        monkeypatch.setattr(where, name, lambda *_, **__: False)
    plain = model().fit(x, [40, 1, 19])
    end = model(n_init=2).fit(x, [40, 1, 19]).monitor_.history[-1]
    assert len(used) == 2
    assert end == pytest.approx(best.monitor_.history[-1], rel=1e-10)
    np.testing.assert_allclose(compiled.monitor_.history, plain.monitor_.history, rtol=1e-10)
    np.testing.assert_allclose(compiled.covars_, plain.covars_, rtol=1e-6)
    np.testing.assert_allclose(compiled.transmat_, plain.transmat_, rtol=1e-6, atol=1e-9)


def test_what_of_a_hidden_markov_model_is_held_keeps_it_from_being_compiled(rng, monkeypatch):
    x = three_clusters(40, rng)
    monkeypatch.setattr(whole.Whole, "climb", None)
    model = partial(GaussianHMM, 2, n_iter=200, random_state=0)
    held = model(params="tmc"), model(means_weight=[0.5, 1.0])
    assert all(np.isfinite(model.fit(x).score(x)) for model in held)
    left_to_right = model(init_params="mc")
    left_to_right.startprob_, left_to_right.transmat_ = np.array([1.0, 0.0]), np.array([[0.9, 0.1], [0.0, 1.0]])
    assert left_to_right.fit(x).transmat_[1, 0] == 0


def test_fits_count_for_more_the_more_rows_and_steps_they_have(monkeypatch, rng):
    counted = []
    monkeypatch.setattr(loading, "repaid", lambda engine, saved: counted.append(saved))
    monkeypatch.setattr(loading, "count", counted.append)
    few = three_clusters(60, rng, separation=9.0)
    clear, blurred, more = few, rng.standard_normal((60, 2)), np.repeat(few, 20, axis=0)
    shares = []
    for x in (clear, blurred, more):
        counted.clear()
        GaussianMixture(3, random_state=0).fit(x)
        shares.append(sum(counted))
    assert shares[0] > 0.25
    assert 2 * shares[0] < min(shares[1:])


@pytest.mark.parametrize("D", [2, 20])  # of 20 features the products are not written out
def test_a_first_fit_of_more_rows_loads_no_loops(D, rng, monkeypatch):
    """Its passes are NumPy's, and count; those after they repay are compiled ones, with the same answer."""
    x = three_clusters(6000, rng, separation=3.0) @ rng.standard_normal((2, D)) + rng.standard_normal((6000, D))
    mixture = partial(GaussianMixture, n_components=3, random_state=0, max_iter=20)
    counted = []
    monkeypatch.setattr(loading, "repaid", lambda engine, saved: counted.append((engine, saved)))
    plain = mixture().fit(x)
    passes = [saved for engine, saved in counted if engine == "mixtures.engines.fused"]
    assert len(passes) > plain.n_iter_
    assert min(passes) > 0
    left = iter(range(len(passes) // 2))
    monkeypatch.setattr(loading, "repaid", lambda engine, saved: "fused" in engine and next(left, None) is None)
    compiled = mixture().fit(x)
    assert compiled.n_iter_ == plain.n_iter_
    assert compiled.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-12)
    np.testing.assert_allclose(compiled.covariances_, plain.covariances_, rtol=1e-8, atol=1e-12)
