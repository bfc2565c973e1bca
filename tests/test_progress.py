"""How far a run is: who hears of it, what is shown, what is logged, and how long the rest is said to take."""

import io
import re
import types

import numpy as np
import pytest
from conftest import collapsed_data, three_clusters
from rich.console import Console

from reports import compare
from reports.comparison import progress
from reports.comparison.catalogue import METHODS
from reports.comparison.progress import OVERDUE, TYPICAL, Parts, Rate, Stages, Watch
from reports.validation import catalogue


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)

    def wait(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def terminal(monkeypatch, width=80):
    """A terminal of that width, and what is written to it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "_console", lambda: console)
    return console


def quick(**settings):
    x = three_clusters(30, np.random.default_rng(3))
    return compare(x, 2, rng=np.random.default_rng(0), methods=("em", "cavi"), draws=100, restarts=2, **settings)


def test_every_stage_has_a_typical_time():
    assert set(TYPICAL) == {*METHODS, *catalogue.METHODS, "model", "measure", "save"}


def test_a_watch_hears_the_plan_and_the_steps():
    class Heard(Watch):
        def __init__(self):
            self.all = []

        def plan(self, stages):
            self.all.append(("plan", *stages))

        def tell(self, stage, state):
            self.all.append((stage, state))

        def step(self, stage, done, total):
            self.all.append((stage, done, total))

    heard, x = Heard(), np.random.default_rng(0).standard_normal((40, 1))
    options = {"methods": ("gibbs", "em"), "draws": 100, "chains": 1, "reference": "gibbs"}
    compare(x, 1, rng=np.random.default_rng(0), progress=heard, **options)
    assert heard.all[0] == ("plan", "em", "gibbs", "measure")
    steps = [said for said in heard.all if len(said) == 3 and said[0] == "gibbs"]
    assert steps[-1][1] == steps[-1][2]
    assert heard.all.index(("gibbs", "running")) < heard.all.index(steps[0])
    assert heard.all.index(steps[-1]) < heard.all.index(("gibbs", "done"))


def test_a_bar_is_lines_where_nobody_watches(capsys):
    compare(collapsed_data(), 2, rng=np.random.default_rng(0), methods=("em", "cavi"), draws=100, progress=True)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [re.sub(r"[\d.]+ s$", "", line) for line in lines] == [
        "1 of 3: CAVI, hand-written done in ",
        "2 of 3: EM, maximum likelihood failed in ",
        "3 of 3: Comparing done in ",
    ]


def test_without_being_asked_nothing_is_said(capsys):
    quick()
    captured = capsys.readouterr()
    assert captured.err + captured.out == ""


def test_a_bar_on_a_terminal(monkeypatch):
    console = terminal(monkeypatch)
    quick(progress=True)
    last = console.file.getvalue().removesuffix("\x1b[?25h").split("\x1b[2K")[-1]
    assert [line.split("  ")[0].strip() for line in last.strip().splitlines()] == [
        "✓ CAVI, hand-written",
        "✓ EM, maximum likelihood",
        "✓ Comparing",
        "✓ 3 of 3 done",
    ]


def test_the_terminal_is_given_back_when_a_run_breaks_off(monkeypatch):
    console = terminal(monkeypatch)

    def interrupted():
        with Stages() as stages:
            stages.plan(["em", "measure"])
            stages.tell("em", "running")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert console._live_stack == []
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("width", [40, 60, 80])
def test_steps_are_shown_whole_where_there_is_room(width, monkeypatch, clock):
    console = terminal(monkeypatch, width)
    stages = Stages()
    stages.plan(["advi-fullrank", "measure"])
    stages.tell("advi-fullrank", "running")
    stages.step("advi-fullrank", 76_400, 80_000)
    console.print(progress._Terminal.picture(types.SimpleNamespace(bar=stages, spinner="")))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for word in ("ADVI", "full-rank,", "76\u202f400", "steps", "0 of 2", "left"):
        assert word in text, text


def test_time_left_follows_the_steps(clock):
    stages = Stages()
    stages.plan(["nuts"])
    stages.tell("nuts", "running")
    clock.wait(5)  # compilation
    stages.step("nuts", 100, 8000)
    clock.wait(10)
    stages.step("nuts", 2100, 8000)
    assert stages.left() == pytest.approx(5900 / 200)
    assert [line.note for line in stages.lines()] == ["2\u202f100 of 8\u202f000 steps", "about 30 s left"]
    clock.wait(1)
    stages.tell("nuts", "done")
    stages.step("nuts", 8000, 8000)  # from another thread, late
    assert stages.left() == 0
    assert [(line.note, line.state) for line in stages.lines()] == [("", "done"), ("", "done")]


def test_time_left_follows_the_speed_of_this_machine(clock):
    """Twice as slow as typical from the first, long stage on: so will the others be."""
    stages = Stages(after=["save"])
    stages.plan(["nuts", "measure"])
    assert stages.left() == TYPICAL["nuts"] + TYPICAL["measure"] + TYPICAL["save"]
    stages.tell("nuts", "running")
    clock.wait(2 * TYPICAL["nuts"])
    stages.tell("nuts", "done")
    rest = TYPICAL["measure"] + TYPICAL["save"]
    assert 1.7 * rest < stages.left() < 2 * rest
    assert stages.count() == "1 of 3"
    stages.tell("measure", "running")
    clock.wait(1000)
    assert stages.left() > TYPICAL["save"] + 1000 / OVERDUE  # nor over before it is over


def test_a_log_hears_of_steps_now_and_then(clock, capsys):
    stages = Stages()
    with stages:
        stages.plan(["nuts"])
        stages.tell("nuts", "running")
        for done in range(1, 26):
            clock.wait(1)
            stages.step("nuts", 40 * done, 1000)
        stages.tell("nuts", "done")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "NUTS, PyMC: 440 of 1\u202f000 steps, about 15 s left",
        "NUTS, PyMC: 880 of 1\u202f000 steps, a few seconds left",
        "1 of 1: NUTS, PyMC done in 25.0 s",
    ]


def test_a_rate_counts_from_what_was_there(clock, capsys):
    with Rate("fits") as rate:
        rate.tell(40, 100)
        for done in (50, 60, 100):
            clock.wait(11)
            rate.tell(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "40 of 100 fits are there already",
        "50 of 100: 0.9 fits a second, about 55 s left",
        "60 of 100: 0.9 fits a second, about 45 s left",
        "100 of 100: 1.8 fits a second",
    ]


def test_a_slow_rate_is_no_zero(clock, capsys):
    with Rate("parts") as rate:
        rate.tell(0, 2)
        clock.wait(40)
        rate.tell(2, 2)
    assert capsys.readouterr().err.splitlines()[-1] == "2 of 2: 0.05 parts a second"


def test_names_are_text_and_no_markup(monkeypatch, capsys):
    name = "[red]a[/] & <b>"
    with Parts() as parts:
        parts.tell(name, 0, 2)
    assert capsys.readouterr().err == f"1 of 2: {name}\n"
    console = terminal(monkeypatch)
    console.print(progress._Terminal.picture(types.SimpleNamespace(bar=parts, spinner="")))
    assert name in console.file.getvalue()
    html = progress._Notebook.picture(types.SimpleNamespace(bar=parts))["text/html"]
    assert "[red]a[/] &amp; &lt;b&gt;" in html
    assert '<progress value="0" max="2">' in html
