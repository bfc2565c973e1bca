"""EM for hidden Markov models beside other packages: the same start and the same work, or no ratio."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixtures.engines import sequences
from mixtures.engines.responsibilities import fold
from reports.bench import chains, hmm
from reports.bench.chains import Chain, pose
from reports.bench.hmm import Settings
from reports.bench.tables import sequences_beside
from reports.commands.app import app

TINY = (
    Chain("full", 120, 2, 2),
    Chain("full", 120, 1, 2, 4),
    Chain("categorical", 120, 1, 2, 1, 3),
    Chain("poisson", 120, 1, 2),
)
SMALL = Settings(TINY[:1], Chain("full", 40, 1, 2), 2, Chain("full", 400, 2, 2), (), repeats=1)


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(hmm, "SAMPLE", 1e-4)


@pytest.fixture
def absent(tmp_path, monkeypatch):
    """A Python without the packages, whether this one has them or not."""
    for name in ("hmmlearn", "dynamax"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def em(problem, start, times, engine):
    """EM by the pass of an engine."""
    family, allocation = problem.family, problem.allocation
    pass_ = sequences.one_pass(family, problem.rows, None, engine)
    named = {name: np.array(value) for name, value in start.items()}
    for _ in range(times):
        theta = family.from_data_units({name: named[name] for name in family.parameters})
        eta = fold(allocation.natural(allocation.weights_of(named)), family.natural(theta))
        named = problem.parameters(pass_(eta)[1])
    return named


def other(problems, off=0.0, whole=200):
    """A side that does EM in 1 ms an iteration, by the readable pass if they are few, and then moves the points' parameters."""

    @contextmanager
    def opened(task, python):
        single = task["kind"] == "iterations"

        @cache
        def ends(times):
            each = zip(problems, task["starts"], strict=True)
            found = [em(problem, start, times, "plain" if single else "auto") for problem, start in each]
            name = problems[0].family.parameters[0]
            for end in found:
                towards = 1 / end[name].shape[-1] if name == "probabilities" else 1 + end[name]
                end[name] = (1 - off) * end[name] + off * towards
            return found

        def side(times, threads):
            return 1e-3 * times, ends(times)[0] if single else ends(whole)

        yield side, "by hand"

    return opened


def without(task, python):
    """A side whose package is not there."""
    return contextmanager(lambda: iter([(None, "not here")]))()


def printed(table):
    console = Console(width=160)
    with console.capture() as captured:
        for part in sequences_beside(table):
            console.print(part)
    return captured.get()


@pytest.mark.parametrize("off", [0.0, 0.6])
@pytest.mark.parametrize("chain", TINY, ids=str)
def test_a_ratio_needs_the_same_log_likelihood(chain, off, monkeypatch):
    problem = pose(chain)
    monkeypatch.setattr(hmm, "_opened", other([problem], off))
    table = pd.DataFrame(hmm._iterations(problem, SMALL)).set_index("who")
    theirs = table.drop(index="ours")
    assert theirs.index.tolist() == ["hmmlearn", "dynamax"]
    if off:
        assert theirs["ratio"].isna().all()
        assert (theirs["note"] == "by hand; another log likelihood after as many iterations").all()
    else:
        np.testing.assert_allclose(theirs["log_likelihood"], table.loc["ours", "log_likelihood"], rtol=1e-10)
        np.testing.assert_allclose(theirs["ratio"], 1 / table.loc["ours", "ms"], rtol=1e-9)
        assert (theirs["note"] == "by hand").all()


@pytest.mark.parametrize("off", [0.0, 0.6])
def test_whole_fits_are_compared_at_their_ends(off, monkeypatch):
    problems = [pose(SMALL.small, seed) for seed in range(2)]
    monkeypatch.setattr(hmm, "_opened", other(problems, off))
    table = pd.DataFrame(hmm._fits(SMALL)).set_index("who")
    assert table.index.tolist() == ["ours", "hmmlearn"]
    assert table.loc["hmmlearn", "ms"] == pytest.approx(0.5)
    if off:
        assert np.isnan(table.loc["hmmlearn", "ratio"])
        assert table.loc["hmmlearn", "note"].endswith("mean log likelihood of the 2 of 2 series that all sides fitted")
    else:
        np.testing.assert_allclose(table["log_likelihood"], table.loc["ours", "log_likelihood"], atol=1e-3)
        assert table.loc["hmmlearn", "ratio"] == pytest.approx(0.5 / table.loc["ours", "ms"])


def test_a_lost_state_is_left_out_of_the_comparison(monkeypatch):
    problems, whole = [pose(SMALL.small, seed) for seed in range(2)], hmm.whole
    monkeypatch.setattr(hmm, "_opened", other(problems))
    monkeypatch.setattr(hmm, "pose", lambda chain, seed: problems[seed])
    monkeypatch.setattr(hmm, "whole", lambda problem, start: whole(problem, start) if problem is problems[0] else None)
    table = pd.DataFrame(hmm._fits(SMALL)).set_index("who")
    assert table["log_likelihood"].notna().all()
    assert table.loc["ours", "log_likelihood"] == pytest.approx(table.loc["hmmlearn", "log_likelihood"], abs=1e-3)
    assert table["note"].tolist() == ["1 of 2 series lost a state", "by hand"]
    end = problems[0].start | {"means": np.full((2, 1), np.nan)}
    assert np.isnan(problems[0].log_likelihood(end))


def test_the_series_stay_as_they_should_and_begin_anew():
    labels = chains.walk(200_000, 3, 1000, np.random.default_rng(1)).reshape(1000, 200)
    stays = (labels[:, 1:] == labels[:, :-1]).mean()
    assert abs(stays - chains.STAY) < 5 * np.sqrt(chains.STAY * (1 - chains.STAY) / 199_000)
    counts = np.bincount(labels[:, 0], minlength=3)
    assert np.all(np.abs(counts - 1000 / 3) < 5 * np.sqrt(1000 * 2 / 9))
    assert pose(TINY[1]).rows.lengths.tolist() == [30] * 4
    assert set(chains.walk(50, 1, 1, np.random.default_rng(1))) == {0}


def test_the_memory_map_is_read_from_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr(chains, "BLOCK", 150)
    path, chain = tmp_path / "x.npy", SMALL.mapped
    start = chains.write(path, chain)
    x = np.load(path)
    assert x.shape == (400, 2)
    assert np.isfinite(x).all()
    given = {name: value.tolist() for name, value in start.items()}
    found = hmm.mapped(str(path), 300, chain.k, given)
    assert found["seconds"] > 0
    assert found["peak"] >= 0 or np.isnan(found["peak"])


def test_the_table_names_the_quickest_other_side(monkeypatch):
    def task(message):
        assert message["function"] == "reports.bench.hmm:mapped"
        return {"seconds": 1e-3 * message["arguments"]["rows"], "peak": 7.25}

    monkeypatch.setattr(hmm, "in_process", task)
    monkeypatch.setattr(hmm, "_opened", without)
    table = hmm.run(replace(SMALL, map_rows=(200, 400)))
    assert table["quantity"].tolist() == ["iteration"] * 3 + ["whole fits"] * 2 + ["memory map"] * 2
    assert table["memory"].dropna().tolist() == [7.25, 7.25]
    assert len(hmm.quickest(table)) == 0
    first = table.index[:3]
    table.loc[first, "ms"], table.loc[first, "ratio"] = [1.0, 30.0, 20.0], [np.nan, 30.0, 20.0]
    assert hmm.quickest(table).tolist() == [20.0]
    text = printed(table)
    assert "lowest 20.0, geometric mean 20.0, in 1 of 1 cells" in text
    assert "not here" in text
    assert "7.25" in text
    table.loc[first[2], "ratio"] = np.nan
    assert hmm.quickest(table).isna().tolist() == [True]
    assert "in 0 of 1 cells" in printed(table)


def test_a_package_that_is_not_installed_is_a_dash_and_a_command(absent):
    table = pd.DataFrame(hmm._iterations(pose(TINY[0]), SMALL))
    assert table["who"].tolist() == ["ours", "hmmlearn", "dynamax"]
    assert table["ms"].notna().tolist() == [True, False, False]
    for name, note in zip(("hmmlearn", "dynamax"), table["note"][1:], strict=True):
        assert note.startswith(f"no {name} here; install it with: python")
        assert note.endswith(f"-m pip install {name}")


def test_a_package_that_cannot_begin_is_a_note(tmp_path, monkeypatch):
    for name in ("hmmlearn", "dynamax"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    table = pd.DataFrame(hmm._iterations(pose(TINY[0]), SMALL))
    assert table["note"].tolist() == [
        "",
        "the process for hmmlearn ended with code 3",
        "the process for dynamax ended with code 3",
    ]


def test_the_command_writes_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(hmm, "Settings", lambda **given: replace(SMALL, **given))
    monkeypatch.setattr(hmm.Settings, "repeats", 1, raising=False)
    monkeypatch.setattr(hmm, "_opened", without)
    arguments = ["bench", "--hmm", "--peers", sys.executable, "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    written = pd.read_csv(tmp_path / "o" / "bench.csv")
    assert written["who"].tolist() == ["ours", "hmmlearn", "dynamax", "ours", "hmmlearn"]
    assert '"python"' in (tmp_path / "o" / "bench.json").read_text()
    assert "An iteration of EM for hidden Markov models from the same start" in result.stdout


def test_one_thing_is_measured_at_a_time():
    result = CliRunner().invoke(app, ["bench", "--hmm", "--families"], env={"NO_COLOR": "1"})
    assert result.exit_code == 2
    assert "--hmm" in result.output


def test_a_memory_map_needs_room():
    with pytest.raises(ValueError, match=r"the memory map needs .* GB"):
        Settings(map_rows=(10**14,))
