"""The page of an overfitting study: claim, design, measures, findings, and a figure with its table for each measure."""

from __future__ import annotations

import math
from collections.abc import Callable

from reports.page import overfit_systems
from reports.page.blocks import Bullets, Cell, Code, Facts, Figure, Notice, Section, Table, image, known, value
from reports.page.build import write
from reports.page.numbers import DASH, fixed, percent, with_error
from reports.page.overfit_discrete import boundary, boundary_measures
from reports.page.overfit_figures import add, difference_cell, simple
from reports.page.overfit_findings import findings, overlap, short_answer, simultaneous_words
from reports.page.overfit_view import NAMES, PANELS, View, as_number, missing
from reports.page.words import COMPLETE, listing, sentence
from reports.plots.overfit import plot_choices
from reports.studies.overfit import summary
from reports.studies.overfit.fits import TITLES
from reports.studies.overfit.study import Study
from reports.studies.overfit.summary import COVERAGES, SETTINGS


def render(study: Study, folder: str = "") -> str:
    """Return the report of a study as one self-contained HTML page; ``folder`` is where its cells are, for commands."""
    view = View(study)
    return write(view, sections(view, folder))


def sections(view: View, folder: str = "") -> list[Section]:
    """The sections of the page."""
    measured = [section for make in SECTIONS if (section := make(view)) is not None]
    return [*measured, failures(view, folder), design(view), measures(view), limits(view)]


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
        "All methods, K and priors are measured on the same replicates: replicate r of a truth is one data set, a smaller n "
        f"takes the {'last points before the test' if view.ordered else 'first points'} of a larger one, and all fits draw "
        "their starts from the same random numbers. Differences between methods are therefore paired.",
    )
    facts = [(sentence(NAMES[name]),
              ", ".join(x if isinstance(x, str) else f"{x:g}" for x in sorted(view.table[name].dropna().unique())))
             for name in SETTINGS]  # fmt: skip
    first = grid.cells[0]
    facts = [(name, text) for name, text in facts if text]
    facts += [
        ("Replicates", f"{grid.replicates} of each cell"),
        (
            "Test points",
            f"{fixed(first.test, 0)} that follow the fitted part of the same series"
            if view.ordered
            else f"{fixed(first.test, 0)} from a simulated truth; of a real data set all rows that are not fitted",
        ),
        ("Missing values", "none"),
        (
            "Starts",
            f"{first.restarts} for EM and CAVI, {'by canonical variates and at random' if view.linear else 'k-means++'}",
        ),
        *overfit_systems.design(view),
        (
            "Prior",
            "weak and conjugate, from each data set"
            if view.linear
            else f"the weak default from each data set ({listing(view.priors)}), Dirichlet(α) on the "
            f"{'start and on the transitions from each state' if view.ordered else 'weights'}",
        ),
        ("Seed", str(first.seed)),
    ]
    if ridge := max(cell.reg_covar for cell in grid.cells):
        facts.append(("Ridge of EM", f"{ridge:g} added to every variance"))
    if grid.without_mode:
        values = ", ".join(f"{alpha:g}" for alpha in grid.without_mode)
        facts.append(("Left out", f"MAP-EM at α = {values}: the posterior density has no mode for α below 1"))
    rows = [[Cell(view.label(m), method=m), Cell(TITLES[m])] for m in view.methods]
    section.blocks += [
        Facts(facts),
        Table("Methods", ["method", "density that is scored"], rows),
        Code(grid.text.strip(), "The grid"),
    ]
    return section


def measures(view: View) -> Section:
    """What each number is."""
    quantities = [*view.covered, *([] if view.linear else ["the largest weight"])]
    items = [
        "Test score (primary): mean log density of the test points, in nats a point. Loss: test score of the true density "
        "minus that of the fit on the same points, an estimate of [[kl|KL(truth ‖ fit)]].",
        *series_measures(view),
        "Gap: train score minus test score.",
        "Prior and averaging apart: CAVI is scored by its [[predictive|posterior predictive density]] and, as “plug-in”, by "
        "the density at its posterior mean. Plug-in minus EM is the effect of the prior; predictive minus plug-in is the "
        "effect of averaging over the posterior.",
        *boundary_measures(view),
        *([] if view.linear else ["Occupied clusters: expected number of clusters with at least one point."]),
        "[[frequentist-coverage|Coverage]]: share of central 95% intervals that contain the true value of a quantity without "
        f"labels: {listing(quantities)}. A point estimate has no "
        "intervals, and so no coverage.",
        *(
            overfit_systems.measures()
            if view.linear
            else [
                "Clusters: adjusted Rand index and calibration error of the responsibilities on test points of known class."
            ]
        ),
        "Failures are counted: a mean is over the replicates in which the method ended, with their number beside it; a paired "
        "difference is over those in which both methods ended; where wins are counted, a failed fit loses.",
        "± is half the width of a 95% interval (Student’s t over the replicates); shares have Wilson’s interval, medians one "
        "between two of the values, by the binomial distribution. An interval holds for one number; where settings are "
        "counted, the intervals are simultaneous over the whole study.",
    ]
    if overlap(view):
        items.append(overlap(view))
    return Section("measures", "Measures", "Of every fit, on its own data and on new data.", [Bullets(items)])


def series_measures(view: View) -> list[str]:
    """What a score of a series is."""
    if not view.ordered:
        return []
    return [
        "A point of a series is scored given all points before it, those of the fitted part too. The posterior is that of the "
        "fitted part throughout: its draws weigh the same at every test point, and nothing is learnt from the test."
        + ("" if view.linear else " Shares of states are those in the long run.")
    ]


def score(view: View) -> Section | None:
    """Test score against n."""
    section = Section(
        "score",
        "Test score against n",
        "Loss against the true density, in nats a point; for real data, whose density is unknown, the test score itself.",
    )
    known, real = view.known(True), view.known(False)
    mean = "median" if view.discrete else "mean"
    add(view, section, known, "n", "kl", "loss (nats a point)", log_y=True,
         caption="Loss against the number of points, both axes logarithmic; lower is better.")  # fmt: skip
    add(view, section, real, "n", "test", "test score (nats a point)",
         caption="Test score against the number of points, real data; higher is better.")  # fmt: skip
    rows = [
        [Cell(view.words(settings)), Cell(view.label(settings["other"]), method=settings["other"]),
         difference_cell(settings), value(settings["both"]), Cell(percent(settings["wins"]), settings["wins"])]
        for settings in view.differences.to_dict("records")
    ]  # fmt: skip
    if rows:
        section.blocks.append(
            Table(
                f"CAVI’s posterior predictive minus each other method: {mean} paired difference in test score, nats a point, "
                f"with its simultaneous 95% interval ({simultaneous_words(view)}); coloured where that excludes zero. "
                f"{overlap(view)}".strip(),
                ["setting", "other method", "difference", "pairs", "CAVI higher"],
                rows,
                fold=True,
            )
        )
    return section if section.blocks else None


def gap(view: View) -> Section | None:
    """Train minus test against n."""
    return simple(view, "gap", "Gap against n", "Train score minus test score: how much better a fit scores on its own data.",
                   "n", "gap", "train − test (nats a point)")  # fmt: skip


def against_k(view: View) -> Section | None:
    """Test score against fitted K."""
    section = Section(
        "k", "Test score against K", "Too few clusters cannot fit the true density, too many fit the noise."
    )
    add(view, section, view.known(True), "k", "kl", "loss (nats a point)", log_y=True, log_x=False,
         caption="Loss against the number of fitted clusters; lower is better. Dotted: the true number.")  # fmt: skip
    add(view, section, view.known(False), "k", "test", "test score (nats a point)", log_x=False,
         caption="Test score against the number of fitted clusters, real data; higher is better.")  # fmt: skip
    return section if section.blocks else None


def selection(view: View) -> Section | None:
    """How often each criterion chooses the true K, beside what the choice costs."""
    parts = [(part, summary.selection(part.table, as_number(part.settings["true_k"]))) for part in view.sweeps]
    parts = [(part, found) for part, found in parts if len(found)]
    if not parts:
        return None
    true = any(found["right"].notna().any() for _, found in parts)
    section = Section(
        "selection",
        "Choosing K",
        "On every replicate each criterion chooses among the fitted K: "
        f"{'AIC and BIC' if view.linear else 'AIC, BIC and ICL'} among the fits of EM, the ELBO among "
        "those of CAVI. A failed fit cannot be chosen. The loss of a choice is the best test score over K of the same method "
        "on the same replicate minus that of the choice. Choosing by the test score itself has no loss"
        f"{'; it shows how often the true K predicts best' if true else ''}.",
    )
    figure = plot_choices([(view.words(part.settings, "k"), found) for part, found in parts[:PANELS]])
    ruled_out = any(found["infinite"].any() for _, found in parts)
    caption = (
        "Share of replicates in which the true K is chosen, where there is one, and loss of the choice. Lines: 95% intervals. "
        "Hollow: choices by the test score, whose loss is 0."
        if true
        else "Loss of the choice. Lines: 95% intervals."
    )
    if len(parts) > PANELS:
        caption += f" The first {PANELS} of {len(parts)} settings; the table has all."
    if ruled_out:
        caption += " Losses are means over the choices with a finite test score; the table has the share of the others."
    section.blocks.append(
        Figure(
            caption,
            [image(figure, f"{'How often the true K is chosen, and the' if true else 'The'} loss of the choice")],
        )
    )
    ks = sorted({k for part, _ in parts for k in part.table["k"].dropna()})
    rows = []
    for part, found in parts:
        fitted = set(part.table["k"].dropna())
        for row in found.to_dict("records"):
            right = f"{percent(row['right'])} ({row['low']:.0%} to {row['high']:.0%})"
            shares = [_share(row["of"].get(k, 0) / row["total"] if k in fitted else None) for k in ks]
            rows.append(
                [Cell(view.words(part.settings, "k")), Cell(str(row["criterion"]), method=row["method"]),
                 Cell(DASH) if missing(row["right"]) else Cell(right, row["right"]),
                 Cell(with_error(row["loss"], row["loss_half"]), row["loss"]),
                 Cell(DASH) if missing(row["kl"]) else Cell(with_error(row["kl"], row["kl_half"]), row["kl"]),
                 *([_share(row["infinite"] / row["total"])] if ruled_out else []), *shares, _share(row["none"] / row["total"])]
            )  # fmt: skip
    columns = ["setting", "criterion", "true K chosen", "loss of the choice", "loss against the truth"]
    columns += ["infinite loss"] if ruled_out else []
    columns += [*(f"K\u00a0=\u00a0{k:g}" for k in ks), "no choice"]
    section.blocks.append(
        Table(
            "Choices by setting and criterion: losses in nats a point, and the share of replicates for each K",
            *known(columns, rows),
        )
    )
    return section


def collapse(view: View) -> Section | None:
    """Failed and nearly collapsed fits, and the smallest variance."""
    if view.linear:
        return overfit_systems.edges(view)
    section = Section(
        "collapse",
        "Collapse",
        f"The likelihood of a {'hidden Markov model' if view.ordered else 'mixture'} is unbounded: it grows without limit as "
        "the variance of a cluster on few points goes to zero. A prior on the covariances prevents this.",
    )
    fits = view.table[
        ~view.table["method"].isin(("oracle", "cavi-plugin", "single")) & view.table["covariance"].notna()
    ]
    if fits.empty:
        return None
    add(view, section, fits[fits["true_k"].notna()], "n", "near", "share nearly collapsed", share=True,
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
    columns = [
        "method",
        "n",
        "fits",
        "failed",
        "nearly collapsed",
        "median smallest variance",
        "lowest",
        "failed starts, mean",
    ]
    of_true = "; variances relative to the smallest true one"
    measured = fits["smallest_variance"].notna().any()
    section.blocks.append(
        Table(f"Collapse over all settings of one n{of_true if measured else ''}", *known(columns, rows))
    )
    return section


def occupied(view: View) -> Section | None:
    """Occupied clusters against alpha."""
    if view.ordered:
        return simple(
            view, "occupied", "Occupied clusters against α",
            "α is the concentration of the start and of each row of the transition matrix. Small values favour rows with few "
            "possible transitions, and superfluous states that are never visited.",
            "alpha", "occupied", "occupied clusters",
        )  # fmt: skip
    return simple(
        view, "occupied", "Occupied clusters against α",
        "As n grows, the posterior of a mixture with superfluous clusters empties them where α is below d/2 and spreads the "
        "points over all where it is above (Rousseau & Mengersen 2011); d is the number of free parameters of a cluster.",
        "alpha", "occupied", "occupied clusters",
    )  # fmt: skip


def coverage(view: View) -> Section | None:
    """Coverage against n."""
    section = Section(
        "coverage",
        "Coverage against n",
        "[[frequentist-coverage|Share of 95% intervals]] that contain the true value. Below the line at 95% the intervals are "
        "too narrow. The quantity with the lowest coverage comes first.",
    )
    for name in view.coverages["measure"].drop_duplicates():
        what = COVERAGES[str(name)]
        add(view, section, view.table, "n", name, "coverage", level=0.95, share=True,
             caption=f"Coverage of 95% intervals for {what}.")  # fmt: skip
    return section if section.blocks else None


def clusters(view: View) -> Section | None:
    """Recovery of the classes against n."""
    section = Section(
        "clusters",
        "Clusters",
        "Recovery of the classes of test points. The oracle knows the true parameters, not the classes.",
    )
    for measure, what in (
        ("ari", "Adjusted Rand index (1 is best)"),
        ("calibration_error", "Calibration error (0 is best)"),
    ):
        own = view.table[view.table["method"] != "single"]
        add(
            view,
            section,
            own,
            "n",
            measure,
            what[0].lower() + what[1:].split(" (")[0],
            share=True,
            caption=f"{what} against the number of points.",
        )
    return section if section.blocks else None


SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    claim, boundary, score, findings, gap, against_k, selection, collapse, occupied, coverage, clusters,
)  # fmt: skip


def failures(view: View, folder: str) -> Section:
    """The worst fits, each with the command that makes it again."""
    section = Section(
        "failures",
        "Worst fits",
        "Fits that failed or scored minus infinity, at most three of each method, then the fits with the largest loss against "
        "the true density or, on real data, against the best method on the same points.",
    )
    rows = []
    for row in summary.worst(view.table).to_dict("records"):
        why = row["failure"] if isinstance(row["failure"], str) else "–"
        lost = None if math.isnan(row["kl"]) else row["kl"]
        rows.append([Cell(f"{row['cell']}:{row['replicate']}"), Cell(view.label(row["method"]), method=row["method"]),
                     Cell(view.words(row)), value(row["test"]), value(lost), Cell(why)])  # fmt: skip
    columns = ["cell:replicate", "method", "setting", "test score", "loss", "failure"]
    section.blocks.append(Table("Worst fits", *known(columns, rows)))
    if rows:
        asked, name = view.manifest["asked"], rows[0][0].text
        again = f"mixtures overfit {asked} --cell {name}" if asked else f"result.again({name!r})"
        section.blocks.append(Code(again, "Measure one of them again, and print all its numbers"))
    if folder:
        section.blocks.append(
            Code(f"pandas.read_parquet({folder + '/cells'!r})", "All rows: one for each cell, replicate and method")
        )
    return section


def limits(view: View) -> Section:
    """What the page cannot say."""
    items = [
        COMPLETE,
        "The truths of a setting are drawn at random, and means are over them: one truth may behave otherwise.",
        "All methods but maximum likelihood use the default prior, whose scale comes from the data; only α is varied.",
        "A score’s mean or median is over the replicates in which the method ended; a failed fit has no score.",
        *(
            [
                "A few nearly collapsed fits move a mean log density and its t-interval; medians and counts of wins are robust."
            ]
            if view.table["covariance"].notna().any()
            else []
        ),
        *(
            [
                "The true P(stay), the probability that a state stays, is the same in all data sets and not drawn from the "
                "prior, whose mean is 1/K: a short series leaves the posterior near to that, and its intervals then miss. "
                "Where those of Gibbs sampling miss too, it is the prior."
            ]
            if view.ordered and not view.linear
            else []
        ),
        *(overfit_systems.limits() if view.linear else []),
        "A test score judges densities, not parameters or clusters; those have their own sections.",
    ]
    if overlap(view):
        items.append(overlap(view))
    return Section("limits", "Limits", "What this page cannot tell.", [Bullets(items)])


def _share(x: float | None) -> Cell:
    return Cell(DASH) if x is None else Cell(percent(x), x)
