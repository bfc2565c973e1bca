"""The criteria by which a number of clusters or states is chosen: what each is, and where it misleads."""

from __future__ import annotations

from typing import NamedTuple


class Criterion(NamedTuple):
    """A name for readers, the part of the work that gives the number, and what the number is and where it misleads."""

    title: str
    part: str
    meaning: str
    of_numbers: str = ""


CRITERIA = {
    "aic": Criterion(
        "AIC",
        "em",
        "−AIC/2 = L − p, with the log likelihood L at its maximum and p free parameters (Akaike 1974): an estimate of how well "
        "the fit predicts as many new points. Its theory does not hold for the number of clusters, and it tends to choose too "
        "many.",
        "It also follows EM to clusters on a few points: the likelihood of Gaussian clusters is unbounded.",
    ),
    "bic": Criterion(
        "BIC",
        "em",
        "−BIC/2 = L − (p/2) log N (Schwarz 1978): finds the true K as N grows if the clusters have the assumed shape. With few "
        "points it chooses too few; for a cluster of another shape it chooses several.",
    ),
    "sabic": Criterion(
        "SABIC",
        "em",
        "−SABIC/2 = L − (p/2) log((N + 2)/24), BIC adjusted for the sample size (Sclove 1987): a penalty between those "
        "of AIC and BIC from 176 points on. It is much used for latent classes: with few points BIC chooses too few of them.",
    ),
    "icl": Criterion(
        "ICL",
        "em",
        "−ICL/2 = −BIC/2 minus the entropy of the responsibilities (Biernacki, Celeux & Govaert 2000): prefers "
        "well-separated clusters to a good density, and merges clusters that overlap.",
    ),
    "cv": Criterion(
        "cross-validation (EM)",
        "cv",
        "The log density of each fold under the maximum-likelihood fit to the others, summed over all points. It measures "
        "prediction, not the number of clusters, and decreases slowly beyond the true one; it varies with the folds, and with "
        "the optimum that EM finds in each.",
    ),
    "cv-cavi": Criterion(
        "cross-validation (CAVI)",
        "cv-cavi",
        "The same under CAVI’s posterior predictive density, fitted to the other folds with a prior from them. Averaging over "
        "the posterior makes superfluous clusters cost little: expect a plateau, and use the one-standard-error rule.",
    ),
    "held": Criterion(
        "last part (EM)",
        "held",
        "The log density of the last quarter of each sequence, row by row given all rows before it, at the maximum-likelihood "
        "fit to the rest: how well the model forecasts one step ahead. One split, and rows that follow each other, make its "
        "error larger than it is stated.",
    ),
    "held-cavi": Criterion(
        "last part (VB)",
        "held-cavi",
        "The same with parameters averaged over the variational posterior of the rest, which weighs its draws equally at every "
        "row.",
    ),
    "elbo": Criterion(
        "ELBO",
        "cavi",
        "CAVI’s lower bound on the log evidence, around one labelling. The bound is looser for larger K, as there are K! "
        "labellings, and for clusters that overlap: it favours few.",
    ),
    "elbo-logk": Criterion(
        "ELBO + log K!",
        "cavi",
        "The bound over all labellings, valid where q separates its clusters. Clusters that q leaves empty have no labels to "
        "exchange: with E of them, log K! is up to log E! too large.",
    ),
    "loo": Criterion(
        "LOO",
        "gibbs",
        "Leave-one-out log predictive density: of one cluster in closed form, else from Gibbs draws by Pareto-smoothed "
        "importance sampling (Vehtari, Gelman & Gabry 2017). Like cross-validation it judges prediction, and superfluous "
        "clusters cost a posterior little.",
    ),
    "lfo": Criterion(
        "LFO",
        "lfo",
        "Leave-future-out log predictive density: each step of a sequence is predicted from all steps before it, from a "
        "quarter of the longest on, by Gibbs draws with Pareto-smoothed weights, sampled anew where k-hat says so (Bürkner, "
        "Gabry & Vehtari 2020). The prior is that of the whole data. Like cross-validation it judges prediction.",
    ),
    "evidence": Criterion(
        "evidence",
        "gibbs",
        "log p(x), over all labellings: exact where the sum over all allocations is affordable, else by bridge sampling from "
        "Gibbs draws. It depends on the prior, whose scale here follows K, and with few points it "
        "may favour one more cluster, which stays empty. A difference below one nat is not worth more than a bare mention, "
        "one above five is very strong (Kass & Raftery 1995).",
    ),
    "blrt": Criterion(
        "BLRT",
        "blrt",
        "Bootstrap likelihood ratio test of K against K + 1 clusters (McLachlan 1987): the p-value is the share of data sets "
        "drawn from the fit of K clusters whose likelihood gains as much from one cluster more. Chosen is the smallest K that "
        "is not rejected, each smaller one being rejected (Nylund, Asparouhov & Muthén 2007). The test takes the shape of the "
        "clusters as given, and with many points rejects any K where that is wrong. Where starts miss the optimum of K + 1 "
        "clusters in the drawn data, the p-value is too small.",
    ),
}

SYSTEMS = {
    "aic": "−AIC/2 = L − p, with the log likelihood L at its maximum and p parameters that the likelihood tells apart (Akaike "
    "1974): an estimate of how well the fit predicts as many new rows. It tends to choose too many states.",
    "bic": "−BIC/2 = L − (p/2) log N, N the number of values seen (Schwarz 1978). With few rows it "
    "chooses too few states.",
    "held": CRITERIA["held"].meaning,
    "held-cavi": CRITERIA["held-cavi"].meaning,
    "elbo": "Lower bound of variational Bayes on the log evidence. It takes states as independent of parameters, and of a "
    "latent system it has one set of coordinates of the states: its gap to the evidence grows with the number of states, "
    "so that it "
    "favours few.",
    "evidence": "log p(x), parameters and states integrated out. Of a structure by importance sampling from the variational "
    "posterior where its k-hat allows that; of latent systems, whose posterior is a ridge along the coordinates of the states, "
    "by bridge sampling from Gibbs draws turned to one set of coordinates, times the volume of the others. It depends on the "
    "priors. A difference below one nat is not worth more than a bare mention, one above five is very strong (Kass & "
    "Raftery 1995).",
}
"""What the criteria of linear dynamical systems are and where they mislead."""

ONLY_SYSTEMS = ("held", "held-cavi")
"""Criteria of linear dynamical systems alone."""

EXCHANGEABLE = ("loo", "blrt")
"""Criteria that take the order of the rows for meaningless."""

SEQUENTIAL = ("lfo",)
"""Criteria that need an order of the rows."""

TESTS = ("blrt",)
"""Criteria that are a p-value and no sum of nats; see `reports.studies.selection.bootstrap`."""
