"""Whether local files can be read at all, before a reader that trusts them is given them.

Rules:
    - What is no file is not opened: a pipe would be waited for, and a device has no end. A table is
      not read whose folder has one; what its files name outside of it is not looked for.
    - A block of Avro that says that it is larger than its file is refused: its reader makes room
      for it at once, and where there is none, the process ends.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from glob import glob
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.files.iceberg_metadata import METADATA_ENDING
from affidavit.catalog.sources.files.listed import is_pattern
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

FILES_KEPT: Final = 4096
"""Of how many files it is remembered that they are whole, for as long as they look the same."""

_TABLES: Final = ("DELTA", "ICEBERG")
"""The formats that are a folder of files, of which the one names the other."""

_AVRO: Final = b"Obj\x01"
_SYNC_BYTES: Final = 16
_VARINT_BYTES_MAX: Final = 10
_GOES_ON: Final = 0x80


class _Broken(Exception):  # noqa: N818 - no error of the tree: it says where it was found
    """A file that says what cannot be."""


def check_local(kind: str, location: str) -> None:
    """Raise SourceError if what lies at a place is no file, or one that cannot be what it says.

    Args:
        kind: The format of the files.
        location: A path, a folder, a pattern or a URL; what is far away is not looked at.
    """
    if not is_local(location):
        return
    place = location.removeprefix("file://")
    if not _is_readable(Path(place)):
        msg = f"{location!r} is a pipe or a device, and no file: it cannot be read as a table"
        raise SourceError(msg)
    if kind in _TABLES:
        root = Path(place.rstrip("/"))
        with suppress(OSError):
            is_metadata = root.name.endswith(METADATA_ENDING)
            _check_folder(root.parent.parent if is_metadata else root, location)
    if kind == "AVRO":
        for path in local_files(place):
            with suppress(OSError):
                found = path.stat()
                _check_avro(str(path), found.st_size, found.st_mtime_ns, found.st_ino)


def _check_folder(folder: Path, location: str) -> None:
    """Raise SourceError if a table's folder has something that is no file in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _check_folder(folder / entry.name, location)
            elif not entry.is_file() and not _is_readable(folder / entry.name):
                msg = f"{location!r} has a pipe or a device where a table has files: {entry.name!r}"
                raise SourceError(msg)


def _is_readable(path: Path) -> bool:
    """Return whether opening what lies at a path, if anything does, waits for nobody."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return True  # its reader says what it is
    return S_ISREG(mode) or S_ISDIR(mode)


def local_files(location: str) -> Iterator[Path]:
    """Yield the files that may be read of a path, a folder or a pattern."""
    found_of = glob(location, recursive=True) if is_pattern(location) else [location]  # noqa: PTH207 - as it is written
    for found in found_of:
        path = Path(found)
        if path.is_dir():
            yield from (each for each in path.rglob("*") if each.is_file())
        else:
            yield path


@lru_cache(maxsize=FILES_KEPT)
def _check_avro(path: str, size: int, _mtime_ns: int, _inode: int) -> None:
    """Raise SourceError unless the blocks of an Avro file lie in it; what they hold is not read."""
    if not S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a name that is remembered
        return
    with Path(path).open("rb") as file:
        if file.read(len(_AVRO)) != _AVRO:
            return  # its reader says what it is
        try:
            _skip_header(file, size)
            sync = file.read(_SYNC_BYTES)
            while file.tell() < size:
                if _long(file) < 0:
                    raise _Broken("a block of fewer than no rows")
                _skip(file, _long(file), size - _SYNC_BYTES)
                if file.read(_SYNC_BYTES) != sync:
                    raise _Broken("a block that does not end where it says")
        except _Broken as broken:
            msg = f"{path!r} is no whole Avro file: it has {broken}"
            raise SourceError(msg) from None


def _skip_header(file: BinaryIO, size: int) -> None:
    while count := _long(file):
        if count < 0:
            _long(file)  # how many bytes they take
        for _ in range(2 * abs(count)):
            _skip(file, _long(file), size)


def _skip(file: BinaryIO, length: int, end: int) -> None:
    if not 0 <= length <= end - file.tell():
        raise _Broken(f"a part of {length:,} bytes, and is shorter than that")
    file.seek(length, os.SEEK_CUR)


def _long(file: BinaryIO) -> int:
    """Read one of Avro's numbers."""
    coded = 0
    for at in range(_VARINT_BYTES_MAX):
        byte = file.read(1)
        if not byte:
            raise _Broken("no end")
        coded |= (byte[0] & ~_GOES_ON) << 7 * at
        if not byte[0] & _GOES_ON:
            return coded >> 1 ^ -(coded & 1)
    raise _Broken("a number that has no end")
