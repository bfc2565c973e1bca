"""Data to fit: real sets with their provenance, a user's own files, and simulators that keep the truth."""

from mixtures.datasets.builtin import Description, describe, names
from mixtures.datasets.checks import check_components, check_rows, check_values
from mixtures.datasets.dataset import Dataset, Series
from mixtures.datasets.linear import simulate_linear
from mixtures.datasets.loading import from_frame, load
from mixtures.datasets.many import files_of, load_many
from mixtures.datasets.series import load_series, simulate_series
from mixtures.datasets.simulated import mean_distances, simulate, tsmatz
from mixtures.errors import DataError

__all__ = [
    "DataError",
    "Dataset",
    "Description",
    "Series",
    "check_components",
    "check_rows",
    "check_values",
    "describe",
    "files_of",
    "from_frame",
    "load",
    "load_many",
    "load_series",
    "mean_distances",
    "names",
    "simulate",
    "simulate_linear",
    "simulate_series",
    "tsmatz",
]
