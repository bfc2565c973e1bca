"""The drop-in estimators keep scikit-learn's contract: signatures, attributes, errors, warnings, its own checks."""

import inspect
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture as theirs
from conftest import three_clusters
from estimator_cases import PAIRS, PRIORS, both, every_structure, failure, pairs, start, unconverged
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import check_estimator

import mixtures
from mixtures import BayesianGaussianMixture, GaussianMixture


def test_the_estimators_are_loaded_when_they_are_first_used():
    code = (
        "import sys, mixtures; before = 'sklearn' in sys.modules; mixtures.GaussianMixture; "
        "print(before, 'sklearn' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "True"]
    assert {"GaussianMixture", "BayesianGaussianMixture"} <= set(dir(mixtures)) & set(mixtures.__all__)
    with pytest.raises(AttributeError, match="no attribute 'GaussianMixtures'"):
        _ = mixtures.GaussianMixtures


OUR_OWN = {"init": None, "allow_missing": False}


@pairs
def test_signatures(ours, sk):
    """Those of scikit-learn, and beside them ``init``, ``allow_missing``, ``sample_weight`` and ``callback``."""
    mine, other = (inspect.signature(cls.__init__).parameters for cls in (ours, sk))
    assert [(p.name, p.default, p.kind) for p in mine.values() if p.name not in OUR_OWN] == [
        (p.name, p.default, p.kind) for p in other.values()
    ]
    assert ours().get_params() == sk().get_params() | OUR_OWN
    for name in (name for name in dir(sk) if not name.startswith("_")):
        assert hasattr(ours, name)
        if inspect.isfunction(getattr(sk, name)):
            mine, other = (list(inspect.signature(getattr(cls, name)).parameters) for cls in (ours, sk))
            assert mine in (other, [*other, "sample_weight"], [*other, "sample_weight", "callback"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("ours", "sk", "options"),
    [(*PAIRS[0], {}), *((*PAIRS[1], {"weight_concentration_prior_type": prior}) for prior in PRIORS)],
)
@every_structure
def test_attributes(ours, sk, options, structure, dtype, rng):
    options = {"n_components": 3, "covariance_type": structure, "random_state": 0, **options}
    x = pd.DataFrame(three_clusters(60, rng).astype(dtype), columns=["a", "b"])
    mine, other = (cls(**options).fit(x) for cls in (ours, sk))
    public = {name for name in vars(other) if name.endswith("_")}
    assert public == {name for name in vars(mine) if name.endswith("_")}
    for name in public:
        a, b = getattr(mine, name), getattr(other, name)
        if isinstance(b, tuple):
            assert isinstance(a, tuple)
            assert [(v.shape, v.dtype) for v in a] == [(v.shape, v.dtype) for v in b]
        elif name in ("lower_bound_", "lower_bounds_"):  # scikit-learn's are arrays of one number for 'tied'
            assert np.ndim(a) == (name == "lower_bounds_")
        else:
            assert np.shape(a) == np.shape(b)
            assert isinstance(a, np.ndarray) == isinstance(b, np.ndarray)
            if not (ours is BayesianGaussianMixture and name.endswith("_prior_")):  # float64 here, either there
                assert np.asarray(a).dtype == np.asarray(b).dtype
    for method in ("predict", "predict_proba", "score_samples"):
        a, b = getattr(mine, method)(x), getattr(other, method)(x)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    a, labels = mine.sample(7)
    with warnings.catch_warnings():  # rounded to float32, scikit-learn's own covariances may not look symmetric
        warnings.filterwarnings("ignore", message="covariance is not symmetric", category=RuntimeWarning)
        b, other_labels = other.sample(7)
    assert (a.shape, a.dtype, labels.shape, labels.dtype) == (b.shape, b.dtype, other_labels.shape, other_labels.dtype)
    assert np.all(np.diff(labels) >= 0)
    assert isinstance(mine.score(x), float)


NAN_ROW = [[np.nan, 1.0], [1.0, 2.0], [2.0, 0.0]]
BAD = {
    GaussianMixture: [
        {"weights_init": [0.5, 0.5]},
        {"weights_init": [[1.0], [0.0], [0.0]]},
        {"weights_init": [0.5, 0.7, -0.2]},
        {"weights_init": [0.5, 0.2, 0.2]},
        {"weights_init": [0.5, np.nan, 0.5]},
        {"weights_init": 3},
        {"means_init": [[0.0, 1.0]]},
        {"means_init": [[0.0], [1.0], [2.0]]},
        {"means_init": NAN_ROW},
        {"means_init": "here"},
        *(
            {"covariance_type": structure, "precisions_init": precisions}
            for structure, bad in {
                "full": (np.ones((2, 2)), np.ones((3, 2, 2)), -np.array([np.eye(2)] * 3)),
                "tied": (np.ones((2, 3)), np.ones((2, 2)), np.array([[1.0, 2.0], [0.0, 1.0]])),
                "diag": (np.ones((2, 2)), np.zeros((3, 2))),
                "spherical": (np.ones((3, 2)), -np.ones(3)),
            }.items()
            for precisions in bad
        ),
    ],
    BayesianGaussianMixture: [
        {"weight_concentration_prior_type": "pitman_yor"},
        {"weight_concentration_prior": 0},
        {"weight_concentration_prior": "large"},
        {"mean_precision_prior": 0.0},
        {"mean_prior": [0.0]},
        {"mean_prior": [0.0, np.inf]},
        {"mean_prior": 1.0},
        {"degrees_of_freedom_prior": 1.0},
        {"degrees_of_freedom_prior": 0.5, "covariance_type": "diag"},
        {"degrees_of_freedom_prior": -1},
        {"covariance_prior": np.ones((2, 3))},
        {"covariance_prior": np.ones((2, 2))},
        {"covariance_prior": 2.0},
        {"covariance_prior": np.ones((3, 3)), "covariance_type": "tied"},
        {"covariance_prior": [1.0], "covariance_type": "diag"},
        {"covariance_prior": [1.0, 0.0], "covariance_type": "diag"},
        {"covariance_prior": 0.0, "covariance_type": "spherical"},
    ],
}
BAD_FOR_BOTH = [
    {"n_components": 0},
    {"n_components": 2.5},
    {"n_components": 31},
    {"covariance_type": "round"},
    {"tol": -1.0},
    {"reg_covar": -1e-6},
    {"max_iter": -1},
    {"n_init": 0},
    {"init_params": "best"},
    {"random_state": "seed"},
    {"warm_start": "yes"},
    {"verbose": -1},
    {"verbose_interval": 0},
]


@pytest.mark.parametrize(
    ("ours", "sk", "options"), [(a, b, options) for a, b in PAIRS for options in [*BAD_FOR_BOTH, *BAD[a]]]
)
def test_bad_parameters_have_scikit_learns_errors(ours, sk, options, rng):
    x = rng.standard_normal((30, 2))
    options = {"n_components": 3} | options
    kind, message = failure(lambda: ours(**options).fit(x))
    assert (kind, message) == failure(lambda: sk(**options).fit(x))
    assert message


BAD_DATA = [
    NAN_ROW,
    [[np.inf, 1.0], [1.0, 2.0], [2.0, 0.0]],
    [1.0, 2.0, 3.0],
    [[1.0, 2.0]],
    [["a", "b"], ["c", "d"]],
    np.ones((3, 2, 2)),
    np.ones((3, 0)),
    np.ones((4, 2)) * 1j,
]


@pytest.mark.parametrize("x", BAD_DATA, ids=range(len(BAD_DATA)))
@pairs
def test_bad_data_have_scikit_learns_errors(ours, sk, x, rng):
    assert failure(lambda: ours().fit(x)) == failure(lambda: sk().fit(x))
    fitted = [cls().fit(rng.standard_normal((9, 2))) for cls in (ours, sk)]
    bad = np.ones((3, 4)) if np.shape(x) == (1, 2) else x
    for method in ("predict", "predict_proba", "score_samples", "score"):
        assert len({failure(lambda m=m, method=method: getattr(m, method)(bad)) for m in fitted}) == 1


@pairs
def test_what_needs_a_fit_says_so(ours, sk, rng):
    x = rng.standard_normal((9, 2))
    methods = ["predict", "predict_proba", "score_samples", "score", "sample"]
    for method in methods + (["aic", "bic"] if ours is GaussianMixture else []):
        with pytest.raises(NotFittedError) as mine:
            getattr(ours(), method)(x)
        with pytest.raises(NotFittedError) as other:
            getattr(sk(), method)(x)
        assert str(mine.value) == str(other.value)
    with pytest.raises(
        ValueError, match=r"Invalid value for 'n_samples': 0 . The sampling requires at least one sample"
    ):
        ours().fit(x).sample(0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, -1, 1, 1, 1], "Negative values"),
        ([1, 1, np.nan, 1, 1, 1], "contains NaN"),
        ([1, 1, np.inf, 1, 1, 1], "contains infinity"),
        ([0] * 6, "at least one"),
        ([1, 1], re.escape("sample_weight.shape == (2,), expected (6,)")),
        (np.ones((6, 1)), "1D array"),
    ],
)
@both
def test_bad_weights(estimator, weights, message, rng):
    x = rng.standard_normal((6, 1))
    with pytest.raises(ValueError, match=message):
        estimator().fit(x, sample_weight=weights)
    with pytest.raises(ValueError, match=message):
        estimator().fit(x).score(x, sample_weight=weights)


@pairs
def test_the_warning_is_scikit_learns(ours, sk, rng):
    x = three_clusters(90, rng, separation=1.5)
    messages = []
    for cls in (ours, sk):
        with pytest.warns(ConvergenceWarning) as caught:
            mixture = cls(n_components=3, max_iter=2, tol=1e-9, random_state=0).fit(x)
        messages.append([str(w.message) for w in caught])
        assert not mixture.converged_
        assert mixture.n_iter_ == 2
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "mixture",
    [
        GaussianMixture(),
        GaussianMixture(n_components=3, covariance_type="tied"),
        GaussianMixture(n_components=2, covariance_type="diag", init_params="k-means++", n_init=2),
        GaussianMixture(n_components=2, covariance_type="spherical", init_params="random_from_data"),
        BayesianGaussianMixture(),
        BayesianGaussianMixture(n_components=3, covariance_type="tied"),
        BayesianGaussianMixture(weight_concentration_prior_type="dirichlet_distribution"),
        BayesianGaussianMixture(n_components=2, covariance_type="diag"),
        GaussianMixture(n_components=2, allow_missing=True),
        BayesianGaussianMixture(n_components=2, covariance_type="diag", allow_missing=True),
        BayesianGaussianMixture(
            n_components=2, covariance_type="spherical", weight_concentration_prior_type="dirichlet_distribution"
        ),
    ],
    ids=str,
)
@unconverged
def test_scikit_learns_own_checks(mixture):
    results = check_estimator(mixture, on_skip=None, on_fail=None)
    names = {result["check_name"] for result in results}
    assert {"check_sample_weight_equivalence_on_dense_data", "check_fit_idempotent", "check_estimators_pickle"} <= names
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] not in ("passed", "skipped")] == []


@both
def test_pickling_cloning_pipelines_and_grid_search(estimator, rng):
    x = three_clusters(120, rng, separation=8.0)
    mixture = estimator(n_components=3, random_state=0, covariance_type="diag").fit(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mixture)).predict_proba(x), mixture.predict_proba(x))
    np.testing.assert_array_equal(clone(mixture).fit(x).means_, mixture.means_)
    assert not hasattr(clone(mixture), "means_")
    pipeline = make_pipeline(StandardScaler(), clone(mixture))
    assert len(set(pipeline.fit_predict(x))) == 3
    search = GridSearchCV(estimator(random_state=0), {"n_components": [1, 2, 3]}, cv=3)
    search.fit(x, sample_weight=np.ones(len(x)))
    assert search.best_params_ == {"n_components": 3}
    assert search.score(x) == search.best_estimator_.score(x)


@pairs
def test_the_names_of_the_features_are_kept(ours, sk, rng):
    x = pd.DataFrame(rng.standard_normal((20, 2)), columns=["b", "a"])
    mixture = ours(n_components=2, random_state=0).fit(x)
    assert mixture.feature_names_in_.tolist() == ["b", "a"]
    assert mixture.n_features_in_ == 2
    fitted = sk(n_components=2, random_state=0).fit(x)
    assert failure(lambda: mixture.predict(x[["a", "b"]])) == failure(lambda: fitted.predict(x[["a", "b"]]))


def test_verbose_output_is_scikit_learns(rng, capsys):
    x = three_clusters(200, rng, separation=2.0)
    printed = []
    for cls in (GaussianMixture, theirs.GaussianMixture):
        for verbose in (1, 2):
            cls(3, **start("full"), verbose=verbose, verbose_interval=4, tol=1e-4, reg_covar=0).fit(x)
            printed.append(capsys.readouterr().out.splitlines())
    assert printed[0] == printed[2]
    assert printed[0][:2] == ["Initialization 0", "  Iteration 4"]
    assert [line.split("\t")[0] for line in printed[1][:-1]] == [line.split("\t")[0] for line in printed[3][:-1]]
    assert [line.split("ll change")[1:] for line in printed[1]] == [line.split("ll change")[1:] for line in printed[3]]
    assert printed[1][-1].split("\t")[1] == printed[3][-1].split("\t")[1]
    GaussianMixture(3).fit(x)
    assert capsys.readouterr().out == ""


@both
def test_parameters_that_were_accepted_are_known_by_type_and_value(estimator, rng):
    x = rng.standard_normal((30, 2))
    estimator(n_components=1, tol=1.0, warm_start=True).fit(x)
    for wrong in ({"n_components": 1.0}, {"warm_start": 1}):
        options = {"n_components": 1, "tol": 1.0, "warm_start": True} | wrong
        with pytest.raises(InvalidParameterError, match=f"'{next(iter(wrong))}' parameter"):
            estimator(**options).fit(x)


@both
def test_rows_without_names_after_rows_with_names(estimator, rng):
    x = rng.standard_normal((30, 2))
    mixture = (
        estimator(2, random_state=0) if estimator is GaussianMixture else estimator(n_components=2, random_state=0)
    )
    mixture.fit(pd.DataFrame(x, columns=["a", "b"])).fit(x[:, :1])
    assert not hasattr(mixture, "feature_names_in_")
    assert mixture.n_features_in_ == 1
    assert mixture.predict(x[:, :1]).shape == (len(x),)
