r"""Moves to other coordinates of the states, some after each sweep of a Gibbs sampler.

States T z with (T A T^-1, C T^-1, T Q T^T, T m0, T P0 T^T) explain the data as well: the density of N states falls by |det T|^N
as their volume grows by it. Between coordinates the prior alone decides, and sweeps follow it in steps that get smaller as the
series gets longer. A move proposes T = exp(a G) with a from a symmetric distribution, and takes it with probability

    min(1, p(theta') / p(theta) |d theta' / d theta|)

(Liu & Sabatti 2000, *Biometrika* 87:353-369). T^-1 is proposed as often as T, so that p(z, theta | x) stays as it is. The
generators G span the group that leaves the structures of Q and of the start as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.regression import Regression
from mixtures.dynamics.rows import Rows

# Moves along each generator after every sweep: they need no pass over the data.
TIMES = 4

# A size a is normal, with a standard deviation that is log-uniform between these.
SIZES = 0.03, 1.5


class Group(NamedTuple):
    """Which coordinates the states may have.

    Attributes
    ----------
    generators : ndarray, shape (n, H, H)
        Each has G^2 = G (scales), G^2 = 0 (one state added to another), G^3 = -G (turns of a plane), or G^2 = -G (the sign of a
        state, to which exp has no way: T = 1 + 2 G where a is not 0).
    volume : float
        log |d theta' / d theta| is minus this times log|det T|, theta of coefficients and precision matrices.
    tied : bool
        Whether the distribution of the first states has no free parameters, and stays as it is.
    """

    generators: np.ndarray
    volume: float
    tied: bool


def group(model: LinearDynamics) -> Group:
    """The group of a model; without generators, where something known holds the states."""
    D, begins = model.D, model.begins
    tied = not model.stationary and begins.settled
    volume = D + _volume(model.moves) + (0 if tied or model.stationary else _volume(begins) - begins.free.all())
    return Group(_generators(model, tied), float(volume), bool(tied))


def _generators(model: LinearDynamics, tied: bool) -> np.ndarray:
    H, begins = model.H, model.begins
    entries = np.eye(H * H).reshape(H, H, H, H)
    scales = entries[range(H), range(H)]
    turns = np.array([entries[i, j] - entries[j, i] for i in range(H) for j in range(i)]).reshape(-1, H, H)
    none, whole = scales[:0], scales.sum(0, keepdims=True)
    if not (np.isnan(model.transition).all() and np.isnan(model.emission).all()) or begins.offset:
        return none
    if not model.diffuse.all() and (len(begins.noisy) < H or begins.free.any() != begins.free.all()):
        return none
    held = {_held(model.moves)} | (set() if tied or model.stationary else {_held(begins)})
    if "fixed" in held or {"apart", "round"} <= held:
        return none
    if held == {"free"}:
        found = entries.reshape(-1, H, H)
    elif "round" in held:
        found = turns
    elif "alike" in held:
        found = whole if "apart" in held else np.concatenate([whole, turns])
    else:
        found = scales
    return np.tile(np.concatenate([found, -scales]), (TIMES, 1, 1))


def _held(part: Regression) -> str:
    """What the noise of a regression on states allows: any T, those that keep states "apart", "alike" or "round", or none."""
    free, alike = np.isnan(np.diag(part.noise)), np.ptp(np.nan_to_num(np.diag(part.noise))) == 0
    if len(part.noisy) < len(part.Sigma):
        return "fixed"
    if not isinstance(part, Rows):
        return "free" if np.isnan(part.noise).all() else "fixed"
    if free.all():
        return "free" if len(free) == 1 else "alike" if part.common else "apart"
    return "round" if alike and not free.any() else "fixed"


def _volume(part: Regression) -> float:
    """Minus the power of |det T| by which the volume of the free precisions grows."""
    H = len(part.noisy)
    if not np.isnan(part.noise).any():
        return 0.0
    return (2 / H if part.common else 2.0) if isinstance(part, Rows) else H + 1.0


def proposals(generators: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sizes a of moves along each generator, and the logarithms of uniform numbers that take them or not.

    Of signs every other one stays as it is, a = 0.
    """
    n = len(generators)
    a = rng.standard_normal(n) * np.exp(rng.uniform(np.log(SIZES[0]), np.log(SIZES[1]), n))
    return np.where(np.trace(generators, axis1=1, axis2=2) < 0, a > 0, a), np.log(rng.random(n))


def along(G: np.ndarray, a: float) -> np.ndarray:
    """exp(a G) of a generator, or the change of a sign."""
    if np.trace(G) < 0:
        return np.eye(len(G)) + 2 * (a != 0) * G
    if np.trace(G):
        return np.eye(len(G)) + np.expm1(a) * G
    return np.eye(len(G)) + (np.sin(a) * G + (1 - np.cos(a)) * G @ G if (G < 0).any() else a * G)


def turned(theta: Theta, T: np.ndarray, tied: bool) -> Theta:
    """The parameters where states are T z."""
    A, C, back = theta["transition"], theta["emission"], np.linalg.inv(T)
    there = {"transition": T @ A @ back, "emission": C @ back, "state_covariance": T @ theta["state_covariance"] @ T.T}
    if not tied:
        there["initial_mean"] = T @ theta["initial_mean"]
        there["initial_covariance"] = T @ theta["initial_covariance"] @ T.T
    return theta | there


def step(model: LinearDynamics, theta: Theta, first: np.ndarray, rng: np.random.Generator) -> tuple[Theta, np.ndarray]:
    """Propose a move along each generator in turn: the parameters, and T (H, H) by which states have become T z.

    Parameters
    ----------
    model : LinearDynamics
        With priors.
    theta : dict of ndarray
    first : ndarray, shape (S, H)
        The first states.
    rng : numpy.random.Generator
    """
    own, total = group(model), np.eye(model.H)

    def log_p(theta: Theta, z: np.ndarray) -> float:
        if not own.tied or model.diffuse.all():
            return float(model.log_prior(theta))
        return float(model.log_prior(theta) - np.sum(z * np.linalg.solve(theta["initial_covariance"], z.T).T) / 2)

    here = log_p(theta, first) if len(own.generators) else 0.0
    for G, a, log_u in zip(own.generators, *proposals(own.generators, rng), strict=True):
        T = along(G, a)
        there, z = turned(theta, T, own.tied), first @ T.T
        grown = (own.tied * len(first) - own.volume) * np.linalg.slogdet(T)[1]
        if log_u < (new := log_p(there, z)) - here + grown:
            theta, first, total, here = there, z, T @ total, new
    return theta, total
