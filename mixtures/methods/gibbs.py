"""Gibbs sampling with jumps between modes: Markov chains that know nothing of gradients.

The state is s, the sufficient statistics of every cluster under one labelling z. A sweep draws the parameters, then the labels
by the one pass over the data with draws in the place of responsibilities (Diebolt & Robert 1994, *JRSS B* 56:363-375):

    pi, theta ~ p(pi, theta | s)      z_n ~ p(z_n | pi, theta, x_n)      s_k = sum_(n: z_n = k) t(x_n)

Sweeps seldom leave a mode. After each, of many points after every fifth, comes a jump, an independence Metropolis step
(Tierney 1994, *Annals of Statistics* 22:1701-1728) on z with pi and theta integrated out. It proposes a labelling from an
average over a library of M parameters,

    q(z) = 1/M sum_m p(z | pi_m, theta_m, x)      log p(z | pi_m, theta_m, x) = s . eta_m - log_z_m

in which z enters by s alone, and accepts it with probability min(1, w(z') / w(z)), w(z) = p(x, z) / q(z). Were the library
drawn from the posterior, q would estimate p(z | x) without bias (Gelfand & Smith 1990, *JASA* 85:398-409). It is gathered
from many walkers while they tune: first each in the mode where it started, so that none is too small to be proposed, then
jumping by what has been gathered so far, so that modes are proposed about as often as they should be. From then on it stays
as it is, which makes the chains Markov; what they converge to is exact, whatever the library.

What clusters are called. q is a density of labellings in one order of clusters: that in which z is most probable under a
reference, which the library shares. A labelling is put in this order before q is taken, a proposal that is not in it is
refused, and one that is accepted keeps the names of the old labelling. Each such labelling stands for K! / (K - k)! that
differ by the names of its k clusters with points, hence the factor 1 / (K - k)! in p(x, z). Names change by steps of their
own, in which two clusters exchange theirs; under an exchangeable prior they are always accepted.

Of a chain that starts in the stationary distribution of its transitions these are held too; see `mixtures.methods.stationary`.

Missing values that have to be integrated out (`mixtures.engines.missing`) are drawn with the labels, from p(z, x_m | pi, theta,
x_o), and s is that of the completed data. Nothing else changes: p(x, z | pi_m, theta_m) = exp(s . eta_m) with x_m in it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from mixtures.ascent.starts import starts
from mixtures.checks import brief, check_chains, check_count, check_model
from mixtures.engines.passes import log_base, one_pass
from mixtures.errors import ConvergenceWarning
from mixtures.families.priors import check_proper
from mixtures.fit import Draws, Fit
from mixtures.methods.stationary import StationarySampler
from mixtures.methods.sweeps import Library, Proposals, Sampler
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import check_matrix
from mixtures.rows.informed import informative
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator

RHAT = 1.01

# Draws that differ by less than this part of their size are equal.
ROUNDING = 1e-10

# How often the walkers' parameters are gathered.
ROUNDS = 10

# Points that proposals drawn ahead of their jumps have together, at most.
AHEAD = 500_000

# Points that all walkers have together, unless they would be too few.
WALKED = 16_000_000

# Of more points than these a jump, which costs as much as a sweep, comes after every fifth sweep alone.
LARGE, SELDOM = 250_000, 5


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    draws: int = 1000,
    tune: int = 200,
    chains: int = 4,
    walkers: int | None = None,
    engine: str = "auto",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Fit:
    """Sample the posterior by Gibbs sweeps and jumps.

    Parameters
    ----------
    x : ndarray, shape (N, D), or Sequences
    family, allocation : Family, Allocation
        The model with its priors, which must be proper.
    rng : numpy.random.Generator or int
        The same generator gives the same draws, whatever the number of cores.
    draws, chains : int
        Kept sweeps of each chain, and the number of chains, which move side by side.
    tune, walkers : int
        Discarded sweeps, and the number of walkers that make them: each from k-means++ seeds of its own, the chains among
        them. Ten times on the way their parameters are added to the library of the jumps. By default 64; of more than
        250,000 rows fewer, so that they have 16 million points together, but no fewer than 16 nor than there are chains;
        of so many rows only every fifth sweep is followed by a jump.
    engine : {"auto", "plain", "fused"}
        Who computes the pass; see `mixtures.engines.passes.one_pass`.
    tell : callable
        Called after every sweep with how many have been made, of all walkers and chains together, and their total.

    Returns
    -------
    Fit
        Of kind "mcmc", with the names of the clusters at random from draw to draw: align before averaging. ``sample_stats``
        are ``lp`` = log p(x, z) in nats, the number of clusters ``occupied`` by points, and whether the chain ``jumped``;
        ``info`` holds

        ``jumps``
            Share of the jumps tried that were accepted: each takes the chain to a labelling drawn from q anew, in whatever
            mode.
        ``fewest_jumps``
            How many the chain with the fewest made.
        ``exchanges``
            Share of the exchanges of names that were accepted.
        ``rhat``
            Largest split R-hat of what needs no labels: ``lp``, the weights in order of size, and sum_k s_kp^2 / N_k for
            every statistic, which tells how far apart the clusters are in it.
        ``tune``, ``walkers``

        ``converged`` says whether ``rhat`` is below 1.01: chains that stay in modes of their own have not converged. A mode
        that neither a walker nor a chain has found goes unnoticed.

    Raises
    ------
    ValueError
        If a count is below 1, or more than memory can hold or anybody waits for, there are more chains than walkers, or the
        prior is improper.

    Warns
    -----
    ConvergenceWarning
        If the chains have not converged.
    """
    rng = generator(rng)
    check_model(family, allocation)
    given = x if isinstance(x, Sequences) else check_matrix(x, family.missing)
    if not callable(tell):
        raise TypeError(f"tell is {brief(tell)}; expected a function of the steps done and their total")
    state = allocation.n_components * (1 + len(family.count_of))
    check_chains(state, draws=draws, chains=chains, tune=tune)
    walkers = walkers_for(len(given), chains) if walkers is None else walkers
    check_count("walkers", walkers, state, "walker")
    if walkers < chains:
        raise ValueError(f"chains is {chains} and walkers {walkers}; expected no more chains than walkers")
    clock = [time.perf_counter()]
    rows = allocation.rows(given)
    x = check_matrix(np.asarray(rows), family.missing)
    if allocation.independent:
        x = rows = informative(x)
    elif family.linked and np.isnan(x).any():
        raise ValueError(
            "values missing among correlated features are not drawn in sequences; use em or cavi, or a family of independent "
            "features"
        )
    pass_ = one_pass(rows, None, family, walkers * len(x) * allocation.n_components, engine=engine)
    clock.append(time.perf_counter())
    s = starts(rows, None, len(x), family, allocation, "k-means++", walkers, rng)
    check_proper(family, allocation.split(s)[1].shape[-1])
    steps = Sampler if getattr(allocation, "start", "free") == "free" else StationarySampler
    sampler = steps(family, allocation, pass_, len(x), rng)
    s = sampler.begin(s)
    tuned = tune * walkers
    total = tuned + draws * chains
    every = 1 if len(x) <= LARGE else SELDOM
    s, library = _tune(sampler, s, tune, every, lambda number: tell(number * walkers, total))
    s = s[rng.choice(walkers, chains, replace=False)]
    sweeps, jumped = [], np.zeros((chains, draws), dtype=bool)
    tried = np.arange(draws) % every == 0
    ahead = _proposals(sampler, library, int(tried.sum()), chains)
    for number in range(draws):
        proposals = next(ahead) if tried[number] else None
        sweeps.append(sampler.sweep(s))
        s = sweeps[-1].s
        if proposals is not None:
            s, jumped[:, number] = sampler.jump(s, library, proposals)
        tell(tuned + len(sweeps) * chains, total)
    weights = np.stack([sweep.weights for sweep in sweeps], axis=1)
    theta = {name: np.stack([sweep.theta[name] for sweep in sweeps], axis=1) for name in sweeps[0].theta}
    states = np.stack([sweep.s for sweep in sweeps], axis=1)
    stats = {
        "lp": sampler.log_joint(states) + log_base(x, None, family),
        "occupied": (states[..., 0] > 0).sum(-1),
        "jumped": jumped,
    }
    _, points = allocation.split(sampler.statistics(states))
    spread = (points**2 / np.maximum(points[..., :1], 1)).sum(2)
    unlabelled = np.concatenate([stats["lp"][..., None], allocation.unlabelled(weights), spread], axis=-1)
    worst = float(split_rhat(unlabelled).max())
    clock.append(time.perf_counter())
    if not worst < RHAT:
        warnings.warn(
            f"the largest split R-hat is {worst:.3g}; raise draws or walkers", ConvergenceWarning, stacklevel=2
        )
    compiled, ran = np.diff(clock)
    return allocation.fits(
        method="gibbs",
        kind="mcmc",
        family=family,
        allocation=allocation,
        posterior=Draws(weights, theta),
        bound=np.empty(0),
        converged=worst < RHAT,
        seconds={"compile": float(compiled), "run": float(ran)},
        info={
            "tune": tune,
            "walkers": walkers,
            "jumps": float(jumped[:, tried].mean()),
            "fewest_jumps": int(jumped.sum(1).min()),
            "exchanges": float(np.mean([sweep.exchanged for sweep in sweeps])),
            "rhat": worst,
        },
        sample_stats=stats,
    )


def walkers_for(n: int, chains: int) -> int:
    """How many walkers tune the sampler of N points and so many chains, unless it is told; see `fit`."""
    return max(min(64, WALKED // max(n, 1)), 16, chains)


def _proposals(sampler: Sampler, library: Library, jumps: int, chains: int) -> Iterator[Proposals]:
    """Those of each of so many jumps of all chains, some drawn ahead together, as many as memory should hold."""
    together = max(1, AHEAD // (chains * sampler.n))
    for first in range(0, jumps, together):
        yield from map(Proposals, *sampler.propose(library, min(together, jumps - first), chains))


def _tune(
    sampler: Sampler, s: np.ndarray, sweeps: int, every: int, tell: Callable[[int], None]
) -> tuple[np.ndarray, Library]:
    """States of the walkers after so many sweeps, with a jump after some, and the library that they leave."""
    library, gathered = None, []
    for number in range(1, sweeps + 1):
        sweep = sampler.sweep(s)
        s = sweep.s
        if library is not None and 2 * number > sweeps and number % every == 0:
            s, _ = sampler.jump(s, library, sampler.propose(library, len(s)))
        if number % max(1, sweeps // ROUNDS) == 0:
            gathered.append(sweep)
            library = sampler.library(gathered)
        tell(number)
    assert library is not None
    return s, library


def split_rhat(v: np.ndarray) -> np.ndarray:
    """Split R-hat of scalars (chain, draw, ...), shape (...); missing where half a chain has fewer than two draws.

    It is 1 where the draws are equal but for rounding: means and variances of such draws are rounding errors, and so is their
    ratio. Gelman et al. 2013, *Bayesian Data Analysis*, equation 11.4.
    """
    n = v.shape[1] // 2
    if n < 2:
        return np.full(v.shape[2:], np.nan)
    halves = np.concatenate([v[:, :n], v[:, -n:]])
    within, between = halves.var(1, ddof=1).mean(0), halves.mean(1).var(0, ddof=1)
    still = np.where(between > 0, np.inf, 0.0)
    rhat = np.sqrt((n - 1) / n + np.divide(between, within, out=still, where=within > 0))
    return np.where(np.ptp(v, axis=(0, 1)) <= ROUNDING * np.abs(v).max((0, 1)), 1.0, rhat)
