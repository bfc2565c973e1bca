"""Results made elsewhere that join a comparison: what is accepted, what is refused, and that the numbers are the same."""

import os
import pickle
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import sklearn.cluster
import sklearn.mixture
import xarray as xr
from test_page import CHROMIUM, SCRIPT, Page, browse
from typer.testing import CliRunner

import mixtures
from mixtures import COVARIANCES, Dirichlet, Gaussian
from mixtures.methods import em
from reports import Results, compare
from reports.commands.app import app
from reports.comparison.added import as_added
from reports.comparison.prepared import prepare
from reports.metrics import quality
from reports.page import render

ROOT = Path(__file__).parents[1]
FEATURES = ("left", "right")
HOSTILE = "<img src=x onerror=console.error(1)>"
AGREEMENT = ["median_shift", "width_ratio", "coverage95", "wasserstein"]


@pytest.fixture(scope="module")
def x():
    """Two groups of four points, far enough apart that every draw tells them apart, in unlike units."""
    rng = np.random.default_rng(4)
    points = np.repeat([[0.0, 0.0], [9.0, 9.0]], 4, axis=0) + rng.standard_normal((8, 2))
    return points * [1.0, 20.0] + 100.0


@pytest.fixture(scope="module")
def run(x):
    """A comparison with the exact posterior of eight points, which some results may join."""

    def compared(extra=None, **settings):
        settings = {"methods": ("em", "cavi"), "draws": 100, "features": FEATURES} | settings
        return compare(x, 2, rng=np.random.default_rng(0), extra=extra, **settings)

    return compared


@pytest.fixture(scope="module")
def plain(run):
    return run()


@pytest.fixture(scope="module")
def posterior(plain):
    """CAVI's draws, four chains of a hundred, as arrays."""
    tree = plain.results.trees["cavi"]["posterior"].to_dataset()
    return {name: tree[name].values for name in ("weights", "means", "covariances")}


def independent(arrays):
    """The same draws in one axis."""
    return {name: a.reshape(-1, *a.shape[2:]) for name, a in arrays.items()}


def rows(result, method, metrics=None):
    """Value and error by metric and target, seconds left out."""
    table = result.results.metrics.query("method == @method")
    table = table[~table["metric"].str.startswith("seconds")]
    if metrics is not None:
        table = table[table["metric"].isin(metrics)]
    return table.set_index(["metric", "target"])[["value", "se"]]


def in_bishops_symbols(fit):
    """The closed form of a CAVI fit in the units of the data."""
    family, q = fit.family, fit.posterior.theta
    W = np.linalg.inv(family.expand_matrix(q.W_inv))
    return {"alpha": fit.posterior.alpha, "beta": q.beta, "m": family.points(q.m), "W": W, "nu": q.nu}


def tree_of(arrays, **attrs):
    """A tree with the package's own names of dims."""
    dims = ("chain", "draw", "cluster", "feature", "feature_")
    coords = {"feature": list(FEATURES), "feature_": list(FEATURES)}
    dataset = xr.Dataset({name: (dims[: a.ndim], a) for name, a in arrays.items()}, coords=coords)
    return xr.DataTree.from_dict({"posterior": dataset.assign_attrs(attrs)})


def test_a_fit_has_the_rows_of_the_method_it_came_from(run, plain):
    """Under another name, exactly; and the others' rows do not change."""
    result = run({"mine": plain.fits["em"]})
    pd.testing.assert_frame_equal(rows(result, "mine"), rows(plain, "em"), check_exact=True)
    for method in ("em", "cavi", "exact"):
        pd.testing.assert_frame_equal(rows(result, method), rows(plain, method), check_exact=True)
    entry = result.results.manifest["methods"]["mine"]
    assert (entry["title"], entry["kind"]) == ("added: a fit by EM, maximum likelihood", "point")
    assert result.fits["mine"].method == "mine"
    assert list(result.table().index) == ["em", "cavi", "exact", "mine"]


@pytest.mark.parametrize("standardize", [False, True])
def test_a_closed_form_in_the_datas_units_is_cavis(standardize, run, plain):
    """What is worked out from q and not from draws is the same number; k-hat and the bound come from draws of its own."""
    result = run({"mine": in_bishops_symbols(plain.fits["cavi"])}, standardize=standardize)
    exact = ["train_log_density", "occupied_qz", "train_log_difference"]
    pd.testing.assert_frame_equal(rows(result, "mine", exact), rows(result, "cavi", exact), rtol=1e-6)
    own, theirs = (rows(result, method).loc[("bound_marginal", "data")] for method in ("mine", "cavi"))
    assert abs(own["value"] - theirs["value"]) < 4.5 * np.hypot(own["se"], theirs["se"])
    assert {"khat", "width_ratio"} <= set(rows(result, "mine").index.get_level_values("metric"))
    assert "elpd_loo_approximate" in rows(result, "mine").index.get_level_values("metric")
    assert "elpd_loo_refitted" not in rows(result, "mine").index.get_level_values("metric")
    assert list(rows(result, "mine", ["log_evidence"]).index) == [
        ("log_evidence", "importance")
    ]  # no bound came with it


def joined(estimator, x, structure="full", standardize=False, names=FEATURES):
    """An estimator as a method of a comparison, and the comparison's data."""
    data = prepare(x, None, names, None, 0.0, standardize, np.random.default_rng(0))
    family = COVARIANCES[structure].from_data(data.x, 2)
    return as_added("mine", estimator, data, family, Dirichlet.symmetric(2)), data


def log_density(added, data):
    """Mean log predictive density in the units of the data as they were given."""
    return added.fit.log_predictive(data.x).mean() - np.log(data.scale).sum()


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("cls", [mixtures.GaussianMixture, sklearn.mixture.GaussianMixture])
@pytest.mark.parametrize("structure", COVARIANCES)
def test_a_fitted_estimator_joins_as_its_point(structure, cls, standardize, x):
    points = x - 100.0 if structure == "spherical" else x
    points = points / points.std(0) if standardize and structure == "spherical" else points
    model = cls(2, covariance_type=structure, random_state=0, reg_covar=1e-3).fit(points)
    added, data = joined(model, points, structure, standardize)
    assert (added.kind, added.converged, added.fit.info["warnings"]) == ("point", True, [])
    assert (
        added.title
        == f"added: a point by {cls.__module__.split('.')[0]}{'.mixture' * (cls.__module__[0] == 's')}.GaussianMixture"
    )
    assert log_density(added, data) == pytest.approx(model.score(points), abs=1e-9)


@pytest.mark.robustness("peers")
@pytest.mark.parametrize("prior", ["dirichlet_distribution", "dirichlet_process"])
@pytest.mark.parametrize("structure", COVARIANCES)
@pytest.mark.filterwarnings("ignore:Best performing:sklearn.exceptions.ConvergenceWarning")
def test_a_fitted_bayesian_estimator_joins_as_its_posterior(structure, prior, x):
    """Density and moments of ours are those of the estimator; scikit-learn's has the hyperparameters that it was fitted to."""
    settings = {"n_components": 2, "covariance_type": structure, "weight_concentration_prior_type": prior}
    settings |= {"random_state": 0, "max_iter": 500}
    ours = mixtures.BayesianGaussianMixture(**settings).fit(x)
    added, data = joined(ours, x, structure)
    closed = (structure, prior) == ("full", "dirichlet_distribution")
    assert added.kind == ("variational" if closed else "draws")
    assert log_density(added, data) == pytest.approx(ours.score(x), abs=1e-9 if closed else 0.1)
    assert "its prior differs from the comparison’s in beta0" in added.fit.info["warnings"][0]
    assert ("weights (from sticks)" in added.fit.info["warnings"][0]) == (prior == "dirichlet_process")

    theirs = sklearn.mixture.BayesianGaussianMixture(**settings).fit(x)
    added, _ = joined(theirs, x, structure)
    assert len(added.fit.info["warnings"]) == (1 if structure == "full" else 2)
    weights, theta = added.fit.parameters(4000, np.random.default_rng(0))
    means = added.fit.family.to_data(theta)["means"]
    error = means.std(0) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(means.mean(0) - theirs.means_), 5 * error)
    np.testing.assert_allclose(weights.mean(0), theirs.weights_, atol=0.05)


@pytest.mark.robustness("peers")
def test_priors_that_are_the_same_are_not_said_to_differ(x):
    family = Gaussian.from_data(x, 2)
    m0, beta0, W0_inv, nu0 = family.prior_in_data_units().values()
    prior = {"mean_prior": m0, "mean_precision_prior": float(beta0), "covariance_prior": W0_inv}
    prior |= {"degrees_of_freedom_prior": float(nu0), "weight_concentration_prior": 1.0}
    model = mixtures.BayesianGaussianMixture(
        n_components=2, weight_concentration_prior_type="dirichlet_distribution", random_state=0, **prior
    ).fit(x)
    for standardize in (False, True):
        assert joined(model, x, standardize=standardize)[0].fit.info["warnings"] == []


@pytest.mark.robustness("peers")
def test_an_estimators_features_are_put_in_order(x):
    model = mixtures.GaussianMixture(2, random_state=0).fit(pd.DataFrame(x, columns=FEATURES)[list(FEATURES[::-1])])
    added, data = joined(model, x)
    assert log_density(added, data) == pytest.approx(
        model.score(pd.DataFrame(x, columns=FEATURES)[list(FEATURES[::-1])])
    )


@pytest.mark.robustness("peers")
@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (mixtures.GaussianMixture(2), "the GaussianMixture is not fitted"),
        (mixtures.GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)]), "its n_components is 1"),
        (
            sklearn.mixture.GaussianMixture(2, covariance_type="diag"),
            "its covariance_type is 'diag'; that of the comparison",
        ),
        (
            mixtures.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1.0]], [[[1.0]]] * 2),
            "its number of features is 1",
        ),
        (sklearn.cluster.KMeans(2), "it is a KMeans; expected"),
    ],
)
def test_an_estimator_of_something_else_is_refused(estimator, message, x):
    if "diag" in message:
        estimator.fit(x)
    with pytest.raises(ValueError, match=f"added method 'mine': {message}"):
        joined(estimator, x)


@pytest.mark.robustness("peers")
def test_an_estimator_is_compared(run, x):
    model = mixtures.GaussianMixture(2, reg_covar=0, tol=1e-12, random_state=0).fit(x)
    result = run({"ours": model})
    ours, em_rows = rows(result, "ours", ["train_log_density"]), rows(result, "em", ["train_log_density"])
    pd.testing.assert_frame_equal(ours, em_rows, rtol=1e-6)
    assert result.results.manifest["methods"]["ours"]["title"] == "added: a point by mixtures.GaussianMixture"


def stored(how, arrays, folder):
    """The draws in one of the forms in which they can come."""
    tree = tree_of(arrays, kind="draws")
    if how == "zarr":
        tree.to_zarr(folder / "draws.zarr", zarr_format=2)
        return folder / "draws.zarr"
    if how == "netcdf":
        tree.to_netcdf(folder / "draws.nc", engine="h5netcdf")
        return str(folder / "draws.nc")
    if how == "npz":
        np.savez(folder / "draws.npz", **independent(arrays))
        return folder / "draws.npz"
    dataset = tree["posterior"].to_dataset()
    return {
        "tree": tree,
        "dataset": dataset,
        "mapping": independent(arrays),
        "other names": dataset.drop_vars(["feature", "feature_"]).rename(cluster="k", feature="d", feature_="e"),
        "own names, other order": dataset.transpose("feature", "draw", "feature_", "cluster", "chain"),
        "features in another order": dataset.isel(feature=[1, 0], feature_=[1, 0]),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "zarr",
        "netcdf",
        "npz",
        "tree",
        "dataset",
        "mapping",
        "other names",
        "own names, other order",
        "features in another order",
    ],
)
def test_draws_in_any_form_agree_as_they_did_before(how, run, plain, posterior, tmp_path):
    """CAVI's own draws added again have CAVI's rows, to the rounding of the way to the data's units and back."""
    result = run({"mine": stored(how, posterior, tmp_path)})
    pd.testing.assert_frame_equal(rows(result, "mine", AGREEMENT), rows(plain, "cavi", AGREEMENT), rtol=1e-7)
    entry = result.results.manifest["methods"]["mine"]
    assert (entry["kind"], entry["status"], entry["converged"]) == ("draws", "ok", None)
    assert "400 draws" in entry["title"] or "4 × 100 draws" in entry["title"]
    if how == "netcdf":
        assert entry["title"].endswith("from draws.nc")


def test_the_units_are_those_of_the_data_as_given(run, posterior):
    """Standardised or not, the shift in units of the reference is the same; the exact draws are not, so to their error."""
    shifts = [
        rows(run({"mine": independent(posterior)}, methods=("em",), standardize=s), "mine", ["median_shift"])
        for s in (False, True)
    ]
    pd.testing.assert_frame_equal(*shifts, rtol=1e-6)


def test_labels_of_added_draws_are_brought_to_the_common_ones(run, posterior):
    """Clusters swapped in every third of 400 draws come back, and the report says how many draws were moved."""
    arrays = independent(posterior)
    swapped = {name: a.copy() for name, a in arrays.items()}
    for a in swapped.values():
        a[::3] = a[::3, ::-1]
    plain, mixed = run({"mine": arrays}), run({"mine": swapped})
    pd.testing.assert_frame_equal(rows(mixed, "mine", AGREEMENT), rows(plain, "mine", AGREEMENT), check_exact=True)
    moved = [result.results.manifest["relabelling"]["mine"]["moved"] for result in (plain, mixed)]
    assert moved == [0, 134 / 400]


def test_chains_are_checked_and_independent_draws_are_not(run, posterior):
    chains, draws, said = tree_of(posterior), independent(posterior), tree_of(posterior, kind="draws")
    one = tree_of({name: a.reshape(1, -1, *a.shape[2:]) for name, a in posterior.items()})
    one["sample_stats"] = xr.Dataset(
        {"energy": (("chain", "draw"), np.random.default_rng(0).standard_normal((1, 400)))}
    )
    result = run({"chains": chains, "draws": draws, "said": said, "one": one})
    kinds = {name: entry["kind"] for name, entry in result.results.manifest["methods"].items()}
    assert kinds["chains"] == kinds["one"] == "mcmc"
    assert kinds["draws"] == kinds["said"] == "draws"
    found = {name: set(rows(result, name).index.get_level_values("metric")) for name in kinds}
    assert {"rhat_max", "ess_min", "elpd_loo"} <= found["chains"]
    assert {"ess_min", "ebfmi_min"} <= found["one"]
    nothing = {"rhat_max", "ess_min", "elpd_loo", "elpd_loo_approximate", "log_evidence"}
    assert not nothing & (found["draws"] | found["said"])
    assert result.results.manifest["reference"]["method"] == "exact"
    references = result.results.manifest["references"]
    assert set(references) == {"exact", "chains", "one"}
    assert references["chains"]["checks"][0]["value"] == rows(result, "chains")["value"]["rhat_max", "all"]
    assert result.results.manifest["methods"]["one"]["converged"] is False  # one chain has no R-hat to pass
    assert re.search(
        r"smallest bulk ESS \d+[,)]", references["chains"]["reason"]
    )  # of 400 draws more than 400 are asked
    undecided = [said for said in result.results.manifest["verdict"]["one"].values() if said["state"] != "differs"]
    assert all(said["because"].startswith("the sampler failed its checks (largest R-hat unknown") for said in undecided)
    assert not any("optimiser" in said["because"] for said in result.results.manifest["verdict"]["one"].values())


def test_recorded_ratios_of_a_fit_give_its_k_hat(run, plain, x):
    """A fit that holds draws of q with log p - log q, and fewer of them than the comparison keeps, as ADVI's may."""
    fit = plain.fits["cavi"]
    drawn = fit.as_draws(1, 300, np.random.default_rng(1))
    ratios = quality.log_ratios(fit, drawn, x)
    held = replace(drawn, sample_stats={"log_ratio": ratios[None]})
    result = run({"mine": held})
    assert rows(result, "mine")["value"]["khat", "all"] == quality.khat("mine", ratios).value
    assert result.results.manifest["methods"]["mine"]["bound_kind"] == "ELBO with q(z)"
    assert {"importance", "elbo"} <= set(rows(result, "mine", ["log_evidence"]).index.get_level_values("target"))
    again = run({"mine": result.results.trees["mine"]}).results.manifest["methods"]["mine"]
    assert (again["kind"], again["title"]) == ("draws", "added: 4 × 100 draws")


def test_a_point_is_one(run, plain, x):
    """EM's estimate given as arrays has EM's density and no intervals."""
    tree = plain.results.trees["em"]["posterior"].to_dataset()
    point = {name: tree[name].values[0, 0] for name in ("weights", "means", "covariances")}
    result = run({"mine": point})
    both = ["train_log_density", "median_shift"]
    pd.testing.assert_frame_equal(rows(result, "mine", both), rows(plain, "em", both), rtol=1e-9)
    assert result.results.manifest["methods"]["mine"]["kind"] == "point"
    assert not {"width_ratio", "khat"} & set(rows(result, "mine").index.get_level_values("metric"))


def test_added_chains_are_never_the_reference(posterior, rng):
    x = np.repeat([[0.0, 0.0], [9.0, 9.0]], 30, axis=0) + rng.standard_normal((60, 2))
    result = compare(x * [1.0, 20.0] + 100.0, 2, rng=rng, methods=("em",), extra={"mine": posterior}, draws=100)
    assert result.results.manifest["reference"]["method"] is None
    assert list(result.results.manifest["references"]) == ["mine"]


@pytest.mark.parametrize("structure", ["tied", "diag", "spherical"])
def test_every_structure_takes_draws_of_its_own_and_no_others(structure, run, posterior):
    other = run(methods=("em", "cavi"), covariance=structure)
    own = tree_of({name: other.results.trees["cavi"]["posterior"][name].values for name in posterior}, kind="draws")
    result = run({"mine": own}, covariance=structure)
    pd.testing.assert_frame_equal(rows(result, "mine", AGREEMENT), rows(other, "cavi", AGREEMENT), rtol=1e-7)
    with pytest.raises(ValueError, match="its covariances are not"):
        run({"mine": tree_of(posterior)}, covariance=structure)
    with pytest.raises(ValueError, match=r"its covariances have \d distinct entries"):
        run({"mine": own})


def changed(arrays, **change):
    return independent(arrays) | {name: f(independent(arrays)[name].copy()) for name, f in change.items()}


def with_entry(value):
    def put(a):
        a[7, ..., 0] = value
        return a

    return put


def other_fit(x, k, family=Gaussian):
    return em.fit(x, family.from_data(x, k), Dirichlet.symmetric(k), rng=np.random.default_rng(0))


BAD = {
    "no covariances": (lambda p, x: {"weights": p["weights"], "means": p["means"]}, "it lacks covariances; expected"),
    "other names": (lambda p, x: {"w": p["weights"]}, "it lacks weights, means, covariances"),
    "another K": (lambda p, x: changed(p, weights=lambda a: np.full((400, 3), 1 / 3)), r"\(400, 3\).*K is 2"),
    "another D": (lambda p, x: changed(p, means=lambda a: a[..., :1]), r"means has shape \(400, 2, 1\)"),
    "too many dims": (lambda p, x: changed(p, weights=lambda a: a[None, None]), "weights has shape"),
    "no dims": (lambda p, x: changed(p, weights=lambda a: np.array(1.0)), r"weights has shape \(\)"),
    "variables of different length": (lambda p, x: changed(p, means=lambda a: a[:300]), "expected the same draws"),
    "chain without draw": (
        lambda p, x: tree_of(p)["posterior"].to_dataset().rename(draw="sample"),
        "expected both chain and draw",
    ),
    "other features": (
        lambda p, x: tree_of(p)["posterior"].to_dataset().assign_coords(feature=["up", "down"]),
        r"the features \['up', 'down'\]; the data have \['left', 'right'\]: rename",
    ),
    "unknown kind": (lambda p, x: tree_of(p, kind="bootstrap"), "is 'bootstrap'; expected"),
    "too few draws": (lambda p, x: {name: a[0, :99] for name, a in p.items()}, "99 draws; expected at least 100"),
    "too short chains": (lambda p, x: {name: a[:, :50] for name, a in p.items()}, "50 draws in each chain"),
    "weights of 1.2": (lambda p, x: changed(p, weights=lambda a: 1.2 * a), r"weights sum to 1.2 in chain 0, draw"),
    "a weight below zero": (lambda p, x: changed(p, weights=lambda a: a - [1.5, -1.5]), "weights are as small as -"),
    "not a number": (lambda p, x: changed(p, means=with_entry(np.nan)), "means has 2 missing or infinite"),
    "infinite": (lambda p, x: changed(p, weights=with_entry(np.inf)), "weights has 1 missing or infinite"),
    "words": (lambda p, x: changed(p, weights=lambda a: a.astype(str)), "expected real numbers"),
    "ragged": (lambda p, x: changed(p, weights=lambda a: [[1.0], [0.5, 0.5]]), "inhomogeneous"),
    "factors": (lambda p, x: changed(p, covariances=np.linalg.cholesky), "not symmetric"),
    "not positive definite": (
        lambda p, x: changed(p, covariances=lambda a: a + 1e6 * (1 - np.eye(2))),
        "not positive definite",
    ),
    "a variance of zero": (lambda p, x: changed(p, covariances=lambda a: 0 * a), "0 on a diagonal"),
    "diagonal": (lambda p, x: changed(p, covariances=lambda a: a * np.eye(2)), "4 distinct entries"),
    "a weight that does not vary": (
        lambda p, x: changed(p, weights=lambda a: np.full_like(a, 0.5)),
        r"weights\[0\] is the same in every draw",
    ),
    "means of other units": (
        lambda p, x: changed(p, means=lambda a: 1e200 * a),
        r"means reach .*e.20\d; expected them in",
    ),
    "variances of other units": (
        lambda p, x: changed(p, covariances=lambda a: 1e-200 * a),
        r"variances reach from .*e-\d+; expected the data's units",
    ),
    "a closed form of other units": (
        lambda p, x: {
            "alpha": [1, 1],
            "beta": [1, 1],
            "m": np.full((2, 2), 1e200),
            "W": [np.eye(2)] * 2,
            "nu": [4, 4],
        },
        "means reach 1e.200",
    ),
    "a kind that is a list": (lambda p, x: tree_of(p, kind=["mcmc"]), r"is \['mcmc'\]; expected"),
    "a kind that is a mapping": (lambda p, x: tree_of(p, kind={"a": 1}), r"is \{'a': 1\}; expected"),
    "a closed form of another size": (
        lambda p, x: {"alpha": [1, 1, 1], "beta": [1, 1], "m": np.zeros((2, 2)), "W": [np.eye(2)] * 2, "nu": [4, 4]},
        r"alpha has shape \(3,\)",
    ),
    "too few degrees of freedom": (
        lambda p, x: {"alpha": [1, 1], "beta": [1, 1], "m": np.zeros((2, 2)), "W": [np.eye(2)] * 2, "nu": [4, 1]},
        "nu is 1 for cluster 1; expected more than 1",
    ),
    "a fit with another K": (lambda p, x: other_fit(x, 1), "its K is 1; that of the comparison is 2"),
    "a fit of other data": (lambda p, x: other_fit(x[:, :1], 2), "its number of features is 1"),
    "a list": (lambda p, x: [1, 2], "it is a list; expected a DataTree"),
    "no file": (lambda p, x: "nowhere.nc", "there is no file nowhere.nc"),
    "a folder": (lambda p, x: ROOT / "tests", "tests cannot be read"),
    "a file of something else": (lambda p, x: ROOT / "README.md", "README.md cannot be read"),
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_result_is_refused_before_anything_runs(case, run, posterior, x):
    make, message = BAD[case]
    heard = []
    with pytest.raises(ValueError, match=rf"added method 'mine': .*{message}"):
        run({"mine": make(posterior, x)}, progress=lambda *said: heard.append(said))
    assert heard == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("em", "'em' is taken"),
        ("CAVI", "'CAVI' is taken"),
        ("oracle", "is taken"),
        ("data", "is taken"),
        ("", "expected at most 40 printable"),
        (" mine", "printable"),
        ("_mine", "no underscore"),
        ("two\nlines", "printable"),
        ("x" * 41, "at most 40"),
        (7, "printable"),
    ],
)
def test_names_that_are_taken_or_cannot_be_shown_are_refused(name, message, run, plain):
    with pytest.raises(ValueError, match=message):
        run({name: plain.fits["em"]})


def test_names_that_differ_in_case_alone_are_refused(run, plain):
    with pytest.raises(ValueError, match="'MINE' is taken"):
        run({"mine": plain.fits["em"], "MINE": plain.fits["em"]})


def test_what_was_fitted_elsewhere_holds_nothing_out(run, plain):
    with pytest.raises(ValueError, match="leave it at 0"):
        run({"mine": plain.fits["em"]}, test_fraction=0.2)
    with pytest.raises(ValueError, match="a Fit cannot be standardised"):
        run({"mine": plain.fits["em"]}, standardize=True)
    with pytest.raises(ValueError, match="a closed form is of full covariances, not diag"):
        run({"mine": in_bishops_symbols(plain.fits["cavi"])}, covariance="diag")


def test_a_users_model_is_sampled_and_joins(rng):
    """A model in PyMC with the same prior, labels summed out, sampled by a random walk: its tree goes in as it is."""
    x = np.concatenate([rng.normal(0, 1, 4), rng.normal(8, 1, 4)])[:, None]
    m0, beta0, W0_inv, nu0 = Gaussian.from_data(x, 2).prior_in_data_units().values()
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""), pm.Model():
        weights = pm.Dirichlet("weights", np.ones(2))
        precision = pm.Gamma("precision", nu0 / 2, W0_inv.item() / 2, shape=2)
        mu = pm.Normal("mu", m0.item(), tau=beta0 * precision, shape=2, initval=[0.0, 8.0])
        pm.Deterministic("means", mu[:, None])
        pm.Deterministic("covariances", 1 / precision[:, None, None])
        pm.NormalMixture("x", weights, mu, tau=precision, observed=x[:, 0])
        tree = pm.sample(
            100,
            tune=100,
            chains=2,
            cores=1,
            step=pm.DEMetropolisZ(),
            random_seed=3,
            progressbar=False,
            compute_convergence_checks=False,
        )
    result = compare(x, 2, rng=rng, methods=("cavi",), extra={"my model": tree}, draws=250)
    entry = result.results.manifest["methods"]["my model"]
    assert (entry["kind"], entry["title"]) == ("mcmc", "added: 2 × 100 draws")
    assert result.results.manifest["reference"]["method"] == "exact"
    np.testing.assert_allclose(
        result.results.trees["my model"]["posterior"]["means"].mean(("chain", "draw")), [[0], [8]], atol=2
    )
    assert {"rhat_max", "median_shift"} <= set(rows(result, "my model").index.get_level_values("metric"))


def test_the_example_in_the_readme_validates_its_vb():
    """The ten lines come to the optimum of the package's CAVI: the same log density of every point, to its tolerance."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "extra=" in block)
    names: dict = {}
    exec(blocks[0], names)
    names["compare"] = partial(compare, draws=100)
    exec(example, names)
    loop = example[example.index("for _") : example.index("\n\nmine")].splitlines()[1:]
    assert len(loop) <= 10
    result = names["result"]
    assert result.failures == {}
    density = [result.results.trees[m]["clusters"].to_dataset()["log_predictive"].values for m in ("mine", "cavi")]
    np.testing.assert_allclose(*density, atol=1e-4)
    assert result.table().loc["mine", "khat"] < 0.7


@pytest.mark.robustness("errors")
def test_a_netcdf_file_with_odd_attributes_is_refused(posterior, run, tmp_path):
    import h5py

    tree_of(posterior).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "x.nc", "a") as file:
        file["posterior/weights"].attrs["scale_factor"] = "evil"
    with pytest.raises(ValueError, match=r"added method 'mine': .*x.nc cannot be read"):
        run({"mine": tmp_path / "x.nc"})


def test_names_find_their_files_again(run, posterior, tmp_path):
    names = ["my VB", "<b>x</b>", "..", "1"]
    result = run(dict.fromkeys(names, independent(posterior)), methods=("cavi",))
    folder = result.save(tmp_path / "out", report=False)
    assert {"my VB.zarr", "%3Cb%3Ex%3C%2Fb%3E.zarr", "cavi.zarr"} <= {p.name for p in folder.iterdir()}
    loaded = Results.load(folder)
    assert list(loaded.trees) == ["cavi", "exact", *names]
    pd.testing.assert_frame_equal(loaded.metrics, result.results.metrics, check_exact=True)


@pytest.fixture(scope="module")
def page(x, posterior):
    """Of a comparison in which the data's columns and the added methods have names that are code."""
    extra = {"<u>x</u>": independent(posterior), HOSTILE: posterior}
    columns = [SCRIPT, HOSTILE]
    return render(
        compare(x, 2, rng=np.random.default_rng(0), features=columns, extra=extra, methods=("em",), draws=100).results
    )


def test_names_that_are_code_are_shown_as_text(page):
    found = Page(page)
    assert found.tags.count("script") == 1
    assert "u" not in found.tags
    assert all(image["src"].startswith("data:") for image in found.images)
    assert "<u>x</u>" in found.sections["verdict"]
    assert SCRIPT in found.sections["agreement"]
    assert "Made elsewhere and added" in found.sections["setting"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_runs_nothing_that_came_from_a_name(page, tmp_path):
    console, asked, document = browse(page, tmp_path)
    assert not console
    assert not asked
    assert "&lt;u&gt;x&lt;/u&gt;" in document


class Mark:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path, monkeypatch, x, posterior):
    """A working folder with the data, some draws, and some files that are none."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(x, columns=[SCRIPT, "right"]).to_csv("mine.csv", index=False)
    np.savez("draws.npz", **independent(posterior))
    np.savez("heavy.npz", **changed(posterior, weights=lambda a: 1.2 * a))
    np.savez("names.npz", w=posterior["weights"])
    for name, dump in {"mine.pkl": pickle.dump, "mine.joblib": joblib.dump, "mine": pickle.dump}.items():
        with open(name, "wb") as file:
            dump(Mark(tmp_path / "executed"), file)
    Path("old.p").write_bytes(pickle.dumps({}, 0))
    Path("notes.nc").write_text("not netCDF")
    Path("notes.npz").write_text("not npz")
    return tmp_path


def shell(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


def test_results_join_from_the_shell(folder):
    add = ("--add", "mine=draws.npz", "--add", "[b]x[/b]=draws.npz")
    result = shell("compare", "mine.csv", "-k", "2", "--methods", "cavi", "--draws", "100", "--no-report", *add)
    assert result.exit_code == 0, result.output
    assert "[b]x[/b]" in result.stdout
    metrics = pd.read_csv(folder / "results" / "mine-k2" / "metrics.csv")
    assert {"cavi", "exact", "mine", "[b]x[/b]"} == set(metrics["method"])
    assert metrics["target"].str.contains(SCRIPT, regex=False).any()


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (["mine"], "not of the form NAME=PATH"),
        (["=draws.npz"], "not of the form NAME=PATH"),
        (["mine="], "not of the form NAME=PATH"),
        (["mine=draws.npz", "mine=draws.npz"], "twice"),
        (["cavi=draws.npz"], "'cavi' is taken"),
        (["mine=nowhere.nc"], "there is no file nowhere.nc"),
        (["mine=heavy.npz"], "weights sum to 1.2"),
        (["mine=names.npz"], "it lacks weights, means, covariances"),
        (["mine=mine.pkl"], "mine.pkl is a pickle, which may run any code when it is read: load it in Python and give"),
        (["mine=mine.joblib"], "extra={'mine': estimator}, or save its weights (K,), means (K, D) and covariances"),
        (["mine=mine"], "numpy.savez('mine.npz', weights=..., means=..., covariances=...)"),
        (["mine=old.p"], "old.p is a pickle"),
        (["mine=notes.nc"], "notes.nc cannot be read"),
        (["mine=notes.npz"], "notes.npz cannot be read"),
        (["mine=."], "cannot be read"),
    ],
)
def test_a_bad_addition_is_one_line_and_nothing_is_written(add, message, folder):
    before = sorted(folder.rglob("*"))
    result = shell("compare", "mine.csv", "-k", "2", *(part for pair in add for part in ("--add", pair)))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert sorted(folder.rglob("*")) == before


def test_a_folder_of_another_version_is_refused(folder):
    quick = ("--methods", "cavi", "--draws", "100", "--no-report", "--out", "o")
    assert shell("compare", "mine.csv", "-k", "2", *quick).exit_code == 0
    manifest = folder / "o" / "manifest.json"
    manifest.write_text(re.sub(r'"format": \d+', '"format": 1', manifest.read_text()))
    result = shell("report", "o")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "written in format 1" in line
    assert not (folder / "o" / "report.html").exists()
