"""EM on binary and categorical data beside other packages: the same start and the same work, or no ratio."""

import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixtures.engines import plain
from mixtures.engines.responsibilities import fold
from reports.bench import families
from reports.bench.families import Case, Settings
from reports.bench.tables import families_beside
from reports.commands.app import app

TINY = (Case("bernoulli", 300, 6, 2, 2), Case("categorical", 300, 4, 3, 2))


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(families, "SAMPLE", 1e-4)


@pytest.fixture
def absent(tmp_path, monkeypatch):
    """A Python without the packages, whether this one has them or not."""
    for name in ("stepmix", "pomegranate"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def other(problem, off):
    """A side that does EM with the plain pass, and then moves the probabilities."""

    @contextmanager
    def opened(task, python):
        def iterate(times, threads):
            weights, mu = np.array(task["weights"]), np.array(task["probabilities"])
            for _ in range(times):
                eta = fold(np.log(weights), problem.family.natural({"probabilities": mu}))
                s = plain.pass_(problem.family, problem.x, None, eta)[1]
                weights, mu = s[:, 0] / s[:, 0].sum(), problem.family.maximum_likelihood(s)["probabilities"]
            return 1e-3 * times, weights, mu + off * (1 - 2 * mu)

        yield iterate

    return opened


@pytest.mark.parametrize("off", [0.0, 0.1])
@pytest.mark.parametrize("case", TINY, ids=lambda case: case.family)
def test_a_ratio_needs_the_same_log_likelihood(case, off, monkeypatch):
    monkeypatch.setattr(families, "_opened", other(families.pose(case), off))
    table = families.run(Settings((case,), repeats=1)).set_index("who")
    theirs = table.drop(index="ours")
    if off:
        assert theirs["ratio"].isna().all()
        assert (theirs["note"] == "another log likelihood after as many iterations").all()
    else:
        np.testing.assert_allclose(theirs["log_likelihood"], table.loc["ours", "log_likelihood"], rtol=1e-12)
        np.testing.assert_allclose(theirs["ratio"], theirs["ms"] / table.loc["ours", "ms"], rtol=1e-12)
        np.testing.assert_allclose(theirs["ms"], 1.0, rtol=1e-9)


def test_a_package_that_is_not_installed_is_a_dash_and_a_command(absent):
    table = families.run(Settings(TINY[:1], repeats=1))
    assert table["who"].tolist() == ["ours", "stepmix", "pomegranate"]
    assert table["ms"].notna().tolist() == [True, False, False]
    console = Console(width=140)
    with console.capture() as captured:
        for part in families_beside(table):
            console.print(part)
    for name in ("stepmix", "pomegranate"):
        assert f"-m pip install {name}" in captured.get()
    assert "no stepmix here; install it with: python" in captured.get()
    assert captured.get().count("–") >= 6


def test_gaps_are_measured_beside_the_same_rows_without():
    table = families.run(Settings((Case("full", 400, 3, 0, 2),), repeats=1))
    assert table["who"].tolist() == ["ours", "without gaps"]
    assert table["ratio"][0] == pytest.approx(table["ms"][0] / table["ms"][1])
    assert table["note"][0].startswith("10% missing, ")


def test_the_command_writes_its_folder(absent, tmp_path, monkeypatch):
    monkeypatch.setattr(families, "Settings", lambda **given: replace(Settings(TINY), **given))
    monkeypatch.setattr(families.Settings, "repeats", 1, raising=False)
    arguments = ["bench", "--families", "--peers", sys.executable, "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "o" / "bench.csv")["who"].tolist() == [
        "ours",
        "stepmix",
        "pomegranate",
        "ours",
        "stepmix",
    ]
    assert '"python"' in (tmp_path / "o" / "bench.json").read_text()
    assert "An iteration of EM from the same start" in result.stdout
