"""What is wrong with how a schema keeps tables: its structure, and indexes that say otherwise.

Rules:
    - The structure is what affidavit declares: what PostgreSQL says of it is compared with what it
      would say of a new one. A view, a trigger, a rule, a row policy is somebody else's.
    - An index that gives the same rows as its table may be read in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.postgres.keys import short_name
from affidavit.catalog.store.postgres.rendering import TYPES, ids_of, index_text
from affidavit.catalog.store.postgres.schema import OWN_TABLES
from affidavit.catalog.store.protocol import ROWID, TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from affidavit.catalog.store.protocol import StoreTable

    Execute = Callable[[str], Any]

_RELATIONS: Final = """
    SELECT c.relname, c.relkind::text, coalesce(t.relname, ''),
           c.relrowsecurity OR c.relhasrules OR c.relhastriggers OR c.relispartition
      FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
      LEFT JOIN pg_class t ON t.oid = i.indrelid
     WHERE c.relnamespace = current_schema()::regnamespace"""
_COLUMNS: Final = """
    SELECT attname, format_type(atttypid, atttypmod), attgenerated::text
      FROM pg_attribute WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped"""
_INDEXES: Final = """
    SELECT c.relname, replace(pg_get_indexdef(c.oid),
           ' ON ' || quote_ident(current_schema()) || '.', ' ON '), i.indisvalid
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = {}::regclass"""
_SUM: Final = "count(*), bit_xor(hashtextextended(ctid::text, 0))"
_ROWS: Final = re.compile("data_[0-9a-f]+")
_SPACES: Final = re.compile(r'[\s"]+')


def faults(execute: Execute, tables: Iterable[StoreTable], *, reads: bool) -> Iterator[str]:
    """Yield what is wrong with ``tables``, in words, and with whatever else is in the schema.

    ``reads`` has their rows compared with their indexes.
    """
    wanted = {table.name: table for table in tables}
    own = {*wanted, *(ids_of(each) for each in wanted.values()), *OWN_TABLES}
    there = set()
    for name, kind, of, has_more in execute(_RELATIONS).fetchall():
        there.add(name)
        if has_more:
            yield f"{name} has a trigger, a rule or a policy that does not belong there"
        if kind != "i" and name not in own and not _is_of_rows(kind, name):
            yield f"the {_word(kind)} {name} does not belong there"
        elif kind == "i" and of not in own and not _ROWS.match(of):
            yield f"the index {name} does not belong there"
    for name, table in sorted(wanted.items()):
        if name not in there:
            yield f"{name} is missing"
            continue
        yield from _of_columns(execute, table)
        yield from _of_indexes(execute, table)
        if reads:
            yield from _of_rows(execute, table)


def _is_of_rows(kind: str, name: str) -> bool:
    """Whether something is another tenant's table, which is not checked here, or its sequence."""
    return kind in {"r", "S"} and _ROWS.match(name) is not None


def _word(kind: str) -> str:
    return {"r": "table", "S": "sequence", "v": "view", "m": "view"}.get(kind, "relation")


def _regclass(table: StoreTable) -> str:
    return quoted_text(quoted(table.name))


def _of_columns(execute: Execute, table: StoreTable) -> Iterator[str]:
    found = execute(_COLUMNS.format(_regclass(table))).fetchall()
    wanted = {ROWID: "bigint", TENANT: "bytea"}
    wanted |= {column.name: TYPES[column.kind] for column in table.columns}
    if {name: kind for name, kind, generated in found if not generated} != wanted:
        yield f"the columns of {table.name} are not those that belong there"


def _of_indexes(execute: Execute, table: StoreTable) -> Iterator[str]:
    wanted = {short_name(index.name): index for index in table.indexes}
    for name, text, is_valid in execute(_INDEXES.format(_regclass(table))).fetchall():
        if name == short_name(f"{table.name}_pkey"):
            continue
        index = wanted.pop(name, None)
        if index is None:
            yield f"the index {name} does not belong there"
        elif not is_valid or _plain(text) != _plain(index_text(table, index)):
            yield f"the index {name} is not the one that belongs there"
    for name in sorted(wanted):
        yield f"the index {name} is missing"


def _plain(text: str) -> str:
    """Return the declaration of an index, however it is written."""
    return _SPACES.sub("", text).replace("USINGbtree", "", 1)


def _of_rows(execute: Execute, table: StoreTable) -> Iterator[str]:
    """Compare what each index leads to with what stands in the table."""
    text = f"SELECT {{}} FROM (SELECT ctid FROM {quoted(table.name)}{{}}) found"
    for index in table.indexes:
        keys = index_text(table, index).partition(f" ON {quoted(table.name)} ")[2]
        order = f" ORDER BY {keys.removeprefix('(').removesuffix(')')}"
        found = []
        for by_index in (False, True):
            _steer(execute, by_index=by_index)
            found.append(execute(text.format(_SUM, order if by_index else "")).fetchone())
        _steer(execute, by_index=False)
        if found[0] != found[1]:
            yield f"{table.name}: the index {index.name} does not lead to every row"


def _steer(execute: Execute, *, by_index: bool) -> None:
    """Have rows be found by an index in its order, or as they stand in the table."""
    for name in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
        execute(f"SET LOCAL {name} = {'off' if by_index else 'on'}")
    execute(f"SET LOCAL enable_indexscan = {'on' if by_index else 'off'}")
