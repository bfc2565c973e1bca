"""One pass over the data, wherever they are and whoever computes it: eta -> (sum_n w_n log_z_n, s).

A pass over an array also takes uniform random numbers as a second argument, to draw labels in the place of responsibilities.
What a base measure adds to log_z whatever eta is, `log_base`, is left out of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import add
from typing import Any

import numpy as np

from mixtures.checks import check_choice
from mixtures.chunks import Chunked
from mixtures.engines import apart, dask, loading, matrices, missing, plain, sequences
from mixtures.engines.shared import Shared
from mixtures.model import Family
from mixtures.rows.reading import Rows, blocks, folded
from mixtures.rows.sequences import Sequences

Pass = Callable[..., tuple[np.ndarray, np.ndarray]]

ENGINES = ("auto", "plain", "fused", "jax")
PRECISIONS = ("float64", "float32")

# Terms r_nk t_p of a pass above which compiled loops repay the second that it takes to load the compiler.
FUSED_FROM = 100_000

# Terms above which loops for wide rows repay that they are compiled, and bytes of whitened rows that are kept at most.
WIDE_FROM, KEEP = 100_000_000, 2**26

# Terms of all passes of an ascent over wide rows from which these loops repay that they are loaded.
LOADED_FROM = 12_000_000_000
WIDE, FUSED = "mixtures.engines.wide", "mixtures.engines.fused"

# Milliseconds that compiled loops save of a pass, for each point r_nk, and for each statistic t_p of it.
POINT, STATISTIC = 3e-6, 3e-7

# Statistics of a point up to which NumPy may hold those of a block of rows.
HELD = 512


def one_pass(
    x: Rows,
    weights: Any,
    family: Family,
    points: int,
    reg_covar: float | np.ndarray = 0.0,
    engine: str = "auto",
    precision: str = "float64",
    at_once: bool = True,
) -> Pass:
    """The pass over these data, as a function of natural parameters (..., K, P).

    Parameters
    ----------
    x : ndarray, shape (N, D), or (R, N, D) for R data sets with a run each, Sequences, or blocks of rows
    weights : ndarray, shape (N,) or (R, N), or None
    family : Family
    points : int
        N times K, by which the engine is chosen.
    reg_covar : float or ndarray, shape (..., D, D)
        Variance, in squared units of x, of independent noise about every feature of every row, or the noise's covariance:
        t(x_n) is replaced by its mean over that noise. The covariances of a maximum-likelihood fit then have ``reg_covar``
        added to their diagonal.
    engine : {"auto", "plain", "fused", "jax"}
        In NumPy, in compiled loops, or on the device that JAX has; by default one of the first two, whichever is quicker.
    precision : {"float64", "float32"}
        The type of the numbers on a JAX device; see `mixtures/engines/jax.md`.
    at_once : bool
        Whether loops may be loaded at once. Otherwise the first passes are NumPy's until loading repays, and the last digits
        depend on what the process has done before.
    """
    if np.ndim(reg_covar) == 0 and not 0 <= reg_covar < np.inf:
        raise ValueError(f"reg_covar is {reg_covar}; expected at least 0")
    check_choice("engine", engine, ENGINES)
    check_choice("precision", precision, PRECISIONS)
    if precision != "float64" and engine != "jax":
        raise ValueError(f"precision is {precision!r}, which only the JAX engine has; others compute in float64")
    extra = noise(family, reg_covar) if np.any(reg_covar) else None
    if extra and not np.any(extra[0]):
        raise ValueError(f"reg_covar is {reg_covar}, a variance; no feature of the {family.name} family has one")
    if isinstance(x, Chunked):
        of_block = partial(
            one_pass, family=family, points=points, reg_covar=reg_covar, engine=engine, precision=precision
        )
        like = of_block(np.zeros((1, x.width)), None)  # refuses what no block can have
        return dask.OverChunks(x, weights, of_block, entropy, rounding(like), bool(family.linked))
    in_coordinates = isinstance(x, np.ndarray) and x.ndim == 3
    codes = None if family.missing or in_coordinates else family.divided()
    if engine == "fused" and codes is None and not family.affine:
        raise ValueError("compiled loops take no codes that may be missing; use the plain engine")
    large = points * (1 + family.monomials[-1, 0]) >= FUSED_FROM
    compiled = engine == "fused" or (engine == "auto" and large and (family.affine or codes is not None))
    gapped = bool(family.linked) and not (isinstance(x, np.ndarray) and not np.isnan(x).any())
    if engine == "jax" and gapped:
        raise ValueError("the JAX engine takes no gaps among correlated features; use the plain or the fused engine")
    if engine == "jax":
        pass_ = _on_device(x, weights, family, precision)
    elif isinstance(x, Sequences):
        if extra and family.linked and np.isnan(x.x).any():
            raise ValueError(
                f"reg_covar is {reg_covar}; in sequences with values missing among correlated features it must be 0"
            )
        pass_ = sequences.one_pass(family, x, weights, engine)
    elif gapped:
        return missing.one_pass(family, x, weights, compiled, extra)
    elif compiled and codes is not None:
        pass_ = _by_codes(x, weights, family)
    else:
        pass_ = _by_rows(x, weights, family, compiled, at_once)
        linear = getattr(family, "linear", None)
        if linear is not None and not in_coordinates:
            Q = 1 + linear.monomials[-1, 0]
            compiled = engine == "fused" or (engine == "auto" and points * Q >= FUSED_FROM)
            pass_ = Shared(pass_, partial(_by_rows, x, weights, linear, compiled, at_once), Q)
    return Blurred(pass_, extra) if extra else pass_


def _on_device(x: Rows, weights: np.ndarray | None, family: Family, precision: str) -> Pass:
    """The pass of the JAX engine, where it has one."""
    from mixtures.engines import jax

    if isinstance(x, Sequences):
        raise ValueError("the JAX engine takes no sequences; use the plain or the fused engine")
    if isinstance(x, np.ndarray) and x.ndim == 3:
        raise ValueError("the JAX engine takes one data set at a time; use the plain or the fused engine")
    return jax.one_pass(x, weights, family, precision)


def _by_codes(x: Rows, weights: np.ndarray | None, family: Family) -> Pass:
    """The pass over rows of codes, which are packed once if they are an array."""
    from mixtures.engines import coded

    if isinstance(x, np.ndarray):
        return coded.Packed.of(family, x, weights)
    return partial(_over_blocks, partial(coded.pass_, family), x)


def _by_rows(x: Rows, weights: np.ndarray | None, family: Family, compiled: bool, at_once: bool) -> Pass:
    """The pass over rows of which nothing has to be integrated out."""
    compute = partial(plain.pass_, family)
    if compiled and not family.missing and family.affine and isinstance(x, np.ndarray) and x.ndim == 2:
        return Again(family, x, weights, at_once)
    if compiled:
        from mixtures.engines import fused

        compute = partial(fused.pass_, family)
        if family.missing:
            compute = partial(_padded, fused.pass_, family)
            if isinstance(x, np.ndarray):
                return partial(fused.pass_, missing.numbers(family), family.factors(x), weights)
    if not isinstance(x, np.ndarray):
        return partial(_over_blocks, compute, x)
    if not compiled and x.shape[-2] <= plain.BLOCK:  # one block: its features serve every pass
        return partial(plain.over, family.features(x), weights)
    return partial(compute, x, weights)


@dataclass
class Again:
    """Compiled passes over an array x (N, D): wide rows are whitened once if they are passed over again, and are kept.

    Where loops are not to be loaded at once, the first passes are NumPy's; see `one_pass`.
    """

    family: Family
    x: np.ndarray
    weights: np.ndarray | None
    at_once: bool = True
    passes: int = 0
    terms: int = 0
    kept: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See `mixtures.engines.fused.pass_`."""
        K, P = eta.shape[-2:]
        (N, D), data = self.x.shape, (self.family, self.x, self.weights)
        in_rows = matrices.in_rows(self.family, K, P)
        if N * K * P < WIDE_FROM or not in_rows:
            may_wait = not self.at_once and (in_rows or P <= HELD)
            if may_wait and not loading.repaid(FUSED, N * (eta.size // P) * (POINT + STATISTIC * P)):
                return matrices.pass_(*data, eta, u) if in_rows else plain.pass_(*data, eta, u)
            from mixtures.engines import fused

            return fused.pass_(*data, eta, u)
        self.terms += N * eta.size
        if not (self.at_once or WIDE in sys.modules or self.terms >= LOADED_FROM):
            return matrices.pass_(self.family, self.x, self.weights, eta, u)
        from mixtures.engines import wide

        if self.kept is not None:
            return wide.pass_(*data, eta, u, self.kept, True)
        blocks, self.passes = -(-N // wide.BLOCK), self.passes + 1
        kept = wide.aligned(blocks, D + 1) if self.passes > 1 and 8 * self.x.size <= KEEP else None
        found = wide.pass_(*data, eta, u, kept)
        self.kept = kept
        return found


def _padded(compute: Callable[..., Any], family: Family, x: np.ndarray, *others: Any) -> tuple[np.ndarray, np.ndarray]:
    return compute(missing.numbers(family), family.factors(x), *others)


def noise(family: Family, covariance: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What noise of a covariance (..., D, D), or a variance for all features, adds to the mean of t(x) for each row.

    Returns
    -------
    extra : ndarray, shape (..., C, P)
        For each of the C counts among the statistics: that of all rows alone, or those of the rows in which a feature was seen.
    places : ndarray of int, shape (C,)
        Where these counts are in t.
    """
    D = len(family.origin)
    own = covariance * np.eye(D) if np.ndim(covariance) == 0 else np.asarray(covariance)
    relative = family.reduce_matrix(own)
    places, count = (
        np.unique(family.count_of, return_inverse=True)
        if family.count_of.any()
        else (np.zeros(1, int), family.count_of)
    )
    extra = np.zeros((*relative.shape[:-2], len(places), 1 + family.monomials[-1, 0]))
    p, i, j = family.monomials[(family.monomials[:, 1] > 0) & (family.monomials[:, 1] <= D)].T
    at = (..., count.ravel()[i - 1], p)
    if (np.diff(p) > 0).all():
        extra[at] = relative[..., i - 1, j - 1]
    else:  # several features have a statistic in common
        np.add.at(extra, at, relative[..., i - 1, j - 1])  # type: ignore[arg-type]
    return extra, places


def blur(s: np.ndarray, noise: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Statistics (..., K, P) of rows with the noise about them; a state may have more columns, which stay as they are."""
    extra, places = noise
    s = s.copy()
    s[..., : extra.shape[-1]] += s[..., places] @ extra
    return s


def log_base(x: Rows, weights: np.ndarray | None, family: Family) -> float:
    """sum_n w_n log h(x_n): what the base measure adds to sum_n w_n log_z_n whatever eta is."""
    if not family.has_base:
        return 0.0
    return folded(x, weights, partial(_log_base, family), add, "base") or 0.0


def _log_base(family: Family, block: np.ndarray, w: np.ndarray | None, start: int) -> float:
    base = family.log_base(block)
    return float(base.sum() if w is None else base @ w)


def entropy(pass_: Pass, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_n w_n log_z_n of a pass, and the entropy of its responsibilities, -sum_nk w_n r_nk log r_nk, both (...), in nats."""
    if isinstance(pass_, dask.OverChunks):
        return pass_(eta)[0], pass_.entropy(eta)
    log_z, s = pass_(eta)
    if isinstance(pass_, missing.Grouped | missing.OverBlocks | apart.Apart):
        return log_z, pass_.entropy(eta)
    if isinstance(pass_, sequences.Compiled) and pass_.points.gapped:
        return log_z, pass_.entropy(eta)
    return log_z, np.maximum(log_z - (s * eta).sum((-2, -1)), 0)


def draw(pass_: Pass, eta: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """log_z (C,), and the statistics of labels of the n rows drawn, and of missing values if need be, under eta (C, K, P)."""
    u = rng.random((len(eta), n))
    if not isinstance(pass_, missing.Grouped):
        return pass_(eta, u)
    return pass_(eta, u, rng.standard_normal((len(eta), *pass_.gaps)))


def _over_blocks(
    compute: Callable[..., tuple[np.ndarray, np.ndarray]], x: Rows, eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    total, s = np.zeros(eta.shape[:-2]), np.zeros_like(eta)
    for block, weights in blocks(x):
        own_log_z, own_s = compute(block, weights, eta)
        total += own_log_z
        s += own_s
    return total, s


@dataclass(frozen=True)
class Blurred:
    """The pass with t(x) and what noise adds in the place of t(x)."""

    pass_: Pass
    noise: tuple[np.ndarray, np.ndarray]

    def __call__(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `mixtures.engines.plain.pass_`."""
        extra, places = self.noise
        constant = eta.copy()
        constant[..., places] += eta[..., : extra.shape[-1]] @ extra.swapaxes(-1, -2)
        log_z, s = self.pass_(constant)
        return log_z, blur(s, self.noise)


def both_passes(
    x: Rows, weights: np.ndarray | None, family: Family, points: int, reg_covar: float
) -> tuple[Pass, Pass]:
    """`one_pass` with noise about the rows, and over the rows as they are, that loads nothing for a few passes."""
    pass_ = one_pass(x, weights, family, points, reg_covar, at_once=False)
    if isinstance(pass_, Blurred):
        return pass_, pass_.pass_
    return pass_, one_pass(x, weights, family, points, at_once=False) if reg_covar else pass_


def gained(noise: tuple[np.ndarray, np.ndarray], eta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """What noise adds to sum_n w_n log_z_n under eta (..., K, P) at most, (...), where s (..., K, P) is what the pass led to.

    Its share in log rho is the same for all rows, and the sum is convex in it, with the counts for a gradient.
    """
    extra, places = noise
    return (s[..., places] * (eta[..., : extra.shape[-1]] @ extra.swapaxes(-1, -2))).sum((-2, -1))


def rounding(pass_: Pass) -> float:
    """What sum_n w_n log_z_n of a pass may be off by beyond the rounding of float64, in nats an observation."""
    return getattr(pass_.pass_ if isinstance(pass_, Blurred) else pass_, "rounding", 0.0)


def inverts(pass_: Pass) -> bool:
    """Whether correlated values are integrated out by an inverse of an inverse, which loses digits twice."""
    own = pass_.pass_ if isinstance(pass_, Blurred) else pass_
    if isinstance(own, dask.OverChunks):
        return own.inverts
    if isinstance(own, sequences.Compiled):
        return own.points.gapped
    return isinstance(own, missing.Grouped | missing.OverBlocks) and bool(own.family.linked)
