"""A process that does one thing and says how much private memory, or time, it took: run by its path, with a JSON task.

Nothing but what the task needs is imported. Data come from a .npy file that is mapped, not read, so that they count for no
side; what is counted are the pages that belong to this process alone (RssAnon), above those that the imports left.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from reports.comparison.parent import end_with

STATUS = Path("/proc/self/status")
EVERY = 0.001


def private() -> float:
    """Private memory of this process in MB; not a number where the system does not tell."""
    if not STATUS.exists():
        return float("nan")
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def peak(call: Callable[[], object]) -> float:
    """Largest private memory during a call above that before it, in MB, looked at every millisecond."""
    before, done = private(), Event()
    seen = [before - before]

    def watch() -> None:
        while not done.wait(EVERY):
            seen.append(private() - before)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
        seen.append(private() - before)
    return max(seen)


def ours(x: Any, k: int, covariance: str, iterations: int) -> dict[str, float]:
    """Peak of a fit by EM, its start included, and seconds of each pass after that."""
    import numpy as np

    import mixtures.engines.fused  # noqa: F401
    from mixtures import COVARIANCES, Dirichlet
    from mixtures.ascent.starts import starts
    from mixtures.engines.passes import one_pass
    from mixtures.methods import em

    imports = private()

    def fit() -> None:
        rng, family, allocation = (
            np.random.default_rng(0),
            COVARIANCES[covariance].from_data(x, k),
            Dirichlet.symmetric(k),
        )
        em.fit(x, family, allocation, rng=rng, restarts=1, max_iter=iterations, tol=0.0)

    found = peak(fit)
    rng, family, allocation = np.random.default_rng(0), COVARIANCES[covariance].from_data(x, k), Dirichlet.symmetric(k)
    s = starts(x, None, len(x), family, allocation, "k-means++", 1, rng)[0]
    pass_, seconds = one_pass(x, None, family, len(x) * k), []
    for _ in range(iterations):
        began = time.perf_counter()
        _, s = pass_(em.step(family, allocation, s)[0])
        seconds.append(time.perf_counter() - began)
    return {"imports": imports, "peak": found, "seconds": float(np.median(seconds))}


def theirs(x: Any, k: int, covariance: str, iterations: int) -> dict[str, float]:
    """Peak of a fit by scikit-learn's EM from its cheapest start."""
    from sklearn.mixture import GaussianMixture

    imports = private()
    model = GaussianMixture(
        n_components=k,
        covariance_type=covariance,
        init_params="random_from_data",
        max_iter=iterations,
        tol=0.0,
        random_state=0,
    )
    return {"imports": imports, "peak": peak(lambda: model.fit(x))}


def compiling() -> dict[str, float]:
    """Seconds to import numba, and then to compile the engine, or load it, and make a first pass."""
    import numpy as np

    from mixtures import Gaussian
    from mixtures.engines.passes import one_pass

    x = np.random.default_rng(0).standard_normal((100, 2))
    family = Gaussian.from_data(x, 1)
    began = time.perf_counter()
    import numba  # noqa: F401

    imported = time.perf_counter()
    one_pass(x, None, family, 100, engine="fused")(np.zeros((1, 6)))
    return {"numba": imported - began, "engine": time.perf_counter() - imported}


def first_fit(package: str, x: Any, k: int) -> dict[str, float]:
    """Seconds of the first fit in a process, of the class as it is imported from its package."""
    cls = importlib.import_module(package).GaussianMixture
    model = cls(n_components=k, random_state=0)
    began = time.perf_counter()
    model.fit(x)
    return {"seconds": time.perf_counter() - began}


def main() -> None:
    """Do the task and print what was found as JSON."""
    warnings.simplefilter("ignore")  # that so few iterations do not converge
    task = json.loads(sys.argv[1])
    end_with(task["parent"])
    if task["kind"] == "compile":
        print(json.dumps(compiling()))
        return
    if task["kind"] == "call":
        module, name = task["function"].split(":")
        print(json.dumps(getattr(importlib.import_module(module), name)(**task["arguments"])))
        return
    import numpy as np

    if task["kind"] == "first fit":
        print(json.dumps(first_fit(task["package"], np.load(task["path"]), task["k"])))
        return
    x = np.load(task["path"], mmap_mode="r")[: task["rows"]]
    side = {"ours": ours, "theirs": theirs}[task["kind"]]
    print(json.dumps(side(x, task["k"], task["covariance"], task["iterations"])))


if __name__ == "__main__":
    main()
