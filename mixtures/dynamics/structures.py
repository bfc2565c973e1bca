"""Structural time series models by name (Harvey 1989; Durbin & Koopman 2012, chapter 3); all but autoregression start diffuse.

local-level          x_t = mu_t + e_t,  mu_(t+1) = mu_t + w_t
local-linear-trend   mu_(t+1) = mu_t + nu_t + w_t,  nu_(t+1) = nu_t + v_t
smooth-trend         the same without w_t
seasonal             a local level and s - 1 seasonal effects, which with the next sum to noise
autoregression       x_t = a_t + e_t,  a_t = phi_1 a_(t-1) + ... + phi_p a_(t-p) + w_t
random-regression    x_t = X_t b_t + e_t,  b_(t+1) = b_t + w_t
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from mixtures.dynamics.model import LinearDynamics

NAN = float("nan")


def local_level(**others: Any) -> LinearDynamics:
    """A level that walks at random, seen with noise: two variances (Durbin & Koopman 2012, equation 2.3)."""
    return _structural("local-level", [[1]], [[1]], [NAN], **others)


def local_linear_trend(**others: Any) -> LinearDynamics:
    """A level that moves by a slope, both of which walk at random: three variances (Durbin & Koopman 2012, equation 3.2)."""
    return _structural("local-linear-trend", [[1, 1], [0, 1]], [[1, 0]], [NAN, NAN], **others)


def smooth_trend(**others: Any) -> LinearDynamics:
    """A level without noise of its own, whose slope walks at random: two variances (Durbin & Koopman 2012, section 3.2.1)."""
    return _structural("smooth-trend", [[1, 1], [0, 1]], [[1, 0]], [0, NAN], **others)


def seasonal(period: int, **others: Any) -> LinearDynamics:
    """A local level and seasonal effects that sum to noise: three variances (Durbin & Koopman 2012, equation 3.3).

    Parameters
    ----------
    period : int
        Rows in a period, at least 2.
    **others
        Further arguments of `LinearDynamics`.
    """
    s = _whole("period", period, 2)
    A = np.zeros((s, s))
    A[0, 0], A[1, 1:] = 1, -1
    A[np.arange(2, s), np.arange(1, s - 1)] = 1
    C = np.zeros((1, s))
    C[0, :2] = 1
    return _structural(f"seasonal({s})", A, C, [NAN, NAN, *[0] * (s - 2)], **others)


def autoregression(p: int, **others: Any) -> LinearDynamics:
    """An autoregression of order p seen with noise: p coefficients and two variances (Durbin & Koopman 2012, equation 3.18).

    It is about zero, so x should be centred. Its first state has a free mean and free variances, or starts stationary: under a
    diffuse start the likelihood has no bound where the last coefficient approaches zero.

    Parameters
    ----------
    p : int
        At least 1.
    **others
        Further arguments of `LinearDynamics`, such as ``observation_covariance`` for a noise that is known.
    """
    p = _whole("p", p, 1)
    A = np.eye(p, k=-1)
    A[0] = NAN
    free = {"diffuse": False, "initial_mean": np.full(p, NAN), "initial_covariance": "diagonal"}
    return _structural(f"autoregression({p})", A, np.eye(1, p), [NAN, *[0] * (p - 1)], "free", **free | others)


def random_regression(X: np.ndarray, **others: Any) -> LinearDynamics:
    """A regression on U regressors whose coefficients walk at random: U + 1 variances (Durbin & Koopman 2012, section 3.6).

    Parameters
    ----------
    X : array_like, shape (N, U)
        Regressors of every row; a column of ones for a level.
    **others
        Further arguments of `LinearDynamics`.
    """
    X = np.asarray(X, dtype=float)
    X = X[:, None] if X.ndim == 1 else X
    if X.ndim != 2 or not X.size or not np.isfinite(X).all():
        raise ValueError(
            f"X has shape {X.shape} or holds values that are no finite numbers; expected (rows, regressors)"
        )
    U = X.shape[1]
    return _structural("random-regression", np.eye(U), X[:, None, :], [NAN] * U, **others)


NAMES: dict[str, Callable[..., LinearDynamics]] = {
    "local-level": local_level,
    "local-linear-trend": local_linear_trend,
    "smooth-trend": smooth_trend,
    "seasonal": seasonal,
    "autoregression": autoregression,
    "random-regression": random_regression,
}


def structure(name: str, *arguments: Any, **others: Any) -> LinearDynamics:
    """A structural model by its name, such as ``structure("seasonal", 12)``.

    Raises
    ------
    ValueError
        If there is none of this name; the nearest is offered.

    Examples
    --------
    >>> structure("local-level").H
    1
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1, cutoff=0.4)
        offer = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no structure {name!r}; {offer}Known are {', '.join(NAMES)}")
    try:
        return NAMES[name](*arguments, **others)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).partition('() ')[2] or error}") from error


def _whole(name: str, value: Any, least: int) -> int:
    """A whole number that is large enough."""
    if not isinstance(value, int | float | np.number) or value != np.floor(value) or not least <= value < np.inf:
        raise ValueError(f"{name} is {value!r:.40}; expected a whole number, at least {least}")
    return int(value)


def _structural(
    name: str, A: Any, C: Any, variances: list[float], own: str = "diffuse", **others: Any
) -> LinearDynamics:
    start = others.pop("start", "stationary" if others.get("stationary") else own)
    known = not np.isnan(np.asarray(A, dtype=float)).any()
    if known and start == "stationary":
        raise ValueError(
            f"{name} has no stationary distribution: its largest eigenvalue is 1 in modulus; expected start {own}"
        )
    if start not in (own, "stationary"):
        raise ValueError(f"start of {name} is {start!r}; expected {own}{'' if known else ' or stationary'}")
    others |= {"stationary": True, "diffuse": False} if start == "stationary" else {}
    given: dict[str, Any] = {
        "state_covariance": np.diag(variances),
        "observation_covariance": "diagonal",
        "diffuse": True,
        "name": name,
    }
    return LinearDynamics(A, C, **given | others)
