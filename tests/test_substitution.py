"""Coordinates of nearly dependent columns, against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixtures import Gaussian, substitution
from mixtures.engines import fused


def exact(x, origin, L):
    """L^-1 (x - origin) of rows x, rounded once."""
    rows = []
    for row in x.tolist():
        z = []
        for own, value, o in zip(L.tolist(), row, origin.tolist(), strict=True):
            left = (
                Fraction(value)
                - Fraction(o)
                - sum((Fraction(a) * b for a, b in zip(own, z, strict=False)), Fraction(0))
            )
            z.append(left / Fraction(own[len(z)]))
        rows.append([float(v) for v in z])
    return np.array(rows)


def a_triangle(rng, D=4, residual=1e-12):
    L = np.tril(rng.standard_normal((D, D)))
    L[np.diag_indices(D)] = np.geomspace(1, residual, D)
    return L


@pytest.mark.parametrize("compiled", [False, True])
def test_coordinates_have_all_digits_where_columns_are_nearly_dependent(compiled, rng):
    L, origin = a_triangle(rng), np.array([1e3, -1.0, 0.1, 70.0])
    x = origin + rng.standard_normal((50, 4)) @ L.T
    if compiled:
        z = np.ones((5, 60))
        fused.coordinates(x, origin, L, z)
        found = z[1:, :50].T
    else:
        found = substitution.coordinates(x, origin, L)
    np.testing.assert_allclose(found, exact(x, origin, L), rtol=1e-15, atol=0)


def test_families_of_nearly_dependent_columns_take_them(rng):
    x = rng.standard_normal((40, 4)) @ a_triangle(rng, residual=1e-6).T
    family = Gaussian.from_data(x, 2)
    assert family.nearly_dependent
    np.testing.assert_allclose(family.coordinates(x), exact(x, family.origin, family.unit), rtol=1e-15, atol=0)
    assert not Gaussian.from_data(rng.standard_normal((40, 4)), 2).nearly_dependent


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_whose_halves_are_out_of_range_have_plain_coordinates(compiled):
    L, x, z = np.array([[1.0, 0.0], [0.5, 1e-5]]), np.array([[1e302, 0.0], [0.0, 1e304]]), np.ones((3, 2))
    if compiled:
        fused.coordinates(x, np.zeros(2), L, z)
    found = z[1:].T if compiled else substitution.coordinates(x, np.zeros(2), L)
    np.testing.assert_allclose(found, [[1e302, -5e306], [0.0, np.inf]], rtol=1e-14)
