"""Redoing events: rows put together from what events tell of them.

A row is known by what the store calls its columns, which renaming does not change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from affidavit.catalog.past.undo import stored_at
from affidavit.catalog.values.arrays import nullable
from affidavit.catalog.values.text import from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.past.undo import Eras


def redone(events: Iterable[Mapping[str, Any]], eras: Eras) -> dict[str, dict[str, Any]]:
    """Return the rows, by their names, that there are after ``events``, oldest first."""
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        stored = stored_at(eras, event["seq"])
        if event["action"] == "insert":
            rows[event["entity_id"]] = row_of(event["new_value"], stored)
        elif event["action"] == "delete":
            rows.pop(event["entity_id"], None)
        elif event["action"] == "update" and event["entity_id"] in rows:
            rows[event["entity_id"]][stored[event["field"]]] = value_of(event["new_value"])
    return rows


def value_of(text: str | None) -> Any:  # noqa: ANN401 - any JSON
    """Return a value; one that was erased is NULL."""
    return None if text is None else json.loads(text)


def row_of(text: str | None, stored: Mapping[str, str]) -> dict[str, Any]:
    """Return a row; one that was erased has no values."""
    return {stored[name]: value for name, value in json.loads(text or "{}").items()}


def table_of(rows: Sequence[Mapping[str, Any]], definition: MutableDefinition) -> pa.Table:
    """Return rows as a table of what there was."""
    arrays = [
        from_json([row.get(definition.stored[field.name]) for row in rows], field.type)
        for field in definition.schema
    ]
    return pa.Table.from_arrays(arrays, schema=nullable(definition.schema))
