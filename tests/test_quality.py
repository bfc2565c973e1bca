"""What importance weights repair, which correlations are lost, and what a classifier tells apart."""

import numpy as np
import pytest
import xarray as xr
from scipy import signal, stats

from mixtures import datasets
from reports import compare
from reports.metrics import agreement, parameters, quality, two_sample


def dataset(values):
    """Draws (chain, draw, 2) as the means of two clusters in one feature, their weights as noise of no interest."""
    weights = np.random.default_rng(0).dirichlet(np.ones(2), values.shape[:2])
    variables = {
        "weights": (("chain", "draw", "cluster"), weights),
        "means": (("chain", "draw", "cluster", "feature"), values[..., None]),
    }
    return xr.Dataset(variables, coords={"cluster": [0, 1], "feature": ["a"]})


def marginals(values):
    return agreement.marginals(dataset(values), independent=True)


def by_name(rows):
    return {(row.metric, row.target): row for row in rows}


def test_weights_bring_a_shifted_wide_normal_to_the_reference(rng):
    """q = N(0.4, 1.3^2) for p = N(0, 1) in both means: the weighted median is that of p, by its own standard error."""
    truth = rng.standard_normal((4, 2000, 2))
    own = 0.4 + 1.3 * rng.standard_normal((4, 2000, 2))
    ratios = (stats.norm.logpdf(own) - stats.norm(0.4, 1.3).logpdf(own)).sum(-1).ravel()
    log_weights, khat = quality.smoothed(ratios)
    assert quality.usable(khat, len(ratios))
    before = by_name(agreement.posterior_agreement("cavi", dataset(own), dataset(truth), independent=True))
    after = by_name(quality.corrected_medians("cavi", dataset(own), marginals(truth), log_weights))
    for target in ("means[0, a]", "means[1, a]"):
        row = after["median_shift_corrected", target]
        assert before["median_shift", target].value > 0.3
        assert abs(row.value) < 4.5 * row.se
        assert row.se < 0.05
    largest = max((after["median_shift_corrected", f"means[{k}, a]"] for k in (0, 1)), key=lambda row: abs(row.value))
    assert after["median_shift_corrected", "locations"].value == largest.value


def test_the_error_of_a_weighted_median_is_its_spread_over_replications(rng):
    """The reference has sixteen thousand draws, the method five hundred, whose error is nearly all there is."""
    reference, shifts, errors = marginals(rng.standard_normal((4, 4000, 2))), [], []
    for _ in range(40):
        own = 0.4 + 1.3 * rng.standard_normal((1, 500, 2))
        ratios = (stats.norm.logpdf(own) - stats.norm(0.4, 1.3).logpdf(own)).sum(-1).ravel()
        rows = by_name(quality.corrected_medians("cavi", dataset(own), reference, quality.smoothed(ratios)[0]))
        shifts.append(rows["median_shift_corrected", "means[0, a]"].value)
        errors.append(rows["median_shift_corrected", "means[0, a]"].se)
    # The sd of 40 shifts is known to 11%; spread over the root of the weights' ESS leaves out what ties the two together.
    assert 0.6 < np.std(shifts) / np.mean(errors) < 1.5


def test_weights_that_are_none_are_refused(rng):
    draws = dataset(rng.standard_normal((2, 100, 2)))
    for log_weights, message in [(np.zeros(200), "add up to 200"), (np.full(150, -np.log(150)), "one for each of 200")]:
        with pytest.raises(ValueError, match=message):
            quality.corrected_medians("cavi", draws, {}, log_weights)


def test_khat_needs_a_tail_and_the_limit_depends_on_the_draws(rng):
    """Vehtari et al. (2024): at most 1 - 1 / log10(S), and 0.7 from S = 2200 on; five draws in a tail of S / 5."""
    ratios = rng.standard_normal(quality.FEWEST)
    assert np.isfinite(quality.smoothed(ratios)[1])
    log_weights, khat = quality.smoothed(ratios[1:])
    assert np.isnan(khat)
    assert np.exp(log_weights).sum() == pytest.approx(1)
    far_off = 2000 * rng.standard_normal(4000)  # one weight, as large as all others together
    log_weights, khat = quality.smoothed(far_off)
    assert khat == np.inf
    assert np.exp(log_weights).sum() == pytest.approx(1)
    assert quality.khat_interval("mine", far_off, rng) == []
    assert quality.usable(0.69, 4000)
    assert not quality.usable(0.71, 10**6)
    assert not quality.usable(0.55, 100)
    assert quality.usable(0.45, 100)
    assert not quality.usable(np.nan, 4000)


def test_the_interval_of_khat_covers_it(rng):
    """q = N(0, 1) for p = N(0, 2^2), whose k is 1 - 1 / 2^2; the interval is about as wide as k-hat's spread over data sets."""
    found = []
    for _ in range(8):
        x = rng.standard_normal(2000)
        ratios = stats.norm(0, 2).logpdf(x) - stats.norm.logpdf(x)
        low, high = (row.value for row in quality.khat_interval("cavi", ratios, rng))
        found.append((low, quality.khat("cavi", ratios).value, high))
    low, value, high = np.transpose(found)
    assert (low < high).all()
    assert np.mean((low < value) & (value < high)) == 1
    assert np.mean((low < 0.85) & (high > 0.65)) > 0.7
    assert 0.3 < np.mean(high - low) / (2 * stats.norm.ppf(0.95) * value.std(ddof=1)) < 3  # the sd of 8 values


def test_an_interval_of_no_khat_is_none(rng):
    assert quality.khat_interval("cavi", np.zeros(1000), rng) == []


@pytest.mark.parametrize(
    ("dof", "mean", "sd"), [(1.0, False, False), (2.0, True, False), (20.0, True, True)], ids=["cauchy", "t2", "t20"]
)
def test_moments_are_reported_where_they_exist(dof, mean, sd, rng):
    """Student's t has a tail index k = 1 / dof: a mean below one, a variance below one half, and k-hat leaves room."""
    values = rng.standard_t(dof, (4, 2000, 2))
    rows = quality.tail_khat("gibbs", dataset(values), independent=True)
    assert [row.target for row in rows] == ["means[0, a]", "means[1, a]"]  # a weight is bounded
    for row in rows:
        # A tail of 3 sqrt(8000) draws gives k to (1 + k) / sqrt(268), and the larger of both tails is taken.
        assert row.value == pytest.approx(1 / dof, abs=4 * (1 + 1 / dof) / np.sqrt(268))
        assert quality.moments(row.target, row.value, 8000) == (mean, sd)


def test_bounded_parameters_have_moments_and_what_is_not_known_has_none():
    assert quality.moments("correlations[0, a, b]", None, 4000) == (True, True)
    assert quality.moments("weights[0]", None, 4000) == (True, True)
    assert quality.moments("variances[0, a]", None, 4000) == (False, False)
    assert quality.moments("variances[0, a]", np.nan, 4000) == (False, False)
    assert quality.moments("means[0, a]", 0.4, 4000) == (True, False)
    assert quality.moments("means[0, a]", 0.45, 50) == (False, False)  # 1 - 1 / log10(50) = 0.41


def correlated(rho, rng, shape=(4, 2000)):
    z = rng.standard_normal((*shape, 2))
    z[..., 1] = rho * z[..., 0] + np.sqrt(1 - rho**2) * z[..., 1]
    return z


def test_a_factorised_posterior_loses_the_correlation(rng):
    rows = by_name(agreement.lost_correlations("cavi", dataset(correlated(0, rng)), dataset(correlated(0.8, rng))))
    pair = "means[0, a] ~ means[1, a]"
    row = rows["correlation_error", pair]
    expected = 6 / np.pi * np.arcsin(0.8 / 2)  # rank correlation of a normal pair
    assert abs(row.value + expected) < 4.5 * row.se
    assert row.se == pytest.approx(np.hypot(1, 1 - 0.8**2) / np.sqrt(8000), rel=0.2)
    assert rows["correlation_reference", pair].value == pytest.approx(
        expected, abs=4.5 * rows["correlation_reference", pair].se
    )
    assert rows["correlation_error", "all"].value == row.value
    # Two halves of 4000 draws: three pairs, each with a difference of sd at most sqrt(2 / 4000).
    assert 0 < rows["correlation_floor", "all"].value < 4.5 * np.sqrt(2 / 4000)
    assert not any("weights[1]" in target for _, target in rows)


def test_correlations_within_the_noise_of_the_reference_are_not_named(rng):
    rows = agreement.lost_correlations("nuts", dataset(correlated(0.5, rng)), dataset(correlated(0.5, rng)))
    floor = by_name(rows)["correlation_floor", "all"].value
    assert all(abs(row.value) > floor for row in rows if row.metric == "correlation_error")
    # Halves of 4000 draws differ by sqrt(2) more than two sets of 8000.
    assert len(rows) <= 3


def test_a_point_estimate_has_no_correlations(rng):
    assert agreement.lost_correlations("em", dataset(np.zeros((1, 1, 2))), dataset(correlated(0.5, rng))) == []


def test_a_classifier_cannot_tell_equal_posteriors_apart_and_tells_others(rng):
    """N(0, 1) against N(1, 1) in one of three parameters: nobody is right more often than Phi(1/2) = 0.69."""
    truth, same = (correlated(0, rng) for _ in range(2))
    rows = by_name(
        two_sample.two_sample("cavi", dataset(same), dataset(truth), rng)
        + two_sample.floor("nuts", dataset(truth), rng)
    )
    apart = by_name(two_sample.two_sample("cavi", dataset(same + np.array([1.0, 0.0])), dataset(truth), rng))
    for metric in ("two_sample_accuracy", "two_sample_floor"):
        row = rows[metric, "all"]
        assert abs(row.value - 0.5) < 4.5 * row.se
    row = apart["two_sample_accuracy", "all"]
    assert 0.64 < row.value < stats.norm.cdf(0.5) + 4.5 * row.se
    assert row.se == pytest.approx(np.sqrt(row.value * (1 - row.value) / 4000), rel=0.01)


def test_neighbours_in_a_chain_do_not_give_the_side_away(rng):
    """An autoregression of coefficient 0.98 moves an sd in fifty steps: each chain has places of its own."""
    noise = rng.standard_normal((2, 4, 3000, 2)) * np.sqrt(1 - 0.98**2)
    own, truth = signal.lfilter([1], [1, -0.98], noise, axis=2)[:, :, 200:]
    drawn, reference = dataset(own), dataset(truth)
    thinned = by_name(two_sample.two_sample("nuts", drawn, reference, rng))["two_sample_accuracy", "all"]
    assert abs(thinned.value - 0.5) < 4.5 * thinned.se
    # 11,200 draws are worth 11,200 (1 - 0.98) / (1 + 0.98) = 113 independent ones, known to a factor of two.
    assert 57 < 0.25 / thinned.se**2 / 2 < 226
    whole = [
        np.concatenate([v.ravel()[:, None] for v in parameters.scalars(d).values()], axis=1) for d in (drawn, reference)
    ]
    assert two_sample.accuracy(*whole, rng)[0] > 0.55


def test_too_few_draws_are_not_classified(rng):
    few = dataset(correlated(0, rng, (1, 24)))
    assert two_sample.two_sample("cavi", few, dataset(correlated(0, rng)), rng) == []
    assert two_sample.two_sample("em", dataset(np.zeros((1, 1, 2))), dataset(correlated(0, rng)), rng) == []


def test_a_comparison_has_the_rows_and_weighting_brings_cavi_nearer(rng):
    """Twelve points against the exact posterior, where k-hat is good: the rms shift of all means falls."""
    x = datasets.simulate(12, 2, 2, separation=6.0, rng=np.random.default_rng(3)).x
    result = compare(x, 2, rng=np.random.default_rng(1), methods=("cavi", "exact"), draws=2500, two_sample=True)
    metrics = result.results.metrics
    table = metrics[(metrics["method"] == "cavi") & metrics["target"].str.contains("[", regex=False)].pivot(
        index="target", columns="metric", values="value"
    )
    rms = np.sqrt((table[["median_shift", "median_shift_corrected"]].dropna() ** 2).mean())
    assert rms["median_shift_corrected"] < 0.9 * rms["median_shift"]
    assert 0 < len(table["correlation_error"].dropna()) <= agreement.NAMED_PAIRS
    found = metrics.set_index(["method", "metric"])["value"]
    assert found["cavi", "two_sample_accuracy"] > 0.45
    assert abs(found["exact", "two_sample_floor"] - 0.5) < 0.05
    assert found["exact", "modes"] == 1
    manifest = result.results.manifest
    assert manifest["modes"]["exact"]["sits"] == {"cavi": 0}
    assert 0.9 < manifest["relabelling"]["exact"]["agreement"] <= 1
    assert manifest["relabelling"]["cavi"]["agreement"] is None
    assert "modes" not in set(metrics[metrics["method"] == "cavi"]["metric"])
