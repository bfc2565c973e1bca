"""Built-in data against their provenance, simulators against their stated truth, every bad input by its message."""

import gzip
import hashlib
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixtures import datasets
from mixtures.datasets import DataError, check_components, check_values, load, mean_distances, simulate, tsmatz

FOLDER = Path(datasets.__file__).parent
CLASSES = {
    "banknote": {"genuine": 100, "counterfeit": 100},
    "diabetes": {"Normal": 76, "Chemical": 36, "Overt": 33},
    "penguins": {"Adelie": 151, "Chinstrap": 68, "Gentoo": 123},
    "iris": {"setosa": 50, "versicolor": 50, "virginica": 50},
    "wine": {"class_0": 59, "class_1": 71, "class_2": 48},
}
DIGESTS = {  # SHA-256, the first 12 digits
    "acidity": "beb5e7c65a67",
    "banknote": "535b057f4f60",
    "diabetes": "82fbfc23405d",
    "faithful": "2da9ef67231a",
    "galaxies": "9d02dad4e05d",
    "penguins": "3c4c14fd9d1b",
}


def fails(message, *args, **options):
    """Load, and check that the error is one line that holds the message (a regular expression)."""
    with pytest.raises(DataError, match=message) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


# ---- built-in sets


@pytest.mark.parametrize("entry", datasets.describe(), ids=lambda entry: entry.name)
def test_built_in_sets_are_as_the_catalogue_says(entry):
    data = load(entry.name)
    assert data.x.shape == (entry.n, entry.d)
    assert data.x.dtype == np.float64
    assert len(data.features) == entry.d
    assert np.isfinite(data.x).all()
    if entry.classes is None:
        assert data.labels is None
    else:
        assert data.labels.shape == (entry.n,)
        assert len(set(data.labels)) == entry.classes
    if entry.name in CLASSES:
        names, counts = np.unique(data.labels, return_counts=True)
        assert dict(zip(names, counts, strict=True)) == CLASSES[entry.name]


def test_provenance_names_every_file_with_its_size():
    text = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)\.csv` \| (\d+) × (\d+)( numeric)?( \+ label)? \| (?:`(\w+)`|none) \|", text, re.MULTILINE
    )
    assert {row[0] for row in rows} == {path.stem for path in FOLDER.glob("*.csv")}
    for name, n, d, _, has_label, label in rows:
        frame = pd.read_csv(FOLDER / f"{name}.csv")
        assert len(frame) == int(n)
        assert bool(has_label) == bool(label)
        assert load(name).x.shape[1] == int(d)
        if label:
            assert frame[label].nunique() == len(set(load(name).labels))


def test_scikit_learn_names_fit_a_command_line():
    assert load("iris").features == ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm")
    assert load("wine", columns=["alcohol", "malic_acid"]).x[0].tolist() == [14.23, 1.71]


def test_galaxies_are_kept_as_distributed():
    x = load("galaxies").x[:, 0]
    assert x[77] == 26690
    assert (x[0], x[-1]) == (9172, 34279)
    assert np.all(np.diff(x) >= 0)


def test_penguins_drop_only_rows_that_miss_a_chosen_value():
    frame = pd.read_csv(FOLDER / "penguins.csv")
    features = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    kept = frame.dropna(subset=features)
    data = load("penguins")
    np.testing.assert_array_equal(data.x, kept[features])
    assert data.labels.tolist() == kept["species"].tolist()
    by_sex = load("penguins", label_column="sex", columns=["body_mass_g", "bill_depth_mm"])
    kept = frame.dropna(subset=["sex", *features])
    np.testing.assert_array_equal(by_sex.x, kept[["body_mass_g", "bill_depth_mm"]])
    assert by_sex.labels.tolist() == kept["sex"].tolist()


def test_loading_text_needs_neither_pandas_nor_scikit_learn():
    code = (
        "import sys, mixtures.datasets as d\n"
        "assert 'pyarrow' not in sys.modules\n"
        "d.load('penguins')\n"
        "sys.exit(bool({'pandas', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


# ---- tsmatz


def legacy_uniforms(seed):
    """Mersenne twister of Matsumoto and Nishimura (1998), init_genrand seeding, 53-bit uniforms as CPython draws them."""
    state = [seed]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    twister = random.Random()
    twister.setstate((3, (*state, 624), None))
    return twister.random


def test_tsmatz_is_the_documented_sequence_of_draws():
    legacy = np.random.RandomState(1000)
    mean = [(-3, 2), (4, 2), (3, 1)]
    covariance = [((1, 0.2), (0.2, 2)), ((0.8, -1), (-1, 1.3)), ((1.5, 1.4), (1.4, 1.5))]
    x, z = [], []
    for u in legacy.rand(1000):
        k = 0 if u < 0.15 else 1 if u < 0.50 else 2
        z.append(k)
        x.append(legacy.multivariate_normal(mean[k], covariance[k]))
    data = load("tsmatz")
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.truth["labels"], z)
    np.testing.assert_array_equal(data.truth["means"], mean)
    np.testing.assert_array_equal(data.truth["covariances"], covariance)
    assert data.labels.tolist() == [str(k) for k in z]


def test_tsmatz_labels_and_radii_follow_from_the_generator_alone():
    uniform = legacy_uniforms(1000)
    u = [uniform() for _ in range(1000)]
    counts = [sum(v < 0.15 for v in u), sum(0.15 <= v < 0.5 for v in u), sum(v >= 0.5 for v in u)]
    data = tsmatz()
    assert np.bincount(data.truth["labels"]).tolist() == counts
    # Marsaglia's polar method turns one accepted point of squared radius r into a normal pair whose squares sum to
    # -2 log r; that sum is the row's squared Mahalanobis distance, whatever square root of the covariance is used.
    squared = []
    while len(squared) < 1000:
        r = (2 * uniform() - 1) ** 2 + (2 * uniform() - 1) ** 2
        if 0 < r < 1:
            squared.append(-2 * math.log(r))
    k = data.truth["labels"]
    gap = data.x - data.truth["means"][k]
    scaled = np.linalg.solve(data.truth["covariances"][k], gap[..., None])[..., 0]
    np.testing.assert_allclose(np.sum(gap * scaled, axis=1), squared, rtol=1e-9, atol=1e-9)


def test_tsmatz_in_one_column_keeps_the_marginal_truth():
    data = load("tsmatz", columns=["x2"])
    np.testing.assert_array_equal(data.x, tsmatz().x[:, 1:])
    np.testing.assert_array_equal(data.truth["means"], [[2], [2], [1]])
    np.testing.assert_array_equal(data.truth["covariances"], [[[2]], [[1.3]], [[1.5]]])


# ---- simulator


@pytest.mark.parametrize(("k", "d", "separation", "imbalance"), [(2, 1, 0.5, 1), (3, 2, 4, 7.5), (6, 4, 2, 3)])
def test_simulator_reaches_the_stated_separation_and_imbalance(k, d, separation, imbalance):
    rng = np.random.default_rng(3)
    truth = simulate(50, k, d, separation=separation, imbalance=imbalance, rng=rng).truth
    weights, means, covariances = truth["weights"], truth["means"], truth["covariances"]
    assert weights.sum() == pytest.approx(1, rel=1e-14)
    assert weights.max() / weights.min() == pytest.approx(imbalance, rel=1e-13)
    np.testing.assert_allclose(weights[1:] / weights[:-1], weights[1] / weights[0], rtol=1e-13)
    distance = [
        math.sqrt((means[i] - means[j]) @ np.linalg.inv((covariances[i] + covariances[j]) / 2) @ (means[i] - means[j]))
        for i in range(k)
        for j in range(i)
    ]
    assert min(distance) == pytest.approx(separation, rel=1e-12)
    np.testing.assert_allclose(np.sort(mean_distances(means, covariances)), np.sort(distance), rtol=1e-12)
    variances = np.linalg.eigvalsh(covariances)
    assert variances.min() >= 0.5 - 1e-12
    assert variances.max() <= 2 + 1e-12


def test_distance_of_unit_spheres_is_euclidean():
    assert mean_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.stack([np.eye(2)] * 2)) == pytest.approx(5, rel=1e-15)


def test_simulated_rows_follow_the_kept_truth():
    data = simulate(60_000, 3, 2, separation=3, imbalance=4, rng=np.random.default_rng(1))
    truth = data.truth
    assert data.labels.tolist() == truth["labels"].astype(str).tolist()
    for k in range(3):
        own = data.x[truth["labels"] == k]
        n = len(own)
        assert abs(n / 60_000 - truth["weights"][k]) < 5 * math.sqrt(0.25 / 60_000)
        covariance = truth["covariances"][k]
        variances = np.diag(covariance)
        assert np.all(np.abs(own.mean(axis=0) - truth["means"][k]) < 5 * np.sqrt(variances / n))
        # the standard error of a sample covariance (Anderson 2003, section 3.4)
        error = np.sqrt((covariance**2 + np.outer(variances, variances)) / n)
        assert np.all(np.abs(np.cov(own.T) - covariance) < 5 * error)


def test_simulator_repeats_by_seed_and_allows_one_cluster():
    first, second, other = (simulate(20, 2, 3, separation=1, rng=np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.x, second.x)
    assert not np.array_equal(first.x, other.x)
    one = simulate(20, 1, 3, separation=4, imbalance=9, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(one.truth["means"], np.zeros((1, 3)))
    np.testing.assert_array_equal(one.truth["weights"], [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"n_features": -1}, "n_features must be at least 1"),
        ({"separation": -1.0}, "separation must be a finite"),
        ({"separation": math.nan}, "separation must be a finite"),
        ({"imbalance": 0.5}, "imbalance is the largest weight over the smallest"),
        ({"imbalance": math.inf}, "imbalance is the largest weight"),
    ],
)
def test_simulator_refuses_arguments_out_of_range(change, message):
    options = {"n": 10, "n_components": 2, "n_features": 2, "separation": 1.0, "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=message):
        simulate(**options)


# ---- a user's own file


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.txt", "d.csv.gz", "d.tsv.gz", "d.parquet", "D.CSV"])
def test_files_round_trip(tmp_path, name):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=9), "b c": rng.integers(0, 99, 9), "kind": ["u", "v", "w"] * 3})
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".t" in name else ",")
    data = load(path, label_column="kind")
    np.testing.assert_array_equal(data.x, frame[["a", "b c"]])
    assert data.features == ("a", "b c")
    assert data.labels.tolist() == frame["kind"].tolist()
    assert data.name in ("d", "D")
    assert data.truth is None
    swapped = load(str(path), columns=["b c", "a"])
    np.testing.assert_array_equal(swapped.x, frame[["b c", "a"]])
    assert swapped.labels is None


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u8", ">f8"])
def test_arrays_round_trip(tmp_path, dtype):
    x = np.arange(12).reshape(6, 2)[::-1] ** 2
    np.save(tmp_path / "x.npy", np.asfortranarray(x.astype(dtype)))
    data = load(tmp_path / "x.npy")
    np.testing.assert_array_equal(data.x, x)
    assert data.x.dtype == np.float64
    assert data.features == ("x1", "x2")
    np.save(tmp_path / "x.npy", x[:, 0].astype(dtype))
    np.testing.assert_array_equal(load(tmp_path / "x.npy").x, x[:, :1])


def test_text_layouts_people_have(write):
    expected = [[1.0, 2.5], [3.0, 4.0]]
    for name, content in {
        "spaces.txt": "  a   b\n 1  2.5 \n3 4\n",
        "semicolon.csv": "a;b\n1;2.5\n3;4\n",
        "windows.csv": "\ufeffa,b\r\n1,2.5\r\n3,4",
        "quoted.csv": '"a", "b"\n1, 2.5\n3, 4\n',
        "blank.csv": "\n\na,b\n1,2.5\n\n3,4\n\n",
    }.items():
        data = load(write(content, name))
        assert data.features == ("a", "b"), name
        np.testing.assert_array_equal(data.x, expected, err_msg=name)


def test_tabs_alone_part_a_tsv_file(write):
    assert load(write("a, in m, raw\tb\n1\t2\n3\t5\n4\t4\n", "t.tsv")).features == ("a, in m, raw", "b")


def test_whole_numbers_beyond_float_precision_are_rounded(write):
    assert load(write("a\n9007199254740993\n1\n")).x[:, 0].tolist() == [2.0**53, 1]


def test_type_of_a_column_is_told_from_all_rows(write):
    # the reader's usual guess looks at the first megabyte only
    rows = [f"{i},{i % 7}" for i in range(200_000)]
    data = load(write("a,b\n" + "\n".join([*rows, "0.5,1.25"])))
    assert data.x[-1].tolist() == [0.5, 1.25]
    assert data.x.shape == (200_001, 2)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("a,k\n1,0\n2,1\n", ["0", "1"]),
        ("a,k\n1,0\n2,\n3,1\n", ["0", "1"]),
        ("a,k\n1,0.5\n2,1\n", ["0.5", "1"]),
        ("a,k\n1,true\n2,false\n", ["True", "False"]),
        ("a,k\n1,2020-01-02\n2,2021-01-02\n", ["2020-01-02", "2021-01-02"]),
    ],
)
def test_labels_may_be_of_any_type(write, content, labels):
    data = load(write(content), label_column="k", drop_missing=True)
    assert data.labels.tolist() == labels
    assert data.features == ("a",)


def test_row_numbers_with_a_name_are_taken_as_they_are(write):
    assert load(write("rownames,a\n1,3\n2,5\n3,1\n")).features == ("rownames", "a")


def test_parquet_types(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": pd.array([1, None, 3, 5], dtype="Int64"), "k": pd.Categorical(["u", "v", "u", "v"])})
    frame = frame[[True, True, True, True]].set_axis([5, 6, 8, 7])
    frame.to_parquet(path)
    data = load(path, label_column="k", drop_missing=True)
    assert data.features == ("a",)  # the row index of pandas is no feature
    assert data.x[:, 0].tolist() == [1, 3, 5]
    assert data.labels.tolist() == ["u", "u", "v"]


def test_missing_values_are_counted_or_dropped(write):
    path = write("a,b,k\n1,2,u\nNA,,v\n3,nan,v\n4,7,\n5,1,u\n")
    fails(r"3 missing values in 2 of 5 rows \(a: 1, b: 2\): .*--drop-missing", path, columns=["a", "b"])
    fails(r"4 missing values in 3 of 5 rows \(a: 1, b: 2, k: 1\)", path, label_column="k")
    data = load(path, label_column="k", drop_missing=True)
    np.testing.assert_array_equal(data.x, [[1, 2], [5, 1]])
    assert data.labels.tolist() == ["u", "u"]


# ---- bad input


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
        ("1,2\n3,4\n5,7\n", "n.csv", "first line .* holds only numbers: add a header line"),
        ("a,b\n1,2\n3,4,5\n", "r.csv", r"cannot read .*Row #3: Expected 2 columns, got 3"),
        (b"\x00\x01\x02\x03", "b.csv", "is not a text file"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "b.csv", r"is not UTF-8 text \(byte 0\)"),
        ("é,b\n1,2\n".encode("latin-1"), "l.csv", "is not UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "u.csv", "is not UTF-8 text"),
        (b"garbage", "g.csv.gz", "cannot read .*gzip"),
        (gzip.compress(b"a\n1\n2\n" * 99)[:-9], "g.csv.gz", "cannot read"),
        (gzip.compress(b"a\n1\n2\n" * 99)[:10] + b"\xff" * 20, "g.csv.gz", "cannot read"),
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
        (np.zeros(3, dtype=[("a", "f8")]), "1-D array of void"),
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
    fails("cannot read", tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "a,s,t,b\n1,u,v,2\n2,u,w,5\n",
            {},
            "non-numeric columns 's', 't': choose the numeric columns with --columns a,b, or make one .*--label-column",
        ),
        (
            "a,s,b\n1,2,2\n2,oops,5\n",
            {},
            r"non-numeric column 's' \('oops' in row 2\): .*--columns a,b.*--label-column",
        ),
        ("a,s\n1,u\n2,v\n", {"columns": ["a", "s"]}, r"non-numeric column 's' \('u' in row 1\): leave it out"),
        ("a,s\n1,true\n2,false\n", {}, r"non-numeric column 's' \('True' in row 1\)"),
        ("a,b\n1,2\n2,inf\n-inf,3\n", {}, "2 infinite values, the first in column 'b', row 2"),
        ("a,b\n1,2\n1,3\n1,5\n", {}, "constant column 'a': leave it out with --columns"),
        ("a\n1\n", {}, "only 1 row: no column varies"),
        ("a,b,a\n1,2,1\n2,3,4\n", {}, "duplicated columns: 'a' stands twice in the header: rename one"),
        ("a,b,a\n1,2,1\n2,3,4\n", {"columns": ["a", "b"]}, "'a' stands twice in the header"),
        ("a,b\n1,2\n2,3\n4,1\n", {"columns": ["a", "a"]}, "'a' stands twice in --columns: name it once"),
        ("a,b\n1,1\n2,2\n4,4\n", {}, "'b' holds the same values as 'a', so every covariance is singular: .*--columns"),
        ("a,b\n1,-3\n2,-5\n4,-9\n", {}, "'b' is a linear function of 'a'"),
        ("a,n,b,c\n1,5,2,3\n2,1,5,7\n4,1,1,5\n9,0,3,12\n7,7,0,7\n", {}, "'c' is a linear function of 'a', 'b',"),
        (",a\n1,5\n2,7\n3,1\n", {}, r"column 1 has no name \(row numbers\?\): .*--columns a"),
        ("eruptions,waiting\n1,2\n2,3\n", {"columns": ["Wating"]}, r"no column 'Wating': did you mean 'waiting'\?"),
        ("AREA,b\n1,2\n2,3\n", {"columns": ["area"]}, "no column 'area': did you mean 'AREA'"),
        ("a,b\n1,2\n2,3\n", {"columns": ["zzz"]}, r"no column 'zzz': there are 'a', 'b' \(--columns\)"),
        ("a,species\n1,2\n2,3\n", {"label_column": "specie"}, "no label column 'specie': did you mean 'species'"),
        ("a,b\n1,2\n2,3\n", {"label_column": "b", "columns": ["a", "b"]}, "column 'b' is the label: .*--label-column"),
        ("a\n1\n2\n", {"label_column": "a"}, "no column is left beside the label 'a'"),
        ("a,b\n1,2\n2,3\n", {"columns": []}, "no columns chosen"),
        ("a,b\n1,\n,3\n", {"drop_missing": True}, "no row is left without a missing value"),
        ("a,b\n1,\n2,\n", {}, r"2 missing values in 2 of 2 rows \(b: 2\)"),
        ("a,k\n1,u\n2,\n4,u\n", {"label_column": "k"}, r"1 missing value in 1 of 3 rows \(k: 1\)"),
    ],
)
def test_tables_that_cannot_be_fitted(write, content, options, message):
    fails(message, write(content), **options)


def test_unused_columns_may_be_anything(write):
    path = write(",a,a,s,b,c\n1,1,2,u,inf,1\n2,3,4,v,,2\n3,5,7,w,0,5\n")
    assert load(path, columns=["c"]).x[:, 0].tolist() == [1, 2, 5]
    assert load(path, columns="c", label_column="s").labels.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e8, 1), (1e10, 1), (0, 1e-6), (0, 1e300)])
def test_shifted_and_scaled_data_are_judged_alike(shift, scale):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 3)) * scale + shift
    check_values(x, ["a", "b", "c"])
    nearly = np.column_stack([x[:, 0], x[:, 0] + 1e-4 * scale * rng.normal(size=200)])
    check_values(nearly, ["a", "b"])
    with pytest.raises(DataError, match="'c' is a linear function of 'a', 'b'"):
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


def test_files_are_the_distributed_ones():
    digest = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in FOLDER.glob("*.csv")}
    assert digest == DIGESTS


def test_decimal_commas_are_named(tmp_path):
    path = tmp_path / "euro.csv"
    path.write_text("a;b\n1,5;2\n2,5;3\n")
    with pytest.raises(DataError, match="a decimal comma: write points"):
        load(path)


def test_independent_features_need_fewer_rows():
    x = np.arange(6.0).reshape(2, 3) ** 2
    check_components(x, 1, correlated=False)
    with pytest.raises(DataError, match="a full covariance needs at least 4 rows"):
        check_components(x, 1)
