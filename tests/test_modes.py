"""Modes beyond labels: found where there are several, and nowhere else."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mixtures import ConvergenceWarning, Dirichlet, Draws, Gaussian, datasets
from mixtures.methods import cavi, exact, gibbs
from reports.metrics import modes


def sampled(x, K, seed=0, draws=500):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is looked for is not the last digit
        return gibbs.fit(
            x, Gaussian.from_data(x, K), Dirichlet.symmetric(K), rng=np.random.default_rng(seed), draws=draws
        )


@pytest.fixture(scope="module")
def square():
    """Four clumps at the corners of a square and two clusters: they halve it one way or the other."""
    rng = np.random.default_rng(3)
    x = np.repeat([[0, 0], [1, 0], [0, 1], [1, 1]], 8, axis=0) * 5 + rng.standard_normal((32, 2))
    return x, sampled(x, 2)


def halves(x):
    """Responsibilities that part left from right, and lower from upper."""
    return {name: np.eye(2)[(x[:, d] > 2.5).astype(int)] for name, d in (("upright", 0), ("level", 1))}


def test_a_square_of_clumps_is_halved_in_two_ways(square):
    x, fit = square
    found = modes.find({"gibbs": fit}, x, halves(x))["gibbs"]
    assert len(found["modes"]) == 2
    assert found["halves"] == [2, 2]
    assert all(np.allclose(m["sizes"], 16, atol=0.5) for m in found["modes"])
    assert sorted(found["sits"].values()) == [0, 1]
    shares = [m["share"] for m in found["modes"]]
    assert sum(shares) + found["rest"] == pytest.approx(1)
    assert shares[0] > shares[1] > 0.1
    for mode in found["modes"]:
        assert np.mean(mode["by_chain"]) == pytest.approx(mode["share"], abs=1e-12)


def upright(fit):
    """Draws (chain, draw) that halve the square upright: their two means differ in the first feature rather than the second."""
    gap = np.abs(np.diff(fit.held.theta["means"], axis=2))[:, :, 0]
    return gap[..., 0] > gap[..., 1]


def test_the_shares_are_those_of_the_draws(square):
    x, fit = square
    found = modes.find({"gibbs": fit}, x, halves(x))["gibbs"]
    share = found["modes"][found["sits"]["upright"]]["share"]
    assert share == pytest.approx(np.mean(upright(fit)), abs=0.05)


def test_names_of_clusters_do_not_matter(square, rng):
    x, fit = square
    order = rng.permuted(np.tile(np.arange(2), (*fit.held.weights.shape[:2], 1)), axis=2)
    other = modes.find({"gibbs": replace(fit, posterior=fit.held.permute(order))}, x, {})["gibbs"]
    found = modes.find({"gibbs": fit}, x, {})["gibbs"]
    shares = [[m["share"] for m in each["modes"]] for each in (other, found)]
    assert shares[0] == pytest.approx(shares[1], abs=0.005)


@pytest.fixture(scope="module")
def stuck(square):
    """Two chains, each of which stays in a mode of its own."""
    fit = square[1]
    weights, theta = fit.held.flat()
    side = upright(fit).ravel()
    chosen = np.stack([np.flatnonzero(s)[:400] for s in (side, ~side)])
    return replace(fit, posterior=Draws(weights[chosen], {name: v[chosen] for name, v in theta.items()}))


def test_samplers_share_the_numbers_of_the_modes_and_a_stuck_one_has_the_larger_error(square, stuck):
    x, fit = square
    found = modes.find({"stuck": stuck, "gibbs": fit}, x, halves(x))
    for mine, theirs in zip(found["stuck"]["modes"], found["gibbs"]["modes"], strict=True):
        assert mine["sizes"] == theirs["sizes"]
        assert max(mine["by_chain"]) > 0.9
        assert min(mine["by_chain"]) < 0.05
        assert mine["share"] == pytest.approx(0.5, abs=0.05)
        assert mine["se"] > 0.15
        assert theirs["se"] < 0.05
    alone = modes.find({"gibbs": fit}, x, halves(x))["gibbs"]
    for name, number in found["gibbs"]["sits"].items():
        ours, theirs = found["gibbs"]["modes"][number], alone["modes"][alone["sits"][name]]
        assert ours["share"] == pytest.approx(theirs["share"], abs=0.02)
        assert ours["sizes"] == pytest.approx(theirs["sizes"], abs=0.01)
    written = {row.target: row.value for row in modes.rows("gibbs", alone)}
    assert written == {"all": 2} | {f"mode {m + 1}": alone["modes"][m]["share"] for m in range(2)}


def test_a_mode_that_one_sampler_alone_has_met_has_no_share_of_the_other(square, stuck):
    x, fit = square
    one = replace(stuck, posterior=Draws(stuck.held.weights[:1], {name: v[:1] for name, v in stuck.held.theta.items()}))
    found = modes.find({"one": one, "gibbs": fit}, x, halves(x))
    shares = [mode["share"] for mode in found["one"]["modes"]]
    level = found["gibbs"]["sits"]["level"]
    assert shares[level] == 0
    assert found["one"]["modes"][level]["se"] is None
    assert found["one"]["sits"] == {"upright": 1 - level, "level": None}
    assert next(row.value for row in modes.rows("one", found["one"]) if row.metric == "modes") == 1


def test_the_error_of_a_share_is_its_spread(rng):
    """Of chains that change side once in ten draws; the error of eight stretches is known to a quarter."""
    errors, shares = [], []
    for _ in range(200):
        found = modes.visits((np.cumsum(rng.random((4, 500)) < 0.1, axis=1) % 2 == 0) ^ (rng.random((4, 1)) < 0.5))
        shares.append(found["share"])
        errors.append(found["se"])
    assert np.std(shares) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.2)


def test_iris_has_several_modes_with_three_clusters():
    """Setosa, and the rest with a handful of flowers apart, or a few more: weights near (.6, .33, .06) or (.54, .33, .12)."""
    x = datasets.load("iris").x
    x = (x - x.mean(0)) / x.std(0)
    found = modes.find({"gibbs": sampled(x, 3, draws=1000)}, x, {})["gibbs"]
    assert len(found["modes"]) >= 2
    sizes = np.array([m["sizes"] for m in found["modes"]])
    assert np.allclose(sizes[:, 1], 50, atol=1)  # setosa stands apart in all of them
    assert found["modes"][0]["share"] > 0.8
    assert np.any(np.abs(sizes - [81, 50, 19]).max(1) < 3)


@pytest.mark.parametrize(("name", "K"), [("faithful", 2), ("tsmatz", 3)])
def test_clear_clusters_are_one_mode(name, K):
    x = datasets.load(name).x
    found = modes.find({"gibbs": sampled(x, K, draws=200)}, x, {"cavi": cavi_of(x, K).responsibilities(x)})["gibbs"]
    assert len(found["modes"]) == 1
    assert found["modes"][0]["share"] > 0.95
    assert found["sits"] == {"cavi": 0}


def cavi_of(x, K):
    return cavi.fit(x, Gaussian.from_data(x, K), Dirichlet.symmetric(K), rng=np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(4))
def test_diffuse_clusters_are_one_mode_although_the_bound_has_many_optima(seed):
    """Exact draws: the few points belong to several partitions, none of which is apart from the others."""
    x = datasets.simulate(14, 2, 2, separation=2.0, rng=np.random.default_rng(seed)).x
    rng = np.random.default_rng(seed)
    fit = exact.fit(x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2)).as_draws(4, 500, rng)
    found = modes.find({"exact": fit}, x, {})["exact"]
    assert found["basins"] > 1
    assert len(found["modes"]) == 1


def test_a_normal_posterior_cut_at_random_is_joined_again(rng):
    for d in (2, 12):
        for _ in range(20):
            draws, centres = rng.standard_normal((1000, d)), rng.standard_normal((4, d))
            nearest = ((draws[:, None] - centres) ** 2).sum(-1).argmin(1)
            parts = sorted((draws[nearest == k] for k in range(4)), key=len, reverse=True)
            assert modes.join([part for part in parts if len(part) >= modes.FEWEST]).max() == 0


def test_the_valley_between_two_normals_is_that_of_their_mixture(rng):
    """Halfway between N(0, I) and N(4, I) in equal parts the density is 2 phi(2) of phi(0): 0.27, less blurred peaks."""
    a, b = (mean + rng.standard_normal((4000, 3)) for mean in (0.0, np.array([4.0, 0, 0])))
    assert modes.valley(a, b) == pytest.approx(2 * np.exp(-2), abs=0.06)
    assert modes.valley(a[:2000], a[2000:]) > 0.9


def test_a_few_draws_between_are_no_bridge(rng):
    """The small basin joins one of the large ones alone."""
    a, b = (mean + rng.standard_normal((900, 2)) for mean in (0.0, np.array([8.0, 0])))
    between = np.column_stack([rng.uniform(1, 7, 60), rng.standard_normal(60)])
    assert min(modes.valley(a, between), modes.valley(b, between)) >= modes.VALLEY / 3
    mode = modes.join([a, b, between])
    assert mode[0] != mode[1]


def test_nothing_is_said_of_one_cluster_or_of_few_draws(rng):
    x = rng.standard_normal((20, 2))
    assert modes.find({"one": cavi_of(x, 1).as_draws(4, 100, rng)}, x, {}) == {}
    assert modes.find({"few": cavi_of(x, 2).as_draws(1, 99, rng)}, x, {}) == {}
