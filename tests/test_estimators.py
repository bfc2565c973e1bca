"""What the two estimators promise beside the contract: the likelihood's maximum, weights, hard data, batches."""

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture as theirs
from conftest import three_clusters
from estimator_cases import PRIORS, both, every_structure, failure, parameters, start, unconverged
from scipy import stats
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from mixtures import BayesianGaussianMixture, CollapseError, GaussianMixture
from mixtures.ascent import starts as initial
from mixtures.ascent.kmeans import seed as seeded
from mixtures.engines import loading
from mixtures.estimators import base, densities, predictions

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
        labels = initial.guesses(z[None], np.ones(500), 10, "k-means", range(1), [np.random.default_rng(seed)])[
            0, 0
        ].argmax(1)
        ours.append(sum(((z[labels == k] - z[labels == k].mean(0)) ** 2).sum() for k in set(labels)))
        sk.append(KMeans(10, n_init=1, random_state=seed).fit(z).inertia_)
    assert np.mean(ours) < 1.1 * np.mean(sk)


def test_rows_drawn_as_seeds_are_distinct(rng):
    z = np.repeat([[0.0], [1.0], [2.0]], [50, 3, 1], axis=0)
    drawn = seeded(np.broadcast_to(z, (200, *z.shape)), np.ones(54), 2, rng.random((200, 2)), apart=False)[..., 0]
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
def test_samples_without_a_seed_follow_numpys_own(estimator, rng):
    mixture = estimator(n_components=3).fit(three_clusters(100, rng))

    def drawn(seed):
        np.random.seed(seed)  # noqa: NPY002
        return mixture.sample(20)[0], mixture.sample(20)[0]

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert not np.array_equal(*drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


@both
def test_more_starts_are_better_in_the_mean(estimator, rng):
    """Of six seeds; moves from the best of four starts are others than from one."""
    x = three_clusters(100, rng, separation=4.0)
    options = {"n_components": 5, "init_params": "random_from_data", "max_iter": 1000}
    bounds = [
        [estimator(n_init=n_init, random_state=seed, **options).fit(x).lower_bound_ for n_init in (1, 4)]
        for seed in range(6)
    ]
    assert np.diff(bounds).mean() > 0.01


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
def test_a_warm_start_goes_on(estimator, structure, reg_covar):
    """On quantiles of three overlapping normals, from means in the middle, so that six iterations are too few for all."""
    z = stats.norm.ppf((np.arange(6) + 0.5) / 6)
    grid = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2)
    x = np.concatenate([grid + corner for corner in ([0, 0], [2, 0], [0, 2.4])])
    options = {"n_components": 3, "covariance_type": structure, "reg_covar": reg_covar, "random_state": 0, "tol": 1e-5}
    options |= {"init": np.array([[0, 0.5], [1, 0], [0, 1]])}
    once = estimator(max_iter=6, **options).fit(x)
    assert not once.converged_
    again = estimator(max_iter=3, warm_start=True, **options).fit(x)
    first = again.lower_bound_
    again.fit(x)
    np.testing.assert_allclose(parameters(again), parameters(once), rtol=1e-8, atol=1e-9)
    assert again.lower_bound_ > first
    again.set_params(max_iter=1, tol=1e-3)
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
    (by, here), (by_far, there) = ((np.argsort(m.means_[:, 0]), m.covariances_) for m in (near, far))
    np.testing.assert_allclose(far.means_[by_far] - 1e8, near.means_[by], atol=1e-6)
    if structure != "tied":
        here, there = here[by], there[by_far]
    np.testing.assert_allclose(there, here, atol=1e-6)
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
    assert clone(mixture).set_params(tol=1e6).fit(x).n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match="Best performing"):
        assert clone(mixture).set_params(tol=0, max_iter=1).fit(x).n_iter_ == 1
    assert mixture.lower_bound_ == pytest.approx(mixture.score(x), rel=1e-12)
    assert len(mixture.lower_bounds_) == mixture.n_iter_
    named = pd.DataFrame(x, columns=["a", "b"])
    weighted = GaussianMixture(2, covariance_type=structure, random_state=0, reg_covar=1e-9, warm_start=True)
    for steps in (mixture.n_iter_, 2):
        weighted.fit(named, sample_weight=np.full(100, 3.0))
        np.testing.assert_allclose(
            np.sort(weighted.covariances_, axis=0), np.sort(mixture.covariances_, axis=0), rtol=1e-6
        )
        assert weighted.n_iter_ <= steps + 1


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
@pytest.mark.robustness("numbers")
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
@pytest.mark.robustness("numbers")
def test_features_that_depend_are_an_error_that_names_them(estimator, rng):
    x = pd.DataFrame({"metres": 1e4 * rng.standard_normal(50)}).assign(feet=lambda x: x["metres"] / 0.3048)
    with pytest.raises(ValueError, match=r"'feet' = 3\.2808 'metres'") as caught:
        estimator(n_components=2, random_state=0, reg_covar=0).fit(x)
    assert str(caught.value).startswith(base.ILL_DEFINED)


@pytest.mark.robustness("numbers")
def test_a_ridge_far_below_the_spread_of_dependent_features_keeps_its_digits(rng):
    """Along (1, 2) lies the spread, across it the ridge alone, 1e-14 of it: the density is known in these directions."""
    x = 1e4 * rng.standard_normal((50, 1)) * [1.0, 2.0]
    along = 5 * x[:, 0].var()
    expected = -np.log(2 * np.pi) - (np.log(along + 1e-6) + np.log(1e-6) + along / (along + 1e-6)) / 2
    assert GaussianMixture().fit(x).score(x) == pytest.approx(expected, abs=1e-6)


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
    monkeypatch.setattr(densities, "BLOCK_ELEMENTS", 60)
    parts = [getattr(mixture, name)(x) for name in ("predict", "predict_proba", "score_samples")]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@every_structure
@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_compiled_predictions_equal_those_in_numpy(estimator, structure, rng, monkeypatch):
    """More rows than a block has, far from the origin, some far from all components."""
    x = 1e5 + three_clusters(300, rng) * [1.0, 0.1]
    mixture = estimator(n_components=3, covariance_type=structure, random_state=0).fit(x)
    rows = np.concatenate([x, x[:9] * 1.5, [[1e200, 0.0]]])
    names = ("predict", "predict_proba", "score_samples")
    plain = [getattr(mixture, name)(rows) for name in names]
    monkeypatch.setattr(loading, "repaid", lambda *_, **__: True)
    for name, expected in zip(names, plain, strict=True):
        answer = getattr(mixture, name)(rows)
        assert answer.dtype == expected.dtype
        np.testing.assert_allclose(answer, expected, rtol=1e-12, atol=1e-12)
    turned = mixture.score_samples(x[::-2])
    np.testing.assert_allclose(turned, plain[2][: len(x)][::-2], rtol=1e-12)


def test_rows_skip_scikit_learns_checks_only_where_all_would_pass(rng, monkeypatch):
    checked = []
    original = predictions.validate_data
    monkeypatch.setattr(predictions, "validate_data", lambda *a, **k: checked.append(1) or original(*a, **k))
    x = three_clusters(20, rng)
    mixture = GaussianMixture(2, random_state=0).fit(x)
    for rows in (x, x.astype(np.float32), np.asfortranarray(x), x[::2]):
        mixture.predict(rows)
    assert not checked
    good = [x.tolist(), x.astype(int), x.astype(">f8"), x.astype(object), pd.DataFrame(x), x.view(np.recarray)]
    bad = [x[:, :1], x[0], x[:0], x[None], np.where(x > 1, np.nan, x), np.where(x > 1, np.inf, x), x.astype(complex)]
    for number, rows in enumerate([*good, *bad], start=1):
        if number <= len(good):
            mixture.predict(rows)
        else:
            failure(lambda rows=rows: mixture.predict(rows))
        assert len(checked) == number
    named = GaussianMixture(2, random_state=0).fit(pd.DataFrame(x, columns=["a", "b"]))
    table, seen = pd.DataFrame(x, columns=["a", "b"]), len(checked)
    np.testing.assert_array_equal(named.predict(table), named.predict(table.astype({"a": "Float64"})))
    assert len(checked) == seen + 1
    for other in (table[["b", "a"]], table.rename(columns={"a": "c"}), table.where(table < 1)):
        failure(lambda other=other: named.predict(other))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict(x)


# ------------------------------------------------------------------------------------------------ batches


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
    for first in range(0, 130, 40):
        assert pieces.partial_fit(X[first : first + 40], kappa=1.0) is pieces
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


@pytest.mark.parametrize("cls", [GaussianMixture, BayesianGaussianMixture])
def test_predictions_follow_parameters_that_were_changed_in_place(cls, rng):
    """What a prediction works out once is worked out anew when a parameter is another, and is no attribute."""
    x = three_clusters(60, rng)
    mixture, same = (cls(n_components=3, random_state=0).fit(x) for _ in range(2))
    before, names = mixture.score_samples(x), set(vars(mixture))
    np.testing.assert_array_equal(mixture.score_samples(x), before)
    mixture.means_ += 1
    np.testing.assert_allclose(mixture.score_samples(x + 1), before, rtol=1e-9)
    np.testing.assert_array_equal(same.score_samples(x), before)
    assert set(vars(mixture)) == names


# ------------------------------------------------------------------------------------------------ numbers and changes


@both
@pytest.mark.robustness("numbers")
def test_rows_beyond_all_numbers_have_no_density_and_none_of_weight_zero_counts(estimator, rng, monkeypatch):
    x = three_clusters(60, rng)
    mixture = estimator(n_components=2, random_state=0).fit(x)
    rows = np.concatenate([x, [[1e300, 0.0], [-1e308, 1e308]]])
    weights = np.append(np.ones(60), [0.0, 0.0])
    for compiled in (False, True):
        monkeypatch.setattr(loading, "repaid", lambda *_, answer=compiled, **__: answer)
        assert np.isneginf(mixture.score_samples(rows)).tolist() == [False] * 60 + [True] * 2
        assert mixture.predict_proba(rows)[60:].tolist() == [[0.5, 0.5]] * 2
        assert mixture.score(rows) == -np.inf
        assert mixture.aic(rows) == np.inf
        assert mixture.score(rows, sample_weight=weights) == pytest.approx(mixture.score(x), rel=1e-12)
        assert mixture.bic(rows, sample_weight=weights) == pytest.approx(mixture.bic(x), rel=1e-12)
        assert mixture.score(x, sample_weight=np.full(60, 5e-324)) == pytest.approx(mixture.score(x), rel=1e-12)


@both
@unconverged
@pytest.mark.robustness("peers")
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_a_number_of_components_may_be_any_kind_of_whole_number(estimator, kind, rng):
    x = three_clusters(300, rng)
    given, plain = (
        estimator(n_components=number(3), n_init=number(30), max_iter=number(9), random_state=0)
        for number in (kind, int)
    )
    np.testing.assert_array_equal(given.fit(x).means_, plain.fit(x).means_)


@both
@pytest.mark.robustness("errors")
def test_a_parameter_that_says_what_the_fitted_ones_are_is_not_changed_under_them(estimator, rng):
    """With as many components as features, variances of each have the shape of one matrix."""
    x = three_clusters(60, rng)
    mixture = estimator(n_components=2, covariance_type="diag", random_state=0, warm_start=True).partial_fit(x)
    changed = "covariance_type is 'tied' now, and was 'diag' in the last fit; "
    mixture.set_params(covariance_type="tied")
    for use in (mixture.predict, mixture.score_samples, mixture.aic, mixture.partial_fit, lambda _: mixture.sample()):
        with pytest.raises(ValueError, match=changed + "fit again"):
            use(x)
    mixture.set_params(covariance_type="diag", n_components=3)
    with pytest.raises(ValueError, match="n_components is 3 now, and was 2 for the batches before"):
        mixture.partial_fit(x)
    mixture.set_params(covariance_type="tied", n_components=2)
    with pytest.raises(ValueError, match=changed + "set warm_start=False"):
        mixture.fit(x)
    assert mixture.set_params(n_components=3, warm_start=False).fit(x).predict(x).max() == 2


@pytest.mark.robustness("errors")
def test_the_prior_of_the_weights_is_not_changed_under_the_fit(rng):
    x = three_clusters(60, rng)
    mixture = BayesianGaussianMixture(n_components=2, random_state=0).fit(x)
    mixture.set_params(weight_concentration_prior_type="dirichlet_distribution")
    with pytest.raises(ValueError, match="weight_concentration_prior_type is 'dirichlet_distribution' now"):
        mixture.predict(x)


@both
@pytest.mark.robustness("errors")
def test_the_first_batch_too_refuses_a_rate_outside_its_range(estimator, rng):
    with pytest.raises(ValueError, match=r"kappa is 0\.3; expected more than 1/2"):
        estimator().partial_fit(three_clusters(60, rng), kappa=0.3)


@both
@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mixture, x: mixture.sample("x"), "n_samples is 'x'; expected a whole number"),
        (lambda mixture, x: mixture.sample(np.nan), "n_samples is nan; expected a whole number"),
        (lambda mixture, x: mixture.sample(10**12), "n_samples = 1,000,000,000,000 would take about"),
        (lambda mixture, x: mixture.score(x, sample_weight=np.nan), "sample_weight has missing or infinite values"),
        (lambda mixture, x: mixture.partial_fit(x, kappa=None), "kappa is None; expected a number"),
        (lambda mixture, x: mixture.set_params(n_init=10**30).fit(x), "n_init = .* would take about"),
    ],
)
def test_arguments_of_calls_are_refused_by_name(estimator, call, message, rng):
    x = three_clusters(60, rng)
    with pytest.raises(ValueError, match=message):
        call(estimator(n_components=2).fit(x), x)


@both
@pytest.mark.robustness("numbers")
def test_a_ridge_may_be_any_whole_number(estimator, rng):
    x = three_clusters(60, rng)
    assert np.isfinite(estimator(n_components=2, reg_covar=10**30).fit(x).score(x))


@pytest.mark.robustness("numbers")
@pytest.mark.filterwarnings("ignore:Number of distinct rows")
def test_data_whose_squares_underflow_are_refused_in_the_words_of_scikit_learn(rng):
    with pytest.raises(ValueError, match=r"Fitting the mixture model failed .* scale the input data"):
        BayesianGaussianMixture(n_components=2).fit(1e-300 * three_clusters(60, rng))
