"""Parameters of clusters that were made elsewhere: their shapes, and whether they are parameters of this model at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixtures import Fit
from mixtures.model import Allocation, Family, Theta
from reports.comparison.prepared import Data
from reports.metrics.parameters import kind as kind_of
from reports.metrics.parameters import scalars

TOLERANCE = 1e-6
FARTHEST = 1e100


def axes(family: Family, allocation: Allocation) -> dict[str, tuple[str, ...]]:
    """The axes of each variable after those of chain and draw, as they are called in a tree."""
    return {**allocation.dims, **family.dims}


def shapes(family: Family, allocation: Allocation, data: Data) -> dict[str, tuple[int, ...]]:
    """How long these axes are."""
    coords = family.coords(data.features, data.levels)
    lengths = dict.fromkeys(("cluster", "cluster_"), allocation.n_components)
    lengths |= {name: len(labels) for name, (_, labels) in coords.items()}
    return {name: tuple(lengths[dim] for dim in dims) for name, dims in axes(family, allocation).items()}


def parameters(arrays: Mapping[str, np.ndarray], data: Data, family: Family) -> Theta:
    """Theta in the family's coordinates, from parameters (chain, draw, ...) in the units of the data as they were given.

    Raises
    ------
    ValueError
        If they are no parameters of such clusters.
    """
    coords, theta = family.coords(data.features, data.levels), {}
    numbers_ = np.array([kind == "gaussian" for kind in data.kinds])
    centre, scale = data.centre[numbers_], data.scale[numbers_]
    if "means" in family.dims:
        covariances = positive_definite("covariances", arrays["covariances"])
        if family.covariance == "tied":
            covariances = np.broadcast_to(covariances[:, :, :1], covariances.shape)
        theta = {"means": (arrays["means"] - centre) / scale, "covariances": covariances / np.outer(scale, scale)}
        check_reach(theta["means"], np.diagonal(theta["covariances"], axis1=-2, axis2=-1), data.x[:, numbers_])
    if "rates" in family.dims:
        theta["rates"] = _positive("rates", arrays["rates"])
    if "probabilities" in family.dims:
        names = [labels for name, (_, labels) in coords.items() if name.startswith("level_name")]
        theta["probabilities"] = _probabilities(arrays["probabilities"], names[0])
    return family.from_data_units(theta)


def _positive(key: str, a: np.ndarray) -> np.ndarray:
    """Numbers above zero; a point estimate may be zero."""
    least = a.min()
    if least < 0 or (least == 0 and a.shape[0] * a.shape[1] > 1):
        raise ValueError(f"{key} are as small as {least:g}; expected positive numbers")
    return a


def _probabilities(p: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Probabilities of ones (chain, draw, K, D), or of levels (chain, draw, K, D, C) that add up to one, to rounding.

    Parameters
    ----------
    names : ndarray, shape (D,) or (D, C)
        Of a one, or of the levels, empty behind the last of a feature.
    """
    if p.min() < 0 or p.max() > 1 + TOLERANCE:
        raise ValueError(f"probabilities reach from {p.min():g} to {p.max():g}; expected numbers from 0 to 1")
    if names.ndim == 1:
        return np.minimum(p, 1.0)
    there = names != ""
    if np.any(p[..., ~there] > TOLERANCE):
        raise ValueError("probabilities are positive behind the last level of a feature; expected zeros there")
    total = (p * there).sum(-1)
    if (off := np.abs(total - 1)).max() > TOLERANCE:
        chain, draw, k, d = np.unravel_index(off.argmax(), off.shape)
        raise ValueError(
            f"probabilities sum to {total[chain, draw, k, d]:g} in chain {chain}, draw {draw}, cluster {k}, feature {d}; "
            f"expected 1, to within {TOLERANCE:g}: divide them by their sum"
        )
    return p * there / total[..., None]


def check_reach(means: np.ndarray, variances: np.ndarray, x: np.ndarray) -> None:
    """Refuse clusters so far from the data, so narrow or so wide that no float holds a density of theirs."""
    low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    spread = high - low
    if (np.abs(means - low) > FARTHEST * spread).any():
        raise ValueError(f"means reach {np.abs(means).max():.3g}; expected them in the units of the data")
    relative = variances / spread**2
    if not 1 / FARTHEST < relative.min() <= relative.max() < FARTHEST:
        raise ValueError(
            f"variances reach from {variances.min():.3g} to {variances.max():.3g}; expected the data's units"
        )


def check_structure(fit: Fit, own: Theta, given: Theta, data: Data) -> None:
    """Refuse covariances that have not the structure of the comparison's, and parameters that do not vary.

    Parameters
    ----------
    fit : Fit
    own, given : Theta
        The parameters in the units of the data as they were given, after and before they were brought to the family's form.
    data : Data
        Whose features they are named by.
    """
    held = fit.draws(fit.held.size, np.random.default_rng(0))["posterior"].to_dataset()
    held = held.assign_coords(fit.family.coords(data.features, data.levels))
    found = scalars(held.assign({name: (held[name].dims, a) for name, a in given.items()}))
    if "covariances" in given:
        _check_covariances(fit.family, fit.n_components, own["covariances"], given["covariances"], found)
    for target, values in found.items():
        if values.size > 1 and np.ptp(values) == 0:
            raise ValueError(f"{target} is the same in every draw; give a point estimate as one draw")


def _check_covariances(
    family: Family, n_components: int, own: np.ndarray, given: np.ndarray, found: Mapping[str, np.ndarray]
) -> None:
    structure, D = family.covariance, given.shape[-1]
    if np.any(np.abs(own - given) > TOLERANCE * products_of_sds(given)):
        raise ValueError(f"its covariances are not {structure}; compare with the structure that they have")
    number = sum(kind is not None and kind.block == "spreads" for kind in map(kind_of, found))
    part = next(part for part in getattr(family, "parts", (family,)) if part.gaussian)
    free = part.n_free(n_components) - n_components * D
    if number != free:
        raise ValueError(
            f"its covariances have {number} distinct entries that are not always zero, and covariance={structure!r} has "
            f"{free}; compare with the structure that they have"
        )


def numbers(key: str, a: Any) -> np.ndarray:
    """The array in float64, all of it finite."""
    a = np.asarray(a)
    if a.dtype.kind not in "fiu":
        raise ValueError(f"{key} holds {a.dtype}; expected real numbers")
    a = a.astype(np.float64)
    if bad := int((~np.isfinite(a)).sum()):
        raise ValueError(f"{key} has {bad} missing or infinite values; leave those draws out")
    return a


def simplex(key: str, weights: np.ndarray) -> np.ndarray:
    """Weights (chain, draw, ..., K) that add up to one, to rounding."""
    if np.any(weights < 0):
        raise ValueError(f"{key} are as small as {weights.min():g}; expected numbers of at least 0")
    total = weights.sum(-1)
    off = np.abs(total - 1)
    if np.any(off > TOLERANCE):
        chain, draw, *row = place = np.unravel_index(off.argmax(), off.shape)
        of = "".join(f", row {k}" for k in row)
        raise ValueError(
            f"{key} sum to {total[place]:g} in chain {chain}, draw {draw}{of}; expected 1, to within {TOLERANCE:g}: divide "
            "them by their sum"
        )
    return weights / total[..., None]


def positive_definite(key: str, matrices: np.ndarray) -> np.ndarray:
    """Matrices (..., K, D, D) that are symmetric, to rounding, and positive definite."""
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    if np.any(variances <= 0):
        raise ValueError(f"{key} has {variances.min():g} on a diagonal; expected positive numbers")
    correlations = matrices / products_of_sds(matrices)
    if np.any(np.abs(correlations - correlations.mT) > TOLERANCE):
        raise ValueError(f"{key} are not symmetric; expected covariance matrices, not factors of them")
    smallest = np.linalg.eigvalsh((correlations + correlations.mT) / 2)[..., 0]
    if np.any(smallest <= matrices.shape[-1] * np.finfo(float).eps):
        k = np.unravel_index(smallest.argmin(), smallest.shape)[-1]
        raise ValueError(f"{key} are not positive definite, that of cluster {k} for one; leave such draws out")
    return (matrices + matrices.mT) / 2


def products_of_sds(covariances: np.ndarray) -> np.ndarray:
    """sd_i sd_j, by which a covariance is a correlation, (..., D, D)."""
    sds = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    return sds[..., :, None] * sds[..., None, :]
