"""What the numbers of a study of discrete data say of estimates at the boundary, in sentences made from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.page.numbers import number, percent
from reports.page.overfit_view import View, missing
from reports.page.words import listing, sentence
from reports.studies.intervals import median_interval, wilson
from reports.studies.overfit.summary import ERROR, Slice, discrete, ordered_differences, paired

ESTIMATED = ("em", "map", "cavi", "cavi-plugin", "gibbs", "nuts", "advi", "advi-fullrank")
"""Methods whose estimates are looked at, in this order."""


def ruled_out(view: View) -> str:
    """How often each method's test score is minus infinity; nothing where there are no discrete data."""
    found = [(method, own) for method, own in _by_method(view) if method != "cavi-plugin"]
    if not found:
        return ""
    said = listing([f"{view.label(method)} {_share(own)}{_worst(own)}" for method, own in found])
    return f"Fits that hold a test point impossible, so that their test score is minus infinity: {said}."


def boundaries(view: View) -> Iterator[str]:
    """Estimates of 0 and 1 by each method, and what they rule out, with n."""
    for method, own in _by_method(view):
        at, infinite = own["boundary"].mean(), own["infinite"].mean()
        if not at and not infinite:
            yield (
                f"{view.label(method)}: no probability is estimated as 0 or 1, and no rate as 0, in {len(own)} fits, and every "
                "test score is finite."
            )
            continue
        by_n = own.groupby("n")[["boundary", "infinite"]].mean()
        text = (
            f"{view.label(method)}: {percent(at)} of {len(own)} fits have an estimate at the boundary, and {percent(infinite)} "
            f"a test score of minus infinity; at n = {by_n.index[0]}, {percent(by_n['boundary'].iloc[0])} and "
            f"{percent(by_n['infinite'].iloc[0])}"
        )
        if len(by_n) > 1:
            text += f", at n = {by_n.index[-1]}, {percent(by_n['boundary'].iloc[-1])} and {percent(by_n['infinite'].iloc[-1])}"
        by_kind = own.groupby("truth")["boundary"].mean()
        if len(by_kind) > 1:
            kinds = listing([f"{percent(share)} of {kind}" for kind, share in by_kind.items()])
            text += f"; with an estimate at the boundary by kind: {kinds}"
        some = own.loc[own["impossible"] > 0, "impossible"]
        if len(some):
            text += f". Where there are impossible test points, they are a median of {percent(some.median())} of all"
        yield f"{text}."
    if {"cavi", "cavi-plugin"} <= set(view.methods) and (same := _same(view)):
        yield (
            f"Of {listing(same)} features CAVI’s predictive distribution is that at its posterior mean: a probability is "
            "linear in each of the independent parameters, and averaging over the posterior changes none."
        )


def medians_with_n(view: View, part: Slice) -> Iterator[str]:
    """CAVI against EM and MAP-EM along n, by the median paired difference."""
    xs = sorted(part.table.loc[part.table["method"] == "cavi", "n"].unique())
    for rival in ("em", "map"):
        said = []
        for n in {xs[0]: None, xs[-1]: None}:
            here = part.table[part.table["n"] == n]
            difference, values = paired(here, "cavi", rival), ordered_differences(here, "cavi", rival)
            if difference is None or not len(values):
                continue
            median, low, high = median_interval(values, ERROR)
            infinite = int(np.isposinf(values).sum())
            ends = f" ({number(low)} to {number(high)})" if low < high else ""
            said.append(
                f"{number(median)}{ends} at n\u00a0=\u00a0{n:g}, above zero in {percent(difference.wins)} of the replicates"
                f"{f' and infinite in {infinite} of {len(values)}' if infinite else ''}"
            )
        if said:
            where = sentence(view.words(part.settings, "n"))
            yield (
                f"{where}: CAVI’s test score minus that of {view.label(rival)}, median in nats a point: {'; '.join(said)}."
            )


def _by_method(view: View) -> Iterator[tuple[str, pd.DataFrame]]:
    """The fits of discrete data that ended, method by method."""
    ended = view.table[discrete(view.table) & view.table["infinite"].notna()]
    for method in ESTIMATED:
        if len(own := ended[ended["method"] == method]):
            yield method, own


def _share(own: pd.DataFrame) -> str:
    share, of = own["infinite"].mean(), len(own)
    low, high = wilson(share, of)
    return f"{percent(share)} of {of} ({number(100 * low, 2)} to {number(100 * high, 2)}%"


def _worst(own: pd.DataFrame) -> str:
    """Where most are, and the bracket's end."""
    by_n = own.groupby("n")["infinite"].mean()
    return f"; {percent(by_n.max())} at n = {by_n.idxmax()})" if len(by_n) > 1 and by_n.max() else ")"


def _same(view: View) -> list[str]:
    """Kinds of which the predictive and the plug-in score are equal in every fit, to rounding."""
    keys = ["cell", "replicate"]
    both = view.table[view.table["method"].isin(("cavi", "cavi-plugin"))]
    scores = both.pivot_table(index=["truth", *keys], columns="method", values="test").dropna()
    gaps = (scores["cavi"] - scores["cavi-plugin"]).abs().groupby("truth").max()
    return [
        str(kind)
        for kind, gap in gaps.items()
        if kind in ("bernoulli", "categorical") and not missing(gap) and gap < 1e-9
    ]
