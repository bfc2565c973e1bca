r"""Data drawn from a known Gaussian mixture.

.. math:: z_n \sim \pi, \qquad x_n \mid z_n = k \sim N(\mu_k, \Sigma_k)
"""

from __future__ import annotations

import numpy as np

from mixtures.datasets.dataset import Dataset
from mixtures.seeds import Rng, generator


def simulate(
    n: int,
    n_components: int,
    n_features: int,
    *,
    separation: float,
    imbalance: float = 1.0,
    rng: Rng,
) -> Dataset:
    r"""Draw a data set from a random Gaussian mixture of stated difficulty, and keep the truth.

    The covariances have random directions and standard deviations along them log-uniform on
    [1/sqrt(2), sqrt(2)]. The means are the most evenly spread of 32 normal draws, scaled so that the closest pair
    has exactly the distance asked for.

    Parameters
    ----------
    n, n_components, n_features : int
        N rows, K clusters, D features, each at least 1.
    separation : float
        The smallest distance between two means in cluster standard deviations,
        :math:`\min_{j<k} \sqrt{(\mu_j-\mu_k)^T [(\Sigma_j+\Sigma_k)/2]^{-1} (\mu_j-\mu_k)}`; at least 0, without
        effect for K = 1. Two equal spheres at 2 just stop showing two modes; at 4 they hardly overlap.
    imbalance : float
        The largest weight over the smallest, at least 1; the weights fall geometrically from the first cluster to
        the last. The rows of each cluster are multinomial, so a small cluster may be empty.
    rng : numpy.random.Generator or int

    Returns
    -------
    Dataset
        ``truth`` holds the weights, means, covariances and labels.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> data = simulate(100, 3, 2, separation=4.0, imbalance=4.0, rng=np.random.default_rng(0))
    >>> data.x.shape, (data.truth["weights"] * 7).round(12).tolist()
    ((100, 2), [4.0, 2.0, 1.0])
    """
    rng = generator(rng)
    for name, value in {"n": n, "n_components": n_components, "n_features": n_features}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= separation < np.inf:
        raise ValueError(f"separation must be a finite number of standard deviations, at least 0; got {separation}")
    if not 1 <= imbalance < np.inf:
        raise ValueError(f"imbalance is the largest weight over the smallest, at least 1 and finite; got {imbalance}")
    weights = imbalance ** -np.linspace(0, 1, n_components)
    weights /= weights.sum()
    directions = np.linalg.qr(rng.standard_normal((n_components, n_features, n_features)))[0]
    variances = 2 ** rng.uniform(-1, 1, size=(n_components, 1, n_features))
    covariances = (directions * variances) @ directions.mT
    means = _spread_means(covariances, rng)
    if n_components > 1:
        means = means * (separation / mean_distances(means, covariances).min())
    labels = rng.choice(n_components, size=n, p=weights)
    noise = rng.standard_normal((n, n_features))
    x = means[labels] + (np.linalg.cholesky(covariances)[labels] @ noise[..., None])[..., 0]
    source = (
        f"simulated: K = {n_components}, D = {n_features}, N = {n}, separation {separation:g}, imbalance {imbalance:g}"
    )
    return _known("simulated", x, source, weights, means, covariances, labels)


def mean_distances(means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Return the distance of each of the K (K - 1) / 2 pairs of means under the pair's average covariance."""
    j, k = np.triu_indices(len(means), 1)
    gap = means[j] - means[k]
    scaled = np.linalg.solve((covariances[j] + covariances[k]) / 2, gap[..., None])[..., 0]
    return np.sqrt(np.sum(gap * scaled, axis=-1))


def _spread_means(covariances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return, of 32 normal draws of K means, the one whose smallest distance is the largest part of its largest."""
    draws = rng.standard_normal((32, *covariances.shape[:2]))
    if len(covariances) == 1:
        return np.zeros(covariances.shape[:2])
    distances = [mean_distances(means, covariances) for means in draws]
    return draws[np.argmax([d.min() / d.max() for d in distances])]


def tsmatz() -> Dataset:
    """Generate the ``tsmatz`` set: 1000 draws from three overlapping clusters in the plane, always the same.

    Uniforms and normals come from NumPy's legacy generator, ``RandomState(1000)``: first 1000 uniforms, which choose
    the clusters (weights 0.15, 0.35, 0.50), then one two-dimensional normal for each row in turn.

    Examples
    --------
    >>> data = tsmatz()
    >>> data.x.shape, data.truth["weights"].tolist()
    ((1000, 2), [0.15, 0.35, 0.5])
    """
    means = np.array([[-3.0, 2.0], [4.0, 2.0], [3.0, 1.0]])
    covariances = np.array([[[1.0, 0.2], [0.2, 2.0]], [[0.8, -1.0], [-1.0, 1.3]], [[1.5, 1.4], [1.4, 1.5]]])
    legacy = np.random.RandomState(1000)
    labels = np.digitize(legacy.uniform(size=1000), [0.15, 0.50])
    x = np.array([legacy.multivariate_normal(means[k], covariances[k]) for k in labels])
    source = "simulated: three Gaussian clusters in the plane, RandomState(1000)"
    return _known("tsmatz", x, source, np.array([0.15, 0.35, 0.5]), means, covariances, labels)


def _known(
    name: str,
    x: np.ndarray,
    source: str,
    weights: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    labels: np.ndarray,
) -> Dataset:
    return Dataset(
        name=name,
        x=x,
        features=tuple(f"x{j}" for j in range(1, x.shape[1] + 1)),
        labels=labels.astype(str),
        source=source,
        truth={"weights": weights, "means": means, "covariances": covariances, "labels": labels},
    )
