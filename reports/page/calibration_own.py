"""The page of a calibration on any PyMC model: of methods of one's own, and of NUTS and ADVI."""

from __future__ import annotations

from typing import Any

from reports.page.blocks import Bullets, Cell, Code, Facts, Section, Table
from reports.page.build import write
from reports.page.calibration import JUDGED, verdict_line
from reports.page.calibration_setting import runs
from reports.page.calibration_view import KINDS, CalibrationView
from reports.page.glossary_systems import OF_MODELS, OF_SYSTEMS, QUANTITIES
from reports.page.numbers import percent
from reports.page.term import Term
from reports.page.words import listing, literal, moment, short
from reports.studies.calibration.study import Calibration
from reports.studies.own.departures import FALSE_ALARMS, LEVEL
from reports.studies.own.generative import LOG_JOINT, LOG_LIKELIHOOD
from reports.studies.own.ours import ADVI, NUTS, RUNS
from reports.studies.own.quantities import ENTRIES
from reports.studies.own.study import Settings

DENSITIES = {
    LOG_LIKELIHOOD: "log p(x | θ) of all observed variables, in nats",
    LOG_JOINT: "log p(x, θ), the log likelihood plus the log prior density, on the scale of the model",
}


class OwnView(CalibrationView):
    """A calibration of methods on a model of the user's own, or on a linear dynamical system."""

    alpha = LEVEL
    point = ()
    name = "Calibration"

    def __init__(self, calibration: Calibration[Settings]) -> None:
        super().__init__(calibration)
        ranked = [str(name) for name in self.manifest["quantities"]]
        self.quantities = [name for name in ranked if name in self.quantities]

    @property
    def system(self) -> dict[str, Any] | None:
        """The linear dynamical system that is calibrated, or None."""
        found: dict[str, Any] | None = self.manifest["model"].get("system")
        return found

    @property
    def glossary(self) -> dict[str, Term]:
        """The technical words as this page means them."""
        return OF_SYSTEMS if self.system else OF_MODELS

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        if self.system:
            return (
                f"Intervals of {listing([self.label(m) for m in self.methods])} against the parameters of {self.simulations} "
                f"data sets drawn from the prior of a linear dynamical system ({self.system['name']})."
            )
        variables = [literal(name) for name in self.manifest["model"]["free"]]
        return (
            f"Intervals of {listing([self.label(m) for m in self.methods])} against the parameters of {self.simulations} data "
            f"sets drawn from the prior of a PyMC model of {listing(variables)}."
        )

    @property
    def about(self) -> str:
        """What data sets are."""
        if self.system:
            rows, D = self.system["rows"], self.system["features"]
            return f" of {rows} rows and {D} feature{'s' * (D > 1)}"
        return f" of {listing(self.kinds)}"

    @property
    def meanings(self) -> dict[str, str]:
        """What the quantities are."""
        if self.system:
            shown = {
                name: text for name, text in QUANTITIES.items() if any(q.startswith(name) for q in self.quantities)
            }
            return DENSITIES | shown
        own = {literal(name): "a function of your own" for name in self.settings.quantities}
        return {
            **DENSITIES,
            **own,
            "a variable": "its value; [..] names the entry, by its coordinates or counted from 0",
            "mean of, sd of": f"over the entries of a variable that has more than {ENTRIES} of them, of which a few are ranked",
        }

    @property
    def kinds(self) -> list[str]:
        """The observed variables."""
        return [literal(name) for name in self.manifest["model"]["observed"]]

    def kind(self, method: str) -> str:
        """What a method is, in two words."""
        return "your method" if method in self.settings.own and not self.system else KINDS[method]

    def variational(self, method: str) -> bool:
        """Whether its medians are judged apart from its widths: the user's may be variational, so they are."""
        return (method in self.settings.own and not self.system) or super().variational(method)

    def article(self, quantity: str) -> str:
        """A quantity within a sentence: a variable's name has no article."""
        return super().article(quantity) if quantity in (LOG_LIKELIHOOD, LOG_JOINT) else literal(quantity)

    @property
    def sided(self) -> list[str]:
        """All but the densities, which draws that are too narrow displace although no parameter is."""
        return [name for name in self.quantities if name not in (LOG_LIKELIHOOD, LOG_JOINT)]

    @property
    def notes(self) -> list[str]:
        """How the draws of the methods came about."""
        L, notes = self.settings.draws, []
        if self.system and "gibbs" in self.methods:
            notes.append(
                f"Of Markov chains {L} draws are kept, evenly spaced; where their lowest bulk ESS is below a quarter of that, "
                "the simulation counts as not converged and is kept."
            )
        elif self.settings.own and not self.system:
            notes.append(
                f"A method of your own gives draws, or something to draw from. Of Markov chains {L} draws are kept, evenly "
                "spaced; where their lowest bulk ESS is below a quarter of that, the simulation counts as not converged and is "
                "kept."
            )
        if "nuts" in self.methods:
            notes.append(
                f"NUTS runs {NUTS['chains']} chains of {NUTS['draws']} draws. Where the lowest bulk ESS of the free variables "
                f"is below {L}, it runs again, up to {RUNS} times in all. Of all these draws {L} are kept, evenly spaced. A "
                "simulation whose ESS stays below, or that has a divergence, counts as not converged and is kept."
            )
        if any(method.startswith("advi") for method in self.methods):
            notes.append(
                f"ADVI takes {ADVI['steps']} steps from {ADVI['restarts']} starts and keeps the highest ELBO; where that had "
                "not settled, the simulation counts as not converged and is kept."
            )
        return notes


def render(calibration: Calibration[Settings]) -> str:
    """Return the page of a calibration as one self-contained HTML page."""
    view = OwnView(calibration)
    return write(view, sections(view))


def sections(view: OwnView) -> list[Section]:
    """The sections of the page."""
    return [section for build in (*JUDGED, runs, setting, limits) if (section := build(view)) is not None]


def verdict_lines(calibration: Calibration[Settings]) -> list[str]:
    """One line a method, its intervals; and one for its posterior and its medians where they depart."""
    view, lines = OwnView(calibration), []
    for method in view.methods:
        lines.append(verdict_line(view, method))
        if method in view.ranks:
            checks = [view.posterior(method), *([view.middle(method)] if view.variational(method) else [])]
            lines += [f"{view.label(method)}: {c.said}, {c.because}" for c in checks if c.state == "differs"]
    return lines


def setting(view: OwnView) -> Section:
    """Model, seed, versions, command."""
    s, manifest = view.settings, view.manifest
    section = Section(
        "setting",
        "Model and settings",
        "Parameters are drawn from the prior of the model, data given the parameters, and every method gets the data.",
    )
    section.blocks += [
        Code(manifest["command"], "Command"),
        Code(manifest["model"]["text"], "Model, as PyMC writes it"),
    ]
    system = view.system or {"equations": [], "priors": []}
    facts: list[tuple[str, Any]] = [
        *(("Equation", text) for text in system["equations"]),
        *(("Prior", text) for text in system["priors"]),
        ("Data sets", f"{view.simulations}, each{view.about}"),
        ("Ranks", f"among {s.draws} draws, of {len(view.quantities)} quantities"),
        (
            "False alarms",
            f"at most {percent(FALSE_ALARMS)} for an exact method: {percent(view.alpha)} for each of three checks",
        ),
        ("Seed", short(s.seed)),
        ("Written", moment(str(manifest["created"]))),
        ("Machine", str(manifest["platform"])),
    ]
    section.blocks.append(Facts(facts))
    rows = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(Table("Versions of the software", ["package", "version"], rows, fold=True))
    return section


def limits(view: OwnView) -> Section:
    """What this page cannot say."""
    lacking = [
        f"{view.label(m)} has no {listing([literal(q) for q in view.quantities if q not in r])}: a variable that they need is "
        "not among its draws."
        for m, r in view.ranks.items()
        if len(r.columns) < len(view.quantities)
    ]
    return Section(
        "limits",
        "Limits",
        "What this page cannot tell.",
        [
            Bullets(
                [
                    "The results are about data drawn from this prior. A method that is calibrated on average over the prior "
                    "may be wrong on one data set, and a wide prior draws data unlike any real ones.",
                    "The model is true here by design. Nothing is said about data that the model does not fit.",
                    "Uniform ranks of these quantities do not prove that a posterior is exact: an error that affects none of "
                    "them is not found, nor one below the detectable size.",
                    "The quantities depend on each other; a method that fails in one often fails in several.",
                    *lacking,
                ]
            )
        ],
    )
