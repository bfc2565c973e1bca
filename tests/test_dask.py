"""Rows that Dask holds: the answer is that of the same rows in memory, wherever the blocks are and whoever is lost."""

import os
import signal
import sys
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import three_clusters
from sklearn.base import clone
from typer.testing import CliRunner

import reports
from mixtures import (
    BayesianGaussianMixture,
    Bernoulli,
    Categorical,
    Dirichlet,
    Gaussian,
    GaussianMixture,
    Markov,
    Poisson,
    Product,
)
from mixtures.datasets import DataError, load_many, many
from mixtures.engines.passes import entropy, log_base, one_pass
from mixtures.methods import cavi, em
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.reading import as_rows, sample
from mixtures.rows.weights import as_weights
from reports.commands.app import app

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
THREE = Dirichlet.symmetric(3)


@pytest.fixture(autouse=True, scope="module")
def _in_turn():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def x(rng):
    return three_clusters(310, rng, separation=3.0)


@pytest.fixture
def weights(rng):
    return rng.integers(0, 4, 310).astype(float)


def chunked(x, rows=90, columns=-1):
    return da.from_array(x, chunks=(rows, columns))


def table(x, parts=4):
    return dd.from_pandas(pd.DataFrame(x, columns=["a", "b"]), npartitions=parts)


def _above(rows):
    """Rows of which no one knows how many there are; the first blocks have none."""
    return rows[rows.a > -500]


HOLDERS = {
    "array": chunked,
    "columns apart": partial(chunked, columns=1),
    "two blocks": partial(chunked, rows=200),
    "dataframe": table,
    "unknown sizes": lambda x: _above(table(np.concatenate([x - 1e3, x]))),
}


FITS = {"em": em.fit, "map": partial(em.fit, prior=True), "cavi": cavi.fit, "noise": partial(em.fit, reg_covar=0.5)}


@pytest.mark.parametrize(
    ("fit", "holder"), [*(("em", holder) for holder in HOLDERS), *((fit, "two blocks") for fit in FITS if fit != "em")]
)
def test_fits_are_those_in_memory(x, fit, holder):
    x = x.astype(np.float32 if holder == "columns apart" else np.float64)
    rows = HOLDERS[holder](x)
    here, there = (Gaussian.from_data(own, 3) for own in (x, rows))
    np.testing.assert_allclose(there.origin, here.origin, **CLOSE)
    np.testing.assert_allclose(there.unit, here.unit, **CLOSE)
    climb = partial(FITS[fit], family=here, allocation=THREE, rng=1, restarts=1, accelerate=False, tol=1e-4)
    a, b = climb(x), climb(rows)
    np.testing.assert_allclose(b.bound, a.bound, **CLOSE)
    for question in ("log_predictive", "responsibilities"):
        expected, answer = getattr(a, question)(x), getattr(b, question)(rows)
        assert isinstance(answer, da.Array)
        assert answer.ndim == expected.ndim
        np.testing.assert_allclose(answer.compute(), expected, **CLOSE)


def test_weights_in_blocks_of_their_own(x, weights):
    eta = np.random.default_rng(0).normal(0, 0.1, (2, 3, 6))
    family = Gaussian.from_data(x, 3, weights=weights)
    expected = one_pass(x, weights, family, 930)(eta)
    some = sample(x, weights, 310, 50, np.random.default_rng(2))
    frame = dd.from_pandas(pd.DataFrame(x, columns=["a", "b"]).assign(w=weights), npartitions=4)
    for rows, w in (
        (chunked(x), weights),
        (chunked(x), chunked(weights[:, None], 70)[:, 0]),
        (frame[["a", "b"]], frame.w),
        (table(x), chunked(weights[:, None], 70)[:, 0]),
    ):
        own = Gaussian.from_data(rows, 3, weights=w)
        np.testing.assert_allclose(own.unit, family.unit, **CLOSE)
        rows = as_rows(rows)
        w = as_weights(rows, w)
        for found, right in zip(one_pass(rows, w, family, 930)(eta), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-9)
        for found, right in zip(sample(rows, w, 310, 50, np.random.default_rng(2)), some, strict=True):
            np.testing.assert_array_equal(found, right)


def test_all_kinds_of_start(x):
    family, rows = Gaussian.from_data(x, 3), chunked(x)
    labels = np.arange(310) % 3
    for init in ("k-means", "random", "rows", labels, np.eye(3)[labels], x[:3], em.fit(x, family, THREE, rng=0)):
        climb = partial(em.fit, family=family, allocation=THREE, rng=5, restarts=1, init=init, tol=0.1)
        np.testing.assert_allclose(climb(rows).bound, climb(x).bound, **CLOSE)


def test_learning_from_batches(x):
    family = Gaussian.from_data(x, 3)
    fits = []
    for hold in (np.asarray, chunked):
        first = cavi.partial_fit(hold(x[:200]), family, THREE, rng=1, restarts=1, accelerate=False, tol=1e-4)
        fits.append(cavi.partial_fit(hold(x[200:]), family, THREE, rng=1, previous=first))
    np.testing.assert_allclose(fits[1].info["learned"].s, fits[0].info["learned"].s, **CLOSE)


def _codes(rng):
    return rng.integers(0, 3, (300, 2)).astype(float)


FAMILIES = {
    "bernoulli": (lambda rng: rng.integers(0, 2, (300, 3)), Bernoulli.from_data),
    "categorical": (_codes, Categorical.from_data),
    "poisson": (lambda rng: rng.poisson(4, (300, 2)), Poisson.from_data),
    "product": (
        lambda rng: np.column_stack([rng.normal(size=(300, 2)), _codes(rng)]),
        lambda x, K, **options: Product.from_data(
            x, K, families=[Gaussian, Categorical], columns=[[0, 1], [2, 3]], **options
        ),
    ),
    "gaussian": (lambda rng: rng.normal(size=(300, 2)), Gaussian.from_data),
}


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_and_gaps(name, engine, gaps, rng):
    make, of = FAMILIES[name]
    x = make(rng).astype(float)
    if gaps:
        x[rng.random(x.shape) < 0.1] = np.nan
        x[7] = np.nan
    rows = as_rows(chunked(x, 80))
    families = [of(own, 2, missing=gaps) for own in (x, rows)]
    parameters = [vars((family.parts[0] if name == "product" else family).prior) for family in families]
    for key, value in parameters[0].items():
        np.testing.assert_allclose(parameters[1][key], value, **CLOSE)
    family = families[0]
    eta = rng.normal(0, 0.1, (2, 1 + family.monomials[-1, 0]))
    if family.gaussian or name == "product":  # a negative definite quadratic part
        square = family.parts[0].monomials if name == "product" else family.monomials
        eta[:, np.unique(square[square[:, 1] > 0, 0])] *= 0.1
        eta[:, square[(square[:, 1] == square[:, 2]) & (square[:, 1] > 0), 0]] = -0.5
    if engine == "fused" and gaps and not family.affine:
        with pytest.raises(ValueError, match="use the plain engine"):
            one_pass(rows, None, family, 600, engine=engine)
        return
    here, there = (one_pass(own, None, family, 600, engine=engine) for own in (x, rows))
    for found, right in zip([*there(eta), *entropy(there, eta)], [*here(eta), *entropy(here, eta)], strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)
    assert log_base(rows, None, family) == pytest.approx(log_base(x, None, family), rel=1e-12)


def test_a_whole_fit_with_gaps(x):
    x[::7, 0] = np.nan
    x[5] = np.nan
    rows = chunked(x)
    families = [Gaussian.from_data(own, 3, missing=True) for own in (x, rows)]
    np.testing.assert_allclose(families[1].prior.W_inv, families[0].prior.W_inv, **CLOSE)
    assert seen_moments(rows).rows == 309
    climb = partial(em.fit, family=families[0], allocation=THREE, rng=1, restarts=1, accelerate=False, tol=1e-3)
    a, b = climb(x), climb(rows)
    np.testing.assert_allclose(b.bound, a.bound, **CLOSE)
    assert b.info["icl"] == pytest.approx(a.info["icl"], rel=1e-10)


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("seed", [4, 8])
def test_few_rows_with_gaps_end_in_an_optimum(seed):
    """Where the bound falls by the rounding of an inverse of an inverse there are no digits to go on with, as in memory."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 3))
    x[rng.random(x.shape) < 0.4] = np.nan
    x = x[~np.isnan(x).all(1)]
    family = Gaussian.from_data(x, 2, missing=True)
    assert em.fit(chunked(x, 10), family, Dirichlet.symmetric(2), rng=0, restarts=2).converged


@pytest.mark.robustness("numbers")
def test_clusters_far_tighter_than_they_are_apart(rng):
    """Each has its statistics about its own centre then, and the likelihood that rational arithmetic gives two such groups."""
    x = np.concatenate([rng.normal(0, 1e-9, (60, 2)), 1 + rng.normal(0, 1e-9, (60, 2))])
    family, exact = Gaussian.from_data(x, 2), 120 * np.log(0.5)
    for group in x[:60], x[60:]:
        rows = [[Fraction(v) for v in row] for row in group.tolist()]
        means = [sum(column) / 60 for column in zip(*rows, strict=True)]
        S = [[sum((r[a] - means[a]) * (r[b] - means[b]) for r in rows) / 60 for b in range(2)] for a in range(2)]
        exact -= 30 * (2 * np.log(2 * np.pi) + np.log(float(S[0][0] * S[1][1] - S[0][1] ** 2)) + 2)
    for own in (x, chunked(x, 50)):
        found = em.fit(own, family, Dirichlet.symmetric(2), rng=0, restarts=2)
        assert found.bound[-1] == pytest.approx(exact, rel=1e-10)


@pytest.mark.robustness("errors")
def test_what_cannot_be_used_is_refused_as_in_memory(x):
    x[250:260, 1] = np.nan
    x[30, 0] = np.inf
    with pytest.raises(ValueError, match=r"x has \d+ missing or infinite values, the first in row 30;"):
        moments(chunked(x))
    with pytest.raises(ValueError, match=r"x has 1 infinite values, the first in row 30; leave those rows out$"):
        seen_moments(chunked(x))
    with pytest.raises(ValueError, match="x is complex"):
        as_rows(chunked(x + 1j))
    with pytest.raises(ValueError, match=r"x has shape \(310,\); expected a matrix"):
        as_rows(chunked(x)[:, 0])
    with pytest.raises(ValueError, match="x is a Dask Delayed"):
        as_rows(dask.delayed(x))
    with pytest.raises(ValueError, match="x holds entries that are no real numbers"):
        moments(dd.from_pandas(pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), npartitions=1))
    rows = as_rows(chunked(x))
    for weights, message in (
        (np.ones(5), r"weights have shape \(5,\); expected \(310,\), one a row"),
        (da.ones(5), r"weights have shape \(5,\); expected \(310,\), one a row"),
        (np.append(np.ones(309), -1), "the weight of row 309 is -1.0; expected a number of at least 0"),
        (np.zeros(310), "all weights are zero"),
    ):
        with pytest.raises(ValueError, match=message):
            as_weights(rows, weights)
    with pytest.raises(ValueError, match="sequences need one array"):
        em.fit(chunked(x), Gaussian.from_data(x[:20], 2), Markov.symmetric(2), rng=0)


def test_rows_that_change_between_readings_are_refused():
    counts = iter([5, 5, 4])
    lengths = dd.from_delayed(
        [dask.delayed(lambda: pd.DataFrame({"a": np.arange(float(next(counts)))}))()], meta={"a": float}
    )
    rows = as_rows(lengths)
    assert moments(rows).rows == 5
    with pytest.raises(ValueError, match="had 5 rows and has 4 in a later reading"):
        moments(rows)


@pytest.mark.parametrize("holder", ["array", "unknown sizes"])
@pytest.mark.parametrize(
    "mixture",
    [
        GaussianMixture(3, random_state=0),
        GaussianMixture(3, random_state=0, covariance_type="diag", init_params="k-means++"),
        BayesianGaussianMixture(n_components=3, random_state=0),
    ],
    ids=["full", "diag", "bayesian"],
)
def test_estimators(x, weights, mixture, holder):
    rows = HOLDERS[holder](x)
    a, b = clone(mixture).fit(x), clone(mixture).fit(rows)
    assert b.lower_bound_ == pytest.approx(a.lower_bound_, rel=1e-10)
    np.testing.assert_allclose(b.means_, a.means_, rtol=1e-6)
    for question in ("predict", "predict_proba", "score_samples"):
        expected, answer = (
            getattr(b, question)(np.asarray(x) if holder == "array" else _frame(x)),
            getattr(b, question)(rows),
        )
        assert isinstance(answer, da.Array)
        assert answer.dtype == expected.dtype
        np.testing.assert_allclose(answer.compute(), expected, **CLOSE)
    plain = _frame(x) if holder != "array" else x
    for question in ("score", "aic", "bic"):
        assert getattr(b, question)(rows, sample_weight=weights) == pytest.approx(
            getattr(b, question)(plain, sample_weight=weights), rel=1e-10
        )
    if holder != "array":
        assert b.feature_names_in_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match="feature names should match"):
            b.predict(rows.rename(columns={"a": "c"}))


def test_weights_and_batches_of_estimators(x, weights):
    a, b = (
        GaussianMixture(3, random_state=0).fit(hold(x), sample_weight=weights).partial_fit(hold(x))
        for hold in (np.asarray, chunked)
    )
    np.testing.assert_allclose(b.means_, a.means_, rtol=1e-6)
    labels = np.arange(310) % 4 - 1
    a, b = (GaussianMixture(3, init=labels, max_iter=2, tol=1).fit(hold(x)) for hold in (np.asarray, chunked))
    np.testing.assert_allclose(b.means_, a.means_, **CLOSE)


@pytest.mark.robustness("errors")
def test_estimators_refuse_what_scikit_learn_refuses(x):
    x[100, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        GaussianMixture(2).fit(chunked(x))
    with pytest.raises(ValueError, match=r"Found array with 1 sample\(s\)"):
        GaussianMixture(1).fit(chunked(x[:1]))
    fitted = GaussianMixture(2, allow_missing=True, random_state=0).fit(chunked(x))
    assert np.isfinite(fitted.score(chunked(x)))
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2"):
        fitted.predict(chunked(x[:, :1]))


def _frame(x):
    return pd.DataFrame(x, columns=["a", "b"])


# ---- tables of many files


@pytest.fixture
def folder(tmp_path, x, monkeypatch):
    monkeypatch.setattr(many, "SAMPLE", 60)
    (tmp_path / "many").mkdir()
    for i, part in enumerate(np.split(x, [100, 100, 220])):
        _frame(part).assign(town=np.where(part[:, 0] > 1, "here", "there")).to_parquet(
            tmp_path / "many" / f"{i}.parquet"
        )
    return tmp_path / "many"


@pytest.mark.robustness("files")
def test_a_table_of_many_files(folder, x, monkeypatch):
    for name in (str(folder), f"{folder}/*.parquet"):
        data, rows = load_many(name, np.random.default_rng(1), columns=["a", "b"])
        assert (data.name, data.features, rows.shape) == ("many", ("a", "b"), (310, 2))
        np.testing.assert_array_equal(data.x, x[data.index.astype(int) - 1])
        assert "310 rows in 4 files: every method is fitted to all of them" in data.notes[0]
        np.testing.assert_allclose(moments(rows).mean, x.mean(0), **CLOSE)
    with pytest.raises(DataError, match="column 'town' holds levels"):
        load_many(str(folder), np.random.default_rng(1), columns=["a", "town"])
    (folder / "1.parquet").write_bytes(b"none")
    with pytest.raises(DataError, match=r"'1.parquet' cannot be read: Parquet file size is 4 bytes"):
        load_many(str(folder), np.random.default_rng(1))
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(DataError, match="a table of many files needs Dask"):
        load_many(str(folder), np.random.default_rng(1))


@pytest.mark.robustness("errors")
def test_files_of_other_columns_are_named(folder, x):
    """A column that a file lacks, or holds as text where it is chosen."""
    _frame(x[:5]).to_parquet(folder / "4.parquet")
    with pytest.raises(DataError, match=r"'4\.parquet' has no column 'town', and '0\.parquet' has: write the same"):
        load_many(str(folder), np.random.default_rng(1))
    _frame(x[:5]).assign(b="high", town="here").to_parquet(folder / "4.parquet")
    with pytest.raises(DataError, match=r"column 'b' holds numbers in '0\.parquet' and text in '4\.parquet'"):
        load_many(str(folder), np.random.default_rng(1), columns=["a", "b"])
    assert load_many(str(folder), np.random.default_rng(1), columns=["a"]).rows.shape == (315, 1)
    for file in folder.glob("[1-4].parquet"):
        file.unlink()
    _frame(x[:0]).to_parquet(folder / "0.parquet")
    with pytest.raises(DataError, match=r"1 file of '.*many' has no rows"):
        load_many(str(folder), np.random.default_rng(1))


def test_missing_values_of_many_files(folder, x):
    x[::5, 0] = np.nan
    _frame(x).to_parquet(folder / "3.parquet")
    with pytest.raises(DataError, match=r"'3\.parquet' has no column 'town', and '0\.parquet' has"):
        load_many(str(folder), np.random.default_rng(1))
    _frame(x).assign(town="here").to_parquet(folder / "3.parquet")
    with pytest.raises(DataError, match="missing"):
        load_many(str(folder), np.random.default_rng(1), columns=["a", "b"])
    data, rows = load_many(str(folder), np.random.default_rng(1), columns=["a", "b"], missing="drop")
    assert len(rows) == 310 - 90 + 310 - 62
    assert np.isfinite(data.x).all()


def test_compare_measures_a_sample_and_fits_all_rows(folder, x):
    data, rows = load_many(str(folder), np.random.default_rng(1), columns=["a", "b"])
    options = {"methods": ["em", "cavi"], "draws": 100, "chains": 1, "restarts": 2}
    found = reports.compare(data.x, 3, rng=0, rows=rows, name="many", facts={"notes": data.notes}, **options)
    assert found.results.manifest["data"]["n_fitted"] == 310
    assert "310 points" in repr(found)
    family = Gaussian.from_data(x, 3)
    numbers = found.results.metrics.set_index(["method", "metric", "target"])["value"]
    for method, module in (("em", em), ("cavi", cavi)):
        alone = module.fit(x, family, THREE, rng=3, restarts=2)
        assert numbers[method, "bound", "data"] == pytest.approx(alone.bound[-1], rel=1e-6)
    assert numbers["em", "bic", "data"] == pytest.approx(found.fits["em"].info["bic"])
    assert {"khat", "log_likelihood", "elpd_loo_refitted", "g2"}.isdisjoint(found.results.metrics["metric"])
    assert numbers["em", "train_log_density", "data"] == pytest.approx(found.fits["em"].log_predictive(data.x).mean())
    for wrong, message in (
        ({"methods": ["em", "nuts"]}, "nuts cannot be fitted to rows that are not in memory"),
        ({"standardize": True}, "standardize cannot be used where x is a sample"),
        ({"test_fraction": 0.1}, "test_fraction cannot be used where x is a sample"),
    ):
        with pytest.raises(ValueError, match=message):
            reports.compare(data.x, 3, rng=0, rows=rows, **(options | wrong))


@pytest.mark.robustness("errors")
def test_options_that_do_not_suit_many_files(folder, capsys):
    for options, message in (
        ([f"{folder}/*.parquet", "--hmm"], "--hmm cannot be used on many files"),
        (["faithful", "--scheduler", "tcp://127.0.0.1:9"], "--scheduler is for many Parquet files"),
    ):
        result = CliRunner().invoke(app, ["compare", *options, "-k", "2"])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


# ---- processes, one of which is lost


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.daemon": True, "distributed.comm.timeouts.connect": "4s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50, memory_limit=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.robustness("processes")
def test_a_lost_worker_costs_only_its_blocks(x, cluster):
    family = Gaussian.from_data(x, 3)
    climb = partial(em.fit, family=family, allocation=THREE, rng=1, restarts=1, init="rows", accelerate=False, tol=0.02)
    here = climb(x)
    killed = []

    def kill(runs):
        if not killed:
            address, pid = next(iter(cluster.run(os.getpid).items()))
            os.kill(pid, signal.SIGKILL)
            killed.append(address)

    with dask.config.set(scheduler=cluster):
        rows = chunked(x, 80).map_blocks(_read).persist()
        there = climb(rows, callback=kill)
        predicted = there.log_predictive(rows).compute()
    assert killed
    np.testing.assert_allclose(there.bound, here.bound, **CLOSE)
    np.testing.assert_allclose(predicted, here.log_predictive(x), **CLOSE)


def _read(block):
    return block
