"""What PostgreSQL is told, as text: pure.

Rules:
    - Text is ``bytea``: it may hold NUL, and the order of its bytes is that of its code points.
    - NULL comes before everything, as it does in SQLite.
    - A key is an index over ``sha256(column)``, since an entry of an index holds 2.7 kB at most;
      who looks for a text or for bytes compares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql import predicate as p
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.postgres.keys import digest_of, short_name
from affidavit.catalog.store.protocol import ROWID, TENANT
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreColumn, StoreIndex, StoreTable

    Bound = list[object]
    """The values of a statement, by the numbers of their places."""

TYPES: Final = {Kind.INTEGER: "bigint", Kind.TEXT: "bytea", Kind.BLOB: "bytea"}


def column_kinds(table: StoreTable) -> dict[str, Kind]:
    """Return the kind of each of a table's columns, identity and tenant with them."""
    kinds = {column.name: column.kind for column in table.columns}
    return {**kinds, ROWID: Kind.INTEGER, TENANT: Kind.TEXT}


# --- what is asked for ---------------------------------------------------------------------------


def _place(bound: Bound, value: object) -> str:
    bound.append(value)
    return f"${len(bound)}"


def render(predicate: Predicate, kinds: Mapping[str, Kind], bound: Bound) -> str:
    """Return an encoded predicate as SQL, and add what it binds to ``bound``."""
    match predicate:
        case p.And(operands) | p.Or(operands):
            word = " AND " if isinstance(predicate, p.And) else " OR "
            return "(" + word.join(render(each, kinds, bound) for each in operands) + ")"
        case p.Not(operand):
            return f"(NOT {render(operand, kinds, bound)})"
        case p.Compare(op, column, value):
            return _compared(op, column, value, bound)
        case p.CompareColumns(op, left, right):
            return f"{quoted(left)} {op} {quoted(right)}"
        case p.IsNull(column):
            return f"{quoted(column)} IS NULL"
        case p.IsTrue(column):
            return f"{quoted(column)} <> 0"
        case p.Constant(value):
            return "NULL::boolean" if value is None else str(bool(value)).lower()
        case p.In(column, values, has_null):
            return _listed(column, values, kinds.get(column), bound, has_null=has_null)


def _compared(op: str, column: str, value: object, bound: Bound) -> str:
    if value is None:
        return "NULL::boolean"
    compared = f"{quoted(column)} {op} {_place(bound, value)}"
    if op != "=" or column == TENANT or not isinstance(value, str | bytes):
        return compared
    return f"(sha256({quoted(column)}) = {_place(bound, digest_of(value))} AND {compared})"


def _listed(
    column: str, values: Sequence[object], kind: Kind | None, bound: Bound, *, has_null: bool
) -> str:
    if not values:
        return "NULL::boolean" if has_null else "false"
    nulls = [None] * has_null
    of = "bigint" if kind is Kind.INTEGER else "bytea"
    found = f"{quoted(column)} = ANY({_place(bound, [*values, *nulls])}::{of}[])"
    if kind is Kind.INTEGER or column == TENANT:
        return found
    digests = [digest_of(each) for each in values if isinstance(each, str | bytes)]
    place = _place(bound, [*digests, *nulls])
    return f"(sha256({quoted(column)}) = ANY({place}::bytea[]) AND {found})"


def where_of(
    tenants: tuple[str, ...], where: Predicate | None, kinds: Mapping[str, Kind], bound: Bound
) -> str:
    """Return the WHERE clause for those rows of ``tenants`` that match."""
    own = ", ".join(map(_literal, tenants))
    clause = f" WHERE {TENANT} IN ({own})"
    return clause if where is None else f"{clause} AND {render(where, kinds, bound)}"


def _literal(text: str) -> str:
    return f"{quoted_text(chr(92) + 'x' + text.encode().hex())}::bytea"


def listed(columns: Sequence[str]) -> str:
    """Return columns as a SELECT lists them."""
    return ", ".join(map(quoted, columns)) or "1"


def ordered(columns: Sequence[str], *, descending: bool = False) -> str:
    """Return an ORDER BY, with NULLs where SQLite has them."""
    way = " DESC NULLS LAST" if descending else " NULLS FIRST"
    return " ORDER BY " + ", ".join(quoted(name) + way for name in columns) if columns else ""


# --- what is written -----------------------------------------------------------------------------


def insert_text(table: StoreTable, columns: Sequence[str]) -> str:
    """Return the statement that inserts a row, and binds its tenant and each of its values.

    It returns which identity the row was given, where it has none of its own.
    """
    names = ", ".join([TENANT, *map(quoted, columns)])
    places = ", ".join(f"${at + 1}" for at in range(len(columns) + 1))
    told = "" if ROWID in columns else f" RETURNING {ROWID}"
    return f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({places}){told}"


def copy_text(table: StoreTable, columns: Sequence[str]) -> str:
    """Return the statement that takes many rows, each with its tenant first."""
    names = ", ".join([TENANT, *map(quoted, columns)])
    return f"COPY {quoted(table.name)} ({names}) FROM STDIN (FORMAT BINARY)"


def beyond_text(table: StoreTable) -> str:
    """Return the statement that has the next identities be beyond one that was given."""
    name = ids_of(table)
    return (
        f"SELECT setval({quoted_text(quoted(name))}, $1) FROM {quoted(name)} WHERE last_value < $1"
    )


def last_text(table: StoreTable) -> str:
    """Return the query for the last identity that a table has given in this transaction."""
    return f"SELECT currval({quoted_text(quoted(ids_of(table)))})"


def ids_of(table: StoreTable) -> str:
    """Return what the sequence of a table's identities is called."""
    return short_name(f"{table.name}_ids")


def update_text(table: StoreTable, columns: Sequence[str], tenant: str) -> str:
    """Return the statement that sets ``columns`` of one row of ``tenant``, by its identity."""
    sets = ", ".join(f"{quoted(name)} = ${at + 1}" for at, name in enumerate(columns))
    own = f"{ROWID} = ${len(columns) + 1} AND {TENANT} = {_literal(tenant)}"
    return f"UPDATE {quoted(table.name)} SET {sets} WHERE {own}"


def sets_text(table: StoreTable, values: Mapping[str, object], bound: Bound) -> str:
    """Return the beginning of a statement that sets columns of a table."""
    sets = ", ".join(f"{quoted(name)} = {_place(bound, each)}" for name, each in values.items())
    return f"UPDATE {quoted(table.name)} SET {sets}"


def increment_text(table: StoreTable, by: Mapping[str, int], bound: Bound) -> str:
    """Return the beginning of a statement that adds to columns of a table."""
    sets = ", ".join(
        f"{quoted(name)} = {quoted(name)} + {_place(bound, each)}" for name, each in by.items()
    )
    return f"UPDATE {quoted(table.name)} SET {sets}"


# --- what there is -------------------------------------------------------------------------------


def table_texts(table: StoreTable) -> Iterator[str]:
    """Yield the statements that create ``table``, and then its indexes."""
    ids = f"GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME {quoted(ids_of(table))})"
    columns = [f"{ROWID} bigint PRIMARY KEY {ids}", f"{TENANT} bytea NOT NULL"]
    columns += [column_text(column) for column in table.columns]
    yield f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)})"
    for index in table.indexes:
        yield index_text(table, index)


def column_text(column: StoreColumn) -> str:
    """Return a column as it is declared."""
    return f"{quoted(column.name)} {TYPES[column.kind]}"


def index_text(table: StoreTable, index: StoreIndex) -> str:
    """Return the statement that creates ``index``."""
    kinds = column_kinds(table)
    unique = "UNIQUE " if index.unique else ""
    keys = ", ".join(_key(name, kinds[name]) for name in index.columns)
    name = quoted(short_name(index.name))
    return f"CREATE {unique}INDEX {name} ON {quoted(table.name)} ({keys})"


def _key(column: str, kind: Kind) -> str:
    is_short = kind is Kind.INTEGER or column == TENANT
    return quoted(column) if is_short else f"sha256({quoted(column)})"
