"""The logs of topics: events kept in the store, read as SQL tables ``topics."<name>"``.

Rules:
    - An event is one row of the log, whatever number of rows it carries, and it is written in the
      transaction of whoever publishes it. Its offset is the next one of its topic, from 0 without
      a gap: the log itself says which, so nothing else can disagree with it.
    - Retention takes events away from the oldest on. What is too old is not read any more; it is
      deleted at the next publish, or by :func:`evict_old`. The newest always keeps its place,
      without its data once it is too old, so that offsets go on.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import And, Compare, IsNull, Not
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import LOG, TOPICS
from affidavit.catalog.topics.topic import all_topics
from affidavit.errors import InvalidEventError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.store.protocol import Reader, Store, Writer
    from affidavit.catalog.topics.news import News
    from affidavit.catalog.topics.topic import Topic

EVENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest event, as Arrow IPC."""

APPENDED_BYTES_MAX: Final = 64 * 1024
"""An event up to this size is written together with those that follow it in its transaction."""

PAGE_EVENTS: Final = 1024
PAGE_BYTES: Final = 16 * 1024 * 1024
"""A page of the log ends after so many events, or the event that reaches so many bytes."""

FETCHED_EVENTS: Final = 32
"""How many events are taken from the store at a time, however large they are."""

_LOG_COLUMNS: Final = tuple(columns_of(LOG))
EVENT_COLUMNS: Final = ("offset", "produced_at", "rows", "data")


class LogEvent(NamedTuple):
    """One event as the log has it; ``data`` is an Arrow IPC record batch message."""

    offset: int
    produced_at: int
    rows: int
    data: bytes


def encode_event(topic: Topic, rows: pa.RecordBatch) -> bytes:
    """Return rows, which have the topic's schema, as the log keeps them.

    Raises:
        InvalidEventError: There are none, or they have too many bytes.
    """
    if not rows.num_rows:
        msg = f"an event of topic {topic.name!r} needs at least one row"
        raise InvalidEventError(msg)
    # quick, and never less than nbytes: a slice's counts all of what it was cut from
    size = rows.get_total_buffer_size()
    if size > EVENT_BYTES_MAX:
        size = rows.nbytes
    if size <= EVENT_BYTES_MAX:
        data: bytes = rows.serialize().to_pybytes()
        size = len(data)
    if size > EVENT_BYTES_MAX:
        msg = (
            f"an event of topic {topic.name!r} has {size:,} bytes, and {EVENT_BYTES_MAX:,} are "
            "allowed: publish it in parts"
        )
        raise InvalidEventError(msg)
    return data


def decode_event(schema: pa.Schema, data: bytes) -> pa.RecordBatch:
    """Return the rows of an event.

    Raises:
        StoreError: The log's data is damaged.
    """
    try:
        return pa.ipc.read_record_batch(pa.py_buffer(data), schema)
    except (pa.ArrowException, TypeError, OSError) as error:
        msg = f"an event of a topic's log cannot be read: {error}"
        raise StoreError(msg) from error


def append_event(news: News, writer: Writer, topic: Topic, rows: int, data: bytes) -> int:
    """Write an event at the end of the log, and return its offset.

    Whoever listens is told once the transaction is committed.
    """
    key = (LOG.name, topic.topic_id)
    known = writer.memo.get(key)
    offset, last_us = known if isinstance(known, tuple) else _next(writer, topic)
    now_us = max(clock.now_us(), last_us)  # so that times are in the order of offsets
    retained = topic.retain_events is not None or topic.retain_us is not None
    row = (topic.topic_id, offset, now_us, rows, data)
    if not retained and len(data) <= APPENDED_BYTES_MAX:
        writer.append(LOG, _LOG_COLUMNS, row)
    else:
        with writer.savepoint() if retained else nullcontext():
            writer.insert(LOG, _LOG_COLUMNS, [row])
            if retained:
                evict(writer, topic, offset, now_us)
    if known is None:
        writer.on_commit(topic.topic_id, lambda: news.published(topic))
    writer.memo[key] = (offset + 1, now_us)
    return int(offset)


def _next(writer: Writer, topic: Topic) -> tuple[int, int]:
    """Return the next event's offset, and the time that it is not before."""
    newest = writer.select(
        LOG, ("offset", "produced_at"), Compare("=", "topic_id", topic.topic_id),
        order_by=("offset",), descending=True, limit=1,
    )  # fmt: skip
    return (int(newest[0][0] or 0) + 1, int(newest[0][1] or 0)) if newest else (0, 0)


def forget_topic(writer: Writer, topic: Topic) -> None:
    """Take a topic's name away, and its log."""
    own = Compare("=", "topic_id", topic.topic_id)
    writer.delete_where(LOG, own)
    writer.delete_where(TOPICS, own)
    writer.memo.clear()


def evict(writer: Writer, topic: Topic, newest: int, now_us: int) -> None:
    """Delete the events that the topic's retention does not keep; ``newest`` is the last one's."""
    own = Compare("=", "topic_id", topic.topic_id)
    if topic.retain_events is not None and newest >= topic.retain_events:
        last = newest - topic.retain_events
        writer.delete_where(LOG, And((own, Compare("<=", "offset", last))))
    if topic.retain_us is not None:
        first = first_offset(writer, topic, now_us)
        writer.delete_where(LOG, And((own, Compare("<", "offset", min(first, newest)))))
        if first > newest:
            writer.update_where(
                LOG, {"data": None}, And((own, Compare("=", "offset", newest), Not(IsNull("data"))))
            )


def evict_before(writer: Writer, topic: Topic, offset: int) -> None:
    """Delete the events before ``offset``, but for the newest."""
    before = min(offset, end_offset(writer, topic) - 1)
    own = Compare("=", "topic_id", topic.topic_id)
    writer.delete_where(LOG, And((own, Compare("<", "offset", before))))


def set_retention(
    writer: Writer, topic: Topic, retain_events: int | None, retain_us: int | None
) -> Topic:
    """Let a topic keep other events from now on, and let go of what it keeps no longer."""
    changed = replace(topic, retain_events=retain_events, retain_us=retain_us)
    values = {"retain_events": retain_events, "retain_us": retain_us}
    writer.update_where(TOPICS, values, Compare("=", "topic_id", topic.topic_id))
    writer.memo.clear()
    newest = end_offset(writer, topic) - 1
    if newest >= 0:
        evict(writer, changed, newest, clock.now_us())
    return changed


def evict_old(store: Store) -> None:
    """Delete what has become too old in every topic, so that it goes although nobody publishes."""
    for tenant in store.tenants(TOPICS):
        with store.read(tenant) as reader:
            aging = [
                topic
                for topic in all_topics(reader)
                if topic.tenant == tenant
                and topic.retain_us is not None
                and _oldest(reader, topic) < first_offset(reader, topic)
            ]
        for topic in aging:
            with store.write(tenant) as writer:
                newest = end_offset(writer, topic) - 1
                if newest >= 0:  # it may have been dropped meanwhile
                    evict(writer, topic, newest, clock.now_us())


def _oldest(reader: Reader, topic: Topic) -> int:
    """Return the offset of the oldest event whose data the log has, or else of the next event."""
    where = And((Compare("=", "topic_id", topic.topic_id), Not(IsNull("data"))))
    rows = reader.select(LOG, ("offset",), where, order_by=("offset",), limit=1)
    return int(rows[0][0] or 0) if rows else end_offset(reader, topic)


def first_offset(reader: Reader, topic: Topic, now_us: int | None = None) -> int:
    """Return the offset of the oldest event that is kept, or else of the next one."""
    oldest = _oldest(reader, topic)
    if topic.retain_us is None:
        return oldest
    kept_from = (clock.now_us() if now_us is None else now_us) - topic.retain_us
    return _published_from(reader, topic, kept_from, oldest, end_offset(reader, topic))


def end_offset(reader: Reader, topic: Topic) -> int:
    """Return the offset that the next event will have."""
    rows = reader.select(
        LOG, ("offset",), Compare("=", "topic_id", topic.topic_id), order_by=("offset",),
        descending=True, limit=1,
    )  # fmt: skip
    return int(rows[0][0] or 0) + 1 if rows else 0


def offset_at(reader: Reader, topic: Topic, moment_us: int) -> int:
    """Return the offset of the first event that was published at that time or later."""
    first, end = first_offset(reader, topic), end_offset(reader, topic)
    return _published_from(reader, topic, moment_us, first, end)


def _published_from(reader: Reader, topic: Topic, moment_us: int, low: int, high: int) -> int:
    """Return the first offset from ``low`` to ``high`` that is not before a time.

    Times are in the order of offsets. Mostly it is ``low``, which is looked at first.
    """
    middle = low
    while low < high:
        rows = reader.select(
            LOG, ("produced_at",),
            And((Compare("=", "topic_id", topic.topic_id), Compare("=", "offset", middle))),
        )  # fmt: skip
        if int(rows[0][0] or 0) < moment_us:
            low = middle + 1
        else:
            high = middle
        middle = (low + high) // 2
    return low


def read_log(
    reader: Reader, topic: Topic, first: int, *, limit: int = PAGE_EVENTS
) -> list[LogEvent]:
    """Return up to ``limit`` events from offset ``first`` on, or from the oldest that is kept."""
    own = Compare("=", "topic_id", topic.topic_id)
    if topic.retain_us is not None:
        first = max(first, first_offset(reader, topic))
    pages = reader.rows(
        LOG, EVENT_COLUMNS, And((own, Compare(">=", "offset", first), Not(IsNull("data")))),
        order_by=("offset",), batch_rows=min(limit, FETCHED_EVENTS),
    )  # fmt: skip
    run = next(runs(islice(chain.from_iterable(pages), limit)), [])
    pages.close()  # type: ignore[attr-defined]  # it is a generator
    return [LogEvent(*row) for row in run]


def runs(events: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    """Yield events of the log in runs of a size that is good to hold in memory."""
    run: list[Sequence[Any]] = []
    size = 0
    for event in events:
        run.append(event)
        size += len(event[3])
        if size >= PAGE_BYTES or len(run) == PAGE_EVENTS:
            yield run
            run, size = [], 0
    if run:
        yield run


def decode_events(schema: pa.Schema, messages: Sequence[bytes]) -> pa.Table:
    """Return the rows of many events, a chunk each: their messages are one Arrow IPC stream."""
    try:
        stream = b"".join([schema.serialize().to_pybytes(), *messages])
        return pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    except (pa.ArrowException, OSError) as error:
        msg = f"an event of a topic's log cannot be read: {error}"
        raise StoreError(msg) from error
