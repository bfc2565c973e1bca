"""EM on the device that JAX has: both sides do the same work, and what does not run is named."""

import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixtures.engines.passes import one_pass
from mixtures.methods import em
from reports.bench import card, device
from reports.bench.cells import Cell, points
from reports.bench.device import CORES, OURS, SKLEARN, Settings
from reports.bench.tables import on_device
from reports.commands.app import app

TINY = Settings((Cell(400, 3, 2),), samples=1, seconds=1e-4, sizes=(400,))


@pytest.fixture
def here(monkeypatch):
    """Every measurement in this process, on JAX's CPU device."""

    def run(task, environment=None, limit=None):
        name = task["function"].split(":")[1]
        return json.loads(json.dumps(getattr(card, name)(**task["arguments"])))

    monkeypatch.setattr(device, "in_process", run)


def test_scikit_learn_does_the_same_iterations():
    x = points(Cell(500, 3, 2))
    posed, s = card._begun(x, 2)
    pass_ = one_pass(x, None, posed.family, 1000)
    iterate = card.peer_loop(x, 2, np.array, lambda: None)
    for times in (1, 4):
        eta = em.step(posed.family, posed.allocation, card._iterated(pass_, posed, s, times - 1))[0]
        assert iterate(times) == pytest.approx(float(pass_(eta)[0]) / 500, rel=1e-9)


@pytest.mark.parametrize(
    ("on_device", "on_cores", "expected"),
    [
        ([1.0, 1.0, 1.0], [2.0, 3.0, 4.0], 100.0),
        ([4.0, 1.0, 1.0], [1.0, 4.0, 9.0], np.sqrt(1e5)),
        ([1.0, 9.0, 1.0], [2.0, 3.0, 9.0], np.exp(np.log(1e3) + np.log(10) / 3)),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], np.nan),
    ],
)
def test_the_crossover_is_where_the_device_stays_ahead(on_device, on_cores, expected):
    """Between the last size at which it is behind and the next, where the ratio's logarithm is zero."""
    n = np.array([100.0, 1000.0, 10000.0])
    found = device.crossing_point(n, np.array(on_device), np.array(on_cores))
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_cells_have_a_row_for_each_side_and_precision(here, monkeypatch):
    theirs = {"float32": {"ms": 5.0}, "float64": {"missing": "why"}}
    monkeypatch.setattr(card, "peer", lambda *_, **__: theirs)
    found = device.run(TINY)
    cells = found.table[found.table["quantity"] == "pass"].set_index(["who", "precision"])
    assert set(cells.index) == {(who, p) for who in (OURS, SKLEARN) for p in device.PRECISIONS}
    assert np.all(cells.loc[OURS, "ms"] > 0)
    assert np.all(cells.loc[OURS, "pass_ms"] > 0)
    assert 0 < cells.loc[(OURS, "float32"), "spread"] < 1e-4
    assert cells.loc[(OURS, "float32"), "nats"] < 1e-6
    assert np.isnan(cells.loc[(SKLEARN, "float64"), "ms"])
    console = Console(width=200, record=True)
    for part in on_device(found):
        console.print(part)
    text = console.export_text()
    assert "400 × 3, K = 2, scikit-learn: why" in text
    ours = cells.loc[(OURS, "float32"), "ms"]
    assert f"{5 / ours:#.3g}" in text or f"{5 / ours:,.0f}" in text
    assert set(found.table[found.table["quantity"] == "crossover"]["who"]) == {OURS, CORES}


def test_cells_that_do_not_fit_and_processes_that_fail_are_said(here, monkeypatch):
    facts = {"device": "small", "gpu": True, "memory": 1.0, "jax": "0"}
    monkeypatch.setattr(card, "device", lambda: facts)
    with monkeypatch.context() as patch:
        patch.setattr(card, "crossing", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no more memory")))
        found = device.run(TINY)
    assert "does not fit on the device" in set(found.table["note"])
    assert "no more memory" in set(found.table["note"])
    assert np.isnan(found.crossover)


def test_the_command_says_that_there_is_no_gpu(here, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "REDUCED", TINY.cells)
    monkeypatch.setattr(device, "SIZES", TINY.sizes)
    monkeypatch.setattr(card, "median_seconds", lambda *_: 1e-3)
    done = CliRunner().invoke(app, ["bench", "--device", "-o", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    assert "JAX sees no GPU" in done.output
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["bench.csv", "bench.json"]
    refused = CliRunner().invoke(app, ["bench", "--device", "--nuts", "-o", str(tmp_path / "p")])
    assert refused.exit_code == 2
    assert "give one of them" in " ".join(refused.output.split())
