"""Every number of the long table against a case where its value is known."""

import numpy as np
import pytest
import xarray as xr
from scipy import signal, stats
from scipy.special import logit

from mixtures import Dirichlet, Draws, Fit, Gaussian, datasets
from mixtures.labels import align, sort_by_mean
from mixtures.methods import cavi, exact, gibbs
from reports.comparison.references import contested
from reports.comparison.verdict import CLAIMS, LIMITS, judge, of_reference
from reports.metrics import Row, agreement, label_free, parameters, prediction, quality, recovery, reference


def dataset(values):
    """Draws (chain, draw, 2) as the means of two clusters in one feature."""
    variables = {"means": (("chain", "draw", "cluster", "feature"), values[..., None])}
    return xr.Dataset(variables, coords={"cluster": [0, 1], "feature": ["a"]})


def by_name(rows):
    return {(row.metric, row.target): row for row in rows}


def agreement_of(method, own, truth):
    return agreement.posterior_agreement(method, dataset(own), dataset(truth), independent=True)


def wishart_draws(rng, K=2):
    """Two chains of five draws of weights and covariance matrices of K clusters in two features."""
    root = rng.standard_normal((2, 5, K, 2, 2))
    variables = {
        "weights": (("chain", "draw", "cluster"), rng.dirichlet(np.ones(K), (2, 5))),
        "covariances": (("chain", "draw", "cluster", "feature", "feature_"), root @ root.mT + np.eye(2)),
    }
    names = {"cluster": range(K), "feature": ["a", "b"], "feature_": ["a", "b"]}
    return xr.Dataset(variables, coords=names)


def test_scalars_name_features_leave_out_mirror_images_and_have_moments(rng):
    posterior = wishart_draws(rng)
    names = [
        "weights[0]",
        *(f"variances[{k}, {f}]" for k in (0, 1) for f in "ab"),
        *(f"correlations[{k}, a, b]" for k in (0, 1)),
    ]
    natural, found = parameters.natural(posterior), parameters.scalars(posterior)
    assert list(natural) == list(found) == names
    covariances = posterior["covariances"].values
    np.testing.assert_array_equal(natural["variances[1, b]"], covariances[:, :, 1, 1, 1])
    r = covariances[:, :, 0, 0, 1] / np.sqrt(covariances[:, :, 0, 0, 0] * covariances[:, :, 0, 1, 1])
    np.testing.assert_allclose(found["correlations[0, a, b]"], np.arctanh(r))
    np.testing.assert_allclose(found["variances[1, b]"], np.log(covariances[:, :, 1, 1, 1]))
    np.testing.assert_allclose(found["weights[0]"], logit(posterior["weights"].values[:, :, 0]))
    assert [parameters.kind(name).block for name in names] == ["weights", *["spreads"] * 6]
    assert parameters.kind("means[0, a[1]]").block == "locations"


def test_a_weight_near_one_is_compared_as_its_mirror_image_near_zero(rng):
    """Log odds of 1 - 1e-20, which is 1 as a float, differ from its mirror image's by the sign alone."""
    posterior = wishart_draws(rng)
    small = np.exp(rng.uniform(-50, -1, posterior["weights"].shape[:2]))
    pair = np.stack([1 - small, small], axis=-1)
    assert (pair[..., 0] == 1).any()
    one, other = (
        parameters.scalars(posterior.assign(weights=(posterior["weights"].dims, w)))["weights[0]"]
        for w in (pair, pair[..., ::-1])
    )
    np.testing.assert_allclose(one, -other, rtol=1e-12)
    np.testing.assert_allclose(other, np.log(small) - np.log1p(-small), rtol=1e-9)
    assert np.isfinite(parameters.scaled("weights[0]", pair[..., 0])).all()


@pytest.mark.parametrize(("K", "number"), [(1, 0), (2, 1), (3, 3)])
def test_one_weight_is_none_and_the_second_of_two_a_mirror_image(K, number, rng):
    assert sum(name.startswith("weights") for name in parameters.natural(wishart_draws(rng, K))) == number


def test_matrices_that_clusters_share_are_counted_once(rng):
    posterior = wishart_draws(rng)
    posterior["covariances"][:, :, 1] = posterior["covariances"][:, :, 0]
    assert list(parameters.natural(posterior))[1:] == ["variances[0, a]", "variances[0, b]", "correlations[0, a, b]"]


def test_agreement_of_normal_posteriors(rng):
    """Against N(0, 1): N(0.3, 1) is shifted by 0.3; N(0, 1/4) covers P(|Z| < 0.98), W1 = E|Z| / 2."""
    truth = rng.standard_normal((4, 5000, 2))
    own = np.stack([rng.standard_normal((4, 5000)) + 0.3, rng.standard_normal((4, 5000)) / 2], axis=-1)
    rows = by_name(agreement_of("cavi", own, truth))
    first, second = "means[0, a]", "means[1, a]"
    expected = {
        ("median_shift", first): 0.3,
        ("median_shift", second): 0.0,
        ("width_ratio", first): 1.0,
        ("width_ratio", second): 0.5,
        ("coverage95", second): 2 * stats.norm.cdf(0.5 * stats.norm.ppf(0.975)) - 1,
    }
    for key, value in expected.items():
        assert abs(rows[key].value - value) < 4.5 * rows[key].se, key
        assert rows[key].se < 0.03
    assert rows["wasserstein", first].value == pytest.approx(0.3, abs=4.5 * np.sqrt(2 / 20_000))
    assert rows["wasserstein", second].value == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.02)
    assert rows["wasserstein_floor", first].value < 0.04
    for metric, target in {"median_shift": first, "width_ratio": second, "coverage95": second}.items():
        assert rows[metric, "locations"] == rows[metric, target]._replace(target="locations")
    assert not any(target in ("weights", "spreads", "all") for _, target in rows)


def test_one_draw_that_went_astray_moves_nothing(rng):
    truth, own = rng.standard_normal((2, 4, 1000, 2))
    own[0, 0] = 1e6
    rows = by_name(agreement_of("nuts", own, truth))
    for k in (0, 1):
        assert abs(rows["median_shift", f"means[{k}, a]"].value) < 0.2
        assert abs(np.log(rows["width_ratio", f"means[{k}, a]"].value)) < 0.1


@pytest.mark.parametrize("autocorrelation", [0.0, 0.9])
def test_standard_errors_are_the_spread_over_replications(autocorrelation, rng):
    """Independent draws, or four chains of an autoregression, against independent draws, a hundred times."""
    found = []
    for _ in range(100):
        noise = rng.standard_normal((4, 600)) * np.sqrt(1 - autocorrelation**2)
        own = agreement.Marginal(signal.lfilter([1], [1, -autocorrelation], noise)[:, 100:], autocorrelation == 0)
        truth = agreement.Marginal(rng.standard_normal((4, 500)), True)
        rows = agreement.marginal_agreement("x", {"means[0, a]": own}, {"means[0, a]": truth})
        found.append({row.metric: row for row in rows if row.target == "means[0, a]"})
    for metric in ("median_shift", "width_ratio", "coverage95"):
        spread, error = np.std([f[metric].value for f in found]), np.mean([f[metric].se for f in found])
        # The sd of a hundred values is known to 7%; the errors of both ends of an interval are taken as independent.
        assert 0.68 < spread / error < 1.3, metric


def test_a_correct_sampler_of_a_heavy_tail_agrees(rng):
    """The variance of a cluster without points, inverse gamma of shape 1: it has no mean, and its sample sds mean nothing."""

    def draws():
        spread = 1 / rng.gamma(1.0, size=(4, 1000, 1, 1, 1))
        variables = {"covariances": (("chain", "draw", "cluster", "feature", "feature_"), spread)}
        return xr.Dataset(variables, coords={"cluster": [0], "feature": ["a"], "feature_": ["a"]})

    for _ in range(10):
        rows = agreement.posterior_agreement("gibbs", draws(), draws(), independent=True)
        assert judge(rows, "exact", claims=["spreads"])["spreads"]["state"] == "agrees"


def test_gibbs_sampling_is_not_failed_for_the_tails_of_a_nearly_empty_cluster():
    """Fourteen eruptions against the exact posterior: sds of variances differ by half and more, and nothing differs."""
    x = datasets.load("faithful").x[:14]
    model, rng = (Gaussian.from_data(x, 2), Dirichlet.symmetric(2)), np.random.default_rng(13)
    pivot = sort_by_mean(cavi.fit(x, *model, rng=rng), x)
    fits = gibbs.fit(x, *model, rng=rng, draws=500), exact.fit(x, *model, rng=rng).as_draws(4, 500, rng)
    aligned = [align(fit, pivot, x).fit for fit in fits]
    posteriors = [fit.draws(2000, rng)["posterior"].to_dataset() for fit in aligned]
    rows = agreement.posterior_agreement("gibbs", *posteriors, independent=False)
    rows += label_free.coclustering_error("gibbs", *(label_free.together(fit, x) for fit in aligned))
    assert "differs" not in {said["state"] for said in judge(rows, "mcmc", claims=CLAIMS[:4]).values()}
    spreads = [{name: v.std() for name, v in parameters.natural(p).items() if "variances" in name} for p in posteriors]
    assert max(abs(np.log(spreads[0][name] / spreads[1][name])) for name in spreads[0]) > np.log(1.5)


def test_a_point_estimate_has_a_shift_and_nothing_else(rng):
    truth = rng.standard_normal((4, 1000, 2))
    rows = agreement_of("em", np.array([[[0.5, -2.0]]]), truth)
    assert {row.metric for row in rows} == {"median_shift"}
    assert by_name(rows)["median_shift", "locations"].value == pytest.approx(-2.0, abs=0.1)


def one_cluster(x, mean, variance):
    """A point fit of one Gaussian in one dimension."""
    family = Gaussian.from_data(x, 1)
    theta = family.from_data_units({"means": np.array([[[[mean]]]]), "covariances": np.array([[[[[variance]]]]])})
    return Fit("em", "point", family, Dirichlet.symmetric(1), Draws(np.ones((1, 1, 1)), theta), np.empty(0), True, {})


def test_total_variation_of_two_normals(rng):
    """That of N(0, 1) and N(1, 1) is 2 Phi(1/2) - 1; that of a density and itself is zero."""
    x = rng.standard_normal((20, 1))
    fits = one_cluster(x, 1.0, 1.0), one_cluster(x, 0.0, 1.0)
    points = [rng.standard_normal((20_000, 1)) + shift for shift in (1.0, 0.0)]
    own, reference = ([label_free.density(fit, those) for those in points] for fit in fits)
    rows = label_free.predictive_tv("em", own, reference)
    assert [row.metric for row in rows] == ["predictive_tv"]  # exact densities have no noise
    assert abs(rows[0].value - (2 * stats.norm.cdf(0.5) - 1)) < 4.5 * rows[0].se
    assert rows[0].se < 0.005
    assert label_free.predictive_tv("em", own, own)[0].value == 0
    once = label_free.predictive_tv("em", own[:1], reference[:1])[0]
    twice = label_free.predictive_tv("em", own[:1] * 2, reference[:1] * 2)[
        0
    ]  # the same points on both sides say no more
    assert twice.se == once.se


def test_total_variation_of_equal_posteriors_is_their_noise(rng):
    """Two sets of 200 draws of one posterior: apart by no more than what their halves say of their noise."""
    x = rng.standard_normal((20, 1))
    family = Gaussian.from_data(x, 1)
    fit = cavi.fit(x, family, Dirichlet.symmetric(1), rng=rng)
    own, truth = (fit.as_draws(2, 100, rng) for _ in range(2))
    points = [drawn.sample(400, rng)[0] for drawn in (own, truth)]
    sides = [[label_free.density(drawn, those) for those in points] for drawn in (own, truth)]
    row, floor = label_free.predictive_tv("gibbs", *sides)
    assert floor.metric == "predictive_tv_floor"
    assert 0 < row.value < 3 * row.se
    assert row.se < 0.05


def test_coclustering_is_the_mean_product_of_responsibilities():
    r = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]])
    expected = np.array([[1.0, 0.25, 0.75], [0.25, 1.0, 0.25], [0.75, 0.25, 1.0]])
    np.testing.assert_allclose(label_free.coclustering(r), expected)
    own, truth = label_free.Together(label_free.coclustering(r), 0.03), label_free.Together(np.eye(3), 0.04)
    error, floor = label_free.coclustering_error("em", own, truth)
    assert error.value == pytest.approx((0.25 + 0.75 + 0.25) / 3)
    assert (error.se, floor.value) == pytest.approx((0.025, 0.04))


def test_coclustering_is_averaged_over_draws_and_its_noise_told_by_halves(rng):
    x = np.concatenate([rng.standard_normal((10, 1)), 2 + rng.standard_normal((10, 1))])
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    drawn, other = (fit.as_draws(3, 200, rng) for _ in range(2))
    found, again = (label_free.together(one, x) for one in (drawn, other))
    np.testing.assert_allclose(found.matrix, label_free.coclustering(label_free.per_draw(drawn, x)))
    error, _ = label_free.coclustering_error("cavi", found, again)
    assert 0 < error.value < 3 * error.se
    assert label_free.together(one_cluster(x, 0.0, 1.0), x).noise == 0


def test_coclustering_does_not_depend_on_labels(rng):
    r = rng.dirichlet(np.ones(3), (50, 8))
    order = np.array([rng.permutation(3) for _ in range(50)])
    np.testing.assert_allclose(
        label_free.coclustering(np.take_along_axis(r, order[:, None], 2)), label_free.coclustering(r)
    )


def test_occupied_counts_the_clusters_that_hold_points(rng):
    """Two equal clusters on the same spot: with N points each is empty with probability 2^-N."""
    x = rng.standard_normal((4, 1))
    family = Gaussian.from_data(x, 2)
    theta = {"means": np.zeros((1, 1, 2, 1)), "covariances": np.ones((1, 1, 2, 1, 1))}
    posterior = Draws(np.full((1, 1, 2), 0.5), theta)
    fit = Fit("em", "point", family, Dirichlet.symmetric(2), posterior, np.empty(0), True, {})
    assert label_free.occupied("em", fit, x).value == pytest.approx(2 * (1 - 2.0**-4))
    sure = Draws(np.array([[[1.0, 0.0]]]), theta)
    fit = Fit("em", "point", family, Dirichlet.symmetric(2), sure, np.empty(0), True, {})
    assert label_free.occupied("em", fit, x).value == pytest.approx(1)


def test_a_closed_form_occupies_by_its_own_labels_too(rng):
    """Well-separated pairs of points: q(z) puts at least one in each of two clusters."""
    x = np.concatenate([rng.standard_normal((10, 1)), 50 + rng.standard_normal((10, 1))])
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    r = fit.responsibilities(x)
    expected = (1 - np.prod(1 - r, axis=0)).sum()
    assert label_free.occupied_by_labels("cavi", r).value == pytest.approx(expected)


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


def test_a_right_class_of_no_probability_scores_minus_infinity():
    score = by_name(recovery.recovery("em", np.array([[1.0, 0.0], [0.2, 0.8], [0.0, 1.0]]), np.array([0, 1, 0])))
    assert score["log_score", "data"].value == -np.inf
    assert np.isnan(score["log_score", "data"].se)


def test_recovery_leaves_out_points_whose_class_is_not_known():
    labels = np.array(["a", "", "b", "b", ""])
    r = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]])
    known = [0, 2, 3]
    assert recovery.recovery("em", r, labels) == recovery.recovery("em", r[known], labels[known])
    assert recovery.recovery("em", r, np.full(5, "")) == []


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
    rows, pointwise = prediction.leave_one_out("cavi", tree, family, rng)
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
        W_inv = family.expand_matrix(q.W_inv[0])
        scale = np.sqrt(np.diagonal(W_inv) * (1 + q.beta[0]) / (dof * q.beta[0]))
        exact_pit = stats.t(dof, family.points(q.m[0]), scale).cdf(x[n])
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


def test_energies_are_judged_chain_by_chain_and_trees_by_the_share_cut_off(rng):
    """E-BFMI of independent energies is 2, that of a random walk near 0."""
    energy = GOOD_STATS["energy"].copy()
    energy[2] = energy[2].cumsum()
    stats_ = {"energy": energy, "reached_max_treedepth": np.arange(4000).reshape(4, 1000) < 30}
    found = by_name(reference.diagnose("nuts", normal_draws(rng), stats_))
    by_chain = [found["ebfmi", f"chain {c}"].value for c in range(4)]
    assert np.all(np.abs(np.delete(by_chain, 2) - 2) < 0.3)
    assert found["ebfmi_min", "all"].value == by_chain[2] < 0.1
    assert found["tree_depth_saturated", "all"].value == 30 / 4000


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


TRUSTED = {"method": "nuts", "trusted": True, "reason": "passed its checks"}
GOOD = [
    Row("cavi", "median_shift", "weights[0]", 0.05, 0.02),
    *(Row("cavi", "median_shift", f"means[{k}, a]", -0.1, 0.02) for k in range(3)),
    *(Row("cavi", "width_ratio", target, 0.95, 0.02) for target in ("weights[0]", "means[0, a]", "variances[0, a]")),
    *(Row("cavi", "coverage95", target, 0.94, 0.005) for target in ("weights[0]", "means[0, a]", "variances[0, a]")),
    Row("cavi", "coclustering_error", "data", 0.001, 0.001),
    Row("cavi", "predictive_tv", "data", 0.01, 0.002),
    Row("cavi", "khat", "all", 0.9),
]


def changed(metric, target, value, se=0.01):
    kept = [row for row in GOOD if (row.metric, row.target) != (metric, target)]
    return [*kept, Row("cavi", metric, target, value, se)]


@pytest.mark.parametrize(
    ("change", "claim", "because"),
    [
        (
            ("median_shift", "means[1, a]", -0.8),
            "locations",
            "median shift of means[1, a] −0.800 ± 0.010, limits −0.5 to 0.5",
        ),
        (("width_ratio", "weights[0]", 0.6), "weights", "width ratio of weights[0] 0.600 ± 0.010, limits 0.8 to 1.25"),
        (("width_ratio", "variances[0, a]", 1.5), "spreads", "width ratio of variances[0, a] 1.500"),
        (("coverage95", "means[0, a]", 0.7), "locations", "95% coverage of means[0, a] 0.700 ± 0.010, limit 0.9"),
        (("coclustering_error", "data", 0.2), "clusters", "co-clustering difference 0.200 ± 0.010, limit 0.02"),
        (("predictive_tv", "data", 0.1), "density", "total variation 0.100 ± 0.010, limit 0.05"),
    ],
)
def test_verdict_names_the_check_that_decided(change, claim, because):
    good = judge(GOOD, "variational", reference=TRUSTED)
    assert list(good) == list(CLAIMS)
    assert {said["state"] for said in good.values()} == {"agrees"}
    bad = judge(changed(*change), "variational", reference=TRUSTED)
    assert because in bad[claim]["because"]
    assert [c for c in bad if bad[c]["state"] == "differs"] == [claim]
    first = bad[claim]["checks"][0]
    assert (first["quantity"], first["target"], first["value"], first["state"]) == (*change[:3], "differs")
    assert {check["state"] for check in bad[claim]["checks"][1:]} <= {"agrees"}


def test_every_check_of_a_claim_has_its_limits():
    checks = judge(GOOD, "variational")["locations"]["checks"]
    by_quantity = {check["quantity"]: (check["low"], check["high"]) for check in checks}
    assert by_quantity == {metric: LIMITS[metric][:2] for metric in ("median_shift", "width_ratio", "coverage95")}
    assert all(limit.why for limit in LIMITS.values())


def test_one_cannot_tell_with_too_large_an_error():
    """A width of 0.6 with an error of 0.15 may be 0.8, one of 1 with that error too."""
    for value in (0.6, 1.0):
        said = judge(changed("width_ratio", "weights[0]", value, 0.15), "mcmc")["weights"]
        assert said["state"] == "cannot tell"
        assert f"width ratio of weights[0] {value:.2f}" in said["because"]
    assert judge(changed("width_ratio", "weights[0]", 1.0, np.nan), "mcmc")["weights"]["state"] == "cannot tell"


@pytest.mark.parametrize(
    ("ratio", "se", "state"), [(0.5, 0.09, "cannot tell"), (0.5, 0.07, "differs"), (0.9, 0.06, "agrees")]
)
def test_a_width_ratio_and_its_inverse_are_judged_alike(ratio, se, state):
    for value, error in ((ratio, se), (1 / ratio, se / ratio**2)):
        assert judge(changed("width_ratio", "weights[0]", value, error), "mcmc")["weights"]["state"] == state


def test_the_worst_of_many_is_the_worst_of_many():
    """2.8 standard errors beyond a limit speak against one parameter, and not against one of 225."""
    beyond = Row("nuts", "median_shift", "means[0, a]", 0.5 + 2.8 * 0.1, 0.1)
    others = [Row("nuts", "median_shift", f"means[{k}, b]", 0.0, 0.1) for k in range(224)]
    assert judge([beyond], "mcmc")["locations"]["state"] == "differs"
    assert judge([beyond, *others], "mcmc")["locations"]["state"] == "cannot tell"


def test_many_equal_parameters_do_not_differ_and_few_draws_cannot_tell(rng):
    """225 parameters of one distribution, a thousand draws on each side; with a hundred nobody can tell."""

    def draws(n, scale=1.0):
        variables = {"means": (("chain", "draw", "cluster", "feature"), scale * rng.standard_t(5, (4, n // 4, 5, 45)))}
        return xr.Dataset(variables, coords={"cluster": range(5), "feature": range(45)})

    def state(own, truth):
        rows = agreement.posterior_agreement("x", own, truth, independent=True)
        return judge(rows, "exact", claims=["locations"])["locations"]["state"]

    assert state(draws(4000), draws(4000)) == "agrees"
    assert state(draws(100), draws(4000)) == "cannot tell"
    assert state(draws(4000, 0.5), draws(4000)) == "differs"
    assert state(draws(400, 0.5), draws(400)) == "differs"


def test_verdict_is_lowered_where_the_reference_cannot_be_trusted():
    untrusted = {"method": "nuts", "trusted": False, "reason": "failed its checks"}
    said = judge(changed("coclustering_error", "data", 0.2), "variational", reference=untrusted)
    assert {s["state"] for s in said.values()} == {"cannot tell"}
    assert said["clusters"]["because"] == "no trusted reference; co-clustering difference 0.200 ± 0.010, limit 0.02"
    assert {s["state"] for s in of_reference(untrusted).values()} == {"cannot tell"}
    assert of_reference(TRUSTED)["weights"] == {"state": "reference", "because": "passed its checks", "checks": []}
    none = {"method": None, "trusted": False, "reason": "no MCMC draws"}
    said = judge([], "variational", reference=none)
    assert {(s["state"], s["because"]) for s in said.values()} == {
        ("cannot tell", "no trusted reference; no MCMC draws")
    }


def test_what_was_not_measured_is_not_judged():
    said = judge([], "variational", reference=TRUSTED)
    assert {(s["state"], s["because"]) for s in said.values()} == {("cannot tell", "not measured")}
    assert list(judge(GOOD, "variational", claims=["locations", "density"])) == ["locations", "density"]


def test_verdict_on_a_point_estimate():
    rows = [row for row in GOOD if row.metric not in ("width_ratio", "coverage95")]
    said = judge(rows, "point")["locations"]
    assert said["state"] == "agrees"
    assert said["because"].endswith("a point estimate has no intervals")
    assert [check["quantity"] for check in said["checks"]] == ["median_shift"]


def test_a_method_that_cannot_be_relied_on_agrees_with_nothing_and_may_differ():
    rows = [*changed("width_ratio", "variances[0, a]", 0.5), Row("cavi", "width_ratio", "means[1, a]", 1.0, 0.3)]
    said = judge(rows, "mcmc", reference=TRUSTED, caveat="the sampler failed its checks (largest R-hat 1.02)")
    assert said["spreads"]["state"] == "differs"
    assert said["spreads"]["because"].startswith("width ratio")
    for claim in ("weights", "locations"):  # one would agree, of the other one cannot tell
        assert said[claim]["state"] == "cannot tell"
        assert said[claim]["because"].startswith("the sampler failed its checks (largest R-hat 1.02); ")


CHECKED = TRUSTED | {"checks": [{"name": "largest R-hat", "value": 1.0, "limit": "< 1.01", "passed": True}]}
APART = "Gibbs, hand-written, which differs (median shift of means[0, a] −2.00 ± 0.10"


@pytest.mark.parametrize(
    ("shift", "passed", "trusted"), [(0.1, True, True), (-2.0, True, False), (-2.0, False, True)], ids=str
)
def test_two_references_that_passed_must_agree(shift, passed, trusted):
    judged = {"nuts": CHECKED, "gibbs": CHECKED | {"method": "gibbs", "trusted": passed}}
    rows = {"nuts": [], "gibbs": [Row("gibbs", "median_shift", "means[0, a]", shift, 0.1)]}
    found = contested(CHECKED, judged, rows)
    assert (found["method"], found["trusted"]) == ("nuts", trusted)
    assert (APART in found["reason"]) == (not trusted)


def test_an_exact_reference_is_not_contested():
    exact = {"method": "exact", "trusted": True, "reason": "", "checks": []}
    judged = {"exact": exact, "gibbs": CHECKED | {"method": "gibbs"}}
    rows = {"exact": [], "gibbs": [Row("gibbs", "median_shift", "means[0, a]", 3.0, 0.1)]}
    assert contested(exact, judged, rows) == exact
