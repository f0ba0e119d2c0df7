"""Topics, their consumers and triggers, as SQL tables."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import And, Compare, IsNull, Not
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset, enough, rows_without_columns
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import LOG, TRIGGERS
from affidavit.catalog.topics.consumer import consumers_of, unsettled
from affidavit.catalog.topics.log import (
    EVENT_COLUMNS,
    FETCHED_EVENTS,
    decode_events,
    end_offset,
    first_offset,
    runs,
)
from affidavit.catalog.topics.topic import LOG_FIELDS, topic_by_id, topics
from affidavit.catalog.values.arrays import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.topics.topic import Topic
    from affidavit.engine.scans.snapshot import Snapshot

_TIME: Final = pa.timestamp("us", "UTC")

_TOPICS_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("tenant", pa.string()),
        pa.field("columns", pa.list_(pa.string())),
        pa.field("metadata", pa.string()),
        pa.field("first_offset", pa.int64()),
        pa.field("next_offset", pa.int64()),
        pa.field("retain_events", pa.int64()),
        pa.field("retain_seconds", pa.float64()),
    ]
)


_CONSUMERS_SCHEMA: Final = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("predicate", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("unsettled", pa.int64()),
        pa.field("lag", pa.int64()),
        pa.field("ack_wait_seconds", pa.float64()),
        pa.field("max_deliveries", pa.int64()),
        pa.field("max_in_flight", pa.int64()),
        pa.field("dead_letter", pa.string()),
    ]
)


_TRIGGERS_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("table_name", pa.string()),
        pa.field("actions", pa.list_(pa.string())),
        pa.field("predicate", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("callback", pa.bool_()),
        pa.field("created_at", _TIME),
    ]
)


def _rows(rows: list[dict[str, Any]], schema: pa.Schema, snapshot: Snapshot) -> ScanDataset:
    return ArrowDataset(pa.Table.from_pylist(rows, schema=schema), snapshot.fail)


def topics_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.topics``: every topic that the tenant sees."""
    reader = snapshot.reader
    rows = [
        {
            "name": topic.name,
            "tenant": topic.tenant or None,
            "columns": [f"{each.name} {each.type}" for each in topic.schema],
            "metadata": json.dumps(topic.metadata),
            "first_offset": first_offset(reader, topic),
            "next_offset": end_offset(reader, topic),
            "retain_events": topic.retain_events,
            "retain_seconds": None if topic.retain_us is None else topic.retain_us / 1_000_000,
        }
        for topic in topics(reader, snapshot.catalog.tenant)
    ]
    return _rows(rows, _TOPICS_SCHEMA, snapshot)


def consumers_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.consumers``: the tenant's consumers.

    ``position`` is the first event that is not settled; ``lag`` is how many are not, whether they
    were handed out or not. Events that a consumer's predicate has not been asked about count, and
    those that retention let go of do not.
    """
    reader, rows = snapshot.reader, []
    for each in consumers_of(reader, snapshot.catalog.tenant):
        topic = topic_by_id(reader, each.topic_id)
        if topic is None:
            continue
        waiting = unsettled(reader, each)
        ahead = end_offset(reader, topic) - max(each.next_offset, first_offset(reader, topic))
        rows.append(
            {
                "topic": topic.name,
                "name": each.name,
                "predicate": each.settings.where,
                "position": min([*waiting[:1], each.next_offset]),
                "unsettled": len(waiting),
                "lag": max(0, ahead) + len(waiting),
                "ack_wait_seconds": each.settings.ack_wait_s,
                "max_deliveries": each.settings.max_deliveries,
                "max_in_flight": each.settings.max_in_flight,
                "dead_letter": each.settings.dead_letter,
            }
        )
    return _rows(rows, _CONSUMERS_SCHEMA, snapshot)


def triggers_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.triggers``: the tenant's triggers and standing searches."""
    reader, catalog = snapshot.reader, snapshot.catalog
    mine = own(catalog.tenant)
    found = reader.select(TRIGGERS, columns_of(TRIGGERS), mine, order_by=("name",))
    rows = []
    for _, name, table_id, kind, definition, created_at in found:
        told = json.loads(str(definition))
        info = catalog.by_id(reader, str(table_id))
        rows.append(
            {
                "name": name,
                "kind": kind,
                "table_name": None if info is None else info.name,
                "actions": told.get("actions"),
                "predicate": told.get("where"),
                "topic": told["topic"],
                "callback": bool(told.get("callback")),
                "created_at": created_at,
            }
        )
    return _rows(rows, _TRIGGERS_SCHEMA, snapshot)


class TopicDataset(ScanDataset):
    """``topics."<name>"``: a topic's log, a row for each row of each event."""

    ordered_by = "_offset"

    def __init__(self, snapshot: Snapshot, topic: Topic) -> None:
        super().__init__(pa.schema([*LOG_FIELDS, *topic.schema]), snapshot.fail)
        self._reader = snapshot.reader
        self._topic = topic

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, in order, or from the end that is wanted on."""
        where = self._where(predicate)
        if not columns and predicate is None:
            counts = self._reader.select(LOG, ("rows",), where)
            yield from rows_without_columns(sum(int(count or 0) for (count,) in counts))
            return
        needed = {*columns, *(columns_in(predicate) if predicate is not None else ())}
        found = (keep(predicate, self._batch(events, needed)) for events in self._events(where))
        yield from (batch.select(columns) for batch in enough(found, self.end))

    def _events(self, where: And) -> Iterator[list[Sequence[Any]]]:
        """Yield the events that may match, in runs, from the end that is wanted on."""
        if self.end is None or not self.end.is_last:
            pages = self._reader.rows(
                LOG, EVENT_COLUMNS, where, order_by=("offset",), batch_rows=FETCHED_EVENTS
            )
            yield from runs(chain.from_iterable(pages))
            return
        before: tuple[Predicate, ...] = ()
        while True:
            events = self._reader.select(
                LOG, EVENT_COLUMNS, And((*where.operands, *before)), order_by=("offset",),
                descending=True, limit=FETCHED_EVENTS,
            )  # fmt: skip
            if events:
                yield list(events)
            if len(events) < FETCHED_EVENTS:
                return
            before = (Compare("<", "offset", events[-1][0]),)

    def _where(self, predicate: Predicate | None) -> And:
        own: list[Predicate] = [
            Compare("=", "topic_id", self._topic.topic_id), Not(IsNull("data")),
        ]  # fmt: skip
        if self._topic.retain_us is not None:
            own.append(Compare(">=", "offset", first_offset(self._reader, self._topic)))
        plain = {"_offset": "offset", "_produced_at": "produced_at"}
        return And((*own, *narrowing(predicate, plain)))

    def _batch(self, events: Sequence[Sequence[Any]], needed: set[str]) -> pa.RecordBatch:
        counts = [event[2] for event in events]
        rows: dict[str, Any] = {
            "_offset": np.repeat([event[0] for event in events], counts),
            "_row_index": np.concatenate([np.arange(count) for count in counts]),
            "_produced_at": np.repeat([event[1] for event in events], counts),
        }
        arrays = [
            pa.array(rows[each.name], pa.int64()).cast(each.type)
            for each in LOG_FIELDS
            if each.name in needed
        ]
        fields = [each for each in self._schema_ if each.name in needed]
        if len(fields) > len(arrays):
            data = decode_events(self._topic.schema, [event[3] for event in events])
            arrays += [whole(data[each.name]) for each in fields[len(arrays) :]]
        if not fields:
            return pa.RecordBatch.from_arrays([pa.nulls(sum(counts))], names=["_"]).select([])
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
