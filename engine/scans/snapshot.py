"""A statement's state: what it reads, and what its planning found out.

Rules:
    - Planning and running a statement have no effect on the lake.
    - Every table of a statement is read at the statement's one snapshot.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import lance
import pyarrow as pa
from datafusion.catalog import Table

from affidavit.catalog.lake.queries import Query
from affidavit.catalog.model.release import Reading, TableRead
from affidavit.catalog.sources.databases.moment import Moment
from affidavit.catalog.sources.databases.running import Running
from affidavit.catalog.sources.databases.sent import SentQueries
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.tables.reading import key_of, names_of, wants_rows
from affidavit.engine.scans.evidence.given import GivenRows, LanceRows
from affidavit.engine.scans.failures import Failures
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.scans.temporary.tables import Temporaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.past.table import PastTable
    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.dataset import SourceDataset
    from affidavit.catalog.sources.databases.tops import Top
    from affidavit.catalog.sources.web.copies import Copy
    from affidavit.catalog.sql.scan import ScanDataset
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.search.among import Among
    from affidavit.engine.search.request import SearchRequest
    from affidavit.errors import AffidavitError


def asked(catalog: Catalog) -> Query:
    """Return the statement that a catalog is asked for; a new one where none was begun."""
    given = None if catalog.trace is None else catalog.trace.query
    return given or Query(catalog.lake.queries, catalog.identity)


def note_target(query: Query, info: TableInfo) -> None:
    """Note that a statement reads a table to change it: what fails of that is on record."""
    shown, version = f"{info.schema}.{info.name}", info.data_version or info.version
    query.tables.setdefault(shown, TableRead(shown, info.table_id, version, level=info.audit))


class Snapshot:
    """What one statement reads, and what its planning found out.

    Attributes:
        reader: The store's snapshot, or the open transaction.
        virtual: Tables that exist for this statement alone, under the schema of a statement's own.
        known: Tables of the lake that the statement may name, looked up beforehand.
        listed: All tables of the lake, where the statement lists them.
        lists_columns: Whether it may list their columns too.
        any_table: What stands for each of them where it does not.
        temporaries: The session's temporary tables.
        reads: Tables of the lake that planning looked up, as they are at this snapshot.
        looks: What is looked at once more when the plan runs, and raises where it may not be read.
        calls: What the statement calls of its caller's own: functions of the session, ``embed``.
        choosing: Searches whose conditions are to be planned by SQL, once the statement is.
        chosen: The rows that they leave, by what they are asked of.
        first: What finds those rows, before the plan runs.
        prepared: Views and external tables that the statement names, planned beforehand.
        external: What the log of statements calls the external ones.
        parameters: The statement's parameters, for table functions.
        unbound: The types of the parameters that table functions take, where the statement is only
            described and none has a value; else ``None``.
        placed: What its calls of ours name, by the parameters that stand for them.
        missing: Names that planning looked up in vain.
        written: The external tables that the statement appends to.
        copies: What was downloaded of the web, held until the statement's rows were read.
        tellers: Say what a message of DataFusion's is about, if it is about their files.
        passed: What queries in the SQL of sources are called, by source and text.
        is_limited: Whether whoever asks has limits; until it is said that they have none.
        sent: What scans of databases send, and what came of it.
        moments: At which the statement reads databases, by their names.
        reading: What the statement does that is to be on record.
        ahead: What may be run before the plan: its searches, as far as it reads them.
        query: The statement, as it runs.
        running: What runs for the plan, to be cancelled when the statement is given up.
        is_target_committed: Whether the target of DML is read as it was committed.
        databases: The tables of databases that planning looked up, by source, schema and name.
        sends_filters: Whether databases are sent conditions, and asked for first rows.
        enough: Which first rows of such a table are all that the plan needs that is about to run,
            by source, schema and name: none where it only counts them.
        scans: The tables that running the plan will scan through this process.
        others: What is read of attached lakes.
        sizes: How large the values of views may become: by catalog, schema and name, and by their
            columns.
        opened: What to close when the statement is done: the snapshot is a context manager.
        hide: Takes secrets out of what is told.
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: Reader,
        *,
        committed: bool,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.catalog = catalog
        self.reader = reader
        self.committed = committed
        self.hide = hide
        self.query = asked(catalog)
        self.virtual: dict[str, Any] = {}
        self.known: dict[tuple[str, str], TableInfo] = {}
        self.listed: dict[tuple[str, str], TableInfo] = {}
        self.lists_columns = True
        self.any_table: Table | None = None
        self.temporaries = Temporaries()
        self.reads: dict[tuple[str, str], TableInfo] = {}
        self.scans: dict[tuple[str, str], ScanDataset] = {}
        self.prepared: dict[tuple[str, str], Any] = {}
        self.external: dict[tuple[str, str], TableRead] = {}
        self.parameters: Mapping[str, Any] = {}
        self.unbound: dict[str, pa.DataType | None] | None = None
        self.placed: dict[str, str] = {}
        self.missing: list[str] = []
        self.sizes: dict[tuple[str, str, str], dict[str, float]] = {}
        self.passed: dict[tuple[str, str], str] = {}
        self.is_limited = True
        self.written: set[tuple[str, str]] = set()
        self.copies: list[Copy] = []
        self.tellers: list[Callable[[str], str | None]] = []
        self.sent = SentQueries()
        self.moments: dict[str, Moment] = {}
        self.reading = Reading(self.query, catalog.transactions)
        self.ahead: list[Callable[[], None]] = []
        self.looks: list[Callable[[], None]] = []
        self.calls: set[str] = set()
        self.choosing: list[SearchRequest] = []
        self.chosen: dict[tuple[str, int, str | None], Among] = {}
        self.first: list[Callable[[], object]] = []
        self.running = Running()
        self._failures = Failures()
        self.others: dict[str, Snapshot] = {}
        self.is_target_committed = False
        self.databases: dict[tuple[str, str, str], SourceDataset] = {}
        self.sends_filters = True
        self.enough: Mapping[tuple[str, str, str], Sequence[Top]] = {}
        self.opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # a table of DataFusion's may hold this, which no garbage collector finds out
        self.virtual = {}
        self.prepared = dict.fromkeys(self.prepared)
        self.opened.close()

    # --- what planning finds out -----------------------------------------------------------------

    @property
    def called(self) -> str:
        """What a statement calls the catalog that is read."""
        return CATALOG

    def hold(self, temporaries: Temporaries) -> Temporaries:
        """Let names mean these temporary tables first from now on, and return those before."""
        before, self.temporaries = self.temporaries, temporaries
        return before

    def lift_limits(self) -> None:
        """Note that whoever asks has no limits."""
        self.is_limited = False

    def bind(self, parameters: Mapping[str, Any]) -> None:
        """Take the statement's parameters."""
        self.parameters = parameters

    def push(self, *, filters: bool) -> None:
        """Let databases be sent conditions, or let what they hold be filtered here."""
        self.sends_filters = filters

    def leave_unbound(self) -> None:
        """Let parameters have no values: the statement is only described."""
        self.unbound = {}

    def note_read(self, info: TableInfo, version: int, key: str | None = None) -> TableRead:
        """Note that planning looked a table up, and the version that it will read.

        With a ``key`` that is apart from where the statement reads it as it is now.
        """
        shown = f"{info.schema}.{info.name}"
        if self.catalog.trace is not None:
            self.catalog.trace.read[f"{shown}@{version}"] = None
        return self.reading.note(TableRead(shown, info.table_id, version, level=info.audit), key)

    def note_target(self, info: TableInfo) -> None:
        """Note that the statement reads a table to change it: what fails of that is on record."""
        note_target(self.query, info)

    def note_past(self, table: PastTable, schema: str, key: str | None = None) -> TableRead:
        """Note that the statement reads a table as it was, or what happened to it."""
        level = table.policy() if table.info is None else table.info.audit
        told = TableRead(f"{schema}.{table.name}", table.table_id, level=level)
        return self.reading.note(told, key)

    def read_anew(self, info: TableInfo) -> TableRead:
        """Begin another read of the same statement, of one table, and return what is told of it."""
        self.reading = Reading(self.query, self.catalog.transactions)
        shown = f"{info.schema}.{info.name}"
        return self.reading.note(
            TableRead(shown, info.table_id, info.data_version or info.version, level=info.audit)
        )

    def note_calls(self, names: Iterable[str]) -> None:
        """Note what the statement calls of its caller's own, which is given rows that it reads."""
        self.calls.update(names)

    def note_rows(self, info: TableInfo, version: int, key: str | None = None) -> TableRead:
        """Do as :meth:`note_read`, and let rows be noted where that is to be."""
        told = self.note_read(info, version, key)
        if wants_rows(self.catalog, info):
            told.want_rows(key_of(info), names_of(info))
        return told

    def note_present(self, info: TableInfo) -> None:
        """Note that the statement reads a table as it is at this snapshot."""
        self.reads[info.schema, info.name] = info

    def note_name(
        self, name: str, *, look: Callable[[], dict[str, Any] | None] | None = None
    ) -> TableRead:
        """Note that planning looked up what is not the lake's own."""
        return self.note_external(TableRead(name, look=look))

    def note_external(self, table: TableRead) -> TableRead:
        """Note that planning looked up a table of files, or of another system."""
        if self.catalog.trace is not None:
            at = "" if table.version is None else f"@{table.version}"
            self.catalog.trace.read[f"{table.name}{at}"] = None
        return self.reading.note(table)

    def note_other(self, table: TableRead, key: str | None = None) -> TableRead:
        """Note that planning looked a table of an attached lake up."""
        if self.catalog.trace is not None:
            self.catalog.trace.read[f"{table.name}@{table.version}"] = None
        return self.reading.note(table, key)

    def note_database(self, key: tuple[str, str, str], dataset: SourceDataset) -> None:
        """Note that planning looked up a table of a database: its source, schema and name."""
        self.databases[key] = dataset

    def list_columns(self, *, may: bool) -> None:
        """Say whether the statement may list columns of the tables that it lists."""
        self.lists_columns = may

    def stand_in(self, make: Callable[[], Table]) -> Table:
        """Return what stands for each table that is listed without its columns."""
        self.any_table = self.any_table or make()
        return self.any_table

    def moment(self, database: Database) -> Moment:
        """Return the moment at which the statement reads a database."""
        return self.moments.setdefault(database.name, Moment(database, lambda: self.running))

    def say_target(self, *, committed: bool) -> None:
        """Say whether the target of DML is read as it was committed."""
        self.is_target_committed = committed

    def need(
        self, enough: Mapping[tuple[str, str, str], Sequence[Top]]
    ) -> Mapping[tuple[str, str, str], Sequence[Top]]:
        """Let a plan need these first rows of databases' tables, and return what one did before."""
        before, self.enough = self.enough, enough
        return before

    def note_missing(self, schema: str, name: str) -> None:
        """Note that planning looked up what is not there."""
        self.missing.append(name if schema == MAIN_SCHEMA else f"{schema}.{name}")

    def fail(self, error: BaseException) -> None:
        """Keep the first error that a provider raised."""
        self._failures.add(error)

    @property
    def failure(self) -> BaseException | None:
        """What a provider raised, here or in an attached lake, before it was turned into text."""
        others = (other.failure for other in self.others.values())
        return self._failures.first or next(filter(None, others), None)

    def keep_unplanned(self, key: tuple[str, str], error: AffidavitError) -> None:
        """Keep why a table could not be planned, until it is read."""
        self._failures.keep_unplanned(key, error)

    def refuse_unplanned(self, key: tuple[str, str]) -> None:
        """Raise why a table could not be planned, if it could not."""
        self._failures.refuse_unplanned(key)

    def choose(self, request: SearchRequest) -> SearchRequest:
        """Return a search whose condition is found by SQL, if it needs that, once for all alike."""
        if request.among is None or self.unbound is not None:
            return request
        key = (request.info.table_id, request.version, request.where)
        known = self.chosen.setdefault(key, request.among)
        if known is request.among:
            self.choosing.append(request)
        return replace(request, among=known)

    # --- what DataFusion reads through -----------------------------------------------------------

    def scan(
        self, key: tuple[str, str], dataset: ScanDataset, told: TableRead | None = None
    ) -> Table:
        """Return a table that is scanned when the plan runs, or was read whole before.

        ``told`` is what is put on record of it, if nothing but this table is read under its name.
        """
        dataset.tell(told)
        held = self.prepared.get(key)
        if held is not None:
            return held
        self.scans[key] = dataset
        return Table(dataset)

    def vectors(
        self, info: TableInfo, dataset: lance.LanceDataset, key: str | None = None
    ) -> Table:
        """Return a table of a vector table's rows at the version of ``dataset``."""
        told = self.note_rows(info, dataset.version, key)
        if told.lake_id is None and told.version == dataset.version:
            told.hold_version(dataset)
        return self.lance((info.schema, f"{info.name}@{dataset.version}"), dataset, told)

    def lance(
        self,
        key: tuple[str, str],
        dataset: lance.LanceDataset,
        told: TableRead | None = None,
        *,
        with_ids: bool = False,
    ) -> Table:
        """Return a table of a version's rows, ``with_ids`` of Lance's.

        Lance plans in a context of its own: it notes no rows, and would call a function of the
        session's as a copy.
        """
        noted = None if told is None or told.given is None else told
        if noted is None and not self.calls:
            provider = lance.FFILanceTableProvider
            return Table(provider(dataset, with_row_id=with_ids, with_row_addr=False))
        rows = LanceRows(dataset, self.fail, with_ids=with_ids)
        return self.scan(key, rows if noted is None else GivenRows(rows, noted, rows.schema))

    # --- running ---------------------------------------------------------------------------------

    def begin_running(self) -> Running:
        """Return what runs for the plan that begins now, and for no plan before it."""
        if self.running.is_over:
            self.running = Running()
        return self.running

    def cancel(self) -> None:
        """Stop the plan that runs, and what runs in sources for it: its caller gives it up."""
        self.reading.give_up()
        self.running.cancel()

    @property
    def is_scanned(self) -> bool:
        """Whether running the plan will scan such tables, here or in an attached lake."""
        return bool(self.scans) or any(other.is_scanned for other in self.others.values())

    def read_whole(self) -> None:
        """Read every table that a plan would scan into memory, where DataFusion filters it.

        Views are forgotten, and so planned anew over what is in memory.
        """
        self._failures.forget()
        self.enough = {}
        for dataset in self.scans.values():
            dataset.want(None)
        self.prepared = {
            key: memory_table(
                pa.Table.from_batches(dataset.scan(dataset.schema.names, None), dataset.schema)
            )
            for key, dataset in self.scans.items()
        }
        for other in self.others.values():
            other.read_whole()
