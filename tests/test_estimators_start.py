"""Where an estimator begins, who is told of its steps, and what it can do without a fit or after another version saved it."""

import pickle
import re
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture as theirs
from conftest import three_clusters
from estimator_cases import STRUCTURES, both, every_structure, pairs, parameters, unconverged
from linear_maps import mapped_and_back, standardised
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import mixtures
from mixtures import BayesianGaussianMixture, Dirichlet, Gaussian, GaussianMixture, VersionWarning, errors
from mixtures.methods import em

pytestmark = pytest.mark.robustness("peers")

ROOT = Path(__file__).parents[1]
SPOILT = np.random.default_rng(0)
LINE = SPOILT.normal(size=(30, 1))
OTHER = em.fit(LINE, Gaussian.from_data(LINE, 1), Dirichlet.symmetric(1), rng=SPOILT)


@pytest.fixture(scope="module")
def x():
    return three_clusters(90, np.random.default_rng(0), separation=6.0)


@pytest.fixture(scope="module")
def labels(x):
    return KMeans(3, random_state=0, n_init=3).fit_predict(x)


# ------------------------------------------------------------------------------------------------ init


@every_structure
def test_an_init_is_the_m_step_from_its_labels(structure, x, labels):
    """Without a step, the moments of each label's rows; in every form in which the same clusters can be given."""
    forms = [
        labels,
        labels.tolist(),
        labels + 5,
        labels.astype(float),
        np.array(["a", "b", "c"])[labels],
        pd.Series(labels, index=range(7, 97)),
        np.array([1, "a", "b"], object)[labels],
        labels.astype(np.int64) + 2**53,
        np.eye(3)[labels],
    ]
    for init in forms:
        mixture = GaussianMixture(3, covariance_type=structure, init=init, max_iter=0, reg_covar=0, n_init=4).fit(x)
        np.testing.assert_allclose(mixture.weights_, np.bincount(labels) / 90)
        np.testing.assert_allclose(mixture.means_, [x[labels == k].mean(0) for k in range(3)])
    full = np.array([np.cov(x[labels == k].T, bias=True) for k in range(3)])
    expected = {
        "full": full,
        "tied": np.tensordot(mixture.weights_, full, 1),
        "diag": np.diagonal(full, axis1=1, axis2=2),
        "spherical": np.trace(full, axis1=1, axis2=2) / 2,
    }
    np.testing.assert_allclose(mixture.covariances_, expected[structure])


@pytest.mark.parametrize("structure", ["full", "tied"])
@pytest.mark.robustness("numbers")
def test_a_fit_from_labels_does_not_depend_on_the_columns_linear_coordinates(structure, rng):
    iris = mixtures.datasets.load("iris")
    mapped, rows, log_det = mapped_and_back(standardised(iris.x), 1e12, rng)
    settings = {"covariance_type": structure, "reg_covar": 0, "tol": 1e-9, "max_iter": 1000, "init": iris.labels}
    one, other = (GaussianMixture(3, **settings).fit(X).lower_bound_ for X in (rows, mapped))
    assert other == pytest.approx(one - log_det, abs=1e-9)


def test_means_and_clusterers_say_where_to_begin(x, labels):
    def begun(init):
        return GaussianMixture(3, init=init, max_iter=0, reg_covar=0).fit(x)

    km = KMeans(3, random_state=0, n_init=3).fit(x)
    by_labels = begun(labels)
    for init in (km.cluster_centers_.tolist(), km):
        np.testing.assert_allclose(parameters(begun(init)), parameters(by_labels), rtol=1e-12)
    tree = AgglomerativeClustering(3).fit(x)
    np.testing.assert_allclose(parameters(begun(tree)), parameters(begun(tree.labels_)))
    soft = theirs.GaussianMixture(3, random_state=0).fit(x)
    r = soft.predict_proba(x)
    np.testing.assert_allclose(begun(soft).means_, r.T @ x / r.sum(0)[:, None], rtol=1e-10)
    family, allocation = Gaussian.from_data(x, 3), Dirichlet.symmetric(3)
    fit = em.fit(x, family, allocation, rng=np.random.default_rng(0))
    r = fit.responsibilities(x)
    np.testing.assert_allclose(begun(fit).means_, r.T @ x / r.sum(0)[:, None], rtol=1e-10)
    frame = pd.DataFrame(x, columns=["a", "b"])
    named = KMeans(3, random_state=0, n_init=3).fit(frame)
    np.testing.assert_allclose(
        GaussianMixture(3, init=named, max_iter=0, reg_covar=0).fit(frame).means_, by_labels.means_
    )


def test_rows_that_a_clusterer_calls_noise_are_left_out_of_the_start(x):
    far = np.concatenate([x, [[400.0, 400.0]]])
    found = DBSCAN(eps=2.5, min_samples=5).fit(far)
    assert found.labels_[-1] == -1
    mixture = GaussianMixture(found.labels_.max() + 1, init=found, max_iter=0, reg_covar=0).fit(far)
    np.testing.assert_allclose(mixture.means_[0], far[found.labels_ == 0].mean(0))
    assert np.abs(mixture.means_).max() < 100


@both
def test_a_start_that_is_right_is_kept(estimator, x, labels):
    """Component k is label k, and one start is enough where `n_init` asks for more; weights count there too."""
    mixture = estimator(n_components=3, init=labels, n_init=5, random_state=0).fit(x)
    np.testing.assert_array_equal(mixture.predict(x), labels)
    doubled = estimator(n_components=3, init=labels).fit(x, sample_weight=np.full(90, 2.0))
    np.testing.assert_array_equal(doubled.predict(x), labels)
    again = estimator(n_components=3, init=np.roll([0, 1, 2], 1)[labels]).fit(x)
    np.testing.assert_array_equal(again.predict(x), np.roll([0, 1, 2], 1)[labels])


def test_components_beyond_the_start_begin_almost_empty(x, labels):
    """Bayesian components may outnumber the clusters of the start; those of maximum likelihood may not."""
    mixture = BayesianGaussianMixture(n_components=6, init=labels, random_state=0, max_iter=500).fit(x)
    assert set(mixture.predict(x)) == {0, 1, 2}
    np.testing.assert_array_equal(mixture.predict(x), labels)
    with pytest.raises(ValueError, match="init has 3 clusters, and n_components is 6; set n_components=3"):
        GaussianMixture(6, init=labels).fit(x)


@both
def test_a_clusterer_that_is_not_fitted_is_fitted_to_each_fold(estimator, x):
    """A clone has lost its fit: as a parameter of a search or a cross-validation it is fitted where it is used."""
    mixture = estimator(n_components=3, init=KMeans(3, n_init=3, random_state=0).fit(x))
    assert not hasattr(clone(mixture).init, "cluster_centers_")
    assert clone(mixture).fit(x).score(x) == pytest.approx(mixture.fit(x).score(x), rel=1e-6)
    assert np.isfinite(cross_val_score(mixture, x, cv=3)).all()
    assert not hasattr(clone(mixture).fit(x).init, "cluster_centers_")


BAD_STARTS = {
    "too few labels": ([0, 1, 2], r"init has shape \(3,\)"),
    "two labels": (np.arange(90) % 2, "init has 2 clusters, and n_components is 3"),
    "four labels": (np.arange(90) % 4, "init has 4 clusters, and n_components is 3; set n_components=4"),
    "all noise": (np.full(90, -1), "no row in a cluster"),
    "missing labels": (np.where(np.arange(90) < 80, np.arange(90) % 3, np.nan), "missing labels"),
    "none": (np.where(np.arange(90) < 80, np.arange(90) % 3, None), "missing labels"),
    "no date": (np.array(["2020-01-01", "2021-01-01", "NaT"] * 30, "M8[D]"), "missing labels"),
    "pandas' mark": (pd.Series(["a", "b", None] * 30, dtype="string"), "missing labels"),
    "masked labels": (np.ma.array(np.arange(90) % 3, mask=np.arange(90) < 5), "init has masked entries"),
    "complex labels": (np.arange(90) % 3 + 0j, "init holds complex numbers"),
    "no fitted classifier": (LogisticRegression(), "the LogisticRegression given as init is not fitted"),
    "not on the simplex": (np.full((90, 3), 0.5), r"expected labels \(90,\), responsibilities \(90, 3\)"),
    "other features": (np.zeros((3, 5)), r"means \(3, 2\)"),
    "missing means": (np.full((3, 2), np.nan), "missing or infinite"),
    "words": ([["a", "b"]] * 3, "holds <U1"),
    "three axes": (np.zeros((3, 2, 2)), r"shape \(3, 2, 2\)"),
    "no clusterer": (PCA(1), "PCA given as init has no predict_proba, predict or labels_"),
    "a fit of other features": (OTHER, "the Fit given as init has 1 features, and X has 2"),
    "a name": ("kmeans", "'init' parameter"),
    "other rows": (
        AgglomerativeClustering(3).fit(SPOILT.normal(size=(20, 2))),
        r"AgglomerativeClustering given as init",
    ),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_bad_start_says_what_was_expected(case, x):
    init, message = BAD_STARTS[case]
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3, init=init).fit(x)


def test_rows_of_label_minus_one_are_noise_in_an_array_of_objects(x, labels):
    given = np.where(np.arange(90) % 7 == 0, -1, labels)
    starts = [GaussianMixture(3, init=init, max_iter=0).fit(x) for init in (given, given.astype(object))]
    np.testing.assert_array_equal(starts[0].means_, starts[1].means_)


def test_an_init_fills_in_what_the_others_do_not_give(x, labels):
    """``weights_init``, ``means_init`` and ``precisions_init`` come first, as before."""
    given = {"weights_init": [0.2, 0.3, 0.5], "precisions_init": np.array([np.eye(2)] * 3)}
    mixture = GaussianMixture(3, init=labels, max_iter=0, n_init=3, **given).fit(x)
    np.testing.assert_allclose(mixture.weights_, given["weights_init"])
    np.testing.assert_allclose(mixture.covariances_, given["precisions_init"], atol=1e-12)
    np.testing.assert_allclose(mixture.means_, [x[labels == k].mean(0) for k in range(3)])


# ------------------------------------------------------------------------------------------------ parameters


@every_structure
def test_given_parameters_predict_score_and_sample(structure, rng):
    weights, means = np.array([0.3, 0.7]), np.array([[0.0, 1.0], [5.0, -2.0]])
    one, two = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 0.5]])
    given = {
        "full": np.array([one, two]), "tied": one, "diag": np.array([[2.0, 1.0], [1.0, 0.5]]), "spherical": [2.0, 0.5],
    }[structure]  # fmt: skip
    full = {
        "full": given, "tied": [one, one], "diag": [np.diag(row) for row in np.atleast_2d(given)],
        "spherical": [np.eye(2) * v for v in np.ravel(given)[:2]],
    }[structure]  # fmt: skip
    mixture = GaussianMixture.from_parameters(weights, means, given, covariance_type=structure, random_state=0)
    x = rng.normal(size=(20, 2)) * 4
    log_p = np.array(
        [np.log(w) + multivariate_normal(m, C).logpdf(x) for w, m, C in zip(weights, means, full, strict=True)]
    )
    np.testing.assert_allclose(mixture.score_samples(x), np.logaddexp(*log_p))
    np.testing.assert_array_equal(mixture.predict(x), log_p.argmax(0))
    np.testing.assert_allclose(mixture.predict_proba(x)[:, 0], np.exp(log_p[0] - np.logaddexp(*log_p)))
    p = {"full": 11, "tied": 8, "diag": 9, "spherical": 7}[structure]
    assert mixture.bic(x) == pytest.approx(-2 * np.logaddexp(*log_p).sum() + p * np.log(20))
    drawn, labels = mixture.sample(4000)
    assert np.mean(labels == 1) == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 4000))
    np.testing.assert_allclose(drawn[labels == 1].mean(0), means[1], atol=4 * np.sqrt(2 / 2800))
    assert (mixture.n_components, mixture.covariance_type, mixture.n_features_in_) == (2, structure, 2)
    assert clone(mixture).get_params() == mixture.get_params()


def test_a_fit_goes_on_from_given_parameters(x, labels):
    frame = pd.DataFrame([x[labels == k].mean(0) for k in range(3)], columns=["a", "b"])
    mixture = GaussianMixture.from_parameters(np.full(3, 1 / 3), frame, [np.eye(2)] * 3, warm_start=True)
    assert mixture.predict(pd.DataFrame(x, columns=["a", "b"])).tolist() == mixture.predict(frame.iloc[labels]).tolist()
    best = mixture.fit(pd.DataFrame(x, columns=["a", "b"])).lower_bound_
    assert best == pytest.approx(GaussianMixture(3, random_state=0, n_init=5).fit(x).lower_bound_, abs=1e-3)
    np.testing.assert_array_equal(mixture.predict(pd.DataFrame(x, columns=["a", "b"])), labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [0.5, 0.6]}, "normalized"),
        ({"weights": [1.0]}, r"'weights' should have the shape of \(2,\)"),
        ({"weights": [1.5, -0.5]}, r"range \[0, 1\]"),
        ({"means": [0.0, 1.0]}, "2D array"),
        ({"means": [[np.nan], [1.0]]}, "NaN"),
        ({"covariances": [1.0, 2.0]}, r"'full covariances' should have the shape of \(2, 1, 1\)"),
        ({"covariances": [[[1.0]], [[-1.0]]]}, "'full covariance' should be symmetric, positive-definite"),
        ({"covariances": [1.0, 0.0], "covariance_type": "spherical"}, "'spherical covariance' should be positive"),
        ({"n_components": 3}, "n_components is 3, and there are 2 means"),
        ({"covariance_type": "round"}, "expected one of full, tied, diag, spherical"),
        ({"covariance_type": ["full"]}, "expected one of full, tied, diag, spherical"),
        ({"covariances": 1.0, "covariance_type": "spherical"}, r"shape of \(2,\), but got one value"),
        ({"covariances": [[[1.0]], [[1e-310]]]}, "the inverse of a full covariance is too large for a number"),
        ({"means": [[0.0, 0.0]] * 2, "covariances": np.array([np.eye(2), [[1, 0.5], [0.1, 1]]]) * 1e-12}, "symmetric"),
        ({"random_state": -1}, "'random_state' parameter"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    given = {"weights": [0.5, 0.5], "means": [[0.0], [1.0]], "covariances": [[[1.0]], [[2.0]]]} | change
    with pytest.raises(ValueError, match=message):
        GaussianMixture.from_parameters(**given)


def test_covariances_are_checked_in_their_own_units():
    """Off the diagonal, rounding of variances of 1e12 is 1e-4; a small determinant is not a singular matrix."""
    covariance = np.array([[1e12, 3e-4, 0.0], [-2e-4, 2e12, 0.0], [0.0, 0.0, 1e-12]])
    mixture = GaussianMixture.from_parameters([1.0], np.zeros((1, 3)), [covariance], random_state=0)
    x = np.array([[1e6, -1e6, 1e-6]])
    expected = np.log(2 * np.pi) * 1.5 + np.log([1e12, 2e12, 1e-12]).sum() / 2 + 0.5 + 0.25 + 0.5
    assert mixture.score_samples(x) == pytest.approx(-expected, rel=1e-12)
    np.testing.assert_allclose(mixture.sample(4000)[0].std(0), [1e6, 2**0.5 * 1e6, 1e-6], rtol=0.05)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_criteria_of_the_bayesian_class_are_of_the_likelihood_at_its_parameters(structure, x):
    mixture = BayesianGaussianMixture(n_components=3, covariance_type=structure, random_state=0, max_iter=500).fit(x)
    at = GaussianMixture.from_parameters(
        mixture.weights_, mixture.means_, mixture.covariances_, covariance_type=structure
    )
    weights = np.arange(90) % 3
    for name in ("aic", "bic"):
        assert getattr(mixture, name)(x) == pytest.approx(getattr(at, name)(x))
        repeated = np.repeat(x, weights, axis=0)
        assert getattr(mixture, name)(x, sample_weight=weights) == pytest.approx(getattr(mixture, name)(repeated))
    likeliest = GaussianMixture(3, covariance_type=structure, random_state=0, tol=1e-8).fit(x)
    assert mixture.bic(x) > likeliest.bic(x)


# ------------------------------------------------------------------------------------------------ callback


@both
def test_a_callback_is_told_of_every_step(estimator, x):
    told = []
    mixture = estimator(n_components=3, n_init=3, init_params="random", random_state=0, max_iter=500, tol=1e-6)
    mixture.fit(x, callback=lambda step: told.append((step, step.estimator())))
    steps = [step.iteration for step, _ in told]
    assert steps == list(range(1, len(steps) + 1))
    assert all(step.lower_bounds.shape == (3,) for step, _ in told)
    assert told[-1][0].lower_bounds.max() == pytest.approx(mixture.lower_bound_, abs=1e-3)
    first, last = told[0][1], told[-1][1]
    assert last.score(x) > first.score(x)
    assert last.score(x) == pytest.approx(mixture.score(x), abs=1e-3)
    assert first.predict(x[:4]).shape == (4,)
    np.testing.assert_array_equal(estimator(**mixture.get_params()).fit(x).means_, mixture.means_)


@both
def test_a_callback_ends_a_fit(estimator, x):
    """No warning, and the parameters of the step at which it stopped, or one beyond; `StopIteration` as in SciPy."""

    def third(step):
        if step.iteration == 3:
            raise StopIteration

    mixture = estimator(n_components=3, init_params="random", random_state=0, tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = mixture.fit_predict(x, callback=third)
    assert (mixture.n_iter_, mixture.converged_, len(labels)) == (3, False, 90)
    with pytest.warns(ConvergenceWarning):
        short = estimator(**mixture.get_params() | {"max_iter": 3}).fit(x)
    np.testing.assert_allclose(mixture.means_, short.means_)
    with pytest.raises(TypeError, match="callback is 3; expected a function"):
        mixture.fit(x, callback=3)


def test_a_callback_hears_of_components_too_tight_for_common_coordinates():
    rng = np.random.default_rng(0)
    tight = np.concatenate([rng.normal(c, 1e-9, (20, 1)) for c in (0.0, 1.0)])
    told = []
    mixture = GaussianMixture(2, reg_covar=1e-18, random_state=0).fit(tight, callback=told.append)
    assert told
    assert told[-1].estimator().score(tight) == pytest.approx(mixture.score(tight), rel=1e-3)


# ------------------------------------------------------------------------------------------------ warm start


@pytest.mark.robustness("numbers")
@pytest.mark.filterwarnings("ignore:Best performing:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("move", [lambda x: x + 10, lambda x: x + 1e6, lambda x: 1e6 * x, lambda x: x[::9] - 40])
@every_structure
@pairs
def test_a_warm_start_goes_on_where_the_data_have_moved(ours, sk, structure, move, x):
    """As scikit-learn's does; maximum likelihood, which would lose a component, starts anew, says so, and fits no worse."""
    mixture = ours(n_components=3, covariance_type=structure, warm_start=True, random_state=0).fit(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        score = mixture.fit(move(x)).score(move(x))
    assert np.isfinite(score)
    if ours is GaussianMixture:
        if any("starting anew" in str(w.message) for w in caught):
            fresh = ours(n_components=3, covariance_type=structure, random_state=0).fit(move(x))
            assert score == pytest.approx(fresh.score(move(x)), abs=1e-6)
        other = sk(n_components=3, covariance_type=structure, warm_start=True, random_state=0).fit(x)
        assert score > other.fit(move(x)).score(move(x)) - 0.01


@every_structure
@both
@unconverged
def test_where_it_has_converged_a_warm_start_takes_one_step(estimator, structure, rng):
    """And more where it has not."""
    x = three_clusters(90, rng, separation=2.0)
    options = {"n_components": 3, "covariance_type": structure, "warm_start": True, "random_state": 0}
    mixture = estimator(**options, max_iter=1000).fit(x)
    before = mixture.lower_bound_
    mixture.fit(x)
    assert (mixture.n_iter_, mixture.converged_) == (1, True)
    assert -1e-9 < mixture.lower_bound_ - before <= mixture.tol
    early = estimator(**options, max_iter=11).fit(x).set_params(max_iter=1000, tol=1e-9)
    before = early.lower_bound_
    assert early.fit(x).n_iter_ > 1
    assert early.lower_bound_ > before


@pytest.mark.robustness("numbers")
def test_starting_anew_is_told(x):
    mixture = GaussianMixture(3, warm_start=True, random_state=0).fit(x)
    with pytest.warns(UserWarning, match="warm_start: from the last parameters a component lost the rows"):
        mixture.fit(x + 100)
    np.testing.assert_allclose(mixture.means_, GaussianMixture(3, random_state=0).fit(x + 100).means_)


# ------------------------------------------------------------------------------------------------ saving


@both
def test_another_version_is_told_when_a_pickle_is_read(estimator, x, monkeypatch):
    mixture = estimator(n_components=2, random_state=0).fit(x)
    text = pickle.dumps(mixture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = pickle.loads(text)
    assert vars(same).keys() == vars(mixture).keys()
    monkeypatch.setattr(errors, "installed", lambda: "99.0")
    with pytest.warns(VersionWarning, match=rf"this {estimator.__name__} was saved by version .* read by version 99.0"):
        np.testing.assert_array_equal(pickle.loads(text).predict(x), mixture.predict(x))
    old = mixture.__reduce_ex__(4)[2] | {}
    old.pop(errors.VERSION)
    with pytest.warns(VersionWarning, match="a version that did not say so"):
        estimator().__setstate__(old)


def test_the_package_has_the_version_of_its_metadata():
    assert mixtures.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_a_fit_knows_the_version_that_saved_it(monkeypatch):
    text = pickle.dumps(OTHER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = pickle.loads(text)
    np.testing.assert_array_equal(same.log_predictive(LINE), OTHER.log_predictive(LINE))
    assert vars(same).keys() == vars(OTHER).keys()
    monkeypatch.setattr(errors, "installed", lambda: "99.0")
    with pytest.warns(VersionWarning, match="this Fit was saved by version"):
        pickle.loads(text)


def test_the_readmes_example_runs(x, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "from_parameters" in block)
    names = {"x": x}
    exec(example, names)
    np.testing.assert_array_equal(names["known"], names["again"].predict(x))
    assert capsys.readouterr().out.startswith("1 [")
