"""The exact posterior of a small data set, or of one cluster: a sum over all allocations of the points to the clusters.

With pi and theta integrated out, a labelling z has the joint probability p(x, z) = p(z) p(x | z), both factors in closed form.
The posterior is a mixture of conjugate posteriors, one for each z, and all that is asked of it is an average over p(z | x):
a product of subset convolutions where p(x, z) is a product over clusters (`mixtures.methods.exact_subsets`), and otherwise a
sum over labellings as they stand (`mixtures.methods.exact_labellings`).
"""

from __future__ import annotations

import time
from bisect import bisect

import numpy as np

from mixtures.checks import check_model
from mixtures.engines.passes import log_base
from mixtures.families.priors import check_proper
from mixtures.fit import Fit
from mixtures.methods.exact_cost import LARGEST_BYTES, LARGEST_SECONDS, Cost, cost, factorises
from mixtures.methods.exact_labellings import Labellings
from mixtures.methods.exact_subsets import Subsets
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import check_matrix
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng

# Terms beyond which it does not matter how many they are.
HOPELESS = 1e24


def fit(x: np.ndarray, family: Family, allocation: Allocation, *, rng: Rng | None = None) -> Fit:
    """The exact posterior of a Bayesian mixture of few points.

    Parameters
    ----------
    x : ndarray, shape (N, D), or Sequences
    family, allocation : Family, Allocation
        The model with its priors, which must be proper.
    rng : numpy.random.Generator or int, optional
        Not used: nothing is random before draws are asked for. It is taken so that every method is called alike.

    Returns
    -------
    Fit
        Of kind "exact", with no bound. Its posterior is symmetric in clusters of one prior: draws visit every labelling in
        proportion, independently of each other. ``info`` holds

        ``log_evidence``
            log p(x) in nats of the mixtures of the first 1..K clusters, over all labellings, shape (K,): the same family
            prior and, of alpha0, the first k entries.
        ``coclustering``
            P(z_n = z_m | x), shape (N, N).
        ``occupied``
            P(k clusters have points | x), k = 1..K, shape (K,).
        ``moments``
            Posterior expectations that need no labels, of Gaussian clusters; see `exact_posterior.Exact.moments`.
        ``terms``
            How many terms were summed.

    Raises
    ------
    ValueError
        If the sum would take too long or too much memory (see `mixtures.methods.exact_cost.cost`), or the prior is improper.
    """
    began = time.perf_counter()
    check_model(family, allocation)
    rows = allocation.rows(x if isinstance(x, Sequences) else check_matrix(x, family.missing))
    x = check_matrix(np.asarray(rows), family.missing)
    if any(np.isnan(x[:, link.columns]).any() for link in family.linked):
        raise ValueError(
            "with values missing among correlated features the posterior has no closed form; use gibbs or nuts, or a family of "
            "independent features"
        )
    price = _affordable(len(x), family, allocation)
    t = family.features(x)
    check_proper(family, t.shape[1])
    posterior = (Subsets if factorises(family, allocation) else Labellings).of(t, family, allocation, rows)
    info = {
        "log_evidence": posterior.log_evidence() + log_base(x, None, family),
        "coclustering": posterior.coclustering(),
        "occupied": posterior.occupied(),
        "terms": int(price.terms),
    }
    if family.gaussian and allocation.independent:
        info["moments"] = posterior.moments()
    return allocation.fits(
        method="exact",
        kind="exact",
        family=family,
        allocation=allocation,
        posterior=posterior,
        bound=np.empty(0),
        converged=True,
        seconds={"run": time.perf_counter() - began},
        info=info,
    )


def _affordable(n: int, family: Family, allocation: Allocation) -> Cost:
    """What the sum takes, or a ValueError that says for how many points it could be taken."""
    price = cost(n, family, allocation)
    if price.affordable:
        return price
    most = bisect(range(1, n), 0, key=lambda points: not cost(points, family, allocation).affordable)
    terms = (
        f"{price.terms:.2g} terms: about {price.seconds:.2g} s and {price.bytes / 1e9:.2g} GB"
        if price.terms < HOPELESS
        else "more terms than any computer adds up"
    )
    raise ValueError(
        f"the exact posterior of {n} points in {allocation.n_components} clusters is a sum of {terms}, where "
        f"{LARGEST_SECONDS:g} s and {LARGEST_BYTES / 1e9:g} GB are allowed; use gibbs or nuts, or at most {most} points"
    )
