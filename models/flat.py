"""A PyMC model seen by JAX: its log joint as a function of one vector of unconstrained values."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorConstant, TensorVariable

from models.device import local

if TYPE_CHECKING:
    import jax

COMPILED_CALL = "compiled call"
"""Name of the thread that makes one."""


@dataclass(frozen=True)
class Flat:
    """The log joint and the parameters of a model over its flat space of dimension P.

    Parameters
    ----------
    shapes : dict of tuple
        The unconstrained variables and their shapes, in the order in which they fill the vector.
    log_joint : callable
        From (P,), and the ``data`` of `flatten`, to log p(x, v) in nats, the log Jacobian of the transforms included;
        traceable by JAX.
    constrain : callable
        From (P,) to the named parameters; traceable by JAX.
    """

    shapes: dict[str, tuple[int, ...]]
    log_joint: Callable[..., jax.Array]
    constrain: Callable[[jax.Array], dict[str, jax.Array]]

    @property
    def size(self) -> int:
        """P."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def join(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Vectors (..., P) from the unconstrained variables, each (..., *shape)."""
        parts = []
        for name, shape in self.shapes.items():
            batch = values[name].shape[: values[name].ndim - len(shape)]
            parts.append(values[name].reshape(*batch, -1))
        return np.concatenate(parts, axis=-1)

    def split(self, v: Any) -> dict[str, Any]:
        """The unconstrained variables in one vector (P,)."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        bounds = zip([0, *ends], [*ends, self.size], self.shapes.items(), strict=True)
        return {name: v[a:b].reshape(shape) for a, b, (name, shape) in bounds}


def flatten(model: pm.Model, names: Sequence[str], data: Sequence[TensorVariable] = ()) -> Flat:
    """The flat space of ``model``, with the parameters ``names``.

    Values in ``data``, observed ones of the model, become arguments of the log joint, which so serves all data of a shape.
    """
    shapes = {value.name: value.type.shape for value in model.value_vars}
    if any(None in shape for shape in shapes.values()):  # those by dims, whose lengths may change
        point = model.initial_point()
        shapes = {value.name: np.shape(point[value.name]) for value in model.value_vars}
    arguments: dict[Variable, Variable] = {value: value.type() for value in data}
    outputs = [model.logp(), *model.replace_rvs_by_values([model[name] for name in names])]
    logp = by_jax([*model.value_vars, *arguments.values()], clone_replace(outputs[:1], arguments))
    parameters = by_jax(model.value_vars, outputs[1:])
    flat = Flat(
        shapes,
        lambda v, *data: logp(*flat.split(v).values(), *data)[0],
        lambda v: dict(zip(names, parameters(*flat.split(v).values()), strict=True)),
    )
    return flat


def by_jax(inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Callable:
    """The outputs as a function of the inputs, traceable by JAX.

    PyTensor translates the graph when JAX first traces it: a constant is then part of the trace, whereas before it each shape
    of constant has a kernel of its own to compile. But where a constant is a mask, as of values that PyMC imputes, it has to be
    known before, since the shapes depend on it; and so have others that are part of a shape, such as widths of padding.

    PyMC's module for JAX is loaded here: it asks XLA for many host devices, so that chains and restarts can run in parallel.
    XLA heeds that only if it has not started yet; `parallel` copes with either.
    """
    import jax
    from pymc.sampling.jax import get_jaxified_graph

    def translated() -> Callable:
        return get_jaxified_graph(list(inputs), list(outputs))

    if any(isinstance(v, TensorConstant) and v.type.dtype == "bool" and v.type.ndim for v in ancestors(outputs)):
        function = translated()
        return jax.jit(lambda *values: function(*values))

    def traced(*values: Any) -> Any:
        try:
            return translated()(*values)
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError):
            with jax.ensure_compile_time_eval():
                function = translated()
            return function(*values)

    return jax.jit(traced)


def can_run_in_parallel(n: int) -> bool:
    """Whether JAX has a device for each of ``n`` runs, of the kind that it now uses."""
    return n <= len(local())


def parallel(function: Callable, *args: Any) -> Callable:
    """``function`` mapped over the first axis of ``args`` and compiled for them: on one host device each, else in turn.

    An interrupt from the keyboard ends the wait for it; see `interruptible`.
    """
    import jax

    return compiled_for(mapped(function, len(jax.tree.leaves(args)[0])).lower(*args))


def mapped(function: Callable, n: int) -> Any:
    """``function`` over the first axis, of length ``n``, of all its arguments: on one host device each, else in turn."""
    import jax

    if can_run_in_parallel(n):
        return jax.pmap(function, devices=local()[:n])
    return jax.jit(lambda *args: jax.lax.map(lambda each: function(*each), args))


def compiled_for(lowered: Any) -> Callable:
    """What JAX has lowered, compiled; an interrupt from the keyboard ends the wait for either."""
    import jax

    compiled = interruptible(lowered.compile)()
    return interruptible(lambda *args: jax.block_until_ready(compiled(*args)))


def interruptible(function: Callable) -> Callable:
    """``function``, of which Python's main thread waits for the answer such that KeyboardInterrupt is raised meanwhile.

    Python handles a signal in its main thread, between two of its own instructions; a compiled call that the main thread made
    itself would keep it waiting. So the call is made by another thread. JAX has no way to end it: after an interrupt it goes on
    by itself until it is done or the process ends, and its answer is dropped.
    """

    def call(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return function(*args)
        answer: Future[Any] = Future()

        def work() -> None:
            try:
                answer.set_result(function(*args))
            except BaseException as error:  # the caller's, who gets it
                answer.set_exception(error)

        thread = threading.Thread(target=work, name=COMPILED_CALL, daemon=True)
        thread.start()
        try:
            while not answer.done():
                wait([answer], timeout=0.2)  # without an end Windows hears no interrupt
        except BaseException:
            _left.append(thread)
            raise
        return answer.result()

    return call


def _leave() -> None:
    """End the process at its exit where a compiled call still goes on: Python's own way out aborts then."""
    if any(thread.is_alive() for thread in _left):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(130 if isinstance(getattr(sys, "last_exc", None), KeyboardInterrupt) else 0)


_left: list[threading.Thread] = []
atexit.register(_leave)


def batched(function: Callable, *args: Any) -> Callable:
    """``function`` vectorised over the first axis of ``args`` and compiled for them."""
    import jax

    return jax.jit(jax.vmap(function)).lower(*args).compile()
