"""The second process: that it does its part, that it is not missed, and that it changes no number."""

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import three_clusters
from threadpoolctl import threadpool_info, threadpool_limits

import reports
from reports.comparison import beside
from reports.comparison import loading as loads
from reports.comparison.loading import loading
from reports.page import begin_to_render, render


@pytest.fixture(scope="module")
def executor():
    with beside.second_process(beside.FEWEST_METHODS) as executor:
        yield executor


class Recorder:
    """An executor that notes what it is given to do."""

    def __init__(self, executor):
        self.executor, self.given = executor, []

    def submit(self, work):
        self.given.append(work.func.__name__)
        return self.executor.submit(work)


def plot_something():
    from matplotlib.figure import Figure

    return len(Figure().subplots().plot([1.0, 2.0]))


def die_elsewhere(parent):
    if os.getpid() != parent:
        os._exit(1)
    return "here"


def test_work_is_done_elsewhere_and_the_process_does_not_outlive_its_use():
    before = multiprocessing.active_children()
    with beside.second_process(beside.FEWEST_METHODS) as executor:
        assert beside.begin(executor, os.getpid)() != os.getpid()
        assert len(multiprocessing.active_children()) == len(before) + 1
        beside.begin(executor, time.sleep, 600)
        time.sleep(0.5)  # what has not begun would be cancelled
    ends = time.monotonic() + 10
    while len(multiprocessing.active_children()) > len(before):
        assert time.monotonic() < ends
        time.sleep(0.05)


def loaded(name):
    return type(sys.modules.get(name)) is ModuleType


def hold_something():
    import xarray as xr

    return xr.Dataset({"x": ("n", [1.0, 2.0])}).sizes["n"]


def test_it_loads_what_it_needs_and_not_jax_which_arviz_holds_ready(executor):
    drawn = beside.begin(executor, plot_something)
    assert drawn()
    assert beside.begin(executor, hold_something)() == 2
    beside.begin(executor, beside._load, beside.DRAWING_ANY_MODEL)()
    assert beside.begin(executor, loaded, "arviz")()
    assert not [name for name in ("jax", "pymc", "dask") if beside.begin(executor, loaded, name)()]


def test_libraries_load_without_writing_docstrings_anew(executor):
    """SciPy's end with a note on array libraries where it wrote them again."""
    said = beside.begin(executor, docstring)()
    assert said.startswith("Assign ranks to data")
    assert "Array API" not in said


def docstring():
    from scipy.stats import rankdata

    return rankdata.__doc__.lstrip()


def test_what_a_library_asks_for_and_nothing_uses_is_not_loaded():
    code = """
import sys
from reports.comparison.loading import without_numpyro, without_setuptools
without_setuptools()
without_numpyro()
import pytensor.tensor as pt
from pytensor.link.jax.dispatch import random
pt.exp(pt.ones(2)).eval(mode="FAST_COMPILE")
assert random.numpyro_available
print([name for name in ("setuptools", "numpyro") if name in sys.modules])
import numpyro
"""
    environment = os.environ | {"PYTENSOR_FLAGS": "cxx="}  # whose search for a compiler's libraries asks Setuptools
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processes_of_our_own_search_for_garbage_seldom_and_not_at_their_end(executor, monkeypatch):
    before, at_the_end = gc.get_threshold(), []
    monkeypatch.setattr("atexit.register", at_the_end.append)
    try:
        loads.seldom()
        assert gc.get_threshold() > before
        assert beside.begin(executor, gc.get_threshold)() == gc.get_threshold()
        with loading():
            assert gc.get_freeze_count() == 0
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert at_the_end == [gc.freeze]


def test_no_garbage_is_searched_for_while_modules_load():
    with pytest.raises(ZeroDivisionError), loading():
        assert 1 / gc.isenabled() == 1  # it is not
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0  # what is not of our own stays as it was


def test_it_is_not_started_in_vain(monkeypatch):
    with beside.second_process(beside.FEWEST_METHODS - 1) as executor:
        assert executor is None
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    with beside.second_process(beside.FEWEST_METHODS) as executor:
        assert executor is None
    assert beside.begin(None, os.getpid)() == os.getpid()


def test_errors_of_the_work_come_back(executor):
    with pytest.raises(ValueError, match="invalid literal"):
        beside.begin(executor, int, "three")()


def test_the_work_of_a_process_that_dies_is_done_here():
    with beside.second_process(beside.FEWEST_METHODS) as executor:
        began = [beside.begin(executor, die_elsewhere, os.getpid()) for _ in range(2)]
        assert [result() for result in began] == ["here", "here"]
        assert beside.begin(executor, os.getpid)() == os.getpid()


def test_linear_algebra_leaves_the_other_process_its_core(executor):
    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2):
        with beside.one_core(None):
            assert threads() == {2}
        with beside.one_core(executor):
            assert threads() == {1}
        assert threads() == {2}


def test_the_numbers_are_the_same(executor, rng):
    recorder = Recorder(executor)
    x = three_clusters(60, rng, separation=5.0)
    settings = {"methods": ["em", "cavi", "gibbs"], "draws": 100, "restarts": 3, "labels": np.rint(x[:, 0] / 5)}
    alone, shared = (
        reports.compare(x, 3, rng=np.random.default_rng(0), executor=who, **settings) for who in (None, recorder)
    )
    assert recorder.given == ["second_opinions", "weighed", "modes_of", "scales", *["leave_one_out"] * 3]
    tables = [each.results.metrics for each in (alone, shared)]
    assert {"elpd_loo", "elpd_loo_approximate", "elpd_loo_refitted"} <= set(tables[1]["metric"])
    own, other = (table[~table["metric"].str.contains("second")].reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(own, other, rtol=1e-9)


@pytest.mark.pictures
def test_the_page_is_the_same(executor, rng):
    results = reports.compare(three_clusters(60, rng, separation=5.0), 3, rng=rng, methods=["em", "cavi"]).results
    recorder = Recorder(executor)
    assert begin_to_render(results, recorder)() == render(results)
    assert recorder.given == ["_part"]
