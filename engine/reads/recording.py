"""One read while its rows are on their way: what its record is going to say."""

from __future__ import annotations

import json
import os
from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.commitments import SALT_BYTES, ids_root
from affidavit.catalog.model import clock
from affidavit.catalog.model.policy import READS
from affidavit.catalog.values.canonical import (
    canonical,
    canonical_object,
    canonical_texts,
    from_us,
)
from affidavit.catalog.values.digest import schema_json
from affidavit.engine.reads.columns import without_values
from affidavit.engine.reads.hashes import Hashed, Hashes
from affidavit.engine.reads.hashing import HashingThread
from affidavit.engine.reads.parameters import statement_digest, written
from affidavit.engine.reads.receipt import Receipt
from affidavit.engine.reads.record import ABANDONED, OK, OPEN, Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.model.release import Reading, TableRead
    from affidavit.catalog.store.transactions import Transactions

IDS_MAX: Final = 10_000
"""So many keys a table stand in a record; of more their number and the root of their hashes."""

TEXT_LENGTH_MAX: Final = 100_000


class Recording:
    """A read that is to be on record.

    Args:
        reading: What it reads.
        level: Whether the keys of its rows are on record too.
        keeps: Whether the record has the statement's literals, parameters and conditions.
        lake_id: The lake that is read, where the record is another's.

    Attributes:
        read_id: What its record is called.
        rows: How many rows it has given so far.
        is_open: Whether it was put on record before its end.
        is_complete: Whether its end is on record.
    """

    def __init__(
        self,
        reading: Reading,
        level: str = READS,
        *,
        keeps: bool = False,
        lake_id: str | None = None,
    ) -> None:
        assert reading.asked is not None
        self.reading = reading
        self.asked = reading.asked
        self.level = level
        self._keeps = keeps
        self._lake_id = lake_id
        self.read_id = clock.uuid7(self.asked.started_at_us)
        self.rows = 0
        self.is_open = False
        self.is_complete = False
        self._late_status = ABANDONED
        self._salt = os.urandom(SALT_BYTES)
        self._started_ns = perf_counter_ns()
        self._schema: pa.Schema | None = None
        self._hashing: Hashes | HashingThread[Hashed] | None = None
        self._schema_json: bytes | None = None
        self._left = 0
        self._opened_seq: int | None = None
        self._searches: list[str] = []
        self._sha256: str | None = None
        self._set_sha256: str | None = None
        self._chunks: tuple[str, ...] = ()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch that is going to be released, or that says how many rows have left."""
        if self.reading.facts.is_out:
            self.rows += sum(batch.column(0).to_pylist())
            return
        self._hashing_of(batch.schema).add(batch)
        for table in self.reading.tables.values():
            table.give_result(batch)
        self.rows += batch.num_rows

    def leave(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Note that a batch is handed over, and return it."""
        self._left += batch.num_rows
        return batch

    def _hashing_of(self, schema: pa.Schema) -> Hashes | HashingThread[Hashed]:
        if self._hashing is None:
            self._schema = schema
            made = Hashes(schema, self._salt, is_ordered=self.reading.facts.is_ordered)
            self._hashing, self._schema_json = made, made.schema_json
        if self.is_open and isinstance(self._hashing, Hashes):  # there are many: beside the caller
            self._hashing = HashingThread(self._hashing)
        return self._hashing

    def opening(self) -> Beside:
        """Return the entry that says that rows are about to leave."""
        return Beside(self, OPEN)

    def closing(self, status: str = OK, error: BaseException | None = None) -> Beside:
        """Return the entry that says what left, in all."""
        return Beside(self, status, error)

    def closing_late(self) -> Beside:
        """Return that entry for who has nothing to do with what the session has begun since."""
        return Beside(self, self._late_status, is_late=True)

    def note_end(self, *, is_wanted: bool) -> None:
        """Note that it is over, before or after who reads it wanted that."""
        self._late_status = OK if is_wanted else ABANDONED

    def note_left(self, count: int) -> None:
        """Note that so much left by a door that gives no batches."""
        self.rows += count
        self._left += count

    def said(self, status: str, error: BaseException | None, searches: Sequence[str]) -> Said:
        """Return what the record says now."""
        self._searches += searches
        asked, identity, facts = self.asked, self.asked.identity, self.reading.facts
        is_over = status != OPEN
        if is_over:
            self._finish(is_whole=status == OK and not facts.is_out)
        given = [_Given(each) for each in self._tables() if each.given is not None]
        stated = {
            "status": status, "statement": asked.kind, "level": self.level,
            "is_ordered": facts.is_ordered,
            "error_class": None if error is None else type(error).__name__,
            "actor": identity.actor, "source": identity.source, "workspace": identity.workspace,
            "principal": None, "client": None, "request_id": None,
            "logged_at": from_us(clock.now_us()), "opened_seq": self._opened_seq,
            "journal_seq": facts.journal_seq,
            "tables": [_told(each, self._lake_id) for each in self._tables()],
            "searches": self._searches, "rows_returned": self._count(status),
            "duration_us": (perf_counter_ns() - self._started_ns) // 1000 if is_over else None,
        }  # fmt: skip
        if self._lake_id is not None:
            stated["lake_id"] = self._lake_id
        parameters = written(facts.parameters)
        filters = {each.name: " AND ".join(each.filters) for each in self._tables() if each.filters}
        sources = {
            each.name: each.source for each in self._tables() if any((each.source or {}).values())
        }
        values = {
            "text": asked.text[:TEXT_LENGTH_MAX],
            "statement_sha256": statement_digest(self._salt, asked.statement, parameters),
            "parameters": parameters if self._keeps else None,
            "filters": filters or None if self._keeps else None, "lineage": None,
            "result_schema": self._columns(),
            "context": json.loads(identity.context) if identity.context else None,
            "result_sha256": self._sha256, "rows_set_sha256": self._set_sha256,
            "ids": _ids(given) if given and is_over else None,
        }  # fmt: skip
        if sources:
            values["sources"] = sources
        rows = [row for each in (given if is_over else ()) for row in each.rows]
        return Said(
            self.read_id, self.is_open, asked.started_at_us, stated, values, self._salt, rows
        )

    def entered(self, status: str, entry: StoredEntry | None) -> None:
        """Note that an entry is durable, and its number if it has one."""
        seq = None if entry is None else entry.seq
        if status == OPEN:
            self.is_open, self._opened_seq = True, seq
            return
        self.is_complete = True
        if status == OK and self._sha256 is not None:
            receipt = Receipt(
                self.read_id, seq, self._salt.hex(), self._sha256, self._schema, self._chunks
            )
            self.reading.complete(receipt)

    def _count(self, status: str) -> int | None:
        """Return how many rows left, as far as that is known."""
        if status == OPEN:
            return None
        return self.rows if status == OK else self._left

    def _tables(self) -> list[TableRead]:
        tables = list(self.reading.tables.values())
        return [*tables, *(told for each in tables for told in list(each.told_of.values()))]

    def _result_schema(self) -> pa.Schema | None:
        facts = self.reading.facts
        if facts.is_out:
            return None
        if self._schema is None and facts.schema is not None:
            self._schema = facts.schema()
        return self._schema

    def _columns(self) -> object:
        """Return names and types, and nothing of the statement's literals if those are not kept."""
        schema = self._result_schema()
        if schema is None:
            return None
        written = self._schema_json or schema_json(schema)
        if self._keeps:
            return written
        return without_values(written, self.asked.statement)

    def _finish(self, *, is_whole: bool) -> None:
        """Finish what the rows hash to; of those of which not all left that says nothing."""
        schema = self._result_schema()
        if not is_whole:
            if isinstance(self._hashing, HashingThread):
                self._hashing.close()
        elif schema is not None and self._sha256 is None:
            self._sha256, self._set_sha256, self._chunks = self._hashing_of(schema).finish()


class Beside:
    """An entry of a read, appended with the searches that ran inside it."""

    def __init__(
        self,
        recording: Recording,
        status: str,
        error: BaseException | None = None,
        *,
        is_late: bool = False,
    ) -> None:
        self._is_late = is_late
        self._recording = recording
        self._status = status
        self._error = error

    @property
    def identity(self) -> Identity:
        """Who was given the rows."""
        return self._recording.asked.identity

    @property
    def transactions(self) -> Transactions | None:
        """Those of the session that asked."""
        return None if self._is_late else self._recording.reading.transactions

    def draft(self, searches: Sequence[str]) -> Draft:
        """Return the entry; ``searches`` are the ids of the records that go with it."""
        return self._recording.said(self._status, self._error, searches).draft()

    def entered(self, entry: StoredEntry | None) -> None:
        """Note that it is durable; without an entry where it waits for its number."""
        self._recording.entered(self._status, entry)


def _told(table: TableRead, lake_id: str | None) -> dict[str, Any]:
    return {
        "name": table.name, "table_id": table.table_id, "version": table.version,
        "columns": None if table.columns is None else list(table.columns),
        "rows": None if table.given is None else len(table.given),
        "lake_id": table.lake_id or lake_id,
    }  # fmt: skip


class _Given:
    """The rows of one table that were given, by their names.

    Attributes:
        ids: Their names, sorted: so an index takes them quickest.
        how: Whether they were returned, or what a plan scanned.
    """

    def __init__(self, table: TableRead) -> None:
        self._table_id = table.table_id
        self.ids = sorted(name for name in table.given or () if name is not None)
        self.how = "scanned" if table.keys_at is None else "returned"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What the index gets of them."""
        return list(zip(self.ids, repeat(self.how))) if len(self.ids) <= IDS_MAX else []

    def told(self) -> dict[str, bytes]:
        """Return what the record says of them: members in canonical JSON."""
        told: dict[str, Any] = {"table_id": self._table_id, "how": self.how, "count": len(self.ids)}
        if len(self.ids) > IDS_MAX:
            salt = os.urandom(SALT_BYTES)
            told |= {"root": ids_root(salt, self.ids), "salt": salt.hex()}
        members = {name: canonical(value, name) for name, value in told.items()}
        if len(self.ids) <= IDS_MAX:
            members["ids"] = f"[{','.join(canonical_texts(self.ids, 'ids'))}]".encode()
        return members


def _ids(given: Sequence[_Given]) -> bytes:
    """Return the rows that were given of each table, in canonical JSON."""
    return b"[%s]" % b",".join(canonical_object(each.told()) for each in given)
