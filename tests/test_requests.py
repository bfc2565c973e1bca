"""Requests of the commands that cannot be met, or would be passed over: one line each, exit code 2, and nothing is written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reports.commands.app import app

pytestmark = pytest.mark.robustness("errors")

GRIDS = {
    "utf-16.toml": "[[block]]\nn = 20\n".encode("utf-16"),
    "latin-1.toml": "title = 'größe'\n[[block]]\nn = 20\n".encode("latin-1"),
    "misspelt.toml": b"[[block]]\nn = 20\nK = 2\ntruth = 'gausian'\n",
    "unnamed.toml": b"[[block]]\nn = 20\nD = 3\ntruth = ''\n",
    "levels.toml": b"[[block]]\nn = 20\ntruth = 'categorical'\nlevels = 1000000000\n",
}
REFUSED = {
    "compare iris.csv -k 2 --thousands=": "--thousands is ''; expected one mark",
    "compare iris.csv -k 2 --decimal=": "--decimal is ''; expected one mark",
    "compare faithful -k 2 -o /": "/ is the working folder or above it",
    "report /": "/ is no results folder",
    "report ..": "is no results folder",
    "select nile --lds seasonal=99999999": "the longest sequence has 100 rows, no more than the 99999999 states",
    "select nile --lds latent=99999999": "no more than the 99999999 states",
    "select nile --lds local-level,autoregression=100": "no more than the 100 states",
    "calibrate --fit mine.py": "--fit is of a PyMC model; give the file MODEL.py that builds it, too",
    "bench --hmm --peers nothing": "'nothing' cannot be run",
    "bench --lds --peers iris.csv": "'iris.csv' cannot be run",
    "bench --lds --peers /bin/true": "'/bin/true' does not run as Python does",
    "bench --peers python": "--peers is of --families, --hmm or --lds; give that too, or leave it out",
    "bench --sampler pymc": "--sampler is of --nuts",
    "bench --map-cell 1e6x2x3": "--map-cell is of --memory-map",
    "overfit utf-16.toml": "utf-16.toml is not UTF-8 text (byte 0), as TOML is; save it as UTF-8",
    "overfit latin-1.toml": "latin-1.toml is not UTF-8 text (byte 11)",
    "overfit misspelt.toml": "did you mean 'gaussian'?",
    "overfit unnamed.toml": "truth is '': no data set or file ''",
    "overfit levels.toml": "2 features of 1,000,000,000 levels) would take about",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_a_request_that_cannot_be_met_is_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("iris.csv").write_text("a,b\n1,2\n2,3\n5,1\n7,3\n")
    for name, content in GRIDS.items():
        Path(name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert REFUSED[arguments] in line
    assert len(line) < 1000
    assert sorted(tmp_path.rglob("*")) == before
