"""Types as they are written, and as DataFusion reads them.

Rules:
    - What DataFusion drops of a type, as the length of a text, is kept here; what it does not know
      is written as one that it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.grammar import skip_group, skip_type
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor

TEXT: Final = "VARCHAR"
_TEXTS: Final = re.compile(
    r"(?:VARCHAR|CHAR|CHARACTER|NVARCHAR|NCHAR|BPCHAR|TEXT|STRING|CHAR(?:ACTER)? VARYING)"
    r"\s*\(\s*(\d+)\s*\)",
    re.IGNORECASE,
)
LENGTH_MAX: Final = 1_000_000_000

SERIALS: Final[Mapping[str, str]] = {
    "SERIAL": "INT", "SERIAL4": "INT", "BIGSERIAL": "BIGINT", "SERIAL8": "BIGINT",
    "SMALLSERIAL": "SMALLINT", "SERIAL2": "SMALLINT",
}  # fmt: skip
"""Numbered columns, by how they are called, and what they are."""

PLAIN: Final[Mapping[str, str]] = {
    "BLOB": "BYTEA", "BYTES": "BYTEA", "VARBINARY": "BYTEA", "BINARY": "BYTEA",
    "HUGEINT": "DECIMAL(38, 0)",
    "INT1": "TINYINT", "SHORT": "SMALLINT", "MEDIUMINT": "INT", "SIGNED": "INT", "LONG": "BIGINT",
    "INT64": "BIGINT", "UTINYINT": "TINYINT UNSIGNED", "USMALLINT": "SMALLINT UNSIGNED",
    "UINTEGER": "INT UNSIGNED", "UBIGINT": "BIGINT UNSIGNED", "FLOAT64": "DOUBLE",
    "LOGICAL": "BOOLEAN", "CLOB": "VARCHAR", "TINYTEXT": "VARCHAR", "MEDIUMTEXT": "VARCHAR",
    "LONGTEXT": "VARCHAR", "DATETIME": "TIMESTAMP(6)", "TIMESTAMP_S": "TIMESTAMP(0)",
    "TIMESTAMP_MS": "TIMESTAMP(3)", "TIMESTAMP_US": "TIMESTAMP(6)", "TIMESTAMP_NS": "TIMESTAMP(9)",
}  # fmt: skip
"""Types by other names than DataFusion's."""

MICROSECONDS: Final[Mapping[str, str]] = {
    "TIMESTAMP": "TIMESTAMP(6)", "TIMESTAMPTZ": "TIMESTAMP(6) WITH TIME ZONE",
}  # fmt: skip
"""Types of moments without a precision: microseconds, as other databases have them."""

_MOMENT: Final = re.compile(r"TIMESTAMP(?:TZ)?\b(?!\s*\()", re.IGNORECASE)
_KINDS: Final[Mapping[str, str]] = {"UUID": "uuid", "JSON": "json"}
"""Types that are texts of a kind."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        sql: As DataFusion reads it; empty where a query says it.
        length: How many characters its texts may have.
        kind: What its texts are: ``uuid``, ``json``, or the values of an enum.
        is_serial: Whether its rows are numbered.
        entries: The types of a map's keys and values, which DataFusion has no word for; ``sql`` is
            then some other type.
    """

    sql: str = ""
    length: int | None = None
    kind: str | tuple[str, ...] | None = None
    is_serial: bool = False
    entries: tuple[str, str] | None = None


UNTYPED: Final = ColumnType()
"""The type of a column that a query gives its type."""


def parse_type(cursor: Cursor) -> ColumnType:
    """Move past a column's type."""
    word = cursor.peek()
    if word == "ENUM":
        return ColumnType(TEXT, kind=_enum(cursor))
    start = cursor.at
    if word in PLAIN:
        cursor.skip()
        if cursor.peek() == "(":
            skip_group(cursor)
        found = ColumnType(PLAIN[word])
    elif word in _KINDS:
        cursor.skip()
        found = ColumnType(TEXT, kind=_KINDS[word])
    elif word in SERIALS:
        cursor.skip()
        return ColumnType(SERIALS[word], is_serial=True)
    elif word == "MAP" and cursor.peek(1) == "(":
        return _map(cursor)
    elif word in {"STRUCT", "ROW"} and cursor.peek(1) == "(":
        found = ColumnType(_struct(cursor))
    else:
        skip_type(cursor)
        return _text(cursor.between(start, cursor.at))
    if cursor.peek() == "[":
        if found.kind is not None:
            raise SqlError(f"a list of {word} is not supported: write VARCHAR[]")
        first = cursor.at
        while cursor.peek() == "[":
            skip_group(cursor)
        found = ColumnType(found.sql + cursor.between(first, cursor.at))
    return found


def _text(sql: str) -> ColumnType:
    moment = _MOMENT.match(sql)
    if moment is not None:
        sql = MICROSECONDS[moment[0].upper()] + sql[moment.end() :]
    sized = _TEXTS.fullmatch(sql)
    if sized is None:
        return ColumnType(sql)
    length = int(sized[1])
    if not 1 <= length <= LENGTH_MAX:
        raise SqlError(f"{sql} can hold no text: write a length from 1 to {LENGTH_MAX:,}")
    return ColumnType(TEXT, length)


def _enum(cursor: Cursor) -> tuple[str, ...]:
    cursor.expect("ENUM")
    cursor.expect("(")
    values = [cursor.literal("a value in quotes")]
    while cursor.accept(","):
        values.append(cursor.literal("a value in quotes"))
    cursor.expect(")")
    if len(set(values)) != len(values):
        raise SqlError("an ENUM has each of its values once")
    return tuple(values)


def _map(cursor: Cursor) -> ColumnType:
    """Move past ``MAP(type, type)``."""
    cursor.expect("MAP")
    cursor.expect("(")
    key = parse_type(cursor)
    cursor.expect(",")
    value = parse_type(cursor)
    cursor.expect(")")
    for each in (key, value):
        plain = ColumnType(each.sql)
        if each != plain:
            raise SqlError("the keys and values of a MAP have plain types: VARCHAR, INT and so on")
    return ColumnType("INT", entries=(key.sql, value.sql))


def _struct(cursor: Cursor) -> str:
    """Move past ``STRUCT(name type, ...)``, or ROW, and return it as DataFusion writes it."""
    cursor.skip()
    cursor.expect("(")
    fields = [_member(cursor)]
    while cursor.accept(","):
        fields.append(_member(cursor))
    cursor.expect(")")
    return f"STRUCT<{', '.join(fields)}>"


def _member(cursor: Cursor) -> str:
    start = cursor.at
    name = cursor.name("a field")
    written = cursor.between(start, cursor.at)
    found = parse_type(cursor)
    if found != ColumnType(found.sql):
        raise SqlError(f"the field {name!r} of a STRUCT has a plain type: VARCHAR, INT and so on")
    return f"{written} {found.sql}"
