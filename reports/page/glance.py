"""A comparison at a glance, for the shell and for a notebook: a row a method, its verdict, few numbers, and seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

from reports.page.blocks import Cell, Table
from reports.page.cells import error_cell, time_cell
from reports.page.numbers import DASH, fixed, khat
from reports.page.view import View
from reports.page.words import spoken

TONES = {"agrees": "good", "differs": "bad"}

QUANTITIES: dict[str, tuple[str, Callable[[float, float], Cell]]] = {
    "train_log_density": ("log density", error_cell),
    "heldout_log_density": ("held out", error_cell),
    "khat": ("k-hat", lambda x, se: Cell(khat(x), x)),
    "rhat_max": ("R-hat", lambda x, se: Cell(DASH if math.isnan(x) else fixed(x, 3), x)),
    "ari": ("adjusted Rand", error_cell),
}
"""Metric -> what stands over its column, and how it is written: as on the page."""


def summary(view: View) -> Table:
    """Return the verdict on every method in three states, then a few numbers, then seconds; what nobody has is left out."""
    judged = view.manifest["verdict"]
    claims = [claim for claim in view.claims if any(claim in own for own in judged.values())]
    metrics = [metric for metric in QUANTITIES if view.has(metric)]
    parts = [part for part in ("compile", "run") if any(part in f["seconds"] for f in view.methods.values())]
    rows = []
    for method, facts in view.methods.items():
        said = [judged.get(method, {}).get(claim, {}).get("state", DASH) for claim in claims]
        rows.append(
            [
                Cell(method if method in view.added else view.label(method), method=method),
                *(Cell(view.word(method, state), tone=TONES.get(state, "")) for state in said),
                *(QUANTITIES[metric][1](view.value(method, metric), view.se(method, metric)) for metric in metrics),
                *(time_cell(facts["seconds"].get(part)) for part in parts),
            ]
        )
    claims = [spoken(claim, view.one) for claim in claims]
    return Table(view.at_a_glance, ["method", *claims, *(QUANTITIES[m][0] for m in metrics), *parts], rows)


def differences(view: View) -> list[str]:
    """Return where methods differ from the reference, and by what, a sentence a claim."""
    return [
        f"{view.label(method)} differs in {spoken(claim, view.one)}: {said['because']}."
        for method, own in view.manifest["verdict"].items()
        for claim, said in own.items()
        if said["state"] == "differs"
    ]
