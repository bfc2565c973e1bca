"""What the page says of posteriors, clusters and predictions in tables: the numbers, their digits, and what is left out."""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from reports import Results, compare
from reports.metrics import summary as posterior_summary
from reports.metrics.agreement import Marginal
from reports.page import agreement, closing, leave_one_out
from reports.page.blocks import Figure
from reports.page.cells import hundredths
from reports.page.clusters import clusters
from reports.page.label_free import _some_points
from reports.page.scores import prediction, recovery
from reports.page.summary import summary
from reports.page.view import View
from reports.plots import forest
from reports.plots.predictive import plot_predictive
from reports.plots.uncertainty import plot_uncertainty


def tables(section):
    return [block for block in section.blocks if block.kind == "table"]


def records(block):
    return [dict(zip(block.columns, row, strict=True)) for row in block.rows]


def words(section):
    return " ".join(
        [block.text for block in section.blocks if block.kind == "notice"]
        + [f"{cell.text} {cell.note}" for block in tables(section) for row in block.rows for cell in row]
    )


@pytest.fixture(scope="module")
def results():
    """Two clusters of known classes by EM, CAVI and Gibbs, with a part held out."""
    rng = np.random.default_rng(3)
    label = rng.random(90) < 0.4
    x = rng.standard_normal((90, 2)) + 5 * label[:, None]
    return compare(
        x,
        2,
        rng=rng,
        methods=("em", "cavi", "gibbs"),
        labels=label,
        features=["a", "b"],
        draws=300,
        restarts=2,
        test_fraction=0.2,
    ).results


@pytest.fixture
def view(results, monkeypatch):
    for module in ("scores", "leave_one_out", "clusters"):
        monkeypatch.setattr(f"reports.page.{module}.image", lambda figure, alt, **_: (alt, figure))
    return View(results)


def test_a_posterior_is_summarised_as_arviz_summarises_it(results):
    """Median, interval, mean and sd by NumPy; Monte Carlo errors of chains by ArviZ."""
    from arviz_stats.base import array_stats

    posterior = results.trees["gibbs"]["posterior"].to_dataset()
    found = posterior_summary.parameters(posterior, {"means[1, b]": 0.1}, independent=False)
    draws = posterior["means"].sel(feature="b").isel(cluster=1).values
    row = found.loc["means[1, b]"]
    np.testing.assert_allclose(row[["low", "median", "high"]], np.quantile(draws, [0.05, 0.5, 0.95]))
    np.testing.assert_allclose(row[["mean", "sd"]], [draws.mean(), draws.std(ddof=1)])
    assert row["median_se"] == pytest.approx(float(array_stats.mcse(draws, method="quantile", prob=0.5)))
    assert row["mean_se"] == pytest.approx(float(array_stats.mcse(draws, method="mean")))
    assert list(found.index[:2]) == ["weights[0]", "means[0, a]"]


def test_errors_of_independent_draws_are_their_spread_over_replications():
    """Median, mean and sd of 400 normal draws, a hundred times over: the sd of a hundred is known to 7%."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((100, 1, 400))
    rows = []
    for own in values:
        means = xr.DataArray(own[..., None, None], dims=("chain", "draw", "cluster", "feature"))
        posterior = xr.Dataset({"means": means.assign_coords(cluster=[0], feature=["x"])})
        rows.append(posterior_summary.parameters(posterior, {"means[0, x]": 0.0}, independent=True).iloc[0])
    table = pd.DataFrame(rows)
    for name in ("median", "mean", "sd", "low"):
        assert 0.7 < table[name].std() / table[f"{name}_se"].mean() < 1.4, name


def test_a_mean_that_does_not_exist_is_a_dash(view):
    rows = [("gibbs", "tail_khat", "means[0, a]", 0.9, np.nan), ("gibbs", "tail_khat", "means[0, b]", 0.5, np.nan)]
    other = view.metrics[view.metrics["metric"] != "tail_khat"]
    metrics = pd.concat([other, pd.DataFrame(rows, columns=other.columns)], ignore_index=True)
    changed = View(Results(view.manifest, metrics, view.data, view.trees))
    shown = {row["parameter"].text: row for row in records(tables(summary(changed))[0])}
    assert (shown["means[0, a]"]["mean"].text, shown["means[0, a]"]["sd"].text) == ("–", "–")
    assert shown["means[0, b]"]["mean"].text != "–"
    assert shown["means[0, b]"]["sd"].text == "–"
    assert shown["weights[0]"]["sd"].text != "–"  # bounded


def test_values_have_the_digits_of_their_error_and_only_chains_have_diagnostics(view):
    first, second = tables(summary(view))
    assert first.caption == "Posterior of Gibbs, the reference, from 4 chains of 300 draws"
    assert not first.fold
    assert second.caption == "Posterior of CAVI, from 1200 independent draws"
    assert second.fold
    for row in records(first):
        error = row["MCSE of the median"].text
        assert len(error.replace(".", "").lstrip("0")) == 2
        assert len(row["median"].text.partition(".")[2]) == len(error.partition(".")[2])
    of = view.metrics.set_index(["method", "metric", "target"])["value"]
    row = records(first)[0]
    assert row["R-hat"].sort == of["gibbs", "rhat", "weights[0]"]
    assert row["bulk ESS"].sort == of["gibbs", "ess_bulk", "weights[0]"]
    assert row["tail ESS"].sort == of["gibbs", "ess_tail", "weights[0]"]
    for method, block, independent in (("gibbs", first, False), ("cavi", second, True)):
        means = view.trees[method]["posterior"]["means"]
        places = [(k, feature) for k in (0, 1) for feature in "ab"]
        draws = {f"means[{k}, {name}]": means.sel(feature=name).isel(cluster=k).values for k, name in places}
        shown = {row["parameter"].text: row["MCSE of the median"].sort for row in records(block)}
        own, other = (
            {name: Marginal(a, kind).error(0.5) for name, a in draws.items()} for kind in (independent, not independent)
        )
        assert {name: shown[name] for name in draws} == own != other
    assert {cell.text for row in records(second) for name, cell in row.items() if name in ("bulk ESS", "R-hat")} == {
        "–"
    }


def test_clusters_are_counted_and_placed(view):
    section = clusters(view)
    gibbs, others = tables(section)
    assert (gibbs.fold, others.fold) == (False, True)
    tree = view.trees["gibbs"]
    r = tree["clusters"]["responsibilities"].transpose("obs", "cluster").values
    for k, row in enumerate(records(gibbs)):
        assert row["size"].sort == pytest.approx(r[:, k].sum())
        assert row["members"].sort == (r.argmax(1) == k).sum()
        means = tree["posterior"]["means"].sel(feature="a").isel(cluster=k)
        assert row["a: mean"].sort == pytest.approx(float(means.median()))
        sds = np.sqrt(tree["posterior"]["covariances"].sel(feature="b", feature_="b").isel(cluster=k))
        low, high = (float(end) for end in row["b: sd"].note.split(" to "))
        np.testing.assert_allclose([low, high], np.quantile(sds, [0.05, 0.95]), atol=0.051)
    assert sum(row["size"].sort for row in records(gibbs)) == pytest.approx(len(r))
    beside = records(others)
    assert [(row["cluster"].text, row["method"].text) for row in beside] == [
        (f"cluster {k}", method) for k in range(2) for method in ("EM", "CAVI")
    ]
    assert all(cell.note == "" for row in beside if row["method"].text == "EM" for cell in row.values())
    assert beside[1]["a: mean"].note


def test_uncertain_points_are_counted_and_drawn(view, monkeypatch):
    monkeypatch.setattr("reports.page.clusters.UNCERTAIN", 1e-3)
    figure = [block for block in clusters(view).blocks if isinstance(block, Figure)][-1]
    uncertainty = {m: 1 - t["clusters"]["responsibilities"].values.max(1) for m, t in view.trees.items()}
    for method, u in uncertainty.items():
        assert f"{view.label(method)} {(u > 1e-3).sum()}" in figure.caption
    (_, drawn), *_ = figure.images
    curves = drawn.axes[1].lines
    assert len(curves) == 3
    np.testing.assert_allclose(curves[0].get_ydata(), np.sort(uncertainty["em"])[::-1])


def test_leave_one_out_is_compared_point_by_point(view):
    """The paired difference and its error are those of the pointwise scores; the Monte Carlo errors of both are added."""
    section = prediction(view)
    block = next(b for b in tables(section) if b.slug == "loo")
    shown = {(row["method"].text, row["by"].text): row for row in records(block)}
    (column,) = (name for name in block.columns if name.startswith("difference from"))
    best = next(key for key in shown if column.endswith(", ".join(key)))
    groups = {("CAVI", "refits"): ("cavi", "loo_refitted"), ("Gibbs", "PSIS"): ("gibbs", "loo"),
              ("CAVI", "weighted q"): ("cavi", "loo_approximate")}  # fmt: skip
    assert set(shown) == set(groups)
    elpd = {key: view.trees[m][group]["elpd"].values for key, (m, group) in groups.items()}
    for key, row in shown.items():
        if key == best:
            assert row[column].text == "–"
            continue
        gap = elpd[key] - elpd[best]
        assert row[column].sort == pytest.approx(gap.sum())
        error = float(row[column].text.split(" ± ")[1])
        assert error == pytest.approx(np.sqrt(len(gap)) * gap.std(), rel=0.06)


def with_khat(view, khat):
    """The view with other k-hats of CAVI's weighted draws."""
    tree = view.trees["cavi"].copy()
    pointwise = tree["loo_approximate"].to_dataset()
    tree["loo_approximate"] = xr.DataTree(pointwise.assign(pareto_k=("obs", khat)))
    return View(Results(view.manifest, view.metrics, view.data, view.trees | {"cavi": tree}))


def test_a_score_that_k_hat_or_convergence_calls_unreliable_is_no_base(view):
    """Draws that failed their checks and refits that had not converged are said; where none is reliable none is a base."""

    def shown(view):
        block = next(b for b in tables(prediction(view)) if b.slug == "loo")
        return block, {(row["method"].text, row["by"].text): row["reliable"] for row in records(block)}

    n, manifest = view.data.sizes["obs"], deepcopy(view.manifest)
    manifest["methods"]["gibbs"]["converged"] = False
    metrics = view.metrics.copy()
    metrics.loc[metrics["metric"] == "loo_refits_late", "value"] = 3
    late = View(Results(manifest, metrics, view.data, view.trees))
    block, reliable = shown(late)
    assert reliable["Gibbs", "PSIS"].note == "the draws failed their checks"
    assert reliable["CAVI", "refits"].note == f"3 of {n} refits not converged"
    assert "difference from CAVI, weighted q" in block.columns
    figure = next(b for b in prediction(late).blocks if isinstance(b, Figure) and b.slug == "loo-difference")
    assert "Gibbs" not in figure.images[0][0]
    trees = dict(view.trees)
    for method, route in (("cavi", "loo_approximate"), ("gibbs", "loo")):
        tree = trees[method].copy()
        tree[route] = xr.DataTree(tree[route].to_dataset().assign(pareto_k=("obs", np.full(n, 2.0))))
        trees[method] = tree
    del trees["cavi"]["loo_refitted"]
    block, reliable = shown(View(Results(view.manifest, view.metrics, view.data, trees)))
    assert {cell.text for cell in reliable.values()} == {"✗ no"}
    assert not any(name.startswith("difference") for name in block.columns)
    assert block.caption.endswith("No score is reliable, so there is none to take differences from")


def test_khats_are_counted_by_band_and_the_bad_points_named(view):
    n = view.data.sizes["obs"]
    khat = np.full(n, 0.2)
    khat[[3, 10, 20]] = 0.6, 0.85, 1.3
    section = prediction(with_khat(view, khat))
    bands = next(b for b in tables(section) if b.slug == "khat")
    row = next(r for r in records(bands) if r["by"].text == "weighted q")
    assert [row[b].text for b in bands.columns[2:6]] == [str(n - 3), "1", "1", "1"]
    assert row["largest"].text == "1.30"
    points = records(next(b for b in tables(section) if b.slug == "khat-points"))
    assert [(p["row"].sort, p["k-hat"].text) for p in points] == [
        (view.data["row"].values[20] + 1, "1.30"),
        (view.data["row"].values[10] + 1, "0.85"),
    ]
    assert points[0]["a"].sort == view.data["x"].values[20, 0]
    text = words(section)
    assert "k-hat > 0.68 (2)" in text
    assert "not ranked: CAVI, weighted q" in text


def test_a_khat_just_above_its_limit_is_not_written_as_the_limit():
    limit = SimpleNamespace(good_k=0.7)
    assert [leave_one_out._khat(k, limit).text for k in (0.70031, 0.7042, 0.6998, 1.3)] == [
        "0.7003",
        "0.704",
        "0.70",
        "1.30",
    ]


def test_compiling_nothing_is_not_drawn():
    assert [closing.seen(seconds) for seconds in (0.02, 1e-3)] == [0.02, 1e-3]
    assert np.isnan(closing.seen(4e-4))


def test_an_error_that_no_decimal_shows_is_not_written():
    said = [hundredths(-936.7883, se).text for se in (0.0083, 1e-9, 0.0, np.nan)]
    assert said == ["−936.7883 ± 0.0083", "−936.7883", "−936.79", "−936.79"]
    (ax,) = plot_uncertainty(None, "", {"em": np.full(9, 1e-13)}).axes
    assert ax.get_ylim()[1] == 0.05


def test_rows_are_those_of_the_data_as_given(results):
    """A fifth is held out: the numbers that are left lead back to the points."""
    rng = np.random.default_rng(3)
    label = rng.random(90) < 0.4
    x = rng.standard_normal((90, 2)) + 5 * label[:, None]
    np.testing.assert_array_equal(x[results.data["row"].values], results.data["x"].values)
    assert results.data.sizes["obs"] == 72


def test_only_reliable_scores_are_ranked_and_drawn(view):
    drawn = {block.slug: dict(block.images) for block in prediction(view).blocks if block.kind == "figure"}
    ((_, figure),) = drawn["loo-difference"].items()
    ranked = {tick.get_text() for tick in figure.axes[0].get_yticklabels()}
    assert ranked == {"CAVI, refits", "CAVI, weighted q", "Gibbs, PSIS"}
    assert len(drawn["khat"]) == 2
    bad = prediction(with_khat(view, np.full(view.data.sizes["obs"], 0.9)))
    drawn = {block.slug: dict(block.images) for block in bad.blocks if block.kind == "figure"}
    ((_, figure),) = drawn["loo-difference"].items()
    assert {tick.get_text() for tick in figure.axes[0].get_yticklabels()} == {"CAVI, refits", "Gibbs, PSIS"}


def test_scores_are_drawn_as_paired_differences_where_there_is_a_reference(view):
    (drawn,) = (block for block in prediction(view).blocks if block.kind == "figure" and block.slug == "scores")
    ((alt, figure),) = drawn.images
    assert alt.endswith("minus Gibbs")
    assert [ax.get_title("left") for ax in figure.axes] == ["training, minus Gibbs", "held out, minus Gibbs"]
    manifest = deepcopy(view.manifest)
    manifest["reference"]["method"] = None
    metrics = view.metrics[~view.metrics["metric"].str.endswith("log_difference")]
    alone = prediction(View(Results(manifest, metrics, view.data, view.trees)))
    (drawn,) = (block for block in alone.blocks if block.kind == "figure" and block.slug == "scores")
    ((_, figure),) = drawn.images
    assert [ax.get_title("left") for ax in figure.axes] == ["training", "held out"]


def test_recovery_by_q_of_z_is_a_row_of_its_own(view):
    rows = records(tables(recovery(view))[0])
    assert [(row["method"].text, row["responsibilities"].text) for row in rows] == [
        ("EM", "one set of parameters"),
        ("CAVI", "mean over draws"),
        ("CAVI", "q(z)"),
        ("Gibbs", "mean over draws"),
    ]
    of = view.metrics.set_index(["method", "metric", "target"])["value"]
    assert rows[2]["log score"].sort == of["cavi", "log_score_qz", "data"] != rows[1]["log score"].sort


def test_an_axis_ends_near_most_methods_when_one_is_astray():
    from reports.plots.checks import plot_checks

    row = {"statistic": "smallest[a]", "observed": 0.0}
    near = row | {"low": -2.0, "lower": -0.5, "median": 0.0, "upper": 0.5, "high": 2.0}
    astray = row | {"low": -900.0, "lower": -300.0, "median": -90.0, "upper": 0.0, "high": 2.0}
    table = pd.DataFrame(
        [near | {"method": m, "label": m} for m in ("em", "cavi")] + [astray | {"method": "smc", "label": "smc"}]
    )
    low, high = plot_checks(table).axes[0].get_xlim()
    assert -10 < low < -2
    assert 2 < high < 10


@pytest.mark.parametrize(("points", "said"), [(150, False), (40, True)])
def test_a_co_clustering_of_some_points_says_so(points, said):
    clusters = xr.Dataset({"coclustering": (("point", "point_"), np.eye(points))}, coords={"obs": range(150)})
    words = _some_points(SimpleNamespace(trees={"em": {"clusters": clusters}}))
    assert ("40 evenly spaced points of 150" in words) == said == bool(words)


def test_the_predictive_check_draws_forty_functions_that_rise_from_zero_to_one_and_the_data(rng):
    x = np.array([3.0, 1.0, np.nan, 2.0])
    replicated = rng.normal(size=(2, 100, 4))
    tree = xr.DataTree.from_dict(
        {
            "observed_data": xr.Dataset({"a": ("obs", x)}),
            "posterior_predictive": xr.Dataset({"a": (("chain", "draw", "obs"), replicated)}),
        }
    )
    (ax,) = plot_predictive("nuts", tree).axes
    lines = np.array(ax.collections[0].get_segments())
    assert lines.shape == (40, 8, 2)
    np.testing.assert_array_equal(lines[:, [0, -1], 1], np.tile([0.0, 1.0], (40, 1)))
    np.testing.assert_array_equal(lines[7, ::2, 0], np.sort(replicated.reshape(200, 4)[35]))
    across, up = ax.lines[0].get_data()
    np.testing.assert_array_equal(across, [1, 1, 2, 2, 3, 3])
    np.testing.assert_allclose(up, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])


def test_a_parameter_that_hardly_varies_in_the_reference_has_no_unit_and_no_row_in_the_forest(view, monkeypatch):
    """As the angle of an eigenvalue that is real in most draws."""
    own = view.scalars["gibbs"].copy(deep=True)
    own["means[0, a]"].values[:] = 0.0
    own["means[0, a]"].values[0, :9] = 1.0
    monkeypatch.setitem(view.scalars, "gibbs", own)
    shown = []
    monkeypatch.setattr(agreement, "image", lambda *_: None)
    monkeypatch.setattr(forest, "plot_forest", lambda standard, points, *_: shown.append((standard, points)))
    agreement.forest(view, "gibbs", "Gibbs", 30)
    ((standard, points),) = shown
    named = {name for each in (*standard.values(), *points.values()) for name in each}
    assert "means[0, a]" not in named
    assert "means[1, a]" in named
