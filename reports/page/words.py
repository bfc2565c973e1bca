"""Words for settings and lists."""

from __future__ import annotations

import numpy as np

from reports.page.numbers import DASH


def listing(names: list[str]) -> str:
    """Return names as words: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def short(x: object) -> str:
    """Write a setting in a line: numbers with few digits, a constant list as one number, nested lists in brackets."""
    if x is None:
        return DASH
    if isinstance(x, str | int):
        return str(x)
    if isinstance(x, float):
        return f"{x:.4g}".replace("-", "−")
    if isinstance(x, list | tuple):
        if np.size(x) > 9:
            return f"{' × '.join(map(str, np.shape(x)))} numbers, in manifest.json"
        if len(x) > 1 and all(isinstance(v, int | float) for v in x) and len(set(x)) == 1:
            return f"{short(x[0])} for each"
        return f"[{', '.join(short(v) for v in x)}]"
    return str(x)
