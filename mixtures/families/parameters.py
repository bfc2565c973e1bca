"""The scalar parameters of clusters: what each is called, in which block it is judged and on which scale it is compared.

Where moments need not exist, a scale is taken on which they do: the logarithm of variances and of rates, Fisher's z of
correlations. Under a weak prior the variance of a nearly empty cluster has no variance of its own, its logarithm has. Weights
and probabilities are compared by their log odds, on which one near one and its mirror image near zero differ by the sign alone.

All is known by the names of the parameters alone, so that it can be asked of draws without the family that they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

# A draw of a probability that underflows to zero or rounds to one has no log odds, such a correlation no z, such a rate no
# logarithm.
TINY = np.finfo(float).tiny
LARGEST = 1 - np.finfo(float).eps

EDGE = 1e-12
"""An estimate of a probability or of a rate this near to 0, or of a probability to 1, is at the boundary but for rounding."""


class Kind(NamedTuple):
    """A kind of parameter.

    Parameters
    ----------
    block : str
        The block in which it is judged.
    scale : callable
        To the scale on which it is compared.
    bounded : bool
        Whether its natural scale is bounded, so that it has all moments.
    on_scale : str
        How it is compared, in words.
    title : str
        What a reader sees: of what these are the numbers.
    """

    block: str
    scale: Callable[[np.ndarray], np.ndarray]
    bounded: bool
    on_scale: str
    title: str


class Scalar(NamedTuple):
    """One distinct, free number of a parameter.

    Parameters
    ----------
    name : str
        Such as ``variances[0, eruptions]``.
    values : ndarray, shape (...)
        With the batch axes of the parameter.
    rest : ndarray, shape (...), optional
        Of a probability, that of the other outcomes, which keeps the digits that 1 - values loses.
    """

    name: str
    values: np.ndarray
    rest: np.ndarray | None = None

    @property
    def scaled(self) -> np.ndarray:
        """The values on the scale on which they are compared."""
        own = kind(self.name)
        if own is None:
            return self.values
        return log_odds(self.values, self.rest) if own.scale is log_odds else own.scale(self.values)

    @property
    def estimated(self) -> np.ndarray:
        """`scaled`, of estimates: infinite where they are at the boundary, which draws come to by rounding alone."""
        return np.where(self.at_boundary, np.copysign(np.inf, self.scaled), self.scaled)

    @property
    def at_boundary(self) -> np.ndarray:
        """Where the values are 0, or of probabilities 1, but for rounding."""
        own = kind(self.name)
        if own is None or not (own.scale is log_odds or own.block == "rates"):
            return np.zeros(self.values.shape, bool)
        rest = 1 - self.values if self.rest is None else self.rest
        return (self.values < EDGE) | (own.bounded & (rest < EDGE))


def log_odds(w: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """log(w / (1 - w)) of probabilities, with the sum of the others, where it is given, for 1 - w, which may round to zero."""
    others = 1 - np.minimum(w, LARGEST) if others is None else others
    return np.log(np.maximum(w, TINY)) - np.log(np.maximum(others, TINY))


KINDS = {
    "weights": Kind("weights", log_odds, True, "log odds", "weights"),
    "initial": Kind("initial", log_odds, True, "log odds", "initial probabilities"),
    "transitions": Kind("transitions", log_odds, True, "log odds", "transition probabilities"),
    "means": Kind("locations", np.asarray, False, "as they are", "means"),
    "variances": Kind("spreads", np.log, False, "logarithms", "variances"),
    "correlations": Kind(
        "spreads", lambda r: np.arctanh(np.clip(r, -LARGEST, LARGEST)), True, "Fisher's z", "correlations"
    ),
    "probabilities": Kind("probabilities", log_odds, True, "log odds", "probabilities"),
    "rates": Kind("rates", lambda v: np.log(np.maximum(v, TINY)), False, "logarithms", "rates"),
}
"""By the name that stands before the bracket: ``variances[0, eruptions]``."""

BLOCKS = ("weights", "initial", "transitions", "locations", "spreads", "probabilities", "rates")
"""Blocks of parameters that are judged together, in the order in which they are shown."""

MADE_OF = {"covariances": ("variances", "correlations")}
"""Parameters that are compared as others: a covariance matrix by its variances and correlations."""


WEIGHTS = ("weights", "initial", "transitions")
"""The names under which an allocation has its probabilities."""

SHOWN = ("means", "covariances", "rates", "probabilities")
"""The names of theta in the order in which a reader sees what they say."""

MEAN, SD, RATE = "mean", "sd", "rate"
"""What a cluster says of a feature; of levels it gives probabilities, P(level)."""


def facets(name: str, values: np.ndarray, d: int, levels: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """What a parameter says of feature d under each cluster, by title, (..., K) each.

    Parameters
    ----------
    name : str
        A name of theta.
    values : ndarray, shape (..., K, ...)
    d : int
    levels : sequence of str, optional
        The names of the feature's levels, empty behind the last; of a binary feature that of a one. By default their codes.
    """
    if name == "covariances":
        return {SD: np.sqrt(values[..., d, d])}
    if name == "probabilities" and levels is not None and len(levels) > 1:
        own = [c for c, level in enumerate(levels) if level]
        return {f"P({levels[c]})": values[..., d, c] for c in (own[1:] if len(own) == 2 else own)}
    return {{"means": MEAN, "rates": RATE}.get(name, f"P({levels[0] if levels else 1})"): values[..., d]}


def within(of: Mapping[str, np.ndarray]) -> np.ndarray:
    """The variance of a feature within each cluster (K,), from its `facets`; of levels the sum of the indicators'."""
    if SD in of:
        return of[SD] ** 2
    return of[RATE] if RATE in of else np.sum([p * (1 - p) for p in of.values()], axis=0)


def kind(target: str) -> Kind | None:
    """The kind of a scalar parameter, by its name; None for what is no parameter, such as a block."""
    name, bracket, _ = target.partition("[")
    return KINDS.get(name) if bracket else None


def blocks_of(parameters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The blocks of some parameters, each with the names of its scalars, in the order of `BLOCKS`.

    >>> blocks_of(["weights", "means", "covariances"])
    {'weights': ('weights',), 'locations': ('means',), 'spreads': ('variances', 'correlations')}
    """
    names = [name for p in parameters for name in MADE_OF.get(p, (p,))]
    found = {block: tuple(name for name in names if KINDS[name].block == block) for block in BLOCKS}
    return {block: own for block, own in found.items() if own}


def scalars(
    name: str, values: np.ndarray, labels: Sequence[Sequence[str]], levels: Sequence[Sequence[str]] | None = None
) -> list[Scalar]:
    """The distinct, free scalars of a parameter.

    Covariances are given as variances and correlations. What cannot vary, like a single weight or the correlation of
    independent features, and what repeats another, like the matrices of clusters that share one, the second of two weights or
    the first of two levels' probabilities, is left out.

    Parameters
    ----------
    name : str
        One of `WEIGHTS` or a name of theta.
    values : ndarray, shape (..., K, ...)
        With any batch axes first.
    labels : sequence of sequences of str
        The labels along each axis but those of the batch.
    levels : sequence of sequences of str, optional
        Of ``probabilities`` (..., K, D, C), the names of each feature's levels; by default the labels of those that are not
        zero throughout.
    """
    if name == "covariances":
        return _spreads(values, labels)
    if name in ("weights", "initial"):
        return _outcomes(name, values, labels[0], last=False)
    if name == "transitions":
        return [
            scalar
            for k, before in enumerate(labels[0])
            for scalar in _outcomes(name, values[..., k, :], [f"{before}, {after}" for after in labels[1]], last=False)
        ]
    if name == "probabilities" and len(labels) == 3:
        return _probabilities(values, labels, levels)
    lead = values.ndim - len(labels)
    found = []
    for index in np.ndindex(*values.shape[lead:]):
        place = ", ".join(names[i] for names, i in zip(labels, index, strict=True))
        found.append(Scalar(f"{name}[{place}]", values[(..., *index)]))
    return found


def _outcomes(name: str, values: np.ndarray, labels: Sequence[str], *, last: bool) -> list[Scalar]:
    """Probabilities (..., C) that add up to one: all of them, of two the last or the first, of one none."""
    rest = values @ (1 - np.eye(values.shape[-1]))
    chosen = range(len(labels)) if len(labels) > 2 else range(1, len(labels)) if last else range(len(labels) - 1)
    return [Scalar(f"{name}[{labels[c]}]", values[..., c], rest[..., c]) for c in chosen]


def _probabilities(
    values: np.ndarray, labels: Sequence[Sequence[str]], levels: Sequence[Sequence[str]] | None
) -> list[Scalar]:
    """Those of categories (..., K, D, C), padded with zeros."""
    clusters, features, codes = labels
    if levels is None:
        there = values.reshape(-1, *values.shape[-2:]).any(0)
        levels = [[code for code, own in zip(codes, row, strict=True) if own] for row in there]
    found = []
    for k, cluster in enumerate(clusters):
        for d, feature in enumerate(features):
            places = [f"{cluster}, {feature}, {level}" for level in levels[d]]
            found += _outcomes("probabilities", values[..., k, d, : len(places)], places, last=True)
    return found


def _spreads(covariances: np.ndarray, labels: Sequence[Sequence[str]]) -> list[Scalar]:
    """Variances, then correlations, of covariances (..., K, D, D), without zeros and repetitions."""
    clusters, features, _ = labels
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    found: list[Scalar] = []
    seen: set[bytes] = set()

    def keep(name: str, values: np.ndarray) -> None:
        if (raw := values.tobytes()) not in seen:
            seen.add(raw)
            found.append(Scalar(name, values))

    for k, cluster in enumerate(clusters):
        for f, feature in enumerate(features):
            keep(f"variances[{cluster}, {feature}]", variances[..., k, f])
    for k, cluster in enumerate(clusters):
        for f, g in combinations(range(len(features)), 2):
            covariance = covariances[..., k, f, g]
            if covariance.any():
                r = covariance / np.sqrt(variances[..., k, f] * variances[..., k, g])
                keep(f"correlations[{cluster}, {features[f]}, {features[g]}]", r)
    return found
