"""Signals to real processes: one line that says what was written, the exit code that a shell knows, and nobody left behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.robustness("processes"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes of a group are read from /proc"),
]

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "reports.commands.app")

# A call that comes back to no bytecode for minutes, as compiled code does not.
STUCK = """
import hashlib, sys
from reports.commands import stopping
stopping.GRACE = float(sys.argv[1])
stopping.listen()
stopping.begin()
stopping.outcome("half was written")
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""

WITH_WORKERS = """
import time
from contextlib import closing
from reports.comparison import beside
from reports.studies.workers import as_finished, processes
if __name__ == "__main__":
    beside.LOADED = ()
    with beside.second_process(beside.FEWEST_METHODS) as executor, processes(2):
        executor.submit(time.sleep, 0).result()
        executor.submit(time.sleep, 600)
        with closing(as_finished(time.sleep, ((seconds,) for seconds in (0, 600, 600)))) as results:
            next(results)
            print("ready", flush=True)
            next(results)
"""

NOHUP = """
import os, signal
from reports.commands import stopping
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stopping.listen()
stopping.begin()
os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""

COLLECTED = """
import gc, os, signal, sys
from reports.commands import stopping
stopping.listen()
stopping.begin()
gc.callbacks.append(lambda phase, _: phase == "start" and os.kill(os.getpid(), signal.SIGTERM))
with stopping.Ending(lambda line: print(line, file=sys.stderr), SystemExit):
    gc.collect()
    gc.callbacks.clear()
"""

TWICE_WITH_WORKERS = """
import sys, time
from reports.commands import stopping
from reports.studies.workers import as_finished, processes
if __name__ == "__main__":
    stopping.listen()
    stopping.begin()
    with processes(2):
        results = as_finished(time.sleep, ((seconds,) for seconds in (0, 600, 600)))
        next(results)
        print("ready", flush=True)
        while True:
            try:
                time.sleep(600)
            except stopping.Stopped:
                pass
"""

# Between the imports and the command.
BEFORE = """
import os, signal, sys
from reports.commands import app, terminal
terminal.replace_unknown = lambda: os.kill(os.getpid(), signal.SIGTERM)
sys.argv = ["mixtures", "datasets"]
app.main()
"""

FINISHED = """
import atexit, os, signal, sys
from reports.commands import stopping
stopping.listen()
stopping.begin()
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
with stopping.Ending(lambda line: print(line, file=sys.stderr), SystemExit):
    stopping.outcome("all was written")
    print("found")
"""

FORKED = """
import multiprocessing, time
from reports.commands import stopping
stopping.listen()
stopping.begin()
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
child.start()
child.terminate()
child.join(10)
print(child.exitcode)
"""


# Whoever runs the tests in the background, or by nohup, has signals ignored.
HEARING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Run:
    """A process in a group of its own, whose output goes to files."""

    def __init__(self, folder, *arguments, command=(sys.executable, "-W", "ignore", "-c")):
        self.folder = folder
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HEARING, *command, *map(str, arguments)],
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self):
        return (self.folder / "out").read_text()

    @property
    def err(self):
        return (self.folder / "err").read_text()

    def wait_for(self, ready, seconds=120):
        ends = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, self.err
            assert time.monotonic() < ends, self.err
            time.sleep(0.02)

    def send(self, number, *, group=False):
        (os.killpg if group else os.kill)(self.process.pid, number)

    def code(self, seconds=20):
        return self.process.wait(seconds)

    def left(self, seconds=10):
        """The processes of its group that live after so many seconds; fewer if all have gone."""
        ends = time.monotonic() + seconds
        while (living := members(self.process.pid)) and time.monotonic() < ends:
            time.sleep(0.05)
        return living

    def end(self):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def members(group):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, own_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(own_group) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Processes by name, started together for they take their time."""
    folder = tmp_path_factory.mktemp("runs")
    compare = ("compare", "acidity", "-k", "2", "--methods", "em,cavi,gibbs", "--draws", "100", "--out", "o")
    started = {
        "compare": Run(folder / "compare", *compare, command=COMMAND),
        "overfit": Run(folder / "overfit", "overfit", "--workers", "2", "--out", "o", command=COMMAND),
        "imports": Run(
            folder / "imports", "-X", "importtime", *COMMAND[1:], "compare", "acidity", command=(sys.executable,)
        ),
        "killed": Run(folder / "killed", WITH_WORKERS),
        "grace": Run(folder / "grace", STUCK, 0.5),
        "twice": Run(folder / "twice", STUCK, 600),
        "nohup": Run(folder / "nohup", NOHUP),
        "forked": Run(folder / "forked", FORKED),
        "collected": Run(folder / "collected", COLLECTED),
        "before": Run(folder / "before", BEFORE),
        "finished": Run(folder / "finished", FINISHED),
        "twice, workers": Run(folder / "twice-workers", TWICE_WITH_WORKERS, command=(sys.executable, "-c")),
    }
    yield started
    for run in started.values():
        run.end()


def test_during_the_imports_it_is_one_line(runs):
    run = runs["imports"]
    run.wait_for(lambda: "numpy" in run.err)
    run.send(signal.SIGINT)
    assert run.code() == 130
    said = [line for line in run.err.splitlines() if not line.startswith("import time:")]
    assert said == ["interrupted; nothing was written"]


def test_a_call_that_does_not_come_back_is_ended_after_a_while(runs):
    run = runs["grace"]
    run.wait_for(lambda: "ready" in run.out)
    run.send(signal.SIGTERM)
    assert run.code() == 143
    assert run.err == "terminated; half was written\n"


def test_a_second_signal_ends_it_at_once_and_the_same_sent_twice_does_not(runs):
    run = runs["twice"]
    run.wait_for(lambda: "ready" in run.out)
    run.send(signal.SIGHUP)
    run.send(signal.SIGHUP, group=True)
    time.sleep(0.4)
    assert run.process.poll() is None
    run.send(signal.SIGINT)
    assert run.code(5) == 130
    assert run.err == "interrupted; half was written\n"


def test_a_second_signal_ends_the_workers_too(runs):
    run = runs["twice, workers"]
    run.wait_for(lambda: "ready" in run.out)
    assert len(members(run.process.pid)) >= 3
    run.send(signal.SIGTERM)
    time.sleep(0.4)
    run.send(signal.SIGINT)
    assert run.code(2) == 130
    assert run.left() == []
    assert run.err == "interrupted; nothing was written\n"


def test_a_signal_that_is_to_be_ignored_is_ignored(runs):
    assert runs["nohup"].code() == 0, runs["nohup"].err
    assert runs["nohup"].out == "alive\n"


def test_a_signal_during_the_collection_of_garbage_is_not_lost(runs):
    assert runs["collected"].code() == 143
    assert runs["collected"].err == "terminated; nothing was written\n"


def test_a_signal_before_a_command_begins_is_one_line(runs):
    assert runs["before"].code() == 143
    assert runs["before"].err == "terminated; nothing was written\n"
    assert runs["before"].out == ""


def test_a_signal_after_the_end_of_a_command_is_one_line_and_what_it_printed_stays(runs):
    assert runs["finished"].code() == 143
    assert runs["finished"].err == "terminated; all was written\n"
    assert runs["finished"].out == "found\n"


def test_a_forked_child_takes_signals_as_any_process(runs):
    assert runs["forked"].code() == 0, runs["forked"].err
    assert runs["forked"].out == f"{-signal.SIGTERM}\n"
    assert runs["forked"].err == ""


def test_workers_and_the_second_process_do_not_outlive_a_killed_parent(runs):
    run = runs["killed"]
    run.wait_for(lambda: "ready" in run.out)
    assert len(members(run.process.pid)) >= 4
    run.send(signal.SIGKILL)
    assert run.code() == -signal.SIGKILL
    assert run.left() == []


def test_a_comparison_that_is_terminated(runs):
    run = runs["compare"]
    run.wait_for(lambda: "2 of 5" in run.err)
    assert len(members(run.process.pid)) >= 2
    run.send(signal.SIGTERM)
    assert run.code() == 143
    assert run.left() == []
    # a tracker of resources may speak last
    assert "terminated; nothing was written" in run.err.splitlines(), run.err
    assert "Traceback" not in run.err
    assert not (run.folder / "o").exists()


def test_a_study_that_is_interrupted_with_its_workers_says_what_is_kept(runs):
    run = runs["overfit"]
    run.wait_for(lambda: len(list(run.folder.glob("o/cells/*.parquet"))) >= 2)
    run.send(signal.SIGINT, group=True)
    assert run.code() == 130
    assert run.left() == []
    kept = r"interrupted; \d+ of [\d\s]+ fits are kept in o: give the same command to go on"
    assert [line for line in run.err.splitlines() if re.fullmatch(kept, line)]
    assert "Traceback" not in run.err


@pytest.mark.robustness("files")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("arguments", [["datasets"], ["--help"], ["compare", "nothing.csv", "-k", "2"]])
def test_an_output_that_is_full_is_one_line(arguments):
    which = "stderr" if "compare" in arguments else "stdout"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reports.commands.app", *arguments],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {which: full},
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    said = "error: the output cannot be written (No space left on device); nothing was written\n"
    assert done.stderr in (None, said)


def test_an_interrupt_does_not_wait_for_a_compiled_call():
    """Of Python's main thread; the call is left to end by itself, and what it raises comes through where it is waited for."""
    from models.flat import COMPILED_CALL, interruptible
    from reports.commands import stopping

    ended = threading.Event()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptible(lambda seconds: (time.sleep(seconds), ended.set()))(1.0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 0.9
    assert ended.wait(5)
    assert stopping.COMPILED_CALL == COMPILED_CALL
    assert interruptible(lambda a, b: a + b)(1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 / 0)()


def test_no_signal_is_lost_where_llvm_keeps_what_it_compiled():
    import llvmlite.binding as llvm

    from reports.commands import stopping

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly("define i32 @one() { ret i32 1 }")
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine())
    seen = []
    engine.set_object_cache(lambda *_: seen.append(stopping._is_swallowed(sys._getframe())))
    engine.finalize_object()
    assert seen == [True]
    assert not stopping._is_swallowed(sys._getframe())


def test_nothing_is_said_of_writes_that_a_signal_ends():
    code = """
import os, signal
from reports.commands import stopping

async def write():
    pass

stopping.listen()
stopping.begin()
left = write()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except stopping.Stopped:
    del left
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stderr == ""
