"""Estimators with the interface of scikit-learn's `sklearn.mixture`, on the methods of this package.

`GaussianMixture` is EM for maximum likelihood, `BayesianGaussianMixture` is CAVI under conjugate priors. Names, shapes,
defaults, warnings and errors are scikit-learn's; each class says where its numbers differ. Both take ``sample_weight``, a start
as ``init`` and a ``callback``; `mixtures.estimators.base.Step` is what that is told.
"""

from mixtures.estimators.bayesian import BayesianGaussianMixture
from mixtures.estimators.gaussian import GaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
