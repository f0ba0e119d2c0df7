"""Which files are a lake's own, and which files a location leads to.

Rules:
    - A lake is a folder whose ``catalog.db`` is a store of ours, wherever it is, a copy too. Its
      own are that file and what belongs to it, five folders, and names with a dot in front; what
      else is there is somebody else's.
    - A store of ours is one under any name. What cannot be told apart from one is one.
    - A file of several names is compared with the lake's own by device and number.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.lake.elsewhere.said import ELSEWHERE_FILE
from affidavit.catalog.lake.folders import CATALOG_FILE
from affidavit.catalog.lake.place import is_own_name
from affidavit.catalog.store.sqlite.schema import may_be_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATTERN: Final = frozenset("*?[")
_DATA: Final = frozenset({
    ".arrow", ".avro", ".csv", ".feather", ".gz", ".ipc", ".json", ".jsonl", ".ndjson", ".parquet",
    ".tsv", ".txt", ".zst",
})  # fmt: skip
"""How files end that need not be looked into, to tell a store by."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a location leads to.

    Attributes:
        real: Where it is, with links followed.
        is_own: Whether it is in a lake's own folder.
        may_be_store: Whether it is to be looked into.
    """

    real: Path
    is_own: bool
    may_be_store: bool


class Files(Protocol):
    """Goes through the files of a location."""

    def __call__(self, *, strict: bool) -> Iterator[Found | None]:
        """Yield each file; ``None`` where ``strict`` and a folder cannot be looked into."""


def tree(location: str) -> tuple[str, Files]:
    """Return the folder that a path, folder or pattern begins at, and what goes through it."""
    parts = location.split("/")
    found = (at for at, part in enumerate(parts) if _PATTERN & set(part))
    at = next(found, None)
    root = location if at is None else "/".join(parts[:at]) or "/"
    return root, partial(_files, root, None if at is None else location)


def _files(root: str, pattern: str | None, *, strict: bool) -> Iterator[Found | None]:
    real = Path(root).resolve()
    is_match = (lambda _: True) if pattern is None else partial(_matches, pattern)
    yield from _walk(root, real, is_match, {str(real)}, strict)


def _matches(pattern: str, path: str) -> bool:
    """Return whether a pattern may lead to a path: its * goes over slashes, ** over none too."""
    return fnmatchcase(path, pattern.replace("**/", "*"))


def _walk(
    shown: str,
    real: Path,
    is_match: Callable[[str], bool],
    seen: set[str],
    strict: bool,  # noqa: FBT001
) -> Iterator[Found | None]:
    """Yield the files below a folder, which is shown by a path that may have links."""
    try:
        entries = list(os.scandir(real))
    except OSError:
        if strict:
            yield None
        return  # whoever reads it is told
    inside = is_own(real / "x", (), is_store=False)
    for entry in entries:
        path = f"{shown.rstrip('/')}/{entry.name}"
        try:
            target = Path(entry.path).resolve() if entry.is_symlink() else Path(entry.path)
            is_folder = entry.is_dir()
        except (OSError, RuntimeError):  # such as a link to itself, which nobody reads
            continue
        if is_folder:
            if str(target) not in seen:
                seen.add(str(target))
                yield from _walk(path, target, is_match, seen, strict)
        elif is_match(path):
            is_ours = (inside and not entry.is_symlink()) or _is_store_name(entry.name)
            yield Found(target, is_ours, target.suffix.lower() not in _DATA)


def _is_store_name(name: str) -> bool:
    return name.startswith(CATALOG_FILE)


def holds_own(folder: Path, location: str, own: tuple[str, ...]) -> bool:
    """Return whether a folder, or what a pattern may find in it, has files of ``own``."""
    below = [Path(each) for each in own if Path(each).is_relative_to(folder)]
    if not _PATTERN & set(location):
        return any(each.exists() for each in below)
    return any(each.is_file() and _matches(location, str(each)) for each in below)


def is_own(real: Path, own: tuple[str, ...], *, is_store: bool = True) -> bool:
    """Return whether a path, with links followed, is a lake's own file or folder."""
    lakes = filter(_is_lake, (real, *real.parents))
    return (
        any(map(real.is_relative_to, own))
        or any(_is_of(real, lake) for lake in lakes)
        or (is_store and _is_store(real))
    )


class Linked:
    """Tells whether files are a lake's own by another name.

    Args:
        own: What is the lake's.
    """

    def __init__(self, own: tuple[str, ...]) -> None:
        self._own = own
        self._numbers: set[tuple[int, int]] | None = None

    def has(self, real: Path) -> bool:
        """Return whether a file is one of the lake's own."""
        try:
            about = real.stat()
        except OSError:
            return False
        if about.st_nlink < 2 or real.is_dir():  # noqa: PLR2004 - it has no other name
            return False
        if self._numbers is None:
            lakes = {str(Path(each).parent / CATALOG_FILE) for each in self._own}
            files = (path for each in (*self._own, *lakes) for path in _below(Path(each)))
            self._numbers = {(each.st_dev, each.st_ino) for each in files}
        return (about.st_dev, about.st_ino) in self._numbers


def _below(path: Path) -> Iterator[os.stat_result]:
    for each in [path] if path.is_file() else path.rglob("*"):
        try:
            yield each.stat()
        except OSError:
            continue


def _is_of(path: Path, lake: Path) -> bool:
    """Return whether a path in a lake's folder is the lake's: others may keep files there too."""
    name = path.relative_to(lake).parts[:1]
    return not name or is_own_name(name[0])


def _is_lake(folder: Path) -> bool:
    return _is_store(folder / CATALOG_FILE) or os.path.isfile(folder / ELSEWHERE_FILE)  # noqa: PTH113


def _is_store(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK) and may_be_store(path)
    except OSError:
        return False  # nobody can read it
