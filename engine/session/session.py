"""The session: the front door. It owns the catalog, the DataFusion contexts, hooks and audit."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from affidavit.catalog.lake.catalog import Catalog, Trace
from affidavit.catalog.lake.lake import Lake
from affidavit.catalog.ledger.guard import Guard
from affidavit.catalog.ledger.keys import key_store_of, open_keys
from affidavit.catalog.ledger.ledger import (
    CHECKPOINT_ENTRIES,
    CHECKPOINT_INTERVAL_S,
    Ledgers,
    check_limits,
)
from affidavit.catalog.ledger.witness import as_witness
from affidavit.catalog.model.definition import Index
from affidavit.catalog.model.identity import UNSET, Identity
from affidavit.catalog.past.past import Past, dataset_of, parse_moment
from affidavit.catalog.sources.registry import (
    parse_url,
    remembered,
)
from affidavit.catalog.sql.names import MAIN_SCHEMA, check_table_name, check_tenant
from affidavit.catalog.store.transaction import Transactions
from affidavit.catalog.tables.intents import settle_all
from affidavit.catalog.tables.mutable import MutableTable, create_mutable, define_mutable
from affidavit.catalog.tables.rows import insert_rows
from affidavit.catalog.tables.vector import VectorTable, create_vector
from affidavit.catalog.topics.log import evict_old
from affidavit.catalog.values.ingest import conform, to_reader
from affidavit.engine.audit.audit import Audit
from affidavit.engine.audit.recorder import AuditSettings, Recorder
from affidavit.engine.plan.planner import Planner
from affidavit.engine.result.result import Result, SearchResult
from affidavit.engine.run.alter import drop_named
from affidavit.engine.run.attachments import Attachments
from affidavit.engine.run.executor import Executor
from affidavit.engine.run.log import StatementLog
from affidavit.engine.run.paths import AllowedPaths
from affidavit.engine.scans.functions import refuse_elsewhere, require_vector
from affidavit.engine.search.hooks import Hooks
from affidavit.engine.search.models import Models
from affidavit.engine.search.request import build_request
from affidavit.engine.search.searcher import Searcher, released
from affidavit.engine.session.housekeeping import Housekeeper
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.engine.statement.assignments import Name
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    InvalidQueryError,
    LakeError,
    NoTenantError,
    ReadOnlyError,
    StoreBusyError,
    TableExistsError,
    TableNotFoundError,
)
from affidavit.triggers.rules.outbox import TriggerOutbox
from affidavit.triggers.subscriptions.exchange import Exchange
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from affidavit.catalog.model.change import ChangeListener
    from affidavit.catalog.model.identity import _Unset
    from affidavit.catalog.past.past import Moment
    from affidavit.engine.search.request import SearchRequest

_scopes: ContextVar[Mapping[int, Identity]] = ContextVar(
    "affidavit_scopes", default=MappingProxyType({})
)
CLOSING_TIMEOUT_S: Final = 1.0
"""How long a session that closes waits for other writers."""

_log = logging.getLogger("affidavit")


class _Shared:
    """What a session and the sessions scoped from it have in common."""

    def __init__(
        self,
        lake: Lake,
        settings: AuditSettings,
        witness: Callable[[str], None] | None,
        broker: object,
    ) -> None:
        self.lake = lake
        self.transactions = Transactions(lake.store)
        self.hooks = Hooks()
        self.models = Models()
        self.witness = witness
        self.guard = Guard(lake, witness)
        self.housekeeper = Housekeeper([self.guard.keep_checkpoints])
        self.exchange = Exchange(lake, broker, self.housekeeper.poke)
        self.housekeeper.tasks.append(self.exchange.tidy)
        self.merger = Housekeeper([lake.journals.compact])
        lake.journals.poke = self.merger.poke
        self.statements: StatementLog | None = None
        if settings.mode == "statements" and not lake.read_only:
            self.statements = StatementLog(lake.store, self.housekeeper.poke)
            self.housekeeper.tasks.insert(0, self.statements.flush)
        self.recorder = Recorder(
            lake, self.transactions, settings, self.guard, self.housekeeper.poke
        )
        lake.outbox = TriggerOutbox(lake, self.recorder.record_match)
        self.searcher = Searcher(self.hooks, self.models, self.recorder)
        self.planners: dict[str, Planner] = {}
        self.closed = False

    def close(self) -> None:
        """Roll back what is open, write what waits, keep a checkpoint, and release the lake."""
        self.transactions.rollback_all()
        self.closed = True
        try:
            if not self.lake.read_only:
                self.lake.store.hurry(CLOSING_TIMEOUT_S)
            self.exchange.close()
            self.lake.journals.stopping.set()
            self.merger.stop()
            self.housekeeper.stop()
            if not self.lake.read_only:
                self._tidy()
        finally:
            for planner in self.planners.values():
                for database in planner.attached.values():
                    database.close()
            self.lake.close()

    def _tidy(self) -> None:
        """Do what is due; what another writer keeps from being done is left to who opens next."""
        tasks: list[Callable[[], object]] = []
        if self.statements is not None:
            tasks.append(self.statements.flush)
        tasks.append(partial(evict_old, self.lake.store))
        tasks += [journal.tidy for journal in self.lake.journals.opened()]
        tasks.append(partial(self.guard.keep_checkpoints, now=True))
        with ExitStack() as stack:  # each is done, and then the last error is raised
            for task in reversed(tasks):
                stack.callback(_unless_busy, task)

    def planner(self, identity: Identity) -> Planner:
        """Return the DataFusion context of the identity's tenant."""
        planner = self.planners.get(identity.tenant)
        if planner is None:
            own = Catalog(self.lake, identity, self.transactions)
            planner = self.planners.setdefault(
                identity.tenant, Planner(own, self.searcher, self.models)
            )
            with self.lake.store.read(identity.tenant) as reader:
                known = remembered(reader, own.ledger)
            for name, url in known:  # connected to when it is first named
                planner.attach(planner.open(name, parse_url(url)))
        return planner


def _unless_busy(task: Callable[[], object]) -> None:
    try:
        task()
    except StoreBusyError:
        _log.info("closing while another writer holds the lake: %s was left out", task)


def connect(
    path: str | os.PathLike[str] = "./lake",
    *,
    tenant: str | None = "default",
    actor: str = "",
    source: str = "api",
    workspace: str = "",
    store: str | None = None,
    key_store: object = None,
    broker: object = None,
    read_only: bool = False,
    durability: str = "full",
    busy_timeout_s: float = 30.0,
    cache_bytes: int = 128 * 1024 * 1024,
    allowed_paths: Iterable[str | os.PathLike[str]] | None = None,
    audit: str = "statements",
    store_queries: bool = False,
    audit_recall: float = 0.0,
    witness: str | os.PathLike[str] | Callable[[str], None] | None = None,
    checkpoint_entries: int = CHECKPOINT_ENTRIES,
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
    journal: bool = True,
    journal_url: str | None = None,
) -> Session:
    """Open a lake, creating it if it is not there, and return a session on it.

    Args:
        path: The lake's folder.
        tenant: Whose tables are seen and written; ``None`` for the shared scope.
        actor: Who acts, as changes and searches write it down.
        source: Through what, likewise.
        workspace: Where, likewise.
        store: ``None`` for SQLite in the lake's folder, the one store there is yet.
        key_store: Where the master key is; see :class:`~affidavit.catalog.ledger.keys.KeyStore`. By
            default the environment's ``AFFIDAVIT_MASTER_KEY``, if it is set, else a file that the
            lake makes for itself.
        broker: What tells subscribers of new events: ``"memory"`` (the default) those in this
            process, ``"store"`` those in every process on this lake, ``"nats://host:port"``
            whoever listens there; or a :class:`~affidavit.triggers.brokers.protocol.Broker`. The
            log in the lake is what they read; without a broker they look at it once a second.
        read_only: Refuse every write, and never create.
        durability: ``"full"`` keeps commits through power loss, ``"normal"`` through a crash.
        busy_timeout_s: How long a writer waits for other writers.
        cache_bytes: The memory budget for copies of unchanged tables.
        allowed_paths: Folders that SQL may read files from and write files to; by default all.
        audit: What is put on record: ``"statements"`` and searches, ``"searches"``, or ``"off"``,
            which the ledger notes.
        store_queries: Whether records hold the query itself, and not only its SHA-256.
        audit_recall: Which share of the searches is run once more, exactly, to measure recall.
        witness: A second place for checkpoints: a file, or a function that is given each signed
            note. A lake older than its witness is not opened.
        checkpoint_entries: Keep a checkpoint of the ledger at least every so many entries.
        checkpoint_interval_s: And at least every so many seconds.
        journal: Write every mutation down. ``False``: do not begin a tenant's journal; one that
            was begun is kept by every session. A session that only reads begins none.
        journal_url: Where the journal's sealed segments are kept, for good: ``s3://bucket/prefix``
            or ``file:///folder``; by default in the lake's folder. The lake remembers it. It has
            no credentials in it: they come from the environment.

    Raises:
        LakeError: The path is a file, cannot be written, or is no lake; or its segments lie
            elsewhere than ``journal_url`` says.
        StoreError: ``journal_url`` is new to the lake, and cannot be reached or written.
        MasterKeyError: The master key is missing, malformed, or another lake's.
        LedgerCorruptError: The ledger is older than its witness.
        LakeVersionError: A newer affidavit wrote the lake.
        BrokerError: The broker cannot be reached.
        NoTenantError: ``tenant`` cannot name a tenant.
    """
    if store is not None:
        msg = "store= is not supported by this version of affidavit: leave it out"
        raise LakeError(msg)
    identity = Identity(check_tenant(tenant)).narrowed(
        actor=actor, source=source, workspace=workspace
    )
    settings = AuditSettings(audit, store_queries, audit_recall)
    keys = key_store_of(key_store, path)
    check_limits(checkpoint_entries, checkpoint_interval_s)
    seen = as_witness(witness)
    lake = Lake(
        path,
        durability=durability,
        busy_timeout_s=busy_timeout_s,
        cache_bytes=cache_bytes,
        read_only=read_only,
        journal_url=journal_url,
    )
    with ExitStack() as opened:
        opened.callback(lake.close)
        signers = open_keys(keys, lake)
        lake.ledgers = Ledgers(
            lake.lake_id, signers, checkpoint_entries=checkpoint_entries,
            checkpoint_interval_s=checkpoint_interval_s, sources=lake.journals.sources,
        )  # fmt: skip
        lake.journals.wanted = bool(journal) and not read_only
        shared = _Shared(lake, settings, seen, broker)
        opened.callback(shared.exchange.close)
        shared.guard.open(identity.tenant)
        if not read_only:
            shared.recorder.recover()
            settle_all(lake, shared.transactions)
        shared.recorder.note_if_off(identity)
        opened.pop_all()
    return Session(shared, identity, AllowedPaths(allowed_paths))


class Session:
    """What :func:`connect` returns; a context manager.

    Attributes:
        hooks: What sees every search; see :class:`~affidavit.engine.search.hooks.SearchHook`.
        models: The embedding models that encode queries given as text.
    """

    def __init__(
        self,
        shared: _Shared,
        identity: Identity,
        paths: AllowedPaths,
        *,
        scoped: bool = False,
        at: Moment | None = None,
    ) -> None:
        self._shared = shared
        self._identity = identity
        self._allowed = paths
        self._scoped = scoped
        self._at = at
        self.hooks = shared.hooks.of(identity.tenant) if scoped else shared.hooks
        self.models = shared.models

    # --- who -----------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Who asks: this session's own identity, or the one of the scope that is open here."""
        if self._scoped:
            return self._identity
        return _scopes.get().get(id(self._shared), self._identity)

    @property
    def tenant(self) -> str | None:
        """Whose tables are seen and written; ``None`` for the shared scope."""
        return self.identity.shown_tenant

    @property
    def is_scoped(self) -> bool:
        """Whether :meth:`scope` made this session."""
        return self._scoped

    @property
    def actor(self) -> str:
        """Who acts."""
        return self.identity.actor

    @contextmanager
    def scope(
        self,
        *,
        tenant: str | _Unset | None = UNSET,
        actor: str | None = None,
        source: str | None = None,
        workspace: str | None = None,
        reason: str | None = None,
        allowed_paths: Iterable[str | os.PathLike[str]] | None = None,
    ) -> Iterator[Session]:
        """Act as somebody else inside the block, and yield a session that always does.

        The yielded session keeps its identity wherever it is used, in other threads too. The
        session itself takes on the identity for this thread or async task, and gets its own back
        when the block ends, however it ends. Statements in a scope with a ``tenant`` may name no
        local path unless ``allowed_paths`` has it; tables that were attached before are read as
        ever. A yielded session can be scoped further, and never to another tenant.
        """
        identity = self.identity.narrowed(
            tenant=tenant, actor=actor, source=source, workspace=workspace, reason=reason
        )
        if self._scoped and self._identity.scoped and identity.tenant != self._identity.tenant:
            msg = f"a session scoped to tenant {self.tenant!r} cannot act for another"
            raise NoTenantError(msg)
        paths = self._paths
        if not isinstance(tenant, type(UNSET)) or allowed_paths is not None:
            # the session itself hands out paths; what it hands a session to can only narrow them
            base = self._allowed if not self._scoped else paths
            paths = base.within(allowed_paths or ())
        key = id(self._shared)
        token = _scopes.set({**_scopes.get(), key: identity})
        try:
            yield Session(self._shared, identity, paths, scoped=True)
        finally:
            _scopes.reset(token)

    @property
    def _paths(self) -> AllowedPaths:
        narrowed = not self._scoped and self.identity.scoped
        return AllowedPaths(()) if narrowed else self._allowed

    def _catalog(self, trace: Trace | None = None) -> Catalog:
        return Catalog(self._shared.lake, self.identity, self._shared.transactions, trace, self._at)

    def _executor(self, trace: Trace | None = None) -> Executor:
        catalog = self._catalog(trace)
        return Executor(self._shared.planner(catalog.identity), catalog, self._paths)

    # --- SQL -----------------------------------------------------------------------------------

    def sql(self, text: str, params: Any = None, **named: Any) -> Result:  # noqa: ANN401 - any value
        """Run one SQL statement.

        Args:
            text: The statement, with ``$name`` or ``$1`` for parameters.
            params: A dict for ``$name``, a list for ``$1``, ``$2``...; vectors are lists or arrays.
            named: Parameters by name.

        A query runs when its rows are first asked for; anything else runs now, as a whole or not at
        all, and ``rows_affected`` says how many rows it touched.

        Raises:
            SqlError: It does not parse or plan, is empty, or holds several statements.
            AffidavitError: It failed.
        """
        return self._run(text, _parameters(params, named))

    def _run(self, text: str, params: Mapping[str, Any]) -> Result:
        log = self._shared.statements
        if log is None:
            return self._executor().execute(parse_statement(text), params)
        trace = Trace()
        return log.run(
            self.identity, text, trace,
            lambda statement: self._executor(trace).execute(statement, params),
            may_flush=self._shared.transactions.current() is None,
        )  # fmt: skip

    def explain(
        self,
        text: str,
        params: Any = None,  # noqa: ANN401 - any value
        *,
        analyze: bool = False,
    ) -> str:
        """Return a statement's plan; ``analyze`` runs the query and its searches."""
        word = "EXPLAIN ANALYZE" if analyze else "EXPLAIN"
        plans = self._run(f"{word} {text}", _parameters(params, {})).to_arrow()
        return "\n\n".join(
            f"{kind}:\n{plan.rstrip()}"
            for kind, plan in zip(*plans.to_pydict().values(), strict=True)
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit what the block does to mutable tables, or roll all of it back if it raises.

        Vector tables commit on their own and refuse to be changed inside.
        """
        with self._shared.transactions.transaction(self.identity.tenant, releases=True):
            yield self

    # --- search --------------------------------------------------------------------------------

    def search(
        self,
        table: str,
        query: Any = None,  # noqa: ANN401 - a vector in any form, or text
        k: int = 10,
        *,
        where: str | None = None,
        select: Sequence[str] | None = None,
        column: str | None = None,
        metric: str | None = None,
        mode: str = "vector",
        exact: bool = False,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        version: int | str | None = None,
        lineage: object = None,
        model: str | None = None,
        text: str | None = None,
    ) -> SearchResult:
        """Return the ``k`` rows of a vector table that fit a query best.

        Args:
            table: The vector table.
            query: A vector, or text that the table's model encodes; for ``mode="text"`` the words.
            k: How many rows; fewer come back only if fewer match.
            where: An SQL predicate over the table's columns, applied before the search.
            select: The columns to return; all of them by default.
            column: The vector column; for ``mode="text"`` the one text column to look in.
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
            "exact": exact, "nprobes": nprobes, "refine_factor": refine_factor,
            "lineage": lineage, "model": model, "text": text,
        }  # fmt: skip
        request = self._requests(table, [query], k, version, options)[0]
        search = self._shared.searcher.run(request)
        return SearchResult(released(search), search.request, search.record)

    def search_batch(
        self,
        table: str,
        queries: Iterable[Any],
        k: int = 10,
        *,
        version: int | str | None = None,
        **options: Any,  # noqa: ANN401 - those of search()
    ) -> list[SearchResult]:
        """Run many searches of one table at once, at one version; hooks see them together.

        Takes the options of :meth:`search`, for all queries. All results are released, or none.
        """
        requests = self._requests(table, list(queries), k, version, options)
        if not requests:
            return []
        searches = self._shared.searcher.run_batch(requests)
        return [
            SearchResult(released(search), search.request, search.record) for search in searches
        ]

    def _requests(
        self,
        table: str,
        queries: list[Any],
        k: int,
        version: int | str | None,
        options: dict[str, Any],
    ) -> list[SearchRequest]:
        catalog = self._catalog()
        refuse_elsewhere(table, self._shared.planner(catalog.identity).attached)
        with catalog.read() as reader:
            info = catalog.get(reader, table)
            require_vector(info)
            seen = catalog.ledger.last_seq(reader)
            info, dataset = dataset_of(catalog, reader, info, version)
        try:
            return [
                build_request(
                    catalog.identity,
                    info,
                    dataset,
                    self.models,
                    query,
                    k,
                    encode=False,
                    journal_seq=seen,
                    **options,
                )
                for query in queries
            ]
        except TypeError as error:
            msg = f"searching {table!r}: {error}"
            raise InvalidQueryError(msg) from error

    # --- audit and ledger ----------------------------------------------------------------------

    @property
    def audit(self) -> Audit:
        """The records of searches: read, checked, replayed, logged."""
        return Audit(self._catalog(), self._shared.recorder, self.models)

    @property
    def ledger(self) -> LedgerHandle:
        """The tenant's ledger: checkpoints, proofs, verification, export, keys."""
        return LedgerHandle(self._catalog(), self._shared.guard, self._shared.witness)

    def at(self, moment: object) -> Session:
        """Return a session on the lake as it was at a moment, which can be read and searched.

        Args:
            moment: An entry's number in the ledger, or a time: a datetime, or ISO 8601 text.

        Its searches are put on record with the versions that they saw. ``journal``, ``system`` and
        ``audit`` are what they are now.

        Raises:
            InvalidQueryError: The moment has not happened, or is before the lake.
        """
        parsed = parse_moment(moment)
        catalog = self._catalog()
        with catalog.read() as reader:
            Past(catalog, reader, parsed)
        return Session(self._shared, self.identity, self._paths, scoped=True, at=parsed)

    @property
    def journal(self) -> JournalHandle:
        """The journal of every mutation: read, sealed, and written by callers themselves."""
        return JournalHandle(self._catalog())

    @property
    def topics(self) -> Topics:
        """The topics: registered, published to, subscribed to, replayed."""
        return Topics(self._catalog(), self._shared.exchange)

    @property
    def triggers(self) -> Triggers:
        """What happens when rows change: change triggers and standing searches."""
        return Triggers(self._catalog(), self._shared.exchange)

    # --- tables --------------------------------------------------------------------------------

    def create_vector_table(
        self,
        name: str,
        data: object = None,
        *,
        schema: pa.Schema | None = None,
        key: str = "id",
        vector: str = "vector",
        metric: str = "cosine",
        model: str | None = None,
    ) -> VectorTable:
        """Create a vector table, from data or empty from a schema.

        Args:
            name: The table's name.
            data: Whatever holds rows: Arrow, pandas, polars, a list of dicts, a query's result. A
                record batch reader is streamed, never held whole in memory.
            schema: The columns, where there is no data to tell them.
            key: The column of unique integers or texts that identifies a row.
            vector: The column of vectors, all of one dimension.
            metric: How vectors are compared: ``cosine``, ``l2`` or ``dot``.
            model: The embedding model that encodes queries given as text.

        Raises:
            TableExistsError: The name is taken.
            SchemaMismatchError: There is no usable key or vector column.
            ConstraintError: A key is NULL or duplicate, or a vector cannot be searched.
        """
        self._check_new(name)
        catalog = self._catalog()
        dimension = None if model is None else self.models.dimension(model)
        create_vector(
            catalog, name, data, schema=schema, key=key, vector=vector, metric=metric, model=model,
            dimension=dimension,
        )  # fmt: skip
        return VectorTable(catalog, self._executor(), name)

    def _check_new(self, name: str) -> None:
        check_table_name(name)
        if (MAIN_SCHEMA, name) in self._shared.planner(self.identity).sources:
            raise TableExistsError(name, kind="frame attached as")

    def create_table(
        self,
        name: str,
        data: object = None,
        *,
        schema: pa.Schema | None = None,
        primary_key: str | Sequence[str] = (),
        indexes: Sequence[str | Sequence[str]] = (),
        order_column: str | None = None,
    ) -> MutableTable:
        """Create a mutable table, from data or empty from a schema.

        Args:
            name: The table's name.
            data: Whatever holds rows: Arrow, pandas, polars, a list of dicts, a query's result.
            schema: The columns, where there is no data to tell them, or to convert it to.
            primary_key: The column or columns that no two rows share; never NULL.
            indexes: Columns, or lists of columns, that look-ups should be quick by.
            order_column: The column that ``scan_after`` goes along.

        Raises:
            TableExistsError: The name is taken.
            UnsupportedTypeError: A column's values could not be kept exactly.
            ConstraintError: The data breaks the key.
        """
        self._check_new(name)
        if data is None and schema is None:
            msg = f"table {name!r} needs data or schema="
            raise InvalidQueryError(msg)
        catalog = self._catalog()
        source = None if data is None else to_reader(data, schema)
        columns = schema if schema is not None else source.schema  # type: ignore[union-attr]
        definition = define_mutable(
            name, columns, primary_key=_columns(primary_key), indexes=_indexes(name, indexes),
            order_column=order_column,
        )  # fmt: skip
        with catalog.write() as writer:
            info = create_mutable(catalog, writer, name, definition)
            if source is not None:
                fitted = (conform(batch, definition.schema, table=name) for batch in source)
                insert_rows(catalog, writer, info, fitted)
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
        schema, plain = _split(name)
        with catalog.read() as reader:
            info = catalog.get(reader, plain, schema)
            known = [each.name for each in catalog.tables(reader)]
        if info.kind not in {"vector", "mutable"}:
            raise TableNotFoundError(name, known=known)
        handle = VectorTable if info.kind == "vector" else MutableTable
        return handle(catalog, self._executor(), plain, schema)

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table.

        Raises:
            TableNotFoundError: There is none, and not ``if_exists``.
        """
        schema, plain = _split(name)
        drop_named(self._catalog(), Name(schema, plain), if_exists=if_exists)

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
                Parquet, CSV, JSON, Arrow or Avro files, their URL in an object store (``s3://``,
                ``gs://``, ``az://``), or the folder of a Delta or Iceberg table, all remembered by
                the lake; or an Arrow, pandas or polars table, for this session only.
            options: For a database its ``password``, or a function that returns it, which is kept
                nowhere. For files DataFusion's reader options, such as ``has_header="false"``;
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
        planner = self._shared.planner(self.identity)
        return Attachments(planner, self._catalog(), self._paths, self.sql)

    # --- the seam for changes ------------------------------------------------------------------

    def add_change_listener(self, listener: ChangeListener) -> None:
        """Tell ``listener`` of every mutation, inside the transaction that makes it.

        On a session that :meth:`scope` yielded: of every mutation of its tenant.
        """
        tenant = self._identity.tenant if self._scoped else None
        self._shared.lake.listeners.append((listener, tenant))

    def remove_change_listener(self, listener: ChangeListener) -> None:
        """Stop telling ``listener``."""
        listeners = self._shared.lake.listeners
        listeners[:] = [pair for pair in listeners if pair[0] is not listener]

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Roll back what is open and release the lake. Scoped sessions close with the first one."""
        if self._scoped or self._shared.closed:
            return
        self._shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        shared = getattr(self, "_shared", None)
        if shared is not None and not self._scoped and not shared.closed:
            warnings.warn(
                f"unclosed session on {shared.lake.path}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            if not sys.is_finalizing():  # then the next to open the lake does what is left to do
                self.close()

    def __repr__(self) -> str:
        who = f", actor={self.actor!r}" if self.actor else ""
        return f"Session({str(self._shared.lake.path)!r}, tenant={self.tenant!r}{who})"


def _parameters(params: Any, named: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any value
    if params is None:
        return dict(named)
    if isinstance(params, dict):
        return {**{str(name): value for name, value in params.items()}, **named}
    if isinstance(params, list | tuple):
        return {**{str(at): value for at, value in enumerate(params, 1)}, **named}
    msg = f"params must be a dict or a list, got {type(params).__name__}"
    raise InvalidQueryError(msg)


def _columns(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _indexes(table: str, given: Sequence[str | Sequence[str]]) -> list[Index]:
    listed = [_columns(columns) for columns in ([given] if isinstance(given, str) else given)]
    return [Index(f"{table}_{'_'.join(columns)}_idx", columns) for columns in listed]


def _split(name: object) -> tuple[str, str]:
    if not isinstance(name, str):
        raise TableNotFoundError(str(name))
    schema, _, plain = name.rpartition(".")
    return schema or MAIN_SCHEMA, plain
