"""The result of a fit, the same for every method: a posterior over (pi, theta), and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mixtures.checks import check_count
from mixtures.chunks import held, mapped
from mixtures.engines import missing
from mixtures.engines.responsibilities import drawn, fold, log_sum, log_sum_draws, normalise, normalise_draws
from mixtures.errors import stamped, unstamped
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.arrays import check_matrix
from mixtures.rows.reading import blocks
from mixtures.seeds import Rng, generator

if TYPE_CHECKING:
    import xarray

# Size of the terms that cancel in a log density beyond which it has lost too many digits.
CANCELLING = 1e5

# Log densities of points under draws held at once: few enough to stay in cache.
BLOCK_ELEMENTS = 500_000


@dataclass(frozen=True)
class Draws:
    """A posterior held as draws; a point estimate is a single one.

    Parameters
    ----------
    weights : ndarray, shape (chain, draw, K)
        Or what the allocation has in their place, (chain, draw, K, ...).
    theta : dict of ndarray, shape (chain, draw, K, ...)
        Cluster parameters in the family's coordinates.
    """

    weights: np.ndarray
    theta: Theta

    @property
    def size(self) -> int:
        """How many draws there are in all chains."""
        return math.prod(self.weights.shape[:2])

    def flat(self) -> tuple[np.ndarray, Theta]:
        """Weights (S, K) and theta (S, K, ...) with chains and draws in one axis."""
        S = self.weights.shape[0] * self.weights.shape[1]
        return self.weights.reshape(S, *self.weights.shape[2:]), {
            name: v.reshape(S, *v.shape[2:]) for name, v in self.theta.items()
        }

    def permute(self, order: np.ndarray) -> Draws:
        """The same draws with their clusters in the order (chain, draw, K) or (K,)."""
        order = np.broadcast_to(order, self.weights.shape[:3])

        def take(a: np.ndarray) -> np.ndarray:
            return np.take_along_axis(a, order.reshape(order.shape + (1,) * (a.ndim - 3)), axis=2)

        return Draws(permuted(self.weights, order), {name: take(v) for name, v in self.theta.items()})


@dataclass(frozen=True)
class Conjugate:
    """A posterior in closed form: the hyperparameters of q(pi) and q(theta), the latter in the family's coordinates."""

    alpha: Any
    theta: Any

    def permute(self, order: np.ndarray) -> Conjugate:
        """The same posterior with its clusters in the order (K,)."""
        alpha = permuted(self.alpha, order) if isinstance(self.alpha, np.ndarray) else self.alpha[order]
        return Conjugate(alpha, self.theta.permute(order))


class Mixed(Protocol):
    """A posterior that is a mixture of conjugate ones, and so draws and predicts by itself; see `mixtures.methods.exact`."""

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, Theta]:
        """``n`` independent draws of weights (n, K) and theta (n, K, ...)."""

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """Log posterior predictive density, shape (N,)."""


@dataclass(frozen=True)
class Fit:
    """What a method found out about one model on one data set.

    Parameters
    ----------
    method : str
        Name of the method.
    kind : {"point", "variational", "mcmc", "exact"}
    family, allocation : Family, Allocation
        The model.
    posterior : Draws, Conjugate or Mixed
    bound : ndarray, shape (passes,)
        Trace of the objective in nats; empty where the method has none.
    converged : bool
    seconds : dict
        Wall-clock seconds under "run" and, where something is compiled, "compile".
    info : dict
        Facts that belong to the method alone.
    sample_stats : dict of ndarray, shape (chain, draw)
        The sampler's own statistics, where there is one.
    """

    method: str
    kind: Literal["point", "variational", "mcmc", "exact"]
    family: Family
    allocation: Allocation
    posterior: Draws | Conjugate | Mixed
    bound: np.ndarray
    converged: bool
    seconds: dict[str, float]
    info: dict[str, Any] = field(default_factory=dict)
    sample_stats: dict[str, np.ndarray] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What is saved: every field, and the version of this package."""
        return stamped(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved, with a warning where another version saved it."""
        self.__dict__.update(unstamped(state, "Fit"))

    @property
    def held(self) -> Draws:
        """The held draws.

        Raises
        ------
        TypeError
            If the posterior is held in closed form; `as_draws` makes draws of it.
        """
        if not isinstance(self.posterior, Draws):
            raise TypeError("a posterior in closed form holds no draws; use as_draws first")
        return self.posterior

    @property
    def n_components(self) -> int:
        """K."""
        return self.allocation.n_components

    def parameters(self, n: int, rng: Rng) -> tuple[np.ndarray, Theta]:
        """``n`` draws of weights (n, K) and theta (n, K, ...), in the family's coordinates.

        From a closed form they are independent; from held draws they are spread evenly over chains and time, so that a
        run with n draws or fewer gives every draw, in order and repeated as needed.
        """
        rng = generator(rng)
        check_count("n", n, self.n_components * (1 + len(self.family.count_of)))
        if isinstance(self.posterior, Conjugate):
            weights = self.allocation.sample(self.posterior.alpha, n, rng)
            return weights, self.family.sample(self.posterior.theta, n, rng)
        if not isinstance(self.posterior, Draws):
            return self.posterior.sample(n, rng)
        weights, theta = self.posterior.flat()
        chosen = np.linspace(0, len(weights), n, endpoint=False).astype(int)
        return weights[chosen], {name: v[chosen] for name, v in theta.items()}

    def draws(self, n: int, rng: Rng) -> xarray.DataTree:
        """``n`` posterior draws in the units of x, as the tree that ArviZ takes.

        Returns
        -------
        xarray.DataTree
            Group ``posterior`` with ``weights`` (chain, draw, cluster), or what the allocation has in their place, and the
            family's parameters, and ``sample_stats`` where the method has them. Held chains stay apart when n is all of their
            draws; otherwise there is one chain.
        """
        import xarray as xr

        weights, theta = self.parameters(n, rng)
        whole = isinstance(self.posterior, Draws) and n == math.prod(self.held.weights.shape[:2])
        chains = len(self.held.weights) if whole else 1
        values = {**self.allocation.named(weights), **self.family.to_data(theta)}
        dims: dict[str, tuple[str, ...]] = {**self.allocation.dims, **self.family.dims}
        variables = {
            name: (("chain", "draw", *dims[name]), v.reshape(chains, n // chains, *v.shape[1:]))
            for name, v in values.items()
        }
        groups = {"posterior": xr.Dataset(variables).assign_coords(_indices(variables))}
        if whole and self.sample_stats:
            stats = {name: (("chain", "draw"), v) for name, v in self.sample_stats.items()}
            groups["sample_stats"] = xr.Dataset(stats).assign_coords(_indices(stats))
        return xr.DataTree.from_dict(groups)

    def log_predictive(self, x: np.ndarray) -> np.ndarray:
        """Log posterior predictive density of every point in nats, shape (N,).

        A mixture of Student-t densities for a closed form (PRML 10.81), the log of the mean density over the draws
        otherwise; for a point estimate that is the plug-in density.

        Of rows that Dask holds it is a `dask.array`, computed when it is asked for.

        Raises
        ------
        ValueError
            If x is no matrix of finite real numbers, or NaN where values may be missing.
        """
        if held(x):
            return mapped(x, self.log_predictive)
        x = check_matrix(x, self.family.missing)
        if isinstance(self.posterior, Conjugate):
            q = self.posterior
            log_pi = self.allocation.natural(self.allocation.mean(q.alpha))
            with np.errstate(over="ignore", invalid="ignore"):
                log_p = np.concatenate([log_pi + self.family.log_predictive(block, q.theta) for block, _ in blocks(x)])
            return log_sum(np.where(np.isnan(log_p), -np.inf, log_p))
        if not isinstance(self.posterior, Draws):
            with np.errstate(over="ignore", invalid="ignore"):
                log_p = self.posterior.log_predictive(x)
            return np.where(np.isnan(log_p), -np.inf, log_p)
        per_draw = (log_sum_draws(block) for _, block in self.log_rho(x))
        return np.concatenate([log_sum(log_p.T) - np.log(len(log_p)) for log_p in per_draw])

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """log p(x_n | pi, theta) for every held draw, shape (chain, draw, N).

        Raises
        ------
        TypeError
            If the posterior is held in closed form; draw from it first.
        """
        x = check_matrix(x, self.family.missing)
        flat = np.concatenate([log_sum_draws(block) for _, block in self.log_rho(x)], axis=1)
        return flat.reshape(*self.held.weights.shape[:2], len(x))

    def total_log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """log p(x | pi, theta) of all points together for every held draw, shape (chain, draw)."""
        x = check_matrix(x, self.family.missing)
        total = sum(log_sum_draws(block).sum(1) for _, block in self.log_rho(x))
        return np.reshape(total, self.held.weights.shape[:2])

    def responsibilities(self, x: np.ndarray) -> np.ndarray:
        """Probability of each cluster for each point, shape (N, K).

        The optimal q(z) for a conjugate posterior (PRML 10.49), the mean over the draws otherwise. Draws must share one
        labelling for that mean to say anything: see `mixtures.labels.align`.

        Of rows that Dask holds it is a `dask.array`, computed when it is asked for.

        Raises
        ------
        TypeError
            For an exact posterior, which knows no labelling; align draws of it.
        ValueError
            If x is no matrix of finite real numbers, or NaN where values may be missing.
        """
        if held(x):
            return mapped(x, self.responsibilities, self.n_components)
        x = check_matrix(x, self.family.missing)
        if isinstance(self.posterior, Conjugate):
            eta = fold(
                self.allocation.expected_natural(self.posterior.alpha),
                self.family.expected_natural(self.posterior.theta),
            )
            r = np.concatenate([normalise(self._log_densities(eta, block))[1] for block, _ in blocks(x)])
            if self.family.missing:  # of a row of which nothing was seen
                r[np.isnan(x).all(1)] = self.allocation.mean(self.posterior.alpha)
            return r
        return np.concatenate([normalise_draws(block)[1].mean(0) for _, block in self.log_rho(x)])

    def each_responsibilities(self, x: np.ndarray, every: int = 1) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Probabilities of the clusters (S, rows, K) under every held draw, in blocks, and which draws and rows these are.

        Rows are counted among each ``every``-th of x.
        """
        for rows, log_rho in self.log_rho(x[::every]):
            yield slice(None), rows, normalise_draws(log_rho)[1]

    def sample(self, n: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        """``n`` points (n, D) in the units of x from the posterior predictive, with their labels (n,)."""
        rng = generator(rng)
        weights, theta = self.parameters(n, rng)
        labels = (rng.random((n, 1)) > np.cumsum(weights, axis=1)[:, :-1]).sum(1)
        own = {name: v[np.arange(n), labels] for name, v in theta.items()}
        return self.family.simulate(own, np.arange(n), rng), labels

    def impute(self, x: np.ndarray, n: int, rng: Rng) -> np.ndarray:
        """``n`` draws of what is missing of x, given what was seen, from the posterior predictive: multiple imputation.

        Each draw takes parameters from the posterior (of a point estimate always the same, so that its uncertainty is left
        out), a cluster for every row, and the missing values given those that were seen and the cluster (Little & Rubin 2019,
        *Statistical Analysis with Missing Data*, section 10.2.2).

        Parameters
        ----------
        x : ndarray, shape (N, D)
            With NaN where a value is missing.
        n : int
        rng : numpy.random.Generator or int

        Returns
        -------
        ndarray, shape (n, N, D)
            What was seen as it is.

        Raises
        ------
        ValueError
            If the family was not made with ``missing=True``, x holds anything that it does not take, or the clusters of rows
            are not independent.
        """
        rng = generator(rng)
        if not self.allocation.independent:
            raise ValueError(
                "values of sequences are not imputed: the states of a row's neighbours say something of it too"
            )
        if not self.family.missing:
            raise ValueError("this family knows no missing values; fit one that from_data makes with missing=True")
        x = check_matrix(x, missing=True)
        weights, theta = self.parameters(n, rng)
        full = np.repeat(x[None], n, axis=0)
        gaps = np.isnan(x).any(1)
        if not gaps.any():
            return full
        own = replace(self, posterior=Draws(weights[:, None], {name: v[:, None] for name, v in theta.items()}))
        log_rho = np.concatenate([block for _, block in own.log_rho(x[gaps])], axis=1)
        r = normalise_draws(log_rho)[1]
        for i, draw in enumerate(full):
            labels = drawn(r[i], rng.random(len(r[i]))).argmax(-1)
            draw[gaps] = self.family.impute(x[gaps], {name: v[i] for name, v in theta.items()}, labels, rng)
        return full

    def as_draws(self, chains: int, draws: int, rng: Rng) -> Fit:
        """The same fit with its closed form replaced by independent draws, arranged as chains."""
        weights, theta = self.parameters(chains * draws, rng)
        return replace(
            self,
            posterior=Draws(
                weights.reshape(chains, draws, *weights.shape[1:]),
                {name: v.reshape(chains, draws, *v.shape[1:]) for name, v in theta.items()},
            ),
        )

    def log_rho(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """log pi_k + log p(x_n | theta_k) under every held draw: blocks of rows with their values (S, rows, K).

        Minus infinity as in `log_density`.
        """
        return self._log_rho(x, self.allocation.natural(self.held.flat()[0]))

    def log_density(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """log p(x_n | theta_k) under every held draw: blocks of rows with their values (S, rows, K).

        Minus infinity where x_n is impossible under theta_k, as a value is whose probability was estimated as zero.

        Raises
        ------
        TypeError
            If the posterior is held in closed form; draw from it first.
        """
        return self._log_rho(x, np.zeros((len(self.held.flat()[0]), self.n_components)))

    def _log_rho(self, x: np.ndarray, log_pi: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """`log_rho` with these log weights (S, K)."""
        _, theta = self.held.flat()
        eta = fold(log_pi, self.family.natural(theta))
        S, K, P = eta.shape
        impossible = self.family.impossible(theta)
        marginals: dict[bytes, np.ndarray] = {}
        if self.family.gaussian and S == 1 and np.abs(eta[..., self.family.count_of]).max() > CANCELLING:
            yield slice(None), np.concatenate([self._about_means(block, log_pi) for block, _ in blocks(x)])[None]
            return

        def every(eta: np.ndarray) -> np.ndarray:
            return eta.swapaxes(0, 1).reshape(K * S, P)

        def by_draw(found: np.ndarray) -> np.ndarray:
            return np.moveaxis(found.T.reshape(K, S, -1), 0, -1)

        step = max(1, BLOCK_ELEMENTS // (S * K))
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            log_rho = by_draw(self._log_densities(every(eta), x[rows], marginals))
            if self.family.has_base:
                log_rho = log_rho + self.family.log_base(x[rows])[:, None]
            if impossible is not None:  # counts among the values that were seen, which no gap adds to
                count = by_draw(_log_density(every(impossible), *self._features(x[rows])))
                log_rho = np.where(count > 0.5, -np.inf, log_rho)
            yield rows, log_rho

    def _log_densities(
        self, eta: np.ndarray, x: np.ndarray, known: dict[bytes, np.ndarray] | None = None
    ) -> np.ndarray:
        """t(x) . eta of eta (K, P) and points (N, D), of what was seen of them, in the order of `normalise`: (N, K)."""
        if self.family.linked and np.isnan(x).any():
            return missing.densities(self.family, x, eta, known)
        return _log_density(eta, *self._features(x))

    def _features(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t(x) (N, P), and which points are so far away that no number holds it, (N,); of these it is zero."""
        with np.errstate(over="ignore", invalid="ignore"):
            t = self.family.features(x)
        beyond = ~np.isfinite(t).all(1)
        t[beyond] = 0
        return t, beyond

    def _about_means(self, x: np.ndarray, log_pi: np.ndarray) -> np.ndarray:
        """`log_rho` of a point estimate, each cluster about its own mean, where nothing cancels, (N, K)."""
        _, theta = self.held.flat()
        means, own = self.family.to_data(theta)["means"][0], theta | {"means": np.zeros_like(theta["means"])}
        eta = fold(log_pi, self.family.natural(own))[0]
        family: Any = self.family
        about = [replace(self, family=replace(family, origin=mu)) for mu in means]
        return np.stack([own._log_densities(e[None], x)[:, 0] for e, own in zip(eta, about, strict=True)], axis=-1)


def permuted(weights: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Weights (..., K) or, of a chain, starts beside transitions (..., K, 1 + K), with their clusters in the order (..., K)."""
    if weights.ndim == order.ndim:
        return np.take_along_axis(weights, order, axis=-1)
    columns = np.concatenate([np.zeros_like(order[..., :1]), 1 + order], axis=-1)
    rows = np.take_along_axis(weights, order[..., None], axis=-2)
    return np.take_along_axis(rows, columns[..., None, :], axis=-1)


def _log_density(eta: np.ndarray, t: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """t(x) . eta of eta (K, P) and t (N, P), in the order of `normalise`: (N, K); minus infinity for points beyond numbers."""
    log_p = (eta @ t.T).T
    log_p[beyond] = -np.inf
    return log_p


def _indices(variables: Mapping[str, tuple[tuple[str, ...], np.ndarray]]) -> dict[str, np.ndarray]:
    """An integer coordinate for every dimension."""
    return {dim: np.arange(size) for dims, v in variables.values() for dim, size in zip(dims, v.shape, strict=True)}
