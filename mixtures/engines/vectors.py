"""Forward-backward recursions of several series side by side, one in each lane of the vector registers.

Every array has the lanes along its last axis: what belongs to step i of all series are LANES numbers, from column LANES i on.
The loops are written in the compiler's own terms, for of loops over so few lanes it makes scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16

# Of the sums of scaled probabilities; one that is not above it counts as none.
SMALLEST = 1e-290

INDEX, DOUBLE = ir.IntType(64), ir.DoubleType()
VECTOR = ir.VectorType(DOUBLE, LANES)
FUSED = ("contract",)


class _Code:
    """Instructions on arrays of which the last axis is along memory."""

    def __init__(self, context: Any, builder: Any, kinds: Sequence[Any], values: Sequence[Any]) -> None:
        self.builder = builder
        self.arrays = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(kinds, values, strict=True)
        ]

    def _at(self, array: Any, indices: Sequence[Any]) -> Any:
        offset = INDEX(0)
        for axis, i in enumerate(indices):
            stride = self.builder.extract_value(array.strides, axis)
            offset = self.builder.add(offset, self.builder.mul(i, stride))
        return self.builder.gep(self.builder.bitcast(array.data, ir.IntType(8).as_pointer()), [offset])

    def load(self, array: Any, *indices: Any) -> Any:
        """LANES numbers."""
        loaded = self.builder.load(self.builder.bitcast(self._at(array, indices), VECTOR.as_pointer()))
        loaded.align = 8
        return loaded

    def store(self, value: Any, array: Any, *indices: Any) -> None:
        """Write LANES numbers."""
        self.builder.store(value, self.builder.bitcast(self._at(array, indices), VECTOR.as_pointer())).align = 8

    def number(self, array: Any, *indices: Any) -> Any:
        """One number, in all lanes."""
        one = self.builder.load(self.builder.bitcast(self._at(array, indices), DOUBLE.as_pointer()))
        return self.spread(one, VECTOR)

    def spread(self, one: Any, vector: Any) -> Any:
        """A scalar in all lanes."""
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        one = self.builder.insert_element(vector(ir.Undefined), one, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, vector(ir.Undefined), first)

    def length(self, array: Any) -> Any:
        """The length of the first axis."""
        return self.builder.extract_value(array.shape, 0)

    def multiply(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=FUSED)

    def add(self, total: Any, a: Any, b: Any) -> Any:
        """total + a b."""
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=FUSED), flags=FUSED)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def inverse(self, total: Any) -> Any:
        """1 / total, and 0 where total is not above the smallest."""
        positive = self.builder.fcmp_ordered(">", total, ir.Constant(VECTOR, [SMALLEST] * LANES))
        ones = ir.Constant(VECTOR, [1.0] * LANES)
        return self.builder.select(positive, self.builder.fdiv(ones, total), VECTOR(None))

    def loop(
        self, start: Any, step: int, rounds: Any, sums: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """Go round so many times, with an index that begins at ``start``, and return the sums that the body hands on."""
        builder = self.builder
        before, inside, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", rounds, INDEX(0)), inside, after)
        builder.position_at_end(inside)
        index, left = builder.phi(INDEX), builder.phi(INDEX)
        carried = [builder.phi(total.type) for total in sums]
        new = body(index, list(carried))
        following, fewer = builder.add(index, INDEX(step)), builder.sub(left, INDEX(1))
        end = builder.block
        for phi, first, then in zip(
            (index, left, *carried), (start, rounds, *sums), (following, fewer, *new), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(then, end)
        builder.cbranch(builder.icmp_signed(">", fewer, INDEX(0)), inside, after)
        builder.position_at_end(after)
        found = [builder.phi(total.type) for total in sums]
        for phi, first, then in zip(found, sums, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, end)
        return list(found)


@intrinsic
def forward(context, b, by_column, p, alpha, scale, first, stop):
    """Filtered probabilities of steps first .. stop - 1, and their sums before they are scaled.

    b (K, M) are the densities; by_column (K, K) transitions, transposed; p (K, LANES) the probabilities of the states before
    the first step is seen, which become those before step ``stop``. To alpha (K, M) and scale (1, M) is written.
    """

    def generate(context, builder, signature, args):
        code = _Code(context, builder, signature.args, args)
        b, A, p, alpha, scale, first, stop = code.arrays
        K, zero, none = code.length(p), VECTOR(None), INDEX(0)

        def step(i: Any, _: Any) -> list[Any]:
            m = builder.mul(i, INDEX(LANES))

            def seen(k: Any, sums: list[Any]) -> list[Any]:
                joint = code.multiply(code.load(p, k, none), code.load(b, k, m))
                code.store(joint, alpha, k, m)
                return [builder.fadd(sums[0], joint, flags=FUSED)]

            (total,) = code.loop(none, 1, K, [zero], seen)
            code.store(total, scale, none, m)
            scaling = code.inverse(total)

            def scaled(k: Any, _: Any) -> list[Any]:
                code.store(code.multiply(code.load(alpha, k, m), scaling), alpha, k, m)
                return []

            code.loop(none, 1, K, [], scaled)

            def moved(k: Any, _: Any) -> list[Any]:
                def from_each(j: Any, sums: list[Any]) -> list[Any]:
                    return [code.add(sums[0], code.number(A, k, j), code.load(alpha, j, m))]

                code.store(code.loop(none, 1, K, [zero], from_each)[0], p, k, none)
                return []

            code.loop(none, 1, K, [], moved)
            return []

        code.loop(first, 1, builder.sub(stop, first), [], step)
        return context.get_dummy_value()

    return types.void(b, by_column, p, alpha, scale, first, stop), generate


def _backward(context: Any, builder: Any, signature: Any, args: Any, whole: bool, watched: bool = False) -> Any:
    """`backward`, where ``watched`` that of `watch` and, unless ``whole``, `glance`."""
    code = _Code(context, builder, signature.args, args)
    b, A, v, alpha, scale, end, last, beta, pairs, first, stop = code.arrays
    K, zero, none = code.length(v), VECTOR(None), INDEX(0)

    def step(i: Any, _: Any) -> list[Any]:
        m = builder.mul(i, INDEX(LANES))
        here = code.spread(builder.sitofp(i, DOUBLE), VECTOR)
        ends = builder.fcmp_ordered("==", code.load(last, none, none), here)

        def of_state(j: Any, _: Any) -> list[Any]:
            now = code.load(alpha, j, m) if whole else zero
            begin = builder.select(ends, code.load(end, j, none), zero)
            row = builder.mul(j, K)

            def to_each(k: Any, sums: list[Any]) -> list[Any]:
                following = code.load(v, k, none)
                if whole:
                    place = builder.add(row, k)
                    code.store(code.add(code.load(pairs, place, none), now, following), pairs, place, none)
                return [code.add(sums[0], code.number(A, j, k), following)]

            (own,) = code.loop(none, 1, K, [begin], to_each)
            code.store(own, beta, j, none)
            if watched:
                code.store(code.larger(own, code.load(beta, K, none)), beta, K, none)
            if whole:
                code.store(code.multiply(now, own), alpha, j, m)
            return []

        code.loop(none, 1, K, [], of_state)
        scaling = code.inverse(code.load(scale, none, m))

        def seen(k: Any, _: Any) -> list[Any]:
            code.store(code.multiply(code.multiply(code.load(b, k, m), code.load(beta, k, none)), scaling), v, k, none)
            return []

        code.loop(none, 1, K, [], seen)
        return []

    code.loop(builder.sub(stop, INDEX(1)), -1, builder.sub(stop, first), [], step)
    return context.get_dummy_value()


@intrinsic
def backward(context, b, A, v, alpha, scale, end, last, beta, pairs, first, stop):
    """From step stop - 1 down to ``first``: alpha (K, M) becomes the smoothed probabilities.

    With beta_t = p(x_(t+1) .. | z_t) / p(x_(t+1) .. | x_1 .. x_t) and v_t = b_t beta_t / scale_t, which v (K, LANES) holds, of
    the step after the last when called and of the first afterwards,

        beta_t = A v_(t+1)      r_t = alpha_t beta_t      sum of alpha_t(j) v_(t+1)(k), which is added to pairs (K K, LANES).

    At step ``last`` (1, LANES) of each lane ``end`` (K, LANES) is added to beta, which is zero there. beta (K, LANES) is room.
    """

    def generate(context, builder, signature, args):
        return _backward(context, builder, signature, args, True)

    return types.void(b, A, v, alpha, scale, end, last, beta, pairs, first, stop), generate


@intrinsic
def watch(context, b, A, v, alpha, scale, end, last, beta, pairs, first, stop):
    """`backward` that keeps the largest beta of any state and step in a last row of beta, (K + 1, LANES), or what is there."""

    def generate(context, builder, signature, args):
        return _backward(context, builder, signature, args, True, watched=True)

    return types.void(b, A, v, alpha, scale, end, last, beta, pairs, first, stop), generate


@intrinsic
def glance(context, b, A, v, alpha, scale, end, last, beta, pairs, first, stop):
    """`backward` for v alone: alpha and pairs stay as they are."""

    def generate(context, builder, signature, args):
        return _backward(context, builder, signature, args, False)

    return types.void(b, A, v, alpha, scale, end, last, beta, pairs, first, stop), generate
