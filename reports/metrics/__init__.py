"""What is measured, one subject a file. Every function takes finished fits or draws and returns rows of the long table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """One number: of which method, which metric, about what, and its standard error where it has one."""

    method: str
    metric: str
    target: str
    value: float
    se: float = np.nan
