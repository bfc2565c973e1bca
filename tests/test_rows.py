"""Rows as they may be given, and the seeds of random numbers: taken right, or refused in one line."""

import importlib
import inspect
import pkgutil
from itertools import count

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import reports
from mixtures import (
    COVARIANCES,
    BayesianGaussianMixture,
    Dirichlet,
    Gaussian,
    GaussianMixture,
    StickBreaking,
    datasets,
)
from mixtures.methods import cavi, em, exact, gibbs
from mixtures.rows.arrays import check_matrix
from mixtures.rows.moments import moments
from mixtures.rows.reading import as_rows, blocks
from mixtures.seeds import generator
from models.methods import advi, nuts, smc

pytestmark = pytest.mark.robustness("errors")


@pytest.fixture
def x(rng):
    return np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(6, 1, (60, 2))])


@pytest.fixture
def model(x):
    return Gaussian.from_data(x, 2), Dirichlet.symmetric(2)


class Blocks:
    """Blocks of which every reading brings as many as its entry in ``counts`` says, the last for all that follow."""

    def __init__(self, x, counts):
        self.blocks, self.counts, self.readings = np.array_split(x, 4), counts, 0

    def __iter__(self):
        count = self.counts[min(self.readings, len(self.counts) - 1)]
        self.readings += 1
        return iter(self.blocks[:count])


# ---- masked entries are missing


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_masked_entries_are_missing_values(x, model, dtype):
    hidden = np.ma.array((10 * x).astype(dtype), mask=np.zeros(x.shape, bool))
    hidden[5, 1] = np.ma.masked
    hidden.data[5, 1] = 999
    message = r"x has 1 missing or infinite values, the first in row 5"
    for use in (
        lambda: em.fit(hidden, *model, rng=0),
        lambda: cavi.fit([hidden[:50], hidden[50:]], *model, rng=0),
        lambda: gibbs.fit(hidden, *model, rng=0),
        lambda: exact.fit(hidden[:8], *model),
        lambda: Gaussian.from_data(hidden, 2),
        lambda: check_matrix(hidden),
        lambda: reports.compare(hidden, 2, rng=0),
        lambda: reports.select(hidden, [1, 2], rng=0),
        lambda: nuts.fit(hidden, *model, rng=0),
        lambda: advi.fit(hidden, *model, rng=0),
        lambda: smc.fit(hidden, *model, rng=0),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_estimators_see_no_masked_number(x, estimator):
    hidden = np.ma.array(x, mask=np.zeros(x.shape, bool))
    settings = {"n_components": 2, "random_state": 0}
    whole = estimator(**settings).fit(hidden)
    np.testing.assert_array_equal(whole.predict(hidden), estimator(**settings).fit(x).predict(x))
    hidden[5, 1] = np.ma.masked
    for use in (estimator().fit, whole.predict, whole.predict_proba, whole.score_samples, whole.score):
        with pytest.raises(ValueError, match="contains NaN"):
            use(hidden)
    weights = np.ma.array(np.ones(len(x)), mask=np.arange(len(x)) == 7)
    with pytest.raises(ValueError, match="contains NaN"):
        estimator().fit(x, sample_weight=weights)


@pytest.mark.robustness("numbers")
def test_masked_weights_are_missing(x, model):
    weights = np.ma.array(np.ones(len(x)), mask=np.arange(len(x)) == 7)
    with pytest.raises(ValueError, match="the weight of row 7 is nan"):
        cavi.fit(x, *model, rng=0, weights=weights)


@pytest.mark.parametrize("kind", ["point", "variational", "mcmc", "exact"])
def test_what_a_fit_is_asked_about_is_checked_as_its_data_are(x, model, kind):
    fit = {
        "point": lambda: em.fit(x, *model, rng=0),
        "variational": lambda: cavi.fit(x, *model, rng=0),
        "mcmc": lambda: gibbs.fit(x, *model, rng=0, draws=20, tune=20),
        "exact": lambda: exact.fit(x[:8], *model),
    }[kind]()
    asked = [fit.log_predictive]
    asked += [fit.responsibilities] if kind != "exact" else []
    asked += [fit.log_likelihood] if kind in ("point", "mcmc") else []
    for ask in asked:
        np.testing.assert_array_equal(ask(np.ma.array(x)), ask(x))
        for bad, message in (
            (np.ma.masked_greater(x, 5), "missing or infinite values"),
            (np.array([[0.0, np.nan]]), "1 missing or infinite values, the first in row 0"),
            (np.array([[0.0, np.inf]]), "1 missing or infinite values, the first in row 0"),
            (x + 1j, "x is complex"),
            (x[0], r"x has shape \(2,\)"),
        ):
            with pytest.raises(ValueError, match=message):
                ask(bad)


def test_a_mask_that_hides_nothing_changes_nothing(x, model):
    plain = cavi.fit(x, *model, rng=0)
    for given in (np.ma.array(x), np.ma.array(x, mask=np.zeros(x.shape, bool)), memoryview(x), x.tolist()):
        assert cavi.fit(given, *model, rng=0).bound[-1] == plain.bound[-1]


# ---- what is no table of real numbers


@pytest.mark.robustness("numbers")
def test_complex_numbers_are_refused(x, model):
    for given in (x + 0j, x.astype(np.complex64), np.ma.array(x + 5j), (x + 1j).tolist(), pd.DataFrame(x + 1j)):
        with pytest.raises(ValueError, match="x is complex"):
            cavi.fit(given, *model, rng=0)
    with pytest.raises(ValueError, match="x is complex"):
        em.fit([x[:50] + 0j, x[50:] + 0j], *model, rng=0)
    with pytest.raises(ValueError, match="x is complex"):
        reports.compare(x + 1j, 2, rng=0)


def test_other_things_than_numbers_are_refused(x):
    for given in ([["a", "b"], ["c", "d"]], [[None, object()]], pd.DataFrame({"a": ["u", "v"]})):
        with pytest.raises(ValueError, match="x holds entries that are no real numbers"):
            as_rows(given)
    with pytest.raises(ValueError, match="1 missing or infinite values, the first in row 1"):
        check_matrix(pd.DataFrame({"a": pd.array([1, None], "Int64")}))


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("fit", [em.fit, cavi.fit])
@pytest.mark.parametrize("counts", [[4, 4, 1], [4, 0], [4, 3], [2, 4]])
def test_every_reading_brings_as_many_rows(x, model, fit, counts):
    readings = f"x yielded {30 * counts[-1]} rows in a later reading and {30 * counts[0]} in the first"
    with pytest.raises(ValueError, match=readings):
        fit(Blocks(x, counts), *model, rng=0)


def test_blocks_that_are_read_alike_fit_as_the_whole(x, model):
    whole = em.fit(x, *model, rng=0, reg_covar=0.1)
    parts = em.fit(Blocks(x, [4]), *model, rng=0, reg_covar=0.1)
    assert parts.bound[-1] == pytest.approx(whole.bound[-1], rel=1e-12)
    assert moments(as_rows(as_rows(Blocks(x, [4])))).rows == len(x)


@pytest.mark.parametrize("weight", [5e-324, 1e-200, 1e200, 1e308])
def test_weights_at_the_edge_of_floating_point_are_refused(x, model, weight):
    with pytest.raises(ValueError, match="multiply all by one number that brings them near 1"):
        cavi.fit(x, *model, rng=0, weights=np.full(len(x), weight))


@pytest.mark.parametrize("alpha0", [1e308, 1e301])
def test_concentrations_at_the_edge_of_floating_point_are_refused(x, model, alpha0):
    with pytest.raises(ValueError, match=r"alpha0 is .*; expected at least 1e-300 each and a sum of at most 1e\+300"):
        Dirichlet.symmetric(2, alpha0)
    assert np.isfinite(cavi.fit(x, model[0], Dirichlet.symmetric(2, 1e299), rng=0).bound[-1])
    for large in (1e12, 1e299):  # weights that are known
        found = Dirichlet.symmetric(2, large).log_marginal(np.array([22.0, 40.0]))
        assert found == pytest.approx(-62 * np.log(2), abs=1e-9)


@pytest.mark.parametrize(
    "change", [lambda b: b + 1e-3, lambda b: b.astype(np.float32), lambda b: np.where(b > 2, np.nan, b)]
)
def test_blocks_that_bring_other_values_later_are_refused(x, model, change):
    parts = np.array_split(x, 3)
    readings = count()

    class Changing:
        def __iter__(self):
            later = next(readings) > 3
            return iter([*parts[:2], change(parts[2]) if later else parts[2]])

    with pytest.raises(ValueError, match="x yielded other values or weights in a later reading than in the first"):
        em.fit(Changing(), *model, rng=0)


def test_blocks_in_another_order_or_with_a_block_that_does_not_count_are_read(x):
    parts = [
        (block, np.full(len(block), weight))
        for block, weight in zip(np.array_split(x, 3), (1.0, 0.0, 2.0), strict=True)
    ]
    readings = count()

    class Turned:
        def __iter__(self):
            return iter(parts[:: 1 - 2 * (next(readings) % 2)])

    A, weights = Dirichlet.symmetric(2), np.repeat([1.0, 0.0, 2.0], [len(block) for block, _ in parts])
    family = Gaussian.from_data(x, 2, weights=weights)
    bound = em.fit(x, family, A, rng=0, weights=weights).bound[-1]
    assert em.fit(Turned(), family, A, rng=0).bound[-1] == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (sparse.csr_array(np.eye(3)), "x is sparse; expected a dense array"),
        (np.array([["2020-01-01"], ["2021-01-01"]], "M8[D]"), r"x holds dates or times \(datetime64\[D\]\)"),
        (np.array([[1], [2]], "m8[D]"), r"x holds dates or times \(timedelta64\[D\]\)"),
        ([(np.ones((2, 1)), np.ones(2), 1)], r"block 0 is 3 things; expected a matrix \(B, D\), or a pair"),
    ],
    ids=["sparse", "dates", "times", "triple"],
)
def test_what_is_no_table_of_real_numbers_is_told_as_what_it_is(given, words):
    with pytest.raises(ValueError, match=words):
        list(blocks(as_rows(given)))


def test_blocks_for_a_method_of_one_array_are_refused(x, model):
    with pytest.raises(ValueError, match="x is a dict_values, as of blocks; expected one array"):
        gibbs.fit({"a": x}.values(), *model, rng=0)


@pytest.mark.robustness("numbers")
def test_pandas_marks_of_what_is_missing_are_nan():
    frame = pd.DataFrame({"a": [1, None, 3], "b": [True, False, None]}).astype({"a": "Int64", "b": "boolean"})
    np.testing.assert_array_equal(as_rows(frame), [[1, 1], [np.nan, 0], [3, np.nan]])


# ---- seeds


def test_a_seed_is_a_generator():
    for seed in (0, 7, np.int64(7), np.random.SeedSequence(7)):
        assert generator(seed).random() == np.random.default_rng(seed).random()
    rng = np.random.default_rng(0)
    assert generator(rng) is rng


@pytest.mark.parametrize("seed", [None, True, 0.5, "0"])
def test_what_is_no_seed_is_refused(x, model, seed):
    for use in (
        lambda: cavi.fit(x, *model, rng=seed),
        lambda: em.fit_many([x], [model[0]], model[1], rng=seed),
        lambda: reports.compare(x, 2, rng=seed),
        lambda: reports.select(x, rng=seed),
    ):
        with pytest.raises(TypeError, match=r"rng is .*; expected a numpy.random.Generator or a seed"):
            use()


def test_a_negative_seed_is_refused(x, model):
    with pytest.raises(ValueError, match="rng is -1; a seed is a whole number of at least 0"):
        cavi.fit(x, *model, rng=-1)


def test_seeds_are_taken_wherever_generators_are(x, model):
    fit = cavi.fit(x, *model, rng=3)
    drawn = gibbs.fit(x, *model, rng=3, draws=20, tune=20)
    family, allocation = model
    theta = {name: v[0] for name, v in fit.parameters(1, 3)[1].items()}
    uses = [
        lambda rng: cavi.fit(x, *model, rng=rng).bound,
        lambda rng: em.fit(x, *model, rng=rng).bound,
        lambda rng: cavi.fit_many([x, x[::-1]], [family] * 2, allocation, rng=rng)[1].bound,
        lambda rng: em.fit_many([x, x[::-1]], [family] * 2, allocation, rng=rng)[1].bound,
        lambda rng: cavi.partial_fit(x, *model, rng=rng).posterior.alpha,
        lambda rng: gibbs.fit(x, *model, rng=rng, draws=20, tune=20).held.weights,
        lambda rng: fit.parameters(3, rng)[0],
        lambda rng: fit.draws(3, rng)["posterior"]["means"].values,
        lambda rng: fit.sample(3, rng)[0],
        lambda rng: fit.as_draws(2, 3, rng).held.weights,
        lambda rng: exact.fit(x[:8], *model).draws(3, rng)["posterior"]["means"].values,
        lambda rng: exact.fit(x[:8], *model).posterior.sample(3, rng)[0],
        lambda rng: drawn.sample(3, rng)[0],
        lambda rng: family.simulate(theta, np.array([0, 1]), rng),
        lambda rng: allocation.sample(np.ones(2), 3, rng),
        lambda rng: StickBreaking(3).sample(StickBreaking(3).posterior(np.ones(3)), 3, rng),
        lambda rng: datasets.simulate(9, 2, 2, separation=3, rng=rng).x,
    ]
    for own in COVARIANCES.values():
        of = cavi.fit(x, own.from_data(x, 2), allocation, rng=3)
        uses.append(lambda rng, of=of: of.family.sample(of.posterior.theta, 3, rng)["means"])
    for use in uses:
        np.testing.assert_array_equal(use(7), use(np.random.default_rng(7)))


def test_the_methods_of_pymc_take_seeds():
    for method in (advi, nuts, smc):
        assert "generator(rng)" in inspect.getsource(method.fit)


def test_every_metric_takes_a_seed(x, model):
    """The public functions of `reports.metrics`, of which three are tried."""
    from reports import metrics
    from reports.metrics.evidence import importance
    from reports.metrics.quality import khat_interval
    from reports.metrics.two_sample import accuracy

    modules = [
        importlib.import_module(f"reports.metrics.{found.name}") for found in pkgutil.iter_modules(metrics.__path__)
    ]
    asked = [
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and name[0] != "_" and "rng" in inspect.signature(function).parameters
    ]
    assert len(asked) >= 11
    assert [function.__name__ for function in asked if "rng = generator(rng)" not in inspect.getsource(function)] == []
    fit, ratios = cavi.fit(x, *model, rng=3), np.random.default_rng(0).standard_normal(200)
    groups = ratios[:100, None], ratios[100:, None] + 1
    for use in (
        lambda rng: importance(fit, x, rng).value,
        lambda rng: [row.value for row in khat_interval("cavi", ratios, rng)],
        lambda rng: accuracy(*groups, rng),
    ):
        np.testing.assert_array_equal(use(7), use(np.random.default_rng(7)))
