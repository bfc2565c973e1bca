"""One look at the results that all sections share: who succeeded, who is the reference, which numbers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from mixtures.datasets.dataset import counted
from reports.comparison.verdict import EVERY
from reports.metrics import parameters
from reports.page import quantities
from reports.page.words import listing
from reports.plots import style

if TYPE_CHECKING:
    from reports.comparison.results import Results

COVARIANCES = {
    "full": "full covariances",
    "tied": "one covariance matrix for all",
    "diag": "diagonal covariances",
    "spherical": "spherical covariances",
}

FAMILIES = {
    **dict.fromkeys(("gaussian", "tied", "diagonal", "spherical"), "Gaussian mixture"),
    "bernoulli": "Bernoulli mixture",
    "categorical": "categorical mixture",
    "poisson": "Poisson mixture",
    "product": "mixture",
}
"""From the name of a family to what its mixture is called."""

OVER = {
    "bernoulli": " (latent class analysis)",
    "categorical": " (latent class analysis)",
    "product": " over columns of several kinds",
}
"""What is said besides of some."""

ADVI = ("advi", "advi-fullrank")

KINDS = {
    "point": "point estimate",
    "variational": "variational posterior",
    "mcmc": "MCMC draws",
    "draws": "independent draws",
    "exact": "exact posterior",
}


ROUTES = {
    "loo": "PSIS",
    "loo_refitted": "refits",
    "loo_approximate": "weighted q",
}
"""Where a leave-one-out score comes from, by the group of a tree that holds it."""


class View:
    """The results, with the look-ups every section makes; quantities that cost time are worked out once."""

    def __init__(self, results: Results) -> None:
        self.manifest: dict[str, Any] = results.manifest
        self.metrics = results.metrics
        self.data = results.data
        self.methods: dict[str, dict[str, Any]] = results.manifest["methods"]
        self.trees = {m: results.trees[m] for m in self.methods if m in results.trees}
        self._values = self.metrics.set_index(["method", "metric", "target"])[["value", "se"]].sort_index()

    @property
    def name(self) -> str:
        """The data's name."""
        return str(self.manifest["data"]["name"])

    @property
    def title(self) -> str:
        """The page's title in a browser."""
        return f"{self.name}: one {'hidden Markov model' if self.ordered else 'mixture'}, {len(self.methods)} methods"

    @property
    def n_clusters(self) -> int:
        """K."""
        return int(self.manifest["model"]["n_components"])

    @property
    def lengths(self) -> list[int]:
        """The number of rows of each sequence; none where the rows have no order."""
        return list(self.manifest["data"].get("lengths") or [])

    @property
    def ordered(self) -> bool:
        """Whether the rows are in the order of time, and the clusters the states of a hidden Markov model."""
        return bool(self.lengths)

    @property
    def one(self) -> str:
        """What a cluster is called."""
        return "state" if self.ordered else "cluster"

    @property
    def names_with_clusters(self) -> list[str]:
        """Names of the data's that hold that word, and stay as they are where clusters are called something else."""
        if not self.ordered:
            return []
        levels = (name for of in self.manifest["model"].get("levels", {}).values() for name in of)
        names = {self.name, *self.kinds, *levels, *self.methods}
        return sorted(name for name in map(str, names) if "cluster" in name.lower())

    @property
    def edges(self) -> np.ndarray:
        """Where each sequence begins, and where the last one ends."""
        return np.append(0, np.cumsum(self.lengths))

    @property
    def kinds(self) -> dict[str, str]:
        """What every feature holds, one of `mixtures.tables.KINDS`."""
        return dict(self.manifest["model"]["kinds"])

    @property
    def numbers(self) -> list[str]:
        """The features that hold numbers, whose clusters are Gaussian."""
        return [feature for feature, kind in self.kinds.items() if kind == "gaussian"]

    @property
    def gaussian(self) -> bool:
        """Whether all features hold numbers."""
        return len(self.numbers) == len(self.kinds)

    @property
    def blocks(self) -> list[str]:
        """The blocks of parameters that the model has."""
        return list(self.manifest["model"]["blocks"])

    @property
    def claims(self) -> list[str]:
        """What is judged of a method, in the order in which it is shown."""
        return list(EVERY)

    drawn_first: int = 0
    """Up to how many parameters the first picture of the page is their forest, all of them."""

    def word(self, method: str, state: str) -> str:
        """The state of a method's claim as a reader sees it."""
        return state

    @cached_property
    def number_trees(self) -> dict[str, xr.DataTree]:
        """The trees with the weights and the clusters' means and covariances of `numbers` alone as their posteriors."""
        return {m: quantities.of_numbers(tree) for m, tree in self.trees.items()}

    @property
    def at_a_glance(self) -> str:
        """What stands over the table of few numbers."""
        return (
            f"{self.name}: {self.n_fitted} points, K = {self.n_clusters}. Log density: mean over the points, in "
            "nats, ± its standard error"
        )

    @property
    def after_alignment(self) -> str:
        """When draws were checked, as a clause; empty where there are no labels to align."""
        return ", computed after its labels were aligned"

    @property
    def has_rows(self) -> bool:
        """Whether the data are rows of features."""
        return True

    @property
    def observed(self) -> list[str]:
        """What the observed values are called, where they are no rows of features."""
        return []

    @property
    def objectives(self) -> str:
        """What is to be known of objectives that are drawn side by side."""
        climbing = [self.label(m) for m in ("em", "map", "cavi") if m in self.trees]
        rising = f"That of {listing(climbing)} never falls. " if climbing else ""
        return (
            f"{rising}Objectives of different methods measure different things: their levels cannot be compared here."
        )

    @property
    def aligned(self) -> str:
        """What the draws are called."""
        return "aligned "

    @property
    def after_relabelling(self) -> str:
        """The same of samplers."""
        return ", after relabelling"

    @property
    def advi_notes(self) -> list[str]:
        """What is to be known of every run of ADVI."""
        return ["all starts are in one mode"]

    @property
    def scales(self) -> str:
        """On which scales parameters are compared; empty where their names tell."""
        return ""

    @property
    def units(self) -> str:
        """In what units parameters are shown."""
        return "the data's units"

    @property
    def logarithms(self) -> str:
        """Which parameters are drawn by their logarithms, as a clause."""
        return "; variances by their logarithms" if self.numbers else ""

    def moving(self, method: str) -> list[str]:
        """The scalars of a method that vary."""
        return [str(name) for name in self.scalars[method]]

    @property
    def reference(self) -> str | None:
        """The method the others are held against, if one ran."""
        method = self.manifest["reference"]["method"]
        return method if method in self.trees else None

    @property
    def other_references(self) -> list[str]:
        """The methods that could have been the reference, and are not."""
        return [m for m in self.manifest["references"] if m != self.reference]

    @property
    def trusted(self) -> bool:
        """Whether the reference passed its checks."""
        return bool(self.reference and self.manifest["reference"]["trusted"])

    @property
    def base(self) -> str:
        """The method whose order of points and parameters is used: the reference, or else the first that succeeded."""
        return self.reference or next(iter(self.trees))

    @cached_property
    def points(self) -> list[str]:
        """Methods that give one value for each parameter."""
        return [m for m in self.trees if self.draws(m) == 1]

    @cached_property
    def posteriors(self) -> list[str]:
        """Methods that give draws."""
        return [m for m in self.trees if m not in self.points]

    def draws(self, method: str) -> int:
        """The number of draws of a method, 1 of a point estimate."""
        sizes = self.trees[method]["posterior"].sizes
        return int(sizes["chain"] * sizes["draw"])

    @property
    def sampled(self) -> list[str]:
        """Methods whose draws come from a Markov chain."""
        return [m for m in self.trees if self.methods[m]["kind"] == "mcmc"]

    @property
    def added(self) -> list[str]:
        """Methods whose results were made elsewhere."""
        return [m for m, facts in self.methods.items() if facts.get("added")]

    @property
    def rich(self) -> bool:
        """Whether there are posteriors to compare, so that ArviZ, slow to import, is worth its time."""
        return bool(self.sampled) or len(self.posteriors) > 1

    @cached_property
    def scalars(self) -> dict[str, xr.Dataset]:
        """Draws of every scalar that varies, of one shape for all methods that have draws."""
        return quantities.varying(quantities.same_shape({m: self.natural(self.trees[m]) for m in self.posteriors}))

    @property
    def every_parameter(self) -> str:
        """How all of `scalars` are called."""
        return "all parameters"

    @cached_property
    def point_values(self) -> dict[str, dict[str, float]]:
        """Point-estimate method -> scalar, named as in a tree -> value."""
        return {
            m: {quantities.tree_safe(name): v.item() for name, v in self.natural(self.trees[m]).items()}
            for m in self.points
        }

    @cached_property
    def loo(self) -> dict[tuple[str, str], Any]:
        """Leave-one-out by method and by the group of its tree, one of `ROUTES`."""
        return {
            (m, route): quantities.leave_one_out(self.trees[m][route].to_dataset())
            for m in self.posteriors
            for route in ROUTES
            if route in self.trees[m]
        }

    def natural(self, tree: xr.DataTree) -> xr.Dataset:
        """The thinned draws of every scalar in the units of the data."""
        return quantities.scalars(tree)

    def scaled(self, name: str, values: np.ndarray) -> np.ndarray:
        """A scalar's values on the scale on which it is compared."""
        return parameters.scaled(name, values)

    def estimate_on_scale(self, name: str, value: float) -> float:
        """A point estimate of a scalar on that scale; missing where it is infinite there."""
        found = float(parameters.Scalar(name, np.array(value)).estimated)
        return np.nan if np.isinf(found) else found

    def on_log(self, name: str) -> bool:
        """Whether a scalar is drawn by its logarithm."""
        return (own := parameters.kind(name)) is not None and own.scale is np.log

    def block_of(self, target: str) -> str | None:
        """The block of a scalar; None for what is none."""
        return own.block if (own := parameters.kind(target)) is not None else None

    def on_scale(self, dataset: xr.Dataset) -> xr.Dataset:
        """Scalar variables on the scales on which they are compared."""
        return dataset.map(lambda values: values.copy(data=self.scaled(str(values.name), values.values)))

    def shown(self, names: Sequence[str]) -> tuple[dict[str, xr.Dataset], dict[str, dict[str, float]]]:
        """Draws and point values of these scalars as they are drawn, some by their logarithms."""
        logs = {name: f"log {name}" if self.on_log(name) else name for name in names}
        return quantities.shown(self.scalars, self.point_values, logs)

    def label(self, method: str) -> str:
        """A method's short name, the one on the figures."""
        with style.made_elsewhere(self.added):
            return style.look(method).label

    def colour(self, method: str) -> str:
        """A method's colour, the one on the figures."""
        with style.made_elsewhere(self.added):
            return style.look(method).colour

    @property
    def n_fitted(self) -> int:
        """Number of rows that the methods were fitted to, of which those shown may be a sample."""
        data = self.manifest["data"]
        return data.get("n_fitted") or data["n"]

    @property
    def subtitle(self) -> str:
        """The page's one line: what was fitted to what, by whom."""
        data = self.manifest["data"]
        methods = ", ".join(self.label(m) for m in self.methods)
        what = (
            f"{self.n_fitted} points in {data['d']}-D"
            if self.gaussian
            else f"{self.n_fitted} rows of {counted(data['d'], 'feature')}"
        )
        if self.ordered:
            what += f" in {counted(len(self.lengths), 'sequence')}"
        return f"{mixture(self.manifest['model'])} fitted to {what} by {methods}."

    def kind(self, method: str) -> str:
        """A method's kind, in words."""
        kind = str(self.methods[method]["kind"])
        return KINDS.get(kind, kind)

    def table(self, metric: str) -> pd.DataFrame:
        """All rows of one metric."""
        return self.metrics[self.metrics["metric"] == metric]

    def of(self, method: str, metric: str) -> pd.Series:
        """The values of one metric of one method, by target."""
        table = self.table(metric)
        return table[table["method"] == method].set_index("target")["value"]

    def has(self, *metrics: str) -> bool:
        """Whether any row of these metrics holds a number."""
        return bool(self.metrics.loc[self.metrics["metric"].isin(metrics), "value"].notna().any())

    def value(self, method: str, metric: str, target: str | None = None) -> float:
        """The value of the metric's row, or NaN; without a target, of its first one."""
        return self._entry(method, metric, target, "value")

    def se(self, method: str, metric: str, target: str | None = None) -> float:
        """The standard error of the metric's row, or NaN."""
        return self._entry(method, metric, target, "se")

    def _entry(self, method: str, metric: str, target: str | None, column: str) -> float:
        key = (method, metric) if target is None else (method, metric, target)
        if key not in self._values.index:
            return np.nan
        return float(np.ravel(np.asarray(self._values.loc[key, column], dtype=float))[0])


def mixture(model: Mapping[str, Any]) -> str:
    """Return what is fitted, in words: a mixture of so many clusters, or a chain of so many states, and of what."""
    k, covariance = model["n_components"], model["covariance"]
    clusters = f"{k} cluster{'s' if k > 1 else ''}"
    structure = f" with {COVARIANCES[covariance]}" if covariance in COVARIANCES else ""
    if "start" in model:
        states = f"{FAMILIES[model['family']].removesuffix('mixture')}{'state' if k == 1 else 'states'}"
        return f"A hidden Markov model of {k} {states}{structure}"
    return f"A {FAMILIES[model['family']]} of {clusters}{OVER.get(model['family'], '')}{structure}"
