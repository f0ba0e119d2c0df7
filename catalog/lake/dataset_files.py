"""The files that a Lance dataset is made of, by their paths in it.

Lance writes each file once: data, deletions, indexes, transactions, a manifest for each version.
Tags and the hint of what is newest are none of these, and are left out.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.tables import FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Store

VERSIONS: Final = "_versions"
_LEFT_OUT: Final = frozenset({"_refs", "latest_version_hint.json"})
_LAST: Final = 2**64 - 1
"""What Lance subtracts a version from for its manifest's name: the newest is listed first."""

_SUFFIX: Final = ".manifest"


def manifest_of(version: int) -> str:
    """Return the path of a version's manifest."""
    return f"{VERSIONS}/{_LAST - version:020d}{_SUFFIX}"


def version_of(path: str) -> int | None:
    """Return the version whose manifest ``path`` is; ``None`` if it is no manifest."""
    folder, _, name = path.rpartition("/")
    digits = name.removesuffix(_SUFFIX)
    if folder != VERSIONS or digits == name or not digits.isdecimal():
        return None
    number = int(digits)
    return _LAST - number if number > _LAST // 2 else number  # as older versions of Lance wrote it


def newest_version(home: Path) -> int | None:
    """Return the newest version of the dataset at ``home``, by its manifests; ``None`` if none."""
    try:
        names = [entry.name for entry in os.scandir(home / VERSIONS)]
    except OSError:
        return None
    found = (version_of(f"{VERSIONS}/{name}") for name in names)
    return max((each for each in found if each is not None), default=None)


def files_of(home: Path) -> dict[str, int]:
    """Return the size in bytes of each file of the dataset at ``home``, by its path there."""
    return dict(_files(home, ""))


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name in _LEFT_OUT or entry.name.startswith("."):
            continue
        path = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder / entry.name, f"{path}/")
        else:
            yield path, entry.stat(follow_symlinks=False).st_size


def sha256_of(path: Path) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


class SignedFiles:
    """The files of vector tables as the store lists them: what their own writers made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sha256(self, info: TableInfo, path: str) -> bytes | None:
        """Return the SHA-256 of a table's file as it was signed; ``None`` if it was not."""
        rows = self._listed(info, Compare("=", "path", path))
        found = rows[0][1] if rows else None
        return found if isinstance(found, bytes) else None

    def foreign_versions(self, info: TableInfo, versions: Iterable[int]) -> set[int]:
        """Return those of ``versions`` of a table that another program committed.

        Of a table that was last written before its files were listed, nobody can tell; nor can
        anybody of its versions from before then.
        """
        manifests = And(
            (Compare(">", "path", f"{VERSIONS}/"), Compare("<", "path", f"{VERSIONS}0"))
        )
        listed = {version_of(str(path)) for path, _ in self._listed(info, manifests)}
        own = {each for each in listed if each is not None}
        return {each for each in versions if own and each > min(own)} - own

    def _listed(self, info: TableInfo, condition: Predicate) -> list[tuple[object, ...]]:
        where = And((Compare("=", "table_id", info.table_id), condition))
        with self._store.read(info.tenant) as reader:
            return list(reader.select(FILES, ("path", "sha256"), where))
