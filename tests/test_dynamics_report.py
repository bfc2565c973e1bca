"""Linear dynamical systems compared: what is identified, densities of q, the verdicts, the page and the command."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import gamma, norm
from typer.testing import CliRunner

from mixtures.datasets import load_series, simulate_linear
from mixtures.dynamics import LinearDynamics, local_level, states
from mixtures.rows.sequences import Sequences
from reports import Results, ResultsError
from reports.commands.parser import app
from reports.metrics import gaussian_bridge
from reports.page.agreement import forest
from reports.page.build import look, render
from reports.page.dynamics import density_word
from reports.validation import ahead, identified
from reports.validation.catalogue import REFERENCES
from reports.validation.dynamics import (
    LONG,
    METHODS,
    check_methods,
    compare,
    default_methods,
    left_out,
    matrices,
    named,
    priors,
    unknown,
)
from reports.validation.measure import _chosen
from reports.validation.methods import advi
from reports.validation.system import SystemTarget

# Estimates from all of the Nile (Durbin & Koopman 2012, section 2.10.3), which stand for a truth.
PUBLISHED = {
    "transition": np.eye(1), "emission": np.eye(1), "state_covariance": np.array([[1469.1]]),
    "observation_covariance": np.array([[15099.0]]), "initial_mean": np.zeros(1), "initial_covariance": np.zeros((1, 1)),
}  # fmt: skip


def drawn(H, D, n, rng):
    """Draws (1, n, ...) of theta of a latent system."""
    own = [LinearDynamics.latent(H, D).with_prior(rng.standard_normal((30, D))).sample_prior(rng) for _ in range(n)]
    return {name: np.stack([each[name] for each in own])[None] for name in own[0]}


def test_what_is_compared_does_not_depend_on_the_coordinates_of_the_states(rng):
    theta, T = drawn(3, 2, 20, rng), rng.standard_normal((3, 3))
    inverse = np.linalg.inv(T)
    turned = theta | {
        "transition": T @ theta["transition"] @ inverse,
        "emission": theta["emission"] @ inverse,
        "state_covariance": T @ theta["state_covariance"] @ T.T,
        "initial_mean": theta["initial_mean"] @ T.T,
        "initial_covariance": T @ theta["initial_covariance"] @ T.T,
    }
    model = LinearDynamics.latent(3, 2)
    before, after = (identified.values(model, own) for own in (theta, turned))
    assert set(before) == set(identified.variables(model, ("a", "b"))) - {identified.LIKELIHOOD}
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-6, atol=1e-8, err_msg=name)
        assert value.shape[2:] == identified.variables(model, ("a", "b"))[name].shape
    x = Sequences(simulate_linear([12, 9], 3, 2, rng=rng).data.x, [12, 9])
    flat = [{name: v[0, :4] for name, v in own.items()} for own in (theta, turned)]
    for name, value in identified.in_time(model, x, flat[0]).items():
        np.testing.assert_allclose(identified.in_time(model, x, flat[1])[name], value, rtol=1e-5, atol=1e-6)


def test_autocorrelations_stay_within_sequences():
    x = Sequences(np.zeros((9, 1)), [5, 4])
    errors = np.array([1.0, -1, 1, -1, 1, 2, 2, 2, np.nan])[:, None]
    lag = identified.autocorrelations(x, errors)[0, 0]
    products, squares = [-1, -1, -1, -1, 4, 4], [1] * 5 + [4] * 3
    assert lag == pytest.approx(np.mean(products) / np.mean(squares))


@pytest.fixture(scope="module")
def compared():
    """A local level on part of the Nile; Gibbs sampling stands for NUTS, which is compiled for longer."""
    patched = dict(METHODS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "nuts", patched["gibbs"])
        x = load_series("nile").data.x[:30]
        yield compare(
            x, local_level(), rng=0, methods=["em", "cavi"], features=["volume"], name="nile", draws=200, chains=2,
            truth=PUBLISHED,
        )  # fmt: skip


@pytest.fixture(scope="module")
def saved(compared, tmp_path_factory):
    return compared.results.save(tmp_path_factory.mktemp("saved") / "o")


@pytest.mark.filterwarnings("ignore:the chains have not converged")
def test_methods_are_held_against_the_reference(compared):
    assert compared.failures == {}
    manifest, rows = compared.results.manifest, compared.results.metrics
    assert manifest["reference"]["method"] == "nuts"
    assert set(manifest["verdict"]["em"]) == {"observation variance", "state variance"}
    assert set(manifest["verdict"]["cavi"]) >= {"observation variance", "state variance", "log likelihood"}
    assert manifest["dynamics"]["equations"][0] == "z_1 diffuse"
    evidence = rows[rows["metric"] == "log_evidence"].set_index(["method", "target"])["value"]
    elbo, bridge = evidence["cavi", "elbo"], evidence["nuts", "bridge"]
    bound = rows[(rows["metric"] == "bound") & (rows["method"] == "cavi")]["value"].item()
    assert bound - 0.05 < elbo < bridge + 0.05  # q(theta) alone bounds no less tightly than q(theta) q(z)


def test_what_is_identified_of_the_truth_is_marked(compared):
    rows = compared.results.metrics.query("metric == 'truth_rank'")
    assert set(rows["target"]) == {"observation variance[volume]", "state variance[level]", "log likelihood"}
    draws = compared.results.trees["cavi"]["posterior"]["state variance"].values
    (rank,) = rows.query("method == 'cavi' and target == 'state variance[level]'")["value"]
    assert rank == pytest.approx((draws < 1469.1).mean())
    assert set(rows["method"]) == {"cavi", "nuts"}  # a point has no probabilities
    assert compared.results.manifest["truth"]["observation variance"] == [15099.0]
    with pytest.raises(ValueError, match="truth has 'transition' of shape"):
        compare(np.arange(9.0), local_level(), rng=0, truth=PUBLISHED | {"transition": np.eye(2)})


@pytest.mark.parametrize(
    ("nuts", "gibbs", "chosen"), [(True, True, "nuts"), (False, True, "gibbs"), (False, False, "nuts")]
)
def test_gibbs_is_the_reference_where_nuts_failed_its_checks(nuts, gibbs, chosen):
    preferred = (*REFERENCES, *SystemTarget.samplers.fget(None))
    judged = {m: {"method": m, "trusted": ok} for m, ok in (("gibbs", gibbs), ("nuts", nuts))}
    assert _chosen(judged, preferred)["method"] == chosen


def test_points_are_drawn_on_the_scale_of_the_comparison(compared):
    """A variance is compared by its logarithm, so its estimate is drawn there too."""
    view = look(compared.results)[0]
    estimate = view.point_values["em"]["state variance[level]"]
    assert view.estimate_on_scale("state variance[level]", estimate) == pytest.approx(np.log(estimate))
    assert "The axis ends" not in forest(view, "nuts", "NUTS", 5).caption


def test_the_density_of_q_is_that_of_its_gammas():
    from mixtures.dynamics import cavi
    from reports.validation.methods.dynamics import log_ratio

    x = load_series("nile").data.x[:30]
    model = local_level().with_prior(x)
    fit = cavi.fit(x, model, rng=0)
    theta = {name: v[None] for name, v in fit.parameters(5, 0).items()}
    expected = np.zeros(5)
    for part, q, name in zip(model.parts, fit.posterior, ("state_covariance", "observation_covariance"), strict=False):
        precision, prior = 1 / theta[name][0, :, 0, 0], part.prior_moments
        expected += gamma.logpdf(precision, q.n[0] / 2, scale=2 / q.yy[0])
        expected -= gamma.logpdf(precision, prior.n[0] / 2, scale=2 / prior.yy[0])
    np.testing.assert_allclose(log_ratio(model, fit, theta)[0], expected, rtol=1e-9)


def test_the_page_has_the_system_in_time(compared, tmp_path):
    from reports.comparison.results import Results
    from reports.page.build import look, write
    from reports.page.trust import references_table

    folder = compared.results.save(tmp_path / "nile")
    view, sections = look(Results.load(folder))
    section = next(own for make in sections if (own := make(view)) is not None and own.id == "dynamics")
    text = write(view, [section])
    assert {"graph", "signal", "innovations"} <= set(re.findall(r'id="fig-([a-z]+)"', text))
    assert "z_t = A z_(t-1) + N(0, Q)" in text
    assert view.subtitle.startswith("A linear dynamical system (local-level) with 2 free numbers")
    assert "Ljung and Box" in text
    assert "density of the next row" in text
    assert "Estimated: Q and R; known: A and C." in text
    assert "every row from step 9 on is predicted" in text
    references = references_table(view, "NUTS")
    assert not {"co-clustering", "total variation"} & set(references.columns)
    assert "co-clustering" not in references.caption


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("local-levle", "did you mean 'local-level'"),
        ("latent", "number of states too"),
        ("seasonal=x", "whole number after ="),
        ("random-regression", "needs its regressors"),
        ("seasonal", "the number of rows in a period too, such as seasonal=12"),
        ("local-level=3", "expected local-level alone"),
        ("latent=0", "--lds is 'latent=0'; expected 1 or more states"),
        ("seasonal=1", "--lds is 'seasonal=1'; expected 2 or more rows in a period"),
        ("autoregression=0", "--lds is 'autoregression=0'; expected 1 or more values before"),
        ("latent=99999999999999999999", "the longest sequence has 60 rows; give a number below that"),
        ("seasonal=99999", "the longest sequence has 60 rows"),
    ],
)
@pytest.mark.robustness("errors")
def test_misspelt_models_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        named(spec, 1, 60)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("spec", "start", "message"),
    [
        ("latent=1", "stationry", "did you mean 'stationary'"),
        ("local-level", "known", "start of local-level is 'known'; expected diffuse$"),
        ("local-level", "stationary", "no stationary distribution: .*; expected start diffuse"),
        ("autoregression=1", "diffuse", "expected free or stationary"),
    ],
)
def test_starts_that_a_model_cannot_have_are_refused(spec, start, message):
    with pytest.raises(ValueError, match=message):
        named(spec, 1, 60, start)


def test_a_stationary_start_leaves_out_what_cannot_fit_it():
    model = named("latent=2", 1, start="stationary")
    assert (model.stationary, named("autoregression=2", 1, start="stationary").stationary) == (True, True)
    assert matrices(model) == ["A free", "C free", "Q free", "R free"]
    assert default_methods(model, 60) == ("em", "map", "gibbs", "nuts")
    target = SimpleNamespace(edge=SystemTarget.edge.fget(SimpleNamespace(system=model)))
    with pytest.raises(ValueError, match="ELBO is minus infinity; fit a stationary start by nuts or gibbs"):
        advi.fit(target, rng=np.random.default_rng(0))


def test_maximum_likelihood_is_left_out_where_it_has_no_bound():
    model = named("latent=1", 1, start="diffuse")
    assert default_methods(model, 60) == ("map", "cavi", "gibbs", "advi", "nuts")
    with pytest.raises(ValueError, match="em cannot fit latent=1: the likelihood of latent states that start diffuse"):
        check_methods(["em"], 60, model)
    with pytest.raises(ValueError, match="cavi cannot fit latent=1: a stationary start"):
        check_methods(["cavi"], 60, named("latent=1", 1, start="stationary"))


def test_long_series_are_held_against_gibbs_sampling():
    assert set(left_out(local_level(), LONG + 1)) == {"advi", "nuts"}
    assert left_out(local_level(), LONG) == {}
    assert check_methods(["em"], LONG + 1) == ("em", "gibbs")
    assert check_methods(["em"], LONG) == ("em", "nuts")


@pytest.mark.parametrize(
    ("arguments", "methods"),
    [(["--methods", "em"], ("em", "gibbs")), (["--start", "stationary"], ("em", "map", "gibbs"))],
)
def test_the_command_holds_a_long_series_against_gibbs_sampling(arguments, methods, tmp_path, monkeypatch):
    def stop(x, model, **settings):
        raise ValueError(f"methods {settings['methods']}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reports.api.dynamics.compare_dynamics", stop)
    found = CliRunner().invoke(app, ["compare", "tsmatz-lds", "--lds", "latent=1", *arguments])
    assert f"methods {methods}" in found.stderr
    assert all(f"note: {name} is left out" in found.stderr for name in ("advi", "nuts", "cavi")) == (len(methods) == 3)


@pytest.mark.robustness("errors")
def test_a_word_in_the_place_of_a_model_is_refused():
    with pytest.raises(ValueError, match=r"model is 'local-level'; expected a LinearDynamics, such as .*structure"):
        compare(np.zeros((9, 1)), "local-level", rng=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nile", "--lds", "local-level", "-k", "2"], "-k and --lds do not go together"),
        (["nile", "--lds", "local-level", "--methods", "emm"], "there is no method 'emm'"),
        (["earthquakes", "--lds", "local-level"], "needs numbers"),
        (["nile", "--lds", "local-level", "--missing", "drop"], "leave gaps in time"),
        (["nile", "--lds", "local-level", "--start", "difuse"], "did you mean 'diffuse'"),
        (["earthquakes", "-k", "2", "--hmm", "--start", "fre"], "did you mean 'free'"),
        (["nile"], "missing option '-k'"),
    ],
)
def test_the_command_refuses_what_does_not_fit(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["compare", *arguments])
    assert found.exit_code == 2
    assert message in found.stderr
    assert not list(tmp_path.iterdir())


def test_rows_are_predicted_from_those_before_them(compared):
    found = compared.results.manifest["leave_future_out"]["cavi"]
    assert found["first"] == 8
    assert 1 <= found["fits"] <= 22
    rows = compared.results.metrics.set_index(["method", "metric"])["value"]
    assert rows["nuts", "next_density_halves"] < 0.05
    assert rows["cavi", "next_density_tv"] < 0.2


def test_densities_of_the_next_row_are_mixtures_of_normals():
    grid = np.linspace([-9.0], [9.0], 2001)
    one, other = (np.zeros((1, 1)), np.ones((1, 1))), (np.array([[0.0], [1.0]]), np.ones((2, 1)))
    exact = norm.cdf(0.5) - norm.cdf(
        -0.5
    )  # total variation of normals a standard deviation apart, half of which is left
    assert ahead._apart(grid, one, other) == pytest.approx(exact / 2, abs=1e-4)
    assert [density_word(*gaps) for gaps in ((0.04, 0.2), (0.08, 0.02), (0.08, 0.06))] == [
        "agrees",
        "differs",
        "cannot tell",
    ]


def test_the_model_is_written_with_its_numbers():
    """Of the trend two variances are free; the prior of a precision is a gamma distribution with half the scale for a rate."""
    model = named("local-linear-trend", 1).with_prior(np.arange(9.0))
    assert matrices(model) == ["A = [1 1; 0 1]", "C = [1 0]", "Q = [? 0; 0 ?]", "R free"]
    rate = model.priors["emission"].scale[0, 0] / 2
    assert f"1 / R ~ Gamma(1, {rate:.4g})" in priors(model)
    assert matrices(named("seasonal=12", 1))[0] == "A: 12 × 12, 0 entries free"
    latent = named("latent=2", 3).with_prior(np.random.default_rng(0).standard_normal((9, 3)))
    assert {"A | Q ~ N(0, Q)", "Q^-1 ~ Wishart(S0^-1, 3), diagonal of S0 3"} <= set(priors(latent))
    assert unknown(model) == {"A": False, "C": False, "Q": True, "R": True}  # a diffuse start has no parameters
    assert all(unknown(latent)[letter] for letter in ("A", "C", "Q", "R", "m0", "P0"))
    names = [identified.variables(named(spec, 1), ("a",)) for spec in ("local-linear-trend", "autoregression=2")]
    assert names[0]["state variance"].labels == (("level", "slope"),)
    assert names[1]["coefficient"].labels == (("lag 1", "lag 2"),)


def test_the_page_speaks_of_systems_alone(compared):
    html = render(compared.results)
    words = re.sub(r"<[^>]+>", " ", html[html.index("<main>") :])
    assert not re.search(r"\bclusters?\b|\bmixture\b", words)
    terms = set(re.findall(r'id="term-([\w-]+)"', html))
    assert {"innovations", "diffuse", "linear-system"} <= terms
    assert not terms & {"responsibilities", "mixture", "collapse"}


def test_the_band_of_the_signal_has_the_variance_within_and_between_draws():
    x, theta = Sequences(np.arange(9.0)[:, None], [9]), {k: np.stack([v, v]) for k, v in PUBLISHED.items()}
    theta["state_covariance"] = np.array([[[0.01]], [[4.0]]])
    theta["observation_covariance"] = np.array([[[1.0]], [[2.0]]])
    model = local_level()
    smooth = [states.smooth(x, {k: v[i] for k, v in theta.items()}, model.diffuse) for i in range(2)]
    total = np.mean([one.spread[:, 0, 0] for one in smooth], axis=0)
    total += (smooth[0].signal[:, 0] - smooth[1].signal[:, 0]) ** 2 / 4
    np.testing.assert_allclose(identified.in_time(model, x, theta)["signal_sd"][:, 0] ** 2, total, rtol=1e-10)


DAMAGE = {
    "a limit that is missing": (("verdict", "cavi", "state variance", "checks", 0), {"low": None, "high": None}),
    "a reference that did not run": (("reference",), {"method": "gibbs"}),
    "a verdict on nobody": (("verdict",), {"gibbs": {}}),
    "other data": (("data",), {"n": 29}),
    "data of another shape": (("data",), {"observed": {"x": [15, 2]}}),
    "a variable of another shape": (("model", "variables", "state variance"), {"shape": [2]}),
    "a variable less": (("model",), {"variables": {}}),
    "equations that are numbers": (("dynamics",), {"equations": [1]}),
    "a matrix that there is not": (("dynamics",), {"unknown": {"B": True}}),
    "nothing unknown": (("dynamics",), {"unknown": {"A": False}}),
    "latent states without eigenvalues": (("dynamics",), {"latent": True}),
    "features of other data": (("dynamics",), {"features": ["volume", "level"]}),
    "sequences of other data": (("dynamics",), {"lengths": [29]}),
    "a score of the future of nothing": (("leave_future_out",), {"cavi": {}}),
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("case", DAMAGE)
def test_a_manifest_of_a_system_that_is_damaged_is_refused(case, saved, tmp_path):
    place, changes = DAMAGE[case]
    folder = shutil.copytree(saved, tmp_path / "o")
    manifest = json.loads((folder / "manifest.json").read_text())
    part = manifest
    for key in place:
        part = part[key]
    part |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match=r"damaged|contradicts itself"):
        Results.load(folder)


def test_an_infinite_value_of_a_check_is_a_number_again(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "o")
    text = (folder / "manifest.json").read_text()
    manifest = json.loads(text)
    manifest["verdict"]["cavi"]["state variance"]["checks"][0]["value"] = "-inf"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Results.load(folder).manifest["verdict"]["cavi"]["state variance"]["checks"][0]["value"] == -np.inf


def test_a_bridge_whose_draws_hardly_meet_is_refused(rng):
    """A narrow ring, of which the best Gaussian covers the middle: its area by arithmetic is found where the ring is wide."""

    def log_ring(width):
        return lambda v: -(((np.hypot(*v.T) - 1) / width) ** 2) / 2

    def ring(width):
        pool = 1 + width * rng.standard_normal(20_000)
        angle, radius = rng.uniform(0, 2 * np.pi, (4, 1000)), rng.choice(pool, (4, 1000), p=pool / pool.sum())
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)

    value, se = gaussian_bridge.bridge(ring(0.1), None, log_ring(0.1), rng)
    assert abs(value - np.log(2 * np.pi * 0.1 * np.sqrt(2 * np.pi))) < 4 * se + 0.01
    for width in (1e-4, 1e-9):
        with pytest.raises(ValueError, match="hardly meet"):
            gaussian_bridge.bridge(ring(width), None, log_ring(width), rng, most=400)
