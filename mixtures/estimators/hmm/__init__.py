"""Hidden Markov models with the interface of hmmlearn 0.3, on the methods of this package.

`GaussianHMM`, `CategoricalHMM` and `PoissonHMM` are EM, `VariationalGaussianHMM` and `VariationalCategoricalHMM` are CAVI.
Names, shapes and defaults are hmmlearn's, and each class says where its numbers differ.
"""

from mixtures.estimators.hmm.discrete import CategoricalHMM, PoissonHMM
from mixtures.estimators.hmm.gaussian import GaussianHMM
from mixtures.estimators.hmm.monitor import ConvergenceMonitor
from mixtures.estimators.hmm.variational_categorical import VariationalCategoricalHMM
from mixtures.estimators.hmm.variational_gaussian import VariationalGaussianHMM

__all__ = [
    "CategoricalHMM",
    "ConvergenceMonitor",
    "GaussianHMM",
    "PoissonHMM",
    "VariationalCategoricalHMM",
    "VariationalGaussianHMM",
]
