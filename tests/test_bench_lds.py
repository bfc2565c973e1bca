"""EM for linear dynamical systems beside other packages: the same start and the same work, or no ratio."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixtures.dynamics import log_likelihood
from reports.bench import lds
from reports.bench.lds import Settings, System, pose
from reports.bench.tables import systems_beside
from reports.commands.app import app

TINY = (System(60, 2, 3),)


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(lds, "SAMPLE", 1e-4)


@pytest.fixture
def absent(tmp_path, monkeypatch):
    """A Python without the packages, whether this one has them or not."""
    for name in ("dynamax", "pykalman", "statsmodels"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def other(off=0.0):
    """Sides that take 1 ms an iteration and lead where ours does, or elsewhere by so much."""

    @contextmanager
    def opened(task, python):
        x, start = pose(TINY[0])

        def side(times, threads):
            if task["package"] == "statsmodels":
                return 1e-3 * times, None, float(log_likelihood(x, start).sum()) + off * len(x)
            _, theta, _ = lds.own(x, start)(times, threads)
            return 1e-3 * times, theta | {"transition": theta["transition"] + off}, None

        yield side, "a note"

    return opened


def test_sides_that_agree_have_ratios(monkeypatch):
    monkeypatch.setattr(lds, "_opened", other())
    table = lds.run(Settings(TINY, 1))
    assert table["who"].tolist() == ["ours", "dynamax", "statsmodels", "pykalman"]
    ours = table.set_index("who").loc["ours", "ms"]
    assert table["ratio"][1:].tolist() == pytest.approx([1 / ours] * 3)
    assert lds.quickest(table).tolist() == pytest.approx([1 / ours])
    with Console(width=150, record=True) as console:
        for shown in systems_beside(table):
            console.print(shown)
    text = console.export_text()
    assert "60 × 3, H = 2" in text
    assert "a note" in text


def test_sides_that_lead_elsewhere_have_none(monkeypatch):
    monkeypatch.setattr(lds, "_opened", other(0.3))
    table = lds.run(Settings(TINY, 1)).set_index("who")
    assert table["ratio"].isna().all()
    assert all("another log likelihood" in note for note in table["note"][1:])


def test_pykalman_is_left_out_of_long_series(monkeypatch):
    monkeypatch.setattr(lds, "PATIENCE", 10)
    monkeypatch.setattr(lds, "_opened", other())
    assert "pykalman" not in set(lds.run(Settings(TINY, 1))["who"])


@pytest.mark.usefixtures("absent")
def test_packages_that_are_not_installed_are_dashes_that_say_how(tmp_path, monkeypatch):
    monkeypatch.setattr(lds.Settings, "systems", TINY, raising=False)
    monkeypatch.setattr(lds, "Settings", lambda **given: Settings(TINY, **(given | {"repeats": 1})))
    monkeypatch.setattr(lds.Settings, "repeats", 1, raising=False)
    arguments = ["bench", "--lds", "--peers", sys.executable, "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1", "COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    written = pd.read_csv(tmp_path / "o" / "bench.csv")
    assert np.isnan(written["ms"][1:]).all()
    assert written["note"][1:].str.contains("pip install").all()
    assert json.loads((tmp_path / "o" / "bench.json").read_text())["lds"]["repeats"] == 1


def test_one_thing_is_measured_at_a_time():
    result = CliRunner().invoke(app, ["bench", "--lds", "--hmm"], env={"NO_COLOR": "1"})
    assert result.exit_code == 2
    assert "--lds" in result.output
