"""Write files and folders whole or not at all, and open stores by their path.

What is written stands beside its place, under a name of its own, until it is finished; then it takes that place in one move.
So whatever interrupts a run, a name has either the earlier result or the new one, each whole. What an interrupted run left
beside is deleted by the next one that writes there; a lock tells it from what another run is writing at that moment.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # not on Windows, where leftovers stay
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import xarray as xr
    from zarr.storage import LocalStore

LEFTOVER = re.compile(r"\.mixtures-[0-9a-f]{16}")
RESERVED = re.compile(LEFTOVER.pattern + "(-old)?")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
HERE = -100
"""AT_FDCWD of Linux: a path is relative to the working folder."""

EXCHANGE = 2
"""RENAME_EXCHANGE of Linux."""

LARGE = 100e6
"""Bytes of a tree of which no second copy is made in memory."""


def write_file(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all; an earlier one is replaced, and a symbolic link too, which is not followed.

    Parameters
    ----------
    path : path
    write : callable
        Given the path of an empty file beside it, writes there.

    Raises
    ------
    OSError
        If it cannot be written, or the path is that of a folder or a device; what was there stays.
    """
    path = Path(path)
    check_file(path)
    with _beside(path, Path.touch) as part:
        write(part)
        os.replace(part, path)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file as `write_file` does; of a file's name that is no Unicode, the bytes are written as escapes."""
    clear(Path(path).parent)
    return write_file(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def check_file(path: Path) -> None:
    """Refuse the path of a folder or of a device.

    Raises
    ------
    OSError
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def write_folder(
    folder: str | Path,
    fill: Callable[[Path], object],
    *,
    replace: bool = False,
    check: Callable[[], object] = lambda: None,
) -> Path:
    """Write a folder whole or not at all, and return its whole path.

    Parameters
    ----------
    folder : path
    fill : callable
        Given the path of an empty folder beside it, writes there.
    replace : bool
        Whether an earlier folder is replaced; otherwise there may be none but an empty one.
    check : callable
        Called when all is written, before the folder takes its place; what it raises leaves an earlier folder as it was.

    Raises
    ------
    OSError
        If it cannot be written, or another run wrote there meanwhile; what was there stays.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear(folder.parent)
    restore(folder)
    with _beside(folder, Path.mkdir) as part:
        fill(part)
        check()
        if replace and folder.exists():
            _replace(folder, part)
        else:
            os.rename(part, folder)
    return folder


def clear(folder: Path) -> None:
    """Delete what interrupted runs left in a folder, but nothing that another run is writing."""
    for left in [path for path in folder.glob(".mixtures-*") if is_leftover(path)]:
        with suppress(OSError), _locked(left, wait=False) as held:
            if held:
                _delete(left)


def restore(folder: Path) -> None:
    """Bring back an earlier folder if a run was killed while it replaced it, on a system that cannot exchange two folders."""
    aside = _aside(folder)
    if aside.is_dir():
        if folder.exists():
            _delete(aside)
        else:
            os.rename(aside, folder)


def is_leftover(path: Path) -> bool:
    """Whether a path is one at which something is written before it takes its place."""
    return LEFTOVER.fullmatch(path.name) is not None


def check_folder(folder: Path, *, moved: bool = True) -> None:
    """Refuse a folder that could not be written: try its name, and those of the folders above that are not there yet.

    Parameters
    ----------
    folder : Path
        Absolute.
    moved : bool
        Whether `write_folder` is to write it, so that an earlier one is moved; otherwise files are written into it.

    Raises
    ------
    OSError
    """
    if loop := next(
        (path for path in (folder, *folder.parents) if path.is_symlink()), None
    ):  # else it would be resolved
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(loop))
    above = standing(folder.parent if moved else folder)
    names = folder.relative_to(above)
    if reserved := next(filter(RESERVED.fullmatch, folder.parts), None):
        raise OSError(errno.EINVAL, f"What is called {reserved} is deleted as left by an interrupted run", str(folder))
    if names.parts and names.parts[0] == "~":
        raise OSError(errno.EINVAL, "No shell has put the home folder in the place of ~", str(folder))
    if len(names.parts) > 1 and ADDRESS.fullmatch(names.parts[0]):
        raise OSError(
            errno.EINVAL, "It looks like an address, and only folders of this machine are written", str(folder)
        )
    if not os.path.exists(folder) and re.search(r"[\r\n]", str(names)):
        raise OSError(errno.EINVAL, "Its name has a line break", str(folder))
    clear(above)
    with _beside(above / "new", Path.mkdir) as part:
        (part / names).mkdir(parents=True, exist_ok=True)
    if not folder.exists() or not moved:
        return
    if os.path.ismount(folder):
        raise OSError(errno.EBUSY, "A disk is mounted there", str(folder))
    if not _may_be_moved(folder):
        raise PermissionError(errno.EPERM, "It belongs to someone else", str(folder))
    for path, _, _ in os.walk(folder):
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def check_space(folder: Path, needed: int) -> None:
    """Refuse a folder on a disk with fewer free bytes than are needed.

    Raises
    ------
    OSError
    """
    free = shutil.disk_usage(standing(folder)).free
    if free < needed:
        size = f"the numbers take about {needed / 1e6:.3g} MB, and the disk has {free / 1e6:.3g} MB left"
        raise OSError(errno.ENOSPC, size, str(folder))


def standing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if os.path.exists(each))  # of a name too long it is false


def open_store(path: Path, *, read_only: bool = True) -> LocalStore:
    """Open a folder as a zarr store; zarr would read a path given as text as an address, and cut it at # and ?."""
    from zarr.storage import LocalStore

    return LocalStore(path, read_only=read_only)


def write_tree(tree: xr.DataTree | xr.Dataset, path: Path) -> None:
    """Write a tree or a data set as a new zarr store.

    One that is not large is made in memory: zarr hands each of its hundreds of small files to a thread, which takes twice as
    long as all the rest.
    """
    if tree.nbytes > LARGE:
        _fill_store(tree, open_store(path, read_only=False))
        return
    from zarr.storage import MemoryStore

    made: dict[str, Any] = {}
    _fill_store(tree, MemoryStore(made))
    for name, content in made.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def _fill_store(tree: xr.DataTree | xr.Dataset, store: Any) -> None:
    import xarray as xr
    import zarr

    if isinstance(tree, xr.Dataset):
        tree.to_zarr(store, zarr_format=2)
    else:
        tree.to_zarr(store, zarr_format=2, consolidated=False)  # else once a group, which takes longer than the rest
        zarr.consolidate_metadata(store, zarr_format=2)


def open_tree(path: Path, *, consolidated: bool = True) -> xr.DataTree:
    """Open a zarr store as a tree, whose numbers are read when they are asked for; ``consolidated`` is one by `write_tree`."""
    import xarray as xr

    store: Any = open_store(path)
    return xr.open_datatree(store, engine="zarr", consolidated=consolidated)


def lost_chunks(path: Path, name: str) -> int:
    """Chunks that an array of a zarr store should have and has not; zarr reads them as the value that fills gaps."""
    import zarr

    array = zarr.open_array(open_store(path), path=name, mode="r")
    return array.nchunks - array.nchunks_initialized


def digest(path: Path) -> str:
    """A SHA-256 of a file, or of a folder's files with their names.

    Raises
    ------
    OSError
        If something in it is a symbolic link, or no file.
    """
    found = hashlib.sha256()
    for name, file in sorted(contents(path)):
        if not stat.S_ISREG(file.lstat().st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(file))
        content = file.read_bytes()
        found.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape"))
        found.update(content)
    return found.hexdigest()


def contents(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file and symbolic link below a folder, or a file itself, with its name as seen from there."""
    if path.is_symlink() or not path.is_dir():
        yield "", path
        return
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            file = Path(folder, name)
            yield file.relative_to(path).as_posix(), file


@contextmanager
def _beside(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new file or folder beside the path, locked, and deleted at the end if it is still there."""
    while True:
        part = path.with_name(f".mixtures-{secrets.token_hex(8)}")
        try:
            make(part)
            with _locked(part, wait=True):
                if part.exists():  # else another run took it for a leftover before it was locked
                    yield part
                    return
        except OSError as error:
            if error.errno is not None and error.filename is None:  # as of a full disk
                error.filename = str(path)
            elif error.filename is not None:  # what is beside is gone when this is read
                error.filename = os.fsdecode(error.filename).replace(str(part), str(path), 1)
            raise
        finally:
            try:
                _delete(part)
            except BaseException:  # a signal, which comes once
                _delete(part)
                raise


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file or folder, and tell whether it is held: another process may have it, or the disk has no locks."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _replace(folder: Path, part: Path) -> None:
    """Give the part the folder's place; the earlier folder is then to be found where the part was, or gone."""
    if _exchange(folder, part):
        return
    aside = _aside(folder)
    try:
        os.rename(folder, aside)
        os.rename(part, folder)
    except BaseException:
        restore(folder)
        raise
    _delete(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, where the system and the disk can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    return rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0


def _aside(folder: Path) -> Path:
    """Where an earlier folder waits while another takes its place; short, whatever the folder's name."""
    return folder.parent / f".mixtures-{hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]}-old"


def _may_be_moved(folder: Path) -> bool:
    """Whether a folder with a sticky bit, such as /tmp, lets this user rename what is in it."""
    above = folder.parent.stat()
    owners = {0, above.st_uid, folder.stat().st_uid}
    return not above.st_mode & stat.S_ISVTX or not hasattr(os, "geteuid") or os.geteuid() in owners
