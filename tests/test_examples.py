"""The worked examples: same model on both sides, bounds by brute force, and what is known of each posterior."""

import importlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
from scipy import integrate, stats
from scipy.special import expit, gammaln, logsumexp

import reports
from reports.examples import EXAMPLES, eight_schools, gaussian, linear_regression, logistic_regression, wrong
from reports.examples.factorised import moving
from reports.examples.sources import posteriordb
from reports.validation import faults

HERE = Path(reports.__file__).parent / "examples"
RIGHT = [name for name in EXAMPLES if name != "wrong"]
RIGHT_BOUND = [name for name in RIGHT if name != "logistic-regression"]


def joint_gaussian(v, x):
    tau = v["tau"]
    prior = stats.gamma.logpdf(tau, gaussian.A0, scale=1 / gaussian.B0)
    prior += stats.norm.logpdf(v["mu"], gaussian.MU0, (gaussian.LAMBDA0 * tau) ** -0.5)
    return prior + stats.norm.logpdf(x["x"], v["mu"][:, None], tau[:, None] ** -0.5).sum(1)


def joint_linear(v, x):
    prior = stats.gamma.logpdf(v["alpha"], linear_regression.A0, scale=1 / linear_regression.B0)
    prior += stats.gamma.logpdf(v["beta"], linear_regression.C0, scale=1 / linear_regression.D0)
    prior += stats.norm.logpdf(v["w"], 0, v["alpha"][:, None] ** -0.5).sum(1)
    return prior + stats.norm.logpdf(x["t"], v["w"] @ x["Phi"].T, v["beta"][:, None] ** -0.5).sum(1)


def joint_logistic(v, x):
    prior = stats.norm.logpdf(v["w"], 0, logistic_regression.SD0).sum(1)
    return prior + stats.bernoulli.logpmf(x["t"], expit(v["w"] @ x["Phi"].T)).sum(1)


def joint_schools(v, x):
    prior = stats.norm.logpdf(v["mu"], 0, 5) + stats.halfcauchy.logpdf(v["tau"], scale=5)
    prior += stats.norm.logpdf(v["z"]).sum(1)
    return prior + stats.norm.logpdf(x["y"], v["mu"][:, None] + v["tau"][:, None] * v["z"], x["sigma"]).sum(1)


JOINTS = {
    "gaussian": joint_gaussian,
    "linear-regression": joint_linear,
    "logistic-regression": joint_logistic,
    "eight-schools": joint_schools,
}


def example(name):
    """Its module, its data and its q."""
    module = importlib.import_module(EXAMPLES[name])
    data = module.load()
    return module, data, module.fit(data, np.random.default_rng(0))


@pytest.mark.parametrize("name", RIGHT)
def test_the_pymc_model_is_the_one_that_q_approximates(name, rng):
    """Log joint of five draws of q: PyMC's beside one written with SciPy."""
    module, data, q = example(name)
    draws, model = q.sample(5, rng), module.build()
    log_joint = model.compile_fn(model.logp(jacobian=False), mode="FAST_COMPILE")
    transforms = {value.name: model.rvs_to_transforms[rv] for rv, value in model.rvs_to_values.items()}
    free = {value.name: rv for rv, value in model.rvs_to_values.items() if rv in model.free_RVs}
    points = [
        {
            key: transforms[key].forward(draws[rv.name][i], *rv.owner.inputs).eval()
            if transforms[key]
            else draws[rv.name][i]
            for key, rv in free.items()
        }
        for i in range(5)
    ]
    np.testing.assert_allclose([log_joint(point) for point in points], JOINTS[name](draws, data), rtol=1e-8)


@pytest.mark.parametrize("name", RIGHT)
def test_the_bound_never_falls(name):
    elbo = example(name)[2].elbo
    assert len(elbo) > 2
    assert np.diff(elbo).min() > -1e-9
    assert not moving(elbo)


@pytest.mark.parametrize("name", RIGHT_BOUND)
def test_the_bound_is_the_mean_of_log_joint_less_log_q(name, rng):
    """To four standard errors; of eight schools the integral over the auxiliary a makes it a little larger."""
    _, data, q = example(name)
    draws = q.sample(4000, rng)
    ratio = JOINTS[name](draws, data) - q.log_prob(draws)
    error = 4 * ratio.std() / np.sqrt(4000)
    if name == "eight-schools":
        assert q.elbo[-1] - error < ratio.mean() < q.elbo[-1] + 0.5
    else:
        assert abs(ratio.mean() - q.elbo[-1]) < error


def schools_by_theta(v, x):
    """The log joint of (mu, tau, theta)."""
    z = (v["theta"] - v["mu"][:, None]) / v["tau"][:, None]
    return joint_schools(v | {"z": z}, x) - 8 * np.log(v["tau"])


def departure(joint, data, draws, name, q, rng):
    """How far ln q_j is from the mean of the log joint over the other factors, up to a constant (PRML 10.9).

    In standard errors, at five draws of the factor; the constant is taken from the first.
    """
    n = len(draws[name])
    log_p = []
    points = q.rvs(size=5, random_state=rng)
    for point in points:
        log_p.append(joint(draws | {name: np.broadcast_to(point, (n, *np.shape(point)))}, data) - q.logpdf(point))
    differences = np.array(log_p[1:]) - log_p[0]
    return np.abs(differences.mean(1) / (differences.std(1) / np.sqrt(n) + 1e-9))


@pytest.mark.parametrize("name", ["gaussian", "linear-regression", "eight-schools", "wrong"])
def test_every_factor_is_the_best_given_the_others(name, rng):
    """But for the one of the wrong example that was made so, and tau of eight schools, of which a has been integrated out."""
    _, data, q = example(name)
    joint = schools_by_theta if name == "eight-schools" else JOINTS["gaussian" if name == "wrong" else name]
    factors = {key: f for key, f in (q.q if name == "eight-schools" else q).factors.items() if key != "tau^2"}
    found = {key: departure(joint, data, q.sample(2000, rng), key, f, rng).max() for key, f in factors.items()}
    wrong = {"tau"} if name == "wrong" else set()
    assert {key for key, size in found.items() if size > 5} == wrong, found


@pytest.mark.parametrize("name", EXAMPLES)
def test_data_that_are_left_out_are_as_loaded(name, rng):
    """As in a calibration, which gives the observed variable alone."""
    module, data, q = example(name)
    (observed,) = module.build({}).observed_RVs
    np.testing.assert_array_equal(module.fit({}, rng).elbo, q.elbo)
    fewer = {observed.name: np.roll(data[observed.name], 1) ** 2}
    assert module.fit(fewer, rng).elbo[-1] != q.elbo[-1]
    model = module.build(fewer)
    values = model.rvs_to_values[model[observed.name]]
    np.testing.assert_array_equal(values.data, fewer[observed.name])


@pytest.mark.parametrize("name", RIGHT)
def test_data_drawn_from_the_prior_are_fitted(name, rng):
    """However far from the data of the example: a calibration needs it."""
    module = importlib.import_module(EXAMPLES[name])
    (observed,) = module.build().observed_RVs
    for drawn in pm.draw(observed, draws=20, random_seed=rng, mode="FAST_COMPILE"):
        q = module.fit({observed.name: drawn}, rng)
        assert np.diff(q.elbo).min() > -1e-8
        assert np.isfinite(q.log_prob(q.sample(100, rng))).all()


def test_gaussian_is_close_to_the_exact_normal_gamma_posterior():
    """The exact one is conjugate (PRML 2.154), and the bound is its evidence less KL(q || p), by quadrature."""
    _, data, q = example("gaussian")
    x, N = data["x"], len(data["x"])
    shape, lambda_N = gaussian.A0 + N / 2, gaussian.LAMBDA0 + N
    mu_N = (gaussian.LAMBDA0 * gaussian.MU0 + x.sum()) / lambda_N
    scatter = (x**2).sum() + gaussian.LAMBDA0 * gaussian.MU0**2 - lambda_N * mu_N**2
    rate = gaussian.B0 + scatter / 2
    evidence = (
        gammaln(shape) - gammaln(gaussian.A0) + gaussian.A0 * np.log(gaussian.B0) - shape * np.log(rate)
        + np.log(gaussian.LAMBDA0 / lambda_N) / 2 - N / 2 * np.log(2 * np.pi)
    )  # fmt: skip
    mu, tau = q.factors["mu"], q.factors["tau"]
    exact_mu = stats.t(2 * shape, mu_N, np.sqrt(rate / (shape * lambda_N)))
    assert mu.mean() == pytest.approx(mu_N, rel=1e-12)
    assert mu.std() == pytest.approx(exact_mu.std(), rel=0.03)
    assert tau.mean() == pytest.approx(shape / rate, rel=0.02)

    def integrand(t, m):
        log_p = stats.gamma.logpdf(t, shape, scale=1 / rate) + stats.norm.logpdf(m, mu_N, (lambda_N * t) ** -0.5)
        log_q = mu.logpdf(m) + tau.logpdf(t)
        return np.exp(log_q) * (log_q - log_p)

    grid = [np.linspace(q.ppf(1e-9), q.ppf(1 - 1e-9), 201) for q in (mu, tau)]
    values = integrand(grid[1][None, :], grid[0][:, None])
    kl = integrate.simpson(integrate.simpson(values, x=grid[1]), x=grid[0])
    assert q.elbo[-1] == pytest.approx(evidence - kl, abs=1e-5)
    assert 0 < kl < 0.05


def test_linear_regression_is_close_to_the_integral_over_both_precisions():
    """Given (alpha, beta) the posterior of w is normal and the evidence closed (PRML 3.53, 3.54, 3.86): a sum over a grid."""
    _, data, q = example("linear-regression")
    Phi, t = data["Phi"], data["t"]
    N, M = Phi.shape
    alphas = q.factors["alpha"].ppf(np.linspace(0.0005, 0.99995, 120))
    betas = np.linspace(*q.factors["beta"].ppf([1e-6, 1 - 1e-6]), 60)
    alpha, beta = (a.ravel() for a in np.meshgrid(alphas, betas, indexing="ij"))
    width = np.outer(np.gradient(alphas), np.gradient(betas)).ravel()
    A = alpha[:, None, None] * np.eye(M) + beta[:, None, None] * (Phi.T @ Phi)
    S = np.linalg.inv(A)
    m = beta[:, None] * (S @ (Phi.T @ t))
    error = beta / 2 * ((t - m @ Phi.T) ** 2).sum(1) + alpha / 2 * (m**2).sum(1)
    log_p = M / 2 * np.log(alpha) + N / 2 * np.log(beta) - error - np.linalg.slogdet(A)[1] / 2
    log_p += stats.gamma.logpdf(alpha, 1) + stats.gamma.logpdf(beta, 1) + np.log(width)
    p = np.exp(log_p - logsumexp(log_p))
    mean = p @ m
    sd = np.sqrt(p @ (np.diagonal(S, axis1=1, axis2=2) + (m - mean) ** 2))
    np.testing.assert_allclose(q.factors["w"].mean, mean, atol=0.02 * sd.min())
    np.testing.assert_allclose(np.sqrt(np.diag(q.factors["w"].cov)), sd, rtol=0.01)
    assert q.factors["beta"].mean() == pytest.approx(p @ beta, rel=0.005)
    assert q.factors["alpha"].mean() == pytest.approx(p @ alpha, rel=0.03)


def test_the_bound_of_logistic_regression_is_below_that_of_its_q(rng):
    """Jaakkola & Jordan's bound gives away a little more than the ELBO of the same q does."""
    _, data, q = example("logistic-regression")
    draws = q.sample(4000, rng)
    ratio = joint_logistic(draws, data) - q.log_prob(draws)
    assert q.elbo[-1] < ratio.mean() - 4 * ratio.std() / np.sqrt(4000)


def test_logistic_regression_has_the_right_mean_and_is_too_narrow(rng):
    """Beside the posterior by importance sampling from a wider t distribution, with its Monte Carlo error."""
    _, data, q = example("logistic-regression")
    w = q.factors["w"]
    wide = stats.multivariate_t(w.mean, 1.3 * w.cov, df=10)
    draws = wide.rvs(20_000, random_state=rng)
    log_p = joint_logistic({"w": draws}, data) - wide.logpdf(draws)
    p = np.exp(log_p - logsumexp(log_p))
    effective = 1 / (p**2).sum()
    assert effective > 5000
    mean = p @ draws
    sd = np.sqrt(p @ (draws - mean) ** 2)
    np.testing.assert_allclose((w.mean - mean) / sd, 0, atol=0.1 + 4 / np.sqrt(effective))
    ratio = np.sqrt(np.diag(w.cov)) / sd
    assert ratio.max() < 1 + 4 / np.sqrt(2 * effective)
    assert ratio.min() > 0.8


def test_eight_schools_is_too_narrow_where_the_funnel_is():
    """p(mu, tau | y) by quadrature, theta integrated out; the quadrature gives what posteriordb's draws do."""
    data, q = eight_schools.load(), eight_schools.fit({}, np.random.default_rng(0))
    tau, mu = np.linspace(0.002, 120, 6000)[:, None], np.linspace(-20, 30, 201)
    log_p = stats.halfcauchy.logpdf(tau, scale=5) + stats.norm.logpdf(mu, 0, 5)
    for y, sigma in zip(data["y"], data["sigma"], strict=True):
        log_p = log_p + stats.norm.logpdf(y, mu, np.sqrt(sigma**2 + tau**2))
    p = np.exp(log_p - logsumexp(log_p))
    of_tau, of_mu = p.sum(1), p.sum(0)
    mean, mean_mu = of_tau @ tau[:, 0], of_mu @ mu
    sd, sd_mu = np.sqrt(of_tau @ (tau[:, 0] - mean) ** 2), np.sqrt(of_mu @ (mu - mean_mu) ** 2)
    assert mean == pytest.approx(3.60206, abs=4 * 0.032)
    assert sd == pytest.approx(3.198478, abs=0.15)
    assert mean_mu == pytest.approx(4.410518, abs=4 * 0.033)
    assert q.elbo[-1] < logsumexp(log_p) + np.log(np.diff(tau[:, 0])[0] * np.diff(mu)[0])
    draws = q.sample(20_000, np.random.default_rng(1))
    assert draws["mu"].std() < 0.7 * sd_mu
    assert draws["tau"].std() < 0.7 * sd
    assert np.quantile(draws["tau"], 0.05) > 10 * tau[np.searchsorted(of_tau.cumsum(), 0.05), 0]


def test_draws_of_eight_schools_hold_together(rng):
    draws = eight_schools.fit({}, rng).sample(100, rng)
    np.testing.assert_allclose(draws["mu"][:, None] + draws["tau"][:, None] * draws["z"], draws["theta"], rtol=1e-10)


def test_the_wrong_one_is_too_wide_by_a_root_of_two_and_its_bound_falls():
    right, mine = gaussian.fit({}, np.random.default_rng(0)), wrong.fit({}, np.random.default_rng(0))
    assert mine.factors["mu"].mean() == pytest.approx(right.factors["mu"].mean(), rel=1e-12)
    assert mine.factors["mu"].std() / right.factors["mu"].std() == pytest.approx(np.sqrt(2), rel=0.02)
    assert right.factors["tau"].mean() / mine.factors["tau"].mean() == pytest.approx(2, rel=0.03)
    assert np.diff(mine.elbo).min() < -0.01


def test_the_mistake_is_named(rng):
    """Beside draws of the exact posterior, a Normal-Gamma (PRML 2.154): the precision is half of what it should be."""
    x = gaussian.load()["x"]
    N, n = len(x), 4000
    lambda_N = gaussian.LAMBDA0 + N
    mu_N = (gaussian.LAMBDA0 * gaussian.MU0 + x.sum()) / lambda_N
    scatter = (x**2).sum() + gaussian.LAMBDA0 * gaussian.MU0**2 - lambda_N * mu_N**2
    tau = rng.gamma(gaussian.A0 + N / 2, 1 / (gaussian.B0 + scatter / 2), n)
    mu = mu_N + rng.standard_normal(n) / np.sqrt(lambda_N * tau)
    exact = np.column_stack([np.log(tau), mu])[None]
    draws = wrong.fit({}, rng).sample(n, rng)
    mine = np.column_stack([np.log(draws["tau"]), draws["mu"]])[None]
    found = faults.likeliest(mine, exact, ["tau", "mu"], scales=["log", "as it is"])
    assert found.where == "tau"
    assert "0.50 times that of the reference" in found.sentence
    assert found.explained > 0.9
    right = gaussian.fit({}, rng).sample(n, rng)
    assert faults.likeliest(np.column_stack([np.log(right["tau"]), right["mu"]])[None], exact, ["tau", "mu"]) is None


def test_the_chapters_example_runs_and_its_mistake_is_found(tmp_path, monkeypatch):
    """Its blocks as a reader would run them, with fewer methods; and once more without the factor of 1/2 in b."""
    monkeypatch.chdir(tmp_path)
    model, vb, ask, *_ = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    loop = vb[vb.index("for _") : vb.index("mine =")].splitlines()[1:]
    assert len(loop) <= 10
    names: dict = {}
    exec(model + vb, names)
    right = names["mine"]
    exec(vb.replace(" * s2) / 2", " * s2)"), names)
    fewer = partial(reports.validate, methods="nuts", cache=False)
    names |= {"mine": right, "wrong": names["mine"], "validate": fewer}
    exec(
        ask.replace("from reports import validate\n", "").replace('"mine": mine', '"mine": mine, "wrong": wrong'), names
    )
    state = names["result"].verdict().set_index(["method", "claim"])["state"]
    assert set(state["mine"]) == {"agrees"}
    assert state["wrong"][["tau", "mu"]].tolist() == ["differs", "differs"]
    fault = names["result"].results.manifest["faults"]
    assert set(fault) == {"wrong"}
    assert "about half, as a factor of 2" in fault["wrong"]["sentence"]
    assert (tmp_path / "validation" / "metrics.csv").exists()


def test_posteriordb_is_kept_as_distributed():
    schools = posteriordb("eight_schools")
    assert schools["y"].tolist() == [28, 8, -3, 7, -1, 1, 18, 12]
    assert schools["sigma"].tolist() == [15, 10, 16, 11, 9, 11, 10, 18]
    assert {name: len(posteriordb(name)["y"]) for name in ("arK", "sblrc")} == {"arK": 200, "sblrc": 100}
    assert posteriordb("kidiq")["kid_score"][:3].tolist() == [65, 98, 85]
