"""What the numbers of an overfitting study say, in sentences made from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.page.blocks import Bullets, Section
from reports.page.numbers import number, percent, with_error
from reports.page.overfit_boundary import boundaries, medians_with_n, ruled_out
from reports.page.overfit_edge import at_the_edge
from reports.page.overfit_view import PANELS, View, as_number, half_free, missing
from reports.page.words import listing, sentence
from reports.studies.overfit import summary
from reports.studies.overfit.summary import COVERAGES, Difference, Slice

NEGLIGIBLE = 0.01
"""Nats a point below which a difference in test score is called small."""


def short_answer(view: View) -> str:
    """How often CAVI's predictive was better or worse than each other method, and the lowest coverage of its intervals."""
    found = view.differences
    if found.empty:
        return "CAVI is not part of this study."
    parts, opening = [], ruled_out(view)
    for other, part in found.groupby("other", sort=False):
        better, worse = int((part["decided"] > 0).sum()), int((part["decided"] < 0).sum())
        parts.append(f"above that of {view.label(str(other))} in {better} of {len(part)} settings and below in {worse}")
    text = (f"{opening} " if opening else "") + (
        f"The test score of CAVI’s posterior predictive is {'; '.join(parts)}. Counted are settings where the simultaneous 95% "
        f"interval of the [[paired|paired difference]] excludes zero ({simultaneous_words(view)})."
    )
    own = view.coverages[view.coverages["method"] == "cavi"]
    if len(own):
        lowest = _coverage(view, own.iloc[0].to_dict())
        text += (
            f" The lowest [[frequentist-coverage|coverage]] of its 95% intervals, over the settings{view.contained_words}, is "
            f"{lowest}."
        )
    return text


def simultaneous_words(view: View) -> str:
    """How the simultaneous intervals were made."""
    found = view.differences
    medians = found["median"].notna()
    kinds = [
        "Student’s t" if found["simultaneous"].notna().any() else "",
        "of medians, by order statistics" if medians.any() else "",
    ]
    count = int((medians | found["simultaneous"].notna()).sum())
    return f"{listing([kind for kind in kinds if kind])}, Bonferroni over the {count} differences of this study"


def overlap(view: View) -> str:
    """What the intervals of real data sets are about; nothing where there are none."""
    names = [str(name) for name in view.known(False)["truth"].unique()]
    if not names:
        return ""
    return (
        f"Replicates of {listing(names)} are random subsets of the same rows, and overlap: their intervals are about random "
        "splits of that data set, and too narrow for other data from its source."
    )


def findings(view: View) -> Section:
    """What the numbers say, in words."""
    section = Section(
        "found",
        "Findings",
        "What speaks against variational Bayes first. Each sentence is made from the numbers of the tables on this page.",
    )
    items = [
        *_covered(view),
        *_losses(view),
        *boundaries(view),
        *_with_n(view),
        *at_the_edge(view),
        *_with_k(view),
        *_selected(view),
        *_collapses(view),
        *_with_alpha(view),
    ]
    if items and overlap(view):
        items.append(overlap(view))
    section.blocks.append(Bullets(items or ["The grid is too small to compare anything."]))
    return section


def _covered(view: View) -> Iterator[str]:
    """The lowest coverage of each quantity, the worst quantity first."""
    for method in view.methods:
        own = view.coverages[view.coverages["method"] == method]
        lowest = [_coverage(view, row) for row in own.drop_duplicates("measure").to_dict("records")]
        if lowest:
            yield (
                f"Lowest [[frequentist-coverage|coverage]] of {view.label(method)}’s 95% intervals over the settings"
                f"{view.contained_words}: {'; '.join(lowest)}."
            )


def _coverage(view: View, row: dict) -> str:
    return (
        f"{percent(row['mean'])} ({100 * row['low']:.0f} to {100 * row['high']:.0f}%) for {COVERAGES[row['measure']]} at "
        f"{view.words(row)}"
    )


def _losses(view: View) -> Iterator[str]:
    for other, part in view.differences.groupby("other", sort=False):
        lost = part[part["decided"] < 0]
        lost = lost.assign(by=lost["median"].fillna(lost["mean"])).sort_values("by")
        rival = view.label(str(other))
        if lost.empty:
            yield f"CAVI’s test score is in none of {len(part)} settings below that of {rival} by its simultaneous interval."
            continue
        settings = lost.iloc[0].to_dict()
        yield (
            f"CAVI’s test score is below that of {rival} in {len(lost)} of {len(part)} settings,{' most' * (len(lost) > 1)} at "
            f"{view.words(settings)}: by {_by(settings)} nats a point (simultaneous interval)."
        )


def _by(settings: dict) -> str:
    """How far CAVI's test score is below another, with its simultaneous interval."""
    if missing(settings["median"]):
        return with_error(-settings["mean"], settings["simultaneous"])
    median, low, high = (number(-settings[name]) for name in ("median", "high", "low"))
    return f"a median of {median} ({low} to {high})"


def _with_n(view: View) -> Iterator[str]:
    for part in _main(view, "n"):
        if summary.discrete(part.table).any():
            yield from medians_with_n(view, part)
            continue
        xs = sorted(part.table.loc[part.table["method"] == "cavi", "n"].unique())
        by_n = {n: d for n in xs if (d := summary.paired(_at(part, "n", n), "cavi", "em")) is not None and d.both > 1}
        if len(by_n) < 2:
            continue
        few, many = min(by_n), max(by_n)
        first, last = by_n[few], by_n[many]
        at = view.words(part.settings, "n")
        text = (
            f"{sentence(at)}: at n = {few:g} CAVI’s test score is {_signed(first)} that of EM "
            f"({first.both} of {first.total} pairs; CAVI’s is the higher in {percent(first.wins)} of the replicates); at "
            f"n = {many:g} it is {_signed(last)} it."
        )
        prior = summary.paired(_at(part, "n", few), "cavi-plugin", "em")
        averaging = summary.paired(_at(part, "n", few), "cavi", "cavi-plugin")
        if prior and averaging:
            text += (
                f" Of the difference at n = {few:g}, {with_error(prior.mean, prior.half)} come from the prior and "
                f"{with_error(averaging.mean, averaging.half)} from averaging over the posterior."
            )
        settled = [n for n in by_n if all(by_n[m].mean + by_n[m].half < NEGLIGIBLE for m in by_n if m >= n)]
        text += (
            f" From n = {settled[0]:g} on its interval lies below {NEGLIGIBLE} nats."
            if settled
            else f" At no n of the grid does its interval lie below {NEGLIGIBLE} nats."
        )
        gaps = [
            f"{with_error(*summary.interval(own.to_numpy()))} for {view.label(m)}"
            for m in ("em", "cavi")
            if len(own := _at(part, "n", few).query("method == @m")["gap"].dropna())
        ]
        yield f"{text} Train score minus test score at n = {few:g}: {listing(gaps)}."


def _with_k(view: View) -> Iterator[str]:
    for part in _main(view, "k"):
        ks = sorted(part.table["k"].dropna().unique())
        true = part.settings["true_k"]
        base = float(true) if not missing(true) and true in ks else ks[0]  # type: ignore[arg-type]
        if ks[-1] <= base:
            continue
        said = []
        for method in [m for m in view.methods if m not in ("oracle", "single", "cavi-plugin")]:
            own = part.table[part.table["method"] == method]
            scores = own.pivot_table(index="replicate", columns="k", values="test", aggfunc="first")
            if base in scores and ks[-1] in scores:
                ended = scores[[ks[-1], base]].dropna()
                change = ended.loc[np.isfinite(ended).all(axis=1)].diff(axis=1, periods=-1).iloc[:, 0].to_numpy()
                lost = len(ended) - len(change)
                infinite = f" (without {lost} of {len(ended)}, minus infinity at either K)" if lost else ""
                if lost * 2 > len(ended):
                    said.append(f"{view.label(method)} minus infinity at either K in {lost} of {len(ended)}")
                elif len(change) > 1:
                    said.append(f"{view.label(method)} {with_error(*summary.interval(change))}{infinite}")
        if said:
            yield (
                f"Change of the test score from K = {base:g} to K = {ks[-1]:g} ({view.words(part.settings, 'k')}), nats a "
                f"point: {listing(said)}."
            )


def _selected(view: View) -> Iterator[str]:
    for part in view.sweeps[:PANELS]:
        found = summary.selection(part.table, as_number(part.settings["true_k"]))
        found = found[found["right"].notna() & ~found["criterion"].str.startswith("test score")]
        if len(found):
            said = [f"{row['criterion']} {percent(row['right'])} (loss {_loss(row)})"
                    for row in found.sort_values("right").to_dict("records")]  # fmt: skip
            yield (
                f"Replicates in which each criterion chooses the true K ({view.words(part.settings, 'k')}), fewest first: "
                f"{listing(said)}; losses in nats a point."
            )


def _loss(row: dict) -> str:
    """The mean loss of a criterion's choices, and how many are infinite."""
    finite = with_error(row["loss"], row["loss_half"])
    return f"{finite}, infinite in {row['infinite']} of {row['total']}" if row["infinite"] else finite


def _collapses(view: View) -> Iterator[str]:
    for method, own in view.table[~view.table["method"].isin(("oracle", "cavi-plugin"))].groupby("method", sort=False):
        failed, near = own["failed"].sum(), own["near"].sum()
        nearly = " or nearly collapsed" if own["near"].notna().any() else ""
        if view.linear:  # degenerate estimates have sentences of their own
            yield f"{view.label(str(method))}: {failed:.0f} of {len(own)} fits failed."
        elif failed or near:
            rates = own.groupby("n")[["failed", "near"]].mean()
            few = rates.index.min()
            text = f"{view.label(str(method))}: {failed:.0f} of {len(own)} fits failed"
            if own["near"].notna().any():
                text += f", {near:.0f} nearly collapsed"
            text += f"; at n = {few}, {percent(rates['failed'][few])} failed"
            yield f"{text}{'' if missing(rates['near'][few]) else f' and {percent(rates["near"][few])} nearly collapsed'}."
        elif method in ("cavi", "map"):
            yield f"{view.label(str(method))}: none of {len(own)} fits failed{nearly}."


def _with_alpha(view: View) -> Iterator[str]:
    for part in _main(view, "alpha"):
        if missing(part.settings["k"]) or part.settings["k"] == 1:
            continue
        for method in ("cavi", "gibbs"):
            own = part.table[part.table["method"] == method].groupby("alpha")["occupied"].mean()
            if len(own) > 1:
                said = [f"{number(mean, 2)} at α = {alpha:g}" for alpha, mean in own.items()]
                yield (
                    f"Occupied clusters of {part.settings['k']:g} fitted by {view.label(method)}, on average "
                    f"({view.words(part.settings, 'alpha')}): {listing(said)}{_half(view, part)}."
                )


def _half(view: View, part: Slice) -> str:
    return "" if view.ordered else f"; d/2 is {half_free(part.settings):g}"


def _main(view: View, along: str) -> list[Slice]:
    """The slices that get a sentence: those at the true K first, or at the largest for a sweep over alpha."""
    return [part for part in summary.slices(view.table, along) if "cavi" in set(part.table["method"])][:PANELS]


def _at(part: Slice, along: str, x: float) -> pd.DataFrame:
    return part.table[part.table[along] == x]


def _signed(difference: Difference) -> str:
    side = "above" if difference.mean >= 0 else "below"
    return f"{with_error(abs(difference.mean), difference.half)} nats a point {side}"
