"""Every number of the long table against a case where its value is known."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from mixtures import Dirichlet, Draws, Fit, Gaussian
from mixtures.methods import cavi
from reports.comparison.measure import contested
from reports.comparison.verdict import judge
from reports.metrics import Row, agreement, prediction, quality, recovery, reference


def dataset(values):
    """Draws (chain, draw, 2) as the weights of two clusters."""
    return xr.Dataset({"weights": (("chain", "draw", "cluster"), values)}, coords={"cluster": [0, 1]})


def by_name(rows):
    return {(row.metric, row.target): row for row in rows}


def test_scalars_name_features_and_leave_out_mirror_images():
    covariances = np.arange(2 * 5 * 1 * 2 * 2, dtype=float).reshape(2, 5, 1, 2, 2)
    names = {"cluster": [0], "feature": ["a", "b"], "feature_": ["a", "b"]}
    variables = {
        "weights": (("chain", "draw", "cluster"), np.ones((2, 5, 1))),
        "covariances": (("chain", "draw", "cluster", "feature", "feature_"), covariances),
    }
    found = agreement.scalars(xr.Dataset(variables, coords=names))
    assert list(found) == ["covariances[0, a, a]", "covariances[0, a, b]", "covariances[0, b, b]"]
    np.testing.assert_array_equal(found["covariances[0, a, b]"], covariances[:, :, 0, 0, 1])


def test_agreement_of_normal_posteriors(rng):
    """Against N(0, 1): N(0.3, 1) is shifted by 0.3; N(0, 1/4) covers P(|Z| < 0.98), W1 = E|Z| / 2."""
    truth = rng.standard_normal((4, 5000, 2))
    own = np.stack([rng.standard_normal((4, 5000)) + 0.3, rng.standard_normal((4, 5000)) / 2], axis=-1)
    rows = by_name(agreement.posterior_agreement("cavi", dataset(own), dataset(truth)))
    expected = {
        ("mean_shift", "weights[0]"): 0.3,
        ("mean_shift", "weights[1]"): 0.0,
        ("sd_ratio", "weights[0]"): 1.0,
        ("sd_ratio", "weights[1]"): 0.5,
        ("coverage95", "weights[1]"): 2 * stats.norm.cdf(0.5 * stats.norm.ppf(0.975)) - 1,
    }
    for key, value in expected.items():
        assert abs(rows[key].value - value) < 4.5 * rows[key].se, key
        assert rows[key].se < 0.03
    assert rows["wasserstein", "weights[0]"].value == pytest.approx(0.3, abs=4.5 * np.sqrt(2 / 20_000))
    assert rows["wasserstein", "weights[1]"].value == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.02)
    assert rows["wasserstein_floor", "weights[0]"].value < 0.04
    assert rows["mean_shift", "all"].value == rows["mean_shift", "weights[0]"].value
    assert rows["sd_ratio", "all"].value == rows["sd_ratio", "weights[1]"].value
    assert rows["coverage95", "all"].value == rows["coverage95", "weights[1]"].value


def test_a_point_estimate_has_a_shift_and_nothing_else(rng):
    truth = rng.standard_normal((4, 1000, 2))
    rows = agreement.posterior_agreement("em", dataset(np.array([[[0.5, -2.0]]])), dataset(truth))
    assert {row.metric for row in rows} == {"mean_shift"}
    assert by_name(rows)["mean_shift", "all"].value == pytest.approx(-2.0, abs=0.1)


def one_cluster(x, mean, variance):
    """A point fit of one Gaussian in one dimension."""
    family = Gaussian.from_data(x, 1)
    theta = family.from_data_units({"means": np.array([[[[mean]]]]), "covariances": np.array([[[[[variance]]]]])})
    return Fit("em", "point", family, Dirichlet.symmetric(1), Draws(np.ones((1, 1, 1)), theta), np.empty(0), True, {})


def test_predictive_divergence_of_two_normals(rng):
    """KL(N(0, 1) || N(1, 4)) = log 2 + (1 + 1) / 8 - 1/2."""
    x = rng.standard_normal((20, 1))
    points = rng.standard_normal((20_000, 1))
    log_p, reference = (fit.log_predictive(points) for fit in (one_cluster(x, 1.0, 4.0), one_cluster(x, 0.0, 1.0)))
    row = agreement.predictive_divergence("em", log_p, reference)
    assert abs(row.value - (np.log(2) + 0.25 - 0.5)) < 4.5 * row.se
    assert row.se < 0.01


def test_coclustering_is_the_mean_product_of_responsibilities():
    r = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]])
    expected = np.array([[1.0, 0.25, 0.75], [0.25, 1.0, 0.25], [0.75, 0.25, 1.0]])
    np.testing.assert_allclose(agreement.coclustering(r), expected)
    row = agreement.coclustering_error("em", agreement.coclustering(r), np.eye(3))
    assert row.value == pytest.approx((0.25 + 0.75 + 0.25) / 3)


def test_coclustering_does_not_depend_on_labels(rng):
    r = rng.dirichlet(np.ones(3), (50, 8))
    order = np.array([rng.permutation(3) for _ in range(50)])
    np.testing.assert_allclose(
        agreement.coclustering(np.take_along_axis(r, order[:, None], 2)), agreement.coclustering(r)
    )


def test_occupied_counts_the_clusters_that_hold_points(rng):
    """Two equal clusters on the same spot: with N points each is empty with probability 2^-N."""
    x = rng.standard_normal((4, 1))
    family = Gaussian.from_data(x, 2)
    theta = {"means": np.zeros((1, 1, 2, 1)), "covariances": np.ones((1, 1, 2, 1, 1))}
    posterior = Draws(np.full((1, 1, 2), 0.5), theta)
    fit = Fit("em", "point", family, Dirichlet.symmetric(2), posterior, np.empty(0), True, {})
    assert agreement.occupied("em", fit, x).value == pytest.approx(2 * (1 - 2.0**-4))
    sure = Draws(np.array([[[1.0, 0.0]]]), theta)
    fit = Fit("em", "point", family, Dirichlet.symmetric(2), sure, np.empty(0), True, {})
    assert agreement.occupied("em", fit, x).value == pytest.approx(1)


def test_a_closed_form_occupies_by_its_own_labels(rng):
    """Well-separated pairs of points: q(z) puts at least one in each of two clusters."""
    x = np.concatenate([rng.standard_normal((10, 1)), 50 + rng.standard_normal((10, 1))])
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    r = fit.responsibilities(x)
    expected = (1 - np.prod(1 - r, axis=0)).sum()
    assert agreement.occupied("cavi", fit, x).value == pytest.approx(expected)


def test_recovery_of_a_perfect_clustering_under_other_names():
    labels = np.array(["b", "a", "a", "c", "b"])
    r = np.eye(3)[[2, 0, 0, 1, 2]]
    rows = by_name(recovery.recovery("em", r, labels))
    for metric, value in {
        "ari": 1,
        "ami": 1,
        "accuracy": 1,
        "brier": 0,
        "log_score": 0,
        "calibration_error": 0,
    }.items():
        assert rows[metric, "data"].value == pytest.approx(value)


def test_recovery_scores_by_hand():
    """Three points, the last given to the wrong cluster with probability 0.9."""
    labels = np.array([0, 1, 1])
    r = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    rows = by_name(recovery.recovery("em", r, labels))
    assert rows["accuracy", "data"].value == pytest.approx(2 / 3)
    assert rows["brier", "data"].value == pytest.approx((2 * 0.2**2 + 2 * 0.4**2 + 2 * 0.9**2) / 3)
    assert rows["log_score", "data"].value == pytest.approx(np.log([0.8, 0.6, 0.1]).mean())
    assert rows["calibration_error", "data"].value == pytest.approx((0.2 + 0.4 + 0.9) / 3)


@pytest.mark.parametrize("K", [2, 4])
def test_probability_scores_need_as_many_clusters_as_classes(K, rng):
    labels = np.repeat([0, 1, 2], 10)
    rows = by_name(recovery.recovery("em", np.eye(K)[np.minimum(labels, K - 1)], labels))
    assert {metric for metric, _ in rows} == {"ari", "ami", "accuracy"}
    assert rows["accuracy", "data"].value == pytest.approx(2 / 3 if K == 2 else 1)


def test_log_densities_and_their_paired_difference():
    a, b = np.array([-1.0, -2.0, -4.0]), np.array([-1.5, -2.5, -4.0])
    row = prediction.log_density("em", "train_log_density", a)
    assert (row.value, row.se) == pytest.approx((-7 / 3, np.std(a, ddof=1) / np.sqrt(3)))
    row = prediction.paired_difference("em", "nuts", "train_log_difference", a, b)
    assert (row.value, row.se) == pytest.approx((1 / 3, np.std([0.5, 0.5, 0.0], ddof=1) / np.sqrt(3)))


def one_gaussian(rng):
    x = rng.standard_normal((40, 2))
    family, allocation = Gaussian.from_data(x, 1), Dirichlet.symmetric(1)
    return x, cavi.fit(x, family, allocation, rng=rng)


def test_importance_ratios_of_the_exact_posterior_are_the_evidence(rng):
    x, fit = one_gaussian(rng)
    ratios = quality.log_ratios(fit, fit.as_draws(1, 50, rng), x)
    np.testing.assert_allclose(ratios, fit.bound[-1], rtol=1e-9)
    assert ratios.std() < 1e-3
    assert np.isnan(quality.khat("cavi", ratios).value)


@pytest.mark.parametrize(("width", "expected"), [(2.0, 0.75), (1.5, 1 - 1 / 1.5**2)])
def test_khat_of_a_normal_that_is_too_narrow(width, expected, rng):
    """q = N(0, 1) for p = N(0, w^2): the weights exp(x^2 (1 - 1/w^2) / 2) have a Pareto tail with k = 1 - 1/w^2."""
    x = rng.standard_normal((20, 4000))
    ratios = stats.norm(0, width).logpdf(x) - stats.norm.logpdf(x)
    khats = [quality.khat("cavi", each).value for each in ratios]
    assert abs(np.mean(khats) - expected) < 0.1


def test_khat_of_a_normal_that_is_too_wide_is_small(rng):
    x = 2 * rng.standard_normal(4000)
    assert quality.khat("cavi", stats.norm.logpdf(x) - stats.norm(0, 2).logpdf(x)).value < 0.2


def test_mean_importance_ratio_exceeds_the_bound_with_labels(rng):
    """Summing the labels out can only tighten the bound."""
    x = rng.standard_normal((60, 1)) + 6 * rng.integers(2, size=(60, 1))
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    ratios = quality.log_ratios(fit, fit.as_draws(4, 2000, rng), x)
    error = ratios.std() / np.sqrt(len(ratios))
    assert ratios.mean() > fit.bound[-1] - 4.5 * error
    assert ratios.mean() < fit.bound[-1] + 1


def test_leave_one_out_agrees_with_the_closed_form(rng):
    """One Gaussian: p(x_n | x_-n) = p(x) / p(x_-n), and each feature's x_n | x_-n is Student-t (PRML 10.81)."""
    x, fit = one_gaussian(rng)
    family = fit.family
    s = np.sum(family.features(x), axis=0, keepdims=True)
    exact = sum(family.log_marginal(s) - family.log_marginal(s - family.features(x[[n]])) for n in range(len(x)))
    drawn = fit.as_draws(1, 4000, rng)
    values = drawn.log_likelihood(x)
    tree = drawn.draws(4000, rng)
    names = {"feature": ["a", "b"]}
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"x": (("chain", "draw", "obs"), values.reshape(1, 4000, -1))}))
    tree["observed_data"] = xr.DataTree(xr.Dataset({"x": (("obs", "feature"), x)}, coords=names))
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().assign_coords(names | {"feature_": ["a", "b"]}))
    rows, pointwise = prediction.leave_one_out("cavi", tree)
    rows = by_name(rows)
    monte_carlo = np.sqrt(
        (np.exp(-values).reshape(4000, -1).var(0) / np.exp(-values).reshape(4000, -1).mean(0) ** 2).sum() / 4000
    )
    assert abs(rows["elpd_loo", "data"].value - float(exact)) < 4.5 * monte_carlo
    assert rows["loo_khat_bad", "data"].value == 0
    assert float(pointwise["elpd"].sum()) == pytest.approx(rows["elpd_loo", "data"].value)
    for n in range(len(x)):
        q = family.posterior(s - family.features(x[[n]]))
        dof = q.nu[0] - 1
        scale = np.sqrt(np.diagonal(q.W_inv[0]) * (1 + q.beta[0]) / (dof * q.beta[0]))
        exact_pit = stats.t(dof, q.m[0], scale).cdf(family.coordinates(x[n]))
        # A distribution function varies by less than 0.12 over these draws: 4.5 standard errors of 4000 draws.
        np.testing.assert_allclose(pointwise["pit"][n], exact_pit, atol=4.5 * 0.12 / np.sqrt(4000))


def normal_draws(rng, shift=0.0):
    values = rng.standard_normal((4, 1000))
    values[0] += shift
    return {"a": values, "b": rng.standard_normal((4, 1000))}


GOOD_STATS = {"energy": np.random.default_rng(0).standard_normal((4, 1000)), "diverging": np.zeros((4, 1000), bool)}


def test_independent_draws_pass_as_reference(rng):
    rows = reference.diagnose("nuts", normal_draws(rng), GOOD_STATS)
    checks = reference.checks(rows, 4, GOOD_STATS)
    assert len(checks) == 5
    assert all(check["passed"] for check in checks)
    ess = by_name(rows)["ess_min", "all"].value
    assert 3000 < ess < 5000


@pytest.mark.parametrize(
    ("values", "stats_", "failing"),
    [
        (lambda rng: normal_draws(rng, shift=2.0), GOOD_STATS, "largest R-hat"),
        (
            lambda rng: {k: np.repeat(v[:, :20], 50, axis=1) for k, v in normal_draws(rng).items()},
            GOOD_STATS,
            "smallest bulk ESS",
        ),
        (normal_draws, GOOD_STATS | {"diverging": np.eye(4, 1000, dtype=bool)}, "divergent transitions"),
        (normal_draws, GOOD_STATS | {"energy": np.cumsum(GOOD_STATS["energy"], axis=1)}, "smallest E-BFMI"),
        (normal_draws, {"energy": GOOD_STATS["energy"]}, "divergent transitions"),
        (normal_draws, {"diverging": GOOD_STATS["diverging"]}, "smallest E-BFMI"),
    ],
)
def test_bad_draws_fail_the_check_that_is_meant_for_them(values, stats_, failing, rng):
    checks = reference.checks(reference.diagnose("nuts", values(rng), stats_), 4, stats_)
    assert failing in {check["name"] for check in checks if not check["passed"]}


@pytest.mark.parametrize(("rhat", "failed"), [(1.001, set()), (1.02, {"largest R-hat without labels"})])
def test_what_is_asked_of_a_sampler_without_gradients(rhat, failed, rng):
    rows = [*reference.diagnose("gibbs", normal_draws(rng), {}), Row("gibbs", "rhat_unlabelled", "all", rhat)]
    checks = reference.checks(rows, 4, {"lp": np.zeros((4, 1000))})
    assert [check["value"] for check in checks if check["name"] == "largest R-hat without labels"] == [rhat]
    assert {check["name"] for check in checks if not check["passed"]} == failed
    assert {"divergent transitions", "smallest E-BFMI"}.isdisjoint(check["name"] for check in checks)


TRUSTED = {"method": "nuts", "trusted": True, "reason": "is the reference and passed its checks"}
GOOD = {
    ("mean_shift", "all"): -0.1,
    ("sd_ratio", "all"): 0.95,
    ("coverage95", "all"): 0.94,
    ("coclustering_error", "data"): 0.001,
    ("predictive_kl", "data"): 0.001,
    ("khat", "all"): 0.2,
}


@pytest.mark.parametrize(
    ("change", "claim", "because"),
    [
        ({("mean_shift", "all"): -0.8}, "means", "−0.8 sd"),
        ({("sd_ratio", "all"): 0.6}, "intervals", "sd ratio 0.6"),
        ({("sd_ratio", "all"): 1.5}, "intervals", "sd ratio 1.5"),
        ({("coverage95", "all"): 0.7}, "intervals", "covers 70%"),
        ({("coclustering_error", "data"): 0.2}, "clusters", "0.2"),
        ({("predictive_kl", "data"): 0.05}, "density", "0.05 nats"),
    ],
)
def test_verdict_names_the_check_that_failed(change, claim, because):
    good = judge(GOOD, "cavi", "variational", True, TRUSTED)
    assert all(said["fit"] is True for said in good.values())
    bad = judge(GOOD | change, "cavi", "variational", True, TRUSTED)
    assert bad[claim]["fit"] is False
    assert because in bad[claim]["because"]
    assert [c for c in bad if bad[c]["fit"] is False] == [claim]


def test_a_large_khat_is_named_where_the_reference_confirms_the_intervals():
    said = judge(GOOD | {("khat", "all"): 0.9}, "cavi", "variational", True, TRUSTED)["intervals"]
    assert said["fit"] is True
    assert "k-hat is 0.9" in said["because"]


def test_verdict_is_lowered_where_the_reference_cannot_be_trusted():
    untrusted = {"method": "nuts", "trusted": False, "reason": "failed its checks"}
    said = judge(GOOD, "cavi", "variational", True, untrusted)
    assert {s["fit"] for s in said.values()} == {None}
    assert said["means"]["because"].startswith("no trusted reference")
    assert {s["fit"] for s in judge(GOOD, "nuts", "mcmc", True, untrusted).values()} == {False}
    none = {"method": None, "trusted": False, "reason": "no MCMC draws"}
    assert {s["fit"] for s in judge({}, "cavi", "variational", True, none).values()} == {None}


def test_what_was_not_measured_is_not_judged():
    said = judge({}, "cavi", "variational", True, TRUSTED)
    assert {s["fit"] for s in said.values()} == {None}


def test_verdict_on_a_point_estimate_and_on_no_convergence():
    point = judge(GOOD, "em", "point", True, TRUSTED)
    assert point["intervals"] == {"fit": False, "because": "a point estimate has no intervals"}
    assert point["means"]["fit"] is True
    lost = judge(GOOD, "advi", "variational", False, TRUSTED)
    assert {s["because"] for s in lost.values()} == {"the optimiser did not converge"}


CHECKED = TRUSTED | {"checks": [{"name": "largest R-hat", "value": 1.0, "limit": "< 1.01", "passed": True}]}


@pytest.mark.parametrize(
    ("shift", "passed", "trusted"), [(0.1, True, True), (-2.0, True, False), (-2.0, False, True)], ids=str
)
def test_two_references_that_passed_must_agree(shift, passed, trusted):
    judged = {"nuts": CHECKED, "gibbs": CHECKED | {"method": "gibbs", "trusted": passed}}
    found = contested(CHECKED, judged, {"nuts": {}, "gibbs": {("mean_shift", "all"): shift}})
    assert (found["method"], found["trusted"]) == ("nuts", trusted)
    assert ("Gibbs, hand-written, which says otherwise (worst mean shift −2 sd" in found["reason"]) == (not trusted)


def test_an_exact_reference_is_not_contested():
    exact = {"method": "exact", "trusted": True, "reason": "", "checks": []}
    judged = {"exact": exact, "gibbs": CHECKED | {"method": "gibbs"}}
    assert contested(exact, judged, {"exact": {}, "gibbs": {("mean_shift", "all"): 3.0}}) == exact
