"""What every emission family and every allocation must satisfy."""

import numpy as np
import pytest
from scipy import integrate, stats

from mixtures import DiagonalGaussian, Dirichlet, Gaussian, NormalWishart, SphericalGaussian, TiedGaussian
from mixtures.initial import statistics

SHAPES = [(1, 1), (1, 3), (2, 2), (3, 1), (4, 3)]
FAMILIES = [Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian]
every_family = pytest.mark.parametrize("Family", FAMILIES, ids=lambda f: f.covariance)


def random_x(n, D, rng):
    return rng.standard_normal((n, D)) @ rng.standard_normal((D, D)) * 3 + 40


def random_W0(Family, D, rng):
    """A prior scale of the family's shape with nothing symmetric about it."""
    matrix = stats.wishart(D + 3, np.eye(D)).rvs(random_state=rng).reshape(D, D) / 50
    return {"full": matrix, "tied": matrix, "diag": np.diagonal(matrix), "spherical": matrix[0, 0]}[Family.covariance]


def problem(D, K, rng, n=40, Family=Gaussian):
    """A family with nothing symmetric about its prior, soft statistics, and the data behind them."""
    x = random_x(n, D, rng)
    family = Family.from_data(x, K, m0=x[0], beta0=0.3, W0=random_W0(Family, D, rng), nu0=D + 1.7)
    r = rng.dirichlet(np.ones(K), n)
    return family, r, statistics(x, family, r), x


def draw(family, s, rng):
    """One draw of theta from the posterior, without batch axes."""
    return {name: v[0] for name, v in family.sample(family.posterior(s), 1, rng).items()}


def as_data_units(family, q, k):
    """Hyperparameters of cluster k in the units of x: m, beta, W, nu."""
    W = np.linalg.inv(q.W_inv[k] * np.outer(family.unit, family.unit))
    return family.origin + family.unit * q.m[k], q.beta[k], W, q.nu[k]


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_natural_parameters_give_the_log_density(D, K, Family, rng):
    family, _, s, x = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    ours = family.features(x) @ family.natural(theta).T
    raw = family.to_data(theta)
    theirs = [stats.multivariate_normal(m, C).logpdf(x) for m, C in zip(raw["means"], raw["covariances"], strict=True)]
    np.testing.assert_allclose(ours, np.transpose(theirs), rtol=1e-9, atol=1e-9)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_parameters_return_from_the_units_of_the_data(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = family.sample(family.posterior(s), 3, rng)
    back = family.from_data_units(family.to_data(theta))
    assert set(back) == set(theta)
    for name in theta:
        np.testing.assert_allclose(back[name], theta[name], rtol=1e-10, atol=1e-10)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_expected_natural_is_the_gradient_of_the_log_marginal(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    exact = family.expected_natural(family.posterior(s))
    numeric = np.empty_like(s)
    for index in np.ndindex(*s.shape):
        step = np.zeros_like(s)
        step[index] = 1e-4
        numeric[index] = (family.log_marginal(s + step) - family.log_marginal(s - step)) / 2e-4
    np.testing.assert_allclose(numeric, exact, rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize(("D", "K"), [(1, 1), (2, 2), (4, 1)])
def test_expected_natural_is_the_mean_over_draws(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    q = family.posterior(s)
    eta = family.natural(family.sample(q, 20_000, rng))
    error = eta.std(axis=0) / np.sqrt(len(eta))
    z = (eta.mean(axis=0) - family.expected_natural(q)) / error
    assert np.abs(z).max() < 4.5


@every_family
def test_statistics_may_carry_batch_axes(Family, rng):
    family, _, s, _ = problem(2, 3, rng, Family=Family)
    batch = np.stack([s, 2 * s, np.zeros_like(s)])
    np.testing.assert_allclose(family.log_marginal(batch), [family.log_marginal(each) for each in batch], rtol=1e-12)
    for one, many in zip(family.mode(s).values(), family.mode(batch).values(), strict=True):
        np.testing.assert_allclose(many[0], one, rtol=1e-12)
    thetas = family.sample(family.posterior(s), 4, rng)
    single = [family.log_prior({name: v[i] for name, v in thetas.items()}) for i in range(4)]
    np.testing.assert_allclose(family.log_prior(thetas), single, rtol=1e-12)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_divergence_from_the_prior_is_zero_at_it_and_positive_elsewhere(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)

    def kl(s):
        return (s * family.expected_natural(family.posterior(s))).sum() - family.log_marginal(s)

    assert kl(np.zeros_like(s)) == pytest.approx(0, abs=1e-9)
    assert kl(s) > 0.1


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_posterior_density_is_likelihood_times_prior_over_evidence(D, K, Family, rng):
    """Bayes' rule at a random theta: log q(theta) = sum(s * eta(theta)) + log p(theta) - log p(x | z)."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    joint = (s * family.natural(theta)).sum() + family.log_prior(theta)
    posterior = family.log_density(theta, family.posterior(s))
    assert posterior == pytest.approx(joint - family.log_marginal(s), rel=1e-9)


@pytest.mark.parametrize(("D", "K"), SHAPES)
@every_family
def test_log_prior_is_normal_times_wishart(D, K, Family, rng):
    """Against SciPy, from the hyperparameters in the units of x; the Jacobian brings z to x."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    theta = draw(family, s, rng)
    raw, p = family.to_data(theta), family.prior_in_data_units()
    expected = 0.0
    for mu, Sigma in zip(raw["means"], raw["covariances"], strict=True):
        expected += stats.multivariate_normal(p["m0"], Sigma / p["beta0"]).logpdf(mu)
    precisions = np.linalg.inv(raw["covariances"])
    nu0, W0_inv = float(p["nu0"]), p["W0_inv"]
    if Family.covariance in ("full", "tied"):
        wishart = stats.wishart(nu0, np.linalg.inv(W0_inv))
        expected += sum(wishart.logpdf(Lambda) for Lambda in precisions[: 1 if Family.covariance == "tied" else K])
    else:
        diagonal = np.diagonal(precisions, axis1=-2, axis2=-1)
        diagonal = diagonal if Family.covariance == "diag" else diagonal[:, :1]
        expected += stats.gamma(nu0 / 2, scale=2 / W0_inv).logpdf(diagonal).sum()
    assert family.log_prior(theta) + family.log_jacobian(K) == pytest.approx(expected, rel=1e-9)


def precision(theta):
    """Theta with its covariances or variances turned into precisions, and back."""
    return {
        name: v if name == "means" else np.linalg.inv(v) if name == "covariances" else 1 / v
        for name, v in theta.items()
    }


def direction(theta, Family, rng):
    """A random direction in the means and the precisions that the structure allows."""
    steps = {name: rng.standard_normal(v.shape) for name, v in theta.items()}
    if "covariances" in steps:
        step = steps["covariances"] + steps["covariances"].swapaxes(-1, -2)
        steps["covariances"] = np.repeat(step[:1], len(step), axis=0) if Family is TiedGaussian else step
    return steps


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_mode_has_zero_gradient(D, K, Family, rng):
    """Perturb the mode in mu and Lambda: the log posterior sum(s * eta) + log prior must not rise to first order."""
    family, _, s, _ = problem(D, K, rng, Family=Family)
    mode = precision(family.mode(s))

    def log_posterior(step, h):
        theta = precision({name: v + h * step[name] for name, v in mode.items()})
        return (s * family.natural(theta)).sum() + family.log_prior(theta)

    for _ in range(5):
        step = direction(mode, Family, rng)
        ends = [log_posterior(step, h) for h in (-1e-4, 1e-4)]
        assert abs(ends[1] - ends[0]) / 2e-4 < 1e-4
        assert sum(ends) / 2 < log_posterior(step, 0)


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_maximum_likelihood_has_zero_gradient(D, K, Family, rng):
    family, _, s, _ = problem(D, K, rng, Family=Family)
    best = precision(family.maximum_likelihood(s))
    for _ in range(5):
        step = direction(best, Family, rng)
        ends = [
            (s * family.natural(precision({name: v + h * step[name] for name, v in best.items()}))).sum()
            for h in (-1e-4, 1e-4, 0)
        ]
        assert abs(ends[1] - ends[0]) / 2e-4 < 1e-4
        assert (ends[0] + ends[1]) / 2 < ends[2]


@every_family
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_predictive_is_a_ratio_of_evidences(D, K, Family, rng):
    """p(x* | x, z* = k) = p(x, x*) / p(x) with x* added to cluster k."""
    family, _, s, x = problem(D, K, rng, Family=Family)
    star = x[:1] + 0.7
    ratios = []
    for k in range(K):
        added = s.copy()
        added[k] += family.features(star)[0]
        ratios.append(family.log_marginal(added) - family.log_marginal(s))
    np.testing.assert_allclose(family.log_predictive(star, family.posterior(s))[0], ratios, rtol=1e-9)


@every_family
def test_simulated_points_have_the_parameters_moments(Family, rng):
    family, _, s, _ = problem(2, 2, rng, Family=Family)
    theta = draw(family, s, rng)
    x = family.simulate(theta, np.repeat([0, 1], 40_000), rng)
    raw = family.to_data(theta)
    for k, rows in enumerate((x[:40_000], x[40_000:])):
        Sigma = raw["covariances"][k]
        z = (rows.mean(0) - raw["means"][k]) / np.sqrt(np.diagonal(Sigma) / 40_000)
        assert np.abs(z).max() < 4.5
        error = np.sqrt((Sigma**2 + np.outer(np.diagonal(Sigma), np.diagonal(Sigma))) / 40_000)
        assert np.abs((np.cov(rows.T) - Sigma) / error).max() < 4.5


@every_family
def test_one_feature_makes_all_structures_the_full_one_for_one_cluster(Family, rng):
    x = random_x(15, 1, rng)
    ours, full = Family.from_data(x, 1), Gaussian.from_data(x, 1)
    a, b = (family.log_marginal(statistics(x, family, np.ones((15, 1)))) for family in (ours, full))
    assert float(a) == pytest.approx(float(b), rel=1e-10)


def test_diagonal_evidence_is_a_product_over_features(rng):
    x = random_x(15, 3, rng)
    family = DiagonalGaussian.from_data(x, 1, W0=np.array([0.1, 0.2, 0.4]), nu0=4.0)
    parts = [Gaussian.from_data(x[:, [d]], 1, W0=[[w]], nu0=4.0) for d, w in enumerate((0.1, 0.2, 0.4))]
    evidence = [f.log_marginal(statistics(x[:, [d]], f, np.ones((15, 1)))) for d, f in enumerate(parts)]
    assert float(family.log_marginal(statistics(x, family, np.ones((15, 1))))) == pytest.approx(
        sum(map(float, evidence))
    )


def log_integral(log_f):
    """log of the integral of exp(log_f(lambda)) over positive lambda, by quadrature in log lambda about the peak."""
    grid = np.linspace(-20, 20, 4001)
    values = np.array([log_f(np.exp(u)) + u for u in grid])
    return np.log(integrate.simpson(np.exp(values - values.max()), x=grid)) + values.max()


def test_spherical_evidence_by_quadrature(rng):
    """Given lambda a feature's points are jointly normal with covariance (I + 1 1^T / beta0) / lambda."""
    x = random_x(8, 3, rng)
    family = SphericalGaussian.from_data(x, 1, m0=x[0], beta0=0.5, W0=0.3, nu0=3.5)
    shape = np.eye(8) + 1 / 0.5

    def log_joint(lam):
        likelihood = sum(stats.multivariate_normal(np.full(8, x[0, d]), shape / lam).logpdf(x[:, d]) for d in range(3))
        return likelihood + stats.gamma(3.5 / 2, scale=2 * 0.3).logpdf(lam)

    ours = family.log_marginal(statistics(x, family, np.ones((8, 1))))
    assert float(ours) == pytest.approx(log_integral(log_joint), rel=1e-8)


def test_tied_evidence_by_quadrature(rng):
    """Two clusters in one dimension that share lambda, their points given."""
    x = random_x(9, 1, rng)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    family = TiedGaussian.from_data(x, 2, m0=x[0], beta0=0.5, W0=[[0.3]], nu0=3.5)

    def log_joint(lam):
        parts = [x[labels == k, 0] for k in range(2)]
        blocks = [
            stats.multivariate_normal(np.full(len(p), x[0, 0]), (np.eye(len(p)) + 2) / lam).logpdf(p) for p in parts
        ]
        return sum(blocks) + stats.gamma(3.5 / 2, scale=2 * 0.3).logpdf(lam)

    ours = family.log_marginal(statistics(x, family, np.eye(2)[labels]))
    assert float(ours) == pytest.approx(log_integral(log_joint), rel=1e-8)


@pytest.mark.parametrize("D", [1, 2, 4])
def test_draws_have_the_moments_of_the_normal_wishart(D, rng):
    family, _, s, _ = problem(D, 1, rng)
    q = family.posterior(s)
    theta = family.sample(q, 20_000, rng)
    Lambda = np.linalg.inv(theta["covariances"][:, 0])
    variance = q.nu[0] * (
        np.linalg.inv(q.W_inv[0]) ** 2
        + np.outer(np.diagonal(np.linalg.inv(q.W_inv[0])), np.diagonal(np.linalg.inv(q.W_inv[0])))
    )
    z = (Lambda.mean(0) - q.nu[0] * np.linalg.inv(q.W_inv[0])) / np.sqrt(variance / 20_000)
    assert np.abs(z).max() < 4.5
    covariance = q.W_inv[0] / (q.beta[0] * (q.nu[0] - D - 1))
    z = (theta["means"][:, 0].mean(0) - q.m[0]) / np.sqrt(np.diagonal(covariance) / 20_000)
    assert np.abs(z).max() < 4.5


def test_posterior_matches_brute_force_on_a_grid(rng):
    """One feature, one cluster: posterior moments by quadrature over (mu, lambda)."""
    x = np.array([[0.3], [1.9], [2.2], [4.0]])
    family = Gaussian.from_data(x, 1, m0=1.0, beta0=0.5, W0=[[0.7]], nu0=3.0)
    q = family.posterior(statistics(x, family, np.ones((4, 1))))

    def joint(mu, lam):
        prior = stats.norm.pdf(mu, 1.0, (0.5 * lam) ** -0.5) * stats.gamma.pdf(lam, 1.5, scale=2 * 0.7)
        return prior * np.prod(stats.norm.pdf(x, mu, lam**-0.5))

    def expectation(f):
        return integrate.dblquad(
            lambda mu, lam: f(mu, lam) * joint(mu, lam), 0, 12, -12, 16, epsabs=1e-12, epsrel=1e-8
        )[0]

    evidence = expectation(lambda mu, lam: 1.0)
    m, _, W, nu = as_data_units(family, q, 0)
    np.testing.assert_allclose(expectation(lambda mu, lam: mu) / evidence, m[0], rtol=1e-6)
    np.testing.assert_allclose(expectation(lambda mu, lam: lam) / evidence, nu * W[0, 0], rtol=1e-6)
    np.testing.assert_allclose(np.log(evidence), family.log_marginal(statistics(x, family, np.ones((4, 1)))), rtol=1e-7)


@pytest.mark.parametrize("D", [1, 2, 3])
def test_predictive_is_the_student_t_of_the_book(D, rng):
    """PRML 10.81-10.82, against SciPy's Student-t, in the units of the data."""
    family, _, s, x = problem(D, 2, rng)
    q = family.posterior(s)
    theirs = []
    for k in range(2):
        m, beta, W, nu = as_data_units(family, q, k)
        L = (nu + 1 - D) * beta / (1 + beta) * W
        theirs.append(stats.multivariate_t(m, np.linalg.inv(L), nu + 1 - D).logpdf(x))
    np.testing.assert_allclose(family.log_predictive(x, q), np.transpose(theirs), rtol=1e-8, atol=1e-8)


@every_family
def test_default_prior_is_that_of_fraley_and_raftery(Family, rng):
    x = random_x(50, 3, rng)
    prior = Family.from_data(x, 4).prior_in_data_units()
    covariance = np.cov(x.T) / 4 ** (2 / 3)
    variances = np.diagonal(covariance)
    scale = {"full": covariance, "tied": covariance, "diag": variances, "spherical": variances.mean()}[
        Family.covariance
    ]
    np.testing.assert_allclose(prior["m0"], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(prior["W0_inv"], scale, rtol=1e-9)
    assert (prior["beta0"], prior["nu0"]) == (0.01, 5.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nu0": 1.0}, "nu0 is 1"),
        ({"nu0": np.nan}, "nu0 is nan"),
        ({"m0": [0.0, np.nan]}, "m0 must be 2 finite numbers"),
        ({"m0": [0.0, 1.0, 2.0]}, "m0 must be 2 finite numbers"),
        ({"beta0": 0.0}, "beta0 is 0"),
        ({"W0": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
        ({"W0": [[1.0]]}, "shape"),
    ],
)
def test_hyperparameters_outside_their_range_are_refused(change, message, rng):
    with pytest.raises(ValueError, match=message):
        Gaussian.from_data(random_x(20, 2, rng), 2, **change)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([[0.0, 1.0], [np.nan, 2.0]]), "1 missing or infinite values, the first in row 1"),
        (np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), "feature 1 is constant"),
        (np.array([[0.0, 1.0], [1.0, 3.0]]), "singular"),
        (np.array([[0.0, 1.0], [1.0, 3.0], [0.5, 9.0]]) * 1e-200, "variance of feature 0 is too large or too small"),
        (np.array([[0.0, 1.0], [1.0, 3.0], [0.5, 9.0]]) * 1e200, "variance of feature 0 is too large or too small"),
        (np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [5.0, 10.0]]), "singular"),
    ],
)
def test_unusable_data_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        Gaussian.from_data(x, 2)


@pytest.mark.parametrize("alpha0", [0.3, 1.0, 4.0])
def test_dirichlet_expectations_and_marginal(alpha0, rng):
    allocation = Dirichlet.symmetric(3, alpha0)
    counts = np.array([4.0, 0.5, 9.0])
    alpha = allocation.posterior(counts)
    log_pi = allocation.natural(allocation.sample(alpha, 40_000, rng))
    z = (log_pi.mean(0) - allocation.expected_natural(alpha)) / (log_pi.std(0) / 200)
    assert np.abs(z).max() < 4.5
    steps = np.eye(3) * 1e-5
    numeric = [(allocation.log_marginal(counts + h) - allocation.log_marginal(counts - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(numeric, allocation.expected_natural(alpha), rtol=1e-6)


def test_dirichlet_marginal_is_polyas_urn():
    """Labels 0, 1, 0 in turn under Dirichlet(2, 2): 1/2 * 2/5 * 3/6."""
    allocation = Dirichlet.symmetric(2, 2.0)
    assert np.exp(allocation.log_marginal(np.array([2.0, 1.0]))) == pytest.approx(1 / 2 * 2 / 5 * 3 / 6)


@pytest.mark.parametrize("alpha0", [1.0, 2.5])
def test_dirichlet_prior_and_mode_against_scipy(alpha0, rng):
    allocation = Dirichlet.symmetric(3, alpha0)
    pi = rng.dirichlet(np.ones(3))
    assert allocation.log_prior(pi) == pytest.approx(stats.dirichlet(allocation.alpha0).logpdf(pi))
    mode = allocation.mode(np.array([3.0, 1.0, 6.0]))
    posterior = stats.dirichlet(alpha0 + np.array([3.0, 1.0, 6.0]))
    for _ in range(20):
        other = rng.dirichlet(200 * mode + 1)
        assert posterior.logpdf(other / other.sum()) <= posterior.logpdf(mode) + 1e-9


def test_dirichlet_mode_needs_concentrations_of_one():
    with pytest.raises(ValueError, match="at least 1"):
        Dirichlet.symmetric(2, 0.5).mode(np.ones(2))


@pytest.mark.parametrize("alpha0", [[0.0, 1.0], [np.nan], [], [[1.0]]])
def test_dirichlet_concentrations_outside_their_range_are_refused(alpha0):
    with pytest.raises(ValueError, match="positive"):
        Dirichlet(np.array(alpha0))


def test_normal_wishart_normaliser_by_quadrature():
    """D = 1: the integral of lambda^((nu-1)/2) exp(-beta lambda (mu-m)^2 / 2 - w lambda / 2)."""
    q = NormalWishart(np.array([0.4]), np.asarray(1.5), np.array([[0.8]]), np.asarray(3.2))

    def density(mu, lam):
        return lam ** ((3.2 - 1) / 2) * np.exp(-1.5 / 2 * lam * (mu - 0.4) ** 2 - 0.8 * lam / 2)

    integral = integrate.dblquad(density, 0, 60, -30, 30, epsabs=1e-10)[0]
    assert float(q.log_normaliser()) == pytest.approx(np.log(integral), rel=1e-4)
