"""Expectation-maximisation (PRML section 9.2): maximum likelihood, or the posterior mode under the conjugate prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtures.ascent.ascend import Ascent, ascend
from mixtures.ascent.bulk import suited
from mixtures.ascent.centred import go_on
from mixtures.ascent.many import ascend_many, one_by_one, sources
from mixtures.ascent.online import as_ascent, learn, learned_by
from mixtures.ascent.whole import Whole
from mixtures.checks import check_flag, check_model, check_models
from mixtures.engines import Clock
from mixtures.engines.passes import Pass, entropy, log_base, one_pass
from mixtures.engines.responsibilities import fold
from mixtures.errors import CollapseError, FarRowError, SingularError
from mixtures.families.product import apart
from mixtures.families.scaling import dependence
from mixtures.fit import Draws, Fit
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import check_matrix
from mixtures.rows.informed import informed
from mixtures.rows.moments import moments
from mixtures.rows.reading import Rows, as_rows, count
from mixtures.rows.weights import as_weights
from mixtures.seeds import Rng

# Times their spread that a row is away from the others, from which they keep half of their digits beside it.
FAR = 1e8


def step(family: Family, allocation: Allocation, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M-step for maximum likelihood: eta, and 0, for the bound is log p(x | pi, theta) = sum_n log_z_n."""
    labels, points = allocation.split(s)
    pi = allocation.maximum_likelihood(labels)  # 9.22, 13.18, 13.19
    theta = family.maximum_likelihood(points)  # 9.17, 9.19
    eta = fold(allocation.natural(pi), family.natural(theta))
    return eta, np.zeros(s.shape[:-2])  # the pass: 9.13, 9.14


def map_step(family: Family, allocation: Allocation, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M-step for the posterior mode (PRML section 9.4): eta, and the log prior density of (pi, theta) in the units of x."""
    labels, points = allocation.split(s)
    pi, theta = allocation.mode(labels), family.mode(points)
    eta = fold(allocation.natural(pi), family.natural(theta))
    return eta, allocation.log_prior(pi) + family.log_prior(theta) + family.log_jacobian(allocation.n_components)


def fit(
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    prior: bool = False,
    reg_covar: float = 0.0,
    **climb: Any,
) -> Fit:
    """Fit a mixture by EM.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    family, allocation : Family, Allocation
        The model; their priors are used where ``prior`` is true.
    rng : numpy.random.Generator or int
        Source of the starts.
    prior : bool
        False for maximum likelihood, True for the mode of the posterior density of (pi, theta). A mode depends on the
        parametrisation it is taken in; for Gaussian clusters that is (pi, mu, Lambda).
    reg_covar : float
        Variance of independent noise about every feature, in squared units of x; of maximum likelihood it is added to the
        diagonal of every covariance, so that no cluster collapses. See `mixtures.engines.passes.one_pass`.
    **climb
        ``weights``, ``init``, ``restarts``, ``keep``, ``tol``, ``max_iter``, ``accelerate``, ``engine``, ``precision``,
        ``callback``: see `mixtures.ascent.ascend.ascend`.

    Returns
    -------
    Fit
        Of kind "point". For maximum likelihood ``info`` holds the ``log_likelihood`` of x at the point, which with
        ``reg_covar`` is above the objective in ``bound``, and its AIC, BIC, SABIC and ICL; see `criteria`. Where rows are
        far from the others, its family has coordinates that suit these (`mixtures.ascent.bulk`), and the same prior.

    Raises
    ------
    CollapseError
        If every start ended with a cluster on too few points, where the likelihood has no maximum; a `SingularError` that
        names the features if these depend on each other.
    """
    clock = Clock()
    check_flag("prior", prior)
    check_model(family, allocation)
    x = allocation.rows(as_rows(x))
    method = map_step if prior else step
    going = go_on if family.gaussian and allocation.independent and not prior else None
    try:
        own = suited(family, x, as_weights(x, climb.get("weights"))) if going else family
        ascent, pass_ = ascend(method, x, own, allocation, rng=rng, reg_covar=reg_covar, go_on=going, **climb)
    except CollapseError as error:
        raise singular(x, family, climb.get("weights")) or far_row(x, family, error) or error from None
    if not prior:
        if ascent.own:
            pass_ = ascent.own.without_noise
        elif reg_covar:
            pass_ = _without_noise(x, own, allocation, **climb)
        _describe(ascent, pass_, own, allocation, log_base(x, as_weights(x, climb.get("weights")), family))
    return _result(ascent, own, allocation, prior, clock.seconds())


def singular(x: Rows, family: Family, weights: np.ndarray | None = None) -> SingularError | None:
    """That the data themselves have no covariance matrix of full rank, where the clusters need one, with the features."""
    if family.missing:
        return None
    for part, columns, own in apart(family, x):
        if part.covariance not in ("full", "tied"):
            continue
        if (found := dependence(moments(own, weights, root=True))) is not None:
            return SingularError(
                f"{found.text}: every covariance is singular, and the likelihood has no maximum; leave one of them out, give a "
                "positive reg_covar, or a prior (by MAP or variational Bayes)",
                [int(columns[j]) for j in found.features],
            )
    return None


def far_row(x: Rows, family: Family, error: CollapseError) -> FarRowError | None:
    """That a row of an array of numbers lies so far from the others that these are told apart by rounding, with its feature."""
    if not isinstance(x, np.ndarray) or not family.gaussian:
        return None
    with np.errstate(all="ignore"):
        away = np.abs(x - np.nanmedian(x, axis=0))
        spread = np.nanmedian(away, axis=0)
        ratio = np.nan_to_num(away / np.where(spread > 0, spread, np.inf))
    row, feature = np.unravel_index(np.argmax(ratio), ratio.shape)
    if not ratio[row, feature] > FAR:
        return None
    return FarRowError(
        f"{error}. Row {row} lies {ratio[row, feature]:.0e} times their spread away from the others in {{0}}, which rounding "
        "then hides: leave it out, or mark the value as missing",
        [int(feature)],
    )


def _describe(ascent: Ascent, pass_: Pass, family: Family, allocation: Allocation, base: float = 0.0) -> None:
    """Note the log likelihood of the data at the end of an ascent, and the entropy of the responsibilities, in nats."""
    if isinstance(pass_, Whole):
        eta, _ = pass_.natural(ascent.s)
    else:
        eta, _ = step(ascent.own.family if ascent.own else family, allocation, ascent.s)
    log_z, entropies = entropy(pass_, eta)
    ascent.info.update({"log_z": float(log_z) + base, "entropy": float(entropies)})


def _without_noise(
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    weights: Any = None,
    engine: str = "auto",
    precision: str = "float64",
    **others: Any,
) -> Pass:
    """The pass over the data as they are."""
    weights = as_weights(x, weights)
    rows, _ = count(x, weights, family.missing)
    if family.missing:
        x, weights = informed(x, weights)
    return one_pass(x, weights, family, rows * allocation.n_components, engine=engine, precision=precision)


def fit_many(
    xs: Sequence[np.ndarray],
    families: Sequence[Family],
    allocation: Allocation,
    *,
    rng: Rng | Sequence[Rng],
    prior: bool = False,
    reg_covar: float = 0.0,
    **climb: Any,
) -> list[Fit | CollapseError]:
    """Fit a mixture to each of many small data sets of one shape by EM, side by side.

    Parameters
    ----------
    xs : sequence of ndarray, each of shape (N, D)
    families : sequence of Family
        The model of each data set.
    allocation : Allocation
    rng : numpy.random.Generator or int, or one for each data set
        Source of the starts; of a single one, each data set draws from a child of its own.
    prior
        See `fit`.
    reg_covar : float
        See `mixtures.engines.passes.one_pass`.
    **climb
        ``init``, ``restarts``, ``tol``, ``max_iter``, ``accelerate``, ``engine``: see `mixtures.ascent.many.ascend_many`.

    Returns
    -------
    list of Fit or CollapseError
        In the order of xs; the error where every start collapsed. Run times are equal shares of the whole. Sequences, which
        may differ in length, and data that may have gaps, which differ in their patterns, are fitted one after another.
    """
    check_flag("prior", prior)
    check_models(families, allocation)
    if not allocation.independent or any(family.missing for family in families):
        return one_by_one(
            fit, xs, families, allocation, sources(rng, len(xs)), prior=prior, reg_covar=reg_covar, **climb
        )
    clock = Clock()
    method = map_step if prior else step
    going = go_on if families and families[0].gaussian and not prior else None
    rngs = sources(rng, len(xs))
    own = families
    if going and len(families) == len(xs):
        own = [suited(family, check_matrix(x), None) for x, family in zip(xs, families, strict=True)]
    ascents = ascend_many(method, xs, own, allocation, rngs=rngs, reg_covar=reg_covar, go_on=going, **climb)
    for family, ascent in zip(own, ascents, strict=True):
        if isinstance(ascent, Ascent) and ascent.own:
            _describe(ascent, ascent.own.without_noise, family, allocation)
    each = {name: seconds / max(1, len(xs)) for name, seconds in clock.seconds().items()}
    if prior:  # its density was taken in the coordinates z
        jacobians = [family.log_jacobian(allocation.n_components) for family in families]
        ascents = [
            ascent._replace(bound=ascent.bound + jacobian) if isinstance(ascent, Ascent) else ascent
            for ascent, jacobian in zip(ascents, jacobians, strict=True)
        ]
    return [
        _result(ascent, family, allocation, prior, each) if isinstance(ascent, Ascent) else ascent
        for family, ascent in zip(own, ascents, strict=True)
    ]


def partial_fit(
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    previous: Fit | None = None,
    prior: bool = False,
    total: float | None = None,
    **learning: Any,
) -> Fit:
    """Move a fit on by one batch of rows: stepwise EM.

    Parameters
    ----------
    x : ndarray, shape (B, D), or blocks of rows
    family, allocation : Family, Allocation
        The same for all batches; the coordinates of the family come from some rows that look like the rest.
    rng : numpy.random.Generator or int
        Source of the starts on the first batch.
    previous : Fit, optional
        What this function returned for the batches before.
    prior
        See `fit`.
    total : float, optional
        Number of observations that a posterior mode counts; by default those seen so far.
    **learning
        ``weights``, ``kappa``, ``reg_covar``, and for the first batch ``init`` and the like: see
        `mixtures.ascent.online.learn`.

    Returns
    -------
    Fit
        Without a bound, and never called converged; ``info["learned"]`` is what the next batch starts from, in the coordinates
        of its family. Where rows of the first batch are far from the others, these suit the others, as in `fit`.
    """
    clock = Clock()
    check_flag("prior", prior)
    check_model(family, allocation)
    before = learned_by(previous)
    if previous:
        family = previous.family
    elif family.gaussian and allocation.independent and not prior:
        family = suited(family, as_rows(x), as_weights(as_rows(x), learning.get("weights")))
    learned = learn(map_step if prior else step, before, x, family, allocation, rng=rng, total=total, **learning)
    return _result(as_ascent(learned, total), family, allocation, prior, clock.seconds())


def _result(
    ascent: Ascent,
    family: Any,
    allocation: Allocation,
    prior: bool,
    seconds: dict[str, float],
) -> Fit:
    s, info = ascent.s, ascent.info
    labels, points = allocation.split(s)
    if not prior and len(ascent.bound):
        p = family.n_free(len(s)) + allocation.n_free()
        info = {name: fact for name, fact in info.items() if name != "log_z"} | {"log_likelihood": info["log_z"]}
        info |= criteria(info["log_likelihood"], info["entropy"], p, s[:, 0].sum())
    if prior:
        pi, theta = allocation.mode(labels), family.mode(points)
    else:
        own = ascent.own.family if ascent.own else family
        pi, theta = allocation.maximum_likelihood(labels), own.maximum_likelihood(points)
    if ascent.own:
        theta = theta | {"means": family.coordinates(ascent.own.centres) + theta["means"]}
    return allocation.fits(
        method="map" if prior else "em",
        kind="point",
        family=family,
        allocation=allocation,
        posterior=Draws(pi[None, None], {name: value[None, None] for name, value in theta.items()}),
        bound=ascent.bound,
        converged=ascent.converged,
        seconds=seconds,
        info=info,
    )


def criteria(log_likelihood: float, entropy: float, p: int, n: float) -> dict[str, float]:
    """AIC, BIC, SABIC and ICL of a maximum-likelihood fit, on the scale of -2 log likelihood, smaller being better.

    AIC = -2 L + 2 p (Akaike 1974); BIC = -2 L + p log N (Schwarz 1978); SABIC = -2 L + p log((N + 2) / 24), adjusted for the
    sample size (Sclove 1987, *Psychometrika* 52:333-343); ICL = BIC + 2 times the entropy of the responsibilities
    (Biernacki, Celeux & Govaert 2000).

    Parameters
    ----------
    log_likelihood, entropy : float
        In nats.
    p : int
        Number of free parameters.
    n : float
        Number of observations.
    """
    bic = -2 * log_likelihood + p * np.log(n)
    return {
        "aic": float(-2 * log_likelihood + 2 * p),
        "bic": float(bic),
        "sabic": float(-2 * log_likelihood + p * np.log((n + 2) / 24)),
        "icl": float(bic + 2 * entropy),
    }
