"""Data that cannot be used: one clear line for each."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import fails

from mixtures import datasets
from mixtures.datasets import DataError, check_components, check_values, load

pytestmark = pytest.mark.robustness("errors")

FOLDER = Path(datasets.__file__).parent


def test_names_that_do_not_exist_offer_the_nearest(write, tmp_path):
    fails("no data set or file 'faithfull'; did you mean 'faithful'", "faithfull")
    fails("did you mean 'iris'", "IRIS")
    fails("no label column 'STATUS': did you mean 'Status'", "banknote", label_column="STATUS")
    message = fails("no data set or file 'zzzz': give a path, or one of faithful, galaxies", "zzzz")
    assert "tsmatz" in message
    path = write("a\n1\n2\n", "measured.csv")
    write("a\n1\n2\n", "other.csv")
    fails(re.escape(f"did you mean {str(path)!r}?"), tmp_path / "mesured.csv")
    fails("no data set or file", tmp_path / "nowhere" / "mesured.csv")
    fails("no data set or file", "a\nb")
    fails("no data set or file", "a\0b.csv")
    fails("no data set or file", "x" * 260 + ".csv")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "e.csv", "is empty: give a file with a header"),
        ("  \n\n", "e.csv", "is empty"),
        ("", "e.npy", "is empty"),
        ("", "e.parquet", "is empty"),
        ("a,b\n", "h.csv", "has a header but no rows"),
        ("a,b", "h.csv", "has a header but no rows"),
        ("a,b\n1,2\n3,4,5\n", "r.csv", r"cannot read .*Row #3: Expected 2 columns, got 3"),
        (b"\x00\x01\x02\x03", "b.csv", "is not a text file"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "b.csv", r"is not UTF-8 text \(byte 0\)"),
        ("é,b\n1,2\n".encode("latin-1"), "l.csv", "is not UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-32"), "u.csv", "is not a text file"),
        (b"garbage", "g.csv.gz", "cannot read .*gzip"),
        (gzip.compress(b"a\n1\n2\n" * 99, mtime=0)[:-9], "g.csv.gz", "cannot read"),
        (gzip.compress(b"a\n1\n2\n" * 99, mtime=0)[:10] + b"\xff" * 20, "g.csv.gz", "cannot read"),
        (b"garbage", "g.parquet", "cannot read .*arquet"),
        (b"PAR1" + b"\xff" * 99 + b"PAR1", "g.parquet", "cannot read"),
        (b"garbage", "g.npy", "cannot read"),
        ("a\n1\n", "x.xlsx", r"format of .* is not known: give one of \.csv"),
        ("a\n1\n", "noextension", r"is not known: give one of .*\.parquet"),
    ],
)
def test_unreadable_files(write, content, name, message):
    fails(message, write(content, name))


def test_folder_and_forbidden_file(write, tmp_path, monkeypatch):
    fails("is a folder: give a file in it", tmp_path)
    path = write("a\n1\n2\n")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    fails("cannot read .*: Permission denied", path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, "a"], dtype=object), "cannot read .*[Oo]bject arrays cannot be loaded"),
        (np.ones((3, 2)) * 1j, "2-D array of complex128: give a 1-D or 2-D array of real"),
        (np.zeros((3, 2, 2)), "3-D array of float64"),
        (np.float64(3), "0-D array"),
        (np.array([True, False]), "1-D array of bool"),
        (np.array(["a", "b"]), "1-D array of str"),
        (np.zeros(3, dtype=[("a", "f8", 2)]), "1-D array of void"),
        (np.zeros(3, dtype=[("a", "f8"), ("b", "c16")]), "1-D array of void"),
        (np.zeros((0, 2)), r"is empty, shape \(0, 2\)"),
        (np.zeros((2, 0)), r"is empty, shape \(2, 0\)"),
        (np.array([[1.0, 2], [np.nan, 3], [5, 6]]), r"1 missing value in 1 of 3 rows \(x1: 1\)"),
    ],
)
def test_arrays_that_are_no_table(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    fails(message, tmp_path / "x.npy")


def test_truncated_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(50.0))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    fails("promises 400 bytes in an array of shape .*, and holds 392", tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "a,s,b\n1,2,2\n2,oops,5\n",
            {},
            r"non-numeric column 's' \('oops' in row 2\), though 1 of 2 entries are numbers: .*--na-values.*--categorical s$",
        ),
        (
            "a,s\n1,u\n2,v\n",
            {"columns": ["a", "s"], "family": "gaussian"},
            r"non-numeric column 's' \('u' in row 1\): leave it out",
        ),
        ("a,s\n1,true\n2,false\n", {"family": "gaussian"}, r"non-numeric column 's' \('true' in row 1\)"),
        ("a,b\n1,2\n2,inf\n-inf,3\n", {}, "2 infinite values, the first in column 'b', row 2"),
        ("a,b\n1,2\n1,3\n1,5\n", {}, "constant column 'a': leave it out with --columns"),
        ("a\n1\n", {}, "only 1 row: no column varies"),
        ("a,b,a\n1,2,1\n2,3,4\n", {}, "duplicated columns: 'a' stands twice in the header: rename one"),
        ("a,b,a\n1,2,1\n2,3,4\n", {"columns": ["a", "b"]}, "'a' stands twice in the header"),
        ("a,b\n1,2\n2,3\n4,1\n", {"columns": ["a", "a"]}, "'a' stands twice in --columns: name it once"),
        ("a,b\n1,1\n2,2\n4,4\n", {}, "'b' holds the same values as 'a', so every covariance is singular: .*--columns"),
        ("a,b\n1,-3\n2,-5\n4,-9\n", {}, "'b' = -2 'a' - 1, so every"),
        ("a,n,b,c\n1,5,2,3\n2,1,5,7\n4,1,1,5\n9,0,3,12\n7,7,0,7\n", {}, r"'c' = 'a' \+ 'b',"),
        (",a\n1.5,5\n2,7\n3,1\n", {}, r"column 1 has no name: name it, or .*--columns a"),
        (",a\n1,5\n1,7\n3,1\n", {}, r"column 1 has no name: name it, or .*--columns a"),
        ("eruptions,waiting\n1,2\n2,3\n", {"columns": ["Wating"]}, r"no column 'Wating': did you mean 'waiting'\?"),
        ("AREA,b\n1,2\n2,3\n", {"columns": ["area"]}, "no column 'area': did you mean 'AREA'"),
        ("a,b\n1,2\n2,3\n", {"columns": ["zzz"]}, r"no column 'zzz': there are 'a', 'b' \(--columns\)"),
        ("a,species\n1,2\n2,3\n", {"label_column": "specie"}, "no label column 'specie': did you mean 'species'"),
        ("a,b\n1,2\n2,3\n", {"label_column": "b", "columns": ["a", "b"]}, "column 'b' is the label: .*--label-column"),
        ("a\n1\n2\n", {"label_column": "a"}, "no column of data is left beside the label 'a'"),
        ("a,b\n1,2\n2,3\n", {"columns": []}, "no columns chosen"),
        ("a,b\n1,\n,3\n", {"missing": "drop"}, "no row is left without a missing value"),
        ("a,b\n1,\n2,\n", {}, r"no value in column 'b': 2 missing values in 2 of 2 rows \(b: 2\); leave it out"),
        ("a,b\n1,\n2,\n", {"missing": "model"}, "no value in column 'b'"),
        ("a,k\n1,\n2,NA\n4,\n", {"label_column": "k"}, "no row has a label in 'k': choose another --label-column"),
    ],
)
def test_tables_that_cannot_be_fitted(write, content, options, message):
    fails(message, write(content), **options)


def test_unused_columns_may_be_anything(write):
    path = write(",a,a,s,b,c\n1,1,2,u,inf,1\n2,3,4,v,,2\n3,5,7,w,0,5\n")
    assert load(path, columns=["c"]).x[:, 0].tolist() == [1, 2, 5]
    assert load(path, columns="c", label_column="s").labels.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e8, 1), (1e10, 1), (0, 1e-6), (0, 1e100)])
def test_shifted_and_scaled_data_are_judged_alike(shift, scale):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 3)) * scale + shift
    check_values(x, ["a", "b", "c"])
    nearly = np.column_stack([x[:, 0], x[:, 0] + 1e-4 * scale * rng.normal(size=200)])
    check_values(nearly, ["a", "b"])
    with pytest.raises(DataError, match=r"'c' = 0\.5 'a' - 0\.3 'b'"):
        check_values(np.column_stack([x[:, :2], 0.5 * x[:, 0] - 0.3 * x[:, 1] + 7 * scale]), ["a", "b", "c"])
    with pytest.raises(DataError, match="constant column 'b'"):
        check_values(np.column_stack([x[:, 0], np.full(200, shift + scale / 3)]), ["a", "b"])


def test_dependence_is_found_across_blocks_of_rows():
    x = np.random.default_rng(0).normal(size=(150_000, 3))
    check_values(x, ["a", "b", "c"])
    x[:, 2] = x[:, 0]
    check_values(np.concatenate([[[1.0, 2.0, 3.0]], x]), ["a", "b", "c"])
    with pytest.raises(DataError, match="'c' holds the same values as 'a'"):
        check_values(x, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.eye(4)[:, :2], 0, "must be at least 1, got 0: give another with -k"),
        (np.eye(4)[:, :2], 5, "5 clusters but only 4 rows: ask for at most 4 with -k"),
        (np.eye(4)[:, :2], 4, "4 clusters but only 3 distinct rows: ask for at most 3"),
        (np.eye(4), 2, "4 rows for 4 features: a full covariance needs at least 5 rows"),
    ],
)
def test_too_many_clusters(x, k, message):
    with pytest.raises(DataError, match=message):
        check_components(x, k)


def test_enough_rows_for_the_clusters():
    check_components(np.eye(4)[:, :2], 3)
    check_components(np.eye(4)[:, :3], 1)
    # the distinct rows come late
    check_components(np.concatenate([np.zeros(1000), [1.0, 2.0]])[:, None], 3)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("a;b\n1,5;2\n2,5;3\n", r"'1,5' in row 1\): read it with --decimal , \(as 1\.5\)$"),
        ("a\n1,5\n2,25\n", r"--decimal , \(as 1\.5\)$"),
        ('a,b\n"1,234",2\n999,3\n', r"read it with --thousands , \(as 1234\) or --decimal , \(as 1\.234\)$"),
        ('a,b\n"1,234.5",2\n999,3\n', r"read it with --thousands , \(as 1234\.5\)$"),
        ('a,b\n"1,234,567",2\n3,4\n', r"read it with --thousands , \(as 1234567\)$"),
        ("a;b;c\n1.234,5;2;x\n2,25;3;y\n", r"read it with --decimal , --thousands \. \(as 1234\.5\)$"),
        ("a;b\n1 234;2\n9\u00a0876;3\n", r"read it with --thousands ' ' \(as 1234\)$"),
        ("a;b\n1'234;2\n9'876;3\n", r"--thousands ''\"'\"'' \(as 1234\)$"),
    ],
)
def test_numbers_spelled_otherwise_come_with_advice(write, content, advice):
    fails(advice, write(content))


def test_marks_that_cannot_be(write):
    path = write("a\n1\n2\n")
    fails("--decimal is '1'; expected one mark", path, decimal="1")
    fails("--thousands is ',,'; expected one mark", path, thousands=",,")
    fails("--decimal and --thousands are both ','", path, decimal=",", thousands=",")


def test_independent_features_need_fewer_rows():
    x = np.arange(6.0).reshape(2, 3) ** 2
    check_components(x, 1, correlated=False)
    with pytest.raises(DataError, match="a full covariance needs at least 4 rows"):
        check_components(x, 1)
