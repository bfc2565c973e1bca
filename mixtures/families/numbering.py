"""What the parts of a product are called: two that share a name are told apart by their numbers, counted from one."""

from __future__ import annotations

from collections.abc import Sequence


def numbered_apart(names: Sequence[Sequence[str]]) -> tuple[dict[str, str], ...]:
    """What each part's names are in the product: followed by the number of the part where one before has one of them.

    >>> numbered_apart([["means", "variances"], ["rates"], ["means", "variances"]])[2]
    {'means': 'means_3', 'variances': 'variances_3'}
    """
    taken: set[str] = set()
    found = []
    for number, own in enumerate(names, 1):
        suffix = f"_{number}" if taken & set(own) else ""
        found.append({name: name + suffix for name in own})
        taken |= set(found[-1].values())
    return tuple(found)


def numbered_dims(dims: tuple[str, ...], number: int) -> tuple[str, ...]:
    """A part's dims in the product: all but that of the clusters are followed by its number, for they differ in length."""
    return tuple(dim if dim == "cluster" else f"{dim}_{number}" for dim in dims)
