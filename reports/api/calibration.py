"""`reports.calibrate`: simulation-based calibration of methods, and a result that shows and saves itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.api.kept import Kept, in_folder
from reports.api.keywords import careful
from reports.studies.calibration import study
from reports.studies.calibration.prior import DEFAULT, LEVELS, Settings, points
from reports.studies.calibration.study import Asked
from reports.studies.workers import Progress, telling

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.blocks import Section
    from reports.page.calibration import CalibrationView


@dataclass(frozen=True, repr=False)
class Calibration[S: Asked](Kept, study.Calibration[S]):
    """A calibration; see `reports.studies.calibration.study.Calibration`. In a notebook it shows its verdict and coverage.

    Parameters
    ----------
    folder : Path
        With the manifest and the cells.
    """

    folder: Path

    def summary(self) -> pd.DataFrame:
        """The main numbers, a row a method; missing where it failed in every simulation.

        Returns
        -------
        DataFrame
            ``simulations``, those that ``failed`` among them, and for the intervals of each level, such as 95: their
            ``coverage95`` over all quantities with the ends of its 95% interval, ``low95`` and ``high95``; ``uniformity`` and
            ``symmetry``, the smallest p-values of the quantities' ranks, which are to be compared with 5% divided by the
            number of quantities.
        """
        import pandas as pd

        view, rows = self._view(), {}
        for method in view.methods:
            row: dict[str, Any] = {"simulations": view.simulations, "failed": view.failed(method)}
            if method in view.ranks:
                for level in LEVELS:
                    names = (f"{name}{100 * level:.0f}" for name in ("coverage", "low", "high"))
                    row |= dict(zip(names, view.overall(method, level), strict=True))
                for name in ("uniformity", "symmetry"):
                    p = getattr(view, name)
                    row |= {name: p[method].min()} if method in p else {}
            rows[method] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def __repr__(self) -> str:
        view = self._view()
        methods = ", ".join(view.label(method) for method in view.methods)
        return f"<Calibration of {methods}: {view.simulations} data sets{view.about}>"

    def _page(self, folder: str = "") -> str:
        from reports.page.build import write

        return write(view := self._view(), self._sections(view))

    def _view(self) -> CalibrationView:
        from reports.page.calibration import CalibrationView

        return CalibrationView(self)

    def _sections(self, view: CalibrationView) -> list[Section]:
        from reports.page.calibration import sections

        return sections(view)

    def _blocks(self, view: CalibrationView) -> list[Any]:
        from reports.page.calibration import coverage_table, verdict

        return [*verdict(view).blocks, *([coverage_table(view)] if view.ranks else [])]


@careful
def calibrate(
    n_components: int = 2,
    n: int | None = None,
    dimension: int = 2,
    *,
    methods: str | Sequence[str] = DEFAULT,
    covariance: str = "full",
    simulations: int = 200,
    draws: int = 199,
    alpha0: float = 1.0,
    beta0: float = 0.1,
    nu0: float | None = None,
    kinds: str | Sequence[str] = "gaussian",
    concentration: float = 1.0,
    levels: int = 3,
    sequences: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress = None,
) -> Calibration[Settings]:
    """Draw data sets from the prior, and see how often each method's intervals contain the parameters that made them.

    ``calibrate(build, fit, ...)`` does so for a PyMC model and a method of your own: see `reports.calibrate_model`.

    Parameters
    ----------
    n_components, n, dimension : int
        K, N and D; by default 50 points, of sequences 100 each.
    methods : sequence of str
        Of em, cavi, advi, advi-fullrank, gibbs, nuts and exact.
    covariance : {"full", "tied", "diag", "spherical"}
    simulations : int
        Data sets drawn from the prior, at least 20.
    draws : int
        L, the number of draws among which a truth is ranked; one less than a multiple of 40.
    alpha0, beta0, nu0 : float
        The prior; nu0 is D + 2 unless given. See `reports.studies.calibration.prior`.
    kinds : str or sequence of str
        What features hold: "gaussian" (numbers), "bernoulli", "categorical" or "poisson", one for all or one each.
    concentration, levels : float, int
        How alike clusters are in their probabilities and rates; and of how many levels a categorical feature is.
    sequences : int
        Sequences of n points in each data set, of a hidden Markov model; 0 is a mixture.
    seed : int
        Of all randomness.
    folder : str or Path, optional
        Where the simulations are kept as they come in; more of them, and methods, are added to those that are there. Without
        one they are kept as long as the result is; `Calibration.save` keeps them.
    workers, scheduler
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    progress : bool or callable, optional
        True shows a bar, in a notebook or on standard error; a callable is told how many simulations are there, and their
        total. None is silent.

    Returns
    -------
    Calibration
        A method that fails does not raise: its failures are counted.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    ResultsError
        If the folder cannot be used, or the workers are lost; what was finished is kept.
    """
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    settings = Settings(
        n_components, points(n, sequences), dimension, covariance, names, seed, draws, alpha0, beta0, nu0, sequences=sequences,
        kinds=(kinds,) if isinstance(kinds, str) else tuple(kinds), concentration=concentration, levels=levels,
    )  # fmt: skip

    def run(where: Path) -> Calibration[Settings]:
        found = study.calibrate(
            settings,
            where,
            simulations=simulations,
            workers=workers,
            scheduler=scheduler,
            command="reports.calibrate(...)",
            tell=tell,
        )
        return Calibration(**vars(found), folder=where)

    with telling(progress, "simulations") as tell:
        return in_folder(folder, run)
