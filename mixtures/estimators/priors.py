"""The conjugate prior of a Bayesian mixture, in the units of the data: as it was given, or from the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.allocations.stick_breaking import StickBreaking
from mixtures.errors import FeatureError
from mixtures.estimators.base import ILL_DEFINED, Mixture
from mixtures.estimators.structures import MATRICES, as_array, check_positive, family_of, scale_of
from mixtures.families.collapse import SMALLEST_VARIANCE
from mixtures.families.diagonal import NormalGamma
from mixtures.families.gaps import one_gaussian
from mixtures.families.gaussian import NormalWishart
from mixtures.families.scaling import FURTHEST, LARGEST_NU, dependence, dependent
from mixtures.families.spherical import SphericalNormalGamma
from mixtures.families.symmetric import substitute
from mixtures.families.tied import SharedWishart
from mixtures.model import Allocation, Family
from mixtures.rows.moments import Moments, root_of

CONJUGATE: dict[str, Any] = {
    "full": NormalWishart,
    "tied": SharedWishart,
    "diag": NormalGamma,
    "spherical": SphericalNormalGamma,
}


class UnderPrior(Mixture):
    """A mixture whose parameters have the prior of `mixtures.estimators.bayesian.BayesianGaussianMixture`."""

    weight_concentration_prior_type: str
    weight_concentration_prior: float | None
    mean_precision_prior: float | None
    mean_prior: Any
    degrees_of_freedom_prior: float | None
    covariance_prior: Any

    @property
    def _process(self) -> bool:
        return self.weight_concentration_prior_type == "dirichlet_process"

    def _moments(self, X: np.ndarray, weights: np.ndarray | None, gaps: bool | None = None) -> Moments:
        """Where values are missing, those of one Gaussian at its maximum likelihood, which set the prior."""
        data = super()._moments(X, weights, gaps)
        if data.seen is None or self.covariance_type not in MATRICES or self.covariance_prior is not None:
            return data
        scale = np.sqrt(np.where(data.squares > 0, data.squares / data.n, 1))
        family = family_of("full", data.mean, np.diag(scale), None, True)
        try:
            try:
                mean, covariance = one_gaussian(family, X, weights)
            except FeatureError:
                mean, covariance = one_gaussian(family, X, weights, (1 - 1 / data.n) * self.reg_covar / scale**2)
        except FeatureError as error:
            raise ValueError(
                f"{ILL_DEFINED} Here, {self._named(error).partition(': ')[0]}: the covariance of X is singular, "
                "so that it cannot be the covariance_prior; give one."
            ) from None
        covariance = scale[:, None] * covariance * scale
        squares = data.n * covariance.diagonal()
        return replace(data, mean=data.mean + scale * mean, squares=squares, root=np.linalg.cholesky(covariance))

    def _check_parameters(self, data: Moments) -> None:
        D, structure, concentration = len(data.mean), self.covariance_type, self.weight_concentration_prior
        self.weight_concentration_prior_ = 1.0 / int(self.n_components) if concentration is None else concentration
        self.mean_precision_prior_ = 1.0 if self.mean_precision_prior is None else self.mean_precision_prior
        self.mean_prior_ = data.mean if self.mean_prior is None else as_array(self.mean_prior, (D,), "means")
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            away = np.abs(self.mean_prior_ - data.mean) / np.sqrt(data.squares / data.n + self.reg_covar)
        if np.any(away > FURTHEST):
            raise ValueError(
                f"mean_prior is {np.max(away):.2g} times their spread away from the rows, of which rounding leaves nothing"
            )
        if self.degrees_of_freedom_prior is None:
            self.degrees_of_freedom_prior_: float = D
        elif self.degrees_of_freedom_prior > LARGEST_NU:
            raise ValueError(
                f"degrees_of_freedom_prior is {self.degrees_of_freedom_prior:g}; expected at most {LARGEST_NU:g}"
            )
        elif self.degrees_of_freedom_prior > D - 1:
            self.degrees_of_freedom_prior_ = self.degrees_of_freedom_prior
        else:
            raise ValueError(
                "The parameter 'degrees_of_freedom_prior' should be greater than "
                f"{D - 1}, but got {self.degrees_of_freedom_prior:.3f}."
            )
        if self.covariance_prior is None:
            if structure in MATRICES:
                self._prior_root = self._data_root(data)
                self.covariance_prior_ = self._prior_root @ self._prior_root.T
            else:
                self.covariance_prior_ = self._data_variance(data)
            return
        shape: tuple[int, ...] = {"diag": (D,), "spherical": ()}.get(structure, (D, D))
        self.covariance_prior_ = as_array(self.covariance_prior, shape, f"{structure} covariance_prior")
        check_positive(self.covariance_prior_, f"{structure} precision")  # scikit-learn's words
        if structure in MATRICES:
            self._prior_root = np.linalg.cholesky(np.asarray(self.covariance_prior_, dtype=np.float64))

    def _data_root(self, data: Moments) -> np.ndarray:
        """The root of the rows' covariance, (D, D), with ``reg_covar`` added where it is singular."""
        assert data.root is not None
        root = data.root * np.sqrt(_counted(data.n) / (data.n - 1))
        if not dependent(data):
            return root
        if self.reg_covar > 0:
            return root_of(np.concatenate([root.T, np.sqrt(self.reg_covar) * np.eye(len(root))]))
        singular = dependence(data)
        assert singular is not None
        raise ValueError(
            f"{ILL_DEFINED} Here, {self._named(singular)}: the covariance of X is singular, "
            "so that it cannot be the covariance_prior; give one."
        )

    def _data_variance(self, data: Moments) -> Any:
        """The variances of the rows in the shape of the prior, with ``reg_covar`` added where one is zero."""
        variances = data.squares / (_counted(data.n) - 1)
        variance: Any = variances if self.covariance_type == "diag" else variances.mean()
        for candidate in (variance, variance + self.reg_covar):
            if np.min(candidate / scale_of(self._frame(data).unit, self.covariance_type)) > SMALLEST_VARIANCE:
                return candidate
        raise ValueError(
            f"{ILL_DEFINED} Here, the covariance of X is singular, so that it cannot be the covariance_prior; give one."
        )

    def _family(self, origin: np.ndarray, unit: np.ndarray, missing: bool) -> Family:
        """The family under its prior, in these coordinates."""
        if self.covariance_type in MATRICES:
            root = self._prior_root if hasattr(self, "_prior_root") else np.linalg.cholesky(self.covariance_prior_)
            m0, B = substitute(unit, self.mean_prior_ - origin), substitute(unit, root)
            W0_inv = B @ B.T
        else:
            m0 = (self.mean_prior_ - origin) / unit
            W0_inv = np.asarray(self.covariance_prior_ / scale_of(unit, self.covariance_type), dtype=np.float64)
        beta0, nu0 = np.asarray(float(self.mean_precision_prior_)), np.asarray(float(self.degrees_of_freedom_prior_))
        if self.covariance_type == "tied":
            m0, beta0 = m0[None], beta0[None]
        prior = self._conjugate(m0, beta0, W0_inv, nu0)
        return family_of(self.covariance_type, origin, unit, prior, missing)

    def _allocation(self) -> Allocation:
        K, concentration = int(self.n_components), float(self.weight_concentration_prior_)
        return StickBreaking(K, concentration) if self._process else Dirichlet.symmetric(K, concentration)

    def _conjugate(self, m: np.ndarray, beta: np.ndarray, W_inv: np.ndarray, nu: np.ndarray) -> Any:
        """Hyperparameters of the structure's own type; a Gamma has half of nu and of W^-1."""
        make = CONJUGATE[self.covariance_type]
        return make(m, beta, W_inv, nu) if self.covariance_type in MATRICES else make(m, beta, nu / 2, W_inv / 2)


def _counted(n: float) -> float:
    """The number of observations, which must be more than one."""
    if not n > 1:
        raise ValueError(f"the weights sum to {n:g}; they must sum to more than 1 unless covariance_prior is given")
    return n
