"""The overfitting study of discrete data: known classes, estimates at the boundary, infinite scores, and what the page says."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest
from test_page import Page

from mixtures import Bernoulli, Categorical, Dirichlet, Draws, Fit, Poisson
from reports.metrics.boundary import at_boundary, impossible, to_boundary
from reports.studies.intervals import median_interval
from reports.studies.overfit import summary
from reports.studies.overfit.boundaries import boundaries
from reports.studies.overfit.fits import fit
from reports.studies.overfit.grid import KINDS, Cell, Truth, parse
from reports.studies.overfit.measure import measure
from reports.studies.overfit.study import run
from reports.studies.overfit.truths import MEAN, of_data_set, overall, replicate

TRUTHS = {
    "bernoulli": Truth("bernoulli", 3, 2, imbalance=2.0, concentration=1.0),
    "categorical": Truth("categorical", 3, 2, imbalance=2.0, concentration=1.0, levels=3),
    "poisson": Truth("poisson", 3, 2, imbalance=2.0, concentration=1.0),
}
every_kind = pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)

TINY = """
replicates = 4
test = 300
restarts = 2
K = 2
D = 3
[[block]]
truth = ["categorical", "poisson"]
n = [8, 20]
methods = ["em", "map", "cavi"]
"""


def cell(method, truth, n=10, k=2, alpha=1.0, test=300):
    return Cell(truth, n, method, k, None, alpha, seed=0, test=test, restarts=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return run(parse(TINY, "tiny"), tmp_path_factory.mktemp("tiny"))


@every_kind
def test_fewer_points_are_the_first_of_more_and_follow_the_density(truth):
    """Shares of the most frequent points among 20,000, against their probabilities; the moments of all."""
    few, many = (replicate(truth, n, 20_000, 0, 1) for n in (10, 30))
    np.testing.assert_array_equal(few.x, many.x[:10])
    np.testing.assert_array_equal(few.test, many.test)
    assert not np.array_equal(few.x, replicate(truth, 10, 5, 0, 2).x)
    points, counts = np.unique(few.test, axis=0, return_counts=True)
    p = np.exp(few.truth.log_predictive(points))
    some = counts > 200
    assert (np.abs(counts - 20_000 * p) / np.sqrt(20_000 * p * (1 - p)))[some].max() < 5
    z = few.truth.fit.family.coordinates(few.test)
    mean, covariance = few.truth.moments
    np.testing.assert_allclose(z.mean(0), mean, atol=5 * z.std(0).max() / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.1 * covariance.max())


def test_known_classes_sum_to_one_over_all_points():
    for truth, values in ((TRUTHS["bernoulli"], range(2)), (TRUTHS["categorical"], range(3))):
        every = np.array([*itertools.product(values, repeat=3)], float)
        assert np.exp(replicate(truth, 5, 5, 0, 0).truth.log_predictive(every)).sum() == pytest.approx(1)


def theta(one):
    """The true probabilities or rates."""
    return next(iter(one.truth.fit.held.theta.values()))


def test_true_parameters_come_from_the_stated_prior():
    """The mean of 60 truths' probabilities and rates, within 5 standard errors; small concentrations lie at the ends."""
    found = {
        kind: np.concatenate([theta(replicate(truth, 2, 2, 0, r)).ravel() for r in range(60)])
        for kind, truth in TRUTHS.items()
    }
    for kind, mean in (("bernoulli", 1 / 2), ("categorical", 1 / 3), ("poisson", MEAN)):
        own = found[kind]
        assert abs(own.mean() - mean) < 5 * own.std() / np.sqrt(len(own))
    near = [replicate(replace(TRUTHS["bernoulli"], concentration=a), 2, 2, 0, 0).truth for a in (0.05, 50.0)]
    spread = [np.abs(one.fit.held.theta["probabilities"] - 0.5).mean() for one in near]
    assert spread[0] > 0.4 > 0.1 > spread[1]


def test_gaussian_cells_keep_their_names_and_their_data():
    """The digests under which measured cells are kept, and the data that belong to a truth."""
    one = Cell(Truth("gaussian", 2, 3, 3.0, 2.0), 20, "em", 3, "full", None, seed=0, test=10_000, restarts=5)
    assert one.truth.facts() == {
        "name": "gaussian", "d": 2, "k": 3, "separation": 3.0, "imbalance": 2.0, "rows": None, "digest": None,
    }  # fmt: skip
    assert "concentration" not in one.truth.facts()
    discrete = cell("em", TRUTHS["bernoulli"])
    assert discrete.id != replace(discrete, truth=replace(discrete.truth, concentration=2.0)).id


# boundaries


def point(family, weights, **theta):
    held = Draws(np.array(weights)[None, None], {name: np.array(v)[None, None] for name, v in theta.items()})
    return Fit("em", "point", family, Dirichlet.symmetric(len(weights)), held, np.empty(0), True, {})


def test_an_estimate_all_but_zero_moves_there_unless_the_data_need_it():
    x = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    family = Bernoulli.from_data(x, 1, a0=1.0, b0=1.0)
    almost = point(family, [1.0], probabilities=[[1e-9, 2 / 3]])
    moved = to_boundary(almost, x)
    assert moved.held.theta["probabilities"].tolist() == [[[[0.0, 2 / 3]]]]
    assert at_boundary(moved)
    assert not at_boundary(almost)
    assert impossible(moved.log_predictive(np.array([[1.0, 0.0], [0.0, 0.0]]))) == 0.5
    needed = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert to_boundary(almost, needed) is almost
    inside = point(family, [1.0], probabilities=[[0.1, 2 / 3]])
    assert to_boundary(inside, x) is inside


def test_draws_are_at_the_boundary_where_all_of_them_are():
    family = Poisson.from_data(np.ones((2, 1)), 1)
    held = Draws(np.ones((1, 2, 1)), {"rates": np.array([[[[0.0]], [[1.0]]]])})
    two = replace(point(family, [1.0], rates=[[1.0]]), posterior=held)
    assert not at_boundary(two)
    both = replace(two, posterior=Draws(held.weights, {"rates": np.zeros((1, 2, 1, 1))}))
    assert at_boundary(both)


@every_kind
def test_maximum_likelihood_rules_out_and_the_posterior_does_not(truth):
    """A level that no point to fit has: EM's test score is minus infinity, its loss infinite, and CAVI's are not."""
    seen = replicate(truth, 10, 300, 0, 0)
    rows = {row["method"]: row for method in ("em", "cavi") for row in measure(cell(method, truth), [0])}
    (fitted,) = fit(cell("em", truth), [seen])
    log_p = fitted.log_predictive(seen.test)
    assert rows["em"]["impossible"] == np.isneginf(log_p).mean()
    assert rows["em"]["boundary"] == 1
    assert rows["em"]["kl"] == (np.inf if np.isneginf(log_p).any() else rows["em"]["kl"])
    for method in ("cavi", "cavi-plugin"):
        assert rows[method]["boundary"] == rows[method]["impossible"] == 0
        assert np.isfinite(rows[method]["kl"])
    assert 0 <= rows["cavi"]["cover_dependence"] <= 1
    assert "cover_variance" not in rows["cavi"]


def test_predictive_probabilities_are_those_at_the_posterior_mean():
    """Of Bernoulli and categorical features to rounding, of counts not: PRML 2.20, a negative binomial."""
    gaps = {}
    for kind, truth in TRUTHS.items():
        predictive, plugin = (row["test"] for row in measure(cell("cavi", truth), [0]))
        gaps[kind] = abs(predictive - plugin)
    assert gaps["bernoulli"] < 1e-12 > gaps["categorical"]
    assert gaps["poisson"] > 1e-3


def test_coverage_of_one_class_is_as_stated():
    """100 data sets from the prior under which they are fitted, flat: within 4 standard errors, and the covariance with it."""
    alone = Truth("bernoulli", 2, 1, concentration=1.0)
    rows = [row for row in measure(cell("cavi", alone, n=40, k=1, test=30), range(60)) if row["method"] == "cavi"]
    mean = np.mean([row["cover_mean"] for row in rows])
    assert mean == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 120))


def test_moments_of_known_classes_by_hand():
    mean, covariance = overall(np.array([0.25, 0.75]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros((2, 2, 2)))
    np.testing.assert_allclose(mean, [0.75, 0.25])
    np.testing.assert_allclose(covariance, [[3 / 16, -3 / 16], [-3 / 16, 3 / 16]])


# summaries


def test_the_interval_of_a_median_holds_it(rng):
    """Against its stated probability by simulation, and with infinite values by hand."""
    x = rng.standard_exponential((4000, 15))
    ends = np.array([median_interval(each, 0.05) for each in x])
    inside = np.mean((ends[:, 1] <= np.log(2)) & (np.log(2) <= ends[:, 2]))
    j = 4  # of 15, four lie below with probability 0.018 on each side
    expected = 1 - 2 * binom.cdf(j - 1, 15, 0.5)
    assert expected > 0.95
    assert inside == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    assert median_interval(np.array([1.0, np.inf, np.inf]), 0.05) == (np.inf, -np.inf, np.inf)
    assert median_interval(np.array([*range(9), np.inf]), 0.05)[:2] == (4.5, 1.0)


def scores(em, cavi, **settings):
    one = dict.fromkeys(summary.SETTINGS) | {"truth": "bernoulli", "true_k": 2, "k": 2, "n": 20} | settings
    gaussian = one["truth"] == "gaussian"
    return pd.DataFrame(
        [
            one | {"method": m, "replicate": r, "test": x, "impossible": np.nan if gaussian else float(x == -np.inf)}
            for m, v in (("em", em), ("cavi", cavi))
            for r, x in enumerate(v)
        ]
    )


def test_infinite_scores_are_neither_dropped_nor_averaged():
    """CAVI above EM in 12 of 12 is decided, nine of them by infinity; a mean of the three others would not be."""
    cavi = np.full(12, -2.0)
    em = np.array([-2.001, -2.002, -5.0, *[-np.inf] * 9])
    found = summary.against(scores(em, cavi), "cavi", ["em"]).iloc[0]
    assert found["decided"] == 1
    assert found["median"] == np.inf
    assert found["low"] == pytest.approx(0.001 if binom.cdf(0, 12, 0.5) > 0.025 else 3.0)
    assert np.isnan(found["simultaneous"])
    assert found["wins"] == 1
    both = summary.against(scores(np.full(12, -np.inf), np.full(12, -np.inf)), "cavi", ["em"]).iloc[0]
    assert (both["decided"], both["median"]) == (0, 0)
    gaussian = summary.against(scores(em, cavi, truth="gaussian"), "cavi", ["em"]).iloc[0]
    assert np.isnan(gaussian["median"])
    assert gaussian["both"] == 3


def test_sign_tests_and_t_intervals_share_the_level():
    """Of two differences, each at 2.5%: the median's interval is the wider order statistic's."""
    rng = np.random.default_rng(0)
    table = pd.concat([scores(-rng.random(20), np.zeros(20), n=n) for n in (10, 20)])
    found = summary.against(table, "cavi", ["em"])
    ordered = np.sort(-table.query("method == 'em' and n == 10")["test"])
    assert found["low"].iloc[0] == ordered[int(binom.ppf(0.025 / 2, 20, 0.5)) - 1]


def test_curves_of_medians_count_infinity():
    table = pd.DataFrame({"method": "em", "n": 20, "kl": [1.0, 2.0, np.inf, np.nan, 3.0, np.inf, np.inf]})
    row = summary.curve(table, "n", "kl", medians=True).iloc[0]
    assert (row["centre"], row["count"], row["infinite"], row["total"]) == (np.inf, 6, 3, 7)
    assert summary.curve(table.dropna(), "n", "kl", medians=True).iloc[0]["low"] == 1.0


def test_shares_at_the_boundary_have_exact_intervals_that_hold_together(tiny):
    found = boundaries(summary.with_outcomes(tiny.table))
    own = found[(found["method"] == "em") & (found["truth"] == "categorical") & (found["n"] == 8)].iloc[0]
    rows = tiny.table.query("method == 'em' and truth == 'categorical' and n == 8")
    ended = rows["impossible"].dropna()
    level = 1 - 0.05 / (2 * len(found))
    exact = binomtest(int((ended > 0).sum()), len(ended)).proportion_ci(level, "exact")
    assert (own["infinite_low"], own["infinite_high"]) == pytest.approx((exact.low, exact.high))
    assert own["fits"] == 4
    assert set(found["method"]) == {"em", "map", "cavi", "cavi-plugin", "single"}


def test_an_infinite_choice_is_counted_apart():
    rows = [
        {"method": "em", "k": k, "replicate": r, "aic": -k, "bic": 0.0, "icl": 0.0, "test": test, "kl": -test}
        for r in range(3)
        for k, test in ((1, -1.0), (2, -np.inf if r else -2.0))
    ]
    found = summary.selection(pd.DataFrame(rows), 2.0).set_index("criterion")
    assert found.loc["AIC", "infinite"] == 0 + 2 * (found.loc["AIC", "of"].get(2, 0) == 3)
    assert found.loc["AIC", "loss"] == 1.0
    assert found.loc["test score of EM", "infinite"] == 0


# the page


def test_page_says_what_is_ruled_out(tiny):
    from reports.page.overfit import render
    from reports.page.overfit_findings import findings, short_answer
    from reports.page.overfit_view import View

    view = View(tiny)
    answer = short_answer(view)
    em = view.table[(view.table["method"] == "em") & view.table["infinite"].notna()]
    assert answer.startswith("Fits that hold a test point impossible")
    assert f"EM {100 * em['infinite'].mean():.1f}".rstrip("0").rstrip(".") in answer
    assert "CAVI 0% of" in answer
    assert "of medians, by order statistics, Bonferroni over the" in answer
    said = " ".join(findings(view).blocks[0].items)
    assert re.search(r"EM: [\d.]+% of \d+ fits have an estimate at the boundary", said)
    assert "Of categorical features CAVI’s predictive distribution is that at its posterior mean" in said
    assert re.search(r"above zero in [\d.]+% of the replicates and infinite in \d of 4", said)
    assert re.search(r"median in nats a point: \S+( \(\S+ to \S+\))? at n\s=\s8, above zero", said)
    html = render(tiny, "out")
    page = Page(html)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    order = re.findall(r'<section id="(\w+)"', html)
    assert order[:4] == ["claim", "boundary", "score", "found"]
    assert "collapse" not in order
    assert "infinite values included" in html
    assert "Smallest variance" not in html
    assert not re.search(
        r"\b(nan|inf)\b", re.sub(r"<script>.*</script>|base64,[^\"]*", "", html, flags=re.DOTALL), re.IGNORECASE
    )


def test_a_grid_may_mix_gaussian_and_discrete_truths():
    grid = parse('[[block]]\ntruth = ["gaussian", *]\nn = 20'.replace("*", '"poisson"'), "grid")
    assert {(one.truth.name, one.covariance) for one in grid.cells if one.method == "em"} == {
        ("gaussian", "full"), ("poisson", None),
    }  # fmt: skip
    assert parse("reg_covar = 0.1\n[[block]]\ntruth = 'poisson'\nn = 20", "ridge").cells[0].reg_covar == 0
    assert {one.truth.levels for one in parse("[[block]]\ntruth='categorical'\nn=20\nlevels=[2,5]", "g").cells} == {
        2,
        5,
    }
    assert set(KINDS) == set(TRUTHS)


def test_real_data_are_fitted_by_the_kinds_of_their_columns():
    """Binary items are a Bernoulli mixture, and a table of several kinds a product with all levels, numbers among them."""
    grid = parse("[[block]]\ntruth = ['carcinoma', 'heart']\nn = 60\nfitted_K = 2\nmethods = ['em', 'cavi']", "grid")
    cells = {(one.truth.name, one.method): one for one in grid.cells}
    assert cells["carcinoma", "em"].covariance is None
    assert cells["heart", "em"].covariance == "full"
    rows = {row["method"]: row for method in ("em", "cavi") for row in measure(cells["carcinoma", method], [0])}
    assert {row.get("failure") for row in rows.values()} == {None}
    assert rows["em"]["boundary"] == 1
    assert rows["cavi"]["impossible"] == 0
    one = replicate(cells["heart", "em"].truth, 60, 0, 0, 0)
    family = of_data_set("heart", one.x, 2, "full")
    assert [part.name for part in family.parts] == ["gaussian", "poisson", "categorical"]
    assert [*of_data_set("heart", one.x[:30], 2, "full").parts[2].levels] == [*family.parts[2].levels]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n = 20\ntruth = 'bernoulli'\nseparation = 2.0", "separation is of Gaussian clusters, and bernoulli is none"),
        ("n = 20\ntruth = 'poisson'\ncovariance = 'full'", "covariance is of Gaussian clusters"),
        ("n = 20\nconcentration = 2.0", "concentration is of a discrete kind, and gaussian is none"),
        ("n = 20\ntruth = 'bernouli'", "did you mean 'bernoulli'?"),
        ("n = 20\ntruth = 'categorical'\nlevels = 1", "levels is 1; expected a whole number of at least 2"),
        ("n = 20\ntruth = 'bernoulli'\nconcentration = 0", "concentration is 0; expected a number above 0"),
    ],
)
def test_a_bad_discrete_grid_says_why(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(f"[[block]]\n{text}", "grid")


def test_levels_are_those_of_the_truth():
    """A level that no point has is fitted all the same."""
    truth = replace(TRUTHS["categorical"], levels=6)
    (fitted,) = fit(cell("map", truth, n=4), [replicate(truth, 4, 5, 0, 0)])
    assert isinstance(fitted.family, Categorical)
    assert fitted.family.levels == (6, 6, 6)
