"""What the manifests of studies hold: the types that one is checked against when its page is made.

Settings are checked against the data class of the study itself.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from reports.comparison.schema import Family, Positive, is_numeric
from reports.studies.folder import Manifest

__all__ = ["Calibration", "Overfit", "OwnCalibration", "Verdicts", "is_numeric"]


Names = Annotated[list[str], Meta(min_length=1)]


class Written(Manifest):
    """What every page says of a run."""

    command: str
    created: str
    platform: str


class Model(TypedDict):
    """A mixture; see `reports.comparison.manifest.describe_model`."""

    family: Family
    text: str
    prior: dict[str, Any]


class Calibration(Written):
    """See `reports.studies.calibration.study`."""

    simulations: Positive
    model: Model


class System(TypedDict):
    """See `reports.studies.own.systems`."""

    name: str
    rows: Positive
    features: Positive
    equations: list[str]
    priors: list[str]


class OwnModel(TypedDict):
    """A model of the user's own, or a linear dynamical system."""

    text: str
    free: Names
    observed: Names
    system: NotRequired[System]


class OwnCalibration(Written):
    """See `reports.studies.own.study`."""

    simulations: Positive
    model: OwnModel
    quantities: Names


class Verdicts(Written):
    """See `reports.studies.verdicts.study`."""

    seeds: Positive


class Overfit(Written):
    """See `reports.studies.overfit.study`; its grid is read as one in a file is."""

    name: str
    asked: str
    replicates: Positive
    seed: int
    start: NotRequired[str | None]
    grid: str
