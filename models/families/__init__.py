"""PyMC models, one file for each family of `mixtures.families`, under the same name."""

from importlib import import_module
from types import ModuleType

from mixtures.model import Family


def twin(family: Family) -> ModuleType:
    """The module with ``variables`` and ``unconstrain`` for the family."""
    return import_module(f"models.families.{family.name}")
