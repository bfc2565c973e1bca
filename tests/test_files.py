"""Files and folders are written whole or not at all: by faults injected at each step, by real signals, by a full disk."""

import errno
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import three_clusters

from reports import Results, ResultsError, compare
from reports.comparison import files
from reports.comparison.results import check_free
from reports.studies.folder import check_study, write_manifest

pytestmark = pytest.mark.robustness("files")


@pytest.fixture(scope="module")
def results():
    x = three_clusters(40, np.random.default_rng(5))
    return compare(x, 2, rng=np.random.default_rng(0), methods=("em", "cavi"), draws=100).results


def fill(text):
    """Write a folder of two files, of which a whole one has both alike."""

    def write(folder):
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)

    return write


def held(folder):
    """What the folder holds, which must be whole."""
    one, other = (folder / "a").read_text(), (folder / "sub" / "b").read_text()
    assert one == other
    return one


def faults(monkeypatch, fails, after):
    """Let the step with this number fail, before or after it is done, and count the steps."""
    steps = []

    def step(function):
        def tried(*arguments, **settings):
            steps.append(function)
            number = len(steps)
            if number == fails and not after:
                raise KeyboardInterrupt
            try:
                return function(*arguments, **settings)
            finally:
                if number == fails:
                    raise KeyboardInterrupt

        return tried

    for name in ("rename", "replace", "mkdir"):
        monkeypatch.setattr(os, name, step(getattr(os, name)))
    monkeypatch.setattr(files, "_exchange", step(files._exchange))
    monkeypatch.setattr(shutil, "rmtree", step(shutil.rmtree))
    return steps


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fails", range(1, 9))
def test_a_fault_at_any_step_leaves_one_whole_folder(fails, after, exchange, tmp_path, monkeypatch):
    folder = tmp_path / "o"
    files.write_folder(folder, fill("old"))
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    with monkeypatch.context() as faulty:
        steps = faults(faulty, fails, after)
        try:
            files.write_folder(folder, fill("new"), replace=True)
        except KeyboardInterrupt:
            assert len(steps) >= fails
        else:
            assert len(steps) < fails
            assert fails > 4
    assert held(folder) in ("old", "new")
    files.write_folder(folder, fill("newer"), replace=True)
    assert held(folder) == "newer"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fails", range(1, 4))
def test_a_fault_at_any_step_leaves_one_whole_file(fails, after, tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "o.html", "old")
    with monkeypatch.context() as faulty:
        steps = faults(faulty, fails, after)
        with pytest.raises(KeyboardInterrupt) if fails == 1 else pytest.MonkeyPatch.context():
            files.write_text(path, "new")
    assert len(steps) == 1
    assert path.read_text() in ("old", "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("new", [True, False])
def test_a_full_disk_leaves_what_was_there(new, tmp_path):
    folder, path = tmp_path / "o", tmp_path / "o.html"
    if not new:
        files.write_folder(folder, fill("old"))
        files.write_text(path, "old")
    before = sorted(tmp_path.rglob("*"))

    def full(part):
        (part / "a" if part.is_dir() else part).write_text("ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=rf"No space left on device: '{folder}'"):
        files.write_folder(folder, full, replace=True)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        files.write_file(path, full)
    assert sorted(tmp_path.rglob("*")) == before
    if not new:
        assert (held(folder), path.read_text()) == ("old", "old")


def test_a_signal_while_what_is_beside_is_deleted_leaves_nothing(tmp_path, monkeypatch):
    delete, arrived = shutil.rmtree, []

    def interrupted(*args, **options):
        if not arrived:
            arrived.append(True)
            raise KeyboardInterrupt
        delete(*args, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.check_folder(tmp_path / "o")
    assert not list(tmp_path.iterdir())


def test_an_error_names_the_file_as_it_would_have_been_called(tmp_path):
    def full(part):
        files.write_text(part / "sub" / "a", "new")

    with pytest.raises(FileNotFoundError) as caught:
        files.write_folder(tmp_path / "o", full)
    assert caught.value.filename == str(tmp_path / "o" / "sub" / "a")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk can be mounted")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(small_disk, results):
    """An earlier page and an earlier comparison stay, and what was begun is gone."""
    page = files.write_text(small_disk / "page.html", "old" * 1000)
    (small_disk / "filling").write_bytes(bytes(900_000))
    with pytest.raises(OSError, match="No space"):
        files.write_text(page, "new" * 100_000)
    with pytest.raises(OSError, match="No space"):
        results.save(small_disk / "o")
    assert page.read_text() == "old" * 1000
    assert sorted(path.name for path in small_disk.iterdir()) == ["filling", "page.html"]
    with pytest.raises(OSError, match=r"the numbers take about 2 MB, and the disk has 0\.1\d* MB left"):
        files.check_space(small_disk / "o", 2_000_000)


# The module alone, without its package, which would take seconds to load.
ALONE = f"""
import importlib.util, os, signal, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("files", {files.__file__!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
"""

KILLED = (
    ALONE
    + """

step, folder = int(sys.argv[1]), Path(sys.argv[2])
if sys.argv[3] == "two":
    files._exchange = lambda *_: False
steps = 0

def counted(function):
    def call(*arguments, **settings):
        global steps
        found = function(*arguments, **settings)
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

def fill(part):
    (part / "a").write_text("new")
    (part / "sub").mkdir()
    (part / "sub" / "b").write_text("new")

for name in ("rename", "mkdir", "unlink", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
files._exchange = counted(files._exchange)
files.write_folder(folder, fill, replace=True)
"""
)


@pytest.mark.parametrize("moves", ["one", "two"])
def test_a_killed_run_leaves_one_whole_folder(moves, tmp_path):
    """Killed after each of its steps in turn, until it comes to its end; where two folders cannot be exchanged in one step,
    the next run brings back what was set aside."""
    (tmp_path / "killed.py").write_text(KILLED)
    folder = tmp_path / "below" / "o"
    for step in range(1, 30):
        files.write_folder(folder, fill("old"), replace=True)
        run = subprocess.run([sys.executable, tmp_path / "killed.py", str(step), folder, moves], check=False)
        if moves == "two":
            files.restore(folder)
        assert held(folder) in ("old", "new")
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    assert step > 5
    assert held(folder) == "new"
    files.write_folder(folder, fill("newer"), replace=True)
    assert list(folder.parent.iterdir()) == [folder]


WAITING = (
    ALONE
    + """
def slow(part):
    (part / "a").touch()
    print(part, flush=True)
    time.sleep(60)

files.write_folder(sys.argv[1], slow)
"""
)


def test_what_another_run_is_writing_is_no_leftover(tmp_path):
    """It is locked; when that run is dead, the next one deletes it."""
    other = subprocess.Popen([sys.executable, "-c", WAITING, tmp_path / "o"], stdout=subprocess.PIPE, text=True)
    part = Path(other.stdout.readline().strip())
    files.write_folder(tmp_path / "mine", fill("mine"))
    assert (part / "a").exists()
    other.kill()
    other.communicate()
    files.write_text(tmp_path / "page.html", "page")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "page.html"]


def test_a_disk_without_locks_is_written_too_and_leftovers_stay_there(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    left = tmp_path / ".mixtures-0123456789abcdef"
    left.touch()
    files.write_text(tmp_path / "page.html", "page")
    files.write_folder(tmp_path / "o", fill("new"))
    assert held(tmp_path / "o") == "new"
    assert sorted(tmp_path.iterdir()) == [left, tmp_path / "o", tmp_path / "page.html"]


def test_a_users_own_hidden_files_are_no_leftovers(tmp_path):
    own = [tmp_path / ".mixtures-notes", tmp_path / ".mixtures-0123456789abcdef.txt"]
    for path in own:
        path.touch()
    files.clear(tmp_path)
    assert all(path.exists() for path in own)


@pytest.mark.parametrize(("mask", "of_file", "of_folder"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_permissions_follow_the_umask(mask, of_file, of_folder, results, tmp_path):
    before = os.umask(mask)
    try:
        folder = results.save(tmp_path / "o")
        files.write_text(folder / "report.html", "page")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {of_file, of_folder}
    assert stat.S_IMODE((folder / "report.html").stat().st_mode) == of_file


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "page.html").symlink_to(tmp_path / "precious")
    files.write_text(tmp_path / "page.html", "page")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "page.html").read_text() == "page"


def test_no_folder_and_no_device_is_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path, "Is a directory"), (tmp_path / "pipe", "Not a regular file")):
        with pytest.raises(OSError, match=message):
            files.write_text(path, "page")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["C#", "what? 100%20 é", "[x] 100%&b=c;d:"])
def test_stores_are_where_their_path_says(name, results, tmp_path):
    """An address would end at # or ?, and the store land in, or be read from, the folder beside."""
    (tmp_path / name).mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    folder = results.save(tmp_path / name / f"o{name}")
    back = Results.load(folder)
    assert back.trees["cavi"].identical(Results.load(shutil.copytree(folder, tmp_path / name / "plain")).trees["cavi"])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json",
        "metrics.csv",
        "memberships.csv",
        "data.zarr",
        "em.zarr",
        "cavi.zarr",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("o" * 256, "name too long"),
        ("é" * 130, "name too long"),
        ("a\nb", "line break"),
        ("x/" * 3000, "too long"),
        ("~/o", "no shell has put the home folder"),
        ("s3:/bucket/o", "address"),
        ("file:/o/p", "address"),
        (".mixtures-0123456789abcdef", "interrupted run"),
        (".mixtures-0123456789abcdef/o", "interrupted run"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_first(name, message, tmp_path):
    with pytest.raises(ResultsError, match=f"(?i){message}"):
        check_free(tmp_path / name, overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["loop", "loop/o"])
def test_a_link_to_itself_is_refused_first(name, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ResultsError, match=r"loop.* cannot be written .Too many levels of symbolic links"):
        check_free(tmp_path / name, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_a_link_to_a_folder_that_is_not_there_yet_leads_to_it(results, tmp_path):
    """Of what is written in one move and of a study alike."""
    for name in ("one", "other"):
        (tmp_path / name).symlink_to(tmp_path / f"{name}-target")
    results.save(tmp_path / "one")
    assert Results.load(tmp_path / "one-target").trees.keys() == results.trees.keys()
    assert check_study(tmp_path / "other", "study", "a study", 1) is None
    write_manifest(tmp_path / "other", "study", 1, {})
    assert (tmp_path / "other-target" / "study.json").is_file()


def test_a_working_folder_that_was_deleted_is_refused(tmp_path):
    gone = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); sys.argv[1:] = ['datasets']; main()"
    start = f"import sys; from reports.commands import parser; from reports.commands.app import main; {gone}"
    done = subprocess.run([sys.executable, "-P", "-c", start], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the working folder cannot be used (No such file or directory); change to another\n"


def test_the_longest_name_is_written(results, tmp_path):
    folder = tmp_path / ("o" * 255)
    check_free(folder, overwrite=False)
    results.save(folder)
    results.save(folder, overwrite=True)
    assert Results.load(folder).manifest == json.loads(json.dumps(results.manifest))
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_of_someone_else_is_refused_first(tmp_path):
    """With the sticky bit above, as in /tmp, only an owner may rename it; without, a folder in it may be closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    (tmp_path / "shared" / "o").mkdir(parents=True)
    (tmp_path / "shared").chmod(0o1777)
    for path in (*tmp_path.parents[:3], tmp_path):
        path.chmod(path.stat().st_mode | 0o755)
    code = f"""
import os, sys
from pathlib import Path
from reports.comparison.results import ResultsError, check_free
os.setuid(12345)
os.chdir("/")
try:
    check_free(Path({str(tmp_path / "shared" / "o")!r}), overwrite=True)
except ResultsError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cannot be written (It belongs to someone else)" in said


FOREIGN = {
    "my-notes.txt": lambda f: (f / "my-notes.txt").write_text("a year of work"),
    "notes": lambda f: (f / "notes").mkdir(),
    "cavi.zarr/notes.txt": lambda f: (f / "cavi.zarr" / "notes.txt").touch(),
    "cavi.zarr/posterior/plot.png": lambda f: (f / "cavi.zarr" / "posterior" / "plot.png").touch(),
    "metrics.csv": lambda f: ((f / "metrics.csv").unlink(), (f / "metrics.csv").symlink_to(f.parent)),
    "report.html": lambda f: (f / "report.html").mkdir(),
    "gibbs.zarr": lambda f: (f / "gibbs.zarr").mkdir(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_overwriting_refuses_what_no_comparison_wrote_and_names_it(name, results, folder, tmp_path):
    FOREIGN[name](folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ResultsError, match=f"{name}', which no comparison wrote"):
        results.save(folder, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "manifest",
    ['{"format": 7, "name": "my browser extension"}', '{"format": 5}', "[]", "[" * 100_000, "\xff", '{"format": []}'],
)
def test_overwriting_refuses_a_manifest_of_something_else(manifest, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "manifest.json").write_bytes(manifest.encode("latin-1"))
    (tmp_path / "o" / "thesis.tex").touch()
    with pytest.raises(ResultsError, match="something else than a comparison") as caught:
        check_free(tmp_path / "o", overwrite=True)
    assert len(str(caught.value)) < 500


def test_an_earlier_format_is_a_comparison_all_the_same(results, folder):
    """It cannot be read, but what `mixtures` wrote itself is replaced when asked to, and nothing else with it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = ("command", "created", "versions", "data", "model", "methods", "platform", "seed")
    (folder / "manifest.json").write_text(json.dumps({"format": 3} | {name: manifest[name] for name in kept}))
    with pytest.raises(ResultsError, match=r"was written in format 3, not \d+; run the comparison again"):
        Results.load(folder)
    with pytest.raises(ResultsError, match="holds an earlier comparison; give --overwrite"):
        check_free(folder, overwrite=False)
    (folder / "notes.txt").touch()
    with pytest.raises(ResultsError, match=r"holds 'notes\.txt', which no comparison wrote"):
        results.save(folder, overwrite=True)
    (folder / "notes.txt").unlink()
    results.save(folder, overwrite=True)
    assert Results.load(folder).manifest["created"] == results.manifest["created"]


def test_page_and_numbers_change_together(results, folder):
    """While the page is drawn the earlier numbers stand with their page, and then the new ones with theirs."""
    (folder / "report.html").write_text("the earlier page")
    os.utime(folder / "manifest.json", (0, 0))
    seen = []

    def page():
        seen.append((os.stat(folder / "manifest.json").st_mtime, (folder / "report.html").read_text()))
        return "the new page"

    results.save(folder, overwrite=True, page=page)
    assert seen == [(0, "the earlier page")]
    assert os.stat(folder / "manifest.json").st_mtime > 0
    assert (folder / "report.html").read_text() == "the new page"
    assert Results.load(folder).trees.keys() == results.trees.keys()


def test_a_page_that_cannot_be_drawn_costs_no_fits(results, tmp_path, monkeypatch):
    from reports import page
    from reports.api.comparison import Comparison

    def broken(*_):
        def draw():
            raise ZeroDivisionError

        return draw

    monkeypatch.setattr(page, "begin_to_render", broken)
    with pytest.raises(ZeroDivisionError):
        Comparison({}, {}, results).save(tmp_path / "o")
    assert not (tmp_path / "o" / "report.html").exists()
    assert Results.load(tmp_path / "o").trees.keys() == results.trees.keys()


# Manifests and stores that are damaged.


@pytest.fixture(scope="module")
def saved(results, tmp_path_factory):
    return results.save(tmp_path_factory.mktemp("saved") / "o")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a comparison, to be damaged."""
    return shutil.copytree(saved, tmp_path / "o")


class Watched(dict):
    """A part of a manifest that notes which keys are asked for, by its place among the types of the schema."""

    def __init__(self, content, place, asked):
        super().__init__({key: watched(value, (*place, key), asked) for key, value in content.items()})
        self.place, self.asked = place, asked

    def __getitem__(self, key):
        self.asked.add((*self.place, key))
        return super().__getitem__(key)


def watched(value, place, asked):
    if isinstance(value, dict):
        return Watched(value, place, asked)
    return [watched(each, (*place, i), asked) for i, each in enumerate(value)] if isinstance(value, list) else value


def damaged(manifest, place, change):
    """A copy of the manifest with the entry at the place deleted or replaced."""
    copy = json.loads(json.dumps(manifest))
    part = copy
    for key in place[:-1]:
        part = part[key]
    if change == "deleted":
        del part[place[-1]]
    else:
        part[place[-1]] = change
    return copy


def test_what_a_page_asks_of_a_manifest_is_demanded_when_it_is_read(folder):
    """Whatever the page looks up by name: without it, or with something else in its place, the manifest is refused."""
    from reports.page.sections import SECTIONS
    from reports.page.view import View

    path, asked = folder / "manifest.json", set()
    manifest = json.loads(path.read_text())
    loaded = Results.load(folder)
    loaded.manifest = watched(loaded.manifest, (), asked)
    for section in SECTIONS:
        section(View(loaded))
    assert {("methods", "cavi", "title"), ("model", "given")} < asked
    anything = {("data", "source"), ("data", "label_column"), ("seed",)}
    parts = {place: damaged_at(manifest, place) for place in sorted(asked, key=str)}
    for place, part in parts.items():
        changes = [] if by_name(place) else ["deleted"]
        changes += [] if isinstance(part, dict) or place in anything else [{"a": [1]}]
        for change in changes:
            path.write_text(json.dumps(damaged(manifest, place, change)))
            with pytest.raises(ResultsError, match=r"damaged|contradicts|written in format"):
                assert Results.load(folder) is (place, change)  # which the failure then shows


def by_name(place):
    """Whether the last key is a method's, a claim's, an option's, which the page takes as it finds them."""
    return place[-2:-1] in {
        ("methods",),
        ("relabelling",),
        ("verdict",),
        ("seconds",),
        ("timings",),
        ("options",),
        ("prior",),
    } or (place[0] == "verdict" and len(place) == 3)


def damaged_at(manifest, place):
    """The entry at a place."""
    for key in place:
        manifest = manifest[key]
    return manifest


CONTRADICTIONS = {
    "more features": (("data", "features"), ["a"]),
    "a feature twice": (("data", "features"), ["a", "a"]),
    "a ragged prior": (("model", "prior"), {"m0": [[1], [1, 2]]}),
    "a reference that did not run": (("reference", "method"), "gibbs"),
    "a verdict on nobody": (("verdict", "gibbs"), {}),
    "other K": (("model", "n_components"), 3),
    "other N": (("data", "n"), 7),
    "no prior sensitivity": (("prior_sensitivity",), None),
    "a scale less": (("prior_sensitivity", "scales"), []),
    "a method that failed has a verdict": (("methods", "em", "status"), "failed"),
    "a family that there is not": (("model", "family"), "gausian"),
    "a score of the future of nothing": (("leave_future_out",), {"cavi": {}}),
    "a score of the future of nobody": (("leave_future_out",), {"gibbs": {"missing": "why"}}),
    "words for a score of the future": (("leave_future_out",), {"cavi": "\x1b[2J<script>"}),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_or_the_numbers_is_refused(case, folder):
    place, value = CONTRADICTIONS[case]
    path = folder / "manifest.json"
    path.write_text(json.dumps(damaged(json.loads(path.read_text()), place, value)))
    with pytest.raises(ResultsError, match=r"contradicts itself|is damaged"):
        Results.load(folder)


def first_chunk(folder):
    return next(path for path in sorted(folder.rglob("*")) if path.name.startswith("0"))


DAMAGE = {
    "a lost chunk of the data": lambda f: first_chunk(f / "data.zarr" / "x").unlink(),
    "a lost chunk of whole numbers": lambda f: first_chunk(f / "data.zarr" / "row").unlink(),
    "a lost chunk of draws": lambda f: first_chunk(f / "cavi.zarr" / "posterior" / "means").unlink(),
    "a chunk cut short": lambda f: os.truncate(first_chunk(f / "cavi.zarr" / "posterior" / "means"), 20),
    "a lost array": lambda f: shutil.rmtree(f / "data.zarr" / "x"),
    "a lost store": lambda f: shutil.rmtree(f / "cavi.zarr"),
    "lost metadata": lambda f: (f / "cavi.zarr" / ".zmetadata").unlink(),
    "other metadata": lambda f: (f / "cavi.zarr" / "posterior" / "means" / ".zattrs").write_text("[]"),
    "a word for a number": lambda f: (f / "metrics.csv").write_text(
        (f / "metrics.csv").read_text().replace("data,", "data,oops", 1)
    ),
    "a row less": lambda f: (f / "metrics.csv").write_text(
        "".join((f / "metrics.csv").read_text().splitlines(True)[:-1])
    ),
    "a link to the numbers of another": lambda f: (
        (f / "em.zarr").rename(f.parent / "em"),
        (f / "em.zarr").symlink_to(f.parent / "em"),
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_numbers_that_are_not_as_they_were_written_are_refused(case, folder):
    DAMAGE[case](folder)
    with pytest.raises(ResultsError, match="is damaged"):
        Results.load(folder)


def test_the_words_of_the_schema_are_those_of_the_code():
    """Names that the types write out, since a type cannot be computed."""
    from typing import get_args, get_type_hints

    from mixtures import COVARIANCES
    from reports.comparison import schema
    from reports.comparison.verdict import EVERY, LIMITS
    from reports.page.evidence import NUMBERS

    hints = get_type_hints(schema.Manifest)
    assert set(get_args(get_type_hints(schema.Model)["covariance"])) == {*COVARIANCES, "none"}
    assert set(get_args(schema.Evidence)) == set(NUMBERS)
    assert set(get_args(get_args(get_args(hints["verdict"])[1])[0])) == set(EVERY)
    assert set(get_args(get_type_hints(schema.Decided)["quantity"])) == set(LIMITS)


def test_the_size_of_the_numbers_is_known_before_they_are_there(results):
    from reports.comparison.catalogue import Options
    from reports.comparison.trees import size

    found = sum(tree.nbytes for tree in results.trees.values())
    assert 0.6 * found < size(1, 1, *results.data["x"].shape, 2, Options(draws=100)) < found


def test_a_disk_without_room_is_refused_before_the_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    began = []
    x = np.random.default_rng(0).standard_normal((20, 2))
    with pytest.raises(OSError, match=r"the disk has 0\.001 MB left"):
        compare(x, 2, rng=0, methods=("em", "cavi"), room=tmp_path / "o", progress=lambda *event: began.append(event))
    assert not began


@pytest.mark.parametrize("name", ["weights", "means", "covariances"])
def test_an_added_store_that_lost_draws_is_refused(name, results, tmp_path):
    """Where gaps are filled by zeros, as zarr's own arrays are, nobody else would notice."""
    import zarr

    from reports.comparison.added import read_arrays

    store = zarr.open_group(files.open_store(tmp_path / "d#raws", read_only=False), mode="w", zarr_format=2)
    names = ("weights", "means", "covariances")
    for key in names:
        values = results.trees["cavi"]["posterior"][key].values[0]
        array = store.create_array(key, data=values, chunks=(50, *values.shape[1:]))
        array.attrs["_ARRAY_DIMENSIONS"] = ["draw", *"abc"[: values.ndim - 1]]
    assert set(read_arrays(tmp_path / "d#raws", names).data_vars) == set(names)
    first_chunk(tmp_path / "d#raws" / name).unlink()
    with pytest.raises(ValueError, match=f"lost 1 chunks of {name}"):
        read_arrays(tmp_path / "d#raws", names)


class Executed:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.robustness("security")
def test_no_store_of_a_stranger_runs_code(tmp_path):
    """An array of text whose filters unpickle it."""
    from reports.comparison.added import read_arrays

    store, mark = tmp_path / "draws.zarr", tmp_path / "executed"
    (store / "weights").mkdir(parents=True)
    array = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "order": "C",
        "fill_value": "",
        "compressor": None,
    }
    filters = {"filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]}
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    (store / "weights" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["draw"]}')
    (store / "weights" / ".zarray").write_text(json.dumps(array | filters))
    (store / "weights" / "0").write_bytes(pickle.dumps(Executed(mark)))
    with pytest.raises(ValueError, match="cannot be read"):
        read_arrays(store, ["weights"])
    assert not mark.exists()


def test_a_tree_made_in_memory_and_one_too_large_for_that_are_the_same_files(tmp_path, monkeypatch, rng):
    import xarray as xr

    whole = xr.Dataset({"mu": (("chain", "draw"), rng.normal(size=(2, 30)))}, attrs={"unit": "m"})
    names = xr.Dataset({"name": ("row", np.array(["a#b", "c?d"]))})
    tree = xr.DataTree.from_dict({"posterior": whole, "posterior/of": names})
    files.write_tree(tree, tmp_path / "small")
    files.write_tree(whole, tmp_path / "flat")
    monkeypatch.setattr(files, "LARGE", 0)
    files.write_tree(tree, tmp_path / "large")
    files.write_tree(whole, tmp_path / "flat large")
    assert files.digest(tmp_path / "small") == files.digest(tmp_path / "large")
    assert files.digest(tmp_path / "flat") == files.digest(tmp_path / "flat large")
    xr.testing.assert_identical(files.open_tree(tmp_path / "small").load(), tree)
