"""The command line as a user meets it: help, results, and one clear line for every bad input."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import collapsed_data, three_clusters
from rich.console import Console
from typer.testing import CliRunner

from mixtures import datasets
from reports import compare
from reports.commands import terminal
from reports.commands.app import app
from reports.commands.report import STUDIES
from reports.comparison.verdict import CLAIMS
from reports.page.glance import differences, summary
from reports.page.view import View

QUICK = ("--methods", "em,cavi", "--draws", "100", "--no-report")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, width=160):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(width), "NO_COLOR": "1"})


def frame(n=30):
    x = three_clusters(n, np.random.default_rng(0))
    return pd.DataFrame({"left": x[:, 0], "right": x[:, 1], "class": np.where(x[:, 0] > 2, "a", "b")})


def test_compare_writes_the_folder_and_names_it(folder):
    result = run("compare", "faithful", "-k", "2", *QUICK)
    assert result.exit_code == 0, result.output
    out = folder / "results" / "faithful-k2"
    assert {p.name for p in out.iterdir()} == {
        "manifest.json", "metrics.csv", "memberships.csv", "data.zarr", "em.zarr", "cavi.zarr",
    }  # fmt: skip

    assert "results/faithful-k2/metrics.csv" in result.stdout
    assert "CAVI    cannot tell  cannot tell" in result.stdout
    assert "EM: best of 10 starts, found 10 times." in result.stdout
    assert "compile" not in result.stdout  # nothing was
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 0
    assert manifest["data"]["n"] == 272


def test_a_second_run_takes_the_next_folder(folder):
    for _ in range(2):
        assert run("compare", "galaxies", "-k", "3", *QUICK).exit_code == 0
    assert {p.name for p in (folder / "results").iterdir()} == {"galaxies-k3", "galaxies-k3-2"}


def test_same_seed_same_metrics(folder):
    for name in ("a", "b"):
        assert run("compare", "acidity", "-k", "2", "--seed", "7", "--out", name, *QUICK).exit_code == 0
    a, b = (pd.read_csv(folder / name / "metrics.csv") for name in ("a", "b"))
    timeless = [m[~m["metric"].str.startswith("seconds")].reset_index(drop=True) for m in (a, b)]
    pd.testing.assert_frame_equal(*timeless)


def test_a_users_file_with_labels_and_a_held_out_part(folder):
    given = frame(60).astype(object)
    given.loc[[3, 4], "class"], given.loc[5, "left"], given.loc[6, "right"] = None, "?", -999
    Path("mine.csv").write_text(given.to_csv(sep=";").replace(".", ","))
    result = run(
        "compare", "mine.csv", "-k", "2", "--label-column", "class", "--test-fraction", "0.2", "--decimal", ",",
        "--na-values", "-999,unknown", "--drop-missing", *QUICK,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    metrics = pd.read_csv(folder / "results" / "mine-k2" / "metrics.csv")
    assert {"ari", "heldout_log_density"} <= set(metrics["metric"])
    notes = [
        "left out column 1, which has no name: it numbers the rows",
        "counted as missing: '?' in 'left' (1), '-999' in 'right' (1)",
        "left out 2 rows with missing values: 5, 6",
        "2 rows without a label in 'class': fitted like the others",
    ]
    assert [line for line in result.stderr.splitlines() if "note" in line] == [f"note: {note}" for note in notes]
    data = json.loads((folder / "results" / "mine-k2" / "manifest.json").read_text())["data"]
    assert data["notes"] == notes
    assert (data["n"] + data["n_heldout"], data["n_classes"]) == (58, 2)


def test_report_is_made_again_from_the_folder(folder):
    assert run("compare", "acidity", "-k", "2", *QUICK, "--report", "--out", "o").exit_code == 0
    page = folder / "o" / "report.html"
    first = page.read_text()
    page.unlink()
    result = run("report", "o")
    assert result.exit_code == 0, result.output
    assert page.read_text() == first


def test_datasets_are_listed():
    result = run("datasets")
    assert result.exit_code == 0
    for name in datasets.names():
        assert name in result.stdout


def test_help_names_every_option():
    text = run("compare", "--help").stdout
    for option in (
        "-k", "--methods", "--covariance", "--out", "--seed", "--test-fraction", "--label-column", "--columns",
        "--index-column", "--counts", "--categorical", "--family", "--missing",
        "--drop-missing", "--na-values", "--decimal", "--thousands",
        "--draws", "--chains", "--sampler", "--standardize", "--restarts", "--add", "--overwrite",
        "--no-report", "--open",
    ):  # fmt: skip
        assert option in text, option


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("compare", "--covariance [full|tied|diag|spherical]"),
        ("compare", "--sampler [numpyro|nutpie|pymc]"),
        ("compare", "--reference [auto|exact|nuts|gibbs]"),
        ("compare", "--device [auto|cpu|gpu]"),
        ("calibrate", "--covariance [full|tied|diag|spherical]"),
        ("overfit", "--preset [quick|small-data|prior|misspecified|discrete|hmm|lds]"),
        ("bench", "--sampler [numpyro|nutpie|pymc]"),
    ],
)
def test_help_shows_the_values_of_options_that_have_few(command, values):
    assert values in run(command, "--help").stdout


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "faithful", "-k", "2"),
        ("compare", "nile", "--lds", "local-level"),
        ("select", "faithful"),
        ("select", "nile", "--lds", "local-level"),
        ("overfit",),
        ("validate", "--example", "eight-schools"),
    ],
)
def test_no_page_is_opened_that_is_not_to_be_written(command):
    result = run(*command, "--open", "--no-report")
    assert result.exit_code == 2
    assert result.stderr == "error: --open shows the page, which --no-report leaves out; give one of the two\n"


def test_help_lists_the_commands_in_whole_sentences():
    listed = run("--help", width=80).stdout.partition("Commands:")[2].strip().splitlines()
    assert len(listed) == len(app.registered_commands) == 8
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_version():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"mixtures {version('mixtures')}\n")


@pytest.mark.robustness("numbers")
def test_a_failing_method_leaves_the_rest_and_exits_with_one(folder):
    pd.DataFrame(collapsed_data(), columns=["x"]).to_csv("tight.csv", index=False)
    result = run("compare", "tight.csv", "-k", "2", *QUICK, "--out", "o")
    assert result.exit_code == 1
    assert "EM, maximum likelihood failed: all " in result.stderr
    assert all(word in result.stderr for word in ("--restarts", "--reg-covar", "the method map"))
    assert (folder / "o" / "cavi.zarr").is_dir()
    assert not (folder / "o" / "em.zarr").exists()


def write(name, text):
    Path(name).write_text(text)
    return name


def in_use():
    Path("thesis").mkdir()
    write("thesis/chapter.tex", "")
    return "thesis"


def taken():
    """The folder of the default names is a file; no further arguments."""
    write("results", "")
    return []


def missing():
    data = frame()
    data.loc[[3, 5], "left"] = np.nan
    data.to_csv("d.csv", index=False)
    return "d.csv"


def saved(data, name="d.csv"):
    data.to_csv(name, index=False)
    return name


BAD = {
    "no such data set": (lambda: ["faithfull"], "did you mean 'faithful'"),
    "no such file": (lambda: ["data/none.csv"], "none.csv"),
    "empty file": (lambda: [write("d.csv", "")], "empty"),
    "unreadable file": (lambda: [write("d.parquet", "not parquet")], "d.parquet"),
    "words among numbers": (lambda: [saved(frame().assign(left=[*range(29), "oops"]))], "'oops' in row 30"),
    "no such family": (lambda: [saved(frame()), "--family", "normal"], "expected one of gaussian, bernoulli"),
    "counts that are none": (lambda: [saved(frame()), "--counts", "left"], "is to hold counts and has"),
    "a binary column of three levels": (
        lambda: [saved(frame()[["left"]].assign(k=["u", "v", "w"] * 10)), "--family", "bernoulli"],
        "--family bernoulli takes two",
    ),
    "10,000 levels": (
        lambda: [saved(pd.DataFrame({"a": np.arange(20_000) ** 2, "k": [f"t{i % 10_000}" for i in range(20_000)]}))],
        "column 'k' has 10,000 levels",
    ),
    "two ways with gaps": (lambda: [missing(), "--missing", "error", "--drop-missing"], "contradict each other"),
    "missing values": (lambda: [missing(), "--label-column", "class"], "--missing drop"),
    "infinities": (lambda: [saved(frame()[["left"]].assign(right=np.inf))], "infinit"),
    "constant column": (lambda: [saved(frame()[["left"]].assign(right=1.0))], "constant"),
    "repeated column": (lambda: [saved(frame()[["left"]].assign(right=frame()["left"]))], "same values"),
    "unknown column": (lambda: [saved(frame()), "--columns", "left,rihgt"], "right"),
    "unknown label column": (lambda: [saved(frame()), "--label-column", "clas"], "class"),
    "no cluster": (lambda: ["faithful", "-k", "0"], "at least 1"),
    "more clusters than rows": (lambda: ["galaxies", "-k", "83"], "82"),
    "fewer rows than features": (lambda: [saved(frame(30)[["left", "right"]].head(2)), "-k", "1"], "full covariance"),
    "unknown method": (lambda: ["faithful", "--methods", "em,cavvi"], "did you mean 'cavi'"),
    "no method": (lambda: ["faithful", "--methods", ","], "no method"),
    "unknown sampler": (lambda: ["faithful", "--sampler", "stan"], "numpyro"),
    "test fraction": (lambda: ["faithful", "--test-fraction", "1.5"], "test_fraction"),
    "too few rows left": (lambda: ["galaxies", "--test-fraction", "0.999"], "0 to fit"),
    "unknown covariance": (lambda: ["faithful", "--covariance", "diagonal"], "did you mean 'diag'"),
    "rows of a series left out": (
        lambda: [missing(), "--missing", "drop", "--columns", "left,right", "--hmm"],
        "neighbours together",
    ),
    "too few draws": (lambda: ["faithful", "--draws", "5"], "at least 100"),
    "test fraction that holds out nothing": (lambda: ["faithful", "--test-fraction", "0.001"], "leaves 0 to test"),
    "folder in use": (lambda: ["faithful", "--out", in_use()], "something else"),
    "folder is a file": (lambda: ["faithful", "--out", write("thesis.tex", "")], "is a file"),
    "folder below a file": (lambda: ["faithful", "--out", write("thesis.tex", "") + "/sub"], "is a file"),
    "the working folder": (lambda: ["faithful", "--out", "."], "working folder"),
    "default folder is a file": (lambda: ["faithful", *taken()], "is a file"),
    "folder nobody can write": (lambda: ["faithful", "--out", "/proc/nope"], "--out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, folder):
    arguments, message = BAD[case]
    given = arguments()
    if "-k" not in given:
        given += ["-k", "2"]
    before = sorted(folder.rglob("*"))
    result = run("compare", *given)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare faithful", "missing option '-k'"),
        ("compare faithful -k two", "invalid value for '-k'"),
        ("compare faithful -k 2 --methds em", "no such option: --methds"),
        ("compare faithful galaxies -k 2", "unexpected extra argument"),
        ("compare", "missing argument 'DATA'"),
        ("compre faithful -k 2", "did you mean 'compare'"),
        ("select faithful --workers 0", "--workers"),
    ],
)
def test_what_the_parser_refuses_is_said_as_everything_else(arguments, message, folder):
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message.lower() in line.lower()
    assert "--help" in line
    assert list(folder.iterdir()) == []


def test_without_a_command_there_is_help():
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout


@pytest.mark.robustness("security")
def test_what_a_user_named_is_no_markup_and_steers_no_terminal(folder):
    """Brackets are text, and control characters are written as escapes: in a table, a path and an error."""
    name = "[red]a[bold] \x1b[2J.csv"
    frame()[["left", "right"]].to_csv(name, index=False)
    result = run("compare", name, "-k", "1", "--methods", "cavi", "--no-report", "--out", "[b]o\x1b[0m")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("\n[red]a[bold] \\x1b[2J: 30 points, K = 1.")
    assert "Numbers: [b]o\\x1b[0m/metrics.csv" in result.stdout
    refused = run("compare", "none\x1b[2J\n.csv", "-k", "1")
    assert refused.exit_code == 2
    assert r"none\x1b[2J\n.csv" in refused.stderr
    assert "\x1b" not in result.output + refused.output


SEVEN = ["em", "cavi", "advi", "advi-fullrank", "nuts", "gibbs", "my own with a long name"]


@pytest.fixture(scope="module")
def seven_methods():
    """The summary of seven methods, every state and every quantity among them."""
    results = compare(
        three_clusters(40, np.random.default_rng(5)), 2, rng=np.random.default_rng(0), methods=("cavi",), draws=100
    ).results
    states = cycle(["agrees", "differs", "cannot tell", "reference"])
    facts, numbers = results.manifest["methods"]["cavi"], {"khat": 0.71, "rhat_max": 1.0123, "ari": 0.9, **SCORES}
    results.manifest |= {
        "methods": {
            method: facts | {"seconds": {"compile": 12.3, "run": 83.0}, "added": method == SEVEN[-1]}
            for method in SEVEN
        },
        "verdict": {
            method: {claim: {"state": next(states), "because": f"of {claim}"} for claim in CLAIMS} for method in SEVEN
        },
    }
    results.trees = dict.fromkeys(SEVEN, results.trees["cavi"])
    rows = [(method, metric, "data", value, 0.0625) for method in SEVEN for metric, value in numbers.items()]
    results.metrics = pd.DataFrame(rows, columns=list(results.metrics.columns))
    return View(results)


SCORES = {"train_log_density": -4.1512, "heldout_log_density": -14.25}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_seven_methods_are_shown_whole_on_any_terminal(width, seven_methods):
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    table = summary(seven_methods)
    shown = terminal.parts(table, width)
    for part in shown:
        console.print(part)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for row in table.rows:
        label = row[0].text
        assert text.count(f"\n{label}  ") == len(shown)  # each part begins with the method, whole
    assert Counter(words)["differs"] == sum(cell.text == "differs" for row in table.rows for cell in row)
    assert words.count("−4.151") == words.count("−14.250") == words.count("0.71") == words.count("1.012") == 7
    assert text.count("1 min 23 s") == 7
    assert len(shown) == {60: 5, 80: 3, 200: 1}[width]


def test_eighty_columns_hold_the_verdict_on_the_methods_that_are_here(seven_methods):
    table = summary(seven_methods)
    known = replace(table, rows=[row for row in table.rows if row[0].text != SEVEN[-1]])
    first, *_ = terminal.parts(known, 80)
    assert [str(column.header) for column in first.columns] == ["method", *CLAIMS]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_pipe_gets_one_whole_table(width, seven_methods):
    """Nobody looks at a pipe's width, whatever the variable says."""

    @app.command("shown", hidden=True)
    def shown():
        terminal.show(summary(seven_methods))

    try:
        lines = run("shown", width=width).stdout.splitlines()
    finally:
        app.registered_commands.pop()
    assert len(lines) == 3 + 2 + 7 + 1
    columns = lines[3].split()
    assert columns[:6] == ["method", *CLAIMS]
    assert columns[-2:] == ["compile", "run"]
    assert "…" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_sentences_break_between_words_and_paths_do_not():
    console = Console(file=io.StringIO(), width=20, color_system=None, force_terminal=True)
    terminal.say("No reference: no draws to hold the others against.", console)
    terminal.say("Report: results/faithful-k2/report.html", console, whole=True)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "No reference: no",
        "draws to hold the",
        "others against.",
        "Report: results/faithful-k2/report.html",
    ]


def test_where_methods_differ_is_said_in_sentences(seven_methods):
    said = differences(seven_methods)
    assert said[0] == "EM differs in locations: of locations."
    assert len(said) == 9


@pytest.mark.parametrize(
    ("method", "trusted", "reason", "said"),
    [
        ("nuts", True, "is the reference and passed its checks", "The reference, NUTS, passed its checks."),
        ("exact", True, "is exact and needs no check", "The reference, Exact, is exact and needs no check."),
        ("nuts", False, "failed its checks", "No trusted reference: NUTS failed its checks."),
        (None, False, "no draws", "No reference: no draws. Agreement with the posterior was not measured."),
    ],
)
def test_the_reference_is_named(method, trusted, reason, said, seven_methods):
    seven_methods.manifest["reference"] = {"method": method, "trusted": trusted, "reason": reason}
    assert terminal.reference_line(seven_methods) == said


@pytest.mark.parametrize("name", ["nothing-here", "thesis"])
def test_report_refuses_what_is_no_results_folder(name, folder):
    (folder / "thesis").mkdir()
    result = run("report", name)
    assert result.exit_code == 2
    assert "no results folder" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_console_script_runs():
    command = Path(sys.executable).with_name("mixtures")
    result = subprocess.run([command, "datasets"], capture_output=True, text=True, check=True)
    assert "faithful" in result.stdout
    assert result.stderr == ""


def test_one_cluster_makes_a_page(folder):
    result = run("compare", "acidity", "-k", "1", *QUICK, "--report", "--out", "o")
    assert result.exit_code == 0, result.output
    assert (folder / "o" / "report.html").stat().st_size > 10_000


def test_two_runs_take_two_default_folders(folder):
    """The second run saves after another has taken the folder it had chosen."""
    command = [sys.executable, "-m", "reports.commands.app", "compare", "acidity", "-k", "2", *QUICK]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    assert [code for _, code in ends] == [0, 0], ends
    assert len(list((folder / "results").iterdir())) == 2


def test_report_says_which_results_it_cannot_draw(folder):
    (folder / "o").mkdir()
    (folder / "o" / "selection.csv").touch()
    result = run("report", "o")
    assert result.exit_code == 2
    assert "error: o holds a selection, of which its fits are not saved" in result.stderr


def test_every_study_can_be_loaded_and_drawn():
    for module, page in STUDIES.values():
        assert callable(import_module(module).load)
        assert callable(import_module(page).render)


@pytest.mark.parametrize("lost", ["cavi.zarr/clusters", "metrics.csv", "data.zarr"])
def test_report_names_a_damaged_folder(lost, folder):
    assert run("compare", "acidity", "-k", "2", *QUICK, "--out", "o").exit_code == 0
    target = folder / "o" / lost
    shutil.rmtree(target) if target.is_dir() else target.write_text("a,b\n1,2\n")
    result = run("report", "o")
    assert result.exit_code == 2
    assert "damaged" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.robustness("security")
@pytest.mark.parametrize(("encoding", "minus"), [("latin-1", "-4."), ("utf-8", "−4.")])
def test_what_a_terminal_cannot_show_is_replaced(encoding, minus, folder):
    """The sign of a number above all is still a sign."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    command = [sys.executable, "-m", "reports.commands.app", "compare", "faithful", "-k", "2", *QUICK]
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    shown = result.stdout.decode(encoding)
    assert result.returncode == 0, result.stderr
    assert minus in shown
    assert "faithful-k2/metrics.csv" in shown
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    "name", ["a\x1b[2J\x1b[31mred", "a\r\nERROR: all is lost", "a\u202e\u200b\x9b2J", "n" * 100_000]
)
def test_the_name_of_a_column_steers_no_terminal_and_fills_none(name, folder):
    frame()[["left", "right"]].mask(lambda x: x > 5).rename(columns={"left": name}).to_csv("d.csv", index=False)
    result = run("compare", "d.csv", "-k", "1")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    assert len(line) < 1100
    frame()[["left", "right"]].rename(columns={"left": name}).to_csv("d.csv", index=False)
    result = run("compare", "d.csv", "-k", "1", "--methods", "cavi", "--draws", "100", "--no-report", "--out", "o")
    assert result.exit_code == 0, result.stderr
    assert all(line.isprintable() and len(line) < 1100 for line in result.stdout.splitlines())


def test_report_follows_no_link_out_of_the_folder(folder):
    assert run("compare", "acidity", "-k", "2", *QUICK, "--out", "o").exit_code == 0
    Path("precious").write_text("precious")
    Path("o/report.html").symlink_to(folder / "precious")
    assert run("report", "o").exit_code == 0
    assert Path("precious").read_text() == "precious"
    assert "</html>" in Path("o/report.html").read_text()
    Path("o/em.zarr").rename("em.zarr")
    Path("o/em.zarr").symlink_to(folder / "em.zarr")
    result = run("report", "o")
    assert result.exit_code == 2
    assert "damaged" in result.stderr


def test_a_report_that_cannot_be_written_is_one_line(folder):
    assert run("compare", "acidity", "-k", "2", *QUICK, "--out", "o").exit_code == 0
    Path("o/report.html").mkdir()
    result = run("report", "o")
    assert result.exit_code == 2
    assert result.stderr == "error: o/report.html: Is a directory\n"


def test_numbers_that_the_disk_has_no_room_for_are_refused_before_the_fits(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    result = run("compare", "faithful", "-k", "2", "--methods", "cavi,gibbs", "--out", "o")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "the disk has 1 MB left" in line
    assert list(folder.iterdir()) == []


def test_matplotlib_gets_a_folder_where_it_cannot_write_its_own(tmp_path, monkeypatch):
    from reports.commands import folders

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(folders.atexit, "register", lambda *_, **__: None)
    monkeypatch.setattr(folders, "mkdtemp", lambda prefix: str(tmp_path / "spare"))
    monkeypatch.delenv(folders.SETTING, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folders.spare_matplotlib()
    assert folders.SETTING not in os.environ
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    folders.spare_matplotlib()
    assert os.environ.pop(folders.SETTING) == str(tmp_path / "spare")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(folders.Path, "home", unknown)
    folders.spare_matplotlib()
    assert os.environ.pop(folders.SETTING) == str(tmp_path / "spare")
