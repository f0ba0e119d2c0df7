"""What the record of a read says of files, which have no versions: how many, and their SHA-256.

What they are called is not said: a record is kept for good, and a name may say more than it should.
Of files in object stores nothing is said.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.model.definition import SqlDefinition
from affidavit.catalog.sources.buckets.location import is_remote
from affidavit.catalog.sources.files.external import parse_external
from affidavit.catalog.sources.files.whole import local_files

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog

FILES_MAX: Final = 100
"""So many files are told one by one; of more their number and the SHA-256 over all."""


def files_evidence(location: str) -> dict[str, Any] | None:
    """Return what is said of the files at a place, in the order of their names.

    ``files`` is how many there are, ``bytes`` how large they are together, ``sha256`` the SHA-256
    of a line for each, of its size, a space and its own SHA-256 in hexadecimal, and ``each``, of a
    few, these two. ``None`` where they cannot be read here.
    """
    if is_remote(location):
        return None
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


def files_now(catalog: Catalog, name: str) -> dict[str, Any] | None:
    """Return what there is to say now of the files that a table of that name is, if it is."""
    schema, _, table = name.rpartition(".")
    with catalog.read() as reader:
        info = catalog.find(reader, table, schema)
    if info is None or not isinstance(info.definition, SqlDefinition):
        return None
    return files_evidence(parse_external(info.definition.sql).location)


def _told(path: Path) -> tuple[int, str]:
    stat = path.stat()
    return stat.st_size, _sha256(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: str, _size: int, _mtime_ns: int, _inode: int) -> str:
    """Return the SHA-256 of a file, which is read once for as long as it looks the same."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
