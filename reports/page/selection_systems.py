"""The page of a selection among linear dynamical systems: what differs from that of clusters and states."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixtures.datasets.dataset import counted
from reports.metrics.criteria import Candidate
from reports.metrics.criterion import CRITERIA, SYSTEMS
from reports.page.blocks import Bullets, Cell, Code, Facts, Figure, Section, Table, image
from reports.page.glossary_systems import OF_SYSTEMS
from reports.page.numbers import DASH, fixed, percent, seconds
from reports.page.selection import View, choice, curves, gaps, short_title, values
from reports.page.states import times
from reports.page.words import listing, literal, symbols
from reports.plots.systems import plot_systems
from reports.studies.selection.systems import word

if TYPE_CHECKING:
    import matplotlib.figure

# Chosen systems that are drawn in time, and features of each.
PANELS, FEATURES = 3, 3

EQUATIONS = {
    "latent": "A, C, Q and R are free",
    "local-level": "x_t = μ_t + e_t, μ_(t+1) = μ_t + w_t",
    "local-linear-trend": "x_t = μ_t + e_t, μ_(t+1) = μ_t + β_t + w_t, β_(t+1) = β_t + v_t",
    "smooth-trend": "x_t = μ_t + e_t, μ_(t+1) = μ_t + β_t, β_(t+1) = β_t + v_t",
    "seasonal": "a local level and seasonal effects, which sum over a period to noise",
    "autoregression": "x_t = a_t + e_t, a_t = φ_1 a_(t−1) + ... + φ_p a_(t−p) + w_t",
}

STARTS = {
    "known": "known: states of a structure at zero with the variance of the rows, slopes with that of their first differences; "
    "latent states at zero with the identity for a covariance",
    "stationary": "stationary: states have at first the distribution that the transition leaves as it is",
    "free": "free: mean and covariance of the first states are estimated",
}

WAYS = {"importance": "importance sampling", "bridge": "bridge sampling"}


class SystemsView(View):
    """What the sections of such a page ask for; all candidates are held against each other, whatever their structure."""

    symbol = "system"
    penalised = "AIC and BIC"
    title_of_curves = "Criteria by system"
    errors = "Bars"
    glossary = OF_SYSTEMS

    def plot(self) -> matplotlib.figure.Figure:
        """All criteria and candidates."""
        return plot_systems(self.selection.table, word)

    @property
    def name(self) -> str:
        """The page's heading."""
        latent = self.manifest["covariances"] == ["latent"]
        return f"{self.manifest['data']['name']}: {'how many latent states' if latent else 'which dynamics'}?"

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        data = self.manifest["data"]
        rows = f"{data['n']} rows of {counted(data['d'], 'feature')}"
        if len(data["lengths"]) > 1:
            rows += f" in {counted(len(data['lengths']), 'sequence')}"
        return f"{counted(len(self.selection.fits), 'linear dynamical system')} for {rows}."

    @property
    def structures(self) -> list[str]:
        """All candidates are of one kind here."""
        return ["systems"]

    @property
    def head(self) -> list[str]:
        """The columns that say which candidate a row is about."""
        return ["system"]

    def row_head(self, candidate: Candidate) -> list[Cell]:
        """The cells of these columns."""
        return [Cell(word(candidate))]

    def candidate(self, candidate: Candidate | None) -> str:
        """A candidate in a table."""
        return DASH if candidate is None else word(candidate)

    def words(self, candidate: Candidate) -> str:
        """A candidate in a sentence."""
        return word(candidate)


def chosen(view: View) -> Section | None:
    """Signal and forecast of the systems that are chosen."""
    from reports.plots.dynamics import plot_signal

    series = view.selection.series
    drawn = [candidate for candidate in view.selection.chosen if candidate in series][:PANELS]
    if not drawn:
        return None
    data, stationary = view.manifest["data"], view.manifest.get("start") == "stationary"
    method = "map" if stationary else "cavi"
    first, features = slice(0, data["lengths"][0]), data["features"][:FEATURES]
    names = data["index"] if len(data["index"]) == data["n"] else [str(i) for i in range(1, data["n"] + 1)]
    time, xlabel = times(np.array(names), len(data["lengths"]))
    import xarray as xr

    x = xr.DataArray(view.selection.x[first, : len(features)], dims=("obs", "feature"), coords={"feature": features})
    section = Section(
        "systems",
        "Chosen systems",
        "What each chosen system makes of the series: the choice of the most criteria first. All parameters are "
        + ("at the posterior mode." if stationary else "averaged over the variational posterior."),
    )
    for candidate in drawn:
        own = (
            series[candidate].isel(obs=first, feature=slice(len(features)), sequence=0).assign_coords(feature=features)
        )
        those = listing([short_title(one) for one in view.selection.chosen[candidate]])
        later = own["forecast"].sel(quantile=[0.025, 0.975]).isel(step=-1, feature=0).values
        last = f"{fixed(later[0], 1)} to {fixed(later[1], 1)}"
        alt = f"{word(candidate)}: after {own.sizes['step']} steps, 95% of {features[0]} from {last}."
        section.blocks.append(
            Figure(
                f"{word(candidate)}, chosen by {those}. Dots: the rows. Line and band: the signal C z given all rows, "
                "with 95% of "
                f"its posterior. Right of the upright line, the forecast: median, and where 50% and 95% of the rows to "
                "come should "
                f"lie.{f' Of {len(data["lengths"])} sequences the first is drawn.' if len(data['lengths']) > 1 else ''}",
                [image(plot_signal(x, time[first], {method: own}, method, xlabel), alt)],
                alt=alt,
            )
        )
    return section


def fits(view: View) -> Section:
    """How the fits went."""
    stationary = view.manifest.get("start") == "stationary"
    section = Section(
        "fits",
        "Fits",
        f"{'EM was' if stationary else 'EM and VB were'} started {counted(view.manifest['restarts'], 'time')}. The more starts "
        "reach the best optimum, the less likely is a better one. An eigenvalue of A at 1 is a movement that never dies down, "
        "as levels and trends have it by definition.",
    )
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "parameters": ("parameters told apart", lambda v: f"{v:.0f}"),
        "em_log_likelihood": ("log likelihood (EM)", lambda v: fixed(v, 1)),
        "em_reached": ("EM starts at the best optimum", lambda v: f"{v:.0f}"),
        "em_modulus": ("largest eigenvalue of A, modulus (EM)", lambda v: fixed(v, 3)),
        "cavi_reached": ("VB starts at the best optimum", lambda v: f"{v:.0f}"),
        "gibbs_evidence": ("evidence by", lambda v: WAYS[v]),
        "gibbs_khat": ("k-hat of q", lambda v: fixed(v, 2)),
        "gibbs_rhat": ("R-hat (Gibbs)", lambda v: fixed(v, 3)),
    }
    table = view.selection.fits
    shown = [name for name in columns if name in table]
    rows = []
    for row in table.to_dict("records"):
        cells = [_cell(row[name], columns[name][1]) for name in shown]
        rows.append([*view.row_head(Candidate(row["covariance"], row["components"])), *cells])
    section.blocks.append(Table("How the fits went", ["system", *(columns[name][0] for name in shown)], rows))
    return section


def _cell(x: Any, text: Callable[[Any], str]) -> Cell:
    if pd.isna(x):
        return Cell(DASH)
    return Cell(text(x)) if isinstance(x, str) else Cell(text(x), float(x))


def meaning(view: View) -> Section:
    """What each number is and where it misleads."""
    items = [(CRITERIA[name].title, SYSTEMS[name]) for name in view.manifest["criteria"]]
    return Section("meaning", "Definitions", "What each criterion estimates, and where it misleads.", [Facts(items)])


def setting(view: View) -> Section:
    """Data, models and how the numbers were made."""
    manifest, data = view.manifest, view.manifest["data"]
    facts = [
        ("Data", f"{data['name']}: {data['n']} rows of {', '.join(data['features'])}"),
        ("Source", data["source"]),
        ("As read", literal("; ".join(data["notes"])) or None),
        ("Sequences", counted(len(data["lengths"]), "sequence")),
        ("Missing values", gaps(data)),
        ("Centre", "subtracted before all fits: " + ", ".join(fixed(v, 3) for v in data["centre"])),
        ("Systems", "; ".join(manifest["model"]["equations"])),
        *((name, symbols(EQUATIONS[name])) for name in manifest["covariances"]),
        ("Start", f"{STARTS[manifest.get('start', 'known')]}; a diffuse one has no density to compare"),
        ("Prior", "weak and conjugate, from the data (mixtures.dynamics.LinearDynamics.with_prior); none for EM"),
        ("Last part", f"the last {percent(manifest['held'])} of each sequence, for the criteria of that name"),
        ("Seed", None if manifest["seed"] is None else str(manifest["seed"])),
        ("Time", seconds(manifest["seconds"])),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
        ("Platform", manifest["platform"]),
    ]
    return Section(
        "setting",
        "Data, models and settings",
        "All that is needed to run this selection again.",
        [Facts([(name, fact) for name, fact in facts if fact]), Code(manifest["command"], "The command")],
    )


def limits(view: View) -> Section:
    """What the page cannot say."""
    items = [
        "The criteria answer different questions and need not agree. The evidence and BIC ask which system is probable, AIC "
        "and the last part which one predicts best.",
        "The last part is one stretch of time: where the series changes its ways, all systems fail there alike.",
        "Every value depends on the best optimum, or the draws, that were found; another seed may find others.",
        "The uncertainty of a fit does not include that of the choice.",
    ]
    return Section("limits", "Limits", "What this page cannot tell.", [Bullets(items)])


SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    choice,
    chosen,
    curves,
    values,
    fits,
    meaning,
    setting,
    limits,
)
