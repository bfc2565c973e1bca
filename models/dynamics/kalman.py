r"""The log likelihood of a linear dynamical system by the Kalman filter (PRML 13.89-13.92), in JAX.

    v_t = x_t - C m_t      F_t = C P_t C^T + R      K_t = P_t C^T F_t^-1      m_(t+1) = A (m_t + K_t v_t)      ...

Of q diffuse directions E of the first state, z_1 = m0 + E d + N(0, P0) with a flat density of d, the filter carries what a unit
of each adds to the mean, so that v_t becomes (v_t, V_t); with W = sum_t (v_t, V_t)^T F_t^-1 (v_t, V_t) the integral over d is
Gaussian (de Jong 1991, *Annals of Statistics* 19:1073-1083). That is exact, and without the constant of the diffuse directions.

The steps are taken in turn by one loop. The associative filter of Särkkä & García-Fernández (2021, *IEEE Transactions on
Automatic Control* 66:299-306) needs log2 T rounds, but on two cores its gradient took 1.8 ms against 0.2 ms at T = 100 and one
state, and 6.1 ms against 1.3 ms at T = 1000 and two, after 42 s and 56 s of compilation in place of 1 to 2 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

LOG_2PI = float(np.log(2 * np.pi))


def log_likelihood(
    seen: np.ndarray, edges: np.ndarray, E: np.ndarray, offset: np.ndarray, proper: bool = False
) -> Callable[..., Any]:
    """The log likelihood of sequences with these gaps as a function of data and parameters, traceable by JAX.

    Parameters
    ----------
    seen : ndarray of bool, shape (N, D)
        Which entries of x were seen.
    edges : ndarray of int, shape (S + 1,)
        Where each sequence begins, and where the last one ends.
    E : ndarray, shape (H, q)
        Diffuse directions of the first state.
    offset : ndarray, shape (S, H)
        Where in the diffuse directions each sequence is thought to begin: it changes nothing but rounding.
    proper : bool
        Whether P0 may be no covariance, where the log likelihood is minus infinity.

    Returns
    -------
    callable
        From x (N, D), A (H, H), C (D, H) or (N, D, H), Q (H, H), R (D, D), m0 (H,) and P0 (H, H) to a number, in nats.
    """
    import jax
    import jax.numpy as jnp

    N, S, (H, q) = len(seen), len(edges) - 1, E.shape
    sequence = np.repeat(np.arange(S), np.diff(edges))
    first = np.zeros(N, dtype=bool)
    first[edges[:-1]] = True
    begins = np.concatenate([offset[:, :, None], np.broadcast_to(E, (S, H, q))], axis=2)
    whole = bool(seen.all())

    def total(x: Any, A: Any, C: Any, Q: Any, R: Any, m0: Any, P0: Any) -> Any:
        varies = C.ndim == 3
        if proper:
            whole_rank = jnp.all(jnp.linalg.eigvalsh(P0) > 0)
            P0 = jnp.where(whole_rank, P0, jnp.eye(H))

        def step(carry: tuple[Any, Any], row: tuple[Any, ...]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
            M, P = carry
            x, own, starts, begin, *C_t = row
            M = jnp.where(starts, begin.at[:, 0].add(m0), M)
            P = jnp.where(starts, P0, P)
            C_, R_ = (C_t[0] if varies else C), R
            if not whole:  # a gap is a number that tells nothing: zero, of unit variance
                C_, R_ = own[:, None] * C_, own[:, None] * R * own + jnp.diag(1 - own)
            v = -C_ @ M
            v = v.at[:, 0].add(x)
            PC = P @ C_.T
            F = C_ @ PC + R_
            F_inv, log_det = _inverse(F)
            gain = PC @ F_inv
            M = A @ (M + gain @ v)  # PRML 13.89
            left = jnp.eye(H) - gain @ C_
            P = A @ (left @ P @ left.T + gain @ R_ @ gain.T) @ A.T + Q  # 13.90, in Joseph's form, and 13.88
            return (M, P), (v.T @ F_inv @ v, log_det)

        own = seen.astype(float)
        rows = (jnp.where(seen, x, 0.0), own, first, begins[sequence], *([C] if varies else []))
        carry = jnp.zeros((H, 1 + q)), jnp.zeros((H, H))
        W, log_det = jax.lax.scan(step, carry, rows)[1]
        W = jax.ops.segment_sum(W, sequence, S)
        found = -(log_det.sum() + seen.sum() * LOG_2PI + W[:, 0, 0].sum()) / 2
        if q:
            L = jnp.linalg.cholesky(W[:, 1:, 1:])
            w = jax.scipy.linalg.solve_triangular(L, W[:, 1:, :1], lower=True)
            found += (w**2).sum() / 2 - jnp.log(jnp.diagonal(L, axis1=1, axis2=2)).sum() + S * q * LOG_2PI / 2
        return jnp.where(whole_rank, found, -jnp.inf) if proper else found

    return total


def _inverse(F: Any) -> tuple[Any, Any]:
    """Inverse and log determinant of a positive definite matrix, without a call of LAPACK where it is small."""
    import jax.numpy as jnp

    if len(F) == 1:
        return 1 / F, jnp.log(F[0, 0])
    if len(F) == 2:
        det = F[0, 0] * F[1, 1] - F[0, 1] * F[1, 0]
        return jnp.array([[F[1, 1], -F[0, 1]], [-F[1, 0], F[0, 0]]]) / det, jnp.log(det)
    L = jnp.linalg.cholesky(F)
    root = jnp.linalg.inv(L)
    return root.T @ root, 2 * jnp.log(jnp.diagonal(L)).sum()
