"""`mixtures datasets`: list the built-in data sets."""

from __future__ import annotations

from rich.table import Table

from reports.commands.terminal import out


def datasets() -> None:
    """List the built-in data sets."""
    from mixtures import datasets as sets
    from mixtures.datasets.series import CATALOGUE

    table = Table(title="Built-in data sets", title_justify="left")
    for heading, justify in (
        ("name", "left"),
        ("rows", "right"),
        ("features", "right"),
        ("of", "left"),
        ("classes", "right"),
        ("source", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for d in sets.describe():
        source = f"{d.source}; less rows with gaps" if d.missing == "drop" else d.source
        table.add_row(d.name, str(d.n), str(d.d), d.holds, "–" if d.classes is None else str(d.classes), source)
    out.print(table)
    series = Table(title="Built-in series, in the order of time", title_justify="left")
    for heading in ("name", "rows", "of", "source"):
        series.add_column(heading, justify="right" if heading == "rows" else "left")
    for entry in CATALOGUE.values():
        rows = " + ".join(map(str, entry.lengths))
        series.add_row(entry.name, rows, ", ".join(dict.fromkeys(entry.kinds.values())), entry.source)
    out.print(series)
