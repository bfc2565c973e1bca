"""What draws say of data: leave-one-out scores of the observed values, and data sets replicated from posterior and prior."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.metrics import Row, prediction
from reports.metrics.checks import tail_areas
from reports.validation.results import Joined
from reports.validation.target import Target, improper

if TYPE_CHECKING:
    import xarray as xr

# Data sets replicated by each method, and numbers in all of them together at most.
REPLICATES, LARGEST = 200, 2_000_000

# Data sets without infinite numbers, such as a prior with heavy tails may make, that are enough.
FEWEST_SETS = 20

# Values in order of which an autocorrelation says something.
FEWEST_IN_ORDER = 10

PRIOR = ""  # which no method is called


def leave_one_out(
    method: str, own: Joined, log_p: np.ndarray | None, posterior: xr.Dataset, target: Target
) -> dict[str, tuple[list[Row], xr.Dataset]]:
    """Rows and pointwise values by group of the tree: PSIS of a sampler's draws, through weighted draws of a q.

    Every observed value is left out alone, whatever depends on it besides.

    Parameters
    ----------
    method : str
    own : Joined
    log_p : ndarray, shape (chain, draw), optional
        log p(y, u) of its draws.
    posterior : Dataset
        The same draws.
    target : Target
    """
    if own.u is None or log_p is None or not target.observed:
        return {}
    chains, draws = own.shape
    kept = min(draws, prediction.LARGEST_LOG_LIKELIHOOD // (chains * target.n_observed))
    if chains * kept < prediction.FEWEST_LOO_DRAWS:
        return {}
    places = np.linspace(0, draws, kept, endpoint=False).astype(int)
    log_likelihood = target.log_likelihood(own.u[:, places].reshape(-1, target.size)).reshape(chains, kept, -1)
    if not np.isfinite(log_likelihood).all():
        return {}
    if own.kind == "mcmc":
        rows, pointwise, _ = prediction.psis(method, log_likelihood, posterior.isel(draw=places))
        return {"loo": (rows, pointwise)}
    if own.log_q is None:
        return {}
    ratios = (log_p - own.log_q)[:, places].ravel()
    return {
        "loo_approximate": prediction.approximate_leave_one_out(
            method, log_likelihood.reshape(-1, target.n_observed), ratios
        )
    }


def checks(
    joined: Mapping[str, Joined], observed: xr.Dataset, target: Target, rng: np.random.Generator
) -> tuple[dict[str, tuple[list[Row], xr.Dataset]], list[dict[str, Any]], str | None]:
    """Posterior predictive checks of every method with all free variables, and the prior predictive check.

    Returns
    -------
    by_method : dict
        What `reports.metrics.checks.tail_areas` gives of each.
    prior : list of dict
        The same of the prior, a statistic each: ``statistic``, ``observed``, ``p``, and quantiles ``low``, ``median``, ``high``
        (1%, 50%, 99%) of the replicated.
    missing : str, optional
        Why there are none.
    """
    whole = {method: own for method, own in joined.items() if own.u is not None}
    if not target.observed or not whole:
        return {}, [], None if target.observed else "the model has no observed variable"
    size = sum(v.size for v in observed.data_vars.values())
    number = int(min(REPLICATES, max(20, LARGEST // (size * (1 + len(whole))))))
    draws = {method: _some(own, target, number) for method, own in whole.items()}
    if not target.flat_priors:
        drawn = target.constrain(target.draw_prior(number, rng))
        draws = {PRIOR: {name: drawn[name] for name in target.free}} | draws
    try:
        replicated, impossible = replicate_each(draws, target, rng)
    except NotImplementedError as error:
        return {}, [], f"PyMC cannot draw from an observed variable ({first_line(error)})"
    data = {str(name): v.values for name, v in observed.data_vars.items()}
    of_data = statistics({name: v[None] for name, v in data.items()})
    known = {name: float(value[0]) for name, value in of_data.items() if np.isfinite(value[0])}
    found, prior = {}, []
    for source, sets in replicated.items():
        own = {name: v for name, v in statistics(sets).items() if name in known}
        whole_sets = np.isfinite(list(own.values())).all(0)
        if whole_sets.sum() < FEWEST_SETS:
            continue
        own = {name: v[whole_sets] for name, v in own.items()}
        rows, dataset = tail_areas(source, own, known)
        if source == PRIOR:
            prior = [_of_prior(row, own[row.target], known[row.target]) for row in rows if row.metric == "ppc_p"]
        else:
            found[source] = (rows, dataset)
    missing = [improper(target.flat_priors)] if target.flat_priors else []
    for source, reason in impossible.items():
        missing.append(f"data cannot be drawn given draws from {source or 'the prior'} ({reason})")
    return found, prior, "; ".join(missing) or None


def replicate_each(
    draws: Mapping[str, Mapping[str, np.ndarray]], target: Target, rng: np.random.Generator
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """`replicate`, without the sources some of whose draws are too extreme for data to be drawn, and why, by source.

    Such are those of a wide prior under an exponential, whose rates no generator of counts takes.
    """
    try:
        return replicate(draws, target, rng), {}
    except ValueError as error:
        if len(draws) == 1:
            return {}, {next(iter(draws)): first_line(error)}
    found: dict[str, dict[str, np.ndarray]] = {}
    impossible: dict[str, str] = {}
    for source, own in draws.items():
        replicated, reason = replicate_each({source: own}, target, rng)
        found |= replicated
        impossible |= reason
    return found, impossible


def first_line(error: Exception) -> str:
    """The first line of an error's message; PyTensor adds many."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def replicate(
    draws: Mapping[str, Mapping[str, np.ndarray]], target: Target, rng: np.random.Generator
) -> dict[str, dict[str, np.ndarray]]:
    """Data sets (n, *shape) by observed variable, one for each draw of the free variables (n, *shape), by source."""
    import pymc as pm
    import xarray as xr

    sources = list(draws)
    data = {}
    for name, own in target.free.items():
        dims = ("chain", "draw", *(f"{name}_axis_{axis}" for axis in range(len(own.shape))))
        data[name] = (dims, np.stack([draws[source][name] for source in sources]))
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it names the variables that it draws
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The effect of Potentials", UserWarning)
            drawn = pm.sample_posterior_predictive(
                xr.DataTree.from_dict({"posterior": xr.Dataset(data)}),
                model=target.model,
                var_names=list(target.observed),
                freeze_vars=list(target.free),
                return_inferencedata=False,
                progressbar=False,
                random_seed=int(rng.integers(2**31)),
                compile_kwargs={"mode": "FAST_COMPILE"},
            )
    finally:
        logger.setLevel(level)
    return {source: {name: np.asarray(values)[i] for name, values in drawn.items()} for i, source in enumerate(sources)}


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of replicates without spread, or beyond all numbers
def statistics(sets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Statistics of data sets (R, *shape) by observed variable, (R,) each, gaps left out: ``mean[y]`` and so on.

    Of two values, such as zeros and ones, the mean says all but the order.
    """
    from scipy import stats

    found = {}
    for name, values in sets.items():
        y = values.reshape(len(values), -1).astype(float)
        y = y[:, ~np.isnan(y[0])] if np.isnan(y).any() else y
        found[f"mean[{name}]"] = y.mean(1)
        if y.shape[1] > 1 and not np.isin(y, (0, 1)).all():
            found |= {
                f"sd[{name}]": y.std(1),
                f"smallest[{name}]": y.min(1),
                f"largest[{name}]": y.max(1),
            }
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                found[f"skewness[{name}]"] = stats.skew(y, axis=1)
        if values.ndim == 2 and y.shape[1] >= FEWEST_IN_ORDER:
            z = y - y.mean(1, keepdims=True)
            found[f"autocorrelation, lag 1[{name}]"] = (z[:, 1:] * z[:, :-1]).sum(1) / (z**2).sum(1)
    return found


def _some(own: Joined, target: Target, number: int) -> dict[str, np.ndarray]:
    """So many draws of the free variables, evenly spaced, (number, *shape) each."""
    total = own.shape[0] * own.shape[1]
    places = np.linspace(0, total, number, endpoint=False).astype(int)
    return {name: own.values[name].reshape(total, *target.variables[name].shape)[places] for name in target.free}


def _of_prior(row: Row, values: np.ndarray, observed: float) -> dict[str, Any]:
    low, median, high = np.quantile(values, [0.01, 0.5, 0.99])
    return {
        "statistic": row.target,
        "observed": observed,
        "p": float(row.value),
        "low": float(low),
        "median": float(median),
        "high": float(high),
    }
