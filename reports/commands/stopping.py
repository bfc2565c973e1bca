"""How a signal ends a command: by one line that says what was written, with the exit code that a shell knows, and for good.

INT, TERM and HUP raise `Stopped` where the command is. What has not come to its end `GRACE` seconds later, since it is inside
one long compiled call, is ended by a thread; so is, at once, what gets a second signal. Before the command begins, and once
it has come to its end, there is nothing to clear up, and the first signal ends the process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from select import select
from types import FrameType, TracebackType
from typing import NoReturn

# Seconds that a command has to come to its end, and those within which a signal that comes twice was sent to its group too.
GRACE, TOGETHER = 3.0, 0.2

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "terminal closed"}
SIGNALS = {getattr(signal, name): word for name, word in WORDS.items() if hasattr(signal, name)}

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)

# How `models.flat` calls the thread of a compiled call, which an interrupt leaves to itself.
COMPILED_CALL = "compiled call"

# How llvmlite begins the names of what LLVM calls with compiled code.
KEPT_BY_LLVM = "_raw_object_cache"

NOTHING = "nothing was written"


class Stopped(KeyboardInterrupt):
    """A signal arrived that ends the command."""


class _State:
    """What is known of this process's end."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.outcome: str | Callable[[], str] = NOTHING
        self.said = threading.Lock()


_state = _State()


def listen() -> None:
    """Let signals end this process at once, but those that whoever started it wants ignored, as nohup does."""
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _leave_at_once)


def begin() -> None:
    """Let signals that are listened to raise `Stopped` from now on, and a thread see to it that they are not lost."""
    if not any(signal.getsignal(number) is _leave_at_once for number in SIGNALS):
        return
    # what cleans up after workers inherits this, and says nothing of doing so after the line that ends the command
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(heard,), name="signals", daemon=True).start()
    for number in SIGNALS:
        if signal.getsignal(number) is _leave_at_once:
            signal.signal(number, _raise)
    if hasattr(os, "register_at_fork"):
        # a child that hears a signal before it has forgotten all this would tell its parent of it
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)


def outcome(text: str | Callable[[], str]) -> None:
    """Note what has been written so far, or how to find that out, for the line with which a signal ends the command.

    Raises
    ------
    Stopped
        If a signal arrived that something swallowed.
    """
    _state.outcome = text
    if _state.received is not None:
        raise Stopped


class Ending:
    """While it is entered, a command that a signal ends leaves by one line and the exit code of that signal.

    Parameters
    ----------
    say : callable
        Writes the line.
    leave : callable
        From an exit code to the exception that leaves with it.
    """

    def __init__(self, say: Callable[[str], None], leave: Callable[[int], BaseException]) -> None:
        self.say, self.leave = say, leave

    def __enter__(self) -> None:
        _state.outcome = NOTHING

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # a library may have made another error of the signal's, or swallowed it
        if _state.received is None and not isinstance(error, KeyboardInterrupt):
            _end_at_once()
            return
        number = signal.SIGINT if _state.received is None else _state.received
        if _state.received is None or _state.said.acquire(blocking=False):
            try:
                self.say(_line(number))
            except OSError:  # the terminal has gone
                close_output(1, 2)
        if any(thread.name == COMPILED_CALL for thread in threading.enumerate()):
            _end(number)  # Python's own way out would abort
        raise self.leave(128 + number) from None


def _end_at_once() -> None:
    """Let the next signal end this process, which only waits for its workers and threads, where an exception would be shown."""
    for number in SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, _leave_at_once)


def so_far() -> str:
    """What has been written, in words."""
    return _state.outcome if isinstance(_state.outcome, str) else _state.outcome()


def _line(number: int) -> str:
    return f"{SIGNALS[signal.Signals(number)]}; {so_far()}"


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    with suppress(Exception):  # as where that has been interrupted, or the reader has gone
        sys.stdout.flush()
    _end(number)


def _raise(number: int, frame: FrameType | None) -> None:
    if _state.received is not None:
        return
    if _is_swallowed(frame):
        os.kill(os.getpid(), number)  # again, a little later
        return
    _state.received = number
    # nothing more is said but one line, such as of writes that nobody awaits any more
    warnings.simplefilter("ignore")
    raise Stopped


def _is_swallowed(frame: FrameType | None) -> bool:
    """Whether an exception here is shown and forgotten: in what the collector of garbage calls, or LLVM to keep its code."""
    called = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None and frame.f_code not in called and not frame.f_code.co_name.startswith(KEPT_BY_LLVM):
        frame = frame.f_back
    return frame is not None


def _insist(heard: int) -> None:
    """End the process at a second signal, or some time after the first."""
    first: tuple[int, float] | None = None
    while True:
        left = None if first is None else max(0.0, first[1] + GRACE - time.monotonic())
        if not select([heard], [], [], left)[0]:
            assert first is not None
            _end(first[0])
        for number in os.read(heard, 64):
            if number not in SIGNALS:
                continue
            if first is None:
                first = number, time.monotonic()
            elif number != first[0] or time.monotonic() > first[1] + TOGETHER:
                _end(number)


def _end(number: int) -> NoReturn:
    """Say what was written, unless that is being said, and end this process and those that it started."""
    if _state.said.acquire(blocking=False):
        show = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a bar has hidden the cursor
        with suppress(OSError):
            os.write(2, f"{show}{_line(number)}\n".encode())
    for process in multiprocessing.active_children():
        if process.pid is not None:
            with suppress(OSError):  # it has just ended
                os.kill(process.pid, KILL)  # loky's processes have no kill of their own
    os._exit(128 + number)


def _hold() -> None:
    """Keep signals from the thread that forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _forget() -> None:
    """Let a forked child take signals as any process does."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)
    _release()


def close_output(*descriptors: int) -> None:
    """Let what is still to be written go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
