"""Data of posteriordb, which the examples and the tests share; their provenance is in posteriordb/SOURCES.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "posteriordb"


def posteriordb(name: str) -> dict[str, np.ndarray]:
    """The data of one of its posteriors, arrays and numbers by the names that Stan's model gives them."""
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    return {key: np.asarray(value) for key, value in json.loads(text).items()}
