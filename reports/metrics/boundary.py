"""Estimates at the boundary of their range: probabilities of 0 or 1 and rates of 0, which make unseen values impossible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mixtures import Draws, Fit

# EM comes near to a boundary in ever smaller steps; a probability or a rate below this is tried there.
WITHIN = 1e-6

# Nats a point by which the likelihood may fall in that, as EM stops where a pass gains less.
TOLERANCE = 1e-9


def to_boundary(fit: Fit, x: np.ndarray) -> Fit:
    """A maximum-likelihood fit with the estimates that are all but at the boundary moved there, if x is as probable as before.

    Parameters
    ----------
    fit : Fit
        A point estimate.
    x : ndarray, shape (N, D)
        What it was fitted to.
    """
    theta = fit.family.at_boundary(fit.held.theta, WITHIN)
    if all(np.array_equal(theta[name], v) for name, v in fit.held.theta.items()):
        return fit
    moved = replace(fit, posterior=Draws(fit.held.weights, theta))
    gain = moved.log_predictive(x).sum() - fit.log_predictive(x).sum()
    return moved if gain >= -TOLERANCE * len(x) else fit


def at_boundary(fit: Fit) -> bool:
    """Whether a value is impossible in a cluster by every held draw; of a point estimate, by the estimate."""
    counts = fit.family.impossible(fit.held.flat()[1])
    return counts is not None and bool(np.all(counts != 0, axis=0).any())


def impossible(log_p: np.ndarray) -> float:
    """Share of points that have probability zero, from their log probabilities (N,)."""
    return float(np.isneginf(log_p).mean())
