"""One event, as a subscriber gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.topics.log import decode_event
from affidavit.catalog.values.canonical import datetime_of

if TYPE_CHECKING:
    from datetime import datetime

    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.subscriptions.consumer import Lease


class Delivery:
    """An event of a topic.

    Attributes:
        topic: The topic's name.
        offset: Its place in the topic, from 0 without a gap.
        attempts: How often it was delivered to its consumer, this time included; 1 without one.
    """

    __slots__ = ("_at_us", "_data", "_lease", "_message", "_topic", "offset")

    def __init__(
        self,
        topic: Topic,
        offset: int,
        at_us: int,
        message: bytes,
        data: pa.Table | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._topic = topic
        self.offset = offset
        self._at_us = at_us
        self._message = message
        self._data = data
        self._lease = lease

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._topic.name

    @property
    def tenant(self) -> str | None:
        """Whose topic it is; ``None`` for the shared scope."""
        return self._topic.tenant or None

    @property
    def produced_at(self) -> datetime:
        """When it was published, in UTC; never earlier than the event before it."""
        return datetime_of(self._at_us)

    @property
    def data(self) -> pa.Table:
        """Its rows; where the subscription has a predicate, those that it holds for."""
        if self._data is None:
            batch = decode_event(self._topic.schema, self._message)
            self._data = pa.Table.from_batches([batch])
        return self._data

    @property
    def attempts(self) -> int:
        """How often it was delivered to its consumer, this time included; 1 without one."""
        return 1 if self._lease is None else self._lease.attempts

    @property
    def lease(self) -> Lease | None:
        """What a named consumer has of it until it is settled."""
        return self._lease

    def ack(self) -> None:
        """Say that it was dealt with: the consumer does not get it again.

        In an open transaction of the session this is committed with it, or not at all. Without a
        named consumer it does nothing.
        """
        if self._lease is not None:
            self._lease.ack()

    def nak(self, delay: float = 0.0, reason: str = "") -> None:
        """Ask for it again, after ``delay`` seconds; the last time it goes to the dead letters."""
        if self._lease is not None:
            self._lease.nak(delay, reason)

    def term(self, reason: str = "") -> None:
        """Give it up: it goes to the dead letters now."""
        if self._lease is not None:
            self._lease.term(reason)

    def __repr__(self) -> str:
        at = self.produced_at.isoformat(timespec="microseconds")
        return f"Delivery({self.topic!r}, offset={self.offset}, produced_at={at})"
