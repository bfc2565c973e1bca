"""The PyMC twin of linear dynamical systems: the same log joint as the library's, and NUTS on it."""

import numpy as np
import pytest

from mixtures.datasets import load_series, simulate_linear
from mixtures.dynamics import LinearDynamics, local_linear_trend, log_likelihood, random_regression
from mixtures.rows.sequences import Sequences

NAN = np.nan


def with_gaps(x, rng):
    return np.where(rng.random(x.shape) < 0.2, NAN, x)


def case(name, rng):
    nile = load_series("nile").data.x
    data = simulate_linear([14, 9], 2, 3, rng=1)
    if name == "trend":
        return local_linear_trend(), with_gaps(nile[:30], rng)
    if name == "regression":
        X = np.column_stack([np.ones(20), rng.standard_normal(20)])
        return random_regression(X), nile[:20]
    if name == "stationary":
        return LinearDynamics.latent(2, 3, start="stationary"), Sequences(with_gaps(data.data.x, rng), data.lengths)
    if name == "full":
        return LinearDynamics.latent(2, 3), Sequences(with_gaps(data.data.x, rng), data.lengths)
    entries = {"state_covariance": "diagonal", "observation_covariance": "isotropic"}
    return LinearDynamics.latent(2, 3, start="diffuse", **entries), with_gaps(data.data.x, rng)


def bartlett(c, L):
    """log |d Lambda / d (c, a)| of Lambda = L T T^T L^T, T lower triangular with diagonal sqrt(c) (Muirhead 1982, 2.1.9)."""
    D = len(c)
    powers = D - np.arange(D)
    return (
        D * np.log(2)
        + (powers * np.log(c) / 2).sum()
        + (D + 1) * np.log(np.diag(L)).sum()
        - np.log(2 * np.sqrt(c)).sum()
    )


@pytest.mark.parametrize("name", ["trend", "regression", "full", "diagonal", "stationary"])
def test_the_log_joint_of_the_twin_is_the_librarys(name, rng):
    from models.dynamics import build, unconstrain

    model, x = case(name, rng)
    model = model.with_prior(x)
    twin = build(model, x)
    names = [value.name for value in twin.value_vars]
    shown = [own for own in model.dims if own in twin.named_vars]
    outputs = [twin.datalogp, twin.varlogp_nojac, *twin.replace_rvs_by_values([twin[own] for own in shown])]
    compiled = twin.compile_fn(outputs, inputs=twin.value_vars, point_fn=False, mode="FAST_COMPILE")
    for _ in range(3):
        theta = model.sample_prior(rng)
        u = unconstrain(model, theta)
        assert set(u) == set(names)
        likelihood, prior, *values = compiled(*(u[own] for own in names))
        for own, value in zip(shown, values, strict=True):
            np.testing.assert_allclose(value, theta[own], rtol=1e-9, atol=1e-12)
        assert likelihood == pytest.approx(log_likelihood(x, theta, model.diffuse).sum(), rel=1e-9)
        change = 0.0
        for regression, part in zip(("transition", "emission", "initial"), model.parts, strict=True):
            if f"{regression}_c_log__" in u:
                L = np.linalg.cholesky(np.linalg.inv(part.given.scale))
                change += bartlett(np.exp(u[f"{regression}_c_log__"]), L)
        assert prior == pytest.approx(model.log_prior(theta) + change, rel=1e-9, abs=1e-9)
    if name == "stationary":
        u = unconstrain(model, theta | {"transition": 1.01 * np.eye(2)})
        assert compiled(*(u[own] for own in names))[0] == -np.inf


def test_rows_can_be_drawn_from_the_twin(rng):
    """As predictive checks draw them: of every sequence anew, with the variance that the parameters give."""
    import pymc as pm

    from models.dynamics import build

    model, x = case("full", rng)
    twin = build(model, x)
    drawn = pm.draw(twin["x"], draws=3, mode="FAST_COMPILE", random_seed=1)
    assert drawn.shape == (3, 23, 3)
    assert np.isfinite(drawn).all()


def test_a_regression_without_a_conjugate_prior_is_refused():
    from models.dynamics import build

    R = np.array([[NAN, 0.1], [0.1, NAN]])
    model = LinearDynamics.latent(1, 2, observation_covariance=R)
    with pytest.raises(ValueError, match="no conjugate prior"):
        build(model, simulate_linear([20], 1, 2, rng=0).data.x)
