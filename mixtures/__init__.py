"""Hand-written inference for mixture models: EM, variational Bayes (CAVI), Gibbs sampling, and exact sums for few points.

Every emission family is a conjugate exponential family, so one pass over the data serves every method:

    t(x_n)                      sufficient statistics, led by a constant 1            (N, P)
    eta_k                       (expected) natural parameters, log pi_k folded in     (K, P)
    log rho = t(x) eta^T        log_z_n = logsumexp_k log rho_nk                      (N, K)
    r = exp(log rho - log_z)    s = r^T t(x)                                          (K, P)

The expected sufficient statistics ``s`` are the whole state of an ascent; a method says how ``eta`` follows from ``s``.

Equation numbers refer to C. M. Bishop, *Pattern Recognition and Machine Learning* (Springer, 2006).
"""

from typing import TYPE_CHECKING, Any

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.allocations.markov import Markov
from mixtures.allocations.stick_breaking import StickBreaking
from mixtures.errors import CollapseError, ConvergenceWarning, VersionWarning, installed
from mixtures.families.bernoulli import Bernoulli
from mixtures.families.categorical import Categorical
from mixtures.families.diagonal import DiagonalGaussian
from mixtures.families.gaussian import Gaussian, NormalWishart
from mixtures.families.poisson import Poisson
from mixtures.families.product import Product
from mixtures.families.spherical import SphericalGaussian
from mixtures.families.tied import TiedGaussian
from mixtures.fit import Conjugate, Draws, Fit
from mixtures.rows.sequences import Sequences

if TYPE_CHECKING:
    from mixtures.estimators import (
        BayesianGaussianMixture,
        CategoricalHMM,
        GaussianHMM,
        GaussianMixture,
        PoissonHMM,
        VariationalCategoricalHMM,
        VariationalGaussianHMM,
    )

ESTIMATORS = (
    "BayesianGaussianMixture",
    "CategoricalHMM",
    "GaussianHMM",
    "GaussianMixture",
    "PoissonHMM",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
)

COVARIANCES = {family.covariance: family for family in (Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian)}
"""The Gaussian families by the name of their covariance structure."""

__all__ = [
    "COVARIANCES",
    "BayesianGaussianMixture",
    "Bernoulli",
    "Categorical",
    "CategoricalHMM",
    "CollapseError",
    "Conjugate",
    "ConvergenceWarning",
    "DiagonalGaussian",
    "Dirichlet",
    "Draws",
    "Fit",
    "Gaussian",
    "GaussianHMM",
    "GaussianMixture",
    "Markov",
    "NormalWishart",
    "Poisson",
    "PoissonHMM",
    "Product",
    "Sequences",
    "SphericalGaussian",
    "StickBreaking",
    "TiedGaussian",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
    "VersionWarning",
]


def __getattr__(name: str) -> Any:
    """The version, and the estimators when they are first asked for, for they load scikit-learn."""
    if name == "__version__":
        return installed()
    if name not in ESTIMATORS:
        raise AttributeError(f"module 'mixtures' has no attribute {name!r}")
    from mixtures import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
