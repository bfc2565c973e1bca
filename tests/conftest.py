"""Shared fixtures: small data sets whose structure is known."""

import numpy as np
import pytest

from mixtures.datasets import DataError, load


@pytest.fixture
def rng():
    return np.random.default_rng(20061)


def three_clusters(n: int, rng: np.random.Generator, separation: float = 5.0) -> np.ndarray:
    """Points around three corners of a triangle, shape (n, 2)."""
    corners = separation * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return corners[rng.integers(3, size=n)] + rng.standard_normal((n, 2))


def collapsed_data() -> np.ndarray:
    """Twenty scattered points and ten copies of one: the likelihood of two clusters has no maximum, shape (30, 1)."""
    return np.concatenate([np.linspace(-3, 3, 20), np.full(10, 7.0)])[:, None]


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def fails(message, *args, **options):
    """Load, and check that the error is one line that holds the message (a regular expression)."""
    with pytest.raises(DataError, match=message) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)
