"""The files of a benchmark: its table, what the machine is, and a plot of some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.comparison.files import write_folder
from reports.comparison.manifest import write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save(folder: Path, table: pd.DataFrame, facts: Mapping[str, Any], plot: Figure | None = None) -> None:
    """Write the table as bench.csv, what the machine is and what was asked as bench.json, and the plot as bench.png."""

    def fill(part: Path) -> None:
        table.to_csv(part / "bench.csv", index=False)
        write(part / "bench.json", facts)
        if plot is not None:
            plot.savefig(part / "bench.png", dpi=160)

    write_folder(folder, fill)
