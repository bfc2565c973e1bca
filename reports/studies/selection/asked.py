"""What is asked of a selection: the criteria, as far as they can judge the rows, and the numbers of clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from mixtures.checks import check_whole
from reports.comparison.capacity import MOST_CANDIDATES
from reports.comparison.catalogue import UNDRAWN, undrawn
from reports.comparison.names import check_known
from reports.comparison.prepared import Data
from reports.metrics.criterion import CRITERIA, EXCHANGEABLE, ONLY_SYSTEMS, SEQUENTIAL, TESTS
from reports.studies.selection.choices import distinct

# Points up to which the posterior is sampled without being asked.
LARGEST_SAMPLED = 5000

# Rows of sequences up to which leave-future-out samples the posterior again without being asked.
LARGEST_REFITTED = 500


def numbers_of_clusters(components: int | Iterable[int]) -> list[int]:
    """The numbers asked for, each once and in rising order, or a ValueError where they are not whole or too many."""
    asked = list(islice([components] if isinstance(components, int | np.integer) else components, MOST_CANDIDATES + 1))
    for number in asked:
        check_whole("components", number)
    numbers = sorted({int(number) for number in asked})
    if len(numbers) > MOST_CANDIDATES:
        raise ValueError(f"components has more than {MOST_CANDIDATES:,} numbers of clusters; give fewer")
    return numbers


def criteria_for(
    data: Data, structures: Sequence[str], criteria: Iterable[str] | None, *, rows: int
) -> tuple[str, ...]:
    """The criteria asked for, or by default all but tests that can judge the data and are not too long at so many rows.

    Raises
    ------
    ValueError
        If one of those asked for cannot judge the data, or is not known.
    """
    named = criteria is not None
    asked = [name for name in CRITERIA if name not in TESTS] if criteria is None else list(criteria)
    asked = judging(asked, data, named=named)
    if undrawn(data, structures):
        sampled = [name for name in asked if name in CRITERIA and CRITERIA[name].part in ("gibbs", "lfo")]
        if sampled and named:
            raise ValueError(
                f"Gibbs sampling, which {', '.join(sampled)} needs, cannot draw {UNDRAWN}; choose others, or covariance "
                "diag or spherical"
            )
        asked = [name for name in asked if name not in sampled]
    return check_criteria(asked, sampled=named or rows <= LARGEST_SAMPLED)


def judging(criteria: Iterable[str], data: Data, *, named: bool) -> list[str]:
    """The criteria that can judge these rows.

    Of sequences none that leaves out single rows, nor of one sequence one that leaves it out; of other rows not
    leave-future-out, nor of many unless it was named.

    Raises
    ------
    ValueError
        If others were named.
    """
    criteria = list(criteria)
    if of_systems := [name for name in criteria if name in ONLY_SYSTEMS]:
        if named:
            raise ValueError(f"{', '.join(of_systems)} is for linear dynamical systems; give --lds, or leave it out")
        criteria = [name for name in criteria if name not in ONLY_SYSTEMS]
    if data.lengths is None:
        if named and (other := [name for name in criteria if name in SEQUENTIAL]):
            raise ValueError(f"{', '.join(other)} needs rows in the order of time; give sequences, or leave it out")
        return [name for name in criteria if name not in SEQUENTIAL]
    if not named and len(data.x) > LARGEST_REFITTED:
        criteria = [name for name in criteria if name not in SEQUENTIAL]
    parts = ("cv", "cv-cavi") if len(data.lengths) == 1 else ()
    able = [
        name for name, own in CRITERIA.items() if name not in (*EXCHANGEABLE, *ONLY_SYSTEMS) and own.part not in parts
    ]
    other = [name for name in criteria if name in CRITERIA and name not in able]
    if other and named:
        raise ValueError(
            f"{', '.join(other)} cannot judge {'one sequence' if parts else 'sequences'}: the rows that are left out or drawn "
            f"anew would have no order; choose from {', '.join(able)}"
        )
    return [name for name in criteria if name not in other]


def check_criteria(criteria: Iterable[str], *, sampled: object = True) -> tuple[str, ...]:
    """The names without repetitions in their usual order, or a ValueError that offers the nearest.

    Those that need draws from the posterior are left out unless ``sampled``.
    """
    asked = distinct(criteria)
    for criterion in asked:
        check_known("criterion", criterion, CRITERIA)
    if not asked:
        raise ValueError(f"no criterion given; choose from {', '.join(CRITERIA)}")
    return tuple(name for name in CRITERIA if name in asked and (sampled or CRITERIA[name].part != "gibbs"))
