"""Calibration: ranks of the exact posterior are uniform, those of a narrow one are not, and nothing finished is ever lost."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from arviz_stats.ecdf_utils import simulate_confidence_bands
from scipy import stats
from test_page import Page
from typer.testing import CliRunner

import reports
from mixtures import COVARIANCES, Fit, Markov
from mixtures.methods import em, gibbs
from reports.commands.app import app
from reports.comparison.results import ResultsError
from reports.page.blocks import Cards
from reports.page.calibration import answer, detectable, render, verdict, verdict_line, verdict_lines
from reports.page.calibration_view import NOTHING, CalibrationView
from reports.page.numbers import number, percent
from reports.page.opening import source_of
from reports.page.words import COMPLETE
from reports.studies.calibration import power, study
from reports.studies.calibration.judgement import (
    Band,
    covered,
    ecdf,
    excess,
    farthest_first,
    symmetry,
)  # fmt: skip
from reports.studies.calibration.posteriors import PLAIN, POSTERIORS, Sample, bootstrap, chains
from reports.studies.calibration.prior import LEVELS, Settings, draw, model
from reports.studies.calibration.quantities import quantities
from reports.studies.calibration.study import FEWEST, Calibration, calibrate, missing
from reports.studies.cells import CellsError
from reports.studies.intervals import wilson, wilson_of_means

QUICK = Settings(n_components=1, n=10, dimension=1, methods=("cavi",), draws=39)
OUTCOME = [name for name in study.COLUMNS if name != "seconds"]


def command(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


def simulated(settings, simulations):
    rows = [row for i in range(simulations) for row in study.simulation(settings, i, settings.methods)]
    return pd.DataFrame(rows).reindex(columns=list(study.COLUMNS))


def p_values(table, settings):
    band = Band.of(table["simulation"].nunique(), settings.draws, np.random.default_rng(1))
    return {
        (method, quantity): band.p_value(rows["rank"].to_numpy(int))
        for (method, quantity), rows in table.groupby(["method", "quantity"])
    }


# What ranks say.


def test_the_band_holds_uniform_ranks_as_often_as_it_says(rng):
    """All at once, in 95% of 2000 studies: within 4 binomial standard errors; p-values agree with the band."""
    S, L, n = 60, 39, 2000
    band = Band.of(S, L, rng)
    low, high = band.limits(0.05)
    ranks = rng.integers(L + 1, size=(n, S))
    inside = np.array([np.all((low <= ecdf(r, L)) & (ecdf(r, L) <= high)) for r in ranks])
    assert abs(inside.mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n) + 0.01  # gamma is discrete
    p = np.array([band.p_value(r) for r in ranks])
    assert np.mean((p < 0.05) == ~inside) > 0.99


def test_the_band_is_that_of_arviz(rng):
    """The pointwise probability of the band: 1 - gamma at the quantile, by their simulations of continuous values."""
    S, L = 100, 39
    band = Band.of(S, L, rng)
    theirs = [simulate_confidence_bands(S, 1, band.z, 0.95, 4000, np.random.default_rng(i)) for i in range(4)]
    ours = 1 - band.null[int(0.05 * len(band.null))]
    assert abs(ours - np.mean(theirs)) < 5 * max(np.std(theirs), 2e-4)


def test_p_values_of_few_coarse_ranks_are_never_too_small(rng):
    """Of three ranks in 0..3 many are equally far out: P(p <= a) <= a at every a that occurs, to 4 standard errors."""
    band, n = Band.of(3, 3, rng), 4000
    p = np.array([band.p_value(ranks) for ranks in rng.integers(4, size=(n, 3))])
    for a in np.unique(p):
        assert np.mean(p <= a) <= a + 4 * np.sqrt(a * (1 - a) / n + 1 / n**2)


@pytest.mark.parametrize("shape", [(0.6, 0.6), (1.6, 1.6), (1.4, 1.0)], ids=["narrow", "wide", "low"])
def test_ranks_that_are_not_uniform_leave_the_band(shape, rng):
    ranks = np.floor(40 * rng.beta(*shape, 400)).astype(int)
    assert Band.of(400, 39, rng).p_value(ranks) < 1e-3


@pytest.mark.parametrize("L", [39, 199])
@pytest.mark.parametrize("level", LEVELS)
def test_an_interval_between_draws_has_the_probability_it_states(level, L):
    assert covered(np.arange(L + 1), L, level).mean() == pytest.approx(level, abs=1e-12)


def test_wilson_is_that_of_scipy(rng):
    for k, n in ((0, 7), (0, 25), (3, 10), (190, 200)):
        interval = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k / n, n) == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert wilson(k / n, n)[0] >= 0
    hits = rng.random(200) < 0.9
    mean, low, high = wilson_of_means(hits.astype(float))
    assert mean == hits.mean()
    assert (low, high) == pytest.approx(wilson(mean, 200**2 / 201), rel=1e-9)
    assert wilson_of_means(np.ones(20)) == (1.0, *wilson(1.0, 20))


def test_coverage_over_quantities_is_called_wrong_as_seldom_as_it_says(rng):
    """Of 20 simulations with 8 dependent quantities, each covered with 95%: at most 5%, plus 4 binomial standard errors."""
    studies, S = 4000, 20
    shared, own = rng.standard_normal((studies, S, 1)), rng.standard_normal((studies, S, 8))
    shares = (np.abs(shared + own) < np.sqrt(2) * stats.norm.ppf(0.975)).mean(2)
    intervals = [wilson_of_means(each)[1:] for each in shares]
    wrong = np.mean([not low <= 0.95 <= high for low, high in intervals])
    assert wrong < 0.05 + 4 * np.sqrt(0.05 * 0.95 / studies)


def test_the_excess_is_the_distance_from_the_mirror_image(rng):
    for _ in range(20):
        ranks = rng.integers(20, size=50)
        expected = stats.ks_2samp(ranks, 19 - ranks, method="asymp").statistic
        assert excess(*farthest_first(ranks, 19)) / 50 == pytest.approx(expected, abs=1e-12)


def test_symmetric_ranks_are_not_called_biased(rng):
    """p-values of symmetric ranks, however narrow the draws, are at least as large as uniform ones."""
    p = [symmetry(np.floor(40 * rng.beta(0.5, 0.5, 100)).astype(int), 39, rng) for _ in range(120)]
    assert stats.kstest(p, "uniform", alternative="greater").pvalue > 1e-4
    assert symmetry(np.floor(40 * rng.beta(1.3, 0.8, 200)).astype(int), 39, rng) < 1e-3


def test_symmetry_of_a_few_by_counting(rng):
    """Six ranks equally far out on one side: 2 of 64 reflections are as lopsided, to 4 standard errors of 4000."""
    p = symmetry(np.full(6, 30), 39, rng)
    assert p == pytest.approx(2 / 64, abs=4 * np.sqrt(2 / 64 / 4000))


def test_among_equals_a_truth_has_any_rank(monkeypatch, rng):
    """Draws that all equal the truth: the rank is uniform on 0..L, by a chi-square test."""
    monkeypatch.setattr(study, "quantities", lambda *_: {"q": np.zeros(39)})
    problem, sample = draw(QUICK, rng), Sample(np.ones((39, 1)), {}, True)
    found = [study.ranks(problem, {"q": np.zeros(1)}, sample, rng)[0] for _ in range(2000)]
    assert stats.chisquare(np.bincount(found, minlength=40)).pvalue > 1e-4
    monkeypatch.setattr(study, "quantities", lambda *_: {"q": np.arange(39.0)})
    assert study.ranks(problem, {"q": np.array([9.5])}, sample, rng) == [10]


# What would have shown.


@pytest.mark.parametrize(("level", "n"), [(0.95, 60), (0.8, 60), (0.5, 200)])
def test_a_coverage_that_is_detectable_is_detected_as_often_as_stated(level, n, rng):
    """Of 20,000 studies of n cases, to 4 binomial standard errors; a smaller error is detected less often."""
    below, above = power.coverage(level, n)
    for p, side in ((below, 1), (above, -1), (below + 0.02, 1)):
        if np.isnan(p):
            continue
        k, times = np.unique(rng.binomial(n, p, 20_000), return_counts=True)
        ends = np.array([wilson(each / n, n) for each in k])
        detected = times[ends[:, 1] < level if side > 0 else ends[:, 0] > level].sum() / 20_000
        if p == below + 0.02:
            assert detected < power.POWER - 0.04
        else:
            assert detected == pytest.approx(power.POWER, abs=4 * np.sqrt(0.16 / 20_000))


def test_no_number_of_few_cases_is_too_high():
    """All of 60 cases covered: Wilson's interval begins at 0.94, so that 95% intervals that are too wide cannot show."""
    below, above = power.coverage(0.95, 60)
    assert below == pytest.approx(0.853, abs=0.001)  # at most 53 of 60
    assert np.isnan(above)
    assert power.coverage(0.95, 80)[1] > 0.99
    assert np.isnan(power.coverage(0.5, 1)).all()


def test_departures_that_are_detectable_are_detected_as_often_as_stated(rng):
    """By the checks themselves, on other random numbers: to 4 standard errors of both sets of studies."""
    S, L, alpha, studies = 60, 199, 0.05 / 8, 250
    band = Band.of(S, L, rng)
    found, bias = power.ranks(band, alpha, rng), power.bias(S, alpha, rng)
    error = 4 * np.sqrt(0.16 * (1 / power.STUDIES + 1 / studies))

    def ranks(delta, r):
        return rng.binomial(L, stats.norm.cdf((rng.standard_normal((studies, S)) - delta) / r))

    for delta, r in ((found.shift, 1), (0, found.narrow), (0, found.wide)):
        detected = np.mean([band.p_value(each) < alpha for each in ranks(delta, r)])
        assert detected == pytest.approx(power.POWER, abs=error)
    for r in (1.0, 0.5):  # however narrow
        detected = np.mean([symmetry(each, L, rng) < alpha for each in ranks(bias, r)])
        assert detected == pytest.approx(power.POWER, abs=error + 0.03)  # ranks tie
    assert found.narrow < 1 < found.wide
    assert np.isnan(power.smallest(lambda x: 0.5, 0, 1))


# Quantities and prior.


def log_prior(problem):
    """Of the parameters that made the data."""
    return problem.allocation.log_prior(problem.weights) + problem.family.log_prior(problem.theta)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_quantities_are_what_they_say_and_need_no_labels(covariance, rng):
    problem = draw(Settings(3, 12, 2, covariance), rng)
    given = problem.weights[None], {name: v[None] for name, v in problem.theta.items()}
    found = quantities(*problem.posed, *given)
    clusters = problem.family.to_data(problem.theta)
    densities = [stats.multivariate_normal(m, S) for m, S in zip(*clusters.values(), strict=True)]
    joint = problem.weights * np.stack([d.pdf(problem.x) for d in densities], axis=-1)
    r = joint / joint.sum(1, keepdims=True)
    together = [(r[n] * r[m]).sum() for n in range(12) for m in range(n)]
    many = np.concatenate(
        [d.mean + np.sqrt(2) * s * np.linalg.cholesky(d.cov_object.covariance).T for d in densities for s in (1, -1)]
    )  # two dimensions: four points with each cluster's moments
    cov = np.cov(many.T, aweights=problem.weights.repeat(4), ddof=0)
    expected = {
        "log likelihood": np.log(joint.sum(1)).sum(),
        "log joint density": np.log(joint.sum(1)).sum() + log_prior(problem),
        "log density at the centre": np.log(problem.weights @ [d.pdf(np.zeros(2)) for d in densities]),
        "mean of x0": problem.weights @ clusters["means"][:, 0],
        "mean of x1": problem.weights @ clusters["means"][:, 1],
        "log det of the covariance": np.log(np.linalg.det(cov)),
        "dependence of the features": -0.5 * np.log(1 - cov[0, 1] ** 2 / cov[0, 0] / cov[1, 1]),
        "log det of the tightest cluster": np.log(np.linalg.det(clusters["covariances"])).min(),
        "largest weight": problem.weights.max(),
        "share of pairs together": np.mean(together),
        "occupied clusters": sum(1 - np.prod(1 - r[:, k]) for k in range(3)),
        "smallest weight": problem.weights.min(),
        "entropy of the weights": stats.entropy(problem.weights),
    }
    assert {name: v[0] for name, v in found.items()} == pytest.approx(expected, rel=1e-6)
    order = [2, 0, 1]
    again = quantities(*problem.posed, given[0][:, order], {name: v[:, order] for name, v in given[1].items()})
    for name, v in found.items():
        np.testing.assert_allclose(again[name], v, rtol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_prior_is_the_same_for_all_data_and_in_units_of_the_clusters(covariance):
    """The mean of the precision is one: 4 Monte Carlo standard errors over 600 draws; the coordinates are those of x."""
    settings = Settings(1, 20, 2, covariance, nu0=7.0)
    family, _ = model(settings)
    np.testing.assert_array_equal(family.coordinates(np.eye(2)), np.eye(2))
    Lambda = []
    for i in range(600):
        problem = draw(settings, np.random.default_rng(i))
        Lambda.append(np.linalg.inv(problem.family.to_data(problem.theta)["covariances"][0]))
    mean, se = np.mean(Lambda, 0), np.std(Lambda, 0) / np.sqrt(600)
    assert np.all(np.abs(mean - np.eye(2)) < 4 * np.fmax(se, 1e-9))


MIXED = ("poisson", "gaussian", "categorical", "bernoulli")


@pytest.mark.parametrize("kinds", [("bernoulli",), ("categorical",), ("poisson",), MIXED], ids="-".join)
def test_quantities_of_every_family_need_no_labels_and_are_those_of_its_points(kinds, rng):
    """Likelihoods by SciPy, the moments of 40,000 points within 5 standard errors."""
    problem = draw(Settings(3, 12, 4, kinds=kinds), rng)
    given = problem.weights[None], {name: v[None] for name, v in problem.theta.items()}
    found = {name: v[0] for name, v in quantities(*problem.posed, *given).items()}
    joint = problem.weights * np.exp(problem.family.features(problem.x) @ problem.family.natural(problem.theta).T)
    log_likelihood = (np.log(joint.sum(1)) + problem.family.log_base(problem.x)).sum()
    assert found["log likelihood"] == pytest.approx(log_likelihood)
    assert found["log joint density"] == pytest.approx(log_likelihood + log_prior(problem))
    x = problem.family.simulate(problem.theta, rng.choice(3, 40_000, p=problem.weights), rng)
    z = problem.family.points(problem.family.coordinates(x))
    names = np.array(problem.family.moment_names([f"x{d}" for d in range(4)]))[problem.family.free]
    z = z[:, problem.family.free]
    for name, values in zip(names, z.T, strict=True):
        assert abs(values.mean() - found[f"mean of {name}"]) < 5 * values.std() / 200 + 1e-12
    assert {name for name in found if name.startswith("mean")} == {f"mean of {name}" for name in names}
    assert found["dependence of the features"] == pytest.approx(-np.linalg.slogdet(np.corrcoef(z.T))[1] / 2, abs=0.05)
    order = [2, 0, 1]
    again = quantities(*problem.posed, given[0][:, order], {name: v[:, order] for name, v in given[1].items()})
    for name, v in again.items():
        np.testing.assert_allclose(v[0], found[name], rtol=1e-9)


def test_estimates_of_zero_have_the_lowest_and_the_highest_values(rng):
    """Feature 0 is never a one, and cluster 0 has no spread in feature 1; the row (1, 0) is impossible in both."""
    problem = draw(Settings(2, 4, 2, kinds=("bernoulli",)), rng)
    theta = {"probabilities": np.array([[[0.0, 1.0], [0.0, 0.5]]])}
    weights = np.array([[0.25, 0.75]])

    def at(x, theta=theta):
        return {name: v[0] for name, v in quantities(x, problem.family, problem.allocation, weights, theta).items()}

    possible = at(np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    assert possible["log likelihood"] == pytest.approx(3 * np.log(0.625) + np.log(0.375))
    assert possible["log det of the tightest cluster"] == possible["log det of the covariance"] == -np.inf
    assert possible["dependence of the features"] == 0
    impossible = at(np.array([[1.0, 0.0]] * 4))
    assert impossible["log likelihood"] == impossible["log joint density"] == -np.inf
    mirrored = at(np.array([[0.0, 1.0], [1.0, 0.0]] * 2), {"probabilities": np.array([[[0.0, 1.0], [1.0, 0.0]]])})
    assert mirrored["dependence of the features"] > 15  # infinite but for rounding
    with pytest.raises(ArithmeticError, match="not a number in 1 of 1"):
        at(np.zeros((4, 2)), {"probabilities": np.full((1, 2, 2), np.nan)})


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "poisson"])
def test_the_bootstrap_of_em_ranks_where_estimates_are_zero(kind):
    """Data sets in which some fit has a cluster without spread; among draws that are all infinite a truth has any place."""
    settings = Settings(2, 12, 2, methods=("em",), draws=39, kinds=(kind,))
    rows = pd.DataFrame([row for i in range(3) for row in study.simulation(settings, i, ("em",))])
    assert "failure" not in rows
    assert rows["rank"].between(0, 39).all()
    tightest = rows[rows["quantity"] == "log det of the tightest cluster"]
    assert np.isfinite(tightest["truth"]).all()
    problem = draw(settings, np.random.default_rng(0))
    sample = bootstrap(problem, np.random.default_rng(0))
    found = quantities(*problem.posed, sample.weights, sample.theta)
    assert np.isneginf(found["log det of the tightest cluster"]).any()
    lowest = dict.fromkeys(found, np.array([-np.inf]))
    ranks = [study.ranks(problem, lowest, sample, np.random.default_rng(i)) for i in range(9)]
    assert len({dict(zip(found, each, strict=True))["log det of the tightest cluster"] for each in ranks}) > 1


def test_the_prior_of_other_kinds_is_as_stated():
    """Means of 400 draws within 5 standard errors; the parts of a mixed row in the order of a table's."""
    for kind, concentration, mean in (("bernoulli", 0.7, 1 / 2), ("categorical", 2.0, 1 / 4), ("poisson", 3.0, 2.0)):
        settings = Settings(1, 10, 1, kinds=(kind,), concentration=concentration, levels=4)
        drawn = np.array(
            [next(iter(draw(settings, np.random.default_rng(i)).theta.values())).flat[0] for i in range(400)]
        )
        assert abs(drawn.mean() - mean) < 5 * drawn.std() / 20
    family, _ = model(Settings(2, 10, 4, kinds=MIXED))
    assert [part.name for part in family.parts] == ["gaussian", "poisson", "categorical"]
    assert family.parts[2].levels == (3, 2)
    assert Settings(2, 10, 4, kinds=MIXED).nu0 == 3
    assert model(Settings(2, 10, 3, kinds=("bernoulli",)))[0].size == 3
    with pytest.raises(ValueError, match="2 kinds for 3 features; expected one for all, or one each"):
        Settings(2, 10, 3, kinds=("bernoulli", "poisson"))
    with pytest.raises(ValueError, match="did you mean 'poisson'"):
        Settings(2, 10, 3, kinds=("poison",))


@pytest.mark.parametrize("kinds", [("gaussian",), ("poisson", "categorical")], ids="-".join)
def test_quantities_of_chains_are_what_the_sum_over_paths_says(kinds, rng):
    """Two sequences of four rows, three states: all paths enumerated; none depends on what the states are called."""
    problem = draw(Settings(3, 4, 2, "diag", kinds=kinds, sequences=2), rng)
    w, theta = problem.weights, {name: v[None] for name, v in problem.theta.items()}
    found = {name: v[0] for name, v in quantities(*problem.posed, w[None], theta).items()}

    def densities(x):
        t, base = problem.family.features(x), problem.family.log_base(x)
        return np.exp(t @ problem.family.natural(problem.theta).T + base[:, None])

    p = densities(problem.x.x).reshape(2, 4, 3)
    pi, A, centre = w[:, 0], w[:, 1:], densities(np.zeros((1, 2)))[0]
    likelihood, changes, ahead, r = 1.0, 0.0, 0.0, np.zeros((2, 4, 3))
    for s in range(2):
        total = changed = following = 0.0
        for z in product(range(3), repeat=4):
            joint = pi[z[0]] * np.prod([A[i, j] for i, j in pairwise(z)]) * np.prod(p[s, range(4), z])
            total += joint
            changed += joint * sum(i != j for i, j in pairwise(z))
            following += joint * A[z[-1]] @ centre
            r[s, range(4), z] += joint
        likelihood, changes, ahead = likelihood * total, changes + changed / total, ahead + np.log(following / total)
        r[s] /= total
    r = r.reshape(8, 3)
    long = np.linalg.matrix_power(A, 2000)[0]
    expected = {
        "log likelihood": np.log(likelihood),
        "log joint density": np.log(likelihood) + log_prior(problem),
        "log density at the centre": np.log(long @ centre),
        "log density of the first rows": np.log(p[:, 0] @ pi).sum(),
        "forecast density at the centre": ahead,
        "largest start probability": pi.max(),
        "highest probability to stay": np.diag(A).max(),
        "lowest probability to stay": np.diag(A).min(),
        "changes of state": changes,
        "entropy of the transitions": r.mean(0) @ stats.entropy(A, axis=1),
        "share of pairs together": np.mean([r[n] @ r[m] for n in range(8) for m in range(n)]),
        "occupied states": sum(1 - np.prod(1 - r[:, k]) for k in range(3)),
        "largest share": long.max(),
        "smallest share": long.min(),
        "entropy of the shares": stats.entropy(long),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert not {name for name in found if "weight" in name or "cluster" in name}
    order = np.array([2, 0, 1])
    moved = problem.allocation.permute(w[None], order[None]), {name: v[:, order] for name, v in theta.items()}
    for name, v in quantities(*problem.posed, *moved).items():
        assert v[0] == pytest.approx(found[name], rel=1e-9)


def test_a_chain_that_falls_apart_tends_somewhere_from_its_start(rng):
    """By 4000 steps of the chain that rests in every other one; elsewhere the stationary distribution."""
    markov = Markov.symmetric(3)
    w = markov.sample(markov.prior, 3, rng)
    w[1, :, 1:], w[2, :, 1:] = np.eye(3), [[1, 0, 0], [0.3, 0.4, 0.3], [0, 0, 1]]
    lazy = (w[..., 1:] + np.eye(3)) / 2
    steps = np.stack([own[:, 0] @ np.linalg.matrix_power(A, 4000) for own, A in zip(w, lazy, strict=True)])
    np.testing.assert_allclose(markov.long_run(w), steps, rtol=1e-9)
    np.testing.assert_allclose(markov.long_run(w)[0], markov.stationary(w[0, :, 1:]), rtol=1e-9)


# The methods.


@pytest.mark.parametrize("kinds", [("categorical",), ("poisson", "categorical")], ids="-".join)
def test_the_bootstrap_starts_at_the_fit_in_every_family(kinds, rng):
    """Resamples of well-defined fits: each is fitted, near to what made it."""
    settings = Settings(1, 40, 2, draws=39, kinds=kinds)
    problem = draw(settings, rng)
    sample = bootstrap(problem, rng)
    assert sample.lost == 0
    fitted = em.fit(*problem.posed, rng=rng).held.theta
    for name, value in sample.theta.items():
        np.testing.assert_allclose(value.mean(0), fitted[name][0, 0], atol=0.3 + 0.1 * np.abs(value).max())


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
@pytest.mark.parametrize("kinds", [("bernoulli",), ("categorical",), ("poisson",), MIXED], ids="-".join)
def test_gibbs_is_calibrated_in_every_family(kinds, monkeypatch):
    """Data sets of six rows, where draws soon are independent: in every quantity the p-value is above 0.001."""
    short = {"walkers": 16, "tune": 10, "chains": 16, "draws": 20}
    monkeypatch.setattr("reports.studies.calibration.posteriors.GIBBS", PLAIN | short)
    settings = Settings(2, 6, 4, methods=("gibbs",), draws=39, kinds=kinds)
    table = simulated(settings, 30)
    assert table["failure"].isna().all()
    assert min(p_values(table, settings).values()) > 1e-3


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
@pytest.mark.parametrize(
    ("kinds", "sequences"), [(("gaussian",), 1), (("poisson", "categorical"), 2)], ids=["one", "two"]
)
def test_gibbs_is_calibrated_for_sequences(kinds, sequences, monkeypatch):
    """Sequences of a few rows: in every quantity the p-value is above 0.001, also of the start and of the transitions."""
    short = {"walkers": 16, "tune": 10, "chains": 16, "draws": 20}
    monkeypatch.setattr("reports.studies.calibration.posteriors.GIBBS", short)
    settings = Settings(2, 6, len(kinds), methods=("gibbs",), draws=39, kinds=kinds, sequences=sequences)
    table = simulated(settings, 20)
    assert table["failure"].isna().all()
    assert min(p_values(table, settings).values()) > 1e-3


def test_a_start_that_does_not_look_at_the_data_is_caught(monkeypatch):
    """Draws of the start from its prior, all else from the posterior: the first rows show it."""

    def blind(problem, rng):
        sample = POSTERIORS["exact"](problem, rng)
        pi = problem.allocation.sample(problem.allocation.prior, len(sample.weights), rng)[..., :1]
        return sample._replace(weights=np.concatenate([pi, sample.weights[..., 1:]], axis=-1))

    monkeypatch.setattr(study, "POSTERIORS", {"exact": blind})
    settings = Settings(2, 3, 1, methods=("exact",), draws=39, sequences=3, beta0=0.01)
    assert p_values(simulated(settings, 60), settings)["exact", "log density of the first rows"] < 1e-3
    monkeypatch.undo()
    assert min(p_values(simulated(settings, 60), settings).values()) > 1e-3


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
@pytest.mark.parametrize(
    "settings",
    [
        replace(QUICK, n=6, dimension=2),  # one cluster, where CAVI's posterior is exact
        Settings(2, 6, 1, methods=("exact", "gibbs"), draws=39, beta0=0.3),
    ],
    ids=["one cluster", "two clusters"],
)
def test_posteriors_that_are_exact_have_uniform_ranks(settings, monkeypatch):
    """In every quantity the p-value is above 0.001."""
    short = {"walkers": 32, "tune": 20, "chains": 32, "draws": 24}
    monkeypatch.setattr("reports.studies.calibration.posteriors.GIBBS", PLAIN | short)
    table = simulated(settings, 60)
    assert table["failure"].isna().all()
    assert min(p_values(table, settings).values()) > 1e-3


def test_a_posterior_that_is_too_narrow_is_caught(monkeypatch):
    def narrow(problem, rng):
        sample = POSTERIORS["cavi"](problem, rng)
        means = sample.theta["means"]
        return sample._replace(theta=sample.theta | {"means": means.mean(0) + 0.5 * (means - means.mean(0))})

    monkeypatch.setattr(study, "POSTERIORS", {"cavi": narrow})
    table = simulated(QUICK, 150)
    assert p_values(table, QUICK)["cavi", "mean of x0"] < 1e-4
    view = CalibrationView(Calibration(QUICK, table, {}))
    mean = view.by_quantity("cavi", "mean of x0", 0.95)[0]
    assert mean < 0.8  # of a normal: P(|z| < 0.98) = 0.67
    assert view.intervals("cavi")[:2] == ("differs", "overconfident")


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
def test_gibbs_draws_are_thinned_to_near_independence():
    """However few a run has, the chains go on until their effective sample size is L."""
    settings = Settings(2, 12, 1, methods=("gibbs",), draws=39)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "reports.studies.calibration.posteriors.GIBBS", {"walkers": 4, "tune": 20, "chains": 4, "draws": 10}
        )
        sample = POSTERIORS["gibbs"](draw(settings, np.random.default_rng(2)), np.random.default_rng(0))
    assert sample.converged
    assert sample.ess >= 39
    assert sample.weights.shape == (39, 2)
    assert len(np.unique(sample.weights[:, 0])) == 39


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
def test_draws_are_kept_from_every_chain_alike(rng):
    problem, fits = draw(Settings(2, 12, 1, methods=("gibbs",), draws=39), np.random.default_rng(2)), []

    def run():
        fits.append(gibbs.fit(*problem.posed, rng=rng, walkers=8, tune=20, chains=8, draws=60))
        return fits[-1]

    sample = chains(run, problem)
    drawn = np.stack([fit.held.weights[..., 0] for fit in fits]).reshape(len(fits) * 8, 60)
    kept = [np.isin(chain, sample.weights[:, 0]).sum() for chain in drawn]
    assert sum(kept) == 39
    assert max(kept) - min(kept) <= 1


def test_the_bootstrap_counts_the_resamples_it_lost(monkeypatch):
    """One cluster: draws of the mean have the sampling variance Sigma / N; every third fit is made to collapse."""
    settings = replace(QUICK, n=30, methods=("em",), draws=119)
    problem = draw(settings, np.random.default_rng(5))
    fit_many = em.fit_many

    def collapsing(xs, *args, **options):
        fits = fit_many(xs, *args, **options)
        return [ValueError() if i % 3 == 1 else fit for i, fit in enumerate(fits)]

    monkeypatch.setattr(em, "fit_many", collapsing)
    sample = bootstrap(problem, np.random.default_rng(0))
    assert len(sample.weights) == 119
    assert 40 <= sample.lost < 75
    fit = em.fit(*problem.posed, rng=np.random.default_rng(0))
    assert isinstance(fit, Fit)
    expected = fit.held.theta["covariances"].item() / 30
    assert sample.theta["means"].var() == pytest.approx(expected, rel=4 * np.sqrt(2 / 119))


def test_a_failing_method_is_counted_and_the_others_go_on(monkeypatch):
    def broken(problem, rng):
        raise ArithmeticError("no <b>number</b>")

    monkeypatch.setattr(study, "POSTERIORS", POSTERIORS | {"em": broken})
    settings = replace(QUICK, methods=("em", "cavi"))
    table = simulated(settings, 2)
    em_rows, cavi_rows = (table[table["method"] == m] for m in ("em", "cavi"))
    assert em_rows["rank"].isna().all()
    assert set(em_rows["failure"]) == {"ArithmeticError: no <b>number</b>"}
    assert cavi_rows["rank"].notna().all()


# The folder.


def test_simulations_do_not_depend_on_the_workers(tmp_path):
    settings = replace(QUICK, methods=("em", "cavi"))
    one, two = (calibrate(settings, tmp_path / str(w), simulations=FEWEST, workers=w) for w in (1, 2))
    pd.testing.assert_frame_equal(one.table[OUTCOME], two.table[OUTCOME])
    alone = study.simulation(settings, 2, ["cavi"])
    shared = one.table[(one.table["simulation"] == 2) & (one.table["method"] == "cavi")]
    assert shared["rank"].tolist() == [row["rank"] for row in alone]


def test_a_killed_calibration_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "o"
    options = ("-k", "1", "--rows", "10", "--features", "1", "--methods", "cavi", "--draws", "39", "--out", str(folder))
    code = "from reports.commands.app import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", code, "calibrate", *options, "--simulations", "5000", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + 120
        while len(list(folder.glob("cells/*.parquet"))) < FEWEST:
            assert run.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    there = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*.parquet")}
    lost = folder / "cells" / "000002-cavi.parquet"
    lost.unlink()
    (folder / "cells" / ".mixtures-0123456789abcdef").write_bytes(b"half")
    (folder / ".mixtures-0123456789abcdef").write_bytes(b"half")
    result = command("calibrate", *options, "--simulations", str(len(there) + 2), "--workers", "1")
    assert result.exit_code == 0, result.output
    assert f"{len(there) - 1} of {len(there) + 2} simulations are there already" in result.stderr
    assert not list(folder.rglob(".mixtures-*"))
    for path, written in there.items():
        assert (path.stat().st_mtime_ns == written) == (path != lost)
    table = study.Cells(folder / "cells", study.COLUMNS).read()
    pd.testing.assert_frame_equal(table[OUTCOME], simulated(QUICK, len(there) + 2)[OUTCOME], check_dtype=False)


def test_every_simulation_and_method_has_random_numbers_of_its_own():
    settings = (QUICK, replace(QUICK, seed=1))
    first = [study._rng(s, number, stream).random() for s in settings for number in (0, 1) for stream in (0, 1, 2)]
    assert len(set(first)) == len(first)


def test_what_was_not_asked_for_is_left_out():
    rows = [(i, method, "q") for i in range(4) for method in ("em", "cavi")]
    table = pd.DataFrame([*rows, rows[0]], columns=["simulation", "method", "quantity"])
    own = study.select(QUICK, 3, table)
    assert own.to_numpy().tolist() == [[i, "cavi", "q"] for i in range(3)]


def test_methods_are_added_to_what_is_there(tmp_path):
    both = replace(QUICK, methods=("cavi", "exact"))
    calibrate(QUICK, tmp_path / "o", simulations=FEWEST)
    tasks = missing(both, FEWEST + 1, {(i, "cavi") for i in range(FEWEST)})
    assert [task.arguments[2] for task in tasks] == [("exact",)] * FEWEST + [("cavi", "exact")]
    added = calibrate(both, tmp_path / "o", simulations=FEWEST).table
    at_once = calibrate(both, tmp_path / "p", simulations=FEWEST).table
    pd.testing.assert_frame_equal(added[OUTCOME], at_once[OUTCOME])
    fewer = calibrate(QUICK, tmp_path / "o", simulations=FEWEST).table
    assert set(fewer["method"]) == {"cavi"}


def test_folders_that_do_not_fit_are_refused(tmp_path):
    folder = tmp_path / "o"
    result = calibrate(QUICK, folder, simulations=FEWEST)
    loaded = study.load(folder)
    assert (loaded.settings, loaded.settings.methods) == (result.settings, result.settings.methods)
    pd.testing.assert_frame_equal(loaded.table, result.table)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ResultsError, match="n = 10, not 11"):
        calibrate(replace(QUICK, n=11), folder, simulations=FEWEST)
    manifest = json.loads((folder / "calibration.json").read_text())
    for changed in ({"versions": {"mixtures": "0.0.9"}}, {"format": 0}):
        (folder / "calibration.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(ResultsError, match=r"was written .*in format"):
            calibrate(QUICK, folder, simulations=FEWEST)
    for changed in ({"versions": None}, {"versions": []}, {"settings": None}):
        (folder / "calibration.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(ResultsError, match="damaged"):
            calibrate(QUICK, folder, simulations=FEWEST)
    prior = {"prior": {"m0": [[1], "a"]}}
    for changed in (
        {"settings": manifest["settings"] | {"draws": "many"}},
        {"settings": manifest["settings"] | {"methods": 3}},
        {"simulations": True},
        {"created": []},
        {"command": None},
        {"model": manifest["model"] | {"family": "gausian"}},
        {"model": manifest["model"] | prior},
    ):
        (folder / "calibration.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(ResultsError, match="damaged"):
            assert study.load(folder) is changed
    assert sorted(folder.rglob("*")) == before
    (folder / "calibration.json").write_text(json.dumps(manifest))
    (folder / "cells" / "000000-cavi.parquet").write_bytes(b"half")
    with pytest.raises(CellsError, match=r"000000-cavi.parquet is damaged"):
        calibrate(QUICK, folder, simulations=FEWEST)

    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("")
    with pytest.raises(ResultsError, match="something else than a calibration"):
        calibrate(QUICK, thesis, simulations=FEWEST)


BAD = {
    "unknown method": (["--methods", "em,cavvi"], "did you mean 'cavi'?"),
    "no method": (["--methods", ","], "no method given"),
    "unknown covariance": (["--covariance", "ful"], "did you mean 'full'?"),
    "covariance of no numbers": (
        ["--family", "bernoulli", "--covariance", "diag"],
        "covariance is 'diag', and no column is of numbers that have one; leave it out",
    ),
    "prior of no numbers": (["--family", "poisson", "--nu0", "3"], "--nu0 does not go with features that are poisson"),
    "levels of numbers": (["--levels", "4"], "--levels does not go with features that are gaussian"),
    "unknown family": (["--family", "bernouli"], "did you mean 'bernoulli'?"),
    "no family": (["--family", ""], "0 kinds for 2 features"),
    "one level": (["--family", "categorical", "--levels", "1"], "levels is 1; expected at least 2"),
    "no concentration": (["--family", "poisson", "--concentration", "0"], "concentration is 0.0; expected a positive"),
    "too few simulations": (["--simulations", "19"], "expected at least 20"),
    "negative seed": (["--seed", "-1"], "seed is -1"),
    "no cluster": (["-k", "0"], "n_components is 0"),
    "more clusters than rows": (["-k", "60"], "n is 50"),
    "draws that no interval fits": (["--draws", "100"], "multiple of 40"),
    "no prior": (["--beta0", "0"], "beta0"),
    "no spread of the means": (["--beta0", "inf"], "beta0 is inf; expected a positive number"),
    "no number": (["--nu0", "nan"], "nu0 is nan; expected a positive number"),
    "too few degrees of freedom": (["--nu0", "1"], "nu0"),
    "negative concentration": (["--alpha", "-1"], "alpha0"),
    "too many rows for the exact posterior": (["--methods", "exact"], "takes too long"),
    "no sequence": (["--sequences", "0"], "--sequences is 0"),
    "too many paths for the exact posterior": (["--hmm", "--methods", "exact"], "takes too long"),
    "folder in use": (["--out", "."], "working folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[case]
    result = command("calibrate", *arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_prior_beyond_floats_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("calibrate", "-d", "1", "-n", "10", "--methods", "cavi", "--draws", "39", "--workers", "1")
    result = command(*arguments, "--nu0", "1e-9")
    assert result.exit_code == 2
    assert "less extreme --nu0" in result.stderr.splitlines()[-1]
    study.check(replace(QUICK, n_components=2), Path("results/calibration-k2-n10"), FEWEST)  # no simulation to mix with


# The page.


@pytest.fixture(scope="module")
def shown():
    """Uniform ranks by Gibbs; narrow ones by CAVI, too high in the largest weight; EM failing now and then, ADVI always."""
    rng = np.random.default_rng(0)
    settings = Settings(2, 50, 1, methods=("em", "cavi", "advi", "gibbs"), draws=39)
    problem = draw(settings, rng)
    names = list(quantities(*problem.posed, problem.weights[None], {n: v[None] for n, v in problem.theta.items()}))
    rows = []
    for i in range(300):
        for method, shape in (("em", 0.4), ("cavi", 0.6), ("advi", 0.5), ("gibbs", 1.0)):
            for name in names:
                error = "ValueError: <script>" if method == "advi" or (method == "em" and i % 30 == 0) else None
                u = rng.beta(0.5, 1.2) if (method, name) == ("cavi", "largest weight") else rng.beta(shape, shape)
                ess, lost = 800.0 if method == "gibbs" else np.nan, 3.0 if method == "em" and not error else np.nan
                rank = np.nan if error else int(40 * u)
                rows.append((i, method, name, 0.0, rank, np.nan if error else 1.0, ess, lost, 0.1, error))
    table = pd.DataFrame(rows, columns=list(study.COLUMNS))
    manifest = {
        "command": "mixtures calibrate",
        "created": "2025-01-01T00:00:00+00:00",
        "platform": "Linux",
        "versions": {"mixtures": "0.1.0"},
        "model": reports.comparison.manifest.describe_model(*model(settings)),
    }
    return Calibration(settings, table, manifest)


def test_the_verdict_is_taken_from_the_numbers(shown):
    view = CalibrationView(shown)
    assert view.posterior("gibbs")[:2] == ("agrees", NOTHING)
    assert view.intervals("gibbs")[:2] == ("agrees", NOTHING)
    inside = covered(shown.table[shown.table["method"] == "cavi"]["rank"].to_numpy(int), 39, 0.95).mean()
    state, said, because = view.intervals("cavi")
    assert (state, said) == ("differs", "overconfident")
    assert f"coverage of 95% intervals {percent(inside)}" in because
    assert f"miss {number((1 - inside) / 0.05, 2)} times" in because
    assert view.posterior("cavi")[:2] == ("differs", "not uniform")
    above = np.mean(2 * view.ranks["cavi"]["largest weight"] > 39)
    assert view.middle("cavi") == (
        "differs",
        "biased",
        f"medians of {(view.symmetry['cavi'] < 0.05 / 9).sum()} of 9 quantities; that of the largest weight is above the "
        f"truth in {100 * (1 - above):.3g}% of the simulations",
    )
    assert answer(view).endswith("Overconfident: EM and CAVI; no departure detected: Gibbs.")
    assert f"{percent(inside)} by CAVI" in answer(view)
    assert "failed in 10 of 300 simulations" in verdict_lines(shown)[0]
    assert verdict_lines(shown)[2].startswith("ADVI: failed in every simulation: ")


def test_chains_that_did_not_converge_are_told_beside_no_departure(shown):
    table = shown.table.copy()
    table.loc[(table["method"] == "gibbs") & (table["simulation"] < 150), "converged"] = 0.0
    found = Calibration(shown.settings, table, shown.manifest)
    view = CalibrationView(found)
    assert "not converged" not in "".join(verdict_lines(shown))
    line = verdict_line(view, "gibbs")
    assert NOTHING in line
    assert line.endswith("; not converged in 150 of 300 simulations")
    cards = next(block for block in verdict(view).blocks if isinstance(block, Cards))
    assert [card.kind_words.endswith("; not converged in 150 of 300 simulations") for card in cards.cards].count(
        True
    ) == 1


def test_what_is_not_detected_is_said_with_what_would_have_been(shown):
    """The numbers of the sentences are those of the table: of as many simulations as the method has."""
    view = CalibrationView(shown)
    below, _ = view.detectable_coverage("gibbs", 0.95)
    error = number(0.95 - below, 2)
    assert f"with 300 simulations a coverage error below {error} would not show" in view.intervals("gibbs").because
    found = view.detectable("gibbs")
    because = view.posterior("gibbs").because
    assert (
        f"an sd from {number(found.ranks.narrow, 2)} to {number(found.ranks.wide, 2)} times the posterior’s" in because
    )
    assert f"less than {number(found.ranks.shift, 2)} posterior sd" in because
    assert found == view.detectable("cavi")
    assert view.detectable("em").ranks.shift >= found.ranks.shift  # of 290
    table, notes = detectable(view).blocks
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert table.columns == ["departure", "EM", "CAVI", "Gibbs"]
    assert cells["coverage of 95% intervals"][2].startswith(f"<\u00a0{percent(below)} or >")
    assert cells["median bias (sd)"] == ["–", f">\u00a0{number(found.bias, 2)}", "–"]
    assert "normal" in notes.items[1]


def test_few_simulations_say_nothing(shown):
    few = replace(shown, table=shown.table[shown.table["simulation"] < FEWEST - 1])
    view = CalibrationView(few)
    for judged in (view.intervals("gibbs"), view.posterior("gibbs"), view.middle("cavi")):
        assert judged[:2] == ("cannot tell", "too few simulations")
    assert "Too few simulations to judge any method." in render(few)


def test_the_page_shows_what_failed_and_asks_for_nothing_outside(shown):
    html = render(shown)
    page = Page(html)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"\[\[[^\]]*\|", html)
    for name in ("uniformity", "symmetry"):  # the numbers that need random ones
        pd.testing.assert_frame_equal(*(getattr(CalibrationView(shown), name) for _ in range(2)))
    assert "&lt;script&gt;" in html
    assert "ValueError: <script>" not in html
    assert "failed in 10 of 300 simulations" in html
    assert "bootstrap intervals, no posterior" in re.sub("<[^>]*>", "", html)
    assert len(re.findall(r"<img\b", html)) == 3
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r'src="[^"]*"', "", html))
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {address.split(":")[0] if ":" in address else address[0] for address in addresses} == {"data", "#"}


def test_one_method_that_always_fails_still_makes_a_page(shown):
    lost = replace(
        shown, settings=replace(shown.settings, methods=("advi",)), table=shown.table[shown.table["method"] == "advi"]
    )
    assert "failed in every simulation" in render(lost)


def test_calibrate_says_what_it_found_and_makes_the_page_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("calibrate", "-k", "1", "-n", "10", "-d", "1", "--methods", "cavi", "--simulations", "21")
    result = command(*arguments, "--workers", "1")
    assert result.exit_code == 0, result.output
    assert re.search(r"CAVI: .*coverage of 95% intervals", result.stdout)
    page = Path("results/calibration-k1-n10/report.html")
    assert COMPLETE in " ".join(result.stdout.split())
    assert COMPLETE in page.read_text()
    assert str(page) in result.stdout
    page.unlink()
    again = command(*arguments)
    assert "21 of 21 simulations are there already" in again.stderr
    assert page.is_file()


def test_calibrate_of_sequences_speaks_of_states(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["-n", "5", "-d", "1", "--methods", "cavi", "--draws", "39", "--simulations", "20", "--workers", "1"]
    result = command("calibrate", "--hmm", "--sequences", "2", "--family", "categorical", *options)
    assert result.exit_code == 0, result.output
    html = Path("results/calibration-hmm-categorical-k2-n5/report.html").read_text()
    assert "20 data sets of 2 sequences of 5 rows each, of 1 feature, drawn from the prior of a" in html
    assert "hidden Markov model</a> of 2 states" in html
    assert "Prior of start and transitions" in html
    assert "lowest probability to stay" in html
    assert "occupied clusters" not in html


def test_calibrate_takes_the_kinds_of_features(tmp_path, monkeypatch):
    """A folder of its own, the model and the features named on the page, and another kind refused where one is there."""
    monkeypatch.chdir(tmp_path)
    arguments = [
        "calibrate",
        "-k",
        "1",
        "-n",
        "10",
        "--methods",
        "cavi",
        "--draws",
        "39",
        "--simulations",
        "20",
        "--workers",
        "1",
    ]
    result = command(*arguments, "--family", "bernoulli,poisson,poisson")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / "calibration-bernoulli-poisson-k1-n10"
    html = (folder / "report.html").read_text()
    assert "drawn from the prior of a mixture of 1 cluster of 1 binary feature and 2 counts." in html
    assert "covariance structure" not in html
    assert "after Bishop, PRML, sections 9.3.3 and 10.2" in re.sub("<[^>]*>", "", html)
    assert source_of("poisson", True).startswith("Rabiner 1989; states after Gelman")
    assert json.loads((folder / "calibration.json").read_text())["settings"]["dimension"] == 3
    other = command(*arguments, "--family", "poisson", "-d", "3", "-o", str(folder))
    assert other.exit_code == 2
    assert "holds a calibration with kinds" in other.stderr


def test_a_method_that_always_fails_exits_with_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "POSTERIORS", {})
    result = command(
        "calibrate", "-k", "1", "-n", "10", "-d", "1", "--methods", "cavi", "--simulations", "20", "--workers", "1"
    )
    assert result.exit_code == 1
    assert "CAVI: failed in every simulation" in result.stdout


# From Python.


def test_a_calibration_from_python_shows_and_saves_itself(tmp_path):
    """In a temporary folder that goes with the result; saved, it goes on from the shell or from Python."""
    settings = {"n_components": 1, "n": 10, "dimension": 1, "methods": "cavi", "draws": 39}
    found = reports.calibrate(**settings, simulations=21)
    assert repr(found) == "<Calibration of CAVI: 21 data sets of 10 points in 1-D, K = 1>"
    row = found.summary().loc["cavi"]
    assert tuple(row[["coverage95", "low95", "high95"]]) == CalibrationView(found).overall("cavi", 0.95)
    assert (row["simulations"], row["failed"]) == (21, 0)
    assert found.plots == ["coverage", "ranks", "medians"]
    assert found.plot("ranks").axes
    html = found._repr_html_()
    assert "coverage of 95% intervals" in html
    assert "<img" not in html
    saved = found.save(tmp_path / "saved")
    assert {path.name for path in saved.iterdir()} == {"calibration.json", "cells", "report.html"}
    assert (saved / "report.html").read_text() == found.to_html(tmp_path / "page.html").read_text()
    with pytest.raises(ResultsError, match="not empty"):
        found.save(tmp_path)
    told = []
    more = reports.calibrate(**settings, simulations=22, folder=saved, progress=lambda *numbers: told.append(numbers))
    assert told[0] == (21, 22)
    pd.testing.assert_frame_equal(more.table[more.table["simulation"] < 21], found.table)
    temporary = found.folder
    assert temporary.is_dir()
    del found
    gc.collect()
    assert not temporary.parent.exists()
    with pytest.raises(ValueError, match="did you mean 'cavi'"):
        reports.calibrate(methods=("cavvi",))


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("beta0", [1e-20, 1e-300])
def test_clusters_beyond_all_digits_fail_without_a_warning(beta0):
    rows = study.simulation(replace(QUICK, n_components=2, beta0=beta0), 0, ("cavi",))
    assert all("ended in a collapse" in row["failure"] for row in rows)
