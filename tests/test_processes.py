"""A fit in another process or thread is that of this one, however that was started and whatever was fitted before."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.robustness("processes")

SCRIPT = """
import multiprocessing, sys, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV

from mixtures import BayesianGaussianMixture, GaussianMixture

WAIT = 30


def data():
    return np.random.default_rng(0).normal(size=(60_000, 2))  # more than one thread goes through


def fit(_=None):
    from mixtures.engines import fused, seeding, whole  # which a new process loads only once they repay

    bound = GaussianMixture(3, max_iter=2, random_state=0).fit(data()).lower_bound_
    return bound, BayesianGaussianMixture(n_components=3, max_iter=2, random_state=0).fit(data()[:15_000]).lower_bound_


def forked():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return [pool.apply_async(fit).get(WAIT)]


def executor():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return [pool.submit(fit).result(WAIT)]


def joblib(backend):
    return Parallel(2, backend=backend, timeout=WAIT)(delayed(fit)() for _ in range(2))


def threads():
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(fit, range(4)))


def searched(jobs):
    search = GridSearchCV(GaussianMixture(max_iter=2, random_state=0), {"n_components": [1, 2]}, n_jobs=jobs, cv=2)
    return search.fit(data()).cv_results_["mean_test_score"].tolist()


if __name__ == "__main__":
    expected = fit()
    assert threading.active_count() > 1, "no thread to lose"
    assert forked() == [expected]
    assert executor() == [expected]
    for name in ("multiprocessing", "loky"):  # by a fork, and by a new interpreter
        assert joblib(name) == [expected] * 2, name
    assert threads() == [expected] * 4
    assert np.allclose(searched(2), searched(1), rtol=1e-12, atol=0)  # in processes that have loaded nothing
    print("all alike")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fits_elsewhere_are_those_of_here(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    root = os.path.dirname(os.path.dirname(__file__))
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "PYTHONPATH": root, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all alike\n"
