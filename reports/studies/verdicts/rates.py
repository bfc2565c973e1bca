"""From cells to rates: how often the verdict says each of its three words, and whether that is as often as it may."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from reports.studies.intervals import wilson_of_means
from reports.studies.verdicts.cases import DEFECTS, RIGHT, TRIED

STATES = ("agrees", "cannot tell", "differs")

FALSE_ALARMS, FALSE_COMFORT, POWER = 0.01, 0.05, 0.99
"""At most, at most and at least: the first two are what the rule of the verdict is built for, the last is asked of it."""

KNOWN = ("width", 0.5)
"""The defect that must be found: intervals half as wide as they should be, as a factorised posterior gives them."""


class Rate(NamedTuple):
    """A share of cells with its 95% interval; not a number where there is no cell.

    Attributes
    ----------
    share, low, high : float
    hits, cells : int
        The cells that it counts, of how many; those that failed are not among these.
    """

    share: float
    low: float
    high: float
    hits: int
    cells: int


def rate(table: pd.DataFrame, state: str) -> Rate:
    """How often the verdict says ``state``.

    Cells of one problem and seed share data and reference, so that it is not they that are independent but their shares: the
    interval is Wilson's for as many cases as have the spread of these (`reports.studies.intervals.wilson_of_means`), and
    where all shares are equal, for as many as there are of them.
    """
    table = table[table["failure"].isna()]
    said = table["state"] == state
    if not len(said):
        return Rate(float("nan"), float("nan"), float("nan"), 0, 0)
    shares = said.groupby([table["problem"], table["seed"]]).mean()
    return Rate(*wilson_of_means(shares.to_numpy(float)), int(said.sum()), len(said))


class Demand(NamedTuple):
    """What is asked of the verdict, and what was found.

    Attributes
    ----------
    name, words : str
    found : Rate
    limit : float
    most : bool
        Whether the limit is the highest rate allowed, or the lowest.
    """

    name: str
    words: str
    found: Rate
    limit: float
    most: bool

    @property
    def state(self) -> str:
        """ "holds" or "fails" where the whole interval says so, else "cannot tell"."""
        if self.found.low > self.limit:
            return "fails" if self.most else "holds"
        if self.found.high <= self.limit:
            return "holds" if self.most else "fails"
        return "cannot tell"


def demands(table: pd.DataFrame) -> list[Demand]:
    """The rates that are asked of the verdict."""
    return [
        Demand(
            "false alarms",
            "a method that is right is said to differ",
            rate(right(table), "differs"),
            FALSE_ALARMS,
            most=True,
        ),
        Demand(
            "false alarms within the limits",
            "a defect within the limits is said to differ",
            rate(planted(table, "inside"), "differs"),
            FALSE_ALARMS,
            most=True,
        ),
        Demand(
            "false comfort",
            "a defect beyond the limits is said to agree",
            rate(planted(table, "outside"), "agrees"),
            FALSE_COMFORT,
            most=True,
        ),
        Demand(
            "power",
            "intervals half as wide as they should be are said to differ",
            rate(chosen(table, *KNOWN), "differs"),
            POWER,
            most=False,
        ),
    ]


def right(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of methods that are right."""
    return table[table["method"].isin(RIGHT)]


def tried(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of methods that are right where all goes well."""
    return table[table["method"].isin(TRIED)]


def planted(table: pd.DataFrame, place: str) -> pd.DataFrame:
    """The cells of defects that are in truth "inside" the limits, "at" one or "outside"."""
    defects = zip(table["method"], table["size"], table["coverage"], strict=True)
    return table[[name in DEFECTS and DEFECTS[name].place(size, coverage) == place for name, size, coverage in defects]]


def chosen(table: pd.DataFrame, method: str, size: float) -> pd.DataFrame:
    """The cells of one defect of one size."""
    return table[(table["method"] == method) & (table["size"] == size)]
