"""Journal events: what a change is written down as.

Rules:
    - Events of one change stand together, in the order of its rows. An insert or delete of a row
      is one event of field ``*`` with the whole row; an update is one event for each column of
      each row that really changed; a row whose key changed is a delete and an insert.
    - A change of a vector table is one event with the number of rows, a digest of their keys and
      the versions before and after: the rows are in the versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import ne
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, SEQUENCE, VECTOR, VIEW
from affidavit.catalog.values.arrays import take_rows
from affidavit.catalog.values.text import json_array, json_texts
from affidavit.catalog.values.types import FEW_ROWS_MAX

if TYPE_CHECKING:
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.model.identity import Identity

KIND: Final = "event"
WHOLE: Final = "*"
_TIME: Final = pa.timestamp("us", "UTC")
EVENTS_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("timestamp", _TIME),
        pa.field("entity_type", pa.string()),
        pa.field("entity_id", pa.string()),
        pa.field("field", pa.string()),
        pa.field("action", pa.string()),
        pa.field("old_value", pa.string()),
        pa.field("new_value", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("source", pa.string()),
        pa.field("workspace_id", pa.string()),
        pa.field("tx_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("table_id", pa.string()),
        pa.field("salt", pa.binary()),
        pa.field("old_digest", pa.binary()),
        pa.field("new_digest", pa.binary()),
        pa.field("context", pa.string()),
        pa.field("context_digest", pa.binary()),
        pa.field("leaf_hash", pa.binary()),
    ]
)
"""Events as they are read. The digests are there only where the values were erased."""

CONTEXTS: Final = ("context", "context_digest")
"""The columns that are kept only where an event has a context, and are NULL elsewhere."""

PLAIN_SCHEMA: Final = pa.schema([each for each in EVENTS_SCHEMA if each.name not in CONTEXTS])
"""How events are kept of which none has a context."""

Columns = TypeVar("Columns", pa.Table, pa.RecordBatch)
_BULK_ACTIONS: Final = {"insert": "ingest"}


@dataclass(slots=True)
class Event:
    """What happened to one field of one entity; values are JSON texts, ``None`` for none."""

    entity_id: str
    field: str
    action: str
    old_value: str | None = None
    new_value: str | None = None


class Events(Sequence[Event]):
    """Many events as columns, which costs a tenth of as many objects."""

    def __init__(
        self,
        entity_ids: Sequence[str],
        fields: Sequence[str],
        actions: Sequence[str],
        old_values: Sequence[str | None],
        new_values: Sequence[str | None],
    ) -> None:
        self.columns = (entity_ids, fields, actions, old_values, new_values)

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> Events: ...
    def __getitem__(self, at: int | slice) -> Event | Events:
        ids, fields, actions, olds, news = self.columns
        if isinstance(at, slice):
            return Events(ids[at], fields[at], actions[at], olds[at], news[at])
        return Event(ids[at], fields[at], actions[at], olds[at], news[at])

    @classmethod
    def of(cls, events: Sequence[Event]) -> Events:
        """Return ``events`` as columns."""
        if isinstance(events, cls):
            return events
        return cls(
            [each.entity_id for each in events], [each.field for each in events],
            [each.action for each in events], [each.old_value for each in events],
            [each.new_value for each in events],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that happened together.

    Attributes:
        entity_type: The table's name, or the caller's word.
        table_id: The table's identity; ``None`` for a caller's own events.
        identity: Who did it.
        at_us: When, in microseconds since the epoch.
        tx_id: The transaction.
        events: What happened, in order.
    """

    entity_type: str
    table_id: str | None
    identity: Identity
    at_us: int
    tx_id: str
    events: Sequence[Event] = field(repr=False)


def completed(events: Columns, columns: Sequence[str]) -> Columns:
    """Return ``columns`` of events, those of contexts that are not kept as NULL."""
    for name in CONTEXTS:
        if name in columns and name not in events.schema.names:
            none = pa.nulls(events.num_rows, EVENTS_SCHEMA.field(name).type)
            events = events.append_column(name, none)
    return events.select(list(columns))


def has_contexts(events: pa.Table) -> bool:
    """Return whether an event has a context, or had one that was erased."""
    return any(events[name].null_count < events.num_rows for name in CONTEXTS)


# --- from changes ---------------------------------------------------------------------------------


def events_of(change: Change) -> Sequence[Event]:
    """Return ``change`` as events."""
    if change.events is not None:
        return change.events
    return EVENTS_OF[change.kind](change)


def _told_by_row(change: Change) -> Sequence[Event]:
    if change.before is None and change.after is None:
        return [_whole_event(change)]
    if change.action == "update":
        return _update_events(change)
    events = _row_events(change)
    return [_whole_event(change), *events] if change.action == "truncate" else events


def _told_as_batch(change: Change) -> Sequence[Event]:
    """Return what happened to a table as a whole, or to rows that are in its versions."""
    event = _whole_event(change)
    if change.action not in {"insert", "update", "delete"}:
        return [event]
    action = _BULK_ACTIONS.get(change.action, change.action)
    return [replace(event, entity_id=f"batch:{change.rows}", action=action)]


def _told_as_whole(change: Change) -> Sequence[Event]:
    return [_whole_event(change)]


EVENTS_OF: Final[Mapping[str, Callable[[Change], Sequence[Event]]]] = {
    MUTABLE.name: _told_by_row,
    VECTOR.name: _told_as_batch,
    VIEW.name: _told_as_whole,
    EXTERNAL.name: _told_as_whole,
    SEQUENCE.name: _told_as_whole,
}
"""What the journal says of a change of each kind of table."""


def _whole_event(change: Change) -> Event:
    """Return what happened to a table as a whole."""
    told: dict[str, object] = {}
    if change.rows:
        told["rows"] = change.rows
    if change.keys_sha256:
        told["keys_sha256"] = change.keys_sha256
    if change.version_before is not None:
        told["version_before"] = change.version_before
    if change.version_after is not None:
        told["version_after"] = change.version_after
    if change.detail:
        told["detail"] = change.detail
    if change.definition:
        told["definition"] = change.definition
    if change.sql:
        told["sql"] = change.sql
    return Event(change.table, WHOLE, change.action, None, json.dumps(told, sort_keys=True))


def _row_events(change: Change) -> Events:
    is_insert = change.action == "insert"
    rows = change.after if is_insert else change.before
    assert rows is not None
    assert change.mutable is not None
    count = rows.num_rows
    ids, texts = entity_ids(change.mutable, rows, change.rowids), row_texts(rows)
    action, none = "insert" if is_insert else "delete", [None] * count
    old, new = (none, texts) if is_insert else (texts, none)
    return Events(ids, [WHOLE] * count, [action] * count, old, new)


def _update_events(change: Change) -> Events:
    """Return what became another, row by row and column by column.

    Two columns more stand for rows whose key changed: the row that went and the one that came.
    Those that came stand last, for one may have taken the key of another that went.
    """
    before, after, definition = change.before, change.after, change.mutable
    assert before is not None
    assert after is not None
    assert definition is not None
    names = before.schema.names
    went, came = len(names), len(names) + 1
    ids = entity_ids(definition, before, change.rowids)
    new_ids = entity_ids(definition, after, change.rowids)
    olds: list[Any] = [json_texts(before[name]) for name in names]
    news: list[Any] = [json_texts(after[name]) for name in names]
    differs = np.zeros((len(ids), len(names) + 1), dtype=bool)
    for at in range(len(names)):
        differs[:, at] = _differ(olds[at], news[at])
    differs[:, went] = moved = _differ(ids, new_ids)
    differs[moved, :went] = False
    moved_rows = np.flatnonzero(moved).tolist()
    rows, columns = (each.tolist() for each in np.nonzero(differs))
    rows += moved_rows
    columns += [came] * len(moved_rows)
    nothing = dict.fromkeys(moved_rows)
    olds += [_texts_at(before, moved_rows), nothing]
    news += [nothing, _texts_at(after, moved_rows)]
    fields, actions = [*names, WHOLE, WHOLE], ["update"] * went + ["delete", "insert"]
    called = [ids] * came + [new_ids]
    return Events(
        [called[column][row] for row, column in zip(rows, columns, strict=True)],
        [fields[column] for column in columns],
        [actions[column] for column in columns],
        [olds[column][row] for row, column in zip(rows, columns, strict=True)],
        [news[column][row] for row, column in zip(rows, columns, strict=True)],
    )


def _texts_at(rows: pa.Table, places: Sequence[int]) -> dict[int, str]:
    """Return some rows as JSON objects, by their places."""
    if not places:
        return {}
    return dict(zip(places, row_texts(take_rows(rows, places)), strict=True))


def _differ(
    left: Sequence[str], right: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.fromiter(map(ne, left, right), dtype=bool, count=len(left))


def entity_ids(definition: MutableDefinition, rows: pa.Table, rowids: Sequence[int]) -> list[str]:
    """Return each row's name: its key as text, several as JSON, or its place in the store."""
    key = definition.primary_key
    if not key:
        return [f"row:{rowid}" for rowid in rowids]
    if len(key) == 1:
        column = rows[key[0]]
        if pt.is_string(column.type):
            return column.to_pylist()
        if pt.is_integer(column.type):  # whose JSON is never a text
            return json_texts(column)
        return [json.loads(text) if text[0] == '"' else text for text in json_texts(column)]
    parts = zip(*(json_texts(rows[column]) for column in key), strict=True)
    return [f"[{','.join(each)}]" for each in parts]


def entity_names(definition: MutableDefinition, rows: pa.Table, rowids: Sequence[int]) -> pa.Array:
    """Return what :func:`entity_ids` does as an array."""
    key = definition.primary_key
    if len(key) == 1 and pt.is_integer(rows.schema.field(key[0]).type):
        return json_array(rows[key[0]])
    return pa.array(entity_ids(definition, rows, rowids), pa.string())


def row_texts(rows: pa.Table) -> list[str]:
    """Return each row as one JSON object."""
    names = [json.dumps(name, ensure_ascii=False) for name in rows.schema.names]
    if rows.num_rows > FEW_ROWS_MAX:
        parts: list[Any] = ["{"]
        for name, column in zip(names, rows.columns, strict=True):
            parts += [f"{name}:", json_array(column), ","]
        return pc.binary_join_element_wise(*parts[:-1], "}", "").to_pylist()
    template = "{" + ",".join(f"{name.replace('%', '%%')}:%s" for name in names) + "}"
    return [
        template % each
        for batch in rows.to_batches()
        for each in zip(*map(json_texts, batch.columns), strict=True)
    ]
