"""The log evidence log p(y) of any model in nats, by bridge sampling, importance sampling from q, SMC, and as a bound.

Bridge sampling (Meng & Wong 1996, *Statistica Sinica* 6:831-860) over the unconstrained values u: a Gaussian is fitted to the
first half of every chain, and as many draws of it are held against the second half (Gronau et al. 2017, *Journal of
Mathematical Psychology* 81:80-97). Under an improper prior there is no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.metrics import Row
from reports.metrics.evidence import METRIC, bridged, mean_of_runs, smoothed_mean
from reports.validation.results import Joined
from reports.validation.target import Target, improper

# Draws of each kind that a bridge uses at most; and, for each unconstrained value, how many a Gaussian is fitted to at least.
DRAWS, A_VALUE = 4000, 10


def evidence(
    method: str, joined: Joined, log_p: np.ndarray | None, target: Target, rng: np.random.Generator
) -> tuple[list[Row], dict[str, str]]:
    """Everything that one method has to say about the evidence, and why what it should have said is missing.

    Parameters
    ----------
    method : str
    joined : Joined
    log_p : ndarray, shape (chain, draw), optional
        log p(y, u) of its draws.
    target : Target
    rng : numpy.random.Generator

    Returns
    -------
    rows : list of Row
        Metric ``log_evidence``; the target is ``bridge``, ``smc``, ``importance``, ``elbo`` or ``laplace``.
    missing : dict of str
        By target, the reason why there is no such row.
    """
    wanted = "importance" if joined.log_q is not None else "smc" if "log_evidence_runs" in joined.info else "bridge"
    if joined.kind == "point":
        return [], {}
    if target.flat_priors:
        return [], {wanted: improper(target.flat_priors)}
    if log_p is None or joined.u is None:
        return [], {wanted: f"it lacks {', '.join(name for name in target.free if name in joined.missing)}"}
    rows = []
    if joined.log_q is not None:
        ratios = (log_p - joined.log_q).ravel()
        if np.isfinite(ratios).all():
            rows.append(Row(method, METRIC, "elbo", ratios.mean(), ratios.std(ddof=1) / np.sqrt(len(ratios))))
        rows.append(Row(method, METRIC, "importance", *smoothed_mean(ratios)))
    elif wanted == "smc":
        rows.append(Row(method, METRIC, "smc", *mean_of_runs(np.asarray(joined.info["log_evidence_runs"]))))
    elif joined.kind == "mcmc" and target.unlike_normal:
        return [], {"bridge": target.unlike_normal}
    elif joined.kind == "mcmc":
        try:
            rows.append(Row(method, METRIC, "bridge", *bridge(joined.u, log_p, target, rng)))
        except ValueError as error:
            return [], {"bridge": str(error)}
    if "log_evidence_laplace" in joined.info:
        rows.append(Row(method, METRIC, "laplace", joined.info["log_evidence_laplace"]))
    return rows, {}


def divergences(rows: Sequence[Row], against: str) -> list[Row]:
    """KL(q || p) of every q from the posterior in nats: the log evidence by the reference's draws less the ELBO of q."""
    found = {(row.method, row.target): row for row in rows if row.metric == METRIC}
    if (whole := found.get((against, "bridge"))) is None:
        return []
    return [
        Row(method, "divergence", "all", whole.value - row.value, float(np.hypot(whole.se, row.se)))
        for (method, kind), row in found.items()
        if kind == "elbo"
    ]


def bridge(u: np.ndarray, log_p: np.ndarray, target: Target, rng: np.random.Generator) -> tuple[float, float]:
    """log p(y) and its standard error, by posterior draws u (chain, draw, P) and their log p(y, u) (chain, draw).

    Raises
    ------
    ValueError
        If there are too few draws for as many unconstrained values.
    """
    chains, length, P = u.shape
    half = length // 2
    first = u[:, :half].reshape(-1, P)
    if len(first) < max(100, A_VALUE * P):
        raise ValueError(
            f"half of the draws are {len(first)}; a Gaussian over {P} unconstrained values needs {max(100, A_VALUE * P)}: "
            "raise draws"
        )
    mean, L = first.mean(0), np.linalg.cholesky(np.cov(first, rowvar=False).reshape(P, P))
    kept = min(length - half, DRAWS // chains)
    places = half + np.linspace(0, length - half, kept, endpoint=False).astype(int)
    posterior = u[:, places].reshape(-1, P)
    noise = rng.standard_normal((len(posterior), P))
    constant = P / 2 * np.log(2 * np.pi) + np.log(np.diagonal(L)).sum()

    def log_q(z: np.ndarray) -> np.ndarray:
        return -(z**2).sum(1) / 2 - constant

    of_posterior = log_p[:, places].ravel() - log_q(np.linalg.solve(L, (posterior - mean).T).T)
    of_proposal = target.log_density(mean + noise @ L.T) - log_q(noise)
    of_proposal = np.where(np.isfinite(of_proposal), of_proposal, of_posterior.min() - 1000)
    return bridged(of_posterior, of_proposal, chains=chains)
