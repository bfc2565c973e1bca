"""Gaussian states: covariances as hmmlearn shapes them, and steps that hold means or covariances as they are.

A prior (m0, beta0, W0^-1, nu0) and statistics lead to the same posterior as in `mixtures.families`. For the posterior mode in
the form of hmmlearn the prior need not be proper: of it only

    log p(mu, Lambda) = e/2 log|Lambda| - 1/2 tr(W0^-1 Lambda) - beta0/2 (mu - m0)^T Lambda (mu - m0) + constant

counts, with e = `excess` of the prior, and beta0 may be 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.estimators.structures import MATRICES
from mixtures.families.gaps import per_feature
from mixtures.families.symmetric import inverse_root, log_diagonal, outer, times, unpack
from mixtures.model import Family, Theta


def own_covariances(covars: Any, structure: str, K: int) -> np.ndarray:
    """Covariances in the structure's own shape, from that or from a matrix for each state.

    Parameters
    ----------
    covars : array-like
        (K,), (K, D), (K, D, D) or (D, D) for "spherical", "diag", "full" and "tied", or (K, D, D) for any.
    structure : str
    K : int

    Raises
    ------
    ValueError
        If the shape is another, or a covariance is not positive definite.
    """
    a = np.array(covars, dtype=float)
    if structure == "spherical" and a.size == K and a.shape[:1] == (K,):
        a = a.reshape(K)
    wanted = {"spherical": 1, "diag": 2, "full": 3, "tied": 2}[structure]
    if a.ndim == 3 and wanted < 3 and a.shape[0] == K and a.shape[1] == a.shape[2]:
        a = _reduced(a, structure)
    elif structure == "spherical" and a.ndim == 2 and a.shape[0] == K and np.all(a == a[:, :1]):
        a = a[:, 0]
    square = a.ndim < 2 or structure == "diag" or a.shape[-1] == a.shape[-2]
    if a.ndim != wanted or not square or (structure != "tied" and len(a) != K):
        shape = {"spherical": f"({K},)", "diag": f"({K}, n_features)", "full": f"({K}, n_features, n_features)"}
        expected = shape.get(structure, "(n_features, n_features)")
        raise ValueError(f"{structure!r} covars must have shape {expected}, and have {a.shape}")
    positive = np.all(a > 0) if structure not in MATRICES else _positive_definite(a)
    if not positive:
        what = "symmetric, positive-definite" if structure in MATRICES else "positive"
        raise ValueError(f"{structure!r} covars must be {what}")
    return a


def _reduced(a: np.ndarray, structure: str) -> np.ndarray:
    """The structure's own shape from matrices (K, D, D) that have the structure."""
    diagonal = np.diagonal(a, axis1=1, axis2=2)
    own = {"tied": a[0], "diag": diagonal, "spherical": diagonal[:, 0]}[structure].copy()
    if not np.allclose(whole_covariances(own, structure, *diagonal.shape), a):
        raise ValueError(f"covars are matrices {a.shape} that are not {structure!r}")
    return own


def _positive_definite(a: np.ndarray) -> bool:
    finite = bool(np.all(np.isfinite(a)))
    return finite and np.allclose(a, a.swapaxes(-1, -2)) and bool(np.all(np.linalg.eigvalsh(a) > 0))


def whole_covariances(own: np.ndarray, structure: str, K: int, D: int) -> np.ndarray:
    """A matrix for each state, (K, D, D)."""
    if structure in MATRICES:
        return np.broadcast_to(own, (K, D, D)).copy()
    return np.broadcast_to(own.reshape(K, -1, 1), (K, D, 1)) * np.eye(D)


def sums(family: Any, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (..., K, 1 or D), sums (..., K, D) and second moments of z in s (..., K, P).

    Second moments are matrices, squares of each feature, or their total, by structure.
    """
    if family.covariance in MATRICES:
        N, first, second = unpack(s)
        return N[..., None], first, second
    (N, others), D = family.split(s), len(family.unit)
    return N, others[..., :D], others[..., D:] if family.covariance == "diag" else others[..., D]


def means_given(family: Any, s: np.ndarray) -> np.ndarray:
    """(beta0 m0 + sum z) / (beta0 + N), whatever the covariances, (..., K, D)."""
    N, first, _ = sums(family, s)
    beta0 = family.prior.beta[..., None]
    return (beta0 * family.prior.m + first) / (beta0 + N)


def with_means(family: Any, s: np.ndarray, mu: np.ndarray, beta: np.ndarray) -> Any:
    """q(theta) whose precisions are optimal given s (..., K, P) while its m and beta are these.

    W^-1 = W0^-1 + sum_n r_n (z_n - mu)(z_n - mu)^T + beta0 (mu - m0)(mu - m0)^T, and as much for the other structures.
    """
    N, first, second = sums(family, s)
    p, off = family.prior, mu - family.prior.m
    if family.covariance in MATRICES:
        cross = first[..., :, None] * mu[..., None, :]
        scatter = second - cross - cross.swapaxes(-1, -2) + N[..., None] * outer(mu)
        scatter = scatter + p.beta[..., None, None] * outer(off)
        tied = family.covariance == "tied"
        W_inv, nu = (
            (p.W_inv + scatter.sum(-3), p.nu + N.sum((-1, -2))) if tied else (p.W_inv + scatter, p.nu + N[..., 0])
        )
        return type(p)(mu, beta, W_inv, nu)
    about = N * mu**2 - 2 * mu * first
    if family.covariance == "diag":
        b = p.b + (second + about + p.beta[..., None] * off**2) / 2
        a = p.a[..., None] + N / 2
        return type(p)(mu, beta, a if family.missing else a[..., 0], b)
    entries = N.sum(-1) if family.missing else N[..., 0] * len(family.unit)
    b = p.b + (second + about.sum(-1) + p.beta * (off**2).sum(-1)) / 2
    return type(p)(mu, beta, p.a + entries / 2, b)


def excess(family: Any, q: Any) -> np.ndarray:
    """e with the mode of the covariances W^-1 / e, or 2 b / e for independent features."""
    K, D = q.m.shape[-2:]
    if family.covariance in MATRICES:
        return q.nu - D - 1 + K if family.covariance == "tied" else q.nu - D
    return 2 * q.a - 1 if family.covariance == "diag" else 2 * q.a - 2 + D


def of_each_state(family: Any, bayes: bool) -> tuple[Any, ...] | None:
    """m0 (D,), beta0, dof0, scale0 and the log normaliser of all states, as `mixtures.engines.steps.step` takes them.

    For a posterior mode dof0 is the exponent that `log_prior` has for |Lambda|, or half of it for independent features, and the
    normaliser is 0. None where states have different priors.
    """
    p, matrices, tied = family.prior, family.covariance in MATRICES, family.covariance == "tied"
    dof, scale = (p.nu, p.W_inv) if matrices else (p.a, p.b)
    if family.missing or not all(np.all(each == each[:1]) for each in (p.m, p.beta, *(() if tied else (dof, scale)))):
        return None
    dof, scale = (dof, scale) if tied else (dof[0], scale[0])
    if not bayes:
        dof = np.ravel(excess(family, p))[0] / (1 if matrices else 2)
    return p.m[0], p.beta[0], dof, np.atleast_2d(scale), float(np.sum(p.log_normaliser())) if bayes else 0.0


def mode_given(family: Any, q: Any) -> Theta:
    """Means m and the mode of the covariances under q, in the coordinates z."""
    e = excess(family, q)
    if family.covariance == "tied":
        Sigma = q.W_inv / e[..., None, None]
        return {"means": q.m, "covariances": np.repeat(Sigma[..., None, :, :], q.m.shape[-2], axis=-3)}
    if family.covariance == "full":
        return {"means": q.m, "covariances": q.W_inv / e[..., None, None]}
    return {"means": q.m, "variances": 2 * q.b / (per_feature(e, q.m) if family.covariance == "diag" else e)}


def log_prior(family: Any, theta: Theta) -> np.ndarray:
    """The part of the log prior density that depends on theta, in the units of x, (...); see the top of this file."""
    p, off = family.prior, theta["means"] - family.prior.m
    e = excess(family, replace(p, m=np.broadcast_to(p.m, off.shape)))
    if family.covariance in MATRICES:
        F = inverse_root(theta["covariances"])
        distance = (times(F, off) ** 2).sum(-1)
        log_det = 2 * (log_diagonal(F) - family.log_volume)
        own = (p.W_inv * (F.swapaxes(-1, -2) @ F)).sum((-2, -1))
        if family.covariance == "tied":
            return (e * log_det[..., 0] - own[..., 0] - (p.beta * distance).sum(-1)) / 2
        return (e * log_det - own - p.beta * distance).sum(-1) / 2
    Lambda, log_unit = 1 / theta["variances"], np.log(family.unit)
    if family.covariance == "diag":
        log_det = np.log(Lambda) - 2 * log_unit
        return (per_feature(e, off) * log_det - Lambda * (2 * p.b + p.beta[..., None] * off**2)).sum((-2, -1)) / 2
    log_det = np.log(Lambda) - 2 * log_unit[0]
    return (e * log_det - Lambda * (2 * p.b + p.beta * (off**2).sum(-1))).sum(-1) / 2


def divergence(family: Family, q: Any) -> np.ndarray:
    """KL(q(mu, Lambda) || p(mu, Lambda)) over all states, (...).

    That of the means given Lambda, averaged over Lambda, and that of the precisions (PRML 10.74, 10.77).
    """
    p: Any = family.prior  # type: ignore[attr-defined]
    off, D = q.m - p.m, q.m.shape[-1]
    ratio = p.beta / q.beta if q.beta.ndim < q.m.ndim else p.beta[..., None] / q.beta
    spread = (ratio - np.log(ratio) - 1) / 2
    means = spread.sum(-1) if q.beta.ndim == q.m.ndim else D * spread
    if family.covariance in MATRICES:
        Lambda = q.mean_Lambda()
        tied = family.covariance == "tied"
        distance = (off * times(Lambda[..., None, :, :] if tied else Lambda, off)).sum(-1)
        precisions = (
            (q.nu - p.nu) / 2 * q.expected_log_det()
            - q.nu * D / 2
            + (p.W_inv * Lambda).sum((-2, -1)) / 2
            - q.log_wishart_normaliser()
            + p.log_wishart_normaliser()
        )
        return (means + p.beta * distance / 2).sum(-1) + (precisions if tied else precisions.sum(-1))
    diag = family.covariance == "diag"
    a, a0 = (per_feature(h.a, h.m) if diag else h.a for h in (q, p))
    log_lambda = digamma(a) - np.log(q.b)
    gammas = (a - a0) * log_lambda - a + p.b * a / q.b - gammaln(a) + gammaln(a0) + a * np.log(q.b) - a0 * np.log(p.b)
    Lambda = a / q.b if diag else (a / q.b)[..., None]
    distance = (Lambda * off**2).sum(-1)
    return (means + p.beta * distance / 2 + (gammas.sum(-1) if diag else gammas)).sum(-1)
