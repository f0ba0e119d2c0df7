"""The session: the front door. It acts for one identity on what its instance holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.trace import Trace
from affidavit.catalog.model.moment import parse_moment
from affidavit.catalog.past.past import Past
from affidavit.catalog.sql.names import MAIN_SCHEMA, check_table_name
from affidavit.catalog.tables.kinds import HANDLES
from affidavit.catalog.tables.mutable import MutableTable
from affidavit.catalog.tables.vector import VectorTable
from affidavit.catalog.tables.vector_making import create_vector
from affidavit.catalog.values.python.arguments import checked_items, checked_switch, checked_text
from affidavit.engine.audit.audit import Audit
from affidavit.engine.plan.planner import Planner
from affidavit.engine.result.result import Result, SearchResult, held_open
from affidavit.engine.run.again import Again
from affidavit.engine.run.alter import drop_named
from affidavit.engine.run.attachments import Attachments
from affidavit.engine.run.executor import Executor
from affidavit.engine.run.telling.describe import Description, describe
from affidavit.engine.run.telling.explain import told
from affidavit.engine.search.searcher import released
from affidavit.engine.session.arguments import as_columns, as_indexes, named_parameters, split_name
from affidavit.engine.session.filling import create_filled
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.keeping import Keeping
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.engine.session.searching import Asked, searched
from affidavit.engine.statement.assignments import Name
from affidavit.engine.statement.shown import without_secrets_of
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    ReadOnlyError,
    TableExistsError,
    TableNotFoundError,
)
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.ledger.verification.findings import Verification
    from affidavit.catalog.values.python.schemas import Columns
    from affidavit.engine.search.hooks import Hooks
    from affidavit.engine.search.options import Lineage
    from affidavit.engine.search.request import CompletedSearch, Query
    from affidavit.engine.session.arguments import Params


class Session(Keeping):
    """What :func:`connect` returns; a context manager."""

    @property
    def hooks(self) -> Hooks:
        """What sees every search: see :class:`~affidavit.engine.search.hooks.SearchHook`.

        Of a scope, every search of its tenant.
        """
        hooks = self._instance.hooks
        return hooks.of(self._identity.tenant) if self._scoped else hooks

    def _catalog(self, trace: Trace | None = None) -> Catalog:
        self._refuse_ended()
        held, own = self._instance, self._own
        held.refuse_forked()
        return Catalog(held.lake, self._identity, own.transactions, trace, self._at, held.gate)

    def _planner(self) -> Planner:
        self._refuse_closed()
        engine = self._instance.planner(self._identity)
        return Planner(engine, self._own.state, reach=self._reach)

    def _executor(self, trace: Trace | None = None) -> Executor:
        return Executor(self._planner(), self._catalog(trace), self._reach, self._own.work.of)

    # --- SQL -----------------------------------------------------------------------------------

    def sql(
        self,
        text: str,
        params: Params | None = None,
        *,
        timeout: float | None = None,
        **named: Any,  # noqa: ANN401 - any value
    ) -> Result:
        """Run one SQL statement.

        Args:
            text: The statement, with ``$name``, ``$1`` or ``?`` for parameters.
            params: A dict for ``$name``, a list for ``$1`` or ``?``; vectors are lists or arrays.
            timeout: How many seconds it may take in all: planned, run, and its rows read. What has
                begun to be written is written.
            named: Parameters by name.

        A query runs when its rows are first asked for; anything else runs now, as a whole or not at
        all, and ``rows_affected`` says how many rows it touched.

        Raises:
            SqlError: It does not parse or plan, is empty, or holds several statements.
            StatementTimeoutError: It took longer than ``timeout``; reading its rows raises it too.
            StatementCancelledError: :meth:`cancel` was called meanwhile; likewise.
            AffidavitError: It failed.
        """
        return held_open(self._run(text, named_parameters(params, named), timeout), self)

    def _run(self, text: str, params: Mapping[str, Any], timeout: float | None = None) -> Result:
        self._instance.refuse_forked()
        log, transactions = self._instance.statements, self._own.transactions

        def execute(trace: Trace) -> Result:
            run = self._executor(trace).execute
            if log is None:
                return run(parse_statement(text), params)
            return log.run(
                self._identity, text, trace, lambda statement: run(statement, params),
                within=transactions.begun, may_flush=transactions.current() is None,
            )  # fmt: skip

        with transactions.turn():
            return self._own.work.run(self._identity, text, timeout, execute)

    def cancel(self) -> int:
        """Stop the statements that this session runs, from any thread; return how many they were.

        Whoever waits for one, or reads its rows later, gets StatementCancelledError. A statement
        whose rows nobody asks for does not run. What has begun to be written is written.
        """
        return self._own.work.cancel()

    def explain(self, text: str, params: Params | None = None, *, analyze: bool = False) -> str:
        """Return a statement's plan; ``analyze`` runs the query and its searches."""
        word = "EXPLAIN ANALYZE" if checked_switch(analyze, "analyze") else "EXPLAIN"
        return told(self._run(f"{word} {checked_text(text, 'text')}", named_parameters(params, {})))

    def describe(self, text: str) -> Description:
        """Return what a statement is, reads, writes and returns; it needs no values and never runs.

        Raises:
            SqlError: It does not parse or plan, or names what the tenant does not see.
        """
        with without_secrets_of(text):
            return describe(self._executor(Trace()), parse_statement(text))

    # --- search --------------------------------------------------------------------------------

    def search(
        self,
        table: str,
        query: Query | None = None,
        k: int = 10,
        *,
        where: str | None = None,
        params: Params | None = None,
        select: Sequence[str] | None = None,
        column: str | Sequence[str] | None = None,
        metric: str | None = None,
        mode: str = "vector",
        exact: bool = False,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        version: int | str | None = None,
        lineage: Lineage = None,
        model: str | None = None,
        text: str | None = None,
    ) -> SearchResult:
        """Return the ``k`` rows of a vector table that fit a query best.

        Args:
            table: The vector table.
            query: A vector, or text that the table's model encodes; for ``mode="text"`` the words.
            k: How many rows; fewer come back only if fewer match.
            where: An SQL predicate over the table's columns, applied before the search.
            params: What ``where`` names by ``$name`` or ``$1``: a dict, or a list.
            select: The columns to return; all of them by default.
            column: The vector column, the text columns to look in, or a list of both.
            metric: ``cosine``, ``l2`` or ``dot``; the table's own by default.
            mode: ``vector``; ``text`` (BM25); ``hybrid`` (both, by reciprocal rank fusion).
            exact: Compare every vector instead of asking the index.
            nprobes: How many index partitions to search.
            refine_factor: How many times ``k`` candidates to compare exactly.
            version: A past version's number or tag.
            lineage: Where the query comes from, in the caller's words.
            model: The embedding model, if not the table's own.
            text: The words, for ``mode="hybrid"``.

        Returns:
            Rows with ``_distance``, ascending, or ``_score``, descending.

        Raises:
            InvalidQueryError: k, the vector, the filter or an option cannot be used; it is named.
            TableNotFoundError: There is no such table.
            ModelNotFoundError: The query is text and its model is not registered.
            HookError: A hook refused; no rows are released.
        """
        options = {
            "where": where, "select": select, "column": column, "metric": metric, "mode": mode,
            "exact": exact, "nprobes": nprobes, "refine_factor": refine_factor, "text": text,
            "version": version, "lineage": lineage, "model": model,
        }  # fmt: skip
        with self._own.transactions.turn(), self._searching(table, where) as trace:
            [search] = self._searched(trace, Asked(table, [query], k, options, params))
        return SearchResult(released(search), search.request, search.record)

    def search_batch(
        self,
        table: str,
        queries: Iterable[Query | None],
        k: int = 10,
        *,
        params: Params | None = None,
        version: int | str | None = None,
        **options: object,
    ) -> list[SearchResult]:
        """Run many searches of one table at once, at one version; hooks see them together.

        Takes the options of :meth:`search`, for all queries. All results are released, or none.
        """
        given, where = {**options, "version": version}, options.get("where")
        with self._own.transactions.turn(), self._searching(table, where) as trace:
            every = checked_items(queries, "queries")
            searches = self._searched(trace, Asked(table, every, k, given, params))
        return [
            SearchResult(released(search), search.request, search.record) for search in searches
        ]

    def _searching(self, table: str, where: object) -> AbstractContextManager[Trace]:
        return self._own.work.asking(self._identity, "search", f"search({table!r})", where)

    def _searched(self, trace: Trace, asked: Asked) -> list[CompletedSearch]:
        planner, searcher = self._planner(), self._instance.searcher
        return searched(self._catalog(trace), planner, searcher, self.models, asked)

    # --- audit and ledger ----------------------------------------------------------------------

    @property
    def audit(self) -> Audit:
        """The records of searches and reads: looked up, checked, replayed, logged."""
        held = self._instance
        again = Again(lambda moment: self._view(at=moment), self._planner)
        return Audit(self._catalog(), held.recorder, self.models, again, held.settle_records)

    @property
    def ledger(self) -> LedgerHandle:
        """The tenant's ledger: checkpoints, proofs, verification, export, keys."""
        return LedgerHandle(self._catalog(), self._instance, self._reach)

    def verify_data(
        self, table: str | None = None, *, since: int | None = None, progress: bool | None = None
    ) -> Verification:
        """Check what the lake shows against what was signed; see ``ledger.verify_data``."""
        return self.ledger.verify_data(table, since=since, progress=progress)

    def at(self, moment: object) -> Session:
        """Return a session on the lake as it was at a moment, which can be read and searched.

        Args:
            moment: An entry's number in the ledger, or a time: a datetime, or ISO 8601 text.

        ``journal``, ``system`` and ``audit`` are what they are now.

        Raises:
            InvalidQueryError: The moment has not happened, or is before the lake.
        """
        parsed = parse_moment(moment)
        catalog = self._catalog()
        with catalog.read() as reader:
            Past(catalog, reader, parsed)
        return self._view(at=parsed)

    @property
    def journal(self) -> JournalHandle:
        """The journal of every mutation: read, sealed, and written by callers themselves."""
        return JournalHandle(self._catalog(), self._instance.settle_records)

    @property
    def topics(self) -> Topics:
        """The topics: registered, published to, subscribed to, replayed."""
        return Topics(self._catalog(), self._instance.exchange)

    @property
    def triggers(self) -> Triggers:
        """What happens when rows change: change triggers and standing searches."""
        return Triggers(self._catalog(), self._instance.exchange)

    # --- tables --------------------------------------------------------------------------------

    def create_vector_table(
        self,
        name: str,
        data: object = None,
        *,
        schema: Columns | None = None,
        key: str = "id",
        vector: str = "vector",
        metric: str = "cosine",
        model: str | None = None,
        source: str | None = None,
        on_bad_vectors: str = "error",
    ) -> VectorTable:
        """Create a vector table, from data or empty from a schema.

        Args:
            name: The table's name.
            data: Whatever holds rows: Arrow, pandas, polars, dicts, a result; readers are streamed.
            schema: The columns without data: a pyarrow schema, names and types, a LanceModel.
            key: The column of unique integers or texts that identifies a row.
            vector: The column of vectors, all of one dimension.
            metric: How vectors are compared: ``cosine``, ``l2`` or ``dot``.
            model: The embedding model that encodes queries given as text.
            source: The column whose text it makes a vector of, for a row that has none.
            on_bad_vectors: As in :meth:`VectorTable.insert`.

        Raises:
            TableExistsError: The name is taken.
            SchemaMismatchError: There is no usable key or vector column.
            ConstraintError: A key is NULL or duplicate, or a vector cannot be searched.
        """
        self._check_new(name)
        catalog = self._catalog()
        create_vector(
            catalog, name, data, schema=schema, key=key, vector=vector, metric=metric, model=model,
            source=source, on_bad=on_bad_vectors,
        )  # fmt: skip
        return VectorTable(catalog, self._executor(), name)

    def _check_new(self, name: str) -> None:
        check_table_name(name)
        if (MAIN_SCHEMA, name) in self._own.state.frames:
            raise TableExistsError(name, kind="frame attached as")

    def create_table(
        self,
        name: str,
        data: object = None,
        *,
        schema: Columns | None = None,
        primary_key: str | Sequence[str] = (),
        indexes: Sequence[str | Sequence[str]] = (),
        order_column: str | None = None,
    ) -> MutableTable:
        """Create a mutable table, from data or empty from a schema.

        Args:
            name: The table's name.
            data: Whatever holds rows: Arrow, pandas, polars, a list of dicts, a query's result.
            schema: The columns, likewise, or what the data is converted to.
            primary_key: The column or columns that no two rows share; never NULL.
            indexes: Columns, or lists of columns, that look-ups should be quick by.
            order_column: The column that ``scan_after`` goes along.

        Raises:
            TableExistsError: The name is taken.
            UnsupportedTypeError: A column's values could not be kept exactly.
            ConstraintError: The data breaks the key.
        """
        self._check_new(name)
        catalog = self._catalog()
        create_filled(
            catalog, name, data, schema, primary_key=as_columns(primary_key, "primary_key"),
            indexes=as_indexes(name, indexes), order_column=order_column,
        )  # fmt: skip
        return MutableTable(catalog, self._executor(), name)

    def table(self, name: str) -> VectorTable | MutableTable:
        """Return a handle on a table.

        Raises:
            TableNotFoundError: There is no table of that name.
        """
        catalog = self._catalog()
        if self._at is not None:
            msg = "a handle is on a table as it is now: read the past with sql() or search()"
            raise ReadOnlyError(msg)
        schema, plain = split_name(name)
        with self._own.work.asking(self._identity, "table", name), catalog.read() as reader:
            info = catalog.get(reader, plain, schema)
            known = [each.name for each in catalog.tables(reader) if each.kind in HANDLES]
        handle = HANDLES.get(info.kind)
        if handle is None:
            raise TableNotFoundError(name, known=known)
        return handle(catalog, self._executor(), plain, schema)

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table.

        Raises:
            TableNotFoundError: There is none, and not ``if_exists``.
        """
        drop_named(self._catalog(), Name(*split_name(name)), if_exists=if_exists)

    def tables(self) -> Result:
        """Return every table that the tenant sees."""
        return self.sql("SELECT * FROM system.tables ORDER BY schema_name, name")

    # --- other sources -------------------------------------------------------------------------

    def attach(self, name: str, source: object, **options: Any) -> None:  # noqa: ANN401 - as told
        """Make a database, another lake, files, or a frame in memory readable.

        Args:
            name: The table's name; of a database or lake, the first part of its tables' names:
                ``name.schema.table``.
            source: The URL of a database or lake (``postgresql://``, ``mysql://``,
                ``duckdb:///path``, ``sqlite:///path``, ``lake:///path``), or a path or glob of
                Parquet, CSV, JSON, Arrow or Avro files, their URL (``https://``, or ``s3://``,
                ``gs://``, ``az://``), or the folder of a Delta or Iceberg table, all remembered by
                the lake; or an Arrow, pandas or polars table, for this session only.
            options: For a database its ``password``, or a function that returns it, kept nowhere,
                ``numeric`` and ``on_bad_value``. For files DataFusion's reader options;
                ``format`` says what a file or folder is whose name does not. For Delta
                ``version``, for Iceberg ``snapshot_id``. For an object store how it is reached,
                and credentials, which are this session's; see docs/federation.md.

        Raises:
            SourceError: The files cannot be read, or the store or lake cannot be reached.
            PathNotAllowedError: The path lies outside the allowed folders.
            TableExistsError: The name is taken.
        """
        self._attachments().attach(name, source, dict(options))

    def detach(self, name: str) -> None:
        """Forget what :meth:`attach` attached.

        Raises:
            TableNotFoundError: Nothing of that name is attached.
        """
        self._attachments().detach(name)

    def refresh(self, name: str) -> None:
        """Look at an attached database's tables and columns again.

        A table that was made meanwhile is found without it; a column is not.

        Raises:
            TableNotFoundError: No database of that name is attached.
            SourceError: It cannot be asked.
        """
        self._attachments().refresh(name)

    def _attachments(self) -> Attachments:
        return Attachments(self._planner(), self._catalog(), self._reach, self.sql)
