"""The page of an overfitting study of linear dynamical systems: what differs from that of mixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.page.blocks import Cell, Section, Table, value
from reports.page.numbers import percent
from reports.page.overfit_edge import EDGES, by_method
from reports.page.overfit_figures import add
from reports.page.overfit_view import View
from reports.studies.overfit.systems import PERSISTENCE, SIGNAL, STEPS

if TYPE_CHECKING:
    import pandas as pd


STARTS = {
    None: "is N(0, I)",
    "stationary": "has the distribution that the transition leaves as it is",
    "diffuse": "has an infinite variance",
    "free": "is N(m0, P0), free too",
}


def design(view: View) -> list[tuple[str, str]]:
    """Return what the truths are."""
    if not view.linear:
        return []
    return [
        (
            "Systems",
            f"random turns of K states, all eigenvalues of modulus {PERSISTENCE:g}; variance of the signal over that of "
            "the noise "
            f"{SIGNAL:g}",
        ),
        (
            "Fitted",
            f"A, C, Q and R, all free; the first state {STARTS[view.manifest.get('start')]}; at most {STEPS} passes of EM and "
            "CAVI",
        ),
    ]


def starts(view: View) -> str:
    """Return where ascents begin."""
    return "by canonical variates and at random" if view.linear else "k-means++"


def measures() -> list[str]:
    """Return what is measured of estimates."""
    return [
        f"Degenerate estimates: {EDGES['near']}, or {EDGES['boundary']}. Of draws both are about their median, of CAVI "
        "about the "
        "parameters at the mean of q for the plug-in density."
    ]


def limits() -> list[str]:
    """Return what the page cannot say of such systems."""
    return [
        f"All true eigenvalues have modulus {PERSISTENCE:g}: near the unit circle, where an estimate crosses it easily. A "
        "fit that "
        "explodes can still forecast one step ahead, which is all that is scored.",
        f"EM climbs along ridges for long; after {STEPS} passes a fit is taken as it is, and more passes would overfit more.",
    ]


def _share(own: pd.Series) -> Cell:
    found = own.dropna()
    return Cell(percent(found.mean()), found.mean()) if len(found) else value(None)


def edges(view: View) -> Section | None:
    """Return the shares of degenerate estimates against n."""
    section = Section(
        "collapse",
        "Degenerate estimates",
        "Of few rows the likelihood is highest where a noise vanishes, as if a combination of features were known "
        "exactly, or where "
        "states explode. A prior prevents the first and pulls back from the second.",
    )
    fits = view.table[~view.table["method"].isin(("oracle", "cavi-plugin"))]
    if fits.empty:
        return None
    for measure, what in EDGES.items():
        add(view, section, fits, "n", measure, "share of fits", share=True, caption=f"Share of fits with {what}.")
    rows = []
    for method, every in by_method(view):
        for _, own in every.groupby("n"):
            ended = own["smallest_variance"].dropna()
            rows.append(
                [Cell(view.label(method), method=method), value(own["n"].iloc[0]), value(len(own)), value(own["failed"].sum()),
                 *map(_share, (own[measure] for measure in EDGES)),
                 value(ended.median() if len(ended) else None), _share(own["converged"])]
            )  # fmt: skip
    columns = ["method", "n", "fits", "failed", "variance near zero", "eigenvalue at or beyond 1", "median smallest variance",
               "converged"]  # fmt: skip
    section.blocks.append(
        Table(
            f"Degenerate estimates over all settings of one n; variances relative to the smallest true one. Converged: EM and "
            f"CAVI before the limit of {STEPS} passes, chains with an [[rhat|R-hat]] below 1.01",
            columns,
            rows,
        )
    )
    return section
