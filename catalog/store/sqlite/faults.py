"""What is wrong with how a SQLite file keeps tables: its structure, and indexes that say otherwise.

Rules:
    - The structure is what affidavit declares, word for word: a view, a trigger, a partial index, a
      generated column or a table without identities is somebody else's.
    - An index that agrees with its table in every row, which SQLite's own check finds out, may be
      read in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID, TENANT
from affidavit.catalog.store.sqlite.rendering import table_texts
from affidavit.catalog.store.sqlite.schema import MOVED_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from sqlite3 import Cursor
    from typing import Protocol

    from affidavit.catalog.store.protocol import StoreTable

    class Execute(Protocol):
        """Runs a statement."""

        def __call__(self, sql: str) -> Cursor: ...


_SPACES: Final = re.compile(r'[\s"]+')
_COLUMN: Final = "c[0-9a-z]+"
_ROWS: Final = re.compile(
    rf"CREATETABLEdata_[0-9a-f]+\({ROWID}INTEGERPRIMARYKEY,{TENANT}TEXTNOTNULL(,{_COLUMN})*\)"
)
_INDEX: Final = re.compile(
    rf"CREATE(UNIQUE)?INDEXi_[0-9a-fA-F_]+ONdata_[0-9a-f]+\({_COLUMN}(,{_COLUMN})*\)"
)
_STATISTICS: Final = re.compile("sqlite_stat[0-9]")
"""What ANALYZE makes, and no answer follows from."""


def faults(execute: Execute, tables: Iterable[StoreTable], *, reads: bool) -> Iterator[str]:
    """Yield what is wrong with ``tables``, in words, and with whatever else stands in the file.

    ``reads`` has their rows compared with their indexes.
    """
    tables = list(tables)
    expected = {_name_of(text): _plain(text) for table in tables for text in table_texts(table)}
    names = {table.name for table in tables}
    for kind, name, of, sql in execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        if MOVED_TEXTS.get(str(name)) == sql:
            continue
        text = _plain(str(sql))
        wanted = expected.pop(name, None)
        if wanted is not None:
            if text != wanted:
                yield f"the {kind} {name} is not the one that belongs there"
        elif not _is_of_rows(str(kind), str(name), str(of), text, names):
            yield f"the {kind} {name} does not belong there"
    for name in sorted(expected):
        yield f"{name} is missing"
    for table in tables if reads else ():
        if table.name not in expected:
            for (problem,) in execute(f"PRAGMA integrity_check({quoted(table.name)})"):
                if problem != "ok":
                    yield f"{table.name}: {problem}"


def _is_of_rows(kind: str, name: str, of: str, text: str, checked: set[str]) -> bool:
    """Whether something is another tenant's table, which is not checked here, or its index."""
    if _STATISTICS.fullmatch(name):
        return True
    if kind == "index":
        return of not in checked and _INDEX.fullmatch(text) is not None
    return kind == "table" and _ROWS.fullmatch(text) is not None


def _plain(sql: str) -> str:
    text = _SPACES.sub("", sql)
    if not _ROWS.fullmatch(text):
        return text
    # a column whose type was changed has come to stand behind the others
    first, end, others = text.removesuffix(")").partition("TEXTNOTNULL")
    return f"{first}{end}{','.join(sorted(others.split(',')))})"


def _name_of(sql: str) -> str:
    """Return what a statement of ours creates: the first name in quotes."""
    return sql.split('"')[1]
