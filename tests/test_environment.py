"""An environment in which a library cannot run: one line, exit code 2."""

import os
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from reports.commands.app import app

pytestmark = pytest.mark.robustness("errors")


def refused():
    result = CliRunner().invoke(app, ["datasets"])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NUMBA_DISABLE_JIT", "1", "error: the loops cannot run uncompiled (NUMBA_DISABLE_JIT is set); unset it"),
        ("NUMBA_NUM_THREADS", "0", "error: NUMBA_NUM_THREADS is 0; expected at least 1"),
        ("NUMBA_NUM_THREADS", "-3", "error: NUMBA_NUM_THREADS is -3; expected at least 1"),
    ],
)
def test_settings_that_numba_stops_at_are_one_line(name, value, message, monkeypatch):
    monkeypatch.setenv(name, value)
    assert refused() == message


def test_python_without_docstrings_is_one_line(monkeypatch):
    monkeypatch.setattr("reports.commands.environment.sys", SimpleNamespace(flags=SimpleNamespace(optimize=2)))
    assert refused().startswith("error: ArviZ needs docstrings")


def test_a_library_that_cannot_be_loaded_is_one_line(monkeypatch):
    """As where it needs more memory than is left."""

    def settle():
        raise ImportError("libjax_common.so: failed to map segment from shared object")

    monkeypatch.setattr("reports.commands.parser.settle", settle)
    assert refused() == "error: a library cannot be loaded (libjax_common.so: failed to map segment from shared object)"


@pytest.mark.parametrize("value", ["nope", "QtAgg"])
def test_no_command_opens_windows(value, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", value)
    assert CliRunner().invoke(app, ["datasets"]).exit_code == 0
    assert os.environ["MPLBACKEND"] == "agg"
