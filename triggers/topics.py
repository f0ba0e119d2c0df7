"""``session.topics``: topics registered, published to, subscribed to and replayed."""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.note import note
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.topics.consumer import TRIGGERS, Consumer, find_consumer, forget_consumers
from affidavit.catalog.topics.log import (
    EVENT_BYTES_MAX,
    append_event,
    encode_event,
    end_offset,
    first_offset,
    forget_topic,
    offset_at,
    set_retention,
)
from affidavit.catalog.topics.topic import (
    TOPICS,
    Topic,
    check_topic_name,
    check_topic_schema,
    define_topic,
    find_topic,
    get_topic,
    topics,
)
from affidavit.catalog.values.canonical import us_of
from affidavit.catalog.values.ingest import conform, is_rows, schema_rows, to_reader
from affidavit.errors import (
    ConsumerNotFoundError,
    InvalidEventError,
    InvalidQueryError,
    InvalidTriggerError,
    OffsetEvictedError,
    ReadOnlyError,
    SchemaConflictError,
    SchemaMismatchError,
)
from affidavit.triggers.predicates.predicate import EventPredicate, compile_predicate
from affidavit.triggers.subscriptions.consumer import ConsumerSource
from affidavit.triggers.subscriptions.settings import is_seconds, open_consumer, seek
from affidavit.triggers.subscriptions.subscription import LogSource, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.exchange import Exchange

NOW: Final = "now"
BEGINNING: Final = "beginning"
"""Where a subscription may begin besides an offset and a time."""

METADATA_BYTES_MAX: Final = 65_536
RETAIN_EVENTS_MAX: Final = 10**15
QUICK_ROWS_MAX: Final = 64
"""Up to so many rows are made an event while the store is locked: a snapshot would take longer."""


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
        schema: pa.Schema,
        metadata: Mapping[str, Any] | None = None,
        *,
        retain_events: int | None = None,
        retain_for: timedelta | float | None = None,
    ) -> Topic:
        """Give a topic its name and schema; again with the same schema does nothing.

        Args:
            name: The topic's name; dots may part it.
            schema: The columns of its events.
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
        told = _checked_metadata(metadata)
        events, microseconds = _checked_retention(retain_events, retain_for)
        with self._catalog.write() as writer:
            found = find_topic(writer, name, self._catalog.tenant)
            if found is not None and found.tenant == self._catalog.tenant:
                if not found.schema.equals(checked):
                    raise SchemaConflictError(_conflict(found, checked))
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
        check_topic_name(name)
        events, microseconds = _checked_retention(retain_events, retain_for)
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
            for trigger, text in writer.select(
                TRIGGERS, ("name", "definition"), self._catalog.ledger.own()
            ):
                if json.loads(str(text))["topic"] == name:
                    msg = f"trigger {trigger!r} publishes to topic {name!r}: drop it first"
                    raise InvalidTriggerError(msg)
            forget_consumers(writer, self._catalog.ledger, Compare("=", "topic_id", topic.topic_id))
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
        if not _is_quick(data):  # then it is made ready before the store is locked
            with self._catalog.read() as reader:
                topic = self._target(reader, name)
            data = event_rows(data, topic)
        with self._catalog.write() as writer:
            return self._append(writer, name, data)

    def _append(self, writer: Writer, name: str, data: object) -> int:
        topic = self._target(writer, name)
        rows = event_rows(data, topic)
        message = encode_event(topic, rows)
        return append_event(self._catalog.lake, writer, topic, rows.num_rows, message)

    def _target(self, reader: Reader | Writer, name: str) -> Topic:
        """Return the topic to publish to."""
        memo: dict[object, object] = getattr(reader, "memo", {})
        key = (TOPICS.name, name)
        if key not in memo:
            check_topic_name(name)
            memo[key] = self._own(reader, name)
        return memo[key]  # type: ignore[return-value]  # what was put there

    # --- reading -------------------------------------------------------------------------------

    def subscribe(
        self,
        name: str,
        where: str | None = None,
        from_offset: int | str | datetime | None = None,
        consumer: str | None = None,
        *,
        timeout: float | None = None,
        ack_wait: float | None = None,
        max_deliveries: int | None = None,
        max_in_flight: int | None = None,
        dead_letter: str | None = None,
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

        Raises:
            TopicNotFoundError: There is no such topic.
            UnsupportedPredicateError: The predicate cannot be evaluated on the topic's columns.
            OffsetEvictedError: The first event was let go by the topic's retention.
            InvalidQueryError: The first event is beyond the topic's end, or an option is none.
            ConsumerConflictError: The consumer is there with other settings.
        """
        settings = {
            "where": where, "ack_wait_s": ack_wait, "max_deliveries": max_deliveries,
            "max_in_flight": max_in_flight, "dead_letter": dead_letter,
        }  # fmt: skip
        if consumer is None and any(settings[key] is not None for key in list(settings)[1:]):
            msg = "ack_wait, max_deliveries, max_in_flight and dead_letter are a consumer's: pass "
            raise InvalidQueryError(f"{msg}consumer='name' too")
        with (self._catalog.read if consumer else self._committed)() as reader:
            topic = get_topic(reader, name, self._catalog.tenant)
            known = consumer is not None and self._consumer(reader, topic, consumer)
            start = from_offset if from_offset is not None else BEGINNING if consumer else NOW
            first = 0 if known else _start(reader, topic, start)
        if consumer is None:
            source = LogSource(self._committed, topic, first, self._compiled(where, topic))
            return Subscription(self._exchange, source, timeout)
        self._compiled(where, topic)  # before the consumer is made
        opened = open_consumer(self._catalog, topic, consumer, settings, first)
        predicate = self._compiled(opened.settings.where, topic)
        shared = ConsumerSource(self._catalog, self._exchange, topic, opened, predicate)
        return Subscription(self._exchange, shared, timeout)

    def replay(
        self, name: str, where: str | None = None, from_offset: int | str | datetime = 0
    ) -> Iterator[Delivery]:
        """Return the events that a topic has now, from some event on.

        In an open transaction of the session those that were published in it are among them.
        Takes the arguments of :meth:`subscribe`, and raises the same errors.
        """
        with self._catalog.read() as reader:
            topic = get_topic(reader, name, self._catalog.tenant)
            first, end = _start(reader, topic, from_offset), end_offset(reader, topic)
        predicate = self._compiled(where, topic)
        return _until(LogSource(self._catalog.read, topic, first, predicate), end)

    def _committed(self) -> AbstractContextManager[Reader]:
        """Open a snapshot without what this context's transaction has not committed yet."""
        return self._catalog.lake.store.read(self._catalog.tenant)

    @staticmethod
    def _compiled(where: str | None, topic: Topic) -> EventPredicate | None:
        return None if where is None else compile_predicate(where, topic.schema)

    # --- consumers -----------------------------------------------------------------------------

    def seek(self, name: str, consumer: str, offset: int | str | datetime) -> None:
        """Let a consumer go on from an event: its offset, a time, ``"beginning"`` or ``"now"``.

        Raises:
            ConsumerNotFoundError: There is no such consumer.
            OffsetEvictedError: The event was let go.
        """
        with self._catalog.write() as writer:
            topic = get_topic(writer, name, self._catalog.tenant)
            found = self._known(writer, topic, consumer)
            seek(self._catalog, topic, found, _start(writer, topic, offset))
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
            forget_consumers(writer, self._catalog.ledger, own)

    def _consumer(self, reader: Reader, topic: Topic, name: str) -> Consumer | None:
        check_name("consumer", name)
        return find_consumer(reader, self._catalog.ledger, topic.topic_id, name)

    def _known(self, reader: Reader, topic: Topic, name: str) -> Consumer:
        found = self._consumer(reader, topic, name)
        if found is None:
            msg = f"topic {topic.name!r} has no consumer {name!r}: subscribe with it first"
            raise ConsumerNotFoundError(msg)
        return found


# --- what is given --------------------------------------------------------------------------------


def _is_quick(data: object) -> bool:
    """Return whether ``data`` is a few rows that are there already."""
    if isinstance(data, pa.RecordBatch | pa.Table):
        return bool(data.num_rows <= QUICK_ROWS_MAX)
    return is_rows(data) and len(_listed(data)) <= QUICK_ROWS_MAX


def _listed(data: Any) -> Sequence[Any]:  # noqa: ANN401 - rows, or one
    return data if isinstance(data, list | tuple) else [data]


def event_rows(data: object, topic: Topic) -> pa.RecordBatch:
    """Return an event's rows with exactly the topic's columns and types.

    Raises:
        SchemaMismatchError: They do not fit; the column is named.
        InvalidEventError: There are none.
    """
    schema, name = topic.schema, topic.name
    if is_rows(data):
        batches = [schema_rows(_listed(data), schema, table=name, optional=(), kind="topic")]
    else:
        batches = list(_conforming(data, topic))
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        msg = f"an event of topic {topic.name!r} needs at least one row"
        raise InvalidEventError(msg)
    whole = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    for each in schema:
        if not each.nullable and whole.column(each.name).null_count:
            msg = f"column {each.name!r} of topic {topic.name!r} is NOT NULL and the data has NULL"
            raise SchemaMismatchError(msg)
    return whole


def _conforming(data: object, topic: Topic) -> Iterator[pa.RecordBatch]:
    """Yield the batches of ``data``, as long as an event can hold them."""
    left = EVENT_BYTES_MAX
    try:
        for batch in to_reader(data, topic.schema):
            yield conform(batch, topic.schema, table=topic.name, kind="topic")
            if isinstance(data, pa.RecordBatch | pa.Table):
                continue  # it is in memory already, and counting takes long
            left -= batch.nbytes
            if left < 0:
                break  # what there is already is refused for its size
    except pa.ArrowException as error:
        reason = str(error).strip().rpartition("\n")[2]
        msg = f"the data for topic {topic.name!r} cannot be read: {reason}"
        raise SchemaMismatchError(msg) from error


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        text = json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"metadata must be a dict of what JSON holds: {error}"
        raise InvalidQueryError(msg) from error
    if len(text) > METADATA_BYTES_MAX:
        msg = f"metadata has {len(text):,} bytes as JSON, and {METADATA_BYTES_MAX:,} are allowed"
        raise InvalidQueryError(msg)
    told: dict[str, Any] = json.loads(text)  # as it will be read again
    return told


def _checked_retention(
    events: int | None, duration: timedelta | float | None
) -> tuple[int | None, int | None]:
    if events is not None and (
        isinstance(events, bool)
        or not isinstance(events, int)
        or not 1 <= events <= RETAIN_EVENTS_MAX
    ):
        msg = (
            f"retain_events must be a number of events from 1 to {RETAIN_EVENTS_MAX:,}, got "
            f"{events!r}"
        )
        raise InvalidQueryError(msg)
    if duration is None:
        return events, None
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not is_seconds(seconds, least=1e-6):
        msg = f"retain_for must be a timedelta or seconds above 0, got {duration!r}"
        raise InvalidQueryError(msg)
    return events, int(seconds * 1_000_000)


def _conflict(topic: Topic, wanted: pa.Schema) -> str:
    for has, other in zip(topic.schema, wanted, strict=False):
        if not has.equals(other):
            return f"topic {topic.name!r} has {_shown(has)} where {_shown(other)} was asked for"
    return (
        f"topic {topic.name!r} has the columns {topic.schema.names}, and {wanted.names} were "
        "asked for"
    )


def _shown(column: pa.Field) -> str:
    return f"column {column.name!r} ({column.type}{'' if column.nullable else ' NOT NULL'})"


def _start(reader: Reader, topic: Topic, given: object) -> int:
    """Return the offset of the first event to read."""
    if given == BEGINNING:
        return first_offset(reader, topic)
    end = end_offset(reader, topic)
    if given == NOW:
        return end
    if isinstance(given, datetime):
        try:
            moment_us = us_of(given if given.tzinfo else given.astimezone())
        except (OverflowError, ValueError) as error:  # near the ends of what datetime can say
            msg = f"from_offset is no time that there is: {given!r}"
            raise InvalidQueryError(msg) from error
        return offset_at(reader, topic, moment_us)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        msg = f"from_offset must be an offset, a datetime, 'beginning' or 'now', got {given!r}"
        raise InvalidQueryError(msg)
    if given > end:
        msg = f"offset {given:,} is beyond topic {topic.name!r}: its next event will be {end:,}"
        raise InvalidQueryError(msg)
    oldest = first_offset(reader, topic)
    if given < oldest:
        raise OffsetEvictedError(topic.name, given, first_offset=oldest)
    return given


def _until(source: LogSource, end: int) -> Iterator[Delivery]:
    while source.position < end:
        found = source.fetch()
        if found is None:  # they were published in a transaction that was rolled back meanwhile
            return
        pending = deque(found)
        del found  # a page's deliveries are let go one by one, each with its decoded rows
        while pending:
            if pending[0].offset >= end:
                return
            yield pending.popleft()
