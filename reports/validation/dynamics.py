"""Fit one linear dynamical system by several methods, and hold them against NUTS in what the likelihood tells of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.dynamics import cavi
from mixtures.dynamics.checks import UNBOUNDED, bounded
from mixtures.dynamics.joint import Joint
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.engines.kalman import as_data
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from reports.comparison.catalogue import STARTS
from reports.comparison.given import names_of_series
from reports.comparison.names import check_known
from reports.comparison.progress import Asked, Watch, watched
from reports.validation import catalogue
from reports.validation.catalogue import EDGE, HOME, Method, Options, sizes
from reports.validation.run import Validated, assembled, check_size, run

if TYPE_CHECKING:
    import xarray as xr

    from reports.validation.results import Joined
    from reports.validation.system import SystemTarget


# Gain of a step in nats a row at which an ascent has settled here: latent systems have ridges, on which more takes minutes.
SETTLED = 1e-6

# Of Gibbs sampling: discarded sweeps, sweeps for each draw, and how often both are doubled where the chains do not agree yet.
TUNE, THIN, DOUBLINGS = 500, 5, 4


def _ours(title: str, kind: str, name: str, bound: str | None = None) -> Method:
    def settings(o: Options) -> dict[str, Any]:
        drawn = {} if kind == "point" else sizes(o)
        how = {"tune": TUNE, "thin": THIN, "doublings": DOUBLINGS} if kind == "mcmc" else {"tol": SETTLED}
        return {"method": name} | drawn | how

    return Method(title, kind, f"{HOME}.dynamics", settings, bound, tells=kind == "mcmc")


METHODS: dict[str, Method] = {
    "em": _ours("EM (Shumway & Stoffer 1982)", "point", "em", "log likelihood"),
    "map": _ours("EM, posterior mode", "point", "map", "log posterior density"),
    "cavi": _ours("coordinate-ascent VB (Beal 2003)", "variational", "cavi", "ELBO"),
    "gibbs": _ours("Gibbs, states drawn backwards (Carter & Kohn 1994)", "mcmc", "gibbs"),
    **{name: catalogue.METHODS[name] for name in ("advi", "advi-fullrank", "nuts")},
}
"""In the order in which they are run."""

DEFAULT = ("em", "map", "cavi", "gibbs", "advi", "nuts")

# Rows beyond which ADVI and NUTS run only where they are named: their gradients take milliseconds, and they need 10^5 and more.
LONG = 500


@watched
def compare(
    x: Rows,
    model: LinearDynamics,
    *,
    rng: Rng,
    methods: Sequence[str] | None = None,
    features: Sequence[str] = (),
    index: Sequence[str] = (),
    name: str = "series",
    truth: Theta | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Asked = None,
    cache: bool = True,
    **options: Any,
) -> Validated:
    """Fit a linear dynamical system by several methods, and compare what the likelihood tells of it.

    Parameters
    ----------
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing.
    model : LinearDynamics
        Under its priors or, where it has none, those of `LinearDynamics.with_prior`. EM has no use for them.
    rng : numpy.random.Generator or int
        Source of all randomness. Every method has a stream of its own.
    methods : sequence of str, optional
        Of em, map, cavi, gibbs, advi, advi-fullrank and nuts, by default those of `default_methods`. The reference joins them:
        nuts or, of more than `LONG` rows, gibbs.
    features, index : sequence of str
        Names of the features, and of the rows.
    name : str
        Name of the data.
    truth : dict of ndarray, optional
        Parameters that generated the data, by their names in the model and in any coordinates of the states: what is identified
        of them is marked. They need as many states as the model has.
    facts, progress, cache, **options
        See `reports.validation.run.validate`.

    Returns
    -------
    Validated

    Raises
    ------
    ValueError
        If x, the model, a method or an option cannot be used.
    """
    from models.cache import kept
    from reports.validation import ahead
    from reports.validation.kept import Shelf
    from reports.validation.measure import measure
    from reports.validation.system import SystemTarget

    began = time.perf_counter()
    assert isinstance(progress, Watch)  # `watched` has made it one
    if not isinstance(model, LinearDynamics):
        raise ValueError(
            f"model is {model!r}; expected a LinearDynamics, such as mixtures.dynamics.structure('local-level')"
        )
    N, D = as_data(x).x.shape
    features, index = names_of_series(features, index, N, D)
    chosen = check_methods(default_methods(model, N) if methods is None else methods, N, model)
    settings, rng = Options(**options), generator(rng)
    measure_rng, *method_rngs = rng.spawn(1 + len(METHODS))
    with kept(cache):
        progress.plan(["model", *(method for method in METHODS if method in chosen), "measure"])
        progress.tell("model", "running")
        target = SystemTarget.of_system(x, model, features)
        check_size(target, len(chosen), settings)
        true = {} if truth is None else target.identified(truth)
        progress.tell("model", "done")
        looked = time.perf_counter()
        shelf = Shelf.of(target, cache)
        joined: dict[str, Joined] = {}
        entries: dict[str, dict[str, Any]] = {}
        for (method, spec), own_rng in zip(METHODS.items(), method_rngs, strict=True):
            if method not in chosen:
                continue
            progress.tell(method, "running")
            tell = partial(progress.step, method)
            found, entries[method] = run(method, spec, target, settings, own_rng, shelf, tell)
            entries[method]["options"].pop("method", None)
            if found is not None and method == "gibbs":
                entries[method]["options"] |= {name: found.info[name] for name in ("tune", "thin")}
            if found is not None:
                joined[method] = found
            progress.tell(method, "failed" if found is None else "done")
        fitted = time.perf_counter()
        progress.tell("measure", "running")
        measured = measure(joined, target, measure_rng, truth=true)
        for method, own in joined.items():
            series = in_time(target, own)
            measured.trees[method] = measured.trees[method].assign(series=type(measured.trees[method])(series))
        rows, lfo = ahead.leave_future_out(target, joined, rng.spawn(1)[0])
        measured.rows.extend([*ahead.next_rows(target, joined, measured.facts["reference"]["method"]), *rows])
        progress.tell("measure", "done")
    seconds = {"model_s": looked - began, "fits_s": fitted - looked, "metrics_s": time.perf_counter() - fitted}
    extra: dict[str, Any] = {"dynamics": described(target), "prior_checks": [], "no_checks": None}
    extra["leave_future_out"] = lfo
    data = observed(target, index)
    facts = {"command": "reports.compare_dynamics(...)"} | dict(facts or {})
    return assembled(joined, entries, target, data, measured, settings, name, facts, true, seconds, extra)


def left_out(model: LinearDynamics, rows: int) -> dict[str, str]:
    """The methods of `DEFAULT` that run only where they are named, and why."""
    found: dict[str, str] = {}
    if rows > LONG:
        found |= dict.fromkeys(("advi", "nuts"), f"each of its many steps runs through {rows} rows in turn")
    return found | {method: why for method, why in unfit(model).items() if method in DEFAULT}


def unfit(model: LinearDynamics) -> dict[str, str]:
    """The methods that cannot fit a model, and why."""
    if not bounded(model):
        return {"em": UNBOUNDED}
    return {"cavi": cavi.STATIONARY, "advi": EDGE, "advi-fullrank": EDGE} if model.stationary else {}


def default_methods(model: LinearDynamics, rows: int) -> tuple[str, ...]:
    """The methods that are compared where none is named."""
    return tuple(method for method in DEFAULT if method not in left_out(model, rows))


def check_methods(methods: Sequence[str], rows: int = 0, model: LinearDynamics | None = None) -> tuple[str, ...]:
    """The names without repetitions and with the reference, or a ValueError that offers the nearest or says what cannot be."""
    cannot = {} if model is None else unfit(model)
    for method in methods:
        check_known("method", method, METHODS)
        if method in cannot:
            raise ValueError(f"{method} cannot fit {model.name}: {cannot[method]}")  # type: ignore[union-attr]
    return tuple(dict.fromkeys([*methods, "gibbs" if rows > LONG else "nuts"]))


def in_time(target: SystemTarget, own: Joined) -> xr.Dataset:
    """States, forecasts and innovations of a method, by some of its draws; see `reports.validation.identified.in_time`."""
    from reports.validation import identified

    theta = own.theta if own.u is None else target.theta(own.u)
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
    n = len(flat["transition"])
    places = np.unique(np.linspace(0, n, min(n, identified.DRAWS), endpoint=False).astype(int))
    found = identified.in_time(target.system, target.x, {name: v[places] for name, v in flat.items()})
    return found.assign_coords(feature=list(target.features))


def observed(target: SystemTarget, index: Sequence[str]) -> xr.Dataset:
    """The data, with the names of rows and where sequences begin."""
    import xarray as xr

    N = len(target.x)
    names = list(index) or [str(i) for i in range(1, N + 1)]
    return xr.Dataset(
        {"x": (("obs", "feature"), np.asarray(target.x.x, dtype=float))},
        coords={"feature": list(target.features), "index": ("obs", np.array(names, dtype=str))},
        attrs={"lengths": [int(n) for n in target.x.lengths]},
    )


def described(target: SystemTarget) -> dict[str, Any]:
    """What the manifest says of the model."""
    model: LinearDynamics = target.system
    return {
        "name": model.name,
        "states": model.H,
        "features": list(target.features),
        "lengths": [int(n) for n in target.x.lengths],
        "missing": int(np.isnan(target.x.x).sum()),
        "equations": list(model.equations),
        "matrices": matrices(model),
        "unknown": unknown(model),
        "priors": priors(model),
        "free": model.n_free(),
        "identified": model.identified(),
        "latent": target.latent,
    }


# Of the matrices of a model, in the order of `LinearDynamics.dims`.
LETTERS = ("A", "C", "Q", "R", "m0", "P0")

# Rows and columns up to which a matrix is written out.
SMALL = 4


def unknown(model: LinearDynamics) -> dict[str, bool]:
    """Whether a matrix has free entries, by its letter; a start that is diffuse or stationary has none of its own."""
    start = not (model.diffuse.all() or model.stationary)
    names = [name for name in model.dims if start or not name.startswith("initial")]
    free = {name: bool(np.isnan(np.asarray(getattr(model, name))).any()) for name in names}
    return dict(zip(LETTERS, free.values(), strict=False))


def matrices(model: LinearDynamics) -> list[str]:
    """The matrices of a model, with a question mark for a free entry."""
    found = []
    for letter, name in zip(LETTERS, model.dims, strict=True):
        value = np.asarray(getattr(model, name))
        if name.startswith("initial") and (model.stationary or model.diffuse.all()):
            continue
        if name == "emission" and model.loadings is not None:
            found.append("C_t: the regressors of each row")
        elif np.isnan(value).all():
            found.append(f"{letter} free")
        elif max(value.shape) > SMALL:
            found.append(f"{letter}: {' × '.join(map(str, value.shape))}, {int(np.isnan(value).sum())} entries free")
        else:
            rows = [
                " ".join("?" if np.isnan(v) else f"{v:g}" for v in row) for row in value.reshape(-1, value.shape[-1])
            ]
            found.append(f"{letter} = {rows[0] if value.size == 1 else '[' + '; '.join(rows) + ']'}")
    return found


def priors(model: LinearDynamics) -> list[str]:
    """The priors of a model, each as a distribution with its numbers; see `mixtures.dynamics.regression`."""
    found = []
    letters = (("A", "Q"), ("C", "R"), ("m0", "P0"))
    for (coefficients, noise), part in zip(letters, model.parts, strict=True):
        prior = part.prior
        if prior is None or part.settled:
            continue
        free, scales = np.isnan(np.diag(part.noise)), np.diag(prior.scale)[part.noisy]
        dof, S = float(np.max(prior.dof)), sorted({f"{v:.4g}" for v in scales[free]}, key=float)
        told = " to ".join(dict.fromkeys((S[0], S[-1]))) if S else ""
        if free.any() and isinstance(part, Joint):
            found.append(f"{noise}^-1 ~ Wishart(S0^-1, {dof:g}), diagonal of S0 {told}")
        elif free.any():
            rates = " to ".join(dict.fromkeys(f"{float(v) / 2:.4g}" for v in (S[0], S[-1])))
            found.append(f"1 / {noise} ~ Gamma({dof / 2:g}, {rates})")
        if part.free.any():
            K = sorted({f"{v:.4g}" for v in np.diag(prior.precision)}, key=float)
            told = " to ".join(dict.fromkeys((K[0], K[-1])))
            mean = "0" if not np.any(prior.mean) else "M0"
            spread = noise if told == "1" else f"{noise} / {told}"
            found.append(f"{coefficients} | {noise} ~ N({mean}, {spread})")
    return found


def named(spec: str, D: int, rows: int | None = None, start: str | None = None) -> LinearDynamics:
    """The model that a word such as "local-level", "seasonal=12" or "latent=2" stands for, for D features.

    ``rows``, if given, is the length of the longest sequence, which a number must be below. ``start`` is one of `STARTS`, by
    default free for latent states and an autoregression, and diffuse for other structures.

    Raises
    ------
    ValueError
        If there is none of this name, its number is missing or none, or it cannot start as asked.

    Examples
    --------
    >>> named("latent=2", 3).H, named("local-level", 1).n_free()
    (2, 2)
    """
    from mixtures.dynamics.structures import NAMES
    from reports.metrics.criteria import Candidate
    from reports.metrics.systems import LATENT, LEAST, NUMBERED, of

    if start is not None:
        check_known("start", start, STARTS)
    name, given, number = spec.partition("=")
    if name == "random-regression":
        raise ValueError(
            "random-regression needs its regressors; call reports.validation.dynamics.compare with the model"
        )
    check_known("structure", name, [*(own for own in NAMES if own != "random-regression"), LATENT])
    if given and not number.isdecimal():
        raise ValueError(f"--lds is {spec!r}; expected a whole number after =, such as latent=2 or seasonal=12")
    if given and rows is not None and int(number) >= rows:
        raise ValueError(f"--lds is {spec!r}, and the longest sequence has {rows} rows; give a number below that")
    if (name in NUMBERED) != bool(given):
        example = f"{name}={12 if name == 'seasonal' else 2}"
        says = f"the number of {NUMBERED[name]} too, such as {example}" if name in NUMBERED else f"{name} alone"
        raise ValueError(f"--lds is {spec!r}; expected {says}")
    if given and int(number) < LEAST[name]:
        raise ValueError(f"--lds is {spec!r}; expected {LEAST[name]} or more {NUMBERED[name]}")
    return of(Candidate(name, int(number) if given else 0), D, start)


def sequences(x: np.ndarray, lengths: Sequence[int]) -> Sequences:
    """The rows of a table as sequences: one, where nothing is known of lengths."""
    return Sequences(x, list(lengths) or [len(x)])
