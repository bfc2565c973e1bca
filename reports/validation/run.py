"""Hold results made elsewhere, and methods of our own, against a trusted sampler, for any PyMC model."""

from __future__ import annotations

import hashlib
import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures.checks import as_numbers
from mixtures.seeds import Rng, generator
from reports.comparison import manifest as facts_of
from reports.comparison.added import check_names
from reports.comparison.capacity import check_validation
from reports.comparison.entries import entry_of, noted, plain
from reports.comparison.names import check_known
from reports.comparison.progress import Asked, Watch, watched
from reports.comparison.results import FORMAT_OF_VALIDATION, VALIDATION, Results
from reports.comparison.tables import frame
from reports.validation.catalogue import DEFAULT, METHODS, OFFERED, Method, Options

if TYPE_CHECKING:
    import pymc as pm
    import xarray as xr

    from reports.validation.kept import Shelf
    from reports.validation.measure import Measured
    from reports.validation.results import Joined
    from reports.validation.target import Target

Tell = Callable[[int, int], None]

TITLES = {
    "mcmc": "added: draws of a Markov chain",
    "draws": "added: independent draws",
    "variational": "added: draws of a q",
}


class Validated(NamedTuple):
    """Draws by method, what went wrong by method, and the numbers from which tables and pages are made."""

    joined: dict[str, Joined]
    failures: dict[str, str]
    results: Results


@watched
def validate(
    model: pm.Model,
    results: Mapping[str, Any] | None = None,
    *,
    rng: Rng,
    methods: str | Sequence[str] = DEFAULT,
    truth: Mapping[str, Any] | None = None,
    name: str = "model",
    facts: Mapping[str, Any] | None = None,
    progress: Asked = None,
    cache: bool = True,
    **options: Any,
) -> Validated:
    """Hold results of your own against a trusted posterior of any PyMC model.

    Parameters
    ----------
    model : pymc.Model
        With continuous free variables; discrete ones are summed out where pymc-extras is installed.
    results : mapping, optional
        By name: draws by variable name (a DataTree such as `pymc.sample` returns, a Dataset, a mapping of arrays (draw, ...) or
        (chain, draw, ...), or the path of a file), with ``log_q`` or without, or an object with ``sample(n, rng)`` and
        ``log_prob(values)``; see `reports.validation.results`.
    rng : numpy.random.Generator or int
        Source of all randomness. Every method has a stream of its own.
    methods : str or sequence of str
        Of advi, advi-fullrank, laplace, pathfinder, smc and nuts, which joins them as the reference.
    truth : mapping, optional
        Values of variables that generated the data, shown beside the posteriors.
    name : str
        Name of the model.
    facts : mapping, optional
        What the manifest should know besides: ``command``, ``seed``, ``source`` of the model.
    progress : bool, callable or Watch, optional
        True shows a bar; see `reports.comparison.run.compare`.
    cache : bool
        Whether what JAX compiles, and the draws of each method, are kept in the user's folder for caches, so that a second run
        of the same model takes less long; see `reports.validation.kept`.
    **options
        ``draws``, ``chains``, ``tune``, ``sampler``, ``second_sampler``, ``target_accept``, ``advi_steps``, ``moves``; see
        `reports.validation.catalogue.Options`.

    Returns
    -------
    Validated

    Raises
    ------
    ValueError
        If the model or a result cannot be used, or an argument is outside its range. A method that fails does not raise: it is
        found under ``failures``.
    """
    from models.cache import kept
    from reports.validation.kept import Shelf
    from reports.validation.target import Target

    began = time.perf_counter()
    assert isinstance(progress, Watch)  # `watched` has made it one
    facts, settings, rng = dict(facts or {}), Options(**options), generator(rng)
    chosen = check_methods([methods] if isinstance(methods, str) else methods, settings)
    check_names(results or (), METHODS)
    added_rng, measure_rng, *method_rngs = rng.spawn(2 + len(METHODS))
    with kept(cache):
        progress.plan(["model", *(method for method in METHODS if method in chosen), "measure"])
        progress.tell("model", "running")
        target = Target.of(model)
        check_size(target, len(chosen) + len(results or ()), settings)
        joined, entries = _added(results or {}, target, settings, added_rng)
        check_truth(truth, target)
        progress.tell("model", "done")
        looked = time.perf_counter()
        ours: dict[str, Joined] = {}
        shelf = Shelf.of(target, cache)
        for method, own_rng in zip(METHODS, method_rngs, strict=True):
            if method not in chosen:
                continue
            progress.tell(method, "running")
            tell = partial(progress.step, method)
            found, entries[method] = run(method, METHODS[method], target, settings, own_rng, shelf, tell)
            if found is not None:
                ours[method] = found
            progress.tell(method, "failed" if found is None else "done")
        joined |= {method: ours[method] for method in chosen if method in ours}
        entries = {method: entries[method] for method in (*(results or ()), *chosen)}
        fitted = time.perf_counter()
        progress.tell("measure", "running")
        from reports.validation.measure import measure

        data = _observed(target)
        measured = measure(joined, target, measure_rng, observed=data, truth=truth)
        progress.tell("measure", "done")
    seconds = {"model_s": looked - began, "fits_s": fitted - looked, "metrics_s": time.perf_counter() - fitted}
    return assembled(joined, entries, target, data, measured, settings, name, facts, truth or {}, seconds)


def assembled(
    joined: dict[str, Joined],
    entries: dict[str, dict[str, Any]],
    target: Target,
    data: xr.Dataset,
    measured: Measured,
    settings: Options,
    name: str,
    facts: Mapping[str, Any],
    truth: Mapping[str, Any],
    seconds: Mapping[str, float],
    extra: Mapping[str, Any] | None = None,
) -> Validated:
    """The results, with the manifest, of which ``extra`` is a part too."""
    manifest: dict[str, Any] = {
        "kind": VALIDATION,
        "format": FORMAT_OF_VALIDATION,
        **facts_of.describe_run("reports.validate(...)", facts),
        "data": _describe_data(data, name, facts),
        "model": _describe_model(target),
        "truth": {key: np.asarray(value).tolist() for key, value in truth.items()},
        "methods": entries,
        "options": asdict(settings),
        **measured.facts,
        **(extra or {}),
        "timings": {**seconds, "total_s": sum(seconds.values()), "peak_memory_mb": facts_of.peak_memory()},
    }
    for method, judged in manifest["references"].items():
        entries[method]["converged"] = judged["trusted"]
    failures = {method: entry["error"] for method, entry in entries.items() if entry["status"] == "failed"}
    return Validated(joined, failures, Results(manifest, frame(measured.rows), data, measured.trees))


def check_methods(methods: Sequence[str], settings: Options) -> tuple[str, ...]:
    """The names without repetitions and with the reference, or a ValueError that offers the nearest."""
    for method in methods:
        check_known("method", method, OFFERED)
    second = ["nuts-2"] if settings.second_sampler else []
    return tuple(dict.fromkeys([*methods, "nuts", *second]))


def check_size(target: Target, methods: int, options: Options) -> None:
    """Refuse draws of so many methods, those that were added too, that memory cannot hold.

    Raises
    ------
    ValueError
    """
    size = sum(math.prod(variable.shape) for variable in target.variables.values())
    check_validation(size, methods, options.chains, options.draws, options.tune, options.advi_steps)


def check_truth(truth: Mapping[str, Any] | None, target: Target) -> None:
    """Refuse true values of variables that the model does not have, or of other shapes.

    Raises
    ------
    ValueError
    """
    for name, value in (truth or {}).items():
        check_known("variable", name, target.variables)
        if (shape := as_numbers(f"truth of {name!r}", value).shape) != target.variables[name].shape:
            raise ValueError(f"truth has {name!r} of shape {shape}; expected {target.variables[name].shape}")


def _added(
    results: Mapping[str, Any], target: Target, options: Options, rng: np.random.Generator
) -> tuple[dict[str, Joined], dict[str, dict[str, Any]]]:
    """Results made elsewhere, and their entries in the manifest."""
    from reports.validation.results import as_result, rearranged

    joined, entries = {}, {}
    for (name, given), own in zip(results.items(), rng.spawn(len(results)), strict=True):
        found = as_result(name, given, target, rng=own, draws=options.chains * options.draws)
        joined[name] = rearranged(found, options.chains)
        entries[name] = entry_of(TITLES[found.kind], found.kind, None, {}) | {
            "status": "ok",
            "added": True,
            "missing": list(found.missing),
            "ignored": list(found.ignored),
        }
    return joined, entries


def run(
    method: str, spec: Method, target: Target, options: Options, rng: np.random.Generator, shelf: Shelf, tell: Tell
) -> tuple[Joined | None, dict[str, Any]]:
    """One method's draws, or None where it failed, and its entry in the manifest; draws that are kept are taken."""
    settings = spec.settings(options)
    entry = entry_of(spec.title, spec.kind, spec.bound_kind, settings) | {"missing": []}
    place = shelf.place(method, settings, rng)
    if (kept := shelf.take(place)) is not None:
        joined, said = kept
        return joined, entry | said | _success(joined, joined.seconds)
    if spec.tells:
        settings = settings | {"tell": tell}
    found = None
    with noted(entry):
        began = time.perf_counter()
        module = importlib.import_module(spec.module)
        imported = time.perf_counter() - began
        found = module.fit(target, rng=rng, **settings)
    if found is not None:
        entry |= _success(found, {"import": imported} | found.seconds)
        shelf.put(place, found, entry)
    return found, entry


def _success(found: Joined, seconds: Mapping[str, float]) -> dict[str, Any]:
    return {"status": "ok", "converged": found.converged, "seconds": dict(seconds), "info": plain(found.info)}


def _observed(target: Target) -> xr.Dataset:
    """The observed variables."""
    import xarray as xr
    from pymc.backends.arviz import find_observations

    from reports.validation.scales import safe

    variables = {}
    for name, value in find_observations(target.model).items():
        a = np.ma.filled(np.ma.asarray(value, dtype=float), np.nan)
        variables[safe(name)] = (tuple(f"{safe(name)}_axis_{axis}" for axis in range(a.ndim)), a)
    return xr.Dataset(variables)


def _describe_data(data: xr.Dataset, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for variable in data.data_vars.values():
        digest.update(np.ascontiguousarray(variable.values).tobytes())
    return {
        "name": name,
        "source": facts.get("source"),
        "n": int(sum(v.size for v in data.data_vars.values())),
        "observed": {str(key): list(v.shape) for key, v in data.data_vars.items()},
        "digest": digest.hexdigest(),
        "notes": list(facts.get("notes", ())),
    }


def _graph(model: pm.Model) -> str | None:
    """The model's graph as SVG, where Graphviz is there to draw it.

    PyMC draws from the variables to learn their shapes, which flat priors, custom distributions or extreme values may prevent.
    """
    from shutil import which
    from subprocess import CalledProcessError

    if which("dot") is None:
        return None
    try:
        import pymc as pm
        import pytensor

        with pytensor.config.change_flags(
            cxx=""
        ):  # else PyTensor compiles a program, to learn what the compiler can do
            graph = pm.model_to_graphviz(model)
        return str(graph.pipe(format="svg").decode())
    except (ImportError, NotImplementedError, ValueError, CalledProcessError):  # the program may lack its package
        return None


def _describe_model(target: Target) -> dict[str, Any]:
    from reports.validation.scales import safe

    return {
        "text": target.model.str_repr(),
        "graph": _graph(target.model) if target.graphic else None,
        "variables": {
            safe(name): {"shape": list(v.shape), "free": v.free, "scale": v.scale}
            for name, v in target.variables.items()
        },
        "blocks": {safe(name): [safe(name)] for name in target.variables},
        "left_out": list(target.left_out),
        "flat_priors": list(target.flat_priors),
        "n_parameters": target.size,
        "notes": list(target.notes),
    }
