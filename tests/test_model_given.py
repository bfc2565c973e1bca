"""What is given for a model, a table, or a number of a fit, and is none: one line that names it and says what is expected."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from mixtures import (
    BayesianGaussianMixture,
    Categorical,
    Dirichlet,
    Gaussian,
    GaussianHMM,
    GaussianMixture,
    Markov,
    Poisson,
    StickBreaking,
    VariationalGaussianHMM,
)
from mixtures.datasets import from_frame, load
from mixtures.dynamics import gibbs as dynamics_gibbs
from mixtures.dynamics import structure
from mixtures.errors import DataError
from mixtures.methods import cavi, em, exact, gibbs
from models.methods import advi, nuts, smc

pytestmark = pytest.mark.robustness("errors")

X = np.array([[1.0], [2.0], [4.0], [7.0], [11.0], [13.0]])
FAMILY, ALLOCATION = Gaussian.from_data(X, 2), Dirichlet.symmetric(2)

OF_STEPS = {
    nuts: ("draws", "chains", "tune"),
    smc: ("draws", "chains", "moves"),
    advi: ("steps", "draws", "restarts"),
    dynamics_gibbs: ("draws", "chains", "tune", "thin"),
}


@pytest.mark.parametrize("method", [em, cavi, gibbs, exact, advi])
def test_what_is_no_model_is_refused_by_name(method):
    for family in ("full", None, 2, Gaussian, ALLOCATION):
        with pytest.raises(TypeError, match=r"^family is .*; expected an object such as mixtures\.Gaussian"):
            method.fit(X, family, ALLOCATION, rng=0)
    for allocation in ("dirichlet", None, 2, Dirichlet, FAMILY):
        with pytest.raises(TypeError, match=r"^allocation is .*; expected an object such as mixtures\.Dirichlet"):
            method.fit(X, FAMILY, allocation, rng=0)


@pytest.mark.parametrize("method", [em, cavi])
def test_what_is_no_model_of_batches_or_of_many_is_refused_by_name(method):
    with pytest.raises(TypeError, match=r"^families is Gaussian"):
        method.fit_many([X, X], FAMILY, ALLOCATION, rng=0)
    with pytest.raises(TypeError, match=r"^family is 'full'"):
        method.fit_many([X, X], ["full", "full"], ALLOCATION, rng=0)
    with pytest.raises(TypeError, match=r"^allocation is 2"):
        method.fit_many([X, X], [FAMILY, FAMILY], 2, rng=0)
    with pytest.raises(TypeError, match=r"^family is 'full'"):
        method.partial_fit(X, "full", ALLOCATION, rng=0)
    for previous in (3, method.fit(X, FAMILY, ALLOCATION, rng=0)):
        with pytest.raises(TypeError, match=r"^previous is .*; expected what partial_fit returned"):
            method.partial_fit(X, FAMILY, ALLOCATION, rng=0, previous=previous)


@pytest.mark.parametrize("make", [GaussianMixture, BayesianGaussianMixture, GaussianHMM, VariationalGaussianHMM])
def test_dates_are_no_numbers_of_an_estimator(make):
    days = np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]")[:, None]
    x = np.random.default_rng(0).normal(size=days.shape)
    fitted = make(n_components=2, random_state=0).fit(x)
    frame = pd.DataFrame({"a": x[:, 0], "day": days[:, 0]})
    for given in (days, days - days[0], frame, frame[["day"]], frame.astype({"day": "timestamp[s][pyarrow]"})):
        for use in (make(n_components=2).fit, fitted.predict, fitted.predict_proba, fitted.score):
            with pytest.raises(ValueError, match=r"^X holds dates or times \(.*\); expected numbers"):
                use(given)


@pytest.mark.parametrize("method", [em, cavi])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tol", (None, "a", True, -1, np.nan, X)),
        ("max_iter", (None, "a", 1.5, np.inf, True, 0, -(10**30), X)),
        ("restarts", (None, "a", 1.5, True, 0, 10**11, X)),
        ("keep", ("a", 1.5, 0, X)),
        ("reg_covar", (None, "a", [], [1, 2], range(3), np.ones(0), np.ones(1), np.ones((1, 1)))),
        ("accelerate", (None, "no", 1, [], X)),
        ("engine", (None, 1, ["plain"], X)),
        ("precision", (None, 64, np.float64, X)),
        ("callback", (3, "a")),
    ],
)
def test_numbers_that_steer_an_ascent_are_refused_by_name(method, name, values):
    for value in values:
        with pytest.raises(TypeError if name == "callback" else ValueError, match=rf"^{name} (is|= ).+$"):
            method.fit(X, FAMILY, ALLOCATION, rng=0, **{name: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("columns", 1.5, "columns is 1.5; expected a list of strings"),
        ("columns", [None], "a name in columns is None; expected a string"),
        ("counts", b"a", "counts is b'a'; expected a list of strings"),
        ("na_values", None, "na_values is None; expected a list of strings"),
        ("label_column", 3, "label_column is 3; expected a string"),
        ("sequence", X, "sequence is array"),
        ("decimal", None, "decimal is None; expected a string"),
    ],
)
def test_how_a_table_is_read_is_refused_by_name(option, value, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        load("faithful", **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("draws", None, "draws is None; expected a whole number"),
        ("draws", 10**12, "4 chains of 1,000,000,000,000 draws would take about"),
        ("tune", 1.5, "tune is 1.5; expected a whole number"),
        ("tune", 10**12, "tune = 1,000,000,000,000 would take at least 116 days: ask for fewer"),
        pytest.param("tune", 10**399, "tune = 1,000,", id="no float is so large"),
        pytest.param("chains", 10**399, "1,000,", id="no float of chains is so large"),
        ("walkers", [], "walkers is []; expected a whole number"),
        ("walkers", 3, "chains is 4 and walkers 3; expected no more chains than walkers"),
        ("engine", X, "engine is array([[ 1.], [ 2.], [ 4.], [ 7.], [11.], [13.]]); expected auto"),
        ("chains", "x", "chains is 'x'; expected a whole number"),
        ("walkers", np.nan, "walkers is nan; expected a whole number"),
        ("walkers", 10**30, "walkers = 1,000,000,000,000,000,000,000,000,000,000 would take about"),
        ("tell", None, "tell is None; expected a function"),
    ],
)
def test_numbers_of_chains_are_refused_by_name(option, value, message):
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}"):
        gibbs.fit(X, FAMILY, ALLOCATION, rng=0, **{option: value})


@pytest.mark.parametrize("method", [em, cavi, gibbs])
def test_a_matrix_for_a_seed_is_refused_in_one_line(method):
    message = "rng is array([[ 1.], [ 2.], [ 4.], [ 7.], [11.], [13.]]); expected a numpy.random.Generator"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        method.fit(X, FAMILY, ALLOCATION, rng=X)


@pytest.mark.parametrize("sampler", [nuts, smc, advi, dynamics_gibbs])
@pytest.mark.parametrize("value", [0, 10**30, None, 1.5, "x", [], X])
def test_numbers_of_steps_are_refused_at_once(sampler, value):
    model = (structure("local-level"),) if sampler is dynamics_gibbs else (FAMILY, ALLOCATION)
    for name in OF_STEPS[sampler]:
        if value is None and (sampler, name) == (nuts, "tune"):
            continue  # the default
        with pytest.raises(ValueError, match=rf"^[^\n]*\b{name}\b[^\n]*$"):
            sampler.fit(X, *model, rng=0, **{name: value})


@pytest.mark.parametrize(
    "make",
    [
        Dirichlet.symmetric,
        Markov.symmetric,
        partial(StickBreaking, gamma0=1.0),
        partial(Gaussian.from_data, X),
        partial(Poisson.from_data, X),
        lambda K: VariationalGaussianHMM(n_components=K).fit(X),
    ],
)
@pytest.mark.parametrize("K", [10**12, 10**399], ids=["10^12", "10^399"])
def test_clusters_that_memory_does_not_hold_are_refused_at_once(make, K):
    with pytest.raises(ValueError, match=r"^n_components = 1,000,[\d,]+ would take about .*ask for fewer$"):
        make(K)


@pytest.mark.parametrize("path", [None, 3, b"d.csv", {}, X, [1], True])
def test_what_is_no_path_is_refused_by_name(path):
    with pytest.raises(DataError, match=r"^name_or_path is .+; expected the name of a data set, or a path$"):
        load(path)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([np.zeros(2)] * 6, id="arrays"),
        pytest.param(pd.period_range("2020", periods=6, freq="M"), id="months"),
        pytest.param(X[:, 0] + 1j, id="complex"),
        pytest.param([{"a": 1}] * 6, id="mappings"),
        pytest.param([object()] * 6, id="objects"),
    ],
)
def test_columns_of_frames_without_numbers_are_named(entries):
    with pytest.raises(DataError, match=r"^non-numeric column 'c' \(.* in row 1\): leave it out .*$"):
        from_frame(pd.DataFrame({"a": X[:, 0], "c": entries}))


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(np.arange(6), id="more labels than clusters"),
        pytest.param(-np.ones(6, int), id="a label below 0"),
        pytest.param(np.full((6, 2), np.nan), id="none"),
        pytest.param(np.tile([2.0, -1.0], (6, 1)), id="responsibilities below 0"),
        pytest.param(np.zeros((6, 2)), id="responsibilities that sum to 0"),
        pytest.param({}, id="a mapping"),
    ],
)
def test_starts_that_are_none_are_refused_in_one_line(start):
    with pytest.raises(ValueError, match=r"^a start of shape [^\n]*$"):
        em.fit(X, FAMILY, ALLOCATION, rng=0, init=start)


@pytest.mark.parametrize("option", ["prior", "accelerate"])
def test_truth_values_are_refused_by_name(option):
    for value in (None, "x", 1, [], X):
        for fit in (em.fit, partial(em.fit_many, families=[FAMILY])):
            with pytest.raises(ValueError, match=rf"^{option} is .*; expected True or False$"):
                fit([X], **{"family": FAMILY} if fit is em.fit else {}, allocation=ALLOCATION, rng=0, **{option: value})


@pytest.mark.parametrize("option", ["restarts", "tol", "max_iter", "reg_covar"])
def test_numbers_that_steer_many_fits_are_refused_by_name(option):
    for value in (None, "x", [], X):
        with pytest.raises(ValueError, match=rf"^{option} is .*; expected a (whole )?number$"):
            em.fit_many([X], [FAMILY], ALLOCATION, rng=0, **{option: value})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Markov("x", np.ones((2, 2))), "alpha0 is 'x'; expected real numbers"),
        (lambda: Markov(np.ones(2), "x"), "a0 is 'x'; expected real numbers"),
        (lambda: Categorical.from_data(X, 2, levels=object), "levels is <class 'object'>; expected real numbers"),
        (lambda: Categorical.from_data(X, 2, levels=1.5), "levels is 1.5; expected 1 positive numbers, whole"),
    ],
)
def test_hyperparameters_that_are_no_numbers_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()
