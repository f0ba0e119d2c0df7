"""Rows looked up by the names that events have for them, where a name says what their key is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.journal.events import entity_ids
from affidavit.catalog.sql.predicate import And, Compare, In, Or, Predicate
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import definition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.model.definition import MutableDefinition, TableInfo

KEYS_AT_ONCE: Final = 200
"""How many rows are looked up by one condition."""

_ROW: Final = "row:"


@dataclass(frozen=True, slots=True)
class Named:
    """Rows of a table by their names.

    Attributes:
        entities: The names.
        keys: What the rows are that have them now, in parts.
    """

    entities: Sequence[str]
    keys: Sequence[Predicate]


def named(
    info: TableInfo, entities: Sequence[str], ever: Sequence[MutableDefinition]
) -> Named | None:
    """Return rows by their names; ``None`` if a name may stand for other rows too.

    Args:
        info: The table as it is now.
        entities: The names.
        ever: What the table was at any time: its key was always named as it is now.
    """
    now = definition_of(info)
    if any(_key(each) != _key(now) for each in ever):
        return None
    columns = [*now.primary_key] or [ROWID]
    schema = pa.schema([(name, now.types.get(name, pa.int64())) for name in columns])
    if not all(pt.is_integer(each.type) or pt.is_string(each.type) for each in schema):
        return None
    try:
        values = [_values(each, schema) for each in entities]
        rows = pa.Table.from_pylist([dict(zip(columns, v, strict=True)) for v in values], schema)
        rowids = rows[ROWID].to_pylist() if columns == [ROWID] else ()
        same = entity_ids(now, rows, rowids) == list(entities) and None not in entities
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return None  # no name of a row's, as such
    return Named(entities, list(_conditions(rows))) if same else None


def _key(definition: MutableDefinition) -> list[tuple[str, pa.DataType]]:
    return [(definition.stored[each], definition.types[each]) for each in definition.primary_key]


def _values(entity: str, schema: pa.Schema) -> list[Any]:
    """Return the key that a name says."""
    if schema.names == [ROWID]:
        return [int(entity.removeprefix(_ROW))]
    if len(schema) == 1:
        return [entity if pt.is_string(schema.field(0).type) else int(entity)]
    found: list[Any] = json.loads(entity)
    return found


def _conditions(rows: pa.Table) -> list[Predicate]:
    """Return what rows of these keys are, some at a time."""
    found: list[Predicate] = []
    for at in range(0, rows.num_rows, KEYS_AT_ONCE):
        columns = [list(column) for column in rows[at : at + KEYS_AT_ONCE].columns]
        if len(columns) == 1:
            found.append(In(rows.schema.names[0], tuple(columns[0])))
            continue
        keys = [
            And(tuple(Compare("=", *each) for each in zip(rows.schema.names, key, strict=True)))
            for key in zip(*columns, strict=True)
        ]
        found.append(Or(tuple(keys)))
    return found
