"""The one pass on whatever device JAX has: see `jax.md` for the two forms, and for the digits that float32 loses.

The coordinates y (N, W) of the rows lie on the device as chunks of C rows, features first, (N / C, W, C). Blocks of chunks are
passed over one after another, so that neither (N, P) nor (N, K) is ever in memory. Sums over a chunk are made in the type of
the numbers, and added up in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.checks import check_choice
from mixtures.model import Family
from mixtures.rows.reading import Rows, blocks

PRECISIONS = {"float64": np.float64, "float32": np.float32}

# Rows of a chunk, rows that are moved to the device at once, and bytes of what is formed for a block of chunks.
CHUNK, MOVED, BLOCK = 2048, 2**18, 2**29

# Share of the device's free memory that the rows may take; beyond it they are moved anew for every pass, part by part.
SHARE = 0.6

# By how much a bound in float32 jitters from pass to pass, for each observation and in units of its rounding: this and the
# number of features, at least four times what was seen for 1 to 50 of them.
NOISE = 10


class Part(NamedTuple):
    """Some rows on the device: chunks z (G, W, C), their weights w (G, C), and the sum of these."""

    z: Any
    w: Any
    total: float


class Form(NamedTuple):
    """How a block is passed over.

    Attributes
    ----------
    block : callable
        From chunks (G, W, C), their weights (G, C) and parameters to sum_n w_n log_z_n and to sums.
    parameters : tuple of ndarray
    constant : float
        What has been taken from every log rho.
    statistics : callable
        From the sums, one after another in a vector, to s (K, P).
    columns : int
        Numbers that are formed for each row.
    """

    block: Callable[..., Any]
    parameters: tuple[np.ndarray, ...]
    constant: float
    statistics: Callable[[Any], np.ndarray]
    columns: int


@dataclass(frozen=True)
class OnDevice:
    """The pass over rows that lie on the device, or are moved there part by part.

    Parameters
    ----------
    family : Family
    dtype : type
    parts : callable
        The parts of the rows, each chunks (G, W, C) and weights (G, C) on the device, and the sum of the weights.
    """

    family: Family
    dtype: type
    parts: Callable[[], Iterator[Part]]

    @property
    def rounding(self) -> float:
        """What the bound may be off by beyond float64, in nats an observation."""
        return 0.0 if self.dtype is np.float64 else (NOISE + len(self.family.unit)) * float(np.finfo(self.dtype).eps)

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sum of log_z and the expected sufficient statistics; see `mixtures.engines.plain.pass_`.

        Raises
        ------
        ValueError
            If labels are to be drawn.
        LinAlgError
            If eta is that of no Gaussian distribution.
        """
        if u is not None:
            raise ValueError("the JAX engine draws no labels; use the plain or the fused engine")
        forms = [self._form(run) for run in eta.reshape(-1, *eta.shape[-2:])]
        log_z, s = np.zeros(len(forms)), np.zeros((len(forms), *eta.shape[-2:]))
        with double():
            for total, found in _one_ahead(
                (part.total, [self._begin(part, form) for form in forms]) for part in self.parts()
            ):
                for run, (form, sums) in enumerate(zip(forms, found, strict=True)):
                    log_z[run] += sums[0] + form.constant * total
                    s[run] += form.statistics(sums[1:])
        return log_z.reshape(eta.shape[:-2]), s.reshape(eta.shape)

    def form(self, eta: np.ndarray) -> str:
        """The form in which natural parameters (K, P) are passed over: "features", "rotated" or "scaled"; see `jax.md`."""
        return self._form(eta).block.__name__.strip("_")

    def _begin(self, part: Part, form: Form) -> Any:
        """sum_n w_n log_z_n and then the sums of one run over some chunks, in one vector for which nobody waits yet."""
        z, w, _ = part
        most = max(1, BLOCK // (z.shape[-1] * form.columns * np.dtype(self.dtype).itemsize))
        chunks = -(-len(z) // -(-len(z) // most))
        return _compiled(_over_blocks, "block", "chunks")(z, w, *form.parameters, block=form.block, chunks=chunks)

    def _form(self, eta: np.ndarray) -> Form:
        """The form for one run's eta (K, P): whitened where that is less work, or float32 would lose variances."""
        K, D = len(eta), len(self.family.unit)
        _, i, j = self._monomials
        if not (self.family.gaussian and not self.family.missing):
            return self._by_features(eta)
        diagonal = bool(np.all((i == 0) | (i == j)))
        less = not diagonal and 3 * len(i) > 4 * K * (1 + D)
        return self._whitened(eta, diagonal) if less or self.dtype is np.float32 else self._by_features(eta)

    @cached_property
    def _monomials(self) -> np.ndarray:
        """The rows p, i and j of the family's monomials, shape (3, M)."""
        return self.family.monomials.T

    def _by_features(self, eta: np.ndarray) -> Form:
        p, *_ = self._monomials
        constant = float(eta[:, 0].max())
        relative = eta.copy()
        relative[:, 0] -= constant
        own: np.ndarray = relative[:, p].astype(self.dtype)
        return Form(
            _features, (own, *self._pairs), constant, lambda sums: self._joined(sums.reshape(len(eta), -1)), len(p)
        )

    @cached_property
    def _pairs(self) -> Any:
        """The rows i and j of the monomials, on the device."""
        import jax

        return jax.device_put(list(self._monomials[1:]))

    def _joined(self, sums: np.ndarray) -> np.ndarray:
        """Statistics (K, P) from those of the monomials (K, M)."""
        return np.add.reduceat(sums, np.unique(self._monomials[0], return_index=True)[1], axis=-1)

    def _whitened(self, eta: np.ndarray, diagonal: bool) -> Form:
        A, constants = whitening(eta, self._monomials, len(self.family.unit))
        A, constant = A.astype(self.dtype), float(constants.max())
        relative: np.ndarray = (constants - constant).astype(self.dtype)
        back = partial(self._back, np.linalg.inv(A.astype(np.float64)))
        if diagonal:
            a, b = A.diagonal(axis1=1, axis2=2)[:, 1:], A[:, 1:, 0]
            return Form(_scaled, (a, b, relative), constant, lambda sums: back(_arrow(sums, *b.shape)), b.size)
        return Form(_rotated, (A, relative), constant, back, A[..., 0].size)

    def _back(self, B: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Statistics (K, P) from the second moments (K, 1 + D, 1 + D) of (1, u), where (1, z) = B (1, u)."""
        _, i, j = self._monomials
        return self._joined((B @ sums.reshape(B.shape) @ B.swapaxes(-1, -2))[:, i, j])


def one_pass(x: Rows, weights: np.ndarray | None, family: Family, precision: str = "float64") -> OnDevice:
    """The pass over these rows, which are moved to the device now, or part by part where they do not fit.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    weights : ndarray, shape (N,), or None
    family : Family
    precision : {"float64", "float32"}
        The type of the numbers on the device; `jax.md` says what float32 loses.

    Raises
    ------
    ValueError
        If the precision is unknown, or is float32 where squares of far points would lose their digits.
    """
    check_choice("precision", precision, tuple(PRECISIONS))
    squares = bool(np.any(family.monomials[:, 1] > 0))
    if precision == "float32" and squares and (not family.gaussian or family.missing):
        raise ValueError("float32 loses the variances of a product family and of rows with gaps; use float64")
    dtype = PRECISIONS[precision]
    if isinstance(x, np.ndarray) and _fits(x, family, dtype):
        held = _held(x, weights, family, dtype)
        return OnDevice(family, dtype, lambda: iter([held]))
    return OnDevice(family, dtype, lambda: _moved(_parts(x, weights), family, dtype, CHUNK))


def double() -> Any:
    """A context in which JAX has float64, whatever it has outside."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental

    return experimental.enable_x64()  # type: ignore[attr-defined]


def whitening(eta: np.ndarray, monomials: np.ndarray, D: int) -> tuple[np.ndarray, np.ndarray]:
    """What turns (1, z) into (1, u) with t . eta = c - |(1, u)|^2 / 2.

    With -1/2 Lambda, Lambda = L L^T, the quadratic part of eta and Lambda m the linear one, u = L^T (z - m).

    Parameters
    ----------
    eta : ndarray, shape (K, P)
    monomials : ndarray, shape (3, M)
    D : int

    Returns
    -------
    A : ndarray, shape (K, 1 + D, 1 + D)
        With first row (1, 0, ..., 0).
    c : ndarray, shape (K,)

    Raises
    ------
    LinAlgError
        If a Lambda is not positive definite.
    """
    p, i, j = monomials
    Q = np.zeros((len(eta), 1 + D, 1 + D))
    Q[:, i, j] = eta[:, p]
    Lambda = -(Q + Q.swapaxes(1, 2))[:, 1:, 1:]
    root = np.linalg.cholesky(Lambda).swapaxes(1, 2)
    centred = np.linalg.solve(root.swapaxes(1, 2), Q[:, 0, 1:, None])  # L^T m
    A = np.zeros_like(Q)
    A[:, 0, 0] = 1
    A[:, 1:, 1:], A[:, 1:, :1] = root, -centred
    return A, Q[:, 0, 0] + (1 + (centred**2).sum((1, 2))) / 2


def _fits(x: np.ndarray, family: Family, dtype: type) -> bool:
    """Whether rows may lie on the device; those of a memory map may not where a device tells no limit."""
    import jax

    stats = jax.devices()[0].memory_stats()
    if not stats or "bytes_limit" not in stats:
        return not isinstance(x, np.memmap)
    width = 1 + family.factors(x[:1]).shape[-1]
    return len(x) * width * np.dtype(dtype).itemsize < SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _parts(x: Rows, weights: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Rows and their weights, those of an array in parts of `MOVED` rows."""
    if not isinstance(x, np.ndarray):
        yield from blocks(x, weights)
        return
    for start in range(0, len(x), MOVED):
        part = slice(start, start + MOVED)
        yield x[part], None if weights is None else weights[part]


def _moved(
    parts: Iterable[tuple[np.ndarray, np.ndarray | None]], family: Family, dtype: type, chunk: int
) -> Iterator[Part]:
    """Every part of the rows, on the device; rows that fill up the last chunk weigh nothing."""
    import jax

    for x, weights in parts:
        if not len(x):
            continue
        y, w = family.factors(x), np.ones(len(x)) if weights is None else weights
        more = -len(y) % chunk
        with double():
            yield Part(
                _compiled(_turned, "chunk")(np.pad(y, ((0, more), (0, 0))).astype(dtype), chunk=chunk),
                jax.device_put(np.pad(w, (0, more)).reshape(-1, chunk).astype(dtype)),
                float(w.sum()),
            )


def _held(x: np.ndarray, weights: np.ndarray | None, family: Family, dtype: type) -> Part:
    """All rows as one part, which is on the device but once while it is moved."""
    import jax.numpy as jnp

    chunk = min(CHUNK, len(x))
    G, W = -(-len(x) // chunk), family.factors(x[:1]).shape[-1]
    with double():
        z, w = jnp.zeros((G, W, chunk), dtype), jnp.zeros((G, chunk), dtype)
        start, total = 0, 0.0
        for moved in _moved(_parts(x, weights), family, dtype, chunk):
            z, w = _put()(z, moved.z, start), _put()(w, moved.w, start)
            start, total = start + len(moved.z), total + moved.total
    return Part(z, w, total)


def _one_ahead(begun: Iterable[Any]) -> Iterator[Any]:
    """What was begun, once it is there; the next is begun before anybody waits."""
    import jax

    before = None
    for one in begun:
        if before is not None:
            yield jax.device_get(before)
        before = one
    if before is not None:
        yield jax.device_get(before)


@cache
def _compiled(function: Callable[..., Any], *static: str) -> Any:
    import jax

    return jax.jit(function, static_argnames=static)


@cache
def _put() -> Any:
    """Write a part into an array, in its place in memory, from a row on."""
    import jax

    return jax.jit(lambda a, part, row: jax.lax.dynamic_update_slice_in_dim(a, part, row, 0), donate_argnums=0)


def _turned(y: Any, chunk: int) -> Any:
    """Chunks (G, W, C) of rows (N, W)."""
    return y.reshape(-1, chunk, y.shape[-1]).swapaxes(1, 2)


def _over_blocks(z: Any, w: Any, *parameters: Any, block: Any, chunks: int) -> Any:
    """sum_n w_n log_z_n and a block's sums, over all blocks, of which the last may overlap the one before, in one vector."""
    import jax
    import jax.numpy as jnp

    last = len(z) - chunks

    def add(b: Any, sums: Any) -> Any:
        start = jnp.minimum(b * chunks, last)
        own, weights = (jax.lax.dynamic_slice_in_dim(a, start, chunks) for a in (z, w))
        new = start + jnp.arange(chunks) >= b * chunks
        return jax.tree.map(jnp.add, sums, block(own, jnp.where(new[:, None], weights, 0), *parameters))

    shapes = jax.eval_shape(block, z[:chunks], w[:chunks], *parameters)
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    found = jax.lax.fori_loop(0, -(-len(z) // chunks), add, nothing)
    return jnp.concatenate([a.ravel() for a in jax.tree.leaves(found)])


def _features(z: Any, w: Any, eta: Any, i: Any, j: Any) -> tuple[Any, Any]:
    """A block by its monomials t: log rho = eta t, s = r t^T, one product for each chunk; the sums are (K, M)."""
    y = _after_one(z)
    t = y[:, i] * y[:, j]
    log_z, r = _softmax(_product(eta, t), w)
    return log_z, _total(_product(r, t.swapaxes(1, 2)))


def _rotated(z: Any, w: Any, A: Any, constant: Any) -> tuple[Any, Any]:
    """A block by u = A_k (1, z): log rho = c - |u|^2 / 2, and sums of r u u^T (K, 1 + D, 1 + D)."""
    import jax.numpy as jnp

    K, D, _ = A.shape
    u = _product(A.reshape(K * D, D), _after_one(z)).reshape(len(z), K, D, -1)
    log_z, r = _softmax(constant[:, None] - (u * u).sum(2) / 2, w)
    v = jnp.sqrt(r)[:, :, None] * u
    return log_z, _total(_product(v, v.swapaxes(2, 3)))


def _scaled(z: Any, w: Any, a: Any, b: Any, constant: Any) -> tuple[Any, Any]:
    """`_rotated` for a diagonal A, without a product of matrices; the sums are those of 1 (K, 1), of u and of u^2 (K, D)."""
    u = a[..., None] * z[:, None] + b[..., None]
    log_z, r = _softmax(constant[:, None] - ((u * u).sum(2) + 1) / 2, w)
    r = r[:, :, None]
    return log_z, tuple(_total(part.sum(-1)) for part in (r, r * u, r * u * u))


def _arrow(sums: np.ndarray, K: int, D: int) -> np.ndarray:
    """Second moments (K, 1 + D, 1 + D) of (1, u) from the sums of 1, u and u^2; nobody asks for those of two features."""
    first, second = sums[K:].reshape(2, K, D)
    S, d = np.zeros((K, 1 + D, 1 + D)), np.arange(1, 1 + D)
    S[:, 0, 0] = sums[:K]
    S[:, 0, 1:] = S[:, 1:, 0] = first
    S[:, d, d] = second
    return S


def _softmax(log_rho: Any, w: Any) -> tuple[Any, Any]:
    """sum_n w_n log_z_n, and responsibilities times weights (G, K, C), of log rho (G, K, C)."""
    import jax.numpy as jnp

    top = log_rho.max(1, keepdims=True)
    rho = jnp.exp(log_rho - top)
    z = rho.sum(1, keepdims=True)
    log_z = (jnp.log(z) + top)[:, 0]
    return (w * log_z).sum(dtype=jnp.float64), rho * (w[:, None] / z)


def _product(a: Any, b: Any) -> Any:
    """a b of every chunk, (..., I, J) and (..., J, L), without the reduced precision that is the default of some devices."""
    import jax
    import jax.numpy as jnp

    return jnp.matmul(jnp.broadcast_to(a, (*b.shape[:-2], *a.shape[-2:])), b, precision=jax.lax.Precision.HIGHEST)


def _after_one(z: Any) -> Any:
    """(1, z) of chunks (G, W, C)."""
    import jax.numpy as jnp

    return jnp.concatenate([jnp.ones_like(z[:, :1]), z], axis=1)


def _total(sums: Any) -> Any:
    """The sum over chunks, in float64."""
    import jax.numpy as jnp

    return sums.sum(0, dtype=jnp.float64)
