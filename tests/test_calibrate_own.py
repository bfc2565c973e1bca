"""Calibration of one's own method: what is exact passes, what is planted is found and named, and nothing compiles twice."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
from pytensor.compile.ops import wrap_py
from scipy import signal, stats
from typer.testing import CliRunner

import reports
from mixtures.dynamics import states
from models.methods import nuts
from reports.commands.app import app
from reports.comparison.results import ResultsError
from reports.page import planted as page
from reports.page.calibration_own import OwnView, verdict_lines
from reports.studies.calibration.study import FEWEST
from reports.studies.cells import Cells
from reports.studies.folder import write_manifest
from reports.studies.own import ours, planted, study, systems, trials
from reports.studies.own.departures import departures
from reports.studies.own.generative import Generative, digest, holding, opened
from reports.studies.own.planted import FAULTS, NAMED, PRIOR, Posterior
from reports.studies.own.quantities import check_quantities, entries, names, quantities
from reports.studies.own.sample import Outcome, thinned
from reports.studies.own.study import Problem, calibrate
from reports.validation.faults import departures as moved
from reports.validation.faults import effective, likeliest, log_jacobians
from reports.validation.target import Target

SIX = np.zeros(6)


def command(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


def two_observed():
    """Two observed variables whose placeholders are equal, one of them a container, and a deterministic."""
    with pm.Model(coords={"side": ["left", "right"]}) as model:
        X = pm.Data("X", np.arange(12.0).reshape(6, 2) / 10)
        tau = pm.Gamma("tau", 2, 2)
        beta = pm.Normal("beta", 0, 1, dims="side")
        pm.Deterministic("total", beta.sum())
        pm.Normal("y", X @ beta, tau=tau, observed=pm.Data("measured", SIX))
        pm.Normal("z", 0, tau=tau, observed=SIX)
    return model


@pytest.fixture(scope="module")
def generative():
    return Generative(two_observed)


# The model.


def test_draws_are_the_same_however_many(generative):
    one, three = generative.draw(1, 5), generative.draw(3, 5)
    assert len(one) == 1
    for name, value in (one[0].values | one[0].data).items():
        np.testing.assert_array_equal(value, (three[0].values | three[0].data)[name])
    assert digest(one[0]) == digest(three[0]) != digest(three[1])
    assert set(one[0].values) == {"tau", "beta", "total"}
    assert set(one[0].data) == {"y", "z", "X", "measured"}
    np.testing.assert_array_equal(one[0].data["measured"], one[0].data["y"])
    assert one[0].values["total"] == pytest.approx(one[0].values["beta"].sum())


def test_draws_are_from_the_prior_and_the_likelihood(generative):
    """Probability integrals of 200 draws: uniform by Kolmogorov and Smirnov."""
    draws = generative.draw(200, 1)
    tau = np.array([d.values["tau"] for d in draws])
    residuals = np.array([d.data["y"] - d.data["X"] @ d.values["beta"] for d in draws]) * np.sqrt(tau)[:, None]
    for p in (stats.gamma.cdf(tau, 2, scale=1 / 2), stats.norm.cdf([d.values["beta"][0] for d in draws])):
        assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert stats.kstest(residuals.ravel(), "norm").pvalue > 1e-3


def test_densities_are_those_of_the_data_given(generative):
    """By SciPy, on data that differ between variables whose placeholders are equal."""
    draw = generative.draw(2, 3)[1]
    values = {name: np.asarray(value)[None] for name, value in draw.values.items()}
    found = generative.evaluate(values, draw.data)
    tau, beta = draw.values["tau"], draw.values["beta"]
    sd = tau**-0.5
    likelihood = stats.norm.logpdf(draw.data["y"], draw.data["X"] @ beta, sd).sum()
    likelihood += stats.norm.logpdf(draw.data["z"], 0, sd).sum()
    prior = stats.gamma.logpdf(tau, 2, scale=1 / 2) + stats.norm.logpdf(beta).sum()
    assert found["log likelihood"][0] == pytest.approx(likelihood, rel=1e-9)
    assert found["log joint density"][0] == pytest.approx(likelihood + prior, rel=1e-9)
    assert found["total"][0] == pytest.approx(beta.sum())


def refused(build):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Generative(build)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bad(kind):
    with pm.Model() as model:
        if kind != "nothing free":
            mu = {"flat": pm.Flat, "discrete": partial(pm.Poisson, mu=1)}.get(kind, pm.Normal)("mu")
        if kind == "potential":
            pm.Potential("penalty", -(mu**2))
        if kind == "minibatch":
            pm.Normal("y", mu, 1, observed=pm.Minibatch(SIX, batch_size=2), total_size=6)
        elif kind == "own past":
            y = pm.Data("past", SIX)
            pm.Normal("y", mu * pm.math.concatenate([[0.0], y[:-1]]), 1, observed=y)
        elif kind == "gaps":
            pm.Normal("y", mu, 1, observed=np.array([1.0, np.nan]))
        elif kind == "nothing free":
            pm.Normal("y", 0, 1, observed=SIX)
        elif kind != "nothing observed":
            pm.Normal("y", mu, 1, observed=SIX)
    return model


@pytest.mark.robustness("errors")
@pytest.mark.filterwarnings("ignore::pymc.exceptions.ImputationWarning")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing free", "no free variables"),
        ("nothing observed", "no observed variables"),
        ("flat", "mu has an improper prior"),
        ("discrete", "let pymc_extras.marginalize(model, ["),
        ("potential", "potentials (penalty)"),
        ("minibatch", "y is a minibatch"),
        ("own past", "depends on observed values"),
        ("gaps", "missing values"),
    ],
)
def test_models_that_cannot_be_drawn_from_are_refused(kind, message):
    assert message in refused(partial(bad, kind))


@pytest.mark.robustness("errors")
@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
def test_operations_that_jax_lacks_are_named():
    with pm.Model() as model:
        mu = pm.Normal("mu")
        pm.Normal("y", wrap_py(itypes=[pt.dscalar], otypes=[pt.dscalar])(np.square)(mu), 1, observed=0.0)
    generative = Generative(lambda: model)
    with pytest.raises(ValueError, match=r"JAX cannot compile the model \(No JAX conversion .*\): write this part"):
        generative.evaluate({"mu": np.zeros(1)}, {"y": np.zeros(())})


@pytest.mark.robustness("errors")
def test_what_is_no_model_is_refused():
    assert "expected a pm.Model" in refused(lambda: 3)


def test_data_that_cannot_be_drawn_are_told_in_one_line(generative, monkeypatch):
    def extreme(*_, **__):
        raise ValueError("lam value too large\nApply node that caused the error")

    monkeypatch.setattr(pm, "draw", extreme)
    with pytest.raises(
        ValueError, match=r"^data cannot be drawn from the prior \(lam value too large\): .*narrower priors$"
    ):
        generative.draw(5, 0)


# What is ranked.


def test_entries_have_the_names_of_their_coordinates_and_large_variables_a_few(generative):
    draw = generative.draw(1, 0)[0]
    own = {"ratio": lambda values, data: values["beta"][0] / values["tau"] + data["y"][0]}
    found = names(generative, draw, own)
    assert found == ["log likelihood", "log joint density", "ratio", "tau", "beta[left]", "beta[right]", "total"]
    values = {name: np.asarray(value)[None] for name, value in draw.values.items()}
    ranked = quantities(generative, values, draw.data, own)
    assert list(ranked) == found
    assert ranked["ratio"][0] == pytest.approx(draw.values["beta"][0] / draw.values["tau"] + draw.data["y"][0])
    many = dict(entries(generative, "tau", np.arange(40.0).reshape(2, 20)))
    assert list(many) == ["mean of tau", "sd of tau", "tau[0]", "tau[6]", "tau[13]", "tau[19]"]
    np.testing.assert_allclose(many["mean of tau"], [9.5, 29.5])


def test_variables_that_are_lacking_leave_out_what_needs_them(generative):
    draw = generative.draw(1, 0)[0]
    some = quantities(generative, {"beta": np.zeros((3, 2))}, draw.data, {})
    assert list(some) == ["beta[left]", "beta[right]"]
    with pytest.raises(KeyError):
        quantities(generative, {"beta": np.zeros((3, 2))}, draw.data, {"q": lambda values, data: values["tau"]})
    with pytest.raises(ArithmeticError, match="the q is not a number in 3 of 3 draws"):
        quantities(generative, {"beta": np.zeros((3, 2))}, draw.data, {"q": lambda values, data: np.nan})
    with pytest.raises(ValueError, match="'tau' is there already"):
        check_quantities({"tau": lambda values, data: 0.0}, ["tau"], draw)
    for own, message in (
        (3, "expected a function"),
        (lambda values, data: values["nu"], "quantity 'q' fails on the first draw of the prior: KeyError"),
        (lambda values, data: values["beta"], r"quantity 'q' is an array of shape \(2,\); expected a number"),
    ):
        with pytest.raises(ValueError, match=message):
            check_quantities({"q": own}, [], draw)


def test_draws_are_thinned_evenly_and_dependent_ones_told(generative, rng):
    draw = generative.draw(1, 0)[0]
    beta = np.stack([np.arange(400.0), -np.arange(400.0)], axis=-1)[None]
    walk = thinned(Outcome({"beta": beta}, False), generative, draw.data, {}, 39)
    assert not walk.converged
    assert walk.ess < 10
    assert np.ptp(np.diff(walk.quantities["beta[left]"])) <= 1
    assert thinned(Outcome({"beta": rng.standard_normal((4, 100, 2))}, False), generative, draw.data, {}, 39).converged
    assert np.isnan(thinned(Outcome({"beta": beta}, True), generative, draw.data, {}, 39).ess)
    with pytest.raises(ValueError, match="38 draws; at least 39"):
        thinned(Outcome({"beta": beta[:, :38]}, True), generative, draw.data, {}, 39)


# Our own methods.


def test_nuts_and_advi_are_compiled_once_and_given_the_data(monkeypatch):
    """Two data sets: every mean of the coefficients is within 0.6 sd of the exact one."""
    monkeypatch.setattr(ours, "NUTS", ours.NUTS | {"tune": 100, "draws": 100, "chains": 2})
    monkeypatch.setattr(ours, "ADVI", {"steps": 3000, "restarts": 1})
    made = []
    compiled = nuts.compiled
    monkeypatch.setattr(nuts, "compiled", lambda *a, **options: made.append(1) or compiled(*a, **options))
    own, rng = ours.Ours(Generative(planted.build), 199), np.random.default_rng(0)
    for coefficients in ([1.0, 0.0, -1.0], [-3.0, 3.0, 5.0]):
        data = {"y": planted.X @ coefficients + rng.standard_normal(planted.N)}
        exact = Posterior.of(data["y"])
        for method in ("nuts", "advi"):
            found = own.fit(method, data, rng)
            assert np.all(np.abs(found.values["beta"].mean((0, 1)) - exact.m) < 0.6 * exact.sd)
            assert found.independent == (method == "advi")
    assert len(made) == 1


def test_the_density_that_is_compiled_is_that_of_the_data_given(generative):
    """On the unconstrained scale: the log joint density plus the Jacobian of log tau."""
    own, draw = ours.Ours(generative, 39), generative.draw(2, 3)[1]
    values = {name: np.asarray(draw.values[name])[None] for name in ("tau", "beta")}
    v = own.flat.join({"tau_log__": np.log(values["tau"]), "beta": values["beta"]})
    joint = generative.evaluate(values, draw.data)["log joint density"]
    np.testing.assert_allclose(own.log_joint(v, draw.data["y"], draw.data["z"]), joint + np.log(values["tau"]))


def test_equal_placeholders_stay_apart(generative):
    model, values = opened(generative.model, generative.observed)
    assert [value.name for value in values] == ["y_observed", "z_observed"]
    assert len({id(value) for value in values}) == 2
    assert set(model.rvs_to_values.values()) >= set(values)


# The study.


def lacking(data, rng):
    draws = planted.fits(100)["exact"](data, rng)
    return {"beta": draws["beta"]}


def failing(data, rng):
    if data["y"][0] > 0:
        raise KeyError("no <b>number</b>")
    data["y"][:] = np.nan  # of this method alone
    return planted.fits(100)["exact"](Mapped(data), rng)


class Mapped(dict):
    """Data of which the observed are zero."""

    def __getitem__(self, name):
        return np.zeros_like(super().__getitem__(name))


@pytest.fixture(scope="module")
def problem():
    fits = {name: planted.fits(200)[name] for name in ("exact", "the prior", "sign flipped")}
    return Problem(planted.build, fits | {"lacking": lacking, "failing": failing}, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own") / "o"


@pytest.fixture(scope="module")
def studied(problem, folder):
    return calibrate(problem, folder, simulations=40, draws=39)


DAMAGE = {
    "a method that there is not": (("settings",), {"methods": ["exactly"]}),
    "no method": (("settings",), {"methods": []}),
    "no quantity": ((), {"quantities": []}),
    "nothing free": (("model",), {"free": []}),
    "nothing observed": (("model",), {"observed": []}),
    "half a system": (("model",), {"system": {"name": "local-level"}}),
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("case", DAMAGE)
def test_a_manifest_that_is_damaged_is_refused(case, studied, folder):
    place, changes = DAMAGE[case]
    path = folder / "calibration-model.json"
    text = path.read_text()
    manifest = json.loads(text)
    (manifest[place[0]] if place else manifest).update(changes)
    path.write_text(json.dumps(manifest))
    try:
        with pytest.raises(ResultsError, match="damaged"):
            study.load(folder)
    finally:
        path.write_text(text)
    assert study.load(folder).settings.methods


def test_the_gross_faults_are_caught_and_what_is_exact_is_not(studied):
    """The prior has uniform ranks in every parameter: only the densities see it."""
    view = OwnView(studied)

    def checks(method):
        ranks = {q: view.ranks[method][q].to_numpy() for q in view.own(method)}
        return departures(ranks, 39, view.band(method), view.rng())

    assert checks("exact") == []
    assert "posterior" in checks("the prior")
    p = view.uniformity["the prior"]
    assert p[["log likelihood", "log joint density"]].max() < 1e-3
    assert p.drop(["log likelihood", "log joint density"]).min() > 1e-3
    assert "posterior" in checks("sign flipped")
    for name, check in (("intervals", view.intervals), ("posterior", view.posterior), ("medians", view.middle)):
        assert (check("sign flipped").state == "differs") == (name in checks("sign flipped"))
    assert view.uniformity["sign flipped"]["beta[0]"] < 1e-3


def test_failures_are_counted_with_their_place_and_the_others_go_on(studied):
    own = studied.table[studied.table["method"] == "failing"]
    failed = own["failure"].notna()
    assert 0 < failed.sum() < len(own)
    assert own["failure"].dropna().unique()[0].startswith("KeyError: 'no <b>number</b>' (test_calibrate_own.py, line ")
    assert studied.table[studied.table["method"] == "exact"]["rank"].notna().all()


def test_placeholders_may_be_impossible_under_the_model():
    """Zeros under a log-normal likelihood: a result is checked against data that were drawn."""

    def build():
        with pm.Model() as model:
            pm.LogNormal("y", pm.Normal("mu"), 1, observed=SIX)
        return model

    def fit(data, rng):
        return {"mu": np.log(data["y"]).sum() / 7 + rng.standard_normal(200) / 7**0.5}

    truth, settings = Generative(build).draw(1, 0)[0], study.Settings(("mine",), ("mine",), 0, 39, (), "log-normal", {})
    rows = study.simulation(Problem(build, {"mine": fit}, {}), settings, 0, truth, ("mine",))
    assert [row.get("failure") for row in rows] == [None] * 3
    assert holding(Generative(build).model, truth.data).point_logps()["y"] > -np.inf


def test_what_a_method_lacks_is_a_dash(studied):
    view = OwnView(studied)
    assert view.own("lacking") == ["beta[0]", "beta[1]", "beta[2]"]
    assert np.isnan(view.uniformity["lacking"]["tau"])
    assert view.level(view.uniformity["lacking"]) == pytest.approx(view.alpha / 3)
    assert view.sided == ["tau", "beta[0]", "beta[1]", "beta[2]"]


def test_a_study_goes_on_and_refuses_another(problem, studied, tmp_path, monkeypatch):
    folder = tmp_path / "o"
    alone = Problem(problem.build, {"exact": problem.fits["exact"]}, {})
    first = calibrate(alone, folder, simulations=FEWEST, draws=39)
    (folder / "cells" / next(iter((folder / "cells").iterdir())).name).unlink()
    told = []
    again = calibrate(alone, folder, simulations=FEWEST + 1, draws=39, tell=lambda *numbers: told.append(numbers))
    assert told[0] == (FEWEST - 1, FEWEST + 1)
    outcome = ["simulation", "quantity", "truth", "rank"]
    pd.testing.assert_frame_equal(again.table[again.table["simulation"] < FEWEST][outcome], first.table[outcome])
    whole = studied.table[(studied.table["method"] == "exact") & (studied.table["simulation"] < FEWEST)]
    assert whole["rank"].tolist() == first.table["rank"].tolist()
    with pytest.raises(ResultsError, match="another model"):
        calibrate(Problem(two_observed, alone.fits, {}), folder, simulations=FEWEST, draws=39)
    with pytest.raises(ResultsError, match="draws = 39, not 79"):
        calibrate(alone, folder, simulations=FEWEST, draws=79)
    monkeypatch.setattr(study, "source", lambda fit: "changed")
    with pytest.raises(ResultsError, match="the file of 'exact' has changed"):
        calibrate(alone, folder, simulations=FEWEST, draws=39)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": None}, "no method given"),
        ({"fit": 3}, "expected a function fit"),
        ({"fit": {"nuts": lambda data, rng: {}}}, "'nuts' is taken"),
        ({"methods": "nutts"}, "did you mean 'nuts'"),
        ({"methods": "em"}, "no method 'em'"),
        ({"simulations": 19}, "at least 20"),
        ({"draws": 100}, "multiple of 40"),
        ({"seed": -1}, "seed is -1"),
        ({"quantities": {"tau": lambda values, data: 1.0}}, "quantity 'tau' is there already"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    given = {"fit": planted.fits(100)["exact"]} | options
    with pytest.raises(ValueError, match=message):
        reports.calibrate_model(planted.build, **given)


# From Python, the page, the shell.


def test_calibrate_takes_a_model_and_shows_itself(problem):
    """``calibrate(build, fit)`` is ``calibrate_model(build, fit)``."""
    found = reports.calibrate(problem.build, problem.fits["sign flipped"], 40, draws=39)
    assert repr(found) == "<Calibration of mine: 40 data sets of y>"
    assert found.summary().loc["mine", "failed"] == 0
    lines = verdict_lines(found)
    assert any("mine: not uniform, ranks of" in line for line in lines)
    assert {path.name for path in found.folder.iterdir()} == {"calibration-model.json", "cells"}
    assert json.loads((found.folder / "calibration-model.json").read_text())["settings"]["own"] == ["mine"]


MODEL = """
import numpy as np
import pymc as pm

def build():
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 1)
        pm.Normal("y", mu, 1, observed=np.zeros(5))
    return model

def fit(data, rng):
    y = data["y"]
    return {"mu": y.sum() / 6 + rng.standard_normal(200) / 6**0.5}
"""


def test_the_shell_calibrates_a_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(MODEL, "model.py")
    result = command("calibrate", "model.py", "--simulations", "20", "--draws", "39", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "mine: no departure detected, coverage of 95% intervals" in result.stdout
    html = Path("results/calibration-model/report.html").read_text()
    assert "PyMC model of mu" in html
    assert "mu ~ Normal" in html
    assert "[[" not in html
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r'src="[^"]*"', "", html))

    folder = Path("results/calibration-model")
    (folder / "report.html").unlink()
    assert command("report", str(folder)).exit_code == 0
    assert (folder / "report.html").read_text() == html
    for path in (folder / "cells").iterdir():
        path.unlink()
    refused = command("report", str(folder))
    assert refused.exit_code == 2
    assert "has nothing measured yet; give the command again that began it" in refused.stderr


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (None, ("nowhere.py",), "there is no file nowhere.py"),
        ("", (), "does not define build; expected a function that returns a pm.Model"),
        ("build = 3", (), "build in model.py is a int"),
        (MODEL.replace("def fit", "def fitted"), (), "does not define fit"),
        (MODEL, ("-k", "3"), "--components does not go with a PyMC model"),
        (MODEL, ("--methods", "gibs"), "there is no method 'gibs'"),
        (MODEL, ("--example", "gaussian"), "give either MODEL.py or --example"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(text, arguments, message, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        write(text, "model.py")
        arguments = ("model.py", *arguments)
    result = command("calibrate", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("results").exists()


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("text", ["x = 1 / 0", "def build():\n    x = 1 / 0\n\ndef fit(data, rng):\n    pass"])
def test_a_file_that_raises_shows_its_own_traceback(text, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(text, "model.py")
    result = command("calibrate", "model.py")
    assert result.exit_code == 2
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "x = 1 / 0" in result.stderr
    assert "scripts.py" not in result.stderr


# Faults.


def unconstrained(values):
    return np.column_stack([np.log(values["tau"]), values["beta"]])[None]


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(4)
    theta = PRIOR.draw(1, rng)
    posterior = Posterior.of(planted.X @ theta["beta"][0] + rng.standard_normal(planted.N) / np.sqrt(theta["tau"][0]))
    return posterior, unconstrained(posterior.draw(4000, rng)), unconstrained(PRIOR.draw(4000, rng))[0]


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_named_and_nothing_else(name, reference, rng):
    posterior, right, prior = reference
    found = likeliest(
        unconstrained(FAULTS[name](posterior, 4000, rng)),
        right,
        ["tau", "beta[0]", "beta[1]", "beta[2]"],
        scales=["log", *["as it is"] * 3],
        prior=lambda: prior,
        log_jacobians={"tau": right[0, :, 0]},
    )
    if name == planted.RIGHT:
        assert found is None
        return
    kind, where = NAMED[name]
    assert found.kind == kind
    assert where is None or found.where == where
    assert found.explained > 0.8
    assert f"{100 * found.explained:.0f}% of the difference" in found.sentence


@pytest.fixture(scope="module")
def validated():
    return pd.DataFrame(trials.trial("validate", 0, 0))


def test_validation_catches_every_planted_fault_and_names_it(validated):
    """On one data set, by the verdict and the name of `reports.validate`; the gross ones by the verdict too."""
    by_method = validated.set_index("method", drop=False)
    assert list(by_method.index) == list(FAULTS)
    assert all(trials.named_right(row) for row in validated.itertuples())
    assert (by_method.loc["exact", "verdict"], by_method.loc["exact", "fault"]) == ("agrees", "")
    assert set(by_method.loc[["sign flipped", "the prior"], "verdict"]) == {"differs"}


def test_the_table_of_planted_faults_is_that_of_the_trials(studied, validated):
    gross = ("exact", "the prior", "sign flipped")
    few = replace(studied, settings=replace(studied.settings, methods=gross))
    exact = pd.DataFrame([{"part": "calibrate", "method": "exact", "checks": c} for c in ("", "", "medians")])
    result = trials.Trials(few, pd.concat([validated, exact], ignore_index=True))
    assert page.lines(result)[-1] == "exact: passes 2 of 3 calibrations and 1 of 1 validations"
    assert page.lines(result)[0].startswith("the prior: in calibration found by ")
    rows = page.markdown(result).splitlines()
    assert len(rows) == 2 + len(gross)
    assert all(row.count("|") == 6 for row in rows)
    assert "| none in 2 of 3 | 0 of 1 | 0 of 1 | none in 1 of 1 |" in rows[2]
    assert rows[3].endswith("| 1 of 1 | 1 of 1 | 1 of 1 |")
    assert page.summary(result).blocks[0].rows[1][0].text == "the prior"


def test_saved_trials_are_loaded_with_their_calibration(studied, validated, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "load", {tmp_path / "calibration": studied}.__getitem__)
    write_manifest(tmp_path, trials.STUDY, trials.FORMAT, {"seed": 0})
    cells = Cells(tmp_path / "trials", trials.COLUMNS)
    cells.append("validate", validated.assign(part="validate", trial=0).to_dict("records"))
    with pytest.raises(ResultsError, match="no trials of every part yet"):
        trials.load(tmp_path)
    cells.append("calibrate", [{"part": "calibrate", "trial": 0, "method": "exact", "checks": ""}])
    loaded = trials.load(tmp_path)
    assert loaded.calibration is studied
    assert loaded.table["part"].tolist() == ["calibrate", *["validate"] * len(validated)]


def test_the_posterior_of_the_planted_model_is_exact():
    """Its log density differs from the model's log joint by one constant, at ten points."""
    generative, rng = Generative(planted.build), np.random.default_rng(1)
    data = {"y": rng.standard_normal(planted.N)}
    posterior = Posterior.of(data["y"])
    values = PRIOR.draw(10, rng)
    joint = generative.evaluate(values, data)["log joint density"]
    own = stats.gamma.logpdf(values["tau"], posterior.a, scale=1 / posterior.b)
    own += [
        stats.multivariate_normal.logpdf(beta, posterior.m, np.linalg.inv(tau * posterior.Lambda))
        for tau, beta in zip(values["tau"], values["beta"], strict=True)
    ]
    np.testing.assert_allclose(np.ptp(joint - own), 0, atol=1e-8)


def test_a_factor_of_two_is_named(reference):
    """In a parameter that is a logarithm on the unconstrained scale, and in a variance."""
    _, right, _ = reference
    mean = right[0].mean(0)
    names, scales = ["tau", "a", "b", "c"], ["log", *["as it is"] * 3]
    halved = likeliest(right + np.log([0.5, 1, 1, 1]), right, names, scales=scales)
    assert (halved.kind, halved.where) == ("shift", "tau")
    assert "0.50 times that of the reference, about half, as a factor of 2" in halved.sentence
    wide = likeliest(mean + (right - mean) * np.sqrt([1, 1, 1, 2]), right, names, scales=scales)
    assert (wide.kind, wide.where) == ("width", "c")
    assert "its variance 2.00 times, about twice, as a factor of 2" in wide.sentence
    narrow = mean + (right - mean) * np.sqrt([1, 0.5, 0.5, 0.5])
    whole = likeliest(narrow, right, names, scales=scales, variables=["tau", *["beta"] * 3])
    assert (whole.kind, whole.where) == ("width", "beta")
    assert "The posterior of beta is too narrow" in whole.sentence
    assert "its variance 0.50 times, about half, as a factor of 2" in whole.sentence
    other = likeliest(right + np.log([0.7, 1, 1, 1]), right, names, scales=scales)
    assert "0.70 times that of the reference" in other.sentence


@pytest.mark.parametrize(
    ("power", "words"),
    [(-1, "a variance is of a precision"), (-0.5, "an sd is of a precision"), (2, "a variance is of an sd")],
)
def test_a_parameter_taken_for_a_power_of_it_is_named(power, words, reference):
    _, right, _ = reference
    found = likeliest(right * [power, 1, 1, 1], right, ["tau", "a", "b", "c"], scales=["log", *["as it is"] * 3])
    assert (found.kind, found.where) == ("power", "tau")
    assert words in found.sentence
    assert found.explained > 0.99


def test_a_small_fault_among_many_parameters_is_named(rng):
    """What Monte Carlo error adds to the divergence in twenty dimensions is three times as large as the shift, and no fault."""
    right, own = rng.standard_normal((2, 1, 4000, 20))
    found = likeliest(own + 0.2 * np.eye(20)[7], right, [f"b[{i}]" for i in range(20)])
    assert (found.kind, found.where) == ("shift", "b[7]")
    assert found.divergence > 3 * 0.2**2 / 2
    assert 0.5 < found.explained <= 1


@pytest.mark.parametrize("strongest", [0.95, 0.0])
def test_one_correlation_is_named_where_it_is_lost(strongest, rng):
    """Whether or not it is the strongest; it is not taken for all of them, of which the others are noise."""
    covariance = np.eye(20)
    covariance[0, 1] = covariance[1, 0] = strongest
    covariance[2, 3] = covariance[3, 2] = 0.6
    right, own = rng.multivariate_normal(np.zeros(20), covariance, (2, 1, 4000))
    own[..., 3] = rng.permutation(own[0, :, 3])
    found = likeliest(own, right, list("abcdefghijklmnopqrst"))
    assert found.kind == "correlations"
    assert found.where in ("c, d", "c", "d")


def test_a_jacobian_counted_twice_is_named(reference, rng):
    posterior, right, _ = reference
    other = unconstrained(
        posterior._replace(a=posterior.a + 1).draw(4000, rng)
    )  # of tau, whose density gains a factor tau
    found = likeliest(other, right, ["tau", "a", "b", "c"], log_jacobians={"tau": right[0, :, 0]})
    assert (found.kind, found.where) == ("jacobian", "tau")
    assert "counted twice" in found.sentence


def test_dependent_draws_count_for_less(rng):
    """The values of a walk, and the squares of values whose size walks while their sign does not."""
    walk = signal.lfilter([1], [1, -0.95], rng.standard_normal((4, 500)))
    draws = np.stack([walk, np.exp(walk / 3) * rng.standard_normal((4, 500)), rng.standard_normal((4, 500))], axis=-1)
    np.testing.assert_array_equal(effective(draws, True), 2000)
    found = effective(draws, False)
    assert (found[:2] < 1000).all()
    assert found[2] > 1500


def test_right_draws_depart_as_rarely_as_said(rng):
    """In at most one of a thousand cases: two of sixty would be one case in six hundred."""
    size = np.full(3, 500.0)
    found = [moved(*rng.standard_normal((2, 500, 3)), size, size).any() for _ in range(60)]
    assert sum(found) < 2


def test_the_jacobian_of_shares_is_the_product_of_them(rng):
    with pm.Model() as model:
        pm.Dirichlet("p", np.ones(3))
    target = Target.of(model)
    u = rng.standard_normal((5, 2))
    np.testing.assert_allclose(np.ptp(log_jacobians(target, u)["p"] - target.log_jacobian(u)), 0, atol=1e-12)


def test_draws_that_do_not_vary_are_told(reference):
    """Those of a point, such as a mode: all of them, and one parameter of several."""
    _, right, _ = reference
    names = ["tau", "a", "b", "c"]
    for draws, words in (
        (np.repeat(right[:, :1], 4000, axis=1), "All draws are one point: nothing varies."),
        (right * [1, 0, 1, 1], "a does not vary: all draws have one value."),
        (right * [1, 0, 1, 0], "a and 1 more do not vary: all draws have one value."),
        (np.where([0, 1, 0, 0], 0.1, right), "a does not vary"),  # of which rounding leaves a variance
    ):
        found = likeliest(draws, right, names)
        assert found.sentence.startswith(words)
        assert (found.kind, found.facts["divergence"]) == ("fixed", None)


def test_a_number_in_the_place_of_another_is_told(reference):
    """A column copied, and one that is three times another and 1; rounding lets their covariance have an inverse at times."""
    _, right, _ = reference
    names = ["tau", "a", "b", "c"]
    copied, tied = right.copy(), right.copy()
    copied[..., 2] = right[..., 1]
    tied[..., 3] = 3 * right[..., 1] + 1
    found = likeliest(copied, right, names)
    assert (found.kind, found.facts["divergence"]) == ("tied", None)
    assert found.sentence == "b has the same draws as a, one by one: was one copied into the place of the other?"
    assert likeliest(tied, right, names).sentence == "a and c are perfectly correlated: each follows from the other."
    tied[..., 2] = right[..., 1]
    assert "as a, one by one, and so it is of 2 more pairs" in likeliest(tied, right, names).sentence
    assert likeliest(tied, tied, names) is None  # as where the model itself has one follow from the other


def test_several_faults_are_not_called_one(reference, rng):
    _, right, _ = reference
    sd = right[0].std(0)
    mean = right[0].mean(0)
    moved = mean + (right - mean) * np.array([1.0, 1.0, 1.0, 0.7]) + sd * np.array([0.8, 0.0, 0.0, 0.9])
    found = likeliest(moved, right, ["tau", "a", "b", "c"])
    assert found.kind == "several"
    assert found.sentence.startswith("No single fault explains this; the largest departures: ")
    assert "c is shifted by +0.90 posterior sd, the sd of c is 0.70 times that of the reference" in found.sentence
    assert "correlation" not in found.sentence


def test_systems_are_ranked_in_what_is_identified():
    problem = systems.problem("latent=2", 40, 2, ["gibbs"])
    theta = systems.posed(systems.System("latent=2", 2)).sample_prior(np.random.default_rng(0))
    x = states.simulate(theta, 40, np.random.default_rng(1))[0]
    found = {name: function(theta, {"x": x}) for name, function in problem.quantities.items()}
    values = np.linalg.eigvals(theta["transition"])
    assert found["eigenvalue modulus[0]"] == pytest.approx(np.abs(values).max())
    response = theta["emission"] @ theta["transition"] @ theta["state_covariance"] @ theta["emission"].T
    assert found["response[1, x1, x2]"] == pytest.approx(response[0, 1])
    assert "response[0, x1, x2]" not in found  # which is response[0, x2, x1]
    mean = theta["emission"] @ theta["transition"] @ states.filter_(x, theta).mean[-1]
    assert found["forecast of x2"] == pytest.approx(mean[1])
    assert problem.ranked == ()


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("local-levle", 50, 1, ["gibbs"]), "local-level"),
        (("latent=x", 50, 1, ["gibbs"]), "expected a whole number"),
        (("local-level", 2, 1, ["gibbs"]), "expected more than 2"),
        (("local-level", 50, 2, ["gibbs"]), "structure of one feature, and there are 2"),
        (("latent=2", 50, 2, ["gibbs"], "diffuse"), "choose free, known or stationary"),
        (("latent=2", 50, 2, ["cavi"], "stationary"), "cavi cannot fit latent=2: a stationary start ties P0"),
        (("local-level", 50, 1, ["gibbs"], "stationary"), "expected start diffuse"),
        (("local-level", 50, 1, ["em"]), "gibbs"),
    ],
)
def test_systems_that_cannot_be_calibrated_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        systems.problem(*given)


def test_draws_of_the_prior_without_a_stationary_start_are_passed_over():
    problem = systems.problem("autoregression=1", 30, 1, ["gibbs"], "stationary")
    generative, wild = (
        Generative(problem.build, ()),
        Generative(partial(systems.build, systems.System("latent=1", 1), 30), ()),
    )
    drawn = generative.draw(40, 0, problem.possible)
    moduli = [abs(float(own.values["transition"][0, 0])) for own in drawn]
    assert max(moduli) < 1 < max(abs(float(own.values["transition"][0, 0])) for own in wild.draw(40, 0))
    again = generative.draw(3, 0, problem.possible)
    assert [own.values["transition"] for own in again] == [own.values["transition"] for own in drawn[:3]]
    assert systems.default_methods("stationary") == ("gibbs",)
    with pytest.raises(ValueError, match="draws of the prior are possible"):
        generative.draw(2, 0, lambda values: False)


def test_the_shell_calibrates_a_system(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "GIBBS", {"chains": 1, "tune": 2, "draws": 100, "thin": 1})
    options = ["-n", "12", "--methods", "gibbs", "--draws", "39", "--simulations", "20", "--workers", "1"]
    result = command("calibrate", "--lds", "local-level", *options, "-o", str(tmp_path / "own"))
    assert result.exit_code == 0, result.output
    assert "Gibbs: " in result.output
    table = study.load(tmp_path / "own").table
    assert set(table["quantity"]) == {
        "log likelihood", "log joint density", "observation variance", "state variance", "forecast"
    }  # fmt: skip
    assert table["rank"].notna().all()
    page = (tmp_path / "own" / "report.html").read_text()
    text = re.sub("<[^>]+>", "", page)  # in which words lead to the glossary
    assert "a linear dynamical system (local-level)" in text
    assert "precisions ~ Gamma(3, 1.5)" in page
    assert "your method" not in page
    refused = command("calibrate", "--lds", "local-level", "--hmm")
    assert refused.exit_code == 2
