"""The log evidence log p(y) of any model in nats, by bridge sampling, importance sampling from q, SMC, and as a bound.

Bridge sampling is over the unconstrained values u; see `reports.metrics.gaussian_bridge`. Under an improper prior there is no
evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.metrics import Row
from reports.metrics.evidence import METRIC, mean_of_runs, smoothed_mean
from reports.validation.results import Joined
from reports.validation.target import Target, improper


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
    elif joined.kind == "mcmc":
        try:
            rows.append(Row(method, METRIC, "bridge", *target.bridge(joined.u, log_p, rng)))
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
