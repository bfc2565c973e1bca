"""The overfitting study of linear dynamical systems: the test behind the fitted part, scores by densities of rows, "
"edges, the page."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from reports.page.overfit import render
from reports.studies.overfit import systems
from reports.studies.overfit.grid import Cell, Truth, parse, preset
from reports.studies.overfit.measure import measure
from reports.studies.overfit.study import load, run
from reports.studies.overfit.truths import replicate

TRUTH = Truth("linear", 2, 1)


def test_fewer_rows_are_the_last_of_more_and_the_test_follows_them():
    few, many = (replicate(TRUTH, n, 30, 0, 1) for n in (10, 25))
    np.testing.assert_array_equal(few.x.x, many.x.x[-10:])
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.series.x, np.vstack([few.x.x, few.test]))
    assert not np.allclose(replicate(TRUTH, 10, 30, 0, 2).test, few.test)


def test_the_oracle_scores_rows_by_the_density_of_the_whole_series():
    """The stationary series is one Gaussian vector with covariances C A^h C^T."""
    one = replicate(TRUTH, 4, 3, 0, 0)
    theta, x = one.truth.theta, one.series.x
    A, C, R = (theta[name] for name in ("transition", "emission", "observation_covariance"))
    powers = [np.linalg.matrix_power(A, h) for h in range(7)]
    blocks = [
        [C @ (powers[i - j] if i >= j else powers[j - i].T) @ C.T + (i == j) * R for j in range(7)] for i in range(7)
    ]
    whole = np.block(blocks)
    totals = [multivariate_normal(np.zeros(2 * n), whole[: 2 * n, : 2 * n]).logpdf(x[:n].ravel()) for n in range(1, 8)]
    np.testing.assert_allclose(one.truth.log_steps(one.series), np.diff(totals, prepend=0.0), rtol=1e-9)


def test_edges_by_hand():
    """Of three draws the median modulus is 1.1 and the median of the smallest variances a tenth of the true one."""
    A = np.array([0.5, 1.1, 1.2])[:, None, None] * np.eye(2)
    R = np.array([0.05, 0.05, 1.0])[:, None, None] * np.diag([1.0, 3.0])
    truth = systems.Linear({"observation_covariance": 0.5 * np.eye(2)})
    found = systems.extremes({"transition": A, "observation_covariance": R}, truth)
    assert found == {"smallest_variance": pytest.approx(0.1), "boundary": 1.0}


TINY = """
title = "Systems"
claim = "EM overfits them."
replicates = 2
test = 40
restarts = 1
truth = "linear"
K = 1
D = 2
[[block]]
n = [15, 30]
methods = ["em", "cavi"]
"""


def test_the_page_speaks_of_states_and_edges(tmp_path):
    study = run(parse(TINY, "tiny"), tmp_path / "study")
    rows = study.table
    assert set(rows["method"]) == {"oracle", "em", "cavi", "cavi-plugin"}
    assert (rows.loc[rows["method"] == "em", "train"] > rows.loc[rows["method"] == "cavi", "train"].to_numpy()).all()
    assert rows.query("method == 'cavi'")["cover_density"].between(0, 1).all()
    again = measure(next(c for c in parse(TINY, "tiny").cells if c.method == "em" and c.n == 15), [0])[0]
    assert again["test"] == rows.query("method == 'em' and n == 15 and replicate == 0")["test"].item()
    html = render(study)
    for said in (
        "Degenerate estimates",
        "an eigenvalue of A on or outside the unit circle",
        "given all points before it",
        "chains with an",
    ):
        assert said in re.sub(r"<[^>]+>", "", html), said
    assert "100%" in re.findall(r">([^<>]+)</td>\s*</tr>", html[html.index("median smallest") :])
    body = html[html.index("<main>") : html.index('id="glossary"')]
    assert " cluster" not in body.replace("[[cluster]]", "")
    assert "k-means" not in body


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("truth='linear'\nn=20\nstay=0.5", "stay is not of linear"),
        ("truth='linear'\nn=20\nseparation=2.0", "separation is of Gaussian"),
        ("truth='linear'\nn=2000", "at most 1000 rows"),
        ("truth='linear'\nn=20\nmethods=['nuts']", "methods has 'nuts'"),
        ("truth=['linear', 'gaussian']\nn=20", "a block of their own"),
    ],
)
def test_a_grid_of_systems_is_checked(block, message):
    with pytest.raises(ValueError, match=message):
        parse(f"[[block]]\n{block}", "g")


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("[[block]]\ntruth='linear'\nn=20", "stationry", "did you mean 'stationary'"),
        ("start='stationary'\n[[block]]\ntruth='linear'\nn=20", None, "cavi fits no stationary start"),
        ("start='diffuse'\n[[block]]\ntruth='linear'\nn=20", None, "em fits no diffuse start"),
        ("[[block]]\nn=20", "known", "start is of linear dynamical systems alone"),
    ],
)
def test_starts_that_a_grid_cannot_have_are_refused(text, start, message):
    with pytest.raises(ValueError, match=message):
        parse(text, "g", start=start)


@pytest.mark.filterwarnings("ignore:no convergence")
def test_states_start_as_the_grid_says(tmp_path):
    tiny = TINY.replace('"em"', '"map"')
    known, diffuse = (parse(tiny, "tiny", start=start) for start in (None, "diffuse"))
    assert {cell.start for cell in known.cells} == {None}
    assert {cell.id for cell in parse(tiny, "tiny", start="known").cells} == {cell.id for cell in known.cells}
    of_methods = [cell for cell in diffuse.cells if cell.method != "oracle"]
    assert {cell.start for cell in of_methods} == {"diffuse"}
    assert not {cell.id for cell in of_methods} & {cell.id for cell in known.cells}
    model = systems.fit("map", 1, 1, replicate(TRUTH, 30, 30, 0, 0).x, np.random.default_rng(0), "diffuse").model
    assert model.diffuse.all()
    one = replace(diffuse, replicates=2, cells=tuple(cell for cell in diffuse.cells if cell.n == 15))
    html = render(run(one, tmp_path / "own"), "results")
    assert "the first state has an infinite variance" in re.sub(r"<[^>]+>", "", html)
    assert {cell.start for cell in load(tmp_path / "own").grid.cells} == {None, "diffuse"}


def test_the_preset_is_of_systems_alone():
    cells = parse(preset("lds"), "lds").cells
    assert all(cell.truth.linear and cell.alpha is None for cell in cells)
    assert {cell.method for cell in cells} == {"oracle", "em", "map", "cavi", "gibbs"}
    assert Cell(TRUTH, 20, "em", 1, None, None, 0, 30, 1) != cells[0]
