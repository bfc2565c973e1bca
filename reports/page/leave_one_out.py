"""Leave-one-out by every route, told apart, and compared where k-hat allows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from reports.page.blocks import Cell, Figure, Notice, Table, image
from reports.page.cells import error_cell, name_cell
from reports.page.numbers import DASH, fixed, number, with_error
from reports.page.view import ROUTES, View
from reports.page.words import short

MONTE_CARLO = {"loo": "elpd_loo_mcse", "loo_approximate": "elpd_loo_mcse_approximate"}

GOOD, VERY_BAD = 0.5, 1.0
"""Bands of k-hat, with the limit for the number of draws between them (Vehtari, Gelman & Gabry 2017, section 2.1)."""

NAMED = 10

# Features whose values are shown beside such a point.
MOST_FEATURES = 6
"""Points with a large k-hat that are named for each score."""

FOLDED = 16


def leave_one_out(view: View) -> list:
    """Return scores with paired differences, k-hats by band with the bad points named, and what the routes mean."""
    if not view.loo:
        return []
    blocks: list = [score_table(view), *khat_tables(view), *figures(view)]
    routes = {route for _, route in view.loo}
    words = []
    if "loo" in routes:
        words.append("PSIS is Pareto-smoothed importance sampling of posterior draws.")
    if "loo_approximate" in routes:
        words.append(
            "Weighted q is approximate-posterior leave-one-out: draws of q weighted by p(x, θ) / q(θ) estimate the exact "
            "posterior's score too. It says nothing of how well q predicts, and sees nothing where q never draws."
        )
    if "loo_refitted" in routes:
        words.append("Refits without each point give the score of CAVI's own predictive density.")
    words.append("A posterior that is too narrow can still predict well: these score prediction alone.")
    blocks.append(Notice(" ".join(words)))
    if left_out := [name(view, *key) for key, elpd in view.loo.items() if elpd.warning]:
        blocks.append(Notice(f"Unreliable by k-hat, and so not ranked: {'; '.join(left_out)}.", tone="warn"))
    return blocks


def late_refits(view: View, method: str) -> int:
    """Return how many of the fits without a point had not converged."""
    late = view.value(method, "loo_refits_late")
    return 0 if math.isnan(late) else int(late)


def failed(view: View, method: str, route: str) -> bool:
    """Whether a score comes from draws of a sampler that failed its checks, of which k-hat knows nothing."""
    return route == "loo" and view.methods[method].get("converged") is False


def name(view: View, method: str, route: str) -> str:
    """Return what a score is called."""
    return f"{view.label(method)}, {ROUTES[route]}"


def compared(view: View) -> pd.DataFrame:
    """Return ArviZ's comparison of all scores with one of them, the highest elpd first.

    That one is the best score of the posterior's own density among those that k-hat allows, and of these by draws that passed
    their checks if there are any: refits score another density, and a difference from it would not compare estimates of one
    quantity.
    """
    from arviz_stats import compare

    elpds = {name(view, *key): elpd for key, elpd in view.loo.items()}
    if len(elpds) < 2:
        return pd.DataFrame()
    methods, routes = ({name(view, *key): key[i] for key in view.loo} for i in (0, 1))
    best = max(
        elpds,
        key=lambda called: (
            not elpds[called].warning,
            routes[called] != "loo_refitted",
            not failed(view, methods[called], routes[called]),
            elpds[called].elpd,
        ),
    )
    table = compare(elpds, reference=best, round_to="none")
    return table.assign(
        method=table.index.map(methods),
        reliable=[not elpds[called].warning for called in table.index],
        failed=[failed(view, methods[called], routes[called]) for called in table.index],
        best=table.index == best,
    )


def score_table(view: View) -> Table:
    """Return every score with its paired difference from the best."""
    table = compared(view)
    ranked = len(table) > 0 and bool(table["reliable"].any())
    best = str(table.index[table["best"]][0]) if ranked else ""
    errors = {name(view, *key): view.value(key[0], MONTE_CARLO.get(key[1], "")) for key in view.loo}
    rows = []
    for (method, route), elpd in view.loo.items():
        called = name(view, method, route)
        own = errors[called]
        both = (
            0.0 if called == best else math.hypot(*(e for e in (own, errors.get(best, math.nan)) if not math.isnan(e)))
        )
        rows.append(
            [
                name_cell(view, method),
                Cell(ROUTES[route]),
                Cell(f"{view.label(method)} itself" if route == "loo_refitted" else "the posterior"),
                error_cell(elpd.elpd, elpd.se),
                *([_difference(table, called, both)] if ranked else []),
                Cell(number(own, 2), own),
                Cell(number(elpd.p), elpd.p),
                _reliable(view, method, route, elpd),
            ]
        )
    head = [
        "method",
        "by",
        "density of",
        "elpd",
        *([f"difference from {best}"] if ranked else []),
        "Monte Carlo error",
        "p_loo",
        "reliable",
    ]
    differences = (
        " The difference is paired, point by point; its standard error leaves out the Monte Carlo error of the draws, which "
        "stands below it: methods that sample the same posterior differ by that alone"
    )
    none = " No score is reliable, so there is none to take differences from" if len(table) else ""
    caption = (
        "Leave-one-out log predictive density of all points (elpd), in nats, ± its standard error over the points."
        f"{differences if ranked else none}"
    )
    return Table(caption, head, rows, slug="loo")


def _difference(table: pd.DataFrame, called: str, monte_carlo: float) -> Cell:
    """The cell of a paired difference from the best, with the Monte Carlo error of both."""
    if called not in table.index or table["best"][called]:
        return Cell(DASH)
    difference, se = (float(table[column][called]) for column in ("elpd_diff", "dse"))
    note = f"Monte Carlo ± {number(monte_carlo, 2)}" if monte_carlo > 0 else ""
    return Cell(with_error(difference, se), difference, note=note)


def _reliable(view: View, method: str, route: str, elpd: Any) -> Cell:
    """Whether all k-hats are below the limit, how many are not, and what else speaks against a score."""
    if elpd.warning:
        above = int((elpd.pareto_k > elpd.good_k).sum())
        return Cell("✗ no", tone="bad", note=f"k-hat > {fixed(elpd.good_k, 2)} ({above})")
    if failed(view, method, route):
        return Cell("by k-hat alone", note="the draws failed their checks")
    if route == "loo_refitted" and (late := late_refits(view, method)):
        return Cell("not all", note=f"{late} of {elpd.n_data_points} refits not converged")
    return Cell("✓ yes", tone="good")


def khat_tables(view: View) -> list[Table]:
    """Return how many points have a k-hat in each band, and the points of the bad ones."""
    rows, bad = [], []
    for (method, route), elpd in view.loo.items():
        if elpd.pareto_k is None:
            continue
        khat, limit = elpd.pareto_k.values, elpd.good_k
        counts, _ = np.histogram(khat, [-np.inf, min(GOOD, limit), limit, VERY_BAD, np.inf])
        rows.append(
            [
                name_cell(view, method),
                Cell(ROUTES[route]),
                *(Cell(str(count), int(count)) for count in counts),
                _khat(float(khat.max()), elpd),
                Cell(fixed(limit, 2), limit),
            ]
        )
        worst = np.argsort(-khat, kind="stable")[:NAMED]
        bad += [(method, route, int(n), float(khat[n])) for n in worst if khat[n] > limit]
    if not rows:
        return []
    head = [
        "method",
        "by",
        "good (≤ 0.5)",
        "ok (≤ limit)",
        "bad (≤ 1)",
        "very bad (> 1)",
        "largest",
        "limit",
    ]
    caption = (
        "Points by the Pareto k-hat of their importance weights. Above the limit, 0.7 or less for few draws, a score is not to "
        "be relied on: the point moves the posterior far, or the draws come from a q that is far from it"
    )
    tables = [Table(caption, head, rows, slug="khat")]
    if bad:
        tables.append(bad_points(view, bad))
    return tables


def _khat(khat: float, elpd: Any) -> Cell:
    """A k-hat to two decimals, or as many as show on which side of its limit it lies, up to four."""
    above = khat > elpd.good_k
    places = next((d for d in (2, 3) if (round(khat, d) > elpd.good_k) == above), 4)
    return Cell(fixed(khat, places) if np.isfinite(khat) else number(khat), khat)


def bad_points(view: View, bad: list[tuple[str, str, int, float]]) -> Table:
    """Return the points whose k-hat is above the limit: method, route, number of the point, k-hat."""
    if not view.has_rows:
        rows = [
            [name_cell(view, method), Cell(ROUTES[route]), Cell(view.observed[n]), _khat(khat, view.loo[method, route])]
            for method, route, n, khat in bad
        ]
        caption = f"Observed values with a k-hat above the limit, the largest first, at most {NAMED} a score"
        return Table(caption, ["method", "by", "value", "k-hat"], rows, fold=len(rows) > FOLDED, slug="khat-points")
    x = view.data["x"].transpose("obs", "feature")
    shown = [str(name) for name in x["feature"].values][:MOST_FEATURES]
    place = view.data["row"].values if "row" in view.data else np.arange(x.sizes["obs"])
    body = [
        [
            name_cell(view, method),
            Cell(ROUTES[route]),
            Cell(str(place[n] + 1), int(place[n] + 1)),
            _khat(khat, view.loo[method, route]),
            *(_seen(view, name, float(v)) for name, v in zip(shown, x.values[n], strict=False)),
        ]
        for method, route, n, khat in bad
    ]
    some = f"; the first {len(shown)} of {x.sizes['feature']} features" if len(shown) < x.sizes["feature"] else ""
    which = f"the largest first, at most {NAMED} a score"
    caption = f"Points with a k-hat above the limit, {which}. Rows are counted from 1{some}"
    head = ["method", "by", "row", "k-hat", *shown]
    return Table(caption, head, body, fold=len(body) > FOLDED, slug="khat-points")


def _seen(view: View, feature: str, x: float) -> Cell:
    """The cell of a value: the name of a level, a number, a dash for a gap."""
    if math.isnan(x):
        return Cell(DASH)
    levels = view.manifest["model"]["levels"].get(feature)
    return Cell(short(x), x) if levels is None else Cell(levels[int(x)])


def figures(view: View) -> list[Figure]:
    """Return the differences and the k-hat of every point, drawn by ArviZ where it is in use anyway."""
    if not view.rich:
        return []
    from reports.plots.khat import plot_khat

    blocks = []
    table = compared(view)
    if len(table):
        table = table[table["reliable"] & (~table["failed"] | table["best"])]
    if len(table) > 1:
        from reports.plots.compare import plot_compare

        best = str(table.index[table["best"]][0])
        last, furthest = table.index[-1], fixed(float(table["elpd_diff"].iloc[-1]), 1)
        alt = f"Leave-one-out: {table.index[0]} is highest, {last} lowest with {furthest} nats from {best}"
        blocks.append(
            Figure(
                f"Leave-one-out difference of the reliable scores from {best}, with its standard error over the points. The "
                "Monte Carlo error is not in the bars.",
                [image(plot_compare(table.drop(columns=["reliable", "failed", "best"])), alt)],
                slug="loo-difference",
            )
        )
    pictures = [
        image(
            plot_khat(method, elpd, name(view, method, route)),
            f"Pareto k-hat of {name(view, method, route)}: largest {fixed(float(elpd.pareto_k.max()), 2)}, limit "
            f"{fixed(elpd.good_k, 2)}",
            raster=True,
        )
        for (method, route), elpd in view.loo.items()
        if elpd.pareto_k is not None
    ]
    caption = "Pareto k-hat of every point, in the order of the rows: above the line a score is not to be relied on."
    blocks.append(Figure(caption, pictures, slug="khat"))
    return blocks
