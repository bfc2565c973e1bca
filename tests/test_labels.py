"""Stephens' relabelling against brute force, and the share of draws that two relabellings number alike."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.special import rel_entr

from mixtures.labels import agreement, stephens


def switched_draws(S, N, K, rng):
    """Responsibilities (S, N, K) near one matrix, every draw under names of its own, and those names."""
    r = rng.dirichlet(np.full(K, 0.4), N) + 0.05 * rng.dirichlet(np.ones(K), (S, N))
    names = rng.permuted(np.tile(np.arange(K), (S, 1)), axis=1)
    return np.take_along_axis(r / r.sum(-1, keepdims=True), names[:, None], axis=2), names


def divergence(r, orders):
    """Sum over draws of the divergence of the ordered responsibilities from their mean."""
    ordered = np.take_along_axis(r, np.asarray(orders)[:, None], axis=2)
    return rel_entr(ordered, ordered.mean(0)).sum()


@pytest.mark.parametrize("K", [2, 3, 5])
def test_names_that_were_shuffled_are_found_again(K, rng):
    r, names = switched_draws(300, 40, K, rng)
    found = np.take_along_axis(names, stephens(r), axis=1)  # which of the first names each place has
    assert agreement(found) == 1


def test_the_total_divergence_is_the_least_of_all_orders(rng):
    """All 6^3 ways to order three draws of three clusters against the order of a fourth."""
    for _ in range(10):
        r, _ = switched_draws(4, 3, 3, rng)
        everything = [(range(3), *orders) for orders in product(permutations(range(3)), repeat=3)]
        assert divergence(r, stephens(r)) == pytest.approx(min(divergence(r, orders) for orders in everything))


def test_no_draw_has_an_order_closer_to_the_mean(rng):
    r = rng.dirichlet(np.ones(3), (50, 8))
    orders = stephens(r)
    q = np.take_along_axis(r, orders[:, None], axis=2).mean(0)
    for draw, order in zip(r, orders, strict=True):
        own = rel_entr(draw[:, order], q).sum()
        assert own == pytest.approx(min(rel_entr(draw[:, list(p)], q).sum() for p in permutations(range(3))))


def test_responsibilities_of_nought_are_no_obstacle(rng):
    r = np.eye(3)[rng.integers(3, size=20)][None].repeat(6, axis=0)
    r[3:] = r[3:, :, [2, 0, 1]]
    orders = stephens(r)
    ordered = np.take_along_axis(r, orders[:, None], axis=2)
    assert np.all(ordered == ordered[0])


def test_agreement_is_the_share_of_the_most_common_order():
    assert agreement(np.array([[0, 1], [1, 0], [1, 0], [1, 0]])) == 0.75
