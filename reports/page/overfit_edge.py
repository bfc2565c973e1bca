"""What the numbers of a study of linear dynamical systems say of degenerate estimates, in sentences made from them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from reports.page.numbers import percent
from reports.page.overfit_view import View
from reports.page.words import listing

EDGES = {
    "near": "a variance of R below a hundredth of the smallest true one",
    "boundary": "an eigenvalue of A on or outside the unit circle",
}
"""Degenerate estimates, and what each is."""


def at_the_edge(view: View) -> Iterator[str]:
    """How often each method's estimates are degenerate, over all settings and for the shortest series."""
    if not view.linear:
        return
    for measure, what in EDGES.items():
        said = [f"{view.label(m)} {_share(own, measure)}" for m, own in by_method(view)]
        yield f"Fits with {what}: {listing(said)}."


def by_method(view: View) -> list[tuple[str, pd.DataFrame]]:
    """The fits of each method, plug-in densities and the oracle left out."""
    fits = view.table[~view.table["method"].isin(("oracle", "cavi-plugin"))]
    return [(method, fits[fits["method"] == method]) for method in view.methods if (fits["method"] == method).any()]


def _share(own: pd.DataFrame, measure: str) -> str:
    ended = own.dropna(subset=measure)
    if ended.empty:
        return "none that ended"
    few = ended[ended["n"] == ended["n"].min()]
    return (
        f"{percent(ended[measure].mean())} of {len(ended)} ({percent(few[measure].mean())} at n = {few['n'].iloc[0]})"
    )
