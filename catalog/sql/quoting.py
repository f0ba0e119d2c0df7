"""Names and values as SQL text: the one place that escapes for the engine, the stores and Lance.

Rules:
    - A text stands in single quotes, and a single quote in it is doubled; a backslash is itself. So
      read DataFusion, SQLite and Lance, and so PostgreSQL, DuckDB and MariaDB as they are opened.
    - A name stands in double quotes for DataFusion and SQLite, in backticks for Lance: there, what
      double quotes enclose is a text, and a filter of it compares a word with every row.
    - Lance finds no column that has a backtick in its name, however it is written.

Other databases name things by rules of their own, which their dialects know.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """Return ``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def lance_name(name: str, *, bare: bool = False) -> str:
    """Return ``name`` as a column in a filter of Lance's.

    ``bare`` leaves the quotes out where the name reads the same without them.
    """
    if bare and name.isidentifier() and name.islower():
        return name
    return "`" + name.replace("`", "``") + "`"


def lance_in(column: str, keys: Iterable[object], *, bare: bool = False) -> str:
    """Return a filter of Lance's for rows whose key, a text or a whole number, is among ``keys``.

    ``bare`` is as in :func:`lance_name`.
    """
    literals = (quoted_text(key) if isinstance(key, str) else str(key) for key in keys)
    return f"{lance_name(column, bare=bare)} IN ({', '.join(literals)})"
