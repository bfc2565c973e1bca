"""Coordinates in which the data have unit spread, the default scale of priors in them, and data that have neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from mixtures import substitution
from mixtures.checks import as_number, as_numbers, check_components
from mixtures.errors import FeatureError
from mixtures.families.collapse import FLOOR
from mixtures.families.gaps import one_gaussian
from mixtures.rows.moments import NEARLY_DEPENDENT, Moments, block_moments, root_of
from mixtures.rows.reading import Rows, as_rows, folded
from mixtures.rows.weights import as_weights

# Beyond these a prior's hyperparameters leave no digits of the data; m0 is in units of their spread.
LARGEST_NU, FURTHEST = 1e100, 1e8

EPS = float(np.finfo(float).eps)

# Features found to follow from others beyond which no more are looked for.
MOST_DEPENDENT = 8


def frame(data: Moments, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of every feature, each (D,)."""
    check_components(n_components)
    with np.errstate(invalid="ignore"):
        unit = np.sqrt(data.squares / data.n)
    lost = ~np.isfinite(unit) | ((unit == 0) & (data.high > data.low))
    if lost.any():
        raise FeatureError(
            "the variance of {0} is too large or too small for a number; rescale it", [int(np.argmax(lost))]
        )
    if not np.all(data.high > data.low):
        constant = int(np.argmin(data.high > data.low))
        raise FeatureError(f"{{0}} is constant over all {data.rows} rows; leave it out", [constant])
    return data.mean, unit


def location(m0: np.ndarray | None, origin: np.ndarray) -> np.ndarray:
    """How far the prior location of the means is from the origin, in the units of x, (D,); by default it is there."""
    if m0 is None:
        return np.zeros(len(origin))
    m0 = as_numbers("m0", m0)
    if m0.shape not in ((), origin.shape) or not np.all(np.isfinite(m0)):
        raise ValueError(f"m0 must be {len(origin)} finite numbers, one a feature")
    return m0 - origin


def white(
    x: Rows,
    weights: np.ndarray | None,
    data: Moments,
    n_components: int,
    m0: np.ndarray | None,
    W0: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """Coordinates in which the data are white, and the prior in them: origin (D,), unit (D, D), m0 (D,) and W0^-1 (D, D).

    W0 is in inverse squared units of x; by default W0^-1 is the covariance over K^(2/D). Of nearly dependent columns the mean
    and the covariance are found once more in these coordinates, for in the units of x numbers do not hold all their digits.
    """
    origin, _ = frame(data, n_components)
    D, root = len(origin), data.root
    assert root is not None
    singular = dependence(data)
    if W0 is None:
        if data.rows <= D:
            raise ValueError(
                f"the covariance of the {data.rows} rows in {D} features is singular, so that it cannot set the prior "
                "scale; leave out features, bring more rows, or give W0"
            )
        if singular is not None:
            raise FeatureError(
                f"{singular.text}: their covariance is singular, so that it cannot set the prior scale; leave one of them "
                "out, or give W0",
                singular.features,
            )
        mean, covariance = np.zeros(D), np.eye(D)
        if substitution.loses(root):
            mean, covariance = within(x, weights, origin, root)
        scale = data.n * unbiased(data) / n_components ** (2 / D)
        return origin, root, mean if m0 is None else _place(m0, origin, root), scale * covariance
    F, unit = factor(W0, D), settled(root)
    with np.errstate(all="ignore"):
        inverse = np.linalg.inv(unit.T @ F)
        W_inv = inverse.T @ inverse
    return origin, unit, _place(m0, origin, unit), W_inv


def _place(m0: np.ndarray | None, origin: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The prior location of the means in the coordinates, (D,)."""
    return substitution.coordinates(location(m0, origin), np.zeros(len(origin)), unit)


def within(x: Rows, weights: np.ndarray | None, origin: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of the rows in the coordinates z with x = origin + unit z, to all digits that x has."""

    def each(block: np.ndarray, w: np.ndarray | None, start: int) -> Moments | None:
        return block_moments(substitution.coordinates(block, origin, unit), w, True)

    x = as_rows(x)
    data = folded(x, as_weights(x, weights), each, Moments.join, "moments")
    assert data is not None
    assert data.scatter is not None
    return data.mean, data.scatter / data.n


def standard(
    family: Callable[..., Any],
    x: Rows,
    weights: np.ndarray | None,
    data: Moments,
    n_components: int,
    m0: np.ndarray | None,
    W0: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """`white` where values are missing: coordinates with a scale for each feature, so that a missing one hides no other.

    The mean and the covariance are the maximum-likelihood ones of one Gaussian; ``family`` makes a family of origin and unit.
    """
    origin, spread = frame(data, n_components)
    D = len(origin)
    if W0 is not None:
        unit = np.diag(spread)
        inverse = np.linalg.inv(unit @ factor(W0, D))
        return origin, unit, location(m0, origin) / spread, inverse.T @ inverse
    if data.rows <= D:
        raise ValueError(
            f"the covariance of the {data.rows} rows in {D} features is singular, so that it cannot set the prior scale; "
            "leave out features, bring more rows, or give W0"
        )
    first = family(origin, np.diag(spread))
    mean, covariance = one_gaussian(first, x, weights)
    sd = np.sqrt(covariance.diagonal())
    origin, unit = origin + spread * mean, spread * sd
    scale = data.n * unbiased(data) / n_components ** (2 / D)
    W_inv = scale * covariance / sd / sd[:, None]
    return origin, np.diag(unit), location(m0, origin) / unit, W_inv


def settled(root: np.ndarray) -> np.ndarray:
    """The root of a covariance as the unit of coordinates, (D, D).

    A feature that follows from those before it but for rounding is scaled by its own spread alone, so that the dependence
    stays to be seen.
    """
    spread = np.linalg.norm(root, axis=1)
    free = np.flatnonzero(root.diagonal() > 128 * EPS * spread)
    if len(free) == len(root):
        return root
    unit = np.diag(np.where(spread > 0, spread, 1))
    unit[np.ix_(free, free)] = root_of(root[free].T)[: len(free), : len(free)]
    return unit


def factor(W0: np.ndarray, D: int) -> np.ndarray:
    """The lower triangular F with F F^T = W0, which is checked."""
    W0 = as_numbers("W0", W0)
    if W0.shape == (D, D) and np.all(np.isfinite(W0)) and np.all(W0.diagonal() > 0):
        scale = np.sqrt(W0.diagonal())
        C = W0 / scale / scale[:, None]
        if np.allclose(C, C.T):
            with suppress(np.linalg.LinAlgError):
                return scale[:, None] * np.linalg.cholesky(C)
    raise ValueError(f"W0 must be a symmetric positive definite matrix of shape ({D}, {D})")


def dependence(data: Moments) -> FeatureError | None:
    """That a feature follows from others but for rounding, with the combination: of several, the one of fewest features."""
    found = list(islice(_dependences(data), MOST_DEPENDENT))
    assert data.root is not None
    if not found:
        return None
    feature, others, c, noise = min(found, key=lambda each: len(each[1]))
    short = np.array([float(f"{value:.5g}") for value in c])
    if np.all(np.abs(c - short) <= 1e-8 * np.abs(c)):
        c = short
    else:
        noise *= 1 + float((np.abs(data.mean) / np.linalg.norm(data.root, axis=1))[others].sum())
    constant = data.mean[feature] - c @ data.mean[others]
    terms = [(value, f" {{{place}}}") for place, value in enumerate(c, 1)]
    if abs(constant) > noise:
        terms.append((constant, ""))
    return FeatureError(f"{{0}} = {_sum_of(terms)}", [int(feature), *map(int, others)])


def dependent(data: Moments) -> bool:
    """Whether there is a `dependence`."""
    return next(_dependences(data), None) is not None


def _dependences(data: Moments) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
    """Features that follow from those before them which do not, those others, the coefficients, and what rounding explains.

    A feature's residual on those before it is compared with what rounding leaves of it and of the terms of its combination.
    """
    assert data.root is not None
    L, left, j = data.root, np.arange(len(data.mean)), 0
    rounding = 8 * data.eps * np.maximum(np.abs(data.low), np.abs(data.high))
    while j < len(left):
        spread = float(np.linalg.norm(L[j]))
        if L[j, j] <= NEARLY_DEPENDENT * spread:
            c = solve_triangular(L[:j, :j].T, L[j, :j]) if j else np.empty(0)
            noise = rounding[left[j]] + np.abs(c) @ rounding[left[:j]]
            if L[j, j] <= max(noise, 128 * EPS * spread):
                some = np.abs(c) * np.linalg.norm(L[:j], axis=1) > 1e-9 * spread
                yield left[j], left[:j][some], c[some], noise
                left, L = np.delete(left, j), root_of(np.delete(L, j, axis=0).T)
                continue
        j += 1


def _sum_of(terms: Sequence[tuple[float, str]]) -> str:
    """Coefficients to five digits and what they multiply, as in "2 a - b + 7"."""
    words = ""
    for value, term in terms:
        size = f"{abs(value):.5g}"
        words += (" - " if value < 0 else " + ") + (term.strip() if size == "1" and term else size + term)
    return words.removeprefix(" + ") if words.startswith(" + ") else words.replace(" - ", "-", 1)


def each_unbiased(data: Moments) -> np.ndarray:
    """N_d / (N_d - 1), with N_d how often each feature was seen, which turns a mean square into a variance, (D,)."""
    if data.seen is None:
        return np.full(len(data.mean), data.n * unbiased(data))
    if not np.all(data.seen > 1):
        raise FeatureError(
            "{0} was seen once, which sets no prior scale; leave it out, or give W0", [int(np.argmin(data.seen))]
        )
    return data.seen / (data.seen - 1)


def unbiased(data: Moments) -> float:
    """1 / (N - 1), which turns a scatter into a covariance; N is the sum of the weights."""
    if not data.n > 1:
        raise ValueError(
            f"the weights sum to {data.n:g}; they count observations and set the prior scale, so that they must sum to "
            "more than 1 unless W0 is given"
        )
    return 1 / (data.n - 1)


def check_prior(beta0: float, nu0: float, smallest: float, m: np.ndarray, W_inv: np.ndarray) -> None:
    """Refuse hyperparameters under which the prior has no density, or of which numbers cannot hold what follows from them.

    m and W_inv, the variances among W0^-1, are in the coordinates z.
    """
    if not smallest + FLOOR < nu0 <= LARGEST_NU:
        raise ValueError(f"nu0 is {nu0:g}; this prior needs more than {smallest:g}, and at most {LARGEST_NU:g}")
    if not 0 < as_number("beta0", beta0) < np.inf:
        raise ValueError(f"beta0 is {beta0:g}; it must be positive and finite")
    if not np.abs(m).max() <= FURTHEST:
        raise ValueError(
            f"m0 is more than {FURTHEST:g} times their spread away from the data; rounding leaves nothing of these"
        )
    low, high = np.min(W_inv), np.max(W_inv)
    if not 1 / FLOOR >= high >= low >= FLOOR:
        raise ValueError(
            "W0 is too large or too small for the spread of the data; its order is that of an inverse variance"
        )
