"""The page of a selection: what each criterion chooses and by how much, the clusters chosen, the curves, all values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixtures.datasets.dataset import counted
from reports.metrics.criteria import Candidate, Clustering
from reports.metrics.criterion import CRITERIA, ONLY_SYSTEMS, TESTS
from reports.page import profiles
from reports.page.blocks import Bullets, Cell, Code, Facts, Figure, Notice, Section, Table, image, value
from reports.page.numbers import DASH, fixed, number, seconds, with_error
from reports.page.opening import sources
from reports.page.selection_test import bootstrap
from reports.page.view import COVARIANCES, FAMILIES, OVER
from reports.page.words import listing, literal, sentence, short, symbols
from reports.plots.selection import CONTOUR, plot_clusters, plot_selection
from reports.studies.selection.choices import Choice
from reports.studies.selection.plane import Plane
from reports.studies.selection.result import Selection

if TYPE_CHECKING:
    import matplotlib.figure

# A margin of fewer nats than this, or than twice its standard error, decides little.
CLOSE = 1.0

# Clusterings that the figure shows.
PANELS = 4

WAYS = {"exact": "sum over all allocations", "bridge": "bridge sampling"}

ESTIMATES = {"em": "EM’s maximum-likelihood estimates", "cavi": "CAVI’s posterior means"}


@dataclass(frozen=True)
class View:
    """What the page's template and all sections ask for."""

    selection: Selection

    @property
    def manifest(self) -> dict[str, Any]:
        """When, how and from what the selection was made."""
        return self.selection.manifest

    @property
    def name(self) -> str:
        """The page's heading."""
        what = "states" if self.manifest["data"].get("lengths") else "clusters"
        return f"{self.manifest['data']['name']}: how many {what}?"

    @property
    def title(self) -> str:
        """The page's title in a browser."""
        return self.name

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        data, ks = self.manifest["data"], self.manifest["components"]
        structures = listing([COVARIANCES[s] for s in self.structures if s in COVARIANCES] or [""])
        numbers = f"K = {ks[0]} to {ks[-1]}" if len(ks) > 1 else f"K = {ks[0]}"
        family = self.manifest["model"]["family"]
        own = f"{FAMILIES[family]}s{OVER.get(family, '')}"
        if data.get("lengths"):
            own = f"hidden Markov models of {FAMILIES[family].removesuffix('mixture')}states"
        what = f"{own}{f' with {structures}' if structures else ''}"
        rows = (
            f"points in {data['d']}-D" if len(self.numbers) == data["d"] else f"rows of {counted(data['d'], 'feature')}"
        )
        return f"{what[0].upper()}{what[1:]}, {numbers}, for {data['n']} {rows}."

    @property
    def structures(self) -> list[str]:
        """The covariance structures."""
        return list(self.manifest["covariances"])

    @property
    def criteria(self) -> list[str]:
        """The criteria that have a value for some candidate."""
        table = self.selection.table
        valued = set(table.loc[table["value"].notna(), "criterion"])
        return [c for c in self.manifest["criteria"] if c in valued]

    @property
    def scored(self) -> list[str]:
        """Those of them that are in nats."""
        return [c for c in self.criteria if c not in TESTS]

    @property
    def chosen(self) -> dict[str, Choice]:
        """By criterion, the choice among all candidates."""
        return {c: choice for c in self.criteria if (choice := self.selection.choice(c)) is not None}

    @cached_property
    def drawn(self) -> dict[Candidate, list[str]]:
        """The chosen candidates whose clusters are drawn, with the criteria that choose them."""
        there = [(c, those) for c, those in self.selection.chosen.items() if c in self.selection.clusterings]
        return dict(there[:PANELS])

    @cached_property
    def plane(self) -> Plane:
        """Where clusters are drawn: among the features that hold numbers."""
        return Plane.of(self.x[self.complete], self.numbers)

    @cached_property
    def complete(self) -> np.ndarray:
        """Which rows lack none of those features, (N,) of bool."""
        return ~np.isnan(self.x).any(axis=1)

    @property
    def as_normals(self) -> bool:
        """Whether points and the clusters' normals are drawn, not the clusters' profiles."""
        return len(self.numbers) == len(self.manifest["data"]["features"]) and self.complete.sum() > 1

    def clustering(self, candidate: Candidate) -> Clustering:
        """Of the complete rows, which are drawn."""
        own = self.selection.clusterings[candidate]
        return replace(own, labels=own.labels[self.complete], probability=own.probability[self.complete])

    @property
    def numbers(self) -> list[str]:
        """The features that hold numbers, whose clusters can be drawn as normals."""
        return [feature for feature, kind in self.manifest["model"]["kinds"].items() if kind == "gaussian"]

    @property
    def x(self) -> np.ndarray:
        """The data in those features, (N, D)."""
        features = self.manifest["data"]["features"]
        return self.selection.x[:, [features.index(feature) for feature in self.numbers]]

    symbol = "K"
    """What is chosen, where it heads a column."""

    penalised = "AIC, BIC, SABIC and ICL"
    """The criteria that are halved."""

    title_of_curves = "Criteria against K"
    errors = "Bands"

    def plot(self) -> matplotlib.figure.Figure:
        """All criteria and candidates."""
        return plot_selection(self.selection.table)

    @property
    def head(self) -> list[str]:
        """The columns that say which candidate a row is about."""
        return ["K", "covariance"] if len(self.structures) > 1 else ["K"]

    def row_head(self, candidate: Candidate) -> list[Cell]:
        """The cells of these columns."""
        cells = [Cell(str(candidate.components), candidate.components), Cell(candidate.covariance)]
        return cells if len(self.structures) > 1 else cells[:1]

    def candidate(self, candidate: Candidate | None) -> str:
        """A candidate in a table."""
        if candidate is None:
            return DASH
        return (
            f"{candidate.components} {candidate.covariance}" if len(self.structures) > 1 else str(candidate.components)
        )

    def words(self, candidate: Candidate) -> str:
        """A candidate in a sentence."""
        structure = f" with {COVARIANCES[candidate.covariance]}" if len(self.structures) > 1 else ""
        return f"K\u00a0=\u00a0{candidate.components}{structure}"

    def colour(self, method: str) -> str:
        """No table of this page marks a method."""
        raise KeyError(method)


def sections(view: View) -> list[Section]:
    """The sections of the page."""
    return [section for make in SECTIONS if (section := make(view)) is not None]


def choice(view: View) -> Section:
    """What is chosen, in words and as a table."""
    section = Section(
        "choice",
        "Choice",
        "All criteria are in nats for the whole data set, and larger is better: "
        f"{view.penalised} are divided by −2."
        + (" The bootstrap test has p-values, and no margin." if view.selection.tests else ""),
    )
    if not view.criteria:
        section.blocks.append(Notice("No criterion has a value for any candidate; the reasons are below.", "warn"))
        return section
    if view.chosen:
        section.blocks.append(Bullets([*verdict(view)]))
    section.blocks += [Notice(sentence(text), "warn") for text in view.selection.warnings]
    several = len(view.structures) > 1
    caption = (
        f"Choice of each criterion{' among all structures' if several else ''}. ± is a standard error: of the "
        "[[paired|paired difference]] for scores that are sums over points, of the difference of two independent estimates for "
        "the evidence. Last column: the candidate with the fewest parameters among those within one standard error of the best."
    )
    head = ["criterion", f"{view.symbol} chosen", "second best", "margin (nats)", "one-standard-error rule"]
    shown = [c for c in view.criteria if not several or c not in TESTS]
    section.blocks.append(Table(caption, head, [_choice(view, criterion) for criterion in shown]))
    if several:
        rows = [_row(view, one) for one in view.selection.choices if one.among != "all"]
        section.blocks.append(Table("Choices within each structure", head, rows, fold=True))
    return section


def verdict(view: View) -> Iterator[str]:
    """What is chosen and by how much, from the numbers alone."""
    groups: dict[Candidate, list[Choice]] = {}
    for one in view.chosen.values():
        groups.setdefault(one.best, []).append(one)
    for best, those in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0].components)):
        names = listing([_the(one) for one in those])
        text = f"{names[0].upper() + names[1:]} {'choose' if len(those) > 1 else 'chooses'} {view.words(best)}"
        by = [
            f"{margin(one)} ({short_title(one.criterion)})" if len(those) > 1 else margin(one)
            for one in those
            if one.runner_up
        ]
        if len(those) == 1 and those[0].runner_up:
            yield f"{text}, by {by[0]} nats over {view.words(those[0].runner_up)}."
        else:
            yield f"{text}{f', by {listing(by)} nats' if by else ''}."
    fewer: dict[Candidate, list[Choice]] = {}
    for one in view.chosen.values():
        if one.one_se is not None and one.one_se != one.best:
            fewer.setdefault(one.one_se, []).append(one)
    for near, those in fewer.items():
        yield (
            f"By the one-standard-error rule {listing([_the(one) for one in those])} "
            f"{'choose' if len(those) > 1 else 'chooses'} {view.words(near)}."
        )
    close = [one for one in view.chosen.values() if one.runner_up and _is_close(one)]
    if close:
        yield (
            "Choices by a small margin, less than one nat or two standard errors: "
            f"{listing([CRITERIA[one.criterion].title for one in close])}."
        )


def clusters(view: View) -> Section | None:
    """The clusters of the candidates that are chosen."""
    if not view.drawn:
        return None
    section = Section(
        "clusters",
        "Chosen clusters",
        "The clusters of each candidate that a criterion chooses, the choice of the most criteria first.",
    )
    titles = {c: _panel_title(view, c, those) for c, those in view.drawn.items()}
    if view.as_normals:
        panels = [(title, view.clustering(c)) for c, title in titles.items()]
        drawing = plot_clusters(view.x[view.complete], view.plane, panels)
    else:
        drawing = profiles.candidates_figure(
            {title: view.selection.clusterings[c] for c, title in titles.items()},
            view.selection.x,
            view.manifest["model"]["kinds"],
            view.manifest["model"]["levels"],
        )
    section.blocks.append(Figure(_clusters_caption(view), [image(drawing, _clusters_alt(view))]))
    return section


def _panel_title(view: View, candidate: Candidate, criteria: list[str]) -> str:
    structure = f" {candidate.covariance}" if len(view.structures) > 1 else ""
    return f"K = {candidate.components}{structure}: {', '.join(short_title(one) for one in criteria)}"


def _clusters_caption(view: View) -> str:
    """What is drawn, of which fits, and what is not."""
    whole = view.as_normals
    on_line = whole and len(view.plane.names) == 1
    drawn = (
        profiles.cells_words(view.manifest["model"]["kinds"].values())
        if not whole
        else "Histogram coloured by most probable cluster, the density of each cluster times its weight and, as a heavy line, "
        "that of the mixture"
        if on_line
        else "Points coloured by most probable cluster, fainter where that is less certain, and a contour of each cluster’s "
        f"normal with {CONTOUR:.0%} of its probability inside"
    )
    by: dict[str, list[str]] = {}
    for candidate in view.drawn:
        by.setdefault(view.selection.clusterings[candidate].method, []).append(view.words(candidate))
    fits = listing([f"{ESTIMATES[method]} at {listing(those)}" for method, those in by.items()])
    text = f"{drawn}. Parameters: {fits}. Above each panel, the criteria that choose it."
    if whole and view.plane.principal:
        text += (
            f" The axes are the first two principal axes of the {view.manifest['data']['d']} features in units of their "
            "standard deviations; contours are those of the normals projected on them."
        )
    empty = {} if not whole else {c: c.components - len(np.unique(view.clustering(c).labels)) for c in view.drawn}
    if whole and (gaps := int((~view.complete).sum())):
        text += f" {counted(gaps, 'point')} with missing values {'is' if gaps == 1 else 'are'} not drawn."
    if any(empty.values()):
        said = [f"{count} at {view.words(c)}" for c, count in empty.items() if count]
        text += f" Clusters that are the most probable one of no point are not drawn: {listing(said)}."
    if more := len(view.selection.chosen) - len(view.drawn):
        text += f" Not drawn: {more} more {'choices' if more > 1 else 'choice'}."
    return text


def _clusters_alt(view: View) -> str:
    """Sizes of the clusters, for those who do not see them."""
    said = []
    for candidate in view.drawn:
        sizes = np.sort(np.unique(view.selection.clusterings[candidate].labels, return_counts=True)[1])[::-1]
        said.append(f"{view.words(candidate)}: clusters of {listing([str(size) for size in sizes])} points")
    return "; ".join(said)


def curves(view: View) -> Section | None:
    """The figure."""
    if view.criteria and not view.scored:
        return None
    section = Section(
        "curves",
        view.title_of_curves,
        "Difference of each candidate from the best of its criterion, in nats; linear down to −10, logarithmic below.",
    )
    if view.scored:
        said = next(verdict(view), "No criterion makes a choice.")
        within = " within a covariance structure" if any(s in COVARIANCES for s in view.structures) else ""
        caption = (
            f"Filled: the choice{within}. {view.errors}: one standard error of the difference from it. Crosses: "
            f"candidates without a value. {said}"
        )
        section.blocks.append(Figure(caption, [image(view.plot(), said)]))
    return section


def values(view: View) -> Section | None:
    """All values, and why some are missing."""
    if view.criteria and not view.scored:
        return None
    section = Section("values", "Values", "In nats for the whole data set, with standard errors; larger is better.")
    table = view.selection.table
    several = " of its structure" if len(view.structures) > 1 else ""
    for name, error, caption in (
        ("difference", "difference_se", f"Difference from the best{several}"),
        ("value", "se", "Values"),
    ):
        rows = []
        for key, part in table.groupby(["covariance", "components"], sort=False):
            candidate, of = _candidate(key), part.set_index("criterion")
            cells = [_number(of.loc[one, name], of.loc[one, error]) for one in view.scored]
            rows.append([*view.row_head(candidate), *cells])
        columns = [*view.head, *(short_title(one) for one in view.scored)]
        section.blocks.append(Table(caption, columns, rows, fold=name == "value"))
    lost = table[table["missing"].notna()]
    if len(lost):
        rows = [
            [*view.row_head(_candidate(key)), Cell(listing([CRITERIA[name].title for name in part["criterion"]])),
             Cell(part["missing"].iloc[0])]
            for key, part in lost.groupby(["covariance", "components", "missing"], sort=False)
        ]  # fmt: skip
        section.blocks.append(
            Table(
                "Candidates without a value, which take no part in the choice",
                [*view.head, "criteria", "reason"],
                rows,
            )
        )
    return section


def fits(view: View) -> Section:
    """How the fits went."""
    manifest = view.manifest
    section = Section(
        "fits",
        "Fits",
        f"EM and CAVI were started {counted(manifest['restarts'], 'time')} by k-means++{_in_folds(manifest)}; "
        f"{_continued(manifest['continued'])} with the highest objective after 20 passes. The more of the starts that were "
        "continued reach the best optimum, the less likely is a better one.",
    )
    columns = {
        "parameters": "free parameters",
        "em_log_likelihood": "log likelihood (EM)",
        "em_reached": "EM starts at the best optimum",
        "em_collapsed": "failed EM starts",
        "em_fewest_points": "smallest cluster of EM (points)",
        "em_entropy_r2": "entropy R² (EM)",
        "cavi_reached": "CAVI starts at the best optimum",
        "cavi_empty": "empty clusters (CAVI)",
        "cavi_entropy_r2": "entropy R² (CAVI)",
        "gibbs_rhat": "R-hat (Gibbs)",
        "gibbs_khat_bad": "high k-hat in LOO (points)",
        "gibbs_evidence": "evidence by",
        "gibbs_loo": "LOO by",
        "lfo_fits": "posteriors sampled for LFO",
    }
    table = view.selection.fits
    shown = [name for name in columns if name in table]
    rows = [
        [
            *view.row_head(Candidate(row["covariance"], row["components"])),
            *(_fact(name, row[name], manifest["continued"]) for name in shown),
        ]
        for row in table.to_dict("records")
    ]
    section.blocks.append(Table("How the fits went", [*view.head, *(columns[name] for name in shown)], rows))
    return section


def _in_folds(manifest: Mapping[str, Any]) -> str:
    """How often in every fold, where there are folds."""
    folded = any(CRITERIA[name].part.startswith("cv") for name in manifest["criteria"])
    return ", in every fold half as often" if folded else ""


def _continued(number: int) -> str:
    return "continued was the one" if number == 1 else f"continued were the {number}"


def meaning(view: View) -> Section:
    """What each number is and where it misleads."""
    chosen = [CRITERIA[name] for name in view.manifest["criteria"]]
    items = [
        (one.title, f"{one.meaning} {one.of_numbers}" if one.of_numbers and view.numbers else one.meaning)
        for one in chosen
    ]
    return Section("meaning", "Definitions", "What each criterion estimates, and where it misleads.", [Facts(items)])


def gaps(data: Mapping[str, Any]) -> str | None:
    """How many values are missing, and what is made of them."""
    n = data.get("n_missing")
    return f"{n} of {data['n'] * data['d']}; every fit integrates over them, as missing at random" if n else None


def setting(view: View) -> Section:
    """Data, model and how the numbers were made."""
    manifest, data = view.manifest, view.manifest["data"]
    priors = listing(sources(manifest["model"]["kinds"].values()))
    lengths, sticky = data.get("lengths"), manifest["model"].get("sticky")
    more = f", with {number(sticky)} more to stay" if sticky else ""
    labels = f"the start and on each row of the transitions{more}" if lengths else "the weights"
    whole = " of whole sequences" if lengths else ""
    folds = f"{manifest['folds']} random folds{whole}, the same for all candidates" if _in_folds(manifest) else None
    facts = [
        ("Data", f"{data['name']}: {data['n']} points of {', '.join(data['features'])}"),
        ("Source", data["source"]),
        ("As read", literal("; ".join(data.get("notes", ()))) or None),
        ("Missing values", gaps(data)),
        ("Known classes", None if data["n_classes"] is None else f"{data['n_classes']}, not used by any criterion"),
        *((f"Model, {s}" if s in COVARIANCES else "Model", symbols(text)) for s, text in manifest["model"]["text"].items()),
        ("Sequences", counted(len(lengths), "sequence") if lengths else None),
        ("Prior", f"the weak default from the data, which depends on K, after {priors}, and "
                  f"Dirichlet({number(manifest['model']['alpha0'])}) on {labels}; none for EM"),
        ("Prior, as given", ", ".join(f"{name} {short(x)}" for name, x in manifest["model"]["prior"].items())),
        ("Ridge of EM", f"{manifest['reg_covar']:g} added to every variance" if manifest["reg_covar"] else None),
        ("Cross-validation", folds),
        ("Seed", None if manifest["seed"] is None else str(manifest["seed"])),
        ("Time", seconds(manifest["seconds"])),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
        ("Platform", manifest["platform"]),
    ]  # fmt: skip
    return Section(
        "setting",
        "Data, model and settings",
        "All that is needed to run this selection again.",
        [Facts([(name, fact) for name, fact in facts if fact]), Code(manifest["command"], "The command")],
    )


def limits(view: View) -> Section:
    """What the page cannot say."""
    items = [
        "A number of components is not a number of groups: two components may make one group that is not of the family.",
        "The criteria answer different questions and need not agree. The evidence and BIC ask which K is probable, ICL how "
        "many clusters are well separated, AIC, cross-validation and LOO which K predicts best.",
        "Every value depends on the best optimum, or the modes, that were found; another seed may find others.",
        "The standard errors of cross-validation take points as independent. Points of one fold share a fit, so the true "
        "errors are somewhat larger.",
        "The uncertainty of a fit does not include that of the choice of K.",
    ]
    return Section("limits", "Limits", "What this page cannot tell.", [Bullets(items)])


SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    choice, clusters, curves, bootstrap, values, fits, meaning, setting, limits,
)  # fmt: skip


def _choice(view: View, criterion: str) -> list[Cell]:
    """What a criterion chooses among all candidates, or that it makes no choice."""
    if criterion in view.chosen:
        return _row(view, view.chosen[criterion])
    return [Cell(CRITERIA[criterion].title), Cell("no choice"), *[Cell(DASH)] * 3]


def _row(view: View, one: Choice) -> list[Cell]:
    return [
        Cell(CRITERIA[one.criterion].title),
        *(_k(view, candidate) for candidate in (one.best, one.runner_up)),
        Cell(margin(one), None if math.isnan(one.margin) else one.margin),
        _k(view, one.one_se),
    ]


def _candidate(key: Any) -> Candidate:
    """The candidate of a group of rows."""
    return Candidate(str(key[0]), int(key[1]))


def _k(view: View, candidate: Candidate | None) -> Cell:
    return Cell(view.candidate(candidate), None if candidate is None else candidate.components)


def _number(x: Any, se: Any) -> Cell:
    if pd.isna(x):
        return Cell(DASH)
    return Cell(with_error(x, se) if se > 0.05 or (se > 0 and 0 < abs(x) < 0.05) else fixed(x, 1), float(x))


def _fact(name: str, x: Any, continued: int) -> Cell:
    """How a fit went; of the starts at the best optimum also how many could be there."""
    decimals = {
        "em_log_likelihood": 1,
        "em_fewest_points": 1,
        "gibbs_rhat": 3,
        "em_entropy_r2": 3,
        "cavi_entropy_r2": 3,
    }
    if pd.isna(x) or isinstance(x, str):
        return Cell(WAYS.get(x, x) if isinstance(x, str) else DASH)
    if name.endswith("_reached"):
        reached = min(x, continued)  # one that is there after 20 passes counts too, and those ahead are continued
        return Cell(f"{reached:.0f} of {continued}", reached)
    return Cell(fixed(x, decimals[name]), x) if name in decimals else value(x)


def margin(one: Choice) -> str:
    """By how much a choice is better than the second best, with its standard error where it has one."""
    if math.isnan(one.margin):
        return DASH
    return with_error(one.margin, one.margin_se) if one.margin_se > 0 else number(one.margin, 2)


def _is_close(one: Choice) -> bool:
    return one.margin < max(CLOSE, 2 * float(np.nan_to_num(one.margin_se)))


def _the(one: Choice) -> str:
    title = CRITERIA[one.criterion].title
    return f"the {title}" if one.criterion in ("evidence", *ONLY_SYSTEMS) else title


def short_title(criterion: str) -> str:
    """A criterion's title where there is little room."""
    title = CRITERIA[criterion].title
    return title.replace("cross-validation (", "CV ").removesuffix(")") if title.startswith("cross") else title
