"""What `reports.bench.device` measures, each in a process of its own, so that no library holds the device's memory for another.

Both sides begin with the parameters of an M-step from the same rows, and an iteration is an E-step and an M-step. The rows are
on the device before the clock runs; what an iteration moves there and back, and the M-step where it is made, is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mixtures.ascent.starts import ENOUGH
from mixtures.engines.passes import Pass, one_pass
from mixtures.methods import em
from reports.bench import ours
from reports.bench.cells import Problem, pose

# A time is the median over so many samples of so many seconds.
SAMPLES, SECONDS = 5, 0.2

PRECISIONS = ("float64", "float32")

# Iterations after which the two precisions are compared at the same parameters.
COMPARED = 5


def device() -> dict[str, Any]:
    """The name of the device that JAX has, whether it is a GPU, its memory in bytes if it tells, and JAX's version."""
    import jax

    first = jax.devices()[0]
    stats = first.memory_stats() or {}
    return {
        "device": first.device_kind,
        "gpu": first.platform == "gpu",
        "memory": stats.get("bytes_limit"),
        "jax": jax.__version__,
    }


def own(path: str, k: int, samples: int = SAMPLES, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds of an iteration and of its pass alone in either precision, and what float32 is off by.

    Returns
    -------
    dict
        By precision "ms", "pass_ms", "form" (of the pass) and "ready" (seconds to move the rows and compile); "nats", the error
        of float32 in the mean log likelihood; and "spread", its largest error in a covariance after one pass, in units of both
        standard deviations.
    """
    x = np.load(path, mmap_mode="r")
    posed, state = _begun(x, k)
    s = state
    found: dict[str, Any] = {}
    ends = {}
    for precision in PRECISIONS:
        began = time.perf_counter()
        pass_: Any = one_pass(np.asarray(x), None, posed.family, x.shape[0] * k, engine="jax", precision=precision)
        eta = em.step(posed.family, posed.allocation, state)[0]
        pass_(eta)
        ready = time.perf_counter() - began
        if precision == "float64":
            s = _iterated(pass_, posed, state, COMPARED)
        at = em.step(posed.family, posed.allocation, s)[0]
        ends[precision] = pass_(at)
        found[precision] = {
            "ms": 1e3 * median_seconds(partial(_iterated, pass_, posed, state), samples, seconds),
            "pass_ms": 1e3 * median_seconds(partial(_passes, pass_, eta), samples, seconds),
            "form": pass_.form(eta),
            "ready": ready,
        }
        del pass_
    (log_z, double), (other, single) = ends["float64"], ends["float32"]
    a, b = (posed.family.maximum_likelihood(s)["covariances"] for s in (double, single))
    sd = np.sqrt(np.diagonal(a, axis1=1, axis2=2))
    off = np.abs(a - b) / (sd[:, :, None] * sd[:, None])
    return found | {"nats": abs(float(log_z - other)) / len(x), "spread": float(off.max())}


def peer(path: str, k: int, samples: int = SAMPLES, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds of an iteration of scikit-learn's EM on PyTorch tensors on the GPU, through the array API.

    Returns
    -------
    dict
        By precision "ms", and "nats", the mean log likelihood after the compared iterations. Where there is neither "missing"
        says why, of one precision or of both.
    """
    try:
        import torch
    except ImportError:
        return {"missing": "PyTorch is not installed"}
    if not torch.cuda.is_available():
        return {"missing": "PyTorch sees no GPU"}
    import sklearn

    x = np.load(path, mmap_mode="r")
    found: dict[str, Any] = {}
    with sklearn.config_context(array_api_dispatch=True):
        for precision in PRECISIONS:
            to: Callable[[np.ndarray], Any] = partial(torch.tensor, device="cuda", dtype=getattr(torch, precision))
            try:
                iterate = peer_loop(x, k, to, torch.cuda.synchronize)
                found[precision] = {
                    "nats": iterate(COMPARED),
                    "ms": 1e3 * median_seconds(iterate, samples, seconds),
                }
            except (RuntimeError, ValueError) as error:  # too little memory, or a factorisation that fails in float32
                found[precision] = {"missing": str(error).splitlines()[0]}
    return found


def peer_loop(
    x: np.ndarray, k: int, to: Callable[[np.ndarray], Any], wait: Callable[[], object]
) -> Callable[[int], float]:
    """So many iterations of scikit-learn's EM, as its own loop calls them, and the mean log likelihood before the last M-step.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    k : int
    to : callable
        From an array to the same on the device.
    wait : callable
        Returns once the device has done what it was told.
    """
    from sklearn.mixture import GaussianMixture
    from sklearn.utils._array_api import get_namespace

    posed, s = _begun(x, k)
    theta = posed.family.to_data(posed.family.maximum_likelihood(s))
    roots = np.linalg.inv(np.linalg.cholesky(theta["covariances"])).swapaxes(1, 2)
    first = (s[:, 0] / s[:, 0].sum(), theta["means"], theta["covariances"], roots)
    rows, begun = to(np.array(x)), [to(v) for v in first]
    xp, _ = get_namespace(rows)
    model: Any = GaussianMixture(n_components=k, reg_covar=0.0)

    def iterate(times: int) -> float:
        model.weights_, model.means_, model.covariances_, model.precisions_cholesky_ = begun
        for _ in range(times):
            log_z, log_r = model._e_step(rows, xp=xp)
            model._m_step(rows, log_r, xp=xp)
        wait()
        return float(log_z)

    return iterate


def crossing(path: str, k: int, sizes: list[int], samples: int = SAMPLES, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds of an iteration for ever more rows, by the engine that suits the cores and by that of the device."""
    x = np.load(path, mmap_mode="r")
    found: dict[str, Any] = {"cores": [], "device": []}
    for n in sizes:
        rows = np.array(x[:n])
        posed, s = _begun(rows, k)
        for name, engine in (("cores", "auto"), ("device", "jax")):
            pass_ = one_pass(rows, None, posed.family, n * k, engine=engine)
            took = median_seconds(partial(_iterated, pass_, posed, s), samples, seconds)
            found[name].append(1e3 * took)
    return found


def median_seconds(iterate: Callable[[int], object], samples: int, seconds: float) -> float:
    """Median seconds of an iteration over samples that last so long, after one to warm up."""
    iterate(1)
    began = time.perf_counter()
    iterate(1)
    times = max(1, int(seconds / (time.perf_counter() - began)))
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        iterate(times)
        took.append((time.perf_counter() - began) / times)
    return float(np.median(took))


def _begun(x: np.ndarray, k: int) -> tuple[Problem, np.ndarray]:
    """The problem of the first rows, and their state (K, P) with the weight of all."""
    posed = pose(np.array(x[:ENOUGH]), "full", k)
    return posed, ours.state(posed, posed.r) * (len(x) / len(posed.x))


def _iterated(pass_: Pass, posed: Problem, s: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        s = pass_(em.step(posed.family, posed.allocation, s)[0])[1]
    return s


def _passes(pass_: Pass, eta: np.ndarray, times: int) -> None:
    for _ in range(times):
        pass_(eta)
