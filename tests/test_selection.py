"""The choice of K: every criterion against an independent source, what is chosen, what is refused, and the page."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import collapsed_data, three_clusters
from scipy.special import entr, gammaln, logsumexp
from sklearn.mixture import GaussianMixture
from test_page import CHROMIUM, Page, browse
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

import reports
from mixtures import COVARIANCES, Dirichlet, datasets
from mixtures.ascent.states import statistics
from mixtures.methods import cavi, gibbs
from reports.commands.app import app
from reports.metrics import criteria
from reports.metrics.criteria import Candidate, Clustering
from reports.metrics.criterion import CRITERIA, ONLY_SYSTEMS, SEQUENTIAL, TESTS
from reports.metrics.evidence import bridge
from reports.page import profiles
from reports.page.selected import render
from reports.page.selection import CLOSE, View, clusters, verdict
from reports.studies.selection.choices import choose
from reports.studies.selection.doubts import doubts
from reports.studies.selection.plane import Plane

SCORES = [name for name in CRITERIA if name not in (*TESTS, *SEQUENTIAL, *ONLY_SYSTEMS)]


def select(x, components, criteria, **settings):
    return reports.select(
        x, components, **{"rng": np.random.default_rng(0), "criteria": criteria, "restarts": 20} | settings
    )


def value(selection, criterion, k, covariance="full", column="value"):
    table = selection.table
    row = table[(table["criterion"] == criterion) & (table["components"] == k) & (table["covariance"] == covariance)]
    return row[column].item()


def theirs(x, k, covariance="full", **settings):
    """scikit-learn's maximum likelihood, converged to 1e-9 nats a point and without its regularisation."""
    model = GaussianMixture(
        k, covariance_type=covariance, tol=1e-9, reg_covar=0, max_iter=5000, n_init=3, random_state=0
    )
    with threadpool_limits(1):
        return model.set_params(**settings).fit(x)


@pytest.fixture(scope="module")
def x():
    return three_clusters(60, np.random.default_rng(3))


# values


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_penalised_likelihoods_are_those_of_scikit_learn(covariance, x):
    """On -2 log scales divided by -2; two optimisers that stop at 1e-9 nats a point agree to 1e-4 in total."""
    found = select(x, [1, 3], ("aic", "bic", "sabic", "icl"), covariance=covariance)
    for k in (1, 3):
        model = theirs(x, k, covariance)
        entropy = entr(model.predict_proba(x)).sum()
        for criterion, expected in (("aic", model.aic(x)), ("bic", model.bic(x)), ("icl", model.bic(x) + 2 * entropy)):
            assert value(found, criterion, k, covariance) == pytest.approx(-expected / 2, abs=1e-4)
        p = model._n_parameters()
        sabic = -2 * 60 * model.score(x) + p * np.log(62 / 24)
        assert value(found, "sabic", k, covariance) == pytest.approx(-sabic / 2, abs=1e-4)
    own, r = found.fits.set_index("components").loc[3], theirs(x, 3, covariance).predict_proba(x)
    assert own["em_entropy_r2"] == pytest.approx(1 - entr(r).sum(1).mean() / entr(r.mean(0)).sum(), abs=1e-4)
    assert np.isnan(found.fits["em_entropy_r2"].iloc[0])


def test_cross_validation_is_that_of_refits(x):
    """The folds as they are drawn, refitted by scikit-learn; the margin's error by its definition."""
    found = select(x, [1, 3], ("cv",), folds=5)
    folds = np.array_split(np.random.default_rng(0).spawn(2)[0].permutation(len(x)), 5)
    log_p = {k: np.empty(len(x)) for k in (1, 3)}
    for k, own in log_p.items():
        for rows in folds:
            own[rows] = theirs(np.delete(x, rows, axis=0), k).score_samples(x[rows])
        assert value(found, "cv", k) == pytest.approx(own.sum(), abs=1e-2)
        assert value(found, "cv", k, column="se") == pytest.approx(np.sqrt(60) * own.std(ddof=1), abs=1e-2)
    choice = found.choice("cv")
    assert (choice.best.components, choice.runner_up.components) == (3, 1)
    assert choice.margin == pytest.approx((log_p[3] - log_p[1]).sum(), abs=2e-2)
    assert choice.margin_se == pytest.approx(np.sqrt(60) * (log_p[3] - log_p[1]).std(ddof=1), abs=2e-2)


def test_cross_validation_by_cavi_leaves_the_fold_out_of_the_prior_too(x):
    found = select(x, [2], ("cv-cavi",), folds=3)
    total = 0.0
    for rows in np.array_split(np.random.default_rng(0).spawn(2)[0].permutation(len(x)), 3):
        rest = np.delete(x, rows, axis=0)
        family = COVARIANCES["full"].from_data(rest, 2)
        fit = cavi.fit(rest, family, Dirichlet.symmetric(2), rng=np.random.default_rng(5))
        total += fit.log_predictive(x[rows]).sum()
    assert value(found, "cv-cavi", 2) == pytest.approx(total, abs=1e-2)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_evidence_of_few_points_is_the_sum_over_all_labellings(covariance):
    x = three_clusters(8, np.random.default_rng(1))
    found = select(x, [1, 2], ("elbo", "elbo-logk", "evidence"), covariance=covariance, alpha0=0.7)
    for k in (1, 2):
        family, allocation = COVARIANCES[covariance].from_data(x, k), Dirichlet.symmetric(k, 0.7)
        s = np.array([statistics(x, family, np.eye(k)[list(z)]) for z in product(range(k), repeat=8)])
        log_z = logsumexp(family.log_marginal(s) + allocation.log_marginal(s[..., 0]))
        assert value(found, "evidence", k, covariance) == pytest.approx(log_z, abs=1e-8)
        assert value(found, "elbo", k, covariance) <= log_z + 1e-8
        bound, all_labellings = (value(found, name, k, covariance) for name in ("elbo", "elbo-logk"))
        assert all_labellings - bound == pytest.approx(gammaln(k + 1))
    assert value(found, "elbo", 1, covariance) == pytest.approx(value(found, "evidence", 1, covariance), abs=1e-8)
    assert found.fits["gibbs_evidence"].tolist() == ["closed form", "exact"]


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_cluster_needs_no_chains(covariance, x):
    """Evidence and leave-one-out scores in closed form, these as the densities of refits under the prior of all points."""
    found = select(x[:25], [1], ("elbo", "loo", "evidence"), covariance=covariance)
    family, allocation = COVARIANCES[covariance].from_data(x[:25], 1), Dirichlet.symmetric(1)
    left_out = [
        cavi.fit(np.delete(x[:25], n, axis=0), family, allocation, rng=np.random.default_rng(0)).log_predictive(x[[n]])
        for n in range(25)
    ]
    assert value(found, "loo", 1, covariance) == pytest.approx(np.sum(left_out), abs=1e-9)
    assert value(found, "loo", 1, covariance, "se") == pytest.approx(5 * np.std(left_out, ddof=1), abs=1e-9)
    assert value(found, "evidence", 1, covariance) == pytest.approx(value(found, "elbo", 1, covariance), abs=1e-9)
    assert "gibbs_rhat" not in found.fits
    assert not found.warnings


# choices


def test_clusters_are_counted_without_draws(x):
    found = select(x, range(1, 6), ("bic", "icl", "elbo", "elbo-logk"))
    assert {one.criterion: one.best.components for one in found.choices} == dict.fromkeys(found.table["criterion"], 3)


@pytest.fixture(scope="module")
def three():
    """Three clusters apart, by all criteria; of 60 points the evidence would favour a fourth, whose prior is narrower."""
    return select(three_clusters(150, np.random.default_rng(3)), [3, 4], None, name="<three>", features=["a", "b"])


def test_clusters_far_apart_are_counted(three):
    assert set(three.table["criterion"]) == set(SCORES)
    for criterion in ("bic", "icl", "elbo", "elbo-logk", "evidence", "cv-cavi", "loo"):
        assert three.choice(criterion).best == Candidate("full", 3), three.choice(criterion)
    assert three.fits["gibbs_evidence"].tolist() == ["bridge"] * 2
    assert value(three, "evidence", 3, column="se") > 0
    assert value(three, "evidence", 3) > value(three, "elbo-logk", 3) - 0.1


def test_clusters_chosen_are_those_of_a_fit(three, x):
    """By EM where the criteria are about its fits, else by CAVI; a fit that no criterion asked for is made."""
    K3 = Candidate("full", 3)
    own = three.clusterings[K3]
    assert own.method == "cavi"
    np.testing.assert_allclose(np.sort(own.weights), np.sort(np.bincount(own.labels) / 150), atol=0.01)
    for k in range(3):
        rows = three.x[own.labels == k]
        np.testing.assert_allclose(own.means[k], rows.mean(0), atol=0.1)
        np.testing.assert_allclose(own.covariances[k], np.cov(rows.T), atol=0.25)
    assert own.probability.min() > 1 / 3
    by_em = select(x, [3], ("bic", "cv"), folds=3).clusterings[K3]
    model = theirs(x, 3)
    assert by_em.method == "em"
    np.testing.assert_allclose(np.sort(by_em.weights), np.sort(model.weights_), atol=1e-4)
    np.testing.assert_allclose(
        np.sort(np.linalg.det(by_em.covariances)), np.sort(np.linalg.det(model.covariances_)), rtol=1e-3
    )
    made = select(x, [3], ("cv-cavi",), folds=3).clusterings[K3]
    np.testing.assert_allclose(
        np.sort(made.weights), np.sort(select(x, [3], ("elbo",)).clusterings[K3].weights), atol=1e-4
    )


def test_more_than_two_features_are_drawn_on_principal_axes(rng):
    """In units of standard deviations, whatever the units of the features; clusters are projected as their points are."""
    x = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)) + [0, 5, -3, 1]
    plane = Plane.of(x, list("abcd"))
    points = plane.points(x)
    values = np.linalg.eigvalsh(np.corrcoef(x.T))[::-1]
    np.testing.assert_allclose(np.cov(points.T), np.diag(values[:2]) * 200 / 199, atol=1e-9)
    assert plane.names[0] == f"principal axis 1 ({100 * values[0] / 4:.0f}% of the variance)"
    other = Plane.of(x * [1, 1e4, 1e-3, 7], list("abcd")).points(x * [1, 1e4, 1e-3, 7])
    np.testing.assert_allclose(np.abs(other), np.abs(points), atol=1e-6)
    theta = {"means": x.mean(0)[None], "covariances": np.cov(x.T)[None]}
    clustering = Clustering("em", np.ones(1), theta, np.zeros(200, int), np.ones(200))
    np.testing.assert_allclose(plane.covariances(clustering)[0], np.cov(points.T), atol=1e-9)
    np.testing.assert_allclose(plane.points(clustering.means)[0], 0, atol=1e-9)
    few = Plane.of(x[:, :2], ["a", "b"])
    np.testing.assert_array_equal(few.points(x[:, :2]), x[:, :2])
    assert not few.principal


def test_page_draws_the_clusters_that_are_chosen(rng):
    """In one dimension, where CAVI leaves one of four clusters empty; the caption names criteria, fits and what is left out."""
    x = np.concatenate([rng.normal(0, 1, 60), rng.normal(9, 1, 60)])[:, None]
    found = select(x, [2, 5], ("bic", "elbo"))
    found.clusterings[Candidate("full", 5)] = replace(found.clusterings[Candidate("full", 2)], method="em")
    choices = [found.choices[0], replace(found.choices[1], best=Candidate("full", 5))]
    section = clusters(View(replace(found, choices=choices)))
    (figure,) = section.blocks
    assert "CAVI’s posterior means at K\u00a0=\u00a02" in figure.caption
    assert "EM’s maximum-likelihood estimates at K\u00a0=\u00a05" in figure.caption
    assert "not drawn: 3 at K\u00a0=\u00a05" in figure.caption
    assert figure.images[0].alt.startswith("K\u00a0=\u00a02: clusters of 60 and 60 points")
    assert clusters(View(replace(found, clusterings={}))) is None


def test_faithful_is_what_scikit_learn_and_the_literature_say():
    """BIC: three clusters of one covariance matrix (mclust's EEE, 3; Fraley & Raftery 2007), two with their own."""
    x = datasets.load("faithful").x
    found = select(x, range(1, 5), ("bic",), covariance=tuple(COVARIANCES))
    their = {(c, k): -theirs(x, k, c, tol=1e-6).bic(x) / 2 for c in ("full", "tied") for k in range(1, 5)}
    assert max(their, key=their.get) == ("tied", 3)
    assert found.choice("bic").best == ("tied", 3)
    assert found.choice("bic").margin == pytest.approx(their["tied", 3] - their["tied", 4], abs=0.05)
    assert found.choice("bic", "full").best.components == 2
    assert max(range(1, 5), key=lambda k: their["full", k]) == 2


def test_choice_by_hand():
    a, b, c = (Candidate("full", k) for k in (1, 2, 3))
    parameters = {a: 2, b: 5, c: 8}
    equal = choose("bic", "full", {c: (-1.0, np.nan), b: (-1.0, np.nan), a: (-4.0, np.nan)}, {}, parameters)
    assert (equal.best, equal.runner_up, equal.margin, equal.one_se) == (b, c, 0.0, None)
    assert np.isnan(equal.margin_se)
    estimates = choose("evidence", "full", {a: (-4.0, 0.3), b: (-1.0, 0.4)}, {}, parameters)
    assert (estimates.margin, estimates.margin_se) == (3.0, pytest.approx(0.5))
    points = {
        a: np.array([0.0, 0.0, 0.0, -1.0]),
        b: np.array([0.0, 0.5, -0.5, 0.0]),
        c: np.array([0.5, 0.6, -0.5, 0.0]),
    }
    sums = {k: (p.sum(), np.nan) for k, p in points.items()}
    scored = choose("cv", "full", sums, points, parameters)
    assert scored.best == c
    assert scored.margin == pytest.approx(0.6)
    assert scored.margin_se == pytest.approx(2 * np.std([0.5, 0.1, 0.0, 0.0], ddof=1))
    assert scored.one_se == c  # b is 0.6 below, with an error of 0.48, and a 1.6 below, with one of 0.93
    assert choose("cv", "full", {k: sums[k] for k in (a, b)}, points, parameters).one_se == a
    only = choose("bic", "full", {a: (-1.0, np.nan)}, {}, parameters)
    assert only.runner_up is None
    assert np.isnan(only.margin)


@pytest.mark.robustness("numbers")
def test_a_candidate_that_fails_takes_no_part(tmp_path):
    """The likelihood of two clusters grows without bound on ten copies of a point; of one it has a maximum."""
    found = select(collapsed_data(), [1, 2], ("bic", "cv", "elbo"), name="tight")
    assert np.isnan(value(found, "bic", 2))
    assert "collapse" in value(found, "bic", 2, column="missing")
    assert value(found, "elbo", 2) > value(found, "elbo", 1)
    assert ("em", 2) in {(one["part"], one["components"]) for one in found.manifest["failures"]}
    page = Page(render(found)).sections
    assert "max()" not in page["values"]
    assert re.search(r"without fold \d+ of 10, all \d+ starts ended in a collapse", page["values"])
    assert "ELBO chooses K\u00a0=\u00a02" in page["choice"]


def test_chains_that_did_not_mix_choose_no_candidate(x, monkeypatch):
    """A bridge between chains in different modes has an error that no chain shows: K = 3 looks best here, and K = 2 stands."""
    fit, errors = gibbs.fit, {2: 0.0, 3: 500.0}

    def apart(x, family, allocation, **settings):
        found = fit(x, family, allocation, draws=100, tune=50, **settings)
        return replace(found, info=found.info | {"rhat": 1.2 if allocation.n_components == 3 else 1.0})

    def far_off(fit, x, rng):
        *name, value, se = bridge(fit, x, rng)
        return *name, value + errors[fit.n_components], se

    monkeypatch.setattr(gibbs, "fit", apart)
    monkeypatch.setattr(criteria, "bridge", far_off)
    found = select(x, [1, 2, 3], ("evidence", "loo"))
    assert np.isnan(value(found, "evidence", 3))
    assert np.isfinite(value(found, "loo", 3))
    assert "did not mix (split R-hat 1.20)" in value(found, "evidence", 3, column="missing")
    assert found.choice("evidence").best.components < 3
    assert any("the evidence chooses none of these" in warning for warning in found.warnings)
    errors[3] = -500.0
    assert np.isfinite(value(select(x, [1, 2, 3], ("evidence",)), "evidence", 3))


@pytest.mark.robustness("numbers")
def test_no_choice_is_claimed_where_one_candidate_is_left(tmp_path):
    """Not within a structure of which one K is left, nor among all; which K failed and why is told."""
    found = select(collapsed_data(), [1, 2], ("bic", "elbo"), name="tight")
    assert found.choice("bic") is None
    assert {one["criterion"] for one in found.manifest["choices"]} == {"elbo"}
    told = " ".join(found.warnings)
    assert "BIC: no choice, as only K = 1 has a value, of 2 candidates." in told
    assert "EM failed at K = 2 (all 20 starts ended in a collapse) and has no values there" in told
    assert "--reg-covar" in told
    assert found.table.query("criterion == 'bic'")["difference"].isna().all()
    assert found.summary().loc["bic"].isna().all()
    page = Page(render(found)).sections
    assert re.search(r"BIC\s+no choice", page["choice"])
    assert "BIC chooses" not in page["choice"]

    both = select(collapsed_data(), [1, 2], ("bic",), covariance=("full", "tied"))
    assert {one.among: one.best for one in both.choices}.keys() == {"tied", "all"}
    assert "full: EM failed at K = 2" in " ".join(both.warnings)
    across = select(collapsed_data(), [2], ("bic",), covariance=("full", "tied"))
    assert across.choice("bic") is None
    assert "only K = 2 tied has a value, of 2 candidates" in across.warnings[0]
    alone = select(collapsed_data(), [1], ("bic",))
    assert alone.choice("bic").best.components == 1
    none = select(collapsed_data(), [2, 3], ("bic",))
    assert none.warnings[0] == "BIC: no choice, as no candidate has a value."
    assert "No criterion has a value" in Page(render(none)).sections["choice"]


@pytest.mark.robustness("numbers")
def test_where_held_out_rows_are_impossible_everywhere_it_is_told():
    codes = np.zeros((30, 1))
    codes[:10, 0] = np.arange(10)
    found = select(codes, [1, 2], ("cv", "bic"), kinds=["categorical"], folds=5)
    assert found.choice("cv") is None
    told = next(warning for warning in found.warnings if warning.startswith("cross-validation (EM)"))
    assert "no candidate has a value; at K = 1 it is minus infinity: 9 points of 30 would be impossible" in told
    assert told.endswith("which estimates the probability of a value of theirs as zero.")


@pytest.mark.robustness("numbers")
def test_a_ridge_is_scikit_learns(x):
    """The values are of the likelihood itself, not of the objective under noise; a ridge of EM alone."""
    spikes = np.concatenate([np.zeros(40), np.random.default_rng(0).gamma(1, 5, 40)])[:, None]
    facts = {"notes": ["left out 'a [[b]]'", "counted as missing: '?'"]}
    found = select(spikes, [1, 2], ("bic", "cv", "elbo"), reg_covar=1e-4, folds=4, facts=facts)
    for k in (1, 2):
        model = theirs(spikes, k, reg_covar=1e-4)
        assert value(found, "bic", k) == pytest.approx(-model.bic(spikes) / 2, abs=0.05)
    assert found.choice("bic").best.components == found.choice("cv").best.components == 2
    assert value(found, "elbo", 2) == value(select(spikes, [2], ("elbo",)), "elbo", 2)
    assert not [text for text in found.warnings if "failed" in text]
    said = Page(render(found)).sections["setting"].replace("\u2060", "")
    assert "0.0001 added to every variance" in said
    assert "left out 'a [[b]]'; counted as missing: '?'" in said
    with pytest.raises(ValueError, match="reg_covar is -1"):
        select(x, [1], ("bic",), reg_covar=-1)


def test_doubts_are_told():
    fits = pd.DataFrame(
        {
            "components": [2, 3, 4],
            "em_log_likelihood": [-10.0, -10.5, -9.0],
            "em_fewest_points": [9.0, 8.0, 3.0],
            "em_parameters_a_cluster": [5, 5, 5],
            "em_converged": [True, True, False],
            "cavi_empty": [0, 1, 2],
            "gibbs_rhat": [1.0, 1.02, np.nan],
            "gibbs_khat_bad": [0, 0, 1],
            "em_collapsed": [1, 5, 0],
            "em_starts": [20, 20, 20],
            "cavi_log_likelihood_at_mean": [-11.0, -10.6, -7.5],
        }
    )
    told = " ".join(doubts(fits))
    for words in (
        "at K = 3 is 0.5 nats below", "at K = 4 a cluster of EM has fewer points", "EM did not converge at K = 4",
        "at K = 4 CAVI leaves more than one cluster empty", "chains did not mix at K = 3", "high k-hat at K = 4",
        "ended in a collapse: 5 of 20 at K = 3.", "EM’s likelihood at K = 4 is 1.5 nats below that at CAVI’s posterior mean",
    ):  # fmt: skip
        assert words in told
    assert not doubts(fits.iloc[:1])


def test_the_largest_k_is_named_as_an_edge(x):
    found = select(x, [1, 2], ("bic",))
    assert found.choice("bic").best.components == 2
    assert any("the largest candidate" in text for text in found.warnings)


def test_a_candidate_depends_neither_on_the_others_nor_on_workers(x):
    criteria = ("bic", "cv", "elbo")
    some = select(x, [2], criteria, folds=3).table
    more = select(x, [1, 2], criteria, folds=3, covariance=("diag", "full"), workers=2).table
    own = more[(more["covariance"] == "full") & (more["components"] == 2)].reset_index(drop=True)
    columns = ["criterion", "components", "value", "se"]
    pd.testing.assert_frame_equal(own[columns], some[columns], check_exact=True)


# the page


def test_page_says_what_the_numbers_say(three, tmp_path):
    html = render(three)
    page = Page(html)
    sections = ["choice", "clusters", "curves", "values", "fits", "meaning", "setting", "limits", "glossary"]
    assert "2 of 2" in page.sections["fits"]  # the starts that were continued and reached the best optimum
    assert list(page.sections) == sections
    assert page.tags.count("script") == 1
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"\[\[[^\]]*\|", html)
    assert "<three>" in page.sections["setting"]
    assert not [url for url in page.addresses if not url.startswith(("#", "data:"))]
    assert not re.search(r"\b(nan|None)\b", " ".join(page.sections.values()))
    sentences = " ".join(verdict(View(three)))
    agreed = [CRITERIA[c].title for c in SCORES if three.choice(c).best.components == 3]
    first = next(verdict(View(three)))
    assert "choose K\u00a0=\u00a03" in first
    assert all(title in first for title in agreed)
    close = {c for c in SCORES if three.choice(c).margin < max(CLOSE, 2 * np.nan_to_num(three.choice(c).margin_se))}
    assert ("by a small margin" in sentences) == bool(close)
    if CHROMIUM:
        console, asked, document = browse(html, tmp_path)
        assert not console
        assert not asked
        assert 'aria-label="Sort by criterion"' in document


def test_a_selection_shows_itself(three, tmp_path):
    assert len(repr(three)) < 300
    for part in ("Selection for <three>, 150 points in 2-D", "K = 3 by", "BIC"):
        assert part in repr(three)
    table = three.summary()
    assert list(table.index) == list(SCORES)
    assert table.loc["bic", ["components", "runner_up_components"]].tolist() == [3, 4]
    assert table.loc["bic", "margin"] == three.choice("bic").margin
    assert np.isnan(table.loc["bic", "margin_se"])
    assert three.plots == ["clusters", "curves"]
    titles = [ax.get_title("left") for ax in three.plot("curves").axes]
    assert [title for title in titles if title] == [CRITERIA[name].title for name in SCORES]
    html = three._repr_html_()
    assert "<img" not in html
    assert next(verdict(View(three))) in html
    assert "&lt;three&gt;" in three.to_html(tmp_path / "page.html").read_text()


# the command


def command(*arguments):
    return CliRunner().invoke(app, ["select", *arguments], env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = ("--criteria", "bic,elbo", "--restarts", "5", "--workers", "1")


def test_command_writes_the_folder_and_prints_the_choice(folder):
    result = command("acidity", "--components", "1:3", "--covariance", "full,tied", *QUICK)
    assert result.exit_code == 0, result.output
    out = folder / "results" / "acidity-select"
    assert {path.name for path in out.iterdir()} == {"report.html", "selection.csv", "selection.png", "manifest.json"}
    assert "results/acidity-select/report.html" in result.stdout
    table = pd.read_csv(out / "selection.csv")
    assert len(table) == 2 * 3 * 2
    manifest = json.loads((out / "manifest.json").read_text())
    chosen = next(one for one in manifest["choices"] if (one["criterion"], one["among"]) == ("bic", "all"))
    best = table[table["criterion"] == "bic"].sort_values("value").iloc[-1]
    assert chosen["best"] == {"covariance": best["covariance"], "components": best["components"]}
    assert re.search(rf"^ *BIC .* {best['components']} {best['covariance']} ", result.stdout, re.MULTILINE)
    assert manifest["seed"] == 0
    again = command("acidity", "--components", "1,3", *QUICK, "--no-report")
    assert again.exit_code == 0
    assert "results/acidity-select-2/selection.csv" in again.stdout


@pytest.mark.parametrize("step", ["pandas.DataFrame.to_csv", "matplotlib.figure.Figure.savefig", "os.rename"])
def test_what_interrupts_the_writing_leaves_nothing_and_the_same_can_be_asked_again(step, x, tmp_path, monkeypatch):
    found = select(x, [1, 2], ("bic",), restarts=2)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            found.save(tmp_path / "o", report=False)
    assert list(tmp_path.iterdir()) == []
    found.save(tmp_path / "o", report=False)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"selection.csv", "selection.png", "manifest.json"}


def test_command_exits_with_one_where_a_fit_failed(folder):
    pd.DataFrame(collapsed_data(), columns=["x"]).to_csv("tight.csv", index=False)
    result = command("tight.csv", "-k", "1:2", *QUICK)
    assert result.exit_code == 1
    assert re.search(r"em, full, K = 2 failed: all \d+ starts ended in a collapse", result.stderr)
    assert (folder / "results" / "tight-select" / "report.html").is_file()


BAD = {
    "backwards": (["faithful", "--components", "8:1"], "'8:1'"),
    "zero": (["faithful", "--components", "0:3"], "at least 1"),
    "words": (["faithful", "--components", "abc"], "expected numbers of clusters such as 1:8"),
    "no number": (["faithful", "--components", ""], "expected numbers of clusters"),
    "negative": (["faithful", "--components", "-1:3"], "'-1:3'"),
    "more than rows": (["galaxies", "--components", "1:83"], "82"),
    "unknown criterion": (["faithful", "--criteria", "bic,icll"], "did you mean 'icl'"),
    "no criterion": (["faithful", "--criteria", ","], "no criterion"),
    "unknown structure": (["faithful", "--covariance", "diagonal"], "did you mean 'diag'"),
    "no structure": (["faithful", "--covariance", ","], "nothing to choose from"),
    "more folds than rows": (["faithful", "--folds", "273"], "2 to 272"),
    "one fold": (["faithful", "--folds", "1"], "2 to 272"),
    "no restart": (["faithful", "--restarts", "0"], "restarts is 0"),
    "a ridge below zero": (["faithful", "--reg-covar", "-1"], "reg_covar is -1.0; expected a number of at least 0"),
    "a ridge that is none": (["faithful", "--reg-covar", "nan"], "reg_covar is nan"),
    "no such data": (["faithfull"], "did you mean 'faithful'"),
    "folder in use": (["faithful", "--out", "thesis"], "is not empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, folder):
    arguments, message = BAD[case]
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("")
    before = sorted(folder.rglob("*"))
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert sorted(folder.rglob("*")) == before


def test_help_names_every_criterion():
    text = re.sub(r"\s+", " ", command("--help").stdout)
    assert ", ".join(CRITERIA) in text


def test_many_points_are_not_sampled_unless_asked():
    from reports.studies.selection.asked import check_criteria

    assert "evidence" not in check_criteria(CRITERIA, sampled=False)
    assert set(check_criteria(CRITERIA)) == set(CRITERIA)


def test_no_more_starts_are_told_than_were_continued():
    """Starts that are at the best optimum after 20 passes count as having found it, continued or not."""
    from reports.page.selection import _fact

    assert _fact("em_reached", 10, 1).text == "1 of 1"
    assert _fact("cavi_reached", 3, 10).text == "3 of 10"


# ---- missing values


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_a_page_draws_the_points_that_have_all_features(d):
    x = np.random.default_rng(5).normal(size=(40, d))
    x[::6, 0] = np.nan
    found = select(x, [1, 2], ["bic"], missing="model", restarts=2)
    assert "7 points with missing values are not drawn." in Page(render(found)).sections["clusters"]
    view = View(found)
    assert (view.complete.sum(), len(view.clustering(next(iter(view.drawn))).labels)) == (33, 33)
    assert np.isfinite(view.plane.axes).all()


@pytest.mark.robustness("numbers")
def test_a_page_shows_profiles_where_no_point_has_all_features():
    x = np.random.default_rng(5).normal(size=(40, 2))
    x[::2, 0] = x[1::2, 1] = np.nan
    section = Page(render(select(x, [1], ["bic"], missing="model", restarts=2))).sections["clusters"]
    assert "not drawn" not in section
    assert profiles.cells_words(["gaussian"]) in section
