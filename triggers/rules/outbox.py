"""The outbox: what triggers have to say of a change, sent in the transaction that makes it.

Rules:
    - A trigger's event is in the log exactly when its change is committed. For a vector table it is
      declared with the change's intent, so that a crash between Lance's commit and the store's
      loses neither.
    - An event is the rows of one change that one trigger asks for; its ``event_id`` is the change's
      number in the journal and the trigger's name. What is too large for one event is published
      in several, whose ids are numbered.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.model import clock
from affidavit.catalog.model.change import Message
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.topics.log import append_event, decode_event, encode_event
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.catalog.values.arrays import take_rows
from affidavit.errors import AffidavitError, ExecutionError, InvalidEventError, InvalidTriggerError
from affidavit.triggers.predicates.predicate import EventPredicate, compile_predicate
from affidavit.triggers.rules.trigger import (
    NEAR,
    Trigger,
    forget_trigger,
    triggers_of_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.news import News

EVENT_BYTES: Final = 8 * 1024 * 1024
"""What a trigger finds in one change is published in events of about so many bytes."""

MATCHES_A_RECORD: Final = 1000
"""A standing search that matches more rows at once is put on record in parts."""

_ACTION_OF: Final = {"truncate": "delete"}


@dataclass(frozen=True, slots=True)
class Match:
    """Rows that a standing search found in one change.

    Attributes:
        trigger: The standing search, by name.
        table: The table that changed.
        table_id: Its identity.
        version: The version with the change.
        key: The key column.
        ids: The keys of the rows, nearest first.
        distances: How far each is.
        query: The vector that it looks for.
        within: How far a row may be.
        metric: By which distance.
        column: The vector column.
        identity: Who made the change.
    """

    trigger: str
    table: str
    table_id: str
    version: int | None
    key: str
    ids: list[Any]
    distances: list[float]
    query: tuple[float, ...]
    within: float
    metric: str
    column: str
    identity: Identity


class MatchRecorder(Protocol):
    """What puts the finds of standing searches on record: the engine's audit."""

    def __call__(self, catalog: Catalog, writer: Writer, match: Match) -> None:
        """Record ``match`` in the transaction of ``writer``, or raise to stop the change."""


class TriggerOutbox:
    """The triggers of a lake; see :class:`~affidavit.catalog.lake.outbox.Outbox`."""

    def __init__(self, news: News, record: MatchRecorder) -> None:
        self._news = news
        self._record = record
        self._predicates: dict[str, tuple[pa.Schema, EventPredicate]] = {}

    def watch(self, catalog: Catalog, reader: Reader, change: Change) -> _Watch | None:
        """Return what looks at the rows of ``change``; ``None`` if no trigger asks for it."""
        triggers = triggers_of_table(reader, change.table_id)
        if not triggers:
            return None
        action = _ACTION_OF.get(change.action, change.action)
        if action == "drop":
            for trigger in triggers:
                forget_trigger(catalog, reader, trigger)  # type: ignore[arg-type]  # a writer then
        if change.loses:
            _refuse_loss(reader, change, triggers)
        asked = [each for each in triggers if action in each.actions]
        return _Watch(self, catalog, reader, change, action, asked) if asked else None

    def predicate(self, trigger: Trigger, schema: pa.Schema) -> EventPredicate | None:
        """Return a trigger's predicate over the rows of a table, compiled once."""
        if trigger.where is None:
            return None
        known = self._predicates.get(trigger.trigger_id)
        if known is None or not known[0].equals(schema):
            compiled = compile_predicate(trigger.where, schema, images=True)
            known = self._predicates[trigger.trigger_id] = (schema, compiled)
        return known[1]

    def send(
        self,
        catalog: Catalog,
        writer: Writer,
        messages: Sequence[Message],
        *,
        seq: int | None,
        version: int | None,
    ) -> None:
        """Publish ``messages`` of a change, and put the finds of standing searches on record."""
        for message in messages:
            topic = topic_by_id(writer, message.topic_id)
            if topic is None:  # dropped since the change was declared
                continue
            rows = decode_event(topic.schema, message.data)
            part = f"-{message.part}" if message.part else ""
            event_id = None if seq is None else f"{seq}-{message.trigger}{part}"
            for name, value in (("event_id", event_id), ("seq", seq)):
                at = topic.schema.get_field_index(name)
                field = topic.schema.field(at)
                column = pa.array([value] * rows.num_rows, field.type)
                rows = rows.set_column(at, field, column)
            append_event(self._news, writer, topic, rows.num_rows, encode_event(topic, rows))
            if message.kind == NEAR:
                self._record_finds(catalog, writer, message, rows, version)

    def _record_finds(
        self,
        catalog: Catalog,
        writer: Writer,
        message: Message,
        rows: pa.RecordBatch,
        version: int | None,
    ) -> None:
        told = json.loads(message.detail)
        key = told["key"]
        ids = rows.column("new").field(key).to_pylist()
        distances = rows.column("distance").to_pylist()
        for at in range(0, len(ids), MATCHES_A_RECORD):
            match = Match(
                trigger=message.trigger, table=told["table"], table_id=told["table_id"],
                version=version, key=key, ids=ids[at : at + MATCHES_A_RECORD],
                distances=distances[at : at + MATCHES_A_RECORD], query=tuple(told["query"]),
                within=told["within"], metric=told["metric"], column=told["column"],
                identity=message.identity,
            )  # fmt: skip
            self._record(catalog, writer, match)


class _Watch:
    """Looks at the rows of one change for some triggers; see ``ChangeWatch``."""

    def __init__(
        self,
        outbox: TriggerOutbox,
        catalog: Catalog,
        reader: Reader,
        change: Change,
        action: str,
        triggers: Sequence[Trigger],
    ) -> None:
        self._outbox = outbox
        self._change = change
        self._action = action
        self._triggers = triggers
        self._key = ""
        if change.kind == "vector":
            info = catalog.by_id(reader, change.table_id)
            assert info is not None
            self._key = vector_definition(info).key
        found = {each.trigger_id: topic_by_id(reader, each.topic_id) for each in triggers}
        self._topics = {key: topic for key, topic in found.items() if topic is not None}
        self._found: dict[str, list[pa.Table]] = {}

    def see(self, before: pa.Table | None, after: pa.Table | None) -> None:
        """Look at some of the rows, and keep those that a trigger asks for.

        DataFusion cannot be asked from a thread in which it, or Lance, asks us: a thread of its
        own looks.
        """
        rows = after if after is not None else before
        if rows is None or not rows.num_rows:
            return
        if self._change.kind == "vector":
            _elsewhere(lambda: self._look(before, after, rows))
        else:
            self._look(before, after, rows)

    def _look(self, before: pa.Table | None, after: pa.Table | None, rows: pa.Table) -> None:
        for trigger in self._triggers:
            topic = self._topics.get(trigger.trigger_id)
            if topic is None:
                continue
            if trigger.kind == NEAR:
                found = self._near(trigger, after, topic.schema)
            else:
                found = self._changed(trigger, before, after, rows, topic.schema)
            if found.num_rows:
                self._found.setdefault(trigger.trigger_id, []).append(found)

    def _changed(
        self,
        trigger: Trigger,
        before: pa.Table | None,
        after: pa.Table | None,
        rows: pa.Table,
        schema: pa.Schema,
    ) -> pa.Table:
        predicate = self._outbox.predicate(trigger, rows.schema)
        if predicate is not None:
            try:
                held = predicate.mask(_images(before, after, rows))
            except AffidavitError as error:
                msg = f"trigger {trigger.name!r} cannot evaluate {trigger.where!r}: {error}"
                raise ExecutionError(msg) from error
            kept = pc.indices_nonzero(held).to_numpy()
            if not len(kept):
                return schema.empty_table()
            rows = take_rows(rows, kept)
            before = None if before is None else take_rows(before, kept)
            after = None if after is None else take_rows(after, kept)
        images = [_image(before, rows.num_rows, schema.field("old").type)]
        images.append(_image(after, rows.num_rows, schema.field("new").type))
        return self._event(trigger, images, schema)

    def _near(self, trigger: Trigger, after: pa.Table | None, schema: pa.Schema) -> pa.Table:
        if after is None:
            return schema.empty_table()
        distances = distances_to(after[trigger.column], trigger.query, trigger.metric)
        assert trigger.within is not None
        with np.errstate(invalid="ignore"):
            near = np.flatnonzero(distances <= trigger.within)
        near = near[np.argsort(distances[near], kind="stable")]
        rows = take_rows(after, near)
        columns = [pa.array(distances[near], pa.float64())]
        columns.append(_image(rows, rows.num_rows, schema.field("new").type))
        return self._event(trigger, columns, schema)

    def _event(self, trigger: Trigger, tail: list[pa.Array], schema: pa.Schema) -> pa.Table:
        change, count = self._change, len(tail[-1])
        now = pa.scalar(clock.now_us(), pa.int64()).cast(schema.field("changed_at").type)
        head = [
            pa.nulls(count, pa.string()),
            pa.nulls(count, pa.int64()),
            *(pa.repeat(pa.scalar(text), count) for text in (trigger.name, self._action)),
            pa.repeat(pa.scalar(change.table), count),
            pa.repeat(now, count),
            pa.repeat(pa.scalar(change.identity.actor), count),
        ]
        return pa.Table.from_arrays([*head, *tail], schema=schema)

    def messages(self) -> list[Message]:
        """Return an event for each trigger that found rows, in the order of the triggers."""
        made = []
        for trigger in self._triggers:
            parts = self._found.get(trigger.trigger_id)
            if not parts:
                continue
            topic = self._topics[trigger.trigger_id]
            rows = pa.concat_tables(parts).combine_chunks()
            detail = json.dumps(self._told(trigger)) if trigger.kind == NEAR else ""
            size = max(1, rows.num_rows * EVENT_BYTES // max(rows.nbytes, 1))
            for part, batch in enumerate(rows.to_batches(max_chunksize=size)):
                try:
                    data = encode_event(topic, batch)
                except InvalidEventError as error:
                    msg = f"trigger {trigger.name!r} cannot publish a row: {error}"
                    raise InvalidEventError(msg) from error
                told = (topic.topic_id, trigger.name, trigger.kind, batch.num_rows)
                made.append(Message(*told, data, self._change.identity, detail, part))
        return made

    def _told(self, trigger: Trigger) -> dict[str, Any]:
        """Return what a standing search's record says besides its finds."""
        return {
            "table": self._change.table, "table_id": self._change.table_id, "key": self._key,
            "query": trigger.query, "within": trigger.within, "metric": trigger.metric,
            "column": trigger.column,
        }  # fmt: skip


def _refuse_loss(reader: Reader, change: Change, triggers: Sequence[Trigger]) -> None:
    """Raise InvalidTriggerError if a trigger publishes a column that ``change`` takes away."""
    for trigger in triggers:
        topic = topic_by_id(reader, trigger.topic_id)
        published = () if topic is None else topic.schema.field("new").type.names
        for column in change.loses:
            if column in published:
                msg = (
                    f"trigger {trigger.name!r} publishes column {column!r} of table "
                    f"{change.table!r}: drop the trigger first"
                )
                raise InvalidTriggerError(msg)


def _elsewhere(call: Callable[[], None]) -> None:
    """Run ``call`` in a thread of its own, and raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=run, name="affidavit-triggers")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _images(before: pa.Table | None, after: pa.Table | None, rows: pa.Table) -> pa.Table:
    """Return both images side by side, as predicates read them."""
    names, columns = [], []
    for side, image in (("new", after), ("old", before)):
        for field in rows.schema:
            names.append(f"{side}.{field.name}")
            columns.append(
                pa.nulls(rows.num_rows, field.type) if image is None else image[field.name]
            )
    return pa.table(columns, names=names)


def _image(rows: pa.Table | None, count: int, kind: pa.StructType) -> pa.Array:
    """Return rows as one column; the fields of one that is not there are NULL too."""
    if rows is None:
        nothing = [pa.nulls(count, field.type) for field in kind]
        mask = pa.repeat(pa.scalar(True), count)
        return pa.StructArray.from_arrays(nothing, fields=list(kind), mask=mask)
    columns = [
        _as_type(_whole(rows[field.name]), field.type)
        if field.name in rows.schema.names
        else pa.nulls(count, field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def _as_type(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column cast only where it must be: Arrow refuses to cast some NULL structs."""
    return column if column.type.equals(kind) else column.cast(kind)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def distances_to(
    vectors: pa.ChunkedArray, query: Sequence[float], metric: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how far each vector is from ``query``, as Lance measures it; NaN for NULL.

    ``l2`` is the squared Euclidean distance, ``cosine`` 1 - cos, ``dot`` 1 - the dot product.
    """
    column = _whole(vectors)
    found = np.full(len(column), np.nan)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if not there.any():
        return found
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    rows, wanted = flat.reshape(-1, len(query)), np.asarray(query, np.float64)
    if metric == "l2":
        distances = ((rows - wanted) ** 2).sum(axis=1)
    elif metric == "dot":
        distances = 1 - rows @ wanted
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
            distances = 1 - (rows @ wanted) / norms
    found[there] = distances
    return found
