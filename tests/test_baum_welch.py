"""A published mistake in EM for a hidden Markov model, and comparisons of sequences that results made elsewhere join."""

import numpy as np
import pytest

from mixtures import Gaussian, Markov
from mixtures.datasets import load_series
from mixtures.methods import em
from reports import compare
from reports.examples import baum_welch

SERIES = load_series("tsmatz-hmm")
SMALL = {"rng": 0, "sequences": True, "methods": ("em",)}


@pytest.fixture(scope="module")
def added():
    return {
        name: baum_welch.em(SERIES.data.x, mistaken=name == "mistaken", iterations=60) for name in ("mine", "mistaken")
    }


def test_the_ascent_ends_where_the_notebook_does(added):
    """tsmatz/hmm-lds-em-algorithm, 01-hmm-em-algorithm.ipynb, prints these after 100 steps, to the last digit here."""
    found = added["mistaken"]
    means = [[-3.16503151, 1.4672828], [1.10889991, 16.13350166], [16.07330508, 0.9698968]]
    A = [[0.46901885, 0.20301841, 0.32796274], [0.76464361, 0.23535639, 0], [0.21642441, 0.06427734, 0.71929825]]
    np.testing.assert_allclose(found.means, means, atol=1e-4)
    np.testing.assert_allclose(found.transitions, A, atol=1e-4)


def test_without_the_mistake_it_is_the_maximum(added):
    x = SERIES.data.x
    best = em.fit(SERIES.rows, Gaussian.from_data(x, 3), Markov.symmetric(3), rng=0).bound[-1]
    assert added["mine"].log_likelihood[-1] == pytest.approx(best, abs=1e-6)
    assert added["mistaken"].log_likelihood[-1] == pytest.approx(best - 490.69, abs=0.01)  # at the means that it prints
    rise = np.diff(added["mine"].log_likelihood)
    assert rise.min() > -1e-7


def test_they_join_a_comparison_of_sequences(added):
    extra = {
        name: {key: value for key, value in found._asdict().items() if key != "log_likelihood"}
        for name, found in added.items()
    }
    result = compare(SERIES.data.x[:60], 3, extra=extra, **SMALL)
    scores = result.summary()["train_log_density"]
    assert scores["mine"] > scores["mistaken"] + 0.3
    assert set(result.verdict().query("method == 'mine'")["claim"]) >= {
        "initial",
        "transitions",
        "locations",
        "spreads",
    }


def test_added_results_of_sequences_are_checked():
    x = SERIES.data.x[:40]
    good = {
        "initial": np.full(2, 0.5),
        "transitions": np.full((2, 2), 0.5),
        "means": x[:2],
        "covariances": np.tile(np.cov(x.T), (2, 1, 1)),
    }
    for change, message in (
        ({"transitions": np.array([[0.5, 0.5], [0.5, 0.4]])}, "transitions sum to 0.9 in chain 0, draw 0, row 1"),
        ({"initial": np.full(3, 1 / 3)}, r"initial has shape \(3,\)"),
        ({"initial": None}, "it lacks initial"),
    ):
        wrong = {key: value for key, value in (good | change).items() if value is not None}
        with pytest.raises(ValueError, match=message):
            compare(x, 2, extra={"mine": wrong}, **SMALL)
