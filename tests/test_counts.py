"""How many draws, rows or steps are asked for: what is no such number, or more than memory holds, is refused by name."""

import numpy as np
import pytest

from mixtures import Dirichlet, Gaussian, GaussianHMM, Markov, Sequences
from mixtures.dynamics import cavi as cavi_of_systems
from mixtures.dynamics import em as em_of_systems
from mixtures.dynamics import local_level
from mixtures.methods import cavi, em, exact

pytestmark = pytest.mark.robustness("errors")

X = np.array([[1.0], [2.0], [4.0], [7.0], [11.0], [13.0], [12.0], [3.0]])
FAMILY, ALLOCATION = Gaussian.from_data(X, 2), Dirichlet.symmetric(2)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def fits():
    settings = {"rng": 0, "restarts": 2}
    return {
        "em": em.fit(X, FAMILY, ALLOCATION, reg_covar=0.1, **settings),
        "cavi": cavi.fit(X, FAMILY, ALLOCATION, **settings),
        "exact": exact.fit(X, FAMILY, ALLOCATION),
        "chain": cavi.fit(Sequences(X), FAMILY, Markov.symmetric(2), **settings),
        "level": em_of_systems.fit(X, local_level(), tol=1e-2, **settings),
        "level by cavi": cavi_of_systems.fit(X, local_level(), tol=1e-2, **settings),
    }


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", None, True, 10**13])
def test_what_is_no_number_of_draws_is_refused(fits, n):
    asked = [fit.parameters for fit in fits.values()]
    asked += [fits[name].sample for name in ("em", "cavi", "exact")] + [fits["em"].draws]
    if n != 0:
        asked += [fits["chain"].sample]
    for ask in asked:
        with pytest.raises(ValueError, match=r"^n (is|= )"):
            ask(n, RNG)
    with pytest.raises(ValueError, match=r"^h (is|= )"):
        fits["level"].forecast(n)
    with pytest.raises(ValueError, match=r"^n_samples (is|= )"):
        GaussianHMM(2, random_state=0, n_init=1, min_covar=0.1).fit(X).sample(n)


def test_the_likelihood_of_all_rows_refuses_what_that_of_each_refuses(fits):
    for x in (np.array([[np.nan]]), np.array([[np.inf]]), np.ones(3), np.ones((2, 2)), "abc", np.ones((0, 1))):
        with pytest.raises(ValueError, match=r"^x (has|holds)"):
            fits["em"].total_log_likelihood(x)
    assert fits["em"].total_log_likelihood([[2.0], [3.0]]) == pytest.approx(
        fits["em"].log_predictive([[2.0], [3.0]]).sum(), rel=1e-12
    )


@pytest.mark.filterwarnings("error")
def test_a_row_without_density_is_no_warning(fits):
    assert (fits["exact"].log_predictive(np.array([[1e300], [-1e300]])) == -np.inf).all()
    held = fits["chain"].as_draws(2, 5, RNG)
    assert (held.log_predictive(np.array([[1e300], [1e300]])) == -np.inf).all()
