"""What tables ask of their rows, as the catalog asks it: conditions and values of columns.

Rules:
    - An expression is planned once for the columns of a table, and kept.
    - A check is kept unless it is false: what is unknown of a row is no fault of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from datafusion import SessionContext, col

from affidavit.catalog.sql.spelling import as_names
from affidavit.errors import SqlError
from affidavit.triggers.predicates.planned import (
    TABLE,
    Planned,
    checked,
    columns_read,
    config,
    nodes_of,
    refusing,
)
from affidavit.triggers.predicates.predicate import compile_predicate

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.triggers.predicates.comparisons import Rows
    from affidavit.triggers.predicates.predicate import EventPredicate


class RowExpressions:
    """Expressions over the rows of tables, each planned once."""

    def condition(self, text: str, schema: pa.Schema) -> tuple[str, tuple[str, ...]]:
        """Return a condition over rows as it is kept, and the columns that it reads.

        Raises:
            UnsupportedPredicateError: It is none, or depends on more than a row.
        """
        with refusing(text, schema, "condition"):
            sql = as_names(text, schema.names)
        return sql, _in_order(_false(sql, schema).columns, schema)

    def expression(self, text: str, schema: pa.Schema) -> tuple[str, tuple[str, ...], pa.DataType]:
        """Return an expression as it is kept, the columns that it reads, and its type.

        Raises:
            UnsupportedPredicateError: It is none, or depends on more than a row.
        """
        with refusing(text, schema, "expression"):
            checked(text)
            sql = as_names(text, schema.names)
            columns, kind = _read(sql, schema)
        return sql, _in_order(columns, schema), kind

    def first_false(self, sql: str, schema: pa.Schema, rows: Rows) -> int | None:
        """Return the first row of which a condition is false, if there is one.

        Raises:
            ExecutionError: It cannot be computed of one.
        """
        false = _false(sql, schema)
        if not false.any(rows):
            return None
        at: int = pc.index(false.mask(rows), value=True).as_py()
        return at

    def is_quick(self, sql: str, schema: pa.Schema) -> bool:
        """Return whether a condition is asked of a few rows without any plan."""
        return _false(sql, schema).is_quick

    def values(self, sql: str, schema: pa.Schema, kind: pa.DataType, rows: Rows) -> pa.Array:
        """Return the value of an expression for each row, as a type.

        Raises:
            ExecutionError: It cannot be computed of one.
        """
        return _planned(sql, schema, kind).values(rows)


def _in_order(columns: frozenset[str], schema: pa.Schema) -> tuple[str, ...]:
    return tuple(name for name in schema.names if name in columns)


@lru_cache(maxsize=1024)
def _false(sql: str, schema: pa.Schema) -> EventPredicate:
    return compile_predicate(sql, schema, negated=True)


@lru_cache(maxsize=1024)
def _planned(sql: str, schema: pa.Schema, kind: pa.DataType) -> Planned:
    with refusing(sql, schema, "expression"):
        columns, _ = _read(sql, schema)
        return Planned(sql, sql, schema, columns, kind)


def _read(sql: str, schema: pa.Schema) -> tuple[frozenset[str], pa.DataType]:
    """Return which columns an expression reads, and of which type it is."""
    context = SessionContext(config())
    context.from_arrow(schema.empty_table(), name=TABLE)
    frame = context.sql(f"SELECT ({sql}\n) AS __value FROM {TABLE}")
    nodes = nodes_of(frame.logical_plan())
    if [type(node).__name__ for node in nodes] != ["Projection", "TableScan"]:
        raise SqlError("it is more than one expression")
    [value] = nodes[0].projections()
    alias = value.to_variant()
    return columns_read(alias.expr()), frame.select(col("__value")).schema().field(0).type
