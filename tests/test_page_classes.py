"""The section on classes and the pictures of tables that are not all numbers, on pages of tiny data."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

import reports
from reports.comparison.results import Results
from reports.metrics.classes import classification_table
from reports.page.blocks import Figure, Notice, Table
from reports.page.classes import classes
from reports.page.columns import columns
from reports.page.opening import opening
from reports.page.profiles import Profiles
from reports.page.selection import View as SelectionView
from reports.page.selection import clusters, meaning
from reports.page.view import View


def mixed_rows(n=60):
    """A number, a count, a binary and a nominal column of two groups."""
    rng = np.random.default_rng(4)
    high = rng.random(n) < 0.5
    return np.column_stack(
        [
            rng.normal(np.where(high, 40.0, 30.0), 1.0),
            rng.poisson(np.where(high, 6.0, 1.0)),
            rng.random(n) < np.where(high, 0.9, 0.2),
            rng.binomial(2, np.where(high, 0.8, 0.2)),
        ]
    )


MIXED = {
    "features": ["mass", "visits", "smokes", "town"],
    "kinds": ["gaussian", "poisson", "bernoulli", "categorical"],
    "levels": {"smokes": ("no", "yes"), "town": ("A", "B", "C")},
}


@cache
def compared(kind):
    """One comparison a kind of table, by EM and CAVI, from which every test reads."""
    rng, methods = np.random.default_rng(1), ("em", "cavi")
    if kind == "mixed":
        return reports.compare(mixed_rows(), 2, rng=1, methods=methods, draws=100, chains=1, **MIXED).results
    if kind == "count":
        x = np.concatenate([rng.poisson(1, 40), rng.poisson(7, 30)])[:, None] * 1.0
        return reports.compare(
            x, 2, rng=1, methods=methods, draws=100, chains=1, features=["deaths"], kinds=["poisson"]
        ).results
    high = rng.random((80, 1)) < 0.5
    x = (rng.random((80, 4)) < np.where(high, 0.85, 0.15)) * 1.0
    own = {"kinds": ["bernoulli"] * 4, "features": list("ABCD"), "image": (2, 2) if kind == "pixels" else None}
    return reports.compare(x, 2, rng=1, methods=methods, draws=100, chains=1, **own).results


def tables(section):
    return {block.slug: block for block in section.blocks if isinstance(block, Table)}


def texts(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_fit_statistics_are_those_of_the_metrics():
    view = View(compared("binary"))
    section = classes(view)
    said = texts(tables(section)["fit-statistics"])
    assert said["free parameters"] == ["9", "9"]
    assert said["degrees of freedom"] == ["6", "6"]
    assert said["G²"][0] == f"{view.value('em', 'g2'):.2f}"
    assert said["G²: p, chi-square"][0] == f"{view.value('em', 'g2_p'):.3f}"
    assert said["G²: p, chi-square"][1] == said["BIC"][1] == "–"
    assert said["classification error"][0] == f"{100 * view.value('em', 'classification_error', 'data'):.1f}%"
    assert said["SABIC"][0] == f"{view.value('em', 'sabic'):.2f}"
    assert not any(isinstance(block, Notice) for block in section.blocks)  # five rows a pattern: it is not sparse


def test_the_summary_has_the_criteria():
    results = compared("binary")
    found = reports.Comparison({}, {}, results).summary()
    for metric in ("aic", "bic", "sabic", "icl", "entropy_r2", "g2"):
        assert found.loc["em", metric] == View(results).value("em", metric)
    assert np.isnan(found.loc["cavi", "sabic"])
    assert 1 <= found.loc["em", "starts_at_best"] <= found.loc["em", "starts"]


def test_classification_adds_up_to_the_points():
    view = View(compared("binary"))
    table = tables(classes(view))["classification"]
    r = view.trees["em"]["clusters"].to_dataset()["responsibilities"].transpose("obs", "cluster").values
    expected = classification_table(r)
    assert [[cell.sort for cell in row[1:3]] for row in table.rows] == [pytest.approx(row) for row in expected]
    assert sum(row[-1].sort for row in table.rows) == pytest.approx(80)


def test_residuals_stand_by_size_with_the_p_value_of_the_association():
    view = View(compared("binary"))
    table = tables(classes(view))["residuals"]
    values = [row[1].sort for row in table.rows]
    assert len(values) == 6
    assert values == sorted(values, reverse=True)
    pair = table.rows[0][0].text
    assert view.value("em", "bvr", pair) == values[0]
    a, b = pair.split(" ~ ")
    assert table.rows[0][-1].sort == view.value("em", "ppc_p", f"log odds ratio[{a}, {b}]")


def test_columns_without_levels_have_no_residuals_and_are_named():
    table = tables(classes(View(compared("mixed"))))["residuals"]
    assert [row[0].text for row in table.rows] == ["smokes ~ town"]
    assert "mass and visits, which have no levels" in table.caption
    own = tables(classes(View(compared("count"))))
    assert set(own) == {"fit-statistics", "classification", "classification-others"}
    assert "G²" not in texts(own["fit-statistics"])


def test_dashes_and_missing_statistics_are_explained():
    caption = tables(classes(View(compared("binary"))))["fit-statistics"].caption
    assert "They belong to a point estimate" in caption
    assert "chi-square p-values hold at the maximum of the likelihood" in caption
    mixed = classes(View(compared("mixed")))
    assert "chi-square" not in tables(mixed)["fit-statistics"].caption
    (notice,) = (block for block in mixed.blocks if isinstance(block, Notice))
    assert "There are none here: the columns of numbers and counts have no levels" in notice.text
    results = compared("binary")
    gap = results.data["x"].copy()
    gap[0, 0] = np.nan
    metrics = results.metrics[~results.metrics["metric"].isin(["df", "g2"])]
    of_gaps = View(Results(results.manifest, metrics, results.data.assign(x=gap), results.trees))
    (notice,) = (block for block in classes(of_gaps).blocks if isinstance(block, Notice))
    assert "values are missing, and a row with a gap has no pattern" in notice.text
    assert columns(of_gaps).columns[-1] == "missing"
    assert [row[-1].text for row in columns(of_gaps).rows] == ["1", "0", "0", "0"]
    assert columns(View(results)).columns == ["column", "taken as", "values"]


def test_sparse_tables_are_told():
    rng = np.random.default_rng(1)
    x = rng.integers(2, size=(30, 3)) * 1.0
    view = View(reports.compare(x, 2, rng=1, methods=("em",), kinds=["bernoulli"] * 3, reference="auto").results)
    assert "is sparse: 30 rows, 8 possible patterns" in "".join(
        b.text for b in classes(view).blocks if isinstance(b, Notice)
    )


@pytest.mark.parametrize(
    ("kind", "form", "words"),
    [
        ("binary", "lines", "Every cluster's probability of each feature"),
        ("pixels", "tiles", "The clusters as pictures, a row a method"),
        ("mixed", "cells", "the probability of a level, the rate of a count or the mean of a number"),
        ("count", "lines", "How often each number of deaths was seen"),
    ],
)
def test_every_kind_of_table_opens_with_its_picture(kind, form, words):
    view = View(compared(kind))
    assert Profiles(view).form == form
    (figure,) = (block for block in opening(view).blocks if isinstance(block, Figure))
    assert words in figure.caption
    assert figure.images[0].alt


def test_a_picture_s_shape_is_kept_and_must_fit(tmp_path):
    saved = compared("pixels").save(tmp_path / "results")
    assert Profiles(View(Results.load(saved))).image == (2, 2)
    x = np.random.default_rng(1).integers(2, size=(20, 4)) * 1.0
    with pytest.raises(ValueError, match="image is 2x3; expected rows x columns, 4 pixels"):
        reports.compare(x, 1, rng=1, methods=("em",), kinds=["bernoulli"] * 4, image=(2, 3))
    with pytest.raises(ValueError, match="two levels"):
        reports.compare(x, 1, rng=1, methods=("em",), image=(2, 2))


def test_mixed_tables_are_checked_by_the_statistics_of_each_kind():
    found = set(compared("mixed").trees["em"]["checks"]["statistic"].values)
    assert {
        "skewness[mass]",
        "variance / mean[visits]",
        "share[smokes, yes]",
        "share[town, C]",
        "Cramér's V[smokes, town]",
        "distinct patterns",
        "largest correlation eigenvalue, all columns",
    } <= found
    assert "G²" not in found
    assert "G²" in compared("binary").trees["em"]["checks"]["statistic"].values


def test_a_selection_shows_the_profiles_of_its_choice():
    chosen = reports.select(mixed_rows(), [1, 2], rng=1, criteria=("bic",), restarts=3, **MIXED)
    (figure,) = clusters(SelectionView(chosen)).blocks
    assert "the probability of a level, the rate of a count" in figure.caption
    labels = [tick.get_text() for tick in figure.images[0].figure.axes[0].get_yticklabels()]
    assert labels == ["mass", "visits", "smokes: yes", "town: A", "B", "C"]


def test_a_selection_speaks_of_gaussian_clusters_where_there_are_some():
    def said(numbers):
        (facts,) = meaning(SimpleNamespace(manifest={"criteria": ["aic"]}, numbers=numbers)).blocks
        return facts.items[0][1]

    assert said(["mass"]).startswith(said([]))
    assert "Gaussian" in said(["mass"])
    assert "Gaussian" not in said([])
