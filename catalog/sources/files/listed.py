"""The local files of a table, as DataFusion lists them, and what their folders say."""

from __future__ import annotations

import re
from datetime import date
from glob import escape, glob, iglob
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NULL_FOLDER: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of the rows whose partition is NULL."""

PLACES_MAX: Final = 1_000
"""How many folders, or files beside partitions, one pattern may lead to."""

_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_SPECIAL: Final = frozenset("*?[")


def is_pattern(location: str) -> bool:
    """Return whether a path stands for several."""
    return not _SPECIAL.isdisjoint(location)


def places_of(location: str) -> list[str]:
    """Return the patterns and files that a local pattern stands for, of one folder each.

    Empty where it is of one folder already. DataFusion asks a pattern of the first name below its
    folder that has no ``=``, so it is given none over several, and none beside partitions.

    Raises:
        SourceError: They are too many, or one is called as patterns are written.
    """
    folder, _, name = location.removeprefix("file://").rpartition("/")
    if name == "**":
        folder, name = f"{folder}/**", "*"
    if not is_pattern(name) and not is_pattern(folder):
        return []
    seen: set[Path] = set()
    found: list[str] = []
    for each in iglob(f"{folder}/", recursive=True):  # noqa: PTH207 - as it is written
        real = Path(each).resolve()
        if "**" in folder and real in seen:  # a link to what it has been to
            continue
        seen.add(real)
        found += _places_in(each, name)
        if len(found) > PLACES_MAX:
            msg = f"{location!r} leads to more than {PLACES_MAX:,} folders: name fewer of them"
            raise SourceError(msg)
    strange = next((each for each in found if is_pattern(each.rpartition("/")[0])), None)
    if strange is not None:
        msg = (
            f"{location!r} leads to {strange!r}, a folder with one of * ? [ in its name: rename it"
        )
        raise SourceError(msg)
    return [] if found == [f"{folder}/{name}"] else sorted(found)


def _places_in(folder: str, name: str) -> list[str]:
    """Return the pattern of a folder's files, or these themselves where it has partitions too."""
    files = [each for each in iglob(f"{escape(folder)}{name}") if Path(each).is_file()]  # noqa: PTH207 - as above
    if not files:
        return []
    has_parts = any("=" in each.name and each.is_dir() for each in Path(folder).iterdir())
    return files if has_parts else [f"{folder}{name}"]


def is_mark(path: Path) -> bool:
    """Return whether a file is a mark of who wrote a folder, as ``_SUCCESS`` and ``.x.crc`` are."""
    return path.name[0] == "." or (path.name[0] == "_" and not path.suffix)


def has_marks(location: str) -> bool:
    """Return whether a local folder has such marks beside the files of a table."""
    root = Path(location.removeprefix("file://"))
    return root.is_dir() and any(map(is_mark, _below(root)))


def data_files(location: str) -> list[Path]:
    """Return the files that have something in them: of a path, a pattern, or a folder.

    Of a folder those in it and in its partitions, ``name=value``, but for marks.
    """
    place = location.removeprefix("file://")
    found = glob(place, recursive=True) if is_pattern(place) else [place]  # noqa: PTH207 - as above
    several = (_below(Path(each)) for each in sorted(found))
    paths, named = (path for paths in several for path in paths), {*map(Path, found)}
    return [each for each in paths if each.stat().st_size and (each in named or not is_mark(each))]


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.is_file():
                yield each
            elif "=" in each.name:
                yield from _below(each)


def partition_of(path: Path, location: str) -> dict[str, str]:
    """Return what the folders of a file below a table's say of its rows, as it is written there.

    Of a pattern those say something that it does not name; of a file by itself none does.
    """
    place = location.removeprefix("file://")
    while is_pattern(place):
        place = place.rpartition("/")[0]
    root = Path(place)
    if not root.is_dir():
        return {}
    named = (each.partition("=") for each in path.parent.relative_to(root).parts)
    return {name: value for name, equals, value in named if equals}


def folder_value(written: str) -> str | None:
    """Return the value that a folder of a partition stands for: its name may have escapes."""
    return None if written == NULL_FOLDER else unquote(written)


def folder_type(written: Iterable[str]) -> pa.DataType:
    """Return the type of what folders say: of whole numbers, of dates, or of texts.

    A number is one as it would be written: ``01`` is a text.
    """
    values = [value for each in written if (value := folder_value(each)) is not None]
    if values and all(map(_NUMBER.fullmatch, values)):
        return pa.int64()
    return pa.date32() if values and all(map(_is_date, values)) else pa.string()


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
