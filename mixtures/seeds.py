"""Where random numbers come from: a generator, or the seed of one."""

from __future__ import annotations

import numpy as np

from mixtures.checks import brief

Rng = np.random.Generator | int


def generator(rng: Rng) -> np.random.Generator:
    """The generator itself, ``numpy.random.default_rng(rng)`` for a seed, or one that a ``RandomState`` seeds.

    Raises
    ------
    TypeError
        If rng is neither.
    ValueError
        If it is a negative number.

    Examples
    --------
    >>> generator(0).random() == np.random.default_rng(0).random()
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState):  # whose own generator cannot be parted into several
        return np.random.default_rng(rng.randint(2**32, size=4, dtype=np.uint32))
    if rng is None or isinstance(rng, bool | np.bool_):
        raise TypeError(
            f"rng is {brief(rng)}; expected a numpy.random.Generator or a seed, a whole number of at least 0"
        )
    try:
        return np.random.default_rng(rng)
    except TypeError:
        raise TypeError(
            f"rng is {brief(rng)}; expected a numpy.random.Generator or a seed, a whole number of at least 0"
        ) from None
    except ValueError as error:
        raise ValueError(f"rng is {brief(rng)}; a seed is a whole number of at least 0") from error
