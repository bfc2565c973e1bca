"""What to measure: a TOML file of blocks, each the product of its lists, taken apart into cells.

    replicates = 40                     # data sets of each truth

    [[block]]
    truth = "gaussian"                  # also "heavy tails", "skew", a discrete kind, or the name of a data set
    K = 3
    D = 2
    separation = [2.0, 4.0]
    n = [20, 50, 100]
    fitted_K = [3, 5]                   # K unless given
    alpha = [0.1, 1.0]
    methods = ["em", "cavi"]

A discrete kind is "bernoulli", "categorical" or "poisson": latent classes whose probabilities or rates are drawn from
Beta(a, a), Dirichlet(a, ..., a), or a Gamma density of shape a and mean 2, where a is the `concentration`; categories have so
many `levels`.

Where `stay` is given, the probability that a state stays, the truth is a hidden Markov model with such states, and so is
what is fitted: the n points are the first part of a series, and the test is the last (`reports.studies.overfit.chains`). The
truth "linear" is a linear dynamical system of K latent states, and so is what is fitted (`reports.studies.overfit.systems`).
How its states start is said once for all blocks, as in `start = "stationary"`.

A cell is one method under one setting. Its name is a digest of all that its numbers depend on, so that grids share the cells
they have in common. The oracle and a single cluster are measured beside the methods of every block.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mixtures import COVARIANCES, datasets
from mixtures.datasets.dataset import nearest
from mixtures.datasets.limits import read_file
from mixtures.datasets.loading import REMEDIES
from mixtures.memory import check_memory
from reports.comparison.capacity import NUMBER, check_fits
from reports.comparison.catalogue import STARTS
from reports.comparison.prepared import digest

FORMAT = 2
"""Of the cells and their numbers: one more whenever the same cell would be measured otherwise."""

PRESETS = ("quick", "small-data", "prior", "misspecified", "discrete", "hmm", "lds")

SHAPES = ("gaussian", "heavy tails", "skew")
"""Simulated clusters with means and covariances."""

KINDS = ("bernoulli", "categorical", "poisson")
"""Simulated classes of features that are all of one discrete kind."""

LINEAR = "linear"
"""Simulated linear dynamical systems, whose K is the number of latent states."""

SIMULATED = (*SHAPES, *KINDS, LINEAR)

METHODS = ("em", "map", "cavi", "gibbs", "advi", "advi-fullrank", "nuts")

OF_LINEAR = ("em", "map", "cavi", "gibbs")
"""Methods for linear dynamical systems."""

LEVELS = 4
"""Arrays of a number for each cluster, level and start that a fit to categories holds."""

LONGEST = 1000
"""Rows of a linear dynamical system to fit at most."""

BESIDE = ("oracle", "single")


@dataclass(frozen=True)
class Truth:
    """Where the data come from.

    Parameters
    ----------
    name : str
        One of `SIMULATED`, or a data set.
    d : int
        Number of features.
    k, separation, imbalance : optional
        Of a simulated mixture; see `mixtures.datasets.simulate`. With one cluster there is only k; discrete kinds have no
        separation.
    rows : int, optional
        Of a data set.
    digest : str, optional
        Of a data set's values.
    concentration : float, optional
        Of a discrete kind: how alike its classes are.
    levels : int, optional
        Of categories.
    kinds : tuple of str, optional
        What the columns of a data set hold, where they are not all numbers.
    stay : float, optional
        Of a hidden Markov model: the probability that a state stays.
    """

    name: str
    d: int
    k: int | None = None
    separation: float | None = None
    imbalance: float | None = None
    rows: int | None = None
    digest: str | None = None
    concentration: float | None = None
    levels: int | None = None
    kinds: tuple[str, ...] | None = None
    stay: float | None = None

    def facts(self) -> dict[str, Any]:
        """What tells this truth from every other; what Gaussian truths do not have is left out."""
        optional = ("concentration", "levels", "kinds", "stay")
        return {name: x for name, x in asdict(self).items() if name not in optional or x is not None}

    @property
    def discrete(self) -> bool:
        """Whether nothing is a number."""
        return self.name in KINDS or (self.kinds is not None and "gaussian" not in self.kinds)

    @property
    def linear(self) -> bool:
        """Whether it is a linear dynamical system, and so is what is fitted."""
        return self.name == LINEAR

    @property
    def known(self) -> bool:
        """Whether the density is known."""
        return self.k is not None


@dataclass(frozen=True)
class Cell:
    """One method under one setting; what does not concern the method is None.

    Parameters
    ----------
    truth : Truth
    n : int
        Points to fit.
    method : str
        One of `METHODS`, "oracle" or "single".
    k : int or None
        Fitted K.
    covariance : str or None
        Of Gaussian clusters.
    alpha : float or None
        Dirichlet concentration of each cluster.
    seed : int
        Of all randomness.
    test : int
        Test points from a known truth; of a data set all rows that are not fitted are the test.
    restarts : int
        Starts of EM and CAVI.
    reg_covar : float
        Added by maximum likelihood to the diagonal of every covariance, in squared units of the data.
    start : str or None
        How the states of a fitted linear dynamical system start, where that is not known.
    """

    truth: Truth
    n: int
    method: str
    k: int | None
    covariance: str | None
    alpha: float | None
    seed: int
    test: int
    restarts: int
    reg_covar: float = 0.0
    start: str | None = None

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that tell this cell from every other."""
        return _digest(self)

    def settings(self) -> dict[str, Any]:
        """The columns that say which cell it is."""
        truth = self.truth
        return {
            "cell": self.id,
            "truth": truth.name,
            "true_k": truth.k,
            "d": truth.d,
            "separation": truth.separation,
            "imbalance": truth.imbalance,
            "concentration": truth.concentration,
            "levels": truth.levels,
            "stay": truth.stay,
            "n": self.n,
            "k": self.k,
            "covariance": self.covariance,
            "alpha": self.alpha,
        }


@cache
def _digest(cell: Cell) -> str:
    settings = {name: value for name, value in asdict(cell).items() if name not in ("reg_covar", "start") or value}
    settings["truth"] = cell.truth.facts()
    text = json.dumps([FORMAT, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Grid:
    """Cells to measure, each on as many data sets.

    Parameters
    ----------
    name, title, claim : str
    replicates : int
    cells : tuple of Cell
    without_mode : tuple of float
        The concentrations that were asked for, and at which MAP-EM is left out: below 1 the posterior has no mode.
    text : str
        The TOML that it was read from.
    """

    name: str
    title: str
    claim: str
    replicates: int
    cells: tuple[Cell, ...]
    without_mode: tuple[float, ...]
    text: str


TOP = {
    "title": "Overfitting on few data",
    "claim": "EM overfits when data are few, and variational Bayes does not.",
    "replicates": 100,
    "seed": 0,
    "test": 10_000,
    "restarts": 5,
    "reg_covar": 0.0,
    "start": None,
}

BLOCK: dict[str, Any] = {
    "truth": "gaussian",
    "K": 3,
    "D": 2,
    "separation": 3.0,
    "imbalance": 1.0,
    "concentration": 1.0,
    "levels": 3,
    "stay": None,
    "n": None,
    "fitted_K": None,
    "covariance": "full",
    "alpha": 1.0,
    "methods": ["em", "map", "cavi"],
}

OF_SIMULATED = ("K", "D", "separation", "imbalance", "concentration", "levels", "stay")

OF_SHAPES = ("separation", "covariance")
OF_KINDS = ("concentration", "levels")


def preset(name: str) -> str:
    """The TOML of a preset.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}{_meant(name, PRESETS)}; choose from {', '.join(PRESETS)}")
    return (files(__package__) / f"{name}.toml").read_text("utf-8")


def read(path: Path) -> str:
    """The TOML of a file.

    Raises
    ------
    ValueError
        If it is no UTF-8 text.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}), as TOML is; save it as UTF-8") from error


def parse(
    text: str, name: str, *, replicates: int | None = None, seed: int | None = None, start: str | None = None
) -> Grid:
    """The grid that a TOML text describes.

    Parameters
    ----------
    text : str
    name : str
        Of the grid, for messages too.
    replicates, seed, start : optional
        In the place of the text's own.

    Raises
    ------
    ValueError
        If the text is no TOML, names something unknown, has a value out of its range, is empty or contradicts itself.
    """
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits among them
        raise ValueError(f"{name} is no TOML: {error}") from error
    except RecursionError:
        raise ValueError(
            f"{name}: its lists are nested too deeply; a value is one entry or a list of entries"
        ) from None
    blocks = table.pop("block", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ValueError(f"{name}: write each block under a line [[block]]")
    _check_keys(table, TOP | BLOCK | {"block": None}, f"{name}, before the first block")
    if not blocks:
        raise ValueError(f"{name} has no [[block]], which says what to measure")
    top = {key: table.get(key, default) for key, default in TOP.items()}
    for key in ("title", "claim"):
        if not isinstance(top[key], str):
            raise ValueError(f"{name}: {key} is {top[key]!r:.40}; expected text in quotes")
    given = {"replicates": replicates, "seed": seed, "start": start}
    top |= {key: value for key, value in given.items() if value is not None}
    for key, least in (("replicates", 2), ("seed", 0), ("test", 2), ("restarts", 1)):
        _check_whole(top[key], least, f"{name}: {key}")
    shared = BLOCK | {key: value for key, value in table.items() if key in BLOCK}
    if not _is_number(top["reg_covar"]) or top["reg_covar"] < 0:
        raise ValueError(f"{name}: reg_covar is {str(top['reg_covar'])[:30]}; expected a number of at least 0")
    common = {key: top[key] for key in ("seed", "test", "restarts")}
    ridge = float(top["reg_covar"])
    if top["start"] not in (None, *STARTS):
        raise ValueError(
            f"{name}: start is {top['start']!r:.40}{_meant(str(top['start']), STARTS)}; choose from {', '.join(STARTS)}"
        )
    cells: dict[Cell, None] = {}
    without_mode: set[float] = set()
    for number, own in enumerate(blocks, 1):
        where = f"{name}, block {number}"
        if early := next((key for key in own if key in TOP), None):
            raise ValueError(f"{where}: {early} is of all blocks; write it before the first")
        _check_keys(own, BLOCK, where)
        block = _checked(shared | own, where)
        _check_size(block, top, where)
        truths = _truths(block, own, where)
        _check_start(top["start"], block, where)
        without_mode |= {float(alpha) for alpha in block["alpha"] if "map" in block["methods"] and alpha < 1}
        begins = None if top["start"] == "known" else top["start"]
        of_methods = [replace(cell, start=begins) for cell in _cells(block, truths, common, ridge, where)]
        if not of_methods:
            raise ValueError(f"{where} is empty: it asks for MAP-EM alone, which has no mode at an alpha below 1")
        cells |= dict.fromkeys([*of_methods, *_beside(block, truths, common, ridge)])
    ordered = tuple(sorted(cells, key=lambda cell: cell.id))
    return Grid(name, top["title"], top["claim"], top["replicates"], ordered, tuple(sorted(without_mode)), text)


def _check_size(block: Mapping[str, list[Any]], top: Mapping[str, Any], where: str) -> None:
    """Refuse a block with more fits, or larger data sets, than memory holds."""
    fits = top["replicates"] * math.prod(len(values) for values in block.values())
    check_fits(fits, f"fits of {where}", "shorten its lists, or ask for fewer replicates")
    n, K, D = (max(block[key]) for key in ("n", "K", "D"))
    levels = max(block["levels"]) if "categorical" in block["truth"] else 0
    needed = NUMBER * (2 * (n + top["test"]) * D + K * D * (D + (1 + LEVELS * top["restarts"]) * levels))
    of_levels = f" of {levels:,} levels" if levels else ""
    check_memory(
        needed,
        f"a data set of {where} ({n:,} points, {D:,} features{of_levels})",
        "give smaller n, test, K, D or levels",
    )


def _cells(
    block: Mapping[str, Any], truths: list[Truth], common: Mapping[str, Any], ridge: float, where: str
) -> Iterator[Cell]:
    """The cells of the methods that a block asks for."""
    for truth, n, covariance in _models(block, truths):
        if truth.rows is not None and n > truth.rows - 2:
            raise ValueError(
                f"{where} contradicts itself: n = {n} leaves fewer than two of the {truth.rows} rows of {truth.name} "
                "as a test"
            )
        for k in block.get("fitted_K", [truth.k]):
            if k is None:
                raise ValueError(f"{where}: fitted_K is missing, and {truth.name} has no true K to take in its place")
            if n < k:
                raise ValueError(f"{where} contradicts itself: {k} clusters cannot be fitted to n = {n} points")
            for method, alpha in itertools.product(block["methods"], block["alpha"]):
                if method != "map" or alpha >= 1:
                    own = (float(alpha), 0.0) if method != "em" else (None, ridge if covariance else 0.0)
                    own = (None, 0.0) if truth.linear else own
                    yield Cell(truth, n, method, k, covariance, own[0], **common, reg_covar=own[1])


def _beside(block: Mapping[str, Any], truths: list[Truth], common: Mapping[str, Any], ridge: float) -> Iterator[Cell]:
    """The oracle, where there is one, and a single cluster."""
    for truth, n, covariance in _models(block, truths):
        if not truth.linear:
            yield Cell(truth, n, "single", None, covariance, None, **common, reg_covar=ridge if covariance else 0.0)
        if truth.known:
            yield Cell(truth, n, "oracle", None, None, None, **common)


def _models(block: Mapping[str, Any], truths: list[Truth]) -> Iterator[tuple[Truth, int, str | None]]:
    """Every truth and n with the covariance structures to fit; a discrete kind has none."""
    for truth, n in itertools.product(truths, block["n"]):
        for covariance in [None] if truth.discrete or truth.linear else block["covariance"]:
            yield truth, n, covariance


def _truths(block: Mapping[str, Any], own: Mapping[str, Any], where: str) -> list[Truth]:
    names = block["truth"]
    data = [name for name in names if name not in SIMULATED]
    truths = [_data(name, where) for name in data]
    if len(data) == len(names) and (stray := [key for key in OF_SIMULATED if key in own]):
        raise ValueError(f"{where} contradicts itself: {stray[0]} is of simulated truths, and {data[0]} is a data set")
    if LINEAR in names:
        _check_linear(block, own, where)
    for keys, kind, others in ((OF_KINDS, KINDS, "a discrete kind"), (OF_SHAPES, SHAPES, "Gaussian clusters")):
        if not set(names) & set(kind) and not data and (stray := [key for key in keys if key in own]):
            raise ValueError(f"{where} contradicts itself: {stray[0]} is of {others}, and {names[0]} is none")
    if "stay" in block and data:
        raise ValueError(f"{where} contradicts itself: stay is of simulated series, and {data[0]} is a data set")
    if "stay" in block and set(block["imbalance"]) != {1.0}:
        raise ValueError(
            f"{where} contradicts itself: the states of a series with stay are equally frequent; leave imbalance out"
        )
    for name, k, d, imbalance, stays in itertools.product(
        [n for n in names if n in SIMULATED], block["K"], block["D"], block["imbalance"], block.get("stay", [None])
    ):
        # without effect on a single cluster, or on a chain
        weights = None if k == 1 or stays is not None else float(imbalance)
        stay = None if stays is None else 1.0 if k == 1 else float(stays)
        if name == LINEAR:
            truths.append(Truth(name, d, k))
            continue
        if name in SHAPES:
            truths += [Truth(name, d, k, None if k == 1 else float(s), weights, stay=stay) for s in block["separation"]]
            continue
        for a, levels in itertools.product(block["concentration"], block["levels"]):
            own_levels = levels if name == "categorical" else None
            truths.append(Truth(name, d, k, None, weights, concentration=float(a), levels=own_levels, stay=stay))
    return list(dict.fromkeys(truths))


def _check_linear(block: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    """Refuse what a linear dynamical system does not have."""
    if stray := [key for key in ("stay", "alpha", "imbalance") if key in own or (key == "stay" and key in block)]:
        raise ValueError(f"{where} contradicts itself: {stray[0]} is not of linear dynamical systems")
    if len(set(block["truth"])) > 1:
        raise ValueError(f"{where}: give linear dynamical systems a block of their own")
    if max(block["n"]) > LONGEST:
        raise ValueError(
            f"{where}: n is {max(block['n'])}; expected at most {LONGEST} rows of a linear dynamical system"
        )
    if other := [method for method in block["methods"] if method not in OF_LINEAR]:
        raise ValueError(
            f"{where}: methods has {other[0]!r}; of linear dynamical systems choose from {', '.join(OF_LINEAR)}"
        )


def _check_start(start: str | None, block: Mapping[str, Any], where: str) -> None:
    """Refuse a start of what has none, or that a method cannot fit."""
    if start is None:
        return
    if block["truth"] != [LINEAR]:
        raise ValueError(f"{where} contradicts itself: start is of linear dynamical systems alone")
    for method, cannot in (("cavi", "stationary"), ("em", "diffuse")):
        if start == cannot and method in block["methods"]:
            raise ValueError(
                f"{where}: {method} fits no {cannot} start; leave it out of methods, or choose another start"
            )


@cache
def _data(name: str, where: str) -> Truth:
    try:
        data = datasets.load(name)
    except ValueError as error:
        if REMEDIES in (text := str(error)):
            without = text.replace(REMEDIES, "an overfitting study is of complete rows; leave these out of the file")
            raise ValueError(f"{where}: truth is {name!r}: {without}") from error
        known = (*SIMULATED, *datasets.names())
        remedy = _meant(str(name), known) or f"; simulated are {', '.join(SIMULATED)}"
        raise ValueError(f"{where}: truth is {name!r}: {error}{remedy if '?' not in str(error) else ''}") from error
    x, kinds = data.x, None if set(data.kinds) == {"gaussian"} else tuple(data.kinds)
    return Truth(name, x.shape[1], rows=len(x), digest=digest(x), kinds=kinds)


def _checked(block: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    """Every value as a list, each of its kind and in its range."""
    listed = {key: _listed(value, f"{where}: {key}") for key, value in block.items() if value is not None}
    if "n" not in listed:
        raise ValueError(f"{where}: n is missing; give the numbers of points to fit, as in n = [20, 100]")
    for key, least in (("K", 1), ("D", 1), ("n", 2), ("fitted_K", 1), ("levels", 2)):
        for value in listed.get(key, []):
            _check_whole(value, least, f"{where}: {key}")
    for key, fits, words in (
        ("separation", lambda v: v >= 0, "of at least 0"),
        ("imbalance", lambda v: v >= 1, "of at least 1"),
        ("alpha", lambda v: v > 0, "above 0"),
        ("concentration", lambda v: v > 0, "above 0"),
        ("stay", lambda v: 0 < v < 1, "between 0 and 1"),
    ):
        for value in listed.get(key, []):
            if not (_is_number(value) and fits(value)):
                huge = isinstance(value, int) and abs(value) > sys.float_info.max
                held = f", at most {sys.float_info.max:.1e}" if huge else ""
                raise ValueError(f"{where}: {key} is {str(value)[:30]}; expected a number {words}{held}")
    for key in ("truth", "covariance", "methods"):
        for value in listed[key]:
            if not isinstance(value, str):
                raise ValueError(f"{where}: {key} has {value!r}; expected names")
    for key, known in (("covariance", tuple(COVARIANCES)), ("methods", METHODS)):
        for value in listed[key]:
            if value not in known:
                meant = _meant(str(value), known)
                raise ValueError(f"{where}: {key} has {value!r}{meant}; choose from {', '.join(known)}")
    return listed


def _listed(value: Any, where: str) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{where} is empty; give at least one value, or leave the line out")
    return values


def _check_whole(value: Any, least: int, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{where} is {value!r}; expected a whole number of at least {least}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_keys(table: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    for key in table:
        if key == "missing":
            raise ValueError(f"{where}: an overfitting study is of complete data; leave out the key 'missing'")
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{_meant(key, known)}; known are {', '.join(known)}")


def _meant(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"; did you mean {close[0]!r}?" if close else ""
