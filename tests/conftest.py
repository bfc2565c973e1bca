"""Shared fixtures: small data sets whose structure is known."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mixtures.datasets import DataError, load

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # the same numbers, compiled in a third of the time

if "traceback__limit" not in os.environ.get("PYTENSOR_FLAGS", ""):  # where each node was made, which no test asks
    os.environ["PYTENSOR_FLAGS"] = f"{os.environ.get('PYTENSOR_FLAGS', '')},traceback__limit=0".lstrip(",")

SLOW = {
    "bench", "bench_hmm", "bench_nuts", "beside", "bootstrap", "calibrate_own", "calibration", "cli",
    "compared_families", "comparison", "conformance", "dask", "dynamics_fit", "dynamics_gibbs",
    "dynamics_report", "dynamics_twin", "end_to_end", "engine_jax", "evidence", "exact", "examples", "extra",
    "families", "files", "gibbs", "layout", "methods", "missing", "models", "modes", "notebooks", "objects", "overfit",
    "overfit_discrete", "overfit_series", "page", "page_scores", "posteriordb", "prediction", "processes",
    "profiles", "requests", "selection", "selection_systems", "sequences", "sequences_report", "shown", "signals",
    "validation", "verdicts", "whole",
}  # fmt: skip
"""Files `test_*.py` of more than a few seconds: those that compile, sample, write pages or start processes."""

KINDS = {
    "numbers": "numbers that were wrong or missing: rows far away, columns nearly the same, constants, collapsed starts",
    "files": "files and folders: replaced, interrupted, full disks, strange names, foreign contents, links",
    "processes": "forks, spawned and stopped processes, signals",
    "limits": "inputs and requests that memory or time cannot hold",
    "security": "stores and names made by a stranger",
    "errors": "bad input: one line that says what came, what is expected and what to do",
    "tables": "tables as spreadsheets, databases, statistics programs, pandas, NumPy and Arrow export them",
    "peers": "what users of peers ask for",
}
"""Kinds of hostile or unusual input; `pytest -m robustness` counts the tests of each."""


HERE = Path(__file__).parent

COMPILED = (
    ("engines.whole", "engines.answers", "dynamics.sweeps"),
    ("engines.chains", "engines.lanes", "engines.coded", "engines.attributes", "engines.seeding", "engines.short"),
)
QUICK = (
    ("engines.chains", "engines.recursions"),
    ("engines.fused", "engines.coded", "engines.seeding", "engines.answers"),
)
"""Modules whose import compiles loops, in two halves of equal work: those of all tests, and of `pytest tests -m "not slow"`."""


class OnlyExamples:
    """Of the packages' modules, those that have an example are collected; the others are not even imported."""

    def pytest_ignore_collect(self, collection_path):
        if collection_path.suffix != ".py" or collection_path.is_relative_to(HERE):
            return None
        return None if ">>> " in collection_path.read_text("utf-8") else True


def prepare(config):
    """In the process that starts the workers: what they share."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault(
            "OPENBLAS_NUM_THREADS", "1"
        )  # a worker has a core; two workers' threads wait for each other
        quick = "tests" in config.args and config.option.markexpr == "not slow"
        halves = COMPILED if "mixtures" in config.args else QUICK if quick else ()
        codes = ["; ".join(f"import mixtures.{name}" for name in half) for half in halves]
        for half in [subprocess.Popen([sys.executable, "-c", code]) for code in codes]:
            half.wait()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="compiled-")
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_configure(config):
    config.pluginmanager.register(OnlyExamples())  # as a plugin, for a conftest.py is asked of its own folder alone
    if "PYTEST_XDIST_WORKER" not in os.environ:
        prepare(config)
    config.addinivalue_line(
        "markers", "slow: in a file of more than a few seconds; left out by `pytest tests -m 'not slow'`"
    )
    config.addinivalue_line("markers", "pictures: the figures of pages are drawn, not left blank")
    config.addinivalue_line("markers", f"robustness(kind): an input of one of the kinds {', '.join(KINDS)}")


def pytest_collection_modifyitems(items):
    slow = [item for item in items if item.path.stem.removeprefix("test_") in SLOW]
    for item in slow:
        item.add_marker("slow")
    items.sort(key=lambda item: "slow" not in item.keywords)  # begun first, so that no worker ends long after the other


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    marker = item.get_closest_marker("robustness")
    report.user_properties += [("robustness", marker.args[0])] if marker else []


def pytest_terminal_summary(terminalreporter, config):
    """After `pytest -m robustness`: a table in Markdown, how many inputs of each kind were tried and were right."""
    if "robustness" not in config.option.markexpr:
        return
    tried, right = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call" or outcome == "failed":
                kind = dict(report.user_properties)["robustness"]
                tried[kind] += 1
                right[kind] += outcome == "passed"
    terminalreporter.write_line("\n| kind | tried | right |\n|---|---|---|")
    for kind, words in KINDS.items():
        terminalreporter.write_line(f"| {words} | {tried[kind]} | {right[kind]} |")


@pytest.fixture
def rng():
    return np.random.default_rng(20061)


@pytest.fixture(autouse=True)
def plain_ascents(monkeypatch):
    """Small fits in the readable loop, as in a new process, however many tests ran before; tests of the other ask for it."""
    for name in ("engines.loading.repaid", "ascent.whole._ready"):
        monkeypatch.setattr(f"mixtures.{name}", lambda *_, **__: False)


@pytest.fixture(autouse=True)
def blank_pictures(request, monkeypatch):
    """A page that a test writes has blank figures, for drawing them is most of its time; `pictures` marks those that look."""
    if "reports.page.blocks" in sys.modules and not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr("reports.page.blocks.embedded", lambda figure, raster: b"")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The folder of what JAX compiles is this one, as for a user who has set none."""
    import jax

    from models import cache

    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(cache, "FASTEST", 0.0)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "kept"
    jax.config.update("jax_compilation_cache_dir", before)


def three_clusters(n: int, rng: np.random.Generator, separation: float = 5.0) -> np.ndarray:
    """Points around three corners of a triangle, shape (n, 2)."""
    corners = separation * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return corners[rng.integers(3, size=n)] + rng.standard_normal((n, 2))


def collapsed_data() -> np.ndarray:
    """Twenty scattered points and ten copies of one: the likelihood of two clusters has no maximum, shape (30, 1)."""
    return np.concatenate([np.linspace(-3, 3, 20), np.full(10, 7.0)])[:, None]


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def fails(message, *args, **options):
    """Load, and check that the error is one line that holds the message (a regular expression)."""
    with pytest.raises(DataError, match=message) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)
