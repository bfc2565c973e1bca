"""What latent class analysis and count models print: fit statistics, residuals, classification, predictive checks."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mixtures import Bernoulli, Categorical, Dirichlet, Draws, Fit, Gaussian, Poisson, Product
from mixtures.datasets import load
from mixtures.methods import cavi, em
from reports.metrics import classes, discrete_checks, goodness, residuals
from reports.metrics.nominal import nominal, probabilities

# Stouffer & Toby's role conflict data by Goodman (1974, Biometrika 61:215-231): answers 1111, 1112, ..., 2222.
VALUES = [42, 23, 6, 25, 6, 24, 7, 38, 1, 4, 1, 6, 2, 9, 2, 20]
CHEATING = ["LIEEXAM", "LIEPAPER", "FRAUD", "COPYEXAM"]


def values():
    return np.repeat(np.array(list(itertools.product((0.0, 1.0), repeat=4))), VALUES, axis=0)


def fitted(x, K, Family=Bernoulli):
    return em.fit(x, Family.from_data(x, K), Dirichlet.symmetric(K), rng=1)


def numbers(rows):
    return {row.metric: row.value for row in rows}


def point(family, weights, **theta):
    theta = {name: np.asarray(value, float)[None, None] for name, value in theta.items()}
    weights = np.asarray(weights, float)[None, None]
    allocation = Dirichlet.symmetric(weights.shape[-1])
    return Fit("em", "point", family, allocation, Draws(weights, theta), np.empty(0), True, {})


# ---- fit statistics


@pytest.mark.parametrize("Family", [Bernoulli, Categorical])
def test_fit_statistics_of_carcinoma_are_as_published(Family):
    """Linzer & Lewis (2011, J. Stat. Software 42(10), section 5.1); degrees of freedom by Agresti (2013, section 14.1)."""
    x = load("carcinoma").x
    fit = fitted(x, 3, Family)
    found = numbers(goodness.fit_statistics(fit, x)) | numbers(goodness.penalised(fit, x))
    assert found["g2"] == pytest.approx(15.26171, abs=2e-5)
    assert found["x2"] == pytest.approx(20.50336, abs=1e-3)  # its last digits are those of where EM stops
    assert (found["n_parameters"], found["df"], found["patterns"], found["cells"]) == (23, 104, 20, 128)
    assert (found["aic"], found["bic"]) == (pytest.approx(633.41, abs=5e-3), pytest.approx(697.1357, abs=5e-5))
    assert "g2_p" not in found  # 118 rows in 128 cells


def test_fit_statistics_of_a_small_table_have_tail_areas():
    """Goodman (1974) prints 2.72 on 6 degrees of freedom for two classes, 81.08 and 104.11 on 11 for independence."""
    x = values()
    one, two = (numbers(goodness.fit_statistics(fitted(x, K), x)) for K in (1, 2))
    assert (one["g2"], one["x2"], one["df"]) == (pytest.approx(81.08, abs=5e-3), pytest.approx(104.11, abs=5e-3), 11)
    assert (two["g2"], two["x2"], two["df"]) == (pytest.approx(2.72, abs=5e-3), pytest.approx(2.72, abs=5e-3), 6)
    assert two["g2_p"] == pytest.approx(0.8431, abs=5e-5)  # R: pchisq(2.7199, 6, lower.tail = FALSE)
    assert one["g2_p"] < 1e-11


def test_patterns_that_were_not_seen_count():
    """Over all eight cells, written out."""
    x = np.array([[0, 0, 0]] * 5 + [[1, 1, 0]] * 3, float)
    p = stats.binom.pmf
    fit = point(Bernoulli.from_data(x, 1), [1.0], probabilities=[[0.3, 0.4, 0.1]])
    cells = np.array(list(itertools.product((0, 1), repeat=3)))
    m = 8 * np.prod(p(cells, 1, [0.3, 0.4, 0.1]), axis=1)
    n = np.array([5, 0, 0, 0, 0, 0, 3, 0])
    found = goodness.goodness(np.array([5, 3]), fit.log_predictive(x[[0, -1]]))
    assert found.x2 == pytest.approx(((n - m) ** 2 / m).sum())
    assert found.g2 == pytest.approx(2 * (5 * np.log(5 / m[0]) + 3 * np.log(3 / m[6])))
    assert found.patterns == 2


def test_the_adjusted_bic_counts_fewer_rows():
    assert em.criteria(-293.7050, 0.0, 23, 118)["sabic"] == pytest.approx(587.41 + 23 * np.log(5))


def test_other_posteriors_have_no_penalised_likelihood_and_numbers_no_patterns(rng):
    x = values()
    family, allocation = Bernoulli.from_data(x, 2), Dirichlet.symmetric(2)
    variational = cavi.fit(x, family, allocation, rng=1)
    assert goodness.penalised(variational, x) == []
    found = numbers(goodness.fit_statistics(variational, x))
    assert found["g2"] > 2.7199  # the least that two classes can have
    assert "g2_p" not in found
    mode = em.fit(x, family, allocation, rng=1, prior=True)
    assert numbers(goodness.penalised(mode, x))["bic"] > numbers(goodness.penalised(fitted(x, 2), x))["bic"]
    for Family, own in ((Gaussian, rng.standard_normal((20, 2))), (Poisson, rng.poisson(3, (20, 2)) * 1.0)):
        assert set(numbers(goodness.fit_statistics(fitted(own, 1, Family), own))) == {"n_parameters"}
    gap = np.where(np.arange(len(x))[:, None] == 0, np.nan, x)
    assert set(numbers(goodness.fit_statistics(variational, gap))) == {"n_parameters"}


# ---- bivariate residuals


@pytest.mark.parametrize("Family", [Bernoulli, Categorical])
def test_bivariate_residuals_of_independence_are_as_published(Family):
    """The documentation of poLCA's `bvr` (Linzer & Lewis, version 1.6): of one class 12.4, 5.7, 8.3, 15.6, ..."""
    x = values()
    rows, found = residuals.residuals(fitted(x, 1, Family), x, ("A", "B", "C", "D"))
    pairs = {row.target: row.value for row in rows}
    assert [round(pairs[name], 1) for name in ("A ~ B", "A ~ C", "A ~ D", "B ~ C")] == [12.4, 5.7, 8.3, 15.6]
    assert rows == sorted(rows, key=lambda row: -row.value)
    table = stats.contingency.crosstab(x[:, 2], x[:, 3]).count
    assert pairs["C ~ D"] == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    assert np.isnan(found["bvr"].sel(item="A", item_="A"))
    np.testing.assert_allclose(found["bvr"], found["bvr"].T)


def test_bivariate_residuals_divide_by_degrees_of_freedom_and_leave_gaps_out(rng):
    x = np.column_stack([rng.integers(3, size=60), rng.integers(2, size=60), rng.integers(4, size=60)]) * 1.0
    rows, _ = residuals.residuals(fitted(x, 1, Categorical), x, ("a", "b", "c"))
    table = stats.contingency.crosstab(x[:, 0], x[:, 2]).count
    pairs = {row.target: row.value for row in rows}
    assert pairs["a ~ c"] == pytest.approx(stats.chi2_contingency(table, correction=False).statistic / 6)
    gap = x.copy()
    gap[:10, 1] = np.nan
    fit = fitted(x, 1, Categorical)
    again = residuals.bivariate(gap, nominal(fit.family), residuals.expected_pairs(fit))
    assert again[0, 2] == pytest.approx(pairs["a ~ c"])
    part = residuals.bivariate(x[10:], nominal(fit.family), residuals.expected_pairs(fit))
    assert again[0, 1] == pytest.approx(part[0, 1])


def test_expected_pairs_are_those_of_simulated_rows(rng):
    """Of a point, of draws, and in closed form of a variational posterior, whose factors are independent."""
    x = values()
    family, allocation = Bernoulli.from_data(x, 2), Dirichlet.symmetric(2)
    variational = cavi.fit(x, family, allocation, rng=1)
    for fit in (fitted(x, 2), variational, variational.as_draws(1, 100, rng)):
        expected = residuals.expected_pairs(fit)
        y, _ = fit.sample(20000, rng)
        both = (y[:, 0] * y[:, 3]).mean()
        assert expected[1, 7] == pytest.approx(both, abs=4.5 * np.sqrt(both / 20000) + 0.005)
        assert expected[:2, 2:4].sum() == pytest.approx(1)


def test_only_columns_with_levels_have_residuals(rng):
    x = np.column_stack(
        [rng.standard_normal(40), rng.integers(2, size=40), rng.poisson(2, 40), rng.integers(3, size=40)]
    )
    parts = {"families": [Gaussian, Poisson, Categorical], "columns": [[0], [2], [3, 1]]}
    family = Product.from_data(x, 2, **parts)
    fit = em.fit(x, family, Dirichlet.symmetric(2), rng=1)
    rows, _ = residuals.residuals(fit, x, ("height", "smokes", "visits", "town"))
    assert [row.target for row in rows] == ["town ~ smokes"]
    theta = fit.held.flat()[1]
    assert probabilities(family, theta).shape == (1, 2, 5)
    assert residuals.residuals(fitted(x[:, :1], 2, Gaussian), x[:, :1], ("height",)) is None
    assert residuals.residuals(fitted(x[:, 2:3], 1, Poisson), x[:, 2:3], ("visits",)) is None


# ---- classes


def test_classification_is_that_of_the_responsibilities():
    """Written out for three rows."""
    r = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    posterior, modal = classes.sizes(r)
    np.testing.assert_allclose(posterior, [1.7 / 3, 1.3 / 3])
    np.testing.assert_allclose(modal, [2 / 3, 1 / 3])
    np.testing.assert_allclose(classes.classification_table(r), [[1.5, 0.2], [0.5, 0.8]])
    assert classes.classification_error(r) == pytest.approx(0.7 / 3)
    H = [stats.entropy(row) for row in r]
    assert classes.relative_entropy(r) == pytest.approx(1 - np.mean(H) / np.log(2))
    assert classes.entropy_r2(r) == pytest.approx(1 - np.mean(H) / stats.entropy(posterior))


def test_certain_classes_have_an_entropy_r2_of_one_and_one_class_has_none():
    certain = np.eye(3)[[0, 1, 2, 2, 2]]
    assert (classes.entropy_r2(certain), classes.relative_entropy(certain)) == (1, 1)
    assert classes.classification_error(certain) == 0
    alone = np.ones((4, 1))
    assert np.isnan([classes.entropy_r2(alone), classes.relative_entropy(alone)]).all()
    assert {row.metric for row in classes.classes("em", alone)} == {"class_share", "class_share_modal"}
    blind = np.full((4, 2), 0.5)
    assert (classes.entropy_r2(blind), classes.relative_entropy(blind)) == (0, 0)


def test_carcinoma_is_classified_as_published():
    """Linzer & Lewis (2011, section 5.1): estimated population shares, and those by modal posterior probability."""
    x = load("carcinoma").x
    found = classes.classes("em", fitted(x, 3).responsibilities(x))
    shares = sorted(row.value for row in found if row.metric == "class_share")
    modal = sorted(row.value for row in found if row.metric == "class_share_modal")
    assert shares == pytest.approx([0.1817, 0.3736, 0.4447], abs=5e-5)
    assert modal == pytest.approx([0.1949, 0.3729, 0.4322], abs=5e-5)


# ---- statistics of replicated data sets


def test_shares_associations_and_scores_are_those_of_tables(rng):
    y = (rng.random((3, 50, 4)) < [0.2, 0.5, 0.7, 0.9]) * 1.0
    found = discrete_checks.nominal(y, "abcd", [("no", "yes")] * 4)
    for r, x in enumerate(y):
        table = stats.contingency.crosstab(x[:, 0], x[:, 2]).count + 0.5
        odds = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
        assert found["log odds ratio[a, c]"][r] == pytest.approx(np.log(odds))
        assert found["share[d, yes]"][r] == x[:, 3].mean()
        assert found["sd of the total score"][r] == pytest.approx(x.sum(1).std())
        assert found["share with total score 3"][r] == np.mean(x.sum(1) == 3)
        assert found["distinct patterns"][r] == len(np.unique(x, axis=0))
    assert len(found) == 4 + 6 + 6 + 1
    other = discrete_checks.nominal(y, "abcd", [("no", "yes")] * 3 + [("left", "right")])
    assert "sd of the total score" not in other


def test_columns_of_several_levels_are_associated_by_cramers_v(rng):
    y = rng.integers(3, size=(2, 60, 3)) * 1.0
    y[..., 1] = np.minimum(y[..., 1], 1)
    found = discrete_checks.nominal(y, "abc", [tuple("xyz"), ("no", "yes"), tuple("xyz")])
    for r, x in enumerate(y):
        table = stats.contingency.crosstab(x[:, 0], x[:, 1]).count
        expected = stats.contingency.association(table, method="cramer")
        assert found["Cramér's V[a, b]"][r] == pytest.approx(expected, rel=1e-5)
        assert found["share[c, z]"][r] == np.mean(x[:, 2] == 2)
    assert "share[b, no]" not in found


def test_many_columns_have_a_statistic_each_and_very_many_few():
    y = np.random.default_rng(1).integers(2, size=(2, 40, 30)) * 1.0
    names = [f"i{j}" for j in range(30)]
    found = discrete_checks.nominal(y, names, [("0", "1")] * 30)
    assert sum(name.startswith("mean log odds ratio[") for name in found) == 30
    own = discrete_checks._log_odds_ratios(y)[1, 4]
    assert found["mean log odds ratio[i4]"][1] == pytest.approx(np.delete(own, 4).mean())
    assert {"smallest total score", "largest total score"} < set(found)
    wide = np.tile(y, (1, 1, 4))
    found = discrete_checks.nominal(wide, [f"i{j}" for j in range(120)], [("0", "1")] * 120)
    assert len(found) == 6


def test_g2_is_that_of_the_table(rng):
    """By `goodness`, which counts patterns by sorting rows."""
    x = load("carcinoma").x
    fit = fitted(x, 2)
    log_p = fit.log_predictive(x)
    expected = numbers(goodness.fit_statistics(fit, x))["g2"]
    assert discrete_checks.g2(x[None], log_p[None])[0] == pytest.approx(expected)
    counted = discrete_checks.pattern_counts(x[None])[0]
    np.testing.assert_array_equal(np.sort(counted[counted > 0]), np.sort(np.unique(x, axis=0, return_counts=True)[1]))
    wide = rng.integers(4, size=(2, 500, 9)) * 1.0
    distinct = (discrete_checks.pattern_counts(wide) > 0).sum(-1)
    assert distinct.tolist() == [len(np.unique(own, axis=0)) for own in wide]


def test_counts_have_dispersion_and_zeros(rng):
    y = rng.poisson([0.0, 1.5, 4.0], size=(2, 40, 3)) * 1.0
    found = discrete_checks.counts(y, "abc")
    for r, x in enumerate(y):
        assert found["variance / mean[b]"][r] == pytest.approx(x[:, 1].var(ddof=1) / x[:, 1].mean())
        assert found["share of zeros[b]"][r] == np.mean(x[:, 1] == 0)
        assert (found["mean[c]"][r], found["largest[c]"][r]) == (x[:, 2].mean(), x[:, 2].max())
        assert found["variance / mean[a]"][r] == 1
        top = np.linalg.eigvalsh(np.corrcoef(x[:, 1:].T))[-1]
        assert found["largest correlation eigenvalue of counts"][r] == pytest.approx(top)
