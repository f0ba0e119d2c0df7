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

import threading
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.model import clock
from affidavit.catalog.model.change import Message
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.store.tables import TOPICS
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.topics.log import append_event, decode_event, encode_event
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.catalog.values.arrays import take_rows
from affidavit.errors import AffidavitError, ExecutionError, InvalidEventError, InvalidTriggerError
from affidavit.triggers.predicates.predicate import EventPredicate, compile_predicate
from affidavit.triggers.rules.event import NEAR, event_rows, image, images
from affidavit.triggers.rules.near import detail_of, matches, near_rows
from affidavit.triggers.rules.trigger import Trigger, forget_trigger, triggers_of_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.lake.outbox import Changer
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.news import News
    from affidavit.catalog.topics.topic import Topic
    from affidavit.triggers.rules.near import MatchRecorder

EVENT_BYTES: Final = 8 * 1024 * 1024
"""What a trigger finds in one change is published in events of about so many bytes."""

_ACTION_OF: Final = {"truncate": "delete"}


class TriggerOutbox:
    """The triggers of a lake; see :class:`~affidavit.catalog.lake.outbox.Outbox`.

    Args:
        news: Who is told of what they publish.
        record: Puts the finds of standing searches on record.
    """

    def __init__(self, news: News, record: MatchRecorder) -> None:
        self._news = news
        self._record = record
        self._predicates: dict[str, tuple[pa.Schema, EventPredicate]] = {}

    def has_triggers(self, reader: Reader, table_id: str) -> bool:
        """Return whether a table has any."""
        return bool(triggers_of_table(reader, table_id))

    def look(self, catalog: Changer, reader: Reader, change: Change) -> _Look | None:
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
        return _Look(self._predicate, catalog, reader, change, action, asked) if asked else None

    def _predicate(self, trigger: Trigger, schema: pa.Schema) -> EventPredicate | None:
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
        catalog: Changer,
        writer: Writer,
        messages: Sequence[Message],
        *,
        seq: int | None,
        version: int | None,
    ) -> None:
        """Publish ``messages`` of a change, and put the finds of standing searches on record."""
        for message in messages:
            topic = _topic(writer, message.topic_id)
            if topic is None:  # dropped since the change was declared
                continue
            rows = decode_event(topic.schema, message.data)
            part = f"-{message.part}" if message.part else ""
            event_id = None if seq is None else f"{seq}-{message.trigger}{part}"
            columns = rows.columns
            for name, value in (("event_id", event_id), ("seq", seq)):
                at = topic.schema.get_field_index(name)
                columns[at] = pa.array([value] * rows.num_rows, columns[at].type)
            rows = pa.RecordBatch.from_arrays(columns, schema=topic.schema)
            append_event(self._news, writer, topic, rows.num_rows, encode_event(topic, rows))
            if message.kind == NEAR:
                for match in matches(message, rows, version):
                    self._record(catalog, writer, match)


class _Look:
    """Looks at the rows of one change for some triggers; see ``ChangeLook``."""

    def __init__(
        self,
        predicate: Callable[[Trigger, pa.Schema], EventPredicate | None],
        catalog: Changer,
        reader: Reader,
        change: Change,
        action: str,
        triggers: Sequence[Trigger],
    ) -> None:
        self._predicate = predicate
        self._change = change
        self._action = action
        self._triggers = triggers
        self._key = ""
        if KINDS[change.kind].has_versions:
            info = catalog.by_id(reader, change.table_id)
            assert info is not None
            self._key = vector_definition(info).key
        found = {each.trigger_id: _topic(reader, each.topic_id) for each in triggers}
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
        if KINDS[self._change.kind].has_versions:
            _elsewhere(lambda: self._look(before, after, rows))
        else:
            self._look(before, after, rows)

    def _look(self, before: pa.Table | None, after: pa.Table | None, rows: pa.Table) -> None:
        for trigger in self._triggers:
            topic = self._topics.get(trigger.trigger_id)
            if topic is None:
                continue
            if trigger.kind != NEAR:
                tail = self._changed(trigger, before, after, rows, topic.schema)
            elif after is not None:
                tail = near_rows(trigger, after, topic.schema)
            else:
                continue
            if tail and len(tail[-1]):
                found = event_rows(
                    self._change, trigger.name, self._action, tail, topic.schema,
                    clock.now_us(),
                )  # fmt: skip
                self._found.setdefault(trigger.trigger_id, []).append(found)

    def _changed(
        self,
        trigger: Trigger,
        before: pa.Table | None,
        after: pa.Table | None,
        rows: pa.Table,
        schema: pa.Schema,
    ) -> list[pa.Array]:
        """Return the images of the rows that a trigger asks for; nothing if there are none."""
        predicate, count = self._predicate(trigger, rows.schema), rows.num_rows
        if predicate is not None:
            try:
                held = predicate.mask(_asked(predicate, before, after, rows))
            except AffidavitError as error:
                msg = f"trigger {trigger.name!r} cannot evaluate {trigger.where!r}: {error}"
                raise ExecutionError(msg) from error
            count = held.true_count
            if not count:
                return []
            if count < rows.num_rows:
                kept = pc.indices_nonzero(held).to_numpy()
                before = None if before is None else take_rows(before, kept)
                after = None if after is None else take_rows(after, kept)
        sides = (("old", before), ("new", after))
        return [image(side, count, schema.field(name).type) for name, side in sides]

    def messages(self) -> list[Message]:
        """Return an event for each trigger that found rows, in the order of the triggers."""
        made = []
        for trigger in self._triggers:
            parts = self._found.get(trigger.trigger_id)
            if not parts:
                continue
            topic = self._topics[trigger.trigger_id]
            rows = (parts[0] if len(parts) == 1 else pa.concat_tables(parts)).combine_chunks()
            detail = detail_of(trigger, self._change, self._key) if trigger.kind == NEAR else ""
            one = rows.num_rows == 1  # and is not measured
            size = 1 if one else max(1, rows.num_rows * EVENT_BYTES // max(rows.nbytes, 1))
            for part, batch in enumerate(rows.to_batches(max_chunksize=size)):
                try:
                    data = encode_event(topic, batch)
                except InvalidEventError as error:
                    msg = f"trigger {trigger.name!r} cannot publish a row: {error}"
                    raise InvalidEventError(msg) from error
                told = (topic.topic_id, trigger.name, trigger.kind, batch.num_rows)
                made.append(Message(*told, data, self._change.identity, detail, part))
        return made


def _topic(reader: Reader, topic_id: str) -> Topic | None:
    """Return a topic by its identity; a transaction that writes looks it up once."""
    memo = getattr(reader, "memo", None)
    if memo is None:
        return topic_by_id(reader, topic_id)
    key = (TOPICS.name, "id", topic_id)
    if key not in memo:
        memo[key] = topic_by_id(reader, topic_id)
    found: Topic | None = memo[key]
    return found


def _asked(
    predicate: EventPredicate, before: pa.Table | None, after: pa.Table | None, rows: pa.Table
) -> pa.Table:
    """Return what a predicate reads of a change's rows; all, if it is executed or reads nothing."""
    names = rows.schema.names
    if predicate.is_quick and predicate.columns:
        read = {each.partition(".")[2] for each in predicate.columns}
        names = [name for name in names if name in read]
    return images(before, after, rows, names)


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
