"""The page of an overfitting study: claim, design, measures, what was found, and a figure with its table for each measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.page.blocks import Bullets, Cell, Code, Facts, Figure, Notice, Section, Table, image, value
from reports.page.build import write
from reports.page.numbers import DASH, fixed, percent, with_error
from reports.page.overfit_findings import findings, short_answer
from reports.page.overfit_view import NAMES, PANELS, View, as_number, half_free, missing
from reports.plots.overfit import Panel, plot_choices, plot_curves
from reports.studies.overfit import summary
from reports.studies.overfit.fits import TITLES
from reports.studies.overfit.study import Study
from reports.studies.overfit.summary import SETTINGS, Slice

if TYPE_CHECKING:
    import matplotlib.figure


def render(study: Study, folder: str = "") -> str:
    """Return the report of a study as one self-contained HTML page; ``folder`` is where its cells are, for commands."""
    view = View(study)
    sections = [section for make in SECTIONS if (section := make(view)) is not None]
    return write(view, [*sections, failures(view, folder), limits(view)])


def claim(view: View) -> Section:
    """What is claimed, and the short answer."""
    section = Section("claim", "Claim", view.grid.claim)
    section.blocks.append(Notice(short_answer(view), "info"))
    return section


def design(view: View) -> Section:
    """The grid."""
    grid = view.grid
    section = Section(
        "design",
        "Design",
        "Every combination below was measured on the same replicates: replicate r of a truth is one data set for all methods, "
        "K and priors, its smaller sizes are the first points of the larger, and all fits of it draw their starts from one "
        "source. Differences between methods are therefore paired.",
    )
    facts = [(NAMES[name].capitalize() if name in ("truth", "separation", "imbalance", "covariance") else NAMES[name],
              ", ".join(x if isinstance(x, str) else f"{x:g}" for x in sorted(view.table[name].dropna().unique())))
             for name in SETTINGS]  # fmt: skip
    first = grid.cells[0]
    facts = [(name, text) for name, text in facts if text]
    facts += [
        ("Replicates", f"{grid.replicates} of each cell"),
        ("Test", f"{fixed(first.test, 0)} points from a simulated truth; of a data set all rows that are not fitted"),
        ("Starts", f"{first.restarts} of EM and CAVI, k-means++"),
        ("Prior", "the weak default from each data set (Fraley & Raftery 2007), Dirichlet(α) on the weights"),
        ("Seed", str(first.seed)),
    ]
    if grid.without_mode:
        values = ", ".join(f"{alpha:g}" for alpha in grid.without_mode)
        facts.append(("Left out", f"MAP-EM at α = {values}: below 1 the posterior density has no mode"))
    rows = [[Cell(view.label(m), method=m), Cell(TITLES[m])] for m in view.methods]
    section.blocks += [
        Facts(facts),
        Table("Methods", ["method", "the density that is scored"], rows),
        Code(grid.text.strip(), "The grid"),
    ]
    return section


def measures(view: View) -> Section:
    """What each number is."""
    items = [
        "Test score (primary): mean log density of the test points, nats a point. Loss: how far it is below that of the true "
        "density on the same points, which estimates the divergence KL(truth ‖ fit).",
        "Gap: train score minus test score.",
        "Regularisation and averaging: CAVI is scored by its posterior predictive and, as “plug-in”, by the density at its "
        "posterior mean. Plug-in minus ML-EM is what the prior does; predictive minus plug-in is what averaging over the "
        "posterior adds.",
        "Smallest variance: of a fitted cluster in any direction, over the smallest true one. A fit fails when every start "
        f"collapses; it has all but collapsed when the ratio is below {summary.COLLAPSED:g}.",
        "Occupied clusters: the expected number of clusters with at least one point.",
        "Coverage: share of central 95% intervals that hold the truth, for quantities that need no labels: the mean and the "
        "variance of each feature, the log density at 20 test points, the largest weight. A point estimate has no intervals, "
        "and none are shown.",
        "Clusters: adjusted Rand index and calibration error of the responsibilities on test points of known class.",
        "Failures are counted and never dropped: a mean is over the replicates that ended, their number beside it; a paired "
        "difference is over those in which both ended; in the share of wins, who failed has lost.",
        "± is half a 95% interval (Student’s t over the replicates); shares have Wilson’s.",
    ]
    return Section(
        "measures", "What was measured", "Of every fit, on the data it saw and on data it did not.", [Bullets(items)]
    )


def score(view: View) -> Section | None:
    """Test score against n."""
    section = Section(
        "score",
        "Test score against n",
        "How far the test score lies below that of the true density, in nats a point; for real data, the test score itself.",
    )
    known, real = view.known(True), view.known(False)
    _add(view, section, known, "n", "kl", "loss (nats a point)", log_y=True,
         caption="Loss against the number of points, both axes logarithmic.")  # fmt: skip
    _add(view, section, real, "n", "test", "test score (nats a point)",
         caption="Test score against the number of points, real data.")  # fmt: skip
    rows = [
        [Cell(view.words(settings)), Cell(view.label(settings["other"]), method=settings["other"]),
         _difference(settings), value(settings["both"]), Cell(percent(settings["wins"]), settings["wins"])]
        for settings in view.differences.to_dict("records")
    ]  # fmt: skip
    if rows:
        section.blocks.append(
            Table(
                "CAVI’s predictive minus each other method: paired difference in test score, nats a point",
                ["setting", "other method", "difference", "pairs", "CAVI wins"],
                rows,
                fold=True,
            )
        )
    return section if section.blocks else None


def gap(view: View) -> Section | None:
    """Train minus test against n."""
    return _simple(view, "gap", "Gap against n", "Train score minus test score: what a method believes beyond what is there.",
                   "n", "gap", "train − test (nats a point)")  # fmt: skip


def against_k(view: View) -> Section | None:
    """Test score against fitted K."""
    section = Section(
        "k", "Test score against K", "Too few clusters cannot follow the truth, too many follow the noise."
    )
    _add(view, section, view.known(True), "k", "kl", "loss (nats a point)", log_y=True, log_x=False,
         caption="Loss against the number of fitted clusters; the dotted line is the true number.")  # fmt: skip
    _add(view, section, view.known(False), "k", "test", "test score (nats a point)", log_x=False,
         caption="Test score against the number of fitted clusters, real data.")  # fmt: skip
    return section if section.blocks else None


def selection(view: View) -> Section | None:
    """How often each criterion chooses the true K, beside what the choice costs."""
    section = Section(
        "selection",
        "Choosing K",
        "On every replicate each criterion chooses among the fitted K: AIC, BIC and ICL among the fits of EM, the ELBO among "
        "those of CAVI. A fit that failed cannot be chosen. The loss of a choice is how far its test score is below the best "
        "over K by the same method on the same replicate; who chooses by the test score itself has none, and shows how often "
        "the true K predicts best.",
    )
    parts = [(part, summary.selection(part.table, as_number(part.settings["true_k"]))) for part in view.sweeps]
    parts = [(part, found) for part, found in parts if len(found)]
    if not parts:
        return None
    figure = plot_choices([(view.words(part.settings, "k"), found) for part, found in parts[:PANELS]])
    caption = (
        "Left: share of replicates in which the true K is chosen. Right: loss of the choice. Both with 95% intervals."
    )
    if len(parts) > PANELS:
        caption += f" The first {PANELS} of {len(parts)} settings; the table has all."
    section.blocks.append(
        Figure(caption, [image(figure, "How often the true K is chosen, and the loss of the choice")])
    )
    ks = sorted({k for part, _ in parts for k in part.table["k"].dropna()})
    rows = []
    for part, found in parts:
        fitted = set(part.table["k"].dropna())
        for row in found.to_dict("records"):
            right = f"{row['right']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
            shares = [_share(row["of"].get(k, 0) / row["total"] if k in fitted else None) for k in ks]
            rows.append(
                [Cell(view.words(part.settings, "k")), Cell(str(row["criterion"]), method=row["method"]),
                 Cell(DASH) if missing(row["right"]) else Cell(right, row["right"]),
                 Cell(with_error(row["loss"], row["loss_half"]), row["loss"]),
                 Cell(DASH) if missing(row["kl"]) else Cell(with_error(row["kl"], row["kl_half"]), row["kl"]),
                 *shares, _share(row["none"] / row["total"])]
            )  # fmt: skip
    columns = ["setting", "criterion", "true K chosen", "loss of the choice", "loss against the truth"]
    columns += [*(f"K\u00a0=\u00a0{k:g}" for k in ks), "no choice"]
    section.blocks.append(
        Table("Choices by setting and criterion, losses in nats a point, shares of replicates", columns, rows)
    )
    return section


def collapse(view: View) -> Section | None:
    """Failures, near collapses and the smallest variance."""
    section = Section(
        "collapse",
        "Collapse",
        "The likelihood of a mixture has no maximum: a cluster on few points wants no variance at all. A prior forbids it.",
    )
    fits = view.table[~view.table["method"].isin(("oracle", "cavi-plugin", "single"))]
    _add(view, section, fits[fits["true_k"].notna()], "n", "near", "share all but collapsed", share=True,
         caption=f"Share of fits with a variance below {summary.COLLAPSED:g} of the smallest true one.")  # fmt: skip
    rows = []
    for method, n in sorted(
        {*zip(fits["method"], fits["n"], strict=True)}, key=lambda one: (view.methods.index(one[0]), one[1])
    ):
        own = fits[(fits["method"] == method) & (fits["n"] == n)]
        ended = own["smallest_variance"].dropna()
        rows.append(
            [Cell(view.label(str(method)), method=str(method)), value(n), value(len(own)), value(own["failed"].sum()),
             Cell(percent(own["near"].mean()), own["near"].mean()) if len(ended) else value(None),
             value(ended.median() if len(ended) else None), value(ended.min() if len(ended) else None),
             value(own["starts_collapsed"].mean())]
        )  # fmt: skip
    columns = ["method", "n", "fits", "failed", "all but collapsed", "median smallest variance", "least", "starts lost"]
    section.blocks.append(
        Table("Over all settings with this n; variances relative to the smallest true one", columns, rows)
    )
    return section


def occupied(view: View) -> Section | None:
    """Occupied clusters against alpha."""
    return _simple(
        view, "occupied", "Occupied clusters against α",
        "With clusters to spare, a posterior empties them where α is below d/2 and shares the points among all where it is "
        "above (Rousseau & Mengersen 2011, as n grows); d is the number of free parameters of a cluster.",
        "alpha", "occupied", "occupied clusters",
    )  # fmt: skip


def coverage(view: View) -> Section | None:
    """Coverage against n."""
    section = Section(
        "coverage",
        "Coverage against n",
        "Share of 95% intervals that hold the truth; the line is at 95%. Below it, intervals are too short.",
    )
    words = {"density": "the density at a point", "mean": "a feature’s mean", "variance": "a feature’s variance",
             "weight": "the largest weight"}  # fmt: skip
    for name, what in words.items():
        _add(
            view,
            section,
            view.table,
            "n",
            f"cover_{name}",
            "coverage",
            level=0.95,
            share=True,
            caption=f"Intervals for {what}.",
        )
    return section if section.blocks else None


def clusters(view: View) -> Section | None:
    """Recovery of the classes against n."""
    section = Section(
        "clusters",
        "Clusters",
        "Test points of known class. The oracle knows the parameters, not the classes.",
    )
    for measure, what in (
        ("ari", "Adjusted Rand index (1 is best)"),
        ("calibration_error", "Calibration error (0 is best)"),
    ):
        own = view.table[view.table["method"] != "single"]
        _add(
            view,
            section,
            own,
            "n",
            measure,
            what.split(" (")[0].lower(),
            share=True,
            caption=f"{what} against the number of points.",
        )
    return section if section.blocks else None


SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    claim, design, measures, findings, score, gap, against_k, selection, collapse, occupied, coverage, clusters,
)  # fmt: skip


def failures(view: View, folder: str) -> Section:
    """The worst fits, each with the command that makes it again."""
    section = Section(
        "failures",
        "Worst fits",
        "Fits that failed, three of each method at most, then those that lost most against the oracle or, on real data, "
        "against the best method on the same points.",
    )
    rows = []
    for row in summary.worst(view.table).to_dict("records"):
        why = row["failure"] if isinstance(row["failure"], str) else "–"
        lost = None if math.isnan(row["kl"]) else row["kl"]
        rows.append([Cell(f"{row['cell']}:{row['replicate']}"), Cell(view.label(row["method"]), method=row["method"]),
                     Cell(view.words(row)), value(row["test"]), value(lost), Cell(why)])  # fmt: skip
    columns = ["cell:replicate", "method", "setting", "test score", "loss", "failure"]
    section.blocks.append(Table("Worst fits", columns, rows))
    if rows:
        which = view.manifest["asked"]
        again = f"mixtures overfit {which} --cell {rows[0][0].text}"
        section.blocks.append(Code(again, "Measure one of them alone, with all its numbers"))
    if folder:
        section.blocks.append(
            Code(f"pandas.read_parquet({folder + '/cells'!r})", "All rows, one a cell, replicate and method")
        )
    return section


def limits(view: View) -> Section:
    """What the page cannot say."""
    items = [
        "The truths are drawn at random under each setting; a mean is over them, and a single truth may behave otherwise.",
        "All methods but maximum likelihood use the default prior, whose scale comes from the data; only α was varied.",
        "EM’s mean score is over the replicates in which it ended; those in which it failed would only lower it.",
        "Means of log densities are moved by a few fits that all but collapsed; the medians and the share of wins are not.",
        "A test score judges densities, not parameters or clusters; those have their own sections.",
    ]
    return Section("limits", "Limits", "What this page cannot tell.", [Bullets(items)])


def _with_interval(row: Mapping[Any, Any], measure: str) -> str:
    if measure in summary.SHARES:
        return f"{row['mean']:.1%} ({row['low']:.0%} to {row['high']:.0%})"
    return with_error(row["mean"], row["high"] - row["mean"])


def _simple(view: View, id: str, title: str, lead: str, along: str, measure: str, ylabel: str) -> Section | None:
    section = Section(id, title, lead)
    _add(view, section, view.table, along, measure, ylabel, caption=f"{title}, with 95% bands.")
    return section if section.blocks else None


def _add(
    view: View,
    section: Section,
    table: pd.DataFrame,
    along: str,
    measure: str,
    ylabel: str,
    *,
    caption: str,
    **draw: Any,
) -> None:
    """Append a figure and its table, where there is something to show."""
    shown = table[table["method"] != "oracle"] if measure in ("kl", "gap", "occupied") else table
    if measure == "occupied":
        shown = shown[~shown["method"].isin(("single", "cavi-plugin"))]
    parts = [
        (part, curves)
        for part in summary.slices(shown, along)
        if (curves := summary.curve(part.table, along, measure))["x"].nunique() > 1
    ]
    if not parts:
        return
    panels = [_panel(view, part, curves, along) for part, curves in parts[:PANELS]]
    more = f" The first {PANELS} of {len(parts)} slices; the table has all." if len(parts) > PANELS else ""
    figure: matplotlib.figure.Figure = plot_curves(panels, NAMES[along], ylabel, **{"log_x": along != "k"} | draw)
    hollow = any((panel.curves["count"] < panel.curves["total"]).any() for panel in panels)
    note = " Hollow marks: some replicates failed, or the number did not exist." if hollow else ""
    section.blocks.append(Figure(caption + more + note, [image(figure, f"{ylabel} against {NAMES[along]}")]))
    rows = [
        [Cell(view.words(part.settings, along)), Cell(view.label(row["method"]), method=row["method"]), value(row["x"]),
         Cell(_with_interval(row, measure), row["mean"]), value(row["median"]),
         Cell(f"{row['count']} of {row['total']}", row["count"])]
        for part, curves in parts
        for row in curves.to_dict("records")
    ]  # fmt: skip
    columns = ["setting", "method", NAMES[along], "mean", "median", "replicates"]
    section.blocks.append(
        Table(f"The same as a table: {ylabel} by method and {NAMES[along]}", columns, rows, fold=True)
    )


def _panel(view: View, part: Slice, curves: pd.DataFrame, along: str) -> Panel:
    mark, name = None, ""
    true = part.settings.get("true_k")
    if along == "k" and not missing(true):
        mark, name = float(true), "true K"  # type: ignore[arg-type]
    if along == "alpha":
        mark, name = half_free(part.settings), "d/2"
    return Panel(view.words(part.settings, along), curves, mark, name)


def _difference(settings: Mapping[Any, Any]) -> Cell:
    tone = {1: "good", -1: "bad", 0: ""}[int(settings["decided"])]
    return Cell(with_error(settings["mean"], settings["half"]), settings["mean"], tone=tone)


def _share(x: float | None) -> Cell:
    return Cell(DASH) if x is None else Cell(f"{x:.0%}", x)
