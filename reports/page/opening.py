"""How the page begins: the verdict, and what was fitted to what."""

from __future__ import annotations

from reports.comparison.verdict import CLAIMS
from reports.page.blocks import Card, Cards, Cell, Code, Facts, Notice, Section, State, Table, Use
from reports.page.cells import name_cell
from reports.page.numbers import DASH
from reports.page.view import View
from reports.page.words import listing, short, symbols


def verdict(view: View) -> Section:
    """What each method may be used for."""
    section = Section(
        "verdict",
        "Verdict",
        "Where each method agrees with the reference on these data, and the check that decided it.",
    )
    if view.trees and not view.trusted:
        reason = view.manifest["reference"]["reason"]
        why = f"{view.label(view.reference)} {reason}" if view.reference else reason
        section.blocks.append(
            Notice(f"There is no trusted reference, so nothing here says that a posterior is right: {why}.", "warn")
        )
    cards = []
    for method, facts in view.methods.items():
        judged = view.manifest["verdict"].get(method, {})
        failed = facts["status"] != "ok"
        words = "failed" if failed else view.kind(method) + (", the reference" if method == view.reference else "")
        found: dict[tuple[State, str], list[str]] = {}
        for claim in CLAIMS:
            if claim in judged:
                found.setdefault((judged[claim]["state"], judged[claim]["because"]), []).append(claim)
        uses = [] if failed else [Use(", ".join(names), state, because) for (state, because), names in found.items()]
        cards.append(Card(method, view.label(method), words, str(facts["error"]) if failed else "", uses))
    section.blocks.append(Cards(cards))
    return section


def setting(view: View) -> Section:
    """Model, priors, data, seeds, versions, command."""
    manifest = view.manifest
    data, model, prior = manifest["data"], manifest["model"], manifest["model"]["prior"]
    section = Section(
        "setting",
        "Model, data and settings",
        "Everything needed to run this comparison again. All methods run here were given the same data, model and prior.",
    )
    if view.added:
        section.blocks.append(
            Notice(
                f"Made elsewhere and added: {listing([view.label(m) for m in view.added])}. What was added is a distribution "
                "of the right shape; from which data and under which prior it came is not known here.",
                "warn",
            )
        )
    section.blocks.append(Code(manifest["command"], "Command"))
    section.blocks.append(Code(symbols(model["text"]).replace("; ", "\n"), "Model (after Bishop, PRML, section 10.2)"))
    unit = "standardised features" if data["standardized"] else "the data's own units"
    labels = data["label_column"]
    classes = data["n_classes"]
    held = f"; {data['n_heldout']} more points held out" if data["n_heldout"] else "; none held out"
    section.blocks.append(
        Facts(
            [
                ("Data", f"{data['name']} ({data['source']})" if data["source"] else str(data["name"])),
                ("Size", f"{data['n']} points, {data['d']} features{held}"),
                ("Features", ", ".join(map(str, data["features"]))),
                ("True classes", f"{classes}, from {labels or 'the source'}" if classes else "not known"),
                ("Units", f"parameters are in {unit}"),
                ("Digest", str(data["digest"])),
                ("Clusters", f"K = {model['n_components']}, {model['covariance']} covariance"),
                ("Weights' prior", f"Dirichlet, α0 = {short(model['alpha0'])}"),
                ("Clusters' prior", "; ".join(f"{symbols(name)} = {short(prior[name])}" for name in prior)),
                ("Seed", short(manifest["seed"])),
                ("Written", str(manifest["created"])),
                ("Machine", str(manifest["platform"])),
            ]
        )
    )
    options = [
        [
            name_cell(view, m),
            Cell(f["title"]),
            Cell(view.kind(m)),
            Cell(", ".join(f"{k} = {short(v)}" for k, v in f["options"].items()) or DASH),
        ]
        for m, f in view.methods.items()
    ]
    section.blocks.append(Table("Methods and their options", ["method", "in full", "gives", "options"], options))
    versions = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(Table("Versions of the software", ["package", "version"], versions, fold=True))
    return section
