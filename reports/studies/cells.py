"""Measured cells in a folder: one Parquet data set that only grows, by a small file for each batch of rows.

A file is there whole or not at all, so that a run can be killed at any moment and go on later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.comparison.files import write_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class CellsError(ValueError):
    """A data set of cells that cannot be read."""


class Cells:
    """A Parquet data set of rows with fixed columns.

    Parameters
    ----------
    folder : Path
        Made with the first batch.
    columns : mapping of str to str
        From the name of each column to its Arrow type: "string", "int64", "float64".
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        self.folder = folder
        self.columns = columns

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow takes them."""
        import pyarrow as pa

        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in self.columns.items()])

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a batch of rows as the file ``name``; what a row does not name is missing.

        Raises
        ------
        KeyError
            If a row names something that is no column.
        OSError
            If the file cannot be written; nothing of it is left.
        """
        import pyarrow as pa
        from pyarrow import parquet

        rows = list(rows)
        if unknown := {key for row in rows for key in row} - set(self.columns):
            raise KeyError(f"no columns of the data set: {', '.join(sorted(unknown))}")
        self.folder.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=self.schema)
        write_file(self.folder / f"{name}.parquet", lambda part: parquet.write_table(table, part))

    def read(self) -> pd.DataFrame:
        """All rows, in the order of the files' names.

        Raises
        ------
        CellsError
            If a file is damaged.
        """
        import pandas as pd
        import pyarrow as pa
        from pyarrow import parquet

        tables = []
        for path in sorted(self.folder.glob("[!.]*.parquet")):
            try:
                tables.append(parquet.read_table(path, schema=self.schema))
            except (pa.ArrowException, OSError) as error:
                raise CellsError(
                    f"{path} is damaged; delete it and run again: its cells are then measured anew"
                ) from error
        if not tables:
            return pd.DataFrame({name: [] for name in self.columns})
        return pa.concat_tables(tables).to_pandas()
