"""The sections of the page, in their order: each takes the view of the results and says what it shows."""

from __future__ import annotations

from collections.abc import Callable

from reports.page.agreement import agreement
from reports.page.blocks import Section
from reports.page.classes import classes
from reports.page.closing import cost, limits
from reports.page.clusters import clusters
from reports.page.convergence import convergence
from reports.page.evidence import evidence
from reports.page.joint import joint
from reports.page.label_free import label_free
from reports.page.missingness import missingness
from reports.page.opening import opening, setting, verdict
from reports.page.prior import prior_sensitivity
from reports.page.scores import checks, prediction, recovery
from reports.page.states import states
from reports.page.summary import summary
from reports.page.trust import reference, relabelling
from reports.page.view import View

SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    opening,
    verdict,
    setting,
    missingness,
    reference,
    convergence,
    relabelling,
    agreement,
    summary,
    states,
    joint,
    classes,
    clusters,
    label_free,
    prior_sensitivity,
    evidence,
    prediction,
    checks,
    recovery,
    cost,
    limits,
)
"""The page's order."""

SHARED: tuple[Callable[[View], Section | None], Callable[[View], Section | None]] = joint, limits
"""From the one of these to the other, sections take about as long to draw as those before, on every page."""
