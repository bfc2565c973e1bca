"""Comparisons of sequences: what is measured of a hidden Markov model, its page, and what is refused."""

import re

import numpy as np
import pytest
from scipy.stats import poisson

from mixtures import Dirichlet, GaussianMixture, datasets
from mixtures.allocations.markov import Markov
from mixtures.datasets import DataError, simulate_series
from mixtures.datasets.series import lengths_of
from mixtures.families.poisson import Poisson
from mixtures.methods import cavi, em, exact, gibbs
from mixtures.rows.sequences import Sequences
from mixtures.sequences import given
from reports import Results, compare, select
from reports.comparison import catalogue, in_order
from reports.comparison.added import as_added
from reports.comparison.catalogue import Options
from reports.comparison.prepared import prepare
from reports.metrics import ahead, chain, evidence, future, paths, series_checks
from reports.page import blocks
from reports.page.agreement import boundary
from reports.page.blocks import embedded
from reports.page.build import figures, write
from reports.page.scores import prediction
from reports.page.sections import SECTIONS
from reports.page.states import times
from reports.page.view import View

METHODS = ("em", "map", "cavi", "gibbs")


@pytest.fixture(scope="module")
def short():
    """Ten counts in two sequences, few enough for the exact posterior, which is the reference."""
    x = np.array([0, 1, 0, 1, 9, 8, 1, 10, 9, 11])[:, None]
    return compare(
        x, 2, rng=1, methods=METHODS, sequences=[6, 4], kinds=["poisson"], features=["n"], draws=250, chains=2
    )


def of(result):
    return result.results.metrics.set_index(["method", "metric", "target"])["value"]


def test_every_method_is_measured_and_judged(short):
    assert short.failures == {}
    manifest, found = short.results.manifest, of(short)
    assert manifest["reference"]["method"] == "exact"
    assert manifest["data"]["lengths"] == [6, 4]
    claims = ["initial", "transitions", "rates", "clusters", "density"]
    assert list(manifest["model"]["blocks"]) == claims[:3]
    for method in METHODS:
        assert list(manifest["verdict"][method]) == claims
        assert "differs" not in {said["state"] for said in manifest["verdict"]["gibbs"].values()}
        assert np.isfinite(found[method, "train_log_density", "data"])
        assert found[method, "visits", "cluster 0"] >= 1
    for metric in ("width_ratio", "coverage95"):
        assert np.isfinite(found["cavi", metric, "transitions"])
        assert np.isfinite(found["cavi", metric, "log dwell time[0]"])
        assert np.isfinite(found["cavi", metric, "stationary[0]"])


def test_series_too_short_for_leave_future_out_say_so(short):
    assert short.results.manifest["leave_future_out"]["gibbs"]["missing"].startswith("the longest sequence has 6 steps")
    text = " ".join(block.text for block in prediction(View(short.results)).blocks if block.kind == "notice")
    assert "CAVI has no leave-future-out score: the longest sequence has 6 steps" in text


def test_the_start_of_one_sequence_is_no_difference_of_a_point_estimate():
    """The likelihood is linear in it; with two sequences an estimate at the boundary is compared as any other."""
    x = np.array([0, 1, 0, 1, 9, 8, 1])[:, None]
    said = {}
    for lengths in ([7], [3, 4]):
        result = compare(
            x, 2, rng=1, methods=["em"], sequences=lengths, kinds=["poisson"], features=["n"], draws=100, chains=2
        )
        said[len(lengths)] = result.results
    one = said[1].manifest["verdict"]["em"]["initial"]
    assert one["state"] == "cannot tell"
    assert one["because"] == in_order.ONE_START
    metrics = said[1].metrics.query("method == 'em' and metric == 'median_shift'")
    assert not metrics["target"].str.startswith("initial").any()
    assert np.isfinite(metrics["value"]).all()
    texts = [notice.text for notice in boundary(View(said[1]))]
    assert len(texts) == 1
    assert texts[0].startswith("EM estimates initial[0] as 0 or 1. There is one sequence")
    assert said[2].manifest["verdict"]["em"]["initial"]["state"] == "differs"


def test_nothing_takes_rows_for_exchangeable(short):
    metrics = set(short.results.metrics["metric"])
    assert not {"elpd_loo", "elpd_loo_refitted", "elpd_loo_approximate", "g2", "bvr"} & metrics
    for tree in short.results.trees.values():
        assert not {"loo", "loo_refitted", "loo_approximate", "residuals"} & set(tree.children)


def test_evidence_by_bridge_and_exact_sums_agree(short):
    metrics = short.results.metrics
    bridge = metrics.query("method == 'gibbs' and metric == 'log_evidence' and target == 'bridge'").iloc[0]
    exactly = of(short)["exact", "log_evidence", "exact"]
    assert abs(bridge["value"] - exactly) < 4 * bridge["se"] + 1e-3
    assert bridge["se"] < 0.1
    assert of(short)["cavi", "log_evidence", "elbo"] <= exactly


def test_the_number_of_parameters_and_the_criteria(short):
    found = of(short)
    # One start, two rows of one free transition each, two rates.
    assert found["em", "n_parameters", "data"] == 1 + 2 + 2 == short.results.manifest["model"]["n_parameters"]
    L = found["em", "log_likelihood", "point"]
    assert found["em", "aic", "data"] == pytest.approx(2 * 5 - 2 * L)
    assert found["em", "bic", "data"] == pytest.approx(5 * np.log(10) - 2 * L)


def test_the_page_shows_the_series_and_its_chain(short, tmp_path, monkeypatch):
    view = View(Results.load(short.results.save(tmp_path / "r")))
    sections = [section for make in SECTIONS if (section := make(view)) is not None]
    drawn = figures(sections)
    for name in ("answer", "transitions", "dwell", "pseudo-residuals"):
        assert embedded(drawn[name], raster=False)
    monkeypatch.setattr(blocks, "embedded", lambda figure, raster: b"")  # other figures are drawn by other tests
    html = write(view, sections)
    words = " ".join(re.sub("<[^>]+>", " ", html).split())
    for figure in ("fig-answer", "fig-transitions", "fig-dwell", "fig-pseudo-residuals", "table-chain"):
        assert f'id="{figure}"' in html
    assert "hidden Markov model of 2 Poisson states" in words
    assert "10 points in 2 sequences of 4 to 6" in words
    assert "leave-one-out scores are shown" not in words
    assert "nan" not in words.lower().split()


def test_the_time_of_rows_is_their_name_where_it_rises_evenly():
    time, label = times(np.array(["1900", "1901", "1902"]), 1)
    assert (time.tolist(), label) == ([1900, 1901, 1902], "time")
    assert times(np.array(["1900", "1901", "1902"]), 2)[1] == "row"
    assert times(np.array(["a", "b"]), 1)[0].tolist() == [1, 2]


def test_stationary_and_dwell_times_by_hand():
    A = np.array([[0.9, 0.1], [0.3, 0.7]])
    assert chain.long_run(A) == pytest.approx([0.75, 0.25])  # 0.3 / (0.1 + 0.3)
    both = chain.long_run(np.stack([A, np.eye(2)]))
    assert both[0] == pytest.approx([0.75, 0.25])
    assert np.isnan(both[1]).all()
    assert chain.dwell_times(np.array([0, 0, 1, 1, 1, 0]), np.array([0, 3, 6])) == [(0, 2), (1, 1), (1, 2), (0, 1)]


def model(x, K=2):
    family = Poisson.from_data(x.x, K)
    return family, Markov.symmetric(K)


@pytest.fixture(scope="module")
def counts():
    return Sequences(np.array([0, 1, 0, 9, 8, 10, 1, 0])[:, None].astype(float), [5, 3])


@pytest.fixture(scope="module")
def sampled(counts):
    return gibbs.fit(counts, *model(counts), rng=0, draws=200, chains=2)


def test_one_step_densities_integrate_to_one(sampled, counts):
    grid = np.arange(60.0)[:, None]
    at = np.array([0, 3, 6])
    for t in at:
        log_p = ahead.log_densities(sampled, counts, np.full(60, t), grid)
        assert np.exp(log_p).sum(-1) == pytest.approx(np.ones(log_p.shape[:2]), abs=1e-6)


def test_steps_sum_to_the_likelihood_of_sequences(sampled, counts):
    steps = sampled.log_steps(counts)
    each = np.stack([steps[..., own].sum(-1) for own in counts.slices()], axis=-1)
    assert each == pytest.approx(sampled.log_likelihood(counts))
    rows = np.arange(len(counts))
    densities = np.concatenate([ahead.log_densities(sampled, counts, rows[[t]], counts.x[[t]]) for t in rows], axis=-1)
    assert densities == pytest.approx(steps)


def test_the_held_out_end_has_its_conditional_density(counts):
    family, allocation = model(counts)
    point = em.fit(counts, family, allocation, rng=0)
    whole = point.log_likelihood(counts)[0, 0]
    first = point.log_likelihood(Sequences(np.delete(counts.x, [3, 4, 7], axis=0), [3, 2]))[0, 0]
    found = ahead.heldout(point, counts, (2, 1))
    assert [found[:2].sum(), found[2]] == pytest.approx(whole - first)


def test_paths_share_states_as_often_as_in_the_exact_posterior(counts):
    family, allocation = model(counts)
    truth = exact.fit(counts, family, allocation)
    drawn = truth.as_draws(2, 1000, 0)
    together, occupied = paths.shared(drawn, counts, np.arange(8), 1)
    off = ~np.eye(8, dtype=bool)
    assert together.matrix[off] == pytest.approx(truth.info["coclustering"][off], abs=5 * 0.5 / np.sqrt(2000))
    expected = np.arange(1, 3) @ truth.info["occupied"]
    assert occupied == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(2000))


def test_pseudo_residuals_are_uniform_under_the_model():
    series = simulate_series([400, 200], 2, 1, separation=3.0, rng=3)
    x = series.rows
    data = prepare(series.data.x, None, None, None, 0, False, np.random.default_rng(0), sequences=series.lengths)
    fit = em.fit(x, data.model(2, "full"), Markov.symmetric(2), rng=0)
    rows, found = ahead.pseudo_residuals(fit, x, ("x1",), 0)
    value = {(row.metric, row.target): (row.value, row.se) for row in rows}
    for metric, expected in (("pseudo_mean", 0), ("pseudo_sd", 1)):
        mean, se = value[metric, "x1"]
        assert abs(mean - expected) < 4 * se
    assert np.abs(found["acf"].values).max() < 5 / np.sqrt(600)
    mixed = em.fit(x, data.model(1, "full"), Markov.symmetric(1), rng=0)
    assert ahead.pseudo_residuals(mixed, x, ("x1",), 0)[1]["acf"].values[0, 0] > 0.3  # one state knows no order


def test_the_pseudo_residual_of_a_count_lies_between_its_probabilities(counts):
    """By the forward recursion, step by step; a count's probability is drawn evenly between those of less and of no more."""
    fit = em.fit(counts, *model(counts), rng=0)
    theta = {name: v.values[0, 0] for name, v in fit.draws(1, 0)["posterior"].data_vars.items()}
    u = np.array([ahead.uniform(fit, counts, seed)[:, 0] for seed in range(60)])
    for rows in counts.slices():
        p = theta["initial"]
        for t in range(rows.start, rows.stop):
            low, high = (p @ poisson.cdf(counts.x[t, 0] - less, theta["rates"][:, 0]) for less in (1, 0))
            assert ((low <= u[:, t]) & (u[:, t] <= high)).all()
            assert abs(u[:, t].mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * 60)
            p = p * poisson.pmf(counts.x[t, 0], theta["rates"][:, 0])
            p = p / p.sum() @ theta["transitions"]


def test_runs_and_repeats_end_with_their_sequence_and_at_gaps():
    x = Sequences(np.array([5.0, 6, 1, 1, 7, 8, 9, np.nan, 9, 1])[:, None], [5, 5])
    found = series_checks.InOrder(x, ["a"], ["gaussian"])(x.x[None])
    assert found["longest run above median[a]"][0] == 2  # 7 | 8 9: median 6
    assert found["mean run above median[a]"][0] == pytest.approx((1 + 2 + 1) / 3)
    codes = Sequences(np.array([0.0, 0, 1, 1, 1, 1, np.nan, 1])[:, None], [4, 4])
    found = series_checks.InOrder(codes, ["a"], ["categorical"])(codes.x[None])
    assert found["share of repeats[a]"][0] == pytest.approx(3 / 4)
    assert found["longest run of a level[a]"][0] == 2


def test_replicates_have_the_transitions_of_their_draws():
    weights = np.array([[[0.0, 0.2, 0.8], [1.0, 0.6, 0.4]]])
    z = series_checks.states(np.repeat(weights, 50, 0), np.array([100, 100]), 0)
    assert (z[:, [0, 100]] == 1).all()
    before, after = np.delete(z, [99, 199], 1), np.delete(z, [0, 100], 1)
    for state, stay in ((0, 0.2), (1, 0.4)):
        share = (after[before == state] == state).mean()
        assert share == pytest.approx(stay, abs=5 * np.sqrt(stay * (1 - stay) / (before == state).sum()))


def test_bridge_of_a_chain_is_the_exact_evidence(sampled, counts):
    family, allocation = model(counts)
    found = evidence.bridge(sampled, counts, 1)
    assert abs(found.value - exact.fit(counts, family, allocation).info["log_evidence"][-1]) < 4 * found.se + 1e-3


def test_the_last_part_of_each_sequence_is_held_out():
    x = np.arange(20.0)[:, None] % 7
    data = prepare(x, None, None, None, 0.2, False, np.random.default_rng(0), sequences=[10, 5, 5])
    assert data.rows_heldout.tolist() == [8, 9, 14, 19]
    assert (data.lengths, data.lengths_heldout) == ((8, 4, 4), (2, 1, 1))
    assert np.array_equal(data.whole.x, x)
    assert data.whole.lengths.tolist() == [10, 5, 5]


X = np.array([0.0, 1, 5, 6, 0, 1, 5, 7, 0, 1])[:, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequences": [4, 4]}, "add up to 8; x has 10 rows"),
        ({"sequences": [10, 0]}, "expected the number of rows of each sequence, at least 1"),
        ({"sequences": "id"}, "x is no DataFrame that has it"),
        ({"sequences": True, "start": "stationary", "methods": ["em", "cavi"]}, "cavi cannot fit a stationary start"),
        ({"sequences": True, "start": "stationary", "reference": "exact"}, "exact cannot fit a stationary start"),
        ({"start": "stationary"}, "the rows are not given as such"),
        ({"sequences": True, "start": "fixed"}, "expected free or stationary"),
        ({"sequences": True, "missing": "drop"}, "as if no time had passed"),
        ({"sequences": True, "sticky": -1.0}, "expected a number of at least 0"),
        ({"kinds": ["poisson"], "covariance": "tied"}, "no column is of numbers"),
    ],
)
def test_bad_input_is_refused_before_anything_is_fitted(settings, message):
    with pytest.raises(ValueError, match=message):
        compare(X, 2, rng=0, **settings)


def test_more_states_than_rows_and_gaps_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 10"):
        compare(X, 11, rng=0, sequences=True)
    with pytest.raises(ValueError, match="missing"):
        compare(np.where(X == 7, np.nan, X), 2, rng=0, sequences=True, methods=["em"])


def test_names_of_sequences_must_stand_together():
    assert lengths_of(["b", "b", "a"]) == (2, 1)
    with pytest.raises(DataError, match="comes back to 'a' in row 3"):
        lengths_of(["a", "b", "a"], "id")
    with pytest.raises(DataError, match="no value in row 2"):
        lengths_of(["a", None], "id")


def test_a_column_names_the_sequences_of_a_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("who,y\n" + "".join(f"{w},{v}\n" for w, v in zip("aaabbbb", [1, 2, 3, 4, 5, 6, 8], strict=True)))
    data = datasets.load(path, sequence="who")
    assert (data.features, data.lengths) == (("y",), (3, 4))
    with pytest.raises(DataError, match="no column 'wo' for --sequence; did you mean 'who'"):
        datasets.load(path, sequence="wo")
    with pytest.raises(DataError, match="named for something else too"):
        datasets.load(path, sequence="who", columns=["who", "y"])


def test_the_series_that_come_with_the_package_are_read_as_tables():
    quakes = datasets.load("earthquakes")
    assert (quakes.kinds, quakes.lengths, quakes.index[0]) == (("poisson",), (107,), "1900")
    speed = datasets.load("speed", columns=["rt", "corr"])
    assert (speed.kinds, speed.lengths) == (("gaussian", "bernoulli"), (168, 134, 137))
    chain_ = datasets.load("tsmatz-hmm", columns=["x2"])
    assert chain_.truth["means"].shape == (3, 1)
    assert set(chain_.labels) == {"0", "1", "2"}
    nile = datasets.load("nile")
    assert (nile.x[0, 0], nile.index[0], nile.lengths, nile.labels) == (1120, "1871", (100,), None)
    assert datasets.load("unemployment").index[-1] == "2009Q3"
    assert datasets.load("tsmatz-lds", columns=["x2"]).lengths == (2000,)


def test_the_number_of_states_is_chosen_by_criteria_that_know_their_order():
    x = np.array([0, 1, 0, 1, 9, 8, 10, 9, 0, 1, 1, 9])[:, None]
    criteria = ["bic", "elbo", "evidence", "cv"]
    found = select(x, [1, 2], rng=0, sequences=[4, 4, 4], kinds=["poisson"], criteria=criteria, restarts=4)
    assert found.manifest["folds"] == 3
    assert not found.manifest["failures"]
    value = found.table.set_index(["criterion", "components"])["value"]
    family, rows = Poisson.from_data(x, 2), Sequences(x.astype(float), [4, 4, 4])
    exactly = exact.fit(rows, family, Markov.symmetric(2)).info["log_evidence"][-1]
    assert value["evidence", 2] == pytest.approx(exactly)
    assert value["elbo", 2] <= exactly
    point = em.fit(rows, family, Markov.symmetric(2), rng=0)
    assert value["bic", 2] == pytest.approx(point.log_likelihood(rows).sum() - 5 / 2 * np.log(12))
    assert np.isfinite(value["cv", 2])


def test_leave_future_out_adds_up_to_a_ratio_of_exact_evidences(counts):
    """sum_t log p(x_t | x_1 .. x_(t-1)) = log p(x) - log p(beginning), for which the exact posterior has both numbers."""
    family, allocation = model(counts)
    rows = Sequences(np.array([0, 1, 0, 9, 8, 10, 9, 0, 1, 0])[:, None].astype(float))

    def evidence_of(x):
        return exact.fit(x, family, allocation).info["log_evidence"][-1]

    def draws(x):
        return exact.fit(x, family, allocation).as_draws(4, 2000, 1)

    found = future.leave_future_out(draws, rows, 3)
    assert found.elpd.shape == (7,)
    ratio = evidence_of(rows) - evidence_of(Sequences(rows.x[:3]))
    assert found.elpd.sum() == pytest.approx(ratio, abs=0.3)  # four times the spread over seeds
    assert (found.khat <= 0.7).all()
    assert 1 <= found.fits <= 7


def test_a_comparison_has_leave_future_out_of_methods_that_are_quick_to_fit_again(counts, sampled):
    """By Gibbs sampling within Monte Carlo error of a ratio of exact evidences, and no higher for CAVI by more than that."""
    family, allocation = model(counts)
    rows = Sequences(np.array([0, 1, 0, 9, 8, 10, 9, 0, 1, 0])[:, None].astype(float))
    own = {
        "gibbs": sampled,
        "cavi": cavi.fit(rows, family, allocation, rng=0),
        "em": em.fit(rows, family, allocation, rng=0),
    }
    streams = {m: np.random.default_rng(i) for i, m in enumerate(own)}
    found, facts = in_order._future(own, rows, Options(restarts=2), streams, "gibbs")
    values = {(row.method, row.metric): row.value for row in found}
    ends = [exact.fit(x, family, allocation).info["log_evidence"][-1] for x in (rows, Sequences(rows.x[:3]))]
    assert 7 * values["gibbs", "lfo_log_density"] == pytest.approx(ends[0] - ends[1], abs=0.4)
    assert values["cavi", "lfo_log_difference"] < 0.1
    assert set(facts) == {"cavi", "gibbs"}
    assert "less_gibbs" not in facts["cavi"]
    against_another = in_order._future(own, rows, Options(restarts=2), streams, "nuts")[1]["cavi"]["less_gibbs"]
    assert against_another[0] < 0.1
    assert against_another[1] > 0
    assert facts["gibbs"]["first"] == 3
    assert 1 <= facts["gibbs"]["fits"] <= 7


def test_leave_future_out_goes_on_step_by_step_in_all_sequences():
    x = Sequences(np.arange(9.0)[:, None], [5, 1, 3])
    assert future.beginning(x, 2).x.ravel().tolist() == [0, 1, 5, 6, 7]
    assert future.beginning(x, 2).lengths.tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="needs at least 8"):
        future.first_step(x.lengths)


def test_criteria_that_leave_out_single_rows_are_refused_for_sequences():
    with pytest.raises(ValueError, match="loo cannot judge sequences"):
        select(X, [1, 2], rng=0, sequences=[5, 5], criteria=["bic", "loo"])
    with pytest.raises(ValueError, match="cv cannot judge one sequence"):
        select(X, [1, 2], rng=0, sequences=True, criteria=["cv"])
    with pytest.raises(ValueError, match="lfo needs rows in the order of time"):
        select(X, [1, 2], rng=0, criteria=["lfo"])
    with pytest.raises(ValueError, match="sticky is a setting of sequences"):
        select(X, [1, 2], rng=0, sticky=1.0)


def chain_of(x, transitions=((0.8, 0.2), (0.3, 0.7)), initial=(0.5, 0.5)):
    return {"initial": np.array(initial), "transitions": np.array(transitions), "rates": np.array([[1.0], [9.0]])}


def added(result, K=2):
    x = np.array([0, 1, 0, 9, 8, 10, 1, 0.0])[:, None]
    kinds = ["poisson"]
    data = prepare(x, None, None, None, 0, False, np.random.default_rng(0), kinds=kinds, sequences=[5, 3])
    return as_added("mine", result, data, data.model(K, "full"), Markov.symmetric(K)).fit


def test_results_made_elsewhere_join_with_their_transitions(counts, sampled):
    point = added(chain_of(counts))
    expected = given(
        *model(counts), np.array([0.5, 0.5]), np.array([[0.8, 0.2], [0.3, 0.7]]), {"rates": np.array([[1.0], [9]])}
    )
    assert point.log_likelihood(counts) == pytest.approx(expected.log_likelihood(counts))
    named = sampled.allocation.named(sampled.held.weights) | sampled.family.to_data(sampled.held.theta)
    assert added(named).log_likelihood(counts) == pytest.approx(sampled.log_likelihood(counts))
    assert added(sampled.draws(400, 0)).log_likelihood(counts) == pytest.approx(sampled.log_likelihood(counts))
    assert added(sampled).kind == "mcmc"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: chain_of(x, ((0.8, 0.3), (0.3, 0.7))), "transitions sum to 1.1 in chain 0, draw 0, row 0"),
        (lambda x: chain_of(x, initial=(0.5, 0.6)), "initial sum to 1.1"),
        (lambda x: chain_of(x, ((0.8, 0.2),)), "transitions has shape"),
        (lambda x: {"rates": np.ones((2, 1)), "transition": np.eye(2)}, "is 'transition' meant to be 'transitions'"),
        (
            lambda x: em.fit(x.x, Poisson.from_data(x.x, 2), Dirichlet.symmetric(2), rng=0),
            "its allocation is independent labels",
        ),
        (lambda x: GaussianMixture(1).fit(x.x), "knows no order of rows"),
    ],
)
def test_results_that_are_no_chain_are_refused(result, message, counts):
    with pytest.raises(ValueError, match=message):
        added(result(counts))


def test_an_added_chain_is_judged_beside_the_others():
    """The rates of the wrong chain have each state's own twice as large."""
    x = np.array([0, 1, 0, 1, 9, 8, 10, 9])[:, None]
    wrong = chain_of(x) | {"rates": np.array([[2.0], [18.0]])}
    result = compare(x, 2, rng=0, sequences=True, kinds=["poisson"], methods=["em"], extra={"mine": wrong}, draws=250)
    assert result.results.manifest["verdict"]["mine"]["rates"]["state"] == "differs"
    found = of(result)
    assert found["mine", "log_likelihood", "point"] < found["em", "log_likelihood", "point"] - 5


@pytest.mark.robustness("errors")
def test_what_gibbs_cannot_draw_it_is_not_asked_for(monkeypatch):
    """Gaps of a column of numbers in sequences: by default the method and its criteria are left out, by name refused."""
    x = datasets.load("tsmatz-hmm", columns=["x2"]).x[:40].copy()
    x[[3, 17]] = np.nan
    settings = {"sequences": True, "missing": "model", "restarts": 2, "rng": 0}
    monkeypatch.setattr(catalogue, "DEFAULT", ("em", "gibbs"))
    result = compare(x, 2, **settings)
    assert not result.failures
    assert set(result.fits) == {"em"}
    assert any(
        "left out Gibbs sampling, which cannot draw" in note for note in result.results.manifest["data"]["notes"]
    )
    for asked in ({"methods": ["cavi", "gibbs"]}, {"methods": ["em"], "reference": "gibbs"}):
        with pytest.raises(ValueError, match="gibbs cannot draw values missing among correlated features of sequences"):
            compare(x, 2, **settings, **asked)
    chosen = select(x, [1, 2], **settings)
    assert not {"evidence", "loo", "lfo"} & set(chosen.table["criterion"])
    assert not any("failed" in warning for warning in chosen.warnings)
    with pytest.raises(ValueError, match=r"Gibbs sampling, which evidence needs, cannot draw"):
        select(x, [1, 2], criteria="evidence", **settings)
