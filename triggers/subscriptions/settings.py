"""What a named consumer is, as it is made and changed: its settings, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES
from affidavit.catalog.topics.consumer import Consumer, ConsumerSettings, find_consumer
from affidavit.catalog.topics.log import first_offset
from affidavit.catalog.topics.topic import check_topic_name
from affidavit.catalog.values.durations import SECONDS_MAX, is_seconds
from affidavit.errors import ConsumerConflictError, InvalidQueryError, OffsetEvictedError
from affidavit.triggers.subscriptions.letters import dead_letters

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.topics.topic import Topic

COUNT_MAX: Final = 10**9
"""The largest number of events in a consumer's settings."""


def check_count(what: str, value: object) -> None:
    """Raise InvalidQueryError unless ``value`` is a number of events that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_MAX:
        msg = f"{what} must be a whole number from 1 to {COUNT_MAX:,}, got {value!r}"
        raise InvalidQueryError(msg)


def checked_within(given: object) -> float:
    """Return for how many seconds a worker gathers acknowledgements; 0 for not at all.

    Raises:
        InvalidQueryError: It is no number of seconds.
    """
    if given is None:
        return 0.0
    if not is_seconds(given):
        msg = f"ack_within must be a number of seconds from 0 to {SECONDS_MAX:,}, got {given!r}"
        raise InvalidQueryError(msg)
    return given


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscriber asks of a consumer; ``None`` where it asks nothing.

    Attributes are those of :class:`~affidavit.catalog.topics.consumer.ConsumerSettings`.
    """

    where: str | None = None
    ack_wait_s: float | None = None
    max_deliveries: int | None = None
    max_in_flight: int | None = None
    dead_letter: str | None = None

    def names(self) -> set[str]:
        """Return which settings are asked for."""
        return {each.name for each in fields(self) if getattr(self, each.name) is not None}

    def applied(self, settings: ConsumerSettings) -> ConsumerSettings:
        """Return ``settings`` with what is asked for in place."""
        return replace(settings, **{name: getattr(self, name) for name in self.names()})

    def refuse_consumers(self, ack_within: float | None) -> None:
        """Raise InvalidQueryError if something is asked for that only a consumer has."""
        if self.names() - {"where"} or ack_within is not None:
            msg = (
                "ack_wait, ack_within, max_deliveries, max_in_flight and dead_letter are a "
                "consumer's: pass consumer='name' too"
            )
            raise InvalidQueryError(msg)

    def check(self, topic: Topic) -> None:
        """Raise unless a consumer of ``topic`` can have these settings.

        Raises:
            InvalidQueryError: A setting has no such value.
            InvalidNameError: The topic for dead letters can have no such name.
        """
        for what, count in (
            ("max_deliveries", self.max_deliveries), ("max_in_flight", self.max_in_flight),
        ):  # fmt: skip
            if count is not None:
                check_count(what, count)
        wait = self.ack_wait_s
        if wait is not None and not is_seconds(wait, least=0.001):
            msg = (
                f"ack_wait must be a number of seconds from 0.001 to {SECONDS_MAX:,}, got {wait!r}"
            )
            raise InvalidQueryError(msg)
        if self.dead_letter is not None:
            check_topic_name(self.dead_letter)
            if self.dead_letter == topic.name:
                msg = f"the dead letters of {topic.name!r} cannot go to itself"
                raise InvalidQueryError(msg)


def open_consumer(
    catalog: Catalog, topic: Topic, name: str, wanted: Wanted, first: int
) -> Consumer:
    """Return the consumer of that name, made if there is none, beginning at offset ``first``.

    Raises:
        ConsumerConflictError: It is there with other settings than those given.
        SchemaConflictError: The topic for its dead letters is there, and cannot take them.
        InvalidQueryError: A setting has no such value.
        InvalidNameError: A name cannot be one, or that topic's would be too long.
    """
    check_name("consumer", name)
    wanted.check(topic)
    with catalog.write() as writer:
        found = find_consumer(writer, catalog.tenant, topic.topic_id, name)
        default = ConsumerSettings(dead_letter=f"dead.{topic.name}.{name}")
        settings = wanted.applied(default) if found is None else found.settings
        dead_letters(writer, topic, check_topic_name(settings.dead_letter), catalog.tenant)
        if found is None:
            row = (
                uuid4().hex, topic.topic_id, name, settings.to_json(), first, clock.now_us(),
            )  # fmt: skip
            writer.insert(CONSUMERS, columns_of(CONSUMERS), [row])
            return Consumer(row[0], topic.topic_id, name, settings, first)
    for each in fields(ConsumerSettings):
        has, asked = getattr(found.settings, each.name), getattr(wanted, each.name)
        if asked is not None and asked != has:
            msg = (
                f"consumer {name!r} of topic {topic.name!r} has {each.name} = {has!r}, and "
                f"{asked!r} was asked for"
            )
            raise ConsumerConflictError(msg)
    return found


def set_consumer(catalog: Catalog, topic: Topic, name: str, wanted: Wanted) -> None:
    """Give a consumer other settings from now on, if it is there.

    Raises:
        InvalidQueryError: A setting has no such value.
        InvalidNameError: A name cannot be one.
    """
    check_name("consumer", name)
    wanted.check(topic)
    with catalog.write() as writer:
        found = find_consumer(writer, catalog.tenant, topic.topic_id, name)
        if found is not None:
            settings = wanted.applied(found.settings)
            writer.update_where(
                CONSUMERS,
                {"settings": settings.to_json()},
                Compare("=", "consumer_id", found.consumer_id),
            )


def seek(catalog: Catalog, topic: Topic, consumer: Consumer, offset: int) -> None:
    """Let a consumer go on from ``offset``, and forget what it had in hand.

    Raises:
        OffsetEvictedError: That event was let go.
    """
    with catalog.write() as writer:
        oldest = first_offset(writer, topic)
        if offset < oldest:
            raise OffsetEvictedError(topic.name, offset, first_offset=oldest)
        writer.delete_where(DELIVERIES, Compare("=", "consumer_id", consumer.consumer_id))
        writer.update_where(
            CONSUMERS, {"next_offset": offset}, Compare("=", "consumer_id", consumer.consumer_id)
        )
