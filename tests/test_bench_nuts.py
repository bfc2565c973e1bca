"""Effective draws a second: both models are one mixture and are held to the same quantities; not how fast they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixtures import Dirichlet, Draws, Fit, Gaussian, datasets
from reports.bench import nuts, usual
from reports.bench.tables import effective_draws
from reports.commands.app import app

TINY = nuts.Settings(data="faithful", n_components=2, chains=2, tune=30, draws=20)


def row(model, blas="1", metric="adapt", seed=0, note="", **measured):
    numbers = {"compile": 4.0, "run": 1.0, "ess": 1000.0, "slowest": "weights[0]", "rhat": 1.002, "divergences": 0}
    steps = {"tune": 1000, "leapfrogs": 7.0, "warm_up": 0.7}
    return {"model": model, "blas": blas, "metric": metric, "seed": seed, "note": note} | steps | numbers | measured


def shown(table):
    console = Console(width=80)
    with console.capture() as captured:
        for part in effective_draws(table, TINY):
            console.print(part)
    return captured.get()


@pytest.fixture(scope="module")
def separate():
    """Independent draws of three clusters, each with its own labels, as a fit to tsmatz."""
    data, rng = datasets.load("tsmatz"), np.random.default_rng(2)
    family = Gaussian.from_data(data.x, 3)
    s = np.stack([family.features(data.x[data.labels == k]).sum(0) for k in np.unique(data.labels)])
    q = family.posterior(s)
    weights, theta = Dirichlet.symmetric(3).sample(1 + s[:, 0], 800, rng), family.sample(q, 800, rng)
    posterior = Draws(weights.reshape(2, 400, 3), {name: v.reshape(2, 400, *v.shape[1:]) for name, v in theta.items()})
    stats = {"diverging": np.zeros((2, 400), bool), "energy": rng.standard_normal((2, 400))}
    fit = Fit("any", "mcmc", family, Dirichlet.symmetric(3), posterior, np.empty(0), True, {}, sample_stats=stats)
    return data.x, fit


def test_the_usual_model_is_the_same_mixture(separate):
    """Its parameters come back from its unconstrained values, and its likelihood there is ours."""
    import jax
    from pymc.sampling.jax import get_jaxified_graph

    x, fit = separate
    weights, theta = fit.posterior.flat()
    given = {"weights": weights[:2], **fit.family.to_data({name: v[:2] for name, v in theta.items()})}
    model = usual.build(x, 3)
    v = usual.unconstrain(**given)
    named = model.replace_rvs_by_values([model[name] for name in usual.PARAMETERS])
    graph = jax.jit(get_jaxified_graph(model.value_vars, [*named, model.logp(vars=[model["x"]])]))
    *back, log_likelihood = graph(*(v[value.name][1] for value in model.value_vars))
    for name, values in zip(usual.PARAMETERS, back, strict=True):
        np.testing.assert_allclose(values, given[name][1], rtol=1e-9)
    assert float(log_likelihood) == pytest.approx(fit.log_likelihood(x)[0, 1].sum(), rel=1e-9)


def test_the_units_of_x_are_undone(separate):
    _, fit = separate
    values = {"weights": fit.held.weights, **fit.family.to_data(fit.held.theta)}
    back = nuts.standardised(values, fit.family)
    np.testing.assert_array_equal(back["weights"], fit.held.weights)
    for name, expected in fit.held.theta.items():
        np.testing.assert_allclose(back[name], expected, rtol=1e-9, atol=1e-12)


def test_the_effective_size_is_that_of_one_labelling(separate):
    """Draws that are independent but for their labels: as many effective as there are, less what 21 estimates scatter."""
    from arviz_stats.base import array_stats

    x, fit = separate
    found = nuts.diagnosed(fit, x)
    assert found["note"] == ""
    assert found["divergences"] == 0
    assert 0.6 * 800 < found["ess"] < 1.1 * 800
    rng = np.random.default_rng(3)
    orders = np.argsort(rng.random((2, 400, 3)), axis=-1)
    shuffled = nuts.diagnosed(replace(fit, posterior=fit.held.permute(orders)), x)
    assert shuffled == found
    every = {"weights": fit.held.weights, **fit.family.to_data(fit.held.theta)}
    sizes = [
        float(array_stats.ess(v.reshape(2, 400, -1)[..., i], method="bulk"))
        for v in every.values()
        for i in range(v[0, 0].size)
    ]
    assert found["ess"] == pytest.approx(min(sizes), rel=1e-6)


def test_chains_in_two_places_fail_their_checks(separate):
    x, fit = separate
    apart = fit.held.theta["means"].copy()
    apart[1] += 0.3
    moved = replace(fit, posterior=Draws(fit.held.weights, fit.held.theta | {"means": apart}))
    assert "failed: largest R-hat < 1.01" in nuts.diagnosed(moved, x)["note"]


def test_draws_a_second_without_and_with_compiling():
    """1000 in 1 s and 5 s; 600 in 6 s and 12 s."""
    table = nuts.compared(pd.DataFrame([row("ours"), row("usual", run=6.0, compile=6.0, ess=600.0)]))
    assert table["ess_run"].tolist() == [1000.0, 100.0]
    assert table["ess_total"].tolist() == [200.0, 50.0]
    assert table["ratio_run"][1] == 10.0
    assert table["ratio_total"][1] == 4.0
    assert np.isnan(table["ratio_run"][0])


def test_ratios_are_within_a_round():
    rows = [row("ours"), row("usual", run=2.0), row("ours", seed=1, run=3.0), row("usual", seed=1, run=12.0)]
    assert nuts.compared(pd.DataFrame(rows))["ratio_run"].dropna().tolist() == [2.0, 4.0]


def test_ratios_are_to_ours_as_it_runs_by_default_and_to_ours_with_the_same_metric():
    """Ours has 4000 draws a second with CAVI's metric and 1000 without."""
    models = [
        row("ours", metric="cavi", ess=4000.0),
        row("ours"),
        row("usual", metric="cavi", ess=800.0),
        row("usual", ess=500.0),
    ]
    table = nuts.compared(pd.DataFrame(models))
    assert table["ratio_run"].tolist()[2:] == [5.0, 8.0]
    assert table["alike_run"].tolist()[2:] == [5.0, 2.0]
    assert table[["ratio_run", "alike_run"]][:2].isna().all(axis=None)
    assert shown(table).count("CAVI") == shown(table).count("identity") == 2


@pytest.mark.parametrize("flagged", ["ours", "usual"])
def test_who_failed_a_check_has_numbers_but_no_ratio(flagged):
    rows = [row(model, note="failed: largest R-hat < 1.01" * (model == flagged)) for model in ("ours", "usual")]
    table = nuts.compared(pd.DataFrame(rows))
    assert table["ess_run"].notna().all()
    assert table[["ratio_run", "ratio_total"]].isna().all(axis=None)
    assert f"{flagged}, 1, identity: failed: largest R-hat" in shown(table)


def test_a_run_that_fails_is_a_missing_number(monkeypatch):
    def run(task, environment, _):
        model = task["arguments"]["model"]
        if model == "usual" and not environment:
            raise RuntimeError("the process for nuts ended with code 1: no memory")
        threads.append((model, environment))
        return {name: value for name, value in row(model).items() if name not in ("model", "blas", "metric", "seed")}

    threads = []
    monkeypatch.setattr(nuts.processes, "run", run)
    monkeypatch.setattr(nuts, "WAYS", [way for way in nuts.WAYS if way.metric == "adapt"])
    table = nuts.run(TINY)
    assert threads == [("ours", {}), ("usual", {"OPENBLAS_NUM_THREADS": "1"})]
    assert table["note"].tolist() == ["", "", "the process for nuts ended with code 1: no memory"]
    assert table.iloc[2][["compile", "run", "ess", "ess_run", "ratio_run"]].isna().all()
    assert table["ratio_run"][1] == 1.0
    assert "no memory" in shown(table)
    lines = [line.rstrip() for line in shown(table).splitlines()]
    assert sum(line.endswith(" –") for line in lines) == 14


def test_the_command_samples_both_models_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(nuts, "WAYS", (nuts.WAYS[0], nuts.WAYS[3]))
    monkeypatch.setattr(nuts, "Settings", lambda **given: replace(TINY, **given))
    monkeypatch.setattr(nuts.Settings, "repeats", 1, raising=False)
    arguments = ["bench", "--nuts", "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "o" / "bench.csv")
    assert table["model"].tolist() == ["ours", "usual"]
    assert table["metric"].tolist() == ["cavi", "adapt"]
    assert (table[["compile", "run", "ess", "leapfrogs", "warm_up", "rhat"]] > 0).all(axis=None)
    assert '"draws": 20' in (tmp_path / "o" / "bench.json").read_text()
    said = " ".join(result.stdout.split())
    assert "NUTS on faithful, K = 2, by numpyro: 2 × 20 draws, seed 0" in said
    assert "failed: smallest bulk ESS > 200" in said


@pytest.mark.parametrize(("given", "message"), [({"sampler": "hmc"}, "numpyro, nutpie, pymc"), ({"draws": 0}, "draws")])
def test_bad_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        nuts.Settings(**given)


def test_only_numpyro_takes_a_metric_from_elsewhere():
    assert {way.metric for way in nuts.Settings().ways} == {"cavi", "adapt"}
    assert {way.metric for way in nuts.Settings(sampler="nutpie").ways} == {"adapt"}


def test_an_unknown_sampler_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["bench", "--nuts", "--sampler", "hmc", "-o", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: sampler is 'hmc'")
    assert not (tmp_path / "o").exists()


def test_a_run_that_takes_too_long_is_a_missing_number(monkeypatch):
    """To import PyMC and compile the model takes longer than a second anywhere."""
    monkeypatch.setattr(nuts, "WAYS", nuts.WAYS[:1])
    table = nuts.run(replace(TINY, limit=1.0))
    assert "stopped after 1 s" in table["note"][0]
    assert np.isnan(table["ess"][0])
