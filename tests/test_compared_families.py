"""Comparisons of columns that are no numbers: every family by the hand-written methods, its numbers and its page."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mixtures import Dirichlet, tables
from mixtures.datasets import load
from reports import Results, compare, select
from reports.commands.options import described
from reports.comparison.added import as_added
from reports.comparison.prepared import prepare
from reports.comparison.tables import frame, summary
from reports.metrics import Row, parameters, prediction
from reports.page import quantities, render
from reports.page.agreement import block_table, boundary, furthest_apart
from reports.page.closing import limits
from reports.page.clusters import cluster_table
from reports.page.joint import joint
from reports.page.leave_one_out import _seen
from reports.page.opening import setting
from reports.page.prior import changed
from reports.page.selection import View as SelectionView
from reports.page.selection import fits as section_of_fits
from reports.page.selection import setting as section_of_setting
from reports.page.summary import parameter_table
from reports.page.view import View

COLUMNS = {
    "bernoulli": (["bernoulli"] * 3, {}),
    "categorical": (["categorical", "bernoulli"], {"a": ("low", "mid", "high"), "b": ("no", "yes")}),
    "poisson": (["poisson"] * 2, {}),
    "product": (["gaussian", "categorical", "poisson", "bernoulli"], {"b": ("u", "v", "w"), "d": ("no", "yes")}),
}
BLOCKS = {
    "bernoulli": ["weights", "probabilities"],
    "categorical": ["weights", "probabilities"],
    "poisson": ["weights", "rates"],
    "product": ["weights", "locations", "spreads", "probabilities", "rates"],
}
HIGH = {"gaussian": 3.0, "categorical": 2.0, "poisson": 6.0, "bernoulli": 1.0}


def data(name, n=10):
    """Two groups, low and high in every column, but for one point that keeps the groups from being certain."""
    rng = np.random.default_rng(0)
    kinds, levels = COLUMNS[name]
    high = np.arange(n) % 2
    x = np.column_stack(
        [
            HIGH[kind] * high + (rng.normal(size=n) if kind == "gaussian" else rng.poisson(1, n) * (kind == "poisson"))
            for kind in kinds
        ]
    )
    x[0] = [1.0 if kind != "gaussian" else 1.5 for kind in kinds]
    return x, {"kinds": kinds, "levels": levels, "features": list("abcd"[: len(kinds)])}


@pytest.fixture(scope="module")
def compared():
    """By family, a comparison with the exact posterior of ten points, which is the reference."""
    found = {}

    def run(name):
        if name not in found:
            x, columns = data(name)
            methods = ("em", "map", "cavi", "gibbs")
            found[name] = compare(x, 2, rng=1, methods=methods, draws=250, chains=2, name=name, **columns)
        return found[name]

    return run


@pytest.mark.parametrize("name", COLUMNS)
def test_every_family_is_measured_and_judged(name, compared):
    result = compared(name)
    assert result.failures == {}
    manifest, metrics = result.results.manifest, result.results.metrics
    assert manifest["reference"]["method"] == "exact"
    assert list(manifest["model"]["blocks"]) == BLOCKS[name]
    assert list(manifest["verdict"]["cavi"]) == [*BLOCKS[name], "clusters", "density"]
    of = metrics.set_index(["method", "metric", "target"])["value"]
    for block in BLOCKS[name]:
        assert np.isfinite(of["cavi", "width_ratio", block])
    for metric in ("khat", "coclustering_error", "elpd_loo_refitted", "occupied", "predictive_tv", "train_log_density"):
        assert metric in set(metrics.loc[metrics["method"] == "cavi", "metric"])
    assert {"rhat_max", "elpd_loo", "ppc_p"} <= set(metrics.loc[metrics["method"] == "gibbs", "metric"])
    exact = of["exact", "log_evidence", "exact"]
    bridge = metrics.query("method == 'gibbs' and metric == 'log_evidence' and target == 'bridge'").iloc[0]
    assert abs(bridge["value"] - exact) < 4 * bridge["se"] + 1e-3
    assert of["cavi", "log_evidence", "elbo"] <= exact


@pytest.mark.parametrize("name", COLUMNS)
def test_gibbs_agrees_with_the_exact_posterior(name, compared):
    states = {claim: said["state"] for claim, said in compared(name).results.manifest["verdict"]["gibbs"].items()}
    assert "differs" not in states.values()


def test_scalars_have_the_names_of_levels(compared):
    targets = set(compared("categorical").results.metrics["target"])
    assert {"probabilities[0, a, low]", "probabilities[1, a, high]", "probabilities[0, b, yes]"} <= targets
    assert not any("b, no" in target for target in targets)  # of two levels one says all
    targets = set(compared("product").results.metrics["target"])
    assert {
        "means[0, a]",
        "variances[1, a]",
        "rates[0, c]",
        "probabilities[0, b, w]",
        "probabilities[0, d, yes]",
    } <= targets


def test_the_page_is_written_for_columns_of_several_kinds(compared):
    html = render(compared("product").results)
    words = re.sub("<[^>]+>", " ", html)
    for block in BLOCKS["product"]:
        assert block in words
    for taken in ("numbers (Gaussian)", "counts (Poisson)", "categories", "two levels (binary)"):
        assert taken in words
    assert "nan" not in words.lower().split()


@pytest.mark.parametrize(("name", "given"), [("bernoulli", "Clogg"), ("categorical", "Clogg"), ("poisson", "Jaynes")])
def test_the_model_is_stated_for_every_family(name, given, compared):
    view = View(compared(name).results)
    said = str(setting(view).blocks) + str(limits(view).blocks) + str(cluster_table(view, [view.base], ["a"]))
    assert given in said
    assert "covariance" not in said
    assert ("a: rate" if name == "poisson" else "a: P(") in said
    assert "pseudo-observations of " + BLOCKS[name][1] in changed(view)


def test_results_of_every_family_are_read_again(compared, tmp_path):
    result = compared("product")
    result.save(tmp_path / "r", report=False)
    loaded = Results.load(tmp_path / "r")
    assert loaded.manifest["model"]["kinds"] == {"a": "gaussian", "b": "categorical", "c": "poisson", "d": "bernoulli"}
    posterior = loaded.trees["exact"]["posterior"]
    assert posterior["probabilities"].dims[2:] == ("cluster", "feature_3", "level_3")
    assert posterior["level_name_3"].values.tolist() == [["u", "v", "w"], ["no", "yes", ""]]
    assert loaded.data["index"].values.tolist() == [str(i) for i in range(1, 11)]


def test_frames_say_what_their_columns_hold():
    frame = pd.DataFrame(
        {"kg": [1.5, 2.0, 3.5, 3.0], "town": ["B", "A", "C", "A"], "smokes": [True, False, True, True]},
        index=list("rstu"),
    )
    found = prepare(frame, None, None, None, 0.0, False, np.random.default_rng(0))
    assert found.kinds == ("gaussian", "categorical", "bernoulli")
    assert found.levels == {"town": ("A", "B", "C"), "smokes": ("False", "True")}
    assert found.x.tolist() == [[1.5, 1, 1], [2.0, 0, 0], [3.5, 2, 1], [3.0, 0, 1]]
    assert found.index.tolist() == list("rstu")


def test_only_numbers_are_standardised():
    x, columns = data("product", 20)
    found = prepare(x, None, columns.pop("features"), None, 0.2, True, np.random.default_rng(0), **columns)
    np.testing.assert_allclose([found.x[:, 0].mean(), found.x[:, 0].std()], [0, 1], atol=1e-12)
    np.testing.assert_array_equal(found.x[:, 1:], x[found.rows, 1:])


def test_a_binary_column_beside_categories_is_categorical():
    x, columns = data("product")
    family = tables.family_of(x, 2, columns["kinds"], prior={"a0_3": 2.0, "beta0": 0.5})
    assert [part.name for part in family.parts] == ["gaussian", "poisson", "categorical"]
    assert [own.tolist() for own in family.columns] == [[0], [2], [1, 3]]
    p = family.prior_in_data_units()
    assert p["beta0"] == 0.5
    assert set(p["a0_3"][0]) == {2.0}
    with pytest.raises(ValueError, match="no hyperparameter 'a0_2'; did you mean 'a0"):
        tables.family_of(x, 2, columns["kinds"], prior={"a0_2": 1.0})


def test_wrong_values_are_named_by_their_column():
    x, columns = data("product")
    x[3, 2] = 0.5
    with pytest.raises(ValueError, match=r"'c' is 0.5 in row 4; expected a count"):
        compare(x, 2, rng=1, methods=("em",), **columns)
    with pytest.raises(ValueError, match="no kind of column 'counts'"):
        compare(x, 2, rng=1, methods=("em",), kinds={"c": "counts"}, features=columns["features"])


def test_a_column_of_codes_without_a_value_is_named():
    x = np.column_stack([np.arange(9.0) % 3, np.full(9, np.nan)])
    with pytest.raises(ValueError, match="feature 'x1' is missing in all rows; leave it out"):
        compare(x, 2, rng=1, methods=("em",), missing="model", kinds=["categorical"] * 2)


def test_the_truth_of_every_family_is_an_oracle():
    x, columns = data("poisson")
    truth = {"weights": [0.5, 0.5], "rates": [[1, 1], [7, 7]]}
    result = compare(x, 2, rng=1, methods=("em",), reference="gibbs", draws=100, chains=1, truth=truth, **columns)
    own = result.results.metrics.query("method == 'oracle' and metric == 'train_log_density'")["value"].item()
    from scipy.stats import poisson

    expected = np.log(0.5 * poisson.pmf(x, 1).prod(1) + 0.5 * poisson.pmf(x, 7).prod(1)).mean()
    assert own == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="truth lacks rates"):
        compare(x, 2, rng=1, methods=("em",), truth={"weights": [0.5, 0.5]}, **columns)


@pytest.mark.parametrize(
    ("weights", "probabilities", "message"),
    [
        ([0.5, 0.4], [[[0.5, 0.5]]] * 2, "truth: the sum of weights is 0.9; expected 1"),
        (
            [0.5, 0.5],
            [[[0.5, 0.5]], [[0.5, 0.6]]],
            "truth: .* cluster 1, feature 0 sum to 1.1; expected 1, to within 1e-06",
        ),
        (
            [0.5, 0.5],
            [[[0.5, 0.5]], [[-0.5, 1.5]]],
            "truth: probabilities reach from -0.5 to 1.5; expected numbers from 0",
        ),
        ([0.5, 0.5], [[[0.5, 0.5]]], "truth: probabilities are of 1 cluster, and weights of 2"),
    ],
)
def test_a_truth_of_no_probabilities_is_refused(weights, probabilities, message):
    truth = {"weights": weights, "probabilities": probabilities}
    with pytest.raises(ValueError, match=message):
        prepare(np.eye(4)[:, :1], None, None, truth, 0.0, False, np.random.default_rng(0), kinds=["categorical"])


def added(name, change=lambda draws: draws, draws=120):
    """Draws of the prior, changed, as a result made elsewhere."""
    x, columns = data(name, 20)
    own = prepare(x, None, columns.pop("features"), None, 0.0, False, np.random.default_rng(0), **columns)
    family, rng = own.model(2, "full"), np.random.default_rng(5)
    q = family.posterior(np.zeros((2, 1 + family.monomials[-1, 0])))
    theta = family.to_data(family.sample(q, draws, rng))
    return as_added(
        "mine", change({"weights": rng.dirichlet([1, 1], draws), **theta}), own, family, Dirichlet.symmetric(2)
    )


@pytest.mark.parametrize("name", COLUMNS)
def test_draws_of_every_family_can_be_added(name):
    joined = added(name)
    assert joined.kind == "draws"
    assert np.isfinite(joined.fit.log_predictive(data(name, 20)[0])).all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "bernoulli",
            lambda d: {"weights": d["weights"], "probs": d["probabilities"]},
            "is 'probs' meant to be 'probabilities'",
        ),
        ("bernoulli", lambda d: d | {"probabilities": 2 * d["probabilities"]}, "expected numbers from 0 to 1"),
        ("bernoulli", lambda d: d | {"probabilities": d["probabilities"][..., :2]}, "probabilities is along a, b, c"),
        (
            "categorical",
            lambda d: d | {"probabilities": 0.9 * d["probabilities"]},
            "probabilities sum to 0.9 in chain 0",
        ),
        ("poisson", lambda d: d | {"rates": -d["rates"]}, "rates are as small as"),
        ("product", lambda d: d | {"rates": d["rates"][:, :, [0, 0]]}, "rates is along c"),
        ("product", lambda d: {**d, "rates": np.ones_like(d["rates"])}, r"rates\[0, c\] is the same in every draw"),
    ],
)
def test_draws_that_do_not_fit_a_family_are_refused(name, change, message):
    with pytest.raises(ValueError, match=message):
        added(name, change)


@pytest.mark.parametrize("name", ["categorical", "poisson", "product"])
def test_every_family_is_selected(name):
    x, columns = data(name, 20)
    found = select(x, [1, 2], rng=0, criteria=("bic", "icl", "elbo", "evidence", "loo"), restarts=2, **columns)
    assert found.table["missing"].isna().all()
    assert set(found.table["covariance"]) == {"full" if name == "product" else "none"}
    one = found.table.query("criterion == 'evidence' and components == 1")["value"].item()
    bound = found.table.query("criterion == 'elbo' and components == 1")["value"].item()
    assert bound == pytest.approx(one, abs=1e-6)  # one cluster: the bound is the evidence, base measure and all


def test_an_impossible_point_leaves_no_score():
    """A level that only one point has: the fit to the others rules it out."""
    x = np.zeros((12, 2))
    x[::2], x[0, 0] = 1, 2
    found = select(x, [1], rng=0, criteria=("cv", "cv-cavi"), folds=3, restarts=2, kinds=["categorical"] * 2)
    own = found.table.set_index("criterion")
    assert own.loc["cv", "missing"].startswith("minus infinity: 1 point of 12 would be impossible")
    assert np.isfinite(own.loc["cv-cavi", "value"])


def test_estimates_at_the_boundary_are_named(compared):
    said = [notice.text for notice in boundary(View(compared("bernoulli").results))]
    assert len(said) == 1
    assert said[0].startswith("EM estimates")
    assert "as 0 or 1, where log odds" in said[0]
    assert "probabilities and rates" not in said[0]
    assert boundary(View(compare(np.arange(8.0)[:, None], 1, rng=0, methods=("em",)).results)) == []  # of numbers, none


def test_shifts_of_estimates_at_the_boundary_are_infinite_in_every_form(compared, tmp_path):
    """In the table, the summary, the verdict, the files (JSON has no infinity) and on the page; draws have none."""
    result = compared("bernoulli")
    metrics = result.results.metrics
    shifts = metrics[metrics["metric"] == "median_shift"].set_index(["method", "target"])
    at = np.isinf(shifts["value"])
    probabilities = result.fits["em"].held.theta["probabilities"][0, 0]
    assert at["em"].drop("probabilities").sum() == np.sum((probabilities == 0) | (probabilities == 1)) > 0
    assert not at.drop("em", level="method").any()
    assert shifts.loc[at, "se"].isna().all()
    assert np.isinf(summary(result.results).loc["em", "median_shift"])
    said = result.results.manifest["verdict"]["em"]["probabilities"]
    assert said["state"] == "differs"
    assert "∞, limits" in said["because"]
    result.save(tmp_path / "r", report=False)
    json.loads((tmp_path / "r" / "manifest.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    loaded = Results.load(tmp_path / "r")
    assert loaded.manifest["verdict"] == result.results.manifest["verdict"]
    pd.testing.assert_frame_equal(loaded.metrics, metrics, check_dtype=False)
    cells = [cell for row in block_table(View(loaded), ["em"], "exact").rows for cell in row]
    assert [cell.text in ("−∞", "∞") for cell in cells if cell.note.startswith("at probabilities")] == [True]
    assert np.isnan(View(loaded).estimate_on_scale("probabilities[0, a]", 0.0))
    assert View(loaded).estimate_on_scale("probabilities[0, a]", 0.5) == 0


def test_scores_of_impossible_points_are_kept_as_infinite_and_other_infinities_left_out():
    one, both = np.array([-np.inf, -1.0]), np.array([-2.0, -2.0])
    rows = [
        prediction.log_density("em", "heldout_log_density", one),
        prediction.paired_difference("em", "cavi", "heldout_log_difference", one, both),
        prediction.paired_difference("map", "em", "heldout_log_difference", one, one),
        Row("cavi", "khat", "all", np.inf),
    ]
    found = frame(rows)
    assert list(zip(found["method"], found["metric"], strict=True)) == [
        ("em", "heldout_log_density"),
        ("em", "heldout_log_difference"),
    ]
    assert np.isneginf(found["value"]).all()
    assert found["se"].isna().all()


def test_estimates_that_all_but_reach_the_boundary_are_there():
    """EM comes to zero in ever smaller steps: what stands at 1e-13 is at the boundary, what stands at 1e-9 is not."""
    posterior = xr.Dataset(
        {
            "weights": (("chain", "draw", "cluster"), np.full((1, 1, 2), 0.5)),
            "rates": (("chain", "draw", "cluster", "feature"), np.array([[[[1e-13, 2.0], [1e-9, 0.0]]]])),
        },
        coords={"cluster": [0, 1], "feature": ["a", "b"]},
    )
    at = {"rates[0, a]": True, "rates[0, b]": False, "rates[1, a]": False, "rates[1, b]": True}
    assert parameters.at_boundary(posterior) == at
    values = parameters.scalars(posterior)
    assert {name for name, v in values.items() if np.isneginf(v).all()} == {name for name, own in at.items() if own}
    assert all(np.isfinite(v).all() for v in parameters.scalars(xr.concat([posterior] * 2, "draw")).values())


def test_many_features_do_not_crowd_the_page(compared, monkeypatch):
    """Of the panels those in which clusters differ most, the weights first; a long table stands folded."""
    view = View(compared("bernoulli").results)
    blocks = quantities.interval_blocks(view.trees)
    assert furthest_apart(view, blocks) == blocks
    apart = parameters.separation(view.trees[view.base]["posterior"].to_dataset())
    monkeypatch.setattr("reports.page.agreement.MARGINAL_LIMIT", 2)
    assert list(furthest_apart(view, blocks)) == ["weights", f"probabilities, {max(apart, key=apart.get)}"]
    monkeypatch.setattr("reports.page.summary.LONGEST", 6)
    assert parameter_table(view, "gibbs", fold=False).fold
    monkeypatch.setattr("reports.page.summary.LONGEST", 7)
    assert not parameter_table(view, "gibbs", fold=False).fold


def test_many_columns_of_one_kind_are_counted_and_not_named():
    assert described(load("digits")) == "bernoulli: all 64"
    assert described(load("carcinoma")) == "bernoulli: A, B, C, D, E, F, G"


def test_values_of_points_that_are_named_are_as_they_were_read(compared):
    """A level by its name, a number as it is, a gap as a dash."""
    view = View(compared("product").results)
    assert [_seen(view, "b", 1.0).text, _seen(view, "a", 1.5).text, _seen(view, "b", np.nan).text] == ["v", "1.5", "–"]


def test_a_view_of_nothing_is_left_out(compared, monkeypatch):
    monkeypatch.setattr("reports.page.joint.pair_figure", lambda view: [])
    assert joint(View(compared("bernoulli").results)) is None


def test_a_selection_says_what_is_missing_and_only_what_was_done():
    """Folds are those of cross-validation alone; one start is no plural."""
    x, columns = data("bernoulli")
    x[[0, 3], [1, 2]] = np.nan
    found = select(x, [1, 2], rng=0, criteria=("bic",), restarts=1, missing="model", **columns)
    facts = dict(section_of_setting(SelectionView(found)).blocks[0].items)
    assert facts["Missing values"] == "2 of 30; every fit integrates over them, as missing at random"
    assert "Cross-validation" not in facts
    lead = section_of_fits(SelectionView(found)).lead
    assert lead.startswith("EM and CAVI were started 1 time by k-means++; continued was the one with")
