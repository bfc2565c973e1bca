"""The bootstrap likelihood ratio test: its p-value, its sequence, its replicates, failures, going on, and the page."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, multivariate_normal
from sklearn.mixture import GaussianMixture
from test_page import Page
from typer.testing import CliRunner

import reports
from reports.api.selection import Selection
from reports.commands import stopping
from reports.commands.app import app
from reports.comparison.results import ResultsError
from reports.metrics.criteria import NO_COVARIANCE, Candidate, Setting
from reports.page.selection import View
from reports.page.selection_test import doubts
from reports.studies.selection import bootstrap
from reports.studies.selection.bootstrap import (
    OBSERVED,
    Plan,
    RatioTest,
    check,
    depends,
    judge,
    observed,
    replicates,
    run,
    sequential,
)
from reports.studies.selection.doubts import without_choice

PLAN = Plan(19, 0.05, 2)
ONE, TWO = Candidate("full", 1), Candidate("full", 2)


def ratio_test(ratio, ratios, failed=0, plan=PLAN, k=1, missing=None):
    return RatioTest(Candidate("full", k), plan, -100.0, -100.0 + ratio / 2, np.array(ratios, float), failed, missing)


def setting(x, restarts=10, **given):
    return Setting(x, ("blrt",), [], restarts, 1.0, {}, (3, 4), **given)


@pytest.fixture(scope="module")
def two_groups():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, (15, 2)), rng.normal(9, 1, (15, 2))])


# the test itself


def test_replicates_have_the_gaps_of_the_data(two_groups, monkeypatch):
    x, seen = two_groups.copy(), []
    x[[0, 3, 20], [0, 1, 1]] = np.nan

    def likelihoods(setting, candidate, xs, *_):
        seen.extend(xs)
        return [0.0] * len(xs)

    monkeypatch.setattr(bootstrap, "likelihoods", likelihoods)
    replicates(setting(x, 2, missing=True), 1, ONE, [0, 1])
    assert len(seen) == 4
    for drawn in seen:
        np.testing.assert_array_equal(np.isnan(drawn), np.isnan(x))
    assert not np.array_equal(seen[0][1], seen[1][1])


def test_p_value_and_interval_by_hand():
    """8 of 19 are 10 or more: p = 9/20, and SciPy's exact interval for 8 of 19."""
    one, exceeding = ratio_test(10.0, [*range(2, 18), 1.0, 2.0, 3.0]), 8
    assert one.p == (1 + exceeding) / 20
    low, high = binomtest(exceeding, 19).proportion_ci(0.95, "exact")
    assert one.interval == pytest.approx((low, high))
    assert one.ratio == pytest.approx(10.0)
    assert one.se == pytest.approx(np.sqrt(one.p * (1 - one.p) / 19))


def test_more_replicates_are_asked_for_where_they_would_tell():
    near = ratio_test(10.0, [11.0] * 10 + [1.0] * 189, plan=Plan(199))
    assert near.p == 11 / 200
    assert not near.certain
    assert near.needed > 199
    clear = ratio_test(10.0, [1.0] * 199, plan=Plan(199))
    assert (clear.rejects, clear.certain, clear.needed) == (True, True, None)
    same = ratio_test(10.0, [11.0] * 100 + [1.0] * 99, plan=Plan(199))
    assert (same.rejects, same.needed) == (False, None)


def test_failures_are_left_out_and_what_they_could_change_is_said():
    one = ratio_test(10.0, [1.0] * 180, failed=19, plan=Plan(199))
    assert one.p == 1 / 181
    assert one.worst == 20 / 200
    assert one.rejects
    assert not one.certain


def test_the_sequence_stops_at_the_first_that_is_not_rejected():
    rejected, kept = [1.0] * 19, [11.0] * 19
    tests = [
        ratio_test(10.0, kept, k=4),
        ratio_test(10.0, rejected, k=1),
        ratio_test(10.0, kept, k=2),
        ratio_test(10.0, rejected, k=3),
    ]
    assert sequential(tests)[0].candidate.components == 2
    assert sequential(tests[1:2] + tests[3:]) == (None, "every K up to 3 is rejected; raise --components")
    lost = ratio_test(10.0, kept, k=1, missing="a collapse")
    assert sequential([lost, *tests[:1]]) == (None, "K = 1 has no test (a collapse)")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"replicates": 0}, "at least 1"),
        ({"level": 1.5}, "expected a probability between 0 and 1"),
        ({"replicates": 10}, "ask for at least 19"),
        ({"starts": 0}, "at least 1"),
    ],
)
def test_a_plan_that_cannot_test_is_refused(plan, message):
    with pytest.raises(ValueError, match=message):
        Plan(**plan)


# replicates


def test_the_ratio_is_that_of_scikit_learns_likelihoods(two_groups):
    (row,) = replicates(setting(two_groups), 2, ONE, (OBSERVED,))
    theirs = [
        30 * GaussianMixture(k, reg_covar=0, tol=1e-9, max_iter=5000, random_state=0).fit(two_groups).score(two_groups)
        for k in (1, 2)
    ]
    assert (row["fewer"], row["more"]) == pytest.approx(theirs, abs=1e-4)


def test_a_replicate_is_drawn_from_the_fit_and_depends_on_nothing_else(two_groups):
    """Many of its points have the fit's moments; the likelihood of one cluster is that of its own mean and covariance."""
    own = setting(two_groups)
    rows = replicates(own, 2, ONE, (0, 1, 2))
    alone = replicates(own, 2, ONE, (1,))
    assert alone[0]["fewer"] == pytest.approx(rows[1]["fewer"], abs=1e-6)
    assert alone[0]["more"] == pytest.approx(rows[1]["more"], abs=1e-4)
    assert len({row["fewer"] for row in rows}) == 3
    S = np.cov(two_groups.T, bias=True)
    drawn = [row["fewer"] for row in replicates(own, 1, ONE, range(25)) if "fewer" in row]
    assert np.mean(drawn) == pytest.approx(-30 * multivariate_normal(np.zeros(2), S).entropy(), abs=6)


def discrete(x, kind, restarts=10):
    return setting(x, restarts, kinds=(kind,) * x.shape[1], n_levels=(3,) * x.shape[1])


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "poisson"])
def test_every_family_is_ratio_test(kind, rng):
    """Two classes far apart: one is rejected."""
    centre = {"bernoulli": 1, "categorical": 2, "poisson": 20}[kind]
    x = np.repeat([[0.0] * 4, [float(centre)] * 4], 15, axis=0)
    x[rng.random(x.shape) < 0.1] = 1
    own, first = discrete(x, kind), Candidate(NO_COVARIANCE, 1)
    table = pd.DataFrame(replicates(own, 2, first, (OBSERVED,)) + replicates(own, 2, first, range(19)))
    one = judge(first, PLAN, table.reindex(columns=list({*table.columns, "failure"})))
    assert one.p == 0.05
    assert one.ratio > 20 > np.median(one.ratios)
    assert observed(own, first).family.name == kind


def test_replicates_that_cannot_be_fitted_are_counted(rng):
    """Counts that are mostly zero: a replicate in which a column is all zero has no default prior, and its neighbours stay."""
    x = np.zeros((12, 2))
    x[0] = 1
    own, first = discrete(x, "poisson", 2), Candidate(NO_COVARIANCE, 1)
    rows = replicates(own, 1, first, range(19))
    failed = [row for row in rows if "failure" in row]
    assert 0 < len(failed) < 19
    assert all("0 in all rows" in row["failure"] and "fewer" not in row for row in failed)
    table = pd.DataFrame(rows + replicates(own, 1, first, (OBSERVED,)))
    assert judge(first, PLAN, table).failed == len(failed)


# the selection


def select(x, components=(1, 2), **settings):
    given = {"rng": 0, "criteria": ["bic", "blrt"], "restarts": 10, "replicates": 19} | settings
    return reports.select(x, components, **given)


@pytest.fixture(scope="module")
def two(two_groups):
    return select(two_groups)


def test_two_groups_are_chosen_and_the_page_says_so(two, tmp_path):
    assert two.choice("blrt").best == TWO
    assert np.isnan(two.choice("blrt").margin)
    first = two.tests[0]
    assert (first.candidate, first.p) == (ONE, 0.05)
    table = two.table[two.table["criterion"] == "blrt"].set_index("components")
    assert table.loc[1, "value"] == 0.05
    assert table.loc[1, "se"] == pytest.approx(np.sqrt(0.05 * 0.95 / 19))
    assert table["difference"].isna().all()
    described = two.manifest["bootstrap"]
    assert (described["replicates"], described["starts"], described["level"]) == (19, 2, 0.05)
    assert described["tests"][0]["p"] == 0.05
    assert two.summary().loc["blrt", "components"] == 2
    html = two.to_html(tmp_path / "page.html").read_text()
    assert '<section id="blrt"' in html
    assert "19 data sets of as many points were drawn from" in html
    assert re.search(r"K = 2 is chosen, the smallest that is not rejected: K = 1 rejected", html)
    assert "from 2 starts (to the data from 10)" in html
    page = Page(html)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert "replicates would tell" in html  # one of 19 decides nothing
    assert any("Monte Carlo error alone" in text for text in two.warnings)


def test_tests_of_one_answer_share_a_sentence(two):
    first = two.tests[0]
    alike = replace(two, tests=(first, replace(first, candidate=TWO)))
    (said,) = [text for text in without_choice(alike) if "Monte Carlo error alone" in text]
    assert said.startswith(
        "BLRT: K = 1 and 2 are rejected within Monte Carlo error alone (p = 0.05, 95% interval 0 to 0.18)"
    )
    (said,) = [text for text in doubts(View(alike)) if "would tell" in text]
    assert said.startswith("1 against 2 and 2 against 3: the answer is within Monte Carlo error")


def test_neither_workers_nor_other_criteria_nor_other_candidates_change_a_test(two, two_groups):
    alone = select(two_groups, [1], criteria=["blrt"], workers=2)
    np.testing.assert_array_equal(alone.tests[0].ratios, two.tests[0].ratios)
    assert "no choice, as every K up to 1 is rejected; raise --components" in " ".join(alone.warnings)
    assert alone.choice("blrt") is None


def test_tests_are_left_out_unless_asked_for(two_groups):
    found = reports.select(two_groups, [1], rng=0, restarts=2, folds=2)
    assert "blrt" not in found.manifest["criteria"]
    assert found.tests == []
    assert found.manifest["bootstrap"] is None


def test_it_goes_on_where_it_was_and_refuses_another_setting(two, two_groups, tmp_path):
    own = setting(two_groups)
    run(own, PLAN, [ONE], tmp_path / "a", depends(own, PLAN))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a" / "cells").iterdir()}
    told = []
    larger = Plan(30, 0.05, 2)
    (more,) = run(own, larger, [ONE], tmp_path / "a", depends(own, larger), tell=lambda *n: told.append(n))
    assert told[0] == (1, 3)
    assert before.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / "a" / "cells").iterdir()}.items()
    (whole,) = run(own, larger, [ONE], tmp_path / "b", depends(own, larger))
    np.testing.assert_allclose(more.ratios, whole.ratios, atol=1e-4)
    other = replace(own, restarts=20)
    with pytest.raises(ResultsError, match="holds a bootstrap test with restarts = 10, not 20"):
        check(tmp_path / "a", depends(other, PLAN))
    assert check(tmp_path / "a", depends(own, larger))


def test_a_candidate_that_has_no_fit_has_no_test(two_groups):
    found = select(two_groups[:4], [1, 3], criteria=["blrt"], restarts=4)
    assert found.tests[1].missing
    table = found.table.set_index("components")
    assert np.isnan(table.loc[3, "value"])
    assert table.loc[3, "missing"] == found.tests[1].missing


def test_command_keeps_replicates_and_goes_on(two_groups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(two_groups + 0.5, columns=["a", "b"]).to_csv("mine.csv", index=False)
    arguments = [
        "select",
        "mine.csv",
        "-k",
        "1:2",
        "--criteria",
        "blrt",
        "--restarts",
        "10",
        "--workers",
        "1",
        "--no-report",
    ]
    runner = CliRunner()
    first = runner.invoke(app, [*arguments, "--replicates", "19"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert first.exit_code == 0, first.output
    folder = tmp_path / "results" / "mine-select-blrt"
    assert {path.name for path in folder.iterdir()} >= {"blrt.json", "cells", "manifest.json", "selection.csv"}
    kept = {p: p.stat().st_mtime_ns for p in (folder / "cells").iterdir()}
    again = runner.invoke(app, [*arguments, "--replicates", "29"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert again.exit_code == 0, again.output
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in (folder / "cells").iterdir()}.items()
    other = runner.invoke(app, [*arguments, "--seed", "1"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert other.exit_code == 2
    assert "holds a bootstrap test with seed =" in other.stderr


@pytest.mark.robustness("files")
def test_a_selection_that_a_signal_ends_while_it_is_written_says_what_is_kept(tmp_path, monkeypatch):
    """Of the files beside kept replicates the manifest is the last, so that where it stands the result is whole."""
    np.savetxt(tmp_path / "d.csv", np.r_[np.arange(8), 20 + np.arange(8)], header="a", comments="")
    monkeypatch.chdir(tmp_path)
    seen = []

    def draw(self, path):
        seen.append((stopping._state.outcome(), sorted(path.name for path in (tmp_path / "o").glob("*.*"))))

    monkeypatch.setattr(Selection, "to_html", draw)
    arguments = ["select", "d.csv", "-k", "1:2", "--criteria", "blrt", "--replicates", "19", "--restarts", "2"]
    result = CliRunner().invoke(app, [*arguments, "--workers", "1", "-o", "o"])
    assert result.exit_code == 0, result.output
    ((said, files),) = seen
    assert said.endswith("parts are kept in o: give the same command to go on")
    assert "manifest.json" not in files
    assert stopping._state.outcome() == "the results are in o"
