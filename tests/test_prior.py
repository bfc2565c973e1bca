"""Prior sensitivity: power-scaling against ArviZ and conjugate posteriors, other scales of the prior, merged classes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from mixtures import COVARIANCES, Dirichlet, Gaussian
from mixtures.methods import cavi, exact
from reports.metrics import prior
from reports.metrics.prior import CONFLICT, NONE, OPEN, STRONG, diagnose, merged, power_scaling, scales
from reports.page.prior import merging


def scaled(x, **hyperparameters):
    """Sensitivities by metric and parameter of the exact posterior of one cluster."""
    fit = exact.fit(x, Gaussian.from_data(x, 1, **hyperparameters), Dirichlet.symmetric(1))
    drawn = fit.as_draws(4, 1000, np.random.default_rng(0))
    posterior = drawn.draws(4000, np.random.default_rng(0))["posterior"].to_dataset()
    rows = power_scaling(drawn, posterior, x)
    return {(row.metric, row.target): (row.value, row.se) for row in rows}


def of_mean(found):
    return diagnose(*found["prior_sensitivity", "means[0, 0]"], *found["likelihood_sensitivity", "means[0, 0]"])


def test_a_weak_prior_a_strong_one_and_one_in_conflict_are_told_apart(rng):
    x = rng.normal(5, 2, (100, 1))
    assert of_mean(scaled(x)) == NONE
    assert of_mean(scaled(x, m0=x.mean(0), beta0=1e5)) == STRONG
    assert of_mean(scaled(x, m0=x.mean(0) + 2, beta0=50)) == CONFLICT


def test_sensitivities_are_those_of_arviz(rng):
    import arviz_stats

    values = {"a": rng.standard_normal((4, 300)), "b": rng.standard_normal((4, 300))}
    log_p = -((values["a"] - 0.5) ** 2)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()}),
            "log_prior": xr.Dataset({"p": (("chain", "draw"), log_p)}),
        }
    )
    theirs = arviz_stats.psense(tree, group="prior")
    found = prior.sensitivity(values, log_p)
    assert found == pytest.approx([theirs["a"].item(), theirs["b"].item()], rel=1e-9)
    assert found[0] > 5 * found[1]


def test_powers_of_a_constant_density_change_nothing(rng):
    """As of uniform priors; and a density whose largest values are equal has no tail to smooth."""
    values = {"a": rng.standard_normal((4, 300))}
    assert prior.sensitivity(values, np.full((4, 300), 0.3)) == [0]
    rows = prior.power_scaled("nuts", values, {"prior": np.zeros((4, 300))})
    assert [(row.metric, row.value, row.se) for row in rows] == [("prior_sensitivity", 0, 0)]
    assert 0 < prior.sensitivity(values, np.minimum(values["a"] + 1, 0))[0] < np.inf


def test_names_of_clusters_do_not_matter_to_what_is_scaled(rng):
    """Draws relabelled at random and relabelled back have the same sensitivities."""
    x = np.repeat([0.0, 9.0], 10)[:, None] + rng.standard_normal((20, 1))
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng).as_draws(2, 200, rng)
    posterior = fit.draws(400, rng)["posterior"].to_dataset()
    order = rng.permuted(np.tile(np.arange(2), (2, 200, 1)), axis=2)
    other = replace(fit, posterior=fit.held.permute(order))
    ours, theirs = (power_scaling(each, posterior, x) for each in (fit, other))
    assert [row.value for row in ours] == pytest.approx([row.value for row in theirs], rel=1e-9)


@pytest.mark.parametrize(
    ("prior_", "likelihood", "expected"),
    [
        ((0.2, 0.01), (0.3, 0.01), CONFLICT),
        ((0.2, 0.01), (0.01, 0.01), STRONG),
        ((0.02, 0.01), (0.3, 0.01), NONE),
        ((0.06, 0.01), (0.3, 0.01), OPEN),
        ((0.04, 0.01), (0.3, 0.01), OPEN),
        ((0.2, 0.01), (0.05, 0.01), OPEN),
    ],
)
def test_a_diagnosis_leaves_two_errors(prior_, likelihood, expected):
    assert diagnose(*prior_, *likelihood) == expected


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_rescaled_prior_differs_in_its_scale_alone(covariance, rng):
    x = 100 + rng.standard_normal((30, 2)) * [1, 20]
    family = COVARIANCES[covariance].from_data(x, 3, beta0=0.3, nu0=7.0, m0=np.array([90.0, 80.0]))
    before = family.prior_in_data_units()
    after = family.rescaled(4.0).prior_in_data_units()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], (4 if name == "W0_inv" else 1) * np.asarray(value), rtol=1e-9)


def test_scales_say_what_cavi_finds_under_each(rng):
    x = np.repeat([[0.0, 0.0], [9.0, 0.0]], 20, axis=0) + rng.standard_normal((40, 2))
    classes = np.repeat(["a", "b"], 20)
    fit = cavi.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2), rng=rng)
    found = scales(fit, x, classes, {"cavi": fit.responsibilities(x)}, rng)
    assert [scale["factor"] for scale in found] == [0.25, 1, 4]
    assert found[1]["bound"] == pytest.approx(fit.bound[-1], abs=1e-5)
    assert found[1]["weights"] == pytest.approx(
        sorted(fit.allocation.mean(fit.posterior.alpha), reverse=True), abs=1e-4
    )
    for scale in found:
        assert scale["ari"] == [1, 1, 1]
        assert (scale["ari_classes"], scale["occupied"], scale["merged"], scale["converged"]) == (1, 2, [], True)
    other = cavi.fit(x, fit.family.rescaled(4.0), fit.allocation, rng=rng)
    assert found[2]["bound"] == pytest.approx(other.bound[-1], abs=1e-5)


def test_starts_from_what_other_methods_found_miss_no_optimum_of_theirs(monkeypatch, rng):
    """Two pairs of clumps: the only start of its own is given the poor halving, the other method knows the good one."""
    x = np.repeat([[0, 0], [3, 0], [0, 9], [3, 9]], 10, axis=0) + rng.standard_normal((40, 2))
    family, allocation = Gaussian.from_data(x, 2), Dirichlet.symmetric(2)
    poor, good = (np.eye(2)[(x[:, d] > level).astype(int)] for d, level in ((0, 1.5), (1, 4.5)))
    alone = cavi.fit(x, family, allocation, rng=rng, init=poor)
    best = cavi.fit(x, family, allocation, rng=rng, init=good)
    assert best.bound[-1] > alone.bound[-1] + 1
    ours = cavi.fit
    monkeypatch.setattr(
        prior.cavi,
        "fit",
        lambda *args, restarts=None, init=None, **more: ours(*args, init=poor if restarts else init, **more),
    )
    found = scales(alone, x, None, {"other": good}, rng)
    assert found[1]["bound"] == pytest.approx(best.bound[-1], abs=1e-5)
    assert found[1]["ari_classes"] is None


def test_classes_that_share_a_cluster_are_named_with_their_points():
    z = np.array([0, 0, 0, 1, 1, 2, 1, 1, 1])
    labels = np.array(["a"] * 3 + ["b"] * 3 + ["c"] * 3)
    assert merged(np.eye(3)[z], labels) == [{"b": [2, 3], "c": [3, 3]}]
    assert merged(np.eye(3)[np.repeat([2, 0, 1], 3)], labels) == []
    assert merged(np.eye(2)[np.minimum(z, 1)], labels) == []  # three classes in two clusters must share
    some = np.append(labels, [""] * 4)  # points whose class is not known
    assert merged(np.eye(3)[np.append(z, [2, 2, 2, 2])], some) == [{"b": [2, 3], "c": [3, 3]}]


def iris_like(em=None, trusted=True, still=True):
    """What the results say of classes b and c that the reference puts together and EM does not."""
    together = [{"b": [50, 50], "c": [43, 50]}]
    mode = {"share": 0.024, "se": 0.003}
    facts = {
        "merged": {"em": [], "gibbs": together},
        "scales": [{"factor": f, "merged": together if still or f > 1 else []} for f in (0.25, 1.0, 4.0)],
    }
    view = SimpleNamespace(
        reference="gibbs",
        trusted=trusted,
        trees=["em", "gibbs"],
        label={"em": "EM", "gibbs": "Gibbs"}.get,
        value=lambda method, _: {"em": 0.9, "gibbs": 0.56}[method],
        manifest={"modes": {"gibbs": {"sits": {"em": em}, "modes": [mode, mode]}}},
    )
    return merging(view, facts)


def test_merged_classes_are_told_with_the_place_of_the_optimum_that_parts_them():
    said = iris_like()
    assert "the draws of Gibbs, the reference, put b (50 of 50) and c (43 of 50) in one cluster." in said
    assert "EM tells them apart" in said
    assert "EM 0.90 and Gibbs 0.56" in said
    assert "The optimum of EM is where no draw of Gibbs goes." in said
    assert "under all three scales" in said
    assert "in mode 2, which has 2.40 ± 0.30% of the draws of Gibbs" in iris_like(em=1)
    assert "apart where the scale of the prior is multiplied by ¼ and 1" in iris_like(still=False)
    assert "which is not trusted" in iris_like(trusted=False)
