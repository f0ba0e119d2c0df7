"""What ``information_schema`` says of constraints, and DataFusion does not: five tables.

A statement reads them as ``information_schema.name``; the engine keeps them under another schema,
since DataFusion answers for that one itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.sql.names import CATALOG
from affidavit.catalog.tables.constraints.names import (
    CHECK,
    FOREIGN_KEY,
    PRIMARY_KEY,
    UNIQUE,
    constraints_of,
    key_name,
)
from affidavit.engine.scans.memory import LaterDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import ForeignKey
    from affidavit.catalog.sql.scan import ScanDataset
    from affidavit.engine.scans.snapshot import Snapshot

Row = dict[str, object]
_INTEGERS: Final = frozenset({"ordinal_position", "position_in_unique_constraint"})


def _tables(snapshot: Snapshot) -> list[TableInfo]:
    return snapshot.catalog.tables(snapshot.reader)


def _constraints(info: TableInfo) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each constraint of a table: its name, its kind, and its columns."""
    if isinstance(info.definition, MutableDefinition):
        yield from constraints_of(info.name, info.definition)
    elif isinstance(info.definition, VectorDefinition):
        yield key_name(info.name), PRIMARY_KEY, (info.definition.key,)


def _named(info: TableInfo, name: str) -> Row:
    return {
        "constraint_catalog": CATALOG, "constraint_schema": info.schema, "constraint_name": name,
    }  # fmt: skip


def _of_table(info: TableInfo) -> Row:
    return {"table_catalog": CATALOG, "table_schema": info.schema, "table_name": info.name}


def _table_constraints(snapshot: Snapshot) -> Iterator[Row]:
    for info in _tables(snapshot):
        for name, kind, _ in _constraints(info):
            yield {
                **_named(info, name), **_of_table(info), "constraint_type": kind,
                "is_deferrable": "NO", "initially_deferred": "NO", "enforced": "YES",
            }  # fmt: skip


def _key_column_usage(snapshot: Snapshot) -> Iterator[Row]:
    for info in _tables(snapshot):
        for name, kind, columns in _constraints(info):
            for at, column in enumerate(columns if kind != CHECK else ()):
                yield {
                    **_named(info, name), **_of_table(info), "column_name": column,
                    "ordinal_position": at + 1,
                    "position_in_unique_constraint": at + 1 if kind == FOREIGN_KEY else None,
                }  # fmt: skip


def _check_constraints(snapshot: Snapshot) -> Iterator[Row]:
    for info in _tables(snapshot):
        if isinstance(info.definition, MutableDefinition):
            for check in info.definition.rules.checks:
                yield {**_named(info, check.name), "check_clause": check.sql}


def _foreign_keys(snapshot: Snapshot) -> Iterator[tuple[TableInfo, ForeignKey, TableInfo]]:
    """Yield each foreign key, with its table and the one that it refers to."""
    known = {info.table_id: info for info in _tables(snapshot)}
    for info in known.values():
        if isinstance(info.definition, MutableDefinition):
            for key in info.definition.rules.foreign_keys:
                if key.table_id in known:
                    yield info, key, known[key.table_id]


def _referred(parent: TableInfo, key: ForeignKey) -> str:
    """Return the name of the key that a foreign one refers to."""
    for name, kind, columns in _constraints(parent):
        if kind in {PRIMARY_KEY, UNIQUE} and set(columns) == set(key.key):
            return name
    return key_name(parent.name)


def _referential_constraints(snapshot: Snapshot) -> Iterator[Row]:
    for info, key, parent in _foreign_keys(snapshot):
        yield {
            **_named(info, key.name), "unique_constraint_catalog": CATALOG,
            "unique_constraint_schema": parent.schema,
            "unique_constraint_name": _referred(parent, key), "match_option": "NONE",
            "update_rule": key.on_update, "delete_rule": key.on_delete,
        }  # fmt: skip


def _constraint_column_usage(snapshot: Snapshot) -> Iterator[Row]:
    """Yield the columns that each constraint is about: of a foreign key those that it refers to."""
    for info in _tables(snapshot):
        for name, kind, columns in _constraints(info):
            for column in columns if kind != FOREIGN_KEY else ():
                yield {**_of_table(info), "column_name": column, **_named(info, name)}
    for info, key, parent in _foreign_keys(snapshot):
        for column in key.key:
            yield {**_of_table(parent), "column_name": column, **_named(info, key.name)}


_NAMED: Final = ("constraint_catalog", "constraint_schema", "constraint_name")
_OF_TABLE: Final = ("table_catalog", "table_schema", "table_name")
_TABLES: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Snapshot], Iterator[Row]]]]] = {
    "table_constraints": (
        (*_NAMED, *_OF_TABLE, "constraint_type", "is_deferrable", "initially_deferred", "enforced"),
        _table_constraints,
    ),
    "key_column_usage": (
        (*_NAMED, *_OF_TABLE, "column_name", "ordinal_position", "position_in_unique_constraint"),
        _key_column_usage,
    ),
    "check_constraints": ((*_NAMED, "check_clause"), _check_constraints),
    "referential_constraints": (
        (
            *_NAMED, "unique_constraint_catalog", "unique_constraint_schema",
            "unique_constraint_name", "match_option", "update_rule", "delete_rule",
        ),
        _referential_constraints,
    ),
    "constraint_column_usage": (
        (*_OF_TABLE, "column_name", *_NAMED),
        _constraint_column_usage,
    ),
}  # fmt: skip
"""Each table's columns, and what yields its rows."""


def _made(name: str) -> Callable[[Snapshot], ScanDataset]:
    columns, rows = _TABLES[name]
    schema = pa.schema(
        [(column, pa.int64() if column in _INTEGERS else pa.string()) for column in columns]
    )

    def make(snapshot: Snapshot) -> ScanDataset:
        def read() -> pa.Table:
            return pa.Table.from_pylist(list(rows(snapshot)), schema)

        return LaterDataset(schema, read, snapshot.fail)

    return make


CONSTRAINT_TABLES: Final[Mapping[str, Callable[[Snapshot], ScanDataset]]] = {
    name: _made(name) for name in _TABLES
}
"""The tables by their names, and what makes each."""
