"""Tables of numbers, counts, categories and gaps: what each column becomes, what is said of it, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import fails
from pyarrow import feather, parquet

from mixtures import datasets
from mixtures.datasets import DataError, check_components, check_values, from_frame, load

pytestmark = pytest.mark.robustness("tables")

SURVEY = """height,town,smokes,children
171.5,Rome,no,0
160.25,Oslo,yes,2
182.0,Rome,no,1
175.5,Bonn,no,3
158.0,Oslo,yes,0
"""


def survey(n=60, rng=None):
    rng = np.random.default_rng(0) if rng is None else rng
    return pd.DataFrame(
        {
            "height": rng.normal(170, 8, n).round(2),
            "town": np.array(["Rome", "Oslo", "Bonn"])[np.arange(n) % 3],
            "smokes": np.arange(n) % 4 == 0,
            "children": rng.poisson(1.5, n),
        }
    )


# ---- what a column becomes


def test_the_types_of_columns_decide_their_kinds(write):
    data = load(write(SURVEY))
    assert data.kinds == ("gaussian", "categorical", "bernoulli", "gaussian")
    assert data.levels == {"town": ("Bonn", "Oslo", "Rome"), "smokes": ("no", "yes")}
    np.testing.assert_array_equal(data.x[:, 1], [2, 1, 2, 0, 1])
    np.testing.assert_array_equal(data.x[:, 2], [0, 1, 0, 0, 1])
    assert data.index.tolist() == ["1", "2", "3", "4", "5"]
    assert data.notes == ("'Bonn' of 'town' stands in one row only",)


def test_counts_and_categories_are_named(write):
    path = write("n,grade,x\n0,10,1.5\n2,9,2\n1,10,3.5\n0,9,4\n3,2,1\n3,2,0\n")
    data = load(path, counts=["n"], categorical="grade")
    assert data.kinds == ("poisson", "categorical", "gaussian")
    assert data.levels == {"grade": ("2", "9", "10")}
    assert data.x[:, 1].tolist() == [2, 1, 2, 1, 0, 0]
    assert load(path, columns=["n", "grade"], family="poisson").kinds == ("poisson", "poisson")
    assert load(path, columns=["n", "grade"], family="categorical", counts="n").kinds == ("poisson", "categorical")


@pytest.mark.parametrize(
    ("family", "kinds"),
    [("categorical", ("categorical",) * 2), ("bernoulli", ("bernoulli",) * 2), (None, ("gaussian", "bernoulli"))],
)
def test_a_family_for_all_columns(write, family, kinds):
    data = load(write("a,s\n1,u\n2,v\n1,v\n2,u\n1,u\n"), family=family)
    assert data.kinds == kinds
    assert data.levels["s"] == ("u", "v")


def test_typed_files_declare_their_categories(tmp_path):
    frame = survey()
    frame["town"] = pd.Categorical(frame["town"], ["Rome", "Oslo", "Bonn", "Kyiv"], ordered=True)
    frame["mood"] = pd.Categorical(np.array(["10", "9"])[np.arange(60) % 2])
    frame.loc[7, "mood"] = None
    frame.index = [f"p{i}" for i in range(60)]
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_feather(tmp_path / "d.feather")
    tables = [load(tmp_path / f"d.{end}", drop_missing=True, counts="children") for end in ("parquet", "feather")]
    for data in (*tables, from_frame(frame, missing="drop", counts=["children"])):
        assert data.kinds == ("gaussian", "categorical", "bernoulli", "poisson", "bernoulli")
        assert data.levels["town"] == ("Rome", "Oslo", "Bonn")
        assert data.levels["smokes"] == ("False", "True")
        assert data.levels["mood"] == ("10", "9")
        np.testing.assert_array_equal(data.x[:, 1], np.delete(np.arange(60) % 3, 7))
        assert data.index.tolist() == [f"p{i}" for i in range(60) if i != 7]
        assert data.notes == (
            "left out 1 row with missing values: p7",
            "'town' is ordered: its order is not used",
            "no row has 'Kyiv' of 'town': left out of its levels",
        )


def test_dictionaries_of_numbers_and_of_several_chunks(tmp_path):
    parts = [pa.array(part).dictionary_encode() for part in ([3, 1, 3], [1, 2, 2])]
    table = pa.table({"k": pa.chunked_array(parts), "a": np.arange(6.0) ** 2})
    feather.write_feather(table.unify_dictionaries(), tmp_path / "d.feather")
    data = load(tmp_path / "d.feather")
    assert data.kinds == ("categorical", "gaussian")
    assert [data.levels["k"][int(code)] for code in data.x[:, 0]] == ["3", "1", "3", "1", "2", "2"]


def test_a_data_frame_says_the_same_as_its_file(tmp_path):
    frame = survey().rename(columns={"town": 3})
    frame.loc[[2, 5], "height"] = np.nan
    frame["many"] = pd.array([None, *range(59)], dtype="Int64")
    frame.to_csv(tmp_path / "d.csv", index=False)
    read, given = load(tmp_path / "d.csv", missing="model"), from_frame(frame, missing="model")
    np.testing.assert_array_equal(given.x, read.x)
    assert given.features == read.features == ("height", "3", "smokes", "children", "many")
    assert given.kinds == read.kinds
    assert given.levels == read.levels
    assert given.index.tolist() == [str(i) for i in range(60)]
    by_text = from_frame(frame.astype(object), missing="model")
    np.testing.assert_array_equal(by_text.x, read.x)
    fails_frame = pytest.raises(DataError, match=r"3 missing values in 3 of 60 rows \(height: 2, many: 1\)")
    with fails_frame:
        from_frame(frame)
    with pytest.raises(DataError, match="the DataFrame has 0 rows"):
        from_frame(frame.head(0))
    with pytest.raises(DataError, match="no value in column 'empty': 60 missing values"):
        from_frame(frame[["children"]].assign(empty=pd.Series([None] * 60, dtype=object)), missing="model")


def test_the_label_is_no_feature(write):
    data = load(write(SURVEY), label_column="town")
    assert data.features == ("height", "smokes", "children")
    assert data.labels.tolist() == ["Rome", "Oslo", "Rome", "Bonn", "Oslo"]
    frame = survey()
    assert from_frame(frame, label_column="town").labels.tolist() == frame["town"].tolist()


# ---- what is said


def test_columns_without_news_are_left_out_with_a_word(write):
    rows = [f"{i * i},person {i},same,{'uv'[i % 2]}" for i in range(12)]
    path = write("a,name,country,k\n" + "\n".join(rows))
    data = load(path)
    assert data.features == ("a", "k")
    assert data.notes == (
        "left out 'name': its entries are all different, as names of rows are",
        "left out 'country': 'same' is its only level",
    )
    assert data.index.tolist() == [f"person {i}" for i in range(12)]
    fails("'name' has another level in each of 12 rows: leave it out", path, columns=["a", "name"])
    fails("constant column 'country', all 'same': leave it out with --columns", path, columns=["a", "country"])
    assert load(path, columns=["a"], index_column="a").index[:3].tolist() == ["0", "1", "4"]
    assert load(path, index_column="k").features == ("a",)


def test_whole_numbers_of_few_values_are_remarked_on(write):
    path = write("a,b\n" + "\n".join(f"{i % 3},{i * 1.5}" for i in range(20)))
    note = "'a' has 3 different whole numbers and is taken as Gaussian: --counts or --categorical take it otherwise"
    assert load(path).notes == (note,)
    assert load(path, family="gaussian").notes == ()
    assert load(path, counts="a").notes == ()
    gap = write("a,b\n,7\n" + "\n".join(f"{i % 3},{i * 1.5}" for i in range(20)))
    assert load(gap, missing="model").notes == (note,)


def test_many_levels_are_remarked_on_or_refused(write):
    def of_levels(levels, n, name="town"):
        return write(f"a,{name}\n" + "\n".join(f"{i * 1.5},t{i % levels}" for i in range(n)), f"d{levels}-{n}.csv")

    (note,) = load(of_levels(25, 100)).notes
    assert note == "'town' has 25 levels, as many probabilities a cluster: join some, or leave it out"
    path = of_levels(60, 100)
    fails("'town' has 60 levels in 100 rows, too many for categories: .*--categorical town$", path)
    assert load(path, categorical="town").kinds == ("gaussian", "categorical")
    many = of_levels(10_000, 12_000)
    message = "column 'town' has 10,000 levels in 12000 rows, more than 1,000: leave it out with --columns, or join"
    fails(message, many)
    fails(message, many, categorical=["town"])
    assert load(many, columns=["a"]).x.shape == (12_000, 1)


def test_rows_are_never_left_out_in_silence(write):
    path = write("a,b\n" + "\n".join(f"{'' if i % 2 else i},{i * i}" for i in range(60)))
    data = load(path, missing="drop")
    *_, note = data.notes
    assert note.startswith("left out 30 rows with missing values: 2, 4, 6,")
    assert note.endswith("and 10 more")
    assert data.left_out.tolist() == [str(i) for i in range(2, 61, 2)]
    assert data.index.tolist() == [str(i) for i in range(1, 61, 2)]


def test_a_row_without_any_value_is_kept_where_gaps_are_modelled(write):
    data = load(write("a,k\n1.5,u\n,\n2.5,v\n,u\n4,v\n"), missing="model")
    assert data.notes == ("1 row without any value: kept, and predicted by the model (2)",)
    np.testing.assert_array_equal(data.x, [[1.5, 0], [np.nan, np.nan], [2.5, 1], [np.nan, 0], [4, 1]])


# ---- new rows of the same table


def test_new_rows_have_the_codes_of_the_old(write):
    train = load(write(SURVEY), counts="children")
    new = load(write("children,smokes,town,height\n1,yes,Rome,170\n4,yes,Rome,170\n", "new.csv"), like=train)
    np.testing.assert_array_equal(new.x, [[170, 2, 1, 1], [170, 2, 1, 4]])
    assert new.kinds == train.kinds
    assert new.levels == train.levels
    frame = pd.DataFrame({"height": [1.5], "town": ["Oslo"], "smokes": ["no"], "children": [0]})
    np.testing.assert_array_equal(from_frame(frame, like=train).x, [[1.5, 1, 0, 0]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "170,Lima,no,1",
            r"column 'town' has a level unseen in training, 'Lima' \(row 2\): there are 'Bonn', 'Oslo', 'Rome'",
        ),
        ("170,Rome,maybe,1", "'smokes' has a level unseen in training, 'maybe'"),
        ("170,Rome,no,-1", r"'children' is to hold counts and has 1 negative value, the first -1 in row 2"),
        ("tall,Rome,no,1", r"non-numeric column 'height' \('tall' in row 2\): in training it held numbers"),
        (",Rome,no,1", r"1 missing value in 1 of 2 rows \(height: 1\)"),
    ],
)
def test_levels_unseen_in_training_are_named(write, row, message):
    train = load(write(SURVEY), counts="children")
    fails(message, write(f"height,town,smokes,children\n171,Rome,no,1\n{row}\n", "new.csv"), like=train)


# ---- what is refused


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "n,x\n1,2\n-1,3\n2,5\n",
            {"counts": "n"},
            "'n' is to hold counts and has 1 negative value, the first -1 in row 2",
        ),
        (
            "n,x\n1,2\n2.5,3\n2,5\n",
            {"counts": "n"},
            "1 fractional value, the first 2.5 in row 2: correct it, or do not take the column as counts",
        ),
        ("n,x\nu,2\nv,3\nu,5\n", {"counts": "n"}, r"non-numeric column 'n' \('u' in row 1\): leave it out"),
        ("n,x\n1,2\n1,3\n1,5\n", {"counts": "n"}, "constant column 'n'"),
        ("n,x\n1,2\n1,3\n1,5\n", {"categorical": "n"}, "constant column 'n', all '1'"),
        ("n,x\n1,2\n2,3\n3,5\n1,4\n", {"family": "bernoulli"}, "'n' has 3 levels .*--family bernoulli takes two"),
        ("n,x\n1,2\n2,3\n", {"family": "normal"}, "--family is 'normal'; expected one of gaussian, bernoulli"),
        ("n,x\n1,2\n2,3\n", {"counts": "m"}, r"no column 'm': there are 'n', 'x' \(--counts\)"),
        ("n,x\n1,2\n2,3\n", {"categorical": "X"}, r"no column 'X': did you mean 'x'\? \(--categorical\)"),
        ("n,x\n1,2\n2,3\n", {"counts": "n", "categorical": "n"}, "'n' is in --counts and in --categorical"),
        ("n,x\n1,2\n2,3\n", {"counts": "n", "columns": ["x"]}, "'n' of --counts is not in --columns"),
        ("n,x\n1,2\n2,3\n", {"counts": "n", "label_column": "n"}, "'n' is in --counts and the --label-column"),
        ("n,x\n1,2\n2,3\n", {"index_column": "i"}, r"no index column 'i': there are 'n', 'x' \(--index-column\)"),
        ("n,x\n1,2\n2,\n", {}, "--missing drop, or columns with --columns"),
        ("n,x\n1,2\n2,\n", {"missing": "impute"}, "--missing is 'impute'; expected one of model, drop, error"),
        ("n,x\n1,2\n2,\n", {"missing": "error", "drop_missing": True}, "--drop-missing and --missing error contradict"),
        ("n,x\n1,2\n2,\n", {"missing": "model"}, "constant column 'x'"),
        ("n,x\n1,u\n2,u\n", {"columns": ["x"]}, "constant column 'x', all 'u'"),
        ("x\nu\nu\n", {}, r"no column of data is left \('x': 'u' is its only level\)"),
    ],
)
def test_columns_that_are_not_of_their_kind(write, content, options, message):
    fails(message, write(content), **options)


def test_columns_that_are_neither_numbers_nor_text_are_named(tmp_path):
    days = pa.array(np.arange("2020-01-01", "2020-01-09", dtype="datetime64[D]"))
    parquet.write_table(pa.table({"day": days, "a": np.arange(8.0) ** 2, "b": [[1], [2]] * 4}), tmp_path / "d.parquet")
    fails(r"non-numeric column 'day' \('2020-01-01' in row 1\): leave it out with --columns", tmp_path / "d.parquet")
    fails("column 'b' has several values a row", tmp_path / "d.parquet", categorical=["b", "day"], columns=["b", "day"])


def test_clusters_and_patterns_of_discrete_data():
    x = np.array([[0, 1.0], [0, 1], [1, np.nan], [1, np.nan], [0, np.nan]])
    kinds = ["bernoulli", "bernoulli"]
    check_components(x, 3, kinds=kinds)
    with pytest.raises(DataError, match="4 clusters but only 3 distinct patterns: ask for at most 3 with -k"):
        check_components(x, 4, kinds=kinds)
    check_components(np.eye(3), 3, kinds=["categorical"] * 3)
    with pytest.raises(DataError, match="3 rows for 3 features"):
        check_components(np.eye(3), 3)


def test_gaps_do_not_hide_what_is_wrong_with_numbers(rng):
    x = rng.standard_normal((80, 3))
    x[:20, 0] = np.nan
    check_values(x, ["a", "b", "c"], gaps=True)
    with pytest.raises(DataError, match="20 missing values in 20 of 80 rows"):
        check_values(x, ["a", "b", "c"])
    x[:, 2] = 2 * x[:, 0] - 1
    with pytest.raises(DataError, match="'c' = 2 'a' - 1"):
        check_values(x, ["a", "b", "c"], gaps=True)
    check_values(x, ["a", "b", "c"], ["gaussian", "gaussian", "poisson"], gaps=True)


# ---- sets that come with the package


def test_penguins_whole_have_their_text_columns_and_gaps():
    frame = pd.read_csv(Path(load.__code__.co_filename).with_name("penguins.csv"))
    features = ["island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"]
    data = load("penguins-whole")
    kept = frame.dropna(subset=features)
    assert data.features == tuple(features)
    assert data.kinds == ("categorical", *["gaussian"] * 4, "bernoulli")
    assert [data.levels["island"][int(code)] for code in data.x[:, 0]] == kept["island"].tolist()
    assert [data.levels["sex"][int(code)] for code in data.x[:, 5]] == kept["sex"].tolist()
    assert data.index.tolist() == kept["rownames"].astype(str).tolist()
    whole = load("penguins-whole", missing="model")
    assert len(whole.x) == 344
    np.testing.assert_array_equal(np.isnan(whole.x), frame[features].isna())
    assert re.search(r"left out 11 rows with missing values: 4, 9,", data.notes[0])


def test_heart_has_the_published_log_likelihood_of_one_cluster():
    """-6565.8956 with the first age taken as missing, as the manual of VarSelLCM has it; each column by itself."""
    from scipy import stats

    data = load("heart")
    assert data.x.shape == (270, 12)
    assert [data.kinds.count(kind) for kind in ("poisson", "gaussian", "categorical", "bernoulli")] == [1, 3, 5, 3]
    assert sorted(set(data.labels)) == ["1", "2"]
    total = 0.0
    for column, kind in zip(data.x.T, data.kinds, strict=True):
        if kind == "poisson":
            total += stats.poisson.logpmf(column[1:], column[1:].mean()).sum()
        elif kind == "gaussian":
            total += stats.norm.logpdf(column, column.mean(), column.std()).sum()
        else:
            count = np.bincount(column.astype(int))
            total += (count * np.log(count / len(column))).sum()
    assert total == pytest.approx(-6565.8956, abs=5e-5)


def test_digits_are_binary_pictures():
    data = load("digits", columns=["r0c0", "r3c4"])
    assert data.kinds == ("bernoulli", "bernoulli")
    assert set(data.x[:, 1]) == {0, 1}
    assert not data.x[:, 0].any()
    assert data.notes == ("the same in all rows: 'r0c0'; kept, though nothing of clusters is told by it",)
    assert np.unique(data.labels).tolist() == list("0123456789")


@pytest.mark.parametrize("entry", datasets.describe(), ids=lambda entry: entry.name)
def test_the_catalogue_says_what_the_features_hold(entry):
    kinds = set(load(entry.name).kinds)
    assert entry.holds == {
        ("gaussian",): "numbers",
        ("bernoulli",): "binary",
        ("categorical",): "categories",
        ("poisson",): "counts",
    }.get(tuple(kinds), "mixed")


def test_deaths_has_a_row_for_each_day():
    """Numbers of days as Lange (2010, table 2.6) prints them."""
    x = load("deaths").x[:, 0].astype(int)
    assert np.bincount(x).tolist() == [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]


def test_election_keeps_its_gaps_where_they_are_modelled():
    whole, complete = load("election", missing="model"), load("election")
    assert (len(whole.x), len(complete.x)) == (1785, 1311)
    assert whole.levels == complete.levels
    rows = np.flatnonzero(~np.isnan(whole.x).any(axis=1))
    np.testing.assert_array_equal(complete.x, whole.x[rows])
    assert complete.index.tolist() == whole.index[rows].tolist()
    by_own_word = load("election", columns=["VOTE3", "GENDER"], categorical=["GENDER"], missing="drop")
    assert by_own_word.kinds == ("gaussian", "bernoulli")
