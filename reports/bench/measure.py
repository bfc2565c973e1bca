"""What is measured, each as rows of one table: time a pass, time to the optimum, peak private memory, fits a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from mixtures.datasets.simulated import simulate
from reports.bench import ours, theirs
from reports.bench.cells import SEED, Cell, Problem

# A time is that of enough iterations to last so many seconds, but never more than so many of them: the first still shares the
# cores with the other side's threads of linear algebra, which spin for a while, and finds the caches full of its data.
SAMPLE, MOST = 0.4, 200

# Slow pairs are repeated less often: no further repeat once so many seconds have gone.
PATIENCE = 20.0

# Iterations by which the number of threads is chosen.
TRIALS = 3

# An optimum is reached at a mean log likelihood so close to it, in nats an observation.
WITHIN = 1e-8

SMALL_D, SMALL_SEPARATION = 2, 3.0
SMALL_TOL, SMALL_REG_COVAR = 1e-6, 1e-6

# Two fits are equally good where their mean log densities differ by less.
TIED = 1e-3


class Row(NamedTuple):
    """One comparison.

    Attributes
    ----------
    quantity : str
        "pass", "optimum", "memory", "small", "restarts", "first fit", "map pass", "map memory", "caches empty",
        "caches warm", "NUTS"; a call.
    method : {"em", "cavi", "nuts", "all"}
    covariance : str
    n, d, k : int
    unit : str
    ours, sklearn : float
        Medians; missing where there is none, and ``note`` says why.
    higher_is_better : bool
    at_least : bool
        Whether scikit-learn had not arrived, so that its value, and with it the ratio, is a lower bound.
    floor : float
        What the machine allows, in the same unit.
    note : str
    """

    quantity: str
    method: str
    covariance: str
    n: int
    d: int
    k: int
    unit: str
    ours: float
    sklearn: float
    higher_is_better: bool = False
    at_least: bool = False
    floor: float = np.nan
    note: str = ""


def passes(problem: Problem, method: str, repeats: int, floor: float) -> Row:
    """Milliseconds of one iteration on either side, taken in turn, what is compiled being loaded; ``floor`` in seconds."""
    from mixtures.engines import fused, whole  # noqa: F401

    loops = [side.loop(problem, method) for side in (ours, theirs)]
    threads, seconds = zip(*(best_threads(loop) for loop in loops), strict=True)
    times = [min(MOST, int(np.ceil(SAMPLE / one))) for one in seconds]
    calls = [limited(one, partial(loop, count)) for one, loop, count in zip(threads, loops, times, strict=True)]
    own, other = 1e3 * alternate(calls, repeats) / times
    row = Row("pass", method, problem.family.covariance, *_size(problem), "ms", own, other)
    return row._replace(floor=1e3 * floor, note=_said(threads))


def optimum(problem: Problem, repeats: int, limit: float) -> Row:
    """Seconds of EM from the same start until the mean log likelihood is within 1e-8 of the optimum.

    Ours climbs until only rounding is left; that is the optimum, and the clock runs again to the pass that comes within 1e-8
    of it. scikit-learn's parameters are then taken to their own optimum by our EM: where that is another one, the two
    times would not measure the same thing, and both are missing.
    """
    s, n = ours.state(problem, problem.r), len(problem.x)
    row = Row("optimum", "em", problem.family.covariance, *_size(problem), "s", np.nan, np.nan)
    end = ours.climb(problem, s)
    best = float(end.end[0]) / n
    if end.collapsed[0]:
        return row._replace(note="a cluster collapsed: no optimum")
    level = best - WITHIN
    needed = 1 + next(i for i, bound in enumerate(end.trace) if bound[0] >= level * n)
    model, arrivals = theirs.start(problem, "em", reg_covar=0.0), []
    threads = [best_threads(side.loop(problem, "em"))[0] for side in (ours, theirs)]
    climbs = (
        limited(threads[0], lambda: ours.climb(problem, s, needed)),
        limited(threads[1], lambda: arrivals.append(theirs.climb(problem, model, level, limit))),
    )
    own, other = alternate(climbs, repeats, fewest=1)
    last = arrivals[-1]
    elsewhere = float(ours.climb(problem, ours.state(problem, np.exp(last.log_r))).end[0]) / n
    if abs(elsewhere - best) > WITHIN:
        return row._replace(note=f"two optima, {best:.8f} (ours) and {elsewhere:.8f} (scikit-learn) nats a point")
    stopped = "" if last.reached else ", not there yet"
    note = f"{needed} passes (ours), {last.iterations} iterations (scikit-learn{stopped})"
    return row._replace(ours=own, sklearn=other, at_least=not last.reached, note=note)


def small(method: str, n: int, k: int, starts: int, sets: int, repeats: int) -> Row:
    """Whole fits a second, starts included, over many data sets of N points from K clusters in the plane.

    scikit-learn, which fits them one by one, gets a share of the data sets, one in as many as there are starts. On both
    sides: as many starts, each until a step gains less than 1e-6 nats an observation, and 1e-6 added to the
    variances, for the likelihood of so few points has no maximum. Linear algebra and k-means run on one thread, for with
    data so small more of them only wait for each other.
    """
    rng = np.random.default_rng(SEED)
    xs = np.stack([simulate(n, k, SMALL_D, separation=SMALL_SEPARATION, rng=rng).x for _ in range(sets)])
    settings = (k, starts, SMALL_TOL, SMALL_REG_COVAR)
    shares = xs, xs[: -(-sets // starts)]
    calls = [
        limited(1, partial(side.fits, method, share, *settings))
        for side, share in zip((ours, theirs), shares, strict=True)
    ]
    fits, seconds = [call() for call in calls], alternate(calls, repeats)
    own_score, their_score = (
        np.array([side.score(fit, x) for fit, x in zip(found, share, strict=True)])
        for side, found, share in zip((ours, theirs), fits, shares, strict=True)
    )
    notes = []
    if lost := int(np.isnan(own_score).sum()):
        notes.append(f"{lost} of {sets} fits of ours collapsed")
    if method == "em":
        gain = own_score[: len(their_score)] - their_score
        ahead, behind = np.mean(gain > TIED), np.mean(gain < -TIED)
        notes.append(f"likelihood higher with ours in {ahead:.0%} of the sets, with scikit-learn in {behind:.0%}")
    own, other = np.array([len(share) for share in shares]) / seconds
    quantity, size = "small" if starts == 1 else "restarts", (n, SMALL_D, k)
    return Row(quantity, method, "full", *size, "fits/s", own, other, higher_is_better=True, note="; ".join(notes))


def alternate(calls: Sequence[Callable[[], object]], repeats: int, fewest: int = 3) -> np.ndarray:
    """Median seconds of each of several calls that are made in turn, fewer times where they are slow."""
    seconds: list[list[float]] = []
    began = time.perf_counter()
    while len(seconds) < repeats and (len(seconds) < fewest or time.perf_counter() - began < PATIENCE):
        seconds.append([_clock(call) for call in calls])
    return np.median(seconds, axis=0)


def best_threads(loop: Callable[[int], object]) -> tuple[int | None, float]:
    """With how many threads of linear algebra an iteration is quickest, one or None for all, and its seconds.

    Either side is measured at its best: in small cells threads of BLAS cost more than they bring.
    """
    choices = (None, 1)
    calls = [limited(threads, partial(loop, 1)) for threads in choices]
    for call in calls:
        call()
    seconds = alternate(calls, TRIALS)
    best = int(np.argmin(seconds))
    return choices[best], float(seconds[best])


def limited[Result](threads: int | None, call: Callable[[], Result]) -> Callable[[], Result]:
    """The call with so many threads of linear algebra and OpenMP; None for as many as there are."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()

    def within() -> Result:
        with controller.limit(limits=threads):
            return call()

    return within


def _said(threads: tuple[int | None, ...]) -> str:
    single = [name for name, one in zip(("ours", "scikit-learn"), threads, strict=True) if one]
    return f"quickest on one BLAS thread: {', '.join(single)}" if single else ""


def _clock(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _size(problem: Problem) -> Cell:
    n, d = problem.x.shape
    return Cell(n, d, problem.r.shape[1])
