"""What speaks for a number of clusters: the criteria by which K and the covariance structure are chosen.

All of them in nats for the whole data set, a larger number being better: the penalised likelihoods are halved and change their
sign, AIC becoming L - p and BIC becoming L - (p / 2) log N, so that a difference of one of them reads like a difference of log
evidence or of log predictive density.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

from mixtures import COVARIANCES, Dirichlet, Draws, Fit
from mixtures.allocations.markov import Markov
from mixtures.datasets.dataset import counted
from mixtures.errors import FeatureError, reason_of
from mixtures.fit import Conjugate
from mixtures.methods import cavi, em, exact, gibbs
from mixtures.methods.exact_cost import cost
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.sequences import Sequences
from mixtures.tables import family_of
from reports.metrics import future
from reports.metrics.boundary import to_boundary
from reports.metrics.classes import entropy_r2
from reports.metrics.criterion import CRITERIA
from reports.metrics.evidence import bridge
from reports.metrics.optimum import log_likelihood
from reports.metrics.prediction import FEWEST_LOO_DRAWS, LARGEST_LOG_LIKELIHOOD, log_density, pareto_smoothed, weighted
from reports.metrics.quality import limit
from reports.metrics.reference import RHAT

# Fits of folds stop where a pass gains less than this many nats a point: it moves their scores by less than their starts do.
FOLD_TOL = 1e-7

# Draws of each chain where the posterior is sampled several times for leave-future-out.
DRAWS_A_FIT = 500

# An expected number of points below which a cluster of CAVI's counts as empty.
EMPTY = 0.5


# Stands for the covariance structure where no column holds numbers.
NO_COVARIANCE = "none"


class Candidate(NamedTuple):
    """A covariance structure and a number of clusters K."""

    covariance: str
    components: int


@dataclass(frozen=True)
class Setting:
    """What all candidates have in common.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    criteria : tuple of str
        Of `CRITERIA`.
    folds : list of ndarray
        The rows of each fold.
    restarts : int
        Starts of EM and CAVI, and half as many in every fold; see `climb`.
    alpha0 : float
        Of the symmetric Dirichlet prior.
    prior : mapping
        See `mixtures.Gaussian.from_data`.
    seed : tuple of int
        A candidate's random numbers depend on this and on the candidate, not on what else is asked for.
    reg_covar : float
        Added by EM to the diagonal of every covariance; see `mixtures.methods.em.fit`.
    kinds : tuple of str, optional
        What the columns hold; by default all are numbers.
    n_levels : tuple of int, optional
        Number of levels of every column; see `mixtures.tables.family_of`.
    missing : bool
        Whether values are missing, which the models integrate over.
    lengths : tuple of int, optional
        The lengths of the sequences that the rows are, in the order of time: the clusters are then the states of a hidden
        Markov model, and a fold holds whole sequences.
    sticky : float
        What the prior of such a chain adds to the concentration of staying.
    """

    x: np.ndarray
    criteria: tuple[str, ...]
    folds: list[np.ndarray]
    restarts: int
    alpha0: float
    prior: Mapping[str, Any]
    seed: tuple[int, ...]
    reg_covar: float = 0.0
    kinds: tuple[str, ...] | None = None
    n_levels: tuple[int, ...] | None = None
    missing: bool = False
    lengths: tuple[int, ...] | None = None
    sticky: float = 0.0

    @property
    def points(self) -> Any:
        """The rows as the methods take them."""
        return self.x if self.lengths is None else Sequences(self.x, self.lengths)

    def parts(self, rows: np.ndarray) -> tuple[Any, Any]:
        """All rows but some, and these, as the methods take them."""
        rest = np.delete(self.x, rows, axis=0)
        if self.lengths is None:
            return rest, self.x[rows]
        held = np.unique(np.repeat(np.arange(len(self.lengths)), self.lengths)[rows])
        lengths = np.array(self.lengths)
        return Sequences(rest, np.delete(lengths, held)), Sequences(self.x[rows], lengths[held])

    def model(self, x: np.ndarray, candidate: Candidate) -> tuple[Family, Allocation]:
        """The family and the allocation of a candidate for some rows."""
        K, kinds = candidate.components, self.kinds or ("gaussian",) * x.shape[1]
        own: dict[str, Any] = {
            "covariance": candidate.covariance,
            "prior": self.prior,
            "n_levels": self.n_levels,
            "missing": self.missing,
        }
        family = family_of(x, K, kinds, **own)
        if self.lengths is not None:
            return family, Markov.symmetric(K, self.alpha0, self.alpha0, sticky=self.sticky)
        return family, Dirichlet.symmetric(K, self.alpha0)

    def rng(self, candidate: Candidate, part: str) -> np.random.Generator:
        """The random numbers of one part of the work on a candidate."""
        own = [*COVARIANCES, NO_COVARIANCE].index(candidate.covariance), candidate.components, list(PARTS).index(part)
        return np.random.default_rng([*self.seed, *own])


def climb(restarts: int) -> dict[str, Any]:
    """So many starts of an ascent, of which the tenth part that is ahead is continued; see `mixtures.ascent.ascend.ascend`."""
    return {"restarts": restarts, "keep": max(1, restarts // 10)}


@dataclass(frozen=True)
class Clustering:
    """The clusters of one fit, and the most probable one of every point.

    Parameters
    ----------
    method : str
        "em", whose parameters are those of maximum likelihood, or "cavi", with the means of q.
    weights : ndarray, shape (K,)
    theta : dict of ndarray
        The clusters' parameters in the units of x, as the family names them; not a number where q has no mean of them.
    labels : ndarray of int, shape (N,)
        The cluster with the highest responsibility.
    probability : ndarray, shape (N,)
        That responsibility.
    """

    method: str
    weights: np.ndarray
    theta: Theta
    labels: np.ndarray
    probability: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Of the columns that hold numbers, (K, D)."""
        return self.theta["means"]

    @property
    def covariances(self) -> np.ndarray:
        """Of the columns that hold numbers, (K, D, D)."""
        return self.theta["covariances"]

    @classmethod
    def of(cls, fit: Fit, x: np.ndarray) -> Clustering:
        """The clusters of a point estimate or of a posterior in closed form."""
        if isinstance(fit.posterior, Conjugate):
            weights, theta = fit.allocation.mean(fit.posterior.alpha), fit.family.mean(fit.posterior.theta)
        else:
            weights, theta = fit.held.weights[0, 0], {name: v[0, 0] for name, v in fit.held.theta.items()}
        if not fit.allocation.independent:
            weights = fit.allocation.stationary(weights[:, 1:])  # type: ignore[attr-defined]
        r = fit.responsibilities(x)
        return cls(fit.method, weights, fit.family.to_data(theta), r.argmax(1), r.max(1))


@dataclass
class Found:
    """What one part of the work says of a candidate.

    Parameters
    ----------
    values : dict
        By criterion, the number and its standard error.
    pointwise : dict of ndarray, each of shape (N,)
        By criterion, what each point adds to it, where it is such a sum.
    doubts : dict of str
        By criterion, why the number may be far off, so that the candidate must not be chosen for it.
    missing : dict of str
        By criterion, why there is no number.
    facts : dict
        How the fit went.
    failed : bool
        Whether nothing came of it.
    clustering : Clustering, optional
        Of a fit to all points.
    """

    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    pointwise: dict[str, np.ndarray] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    clustering: Clustering | None = None

    def add(self, criterion: str, log_p: np.ndarray) -> None:
        """Take in a criterion that is a sum over points (N,), and its standard error."""
        self.pointwise[criterion] = log_p
        _, _, _, mean, se = log_density(CRITERIA[criterion].part, criterion, log_p)
        self.values[criterion] = float(len(log_p) * mean), float(len(log_p) * se)


def examine(candidate: Candidate, part: str, setting: Setting) -> Found:
    """One of `PARTS` of the work on a candidate; what stops it is found under ``missing``."""
    return tried(PARTS[part], candidate, part, setting)


def tried(
    work: Callable[[Candidate, Any, np.random.Generator], Found], candidate: Candidate, part: str, setting: Any
) -> Found:
    """What the ``work`` of a part finds; what stops it is found under ``missing``."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is among the facts
        try:
            return work(candidate, setting, setting.rng(candidate, part))
        except Exception as error:  # whatever stops a candidate, the others go on and the report shows it
            of_part = (name for name in setting.criteria if CRITERIA[name].part == part)
            return Found(missing=dict.fromkeys(of_part, reason_of(error)), failed=True)


def _em(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """Penalised likelihoods."""
    (family, allocation), x = setting.model(setting.x, candidate), setting.points
    fit = em.fit(x, family, allocation, rng=rng, reg_covar=setting.reg_covar, **climb(setting.restarts))
    r = fit.responsibilities(x)
    facts = {
        "log_likelihood": fit.info["log_likelihood"],
        "converged": fit.converged,
        "reached": fit.info["reached"],
        "collapsed": fit.info["collapsed"],
        "starts": fit.info["restarts"],
        "entropy_r2": entropy_r2(r),
        "fewest_points": float(r.sum(0).min()),
        "parameters_a_cluster": family.n_free(2) - family.n_free(1),
    }
    values = {name: (-fit.info[name] / 2, np.nan) for name in ("aic", "bic", "sabic", "icl")}
    return Found(values, facts=facts, clustering=Clustering.of(fit, x))


def _cavi(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """Bounds on the evidence."""
    x = setting.points
    fit = cavi.fit(x, *setting.model(setting.x, candidate), rng=rng, **climb(setting.restarts))
    bound, r = float(fit.bound[-1]), fit.responsibilities(x)
    values = {"elbo": (bound, np.nan), "elbo-logk": (float(bound + gammaln(candidate.components + 1)), np.nan)}
    facts = {
        "converged": fit.converged,
        "reached": fit.info["reached"],
        "empty": int((r.sum(0) < EMPTY).sum()),
        "starts": fit.info["restarts"],
        "entropy_r2": entropy_r2(r),
        "log_likelihood_at_mean": log_likelihood(fit, x)[0].value,
    }
    return Found(values, facts=facts, clustering=Clustering.of(fit, setting.x))


def _gibbs(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """The evidence, and leave-one-out scores."""
    x, found, left = setting.points, Found(), [name for name in setting.criteria if CRITERIA[name].part == "gibbs"]
    family, allocation = setting.model(setting.x, candidate)
    closed = cavi.can_leave_out(family, setting.x)
    if candidate.components == 1 and closed:
        return _one_cluster(setting.x, family, left)
    if closed and "evidence" in left and cost(len(x), family, allocation).affordable:
        found.values["evidence"] = float(exact.fit(x, family, allocation).info["log_evidence"][-1]), 0.0
        found.facts["evidence"] = "exact"
        left.remove("evidence")
    if not left:
        return found
    fit = gibbs.fit(x, family, allocation, rng=rng)
    found.facts |= {"converged": fit.converged, "rhat": fit.info["rhat"]}
    if "evidence" in left:
        if not fit.info["rhat"] < RHAT:
            found.doubts["evidence"] = f"its Gibbs chains did not mix (split R-hat {fit.info['rhat']:.2f})"
        try:
            _, _, _, value, se = bridge(fit, x, rng)
            found.values["evidence"] = value, se
            found.facts["evidence"] = "bridge"
        except ValueError as error:
            found.missing["evidence"] = str(error)
    if "loo" in left:
        _leave_one_out(fit, x, found)
    return found


def _one_cluster(x: np.ndarray, family: Family, criteria: list[str]) -> Found:
    """Evidence and leave-one-out scores of one cluster, whose posterior is conjugate: p(x_n | x_-n) = p(x) / p(x_-n)."""
    found, t, base = Found(), family.features(x), family.log_base(x)
    s = t.sum(0)
    log_evidence = float(family.log_marginal(s[None]))
    if "evidence" in criteria:
        found.values["evidence"] = float(log_evidence + base.sum()), 0.0
        found.facts["evidence"] = "closed form"
    if "loo" in criteria:
        found.add("loo", log_evidence - family.log_marginal((s - t)[:, None]) + base)
        found.facts["loo"] = "closed form"
    return found


def _leave_one_out(fit: Fit, x: np.ndarray, found: Found) -> None:
    """Add PSIS-LOO of posterior draws; how many of them are effective is judged by the likelihoods, which have no labels."""
    import xarray as xr

    chains, draws, _ = fit.held.weights.shape
    step = -(-chains * draws * len(x) // LARGEST_LOG_LIKELIHOOD)
    if chains * draws // step < FEWEST_LOO_DRAWS:
        most = LARGEST_LOG_LIKELIHOOD // FEWEST_LOO_DRAWS
        found.missing["loo"] = f"{len(x)} points leave too few draws for their log likelihoods; at most {most} do not"
        return
    some = Draws(fit.held.weights[:, ::step], {name: v[:, ::step] for name, v in fit.held.theta.items()})
    log_p = replace(fit, posterior=some).log_likelihood(x)
    log_weights, pareto_k = pareto_smoothed(log_p, xr.Dataset({"x": (("chain", "draw", "obs"), log_p)}))
    found.add("loo", weighted(log_weights, log_p.reshape(log_weights.shape)))
    found.facts |= {"loo": "PSIS", "khat_bad": int((pareto_k > limit(len(log_weights))).sum())}


def _leave_future_out(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
    """Every step of sequences predicted from those before it."""
    x, found = setting.points, Found()
    family, allocation = setting.model(setting.x, candidate)
    try:
        first = future.first_step(x.lengths)
        score = future.leave_future_out(
            lambda rows: gibbs.fit(rows, family, allocation, rng=rng, draws=DRAWS_A_FIT),  # type: ignore[arg-type,return-value]
            x,
            first,
        )
    except ValueError as error:
        found.missing["lfo"] = str(error)
        return found
    found.add("lfo", score.elpd)
    found.facts |= {"fits": score.fits, "first": first}
    return found


def _cross_validated(method: Any, name: str) -> Callable[[Candidate, Setting, np.random.Generator], Found]:
    """Cross-validation of a method, as a part of the work."""

    def part(candidate: Candidate, setting: Setting, rng: np.random.Generator) -> Found:
        log_p, found = np.empty(len(setting.x)), Found()
        settings = climb(-(-setting.restarts // 2)) | ({"reg_covar": setting.reg_covar} if method is em else {})
        for number, rows in enumerate(setting.folds, 1):
            rest, own = setting.parts(rows)
            try:
                fit = method.fit(rest, *setting.model(np.asarray(rest), candidate), rng=rng, tol=FOLD_TOL, **settings)
            except FeatureError as error:
                text = f"without fold {number} of {len(setting.folds)}, {error.text}"
                raise FeatureError(text, error.features) from error
            except ValueError as error:
                raise type(error)(f"without fold {number} of {len(setting.folds)}, {reason_of(error)}") from error
            log_p[rows] = (to_boundary(fit, rest) if method is em else fit).log_predictive(own)
        if lost := int(np.isneginf(log_p).sum()):
            found.missing[name] = (
                f"minus infinity: {counted(lost, 'point')} of {len(log_p)} would be impossible under the fit to the other "
                "folds, which estimates the probability of a value of theirs as zero"
            )
            return found
        found.add(name, log_p)
        return found

    return part


PART_TITLES = {
    "em": "EM",
    "cavi": "CAVI",
    "cv": "cross-validation (EM)",
    "cv-cavi": "cross-validation (CAVI)",
    "gibbs": "Gibbs sampling",
    "lfo": "leave-future-out",
}

PARTS: dict[str, Callable[[Candidate, Setting, np.random.Generator], Found]] = {
    "em": _em,
    "cavi": _cavi,
    "cv": _cross_validated(em, "cv"),
    "cv-cavi": _cross_validated(cavi, "cv-cavi"),
    "gibbs": _gibbs,
    "lfo": _leave_future_out,
}
