"""The classes with hmmlearn's interface: its numbers where it is right, sums over paths, and what it gets wrong."""

import inspect
import pickle
import re
import string
import warnings
from collections import deque
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, poisson
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import mixtures
from mixtures import (
    CategoricalHMM,
    CollapseError,
    GaussianHMM,
    PoissonHMM,
    VariationalCategoricalHMM,
    VariationalGaussianHMM,
)
from mixtures.estimators.hmm import ConvergenceMonitor, normal
from mixtures.methods import cavi

ROOT = Path(__file__).parents[1]
STRUCTURES = ("full", "diag", "tied", "spherical")
every_structure = pytest.mark.parametrize("structure", STRUCTURES)
unconverged = pytest.mark.filterwarnings("ignore:the ascent had not converged:sklearn.exceptions.ConvergenceWarning")

T = np.arange(40)
X = np.column_stack(
    [np.round(3 * np.sin(T / 6) + np.cos(7.0 * T * T), 2), np.round(2 * np.cos(T / 5) + np.sin(3.0 * T * T), 2)]
)
LENGTHS = [25, 14, 1]
SYMBOLS = (T * T % 5)[:, None]
COUNTS = (T * T % 7 + 10 * (T > 20))[:, None]
START, A = np.array([0.5, 0.5]), np.array([[0.8, 0.2], [0.3, 0.7]])
MEANS = np.array([[2.0, 0.0], [-2.0, 0.0]])
EMISSIONS = np.array([[0.3, 0.2, 0.1, 0.2, 0.2], [0.1, 0.2, 0.2, 0.2, 0.3]])


def ones(structure, K=2, D=2):
    """Unit covariances in the structure's own shape."""
    return {"full": np.array([np.eye(D)] * K), "tied": np.eye(D), "diag": np.ones((K, D)), "spherical": np.ones(K)}[
        structure
    ]


def gaussian(structure="full", **options):
    model = GaussianHMM(2, structure, **({"init_params": ""} | options))
    model.startprob_, model.transmat_, model.means_, model.covars_ = START, A, MEANS, ones(structure)
    return model


def categorical(**options):
    model = CategoricalHMM(2, **({"init_params": ""} | options))
    model.startprob_, model.transmat_, model.emissionprob_ = START, A, EMISSIONS
    return model


def counts(rates=((2.0,), (12.0,)), **options):
    model = PoissonHMM(len(rates), **({"init_params": ""} | options))
    K = len(rates)
    model.startprob_, model.transmat_ = np.full(K, 1 / K), np.full((K, K), 0.3 / K) + 0.7 * np.eye(K)
    model.lambdas_ = np.array(rates)
    return model


def variational(structure="full", D=2, **options):
    model = VariationalGaussianHMM(2, structure, **({"init_params": ""} | options))
    model.startprob_prior_, model.startprob_posterior_ = np.full(2, 0.5), np.array([1.0, 2.0])
    model.transmat_prior_, model.transmat_posterior_ = np.full((2, 2), 0.5), np.array([[16.0, 4.0], [6.0, 14.0]])
    model.means_prior_, model.means_posterior_ = np.zeros((2, D)), MEANS[:, :D]
    model.beta_prior_, model.beta_posterior_ = np.ones(2), np.full(2, 20.0)
    tied = structure == "tied"
    model.dof_prior_, model.dof_posterior_ = (3.0, 40.0) if tied else (np.full(2, 3.0), np.full(2, 20.0))
    model.scale_prior_, model.scale_posterior_ = ones(structure, D=D), 30 * ones(structure, D=D)
    return model


def rises(model):
    history = np.array(model.monitor_.history)
    return np.all(np.diff(history) >= -1e-9 * np.abs(history[1:]))


# The digits of the next four tests were printed by hmmlearn 0.3.3, from the same data, starts and number of steps.


@unconverged
@pytest.mark.parametrize(
    ("structure", "start", "stay", "mean", "variance", "score"),
    [
        (
            "full",
            0.34860774037242553,
            0.9059630264194802,
            (1.8785314108, -0.4116860696),
            0.75353118954536,
            -129.391749205,
        ),
        (
            "diag",
            0.33294772541427353,
            0.9056840923460622,
            (1.867653741, -0.425249893),
            0.7306215890469622,
            -131.159080591,
        ),
        (
            "tied",
            0.3878849709678386,
            0.9073939115025058,
            (1.822371819, -0.395769553),
            1.162101550327924,
            -134.197325452,
        ),
        (
            "spherical",
            0.369786384993404,
            0.90873133834409,
            (1.776047824, -0.417890679),
            1.7842416635983147,
            -135.687169136,
        ),
    ],
)
def test_gaussian_states_under_a_prior_have_the_digits_of_hmmlearn(structure, start, stay, mean, variance, score):
    prior = {"means_prior": 0.5, "means_weight": 1.0, "covars_weight": 4.0, "covars_prior": 0.1, "transmat_prior": 2.0}
    model = gaussian(structure, n_iter=3, tol=0, **prior).fit(X, LENGTHS)
    assert model.startprob_[0] == pytest.approx(start, rel=1e-9)
    assert model.transmat_[0, 0] == pytest.approx(stay, rel=1e-9)
    assert model.means_[0] == pytest.approx(mean, abs=1e-9)
    assert model.covars_[0, 0, 0] == pytest.approx(variance, rel=1e-9)
    assert model.score(X, LENGTHS) == pytest.approx(score, abs=1e-8)
    assert model.covars_.shape == (2, 2, 2)
    if structure == "spherical":
        assert "".join(map(str, model.predict(X, LENGTHS))) == 20 * "0" + 20 * "1"
        assert model.decode(X, LENGTHS)[0] == pytest.approx(-136.4299852219684, abs=1e-8)
        assert model.predict_proba(X, LENGTHS)[10] == pytest.approx([0.999998694, 0.000001306], abs=1e-9)
        assert model.get_stationary_distribution() == pytest.approx([0.416258874, 0.583741126], abs=1e-9)
        assert model.aic(X, LENGTHS) == pytest.approx(289.3743382717901, abs=1e-8)
        assert model.bic(X, LENGTHS) == pytest.approx(304.57425335881555, abs=1e-8)


@unconverged
def test_symbols_and_counts_have_the_digits_of_hmmlearn():
    model = categorical(n_iter=3, tol=0).fit(SYMBOLS, LENGTHS)
    assert model.startprob_[0] == pytest.approx(0.8091655359703497, rel=1e-9)
    assert model.transmat_[0] == pytest.approx([0.756041285, 0.243958715], abs=1e-9)
    assert model.emissionprob_[0] == pytest.approx([0.245110651, 0.418479631, 0, 0, 0.336409718], abs=1e-9)
    assert model.score(SYMBOLS, LENGTHS) == pytest.approx(-41.99320260570765, abs=1e-8)
    assert model.n_features == 5
    model = counts([[2.0], [5.0], [12.0]], n_iter=3, tol=0).fit(COUNTS, LENGTHS)
    assert model.lambdas_.ravel() == pytest.approx([1.988197864, 2.579975734, 11.947227338], abs=1e-9)
    assert model.transmat_[0] == pytest.approx([0.938671404, 0.01453688, 0.046791716], abs=1e-9)
    assert model.score(COUNTS, LENGTHS) == pytest.approx(-84.67160483483546, abs=1e-8)


@unconverged
@pytest.mark.parametrize(
    ("structure", "start", "stay", "mean", "beta", "dof", "scale", "bounds", "score"),
    [
        (
            "full",
            (1.554833911, 2.445166089),
            (18.987180357, 1.501239913),
            (1.853947243, -0.435660827),
            20.548010669995556,
            22.548010669995556,
            (18.768678489, -3.529419454),
            (-80.30079496487242, -79.3151121352994, -79.27321032773195),
            -128.85488114960248,
        ),
        (
            "tied",
            (1.653304347, 2.346695653),
            (19.207098373, 1.501831317),
            (1.824688438, -0.430657939),
            20.887915133168157,
            43.0,
            (49.185125199, -13.663412141),
            (-80.01962984332535, -79.49489876114271, -79.43154215287453),
            -133.50029940301798,
        ),
    ],
)
def test_variational_gaussian_states_have_the_digits_of_hmmlearn(
    structure, start, stay, mean, beta, dof, scale, bounds, score
):
    """Its bounds lack N D / 2 log 2 pi, and are taken before each step."""
    model = variational(structure, n_iter=4, tol=0).fit(X, LENGTHS)
    assert model.startprob_posterior_ == pytest.approx(start, abs=1e-9)
    assert model.transmat_posterior_[0] == pytest.approx(stay, abs=1e-9)
    assert model.means_[0] == pytest.approx(mean, abs=1e-9)
    assert model.beta_posterior_[0] == pytest.approx(beta, rel=1e-9)
    assert np.ravel(model.dof_posterior_)[0] == pytest.approx(dof, rel=1e-9)
    assert np.ravel(model.scale_posterior_)[:2] == pytest.approx(scale, abs=1e-8)
    constant = 40 * np.log(2 * np.pi)
    assert np.array(model.monitor_.history)[:3] == pytest.approx(np.array(bounds) - constant, abs=1e-8)
    assert model.score(X, LENGTHS) == pytest.approx(score, abs=1e-8)


@unconverged
def test_variational_symbols_have_the_digits_of_hmmlearn():
    model = VariationalCategoricalHMM(2, init_params="", n_iter=4, tol=0)
    model.startprob_prior_, model.startprob_posterior_ = np.full(2, 0.5), np.array([1.0, 2.0])
    model.transmat_prior_, model.transmat_posterior_ = np.full((2, 2), 0.5), np.array([[16.0, 4.0], [6.0, 14.0]])
    model.emissionprob_prior_, model.emissionprob_posterior_ = np.full((2, 5), 0.2), 20 * EMISSIONS
    model.fit(SYMBOLS, LENGTHS)
    assert model.transmat_posterior_[0] == pytest.approx([20.621665121, 5.174199353], abs=1e-8)
    assert model.emissionprob_posterior_[0] == pytest.approx(
        [6.145156203, 11.131952793, 0.2, 0.2, 10.006713155], abs=1e-8
    )
    bounds = [-58.425141451254305, -58.19654951588511, -58.070066799809986]
    assert list(model.monitor_.history)[:3] == pytest.approx(bounds, abs=1e-8)
    assert model.score(SYMBOLS, LENGTHS) == pytest.approx(-42.97436781334607, abs=1e-8)


def log_densities(model, x):
    """log p(x_n | state k) by SciPy, (N, K)."""
    if isinstance(model, GaussianHMM | VariationalGaussianHMM):
        each = zip(model.means_, model.covars_, strict=True)
        return np.column_stack([multivariate_normal(mu, Sigma).logpdf(x) for mu, Sigma in each])
    if isinstance(model, PoissonHMM):
        return poisson(model.lambdas_[:, 0]).logpmf(x)
    with np.errstate(divide="ignore"):
        return np.log(model.emissionprob_[:, x[:, 0]]).T


def enumerated(model, x):
    """Score, smoothed probabilities and best path of a short sequence, by the sum over all paths."""
    z = np.array(list(product(range(model.n_components), repeat=len(x))))
    with np.errstate(divide="ignore"):
        steps = np.log(model.transmat_)[z[:, :-1], z[:, 1:]].sum(1)
        log_p = np.log(model.startprob_)[z[:, 0]] + steps + log_densities(model, x)[np.arange(len(x)), z].sum(1)
    total = logsumexp(log_p)
    smoothed = np.tensordot(np.exp(log_p - total), np.eye(model.n_components)[z], 1)
    return total, smoothed, z[log_p.argmax()], log_p.max(), lambda path: log_p[(z == path).all(1)][0]


@pytest.mark.parametrize(
    ("make", "x"), [(gaussian, X), (categorical, SYMBOLS), (counts, COUNTS)], ids=["gaussian", "categorical", "poisson"]
)
@pytest.mark.parametrize("implementation", ["log", "scaling"])
def test_scores_and_states_are_those_of_the_sum_over_all_paths(make, x, implementation):
    model, x = make(implementation=implementation), x[16:24]
    total, smoothed, path, best, joint = enumerated(model, x)
    assert model.score(x) == pytest.approx(total, abs=1e-9)
    log_prob, posteriors = model.score_samples(x)
    assert log_prob == pytest.approx(total, abs=1e-9)
    assert posteriors == pytest.approx(smoothed, abs=1e-9)
    assert model.predict_proba(x) == pytest.approx(smoothed, abs=1e-9)
    found, states = model.decode(x)
    assert found == pytest.approx(best, abs=1e-9)
    assert states.tolist() == path.tolist() == model.predict(x).tolist()
    found, states = model.decode(x, algorithm="map")
    assert states.tolist() == smoothed.argmax(1).tolist()
    assert found == pytest.approx(joint(states), abs=1e-9)
    both = np.concatenate([x, x])
    assert model.score(both, [8, 8]) == pytest.approx(2 * total, abs=1e-9)
    assert model.decode(both, [8, 8])[0] == pytest.approx(2 * best, abs=1e-9)


def test_decode_gives_the_umbrella_of_two_rainy_days():
    """The posterior of Russell & Norvig, *Artificial Intelligence*, section 15.2: rain has 0.818, then 0.883."""
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]]
    model.emissionprob_ = [[0.9, 0.1], [0.2, 0.8]]
    assert model.predict_proba([[0], [0]])[:, 0] == pytest.approx([0.883, 0.883], abs=1e-3)
    assert model.as_fit().filtered(np.zeros((2, 1)))[:, 0] == pytest.approx([0.818, 0.883], abs=1e-3)


@pytest.mark.parametrize("params", ["stmc", "st", "m", "c", "tc"])
@every_structure
@unconverged
def test_the_objective_of_em_rises_whatever_moves(structure, params):
    """It is the log likelihood and the log prior, taken at the parameters that the last step led to."""
    model = gaussian(
        structure, params=params, n_iter=12, tol=0, means_weight=0.5, covars_weight=6.0, transmat_prior=1.5
    )
    model.fit(X, LENGTHS)
    assert rises(model)
    Lambda, logs = np.linalg.inv(model.covars_), np.log(model.transmat_)
    e = {"full": 4.0, "tied": 4.0, "diag": 5.0, "spherical": 5.0}[structure]
    own = Lambda[:1] if structure == "tied" else Lambda
    prior = 0.5 * logs.sum() + (e * np.linalg.slogdet(own)[1] - 0.01 * np.trace(own, axis1=1, axis2=2)).sum() / 2
    prior -= 0.25 * np.einsum("kd,kde,ke->", model.means_, Lambda, model.means_)
    assert model.monitor_.history[-1] == pytest.approx(model.score(X, LENGTHS) + prior, abs=1e-8)
    for letter, name, was in (("s", "startprob_", START), ("t", "transmat_", A), ("m", "means_", MEANS)):
        assert np.allclose(getattr(model, name), was, atol=1e-12) == (letter not in params)
    assert np.allclose(model.covars_, np.eye(2)) == ("c" not in params)


@pytest.mark.parametrize("params", ["stmc", "st", "m", "c", "mt"])
@every_structure
@unconverged
def test_the_lower_bound_rises_whatever_moves(structure, params):
    model = variational(structure, params=params, n_iter=12, tol=0).fit(X, LENGTHS)
    assert rises(model)
    moved = [model.startprob_posterior_[0] != 1.0, model.transmat_posterior_[0, 0] != 16.0]
    moved += [model.beta_posterior_[0] != 20.0, np.ravel(model.scale_posterior_)[0] != pytest.approx(30.0)]
    assert moved == [letter in params for letter in "stmc"]


@every_structure
def test_divergence_is_that_of_the_step_of_variational_bayes(structure):
    """cavi.step has it as sum(s * eta) less a log marginal likelihood."""
    fit = variational(structure, n_iter=30, tol=1e-4).fit(X, LENGTHS).as_fit()
    s = fit.state(mixtures.Sequences(X, LENGTHS))
    _, extra = cavi.step(fit.family, fit.allocation, s)
    labels, points = fit.allocation.split(s)
    alpha = fit.allocation.posterior(labels)
    chain = (labels * fit.allocation.expected_natural(alpha)).sum() - fit.allocation.log_marginal(labels)
    assert -chain - normal.divergence(fit.family, fit.family.posterior(points)) == pytest.approx(extra, abs=1e-8)


@every_structure
def test_variational_fit_is_that_of_cavi(structure):
    """The bound is an ELBO with every constant, and below the evidence by the model's own draws."""
    model = VariationalGaussianHMM(2, structure, random_state=0).fit(X, LENGTHS)
    fit = model.as_fit()
    rows = mixtures.Sequences(X, LENGTHS)
    again = cavi.fit(rows, fit.family, fit.allocation, rng=0, init=fit, max_iter=1000)
    assert again.bound[-1] == pytest.approx(model.monitor_.history[-1], abs=1e-5)
    assert fit.converged
    assert fit.bound[-1] == model.monitor_.history[-1]
    assert model.covars_[0] == pytest.approx(np.linalg.inv(mean_precision(fit)), rel=1e-6)


def mean_precision(fit):
    """E[Lambda] of the first state, nu W or a / b, in the units of x."""
    q, unit = fit.posterior.theta, fit.family.unit
    if hasattr(q, "nu"):
        W_inv, nu = (q.W_inv, q.nu) if fit.family.covariance == "tied" else (q.W_inv[0], q.nu[0])
        return nu * np.linalg.inv(unit @ W_inv @ unit.T)
    return np.diag(q.a[0] / q.b[0] * np.ones(2) / unit**2)


@pytest.mark.parametrize("start", range(3))
def test_fits_from_data_find_the_states(start):
    """Two states that differ in their spread alone: a start from means alone does not tell them apart."""
    rng = np.random.default_rng(start)
    z = np.repeat(np.arange(8) % 2, 40)
    x = rng.normal(0, np.where(z, 5.0, 0.5))[:, None]
    for model in (GaussianHMM(2, n_iter=200, random_state=start), VariationalGaussianHMM(2, random_state=start)):
        states = model.fit(x).predict(x)
        assert max(np.mean(states == z), np.mean(states != z)) > 0.9
        assert rises(model)


def test_states_that_differ_by_their_transitions_alone_are_found():
    """More states than symbols: a cycle 0 0 1, of which two states show the same symbol."""
    x = np.tile([0, 0, 1], 30)[:, None]
    model = CategoricalHMM(3, n_iter=200, n_init=10, random_state=0).fit(x)
    assert model.score(x) > -5
    assert VariationalCategoricalHMM(3, n_init=10, random_state=0).fit(x).score(x) > -8


def test_a_cycle_is_found_by_variational_bayes_and_a_state_too_many_stays_empty():
    x = np.tile([0, 1, 2], 30)[:, None]
    model = VariationalCategoricalHMM(4, random_state=0).fit(x)
    used = np.bincount(model.predict(x), minlength=4) > 0
    assert used.sum() == 3
    assert model.transmat_posterior_[~used] == pytest.approx(0.25, abs=1e-3)


@unconverged
def test_zeros_that_are_set_stay_zeros_also_where_the_density_pulls():
    """Left to right, with a row that only a state which cannot be reached yet would explain."""
    x = np.concatenate([np.zeros(5), [500.0], np.zeros(5), np.full(6, 500.0)])[:, None] + np.sin(np.arange(17))[:, None]
    model = GaussianHMM(2, init_params="", params="tmc", n_iter=5, transmat_prior=2.0)
    model.startprob_, model.transmat_ = [1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]]
    model.means_, model.covars_ = [[0.0], [500.0]], np.full((2, 1), 1.0)
    assert model.predict(x).tolist() == 11 * [0] + 6 * [1]
    model.fit(x)
    assert model.startprob_.tolist() == [1, 0]
    assert model.transmat_[1, 0] == 0
    assert np.isfinite(model.predict_proba(x)).all()
    assert model.predict(x).tolist() == 11 * [0] + 6 * [1]
    assert model.means_[0, 0] == pytest.approx(x[:11].mean(), rel=1e-3)


@unconverged
def test_zeros_stay_zeros_in_a_row_of_which_nothing_was_seen():
    """The last state occurs in the last step alone."""
    model = GaussianHMM(2, init_params="", params="st", n_iter=3)
    model.startprob_, model.transmat_ = [1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]]
    model.means_, model.covars_ = [[0.0], [50.0]], np.ones((2, 1))
    model.fit(np.array([[0.0], [0.1], [0.2], [50.0]]))
    assert model.transmat_ == pytest.approx(np.array([[2 / 3, 1 / 3], [0, 1]]))


def test_impossible_data_have_likelihood_zero():
    model = categorical()
    model.emissionprob_ = np.array([[0.5, 0.5, 0, 0, 0], [0.5, 0, 0.5, 0, 0]])
    log_prob, posteriors = model.score_samples([[0], [4], [0]])
    assert log_prob == -np.inf
    assert posteriors.sum(1) == pytest.approx(1)
    model.transmat_, model.startprob_ = np.eye(2), np.array([1.0, 0.0])
    assert model.score([[0], [2]]) == -np.inf


@pytest.mark.parametrize("structure", ["diag", "full"])
@unconverged
def test_a_start_that_loses_a_state_is_dropped_and_counted(structure):
    """Without a prior on covariances a state on equal rows has no variance."""
    x = np.concatenate([np.full(6, 7.0), np.linspace(-3, 3, 20)])[:, None]
    model = GaussianHMM(2, structure, init_params="", covars_prior=0, n_iter=50)
    model.startprob_, model.transmat_ = START, A
    model.means_, model.covars_ = [[0.0], [7.0]], ones(structure, D=1)
    with pytest.raises(CollapseError, match="cluster 1"):
        model.fit(x)
    x = np.concatenate([np.linspace(-2, 2, 15), np.linspace(8, 12, 15), [30.0, 30.0]])[:, None]
    model = GaussianHMM(2, structure, covars_prior=0, n_iter=50, n_init=12, random_state=0).fit(x)
    assert 0 < model.n_collapsed_ < 12
    assert np.isfinite(model.score(x))


def test_a_state_without_rows_is_an_error_and_never_a_number_that_is_none():
    far = gaussian()
    far.means_ = [[0.0, 0.0], [1e6, 1e6]]
    with pytest.raises(CollapseError, match="cluster 1 is empty"):
        far.fit(X)
    rates = counts([[3.0], [1e6]])
    with pytest.raises(CollapseError, match="cluster 1 is empty"):
        rates.fit(COUNTS)
    symbols = categorical()
    symbols.startprob_, symbols.transmat_ = [1, 0], np.eye(2)
    with pytest.raises(CollapseError, match="cluster 1 is empty"):
        symbols.fit(SYMBOLS)


@unconverged
def test_a_prior_of_rates_weighs_against_the_rows_of_its_state():
    model = counts(lambdas_prior=4.0, lambdas_weight=2.0, n_iter=1).fit(COUNTS, LENGTHS)
    r = counts().predict_proba(COUNTS, LENGTHS)
    assert model.lambdas_ == pytest.approx((4 + r.T @ COUNTS) / (2 + r.sum(0)[:, None]), rel=1e-9)
    longer = counts(lambdas_prior=4.0, lambdas_weight=2.0, n_iter=40, tol=0).fit(COUNTS, LENGTHS)
    assert rises(longer)


@unconverged
def test_scale_of_a_prior_for_each_state():
    """A number is a multiple of the identity; one axis is the states'; M-step by hand."""
    model = gaussian("full", covars_prior=[0.5, 3.0], n_iter=1).fit(X, LENGTHS)
    r = gaussian("full").predict_proba(X, LENGTHS)
    for k, C in enumerate((0.5, 3.0)):
        off = X - model.means_[k]
        assert model.covars_[k] == pytest.approx(((r[:, k] * off.T) @ off + C * np.eye(2)) / r[:, k].sum(), rel=1e-9)


@pytest.mark.parametrize(
    "cls", [GaussianHMM, CategoricalHMM, PoissonHMM, VariationalGaussianHMM, VariationalCategoricalHMM]
)
def test_one_state_clones_pickles_and_copies(cls):
    x = {"Gaussian": X, "Categorical": SYMBOLS, "Poisson": COUNTS}[
        cls.__name__.removeprefix("Variational").removesuffix("HMM")
    ]
    model = cls(random_state=0, n_iter=100, tol=1e-6)
    assert (
        clone(model).get_params()
        == model.get_params()
        == cls().get_params()
        | {
            "random_state": 0,
            "n_iter": 100,
            "tol": 1e-6,
        }
    )
    assert "monitor_" not in vars(model)
    with pytest.raises(NotFittedError):
        model.predict(x)
    model.fit(x, LENGTHS)
    assert model.startprob_.tolist() == [1.0]
    assert model.transmat_.tolist() == [[1.0]]
    assert model.monitor_.converged
    again = pickle.loads(pickle.dumps(model))
    assert again.score(x, LENGTHS) == model.score(x, LENGTHS)
    assert again.monitor_.history == model.monitor_.history
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(x, LENGTHS).score(x, LENGTHS) == pytest.approx(again.score(x, LENGTHS), rel=1e-9)
    assert cls.__name__ in dir(mixtures)


SIGNATURES = {  # of hmmlearn 0.3.3
    GaussianHMM: "n_components covariance_type min_covar startprob_prior transmat_prior means_prior means_weight "
    "covars_prior covars_weight algorithm random_state n_iter tol verbose params init_params implementation",
    CategoricalHMM: "n_components startprob_prior transmat_prior emissionprob_prior n_features algorithm random_state n_iter "
    "tol verbose params init_params implementation",
    PoissonHMM: "n_components startprob_prior transmat_prior lambdas_prior lambdas_weight algorithm random_state n_iter tol "
    "verbose params init_params implementation",
    VariationalGaussianHMM: "n_components covariance_type startprob_prior transmat_prior means_prior beta_prior dof_prior "
    "scale_prior algorithm random_state n_iter tol verbose params init_params implementation",
    VariationalCategoricalHMM: "n_components startprob_prior transmat_prior emissionprob_prior n_features algorithm "
    "random_state n_iter tol verbose params init_params implementation",
}


@pytest.mark.parametrize("cls", SIGNATURES)
def test_signatures_are_those_of_hmmlearn(cls):
    """And beside them ``n_init`` and ``allow_missing``."""
    assert list(inspect.signature(cls).parameters) == [*SIGNATURES[cls].split(), "n_init", "allow_missing"]
    methods = {
        "fit": ["X", "lengths"],
        "decode": ["X", "lengths", "algorithm"],
        "sample": ["n_samples", "random_state", "currstate"],
    }
    for name in ("score", "score_samples", "predict", "predict_proba", "aic", "bic"):
        methods[name] = ["X", "lengths"]
    for name, names in methods.items():
        assert list(inspect.signature(getattr(cls, name)).parameters)[1:] == names


def test_samples_have_the_chain_and_the_states_of_the_model():
    model = gaussian(random_state=3)
    x, z = model.sample(4000)
    assert x.shape == (4000, 2)
    assert np.array_equal(model.sample(4000)[0], x)
    moves = np.bincount(2 * z[:-1] + z[1:], minlength=4).reshape(2, 2)
    error = np.sqrt(A * (1 - A) / moves.sum(1, keepdims=True))
    assert np.all(np.abs(moves / moves.sum(1, keepdims=True) - A) < 4 * error)
    for k in (0, 1):
        assert np.abs(x[z == k].mean(0) - MEANS[k]).max() < 4 / np.sqrt((z == k).sum())
    assert {model.sample(1, random_state=seed, currstate=1)[1][0] for seed in range(5)} == {1}
    symbols, _ = categorical(random_state=0).sample(50)
    assert symbols.dtype.kind == "i"
    assert symbols.shape == (50, 1)
    with pytest.raises(ValueError, match="currstate is 2"):
        model.sample(1, currstate=2)


@pytest.mark.parametrize("cls", [GaussianHMM, VariationalGaussianHMM])
@every_structure
def test_missing_values_are_integrated_out(cls, structure):
    x = X.copy()
    x[5, 0] = x[17, 1] = x[18, 1] = np.nan
    x[30] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        cls(2, structure).fit(x, LENGTHS)
    model = cls(2, structure, allow_missing=True, random_state=0, n_iter=300, tol=1e-6).fit(x, LENGTHS)
    assert rises(model)
    part, (K, n) = x[14:20], (2, 6)
    seen = ~np.isnan(part)
    log_rho = np.array(
        [
            [
                multivariate_normal(model.means_[k][o], model.covars_[k][np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0
                for k in range(K)
            ]
            for row, o in zip(part, seen, strict=True)
        ]
    )
    z = np.array(list(product(range(K), repeat=n)))
    with np.errstate(divide="ignore"):
        log_p = np.log(model.startprob_)[z[:, 0]] + np.log(model.transmat_)[z[:, :-1], z[:, 1:]].sum(1)
    assert model.score(part) == pytest.approx(logsumexp(log_p + log_rho[np.arange(n), z].sum(1)), abs=1e-8)


@pytest.mark.robustness("errors")
def test_text_is_refused_by_a_line_that_says_what_to_do():
    with pytest.raises(ValueError, match="X holds text; expected numbers"):
        CategoricalHMM(2).fit(np.array([["a"], ["b"], ["a"], ["b"]]))


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("cls", SIGNATURES)
def test_a_feature_that_was_never_seen_is_named(cls):
    x = np.full((9, 1 if "Categorical" in cls.__name__ else 2), np.nan)
    x[:, 1:] = [[1.0], [2], [0]] * 3
    with pytest.raises(ValueError, match="feature 0 is missing in all rows; leave it out"):
        cls(2, allow_missing=True).fit(x)


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("cls", SIGNATURES)
def test_a_number_of_states_may_be_any_kind_of_whole_number(cls):
    x = SYMBOLS if "Categorical" in cls.__name__ else COUNTS
    scores = [cls(n, random_state=0).fit(x).score(x) for n in (1, np.uint8(1), True)]
    assert len(set(scores)) == 1


@pytest.mark.parametrize("make", [categorical, counts])
def test_missing_symbols_and_counts_only_take_their_time(make):
    x = (SYMBOLS if make is categorical else COUNTS).astype(float)
    x[7] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        make().fit(x)
    model = make(allow_missing=True, n_iter=300, tol=1e-6).fit(x)
    before, after = model.predict_proba(x[:8])[-1], model.predict_proba(x[:7])[-1] @ model.transmat_
    assert before == pytest.approx(after, abs=1e-10)


def bad(change, make=gaussian):
    model = make()
    change(model)
    return model


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "startprob_", [0.5, 0.4]), r"startprob_ must sum to 1 \(got \[?0.9"),
        (lambda m: setattr(m, "transmat_", [[0.8, 0.1], [0.3, 0.7]]), r"transmat_ rows must sum to 1 \(got .*0.9"),
        (lambda m: setattr(m, "transmat_", [[0.0, 0.0], [0.3, 0.7]]), "transmat_ rows must sum to 1"),
        (lambda m: setattr(m, "startprob_", [1.5, -0.5]), "startprob_ must hold probabilities, and holds -0.5"),
        (lambda m: setattr(m, "startprob_", [1.0]), r"startprob_ must have shape \(2,\), and has \(1,\)"),
        (lambda m: setattr(m, "means_", np.zeros((3, 2))), r"means_ must"),
        (lambda m: setattr(m, "params", "stmx"), "params is 'stmx'; expected letters among 'stmc'"),
        (lambda m: setattr(m, "covariance_type", "round"), "covariance_type"),
        (lambda m: setattr(m, "startprob_prior", 0.5), "startprob_prior holds 0.5; expected at least 1"),
        (
            lambda m: setattr(m, "transmat_prior", [1.0, 2.0, 3.0]),
            r"transmat_prior must be a number or have shape \(2, 2\)",
        ),
        (lambda m: setattr(m, "covars_prior", -1.0), "covars_prior holds -1; expected at least 0"),
        (lambda m: setattr(m, "algorithm", "fast"), "algorithm"),
        (lambda m: setattr(m, "n_components", 0), "n_components"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bad(change).fit(X, LENGTHS)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian().fit(X, [20, 19]), "add up to 39; x has 40 rows"),
        (lambda: gaussian().score(X, [40, 0]), "lengths is"),
        (lambda: gaussian().score(X[:, :1]), "columns|features"),
        (lambda: gaussian().fit(np.where(X[3] == X, np.nan, X)), "NaN: give allow_missing=True"),
        (lambda: GaussianHMM(3).fit(X[:2]), "n_samples >= n_components"),
        (lambda: gaussian().decode(X, algorithm="best"), "Unknown decoder 'best'"),
        (lambda: gaussian().decode(X, algorithm=np.ones(2)), "Unknown decoder array"),
        (lambda: gaussian().sample(2, currstate=[]), r"currstate is \[\]; expected a state"),
        (lambda: GaussianHMM(2, n_init=10**30).fit(X), "n_init = .* would take about"),
        (lambda: GaussianHMM(2, means_prior={}).fit(X), "means_prior is {}; expected real numbers"),
        (lambda: GaussianHMM(2, covars_prior={}).fit(X), "covars_prior is {}; expected real numbers"),
        (lambda: GaussianHMM(2, startprob_prior={}).fit(X), "startprob_prior is {}; expected real numbers"),
        (lambda: PoissonHMM(2, lambdas_prior={}).fit(COUNTS), "lambdas_prior is {}; expected real numbers"),
        (lambda: CategoricalHMM(2, emissionprob_prior=np.inf).fit(SYMBOLS), "emissionprob_prior has infinite values"),
        (lambda: VariationalGaussianHMM(2, dof_prior={}).fit(X), "dof_prior is {}; expected real numbers"),
        (lambda: categorical().fit(-SYMBOLS), "whole number of at least 0"),
        (lambda: categorical(n_features=3).fit(SYMBOLS), "at most 2"),
        (lambda: categorical(n_features=5).score([[5]]), "at most 4"),
        (lambda: categorical().fit(np.hstack([SYMBOLS, SYMBOLS])), "2 columns"),
        (lambda: counts().fit(COUNTS - 1), "a count"),
        (lambda: gaussian().sample(0), "n_samples is 0"),
        (lambda: gaussian("diag").__setattr__("covars_", np.zeros((2, 2))), "'diag' covars must be positive"),
        (lambda: gaussian("full").__setattr__("covars_", [[[1, 2], [2, 1]]] * 2), "symmetric, positive-definite"),
        (lambda: variational(dof_prior=1).fit(X[:, :1], LENGTHS), "means_prior_ must have shape"),
        (lambda: VariationalGaussianHMM(2, dof_prior=0.5).fit(X), "dof_prior_ holds 0.5; expected more than 1"),
        (lambda: VariationalGaussianHMM(2, "tied", dof_prior=[3.0]).fit(X), "dof_prior must be a number"),
        (lambda: VariationalCategoricalHMM(2, startprob_prior=0.0).fit(SYMBOLS), "startprob_prior_ holds 0"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_warnings_of_what_is_overwritten_of_few_values_and_of_no_convergence():
    model = gaussian(init_params="m", n_iter=100)
    with pytest.warns(UserWarning, match="means_ is set, but will be overwritten"):
        model.fit(X, LENGTHS)
    with pytest.warns(UserWarning, match="20 free parameters are fitted to 6 values"):
        VariationalGaussianHMM(3, "diag", random_state=0).fit(X[:3])
    with pytest.warns(ConvergenceWarning, match="n_iter=2"):
        gaussian(n_iter=2, tol=0).fit(X, LENGTHS)


def test_no_step_leaves_a_start():
    model = GaussianHMM(2, n_iter=0, random_state=0).fit(X, LENGTHS)
    assert list(model.monitor_.history) == []
    assert np.isfinite(model.score(X, LENGTHS))
    assert GaussianHMM(2, params=string.ascii_letters, random_state=0, n_iter=100).fit(X).monitor_.converged


def test_monitors(capsys):
    """Neither running out of steps nor a fall is convergence; one of a user's own decides when a fit ends."""
    monitor = ConvergenceMonitor(1e-3, 3, True)
    for value in (-3.0, -2.0, -2.1):
        monitor.report(value)
    assert not monitor.converged
    assert monitor.history == deque([-3.0, -2.0, -2.1])
    monitor.report(-2.0995)
    assert monitor.converged
    assert capsys.readouterr().err.count("\n") == 4
    assert "iter=4" in repr(monitor)

    class Threshold(ConvergenceMonitor):
        @property
        def converged(self):
            return self.iter == 3

    model = gaussian(n_iter=50)
    model.monitor_ = Threshold(1e-3, 50, False)
    model.fit(X, LENGTHS)
    assert len(model.monitor_.history) == 3
    assert rises(model)
    gaussian(n_iter=100, verbose=True).fit(X, LENGTHS)
    assert capsys.readouterr().err


def test_the_example_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "GaussianHMM" in block)
    names = {"x": X}
    exec(example, names)
    assert names["states"].shape == (40,)
    assert names["forecast"].sum() == pytest.approx(1)


def test_covariances_are_taken_in_the_structures_own_shape_and_as_matrices():
    for structure in STRUCTURES:
        model = gaussian(structure)
        model.covars_ = 2 * ones(structure)
        assert model.covars_ == pytest.approx(np.array([2 * np.eye(2)] * 2))
        other = gaussian(structure)
        other.covars_ = model.covars_
        assert other.covars_ == pytest.approx(model.covars_)
    with pytest.raises(ValueError, match=r"matrices .* that are not 'diag'"):
        gaussian("diag").covars_ = [[[1, 0.5], [0.5, 1]]] * 2
    with pytest.raises(AttributeError):
        _ = GaussianHMM().covars_
