"""The engines agree, and so do all the ways to bring the data: blocks, memory maps, weights, other number types."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import three_clusters

from mixtures import COVARIANCES, Bernoulli, Categorical, Dirichlet, Gaussian, Poisson, Product
from mixtures.ascent.starts import starts
from mixtures.engines import coded, fused, matrices, passes, plain, responsibilities, softmax
from mixtures.engines.passes import FUSED_FROM, noise, one_pass
from mixtures.engines.responsibilities import COMPILED_FROM
from mixtures.methods import cavi, em
from mixtures.rows.moments import moments
from mixtures.rows.reading import BLOCK

every_structure = pytest.mark.parametrize("covariance", COVARIANCES)
METHODS = {"em": em.fit, "cavi": cavi.fit, "map": lambda *args, **options: em.fit(*args, prior=True, **options)}
every_method = pytest.mark.parametrize("method", METHODS)


# From 16 features on, those of full and tied are more than a block holds: left unformed where K is small, else formed twice.
SIZES = [(1, 1, 1), (255, 2, 3), (257, 1, 2), (3000, 5, 4), (700, 7, 1), (500, 16, 3), (300, 16, 9), (250, 70, 2)]


def agree(ours, theirs, rtol):
    """Bounds and parameters in the units of the data."""
    assert ours.bound[-1] == pytest.approx(theirs.bound[-1], rel=rtol)
    a, b = (fit.parameters(1, np.random.default_rng(0)) for fit in (ours, theirs))
    np.testing.assert_allclose(a[0], b[0], rtol=rtol)
    for name, value in ours.family.to_data(a[1]).items():
        other = theirs.family.to_data(b[1])[name]
        np.testing.assert_allclose(value, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("runs", [(), (3,)], ids=["one run", "three runs"])
@pytest.mark.parametrize(("N", "D", "K"), SIZES)
@every_structure
def test_the_fused_pass_is_the_plain_one(covariance, N, D, K, runs, rng):
    family = COVARIANCES[covariance].from_data(rng.standard_normal((50 + 2 * D, D)) + 3, K)
    x, weights = rng.standard_normal((N, D)) * 2 + 3, rng.random(N)
    eta = rng.standard_normal((*runs, K, family.features(x).shape[1])) * 0.3
    for w in (None, weights):
        (log_z, s), (expected_log_z, expected_s) = (engine.pass_(family, x, w, eta) for engine in (fused, plain))
        assert log_z.shape == runs
        np.testing.assert_allclose(log_z, expected_log_z, rtol=1e-13, atol=1e-12)
        np.testing.assert_allclose(s, expected_s, rtol=1e-10, atol=1e-12 * np.abs(expected_s).max())


@pytest.mark.parametrize("way", ["rows", "weights", "noise", "blocks", "fused"])
@pytest.mark.parametrize(("N", "D", "K"), [(60, 1, 1), (255, 2, 3), (5000, 5, 4), (300, 16, 3)])
def test_clusters_of_one_covariance_are_told_apart_by_their_means_alone(N, D, K, way, rng):
    """Passes over (1, z) lead to the same, z z^T in its sum over clusters and by the share of the points."""
    x, weights = rng.standard_normal((N, D)) * 2 + 3, rng.random(N) if way == "weights" else None
    family, Q = COVARIANCES["tied"].from_data(x, K), 1 + D
    rows = [x[:40], x[40:]] if way == "blocks" else x
    pass_ = one_pass(rows, weights, family, N, way == "noise", "fused" if way == "fused" else "auto")
    extra = noise(family, 0.0 + (way == "noise"))
    for _ in range(3):
        s = rng.dirichlet(np.ones(K), (2, N)).swapaxes(-1, -2) @ family.features(x)
        eta = family.natural(family.maximum_likelihood(s))
        constant = eta.copy()
        constant[..., 0] += eta @ extra[0][0]
        log_z, expected = plain.pass_(family, x, weights, constant)
        ours, s = pass_(eta)
        expected = passes.blur(expected, extra)
        np.testing.assert_allclose(ours, log_z, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(s[..., :Q], expected[..., :Q], rtol=1e-10, atol=1e-11 * N)
        np.testing.assert_allclose(s.sum(-2), expected.sum(-2), rtol=1e-10, atol=1e-11 * N)
        np.testing.assert_allclose(
            s[..., Q:] * s[..., :1].sum(-2, keepdims=True), s[..., :1] * s.sum(-2)[..., None, Q:]
        )


def codes_of(kind, N, rng):
    """Points that are codes in whole or in part, and their family: five columns and more, of levels from 1 to 300."""
    levels = [2, 5, 1, 3, 300]
    if kind == "bernoulli":
        x = rng.integers(0, 2, (N, 43)).astype(float)
        return x, Bernoulli.from_data(x, 2)
    x = np.column_stack([rng.integers(0, C, N) for C in levels]).astype(float)
    if kind == "categorical":
        return x, Categorical.from_data(x, 2, levels=levels)
    x = np.column_stack([x[:, 1], rng.standard_normal(N), x[:, 0], rng.poisson(3, N), rng.standard_normal(N), x[:, 4]])
    parts = [Gaussian, Poisson, Bernoulli, Categorical]
    options = [{}, {}, {}, {"levels": [300, 5]}]
    if kind == "numbers out of order":
        x, parts, options = x[:, [1, 3, 4]], parts[:2], options[:2]
        return x, Product.from_data(x, 2, families=parts, columns=[[0, 2], [1]], hyperparameters=options)
    columns = [[1, 4], [3], [2], [5, 0]]
    return x, Product.from_data(x, 2, families=parts, columns=columns, hyperparameters=options)


@pytest.mark.parametrize("runs", [(), (3,)], ids=["one run", "three runs"])
@pytest.mark.parametrize(("N", "K"), [(1, 1), (255, 4), (700, 5), (9000, 2)])
@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "product", "numbers out of order"])
def test_the_pass_over_packed_codes_is_the_plain_one(kind, N, K, runs, rng):
    x, family = codes_of(kind, max(N, 50), rng)
    x, weights, u = x[:N], rng.random(N), rng.random((*runs, N))
    eta = rng.standard_normal((*runs, K, family.features(x).shape[1])) * 0.1
    for w, uniform in ((None, None), (weights, None), (weights, u)):
        (log_z, s), (expected_log_z, expected_s) = (e.pass_(family, x, w, eta, uniform) for e in (coded, plain))
        assert log_z.shape == runs
        np.testing.assert_allclose(log_z, expected_log_z, rtol=1e-13, atol=1e-12)
        np.testing.assert_allclose(s, expected_s, rtol=1e-12, atol=1e-12 * np.abs(expected_s).max())


def test_columns_are_packed_while_their_levels_are_few():
    """Twenty binary columns are three tables of 256, 256 and 16 rows; 784 are tables of 32, so that they stay in cache."""
    few, many = (coded.packing(np.full(D, 2)) for D in (20, 784))
    assert np.diff(few.starts).tolist() == [256, 256, 16]
    assert np.diff(few.columns).tolist() == [8, 8, 4]
    assert set(np.diff(many.starts)) == {32, 16}
    assert np.diff(coded.packing(np.array([300, 2, 3])).starts).tolist() == [300, 6]


@pytest.mark.parametrize(("kind", "value"), [("bernoulli", 2.0), ("categorical", -1.0), ("product", 0.5)])
def test_a_code_of_no_level_is_refused_before_it_is_looked_up(kind, value, rng):
    x, family = codes_of(kind, 500, rng)
    x[70, 0] = value
    with pytest.raises(ValueError, match="in row 70, "):
        coded.Packed.of(family, x, None)
    with pytest.raises(ValueError, match="columns; the model has"):
        coded.Packed.of(family, x[:, 1:], None)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "product"])
def test_codes_in_blocks_are_fitted_as_one_matrix_is(kind, rng):
    """Parameters after the same five passes."""
    x, family = codes_of(kind, 1000, rng)
    allocation, r = Dirichlet.symmetric(3), rng.dirichlet(np.ones(3), 1000)
    settings = {"rng": rng, "init": r, "tol": 0.0, "max_iter": 5, "accelerate": False, "prior": True}
    fits = []
    for rows, engine in ((x, "plain"), (x, "fused"), (Blocks(x), "fused")):
        with pytest.warns(UserWarning, match="no convergence"):
            fits.append(em.fit(rows, family, allocation, engine=engine, **settings))
    for fit in fits[1:]:
        agree(fit, fits[0], 1e-10)


@pytest.mark.parametrize(("N", "D", "K"), [(1, 16, 1), (700, 19, 2), (321, 17, 8), (5000, 16, 3), (640, 22, 11)])
def test_wide_rows_are_passed_over_as_others_are_and_again_as_the_first_time(N, D, K, monkeypatch, rng):
    """With and without weights and drawn labels; the second pass keeps coordinates, and the third finds them."""
    monkeypatch.setattr(passes, "WIDE_FROM", 0)
    family = COVARIANCES["full"].from_data(rng.standard_normal((100, D)) + 3, K)
    x, u = rng.standard_normal((N, D)) * 2 + 3, rng.random((2, N))
    eta = rng.standard_normal((2, K, family.features(x).shape[1])) * 0.3
    for w, uniform in ((None, None), (rng.random(N), None), (None, u)):
        pass_ = one_pass(x, w, family, N * K, engine="fused")
        expected = plain.pass_(family, x, w, eta, uniform)
        found = [pass_(eta, uniform) for _ in range(3)]
        assert pass_.kept.size >= x.size
        np.testing.assert_allclose(found[0][0], expected[0], rtol=1e-13)
        np.testing.assert_allclose(found[0][1], expected[1], rtol=1e-10, atol=1e-12 * np.abs(expected[1]).max())
        for again in found[1:]:
            np.testing.assert_array_equal(again[0], found[0][0])
            np.testing.assert_array_equal(again[1], found[0][1])
        by_products = matrices.pass_(family, x, w, eta, uniform)
        np.testing.assert_allclose(by_products[0], expected[0], rtol=1e-13)
        np.testing.assert_allclose(by_products[1], expected[1], rtol=1e-10, atol=1e-12 * np.abs(expected[1]).max())


@pytest.mark.robustness("limits")
def test_few_passes_over_wide_rows_load_no_compiler_and_many_do():
    """Its 110 MB are more than scikit-learn's whole fit takes: of 1477 rows of 284 features with 20 clusters, 52 MB."""
    code = """
import sys, warnings, numpy as np
from mixtures import GaussianMixture
from mixtures.engines import passes
x = np.random.default_rng(0).normal(size=(1000, 200))
warnings.simplefilter("ignore")
for threshold in (1e12, 0):
    passes.LOADED_FROM = threshold
    print(GaussianMixture(5, max_iter=1, random_state=0).fit(x).lower_bound_, "numba" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    before, after = (line.split() for line in run.stdout.splitlines())
    assert (before[1], after[1]) == ("False", "True")
    assert float(before[0]) == pytest.approx(float(after[0]), rel=1e-11)


@every_structure
def test_data_sets_with_a_run_each_are_passed_over_apart(covariance, rng):
    family = COVARIANCES[covariance].from_data(rng.standard_normal((50, 2)), 3)
    xs, weights = rng.standard_normal((70, 40, 2)), rng.random((70, 40))
    eta = rng.standard_normal((70, 3, family.features(xs).shape[-1])) * 0.3
    for engine in (fused, plain):
        log_z, s = engine.pass_(family, xs, weights, eta)
        for g in (0, 31, 69):
            one_log_z, one_s = plain.pass_(family, xs[g], weights[g], eta[g])
            assert log_z[g] == pytest.approx(float(one_log_z), rel=1e-13)
            np.testing.assert_allclose(s[g], one_s, atol=1e-12 * np.abs(one_s).max())


@every_structure
def test_labels_are_drawn_with_their_responsibilities(covariance, rng):
    """Inversion of an even grid of u gives every label as often as it should, but for one in a row at each end."""
    family = COVARIANCES[covariance].from_data(rng.standard_normal((50, 2)), 3)
    x, weights, R = rng.standard_normal((300, 2)), rng.random(300), 500
    eta = rng.standard_normal((3, family.features(x).shape[1])) * 0.3
    u = np.broadcast_to((np.arange(R)[:, None] + 0.5) / R, (R, 300))
    for w in (None, weights):
        expected_log_z, expected = plain.pass_(family, x, w, eta)
        for engine in (fused, plain):
            log_z, s = engine.pass_(family, x, w, np.broadcast_to(eta, (R, *eta.shape)), u)
            np.testing.assert_allclose(log_z, expected_log_z, rtol=1e-12)
            np.testing.assert_allclose(s.sum(1), np.broadcast_to(expected.sum(0), s.sum(1).shape), rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(s.mean(0), expected, atol=2 / R * np.abs(family.features(x)).sum(0).max())
            if w is None:
                np.testing.assert_array_equal(s[..., 0], np.round(s[..., 0]))


@pytest.mark.parametrize(("N", "D", "K"), [(1, 1, 1), (257, 2, 3), (5000, 5, 4), (500, 16, 3)])
@every_structure
def test_engines_draw_the_same_labels(covariance, N, D, K, rng):
    family = COVARIANCES[covariance].from_data(rng.standard_normal((50, D)), K)
    x, weights, u = rng.standard_normal((N, D)), rng.random(N), rng.random((3, N))
    eta = rng.standard_normal((3, K, family.features(x).shape[1])) * 0.3
    for points, w, uniform in [
        (x, None, u),
        (x, weights, u),
        (rng.standard_normal((3, 40, D)), None, rng.random((3, 40))),
    ]:
        (_, s), (_, expected) = (engine.pass_(family, points, w, eta, uniform) for engine in (fused, plain))
        np.testing.assert_allclose(s, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("K", range(1, 12))
def test_every_number_of_clusters_is_tiled(K, rng):
    family = COVARIANCES["full"].from_data(rng.standard_normal((50, 2)), K)
    x, eta = rng.standard_normal((300, 2)), rng.standard_normal((K, 6)) * 0.3
    for own, expected in zip(fused.pass_(family, x, None, eta), plain.pass_(family, x, None, eta), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-11, atol=1e-11)


def test_far_and_impossible_points_keep_their_digits(rng):
    """Exponents from -1e5 to 0 within a point, and log densities of -1e8: nothing overflows, nothing is lost."""
    family = COVARIANCES["diag"].from_data(rng.standard_normal((50, 1)), 2)
    x = np.array([[0.0], [1e3], [-1e4]])
    eta = np.array([[0.0, 1.0, -0.5], [-3.0, -1.0, -0.1]])
    (log_z, s), (expected_log_z, expected_s) = (engine.pass_(family, x, None, eta) for engine in (fused, plain))
    assert expected_log_z < -1e6
    np.testing.assert_allclose(log_z, expected_log_z, rtol=1e-14)
    np.testing.assert_allclose(s, expected_s, rtol=1e-13, atol=1e-290)


def test_a_pass_that_is_not_a_number_says_so(rng):
    family = COVARIANCES["full"].from_data(rng.standard_normal((50, 2)), 2)
    x = rng.standard_normal((300, 2))
    for lost in (slice(2), 0, 1):
        eta = np.zeros((2, 6))
        eta[lost] = np.nan
        for engine in (fused, plain):
            assert np.isnan(engine.pass_(family, x, None, eta)[0])


@pytest.mark.parametrize("shape", [(1, 1), (500, 1, 3), (40, 70, 5), (3000, 2)])
def test_compiled_responsibilities_are_the_plain_ones(shape, rng):
    log_rho = np.moveaxis(rng.standard_normal(shape[::-1]) * 100, 0, -1)
    log_rho[0] -= 1e6
    log_z, r = softmax.normalise(log_rho)
    expected_log_z, expected_r = responsibilities.normalise(log_rho)
    np.testing.assert_allclose(log_z, expected_log_z, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(r, expected_r, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(softmax.log_sum(log_rho), log_z)


@pytest.mark.parametrize("name", ["normalise", "log_sum"])
def test_only_many_draws_are_compiled(name, monkeypatch):
    compiled = []
    monkeypatch.setattr(softmax, name, lambda log_rho: compiled.append(log_rho.size))
    for size in (COMPILED_FROM - 2, COMPILED_FROM):
        getattr(responsibilities, f"{name}_draws")(np.zeros((size // 2, 1, 2)))
    assert compiled == [COMPILED_FROM]


def test_the_number_of_threads_does_not_matter(rng, monkeypatch):
    family = COVARIANCES["full"].from_data(rng.standard_normal((50, 3)), 4)
    x, eta = rng.standard_normal((20_000, 3)), rng.standard_normal((4, 10))
    monkeypatch.setattr(fused, "A_THREAD", 1)
    threaded = fused.pass_(family, x, None, eta)
    monkeypatch.setattr(fused, "A_THREAD", 10**18)
    alone = fused.pass_(family, x, None, eta)
    np.testing.assert_array_equal(threaded[0], alone[0])
    np.testing.assert_array_equal(threaded[1], alone[1])


def test_the_number_of_threads_follows_the_work_of_a_pass(rng, monkeypatch):
    """A pass of half a million products is not shared, one of two million by four threads where there are as many."""
    started = []

    class Pool:
        def submit(self, work):
            started.append(work)
            return Future()

    class Future:
        def result(self):
            pass

    monkeypatch.setattr(fused, "pool", Pool)
    monkeypatch.setattr(fused.config, "NUMBA_NUM_THREADS", 8)
    family = COVARIANCES["full"].from_data(rng.standard_normal((50, 2)), 3)
    for rows, threads in ((30_000, 1), (111_200, 4)):
        started.clear()
        fused.pass_(family, rng.standard_normal((rows, 2)), None, rng.standard_normal((3, 6)))
        assert 1 + len(started) == threads


@every_method
@every_structure
def test_engines_reach_the_same_fit(covariance, method, rng):
    x = three_clusters(900, rng, separation=3.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    corners = 3.0 * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    by = [
        METHODS[method](x, family, allocation, rng=rng, init=corners, tol=1e-13, engine=engine)
        for engine in ("plain", "fused")
    ]
    assert by[0].bound[-1] == pytest.approx(by[1].bound[-1], rel=1e-10)
    assert by[0].info["passes"] > 5
    np.testing.assert_allclose(by[0].responsibilities(x), by[1].responsibilities(x), atol=1e-5)


@every_structure
def test_engines_agree_step_by_step(covariance, rng):
    """Parameters after the same thirty passes, 1e-10 apart at most."""
    x = three_clusters(900, rng, separation=3.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    settings = {"rng": rng, "init": x[:3], "tol": 0.0, "max_iter": 30, "accelerate": False}
    with pytest.warns(UserWarning, match="no convergence"):
        ours = em.fit(x, family, allocation, engine="fused", **settings)
    with pytest.warns(UserWarning, match="no convergence"):
        agree(ours, em.fit(x, family, allocation, engine="plain", **settings), 1e-10)


def test_the_engine_follows_from_the_size(rng):
    family = COVARIANCES["full"].from_data(rng.standard_normal((50, 2)), 3)
    few, enough = (int(FUSED_FROM / 6) + k for k in (-1, 1))
    assert one_pass(np.zeros((1, 2)), None, family, few).func is plain.over
    assert isinstance(one_pass(np.zeros((1, 2)), None, family, enough), passes.Again)
    x = rng.integers(0, 3, (9, 4)).astype(float)
    for kind in (Categorical, Bernoulli):
        own = kind.from_data(np.minimum(x, 1) if kind is Bernoulli else x, 2)
        assert isinstance(one_pass(np.minimum(x, 1), None, own, FUSED_FROM), coded.Packed)
        assert one_pass(np.minimum(x, 1), None, own, 18).func is plain.over
    with pytest.raises(ValueError, match="expected auto, plain, fused or jax"):
        one_pass(np.zeros((1, 2)), None, family, 1, engine="fast")


@every_method
@every_structure
def test_integer_weights_are_repeated_rows(covariance, method, rng):
    """Starts too: seeds depend on neither the order of the rows nor how their weight is given."""
    x, counts = three_clusters(120, rng, separation=2.5), rng.integers(0, 4, 120)
    repeated = rng.permutation(np.repeat(x, counts, axis=0))
    Family, allocation = COVARIANCES[covariance], Dirichlet.symmetric(3)
    fits = [
        METHODS[method](
            rows,
            Family.from_data(rows, 3, weights=w),
            allocation,
            weights=w,
            rng=np.random.default_rng(1),
            restarts=1,
            keep=1,  # of one candidate, for several come to one end
            tol=1e-14,
        )
        for rows, w in ((x, counts), (repeated, None))
    ]
    agree(*fits, 1e-6)
    assert fits[0].bound[0] == pytest.approx(fits[1].bound[0], rel=1e-12)
    if method == "em":
        for name in ("aic", "bic", "icl"):
            assert fits[0].info[name] == pytest.approx(fits[1].info[name], rel=1e-9)


def test_leaving_one_of_a_repeated_row_out(rng):
    x, counts = three_clusters(30, rng), rng.integers(1, 4, 30)
    repeated = np.repeat(x, counts, axis=0)
    allocation = Dirichlet.symmetric(2)
    weighted = cavi.fit(
        x, COVARIANCES["full"].from_data(x, 2, weights=counts), allocation, weights=counts, rng=rng, init=x[:2]
    )
    plainly = cavi.fit(repeated, COVARIANCES["full"].from_data(repeated, 2), allocation, rng=rng, init=x[:2])
    ours = cavi.leave_one_out(weighted, x, weights=counts, tol=1e-10)
    theirs = cavi.leave_one_out(plainly, repeated, weights=np.ones(len(repeated)), tol=1e-10)
    np.testing.assert_allclose(np.repeat(ours, counts), theirs, atol=1e-6)
    np.testing.assert_allclose(cavi.leave_one_out(plainly, repeated, tol=1e-10), theirs, atol=1e-8)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0, 1.0], r"the weight of row 1 is -1.0; expected a number of at least 0"),
        ([1.0, 1.0, np.nan, 1.0], r"the weight of row 2 is nan"),
        ([1.0, 1.0, 1.0, np.inf], r"the weight of row 3 is inf"),
        ([0.0, 0.0, 0.0, 0.0], "all weights are zero"),
        ([1.0, 1.0], r"weights have shape \(2,\); expected \(4,\)"),
    ],
)
def test_unusable_weights_are_refused(weights, message, rng):
    x = rng.standard_normal((4, 1))
    family = COVARIANCES["full"].from_data(x, 1)
    with pytest.raises(ValueError, match=message):
        COVARIANCES["full"].from_data(x, 1, weights=weights)
    with pytest.raises(ValueError, match=message):
        em.fit(x, family, Dirichlet.symmetric(1), weights=weights, rng=rng)


def test_weights_that_count_no_observation_need_a_prior_scale(rng):
    x, tiny = rng.standard_normal((20, 2)), np.full(20, 0.01)
    with pytest.raises(ValueError, match=r"the weights sum to 0.2; they count observations"):
        COVARIANCES["full"].from_data(x, 2, weights=tiny)
    assert COVARIANCES["full"].from_data(x, 2, weights=tiny, W0=np.eye(2)).prior.nu == 4


class Blocks:
    """Rows in blocks of uneven size, read anew each time."""

    def __init__(self, x, weights=None, sizes=(1, 700, 13, 0, 286)):
        self.x, self.weights, self.edges = x, weights, np.cumsum([0, *sizes])

    def __iter__(self):
        for lo, hi in zip(self.edges[:-1], self.edges[1:], strict=True):
            yield self.x[lo:hi] if self.weights is None else (self.x[lo:hi], self.weights[lo:hi])


@every_method
@every_structure
def test_blocks_are_fitted_as_one_matrix_is(covariance, method, rng):
    x, weights = three_clusters(1000, rng), rng.random(1000) + 0.5
    Family, allocation = COVARIANCES[covariance], Dirichlet.symmetric(3)
    family = Family.from_data(x, 3, weights=weights)
    blocks = Blocks(x, weights)
    own = Family.from_data(blocks, 3)
    np.testing.assert_allclose(own.unit, family.unit, rtol=1e-12)
    np.testing.assert_allclose(own.origin, family.origin, rtol=1e-12)
    one = METHODS[method](x, family, allocation, weights=weights, rng=np.random.default_rng(2), restarts=1)
    other = METHODS[method](blocks, own, allocation, rng=np.random.default_rng(2), restarts=1)
    agree(one, other, 1e-6)


def test_a_start_given_row_by_row_follows_the_blocks(rng):
    x = three_clusters(1000, rng)
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    r = rng.dirichlet(np.ones(3), 1000)
    one, other = (cavi.fit(rows, family, allocation, rng=rng, init=r) for rows in (x, Blocks(x)))
    assert one.bound[0] == pytest.approx(other.bound[0], rel=1e-12)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (lambda: (block for block in [np.zeros((3, 2))]), "iterator, which ends after one reading"),
        (lambda: [np.ones((3, 2)), np.ones((3, 4))], "block 1 has 4 columns; the blocks before it had 2"),
        (lambda: [np.ones((3, 2)), np.ones((2, 3, 4))], r"block 1 has shape \(2, 3, 4\)"),
        (lambda: [np.ones((3, 2)), np.array([[1.0, np.nan]])], "missing or infinite values, the first in row 3"),
        (lambda: [(np.ones((2, 2)), np.array([1.0, -2.0]))], "the weight of row 1 is -2.0"),
        (lambda: Blocks(np.zeros((0, 2)), sizes=(0,)), "no rows that count"),
    ],
)
def test_unusable_blocks_are_refused(blocks, message):
    with pytest.raises(ValueError, match=message):
        COVARIANCES["full"].from_data(blocks(), 1)


def test_blocks_bring_their_own_weights(rng):
    with pytest.raises(ValueError, match=r"give pairs \(x, weights\)"):
        COVARIANCES["full"].from_data([rng.standard_normal((9, 2))], 1, weights=np.ones(9))


def test_blocks_that_change_width_later_are_refused(rng):
    """The model was made from rows of two columns."""
    family = COVARIANCES["full"].from_data(rng.standard_normal((9, 2)), 1)
    with pytest.raises(ValueError, match="block 1 has 3 columns"):
        em.fit([np.ones((3, 2)), np.ones((3, 3))], family, Dirichlet.symmetric(1), rng=rng)


def test_a_memory_map_is_fitted_as_the_array_is(tmp_path, rng):
    x = three_clusters(3 * BLOCK + 5, rng)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    family, allocation = COVARIANCES["full"].from_data(x, 3), Dirichlet.symmetric(3)
    one, other = (em.fit(rows, family, allocation, rng=np.random.default_rng(3), restarts=1) for rows in (x, mapped))
    np.testing.assert_array_equal(one.bound, other.bound)
    assert moments(mapped).n == len(x)


def test_float32_is_computed_in_float64(rng):
    """Squares of these values overflow float32."""
    x = (three_clusters(5000, rng) * 1e25).astype(np.float32)
    wide = x.astype(np.float64)
    allocation = Dirichlet.symmetric(3)
    one, other = (
        em.fit(rows, COVARIANCES["full"].from_data(rows, 3), allocation, rng=np.random.default_rng(4), restarts=2)
        for rows in (x, wide)
    )
    np.testing.assert_array_equal(one.bound, other.bound)
    assert np.all(np.isfinite(one.bound))


def test_any_layout_of_the_array_will_do(rng):
    x = three_clusters(6000, rng)
    family = COVARIANCES["full"].from_data(x, 3)
    eta = rng.standard_normal((3, 6))
    expected = fused.pass_(family, x, None, eta)
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    for rows in (np.asfortranarray(x), backwards, frozen):
        np.testing.assert_array_equal(fused.pass_(family, rows, None, eta)[1], expected[1])


@every_structure
def test_noise_widens_every_covariance(covariance, rng):
    """One cluster: the maximum-likelihood covariance and the ridge, in the units of x."""
    x = rng.standard_normal((80, 2)) * [1.0, 5.0]
    family = COVARIANCES[covariance].from_data(x, 1)
    fits = [em.fit(x, family, Dirichlet.symmetric(1), rng=rng, reg_covar=reg) for reg in (0.0, 0.7)]
    narrow, wide = (family.to_data(fit.parameters(1, rng)[1])["covariances"][0, 0] for fit in fits)
    np.testing.assert_allclose(wide, narrow + 0.7 * np.eye(2), rtol=1e-12, atol=1e-12)
    assert noise(family, 0.7)[0][0, 0] == 0


def test_noise_keeps_a_cluster_from_collapsing(rng):
    x = np.concatenate([rng.standard_normal((20, 1)), np.full((10, 1), 9.0)])
    family, allocation = COVARIANCES["full"].from_data(x, 2), Dirichlet.symmetric(2)
    fit = em.fit(x, family, allocation, rng=rng, reg_covar=1e-4)
    assert np.all(np.diff(fit.bound) > -1e-9)
    assert family.to_data(fit.parameters(1, rng)[1])["covariances"].min() == pytest.approx(1e-4, rel=1e-6)
    with pytest.raises(ValueError, match="reg_covar is -1"):
        em.fit(x, family, allocation, rng=rng, reg_covar=-1)


def test_loading_of_loops_is_no_time_of_a_fit():
    """In a process that has loaded none, the seconds of `compile` are those of loading, and a second fit has none."""
    code = (
        "import sys; import numpy as np; from mixtures import Dirichlet, Gaussian; from mixtures.methods import em\n"
        "x = np.random.default_rng(0).standard_normal((50_000, 2)); model = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)\n"
        "fits = [em.fit(x, *model, rng=0, restarts=1, max_iter=3, engine='fused').seconds for _ in range(2)]\n"
        "assert set(fits[0]) == {'compile', 'run'} and set(fits[1]) == {'run'}, fits\n"
        "assert fits[0]['compile'] > 0.001 and {'mixtures.engines.whole', 'mixtures.engines.fused'} & set(sys.modules), fits"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_what_noise_adds_is_bounded(covariance, rng):
    """From above, and up to the square of its variance; where clusters share a covariance it is the same for all."""
    x = three_clusters(60, rng)
    family = COVARIANCES[covariance].from_data(x, n_components=3)
    s = starts(x, None, len(x), family, Dirichlet.symmetric(3), "k-means", 1, rng)[0]
    eta, _ = cavi.step(family, Dirichlet.symmetric(3), s)
    beyond = []
    for variance in (1e-3, 1e-4):
        noisy, exact = passes.both_passes(x, None, family, 180, variance)
        log_z, after = noisy(eta)
        beyond.append(passes.gained(noise(family, variance), eta, after) - (log_z - exact(eta)[0]))
    assert beyond[0] > beyond[1] > 0
    assert beyond[0] == pytest.approx(100 * beyond[1], rel=0.1)
