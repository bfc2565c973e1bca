"""What a comparison is given: DataFrames, codes and their levels, held-out rows; and the memberships beside the rows' names."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reports import Results, compare
from reports.comparison.given import read
from reports.comparison.memberships import as_csv
from reports.comparison.memberships import memberships as of_rows
from reports.comparison.prepared import prepare
from reports.page.columns import columns, identification, memberships


def survey(n=40):
    rng = np.random.default_rng(3)
    z = np.arange(n) % 2
    return pd.DataFrame(
        {
            "town": np.where(rng.random(n) < 0.2 + 0.6 * z, "Rome", "Oslo"),
            "mood": pd.Categorical(
                np.array(["low", "mid", "high"])[(z + rng.integers(0, 2, n)) % 3], ["low", "mid", "high"]
            ),
            "visits": rng.poisson(1 + 5 * z),
            "height": rng.normal(160 + 20 * z, 4),
        },
        index=[f"p{i}" for i in range(n)],
    ), z


@pytest.fixture(scope="module")
def compared():
    frame, z = survey()
    return (
        compare(
            frame,
            2,
            rng=0,
            methods=["em"],
            kinds={"visits": "poisson"},
            labels=z,
            test_fraction=0.25,
            draws=100,
        ),
        frame,
        z,
    )


# ---- columns


def test_a_data_frame_is_read_by_its_types_and_the_kinds_given():
    frame, _ = survey()
    found = read(frame, kinds={"visits": "poisson"})
    assert found.features == ("town", "mood", "visits", "height")
    assert found.kinds == ("bernoulli", "categorical", "poisson", "gaussian")
    assert found.levels == {"town": ("Oslo", "Rome"), "mood": ("low", "mid", "high")}
    assert found.index.tolist() == list(frame.index)
    renamed = read(frame, features=["a", "b", "c", "d"])
    assert renamed.features == ("a", "b", "c", "d")
    codes = read(pd.DataFrame({"k": [0, 2, 1, 0], "a": [1.5, 2, 3, 5]}), levels={"k": ["u", "v", "w", "x"]})
    assert codes.kinds == ("categorical", "gaussian")
    assert codes.levels["k"] == ("u", "v", "w", "x")
    assert codes.x[:, 0].tolist() == [0, 2, 1, 0]


def test_columns_that_are_left_out_of_a_data_frame_are_named_in_a_warning():
    frame, _ = survey()
    with pytest.warns(UserWarning, match="left out 'name': its entries are all different, as names of rows are"):
        found = read(frame.assign(name=[f"n{i}" for i in range(40)]))
    assert found.features == ("town", "mood", "visits", "height")
    assert found.index[0] == "p0"


@pytest.mark.parametrize(
    ("column", "kind", "levels", "message"),
    [
        ([0, 1, 3], "categorical", ["u", "v", "w"], "'k' is 3 in row 3; expected a code of its 3 levels, 0 to 2"),
        ([0, 1, 0.5], "categorical", None, "'k' is 0.5 in row 3; expected a code"),
        ([0, -1, 1], "categorical", None, "'k' is -1 in row 2; expected a code"),
        ([0, 2, 1], "bernoulli", None, "'k' is 2 in row 2; expected a code of its 2 levels, 0 to 1"),
        ([0, -2, 1], "poisson", None, "'k' is -2 in row 2; expected a count, a whole number of at least 0"),
        ([0, 2.5, 1], "poisson", None, "'k' is 2.5 in row 2; expected a count"),
        ([0, 1, 1], "bernoulli", ["u"], "expected distinct names, of a binary feature two"),
    ],
)
def test_codes_out_of_range_and_counts_that_are_none_are_refused(column, kind, levels, message):
    x = np.column_stack([np.arange(3) ** 2, column])
    with pytest.raises(ValueError, match=message):
        read(x, ["a", "k"], {"k": kind}, {} if levels is None else {"k": levels})


def test_a_level_that_only_held_out_rows_have_is_refused():
    x = np.column_stack([np.arange(20.0), np.r_[np.zeros(19), 1]])
    for seed in range(4):
        own = {"kinds": ["gaussian", "bernoulli"], "levels": {"b": ["no", "yes"]}}
        arguments = (x, None, ["a", "b"], None, 0.5, False, np.random.default_rng(seed))
        if 19 in np.random.default_rng(seed).permutation(20)[10:]:
            assert 19 in prepare(*arguments, **own).rows
        else:
            with pytest.raises(ValueError, match=r"'yes' of 'b' stands only in rows that test_fraction 0\.5 holds out"):
                prepare(*arguments, **own)


def test_more_clusters_than_patterns_are_refused():
    x = np.tile([[0, 1], [1, 1], [1, 0]], (10, 1))
    with pytest.raises(ValueError, match="4 clusters but only 3 distinct patterns"):
        compare(x, 4, rng=0, methods=["em"], kinds=["bernoulli"] * 2)


# ---- memberships


def test_memberships_stand_beside_the_names_of_all_rows_in_their_order(compared, tmp_path):
    result, frame, z = compared
    table = result.results.memberships()
    assert table.columns.tolist() == ["index", "label", "used", "cluster", "cluster_0", "cluster_1"]
    assert table["index"].tolist() == list(frame.index)
    assert table["label"].tolist() == z.astype(str).tolist()
    assert table["used"].value_counts().to_dict() == {"fitted": 30, "held out": 10}
    r = table[["cluster_0", "cluster_1"]].to_numpy()
    np.testing.assert_allclose(r.sum(1), 1)
    np.testing.assert_array_equal(table["cluster"], r.argmax(1))
    x = np.concatenate([result.results.data["x"].values, result.results.data["x_heldout"].values])
    rows = np.concatenate([result.results.data["row"].values, result.results.data["row_heldout"].values])
    np.testing.assert_allclose(result.fits["em"].responsibilities(x)[np.argsort(rows)], r)
    folder = result.save(tmp_path / "o", report=False)
    written = pd.read_csv(folder / "memberships.csv", dtype={"label": str})
    pd.testing.assert_frame_equal(written, table, atol=1e-6)
    pd.testing.assert_frame_equal(Results.load(folder).memberships(), table)


def test_rows_that_were_left_out_are_named_behind_the_others(compared):
    result, *_ = compared
    whole, clusters = result.results.memberships(), result.results.trees["em"]["clusters"].to_dataset()
    table = of_rows(result.results.data, clusters, ["q1", "q2"])
    pd.testing.assert_frame_equal(table.iloc[:-2], whole, check_dtype=False)
    assert table.iloc[-2:][["index", "used"]].values.tolist() == [["q1", "left out"], ["q2", "left out"]]
    assert as_csv(table).endswith("q1,,left out,,,\nq2,,left out,,,\n")


def test_the_page_holds_the_memberships(compared):
    result, *_ = compared
    (download,) = memberships(result._view())
    assert download.name == "memberships.csv"
    assert download.text.endswith("by EM.")
    assert download.source.startswith("data:text/csv;base64,")
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(download.content), dtype={"label": str}), result.results.memberships(), atol=1e-6
    )
    assert as_csv(result.results.memberships()) == download.content


# ---- what the page says of columns


def test_the_page_lists_what_each_column_became(compared):
    result, frame, _ = compared
    view = result._view()
    fitted = frame.iloc[result.results.data["row"].values]
    rows = [[cell.text for cell in row] for row in columns(view).rows]
    counts = fitted["town"].value_counts()
    assert rows[0] == ["town", "two levels (binary)", f"Oslo ({counts['Oslo']}), Rome ({counts['Rome']})"]
    assert [row[1] for row in rows[1:]] == ["categories", "counts (Poisson)", "numbers (Gaussian)"]
    assert rows[2][2] == f"{fitted['visits'].min()} to {fitted['visits'].max()}"


@pytest.mark.parametrize(
    ("k", "parameters", "cells", "patterns", "said"),
    [
        (2, 5, 4, 4, "Not identified: the model has 5 free parameters, and a table of 4 cells can tell at most 3"),
        (2, 23, 128, 20, "More parameters than patterns: the model has 23 free parameters, and the rows show 20"),
        (2, 15, 128, 20, None),
        (1, 2, 4, 1, None),
        (2, 30, None, 20, "More parameters than patterns"),
        (2, 30, None, None, None),
    ],
)
def test_what_is_not_identified_is_said(k, parameters, cells, patterns, said):
    model = {"n_parameters": parameters, "n_cells": cells, "n_patterns": patterns}
    found = identification(SimpleNamespace(manifest={"model": model}, n_clusters=k))
    assert found is None if said is None else found.startswith(said)
