"""The drop-in estimators: scikit-learn's contract, its numbers where they are right, and what is promised beside them."""

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
from scipy import integrate, stats
from scipy.special import digamma
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mixtures
from mixtures import BayesianGaussianMixture, CollapseError, GaussianMixture, initial
from mixtures.estimators import base

STRUCTURES = ("full", "tied", "diag", "spherical")
PRIORS = ("dirichlet_process", "dirichlet_distribution")
PAIRS = [(GaussianMixture, theirs.GaussianMixture), (BayesianGaussianMixture, theirs.BayesianGaussianMixture)]
CLASSES = [ours for ours, _ in PAIRS]

every_structure = pytest.mark.parametrize("structure", STRUCTURES)
every_prior = pytest.mark.parametrize("prior", PRIORS)
both = pytest.mark.parametrize("estimator", CLASSES)
pairs = pytest.mark.parametrize(("ours", "sk"), PAIRS)
unconverged = pytest.mark.filterwarnings("ignore:Best performing:sklearn.exceptions.ConvergenceWarning")


def start(structure, K=3, D=2):
    """Weights, means and precisions to begin from, the precisions in the structure's shape."""
    precision = np.array([[1.0, 0.2], [0.2, 0.5]]) if D == 2 else np.eye(D)
    precisions = {
        "full": np.array([precision * (k + 1) / 2 for k in range(K)]),
        "tied": precision,
        "diag": np.array([[0.5, 1.5]] * K) if D == 2 else np.ones((K, D)),
        "spherical": np.linspace(0.5, 1, K),
    }
    means = 4.0 * np.eye(K, D, 1 - K % 2)
    return {"weights_init": np.full(K, 1 / K), "means_init": means, "precisions_init": precisions[structure]}


def parameters(mixture):
    """The fitted parameters, one flat array."""
    return np.concatenate([np.ravel(getattr(mixture, name)) for name in ("weights_", "means_", "covariances_")])


# ------------------------------------------------------------------------------------------------ the contract


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


@pairs
def test_signatures(ours, sk):
    mine, other = (inspect.signature(cls.__init__).parameters for cls in (ours, sk))
    assert [(p.name, p.default, p.kind) for p in mine.values()] == [(p.name, p.default, p.kind) for p in other.values()]
    assert ours().get_params() == sk().get_params()
    for name in (name for name in dir(sk) if not name.startswith("_")):
        assert hasattr(ours, name)
        if inspect.isfunction(getattr(sk, name)):
            mine, other = (list(inspect.signature(getattr(cls, name)).parameters) for cls in (ours, sk))
            assert mine == other or mine == [*other, "sample_weight"]


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


def failure(call):
    """The error that a call raises, with the options it lists in one order."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = re.sub(r"\{(.*?)\}", lambda found: str(sorted(found[1].split(", "))), str(caught.value))
    return type(caught.value), message


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


# ------------------------------------------------------------------------------------------------ maximum likelihood


@every_structure
@pytest.mark.parametrize("steps", [0, 1, 3])
@unconverged
def test_every_step_from_a_given_start_is_scikit_learns(structure, steps, rng):
    x = three_clusters(200, rng, separation=2.0)
    options = {"covariance_type": structure, "max_iter": steps, "reg_covar": 0, "tol": 0, **start(structure)}
    ours, sk = GaussianMixture(3, **options).fit(x), theirs.GaussianMixture(3, **options)
    if steps:
        sk.fit(x)
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            np.testing.assert_allclose(getattr(ours, name), getattr(sk, name), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours.lower_bounds_[:-1], sk.lower_bounds_[1:], rtol=1e-12)
    else:
        np.testing.assert_allclose(ours.means_, options["means_init"], atol=1e-12)
        np.testing.assert_allclose(ours.weights_, options["weights_init"], rtol=1e-12)
        np.testing.assert_allclose(ours.precisions_, options["precisions_init"], rtol=1e-10)
    assert ours.n_iter_ == len(ours.lower_bounds_) == steps


@pytest.mark.parametrize(("reg_covar", "rtol"), [(0, 1e-6), (1e-6, 1e-5)])
@every_structure
def test_the_end_is_scikit_learns(structure, reg_covar, rtol, rng):
    x = three_clusters(200, rng, separation=5.0) * [1, 3] + 10
    options = {"covariance_type": structure, "max_iter": 5000, "reg_covar": reg_covar, "tol": 1e-13, **start(structure)}
    options["means_init"] = 1.25 * options["means_init"] * [1, 3] + 10
    ours, sk = (cls(3, **options).fit(x) for cls in (GaussianMixture, theirs.GaussianMixture))
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(sk, name), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.predict_proba(x), sk.predict_proba(x), atol=rtol)
    np.testing.assert_allclose(ours.score_samples(x), sk.score_samples(x), rtol=rtol)
    np.testing.assert_array_equal(ours.predict(x), sk.predict(x))
    assert ours.lower_bound_ == pytest.approx(sk.lower_bound_, rel=1e-8)
    assert ours.aic(x) == pytest.approx(sk.aic(x), rel=1e-8)
    assert ours.bic(x) == pytest.approx(sk.bic(x), rel=1e-8)


@every_structure
def test_predictions_follow_the_attributes(structure, rng):
    """Parameters set by hand, or changed after a fit, as in scikit-learn; the same draws from the same random state."""
    x = three_clusters(50, rng)
    sk = theirs.GaussianMixture(3, covariance_type=structure, random_state=4).fit(x)
    ours = GaussianMixture(3, covariance_type=structure, random_state=4)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(ours, name, getattr(sk, name))
    ours.means_ = sk.means_ = sk.means_ + 0.5
    np.testing.assert_allclose(ours.score_samples(x), sk.score_samples(x), rtol=1e-10)
    np.testing.assert_allclose(ours.predict_proba(x), sk.predict_proba(x), atol=1e-12)
    for mine, other in zip(ours.sample(100), sk.sample(100), strict=True):
        np.testing.assert_array_equal(mine, other)


@every_structure
def test_the_lower_bound_is_the_score_and_never_falls(structure, rng):
    x = three_clusters(200, rng, separation=1.5)
    mixture = GaussianMixture(3, covariance_type=structure, random_state=0, tol=1e-8, reg_covar=1e-3, max_iter=500).fit(
        x
    )
    assert mixture.lower_bound_ == pytest.approx(mixture.score(x), rel=1e-13)
    assert mixture.lower_bounds_[-1] == mixture.lower_bound_
    assert len(mixture.lower_bounds_) == mixture.n_iter_ > 10
    assert np.diff(mixture.lower_bounds_).min() > -1e-12


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@both
def test_every_start_leads_to_separate_clusters(estimator, init_params, rng):
    x = three_clusters(150, rng, separation=8.0)
    options = {"init_params": init_params, "random_state": 3, "n_init": 8, "max_iter": 500}
    mixture = estimator(n_components=3, **options).fit(x)
    assert adjusted_rand_score(mixture.predict(x), np.rint(x / 8) @ [1, 2]) > 0.99


def test_the_default_start_is_as_good_as_scikit_learns(rng):
    """Within-cluster squares of k-means on many clusters, over one start each."""
    z, _ = make_blobs(500, 5, centers=10, random_state=0)
    ours, sk = [], []
    for seed in range(30):
        labels = initial.guesses(z[None], np.ones(500), 10, "k-means", 1, [np.random.default_rng(seed)])[0, 0].argmax(1)
        ours.append(sum(((z[labels == k] - z[labels == k].mean(0)) ** 2).sum() for k in set(labels)))
        sk.append(KMeans(10, n_init=1, random_state=seed).fit(z).inertia_)
    assert np.mean(ours) < 1.1 * np.mean(sk)


def test_rows_drawn_as_seeds_are_distinct(rng):
    z = np.repeat([[0.0], [1.0], [2.0]], [50, 3, 1], axis=0)
    drawn = initial.seed(np.broadcast_to(z, (200, *z.shape)), np.ones(54), 2, rng.random((200, 2)), apart=False)[..., 0]
    assert all(a != b for a, b in drawn)
    assert 0.75 < np.mean([0 in pair and 1 in pair for pair in drawn]) < 0.95  # 50/54 3/4 + 3/54 50/51 + ...


@both
def test_random_states(estimator, rng):
    x = three_clusters(60, rng, separation=1.0)
    options = {"n_components": 4, "init_params": "random", "tol": 0.1, "max_iter": 500}

    def fitted(random_state):
        return parameters(estimator(random_state=random_state, **options).fit(x))

    np.testing.assert_array_equal(fitted(1), fitted(1))
    assert not np.array_equal(fitted(1), fitted(2))
    state = np.random.RandomState(1)
    np.testing.assert_array_equal(fitted(state), fitted(1))
    assert not np.array_equal(fitted(state), fitted(1))
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(fitted(None), fitted(1))


@both
def test_more_starts_are_no_worse(estimator, rng):
    x = three_clusters(100, rng, separation=4.0)
    options = {"n_components": 5, "init_params": "random_from_data", "max_iter": 1000}
    bounds = [
        [estimator(n_init=n_init, random_state=seed, **options).fit(x).lower_bound_ for n_init in (1, 4)]
        for seed in range(6)
    ]
    gain = np.diff(bounds)
    assert gain.min() >= 0
    assert gain.max() > 0.01


@pytest.mark.parametrize("given", [("means_init",), ("weights_init", "means_init"), ("precisions_init",)])
@every_structure
@unconverged
def test_starts_given_in_part(structure, given, rng):
    x = three_clusters(60, rng)
    options = {name: value for name, value in start(structure).items() if name in given}
    guess, mixture = (
        GaussianMixture(3, covariance_type=structure, max_iter=0, random_state=0, **o).fit(x) for o in ({}, options)
    )
    for name, attribute in {"weights": "weights_", "means": "means_", "precisions": "precisions_"}.items():
        expected = options.get(f"{name}_init", getattr(guess, attribute))
        np.testing.assert_allclose(getattr(mixture, attribute), expected, rtol=1e-10, atol=1e-12)
    again = GaussianMixture(3, covariance_type=structure, n_init=3, random_state=0, **options).fit(x)
    assert again.converged_


@pytest.mark.parametrize("reg_covar", [0, 1e-2])
@every_structure
@both
@unconverged
def test_a_warm_start_goes_on(estimator, structure, reg_covar, rng):
    x = three_clusters(100, rng, separation=2.0)
    options = {"n_components": 3, "covariance_type": structure, "reg_covar": reg_covar, "random_state": 0, "tol": 1e-5}
    once = estimator(max_iter=6, **options).fit(x)
    again = estimator(max_iter=3, warm_start=True, **options).fit(x)
    first = again.lower_bound_
    again.fit(x)
    np.testing.assert_allclose(parameters(again), parameters(once), rtol=1e-8, atol=1e-9)
    assert again.lower_bound_ > first
    again.set_params(max_iter=1)
    for _ in range(300):
        if again.fit(x).converged_:
            break
    assert again.converged_
    with pytest.raises(ValueError, match=r"warm_start goes on from means and covariances of shapes \(3, 2\)"):
        again.set_params(n_components=2).fit(x)


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (GaussianMixture, {}),
        *((BayesianGaussianMixture, {"weight_concentration_prior_type": prior}) for prior in PRIORS),
    ],
)
@every_structure
def test_whole_weights_are_repeated_rows(estimator, structure, options, rng):
    x = three_clusters(80, rng, separation=3.0)
    weights = rng.integers(0, 4, size=len(x))
    options = {"n_components": 3, "covariance_type": structure, "random_state": 0, **options}
    order = rng.permutation(len(x))
    weighted = estimator(**options).fit(x[order], sample_weight=weights[order])
    repeated = estimator(**options).fit(np.repeat(x, weights, axis=0))
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=1e-8, atol=1e-8)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-10)
    assert weighted.score(x, sample_weight=weights) == pytest.approx(repeated.score(np.repeat(x, weights, axis=0)))
    assert not np.allclose(parameters(weighted), parameters(estimator(**options).fit(x)), rtol=1e-3)
    if estimator is GaussianMixture:
        for criterion in ("aic", "bic"):
            expected = getattr(repeated, criterion)(np.repeat(x, weights, axis=0))
            assert getattr(weighted, criterion)(x, sample_weight=weights) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-12, 7.3, 1e300])
def test_the_scale_of_weights_does_not_matter_to_likelihood(scale, rng):
    x, weights = three_clusters(80, rng, separation=3.0), rng.uniform(0, 2, 80)
    mine, scaled = (GaussianMixture(3, random_state=0).fit(x, sample_weight=w) for w in (weights, scale * weights))
    np.testing.assert_allclose(parameters(mine), parameters(scaled), rtol=1e-10)
    assert mine.lower_bound_ == pytest.approx(scaled.lower_bound_, rel=1e-12)


def test_weights_must_be_enough_for_a_prior_from_the_data(rng):
    x = rng.standard_normal((9, 2))
    with pytest.raises(
        ValueError, match=r"the weights sum to 0.9; they must sum to more than 1 unless covariance_prior"
    ):
        BayesianGaussianMixture().fit(x, sample_weight=np.full(9, 0.1))
    assert BayesianGaussianMixture(covariance_prior=np.eye(2)).fit(x, sample_weight=np.full(9, 0.1)).converged_


# ------------------------------------------------------------------------------------------------ hard data


@every_structure
def test_far_data_give_the_same_fit(structure, rng):
    x = three_clusters(100, rng, separation=4.0)
    near, far = (GaussianMixture(3, covariance_type=structure, random_state=0).fit(x + shift) for shift in (0, 1e8))
    np.testing.assert_allclose(far.means_ - 1e8, near.means_, atol=1e-6)
    np.testing.assert_allclose(far.covariances_, near.covariances_, atol=1e-6)
    np.testing.assert_allclose(far.score_samples(x + 1e8), near.score_samples(x), atol=1e-6)


@pytest.mark.parametrize("distance", [1e5, 1e8])
@every_structure
def test_clusters_tight_beside_their_distance_keep_their_digits(structure, distance, rng):
    parts = [rng.standard_normal((n, 2)) @ [[1.0, 0.0], [0.5, 1.0]] for n in (40, 60)]
    x = np.concatenate([parts[0] - distance, parts[1] + distance])
    mixture = GaussianMixture(2, covariance_type=structure, random_state=0, reg_covar=1e-9).fit(x)
    order = np.argsort(mixture.means_[:, 0])
    scatters = np.array([np.cov(part.T, bias=True) for part in parts])
    expected = {
        "full": scatters,
        "tied": 0.4 * scatters[0] + 0.6 * scatters[1],
        "diag": np.diagonal(scatters, axis1=1, axis2=2),
        "spherical": np.trace(scatters, axis1=1, axis2=2) / 2,
    }[structure]
    found = mixture.covariances_ if structure == "tied" else mixture.covariances_[order]
    np.testing.assert_allclose(found, expected, atol=1e-15 * distance + 1e-8)
    assert mixture.converged_
    assert clone(mixture).set_params(tol=1e6).fit(x).n_iter_ == 1
    with pytest.warns(ConvergenceWarning, match="Best performing"):
        assert clone(mixture).set_params(tol=0, max_iter=1).fit(x).n_iter_ == 1
    assert mixture.lower_bound_ == pytest.approx(mixture.score(x), rel=1e-12)
    assert len(mixture.lower_bounds_) == mixture.n_iter_
    named = pd.DataFrame(x, columns=["a", "b"])
    weighted = GaussianMixture(2, covariance_type=structure, random_state=0, reg_covar=1e-9, warm_start=True)
    for steps in (mixture.n_iter_, 1):
        weighted.fit(named, sample_weight=np.full(100, 3.0))
        np.testing.assert_allclose(
            np.sort(weighted.covariances_, axis=0), np.sort(mixture.covariances_, axis=0), rtol=1e-6
        )
        assert weighted.n_iter_ == steps


@pytest.mark.parametrize("structure", ["full", "diag", "spherical"])
def test_equal_rows_get_the_variance_of_the_ridge(structure, rng):
    """A spike of equal rows beside spread ones, as of incomes of zero."""
    x = np.concatenate([np.zeros((40, 1)), rng.normal(5e4, 1e4, (60, 1))])
    mixture = GaussianMixture(2, covariance_type=structure, random_state=0, reg_covar=1e-4).fit(x)
    np.testing.assert_allclose(np.sort(np.ravel(mixture.covariances_)), [1e-4, np.var(x[40:])], rtol=1e-6)
    np.testing.assert_allclose(np.sort(mixture.weights_), [0.4, 0.6], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@every_structure
@both
def test_constant_and_dependent_features(estimator, structure, scale, rng):
    x = scale * three_clusters(60, rng)
    x = np.column_stack([x, x.sum(1), np.full(60, 7.0)])
    reg_covar = 1e-5 * scale**2
    mixture = estimator(n_components=3, covariance_type=structure, random_state=0, reg_covar=reg_covar).fit(x)
    sk = theirs.GaussianMixture(3, covariance_type=structure, random_state=0, reg_covar=reg_covar).fit(x)
    assert all(np.isfinite(parameters(mixture)))
    assert np.isfinite(mixture.lower_bound_)
    np.testing.assert_array_equal(np.sort(np.bincount(mixture.predict(x))), np.sort(np.bincount(sk.predict(x))))
    begun = GaussianMixture(3, covariance_type="diag", random_state=0, reg_covar=reg_covar, max_iter=0).fit(x)
    np.testing.assert_allclose(begun.covariances_[:, 3], reg_covar, rtol=1e-9)


@both
def test_features_that_depend_beyond_the_ridge_are_an_error(estimator, rng):
    x = 1e4 * rng.standard_normal((50, 1)) * [1.0, 2.0]
    message = (
        "the covariance of X is singular|the eigenvalues of its covariance span more than 5e.13; scale the features"
    )
    with pytest.raises(ValueError, match=message) as caught:
        estimator(n_components=2, random_state=0).fit(x)
    assert str(caught.value).startswith(base.ILL_DEFINED)


@every_structure
def test_a_collapse_is_an_error_that_names_the_cluster(structure, rng):
    x = np.concatenate([rng.standard_normal((20, 2)), np.full((10, 2), 50.0)])
    if structure == "tied":
        x[:, 1] = x[:, 0]
    with pytest.raises(CollapseError, match=r"Here, cluster [01] collapsed: .* a positive reg_covar") as caught:
        GaussianMixture(2, covariance_type=structure, random_state=0, reg_covar=0).fit(x)
    same = np.full((30, 2), 4.0)
    kind, words = failure(lambda: theirs.GaussianMixture(reg_covar=0).fit(same))
    assert isinstance(caught.value, kind)
    assert str(caught.value).startswith(words)


def test_an_empty_cluster_is_an_error_that_names_it(rng):
    x = rng.standard_normal((50, 2))
    options = start("full", K=2) | {"means_init": [[0.0, 0.0], [1e4, 1e4]]}
    with pytest.raises(CollapseError, match="Here, cluster 1 is empty; use fewer components, other starts"):
        GaussianMixture(2, **options).fit(x)


@every_structure
def test_fewer_distinct_rows_than_components(structure):
    x = np.repeat([[0.0, 0.0], [1.0, 2.0]], [10, 20], axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct rows \(2\) found smaller than n_components \(5\)"):
        mixture = GaussianMixture(5, covariance_type=structure, random_state=0).fit(x)
    assert sorted({tuple(mean) for mean in mixture.means_.round(6)}) == [(0, 0), (1, 2)]
    assert mixture.weights_[mixture.means_[:, 0] > 0.5].sum() == pytest.approx(2 / 3)
    assert mixture.covariances_.max() == pytest.approx(1e-6, rel=1e-6)
    with pytest.warns(ConvergenceWarning, match="distinct rows"), pytest.raises(CollapseError, match="collapsed"):
        GaussianMixture(5, covariance_type=structure, random_state=0, reg_covar=0).fit(x)
    with pytest.warns(ConvergenceWarning, match="distinct rows"):
        bayesian = BayesianGaussianMixture(n_components=5, covariance_type=structure, random_state=0, max_iter=500).fit(
            x
        )
    assert np.all(np.isfinite(parameters(bayesian)))
    assert len(set(bayesian.predict(x))) <= 2


@both
def test_float32(estimator, rng):
    x = three_clusters(80, rng).astype(np.float32)
    single, double = (
        estimator(n_components=3, random_state=0).fit(x.astype(kind)) for kind in (np.float32, np.float64)
    )
    np.testing.assert_allclose(parameters(single), parameters(double), rtol=1e-6, atol=1e-6)
    huge = x * np.float32(1e30)  # squares are beyond float32
    mixture = estimator(n_components=3, random_state=0).fit(huge)
    assert np.all(np.isfinite(parameters(mixture)))
    np.testing.assert_array_equal(mixture.predict(huge), double.predict(x))
    np.testing.assert_allclose(mixture.score_samples(huge), double.score_samples(x) - 2 * np.log(1e30), atol=1e-2)
    far = [[1e200, -1e200]]
    np.testing.assert_allclose(mixture.predict_proba(far).sum(), 1)
    assert mixture.score_samples(far)[0] < -1000
    with pytest.raises(ValueError, match="the variance of feature 0 is too large for a number; rescale it"):
        estimator().fit(x.astype(np.float64) * 1e200)


@every_structure
@both
def test_blocks_do_not_change_predictions(estimator, structure, rng, monkeypatch):
    x = three_clusters(101, rng)
    mixture = estimator(n_components=3, covariance_type=structure, random_state=0).fit(x)
    whole = [getattr(mixture, name)(x) for name in ("predict", "predict_proba", "score_samples")]
    monkeypatch.setattr(base, "BLOCK_ELEMENTS", 60)
    parts = [getattr(mixture, name)(x) for name in ("predict", "predict_proba", "score_samples")]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------------ variational Bayes


def prior_options(structure):
    """A prior unlike the default, and its W0^-1 as the structure has it."""
    W0_inv = {"full": [[2.0, 0.3], [0.3, 1.0]], "tied": [[2.0, 0.3], [0.3, 1.0]], "diag": [2.0, 1.0], "spherical": 1.5}
    return {
        "mean_prior": [1.0, -2.0],
        "mean_precision_prior": 0.3,
        "degrees_of_freedom_prior": 3.5,
        "covariance_prior": W0_inv[structure],
        "covariance_type": structure,
    }


@every_prior
@every_structure
def test_one_component_has_its_log_evidence_as_lower_bound(structure, prior, rng):
    """The evidence by SciPy's Student-t, one point after another."""
    x = rng.standard_normal((12, 2)) * 2 + 5
    options = prior_options(structure)
    m, beta, nu = np.array(options["mean_prior"]), 0.3, 3.5
    S = np.array(options["covariance_prior"])
    evidence = 0.0
    for point in x:
        step, widening = point - m, (1 + beta) / beta
        if structure in ("full", "tied"):
            evidence += stats.multivariate_t(m, S * widening / (nu - 1), nu - 1).logpdf(point)
            S, nu = S + np.outer(step, step) / widening, nu + 1
        elif structure == "diag":
            evidence += stats.t(nu, m, np.sqrt(S * widening / nu)).logpdf(point).sum()
            S, nu = S + step**2 / widening, nu + 1
        else:
            evidence += stats.multivariate_t(m, S * widening / nu * np.eye(2), nu).logpdf(point)
            S, nu = S + step @ step / widening, nu + 2
        m, beta = (beta * m + point) / (beta + 1), beta + 1
    mixture = BayesianGaussianMixture(weight_concentration_prior_type=prior, reg_covar=0, **options).fit(x)
    assert mixture.lower_bound_ == pytest.approx(evidence, rel=1e-12)
    assert mixture.lower_bounds_[-1] == mixture.lower_bound_
    np.testing.assert_allclose(np.ravel(mixture.degrees_of_freedom_), nu)
    np.testing.assert_allclose(mixture.covariances_.reshape(S.shape), S / nu, rtol=1e-10)
    np.testing.assert_allclose(mixture.means_[0], m, rtol=1e-12)
    blurred = BayesianGaussianMixture(weight_concentration_prior_type=prior, reg_covar=0.01, **options).fit(x)
    assert evidence - 0.5 < blurred.lower_bound_ < evidence
    assert blurred.lower_bounds_[-1] == blurred.lower_bound_


def test_full_covariances_under_a_dirichlet_have_scikit_learns_posterior(rng):
    """The one combination in which scikit-learn's expectations belong to its model."""
    x = three_clusters(90, rng, separation=4.0)
    options = {"n_components": 3, "weight_concentration_prior_type": "dirichlet_distribution", "random_state": 0}
    options |= {"tol": 1e-10, "max_iter": 5000, "reg_covar": 0}
    ours, sk = (cls(**options).fit(x) for cls in (BayesianGaussianMixture, theirs.BayesianGaussianMixture))
    orders = [np.lexsort(mixture.means_.round(3).T) for mixture in (ours, sk)]
    names = ["weights_", "weight_concentration_", "mean_precision_", "means_", "degrees_of_freedom_"]
    for name in [*names, "covariances_", "precisions_", "precisions_cholesky_"]:
        mine, other = (getattr(mixture, name)[order] for mixture, order in zip((ours, sk), orders, strict=True))
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(x)[:, orders[0]], sk.predict_proba(x)[:, orders[1]], atol=1e-6)
    for name in ("weight_concentration", "mean_precision", "mean", "degrees_of_freedom", "covariance"):
        np.testing.assert_allclose(getattr(ours, f"{name}_prior_"), getattr(sk, f"{name}_prior_"), rtol=1e-12)


@every_structure
def test_priors_from_the_data_are_scikit_learns(structure, rng):
    x = three_clusters(30, rng)
    ours, sk = (cls(covariance_type=structure).fit(x) for _, cls in [(0, c) for c in PAIRS[1]])
    np.testing.assert_allclose(ours.covariance_prior_, sk.covariance_prior_, rtol=1e-12)
    assert ours.degrees_of_freedom_prior_ == sk.degrees_of_freedom_prior_ == 2
    dependent = np.column_stack([x, x[:, 0], np.ones(30)])
    singular = BayesianGaussianMixture(covariance_type=structure, reg_covar=1e-4).fit(dependent)
    sk = theirs.BayesianGaussianMixture(covariance_type=structure, reg_covar=1e-4).fit(dependent)
    ridge = {"diag": 1e-4, "spherical": 0}.get(structure, 1e-4 * np.eye(4))
    np.testing.assert_allclose(singular.covariance_prior_, sk.covariance_prior_ + ridge, rtol=1e-10)
    if structure != "spherical":
        with pytest.raises(
            ValueError, match="the covariance of X is singular, so that it cannot be the covariance_prior"
        ):
            BayesianGaussianMixture(covariance_type=structure, reg_covar=0).fit(dependent)


@every_prior
@every_structure
def test_the_predictive_density_integrates_to_one_and_samples_follow_it(structure, prior, rng):
    x = np.concatenate([rng.standard_normal((6, 1)), rng.standard_normal((6, 1)) + 6])
    mixture = BayesianGaussianMixture(
        n_components=3, covariance_type=structure, weight_concentration_prior_type=prior, random_state=0, max_iter=500
    ).fit(x)

    def density(point):
        return float(np.exp(mixture.score_samples([[point]])[0]))

    total, error = integrate.quad(density, -np.inf, np.inf, limit=200)
    assert total == pytest.approx(1, abs=1e-6 + error)
    wrong = theirs.BayesianGaussianMixture(n_components=3, covariance_type=structure, random_state=0, max_iter=500).fit(
        x
    )
    assert integrate.quad(lambda point: np.exp(wrong.score_samples([[point]])[0]), -np.inf, np.inf)[0] < 0.98
    drawn, labels = mixture.sample(40_000)
    grid = np.linspace(-60, 70, 60_001)
    cdf = integrate.cumulative_simpson(np.exp(mixture.score_samples(grid[:, None])), x=grid, initial=0)
    inside = drawn[np.abs(drawn[:, 0]) < 50, 0]
    assert stats.kstest(inside, lambda points: np.interp(points, grid, cdf)).pvalue > 1e-3
    expected = mixture.weights_ * len(drawn)
    assert np.all(np.abs(np.bincount(labels, minlength=3) - expected) < 5 * np.sqrt(expected) + 1)


@every_structure
def test_predictive_densities_are_student_t(structure, rng):
    x = three_clusters(40, rng)
    mixture = BayesianGaussianMixture(n_components=3, covariance_type=structure, random_state=0, max_iter=500).fit(x)
    beta, nu, C = mixture.mean_precision_, mixture.degrees_of_freedom_, mixture.covariances_
    density = np.zeros(len(x))
    for k, (pi, m, widening) in enumerate(zip(mixture.weights_, mixture.means_, (1 + beta) / beta, strict=True)):
        own_nu, own_C = (nu, C) if structure == "tied" else (nu[k], C[k])
        if structure in ("full", "tied"):
            density += pi * stats.multivariate_t(m, own_C * own_nu * widening / (own_nu - 1), own_nu - 1).pdf(x)
        elif structure == "diag":
            density += pi * stats.t(own_nu, m, np.sqrt(own_C * widening)).pdf(x).prod(1)
        else:
            density += pi * stats.multivariate_t(m, own_C * widening * np.eye(2), own_nu).pdf(x)
    np.testing.assert_allclose(np.exp(mixture.score_samples(x)), density, rtol=1e-8)


@every_prior
def test_responsibilities_are_the_optimal_q_of_z(prior, rng):
    """PRML 10.46, with the expectations of diagonal precisions and of sticks written out."""
    x = three_clusters(40, rng, separation=1.0)
    mixture = BayesianGaussianMixture(
        n_components=3, covariance_type="diag", weight_concentration_prior_type=prior, random_state=0, max_iter=500
    ).fit(x)
    if prior == "dirichlet_process":
        a, b = mixture.weight_concentration_
        assert b[-1] == 0
        np.testing.assert_allclose(
            mixture.weights_, [a[0] / (a + b)[0], *(a / (a + b))[1:] * np.cumprod((b / (a + b))[:-1])]
        )
        a, b = a[:-1], b[:-1]
        log_v, log_rest = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
        log_pi = np.array([log_v[0], log_v[1] + log_rest[0], log_rest.sum()])
    else:
        alpha = mixture.weight_concentration_
        np.testing.assert_allclose(mixture.weights_, alpha / alpha.sum())
        log_pi = digamma(alpha) - digamma(alpha.sum())
    assert mixture.weights_.sum() == pytest.approx(1, rel=1e-14)
    nu, precisions = mixture.degrees_of_freedom_, mixture.precisions_
    log_lambda = digamma(nu / 2)[:, None] - np.log(nu[:, None] / precisions / 2)
    offset = (x[:, None, :] - mixture.means_) ** 2 * precisions
    log_rho = log_pi + (log_lambda - 1 / mixture.mean_precision_[:, None] - offset).sum(-1) / 2
    r = np.exp(log_rho - log_rho.max(1, keepdims=True))
    np.testing.assert_allclose(mixture.predict_proba(x), r / r.sum(1, keepdims=True), atol=1e-10)


@every_prior
def test_surplus_components_are_left_empty(prior, rng):
    x = three_clusters(300, rng, separation=10.0)
    mixture = BayesianGaussianMixture(
        n_components=8,
        weight_concentration_prior_type=prior,
        weight_concentration_prior=1e-3,
        random_state=0,
        max_iter=2000,
    ).fit(x)
    assert np.sum(mixture.weights_ > 0.01) == 3
    assert set(mixture.predict(x)) == set(np.flatnonzero(mixture.weights_ > 0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        few = BayesianGaussianMixture(
            n_components=8, max_iter=1, random_state=0, weight_concentration_prior_type=prior
        ).fit(x)
    if prior == "dirichlet_process":
        assert few.weights_[0] > few.weights_[4:].max()


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("Ours", [GaussianMixture, BayesianGaussianMixture])
def test_batches_of_one_component_add_up_to_the_whole(Ours, covariance_type, rng):
    """K = 1 and kappa = 1 lose nothing, given a prior that does not follow from the batch."""
    X = rng.standard_normal((130, 2)) * [1.0, 3.0]
    prior = {}
    if Ours is BayesianGaussianMixture:
        scale = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": 1.0}[covariance_type]
        prior = {"mean_prior": np.zeros(2), "covariance_prior": scale}
    pieces, whole = (Ours(n_components=1, covariance_type=covariance_type, random_state=0, **prior) for _ in range(2))
    for start in range(0, 130, 40):
        assert pieces.partial_fit(X[start : start + 40], kappa=1.0) is pieces
    whole.fit(X)
    assert pieces.n_iter_ == 4
    np.testing.assert_allclose(pieces.means_, whole.means_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(pieces.covariances_, whole.covariances_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(pieces.score_samples(X), whole.score_samples(X), rtol=1e-8)
    assert np.isnan(pieces.lower_bound_)
    assert not pieces.converged_


def test_a_fit_begins_the_batches_anew(rng):
    X, other = rng.standard_normal((60, 1)), rng.standard_normal((60, 1)) + 50
    mixture = GaussianMixture(1).partial_fit(X).partial_fit(X).fit(other)
    assert mixture.partial_fit(other).n_iter_ == GaussianMixture(1).fit(other).n_iter_
    assert mixture.means_[0, 0] == pytest.approx(other.mean())


def test_batches_must_keep_their_width(rng):
    mixture = BayesianGaussianMixture(n_components=2, random_state=0).partial_fit(rng.standard_normal((60, 2)))
    with pytest.raises(ValueError, match="X has 3 features, but BayesianGaussianMixture is expecting 2"):
        mixture.partial_fit(rng.standard_normal((60, 3)))
