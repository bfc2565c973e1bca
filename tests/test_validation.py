"""Results of one's own against any PyMC model: what may join, what is said of it, and what is refused."""

import logging
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.ops import wrap_py
from scipy import stats
from typer.testing import CliRunner

import reports
from models import cache
from reports.commands.app import app
from reports.comparison.results import Results
from reports.comparison.verdict import CORRELATIONS
from reports.page import answer, glance, opening, render, right
from reports.page.validation import SECTIONS as OF_ANY_MODEL
from reports.page.validation_view import ValidationView
from reports.plots import style
from reports.validation import predictive
from reports.validation.evidence import evidence
from reports.validation.faults import find
from reports.validation.measure import measure
from reports.validation.methods import advi, laplace
from reports.validation.results import as_result, check_form, from_unconstrained
from reports.validation.target import Target, _marginalised


def regression():
    """Two correlated coefficients with a known noise, whose posterior is Gaussian, and a positive number without data."""
    x = np.linspace(1, 3, 8)
    y = 0.5 + 1.5 * x + 0.3 * np.cos(7 * x)
    with pm.Model(coords={"of": ["intercept", "slope"]}) as model:
        b = pm.Normal("b", 0, 2, dims="of")
        pm.LogNormal("tau", 0, 0.5)
        pm.Deterministic("at_two", b[0] + 2 * b[1])
        pm.Deterministic("mean", b[0] + b[1] * np.linspace(1, 3, 400))
        pm.Normal("y", b[0] + b[1] * x, 0.5, observed=y)
    X = np.column_stack([np.ones_like(x), x])
    covariance = np.linalg.inv(X.T @ X / 0.25 + np.eye(2) / 4)
    marginal = stats.multivariate_normal(np.zeros(8), X @ X.T * 4 + 0.25 * np.eye(8))
    return model, covariance @ X.T @ y / 0.25, covariance, float(marginal.logpdf(y))


MODEL, CENTRE, COVARIANCE, LOG_EVIDENCE = regression()
EXACT = stats.multivariate_normal(CENTRE, COVARIANCE)
TAU = stats.lognorm(0.5)


@pytest.fixture(scope="module")
def target():
    return Target.of(MODEL)


def exact(n, rng):
    return {"b": rng.multivariate_normal(CENTRE, COVARIANCE, n), "tau": rng.lognormal(0, 0.5, n)}


class Exact:
    """The posterior itself, as a q of one's own."""

    def sample(self, n, rng):
        return exact(n, rng)

    def log_prob(self, values):
        return EXACT.logpdf(values["b"]) + TAU.logpdf(values["tau"])


class Factorised(Exact):
    """The best q whose coefficients are independent (Bishop, PRML, 10.12)."""

    sds = 1 / np.sqrt(np.diag(np.linalg.inv(COVARIANCE)))

    def sample(self, n, rng):
        return exact(n, rng) | {"b": CENTRE + self.sds * rng.standard_normal((n, 2))}

    def log_prob(self, values):
        return stats.norm(CENTRE, self.sds).logpdf(values["b"]).sum(1) + TAU.logpdf(values["tau"])


@pytest.fixture(scope="module")
def validation():
    rng = np.random.default_rng(1)
    added = {
        "exact": Exact(),
        "factorised": Factorised(),
        "no correlation": {name: rng.permuted(v, axis=0) for name, v in exact(4000, rng).items()},
        "some": {"tau": rng.lognormal(0, 0.5, (2, 1000)), "<i>else</i>": np.ones((2, 1000))},
    }
    truth = {"tau": 1.0, "b": [0.5, 1.5]}
    methods = ["laplace", "pathfinder", "smc"]
    return reports.validate(
        MODEL, added, methods=methods, rng=2, cache=False, truth=truth, name="<b>line</b>", moves=10
    )


def state(validation, method, claim):
    return validation.results.manifest["verdict"][method][claim]["state"]


def test_parts_of_the_density_are_those_of_pymc(target, rng):
    u = target.start + rng.standard_normal((3, target.size))
    compiled = MODEL.compile_logp(mode="FAST_COMPILE")
    np.testing.assert_allclose(target.log_density(u), [compiled(target.flat.split(v)) for v in u], rtol=1e-12)
    np.testing.assert_allclose(target.log_jacobian(u), u[:, 2], rtol=1e-12)  # of an exponential
    np.testing.assert_allclose(target.unconstrain(target.constrain(u)), u, rtol=1e-12)


def test_what_is_exact_agrees_and_what_is_not_differs(validation):
    assert not validation.failures
    assert {state(validation, "exact", claim) for claim in ("b", "tau", "at_two", CORRELATIONS)} == {"agrees"}
    assert state(validation, "factorised", "b") == "differs"
    assert state(validation, "no correlation", CORRELATIONS) == "differs"
    assert state(validation, "laplace", "b") == "agrees"
    assert list(validation.results.manifest["verdict"]["some"]) == ["tau"]
    assert validation.results.manifest["methods"]["some"]["missing"] == ["b", "at_two"]
    assert validation.results.manifest["methods"]["some"]["ignored"] == ["<i>else</i>"]
    assert validation.results.manifest["model"]["left_out"] == ["mean"]


def test_every_way_to_the_evidence_finds_it(validation):
    """That of the line is in closed form, and a number without data has none."""
    rows = validation.results.metrics
    found = rows[rows["metric"] == "log_evidence"].set_index(["method", "target"])
    places = [("nuts", "bridge"), ("exact", "importance"), ("exact", "elbo"), ("laplace", "importance"), ("smc", "smc")]
    for place in places:
        assert abs(found.loc[place, "value"] - LOG_EVIDENCE) < 4 * found.loc[place, "se"] + 1e-6, place
    assert found.loc[("factorised", "elbo"), "value"] < LOG_EVIDENCE - 0.5
    np.testing.assert_allclose(found.loc[("laplace", "laplace"), "value"], LOG_EVIDENCE, atol=1e-4)


def test_khat_tells_the_exact_from_the_too_narrow(validation):
    khat = validation.summary()["khat"]
    assert np.isnan(khat["exact"])  # all ratios are the same
    assert khat["factorised"] > 0.3


def test_a_saved_validation_gives_its_page_again(validation, tmp_path):
    folder = validation.save(tmp_path / "out", report=False)
    loaded = Results.load(folder)
    assert loaded.is_validation
    ours = {"laplace", "pathfinder", "smc", "nuts"}
    assert set(loaded.trees) == {"exact", "factorised", "no correlation", "some", *ours}
    page = render(loaded)
    for text in (
        "&lt;b&gt;line&lt;/b&gt;",
        "rank correlations",
        "some says nothing of b and at_two",
        "Prior predictive",
        "every parameter in the units of the model",
    ):
        assert text in page, text
    for section in (
        "answer",
        "verdict",
        "joint",
        "evidence",
        "prediction",
        "checks",
        "truth",
        "prior-sensitivity",
        "cost",
    ):
        assert f'<section id="{section}"' in page, section
    assert page.count("Forest, all parameters") == 1  # what opens the page is not drawn again
    assert "The axis ends" not in page
    assert "; factorised: differs; no correlation: differs; " in repr(validation)
    assert "agrees" in validation._repr_html_()


def test_statistics_of_replicated_data_find_no_fault_with_the_exact_posterior(validation):
    rows = validation.results.metrics
    p = rows[(rows["metric"] == "ppc_p") & (rows["method"] == "exact")].set_index("target")["value"]
    assert {"mean[y]", "sd[y]", "largest[y]"} <= set(p.index)
    assert 0.2 < p["mean[y]"] < 0.8  # the mean is fitted
    prior = {row["statistic"]: row for row in validation.results.manifest["prior_checks"]}
    assert prior["mean[y]"]["high"] - prior["mean[y]"]["low"] > 10  # of a coefficient with sd 2 times 2


def test_leave_one_out_by_draws_and_by_weighted_draws_is_that_in_closed_form(validation):
    """p(y_n | y_-n) of a Gaussian posterior: the mean and variance at x_n without n (Gelman et al. 2013, section 7.2)."""
    x = np.linspace(1, 3, 8)
    X, y = np.column_stack([np.ones(8), x]), MODEL.rvs_to_values[MODEL["y"]].data
    elpd = 0.0
    for n in range(8):
        rest = np.arange(8) != n
        S = np.linalg.inv(X[rest].T @ X[rest] / 0.25 + np.eye(2) / 4)
        m = S @ X[rest].T @ y[rest] / 0.25
        elpd += stats.norm(X[n] @ m, np.sqrt(0.25 + X[n] @ S @ X[n])).logpdf(y[n])
    rows = validation.results.metrics.set_index(["method", "metric", "target"])["value"]
    for method, metric in (("nuts", "elpd_loo"), ("exact", "elpd_loo_approximate")):
        error = rows[method, metric.replace("elpd_loo", "elpd_loo_mcse"), "data"]
        assert abs(rows[method, metric, "data"] - elpd) < 4 * error, method


def test_true_values_have_their_ranks(validation):
    rows = validation.results.metrics.set_index(["method", "metric", "target"])["value"]
    assert abs(rows["exact", "truth_rank", "tau"] - 0.5) < 0.04  # the median of a log normal
    expected = stats.norm(CENTRE[1], np.sqrt(COVARIANCE[1, 1])).cdf(1.5)
    assert abs(rows["exact", "truth_rank", "b[slope]"] - expected) < 0.04


def test_full_rank_advi_has_the_correlation_and_a_second_sampler_agrees():
    second = reports.validate(MODEL, methods=["advi-fullrank"], rng=2, cache=False, draws=250, second_sampler="nutpie")
    assert not second.failures
    assert state(second, "advi-fullrank", CORRELATIONS) == "agrees"
    assert set(second.results.manifest["references"]) == {"nuts", "nuts-2"}
    assert second.results.manifest["reference"]["trusted"]


STORED = ["npz", "zarr", "zarr-dataset", "netcdf", "netcdf-dataset"]
FORMS = ["mapping", "dataset", "tree", "sample", *STORED, "unconstrained", "marked", "passed-over"]


@pytest.mark.parametrize("form", FORMS)
def test_a_result_may_come_in_any_form(form, target, tmp_path, rng):
    values = exact(400, rng)
    log_q = Exact().log_prob(values)
    by_u = log_q + np.log(values["tau"])
    dataset = xr.Dataset(
        {"b": (("draw", "of"), values["b"][:, ::-1]), "tau": ("draw", values["tau"]), "log_q": ("draw", log_q)},
        coords={"of": ["slope", "intercept"]},
    )
    tree, path = xr.DataTree.from_dict({"posterior": dataset}), tmp_path / f"mine.{form.split('-')[0]}"
    given = {
        "mapping": values | {"log_q": log_q},
        "dataset": dataset.assign_attrs(kind="draws"),
        "tree": tree,
        "sample": dataset.rename(draw="sample").transpose(..., "sample"),
        "passed-over": values | {"log_q": log_q, "quite another": np.ones((7, 3)), "y": np.zeros((400, 8))},
        "unconstrained": {"b": values["b"], "tau_log__": np.log(values["tau"]), "log_q": by_u},
        "marked": {"b": values["b"], "tau": np.log(values["tau"]), "log_q": by_u, "scale": "unconstrained"},
    }.get(form, path)
    if form == "npz":
        np.savez(path, **values, log_q=log_q)
    elif form.startswith(("zarr", "netcdf")):
        whole = dataset if form.endswith("dataset") else tree
        whole.to_zarr(path, consolidated=False) if form.startswith("zarr") else whole.to_netcdf(path, engine="h5netcdf")
    joined = as_result("mine", given, target, rng=rng)
    assert joined.kind == "variational"
    np.testing.assert_allclose(joined.values["b"][0], values["b"])
    np.testing.assert_allclose(joined.values["tau"][0], values["tau"])
    np.testing.assert_allclose(joined.log_q[0], by_u)
    np.testing.assert_allclose(joined.values["at_two"][0], values["b"] @ [1, 2])
    assert joined.missing == ()
    assert joined.ignored == (("quite another",) if form == "passed-over" else ())


@pytest.mark.parametrize("form", ["tree", "stacked", "zarr", "netcdf"])
def test_chains_with_their_statistics_are_a_markov_chain(form, target, tmp_path, rng):
    values = {name: v.reshape(4, 100, *v.shape[1:]) for name, v in exact(400, rng).items()}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {"b": (("chain", "draw", "of"), values["b"]), "tau": (("chain", "draw"), values["tau"])}
            ),
            "sample_stats": xr.Dataset({"diverging": (("chain", "draw"), np.zeros((4, 100), bool))}),
        }
    )
    path = tmp_path / "chains"
    if form == "zarr":
        tree.to_zarr(path, consolidated=False)
    elif form == "netcdf":
        tree.to_netcdf(path, engine="h5netcdf")
    given = {"tree": tree, "stacked": tree["posterior"].to_dataset().stack(sample=("chain", "draw"))}.get(form, path)
    joined = as_result("mine", given, target, rng=rng)
    assert (joined.kind, joined.shape) == ("mcmc", (4, 100))
    assert list(joined.stats) == ([] if form == "stacked" else ["diverging"])
    np.testing.assert_allclose(joined.values["b"], values["b"])


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": None, "B": np.zeros((200, 2))}, "no 'B'; is 'B' meant to be 'b'"),
        ({"b": None, "tau": None, "beta": np.zeros(200)}, "none of the model's variables b, tau, at_two"),
        ({"tau": None, "tua": np.ones(200)}, "the model has no 'tua'; is 'tua' meant to be 'tau'"),
        ({"b": np.zeros((200, 3))}, r"'b' has shape \(200, 3\); expected \(draw, 2\) or \(chain, draw, 2\)"),
        (
            {"tau": np.full(200, -0.3)},
            "200 values of 'tau' are outside its support, such as -0.3; expected numbers above 0",
        ),
        ({"tau": np.full(200, np.nan)}, "'tau' has 200 values that are NaN"),
        ({"tau": np.ones(100)}, "different numbers of chains and draws"),
        (
            {"b": np.zeros((50, 4, 2)), "tau": np.ones((50, 4))},
            r"it has 50 chains of 4 draws; are its axes \(draw, chain\) where",
        ),
        ({"tau": np.ones((400, 2))}, r"different .*: is 'tau', read as 400 chains of 2 draws, of the model's shape\?"),
        ({"tau": ["a"] * 200}, "'tau' holds no numbers"),
        ({"tau": np.full(200, 1j)}, "'tau' holds complex numbers"),
        ({"log_q": np.zeros(199)}, r"log_q has shape \(199,\); expected one number for each of 1 x 200 draws"),
        ({"log_q": np.full(200, -np.inf)}, "a draw of q has a density above 0"),
        ({"tau": None, "log_q": np.zeros(200)}, "it has log_q and lacks tau"),
        ({"b": np.zeros((50, 2)), "tau": np.ones(50)}, "it has 50 draws; posterior summaries need at least 100"),
        ({"scale": "natural"}, "its scale is 'natural'"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:24],
)
def test_what_does_not_fit_the_model_is_refused_in_one_line(change, message, target, rng):
    given = {name: v for name, v in ({"b": np.zeros((200, 2)), "tau": np.ones(200)} | change).items() if v is not None}
    with pytest.raises(ValueError, match=message) as caught:
        as_result("mine", given, target, rng=rng)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("result 'mine': ")


@pytest.mark.robustness("limits")
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (10**12, r"100 draws of 1,000,000,000,000 numbers would take about 800 TB of memory"),
        ((3, 0), "the free variable 'a' has no entries; leave it out"),
    ],
)
def test_free_variables_are_weighed_before_anything_is_compiled(shape, message):
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("a", shape=shape).sum(), 1, observed=1.0)
    with pytest.raises(ValueError, match=message):
        Target.of(model)


@pytest.mark.robustness("numbers")
def test_replicates_beyond_all_numbers_have_no_spread_and_no_warning(rng):
    found = predictive.statistics({"y": 1e300 * rng.standard_normal((3, 20))})
    assert np.isfinite(found["mean[y]"]).all()
    assert np.isinf(found["sd[y]"]).all()


@pytest.mark.robustness("errors")
def test_draws_that_break_a_constraint_are_refused(rng):
    """Shares that do not add up to 1 are others after the way to the unconstrained scale and back."""
    shares = rng.dirichlet(np.ones(3), (1, 200))
    check_form({"p": np.round(shares, 3)}, {"p": shares})
    with pytest.raises(
        ValueError, match=r"\d+ values of 'p' break the constraint of its prior: 0\.\d+, say, would have to be"
    ):
        check_form({"p": 0.9 * shares}, {"p": shares})


@pytest.mark.robustness("errors")
def test_discrete_variables_are_summed_out_where_pymc_extras_can(monkeypatch):
    with pm.Model() as discrete:
        a, z = pm.Normal("a"), pm.Bernoulli("z", 0.5)
        pm.Normal("y", a + z, 1, observed=1.0)
    with pm.Model() as summed:
        a = pm.Normal("a")
        pm.Mixture("y", [0.5, 0.5], [pm.Normal.dist(a, 1), pm.Normal.dist(a + 1, 1)], observed=1.0)

    def cannot(*_):
        raise NotImplementedError("no rule")

    extras = ModuleType("pymc_extras")
    monkeypatch.setitem(sys.modules, "pymc_extras", extras)
    with pytest.raises(
        ValueError, match="pymc-extras is installed and does not load beside this PyTensor: cannot import"
    ):
        Target.of(discrete)
    extras.marginalize = cannot
    with pytest.raises(
        ValueError, match=r"pymc_extras.marginalize cannot sum out \(no rule\); sum it out of the likelihood"
    ):
        Target.of(discrete)
    extras.marginalize = lambda model, names: {(discrete, "z"): summed}[model, *names]
    assert _marginalised(discrete) == (summed, ("'z' summed out by pymc_extras.marginalize",))


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("discrete", r"free variable 'z' is discrete.*pymc_extras.marginalize\(model, \['z'\]\)"),
        ("observed", "no free variables"),
        ("minibatch", "'y' is observed in minibatches"),
        ("nan", r"log density is -inf where PyMC starts \(y -inf\)"),
        ("foreign", "JAX cannot compile the model .*Op.*: write this part with operations of pytensor.tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
def test_models_that_cannot_be_sampled_are_refused_in_one_line(kind, message):
    with pm.Model() as model:
        if kind == "discrete":
            z = pm.Bernoulli("z", 0.5)
            pm.Normal("y", z, 1, observed=1.0)
        elif kind == "observed":
            pm.Normal("y", 0, 1, observed=1.0)
        else:
            a = pm.Normal("a")
            if kind == "nan":
                pm.HalfNormal("y", pm.math.exp(a), observed=-1.0)
            elif kind == "foreign":
                pm.Normal("y", wrap_py(itypes=[pt.dscalar], otypes=[pt.dscalar])(np.square)(a), 1, observed=1.0)
            else:
                pm.Normal("y", a, 1, observed=pm.Minibatch(np.arange(10.0), batch_size=2), total_size=10)
    with pytest.raises(ValueError, match=message) as caught:
        Target.of(model)
    assert "\n" not in str(caught.value)


def test_an_improper_prior_has_no_evidence(rng):
    with pm.Model() as model:
        a = pm.Flat("a")
        pm.Normal("y", a, 1, observed=np.zeros(3))
    target = Target.of(model)
    assert target.flat_priors == ("a",)
    with pytest.raises(ValueError, match="prior of a is improper"):
        target.draw_prior(10, rng)
    joined = laplace.fit(target, rng=rng, draws=100, chains=1)
    rows, missing = evidence("mine", joined, None, target, rng)
    assert rows == []
    assert "no normalising constant" in missing["importance"]


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n1 / 0\n", 'File "model.py", line 2'),
        ("x = 1\n", "model.py defines no `model` and no `build()`"),
        ("def build():\n    return 3\n", "in model.py, what `build()` returns is of type int; expected"),
        ("model = 3\n", "in model.py, `model` is of type int; expected"),
        (
            "def build(a):\n    pass\n",
            "build in model.py cannot be called without arguments (missing a required argument: 'a')",
        ),
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_the_shell_shows_what_is_wrong_with_a_model(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(text)
    done = CliRunner().invoke(app, ["validate", "model.py"])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "reports" not in done.stderr


def answer_to(validation, name):
    """The answer on an added result, and those on densities."""
    view = ValidationView(validation.results)
    rows = dict(right.answers(view))
    return rows[f"Is {view.label(name)} right?"], rows["Densities"]


def test_draws_of_the_reference_itself_confirm_nothing(validation, target, rng):
    """A run of NUTS, and the same draws under another name: they agree in every claim, and are no second opinion."""
    chains = validation.results.trees["nuts"]
    joined = {name: as_result(name, chains, target, rng=rng) for name in ("nuts", "mine")}
    manifest = deepcopy(validation.results.manifest)
    manifest["methods"] = {"mine": manifest["methods"]["exact"], "nuts": manifest["methods"]["nuts"]}
    manifest |= measure(joined, target, rng).facts
    view = ValidationView(replace(validation.results, manifest=manifest))
    assert right.right(view, "mine").startswith("This cannot be told: it holds the draws of NUTS themselves")
    assert "mine confirms nothing" in answer.stand_in(manifest)
    assert "sampled independently" not in answer.of_reference(manifest)
    assert not any(answer.same_draws(validation.results.manifest, m) for m in ("exact", "laplace"))


def test_an_approximation_is_not_blamed_for_mistakes_of_a_program(target, rng):
    """Draws that lack the Jacobian of tau have that fault where somebody made them, and not where they come from here."""
    u = np.concatenate([rng.standard_normal((1, 4000, 2)), rng.normal(0, 0.5, (1, 4000, 1))], axis=-1)
    reference = from_unconstrained(target, u, "draws")
    other = from_unconstrained(target, u - [0, 0, 0.25], "draws")
    kinds = {
        added: find(target, {"nuts": reference, "other": replace(other, added=added)}, "nuts", rng)["other"].kind
        for added in (True, False)
    }
    assert kinds == {True: "jacobian", False: "shift"}


def test_the_first_sentence_says_whether_it_is_right(validation):
    assert answer_to(validation, "exact")[0].startswith("Yes, as far as these draws show: all of its variables agree")
    narrow = answer_to(validation, "factorised")[0]
    assert narrow.startswith("No. ")
    assert "width ratio" in narrow
    assert "with every update right" in narrow
    single = deepcopy(validation.results)
    single.manifest["model"]["n_parameters"] = 1
    assert "with every update right" not in answer_to(replace(validation, results=single), "factorised")[0]
    lost = answer_to(validation, "no correlation")[0]
    assert lost.startswith("No. ")
    assert "rank correlation difference" in lost
    assert "It agrees in b" in lost


def test_a_departure_that_the_limits_allow_is_not_said_to_agree(validation):
    """By rewriting the fault of the exact draws: two tenths of an sd are certain, and the verdict allows half of one."""
    manifest = deepcopy(validation.results.manifest)
    sentence = "tau is shifted, by 0.2 posterior sd."
    fault = {"kind": "shift", "where": "tau", "sentence": sentence, "size": 0.2, "divergence": 0.02, "left": 0.0}
    manifest["faults"]["exact"] = fault
    view = ValidationView(replace(validation.results, manifest=manifest))
    said = right.right(view, "exact")
    assert said.startswith(f"Nearly. A departure is certain. {sentence} It is small: all of its variables stay within")
    assert "allow a median 0.5 sd away and intervals 0.8 to 1.25 times as wide" in said
    named, *claims = opening.uses(view, "exact")
    assert named.words == "✗ shifted, within limits"
    assert {claim.words for claim in claims} == {"✓ within limits"}
    row = next(row for row in glance.summary(view).rows if row[0].method == "exact")
    assert "within limits" in [cell.text for cell in row]
    assert "agrees" not in [cell.text for cell in row]
    assert view.overall("exact") == "within limits"
    table = replace(validation, results=replace(validation.results, manifest=manifest)).verdict()
    table = table.query("method == 'exact'")
    assert set(table["state"]) == {"within limits"}
    (also,) = right.allowed_departures(view, ["laplace", "exact"])
    assert also == f"A departure of exact is certain, though within the limits. {sentence}"
    assert view.word("nuts", "reference") == "reference"
    manifest["verdict"]["exact"]["tau"]["state"] = "cannot tell"
    assert view.word("exact", "agrees") == "agrees"
    assert right.right(view, "exact").endswith(f"A departure, however small, is certain. {sentence}")


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (("divergent transitions", "largest R-hat"), "a higher target_accept (--target-accept 0.99)"),
        (("smallest E-BFMI",), "non-centred"),
        (("largest R-hat", "smallest bulk ESS"), "Chains that stay apart"),
        (("smallest tail ESS",), "longer chains (tune and draws)."),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_reference_that_failed_comes_with_what_helps(failed, words, validation):
    manifest = deepcopy(validation.results.manifest)
    manifest["reference"] |= {"trusted": False, "reason": "failed its checks"}
    for check in manifest["references"]["nuts"]["checks"]:
        check["passed"] = check["name"] not in failed
    said = right.right(ValidationView(replace(validation.results, manifest=manifest)), "exact")
    assert said.startswith(
        "This cannot be told, as there is no trusted reference: NUTS failed its checks. What often helps: "
    )
    assert words in said


def test_what_cannot_be_told_says_what_would_tell(validation):
    """By rewriting the verdict on the exact draws, whose one variable is then undecided."""
    manifest = deepcopy(validation.results.manifest)
    manifest["verdict"]["exact"]["tau"]["state"] = "cannot tell"
    for converged, why in ((None, "more draws would tell"), (False, "it did not converge")):
        manifest["methods"]["exact"]["converged"] = converged
        said = right.right(ValidationView(replace(validation.results, manifest=manifest)), "exact")
        assert said.startswith("This cannot be told for tau (")
        assert f": {why}. The rest agrees with NUTS." in said


def test_the_shell_begins_with_the_same_answers(validation, capsys):
    from reports.commands.terminal import summarise_validation

    summarise_validation(validation)
    said = " ".join(capsys.readouterr().out.split())
    assert "Is factorised right? No. " in said
    assert "It differs from NUTS in b (width ratio" in said
    assert "KL divergence from the posterior, in nats:" in said
    assert "[[" not in said


def test_how_far_a_density_is_from_the_posterior_is_known_from_the_evidence(validation):
    """KL of the best product of independent normals is minus half the log determinant of the correlations: PRML 10.12-10.15."""
    view = ValidationView(validation.results)
    correlation = COVARIANCE / np.outer(*[np.sqrt(np.diag(COVARIANCE))] * 2)
    exactly = -np.log(np.linalg.det(correlation)) / 2
    found, se = view.value("factorised", "divergence"), view.se("factorised", "divergence")
    assert abs(found - exactly) < 4 * se
    assert se < 0.1 * exactly
    assert abs(view.value("exact", "divergence")) < 4 * view.se("exact", "divergence")
    densities = answer_to(validation, "exact")[1]
    assert "some says nothing of b" in densities
    assert "no correlation came without log q" in densities


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either a file MODEL.py or --example NAME"),
        (["model.py", "--example", "gaussian"], "not both"),
        (["--example", "gausian"], "did you mean 'gaussian'?"),
    ],
)
def test_an_example_is_asked_for_by_its_name_alone(arguments, message):
    outcome = CliRunner().invoke(app, ["validate", *arguments])
    assert outcome.exit_code == 2
    assert message in " ".join(outcome.output.split())


@pytest.mark.filterwarnings("ignore:Data in y contains missing values")
def test_values_that_pymc_imputes_are_free_variables():
    with pm.Model() as model:
        a = pm.Normal("a", 0, 3)
        pm.Normal("y", a, 1, observed=np.array([1.0, np.nan, 2.0]))
    target = Target.of(model)
    assert list(target.free) == ["a", "y_unobserved"]
    log_p = stats.norm(0, 3).logpdf(0.5) + stats.norm(0.5, 1).logpdf([1.0, 0.2, 2.0]).sum()
    np.testing.assert_allclose(target.log_density(np.array([[0.5, 0.2]])), log_p)


def test_what_pymc_cannot_draw_has_no_predictive_check(rng):
    with pm.Model() as model:
        a = pm.Normal("a")
        pm.CustomDist("y", a, logp=lambda value, a: -((value - a) ** 2) / 2, observed=np.zeros(3))
    target = Target.of(model)
    joined = as_result("mine", {"a": rng.standard_normal(200)}, target, rng=rng)
    observed = xr.Dataset({"y": ("n", np.zeros(3))})
    found, prior, reason = predictive.checks({"mine": joined}, observed, target, rng)
    assert (found, prior) == ({}, [])
    assert reason.startswith("PyMC cannot draw from an observed variable")


def test_what_cannot_be_drawn_from_extreme_draws_is_left_out_alone(target, rng, monkeypatch):
    """A wide prior under an exponential gives rates that no generator of counts takes; other draws have their checks."""

    def replicate(draws, target, rng):
        if "" in draws:
            raise ValueError("lam value too large\nApply node that caused the error")
        return {source: {"y": rng.standard_normal((200, 8))} for source in draws}

    monkeypatch.setattr(predictive, "replicate", replicate)
    joined = as_result("mine", exact(200, rng), target, rng=rng)
    observed = xr.Dataset({"y": ("n", np.zeros(8))})
    found, prior, reason = predictive.checks({"mine": joined}, observed, target, rng)
    assert (list(found), prior) == (["mine"], [])
    assert reason == "data cannot be drawn given draws from the prior (lam value too large)"


def test_second_derivatives_are_differences_where_jax_has_none(target, rng, monkeypatch):
    def fails(_):
        raise TypeError("select cases must have the same shapes")

    monkeypatch.setattr("jax.hessian", fails)
    A = np.array([[2.0, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 4]])
    hessian = laplace._hessian(target, lambda v: (v @ A @ v / 2, A @ v), target.start)
    np.testing.assert_allclose(hessian(rng.standard_normal(3)), A, rtol=1e-8, atol=1e-8)


def test_what_is_compiled_is_kept_where_it_is_wanted(own_cache, monkeypatch):
    import jax

    before = jax.config.jax_compilation_cache_dir
    for wanted, function in ((False, jax.numpy.sinh), (True, jax.numpy.cosh)):
        with cache.kept(wanted):
            jax.jit(function).lower(np.zeros(7)).compile()
        assert bool(list(own_cache.glob("*"))) == wanted
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.setattr(cache, "LARGEST", 0)
    with cache.kept():
        assert not list(own_cache.glob("*"))


def test_replicates_are_drawn_without_notes_of_pymc(target, rng, caplog):
    x, n = np.linspace(1, 3, 8), 400
    values = {name: np.repeat(v[:1], n, axis=0) for name, v in exact(1, rng).items()}
    with caplog.at_level(logging.INFO, "pymc"):
        drawn = predictive.replicate({"one": values, "other": exact(n, rng)}, target, rng)
    assert caplog.records == []
    z = (drawn["one"]["y"] - values["b"] @ np.array([np.ones(8), x])) / 0.5
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert drawn["other"]["y"].shape == (n, 8)


def test_a_model_has_its_graph_where_graphviz_and_pymc_can_draw_it(monkeypatch):
    from reports.validation import run

    def cannot(_):
        raise NotImplementedError

    def extreme(_):
        raise np.linalg.LinAlgError("Matrix is not positive definite")

    def interpreted(_):
        assert not pytensor.config.cxx
        return drawn

    drawn = SimpleNamespace(pipe=lambda format: f"<{format}/>".encode())
    for which, draw, expected in (
        ("dot", interpreted, "<svg/>"),
        ("dot", cannot, None),
        ("dot", extreme, None),
        (None, lambda _: drawn, None),
    ):
        monkeypatch.setattr("shutil.which", {"dot": which}.get)
        monkeypatch.setattr(pm, "model_to_graphviz", draw)
        assert run._graph(MODEL) == expected


def test_draws_are_kept_for_the_next_run_of_the_same_model(target, tmp_path, monkeypatch):
    from reports.validation import run
    from reports.validation.catalogue import Options
    from reports.validation.kept import Shelf

    shelf, options = Shelf(target, tmp_path), Options(draws=100, chains=2)

    def fitted(seed=0):
        return run.run("laplace", run.METHODS["laplace"], target, options, np.random.default_rng(seed), shelf, None)

    first, entry = fitted()
    monkeypatch.setattr(laplace, "fit", None)
    again, said = fitted()
    assert datetime.fromisoformat(said.pop("made"))
    assert said["seconds"] == first.seconds
    assert said | {"seconds": entry["seconds"]} == entry
    for name, values in first.values.items():
        np.testing.assert_array_equal(again.values[name], values)
    np.testing.assert_array_equal(again.log_q, first.log_q)
    assert again.info == entry["info"]
    assert fitted(seed=1)[1]["status"] == "failed"  # it would have had to run
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:500])
    assert fitted()[1]["status"] == "failed"


def test_a_second_process_draws_the_page_from_the_agreement_to_the_checks(validation, monkeypatch):
    from reports.page import begin_to_render, blocks, build

    class Asked:
        def submit(self, work):
            self.which = work.args[1]
            return self

        def result(self):
            monkeypatch.setattr(blocks, "embedded", None)  # this process has drawn its own part
            return []

    asked = Asked()
    page = begin_to_render(validation.results, asked)
    sections = build.look(validation.results)[1]
    assert [make.__name__ for make in sections[asked.which]] == [
        "agreement",
        "joint",
        "evidence",
        "prediction",
        "checks",
    ]
    html = page()
    assert '<section id="reference"' in html
    assert '<section id="agreement"' not in html
    assert html.index('<section id="reference"') < html.index('<section id="cost"')


def test_a_result_is_called_as_its_maker_named_it(validation):
    """And not as methods of the comparison of mixtures are, such as "Exact" and "one cluster"."""
    view = ValidationView(validation.results)
    assert [view.label(method) for method in ("exact", "nuts")] == ["exact", "NUTS"]
    assert glance.summary(view).rows[0][0].text == "exact"
    assert len({view.colour(method) for method in view.methods}) == len(view.methods)
    with style.made_elsewhere(["single"]):
        assert style.look("single").label == "single"
    assert style.look("single").label == "one cluster"


def test_a_caption_tells_that_some_parameters_are_not_drawn(validation):
    """One that does not vary in one of the methods."""
    view = ValidationView(validation.results)
    whole = view.every_parameter
    still = dict(view.trees) | {"exact": view.trees["exact"].copy(deep=True)}
    still["exact"]["posterior"]["tau"][:] = 1.0
    other = ValidationView(replace(validation.results, trees=still))
    assert "tau" not in other.scalars["exact"]
    assert (whole, other.every_parameter) == ("all parameters", "the parameters that vary in every method")


def test_advi_says_what_helps_where_its_loss_is_not_a_number(target):
    class Broken:
        def __init__(self, *args):
            pass

        def __call__(self, init, rng, tell=None):
            return init, init, np.full((4, 3), np.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.vi.Descent", Broken)
        with pytest.raises(FloatingPointError, match="all 4 runs became NaN; bring data and priors to scales near 1"):
            advi.fit(target, rng=np.random.default_rng(0))


def test_a_watch_hears_the_steps_of_nuts_and_advi(target, monkeypatch):
    from reports.comparison.progress import Watch
    from reports.validation import run
    from reports.validation.catalogue import METHODS, Options
    from reports.validation.kept import Shelf
    from reports.validation.methods import advi, nuts

    class Heard(Watch):
        def __init__(self):
            self.all = []

        def step(self, *said):
            self.all.append(said)

    def fit(target, *, tell, **settings):
        tell(3, 10)
        raise ArithmeticError

    heard = Heard()
    for module in (advi, nuts):
        monkeypatch.setattr(module, "fit", fit)
    for method in ("advi", "advi-fullrank", "nuts", "nuts-2"):
        assert METHODS[method].tells
        tell = partial(heard.step, method)
        shelf, rng = Shelf(target, None), np.random.default_rng(0)
        run.run(method, METHODS[method], target, Options(), rng, shelf, tell)
    assert heard.all == [(m, 3, 10) for m in ("advi", "advi-fullrank", "nuts", "nuts-2")]


def test_draws_of_other_data_are_not_taken(tmp_path):
    from reports.validation.kept import Shelf

    def place(y):
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu"), observed=[0.5, y])
        return Shelf(Target.of(model), tmp_path).place("nuts", {}, np.random.default_rng(0))

    assert place(2.0) == place(2.0)
    assert place(2.0) != place(2.0 + 1e-9)


@pytest.mark.robustness("errors")
def test_where_no_reference_ran_there_is_a_page_all_the_same(monkeypatch, rng):
    def fails(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr("reports.validation.methods.nuts.fit", fails)
    found = reports.validate(MODEL, {"mine": exact(200, rng)}, methods=[], rng=0, cache=False)
    assert found.failures == {"nuts": "MemoryError: no room"}
    view = ValidationView(found.results)
    assert view.reference is None
    assert {"agreement"} < {section.id for make in OF_ANY_MODEL if (section := make(view))}
