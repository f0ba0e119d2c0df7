"""The catalog of one identity: its names, snapshots and transactions.

Rules:
    - A tenant's own table hides a shared one of the same name.
    - Shared tables are read by every tenant and written only by the shared scope.
    - Every mutation is announced through :meth:`Catalog.announce` before it is committed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from affidavit.catalog.lake.table_row import COLUMNS, info_of
from affidavit.catalog.model import clock
from affidavit.catalog.model.change import Change
from affidavit.catalog.model.definition import KINDS, MutableDefinition, TableInfo
from affidavit.catalog.model.policy import OFF, stricter
from affidavit.catalog.sql.names import MAIN_SCHEMA, check_schema_name, check_table_name
from affidavit.catalog.sql.predicate import And, Compare, In
from affidavit.catalog.sql.pushdown import IN_VALUES_MAX
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.settled import settled
from affidavit.catalog.store.tables import SCHEMAS, TABLES
from affidavit.errors import (
    InvalidNameError,
    ReadOnlyError,
    TableExistsError,
    TableNotFoundError,
    TransactionError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.lake.numbers import Numbers
    from affidavit.catalog.lake.trace import Trace
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.model.change import ChangeLook, Message
    from affidavit.catalog.model.definition import Definition
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.model.release import Reading, Release
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.store.transactions import Transactions


def new_table_id() -> str:
    """Return an identity that nobody can guess from another."""
    return uuid4().hex


def _named(schema: str, name: str) -> And:
    return And((Compare("=", "schema_name", schema), Compare("=", "name", name)))


def _version(info: TableInfo | None) -> tuple[str, int] | None:
    return None if info is None else (info.table_id, info.version)


class Catalog:
    """What one identity sees of a lake, and the only way to change it."""

    def __init__(
        self,
        lake: Lake,
        identity: Identity,
        transactions: Transactions,
        trace: Trace | None = None,
        at: Moment | None = None,
        gate: Release | None = None,
    ) -> None:
        self.lake = lake
        self.identity = identity
        self.transactions = transactions
        self.trace = trace
        self.at = at
        self.gate = gate

    @property
    def tenant(self) -> str:
        """The tenant, as the store writes it."""
        return self.identity.tenant

    @property
    def present(self) -> Catalog:
        """The same catalog as it is now, whatever moment this one is at."""
        return Catalog(self.lake, self.identity, self.transactions, self.trace, gate=self.gate)

    def release(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield a plan's batches to the caller, each once what was done for it is on record.

        Without a gate nothing that is to be on record can be done: ``reading`` lets nothing begin.
        """
        return batches if self.gate is None else self.gate.release(reading, batches)

    @property
    def floor(self) -> str:
        """What is put on record of everything that is read here."""
        return OFF if self.gate is None else stricter(self.gate.floor, *self.transactions.policies)

    def level_of(self, reading: Reading) -> str:
        """Return what is to be on record of what a statement reads."""
        return OFF if self.gate is None else self.gate.level_of(reading)

    @property
    def keeps_queries(self) -> bool:
        """Whether the conditions that tables are read by stand in records too."""
        return self.gate is not None and self.gate.keeps_queries

    def traced(self, trace: Trace) -> Catalog:
        """Return the same catalog for one statement."""
        return Catalog(self.lake, self.identity, self.transactions, trace, self.at, self.gate)

    @property
    def ledger(self) -> Ledger:
        """The tenant's ledger."""
        return self.lake.ledgers.of(self.tenant)

    @property
    def numbers(self) -> Numbers:
        """Where the numbers of rows and sequences come from."""
        return self.lake.numbers

    @property
    def journal(self) -> Journal:
        """The tenant's journal."""
        return self.lake.journals.of(self.tenant)

    # --- snapshots and transactions ------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Open a snapshot: the open transaction's, if the session is in one."""
        with self.transactions.turn():
            active = self.transactions.current()
            if active is not None and active.tenant == self.tenant:
                yield active.reader
                return
            with self.lake.store.read(self.tenant) as reader:
                yield reader

    @settled
    def write(self) -> Iterator[Writer]:
        """Open a transaction, or a savepoint in the session's open one.

        Raises:
            ConflictError: What the open transaction had read was changed before its first change.
        """
        self.refuse_past()
        with self.transactions.turn():
            active = self.transactions.current()
            if active is None:
                with self.transactions.transaction(self.tenant) as transaction:
                    yield transaction.writer
                return
            if active.tenant != self.tenant:
                msg = "the open transaction belongs to another tenant: COMMIT or ROLLBACK it first"
                raise TransactionError(msg)
            writer = active.writer
            with writer.savepoint():
                yield writer

    def refuse_past(self) -> None:
        """Raise ReadOnlyError if this is the catalog of a moment that has passed."""
        if self.at is not None:
            msg = "this session is at a moment of the past, which cannot be changed"
            raise ReadOnlyError(msg)

    def refuse_transaction(self, what: str) -> None:
        """Raise TransactionError if the session is in a transaction: ``what`` cannot join it."""
        if self.transactions.current() is not None:
            msg = (
                f"{what} cannot be part of a transaction: vector tables commit on their own. "
                "COMMIT or ROLLBACK first"
            )
            raise TransactionError(msg)

    # --- names ---------------------------------------------------------------------------------

    def find(self, reader: Reader, name: str, schema: str = MAIN_SCHEMA) -> TableInfo | None:
        """Return the table of that name: the tenant's own, else a shared one, else ``None``."""
        if "\x00" in name:
            return None
        found = self._find(reader, name, schema)
        self._saw(reader, name, schema, found)
        return found

    def _find(self, reader: Reader, name: str, schema: str) -> TableInfo | None:
        found = reader.select(TABLES, COLUMNS, _named(schema, name))
        own = [row for row in found if row[0] == self.tenant] or found
        return info_of(own[0]) if own else None

    def _saw(self, reader: Reader, name: str, schema: str, info: TableInfo | None) -> None:
        """Let the open transaction know which version of a table was read."""
        begun = self.transactions.begun
        if begun is not None and not begun.has_changed:
            shown = name if schema == MAIN_SCHEMA else f"{schema}.{name}"
            begun.saw(
                reader, shown, _version(info), lambda now: _version(self._find(now, name, schema))
            )

    def by_id(self, reader: Reader, table_id: str) -> TableInfo | None:
        """Return the table of that identity as it is now; ``None`` if it was dropped."""
        found = reader.select(TABLES, COLUMNS, Compare("=", "table_id", table_id))
        return info_of(found[0]) if found else None

    def get(self, reader: Reader, name: str, schema: str = MAIN_SCHEMA) -> TableInfo:
        """Return the table of that name.

        Raises:
            TableNotFoundError: There is none that this tenant may see.
        """
        info = self.find(reader, name, schema) if isinstance(name, str) else None
        if info is None:
            known = [each.name for each in self.tables(reader) if each.schema == schema]
            raise TableNotFoundError(name, known=known)
        return info

    def tables(self, reader: Reader, names: Collection[str] | None = None) -> list[TableInfo]:
        """Return the tables that this tenant sees, each name once, own before shared.

        ``names`` leaves out every other name, of whichever schema.
        """
        where = None
        if names is not None and len(names) <= IN_VALUES_MAX:
            where = In("name", tuple(name for name in names if "\x00" not in name))
        rows = reader.select(TABLES, COLUMNS, where)
        seen: dict[tuple[str, str], TableInfo] = {}
        for row in sorted(rows, key=lambda row: row[0] != self.tenant):
            info = info_of(row)
            if names is None or info.name in names:
                seen.setdefault((info.schema, info.name), info)
        for info in seen.values() if names is not None else ():
            self._saw(reader, info.name, info.schema, info)
        return sorted(seen.values(), key=lambda info: (info.schema, info.name))

    def schemas(self, reader: Reader) -> set[str]:
        """Return the schemas that this tenant sees."""
        made = reader.select(SCHEMAS, ("name",))
        used = reader.select(TABLES, ("schema_name",), Compare("!=", "schema_name", MAIN_SCHEMA))
        return {MAIN_SCHEMA, *(str(row[0]) for row in (*made, *used))}

    def refuse_shared(self, info: TableInfo) -> None:
        """Raise ReadOnlyError unless this identity's tenant owns ``info``."""
        if info.tenant != self.tenant:
            msg = (
                f"table {info.name!r} is shared: every tenant reads it, and only a session with "
                "tenant=None writes it"
            )
            raise ReadOnlyError(msg)

    # --- definitions -----------------------------------------------------------------------------

    def define(
        self,
        writer: Writer,
        name: str,
        kind: str,
        definition: Definition,
        *,
        schema: str = MAIN_SCHEMA,
        row_count: int = 0,
        data_version: int | None = None,
    ) -> TableInfo:
        """Give ``definition`` a name.

        Raises:
            TableExistsError: This tenant has a table of that name.
            InvalidNameError: The name, or its schema, cannot be used.
        """
        check_table_name(name, schema=schema)
        if schema not in self.schemas(writer):
            raise InvalidNameError("schema", schema, "it does not exist: CREATE SCHEMA first")
        existing = self.find(writer, name, schema)
        if existing is not None and existing.tenant == self.tenant:
            raise TableExistsError(name, kind=KINDS[existing.kind].word)
        columns = columns_of(TABLES)
        row = (
            definition.table_id, schema, name, kind, definition.to_json(), 1, row_count,
            clock.now_us(), data_version, None, 1,
        )  # fmt: skip
        writer.insert(TABLES, columns, [row])
        return TableInfo(self.tenant, schema, name, kind, definition, 1, row_count, data_version)

    def redefine(
        self, writer: Writer, info: TableInfo, definition: Definition, *, name: str | None = None
    ) -> TableInfo:
        """Replace what a table's name stands for, and perhaps the name."""
        self.refuse_shared(info)
        if name is not None and name != info.name:
            check_table_name(name, schema=info.schema)
            taken = self.find(writer, name, info.schema)
            if taken is not None and taken.tenant == self.tenant:
                raise TableExistsError(name)
        values = {"definition": definition.to_json(), "name": name or info.name}
        writer.update_where(TABLES, values, Compare("=", "table_id", info.table_id))
        self.touch(writer, info)
        return self.get(writer, name or info.name, info.schema)

    def touch(self, writer: Writer, info: TableInfo, *, rows: int = 0) -> int:
        """Give ``info`` its next version, which is returned, and add ``rows`` to its count."""
        by = {"version": 1, "row_count": rows} if rows else {"version": 1}
        return writer.increment(TABLES, by, Compare("=", "table_id", info.table_id))[0][0]

    def show(self, writer: Writer, info: TableInfo, version: int) -> None:
        """Let readers from this commit on see ``version`` of a vector table's rows.

        It goes with the events that say what the version is, so that rows and journal agree in
        every snapshot: Lance may be ahead of both, and is not asked what is newest.
        """
        values = {"data_version": version}
        writer.update_where(TABLES, values, Compare("=", "table_id", info.table_id))

    def forget(self, writer: Writer, info: TableInfo) -> None:
        """Take a table's name away."""
        self.refuse_shared(info)
        if self.transactions.begun is not None:
            self.transactions.begun.policies.append(info.audit)
        writer.delete_where(TABLES, Compare("=", "table_id", info.table_id))

    def create_schema(self, name: str, *, if_not_exists: bool = False) -> None:
        """Create an SQL schema."""
        check_schema_name(name)
        with self.write() as writer:
            if name in self.schemas(writer):
                if if_not_exists:
                    return
                raise TableExistsError(name, kind="schema")
            writer.insert(SCHEMAS, ("name", "created_at"), [(name, clock.now_us())])

    def drop_schema(self, name: str, *, if_exists: bool = False) -> None:
        """Drop an SQL schema that has no tables."""
        with self.write() as writer:
            inside = [info.name for info in self.tables(writer) if info.schema == name]
            if inside:
                raise InvalidNameError("schema", name, f"drop its tables first: {inside}")
            dropped = writer.delete_where(SCHEMAS, Compare("=", "name", name))
            if not dropped and not if_exists:
                raise InvalidNameError("schema", name, "there is no such schema of this tenant")

    # --- changes -------------------------------------------------------------------------------

    def announce(self, writer: Writer, change: Change) -> None:
        """Write ``change`` in the journal, if one is kept; let triggers and listeners know."""
        if self.trace is not None:
            self.trace.note_written(change.schema, change.table, change.version_after)
        seq, kept = None, self.journal.is_kept(writer)
        if kept:
            transaction = self.transactions.current()
            assert transaction is not None
            seq = self.journal.note(writer, change, transaction)
        messages = self.messages(writer, change)
        if seq is not None or not kept:  # else every row is what it was
            self.send(writer, messages, seq, change.version_after)
        for listener in self.lake.listeners.of(change.identity.tenant):
            listener.on_change(change, writer)

    def messages(self, reader: Reader, change: Change) -> Sequence[Message]:
        """Return what triggers send if ``change`` happens."""
        if change.messages is not None:
            return change.messages
        look = self.look(reader, change)
        if look is None:
            return ()
        look.see(change.before, change.after)
        return look.messages()

    def look(self, reader: Reader, change: Change) -> ChangeLook | None:
        """Return what looks at the rows of ``change`` as they pass, if a trigger asks for it."""
        outbox = self.lake.outbox
        return None if outbox is None else outbox.look(self, reader, change)

    def send(
        self, writer: Writer, messages: Sequence[Message], seq: int | None, version: int | None
    ) -> None:
        """Publish ``messages`` of a change in its transaction."""
        if messages:
            assert self.lake.outbox is not None
            self.lake.outbox.send(self, writer, messages, seq=seq, version=version)

    def change(self, info: TableInfo, action: str, **details: object) -> Change:
        """Return a change of ``info`` made by this catalog's identity."""
        return Change(
            identity=self.identity,
            table_id=info.table_id,
            schema=info.schema,
            table=info.name,
            kind=info.kind,
            action=action,
            mutable=info.definition if isinstance(info.definition, MutableDefinition) else None,
            **details,  # type: ignore[arg-type]  # Change names and checks them
        )
