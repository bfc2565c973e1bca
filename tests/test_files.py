"""Files and folders are written whole or not at all: by faults injected at each step, by real signals, by a full disk."""

import errno
import json
import os
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

    with pytest.raises(OSError, match="No space"):
        files.write_folder(folder, full, replace=True)
    with pytest.raises(OSError, match="No space"):
        files.write_file(path, full)
    assert sorted(tmp_path.rglob("*")) == before
    if not new:
        assert (held(folder), path.read_text()) == ("old", "old")


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
    files.write_text(tmp_path / "page.html", "a file does not clear the folder around it")
    assert (part / "a").exists()
    files.write_folder(tmp_path / "mine", fill("again"), replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "page.html"]


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
        "data.zarr",
        "em.zarr",
        "cavi.zarr",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [("o" * 256, "name too long"), ("é" * 130, "name too long"), ("a\nb", "line break"), ("x/" * 3000, "too long")],
)
def test_a_name_that_cannot_be_written_is_refused_first(name, message, tmp_path):
    with pytest.raises(ResultsError, match=f"(?i){message}"):
        check_free(tmp_path / name, overwrite=False)
    assert list(tmp_path.iterdir()) == []


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
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
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
def test_overwriting_refuses_what_no_comparison_wrote_and_names_it(name, results, tmp_path):
    folder = results.save(tmp_path / "o")
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
