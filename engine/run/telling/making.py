"""SHOW CREATE TABLE: what would make a table as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.model.making import create_text
from affidavit.catalog.sql.names import CATALOG
from affidavit.engine.result.result import Result
from affidavit.engine.statement.assignments import parse_name, refuse_reserved
from affidavit.engine.statement.definitions import expect_end

if TYPE_CHECKING:
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("table_catalog", "table_schema", "table_name", "definition")]
)


def show_create(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run SHOW CREATE TABLE, VIEW or SEQUENCE."""
    cursor = statement.cursor()
    cursor.expect("SHOW")
    cursor.expect("CREATE")
    if not any(cursor.accept(word) for word in ("TABLE", "VIEW", "SEQUENCE")):
        cursor.expect("TABLE")
    name = parse_name(cursor)
    expect_end(cursor, "SHOW CREATE TABLE")
    refuse_reserved(name.schema, name.table)
    catalog = scope.catalog
    with catalog.read() as reader:
        held = scope.planner.temporaries.find(name.schema, name.table)
        info = catalog.get(reader, name.table, name.schema) if held is None else held.info
        is_vector = isinstance(info.definition, VectorDefinition)
        columns = catalog.lake.datasets.visible(info).schema if is_vector else None
        text = create_text(reader, info, columns)
    row = dict(zip(_SCHEMA.names, (CATALOG, info.schema, info.name, text), strict=True))
    return Result.of(pa.Table.from_pylist([row], _SCHEMA))
