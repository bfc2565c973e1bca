"""What the numbers of an overfitting study say, in sentences made from them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from reports.page.blocks import Bullets, Section
from reports.page.numbers import number, percent, with_error
from reports.page.overfit_view import PANELS, View, as_number, half_free, missing
from reports.page.words import listing
from reports.studies.overfit import summary
from reports.studies.overfit.summary import Difference, Slice


def short_answer(view: View) -> str:
    """How often CAVI's predictive was better or worse than each other method, over all settings."""
    found = view.differences
    if found.empty:
        return "CAVI is not part of this study."
    parts = []
    for other, part in found.groupby("other", sort=False):
        better, worse = int((part["decided"] > 0).sum()), int((part["decided"] < 0).sum())
        parts.append(f"above {_the(view, str(other))} in {better} of {len(part)} settings and below it in {worse}")
    return (
        f"By held-out log density CAVI’s predictive is {listing(parts)}; in the rest the 95% interval of the paired "
        "difference holds zero."
    )


def findings(view: View) -> Section:
    """What the numbers say, in words."""
    section = Section("found", "What was found", "Each sentence is made from the numbers of the tables below.")
    items = [
        *_with_n(view),
        *_losses(view),
        *_with_k(view),
        *_selected(view),
        *_collapses(view),
        *_with_alpha(view),
        *_covered(view),
    ]
    section.blocks.append(Bullets(items or ["The grid is too small to compare anything."]))
    return section


def _with_n(view: View) -> Iterator[str]:
    for part in _main(view, "n"):
        xs = sorted(part.table.loc[part.table["method"] == "cavi", "n"].unique())
        by_n = {n: d for n in xs if (d := summary.paired(_at(part, "n", n), "cavi", "em")) is not None and d.both > 1}
        if len(by_n) < 2:
            continue
        few, many = min(by_n), max(by_n)
        first, last = by_n[few], by_n[many]
        at = view.words(part.settings, "n")
        text = (
            f"{at[0].upper() + at[1:]}: at n = {few:g}, CAVI’s predictive scores {_signed(first)} ML-EM "
            f"(both ended in {first.both} of {first.total}; it wins {percent(first.wins)}); "
            f"at n = {many:g}, {_signed(last)} it."
        )
        prior = summary.paired(_at(part, "n", few), "cavi-plugin", "em")
        averaging = summary.paired(_at(part, "n", few), "cavi", "cavi-plugin")
        if prior and averaging:
            text += (
                f" At n = {few:g} the prior alone gives {with_error(prior.mean, prior.half)} of it and averaging "
                f"{with_error(averaging.mean, averaging.half)}."
            )
        settled = [n for n in by_n if all(by_n[m].mean + by_n[m].half < 0.01 for m in by_n if m >= n)]
        text += (
            f" From n = {settled[0]:g} on it is below 0.01 nats." if settled else " It is above 0.01 nats throughout."
        )
        gaps = [
            f"{with_error(*summary.interval(own.to_numpy()))} for {view.label(m)}"
            for m in ("em", "cavi")
            if len(own := _at(part, "n", few).query("method == @m")["gap"].dropna())
        ]
        yield f"{text} The gap between train and test at n = {few:g} is {listing(gaps)}."


def _losses(view: View) -> Iterator[str]:
    for other, part in view.differences.groupby("other", sort=False):
        lost = part[part["decided"] < 0].sort_values("mean")
        rival = _the(view, str(other))
        if lost.empty:
            yield f"VB is nowhere below {rival} by more than its interval ({len(part)} settings)."
            continue
        settings = lost.iloc[0].to_dict()
        yield (
            f"VB loses to {rival} in {len(lost)} of {len(part)} settings, by most at {view.words(settings)}: "
            f"{with_error(-settings['mean'], settings['half'])} nats a point."
        )


def _with_k(view: View) -> Iterator[str]:
    for part in _main(view, "k"):
        ks = sorted(part.table["k"].dropna().unique())
        true = part.settings["true_k"]
        base = float(true) if not missing(true) and true in ks else ks[0]  # type: ignore[arg-type]
        if ks[-1] <= base:
            continue
        said = []
        for method in [m for m in view.methods if m not in ("oracle", "single", "cavi-plugin")]:
            own = part.table[part.table["method"] == method]
            scores = own.pivot_table(index="replicate", columns="k", values="test", aggfunc="first")
            if base in scores and ks[-1] in scores:
                change = (scores[ks[-1]] - scores[base]).dropna().to_numpy()
                if len(change) > 1:
                    said.append(f"{view.label(method)} by {with_error(*summary.interval(change))}")
        if said:
            yield (
                f"{ks[-1]:g} clusters in place of {base:g} ({view.words(part.settings, 'k')}) change the test score of "
                f"{listing(said)} nats a point."
            )


def _selected(view: View) -> Iterator[str]:
    for part in view.sweeps[:PANELS]:
        found = summary.selection(part.table, as_number(part.settings["true_k"]))
        found = found[found["right"].notna()]
        if len(found):
            said = [f"{row['criterion']} in {row['right']:.0%} (loss {with_error(row['loss'], row['loss_half'])})"
                    for row in found.to_dict("records") if not str(row["criterion"]).startswith("test score")]  # fmt: skip
            yield f"The true K ({view.words(part.settings, 'k')}) is chosen by {listing(said)}; losses in nats a point."


def _collapses(view: View) -> Iterator[str]:
    for method, own in view.table[~view.table["method"].isin(("oracle", "cavi-plugin"))].groupby("method", sort=False):
        failed, near = own["failed"].sum(), own["near"].sum()
        if failed or near:
            rates = own.groupby("n")[["failed", "near"]].mean()
            few = rates.index.min()
            yield (
                f"{view.label(str(method))} failed in {failed:.0f} of {len(own)} fits and all but collapsed in {near:.0f}; at "
                f"n = {few} in {percent(rates['failed'][few])} and {percent(rates['near'][few])}."
            )
        elif method in ("cavi", "map"):
            yield f"{view.label(str(method))} never failed, and never came near a collapse, in {len(own)} fits."


def _with_alpha(view: View) -> Iterator[str]:
    for part in _main(view, "alpha"):
        if missing(part.settings["k"]) or part.settings["k"] == 1:
            continue
        for method in ("cavi", "gibbs"):
            own = part.table[(part.table["method"] == method)].groupby("alpha")["occupied"].mean()
            if len(own) > 1:
                said = [f"{number(mean, 2)} at α = {alpha:g}" for alpha, mean in own.items()]
                yield (
                    f"Of {part.settings['k']:g} fitted clusters ({view.words(part.settings, 'alpha')}) {view.label(method)} "
                    f"occupies {listing(said)}; d/2 is {half_free(part.settings):g}."
                )


def _covered(view: View) -> Iterator[str]:
    for part in _main(view, "n"):
        for method in ("cavi", "gibbs", "nuts"):
            own = part.table[part.table["method"] == method]
            if own["cover_density"].notna().any():
                rates = own.groupby("n")["cover_density"].mean()
                yield (
                    f"95% intervals of {view.label(method)} for the density at a point ({view.words(part.settings, 'n')}) hold "
                    f"the truth in {percent(rates.iloc[0])} at n = {rates.index[0]} and {percent(rates.iloc[-1])} at "
                    f"n = {rates.index[-1]}."
                )


def _main(view: View, along: str) -> list[Slice]:
    """The slices that get a sentence: those at the true K first, or at the largest for a sweep over alpha."""
    return [part for part in summary.slices(view.table, along) if "cavi" in set(part.table["method"])][:PANELS]


def _at(part: Slice, along: str, x: float) -> pd.DataFrame:
    return part.table[part.table[along] == x]


def _the(view: View, method: str) -> str:
    return {"em": "ML-EM", "single": "one Gaussian"}.get(method, view.label(method))


def _signed(difference: Difference) -> str:
    side = "above" if difference.mean >= 0 else "below"
    return f"{with_error(abs(difference.mean), difference.half)} nats a point {side}"
