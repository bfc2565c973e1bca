"""What PyMC models have in the place of the labels, one file for each allocation of `mixtures.allocations` that has a twin."""

from types import ModuleType

from mixtures.model import Allocation
from models.allocations import dirichlet, markov


def twin(allocation: Allocation) -> ModuleType:
    """The module with ``variables``, ``unconstrain`` and ``observe`` for the allocation."""
    return dirichlet if allocation.independent else markov
