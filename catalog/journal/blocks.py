"""Blocks: the newest events as the store keeps them, a block for each change."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.journal.events import (
    EVENTS_SCHEMA,
    PLAIN_SCHEMA,
    Events,
    completed,
    has_contexts,
)
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.events import Event

ROW_EVENTS_MAX: Final = 64
"""A block of up to so many events is kept as JSON: an Arrow schema would be larger than they."""

BLOCK_EVENTS_MAX: Final = 262_144
BLOCK_CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""How much one block holds; a change with more is kept as several."""

_BLOCK_SCHEMA: Final = EVENTS_SCHEMA.remove(EVENTS_SCHEMA.get_field_index("leaf_hash"))
_PLAIN_BLOCK: Final = pa.schema(list(_BLOCK_SCHEMA)[: len(PLAIN_SCHEMA) - 1])
"""A block whose events have no context ends before the columns of contexts."""

HASH_BYTES: Final = 32


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


def event_columns(events: pa.Table) -> list[Sequence[Any]]:
    """Return events as :func:`pack` takes them."""
    schema = _BLOCK_SCHEMA if has_contexts(events) else _PLAIN_BLOCK
    return [
        (events[each.name].cast(pa.int64()) if pt.is_timestamp(each.type) else events[each.name])
        .to_pylist()
        for each in schema
    ]  # fmt: skip


def pack(columns: Sequence[Sequence[Any]]) -> bytes:
    """Return events as ``signing.numbered`` gives them as a block, their leaves left out."""
    if len(columns[0]) <= ROW_EVENTS_MAX:
        plain = [
            [each.hex() if isinstance(each, bytes) else each for each in row]
            for row in zip(*columns, strict=True)
        ]
        return json.dumps(plain, separators=(",", ":")).encode()
    schema = _PLAIN_BLOCK if len(columns) == len(_PLAIN_BLOCK) else _BLOCK_SCHEMA
    arrays = [pa.array(v, f.type) for v, f in zip(columns, schema, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
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
    batch = batch.append_column("leaf_hash", pa.array(_hashes(leaves), pa.binary()))
    return completed(batch, EVENTS_SCHEMA.names)


def _from_rows(rows: list[list[object]]) -> pa.RecordBatch:
    """Return events of rows, of which those without a context may be shorter."""
    widths = set(map(len, rows))
    if len(widths) > 1:
        widest = max(widths)
        rows = [each + [None] * (widest - len(each)) for each in rows]
    columns = list(zip(*rows, strict=True)) or [()] * len(_BLOCK_SCHEMA)
    if len(columns) == len(_PLAIN_BLOCK):
        columns += [(None,) * len(rows)] * (len(_BLOCK_SCHEMA) - len(columns))
    arrays = []
    for values, each in zip(columns, _BLOCK_SCHEMA, strict=True):
        plain: list[object] = list(values)
        if pa.types.is_binary(each.type):
            plain = [None if value is None else bytes.fromhex(str(value)) for value in plain]
        arrays.append(pa.array(plain, each.type))
    return pa.RecordBatch.from_arrays(arrays, schema=_BLOCK_SCHEMA)


# --- rows of the tail -----------------------------------------------------------------------------


def checked_block(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a block's row if its columns have what an append puts there.

    Args:
        row: Its rowid, first number, last number, number of events, events and leaves.

    Raises:
        LedgerCorruptError: They have something else.
    """
    if [type(value) for value in row[1:]] != [int, int, int, bytes, bytes]:
        seq = row[1] if type(row[1]) is int else None
        raise LedgerCorruptError("its block in the journal's tail is unreadable", seq=seq)
    return row


def table_of_blocks(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return the events of blocks, in their order.

    Raises:
        LedgerCorruptError: One of them cannot be read.
    """
    batches: list[pa.RecordBatch] = []
    for is_written_by_row, blocks in groupby(map(checked_block, rows), _is_written_by_row):
        few = list(blocks)
        batches += _joined(few) if is_written_by_row else map(_unpacked, few)
    return pa.Table.from_batches(batches, EVENTS_SCHEMA)


def _is_written_by_row(row: tuple[Any, ...]) -> bool:
    return bool(row[-2].startswith(b"["))


def _joined(rows: Sequence[tuple[Any, ...]]) -> list[pa.RecordBatch]:
    """Return the events of blocks of few: at once, since each batch costs as much as a hundred."""
    events: list[list[object]] = []
    hashes: list[bytes] = []
    try:
        for *_, data, leaves in rows:
            told = json.loads(data)
            if len(leaves) != HASH_BYTES * len(told):
                raise ValueError("another number of leaves")
            events += told
            hashes += _hashes(leaves)
        found = _from_rows(events).append_column("leaf_hash", pa.array(hashes, pa.binary()))
        return [found.cast(EVENTS_SCHEMA)]  # whose last column it is
    except (ValueError, TypeError, AttributeError, pa.ArrowException):
        return list(map(_unpacked, rows))  # one of them cannot be read, and is named


def _hashes(leaves: bytes) -> list[bytes]:
    return [leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)]


def _unpacked(row: tuple[Any, ...]) -> pa.RecordBatch:
    _, first, *_, data, leaves = checked_block(row)
    try:
        return unpack(data, leaves).cast(EVENTS_SCHEMA)
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        msg = f"its block in the journal's tail cannot be read: {error}"
        raise LedgerCorruptError(msg, seq=first) from error
