"""What a named consumer is: its settings, where it is, and where its dead letters go."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa

from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES
from affidavit.catalog.topics.consumer import Consumer, ConsumerSettings, find_consumer
from affidavit.catalog.topics.log import first_offset
from affidavit.catalog.topics.topic import check_topic_name, find_topic
from affidavit.errors import (
    ConsumerConflictError,
    InvalidQueryError,
    OffsetEvictedError,
    SchemaConflictError,
)

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.topics.topic import Topic

SECONDS_MAX: Final = 10**9
COUNT_MAX: Final = 10**9
"""The largest values of a consumer's settings."""

DEAD_FIELDS: Final = (
    pa.field("dead_offset", pa.int64()),
    pa.field("dead_consumer", pa.string()),
    pa.field("dead_attempts", pa.int64()),
    pa.field("dead_reason", pa.string()),
)
"""What a dead letter has besides the event's rows."""


def _own(consumer: Consumer) -> Compare:
    return Compare("=", "consumer_id", consumer.consumer_id)


def is_seconds(value: object, *, least: float = 0.0) -> bool:
    """Return whether ``value`` is a duration that can be reckoned with."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and least <= value <= SECONDS_MAX  # type: ignore[operator]  # it is a number


def check_count(what: str, value: object) -> None:
    """Raise InvalidQueryError unless ``value`` is a number of events that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_MAX:
        msg = f"{what} must be a whole number from 1 to {COUNT_MAX:,}, got {value!r}"
        raise InvalidQueryError(msg)


def checked_settings(topic: Topic, name: object, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, checked.

    Raises:
        InvalidQueryError: A setting has no such value.
        InvalidNameError: A name cannot be one.
    """
    check_name("consumer", name)
    found = {key: value for key, value in given.items() if value is not None}
    for key in ("max_deliveries", "max_in_flight"):
        check_count(key, found.get(key, 1))
    wait = found.get("ack_wait_s", 1)
    if not is_seconds(wait, least=0.001):
        msg = f"ack_wait must be a number of seconds from 0.001 to {SECONDS_MAX:,}, got {wait!r}"
        raise InvalidQueryError(msg)
    if "dead_letter" in found:
        check_topic_name(found["dead_letter"])
        if found["dead_letter"] == topic.name:
            msg = f"the dead letters of {topic.name!r} cannot go to itself"
            raise InvalidQueryError(msg)
    return found


def open_consumer(
    catalog: Catalog, topic: Topic, name: str, given: dict[str, Any], first: int
) -> Consumer:
    """Return the consumer of that name, made if there is none, beginning at offset ``first``.

    Raises:
        ConsumerConflictError: It is there with other settings than those given.
        SchemaConflictError: The topic for its dead letters is there, and cannot take them.
        InvalidNameError: That topic's name would be too long.
    """
    wanted = checked_settings(topic, name, given)
    with catalog.write() as writer:
        found = find_consumer(writer, catalog.tenant, topic.topic_id, name)
        default = ConsumerSettings(dead_letter=f"dead.{topic.name}.{name}")
        settings = replace(default, **wanted) if found is None else found.settings
        dead_letters(writer, topic, check_topic_name(settings.dead_letter), catalog.tenant)
        if found is None:
            row = (
                uuid4().hex, topic.topic_id, name, settings.to_json(), first, clock.now_us(),
            )  # fmt: skip
            writer.insert(CONSUMERS, columns_of(CONSUMERS), [row])
            return Consumer(row[0], topic.topic_id, name, settings, first)
    for each in fields(ConsumerSettings):
        has = getattr(found.settings, each.name)
        if each.name in wanted and wanted[each.name] != has:
            msg = (
                f"consumer {name!r} of topic {topic.name!r} has {each.name} = {has!r}, and "
                f"{wanted[each.name]!r} was asked for"
            )
            raise ConsumerConflictError(msg)
    return found


def set_consumer(catalog: Catalog, topic: Topic, name: str, given: dict[str, Any]) -> None:
    """Give a consumer other settings from now on, if it is there."""
    wanted = checked_settings(topic, name, given)
    with catalog.write() as writer:
        found = find_consumer(writer, catalog.tenant, topic.topic_id, name)
        if found is not None:
            settings = replace(found.settings, **wanted)
            writer.update_where(
                CONSUMERS,
                {"settings": settings.to_json()},
                Compare("=", "consumer_id", found.consumer_id),
            )


def dead_letters(
    reader: Reader, topic: Topic, name: str, tenant: str
) -> tuple[Topic | None, pa.Schema]:
    """Return the topic for a topic's dead letters, if it is there, and the schema that it has.

    Raises:
        SchemaConflictError: The topic has another.
    """
    own = {each.name for each in DEAD_FIELDS}
    schema = pa.schema([*DEAD_FIELDS, *(each for each in topic.schema if each.name not in own)])
    found = find_topic(reader, name, tenant)
    if found is None or found.tenant != tenant:
        return None, schema
    if not found.schema.equals(schema):
        msg = (
            f"topic {name!r} cannot take the dead letters of {topic.name!r}: it has "
            f"{found.schema.names}, and needs {schema.names}"
        )
        raise SchemaConflictError(msg)
    return found, schema


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
