"""What all parts of an overfitting study's page ask of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mixtures import datasets
from reports.page.glossary import TERMS
from reports.page.glossary_systems import OF_SYSTEMS
from reports.page.numbers import fixed
from reports.page.term import Term
from reports.plots import style
from reports.studies.overfit import summary
from reports.studies.overfit.grid import KINDS, Grid, Truth
from reports.studies.overfit.study import Study
from reports.studies.overfit.summary import COVERAGES, SETTINGS, Slice
from reports.studies.overfit.truths import of_data_set, prior

PANELS = 9
"""Panels of a figure, and settings with a sentence each, at most; the tables have all."""

NAMES = {
    "truth": "truth",
    "true_k": "true K",
    "d": "D",
    "separation": "separation",
    "imbalance": "imbalance",
    "concentration": "concentration",
    "levels": "levels",
    "stay": "P(stay)",
    "covariance": "covariance",
    "n": "n",
    "k": "fitted K",
    "alpha": "α",
}

PRIORS = {
    "bernoulli": "Galindo-Garre & Vermunt 2006 for probabilities",
    "categorical": "Galindo-Garre & Vermunt 2006 for probabilities",
    "poisson": "Jaynes 1968 for rates",
}

RIVALS = ("em", "map", "gibbs", "nuts", "advi", "advi-fullrank", "single")


@dataclass(frozen=True)
class View:
    """What the page's template and all sections ask for."""

    study: Study

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self.study.grid

    @property
    def manifest(self) -> dict[str, Any]:
        """When and by which command the study was made."""
        return self.study.manifest

    @property
    def name(self) -> str:
        """The page's heading."""
        return self.grid.title

    @property
    def title(self) -> str:
        """The page's title in a browser."""
        return self.grid.title

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        fits = int((self.table["method"] != "oracle").sum())
        return f"{fixed(fits, 0)} densities scored: {self.grid.replicates} data sets for each of {len(self.grid.cells)} cells."

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows, with what follows from them."""
        return summary.with_outcomes(self.study.table)

    @cached_property
    def methods(self) -> list[str]:
        """The methods that were measured, in their usual order."""
        return [m for m in style.METHODS if m in set(self.table["method"])]

    @cached_property
    def varied(self) -> list[str]:
        """Settings that have more than one value, and so belong in a title."""
        return [name for name in SETTINGS if self.table[name].nunique() > 1]

    @cached_property
    def discrete(self) -> bool:
        """Whether there are data that hold anything but numbers."""
        return bool(summary.discrete(self.table).any())

    @property
    def ordered(self) -> bool:
        """Whether all data are series, and all that is fitted models of series."""
        return all(cell.truth.stay is not None or cell.truth.linear for cell in self.grid.cells)

    @property
    def linear(self) -> bool:
        """Whether these are linear dynamical systems."""
        return all(cell.truth.linear for cell in self.grid.cells)

    @property
    def glossary(self) -> dict[str, Term]:
        """The technical words as this page means them."""
        return OF_SYSTEMS if self.linear else TERMS

    @property
    def one(self) -> str:
        """What a cluster is called."""
        return "state" if self.ordered else "cluster"

    @property
    def names_with_clusters(self) -> list[str]:
        """What is the grid's own stays as it is."""
        return [text for text in (self.grid.title, self.grid.claim) if "cluster" in text.lower()]

    @property
    def priors(self) -> list[str]:
        """Sources of the default priors."""
        truths = set(self.table["truth"])
        gaussian = ["Fraley & Raftery 2007"] if self.table["covariance"].notna().any() else []
        kinds = truths | {kind for cell in self.grid.cells for kind in cell.truth.kinds or ()}
        return [*gaussian, *dict.fromkeys(source for kind, source in PRIORS.items() if kind in kinds)]

    @property
    def covered(self) -> list[str]:
        """What the intervals whose coverage is measured are for, but the largest weight, which needs the true K."""
        return [what for name, what in COVERAGES.items() if name != "cover_weight" and self.table[name].notna().any()]

    @cached_property
    def differences(self) -> pd.DataFrame:
        """CAVI against every other method under every setting."""
        return summary.against(self.table, "cavi", RIVALS)

    @cached_property
    def coverages(self) -> pd.DataFrame:
        """Coverage of intervals where the model contains the truth, or else under every setting; the lowest first."""
        contained = summary.contained(self.table)
        return summary.coverages(self.table[contained] if contained.any() else self.table)

    @property
    def contained_words(self) -> str:
        """Which settings `coverages` is about, after "settings"."""
        return " whose model contains the truth" if summary.contained(self.table).any() else ""

    @cached_property
    def sweeps(self) -> list[Slice]:
        """The parts of the table in which K alone varies."""
        return summary.slices(self.table, "k")

    def label(self, method: str) -> str:
        """A method's short name."""
        return style.look(method).label

    def colour(self, method: str) -> str:
        """A method's colour."""
        return style.look(method).colour

    def words(self, settings: Mapping[Any, Any], without: str = "") -> str:
        """Settings in words, of those that vary."""
        kept = [(name, settings[name]) for name in self.varied if name != without and not missing(settings[name])]
        said = [x if isinstance(x, str) else f"{NAMES[name]}\u00a0=\u00a0{x:g}" for name, x in kept]
        return ", ".join(said) or "all settings"

    def known(self, known: bool) -> pd.DataFrame:
        """The rows of simulated truths, or those of data sets."""
        return self.table[self.table["true_k"].notna() == known]


def half_free(settings: dict[str, Any]) -> float:
    """Half the number of free parameters of one cluster, its covariance included where it is its own."""
    d = int(settings["d"])
    if settings["truth"] in KINDS:
        levels = None if missing(settings["levels"]) else int(settings["levels"])
        return prior(Truth(str(settings["truth"]), d, levels=levels)).n_free(1) / 2
    if missing(settings["covariance"]):
        data = datasets.load(str(settings["truth"]))
        return of_data_set(data.name, data.x, 1, None).n_free(1) / 2
    own = {"full": d * (d + 1) // 2, "tied": 0, "diag": d, "spherical": 1}[str(settings["covariance"])]
    return (d + own) / 2


def as_number(x: Any) -> float:
    """A number, NaN where there is none."""
    return math.nan if missing(x) else float(x)


def missing(x: Any) -> bool:
    """Whether a setting has no value."""
    return x is None or (isinstance(x, float | np.floating) and math.isnan(x))
