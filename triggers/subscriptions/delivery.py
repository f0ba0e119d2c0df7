"""One event, as a subscriber gets it, and the lease that a named consumer has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from affidavit.catalog.topics.log import decode_event
from affidavit.catalog.values.canonical import datetime_of
from affidavit.catalog.values.durations import SECONDS_MAX, is_seconds
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from datetime import datetime

    from affidavit.catalog.topics.topic import Topic


class Settles(Protocol):
    """What leases deliveries, and is told what became of them."""

    def settle(self, lease: Lease) -> None:
        """Settle a delivery for good."""

    def put_back(self, lease: Lease, delay: float, reason: str) -> None:
        """Have it delivered again after ``delay`` seconds."""

    def bury(self, lease: Lease, reason: str) -> None:
        """Send its event to the dead letters."""


class Lease:
    """One delivery to one worker, until it is settled.

    Attributes:
        offset: The event.
        attempts: How often it is delivered with this delivery.
        token: By what the store knows the lease.
        until: When it runs out, by the monotonic clock; ``None`` until it is handed out.
        following: The lease of the event that is handed out next.
        is_again: Whether the event was leased before.
        is_given_back: Whether its worker asked for the event again, or gave it up.
    """

    __slots__ = (
        "_settles", "attempts", "following", "is_again", "is_given_back", "offset", "token",
        "until",
    )  # fmt: skip

    def __init__(
        self, settles: Settles, offset: int, attempts: int, token: str, *, is_again: bool = False
    ) -> None:
        self._settles = settles
        self.offset = offset
        self.attempts = attempts
        self.token = token
        self.until: float | None = None
        self.following: Lease | None = None
        self.is_again = is_again
        self.is_given_back = False

    def begin(self, until: float | None) -> None:
        """Begin its time anew; ``None`` says that it is lost."""
        self.until = until

    def follow(self, following: Lease) -> None:
        """Say which lease is handed out when this one is settled."""
        self.following = following

    def ack(self) -> None:
        """Settle it for good."""
        self._settles.settle(self)

    def nak(self, delay: float, reason: str) -> None:
        """Have it delivered again after ``delay`` seconds."""
        if not is_seconds(delay):
            msg = f"delay must be a number of seconds from 0 to {SECONDS_MAX:,}, got {delay!r}"
            raise InvalidQueryError(msg)
        self._settles.put_back(self, delay, reason)
        self.is_given_back = True

    def term(self, reason: str) -> None:
        """Give it up."""
        self._settles.bury(self, reason)
        self.is_given_back = True


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

        In an open transaction of the session this is committed with it, or not at all. Outside of
        one it is committed when this returns or, of a subscription with ``ack_within``, within
        that time. Without a named consumer it does nothing.
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
