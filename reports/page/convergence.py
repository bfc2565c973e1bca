"""Whether optimisers reached an optimum, and whether chains mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from reports.metrics.optimum import HIGHER
from reports.metrics.reference import EBFMI
from reports.page.blocks import Bullets, Cell, Figure, Notice, Section, Table, image
from reports.page.cells import name_cell, rhat_cell, whole
from reports.page.numbers import DASH, fixed, number, percent, with_error
from reports.page.view import ADVI, View
from reports.page.words import listing, literal

OUTCOMES = {
    "mcmc": {True: "✓ passed its checks", False: "✗ failed its checks"},
    "else": {True: "✓ converged", False: "✗ not converged"},
}


def convergence(view: View) -> Section:
    """Did each optimiser converge, and did the chains mix."""
    section = Section(
        "convergence",
        "Convergence",
        "An optimiser's objective rises, then flattens, and several starts reach the best optimum. A sampler's chains agree "
        "and move through the whole posterior.",
    )
    section.blocks.append(
        Table(
            "Outcome of each run",
            ["method", "outcome", "starts", "notes"],
            [outcome(view, method) for method in view.methods],
            slug="outcomes",
        )
    )
    if higher := higher_likelihood(view):
        section.blocks.append(Notice(literal(higher), "warn"))
    section.blocks += objectives(view)
    section.blocks += samplers(view)
    return section


def optima(view: View) -> list[Bullets | Notice]:
    """Return how the starts of the optimisers ended, and whether another method has a higher likelihood than EM's best."""
    said, higher = starts(view), higher_likelihood(view)
    found: list[Bullets | Notice] = [Bullets([literal(sentence) for sentence in said])] if said else []
    return [*found, Notice(literal(higher), "warn")] if higher else found


def starts(view: View) -> list[str]:
    """Return how often the starts of each optimiser found its best optimum, and how many failed, a sentence a method."""
    ended = {view.label(method): started(facts["info"]) for method, facts in view.methods.items()}
    return [f"{label}: {words}." for label, words in ended.items() if words]


def started(info: Mapping[str, Any]) -> str:
    """Return how the starts of one run ended, as in "best of 10 starts, found 4 times; 3 collapsed"; "" where it has none.

    Where no start reached the optimum, "best of 10 starts, raised by merging and splitting clusters".
    """
    number_of, reached = info.get("restarts"), info.get("reached")
    if not number_of or reached is None:
        return ""
    found = "found once" if reached == 1 else f"found {reached} times"
    found = "raised by merging and splitting clusters" if info.get("moved") else found
    lost = [f"; {info[name]} {name}" for name in ("collapsed", "failed") if info.get(name)]
    return f"best of {number_of} start{'s' * (number_of > 1)}, {found}{''.join(lost)}"


def higher_likelihood(view: View) -> str | None:
    """Return where another method has a higher likelihood than maximum likelihood has found, if one has."""
    facts = view.methods.get("em")
    if facts is None or facts["status"] != "ok" or facts["options"].get("reg_covar"):
        return None
    table = view.table("log_likelihood")
    own, rest = table[table["method"] == "em"], table[table["method"] != "em"]
    if own.empty or rest.empty:
        return None
    found, best = own["value"].item(), rest.nlargest(1, "value").iloc[0]
    if best["value"] <= found + HIGHER:
        return None
    n, lost = view.manifest["data"]["n"], facts["info"].get("collapsed")
    where = {"mean": "the posterior mean of", "draw": "the best draw of"}.get(best["target"], "the point found by")
    collapsed = f", and {lost} of its {facts['info']['restarts']} starts collapsed" if lost else ""
    return (
        f"EM has not found the highest likelihood: {fixed(found / n, 4)} nats a point at its best optimum, "
        f"{fixed(best['value'] / n, 4)} at {where} {view.label(best['method'])}{collapsed}. Raise --restarts, give EM a ridge "
        "with --reg-covar, or use MAP-EM (--methods map)."
    )


def outcome(view: View, method: str) -> list[Cell]:
    """Return how one run ended: its outcome, its starts, what it warned of."""
    facts = view.methods[method]
    info, failed = facts["info"], facts["status"] != "ok"
    words = OUTCOMES["mcmc" if facts["kind"] == "mcmc" else "else"].get(facts["converged"], DASH)
    notes = [facts["error"]] if failed else list(facts["warnings"])
    if not failed and method in ADVI:
        notes += view.advi_notes
        if facts["converged"] and "rise" in info:
            change = with_error(info["rise"], info["rise_se"])
            notes.append(f"ELBO changed by {change} nats while the learning rate fell, limit 0.1")
    return [
        name_cell(view, method),
        Cell("✗ failed", tone="bad")
        if failed
        else Cell(words, tone={True: "good", False: "bad"}.get(facts["converged"], "")),
        Cell(started(info) or DASH),
        Cell("; ".join(map(str, notes)) or DASH),
    ]


def objectives(view: View) -> list[Figure]:
    """Return the objective of every optimiser against its passes or steps."""
    traces, axes = {}, {}
    for method, tree in view.trees.items():
        if "ascent" in tree:
            facts = view.methods[method]
            trace = tree["ascent"].to_dataset()["bound"].to_series()
            stride = facts["info"].get("steps_per_entry")
            traces[method] = trace if stride is None else trace.set_axis((np.arange(len(trace)) + 1) * stride)
            kind = "ELBO" if facts["kind"] == "variational" else str(facts["bound_kind"] or "objective")
            if facts["options"].get("reg_covar"):
                kind = f"penalised {kind}"
            axes[method] = ("pass" if stride is None else "step", f"{kind} ({tree['ascent'].attrs['unit']})")
    if not traces:
        return []
    from reports.plots.bounds import plot_bounds

    noisy = (
        " ADVI's is a noisy estimate: the heavy line is its running median, and the axis leaves out the first steep steps. It "
        "rises again in the second half, where the learning rate falls and q wanders less about its optimum; whether that gain "
        "is the last of it is judged by the average of q's parameters when the rate begins to fall, as the table says."
        if any(m in ADVI for m in traces)
        else ""
    )
    names = listing([view.label(m) for m in traces])
    return [
        Figure(
            f"Objective against the pass or step. {view.objectives}{noisy}",
            [image(plot_bounds(traces, axes), f"Objective of {names} against the pass or step: rising, then flat")],
            slug="objectives",
        )
    ]


def samplers(view: View) -> list:
    """Return what Stan's `diagnose` looks at, method by method, and the energies of Hamiltonian samplers."""
    if not view.sampled:
        return []
    columns = {
        "rhat_max": "largest R-hat",
        "ess_min": "smallest bulk ESS",
        "ess_tail_min": "smallest tail ESS",
        "divergences": "divergent transitions",
    }
    rows = []
    for method in view.sampled:
        sizes = view.trees[method]["posterior"].sizes
        found = [view.value(method, metric) for metric in columns]
        rows.append(
            [
                name_cell(view, method),
                Cell(f"{sizes['chain']} × {sizes['draw']}"),
                rhat_cell(found[0]),
                *map(whole, found[1:]),
                _saturated(view, method),
                _ebfmi(view, method),
            ]
        )
    head = ["method", "chains × draws", *columns.values(), "trees at the depth limit", "E-BFMI by chain"]
    with_energy = [m for m in view.sampled if not math.isnan(view.value(m, "ebfmi_min"))]
    of_paths = (
        "; the last three columns apply to Hamiltonian samplers alone. A tree at the depth limit ended before its trajectory "
        "turned: the draws are valid, but more correlated than they could be. An E-BFMI below "
        f"{EBFMI} says that energies far from the mean are hardly reached"
    )
    if all(cell.text == DASH for row in rows for cell in row[-3:]):
        head, rows, of_paths = head[:-3], [row[:-3] for row in rows], ""
    blocks: list = [
        Table(f"Diagnostics of the samplers{view.after_relabelling}{of_paths}", head, rows, slug="samplers"),
    ]
    if with_energy:
        from reports.plots.energy import plot_energy

        blocks.append(
            Figure(
                "Energy of the draws less its mean, and its change from draw to draw. Where the change is as wide, every draw "
                "can reach any energy. E-BFMI, chain by chain, is the mean square of the change over that of the energy; the "
                f"dashed line is its limit, {EBFMI}.",
                [
                    image(
                        plot_energy(m, view.trees[m], EBFMI),
                        f"Energies of {view.label(m)} and their changes between draws; smallest E-BFMI "
                        f"{number(view.value(m, 'ebfmi_min'), 2)}, limit {EBFMI}",
                    )
                    for m in with_energy
                ],
                slug="energy",
            )
        )
    return blocks


def _saturated(view: View, method: str) -> Cell:
    """The share of trees at the depth limit, and that limit."""
    part, limit = view.value(method, "tree_depth_saturated"), view.methods[method]["info"].get("max_tree_depth")
    return Cell(DASH) if math.isnan(part) else Cell(percent(part), part, note=f"limit {limit}" if limit else "")


def _ebfmi(view: View, method: str) -> Cell:
    """E-BFMI of each chain."""
    own = list(view.of(method, "ebfmi"))
    return Cell(", ".join(fixed(x, 2) for x in own) or DASH, min(own, default=None))
