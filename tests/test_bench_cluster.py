"""A pass by the workers of a Dask cluster: what is measured, and what is said of more workers."""

from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

from mixtures.engines.passes import one_pass
from reports.bench import Cell, cluster
from reports.bench.cluster import Settings, estimate, moved, n_tasks
from reports.commands.app import app

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
array = pytest.importorskip("dask.array")
SMALL = Settings(Cell(600, 2, 3), blocks=9, repeats=1)


def synchronous(call):
    with dask.config.set(scheduler="synchronous"):
        return call()


@contextmanager
def in_turn(settings, workers):
    """The rows of the workers in this process."""
    call = cluster.a_pass(array.concatenate(cluster.rows(settings.cell, settings.blocks)), settings.cell)
    yield lambda: (0.06 / workers, 0.05 / workers, 0.01 + 0 * synchronous(call)[0].item())


def test_tasks_are_blocks_and_sums_of_eight():
    assert [n_tasks(blocks) for blocks in (1, 2, 8, 9, 65)] == [1, 3, 9, 12, 65 + 9 + 2 + 1]


def test_the_pass_is_that_of_the_rows_in_memory():
    x = array.concatenate(cluster.rows(SMALL.cell, SMALL.blocks))
    assert x.numblocks == (9, 1)
    call = cluster.a_pass(x, SMALL.cell)
    log_z, s = synchronous(call)
    (eta,), of_block = call.args, call.func.of_block
    with dask.config.set(scheduler="synchronous"):
        here = one_pass(x.compute(), None, of_block.keywords["family"], 1800)(eta)
    np.testing.assert_allclose(log_z, here[0], rtol=1e-12)
    np.testing.assert_allclose(s, here[1], rtol=1e-9, atol=1e-9)
    assert moved(SMALL.cell, 2, 9) == pytest.approx(8e-6 * (2 * eta.size + 9 * (s.size + 1)))


def test_more_workers_share_the_arithmetic_alone():
    """Each with all rows of the first: as long for these, and the tasks and bytes of all."""
    first = {"ms": 60.0, "arithmetic": 48.0, "tasks": 12.0}
    row = estimate(SMALL, 100, first)
    assert (row["n"], row["blocks"], row["arithmetic"]) == (60_000, 100, 48.0)
    assert row["tasks"] == pytest.approx(n_tasks(100))
    assert row["network"] == pytest.approx(1e3 * 1e6 * row["megabytes"] / cluster.NETWORK)
    assert row["ms"] == pytest.approx(row["arithmetic"] + row["tasks"] + row["network"])
    assert row["speed_up"] == pytest.approx(100 * 60 / row["ms"])


def test_the_command_writes_a_row_for_each_number_of_workers(tmp_path, monkeypatch):
    pd = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "held", in_turn)
    result = CliRunner().invoke(app, ["bench", "--dask", "--cells", "600x2x3", "--repeats", "1", "-o", "out"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv("out/bench.csv")
    assert table["workers"].tolist() == [1, 2, 10, 100, 1000]
    assert table["measured"].tolist() == [True] * 2 + [False] * 3
    np.testing.assert_allclose(table["speed_up"][:2], [1, 2])
    np.testing.assert_allclose(table.loc[:1, ["ms", "arithmetic", "tasks"]], [[60, 50, 90], [30, 25, 90]])
    assert table.loc[:1, "network"].isna().all()
    assert "1000 *" in result.stdout
    assert "10 Gbit/s" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--cells", "600x2x3,600x2x4"], "--dask measures one cell"), (["--lds"], "give one of them")],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    result = CliRunner().invoke(app, ["bench", "--dask", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_dask_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["bench", "--dask"])
    assert result.exit_code == 2
    assert "pip install 'mixtures[dask]'" in " ".join(result.stderr.split())
