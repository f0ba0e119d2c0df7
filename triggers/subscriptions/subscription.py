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
from typing import TYPE_CHECKING, Final, Self
from weakref import ref

from affidavit.catalog.values.python.arguments import checked_seconds
from affidavit.errors import ClosedError
from affidavit.triggers.subscriptions.endings import when_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.model.release import Ending
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.exchange import Exchange
    from affidavit.triggers.subscriptions.feed import Feed

POLL_S: Final = 1.0
"""How long a subscriber waits before it looks by itself, should a broker be silent."""


class Subscription:
    """Deliveries of a topic, as an iterator and an async iterator; a context manager.

    Iterating ends when it is closed, or when nothing came for ``timeout`` seconds.

    Attributes:
        topic: The topic's name.
    """

    def __init__(
        self, exchange: Exchange, feed: Feed, timeout: float | None, told: Ending | None = None
    ) -> None:
        self.topic = feed.topic.name
        self._feed = feed
        self._timeout = checked_seconds(timeout, "timeout")
        self._buffer: deque[Delivery] = deque()
        self._fetching = threading.RLock()
        self._news = threading.Event()
        self._tasks: set[Callable[[], None]] = set()
        self._closed = False
        # the broker does not keep alive what nobody iterates any more
        self._end = when_forgotten(self, exchange.listen(feed.topic, partial(_wake, ref(self))))
        self._told = told
        if told is not None:  # one that nobody holds any more is over as well
            when_forgotten(self, told.end, is_wanted=False)
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
                    if self._feed.confirmed(self._buffer[0]):
                        return True
                    self._buffer.popleft()
                self._news.clear()  # before reading: what comes meanwhile wakes again
                found = self._feed.fetch()
                if found is None:
                    return False
                self._buffer.extend(found)
            self._give_back()
        return False

    def _take(self) -> Delivery | None:
        """Return the next delivery that is there now."""
        with self._fetching:
            return self._handed(self._buffer.popleft()) if self._fill() else None

    def _handed(self, delivery: Delivery) -> Delivery:
        """Return a delivery that is handed over, and say so if that is on record."""
        if self._told is not None:
            self._told.left()
        return delivery

    def _give_back(self) -> None:
        with self._fetching:
            rest = list(self._buffer)
            self._buffer.clear()
        self._feed.give_back(rest)

    def _pause(self, deadline: float | None) -> float:
        """Return for how long to wait before looking again; 0 once the time is over."""
        left = POLL_S if deadline is None else max(0.0, deadline - monotonic())
        due = self._feed.due_in()
        return min(POLL_S, left, POLL_S if due is None else max(due, 0.001))

    def next(self, timeout: float | None = None) -> Delivery | None:
        """Return the next delivery, or ``None`` if there is none within ``timeout`` seconds.

        Raises:
            ClosedError: The subscription is closed.
            OffsetEvictedError: Retention overtook the subscriber.
        """
        timeout = checked_seconds(timeout, "timeout")
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
                        return self._handed(self._buffer.popleft())
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
        if self._told is not None:
            self._told.end(is_wanted=True)

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
