"""The pass on a JAX device is the plain one to rounding, in float32 to its own, and JAX's settings stay as they were."""

import numpy as np
import pytest
from conftest import three_clusters

from mixtures import COVARIANCES, Bernoulli, Categorical, Dirichlet, Gaussian, Poisson, Product
from mixtures.engines import jax as device
from mixtures.engines import plain
from mixtures.engines.passes import one_pass
from mixtures.methods import cavi, em, gibbs
from mixtures.rows.sequences import Sequences

METHODS = {"em": em.fit, "cavi": cavi.fit, "map": lambda *args, **options: em.fit(*args, prior=True, **options)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Rows in several chunks, blocks and parts."""
    monkeypatch.setattr(device, "CHUNK", 64)
    monkeypatch.setattr(device, "MOVED", 128)
    monkeypatch.setattr(device, "BLOCK", 3 * 64 * 8 * 20)


def posed(covariance, D, K, rng, N=250):
    """Points, weights, family and natural parameters of two runs, each a step from random responsibilities."""
    x, weights = three_clusters(N, rng, separation=4.0), rng.random(N)
    x = np.column_stack([x, rng.standard_normal((N, D - 2))]) if D > 2 else x[:, :D]
    family, allocation = COVARIANCES[covariance].from_data(x, K), Dirichlet.symmetric(K)
    r = rng.dirichlet(np.full(K, 0.3), (2, N))
    return x, weights, family, em.step(family, allocation, r.swapaxes(1, 2) @ family.features(x))[0]


def close(found, expected, rtol):
    """log_z, and s to this share of its largest entry."""
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=rtol * np.abs(expected[1]).max())


@pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-13), ("float32", 2e-6)])
@pytest.mark.parametrize(
    ("covariance", "D", "K"), [("full", 1, 1), ("full", 7, 2), ("tied", 2, 3), ("diag", 7, 2), ("spherical", 2, 3)]
)
def test_the_pass_is_the_plain_one(covariance, D, K, precision, rtol, rng):
    """Of seven features and two clusters float64 takes the whitened form too."""
    x, weights, family, eta = posed(covariance, D, K, rng)
    for w in (None, weights):
        expected = plain.pass_(family, x, w, eta)
        close(device.one_pass(x, w, family, precision)(eta), expected, rtol)
        parts = device.one_pass(Blocks(x, w), None, family, precision)
        close(parts(eta[0]), (expected[0][0], expected[1][0]), rtol)


def test_both_forms_are_seen(rng):
    x, _, family, eta = posed("full", 7, 2, rng)
    few, many = eta[0], np.tile(eta[0], (3, 1))
    forms = {K: device.one_pass(x, None, family).form(own) for K, own in ((2, few), (6, many))}
    assert forms == {2: "rotated", 6: "features"}


class Blocks:
    """Rows in blocks, one of them empty."""

    def __init__(self, x, weights=None):
        self.x, self.weights = x, weights

    def __iter__(self):
        for part in (slice(0, 128), slice(128, 128), slice(128, None)):
            yield self.x[part] if self.weights is None else (self.x[part], self.weights[part])


@pytest.mark.parametrize(
    ("kind", "precision"), [("bernoulli", "float64"), ("categorical", "float32"), ("poisson", "float64")]
)
def test_discrete_families_need_no_form_of_their_own(kind, precision, rng):
    x = rng.integers(0, 2 if kind == "bernoulli" else 4, (200, 5)).astype(float)
    family = {"bernoulli": Bernoulli, "categorical": Categorical, "poisson": Poisson}[kind].from_data(x, 3)
    eta = rng.standard_normal((3, family.features(x).shape[1])) * 0.3
    tolerance = 1e-13 if precision == "float64" else 2e-6
    close(device.one_pass(x, None, family, precision)(eta), plain.pass_(family, x, None, eta), tolerance)


def test_a_product_is_one_table_of_monomials(rng):
    x = np.column_stack([rng.poisson(3, 200), three_clusters(200, rng)]).astype(float)
    family = Product.from_data(x, 2, families=[Poisson, Gaussian], columns=[[0], [1, 2]], hyperparameters=[{}, {}])
    eta = rng.standard_normal((2, family.features(x).shape[1])) * 0.1
    close(device.one_pass(x, None, family)(eta), plain.pass_(family, x, None, eta), 1e-13)
    with pytest.raises(ValueError, match="float32 loses the variances"):
        device.one_pass(x, None, family, "float32")


def test_gaps_among_independent_features_only_leave_terms_out(rng):
    x = three_clusters(200, rng)
    x[::7, 0] = np.nan
    for covariance in ("diag", "spherical"):
        family = COVARIANCES[covariance].from_data(x, 2, missing=True)
        eta = family.natural(family.mode(rng.dirichlet(np.ones(2), 200).T @ family.features(x)))
        close(device.one_pass(x, None, family)(eta), plain.pass_(family, x, None, eta), 1e-13)
        with pytest.raises(ValueError, match="float32 loses the variances"):
            device.one_pass(x, None, family, "float32")


def test_float32_keeps_the_variance_of_a_tight_cluster_far_away(rng):
    """At a standard deviation of 1e-4 of the distance, where E[xx^T] - mu mu^T in float32 has no digits left."""
    centres = np.array([[0.0, 0.0], [1.0, 1.0]])
    labels = np.arange(1000) % 2
    x = 1e8 + centres[labels] + 1e-4 * rng.standard_normal((1000, 2))
    family = Gaussian.from_data(x, 2)
    eta = family.natural(family.maximum_likelihood(np.eye(2)[labels].T @ family.features(x)))
    passes = [device.one_pass(x, None, family, precision)(eta)[1] for precision in ("float32", "float64")]
    single, double = (family.maximum_likelihood(s)["covariances"] for s in passes)
    sd = np.sqrt(np.diagonal(double, axis1=1, axis2=2))
    assert np.all(np.abs(single - double) < 1e-3 * sd[:, :, None] * sd[:, None])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_methods_take_the_engine_as_the_others(covariance, method, rng):
    x = three_clusters(600, rng, separation=3.0)
    family, allocation = COVARIANCES[covariance].from_data(x, 3), Dirichlet.symmetric(3)
    settings = {"rng": rng, "init": 3.0 * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])}
    ours = METHODS[method](x, family, allocation, engine="jax", **settings)
    theirs = METHODS[method](x, family, allocation, engine="plain", **settings)
    assert ours.bound[-1] == pytest.approx(theirs.bound[-1], rel=1e-9)
    single = METHODS[method](x, family, allocation, engine="jax", precision="float32", **settings)
    assert single.converged
    assert single.bound[-1] == pytest.approx(theirs.bound[-1], abs=1e-5 * len(x))


def test_noise_is_added_as_by_the_plain_engine(rng):
    x, weights, family, eta = posed("full", 2, 3, rng)
    passes = [one_pass(x, weights, family, 900, 0.1, engine) for engine in ("jax", "plain")]
    close(passes[0](eta), passes[1](eta), 1e-13)


def test_settings_of_jax_stay_as_they_were(rng):
    """With float64 off outside, the pass is in float64 all the same, and what follows is in float32 again."""
    import jax

    x, _, family, eta = posed("full", 2, 3, rng)
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        close(device.one_pass(x, None, family)(eta), plain.pass_(family, x, None, eta), 1e-13)
        assert jax.numpy.ones(1).dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", before)


def test_what_it_does_not_do_is_refused(rng):
    x, _, family, _ = posed("full", 2, 3, rng)
    gapped = np.where(np.arange(len(x))[:, None] == [3, -1], np.nan, x)
    allocation = Dirichlet.symmetric(3)
    for rows, own, message in (
        (Sequences(x), family, "takes no sequences"),
        (x[None], family, "one data set at a time"),
        (gapped, COVARIANCES["full"].from_data(gapped, 3, missing=True), "no gaps among correlated features"),
    ):
        with pytest.raises(ValueError, match=message):
            one_pass(rows, None, own, 9, engine="jax")
    with pytest.raises(ValueError, match="draws no labels"):
        gibbs.fit(x, family, allocation, rng=rng, engine="jax", chains=2, draws=5, tune=5)
    with pytest.raises(ValueError, match="which only the JAX engine has"):
        em.fit(x, family, allocation, rng=rng, precision="float32")
    with pytest.raises(ValueError, match="expected float64 or float32"):
        device.one_pass(x, None, family, "float16")
