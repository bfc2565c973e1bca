"""What all parts of a calibration's page ask of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.page.blocks import State
from reports.page.numbers import number, percent
from reports.page.view import COVARIANCES
from reports.page.words import listing
from reports.plots import style
from reports.studies.calibration import judgement, power
from reports.studies.calibration.judgement import ALPHA, Band, covered
from reports.studies.calibration.posteriors import GIBBS, NUTS, RUNS
from reports.studies.calibration.prior import LEVELS
from reports.studies.calibration.study import FEWEST, Calibration
from reports.studies.intervals import cases, wilson, wilson_of_means

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

MEANINGS = {
    "log likelihood": "log p(x | π, θ) of all rows, in nats",
    "log joint density": "log p(x, π, θ), the log likelihood plus the log prior density",
    "log density at the centre": "log p(x* | π, θ) of the point x* = 0, for numbers the location m0 of the prior",
    "mean of x…": "mean of one feature over the mixture, Σ_k π_k μ_kd; of categories the probability of a level",
    "log det of the covariance": "log determinant of the mixture's whole covariance; of categories all levels but the first",
    "dependence of the features": "minus half the log determinant of the mixture's correlations",
    "log det of the tightest cluster": "smallest log determinant among the clusters' covariances",
    "largest weight, smallest weight": "of the K weights",
    "share of pairs together": "probability that two rows share a cluster, on average over all pairs",
    "occupied clusters": "expected number of clusters with a row in them",
    "entropy of the weights": "−Σ_k π_k log π_k",
}

SERIES = {
    "log likelihood": "log p(x | π, A, θ) of all sequences, in nats",
    "log joint density": "log p(x, π, A, θ), the log likelihood plus the log prior density",
    "log density at the centre": "log p(x* | A, θ) of the point x* = 0 in the long run, for numbers the prior's m0",
    "mean of x…": "mean of a feature in the long run, Σ_k p_k μ_kd with p = pA; of categories of a level",
    "log det of the covariance": "log determinant of the covariance in the long run; of categories all levels but the first",
    "dependence of the features": "minus half the log determinant of the correlations in the long run",
    "log density of the first rows": "Σ log p(x_1 | π, θ) over sequences: what sees the start",
    "forecast density at the centre": "Σ log p(x_(T+1) = x* | x_1 .. x_T, A, θ) over sequences",
    "largest start probability": "max_k π_k",
    "highest probability to stay, lowest probability to stay": "max_k A_kk, min_k A_kk",
    "changes of state": "expected number of steps that lead to another state, given the data",
    "entropy of the transitions": "−Σ_k A_jk log A_jk from the state j of a row, averaged over rows given the data",
    "log det of the tightest state": "smallest log determinant among the states' covariances",
    "largest share, smallest share": "of the states in the long run",
    "share of pairs together": "probability that two rows share a state, on average over all pairs, by smoothed probabilities",
    "occupied states": "expected number of states with a row in them, by smoothed probabilities",
    "entropy of the shares": "−Σ_k p_k log p_k",
}

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
    """A calibration with everything that is worked out from its ranks; what is said of mixtures alone, another view replaces.

    Attributes
    ----------
    alpha : float
        Level of each check: the probability that it finds a departure where there is none, over all quantities.
    point : tuple of str
        Methods that have intervals and no posterior.
    """

    alpha = ALPHA
    point: tuple[str, ...] = ("em",)

    def __init__(self, calibration: Calibration[Any]) -> None:
        self.settings, self.manifest, self.table = calibration.settings, calibration.manifest, calibration.table
        self.methods = list(self.settings.methods)
        self.simulations = calibration.simulations
        self.quantities = [str(q) for q in self.table["quantity"].unique()]
        self.ranks: dict[str, pd.DataFrame] = {}
        for method in self.methods:
            rows = self.table[(self.table["method"] == method) & self.table["rank"].notna()]
            if len(rows):
                wide = rows.pivot(index="simulation", columns="quantity", values="rank")
                self.ranks[method] = wide.reindex(columns=self.quantities).dropna(axis=1).astype(int)
        self._detectable: dict[tuple[int, int], Detectable] = {}

    name = "Calibration"

    @property
    def one(self) -> str:
        """What a cluster is called."""
        return "state" if getattr(self.settings, "sequences", 0) else "cluster"

    @property
    def subtitle(self) -> str:
        """The page's one line."""
        s = self.settings
        whole = "hidden Markov model" if s.sequences else "mixture"
        return (
            f"Intervals of {listing([self.label(m) for m in self.methods])} against the parameters of {self.simulations} data "
            f"sets of {self.size}, drawn from the prior of a {whole} of {counted_things(s.n_components, 'cluster')} of "
            f"{listing(self.kinds)}."
        )

    @property
    def size(self) -> str:
        """What a data set is."""
        s = self.settings
        numbers = set(s.kinds) == {"gaussian"}
        rows = f"{s.n} {'points' if numbers else 'rows'}"
        several = f"{s.sequences} sequences of {rows} each" if s.sequences > 1 else rows
        space = f"in {s.dimension}-D" if numbers else f"of {counted_things(s.dimension, 'feature')}"
        return f"{'one sequence of ' if s.sequences == 1 else ''}{several}{',' * (s.sequences > 1 and not numbers)} {space}"

    @property
    def about(self) -> str:
        """What data sets are, where more than their number is to be said."""
        s = self.settings
        return f" of {self.size}, K = {s.n_components}"

    @property
    def kinds(self) -> list[str]:
        """What the features hold, and how many do."""
        s, words = self.settings, {kind: FEATURES[kind] for kind in self.settings.kinds}
        if s.kinds.count("gaussian") > 1 or s.kinds == ("gaussian",):
            words |= {"gaussian": f"numbers with {COVARIANCES[s.covariance]}"}
        several = len(words) > 1
        one = {
            kind: name.replace("features", "feature").replace("counts", "count").replace("numbers", "number")
            for kind, name in words.items()
        }
        counts = {kind: s.kinds.count(kind) for kind in words}
        named = {
            kind: one[kind] if counts[kind] == 1 and (several or kind != "gaussian") else words[kind] for kind in words
        }
        return [f"{counts[kind]} {name}" if several else name for kind, name in named.items()]

    @property
    def meanings(self) -> dict[str, str]:
        """What the quantities are; those of data sets that have others are left out."""
        known = SERIES if self.settings.sequences else MEANINGS
        return {name: text for name, text in known.items() if any(self._is(name, q) for q in self.quantities)}

    @staticmethod
    def _is(name: str, quantity: str) -> bool:
        """Whether a quantity is among those that have one meaning."""
        return quantity in name.split(", ") or (name.endswith("x…") and quantity.startswith(name[:-1]))

    def kind(self, method: str) -> str:
        """What a method is, in two words."""
        return KINDS[method]

    def variational(self, method: str) -> bool:
        """Whether its medians are judged apart from its widths."""
        return method in VARIATIONAL

    @property
    def sided(self) -> list[str]:
        """The quantities whose medians are judged."""
        return self.quantities

    def article(self, quantity: str) -> str:
        """A quantity within a sentence."""
        return f"the {quantity}"

    def own(self, method: str, quantities: Sequence[str] | None = None) -> list[str]:
        """Which of some quantities, by default of all, the method has."""
        return [q for q in (self.quantities if quantities is None else quantities) if q in self.ranks[method]]

    def level(self, p: pd.Series) -> float:
        """The level at which one of a method's p-values is judged, by Bonferroni over those it has."""
        return self.alpha / p.notna().sum()

    def label(self, method: str) -> str:
        """A method's short name, the one on the figures."""
        return style.look(method).label

    def colour(self, method: str) -> str:
        """A method's colour, the one on the figures."""
        return style.look(method).colour

    @property
    def notes(self) -> list[str]:
        """How the draws of the methods came about."""
        notes = []
        L = self.settings.draws
        if "em" in self.methods:
            notes.append(
                f"EM has no posterior. Its {L} draws are maximum-likelihood fits to data simulated from its fit (the "
                "parametric bootstrap), started at that fit; a resample on which EM collapsed was replaced by another."
            )
            if set(self.settings.kinds) - {"gaussian"}:
                notes.append(
                    "Where EM estimates a probability or a rate as zero, quantities such as the log determinant of a cluster "
                    "are infinite: the lowest or the highest of their ranks, in a random order among themselves."
                )
        for method, options in (("gibbs", GIBBS), ("nuts", NUTS)):
            if method in self.methods:
                notes.append(
                    f"{self.label(method)} is thinned: of {options['chains'] * options['draws']} draws {L} are kept, evenly "
                    f"spaced. Where the lowest bulk ESS of the quantities is below {L}, it runs again, up to {RUNS} times in "
                    "all, and the runs are joined before thinning. A simulation that stays below counts as not converged and "
                    "is kept."
                )
        return notes

    def rng(self) -> np.random.Generator:
        """Random numbers for tests, the same for every page of this calibration."""
        return np.random.default_rng(self.settings.seed)

    def band(self, method: str) -> Band:
        """The band of as many uniform ranks as the method has."""
        level = self.alpha / len(self.quantities)
        return uniform(len(self.ranks[method]), self.settings.draws, self.settings.seed, level)

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """p-values of uniform ranks, quantity by method."""
        return pd.DataFrame(
            {m: {q: self.band(m).p_value(r[q].to_numpy()) for q in r} for m, r in self.ranks.items()}, self.quantities
        )

    @cached_property
    def symmetry(self) -> pd.DataFrame:
        """p-values of symmetry, quantity by variational method."""
        L = self.settings.draws
        return pd.DataFrame(
            {
                m: {
                    q: judgement.symmetry(r[q].to_numpy(), L, self.rng(), self.alpha / len(self.sided))
                    for q in self.own(m, self.sided)
                }
                for m, r in self.ranks.items()
                if self.variational(m)
            },
            self.sided,
        )

    def overall(self, method: str, level: float, confidence: float = 0.95) -> tuple[float, float, float]:
        """Coverage over all quantities with its interval, by the spread over simulations of their shares covered."""
        shares = covered(self.ranks[method].to_numpy(), self.settings.draws, level).mean(1)
        return wilson_of_means(shares, confidence)

    def by_quantity(self, method: str, quantity: str, level: float) -> tuple[float, float, float]:
        """Coverage of one quantity with Wilson's 95% interval; missing where the method does not have it."""
        if quantity not in self.ranks[method]:
            return np.nan, np.nan, np.nan
        inside = covered(self.ranks[method][quantity].to_numpy(), self.settings.draws, level)
        return float(inside.mean()), *wilson(float(inside.mean()), len(inside))

    def detectable(self, method: str) -> Detectable:
        """What so many simulations as the method has show of one quantity, allowing for how many are looked at."""
        S, Q = self.ranks[method].shape
        if (S, Q) not in self._detectable:
            alpha = self.alpha / Q
            self._detectable[S, Q] = Detectable(
                power.coverage(LEVELS[-1], S, 1 - self.alpha),
                power.ranks(self.band(method), alpha, self.rng()),
                power.bias(S, alpha, self.rng()),
            )
        return self._detectable[S, Q]

    def detectable_coverage(self, method: str, level: float) -> tuple[float, float]:
        """Highest coverage over all quantities below the level, and lowest above it, that the method's simulations show.

        They count for as many independent cases as the spread over simulations of their shares covered amounts to.
        """
        shares = covered(self.ranks[method].to_numpy(), self.settings.draws, level).mean(1)
        return power.coverage(level, int(cases(shares)), 1 - self.alpha)

    def failed(self, method: str) -> int:
        """In how many simulations the method failed."""
        return self.simulations - len(self.ranks.get(method, ()))

    def troubled(self, method: str) -> str:
        """In how many simulations the method failed, and in how many of the others it did not converge; "" if in none."""
        one = self.table[(self.table["quantity"] == self.quantities[0]) & (self.table["method"] == method)]
        unconverged = int((one["converged"][one["rank"].notna()] == 0).sum())
        counts = (("failed", self.failed(method)), ("not converged", unconverged))
        return "".join(f"; {words} in {n} of {self.simulations} simulations" for words, n in counts if n)

    def intervals(self, method: str) -> Judged:
        """Whether 95% intervals cover 95% of the truths."""
        level = LEVELS[-1]
        mean, low, high = self.overall(method, level)
        _, least, most = self.overall(method, level, 1 - self.alpha)
        covers = f"coverage of 95% intervals {percent(mean)} ({number(100 * low)} to {percent(high)})"
        if len(self.ranks[method]) < FEWEST:
            return Judged("cannot tell", "too few simulations", covers)
        if most < level:
            times = number((1 - mean) / (1 - level), 2)
            return Judged("differs", "overconfident", f"{covers}: they miss {times} times as often as stated")
        if least > level:
            return Judged("differs", "too wide", covers)
        below, _ = self.detectable_coverage(method, level)
        missed = "no coverage error" if np.isnan(below) else f"a coverage error below {number(level - below, 2)}"
        return Judged("agrees", NOTHING, f"{covers}; {self._with(method)} {missed} would not show")

    def posterior(self, method: str) -> Judged:
        """Whether every quantity's ranks are uniform, allowing for how many are looked at."""
        p = self.uniformity[method].dropna()
        Q = len(p)
        if len(self.ranks[method]) < FEWEST:
            return Judged("cannot tell", "too few simulations", f"smallest p-value of {counted(Q)} {p_words(p.min())}")
        out = p[p < self.level(p)].sort_values()
        if len(out):
            most = f"{self.article(out.index[0])} (p {p_words(out.iloc[0])})"
            because = f"ranks of {len(out)} of {counted(Q)}, most clearly {most}"
            return Judged("differs", "not uniform", because)
        found = self.detectable(method).ranks
        return Judged(
            "agrees",
            NOTHING,
            f"ranks of {counted(Q)}; {self._with(method)} {ratio_words(found)} times the posterior’s, or a shift of "
            f"{less_than(found.shift)} posterior sd, would not show",
        )

    def middle(self, method: str) -> Judged:
        """Whether q's medians are unbiased, allowing for how many quantities are looked at."""
        p = self.symmetry[method].dropna()
        Q = len(p)
        if len(self.ranks[method]) < FEWEST:
            return Judged("cannot tell", "too few simulations", f"smallest p-value of {counted(Q)} {p_words(p.min())}")
        out = p[p < self.level(p)].sort_values()
        if len(out) == 0:
            missed = less_than(self.detectable(method).bias)
            because = f"medians of {counted(Q)}; {self._with(method)} a bias of {missed} posterior sd would not show"
            return Judged("agrees", NOTHING, because)
        most, above = out.index[0], (2 * self.ranks[method][out.index[0]] > self.settings.draws).mean()
        side, times = ("below", above) if above > 0.5 else ("above", 1 - above)
        return Judged(
            "differs",
            "biased",
            f"medians of {len(out)} of {counted(Q)}; that of {self.article(most)} is {side} the truth in {percent(times)} of "
            "the simulations",
        )

    def _with(self, method: str) -> str:
        return f"with {len(self.ranks[method])} simulations"


@lru_cache
def uniform(S: int, L: int, seed: int, alpha: float) -> Band:
    """The band of S uniform ranks in 0..L; see `Band.of`."""
    return Band.of(S, L, np.random.default_rng(seed), alpha)


def counted_things(n: int, one: str) -> str:
    """So many of them, in words."""
    return f"{n} {one}{'' if n == 1 else 's'}"


def counted(quantities: int) -> str:
    """So many quantities, in words."""
    return f"{quantities} quantit{'y' if quantities == 1 else 'ies'}"


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
