"""The statements that ask for rows by a whole key, and for nothing else: read without a plan.

``SELECT a, b FROM t WHERE id = $id`` means one row of one table, whoever reads it. What is not
written in just that way is not here, and planned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.names import MAIN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEXT_LENGTH_MAX: Final = 1_000

NAME: Final = r'(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"]|"")+")'
_VALUE: Final = r"(?:\$[A-Za-z0-9_]+|-?\d{1,18}|'[^']*')"
_EQUAL: Final = rf"{NAME}\s*=\s*{_VALUE}"
_SHAPE: Final = re.compile(
    rf"\s*SELECT\s+(?P<columns>\*|{NAME}(?:\s*,\s*{NAME})*)\s+FROM\s+(?:(?P<schema>{NAME})\.)?"
    rf"(?P<table>{NAME})\s+WHERE\s+(?P<key>{_EQUAL}(?:\s+AND\s+{_EQUAL})*)\s*;?\s*",
    re.IGNORECASE | re.ASCII,
)
_WHERE: Final = re.compile(
    rf"\s*WHERE\s*\(\s*(?P<key>{_EQUAL}(?:\s+AND\s+{_EQUAL})*)\s*\)\s*", re.IGNORECASE | re.ASCII
)
_PART: Final = re.compile(rf"({NAME})\s*=\s*({_VALUE})", re.ASCII)
_WORDS: Final = frozenset(
    {
        "ALL", "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "CROSS", "CURRENT_CATALOG",
        "CURRENT_DATE", "CURRENT_SCHEMA", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER",
        "DEFAULT", "DESC", "DISTINCT", "ELSE", "END", "EXCEPT", "EXISTS", "FALSE", "FETCH", "FROM",
        "FULL", "GROUP", "HAVING", "IN", "INNER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN",
        "LATERAL", "LEFT", "LIKE", "LIMIT", "LOCALTIME", "LOCALTIMESTAMP", "NATURAL", "NOT", "NULL",
        "OFFSET", "ON", "OR", "ORDER", "OUTER", "QUALIFY", "RIGHT", "SELECT", "SESSION_USER",
        "TABLE", "THEN", "TOP", "TRUE", "UNION", "UNNEST", "USER", "USING", "VALUES", "WHEN",
        "WHERE", "WINDOW", "WITH",
    }
)  # fmt: skip
"""Words that are no column's name unless they stand in quotes."""


@dataclass(frozen=True, slots=True)
class KeyedRead:
    """A read by a key.

    Attributes:
        schema: The schema of the table.
        table: The table.
        columns: The columns that are asked for, in their order; none for all of them.
        key: What each column of the key is: a number or text, or the name of a parameter.
    """

    schema: str
    table: str
    columns: tuple[str, ...]
    key: Mapping[str, int | str | Parameter]


class Parameter(str):
    """The name of a parameter."""

    __slots__ = ()


@lru_cache(maxsize=1024)
def keyed_read(text: str) -> KeyedRead | None:
    """Return what a statement reads by a key; ``None`` if it may be another one."""
    found = _SHAPE.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if found is None:
        return None
    asked, key = found["columns"], _key(found["key"])
    listed = [] if asked == "*" else re.findall(NAME, asked, re.ASCII)
    schema = found["schema"] or MAIN_SCHEMA
    if not are_names([schema, found["table"], *listed]) or key is None:
        return None
    columns = tuple(map(normalized, listed))
    if len(set(columns)) < len(columns):
        return None
    return KeyedRead(normalized(schema), normalized(found["table"]), columns, key)


@lru_cache(maxsize=1024)
def keyed_where(rest: str) -> Mapping[str, int | str | Parameter] | None:
    """Return the key that the end of an UPDATE or DELETE names; ``None`` if it is another end."""
    found = _WHERE.fullmatch(rest) if len(rest) <= TEXT_LENGTH_MAX else None
    return None if found is None else _key(found["key"])


def _key(text: str) -> dict[str, int | str | Parameter] | None:
    parts = _PART.findall(text)
    key = {normalized(name): _value(value) for name, value in parts}
    return key if len(key) == len(parts) and are_names([name for name, _ in parts]) else None


def are_names(names: Sequence[str]) -> bool:
    """Return whether each of them is a column's or table's name where it stands."""
    return _WORDS.isdisjoint(name.upper() for name in names)


def normalized(name: str) -> str:
    """Return what a written name means."""
    return str(tokenize(name)[0].name)


def _value(written: str) -> int | str | Parameter:
    if written.startswith("$"):
        return Parameter(written[1:])
    return written[1:-1] if written.startswith("'") else int(written)


def is_unicode(text: str) -> bool:
    """Return whether a text is one of Unicode's: Python's may have halves of characters."""
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)
