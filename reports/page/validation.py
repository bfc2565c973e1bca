"""The page of a validation: what a result of one's own can stand in for, and why not."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.comparison.verdict import CORRELATIONS
from reports.metrics.checks import EXTREME
from reports.page import right
from reports.page.agreement import agreement, forest
from reports.page.blocks import Bullets, Cell, Code, Drawing, Facts, Figure, Notice, Section, Table, value
from reports.page.cells import name_cell
from reports.page.closing import cost
from reports.page.convergence import convergence
from reports.page.dynamics import dynamics
from reports.page.evidence import Number, estimates
from reports.page.glossary_systems import QUANTITIES
from reports.page.joint import pair_figure
from reports.page.leave_one_out import leave_one_out
from reports.page.numbers import DASH, number
from reports.page.opening import verdict
from reports.page.prior import power_scaling
from reports.page.scores import statistics_blocks, tail_words
from reports.page.trust import reference
from reports.page.validation_view import ValidationView
from reports.page.view import ADVI
from reports.page.words import listing, literal, moment, short
from reports.validation.scales import safe

OUTSIDE = 0.01
"""A probability below which a true value lies in a tail."""


def opening(view: ValidationView) -> Section:
    """Whether each result of one's own is right, and the one picture that shows it."""
    section = Section("answer", "Answer", "What the numbers below come to, for this model and these data.")
    section.blocks.append(Facts(right.answers(view)))
    if view.reference and len(view.trees) > 1 and view.scalars[view.reference].data_vars:
        section.blocks.append(forest(view, view.reference, view.label(view.reference), view.drawn_first, "answer"))
    return section


def setting(view: ValidationView) -> Section:
    """The model, its data, seeds, versions, command."""
    manifest = view.manifest
    data, model = manifest["data"], manifest["model"]
    section = Section("setting", "Model, data and settings", f"Everything needed to run this {view.called} again.")
    if view.added:
        section.blocks.append(
            Notice(
                f"Made elsewhere and added: {listing([literal(view.label(m)) for m in view.added])}. What was added is a "
                "distribution over variables of this model; from which data it came is not known here.",
                "warn",
            )
        )
    if view.kept:
        section.blocks.append(Notice(view.kept))
    section.blocks += [Code(manifest["command"], "Command"), Code(model["text"], "Model, as PyMC writes it")]
    if model["graph"]:
        words = "Graph of the model: what depends on what; shaded variables are observed."
        section.blocks.append(Figure(words, [Drawing(model["graph"], "Graph of the model")], slug="graph"))
    observed = [f"{name} ({' × '.join(map(str, shape)) or 'one number'})" for name, shape in data["observed"].items()]
    section.blocks.append(
        Facts(
            [
                (
                    view.word_of_source,
                    literal(f"{data['name']} ({data['source']})" if data["source"] else data["name"]),
                ),
                ("Observed", literal(listing(observed)) if observed else "nothing: the posterior is the prior"),
                ("Free numbers", str(model["n_parameters"])),
                *([("Improper priors", literal(listing(model["flat_priors"])))] if model["flat_priors"] else []),
                *([("Not compared", literal(left_out(model["left_out"])))] if model["left_out"] else []),
                *([("What was done", literal("; ".join(model["notes"])))] if model["notes"] else []),
                ("Digest of the data", str(data["digest"])),
                ("Seed", short(manifest["seed"])),
                ("Written", moment(str(manifest["created"]))),
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


OF_A_SYSTEM = QUANTITIES | {
    "log likelihood": "log p(x | θ), without the states; a point estimate's is near its maximum, which is drawn but not judged"
}
"""What is compared of a linear dynamical system."""


def variables(view: ValidationView) -> Table:
    """Return what is compared: the variables of the model, their shapes, and on which scale."""
    system = "dynamics" in view.manifest
    rows = [
        [
            Cell(literal(name)),
            Cell(OF_A_SYSTEM[name] if system else "free" if facts["free"] else "deterministic"),
            Cell(" × ".join(map(str, facts["shape"])) or "scalar"),
            Cell(facts["scale"]),
        ]
        for name, facts in view.manifest["model"]["variables"].items()
    ]
    columns = ["variable", "what it is" if system else "kind", "shape", "compared by"]
    return Table("Variables that are compared", columns, rows, slug="variables")


def methods(view: ValidationView) -> Table:
    """Return what was run and added."""
    rows: list[list[Cell]] = []
    columns = ["method", "in full", "gives", "options", "lacks"]
    columns += ["not of the model"] if any(facts.get("ignored") for facts in view.methods.values()) else []
    for method, facts in view.methods.items():
        options = ", ".join(f"{key} = {short(value)}" for key, value in facts["options"].items())
        lacks = literal(listing(facts["missing"])) if facts["missing"] else DASH
        ignored = literal(listing(facts["ignored"])) if facts.get("ignored") else DASH
        cells = (
            name_cell(view, method),
            Cell(facts["title"]),
            Cell(view.kind(method)),
            Cell(options or DASH),
            Cell(lacks),
        )
        rows.append([*cells, Cell(ignored)][: len(columns)])
    return Table("Methods and their options", columns, rows, slug="methods")


def limits(view: ValidationView) -> Section:
    """What this page cannot say."""
    section = Section("limits", "Limits", "What this page cannot tell.")
    items = [
        f"The page is about one model (“{literal(view.name)}”), one set of data and one seed.",
        "Agreement with the reference is agreement under this model and this prior; it does not make the model true.",
        "A sampler that passed its checks can have missed a mode that no chain found.",
        f"Numbers are compared one at a time, and in pairs by their rank correlations (“{CORRELATIONS}”); what three or more "
        "do together is seen by k-hat alone, where there is a density q.",
        "The limits of the verdict are conventions, the same for all models; each card says what they mean.",
    ]
    if view.trees and not view.trusted:
        items.insert(0, "There is no trusted reference: no statement here may be read as “this posterior is right”.")
    if normal := [literal(view.label(m)) for m in view.trees if m in ADVI or m in ("laplace", "pathfinder")]:
        items.append(
            f"The posterior of {listing(normal)} is Gaussian on PyMC's unconstrained scales. Under another parametrisation of "
            "the same model it would be another approximation."
        )
    if failed := [literal(view.label(m)) for m, f in view.methods.items() if f["status"] != "ok"]:
        items.append(f"{listing(failed)} failed and could not be compared.")
    section.blocks.append(Bullets(items))
    return section


def joint(view: ValidationView) -> Section | None:
    """Pairs of numbers."""
    blocks = pair_figure(view)
    lead = (
        "How numbers move together. Agreement of margins is not agreement of the joint: a factorised posterior loses the tilt "
        "of these clouds."
    )
    return Section("joint", "Joint view", lead, blocks) if blocks else None


EVIDENCE = {
    "bridge": Number(
        1,
        "bridge sampling",
        "An estimate from posterior draws: half of them give a Gaussian on unconstrained scales, the other half are held "
        "against draws of it. Its standard error knows nothing of a mode that every chain missed.",
    ),
    "smc": Number(
        1, "sequential Monte Carlo", "The log of the mean over independent runs, with the standard error of that mean."
    ),
    "importance": Number(
        2,
        "importance sampling from q",
        "An estimate from draws of q, with the standard error of its smoothed weights. Where q misses a part of the posterior "
        "it is too low by more than its error: a k-hat above 0.7 warns of that.",
    ),
    "elbo": Number(3, "ELBO", "A lower bound: the mean of log p(y, u) − log q(u) over draws of q, with its error."),
    "laplace": Number(
        4,
        "Laplace's approximation",
        "The volume of the Gaussian at the mode times its height; without an error of its own.",
    ),
}


STATES_TOO = (
    " Here q is of the parameters alone. The bound that CAVI climbs, in the figure of objectives, has the states in q too, and "
    "is lower."
)
"""What is to be said of the bound of a linear dynamical system."""


def evidence(view: ValidationView) -> Section | None:
    """Estimates, bounds and approximations of the log evidence."""
    lead = (
        "The log evidence log p(y) in nats, by every way that the methods offer: estimates with their standard errors, bounds "
        "and approximations."
    )
    of_states = {"elbo": EVIDENCE["elbo"]._replace(meaning=EVIDENCE["elbo"].meaning + STATES_TOO)}
    blocks = estimates(view, EVIDENCE | of_states if view.manifest.get("dynamics") else EVIDENCE)
    return Section("evidence", "Evidence", lead, list(blocks)) if blocks else None


def prediction(view: ValidationView) -> Section | None:
    """Leave-one-out of the observed values."""
    blocks = leave_one_out(view)
    lead = (
        "Leave-one-out log predictive density of the observed values, each left out alone: higher is better. These scores "
        "judge prediction, not how faithful a posterior is."
    )
    return Section("prediction", "Prediction", lead, blocks) if blocks else None


def checks(view: ValidationView) -> Section | None:
    """Posterior and prior predictive checks."""
    section = Section(
        "checks",
        "Predictive checks",
        "Data sets simulated from each posterior should look like the data. Where those of all methods differ from them alike, "
        "the model, not the method, is at fault.",
    )
    section.blocks += statistics_blocks(view)
    if rows := view.manifest["prior_checks"]:
        body = [
            [
                Cell(literal(row["statistic"])),
                value(row["observed"]),
                value(row["median"]),
                Cell(f"{number(row['low'])} to {number(row['high'])}"),
                Cell(tail_words(row["p"]), row["p"], tone="" if EXTREME <= row["p"] <= 1 - EXTREME else "bad"),
            ]
            for row in rows
        ]
        caption = (
            "Prior predictive check: statistics of data sets simulated from the prior, beside the data's. A share near 0 or 1 "
            "says that the data surprise the prior"
        )
        head = ["statistic", "observed", "median of the prior", "98% of the prior", "share above"]
        section.blocks.append(Table(caption, head, body, slug="prior-checks"))
    if reason := view.manifest["no_checks"]:
        section.blocks.append(Notice(f"What is missing here: {literal(reason)}.", "warn"))
    return section if section.blocks else None


def prior_sensitivity(view: ValidationView) -> Section | None:
    """How far the posterior leans on its prior."""
    facts = view.manifest["prior_sensitivity"]
    lead = (
        "How far the conclusions rest on the [[prior]]: how the posterior moves when prior or likelihood counts a little more "
        "or less."
    )
    return Section("prior-sensitivity", "Prior sensitivity", lead, power_scaling(view, facts)) if facts else None


def truth(view: ValidationView) -> Section | None:
    """The true values, where they are known."""
    found = view.table("truth_rank")
    if found.empty:
        return None
    true = true_values(view)
    methods = [method for method in view.trees if method in set(found["method"])]
    rows = []
    for target in dict.fromkeys(found["target"]):
        ranks = [view.value(method, "truth_rank", target) for method in methods]
        cells = [Cell(number(r, 2), r, tone="bad" if min(r, 1 - r) < OUTSIDE else "") for r in ranks]
        rows.append([Cell(literal(target)), value(true[target]), *cells])
    caption = (
        "True values, and the probability of lower ones under each method. One below 0.01 or above 0.99 is where a right "
        "posterior rarely has the truth. One data set says little; mixtures calibrate draws many"
    )
    head = ["number", "truth", *(view.label(method) for method in methods)]
    lead = "Where the values that generated the data lie in each posterior."
    return Section("truth", "True values", lead, [Table(caption, head, rows, fold=len(rows) > 24, slug="truth")])


def true_values(view: ValidationView) -> dict[str, float]:
    """Return the true values by number."""
    by_variable: dict[str, list[str]] = {}
    for number_, variable in view.variables.items():
        by_variable.setdefault(variable, []).append(number_)
    given = {safe(name): np.ravel(values) for name, values in view.manifest["truth"].items()}
    return {
        number_: float(x)
        for variable, values in given.items()
        for number_, x in zip(by_variable.get(variable, ()), values, strict=False)
    }


SECTIONS: tuple[Any, ...] = (
    opening,
    verdict,
    dynamics,
    setting,
    reference,
    convergence,
    agreement,
    joint,
    evidence,
    prediction,
    checks,
    truth,
    prior_sensitivity,
    cost,
    limits,
)
"""The sections of the page, in their order."""

SHARED = agreement, checks
"""From the one of these to the other, sections take about as long to draw as the others and to write the folder."""
