"""Subscriptions: a topic's log read from some event on, and then whatever comes.

Rules:
    - The log is read, and nothing else: whoever is woken reads on from where they were. So there is
      no gap and no duplicate between what was there and what comes, and a slow subscriber costs a
      publisher nothing.
    - A subscriber holds one page of the log in memory at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, Self
from weakref import finalize, ref

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
from affidavit.errors import (
    ClosedError,
    ExecutionError,
    InvalidQueryError,
    OffsetEvictedError,
    TopicNotFoundError,
)
from affidavit.triggers.subscriptions.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.topics.log import LogEvent
    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.predicates.predicate import EventPredicate
    from affidavit.triggers.subscriptions.exchange import Exchange

POLL_S: Final = 1.0
"""How long a subscriber waits before it looks by itself, should a broker be silent."""

FEW_EVENTS: Final = 8
"""Up to so many events are looked at one by one, and more of them together."""


class Source(Protocol):
    """Where a subscription's deliveries come from."""

    topic: Topic

    def fetch(self) -> Sequence[Delivery] | None:
        """Return what comes next, in order, after a short look.

        Empty if nothing was found yet, but there is more to look at; ``None`` if there is not.
        """

    def confirmed(self, delivery: Delivery) -> bool:
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


class LogSource:
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

    def confirmed(self, delivery: Delivery) -> bool:  # noqa: ARG002 - the protocol's
        """Return true: nobody else gets it."""
        return True

    def due_in(self) -> None:
        """Return nothing: events come when they are published."""

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing: who subscribes again says where to begin."""


class Subscription:
    """Deliveries of a topic, as an iterator and an async iterator; a context manager.

    Iterating ends when it is closed, or when nothing came for ``timeout`` seconds.

    Attributes:
        topic: The topic's name.
    """

    def __init__(self, exchange: Exchange, source: Source, timeout: float | None) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            msg = f"timeout must be a number of seconds, got {timeout!r}"
            raise InvalidQueryError(msg)
        self.topic = source.topic.name
        self._source = source
        self._timeout = timeout
        self._buffer: deque[Delivery] = deque()
        self._fetching = threading.RLock()
        self._news = threading.Event()
        self._tasks: set[Callable[[], None]] = set()
        self._closed = False
        # the broker does not keep alive what nobody iterates any more
        self._end = finalize(self, exchange.listen(source.topic, partial(_wake, ref(self))))
        self._end.atexit = False
        exchange.opened(self)

    def _wake(self) -> None:
        self._news.set()
        for call in tuple(self._tasks):
            call()

    # --- taking --------------------------------------------------------------------------------

    def _fill(self) -> bool:
        """Return whether the first delivery of the buffer may be handed out; fetch if need be."""
        with self._fetching:
            while not self._closed:
                while self._buffer:
                    if self._source.confirmed(self._buffer[0]):
                        return True
                    self._buffer.popleft()
                self._news.clear()  # before reading: what comes meanwhile wakes again
                found = self._source.fetch()
                if found is None:
                    return False
                self._buffer.extend(found)
            self._give_back()
        return False

    def _take(self) -> Delivery | None:
        """Return the next delivery that is there now."""
        with self._fetching:
            return self._buffer.popleft() if self._fill() else None

    def _give_back(self) -> None:
        with self._fetching:
            rest = list(self._buffer)
            self._buffer.clear()
        self._source.give_back(rest)

    def _pause(self, deadline: float | None) -> float:
        """Return for how long to wait before looking again; 0 once the time is over."""
        left = POLL_S if deadline is None else max(0.0, deadline - monotonic())
        due = self._source.due_in()
        return min(POLL_S, left, POLL_S if due is None else max(due, 0.001))

    def next(self, timeout: float | None = None) -> Delivery | None:
        """Return the next delivery, or ``None`` if there is none within ``timeout`` seconds.

        Raises:
            ClosedError: The subscription is closed.
            OffsetEvictedError: Retention overtook the subscriber.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            delivery = self._take()
            if delivery is not None:
                return delivery
            if self._closed:
                msg = f"the subscription to {self.topic!r} is closed: subscribe again"
                raise ClosedError(msg)
            pause = self._pause(deadline)
            if not pause:
                return None
            self._news.wait(pause)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        if self._buffer:  # most of the time
            delivery = self._take()
            if delivery is not None:
                return delivery
        try:
            found = None if self._closed else self.next(self._timeout)
        except ClosedError:
            found = None
        if found is None:
            raise StopIteration
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(news.set)

        self._tasks.add(wake)
        deadline = None if self._timeout is None else monotonic() + self._timeout
        try:
            while not self._closed:
                news.clear()
                # the thread only fills the buffer: a task that is cancelled meanwhile takes nothing
                if await asyncio.to_thread(self._fill):
                    with suppress(IndexError):  # a thread that shares this was quicker
                        return self._buffer.popleft()
                    continue
                pause = self._pause(deadline)
                if not pause:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), pause)
        except ClosedError:  # the session was
            pass
        finally:
            self._tasks.discard(wake)
        raise StopAsyncIteration

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """End it; whoever waits for a delivery stops waiting. Safe to call from any thread."""
        if self._closed:
            return
        self._closed = True
        self._end()
        self._wake()
        self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"Subscription({self.topic!r}{state})"


def _wake(subscription: ref[Subscription]) -> None:
    found = subscription()
    if found is not None:
        found._wake()  # noqa: SLF001 - of the same module
