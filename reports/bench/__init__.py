"""The benchmark: what this machine needs for a pass, an optimum and many small fits, ours beside scikit-learn in one run.

Measuring (`measure`, `processes`, `machine`), showing (`tables`, `reports.plots.bench`) and asking (`reports.commands.bench`)
are apart.
"""

from reports.bench.benchmark import Bench, Settings, run
from reports.bench.cells import GRID, Cell, parse_cells, parse_covariances, parse_map

__all__ = ["GRID", "Bench", "Cell", "Settings", "parse_cells", "parse_covariances", "parse_map", "run"]
