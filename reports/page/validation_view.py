"""One look at a validation: the results of any model, with the look-ups that the sections of the page make."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mixtures.datasets.dataset import counted
from reports.comparison.verdict import CORRELATIONS, SEVERITY
from reports.page import quantities
from reports.page.glossary_systems import OF_MODELS, OF_SYSTEMS
from reports.page.term import Term
from reports.page.view import View
from reports.page.words import listing, moment
from reports.validation.scales import natural, on_scale, variable_of

if TYPE_CHECKING:
    from reports.comparison.results import Results


WITHIN = "within limits"
"""How a method is called that departs for certain, by no more than the limits of the verdict allow."""

FEWEST = 2
"""Numbers that all methods have, below which those without others are not drawn."""


class ValidationView(View):
    """The results of a validation. Blocks are the model's variables, and there are neither clusters nor points."""

    def __init__(self, results: Results) -> None:
        super().__init__(results)
        posteriors = [tree["posterior"].to_dataset() for tree in self.trees.values()]
        self._attrs = {str(name): v.attrs for posterior in posteriors for name, v in posterior.data_vars.items()}
        self.variables = {
            scalar: variable for posterior in posteriors for scalar, variable in variable_of(posterior).items()
        }

    drawn_first = 12

    @property
    def title(self) -> str:
        """The page's title in a browser."""
        return f"{self.name}: one model, {counted(len(self.methods), 'method')}"

    @property
    def subtitle(self) -> str:
        """The page's one line: which model, how large, by whom."""
        model, data = self.manifest["model"], self.manifest["data"]
        methods = ", ".join(self.label(m) for m in self.methods)
        observed = f" and {counted(data['n'], 'observed value')}" if data["n"] else ""
        system = self.manifest.get("dynamics")
        what = f"linear dynamical system ({system['name']})" if system else "PyMC model"
        return f"A {what} with {counted(model['n_parameters'], 'free number')}{observed}; posteriors by {methods}."

    @property
    def glossary(self) -> dict[str, Term]:
        """The technical words as this page means them."""
        return OF_SYSTEMS if "dynamics" in self.manifest else OF_MODELS

    @property
    def called(self) -> str:
        """What was done."""
        return "comparison" if "dynamics" in self.manifest else "validation"

    @property
    def word_of_source(self) -> str:
        """What the name and the source are those of."""
        return "Data" if "dynamics" in self.manifest else "Model"

    @property
    def at_a_glance(self) -> str:
        """What stands over the table of few numbers."""
        return f"{self.name}: {counted(self.manifest['model']['n_parameters'], 'free number')}"

    @property
    def names_with_clusters(self) -> list[str]:
        """There are no clusters, and no text is about them."""
        return []

    @property
    def numbers(self) -> list[str]:
        """No features hold numbers, since there are none."""
        return []

    @property
    def gaussian(self) -> bool:
        """Whether clusters are Gaussian, of which there are none."""
        return False

    @property
    def claims(self) -> list[str]:
        """The variables, and how they depend on each other."""
        return [*self.blocks, CORRELATIONS]

    @property
    def has_rows(self) -> bool:
        """The data are values of observed variables."""
        return False

    @cached_property
    def observed(self) -> list[str]:  # type: ignore[override]
        """The names of the observed values, one variable behind the other, counted from 0."""
        return [
            f"{name}[{', '.join(map(str, place))}]" if v.ndim else str(name)
            for name, v in self.data.data_vars.items()
            for place in np.ndindex(v.shape)
        ]

    @property
    def objectives(self) -> str:
        """What the objectives are: bounds of one number, but for those of points."""
        if self.points:
            return (
                "A log likelihood, a log posterior density and an ELBO are different quantities and have different heights. "
                "An ELBO is a lower bound of the log evidence: the higher its end, the nearer q is to the posterior."
            )
        return "Each is a lower bound of the log evidence: the higher its end, the nearer q is to the posterior."

    @property
    def aligned(self) -> str:
        """There is nothing to align."""
        return ""

    @property
    def after_alignment(self) -> str:
        """There are no labels to align."""
        return ""

    @property
    def after_relabelling(self) -> str:
        """There are no labels."""
        return ""

    @property
    def advi_notes(self) -> list[str]:
        """ADVI starts about PyMC's start."""
        return []

    @property
    def scales(self) -> str:
        """On which scales variables are compared."""
        by_scale: dict[str, list[str]] = {}
        for name, facts in self.manifest["model"]["variables"].items():
            by_scale.setdefault(facts["scale"], []).append(name)
        words = {"log": "logarithms", "log odds": "log odds within their bounds"}
        said = [f"{listing(names)} by {words[scale]}" for scale, names in by_scale.items() if scale in words]
        plain = by_scale.get("as it is", [])
        rest = [f"{listing(plain)} as {'they are' if len(plain) > 1 else 'it is'}"] if plain else []
        return f"What is compared: {'; '.join([*said, *rest])}."

    @property
    def units(self) -> str:
        """In what units variables are shown."""
        return "the units of the model"

    @property
    def logarithms(self) -> str:
        """Which variables are drawn by their logarithms."""
        return "; positive variables by their logarithms" if any(map(self.on_log, self.variables)) else ""

    @cached_property
    def scalars(self) -> dict[str, xr.Dataset]:
        """Draws of every number that all methods have and that varies in all, of one shape.

        Where that is hardly a number, methods that lack some are left out instead.
        """
        every = {m: self.natural(self.trees[m]) for m in self.posteriors}
        if not every:
            return {}
        names = list(every[self.base])
        common = [name for name in names if all(name in each for each in every.values())]
        if len(common) < FEWEST < len(names):
            common, every = names, {m: each for m, each in every.items() if set(names) <= set(each)}
        return quantities.varying(quantities.same_shape({m: each[common] for m, each in every.items()}))

    @property
    def every_parameter(self) -> str:
        """How all of `scalars` are called."""
        drawn = len(self.scalars[self.base].data_vars)
        return "all parameters" if drawn == len(self.moving(self.base)) else "the parameters that vary in every method"

    def natural(self, tree: xr.DataTree) -> xr.Dataset:
        """The thinned draws of every number in the units of the model."""
        posterior = quantities.thinned(tree["posterior"].to_dataset())
        named = {name: (("chain", "draw"), values) for name, values in natural(posterior).items()}
        return xr.Dataset(named, coords={"chain": posterior["chain"], "draw": posterior["draw"]})

    def moving(self, method: str) -> list[str]:
        """The numbers of a method that vary."""
        draws = self.natural(self.trees[method])
        return [str(name) for name, v in draws.items() if float(v.std()) > 1e-12 * abs(float(v.mean()))]

    def scaled(self, name: str, values: np.ndarray) -> np.ndarray:
        """A number's values on the scale on which it is compared."""
        return on_scale(values, self._attrs[self.variables[name]])

    def estimate_on_scale(self, name: str, value: float) -> float:
        """A point estimate of a number on that scale."""
        return float(self.scaled(name, np.array(value)))

    def on_log(self, name: str) -> bool:
        """Whether a number is drawn by its logarithm."""
        return self._attrs[self.variables[name]]["scale"] == "log"

    def block_of(self, target: str) -> str | None:
        """The variable of a number; None for what is none."""
        return self.variables.get(target)

    def word(self, method: str, state: str) -> str:
        """A state as a reader sees it: a method that departs for certain, by no more than is allowed, is not said to agree."""
        return WITHIN if state == "agrees" and self.overall(method) == WITHIN else state

    def overall(self, method: str) -> str:
        """The worst state of a method's claims, or that a departure within their limits is certain."""
        if not self.trusted:
            return "cannot tell"
        judged = self.manifest["verdict"].get(method, {})
        worst = max((said["state"] for said in judged.values()), key=SEVERITY.__getitem__, default="cannot tell")
        return WITHIN if worst == "agrees" and method in self.manifest["faults"] else worst

    @property
    def kept(self) -> str:
        """Which draws are those of an earlier run, in a sentence."""
        made = {self.label(m): facts["made"] for m, facts in self.methods.items() if "made" in facts}
        if not made:
            return ""
        return (
            f"The draws of {listing(list(made))} were kept from an earlier run of the same model, data, seed and settings (the "
            f"last of {moment(max(made.values()))}), and so were their times; --no-cache runs all anew."
        )

    def lacking(self, method: str) -> list[str]:
        """The variables that a method does not have."""
        return list(self.methods[method]["missing"])
