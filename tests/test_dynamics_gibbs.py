"""Gibbs sampling for linear dynamical systems: the sweep leaves the posterior as it is, and agrees with quadrature."""

import numpy as np
import pytest

from mixtures.datasets import load_series
from mixtures.dynamics import (
    LinearDynamics,
    Prior,
    autoregression,
    compiled,
    generalised,
    gibbs,
    local_level,
    log_likelihood,
    seasonal,
    simulate,
    walk,
)
from mixtures.dynamics.starts import starts
from mixtures.engines.kalman import Data
from mixtures.rows.sequences import Sequences


def prior(D, U, mean=0.0):
    return Prior(np.full((D, U), mean), 4 * np.eye(U), 8.0, 4 * np.eye(D))


KINDS = {
    "full": {},
    "diagonal": {"state_covariance": "diagonal", "observation_covariance": "isotropic"},
    "one variance": {"state_covariance": "isotropic", "initial_covariance": "isotropic"},
    "known noise": {"state_covariance": np.eye(2)},
    "known start": {"start": "known"},
    "stationary": {"start": "stationary"},
}


def system(kind):
    priors = {"transition": prior(2, 2, 0.2), "emission": prior(2, 2, 0.5), "initial": prior(2, 1)}
    return LinearDynamics.latent(2, 2, priors=priors, **KINDS[kind])


NAN = np.nan

# Models, with the lengths of the sequences.
CHAINS = {
    "correlated": (LinearDynamics.latent(2, 3), [20, 10]),
    "correlated, fewer features than states": (LinearDynamics.latent(3, 2), [30]),
    "diagonal and in common": (
        LinearDynamics.latent(2, 3, state_covariance="diagonal", observation_covariance="isotropic"),
        [20, 10],
    ),
    "diffuse, states without noise": (seasonal(4), [15, 15]),
    "autoregression": (autoregression(3), [30]),
    "known columns, partly diffuse": (
        LinearDynamics([[NAN, 1], [NAN, 0]], [[1, NAN], [0, NAN], [0, NAN]], "full", np.eye(3) + 0.3, diffuse=[1, 0]),
        [30],
    ),
    "stationary": (LinearDynamics.latent(2, 3, start="stationary"), [10] * 3),
    "in common, known start": (LinearDynamics.latent(2, 3, state_covariance="isotropic", start="known"), [10] * 3),
    "diffuse": (LinearDynamics.latent(2, 3, start="diffuse"), [20, 10]),
    "stationary autoregression": (autoregression(2, start="stationary"), [5] * 6),
    "regressors": (
        LinearDynamics(np.eye(2), np.cos(np.arange(180.0)).reshape(30, 3, 2), "full", "full", diffuse=True),
        [30],
    ),
}


@pytest.mark.parametrize(("model", "lengths"), CHAINS.values(), ids=CHAINS)
def test_compiled_sweeps_make_the_chain_of_plain_ones(model, lengths):
    """They take the same numbers from the generator in the same order."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, model.D)).cumsum(0)
    x[rng.random(x.shape) < 0.2] = np.nan
    data = Data(Sequences(x, lengths))
    model = model.with_prior(data.x)
    now = gibbs.Sweep(None, None, model.theta(starts(model, data, 2, rng)[1]))
    kept, lp = gibbs.run(gibbs.begin(model, data, now.theta), np.random.default_rng(1), 3, 1, 2)
    rng, plain = np.random.default_rng(1), []
    for _ in range(7):
        now = gibbs.sweep(model, data, now.theta, rng)
        plain.append(now)
    for i, held in enumerate((plain[2], plain[4], plain[6])):
        for name, value in kept.items():
            np.testing.assert_allclose(value[i], held.theta[name], rtol=1e-9, atol=1e-9)
        assert lp[i] + model.log_prior(held.theta) == pytest.approx(gibbs.log_joint(model, held), abs=1e-8)


@pytest.mark.filterwarnings("ignore:the chains have not converged")  # they are short
@pytest.mark.parametrize(("draws", "tune"), [(10, 20), (4, 30)])
def test_chains_that_are_doubled_are_those_of_twice_the_sweeps(draws, tune):
    """Draws that were made stay as far as they lie behind the longer warm-up, or none of them."""
    x, model = np.random.default_rng(0).standard_normal((20, 2)).cumsum(0), LinearDynamics.latent(2, 2)
    short, long = (
        gibbs.fit(x, model, rng=0, draws=draws, tune=own, thin=k, chains=2, doublings=2 * (k == 5))
        for own, k in ((tune, 5), (4 * tune, 20))
    )
    assert (short.info["tune"], short.info["thin"]) == (4 * tune, 20)
    for name, value in long.posterior.items():
        np.testing.assert_array_equal(short.posterior[name], value, err_msg=name)
    np.testing.assert_array_equal(short.sample_stats["lp"], long.sample_stats["lp"])


def test_chains_on_threads_are_those_made_in_turn(monkeypatch):
    x, model = np.random.default_rng(0).standard_normal((20, 1)).cumsum(0), local_level()
    fits, heard = [], []
    monkeypatch.setattr(compiled, "threads", lambda: 2)
    for rows in (21, 20):
        monkeypatch.setattr(gibbs, "THREADED", rows)
        fits.append(
            gibbs.fit(
                x, model, rng=0, draws=100, tune=20, chains=3, tell=lambda *said, own=rows: heard.append((own, *said))
            )
        )
    for name, value in fits[0].posterior.items():
        np.testing.assert_array_equal(fits[1].posterior[name], value, err_msg=name)
    in_turn, together = ([counts for own, *counts in heard if own == rows] for rows in (21, 20))
    assert in_turn[-1] == together[-1] == [3 * 520, 3 * 520]
    assert in_turn == sorted(in_turn)
    assert together == sorted(together)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gibbs.fit(x, model, rng=0, draws=10**6, tune=1, chains=3, tell=stop)


def told(theta, x):
    """Numbers of parameters, and products of them with statistics of the data."""
    own = np.concatenate(
        [
            theta["transition"].ravel(),
            theta["emission"].ravel(),
            theta["initial_mean"],
            np.linalg.slogdet(theta["state_covariance"])[1:],
            np.linalg.slogdet(theta["observation_covariance"])[1:],
            np.linalg.slogdet(theta["initial_covariance"])[1:],
            np.log(np.diag(theta["observation_covariance"])),
            [theta["observation_covariance"][0, -1], theta["state_covariance"][0, -1]],
            (theta["emission"] @ theta["initial_mean"]),
        ]
    )
    spread = np.log(np.nanvar(x))
    return np.concatenate([own, own * spread, own**2])


@pytest.mark.parametrize("kind", KINDS)
def test_moves_to_other_coordinates_leave_the_prior_and_the_signal_as_they_are(kind):
    """Averaged over the data, parameters after a move have the prior; C z stays where it is."""
    rng, model, gaps = np.random.default_rng(0), system(kind), []
    data = Data(Sequences(np.zeros((2, 2)), [1, 1]))
    chain = compiled.Chain(model, data, model.sample_prior(rng))
    for _ in range(1500):
        before = model.sample_prior(rng)
        root = np.linalg.cholesky(before["initial_covariance"])
        chain.z[:] = before["initial_mean"] + rng.standard_normal((2, 2)) @ root.T
        signal = chain.z @ before["emission"].T
        for name, value in before.items():
            chain.now[name][:] = value
        for _ in range(2):
            C = chain.now["emission"].copy()
            chain.move(rng)
            chain.z[:] = chain.z @ C.T @ np.linalg.inv(chain.now["emission"]).T
        gaps.append(told(chain.now, np.exp(signal)) - told(before, np.exp(signal)))
    gaps = np.array(gaps)
    z = gaps.mean(0) / (gaps.std(0, ddof=1) / np.sqrt(len(gaps)) + 1e-12)
    assert np.abs(gaps).max() > 0.1
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_sweeps_leave_the_joint_distribution_as_it_is(kind, monkeypatch):
    """Parameters and data from the model, then sweeps: the pairs (theta, x) keep their distribution (Geweke 2004)."""
    monkeypatch.setattr(generalised, "TIMES", 1)
    rng, model, gaps = np.random.default_rng(3), system(kind), []
    for _ in range(250):
        before = model.sample_prior(rng)
        x = np.concatenate([simulate(before, T, rng)[0] for T in (5, 2)])
        x[rng.random(x.shape) < 0.4] = np.nan
        data, theta = Data(Sequences(x, [5, 2])), before
        for _ in range(2):
            theta = gibbs.sweep(model, data, theta, rng).theta
        gaps.append(told(theta, x) - told(before, x))
    gaps = np.array(gaps)
    z = gaps.mean(0) / (gaps.std(0, ddof=1) / np.sqrt(len(gaps)) + 1e-12)
    assert np.abs(z).max() < 4.5


class Told:
    """A generator that gives the steps of a walk and uniform numbers, which may be above one."""

    def __init__(self, steps, uniform):
        self.steps, self.uniform = steps, uniform

    def standard_normal(self, shape):
        return self.steps.reshape(shape)

    def random(self, n):
        return np.full(n, self.uniform)


WALKS = {
    name: CHAINS[name]
    for name in ("correlated", "correlated, fewer features than states", "autoregression", "regressors")
}
WALKS |= {
    "one feature": (LinearDynamics.latent(3, 1), [30]),
    "one state": (LinearDynamics.latent(1, 2), [30]),
    "noises of their own": (LinearDynamics.latent(2, 3, observation_covariance="isotropic", start="known"), [20, 10]),
    "diffuse": (seasonal(4), [15, 15]),
    "diffuse, latent": (LinearDynamics.latent(2, 2, observation_covariance="diagonal", start="diffuse"), [20, 10]),
}


@pytest.mark.parametrize(("model", "lengths"), WALKS.values(), ids=WALKS)
def test_steps_of_the_walk_are_taken_by_the_density_without_states(model, lengths):
    """That of the filter, of the prior, and of the volume by finite differences of all coordinates at once."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, model.D)).cumsum(0)
    x[rng.random(x.shape) < 0.2] = np.nan
    data = Data(Sequences(x, lengths))
    model = model.with_prior(data.x)
    theta = {name: np.array(value) for name, value in model.theta(starts(model, data, 2, rng)[1]).items()}
    chain = compiled.Chain(model, data, theta)
    place, d, C = chain.walk, chain.walk.size, theta["emission"]
    T, back = place.frame(theta["transition"], C)
    now = theta["transition"], theta["state_covariance"], theta["observation_covariance"], T, back
    latent, (turned, roots, phi) = place.scale is not None, place.at(*now)
    v = np.concatenate([phi, T.ravel() if latent else []])

    def there(v):
        """theta, of d numbers phi and those of T."""
        own = v[d:].reshape(T.shape) if latent else T
        back, matrices = np.linalg.inv(own), [turned.copy(), roots[0].copy(), roots[1].copy()]
        for matrix, places in zip(matrices, place.places, strict=True):
            for i, j, number in places:
                matrix[i, j] = np.exp(v[number]) if i == j and places is not place.places[0] else v[number]
        A, Q, R = back @ matrices[0] @ own, back @ matrices[1], matrices[2]
        found = theta | {"transition": A, "state_covariance": Q @ Q.T, "observation_covariance": R @ R.T}
        if latent:
            found["emission"] = np.concatenate([place.scale[: model.H, None] * own[: model.D], C[model.H :]])
        return found

    def free(v):
        """What is free of A, of the first rows of C, and of the inverse covariances."""
        now = there(v)
        found = [now["transition"][np.isnan(model.transition)], now["emission"][: model.H if latent else 0].ravel()]
        for name, part in (("state_covariance", model.moves), ("observation_covariance", model.observes)):
            own = np.linalg.inv(part.inner(now[name]))[np.tril(np.isnan(part.noise))]
            found.append(own[:1] if getattr(part, "common", False) else own)
        return np.concatenate(found)

    def log_p(v):
        eps = 1e-5 * np.eye(len(v))
        slopes = np.array([(free(v + e) - free(v - e)) / 2e-5 for e in eps])
        now = there(v)
        return log_likelihood(data.x, now, model.diffuse).sum() + model.log_prior(now) + np.linalg.slogdet(slopes)[1]

    np.testing.assert_allclose(there(v)["transition"], theta["transition"], atol=1e-9)
    chain.root = np.eye(d)
    for _ in range(3):
        step = 0.05 * rng.standard_normal(d)
        gain = log_p(v + np.pad(step, (0, len(v) - d))) - log_p(v)
        for more, taken in ((1e-4, 0), (-1e-4, 1)):
            for name, value in theta.items():
                if name in chain.now:
                    chain.now[name][:] = value
            path, number = chain.step(Told(step, np.exp(gain + more)), 1)
            assert number == taken
            np.testing.assert_allclose(path[0], phi + taken * step, atol=1e-12)
        now = there(v + np.pad(step, (0, len(v) - d)))
        for name, value in chain.now.items():
            np.testing.assert_allclose(value, now[name], rtol=1e-9, atol=1e-9, err_msg=name)


SIZES = {"as many": (2, 2, {}), "fewer": (2, 1, {}), "more": (1, 2, {"observation_covariance": "diagonal"})}


@pytest.mark.parametrize(("H", "D", "given"), SIZES.values(), ids=SIZES)
def test_the_walk_leaves_the_joint_distribution_as_it_is(H, D, given):
    """Parameters and data from the model, then steps: the pairs (theta, x) keep their distribution (Geweke 2004)."""
    rng, gaps, taken = np.random.default_rng(3), [], 0
    priors = {"transition": prior(H, H, 0.2), "emission": prior(D, H, 0.5), "initial": prior(H, 1)}
    model = LinearDynamics.latent(H, D, priors=priors, **given)
    for _ in range(1000):
        before = model.sample_prior(rng)
        x = np.concatenate([simulate(before, T, rng)[0] for T in (5, 2)])
        x[rng.random(x.shape) < 0.2] = np.nan
        if (~np.isnan(x)).sum(0).min() < 2:
            continue
        chain = compiled.Chain(model, Data(Sequences(x, [5, 2])), before)
        chain.root = np.exp(rng.uniform(-6, -1)) * np.eye(chain.walk.size)
        taken += chain.step(rng, 8)[1]
        gaps.append(told(chain.now, x) - told(before, x))
    gaps = np.array(gaps)
    z = gaps.mean(0) / (gaps.std(0, ddof=1) / np.sqrt(len(gaps)) + 1e-12)
    assert taken > 0.2 * 8 * len(gaps), taken
    assert np.abs(z).max() < 4.5


def test_chains_that_walk_have_the_posterior_of_those_that_do_not(monkeypatch):
    """Means and mean squares of log variances, moduli and sizes of responses, by batches; steps that were learned stay."""
    monkeypatch.setattr(walk, "EVERY", 1)
    monkeypatch.setattr(walk, "STEPS", 8)
    x = simulate(
        {
            "transition": 0.8 * np.eye(1),
            "emission": np.ones((2, 1)),
            "state_covariance": np.eye(1),
            "observation_covariance": 0.5 * np.eye(2),
        },
        8,
        np.random.default_rng(1),
    )[0]
    data, means = Data(Sequences(x)), []
    model = LinearDynamics.latent(1, 2, observation_covariance="diagonal").with_prior(data.x)
    for walking in (False, True):
        batches = []
        for number, at in enumerate(starts(model, data, 3, np.random.default_rng(0))[1:]):
            rng = np.random.default_rng([number, walking])
            chain = compiled.Chain(model, data, model.theta(at))
            if walking:
                chain.learn(rng)
                root = chain.root.copy()
                assert 0.1 < chain.step(rng, 1000)[1] / 1000 < 0.5
            theta, _ = gibbs.run(chain, rng, 1500, 200, 2 if walking else 4)
            if walking:
                np.testing.assert_array_equal(chain.root, root)
            own = [
                np.abs(theta["transition"][:, 0, 0]),
                *np.log(np.diagonal(theta["observation_covariance"], axis1=1, axis2=2)).T,
            ]
            own += [*(theta["emission"] ** 2 * theta["state_covariance"])[..., 0].T ** 0.5]
            own += [value**2 for value in own]
            batches.append(np.transpose(own).reshape(15, -1, len(own)).mean(1))
        means.append(np.concatenate(batches))
    error = np.sqrt(sum(own.var(0, ddof=1) / len(own) for own in means))
    assert np.all(np.abs(means[0].mean(0) - means[1].mean(0)) < 4 * error)


@pytest.mark.filterwarnings("ignore:the chains have not converged")  # they are short
def test_the_posterior_of_a_local_level_is_that_of_quadrature():
    """Medians and central 90% of both variances, by a grid over their logarithms."""
    x = load_series("nile").data.x[:40]
    model = local_level().with_prior(x)
    fit = gibbs.fit(x, model, rng=0, draws=200, tune=50, thin=5, chains=2)
    logs = np.linspace(3, 11, 24), np.linspace(7.5, 11, 24)
    log_p = np.empty((24, 24))
    theta = {name: value[0, 0] for name, value in fit.posterior.items()}
    for i, q in enumerate(np.exp(logs[0])):
        for j, r in enumerate(np.exp(logs[1])):
            own = theta | {"state_covariance": np.array([[q]]), "observation_covariance": np.array([[r]])}
            log_p[i, j] = log_likelihood(x, own, model.diffuse).sum() + model.log_prior(own) - np.log(q) - np.log(r)
    p = np.exp(log_p - log_p.max())
    for axis, name in enumerate(("state_covariance", "observation_covariance")):
        exact = np.cumsum(p.sum(1 - axis)) / p.sum()
        drawn = np.log(fit.posterior[name]).ravel()
        ranks = np.interp(np.quantile(drawn, [0.05, 0.5, 0.95]), logs[axis] + np.diff(logs[axis])[0] / 2, exact)
        error = 4 * np.sqrt(
            np.array([0.05 * 0.95, 0.25, 0.05 * 0.95]) / 60
        )  # of 60 independent draws, fewer than there are
        assert np.all(np.abs(ranks - [0.05, 0.5, 0.95]) < error)


@pytest.mark.filterwarnings("ignore:the chains have not converged")  # they are short
def test_the_posterior_with_a_stationary_start_is_that_of_quadrature():
    """Of an autoregression whose variances are known, seen in short sequences, where without its start it would be another."""
    rng = np.random.default_rng(4)
    model = LinearDynamics([[NAN]], [[1.0]], [[1.0]], [[0.1]], stationary=True)
    truth = {"transition": np.array([[0.9]]), "emission": np.eye(1), "state_covariance": np.eye(1)}
    truth |= {"observation_covariance": np.full((1, 1), 0.1)}
    x = Sequences(np.concatenate([simulate(truth, 2, rng, "stationary")[0] for _ in range(12)]), [2] * 12)
    fit = gibbs.fit(x, model, rng=0, draws=600, tune=50, thin=2, chains=2)
    grid = np.linspace(-0.9995, 0.9995, 400)
    theta = [truth | {"transition": np.array([[a]])} for a in grid]
    log_p = np.array([log_likelihood(x, own, "stationary").sum() - own["transition"].item() ** 2 / 2 for own in theta])
    exact = np.cumsum(np.exp(log_p - log_p.max()))
    drawn = fit.posterior["transition"].ravel()
    ranks = np.interp(np.quantile(drawn, [0.05, 0.5, 0.95]), grid + np.diff(grid)[0] / 2, exact / exact[-1])
    error = 4 * np.sqrt(
        np.array([0.05 * 0.95, 0.25, 0.05 * 0.95]) / 200
    )  # of 200 independent draws, fewer than there are
    assert np.all(np.abs(ranks - [0.05, 0.5, 0.95]) < error)


def test_what_cannot_be_sampled_is_refused():
    x = load_series("nile").data.x[:20]
    with pytest.raises(ValueError, match="thin is 0; expected at least 1"):
        gibbs.fit(x, local_level(), rng=0, thin=0)
    R = np.array([[np.nan, 0.1], [0.1, np.nan]])
    with pytest.raises(ValueError, match="no conjugate prior"):
        gibbs.fit(
            np.column_stack([x, x**2]), LinearDynamics.latent(1, 2, observation_covariance=R), rng=0, draws=1, tune=1
        )


@pytest.mark.filterwarnings("ignore:the chains have not converged")  # they are short
def test_signs_of_latent_states_are_drawn_too():
    """The likelihood and a prior about zero do not know them: either is as likely, in every chain."""
    x = np.random.default_rng(0).standard_normal((30, 1)).cumsum(0)
    fit = gibbs.fit(x, LinearDynamics.latent(1, 1), rng=0, draws=200, tune=20, thin=4, chains=2)
    positive = (fit.posterior["emission"][:, :, 0, 0] > 0).mean(1)
    np.testing.assert_allclose(positive, 0.5, atol=4 * 0.5 / np.sqrt(200))
