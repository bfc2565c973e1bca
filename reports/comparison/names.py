"""Names that a user gives: those that are not known are refused with the nearest that is."""

from __future__ import annotations

from collections.abc import Iterable

from mixtures import COVARIANCES
from mixtures.tables import unknown
from reports.comparison.catalogue import METHODS


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known with a ValueError that offers the nearest."""
    known = list(known)
    if name not in known:
        raise ValueError(unknown(what, name, known))


def check_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions, or a ValueError that offers the nearest."""
    methods = tuple(dict.fromkeys(methods))
    for method in methods:
        check_known("method", method, METHODS)
    if not methods:
        raise ValueError(f"no method given; choose from {', '.join(METHODS)}")
    return methods


def check_covariance(name: str, kinds: Iterable[str] = ("gaussian",)) -> None:
    """Refuse a covariance structure that does not exist, or that no column has, with a ValueError that says what to do.

    ``kinds`` are those of the columns. The default structure is refused of none.
    """
    check_known("covariance structure", name, COVARIANCES)
    if name != "full" and "gaussian" not in kinds:
        raise ValueError(f"covariance is {name!r}, and no column is of numbers that have one; leave it out")
