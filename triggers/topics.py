"""``session.topics``: topics registered, published to, subscribed to and replayed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from affidavit.catalog.journal.note import note
from affidavit.catalog.model.release import TableRead
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import TOPICS, TRIGGERS
from affidavit.catalog.tables.reading import announced, strictest
from affidavit.catalog.topics.consumer import Consumer, find_consumer, forget_consumers
from affidavit.catalog.topics.event import event_rows, is_quick
from affidavit.catalog.topics.log import (
    append_event,
    encode_event,
    end_offset,
    forget_topic,
    set_retention,
)
from affidavit.catalog.topics.registration import (
    check_same_schema,
    checked_metadata,
    checked_retention,
)
from affidavit.catalog.topics.topic import (
    Topic,
    check_topic_name,
    check_topic_schema,
    define_topic,
    find_topic,
    get_topic,
    topics,
)
from affidavit.errors import (
    ConsumerNotFoundError,
    InvalidTriggerError,
    ReadOnlyError,
)
from affidavit.triggers.predicates.predicate import EventPredicate, compile_predicate
from affidavit.triggers.subscriptions.consumer import ConsumerFeed
from affidavit.triggers.subscriptions.counted import Counted
from affidavit.triggers.subscriptions.feed import LogFeed
from affidavit.triggers.subscriptions.settings import (
    Wanted,
    checked_within,
    open_consumer,
    seek,
)
from affidavit.triggers.subscriptions.start import BEGINNING, NOW, start_offset
from affidavit.triggers.subscriptions.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.release import Ending
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.registration import Json
    from affidavit.catalog.values.python.schemas import Columns
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.exchange import Exchange
    from affidavit.triggers.subscriptions.start import Start


class Topics:
    """The topics of one tenant, and the shared ones; in SQL the tables ``topics."<name>"``."""

    def __init__(self, catalog: Catalog, exchange: Exchange) -> None:
        self._catalog = catalog
        self._exchange = exchange

    def __repr__(self) -> str:
        return f"Topics({', '.join(repr(each.name) for each in self.list()) or 'none'})"

    # --- what there is -------------------------------------------------------------------------

    def list(self) -> list[Topic]:
        """Return every topic that the tenant sees, by name; ``system.topics`` tells more."""
        with self._catalog.read() as reader:
            return topics(reader, self._catalog.tenant)

    def get(self, name: str) -> Topic:
        """Return the topic of that name.

        Raises:
            TopicNotFoundError: There is none that the tenant sees.
        """
        with self._catalog.read() as reader:
            return get_topic(reader, name, self._catalog.tenant)

    def register(
        self,
        name: str,
        schema: Columns,
        metadata: Mapping[str, Json] | None = None,
        *,
        retain_events: int | None = None,
        retain_for: timedelta | float | None = None,
    ) -> Topic:
        """Give a topic its name and schema; again with the same schema does nothing.

        Args:
            name: The topic's name; dots may part it.
            schema: The columns of its events: a pyarrow schema, a dict or list of names and types,
                or a LanceModel.
            metadata: Whatever is to be said of it, as JSON holds it.
            retain_events: How many of the newest events are kept; all by default.
            retain_for: For how long events are kept, as a ``timedelta`` or in seconds; for ever
                by default.

        Raises:
            SchemaConflictError: The tenant has a topic of this name with another schema.
            ReservedNameError: The name begins with ``affidavit.``, or a column is the log's own.
            UnsupportedTypeError: A column's values cannot be kept.
        """
        check_topic_name(name)
        checked = check_topic_schema(schema, name)
        told = checked_metadata(metadata)
        events, microseconds = checked_retention(retain_events, retain_for)
        with self._catalog.write() as writer:
            found = find_topic(writer, name, self._catalog.tenant)
            if found is not None and found.tenant == self._catalog.tenant:
                check_same_schema(found, checked)
                return found
            topic = define_topic(
                writer, name, checked, self._catalog.tenant, metadata=told,
                retain_events=events, retain_us=microseconds,
            )  # fmt: skip
            columns = {each.name: str(each.type) for each in checked}
            note(self._catalog, writer, "topic", name, "create", {"columns": columns})
        return topic

    def retain(
        self,
        name: str,
        *,
        retain_events: int | None = None,
        retain_for: timedelta | float | None = None,
    ) -> Topic:
        """Let a topic keep other events from now on; what is left out is no limit.

        Takes the arguments of :meth:`register`.

        Raises:
            TopicNotFoundError: There is none.
            ReadOnlyError: It is shared.
        """
        check_topic_name(name, own=True)
        events, microseconds = checked_retention(retain_events, retain_for)
        with self._catalog.write() as writer:
            changed = set_retention(writer, self._own(writer, name), events, microseconds)
            told = {"retain_events": events, "retain_us": microseconds}
            note(self._catalog, writer, "topic", name, "alter", told)
        return changed

    def drop(self, name: str) -> None:
        """Drop a topic, its log and its consumers.

        Raises:
            TopicNotFoundError: There is none.
            ReadOnlyError: It is shared.
            InvalidTriggerError: A trigger publishes to it.
        """
        check_topic_name(name)
        with self._catalog.write() as writer:
            topic = self._own(writer, name)
            mine = own(self._catalog.tenant)
            for trigger, text in writer.select(TRIGGERS, ("name", "definition"), mine):
                if json.loads(str(text))["topic"] == name:
                    msg = f"trigger {trigger!r} publishes to topic {name!r}: drop it first"
                    raise InvalidTriggerError(msg)
            forget_consumers(writer, self._catalog.tenant, Compare("=", "topic_id", topic.topic_id))
            forget_topic(writer, topic)
            note(self._catalog, writer, "topic", name, "drop")
            writer.on_commit(topic.topic_id, lambda: self._exchange.wake(topic))

    def _own(self, reader: Reader, name: str) -> Topic:
        topic = get_topic(reader, name, self._catalog.tenant)
        if topic.tenant != self._catalog.tenant:
            msg = (
                f"topic {name!r} is shared: every tenant reads it, and only a session with "
                "tenant=None publishes to it or drops it"
            )
            raise ReadOnlyError(msg)
        return topic

    # --- publishing ----------------------------------------------------------------------------

    def publish(self, name: str, data: object) -> int:
        """Publish an event of one or more rows, and return its offset.

        It is durable when this returns or, inside a transaction, once that is committed.

        Args:
            name: The topic.
            data: Its rows: Arrow, pandas, polars, a dict, a list of dicts, a query's result.

        Raises:
            TopicNotFoundError: There is no such topic.
            SchemaMismatchError: The rows do not have the topic's schema; the column is named.
            InvalidEventError: There are no rows, or too many bytes.
            ReadOnlyError: The topic is shared, or this session cannot write.
        """
        self._catalog.refuse_past()
        active = self._catalog.transactions.current()
        if active is not None and active.tenant == self._catalog.tenant:
            return self._append(active.writer, name, data)
        if not is_quick(data):  # then it is made ready before the store is locked
            check_topic_name(name)
            with self._catalog.read() as reader:
                topic = self._own(reader, name)
            data = event_rows(data, topic)
        with self._catalog.write() as writer:
            return self._append(writer, name, data)

    def _append(self, writer: Writer, name: str, data: object) -> int:
        topic = self._target(writer, name)
        rows = event_rows(data, topic)
        message = encode_event(topic, rows)
        return append_event(self._catalog.lake.news, writer, topic, rows.num_rows, message)

    def _target(self, writer: Writer, name: str) -> Topic:
        """Return the topic to publish to; a transaction looks it up once."""
        key = (TOPICS.name, name)
        known = writer.memo.get(key) if isinstance(name, str) else None
        if isinstance(known, Topic):
            return known
        check_topic_name(name)
        topic = self._own(writer, name)
        writer.memo[key] = topic
        return topic

    # --- reading -------------------------------------------------------------------------------

    def subscribe(
        self,
        name: str,
        where: str | None = None,
        from_offset: Start | None = None,
        consumer: str | None = None,
        *,
        timeout: float | None = None,
        ack_wait: float | None = None,
        max_deliveries: int | None = None,
        max_in_flight: int | None = None,
        dead_letter: str | None = None,
        ack_within: float | None = None,
    ) -> Subscription:
        """Return a topic's events as an iterator and an async iterator: first those, then to come.

        Args:
            name: The topic.
            where: An SQL predicate over its columns. Events without a row for which it holds are
                left out, and of the others the rows for which it does not.
            from_offset: The first event: its offset, ``"beginning"``, ``"now"``, or a time. By
                default ``"now"``; a new consumer's default is ``"beginning"``, and one that is
                there goes on where it was, whatever this says.
            consumer: The name of a consumer, whose workers share the events between them. Each
                is delivered until it is acknowledged.
            timeout: End the iteration when nothing came for so many seconds.
            ack_wait: How many seconds a consumer's delivery may go without being settled; 30 by
                default.
            max_deliveries: How often an event is delivered before it goes to the dead letters; 5
                by default.
            max_in_flight: How many of a consumer's deliveries may be unsettled; 1,000 by default.
            dead_letter: The topic for dead letters; ``dead.<topic>.<consumer>`` by default.
            ack_within: For how many seconds this worker's acknowledgements may be gathered, half of
                ``ack_wait`` at most; by default each is committed when ``ack`` returns.

        Raises:
            TopicNotFoundError: There is no such topic.
            UnsupportedPredicateError: The predicate cannot be evaluated on the topic's columns.
            OffsetEvictedError: The first event was let go by the topic's retention.
            InvalidQueryError: The first event is beyond the topic's end, or an option is none.
            ConsumerConflictError: The consumer is there with other settings.
        """
        within_s = checked_within(ack_within)
        wanted = Wanted(where, ack_wait, max_deliveries, max_in_flight, dead_letter)
        if consumer is None:
            wanted.refuse_consumers(ack_within)
        with (self._catalog.read if consumer else self._committed)() as reader:
            topic = get_topic(reader, name, self._catalog.tenant)
            known = consumer is not None and self._consumer(reader, topic, consumer)
            start = from_offset if from_offset is not None else BEGINNING if consumer else NOW
            first = 0 if known else start_offset(reader, topic, start)
            told = self._announce(reader, topic, "subscribe")
        if consumer is None:
            feed = LogFeed(self._committed, topic, first, self._compiled(where, topic))
            return Subscription(self._exchange, feed, timeout, told)
        self._compiled(where, topic)  # before the consumer is made
        opened = open_consumer(self._catalog, topic, consumer, wanted, first)
        predicate = self._compiled(opened.settings.where, topic)
        shared = ConsumerFeed(self._catalog, self._exchange, topic, opened, predicate, within_s)
        return Subscription(self._exchange, shared, timeout, told)

    def replay(
        self, name: str, where: str | None = None, from_offset: Start = BEGINNING
    ) -> Iterator[Delivery]:
        """Return the events that a topic has now, from the first that is kept, or from another on.

        In an open transaction of the session those that were published in it are among them.
        Takes the arguments of :meth:`subscribe`, and raises the same errors.
        """
        with self._catalog.read() as reader:
            topic = get_topic(reader, name, self._catalog.tenant)
            first, end = start_offset(reader, topic, from_offset), end_offset(reader, topic)
            told = self._announce(reader, topic, "replay")
        predicate = self._compiled(where, topic)
        events = LogFeed(self._catalog.read, topic, first, predicate).until(end)
        return events if told is None else Counted(events, told)

    def _announce(self, reader: Reader, topic: Topic, door: str) -> Ending | None:
        """Put on record that events are about to be given, if a table's policy wants it.

        What is returned is told how many were, and when that is over. A trigger may have put values
        of any table into any topic.
        """
        level = strictest(self._catalog, reader)
        told = TableRead(f"topics.{topic.name}", topic.topic_id, level=level)
        return announced(self._catalog, reader, told, door)

    def _committed(self) -> AbstractContextManager[Reader]:
        """Open a snapshot without what this context's transaction has not committed yet."""
        return self._catalog.lake.store.read(self._catalog.tenant)

    @staticmethod
    def _compiled(where: str | None, topic: Topic) -> EventPredicate | None:
        return None if where is None else compile_predicate(where, topic.schema)

    # --- consumers -----------------------------------------------------------------------------

    def seek(self, name: str, consumer: str, offset: Start) -> None:
        """Let a consumer go on from an event: its offset, a time, ``"beginning"`` or ``"now"``.

        Raises:
            ConsumerNotFoundError: There is no such consumer.
            OffsetEvictedError: The event was let go.
        """
        with self._catalog.write() as writer:
            topic = get_topic(writer, name, self._catalog.tenant)
            found = self._known(writer, topic, consumer)
            seek(self._catalog, topic, found, start_offset(writer, topic, offset))
            writer.on_commit(topic.topic_id, lambda: self._exchange.wake(topic))

    def drop_consumer(self, name: str, consumer: str) -> None:
        """Forget a consumer and how far it has come.

        Raises:
            ConsumerNotFoundError: There is no such consumer.
        """
        with self._catalog.write() as writer:
            topic = get_topic(writer, name, self._catalog.tenant)
            found = self._known(writer, topic, consumer)
            own = Compare("=", "consumer_id", found.consumer_id)
            forget_consumers(writer, self._catalog.tenant, own)

    def _consumer(self, reader: Reader, topic: Topic, name: str) -> Consumer | None:
        check_name("consumer", name)
        return find_consumer(reader, self._catalog.tenant, topic.topic_id, name)

    def _known(self, reader: Reader, topic: Topic, name: str) -> Consumer:
        found = self._consumer(reader, topic, name)
        if found is None:
            msg = f"topic {topic.name!r} has no consumer {name!r}: subscribe with it first"
            raise ConsumerNotFoundError(msg)
        return found
