"""Topics: what they are called, what their events have, and how long they are kept.

A topic is one tenant's. Those of the shared scope are read by everybody, but for affidavit's own:
who searched there is nobody else's business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import (
    NAME_BYTES_MAX,
    NAME_LENGTH_MAX,
    check_column_name,
    check_name,
)
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import TENANT, columns_of
from affidavit.catalog.store.tables import TOPICS
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.python.schemas import schema_of
from affidavit.errors import (
    InvalidNameError,
    ReservedNameError,
    StoreError,
    TopicNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.store.protocol import Reader, Writer

OWN_PREFIX: Final = "affidavit."
"""How the names of topics begin that only affidavit itself publishes to."""

OWN_TOPICS: Final = "affidavit"
TOPICS_SCHEMA: Final = "topics"
"""The SQL schema that the logs are tables of."""

_TIME: Final = pa.timestamp("us", "UTC")

_TOPIC_COLUMNS: Final = (TENANT, *columns_of(TOPICS))


LOG_FIELDS: Final = (
    pa.field("_offset", pa.int64(), nullable=False),
    pa.field("_row_index", pa.int64(), nullable=False),
    pa.field("_produced_at", _TIME, nullable=False),
)
"""What a topic's table has before the topic's own columns."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A named log of events of one schema.

    Attributes:
        tenant: Whose it is, as the store writes it.
        topic_id: Its identity; a topic that is dropped and made anew has another.
        name: Its name.
        schema: The columns of its events.
        metadata: What its maker says of it.
        retain_events: How many of the newest events are kept; ``None`` for all.
        retain_us: For how many microseconds events are kept; ``None`` for ever.
    """

    tenant: str
    topic_id: str
    name: str
    schema: pa.Schema
    metadata: dict[str, Any] = field(default_factory=dict)
    retain_events: int | None = None
    retain_us: int | None = None

    def __repr__(self) -> str:
        columns = ", ".join(f"{each.name}: {each.type}" for each in self.schema)
        return f"Topic({self.name!r}, {columns})"


def check_topic_name(name: object, *, own: bool = False) -> str:
    """Return ``name`` if a topic may have it: like a table's, and dots may part it.

    Raises:
        InvalidNameError: It cannot name a topic.
        ReservedNameError: It begins with ``affidavit.``, and this is not affidavit itself.
    """
    if not isinstance(name, str):
        raise InvalidNameError("topic", name, f"expected text, got {type(name).__name__}")
    words = name.split(".")
    if "" in words:
        raise InvalidNameError("topic", name, "expected words with single dots between them")
    for word in words:  # by itself: "dead" before a Greek word is no attempt to look like another
        check_name("topic", word)
    if len(name) > NAME_LENGTH_MAX or len(name.encode()) > NAME_BYTES_MAX:
        reason = f"expected up to {NAME_LENGTH_MAX} characters and {NAME_BYTES_MAX} bytes in UTF-8"
        raise InvalidNameError("topic", name, reason)
    if words[0].casefold() == OWN_TOPICS and not own:
        raise ReservedNameError(name, kind="topic")
    return name


def check_topic_schema(given: object, topic: str) -> pa.Schema:
    """Return the schema that is given, if a topic's events may have it.

    Raises:
        SchemaMismatchError: It is no schema, or has no columns.
        InvalidNameError: It has one name twice.
        ReservedNameError: A column has a name of the log's own.
        UnsupportedTypeError: A column's values cannot be kept by themselves.
    """
    schema = schema_of(given)
    if len(set(schema.names)) != len(schema):
        raise InvalidNameError("topic", topic, f"a column stands twice: {schema.names}")
    own = {each.name for each in LOG_FIELDS}
    for each in schema:
        check_column_name(each.name)
        if each.name in own:
            raise ReservedNameError(each.name, kind="column")
        if _has_dictionary(each.type):
            raise UnsupportedTypeError(each.name, each.type)
        codec_for(each.type, column=each.name)
    return schema.remove_metadata()


def _has_dictionary(kind: pa.DataType) -> bool:
    inner = [kind.field(at).type for at in range(kind.num_fields)] if pt.is_nested(kind) else []
    return pt.is_dictionary(kind) or any(map(_has_dictionary, inner))


# --- their definitions ----------------------------------------------------------------------------


def find_topic(reader: Reader, name: str, tenant: str) -> Topic | None:
    """Return the topic of that name: the tenant's own, else a shared one, else ``None``."""
    if not _may_name(name):
        return None
    rows = reader.select(TOPICS, _TOPIC_COLUMNS, Compare("=", "name", name))
    own = [row for row in rows if row[0] == tenant]
    seen = own or [row for row in rows if not name.startswith(OWN_PREFIX)]
    return _topic(seen[0]) if seen else None


def _may_name(name: object) -> bool:
    """Return whether the store can be asked for ``name``: whether it is text that has a UTF-8."""
    return (
        isinstance(name, str)
        and "\x00" not in name
        and name == name.encode(errors="replace").decode()
    )


def get_topic(reader: Reader, name: str, tenant: str) -> Topic:
    """Return the topic of that name.

    Raises:
        TopicNotFoundError: There is none that the tenant sees.
    """
    found = find_topic(reader, name, tenant)
    if found is None:
        raise TopicNotFoundError(name, known=[each.name for each in topics(reader, tenant)])
    return found


def topic_by_id(reader: Reader, topic_id: str) -> Topic | None:
    """Return the topic of that identity; ``None`` if it was dropped."""
    rows = reader.select(TOPICS, _TOPIC_COLUMNS, Compare("=", "topic_id", topic_id))
    return _topic(rows[0]) if rows else None


def topics(reader: Reader, tenant: str) -> list[Topic]:
    """Return the topics that a tenant sees, each name once, own before shared."""
    seen: dict[str, Topic] = {}
    for topic in sorted(all_topics(reader), key=lambda topic: topic.tenant != tenant):
        if topic.tenant == tenant or not topic.name.startswith(OWN_PREFIX):
            seen.setdefault(topic.name, topic)
    return sorted(seen.values(), key=lambda topic: topic.name)


def all_topics(reader: Reader) -> list[Topic]:
    """Return every topic that a reader sees, whatever hides whatever."""
    return [_topic(row) for row in reader.select(TOPICS, _TOPIC_COLUMNS)]


def _topic(row: Sequence[Any]) -> Topic:
    tenant, topic_id, name, schema, metadata, retain_events, retain_us, _ = row
    try:
        columns, told = _schema(schema), json.loads(metadata)
        if not all(each is None or type(each) is int for each in (retain_events, retain_us)):
            raise ValueError("its retention is no number")
        if not isinstance(name, str):
            raise TypeError("its name is no text")
    except (ValueError, TypeError, pa.ArrowException, OSError) as error:
        msg = f"the definition of topic {name!r} in the store cannot be read: {error}"
        raise StoreError(msg) from error
    return Topic(tenant, topic_id, name, columns, told, retain_events, retain_us)


@lru_cache(maxsize=1024)
def _schema(data: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(data))


def define_topic(
    writer: Writer,
    name: str,
    schema: pa.Schema,
    tenant: str,
    *,
    metadata: dict[str, Any] | None = None,
    retain_events: int | None = None,
    retain_us: int | None = None,
) -> Topic:
    """Give a topic its name; there is none of that name yet."""
    topic = Topic(tenant, uuid4().hex, name, schema, metadata or {}, retain_events, retain_us)
    row = (
        topic.topic_id, name, schema.serialize().to_pybytes(), json.dumps(topic.metadata),
        retain_events, retain_us, clock.now_us(),
    )  # fmt: skip
    writer.insert(TOPICS, _TOPIC_COLUMNS[1:], [row])
    writer.memo.clear()
    return topic
