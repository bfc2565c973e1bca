"""What the manifest of a comparison holds: the types that a manifest is checked against when it is read.

A page is made from a manifest without further questions; whatever a section looks up by name is named here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

from reports.comparison.manifest import ManifestError
from reports.comparison.verdict import LIMITS
from reports.metrics.prior import FACTORS

State = Literal["agrees", "differs", "cannot tell"]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Evidence = Literal["exact", "bridge", "smc", "importance", "elbo_all_labellings", "elbo_marginal", "elbo", "bic"]
Family = Literal["gaussian", "tied", "diagonal", "spherical", "bernoulli", "categorical", "poisson", "product"]
Together = list[dict[str, tuple[int, int]]]
"""Groups of classes that share a cluster: by class how many of its points are there, and how many it has."""


class Earlier(TypedDict):
    """What the manifest of a comparison had in every format: enough to know one, and which files are its own."""

    command: str
    created: str
    versions: dict[str, str]
    data: dict[str, Any]
    model: dict[str, Any]
    methods: dict[str, dict[str, Any]]


class Data(TypedDict):
    """See `reports.comparison.manifest.describe_data`."""

    name: str
    source: Any
    n: Positive
    n_fitted: NotRequired[Positive | None]
    n_heldout: int
    d: Positive
    lengths: NotRequired[list[Positive] | None]
    features: list[str]
    digest: str
    standardized: bool
    label_column: Any
    n_classes: int | None
    n_unlabelled: int | None
    notes: list[str]
    left_out: list[str]


class Model(TypedDict):
    """See `reports.comparison.manifest.describe_model`."""

    family: Family
    covariance: Literal["full", "tied", "diag", "spherical", "none"]
    kinds: dict[str, Literal["gaussian", "poisson", "categorical", "bernoulli"]]
    levels: dict[str, list[str]]
    image: NotRequired[tuple[Positive, Positive]]
    blocks: dict[str, list[str]]
    n_components: Positive
    n_parameters: Positive
    n_cells: int | None
    n_patterns: int | None
    alpha0: float
    start: NotRequired[Literal["free", "stationary"]]
    a0: NotRequired[list[list[float]]]
    text: str
    prior: dict[str, Any]
    given: list[str]


class Info(TypedDict, total=False):
    """What a method tells of its run, as far as the page asks for it."""

    rise: float
    rise_se: float
    steps_per_entry: Positive
    max_tree_depth: int


class Method(TypedDict):
    """How one method was run, and what came of it."""

    title: str
    kind: Literal["point", "variational", "mcmc", "exact", "draws"]
    bound_kind: str | None
    options: dict[str, str | float | bool | None]
    status: Literal["ok", "failed"]
    error: str | None
    converged: bool | None
    seconds: dict[str, float]
    info: Info
    warnings: list[str]
    added: NotRequired[bool]


class Options(TypedDict):
    """Those of `reports.comparison.catalogue.Options` that the page asks for."""

    draws: Positive
    chains: Positive


class Check(TypedDict):
    """One demand on a reference."""

    name: str
    value: float | None
    limit: str
    passed: bool


class Reference(TypedDict):
    """A reference, and whether it is trusted."""

    method: str | None
    trusted: bool
    reason: str
    checks: list[Check]
    floor_note: str | None


class Relabelling(TypedDict):
    """What it took to bring a method to the common labelling."""

    pivot: str
    moved: float
    switched: float | None
    agreement: float | None


class Mode(TypedDict):
    """One mode of a sampler's draws."""

    share: Share
    se: float | None
    by_chain: list[float]
    sizes: list[float]


class Modes(TypedDict):
    """The modes of a sampler's draws; see `reports.metrics.modes.find`."""

    modes: list[Mode]
    halves: tuple[int, int]
    rest: Share
    sits: dict[str, int | None]


class Decided(TypedDict):
    """The check that decided a claim."""

    quantity: Literal[
        "median_shift", "width_ratio", "coverage95", "coclustering_error", "predictive_tv", "correlation_error"
    ]
    target: str
    value: float | Literal["inf", "-inf"]
    se: float | None
    low: float | None
    high: float | None
    state: State


class Claim(TypedDict):
    """The verdict on one claim; see `reports.comparison.verdict.judge`."""

    state: Literal[State, "reference"]
    because: str
    checks: list[Decided]


class Scale(TypedDict):
    """What CAVI finds under one scale of the prior; see `reports.metrics.prior.scales`."""

    factor: float
    weights: list[float]
    occupied: Positive
    bound: float
    ari: list[float]
    ari_classes: float | None
    merged: Together
    converged: bool


class PriorSensitivity(TypedDict):
    """See `reports.metrics.prior.examine`."""

    scaled: str | None
    scales: list[Scale]
    merged: dict[str, Together]


class Observed(TypedDict):
    """The data of any model."""

    name: str
    source: Any
    n: int
    observed: dict[str, list[int]]
    digest: str
    notes: list[str]


class Variable(TypedDict):
    """See `reports.validation.target.Variable`."""

    shape: list[int]
    free: bool
    scale: str


class AnyModel(TypedDict):
    """Any PyMC model: its text, its graph as SVG where one could be drawn, and its variables."""

    text: str
    graph: str | None
    variables: dict[str, Variable]
    blocks: dict[str, list[str]]
    left_out: list[str]
    flat_priors: list[str]
    n_parameters: Positive
    notes: list[str]


class ValidatedMethod(Method):
    """A method: variables of the model that it lacks, names that the model lacks, and when draws that were kept were made."""

    missing: list[str]
    ignored: NotRequired[list[str]]
    made: NotRequired[str]


class Future(TypedDict, total=False):
    """How leave-future-out of a method came about, or why there is none."""

    fits: Positive
    first: int
    khat: float | None
    less_gibbs: tuple[float, float]
    missing: str


class Dynamics(TypedDict):
    """A linear dynamical system; see `reports.validation.dynamics.described`."""

    name: str
    states: Positive
    features: list[str]
    lengths: list[Positive]
    missing: int
    equations: list[str]
    matrices: NotRequired[list[str]]
    unknown: NotRequired[dict[Literal["A", "C", "Q", "R", "m0", "P0"], bool]]
    priors: NotRequired[list[str]]
    free: Positive
    identified: int
    latent: bool


class Fault(TypedDict):
    """The likeliest fault of a method; see `reports.validation.faults`."""

    kind: Literal[
        "shift", "width", "correlations", "mean field", "sign", "power", "prior", "jacobian", "fixed", "tied", "several"
    ]
    where: str
    sentence: str
    size: float | None
    divergence: float | None
    left: float | None
    noise: NotRequired[float | None]


class PriorCheck(TypedDict):
    """One statistic of data sets from the prior; see `reports.validation.predictive.checks`."""

    statistic: str
    observed: float
    p: Share
    low: float
    median: float
    high: float


class Validation(TypedDict):
    """The manifest of a validation; what it holds besides is passed over."""

    kind: Literal["validation"]
    format: int
    command: str
    created: str
    seed: Any
    versions: dict[str, str]
    platform: str
    data: Observed
    model: AnyModel
    methods: dict[str, ValidatedMethod]
    options: Options
    reference: Reference
    references: dict[str, Reference]
    evidence: dict[str, dict[str, str]]
    verdict: dict[str, dict[str, Claim]]
    faults: NotRequired[dict[str, Fault]]
    prior_sensitivity: dict[str, str] | None
    dynamics: NotRequired[Dynamics]
    leave_future_out: NotRequired[dict[str, Future]]
    prior_checks: list[PriorCheck]
    no_checks: str | None
    truth: dict[str, Any]
    timings: dict[str, float | None]
    files: dict[str, str]


class Manifest(TypedDict):
    """The whole manifest; what it holds besides is passed over."""

    format: int
    command: str
    created: str
    seed: Any
    versions: dict[str, str]
    platform: str
    data: Data
    model: Model
    methods: dict[str, Method]
    options: Options
    reference: Reference
    references: dict[str, Reference]
    relabelling: dict[str, Relabelling]
    modes: dict[str, Modes]
    evidence: dict[str, dict[Evidence, str]]
    leave_future_out: NotRequired[dict[str, Future]]
    verdict: dict[
        str,
        dict[
            Literal[
                "weights",
                "initial",
                "transitions",
                "locations",
                "spreads",
                "probabilities",
                "rates",
                "clusters",
                "density",
            ],
            Claim,
        ],
    ]
    prior_sensitivity: PriorSensitivity | None
    timings: dict[str, float | None]
    files: dict[str, str]


def spelled(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as JSON can hold it, which knows no infinity: the values of the verdict's checks that are infinite in words.

    >>> checks = {"em": {"weights": {"checks": [{"value": float("-inf")}, {"value": 0.5}]}}}
    >>> spelled({"verdict": checks})["verdict"]["em"]["weights"]["checks"]
    [{'value': '-inf'}, {'value': 0.5}]
    """
    found = dict(manifest) | {"verdict": deepcopy(manifest["verdict"])}
    for checked in _decided(found):
        if math.isinf(checked["value"]):
            checked["value"] = str(checked["value"])
    return found


def as_numbers(manifest: dict[str, Any]) -> None:
    """Undo `spelled` in a manifest that was read."""
    for checked in _decided(manifest):
        checked["value"] = float(checked["value"])


def check(manifest: dict[str, Any]) -> None:
    """Refuse a manifest whose parts are of the right types and contradict each other.

    Raises
    ------
    ManifestError
    """
    data, prior = manifest["data"], manifest["prior_sensitivity"]
    succeeded = _succeeded(manifest)
    modes = manifest["modes"].values()
    demands = {
        "data.features": len(set(data["features"])) == data["d"],
        "data.lengths": sum(data.get("lengths") or [data["n"]]) == data["n"],
        "model.kinds": list(manifest["model"]["kinds"]) == data["features"],
        "model.image": math.prod(manifest["model"].get("image", [data["d"]])) == data["d"],
        "model.prior": all(map(is_numeric, manifest["model"]["prior"].values())),
        "methods": bool(prior) == bool(succeeded and manifest["model"].get("start") != "stationary"),
        "modes": len({len(found["modes"]) for found in modes}) <= 1 and all(map(_as_many_chains, modes)),
        "prior_sensitivity.scales": prior is None or _square(prior["scales"]),
    }
    _refuse_unmet(demands | _of_methods(manifest, succeeded))


def check_validation(manifest: dict[str, Any]) -> None:
    """Refuse a manifest of a validation whose parts are of the right types and contradict each other.

    Raises
    ------
    ManifestError
    """
    data = manifest["data"]
    demands = {"data.observed": sum(map(math.prod, data["observed"].values())) == data["n"]}
    if system := manifest.get("dynamics"):
        rows = data["observed"].get("x")
        demands |= {
            "dynamics.unknown": not system.get("unknown") or any(system["unknown"].values()),
            "dynamics.latent": system["latent"] == ("eigenvalue modulus" in manifest["model"]["variables"]),
            "dynamics.features": rows == [sum(system["lengths"]), len(system["features"])],
        }
    _refuse_unmet(demands | _of_methods(manifest, _succeeded(manifest)))


def _succeeded(manifest: dict[str, Any]) -> set[str]:
    return {name for name, method in manifest["methods"].items() if method["status"] == "ok"}


def _of_methods(manifest: dict[str, Any], succeeded: set[str]) -> dict[str, bool]:
    """What is demanded of the parts that name methods, in every kind of manifest."""
    parts = ("references", "relabelling", "modes", "evidence", "verdict", "faults", "leave_future_out")
    future = [found.keys() for found in manifest.get("leave_future_out", {}).values()]
    return {
        "methods, of which some have no numbers": {m for part in parts for m in manifest.get(part, {})} <= succeeded,
        "reference.method": manifest["reference"]["method"] in {None, *manifest["references"]},
        "leave_future_out": all(("missing" in keys) != ({"fits", "first"} <= keys) for keys in future),
        "verdict": all(map(_has_limits, _decided(manifest))),
    }


def _refuse_unmet(demands: Mapping[str, bool]) -> None:
    if wrong := [name for name, met in demands.items() if not met]:
        raise ManifestError(f"the manifest contradicts itself ({', '.join(wrong)})")


def is_numeric(value: Any) -> bool:
    """Whether a hyperparameter is a number or an array of numbers."""
    try:
        return np.asarray(value).dtype.kind in "fi"
    except ValueError:  # ragged
        return False


def _as_many_chains(found: dict[str, Any]) -> bool:
    return len({len(mode["by_chain"]) for mode in found["modes"]}) <= 1


def _decided(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The check that decided each claim, and the others beside it."""
    for claims in manifest["verdict"].values():
        for said in claims.values():
            yield from said["checks"]


def _has_limits(checked: dict[str, Any]) -> bool:
    """Whether a check has a limit wherever its quantity has one."""
    own = LIMITS[checked["quantity"]]
    return (checked["low"] is None, checked["high"] is None) == (own.low is None, own.high is None)


def _square(scales: list[dict[str, Any]]) -> bool:
    """Whether there is every scale once, each held against every other."""
    return (
        [scale["factor"] for scale in scales] == list(FACTORS)
        and {len(scale["ari"]) for scale in scales} == {len(FACTORS)}
        and len({scale["ari_classes"] is None for scale in scales}) == 1
    )
