"""The scalar parameters of a mixture: what each is called, in which block it is judged and on which scale it is compared.

Where moments need not exist, a scale is taken on which they do: the logarithm of variances, Fisher's z of correlations. Under a
weak prior the variance of a nearly empty cluster has no variance of its own, its logarithm has. Weights are compared by their
log odds, on which a weight near one and its mirror image near zero differ by the sign alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

# A weight that underflows to zero or rounds to one has no log odds, and such a correlation no z.
TINY = np.finfo(float).tiny
LARGEST = 1 - np.finfo(float).eps


class Kind(NamedTuple):
    """A kind of parameter: the block in which it is judged, its scale for comparison, whether its natural scale is bounded."""

    block: str
    scale: Callable[[np.ndarray], np.ndarray]
    bounded: bool


def log_odds(w: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """log(w / (1 - w)) of weights, with the sum of the others, where it is given, for 1 - w, which may round to zero."""
    others = 1 - np.minimum(w, LARGEST) if others is None else others
    return np.log(np.maximum(w, TINY)) - np.log(np.maximum(others, TINY))


KINDS = {
    "weights": Kind("weights", log_odds, bounded=True),
    "means": Kind("locations", np.asarray, bounded=False),
    "variances": Kind("spreads", np.log, bounded=False),
    "correlations": Kind("spreads", lambda r: np.arctanh(np.clip(r, -LARGEST, LARGEST)), bounded=True),
}
"""By the name that stands before the bracket: ``variances[0, eruptions]``."""

BLOCKS = ("weights", "locations", "spreads")


def kind(target: str) -> Kind | None:
    """The kind of a scalar parameter, by its name; None for what is no parameter, such as a block."""
    name, bracket, _ = target.partition("[")
    return KINDS.get(name) if bracket else None


def natural(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Every distinct, free scalar parameter by name, each (chain, draw), in the units of the data.

    Covariances are given as variances and correlations. What cannot vary, like a single weight or the correlation of
    independent features, and what repeats another, like the matrices of clusters that share one or the second of two weights,
    is left out.
    """
    found: dict[str, np.ndarray] = {}
    for name, variable in posterior.data_vars.items():
        labels = [[str(label) for label in posterior[dim].values] for dim in variable.dims[2:]]
        values = variable.values
        if name == "covariances":
            found |= _spreads(values, labels)
        elif name == "weights" and len(labels[0]) <= 2:
            found |= {f"weights[{label}]": values[:, :, k] for k, label in enumerate(labels[0][:-1])}
        else:
            for index in np.ndindex(*values.shape[2:]):
                place = ", ".join(names[i] for names, i in zip(labels, index, strict=True))
                found[f"{name}[{place}]"] = values[(..., *index)]
    return found


def _spreads(covariances: np.ndarray, labels: list[list[str]]) -> dict[str, np.ndarray]:
    """Variances, then correlations, of covariances (chain, draw, K, D, D), without zeros and repetitions."""
    clusters, features, _ = labels
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    found: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()

    def keep(name: str, values: np.ndarray) -> None:
        if (raw := values.tobytes()) not in seen:
            seen.add(raw)
            found[name] = values

    for k, cluster in enumerate(clusters):
        for f, feature in enumerate(features):
            keep(f"variances[{cluster}, {feature}]", variances[:, :, k, f])
    for k, cluster in enumerate(clusters):
        for f, g in combinations(range(len(features)), 2):
            covariance = covariances[:, :, k, f, g]
            if covariance.any():
                r = covariance / np.sqrt(variances[:, :, k, f] * variances[:, :, k, g])
                keep(f"correlations[{cluster}, {features[f]}, {features[g]}]", r)
    return found


def scalars(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """`natural` on the scales of `KINDS`, where every parameter has moments, each (chain, draw)."""
    found = {name: scaled(name, values) for name, values in natural(posterior).items()}
    if "weights" in posterior:
        w = posterior["weights"].values
        others = w @ (1 - np.eye(w.shape[-1]))
        for k, label in enumerate(posterior[posterior["weights"].dims[2]].values):
            if (name := f"weights[{label}]") in found:
                found[name] = log_odds(w[..., k], others[..., k])
    return found


def scaled(target: str, values: np.ndarray) -> np.ndarray:
    """A parameter's values on the scale on which it is compared; what has no scale of its own as it is."""
    own = kind(target)
    return values if own is None else own.scale(values)
