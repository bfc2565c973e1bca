"""Fitted mixtures of scikit-learn, or of this package in their form, as results that can join a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# Draws of a posterior that joins as draws.
DRAWS = 4000


class Answer(NamedTuple):
    """Arrays by name, as `reports.comparison.added` takes them, who fitted them, whether that converged, and notes."""

    arrays: dict[str, np.ndarray]
    title: str
    converged: bool | None
    notes: list[str]


def is_mixture(result: Any) -> bool:
    """Whether it is an estimator of a Gaussian mixture."""
    return hasattr(result, "get_params") and hasattr(result, "covariance_type")


def answer(estimator: Any, K: int, structure: str, features: tuple[str, ...], prior: Mapping[str, Any]) -> Answer:
    """The fitted parameters as a point, or the fitted posterior in closed form or as draws.

    A posterior of full covariances with a Dirichlet is in closed form; of the others there are 4000 independent draws.

    Parameters
    ----------
    estimator
        A fitted `GaussianMixture` or `BayesianGaussianMixture`, of scikit-learn or of this package.
    K, structure, features
        The comparison's clusters, covariance structure and names of features.
    prior : mapping
        The comparison's hyperparameters ``m0``, ``beta0``, ``W0_inv``, ``nu0`` and ``alpha0`` in the units of the data.

    Raises
    ------
    ValueError
        If it is not fitted, or to another K, structure or number of features.
    """
    kind = type(estimator).__name__
    if not hasattr(estimator, "means_"):
        raise ValueError(f"the {kind} is not fitted; fit it to the data first")
    means = np.asarray(estimator.means_)
    for what, own, expected in (
        ("n_components", means.shape[0], K),
        ("covariance_type", estimator.covariance_type, structure),
        ("number of features", means.shape[1], len(features)),
    ):
        if own != expected:
            raise ValueError(f"its {what} is {own!r}; that of the comparison is {expected!r}")
    own_package = type(estimator).__module__.startswith("mixtures.")
    notes: list[str] = []
    if not hasattr(estimator, "weight_concentration_"):
        arrays = _point(estimator)
    else:
        if different := _other_prior(estimator, prior):
            notes.append(f"its prior differs from the comparison’s in {', '.join(different)}")
        if structure != "full" and not own_package:
            notes.append(f"scikit-learn’s updates for {structure} covariances are not those of this model")
        arrays = _posterior(estimator, structure)
    title = f"{'mixtures' if own_package else 'sklearn.mixture'}.{kind}"
    converged = bool(estimator.converged_) if hasattr(estimator, "converged_") else None
    return Answer(_in_order(arrays, estimator, features), title, converged, notes)


def _point(estimator: Any) -> dict[str, np.ndarray]:
    """Weights (K,), means (K, D) and covariances (K, D, D), whatever their structure."""
    weights, means = (np.asarray(a, dtype=np.float64) for a in (estimator.weights_, estimator.means_))
    covariances, (K, D) = np.asarray(estimator.covariances_, dtype=np.float64), means.shape
    if estimator.covariance_type == "tied":
        covariances = np.broadcast_to(covariances, (K, D, D))
    elif estimator.covariance_type != "full":
        covariances = covariances.reshape(K, -1, 1) * np.eye(D)
    return {"weights": weights / weights.sum(), "means": means, "covariances": covariances}


def _posterior(estimator: Any, structure: str) -> dict[str, np.ndarray]:
    """q in closed form, or draws from it."""
    if structure != "full" or estimator.weight_concentration_prior_type != "dirichlet_distribution":
        return _ours(estimator).sample_parameters(DRAWS, random_state=0)
    nu = np.asarray(estimator.degrees_of_freedom_, dtype=np.float64)
    return {
        "alpha": np.asarray(estimator.weight_concentration_, dtype=np.float64),
        "beta": np.asarray(estimator.mean_precision_, dtype=np.float64),
        "m": np.asarray(estimator.means_, dtype=np.float64),
        "W": np.linalg.inv(np.asarray(estimator.covariances_, dtype=np.float64)) / nu[:, None, None],
        "nu": nu,
    }


def _ours(estimator: Any) -> Any:
    """This package's estimator with the fitted attributes of another."""
    from mixtures import BayesianGaussianMixture

    if isinstance(estimator, BayesianGaussianMixture):
        return estimator
    names = BayesianGaussianMixture().get_params()
    ours = BayesianGaussianMixture(**{name: v for name, v in estimator.get_params().items() if name in names})
    for name, value in vars(estimator).items():
        if name.endswith("_"):
            setattr(ours, name, value)
    return ours


def _other_prior(estimator: Any, prior: Mapping[str, Any]) -> list[str]:
    """The hyperparameters that differ from the comparison's, in Bishop's symbols."""
    own = {
        "m0": estimator.mean_prior_,
        "beta0": estimator.mean_precision_prior_,
        "W0_inv": estimator.covariance_prior_,
        "nu0": estimator.degrees_of_freedom_prior_,
        "alpha0": estimator.weight_concentration_prior_,
    }
    scale = np.sqrt(np.abs(prior["W0_inv"]).max())
    different = [
        name
        for name, value in own.items()
        if not np.allclose(value, prior[name], rtol=1e-6, atol=1e-6 * scale if name == "m0" else 0)
    ]
    if estimator.weight_concentration_prior_type == "dirichlet_process":
        different = [*(name for name in different if name != "alpha0"), "weights (from sticks)"]
    return different


def _in_order(arrays: dict[str, np.ndarray], estimator: Any, features: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays with their features in the comparison's order, where both have the same names."""
    names = [str(name) for name in getattr(estimator, "feature_names_in_", features)]
    if sorted(names) != sorted(features):
        return arrays
    order = np.array([names.index(feature) for feature in features])
    vectors = {name: arrays[name][..., order] for name in ("means", "m") if name in arrays}
    matrices = {name: arrays[name][..., order[:, None], order] for name in ("covariances", "W") if name in arrays}
    return arrays | vectors | matrices
