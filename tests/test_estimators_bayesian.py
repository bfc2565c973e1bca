"""The variational estimator's posterior, its bound and its predictions."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.mixture as theirs
from conftest import three_clusters
from estimator_cases import PAIRS, every_prior, every_structure
from scipy import integrate, stats
from scipy.special import digamma
from sklearn.exceptions import ConvergenceWarning

from mixtures import BayesianGaussianMixture
from mixtures.estimators.student import student


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
def test_rows_are_drawn_as_from_components_drawn_for_each(structure, rng):
    """Their projections and how far out they lie, for a component of few rows, whose tails are heavy."""
    x = three_clusters(12, rng)[:4] * [1, 10]
    mixture = BayesianGaussianMixture(n_components=1, covariance_type=structure, random_state=0).fit(x)
    theta, drawn = mixture.sample_parameters(20_000, random_state=1), mixture.sample(20_000)[0]
    noise = rng.standard_normal((20_000, 2, 1))
    expected = (theta["means"][:, 0, :, None] + np.linalg.cholesky(theta["covariances"][:, 0]) @ noise)[..., 0]
    z, other = ((points - mixture.means_) / x.std(0) for points in (drawn, expected))
    for of in (lambda z: z @ [0.6, 0.8], lambda z: z @ [0.6, -0.8], lambda z: abs(z).max(1), lambda z: abs(z).min(1)):
        assert stats.ks_2samp(of(z), of(other)).pvalue > 1e-4


@pytest.mark.parametrize("D", [1, 2, 6])
def test_vectors_with_student_t_densities(D, rng):
    """Their squared lengths and first features; of the last degrees of freedom every vector has a chi-square number."""
    counts, nu = np.array([500_000, 0, 300_000, 200_000]), D * D + np.array([8.0, 1.0, 60.0, -D * D + 3.0])
    parts = np.split(student(counts, D, nu, rng), counts.cumsum()[:-1])
    for x, own in ((parts[k], nu[k]) for k in (0, 2, 3)):
        assert stats.kstest((x**2).sum(1) / D, stats.f(D, own).cdf).pvalue > 1e-4
        assert stats.kstest(x[:, 0], stats.t(own).cdf).pvalue > 1e-4


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
            n_components=8, max_iter=2, random_state=0, weight_concentration_prior_type=prior
        ).fit(x)
    if prior == "dirichlet_process":
        assert few.weights_[0] > few.weights_[4:].max()


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("structure", ["full", "tied", "diag", "spherical"])
def test_draws_of_the_parameters_are_from_the_posterior(structure, rng):
    """Means and weights have the posterior's expectations, precisions of the draws average to ``precisions_``."""
    x = three_clusters(90, rng, separation=8.0)
    mixture = BayesianGaussianMixture(n_components=3, covariance_type=structure, random_state=0).fit(x)
    drawn = mixture.sample_parameters(4000, random_state=1)
    assert {name: v.shape for name, v in drawn.items()} == {
        "weights": (4000, 3), "means": (4000, 3, 2), "covariances": (4000, 3, 2, 2),
    }  # fmt: skip
    expected = mixture.precisions_
    if structure in ("diag", "spherical"):
        expected = expected.reshape(3, -1, 1) * np.eye(2)
    precisions = np.linalg.inv(drawn["covariances"])
    for draws, value in (
        (drawn["weights"], mixture.weights_),
        (drawn["means"], mixture.means_),
        (precisions, expected),
    ):
        error = draws.std(0) / np.sqrt(4000)
        np.testing.assert_array_less(np.abs(draws.mean(0) - value), 5 * error + 1e-12)
    again = mixture.sample_parameters(2)["means"]
    np.testing.assert_array_equal(mixture.sample_parameters(2)["means"], again)
    with pytest.raises(ValueError, match="n_draws is 0"):
        mixture.sample_parameters(0)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"degrees_of_freedom_prior": 1e308}, r"degrees_of_freedom_prior is 1e\+308; expected at most 1e\+100"),
        ({"mean_prior": [1e300, 0.0]}, "mean_prior is .* times their spread away from the rows"),
    ],
)
def test_priors_beyond_what_numbers_hold_are_refused(prior, message, rng):
    with pytest.raises(ValueError, match=message):
        BayesianGaussianMixture(n_components=2, **prior).fit(three_clusters(60, rng))


@every_structure
@pytest.mark.robustness("numbers")
def test_a_mean_that_the_prior_pins_down_leaves_a_density(structure, rng):
    """With beta0 without bound the density is that of a mean that is known."""
    x = three_clusters(60, rng)
    pinned, strong = (
        BayesianGaussianMixture(covariance_type=structure, mean_precision_prior=beta0).fit(x) for beta0 in (1e308, 1e12)
    )
    np.testing.assert_allclose(pinned.score_samples(x), strong.score_samples(x), rtol=1e-9)
    assert np.isfinite(pinned.sample(3)[0]).all()


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("structure", ["full", "tied"])
@pytest.mark.parametrize("column", [lambda x: np.ones(len(x)), lambda x: x[:, 0], lambda x: x.sum(1)])
def test_features_that_depend_on_each_other_where_values_may_be_missing(column, structure, rng):
    """The prior has ``reg_covar`` beside the covariance, as where all is seen, or the features are named."""
    x = three_clusters(60, rng)
    x = np.column_stack([x, column(x)])
    whole, gaps = (
        BayesianGaussianMixture(n_components=2, covariance_type=structure, random_state=0, allow_missing=gaps).fit(x)
        for gaps in (False, True)
    )
    np.testing.assert_allclose(gaps.covariance_prior_, whole.covariance_prior_, rtol=1e-6)
    assert gaps.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-3)
    x[3, 0] = np.nan
    names = "2' is constant where it was seen|'0' and '2' depend on each other|'0', '1' and '2' depend on each other"
    frame = pd.DataFrame(x, columns=["0", "1", "2"])
    with pytest.raises(ValueError, match=names):
        BayesianGaussianMixture(covariance_type=structure, reg_covar=0, allow_missing=True).fit(frame)
