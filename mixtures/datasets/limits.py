"""Files that are too large for this machine's memory, or are none, are refused before they are read."""

from __future__ import annotations

import io
import math
import stat
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO, BinaryIO

import numpy as np

from mixtures.errors import DataError
from mixtures.memory import check_memory, size

# A table as text is held as bytes, as what was parsed, and as numbers.
TEXT_COPIES = 3

# Packed data are looked at in pieces of so many bytes; one that was so many times smaller when packed is no table of numbers.
PIECE, DENSEST = 2**26, 300

# How the header of an array is read, by its version; later versions have columns of several types.
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
NO_HEADER = (ValueError, EOFError, MemoryError, OverflowError, TypeError, RecursionError, SyntaxError, TokenError)

KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


def read_file(path: Path) -> bytes:
    """The bytes of a file that is one, and that memory can hold.

    Raises
    ------
    DataError
        If it is a pipe or a device, which may never end, or too large.
    OSError
        If it cannot be read.
    """
    check_regular(path)
    check_memory(path.stat().st_size * TEXT_COPIES, f"reading {str(path)!r}", "give fewer rows")
    return path.read_bytes()


def check_regular(path: Path) -> None:
    """Refuse a path at which there is a pipe, a device or a socket: reading it may never end.

    Raises
    ------
    DataError
    OSError
        If there is nothing.
    """
    mode = path.stat().st_mode
    for is_kind, name in KINDS.items():
        if is_kind(mode):
            raise DataError(f"{str(path)!r} is {name}, not a file: save what it gives as a file first")


def unpack(path: Path, packed: BinaryIO, unpacked: IO[bytes] | io.BufferedIOBase) -> bytes:
    """All bytes of ``unpacked``, a reader of ``packed``, as long as they are so many as a table may have.

    Raises
    ------
    DataError
        If they become too many for the memory, or a long piece of them is all alike, as in a file made to fill a memory.
    """
    parts: list[bytes] = []
    total = read = 0
    while part := unpacked.read(PIECE):
        parts.append(part)
        total, before, read = total + len(part), read, packed.tell()
        check_memory(total * TEXT_COPIES, f"{str(path)!r}, unpacked so far to {size(total)},", "give fewer rows")
        if len(part) == PIECE and DENSEST * (read - before) < PIECE:
            raise DataError(
                f"{str(path)!r} unpacks to more than {DENSEST} times its size ({size(total)} so far), which no table of "
                "numbers does: unpack it yourself if it is one"
            )
    return b"".join(parts)


def check_array(path: Path, head: BinaryIO, held: int, name: str = "") -> tuple[int, ...]:
    """Refuse an array in NumPy's format that holds less than its header promises, or more than memory does.

    Its shape is returned, () where the header does not tell.

    Parameters
    ----------
    path : Path
        Of the file, for the message.
    head : file
        At the array's beginning.
    held : int
        Bytes that are there, header included.
    name : str
        Of the array within the file.

    Raises
    ------
    DataError
    """
    try:
        version = np.lib.format.read_magic(head)
        if version not in HEADERS:
            return ()
        shape, _, dtype = HEADERS[version](head)
    except NO_HEADER:  # who reads it says so
        return ()
    promised = math.prod(shape) * dtype.itemsize
    what = f"{str(path)!r}{f', array {name!r},' if name else ''}"
    if promised > held - head.tell() and not dtype.hasobject:
        raise DataError(
            f"{what} promises {size(promised)} in an array of shape {shape}, and holds {size(held - head.tell())}: write it "
            "again"
        )
    check_memory(2 * promised, f"{what} of shape {shape}", "give fewer rows")
    return shape


def check_arrays(path: Path) -> None:
    """Refuse a .npz file of which an array is not whole or too large; see `check_array`.

    Raises
    ------
    DataError
    OSError, ValueError, zipfile.BadZipFile
        If it is no such file.
    """
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                head = io.BytesIO(file.read(2**16))
            if head.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
                check_array(path, head, entry.file_size, entry.filename.removesuffix(".npy"))
