"""``session.journal``: events read, sealed, and written by callers themselves."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.erasure.chosen import chosen_entity
from affidavit.catalog.erasure.erasure import Erasure
from affidavit.catalog.erasure.holds import refuse_newer
from affidavit.catalog.erasure.kinds import held_segments
from affidavit.catalog.journal.events import EVENTS_SCHEMA, WHOLE, Batch, Event
from affidavit.catalog.ledger.entry import RETENTION
from affidavit.catalog.model import clock
from affidavit.catalog.model.holds import holds
from affidavit.catalog.model.release import TableRead
from affidavit.catalog.tables.copies.files import forget_outdated
from affidavit.catalog.tables.reading import released, strictest
from affidavit.catalog.values.canonical import from_us, us_of
from affidavit.catalog.values.python.arguments import (
    checked_reason,
    checked_text_or_none,
)
from affidavit.catalog.values.text import json_texts
from affidavit.engine.result.result import Result
from affidavit.engine.scans.evidence.events import EventRows
from affidavit.engine.scans.journal import JOURNAL_SCHEMA, journal_batch
from affidavit.errors import InvalidQueryError, RecordNotFoundError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader, Writer


SHOWN: Final = [name for name in JOURNAL_SCHEMA.names if name in EVENTS_SCHEMA.names]
"""What is read of an event to show it."""


class JournalHandle:
    """The journal of one tenant; in SQL the table ``journal``."""

    def __init__(self, catalog: Catalog, settle: Callable[[], object]) -> None:
        self._catalog = catalog
        self._settle = settle
        self._journal = catalog.journal

    def __repr__(self) -> str:
        told = self.stats()
        return (
            f"Journal({told['total_events_created']:,} events, "
            f"{told['persisted_files']:,} sealed segments)"
        )

    # --- writing -------------------------------------------------------------------------------

    def record(
        self,
        entity_type: str,
        entity_id: str,
        field: str,
        action: str,
        old_value: object = None,
        new_value: object = None,
        actor: str | None = None,
        source: str | None = None,
        workspace_id: str | None = None,
    ) -> None:
        """Write an event down, in the open transaction if there is one.

        Args:
            entity_type: What kind of thing it happened to, in the caller's words.
            entity_id: Which one.
            field: Which part of it, or ``*``.
            action: What happened.
            old_value: The value before, whatever Arrow or JSON holds; ``None`` for none.
            new_value: The value after.
            actor: Who did it; the session's by default.
            source: Through what, likewise.
            workspace_id: Where, likewise.

        Raises:
            InvalidQueryError: A name is no text, or a value cannot be written down.
        """
        event = Event(
            _text(entity_id, "entity_id"), _text(field, "field"), _text(action, "action"),
            _json(old_value, "old_value"), _json(new_value, "new_value"),
        )  # fmt: skip
        identity = self._catalog.identity.narrowed(
            actor=actor, source=source, workspace=workspace_id
        )
        kind = _text(entity_type, "entity_type")
        with self._catalog.write() as writer:
            transaction = self._catalog.transactions.current()
            assert transaction is not None
            batch = Batch(kind, None, identity, clock.now_us(), transaction.tx_id, [event])
            self._journal.append(writer, batch, transaction)

    def record_insert(
        self,
        entity_type: str,
        entity_id: str,
        actor: str | None = None,
        source: str | None = None,
        workspace_id: str | None = None,
    ) -> None:
        """Write down that an entity came to be."""
        self.record(
            entity_type, entity_id, WHOLE, "insert", None, None, actor, source, workspace_id
        )

    def record_update(
        self,
        entity_type: str,
        entity_id: str,
        field: str,
        old_value: object,
        new_value: object,
        actor: str | None = None,
        source: str | None = None,
        workspace_id: str | None = None,
    ) -> None:
        """Write down that a field of an entity changed; ``None`` is NULL."""
        old = pa.scalar(None) if old_value is None else old_value
        new = pa.scalar(None) if new_value is None else new_value
        self.record(entity_type, entity_id, field, "update", old, new, actor, source, workspace_id)

    def record_ingest(
        self,
        entity_type: str,
        count: int,
        actor: str | None = None,
        source_file: str | None = None,
    ) -> None:
        """Write down that so many entities were loaded; the entity is ``batch:<count>``."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            msg = f"count must be a number of rows, got {count!r}"
            raise InvalidQueryError(msg)
        checked_text_or_none(source_file, "source_file")
        told = {"rows": count, **({} if source_file is None else {"source_file": source_file})}
        self.record(entity_type, f"batch:{count}", WHOLE, "ingest", None, told, actor)

    def flush(self) -> int:
        """Seal the events that the store keeps in a segment, and return how many there were.

        The ledger's other entries (searches, reads, notes) are sealed too, in segments of theirs.

        Raises:
            TransactionError: A transaction is open here.
            StoreError: A segment cannot be written; no event is lost, and no other entry.
        """
        self._refuse_transaction("events are sealed")
        events = self._journal.sealing.flush()
        self._journal.records.sealing.flush()
        return events

    # --- letting go ----------------------------------------------------------------------------

    def erase(self, entity_id: object, reason: str, *, entity_type: str | None = None) -> int:
        """Destroy the values of every event of an entity, for good, and return how many there were.

        It is for what callers wrote down themselves, and for rows that left their table:
        ``session.erase`` takes a row out of its table too. What else the lake has of the values is
        let go as it does: topics, records, the log of statements. Every proof goes on holding.

        Args:
            entity_id: The entity.
            reason: Why, for the ledger.
            entity_type: The table, or the caller's word, where several have an entity of that id.

        Raises:
            RecordNotFoundError: No event is about this entity.
            InvalidQueryError: Entities of several tables are called so; or there is no reason.
            HoldError: It is a row that is held.
        """
        self._refuse_transaction("values are erased")
        entity, why = str(entity_id), checked_reason(reason)
        checked_text_or_none(entity_type, "entity_type")
        with self._catalog.read() as reader:
            table_id, kind = _one_of(self._kinds(reader, entity), entity, entity_type)
            info = None if table_id is None else self._catalog.by_id(reader, table_id)
        chosen = chosen_entity(table_id, kind, entity, info)
        report = Erasure(self._catalog, self._settle).erase(
            info, chosen, why, stay=True, table=kind
        )
        return report.erased.get("events", 0)

    def retain(self, *, before: datetime | None = None, keep: int = 0, reason: str) -> int:
        """Let go of whole sealed segments, and return how many events they had.

        Args:
            before: Only of segments whose events are all older than this.
            keep: The newest so many events stay, whatever their age.
            reason: Why, for the ledger, which notes it.

        Segments with an event of a row that is held stay. The events' leaves stay: whatever is left
        still verifies. Tables cannot be read as of a moment that their dropped events would be
        needed for.
        """
        self._refuse_transaction("segments are dropped")
        if before is not None and not isinstance(before, datetime):
            msg = f"before must be a datetime, got {type(before).__name__}"
            raise InvalidQueryError(msg)
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            msg = f"keep must be a number of events, got {keep!r}"
            raise InvalidQueryError(msg)
        why = checked_reason(reason)
        catalog, limit = self._catalog, None
        with catalog.read() as reader:
            held = holds(reader)
        if before is not None:
            limit = us_of(before if before.tzinfo is not None else before.astimezone())

        def note(writer: Writer, segments: Sequence[Segment]) -> None:
            refuse_newer(writer, held)
            forget_outdated(catalog, writer)
            catalog.ledger.note(
                writer, RETENTION, catalog.identity, reason=why, keep=keep,
                before=None if limit is None else from_us(limit),
                ranges=[[each.first_seq, each.last_seq] for each in segments],
                roots=[each.root.hex() for each in segments],
                events=sum(each.events for each in segments),
            )  # fmt: skip

        is_held = held_segments(catalog, held, [])
        gone = self._journal.erasing.retain(limit, keep, note, is_held=is_held)
        return sum(each.events for each in gone)

    def _kinds(self, reader: Reader, entity: str) -> set[tuple[str | None, str]]:
        """Return the table and kind of every event that names an entity of that id.

        By reading them all, and not by the index: whoever changed that would keep the values.
        """
        names, wanted = ["table_id", "entity_type"], pc.field("entity_id") == entity
        parts = self._journal.events.scan(reader, names, wanted)
        return {each for part in parts for each in zip(*part.to_pydict().values(), strict=True)}

    def _refuse_transaction(self, what: str) -> None:
        self._catalog.refuse_past()
        if self._catalog.transactions.current() is not None:
            msg = f"{what} outside of transactions: COMMIT or ROLLBACK first"
            raise TransactionError(msg)

    # --- reading -------------------------------------------------------------------------------

    def history(self, entity_id: object) -> Result:
        """Return every event of an entity, oldest first."""
        with self._catalog.read() as reader:
            events = self._journal.events.of_entities
            return self._result(
                reader, "history",
                lambda names: pa.concat_tables(list(events(reader, [str(entity_id)], names))),
            )  # fmt: skip

    def recent(self, limit: int = 20) -> Result:
        """Return the newest ``limit`` events, newest first."""
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            msg = f"limit must be a number of events, got {limit!r}"
            raise InvalidQueryError(msg)
        with self._catalog.read() as reader:
            newest = self._journal.events.newest
            return self._result(reader, "recent", lambda names: newest(reader, limit, names))

    def _result(
        self, reader: Reader, door: str, events: Callable[[Sequence[str]], pa.Table]
    ) -> Result:
        catalog = self._catalog
        tenant = catalog.identity.shown_tenant
        told = TableRead("system.journal", level=strictest(catalog, reader))
        told.are_at(())
        rows = EventRows(catalog, reader, told)

        def read() -> pa.Table:
            found = events([*SHOWN, "table_id"] if rows.is_wanted else SHOWN)
            if rows.is_wanted:
                rows.note(found)
            batch = journal_batch(found, JOURNAL_SCHEMA.names, tenant)
            return pa.Table.from_batches([batch])

        return Result.of(released(catalog, reader, told, door, read))

    def stats(self) -> dict[str, int]:
        """Return ``buffer_events``, ``flush_threshold``, ``persisted_files`` and the total."""
        with self._catalog.read() as reader:
            waiting = self._journal.kept.tail_events(reader)
            sealed = len(self._journal.kept.segments(reader))
            total = self._journal.kept.count(reader)
        return {
            "buffer_events": waiting,
            "flush_threshold": self._journal.sealing.flush_threshold,
            "persisted_files": sealed,
            "total_events_created": total,
        }


def _one_of(
    kinds: set[tuple[str | None, str]], entity: str, wanted: str | None
) -> tuple[str | None, str]:
    """Return the table, if it is one, and the kind of the one thing that is called ``entity``."""
    found = {each for each in kinds if wanted in {None, each[1]}}
    if not found:
        of_kind = "" if wanted is None else f" of {wanted!r}"
        msg = f"the journal has no values of an entity {entity!r}{of_kind}"
        raise RecordNotFoundError(msg)
    if len({table_id or kind for table_id, kind in found}) > 1:
        named = ", ".join(sorted({repr(kind) for _, kind in found}))
        msg = f"{entity!r} is an entity of {named}: say which, by entity_type= or session.erase"
        raise InvalidQueryError(msg)
    return max(found, key=lambda each: each[1])


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        msg = f"{what} must be text, got {type(value).__name__}: {value!r}"
        raise InvalidQueryError(msg)
    return value


def _json(value: object, what: str) -> str | None:
    """Return a caller's value as JSON text."""
    if value is None:
        return None
    try:
        if isinstance(value, pa.Scalar):
            return json_texts(pa.array([value.as_py()], value.type))[0]
        if isinstance(value, dict | list | str | bool | int):
            return json.dumps(value, allow_nan=False, ensure_ascii=False)
        return json_texts(pa.array([value]))[0]
    except (pa.ArrowException, TypeError, ValueError, RecursionError) as error:
        msg = f"{what} cannot be written in the journal: {type(value).__name__}: {error}"
        raise InvalidQueryError(msg) from error
