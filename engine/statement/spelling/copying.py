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
    parts: list[str] = field(default_factory=list)

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
            found.options[OPTIONS[name]] = _TRUTHS[value.upper()] if name == "HEADER" else value
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


def quoted_literal(cursor: Cursor, what: str) -> str:
    """Move past a text in quotes, and return it."""
    token = cursor.token
    if token is None or token.text[0] != "'":
        raise SqlError(f"expected {what}, found {cursor.found()}")
    cursor.skip()
    return token.text[1:-1].replace("''", "'")


def _value(cursor: Cursor) -> str:
    token = cursor.token
    if token is None or token.kind not in {"string", "word", "quoted", "number"}:
        raise SqlError(f"expected an option's value, found {cursor.found()}")
    cursor.skip()
    is_text = token.kind in {"string", "quoted"}
    return token.text[1:-1].replace("''", "'") if is_text else token.text


def _names(cursor: Cursor) -> list[str]:
    is_one = not cursor.accept("(")
    names = [cursor.name("a column")]
    while not is_one and cursor.accept(","):
        names.append(cursor.name("a column"))
    if not is_one:
        cursor.expect(")")
    for name in names:
        if not name.isidentifier():  # DataFusion 54.1 takes quotes for a part of the name
            raise SqlError(f"PARTITION_BY takes plain names, got {name!r}: rename it in a query")
    return names
