"""What latent class analysis prints: profiles, sizes, fit statistics, classification errors, bivariate residuals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from reports.metrics.classes import classification_table
from reports.metrics.goodness import FEWEST_A_CELL
from reports.page import profiles
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image
from reports.page.cells import name_cell, share
from reports.page.numbers import DASH, fixed, number
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing, literal

PAIRS = 12
"""Pairs of items in the table of residuals."""

MAPPED = 6
"""Items from which on all residuals are drawn too."""

LARGE = 4.0
"""A residual whose pair is counted as not explained: about the 95% quantile of chi-square with one degree of freedom."""


def classes(view: View) -> Section:
    """Profiles, fit statistics, classification errors and bivariate residuals."""
    section = Section(
        "classes",
        "Fit and classification" if view.ordered else "Classes",
        f"What is usually reported of a fit: how well it describes the data, how surely points are put in a {word(view)}"
        + (
            ", and which columns go together more than the classes explain."
            if len(nominal(view)) > 1 and not view.ordered
            else "."
        ),
    )
    if not view.trees:
        return no_fit(section)
    if not view.gaussian:
        section.blocks.append(profiles.base_figure(view))
    section.blocks.append(statistics_table(view))
    section.blocks += [*reference_words(view)]
    if view.n_clusters > 1:
        section.blocks += classification(view)
    section.blocks += residuals(view)
    return section


def word(view: View) -> str:
    """Return what a row is put in: a state of a chain, else a class."""
    return "state" if view.ordered else "class"


def nominal(view: View) -> list[str]:
    """Return the features that hold levels."""
    return [feature for feature, kind in view.kinds.items() if kind in ("bernoulli", "categorical")]


def statistics_table(view: View) -> Table:
    """Return the fit statistics, a row a statistic and a column a method; what nobody has is left out."""
    methods = list(view.trees)
    rows = [(title, [cell(view, m, metric) for m in methods]) for metric, (title, cell) in STATISTICS.items()]
    kept = [[Cell(title), *cells] for title, cells in rows if any(c.text != DASH for c in cells)]
    others = any(view.methods[m]["kind"] != "point" for m in methods)
    without = " They belong to a point estimate: no other method has them." if others else ""
    return Table(
        f"Fit statistics. Of AIC, BIC, SABIC and ICL smaller is better.{without}{_of_p_values(view)} The log likelihood is "
        "that at a point estimate, at the mean of a posterior in closed form, or the largest of the draws. How many starts "
        "found the best optimum: [[#table-outcomes]]",
        ["statistic", *(view.label(m) for m in methods)],
        kept,
        slug="fit-statistics",
    )


def _of_p_values(view: View) -> str:
    """The sentence on the p-values of G², as far as there are any."""
    chi_square = any(not math.isnan(view.value(m, "g2_p")) for m in view.trees)
    replicated = any(not math.isnan(view.value(m, "ppc_p", "G²")) for m in view.trees)
    of_chi_square = (
        " The chi-square p-values hold at the maximum of the likelihood, so for EM alone." if chi_square else ""
    )
    of_replicates = (
        " That of replicated data is the share of data sets simulated from the fit, and not fitted again, whose G² is larger: "
        "at the maximum it is too large to reject much."
        if replicated
        else ""
    )
    return of_chi_square + of_replicates


def _plain(decimals: int) -> Callable[[View, str, str], Cell]:
    def cell(view: View, method: str, metric: str) -> Cell:
        x = view.value(method, metric)
        return Cell(DASH) if math.isnan(x) else Cell(fixed(x, decimals) if abs(x) < 1e7 else number(x), x)

    return cell


def _share(view: View, method: str, metric: str) -> Cell:
    x = view.value(method, metric, "data")
    return Cell(DASH) if math.isnan(x) else Cell(f"{fixed(100 * x, 1)}%", x)


def _probability(view: View, method: str, metric: str) -> Cell:
    x = view.value(method, metric)
    return Cell(DASH) if math.isnan(x) else Cell("< 0.001" if x < 0.001 else fixed(x, 3), x)


def _of_replicates(view: View, method: str, metric: str) -> Cell:
    x = view.value(method, "ppc_p", "G²")
    return Cell(DASH) if math.isnan(x) else Cell(fixed(x, 2 if 0.05 < x < 0.95 else 3), x)


STATISTICS = {
    "log_likelihood": ("log likelihood", _plain(2)),
    "n_parameters": ("free parameters", _plain(0)),
    "aic": ("AIC", _plain(2)),
    "bic": ("BIC", _plain(2)),
    "sabic": ("SABIC", _plain(2)),
    "icl": ("ICL", _plain(2)),
    "entropy_r2": ("entropy R²", _plain(3)),
    "relative_entropy": ("relative entropy", _plain(3)),
    "classification_error": ("classification error", _share),
    "patterns": ("patterns seen", _plain(0)),
    "cells": ("patterns possible", _plain(0)),
    "df": ("degrees of freedom", _plain(0)),
    "g2": ("G²", _plain(2)),
    "g2_p": ("G²: p, chi-square", _probability),
    "x2": ("X²", _plain(2)),
    "x2_p": ("X²: p, chi-square", _probability),
    "replicates": ("G²: p, replicated data", _of_replicates),
}
"""By metric, the name of a statistic and how it is written."""


def reference_words(view: View) -> list[Notice]:
    """Return what G² can be compared with where that is not a chi-square distribution."""
    base = next((m for m in view.trees if not math.isnan(view.value(m, "df"))), None)
    if base is None:
        return _no_patterns(view)
    n, cells, df = view.manifest["data"]["n"], view.value(base, "cells"), view.value(base, "df")
    if df < 0 or n >= FEWEST_A_CELL * cells:
        return []
    return [
        Notice(
            f"The table is sparse: {n} rows, {number(cells)} possible patterns. With fewer than {FEWEST_A_CELL:g} rows a "
            "pattern, G² and X² do not follow a chi-square distribution, and no p-value is taken from it. That of "
            "[[#checks|replicated data sets]] stands in."
        )
    ]


def _no_patterns(view: View) -> list[Notice]:
    """Return why a table with columns of levels has no G²."""
    if len(nominal(view)) < 2 or view.ordered:
        return []
    if len(nominal(view)) < len(view.kinds):
        why = "the columns of numbers and counts have no levels"
    elif np.isnan(view.data["x"].values).any():
        why = "values are missing, and a row with a gap has no pattern"
    else:
        return []
    return [
        Notice(f"G², X² and their degrees of freedom compare the patterns of whole rows. There are none here: {why}.")
    ]


def classification(view: View) -> list[Table]:
    """Return who is put where: of the base, then of all others."""
    others = [m for m in view.trees if m != view.base]
    role = ", the reference" if view.base == view.reference else ""
    caption = (
        f"Classification by {view.label(view.base)}{role}: the expected number of points of each {word(view)} (a row) "
        f"by the {word(view)} that they are assigned to, their most probable one (columns 0, 1, ...). Off the diagonal are "
        f"classification errors; below each number stands its share of the {word(view)}"
    )
    head = [str(k) for k in range(view.n_clusters)]
    tables = [
        Table(
            caption, [word(view), *head, "in all"], _classified(view, [view.base], named=False), slug="classification"
        )
    ]
    if others:
        rows = _classified(view, others, named=True)
        tables.append(
            Table("Classification by the other methods", ["method", word(view), *head, "in all"], rows, fold=True,
                  slug="classification-others")
        )  # fmt: skip
    return tables


def _classified(view: View, methods: list[str], *, named: bool) -> list[list[Cell]]:
    rows = []
    for method in methods:
        r = view.trees[method]["clusters"].to_dataset()["responsibilities"].transpose("obs", "cluster").values
        table = classification_table(r)
        for k, own in enumerate(table):
            total = own.sum()
            cells = [Cell(fixed(v, 1), float(v), note=share(v / total).text if total > 0 else "") for v in own]
            lead = [name_cell(view, method)] if named else []
            rows.append([*lead, Cell(f"cluster {k}"), *cells, Cell(fixed(total, 1), float(total))])
    return rows


def residuals(view: View) -> list:
    """Return the bivariate residuals, the worst pairs first, and a map of all where there are many."""
    mapped = {m: tree["residuals"].to_dataset()["bvr"] for m, tree in view.trees.items() if "residuals" in tree}
    if not mapped:
        return []
    base = view.base if view.base in mapped else next(iter(mapped))
    names = [str(name) for name in mapped[base]["item"].values]
    matrices = {m: of.values for m, of in mapped.items()}
    upper = np.triu_indices(len(names), 1)
    every = {m: matrix[upper] for m, matrix in matrices.items()}
    order = np.argsort(-np.nan_to_num(every[base], nan=-1.0), kind="stable")[:PAIRS]
    known = [i for i in order if not math.isnan(every[base][i])]
    rows = []
    for i in known:
        a, b = names[upper[0][i]], names[upper[1][i]]
        cells = [Cell(fixed(every[m][i], 2), float(every[m][i])) for m in mapped]
        rows.append([Cell(f"{a} ~ {b}"), *cells, _association(view, base, a, b)])
    total = int(np.isfinite(every[base]).sum())
    large = {m: int((v > LARGE).sum()) for m, v in every.items()}
    which = f"The {len(rows)} largest of {total}" if total > len(rows) else "All"
    other = [f for f, kind in view.kinds.items() if kind in ("gaussian", "poisson")]
    without = f" Pairs with {literal(listing(other))}, which have no levels, have none." if other else ""
    has_p = any(row[-1].text != DASH for row in rows)
    p = f" Last column: the predictive p-value of the pair's association by {view.label(base)}." if has_p else ""
    head = ["pair", *(view.label(m) for m in mapped), *(["p of the association"] if has_p else [])]
    blocks: list = [
        Table(
            f"[[bvr|Bivariate residuals]], largest first by {view.label(base)}. {which} pairs. Near or below 1 where the "
            "classes explain how two columns go together; well above where they do not, and [[local-independence|local "
            f"independence]] fails.{p}{without}",
            head,
            rows if has_p else [row[:-1] for row in rows],
            slug="residuals",
        )
    ]
    if len(names) > MAPPED:
        blocks.append(_map(view, matrices, names, large, total))
    return blocks


def _association(view: View, method: str, a: str, b: str) -> Cell:
    """The predictive p-value of how two columns go together, by whichever name it has."""
    for name in ("log odds ratio", "Cramér's V"):
        for pair in (f"{name}[{a}, {b}]", f"{name}[{b}, {a}]"):
            if not math.isnan(p := view.value(method, "ppc_p", pair)):
                error = view.se(method, "ppc_p", pair)
                return Cell(fixed(p, 2), p) if 0.05 < p < 0.95 else Cell(fixed(p, 3), p, note=f"± {fixed(error, 3)}")
    return Cell(DASH)


def _map(view: View, matrices: dict[str, np.ndarray], names: list[str], large: dict[str, int], total: int) -> Figure:
    from reports.plots.heat import plot_residuals

    top = max(LARGE * 2, float(np.nanquantile(np.concatenate([m.ravel() for m in matrices.values()]), 0.995)))
    seen = "; ".join(f"{view.label(m)} {count}" for m, count in large.items())
    return Figure(
        f"Bivariate residuals of every two columns; cells of a strong colour are pairs that the classes do not "
        f"explain. Above {LARGE:g}, of {total} pairs: {seen}.",
        [image(plot_residuals(matrices, names, top), f"Pairs with a bivariate residual above {LARGE:g}: {seen}")],
        slug="residuals",
    )
