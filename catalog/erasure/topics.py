"""Events of topics that affidavit filled: what they have of rows that are erased is let go.

Rules:
    - An event keeps its offset, its time and its rows; images of erased rows become NULL, and so
      does every other value that is one of theirs.
    - What callers published is theirs: such events are named, and stay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.sql.predicate import And, Compare, IsNull, Not
from affidavit.catalog.store.protocol import ROWID, own
from affidavit.catalog.store.tables import DELIVERIES, LOG
from affidavit.catalog.topics.log import decode_events
from affidavit.catalog.topics.topic import OWN_PREFIX, all_topics
from affidavit.catalog.values.text import json_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.erasure.chosen import Chosen
    from affidavit.catalog.erasure.needles import Needles
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.topic import Topic

IMAGES: Final = ("old", "new")
"""The columns of a trigger's event that are rows of the table."""

_TRIGGERS: Final = frozenset({"event_id", "trigger", "table_name", "changed_at"})
"""Columns by which a trigger's event is known, also as a dead letter."""

ERASED: Final = "erased"
EVENTS_AT_ONCE: Final = 64


@dataclass(slots=True)
class Published:
    """What was found in topics.

    Attributes:
        rows: How many rows lost values, by topic.
        beyond: The topics of callers that have such values, and the first offset where.
    """

    rows: dict[str, int] = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)


def let_go_of_events(
    writer: Writer, tenant: str, chosen: Chosen, tables: frozenset[str], needles: Needles
) -> Published:
    """Destroy what events have of rows, in the transaction that says so.

    Args:
        writer: The transaction.
        tenant: Whose topics are looked through.
        chosen: The rows.
        tables: What their table is called, and was.
        needles: Their values.
    """
    found = Published()
    for topic in all_topics(writer):
        if topic.tenant != tenant:
            continue
        for messages in _events(writer, topic):
            rows = decode_events(topic.schema, [message for *_, message in messages])
            touched = _touched(topic, rows, chosen, tables, needles)
            if not any(map(len, touched.values())):
                continue
            if not _is_filled(topic):
                first = min(min(each) for each in touched.values() if each)
                found.beyond.setdefault(topic.name, _offset_of(messages, rows, first))
                continue
            _rewrite(writer, messages, rows, touched)
            count = len(set(chain.from_iterable(touched.values())))
            found.rows[topic.name] = found.rows.get(topic.name, 0) + count
    _forget_reasons(writer, tenant, needles)
    return found


def _is_filled(topic: Topic) -> bool:
    """Return whether affidavit fills a topic, and no caller."""
    by_trigger = set(topic.schema.names) >= _TRIGGERS
    return by_trigger or topic.name.startswith(OWN_PREFIX) or "dead_letters_of" in topic.metadata


def _events(reader: Reader, topic: Topic) -> Iterator[list[Sequence[Any]]]:
    """Yield the identity, offset and message of a topic's events, some at a time.

    Each lot is read before it is yielded: whoever takes it may write them anew.
    """
    has_data = And((Compare("=", "topic_id", topic.topic_id), Not(IsNull("data"))))
    after = -1
    while True:
        where = And((has_data, Compare(">", "offset", after)))
        found = reader.select(
            LOG, (ROWID, "offset", "data"), where, order_by=("offset",), limit=EVENTS_AT_ONCE
        )
        if not found:
            return
        yield list(found)
        after = int(found[-1][1] or 0)


def _offset_of(messages: list[Sequence[Any]], rows: pa.Table, at: int) -> int:
    """Return the offset of the event that has row ``at``."""
    for chunk, message in zip(rows.to_batches(), messages, strict=False):
        if at < chunk.num_rows:
            return int(message[1])
        at -= chunk.num_rows
    return int(messages[-1][1])


# --- which of their values ------------------------------------------------------------------------


def _touched(
    topic: Topic,
    rows: pa.Table,
    chosen: Chosen,
    tables: frozenset[str],
    needles: Needles,
) -> dict[str, list[int]]:
    """Return by column the rows whose value is, or has, one of an erased row."""
    found = {}
    is_theirs = None
    if set(topic.schema.names) >= _TRIGGERS:
        is_theirs = pc.is_in(rows["table_name"], value_set=pa.array(sorted(tables), pa.string()))
    for each in topic.schema:
        column = rows[each.name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else column
        if each.name in IMAGES and is_theirs is not None:
            found[each.name] = _of_rows(column, chosen, is_theirs.to_pylist(), needles)
        elif needles and not pt.is_temporal(each.type):
            found[each.name] = _with_values(column, needles)
    return found


def _of_rows(
    images: pa.StructArray, chosen: Chosen, are_theirs: list[bool], needles: Needles
) -> list[int]:
    """Return which images are of the rows: of their table and with their key.

    Where there is no key to tell them by they are told by their values.
    """
    theirs = [at for at, is_it in enumerate(are_theirs) if is_it and images[at].is_valid]
    if not theirs:
        return []
    rows = images.take(pa.array(theirs, pa.int64()))
    named = {images.type.field(at).name for at in range(images.type.num_fields)}
    columns = chosen.keys.column_names
    if not columns or not set(columns) <= named:
        return [theirs[at] for at in _with_values(rows, needles)] if needles else []
    wanted = {tuple(row.values()) for row in chosen.keys.to_pylist()}
    keys = zip(*(pc.struct_field(rows, name).to_pylist() for name in columns), strict=True)
    return [at for at, key in zip(theirs, keys, strict=True) if key in wanted]


def _with_values(column: pa.Array, needles: Needles) -> list[int]:
    """Return the rows of a column that have one of the values."""
    if pt.is_string(column.type) or pt.is_large_string(column.type):
        texts = column.to_pylist()
        return [at for at, text in enumerate(texts) if text is not None and needles.in_text(text)]
    if pt.is_boolean(column.type) or pt.is_null(column.type):
        return []
    values = map(json.loads, json_texts(column))
    return [at for at, value in enumerate(values) if needles.in_json(value)]


# --- and without them -----------------------------------------------------------------------------


def _rewrite(
    writer: Writer,
    messages: list[Sequence[Any]],
    rows: pa.Table,
    touched: dict[str, list[int]],
) -> None:
    """Write those events anew that have a value to be erased."""
    first = 0
    anew = []
    for batch, message in zip(rows.to_batches(), messages, strict=True):
        span = range(first, first + batch.num_rows)
        first = span.stop
        inside = {
            name: [at - span.start for at in found if at in span] for name, found in touched.items()
        }
        if any(inside.values()):
            columns = [
                _nulled(batch.column(name), inside.get(name, [])) for name in batch.schema.names
            ]
            written = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
            anew.append((written.serialize().to_pybytes(), message[0]))
    writer.update(LOG, ("data",), anew)


def _nulled(column: pa.Array, rows: list[int]) -> pa.Array:
    """Return a column with NULL in some rows, and nothing of what stood there."""
    if not rows:
        return column
    kept = set(rows)
    wanted = pa.array([None if at in kept else at for at in range(len(column))], pa.int64())
    return column.take(wanted)


def _forget_reasons(writer: Writer, tenant: str, needles: Needles) -> None:
    """Take such values out of why deliveries failed."""
    where = own(tenant, Not(IsNull("reason")))
    for rowid, reason in writer.select(DELIVERIES, (ROWID, "reason"), where):
        if needles.in_text(str(reason)):
            writer.update(DELIVERIES, ("reason",), [(ERASED, int(rowid or 0))])
