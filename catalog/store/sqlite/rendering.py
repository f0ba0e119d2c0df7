"""What SQLite is told, as text: pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from affidavit.catalog.sql import predicate as p
from affidavit.catalog.sql.pushdown import bound_values
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.protocol import ROWID, TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreIndex, StoreTable
    from affidavit.catalog.values.types import StoreValue


# --- what is asked for ---------------------------------------------------------------------------


def render(predicate: Predicate) -> str:
    """Return an encoded predicate as SQL with ``?`` for each of its bound values."""
    match predicate:
        case p.And(operands) | p.Or(operands):
            word = " AND " if isinstance(predicate, p.And) else " OR "
            return "(" + word.join(map(render, operands)) + ")"
        case p.Not(operand):
            return f"(NOT {render(operand)})"
        case p.Compare(op, column, _):
            return f"{quoted(column)} {op} ?"
        case p.CompareColumns(op, left, right):
            return f"{quoted(left)} {op} {quoted(right)}"
        case p.IsNull(column):
            return f"{quoted(column)} IS NULL"
        case p.IsTrue(column):
            return quoted(column)
        case p.Constant(value):
            return "NULL" if value is None else str(int(value))
        case p.In(column, values, has_null):
            places = ["?"] * len(values) + ["NULL"] * has_null
            return f"{quoted(column)} IN ({', '.join(places)})"


def where_of(tenants: tuple[str, ...], where: Predicate | None) -> tuple[str, list[StoreValue]]:
    """Return the WHERE clause for those rows of ``tenants`` that match, and what it binds."""
    clause = _of_tenants(tenants)
    if where is None:
        return clause, []
    parts = where.operands if isinstance(where, p.And) else (where,)
    compared = [(each.op, each.column, each.value) for each in parts if type(each) is p.Compare]
    if len(compared) == len(parts):  # as most are, again and again
        shape = tuple([(op, column) for op, column, _ in compared])
        return clause + _of_comparisons(shape), [value for _, _, value in compared]  # type: ignore[misc]  # an encoded predicate holds store values
    return f"{clause} AND {render(where)}", list(bound_values(where))


@lru_cache(maxsize=1024)
def _of_comparisons(shape: tuple[tuple[str, str], ...]) -> str:
    return "".join(f" AND {quoted(column)} {op} ?" for op, column in shape)


@lru_cache(maxsize=1024)
def _of_tenants(tenants: tuple[str, ...]) -> str:
    return f" WHERE {TENANT} IN ({', '.join(map(quoted_text, tenants))})"


@lru_cache(maxsize=1024)
def listed(columns: tuple[str, ...]) -> str:
    """Return columns as a SELECT lists them."""
    return ", ".join(map(quoted, columns)) or "1"


# --- what is written -----------------------------------------------------------------------------


def insert_text(table: StoreTable, columns: Sequence[str], tenant: str) -> str:
    """Return the statement that inserts a row of ``tenant``, and binds each of its values."""
    return _insert_text(table.name, tuple(columns), tenant)


@lru_cache(maxsize=1024)
def _insert_text(table: str, columns: tuple[str, ...], tenant: str) -> str:
    names = ", ".join([TENANT, *map(quoted, columns)])
    places = ", ".join([quoted_text(tenant), *["?"] * len(columns)])
    return f"INSERT INTO {quoted(table)} ({names}) VALUES ({places})"


@lru_cache(maxsize=1024)
def sets_text(table: str, columns: tuple[str, ...]) -> str:
    """Return the beginning of a statement that sets columns of a table, and binds their values."""
    sets = ", ".join(f"{quoted(name)} = ?" for name in columns)
    return f"UPDATE {quoted(table)} SET {sets}"


@lru_cache(maxsize=1024)
def increment_text(table: str, columns: tuple[str, ...]) -> str:
    """Return a statement that adds to columns, with a place for its condition."""
    names = [quoted(name).replace("%", "%%") for name in columns]
    sets = ", ".join(f"{name} = {name} + ?" for name in names)
    return f"UPDATE {quoted(table).replace('%', '%%')} SET {sets}%s RETURNING {', '.join(names)}"


def update_text(table: StoreTable, columns: Sequence[str], tenant: str) -> str:
    """Return the statement that sets ``columns`` of one row of ``tenant``, by its identity."""
    sets = ", ".join(f"{quoted(name)} = ?" for name in columns)
    return f"UPDATE {quoted(table.name)} SET {sets} WHERE {_one_of(tenant)}"


def delete_text(table: StoreTable, tenant: str) -> str:
    """Return the statement that deletes one row of ``tenant``, by its identity."""
    return f"DELETE FROM {quoted(table.name)} WHERE {_one_of(tenant)}"


def delete_range_text(table: StoreTable, tenant: str) -> str:
    """Return the statement that deletes the rows of ``tenant`` from one identity up to another.

    By an index it would look at every row that the tenant has.
    """
    return (
        f"DELETE FROM {quoted(table.name)} NOT INDEXED"
        f" WHERE {ROWID} >= ? AND {ROWID} < ? AND {TENANT} = {quoted_text(tenant)}"
    )


def _one_of(tenant: str) -> str:
    return f"{ROWID} = ? AND {TENANT} = {quoted_text(tenant)}"


# --- what there is -------------------------------------------------------------------------------


def table_texts(table: StoreTable) -> Iterator[str]:
    """Yield the statements that create ``table``, and then its indexes."""
    columns = [f"{ROWID} INTEGER PRIMARY KEY", f"{TENANT} TEXT NOT NULL"]
    # no declared type: SQLite would convert on write what looks like another type
    columns += [quoted(column.name) for column in table.columns]
    yield f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)})"
    for index in table.indexes:
        yield index_text(table, index)


def index_text(table: StoreTable, index: StoreIndex) -> str:
    """Return the statement that creates ``index``."""
    unique = "UNIQUE " if index.unique else ""
    columns = ", ".join(map(quoted, index.columns))
    return f"CREATE {unique}INDEX {quoted(index.name)} ON {quoted(table.name)} ({columns})"
