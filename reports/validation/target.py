"""A PyMC model as the density that all methods are about: its variables, their scales, and its parts compiled by JAX.

Free variables x are sampled on unconstrained scales u = T(x), a vector of P numbers. With the prior p(x) and the likelihood
p(y | x), potentials included,

    log p(y, u) = log p(x(u)) + log p(y | x(u)) + log |dx / du|

is the log density of the unconstrained values, in nats and with all constants, and a density q(x) of one's own becomes
q(u) = q(x(u)) |dx / du|.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from pymc.distributions import transforms
from pymc.variational.minibatch_rv import MinibatchRandomVariable
from pytensor.graph.replace import clone_replace

from mixtures.memory import check_memory
from models.flat import Flat, by_jax, flatten
from reports.comparison.capacity import NUMBER
from reports.metrics.gaussian_bridge import bridge

# Rows that one compiled call takes: all calls have one shape, and no more than these log likelihoods are held by the device.
BLOCK = 500

# Numbers of a deterministic that is compared; larger ones, such as a mean for each row of the data, are left out.
LARGEST_DERIVED = 100

# Draws that a posterior is summarised from at least.
FEWEST_DRAWS = 100

FLAT = (type(pm.Flat.rv_op), type(pm.HalfFlat.rv_op))

MARGINALISE = (
    "sum it out of the likelihood (pm.Mixture, pm.logp with pm.math.logsumexp), or let "
    "pymc_extras.marginalize(model, [{name}]) do so"
)


class Variable(NamedTuple):
    """A free variable or a deterministic of a model.

    Parameters
    ----------
    name : str
    shape : tuple of int
    dims : tuple of str
        One a axis.
    labels : tuple of tuples of str
        The names along each axis.
    free : bool
        Whether it is a free variable.
    scale : {"as it is", "log", "log odds"}
        The scale on which it is compared: logarithms where it is positive, log odds where it is between ``low`` and ``high``.
    low, high : float
        What it is between, where they are constants.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    free: bool
    scale: str = "as it is"
    low: float = -np.inf
    high: float = np.inf

    @property
    def scalars(self) -> list[str]:
        """The names of its numbers, such as ``theta[Choate]``, in the order of the array."""
        if not self.shape:
            return [self.name]
        return [f"{self.name}[{', '.join(place)}]" for place in product(*self.labels)]


class Parts(NamedTuple):
    """Logarithms, (n,) each, of what the density of unconstrained values is made of."""

    prior: np.ndarray
    likelihood: np.ndarray
    jacobian: np.ndarray

    @property
    def density(self) -> np.ndarray:
        """log p(y, u)."""
        return self.prior + self.likelihood + self.jacobian


@dataclass(frozen=True)
class Target:
    """A model with continuous free variables; make one by `of`.

    Parameters
    ----------
    model : pymc.Model
    flat : models.flat.Flat
        Its log density over the unconstrained values, and the way from them to all variables that are compared.
    variables : dict of Variable
        Free variables, then deterministics, in the order of the model.
    left_out : tuple of str
        Deterministics that are too large to be compared, or that hold no numbers.
    flat_priors : tuple of str
        Free variables whose prior is improper.
    notes : tuple of str
        What was done to the model.
    """

    model: pm.Model
    flat: Flat
    variables: dict[str, Variable]
    left_out: tuple[str, ...]
    flat_priors: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: pm.Model) -> Target:
        """Look at a model.

        Raises
        ------
        TypeError
            If it is no model.
        ValueError
            If it has no free variables, discrete ones that cannot be summed out, minibatches, or operations that JAX lacks, or
            its log density is not a finite number where PyMC starts; one line says which variable, and what to do.
        """
        if not isinstance(model, pm.Model):
            raise TypeError(f"model is a {type(model).__name__}; expected a pymc.Model")
        model, notes = _marginalised(model)
        _check(model)
        try:
            flat, variables, left_out = _variables(model)
            target = cls(
                model,
                flat if not left_out else flatten(model, list(variables)),
                variables,
                left_out,
                tuple(rv.name for rv in model.free_RVs if isinstance(rv.owner.op, FLAT)),
                notes,
            )
            target._check_start()
        except NotImplementedError as error:
            raise ValueError(no_translation(error)) from error
        return target

    @property
    def samplers(self) -> tuple[str, ...]:
        """Methods of this model alone that may be the reference where those of every model failed their checks."""
        return ()

    @property
    def edge(self) -> str:
        """Why no normal q over the unconstrained values has an ELBO, "" where one has."""
        return ""

    @property
    def size(self) -> int:
        """P, the number of unconstrained values."""
        return self.flat.size

    @property
    def free(self) -> dict[str, Variable]:
        """The free variables."""
        return {name: v for name, v in self.variables.items() if v.free}

    @property
    def observed(self) -> tuple[str, ...]:
        """The observed variables."""
        return tuple(rv.name for rv in self.model.observed_RVs)

    @property
    def scalars(self) -> dict[str, str]:
        """The variable of every number, by the number's name."""
        return {scalar: v.name for v in self.variables.values() for scalar in v.scalars}

    @cached_property
    def start(self) -> np.ndarray:
        """The unconstrained values (P,) where PyMC starts."""
        point = self.model.initial_point()
        return self.flat.join({name: np.asarray(point[name], dtype=float) for name in self.flat.shapes})

    def parts(self, u: np.ndarray) -> Parts:
        """Prior, likelihood and Jacobian at unconstrained values u (n, P)."""
        return Parts(*(np.asarray(part) for part in self._by_blocks(self._parts, u)))

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """log p(y, u) in nats of unconstrained values u (n, P), shape (n,)."""
        return self.parts(u).density

    def bridge(self, u: np.ndarray, log_p: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
        """log p(y) and its standard error, by posterior draws u (chain, draw, P) and their log p(y, u) (chain, draw).

        Raises
        ------
        ValueError
            If there are too few draws.
        """
        return bridge(u, log_p, self.log_density, rng)

    def log_jacobian(self, u: np.ndarray) -> np.ndarray:
        """log |dx / du| of unconstrained values u (n, P), shape (n,)."""
        return self.parts(u).jacobian

    def log_likelihood(self, u: np.ndarray) -> np.ndarray:
        """log p(y_n | x) of every observed value, one variable behind the other, of unconstrained values u (n, P): (n, N)."""
        return self._by_blocks(self._pointwise, u)[0]

    @property
    def graphic(self) -> bool:
        """Whether PyMC's graph of the model says what depends on what; otherwise the page has its own."""
        return True

    @cached_property
    def n_observed(self) -> int:
        """N, the number of observed values that have a log likelihood of their own."""
        import jax

        return int(jax.eval_shape(self._pointwise, np.zeros((BLOCK, self.size)))[0].shape[1])

    def constrain(self, u: np.ndarray) -> dict[str, np.ndarray]:
        """All variables by name, (n, *shape) each, from unconstrained values u (n, P)."""
        found = self._by_blocks(self._constrain, u)
        return dict(zip(self.variables, found, strict=True))

    def unconstrain(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Unconstrained values (n, P) from the free variables (n, *shape) by name; NaN or infinite outside the support."""
        rows = [np.asarray(values[name], dtype=float) for name in self.free]
        found = self._by_blocks(self._unconstrain, *rows)
        return self.flat.join(dict(zip(self.flat.shapes, found, strict=True)))

    def draw_prior(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Unconstrained values (n, P) of draws from the prior.

        Raises
        ------
        ValueError
            If the prior is improper.
        """
        if self.flat_priors:
            raise ValueError(improper(self.flat_priors))
        seed = int(rng.integers(2**31))
        drawn = pm.draw(self.model.free_RVs, draws=n, mode="FAST_COMPILE", random_seed=seed)
        return self.unconstrain(dict(zip(self.free, drawn, strict=True)))

    def _by_blocks(self, function: Callable, *rows: np.ndarray) -> list[np.ndarray]:
        """A compiled function of blocks of rows, the last of which is filled up with its own last row."""
        n = len(rows[0])
        found = []
        for start in range(0, n, BLOCK):
            block = [a[start : start + BLOCK] for a in rows]
            short = BLOCK - len(block[0])
            filled = [np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) if short else a for a in block]
            found.append([np.asarray(part)[: BLOCK - short] for part in function(*filled)])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    @cached_property
    def _parts(self) -> Callable:
        import jax

        model = self.model
        jacobian = _log_jacobian(model)
        outputs = [model.varlogp_nojac, model.datalogp, jacobian]
        parts = by_jax(model.value_vars, outputs)

        def of(u):
            return [jax.numpy.asarray(part, dtype=float) for part in parts(*self.flat.split(u).values())]

        return jax.jit(jax.vmap(of))

    @cached_property
    def _pointwise(self) -> Callable:
        import jax

        model = self.model
        outputs = model.logp(vars=model.observed_RVs, sum=False)
        each = by_jax(model.value_vars, outputs)

        def of(u):
            parts = [
                jax.numpy.ravel(jax.numpy.asarray(part, dtype=float)) for part in each(*self.flat.split(u).values())
            ]
            return [jax.numpy.concatenate(parts)]

        return jax.jit(jax.vmap(of))

    @cached_property
    def _constrain(self) -> Callable:
        import jax

        return jax.jit(jax.vmap(lambda u: list(self.flat.constrain(u).values())))

    @cached_property
    def _unconstrain(self) -> Callable:
        import jax

        model = self.model
        given = {rv: rv.type() for rv in model.free_RVs}
        outputs = []
        for rv, own in given.items():
            transform = model.rvs_to_transforms[rv]
            outputs.append(
                own if transform is None else transform.forward(own, *clone_replace(list(rv.owner.inputs), given))
            )
        return jax.jit(jax.vmap(by_jax(list(given.values()), outputs)))

    def _check_start(self) -> None:
        """Refuse a model whose log density is not a finite number where PyMC starts."""
        parts = self.parts(self.start[None])
        if np.isfinite(parts.density[0]):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by_name = self.model.point_logps(round_vals=4)
        wrong = [f"{name} {value}" for name, value in by_name.items() if not np.isfinite(value)]
        raise ValueError(
            f"the log density is {parts.density[0]} where PyMC starts ({', '.join(wrong) or 'a Jacobian'}); check the data for "
            "NaN and values outside the support, or give initval= to the free variables"
        )


def no_translation(error: NotImplementedError) -> str:
    """What to do where JAX lacks an operation of a model."""
    return (
        f"JAX cannot compile the model ({error}): write this part with operations of pytensor.tensor, or as an Op with a "
        "translation to JAX"
    )


def improper(names: tuple[str, ...]) -> str:
    """Why there is no evidence and no draw from the prior."""
    return (
        f"the prior of {', '.join(names)} is improper (flat): it has no normalising constant and cannot be drawn from"
    )


def _marginalised(model: pm.Model) -> tuple[pm.Model, tuple[str, ...]]:
    """The model without its discrete free variables, where pymc-extras is there to sum them out."""
    discrete = [str(rv.name) for rv in model.free_RVs if rv.type.dtype.startswith(("int", "uint", "bool"))]
    if not discrete:
        return model, ()
    named = ", ".join(map(repr, discrete))
    said = (
        f"the free variable{'s' if len(discrete) > 1 else ''} {named} {'are' if len(discrete) > 1 else 'is'} discrete"
    )
    advice = MARGINALISE.format(name=named)
    try:
        from pymc_extras import marginalize
    except ImportError as error:
        lacking = (
            "pip install pymc-extras"
            if isinstance(error, ModuleNotFoundError) and error.name == "pymc_extras"
            else f"pymc-extras is installed and does not load beside this PyTensor: {error}"
        )
        raise ValueError(f"{said}; gradients need continuous ones: {advice} ({lacking})") from error
    try:
        return marginalize(model, discrete), (f"{named} summed out by pymc_extras.marginalize",)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"{said}, and pymc_extras.marginalize cannot sum out ({error}); {advice}") from error


def _check(model: pm.Model) -> None:
    if not model.free_RVs:
        raise ValueError("the model has no free variables, so there is no posterior; leave at least one unobserved")
    sizes = {
        str(rv.name): math.prod(n or 0 for n in rv.type.shape) for rv in model.free_RVs if None not in rv.type.shape
    }
    if empty := [name for name, size in sizes.items() if not size]:
        raise ValueError(f"the free variable {empty[0]!r} has no entries; leave it out")
    size = sum(sizes.values())
    check_memory(FEWEST_DRAWS * NUMBER * size, f"{FEWEST_DRAWS} draws of {size:,} numbers", "give a smaller model")
    small = [str(rv.name) for rv in model.observed_RVs if isinstance(rv.owner.op, MinibatchRandomVariable)]
    if small:
        raise ValueError(
            f"{', '.join(map(repr, small))} is observed in minibatches, so that the density is a different one at every step; "
            "build the model on all data (pm.Data without pm.Minibatch, and no total_size)"
        )


def _variables(model: pm.Model) -> tuple[Flat, dict[str, Variable], tuple[str, ...]]:
    """The flat space with all variables, those that are compared by name, and the names of the deterministics left out."""
    import jax

    names = [str(variable.name) for variable in (*model.free_RVs, *model.deterministics)]
    flat = flatten(model, names)
    shapes = jax.eval_shape(flat.constrain, np.zeros(flat.size))
    found, left_out = {}, []
    for name in names:
        rv, own = model[name], shapes[name]
        if rv in model.free_RVs:
            dims, labels = _axes(model, name, own.shape)
            scale, low, high = _scale(rv, model.rvs_to_transforms[rv])
            found[name] = Variable(name, own.shape, dims, labels, True, scale, low, high)
        elif np.prod(own.shape) > LARGEST_DERIVED or own.dtype.kind != "f":
            left_out.append(name)
        else:
            found[name] = Variable(name, own.shape, *_axes(model, name, own.shape), False)
    return flat, found, tuple(left_out)


def _axes(model: pm.Model, name: str, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The dims of a variable and the labels along each: its coordinates, or numbers from 0."""
    named = model.named_vars_to_dims.get(name) or (None,) * len(shape)
    dims, labels = [], []
    for axis, (dim, length) in enumerate(zip(named, shape, strict=True)):
        coords = model.coords.get(dim) if dim is not None else None
        taken = dim is None or dim in dims or dim in model.named_vars or dim in ("chain", "draw")
        dims.append(f"{name}_dim_{axis}" if taken else str(dim))
        labels.append(tuple(map(str, range(length) if coords is None else coords)))
    return tuple(dims), tuple(labels)


def _scale(rv: Any, transform: Any) -> tuple[str, float, float]:
    """On which scale a variable is compared, by the transform that PyMC gives it, and what it is between."""
    if isinstance(transform, transforms.LogTransform):
        return "log", 0.0, np.inf
    if isinstance(transform, transforms.LogOddsTransform | transforms.SimplexTransform):
        return "log odds", 0.0, 1.0
    if isinstance(transform, transforms.Interval):
        low, high = (_constant(bound) for bound in transform.args_fn(*rv.owner.inputs))
        if low is not None and high is not None and np.isfinite([low, high]).all():
            return "log odds", low, high
        if low == 0 and high is None:
            return "log", 0.0, np.inf
    return "as it is", -np.inf, np.inf


def _constant(bound: Any) -> float | None:
    """The number that a bound of a transform is, if it is one number."""
    if bound is None:
        return None
    if hasattr(bound, "type"):
        if not hasattr(bound, "data"):
            return None
        bound = bound.data
    values = np.unique(bound)
    return float(values[0]) if len(values) == 1 else None


def _log_jacobian(model: pm.Model) -> Any:
    """log |dx / du| as a graph of the unconstrained values."""
    import pytensor.tensor as pt

    terms = [
        transform.log_jac_det(model.rvs_to_values[rv], *rv.owner.inputs).sum()
        for rv in model.free_RVs
        if (transform := model.rvs_to_transforms[rv]) is not None
    ]
    if not terms:
        return pt.zeros(())
    return model.replace_rvs_by_values([pt.add(*terms) if len(terms) > 1 else terms[0]])[0]
