"""The audit topic: every search's record as an event, in the transaction that records it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.topics.log import append_event, encode_event, evict_before
from affidavit.catalog.topics.topic import define_topic, find_topic
from affidavit.engine.search.record import KIND, SEARCHES_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.ledger.entry import (
        Draft,
        StoredEntry,
    )
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.topics.news import News
    from affidavit.catalog.topics.topic import Topic

AUDIT_TOPIC: Final = "affidavit.audit.searches"
RETAIN_EVENTS: Final = 1_000_000
EVICT_EVENTS: Final = 1024
"""The ledger keeps every record; the topic is for who listens. Every so often the oldest go."""

_MEMBERS: Final = (
    "actor", "table_name", "table_version", "mode", "k_requested", "k_returned", "model_id",
)  # fmt: skip
"""What an event tells of a record beside its text, so that a subscription can filter by it."""

AUDIT_SCHEMA: Final = pa.schema(
    [
        *map(SEARCHES_SCHEMA.field, ("seq", "query_id", "executed_at", *_MEMBERS)),
        pa.field("record", pa.string()),
        *map(SEARCHES_SCHEMA.field, ("key_id", "signature")),
    ]
)
"""``record`` is the record's canonical JSON, which ``signature`` signs."""

_ROW: Final = pa.struct(list(AUDIT_SCHEMA))


class AuditTopics:
    """The audit topics of one lake, one a tenant.

    Args:
        news: Who is told of their events.
    """

    def __init__(self, news: News) -> None:
        self._news = news

    def publish(
        self,
        writer: Writer,
        tenant: str,
        drafts: Sequence[Draft],
        entries: Sequence[StoredEntry],
    ) -> None:
        """Publish the searches among ``entries``, one row each, as one event."""
        pairs = [
            (draft.members, entry)
            for draft, entry in zip(drafts, entries, strict=True)
            if entry.kind == KIND
        ]
        if not pairs:
            return
        rows, topic = _rows(pairs), self._topic(writer, tenant)
        offset = append_event(self._news, writer, topic, rows.num_rows, encode_event(topic, rows))
        if offset % EVICT_EVENTS == 0:
            evict_before(writer, topic, offset - RETAIN_EVENTS)

    def _topic(self, writer: Writer, tenant: str) -> Topic:
        """Return the tenant's topic, made if there is none: its retention may be another now."""
        topic = find_topic(writer, AUDIT_TOPIC, tenant)
        if topic is None or topic.tenant != tenant:
            metadata = {"holds": "the record of every search"}
            topic = define_topic(writer, AUDIT_TOPIC, AUDIT_SCHEMA, tenant, metadata=metadata)
        return topic


def _rows(pairs: Sequence[tuple[Mapping[str, bytes], StoredEntry]]) -> pa.RecordBatch:
    # the members are JSON already: one text has all of them
    told = ",".join(
        "[" + b",".join([members[name] for name in _MEMBERS]).decode() + "]" for members, _ in pairs
    )
    columns: list[Sequence[Any]] = [
        [entry.seq for _, entry in pairs],
        [entry.entry_id for _, entry in pairs],
        [entry.created_at for _, entry in pairs],
        *zip(*json.loads(f"[{told}]"), strict=True),
        [entry.body.decode() for _, entry in pairs],
        [entry.key_id for _, entry in pairs],
        [entry.signature for _, entry in pairs],
    ]
    # one array of rows is made in half the time that an array a column takes for a few of them
    rows = pa.array(list(zip(*columns, strict=True)), _ROW)
    return pa.RecordBatch.from_struct_array(rows)
