"""What the tests of the estimators share: the pairs of ours and scikit-learn's, and what they are run over."""

import re

import numpy as np
import pytest
import sklearn.mixture as theirs

from mixtures import BayesianGaussianMixture, GaussianMixture

STRUCTURES = ("full", "tied", "diag", "spherical")
PRIORS = ("dirichlet_process", "dirichlet_distribution")
PAIRS = [(GaussianMixture, theirs.GaussianMixture), (BayesianGaussianMixture, theirs.BayesianGaussianMixture)]
CLASSES = [ours for ours, _ in PAIRS]

every_structure = pytest.mark.parametrize("structure", STRUCTURES)
every_prior = pytest.mark.parametrize("prior", PRIORS)
both = pytest.mark.parametrize("estimator", CLASSES)
pairs = pytest.mark.parametrize(("ours", "sk"), PAIRS)
unconverged = pytest.mark.filterwarnings("ignore:Best performing:sklearn.exceptions.ConvergenceWarning")


def start(structure, K=3, D=2):
    """Weights, means and precisions to begin from, the precisions in the structure's shape."""
    precision = np.array([[1.0, 0.2], [0.2, 0.5]]) if D == 2 else np.eye(D)
    precisions = {
        "full": np.array([precision * (k + 1) / 2 for k in range(K)]),
        "tied": precision,
        "diag": np.array([[0.5, 1.5]] * K) if D == 2 else np.ones((K, D)),
        "spherical": np.linspace(0.5, 1, K),
    }
    means = 4.0 * np.eye(K, D, 1 - K % 2)
    return {"weights_init": np.full(K, 1 / K), "means_init": means, "precisions_init": precisions[structure]}


def parameters(mixture):
    """The fitted parameters, one flat array."""
    return np.concatenate([np.ravel(getattr(mixture, name)) for name in ("weights_", "means_", "covariances_")])


def failure(call):
    """The error that a call raises, with the options it lists in one order."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = re.sub(r"\{(.*?)\}", lambda found: str(sorted(found[1].split(", "))), str(caught.value))
    return type(caught.value), message
