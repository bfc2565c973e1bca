"""The exact posterior of small data sets, against sums over all labellings with SciPy's densities, and its own draws."""

import itertools
import tracemalloc
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln, logsumexp

from mixtures import COVARIANCES, Conjugate, Dirichlet, Poisson, labels
from mixtures.methods import cavi, exact, exact_posterior
from mixtures.methods.partitions import convolve, labellings, partitions

every_structure = pytest.mark.parametrize("covariance", COVARIANCES)

# N, D, alpha0: one to three clusters, alike and not, and more clusters than points.
CASES = [
    (5, 1, (1.5,)),
    (8, 2, (0.7, 0.7)),
    (7, 1, (0.4, 1.5)),
    (6, 1, (1.0, 1.0, 1.0)),
    (6, 2, (0.5, 1.3, 2.0)),
    (6, 2, (2.0, 0.6, 2.0)),
    (3, 1, (0.8, 0.8, 0.8, 0.8)),
]
every_case = pytest.mark.parametrize(("N", "D", "alpha0"), CASES)


def problem(N, D, K, covariance, seed=3):
    """Two clumps of points in raw units, and a family with nothing symmetric about its prior."""
    rng = np.random.default_rng(seed)
    x = 40 + 3 * (rng.standard_normal((N, D)) + 4 * rng.integers(2, size=(N, 1)))
    scale = stats.wishart(D + 3, np.eye(D)).rvs(random_state=rng).reshape(D, D) / 50
    W0 = {"full": scale, "tied": scale, "diag": np.diagonal(scale), "spherical": scale[0, 0]}[covariance]
    return x, COVARIANCES[covariance].from_data(x, K, m0=x[0] + 1, beta0=0.3, W0=W0, nu0=D + 4.7)


class Cluster:
    """What is known of a cluster after its points, in the units of x: PRML's m, beta, W^-1 and nu, point by point.

    Diagonal and spherical clusters have the Normal-Gamma prior of one dimension for each feature, or one for all.
    """

    def __init__(self, family, covariance):
        p = {name: np.asarray(v, dtype=float) for name, v in family.prior_in_data_units().items()}
        self.covariance, self.D = covariance, len(p["m0"])
        self.m, self.beta, self.W_inv, self.nu = p["m0"], float(p["beta0"]), p["W0_inv"], float(p["nu0"])

    def log_density(self, x):
        """Student-t predictive density of points (G, D)."""
        widening = (1 + self.beta) / self.beta
        if self.covariance == "diag":
            return stats.t.logpdf(x, self.nu, self.m, np.sqrt(self.W_inv * widening / self.nu)).sum(-1)
        if self.covariance == "spherical":
            dof, shape = self.nu, np.eye(self.D) * self.W_inv * widening / self.nu
        else:
            dof = self.nu + 1 - self.D
            shape = self.W_inv * widening / dof
        return np.atleast_1d(stats.multivariate_t.logpdf(x, self.m, shape, dof))

    def absorb(self, point, mine=True):
        """The cluster with one more point; where the covariance is shared, a point of another cluster (not ``mine``)."""
        after = Cluster.__new__(Cluster)
        after.__dict__.update(self.__dict__)
        if mine:
            offset = point - self.m
            scatter = self.beta / (self.beta + 1) * np.outer(offset, offset)
            change = {"diag": np.diagonal(scatter), "spherical": np.trace(scatter)}.get(self.covariance, scatter)
            after.W_inv, after.nu = self.W_inv + change, self.nu + (self.D if self.covariance == "spherical" else 1)
            after.m, after.beta = (self.beta * self.m + point) / (self.beta + 1), self.beta + 1
        return after


@dataclass
class Enumeration:
    """Every labelling with log p(x | z), the predictive densities of its clusters at ``grid``, and their locations."""

    z: np.ndarray
    log_m: np.ndarray
    log_density: np.ndarray
    means: np.ndarray

    def log_joint(self, alpha0):
        """log p(x, z) for the labellings of the first len(alpha0) clusters."""
        alpha0 = np.array(alpha0)
        N, K = self.z.shape[1], len(alpha0)
        own = self.z.max(1) < K
        counts = np.array([np.bincount(z, minlength=K) for z in self.z[own]])
        orders = gammaln(N + 1) - gammaln(counts + 1).sum(1)
        return self.log_m[own] + stats.dirichlet_multinomial.logpmf(counts, alpha0, N) - orders, counts

    def posterior(self, alpha0):
        """p(z | x) and E[pi | z]."""
        log_joint, counts = self.log_joint(alpha0)
        return np.exp(log_joint - logsumexp(log_joint)), (counts + alpha0) / (
            counts.sum(1, keepdims=True) + sum(alpha0)
        )


GRID = np.add.outer([-1e3, 10.0, 38.0, 44.0, 52.0, 60.0, 500.0], [0.0, 2.0])


@cache
def enumeration(N, D, K, covariance):
    """All K^N labellings one point after another, so that those with a common beginning share its work."""
    x, family = problem(N, D, K, covariance)
    grid = GRID[:, :D]
    found = []

    def extend(z, log_m, clusters):
        n = len(z)
        if n == N:
            density = np.array([cluster.log_density(grid) for cluster in clusters])
            found.append((z, log_m, density, [cluster.m for cluster in clusters]))
            return
        for k in range(K):
            after = [cluster.absorb(x[n], k == j) for j, cluster in enumerate(clusters)]
            if covariance == "tied":
                for cluster in after:
                    cluster.W_inv, cluster.nu = after[k].W_inv, after[k].nu
            extend((*z, k), log_m + clusters[k].log_density(x[n : n + 1])[0], after)

    extend((), 0.0, [Cluster(family, covariance)] * K)
    return Enumeration(*(np.array(part) for part in zip(*found, strict=True)))


@every_structure
@every_case
def test_exact_is_the_sum_over_all_labellings(N, D, alpha0, covariance):
    K = len(alpha0)
    x, family = problem(N, D, K, covariance)
    fit = exact.fit(x, family, Dirichlet(np.array(alpha0)))
    brute = enumeration(N, D, K, covariance)

    evidence = [logsumexp(brute.log_joint(alpha0[:k])[0]) for k in range(1, K + 1)]
    np.testing.assert_allclose(fit.info["log_evidence"], evidence, rtol=1e-11)

    p, pi = brute.posterior(alpha0)
    together = np.einsum("z,znm->nm", p, brute.z[:, :, None] == brute.z[:, None, :])
    np.testing.assert_allclose(fit.info["coclustering"], together, atol=1e-12)

    occupied = np.bincount([len(set(z)) for z in brute.z.tolist()], p, minlength=K + 1)[1:]
    np.testing.assert_allclose(fit.info["occupied"], occupied, atol=1e-12)

    predictive = logsumexp(brute.log_density, axis=(0, 1), b=(p[:, None] * pi)[..., None])
    np.testing.assert_allclose(fit.log_predictive(GRID[:, :D]), predictive, rtol=1e-10)

    mean = np.einsum("z,zk,zkd->d", p, pi, brute.means)
    np.testing.assert_allclose(fit.info["moments"]["mean"], mean, rtol=1e-11)


@pytest.mark.parametrize("alpha0", [(1.0, 1.0, 1.0), (0.5, 1.3, 0.5)])
def test_eight_points_in_three_clusters(alpha0):
    """All 6561 labellings, with log p(x | z) added up from the 256 subsets."""
    x, family = problem(8, 2, 3, "full")
    fit = exact.fit(x, family, Dirichlet(np.array(alpha0)))

    @cache
    def log_m(subset):
        total, cluster = 0.0, Cluster(family, "full")
        for point in x[list(subset)]:
            total, cluster = total + cluster.log_density(point[None])[0], cluster.absorb(point)
        return total

    z = np.array(list(itertools.product(range(3), repeat=8)))
    log_m_z = np.array([sum(log_m(tuple(np.flatnonzero(labels == k))) for k in range(3)) for labels in z])
    brute = Enumeration(z, log_m_z, np.empty(0), np.empty(0))
    assert fit.info["log_evidence"][-1] == pytest.approx(logsumexp(brute.log_joint(alpha0)[0]), rel=1e-12)
    together = np.einsum("z,znm->nm", brute.posterior(alpha0)[0], z[:, :, None] == z[:, None, :])
    np.testing.assert_allclose(fit.info["coclustering"], together, atol=1e-12)


@pytest.mark.parametrize(("covariance", "N"), [("full", 16), ("diag", 16), ("spherical", 16), ("tied", 11)])
def test_predictive_density_of_the_next_point_is_a_ratio_of_evidences(covariance, N):
    """p(x_N | x_1 .. x_N-1) = p(x_1 .. x_N) / p(x_1 .. x_N-1), for every number of clusters."""
    x, family = problem(N, 2, 3, covariance)
    one, two = (exact.fit(points, family, Dirichlet.symmetric(3, 0.8)) for points in (x[:-1], x))
    ratio = two.info["log_evidence"] - one.info["log_evidence"]
    assert one.log_predictive(x[-1:])[0] == pytest.approx(ratio[-1], rel=1e-10)
    fewer = exact.fit(x[:-1], family, Dirichlet.symmetric(2, 0.8))
    assert fewer.log_predictive(x[-1:])[0] == pytest.approx(ratio[1], rel=1e-10)


@dataclass(frozen=True)
class Unfactored:
    """A Dirichlet that does not say that its labellings are a product over clusters."""

    inner: Dirichlet

    def __getattr__(self, name):
        if name == "log_factors":
            raise AttributeError(name)
        return getattr(self.inner, name)


@pytest.mark.parametrize("alpha0", [(0.8, 0.8, 0.8, 0.8), (0.8, 2.0, 0.3)])
def test_subsets_and_labellings_agree(alpha0):
    x, family = problem(9, 2, len(alpha0), "full")
    allocation = Dirichlet(np.array(alpha0))
    one, two = (exact.fit(x, family, a) for a in (allocation, Unfactored(allocation)))
    assert type(one.posterior) is not type(two.posterior)
    np.testing.assert_allclose(one.log_predictive(x), two.log_predictive(x), rtol=1e-10)
    for name in ("log_evidence", "coclustering", "occupied"):
        np.testing.assert_allclose(one.info[name], two.info[name], rtol=1e-10, atol=1e-13)
    for name, value in one.info["moments"].items():
        np.testing.assert_allclose(two.info["moments"][name], value, rtol=1e-9)


@every_structure
def test_predictive_density_integrates_to_one(covariance):
    """The trapezium rule in u with x = tan(u), whose error vanishes with the smoothness of the Student-t tails."""
    x, family = problem(8, 1, 2, covariance)
    fit = exact.fit(x, family, Dirichlet(np.array([0.5, 1.5])))
    u = (np.arange(4000) + 0.5) * np.pi / 4000 - np.pi / 2
    density = np.exp(fit.log_predictive(44 + 5 * np.tan(u)[:, None]))
    assert (density * 5 / np.cos(u) ** 2).sum() * np.pi / 4000 == pytest.approx(1, abs=1e-9)


@every_structure
@pytest.mark.parametrize("alpha0", [(0.9, 0.9, 0.9), (0.6, 1.0, 2.5)])
def test_draws_follow_the_exact_posterior(covariance, alpha0, rng):
    """Labels, label-free moments and predictive densities of independent draws, within five standard errors."""
    x, family = problem(6, 2, 3, covariance)
    fit = exact.fit(x, family, Dirichlet(np.array(alpha0)))
    n = 20_000

    def agree(samples, expected):
        error = np.maximum(samples.std(0), 1e-3) / np.sqrt(n)
        assert np.abs((samples.mean(0) - expected) / error).max() < 5

    z = fit.posterior.labels(n, rng)
    brute = enumeration(6, 2, 3, covariance)
    p, pi = brute.posterior(alpha0)
    agree(z[:, :, None] == z[:, None, :], fit.info["coclustering"])
    agree(z[:, :, None] == np.arange(3), np.einsum("z,znk->nk", p, brute.z[:, :, None] == np.arange(3)))

    draws = fit.as_draws(1, n, rng)
    weights, theta = draws.posterior.flat()
    theta = family.to_data(theta)
    agree(weights, p @ pi)
    mu = (weights[..., None] * theta["means"]).sum(1)
    moments = fit.info["moments"]
    agree(mu, moments["mean"])
    within = (weights[..., None, None] * theta["covariances"]).sum(1)
    agree(within, moments["within"])
    offset = theta["means"] - moments["mean"]
    between = np.einsum("sk,ski,skj->sij", weights, offset, offset)
    agree(within + between, moments["covariance"])
    agree(np.exp(draws.log_likelihood(x)[0]), np.exp(fit.log_predictive(x)))


@every_structure
def test_covariance_is_missing_where_it_does_not_exist(covariance, rng):
    """E[1 / lambda] needs more than two degrees of freedom a feature."""
    x = rng.standard_normal((5, 2))
    family = COVARIANCES[covariance].from_data(x, 2, nu0=1.5)
    moments = exact.fit(x, family, Dirichlet.symmetric(2)).info["moments"]
    if covariance == "tied":  # the one covariance matrix is known from all points
        assert np.isfinite(moments["covariance"]).all()
    else:
        assert np.isnan(np.diagonal(moments["covariance"])).all()
    assert np.isfinite(moments["mean"]).all()


@every_structure
@pytest.mark.parametrize("alpha0", [(1.0, 1.0), (0.5, 2.0, 1.0)])
def test_variational_bound_is_below_the_exact_evidence(covariance, alpha0, rng):
    x, family = problem(10, 2, len(alpha0), covariance)
    allocation = Dirichlet(np.array(alpha0))
    bound = cavi.fit(x, family, allocation, rng=rng).bound[-1]
    assert bound < exact.fit(x, family, allocation).info["log_evidence"][-1] < bound + len(x)


@every_structure
def test_one_cluster_is_conjugate_for_any_number_of_points(covariance, rng):
    x = rng.standard_normal((30_000, 2)) * 5
    family, allocation = COVARIANCES[covariance].from_data(x, 1), Dirichlet.symmetric(1)
    fit, closed = exact.fit(x, family, allocation), cavi.fit(x, family, allocation, rng=rng)
    assert fit.info["log_evidence"] == pytest.approx(closed.bound[-1:], rel=1e-12)
    np.testing.assert_allclose(fit.log_predictive(x), closed.log_predictive(x), rtol=1e-12)
    assert fit.info["coclustering"].shape == (30_000, 30_000)
    assert np.all(fit.info["coclustering"][:2] == 1)
    tree = fit.draws(2000, np.random.default_rng(1))["posterior"]
    mean, sd = closed.draws(2000, np.random.default_rng(2))["posterior"]["means"].values, 5 / np.sqrt(len(x))
    np.testing.assert_allclose(tree["means"].values.mean((0, 1)), mean.mean((0, 1)), atol=5 * sd * np.sqrt(2 / 2000))
    np.testing.assert_allclose(tree["means"].values.std((0, 1)), sd, rtol=5 / np.sqrt(2 * 2000))


@every_structure
def test_order_shift_and_scale_do_not_matter(covariance, rng):
    x, _ = problem(8, 2, 3, covariance)
    order = rng.permutation(8)
    one, two = (
        exact.fit(y, COVARIANCES[covariance].from_data(y, 3), Dirichlet.symmetric(3)) for y in (x, x[order] * 1e3 - 1e6)
    )
    np.testing.assert_allclose(two.info["log_evidence"] + 16 * np.log(1e3), one.info["log_evidence"], atol=1e-7)
    np.testing.assert_allclose(two.info["coclustering"], one.info["coclustering"][np.ix_(order, order)], atol=1e-7)
    covariances = (each.info["moments"]["covariance"] for each in (one, two))
    np.testing.assert_allclose(next(covariances) * 1e6, next(covariances), rtol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_fit_answers_as_every_other(covariance, rng):
    x, family = problem(7, 2, 3, covariance)
    fit = exact.fit(x, family, Dirichlet.symmetric(3), rng=rng)
    assert (fit.method, fit.kind, fit.converged, len(fit.bound)) == ("exact", "exact", True, 0)
    tree = fit.draws(30, rng)
    assert tree["posterior"]["covariances"].shape == (1, 30, 3, 2, 2)
    np.testing.assert_allclose(tree["posterior"]["weights"].sum("cluster"), 1)
    assert fit.sample(11, rng)[0].shape == (11, 2)
    one, two = (fit.parameters(9, np.random.default_rng(4))[1]["means"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(TypeError, match="use as_draws first"):
        fit.responsibilities(x)
    with pytest.raises(TypeError, match="use as_draws first"):
        labels.align(fit, np.full((7, 3), 1 / 3), x)
    assert not isinstance(fit.posterior, Conjugate)


def test_blocks_do_not_change_the_numbers(monkeypatch):
    for covariance in ("full", "tied"):
        x, family = problem(8, 2, 3, covariance)
        one = exact.fit(x, family, Dirichlet.symmetric(3))
        expected = one.log_predictive(x)
        monkeypatch.setattr(exact_posterior, "BLOCK_ELEMENTS", 200)
        two = exact.fit(x, family, Dirichlet.symmetric(3))
        np.testing.assert_allclose(two.log_predictive(x), expected, rtol=1e-12)
        for name in ("log_evidence", "coclustering", "occupied"):
            np.testing.assert_allclose(two.info[name], one.info[name], rtol=1e-12, atol=1e-14)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("covariance", "N", "alpha0"), [("full", 40, (1, 1, 1)), ("diag", 30, (1, 2)), ("tied", 25, (1, 1, 1))]
)
def test_too_many_points_are_refused_with_the_cost_and_a_way_out(covariance, N, alpha0, rng):
    x = rng.standard_normal((N, 2))
    family, allocation = COVARIANCES[covariance].from_data(x, len(alpha0)), Dirichlet(np.array(alpha0))
    message = (
        rf"of {N} points in {len(alpha0)} clusters is a sum of \S+ terms: about \S+ s and \S+ GB.*use gibbs or nuts"
    )
    with pytest.raises(ValueError, match=message) as caught:
        exact.fit(x, family, allocation)
    largest = int(str(caught.value).split()[-2])
    assert 11 <= largest < N
    assert exact.cost(largest, family, allocation).affordable
    assert not exact.cost(largest + 1, family, allocation).affordable


def test_a_sum_beyond_floats_is_refused_without_its_numbers(rng):
    x = rng.poisson(2.0, (1200, 1)).astype(float)
    with pytest.raises(
        ValueError, match="sum of more terms than any computer adds up, where 60 s and 2 GB are allowed"
    ):
        exact.fit(x, Poisson.from_data(x, 2), Dirichlet.symmetric(2))


def test_cost_counts_the_terms(rng):
    """3^N for each convolution of two or more blocks but the last, and 2^N subsets; or every labelling."""
    x, full = problem(7, 2, 4, "full")
    _, tied = problem(7, 2, 4, "tied")
    alike, mixed = Dirichlet.symmetric(4), Dirichlet(np.array([1.0, 2.0, 1.0, 3.0]))
    assert exact.cost(7, full, alike).terms == 2 * 3**7 + 2**7
    fit = exact.fit(x, full, mixed)
    products = sum(len(blocks) > 1 for blocks in fit.posterior.tables)
    assert fit.info["terms"] == exact.cost(7, full, mixed).terms == products * 3**7 + 2**7
    assert exact.cost(7, tied, alike).terms == len({tuple(z) for z in labellings(7, 4, True)}) == 715
    assert exact.cost(7, tied, mixed).terms == 4**7
    assert not exact.cost(10**6, full, alike).affordable


@pytest.mark.parametrize(
    ("covariance", "N", "alpha0"), [("full", 17, (1, 1, 1)), ("full", 18, (1, 2)), ("tied", 11, (1, 2, 3))]
)
def test_memory_stays_below_its_estimate(covariance, N, alpha0):
    x, family = problem(N, 2, len(alpha0), covariance)
    allocation = Dirichlet(np.array(alpha0))
    estimate = exact.cost(N, family, allocation).bytes
    tracemalloc.start()
    try:
        exact.fit(x, family, allocation).log_predictive(x)
        assert estimate / 8 < tracemalloc.get_traced_memory()[1] < estimate
    finally:
        tracemalloc.stop()


def test_partitions_are_counted_as_bell_did():
    """The Bell numbers: all partitions of n points (OEIS A000110)."""
    assert [partitions(n, n) for n in range(1, 9)] == [1, 2, 5, 15, 52, 203, 877, 4140]
    assert len(labellings(8, 8, True)) == 4140
    assert len({tuple(z) for z in labellings(4, 3, False).tolist()}) == 81


@pytest.mark.parametrize("spread", [1.0, 4000.0])
def test_convolution_is_the_sum_over_subsets(spread, rng):
    """Eight points, the six of the inner loop and two more, with zeros; exp of the larger spread is far out of range."""
    f, g = spread * rng.standard_normal((2, 256))
    f[:7] = g[0] = -np.inf
    expected = [logsumexp([f[S ^ T] + g[T] for T in range(S + 1) if T & ~S == 0]) for S in range(256)]
    np.testing.assert_allclose(convolve(f, g), expected, rtol=1e-13)


def improper(family, **changes):
    return replace(family, prior=replace(family.prior, **changes))


@every_structure
@pytest.mark.parametrize("what", ["beta", "scale", "dof"])
def test_improper_priors_are_refused(covariance, what, rng):
    x = rng.standard_normal((6, 2))
    family = COVARIANCES[covariance].from_data(x, 2)
    scale, dof = ("W_inv", "nu") if covariance in ("full", "tied") else ("b", "a")
    name = {"beta": "beta", "scale": scale, "dof": dof}[what]
    zero = 0 * np.asarray(getattr(family.prior, name))
    for value in (zero, zero - 1 / 2):
        with pytest.raises(ValueError, match="prior of the clusters is improper"):
            exact.fit(x, improper(family, **{name: value}), Dirichlet.symmetric(2))


def test_missing_values_are_refused(rng):
    x, family = problem(6, 2, 2, "full")
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        exact.fit(x, family, Dirichlet.symmetric(2))
