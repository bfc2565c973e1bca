"""From columns of several kinds to the family of their clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from mixtures.families.bernoulli import Bernoulli
from mixtures.families.categorical import Categorical
from mixtures.families.diagonal import DiagonalGaussian
from mixtures.families.gaussian import Gaussian
from mixtures.families.numbering import numbered_apart
from mixtures.families.poisson import Poisson
from mixtures.families.product import Product
from mixtures.families.spherical import SphericalGaussian
from mixtures.families.tied import TiedGaussian
from mixtures.model import Family
from mixtures.rows.reading import Rows

KINDS = ("gaussian", "poisson", "categorical", "bernoulli")
"""What a column may hold: numbers, counts, codes 0..C-1 of levels, zeros and ones. Parts of a product are in this order."""

COVARIANCES = {family.covariance: family for family in (Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian)}


def family_of(
    x: Rows,
    n_components: int,
    kinds: Sequence[str],
    *,
    covariance: str = "full",
    prior: Mapping[str, Any] | None = None,
    n_levels: Sequence[int] | None = None,
    weights: np.ndarray | None = None,
    missing: bool = False,
) -> Family:
    """The family that suits columns of these kinds, under a weak prior wherever none is given.

    Columns of one kind have its family. Others have a `Product` of up to four parts, in the order of `KINDS`: all numbers
    together, with their covariance structure, all counts, and all nominal columns. Binary columns beside categorical ones are
    categorical with two levels, so that no two parts have parameters of one name.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
        See `mixtures.rows.reading.as_rows`.
    n_components : int
        K.
    kinds : sequence of str
        Of `KINDS`, one a column.
    covariance : {"full", "tied", "diag", "spherical"}
        Structure of the Gaussian columns; of no effect where there are none.
    prior : mapping, optional
        Hyperparameters by the names in `Family.hyperparameters`. Those of a Gaussian part have an entry for each of its own
        columns, and so have the others.
    n_levels : sequence of int, optional
        Number of levels of every column; only those of categorical ones count. By default one more than the largest code.
    weights : ndarray, shape (N,), optional
        How many observations each row stands for.
    missing : bool
        Whether values may be missing at random (NaN), to be integrated out.

    Raises
    ------
    ValueError
        If a kind or a hyperparameter is not known, or the family refuses the columns.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.column_stack([np.arange(6) / 7, [0, 1, 2, 0, 1, 2], [0, 3, 1, 0, 2, 1]])
    >>> [part.name for part in family_of(x, 2, ["gaussian", "categorical", "poisson"]).parts]
    ['gaussian', 'poisson', 'categorical']
    """
    kinds = merged(kinds)
    found = {kind: [j for j, own in enumerate(kinds) if own == kind] for kind in KINDS if kind in kinds}
    classes: list[Any] = [COVARIANCES[covariance] if kind == "gaussian" else _DISCRETE[kind] for kind in found]
    options = _of_parts([own.hyperparameters for own in classes], prior or {})
    if n_levels is not None and "categorical" in found:
        levels = [int(n_levels[j]) for j in found["categorical"]]
        options[list(found).index("categorical")]["levels"] = levels
    if len(found) == 1:
        return classes[0].from_data(x, n_components, weights=weights, missing=missing, **options[0])
    return Product.from_data(
        x,
        n_components,
        families=classes,
        columns=list(found.values()),
        hyperparameters=options,
        weights=weights,
        missing=missing,
    )


_DISCRETE = {"poisson": Poisson, "categorical": Categorical, "bernoulli": Bernoulli}


def parameters_of(kinds: Sequence[str]) -> tuple[str, ...]:
    """The names of theta in the family of columns of these kinds.

    >>> parameters_of(["categorical", "gaussian"])
    ('means', 'covariances', 'probabilities')
    """
    found = merged(kinds)
    classes: list[Any] = [Gaussian if kind == "gaussian" else _DISCRETE[kind] for kind in KINDS if kind in found]
    return tuple(name for own in numbered_apart([own.parameters for own in classes]) for name in own.values())


def numbers_of(kinds: Sequence[str], n_levels: Sequence[int]) -> int:
    """How many numbers theta has for one cluster, whole covariance matrices and padded probabilities counted.

    >>> numbers_of(["gaussian", "gaussian", "categorical"], [0, 0, 3])
    9
    """
    found = list(merged(kinds))
    D, nominal = found.count("gaussian"), found.count("categorical")
    most = max((2, *(c for c, kind in zip(n_levels, found, strict=True) if kind == "categorical")))
    return D + D * D + nominal * most + found.count("poisson") + found.count("bernoulli")


def merged(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds as the family treats them: binary columns beside categorical ones are categorical.

    >>> merged(["bernoulli", "poisson", "categorical"])
    ('categorical', 'poisson', 'categorical')
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(unknown("kind of column", kind, KINDS))
    if "categorical" not in kinds:
        return tuple(kinds)
    return tuple("categorical" if kind == "bernoulli" else kind for kind in kinds)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message that a name is not known, with the nearest that is."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no {what} {name!r}; {hint}choose from {', '.join(known)}"


def _of_parts(hyperparameters: Sequence[Sequence[str]], prior: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hyperparameters given, each with the part whose they are, under its own names."""
    names = numbered_apart(hyperparameters)
    every = [here for own in names for here in own.values()]
    for name in prior:
        if name not in every:
            raise ValueError(unknown("hyperparameter", name, every))
    return [{name: prior[here] for name, here in own.items() if here in prior} for own in names]
