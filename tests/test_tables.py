"""Tables as programs and people export them: read right, and with a word on what was guessed."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import fails
from pyarrow import parquet

from mixtures.datasets import load

pytestmark = pytest.mark.robustness("tables")

X = np.array([[1.5, 2.0], [3.25, 4.0], [-1.0, 0.5], [2.0, 9.0]])


# ---- row numbers


def test_the_row_numbers_of_pandas_are_left_out(tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b"])
    frame.to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "twice.csv")
    pd.read_csv(tmp_path / "once.csv").to_parquet(tmp_path / "once.parquet")
    frame.iloc[[3, 1, 0, 2]].to_csv(tmp_path / "shuffled.csv")
    frame.to_csv(tmp_path / "tabs.tsv", sep="\t")
    frame.to_csv(tmp_path / "tabs.txt", sep="\t")
    pd.DataFrame(X).to_csv(tmp_path / "numbered.csv")
    unnamed, named = "left out column 1, which has no name: it numbers the rows", "'Unnamed: 0': it numbers the rows"
    for name, notes in {
        "once.csv": (unnamed,),
        "twice.csv": (unnamed, f"left out {named}"),
        "once.parquet": (f"left out {named}",),
        "shuffled.csv": (unnamed,),
        "tabs.tsv": (unnamed,),
        "tabs.txt": (unnamed,),
    }.items():
        data = load(tmp_path / name)
        assert data.features == ("a", "b"), name
        assert data.notes == notes, name
    numbered = load(tmp_path / "numbered.csv")
    np.testing.assert_array_equal(numbered.x, X)
    assert numbered.features == ("0", "1")
    assert numbered.notes == ("the first line was taken as the columns' names, such as '0'", unnamed)
    assert load(tmp_path / "once.parquet", columns=["Unnamed: 0", "b"]).x[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        ('"","a","b"\n"1",1.5,2\n"2",3.25,4\n"3",-1,0.5\n"4",2,9\n', "csv2.csv", "it numbers the rows"),
        ('"","a","b"\n"u v",1.5,2\n"w",3.25,4\n"x",-1,0.5\n"y",2,9\n', "csv.csv", "it names the rows"),
        ('"a" "b"\n"1" 1.5 2\n"2" 3.25 4\n"3" -1 0.5\n"4" 2 9\n', "table.txt", "it numbers the rows"),
        ('"a" "b"\n"u v" 1.5 2\n"w" 3.25 4\n"x" -1 0.5\n"y" 2 9\n', "names.txt", "it names the rows"),
        ("a\tb\nu v\t1.5\t2\nw\t3.25\t4\nx\t-1\t0.5\ny\t2\t9\n", "unquoted.txt", "it names the rows"),
        (
            ",a,b\n7,1.5,2\n3,3.25,4\n4,-1,0.5\n9,2,9\n",
            "some.csv",
            "its whole numbers are all different, as row numbers are",
        ),
        ("a\tb\n1\t1.5\t2\n2\t3.25\t4\n3\t-1\t0.5\n4\t2\t9\n", "unquoted.tsv", "it numbers the rows"),
    ],
)
def test_the_row_names_of_r_are_left_out(write, content, name, why):
    data = load(write(content, name))
    np.testing.assert_array_equal(data.x, X)
    assert data.features == ("a", "b")
    assert data.notes == (f"left out column 1, which has no name: {why}",)


@pytest.mark.parametrize("names", ["a,b,", "a,b"])
def test_a_column_after_the_last_comma_is_left_out(write, names):
    data = load(write(names + "\n1,2,\n2,5,\n4,4,\n"))
    assert data.features == ("a", "b")
    assert data.notes == ("left out column 3, which has no name: it is empty",)


def test_row_numbers_with_a_name_are_kept_with_a_word(write):
    data = load(write("rownames,a\n1,3\n2,5\n3,1\n"))
    assert data.features == ("rownames", "a")
    assert data.notes == (
        "kept 'rownames', which counts the rows from 1: leave it out with --columns if it only numbers them",
    )
    assert load(write("Unnamed: 0,a\n1.5,3\n2,5\n3,1\n")).features == ("Unnamed: 0", "a")


# ---- missing values


@pytest.mark.parametrize("code", [" ", "  ", ".", "?", "-", " NA", "NA ", " ? ", "nan", "#N/A", '" "', '"?"'])
def test_entries_that_are_no_number_among_numbers_are_missing(write, code):
    path = write(f"a,b\n1,2\n{code},3\n2.5,7\n4,5\n")
    fails(r"1 missing value in 1 of 4 rows \(a: 1\)", path)
    data = load(path, drop_missing=True)
    np.testing.assert_array_equal(data.x, [[1, 2], [2.5, 7], [4, 5]])
    code = code.strip(' "')
    *counted, left_out = data.notes
    assert counted == ([f"counted as missing: {code!r} in 'a' (1)"] if code in (".", "?", "-") else [])
    assert left_out == "left out 1 row with missing values: 2"


def test_marks_in_a_column_of_text_are_classes(write):
    data = load(write("a,k\n1,-\n2,?\n3, -\n5,\n"), label_column="k")
    assert data.labels.tolist() == ["-", "?", "-", ""]
    assert load(write("a,k\n1,-\n2,-\n")).notes == ("left out 'k': '-' is its only level",)


def test_missing_codes_of_a_users_own(write, tmp_path):
    path = write("a,b,k\n1,-999,u\n2,3,unknown\n4,-999.0,v\n7,unknown,u\n8,1,v\n")
    data = load(path, label_column="k", na_values=["-999", "unknown"], drop_missing=True)
    np.testing.assert_array_equal(data.x, [[2, 3], [8, 1]])
    assert data.labels.tolist() == ["", "v"]
    assert data.notes[0] == "counted as missing: '-999' in 'b' (2), 'unknown' in 'b' (1)"
    frame = pd.DataFrame({"a": [1.0, -999, 3, 8], "b": [1, 2, 3, -999]})
    frame.to_parquet(tmp_path / "d.parquet")
    np.save(tmp_path / "d.npy", frame)
    for name in ("d.parquet", "d.npy"):
        data = load(tmp_path / name, na_values="-999", drop_missing=True)
        np.testing.assert_array_equal(data.x, [[1, 1], [3, 3]])


# ---- numbers


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a;b\n1,5;2\n-2,25;3,5\n", {"decimal": ","}, [[1.5, 2], [-2.25, 3.5]]),
        ("a;b\n1.234,5;2\n-2.000.000;3,5\n", {"decimal": ",", "thousands": "."}, [[1234.5, 2], [-2e6, 3.5]]),
        ('a,b\n"1,234",2\n"13,250.5",3\n', {"thousands": ","}, [[1234, 2], [13250.5, 3]]),
        ("a;b\n1 234;2\n13\u00a0250;3\n", {"thousands": " "}, [[1234, 2], [13250, 3]]),
        ("a\n1,5\n2,5\n", {"decimal": ","}, [[1.5], [2.5]]),
        ("a b\n1,5 2\n3,5 7\n", {"decimal": ","}, [[1.5, 2], [3.5, 7]]),
        ("a,b\n\u00a01.5,2\n2.5,\u22123\n", {}, [[1.5, 2], [2.5, -3]]),
        ("a,b\n+1.5,2e3\n 2.5 , 3\n", {}, [[1.5, 2000], [2.5, 3]]),
    ],
)
def test_numbers_as_people_write_them(write, content, options, expected):
    np.testing.assert_array_equal(load(write(content), **options).x, expected)


def test_a_mark_in_the_wrong_place_is_never_passed_over(write):
    fails(r"'1,2' in row 1\)", write('a,b\n"1,2",2\n"3,25",4\n'), thousands=",")
    fails(r"'1\.234' in row 2\)", write("a;b\n1,5;2\n1.234;3\n"), decimal=",")
    fails(r"'1\.5' in row 1\): leave out --decimal and", write("a;b\n1.5;2\n1.234;3\n"), decimal=",")
    fails(r"'0,123' in row 1\)", write('a,b\n"0,123",2\n"3",4\n'), thousands=",")


def test_digits_are_exact(write):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) * 10.0 ** rng.integers(-300, 300, (500, 2))
    written = "\n".join(f"{a!r},{b!r}" for a, b in x.tolist())
    np.testing.assert_array_equal(load(write(f"a,b\n{written}\n")).x, x)


def test_whole_numbers_that_lose_the_digits_in_which_they_differ_are_refused(write, tmp_path):
    ns = 1_700_000_000_000_000_000 + np.random.default_rng(0).integers(0, 4000, 40)
    message = r"column 'x1' has numbers near 1\.7e\+18, which are rounded to multiples of 256: subtract"
    np.save(tmp_path / "t.npy", np.c_[ns, np.arange(40) ** 2])
    fails(message, tmp_path / "t.npy")
    fails(message, write("x1\n" + "\n".join(map(str, ns))))
    days = ns[0] + np.arange(40) ** 2 * 86_400_000_000_000
    np.save(tmp_path / "t.npy", days)
    assert load(tmp_path / "t.npy").x.shape == (40, 1)


@pytest.mark.parametrize("shift", [0, 2**53, 2**62])
def test_labels_of_64_bits_are_kept(tmp_path, write, shift):
    k = np.array([shift + i % 3 for i in range(12)])
    wanted = [str(shift + i % 3) for i in range(12)]
    table = pa.table({"a": np.arange(12.0) ** 2, "k": k})
    parquet.write_table(table, tmp_path / "d.parquet")
    np.save(tmp_path / "d.npy", np.c_[np.arange(12) ** 2, k])
    text = write("a,k\n" + "\n".join(f"{i * i},{label}" for i, label in enumerate(wanted)))
    for path, column in ((tmp_path / "d.parquet", "k"), (tmp_path / "d.npy", "x2"), (text, "k")):
        assert load(path, label_column=column).labels.tolist() == wanted, path
    gaps = pa.array([None, *k[1:].tolist()])
    parquet.write_table(pa.table({"a": np.arange(12.0) ** 2, "k": gaps}), tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet", label_column="k").labels.tolist() == ["", *wanted[1:]]


# ---- names


@pytest.mark.parametrize(
    ("content", "features"),
    [
        ('"length;cm","weight;kg"\n1,2\n2,7\n3,1\n', ("length;cm", "weight;kg")),
        ('"length, cm";"weight, kg"\n1;2\n2;7\n3;1\n', ("length, cm", "weight, kg")),
        ('"a, b"\n1\n2\n3\n', ("a, b",)),
        ('"a\nb",c\n1,2\n2,7\n', ("a\nb", "c")),
        ('"say ""a""",b\n1,2\n2,7\n', ('say "a"', "b")),
        ("time;s,value;V\n1,2\n2,7\n", ("time;s", "value;V")),
        ("a|b\n1|2\n2|7\n", ("a", "b")),
        ("sep=;\r\na, raw;b\r\n1;2\r\n2;7\r\n", ("a, raw", "b")),
        ("\ufeffa;b\n1;2\n2;7\n", ("a", "b")),
    ],
)
def test_names_may_hold_what_parts_columns(write, content, features):
    data = load(write(content))
    assert data.features == features
    assert data.x[:2, -1].tolist() == ([1, 2] if len(features) == 1 else [2, 7])


@pytest.mark.parametrize(
    ("content", "label", "n"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.3,3.3,other\n7.1,2.2,other\n", "x3", 4),
        ("Alice,5,7.5\nBob,6,3.2\nCarol,4,1.5\n", "x1", 3),
        ("1,2\n3,4\n5,7\n", None, 3),
        (",\n1,2\n3,4\n5,6.5\n2,2\n", None, 4),
        (" ; \n0;2\n3;4\n5;6,5\n2;2\n", None, 4),
        ("9172\n9350\n9483\n", None, 3),
        ("1.0,2.0\n3.5,4\n5.1,7\n", None, 3),
        ("NA,2.5\n3,4\n5,7\n1,9\n", None, 3),
        ("?,2.5\n3,4\n5,7\n1,9\n", None, 3),
        ("1,5;2,5\n3,5;4,5\n2,5;1,5\n", None, 3),
        (",\n1.5,2.5\n3.5,4.5\n2.5,1.5\n", None, 3),
    ],
)
def test_a_first_line_of_data_is_data(write, content, label, n):
    options = {"decimal": ","} if ";" in content else {}
    data = load(write(content), label_column=label, drop_missing=True, **options)
    assert len(data.x) == n
    assert set(data.features) <= {"x1", "x2", "x3"}
    assert data.notes[0].startswith("the first line was taken as data, for it holds numbers: the columns are called x1")


@pytest.mark.parametrize(
    "content",
    [
        "0,1,2\n0.5,1,2\n3,4.5,1\n2,2,2\n",
        "0,1\n5,1\n3,4\n2,2\n",
        "0\n1.5\n2.5\n",
        "1990,1991,1992\n5.1,3.2,2.5\n3.3,4.4,1.2\n2.1,2.2,2.3\n",
        "country,1990,2000\nFrance,5.1,3.2\nSpain,3.3,4.4\nItaly,1,1\n",
        "a,b,2\n1,2,3\n2,1,7\n3,3,1\n",
    ],
)
def test_numbers_may_be_names(write, content):
    names = tuple(content.splitlines()[0].split(","))
    label = "country" if "country" in names else None
    data = load(write(content), label_column=label)
    assert data.features == tuple(name for name in names if name != label)
    assert data.notes[0].startswith("the first line was taken as the columns' names, such as")


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({"header": "a b"}, ("a", "b")),
        ({"header": "a,b", "delimiter": ","}, ("a", "b")),
        ({"header": "measured in March\na,b", "delimiter": ","}, ("a", "b")),
        ({}, ("x1", "x2")),
        ({"header": "two columns of numbers"}, ("x1", "x2")),
        ({"header": "a\tb", "delimiter": "\t", "comments": ""}, ("a", "b")),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".csv"])
def test_what_numpy_saves_as_text(tmp_path, options, features, suffix):
    np.savetxt(tmp_path / f"x{suffix}", X, **options)
    data = load(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(data.x, X)
    assert data.features == features


# ---- formats


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip"])
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".txt"])
def test_packed_text(tmp_path, suffix, kind):
    path = tmp_path / f"d{kind}{suffix}"
    pd.DataFrame(X, columns=["a", "b"]).to_csv(path, index=False, sep="," if kind == ".csv" else "\t")
    data = load(path)
    np.testing.assert_array_equal(data.x, X)
    assert (data.name, data.features) == ("d", ("a", "b"))


@pytest.mark.parametrize(("suffix", "whole"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_damaged_packed_text(write, suffix, whole):
    fails("cannot read", write(b"garbage", f"d.csv{suffix}"))
    fails("cannot read", write(whole(b"a,b\n1,2\n" * 999)[:-9], f"d.csv{suffix}"))


def test_an_archive_holds_one_table(write):
    def packed(*names):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name in names:
                archive.writestr(name, "a,b\n1,2\n3,5\n4,1\n")
        return stream.getvalue()

    assert load(write(packed("in/d.csv", "__MACOSX/in/._d.csv"), "d.csv.zip")).features == ("a", "b")
    fails("holds 2 tables", write(packed("a.csv", "b.csv"), "d.csv.zip"))
    fails("cannot read", write(packed("a.csv")[:-30], "d.csv.zip"))
    fails("cannot read", write(b"garbage", "d.csv.zip"))


def test_feather(tmp_path):
    frame = pd.DataFrame({"a": X[:, 0], "k": ["u", None, "v", "u"], "b": pd.array([1, None, 3, 5], dtype="Int64")})
    frame.to_feather(tmp_path / "d.feather")
    data = load(tmp_path / "d.feather", label_column="k", drop_missing=True)
    np.testing.assert_array_equal(data.x, [[1.5, 1], [-1, 3], [2, 5]])
    assert data.labels.tolist() == ["u", "v", "u"]
    (tmp_path / "e.feather").write_bytes(b"garbage")
    fails("cannot read", tmp_path / "e.feather")


def test_parquet_with_the_same_name_twice(tmp_path):
    table = pa.Table.from_arrays([pa.array(X[:, 0]), pa.array(X[:, 1]), pa.array(X[:, 0] ** 2)], names=["a", "b", "a"])
    parquet.write_table(table, tmp_path / "d.parquet")
    fails("duplicated columns: 'a' stands twice in the header: rename one", tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet", columns=["b"]).features == ("b",)


@pytest.mark.parametrize(
    ("values", "entry"),
    [
        (["12", "13", "14"], "'12' in row 1, which is stored as text"),
        ([None, "13", "x"], "'x' in row 3"),
        ([b"1", b"2", b"3"], "\"b'1'\" in row 1|b'1'"),
        ([[1.0], [2.0], [3.0]], r"\[1\.0\]"),
    ],
)
def test_parquet_columns_without_numbers_name_an_entry(tmp_path, values, entry):
    parquet.write_table(pa.table({"a": pa.array(values), "b": [1.0, 5, 2]}), tmp_path / "d.parquet")
    fails(f"non-numeric column 'a' .*({entry})", tmp_path / "d.parquet")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f8','fortran_order':False,'shape':(10000000000000000000000000,2)}",
        "{'descr':'<f8','fortran_order':False,'shape':(True,True)}",
        "{'descr':'<f8','fortran_order':False,'shape':(-3,2)}",
        "{'descr':'<f8','fortran_order':False,'shape':('a',)}",
        "{'descr':[],'fortran_order':False,'shape':(3,)}",
        "(" * 9000,
        "{" + "[" * 500,
        "\0",
        "1 +",
    ],
)
def test_odd_headers_of_arrays(write, header):
    text = header.encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"0" * 800
    fails("cannot read|is empty|holds a|promises", write(data, "d.npy"))


# ---- lines above the names, and tabs among blanks


@pytest.mark.parametrize(
    ("name", "text", "above"),
    [
        ("one.csv", "Results of 2020\na,b\n{}", "'Results of 2020'"),
        ("gap.csv", "Results of 2020\n\n\na,b\n{}", "'Results of 2020'"),
        ("marks.csv", "Results, of, our, own, study\nAsk us\na,b\n{}", "'Results, of, our, own, study' and more"),
        ("quoted.csv", '"Results, all of them"\na,b\n{}', "'\"Results, all of them\"'"),
        ("excel.csv", "\ufeffGröße\r\na;b\r\n{}", "'Größe'"),
        ("tabs.tsv", "Results of 2020\na\tb\n{}", "'Results of 2020'"),
        ("fewer.txt", "Results\na b\n{}", "'Results'"),
        ("more.txt", "Table 1: results of 2020\na b\n{}", "'Table 1: results of 2020'"),
    ],
)
def test_lines_above_the_names_are_left_out(name, text, above, tmp_path):
    mark = {".csv": ",", ".tsv": "\t", ".txt": " "}[name[-4:]] if "excel" not in name else ";"
    rows = "\n".join(mark.join(map(str, row)) for row in X)
    (tmp_path / name).write_text(text.format(rows), encoding="utf-8", newline="")
    data = load(tmp_path / name)
    assert data.features == ("a", "b")
    assert np.array_equal(data.x, X)
    assert data.notes == (f"left out what stands above the names of the columns: {above}",)


@pytest.mark.parametrize("name", ["d.txt", "d.csv"])
@pytest.mark.parametrize("line", [0, 2, None])
def test_a_tab_among_blanks_is_a_blank(name, line, tmp_path):
    rows = [["a", "b", "c"], *([*map(str, row), "7.5"] for row in X)]
    lines = [
        "\t".join(row[:2]) + " " + row[2] if i == line or line is None else " ".join(row) for i, row in enumerate(rows)
    ]
    (tmp_path / name).write_text("\n".join(lines))
    data = load(tmp_path / name, columns=["a", "b"])
    assert np.array_equal(data.x, X)
    assert not data.notes


def test_names_that_R_writes_above_its_row_names_are_no_title(tmp_path):
    (tmp_path / "d.csv").write_text("mpg,cyl\nMazda,21,6\nFiat,20.5,4\nVW,30,4\n")
    assert load(tmp_path / "d.csv").notes == ("left out column 1, which has no name: it names the rows",)
