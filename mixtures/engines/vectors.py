"""Forward-backward recursions of several series side by side, one in each lane of the vector registers.

Every array has the lanes along its last axis: what belongs to step i of all series are LANES numbers, from column LANES i on.
The loops are written in the compiler's own terms, for of loops over so few lanes it makes scalars. For a few states, whose
number is then told when they are compiled, what is carried from step to step stays in registers.
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

# Numbers of states for which there are loops of their own, and how many are gone through together where there are more.
FEW, GROUPS = (2, 3), (4, 2, 1)

INDEX, DOUBLE = ir.IntType(64), ir.DoubleType()
VECTOR = ir.VectorType(DOUBLE, LANES)
FUSED = ("contract",)


class Code:
    """Instructions on arrays of which the last axis is along memory, so many numbers at a time."""

    def __init__(self, context: Any, builder: Any, kinds: Sequence[Any], values: Sequence[Any], vector: Any) -> None:
        self.builder, self.vector = builder, vector
        self.arrays = [
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(kinds, values, strict=True)
        ]

    def at(self, array: Any, *indices: Any) -> Any:
        """Where an entry is."""
        offset = INDEX(0)
        for axis, i in enumerate(indices):
            stride = self.builder.extract_value(array.strides, axis)
            offset = self.builder.add(offset, self.builder.mul(i, stride))
        return self.builder.gep(self.builder.bitcast(array.data, ir.IntType(8).as_pointer()), [offset])

    def numbers(self, place: Any) -> Any:
        """The numbers from a place on."""
        loaded = self.builder.load(self.builder.bitcast(place, self.vector.as_pointer()))
        loaded.align = 8
        return loaded

    def load(self, array: Any, *indices: Any) -> Any:
        """The numbers from an entry on."""
        return self.numbers(self.at(array, *indices))

    def store(self, value: Any, array: Any, *indices: Any) -> None:
        """Write numbers."""
        place = self.builder.bitcast(self.at(array, *indices), self.vector.as_pointer())
        self.builder.store(value, place).align = 8

    def integer(self, array: Any, *indices: Any) -> Any:
        """One integer."""
        return self.builder.load(self.builder.bitcast(self.at(array, *indices), INDEX.as_pointer()))

    def number(self, array: Any, *indices: Any) -> Any:
        """One number, in all lanes."""
        return self.spread(self.builder.load(self.builder.bitcast(self.at(array, *indices), DOUBLE.as_pointer())))

    def spread(self, one: Any) -> Any:
        """A scalar in all lanes."""
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.vector.count), [0] * self.vector.count)
        one = self.builder.insert_element(self.vector(ir.Undefined), one, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, self.vector(ir.Undefined), first)

    def length(self, array: Any) -> Any:
        """The length of the first axis."""
        return self.builder.extract_value(array.shape, 0)

    def multiply(self, a: Any, b: Any) -> Any:
        """The product a b."""
        return self.builder.fmul(a, b, flags=FUSED)

    def add(self, total: Any, a: Any, b: Any) -> Any:
        """total + a b."""
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=FUSED), flags=FUSED)

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

    def choose(self, number: Any, cases: Sequence[int], body: Callable[[int], None]) -> None:
        """``body`` of a number where it is one of these cases, which it is told now, and of 0 where it is none."""
        builder = self.builder
        after = builder.append_basic_block()
        for case in cases:
            own, other = builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("==", number, INDEX(case)), own, other)
            builder.position_at_end(own)
            body(case)
            builder.branch(after)
            builder.position_at_end(other)
        body(0)
        builder.branch(after)
        builder.position_at_end(after)

    def products(
        self, K: Any, starts: Callable[[Any], Any], matrix: Any, factor: Callable[[Any], Any], put: Callable[..., None]
    ) -> None:
        """``put`` of each row k of a matrix (K, K), and what ``starts`` has for k plus its product with the factors (K,)."""
        first = INDEX(0)
        for size in GROUPS:
            rounds = self.builder.sdiv(self.builder.sub(K, first), INDEX(size))

            def group(k: Any, _: Any, size: int = size) -> list[Any]:
                rows = [self.builder.add(k, INDEX(i)) for i in range(size)]

                def term(j: Any, sums: list[Any]) -> list[Any]:
                    one = factor(j)
                    return [
                        self.add(total, self.number(matrix, row, j), one) for row, total in zip(rows, sums, strict=True)
                    ]

                found = self.loop(INDEX(0), 1, K, [starts(row) for row in rows], term)
                for row, total in zip(rows, found, strict=True):
                    put(row, total)
                return []

            self.loop(first, size, rounds, [], group)
            first = self.builder.add(first, self.builder.mul(rounds, INDEX(size)))


@intrinsic
def forward(context, b, by_column, p, alpha, inverse, first, stop):
    """Filtered probabilities of steps first .. stop - 1, and what they are scaled by: one over their sums.

    b (K, M) are the densities; by_column (K, K) transitions, transposed; p (K, LANES) the probabilities of the states before
    the first step is seen, which become those before step ``stop``. To alpha (K, M) and inverse (1, M) is written.
    """

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        code.choose(code.length(code.arrays[1]), FEW, lambda few: (_forward_of_few if few else _forward)(code, few))
        return context.get_dummy_value()

    return types.void(b, by_column, p, alpha, inverse, first, stop), generate


def _forward_of_few(code: Code, few: int) -> None:
    builder, states, none = code.builder, range(few), INDEX(0)
    b, by_column, p, alpha, inverse, first, stop = code.arrays
    A = [[code.number(by_column, INDEX(k), INDEX(j)) for j in states] for k in states]

    def step(i: Any, before: list[Any]) -> list[Any]:
        m = builder.mul(i, INDEX(LANES))
        joint = [code.multiply(before[k], code.load(b, INDEX(k), m)) for k in states]
        total = joint[0]
        for one in joint[1:]:
            total = builder.fadd(total, one, flags=FUSED)
        scaling = code.inverse(total)
        code.store(scaling, inverse, none, m)
        found = [code.multiply(one, scaling) for one in joint]
        following = []
        for k in states:
            code.store(found[k], alpha, INDEX(k), m)
            moved = code.multiply(A[k][0], found[0])
            for j in states[1:]:
                moved = code.add(moved, A[k][j], found[j])
            following.append(moved)
        return following

    found = code.loop(first, 1, builder.sub(stop, first), [code.load(p, INDEX(k), none) for k in states], step)
    for k in states:
        code.store(found[k], p, INDEX(k), none)


def _forward(code: Code, _: int) -> None:
    builder, zero, none = code.builder, VECTOR(None), INDEX(0)
    b, by_column, p, alpha, inverse, first, stop = code.arrays
    K = code.length(p)

    def step(i: Any, _: Any) -> list[Any]:
        m = builder.mul(i, INDEX(LANES))

        def seen(k: Any, sums: list[Any]) -> list[Any]:
            joint = code.multiply(code.load(p, k, none), code.load(b, k, m))
            code.store(joint, alpha, k, m)
            return [builder.fadd(sums[0], joint, flags=FUSED)]

        (total,) = code.loop(none, 1, K, [zero], seen)
        scaling = code.inverse(total)
        code.store(scaling, inverse, none, m)

        def scaled(k: Any, _: Any) -> list[Any]:
            code.store(code.multiply(code.load(alpha, k, m), scaling), alpha, k, m)
            return []

        code.loop(none, 1, K, [], scaled)
        code.products(
            K,
            lambda _: zero,
            by_column,
            lambda j: code.load(alpha, j, m),
            lambda k, total: code.store(total, p, k, none),
        )
        return []

    code.loop(first, 1, builder.sub(stop, first), [], step)


@intrinsic
def backward(context, b, A, v, inverse, end, last, beta, trail, first, stop):
    """From step stop - 1 down to ``first``: what all that comes later adds to the probabilities of the states.

    With beta_t = p(x_(t+1) .. | z_t) / p(x_(t+1) .. | x_1 .. x_t) and v_t = b_t beta_t over the sum of step t,

        beta_t = A v_(t+1)      r_t = alpha_t beta_t.

    v (K, LANES) has that of the step after the last when called, and that of the first afterwards. beta_t and v_(t+1) are
    written to beta and trail (K, M), whose first columns are those of step ``first``. At step ``last`` (1, LANES) of each lane
    ``end`` (K, LANES) is added to beta, which is zero there.
    """

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args, args, VECTOR)
        code.choose(code.length(code.arrays[1]), FEW, lambda few: _backward(code, few))
        return context.get_dummy_value()

    return types.void(b, A, v, inverse, end, last, beta, trail, first, stop), generate


def _backward(code: Code, few: int) -> None:
    b, A, v, inverse, end, last, beta, trail, first, stop = code.arrays
    builder, none, states = code.builder, INDEX(0), [INDEX(k) for k in range(few)]
    entries = [[code.number(A, j, k) for k in states] for j in states]

    def step(i: Any, following: list[Any]) -> list[Any]:
        m, to = builder.mul(i, INDEX(LANES)), builder.mul(builder.sub(i, first), INDEX(LANES))
        here = code.spread(builder.sitofp(i, DOUBLE))
        ends = builder.fcmp_ordered("==", code.load(last, none, none), here)
        scaling = code.load(inverse, none, m)

        def begin(k: Any) -> Any:
            return builder.select(ends, code.load(end, k, none), VECTOR(None))

        def seen(k: Any, own: Any) -> Any:
            return code.multiply(code.multiply(code.load(b, k, m), scaling), own)

        if states:
            found: list[Any] = []
            for j, row in zip(states, entries, strict=True):
                own = begin(j)
                for entry, one in zip(row, following, strict=True):
                    own = code.add(own, entry, one)
                code.store(own, beta, j, to)
                code.store(following[len(found)], trail, j, to)
                found.append(seen(j, own))
            return found

        def put(k: Any, own: Any) -> None:
            code.store(own, beta, k, to)

        code.products(code.length(v), begin, A, lambda k: code.load(v, k, none), put)

        def update(k: Any, _: Any) -> list[Any]:
            code.store(code.load(v, k, none), trail, k, to)
            code.store(seen(k, code.load(beta, k, to)), v, k, none)
            return []

        code.loop(none, 1, code.length(v), [], update)
        return []

    begun = [code.load(v, k, none) for k in states]
    found = code.loop(builder.sub(stop, INDEX(1)), -1, builder.sub(stop, first), begun, step)
    for k, value in zip(states, found, strict=True):
        code.store(value, v, k, none)
