"""Requests of the commands that cannot be met, or would be passed over: one line each, exit code 2, and nothing is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import reports
from reports.commands.app import app
from reports.validation.catalogue import Options

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
    "select iris.csv -k 1:2 --folds 0 --criteria bic": "folds is 0; expected 2 to 4, the number of rows",
    "compare huge.csv -k 2 --standardize": "the variance of 'a' is too large or too small for a number; rescale it",
    "compare tiny.csv -k 2 --standardize": "the variance of 'a' is too large or too small for a number; rescale it",
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
    Path("huge.csv").write_text("a,b\n1e300,2\n2e300,3\n5e300,1\n7e300,3\n")
    Path("tiny.csv").write_text("a,b\n1e-300,2\n2e-300,3\n5e-300,1\n7e-300,3\n")
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


X = np.random.default_rng(0).normal(size=(40, 2))
ONLY_EM = {"rng": 0, "methods": "em"}
MISUSED = {
    "the number of clusters as text": (
        lambda: reports.compare(X, "2", **ONLY_EM),
        "n_components is '2'; expected a whole",
    ),
    "no number of clusters": (lambda: reports.compare(X, None, **ONLY_EM), "n_components is None; expected a whole"),
    "several numbers of clusters": (
        lambda: reports.compare(X, [2, 3], **ONLY_EM),
        r"n_components is \[2, 3\]; expected",
    ),
    "a method that is no name": (
        lambda: reports.compare(X, 2, rng=0, methods=[None]),
        "there is no method None; choose",
    ),
    "no structure": (
        lambda: reports.compare(X, 2, covariance=None, **ONLY_EM),
        "covariance is None; expected a string",
    ),
    "a share as text": (
        lambda: reports.compare(X, 2, test_fraction="0.2", **ONLY_EM),
        "test_fraction is '0.2'; expected a",
    ),
    "half a draw": (lambda: reports.compare(X, 2, draws=100.5, **ONLY_EM), r"draws is 100\.5; expected a whole number"),
    "chains as text": (lambda: reports.compare(X, 2, chains="4", **ONLY_EM), "chains is '4'; expected a whole number"),
    "no starts": (lambda: reports.compare(X, 2, restarts=None, **ONLY_EM), "restarts is None; expected a whole number"),
    "a ridge as text": (lambda: reports.compare(X, 2, reg_covar="0", **ONLY_EM), "reg_covar is '0'; expected a number"),
    "a truth that is a number": (
        lambda: reports.compare(X, 2, truth=3, **ONLY_EM),
        "truth is 3; expected a mapping or None",
    ),
    "a picture as text": (
        lambda: reports.compare(X, 2, image="1x2", **ONLY_EM),
        "image is '1x2'; expected a sequence of whole numbers",
    ),
    "candidates as text": (
        lambda: reports.select(X, "1:3", rng=0),
        "components is '1:3'; expected a whole number or a sequence",
    ),
    "half a cluster": (lambda: reports.select(X, [1.5], rng=0), r"components is 1\.5; expected a whole number"),
    "half a fold": (
        lambda: reports.select(X, [1], rng=0, criteria="cv", folds=2.5),
        r"folds is 2\.5; expected a whole",
    ),
    "half a start": (lambda: reports.select(X, [1], rng=0, restarts=2.5), r"restarts is 2\.5; expected a whole number"),
    "no process": (lambda: reports.select(X, [1], rng=0, workers=0), "workers is 0; expected at least 1"),
    "processes as text": (
        lambda: reports.select(X, [1], rng=0, workers="2"),
        "workers is '2'; expected a whole number",
    ),
    "a level as text": (lambda: reports.select(X, [1], rng=0, level="0.05"), "level is '0.05'; expected a number"),
    "half a replicate": (
        lambda: reports.select(X, [1], rng=0, replicates=99.5),
        r"replicates is 99\.5; expected a whole",
    ),
    "steps of ADVI as text": (lambda: Options(advi_steps="200"), "advi_steps is '200'; expected a whole number"),
}


@pytest.mark.parametrize("name", MISUSED)
def test_an_argument_of_another_type_is_named(name):
    call, message = MISUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.robustness("peers")
def test_one_candidate_one_criterion_and_a_random_state_will_do():
    """As scikit-learn takes them."""
    found = [
        reports.select(X, components, rng=np.random.RandomState(0), criteria=criteria, restarts=2).table
        for components, criteria in ((1, "bic"), (np.int64(1), "bic"), ([1], ["bic"]))
    ]
    for own in found[1:]:
        pd.testing.assert_frame_equal(own, found[0])


def test_a_ridge_where_no_column_has_a_variance_is_refused_before_the_fits():
    x = np.array([[1, 2], [2, 3], [5, 1], [7, 3]])
    with pytest.raises(ValueError, match=r"reg_covar is 0\.1, a variance, and no column is of numbers that have one"):
        reports.compare(x, 2, rng=0, kinds=["poisson", "poisson"], methods="em", reg_covar=0.1)
    with pytest.raises(ValueError, match=r"reg_covar is 0\.1, a variance, and no column is of numbers that have one"):
        reports.select(x, [1, 2], rng=0, kinds=["poisson", "poisson"], criteria="bic", reg_covar=0.1)
