"""What waits for whoever types a command: a comparison with caches empty and again, and NUTS beside the usual model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mixtures import datasets
from reports.bench import nuts
from reports.bench.measure import Row

# A whole comparison of five methods, with its page.
DATA, K = "faithful", 2

EMPTY, WARM, DRAWS = "caches empty", "caches warm", "NUTS"

# Folders of what is compiled, which a process takes from its environment.
CACHES = {
    "PYTENSOR_FLAGS": "base_compiledir={}/pytensor",
    "NUMBA_CACHE_DIR": "{}/numba",
    "XDG_CACHE_HOME": "{}/user",
}

# A command that ends with the process which started it.
START = """
import sys
from reports.comparison.parent import end_with
end_with(int(sys.argv.pop(1)))
from reports.commands.app import main
main()
"""

# The model of `mixtures compare`, and the usual one as it is quickest for whoever sets no metric.
OURS, USUAL = nuts.Way(nuts.OURS, "all", "cavi"), nuts.Way(nuts.USUAL, "1")


def comparisons() -> list[Row]:
    """Seconds of a comparison in a new process, imports included, with caches that are empty, and again."""
    n, d = datasets.load(DATA).x.shape
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["compare", DATA, "-k", str(K), "-o", "run", "--overwrite"]
        command = [sys.executable, "-c", START, str(os.getpid()), *arguments]
        root = str(Path(__file__).parents[2])
        environment = os.environ | {name: where.format(folder) for name, where in CACHES.items()}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        for quantity in (EMPTY, WARM):
            began = time.perf_counter()
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            seconds, note = time.perf_counter() - began, ""
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["no message"])[-1]
                seconds, note = np.nan, f"the command ended with code {done.returncode}: {why}"
            rows.append(Row(quantity, "all", "full", n, d, K, "s", seconds, np.nan, note=note))
    return rows


def effective_draws() -> list[Row]:
    """Effective draws a second of NUTS without compiling, of our model beside the usual one with one BLAS thread."""
    settings = nuts.Settings()
    table = nuts.sampled(settings, 0, (OURS, USUAL))
    own, other = table["ess_run"].astype(float)
    note = "; ".join(f"{model}: {why}" for model, why in zip(table["model"], table["note"], strict=True) if why)
    n, d = datasets.load(settings.data).x.shape
    return [Row(DRAWS, "nuts", "full", n, d, settings.n_components, "1/s", own, other, True, note=note)]
