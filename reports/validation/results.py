"""Results that were made elsewhere, checked against the model and given one form.

A result is one of

    draws           by variable name, each (draw, *shape) or (chain, draw, *shape): an `xarray.DataTree` with a group
                    ``posterior``, such as `pymc.sample` returns, an `xarray.Dataset`, a mapping of arrays, or a file of one
                    of these (zarr, netCDF, .npz)
    draws of q      the same with ``log_q``, log q of every draw in nats, (draw) or (chain, draw), with all its constants
    q itself        an object with ``sample(n, rng)``, which returns a mapping of arrays (n, *shape), and ``log_prob(values)``,
                    which returns (n,) for such a mapping

on the scales of the model, as its variables are, or on unconstrained ones: then a variable has the name that PyMC gives it
there (``tau_log__``), or the result says so of all of its free variables by ``scale = "unconstrained"``, as an attribute of
the object or of the tree or as an entry of the mapping. A density q is over the variables as they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.comparison.added import KINDS, is_pickle, read_arrays
from reports.validation.target import FEWEST_DRAWS, Target, Variable

if TYPE_CHECKING:
    import xarray as xr

# Draws of a chain up to which more chains than draws are taken for axes that were exchanged.
TRANSPOSED = 10

# Share of a variable's largest value by which draws may be rounded.
ROUNDED = 0.01
LOG_Q, SCALE = "log_q", "scale"
CONSTRAINED, UNCONSTRAINED = "constrained", "unconstrained"


@dataclass(frozen=True)
class Joined:
    """The draws of one method and what is known of them.

    Parameters
    ----------
    values : dict of ndarray, shape (chain, draw, *shape)
        Free variables and deterministics on the scales of the model, in its order.
    kind : {"mcmc", "variational", "draws", "point"}
        Draws from a Markov chain, independent ones from a q with a density, or independent ones; or a single point.
    u : ndarray, shape (chain, draw, P), optional
        Unconstrained values, where all free variables are there.
    log_q : ndarray, shape (chain, draw), optional
        log q(u) in nats.
    missing : tuple of str
        Variables of the model that are not there.
    stats : dict of ndarray, shape (chain, draw)
        A sampler's statistics.
    bound : ndarray
        The trace of an optimiser's objective, in nats; empty where there is none.
    converged : bool, optional
    seconds : dict of float
    info : dict
    theta : dict of ndarray, shape (chain, draw, ...)
        Parameters of a point of a linear dynamical system, which has no unconstrained values where a variance is zero.
    unjudged : tuple of str
        Variables that are shown and not compared, such as a log likelihood at its own maximum.
    ignored : tuple of str
        Names that came with it and that the model does not have.
    added : bool
        Whether it was made elsewhere.
    """

    values: dict[str, np.ndarray]
    kind: str
    u: np.ndarray | None = None
    log_q: np.ndarray | None = None
    missing: tuple[str, ...] = ()
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    bound: np.ndarray = field(default_factory=lambda: np.empty(0))
    converged: bool | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    theta: Mapping[str, np.ndarray] = field(default_factory=dict)
    unjudged: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    added: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Chains and draws."""
        chains, draws = next(iter(self.values.values())).shape[:2]
        return chains, draws

    @property
    def independent(self) -> bool:
        """Whether the draws are, as all are but those of a Markov chain."""
        return self.kind != "mcmc"


class Raw(NamedTuple):
    """What was found in a result: its arrays, what it says of itself, and a sampler's statistics."""

    arrays: Mapping[str, np.ndarray]
    log_q: np.ndarray | None = None
    kind: str | None = None
    scale: str = CONSTRAINED
    stats: Mapping[str, np.ndarray] = {}


def from_unconstrained(target: Target, u: np.ndarray, kind: str, **facts: Any) -> Joined:
    """Draws u (chain, draw, P) with all variables of the model; ``facts`` are those of `Joined`."""
    flat = target.constrain(u.reshape(-1, u.shape[-1]))
    values = {name: a.reshape(*u.shape[:2], *a.shape[1:]) for name, a in flat.items()}
    return Joined(values, kind, u, **facts)


def as_result(name: str, given: Any, target: Target, *, rng: np.random.Generator, draws: int = 4000) -> Joined:
    """A result in the form of `Joined`.

    Parameters
    ----------
    name : str
        What the result is called.
    given
        See the module.
    target : Target
    rng : numpy.random.Generator
        Given to ``sample`` of an object.
    draws : int
        How many it is asked for.

    Raises
    ------
    ValueError
        If it does not fit the model or is no distribution; the message has its name.
    """
    try:
        return replace(_joined(_raw(given, target, rng, draws), target), added=True)
    except ValueError as error:
        raise ValueError(f"result {name!r}: {error}") from error


def _raw(given: Any, target: Target, rng: np.random.Generator, draws: int) -> Raw:
    import xarray as xr

    if isinstance(given, str | Path):
        if Path(given).is_file() and is_pickle(Path(given)):
            raise ValueError(
                f"{given} is a pickle, which may run any code when it is read: save the draws with numpy.savez, or as a "
                "DataTree with to_netcdf"
            )
        given = read_arrays(Path(given), [*target.variables, *target.flat.shapes, LOG_Q])
    if isinstance(given, xr.Dataset):
        given = xr.DataTree(given)
    if isinstance(given, xr.DataTree):
        return _from_tree(given, target)
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if callable(getattr(given, "sample", None)) and callable(getattr(given, "log_prob", None)):
        return _from_object(given, rng, draws)
    raise ValueError(
        f"it is a {type(given).__name__}; expected draws by variable name as a DataTree, a Dataset, a mapping of arrays or a "
        "path, or an object with sample(n, rng) and log_prob(values)"
    )


def _from_mapping(given: Mapping[Any, Any], scale: str | None = None) -> Raw:
    arrays = {str(key): value for key, value in given.items()}
    if isinstance(arrays.get(SCALE), str):
        scale = arrays.pop(SCALE)
    log_q = arrays.pop(LOG_Q, None)
    return Raw(
        {key: _numbers(key, value) for key, value in arrays.items()},
        None if log_q is None else _numbers(LOG_Q, log_q),
        scale=scale or CONSTRAINED,
    )


def _from_object(q: Any, rng: np.random.Generator, draws: int) -> Raw:
    values = q.sample(draws, rng)
    if not isinstance(values, Mapping):
        raise ValueError(f"sample(n, rng) returned a {type(values).__name__}; expected a mapping of arrays (n, ...)")
    raw = _from_mapping(values, getattr(q, SCALE, None))
    for key, a in raw.arrays.items():
        if a.shape[:1] != (draws,):
            raise ValueError(f"sample({draws}, rng) returned {key!r} of shape {a.shape}; expected ({draws}, ...)")
    log_q = _numbers("log_prob(values)", q.log_prob(values))
    return raw._replace(log_q=log_q, kind="variational")


def _from_tree(tree: xr.DataTree, target: Target) -> Raw:
    """The arrays of a tree's posterior, axes in the order of the model, which has their labels."""
    posterior = _unstacked((tree["posterior"] if "posterior" in tree.children else tree).to_dataset())
    arrays = {}
    for key, variable in posterior.data_vars.items():
        own = target.variables.get(str(key))
        if ("chain" in variable.dims) != ("draw" in variable.dims) and "chain" in variable.dims:
            raise ValueError(f"{key} has dims {variable.dims}; expected chain and draw first")
        if own is not None:
            variable = _ordered(str(key), variable, own)
        arrays[str(key)] = variable.transpose("chain", "draw", ..., missing_dims="ignore").values
    kind = posterior.attrs.get("kind", tree.attrs.get("kind"))
    if not isinstance(kind, str | None) or kind not in KINDS:
        raise ValueError(
            f'attrs["kind"] is {kind!r}; expected "mcmc" for a Markov chain or "draws" for independent draws'
        )
    stats: dict[str, np.ndarray] = {}
    if "sample_stats" in tree.children:
        stats = {
            str(stat): v.transpose("chain", "draw").values
            for stat, v in tree["sample_stats"].data_vars.items()
            if set(v.dims) == {"chain", "draw"} and v.dtype.kind in "bfiu"
        }
    log_q = arrays.pop(LOG_Q, None)
    log_q = stats.pop(LOG_Q, None) if log_q is None else log_q
    kind = KINDS[kind] or ("mcmc" if stats and log_q is None else None)
    scale = posterior.attrs.get(SCALE, tree.attrs.get(SCALE, CONSTRAINED))
    checked = {key: _numbers(key, a) for key, a in arrays.items()}
    return Raw(checked, log_q, kind, scale, stats if kind == "mcmc" else {})


def _unstacked(posterior: xr.Dataset) -> xr.Dataset:
    """Draws along ``sample``, as `arviz.extract` puts them, along chain and draw again, or draw where it has no labels."""
    if "sample" not in posterior.dims:
        return posterior
    if {"chain", "draw"} <= set(posterior.indexes["sample"].names if "sample" in posterior.indexes else ()):
        return posterior.unstack("sample")
    return posterior.rename(sample="draw")


def _ordered(key: str, variable: xr.DataArray, own: Variable) -> xr.DataArray:
    """A variable with its entries in the order of the model's labels, where it has labels of its own."""
    for dim, labels in zip(own.dims, own.labels, strict=True):
        if dim not in variable.indexes:
            continue
        theirs = [str(label) for label in variable[dim].values]
        if sorted(theirs) != sorted(labels):
            raise ValueError(f"{key} has the labels {theirs} along {dim}; the model has {list(labels)}: rename them")
        variable = variable.isel({dim: [theirs.index(label) for label in labels]})
    if set(own.dims) <= set(variable.dims):
        variable = variable.transpose("chain", "draw", *own.dims, missing_dims="ignore")
    return variable


def _numbers(key: str, values: Any) -> np.ndarray:
    if np.iscomplexobj(values):
        raise ValueError(f"{key!r} holds complex numbers; expected an array of draws")
    try:
        a = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{key!r} holds no numbers; expected an array of draws") from None
    if np.isnan(a).any() or (np.isinf(a).any() and key != LOG_Q):
        bad = int((~np.isfinite(a)).sum())
        raise ValueError(f"{key!r} has {bad} {'value that is' if bad == 1 else 'values that are'} NaN or infinite")
    return a


def _joined(raw: Raw, target: Target) -> Joined:
    if raw.scale not in (CONSTRAINED, UNCONSTRAINED):
        raise ValueError(f"its scale is {raw.scale!r}; expected {CONSTRAINED!r} or {UNCONSTRAINED!r}")
    of_value = dict(zip(target.flat.shapes, target.free, strict=True))
    ignored = _check_names(raw, target, of_value)
    shapes = {name: v.shape for name, v in target.variables.items()}
    values_by_u = dict(zip(target.free, target.flat.shapes.items(), strict=True))
    constrained: dict[str, np.ndarray] = {}
    free: dict[str, np.ndarray] = {}
    for key, a in raw.arrays.items():
        name = of_value.get(key, key)
        if name not in shapes:
            continue
        unconstrained = name in values_by_u and (raw.scale == UNCONSTRAINED or (key in of_value and key != name))
        shape = values_by_u[name][1] if unconstrained else shapes[name]
        (free if unconstrained else constrained)[name] = _led(key, a, shape)
    if free:  # what has no transform is the same on both scales
        free |= {name: a for name, a in constrained.items() if values_by_u.get(name, ("",))[0] == name}
    _check_sizes(constrained | free)
    chains, draws = next(iter((constrained | free).values())).shape[:2]
    if chains > draws and draws <= TRANSPOSED:
        raise ValueError(
            f"it has {chains} chains of {draws} draws; are its axes (draw, chain) where (chain, draw) is expected?"
        )
    if chains * draws < FEWEST_DRAWS:
        raise ValueError(f"it has {chains * draws} draws; posterior summaries need at least {FEWEST_DRAWS}")
    u, jacobian = _unconstrained(constrained, free, target, (chains, draws))
    if free and u is None:
        lacking = [name for name in target.free if name not in constrained | free]
        raise ValueError(
            f"it lacks {', '.join(lacking)}, without which unconstrained values cannot be brought to the model"
        )
    if u is not None:
        whole = from_unconstrained(target, u, "draws").values
        check_form({name: a for name, a in constrained.items() if name in target.free}, whole)
        values = whole | constrained
    else:
        values = constrained
    values = {name: values[name] for name in target.variables if name in values}
    log_q = None
    if raw.log_q is not None:
        log_q = _log_q(raw.log_q, (chains, draws))
        if u is None:
            lacking = [name for name in target.free if name not in constrained]
            raise ValueError(f"it has {LOG_Q} and lacks {', '.join(lacking)}: q has to be over all free variables")
        log_q = log_q + jacobian
    kind = raw.kind or ("variational" if log_q is not None else "mcmc" if chains > 1 else "draws")
    if kind == "draws" and log_q is not None:
        kind = "variational"
    missing = tuple(name for name in target.variables if name not in values)
    return Joined(values, kind, u, log_q, missing, raw.stats, ignored=ignored)


def _check_names(raw: Raw, target: Target, of_value: Mapping[str, str]) -> tuple[str, ...]:
    """Refuse names close to one that the model has, which they may be meant to be, and return those like none."""
    known = [*target.variables, *of_value, *target.left_out, *(str(v.name) for v in target.model.observed_RVs)]
    also = {str(v.name) for v in target.model.basic_RVs} | set(target.model.named_vars)
    unknown = [key for key in raw.arrays if key not in known and key not in also]
    folded = {name.casefold(): name for name in reversed(known)}
    near = [
        (key, folded[found[0]])
        for key in unknown
        if (found := get_close_matches(key.casefold(), folded, n=1, cutoff=0.5))
    ]
    if not any(of_value.get(key, key) in target.variables for key in raw.arrays):
        hint = "".join(f"; is {key!r} meant to be {found!r}?" for key, found in near)
        others = f", but {', '.join(raw.arrays)}" if raw.arrays else ""
        raise ValueError(f"it has none of the model's variables {', '.join(target.variables)}{others}{hint}")
    if near:
        hint = "; ".join(f"is {key!r} meant to be {found!r}?" for key, found in near)
        raise ValueError(f"the model has no {', '.join(map(repr, [key for key, _ in near]))}; {hint}")
    return tuple(unknown)


def _led(key: str, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draws (chain, draw, *shape)."""
    lead = a.ndim - len(shape)
    if lead not in (1, 2) or a.shape[lead:] != shape:
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"{key!r} has shape {a.shape}; expected (draw{f', {expected}' if shape else ''}) or "
            f"(chain, draw{f', {expected}' if shape else ''})"
        )
    return a[None] if lead == 1 else a


def _check_sizes(values: Mapping[str, np.ndarray]) -> None:
    sizes = {name: a.shape[:2] for name, a in values.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {chains} x {draws}" for name, (chains, draws) in sizes.items())
        odd = [name for name, (chains, draws) in sizes.items() if chains > draws]
        read = (
            f": is {odd[0]!r}, read as {' chains of '.join(map(str, sizes[odd[0]]))} draws, of the model's shape?"
            if odd
            else ""
        )
        raise ValueError(f"its variables have different numbers of chains and draws ({said}){read}")


def _unconstrained(
    constrained: Mapping[str, np.ndarray], free: Mapping[str, np.ndarray], target: Target, sizes: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | float]:
    """Unconstrained values (chain, draw, P) where all free variables are there, and log |dx / du| of those that were x.

    Raises
    ------
    ValueError
        If a variable is outside its support.
    """
    for name, a in constrained.items():
        own = target.variables[name]
        outside = (a < own.low) | (a > own.high) if own.free else np.zeros(1, dtype=bool)
        if outside.any():
            between = f"between {own.low:g} and {own.high:g}" if np.isfinite(own.high) else f"above {own.low:g}"
            raise ValueError(
                f"{int(outside.sum())} value{' of' if outside.sum() == 1 else 's of'} {name!r} "
                f"{'is' if outside.sum() == 1 else 'are'} outside its support, such as {a[outside][0]:.4g}; expected numbers "
                f"{between}"
            )
    if any(name not in constrained and name not in free for name in target.free):
        return None, 0.0
    n = sizes[0] * sizes[1]
    flat = {name: a.reshape(n, *a.shape[2:]) for name, a in (dict(constrained) | dict(free)).items()}
    if not free:
        u = target.unconstrain(flat)
    elif all(name in free for name in target.free):
        u = target.flat.join(dict(zip(target.flat.shapes, (flat[name] for name in target.free), strict=True)))
    else:
        raise ValueError(
            f"{', '.join(free)} are on unconstrained scales and the others are not; give all free variables on the same"
        )
    if (wrong := ~np.isfinite(u).all(1)).any():
        places = target.flat.split(np.arange(target.size)).values()
        names = [own for own, place in zip(target.free, places, strict=True) if not np.isfinite(u[:, place]).all()]
        verb = "is" if wrong.sum() == 1 else "are"
        raise ValueError(
            f"{int(wrong.sum())} of {n} draws of {', '.join(map(repr, names))} {verb} outside the support of the prior, or on "
            "its edge"
        )
    u = u.reshape(*sizes, target.size)
    return u, 0.0 if free else target.log_jacobian(u.reshape(n, -1)).reshape(sizes)


def check_form(constrained: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray]) -> None:
    """Refuse draws that are others on the way to the unconstrained scale and back, as of a simplex that do not add up to 1.

    Raises
    ------
    ValueError
    """
    for name, a in constrained.items():
        wrong = np.abs(whole[name] - a) > ROUNDED * np.abs(a).max()
        if wrong.any():
            raise ValueError(
                f"{int(wrong.sum())} values of {name!r} break the constraint of its prior: {a[wrong][0]:.4g}, say, would have "
                f"to be {whole[name][wrong][0]:.4g}. Shares add up to 1, correlations make a positive definite matrix"
            )


def _log_q(log_q: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    if log_q.size != sizes[0] * sizes[1] or log_q.ndim not in (1, 2) or (log_q.ndim == 2 and log_q.shape != sizes):
        raise ValueError(
            f"{LOG_Q} has shape {log_q.shape}; expected one number for each of {sizes[0]} x {sizes[1]} draws"
        )
    if np.isnan(log_q).any() or np.isposinf(log_q).any() or np.isneginf(log_q).any():
        raise ValueError(f"{LOG_Q} has values that are NaN or infinite: a draw of q has a density above 0 under q")
    return log_q.reshape(sizes)


def rearranged(joined: Joined, chains: int) -> Joined:
    """Independent draws as so many chains, for tables and plots of one shape; what cannot be divided is left out."""
    if not joined.independent or joined.shape[0] != 1 or joined.shape[1] < chains * FEWEST_DRAWS:
        return joined
    draws = joined.shape[1] // chains

    def cut(a: np.ndarray) -> np.ndarray:
        return a[0, : chains * draws].reshape(chains, draws, *a.shape[2:])

    return replace(
        joined,
        values={name: cut(a) for name, a in joined.values.items()},
        u=None if joined.u is None else cut(joined.u),
        log_q=None if joined.log_q is None else cut(joined.log_q),
    )
