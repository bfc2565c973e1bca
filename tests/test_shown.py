"""What results look like in Python and in a notebook: a short repr, HTML that keeps to itself, the plots of the page."""

import inspect
import pickle
import re
from itertools import islice, product

import numpy as np
import pytest
from conftest import three_clusters
from matplotlib.figure import Figure

import reports
from mixtures.dynamics import local_level
from reports import compare
from reports.comparison import catalogue, run
from reports.comparison.verdict import CLAIMS
from reports.page import render
from reports.page.glance import summary
from reports.validation import catalogue as of_any_model

NAME = "<b>mine & yours</b>"


@pytest.fixture(scope="module")
def comparison():
    x = three_clusters(40, np.random.default_rng(5))
    return compare(x, 2, rng=np.random.default_rng(0), methods=("em", "cavi"), draws=100, restarts=2, name=NAME)


def test_a_repr_fits_in_two_lines(comparison):
    text = repr(comparison)
    assert len(text) < 200
    for part in ("Comparison", "EM and CAVI", NAME, "40 points", "K = 2", "no reference"):
        assert part in text


@pytest.mark.robustness("security")
def test_html_keeps_to_itself(comparison):
    """No rule of its style reaches what is outside, what a user named is escaped, and nothing is fetched."""
    html = comparison._repr_html_()
    style, body = html.split("</style>")
    assert style.strip().startswith("<style>\n.mixtures-result {")
    assert style.count("{") == style.count("}")
    assert not any(line.startswith(("body", ":root")) for line in style.splitlines()[1:])
    assert "<article" in body
    assert "<b>mine" not in body
    assert "http" not in html
    assert "best of 2 starts, found" in body


def test_every_plot_of_the_page_has_a_name_and_draws(comparison):
    first = comparison.plot("answer")
    assert len(comparison._drawing[0]) == 1  # drawn as far as needed
    figures = [comparison.plot(name) for name in comparison.plots]
    assert figures[0] is first
    assert len(figures) == render(comparison.results).count("<img ") > 5
    assert all(isinstance(figure, Figure) and figure.axes for figure in figures)
    assert len(set(map(id, figures))) == len(figures)
    with pytest.raises(ValueError, match="did you mean 'scores'"):
        comparison.plot("score")


def test_a_figure_that_is_handed_to_another_process_is_embedded_there(comparison):
    """Half of the page is drawn in a second process."""
    sections = comparison._sections(comparison._view())
    images = [
        image for section in islice(sections, 5) for block in section.blocks for image in getattr(block, "images", ())
    ]
    chosen = [next(image for image in images if image.raster is raster) for raster in (True, False)]
    for image, copy in zip(chosen, pickle.loads(pickle.dumps(chosen)), strict=True):
        assert copy.source.startswith("data:image/")
        assert (copy.source, copy.width, copy.alt) == (image.source, image.width, image.alt)


def test_the_verdict_is_a_row_a_method_and_claim(comparison):
    frame = comparison.verdict()
    assert list(frame.columns) == ["method", "claim", "state", "because"]
    assert list(zip(frame["method"], frame["claim"], strict=True)) == list(product(("em", "cavi"), CLAIMS))
    assert set(frame["state"]) == {"cannot tell"}
    assert frame["because"].str.startswith("no trusted reference").all()


def test_the_summary_is_the_table(comparison):
    frame = comparison.summary()
    assert frame.equals(comparison.table())
    assert list(frame.index) == ["em", "cavi"]
    assert np.isnan(frame.loc["em", "khat"])


def test_html_has_every_cell_of_the_summary(comparison):
    html = comparison._repr_html_()
    block = summary(comparison._view())
    assert all(cell.text in html for row in block.rows for cell in row)


def test_signatures_are_those_of_what_runs():
    """For editors and readers; for type checkers see `reports.api.keywords.like`."""
    assert list(inspect.signature(reports.compare).parameters) == list(inspect.signature(run.compare).parameters)
    assert reports.compare.__doc__ == run.compare.__doc__


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("name", "arguments", "keyword", "message"),
    [
        (
            "compare",
            (np.zeros((9, 2)), 2),
            "restart",
            r"compare\(\) has no argument 'restart'; did you mean 'restarts'\?",
        ),
        ("validate", (None, {}), "drws", r"validate\(\) has no argument 'drws'; did you mean 'draws'\?"),
        (
            "compare_dynamics",
            (None, None),
            "chain",
            r"compare_dynamics\(\) has no argument 'chain'; did you mean 'chains'",
        ),
        ("select", (np.zeros((9, 2)),), "fold", r"select\(\) has no argument 'fold'; did you mean 'folds'\?"),
        (
            "select_dynamics",
            (None,),
            "criterion",
            r"select_dynamics\(\) has no argument 'criterion'; did you mean 'criteria'",
        ),
        ("overfit", (), "wrkers", r"overfit\(\) has no argument 'wrkers'; did you mean 'workers'\?"),
        ("calibrate", (), "nu", r"calibrate\(\) has no argument 'nu'; did you mean 'nu0'\?"),
        (
            "calibrate",
            (int,),
            "zzz",
            r"calibrate\(\) has no argument 'zzz'; it has n_components, .*, build, fit, quantities",
        ),
        (
            "calibrate_model",
            (int,),
            "simulation",
            r"calibrate_model\(\) has no argument .*; did you mean 'simulations'\?",
        ),
    ],
)
def test_unknown_keywords_are_refused_with_the_nearest(name, arguments, keyword, message):
    with pytest.raises(TypeError, match=message):
        getattr(reports, name)(*arguments, **{keyword: 1})


SERIES = np.arange(12.0)[:, None]
CALLS = {
    "compare": {"x": np.eye(9), "n_components": 2, "rng": 0},
    "select": {"x": np.eye(9), "rng": 0},
    "overfit": {},
    "calibrate": {"simulations": 20},
    "calibrate_model": {"build": dict, "fit": dict},
    "validate": {"model": None, "rng": 0},
    "compare_dynamics": {"x": SERIES, "model": local_level(), "rng": 0},
    "select_dynamics": {"x": SERIES, "rng": 0},
}
CLASSES = {
    "compare": catalogue.Options,
    "validate": of_any_model.Options,
    "compare_dynamics": of_any_model.Options,
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("wrong", [object(), np.eye(2) * 1j], ids=["object", "matrix"])
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name in CALLS
        for taker in (getattr(reports, name), *([CLASSES[name]] if name in CLASSES else []))
        for argument, one in inspect.signature(taker).parameters.items()
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and argument != "rng"
    ],
)
def test_arguments_of_another_type_are_refused_by_name(name, argument, wrong):
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument.rstrip('s').removesuffix('ia')}"):
        getattr(reports, name)(**CALLS[name] | {argument: wrong})


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("compare", {"kinds": 3}, "kinds is 3; expected a sequence of strings, a mapping or None"),
        ("compare", {"n_components": 2.0}, "n_components is 2.0; expected a whole number"),
        ("compare", {"progress": "bar"}, "progress is 'bar'; expected True, a function, a Watch or None"),
        ("compare", {"methods": b"em"}, "methods is b'em'; expected a string, a sequence of strings or None"),
        ("compare", {"rows": "folder"}, "rows is 'folder'; expected all rows as a dask.array or dask.dataframe"),
        ("select", {"components": None}, "components is None; expected a whole number or a sequence of whole numbers"),
        ("select", {"components": 1.5}, "components is 1.5; expected a whole number or a sequence of whole numbers"),
        ("select", {"folds": True}, "folds is True; expected a whole number"),
        ("select_dynamics", {"candidates": [None]}, "candidates has None; expected names such as local-level"),
        ("compare_dynamics", {"features": ["a", "b"]}, "features has 2 distinct names for 1 columns"),
        ("compare_dynamics", {"index": ["a", "b"]}, "index has 2 entries for 12 rows"),
        ("select_dynamics", {"index": ["a", "b"]}, "index has 2 entries for 12 rows"),
        ("overfit", {"grid": None}, "grid is None; expected a string, a path or a mapping"),
        ("overfit", {"folder": 1.5}, "folder is 1.5; expected a string, a path or None"),
        ("calibrate", {"workers": "two"}, "workers is 'two'; expected a whole number"),
        ("calibrate_model", {"build": None}, "build is None; expected a function"),
        ("validate", {"cache": 1}, "cache is 1; expected True or False"),
    ],
)
def test_wrong_types_are_said_in_one_line_with_what_is_expected(name, keywords, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(reports, name)(**CALLS[name] | keywords)
