"""The benchmark on a terminal: one table a quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.bench import calls, cluster, commands, device, families, hmm, lds, nuts
from reports.bench.benchmark import Bench
from reports.bench.cells import Cell, short
from reports.bench.chains import Chain

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"em": "EM", "cavi": "CAVI"}

CLASSES = {"em": "Gaussian", "cavi": "Bayesian"}

TITLES = {
    "pass": "Time a pass",
    "optimum": "Time to the same optimum from the same start",
    "memory": "Peak private memory above imports, without the data",
    "small": "Many small data sets, whole fits from one start",
    "restarts": "Many small data sets, whole fits from five starts",
    "first fit": "The first fit in a process, as a user calls it, after imports",
    calls.SMALL_PASS: "Time a pass on few rows, compiled loops being loaded",
}

DASH = "–"


def tables(bench: Bench) -> Iterator[RenderableType]:
    """A table for every quantity that was measured, with what there is to say of its rows below."""
    for quantity in TITLES:
        part = bench.table[bench.table["quantity"] == quantity]
        if len(part):
            yield _compared(quantity, part)
    made = bench.table[bench.table["quantity"].isin(calls.CALLS)]
    if len(made):
        yield _calls(made)
    limited = bench.table[bench.table["quantity"] == calls.THREADS]
    if len(limited):
        yield _threads(limited)
    whole = bench.table[bench.table["quantity"].isin([commands.EMPTY, commands.WARM, commands.DRAWS])]
    if len(whole):
        yield _commands(whole)
    mapped = bench.table[bench.table["quantity"].isin(["map pass", "map memory"])]
    if len(mapped):
        yield _mapped(mapped)


def effective_draws(table: pd.DataFrame, settings: nuts.Settings) -> Iterator[RenderableType]:
    """The table of `reports.bench.nuts.run`: a table a round, a column a run."""
    of = f"NUTS on {settings.data}, K = {settings.n_components}, by {settings.sampler}"
    for seed, part in table.groupby("seed"):
        shown = _table(f"{of}: {settings.chains} × {settings.draws} draws, seed {seed}")
        rows = _rows(part)
        shown.add_column("")
        for row in rows:
            shown.add_column(row.model, justify="right")
        shown.add_row("OpenBLAS threads", *(row.blas for row in rows))
        shown.add_row("metric starts from", *(STARTS_FROM[row.metric] for row in rows))
        for name, title, form in NUTS:
            shown.add_row(title, *(form(getattr(row, name)) for row in rows))
        notes = [f"{row.model}, {row.blas}, {STARTS_FROM[row.metric]}: {row.note}" for row in rows if row.note]
        yield Group(shown, *(Text(f"  {note}", style="dim") for note in notes))
    said = "Ratio: how many times more effective draws a second ours has in the same round, as it runs by default."
    yield Text(said, style="dim")


def families_beside(table: pd.DataFrame) -> Iterator[RenderableType]:
    """The table of `reports.bench.families.run`: a row a case and side."""
    shown = _table("An iteration of EM from the same start")
    for heading in ("family", "N × D, K"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("levels", justify="right")
    shown.add_column("by")
    for heading in ("ms", "nats a point after five", "ratio"):
        shown.add_column(heading, justify="right")
    for row in _rows(table):
        levels = str(row.c) if row.c else DASH
        fit = f"{row.log_likelihood:.6f}" if row.log_likelihood == row.log_likelihood else DASH
        of = row.family, str(Cell(row.n, row.d, row.k)), levels, row.who
        shown.add_row(*of, number(row.ms), fit, number(row.ratio))
    notes = [f"{row.family}, {Cell(row.n, row.d, row.k)}, {row.who}: {row.note}" for row in _rows(table) if row.note]
    yield Group(shown, *(Text(f"  {note}", style="dim") for note in notes))
    said = f"Ratio: how many times as long as ours; of {families.OURS} with gaps, as a pass {families.GAPS}."
    yield Text(said, style="dim")


def sequences_beside(table: pd.DataFrame) -> Iterator[RenderableType]:
    """The tables of `reports.bench.hmm.run`: a row a cell and side, and a row a length of the memory map."""
    compared = table[table["quantity"] != hmm.MAP]
    for quantity, title, after in HMM:
        part = compared[compared["quantity"] == quantity]
        shown = _table(title)
        for heading in ("family, N × D, K", "by"):
            shown.add_column(heading, no_wrap=True)
        for heading in ("ms", after, "ratio"):
            shown.add_column(heading, justify="right")
        for row in _rows(part):
            fit = f"{row.log_likelihood:.6f}" if row.log_likelihood == row.log_likelihood else DASH
            shown.add_row(str(_chain(row)), row.who, number(row.ms), fit, number(row.ratio))
        notes = dict.fromkeys(f"{_chain(row)}, {row.who}: {row.note}" for row in _rows(part) if row.note)
        yield Group(shown, *(Text(f"  {note}", style="dim") for note in notes))
    ratios = hmm.quickest(table)
    yield Text(
        f"Ratio: how many times as long as ours. To the quickest other side of an iteration: lowest {number(ratios.min())}, "
        f"geometric mean {number(geometric_mean(ratios))}, in {ratios.notna().sum()} of {len(ratios)} cells.",
        style="dim",
    )
    part = table[table["quantity"] == hmm.MAP]
    if len(part):
        yield _mapped_series(part)


def systems_beside(table: pd.DataFrame) -> Iterator[RenderableType]:
    """The table of `reports.bench.lds.run`: a row a cell and side."""
    shown = _table("An iteration of EM for linear dynamical systems from the same start")
    for heading in ("T × D, states", "by"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("ms", "nats a step", "ratio"):
        shown.add_column(heading, justify="right")
    notes: dict[str, None] = {}
    for row in _rows(table):
        system = lds.System(*(getattr(row, name) for name in lds.System._fields))
        fit = f"{row.log_likelihood:.6f}" if row.log_likelihood == row.log_likelihood else DASH
        shown.add_row(str(system), row.who, number(row.ms), fit, number(row.ratio))
        if row.note:
            notes[f"{system}, {row.who}: {row.note}"] = None
    yield Group(shown, *(Text(f"  {note}", style="dim") for note in notes))
    ratios = lds.quickest(table)
    yield Text(
        f"Nats a step after {lds.COMPARED} iterations; of statsmodels, which runs its smoother alone, at the start. Ratio: how "
        f"many times as long as ours. To the quickest other side: lowest {number(ratios.min())}, geometric mean "
        f"{number(geometric_mean(ratios))}, in {ratios.notna().sum()} of {len(ratios)} cells.",
        style="dim",
    )


def _mapped_series(part: pd.DataFrame) -> Table:
    """Time an iteration and memory side by side, a row for each length."""
    d, k = part[["d", "k"]].iloc[0]
    table = _table(f"One series from a memory map, full covariances, D = {d}, K = {k}")
    for heading in ("N", "an iteration (ms)", "a step (ns)", "private memory above imports (MB)", "the data (MB)"):
        table.add_column(heading, justify="right")
    for row in _rows(part):
        size = number(8 * row.n * row.d / 1e6)
        table.add_row(short(row.n), number(row.ms), number(1e6 * row.ms / row.n), number(row.memory), size)
    return table


def _chain(row: Any) -> Chain:
    return Chain(*(getattr(row, name) for name in Chain._fields))


def on_device(found: device.OnDevice) -> Iterator[RenderableType]:
    """Two tables of `reports.bench.device.run`: a row a cell, and a row a size of the crossover."""
    table = found.table
    yield _cells_on_device(table[table["quantity"] == "pass"], found.facts["device"])
    part = table[table["quantity"] == "crossover"].pivot(index="n", columns="who", values="ms")
    shown = _table(f"D = {device.CROSSOVER_D}, K = {device.CROSSOVER_K}, float64, ms")
    for heading in ("N", "on the cores", "on the device"):
        shown.add_column(heading, justify="right")
    for n, row in part.iterrows():
        shown.add_row(short(int(n)), number(row[device.CORES]), number(row[device.OURS]))  # type: ignore[call-overload]
    yield shown
    rows = found.crossover
    said = f"from about {float(f'{rows:.1g}'):,.0f} rows on" if rows == rows else "for none of these sizes"
    yield Text(f"The device is quicker than our engine on {found.facts['cores']} cores {said}.", style="dim")


def on_cluster(table: pd.DataFrame) -> Iterator[RenderableType]:
    """The table of `reports.bench.cluster.run`: a row a number of workers."""
    d, k = table[["d", "k"]].iloc[0]
    shown = _table(f"A pass over rows in the workers of a Dask cluster, full covariances, D = {d}, K = {k}, float64")
    for heading in (
        "workers",
        "N",
        "blocks",
        "a pass (ms)",
        "speed-up",
        "arithmetic",
        "tasks",
        "network",
        "moved (MB)",
    ):
        shown.add_column(heading, justify="right")
    for row in _rows(table):
        times = (
            number(value) for value in (row.ms, row.speed_up, row.arithmetic, row.tasks, row.network, row.megabytes)
        )
        shown.add_row(str(row.workers) + ("" if row.measured else " *"), short(row.n), str(row.blocks), *times)
    yield shown
    yield Text(
        f"  * estimated: as many rows for each worker as one has here, the processor time here of each task, and "
        f"{8e-9 * cluster.NETWORK:.0f} Gbit/s at the scheduler. Arithmetic: processor time of the busiest worker; tasks: that "
        "of scheduler and client. Speed-up: how many times as many rows a second as one worker.",
        style="dim",
    )


def _cells_on_device(part: pd.DataFrame, name: str) -> Group:
    shown = _table(f"An iteration of EM, full covariances, on {name}")
    shown.add_column("N × D, K", no_wrap=True)
    for heading in ("precision", "ours (ms)", "pass alone", "scikit-learn", "ratio", "off by (nats)", "(covariance)"):
        shown.add_column(heading, justify="right")
    notes: dict[str, None] = {}
    for cell, rows in _by_cell(part):
        for precision, two in rows.groupby("precision", sort=False):
            by = {row.who: row for row in _rows(two)}
            own, other = by[device.OURS], by.get(device.SKLEARN)
            theirs = other.ms if other else np.nan
            times = (number(own.ms), number(own.pass_ms), number(theirs), number(theirs / own.ms))
            shown.add_row(str(cell), str(precision), *times, *(_error(v) for v in (own.nats, own.spread)))
            notes |= {f"{cell}, {row.who}: {row.note}": None for row in by.values() if row.note}
    return Group(shown, *(Text(f"  {note}", style="dim") for note in notes))


def _error(value: float) -> str:
    return DASH if value != value else f"{value:.1e}"


def machine(bench: Bench) -> str:
    """What the machine is and what it can do, and whether it was busy."""
    facts, rates = bench.facts, bench.machine
    text = (
        f"{facts['cpu']}, {facts['cores']} cores: memory {rates.bandwidth / 1e9:.1f} GB/s, "
        f"matrix product {rates.peak / 1e9:.0f} GFLOP/s"
    )
    if seconds := facts.get("compile_seconds"):
        text += (
            f". The compiled engine: {seconds['cold']:.1f} s to compile, {seconds['cached']:.2f} s from the cache, "
            f"numba's own import {seconds['numba']:.1f} s"
        )
    text += ". Ratio: how many times better ours is."
    if facts["load"] > 0.25 * facts["cores"]:
        text += f" The load was {facts['load']:.1f} when this began: measure again on a quiet machine."
    return text


def geometric_mean(ratios: pd.Series) -> float:
    """Of the ratios that are there; missing where none is."""
    return float(np.exp(np.log(ratios.dropna()).mean()))


def _compared(quantity: str, part: pd.DataFrame) -> Group:
    table = _table(f"{TITLES[quantity]} ({part['unit'].iloc[0]})")
    structures, methods = (part[column].nunique() > 1 for column in ("covariance", "method"))
    floors = bool(part["floor"].notna().any())
    names = ["N × D, K", *["structure"] * structures, *["method"] * methods]
    for name in names:
        table.add_column(name, no_wrap=True)
    for heading in ("ours", "scikit-learn", "ratio", *["floor", "ours/floor"] * floors):
        table.add_column(heading, justify="right")
    notes = []
    for row in _rows(part):
        of = [str(Cell(row.n, row.d, row.k)), *[row.covariance] * structures, *[METHODS[row.method]] * methods]
        table.add_row(*of, *_numbers(row), *[number(row.floor), number(row.over_floor)][: 2 * floors])
        notes += [f"{', '.join(of)}: {row.note}"] * bool(row.note)
    if quantity == "restarts":
        notes += [f"{cell}: {_a_minute(rows):,.0f} data sets a minute by both" for cell, rows in _by_cell(part)]
    table.add_section()
    for method in part["method"].unique():
        mean = number(geometric_mean(part[part["method"] == method]["ratio"]))
        table.add_row("geometric mean", *[""] * structures, *[METHODS[method]] * methods, "", "", mean)
    return Group(table, *(Text(f"  {note}", style="dim") for note in notes), "" if notes else Group())


def _calls(part: pd.DataFrame) -> Group:
    """A row a call and number of rows, both classes side by side."""
    table = _table(f"Public calls of the drop-in classes on small data, D = {calls.D}, K = {calls.K} (ms)")
    table.add_column("call", no_wrap=True)
    table.add_column("N", justify="right")
    for name in METHODS:
        for heading in (CLASSES[name], "scikit-learn", "ratio"):
            table.add_column(heading, justify="right")
    for (call, n), rows in part.groupby(["quantity", "n"], sort=False):
        by = {row.method: row for row in _rows(rows)}
        table.add_row(str(call), str(n), *(text for method in METHODS for text in _numbers(by[method])))
    said = "Compiled loops are loaded; partial_fit beside one step of fit with warm_start."
    return Group(table, Text(f"  {said}", style="dim"))


def _threads(part: pd.DataFrame) -> Table:
    """A row a cell and number of threads."""
    table = _table("Time an iteration of EM, by the threads that the compiled engine may take (ms)")
    for heading in ("N × D, K", "threads"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ours", "scikit-learn", "ratio"):
        table.add_column(heading, justify="right")
    for row in _rows(part):
        table.add_row(str(Cell(row.n, row.d, row.k)), row.note, *_numbers(row))
    return table


def _commands(part: pd.DataFrame) -> Group:
    """Whole comparisons, and effective draws by NUTS."""
    table = _table("Whole commands")
    table.add_column("what", no_wrap=True)
    for heading in ("ours", "the usual model", "ratio"):
        table.add_column(heading, justify="right")
    command, draws = f"compare {commands.DATA} -k {commands.K}, ", "NUTS, effective draws a second"
    rows = [(draws if row.quantity == commands.DRAWS else f"{command}{row.quantity} (s)", row) for row in _rows(part)]
    for what, row in rows:
        table.add_row(what, *_numbers(row))
    return Group(table, *(Text(f"  {what}: {row.note}", style="dim") for what, row in rows if row.note))


def _by_cell(part: pd.DataFrame) -> Iterator[tuple[Cell, pd.DataFrame]]:
    for _, rows in part.groupby(["n", "d", "k"], sort=False):
        yield Cell(*rows[["n", "d", "k"]].iloc[0]), rows


def _a_minute(rows: pd.DataFrame) -> float:
    """Data sets a minute that ours fits by every method, one after the other."""
    return 60 / float((1 / rows["ours"]).sum())


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _numbers(row: Any) -> tuple[str, str, str]:
    over = "> " if row.at_least else ""
    return number(row.ours), over + number(row.sklearn), over + number(row.ratio)


def _mapped(part: pd.DataFrame) -> Table:
    """Time a pass and memory side by side, a row for each number of rows."""
    d, k = part[["d", "k"]].iloc[0]
    table = _table(f"From a memory map, D = {d}, K = {k}")
    table.add_column("structure")
    for heading in ("N", "a pass (ms)", "a row (ns)", "private memory above imports (MB)", "the data (MB)"):
        table.add_column(heading, justify="right")
    memory = part[part["quantity"] == "map memory"]["ours"]
    for row, megabytes in zip(_rows(part[part["quantity"] == "map pass"]), memory, strict=True):
        size = number(8 * row.n * d / 1e6)
        table.add_row(
            row.covariance, short(row.n), number(row.ours), number(1e6 * row.ours / row.n), number(megabytes), size
        )
    return table


def _rows(part: pd.DataFrame) -> list[Any]:
    return list(part.itertuples(index=False))


def number(value: float) -> str:
    """Three significant digits, a dash where there is no number."""
    if value != value:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


HMM = (
    (hmm.ITERATION, "An iteration of EM for hidden Markov models from the same start", "nats a step after five"),
    (hmm.FITS, "Whole fits by EM from the same start", "nats a step at the end"),
)

STARTS_FROM = {"cavi": "CAVI", "adapt": "identity"}

NUTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("tune", "steps of adaptation", lambda value: DASH if value != value else f"{value:.0f}"),
    ("compile", "seconds to compile", number),
    ("run", "seconds to sample", number),
    ("leapfrogs", "leapfrog steps a draw", number),
    ("warm_up", "% of steps in adaptation", lambda value: DASH if value != value else f"{100 * value:.0f}"),
    ("ess", "smallest bulk ESS", number),
    ("rhat", "largest R-hat", lambda value: DASH if value != value else f"{value:.3f}"),
    ("divergences", "divergences", lambda value: DASH if value != value else f"{value:.0f}"),
    ("ess_run", "ESS a second of sampling", number),
    ("ratio_run", "  ratio", number),
    ("alike_run", "  ratio, same metric", number),
    ("ess_total", "ESS a second with compiling", number),
    ("ratio_total", "  ratio", number),
    ("alike_total", "  ratio, same metric", number),
)
