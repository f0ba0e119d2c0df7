"""CREATE VECTOR TABLE."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.tables.vector_making import create_vector
from affidavit.engine.run.defining.tables import check_new, own_table
from affidavit.engine.statement.assignments import parse_name
from affidavit.engine.statement.defining.columns import Constraints, parse_constraints
from affidavit.engine.statement.definitions import expect_end, parse_with
from affidavit.errors import SqlError, TableExistsError

if TYPE_CHECKING:
    from affidavit.engine.run.defining.tables import New
    from affidavit.engine.run.scope import Scope
    from affidavit.engine.statement.defining.columns import NewColumn

_VECTOR: Final = re.compile(
    r"(FLOAT|REAL|FLOAT4|HALF|FLOAT2|DOUBLE|FLOAT8)\s*\[\s*(\d+)\s*\]", re.IGNORECASE
)
_NUMBERS: Final = {
    "FLOAT": pa.float32(), "REAL": pa.float32(), "FLOAT4": pa.float32(), "HALF": pa.float16(),
    "FLOAT2": pa.float16(), "DOUBLE": pa.float64(), "FLOAT8": pa.float64(),
}  # fmt: skip
"""The numbers of a vector, by their names: FLOAT has 32 bits, as in pgvector and DuckDB."""

_OPTIONS: Final = frozenset({"metric", "model", "source", "vector"})


def create_vector_table(new: New) -> int:
    """Make an empty vector table."""
    scope, cursor, catalog = new.scope, new.cursor, new.scope.catalog
    if new.or_replace:
        msg = "OR REPLACE VECTOR TABLE is not supported: DROP TABLE, and create it"
        raise SqlError(msg)
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = parse_name(cursor)
    if name.schema != MAIN_SCHEMA:
        raise SqlError(f"a vector table is in the schema {MAIN_SCHEMA}, not in {name.schema!r}")
    constraints = parse_constraints(cursor)
    options = parse_with(cursor, "CREATE VECTOR TABLE")
    expect_end(cursor, "CREATE VECTOR TABLE")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise SqlError(f"a vector table has no option {unknown[0]!r}: {sorted(_OPTIONS)}")
    check_new(scope, name)
    with catalog.read() as reader:
        existing = own_table(catalog, reader, name)
    if existing is not None:
        if if_not_exists:
            return 0
        raise TableExistsError(name.table)
    schema = pa.schema([_field(scope, each) for each in constraints.columns])
    model, source = options.get("model"), options.get("source")
    create_vector(
        catalog, name.table, schema=schema, key=_key(constraints),
        vector=str(options.get("vector") or _vector(schema)),
        metric=str(options.get("metric", "cosine")), model=None if model is None else str(model),
        source=None if source is None else str(source),
    )  # fmt: skip
    return 0


def _key(constraints: Constraints) -> str:
    _refuse_rules(constraints)
    if len(constraints.primary_key) != 1:
        msg = "a vector table has a PRIMARY KEY of one column: integers, or texts"
        raise SqlError(msg)
    return constraints.primary_key[0]


def _refuse_rules(constraints: Constraints) -> None:
    asked = {
        "UNIQUE": constraints.unique, "CHECK": constraints.checks,
        "REFERENCES": constraints.references, "LIKE": constraints.like,
        "COMMENT": constraints.comment is not None,
    }  # fmt: skip
    for column in constraints.columns:
        own = {
            "DEFAULT": column.default, "GENERATED": column.generated, "IDENTITY": column.numbers,
            "COMMENT": column.comment, "MAP": column.type.entries, "VARCHAR(n)": column.type.length,
            "UUID, JSON and ENUM": column.type.kind,
        }  # fmt: skip
        asked |= {word: (said,) for word, said in own.items() if said is not None}
    found = next((word for word, said in asked.items() if said), None)
    if found is not None:
        msg = f"{found} is not supported in a vector table: its columns have a type and NOT NULL"
        raise SqlError(msg)


def _field(scope: Scope, column: NewColumn) -> pa.Field:
    sized = _VECTOR.fullmatch(column.type.sql)
    if sized is not None:
        kind = pa.list_(_NUMBERS[sized[1].upper()], int(sized[2]))
        return pa.field(column.name, kind, nullable=column.nullable)
    kind = scope.planner.column_type(scope.catalog, column.name, column.type.sql).type
    if pt.is_string_view(kind):  # which Lance has none of
        kind = pa.string()
    elif pt.is_binary_view(kind):
        kind = pa.binary()
    return pa.field(column.name, kind, nullable=column.nullable)


def _vector(schema: pa.Schema) -> str:
    found = [field.name for field in schema if pt.is_fixed_size_list(field.type)]
    if len(found) != 1:
        msg = (
            f"which column has the vectors cannot be told, of {found}: write one as FLOAT[384], or "
            "WITH (vector = 'name')"
        )
        raise SqlError(msg)
    return found[0]
