"""What format files have that were given without one: by what they hold, then by their names.

Of a file of the web, what its server says that it is comes last.
"""

from __future__ import annotations

import lzma
import zlib
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.location import is_local
from affidavit.catalog.sources.files.formats import FORMATS, format_named
from affidavit.catalog.sources.files.headers import OPENS
from affidavit.catalog.sources.files.listed import data_files, is_pattern
from affidavit.catalog.sources.web.urls import name_of
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sources.web.copies import Copy

COMPRESSIONS: Final[Mapping[str, str]] = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}
"""How a compressed file ends, and what DataFusion calls that."""

_LEVELS: Final = {"zstd": "zstd(3)", "gzip": "gzip(6)", "brotli": "brotli(1)"}
"""What Parquet is compressed by, and how much where nobody says: as DataFusion does by itself."""

BEGINNINGS: Final[Mapping[bytes, str]] = {
    b"PAR1": "PARQUET", b"ARROW1": "ARROW", b"Obj\x01": "AVRO",
}  # fmt: skip
"""How files begin that say what they are."""

PACKED: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst",
}  # fmt: skip
"""How compressed files begin, and how their names end."""

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "text/csv": "csv", "application/csv": "csv", "text/tab-separated-values": "tsv",
    "application/json": "json", "application/x-ndjson": "ndjson", "application/ndjson": "ndjson",
    "application/jsonl": "jsonl", "application/x-jsonlines": "jsonl",
    "application/vnd.apache.parquet": "parquet", "application/vnd.apache.arrow.file": "arrow",
    "application/avro": "avro", "application/vnd.apache.avro": "avro",
}  # fmt: skip
"""What servers call files, and how those would end."""

_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
"""What they call a page about a file, or about why there is none, by whatever name."""

_DATABASES: Final[Mapping[str, tuple[int, bytes]]] = {
    "sqlite": (0, b"SQLite format 3\x00"), "duckdb": (8, b"DUCK"),
}  # fmt: skip
_LOOKED_AT_BYTES: Final = 4096


def database_at(path: str) -> str | None:
    """Return the scheme of the database that a local file is, if it is one."""
    held = _first_bytes(path)
    for scheme, (at, mark) in _DATABASES.items():
        if held[at : at + len(mark)] == mark:
            return scheme
    return None


def refuse_database(copy: Copy) -> None:
    """Raise SourceError if a file of the web is a database, which is no table."""
    scheme = database_at(str(copy.path))
    if scheme is not None:
        msg = f"{copy.url!r} is a {scheme} database: download it, and attach it by its path"
        raise SourceError(msg)


def check_there(location: str) -> None:
    """Raise SourceError if there is nothing at a local path, or of that pattern."""
    if is_local(location) and _first(location) is None:
        what = "no file is called" if is_pattern(location) else "there is no file or folder"
        raise SourceError(f"{what} {location!r}")


def guessed(location: str, copy: Copy | None = None) -> tuple[str, dict[str, str]]:
    """Return the format of files, empty if nobody can tell, and the options that they need.

    Args:
        location: Where they are.
        copy: What was downloaded of a file of the web.
    """
    held, place = b"", location if copy is None else str(copy.path)
    if is_local(place):
        for each in FORMATS.values():
            if each.detect(place):
                return each.name, {}
        place = _first(place) or place
        if Path(place).is_dir():  # by what is in it, where all of that ends alike
            inside = data_files(place)
            if len({_named(each.name) for each in inside}) != 1:
                return "", {}
            place = str(inside[0])
        held = _first_bytes(place)
        for beginning, kind in BEGINNINGS.items():
            if held.startswith(beginning):
                return kind, {}
    ending, packed = _named(place) if copy is None else _told_by(copy)
    packed = next((told for mark, told in PACKED.items() if held.startswith(mark)), packed)
    options = {"compression": COMPRESSIONS[packed]} if packed else {}
    for each in FORMATS.values():
        if ending in each.endings:
            if each.name == "JSON" and held and _is_list(place, options.get("compression", "")):
                options["newline_delimited"] = "false"
            return each.name, {**each.endings[ending], **options}
    return "", {}


def to_write(location: str, named: str, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the format in which files are to be written, and its options.

    Args:
        location: Where to, whose ending says what is not said.
        named: The format, if it is said.
        given: The options that are.

    Raises:
        SourceError: It is none that is written.
    """
    ending, packed = _named(location)
    found = format_named(named or ending)
    if found is None or not FORMATS[found[0]].is_written:
        written = ", ".join(each for each in sorted(FORMATS) if FORMATS[each].is_written)
        what = f"{named} is not written" if named else f"{location!r} does not say its format"
        raise SourceError(f"COPY TO: {what}: write (FORMAT ...), one of {written}")
    kind, needed = found[0], dict(found[1])
    if not named or named.upper() == kind:
        needed |= FORMATS[kind].endings.get(ending, {})
    if packed and kind in {"CSV", "JSON"}:
        needed["compression"] = COMPRESSIONS[packed]
    options = {**needed, **given}
    if kind == "PARQUET" and "compression" in options:
        packed = options["compression"].lower()
        options["compression"] = _LEVELS.get(packed, packed)
    return kind, options


def _named(name: str) -> tuple[str, str]:
    """Return how a file's name ends, but for what says how it is compressed, and this."""
    stem, _, ending = name.rstrip("/").lower().rpartition(".")
    packed = ending if ending in COMPRESSIONS else ""
    return (stem.rpartition(".")[2] if packed else ending if stem else ""), packed


def _told_by(copy: Copy) -> tuple[str, str]:
    """Return what :func:`_named` does of a file of the web: by its URLs, then by its server."""
    if copy.media_type in _PAGES:
        return "", ""
    for url in (copy.url, copy.at):
        ending, packed = _named(name_of(url))
        if any(ending in each.endings for each in FORMATS.values()):
            return ending, packed
    return MEDIA_TYPES.get(copy.media_type, ""), ""


def _is_list(path: str, packed: str) -> bool:
    """Return whether a file of JSON, compressed or not, begins as a list of objects does."""
    opened = OPENS.get(packed)
    try:
        if opened is None:
            return False
        with opened(path) as file:
            return bool(file.read(_LOOKED_AT_BYTES).lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"["))
    except (OSError, EOFError, zlib.error, lzma.LZMAError):  # whoever reads it says what is wrong
        return False


def _first(location: str) -> str | None:
    return next(iglob(location, recursive=True), None)  # noqa: PTH207 - an absolute pattern


def _first_bytes(path: str) -> bytes:
    try:
        if not Path(path).is_file():  # a pipe waits for whoever writes
            return b""
        with Path(path).open("rb") as file:
            return file.read(_LOOKED_AT_BYTES)
    except OSError:  # whoever reads it says what is wrong
        return b""
