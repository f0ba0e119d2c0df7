"""What the record of a read says of files, which have no versions: how many, and their SHA-256.

What they are called is not said: a record is kept for good, and a name may say more than it should.
Of objects in stores their ETags are said, and their versions where there are some: nobody reads an
object for a record.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.buckets.objects import objects_of
from affidavit.catalog.sources.files.whole import local_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sources.buckets.bucket import Bucket

FILES_MAX: Final = 100
"""So many files are told one by one; of more their number and the SHA-256 over all."""


def files_evidence(location: str, bucket: Bucket | None = None) -> dict[str, Any] | None:
    """Return what is said of the files at a place, in the order of their names.

    Args:
        location: Where they are.
        bucket: How that is reached, if it is in an object store.

    ``files`` is how many there are, ``bytes`` how large they are together, ``sha256`` the SHA-256
    of a line for each, of its size, a space and its own SHA-256 in hexadecimal, and ``each``, of a
    few, these two. Of objects ``etags`` stands for ``sha256``, with the ETag of each in its place,
    and each has its version besides. ``None`` where they cannot be looked at here.
    """
    if bucket is not None:
        return _objects_evidence(bucket, location)
    try:
        told = [_told(path) for path in sorted(local_files(location.removeprefix("file://")))]
    except OSError:
        return None
    lines = "".join(f"{size} {sha256}\n" for size, sha256 in told)
    return {
        "files": len(told), "bytes": sum(size for size, _ in told),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "each": [list(each) for each in told] if len(told) <= FILES_MAX else None,
    }  # fmt: skip


def _objects_evidence(bucket: Bucket, location: str) -> dict[str, Any] | None:
    try:
        objects = objects_of(bucket, location)
    except (OSError, pa.ArrowException):
        return None
    if objects is None:
        return None
    lines = "".join(f"{each.size} {each.etag}\n" for each in objects)
    each = [[each.size, each.etag, each.version] for each in objects]
    return {
        "files": len(objects), "bytes": sum(each.size for each in objects),
        "etags": hashlib.sha256(lines.encode()).hexdigest(),
        "each": each if len(each) <= FILES_MAX else None,
    }  # fmt: skip


def are_as_read(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether files are those of which a record says that they were read.

    An object that was written again with the same content is the same, whatever its version.
    """
    return all(was.get(name) == now.get(name) for name in ("files", "bytes", "sha256", "etags"))


def _told(path: Path) -> tuple[int, str]:
    stat = path.stat()
    return stat.st_size, _sha256(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: str, _size: int, _mtime_ns: int, _inode: int) -> str:
    """Return the SHA-256 of a file, which is read once for as long as it looks the same."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
