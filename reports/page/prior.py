"""Prior sensitivity: power-scaling of the reference, other scales of the prior, and classes that the posterior merges."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import pandas as pd

from reports.metrics.prior import CONFLICT, FACTORS, NONE, OPEN, SENSITIVE, STRONG, diagnose
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image
from reports.page.cells import error_cell, hundredths
from reports.page.numbers import fixed, with_error
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing, literal

SCALE = {0.25: "¼", 1.0: "1", 4.0: "4"}
FOUND = {
    CONFLICT: "in conflict",
    STRONG: "moved by the prior alone",
    NONE: "not moved by the prior",
    OPEN: "not certain",
}
SHOWN = 12
"""Parameters in the table that is not folded."""


def prior_sensitivity(view: View) -> Section:
    """How far the posterior leans on its prior."""
    section = Section(
        "prior-sensitivity",
        "Prior sensitivity",
        "How far the conclusions rest on the [[prior]]: how the posterior moves when prior or likelihood counts a little more "
        f"or less, and what [[cavi|CAVI]] finds under priors {expecting(view)}.",
    )
    facts = view.manifest["prior_sensitivity"]
    if not view.trees:
        return no_fit(section)
    if not facts:
        section.blocks.append(
            Notice("A stationary start has no conjugate posterior, so CAVI tries no other priors here.")
        )
        return section
    if text := merging(view, facts):
        section.blocks.append(Notice(text, "warn"))
    section.blocks += power_scaling(view, facts)
    section.blocks += scales(view, facts)
    return section


def expecting(view: View) -> str:
    """Return what the other priors are like."""
    words = ["that expect clusters half and twice as wide"] if view.numbers else []
    return listing(words if view.gaussian else [*words, "of a quarter and four times as many pseudo-observations"])


def changed(view: View) -> str:
    """Return what the three priors differ in."""
    widths = (
        "W0⁻¹, the scale of the clusters' covariances, a quarter of the one in use, that one, and four times as large, so that "
        "clusters are expected to be half, as and twice as wide"
    )
    own = listing([block for block in view.blocks if block in ("probabilities", "rates")] or [""])
    counts = f"the pseudo-observations of {own}, a quarter of those in use, those, and four times as many"
    return widths if view.gaussian else counts if not view.numbers else f"{widths}; and with it {counts}"


def merging(view: View, facts: dict[str, Any]) -> str | None:
    """Return the sentences on classes that the reference puts in one cluster, and on the methods that tell them apart."""
    groups = facts["merged"].get(view.reference)
    if not groups:
        return None
    assert view.reference
    label = view.label(view.reference)
    who = f"the draws of {label}, the reference," if view.trusted else f"the draws of {label}, which is not trusted,"
    together = "; ".join(_group(group) for group in groups)
    said = [f"Under this prior {who} put {together} in one cluster."]
    apart = [m for m, found in facts["merged"].items() if not found and m in view.trees]
    if apart:
        scores = listing([f"{view.label(m)} {fixed(view.value(m, 'ari'), 2)}" for m in [*apart, view.reference]])
        said.append(
            f"{listing([view.label(m) for m in apart])} tell{'s' if len(apart) == 1 else ''} them apart "
            f"([[ari|adjusted Rand index]] with the classes: {scores})."
        )
        said += [text for m in apart if (text := _place(view, m))]
    merge = [scale for scale in facts["scales"] if scale["merged"]]
    if len(merge) == len(facts["scales"]):
        said.append("[[cavi|CAVI]] puts them together under all three scales of the prior.")
    else:
        others = listing([SCALE[scale["factor"]] for scale in facts["scales"] if not scale["merged"]])
        said.append(f"CAVI tells them apart where the scale of the prior is multiplied by {others}.")
    return " ".join(said)


def _group(group: dict[str, list[int]]) -> str:
    return listing([f"{literal(name)} ({there} of {of})" for name, (there, of) in group.items()])


def _place(view: View, method: str) -> str | None:
    """Return where a method's optimum is among the reference's modes."""
    assert view.reference
    found = view.manifest["modes"].get(view.reference)
    if not found or method not in found["sits"]:
        return None
    number_ = found["sits"][method]
    label, reference = view.label(method), view.label(view.reference)
    if number_ is None:
        return f"The optimum of {label} is where no draw of {reference} goes."
    share, se = (100 * (found["modes"][number_][name] or 0) for name in ("share", "se"))
    return f"The optimum of {label} is in mode {number_ + 1}, which has {with_error(share, se)}% of the draws of {reference}."


def power_scaling(view: View, facts: dict[str, Any]) -> list[Notice | Figure | Table]:
    """Return the sensitivities of every parameter of the trusted reference."""
    method = facts["scaled"]
    table = sensitivities(view, method) if method else pd.DataFrame()
    if view.manifest["data"].get("n_fitted"):
        return [
            Notice(
                "[[prior-sensitivity|Power-scaling]] needs the likelihood of all rows under every draw; here the points are a "
                "sample of the rows."
            )
        ]
    if not len(table):
        return [
            Notice("[[prior-sensitivity|Power-scaling]] needs the draws of a trusted reference; there is none.", "warn")
        ]
    from reports.plots.prior import plot_sensitivity

    label = view.label(method)
    counts = Counter(table["diagnosis"])
    parts = [f"{counts[name]} {words}" for name, words in FOUND.items() if counts[name]]
    found = f"of {len(table)} parameters: {', '.join(parts)}"
    worst = table.iloc[0]
    most = f"largest prior sensitivity {with_error(worst['prior'], worst['prior_se'])} at {literal(worst['target'])}"
    figure = Figure(
        f"[[prior-sensitivity|Power-scaling]] of the {view.aligned}draws of {label}: one mark a parameter, with one standard "
        f"error. From {SENSITIVE} on (lines) a sensitivity counts. Where prior and likelihood both move a parameter, they say "
        "different things ([[prior-data-conflict|prior-data conflict]]); where the prior alone moves it, the data say little. "
        f"Neither calls the posterior wrong; both say that the prior needs a reason. Here, {found}; {most}.",
        [image(plot_sensitivity(table, SENSITIVE), "")],
        alt=f"Prior against likelihood sensitivity of {label}: {found}; {most}",
        slug="prior-sensitivity",
    )
    rows = [
        [
            Cell(literal(row["target"])),
            error_cell(row["prior"], row["prior_se"]),
            error_cell(row["likelihood"], row["likelihood_se"]),
            Cell(row["diagnosis"]),
        ]
        for row in table.to_dict("records")
    ]
    head = ["parameter", "prior sensitivity", "likelihood sensitivity", "diagnosis"]
    caption = (
        f"Sensitivity of every parameter of {label} ± standard error, on the scale on which parameters are compared, in order "
        "of prior sensitivity. A diagnosis leaves two errors to each side of the limit"
    )
    return [figure, Table(caption, head, rows, fold=len(rows) > SHOWN, slug="prior-sensitivity")]


def sensitivities(view: View, method: str) -> pd.DataFrame:
    """Return sensitivities by parameter with their block and diagnosis, the largest of the prior first."""
    found = view.metrics[view.metrics["method"] == method].set_index("target")
    columns: dict[str, pd.Series] = {}
    for name in ("prior", "likelihood"):
        part = found[found["metric"] == f"{name}_sensitivity"]
        columns |= {name: part["value"], f"{name}_se": part["se"]}
    table = pd.DataFrame(columns)
    blocks = [view.block_of(str(target)) or view.blocks[-1] for target in table.index]
    numbers = table[["prior", "prior_se", "likelihood", "likelihood_se"]]
    table = table.assign(block=blocks, diagnosis=[diagnose(*row) for row in numbers.itertuples(index=False)])
    return table.sort_values("prior", ascending=False, kind="stable").rename_axis("target").reset_index()


def scales(view: View, facts: dict[str, Any]) -> list[Notice | Table]:
    """Return CAVI's optima under three scales of the prior."""
    found = facts["scales"]
    classes = any(scale["ari_classes"] is not None for scale in found)
    rows = [
        [
            Cell(f"× {SCALE[scale['factor']]}", scale["factor"]),
            Cell(", ".join(fixed(w, 3) for w in scale["weights"])),
            Cell(f"{scale['occupied']} of {len(scale['weights'])}", scale["occupied"]),
            hundredths(scale["bound"], 0.0),
            *(Cell(fixed(ari, 2), ari) for ari in scale["ari"]),
            *([Cell(fixed(scale["ari_classes"], 2), scale["ari_classes"])] if classes else []),
        ]
        for scale in found
    ]
    scale_ = "scale W0⁻¹" if view.gaussian else "scale" if view.numbers else "weight of the prior"
    head = [scale_, "weights", "clusters occupied", "ELBO (nats)", *(f"against × {SCALE[f]}" for f in FACTORS)]
    head += ["against the classes"] if classes else []
    pairs = list(combinations(range(len(found)), 2))
    i, j = min(pairs, key=lambda pair: found[pair[0]]["ari"][pair[1]])
    lowest = found[i]["ari"][j]
    if lowest == 1:
        text, tone = "CAVI's clusters are the same under all three scales of the prior, point for point.", "good"
    else:
        text = (
            f"CAVI's clusters depend on the scale of the prior: the [[ari|adjusted Rand index]] between those under "
            f"× {SCALE[FACTORS[i]]} and × {SCALE[FACTORS[j]]} is {fixed(lowest, 2)}."
        )
        tone = "info"
    caption = (
        f"CAVI's best optimum under three priors: {changed(view)}. The other hyperparameters stay. The difference of two ELBOs "
        "is about the log Bayes factor between the priors. The last columns are adjusted Rand indices between most probable "
        "clusters, 1 where they are the same"
    )
    late = [SCALE[scale["factor"]] for scale in found if not scale["converged"]]
    blocks: list[Notice | Table] = [Notice(text, tone), Table(caption, head, rows, slug="prior-scales")]
    if late:
        blocks.append(Notice(f"CAVI had not converged under × {listing(late)}.", "warn"))
    return blocks
