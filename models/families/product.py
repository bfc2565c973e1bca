"""The PyMC twin of `mixtures.families.product`: the twins of the parts, the labels summed out.

    pi ~ Dirichlet(alpha0)      theta_kj as in the twin of part j
    p(x_n | pi, theta) = sum_k pi_k prod_j p_j(x_n,(j) | theta_kj)

A free variable of part j has the name that it has in that twin, followed by j, counted from one; parameters are named as in the
family.
"""

from __future__ import annotations

import re

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.families.product import Product
from mixtures.model import Theta
from models.families import twin
from models.observed import Rename, Statistics


def variables(
    family: Product, n_components: int, *, centred: bool
) -> tuple[dict[str, TensorVariable], TensorVariable, Statistics]:
    """The free variables of ``n_components`` clusters: theta, eta (K, P) and the statistics, for `models.observed.observe`."""
    theta: dict[str, TensorVariable] = {}
    etas, each = [], []
    for j, part in enumerate(family.parts):
        own, eta, statistics = twin(part).variables(part, n_components, centred=centred, rename=_rename(family, j))
        theta |= {family.names[j][name]: value for name, value in own.items()}
        etas.append(eta)
        each.append(statistics)

    def joined(x: TensorVariable) -> tuple[TensorVariable, TensorVariable | float]:
        found = [statistics(x[:, columns]) for statistics, columns in zip(each, family.columns, strict=True)]
        t = [t for t, _ in found]
        return pt.concatenate([t[0], *(own[:, 1:] for own in t[1:])], axis=1), sum(base for _, base in found)

    constant = sum(eta[:, :1] for eta in etas)
    return theta, pt.concatenate([constant, *(eta[:, 1:] for eta in etas)], axis=1), joined


def unconstrain(family: Product, theta: Theta, *, centred: bool = False) -> dict[str, np.ndarray]:
    """The unconstrained values at the parameters of the parts."""
    values = {}
    for j, (part, own) in enumerate(family.parts_of(theta)):
        rename = _rename(family, j)
        free = twin(part).unconstrain(part, own, centred=centred)
        for name, value in free.items():
            stem, transform = re.fullmatch(r"(.*?)((?:_log|_logodds|_simplex)__|)", name).groups()  # type: ignore[union-attr]
            values[rename(stem) + transform] = value
    return values


def _rename(family: Product, j: int) -> Rename:
    """What part j, counted from zero, calls its variables and dims."""
    return lambda name: family.names[j].get(name, f"{name}_{j + 1}")
