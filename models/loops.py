"""Long loops that JAX compiles, run in parts: between two of them Python hears how far they are.

A callback from within a compiled loop would tell as much, but JAX keeps no such loop on disk (see `models.cache`): every run of
the same model would compile it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.flat import compiled_for, mapped

PARTS = 20

Tell = Callable[[int, int], None] | None
"""Who is told how many steps have been made, of all loops together, and their total; see `Loops`."""


class Loops:
    """Loops that run side by side, one on each host device, or else in turn: the same steps from several starts.

    Parameters
    ----------
    begin : callable
        From ``arguments`` to the state of a loop; traceable by JAX.
    step : callable
        From the state, the number of the step, from 0 on, and ``data`` to the next state and what is kept of the step;
        traceable by JAX.
    steps : int
        Steps of each loop.
    arguments, data : sequence of array or tree of arrays, shape (R, ...)
        Those of all R loops; of no other shapes than these is what is compiled, here, ahead of the run.
    """

    def __init__(
        self, begin: Callable, step: Callable, steps: int, arguments: Sequence[Any], data: Sequence[Any] = ()
    ) -> None:
        import jax

        self.steps, self.length = steps, -(-steps // min(PARTS, steps))
        self.loops = len(jax.tree.leaves(arguments)[0])
        padded = steps % self.length != 0

        def one(state, number, data):
            after, kept = step(state, number, *data)
            if padded:  # steps beyond the last change nothing
                after = jax.tree.map(lambda new, old: jax.numpy.where(number < steps, new, old), after, state)
            return after, kept

        def part(first, state, *data):
            return jax.lax.scan(lambda state, number: one(state, number, data), state, first + np.arange(self.length))

        lowered = mapped(begin, self.loops).lower(*arguments)
        self._begin = compiled_for(lowered)
        first = np.zeros(self.loops, dtype=int)
        self._part = compiled_for(mapped(part, self.loops).lower(first, lowered.out_info, *data))

    def __call__(self, arguments: Sequence[Any], data: Sequence[Any] = (), tell: Tell = None) -> tuple[Any, Any]:
        """Run all loops: their last states (R, ...), and what was kept of every step (R, steps, ...)."""
        import jax

        state, parts = self._begin(*arguments), []
        for done in range(0, self.steps, self.length):
            state, kept = self._part(np.full(self.loops, done), state, *data)
            parts.append(jax.tree.map(np.asarray, kept))
            if tell is not None:
                tell(self.loops * min(done + self.length, self.steps), self.loops * self.steps)
        whole = jax.tree.map(lambda *each: np.concatenate(each, axis=1)[:, : self.steps], *parts)
        return state, whole
