"""Calibration of the verdict: planted defects have their stated size, and a wrong judge is found out."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from arviz_stats.base import array_stats
from scipy import stats
from typer.testing import CliRunner

from mixtures import Dirichlet, Gaussian, Markov
from mixtures.labels import align, sort_by_mean
from mixtures.methods import exact, gibbs
from reports.commands.app import app
from reports.comparison import measure
from reports.comparison.results import ResultsError
from reports.comparison.verdict import LIMITS
from reports.metrics import agreement
from reports.page.verdicts import View, answer, lines, markdown, render
from reports.studies.intervals import wilson
from reports.studies.verdicts import defects, rates, study
from reports.studies.verdicts.cases import DEFECTS, RIGHT, cases
from reports.studies.verdicts.judged import Side, verdict
from reports.studies.verdicts.problems import PROBLEMS
from reports.studies.verdicts.study import Settings, Verdicts, missing, run

QUICK = Settings(draws=400, chains=2, problems=("separated",))
OUTCOME = [name for name in study.COLUMNS if name != "seconds"]


def command(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


def table(rows):
    return pd.DataFrame(rows).reindex(columns=list(study.COLUMNS))


@pytest.fixture(scope="module")
def drawn():
    """An exact posterior of six points in two clusters and 2 x 1000 draws of it in one labelling."""
    rng = np.random.default_rng(3)
    x = np.array([[0.0, 0], [1, 2], [2, 1], [9, 8], [10, 10], [8, 9]])
    posterior = exact.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2))
    draws = posterior.as_draws(2, 1000, rng)
    r = sort_by_mean(measure.best_draw(draws, x), x)
    return posterior, align(draws, r, x).fit, x


# Planted defects.


@pytest.mark.parametrize(
    ("spoil", "size", "metric", "kept"),
    [(defects.narrowed, 0.6, "width_ratio", 1.0), (defects.shifted, 0.7, "median_shift", 0.0)],
    ids=["narrowed", "shifted"],
)
def test_one_parameter_a_block_is_spoiled_by_the_size_stated(spoil, size, metric, kept, drawn, rng):
    """Against the draws that it was made from there is no Monte Carlo error: the size to rounding, the others untouched."""
    _, fit, x = drawn
    sides = [Side(one, x, 0) for one in (spoil(fit, size, rng), fit)]
    rows = [r for r in agreement.marginal_agreement("m", *(s.marginals for s in sides)) if r.metric == metric]
    found = {row.target: abs(row.value) for row in rows if "[" in row.target}
    changed = {target: value for target, value in found.items() if abs(value - kept) > 1e-6}
    assert sorted(target.partition("[")[0] for target in changed) == ["means", "variances", "weights"]
    assert list(changed.values()) == pytest.approx([size] * 3, rel=1e-6)
    np.testing.assert_allclose(sides[0].fit.held.weights.sum(-1), 1, rtol=1e-12)
    assert np.linalg.eigvalsh(sides[0].fit.held.theta["covariances"]).min() > 0


def test_replaced_draws_put_co_clustering_and_density_off_by_the_size_stated(drawn, rng):
    """To four standard errors of the share of 2000 draws that is replaced, and what the draws themselves are off."""
    posterior, fit, x = drawn
    truth = Side(fit, x, 0, posterior)
    for spoiled, size, claim in (
        (defects.merged(fit, 0.2, posterior.info["coclustering"], rng), 0.2, "clusters"),
        (defects.displaced(fit, 0.3, rng), 0.3, "density"),
    ):
        (check,) = verdict(Side(spoiled, x, 0), truth, (claim,))[claim]["checks"]
        assert check["value"] == pytest.approx(size, abs=4 * np.sqrt(0.25 / 2000) + 0.02)
    with pytest.raises(ValueError, match="coinciding clusters make at most"):
        defects.merged(fit, 0.9, posterior.info["coclustering"], rng)


def test_lazy_chains_have_the_distribution_of_the_draws_and_the_effective_size_stated(drawn, rng):
    posterior, *_ = drawn
    fit = posterior.as_draws(4, 3000, rng)
    chains = defects.lazy(fit, 0.5, rng)
    w, held = chains.held.weights.max(-1), fit.held.weights.max(-1)
    assert chains.kind == "mcmc"
    assert np.mean(w[:, 1:] == w[:, :-1]) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 12_000))
    assert float(array_stats.ess(w)) == pytest.approx(12_000 / 3, rel=0.25)
    assert stats.ks_2samp(w.ravel()[::10], held.ravel()[5::10]).pvalue > 1e-3
    at = np.argwhere(w[0] == w[0, 40])[0, 0]  # a draw is taken whole
    place = np.argwhere(held[0] == w[0, 40])[0, 0]
    np.testing.assert_array_equal(chains.held.theta["means"][0, at], fit.held.theta["means"][0, place])


def test_defects_of_a_chain_are_refused_in_a_sentence(rng):
    x = np.array([[0.0], [1.0], [5.0], [6.0]])
    fit = exact.fit(x, Gaussian.from_data(x, 2), Markov.symmetric(2)).as_draws(2, 10, rng)
    assert defects.lazy(fit, 0.5, rng).held.weights.shape == (2, 10, 2, 3)
    for plant in (lambda: defects.narrowed(fit, 0.5, rng), lambda: defects.merged(fit, 0.1, np.eye(4), rng)):
        with pytest.raises(ValueError, match="a hidden Markov model has transitions instead"):
            plant()


def test_defects_lie_inside_at_or_outside_the_limits_by_size_and_true_coverage():
    for defect in DEFECTS.values():
        assert [defect.place(size) for size in defect.sizes] == ["inside", "at", *["outside"] * (len(defect.sizes) - 2)]
    width, least = DEFECTS["width"], LIMITS["coverage95"].low
    assert width.limit == LIMITS["width_ratio"].low
    assert [width.place(0.9, least + off) for off in (0.05, 0.0, -0.05)] == ["inside", "at", "outside"]
    assert [width.place(0.8, least + off) for off in (0.05, -0.05)] == ["at", "outside"]
    assert width.place(0.7, 0.94) == "outside"
    assert rates.KNOWN[1] in DEFECTS[rates.KNOWN[0]].sizes


# The study.


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two data sets of one problem, with fewer draws; the second was added to the first."""
    folder = tmp_path_factory.mktemp("verdicts") / "o"
    first = run(QUICK, folder, seeds=1)
    written = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*.parquet")}
    both = run(QUICK, folder, seeds=2, command="mixtures calibrate --verdicts")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    pd.testing.assert_frame_equal(both.table[both.table["seed"] == 0][OUTCOME], first.table[OUTCOME])
    return folder, both


def test_saved_cells_are_loaded_as_they_were_judged(small):
    folder, result = small
    loaded = study.load(folder)
    assert (loaded.settings, loaded.seeds) == (result.settings, 2)
    pd.testing.assert_frame_equal(loaded.table, result.table)


def test_every_case_has_a_cell_for_each_of_its_claims(small):
    _, result = small
    for seed, count in result.table.groupby("seed").size().items():
        assert count == sum(len(DEFECTS[case.method].claims) if case.size else 5 for case in cases(seed))
    assert result.table["failure"].isna().all()
    assert set(result.table["state"]) <= {"agrees", "differs", "cannot tell"}
    decided = result.table.dropna(subset=["quantity"])
    assert len(decided) > 0.9 * len(result.table)
    assert np.isfinite(decided["value"]).all()


def test_the_true_coverage_of_a_spoiled_interval_is_told_by_block(small):
    """It falls with the width, and where nothing is spoiled in a parameter there is none."""
    table = small[1].table
    width = table[table["method"] == "width"].pivot_table(index="size", columns="claim", values="coverage")
    assert list(width.columns) == ["locations", "spreads", "weights"]
    assert (width.diff().dropna() > 0).all(axis=None)
    assert width.loc[0.9].between(0.8, 0.95).all()
    assert table[~table["method"].isin(["width", "shift"])]["coverage"].isna().all()


def test_right_methods_do_not_differ_and_narrow_ones_do(small):
    _, result = small
    assert not (rates.right(result.table)["state"] == "differs").any()
    assert (rates.chosen(result.table, *rates.KNOWN)["state"] == "differs").all()


def test_a_lost_data_set_is_measured_again_alone_and_comes_out_the_same(small):
    folder, result = small
    lost = folder / "cells" / "separated-000001.parquet"  # without the Gibbs sampler, the quicker one
    lost.unlink()
    lost.with_name(".mixtures-0123456789abcdef").write_bytes(b"half")
    told = []
    again = run(QUICK, folder, seeds=2, tell=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    pd.testing.assert_frame_equal(again.table[OUTCOME], result.table[OUTCOME])
    assert missing(QUICK, 2, {("separated", 0), ("separated", 1)}) == []


def test_folders_of_other_settings_are_refused(small):
    folder, _ = small
    with pytest.raises(ResultsError, match="seed = 0, not 1"):
        run(replace(QUICK, seed=1), folder, seeds=2)
    with pytest.raises(ValueError, match="expected at least 1"):
        run(QUICK, folder, seeds=0)


WRONG = {
    "strict": {"median_shift": {"low": 0.3}},
    "lax": {"width_ratio": {"low": 0.1, "high": 10.0}, "coverage95": {"low": 0.1}},
}


@pytest.mark.parametrize("judge", WRONG)
def test_a_wrong_judge_is_found_out(judge, monkeypatch):
    """With a limit beyond the truth it has false alarms; with limits far off it has no power, and comforts falsely."""
    chosen = {"strict": ["exact"], "lax": ["width"]}[judge]
    monkeypatch.setattr(study, "cases", lambda seed=0: [case for case in cases() if case.method in chosen])
    with monkeypatch.context() as patch:
        for name, moved in WRONG[judge].items():
            patch.setitem(LIMITS, name, LIMITS[name]._replace(**moved))
        judged = table([row for seed in range(2) for row in study.judged(QUICK, "separated", seed)])
    found = {demand.name: demand.state for demand in rates.demands(judged)}
    if judge == "strict":
        assert found["false alarms"] == "fails"
    else:
        assert found["power"] == found["false comfort"] == "fails"


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_what_they_say(problem, rng):
    one = PROBLEMS[problem]
    x, family, allocation = one.pose(rng)
    assert x.shape == (one.n, one.dimension)
    assert allocation.n_components == one.n_components
    assert exact.cost(one.n, family, allocation).seconds < 5
    info = exact.fit(x, family, allocation).info
    if problem == "almost-empty":
        assert info["occupied"][0] > 0.5
    if problem == "near-collapse":
        assert info["coclustering"][8:, 8:].min() > 0.99


# Rates.


def cells(states, *, seeds=100, method="exact"):
    """As many cells of each state for every seed as are stated."""
    rows = [{"state": state, "seed": seed} for seed in range(seeds) for state in states]
    return table([row | {"problem": "faithful", "method": method, "claim": "weights"} for row in rows])


def test_rates_are_shares_of_cells_with_the_interval_of_independent_data_sets():
    """All cells of a seed alike: Wilson's interval is that of the seeds, not of the cells; failed cells are left out."""
    both = pd.concat([cells(["agrees"] * 5, seeds=90), cells(["differs"] * 5, seeds=10).assign(problem="separated")])
    found = rates.rate(both, "differs")
    assert (found.share, found.hits, found.cells) == (0.1, 50, 500)
    assert (found.low, found.high) == pytest.approx(wilson(0.1, 100**2 / 101), rel=1e-9)
    failed = pd.concat([both, cells([None], seeds=3).assign(failure="ValueError: no")])
    assert rates.rate(failed, "differs") == found
    assert rates.rate(failed, "differs")[3:] == (50, 500)
    assert np.isnan(rates.rate(both[:0], "agrees").share)


@pytest.mark.parametrize(
    ("seeds", "said", "state"), [(1000, "agrees", "holds"), (3, "agrees", "cannot tell"), (3, "differs", "fails")]
)
def test_a_demand_holds_or_fails_where_its_whole_interval_does(seeds, said, state):
    alarms, _, _, power = rates.demands(pd.concat([cells([said], seeds=seeds)]))
    assert alarms.state == state
    assert power.state == "cannot tell"  # no cell


# The page and the command.


def test_the_page_has_every_number_and_asks_for_nothing_outside(small):
    _, result = small
    html = render(result)
    right = rates.right(result.table)
    agrees = (right["state"] == "agrees").mean()
    assert f"{len(right)} claims about methods that are right, 0 are said to differ" in answer(View(result))
    assert f"{100 * agrees:.3g}".rstrip("0").rstrip(".") in answer(View(result))
    assert all(method in html for method in RIGHT)
    assert html.count("<img") == 1
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r'src="[^"]*"', "", html))
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {address.split(":")[0] if ":" in address else address[0] for address in addresses} == {"data", "#"}
    assert len(lines(result)) == 4
    first, second = markdown(result).strip().split("\n\n")
    assert len(first.splitlines()) == 2 + 4
    assert [len(line.split("|")) for line in second.splitlines()] == [7] * 3
    assert "| three clusters apart |" in second


def test_failed_fits_are_counted_and_shown(small, monkeypatch):
    _, result = small

    def broken(*_, **__):
        raise ArithmeticError("no <b>number</b>")

    monkeypatch.setattr(gibbs, "fit", broken)
    monkeypatch.setattr(study, "cases", lambda seed=0: [case for case in cases() if case.method == "gibbs"])
    failed = table(study.judged(QUICK, "separated", 0))
    assert set(failed["failure"]) == {"ArithmeticError: no <b>number</b>"}
    assert len(failed) == 5
    html = render(Verdicts(QUICK, 2, pd.concat([result.table, failed.assign(seed=2)]), result.manifest))
    assert "What failed" in html
    assert "no &lt;b&gt;number" in html


def test_the_command_writes_the_page_and_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "Settings", lambda seed: replace(QUICK, seed=seed))
    monkeypatch.setattr(study, "cases", lambda seed=0: [case for case in cases() if case.method in ("exact", "width")])
    monkeypatch.setattr(measure, "DENSITY_POINTS", 100)
    result = command("calibrate", "--verdicts", "--simulations", "1", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "False alarms: a method that is right is said to differ in 0%" in result.stdout
    folder = tmp_path / "results" / "calibration-verdicts"
    assert (folder / "report.html").is_file()
    assert (folder / "verdicts.md").read_text().startswith("| rate |")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "3"], "--components does not go with --verdicts"),
        (["--methods", "cavi"], "--methods does not go with --verdicts"),
        (["--simulations", "0"], "expected at least 1"),
        (["--seed", "-1"], "seed is -1"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_with_verdicts_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command("calibrate", "--verdicts", *arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
