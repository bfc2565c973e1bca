"""The page of a calibration: verdict, coverage, ranks, medians, power, runs, settings, limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from reports.page.blocks import (
    Bullets,
    Card,
    Cards,
    Cell,
    Figure,
    Notice,
    Section,
    Table,
    Use,
    image,
)
from reports.page.build import write
from reports.page.calibration_setting import limits, name_cell, runs, setting
from reports.page.calibration_view import CalibrationView, Judged, p_words
from reports.page.numbers import DASH, number, percent
from reports.page.words import listing
from reports.studies.calibration import power
from reports.studies.calibration.judgement import ecdf
from reports.studies.calibration.prior import LEVELS
from reports.studies.calibration.study import FEWEST, Calibration
from reports.studies.intervals import wilson


def render(calibration: Calibration) -> str:
    """Return the page of a calibration as one self-contained HTML page."""
    view = CalibrationView(calibration)
    return write(view, sections(view))


def sections(view: CalibrationView) -> list[Section]:
    """The sections of the page."""
    return [section for build in SECTIONS if (section := build(view)) is not None]


def verdict_lines(calibration: Calibration) -> list[str]:
    """One line a method: the coverage of its 95% intervals."""
    view = CalibrationView(calibration)
    return [verdict_line(view, method) for method in view.methods]


def verdict_line(view: CalibrationView, method: str) -> str:
    """The coverage of a method's 95% intervals, and in how many simulations it failed or did not converge."""
    if method not in view.ranks:
        return f"{view.label(method)}: failed in every simulation: {_error(view, method)}"
    judged = view.intervals(method)
    return f"{view.label(method)}: {judged.said}, {judged.because}{view.troubled(method)}"


def verdict(view: CalibrationView) -> Section:
    """What each method's uncertainties are worth."""
    section = Section(
        "verdict",
        "Verdict",
        f"Each method's intervals, posterior and medians against the parameters of {view.simulations} data sets drawn from the "
        f"prior. What “would not show” has less than {power.POWER:.0%} [[power]]: see [[#power|Detectable departures]].",
    )
    section.blocks.append(Notice(answer(view)))
    cards = []
    for method in view.methods:
        words = view.kind(method)
        if method not in view.ranks:
            cards.append(
                Card(method, view.label(method), words, f"failed in every simulation: {_error(view, method)}", [])
            )
            continue
        words += view.troubled(method)
        uses = [_use("intervals", view.intervals(method))]
        if method not in view.point:
            uses.append(_use("posterior", view.posterior(method)))
        if view.variational(method):
            uses.append(_use("medians", view.middle(method)))
        cards.append(Card(method, view.label(method), words, "", uses))
    section.blocks.append(Cards(cards))
    return section


def _use(name: str, judged: Judged) -> Use:
    return Use(name, judged.state, judged.because, said=judged.said)


def answer(view: CalibrationView) -> str:
    """Coverage of each method's 95% intervals, and which methods are overconfident."""
    level = LEVELS[-1]
    if not view.ranks:
        return "No method gave an answer."
    covers = listing([f"{percent(view.overall(m, level)[0])} by {view.label(m)}" for m in view.ranks])
    said: dict[str, list[str]] = {}
    for method in view.ranks:
        said.setdefault(view.intervals(method).said, []).append(view.label(method))
    rest = "; ".join(f"{words}: {listing(those)}" for words, those in said.items())
    return f"[[frequentist-coverage|Coverage]] of {100 * level:.0f}% intervals: {covers}. {rest[0].upper() + rest[1:]}."


def coverage(view: CalibrationView) -> Section | None:
    """Coverage of central intervals."""
    if not view.ranks:
        return None
    from reports.plots.calibration import plot_coverage

    section = Section(
        "coverage",
        "Coverage",
        "A central 95% interval should contain the parameter that made the data in 95% of the simulations. If it does so less "
        "often, it is too narrow: its method is overconfident.",
    )
    level = LEVELS[-1]
    L = view.settings.draws
    by_quantity = [(m, q, *view.by_quantity(m, q, level)) for m in view.ranks for q in map(str, view.ranks[m])]
    table = pd.DataFrame(by_quantity, columns=["method", "quantity", "coverage", "low", "high"])
    curves = {}
    for method in view.ranks:
        stated = [1 - 2 * m / (L + 1) for m in range(1, (L + 1) // 2)]
        found = [view.overall(method, s) for s in stated]
        curves[method] = pd.DataFrame(found, columns=["coverage", "low", "high"]).assign(stated=stated)
    worst, where, fewest, low, high = min(by_quantity, key=lambda row: row[2])
    seen = (
        f"the lowest coverage of 95% intervals is {percent(fewest)} ({number(100 * low)} to {percent(high)}), of "
        f"{view.label(worst)} for {view.article(where)}"
    )
    caption = (
        "Left: coverage minus stated probability of every central interval, over all quantities, with its 95% interval; zero "
        "is right, below zero a method is overconfident. Right: coverage of 95% intervals by quantity, with Wilson's 95% "
        f"interval; {seen}."
    )
    picture = image(plot_coverage(curves, table, level), seen[0].upper() + seen[1:])
    section.blocks += [Figure(caption, [picture]), coverage_table(view)]
    rows = [
        [name_cell(view, m), Cell(q), *(_covers(view.by_quantity(m, q, s)) for s in LEVELS)]
        for m in view.ranks
        for q in view.quantities
    ]
    columns = ["method", "quantity", *_levels()]
    section.blocks.append(Table("Coverage by quantity, with Wilson's 95% interval", columns, rows, fold=True))
    return section


def coverage_table(view: CalibrationView) -> Table:
    """Coverage over all quantities."""
    rows = [[name_cell(view, m), *(_covers(view.overall(m, s)) for s in LEVELS)] for m in view.ranks]
    return Table("Coverage over all quantities, with its 95% interval", ["method", *_levels()], rows)


def _levels() -> list[str]:
    return [f"{100 * s:.0f}% intervals" for s in LEVELS]


def ranks(view: CalibrationView) -> Section | None:
    """Whether ranks are uniform."""
    if not view.ranks:
        return None
    from reports.plots.calibration import plot_ranks

    L, Q = view.settings.draws, len(view.quantities)
    section = Section(
        "ranks",
        "Rank uniformity",
        f"The true value of each quantity is ranked among {L} draws. If they are from the posterior, the rank is "
        "[[sbc|uniform]].",
    )
    most = max(view.ranks, key=lambda m: len(view.ranks[m]))
    band = view.band(most)
    low, high = band.limits(view.alpha / Q)
    differences = {
        q: {m: ecdf(r[q].to_numpy(), L) - band.z for m, r in view.ranks.items() if q in r} for q in view.quantities
    }
    section.blocks.append(
        Figure(
            "Empirical distribution function (ECDF) of the ranks minus that of uniform ranks. Above zero first and below it "
            "later: the draws are too narrow; the reverse: too wide. Above zero throughout: the draws are too high; below: too "
            f"low. Grey: simultaneous band, which contains all {Q} curves of an exact method in at least "
            f"{percent(1 - view.alpha)} of studies of "
            f"{len(view.ranks[most])} simulations. Curves far outside are cut off. {_ranks_seen(view)}",
            [image(plot_ranks(differences, band.z, (low - band.z, high - band.z)), _ranks_seen(view))],
        )
    )
    rows = [[Cell(q), *(_p(view, view.uniformity[m], q) for m in view.ranks)] for q in view.quantities]
    section.blocks.append(
        Table(
            "p-values: probability that the ranks of exact draws are as far from uniform; below "
            f"{number(view.alpha / Q, 2)} ({percent(view.alpha)} by Bonferroni over {Q} quantities) the curve leaves the band",
            ["quantity", *(view.label(m) for m in view.ranks)],
            rows,
        )
    )
    section.blocks.append(
        Table(
            "Quantities",
            ["quantity", "meaning"],
            [[Cell(q), Cell(t)] for q, t in view.meanings.items()],
            fold=True,
        )
    )
    return section


def _ranks_seen(view: CalibrationView) -> str:
    """How many curves of each method leave the band."""
    Q = len(view.quantities)
    out = [f"{(view.uniformity[m] < view.level(view.uniformity[m])).sum()} of {view.label(m)}" for m in view.ranks]
    return f"Of {Q} curves of each method, these leave the band: {listing(out)}."


def sides(view: CalibrationView) -> Section | None:
    """On which side of q's median the truth lies."""
    methods = [m for m in view.ranks if view.variational(m)]
    if not methods:
        return None
    from reports.plots.calibration import plot_sides

    L, Q = view.settings.draws, len(view.sided)
    section = Section(
        "medians",
        "Median bias",
        "A variational posterior q that is too narrow may still have unbiased medians. Then q(quantity < truth) is distributed "
        "symmetrically about 1/2 over the simulations ([[vsbc|Yao et al. 2018]]).",
    )
    shares = {
        q: {m: (view.ranks[m][q].to_numpy() + 0.5) / (L + 1) for m in methods if q in view.ranks[m]} for q in view.sided
    }
    section.blocks.append(
        Figure(
            "Histograms of q(quantity < truth) over the simulations. Flat is right. Peaks at both ends: q is too narrow. More "
            f"mass on the left: q is too high; on the right: too low. {_sides_seen(view, methods)}",
            [image(plot_sides(shares), _sides_seen(view, methods))],
        )
    )
    rows = []
    for quantity in view.sided:
        cells = [Cell(quantity)]
        for m in methods:
            if quantity not in view.ranks[m]:
                cells += [Cell(DASH), Cell(DASH)]
                continue
            above = 2 * view.ranks[m][quantity].to_numpy() > L
            cells += [
                _covers((float(above.mean()), *wilson(float(above.mean()), len(above)))),
                _p(view, view.symmetry[m], quantity),
            ]
        rows.append(cells)
    columns = [
        name for m in methods for name in (f"{view.label(m)}: truth above median", f"{view.label(m)}: p of symmetry")
    ]
    section.blocks.append(
        Table(
            "Share of simulations with the truth above the median, with Wilson's 95% interval, and p-value of symmetry, by the "
            f"Kolmogorov-Smirnov distance from the mirror image; below {number(view.alpha / Q, 2)} ({percent(view.alpha)} by "
            f"Bonferroni over {Q} quantities) the median is biased",
            ["quantity", *columns],
            rows,
        )
    )
    return section


def _sides_seen(view: CalibrationView, methods: list[str]) -> str:
    """How many histograms of each method are lopsided."""
    Q = len(view.sided)
    out = [f"{(view.symmetry[m] < view.level(view.symmetry[m])).sum()} of {view.label(m)}" for m in methods]
    return f"Of {Q} histograms of each method, these are not symmetric: {listing(out)}."


def detectable(view: CalibrationView) -> Section | None:
    """What size of departure would have shown."""
    if not view.ranks:
        return None
    section = Section(
        "power",
        "Detectable departures",
        f"The smallest departures that these checks show with {power.POWER:.0%} power, at their own level, in a study of this "
        "size. A smaller one is more likely to be missed than found: “no departure detected” says nothing of it.",
    )
    methods = [m for m in view.ranks if len(view.ranks[m]) >= FEWEST]
    if not methods:
        section.blocks.append(Notice("Too few simulations to judge any method.", "warn"))
        return section
    rows = [
        [Cell(f"coverage of {100 * level:.0f}% intervals"),
         *(_outside(view.detectable_coverage(m, level), percent) for m in methods)]
        for level in LEVELS
    ]  # fmt: skip
    found = {m: view.detectable(m) for m in methods}
    posterior = [m for m in methods if m not in view.point]
    rows += [
        [Cell("the same, one quantity"), *(_outside(found[m].coverage, percent) for m in methods)],
        [Cell("sd ratio"),
         *(_outside((found[m].ranks.narrow, found[m].ranks.wide), _two) if m in posterior else Cell(DASH) for m in methods)],
        [Cell("shift (sd)"),
         *(_two_cell(found[m].ranks.shift) if m in posterior else Cell(DASH) for m in methods)],
        [Cell("median bias (sd)"),
         *(_two_cell(found[m].bias) if view.variational(m) else Cell(DASH) for m in methods)],
    ]  # fmt: skip
    simulations = listing([f"{view.label(m)} {len(view.ranks[m])}" for m in methods])
    section.blocks += [
        Table(
            f"Smallest departures detected with {power.POWER:.0%} power; simulations: {simulations}",
            ["departure", *(view.label(m) for m in methods)],
            [row for row in rows if any(cell.text != DASH for cell in row[1:])],
        ),
        Bullets(
            [
                f"Coverage: by the binomial distribution, for Wilson’s {percent(1 - view.alpha)} interval. Over all "
                "quantities, the simulations count for as many independent cases as the spread of their shares covered amounts "
                "to; a departure is taken to leave that number as it is.",
                "Sd ratio and shift, by the ranks of one quantity, and median bias, by symmetry: the method’s sd relative to "
                f"the exact posterior’s, and its displacement in units of that. Each at {percent(view.alpha)} by Bonferroni "
                "over the quantities, for a normal posterior and a departure that is the same in every data set; by "
                f"{power.STUDIES} simulated studies. Departures of varying sign, or of other shapes, need more simulations.",
                "Where a cell says “none”, no result of so few simulations would show a departure.",
            ]
        ),
    ]
    return section


def _outside(ends: tuple[float, float], words: Callable[[float], str]) -> Cell:
    """What lies below the one or above the other."""
    parts = [f"{sign}\u00a0{words(x)}" for sign, x in zip("<>", ends, strict=True) if not math.isnan(x)]
    return Cell(" or ".join(parts) or "none", ends[0])


def _two(x: float) -> str:
    return number(x, 2)


def _two_cell(x: float) -> Cell:
    return Cell("none" if math.isnan(x) else f">\u00a0{_two(x)}", x)


JUDGED = (verdict, coverage, ranks, sides, detectable)
"""What every page of a calibration begins with, of mixtures or of any model."""

SECTIONS = (*JUDGED, runs, setting, limits)


def _covers(found: tuple[float, float, float]) -> Cell:
    """A share with its interval."""
    mean, low, high = found
    if math.isnan(mean):
        return Cell(DASH)
    return Cell(percent(mean), float(mean), note=f"{number(100 * low)} to {percent(high)}")


def _p(view: CalibrationView, p: pd.Series, quantity: str) -> Cell:
    """One of a method's p-values."""
    if math.isnan(own := p[quantity]):
        return Cell(DASH)
    return Cell(p_words(own).removeprefix("= "), own, tone="bad" if own < view.level(p) else "")


def _error(view: CalibrationView, method: str) -> str:
    own = view.table[view.table["method"] == method]
    return str(own["failure"].dropna().iloc[0]) if own["failure"].notna().any() else DASH
