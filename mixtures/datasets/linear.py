r"""Series drawn from a known linear dynamical system.

.. math:: z_1 \sim N(m_0, P_0), \qquad z_t = A z_{t-1} + w_t, \qquad x_t = C z_t + v_t

with :math:`w_t \sim N(0, Q)` and :math:`v_t \sim N(0, R)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixtures.datasets.dataset import Dataset, Series
from mixtures.seeds import Rng, generator

TSMATZ = "simulated: three states seen in the plane, RandomState(1000)"
"""The source of `tsmatz_lds`."""

SHORTEST, LONGEST = 6.0, 24.0
"""Steps of the shortest and of the longest turn of a simulated system."""


def tsmatz_lds() -> Series:
    """Generate the ``tsmatz-lds`` series: 2000 steps of a system of three states seen in the plane, always the same.

    States and points come from NumPy's legacy generator, ``RandomState(1000)``: the first state is (23, 24, 25), each of 2000
    more is one normal, and then there is one two-dimensional normal for each state in turn; the first 2000 rows are kept.

    Examples
    --------
    >>> tsmatz_lds().data.x[0].round(8).tolist()
    [47.68902127, 48.86610347]
    """
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    A = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    A = A @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    A = A @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    Q = np.array([[1.5, 0.1, 0.0], [0.1, 2.0, 0.3], [0.0, 0.3, 1.0]])
    C = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    R = np.array([[1.0, 0.2], [0.2, 2.0]])
    legacy = np.random.RandomState(1000)
    z = [np.array([23.0, 24.0, 25.0])]
    for _ in range(2000):
        z.append(legacy.multivariate_normal(A @ z[-1], Q))
    x = np.array([legacy.multivariate_normal(C @ each, R) for each in z])
    truth = _truth(A, C, Q, R, z[0], np.zeros((3, 3)), np.array(z[:2000]))
    return _known("tsmatz-lds", x[:2000], TSMATZ, truth, (2000,))


def simulate_linear(
    lengths: Sequence[int], n_states: int, n_features: int, *, persistence: float = 0.95, signal: float = 4.0, rng: Rng
) -> Series:
    r"""Draw series from a random stationary linear dynamical system of stated difficulty, and keep the truth.

    A turns pairs of states with periods that are log-uniform from 6 to 24 steps, and shrinks all of them by
    ``persistence``; the planes of the turns have random directions. Q is :math:`(1 - \rho^2) I`, so that every state has
    variance 1 at any time, and a feature is the state along a random direction, of variance 1 too, and independent noise.

    Parameters
    ----------
    lengths : sequence of int
        Number of rows of each series.
    n_states, n_features : int
        K latent states, D features.
    persistence : float
        The modulus of every eigenvalue of A, from 0 to below 1.
    signal : float
        Variance of a feature's state over that of its noise; above 0.
    rng : numpy.random.Generator or int

    Returns
    -------
    Series
        ``data.truth`` holds transition A (K, K), emission C (D, K), state_covariance Q, observation_covariance R, initial_mean,
        initial_covariance, and states (N, K).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> simulate_linear([50, 30], 2, 3, rng=0).data.x.shape
    (80, 3)
    """
    rng, K, D = generator(rng), n_states, n_features
    if not len(lengths) or min(lengths) < 1:
        raise ValueError(f"lengths is {list(lengths)}; expected the number of rows of each series, at least 1")
    for name, value in {"n_states": K, "n_features": D}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= persistence < 1:
        raise ValueError(
            f"persistence is {persistence}; expected at least 0 and below 1, else there is no stationary start"
        )
    if not 0 < signal < np.inf:
        raise ValueError(f"signal is {signal}; expected a finite ratio of variances above 0")
    A = persistence * _turns(K, rng)
    C = rng.standard_normal((D, K))
    C /= np.linalg.norm(C, axis=1, keepdims=True)
    Q, R = (1 - persistence**2) * np.eye(K), np.eye(D) / signal
    z = np.concatenate([_walk(A, np.sqrt(1 - persistence**2), n, rng) for n in lengths])
    x = z @ C.T + rng.standard_normal((len(z), D)) / np.sqrt(signal)
    source = (
        f"simulated: K = {K} states, D = {D} features, {len(lengths)} series of {len(z)} steps, persistence {persistence:g}, "
        f"signal over noise {signal:g}"
    )
    return _known("simulated", x, source, _truth(A, C, Q, R, np.zeros(K), np.eye(K), z), tuple(lengths))


def _turns(K: int, rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix that turns K // 2 random planes; of an odd K one direction stays."""
    angles = 2 * np.pi / np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), K // 2))
    turns = np.eye(K)
    for first, angle in zip(range(0, K - 1, 2), angles, strict=True):
        c, s = np.cos(angle), np.sin(angle)
        turns[first : first + 2, first : first + 2] = [[c, -s], [s, c]]
    U = np.linalg.qr(rng.standard_normal((K, K)))[0]
    return U @ turns @ U.T


def _walk(A: np.ndarray, sd: float, n: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((n, len(A)))
    z = np.empty_like(noise)
    z[0] = noise[0]
    for t in range(1, n):
        z[t] = A @ z[t - 1] + sd * noise[t]
    return z


def _truth(
    A: np.ndarray, C: np.ndarray, Q: np.ndarray, R: np.ndarray, m0: np.ndarray, P0: np.ndarray, z: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        "transition": A,
        "emission": C,
        "state_covariance": Q,
        "observation_covariance": R,
        "initial_mean": m0,
        "initial_covariance": P0,
        "states": z,
    }


def _known(name: str, x: np.ndarray, source: str, truth: dict[str, np.ndarray], lengths: tuple[int, ...]) -> Series:
    features = tuple(f"x{j}" for j in range(1, x.shape[1] + 1))
    return Series(Dataset(name, x, features, None, source, truth, lengths=lengths), lengths)
