"""DuckDB's types, as it writes them, and what Arrow makes of them.

Rules:
    - Every type is given. What Arrow lacks, or the driver does not give whole, is cast to text
      there, also within lists, structs and maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sources.databases.table import SourceColumn
from affidavit.catalog.sql.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sources.databases.dialect import Dialect

_TYPES: Final = {
    "BOOLEAN": pa.bool_(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(),
    "BIGINT": pa.int64(), "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(), "BLOB": pa.binary(), "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "TIMESTAMP_NS": pa.timestamp("ns"), "TIME": pa.time64("us"),
}  # fmt: skip
STEPS_US: Final = {"TIMESTAMP_S": 1_000_000, "TIMESTAMP_MS": 1_000}
"""How fine the moments are of which those at infinity would be no infinity in microseconds."""

_WHOLE: Final = pa.decimal128(38, 0)
_HUGE: Final = frozenset({"HUGEINT", "UHUGEINT"})


@dataclass(frozen=True, slots=True)
class _Read:
    """How a type is read.

    Attributes:
        type: The type that is given.
        cast: What a value is cast to there, if it must be.
    """

    type: pa.DataType
    cast: str


def column_of(name: str, declared: str, dialect: Dialect) -> SourceColumn:
    """Return a column of a type."""
    shown = dialect.quoted(name)
    text = f"CAST({shown} AS VARCHAR)"
    if declared in _HUGE:  # as numbers the driver gives floats of them
        return SourceColumn(name, _WHOLE, declared, text)
    if declared == "UUID":
        return SourceColumn(name, pa.string(), declared, text, compared=pa.uuid(), cast=declared)
    if declared.startswith("ENUM(") and declared.endswith(")"):
        words = pa.dictionary(pa.int32(), pa.string())
        return SourceColumn(name, pa.string(), declared, text, compared=words, cast=declared)
    read = _read(declared)
    if read.type == pa.string() and declared != "VARCHAR":
        return SourceColumn(name, pa.string(), declared, text, compares=False, cast=declared)
    expression = "" if read.cast == declared else f"CAST({shown} AS {read.cast})"
    exact = declared not in STEPS_US
    return SourceColumn(name, read.type, declared, expression, compares=exact)


def _read(declared: str) -> _Read:
    if declared.endswith("]"):
        return _read_list(declared)
    if declared.startswith("STRUCT("):
        parts = [_named(each) for each in _parts(declared)]
        fields = [(name, _read(kind)) for name, kind in parts]
        inner = ", ".join(f"{quoted(name)} {each.cast}" for name, each in fields)
        kind = pa.struct([pa.field(name, each.type) for name, each in fields])
        plain = all(each.cast == of for (_, each), (_, of) in zip(fields, parts, strict=True))
        return _Read(kind, declared if plain else f"STRUCT({inner})")
    if declared.startswith("MAP("):
        key, item = (_read(each) for each in _parts(declared))
        return _Read(pa.map_(key.type, item.type), f"MAP({key.cast}, {item.cast})")
    if declared.startswith("DECIMAL("):
        digits, scale = _parts(declared)
        return _Read(pa.decimal128(int(digits), int(scale)), declared)
    if declared in STEPS_US:
        return _Read(pa.timestamp("us"), "TIMESTAMP")
    known = _TYPES.get(declared)
    return _Read(pa.string(), "VARCHAR") if known is None else _Read(known, declared)


def _read_list(declared: str) -> _Read:
    at = declared.rindex("[")
    inner, size = _read(declared[:at]), declared[at + 1 : -1]
    kind = pa.list_(inner.type, int(size)) if size else pa.list_(inner.type)
    return _Read(kind, f"{inner.cast}{declared[at:]}")


def _parts(declared: str) -> list[str]:
    """Return what stands between the brackets of a type, cut at its commas."""
    inside = declared[declared.index("(") + 1 : -1]
    cuts = [-1, *_commas(inside), len(inside)]
    return [inside[a + 1 : b].strip() for a, b in pairwise(cuts)]


def _commas(text: str) -> Iterator[int]:
    depth, quote = 0, ""
    for at, each in enumerate(text):
        if quote:
            quote = "" if each == quote else quote
        elif each in "\"'":
            quote = each
        elif each in "()[]":
            depth += 1 if each in "([" else -1
        elif each == "," and not depth:
            yield at


def _named(part: str) -> tuple[str, str]:
    """Return the name and type of a struct's field."""
    if not part.startswith('"'):
        name, _, kind = part.partition(" ")
        return name, kind
    end = 1
    while part[end] != '"' or part[end + 1 : end + 2] == '"':
        end += 2 if part[end] == '"' else 1
    return part[1:end].replace('""', '"'), part[end + 1 :].strip()
