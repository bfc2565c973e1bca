"""Results that were made elsewhere, checked and given the form of a fit, so that they can join a comparison.

A result is one of

    draws or a point    ``weights`` (K,) and the clusters' parameters, led by axes (draw) or (chain, draw): ``means`` (K, D) and
                        ``covariances`` (K, D, D) of numbers, ``rates`` (K, D) of counts, ``probabilities`` (K, D) of ones, or
                        (K, D, C) of levels
    q in closed form    ``alpha`` (K,), ``beta`` (K,), ``m`` (K, D), ``W`` (K, D, D), ``nu`` (K,): PRML 10.57 and 10.59
    of sequences        ``initial`` (K,) and ``transitions`` (K, K) in the place of ``weights``
    a fit               `mixtures.Fit`, as any method of this package returns it
    an estimator        `GaussianMixture` or `BayesianGaussianMixture`, fitted, of scikit-learn or of this package

all in the units of the data as they were given. Draws come as an `xarray.DataTree` with a group ``posterior``, such as
`pymc.sample` returns, as an `xarray.Dataset`, as a mapping of arrays, or as a file of one of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Conjugate, Draws, Fit, NormalWishart
from mixtures.datasets import DataError, limits
from mixtures.memory import check_memory
from mixtures.model import Allocation, Family
from reports.comparison import estimators
from reports.comparison.catalogue import METHODS
from reports.comparison.files import lost_chunks, open_tree
from reports.comparison.held import (
    axes,
    check_reach,
    check_structure,
    numbers,
    parameters,
    positive_definite,
    shapes,
    simplex,
)
from reports.comparison.prepared import Data
from reports.comparison.results import file_name

if TYPE_CHECKING:
    import xarray as xr

    Result = Fit | xr.DataTree | xr.Dataset | Mapping[str, np.ndarray] | str | Path

FEWEST_DRAWS = 100
PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".sav", ".pck", ".p")
LONGEST_NAME, LONGEST_FILE_NAME = 40, 240

CLOSED_FORM = ("alpha", "beta", "m", "W", "nu")
# What a tree says that it holds, and what that is here: the package's own variational and exact draws are independent.
KINDS = {None: None, "mcmc": "mcmc", "draws": "draws", "variational": "draws", "exact": "draws", "point": None}


class Added(NamedTuple):
    """A fit and what the manifest says of it."""

    fit: Fit
    title: str
    kind: str
    bound_kind: str | None = None
    converged: bool | None = None


class Raw(NamedTuple):
    """What was found in a result: its arrays, the kind it says it is of, the sampler's statistics, and all names in it."""

    arrays: Mapping[str, np.ndarray]
    kind: str | None = None
    sample_stats: Mapping[str, np.ndarray] = {}
    names: tuple[str, ...] = ()


def check_names(names: Iterable[str], methods: Iterable[str] = METHODS) -> None:
    """Refuse names that are taken, by ``methods`` too and in whatever case, or cannot be shown."""
    taken = {name.casefold() for name in (*methods, "oracle", "data")}
    for name in names:
        shown = isinstance(name, str) and name.isprintable() and name == name.strip() and not name.startswith("_")
        if not shown or not 0 < len(name) <= LONGEST_NAME or len(file_name(name)) > LONGEST_FILE_NAME:
            raise ValueError(
                f"an added method is named {name!r}; expected at most {LONGEST_NAME} printable characters, fewer where they "
                "are not ASCII, the first of them no underscore"
            )
        if name.casefold() in taken:
            raise ValueError(f"the name {name!r} is taken; give the added method another")
        taken.add(name.casefold())


def as_added(name: str, result: Result, data: Data, family: Family, allocation: Allocation) -> Added:
    """The result as a fit of this model under its name.

    Draws from a Markov chain and independent ones are treated differently: chains are checked, and get leave-one-out scores.
    A tree may say which it holds by ``attrs["kind"]``, "mcmc" or "draws"; where it does not, several chains or a group
    ``sample_stats`` mean a Markov chain.

    Parameters
    ----------
    name : str
    result
        See the module.
    data : Data
        The data of the comparison, which know how they were standardised.
    family, allocation : Family, Allocation
        The model of the comparison.

    Raises
    ------
    ValueError
        If the result does not fit the model or is no distribution; the message has its name.
    """
    import xarray as xr

    try:
        where = f" from {Path(result).name}" if isinstance(result, str | Path) else ""
        if isinstance(result, str | Path):
            result = read_arrays(Path(result), axes(family, allocation))
        if estimators.is_mixture(result):
            if not allocation.independent:
                raise ValueError(f"a {type(result).__name__} knows no order of rows; give arrays that have transitions")
            return _estimator(name, result, data, family, allocation)
        if isinstance(result, Fit):
            return _own_fit(name, result, data, family, allocation)
        if isinstance(result, xr.DataTree | xr.Dataset):
            tree = result if isinstance(result, xr.DataTree) else xr.DataTree(result)
            raw = _from_tree(tree, data, family, allocation)
        elif isinstance(result, Mapping):
            raw = Raw({str(key): np.asarray(a) for key, a in result.items()}, names=tuple(map(str, result)))
        else:
            raise ValueError(
                f"it is a {type(result).__name__}; expected a DataTree, a mapping of arrays, a Fit, a fitted "
                "GaussianMixture or BayesianGaussianMixture, or a path"
            )
        if missing := [key for key in axes(family, allocation) if key not in raw.arrays]:
            if family.gaussian and allocation.independent and all(key in raw.arrays for key in CLOSED_FORM):
                return _closed_form(name, raw.arrays, where, data, family, allocation)
            raise ValueError(_lacking(missing, raw, family, allocation))
        return _held(name, raw, where, data, family, allocation)
    except ValueError as error:
        raise ValueError(f"added method {name!r}: {error}") from error


def _lacking(missing: list[str], raw: Raw, family: Family, allocation: Allocation) -> str:
    """What a result lacks, and what it has of nearly the same name."""
    near = [(key, found[0]) for key in missing if (found := get_close_matches(key, raw.names, n=1, cutoff=0.5))]
    hint = "".join(f"; is {found!r} meant to be {key!r}?" for key, found in near)
    closed = f", or in closed form {', '.join(CLOSED_FORM)}" if family.gaussian and allocation.independent else ""
    return f"it lacks {', '.join(missing)}{hint}; expected {', '.join(axes(family, allocation))}{closed}".replace(
        "?;", "?"
    )


def read_arrays(path: Path, names: Iterable[str]) -> xr.DataTree | dict[str, np.ndarray]:
    """The arrays of a .npz file, or the tree of a zarr folder or a netCDF file."""
    from zipfile import BadZipFile

    import xarray as xr

    if not path.exists():
        raise ValueError(f"there is no file {path}")
    try:
        for part in (path, *path.rglob("*")):  # of a zarr folder, all that is in it
            limits.check_regular(part)
        if path.is_file() and is_pickle(path):
            raise DataError(
                f"{path} is a pickle, which may run any code when it is read: load it in Python and give the estimator as "
                f"extra={{{path.stem!r}: estimator}}, or save its weights (K,), means (K, D) and covariances (K, D, D) in the "
                "units of the data by numpy.savez('mine.npz', weights=..., means=..., covariances=...)"
            )
        if path.suffix == ".npz":
            limits.check_arrays(path)
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        with (
            open_tree(path, consolidated=False) if path.is_dir() else xr.open_datatree(path, engine="h5netcdf") as tree
        ):
            check_memory(2 * tree.nbytes, str(path), "keep fewer draws")
            if path.is_dir():
                _check_chunks(path, tree, names)
            return tree.load()
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        BadZipFile,
    ) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{path} cannot be read ({reason}); expected a DataTree as zarr or netCDF, or a .npz file of arrays"
        ) from error


def is_pickle(path: Path) -> bool:
    """Whether a file is one by `pickle`, `joblib` or `cloudpickle`: by its name, or by its first bytes."""
    with open(path, "rb") as file:
        begins = file.read(2)
    return path.suffix.lower() in PICKLES or (begins[:1] == b"\x80" and begins[1:] in b"\2\3\4\5")


def _check_chunks(path: Path, tree: xr.DataTree, names: Iterable[str]) -> None:
    """Refuse a zarr store that has lost a part of its draws, which would be read as if it were zeros."""
    group = "posterior/" if "posterior" in tree.children else ""
    for name in names:
        if name in (tree["posterior"] if group else tree).data_vars and (lost := lost_chunks(path, group + name)):
            raise ValueError(f"it has lost {lost} chunks of {group}{name}")


def _from_tree(tree: xr.DataTree, data: Data, family: Family, allocation: Allocation) -> Raw:
    """The posterior's arrays, axes in their order: by name where the dims are those of this package, else as they stand."""
    posterior = tree["posterior"] if "posterior" in tree.children else tree
    coords = family.coords(data.features, data.levels)
    arrays = {}
    for name, own in axes(family, allocation).items():
        if name not in posterior.data_vars:
            continue
        values = posterior.to_dataset()[name]
        dims = ("chain", "draw", *own)
        if ("chain" in values.dims) != ("draw" in values.dims):
            raise ValueError(f"{name} has dims {values.dims}; expected both chain and draw, or neither for a point")
        named = set(values.dims) <= set(dims)
        values = values.transpose(*(dims if named else dims[:2]), ..., missing_dims="ignore")
        for dim in (dim for dim in own if dim.startswith("feature") and dim in values.indexes):
            features, labels = coords[dim][1].tolist(), values[dim].values.tolist()
            if all(isinstance(label, str) for label in labels):
                if sorted(labels) != sorted(features):
                    raise ValueError(f"{name} has the features {labels}; the data have {features}: rename them")
                values = values.sel({dim: features})
        arrays[name] = values.values
    kind = posterior.attrs.get("kind", tree.attrs.get("kind"))
    if not isinstance(kind, str | None) or kind not in KINDS:
        raise ValueError(
            f'attrs["kind"] is {kind!r}; expected "mcmc" for a Markov chain or "draws" for independent draws'
        )
    kind, stats = KINDS[kind], {}
    if "sample_stats" in tree.children and kind != "draws":
        kind = "mcmc"
        stats = {
            str(stat): v.transpose("chain", "draw").values
            for stat, v in tree["sample_stats"].data_vars.items()
            if set(v.dims) == {"chain", "draw"} and v.dtype.kind in "bfiu"
        }
    return Raw(arrays, kind, stats, tuple(map(str, posterior.data_vars)))


def _estimator(name: str, estimator: Any, data: Data, family: Family, allocation: Allocation) -> Added:
    """A fitted estimator: a point, or a posterior in closed form or as draws."""
    if not family.gaussian:
        raise ValueError(
            f"a {type(estimator).__name__} is of numbers alone; the comparison's columns are {family.name}"
        )
    prior = _in_units_given(family.prior_in_data_units(), data) | {"alpha0": getattr(allocation, "alpha0", np.nan)}
    found = estimators.answer(estimator, allocation.n_components, family.covariance, data.features, prior)
    where = f" by {found.title}"
    if "alpha" in found.arrays:
        joined = _closed_form(name, found.arrays, where, data, family, allocation)
    else:
        kind = None if found.arrays["weights"].ndim == 1 else "draws"
        joined = _held(name, Raw(found.arrays, kind), where, data, family, allocation)
    fit = replace(joined.fit, converged=found.converged is not False, info={"warnings": found.notes})
    return joined._replace(fit=fit, converged=found.converged)


def _in_units_given(prior: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The prior's hyperparameters in the units of the data as they were given, from those of the comparison."""
    W0_inv = np.asarray(prior["W0_inv"])
    scale = {0: data.scale[0] ** 2, 1: data.scale**2}.get(W0_inv.ndim, np.outer(data.scale, data.scale))
    return dict(prior) | {"m0": data.centre + data.scale * prior["m0"], "W0_inv": W0_inv * scale}


def _own_fit(name: str, fit: Fit, data: Data, family: Family, allocation: Allocation) -> Added:
    """A fit by this package, which must be of the same shape."""
    if np.any(data.scale != 1):
        raise ValueError("a Fit cannot be standardised; standardise x before fitting it and before the comparison")
    for what, own, expected in (
        ("K", fit.n_components, allocation.n_components),
        ("covariance", fit.family.covariance, family.covariance),
        ("family", fit.family.name, family.name),
        ("allocation", _labels(fit.allocation), _labels(allocation)),
        ("number of features", len(fit.family.unit), len(family.unit)),
    ):
        if own != expected:
            raise ValueError(f"its {what} is {own}; that of the comparison is {expected}")
    if isinstance(fit.posterior, Draws) and fit.kind != "point":
        _enough(fit.held.weights.shape[:2], fit.kind)
    title, bound_kind = fit.method, None
    if fit.method in METHODS:
        title, bound_kind = METHODS[fit.method].title, METHODS[fit.method].bound_kind
    return Added(replace(fit, method=name), f"added: a fit by {title}", fit.kind, bound_kind, fit.converged)


def _labels(allocation: Allocation) -> str:
    """What kind of labels an allocation gives, in words."""
    return "independent labels" if allocation.independent else "a chain of states"


def _closed_form(
    name: str, arrays: Mapping[str, np.ndarray], where: str, data: Data, family: Family, allocation: Allocation
) -> Added:
    """q(pi) = Dirichlet(alpha) and q(mu, Lambda) = N(m, (beta Lambda)^-1) Wishart(W, nu) (PRML 10.57, 10.59)."""
    if family.covariance != "full":
        raise ValueError(f"a closed form is of full covariances, not {family.covariance}; give draws instead")
    K, D = allocation.n_components, len(family.unit)
    tails: dict[str, tuple[int, ...]] = {"alpha": (K,), "beta": (K,), "m": (K, D), "W": (K, D, D), "nu": (K,)}
    alpha, beta, m, W, nu = (numbers(key, arrays[key]) for key in CLOSED_FORM)
    for key, a in zip(CLOSED_FORM, (alpha, beta, m, W, nu), strict=True):
        if a.shape != tails[key]:
            raise ValueError(f"{key} has shape {a.shape}; expected {tails[key]}")
    for key, a, least in (("alpha", alpha, 0), ("beta", beta, 0), ("nu", nu, D - 1)):
        if np.any(a <= least):
            raise ValueError(f"{key} is {a.min():g} for cluster {int(a.argmin())}; expected more than {least}")
    W = positive_definite("W", W)
    expected = np.diagonal(np.linalg.inv(W), axis1=-2, axis2=-1) / nu[:, None] / data.scale**2
    check_reach((m - data.centre) / data.scale, expected, data.x)
    m = family.coordinates((m - data.centre) / data.scale)
    q = NormalWishart(m, beta, family.reduce_matrix(np.linalg.inv(W) / np.outer(data.scale, data.scale)), nu)
    fit = Fit(name, "variational", family, allocation, Conjugate(alpha, q), np.empty(0), True, {})
    return Added(fit, f"added: closed form{where}", "variational")


def _held(name: str, raw: Raw, where: str, data: Data, family: Family, allocation: Allocation) -> Added:
    """A posterior held as draws, or a point."""
    K, arrays = allocation.n_components, {}
    for key, tail in shapes(family, allocation, data).items():
        a = numbers(key, raw.arrays[key])
        lead = max(0, a.ndim - len(tail))
        if a.shape[lead:] != tail or lead > 2:
            last = ", ".join(map(str, tail))
            of = (
                f"the data have {len(data.features)} features"
                if family.gaussian
                else _along(key, data, family, allocation)
            )
            raise ValueError(
                f"{key} has shape {a.shape}; expected (chain, draw, {last}) or (draw, {last}), or for a point {tail}: "
                f"K is {K}, and {of}"
            )
        arrays[key] = a.reshape((1,) * (2 - lead) + a.shape)
    first, *_ = allocation.dims
    chains, draws = shape = arrays[first].shape[:2]
    for key, a in arrays.items():
        if a.shape[:2] != shape:
            raise ValueError(f"{key} has (chain, draw) of {a.shape[:2]}, and {first} {shape}; expected the same draws")
    kind = "point" if chains * draws == 1 else raw.kind or ("mcmc" if chains > 1 else "draws")
    if kind != "point":
        _enough(shape, kind)
    for stat, v in raw.sample_stats.items():
        if v.shape != shape:
            raise ValueError(f"sample_stats has {stat} of shape {v.shape}; the posterior has {shape}")

    theta = parameters(arrays, data, family)
    weights = allocation.weights_of({key: simplex(key, arrays[key]) for key in allocation.dims})
    fit = allocation.fits(
        name,
        "variational" if kind == "draws" else kind,
        family,
        allocation,
        Draws(weights, theta),
        np.empty(0),
        True,
        {},
        sample_stats=dict(raw.sample_stats),
    )
    given = {key: arrays[key] for key in family.dims}
    check_structure(fit, _as_given(family.to_data(theta), data), given, data)
    what = "a point" if kind == "point" else f"{draws} draws" if chains == 1 else f"{chains} × {draws} draws"
    return Added(fit, f"added: {what}{where}", kind)


def _along(key: str, data: Data, family: Family, allocation: Allocation) -> str:
    """Which columns a parameter is of, in words."""
    coords = family.coords(data.features, data.levels)
    features = data.features if key in allocation.dims else coords[axes(family, allocation)[key][1]][1]
    return f"{key} is along {', '.join(map(str, features))}"


def _as_given(theta: Mapping[str, np.ndarray], data: Data) -> dict[str, np.ndarray]:
    """Parameters in the units of the data as they were given, from those of the comparison."""
    own = data.scale[[kind == "gaussian" for kind in data.kinds]]
    units = {"covariances": np.outer(own, own)}
    return {name: values * units.get(name, 1.0) for name, values in theta.items()}


def _enough(shape: tuple[int, ...], kind: str) -> None:
    """Refuse chains, or independent draws in all, that are too short for quantiles."""
    chains, draws = shape
    number, where = (draws, " in each chain") if kind == "mcmc" else (chains * draws, "")
    if number < FEWEST_DRAWS:
        raise ValueError(f"it has {number} draws{where}; expected at least {FEWEST_DRAWS}, or one for a point estimate")
