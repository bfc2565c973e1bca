"""What speaks against believing some of the numbers of a selection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reports.metrics.criteria import PART_TITLES, Candidate
from reports.metrics.criterion import CRITERIA, TESTS
from reports.metrics.optimum import HIGHER
from reports.metrics.reference import RHAT
from reports.studies.selection import bootstrap
from reports.studies.selection.result import Selection

if TYPE_CHECKING:
    import pandas as pd

# Part of EM's starts from which their collapses are told.
MANY = 0.25


def warnings_of(selection: Selection) -> list[str]:
    """What speaks against believing some of the numbers, one sentence a structure and kind."""
    several, said = selection.fits["covariance"].nunique() > 1, [*without_choice(selection), *_failures(selection)]
    for structure, fits in selection.fits.groupby("covariance", sort=False):
        said += [f"{structure}: {sentence}" if several else sentence for sentence in doubts(fits)]
    largest = max(selection.manifest["components"])
    at_edge = [
        CRITERIA[c.criterion].title
        for c in selection.choices
        if c == selection.choice(c.criterion) and c.best.components == largest > 1 and c.criterion not in TESTS
    ]
    if at_edge:
        said.append(
            f"{', '.join(at_edge)}: the choice K = {largest} is the largest candidate, and the best may be larger still; raise "
            "--components."
        )
    return said


def without_choice(selection: Selection) -> Iterator[str]:
    """Which criteria make no choice: those with a value for one of several candidates, or for none."""
    candidates = [Candidate(*key) for key in selection.fits[["covariance", "components"]].itertuples(index=False)]
    several = selection.fits["covariance"].nunique() > 1
    by_survivors: dict[tuple[tuple[Candidate, ...], str], list[str]] = {}
    for criterion in selection.manifest["criteria"]:
        if selection.choice(criterion) is None and criterion not in TESTS:
            rows = selection.table[selection.table["criterion"] == criterion]
            own, others = rows[rows["value"].notna()], rows[rows["value"].isna()]
            left = tuple(Candidate(*key) for key in own[["covariance", "components"]].itertuples(index=False))
            infinite = others[others["missing"].fillna("").str.startswith("minus infinity")]
            why = "".join(f"; at K = {one.components} it is {one.missing}" for one in infinite.head(1).itertuples())
            by_survivors.setdefault((left, why), []).append(CRITERIA[criterion].title)
    for (left, why), titles in by_survivors.items():
        alone = " and ".join(f"K = {c.components}{f' {c.covariance}' if several else ''}" for c in left)
        only = f"only {alone} has a value, of {len(candidates)} candidates" if left else "no candidate has a value"
        yield f"{listed(titles)}: no choice, as {only}{why}."
    for structure in selection.manifest["covariances"] if selection.tests else ():
        chosen, why = bootstrap.sequential(bootstrap.within(selection.tests, structure))
        if chosen is None:
            yield f"BLRT{f', {structure}' if several else ''}: no choice, as {why}."
        alike: dict[tuple[str, str], list[int]] = {}
        for one in bootstrap.within(selection.tests, structure):
            if one.needed is not None and (chosen is None or one.candidate.components <= chosen.candidate.components):
                low, high = one.interval
                why = (
                    f"(p = {one.p:.2g}, 95% interval {low:.2g} to {high:.2g}); about {one.needed} replicates would tell"
                )
                alike.setdefault((one.answer, why), []).append(one.candidate.components)
        for (answer, why), ks in alike.items():
            said = f"K = {listed(ks)} {'is' if len(ks) == 1 else 'are'} {answer}"
            yield f"BLRT{f', {structure}' if several else ''}: {said} within Monte Carlo error alone {why}."


def _failures(selection: Selection) -> Iterator[str]:
    """What could not be fitted at which K and why, a sentence a structure and part of the work."""
    several = selection.fits["covariance"].nunique() > 1
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for failure in selection.manifest["failures"]:
        groups.setdefault((failure["covariance"], failure["part"]), []).append(failure)
    for (structure, part), failures in groups.items():
        reason = re.split(", the last|;", failures[0]["reason"], maxsplit=1)[0]
        ks = listed(sorted(failure["components"] for failure in failures))
        ridge = part in ("em", "cv") and re.search("collapse|singular", failures[0]["reason"])
        yield (
            f"{f'{structure}: ' if several else ''}{PART_TITLES[part]} failed at K = {ks} ({reason}) and has no values there"
            f"{'; raise --restarts, or give EM a ridge with --reg-covar' if ridge else ''}."
        )


def doubts(fits: pd.DataFrame) -> list[str]:
    """What speaks against the fits under one structure."""
    said: list[str] = []

    def where(name: str, holds: Callable[[pd.Series], pd.Series]) -> list[int]:
        return [] if name not in fits else fits.loc[fits[name].notna() & holds(fits[name]), "components"].tolist()

    if "em_log_likelihood" in fits:
        ended = fits[fits["em_log_likelihood"].notna()]
        highest = ended["em_log_likelihood"].cummax()
        for k, fall in zip(ended["components"], highest - ended["em_log_likelihood"], strict=True):
            if fall > HIGHER:
                said.append(
                    f"EM’s likelihood at K = {k} is {fall:.2g} nats below that of fewer clusters: no start found "
                    "the optimum; raise --restarts."
                )
        few = where("em_fewest_points", lambda v: v < fits["em_parameters_a_cluster"])
        if few:
            said.append(
                f"at K = {listed(few)} a cluster of EM has fewer points than free parameters; such maxima of the "
                "likelihood are often spurious, and AIC, BIC and ICL may choose them."
            )
    if "em_collapsed" in fits:
        many = fits[fits["em_collapsed"] >= MANY * fits["em_starts"]]
        if len(many):
            counts = [f"{r.em_collapsed:.0f} of {r.em_starts:.0f} at K = {r.components}" for r in many.itertuples()]
            said.append(f"starts of EM that ended in a collapse: {listed(counts)}.")
    if {"em_log_likelihood", "cavi_log_likelihood_at_mean"} <= set(fits):
        gap = fits["cavi_log_likelihood_at_mean"] - fits["em_log_likelihood"]
        for k, nats in zip(fits["components"], gap, strict=True):
            if nats > HIGHER:
                said.append(
                    f"EM’s likelihood at K = {k} is {nats:.2g} nats below that at CAVI’s posterior mean: EM has not found the "
                    "highest; raise --restarts."
                )
    for part, title in (("em", "EM"), ("cavi", "CAVI")):
        unsettled = where(f"{part}_converged", lambda v: v.eq(False))
        if unsettled:
            said.append(f"{title} did not converge at K = {listed(unsettled)}.")
    empty = where("cavi_empty", lambda v: v > 1)
    if empty:
        said.append(
            f"at K = {listed(empty)} CAVI leaves more than one cluster empty: log K! counts equal labellings several times, "
            "and ELBO + log K! is too high."
        )
    apart = where("gibbs_rhat", lambda v: ~(v < RHAT))
    if apart:
        bridged = "bridge" in set(fits.get("gibbs_evidence", ()))
        too_small = (
            "the evidence and of LOO are too small there, and the evidence chooses none of these"
            if bridged
            else "LOO are too small there"
        )
        said.append(
            f"Gibbs chains did not mix at K = {listed(apart)} (split R-hat above {RHAT}): the standard errors of {too_small}."
        )
    heavy = where("gibbs_khat_bad", lambda v: v > 0)
    if heavy:
        said.append(f"LOO has points with a high k-hat at K = {listed(heavy)}, whose scores are unreliable.")
    return said


def listed(items: Sequence[object]) -> str:
    """Numbers of clusters, or titles, as words.

    >>> listed([4]), listed([4, 6, 7])
    ('4', '4, 6 and 7')
    """
    return ", ".join(map(str, items[:-1])) + f" and {items[-1]}" if len(items) > 1 else str(items[0])
