"""Leave-one-out through an approximation of the posterior, and posterior predictive checks."""

from dataclasses import replace

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import signal, stats

from mixtures import Conjugate, Dirichlet, Draws, Fit, Gaussian
from mixtures.methods import cavi
from reports import Results, compare
from reports.comparison import trees
from reports.metrics import checks, optimum, prediction, quality
from reports.page import quantities
from reports.page.scores import checks as checks_section
from reports.page.view import View


def value(results, method, metric, target="data"):
    return results.metrics.set_index(["method", "metric", "target"]).loc[(method, metric, target), "value"]


def one_gaussian(rng):
    """Forty points of one cluster, whose posterior CAVI has exactly."""
    x = rng.standard_normal((40, 2)) @ np.array([[2.0, 0.0], [1.0, 0.5]]) + 3
    return x, cavi.fit(x, Gaussian.from_data(x, 1), Dirichlet.symmetric(1), rng=rng)


def away(fit):
    """The same with q moved by half a posterior sd of the mean in both coordinates, and wider."""
    q = fit.posterior.theta
    moved = replace(q, m=q.m + 0.5 / np.sqrt(q.beta)[:, None], beta=q.beta / 2, W_inv=0.8 * q.W_inv, nu=0.7 * q.nu)
    return replace(fit, posterior=Conjugate(fit.posterior.alpha, moved))


def student(x, family):
    """Exact log p(x_n | x_-n) of one Gaussian: SciPy's Student-t under the posterior of the rest (PRML 10.60-10.63, 10.81)."""
    z, prior = family.coordinates(x), family.prior
    D, found = x.shape[1], []
    for n in range(len(z)):
        rest = np.delete(z, n, axis=0)
        N, mean = len(rest), rest.mean(0)
        beta, nu = prior.beta + N, prior.nu + N
        apart = mean - prior.m
        W_inv = prior.W_inv + N * np.cov(rest.T, bias=True) + prior.beta * N / beta * np.outer(apart, apart)
        m, dof = (prior.beta * prior.m + N * mean) / beta, nu + 1 - D
        t = stats.multivariate_t(m, W_inv * (1 + beta) / (beta * dof), dof)
        found.append(t.logpdf(z[n]) - family.log_volume)
    return np.array(found)


def through(fit, x, draws, rng):
    """Log likelihoods (S, N) and log ratios (S,) of draws from q."""
    drawn = fit.as_draws(1, draws, rng)
    return drawn.log_likelihood(x)[0], quality.log_ratios(fit, drawn, x)


def by_metric(rows):
    return {row.metric: row.value for row in rows}


def test_weights_bring_a_wrong_q_to_the_closed_form_and_no_weights_do_not(rng):
    x, fit = one_gaussian(rng)
    exact = student(x, fit.family)
    for q in (fit, away(fit)):
        log_likelihood, ratios = through(q, x, 4000, rng)
        rows, pointwise = prediction.approximate_leave_one_out("q", log_likelihood, ratios)
        found = by_metric(rows)
        error = found["elpd_loo_mcse_approximate"]
        assert abs(found["elpd_loo_approximate"] - exact.sum()) < 4.5 * error
        assert error < 0.1
        assert found["loo_khat_bad_approximate"] == 0
        assert pointwise["elpd"].sum() == pytest.approx(found["elpd_loo_approximate"])
        p = fit.log_predictive(x).sum() - exact.sum()
        assert abs(found["p_loo_approximate"] - p) < 9 * error  # both its terms have errors of about this size
    uncorrected = by_metric(prediction.approximate_leave_one_out("q", log_likelihood, np.zeros(4000))[0])
    assert abs(uncorrected["elpd_loo_approximate"] - exact.sum()) > 9 * uncorrected["elpd_loo_mcse_approximate"]


def test_it_is_arvizs_number(rng):
    """ArviZ's own function, which is given log p and log q apart."""
    x, fit = one_gaussian(rng)
    log_likelihood, ratios = through(away(fit), x, 1000, rng)
    tree = xr.DataTree.from_dict(
        {"log_likelihood": xr.Dataset({"x": (("chain", "draw", "obs"), log_likelihood[None])})}
    )
    log_q = rng.standard_normal((1, 1000))
    theirs = arviz_stats.loo_approximate_posterior(tree, ratios[None] + log_q, log_q, pointwise=True)
    rows, pointwise = prediction.approximate_leave_one_out("q", log_likelihood, ratios)
    np.testing.assert_allclose(pointwise["elpd"], theirs.elpd_i, rtol=1e-9)
    np.testing.assert_allclose(pointwise["pareto_k"], theirs.pareto_k, rtol=1e-6)
    assert by_metric(rows)["elpd_loo_approximate"] == pytest.approx(theirs.elpd)
    assert rows[0].se == pytest.approx(theirs.se)


def test_leave_one_out_of_chains_is_arvizs(rng):
    """Draws that come four times over, so that fewer of them are effective and the tail is longer."""
    x, fit = one_gaussian(rng)
    held = fit.as_draws(4, 100, rng).held
    slow = Draws(held.weights.repeat(4, 1), {name: v.repeat(4, 1) for name, v in held.theta.items()})
    drawn = replace(fit, posterior=slow)
    groups = {
        "posterior": drawn.draws(1600, rng)["posterior"].to_dataset(),
        "log_likelihood": xr.Dataset({"x": (("chain", "draw", "obs"), drawn.log_likelihood(x))}),
        "observed_data": xr.Dataset({"x": (("obs", "feature"), x)}, coords={"feature": ["a", "b"]}),
    }
    tree = xr.DataTree.from_dict(groups)
    theirs = arviz_stats.loo(tree, pointwise=True)
    rows, pointwise = prediction.leave_one_out("nuts", tree, fit.family, rng)
    found = by_metric(rows)
    np.testing.assert_allclose(pointwise["elpd"], theirs.elpd_i, rtol=1e-9)
    np.testing.assert_allclose(pointwise["pareto_k"], theirs.pareto_k, rtol=1e-6)
    assert found["elpd_loo"] == pytest.approx(theirs.elpd)
    assert found["p_loo"] == pytest.approx(theirs.p, rel=1e-6)
    assert rows[0].se == pytest.approx(theirs.se)
    assert pointwise.attrs["good_k"] == pytest.approx(theirs.good_k)


def test_a_row_without_any_value_has_equal_weights_and_is_drawn_with_the_others(rng):
    from reports.plots.khat import plot_khat

    nothing = 1e-16 * rng.standard_normal((4, 100))  # the logarithm of weights that add up to one but for rounding
    log_likelihood = np.dstack([nothing, -(rng.standard_normal((4, 100)) ** 2)])
    posterior = xr.Dataset({"mu": (("chain", "draw"), rng.standard_normal((4, 100)))})
    rows, pointwise, log_weights = prediction.psis("nuts", log_likelihood, posterior)
    np.testing.assert_allclose(log_weights[:, 0], -np.log(400))
    assert pointwise["pareto_k"][0] == -np.inf
    assert np.isfinite(pointwise["pareto_k"][1])
    assert pointwise["elpd"][0] == pytest.approx(0, abs=1e-15)
    assert by_metric(rows)["loo_khat_bad"] == (pointwise["pareto_k"][1] > pointwise.attrs["good_k"])
    top = plot_khat("nuts", quantities.leave_one_out(pointwise), "NUTS").axes[0].get_ylim()[1]
    assert top == pytest.approx(max(pointwise.attrs["good_k"], float(pointwise["pareto_k"][1])) + 0.1)


def test_the_sum_over_one_point_has_no_error():
    assert np.isnan(prediction.error_of_sum(np.ones(1)))
    assert prediction.error_of_sum(np.array([0.0, 2.0])) == pytest.approx(2)


def test_the_monte_carlo_error_is_the_spread_over_replications(rng):
    x, fit = one_gaussian(rng)
    found = [
        by_metric(prediction.approximate_leave_one_out("q", *through(away(fit), x, 500, rng))[0]) for _ in range(40)
    ]
    spread = np.std([each["elpd_loo_approximate"] for each in found])
    # The sd of 40 sums is known to 11%.
    assert 0.6 < spread / np.mean([each["elpd_loo_mcse_approximate"] for each in found]) < 1.5


def test_points_that_weights_cannot_leave_out_are_counted(rng):
    """A q with a third of the posterior's sd in its mean: the weights have k = 1 - 1/9 in each of two coordinates."""
    x, fit = one_gaussian(rng)
    q = fit.posterior.theta
    narrow = replace(fit, posterior=Conjugate(fit.posterior.alpha, replace(q, beta=9 * q.beta)))
    rows, pointwise = prediction.approximate_leave_one_out("q", *through(narrow, x, 4000, rng))
    assert by_metric(rows)["loo_khat_bad_approximate"] > 20
    assert pointwise.attrs["good_k"] == 0.7


def test_recorded_ratios_keep_to_their_draws(rng):
    """A fit that holds as many draws of q as it likes, each with its ratio; without ratios there is no such score."""
    x, fit = one_gaussian(rng)
    drawn = away(fit).as_draws(1, 3000, rng)
    ratios = quality.log_ratios(away(fit), drawn, x)
    held = replace(drawn, method="mine", sample_stats={"log_ratio": ratios[None]}, bound=np.empty(0))
    bare = replace(held, sample_stats={})
    results = compare(
        x, 1, rng=rng, methods=("em", "cavi"), draws=100, extra={"mine": held, "bare": bare, "q": fit}
    ).results
    expected = by_metric(prediction.approximate_leave_one_out("mine", drawn.log_likelihood(x)[0], ratios)[0])
    assert value(results, "mine", "elpd_loo_approximate") == expected["elpd_loo_approximate"]
    scored = results.metrics[results.metrics["metric"] == "elpd_loo_approximate"]["method"]
    assert set(scored) == {"cavi", "mine", "q"}
    assert "loo_approximate" not in results.trees["bare"].children


def test_many_points_have_no_leave_one_out_and_are_checked_in_part(rng, monkeypatch):
    monkeypatch.setattr(trees, "LARGEST_LOG_LIKELIHOOD", 400 * 40 - 1)
    monkeypatch.setattr(checks, "LARGEST", 25)
    x, _ = one_gaussian(rng)
    results = compare(x, 1, rng=rng, methods=("cavi",), draws=100).results
    metrics = set(results.metrics["metric"])
    assert "elpd_loo_approximate" not in metrics
    assert {"elpd_loo_refitted", "ppc_p"} <= metrics
    assert results.trees["cavi"]["checks"].to_dataset()["observed"].sel(statistic="largest[x0]") <= x[:, 0].max()


def fitted(x, K=1, seed=0):
    return cavi.fit(x, Gaussian.from_data(x, K), Dirichlet.symmetric(K), rng=np.random.default_rng(seed))


def p_values(fit, x, rng):
    names = tuple(f"x{d}" for d in range(x.shape[1]))
    rows, found = checks.check(fit, x, names, ["gaussian"] * len(names), rng)
    return {row.target: row for row in rows if row.metric == "ppc_p"}, rows, found


def test_data_of_the_model_are_rarely_extreme():
    """Ten data sets from two clusters: of 130 p-values, which gather about 1/2, those beyond 0.01 are at most a few."""
    p = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((150, 2)) + 5 * rng.integers(2, size=(150, 1))
        p += [row.value for row in p_values(fitted(x, 2), x, rng)[0].values()]
    p = np.array(p)
    assert len(p) == 130
    assert np.mean(np.minimum(p, 1 - p) < checks.EXTREME) < 0.03
    assert 0.4 < p.mean() < 0.6


def test_heavy_tails_fail_by_their_kurtosis_and_least_likely_point(rng):
    """Student-t points with three degrees of freedom under one Gaussian; their spread and modes are as they should be."""
    x = stats.multivariate_t([0, 0], np.eye(2), 3, seed=rng).rvs(300)
    p, rows, _ = p_values(fitted(x), x, rng)
    for name in ("excess kurtosis[x0]", "excess kurtosis[x1]", "Mardia's kurtosis", "largest −log p"):
        assert p[name].value == 0, name
        assert 0 < p[name].se < 0.003
        assert next(r.value for r in rows if (r.metric, r.target) == ("ppc_distance", name)) > 4
    for name in ("largest correlation eigenvalue", "modes on the principal axis"):
        assert 0.05 < p[name].value < 0.95, name


def test_a_structure_without_correlations_fails_by_them(rng):
    from mixtures import COVARIANCES

    x = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 200)
    fit = cavi.fit(x, COVARIANCES["diag"].from_data(x, 1), Dirichlet.symmetric(1), rng=rng)
    p = p_values(fit, x, rng)[0]
    assert p["largest correlation eigenvalue"].value == 0
    assert p["skewness[x0]"].value > checks.EXTREME


@pytest.mark.parametrize("D", [1, 3])
def test_statistics_are_those_of_numpy(D, rng):
    y = rng.gamma(2.0, size=(4, 60, D)) * 10.0 ** np.arange(D)
    axis = rng.standard_normal(D)
    found = checks.statistics(y, tuple("abc"[:D]), axis)
    for r, x in enumerate(y):
        z = (x - x.mean(0)) / x.std(0)
        for d, f in enumerate("abc"[:D]):
            assert found[f"skewness[{f}]"][r] == pytest.approx((z[:, d] ** 3).mean())
            assert found[f"excess kurtosis[{f}]"][r] == pytest.approx((z[:, d] ** 4).mean() - 3)
            assert (found[f"smallest[{f}]"][r], found[f"largest[{f}]"][r]) == (x[:, d].min(), x[:, d].max())
        if D > 1:
            centred = x - x.mean(0)
            squares = np.diag(centred @ np.linalg.inv(np.cov(x.T, bias=True)) @ centred.T)
            assert found["Mardia's kurtosis"][r] == pytest.approx((squares**2).mean() - D * (D + 2))
            assert found["largest correlation eigenvalue"][r] == pytest.approx(np.linalg.eigvalsh(np.corrcoef(x.T))[-1])
        u = x @ axis
        h = 0.9 * min(u.std(), stats.iqr(u) / 1.34) * len(u) ** -0.2
        grid = np.linspace(u.min() - 4 * h, u.max() + 4 * h, 5001)
        density = stats.norm.pdf((grid[:, None] - u) / h).sum(1)
        modes = len(signal.find_peaks(density, height=0.05 * density.max())[0])
        assert found["modes" if D == 1 else "modes on the principal axis"][r] == modes
    assert ("Mardia's kurtosis" in found) == (D > 1)


def test_modes_of_two_clusters_and_of_ties(rng):
    two = np.concatenate([rng.standard_normal((3, 200)), 9 + rng.standard_normal((3, 200))], axis=1)
    assert checks._modes(two).tolist() == [2, 2, 2]
    assert checks._modes(np.repeat([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0]], 20, axis=1)).tolist() == [2]


def test_discrepancies_are_taken_under_each_draw(rng):
    """-log p of replicates and of x by SciPy's mixture densities, one draw at a time."""
    x = rng.standard_normal((30, 2)) + 4 * rng.integers(2, size=(30, 1))
    fit = fitted(x, 2)
    weights, theta = fit.parameters(5, rng)
    y = checks.replicate(fit.family, weights, theta, 30, rng)
    means, covariances = fit.family.to_data(theta).values()
    found = checks._discrepancies(fit, weights, theta, y, x)
    for r in range(5):
        surprise = [
            -np.log(
                sum(
                    weights[r, k] * stats.multivariate_normal(means[r, k], covariances[r, k]).pdf(points)
                    for k in range(2)
                )
            )
            for points in (y[r], x)
        ]
        of_y, of_x = surprise
        assert found["mean of −log p"][r] == pytest.approx(of_y.mean() - of_x.mean())
        assert found["largest −log p"][r] == pytest.approx(of_y.max() - of_x.max())


def test_replicates_follow_their_own_draw(rng):
    """Two draws far apart, one of them all in its second cluster."""
    x = rng.standard_normal((50, 1))
    family = Gaussian.from_data(x, 2)
    theta = family.from_data_units(
        {"means": np.array([[[0.0], [100.0]], [[-50.0], [70.0]]]), "covariances": np.ones((2, 2, 1, 1))}
    )
    y = checks.replicate(family, np.array([[0.25, 0.75], [0.0, 1.0]]), theta, 4000, rng)[..., 0]
    assert abs(np.mean(y[0] > 50) - 0.75) < 4.5 * np.sqrt(0.75 * 0.25 / 4000)
    assert abs(y[1].mean() - 70) < 4.5 / np.sqrt(4000)
    assert abs(y[1].std() - 1) < 4.5 / np.sqrt(8000)


def test_a_tail_area_counts_ties_by_half(rng, monkeypatch):
    """Replicates that are never, sometimes and always beyond the data."""
    x, fit = one_gaussian(rng)

    def statistics(y, features, axis):
        R = len(y)
        return {"never": -np.ones(R), "tied": np.ones(R), "quarter": np.where(np.arange(R) % 4, 0.0, 2.0) + (R == 1)}

    monkeypatch.setattr(checks, "statistics", statistics)
    monkeypatch.setattr(checks, "BLOCK_ELEMENTS", 10**9)
    observed = {"never": -1.0, "tied": 1.0, "quarter": 3.0}
    p, _, found = p_values(fit, x, rng)
    assert found["observed"].sel(statistic=list(observed)).values.tolist() == list(observed.values())
    assert (p["never"].value, p["tied"].value, p["quarter"].value) == (0.5, 0.5, 0.0)
    assert found["replicated"].sizes == {"replicate": checks.REPLICATES, "statistic": 5}


def test_a_point_replicates_from_its_one_set_of_parameters(rng):
    """Ends of forty points of N(0, 1): the largest has the distribution Phi^40, to a Kolmogorov-Smirnov test."""
    x = rng.standard_normal((40, 1))
    family = Gaussian.from_data(x, 1)
    theta = family.from_data_units({"means": np.zeros((1, 1, 1, 1)), "covariances": np.ones((1, 1, 1, 1, 1))})
    point = Fit("em", "point", family, Dirichlet.symmetric(1), Draws(np.ones((1, 1, 1)), theta), np.empty(0), True, {})
    found = p_values(point, x, rng)[2]
    largest = found["replicated"].sel(statistic="largest[x0]").values
    assert len(largest) == checks.REPLICATES
    assert stats.kstest(largest, lambda v: stats.norm.cdf(v) ** 40).pvalue > 1e-4


@pytest.mark.parametrize(("n", "D"), [(3, 1), (3, 2), (4, 3)])
def test_few_points_are_checked_by_what_they_allow(n, D, rng):
    x = rng.standard_normal((n, D))
    p = p_values(fitted(x), x, rng)[0]
    assert "Mardia's kurtosis" not in p
    assert all(0 <= row.value <= 1 for row in p.values())


@pytest.fixture(scope="module")
def two_methods():
    rng = np.random.default_rng(4)
    return compare(rng.standard_normal((60, 2)), 1, rng=rng, methods=("em", "cavi"), draws=1000).results


def words(section):
    return " ".join(
        [block.text for block in section.blocks if block.kind == "notice"]
        + [cell.text for block in section.blocks if block.kind == "table" for row in block.rows for cell in row]
    )


def with_p(results, **p):
    """The results with other p-values of one statistic."""
    metrics = results.metrics.copy()
    ours = metrics["metric"] == "ppc_p"
    metrics.loc[ours, ["value", "se"]] = 0.5, 0.025
    for method, (target, new, se) in p.items():
        metrics.loc[ours & (metrics["method"] == method) & (metrics["target"] == target), ["value", "se"]] = new, se
    return Results(results.manifest, metrics, results.data, results.trees)


def test_the_page_says_whether_the_model_or_a_method_fails(two_methods, monkeypatch):
    monkeypatch.setattr("reports.page.scores.image", lambda figure, alt, **_: None)
    name = "excess kurtosis[x0]"
    said = {
        "there the model fails": {
            "em": (name, 0.0, 0.002),
            "cavi": (name, 0.005, 0.003),
            "exact": (name, 0.004, 0.003),
        },
        "CAVI fails in excess kurtosis[x0], and not all others do": {"cavi": (name, 0.0, 0.002)},
        "by no more than Monte Carlo error": {
            "em": (name, 0.006, 0.004),
            "cavi": (name, 0.016, 0.006),
            "exact": (name, 0.014, 0.006),
        },
        "Of 13 statistics none is extreme": {},
    }
    both = with_p(two_methods, em=(name, 0.0, 0.002), cavi=(name, 0.001, 0.002))
    assert "EM and CAVI fail in excess kurtosis[x0], and not all others do" in words(checks_section(View(both)))
    for sentence, p in said.items():
        text = words(checks_section(View(with_p(two_methods, **p))))
        assert [other for other in said if other in text] == [sentence]
    assert "plug-in" in words(checks_section(View(two_methods)))


def test_the_p_values_do_not_depend_on_who_else_is_there(two_methods):
    x = two_methods.data["x"].values
    alone = compare(x, 1, rng=np.random.default_rng(4), methods=("em",), draws=100).results
    again = compare(x, 1, rng=np.random.default_rng(4), methods=("em", "cavi"), draws=100).results
    tables = [r.metrics[(r.metrics["method"] == "em") & (r.metrics["metric"] == "ppc_p")] for r in (alone, again)]
    pd.testing.assert_frame_equal(*(t.reset_index(drop=True) for t in tables))


@pytest.mark.robustness("numbers")
def test_likelihood_at_cavis_mean_is_scipys():
    """Of columns with few values, where EM's best of several starts has been below it."""
    rng = np.random.default_rng(1)
    n = 200
    sex, ecog = rng.integers(1, 3, n), rng.integers(0, 4, n)
    karno = (90 - 10 * ecog + rng.normal(0, 6, n)).round(-1)
    x = np.c_[rng.normal(60, 9, n).round(), sex, ecog, karno, rng.normal(900, 300, n).round()]
    family, allocation = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)
    fit = cavi.fit(x, family, allocation, rng=np.random.default_rng(0))
    (row,) = optimum.log_likelihood(fit, x)
    q = fit.posterior
    pi = q.alpha / q.alpha.sum()
    means = family.points(q.theta.m)
    covariances = family.expand_matrix(q.theta.W_inv / (q.theta.nu - 6)[:, None, None])
    log_p = [np.log(pi[k]) + stats.multivariate_normal(means[k], covariances[k]).logpdf(x) for k in (0, 1)]
    assert row.value == pytest.approx(np.logaddexp(*log_p).sum(), abs=1e-6)
    assert (row.metric, row.target) == ("log_likelihood", "mean")


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("size", [2.0**500, 2.0**-500])
def test_checks_of_shape_have_no_unit(size, rng):
    y = rng.gamma(2.0, size=(3, 40, 2))
    axis = np.array([0.6, 0.8])
    found, plain = (checks.statistics(values, ("a", "b"), axis) for values in (y * size, y))
    for name, value in plain.items():
        of_units = name.startswith(("smallest", "largest["))
        np.testing.assert_array_equal(found[name], value * size if of_units else value, err_msg=name)
