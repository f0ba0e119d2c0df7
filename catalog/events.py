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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.canonical import canonical, from_us
from affidavit.catalog.names import SHARED
from affidavit.catalog.values import NULL, json_texts
from affidavit.catalog.verifier import leaf_hash
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.change import Change
    from affidavit.catalog.definition import MutableDefinition
    from affidavit.catalog.identity import Identity

KIND: Final = "event"
WHOLE: Final = "*"
SALT_BYTES: Final = 16
VALUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest value that an event takes, as JSON."""

_TIME: Final = pa.timestamp("us", "UTC")
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
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

_BULK_ACTIONS: Final = {"insert": "ingest"}


@dataclass(slots=True)
class Event:
    """What happened to one field of one entity; values are JSON texts, ``None`` for none."""

    entity_id: str
    field: str
    action: str
    old_value: str | None = None
    new_value: str | None = None


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


def events_of(change: Change) -> list[Event]:
    """Return ``change`` as events."""
    if change.kind != "mutable" or (change.before is None and change.after is None):
        return [_whole_event(change)]
    events = list(_row_events(change))
    return [_whole_event(change), *events] if change.action == "truncate" else events


def _whole_event(change: Change) -> Event:
    """Return what happened to a table as a whole, or to rows that are in its versions."""
    action = change.action
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
    entity = change.table
    if change.kind == "vector" and change.action in {"insert", "update", "delete"}:
        action = _BULK_ACTIONS.get(action, action)
        entity = f"batch:{change.rows}"
    return Event(entity, WHOLE, action, None, json.dumps(told, sort_keys=True))


def _row_events(change: Change) -> Iterator[Event]:
    definition = change.mutable
    assert definition is not None
    if change.action == "update":
        yield from _update_events(change, definition)
        return
    rows = change.after if change.action == "insert" else change.before
    assert rows is not None
    ids = entity_ids(definition, rows, change.rowids)
    texts = row_texts(rows)
    action = "delete" if change.action == "truncate" else change.action
    if action == "insert":
        yield from (Event(each, WHOLE, action, None, t) for each, t in zip(ids, texts, strict=True))
    else:
        yield from (Event(each, WHOLE, action, t, None) for each, t in zip(ids, texts, strict=True))


def _update_events(change: Change, definition: MutableDefinition) -> Iterator[Event]:
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    ids = entity_ids(definition, before, change.rowids)
    moved = entity_ids(definition, after, change.rowids)
    columns = [
        (name, json_texts(before[name]), json_texts(after[name])) for name in before.schema.names
    ]
    differing = [each for each in columns if each[1] != each[2]]
    for at, (old_id, new_id) in enumerate(zip(ids, moved, strict=True)):
        if old_id != new_id:
            yield Event(old_id, WHOLE, "delete", row_texts(before.slice(at, 1))[0], None)
            yield Event(new_id, WHOLE, "insert", None, row_texts(after.slice(at, 1))[0])
            continue
        for name, old, new in differing:
            if old[at] != new[at]:
                yield Event(old_id, name, "update", old[at], new[at])


def entity_ids(definition: MutableDefinition, rows: pa.Table, rowids: Sequence[int]) -> list[str]:
    """Return each row's name: its key as text, several as JSON, or its place in the store."""
    key = definition.primary_key
    if not key:
        return [f"row:{rowid}" for rowid in rowids]
    if len(key) == 1:
        texts = json_texts(rows[key[0]])
        return [json.loads(text) if text[0] == '"' else text for text in texts]
    parts = zip(*(json_texts(rows[column]) for column in key), strict=True)
    return [f"[{','.join(each)}]" for each in parts]


def row_texts(rows: pa.Table) -> list[str]:
    """Return each row as one JSON object."""
    names = [json.dumps(name, ensure_ascii=False).replace("%", "%%") for name in rows.schema.names]
    template = "{" + ",".join(f"{name}:%s" for name in names) + "}"
    columns = [json_texts(column) for column in rows.columns]
    return [template % each for each in zip(*columns, strict=True)]


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


def numbered(batch: Batch, first: int) -> tuple[list[tuple[object, ...]], list[bytes]]:
    """Return the events of ``batch`` from ``first`` on, as they are kept, and their leaves.

    Raises:
        InvalidQueryError: A value is too large, or an id cannot be written as JSON.
    """
    who = batch.identity
    template = body_template(
        entity_type=batch.entity_type, table_id=batch.table_id,
        tenant=None if who.tenant == SHARED else who.tenant, actor=who.actor, source=who.source,
        workspace=who.workspace, reason=who.reason, tx_id=batch.tx_id, at_us=batch.at_us,
    )  # fmt: skip
    salts = os.urandom(SALT_BYTES * len(batch.events))
    told = (
        who.actor, who.source, who.workspace, batch.tx_id, who.reason, batch.table_id,
    )  # fmt: skip
    words: dict[str, str] = {}
    rows: list[tuple[object, ...]] = []
    leaves: list[bytes] = []
    for at, event in enumerate(batch.events):
        seq, salt = first + at, salts[at * SALT_BYTES : (at + 1) * SALT_BYTES]
        _check_size(batch.entity_type, event)
        leaf = leaf_hash(_body(template, event, seq, salt, words))
        leaves.append(leaf)
        rows.append(
            (
                seq, batch.at_us, batch.entity_type, event.entity_id, event.field, event.action,
                event.old_value, event.new_value, *told, salt, None, None, leaf,
            )
        )  # fmt: skip
    return rows, leaves


def _check_size(entity_type: str, event: Event) -> None:
    for value in (event.old_value, event.new_value):
        if value is not None and len(value) > VALUE_BYTES_MAX:
            msg = (
                f"{entity_type} {event.entity_id!r}: a value of {len(value):,} characters is more "
                f"than the journal takes, {VALUE_BYTES_MAX:,}"
            )
            raise InvalidQueryError(msg)


def _body(template: str, event: Event, seq: int, salt: bytes, words: dict[str, str]) -> bytes:
    old = new = None
    if event.old_value is not None:
        old = hashlib.sha256(salt + OLD + event.old_value.encode()).hexdigest()
    if event.new_value is not None:
        new = hashlib.sha256(salt + NEW + event.new_value.encode()).hexdigest()
    if event.action not in words:
        words[event.action] = canonical(event.action).decode()
    if event.field not in words:
        words[event.field] = canonical(event.field, "field").decode()
    return (
        template
        % (
            words[event.action],
            canonical(event.entity_id, "entity_id").decode(),
            seq,
            words[event.field],
            NULL if new is None else f'"{new}"',
            NULL if old is None else f'"{old}"',
            seq,
        )
    ).encode()


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


def rows_of(events: pa.Table) -> list[tuple[object, ...]]:
    """Return events as :func:`pack` takes them."""
    columns = [
        (column.cast(pa.int64()) if name == "timestamp" else column).to_pylist()
        for name, column in zip(events.schema.names, events.columns, strict=True)
    ]
    return list(zip(*columns, strict=True))


def pack(rows: Sequence[tuple[object, ...]]) -> bytes:
    """Return events as :func:`numbered` gives them as a block, their leaves left out."""
    if len(rows) <= ROW_EVENTS_MAX:
        plain = [
            [each.hex() if isinstance(each, bytes) else each for each in row[:-1]] for row in rows
        ]
        return json.dumps(plain, separators=(",", ":")).encode()
    columns = list(zip(*rows, strict=True))[:-1]
    arrays = [pa.array(list(v), f.type) for v, f in zip(columns, _BLOCK_SCHEMA, strict=True)]
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
