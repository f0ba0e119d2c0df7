"""Feeds: where a subscription's deliveries come from; the first is a topic's log itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pyarrow as pa

from affidavit.catalog.topics.log import (
    PAGE_EVENTS,
    decode_event,
    decode_events,
    first_offset,
    read_log,
)
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.catalog.values.arrays import take
from affidavit.errors import ExecutionError, OffsetEvictedError, TopicNotFoundError
from affidavit.triggers.subscriptions.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.topics.log import LogEvent
    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.predicates.predicate import EventPredicate

FEW_EVENTS: Final = 8
"""Up to so many events are looked at one by one, and more of them together."""


class Feed(Protocol):
    """Where a subscription's deliveries come from."""

    topic: Topic

    def fetch(self) -> Sequence[Delivery] | None:
        """Return what comes next, in order, after a short look.

        Empty if nothing was found yet, but there is more to look at; ``None`` if there is not.
        """

    def confirmed(self, delivery: Delivery, /) -> bool:
        """Return whether a delivery that was fetched may still be handed out, which is done now."""

    def due_in(self) -> float | None:
        """Return in how many seconds there may be something although nobody publishes."""

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Take back what was fetched and never handed out."""


def select(
    topic: Topic, events: Sequence[LogEvent], predicate: EventPredicate | None
) -> Iterator[tuple[LogEvent, pa.Table | None]]:
    """Yield the events that have a row for which ``predicate`` holds, and those rows.

    Without a predicate the rows are not looked at, and are ``None``.

    Raises:
        ExecutionError: The predicate cannot be computed on some row; its event is named.
    """
    if predicate is None:
        for event in events:
            yield event, None
    elif len(events) <= FEW_EVENTS:
        yield from _one_by_one(topic, events, predicate)
    else:
        rows = decode_events(topic.schema, [event.data for event in events])
        try:
            held = predicate.mask(rows.combine_chunks()).to_numpy(zero_copy_only=False)
        except ExecutionError:
            yield from _one_by_one(topic, events, predicate)
        else:
            yield from _held(events, rows, held.astype(bool))


def _one_by_one(
    topic: Topic, events: Sequence[LogEvent], predicate: EventPredicate
) -> Iterator[tuple[LogEvent, pa.Table]]:
    for event in events:
        rows = pa.Table.from_batches([decode_event(topic.schema, event.data)])
        try:
            kept = predicate.keep(rows)
        except ExecutionError as error:
            msg = f"event {event.offset} of topic {topic.name!r}: {error}"
            raise ExecutionError(msg) from error
        if kept.num_rows:
            yield event, kept


def _held(
    events: Sequence[LogEvent], rows: pa.Table, held: np.ndarray
) -> Iterator[tuple[LogEvent, pa.Table]]:
    """Yield the events with a row that is held, and those rows."""
    ends = np.cumsum([event.rows for event in events])
    counts = np.add.reduceat(held, ends - [event.rows for event in events], dtype=np.int64)
    chunks = rows.to_batches()
    for at in np.flatnonzero(counts).tolist():
        event = events[at]
        part = chunks[at]
        if counts[at] < event.rows:
            part = take(part, pa.array(np.flatnonzero(held[ends[at] - event.rows : ends[at]])))
        yield event, pa.Table.from_batches([part])


def read_page(
    reader: Reader, topic: Topic, first: int, *, limit: int = PAGE_EVENTS
) -> list[LogEvent]:
    """Return the events from offset ``first`` on that are one page, and not more than ``limit``.

    Raises:
        OffsetEvictedError: That event was let go.
        TopicNotFoundError: The topic was dropped.
    """
    page = read_log(reader, topic, first, limit=limit)
    oldest = page[0].offset if page else first_offset(reader, topic)
    if oldest > first:
        raise OffsetEvictedError(topic.name, first, first_offset=oldest)
    if not page and topic_by_id(reader, topic.topic_id) is None:
        raise TopicNotFoundError(topic.name)
    return page


class LogFeed:
    """A topic's log from one event on, for one subscriber.

    Args:
        read: Opens the snapshot to read.
        topic: The topic.
        first: The first event.
        predicate: Which rows are wanted.
    """

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Reader]],
        topic: Topic,
        first: int,
        predicate: EventPredicate | None,
    ) -> None:
        self.topic = topic
        self.position = first
        self._read = read
        self._predicate = predicate

    def fetch(self) -> list[Delivery] | None:
        """Return the next page's events; ``None`` at the end of the log."""
        with self._read() as reader:
            page = read_page(reader, self.topic, self.position)
        if not page:
            return None
        found = [
            Delivery(self.topic, event.offset, event.produced_at, event.data, rows)
            for event, rows in select(self.topic, page, self._predicate)
        ]
        self.position = page[-1].offset + 1  # only now: a predicate that fails loses no event
        return found

    def until(self, end: int) -> Generator[Delivery]:
        """Yield the deliveries before offset ``end``, each let go of before the next."""
        while self.position < end:
            found = self.fetch()
            if found is None:  # published in a transaction that was rolled back meanwhile
                return
            pending = deque(found)
            del found  # a page's deliveries are let go one by one, each with its decoded rows
            while pending:
                if pending[0].offset >= end:
                    return
                yield pending.popleft()

    def confirmed(self, _delivery: Delivery, /) -> bool:
        """Return true: nobody else gets it."""
        return True

    def due_in(self) -> None:
        """Return nothing: events come when they are published."""

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: who subscribes again says where to begin."""
