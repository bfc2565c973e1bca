"""Loops that are linked as object code: without numba, with the arguments that they expect, and as the sources are now.

Engines are named where they are needed, so that nothing is compiled where this file is only looked at.
"""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import three_clusters

from mixtures import engines
from mixtures.caches import of_loops
from mixtures.engines import entries, loading, objects

# One point at a distance of 2 from one of two clusters, and 0 from the other.
X = np.zeros((1, 1))
CLUSTERS = np.log([0.5, 0.5]), np.array([[0.0], [2.0]]), np.ones((2, 1, 1)), np.empty(0), False
ROOM = NO_LABELS, NO_R, _ = np.empty(0, np.int64), np.empty((0, 2)), np.zeros(1)


def described(x=X, means=CLUSTERS[1], each=False, log_p=None, answer=None):
    """Log density of the point where both have unit variance, less log sqrt(2 pi), with some arguments changed."""
    log_p = np.full(1, np.nan) if log_p is None else log_p
    own = (CLUSTERS[0], means, *CLUSTERS[2:4], each)
    (answer or engines.answers.answer)(x, own, NO_LABELS, NO_R, log_p)
    return log_p[0]


@pytest.mark.robustness("processes")
def test_a_fit_links_loops_without_numba_and_beside_it():
    """The first in a process, and again once numba has been loaded, whose memory the loops share."""
    _ = engines.answers, engines.attributes, engines.seeding, engines.whole  # whose object code is then kept
    code = (
        "import sys; import numpy as np; from mixtures import GaussianMixture\n"
        "from mixtures.engines import answers, attributes, seeding, whole\n"
        "x = np.random.default_rng(0).standard_normal((50, 2))\n"
        "def fit(): return GaussianMixture(3, random_state=0).fit(x)\n"
        "first = fit().score_samples(x); assert 'numba' not in sys.modules\n"
        "from mixtures.engines import fused\n"
        "assert 'numba' in sys.modules and (fit().score_samples(x) == first).all()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loop_gives_what_the_formula_gives():
    assert described() == pytest.approx(np.log(0.5 + 0.5 * np.exp(-2)), rel=1e-14)


@pytest.mark.parametrize(
    "changed",
    [
        {"x": np.zeros((1, 1), np.float32)},
        {"x": np.zeros((1, 1), np.dtype(np.float64).newbyteorder())},
        {"x": np.zeros((1, 1), np.int64)},
        {"x": np.zeros(1)},
        {"x": np.zeros((1, 1)).tolist()},
        {"x": None},
        {"means": np.zeros((1, 4))[:, ::2].T},
        {"means": np.frombuffer(bytes(17), np.float64, offset=1).reshape(2, 1)},
        {"log_p": np.broadcast_to(0.0, 1)},
        {"log_p": np.frombuffer(bytes(8), np.float64)},
    ],
    ids=[
        "another type",
        "another byte order",
        "integers",
        "another axis",
        "a list",
        "none",
        "gaps",
        "not aligned",
        "one for all",
        "read only",
    ],
)
def test_other_arguments_are_refused(changed):
    """Which compiled code would not notice; what it does not change may be read only."""
    fixed = X.copy()
    fixed.flags.writeable = False
    assert np.isfinite(described(fixed))
    with pytest.raises(TypeError, match=r"came to a compiled loop; expected '[dq]\d=?'"):
        described(**changed)


def test_other_numbers_of_arguments_and_numbers_that_are_none_are_refused():
    answer = engines.answers.answer
    for arguments in [(), (X, CLUSTERS, *ROOM[:2]), (X, CLUSTERS[:-1], *ROOM), (X, [*CLUSTERS], *ROOM)]:
        with pytest.raises(TypeError, match="came to a compiled loop; expected \\("):
            answer(*arguments)
    describe, others = engines.attributes.describe, [None] * 11
    with pytest.raises(TypeError, match="must be real number, not str"):
        describe(X, 0, False, np.zeros(1), "1", *others)
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        describe(X, 1.5, False, np.zeros(1), 1.0, *others)


@pytest.mark.robustness("limits")
def test_a_loop_without_memory_says_so():
    """Of no row and no cluster with more features than memory has room for."""
    x = np.empty((0, 2**46))
    with pytest.raises(RuntimeError, match="no more memory"):
        engines.answers.answer(x, (np.empty(0), x, np.empty((0, 1, 2**46)), np.empty(0), False), *ROOM)


def test_arrays_of_subclasses_and_copies_of_their_types_are_taken():
    """As those that are mapped from a file, or that come from another process."""
    for x in (X.view(np.recarray), np.ma.masked_array(X), pickle.loads(pickle.dumps(X))):
        assert described(x) == described()


def test_loops_run_beside_each_other_and_on_arrays_that_nothing_else_holds():
    """Each in its own thread, with arguments made for the call."""
    expected = described()

    def many(shift):
        return [described(X + shift, CLUSTERS[1] + shift) for _ in range(3000)]

    with ThreadPoolExecutor(8) as pool:
        found = [log_p for own in pool.map(many, range(8)) for log_p in own]
    np.testing.assert_array_equal(found, expected)


def test_references_are_left_as_they_were():
    """To arguments that are taken, and to those that are not."""
    x, log_p = X.copy(), np.zeros(1)
    before = sys.getrefcount(x), sys.getrefcount(log_p), sys.getrefcount(CLUSTERS)
    for _ in range(100):
        described(x, log_p=log_p)
        engines.answers.answer(x, CLUSTERS, NO_LABELS, NO_R, log_p)
        with pytest.raises(TypeError):
            engines.answers.answer(x, CLUSTERS, NO_LABELS, NO_R, x)
    assert (sys.getrefcount(x), sys.getrefcount(log_p), sys.getrefcount(CLUSTERS)) == before


@pytest.mark.robustness("files")
@pytest.mark.parametrize("harm", ["none", "cut", "changed", "empty", "other sources", "unknown symbol"])
def test_object_code_that_is_not_whole_or_of_other_sources_is_made_anew(harm, tmp_path, monkeypatch):
    name = f"answers{objects.ending()}"
    (path,) = (folder / name for folder in of_loops() if (folder / name).is_file())
    whole_file, (head, code) = path.read_bytes(), objects._read(path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kept = tmp_path / name
    if harm == "other sources":
        objects._keep(kept, head | {"sources": head["sources"] | {"mixtures/engines/loops/answers": ""}}, code)
    elif harm == "unknown symbol":
        objects._keep(kept, head | {"needs": ["mixtures_none"]}, code)
    else:
        at = len(whole_file) // 2
        changed = whole_file[:at] + bytes([whole_file[at] ^ 1]) + whole_file[at + 1 :]
        kept.write_bytes({"none": whole_file, "cut": whole_file[:at], "changed": changed, "empty": b""}[harm])
    made = []
    monkeypatch.setattr(entries, "compiled", lambda *_: made.append(1) or (head["symbols"], head["needs"], code))
    for _ in range(2):
        answer = objects.loops("answers", answer=engines.answers.KINDS)[0]
        assert np.exp(described(answer=answer)) == pytest.approx(0.5 + 0.5 * np.exp(-2), rel=1e-14)
    assert made == [] if harm == "none" else [1]


def test_workers_of_joblib_link_what_is_kept_and_other_processors_do_not(monkeypatch):
    """It sets a number of threads in them, which changes no code."""
    kept, machine = objects.ending(), objects._machine.__wrapped__
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert kept.endswith(f"{machine()}.o")
    assert loading.compiled("mixtures.engines.answers")
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert not kept.endswith(f"{machine()}.o")
    monkeypatch.setattr(objects, "_machine", machine)
    assert not loading.compiled("mixtures.engines.answers")


@pytest.mark.robustness("files")
@pytest.mark.parametrize("writable", [True, False])
def test_where_the_sources_cannot_be_written_beside_the_user_keeps_the_code(writable, tmp_path, monkeypatch):
    """A file in the place of a folder stands for one without the right to write; without a folder of the user none is kept."""
    (tmp_path / "file").touch()
    folders = [tmp_path / "file" / "beside", tmp_path / ("user" if writable else "file") / "loops"]
    monkeypatch.setattr(objects, "of_loops", lambda: folders)
    kept, _ = ({"answer": "symbol"}, [], b"code"), monkeypatch.setattr(objects, "_machine", lambda: "machine")
    monkeypatch.setattr(entries, "compiled", lambda *_: kept)
    monkeypatch.setattr(
        objects.llvm,
        "create_mcjit_compiler",
        lambda *_: SimpleNamespace(add_object_file=lambda *_: None, finalize_object=lambda: None),
    )
    monkeypatch.setattr(objects.llvm.ObjectFileRef, "from_data", lambda code: code)
    objects._linked("answers", {"answer": engines.answers.KINDS})
    assert [objects._read(folder / f"answers{objects.ending()}") is not None for folder in folders] == [
        False,
        writable,
    ]


def test_numba_calls_a_loop_that_cannot_be_linked(monkeypatch):
    """As where its inner parts, or NumPy's arrays, are not what they were."""
    before = described()

    def changed(*_):
        raise ImportError("the arrays of this NumPy are not laid out as expected")

    monkeypatch.setattr(objects, "_linked", changed)
    assert described(answer=objects.loops("answers", answer=engines.answers.KINDS)[0]) == before


def test_a_trace_has_room_for_every_pass(monkeypatch, rng):
    """Where a climb has more passes than there was room for, it is made again with more."""
    from mixtures import Dirichlet, Gaussian
    from mixtures.ascent import whole as ascent
    from mixtures.methods import em

    x = three_clusters(100, rng)
    model = Gaussian.from_data(x, 3), Dirichlet.symmetric(3)
    monkeypatch.setattr(ascent.loading, "repaid", lambda *_, **__: True)
    climb = ascent.whole(em.step, x, None, *model).climb
    s = rng.uniform(1, 2, (2, 3, 1)) * climb.__self__.pass_(rng.normal(size=(2, 3, 6)))[1]
    runs = climb(s, 100, 0.0, 50, False)
    monkeypatch.setattr(engines.whole, "ROOM", 2)
    again = climb(s, 100, 0.0, 50, False)
    assert len(runs.trace) > 16
    np.testing.assert_array_equal(runs.trace, again.trace)
    np.testing.assert_array_equal(runs.s, again.s)
