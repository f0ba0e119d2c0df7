"""What format files have that were given without one: by what they hold, then by their names."""

from __future__ import annotations

from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.location import is_remote
from affidavit.catalog.sources.files.formats import FORMATS
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPRESSIONS: Final[Mapping[str, str]] = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}
"""How a compressed file ends, and what DataFusion calls that."""

BEGINNINGS: Final[Mapping[bytes, str]] = {
    b"PAR1": "PARQUET", b"ARROW1": "ARROW", b"Obj\x01": "AVRO",
}  # fmt: skip
"""How files begin that say what they are."""

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


def check_there(location: str) -> None:
    """Raise SourceError if there is nothing at a local path, or of that pattern."""
    if not is_remote(location) and _first(location) is None:
        is_pattern = any(each in location for each in "*?[")
        what = "no file is called" if is_pattern else "there is no file or folder"
        raise SourceError(f"{what} {location!r}")


def guessed(location: str) -> tuple[str, dict[str, str]]:
    """Return the format of files, empty if nobody can tell, and the options that they need."""
    held = b""
    if not is_remote(location):
        for each in FORMATS.values():
            if each.detect(location):
                return each.name, {}
        held = _first_bytes(_first(location) or location)
        for beginning, kind in BEGINNINGS.items():
            if held.startswith(beginning):
                return kind, {}
    name, options = location.rstrip("/"), {}
    stem, dot, ending = name.rpartition(".")
    if dot and ending.lower() in COMPRESSIONS:
        options["compression"] = COMPRESSIONS[ending.lower()]
        ending = stem.rpartition(".")[2]
    for each in FORMATS.values():
        if ending.lower() in each.endings:
            if each.name == "JSON" and held.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"["):
                options["newline_delimited"] = "false"
            return each.name, {**each.endings[ending.lower()], **options}
    return "", {}


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
