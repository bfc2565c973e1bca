"""A PyMC model as calibration needs it: truths and data from its prior, and its densities compiled once for all of them.

    theta ~ p(theta)      x ~ p(x | theta)

Data are drawn forwards, so that everything the observed variables depend on has to be in the model as a variable with a proper
prior, or fixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pymc as pm
    from pytensor.graph.basic import Variable
    from pytensor.tensor.variable import TensorVariable

Values = dict[str, np.ndarray]
Build = Callable[[], "pm.Model"]
Possible = Callable[[Values], bool]

MOST = 100
"""Draws of the prior for each that is possible, at most."""


class Draw(NamedTuple):
    """One draw from the prior: free variables and what follows from them, and the data that a fit is given.

    Attributes
    ----------
    values : dict of ndarray
        Free and deterministic variables by name, on the scale of the model.
    data : dict of ndarray
        Observed variables by name, as drawn, and every ``pm.Data`` of the model by its name: as it stands, or as drawn where it
        is observed.
    """

    values: Values
    data: Values


class Generative:
    """The model that ``build()`` returns.

    Parameters
    ----------
    build : callable
        Called without arguments. Its observed variables say of what shape data are; their values are not used.
    ranked : sequence of str, optional
        The variables whose entries are ranked; by default all.

    Raises
    ------
    ValueError
        If it returns no model, or one from which data cannot be drawn.
    """

    def __init__(self, build: Build, ranked: Sequence[str] | None = None) -> None:
        import pymc as pm

        model = build()
        if not isinstance(model, pm.Model):
            raise ValueError(f"build() returned {type(model).__name__}; expected a pm.Model")
        check(model)
        self.model = model
        self.free = [str(variable.name) for variable in model.free_RVs]
        self.deterministic = [str(variable.name) for variable in model.deterministics]
        self.observed = [str(variable.name) for variable in model.observed_RVs]
        self.ranked = [*self.free, *self.deterministic] if ranked is None else list(ranked)

    @property
    def text(self) -> str:
        """The model as PyMC writes it."""
        return str(self.model.str_repr())

    def draw(self, number: int, seed: int, possible: Possible | None = None) -> list[Draw]:
        """The first so many draws, which are the same however many there are, those that are not possible passed over.

        Raises
        ------
        ValueError
            If data cannot be drawn given some of the prior's draws, or hardly any draw is possible.
        """
        drawn = max(2, number)  # of a single one there is no axis
        while True:
            found = [own for own in self._drawn(drawn, seed) if possible is None or possible(own.values)]
            if len(found) >= number:
                return found[:number]
            if drawn > MOST * number:
                raise ValueError(f"{len(found)} of {drawn} draws of the prior are possible; give it another one")
            drawn *= 2

    def _drawn(self, number: int, seed: int) -> list[Draw]:
        import pymc as pm

        names = [*self.free, *self.deterministic, *self.observed]
        # Python's own interpreter: what it takes for each draw, any compiler takes more for so few
        try:
            found = pm.draw([self.model[name] for name in names], draws=number, random_seed=seed, mode="FAST_COMPILE")
        except ValueError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"data cannot be drawn from the prior ({reason}): some of its draws are too extreme for a generator of random "
                "numbers; give the variables narrower priors"
            ) from error
        named = dict(zip(names, found, strict=True))
        return [self._one({name: values[i] for name, values in named.items()}) for i in range(number)]

    def _one(self, drawn: Values) -> Draw:
        data = {name: drawn[name] for name in self.observed}
        for container in self.model.data_vars:
            name = str(container.name)
            data.setdefault(name, drawn[self._holds[name]] if name in self._holds else container.get_value())
        return Draw({name: drawn[name] for name in (*self.free, *self.deterministic)}, data)

    @cached_property
    def _holds(self) -> dict[str, str]:
        """Of which observed variable a ``pm.Data`` holds the values, by their names."""
        return {
            name: str(variable.name)
            for variable in self.model.observed_RVs
            for name in containers(self.model, variable)
        }

    @cached_property
    def evaluate(self) -> Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Values]:
        """From free variables (S, *shape) and the data to deterministic variables (S, *shape) and log densities (S,).

        These are "log likelihood" log p(x | theta) and "log joint density" log p(x, theta), in nats, both on the scale of the
        model. Compiled when it is first called, and again only for another S.
        """
        import jax
        from pymc.model.transform.conditioning import remove_value_transforms

        from models.flat import by_jax
        from reports.validation.target import no_translation

        model, observed = opened(remove_value_transforms(self.model), self.observed)
        densities = [model.logp(vars=model.observed_RVs), model.logp()]
        others = model.replace_rvs_by_values([model[name] for name in self.deterministic])
        function = by_jax([*model.value_vars, *observed], [*densities, *others])
        free, kinds = [str(value.name) for value in model.value_vars], [value.dtype for value in model.value_vars]
        types = [value.dtype for value in observed]
        mapped = jax.jit(jax.vmap(function, (*[0] * len(free), *[None] * len(observed))))

        def evaluate(values: Mapping[str, np.ndarray], data: Mapping[str, np.ndarray]) -> Values:
            given = [np.asarray(values[name]).astype(kind) for name, kind in zip(free, kinds, strict=True)]
            drawn = [np.asarray(data[name]).astype(kind) for name, kind in zip(self.observed, types, strict=True)]
            try:
                found = map(np.asarray, mapped(*given, *drawn))
            except NotImplementedError as error:
                raise ValueError(no_translation(error)) from error
            return dict(zip((LOG_LIKELIHOOD, LOG_JOINT, *self.deterministic), found, strict=True))

        return evaluate


LOG_LIKELIHOOD, LOG_JOINT = "log likelihood", "log joint density"


def check(model: pm.Model) -> None:
    """Refuse a model from which no data can be drawn, or whose draws are not those of its density.

    Raises
    ------
    ValueError
    """
    from pymc.distributions.continuous import FlatRV, HalfFlatRV
    from pymc.variational.minibatch_rv import MinibatchRandomVariable

    from reports.validation.target import MARGINALISE

    if not model.free_RVs:
        raise ValueError("the model has no free variables: there is nothing to calibrate")
    if not model.observed_RVs:
        raise ValueError("the model has no observed variables: give them any values of the right shape, observed=...")
    if model.potentials:
        names = ", ".join(str(each.name) for each in model.potentials)
        raise ValueError(
            f"the model has potentials ({names}), which draws from the prior pass over: write them as distributions"
        )
    for variable in model.free_RVs:
        if variable.dtype.startswith(("int", "uint", "bool")):
            raise ValueError(
                f"{variable.name} is discrete, and is to be summed out: {MARGINALISE.format(name=variable.name)}"
            )
        if isinstance(variable.owner.op, FlatRV | HalfFlatRV):
            raise ValueError(
                f"{variable.name} has an improper prior, from which nothing can be drawn: give it a proper one, such as "
                "a wide normal"
            )
    for variable in model.observed_RVs:
        if isinstance(variable.owner.op, MinibatchRandomVariable):
            raise ValueError(f"{variable.name} is a minibatch: build the model with all of its data")
        whole = str(variable.name).removesuffix("_observed")
        if f"{whole}_unobserved" in model.named_vars:  # PyMC's names for the parts of one with gaps
            raise ValueError(f"{whole} has missing values: build the model with complete data of the same shape")
        if set(containers(model, variable)) & {str(each.name) for each in looked_at(variable)}:
            raise ValueError(
                f"{variable.name} depends on observed values, as in a regression on its own past, so that data drawn from "
                "the prior would not be those of the model: write it as a process"
            )


def opened(model: pm.Model, names: Sequence[str]) -> tuple[pm.Model, list[TensorVariable]]:
    """A copy of the model that leaves its observed values open, and what stands for those of the variables named.

    The copy may have its variables in another order. The values cannot be replaced later: constants that are equal, such as
    two that are zero throughout, are one in the graph of the density.
    """
    from pymc.model.fgraph import clone_model

    model = clone_model(model)
    found = []
    for variable in (model[name] for name in names):
        closed = model.rvs_to_values[variable]
        value = closed.type(name=f"{variable.name}_observed")
        del model.values_to_rvs[closed]
        model.rvs_to_values[variable], model.values_to_rvs[value] = value, variable
        found.append(value)
    return model, found


def holding(model: pm.Model, data: Mapping[str, np.ndarray]) -> pm.Model:
    """A copy of the model with other observed values, by the names of the variables."""
    import pytensor.tensor as pt
    from pymc.model.fgraph import clone_model

    model = clone_model(model)
    for variable in model.observed_RVs:
        held = model.rvs_to_values[variable]
        value = pt.constant(np.asarray(data[str(variable.name)]).astype(held.dtype), name=f"{variable.name}_observed")
        del model.values_to_rvs[held]
        model.rvs_to_values[variable], model.values_to_rvs[value] = value, variable
    return model


def containers(model: pm.Model, variable: TensorVariable) -> list[str]:
    """Names of the ``pm.Data`` that hold the values of an observed variable."""
    from pytensor.graph.traversal import ancestors

    inside = set(ancestors([model.rvs_to_values[variable]]))
    return [str(container.name) for container in model.data_vars if container in inside]


def looked_at(variable: TensorVariable) -> Iterator[Variable]:
    """What a random variable depends on, but for what it asks for a shape alone."""
    from pytensor.graph.traversal import walk
    from pytensor.tensor.shape import Shape, Shape_i

    def inputs(each: Variable) -> list[Variable]:
        return [] if each.owner is None or isinstance(each.owner.op, Shape | Shape_i) else each.owner.inputs

    return walk(inputs(variable), inputs)


def digest(draw: Draw) -> str:
    """What tells one model's prior from another's: a hash of what it drew first."""
    found = hashlib.sha256()
    for name, value in sorted((draw.values | draw.data).items()):
        found.update(f"{name} {value.shape} ".encode() + np.ascontiguousarray(np.round(value, 9)).tobytes())
    return found.hexdigest()[:16]
