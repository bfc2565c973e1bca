"""Scores: prediction, predictive checks, cluster recovery."""

from __future__ import annotations

import math

import pandas as pd

from reports.page import quantities
from reports.page.blocks import Figure, Notice, Section, Table, image
from reports.page.cells import error_cell, name_cell
from reports.page.trust import no_fit
from reports.page.view import View


def prediction(view: View) -> Section:
    """Train, held-out and leave-one-out scores."""
    section = Section(
        "prediction",
        "Prediction",
        "Log predictive density per point: higher is better, and differences within two standard errors say little. "
        "These scores judge prediction, not how faithful a posterior is.",
    )
    if not view.trees:
        return no_fit(section)
    heldout = view.has("heldout_log_density")
    if not heldout:
        section.blocks.append(
            Notice(
                "No held-out part was asked for (--test-fraction), so only training and leave-one-out scores are shown."
            )
        )
    scores = {"train_log_density": "training", "heldout_log_density": "held out"}
    dots = [
        {"method": m, "score": words, "value": view.value(m, metric), "se": view.se(m, metric)}
        for metric, words in scores.items()
        for m in [*view.trees, "oracle"]
        if not math.isnan(view.value(m, metric))
    ]
    pictures = []
    if dots:
        from reports.plots.scores import plot_scores

        pictures.append(
            image(plot_scores(pd.DataFrame(dots), "nats a point"), "Training and held-out log density by method")
        )
    section.blocks.append(
        Figure("Mean log predictive density per point, with two standard errors to each side.", pictures)
    )
    columns = {
        "train_log_density": "training",
        "train_log_difference": "difference",
        "heldout_log_density": "held out",
        "heldout_log_difference": "difference",
        "elpd_loo": "LOO (total)",
        "p_loo": "p_loo",
        "loo_khat_bad": "points with a large k-hat",
    }
    shown = [metric for metric in columns if view.has(metric)]
    rows = [
        [name_cell(view, m), *(error_cell(view.value(m, metric), view.se(m, metric)) for metric in shown)]
        for m in [*view.trees, "oracle"]
        if any(not math.isnan(view.value(m, metric)) for metric in shown)
    ]
    words = (
        f" Differences are paired, method minus {view.label(view.base)}."
        if any("difference" in m for m in shown)
        else ""
    )
    section.blocks.append(
        Table(f"Scores ± standard error, in nats.{words}", ["method", *(columns[m] for m in shown)], rows)
    )
    if view.rich and view.loo:
        from reports.plots.khat import plot_khat

        pictures = [
            image(plot_khat(m, elpd), f"Pareto k-hat of {view.label(m)}", raster=True)
            for m, elpd in view.loo.items()
            if elpd.pareto_k is not None
        ]
        caption = "Pareto k-hat of every point: above the line its leave-one-out score is not to be relied on."
        if len(view.loo) > 1:
            import arviz as az

            from reports.plots.compare import plot_compare

            pictures.insert(0, image(plot_compare(az.compare(view.loo)), "Leave-one-out comparison"))
            caption = "Leave-one-out difference from the best, with its standard error. " + caption
        section.blocks.append(Figure(caption, pictures))
    section.blocks.append(
        Notice(
            "Leave-one-out comes from importance sampling for MCMC draws, and from a refit without each point for CAVI. "
            "ADVI has none: re-weighting its draws would not leave a point out of its fit. A posterior that is too narrow can "
            "still predict well, so read these as scores of prediction alone."
        )
    )
    return section


def checks(view: View) -> Section:
    """Posterior predictive checks."""
    section = Section(
        "checks",
        "Predictive checks",
        "Data simulated from each fit should look like the data. Where the observed line leaves the band of simulated ones, "
        "the model, not the method, is usually at fault.",
    )
    if not view.trees:
        return no_fit(section)
    if not view.rich:
        section.blocks.append(
            Notice(
                "These checks are drawn when an MCMC method, or two methods that give draws, are part of the comparison."
            )
        )
        return section
    from reports.plots.loo_pit import plot_loo_pit
    from reports.plots.predictive import plot_predictive

    checked = {m: t for m, t in view.trees.items() if m in view.posteriors and "posterior_predictive" in t}
    if checked:
        pictures = [
            image(
                plot_predictive(m, quantities.by_feature(t)),
                f"Posterior predictive check of {view.label(m)}",
                raster=True,
            )
            for m, t in checked.items()
        ]
        section.blocks.append(
            Figure(
                "Observed distribution function (dark) over those of 40 simulated data sets, feature by feature. A point "
                "estimate is not shown.",
                pictures,
            )
        )
    if view.loo:
        pictures = [
            image(plot_loo_pit(m, quantities.loo_pit(view.trees[m]["loo"].to_dataset())), f"LOO-PIT of {view.label(m)}")
            for m, elpd in view.loo.items()
            if elpd.pareto_k is not None
        ]
        section.blocks.append(
            Figure(
                "LOO-PIT: where each point falls in the distribution predicted from all others. The line should stay "
                "near zero; marked points are those that speak against uniformity, and p is the test's.",
                pictures,
            )
        )
    return section


def recovery(view: View) -> Section:
    """Cluster recovery, where the truth is known."""
    section = Section(
        "recovery",
        "Cluster recovery",
        "How well the clusters match the known classes. The oracle, where there is one, knows the true parameters: "
        "nobody can be expected to beat it by more than chance.",
    )
    columns = {
        "ari": "adjusted Rand",
        "ami": "adjusted mutual information",
        "accuracy": "matched accuracy",
        "brier": "Brier score (0 is best)",
        "log_score": "log score",
        "calibration_error": "calibration error (0 is best)",
    }
    if not view.trees:
        return no_fit(section)
    if not view.has(*columns):
        section.blocks.append(Notice("No true classes are known for these data, so recovery cannot be judged."))
        return section
    rows = [
        [name_cell(view, m), *(error_cell(view.value(m, metric), view.se(m, metric)) for metric in columns)]
        for m in [*view.trees, "oracle"]
        if any(not math.isnan(view.value(m, metric)) for metric in columns)
    ]
    section.blocks.append(
        Table("Agreement of the clusters with the known classes", ["method", *columns.values()], rows)
    )
    return section
