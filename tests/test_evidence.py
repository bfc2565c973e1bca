"""The log evidence by every route against the exact sum, closed forms and brute force; and what is refused."""

from dataclasses import replace
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

import reports
from mixtures import COVARIANCES, Conjugate, Dirichlet, Draws, Fit
from mixtures.ascent.states import statistics
from mixtures.labels import align
from mixtures.methods import cavi, exact
from reports.metrics.evidence import (
    acceptance_ratio,
    bridge,
    evidence,
    importance,
    log_average,
    log_permanent,
    mean_of_runs,
)
from reports.metrics.parameters import scalars
from reports.page.evidence import evidence as section
from reports.page.evidence import evidence_table
from reports.page.prior import prior_sensitivity
from reports.page.view import View

every_structure = pytest.mark.parametrize("covariance", COVARIANCES)


def problem(covariance, K=2, N=12, separation=2.5, seed=5):
    """Points in K clumps in units far from one, the family, the allocation and the exact log evidence."""
    rng = np.random.default_rng(seed)
    x = 50 + 30 * (rng.standard_normal((N, 2)) + separation * np.arange(N)[:, None] % (K * separation))
    family, allocation = COVARIANCES[covariance].from_data(x, K), Dirichlet.symmetric(K)
    fit = exact.fit(x, family, allocation)
    return x, fit, fit.info["log_evidence"][-1]


def near(row, expected, errors=4.0, floor=1e-9):
    """Whether a number is within 0.05 nats of the expected one, and within so many of its standard errors."""
    off = abs(row.value - expected)
    assert off < 0.05, (row, expected)
    assert off < errors * row.se + floor, (row, expected)


def with_draws(fit, weights, theta):
    return replace(fit, kind="mcmc", posterior=Draws(weights, theta))


@every_structure
def test_bridge_finds_the_exact_evidence(covariance, rng):
    """Under random labels, and under labels so aligned that no draw shows the mirror images."""
    x, fit, log_z = problem(covariance)
    drawn = fit.as_draws(4, 1000, rng)
    r = np.eye(2)[(x[:, 0] > x[:, 0].mean()).astype(int)]
    for posterior in (drawn, align(drawn, r, x).fit):
        row = bridge(posterior, x, rng)
        near(row, log_z)
        assert 1e-5 < row.se < 0.01


def test_bridge_finds_the_exact_evidence_of_five_clusters(rng):
    x, fit, log_z = problem("diag", K=5, N=8)
    near(bridge(fit.as_draws(4, 1000, rng), x, rng), log_z)


def test_bridge_moves_with_the_units(rng):
    x, fit, _ = problem("full")
    other = exact.fit(1e3 * x - 4, COVARIANCES["full"].from_data(1e3 * x - 4, 2), fit.allocation)
    one = bridge(fit.as_draws(2, 300, np.random.default_rng(1)), x, np.random.default_rng(2))
    two = bridge(other.as_draws(2, 300, np.random.default_rng(1)), 1e3 * x - 4, np.random.default_rng(2))
    assert two.value == pytest.approx(one.value - x.size * np.log(1e3), abs=1e-6)


@pytest.mark.parametrize("repeats", [1, 5])
def test_error_of_the_bridge_is_its_spread(repeats, rng):
    """Forty bridges between few draws, independent or each of them five times in a row, which makes a chain of them.

    The spread of forty numbers has a relative error of 11%; the mean square of their errors in units of the reported error
    is one if that is right. A bias of ESS estimates in chains of 200 takes the rest of the factor 1.5.
    """
    x, fit, log_z = problem("full")
    rows = []
    for _ in range(40):
        weights, theta = fit.parameters(800 // repeats, rng)
        chains = [np.repeat(v, repeats, axis=0).reshape(4, 200, *v.shape[1:]) for v in (weights, *theta.values())]
        rows.append(bridge(with_draws(fit, chains[0], dict(zip(theta, chains[1:], strict=True))), x, rng))
    values, errors = np.array([(row.value - log_z, row.se) for row in rows]).T
    assert 1 / 1.5 < np.sqrt(np.mean((values / errors) ** 2)) < 1.5
    assert 1 / 1.5 < values.std() / np.sqrt(np.mean(errors**2)) < 1.5


def test_error_of_the_bridge_counts_chains_that_disagree(rng):
    """Three chains keep to one half of the posterior, where the clusters are near each other, one to the other half."""
    x, fit, _ = problem("full", separation=0.7)
    weights, theta = fit.parameters(8000, rng)
    far = np.abs(theta["means"][:, 0] - theta["means"][:, 1]).sum(-1)
    near, apart = np.array_split(np.argsort(far), 2)
    stuck = np.concatenate([rng.permutation(near)[:3000], rng.permutation(apart)[:1000]])
    mixed, stuck = (
        with_draws(
            fit, weights[o].reshape(4, 1000, -1), {k: v[o].reshape(4, 1000, *v.shape[1:]) for k, v in theta.items()}
        )
        for o in (np.arange(4000), stuck)
    )
    assert bridge(stuck, x, rng).se > 5 * bridge(mixed, x, rng).se


@every_structure
def test_all_routes_agree_on_one_cluster(covariance, rng):
    """The evidence is then the marginal likelihood in closed form, and every draw knows it."""
    x = 7 + 3 * rng.standard_normal((20, 2))
    family, allocation = COVARIANCES[covariance].from_data(x, 1), Dirichlet.symmetric(1)
    expected = float(family.log_marginal(statistics(x, family, np.ones((20, 1)))))
    fit = cavi.fit(x, family, allocation, rng=rng)
    rows, missing = evidence(fit, x, rng)
    found = {row.target: row.value for row in rows}
    assert set(found) == {"importance", "elbo", "elbo_all_labellings"}
    assert not missing
    assert list(found.values()) == pytest.approx([expected] * 3, abs=1e-8)
    row = bridge(fit.as_draws(2, 200, rng), x, rng)
    assert row.value == pytest.approx(expected, abs=1e-8)
    assert row.se < 1e-8
    exactly = evidence(exact.fit(x, family, allocation), x, rng)[0]
    assert [row.target for row in exactly] == ["exact"]
    assert exactly[0].value == pytest.approx(expected, abs=1e-8)


@every_structure
def test_importance_sampling_finds_the_exact_evidence_where_q_is_good(covariance, rng):
    x, fit, log_z = problem(covariance, separation=12)
    q = cavi.fit(x, fit.family, fit.allocation, rng=rng)
    row = importance(q, x, rng)
    assert abs(row.value - log_z) < 0.05
    assert q.bound[-1] < row.value - 0.5  # one labelling of two


def test_importance_sampling_counts_every_labelling_once_however_q_overlaps(rng):
    """Here q is wide and the same for three clusters, so that nothing but chance tells its labellings apart."""
    x = rng.standard_normal((4, 2))
    family, allocation = COVARIANCES["spherical"].from_data(x, 3, beta0=1.0, nu0=8, W0=1 / 16), Dirichlet.symmetric(3)
    log_z = exact.fit(x, family, allocation).info["log_evidence"][-1]
    s = np.tile(family.features(x).sum(0) / 12, (3, 1))
    alike = Conjugate(allocation.posterior(s[:, 0]), family.posterior(s))
    row = importance(Fit("alike", "variational", family, allocation, alike, np.empty(0), True, {}), x, rng)
    assert row.se < 0.1
    assert abs(row.value - log_z) < 4 * row.se


def test_importance_sampling_takes_the_ratios_of_draws(rng):
    """Draws with their ratios, as ADVI leaves them, instead of a closed form."""
    from reports.metrics import quality

    x, fit, log_z = problem("spherical", separation=12)
    q = cavi.fit(x, fit.family, fit.allocation, rng=rng)
    drawn = q.as_draws(1, 4000, rng)
    ratios = quality.log_ratios(q, drawn, x)
    row = importance(replace(drawn, sample_stats={"log_ratio": ratios[None]}), x, rng)
    assert abs(row.value - log_z) < 0.05
    few = q.as_draws(1, 60, rng)
    with pytest.raises(ValueError, match="60 of 60 draws are in the labelling of q"):
        importance(replace(few, sample_stats={"log_ratio": ratios[None, :60]}), x, rng)


def test_sequential_monte_carlo_finds_the_exact_evidence_and_posterior(rng):
    """Four runs of few particles: each is off by about 0.2 nats, their mean by half of that."""
    from models.methods import smc

    x, fit, log_z = problem("spherical")
    found = smc.fit(x, fit.family, fit.allocation, rng=rng, draws=500, moves=40)
    (row,), missing = evidence(found, x, rng)
    assert not missing
    assert row.target == "smc"
    assert row.se < 0.25
    assert abs(row.value - log_z) < 4 * max(row.se, 0.1)
    assert found.converged
    weights, theta = found.posterior.flat()
    means = fit.family.to_data(theta)["means"]
    mean = np.einsum("sk,skd->sd", weights, means)
    np.testing.assert_allclose(mean.mean(0), fit.info["moments"]["mean"], atol=0.3 * mean.std(0).max())
    assert np.abs(np.mean(weights[:, 0]) - 0.5) < 0.1  # every labelling is there


def test_sequential_monte_carlo_refuses_what_it_cannot_do(rng):
    from models.methods import smc

    x, fit, _ = problem("diag")
    for name, value in {"draws": 99, "chains": 0, "moves": 0, "threshold": 1.0}.items():
        with pytest.raises(ValueError, match=f"^{name} is {value}; expected"):
            smc.fit(x, fit.family, fit.allocation, rng=rng, **{name: value})
    with pytest.raises(ValueError, match="prior of the clusters is improper"):
        smc.fit(x, improper(fit.family), fit.allocation, rng=rng)


def test_acceptance_ratio_of_two_normals(rng):
    """exp(3 - v^2 / 2) integrates to exp(3) sqrt(2 pi); and the root is the fixed point of Meng & Wong's iteration."""
    q = stats.norm(0.5, 1.4)
    v, u = rng.standard_normal(20_000), q.rvs(20_000, random_state=rng)
    posterior, proposal = (3 - w**2 / 2 - q.logpdf(w) for w in (v, u))
    log_z = acceptance_ratio(posterior, proposal)
    assert log_z == pytest.approx(3 + np.log(2 * np.pi) / 2, abs=0.02)
    r = 1.0
    for _ in range(100):
        one, other = np.exp(posterior), np.exp(proposal)
        r = np.mean(other / (other + r)) / np.mean(1 / (one + r))
    assert log_z == pytest.approx(np.log(r), abs=1e-8)


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_log_permanent_by_brute_force(K, rng):
    a = 50 * rng.standard_normal((K, K, 3))
    ways = [sum(a[row, column] for row, column in enumerate(order)) for order in permutations(range(K))]
    np.testing.assert_allclose(log_permanent(a), logsumexp(ways, axis=0), rtol=1e-13)


@every_structure
def test_the_proposal_is_the_average_of_conjugate_posteriors(covariance, rng):
    """Over labellings and names, by the families' own densities; the prior is divided out."""
    x, fit, _ = problem(covariance, K=3, N=9)
    family, allocation = fit.family, fit.allocation
    z = rng.integers(3, size=(4, 9))
    s = np.array([statistics(x, family, np.eye(3)[labels]) for labels in z])
    weights, theta = fit.parameters(5, rng)
    log_q = []
    for one in s:
        alpha, q = allocation.posterior(one[:, 0]), family.posterior(one)
        log_q += [
            allocation.log_density(weights, alpha[list(order)]) + family.log_density(theta, q.permute(np.array(order)))
            for order in permutations(range(3))
        ]
    expected = logsumexp(log_q, axis=0) - np.log(len(log_q)) - allocation.log_prior(weights) - family.log_prior(theta)
    eta = family.natural(theta)
    eta[..., 0] += np.log(weights)
    np.testing.assert_allclose(log_average(s, eta, family, allocation), expected, rtol=1e-8)


def test_mean_of_runs_is_that_of_the_evidence_itself():
    value, se = mean_of_runs(np.log([1.0, 2.0, 6.0]) - 5000)
    assert value == pytest.approx(np.log(3) - 5000, rel=1e-12)
    assert se == pytest.approx(stats.sem([1.0, 2.0, 6.0]) / 3)
    assert mean_of_runs(np.array([-3.0]))[0] == -3
    assert np.isnan(mean_of_runs(np.array([-3.0]))[1])


def improper(family):
    return replace(family, prior=replace(family.prior, beta=0 * family.prior.beta))


def unnormalised(fit):
    return replace(fit, posterior=replace(fit.posterior, weights=1.01 * fit.posterior.weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fit, rng: fit.as_draws(1, 199, rng), "there are 199 posterior draws; a bridge needs at least 200"),
        (lambda fit, rng: unnormalised(fit.as_draws(2, 100, rng)), "the weights of a draw sum to one up to 0.01"),
        (
            lambda fit, rng: replace(fit.as_draws(2, 100, rng), family=improper(fit.family)),
            "prior of the clusters is improper",
        ),
        (
            lambda fit, rng: replace(fit.as_draws(2, 100, rng), allocation=Dirichlet(np.array([1.0, 2.0]))),
            "the clusters differ a priori",
        ),
    ],
)
def test_a_bridge_that_would_mean_nothing_is_refused(change, message, rng):
    x, fit, _ = problem("full")
    with pytest.raises(ValueError, match=message):
        bridge(change(fit, rng), x, rng)


def test_a_bridge_that_would_take_too_long_is_refused(rng):
    x = rng.standard_normal((12, 2))
    family, allocation = COVARIANCES["spherical"].from_data(x, 12), Dirichlet.symmetric(12)
    fit = cavi.fit(x, family, allocation, rng=rng, restarts=1)
    with pytest.raises(ValueError, match="between 12 points in 12 clusters"):
        bridge(fit.as_draws(2, 500, rng), x, rng)


@pytest.fixture(scope="module")
def compared():
    """Draws that are too few for a bridge, and enough."""
    x = problem("full", N=10)[0]
    return {
        chains: reports.compare(
            x, 2, rng=np.random.default_rng(0), methods=("em", "cavi", "gibbs"), draws=100, chains=chains, restarts=2
        )
        for chains in (1, 2)
    }


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
def test_a_comparison_has_the_numbers_side_by_side_trusted_ones_first(compared):
    """So few draws fail their checks, and CAVI's weights have a k-hat that is too large: both stand last."""
    results = compared[2].results
    table = evidence_table(View(results))
    assert list(table["target"]) == [
        "exact", "elbo_all_labellings", "elbo_marginal", "elbo", "bic", "bridge", "importance"
    ]  # fmt: skip
    assert list(table["state"]) == ["trusted", "", "", "", "", "failed", "failed"]
    value = dict(zip(table["target"], table["value"], strict=True))
    fits = compared[2].fits
    assert value["exact"] == fits["exact"].info["log_evidence"][-1]
    assert value["bic"] == -fits["em"].info["bic"] / 2
    assert value["elbo"] == fits["cavi"].bound[-1]
    assert value["elbo_all_labellings"] == pytest.approx(value["elbo"] + np.log(2))
    assert value["elbo"] < value["elbo_marginal"] < value["exact"]
    assert abs(value["bridge"] - value["exact"]) < 0.2
    assert results.manifest["evidence"] == {}


@pytest.mark.filterwarnings("ignore::mixtures.ConvergenceWarning")
def test_a_comparison_scales_the_prior_of_its_trusted_reference(compared):
    results = compared[2].results
    found = results.metrics[results.metrics["metric"].str.endswith("_sensitivity")]
    assert set(found["method"]) == {"exact"} == {results.manifest["prior_sensitivity"]["scaled"]}
    assert set(found["target"]) == set(scalars(results.trees["exact"]["posterior"].to_dataset()))
    shown = prior_sensitivity(View(results))
    assert [block.kind for block in shown.blocks] == ["figure", "table", "notice", "table"]
    assert len(shown.blocks[1].rows) == len(found) / 2


def test_a_missing_bridge_is_a_missing_row_with_its_reason(compared):
    results = compared[1].results
    assert "bridge" not in set(results.metrics["target"])
    (notice,) = (block for block in section(View(results)).blocks if block.kind == "notice")
    assert "Gibbs gives no bridge sampling: there are 100 posterior draws; a bridge needs at least 200" in notice.text


@pytest.fixture
def view():
    """Two samplers that passed their checks, one that did not although its error is the smallest, and two bounds."""
    rows = [
        ("sampler", "bridge", -3.0, 0.2),
        ("runs", "smc", -2.0, 0.1),
        ("stuck", "bridge", -9.0, 0.01),
        ("good", "importance", -3.1, 0.01),
        ("poor", "importance", -7.0, 0.001),
        ("good", "elbo", -5.0, np.nan),
        ("poor", "elbo", -6.0, 0.1),
    ]
    metrics = pd.DataFrame(rows, columns=["method", "target", "value", "se"]).assign(metric="log_evidence")
    names = ("sampler", "runs", "stuck", "good", "poor")
    khat = {"good": 0.4, "poor": 0.9}
    entry = {"method": "sampler", "trusted": True}
    return SimpleNamespace(
        trees=names,
        draws=lambda method: 4000,
        methods={name: {"converged": name != "stuck"} for name in names},
        reference="sampler",
        n_clusters=2,
        manifest={"reference": entry, "references": {"sampler": entry}, "evidence": {}},
        table=lambda metric: metrics[metrics["metric"] == metric],
        value=lambda method, metric: khat.get(method, np.nan) if metric == "khat" else np.nan,
        label=str,
    )


def differences(view):
    """The column of differences, by method and number; nothing where the table has none."""
    (table,) = (block for block in section(view).blocks if block.kind == "table")
    if "difference from the best estimate" not in table.columns:
        return {}
    place = table.columns.index("difference from the best estimate")
    return {(row[0].text, row[1].text): row[place].text for row in table.rows}


def test_the_trusted_reference_stands_first_and_what_failed_its_checks_last(view):
    table = evidence_table(view)
    assert list(zip(table["method"], table["state"], strict=True)) == [
        ("sampler", "trusted"),
        ("runs", "trusted"),
        ("good", ""),
        ("good", ""),
        ("poor", ""),
        ("stuck", "failed"),
        ("poor", "failed"),
    ]
    assert list(table["target"])[2:5] == ["importance", "elbo", "elbo"]
    found = differences(view)
    assert found["sampler", "bridge sampling"] == "–"
    assert found["stuck", "bridge sampling"] == "−6.00 ± 0.20"
    assert found["good", "ELBO"] == "−2.00 ± 0.20"


def test_without_a_trusted_estimate_there_are_no_differences(view):
    for name in ("sampler", "runs"):
        view.methods[name]["converged"] = False
    assert differences(view) == {}
    assert set(evidence_table(view)["state"]) == {"", "failed"}


def test_samplers_that_contradict_each_other_are_both_not_trusted(view):
    view.manifest["reference"] = view.manifest["reference"] | {"trusted": False}
    assert differences(view) == {}
    view.manifest["references"]["sampler"] = view.manifest["reference"]  # it failed, and "runs" stands alone
    view.methods["sampler"]["converged"] = False
    table = evidence_table(view)
    assert table["method"][0] == "runs"
    assert differences(view)["good", "ELBO"] == "−3.00 ± 0.10"
