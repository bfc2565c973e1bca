"""Whether MCMC draws may serve as the reference: convergence after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reports.metrics import Row

RHAT, ESS_PER_CHAIN, EBFMI = 1.01, 100, 0.3


def diagnose(method: str, values: Mapping[str, np.ndarray], sample_stats: Mapping[str, np.ndarray]) -> list[Row]:
    """R-hat, effective sample sizes over all chains, E-BFMI by chain, divergences, share of trees that were cut off.

    Rank-normalised split R-hat and bulk and tail ESS are those of Vehtari et al. (2021, *Bayesian Analysis* 16:667-718);
    E-BFMI is Betancourt's (2016, arXiv:1604.00695).

    Parameters
    ----------
    values : dict of ndarray, shape (chain, draw)
        Scalar parameters in one labelling.
    sample_stats : dict of ndarray, shape (chain, draw)
        The sampler's ``energy``, ``diverging`` and ``reached_max_treedepth``, where it has them.
    """
    from arviz_stats.base import array_stats

    chains = next(iter(values.values())).shape[0]
    rhat = {name: float(array_stats.rhat(v)) for name, v in values.items()} if chains > 1 else {}
    bulk = {name: float(array_stats.ess(v, method="bulk")) for name, v in values.items()}
    tail = {name: float(array_stats.ess(v, method="tail", prob=(0.05, 0.95))) for name, v in values.items()}
    rows = [Row(method, "rhat", name, value) for name, value in rhat.items()]
    rows += [Row(method, "ess_bulk", name, value) for name, value in bulk.items()]
    rows += [Row(method, "ess_tail", name, value) for name, value in tail.items()]
    if rhat:
        rows.append(Row(method, "rhat_max", "all", max(rhat.values())))
    rows.append(Row(method, "ess_min", "all", min(bulk.values())))
    rows.append(Row(method, "ess_tail_min", "all", min(tail.values())))
    if "energy" in sample_stats:
        ebfmi = array_stats.bfmi(sample_stats["energy"])
        rows += [Row(method, "ebfmi", f"chain {chain}", float(value)) for chain, value in enumerate(ebfmi)]
        rows.append(Row(method, "ebfmi_min", "all", float(ebfmi.min())))
    if "diverging" in sample_stats:
        rows.append(Row(method, "divergences", "all", float(np.sum(sample_stats["diverging"]))))
    if "reached_max_treedepth" in sample_stats:
        rows.append(Row(method, "tree_depth_saturated", "all", float(np.mean(sample_stats["reached_max_treedepth"]))))
    return rows


def checks(rows: list[Row], chains: int, sample_stats: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The demands on a reference, each with its value, its limit and whether it passed; what is not known does not pass.

    Divergences and E-BFMI are asked of Hamiltonian samplers alone, which leave ``energy`` or ``diverging`` in
    ``sample_stats``; R-hat of quantities without labels of those that know it.
    """
    found = {row.metric: row.value for row in rows if row.target == "all"}

    def check(metric: str, name: str, limit: str, passed: bool) -> dict[str, Any]:
        return {"name": name, "value": found.get(metric), "limit": limit, "passed": bool(passed)}

    missing, fewest = float("nan"), ESS_PER_CHAIN * chains
    demands = [
        check("rhat_max", "largest R-hat", f"< {RHAT}", found.get("rhat_max", missing) < RHAT),
        check("ess_min", "smallest bulk ESS", f"> {fewest}", found.get("ess_min", missing) > fewest),
        check("ess_tail_min", "smallest tail ESS", f"> {fewest}", found.get("ess_tail_min", missing) > fewest),
    ]
    if "rhat_unlabelled" in found:
        demands.append(
            check("rhat_unlabelled", "largest R-hat without labels", f"< {RHAT}", found["rhat_unlabelled"] < RHAT)
        )
    if not sample_stats.keys().isdisjoint({"energy", "diverging"}):
        demands += [
            check("divergences", "divergent transitions", "= 0", found.get("divergences", missing) == 0),
            check("ebfmi_min", "smallest E-BFMI", f"> {EBFMI}", found.get("ebfmi_min", missing) > EBFMI),
        ]
    return demands
