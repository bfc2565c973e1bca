"""The methods that a validation runs itself, by name, and what a user can set about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mixtures.checks import check_real, check_whole
from reports.comparison.catalogue import SAMPLERS


@dataclass(frozen=True)
class Options:
    """What a user can set about the fits.

    Parameters
    ----------
    draws, chains, tune : int
        Kept draws of each chain, number of chains, and adaptation steps of each chain. Other methods give as many draws.
    sampler : {"numpyro", "nutpie", "pymc"}
        Who runs NUTS.
    second_sampler : {"numpyro", "nutpie", "pymc"}, optional
        Who runs it again, for a second opinion on the reference.
    target_accept : float
        Mean acceptance probability to which the step size of NUTS is adapted.
    advi_steps : int
        Gradient steps of ADVI.
    moves : int
        How often a particle of SMC tries to move at each temperature.

    Raises
    ------
    ValueError
        If a count is too small, or a sampler is unknown.
    """

    draws: int = 1000
    chains: int = 4
    tune: int = 1000
    sampler: str = "numpyro"
    second_sampler: str | None = None
    target_accept: float = 0.9
    advi_steps: int = 20_000
    moves: int = 50

    def __post_init__(self) -> None:
        for name, least in (("draws", 100), ("chains", 1), ("tune", 1), ("advi_steps", 200), ("moves", 1)):
            check_whole(name, getattr(self, name))
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        check_real("target_accept", self.target_accept)
        if not 0 < self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; expected a number between 0 and 1")
        for name in ("sampler", "second_sampler"):
            given = getattr(self, name)
            if given not in SAMPLERS and not (given is None and name == "second_sampler"):
                raise ValueError(f"there is no sampler {given!r}; choose one of {', '.join(SAMPLERS)}")
        if self.second_sampler == self.sampler:
            raise ValueError(f"second_sampler is {self.sampler!r} as the sampler is; give another")


@dataclass(frozen=True)
class Method:
    """A way to fit any model.

    Parameters
    ----------
    title : str
        What a reader sees.
    kind : {"mcmc", "variational", "point"}
    module : str
        Import path of the module with its ``fit``.
    settings : callable
        From the options to the keywords of that ``fit``.
    bound_kind : str, optional
        What the method's objective is.
    tells : bool
        Whether it counts its steps and tells of them (``tell`` of that ``fit``).
    """

    title: str
    kind: str
    module: str
    settings: Callable[[Options], dict[str, Any]]
    bound_kind: str | None = None
    tells: bool = False


def sizes(o: Options) -> dict[str, Any]:
    """How many draws a method gives."""
    return {"draws": o.draws, "chains": o.chains}


def _nuts(sampler: Callable[[Options], str | None]) -> Callable[[Options], dict[str, Any]]:
    return lambda o: sizes(o) | {"tune": o.tune, "sampler": sampler(o), "target_accept": o.target_accept}


HOME = "reports.validation.methods"

METHODS: dict[str, Method] = {
    "advi": Method(
        "ADVI mean-field, PyMC",
        "variational",
        f"{HOME}.advi",
        lambda o: sizes(o) | {"rank": "meanfield", "steps": o.advi_steps},
        "ELBO",
        tells=True,
    ),
    "advi-fullrank": Method(
        "ADVI full-rank, PyMC",
        "variational",
        f"{HOME}.advi",
        lambda o: sizes(o) | {"rank": "fullrank", "steps": o.advi_steps},
        "ELBO",
        tells=True,
    ),
    "laplace": Method("Laplace's approximation", "variational", f"{HOME}.laplace", sizes, "log density at the mode"),
    "pathfinder": Method("Pathfinder", "variational", f"{HOME}.pathfinder", sizes, "ELBO"),
    "smc": Method("SMC, PyMC", "mcmc", f"{HOME}.smc", lambda o: sizes(o) | {"moves": o.moves}),
    "nuts": Method("NUTS, PyMC", "mcmc", f"{HOME}.nuts", _nuts(lambda o: o.sampler), tells=True),
    "nuts-2": Method("NUTS, a second sampler", "mcmc", f"{HOME}.nuts", _nuts(lambda o: o.second_sampler), tells=True),
}
"""In the order in which they are run."""

DEFAULT = ("advi", "nuts")

EDGE = (
    "the posterior ends where the transition leaves no distribution as it is, a normal q does not, and the ELBO is minus "
    "infinity; fit a stationary start by nuts or gibbs"
)
"""Why ADVI cannot fit a stationary start."""

REFERENCES = ("nuts", "nuts-2")
"""In the order in which one is preferred."""

OFFERED = tuple(name for name in METHODS if name != "nuts-2")
"""Those that a user can name; the second sampler comes with an option."""
