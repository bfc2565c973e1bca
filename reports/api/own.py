"""`reports.calibrate_model`: simulation-based calibration of one's own method on any PyMC model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.api.calibration import Calibration
from reports.api.kept import in_folder
from reports.api.keywords import careful
from reports.studies.own import study
from reports.studies.own.generative import Build
from reports.studies.own.quantities import Quantity
from reports.studies.workers import Progress, telling

if TYPE_CHECKING:
    from reports.page.blocks import Section
    from reports.page.calibration_own import OwnView


@dataclass(frozen=True, repr=False)
class OwnCalibration(Calibration[study.Settings]):
    """A calibration of methods on a PyMC model; see `Calibration`."""

    def _view(self) -> OwnView:
        from reports.page.calibration_own import OwnView

        return OwnView(self)

    def _sections(self, view: Any) -> list[Section]:
        from reports.page.calibration_own import sections

        return sections(view)


@careful
def calibrate_model(
    build: Build,
    fit: study.Fit | Mapping[str, study.Fit] | None = None,
    simulations: int = 200,
    *,
    quantities: Mapping[str, Quantity] | None = None,
    methods: str | Sequence[str] = (),
    draws: int = 199,
    seed: int = 0,
    folder: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress = None,
) -> OwnCalibration:
    """Draw parameters and data from a model's prior, and see whether a method's posteriors bear them out.

    Each truth is ranked among the method's draws, in every parameter and in the log likelihood and the log joint density, which
    see what single parameters hide. Ranks among draws of the posterior are uniform (Talts, Betancourt, Simpson, Vehtari &
    Gelman 2018, arXiv:1804.06788); those of a variational posterior that is too narrow may still be symmetric (Yao, Vehtari,
    Simpson & Gelman 2018, arXiv:1802.02538).

    Parameters
    ----------
    build : callable
        ``build()`` returns the model as a ``pm.Model``, with proper priors, and observed variables that hold any data of the
        right shape.
    fit : callable or mapping of str to callable, optional
        ``fit(data, rng)`` is the method. ``data`` has the simulated values of the observed variables by their names, and every
        ``pm.Data`` of the model; ``rng`` is a `numpy.random.Generator`. It returns what `reports.validate` takes: draws by
        variable name, such as ``{"mu": (draws,), "beta": (draws, 3)}``, a DataTree, or an object with ``sample(n, rng)`` and
        ``log_prob(values)``. Several methods are given by their names; a single one is called "mine".
    simulations : int
        Data sets drawn from the prior, at least 20.
    quantities : mapping of str to callable, optional
        Functions ``f(values, data)`` of your own that are ranked as well. ``values`` has the variables of one draw by name,
        shaped as in the model; the answer is a number.
    methods : str or sequence of str
        Of nuts, advi and advi-fullrank, beside your own. Each is compiled once, and no data set compiles it again.
    draws : int
        L, the number of draws among which a truth is ranked; one less than a multiple of 40. A result of draws needs as many.
    seed : int
        Of all randomness.
    folder : str or Path, optional
        Where the simulations are kept as they come in; more of them, and methods, are added to those that are there. Without
        one they are kept as long as the result is; `OwnCalibration.save` keeps them.
    workers, scheduler
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    progress : bool or callable, optional
        True shows a bar, in a notebook or on standard error; a callable is told how many simulations are there, and their
        total. None is silent.

    Returns
    -------
    OwnCalibration
        A fit that fails does not raise: failures are counted, and the page shows their messages.

    Raises
    ------
    ValueError
        If an argument is outside its range, or no data can be drawn from the model: no observed variables, an improper prior.
    ResultsError
        If the folder cannot be used, or the workers are lost; what was finished is kept.
    """
    problem = study.Problem(build, named(fit), dict(quantities or {}))

    def run(where: Path) -> OwnCalibration:
        found = study.calibrate(
            problem,
            where,
            simulations=simulations,
            methods=(methods,) if isinstance(methods, str) else tuple(methods),
            draws=draws,
            seed=seed,
            workers=workers,
            scheduler=scheduler,
            command="reports.calibrate_model(build, fit, ...)",
            tell=tell,
        )
        return OwnCalibration(**vars(found), folder=where)

    with telling(progress, "simulations") as tell:
        return in_folder(folder, run)


def named(fit: Any) -> dict[str, Callable]:
    """The user's methods by name.

    Raises
    ------
    ValueError
        If one is no function, or a name is taken or cannot be shown.
    """
    from reports.comparison.added import check_names

    fits = {} if fit is None else dict(fit) if isinstance(fit, Mapping) else {"mine": fit}
    for name, function in fits.items():
        if not callable(function):
            raise ValueError(f"fit {name!r} is a {type(function).__name__}; expected a function fit(data, rng)")
    check_names(fits, study.OURS)
    return {str(name): function for name, function in fits.items()}
