"""The files that a Lance dataset is made of, by their paths in it.

Lance writes each file once: data, deletions, indexes, transactions, a manifest for each version.
Tags that affidavit itself makes, which keep versions from being cleaned up, and the hint of what is
newest are none of these files, and neither is what has another ending.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import FILES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Store

VERSIONS: Final = "_versions"
TAGS: Final = "_refs/tags"
FIRST: Final = "_first"
"""What stands in the list of files too, with the first version that is listed for a size."""

OWN_TAGS: Final = "affidavit-"
_ENDINGS: Final = {
    "data": (".lance",), "_deletions": (".arrow", ".bin"), "_indices": ("",),
    "_transactions": (".txn",), VERSIONS: (".manifest",),
}  # fmt: skip
"""How the files end in the folders that a dataset has."""

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
    found = (version_of(path) for path, _ in _files(home / VERSIONS, f"{VERSIONS}/", _SUFFIX))
    return max((each for each in found if each is not None), default=None)


def files_of(home: Path, known: Container[str] = ()) -> dict[str, int]:
    """Return the size in bytes of each file of the dataset at ``home``, by its path there.

    Those that are ``known`` are left out, and not looked at.
    """
    found = {path: size for path, size in tags_of(home) if path not in known}
    for folder, endings in _ENDINGS.items():
        found.update(_files(home / folder, f"{folder}/", endings, known))
    return found


def tag_path(name: str) -> str:
    """Return the path of the file that a tag is."""
    return f"{TAGS}/{name}.json"


def tags_of(home: Path) -> Iterator[tuple[str, int]]:
    """Yield the tags that users made, as paths and sizes."""
    for path, size in _files(home / TAGS, f"{TAGS}/", ".json"):
        if not path.rpartition("/")[2].startswith(OWN_TAGS):
            yield path, size


def _files(
    folder: Path, prefix: str, endings: str | tuple[str, ...], known: Container[str] = ()
) -> Iterator[tuple[str, int]]:
    """Yield the regular files below a folder that end so, and are not known."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if path in known or entry.name.startswith(".") or not path.isprintable():
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder / entry.name, f"{path}/", endings, known)
            elif entry.is_file(follow_symlinks=False) and entry.name.endswith(endings):
                yield path, entry.stat(follow_symlinks=False).st_size
        except OSError:  # it went while it was looked at
            continue


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

        Of those from before its files were first listed nobody can tell.
        """
        wanted = set(versions)
        listed = self._listed(info, Compare("=", "path", FIRST))
        first = listed[0][2] if listed else None
        if not isinstance(first, int):
            return set()
        paths = tuple(map(manifest_of, wanted))
        own_paths = {path for path, *_ in self._listed(info, In("path", paths))} if paths else set()
        return {each for each in wanted if each >= first and manifest_of(each) not in own_paths}

    def is_listed(self, info: TableInfo) -> bool:
        """Return whether the files of a table are listed."""
        return bool(self._listed(info, Compare("=", "path", FIRST)))

    def _listed(self, info: TableInfo, condition: Predicate) -> list[tuple[object, ...]]:
        where = own(info.tenant, Compare("=", "table_id", info.table_id), condition)
        with self._store.read(info.tenant) as reader:
            return list(reader.select(FILES, ("path", "sha256", "bytes"), where))
