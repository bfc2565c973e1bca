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
    found = modes.find(fit, x, halves(x))
    assert len(found["modes"]) == 2
    assert all(np.allclose(m["sizes"], 16, atol=0.5) for m in found["modes"])
    assert sorted(found["sits"].values()) == [0, 1]
    shares = [m["share"] for m in found["modes"]]
    assert sum(shares) + found["rest"] == pytest.approx(1)
    assert shares[0] > shares[1] > 0.1
    for mode in found["modes"]:
        assert np.mean(mode["by_chain"]) == pytest.approx(mode["share"], abs=1e-3)


def test_the_shares_are_those_of_the_draws(square):
    """A draw halves the square upright if its two means differ in the first feature rather than in the second."""
    x, fit = square
    found = modes.find(fit, x, halves(x))
    gap = np.abs(np.diff(fit.held.flat()[1]["means"], axis=1))[:, 0]
    upright = np.mean(gap[:, 0] > gap[:, 1])
    assert found["modes"][found["sits"]["upright"]]["share"] == pytest.approx(upright, abs=0.05)


def test_names_of_clusters_do_not_matter(square, rng):
    x, fit = square
    order = rng.permuted(np.tile(np.arange(2), (*fit.held.weights.shape[:2], 1)), axis=2)
    other = modes.find(replace(fit, posterior=fit.held.permute(order)), x, {})
    found = modes.find(fit, x, {})
    assert [m["share"] for m in other["modes"]] == pytest.approx([m["share"] for m in found["modes"]], abs=0.005)


def test_chains_that_each_stay_in_a_mode_are_told(square):
    x, fit = square
    weights, theta = fit.held.flat()
    gap = np.abs(np.diff(theta["means"], axis=1))[:, 0]
    upright = gap[:, 0] > gap[:, 1]
    rows = np.stack([np.flatnonzero(side)[:400] for side in (upright, ~upright)])
    stuck = replace(fit, posterior=Draws(weights[rows], {name: v[rows] for name, v in theta.items()}))
    found = modes.find(stuck, x, {})
    assert len(found["modes"]) == 2
    for mode in found["modes"]:
        assert max(mode["by_chain"]) > 0.9
        assert min(mode["by_chain"]) < 0.05


def test_iris_has_several_modes_with_three_clusters():
    """Setosa, and the rest with a handful of flowers apart, or a few more: weights near (.6, .33, .06) or (.54, .33, .12)."""
    x = datasets.load("iris").x
    x = (x - x.mean(0)) / x.std(0)
    found = modes.find(sampled(x, 3, draws=1000), x, {})
    assert len(found["modes"]) >= 2
    sizes = np.array([m["sizes"] for m in found["modes"]])
    assert np.allclose(sizes[:, 1], 50, atol=1)  # setosa stands apart in all of them
    assert found["modes"][0]["share"] > 0.8
    assert np.any(np.abs(sizes - [81, 50, 19]).max(1) < 3)


@pytest.mark.parametrize(("name", "K"), [("faithful", 2), ("tsmatz", 3)])
def test_clear_clusters_are_one_mode(name, K):
    x = datasets.load(name).x
    found = modes.find(sampled(x, K, draws=200), x, {"cavi": cavi_of(x, K).responsibilities(x)})
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
    found = modes.find(fit, x, {})
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
    assert modes.find(cavi_of(x, 1).as_draws(4, 100, rng), x, {}) is None
    assert modes.find(cavi_of(x, 2).as_draws(1, 99, rng), x, {}) is None
