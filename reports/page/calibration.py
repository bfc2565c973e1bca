"""The page of a calibration: verdict, coverage, ranks, sides, runs, settings, limits."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from reports.page.blocks import (
    Bullets,
    Card,
    Cards,
    Cell,
    Code,
    Facts,
    Figure,
    Notice,
    Section,
    State,
    Table,
    Use,
    image,
    value,
)
from reports.page.build import write
from reports.page.cells import share, time_cell
from reports.page.numbers import DASH, number, percent
from reports.page.view import COVARIANCES
from reports.page.words import listing, short, symbols
from reports.plots import style
from reports.studies.calibration import judgement
from reports.studies.calibration.judgement import Band, covered, ecdf
from reports.studies.calibration.posteriors import GIBBS, NUTS, RUNS
from reports.studies.calibration.prior import LEVELS
from reports.studies.calibration.study import FEWEST, Calibration
from reports.studies.intervals import wilson, wilson_of_means

ALPHA = 0.05

KINDS = {
    "em": "bootstrap intervals, no posterior",
    "cavi": "variational posterior",
    "advi": "variational posterior",
    "advi-fullrank": "variational posterior",
    "gibbs": "MCMC draws",
    "nuts": "MCMC draws",
    "exact": "exact posterior",
}
VARIATIONAL = [method for method, kind in KINDS.items() if kind.startswith("variational")]

MEANINGS = {
    "log likelihood": "log p(x | π, θ) of all rows, in nats",
    "log density at the centre": "log p(x* | π, θ) of a point x* at the location m0 of the prior",
    "mean of x…": "mean of one feature over the mixture, Σ_k π_k μ_kd",
    "log det of the covariance": "log determinant of the mixture's whole covariance",
    "log det of the tightest cluster": "smallest log determinant among the clusters' covariances",
    "largest weight, smallest weight": "of the K weights",
    "share of pairs together": "probability that two rows share a cluster, on average over all pairs",
    "occupied clusters": "expected number of clusters with a row in them",
    "entropy of the weights": "−Σ_k π_k log π_k",
}


class CalibrationView:
    """A calibration with everything that is worked out from its ranks."""

    def __init__(self, calibration: Calibration) -> None:
        self.settings, self.manifest, self.table = calibration.settings, calibration.manifest, calibration.table
        self.methods = list(self.settings.methods)
        self.simulations = calibration.simulations
        self.quantities = [str(q) for q in self.table["quantity"].unique()]
        self.ranks: dict[str, pd.DataFrame] = {}
        for method in self.methods:
            rows = self.table[(self.table["method"] == method) & self.table["rank"].notna()]
            if len(rows):
                wide = rows.pivot(index="simulation", columns="quantity", values="rank")
                self.ranks[method] = wide[self.quantities].astype(int)
        self._bands: dict[int, Band] = {}

    name = "Calibration"

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        s = self.settings
        clusters = f"{s.n_components} cluster{'s' if s.n_components > 1 else ''}"
        return (
            f"{self.simulations} data sets of {s.n} points in {s.dimension}-D, drawn with their parameters from the prior of a "
            f"Gaussian mixture of {clusters} with {COVARIANCES[s.covariance]}: how often do the intervals of "
            f"{listing([self.label(m) for m in self.methods])} hold the truth?"
        )

    def label(self, method: str) -> str:
        """A method's short name, the one on the figures."""
        return style.look(method).label

    def colour(self, method: str) -> str:
        """A method's colour, the one on the figures."""
        return style.look(method).colour

    def rng(self) -> np.random.Generator:
        """Random numbers for tests, the same for every page of this calibration."""
        return np.random.default_rng(self.settings.seed)

    def band(self, method: str) -> Band:
        """The band of as many uniform ranks as the method has."""
        S = len(self.ranks[method])
        if S not in self._bands:
            self._bands[S] = Band.of(S, self.settings.draws, self.rng())
        return self._bands[S]

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """p-values of uniform ranks, quantity by method."""
        return pd.DataFrame(
            {m: {q: self.band(m).p_value(r[q].to_numpy()) for q in self.quantities} for m, r in self.ranks.items()}
        )

    @cached_property
    def symmetry(self) -> pd.DataFrame:
        """p-values of symmetry, quantity by variational method."""
        L = self.settings.draws
        return pd.DataFrame(
            {
                m: {q: judgement.symmetry(r[q].to_numpy(), L, self.rng()) for q in self.quantities}
                for m, r in self.ranks.items()
                if m in VARIATIONAL
            }
        )

    def overall(self, method: str, level: float) -> tuple[float, float, float]:
        """Coverage over all quantities with its 95% interval, by the spread over simulations of their shares covered."""
        return wilson_of_means(covered(self.ranks[method].to_numpy(), self.settings.draws, level).mean(1))

    def held(self, method: str, quantity: str, level: float) -> tuple[float, float, float]:
        """Coverage of one quantity with Wilson's 95% interval."""
        inside = covered(self.ranks[method][quantity].to_numpy(), self.settings.draws, level)
        return float(inside.mean()), *wilson(float(inside.mean()), len(inside))

    def failed(self, method: str) -> int:
        """In how many simulations the method failed."""
        return self.simulations - len(self.ranks.get(method, ()))

    def intervals(self, method: str) -> tuple[bool | None, str]:
        """Whether 95% intervals hold 95% of the truths, and how many they hold."""
        level = LEVELS[-1]
        mean, low, high = self.overall(method, level)
        held = f"95% intervals hold {percent(mean)} of the truths ({number(100 * low)} to {percent(high)})"
        if len(self.ranks[method]) < FEWEST:
            return None, held
        if low <= level <= high:
            return True, f"{held}, as they should"
        if high < level:
            return (
                False,
                f"overconfident: {held} and miss {number((1 - mean) / (1 - level), 2)} times as often as they state",
            )
        return False, f"too wide: {held}"

    def posterior(self, method: str) -> tuple[bool, str]:
        """Whether every quantity's ranks are uniform, allowing for how many are looked at."""
        p, Q = self.uniformity[method], len(self.quantities)
        out = p[p < ALPHA / Q].sort_values()
        if len(out) == 0:
            return True, f"ranks of {'all ' if Q > 1 else ''}{Q} quantities are uniform"
        return False, f"ranks of {len(out)} of {Q} quantities are not uniform, above all of the {out.index[0]}"

    def middle(self, method: str) -> tuple[bool, str]:
        """Whether q's medians are without bias, allowing for how many quantities are looked at."""
        p, Q = self.symmetry[method], len(self.quantities)
        out = p[p < ALPHA / Q].sort_values()
        if len(out) == 0:
            return True, f"medians of all {Q} quantities are without bias"
        above = (2 * self.ranks[method][out.index[0]] > self.settings.draws).mean()
        side, times = ("low", above) if above > 0.5 else ("high", 1 - above)
        return False, (
            f"medians of {len(out)} of {Q} quantities are biased; that of the {out.index[0]} is too {side} in "
            f"{percent(times)} of the simulations"
        )


def render(calibration: Calibration) -> str:
    """Return the page of a calibration as one self-contained HTML page."""
    view = CalibrationView(calibration)
    return write(view, [section for build in SECTIONS if (section := build(view)) is not None])


def verdict_lines(calibration: Calibration) -> list[str]:
    """One line a method: what its 95% intervals hold."""
    view, lines = CalibrationView(calibration), []
    for method in view.methods:
        said = view.intervals(method)[1] if method in view.ranks else "failed in every simulation"
        failed = view.failed(method) if method in view.ranks else 0
        left_out = f"; failed in {failed} of {view.simulations} simulations" if failed else ""
        lines.append(f"{view.label(method)}: {said}{left_out}")
    return lines


def verdict(view: CalibrationView) -> Section:
    """What each method's uncertainties are worth."""
    section = Section(
        "verdict",
        "Verdict",
        f"Whether each method's uncertainties are those that {view.simulations} data sets drawn from the prior bear out, and "
        "the check that decided it. A dash means that the check does not apply.",
    )
    section.blocks.append(Notice(answer(view)))
    cards = []
    for method in view.methods:
        failed, words = view.failed(method), KINDS[method]
        if method not in view.ranks:
            cards.append(
                Card(method, view.label(method), words, f"failed in every simulation: {_error(view, method)}", [])
            )
            continue
        if failed:
            words += f"; failed in {failed} of {view.simulations} simulations"
        uses = [_use("intervals", *view.intervals(method))]
        if method == "em":
            uses.append(_use("posterior", None, "its draws are estimates from resampled data, shown beside the others"))
        else:
            uses.append(_use("posterior", *view.posterior(method)))
        if method in VARIATIONAL:
            uses.append(_use("medians", *view.middle(method)))
        if len(view.ranks[method]) < FEWEST:
            uses = [_use(use.name, None, use.because) for use in uses]
        cards.append(Card(method, view.label(method), words, "", uses))
    section.blocks.append(Cards(cards))
    return section


def _use(name: str, fit: bool | None, because: str) -> Use:
    states: dict[bool | None, State] = {True: "agrees", False: "differs", None: "cannot tell"}
    return Use(name, states[fit], because)


def answer(view: CalibrationView) -> str:
    """What 95% intervals hold by each method, and which of them are overconfident."""
    level = LEVELS[-1]
    held = {method: view.overall(method, level) for method in view.ranks}
    if not held:
        return "No method gave an answer."
    said = listing([f"{percent(mean)} by {view.label(method)}" for method, (mean, _, _) in held.items()])
    narrow = [view.label(m) for m, (_, _, high) in held.items() if high < level and len(view.ranks[m]) >= FEWEST]
    verb = "is" if len(narrow) == 1 else "are"
    end = f"{listing(narrow)} {verb} overconfident." if narrow else "No method is overconfident by more than chance."
    return f"Intervals that state {100 * level:.0f}% hold the truth in {said}. {end}"


def coverage(view: CalibrationView) -> Section | None:
    """What intervals hold."""
    if not view.ranks:
        return None
    from reports.plots.calibration import plot_coverage

    section = Section(
        "coverage",
        "How often do intervals hold the truth?",
        "A central interval that states 95% should hold the parameter that made the data in 95% of the simulations. One that "
        "holds fewer is too narrow: its method is overconfident.",
    )
    level = LEVELS[-1]
    L = view.settings.draws
    by_quantity = [(m, q, *view.held(m, q, level)) for m in view.ranks for q in view.quantities]
    table = pd.DataFrame(by_quantity, columns=["method", "quantity", "coverage", "low", "high"])
    curves = {}
    for method in view.ranks:
        stated = [1 - 2 * m / (L + 1) for m in range(1, (L + 1) // 2)]
        found = [view.overall(method, s) for s in stated]
        curves[method] = pd.DataFrame(found, columns=["coverage", "low", "high"]).assign(stated=stated)
    at = {m: [view.overall(m, s)[0] for s in LEVELS] for m in view.ranks}
    held = "; ".join(f"{listing([number(100 * c, 2) for c in at[m]])}% by {view.label(m)}" for m in at)
    worst, where, fewest, *_ = min(by_quantity, key=lambda row: row[2])
    states = listing([f"{100 * s:.0f}" for s in LEVELS])
    caption = (
        f"Intervals that state {states}% hold {held}. Left: coverage less what is stated, over all quantities and for every "
        "central interval, with its 95% interval; below the line a method is overconfident. Right: 95% intervals by "
        f"quantity, with Wilson's interval; the fewest, {percent(fewest)}, are held by "
        f"{view.label(worst)} for the {where}."
    )
    picture = image(plot_coverage(curves, table, level), "Coverage of central intervals by method and quantity")
    section.blocks.append(Figure(caption, [picture]))
    rows = [[_name(view, m), *(_covers(view.overall(m, s)) for s in LEVELS)] for m in view.ranks]
    names = [f"{100 * s:.0f}% intervals" for s in LEVELS]
    section.blocks.append(Table("Coverage over all quantities, with a 95% interval", ["method", *names], rows))
    rows = [
        [_name(view, m), Cell(q), *(_covers(view.held(m, q, s)) for s in LEVELS)]
        for m in view.ranks
        for q in view.quantities
    ]
    section.blocks.append(
        Table("Coverage by quantity, with Wilson's 95% interval", ["method", "quantity", *names], rows, fold=True)
    )
    return section


def ranks(view: CalibrationView) -> Section | None:
    """Whether ranks are uniform."""
    if not view.ranks:
        return None
    from reports.plots.calibration import plot_ranks

    L, Q = view.settings.draws, len(view.quantities)
    section = Section(
        "ranks",
        "Are the ranks uniform?",
        f"Each truth is ranked among {L} draws. Ranks among draws from the posterior are uniform, whatever the quantity.",
    )
    most = max(view.ranks, key=lambda m: len(view.ranks[m]))
    band = view.band(most)
    low, high = band.limits(ALPHA / Q)
    differences = {q: {m: ecdf(r[q].to_numpy(), L) - band.z for m, r in view.ranks.items()} for q in view.quantities}
    section.blocks.append(
        Figure(
            "Distribution function (ECDF) of the ranks less that of uniform ones. A curve that rises first and then falls "
            "below zero has too many truths at both ends: the draws are too narrow; the reverse, and they are too wide. A "
            "curve on one side alone has its draws too high (above) or too low (below). Curves far out are cut off. The grey "
            f"band holds all {Q} curves of a method that is right in at least 95% of studies of "
            f"{len(view.ranks[most])} simulations.",
            [image(plot_ranks(differences, band.z, (low - band.z, high - band.z)), "ECDF differences of the ranks")],
        )
    )
    rows = [[Cell(q), *(_p(view.uniformity[m][q], Q) for m in view.ranks)] for q in view.quantities]
    section.blocks.append(
        Table(
            "Probability that uniform ranks are as far from the diagonal as these (p-value); below "
            f"{number(ALPHA / Q, 2)} a curve leaves its band",
            ["quantity", *(view.label(m) for m in view.ranks)],
            rows,
        )
    )
    section.blocks.append(
        Table(
            "What the quantities are",
            ["quantity", "meaning"],
            [[Cell(q), Cell(t)] for q, t in MEANINGS.items()],
            fold=True,
        )
    )
    return section


def sides(view: CalibrationView) -> Section | None:
    """On which side of q's median the truth lies."""
    methods = [m for m in view.ranks if m in VARIATIONAL]
    if not methods:
        return None
    from reports.plots.calibration import plot_sides

    L, Q = view.settings.draws, len(view.quantities)
    section = Section(
        "medians",
        "Are the medians biased?",
        "A variational posterior that is too narrow may still be centred. If it is, the probability it gives to values below "
        "the truth is as often small as large, and the histogram is symmetric (Yao et al. 2018).",
    )
    shares = {q: {m: (view.ranks[m][q].to_numpy() + 0.5) / (L + 1) for m in methods} for q in view.quantities}
    section.blocks.append(
        Figure(
            "Histograms of q(quantity < truth) over the simulations. Heaped at both ends: too narrow. More on the left: q lies "
            "too high; more on the right: too low.",
            [image(plot_sides(shares), "Histograms of the probability below the truth")],
        )
    )
    rows = []
    for quantity in view.quantities:
        cells = [Cell(quantity)]
        for m in methods:
            above = 2 * view.ranks[m][quantity].to_numpy() > L
            cells += [
                _covers((float(above.mean()), *wilson(float(above.mean()), len(above)))),
                _p(view.symmetry[m][quantity], Q),
            ]
        rows.append(cells)
    columns = [
        name for m in methods for name in (f"{view.label(m)}: truth above the median", f"{view.label(m)}: p, symmetry")
    ]
    section.blocks.append(
        Table(
            "Share of simulations with the truth above the median, with Wilson's 95% interval, and the probability that a "
            f"symmetric histogram is as lopsided, by its Kolmogorov-Smirnov distance from its mirror image; below "
            f"{number(ALPHA / Q, 2)} the median is biased",
            ["quantity", *columns],
            rows,
        )
    )
    return section


def runs(view: CalibrationView) -> Section:
    """What was run, and what failed."""
    s = view.settings
    section = Section(
        "runs",
        "What ran and what failed",
        "A simulation in which a method failed has no rank of it and is left out of its numbers above: they are about the data "
        "sets that it can fit.",
    )
    one = view.table[view.table["quantity"] == view.quantities[0]]
    rows = []
    for method in view.methods:
        own = one[one["method"] == method]
        ok = own[own["rank"].notna()]
        rows.append(
            [
                _name(view, method),
                Cell(str(len(own)), len(own)),
                Cell(str(view.failed(method)), view.failed(method), tone="bad" if view.failed(method) else ""),
                value(float((~ok["converged"].astype(bool)).sum()) if len(ok) else None),
                value(ok["ess"].median()),
                value(ok["ess"].min()),
                share(ok["lost"].sum() / (ok["lost"] + s.draws).sum() if ok["lost"].notna().any() else None),
                time_cell(own["seconds"].median()),
            ]
        )
    section.blocks.append(
        Table(
            "Runs of each method; effective draws are the fewest over the quantities in a simulation",
            ["method", "simulations", "failed", "not converged", "effective draws, median", "smallest", "resamples drawn again",
             "seconds, median"],
            rows,
        )
    )  # fmt: skip
    notes = []
    if "em" in view.methods:
        notes.append(
            f"EM has no posterior. Its {s.draws} draws are maximum-likelihood fits to data simulated from its fit (the "
            "parametric bootstrap), begun at that fit; where such a fit collapsed, data were simulated anew."
        )
    for method, options in (("gibbs", GIBBS), ("nuts", NUTS)):
        if method in view.methods:
            notes.append(
                f"{view.label(method)} is thinned to near independence: of {options['chains'] * options['draws']} draws "
                f"{s.draws} are kept, evenly spaced. Where the smallest bulk effective sample size over the quantities is "
                f"below {s.draws}, it runs again, up to {RUNS} times in all, and the runs are joined first. A simulation "
                "that does not get there counts as not converged and stays in."
            )
    if notes:
        section.blocks.append(Bullets(notes))
    errors = one[one["failure"].notna()].groupby(["method", "failure"]).size().reset_index(name="count")
    if len(errors):
        columns = errors[["method", "count", "failure"]].itertuples(index=False, name=None)
        rows = [[_name(view, m), Cell(str(count), float(count)), Cell(e)] for m, count, e in columns]
        section.blocks.append(Table("What failed", ["method", "simulations", "error"], rows))
    return section


def setting(view: CalibrationView) -> Section:
    """Model, prior, seed, versions, command."""
    s, manifest = view.settings, view.manifest
    section = Section(
        "setting",
        "Model, prior and settings",
        "Everything needed to run this calibration again. The prior does not look at the data: parameters are drawn from it, "
        "data from them, and every method is given the data and this prior.",
    )
    section.blocks.append(Code(manifest["command"], "Command"))
    section.blocks.append(
        Code(symbols(manifest["model"]["text"]).replace("; ", "\n"), "Model (after Bishop, PRML, section 10.2)")
    )
    prior = manifest["model"]["prior"]
    section.blocks.append(
        Facts(
            [
                ("Data sets", f"{view.simulations}, each of {s.n} points with {s.dimension} features"),
                ("Clusters", f"K = {s.n_components}, {s.covariance} covariance"),
                ("Weights' prior", f"Dirichlet, α0 = {short(s.alpha0)}"),
                ("Clusters' prior", "; ".join(f"{symbols(name)} = {short(prior[name])}" for name in prior)),
                ("Units", "the mean of a cluster's precision is 1 for every feature, and m0 is 0"),
                ("Ranks", f"among {s.draws} draws"),
                ("Seed", short(s.seed)),
                ("Written", str(manifest["created"])),
                ("Machine", str(manifest["platform"])),
            ]
        )
    )
    rows = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(Table("Versions of the software", ["package", "version"], rows, fold=True))
    return section


def limits(view: CalibrationView) -> Section:
    """What this page cannot say."""
    s = view.settings
    section = Section("limits", "Limits", "What this page cannot tell.")
    items = [
        f"It is about data sets of {s.n} points from this prior. With other clusters, or other sizes, a method may do better "
        "or worse; what is right on average over the prior may be wrong on one data set.",
        "The model is true here, by design. Nothing is said of data that the model does not fit.",
        "Uniform ranks in these quantities do not prove a posterior right: an error that none of them sees is not found.",
        "Quantities are functions of one draw and depend on each other; a method that fails in one often fails in several.",
    ]
    if "em" in view.methods:
        items.append(
            "EM's intervals are about repeated data for fixed parameters, and ignore the prior; here they are asked to hold "
            "parameters that come from it."
        )
    section.blocks.append(Bullets(items))
    return section


SECTIONS = (verdict, coverage, ranks, sides, runs, setting, limits)


def _name(view: CalibrationView, method: str) -> Cell:
    return Cell(view.label(method), method=method)


def _covers(found: tuple[float, float, float]) -> Cell:
    """A share with its interval."""
    mean, low, high = found
    return Cell(percent(mean), float(mean), note=f"{number(100 * low)} to {percent(high)}")


def _p(p: float, Q: int) -> Cell:
    text = "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"
    return Cell(text, p, tone="bad" if p < ALPHA / Q else "")


def _error(view: CalibrationView, method: str) -> str:
    own = view.table[view.table["method"] == method]
    return str(own["failure"].dropna().iloc[0]) if own["failure"].notna().any() else DASH
