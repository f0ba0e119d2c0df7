"""Named consumers: how far somebody has come in a topic, kept in the store and shared by workers.

Rules:
    - What is handed out is leased in a transaction first, to one worker, until it is settled or its
      time is over. A worker that dies leaves leases that run out, and the events go to others.
    - A worker leases several events at once, and as few as one where it is slow, so that others
      have something to do. A lease begins anew when its event is handed out, and only then counts
      as a delivery: no event is given up that nobody was given.
    - A worker that gathers acknowledgements gathers first deliveries too: they count soon after
      they are handed out. One that comes again counts before, so that an event that ends its
      worker each time is given up all the same.
    - Events that are not committed are not handed out, not even in their own transaction.
    - Events are handed out in order. One that comes again comes before any that no worker holds.
    - An event that was delivered as often as it may be goes to the dead letters, in the transaction
      that takes it from the consumer: it is in one place or the other.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice, pairwise
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID, columns_of
from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES
from affidavit.catalog.topics.consumer import Consumer, find_consumer
from affidavit.catalog.topics.log import end_offset, read_log
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.errors import (
    AffidavitError,
    ConsumerConflictError,
    LeaseLostError,
    TopicNotFoundError,
)
from affidavit.triggers.subscriptions.delivery import Delivery, Lease
from affidavit.triggers.subscriptions.feed import read_page, select
from affidavit.triggers.subscriptions.letters import REASON_LENGTH_MAX, write_letter
from affidavit.triggers.subscriptions.settling import Gathered, Part, own_deliveries, write_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.topic import Topic
    from affidavit.catalog.values.types import StoreValue
    from affidavit.triggers.predicates.predicate import EventPredicate
    from affidavit.triggers.subscriptions.exchange import Exchange

LEASED_AT_ONCE: Final = 64
"""How many events a worker takes in one transaction at most."""

GATHERS_AT_ONCE: Final = 256
"""The same, of a worker that gathers acknowledgements: it waits for no other commit."""

QUICK_S: Final = 0.1
"""A worker that comes back for more within this time takes twice as many, and else one."""

LOOKED_AT_ONCE: Final = 256
"""How many events a predicate is asked about in one transaction."""

_PUT_BACK: Final = "since "
"""What the token of an event that was put back begins with; after it, when that was."""

_US: Final = 1_000_000


def _put_back(now_us: int) -> str:
    return f"{_PUT_BACK}{now_us}"


def _waits_us(due_us: int, token: str, ack_wait_us: int) -> int:
    """Return how long an event was to wait when its time was set."""
    since = token.removeprefix(_PUT_BACK)
    is_put_back = since != token and since.isdecimal()
    return max(due_us - int(since), 0) if is_put_back else ack_wait_us


class ConsumerFeed:
    """A named consumer's deliveries, as one of its workers gets them.

    Args:
        catalog: Whose consumer it is.
        exchange: What wakes other workers, and commits what several settle.
        topic: The topic.
        consumer: The consumer.
        predicate: Which rows are wanted.
        ack_within_s: For how long acknowledgements may be gathered; 0 for none that is not
            committed when it returns.
    """

    def __init__(
        self,
        catalog: Catalog,
        exchange: Exchange,
        topic: Topic,
        consumer: Consumer,
        predicate: EventPredicate | None,
        ack_within_s: float = 0.0,
    ) -> None:
        self.topic = topic
        self.consumer = consumer
        self._catalog = catalog
        self._exchange = exchange
        self._predicate = predicate
        self._due_in: float | None = None
        self._many = 1
        self._came = 0.0
        within_s = min(ack_within_s, consumer.settings.ack_wait_s / 2)  # else all came again
        self._gathered = Gathered(within_s, self._commit)
        self._gathers = ack_within_s > 0
        self._most = GATHERS_AT_ONCE if self._gathers else LEASED_AT_ONCE

    @property
    def _is_alone(self) -> bool:
        """Whether what is done here is in no transaction of the session."""
        return self._catalog.transactions.current() is None

    # --- taking --------------------------------------------------------------------------------

    def fetch(self) -> list[Delivery] | None:
        """Lease what is due, and then what is new."""
        if self._gathered.is_late and self._is_alone:
            self._gathered.commit()
        with self._catalog.lake.store.read(self._catalog.tenant) as reader:
            end = end_offset(reader, self.topic)
        with self._catalog.read() as reader:
            if not self._has_work(reader, end):
                return None
        is_quick = monotonic() - self._came < QUICK_S
        self._many = min(2 * self._many, self._most) if is_quick else 1
        if not self._is_alone:
            found = self._lease(end)
        else:
            with self._gathered.taken() as part:
                found = self._lease(end, part)
        if found:
            self._came = monotonic()
        return found

    def _lease(self, end: int, part: Part | None = None) -> list[Delivery]:
        """Lease events before ``end``, in the transaction that commits what was gathered."""
        with self._catalog.write() as writer:
            if part is not None:
                write_part(writer, self.consumer, part)
            consumer = self._current(writer)
            token = uuid4().hex
            writer.update(DELIVERIES, ("due_at",), self._astray(writer))
            due = self._due(writer)
            found = self._again(writer, due, token)
            waiting = writer.count(DELIVERIES, own_deliveries(consumer))
            room = min(self._many - len(due), consumer.settings.max_in_flight - waiting)
            if room > 0:
                found += self._new(writer, consumer, token, room, end)
            leases = [each.lease for each in found if each.lease is not None]
            if part is not None and self._gathers:
                self._begin_new(leases)
            for lease in leases[:1]:
                if lease.until is None:
                    self._hand_out(writer, lease)
        for lease, following in pairwise(leases):
            lease.follow(following)
        return found

    def _begin_new(self, leases: Iterable[Lease]) -> None:
        """Let the time of what was never leased before begin: it is counted with what follows."""
        until = monotonic() + self.consumer.settings.ack_wait_s
        for lease in leases:
            if not lease.is_again:
                lease.begin(until)

    def _current(self, reader: Reader) -> Consumer:
        tenant = self._catalog.tenant
        found = find_consumer(reader, tenant, self.topic.topic_id, self.consumer.name)
        if found is None or found.consumer_id != self.consumer.consumer_id:
            if topic_by_id(reader, self.topic.topic_id) is None:
                raise TopicNotFoundError(self.topic.name)
            msg = f"consumer {self.consumer.name!r} of topic {self.topic.name!r} was dropped"
            raise ConsumerConflictError(msg)
        return found

    def _has_work(self, reader: Reader, end: int) -> bool:
        """Return whether there may be something to lease, and note when else there will be."""
        consumer = self._current(reader)
        is_new = consumer.next_offset < end
        if not is_new and topic_by_id(reader, self.topic.topic_id) is None:
            raise TopicNotFoundError(self.topic.name)  # a shared one's drop leaves consumers
        due = reader.select(
            DELIVERIES, ("due_at",), own_deliveries(consumer), order_by=("due_at",), limit=1
        )  # fmt: skip
        self._due_in = (int(due[0][0] or 0) - clock.now_us()) / _US if due else None
        if self._due_in is not None and self._due_in <= 0:
            return True
        if self._astray(reader):
            return True
        settled = self._gathered.waiting if self._is_alone else 0
        waiting = reader.count(DELIVERIES, own_deliveries(consumer)) - settled
        return is_new and waiting < consumer.settings.max_in_flight

    def _astray(self, reader: Reader) -> list[tuple[int, int]]:
        """Return what is to wait longer than it was told to, and until when it would from now.

        The clock was ahead when its time was set: by that time it could wait for years.
        """
        now_us, wait_us = clock.now_us(), int(self.consumer.settings.ack_wait_s * _US)
        late = own_deliveries(self.consumer, Compare(">", "due_at", now_us + wait_us))
        found = []
        for rowid, due_at, token in reader.select(DELIVERIES, (ROWID, "due_at", "token"), late):
            waits_us = _waits_us(int(due_at or 0), str(token or ""), wait_us)
            if int(due_at or 0) > now_us + waits_us:
                found.append((now_us + waits_us, int(rowid or 0)))
        return found

    def _due(self, writer: Writer) -> list[tuple[StoreValue, ...]]:
        """Return what nobody settled in time, or was given back."""
        return writer.select(
            DELIVERIES, (ROWID, "offset", "attempts", "reason"),
            own_deliveries(self.consumer, Compare("<=", "due_at", clock.now_us())),
            order_by=("offset",), limit=self._many,
        )  # fmt: skip

    def _again(
        self, writer: Writer, due: Sequence[tuple[StoreValue, ...]], token: str
    ) -> list[Delivery]:
        """Lease what is due, or bury it."""
        found: list[Delivery] = []
        for rowid, offset, attempts, reason in due:
            event = read_log(writer, self.topic, int(offset or 0), limit=1)
            if not event or event[0].offset != offset:  # retention let go of it
                writer.delete(DELIVERIES, [int(rowid or 0)])
                continue
            if int(attempts or 0) >= self.consumer.settings.max_deliveries:
                why = str(reason or "it was not acknowledged in time")
                self._bury(writer, int(offset or 0), int(attempts or 0), why)
                continue
            lease = Lease(self, int(offset or 0), int(attempts or 0) + 1, token, is_again=True)
            writer.update(DELIVERIES, ("due_at", "token"), [(self._until(), token, rowid)])
            _, rows_ = next(
                iter(select(self.topic, event, self._predicate)), (event[0], None)
            )  # fmt: skip
            found.append(
                Delivery(
                    self.topic, lease.offset, event[0].produced_at, event[0].data, rows_, lease
                )
            )
        return found

    def _new(
        self, writer: Writer, consumer: Consumer, token: str, room: int, end: int
    ) -> list[Delivery]:
        """Lease up to ``room`` of the next events that nobody was given yet, before ``end``."""
        limit = room if self._predicate is None else LOOKED_AT_ONCE
        page = read_page(writer, self.topic, consumer.next_offset, limit=limit)
        page = [event for event in page if event.offset < end]
        if not page:
            return []
        matching = list(islice(select(self.topic, page, self._predicate), room))
        last = matching[-1][0] if len(matching) == room else page[-1]
        writer.update_where(CONSUMERS, {"next_offset": last.offset + 1}, own_deliveries(consumer))
        until = self._until()
        leased = [
            (consumer.consumer_id, event.offset, 0, until, token, "") for event, _ in matching
        ]
        writer.insert(DELIVERIES, columns_of(DELIVERIES), leased)
        return [
            Delivery(
                self.topic, event.offset, event.produced_at, event.data, rows,
                Lease(self, event.offset, 1, token),
            )
            for event, rows in matching
        ]  # fmt: skip

    def _until(self) -> int:
        return clock.now_us() + int(self.consumer.settings.ack_wait_s * _US)

    def confirmed(self, delivery: Delivery, /) -> bool:
        """Return whether the lease is still this worker's, and begin it anew if it is old."""
        lease = delivery.lease
        assert lease is not None
        if lease.until is not None and (
            lease.until - monotonic() > self.consumer.settings.ack_wait_s / 2
        ):
            if self._gathers and not lease.is_again:
                self._gathered.hand_out(lease)
            return True
        with self._catalog.write() as writer:
            return self._hand_out(writer, lease)

    def _hand_out(self, writer: Writer, lease: Lease) -> bool:
        """Count a delivery and begin its time, unless the lease is lost."""
        values: dict[str, int | str] = {
            "attempts": lease.attempts, "due_at": self._until(), "reason": "",
        }  # fmt: skip
        is_held = bool(writer.update_where(DELIVERIES, values, self._held(lease)))
        lease.begin(monotonic() + self.consumer.settings.ack_wait_s if is_held else None)
        return is_held

    def due_in(self) -> float | None:
        """Return in how many seconds a lease runs out."""
        return self._due_in

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let other workers have what this one never handed out, as if it had not been leased."""
        leases = [each.lease for each in deliveries if each.lease is not None]
        with suppress(AffidavitError):  # else the leases run out
            self._gathered.close()
            if not leases:
                return
            with self._catalog.write() as writer:
                for lease in leases:
                    now_us = clock.now_us()
                    values: dict[str, int | str] = {
                        "due_at": now_us, "token": _put_back(now_us),
                        "attempts": lease.attempts - 1,
                    }  # fmt: skip
                    writer.update_where(DELIVERIES, values, self._held(lease))
            self._exchange.wake(self.topic)

    # --- settling ------------------------------------------------------------------------------

    def _held(self, lease: Lease) -> Predicate:
        return own_deliveries(
            self.consumer, Compare("=", "offset", lease.offset), Compare("=", "token", lease.token)
        )

    def settle(self, lease: Lease) -> None:
        """Forget the event, whoever has it by now: it was dealt with.

        Raises:
            LeaseLostError: It was delivered to another worker meanwhile, and what the open
                transaction makes of it would be done twice.
        """
        with self._catalog.transactions.turn():
            if not self._is_alone:
                self._settle_in_transaction(lease)
            elif self._gathers and self._gathered.is_open:
                self._gathered.settle(lease)
            else:
                self._exchange.settling.commit(
                    self._catalog.tenant, lambda writer: self._settle(writer, lease)
                )

    def _settle_in_transaction(self, lease: Lease) -> None:
        with self._catalog.write() as writer:
            if not writer.delete_where(DELIVERIES, self._held(lease)):
                raise LeaseLostError(self.topic.name, lease.offset)

    def _settle(self, writer: Writer, lease: Lease) -> None:
        """Forget an event, and hand the following one out: one commit for both."""
        writer.delete_where(
            DELIVERIES, own_deliveries(self.consumer, Compare("=", "offset", lease.offset))
        )
        following = lease.following
        if following is not None and following.until is None:
            self._hand_out(writer, following)

    def _commit(self, part: Part) -> None:
        self._exchange.settling.commit(
            self._catalog.tenant, lambda writer: write_part(writer, self.consumer, part)
        )

    def put_back(self, lease: Lease, delay: float, reason: str) -> None:
        """Make the event due after ``delay`` seconds, if the lease still holds."""
        if self._gathered.has_settled(lease):
            return
        now_us = clock.now_us()
        with self._catalog.write() as writer:
            values: dict[str, int | str] = {
                "due_at": now_us + int(delay * _US),
                "token": _put_back(now_us),
                "attempts": lease.attempts,
                "reason": reason[:REASON_LENGTH_MAX],
            }
            writer.update_where(DELIVERIES, values, self._held(lease))
        self._exchange.wake(self.topic)

    def bury(self, lease: Lease, reason: str) -> None:
        """Send the event to the dead letters, if the lease still holds."""
        if self._gathered.has_settled(lease):
            return
        with self._catalog.write() as writer:
            if writer.count(DELIVERIES, self._held(lease)):
                why = reason[:REASON_LENGTH_MAX] or "it was given up"
                self._bury(writer, lease.offset, lease.attempts, why)

    def _bury(self, writer: Writer, offset: int, attempts: int, reason: str) -> None:
        event = read_log(writer, self.topic, offset, limit=1)
        if event and event[0].offset == offset:
            write_letter(
                self._catalog, writer, self.topic, self.consumer, event[0], attempts, reason
            )
        writer.delete_where(
            DELIVERIES, own_deliveries(self.consumer, Compare("=", "offset", offset))
        )
