"""The no-U-turn sampler (Hoffman & Gelman 2014, *JMLR* 15:1593-1623) on the twin model, by NumPyro, nutpie or PyMC."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pymc.sampling.jax
import pytensor

from mixtures.checks import check_chains
from mixtures.fit import Fit
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informative
from mixtures.seeds import Rng, generator
from models import joint
from models.beginnings import about, modes, starts
from models.flat import Flat, batched, can_run_in_parallel, flatten, parallel
from models.loops import Loops, Tell
from models.metric import TUNE, chosen, corrected, covariance
from models.observed import observed

# Doublings after which a trajectory ends without a U-turn: the default of all three samplers.
MAX_DEPTH = 10

# Unconstrained values up to which NumPyro's metric is dense: of more, a warm-up cannot learn the correlations.
MOST_DENSE = 500


@dataclass(frozen=True)
class Run:
    """Parameters by name (chain, draw, ...), the sampler's statistics (chain, draw), and seconds by kind.

    ``warm_up`` is the share of all leapfrog steps that the adaptation took; missing where the sampler does not tell.
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    seconds: dict[str, float]
    warm_up: float = float("nan")


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    sampler: str = "numpyro",
    metric: str | None = None,
    start: Fit | None = None,
    target_accept: float = 0.9,
    tell: Tell = None,
) -> Fit:
    """Sample the posterior by NUTS.

    Chains start independently and wider than the posterior, after Gelman & Rubin (1992, *Statistical Science* 7:457-472,
    section 2.1): each climbs to ten modes from k-means++ seeds of its own by short runs of CAVI, picks one with probability
    proportional to exp(bound), and draws (pi, theta) from the conjugate posterior of that mode tempered to a quarter of the
    data, which doubles its width. Modes of comparable mass thus get chains, and show in R-hat if chains cannot cross between
    them, while no chain is lost in a mode of no mass.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
        The model with its priors.
    rng : numpy.random.Generator or int
    draws, tune, chains : int
        Kept draws and discarded steps of adaptation in each chain, and the number of chains. By default 300 steps where the
        metric starts from CAVI's posterior, else 1000.
    sampler : {"numpyro", "nutpie", "pymc"}
        NumPyro adapts a dense metric and runs the chains in parallel, one host device each; nutpie adapts a low-rank metric
        and runs them in threads; PyMC's own sampler adapts a dense metric and runs them in turn. All evaluate the log
        joint by JAX.
    metric : {"cavi", "adapt"}, optional
        What the metric starts from: the covariance of CAVI's posterior in the unconstrained space, at the mode where the
        chain starts, of which the warm-up makes its own (`models.metric`), or the identity. By default the first by NumPyro,
        which alone takes one. It changes how far the chains come in a step, not what they are drawn from, nor
        where they start.
    start : Fit, optional
        A fit whose mode, tempered in the same way, every chain starts from instead.
    target_accept : float
        Mean acceptance probability to which the step size is adapted.
    tell : callable, optional
        Called now and then with how many steps have been made, of all chains together, and their total; by some samplers
        from a thread of their own.

    Returns
    -------
    Fit
        Of kind "mcmc", with the labels as each chain found them: align before averaging over chains or taking R-hat.
        The same ``rng`` gives the same draws; but where JAX was started with fewer host devices than chains, they run in
        turn and round otherwise (``info["parallel"]``).
        ``converged`` says only that no draw diverged. ``seconds["compile"]`` is for building the model and compiling
        everything ahead of the first step, ``seconds["run"]`` for the starts, the sampling with its adaptation, and the way
        back to the parameters. PyMC compiles within its call: there "run" counts the steps and "compile" the rest.

    Raises
    ------
    ValueError
        If the sampler is unknown, or a count is below 1.
    """
    rng, x = generator(rng), informative(joint.checked(x, family, allocation))
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}")
    metric = chosen(metric, sampler)
    tune = TUNE[metric] if tune is None else tune
    check_chains(allocation.n_components * (1 + len(family.count_of)), draws=draws, chains=chains, tune=tune)
    began = time.perf_counter()
    s = modes(x, family, allocation, start, chains, rng)
    init = joint.unconstrain(family, allocation, *starts(family, allocation, s, rng))
    near = joint.unconstrain(family, allocation, *about(family, allocation, s, rng)) if metric == "cavi" else None
    started = time.perf_counter() - began
    run = sample(
        lambda: joint.build(x, family, allocation),
        joint.parameters(family, allocation),
        init,
        seed=int(rng.integers(2**31)),
        draws=draws,
        tune=tune,
        sampler=sampler,
        target_accept=target_accept,
        near=near,
        tell=tell,
    )
    seconds = {"compile": run.seconds["compile"], "run": started + run.seconds["run"]}
    info = {"sampler": sampler, "metric": metric, "tune": tune, "target_accept": target_accept}
    return _result(family, allocation, replace(run, seconds=seconds), info)


class Compiled:
    """NUTS by NumPyro for all data of one shape under one model: built and compiled once, run as often as needed.

    Parameters
    ----------
    like : ndarray, shape (N, D), or Sequences
        Data of the shape of all, in sequences of the same lengths.
    family, allocation, draws, tune, chains, metric, target_accept
        See `fit`. The family's coordinates are the same for all data.

    Attributes
    ----------
    seconds : float
        What building and compiling took.
    """

    def __init__(
        self,
        like: Any,
        family: Family,
        allocation: Allocation,
        *,
        draws: int = 1000,
        tune: int | None = None,
        chains: int = 4,
        metric: str | None = None,
        target_accept: float = 0.9,
    ) -> None:
        began = time.perf_counter()
        self.family, self.allocation, self.chains = family, allocation, chains
        metric = chosen(metric, "numpyro")
        tune = TUNE[metric] if tune is None else tune
        check_chains(allocation.n_components * (1 + len(family.count_of)), draws=draws, chains=chains, tune=tune)
        self._info = {"sampler": "numpyro", "metric": metric, "tune": tune, "target_accept": target_accept}
        model = joint.build(like, family, allocation)
        self._flat = flatten(model, joint.parameters(family, allocation), [observed(model)])
        data = [np.zeros((chains, *like.shape))]
        self._sample = _Chains(self._flat, data, chains, draws, tune, target_accept, metric == "cavi")
        self.seconds = time.perf_counter() - began

    def fit(self, x: np.ndarray, *, rng: Rng, start: Fit | None = None) -> Fit:
        """Sample the posterior of x (N, D); see `fit`."""
        rng, x = generator(rng), joint.checked(x, self.family, self.allocation)
        began = time.perf_counter()
        s = modes(x, self.family, self.allocation, start, self.chains, rng)
        init = self._flat.join(
            joint.unconstrain(self.family, self.allocation, *starts(self.family, self.allocation, s, rng))
        )
        near = None
        if self._info["metric"] == "cavi":
            known = about(self.family, self.allocation, s, rng)
            near = metrics(self._flat, joint.unconstrain(self.family, self.allocation, *known))
        seeds = int(rng.integers(2**31)) + np.arange(self.chains)
        run = self._sample(seeds, init, np.tile(np.asarray(x), (self.chains, 1, 1)), near=near)
        seconds = {"run": time.perf_counter() - began}
        return _result(self.family, self.allocation, replace(run, seconds=seconds), self._info)


def compiled(
    flat: Flat, data: Sequence[np.ndarray], *, chains: int, draws: int, tune: int, target_accept: float
) -> Callable[..., Run]:
    """NUTS by NumPyro for all data of the same shapes, of any model.

    Parameters
    ----------
    flat : Flat
        Its log joint takes the data.
    data : sequence of ndarray, shape (chains, ...)
        Some data, the same for every chain; of no other shapes than these is what is compiled.

    Returns
    -------
    callable
        From seeds (chains,), starts (chains, P) and the data (chains, ...) each to a run, without its seconds.
    """
    return _Chains(flat, data, chains, draws, tune, target_accept)


def _result(family: Family, allocation: Allocation, run: Run, info: dict[str, Any]) -> Fit:
    divergences, posterior = int(run.stats["diverging"].sum()), joint.posterior(allocation, run.values)
    return allocation.fits(
        method="nuts",
        kind="mcmc",
        family=family,
        allocation=allocation,
        posterior=posterior,
        bound=np.empty(0),
        converged=divergences == 0,
        seconds=run.seconds,
        info=info
        | {
            "divergences": divergences,
            "max_tree_depth": MAX_DEPTH,
            "parallel": can_run_in_parallel(len(posterior.weights)),
        },
        sample_stats=run.stats,
    )


def sample(
    build: Callable[[], pm.Model],
    parameters: Sequence[str],
    init: dict[str, np.ndarray],
    *,
    seed: int,
    draws: int,
    tune: int,
    sampler: str,
    target_accept: float,
    near: dict[str, np.ndarray] | None = None,
    tell: Tell = None,
) -> Run:
    """Sample any PyMC model from given starts.

    Parameters
    ----------
    build : callable
        Makes the model, so that its making is timed.
    parameters : sequence of str
        What the run's ``values`` are to hold.
    init : dict of ndarray, shape (chains, ...)
        The unconstrained values that each chain starts from, by the names of ``model.value_vars``.
    near : dict of ndarray, shape (chains, M, ...), optional
        For each chain, unconstrained values drawn from about where it starts, whose covariance its metric starts from; by
        NumPyro alone.
    seed, draws, tune, sampler, target_accept, tell
        As in `fit`, the seed a number.
    """
    began = time.perf_counter()
    model = build()
    flat = flatten(model, parameters)
    first = flat.join(init)
    built = time.perf_counter() - began
    known = {} if near is None else {"near": metrics(flat, near)}
    ahead = time.perf_counter() - began - built
    run = SAMPLERS[sampler](model, flat, first, draws, tune, target_accept, seed, tell, **known)
    return replace(run, seconds={"compile": built + run.seconds["compile"], "run": ahead + run.seconds["run"]})


def metrics(flat: Flat, near: dict[str, np.ndarray]) -> np.ndarray:
    """The metric of each chain from draws (chains, M, ...): matrices (chains, P, P), or variances where these are too many."""
    return np.stack([covariance(v, flat.size <= MOST_DENSE) for v in flat.join(near)])


def _numpyro(
    model: pm.Model,
    flat: Flat,
    init: np.ndarray,
    draws: int,
    tune: int,
    target_accept: float,
    seed: int,
    tell: Tell,
    near: np.ndarray | None = None,
) -> Run:
    began = time.perf_counter()
    chains = _Chains(flat, (), len(init), draws, tune, target_accept, near is not None)
    compiled = time.perf_counter()
    run = chains(seed + np.arange(len(init)), init, near=near, tell=tell)
    return replace(run, seconds={"compile": compiled - began, "run": time.perf_counter() - compiled})


class _Chains:
    """Chains by NumPyro, compiled for all data of one shape; see `compiled`."""

    def __init__(
        self,
        flat: Flat,
        data: Sequence[np.ndarray],
        chains: int,
        draws: int,
        tune: int,
        target_accept: float,
        known: bool = False,
    ) -> None:
        import jax
        from numpyro.infer.hmc import hmc

        first, following = hmc(potential_fn_gen=lambda *data: lambda v: -flat.log_joint(v, *data), algo="NUTS")
        dense = flat.size <= MOST_DENSE
        correct = corrected(tune, dense) if known else lambda state, _: state

        def begin(seed, v, near, *data):
            return first(
                v,
                tune,
                inverse_mass_matrix=near if known else None,
                adapt_mass_matrix=not known,
                dense_mass=dense,
                target_accept_prob=target_accept,
                max_tree_depth=MAX_DEPTH,
                model_args=data,
                rng_key=jax.random.split(jax.random.PRNGKey(seed))[0],
            )

        def step(state, number, *data):
            state = correct(following(state, data), number)
            stats = {
                "diverging": state.diverging,
                "energy": state.energy,
                "lp": -state.potential_energy,
                "n_steps": state.num_steps,
                "acceptance_rate": state.accept_prob,
                "step_size": state.adapt_state.step_size,
            }
            return state, (state.z, stats)

        self._tune = tune
        near = np.zeros((chains, *[flat.size] * (1 + dense)) if known else (chains, 0))
        some = (np.arange(chains), np.zeros((chains, flat.size)), near, *data)
        self._loops = Loops(begin, step, tune + draws, some, data)
        self._constrain = parallel(jax.vmap(flat.constrain), np.zeros((chains, draws, flat.size)))

    def __call__(
        self, seeds: np.ndarray, init: np.ndarray, *data: np.ndarray, near: np.ndarray | None = None, tell: Tell = None
    ) -> Run:
        import jax

        near = np.zeros((len(init), 0)) if near is None else near
        _, steps = self._loops((seeds, init, near, *data), data, tell)
        v, stats = jax.tree.map(lambda a: a[:, self._tune :], steps)
        values = {name: np.asarray(a) for name, a in self._constrain(v).items()}
        sampling, every = stats["n_steps"].sum(), steps[1]["n_steps"].sum()
        return Run(values, stats | depths(stats["n_steps"]), {}, float(1 - sampling / every))


def depths(n_steps: np.ndarray) -> dict[str, np.ndarray]:
    """How often NumPyro's trees of so many steps were doubled, and whether they were cut off."""
    return {"tree_depth": np.log2(n_steps).astype(int) + 1, "reached_max_treedepth": n_steps == 2**MAX_DEPTH - 1}


def _nutpie(
    model: pm.Model, flat: Flat, init: np.ndarray, draws: int, tune: int, target_accept: float, seed: int, tell: Tell
) -> Run:
    import jax
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    began = time.perf_counter()
    value_and_grad = jax.jit(jax.value_and_grad(flat.log_joint)).lower(init[0]).compile()
    compiled = time.perf_counter()
    done = [0] * len(init)

    def log_joint(v):
        value, grad = value_and_grad(v)
        return float(value), np.asarray(grad)

    def hear(chain, progress):
        done[chain] = progress[0].finished_draws
        if tell is not None:
            tell(sum(done), len(init) * (tune + draws))

    def launch(chain):
        target = from_pyfunc(
            ndim=flat.size,
            make_logp_fn=lambda: log_joint,
            make_expand_fn=lambda *_: lambda v: {"v": v.copy()},
            expanded_dtypes=[np.dtype(float)],
            expanded_shapes=[(flat.size,)],
            expanded_names=["v"],
            make_initial_point_fn=lambda _: init[chain],
        )
        return nutpie.sample(
            target,
            draws=draws,
            tune=tune,
            chains=1,
            seed=seed + chain,
            target_accept=target_accept,
            maxdepth=MAX_DEPTH,
            adaptation="low_rank",
            save_warmup=False,
            progress_bar=False,
            progress_callback=partial(hear, chain),
            blocking=False,
        )

    trees = [running.wait() for running in [launch(chain) for chain in range(len(init))]]
    ended = time.perf_counter()
    names = {
        "diverging": "diverging",
        "energy": "energy",
        "logp": "lp",
        "n_steps": "n_steps",
        "depth": "tree_depth",
        "maxdepth_reached": "reached_max_treedepth",
        "mean_tree_accept": "acceptance_rate",
        "step_size": "step_size",
    }
    stats = {ours: np.concatenate([tree["sample_stats"][theirs] for tree in trees]) for theirs, ours in names.items()}
    v = np.concatenate([tree["posterior"]["v"] for tree in trees])
    return _constrained(flat, v, stats, {"compile": compiled - began, "run": ended - compiled})


def _pymc(
    model: pm.Model, flat: Flat, init: np.ndarray, draws: int, tune: int, target_accept: float, seed: int, tell: Tell
) -> Run:
    began, done = time.perf_counter(), itertools.count(1)

    def hear(trace, draw):
        if tell is not None:
            tell(next(done), len(init) * (tune + draws))

    with model, pytensor.config.change_flags(mode="JAX"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "QuadPotentialFullAdapt is an experimental feature", UserWarning)
        tree = pm.sample(
            draws=draws,
            tune=tune,
            chains=len(init),
            cores=1,
            random_seed=seed,
            nuts_sampler="pymc",
            init="adapt_full",
            initvals=[flat.split(v) for v in init],
            target_accept=target_accept,
            callback=hear,
            max_treedepth=MAX_DEPTH,
            progressbar=False,
            quiet=True,
            compute_convergence_checks=False,
            idata_kwargs={"include_transformed": True},
        )
    if dict(tree["posterior"].sizes) | {"chain": len(init), "draw": draws} != dict(tree["posterior"].sizes):
        raise KeyboardInterrupt  # which PyMC swallows: it returns the draws made so far
    ended = time.perf_counter()
    v = flat.join({name: tree["posterior"][name].to_numpy() for name in flat.shapes})
    names = (
        "diverging",
        "energy",
        "lp",
        "n_steps",
        "tree_depth",
        "reached_max_treedepth",
        "acceptance_rate",
        "step_size",
    )
    stats = {name: tree["sample_stats"][name].to_numpy() for name in names}
    run = tree["posterior"].attrs["sampling_time"]
    return _constrained(flat, v, stats, {"compile": ended - began - run, "run": run})


def _constrained(flat: Flat, v: np.ndarray, stats: dict[str, np.ndarray], seconds: dict[str, float]) -> Run:
    """The run that made the draws v (chain, draw, P) in so many seconds, to which the way back is added."""
    began, rows = time.perf_counter(), v.reshape(-1, flat.size)
    constrain = batched(flat.constrain, rows)
    compiled = time.perf_counter()
    values = {name: np.asarray(a).reshape(*v.shape[:2], *a.shape[1:]) for name, a in constrain(rows).items()}
    ended = time.perf_counter()
    return Run(
        values, stats, {"compile": seconds["compile"] + compiled - began, "run": seconds["run"] + ended - compiled}
    )


SAMPLERS: dict[str, Callable[..., Run]] = {"numpyro": _numpyro, "nutpie": _nutpie, "pymc": _pymc}
