"""What trials of planted faults found: a table as text, as Markdown and on a page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports.page.blocks import Bullets, Cell, Section, Table
from reports.page.build import write
from reports.page.calibration_own import OwnView, sections
from reports.page.numbers import percent
from reports.page.words import listing
from reports.studies.intervals import wilson
from reports.studies.own import planted, trials
from reports.studies.own.departures import FALSE_ALARMS, departures
from reports.studies.own.trials import Trials, named_right

MEANINGS = {
    "exact": "none: independent draws of the posterior",
    "mean shifted": f"the mean of a coefficient, by {planted.SHIFT} posterior sd",
    "variance halved": "the variance of a coefficient is half of what it should be",
    "correlation lost": "a coefficient depends on no other; its own distribution is right",
    "sign flipped": "a coefficient has the wrong sign",
    "the prior": "draws of the prior: the data have no effect",
    "no Jacobian": "of τ = exp(u): the density on the scale of u lacks u",
}


class Found(NamedTuple):
    """What was found of one method: of the calibration, and in how many of the validations."""

    checks: list[str]
    differs: int
    caught: int
    named: int
    trials: int


def found(result: Trials) -> dict[str, Found]:
    """Of every method."""
    view, table = OwnView(result.calibration), result.table
    out = {}
    for method in view.methods:
        own = table[(table["part"] == "validate") & (table["method"] == method)]
        ranks = {q: view.ranks[method][q].to_numpy() for q in view.own(method)}
        checks = departures(ranks, view.settings.draws, view.band(method), view.rng())
        differs = (own["verdict"] == "differs").to_numpy()
        out[method] = Found(
            checks,
            int(differs.sum()),
            int((differs | (own["fault"] != "").to_numpy()).sum()),
            int(sum(named_right(row) for row in own.itertuples())),
            len(own),
        )
    return out


def passed(result: Trials) -> tuple[int, int]:
    """In how many calibrations of the exact sampler no check differs, and of how many."""
    own = result.table[result.table["part"] == "calibrate"]["checks"]
    return int((own == "").sum()), len(own)


def trials_of(result: Trials) -> int:
    """How many validations there are."""
    own = result.table[result.table["part"] == "validate"]
    return int(own["trial"].nunique())


def lines(result: Trials) -> list[str]:
    """One line a fault, and one on what is exact."""
    out = []
    for method, own in found(result).items():
        if method == planted.RIGHT:
            continue
        by = f"found by {listing(own.checks)}" if own.checks else "not found"
        out.append(
            f"{method}: in calibration {by}; in validation caught in {own.caught} of {own.trials}, named first in {own.named}"
        )
    good, all_ = passed(result)
    exact = found(result)[planted.RIGHT]
    out.append(
        f"exact: passes {good} of {all_} calibrations and {exact.trials - exact.caught} of {exact.trials} validations"
    )
    return out


COLUMNS = ("planted", "calibration", "verdict differs", "caught", "named first")


def rows(result: Trials) -> list[list[str]]:
    """The table, a row a fault: its name, the checks of the calibration that differ, and counts of validations."""
    out = []
    for method, own in found(result).items():
        checks = listing(own.checks) if own.checks else "none"
        named = f"{own.named} of {own.trials}"
        if method == planted.RIGHT:
            good, all_ = passed(result)
            checks, named = f"none in {good} of {all_}", f"none in {own.named} of {own.trials}"
        out.append([method, checks, f"{own.differs} of {own.trials}", f"{own.caught} of {own.trials}", named])
    return out


def markdown(result: Trials) -> str:
    """The table as Markdown."""
    body = [[f"{name}: {MEANINGS[name]}", *rest] for name, *rest in rows(result)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (list(COLUMNS), ["---"] * len(COLUMNS), *body))


class PlantedView(OwnView):
    """The view of the calibration, under another name."""

    name = "Planted faults"


def render(result: Trials) -> str:
    """Return the page as one self-contained HTML page."""
    view = PlantedView(result.calibration)
    return write(view, [summary(result), *sections(view)])


def summary(result: Trials) -> Section:
    """What was planted and found."""
    S = result.calibration.simulations
    good, all_ = passed(result)
    low, high = wilson(good / all_, all_) if all_ else (np.nan, np.nan)
    return Section(
        "planted",
        "Faults planted and found",
        "Bayesian linear regression, whose posterior is known exactly, and draws from it with one fault each: calibrated on "
        f"{S} data sets, and held against {planted.DRAWS} exact draws by validate.",
        [
            Table(
                f"Checks of the calibration that differ; and of {trials_of(result)} validations, in how many the verdict says "
                "that a variable differs, in how many the fault is caught, and in how many it is named",
                COLUMNS,
                [[Cell(name, note=MEANINGS[name]), *(Cell(text) for text in rest)] for name, *rest in rows(result)],
            ),
            Bullets(
                [
                    "Caught: the verdict says that a variable differs, or a fault is named. A verdict passes over a shift of "
                    "less than half a posterior sd, which a fault that is named does not.",
                    f"The exact sampler passes {good} of {all_} calibrations of {trials.SIMULATIONS} data sets each ("
                    f"{percent(low)} to {percent(high)}); at most {percent(FALSE_ALARMS)} should fail.",
                ]
            ),
        ],
    )
