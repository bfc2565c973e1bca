"""Estimators with the interfaces of scikit-learn's `sklearn.mixture` and of hmmlearn, on the methods of this package.

`GaussianMixture` is EM for maximum likelihood, `BayesianGaussianMixture` is CAVI under conjugate priors. Names, shapes,
defaults, warnings and errors are scikit-learn's; each class says where its numbers differ. Both take ``sample_weight``, a start
as ``init`` and a ``callback``; `mixtures.estimators.course.Step` is what that is told. The classes for sequences are in
`mixtures.estimators.hmm`.
"""

from mixtures.estimators.bayesian import BayesianGaussianMixture
from mixtures.estimators.gaussian import GaussianMixture
from mixtures.estimators.hmm import (
    CategoricalHMM,
    ConvergenceMonitor,
    GaussianHMM,
    PoissonHMM,
    VariationalCategoricalHMM,
    VariationalGaussianHMM,
)

__all__ = [
    "BayesianGaussianMixture",
    "CategoricalHMM",
    "ConvergenceMonitor",
    "GaussianHMM",
    "GaussianMixture",
    "PoissonHMM",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
]
