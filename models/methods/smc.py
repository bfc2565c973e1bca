"""Sequential Monte Carlo (Del Moral, Doucet & Jasra 2006, *JRSS B* 68:411-436) on the twin model, by PyMC.

PyMC tempers: particles from the prior are weighted, resampled and moved as beta rises from 0 to 1 in

    p(v) p(x | v)^beta

and the product of the mean weights is an unbiased estimate of the evidence p(x). The moves are ours, since a Gaussian fitted to
all particles, as PyMC proposes from, is far too wide where the posterior has mirror images and other modes. A particle v moves
along the difference of two others, which is short within a mode and reaches from one mode to another (ter Braak 2006,
*Statistics and Computing* 16:239-249):

    v' = v + gamma (v_a - v_b) + a little noise      accepted with probability min(1, p(v') p(x|v')^beta / p(v) p(x|v)^beta)

with a and b of the half of the particles that v is not in, so that they stand still while v moves.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor
from pymc.smc.kernels import SMC_KERNEL

from mixtures.checks import check_chains, check_real, check_whole
from mixtures.errors import ConvergenceWarning
from mixtures.families.priors import check_proper
from mixtures.fit import Fit
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informative
from mixtures.seeds import Rng, generator
from models import joint
from models.flat import Flat, batched, by_jax, flatten

# Share of the moves that take a whole difference, and the spread of log gamma in the others.
WHOLE = 0.1
SPREAD = 0.7
NOISE = 1e-5


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    draws: int = 1000,
    chains: int = 4,
    moves: int = 50,
    threshold: float = 0.8,
) -> Fit:
    """Sample the posterior and estimate the evidence by tempering from the prior.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
        The model with its priors, which must be proper.
    rng : numpy.random.Generator or int
    draws, chains : int
        Particles of each run, and the number of independent runs.
    moves : int
        How often each particle tries to move at each temperature.
    threshold : float
        Share of the particles that may be left in effect by one rise of beta: the larger, the more temperatures.

    Returns
    -------
    Fit
        Of kind "mcmc": the particles at beta = 1 of every run, of equal weight, under all labellings. ``info`` holds

        ``log_evidence_runs``
            Each run's estimate of log p(x) in nats and units of x, over all labellings, shape (chains,); it is the
            estimates of p(x) themselves that are unbiased.
        ``temperatures``
            How many each run took.
        ``accepted``
            Share of the moves accepted at the last temperature.

        ``converged`` says whether the runs agree: no few of them hold most of the sum of the estimates of p(x), in that
        (sum Z)^2 / sum Z^2 is above half their number.

    Raises
    ------
    ValueError
        If a count is too small, the threshold is outside 0 to 1, or the prior is improper.

    Warns
    -----
    ConvergenceWarning
        If the runs do not agree.
    """
    rng, x = generator(rng), informative(joint.checked(x, family, allocation))
    check_chains(allocation.n_components * (1 + len(family.count_of)), draws=draws, chains=chains, moves=moves)
    check_real("threshold", threshold)
    check_whole("draws", draws, 100)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; expected a number between 0 and 1")
    P = 1 + family.monomials[-1, 0]
    check_proper(family, P)
    clock = [time.perf_counter()]
    model = joint.build(x, family, allocation)
    flat = flatten(model, joint.parameters(family, allocation))
    nothing, prior = np.zeros((allocation.n_components, P)), allocation.conjugate
    starts = []
    for _ in range(chains):
        weights = prior.sample(prior.posterior(np.zeros(())), draws, rng)
        theta = family.sample(family.posterior(nothing), draws, rng)
        starts.append(joint.unconstrain(family, allocation, weights, theta))
    run = temper(model, flat, starts, draws=draws, moves=moves, threshold=threshold, rng=rng)
    values = {
        name: np.asarray(a).reshape(chains, draws, *a.shape[1:])
        for name, a in batched(flat.constrain, run.v)(run.v).items()
    }
    clock.append(time.perf_counter())
    if not run.agree:
        warnings.warn(disagreement(run.log_evidence), ConvergenceWarning, stacklevel=2)
    return allocation.fits(
        method="smc",
        kind="mcmc",
        family=family,
        allocation=allocation,
        posterior=joint.posterior(allocation, values),
        bound=np.empty(0),
        converged=run.agree,
        seconds={"compile": clock[1] - clock[0] - run.seconds, "run": run.seconds},
        info={"moves": moves, "threshold": threshold} | run.info,
    )


class Tempered(NamedTuple):
    """The particles at beta = 1, (chains * draws, P), run after run, what `fit` says of them, and the seconds of sampling."""

    v: np.ndarray
    info: dict[str, Any]
    seconds: float

    @property
    def log_evidence(self) -> np.ndarray:
        """Each run's estimate of the log evidence."""
        return np.asarray(self.info["log_evidence_runs"])

    @property
    def agree(self) -> bool:
        """Whether no few of the runs hold most of the sum of their estimates."""
        z = np.exp(self.log_evidence - self.log_evidence.max())
        return bool(z.sum() ** 2 / (z**2).sum() > len(z) / 2)


def temper(
    model: pm.Model,
    flat: Flat,
    starts: list[dict[str, np.ndarray]],
    *,
    draws: int,
    moves: int,
    threshold: float,
    rng: np.random.Generator,
) -> Tempered:
    """Temper particles of any model from its prior to its posterior.

    Parameters
    ----------
    model : pymc.Model
    flat : Flat
        Its flat space.
    starts : list of dict of ndarray
        For each run, draws (draws, ...) from the prior by the names of ``model.value_vars``.
    draws, moves, threshold
        As in `fit`.
    rng : numpy.random.Generator
    """
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with model, pytensor.config.change_flags(mode="JAX"):
            tree = pm.sample_smc(
                draws=draws,
                kernel=Differences,
                flat=flat,
                moves=moves,
                threshold=threshold,
                chains=len(starts),
                cores=1,
                start=starts,
                random_seed=int(rng.integers(2**31)),
                progressbar=False,
                compute_convergence_checks=False,
                idata_kwargs={"include_transformed": True, "log_likelihood": False},
            )
    finally:
        logger.setLevel(level)
    stats = tree["sample_stats"]
    v = flat.join({name: tree["posterior"][name].to_numpy() for name in flat.shapes})
    info = {
        "log_evidence_runs": np.array([run[-1] for run in stats["log_marginal_likelihood"].to_numpy()], dtype=float),
        "temperatures": np.array([len(run) for run in stats["beta"].to_numpy()]),
        "accepted": float(np.mean([run[-1] for run in stats["accepted"].to_numpy()])),
    }
    return Tempered(v.reshape(-1, flat.size), info, float(stats.attrs["_t_sampling"]))


def disagreement(log_evidence: np.ndarray) -> str:
    """What is said of runs that do not agree."""
    return f"the runs' estimates of the log evidence range over {np.ptp(log_evidence):.3g} nats; raise draws or moves"


class Differences(SMC_KERNEL):
    """PyMC's tempering with moves along differences of particles.

    Parameters
    ----------
    flat : Flat
        The flat space of the model.
    moves : int
        How often each particle tries to move at each temperature.
    **kernel
        What PyMC gives every kernel, ``draws`` and ``model`` among it.
    """

    stats_dtypes_shapes = SMC_KERNEL.stats_dtypes_shapes | {"accepted": (float, [])}

    def __init__(self, *, flat: Flat, moves: int, **kernel: Any) -> None:
        super().__init__(**kernel)
        model = kernel["model"]
        parts = by_jax(model.value_vars, [model.varlogp, model.datalogp])
        self.moves, self.half = moves, self.draws // 2
        self.log_parts = batched(lambda v: parts(*flat.split(v).values()), np.zeros((self.half, flat.size)))

    def mutate(self) -> None:
        """Let the particles try to move, one half after the other."""
        accepted = []
        for _ in range(self.moves):
            order = self.rng.permutation(self.draws)
            accepted.append(self._move(order[: self.half], order[self.half :]))
            accepted.append(self._move(order[-self.half :], order[: -self.half]))
        self.accepted = float(np.mean(accepted))

    def _move(self, own: np.ndarray, others: np.ndarray) -> float:
        """One Metropolis step of the particles ``own`` along differences of ``others``, and the share that moved."""
        v, n, size = self.tempered_posterior, len(own), self.tempered_posterior.shape[1]
        a = self.rng.integers(len(others), size=n)
        b = (a + self.rng.integers(1, len(others), size=n)) % len(others)
        gamma = 2.38 / np.sqrt(2 * size) * self.rng.lognormal(-SPREAD, SPREAD, n)
        gamma[self.rng.random(n) < WHOLE] = 1
        noise = NOISE * self.rng.standard_normal((n, size))
        proposed = v[own] + gamma[:, None] * (v[others[a]] - v[others[b]]) + noise
        prior, likelihood = (np.asarray(part) for part in self.log_parts(proposed))
        tempered = prior + self.beta * likelihood
        moved = np.log(self.rng.random(n)) < tempered - self.tempered_posterior_logp[own]
        into = own[moved]
        v[into], self.tempered_posterior_logp[into] = proposed[moved], tempered[moved]
        self.prior_logp[into], self.likelihood_logp[into] = prior[moved], likelihood[moved]
        return float(moved.mean())

    def sample_stats(self) -> dict[str, float]:
        """What PyMC keeps of each temperature."""
        log_z = self.log_marginal_likelihood if self.beta == 1 else np.nan
        return {"log_marginal_likelihood": log_z, "beta": self.beta, "accepted": self.accepted}

    def sample_settings(self) -> dict[str, float]:
        """What PyMC keeps of a run."""
        return {"moves": self.moves, "threshold": self.threshold}
