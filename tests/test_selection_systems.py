"""The choice among linear dynamical systems: evidence of ridges, what is chosen, what is refused, the page and the command."""

import json
import re

import numpy as np
import pytest
from scipy.stats import gamma
from typer.testing import CliRunner

import reports
from mixtures.datasets import load_series, simulate_linear
from mixtures.dynamics import LinearDynamics, cavi, em, local_level, states
from mixtures.rows.sequences import Sequences
from reports.commands.parser import app
from reports.metrics.coordinates import Coordinates, fixed, turned
from reports.metrics.systems import GAIN, importance_weights, proper
from reports.page.selected import look, render, sections
from reports.studies.selection.systems import _criteria, candidates_of, word


def prior_draws(model, n, rng):
    own = [model.sample_prior(rng) for _ in range(n)]
    return {name: np.stack([one[name] for one in own]) for name in own[0]}


@pytest.mark.parametrize(("H", "D"), [(1, 2), (2, 2), (3, 1)])
def test_a_turn_of_the_states_leaves_the_vector_as_it_is(H, D, rng):
    x = simulate_linear([9, 8], H, D, rng=rng).data.x
    own = Coordinates(LinearDynamics.latent(H, D).with_prior(x), Sequences(x, [9, 8]))
    own.check()
    theta = prior_draws(own.model, 4, rng)
    T = np.linalg.qr(rng.standard_normal((4, H, H)))[0]
    v = own.vector(theta)
    np.testing.assert_allclose(own.vector(turned(theta, T)), v, rtol=1e-6, atol=1e-8)
    back, _ = own.theta(v)
    for name, value in fixed(theta).items():
        np.testing.assert_allclose(back[name], value, rtol=1e-6, atol=1e-8, err_msg=name)
    odd = LinearDynamics.latent(H, D, state_covariance="diagonal").with_prior(x)
    if H > 1:
        with pytest.raises(ValueError, match="another after a turn"):
            Coordinates(odd, own.x).check()


@pytest.mark.parametrize("H", [1, 2])
def test_volumes_of_turns_and_logarithms_are_those_of_the_prior(H, rng):
    """A density of the vector integrates to one over the prior: its mean ratio to p(v) under draws of the prior is one.

    The density is a normal with the moments of prior draws, pulled in so that the ratio is bounded enough for 1% to 2%.
    """
    model = LinearDynamics.latent(H, 1, start="known").with_prior(np.arange(6.0))
    own = Coordinates(model, Sequences(np.full((1, 1), np.nan), [1]))
    v = own.vector(prior_draws(model, 1500, rng))
    theta, log_volume = own.theta(v)
    log_p = model.log_prior(theta) + log_volume
    spread = 0.5 * (np.quantile(v, 0.75, axis=0) - np.quantile(v, 0.25, axis=0)) / 1.349
    z = (v - np.median(v, axis=0)) / spread
    log_q = (-(z**2) / 2 - np.log(spread) - np.log(2 * np.pi) / 2).sum(1)
    ratio = np.exp(log_q - log_p)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() / np.sqrt(len(ratio)) < 0.2


def test_the_density_of_the_vector_is_that_of_data_and_of_gamma_precisions():
    """Of a structure the vector holds logarithms of precisions, whose density has the precision for a volume."""
    x = Sequences(np.arange(12.0)[:, None] % 5, [12])
    model = proper(local_level(), x).with_prior(x)
    own, theta = Coordinates(model, x), prior_draws(model, 3, np.random.default_rng(0))
    expected = [states.log_likelihood(x, {k: v[i] for k, v in theta.items()}).sum() for i in range(3)]
    for part, name in ((model.moves, "state_covariance"), (model.observes, "observation_covariance")):
        precision, prior = 1 / theta[name][:, 0, 0], part.prior_moments
        expected += gamma.logpdf(precision, prior.n[0] / 2, scale=2 / prior.yy[0]) + np.log(precision)
    np.testing.assert_allclose(own.log_density(own.vector(theta)), expected, rtol=1e-9)


def test_the_density_of_the_vector_has_the_stationary_start_of_the_transition():
    x = Sequences(np.arange(12.0)[:, None] % 5, [8, 4])
    model = LinearDynamics.latent(1, 1, start="stationary").with_prior(x)
    own, theta = Coordinates(model, x), prior_draws(model, 2, np.random.default_rng(0))
    theta["transition"][:] = np.array([0.7, 1.1])[:, None, None]
    v = own.vector(theta)
    at, log_volume = own.theta(v)
    inside = {name: value[0] for name, value in at.items()}
    expected = states.log_likelihood(x, inside, "stationary").sum() + (model.log_prior(at) + log_volume)[0]
    np.testing.assert_allclose(own.log_density(v), [expected, -np.inf], rtol=1e-9)


def test_weights_of_q_average_to_the_evidence_by_quadrature():
    """Two variances of a local level on a grid of their logarithms; q reaches the evidence from below."""
    x = Sequences(load_series("nile").data.x[:25] - 900, [25])
    model = proper(local_level(), x).with_prior(x)
    logs = [np.linspace(3, 14, 28), np.linspace(6, 12, 22)]
    step = (logs[0][1] - logs[0][0]) * (logs[1][1] - logs[1][0])
    theta = model.sample_prior(np.random.default_rng(0))
    total = []
    for q in logs[0]:
        for r in logs[1]:
            at = theta | {
                "state_covariance": np.exp([[q]]), "observation_covariance": np.exp([[r]])
            }  # fmt: skip
            p = 0.0
            for part, log_variance in ((model.moves, q), (model.observes, r)):
                prior = part.prior_moments
                p += gamma.logpdf(np.exp(-log_variance), prior.n[0] / 2, scale=2 / prior.yy[0]) - log_variance
            total.append(p + states.log_likelihood(x, at).sum())
    log_z = np.logaddexp.reduce(total) + np.log(step)
    fit = cavi.fit(x, model, rng=0)
    log_weights, _ = importance_weights(model, fit, x, np.random.default_rng(0))
    w = np.exp(log_weights - log_z)
    assert abs(w.mean() - 1) < 5 * w.std() / np.sqrt(len(w))
    assert fit.bound[-1] < log_z


@pytest.fixture(scope="module")
def found():
    x = simulate_linear([70], 2, 3, rng=3).data.x + 5
    return reports.select_dynamics(x, "latent=1:2", rng=0, criteria=["elbo", "held"], restarts=1, name="<two>")


def test_two_states_are_counted(found):
    assert {one.criterion: one.best.components for one in found.choices} == {"held": 2, "elbo": 2}
    assert found.choice("held").margin_se > 0


def test_the_page_draws_what_is_chosen(found):
    view = look(found)
    assert view.name == "<two>: how many latent states?"
    assert [section.id for section in sections(view)] == [
        "choice", "systems", "curves", "values", "fits", "meaning", "setting", "limits",
    ]  # fmt: skip
    html = render(found)
    assert "chooses latent=2" in html or "choose latent=2" in html
    body = html[html.index("<main>") : html.index('id="glossary"')]
    assert not re.search(r"\bclusters?\b|>K<", body)
    assert repr(found) == "<Selection for <two>, 70 points in 3-D: latent=2 by last part (EM), ELBO>"


@pytest.mark.parametrize(("start", "number"), [("stationary", 3), ("free", 5)])
def test_states_start_as_asked(start, number):
    """Of latent=1: A, C, Q and R less the unit of the state, and a free m0 and P0."""
    x = simulate_linear([30, 25], 1, 1, rng=3).data.x
    series = Sequences(x, [30, 25])
    found = reports.select_dynamics(series, "latent=1", rng=0, criteria=("bic", "held"), restarts=1, start=start)
    own = found.fits.iloc[0]
    centred, model = Sequences(x - x.mean(0), [30, 25]), LinearDynamics.latent(1, 1, start=start)
    fit = em.fit(centred, model, rng=0, restarts=1, tol=GAIN)
    assert own["em_log_likelihood"] == pytest.approx(fit.info["log_likelihood"], abs=1e-8)
    assert own["parameters"] == number
    assert f"{start}: " in render(found)
    assert set(_criteria("stationary")) == {"aic", "bic", "held", "evidence"}


def test_candidates_by_name():
    assert [word(c) for c in candidates_of(["latent=1:2", "local-linear-trend", "seasonal=4"])] == [
        "latent=1", "latent=2", "local-linear-trend", "seasonal=4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nile", "--lds", "local-levle"], "did you mean 'local-level'"),
        (["nile", "--lds", "latent"], "the number of states"),
        (["nile", "--lds", "latent=3:1"], "such as latent=1:4"),
        (["nile", "--lds", "local-level=2"], "expected no number"),
        (["nile", "--lds", "local-level", "-k", "2"], "-k and --lds do not go together"),
        (["nile", "--lds", "local-level", "--criteria", "icl"], "no criterion of linear dynamical systems 'icl'"),
        (["tsmatz-lds", "--lds", "local-level"], "a structure of one feature"),
        (["nile", "--lds", "seasonal=1"], "such as seasonal=2:4"),
        (["nile", "--lds", "latent=1", "--start", "diffuse"], "choose start known or stationary"),
        (["nile", "--lds", "latent=1", "--start", "free"], "a free start of one sequence"),
        (["nile", "--lds", "latent=1", "--start", "knwon"], "did you mean 'known'"),
        (["nile", "--lds", "local-level", "--start", "stationary"], "expected start diffuse"),
        (
            ["nile", "--lds", "latent=1", "--start", "stationary", "--criteria", "elbo"],
            "elbo has no number: a stationary",
        ),
        (["nile", "--start", "known"], "--start is of linear dynamical systems"),
        (["earthquakes", "--lds", "latent=1"], "needs numbers"),
        (["faithful", "--criteria", "held"], "is for linear dynamical systems"),
    ],
)
def test_the_command_refuses_what_does_not_fit(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["select", *arguments])
    assert result.exit_code == 2
    assert message in re.sub(r"\s+", " ", result.stderr)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "select",
        "nile",
        "--lds",
        "local-level,smooth-trend",
        "--criteria",
        "elbo",
        "--workers",
        "1",
        "--restarts",
        "1",
    ]
    result = CliRunner().invoke(app, [*arguments, "--restarts", "1", "--no-report"])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / "nile-select"
    assert {path.name for path in folder.iterdir()} == {"selection.csv", "selection.png", "manifest.json"}
    assert json.loads((folder / "manifest.json").read_text())["choices"][0]["best"]["covariance"] == "local-level"
