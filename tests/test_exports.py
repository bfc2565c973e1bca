"""Exports of many programs: each is read to the last digit, or refused with one line that names what is wrong."""

import bz2
import codecs
import gzip
import io
import lzma
import pickle
import zipfile
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from conftest import fails
from pyarrow import compute as pc
from pyarrow import feather, parquet
from scipy.sparse import csr_array

from mixtures.datasets import DataError, from_frame, load
from reports.comparison import given

N = 24
A = np.round(np.random.default_rng(7).normal(size=(N, 3)) * [1, 3, 1000] + [0, 10, 3000], 3)
FRAME = pd.DataFrame(A, columns=["a", "b", "c"])
NUMBERED = ("left out column 1, which has no name: it numbers the rows",)
NAMED = ("left out column 1, which has no name: it names the rows",)


def lines(mark=",", write=str, head="a,b,c", end="", newline="\n"):
    """The table as text."""
    rows = [mark.join(map(write, row)) + end for row in A.tolist()]
    return newline.join([head.replace(",", mark) + end, *rows, ""])


def last(write, mark=","):
    """The table, with its last column written otherwise."""
    return f"a{mark}b{mark}c\n" + "".join(f"{a}{mark}{b}{mark}{write(c)}\n" for a, b, c in A.tolist())


def archive(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, content in members.items():
            packed.writestr(name.replace("_", "."), content)
    return stream.getvalue()


def in_memory(save, *args, **options):
    stream = io.BytesIO()
    save(stream, *args, **options)
    return stream.getvalue()


def of_r(mark=" ", names=None, quote='"', short=True):
    names = names or range(1, N + 1)
    head = mark.join(f"{quote}{name}{quote}" for name in "abc")
    rows = [mark.join([f"{quote}{name}{quote}", *map(str, row)]) for name, row in zip(names, A.tolist(), strict=True)]
    return "\n".join([head if short else f"{quote}{quote}{mark}{head}", *rows, ""])


SUBSET = [str(3 * i + 2) for i in range(N)]
WHOLE = ("left out column 1, which has no name: its whole numbers are all different, as row numbers are",)
DECIMAL = {"decimal": ","}

READ = {
    # pandas
    "index.csv": (FRAME.to_csv(), {}, NUMBERED),
    "dates.csv": (FRAME.set_axis(pd.date_range("2020", periods=N)).to_csv(), {}, NAMED),
    "quoted.csv": (FRAME.to_csv(quoting=1, index=False), {}, ()),
    "quoted-text.csv": (FRAME.to_csv(quoting=2), {}, NUMBERED),
    "exponents.csv": (FRAME.to_csv(index=False, float_format="%.6e"), {}, ()),
    "bars.csv": (FRAME.to_csv(sep="|"), {}, NUMBERED),
    "semicolons.tsv": (FRAME.to_csv(sep=";", index=False), {}, ()),
    "commas.tsv": (FRAME.to_csv(index=False), {}, ()),
    "european.csv": (FRAME.to_csv(sep=";", decimal=",", index=False), DECIMAL, ()),
    "european-commas.csv": (FRAME.to_csv(decimal=",", index=False), DECIMAL, ()),
    "printed.txt": (FRAME.to_string(), {}, NUMBERED),
    "printed-plain.txt": (FRAME.to_string(index=False), {}, ()),
    # encodings and line ends
    "utf-8-sig.csv": (lines().encode("utf-8-sig"), {}, ()),
    "utf-16.csv": (lines().encode("utf-16"), {}, ()),
    "unicode-text.txt": (codecs.BOM_UTF16_LE + lines("\t", newline="\r\n").encode("utf-16-le"), {}, ()),
    "big-endian.txt": (codecs.BOM_UTF16_BE + lines("\t").encode("utf-16-be"), {}, ()),
    "windows.csv": (lines(newline="\r\n"), {}, ()),
    "old-mac.csv": (lines(newline="\r"), {}, ()),
    "twice-returned.csv": (lines(newline="\r\r\n"), {}, ()),
    "dos.csv": (lines(newline="\r\n") + "\x1a", {}, ()),
    "page.txt": (lines("\t") + "\f", {}, ()),
    # marks that nobody sees, and signs
    "two-byte-marks.csv": (b"\xef\xbb\xbf" + lines().encode("utf-8-sig"), {}, ()),
    "no-width-names.csv": (lines(head="\u200ba,b\u2060,\u200ec"), {}, ()),
    "no-width-numbers.csv": (last(lambda c: f"\u200b{c}"), {}, ()),
    "byte-mark-numbers.csv": (last(lambda c: f"{c}\ufeff"), {}, ()),
    "left-to-right.csv": (last(lambda c: f"\u202d{c}\u202c"), {}, ()),
    "isolated.csv": (last(lambda c: f'"\u2066{c}\u2069"'), {}, ()),
    "ideographic-blanks.csv": (last(lambda c: f"\u3000{c}\u3000"), {}, ()),
    "plus.csv": (lines(write="{:+}".format), {}, ()),
    "arabic-mark.csv": (lines(write=lambda a: str(a).replace(".", "\u066b")), {"decimal": "\u066b"}, ()),
    # packed
    "members.csv.gz": (gzip.compress(lines()[:99].encode()) + gzip.compress(lines()[99:].encode()), {}, ()),
    "padded.csv.gz": (gzip.compress(lines().encode()) + bytes(512), {}, ()),
    "CAPITALS.CSV.BZ2": (bz2.compress(lines().encode()), {}, ()),
    "tabs.csv.zip": (archive(d_tsv=lines("\t")), {}, ()),
    "table.zip": (archive(d_csv=lines()), {}, ()),
    "TABLE.ZIP": (
        archive(**{"d/D_TSV": lines("\t"), "d/": "", "d/readme_md": "x", "__MACOSX/d/.d_csv": b"\0"}),
        {},
        (),
    ),
    "frame.zip": (archive(d_parquet=FRAME.to_parquet(), licence="x"), {}, ()),
    "unnamed.csv.zip": (archive(d=lines()), {}, ()),
    "packed.csv.zip": (archive(d_parquet=FRAME.to_parquet()), {}, ()),
    # R
    "table.txt": (of_r(), {}, NUMBERED),
    "tabs.txt": (of_r("\t"), {}, NUMBERED),
    "subset.txt": (of_r(names=SUBSET), {}, WHOLE),
    "subset-unquoted.txt": (of_r(names=SUBSET, quote=""), {}, WHOLE),
    "shuffled-unquoted.csv": (of_r(",", [*range(N, 0, -1)], ""), {}, NUMBERED),
    "csv.csv": (of_r(",", short=False), {}, NUMBERED),
    "csv2.csv": (of_r(";", short=False).replace(".", ","), DECIMAL, NUMBERED),
    "commas-in-names.csv": (of_r(",", [f"Mazda, {i}" for i in range(N)], short=False), {}, NAMED),
    "matrix.txt": (of_r(names=[f"[{i},]" for i in range(N)], quote=""), {}, NAMED),
    # spreadsheets
    "sep.csv": ("sep=;\r\n" + lines(";", newline="\r\n"), {}, ()),
    "empty-first-line.csv": (",,\n" + lines(), {}, ()),
    "sep-bom.csv": ("\ufeffsep=;\n" + lines(";"), {}, ()),
    "empty-columns.csv": (
        lines(end=",,"),
        {},
        tuple(f"left out column {j}, which has no name: it is empty" for j in (4, 5)),
    ),
    "empty-columns-below.csv": (
        lines(end=",,").replace("a,b,c,,", "a,b,c"),
        {},
        tuple(f"left out column {j}, which has no name: it is empty" for j in (4, 5)),
    ),
    "empty-first-column.csv": (
        "".join(f",{line}\n" for line in lines().splitlines()),
        {},
        ("left out column 1, which has no name: it is empty",),
    ),
    "empty-lines.csv": (lines() + ",,\n,,\n , ,\n", {}, ("left out 3 lines without any entry at the end",)),
    "empty-lines-mac.csv": (lines(newline="\r") + ",,\r", {}, ("left out 1 line without any entry at the end",)),
    "empty-lines.tsv": (lines("\t") + "\t\t\n", {}, ("left out 1 line without any entry at the end",)),
    "blanks-at-end.csv": (lines() + "  \n \n", {}, ()),
    "empty-lines-above.csv": (",,\n,,\n" + lines(), {}, ()),
    "title.csv": (
        "Our results,,\n,,\n" + lines(),
        {},
        ("left out what stands above the names of the columns: 'Our results,,' and more",),
    ),
    "swiss.csv": (last(lambda c: f"{c:,}".replace(",", "\u2019")), {"thousands": "'"}, ()),
    "french.csv": (
        last(lambda c: f"{c:,}".replace(",", "\u202f"), ";").replace(".", ","),
        DECIMAL | {"thousands": " "},
        (),
    ),
    "python.csv": (last(lambda c: f"{c:_}"), {"thousands": "_"}, ()),
    "typeset.csv": (lines().replace("-", "\u2212"), {}, ()),
    # NumPy
    "savetxt.txt": (in_memory(np.savetxt, A, header="a b c"), {}, ()),
    "savetxt.csv": (in_memory(np.savetxt, A, header="a,b,c", delimiter=",", comments=""), {}, ()),
    "fixed.txt": (in_memory(np.savetxt, A, fmt="%10.3f", header="a b c"), {}, ()),
    # Arrow
    "index.parquet": (FRAME.set_axis(SUBSET).to_parquet(), {}, ()),
    "named-index.parquet": (
        FRAME.set_axis(pd.Index(SUBSET, name="id")).to_parquet(),
        {},
        ("left out 'id': it was the index of the DataFrame",),
    ),
    "levels.parquet": (
        FRAME.set_index(pd.MultiIndex.from_arrays([np.arange(N) % 2, SUBSET], names=["g", "i"])).to_parquet(),
        {},
        ("left out 'g': it was the index of the DataFrame", "left out 'i': it was the index of the DataFrame"),
    ),
    "decimals.parquet": (
        in_memory(
            lambda f, t: parquet.write_table(t, f),
            pa.table({name: [Decimal(str(v)) for v in FRAME[name]] for name in FRAME}),
        ),
        {},
        (),
    ),
    "runs.feather": (
        in_memory(
            lambda f, t: feather.write_feather(t, f),
            pa.table({name: pc.run_end_encode(pa.array(FRAME[name])) for name in FRAME}),
        ),
        {},
        (),
    ),
    "zstd.feather": (
        in_memory(lambda f, t: feather.write_feather(t, f, "zstd"), pa.table(dict(FRAME.items()))),
        {},
        (),
    ),
}


@pytest.mark.robustness("tables")
@pytest.mark.parametrize("name", READ)
def test_exports_are_read_to_the_last_digit(name, write):
    content, options, notes = READ[name]
    data = load(write(content, name), **options)
    np.testing.assert_array_equal(data.x, A)
    assert data.features == ("a", "b", "c")
    assert data.notes == notes


@pytest.mark.robustness("tables")
def test_years_and_a_word_below_a_line_without_entries_are_names(write):
    data = load(write(",,\n" + lines(head="2019,2020,c"), "d.csv"))
    np.testing.assert_array_equal(data.x, A)
    assert data.features == ("2019", "2020", "c")


@pytest.mark.robustness("tables")
@pytest.mark.parametrize(
    "code",
    [
        "\\N", "(null)", "[NULL]", "#NULL!", ".a", ".z", "NULL", "<NA>", "#N/A",
        ".B", "._", "\u2013", "\u2014", "#NA", "1.#QNAN", "-1.#IND",
    ],
)  # fmt: skip
def test_missing_codes_of_databases_and_of_statistics_programs(code, write):
    path = write(lines().replace(str(A[3, 1]), code))
    gap = np.isnan(load(path, missing="model").x)
    assert np.argwhere(gap).tolist() == [[3, 1]]


@pytest.mark.robustness("tables")
def test_a_null_of_a_database_is_no_class_and_no_level(write):
    path = write("a,k\n" + "".join(f"{a},{['u', 'v', chr(92) + 'N'][i % 3]}\n" for i, a in enumerate(A[:, 0])))
    assert set(load(path, label_column="k").labels) == {"u", "v", ""}
    assert load(path, missing="model").levels == {"k": ("u", "v")}


@pytest.mark.robustness("tables")
def test_the_index_of_a_data_frame_names_its_rows_in_a_file_too(tmp_path):
    frame = FRAME.set_index(pd.MultiIndex.from_arrays([np.arange(N) % 2, SUBSET], names=["g", "i"]))
    frame.to_parquet(tmp_path / "d.parquet")
    assert load(tmp_path / "d.parquet").index.tolist() == from_frame(frame).index.tolist()
    assert load(tmp_path / "d.parquet", columns=["g", "a"], categorical="g").features == ("g", "a")
    assert set(load(tmp_path / "d.parquet", label_column="g").labels) == {"0", "1"}


@pytest.mark.robustness("tables")
def test_numbers_as_india_groups_them(write):
    values = [f"{1 + i % 3},0{i % 7},{100 + i}.5" for i in range(N)]
    content = "a,b\n" + "".join(f'"{value}",{b}\n' for value, b in zip(values, A[:, 1], strict=True))
    fails(r"'1,00,100.5' in row 1\): read it with --thousands , \(as 100100.5\)$", write(content))
    x = load(write(content), thousands=",").x
    np.testing.assert_array_equal(x[:, 0], [float(value.replace(",", "")) for value in values])


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("first", [2**63, 13 * 10**17, 10**25])
def test_whole_numbers_that_floats_take_for_one_are_said_to_be_rounded(first, write):
    content = "id,a,b\n" + "".join(f"{first + i},{a},{b}\n" for i, (a, b, _) in enumerate(A))
    fails("constant column 'id', whose numbers near .* are rounded to multiples of .*: leave it out", write(content))
    assert load(write(content), columns=["a", "b"], index_column="id").index[1] == str(first + 1)


IDS = [2**53 + i // 6 for i in range(N)]
NAMED_ROWS = FRAME[["a", "b"]].assign(id=IDS)
OF_64_BITS = {
    "d.csv": NAMED_ROWS.to_csv(index=False),
    "d.parquet": NAMED_ROWS.to_parquet(),
    "d.feather": in_memory(NAMED_ROWS.to_feather),
    "d.npy": in_memory(np.save, NAMED_ROWS.to_records(index=False)),
}


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("name", [*OF_64_BITS, "DataFrame", "objects"])
def test_names_of_64_bits_are_kept_as_they_are(name, write):
    """2^53 and 2^53 + 1 share a float: as names of rows, of sequences and of categories they are two."""
    if name in OF_64_BITS:
        path = write(OF_64_BITS[name], name)
        assert load(path, sequence="id").lengths == (6, 6, 6, 6)
        read = partial(load, path)
    else:
        read = partial(from_frame, NAMED_ROWS if name == "DataFrame" else NAMED_ROWS.astype({"id": object}))
    assert read(columns=["a", "b"], index_column="id").index.tolist() == [str(own) for own in IDS]
    coded = read(categorical="id")
    assert coded.levels == {"id": tuple(str(2**53 + i) for i in range(4))}
    assert coded.x[:, 2].tolist() == [i // 6 for i in range(N)]
    assert read(like=coded).x[:, 2].tolist() == [i // 6 for i in range(N)]


@pytest.mark.robustness("numbers")
def test_levels_of_one_number_have_an_order():
    """A set of text has another order in every process."""
    names = ["1", "01", "001", "1e0", "+1", "1.00e0", "0001", "00001"]
    data = from_frame(FRAME[["a"]].assign(k=np.resize(names, N)), categorical="k")
    assert data.levels["k"] == tuple(sorted(names))


@pytest.mark.robustness("numbers")
def test_row_numbers_of_64_bits_name_the_rows(write):
    data = load(write(NAMED_ROWS[["a", "b"]].set_axis([2**60 + i for i in range(N)]).to_csv()))
    assert data.notes == NAMED
    assert data.index.tolist() == [str(2**60 + i) for i in range(N)]


SHEET = {"[Content_Types]_xml": "<x/>", "xl/workbook_xml": "<x/>"}
TWO_LEVELS = FRAME.set_axis(pd.MultiIndex.from_tuples([("one", "a"), ("one", "b"), ("two", "c")]), axis=1)
BESIDE = {
    "percent": (lambda c: f"{c}%", "%"),
    "percent after a blank": (lambda c: f"{c} %", "%"),
    "dollars": (lambda c: f"${c:.2f}", r"\$"),
    "dollars in thousands": (lambda c: f'"${c:,.2f}"', r"\$"),
    "euros": (lambda c: f"{c:.2f} €", "€"),
    "currency": (lambda c: f"USD {c:.2f}", "USD"),
    "whole euros": (lambda c: f"€{c:.0f}", "€"),
    "kilograms": (lambda c: f"{c:.0f} kg", "kg"),
    "degrees": (lambda c: f"{c}°C", "°C"),
    "formulas": (lambda c: f'="{c}"', '="'),
    "quotes": (lambda c: f"'{c}'", "'"),
    "brackets": (lambda c: f"{c})", r"\)"),
    "complex numbers": (lambda c: f"{c}+2j", "j|i"),
    "svmlight": (lambda c: f"3:{c}", "3:"),
}
REFUSED = {
    # another format than the name says
    "gzip.csv": (gzip.compress(lines().encode()), {}, r"holds gzip data, and its name says \.csv: name it \*\.csv\.gz"),
    "bzip2.csv": (bz2.compress(lines().encode()), {}, "holds bzip2 data"),
    "xz.txt": (lzma.compress(lines().encode()), {}, r"holds xz data, and its name says \.txt"),
    "sheet.csv": (archive(**SHEET), {}, "holds a zip archive, as a spreadsheet .*: export the table as CSV"),
    "plain.csv.gz": (lines(), {}, "cannot read .*[Nn]ot a gzip"),
    "parquet.csv": (FRAME.to_parquet(), {}, r"holds Parquet, and its name says \.csv: name it \*\.parquet"),
    "packed.zip": (archive(d_csv=FRAME.to_parquet()), {}, "holds Parquet"),
    "text.parquet": (lines(), {}, "cannot read .*not a parquet file"),
    "feather.parquet": (in_memory(FRAME.to_feather), {}, "holds Feather"),
    "parquet.feather": (FRAME.to_parquet(), {}, "holds Parquet"),
    "array.csv": (in_memory(np.save, A), {}, r"holds an array of NumPy, .*name it \*\.npy"),
    "arrays.npy": (in_memory(np.savez, A), {}, "holds a zip archive"),
    "text.npy": (lines(), {}, "cannot read .*magic"),
    "page.csv": ("<!DOCTYPE html>\n<title>Sign in</title>\n<body>Please, sign in</body>\n", {}, "holds HTML or XML"),
    "json.csv": (FRAME.to_json(), {}, "holds JSON"),
    "records.csv": (FRAME.to_json(orient="records"), {}, "holds JSON"),
    "json-lines.csv": (FRAME.to_json(orient="records", lines=True), {}, "holds JSON"),
    "weka.csv": ("@RELATION r\n\n@ATTRIBUTE a NUMERIC\n\n@DATA\n1\n2\n", {}, "holds ARFF"),
    "dump.csv": ("INSERT INTO t VALUES (1, 2),\n(3, 4);\n", {}, "holds SQL"),
    "sheet-of-97.csv": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
        {},
        "holds an old document of Office.*export",
    ),
    "hdf5.csv": (b"\x89HDF\r\n\x1a\n" + bytes(88), {}, "holds HDF5"),
    "sqlite.csv": (b"SQLite format 3\0" + bytes(84), {}, "holds a database of SQLite"),
    "paper.csv": (b"%PDF-1.4\n%\xe2\xe3\n1 0 obj\n", {}, "holds PDF"),
    "letter.txt": ("{\\rtf1\\ansi a,b\\par 1,2}", {}, "holds RTF"),
    "stata.csv": (b"<stata_dta><header><release>118</release>\n", {}, "holds Stata"),
    "spss.csv": (b"$FL2@(#) SPSS DATA FILE\n", {}, "holds SPSS"),
    "pickle.csv": (in_memory(FRAME.to_pickle), {}, "holds a pickle of Python"),
    "pickle.npy": (pickle.dumps(A), {}, "holds a pickle of Python"),
    "pointer.csv": ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", {}, "git lfs pull"),
    "pointer.parquet": ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", {}, "git lfs pull"),
    "twice.csv.gz": (gzip.compress(gzip.compress(lines().encode())), {}, "packed twice, unpack it once"),
    "d.json": (FRAME.to_json(), {}, "the format of .* is not known: give one of"),
    "d.xlsx": (archive(**SHEET), {}, "the format of .* is not known: give one of"),
    "d.npz": (in_memory(np.savez, A), {}, "the format of .* is not known: give one of"),
    "two.csv.zip": (archive(a_csv=lines(), b_csv=lines()), {}, r"holds 2 tables \('a.csv', 'b.csv'\): put one alone"),
    "none.csv.zip": (archive(), {}, "holds no table: put one alone"),
    "folder.zip": (archive(**{"d_csv/": ""}), {}, "holds no table: put one alone"),
    "sheet.zip": (archive(**SHEET), {}, r"holds no table \('.*xml'.*\): put one alone"),
    "unnamed.zip": (archive(d=lines()), {}, r"holds no table \('d'\): put one alone"),
    "twice.zip": (archive(d_csv=archive(d_csv=lines())), {}, "holds a zip archive"),
    "text.zip": (lines(), {}, "cannot read .*not a zip"),
    "empty.zip": (archive(d_csv=""), {}, "is empty"),
    "short.zip": (archive(d_csv=lines())[:-30], {}, "cannot read .*not a zip"),
    "later.zip": (
        archive(d_csv=lines()).replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"),
        {},
        "cannot read .*version 25.5",
    ),
    # encodings
    "latin-1.csv": (lines(head="größe,b,c").encode("latin-1"), {}, "is not UTF-8 text .*save it as UTF-8"),
    "shift-jis.csv": (lines(head="身長,b,c").encode("shift_jis"), {}, "is not UTF-8 text"),
    "utf-16-unmarked.csv": (lines().encode("utf-16-le"), {}, "is not a text file"),
    "utf-32.csv": (lines().encode("utf-32"), {}, "is not a text file"),
    # nothing there
    "mark.csv": ("\ufeff", {}, "is empty"),
    "comments.csv": ("# nothing\n# here\n", {}, "is empty"),
    "empty.csv.gz": (gzip.compress(b""), {}, "is empty"),
    "names.csv": ("\ufeffa,b,c\n\n", {}, "has a header but no rows"),
    "names-and-empty.csv": ("a,b,c\n,,\n,,\n", {}, "has a header but no rows"),
    "no-names-nor-rows.csv": (",,\n", {}, "is empty"),
    "no-width.csv": ("\u200b\n", {}, "is empty"),
    "quote.csv": ('"', {}, "has a header but no rows"),
    "one-long-line.csv": ("1," * 50_000, {}, "has a header but no rows"),
    "nothing-at-end.csv": (lines().encode() + bytes(9), {}, "is not a text file"),
    # columns
    "no-width-twice.csv": (lines(head="a,a\u200b,c"), {}, "duplicated columns: 'a' stands twice"),
    "dashes.txt": (lines(" ").replace("\n", "\n--- --- ---\n", 1), {}, "'---' in row 1"),
    "psql.txt": (lines(" | ").replace("\n", "\n---+---+---\n", 1) + "(24 rows)\n", {}, "cannot read .*got 1: ---"),
    "formula.csv": (lines() + "1,2,=SUM(C2:C25)\n", {}, r"'=SUM\(C2:C25\)' in row 25"),
    "apostrophes.csv": (last(lambda c: f"{1000 * c:,.2f}".replace(",", "'")), {}, "read it with --thousands"),
    "empty-names.csv": (
        ",\n1,2\n3,5\n5,6\n",
        {},
        "columns' names are empty, and numbers, such as '1', stand below them",
    ),
    "empty-names-bom.csv": (
        "\ufeff;\r\n2019;2020\r\n1;2\r\n3;1\r\n",
        {},
        "names are empty, and numbers, such as '2019'",
    ),
    "colons.csv": (lines(":"), {}, "seem to be parted by ':', as in 'a:b:c': part them by commas"),
    "tildes.csv": ("sep=~\n" + lines("~"), {}, "seem to be parted by '~'"),
    "hive.csv": (lines("\x01"), {}, r"seem to be parted by '\\x01'"),
    "levels.csv": (TWO_LEVELS.to_csv(), {}, "names of the columns stand in two lines, such as 'one' above 'a': join"),
    "levels-alone.csv": (TWO_LEVELS.to_csv(index=False), {}, "stand in two lines"),
    "levels-named.csv": (TWO_LEVELS.rename_axis(["u", "v"], axis=1).to_csv(), {}, "stand in two lines"),
    "grouped.csv": (
        FRAME.groupby(np.arange(N) // 3)[["a", "b"]].agg(["mean", "std"]).to_csv(),
        {},
        "stand in two lines, such as 'a' above 'mean'",
    ),
    "units.csv": (lines(head="a,b,c\ncm,kg,s"), {}, r"non-numeric column 'a' \('cm' in row 1\), though 24 of 25"),
    "label-twice.csv": ("k,a,k\nu,1,v\nv,2,u\nu,5,u\n", {"label_column": "k"}, "duplicated columns: 'k' stands twice"),
    "sequence-twice.csv": (
        "s,a,s\n1,1.5,1\n1,2,5\n2,5,2\n",
        {"sequence": "s"},
        "duplicated columns: 's' of --sequence stands twice",
    ),
    "short.csv": (lines().replace(f",{A[4, 1]}", ""), {}, r"Row #6: Expected 3 columns, got 2"),
    "note.csv": (lines() + "Source: own survey\n", {}, r"Row #26: Expected 3 columns, got 1: Source"),
    # rows
    "total.csv": (
        "name,a,b,c\n"
        + "".join(f"p{i},{row}\n" for i, row in enumerate(lines().split("\n")[1:-1]))
        + "Total,{:.3f},{:.3f},{:.3f}\n".format(*A.sum(0)),
        {},
        "row 'Total', the last, holds the sums of all others in each column of numbers: remove it",
    ),
    "total-unnamed.csv": (
        lines() + "{:.3f},{:.3f},{:.3f}\n".format(*A.sum(0)),
        {},
        "row '25', the last, holds the sums",
    ),
    # numbers with something beside them
    **{
        f"{name}.csv": (
            last(write),
            {},
            f"non-numeric column 'c' .* row 1\\): .*({mark}). stands beside its numbers; store",
        )
        for name, (write, mark) in BESIDE.items()
    },
    "some-tuples.csv": (
        "a,b\n" + "".join(f"({a},{b})\n" for a, b in A[:, :2]),
        {},
        r"'\(' stands beside its numbers; store it as plain",
    ),
    "five.csv": ("a,p\n1.5,$1\n2,$2\n4,$5\n3,$9\n", {}, r"'p' \('\$1' in row 1\): '\$' stands beside its"),
    "fortran.csv": (
        last(lambda c: f"{c:.3e}".replace("e", "D")),
        {},
        r"'c' \('.*D\+03' in row 1\): store it as numbers",
    ),
    "bounds.csv": (last(lambda c: f"<{c}" if c < 2500 else str(c)), {}, r"'<.* though 1\d of 24 entries are numbers"),
    "minus-behind.csv": (last(lambda c: f"{c}-" if c < 3000 else str(c)), {}, "'-' stands beside its numbers"),
    "accounts.csv": (last(lambda c: f"({c})" if c < 3000 else str(c)), {}, r"'\(' stands beside its numbers"),
    "one-remark.csv": (last(lambda c: f"{c}*" if c > 4000 else c), {}, "of 24 entries are numbers: correct the others"),
    "swiss.csv": (last(lambda c: f"{c:,}".replace(",", "\u2019")), {}, "read it with --thousands ''\"'\"'' "),
    "python.csv": (last(lambda c: f"{c:_}"), {}, "read it with --thousands _ "),
    "european-commas.csv": (FRAME.to_csv(decimal=",", index=False), {}, "read it with --decimal , "),
    "errors.csv": (last(lambda c: c if c > 2500 else "#DIV/0!"), {}, r"'#DIV/0!' in row .* --na-values"),
}


@pytest.mark.robustness("errors")
@pytest.mark.parametrize("name", REFUSED)
def test_exports_that_need_a_hand_are_refused_with_one_line(name, write):
    content, options, message = REFUSED[name]
    fails(message, write(content, name), **options)


@pytest.mark.robustness("tables")
@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([f"#{i}" for i in range(N)], True),
        ([f"{i})" for i in range(N)], True),
        ([f"row {i}" for i in range(N)], True),
        ([f"{i + 1}.01.2020" for i in range(N)], True),
        ([f"2020-01-{i + 1:02}" for i in range(N)], True),
        ([f"10.0.0.{i}" for i in range(N)], True),
        ([f"{i:08x}-0000-4000" for i in range(N)], True),
        (["5 mg", "10 mg", "20 mg"] * 8, False),
        (["18-25", "26-40", "over 40"] * 8, False),
    ],
)
def test_names_dates_and_doses_are_no_numbers(entries, names, write):
    content = "a,b,t\n" + "".join(f"{a},{b},{t}\n" for (a, b, _), t in zip(A.tolist(), entries, strict=True))
    data = load(write(content))
    assert data.features == (("a", "b") if names else ("a", "b", "t"))
    assert data.notes == (("left out 't': its entries are all different, as names of rows are",) if names else ())


@pytest.mark.robustness("tables")
def test_a_last_row_is_a_total_only_if_all_columns_say_so(write):
    assert load(write("a,b\n1,2\n2,3\n3,1\n1,7\n7,12\n")).x.shape == (5, 2)
    assert load(write("a,b\n1,2\n2,3\n3,5\n")).x.shape == (3, 2)
    assert load(write("a\n1\n2\n3\n1\n7\n")).x.shape == (5, 1)
    centred = np.random.default_rng(0).normal(size=(50, 2))
    assert from_frame(pd.DataFrame(centred - centred.mean(0), columns=["a", "b"])).x.shape == (50, 2)


@pytest.mark.robustness("tables")
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["u"] * N, "all rows have the same label in 'k'"),
        ([f"u{i}" for i in range(N)], f"each of {N} rows has another label in 'k'"),
        (["u"] + [""] * (N - 1), "only 1 row has a label in 'k'"),
    ],
)
def test_labels_that_tell_nothing_are_said_to_tell_nothing(labels, said, write):
    content = "a,k\n" + "".join(f"{a},{k}\n" for a, k in zip(A[:, 0], labels, strict=True))
    data = load(write(content), label_column="k")
    assert data.notes[-1] == f"{said}: how well clusters recover classes cannot be told"


@pytest.mark.robustness("tables")
@pytest.mark.parametrize("quote", [r"\"", '""'])
def test_quotes_within_a_text(quote, write):
    text = "".join(f'{a},"{quote}u{quote} or {quote}v{quote}"\n{a + 1},"C:\\"\n' for a in A[:, 0])
    data = load(write('"a","k"\n' + text), label_column="k")
    assert set(data.labels) == {'"u" or "v"', "C:\\"}
    assert data.x.shape == (2 * N, 1)


@pytest.mark.robustness("tables")
def test_empty_lines_of_a_single_column_are_told(write):
    assert load(write("a\n1\n\n3\r\n\r\n7\n5\n\n")).notes == (
        "left out 2 empty lines: write NA where a value is missing",
    )
    assert not load(write("\na\n1\n3\n7\n\n")).notes
    assert not load(write("a,b\n1,2\n\n3,1\n7,5\n")).notes


@pytest.mark.robustness("tables")
@pytest.mark.parametrize("name", ["speed.csv", "nile.csv", "tsmatz.csv", "faithful.txt", "tsmatz-lds.csv.gz"])
def test_a_file_may_be_called_as_a_data_set_is(name, write):
    data = load(write(gzip.compress(lines().encode()) if name.endswith("gz") else lines(), name))
    np.testing.assert_array_equal(data.x, A)
    assert (data.labels, data.lengths, data.truth) == (None, (), None)


# ---- DataFrames


@pytest.mark.robustness("tables")
@pytest.mark.parametrize(
    "column",
    [
        [Decimal(str(value)) for value in A[:, 1]],
        [Fraction(str(value)) for value in A[:, 1]],
        pd.array(A[:, 1], dtype="Float64"),
        pd.array(A[:, 1], dtype=pd.ArrowDtype(pa.float64())),
        pd.arrays.SparseArray(A[:, 1]),
        pd.Series(A[:, 1], dtype=object),
        A[:, 1].astype(">f8"),
    ],
    ids=lambda column: type(column).__name__,
)
def test_numbers_of_every_type_in_a_data_frame(column):
    data = from_frame(FRAME[["a"]].assign(b=column))
    assert data.kinds == ("gaussian", "gaussian")
    np.testing.assert_array_equal(data.x, A[:, :2])


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.assign(z=A[:, 0] * 1j), r"non-numeric column 'z' .*j'? in row 1\): leave it out"),
        (FRAME.assign(z=pd.Categorical(A[:, 0])), "column 'z' has numbers for categories, most of them different"),
        (FRAME.assign(z=[f"{value}%" for value in A[:, 0]]), "'z' .*'%' stands beside its numbers"),
        (FRAME.assign(z=pd.date_range("2020", periods=N)), "non-numeric column 'z' .*2020-01-01"),
        (FRAME.assign(z=pd.to_timedelta(range(N), "D")), "non-numeric column 'z'"),
        (FRAME.assign(z=[{1, 2}] * N), "non-numeric column 'z'"),
        (A.tolist(), "expected a DataFrame, got list: make one of it first"),
        (A, "expected a DataFrame, got ndarray"),
    ],
)
def test_data_frames_that_are_refused(frame, message):
    with pytest.raises(DataError, match=message):
        from_frame(frame)


@pytest.mark.robustness("tables")
def test_a_series_is_one_column():
    data = from_frame(FRAME["a"])
    assert data.features == ("a",)
    np.testing.assert_array_equal(data.x, A[:, :1])


@pytest.mark.robustness("errors")
def test_a_dictionary_of_fractions_is_told_from_categories(tmp_path):
    column = pa.array(A[:, 2]).dictionary_encode()
    feather.write_feather(pa.table({"a": A[:, 0], "c": column}), tmp_path / "d.feather")
    fails("column 'c' has numbers for categories, most of them different: store it as numbers", tmp_path / "d.feather")
    doses = pa.array(np.resize([0.5, 1.0, 2.0], N)).dictionary_encode()
    feather.write_feather(pa.table({"a": A[:, 0], "c": doses}), tmp_path / "d.feather")
    assert load(tmp_path / "d.feather").levels == {"c": ("0.5", "1", "2")}


# ---- tables in memory


class OfAnotherLibrary:
    """A table as those of Polars are: it has columns, and gives a DataFrame."""

    columns = ("a", "b", "c")

    def to_pandas(self):
        return FRAME


TABLES = {
    "Arrow": pa.table(dict(FRAME.items())),
    "record batch": pa.record_batch(dict(FRAME.items())),
    "another library": OfAnotherLibrary(),
    "structured": np.array([*map(tuple, A)], dtype=[("a", "f8"), ("b", ">f8"), ("c", "f8")]),
    "record array": np.rec.fromarrays(A.T, names="a,b,c"),
}


@pytest.mark.robustness("tables")
@pytest.mark.parametrize("name", TABLES)
def test_tables_with_names_are_taken_as_data_frames_are(name):
    for found in (from_frame(TABLES[name]), given.read(given.in_sequences(TABLES[name], False)[0])):
        assert found.features == ("a", "b", "c")
        np.testing.assert_array_equal(found.x, A)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ((A * 1e9).astype("M8[ns]"), "x holds dates or times"),
        ((A * 1e9).astype("m8[s]"), "x holds dates or times"),
        (csr_array(A), "x is sparse; expected a dense array"),
        ([[1, 2], [3]], "x is no array of numbers"),
        (xr.Dataset({"a": ("row", A[:, 0])}), "x is no array of numbers"),
        ([{"a": 1.0}] * 5, "x holds entries that are no real numbers"),
        ("iris", "x holds entries that are no real numbers"),
        (None, r"x has shape \(\); expected a matrix"),
    ],
    ids=str,
)
def test_what_is_no_table_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        given.read(x)
    with pytest.raises(ValueError, match="sequences names the column 'k', and x is no DataFrame that has it"):
        given.in_sequences(x, "k")


@pytest.mark.robustness("tables")
def test_the_fields_of_a_structured_array_are_columns(tmp_path):
    kinds = [("a", ">f8"), ("k", "U2"), ("n", "i8"), ("t", "?"), ("s", "S3")]
    rows = [(a, "uv"[i % 2], 2**62 + i % 3, i % 2 == 0, b"yes" if i % 3 else b"no ") for i, a in enumerate(A[:, 0])]
    np.save(tmp_path / "d.npy", np.array(rows, dtype=kinds))
    data = load(tmp_path / "d.npy", label_column="k", columns=["a", "t", "s"])
    np.testing.assert_array_equal(data.x[:, 0], A[:, 0])
    assert data.levels == {"t": ("False", "True"), "s": ("no", "yes")}
    assert data.labels[:3].tolist() == ["u", "v", "u"]
    assert set(load(tmp_path / "d.npy", label_column="n", columns="a").labels) == {str(2**62 + i) for i in range(3)}


def test_what_systems_leave_in_folders_is_no_second_file_of_an_archive(write):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in (".DS_Store", "f/._d.csv", "__MACOSX/f/._d.csv", "f/Thumbs.db"):
            file.writestr(name, b"\0\5")
        file.writestr("f/d.csv", lines())
    assert load(write(packed.getvalue(), "d.csv.zip")).x.tolist() == load(write(lines(), "d.csv")).x.tolist()
