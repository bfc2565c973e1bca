"""The comparison, its folder and its errors, with methods that need no compiler."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import collapsed_data, three_clusters

from mixtures import Dirichlet, Draws, datasets
from mixtures.errors import reason_of
from mixtures.methods import cavi, exact
from reports import Results, ResultsError, compare
from reports.comparison import prepared, references
from reports.comparison.measure import judged_samplers
from reports.comparison.prepared import prepare
from reports.comparison.results import check_free
from reports.metrics import label_free, recovery
from reports.metrics.parameters import kind, scalars
from reports.page.numbers import places
from reports.page.prior import power_scaling
from reports.page.view import View


@pytest.fixture(scope="module")
def simulated():
    return datasets.simulate(120, 3, 2, separation=4.0, rng=np.random.default_rng(8))


@pytest.fixture(scope="module")
def comparison(simulated):
    return compare(
        simulated.x,
        3,
        rng=np.random.default_rng(1),
        methods=("em", "map", "cavi"),
        labels=simulated.labels,
        truth=simulated.truth,
        features=("left", "right"),
        test_fraction=0.25,
        draws=200,
    )


def value(comparison, method, metric, target="data"):
    rows = comparison.results.metrics.query("method == @method and metric == @metric and target == @target")
    assert len(rows) == 1, (method, metric)
    return float(rows["value"].iloc[0])


def test_columns_and_rows_of_the_long_table(comparison):
    metrics = comparison.results.metrics
    assert list(metrics.columns) == ["method", "metric", "target", "value", "se"]
    assert list(dict.fromkeys(metrics["method"])) == ["em", "map", "cavi", "oracle"]
    assert not metrics.duplicated(["method", "metric", "target"]).any()
    assert np.isfinite(metrics["value"]).all()


def test_numbers_are_those_of_the_fits(comparison):
    x = comparison.results.data["x"].values
    heldout = comparison.results.data["x_heldout"].values
    assert (len(x), len(heldout)) == (90, 30)
    for method, fit in comparison.fits.items():
        assert value(comparison, method, "train_log_density") == pytest.approx(fit.log_predictive(x).mean())
        assert value(comparison, method, "heldout_log_density") == pytest.approx(fit.log_predictive(heldout).mean())
        assert value(comparison, method, "bound") == fit.bound[-1]
    assert value(comparison, "cavi", "bound_all_labellings") == pytest.approx(
        comparison.fits["cavi"].bound[-1] + np.log(6)
    )


def test_rows_are_split_without_loss(comparison, simulated):
    data = comparison.results.data
    together = np.concatenate([data["x"].values, data["x_heldout"].values])
    assert sorted(map(tuple, together)) == sorted(map(tuple, simulated.x))
    label_of = {tuple(row): str(label) for row, label in zip(simulated.x, simulated.labels, strict=True)}
    assert [label_of[tuple(row)] for row in data["x"].values] == list(data["label"].values)


LABELS = {
    "categories": (pd.Categorical(["a", "b", None]), ["a", "b", ""]),
    "whole numbers and a gap": (pd.Series([2**53, 2**53 + 1, None], dtype="Int64"), [str(2**53), str(2**53 + 1), ""]),
    "a list of these": ([2**53, 2**53 + 1, np.nan], [str(2**53), str(2**53 + 1), ""]),
    "truth values and a gap": (pd.Series([True, False, None], dtype="boolean"), ["True", "False", ""]),
    "words and a gap": (pd.Series(["a", None, "b"], dtype="string"), ["a", "", "b"]),
    "an index": (pd.Index(["a", "b", "a"]), ["a", "b", "a"]),
    "dates": (np.array(["2020-01-01", "2021-01-01", "NaT"], "M8[D]"), ["2020-01-01", "2021-01-01", ""]),
    "nanoseconds": (np.array([1, 2, 1], "M8[ns]"), [f"1970-01-01T00:00:00.00000000{n}" for n in (1, 2, 1)]),
    "bytes": (np.array([b"a", b"b", b"a"]), ["a", "b", "a"]),
    "two zeros": (np.array([-0.0, 0.0, 1.0]), ["0.0", "0.0", "1.0"]),
    "unsigned": (np.array([2**63, 2**63 + 1, 0], np.uint64), [str(2**63), str(2**63 + 1), "0"]),
    "of several kinds": ([1, "a", None], ["1", "a", ""]),
    "masked": (np.ma.array([1, 2, 3], mask=[True, False, False]), ["", "2", "3"]),
}


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_kept_as_they_are_read(kind):
    given, expected = LABELS[kind]
    assert prepared._as_text(given).tolist() == expected


@pytest.mark.robustness("errors")
def test_labels_in_two_axes_are_refused():
    with pytest.raises(ValueError, match=r"labels has shape \(3, 1\); expected one label a row"):
        prepared._as_text(np.zeros((3, 1)))


def test_classes_may_be_missing(simulated):
    labels = [2**53, 2**53 + 1] * 60
    data = prepare(
        simulated.x, [None, float("nan"), pd.NA, *labels[3:]], None, None, 0.0, False, np.random.default_rng(0)
    )
    assert data.labels.tolist() == ["", "", "", *map(str, labels[3:])]
    hidden = np.ma.array(labels, mask=[True] + [False] * 119)
    assert prepare(simulated.x, hidden, None, None, 0.0, False, np.random.default_rng(0)).labels.tolist() == [
        "",
        *map(str, labels[1:]),
    ]
    assert prepare(simulated.x, [None] * 120, None, None, 0.0, False, np.random.default_rng(0)).labels is None


def test_names_of_features_may_be_numbers(simulated):
    for given, names in ((pd.DataFrame(simulated.x), None), (simulated.x, [1, 2]), (simulated.x, np.array([1, 2]))):
        features = prepare(given, None, names, None, 0.0, False, np.random.default_rng(0)).features
        assert features == (("0", "1") if names is None else ("1", "2"))


def test_methods_share_one_labelling_sorted_by_the_first_feature(comparison):
    x = comparison.results.data["x"].values
    labels = [fit.responsibilities(x).argmax(1) for fit in comparison.fits.values()]
    assert np.mean(labels[0] == labels[2]) > 0.95
    means = comparison.results.trees["cavi"]["posterior"]["means"].mean(("chain", "draw")).values
    assert np.all(np.diff(means[:, 0]) > 0)


def test_the_oracle_is_not_beaten_on_what_it_knows(comparison):
    """The truth maximises the expected held-out density; thirty points leave this much room."""
    rows = comparison.results.metrics.query("metric == 'heldout_log_density'").set_index("method")
    assert rows.loc["oracle", "value"] > rows.loc["em", "value"] - 2 * rows.loc["em", "se"]


def test_table_has_a_row_a_method_and_gaps_where_nothing_applies(comparison):
    table = comparison.table()
    assert list(table.index) == ["em", "map", "cavi"]
    assert np.isnan(table.loc["em", "khat"])
    assert table.loc["cavi", "ari"] == value(comparison, "cavi", "ari")


def test_leaving_a_method_out_does_not_change_the_others(comparison, simulated):
    alone = compare(
        simulated.x, 3, rng=np.random.default_rng(1), methods=("em",), features=("left", "right"), test_fraction=0.25
    )
    np.testing.assert_array_equal(alone.fits["em"].bound, comparison.fits["em"].bound)


def test_same_seed_same_numbers(simulated):
    runs = [
        compare(simulated.x, 2, rng=np.random.default_rng(4), methods=("em", "cavi"), draws=100).results.metrics
        for _ in range(2)
    ]
    timeless = [run[~run["metric"].str.startswith("seconds")].reset_index(drop=True) for run in runs]
    pd.testing.assert_frame_equal(*timeless)


def test_a_data_frame_brings_its_names(simulated):
    frame = pd.DataFrame(simulated.x, columns=["width", "height"])
    result = compare(frame, 2, rng=np.random.default_rng(0), methods=("cavi",), draws=100)
    assert list(result.results.data["feature"].values) == ["width", "height"]


def test_standardising_changes_units_and_nothing_else(simulated):
    x = simulated.x * [100.0, 0.01] + 5
    plain, standard = (
        compare(x, 3, rng=np.random.default_rng(2), methods=("cavi",), standardize=s, draws=100) for s in (False, True)
    )
    scale = np.log(x.std(0)).sum()
    assert plain.fits["cavi"].bound[-1] == pytest.approx(standard.fits["cavi"].bound[-1] - scale * len(x), rel=1e-8)
    assert plain.results.manifest["data"]["standardized"] is False
    np.testing.assert_allclose(standard.results.data["x"].std("obs"), 1)


def test_a_refusal_is_a_sentence_and_a_crash_has_its_class():
    """A ValueError may be either: of a raise statement of this package, or of a call that failed in it or elsewhere."""

    def theirs():
        raise ValueError("no")

    said = []
    for call in (lambda: Dirichlet.symmetric(0), lambda: places(math.nan), theirs):
        with pytest.raises(ValueError, match="n") as caught:
            call()
        said.append(reason_of(caught.value))
    assert said[0].startswith("n_components is 0")
    assert said[1:] == ["ValueError: cannot convert float NaN to integer", "ValueError: no"]
    assert reason_of(MemoryError()) == "MemoryError: no message"


def test_a_method_that_fails_leaves_the_others(tmp_path):
    result = compare(collapsed_data(), 2, rng=np.random.default_rng(0), methods=("em", "cavi"), draws=100)
    assert list(result.fits) == ["cavi"]
    assert result.failures["em"].startswith("all ")
    assert "collapse" in result.failures["em"]
    entry = result.results.manifest["methods"]["em"]
    assert (entry["status"], entry["converged"]) == ("failed", None)
    assert "em" not in set(result.results.metrics["method"])
    assert np.isnan(result.table().loc["em", "bound"])
    folder = result.save(tmp_path / "out", report=False)
    assert list(Results.load(folder).trees) == ["cavi"]


def test_a_method_that_refuses_says_why_without_the_name_of_an_error():
    result = compare(np.arange(80.0)[:, None] ** 2, 2, rng=np.random.default_rng(0), methods=("exact",))
    assert result.failures["exact"].startswith("the exact posterior of 80 points in 2 clusters is a sum of")


def test_all_methods_failing_is_reported_too():
    result = compare(collapsed_data(), 2, rng=np.random.default_rng(0), methods=("em",))
    assert result.fits == {}
    assert result.results.manifest["reference"]["method"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("em", "cavvi")}, "did you mean 'cavi'"),
        ({"methods": ()}, "no method given"),
        ({"n_components": 0}, "expected 1 to 120"),
        ({"n_components": 121}, "expected 1 to 120"),
        ({"test_fraction": 1.0}, "0 to below 1"),
        ({"sampler": "stan"}, "choose one of numpyro"),
        ({"draws": 10}, "at least 100"),
        ({"restarts": 0}, "at least 1"),
        ({"labels": ["a"]}, "1 entries for 120 rows"),
        ({"truth": {"weights": [1.0]}}, "truth lacks covariances, means"),
        ({"covariance": "diagonal"}, "did you mean 'diag'"),
        ({"features": ["a", "a"]}, "1 distinct names for 2 columns"),
        ({"prior": {"nu0": 0.5}}, "nu0 is 0.5"),
    ],
)
def test_bad_arguments_are_refused(change, message, simulated):
    arguments = {"x": simulated.x, "n_components": 2, "rng": np.random.default_rng(0), "methods": ("em",)} | change
    with pytest.raises(ValueError, match=message):
        compare(arguments.pop("x"), arguments.pop("n_components"), **arguments)


def test_what_was_saved_comes_back(comparison, tmp_path):
    folder = comparison.save(tmp_path / "out", report=False)
    results = Results.load(folder)
    pd.testing.assert_frame_equal(results.metrics, comparison.results.metrics, check_exact=True)
    assert results.data.identical(comparison.results.data)
    assert results.trees["cavi"].equals(comparison.results.trees["cavi"])
    assert results.manifest == json.loads(json.dumps(comparison.results.manifest))
    assert set(comparison.results.trees["cavi"].children) == {
        "posterior",
        "observed_data",
        "clusters",
        "ascent",
        "loo_refitted",
        "loo_approximate",
        "checks",
        "log_likelihood",
        "posterior_predictive",
    }


def test_an_earlier_comparison_is_replaced_only_when_asked(comparison, tmp_path):
    folder = comparison.save(tmp_path / "out", report=False)
    (folder / "report.html").touch()
    with pytest.raises(ResultsError, match="--overwrite"):
        comparison.save(folder, report=False)
    comparison.save(folder, report=False, overwrite=True)
    assert not (folder / "report.html").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_another_run_has_just_written_is_kept(comparison, tmp_path, monkeypatch):
    """The other one is done between the last look at the folder and the move to it."""
    looks = []

    def look(folder, *, overwrite):
        check_free(folder, overwrite=overwrite)
        looks.append(folder)
        if len(looks) == 2:
            comparison.save(tmp_path / "out", report=False)

    monkeypatch.setattr("reports.comparison.results.check_free", look)
    with pytest.raises(ResultsError, match="holds an earlier comparison"):
        comparison.save(tmp_path / "out", report=False)
    assert Results.load(tmp_path / "out").data.identical(comparison.results.data)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_with_something_else_is_never_touched(comparison, tmp_path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(ResultsError, match="something else"):
            comparison.save(tmp_path, report=False, overwrite=overwrite)
    with pytest.raises(ResultsError, match="is a file"):
        check_free(tmp_path / "thesis.tex", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def _without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _edit(folder: Path, change: dict) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _without(f, "manifest.json"), "no results folder"),
        (lambda f: _without(f, "metrics.csv"), "damaged"),
        (lambda f: _edit(f, {"format": 99}), "format 99"),
        (lambda f: (f / "manifest.json").write_text("{"), "not the manifest"),
        (lambda f: (f / "manifest.json").write_text("[]"), "not the manifest"),
    ],
)
def test_a_damaged_folder_is_named(damage, message, comparison, tmp_path):
    folder = comparison.save(tmp_path / "out", report=False)
    damage(folder)
    with pytest.raises(ResultsError, match=message):
        Results.load(folder)


def test_progress_hears_of_every_stage(rng):
    heard = []
    compare(collapsed_data(), 2, rng=rng, methods=("em", "cavi"), draws=100, progress=lambda *said: heard.append(said))
    assert ("em", "failed") in heard
    assert ("cavi", "done") in heard
    assert heard[-2:] == [("measure", "running"), ("measure", "done")]


def test_one_cluster_needs_no_labels_and_has_its_exact_posterior_for_reference(rng):
    """However many points: CAVI's posterior is the same one, and nothing waits for a sampler."""
    result = compare(three_clusters(40, rng)[:, :1], 1, rng=rng, methods=("em", "cavi"), draws=1000)
    assert set(result.fits) == {"em", "cavi", "exact"}
    assert value(result, "cavi", "occupied") == pytest.approx(1)
    assert result.results.manifest["reference"]["method"] == "exact"
    states = {claim: said["state"] for claim, said in result.results.manifest["verdict"]["cavi"].items()}
    assert states == {"locations": "agrees", "spreads": "agrees", "density": "agrees"}


def test_few_points_are_held_against_the_exact_posterior(rng):
    """It joins by itself; its predictive density is the exact one, not that of its draws."""
    x = three_clusters(12, rng)
    result = compare(x, 2, rng=rng, methods=("em", "cavi"), draws=250)
    assert result.failures == {}
    assert set(result.fits) == {"em", "cavi", "exact"}
    reference = result.results.manifest["reference"]
    assert (reference["method"], reference["trusted"], reference["checks"]) == ("exact", True, [])
    evidence = result.results.manifest["methods"]["exact"]["info"]["log_evidence"]
    assert value(result, "cavi", "bound") < evidence[1]
    assert value(result, "cavi", "predictive_tv") > 0
    alone = exact.fit(x, result.fits["exact"].family, result.fits["exact"].allocation)
    assert value(result, "exact", "train_log_density") == pytest.approx(alone.log_predictive(x).mean(), rel=1e-12)


@pytest.mark.parametrize(("methods", "asked"), [(("cavi", "gibbs"), "auto"), (("cavi",), "gibbs")])
def test_a_gibbs_sampler_is_a_reference(methods, asked, simulated):
    """Its own checks are those of a sampler that knows no gradients; asked for, it joins by itself."""
    result = compare(simulated.x, 3, rng=np.random.default_rng(4), methods=methods, reference=asked, draws=1000)
    assert list(result.fits) == ["cavi", "gibbs"]
    reference = result.results.manifest["reference"]
    assert (reference["method"], reference["trusted"]) == ("gibbs", True)
    assert [check["name"] for check in reference["checks"]] == [
        "largest R-hat",
        "smallest bulk ESS",
        "smallest tail ESS",
        "largest R-hat without labels",
    ]
    assert abs(value(result, "cavi", "median_shift", "locations")) < 0.5
    assert "lp" in result.results.trees["gibbs"]["sample_stats"]


def test_a_sampler_that_is_no_reference_passes_the_same_checks(comparison, rng):
    """Independent draws do; runs of which one has other weights do not, and its evidence is not trusted then."""
    drawn = comparison.fits["cavi"].as_draws(4, 200, rng)
    drawn_weights = drawn.held.weights.reshape(4, 200, -1)
    theta = {name: v.reshape(4, 200, *v.shape[2:]) for name, v in drawn.held.theta.items()}
    apart = drawn_weights.copy()
    apart[0] += 0.5 * (apart[0].mean(0) - apart[0]) + 0.05 * np.array([1, -1, 0])
    for weights, converged in ((drawn_weights, True), (apart, False)):
        held = Draws(weights, theta)
        fit = replace(drawn, method="smc", kind="mcmc", posterior=held, sample_stats={}, converged=True)
        posterior = fit.draws(800, rng)["posterior"].to_dataset()
        rows, judged, fits = judged_samplers({"smc": fit}, {"smc": posterior})
        assert judged == {}
        assert {row.metric for row in rows} >= {"rhat_max", "ess_min"}
        assert fits["smc"].converged is converged
        assert (references.caveat(fits["smc"], None) is None) is converged


def test_a_reference_that_does_not_exist_is_refused(rng):
    with pytest.raises(ValueError, match="there is no reference 'gold'; choose one of auto, exact, nuts, gibbs"):
        compare(three_clusters(40, rng), 2, rng=rng, methods=("em",), reference="gold")


@pytest.mark.parametrize(("covariance", "free"), [("full", 3 * 3), ("tied", 3), ("diag", 3 * 2), ("spherical", 3)])
def test_every_covariance_structure_is_compared(covariance, free, simulated):
    """The table names each free variance once: what is tied or zero by construction has no row of its own."""
    result = compare(
        simulated.x, 3, rng=np.random.default_rng(0), methods=("em", "map", "cavi"), covariance=covariance, draws=100
    )
    assert result.failures == {}
    assert result.results.manifest["model"]["covariance"] == covariance
    for method in ("em", "cavi"):
        names = scalars(result.results.trees[method]["posterior"].to_dataset())
        assert sum(kind(name).block == "spreads" for name in names) == free
    khat = value(result, "cavi", "khat", "all")
    assert khat < 0.7


def test_what_is_said_of_a_closed_form(comparison):
    """Leave-one-out by refits, the bound with labels summed out; averages over draws, and beside them those of q(z)."""
    fit, x = comparison.fits["cavi"], comparison.results.data["x"].values
    elpd = cavi.leave_one_out(fit, x)
    tree = comparison.results.trees["cavi"]
    np.testing.assert_allclose(tree["loo_refitted"].to_dataset()["elpd"], elpd)
    assert value(comparison, "cavi", "elpd_loo_refitted") == pytest.approx(elpd.sum())
    assert value(comparison, "cavi", "p_loo_refitted") == pytest.approx((fit.log_predictive(x) - elpd).sum())
    assert fit.bound[-1] < value(comparison, "cavi", "bound_marginal") < fit.bound[-1] + len(x)
    r = fit.responsibilities(x)
    assert value(comparison, "cavi", "occupied_qz") == pytest.approx((1 - np.prod(1 - r, axis=0)).sum())
    own = tree["clusters"].to_dataset()
    posterior = tree["posterior"].to_dataset()
    arrays = {name: posterior[name].values for name in fit.family.dims}
    draws = replace(fit, posterior=Draws(posterior["weights"].values, fit.family.from_data_units(arrays)))
    np.testing.assert_allclose(own["responsibilities"], draws.responsibilities(x), atol=1e-9)
    np.testing.assert_allclose(own["coclustering"], label_free.together(draws, x).matrix, atol=1e-6)
    labels = comparison.results.data["label"].values
    for suffix, by in (("", own["responsibilities"].values), ("_qz", r)):
        rows = {row.metric: row.value for row in recovery.recovery("cavi", by, labels, suffix)}
        assert value(comparison, "cavi", f"log_score{suffix}") == pytest.approx(rows[f"log_score{suffix}"])
    assert value(comparison, "cavi", "log_score") != value(comparison, "cavi", "log_score_qz")
    assert "log_score_qz" not in set(comparison.results.metrics.query("method == 'em'")["metric"])
    np.testing.assert_allclose(tree["clusters"].to_dataset()["log_predictive"], fit.log_predictive(x))


def test_of_very_many_rows_all_are_fitted_and_a_sample_is_measured(simulated, monkeypatch):
    """What is held for every draw and row, or needs the likelihood of all rows under every draw, has no place then."""
    monkeypatch.setattr(prepared, "LARGEST_MEASURED", 100)
    monkeypatch.setattr(prepared, "MEASURED", 40)
    methods = ("em", "cavi", "gibbs")
    found = compare(
        simulated.x, 3, rng=1, methods=methods, labels=simulated.labels, truth=simulated.truth, draws=120, chains=2
    )
    data = found.results.manifest["data"]
    assert (data["n"], data["n_fitted"]) == (40, 120)
    assert any("fitted to all 120 rows" in note and "sample of 40" in note for note in data["notes"])
    np.testing.assert_array_equal(found.results.data["x"], simulated.x[found.results.data["row"]])
    cavi_fit = found.fits["cavi"]
    assert (cavi_fit.posterior.alpha - cavi_fit.allocation.alpha0).sum() == pytest.approx(120)
    assert value(found, "em", "bic") == pytest.approx(
        -2 * found.fits["em"].log_predictive(simulated.x).sum() + 17 * np.log(120), rel=1e-6
    )
    metrics = set(found.results.metrics["metric"])
    assert {"median_shift", "coclustering_error", "predictive_tv", "ari"} <= metrics
    assert not {"elpd_loo", "khat", "prior_sensitivity"} & metrics
    assert set(found.results.metrics.query("metric == 'log_evidence'")["target"]) == {
        "bic",
        "elbo",
        "elbo_all_labellings",
    }
    assert "log_likelihood" not in found.results.trees["gibbs"]
    assert found.results.manifest["modes"] == {}
    (said,) = power_scaling(View(found.results), found.results.manifest["prior_sensitivity"])
    assert "needs the likelihood of all rows" in said.text
