"""How the page ends: what it cost, and what it cannot tell."""

from __future__ import annotations

import math

import pandas as pd

from reports.page.blocks import Bullets, Facts, Figure, Section, Table, image, value
from reports.page.cells import name_cell, time_cell
from reports.page.numbers import number, seconds
from reports.page.trust import no_fit
from reports.page.view import ADVI, View
from reports.page.words import listing

MILLISECOND = 1e-3
"""Seconds of compiling below which there was nothing to compile, and an axis need not reach."""


def seen(compiling: float) -> float:
    """Return seconds of compiling, missing where there was nothing to compile."""
    return compiling if compiling >= MILLISECOND else math.nan


def cost(view: View) -> Section:
    """Seconds, and effective draws for them."""
    section = Section(
        "cost",
        "Cost",
        "Seconds spent compiling and running. Compiling is done once for each model; running time grows with the data.",
    )
    if not view.trees:
        return no_fit(section)
    table = pd.DataFrame(
        {
            m: {"compile": seen(view.value(m, "seconds_compile")), "run": view.value(m, "seconds_run")}
            for m in view.trees
            if view.value(m, "seconds_run") > 0
        }
    ).T
    if len(table):
        from reports.plots.cost import plot_cost

        section.blocks.append(
            Figure(
                "Seconds to run (full dots) and to compile (hollow dots, from a millisecond on), on a logarithmic axis.",
                [image(plot_cost(table), "")],
                alt="Seconds to run: "
                + "; ".join(f"{view.label(str(m))} {seconds(float(run))}" for m, run in table["run"].items()),
                slug="cost",
            )
        )
    rows = []
    for method in view.trees:
        rows.append(
            [
                name_cell(view, method),
                *(time_cell(view.methods[method]["seconds"].get(part)) for part in ("import", "compile", "run")),
                value(view.value(method, "ess_per_second"), 2),
            ]
        )
    section.blocks.append(
        Table(
            "Cost of each method",
            ["method", "import", "compile", "run", "effective draws a second (worst parameter)"],
            rows,
            slug="cost",
        )
    )
    words = {
        "import_s": "Importing",
        "model_s": "Reading the model",
        "fits_s": "Fitting",
        "metrics_s": "Comparing",
        "total_s": "All of these",
    }
    timings = view.manifest.get("timings") or {}
    spent = [(words[k], seconds(timings[k])) for k in words if timings.get(k) is not None]
    if timings.get("peak_memory_mb"):
        spent.append(("Peak memory", f"{number(timings['peak_memory_mb'])} MB"))
    if spent:
        section.blocks.append(Facts(spent))
    return section


COORDINATES = {
    "gaussian": "and of the standardised data, which full and tied covariances whiten, the means and Bartlett's factor of each "
    "precision matrix",
    "poisson": "logarithms of the rates",
    "categorical": "log-ratios of the probabilities of levels",
    "bernoulli": "log odds of the probabilities",
}
"""What ADVI's posterior is Gaussian in, by the kind of the columns."""


def limits(view: View) -> Section:
    """What this page cannot say."""
    section = Section("limits", "Limits", "What this page cannot tell.")
    items = [
        f"The page is about one data set, {view.name}, one model, one K and one seed. Another seed may find another mode.",
        "Agreement with the reference is agreement under this model and this prior; it does not make the model true.",
        "Parameters are compared one at a time after relabelling; where clusters overlap, the labels of "
        "single draws are a convention, and the label-free quantities are safer.",
        "Leave-one-out and held-out scores rank predictions, not how faithful a posterior is.",
        "A lower bound, a penalised likelihood and an evidence are different quantities, though they share an axis above.",
        "The limits of the verdict are conventions, the same for all data; each card says what they mean.",
    ]
    if view.trees and not view.trusted:
        items.insert(0, "There is no trusted reference: no statement here may be read as “this posterior is right”.")
    if any(m in view.points for m in view.trees):
        items.append("A point estimate has no uncertainty. Its missing intervals are missing, not zero.")
    if any(m in ADVI for m in view.trees):
        ratios = "initial and of the transition probabilities" if view.ordered else "weights"
        coordinates = [words for kind, words in COORDINATES.items() if kind in view.kinds.values()]
        items.append(
            f"ADVI's posterior is Gaussian in the unconstrained coordinates of the model (log-ratios of the {ratios}"
            f"{''.join(f', {words}' for words in coordinates)}). In other coordinates it would differ from the posterior in "
            "other ways."
        )
    if view.has("elpd_loo_approximate"):
        items.append(
            "Approximate-posterior leave-one-out weights draws of q. What q never draws is missing from it, and no k-hat "
            "shows it."
        )
    if failed := [view.label(m) for m, f in view.methods.items() if f["status"] != "ok"]:
        items.append(f"{listing(failed)} failed and could not be compared.")
    section.blocks.append(Bullets(items))
    return section
