"""The page of a calibration of the verdict: are its false alarms as rare, and defects found as surely, as they should be?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.comparison.verdict import NAMES, TITLES
from reports.page.blocks import Bullets, Cell, Code, Facts, Figure, Notice, Section, Table, image
from reports.page.build import write
from reports.page.numbers import DASH, number, percent, with_error
from reports.page.words import moment
from reports.plots import style
from reports.plots.verdicts import Panel, plot_power
from reports.studies.verdicts import rates
from reports.studies.verdicts.cases import DEFECTS, PARAMETERS, RIGHT, TRIED
from reports.studies.verdicts.problems import PROBLEMS
from reports.studies.verdicts.rates import STATES, Demand, Rate
from reports.studies.verdicts.study import Verdicts

# Wrong cells that are listed one by one.
LISTED = 20

OUTCOMES = {"holds": "holds", "fails": "does not hold", "cannot tell": "too few data sets to tell"}


class View:
    """What the template and all sections ask for."""

    name = "Calibration of the verdict"

    def __init__(self, study: Verdicts) -> None:
        self.study, self.table, self.manifest = study, study.table, study.manifest
        self.problems = [name for name in PROBLEMS if name in set(self.table["problem"])]
        self.demands = rates.demands(self.table)

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        return (
            f"{self.study.seeds} data sets of each of {len(self.problems)} problems whose posterior is known exactly: what "
            "does the verdict say of draws that are right, and of draws with a planted defect?"
        )

    def colour(self, method: str) -> str:
        """A method's colour, the one on the figures."""
        return style.look(method).colour


def render(study: Verdicts) -> str:
    """Return the page as one self-contained HTML page."""
    view = View(study)
    return write(view, [build(view) for build in SECTIONS])


def lines(study: Verdicts) -> list[str]:
    """One line a rate: what was found, what was asked, whether it holds."""
    return [
        f"{d.name.capitalize()}: {d.words} in {_text(d.found)} of {d.found.cells} cells, asked {_limit(d)}: {OUTCOMES[d.state]}"
        for d in rates.demands(study.table)
    ]


def answer(view: View) -> str:
    """The rates in two sentences."""
    right, known = rates.right(view.table), rates.chosen(view.table, *rates.KNOWN)
    alarms, agrees, found = rates.rate(right, "differs"), rates.rate(right, "agrees"), rates.rate(known, "differs")
    return (
        f"Of {alarms.cells} claims about methods that are right, {alarms.hits} are said to differ ({_interval(alarms)}) and "
        f"{percent(agrees.share)} to agree. Intervals half as wide as they should be are said to differ in {found.hits} of "
        f"{found.cells} claims ({_interval(found)})."
    )


def verdict(view: View) -> Section:
    """What is asked of the verdict, and what was found."""
    section = Section(
        "verdict",
        "Error rates",
        "A cell is one claim about one method on one data set. Rates are shares of cells. Their 95% intervals allow for cells "
        "of one data set having the same data and reference.",
    )
    section.blocks.append(Notice(answer(view)))
    rows = [
        [
            Cell(d.name, note=d.words),
            Cell(str(d.found.cells), d.found.cells),
            _rate(d.found),
            Cell(_limit(d)),
            Cell(OUTCOMES[d.state], tone={"holds": "good", "fails": "bad"}.get(d.state, "")),
        ]
        for d in view.demands
    ]
    section.blocks.append(
        Table("Error rates of the verdict, with 95% intervals", ["rate", "cells", "found", "asked", "result"], rows)
    )
    return section


def right(view: View) -> Section:
    """What is said of methods that are right."""
    section = Section(
        "right",
        "Methods that are right",
        "Draws whose distribution is the exact posterior: none should be said to differ. “Cannot tell” is no error, but where "
        "it is frequent, the draws are too few for the limits.",
    )
    by_problem = {name: PROBLEMS[name].title for name in view.problems}
    section.blocks += [
        _said(rates.right(view.table), "problem", by_problem, RIGHT, "methods that are right"),
        _said(rates.right(view.table), "claim", TITLES, RIGHT, "methods that are right", fold=True),
    ]
    tried = rates.tried(view.table).dropna(subset=["trusted"])
    if len(tried):
        by_run = tried.assign(differs=tried["state"] == "differs").groupby(["problem", "seed"])
        differs, passed = by_run["differs"].any(), by_run["trusted"].min() == 1
        section.blocks += [
            Notice(
                "Our Gibbs sampler is right only where its chains have found every mode. Of data with so few points the "
                "posterior has many; what is said of it is a finding about the sampler and not counted above. It is said to "
                f"differ in {int(differs.sum())} of {len(differs)} runs, in {int((differs & passed).sum())} of them after "
                "passing the checks of a reference."
            ),
            _said(tried, "problem", by_problem, TRIED, "the Gibbs sampler"),
        ]
    section.blocks.append(_named("What the methods are", ["method", "meaning"], RIGHT | TRIED))
    return section


def power(view: View) -> Section:
    """How often defects are found, by their size."""
    section = Section(
        "power",
        "Defects of known size",
        "One weight, one location and one variance are narrowed or shifted; for the other two claims a share of the draws is "
        "replaced. Beyond the limit (grey line) “agrees” is an error, and “differs” is what should be said.",
    )
    known = rates.chosen(view.table, *rates.KNOWN)
    found = percent(rates.rate(known, "differs").share)
    section.blocks.append(
        Figure(
            "Share of cells said to differ and said to agree by the true size of the defect, with 95% intervals; larger "
            f"defects are to the right. Intervals half as wide as they should be are said to differ in {found} of cells.",
            [image(plot_power(list(_panels(view))), "Power of the verdict by claim and kind of defect")],
        )
    )
    rows = []
    for method, defect in DEFECTS.items():
        for size in defect.sizes:
            part = rates.chosen(view.table, method, size)
            for claim in defect.claims:
                names = [Cell(defect.words), Cell(number(size), size), Cell(TITLES[claim])]
                rows.append([*names, *_shares(part[part["claim"] == claim])])
    columns = ["defect", "size", "claim", *STATES, "failed"]
    section.blocks.append(Table("What is said of defects, with 95% intervals", columns, rows, fold=True))
    rows = [
        [Cell(PROBLEMS[name].title), Cell(TITLES[claim]), *_shares(_of(known, problem=name, claim=claim))]
        for name in view.problems
        for claim in PARAMETERS
    ]
    title = f"What is said of intervals {rates.KNOWN[1]:g} times as wide as they should be, with 95% intervals"
    section.blocks.append(Table(title, ["problem", "claim", *STATES, "failed"], rows, fold=True))
    return section


def wrong(view: View) -> Section:
    """The cells in which the verdict is wrong, and where it could not tell."""
    section = Section(
        "wrong",
        "Wrong and undecided",
        "Every wrong cell with the check that decided it, and what kept the verdict from an answer about methods that are "
        "right.",
    )
    right, inside, outside = (
        rates.right(view.table),
        *(rates.planted(view.table, place) for place in ("inside", "outside")),
    )
    for part, state, title in (
        (right, "differs", "Right, and said to differ"),
        (inside, "differs", "Within the limits, and said to differ"),
        (outside, "agrees", "Beyond the limits, and said to agree"),
    ):
        if len(found := _of(part, state=state)):
            section.blocks.append(_listed(title, found))
    undecided = _of(right, state="cannot tell")
    if len(undecided):
        names = ["problem", "method", "claim", "quantity"]
        rows = [
            [
                Cell(PROBLEMS[row["problem"]].title),
                Cell(row["method"]),
                Cell(TITLES[row["claim"]]),
                Cell(NAMES.get(row["quantity"], DASH)),
                Cell(str(row["cells"]), row["cells"]),
            ]
            for row in _records(undecided.value_counts(names, dropna=False).reset_index(name="cells"))
        ]
        title = "Right, and the verdict could not tell, by the quantity that decided"
        section.blocks.append(Table(title, [*names, "cells"], rows, fold=True))
    if not section.blocks:
        section.blocks.append(Notice("No cell is wrong, and none undecided.", "good"))
    return section


def problems(view: View) -> Section:
    """What the problems are, and what failed."""
    section = Section(
        "problems",
        "Problems and runs",
        "Data are drawn anew for every seed. The posterior is an exact sum over all allocations of the points to the clusters.",
    )
    rows = []
    for name in view.problems:
        problem, part = PROBLEMS[name], _of(view.table, problem=name)
        sizes = problem.n, problem.dimension, problem.n_components, part["seed"].nunique(), len(part)
        failed = int(part["failure"].notna().sum())
        rows.append(
            [
                Cell(problem.title, note=problem.words),
                *(Cell(str(size), size) for size in sizes),
                Cell(str(failed), failed, tone="bad" if failed else ""),
            ]
        )
    section.blocks.append(Table("Problems", ["problem", "N", "D", "K", "data sets", "cells", "failed"], rows))
    failures = (
        view.table[view.table["failure"].notna()]
        .value_counts(["problem", "method", "failure"])
        .reset_index(name="cells")
    )
    if len(failures):
        rows = [
            [
                Cell(PROBLEMS[row["problem"]].title),
                Cell(row["method"]),
                Cell(str(row["cells"]), row["cells"]),
                Cell(row["failure"]),
            ]
            for row in _records(failures)
        ]
        section.blocks.append(Table("What failed", ["problem", "method", "cells", "error"], rows))
    return section


def setting(view: View) -> Section:
    """Draws, seed, versions, command, and what this page cannot say."""
    s, manifest = view.study.settings, view.manifest
    section = Section("setting", "Settings and limits", "Everything needed to run this again, and what it cannot tell.")
    section.blocks += [
        Code(manifest["command"], "Command"),
        Facts(
            [
                ("Data sets", f"{view.study.seeds} of each problem"),
                ("Draws of each side", f"{s.chains} × {s.draws}"),
                ("Seed", str(s.seed)),
                ("Written", moment(str(manifest["created"]))),
                ("Machine", str(manifest["platform"])),
            ]
        ),
        Bullets(
            [
                "The rates are those of these problems and of so many draws.",
                "Chains that have missed a mode can pass their checks; no verdict knows.",
                "A defect of the parameters is planted in one scalar a block. One in all of them is found more often.",
                "Coverage is judged beside shift and width. A defect counts as beyond the limits also where the true coverage "
                "of the spoiled interval is too low: where a posterior ends sharply, a small shift is enough.",
            ]
        ),
        _named("Versions of the software", ["package", "version"], manifest["versions"]),
    ]
    return section


SECTIONS = (verdict, right, power, wrong, problems, setting)


def markdown(study: Verdicts) -> str:
    """The rates as two tables in Markdown: what was asked and found, then by problem."""
    view = View(study)
    asked = [
        [f"{d.name}: {d.words}", str(d.found.cells), _text(d.found), _limit(d), OUTCOMES[d.state]] for d in view.demands
    ]
    width = f"{rates.KNOWN[1]:g}"
    by_problem = []
    for name in view.problems:
        part = _of(view.table, problem=name)
        said = [rates.rate(rates.right(part), state) for state in STATES]
        found = rates.rate(rates.chosen(part, *rates.KNOWN), "differs")
        by_problem.append([PROBLEMS[name].title, *(_text(rate) for rate in (*said, found))])
    tables = (
        [["rate", "cells", "found (95% interval)", "asked", "result"], *asked],
        [["problem", *(f"right: {state}" for state in STATES), f"width ratio {width}: differs"], *by_problem],
    )
    return "\n\n".join(_as_markdown(rows) for rows in tables) + "\n"


def _as_markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def _said(
    table: pd.DataFrame, by: str, titles: Mapping[str, str], methods: Mapping[str, str], of: str, *, fold: bool = False
) -> Table:
    """What is said of some methods, a row a problem or claim and method."""
    rows = [
        [Cell(title), Cell(method), *_shares(part)]
        for key, title in titles.items()
        for method in methods
        if len(part := _of(table, **{by: key}, method=method))
    ]
    return Table(
        f"What is said of {of}, by {by}, with 95% intervals", [by, "method", *STATES, "failed"], rows, fold=fold
    )


def _panels(view: View) -> Iterator[Panel]:
    """Two rows of four: width in three blocks and clusters, shift in three blocks and density."""
    for method in ("width", "clusters", "shift", "density"):
        defect = DEFECTS[method]
        for claim in defect.claims:
            found = []
            for size in defect.sizes:
                part = _of(rates.chosen(view.table, method, size), claim=claim)
                found += [(size, state, *rates.rate(part, state)[:3]) for state in ("differs", "agrees")]
            curve = pd.DataFrame(found, columns=["size", "state", "share", "low", "high"])
            yield Panel(TITLES[claim], defect.axis, curve, defect.limit)


def _listed(title: str, found: pd.DataFrame) -> Table:
    """Cells one by one."""
    rows = [
        [
            Cell(PROBLEMS[row["problem"]].title, note=f"seed {row['seed']}"),
            Cell(row["method"], note="" if pd.isna(row["size"]) else number(row["size"])),
            Cell(TITLES[row["claim"]]),
            Cell(f"{NAMES[row['quantity']]} of {row['target']}: {with_error(row['value'], row['se'])}"),
        ]
        for row in _records(found.head(LISTED))
    ]
    shown = f", the first {LISTED} of {len(found)}" if len(found) > LISTED else ""
    return Table(f"{title}{shown}", ["problem", "method", "claim", "check that decided"], rows, fold=True)


def _named(title: str, columns: Sequence[str], facts: Mapping[str, Any]) -> Table:
    return Table(title, columns, [[Cell(name), Cell(str(fact))] for name, fact in facts.items()], fold=True)


def _of(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _shares(part: pd.DataFrame) -> list[Cell]:
    failed = int(part["failure"].notna().sum())
    return [*(_rate(rates.rate(part, state)) for state in STATES), Cell(str(failed), failed)]


def _rate(found: Rate) -> Cell:
    return Cell(percent(found.share), found.share, note=_interval(found))


def _interval(found: Rate) -> str:
    return f"{percent(found.low).removesuffix('%')} to {percent(found.high)}"


def _text(found: Rate) -> str:
    return f"{percent(found.share)} ({_interval(found)})"


def _limit(demand: Demand) -> str:
    return f"{'at most' if demand.most else 'at least'} {percent(demand.limit)}"
