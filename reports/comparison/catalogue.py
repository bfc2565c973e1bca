"""The methods that can be compared, by name: what each is called, where its ``fit`` lives and what it listens to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mixtures.checks import check_real, check_whole
from models.device import DEVICES
from models.metric import TUNE, chosen

SAMPLERS = ("numpyro", "nutpie", "pymc")

STARTS = ("free", "stationary", "diffuse", "known")
"""How states start: those of a hidden Markov model in one of the first two ways, those of a linear dynamical system in any."""

# In the order in which one is preferred.
REFERENCES = ("exact", "nuts", "gibbs")


@dataclass(frozen=True)
class Options:
    """What a user can set about the fits.

    Parameters
    ----------
    draws, chains : int
        Kept draws of each chain, and number of chains. Variational methods give as many independent draws, arranged alike.
    tune : int, optional
        Adaptation steps of each chain of NUTS; by default 300 where its metric starts from CAVI's posterior, else 1000.
    sampler : {"numpyro", "nutpie", "pymc"}
        Who runs NUTS.
    metric : {"cavi", "adapt"}, optional
        What the metric of NUTS starts from: CAVI's posterior, by default with NumPyro, which alone can, or the identity; see
        `models.metric`. The target and the starts are the same.
    restarts : int
        Starts of EM and CAVI, the best of which is kept.
    reg_covar : float
        Added by EM, maximum likelihood, to the diagonal of every covariance, in squared units of the data, so that no cluster
        collapses.
    advi_steps : int
        Gradient steps of ADVI.
    reference : str
        Which method the others are held against: "auto" or one of `REFERENCES`. Automatic is the exact posterior where it is
        affordable, else the first sampler that passed its checks, which two that passed must agree on.
    device : {"auto", "cpu", "gpu"}
        Where JAX runs the PyMC models; by default on a GPU only where there is one and the model is large; see
        `models.device.choose`.
    two_sample : bool
        Whether a classifier tries to tell each method's draws from the reference's, which takes seconds a method.
    leave_future_out : bool, optional
        Whether CAVI and Gibbs sampling are scored by leave-future-out on sequences, for which they fit several beginnings of
        them; by default where there are few rows.

    Raises
    ------
    ValueError
        If a count is below 1, ``reg_covar`` below 0, or the sampler is unknown.
    """

    draws: int = 1000
    chains: int = 4
    tune: int | None = None
    sampler: str = "numpyro"
    metric: str | None = None
    restarts: int = 10
    reg_covar: float = 0.0
    advi_steps: int = 20_000
    reference: str = "auto"
    device: str = "auto"
    two_sample: bool = False
    leave_future_out: bool | None = None

    def __post_init__(self) -> None:
        for name in ("draws", "chains", "tune", "restarts", "advi_steps"):
            value = getattr(self, name)
            if name == "tune" and value is None:
                continue
            check_whole(name, value)
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        check_reg_covar(self.reg_covar)
        if self.draws < 100:
            raise ValueError(f"draws is {self.draws}; posterior summaries need at least 100 a chain")
        if self.device not in DEVICES:
            raise ValueError(f"there is no device {self.device!r}; choose one of {', '.join(DEVICES)}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"there is no sampler {self.sampler!r}; choose one of {', '.join(SAMPLERS)}")
        chosen(self.metric, self.sampler)
        if self.reference not in ("auto", *REFERENCES):
            raise ValueError(f"there is no reference {self.reference!r}; choose one of auto, {', '.join(REFERENCES)}")


def _nuts(o: Options) -> dict[str, Any]:
    metric = chosen(o.metric, o.sampler)
    tune = TUNE[metric] if o.tune is None else o.tune
    return {"draws": o.draws, "tune": tune, "chains": o.chains, "sampler": o.sampler, "metric": metric}


def check_reg_covar(reg_covar: float, kinds: Iterable[str] = ("gaussian",)) -> None:
    """Refuse what cannot be added to a variance, or where no column of these kinds has one."""
    check_real("reg_covar", reg_covar)
    if not 0 <= reg_covar < float("inf"):
        raise ValueError(f"reg_covar is {reg_covar}; expected a number of at least 0")
    if reg_covar and "gaussian" not in kinds:
        raise ValueError(
            f"reg_covar is {reg_covar:g}, a variance, and no column is of numbers that have one; leave it out"
        )


@dataclass(frozen=True)
class Method:
    """A way to fit the model.

    Parameters
    ----------
    title : str
        What a reader sees.
    kind : str
        "point", "variational", "mcmc" or "exact".
    bound_kind : str or None
        What the method's bound is a number of.
    module : str
        Import path of the module with its ``fit``.
    settings : callable
        From the options to the keywords of that ``fit``.
    uses_start : bool
        Whether ``fit`` takes an earlier fit as ``start``.
    tells : bool
        Whether ``fit`` can ``tell`` how many of its steps are done.
    remedy : str
        What to do where all of its starts collapsed.
    """

    title: str
    kind: str
    bound_kind: str | None
    module: str
    settings: Callable[[Options], dict[str, Any]]
    uses_start: bool = False
    tells: bool = False
    remedy: str = ""


def _advi(rank: str) -> Callable[[Options], dict[str, Any]]:
    return lambda o: {"rank": rank, "steps": o.advi_steps, "draws": o.chains * o.draws}


ELBO = "ELBO, labels summed out"
ELBO_Z = "ELBO with q(z)"

# Run in this order: a method that takes a start takes it from the first fit that succeeded before it.
METHODS: dict[str, Method] = {
    "cavi": Method(
        "CAVI, hand-written", "variational", ELBO_Z, "mixtures.methods.cavi", lambda o: {"restarts": o.restarts}
    ),
    "map": Method(
        "EM, posterior mode",
        "point",
        "log joint density at the mode",
        "mixtures.methods.em",
        lambda o: {"prior": True, "restarts": o.restarts},
    ),
    "em": Method(
        "EM, maximum likelihood",
        "point",
        "log likelihood",
        "mixtures.methods.em",
        lambda o: {"restarts": o.restarts} | ({"reg_covar": o.reg_covar} if o.reg_covar else {}),
        remedy="more starts (--restarts), a ridge (--reg-covar), or the method map, whose prior keeps clusters from collapsing",
    ),
    "advi": Method(
        "ADVI mean-field, PyMC",
        "variational",
        ELBO,
        "models.methods.advi",
        _advi("meanfield"),
        uses_start=True,
        tells=True,
    ),
    "advi-fullrank": Method(
        "ADVI full-rank, PyMC",
        "variational",
        ELBO,
        "models.methods.advi",
        _advi("fullrank"),
        uses_start=True,
        tells=True,
    ),
    "nuts": Method(
        "NUTS, PyMC",
        "mcmc",
        None,
        "models.methods.nuts",
        _nuts,
        tells=True,
    ),
    "exact": Method("Exact, sum over all allocations", "exact", None, "mixtures.methods.exact", lambda o: {}),
    "gibbs": Method(
        "Gibbs, hand-written",
        "mcmc",
        None,
        "mixtures.methods.gibbs",
        lambda o: {"draws": o.draws, "chains": o.chains},
        tells=True,
    ),
    "smc": Method(
        "SMC, PyMC",
        "mcmc",
        None,
        "models.methods.smc",
        lambda o: {"draws": o.draws, "chains": o.chains},
    ),
}

DEFAULT = ("em", "cavi", "advi", "nuts", "gibbs")

CONJUGATE = ("cavi", "exact")
"""Those that cannot fit a chain whose start is the stationary distribution, which leaves no conjugate posterior."""


def default_methods(start: str) -> tuple[str, ...]:
    """The methods that are compared where none is named."""
    return tuple(method for method in DEFAULT if start == "free" or method not in CONJUGATE)


UNDRAWN = "values missing among correlated features of sequences"
"""What Gibbs sampling cannot draw."""


def undrawn(data: Any, structures: Iterable[str]) -> bool:
    """Whether the rows of a `reports.comparison.prepared.Data` have gaps, under these covariances, of the kind `UNDRAWN`."""
    correlated = any(structure in ("full", "tied") for structure in structures)
    return data.lengths is not None and data.missing and correlated and "gaussian" in data.kinds


def check_order(methods: Collection[str], reference: str, ordered: bool, start: str, sticky: float) -> None:
    """Refuse methods that cannot fit a chain with this start, and settings of chains where rows have no order.

    Raises
    ------
    ValueError
    """
    if start not in STARTS[:2]:
        near = get_close_matches(start, STARTS[:2], n=1)
        raise ValueError(
            f"start is {start!r}; {''.join(f'did you mean {name!r}? ' for name in near)}expected free or stationary"
        )
    if not 0 <= sticky < float("inf"):
        raise ValueError(f"sticky is {sticky}; expected a number of at least 0")
    if not ordered:
        if start != "free" or sticky:
            raise ValueError(
                "start and sticky are settings of sequences, and the rows are not given as such: give sequences= (in the shell "
                "--hmm or --sequence)"
            )
        return
    asked = [*methods, *([] if reference == "auto" else [reference])]
    if start == "stationary" and (other := [method for method in asked if method in CONJUGATE]):
        able = [method for method in METHODS if method not in CONJUGATE]
        raise ValueError(
            f"{', '.join(other)} cannot fit a stationary start, which leaves no conjugate posterior: CAVI's bound would need "
            f"E[log pi(A)], exact sums the integral of pi(A). Choose from {', '.join(able)}, or give a free start"
        )
