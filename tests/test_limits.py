"""What is too large, or would never end, is refused at once, and the line says what was asked and what it would take."""

import bz2
import gzip
import io
import lzma
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import fails
from typer.testing import CliRunner

from mixtures import COVARIANCES, memory
from mixtures.datasets import DataError, check_rows, files, limits, load
from reports.commands.app import app

pytestmark = pytest.mark.robustness("limits")

TABLE = b"a,b\n" + b"1.5,2\n2,4.5\n3,1\n" * 20


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: 1e6)


def test_memory_is_a_positive_number_of_bytes_and_heeds_the_limit_of_a_shell():
    resource = pytest.importorskip("resource")
    before = memory.memory()
    assert before > 1e8
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = int(before / 2)
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
    try:
        assert memory.memory() == least
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "d.csv")
    (tmp_path / "z.csv").symlink_to("/dev/zero")
    fails("d.csv' is a named pipe, not a file", tmp_path / "d.csv")
    fails("z.csv' is a device, not a file", tmp_path / "z.csv")


def test_a_file_larger_than_memory_is_not_read(tmp_path):
    with open(tmp_path / "d.csv", "wb") as file:
        file.truncate(10**13)  # takes no room on the disk
    fails(r"would take about 30 TB of memory, and this process may use", tmp_path / "d.csv")


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".zip"])
def test_packed_tables_are_read_and_bombs_are_not(ending, tmp_path, monkeypatch):
    def pack(data):
        if ending.endswith(".zip"):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("d.csv", data)
            return stream.getvalue()
        return {".gz": gzip, ".bz2": bz2, ".xz": lzma}[ending.removeprefix(".csv")].compress(data)

    path = tmp_path / f"d{ending}"
    path.write_bytes(pack(TABLE))
    assert load(path).x.shape == (60, 2)
    monkeypatch.setattr(limits, "PIECE", 2**20)
    path.write_bytes(pack(b"a,b\n" + bytes(2**23)))
    fails(r"unpacks to more than 300 times its size \(.* MB so far\)", path)


def test_a_table_that_unpacks_to_more_than_memory_holds_is_refused(tmp_path, little_memory):
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + os.urandom(200_000).hex().encode()))
    fails("unpacked so far to 400 kB, would take about 1.2 MB of memory", path)


def header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_header_that_promises_more_than_the_file_holds(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(header((10**12, 2)) + bytes(80))
    fails(r"promises 16 TB in an array of shape \(1000000000000, 2\), and holds 80 bytes", path)


def test_an_array_in_an_archive_is_looked_at_before_it_is_read(tmp_path, little_memory):
    for promised, message in (
        (10**12, "array 'weights', promises 8 TB"),
        (80_000, "shape .* would take about 1.28 MB"),
    ):
        path = tmp_path / f"{promised}.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("weights.npy", header((promised,)) + bytes(8 * min(promised, 80_000)))
        with pytest.raises(ValueError, match=message):
            limits.check_arrays(path)


def test_a_parquet_file_of_few_bytes_and_many_rows(tmp_path, little_memory):
    pd = pytest.importorskip("pandas")
    pd.DataFrame({"a": np.zeros(100_000)}).to_parquet(tmp_path / "d.parquet")
    fails("would take about 1.6 MB", tmp_path / "d.parquet")


def test_a_feather_file_of_few_bytes_and_many_rows(tmp_path, little_memory):
    pd = pytest.importorskip("pandas")
    pd.DataFrame({"a": np.zeros(100_000)}).to_feather(tmp_path / "d.feather")
    fails("would take about 1.6 MB", tmp_path / "d.feather")


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz", ".txt", ".npy", ".parquet", ".feather"])
def test_a_table_too_wide_for_its_rows_is_refused_before_it_is_read(ending, tmp_path, monkeypatch):
    """By its first lines or its schema; the rest is not looked at, here a row that is none."""
    path, x = tmp_path / f"d{ending}", np.random.default_rng(0).standard_normal((30, 1500)).round(2)
    if ending == ".npy":
        np.save(path, x)
        monkeypatch.setattr(np.lib.format, "read_array", None)
    elif ending in (".parquet", ".feather"):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(x).add_prefix("c").assign(label="a")
        getattr(frame, f"to{ending.replace('.', '_')}")(path)
        monkeypatch.setattr(files, "_check_rows", None)
    else:
        mark = {".csv": ",", ".tsv.gz": "\t", ".txt": " "}[ending]
        lines = [[f"c{j}" for j in range(1500)] + ["label"], *([*map(str, row), "a"] for row in x)]
        lines[-1] = ["?"]
        text = "\n".join(mark.join(line) for line in lines).encode()
        path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    seen = []

    def check(rows, features):
        seen.append((rows, features))
        raise DataError("too wide")

    with pytest.raises(DataError, match="too wide"):
        load(path, check=check)
    assert seen == [(30, 1500)]


def test_a_wide_table_of_which_columns_are_chosen_is_read(tmp_path):
    path = tmp_path / "d.csv"
    x = np.random.default_rng(0).standard_normal((30, 1500)).round(2)
    np.savetxt(path, x, "%.2f", ",", header=",".join(f"c{j}" for j in range(1500)), comments="")
    assert np.array_equal(load(path, columns=["c3", "c7"], check=check_rows).x, x[:, [3, 7]])
    with pytest.raises(DataError, match="30 rows for 1500 features: a full covariance needs at least 1501 rows"):
        load(path, check=check_rows)


@pytest.mark.parametrize("covariance", ["diag", "spherical"])
def test_independent_features_take_no_matrix(covariance):
    """3000 x 3000 numbers would be 72 MB."""
    x = np.random.default_rng(0).standard_normal((20, 3000))
    tracemalloc.start()
    COVARIANCES[covariance].from_data(x, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


GRID = "replicates = 2\n[[block]]\nmethods = ['em']\n"
TOO_LARGE = {
    "compare faithful -k 2 --draws 1000000000": "4 chains of 1,000,000,000 draws",
    "compare faithful -k 2 --chains 1000000000": "1,000,000,000 chains of 1,000 draws",
    "compare faithful -k 2 --restarts 1000000000000": "1,000,000,000,000 starts",
    "compare wide.csv -k 2 --covariance diag": "20,001 features",
    "select faithful -k 1:1000000000": "1,000,000,000 numbers of clusters",
    "select faithful --restarts 1000000000000": "1,000,000,000,000 starts",
    "select faithful --workers 1000000": "1,000,000 processes would take about 150 TB",
    "calibrate --simulations 1000000000": "1,000,000,000 simulations",
    "calibrate --workers 1000000": "1,000,000 processes",
    "calibrate --family categorical --levels 1000000000": "2 features of 1,000,000,000 levels",
    "calibrate --lds latent=1000000000": "the longest sequence has 100 rows",
    "calibrate --lds local-level --rows 100000000000": "a series of 100,000,000,000 rows",
    "calibrate --example gaussian --simulations 1000000000": "1,000,000,000 simulations",
    "calibrate --planted-faults --simulations 1000000000": "1,000,000,000 simulations",
    "validate --example gaussian --draws 1000000000": "4 chains of 1,000,000,000 draws of 3 methods (2 numbers each)",
    "validate --example gaussian --chains 1000000000": "1,000,000,000 chains of 1,000 draws",
    "validate --example gaussian --tune 100000000000": "4 chains of 100,000,001,000 steps",
    "validate --example gaussian --advi-steps 100000000000": "100,000,000,000 steps of ADVI",
    "compare nile --lds local-level --draws 1000000000": "4 chains of 1,000,000,000 draws",
    "compare nile --lds local-level --chains 1000000000": "1,000,000,000 chains of 1,000 draws",
    "select nile --lds local-level --restarts 1000000000": "1,000,000,000 starts",
    "bench --repeats 1000000000": "less than or equal to 10000",
    "select faithful --criteria blrt --replicates 1000000000": "1,000,000,000 replicates",
    "calibrate --rows 100000000000": "100,000,000,000 rows",
    "calibrate --features 1000000": "1,000,000 features",
    "calibrate --features 1000000000000": "1,000,000,000,000 features",
    "calibrate --verdicts --simulations 1000000000": "5,000,000,000 data sets",
    "overfit --workers 1000000": "1,000,000 processes",
    "overfit --replicates 1000000000": "fits of quick, block 1",
    "overfit many.toml": "1,000,000,000 fits of many.toml, block 1",
    "overfit wide.toml": "1,000,000 features",
    "overfit pipe.toml": "a named pipe",
    "bench --cells 1e12x2x3": "cell 1e12x2x3",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    x = np.random.default_rng(0).standard_normal((5, 20_001))
    names = ",".join(f"c{j}" for j in range(x.shape[1]))
    np.savetxt(folder / "wide.csv", x, "%.3f", ",", header=names, comments="")
    os.mkfifo(folder / "pipe.toml")
    (folder / "many.toml").write_text(
        GRID + f"n = {list(range(20, 1020))}\nK = {list(range(1, 1001))}\nD = {list(range(1, 501))}"
    )
    (folder / "wide.toml").write_text(GRID + "n = 20\nD = 1000000")
    return folder


@pytest.mark.skipif(os.name != "posix", reason="the size of memory is known")
@pytest.mark.parametrize("arguments", TOO_LARGE)
def test_what_was_asked_for_is_weighed_before_the_work(arguments, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    before = sorted(inputs.rglob("*"))
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert TOO_LARGE[arguments] in line
    assert sorted(inputs.rglob("*")) == before


def test_what_is_added_is_weighed_before_it_is_read(inputs, monkeypatch):
    import xarray as xr

    from reports.comparison.added import read_arrays

    monkeypatch.setattr(memory, "memory", lambda: 1e6)
    path = inputs / "draws.nc"
    xr.DataTree.from_dict({"posterior": xr.Dataset({"weights": ("draw", np.zeros(100_000))})}).to_netcdf(
        path, engine="h5netcdf"
    )
    with pytest.raises(ValueError, match=r"would take about 1\.6 MB of memory"):
        read_arrays(path, ["weights"])
    os.mkfifo(inputs / "pipe.nc")
    with pytest.raises(ValueError, match="a named pipe"):
        read_arrays(inputs / "pipe.nc", ["weights"])


def test_a_store_that_promises_terabytes_or_holds_a_pipe(tmp_path):
    import zarr

    from reports.comparison.added import read_arrays

    path = tmp_path / "draws.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2).create_group("posterior")
    weights = group.create_array("weights", shape=(10**12, 2), chunks=(10**6, 2), dtype="f8")
    weights.attrs["_ARRAY_DIMENSIONS"] = ["draw", "cluster"]
    zarr.consolidate_metadata(str(path), zarr_format=2)
    with pytest.raises(ValueError, match="would take about 32 TB of memory"):
        read_arrays(path, ["weights"])
    os.mkfifo(path / "posterior" / "weights" / "0.0")
    with pytest.raises(ValueError, match="a named pipe"):
        read_arrays(path, ["weights"])


def test_a_results_folder_that_promises_terabytes(tmp_path, monkeypatch):
    from reports import Results, ResultsError, compare

    x = np.random.default_rng(0).standard_normal((30, 1))
    compare(x, 1, rng=0, methods=["em"], reference="exact", draws=100).save(tmp_path / "o", report=False)
    monkeypatch.setattr(memory, "memory", lambda: 1e4)
    with pytest.raises(ResultsError, match="its draws would take about"):
        Results.load(tmp_path / "o")
