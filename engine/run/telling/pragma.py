"""PRAGMA table_info: a table's columns, as SQLite and DuckDB tell them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.result.result import Result
from affidavit.engine.scans.listing.making import type_text
from affidavit.engine.statement.assignments import parse_name
from affidavit.engine.statement.definitions import expect_end
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_SCHEMA: Final = pa.schema(
    [
        ("cid", pa.int64()), ("name", pa.string()), ("type", pa.string()),
        ("notnull", pa.bool_()), ("dflt_value", pa.string()), ("pk", pa.bool_()),
    ]
)  # fmt: skip


def pragma(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run PRAGMA table_info('t')."""
    cursor = statement.cursor()
    cursor.expect("PRAGMA")
    what = cursor.name("a pragma")
    if what.casefold() != "table_info":
        msg = f"PRAGMA {what} is not known: PRAGMA table_info('t') is, and SET changes settings"
        raise SqlError(msg)
    cursor.expect("(")
    token = cursor.token
    if token is not None and token.kind == "string":
        cursor.skip()
        schema, dot, table = token.text[1:-1].replace("''", "'").rpartition(".")
        schema = schema if dot else MAIN_SCHEMA
        source = ""
    else:
        name = parse_name(cursor, of_source=True)
        schema, table, source = name.schema, name.table, name.source
    cursor.expect(")")
    expect_end(cursor, "PRAGMA table_info('t')")
    parts = [each for each in (source, schema, table) if each]
    with scope.planner.snapshot(scope.catalog) as snapshot:
        text = f"SELECT * FROM {'.'.join(map(quoted, parts))}"
        plan = partial(scope.planner.plan, text, {}, names={*parts}, read_only=True)
        columns = scope.planner.schema_of(plan(snapshot), snapshot)
        info = None if source else scope.info(snapshot.reader, schema, table)
    definition = None if info is None else info.definition
    keys, defaults = set[str](), dict[str, str]()
    if isinstance(definition, MutableDefinition):
        keys, defaults = {*definition.primary_key}, dict(definition.defaults)
    elif isinstance(definition, VectorDefinition):
        keys = {definition.key}
    rows = [
        {"cid": at, "name": each.name, "type": type_text(each.type), "notnull": not each.nullable,
         "dflt_value": defaults.get(each.name), "pk": each.name in keys}
        for at, each in enumerate(columns)
    ]  # fmt: skip
    return Result.of(pa.Table.from_pylist(rows, _SCHEMA))
