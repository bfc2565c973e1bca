"""The parts of a selection's work, spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from reports.metrics.criteria import Candidate, Found
from reports.studies.workers import Tell, as_finished, processes

if TYPE_CHECKING:
    import pandas as pd

Task = tuple[Candidate, str]
"""A candidate and the part of the work that is to be done of it."""


def examined(
    examine: Callable[[Candidate, str, Any], Found],
    candidates: Iterable[Candidate],
    parts: Sequence[str],
    setting: Any,
    *,
    workers: int,
    tell: Tell,
) -> dict[Task, Found]:
    """What is found of each candidate in each part of the work, as it came in; ``tell`` hears how many parts are done."""
    # the long ones first, so that no worker is left with one at the end
    tasks = sorted(((c, part) for c in candidates for part in parts), key=lambda task: -task[0].components)
    found: dict[Task, Found] = {}
    if tasks:
        tell(0, len(tasks))
    with processes(workers), closing(as_finished(_one, ((examine, task, setting) for task in tasks))) as results:
        for task, result in results:
            found[task] = result
            tell(len(found), len(tasks))
    return found


def _one(examine: Callable[[Candidate, str, Any], Found], task: Task, setting: Any) -> tuple[Task, Found]:
    return task, examine(*task, setting)


def fitted(
    candidates: Sequence[Candidate],
    parameters: Mapping[Candidate, int],
    found: Mapping[tuple[Candidate, str], Found],
) -> pd.DataFrame:
    """How the fits went, a row a candidate; a column is named after its part of the work."""
    import pandas as pd

    rows = []
    for c in candidates:
        row: dict[str, Any] = {**c._asdict(), "parameters": parameters[c]}
        for (candidate, part), own in found.items():
            if candidate == c:
                row |= {f"{part}_{fact}": value for fact, value in own.facts.items()} | {f"{part}_failed": own.failed}
        rows.append(row)
    return pd.DataFrame(rows)
