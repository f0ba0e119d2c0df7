"""What the first lines of CSV files call their columns: they are read by name, whatever the order.

Rules:
    - A name that stands twice in a file, or a file that lacks a column of another, is an error that
      names the file and the column.
    - A file whose first line cannot be read here is left to its reader, which says what it is.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO, Any


def _plain(path: str) -> IO[Any]:
    return Path(path).open("rb")


OPENS: Final[Mapping[str, Callable[[str], Any]]] = {
    "": _plain, "gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open,
}  # fmt: skip
"""How a file is read that is compressed as DataFusion calls it, where Python can."""

_UNREAD: Final = (
    OSError, EOFError, UnicodeDecodeError, csv.Error, TypeError, KeyError, lzma.LZMAError,
)  # fmt: skip
"""What is raised of a file that cannot be read here."""

_ENDINGS: Final = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}


def headers_of(
    files: Sequence[Path], options: Mapping[str, str]
) -> dict[Path, tuple[str, ...]] | None:
    """Return the columns of each file that has rows, which are the same but for their order.

    ``None`` if the files have no headers, or one of them cannot be read.

    Raises:
        SourceError: A column stands twice, or a file lacks one, or has another number of them.
    """
    found: dict[Path, tuple[str, ...]] = {}
    rows: set[Path] = set()
    told = tuple(sorted(options.items()))
    for path in files:
        stat = path.stat()
        head = _head(str(path), told, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if head is None:
            return None
        found[path] = head[0]
        rows.update([path] if head[1] else [])
    if options.get("format.truncated_rows", "false").lower() == "true":
        return None
    if options.get("format.has_header", "true").lower() != "true":
        _check_counts(found)
        return None
    _check(found)
    return {path: names for path, names in found.items() if path in rows} or found


def _check_counts(found: Mapping[Path, tuple[str, ...]]) -> None:
    first, *rest = found.items() if found else [(Path(), ())]
    for path, names in rest:
        if len(names) != len(first[1]):
            msg = (
                f"{str(path)!r} has {len(names)} columns, and {str(first[0])!r} has "
                f"{len(first[1])}: the files of one table have the same columns"
            )
            raise SourceError(msg)


def _check(found: Mapping[Path, tuple[str, ...]]) -> None:
    first: tuple[Path, tuple[str, ...]] | None = None
    for path, names in found.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SourceError(
                f"{str(path)!r} has the header {twice[0]!r} twice: rename one of them"
            )
        if first is not None:
            _compare(path, names, *first)
        first = first or (path, names)


def _compare(path: Path, names: Sequence[str], first: Path, firsts: Sequence[str]) -> None:
    for have, has, lacks, lack in ((firsts, first, path, names), (names, path, first, firsts)):
        known = {*lack}
        missing = [name for name in have if name not in known]
        if missing:
            msg = (
                f"{str(lacks)!r} has no column {missing[0]!r}, which {str(has)!r} has: the files "
                "of one table have the same columns"
            )
            raise SourceError(msg)


@lru_cache(maxsize=4096)
def _head(
    path: str, options: tuple[tuple[str, str], ...], _size: int, _mtime_ns: int, _inode: int
) -> tuple[tuple[str, ...], bool] | None:
    """Return the first line of a file and whether there is another; read once while it stays so."""
    try:
        with _opened(path, dict(options)) as reader:
            rows = (row for row in reader if row)
            return tuple(next(rows, ())), next(rows, None) is not None
    except _UNREAD:
        return None


@contextmanager
def _opened(path: str, given: Mapping[str, str]) -> Iterator[Any]:
    """Yield what reads a file's rows; KeyError if it is compressed otherwise than Python knows."""
    packed = given.get("format.compression", _ENDINGS.get(Path(path).suffix, "")).lower()
    opened = OPENS[{"gz": "gzip", "bz2": "bzip2", "uncompressed": ""}.get(packed, packed)]
    comment = given.get("format.comment", "")
    with opened(path) as file, TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield csv.reader(
            (line for line in text if not comment or not line.startswith(comment)),
            delimiter=given.get("format.delimiter", ","),
            quotechar=given.get("format.quote", '"'),
            escapechar=given.get("format.escape") or None,
        )


def where_stands(
    files: Sequence[Path], options: Mapping[str, str], is_meant: Callable[[Sequence[str]], bool]
) -> tuple[Path, int] | None:
    """Return the file, and the line at which it begins, of the first row that is meant."""
    for path in files:
        before = 0
        try:
            with _opened(str(path), options) as reader:
                for row in reader:
                    if is_meant(row):
                        return path, before + 1
                    before = reader.line_num
        except _UNREAD:
            continue
    return None
