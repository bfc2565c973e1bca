"""The section of a selection's page on the bootstrap likelihood ratio test."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports.page.blocks import Bullets, Cell, Figure, Notice, Section, Table, image, value
from reports.page.numbers import DASH, fixed, number
from reports.page.words import listing
from reports.plots.bootstrap import Row, plot_ratios
from reports.studies.selection.bootstrap import RatioTest, sequential

if TYPE_CHECKING:
    from reports.page.selection import View


def bootstrap(view: View) -> Section | None:
    """The test of every candidate; None where it was not asked for."""
    tests = view.selection.tests
    if not tests:
        return None
    plan = tests[0].plan
    section = Section(
        "blrt",
        "Bootstrap likelihood ratio test",
        f"LR is twice what the log likelihood gains from one cluster more. For each K, {plan.replicates} data sets of as many "
        f"points were drawn from EM’s fit, and K and K + 1 clusters were fitted to each from {_starts(plan.starts)} (to the "
        f"data from {view.manifest['restarts']}). p is the share whose LR is at least that of the data, the data "
        f"themselves counted; K is rejected where p ≤ {plan.level:g}.",
    )
    section.blocks.append(Bullets([*verdicts(view)]))
    section.blocks += [Notice(text, "warn") for text in doubts(view)]
    shown = [one for one in tests if not one.missing]
    if shown:
        rows = [Row(_title(view, one), one.ratio, one.ratios, one.rejects) for one in shown]
        said = listing([f"{_title(view, one)}: {p_words(one)}" for one in shown])
        caption = (
            "LR of the data and of data drawn from the fit of K clusters, whose bar is from the 5th to the 95th percentile. "
            f"Where the data lie to the right of what is drawn, K clusters are too few. {said}."
        )
        section.blocks.append(Figure(caption, [image(plot_ratios(rows), said)]))
    columns = ["test", "LR", "LR drawn, 95th percentile", "p", "95% interval", "replicates", "failed", "answer"]
    section.blocks.append(
        Table(
            "Tests. The interval is of Monte Carlo error: it holds the p-value of endlessly many replicates.",
            columns,
            [_row(view, one) for one in tests],
        )
    )
    return section


def _starts(n: int) -> str:
    return f"{n} start{'' if n == 1 else 's'}"


def verdicts(view: View) -> Iterator[str]:
    """What the sequence of tests chooses within each structure."""
    for structure in view.structures:
        own = [one for one in view.selection.tests if one.candidate.covariance == structure]
        chosen, why = sequential(own)
        if chosen is None:
            yield f"{_among(view, structure)}No K is chosen: {why}."
            continue
        before = [one for one in own if one.candidate.components < chosen.candidate.components]
        rejected = f"K = {listing([str(one.candidate.components) for one in before])} rejected, " if before else ""
        yield (
            f"{_among(view, structure)}K = {chosen.candidate.components} is chosen, the smallest that is not rejected: "
            f"{rejected}K = {chosen.candidate.components} not ({p_words(chosen)})."
        )


def doubts(view: View) -> Iterator[str]:
    """Where the answer depends on the number of replicates, on failures, or on missed optima."""
    alike: dict[str, list[str]] = {}
    for one in view.selection.tests:
        if one.needed is not None and not one.missing:
            why = (
                f"{p_words(one)} and the level {one.plan.level:g}; about {fixed(one.needed, 0)} replicates would tell."
            )
            alike.setdefault(why, []).append(_title(view, one))
    for why, titles in alike.items():
        yield f"{listing(titles)}: the answer is within Monte Carlo error, {why}"
    for one in view.selection.tests:
        if one.missing:
            continue
        title = _title(view, one)
        if one.failed:
            yield (
                f"{title}: {one.failed} of {one.failed + len(one.ratios)} replicates could not be fitted and are left out; had "
                f"all of them exceeded, p would be {number(one.worst, 2)}."
            )
        if one.below:
            yield (
                f"{title}: in {one.below} of {len(one.ratios)} replicates {one.candidate.components + 1} clusters ended below "
                f"{one.candidate.components}: their starts missed the optimum, and p may be too small; raise --restarts."
            )
        if one.ratio < 0:
            yield f"{title}: the likelihood of the data falls, as no start found the optimum; raise --restarts."


def p_words(one: RatioTest) -> str:
    """The p-value with its interval."""
    low, high = one.interval
    return f"p = {_p(one.p)} ({_p(low)} to {_p(high)})"


def _p(p: float) -> str:
    return number(p, 2) if p < 0.1 else fixed(p, 2)


def _row(view: View, one: RatioTest) -> list[Cell]:
    if one.missing:
        head = Cell(_title(view, one), one.candidate.components)
        return [head, *[Cell(DASH)] * 4, value(0), value(one.failed), Cell(one.missing)]
    low, high = one.interval
    ordered = sorted(one.ratios)
    tail = ordered[math.ceil(0.95 * len(ordered)) - 1]
    answer = one.answer
    if one.needed is not None:
        answer += "; more replicates needed"
    return [
        Cell(_title(view, one), one.candidate.components), Cell(fixed(one.ratio, 1), one.ratio),
        Cell(fixed(tail, 1), float(tail)), Cell(_p(one.p), one.p), Cell(f"{_p(low)} to {_p(high)}"),
        value(len(one.ratios)), value(one.failed), Cell(answer),
    ]  # fmt: skip


def _title(view: View, one: RatioTest) -> str:
    structure = f", {one.candidate.covariance}" if len(view.structures) > 1 else ""
    return f"{one.candidate.components} against {one.candidate.components + 1}{structure}"


def _among(view: View, structure: str) -> str:
    return f"{structure}: " if len(view.structures) > 1 else ""
