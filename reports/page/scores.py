"""Scores: prediction, predictive checks, cluster recovery."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from reports.metrics.checks import DISCREPANCIES, EXTREME
from reports.page import quantities, uniformity
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image, value
from reports.page.cells import error_cell, name_cell
from reports.page.leave_one_out import leave_one_out
from reports.page.numbers import DASH, fixed, number, percent, with_error
from reports.page.pseudo_residuals import pseudo_residuals
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing

# Kinds of features whose values have an order, so that they have a distribution function.
ORDERED = ("gaussian", "poisson")

# Statistics that are drawn, and rows of a table that stands open.
PANELS = 9
FOLDED = 16

# Columns of which one statistic is extreme that are named.
MOST_NAMED = 3


def prediction(view: View) -> Section:
    """Train, held-out and leave-one-out scores."""
    given = ", given the rows before it" if view.ordered else ""
    sampled = view.manifest["data"].get("n_fitted") is not None
    section = Section(
        "prediction",
        "Prediction",
        f"Log predictive density per point{given}: higher is better, and differences within two standard errors say little. "
        "These scores judge prediction, not how faithful a posterior is.",
    )
    if not view.trees:
        return no_fit(section)
    heldout = view.has("heldout_log_density")
    if not heldout:
        section.blocks.append(
            Notice(
                "No held-out part was asked for (--test-fraction), so only training "
                f"{_left_out(view, sampled)}scores are shown."
            )
        )
    section.blocks += _impossible(view)
    section.blocks.append(_scores_figure(view))
    columns = {
        "train_log_density": "training",
        "train_log_difference": "difference",
        "heldout_log_density": "held out",
        "heldout_log_difference": "difference",
        "lfo_log_density": "leave-future-out",
        "lfo_log_difference": "difference",
    }
    shown = [metric for metric in columns if view.has(metric)]
    rows = [
        [name_cell(view, m), *(error_cell(view.value(m, metric), view.se(m, metric)) for metric in shown)]
        for m in [*view.trees, "oracle"]
        if any(not math.isnan(view.value(m, metric)) for metric in shown)
    ]
    words = (
        f" Differences are paired, method minus {view.label(view.base)}."
        if any("difference" in m for m in shown)
        else ""
    )
    section.blocks.append(
        Table(
            f"Scores ± standard error, in nats.{words}", ["method", *(columns[m] for m in shown)], rows, slug="scores"
        )
    )
    if view.ordered:
        section.blocks.append(
            Notice(
                "No row is left out of the middle of a sequence: its neighbours would tell most of it. A held-out part is the "
                "end of each sequence, predicted row by row from all that came before."
            )
        )
        section.blocks += leave_future_out(view)
    section.blocks += leave_one_out(view)
    return section


def _left_out(view: View, sampled: bool) -> str:
    """Return what other scores there are where nothing was held out."""
    if view.has("lfo_log_density"):
        return "and leave-future-out "
    return "" if view.ordered or sampled else "and leave-one-out "


def leave_future_out(view: View) -> list[Notice]:
    """Return how leave-future-out came about, and why a method has none."""
    found = view.manifest.get("leave_future_out") or {}
    ended = {m: f for m, f in found.items() if "fits" in f}
    said = [
        f"{view.label(m)} has no leave-future-out score: {f['missing']}." for m, f in found.items() if m not in ended
    ]
    if ended:
        first = next(iter(ended.values()))["first"]
        times = listing([f"{f['fits']} by {view.label(m)}" for m, f in ended.items()])
        how = (
            f"[[lfo|Leave-future-out]]: every row from step {first + 1} on is predicted from all rows before it, by a "
            "posterior that has seen these alone. Draws serve for later rows with importance weights, and the method is fitted "
            f"again where [[khat|k-hat]] says that these cannot be relied on. Fits made: {times}. Methods that take longer to "
            "fit have no such score."
        )
        if less := found.get("cavi", {}).get("less_gibbs"):
            how += (
                f" The score of {view.label('cavi')} less that of {view.label('gibbs')}, [[paired]] row by row: "
                f"{with_error(*less)} nats a row."
            )
        said = [how, *said]
    return [Notice(text) for text in said]


def _impossible(view: View) -> list[Notice]:
    """Return which methods give probability zero to points, so that their score is minus infinity."""
    said = []
    for part, words, n in (
        ("train", "points", view.manifest["data"]["n"]),
        ("heldout", "held-out points", view.manifest["data"]["n_heldout"]),
    ):
        for row in view.table(f"{part}_impossible").to_dict("records"):
            said.append(
                f"{view.label(row['method'])} gives probability zero to {row['value']:.0f} of {n} {words}: the score is minus "
                "infinity. A value that a cluster has not shown yet was estimated as impossible."
            )
    return [Notice(text, "warn") for text in said]


def _scores_figure(view: View) -> Figure:
    """Return the paired differences from the base, or the scores where there is no reference to pair with."""
    from reports.plots.scores import plot_scores

    paired = view.has("train_log_difference")
    what, words = ("difference", f", minus {view.label(view.base)}") if paired else ("density", "")
    dots = [
        {"method": m, "score": f"{part}{words}", "value": view.value(m, metric), "se": view.se(m, metric)}
        for metric, part in ((f"train_log_{what}", "training"), (f"heldout_log_{what}", "held out"))
        for m in [*view.trees, "oracle"]
        if math.isfinite(view.value(m, metric))
    ]
    alt = f"Mean log predictive density by method{words}"
    pictures = [image(plot_scores(pd.DataFrame(dots), "nats a point", zero=paired), alt)] if dots else []
    caption = f"Mean log predictive density per point{words}, with two standard errors to each side."
    if paired:
        caption += " Differences are paired, point by point, so that what all methods share drops out."
    return Figure(caption, pictures, slug="scores")


def checks(view: View) -> Section:
    """Posterior predictive checks."""
    section = Section(
        "checks",
        "Predictive checks",
        "Data sets simulated from each fit should look like the data. Where those of all methods differ from them alike, the "
        "model, not the method, is at fault.",
    )
    if not view.trees:
        return no_fit(section)
    section.blocks += statistics_blocks(view)
    if view.ordered:
        section.blocks += pseudo_residuals(view)
    if not view.rich:
        section.blocks.append(
            Notice(
                "Distribution functions and LOO-PIT are drawn when an MCMC method, or two methods that give draws, are part of "
                "the comparison."
            )
        )
        return section
    from reports.plots.predictive import plot_predictive

    checked = {m: t for m, t in view.trees.items() if m in view.posteriors and "posterior_predictive" in t}
    if checked and set(ORDERED) & set(view.kinds.values()):
        pictures = [
            image(
                plot_predictive(m, quantities.by_feature(t, [f for f, kind in view.kinds.items() if kind in ORDERED])),
                f"Posterior predictive check of {view.label(m)}",
                raster=True,
            )
            for m, t in checked.items()
        ]
        section.blocks.append(
            Figure(
                "Observed distribution function (thick) over those of 40 simulated data sets, feature by feature. A point "
                "estimate is not shown.",
                pictures,
                slug="ecdf",
            )
        )
    sampled = [m for m, route in view.loo if route == "loo" and "pit" in view.trees[m]["loo"].to_dataset()]
    if sampled:
        section.blocks.append(_loo_pit(view, sampled))
    return section


def _loo_pit(view: View, methods: list[str]) -> Figure:
    """Leave-one-out probability integral transforms, less uniform ones, with the band of these."""
    from reports.plots.loo_pit import plot_loo_pit

    pointwise = {m: view.trees[m]["loo"].to_dataset()[["pit"]].dropna("obs") for m in methods}
    band = uniformity.pit_band(next(iter(pointwise.values()))["pit"].sizes["obs"])
    left = {m: uniformity.outside(found["pit"], band) for m, found in pointwise.items()}
    seen = "; ".join(f"{view.label(m)} leaves it in {listing(names)}" for m, names in left.items() if names)
    pictures = [
        image(
            plot_loo_pit(m, quantities.loo_pit(found), band),
            f"LOO-PIT of {view.label(m)} by feature: {'outside the band in ' + listing(left[m]) if left[m] else 'in the band'}",
        )
        for m, found in pointwise.items()
    ]
    return Figure(
        "LOO-PIT: the probability that the distribution predicted from all other points gives to values up to the point's own. "
        "Where the model is right the values are uniform, and the line stays in the grey band with probability "
        f"{percent(uniformity.LEVEL)}. {seen or 'Here every line does'}. Marked points are those that speak against "
        "uniformity, and p is that of ArviZ's test, which allows for dependence between points.",
        pictures,
        slug="loo-pit",
    )


def statistics_blocks(view: View) -> list:
    """Posterior predictive p-values of label-free statistics, and the replicated ones beside the observed."""
    p = view.table("ppc_p")
    if p.empty:
        return []
    from reports.plots.checks import plot_checks

    labels = {
        m: view.label(m) + (" plug-in" if m in view.points else "") for m in view.trees if "checks" in view.trees[m]
    }
    table = quantities.replicated_quantiles(view.trees)
    observed = table.drop_duplicates("statistic").set_index("statistic")["observed"]
    values = p.pivot(index="target", columns="method", values="value").reindex(index=observed.index)
    most_extreme = values.where(values < 0.5, 1 - values).min(axis=1).nsmallest(PANELS).index
    drawn = table[table["statistic"].isin(most_extreme)]
    of_parameters = {name: f"{name}, less the data's" for name in DISCREPANCIES}
    shown = drawn.assign(label=drawn["method"].map(labels), statistic=drawn["statistic"].replace(of_parameters))
    which = f"The {PANELS} most extreme of {len(observed)} statistics" if len(observed) > PANELS else "Statistics"
    head = ["statistic", "observed", *labels.values()]
    rows = [
        [
            Cell(name),
            value(math.nan if name in DISCREPANCIES else observed[name]),
            *(_tail_area(view, method, name) for method in labels),
        ]
        for name in values.index
    ]
    own = [name for name in DISCREPANCIES if name in set(drawn["statistic"])]
    depend = "depends" if len(own) == 1 else "depend"
    beyond = (
        f" Of {listing(own)}, which {depend} on the draw's parameters, the replicate's less the data's is drawn: the line is "
        "at zero."
        if own
        else ""
    )
    failures = _failures(view, values, p.pivot(index="target", columns="method", values="se"))
    blocks: list = [failures]
    blocks.append(
        Figure(
            f"{which} of replicated data sets: median, half of them (thick) and 98% of them (thin), beside the data's (upright "
            f"line). A p-value is extreme where the line leaves the thin part.{beyond}",
            [
                image(
                    plot_checks(shown), f"Statistics of replicated data sets beside those of the data. {failures.text}"
                )
            ],
            slug="checks",
        )
    )
    blocks.append(
        Table(
            "Posterior predictive p-values: the share of replicated data sets with a larger statistic than the data's, a tie "
            f"being half. Monte Carlo error at most {fixed(p['se'].max(), 3)}.",
            head,
            rows,
            fold=len(rows) > FOLDED,
            slug="checks",
        )
    )
    plug_in = (
        " A point estimate replicates from its one set of parameters (plug-in), without their uncertainty."
        if view.points
        else ""
    )
    blocks.append(
        Notice(
            "The fit has seen the data it is checked against: under the true model these p-values gather around 0.5 and are "
            f"not uniform, so that one below {EXTREME} or above {1 - EXTREME} says more than a test's, and one in between "
            f"says less.{plug_in}"
        )
    )
    return blocks


def tail_words(p: float) -> str:
    """A tail area to two decimals, and to three where it is near `EXTREME`."""
    return fixed(p, 2 if 2 * EXTREME < p < 1 - 2 * EXTREME else 3)


def _tail_area(view: View, method: str, name: str) -> Cell:
    """A p-value's cell; an extreme one has its error and says how far the data lie from the mean replicate."""
    p = view.value(method, "ppc_p", name)
    if math.isnan(p):
        return Cell(DASH)
    distance = view.value(method, "ppc_distance", name)
    if EXTREME <= p <= 1 - EXTREME or math.isnan(distance):
        return Cell(tail_words(p), p)
    side = "above" if distance > 0 else "below"
    error = fixed(view.se(method, "ppc_p", name), 3)
    return Cell(f"✗ {fixed(p, 3)}", p, tone="bad", note=f"± {error}, {number(abs(distance), 2)} sd {side}")


def _failures(view: View, p: pd.DataFrame, se: pd.DataFrame) -> Notice:
    """Which p-values (statistic, method) are extreme: for all methods, for some of them, or hardly."""
    tail, se = p.where(p < 0.5, 1 - p), se.reindex_like(p)
    extreme, clear = tail < EXTREME, (tail - 2 * se > EXTREME).any(axis=1)
    shared = extreme.any(axis=1) & ~clear & (tail.median(axis=1) < EXTREME)
    words = []
    if shared.any():
        names = _in_short(list(p.index[shared]))
        words.append(f"No method makes data like these in {names}: there the model fails, not a method.")
    alone = {m: tuple(p.index[extreme[m] & clear]) for m in view.trees if m in p}
    for failed in dict.fromkeys(own for own in alone.values() if own):
        who = [view.label(m) for m, own in alone.items() if own == failed]
        fail = "fail" if len(who) > 1 else "fails"
        words.append(f"{listing(who)} {fail} in {_in_short(failed)}, and not all others do.")
    if (hardly := extreme.any(axis=1) & ~clear & ~shared).any():
        words.append(f"Extreme for some, but by no more than Monte Carlo error: {_in_short(list(p.index[hardly]))}.")
    if not words:
        few = "The only statistic is not" if len(p) == 1 else f"Of {len(p)} statistics none is"
        return Notice(f"{few} extreme for any method.", tone="good")
    return Notice(" ".join(words), tone="warn")


def _in_short(names: Sequence[str]) -> str:
    """Statistics by name; of many that are the same statistic of different columns, how many and the first of them.

    >>> _in_short(["share[a]", "share[b]", "share[c]", "share[d]", "sd"])
    'share (4 times, first share[a]) and sd'
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("[")[0], []).append(name)
    said = []
    for statistic, own in groups.items():
        said += own if len(own) <= MOST_NAMED else [f"{statistic} ({len(own)} times, first {own[0]})"]
    return listing(said)


def recovery(view: View) -> Section | None:
    """Cluster recovery, or None where no classes are known."""
    if not view.manifest["data"]["n_classes"]:
        return None
    section = Section(
        "recovery",
        "Cluster recovery",
        "How well the clusters match the known classes. The oracle, where there is one, knows the true parameters: "
        "nobody can be expected to beat it by more than chance.",
    )
    columns = {
        "ari": "adjusted Rand",
        "ami": "adjusted mutual information",
        "accuracy": "matched accuracy",
        "brier": "Brier score (0 is best)",
        "log_score": "log score",
        "calibration_error": "calibration error (0 is best)",
    }
    if not view.trees:
        return no_fit(section)
    rows = [
        [
            name_cell(view, m),
            Cell(words),
            *(error_cell(view.value(m, metric + of), view.se(m, metric + of)) for metric in columns),
        ]
        for m in [*view.trees, "oracle"]
        for of, words in (
            ("", "one set of parameters" if m in (*view.points, "oracle") else "mean over draws"),
            ("_qz", "q(z)"),
        )
        if any(not math.isnan(view.value(m, metric + of)) for metric in columns)
    ]
    factorised = any(row[1].text == "q(z)" for row in rows)
    words = (
        ". Those by q(z) are surer: they leave out what is not known of the parameters, and are not to be set beside other rows"
        if factorised
        else ""
    )
    section.blocks.append(
        Table(
            f"Agreement of the clusters with the known classes, by the responsibilities given{words}",
            ["method", "responsibilities", *columns.values()],
            rows,
            slug="recovery",
        )
    )
    return section
