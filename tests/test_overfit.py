"""The overfitting study on tiny grids: common random numbers, resumption, what the measures mean, and bad input."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import cumulative_trapezoid
from scipy.stats import binomtest, kstest, multivariate_normal, t
from test_page import Page
from typer.testing import CliRunner

import reports
from mixtures import Dirichlet, Gaussian
from mixtures.errors import CollapseError
from mixtures.methods import cavi
from reports.commands.app import app
from reports.comparison.results import ResultsError
from reports.page.words import COMPLETE
from reports.studies.cells import Cells, CellsError
from reports.studies.overfit import summary
from reports.studies.overfit.fits import fit, plug_in
from reports.studies.overfit.grid import PRESETS, Cell, Truth, parse, preset
from reports.studies.overfit.measure import COLUMNS, _occupied, _within, measure
from reports.studies.overfit.study import again, check_folder, load, missing, run
from reports.studies.overfit.truths import Mixture, overall, replicate

TINY = """
replicates = 3
test = 200
restarts = 2
[[block]]
separation = 3.0
n = [12, 30]
fitted_K = [2, 4]
methods = ["em", "cavi"]
"""

THREE = Truth("gaussian", 2, 3, 3.0, 2.0)
ALONE = Truth("gaussian", 2, 1)


def cell(method="cavi", truth=THREE, n=20, k=3, alpha=1.0, test=200, covariance="full"):
    return Cell(truth, n, method, k, covariance, alpha, seed=0, test=test, restarts=2)


def same(a, b):
    """Equal to the last bit but for the seconds."""
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"), check_exact=True)


def command(*arguments):
    return CliRunner().invoke(app, ["overfit", *map(str, arguments)], env={"COLUMNS": "160", "NO_COLOR": "1"})


# data


@pytest.mark.parametrize("shape", ["gaussian", "heavy tails", "skew"])
def test_fewer_points_are_the_first_of_more(shape):
    truth = Truth(shape, 2, 3, 3.0, 2.0)
    few, many = (replicate(truth, n, 50, 0, 4) for n in (10, 40))
    np.testing.assert_array_equal(few.x, many.x[:10])
    np.testing.assert_array_equal(few.test, many.test)
    longer = replicate(truth, 10, 90, 0, 4)
    np.testing.assert_array_equal(few.test, longer.test[:50])


def test_replicates_and_truths_differ():
    x = replicate(THREE, 10, 5, 0, 0).x
    for other in (replicate(THREE, 10, 5, 0, 1), replicate(THREE, 10, 5, 1, 0), replicate(ALONE, 10, 5, 0, 0)):
        assert not np.isclose(x, other.x).any()


@pytest.mark.parametrize("shape", ["gaussian", "heavy tails", "skew"])
def test_density_integrates_to_one_and_has_the_moments_of_the_draws(shape):
    """One dimension, by the trapezium rule; the draws to five standard errors, the kurtosis of heavy tails set aside."""
    mixture = Mixture(shape, np.array([0.3, 0.7]), np.array([[-1.0], [2.0]]), np.array([[[0.5]], [[2.0]]]))
    grid = np.linspace(-400, 400, 800_001)[:, None]
    p = np.exp(mixture.log_predictive(grid))
    x, labels = mixture.sample(40_000, np.random.SeedSequence(1))
    mean, covariance = mixture.moments
    variance = np.diagonal(covariance)
    assert np.trapezoid(p, grid[:, 0]) == pytest.approx(1, abs=1e-4)
    assert np.trapezoid(p * grid[:, 0], grid[:, 0]) == pytest.approx(mean[0], abs=1e-3)
    assert np.trapezoid(p * (grid[:, 0] - mean) ** 2, grid[:, 0]) == pytest.approx(variance[0], abs=0.02)
    assert abs(x.mean() - mean[0]) < 5 * np.sqrt(variance[0] / len(x))
    assert abs((labels == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / len(x))
    cdf = cumulative_trapezoid(p, grid[:, 0], initial=0)
    assert kstest(x[:, 0], lambda at: np.interp(at, grid[:, 0], cdf)).pvalue > 1e-4


def test_heavy_tails_are_those_of_student():
    mixture = Mixture("heavy tails", np.ones(1), np.array([[1.0]]), np.array([[[3.0]]]))
    x = np.linspace(-9, 9, 7)
    np.testing.assert_allclose(mixture.log_predictive(x[:, None]), t(4, 1, np.sqrt(3 / 2)).logpdf(x))


def test_real_rows_are_fitted_or_tested_never_both():
    grid = parse('[[block]]\ntruth = "iris"\nn = 30\nfitted_K = 3', "grid")
    one = replicate(grid.cells[0].truth, 30, 10, 0, 2)
    assert len(one.x) == 30
    assert len(one.test) == len(one.labels) == 120
    assert one.truth is None


# measures


def test_kl_is_that_of_two_gaussians():
    """Of one Gaussian fitted to one by maximum likelihood, in closed form; the estimate to four standard errors."""
    rows = measure(cell("single", ALONE, k=None, alpha=None, test=20_000), range(4))
    for number, row in enumerate(rows):
        one = replicate(ALONE, 20, 1, 0, number)
        S, m = np.cov(one.x.T, bias=True), one.x.mean(0)
        Sigma, mu = one.truth.covariances[0], one.truth.means[0]
        inverse = np.linalg.inv(S)
        log_ratio = np.log(np.linalg.det(S) / np.linalg.det(Sigma))
        kl = (np.trace(inverse @ Sigma) + (m - mu) @ inverse @ (m - mu) - 2 + log_ratio) / 2
        assert row["kl"] == pytest.approx(kl, abs=4 * row["kl_se"])
        assert row["kl_se"] < 0.02
        assert row["train"] == pytest.approx(multivariate_normal(m, S).logpdf(one.x).mean())
        assert row["smallest_variance"] == pytest.approx(np.linalg.eigvalsh(S)[0] / np.linalg.eigvalsh(Sigma)[0])


def test_no_method_beats_the_oracle_on_average(tiny):
    lost = tiny.table.dropna(subset="kl").groupby("method")["kl"].mean()
    assert set(lost.index) == {"em", "cavi", "cavi-plugin", "single"}
    assert (lost > 0).all()


def test_predictive_and_plug_in_are_of_one_fit():
    one = replicate(THREE, 20, 50, 0, 0)
    (fitted,) = fit(cell(), [one])
    point = plug_in(fitted)
    weights, theta = point.posterior.flat()
    q = fitted.posterior
    np.testing.assert_allclose(weights[0], q.alpha / q.alpha.sum())
    covariances = fitted.family.to_data(theta)["covariances"][0]
    own = q.theta.W_inv / (q.theta.nu - 3)[:, None, None]
    np.testing.assert_allclose(covariances, fitted.family.expand_matrix(own))
    rows = measure(cell(), [0])
    assert [row["method"] for row in rows] == ["cavi", "cavi-plugin"]
    assert rows[0]["bound"] == rows[1]["bound"]
    assert rows[0]["test"] > rows[1]["test"]
    assert rows[1]["test"] == pytest.approx(point.log_predictive(replicate(THREE, 20, 200, 0, 0).test).mean())
    assert "cover_mean" in rows[0]
    assert "cover_mean" not in rows[1]


def test_occupied_clusters_by_simulation(rng):
    """Expected number of clusters with a point when every label is drawn from its responsibilities, to 4 standard errors."""
    one = replicate(Truth("gaussian", 2, 3, 1.5, 2.0), 60, 6, 0, 6)
    fitted = cavi.fit(one.x, Gaussian.from_data(one.x, 4), Dirichlet.symmetric(4), rng=rng, restarts=2)
    x, r = one.test, fitted.responsibilities(one.test)
    labels = (rng.random((20_000, len(x), 1)) > np.cumsum(r, axis=1)[None, :, :-1]).sum(-1)
    counts = np.array([(labels == k).any(1) for k in range(4)]).sum(0)
    assert counts.std() > 0.1
    assert _occupied(fitted, x) == pytest.approx(counts.mean(), abs=4 * counts.std() / np.sqrt(len(counts)))
    draws = fitted.as_draws(1, 3, rng)
    parts = [np.exp(log_rho - np.logaddexp.reduce(log_rho, -1, keepdims=True)) for _, log_rho in draws.log_rho(x)]
    by_hand = (1 - np.prod(1 - np.concatenate(parts, axis=1), axis=1)).sum(-1).mean()
    assert _occupied(draws, x) == pytest.approx(by_hand)


def test_moments_and_intervals(rng):
    weights, means, covariances = np.array([0.4, 0.6]), rng.normal(size=(2, 2)), np.array([np.eye(2), 3 * np.eye(2)])
    labels = rng.choice(2, 200_000, p=weights)
    x = means[labels] + np.sqrt(np.array([1.0, 3.0]))[labels, None] * rng.standard_normal((200_000, 2))
    mean, covariance = overall(weights, means, covariances)
    variance = np.diagonal(covariance)
    np.testing.assert_allclose(mean, x.mean(0), atol=5 * x.std() / np.sqrt(len(x)))
    np.testing.assert_allclose(variance, x.var(0), rtol=0.03)
    draws = rng.standard_normal((4000, 3))
    assert _within(draws, np.array([0.0, 1.9, 2.1])) == pytest.approx(2 / 3)
    of_39 = np.arange(1.0, 40.0)[:, None]  # one more is below the first with probability 1/40, and above the last
    assert [_within(of_39, np.array([value])) for value in (0.99, 1.0, 39.0, 39.01)] == [0, 1, 1, 0]


def test_intervals_of_one_gaussian_cover_as_often_as_they_say():
    """100 data sets of 50 points, whose posterior is exact for K = 1: 4 standard errors of a binomial share."""
    rows = measure(cell("cavi", ALONE, n=50, k=1), range(100))
    own = pd.DataFrame(rows).query("method == 'cavi'")
    assert own["cover_mean"].mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 100))


def test_a_collapse_is_counted_and_its_neighbours_stay():
    """Data sets of 10 points and three full covariances: some leave no fit, and the rest are as if alone."""
    one = cell("em", n=10, k=3, alpha=None)
    rows = measure(one, range(15))
    failed = [row for row in rows if "failure" in row]
    ended = [row for row in rows if "failure" not in row]
    assert failed
    assert ended
    assert all("collapse" in row["failure"] and "test" not in row for row in failed)
    (alone,) = measure(one, [ended[0]["replicate"]])
    assert alone["bound"] == pytest.approx(ended[0]["bound"], abs=1e-4)


@pytest.mark.robustness("numbers")
def test_a_ridge_is_of_maximum_likelihood_alone_and_leaves_no_collapse():
    grid = parse("reg_covar = 1e-3\n" + TINY, "ridge")
    assert {one.method: one.reg_covar for one in grid.cells} == {"em": 1e-3, "single": 1e-3, "cavi": 0.0, "oracle": 0.0}
    plain = {one.id for one in parse(TINY, "plain").cells}
    assert {one.method for one in grid.cells if one.id in plain} == {"cavi", "oracle"}
    rows = measure(replace(cell("em", n=10, k=3, alpha=None), reg_covar=1e-3), range(15))
    assert not [row for row in rows if "failure" in row]
    assert all(row["aic"] == pytest.approx(-2 * row["bound"] + 2 * 17) for row in rows)


def test_data_that_no_method_can_take_fail_alone(monkeypatch):
    """A replicate of equal rows stops the fit of its batch, which is then made one by one."""
    good, bad = replicate(THREE, 20, 5, 0, 0), replicate(THREE, 20, 5, 0, 1)
    bad.x[:] = bad.x[0]
    first, second = fit(cell(), [good, bad])
    (alone,) = fit(cell(), [replicate(THREE, 20, 5, 0, 0)])
    assert isinstance(second, ValueError)
    assert not isinstance(second, CollapseError)
    np.testing.assert_array_equal(first.bound, alone.bound)


def test_gibbs_is_measured_with_its_intervals():
    (row,) = measure(cell("gibbs", n=15, k=2), [0])
    assert 1 <= row["occupied"] <= 2
    assert 0 <= row["cover_density"] <= 1
    assert row["kl"] > 0
    assert row["ari"] <= 1


# summaries


def test_paired_difference_by_hand():
    rows = [("a", 0, 1.0), ("a", 1, 3.0), ("a", 2, 8.0), ("b", 0, 0.0), ("b", 1, 1.0), ("b", 2, np.nan)]
    table = pd.DataFrame(rows, columns=["method", "replicate", "test"])
    found = summary.paired(table, "a", "b")
    assert found.mean == pytest.approx(1.5)
    assert found.half == pytest.approx(t(1).ppf(0.975) * np.sqrt(0.5) / np.sqrt(2))
    assert (found.both, found.total, found.wins) == (2, 3, 1.0)
    assert summary.paired(table, "b", "a").wins == 0
    assert summary.paired(table, "a", "c") is None


def test_intervals_that_settings_are_counted_by_hold_together(rng):
    """Of 52 t-intervals of 8 normal values in 2000 studies, any misses zero in at most 5%, plus 4 standard errors."""
    x = rng.standard_normal((2000, 52, 8))
    x += rng.standard_normal((2000, 1, 8))  # dependent, as settings that share their data are
    half = t(7).ppf(0.975) * x.std(2, ddof=1) / np.sqrt(8)
    wide = np.array([summary.simultaneous(each, np.full(52, 8.0)) for each in half])
    wrong = np.mean((np.abs(x.mean(2)) > wide).any(1))
    assert wrong < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)
    assert np.mean((np.abs(x.mean(2)) > half).any(1)) > 0.5
    one = summary.simultaneous(np.array([1.0, np.nan]), np.array([5.0, 1.0]))
    assert one[0] == pytest.approx(1)
    assert np.isnan(one[1])


def differing(differences, **settings):
    """Rows of two methods, CAVI above EM by these differences in as many replicates."""
    one = (
        dict.fromkeys(summary.SETTINGS)
        | {"truth": "gaussian", "true_k": 2, "k": 2, "covariance": "full", "n": 20}
        | settings
    )
    rows = [one | {"method": m, "replicate": r, "test": d * (m == "cavi"), "impossible": np.nan}
            for r, d in enumerate(differences) for m in ("cavi", "em")]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_setting_counts_by_its_simultaneous_interval():
    """A difference of 1.3 half widths is decided alone, and not among twenty."""
    noise = np.array([-1.0, 1.0, -0.5, 0.5, 0.0, 0.7, -0.7])
    half = t(6).ppf(0.975) * noise.std(ddof=1) / np.sqrt(7)
    clear = differing(noise + 1.3 * half, n=10)
    alone = summary.against(clear, "cavi", ["em"])
    assert alone["decided"].tolist() == [1]
    assert alone["simultaneous"].item() == pytest.approx(half)
    among = summary.against(pd.concat([clear, *(differing(noise, n=20 + i) for i in range(19))]), "cavi", ["em"])
    assert among["decided"].tolist() == [0] * 20
    assert among["half"].iloc[0] == pytest.approx(half)
    assert among["simultaneous"].iloc[0] == pytest.approx(half * t(6).ppf(1 - 0.025 / 20) / t(6).ppf(0.975))


def test_coverage_of_a_model_that_lacks_the_truth_is_set_apart():
    rows = [("gaussian", 3, 1, 0.2, 0.3), ("gaussian", 3, 3, 0.9, 0.5), ("gaussian", 3, 4, 0.8, np.nan)]
    rows.append(("skew", 3, 3, 0.4, 0.4))
    others = {
        "method": "cavi",
        "covariance": "full",
        "n": 20,
        "d": 2,
        "separation": 3.0,
        "imbalance": 1.0,
        "alpha": 1.0,
    }
    columns = ["truth", "true_k", "k", "cover_density", "cover_weight"]
    table = pd.DataFrame(rows, columns=columns).assign(**others, cover_mean=1.0, cover_variance=np.nan)
    table = table.assign(concentration=np.nan, levels=np.nan, stay=np.nan, cover_stay=np.nan, cover_dependence=np.nan)
    table = pd.concat([table, table])
    found = summary.coverages(table[summary.contained(table)])
    assert list(zip(found["measure"].str.removeprefix("cover_"), found["k"], found["mean"], strict=True)) == [
        ("weight", 3, 0.5), ("density", 4, 0.8), ("density", 3, 0.9), ("mean", 3, 1.0), ("mean", 4, 1.0),
    ]  # fmt: skip
    assert summary.coverages(table)["mean"].iloc[0] == 0.2


def test_what_was_found_begins_with_the_worst(tiny):
    """The lowest coverage first, wherever it is; then where CAVI loses; real data say what their intervals are about."""
    from reports.page.overfit import selection
    from reports.page.overfit_findings import findings, short_answer
    from reports.page.overfit_view import View

    table = tiny.table.copy()
    weights = (table["method"] == "cavi") & (table["k"] == 4)
    table.loc[weights, "cover_weight"] = (table["replicate"] == 1).astype(float)
    view = View(replace(tiny, table=table))
    first = findings(view).blocks[0].items[0]
    assert re.search(r"model contains the truth: 33.3% \(.*\) for the largest weight at .*; .*", first)
    assert "33.3%" in short_answer(view)
    assert "Bonferroni over the" in short_answer(view)
    assert "random subsets" not in " ".join(findings(view).blocks[0].items)
    real = View(replace(tiny, table=table.assign(truth="iris", true_k=np.nan)))
    assert "Replicates of iris are random subsets of the same rows" in findings(real).blocks[0].items[-1]
    chosen, unknown = selection(View(replace(tiny, table=table.assign(true_k=4.0)))), selection(real)
    assert "Share of replicates in which the true K is chosen" in chosen.blocks[0].caption
    assert unknown.blocks[0].caption == "Loss of the choice. Lines: 95% intervals."
    assert "true K" not in unknown.lead


def test_a_share_of_none_is_not_certain():
    """Of 30 fits none collapsed: the interval is that of SciPy; a mean has the t-interval of SciPy."""
    values = np.random.default_rng(0).normal(size=30)
    table = pd.DataFrame({"method": "em", "n": 20, "near": 0.0, "gap": values})
    near, gap = (summary.curve(table, "n", measure).iloc[0] for measure in ("near", "gap"))
    wilson = binomtest(0, 30).proportion_ci(method="wilson")
    assert (near["centre"], near["low"], near["high"]) == pytest.approx((0.0, wilson.low, wilson.high), abs=1e-12)
    expected = t.interval(0.95, 29, values.mean(), values.std(ddof=1) / np.sqrt(30))
    assert (gap["low"], gap["high"]) == pytest.approx(expected)


def test_choice_of_k_by_hand():
    """BIC / -2 of replicates 0 and 1 is highest at K = 2 and 3; nothing ended on replicate 2, and K = 4 failed throughout."""
    bic = {0: [9.0, 2.0, 8.0], 1: [9.0, 5.0, 4.0], 2: [np.nan] * 3}
    test = {0: [-3.0, -1.0, -0.5], 1: [-3.0, -2.0, -1.0], 2: [np.nan] * 3}
    rows = [
        {
            "method": "em",
            "k": k,
            "replicate": r,
            "bic": bic[r][i],
            "aic": -bic[r][i],
            "test": test[r][i],
            "kl": -test[r][i],
        }
        for r in range(3)
        for i, k in enumerate((1, 2, 3))
    ] + [{"method": "em", "k": 4, "replicate": r} for r in range(3)]
    table = pd.DataFrame(rows).assign(icl=0.0)
    of_bic = summary.chosen(table).query("criterion == 'BIC'").set_index("replicate")
    assert of_bic["k"].dropna().to_dict() == {0: 2, 1: 3}
    assert of_bic["loss"].dropna().to_dict() == {0: 0.5, 1: 0.0}
    assert of_bic["kl"].dropna().to_dict() == {0: 1.0, 1: 1.0}
    found = summary.selection(table, 3.0).set_index("criterion")
    assert list(found.index) == ["AIC", "BIC", "ICL", "test score of EM"]
    row = found.loc["BIC"]
    assert (row["right"], row["none"], row["total"], row["of"]) == (1 / 3, 1, 3, {2: 1, 3: 1})
    z2 = 1.959964**2  # Wilson's interval for 1 of 3
    middle, half = (1 + z2 / 2) / (3 + z2), np.sqrt(z2 * (2 / 9 * 3 + z2 / 4)) / (3 + z2)
    assert (row["low"], row["high"]) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert row["loss"] == 0.25
    assert found.loc["test score of EM", "of"] == {3: 2}
    assert found.loc["test score of EM", "loss"] == 0
    assert summary.selection(table, np.nan)["right"].isna().all()
    assert summary.selection(table, 5.0)["right"].isna().all()


def test_bounds_of_cavi_choose_k_with_and_without_the_labellings():
    bounds = {1: -10.0, 2: -10.5, 3: -11.5}  # log 2 = 0.69 puts K = 2 ahead, log 6 = 1.79 puts K = 3 at -9.71
    table = pd.DataFrame(
        {"method": "cavi", "k": [1, 2, 3], "replicate": 0, "bound": [*bounds.values()], "test": 0.0, "kl": np.nan}
    )
    k = summary.chosen(table).set_index("criterion")["k"]
    assert (k["ELBO"], k["ELBO + log K!"]) == (1, 3)


def test_criteria_of_a_cell_are_those_of_its_fit():
    one = replicate(THREE, 30, 200, 0, 0)
    (fitted,) = fit(cell("em", n=30, alpha=None), [one])
    (row,) = measure(cell("em", n=30, alpha=None), [0])
    p = 3 * (2 + 3) + 2
    assert row["aic"] == pytest.approx(-2 * fitted.bound[-1] + 2 * p)
    assert row["bic"] - row["aic"] == pytest.approx(p * (np.log(30) - 2))
    entropy = -(fitted.responsibilities(one.x) * np.log(fitted.responsibilities(one.x).clip(1e-300))).sum()
    assert row["icl"] - row["bic"] == pytest.approx(2 * entropy, abs=1e-6)


def test_slices_hold_the_methods_that_a_setting_does_not_concern():
    grid = parse(TINY.replace("[[block]]", "[[block]]\nalpha = [0.1, 1.0]"), "tiny", replicates=2)
    table = pd.DataFrame([row for one in grid.cells for row in measure(one, range(2))])
    parts = summary.slices(table, "n")
    assert len(parts) == 4
    for part in parts:
        assert set(part.table["method"]) == {"em", "cavi", "cavi-plugin", "single", "oracle"}
        assert len(part.table) == 5 * 2 * 2
    for part in summary.slices(table, "alpha"):
        assert part.table.loc[part.table["method"] == "em", "alpha"].isna().all()
        assert set(part.table["k"].dropna()) == {part.settings["k"]}


# runs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return run(parse(TINY, "tiny"), tmp_path_factory.mktemp("tiny"))


def test_every_cell_is_there_once(tiny):
    methods = {"em": 1, "cavi": 2, "single": 1, "oracle": 1}
    expected = sum(3 * methods[one.method] for one in tiny.grid.cells)
    assert len(tiny.table) == expected
    assert not tiny.table.duplicated(["cell", "replicate", "method"]).any()
    assert list(tiny.table.columns) == list(COLUMNS)


def test_workers_change_no_digit(tiny, tmp_path):
    same(run(tiny.grid, tmp_path, workers=2).table, tiny.table)


def test_saved_fits_are_loaded_with_their_grid(tmp_path):
    """Of a seed that the grid's text does not name."""
    grid = parse(TINY.replace("[12, 30]", "[12]"), "tiny", replicates=2, seed=5)
    with pytest.raises(ResultsError, match="cannot be read"):
        load(tmp_path)
    measured = run(grid, tmp_path)
    loaded = load(tmp_path)
    assert loaded.grid == grid
    pd.testing.assert_frame_equal(loaded.table, measured.table)


def test_a_changed_grid_measures_only_what_is_new(tiny, tmp_path):
    run(tiny.grid, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    changed = parse(TINY.replace("[12, 30]", "[12, 16]"), "tiny", replicates=4)
    told = []
    larger = run(changed, tmp_path, tell=lambda *numbers: told.append(numbers))
    shared = set(changed.cells) & set(tiny.grid.cells)
    assert len(shared) == len(changed.cells) / 2
    assert told[0] == (3 * len(shared), 4 * len(changed.cells))
    assert told[-1][0] == told[-1][1]
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}.items()
    ids = [one.id for one in shared]
    old = larger.table[larger.table["cell"].isin(ids) & (larger.table["replicate"] < 3)]
    same(old.reset_index(drop=True), tiny.table[tiny.table["cell"].isin(ids)].reset_index(drop=True))
    same(run(tiny.grid, tmp_path).table, tiny.table)


def test_replicates_depend_on_their_neighbours_by_rounding_alone(tiny, tmp_path):
    """Runs side by side share matrix products; a fit stops where a pass gains less than 1e-9 nats a point."""
    run(parse(TINY, "tiny", replicates=2), tmp_path)
    apart = run(tiny.grid, tmp_path).table
    assert apart["failure"].equals(tiny.table["failure"])
    numbers = ["test", "train", "kl", "bound", "occupied"]
    np.testing.assert_allclose(apart[numbers], tiny.table[numbers], rtol=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_and_run_again_loses_nothing_and_does_nothing_twice(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(TINY.replace("replicates = 3", "replicates = 2").replace("[12, 30]", "[12, 20, 30, 60]"))
    out = tmp_path / "out"
    arguments = [
        sys.executable,
        "-m",
        "reports.commands.app",
        "overfit",
        str(path),
        "--workers",
        "1",
        "--no-report",
        "-o",
        str(out),
    ]
    process = subprocess.Popen(
        arguments, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(list(out.glob("cells/*.parquet"))) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    grid = parse(path.read_text(), "grid")
    kept = {p: p.stat().st_mtime_ns for p in out.glob("cells/*.parquet")}
    assert 3 <= len(kept) < len(grid.cells)
    told = []
    study = run(grid, out, tell=lambda *numbers: told.append(numbers))
    assert told[0][0] == 2 * len(kept)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in out.glob("cells/*.parquet")}.items()
    assert set(study.table["cell"]) == {one.id for one in grid.cells}
    assert not list(out.glob("cells/.*"))


def test_one_fit_again_is_that_of_the_grid(tiny):
    row = tiny.table[(tiny.table["method"] == "em") & tiny.table["test"].notna()].iloc[1]
    (once_more,) = again(tiny.grid, f"{row['cell'][:6]}:{row['replicate']}")
    assert once_more["test"] == row["test"]
    with pytest.raises(ValueError, match="no replicate '3'; expected 0 to 2"):
        again(tiny.grid, f"{row['cell']}:3")


def test_presets_are_grids():
    grids = {name: parse(preset(name), name) for name in PRESETS}
    assert {one.method for one in grids["small-data"].cells} == {"em", "map", "cavi", "gibbs", "single", "oracle"}
    assert {one.truth.k for one in grids["small-data"].cells} == {1, 3}
    for name in ("quick", "small-data"):
        swept = {(one.n, one.k) for one in grids[name].cells if one.method == "em" and one.truth.k == 3}
        assert {(n, k) for n in (50, 200) for k in range(1, 7)} <= swept
    assert (
        min(one.alpha for one in grids["prior"].cells if one.alpha)
        < 2.5
        < max(one.alpha for one in grids["prior"].cells if one.alpha)
    )
    assert {one.truth.name for one in grids["misspecified"].cells} == {
        "gaussian", "heavy tails", "skew", "faithful", "iris", "penguins",
    }  # fmt: skip


def test_cells_keep_what_is_whole(tmp_path):
    cells = Cells(tmp_path / "cells", {"name": "string", "x": "float64"})
    assert cells.read().empty
    cells.append("a", [{"name": "one", "x": 1.0}, {"name": "two"}])
    (tmp_path / "cells" / ".mixtures-0123456789abcdef").write_bytes(b"half a file")
    assert cells.read()["x"].isna().tolist() == [False, True]
    with pytest.raises(KeyError, match="typo"):
        cells.append("c", [{"typo": 1}])
    (tmp_path / "cells" / "d.parquet").write_bytes(b"half a file")
    with pytest.raises(CellsError, match=r"d\.parquet is damaged"):
        cells.read()


def test_missing_is_what_is_left():
    grid = parse(TINY, "tiny")
    first = grid.cells[0]
    left = missing(grid, {(first.id, 0), (first.id, 2)})
    assert left[0] == (first, (1,))
    assert len(left) == len(grid.cells)


# the page and the command


def test_page_has_its_sections_and_no_address(tiny, tmp_path):
    from reports.page.overfit import render

    html = render(tiny, "out")
    page = Page(html)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"\[\[[^\]]*\|", html)
    for id in (
        "claim",
        "design",
        "measures",
        "found",
        "score",
        "gap",
        "k",
        "selection",
        "collapse",
        "coverage",
        "clusters",
        "failures",
    ):
        assert f'<section id="{id}"' in html, id
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert not re.search(
        r"\bnan\b", re.sub(r"<script>.*</script>|base64,[^\"]*", "", html, flags=re.DOTALL), re.IGNORECASE
    )
    own = summary.with_outcomes(tiny.table).query("k == 4 and n == 12 or method in ('oracle', 'single') and n == 12")
    difference = summary.paired(own, "cavi", "em")
    if difference is not None and difference.both > 1:
        from reports.page.numbers import with_error

        assert with_error(difference.mean, difference.half) in html


def test_command_writes_the_folder_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TINY.replace("[12, 30]", "12").replace("[2, 4]", "2"))
    first = command("mine.toml", "--workers", 1)
    assert first.exit_code == 0, first.output
    assert "results/overfit-mine/report.html" in first.stdout
    assert COMPLETE in " ".join(first.stdout.split())
    assert COMPLETE in Path("results/overfit-mine/report.html").read_text()
    assert re.search(
        r"^The test score of CAVI’s posterior predictive is .* the paired difference excludes", first.stdout
    )
    again = command("mine.toml", "--workers", 1, "--no-report")
    assert "are there already" in again.stderr
    table = pd.read_parquet("results/overfit-mine/cells")
    row = table[table["method"] == "single"].iloc[0]
    alone = command("mine.toml", "--cell", f"{row['cell']}:{row['replicate']}")
    assert alone.exit_code == 0, alone.output
    assert f"{row['test']:.6g}" in alone.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no [[block]]"),
        ("[[blok]]\nn = 20", "unknown key 'blok'; did you mean 'block'?"),
        ("[[block]]\nn = 20\ntruth = 3", "truth has 3; expected names"),
        ("[[block]]\nn = 20\nmethods = [['em']]", "methods has ['em']; expected names"),
        ("n = [", "is no TOML"),
        (f"a = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        (f"seed = 1{'0' * 5000}", "is no TOML"),
        (
            f"[[block]]\nn = 20\nalpha = 1{'0' * 400}",
            "alpha is 100000000000000000000000000000; expected a number above 0, at most 1.8e+308",
        ),
        ("[[block]]\nn = 20\nalpha = nan", "alpha is nan; expected a number above 0"),
        ("\ufeff[[block]]\nn = 2.5", "expected a whole number of at least 2"),
        ("[block]\nn = 20", "[[block]]"),
        ("replicate = 3\n[[block]]\nn = 20", "did you mean 'replicates'?"),
        ("[[block]]\nn = 20\nseperation = 2.0", "did you mean 'separation'?"),
        ("[[block]]\nn = 20\nmethods = ['cavy']", "did you mean 'cavi'?"),
        ("[[block]]\nn = 20\ncovariance = 'ful'", "did you mean 'full'?"),
        ("[[block]]\nn = 20\ntruth = 'gausian'", "did you mean 'gaussian'?"),
        ("[[block]]\nmethods = ['em']", "n is missing"),
        ("[[block]]\nn = []", "n is empty"),
        ("[[block]]\nn = 2.5", "expected a whole number of at least 2"),
        ("[[block]]\nn = 2\nfitted_K = 3", "3 clusters cannot be fitted to n = 2 points"),
        ("[[block]]\nn = 20\nalpha = 0.0", "expected a number above 0"),
        ("[[block]]\nn = 20\nalpha = 0.5\nmethods = ['map']", "is empty"),
        ("[[block]]\nn = 20\ntruth = 'iris'", "fitted_K is missing"),
        ("[[block]]\nn = 20\ntruth = 'iris'\nK = 3\nfitted_K = 3", "contradicts itself"),
        ("[[block]]\nn = 20\nmissing = 'model'", "an overfitting study is of complete data"),
        ("[[block]]\nn = 149\ntruth = 'iris'\nfitted_K = 3", "fewer than two of the 150 rows"),
        ("replicates = 1\n[[block]]\nn = 20", "replicates is 1"),
        ("[[block]]\nn = 20\nreg_covar = 1e-6", "reg_covar is of all blocks; write it before the first"),
        ("reg_covar = -1.0\n[[block]]\nn = 20", "reg_covar is -1.0; expected a number of at least 0"),
        ("replicates = true\n[[block]]\nn = 20", "expected a whole number"),
        ("title = ['a']\n[[block]]\nn = 20", "title is ['a']; expected text in quotes"),
        ("claim = 3\n[[block]]\nn = 20", "claim is 3; expected text in quotes"),
        ("[[block]]\nn = 20\ntruth = ''", "no data set or file ''"),
        ("seed = 1\nseed = 2\n[[block]]\nn = 20", "is no TOML: Cannot overwrite a value (at line 2"),
        ("[[block]]\nn = 2020-01-01", "n is datetime.date(2020, 1, 1); expected a whole number"),
        ("[[block]]\nn = 20\nmethods = ['EM']", "did you mean 'em'?"),
        ("Seed = 3\n[[block]]\nn = 20", "did you mean 'seed'?"),
        ('{"block": [{"n": 20}]}', "is no TOML"),
    ],
)
def test_a_bad_grid_is_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text(text, encoding="utf-8")
    result = command("bad.toml")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "quik"], "did you mean 'quick'?"),
        (["--preset", "hhm"], "did you mean 'hmm'?"),
        (["none.toml"], "none.toml"),
        (["mine.toml", "--preset", "quick"], "not both"),
        (["mine.toml", "--replicates", "1"], "replicates is 1"),
        (["mine.toml", "--cell", "xyz"], "no cell 'xyz'"),
        (["mine.toml", "-o", "taken"], "holds something else than an overfitting study"),
        (["mine.toml", "-o", "mine.toml"], "is a file"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TINY)
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("")
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_table_with_gaps_is_refused_with_what_helps_here(tmp_path):
    """What --missing model would do elsewhere is not offered."""
    (tmp_path / "gaps.csv").write_text("a,b\n1,2\n,3\n4,5\n6,7\n")
    with pytest.raises(
        ValueError, match=r"1 missing value in 1 of 4 rows .*complete rows; leave these out of"
    ) as caught:
        parse(f"[[block]]\nn = 2\nfitted_K = 1\ntruth = '{tmp_path / 'gaps.csv'}'", "grid")
    assert "--missing" not in str(caught.value)


def test_a_folder_of_another_version_is_refused(tmp_path):
    (tmp_path / "overfit.json").write_text('{"format": 0, "versions": {"mixtures": "0.0.1"}}')
    with pytest.raises(ResultsError, match="written in format 0"):
        check_folder(tmp_path)
    (tmp_path / "overfit.json").write_text("{}")
    with pytest.raises(ResultsError, match="damaged"):
        check_folder(tmp_path)


def test_a_full_disk_keeps_what_was_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TINY)
    append, written = Cells.append, []

    def full(self, name, rows):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(name)
        append(self, name, rows)

    monkeypatch.setattr(Cells, "append", full)
    result = command("mine.toml", "--workers", 1)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert {p.stem for p in Path("results/overfit-mine/cells").iterdir()} == set(written)


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    pytest.importorskip("dask.distributed")
    monkeypatch.setattr("reports.studies.workers.PATIENCE", 0.2)
    with pytest.raises(ResultsError, match="no Dask scheduler answers at tcp://127"):
        run(parse(TINY, "tiny"), tmp_path, scheduler="tcp://127.0.0.1:9")


def test_workers_that_stop_quietly_are_noticed(tmp_path, monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr("reports.studies.workers._workers", lambda *_: nullcontext(lambda *_: (rows for rows in ())))
    with pytest.raises(ResultsError, match="stopped with 36 of 36 fits left"):
        run(parse(TINY, "tiny"), tmp_path)


def test_choices_without_a_true_k_have_their_loss_alone():
    from reports.plots.overfit import plot_choices

    rows = [{"criterion": name, "method": "em", "right": 0.5, "low": 0.2, "high": 0.8, "loss": 0.1, "loss_half": 0.05}
            for name in ("BIC", "test score of EM")]  # fmt: skip
    found = pd.DataFrame(rows)
    left, right = plot_choices([("known", found)]).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["BIC", "test score of EM"]
    assert len(left.lines) == 2
    assert len(right.lines) == 1
    (alone,) = plot_choices([("unknown", found.assign(right=np.nan))]).axes
    assert [text.get_text() for text in alone.get_yticklabels()] == ["BIC"]
    assert alone.get_xlabel().startswith("loss")


# From Python.


def test_a_study_from_python_shows_and_saves_itself(tmp_path):
    """From a mapping, as the same grid in TOML; from a file in a folder, where it goes on."""
    grid = {"replicates": 2, "test": 50, "restarts": 2, "n": [12, 16], "methods": ["em", "cavi"], "fitted_K": 2}
    found = reports.overfit(grid)
    text = 'replicates = 2\ntest = 50\nrestarts = 2\n[[block]]\nn = [12, 16]\nmethods = ["em", "cavi"]\nfitted_K = 2\n'
    (tmp_path / "mine.toml").write_text(text)
    assert set(found.grid.cells) == set(parse(text, "mine").cells)
    assert repr(found).startswith(
        "<Overfitting study 'Overfitting on few data': 16 densities scored: 2 data sets for each of 8 cells;"
    )
    assert set(found.summary()["other"]) == {"em", "single"}
    assert found.plots[:2] == ["score", "gap"]
    assert found.plot("score").axes
    html = found._repr_html_()
    assert "Bonferroni over the" in html
    assert "<img" not in html
    row = found.table.iloc[0]
    assert found.again(f"{row['cell']}:{row['replicate']}")["train"].iloc[0] == row["train"]
    assert "result.again" in found.to_html(tmp_path / "page.html").read_text()
    saved = found.save(tmp_path / "saved")
    assert {path.name for path in saved.iterdir()} == {"overfit.json", "cells", "report.html"}
    assert f"{saved}/cells" in (saved / "report.html").read_text()
    told = []
    same(
        reports.overfit(tmp_path / "mine.toml", saved, progress=lambda *numbers: told.append(numbers)).table,
        found.table,
    )
    assert told == [(16, 16)]
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        reports.overfit("quik")
    blocks = reports.api.overfit._toml({"n": 20, "block": [{"K": 2}, {"K": 3, "truth": "skew"}]})
    assert {one.truth.name for one in parse(blocks, "grid").cells} == {"gaussian", "skew"}


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("shape", ["gaussian", "heavy tails", "skew"])
def test_a_truth_has_no_density_beyond_all_numbers(shape):
    truth = Mixture(shape, np.array([0.5, 0.5]), np.array([[0.0], [1e200]]), np.ones((2, 1, 1)))
    log_p = truth.log_densities(np.array([[0.0], [1e200]]))
    assert np.isfinite(np.diagonal(log_p)).all()
    assert np.all(log_p[[0, 1], [1, 0]] < -400)
