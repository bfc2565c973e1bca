"""What all parts of a calibration's page ask of the calibration."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports.page.blocks import State
from reports.page.numbers import number, percent
from reports.page.view import COVARIANCES
from reports.page.words import listing
from reports.plots import style
from reports.studies.calibration import judgement, power
from reports.studies.calibration.judgement import Band, covered
from reports.studies.calibration.prior import LEVELS
from reports.studies.calibration.study import FEWEST, Calibration
from reports.studies.intervals import cases, wilson, wilson_of_means

ALPHA = 0.05

KINDS = {
    "em": "bootstrap intervals, no posterior",
    "cavi": "variational posterior",
    "advi": "variational posterior",
    "advi-fullrank": "variational posterior",
    "gibbs": "MCMC draws",
    "nuts": "MCMC draws",
    "exact": "exact posterior",
}
VARIATIONAL = [method for method, kind in KINDS.items() if kind.startswith("variational")]

NOTHING = "no departure detected"


class Judged(NamedTuple):
    """What a check says: its state, that in words, and the numbers."""

    state: State
    said: str
    because: str


class Detectable(NamedTuple):
    """Smallest departures of one quantity that a study shows; see `reports.studies.calibration.power`.

    Attributes
    ----------
    coverage : tuple of float
        Of 95% intervals, below 95% and above.
    ranks : power.Ranks
    bias : float
        Of a median, in posterior standard deviations.
    """

    coverage: tuple[float, float]
    ranks: power.Ranks
    bias: float


FEATURES = {
    "gaussian": "numbers",
    "bernoulli": "binary features",
    "categorical": "categorical features",
    "poisson": "counts",
}


class CalibrationView:
    """A calibration with everything that is worked out from its ranks."""

    def __init__(self, calibration: Calibration) -> None:
        self.settings, self.manifest, self.table = calibration.settings, calibration.manifest, calibration.table
        self.methods = list(self.settings.methods)
        self.simulations = calibration.simulations
        self.quantities = [str(q) for q in self.table["quantity"].unique()]
        self.ranks: dict[str, pd.DataFrame] = {}
        for method in self.methods:
            rows = self.table[(self.table["method"] == method) & self.table["rank"].notna()]
            if len(rows):
                wide = rows.pivot(index="simulation", columns="quantity", values="rank")
                self.ranks[method] = wide[self.quantities].astype(int)
        self._bands: dict[int, Band] = {}
        self._detectable: dict[int, Detectable] = {}

    name = "Calibration"

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        s = self.settings
        clusters = f"{s.n_components} cluster{'s' if s.n_components > 1 else ''}"
        return (
            f"Intervals of {listing([self.label(m) for m in self.methods])} against the parameters of {self.simulations} data "
            f"sets of {s.n} points in {s.dimension}-D, drawn from the prior of a mixture of {clusters} of "
            f"{listing(self.kinds)}."
        )

    @property
    def kinds(self) -> list[str]:
        """What the features hold, and how many do."""
        s, words = self.settings, {kind: FEATURES[kind] for kind in self.settings.kinds}
        words |= {"gaussian": f"numbers with {COVARIANCES[s.covariance]}"} if "gaussian" in words else {}
        several = len(words) > 1
        one = {kind: name.replace("features", "feature").replace("counts", "count") for kind, name in words.items()}
        counts = {kind: s.kinds.count(kind) for kind in words}
        named = {kind: one[kind] if counts[kind] == 1 and kind != "gaussian" else words[kind] for kind in words}
        return [f"{counts[kind]} {name}" if several else name for kind, name in named.items()]

    def label(self, method: str) -> str:
        """A method's short name, the one on the figures."""
        return style.look(method).label

    def colour(self, method: str) -> str:
        """A method's colour, the one on the figures."""
        return style.look(method).colour

    def rng(self) -> np.random.Generator:
        """Random numbers for tests, the same for every page of this calibration."""
        return np.random.default_rng(self.settings.seed)

    def band(self, method: str) -> Band:
        """The band of as many uniform ranks as the method has."""
        S = len(self.ranks[method])
        if S not in self._bands:
            self._bands[S] = Band.of(S, self.settings.draws, self.rng())
        return self._bands[S]

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """p-values of uniform ranks, quantity by method."""
        return pd.DataFrame(
            {m: {q: self.band(m).p_value(r[q].to_numpy()) for q in self.quantities} for m, r in self.ranks.items()}
        )

    @cached_property
    def symmetry(self) -> pd.DataFrame:
        """p-values of symmetry, quantity by variational method."""
        L = self.settings.draws
        return pd.DataFrame(
            {
                m: {q: judgement.symmetry(r[q].to_numpy(), L, self.rng()) for q in self.quantities}
                for m, r in self.ranks.items()
                if m in VARIATIONAL
            }
        )

    def overall(self, method: str, level: float) -> tuple[float, float, float]:
        """Coverage over all quantities with its 95% interval, by the spread over simulations of their shares covered."""
        return wilson_of_means(covered(self.ranks[method].to_numpy(), self.settings.draws, level).mean(1))

    def by_quantity(self, method: str, quantity: str, level: float) -> tuple[float, float, float]:
        """Coverage of one quantity with Wilson's 95% interval."""
        inside = covered(self.ranks[method][quantity].to_numpy(), self.settings.draws, level)
        return float(inside.mean()), *wilson(float(inside.mean()), len(inside))

    def detectable(self, method: str) -> Detectable:
        """What so many simulations as the method has show of one quantity, allowing for how many are looked at."""
        S = len(self.ranks[method])
        if S not in self._detectable:
            alpha = ALPHA / len(self.quantities)
            self._detectable[S] = Detectable(
                power.coverage(LEVELS[-1], S),
                power.ranks(self.band(method), alpha, self.rng()),
                power.bias(S, alpha, self.rng()),
            )
        return self._detectable[S]

    def detectable_coverage(self, method: str, level: float) -> tuple[float, float]:
        """Highest coverage over all quantities below the level, and lowest above it, that the method's simulations show.

        They count for as many independent cases as the spread over simulations of their shares covered amounts to.
        """
        shares = covered(self.ranks[method].to_numpy(), self.settings.draws, level).mean(1)
        return power.coverage(level, int(cases(shares)))

    def failed(self, method: str) -> int:
        """In how many simulations the method failed."""
        return self.simulations - len(self.ranks.get(method, ()))

    def intervals(self, method: str) -> Judged:
        """Whether 95% intervals cover 95% of the truths."""
        level = LEVELS[-1]
        mean, low, high = self.overall(method, level)
        covers = f"coverage of 95% intervals {percent(mean)} ({number(100 * low)} to {percent(high)})"
        if len(self.ranks[method]) < FEWEST:
            return Judged("cannot tell", "too few simulations", covers)
        if high < level:
            times = number((1 - mean) / (1 - level), 2)
            return Judged("differs", "overconfident", f"{covers}: they miss {times} times as often as stated")
        if low > level:
            return Judged("differs", "too wide", covers)
        below, _ = self.detectable_coverage(method, level)
        missed = "no coverage error" if np.isnan(below) else f"a coverage error below {number(level - below, 2)}"
        return Judged("agrees", NOTHING, f"{covers}; {self._with(method)} {missed} would not show")

    def posterior(self, method: str) -> Judged:
        """Whether every quantity's ranks are uniform, allowing for how many are looked at."""
        p, Q = self.uniformity[method], len(self.quantities)
        if len(self.ranks[method]) < FEWEST:
            return Judged(
                "cannot tell", "too few simulations", f"smallest p-value of {Q} quantities {p_words(p.min())}"
            )
        out = p[p < ALPHA / Q].sort_values()
        if len(out):
            because = (
                f"ranks of {len(out)} of {Q} quantities, most clearly the {out.index[0]} (p {p_words(out.iloc[0])})"
            )
            return Judged("differs", "not uniform", because)
        found = self.detectable(method).ranks
        return Judged(
            "agrees",
            NOTHING,
            f"ranks of {Q} quantities; {self._with(method)} {ratio_words(found)} times the posterior’s, or a shift of "
            f"{less_than(found.shift)} posterior sd, would not show",
        )

    def middle(self, method: str) -> Judged:
        """Whether q's medians are unbiased, allowing for how many quantities are looked at."""
        p, Q = self.symmetry[method], len(self.quantities)
        if len(self.ranks[method]) < FEWEST:
            return Judged(
                "cannot tell", "too few simulations", f"smallest p-value of {Q} quantities {p_words(p.min())}"
            )
        out = p[p < ALPHA / Q].sort_values()
        if len(out) == 0:
            missed = less_than(self.detectable(method).bias)
            because = f"medians of {Q} quantities; {self._with(method)} a bias of {missed} posterior sd would not show"
            return Judged("agrees", NOTHING, because)
        above = (2 * self.ranks[method][out.index[0]] > self.settings.draws).mean()
        side, times = ("below", above) if above > 0.5 else ("above", 1 - above)
        return Judged(
            "differs",
            "biased",
            f"medians of {len(out)} of {Q} quantities; that of the {out.index[0]} is {side} the truth in {percent(times)} of "
            "the simulations",
        )

    def _with(self, method: str) -> str:
        return f"with {len(self.ranks[method])} simulations"


def p_words(p: float) -> str:
    """A p-value with its sign."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}" if p < 0.01 else f"= {p:.2f}"


def less_than(departure: float) -> str:
    """What is too small to be seen."""
    return "any size" if np.isnan(departure) else f"less than {number(departure, 2)}"


def ratio_words(found: power.Ranks) -> str:
    """The ratios of standard deviations that are too near to one to be seen."""
    if np.isnan(found.narrow):
        return "any sd" if np.isnan(found.wide) else f"an sd below {number(found.wide, 2)}"
    return (
        f"an sd above {number(found.narrow, 2)}"
        if np.isnan(found.wide)
        else f"an sd from {number(found.narrow, 2)} to {number(found.wide, 2)}"
    )
