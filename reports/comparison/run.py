"""Run several methods on one data set and measure how they differ."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Dirichlet, Fit, datasets
from mixtures.allocations.markov import Markov
from mixtures.checks import check_whole
from mixtures.chunks import Chunked, held
from mixtures.model import Allocation, Family
from mixtures.rows.reading import as_rows
from mixtures.seeds import Rng, generator
from mixtures.tables import numbers_of
from reports.comparison import in_order
from reports.comparison import manifest as facts_of
from reports.comparison.added import as_added, check_names
from reports.comparison.beside import one_core
from reports.comparison.capacity import check_comparison
from reports.comparison.catalogue import (
    METHODS,
    UNDRAWN,
    Options,
    check_order,
    check_reg_covar,
    default_methods,
    undrawn,
)
from reports.comparison.files import check_space
from reports.comparison.fitting import Fitting, entry_of_added
from reports.comparison.given import in_sequences
from reports.comparison.measure import measure
from reports.comparison.names import check_covariance, check_methods
from reports.comparison.prepared import Data, check_image, check_sampled, prepare, thinned
from reports.comparison.progress import Asked, Watch, watched
from reports.comparison.results import FORMAT, Results
from reports.comparison.tables import frame
from reports.comparison.trees import size

if TYPE_CHECKING:
    import pandas as pd

    from reports.comparison.added import Result


class Compared(NamedTuple):
    """Fits by method in one labelling, what went wrong by method, and the numbers from which tables and pages are made."""

    fits: dict[str, Fit]
    failures: dict[str, str]
    results: Results


@watched
def compare(
    x: np.ndarray | pd.DataFrame,
    n_components: int,
    *,
    rng: Rng,
    methods: str | Sequence[str] | None = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    features: Sequence[str] | None = None,
    kinds: Sequence[str] | Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    index: Sequence[Any] | np.ndarray | None = None,
    missing: str = "error",
    sequences: bool | str | Sequence[int] = False,
    start: str = "free",
    sticky: float = 0.0,
    truth: Mapping[str, np.ndarray] | None = None,
    name: str = "data",
    test_fraction: float = 0.0,
    standardize: bool = False,
    image: Sequence[int] | None = None,
    covariance: str = "full",
    alpha0: float = 1.0,
    prior: Mapping[str, Any] | None = None,
    extra: Mapping[str, Result] | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Asked = None,
    executor: Executor | None = None,
    room: Path | None = None,
    rows: Any = None,
    cache: bool = True,
    **options: Any,
) -> Compared:
    """Fit one Bayesian mixture, or hidden Markov model, by several methods and measure how they differ.

    Parameters
    ----------
    x : ndarray or DataFrame, shape (N, D)
        Numbers, counts, codes 0..C-1 of categories, zeros and ones; a DataFrame may hold text, categories and booleans.
    n_components : int
        K.
    rng : numpy.random.Generator or int
        Source of all randomness. Every method has a stream of its own; leaving one out changes the others only where they
        start from it or are numbered by it.
    methods : str or sequence of str
        Of em, map, cavi, advi, advi-fullrank, nuts, exact, gibbs and smc; by default em, cavi, advi, nuts and gibbs, as far as
        they take the model. The reference joins them: the one asked for, or, if that is left to the toolkit, the exact
        posterior where it is affordable.
    labels : array, shape (N,), optional
        Known classes: no method sees them, cluster recovery is measured against them. Rows whose class is missing (None or
        NaN) are fitted as the others.
    features : sequence of str, optional
        Names of the columns.
    kinds : sequence of str, or mapping, optional
        What the columns hold, one a column or by name: "gaussian" numbers (the default), "poisson" counts, "categorical" codes,
        "bernoulli" zeros and ones; they decide the family (`mixtures.tables.family_of`). Of a DataFrame text, categories and
        booleans are nominal by default.
    levels : mapping, optional
        By categorical or binary column, the names of its levels in the order of its codes; by default the codes.
    index : sequence, shape (N,), optional
        What the rows are called; by default their numbers, counted from 1, or the index of a DataFrame.
    missing : {"error", "drop", "model"}
        What to do about missing values (NaN): refuse the data, leave these rows out, or let every method integrate over them,
        which is right where they are missing at random (`mixtures.engines.missing`).
    sequences : bool, sequence of int, or str
        Whether the rows are in the order of time, so that the clusters are the states of a hidden Markov model: True for one
        sequence, else the lengths of several that stand one after another, or the column of a DataFrame that names them. x
        may be `mixtures.rows.sequences.Sequences` too.
    start : {"free", "stationary"}
        The start of such a chain: free, or the stationary distribution of its transitions; cavi and exact cannot fit
        that.
    sticky : float
        What the prior adds to the concentration of staying in a state; see `mixtures.allocations.markov.Markov`.
    truth : mapping, optional
        ``weights``, or ``initial`` and ``transitions``, and the clusters' parameters that generated the data, for the oracle:
        ``means`` and ``covariances`` of numbers, ``rates`` of counts, ``probabilities`` of categories.
    name : str
        Name of the data.
    test_fraction : float
        Share of the rows held out for the predictive density, 0 to below 1; of sequences the last part of each.
    standardize : bool
        Report in units of each feature's standard deviation, of those that are numbers. The methods do not depend on units.
    image : (int, int), optional
        Rows and columns of a picture whose pixels, row by row, the features are: the page shows clusters as pictures.
    covariance : {"full", "tied", "diag", "spherical"}
        Structure of the clusters' covariances of numbers, each an exact conjugate model of its own.
    alpha0 : float
        Concentration of the symmetric Dirichlet prior, of weights or of the start and of each row of transitions.
    prior : mapping, optional
        Hyperparameters of the prior of the clusters, by the names of the family: ``m0``, ``beta0``, ``W0``, ``nu0`` of
        Gaussian columns, ``a0`` and ``b0`` of others; see ``from_data`` of the families and `mixtures.tables.family_of`.
    extra : mapping, optional
        Results made elsewhere that join the comparison, by name: draws, a point, a posterior in closed form, a `Fit`, a fitted
        `GaussianMixture` or `BayesianGaussianMixture`, of scikit-learn too, or the path of a file, in the units of x as given;
        see `reports.comparison.added`.
    facts : mapping, optional
        What the manifest should know besides: ``command``, ``seed``, ``source``, ``label_column``, ``notes`` on how the
        data were read, and ``left_out``, the names of the rows that were left out.
    progress : bool, callable or Watch, optional
        True shows a bar, in a notebook or on standard error, with the steps of samplers and about how long the rest will take;
        a callable is told (stage, "running" | "done" | "failed"); a `reports.comparison.progress.Watch` hears of steps too.
        None is silent.
    executor : concurrent.futures.Executor, optional
        Works out leave-one-out while the rest is measured; the numbers are the same. See `reports.comparison.beside`.
    room : Path, optional
        Where the results will be saved: refused before the fits if the disk has no room for them.
    rows : Chunked, dask.array or dask.dataframe, shape (M, D), optional
        All rows, of which x is a sample: em, map and cavi, which the methods must be among, are fitted to these. What is
        measured point by point is measured on x, and what would need the likelihood of all rows under many draws is left out.
    cache : bool
        Whether what JAX compiles is kept in the user's folder for caches: a second run of the same model takes less long.
    **options
        ``draws``, ``chains``, ``tune``, ``sampler``, ``metric``, ``restarts``, ``reg_covar``, ``advi_steps``, ``reference``,
        ``device``, ``two_sample``; see `reports.comparison.catalogue.Options`.

    Returns
    -------
    Compared

    Raises
    ------
    ValueError
        If an argument is outside its range. A method that fails does not raise: it is found under ``failures``.
    OSError
        If there is no ``room``.
    """
    began = time.perf_counter()
    assert isinstance(progress, Watch)  # `watched` has made it one
    tell = progress.tell
    facts = dict(facts or {})
    settings = Options(**options)
    rng = generator(rng)
    x, sequences = in_sequences(x, sequences)
    ordered = sequences is not False
    methods = default_methods(start) if methods is None else methods
    methods = check_methods([methods] if isinstance(methods, str) else methods)
    check_order(methods, settings.reference, ordered, start, sticky)
    check_covariance(covariance)
    split_rng, sample_rng, *method_rngs = rng.spawn(2 + len(METHODS))
    data = prepare(
        x,
        labels,
        features,
        truth,
        test_fraction,
        standardize,
        split_rng,
        kinds=kinds,
        levels=levels,
        index=index,
        missing=missing,
        sequences=sequences,
    )
    check_covariance(covariance, data.kinds)
    check_reg_covar(settings.reg_covar, data.kinds)
    methods, data = _without_undrawn(methods, default_methods(start), settings.reference, data, covariance)
    if rows is not None:
        rows = _as_all_rows(rows)
        check_sampled(methods, settings.reference, data, test_fraction, standardize, bool(extra))
        data = replace(data, n_fitted=len(rows))
    else:
        data, rows = thinned(data, split_rng)
    n_fitted = len(data.x) if rows is None else len(rows)
    _check_components(n_components, n_fitted, data)
    pixels = check_image(image, data)
    each = numbers_of(data.kinds, data.n_levels)
    check_comparison(data.x.shape[1], n_components, methods, settings, each)
    if room:
        points = sum(METHODS[method].kind == "point" for method in methods)
        posteriors = len(methods) + len(extra or ()) - points
        n, d = data.x.shape
        check_space(room, size(posteriors, points, n, d, n_components, settings, each))
    family = data.model(n_components, covariance, prior, rows)
    allocation: Allocation = (
        Markov.symmetric(n_components, alpha0, alpha0, sticky=sticky, start=start)  # type: ignore[arg-type]
        if ordered
        else Dirichlet.symmetric(n_components, alpha0)
    )
    if extra and test_fraction:
        raise ValueError("added methods may have seen the rows that test_fraction would hold out; leave it at 0")
    check_names(extra or ())
    added = {method: as_added(method, result, data, family, allocation) for method, result in (extra or {}).items()}
    if not isinstance(rows, Chunked):
        methods = _with_reference(methods, settings.reference, n_fitted, family, allocation)

    progress.plan([*(method for method in METHODS if method in methods), "measure"])
    fitting = Fitting(data.points if rows is None else rows, data.features, family, allocation, settings, cache)
    fits, entries = fitting.all(methods, method_rngs, progress)
    for method, joined in added.items():
        fits[method] = joined.fit
        entries[method] = entry_of_added(joined)

    fitted = time.perf_counter()
    tell("measure", "running")
    manifest: dict[str, Any] = {
        "format": FORMAT,
        **facts_of.describe_run("reports.compare(...)", facts),
        "data": facts_of.describe_data(data, name, standardize, facts),
        "model": facts_of.describe_model(family, allocation, prior or ()) | facts_of.describe_columns(data, pixels),
        "methods": entries,
        "options": asdict(settings),
    }
    with one_core(executor):
        measured = (
            in_order.measure(fits, data, settings, sample_rng)
            if ordered
            else measure(fits, data, settings, sample_rng, executor)
        )
    manifest |= measured.facts
    for method, fit in measured.fits.items():
        if fit.kind == "mcmc":
            entries[method]["converged"] = fit.converged
    for method, judged in manifest["references"].items():
        entries[method]["converged"] = judged["trusted"]
    tell("measure", "done")
    ended = time.perf_counter()
    importing = sum(entry["seconds"].get("import", 0.0) for entry in entries.values())
    manifest["timings"] = {
        "import_s": importing,
        "fits_s": fitted - began - importing,
        "metrics_s": ended - fitted,
        "total_s": ended - began,
        "peak_memory_mb": facts_of.peak_memory(),
    }
    failures = {method: entry["error"] for method, entry in entries.items() if entry["status"] == "failed"}
    results = Results(manifest, frame(measured.rows), data.dataset(), measured.trees)
    return Compared(measured.fits, failures, results)


def _without_undrawn(
    methods: tuple[str, ...], default: tuple[str, ...], reference: str, data: Data, covariance: str
) -> tuple[tuple[str, ...], Data]:
    """The methods without Gibbs sampling where it cannot draw what is missing, with a note; where it was asked for, refuse."""
    if not undrawn(data, [covariance]) or "gibbs" not in (*methods, reference):
        return methods, data
    if reference == "gibbs" or set(methods) != set(default):
        raise ValueError(f"gibbs cannot draw {UNDRAWN}; choose other methods, or covariance diag or spherical")
    note = f"left out Gibbs sampling, which cannot draw {UNDRAWN}"
    left = tuple(method for method in methods if method != "gibbs")
    return left, replace(data, notes=(*data.notes, note))


def _as_all_rows(rows: Any) -> Any:
    """All rows, of which the data are a sample, as `Chunked`."""
    if not (held(rows) or isinstance(rows, Chunked)):
        raise ValueError(f"rows is {rows!r:.60}; expected all rows as a dask.array or dask.dataframe")
    return as_rows(rows)


def _check_components(K: int, n: int, data: Data) -> None:
    """Refuse a number of clusters that n rows to fit, or their levels, cannot have."""
    check_whole("n_components", K)
    if not 1 <= K <= n:
        raise ValueError(f"n_components is {K}; expected 1 to {n}, the number of rows to fit")
    if "gaussian" not in data.kinds:
        datasets.check_components(data.x, K, kinds=data.kinds)


def _with_reference(
    methods: tuple[str, ...], reference: str, n: int, family: Family, allocation: Allocation
) -> tuple[str, ...]:
    """The methods and, if it is not among them, the reference they are to be held against."""
    if reference == "auto":
        from mixtures.methods.exact_cost import cost

        conjugate = getattr(allocation, "start", "free") == "free"
        reference = "exact" if conjugate and cost(n, family, allocation).affordable else methods[0]
    return tuple(dict.fromkeys([*methods, reference]))
