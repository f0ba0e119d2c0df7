"""COPY: its options in brackets, as PostgreSQL and DuckDB write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted_text
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor

OPTIONS: Final[Mapping[str, str]] = {
    "HEADER": "has_header", "DELIMITER": "delimiter", "DELIM": "delimiter", "SEP": "delimiter",
    "QUOTE": "quote", "ESCAPE": "escape", "NULL": "null_value", "NULLSTR": "null_value",
    "COMPRESSION": "compression", "DATEFORMAT": "date_format",
    "TIMESTAMPFORMAT": "timestamp_format",
}  # fmt: skip
"""What an option is called by DataFusion, after ``format.``."""

_CHARACTERS: Final = frozenset({"delimiter", "quote", "escape"})
_TRUTHS: Final = {"TRUE": "true", "ON": "true", "1": "true", "FALSE": "false", "OFF": "false",
                  "0": "false"}  # fmt: skip


@dataclass(slots=True)
class CopyOptions:
    """What the brackets of a COPY say.

    Attributes:
        format: The files' format, in capitals; empty if it is told by their names.
        options: The format's options, as DataFusion calls them.
        parts: The columns that make folders.
    """

    format: str = ""
    options: dict[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The clauses that say the same behind COPY ... TO 'path'."""
        clauses = [f"STORED AS {self.format}"] if self.format else []
        if self.parts:
            clauses.append(f"PARTITIONED BY ({', '.join(self.parts)})")
        if self.options:
            told = (f"'format.{name}' {quoted_text(each)}" for name, each in self.options.items())
            clauses.append(f"OPTIONS ({', '.join(told)})")
        return " ".join(clauses)


def parse_options(cursor: Cursor) -> CopyOptions:
    """Move past ``[WITH] (FORMAT csv, HEADER, DELIMITER ';', ...)``.

    Raises:
        SqlError: An option is not known.
    """
    found = CopyOptions()
    cursor.accept("WITH")
    cursor.expect("(")
    while True:
        name = cursor.name("an option").upper()
        if name == "FORMAT":
            found.format = _value(cursor).upper()
        elif name in {"PARTITION_BY", "PARTITIONED_BY"}:
            found.parts = _names(cursor)
        elif name in OPTIONS:
            is_alone = name == "HEADER" and cursor.peek() in {",", ")"}
            value = "true" if is_alone else _value(cursor)
            found.options[OPTIONS[name]] = _meant(name, value)
        else:
            known = ", ".join(("FORMAT", *OPTIONS, "PARTITION_BY"))
            raise SqlError(f"COPY has no option {name}: it has {known}")
        if not cursor.accept(","):
            break
    cursor.expect(")")
    return found


def parse_settings(cursor: Cursor) -> dict[str, str]:
    """Move past ``option value, ...)``, and return each value by its option in small letters."""
    found = {}
    while True:
        name = cursor.name("an option").lower()
        cursor.accept("=")
        found[name] = "true" if cursor.peek() in {",", ")"} else _value(cursor)
        if not cursor.accept(","):
            break
    cursor.expect(")")
    return found


def _value(cursor: Cursor) -> str:
    token = cursor.token
    if token is None or token.kind not in {"string", "word", "quoted", "number"}:
        raise SqlError(f"expected an option's value, found {cursor.found()}")
    cursor.skip()
    is_text = token.kind in {"string", "quoted"}
    return token.text[1:-1].replace("''", "'") if is_text else token.text


def _meant(name: str, value: str) -> str:
    if name == "HEADER":
        return _truth(value)
    if OPTIONS[name] not in _CHARACTERS:
        return value
    told = "\t" if value == "\\t" else value
    if len(told) != 1 or not told.isascii():
        raise SqlError(f"{name} is one character of ASCII, got {value!r}")
    return told


def _truth(value: str) -> str:
    if value.upper() not in _TRUTHS:
        raise SqlError(f"HEADER is true or false, got {value}")
    return _TRUTHS[value.upper()]


def _names(cursor: Cursor) -> tuple[str, ...]:
    what = "a column"
    names = cursor.names(what) if cursor.peek() == "(" else (cursor.name(what),)
    for name in names:
        if not name.isidentifier():  # DataFusion 54.1 takes quotes for a part of the name
            raise SqlError(f"PARTITION_BY takes plain names, got {name!r}: rename it in a query")
    return names
