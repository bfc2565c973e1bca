"""The overfitting study of series: known chains, the test behind the fitted part, scores by paths, and the page."""

from itertools import pairwise, product

import numpy as np
import pytest

from mixtures import COVARIANCES, Markov
from mixtures.methods import cavi, em
from mixtures.rows.sequences import Sequences
from reports.page.overfit import render
from reports.studies.overfit import chains
from reports.studies.overfit.fits import _family
from reports.studies.overfit.grid import Cell, Truth, parse, preset
from reports.studies.overfit.measure import measure
from reports.studies.overfit.study import run
from reports.studies.overfit.truths import replicate

TRUTHS = {
    "gaussian": Truth("gaussian", 2, 3, separation=3.0, stay=0.8),
    "categorical": Truth("categorical", 2, 3, concentration=1.0, levels=3, stay=0.8),
}
every = pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)


def cell(method, truth, n=15, k=3):
    return Cell(truth, n, method, k, "full" if truth.name == "gaussian" else None, 1.0, seed=0, test=40, restarts=2)


@every
def test_fewer_points_are_the_last_of_more_and_the_test_follows_them(truth):
    few, many = (replicate(truth, n, 30, 0, 1) for n in (10, 25))
    np.testing.assert_array_equal(few.x.x, many.x.x[-10:])
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.series.x, np.vstack([few.x.x, few.test]))


def test_states_stay_as_often_as_they_should_also_where_the_test_begins():
    """3000 labels of the test and 3000 of the past, and 100 first ones, within 4 binomial standard errors."""
    truth = Truth("gaussian", 1, 2, separation=30.0, stay=0.7)
    one = replicate(truth, 3000, 3000, 0, 0)
    labels = one.labels.astype(int)
    for z in (labels, one.truth.emissions.log_densities(one.x.x).argmax(1)):
        assert abs(np.mean(z[1:] == z[:-1]) - 0.7) < 4 * np.sqrt(0.21 / 3000)
    starts = [replicate(truth, 2, 2, 0, i) for i in range(100)]
    kept = [r.truth.emissions.log_densities(r.x.x[-1:]).argmax() == int(r.labels[0]) for r in starts]
    assert abs(np.mean(kept) - 0.7) < 4 * np.sqrt(0.21 / 100)


@every
def test_a_score_is_the_ratio_of_sums_over_all_paths(truth, rng):
    """p(x_1 .. x_t) of the true chain by enumeration; of a fit by its own likelihood."""
    one = replicate(truth, 3, 3, 0, 0)
    p, A = np.exp(one.truth.emissions.log_densities(one.series.x)), one.truth.transitions

    def evidence(n):
        paths = product(range(3), repeat=n)
        return sum(np.prod([A[i, j] for i, j in pairwise(z)]) * np.prod(p[range(n), z]) / 3 for z in paths)

    totals = np.log([1.0, *(evidence(n) for n in range(1, 7))])
    np.testing.assert_allclose(one.truth.log_steps(one.series), np.diff(totals), rtol=1e-9)
    one = replicate(truth, 40, 20, 0, 0)
    (row,) = measure(cell("em", truth, n=40, k=1), [0])
    fit = em.fit(one.x, _family(cell("em", truth, 40, 1), one.x.x, 1), Markov.symmetric(1), rng=rng)
    of_all, of_fitted = (
        fit.log_likelihood(Sequences(x)).sum() for x in (replicate(truth, 40, 40, 0, 0).series.x, one.x.x)
    )
    assert row["test"] == pytest.approx((of_all - of_fitted) / 40, rel=1e-6)
    assert row["train"] == pytest.approx(of_fitted / 40, rel=1e-6)


def test_draws_weigh_the_same_at_every_step(rng):
    """The log of the mean over draws of one-step densities, not of those of whole sequences; by likelihoods of parts."""
    one = replicate(TRUTHS["gaussian"], 12, 3, 0, 0)
    fit = cavi.fit(one.x, COVARIANCES["full"].from_data(one.x.x, 2), Markov.symmetric(2), rng=rng)
    drawn = fit.as_draws(1, 50, rng)
    parts = np.stack([drawn.log_likelihood(Sequences(one.series.x[:n]))[0, :, 0] for n in range(1, 16)], axis=1)
    steps = np.diff(parts, prepend=0.0)
    found = chains.log_steps(drawn, one.series, 1, one.draws)
    np.testing.assert_allclose(found, np.log(np.exp(steps).mean(0)), rtol=1e-9)


TINY = """
replicates = 2
test = 60
restarts = 2
D = 1
K = 2
stay = 0.9
[[block]]
n = [8, 30]
methods = ["em", "cavi"]
"""


def test_the_page_speaks_of_states(tmp_path):
    study = run(parse(TINY, "tiny"), tmp_path / "study")
    assert study.table.query("method == 'cavi'")["cover_stay"].dropna().between(0, 1).all()
    html = render(study)
    for said in ("Occupied states", "last points before the test of a larger one", "given all points before it",
                 "one state", "that follow the fitted part of the same series", "the mean probability to stay"):  # fmt: skip
        assert said.lower() in html.lower(), said
    body = html[html.index("<main>") : html.index('id="glossary"')]
    assert " cluster" not in body.replace("[[cluster]]", "")


def test_a_grid_of_series_is_checked():
    assert {one.truth.stay for one in parse(preset("hmm"), "hmm").cells} == {0.5, 0.9}
    assert Truth("gaussian", 2, 3).facts() == {k: v for k, v in TRUTHS["gaussian"].facts().items() if k != "stay"} | {
        "separation": None
    }
    with pytest.raises(ValueError, match="stay is 1; expected a number between 0 and 1"):
        parse("[[block]]\nstay=1\nn=20", "g")
    with pytest.raises(ValueError, match="equally frequent; leave imbalance out"):
        parse("[[block]]\nstay=0.9\nimbalance=2.0\nn=20", "g")
    with pytest.raises(ValueError, match="stay is of simulated"):
        parse("stay=0.9\n[[block]]\ntruth=['faithful', 'gaussian']\nn=20", "g")
