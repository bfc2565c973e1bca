"""Learning from batches as they come: each moves the statistics a little, s <- (1 - rho) s + rho s_batch.

With s a mean over observations and rho = (n_batch / n_so_far)^kappa this is stepwise EM for a method of maximum likelihood
(Cappé & Moulines 2009, *JRSS B* 71:593-613) and stochastic variational inference for CAVI (Hoffman, Blei, Wang & Paisley
2013, *JMLR* 14:1303-1347). At kappa = 1 every observation weighs the same, as in incremental EM; a smaller kappa forgets the
early batches, whose responsibilities came from worse parameters, and converges for any kappa above 1/2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mixtures.ascent.ascend import Ascent, Method, ascend
from mixtures.ascent.whole import Whole
from mixtures.checks import brief, check_real
from mixtures.engines.passes import one_pass
from mixtures.errors import CollapseError
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informed
from mixtures.rows.reading import Rows, as_rows, count
from mixtures.rows.weights import as_weights
from mixtures.seeds import Rng

# Standard deviations from the coordinates' origin beyond which a batch may leave no digits.
FAR = 1e3


class Learned(NamedTuple):
    """What has been learned so far.

    Attributes
    ----------
    s : ndarray, shape (K, P)
        Mean statistics of one observation.
    n : float
        Observations so far.
    batches : int
    """

    s: np.ndarray
    n: float
    batches: int


def learned_by(previous: Any) -> Learned | None:
    """What the batches before have taught; None where there were none, a TypeError for what is no fit of theirs."""
    if previous is None:
        return None
    if not isinstance(getattr(previous, "info", {}).get("learned"), Learned):
        raise TypeError(f"previous is {brief(previous)}; expected what partial_fit returned for the batch before")
    return previous.info["learned"]


def check_kappa(kappa: float) -> None:
    """Refuse a rate at which batches are forgotten that is outside its range."""
    check_real("kappa", kappa)
    if not 0.5 < kappa <= 1:
        raise ValueError(f"kappa is {kappa}; expected more than 1/2, at most 1")


def learn(
    method: Method,
    previous: Learned | None,
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    weights: np.ndarray | None = None,
    kappa: float = 0.75,
    total: float | None = None,
    reg_covar: float = 0.0,
    compiled: Whole | None = None,
    **climb: Any,
) -> Learned:
    """Move on by one batch; the first is climbed to its end.

    Parameters
    ----------
    method : callable
        See `mixtures.ascent.ascend.ascend`.
    previous : Learned or None
    x : ndarray, shape (B, D), or blocks of rows
    family, allocation : Family, Allocation
    rng : numpy.random.Generator or int
        Source of the starts on the first batch.
    weights : ndarray, shape (B,), optional
    kappa : float
        In (1/2, 1].
    total : float, optional
        Number of observations that the posterior counts; by default those seen so far.
    reg_covar
        See `mixtures.engines.passes.one_pass`.
    compiled : Whole, optional
        The steps and the pass over this batch, if it is no first one.
    **climb
        For the first batch: see `mixtures.ascent.ascend.ascend`.

    Raises
    ------
    CollapseError
        If a cluster has collapsed on the first batch, or a later one lies so far from it that no digits are left.
    """
    check_kappa(kappa)
    if total is not None:
        check_real("total", total)
    if total is not None and not total > 0:
        raise ValueError(f"total is {total}; expected a positive number of observations")
    if previous is None:
        ascent, _ = ascend(method, x, family, allocation, rng=rng, weights=weights, reg_covar=reg_covar, **climb)
        n = float(ascent.s[:, 0].sum())
        return Learned(ascent.s / n, n, 1)
    x = allocation.rows(as_rows(x))
    weights = as_weights(x, weights)
    rows, fresh = count(x, weights, family.missing)
    if family.missing:
        x, weights = informed(x, weights)
        fresh = count(x, weights, True)[1]
    n = previous.n + fresh
    state = previous.s[None] * (total or previous.n)
    if compiled:
        _, s = compiled.pass_(compiled.natural(state)[0][0])
    else:
        eta, _ = method(family, allocation, state)
        _, s = one_pass(x, weights, family, rows * allocation.n_components, reg_covar)(eta[0])
    rho = (fresh / n) ** kappa
    learned = Learned((1 - rho) * previous.s + rho * s / fresh, n, previous.batches + 1)
    _refuse_strangers(method, family, allocation, learned, s)
    return learned


def _refuse_strangers(method: Method, family: Family, allocation: Allocation, learned: Learned, s: np.ndarray) -> None:
    """Refuse a batch so far from those before it that the coordinates of these leave no digits of what was learned.

    Raises
    ------
    CollapseError
    """
    if not family.gaussian:
        return
    away = np.abs(s[:, 1 : 1 + len(family.origin)].sum(0)).max() / s[:, 0].sum()
    if away > FAR:
        try:
            method(family, allocation, learned.s[None] * learned.n)
        except CollapseError as error:
            raise CollapseError(
                f"the rows of batch {learned.batches} lie {away:.2g} standard deviations from those that the coordinates were "
                "made from, and no digits of the covariances are left; begin with rows that look like the whole (shuffle "
                f"them), or fit all of it at once, as blocks of rows ({error})"
            ) from error


def as_ascent(learned: Learned, total: float | None) -> Ascent:
    """The state of what has been learned; it has no bound, for no pass has seen all observations."""
    info = {"learned": learned, "batches": learned.batches}
    return Ascent(learned.s * (total or learned.n), np.array([]), False, info)
