"""What leaves the lake: rows for other databases and files, written down in the journal.

Another database commits on its own, so one commit cannot hold its rows and the journal's entry.
Therefore:

    - ``insert`` or ``copy`` is written before anything outside is final: nothing leaves unseen.
    - ``commit`` follows once it is; ``unsettled``, or nothing after a crash, says that only the
      other side knows.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datafusion.catalog import Table

from affidavit.catalog.journal.note import note
from affidavit.catalog.sources.files.guessed import to_write
from affidavit.catalog.sources.kinds import check_reach, parse_url
from affidavit.catalog.sources.web.urls import is_web
from affidavit.catalog.sql.scan import ArrowDataset
from affidavit.engine.plan.inserting import plan_insert
from affidavit.engine.result.outcome import counted
from affidavit.engine.result.result import Result
from affidavit.engine.scans.sources import DatabaseSource
from affidavit.engine.statement.commands import parse_copy
from affidavit.engine.statement.parameters import numbered
from affidavit.errors import (
    AffidavitError,
    ColumnNotFoundError,
    ReadOnlyError,
    SqlError,
    StoreError,
    TableNotFoundError,
    TransactionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.clauses import Insert
    from affidavit.engine.statement.statement import Statement


class Outgoing:
    """The journal's entries for something that leaves.

    Raises:
        TransactionError: A transaction is open: its ROLLBACK would take the entries back.

    Attributes:
        rows: How many rows it has.
    """

    def __init__(self, catalog: Catalog, kind: str, name: str) -> None:
        if catalog.transactions.current() is not None:
            msg = f"{name!r} is out of the lake at once and would not come back with a ROLLBACK: "
            raise TransactionError(msg + "end the transaction first")
        self._catalog = catalog.present
        self._kind = kind
        self._name = name
        self._begun = False
        self.rows = 0

    def begin(self, action: str, told: Mapping[str, Any] | None = None) -> None:
        """Say what is about to be done."""
        self._note(action, told)
        self._begun = True

    def count(self, rows: int) -> None:
        """Say how many rows it has."""
        self.rows = rows

    def end(self, error: BaseException | None = None) -> None:
        """Say that it was done, or that nobody knows."""
        if error is None:
            self._end_well()
        elif self._begun:
            with suppress(AffidavitError):
                self._note("unsettled", {"error": type(error).__name__})

    def _end_well(self) -> None:
        try:
            self._note("commit", {"rows": self.rows})
        except AffidavitError as error:
            msg = (
                f"{self.rows} rows are in {self._name!r} for good; only the entry of the journal "
                f"that says so is missing: {error}"
            )
            raise StoreError(msg) from error

    def _note(self, action: str, told: Mapping[str, Any] | None) -> None:
        if not self._catalog.lake.read_only:
            with self._catalog.write() as writer:
                note(self._catalog, writer, self._kind, self._name, action, told)


@contextmanager
def outgoing(catalog: Catalog, kind: str, name: str) -> Iterator[Outgoing]:
    """Write down what the block lets out, before and after."""
    entry = Outgoing(catalog, kind, name)
    try:
        yield entry
    except BaseException as error:
        entry.end(error)
        raise
    entry.end()


def insert_into_source(
    scope: Scope, statement: Statement, insert: Insert, params: Params
) -> Result:
    """Insert the rows of a query into a table of a source.

    Raises:
        TransactionError: A transaction is open, which could not undo it.
        TableNotFoundError: There is no such source or table.
        PathNotAllowedError: The session may not reach it, though it may read what is attached.
        SourceError: The database refused; it has none of the rows.
    """
    planner, catalog, target = scope.planner, scope.catalog, insert.target
    name = f"{target.source}.{target.schema}.{target.name}"
    if insert.conflict is not None or insert.returning:
        raise SqlError(f"INSERT INTO {name}: a source takes no ON CONFLICT and no RETURNING")
    source = planner.attached.get(target.source)
    if source is None:
        raise TableNotFoundError(name, known=sorted(planner.attached))
    if not isinstance(source, DatabaseSource):
        raise ReadOnlyError(f"{name!r} is a table of an attached lake, which is only read")
    database = source.database
    check_reach(parse_url(database.shown), scope.reach)
    table = _find(database, target.schema, target.name)
    schema = _schema(table, insert.columns, name)
    if catalog.trace is not None:
        catalog.trace.note_written(f"{target.source}.{target.schema}", target.name)
    with (
        outgoing(catalog, "source", name) as entry,
        planner.snapshot(catalog) as snapshot,
    ):
        snapshot.virtual["into"] = Table(ArrowDataset(schema.empty_table(), snapshot.fail))
        (prefix, source_text), given = numbered([insert.prefix, insert.source], params)
        query = f"{prefix} {source_text}"

        def plan(snapshot: Snapshot) -> DataFrame:
            return plan_insert(planner, "", query, given, snapshot, names=statement.names)

        batches = planner.stream(plan, snapshot)
        reads_itself = any(key[0].startswith(f"{target.source}.") for key in snapshot.scans)
        if reads_itself and database.driver.excludes_readers:
            batches = iter(list(batches))

        def fitted() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield batch.cast(schema)

        def ready(rows: int) -> None:
            entry.count(rows)
            entry.begin("insert", {"rows": rows, "columns": schema.names})

        database.insert(table, schema, fitted(), ready, snapshot.cancel)
    return counted(entry.rows)


def copy(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run COPY ... TO 'path': DataFusion writes the files.

    The text is without comments, and checked against DataFusion's own reading: where the two
    readings of a text differ, a path that was never checked could be written.
    """
    asked = parse_copy(statement.cursor())
    if is_web(asked.location):
        msg = "COPY TO https:// is not supported: write to a path, or to an object store's URL"
        raise SqlError(msg)
    location = scope.reach.location(asked.location)
    way = to_write(asked.location, asked.options.format, asked.options.options)
    scope.reach.check_files(location)  # a folder's, where parts may be written through links
    planner, stores = scope.planner, scope.planner.stores
    with (
        planner.snapshot(scope.catalog) as snapshot,
        stores.errors("", location),
        stores.reach(location, scope.reach),
    ):
        plan = partial(planner.plan, asked.to(location, *way), params, names=statement.names)
        written = str(plan(snapshot).logical_plan().to_variant().output_url())
        if written != location:
            raise SqlError(f"COPY names {location!r} and would write {written!r}")
        with outgoing(scope.catalog, "file", location) as entry:
            entry.begin("copy")
            table = planner.write_out(plan, snapshot)
            entry.count(int(table["count"][0].as_py()))
    return Result.of(table, rows_affected=entry.rows)


def _find(database: Database, schema: str, name: str) -> SourceTable:
    found = database.tables(refresh=True).get((schema, name))  # what it is now
    if found is None:
        known = [".".join(each) for each in database.tables()]
        raise TableNotFoundError(f"{database.name}.{schema}.{name}", known=known)
    return found


def _schema(table: SourceTable, columns: Sequence[str], name: str) -> pa.Schema:
    """Return the columns that rows are given for; each may be NULL as far as we know."""
    known = {each.name: each for each in table.columns}
    fields = []
    for column in columns or known:
        if column not in known:
            raise ColumnNotFoundError(column, table=name, known=list(known))
        kind = known[column].type
        if kind is None:
            declared = known[column].declared
            raise SqlError(f"column {column!r} of {name} cannot be written: it is {declared} there")
        fields.append(pa.field(column, kind))
    if len(set(columns)) != len(columns):
        raise SqlError(f"INSERT INTO {name} names a column twice: {list(columns)}")
    return pa.schema(fields)
