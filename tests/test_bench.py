"""The benchmark on cells so small that it takes seconds: what is measured, not how fast it is."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits
from typer.testing import CliRunner

from mixtures import COVARIANCES
from reports.bench import (
    Cell,
    Settings,
    calls,
    commands,
    machine,
    measure,
    ours,
    parse_cells,
    parse_covariances,
    parse_map,
    processes,
    run,
    theirs,
)
from reports.bench.benchmark import Bench, _table
from reports.bench.cells import GRID, blocks, points, pose, short, softened
from reports.bench.machine import Machine
from reports.bench.measure import Row, alternate, best_threads
from reports.bench.tables import geometric_mean, tables
from reports.bench.tables import machine as sentence
from reports.commands.app import app
from reports.plots.bench import plot_bench

TINY = Cell(200, 2, 3)

TOLD = pytest.mark.skipif(not processes.worker.STATUS.exists(), reason="this system does not tell private memory")


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """Short samples, small arrays, one thread."""
    monkeypatch.setattr(measure, "SAMPLE", 1e-4)
    monkeypatch.setattr(calls, "SAMPLE", 1e-4)
    monkeypatch.setattr(calls, "PREDICTED", (1, 20))
    monkeypatch.setattr(calls, "PASSES", (TINY,))
    monkeypatch.setattr(calls, "THREADED", (TINY,))
    monkeypatch.setattr(processes, "FIRST", (TINY,))
    monkeypatch.setattr(processes, "TIMES", 1)
    monkeypatch.setattr(machine, "measure", lambda: Machine(machine.bandwidth(1), machine.peak(50)))
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def problem():
    return pose(points(TINY), "full", TINY.k)


def command(*arguments):
    return CliRunner().invoke(app, ["bench", "--no-commands", *arguments], env={"COLUMNS": "160", "NO_COLOR": "1"})


def test_every_row_is_there_and_ratios_follow(tmp_path):
    told = []
    structures = ("full", "spherical")
    settings = Settings((TINY,), structures, repeats=2, memory=False, sets=3, commands=False)
    bench = run(settings, lambda *part: told.append(part))
    table = bench.table
    expected = [(q, m, c, 200) for c in structures for q, m in (("pass", "em"), ("pass", "cavi"), ("optimum", "em"))]
    expected += [("small", m, "full", n) for n in (20, 50, 200) for m in ("em", "cavi")]
    expected += [("restarts", m, "full", n) for n in (50, 200, 200) for m in ("em", "cavi")]
    predicted = [(call, n) for call in ("predict", "predict_proba", "score_samples") for n in (1, 20)]
    public = [("fit", 50), ("fit, n_init=10", 50), ("partial_fit", 100), *predicted]
    expected += [(call, m, "full", n) for m in ("em", "cavi") for call, n in public]
    expected += [("first fit", "em", "full", 200)]
    expected += [("small pass", m, "full", 200) for m in ("em", "cavi")]
    expected += [("threads", "em", "full", 200)] * machine.facts()["cores"].bit_length()
    assert list(table[["quantity", "method", "covariance", "n"]].itertuples(index=False, name=None)) == expected
    assert (table[["ours", "sklearn", "ratio"]] > 0).all(axis=None)
    many = table["quantity"].isin(["small", "restarts"])
    costs, rates = table[~many], table[many]
    np.testing.assert_allclose(costs["ratio"], costs["sklearn"] / costs["ours"])
    np.testing.assert_allclose(rates["ratio"], rates["ours"] / rates["sklearn"])
    passes = table[table["quantity"].isin(["pass", "small pass"])]
    assert (passes["floor"] > 0).all()
    np.testing.assert_allclose(passes["over_floor"], passes["ours"] / passes["floor"])
    assert [number for _, number, _ in told] == list(range(told[0][2]))

    bench.save(tmp_path, plot_bench(bench.table))
    again = pd.read_csv(tmp_path / "bench.csv", keep_default_na=False, na_values={"floor": [""], "over_floor": [""]})
    pd.testing.assert_frame_equal(again, table)
    assert json.loads((tmp_path / "bench.json").read_text())["peak"] == bench.machine.peak


@pytest.mark.parametrize(("method", "model"), [("em", GaussianMixture), ("cavi", BayesianGaussianMixture)])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_their_iteration_is_that_of_fit(method, model, covariance):
    """Three iterations of the loop end where three of `fit` end that begins with the same responsibilities."""

    class Given(model):
        def _initialize_parameters(self, x, random_state, **_):
            self._m_step(x, np.log(posed.r))

    posed = pose(points(TINY), covariance, TINY.k)
    settings = {"weight_concentration_prior_type": "dirichlet_distribution"} if method == "cavi" else {}
    fitted = Given(n_components=3, covariance_type=covariance, max_iter=3, tol=0.0, **settings)
    with pytest.warns(ConvergenceWarning):
        fitted.fit(posed.x)
    stepped = theirs.loop(posed, method)(3)
    np.testing.assert_allclose(stepped.means_, fitted.means_, rtol=1e-12)
    np.testing.assert_allclose(stepped.covariances_, fitted.covariances_, rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_both_sides_do_the_same_work(covariance):
    """Three iterations of EM from one start end at the same means, but for the 1e-6 that scikit-learn adds to variances."""
    posed = pose(points(TINY), covariance, TINY.k)
    s = ours.loop(posed, "em")(3)
    means = posed.family.to_data(posed.family.maximum_likelihood(s))["means"]
    np.testing.assert_allclose(means, theirs.loop(posed, "em")(3).means_, atol=1e-4)


def test_both_sides_start_at_the_same_likelihood(problem):
    """The bound of our first pass, which is a total, and the mean of their first E-step."""
    mine = ours.climb(problem, ours.state(problem, problem.r), 1).end[0] / len(problem.x)
    first, _ = theirs.start(problem, "em", reg_covar=0.0)._e_step(problem.x)
    assert mine == pytest.approx(first, abs=1e-12)


@pytest.mark.parametrize("method", ["em", "cavi"])
def test_the_compiled_loop_makes_as_many_iterations(method, problem, monkeypatch):
    """Of the plain loop it makes the same, one more than a climb, and goes on where only rounding is left."""
    pytest.importorskip("mixtures.engines.whole")
    plain = ours.loop(problem, method)
    monkeypatch.setattr("mixtures.engines.loading.repaid", lambda *_, **__: True)
    compiled = ours.loop(problem, method)
    assert compiled.func is not plain
    for times in (1, 7):
        np.testing.assert_allclose(compiled(times), plain(times), rtol=1e-9, atol=1e-9)
    assert np.isfinite(compiled(3000)).all()


def test_the_optimum_is_the_same_and_both_come_within_the_tolerance(problem, monkeypatch):
    levels = []
    climb = theirs.climb
    monkeypatch.setattr(theirs, "climb", lambda p, m, level, limit: levels.append(level) or climb(p, m, level, limit))
    row = measure.optimum(problem, repeats=2, limit=60.0)
    assert row.ours > 0
    assert row.sklearn > 0
    assert not row.at_least
    start = theirs.start(problem, "em", reg_covar=0.0)
    given = {
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": np.linalg.inv(start.covariances_),
    }
    best = GaussianMixture(3, tol=1e-13, reg_covar=0.0, max_iter=100_000, **given).fit(problem.x)
    assert levels[0] == pytest.approx(best.score(problem.x) - measure.WITHIN, abs=1e-9)
    passes = int(row.note.split()[0])
    ends = [ours.climb(problem, ours.state(problem, problem.r), n).end[0] / 200 for n in (passes - 1, passes)]
    assert ends[1] >= levels[0] > ends[0]


def test_two_optima_are_not_compared(problem, monkeypatch):
    """scikit-learn begins elsewhere: with two clusters on one corner."""
    wrong = softened(np.where(problem.x[:, 0] > np.quantile(problem.x[:, 0], 0.03), 0, 1), 3)
    wrong[:7] = softened(np.full(7, 2), 3)
    elsewhere = theirs.start(replace(problem, r=wrong), "em", reg_covar=0.0)
    monkeypatch.setattr(theirs, "start", lambda *_, **__: elsewhere)
    row = measure.optimum(problem, repeats=1, limit=60.0)
    assert np.isnan(row.ours)
    assert np.isnan(row.sklearn)
    assert "two optima" in row.note


def test_who_is_stopped_is_said_to_need_longer(problem):
    row = measure.optimum(problem, repeats=1, limit=0.0)
    assert row.at_least
    assert "1 iterations (scikit-learn, not there yet)" in row.note
    shown = _text(_bench([row]))
    assert shown.count("> ") == 2


def test_calls_are_made_in_turn():
    made = []
    seconds = alternate([lambda: made.append("ours"), lambda: made.append("theirs")], 3)
    assert made == ["ours", "theirs"] * 3
    assert seconds.shape == (2,)


def test_slow_calls_are_repeated_less(monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 0.0)
    made = []
    alternate([lambda: made.append(1)], 50)
    assert len(made) == 3


def test_either_side_is_measured_with_the_threads_that_suit_it():
    """A loop that is slow with one thread, and one that is slow with several."""

    def slow_if(single):
        return lambda _: time.sleep(0.05 if _single() == single else 0.0)

    with threadpool_limits(2):
        assert best_threads(slow_if(single=True))[0] is None
        assert best_threads(slow_if(single=False))[0] == 1
        assert not _single()


def _single():
    return all(library["num_threads"] == 1 for library in threadpool_info())


def test_small_fits_find_the_same_on_both_sides():
    """Far-apart clusters have one sensible optimum, and CAVI one posterior mean, for both have one prior."""
    corners = 20 * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    xs = corners[np.arange(90) % 3] + np.random.default_rng(1).standard_normal((4, 90, 2))
    for method, held in (
        ("em", lambda fit: fit.posterior.theta["means"][0, 0]),
        ("cavi", lambda fit: fit.posterior.theta.m),
    ):
        settings = (method, xs, 3, 2, 1e-8, 1e-6)
        for mine, other in zip(ours.fits(*settings), theirs.fits(*settings), strict=True):
            means = mine.family.to_data({"means": held(mine), "covariances": np.eye(2)})["means"]
            own, their = (m[np.lexsort(m.round().T)] for m in (means, other.means_))
            np.testing.assert_allclose(own, their, atol=1e-3)
    mine, other = (side.score(side.fits("em", xs[:1], 3, 1, 1e-8, 1e-6)[0], xs[0]) for side in (ours, theirs))
    assert mine == pytest.approx(other, abs=1e-5)


def test_floor_is_the_larger_of_reading_and_computing():
    """N = 1000, D = 2, K = 3: 16,000 bytes; 4 N K P = 72,000 operations with P = 6 and 48,000 with P = 4."""
    families = {name: COVARIANCES[name].from_data(points(TINY), 3) for name in ("full", "spherical")}
    cell = Cell(1000, 2, 3)
    assert Machine(1e3, 1e9).floor(cell, families["full"]) == pytest.approx(16.0)
    assert Machine(1e9, 1e3).floor(cell, families["full"]) == pytest.approx(72.0)
    assert Machine(1e9, 1e3).floor(cell, families["spherical"]) == pytest.approx(48.0)


@TOLD
def test_private_memory_is_seen():
    """A peak of 80 MB that is gone before the call ends."""

    def call():
        np.ones(10_000_000).sum()

    assert processes.worker.peak(call) == pytest.approx(80, abs=5)


@TOLD
def test_memory_of_both_sides():
    """scikit-learn holds (N, K) arrays of 8 N K bytes, log responsibilities and their exponentials at least."""
    row = processes.memory(points(Cell(50_000, 2, 5)), "full", 5)
    assert row.note == ""
    assert row.ours >= 0
    assert row.sklearn > 2 * 8 * 50_000 * 5 / 1e6


@TOLD
def test_a_process_that_fails_is_a_missing_number():
    row = processes.memory(np.zeros((30, 2)), "full", 3)
    assert np.isnan(row.ours)
    assert "feature 0 is constant" in row.note


@TOLD
def test_memory_map_is_measured_and_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(processes, "SHARES", (2, 1))
    rows = processes.memory_map("diag", parse_map("5e3x3x1"))
    assert [(row.quantity, row.n) for row in rows] == [
        ("map pass", 2500), ("map memory", 2500), ("map pass", 5000), ("map memory", 5000)
    ]  # fmt: skip
    assert all(row.ours > 0 for row in rows if row.quantity == "map pass")
    assert not list(tmp_path.iterdir())
    assert "5e3" in _text(_bench(rows))


def test_the_mapped_file_has_the_points(tmp_path):
    cell = Cell(25_000, 3, 2)
    processes.write(tmp_path / "x.npy", cell)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.concatenate(list(blocks(cell))))
    assert len(points(cell)) == 25_000


def test_too_little_room_for_the_memory_map_is_refused(monkeypatch):
    monkeypatch.setattr(processes.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(ValueError, match="TMPDIR"):
        Settings(memory_map=True)
    for more in ((), ("--map-cell", "1e8x2x5")):
        result = command("--memory-map", *more, "-o", "o")
        assert result.exit_code == 2
        assert "TMPDIR" in result.stderr
    assert "1.8 GB" in result.stderr
    result = command("--memory-map", "--map-cell", "1e3x2x5", "-o", "o")
    assert "cell 1e3x2x5 needs at least 1000 K (D + 1) = 15000 rows" in result.stderr


def test_the_worker_loads_only_its_own_side():
    code = "import runpy, sys; sys.argv = ['', '{\"kind\": \"none\"}']; runpy.run_path(%r); print(*sys.modules)"
    command = [sys.executable, "-c", code % processes.worker.__file__]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "sklearn", "mixtures", "pandas"}.isdisjoint(loaded)


def test_geometric_mean_leaves_out_what_is_missing():
    assert geometric_mean(pd.Series([2.0, np.nan, 8.0])) == pytest.approx(4.0)


def test_cells_are_read():
    assert parse_cells("1e3x2x3, 50000x50x10") == (Cell(1000, 2, 3), Cell(50_000, 50, 10))
    assert [short(cell.n) for cell in GRID] == ["1e3", "1e5", "1e5", "1e6", "2e5", "5e4"]
    assert parse_covariances("all") == tuple(COVARIANCES)


def _bench(rows, load=0.0):
    return Bench(_table(rows), Machine(1e10, 1e11), {"cpu": "none", "cores": 2, "load": load})


def test_a_busy_machine_is_named():
    rows = [Row("pass", "em", "full", 200, 2, 3, "ms", 1.0, 2.0)]
    assert "load was 1.5" in sentence(_bench(rows, load=1.5))
    assert "load" not in sentence(_bench(rows))


def _text(bench):
    console = Console(width=120)
    with console.capture() as captured:
        for table in tables(bench):
            console.print(table)
    return captured.get()


def test_missing_numbers_are_dashes_on_the_terminal_and_in_the_plot():
    size = ("em", "full", 200, 2, 3)
    rows = [
        Row("pass", *size, "ms", 1.0, 8.6, floor=0.1),
        Row("optimum", *size, "s", np.nan, np.nan, note="two optima"),
    ]
    shown = _text(_bench(rows))
    assert "200 × 2, K = 3: two optima" in shown
    assert "8.60" in shown
    assert shown.count("–") >= 3
    figure = plot_bench(_table(rows))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Time a pass, EM", "Time to the same optimum, EM"]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["8.6×", "–"]


def test_data_sets_a_minute_count_both_methods():
    """30 and 60 fits a second are 1/30 + 1/60 = 1/20 s a data set, 1200 a minute."""
    rows = [
        Row("restarts", method, "full", 50, 2, 3, "fits/s", rate, 1.0, higher_is_better=True)
        for method, rate in (("em", 30.0), ("cavi", 60.0))
    ]
    assert "50 × 2, K = 3: 1,200 data sets a minute by both" in _text(_bench(rows))


def test_a_comparison_is_timed_with_empty_caches_and_again(monkeypatch):
    """Both runs have the same caches, in a folder that is new; one that fails has no time, and says why."""
    found = []

    def start(command, *, cwd, env, **_):
        found.append((command, cwd, [env[name] for name in commands.CACHES], list(Path(cwd).iterdir())))
        (Path(cwd) / "numba").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, len(found) // 2, "", "of old\nno room")

    monkeypatch.setattr(commands.subprocess, "run", start)
    empty, warm = commands.comparisons()
    assert (empty.quantity, empty.n, empty.d, empty.k, empty.note) == ("caches empty", 272, 2, 2, "")
    assert 0 < empty.ours < 5
    assert np.isnan(warm.ours)
    assert warm.note == "the command ended with code 1: no room"
    assert found[0][:3] == found[1][:3]
    assert found[0][3] == []
    assert all(found[0][1] in where for where in found[0][2])
    assert found[0][0][3:] == [str(os.getpid()), "compare", "faithful", "-k", "2", "-o", "run", "--overwrite"]
    text = _text(_bench([empty, warm]))
    assert "compare faithful -k 2, caches warm (s): the command ended with code 1: no room" in text


def test_draws_of_nuts_are_beside_those_of_the_usual_model(monkeypatch):
    def attempt(settings, seed, way):
        return {"ess": 600.0, "run": {"ours": 0.5, "usual": 3.0}[way.model], "note": "slow" * (way.model == "usual")}

    monkeypatch.setattr(commands.nuts, "_attempt", attempt)
    (row,) = commands.effective_draws()
    assert (row.ours, row.sklearn, row.higher_is_better, row.note) == (1200.0, 200.0, True, "usual: slow")
    assert _table([row])["ratio"].tolist() == [6.0]
    assert "NUTS, effective draws a second" in _text(_bench([row]))


def test_the_command_writes_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command("--cells", "200x2x3", "--repeats", "1", "--no-memory", "--no-small", "--no-optimum")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / "bench"
    assert {p.name for p in folder.iterdir()} == {"bench.csv", "bench.png", "bench.json"}
    assert list(pd.read_csv(folder / "bench.csv")["method"]) == ["em", "cavi"]
    assert "200 × 2, K = 3" in result.stdout
    assert "results/bench/bench.csv" in result.stdout
    assert "2 of 2: 200 × 2, K = 3, full: a pass" in result.stderr
    again = command("-o", "results/bench")
    assert again.exit_code == 2
    assert "not empty" in again.stderr


BAD = {
    "no cell": (["--cells", "big"], "1e5x2x5"),
    "two numbers": (["--cells", "1e5x2"], "1e5x2x5"),
    "half a cluster": (["--cells", "1e5x2x2.5"], "1e5x2x5"),
    "endless": (["--cells", "infx2x2"], "1e5x2x5"),
    "too few rows": (["--cells", "50x2x3"], "90"),
    "unknown covariance": (["--covariance", "full,diagonal"], "spherical"),
    "no time": (["--limit", "0"], "limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[case]
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_collapse_is_a_missing_optimum():
    """Ten copies of one point, and as many clusters as make EM find them."""
    x = np.concatenate([np.random.default_rng(0).standard_normal((190, 2)), np.full((10, 2), 9.0)])
    labels = np.where(x[:, 0] > 8, 1, 0)
    posed = replace(pose(x, "full", 2), r=np.eye(2)[labels])
    row = measure.optimum(posed, repeats=1, limit=10.0)
    assert np.isnan(row.ours)
    assert "collapsed" in row.note
