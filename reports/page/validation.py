"""The page of a validation: what a result of one's own can stand in for, and why not."""

from __future__ import annotations

from typing import Any

from reports.comparison.verdict import CORRELATIONS
from reports.page import right
from reports.page.agreement import agreement, forest
from reports.page.blocks import Bullets, Cell, Code, Facts, Notice, Section, Table
from reports.page.cells import name_cell
from reports.page.closing import cost
from reports.page.convergence import convergence
from reports.page.numbers import DASH
from reports.page.opening import verdict
from reports.page.trust import reference
from reports.page.validation_view import ValidationView
from reports.page.view import ADVI
from reports.page.words import listing, literal, short

OVERVIEW = 12
"""Parameters in the first picture."""


def opening(view: ValidationView) -> Section:
    """Whether each result of one's own is right, and the one picture that shows it."""
    section = Section("answer", "Answer", "What the numbers below come to, for this model and these data.")
    section.blocks.append(Facts(right.answers(view)))
    if view.reference and len(view.trees) > 1 and view.scalars[view.reference].data_vars:
        section.blocks.append(forest(view, view.reference, view.label(view.reference), OVERVIEW, "answer"))
    return section


def setting(view: ValidationView) -> Section:
    """The model, its data, seeds, versions, command."""
    manifest = view.manifest
    data, model = manifest["data"], manifest["model"]
    section = Section("setting", "Model, data and settings", "Everything needed to run this validation again.")
    if view.added:
        section.blocks.append(
            Notice(
                f"Made elsewhere and added: {listing([literal(view.label(m)) for m in view.added])}. What was added is a "
                "distribution over variables of this model; from which data it came is not known here.",
                "warn",
            )
        )
    section.blocks += [Code(manifest["command"], "Command"), Code(model["text"], "Model, as PyMC writes it")]
    observed = [f"{name} ({' × '.join(map(str, shape)) or 'one number'})" for name, shape in data["observed"].items()]
    section.blocks.append(
        Facts(
            [
                ("Model", literal(f"{data['name']} ({data['source']})" if data["source"] else data["name"])),
                ("Observed", literal(listing(observed)) if observed else "nothing: the posterior is the prior"),
                ("Free numbers", str(model["n_parameters"])),
                *([("Improper priors", literal(listing(model["flat_priors"])))] if model["flat_priors"] else []),
                *([("Not compared", literal(left_out(model["left_out"])))] if model["left_out"] else []),
                *([("What was done", literal("; ".join(model["notes"])))] if model["notes"] else []),
                ("Digest of the data", str(data["digest"])),
                ("Seed", short(manifest["seed"])),
                ("Written", str(manifest["created"])),
                ("Machine", str(manifest["platform"])),
            ]
        )
    )
    section.blocks += [variables(view), methods(view)]
    versions = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(
        Table("Versions of the software", ["package", "version"], versions, fold=True, slug="versions")
    )
    return section


def left_out(names: list[str]) -> str:
    """Return which deterministics are too large to be compared."""
    return f"{listing(names)}, which {'is' if len(names) == 1 else 'are'} too large or no number"


def variables(view: ValidationView) -> Table:
    """Return what is compared: the variables of the model, their shapes, and on which scale."""
    rows = [
        [
            Cell(literal(name)),
            Cell("free" if facts["free"] else "deterministic"),
            Cell(" × ".join(map(str, facts["shape"])) or "scalar"),
            Cell(facts["scale"]),
        ]
        for name, facts in view.manifest["model"]["variables"].items()
    ]
    return Table("Variables that are compared", ["variable", "kind", "shape", "compared by"], rows, slug="variables")


def methods(view: ValidationView) -> Table:
    """Return what was run and added."""
    rows: list[list[Cell]] = []
    for method, facts in view.methods.items():
        options = ", ".join(f"{key} = {short(value)}" for key, value in facts["options"].items())
        lacks = literal(listing(facts["missing"])) if facts["missing"] else DASH
        rows.append(
            [
                name_cell(view, method),
                Cell(facts["title"]),
                Cell(view.kind(method)),
                Cell(options or DASH),
                Cell(lacks),
            ]
        )
    columns = ["method", "in full", "gives", "options", "lacks"]
    return Table("Methods and their options", columns, rows, slug="methods")


def limits(view: ValidationView) -> Section:
    """What this page cannot say."""
    section = Section("limits", "Limits", "What this page cannot tell.")
    items = [
        f"The page is about one model, {literal(view.name)}, one set of data and one seed.",
        "Agreement with the reference is agreement under this model and this prior; it does not make the model true.",
        "A sampler that passed its checks can have missed a mode that no chain found.",
        f"Numbers are compared one at a time, and in pairs by their rank correlations (“{CORRELATIONS}”); what three or more "
        "do together is seen by k-hat alone, where there is a density q.",
        "The limits of the verdict are conventions, the same for all models; each card says what they mean.",
    ]
    if view.trees and not view.trusted:
        items.insert(0, "There is no trusted reference: no statement here may be read as “this posterior is right”.")
    if any(m in ADVI or m in ("laplace", "pathfinder") for m in view.trees):
        items.append(
            "ADVI, Laplace's approximation and Pathfinder are Gaussian on PyMC's unconstrained scales. Under another "
            "parametrisation of the same model they would be other approximations."
        )
    if failed := [literal(view.label(m)) for m, f in view.methods.items() if f["status"] != "ok"]:
        items.append(f"{listing(failed)} failed and could not be compared.")
    section.blocks.append(Bullets(items))
    return section


SECTIONS: tuple[Any, ...] = (opening, verdict, setting, reference, convergence, agreement, cost, limits)
"""The sections of the page, in their order."""
