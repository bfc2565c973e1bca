"""Built-in data against their provenance, simulators against their stated truth, files against what was written."""

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
from conftest import fails

from mixtures import datasets
from mixtures.datasets import load, load_series, mean_distances, simulate, simulate_linear, tsmatz

FOLDER = Path(datasets.__file__).parent
CLASSES = {
    "banknote": {"genuine": 100, "counterfeit": 100},
    "diabetes": {"Normal": 76, "Chemical": 36, "Overt": 33},
    "penguins": {"Adelie": 151, "Chinstrap": 68, "Gentoo": 123},
    "iris": {"setosa": 50, "versicolor": 50, "virginica": 50},
    "wine": {"class_0": 59, "class_1": 71, "class_2": 48},
}
DIGESTS = {  # SHA-256, the first 12 digits
    "earthquakes": "4c4b1d822fd6",
    "fedfunds": "9593bc05c0d6",
    "nile": "88e97bea7249",
    "speed": "ce18d3af521d",
    "unemployment": "fda2454d121f",
    "acidity": "beb5e7c65a67",
    "alzheimer": "20e5e2a0b0fe",
    "banknote": "535b057f4f60",
    "carcinoma": "3f356b8dbb34",
    "cheating": "c3a5fce1c0d5",
    "deaths": "7e917fdf5f10",
    "diabetes": "82fbfc23405d",
    "election": "a195b42ebd70",
    "faithful": "2da9ef67231a",
    "galaxies": "9d02dad4e05d",
    "heart": "410f456dce17",
    "penguins": "3c4c14fd9d1b",
}


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
    discrete = re.findall(r"^\| `(\w+)\.csv` \| (\d+) × (\d+) \| [^`|]+ \| [^|]+ \|$", text, re.MULTILINE)
    discrete = [row for row in discrete if row[0] not in {name for name, *_ in rows}]
    assert {row[0] for row in [*rows, *discrete]} == {path.stem for path in FOLDER.glob("*.csv")}
    for name, n, d in discrete:
        assert pd.read_csv(FOLDER / f"{name}.csv").shape == (int(n), int(d))
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
    np.testing.assert_array_equal(by_sex.x, kept[["body_mass_g", "bill_depth_mm"]])
    assert by_sex.labels.tolist() == kept["sex"].fillna("").tolist()
    assert by_sex.notes == (
        "left out 2 rows with missing values: 4, 272",
        "9 rows without a label in 'sex': fitted like the others",
    )


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


# ---- linear dynamical systems


def test_tsmatz_lds_is_the_documented_sequence_of_draws():
    """Its first row and the eigenvalues of A as documented; noise and steps whitened by Q and R are standard normals."""
    data = load_series("tsmatz-lds").data
    truth, x = data.truth, data.x
    A, C, z = truth["transition"], truth["emission"], truth["states"]
    np.testing.assert_allclose(x[0], [47.68902127, 48.86610347], atol=5e-9)
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(A)), [0.6875 - 0.7262j, 0.6875 + 0.7262j, 1], atol=5e-5
    )
    steps = np.linalg.solve(np.linalg.cholesky(truth["state_covariance"]), (z[1:] - z[:-1] @ A.T).T)
    noise = np.linalg.solve(np.linalg.cholesky(truth["observation_covariance"]), (x - z @ C.T).T)
    for values in (steps, noise):
        assert np.abs(values @ values.T / 2000 - np.eye(len(values))).max() < 5 * np.sqrt(2 / 2000)


def test_a_simulated_system_is_stationary_with_the_stated_signal():
    data = simulate_linear([20_000, 10], 3, 2, persistence=0.8, signal=3.0, rng=0).data
    A, z = data.truth["transition"], data.truth["states"]
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(A)), 0.8)
    assert data.lengths == (20_000, 10)
    error = 5 * np.sqrt(2 * (1 + 0.8**2) / (1 - 0.8**2) / len(z))  # of a variance, under autocorrelations 0.8^t
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=error)
    np.testing.assert_allclose(data.x.var(0), 1 + 1 / 3, atol=4 / 3 * error)
    again = simulate_linear([20_000, 10], 3, 2, persistence=0.8, signal=3.0, rng=0)
    np.testing.assert_array_equal(again.rows.x, data.x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": []}, "number of rows of each series"),
        ({"n_states": 0}, "n_states must be at least 1"),
        ({"persistence": 1.0}, "no stationary start"),
        ({"signal": 0.0}, "ratio of variances above 0"),
    ],
)
def test_the_simulator_of_systems_refuses_arguments_out_of_range(change, message):
    given = {"lengths": [5], "n_states": 1, "n_features": 1, "rng": 0} | change
    with pytest.raises(ValueError, match=message):
        simulate_linear(**given)


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
        ("a,k\n1,0\n2,\n3,1\n", ["0", "", "1"]),
        ("a,k\n1,0.5\n2,1\n", ["0.5", "1"]),
        ("a,k\n1,true\n2,false\n", ["true", "false"]),
        ("a,k\n1,1.0\n2, u\n3,NA\n4,007\n", ["1", "u", "", "007"]),
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
    fails(r"3 missing values in 2 of 5 rows \(a: 1, b: 2\): .*--missing drop", path, columns=["a", "b"])
    fails(r"3 missing values in 2 of 5 rows \(a: 1, b: 2\)", path, label_column="k")
    data = load(path, label_column="k", drop_missing=True)
    np.testing.assert_array_equal(data.x, [[1, 2], [4, 7], [5, 1]])
    assert data.labels.tolist() == ["u", "", "u"]


def test_files_are_the_distributed_ones():
    digest = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in FOLDER.glob("*.csv")}
    assert digest == DIGESTS
