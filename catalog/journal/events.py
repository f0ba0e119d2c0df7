"""Journal events: what a change is written down as, what is signed of it, how many are kept.

Rules:
    - Events of one change stand together, in the order of its rows. An insert or delete of a row
      is one event of field ``*`` with the whole row; an update is one event for each column of
      each row that really changed; a row whose key changed is a delete and an insert.
    - A change of a vector table is one event with the number of rows, a digest of their keys and
      the versions before and after: the rows are in the versions.
    - An entry's leaf commits to the values by salted hashes: with the salt and the values destroyed
      the proof still holds, and nobody can find the values by trying.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import ne
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.ledger.verifier import leaf_hash
from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, VECTOR, VIEW
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.tables.rows import take_rows
from affidavit.catalog.values.canonical import canonical, canonical_texts, from_us
from affidavit.catalog.values.text import NULL, json_array, json_texts
from affidavit.catalog.values.types import FEW_ROWS_MAX
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.model.identity import Identity

KIND: Final = "event"
WHOLE: Final = "*"
SALT_BYTES: Final = 16
VALUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest new value that an event takes, as JSON. A row is one that is inserted."""

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
        pa.field("leaf_hash", pa.binary()),
    ]
)
"""How events are kept. The digests are there only where the values were erased."""

ROW_EVENTS_MAX: Final = 64
"""A block of up to so many events is kept as JSON: an Arrow schema would be larger than they."""

BLOCK_EVENTS_MAX: Final = 262_144
BLOCK_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""How much one block holds; a change with more is kept as several."""

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


# --- from changes ---------------------------------------------------------------------------------


def events_of(change: Change) -> Sequence[Event]:
    """Return ``change`` as events."""
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
    olds += [dict(zip(moved_rows, row_texts(take_rows(before, moved_rows)), strict=True)), nothing]
    news += [nothing, dict(zip(moved_rows, row_texts(take_rows(after, moved_rows)), strict=True))]
    fields, actions = [*names, WHOLE, WHOLE], ["update"] * went + ["delete", "insert"]
    called = [ids] * came + [new_ids]
    return Events(
        [called[column][row] for row, column in zip(rows, columns, strict=True)],
        [fields[column] for column in columns],
        [actions[column] for column in columns],
        [olds[column][row] for row, column in zip(rows, columns, strict=True)],
        [news[column][row] for row, column in zip(rows, columns, strict=True)],
    )


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


# --- what is signed -------------------------------------------------------------------------------


def value_digest(salt: bytes, side: bytes, value: str | None) -> str | None:
    """Return what a leaf says of a value: ``None``, or the hash of salt, side and value."""
    if value is None:
        return None
    return hashlib.sha256(salt + side + value.encode()).hexdigest()


OLD, NEW = b"\x00", b"\x01"


def event_id(at_us: int, seq: int) -> str:
    """Return an event's name."""
    return f"evt-{at_us // 1000}-{seq}"


def body_template(
    *,
    entity_type: str,
    table_id: str | None,
    tenant: str | None,
    actor: str,
    source: str,
    workspace: str,
    reason: str,
    tx_id: str,
    at_us: int,
) -> str:
    """Return the canonical body of events that happened together.

    It has places for: action, entity_id, seq, field, new_digest, old_digest and seq again, each
    in canonical JSON.
    """
    constants = {
        "actor": actor, "entity_type": entity_type, "reason": reason, "source": source,
        "table_id": table_id, "tenant": tenant, "timestamp": from_us(at_us), "tx_id": tx_id,
        "workspace_id": workspace,
    }  # fmt: skip
    c = {
        name: canonical(value, name).decode().replace("%", "%%")
        for name, value in constants.items()
    }
    return (
        f'{{"action":%s,"actor":{c["actor"]},"entity_id":%s,"entity_type":{c["entity_type"]},'
        f'"event_id":"evt-{at_us // 1000}-%d","field":%s,"kind":"{KIND}","new_digest":%s,'
        f'"old_digest":%s,"reason":{c["reason"]},"seq":%d,"source":{c["source"]},'
        f'"table_id":{c["table_id"]},"tenant":{c["tenant"]},"timestamp":{c["timestamp"]},'
        f'"tx_id":{c["tx_id"]},"workspace_id":{c["workspace_id"]}}}'
    )


def in_blocks(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield ``events`` in parts that are small enough for one block each."""
    if len(events) <= ROW_EVENTS_MAX:
        yield events
        return
    _, _, _, olds, news = (whole := Events.of(events)).columns
    start = size = 0
    for at, (old, new) in enumerate(zip(olds, news, strict=True)):
        added = len(old or "") + len(new or "")
        if at > start and (at - start >= BLOCK_EVENTS_MAX or size + added > BLOCK_CHARACTERS_MAX):
            yield whole[start:at]
            start, size = at, 0
        size += added
    yield whole[start:] if start else whole


def numbered(batch: Batch, first: int) -> tuple[list[Sequence[Any]], list[bytes]]:
    """Return the events of ``batch`` from ``first`` on, as columns to keep, and their leaves.

    Raises:
        InvalidQueryError: A value is too large, or an id cannot be written as JSON.
    """
    ids, fields, actions, olds, news = Events.of(batch.events).columns
    _check_sizes(batch.entity_type, ids, news)
    if batch.table_id is None:  # a table's row that grew larger can be deleted nevertheless
        _check_sizes(batch.entity_type, ids, olds)
    who, count = batch.identity, len(ids)
    template = body_template(
        entity_type=batch.entity_type, table_id=batch.table_id,
        tenant=None if who.tenant == SHARED else who.tenant, actor=who.actor, source=who.source,
        workspace=who.workspace, reason=who.reason, tx_id=batch.tx_id, at_us=batch.at_us,
    )  # fmt: skip
    drawn = os.urandom(SALT_BYTES * count)
    salts = [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
    seqs = range(first, first + count)
    bodies = zip(
        _words(actions, "action"), canonical_texts(ids, "entity_id"), seqs, _words(fields, "field"),
        _digests(salts, NEW, news), _digests(salts, OLD, olds), seqs, strict=True,
    )  # fmt: skip
    leaves = [leaf_hash((template % body).encode()) for body in bodies]
    told = (who.actor, who.source, who.workspace, batch.tx_id, who.reason, batch.table_id)
    columns: list[Sequence[Any]] = [
        seqs, [batch.at_us] * count, [batch.entity_type] * count, ids, fields, actions, olds, news,
        *([each] * count for each in told), salts, [None] * count, [None] * count,
    ]  # fmt: skip
    return columns, leaves


def _check_sizes(entity_type: str, ids: Sequence[str], values: Sequence[str | None]) -> None:
    for entity_id, value in zip(ids, values, strict=True):
        if value is not None and len(value) > VALUE_BYTES_MAX:
            msg = (
                f"{entity_type} {entity_id!r}: a value of {len(value):,} characters is more "
                f"than the journal takes, {VALUE_BYTES_MAX:,}"
            )
            raise InvalidQueryError(msg)


def _words(words: Sequence[str], what: str) -> list[str]:
    """Return texts, most of them the same, in canonical JSON."""
    known = {word: canonical(word, what).decode() for word in set(words)}
    return [known[word] for word in words]


def _digests(salts: Sequence[bytes], side: bytes, values: Sequence[str | None]) -> list[str]:
    """Return :func:`value_digest` of each value in canonical JSON."""
    sha256 = hashlib.sha256
    return [
        NULL if value is None else f'"{sha256(salt + side + value.encode()).hexdigest()}"'
        for salt, value in zip(salts, values, strict=True)
    ]


def without_values(events: pa.Table, entity_id: str) -> tuple[pa.Table, int]:
    """Return events with the values of one entity destroyed, and how many there were.

    Their salts go too. What their leaves say of the values stays, so that proofs hold.
    """
    mask = pc.and_(
        pc.fill_null(pc.equal(events["entity_id"], entity_id), fill_value=False),
        pc.is_valid(events["salt"]),
    ).combine_chunks()
    count = pc.sum(mask).as_py() or 0
    if not count:
        return events, 0
    chosen = events.filter(mask)
    salts = chosen["salt"].to_pylist()
    digests = {
        "old_digest": [value_digest(s, OLD, v) for s, v in _pairs(salts, chosen["old_value"])],
        "new_digest": [value_digest(s, NEW, v) for s, v in _pairs(salts, chosen["new_value"])],
    }
    for name in ("old_value", "new_value", "salt", "old_digest", "new_digest"):
        kept = events[name].combine_chunks()
        written = [
            None if d is None else bytes.fromhex(d) for d in digests.get(name, [None] * count)
        ]
        column = pc.replace_with_mask(kept, mask, pa.array(written, kept.type))
        events = events.set_column(events.schema.get_field_index(name), name, column)
    return events.cast(EVENTS_SCHEMA), count


def _pairs(salts: list[bytes], values: pa.ChunkedArray) -> Iterator[tuple[bytes, str | None]]:
    return zip(salts, values.to_pylist(), strict=True)


# --- blocks of the tail ---------------------------------------------------------------------------

_BLOCK_SCHEMA: Final = EVENTS_SCHEMA.remove(EVENTS_SCHEMA.get_field_index("leaf_hash"))
_HASH_BYTES: Final = 32


def event_columns(events: pa.Table) -> list[Sequence[Any]]:
    """Return events as :func:`pack` takes them."""
    return [
        (events[each.name].cast(pa.int64()) if pt.is_timestamp(each.type) else events[each.name])
        .to_pylist()
        for each in _BLOCK_SCHEMA
    ]  # fmt: skip


def pack(columns: Sequence[Sequence[Any]]) -> bytes:
    """Return events as :func:`numbered` gives them as a block, their leaves left out."""
    if len(columns[0]) <= ROW_EVENTS_MAX:
        plain = [
            [each.hex() if isinstance(each, bytes) else each for each in row]
            for row in zip(*columns, strict=True)
        ]
        return json.dumps(plain, separators=(",", ":")).encode()
    arrays = [pa.array(v, f.type) for v, f in zip(columns, _BLOCK_SCHEMA, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=_BLOCK_SCHEMA)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, _BLOCK_SCHEMA, options=options) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def unpack(block: bytes, leaves: bytes) -> pa.RecordBatch:
    """Return the events of a block, with their leaves.

    Raises:
        ValueError: It is no block, or has another number of leaves.
    """
    if block.startswith(b"["):
        batch = _from_rows(json.loads(block))
    else:
        with pa.ipc.open_stream(block) as reader:
            batch = reader.read_next_batch()
    hashes = [leaves[at : at + _HASH_BYTES] for at in range(0, len(leaves), _HASH_BYTES)]
    return batch.append_column("leaf_hash", pa.array(hashes, pa.binary()))


def _from_rows(rows: list[list[object]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(_BLOCK_SCHEMA)
    arrays = []
    for values, each in zip(columns, _BLOCK_SCHEMA, strict=True):
        plain: list[object] = list(values)
        if pa.types.is_binary(each.type):
            plain = [None if value is None else bytes.fromhex(str(value)) for value in plain]
        arrays.append(pa.array(plain, each.type))
    return pa.RecordBatch.from_arrays(arrays, schema=_BLOCK_SCHEMA)
