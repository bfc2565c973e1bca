"""The last sections of a calibration's page: what was run and failed, model, prior and settings, limits."""

from __future__ import annotations

from reports.page.blocks import Bullets, Cell, Code, Facts, Section, Table, known, value
from reports.page.calibration_view import CalibrationView
from reports.page.cells import share, time_cell
from reports.page.opening import source_of, without_padding
from reports.page.words import COMPLETE, listing, moment, short, symbols


def runs(view: CalibrationView) -> Section:
    """What was run, and what failed."""
    L = view.settings.draws
    section = Section(
        "runs",
        "Runs and failures",
        "A simulation in which a method failed is left out of that method's numbers above: they are about the data sets that "
        "it can fit.",
    )
    one = view.table[view.table["quantity"] == view.quantities[0]]
    rows = []
    for method in view.methods:
        own = one[one["method"] == method]
        ok = own[own["rank"].notna()]
        rows.append(
            [
                name_cell(view, method),
                Cell(str(len(own)), len(own)),
                Cell(str(view.failed(method)), view.failed(method), tone="bad" if view.failed(method) else ""),
                value(float((~ok["converged"].astype(bool)).sum()) if len(ok) else None),
                value(ok["ess"].median()),
                value(ok["ess"].min()),
                share(ok["lost"].sum() / (ok["lost"] + L).sum() if ok["lost"].notna().any() else None),
                time_cell(own["seconds"].median()),
            ]
        )
    section.blocks.append(
        Table(
            "Runs of each method; the effective sample size (ESS) of a simulation is the lowest over its quantities",
            *known(["method", "simulations", "failed", "not converged", "ESS, median", "ESS, lowest", "resamples replaced",
                    "time, median"], rows),
        )
    )  # fmt: skip
    if notes := view.notes:
        section.blocks.append(Bullets(notes))
    errors = one[one["failure"].notna()].groupby(["method", "failure"]).size().reset_index(name="count")
    if len(errors):
        columns = errors[["method", "count", "failure"]].itertuples(index=False, name=None)
        rows = [[name_cell(view, m), Cell(str(count), float(count)), Cell(e)] for m, count, e in columns]
        section.blocks.append(Table("Failures", ["method", "simulations", "error"], rows))
    return section


def setting(view: CalibrationView) -> Section:
    """Model, prior, seed, versions, command."""
    s, manifest = view.settings, view.manifest
    section = Section(
        "setting",
        "Model, prior and settings",
        "All that is needed to run this calibration again. The prior does not depend on the data: parameters are drawn from "
        "it, data given the parameters, and every method gets the data and this prior.",
    )
    section.blocks.append(Code(manifest["command"], "Command"))
    section.blocks.append(
        Code(
            symbols(manifest["model"]["text"]).replace("; ", "\n"),
            f"Model (after {source_of(manifest['model']['family'], s.sequences > 0)})",
        )
    )
    prior, numbers = manifest["model"]["prior"], "gaussian" in s.kinds
    section.blocks.append(
        Facts(
            [
                ("Data sets", f"{view.simulations}, each of {view.size}"),
                ("Missing values", "none"),
                ("Clusters", f"K = {s.n_components}" + (f", {s.covariance} covariance" if numbers else "")),
                *([("Kinds", listing(view.kinds))] if len(set(s.kinds)) > 1 else []),
                (
                    "Prior of start and transitions" if s.sequences else "Weights' prior",
                    f"Dirichlet, α0 = {short(s.alpha0)}",
                ),
                (
                    "Clusters' prior",
                    "; ".join(f"{symbols(name)} = {short(without_padding(name, prior[name]))}" for name in prior),
                ),
                *(
                    [("Units", "the mean of a cluster's precision is 1 for every feature, and m0 is 0")]
                    if numbers
                    else []
                ),
                ("Ranks", f"among {s.draws} draws"),
                ("Seed", short(s.seed)),
                ("Written", moment(str(manifest["created"]))),
                ("Machine", str(manifest["platform"])),
            ]
        )
    )
    rows = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(Table("Versions of the software", ["package", "version"], rows, fold=True))
    return section


def limits(view: CalibrationView) -> Section:
    """What this page cannot say."""
    section = Section("limits", "Limits", "What this page cannot tell.")
    items = [
        f"The results are about data sets of {view.size} from this prior. For other clusters or other sizes a method may do "
        "better or worse, and a method that is calibrated on average over the prior may be wrong on one data set.",
        COMPLETE,
        "The model is true here by design. Nothing is said about data that the model does not fit.",
        "Uniform ranks of these quantities do not prove that a posterior is exact: an error that affects none of them is not "
        "found, nor one below the detectable size.",
        "The quantities depend on each other; a method that fails in one often fails in several.",
    ]
    if "em" in view.methods:
        items.append(
            "EM's bootstrap intervals are made for repeated data given fixed parameters, and ignore the prior; here the "
            "parameters come from the prior."
        )
    section.blocks.append(Bullets(items))
    return section


def name_cell(view: CalibrationView, method: str) -> Cell:
    """A method's cell, marked with its colour."""
    return Cell(view.label(method), method=method)
