"""Modes that no relabelling can bring together: what is in them, how often each sampler is there, and how sure that is."""

from __future__ import annotations

from typing import Any

from reports.page.blocks import Cell, Notice, Table
from reports.page.cells import share
from reports.page.numbers import DASH, fixed, percent
from reports.page.view import View
from reports.page.words import listing

# The part of a chain's draws outside its usual mode from which it is said to move between modes.
MOVES = 0.01


def modes_blocks(view: View) -> list[Notice | Table]:
    """Return what was found of modes among the draws of all samplers."""
    found: dict[str, dict[str, Any]] = view.manifest["modes"]
    if not found:
        return []
    names = listing([view.label(m) for m in found])
    first = next(iter(found.values()))
    number = len(first["modes"])
    if number == 1:
        blocks: list[Notice | Table] = [
            Notice(f"Once labels are set aside, the draws of {names} form one [[mode]]. {_halves(first)}", "good"),
        ]
    else:
        blocks = [
            Notice(
                f"The draws of {names} fall into {number} [[mode|modes]] that differ by more than labels: different "
                "clusterings of the data. A method that settles in one of them misses the others, and a mean over all of them "
                f"describes none. {_halves(first)}",
                "warn",
            ),
            _table(view, found),
            *(Notice(text, "warn") for m, facts in found.items() if (text := _stuck(view.label(m), facts))),
        ]
    if nowhere := _nowhere(view, found):
        blocks.append(Notice(f"No draw is where {nowhere} settled.", "warn"))
    blocks.append(
        Notice(
            "How modes are told apart: every draw climbs CAVI's bound, and draws that end at one optimum belong together. Two "
            "optima are one mode unless the density of draws between them falls below half of the lower peak. A mode with "
            "fewer than 30 of at most 4000 draws goes unnoticed, and so does one that no sampler met."
        )
    )
    return blocks


def _table(view: View, found: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for number in range(len(next(iter(found.values()))["modes"])):
        there = [m for m in view.methods if number in (facts["sits"].get(m) for facts in found.values())]
        for method, facts in found.items():
            mode = facts["modes"][number]
            rows.append(
                [
                    Cell(str(number + 1), number + 1),
                    Cell(" + ".join(fixed(size, 0) for size in mode["sizes"])),
                    Cell(view.label(method), method=method),
                    _share(mode),
                    Cell(", ".join(percent(part) for part in mode["by_chain"])),
                    Cell(listing([view.label(m) for m in there] or [DASH])),
                ]
            )
    rest = listing([f"{share(facts['rest']).text} of {view.label(m)}" for m, facts in found.items()])
    return Table(
        "Modes, numbered alike for all samplers, and the share of each sampler's draws that is there ± standard error from "
        f"stretches of its chains. In none of them: {rest}",
        ["mode", "sizes of its clusters", "sampler", "its draws", "by chain", "methods that sit there"],
        rows,
    )


def _share(mode: dict[str, Any]) -> Cell:
    """Return a share with its error, both as percentages."""
    if mode["se"] is None:
        return share(mode["share"])
    places = 0 if mode["se"] >= 0.02 else 1
    return Cell(f"{fixed(100 * mode['share'], places)}% ± {fixed(100 * mode['se'], places)}%", mode["share"])


def _halves(facts: dict[str, Any]) -> str:
    """Return whether both halves of the draws show as many modes."""
    early, late = facts["halves"]
    whole = len(facts["modes"])
    if early == late == whole:
        return f"Each half of the draws alone shows {'it' if whole == 1 else 'as many'}."
    return (
        f"The number is not certain: the first halves of the chains alone show {early}, the second halves {late}. More draws "
        "would settle it."
    )


def _stuck(label: str, facts: dict[str, Any]) -> str | None:
    """Return what is to be said of a sampler whose chains keep to modes of their own."""
    chains = list(zip(*(mode["by_chain"] for mode in facts["modes"]), strict=True))
    homes = [max(range(len(shares)), key=lambda m, shares=shares: shares[m]) for shares in chains]  # type: ignore[misc]
    if any(shares[home] < 1 - MOVES - facts["rest"] for shares, home in zip(chains, homes, strict=True)):
        return None
    if len(set(homes)) == 1:
        elsewhere = listing([str(m + 1) for m in range(len(facts["modes"])) if m != homes[0]])
        return (
            f"No chain of {label} leaves mode {homes[0] + 1}: its draws say nothing of mode{'s' if ' ' in elsewhere else ''} "
            f"{elsewhere}."
        )
    return f"No chain of {label} moves between modes: its shares tell where the chains started, not how probable the modes are."


def _nowhere(view: View, found: dict[str, dict[str, Any]]) -> str | None:
    """Return the methods that settled where no sampler has a draw."""
    settled = {m for facts in found.values() for m in facts["sits"] if m in view.methods}
    nowhere = [m for m in view.methods if m in settled and all(f["sits"].get(m) is None for f in found.values())]
    return listing([view.label(m) for m in nowhere]) if nowhere else None
