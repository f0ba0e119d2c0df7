"""DataFusion, as one session uses it: statements planned at a snapshot, and their rows."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from datafusion import LogicalPlan

from affidavit.catalog.model.definition import VIEW, SqlDefinition
from affidavit.catalog.model.policy import READS, at_least
from affidavit.catalog.model.release import Facts
from affidavit.catalog.sources.files.external import parse_external
from affidavit.catalog.sources.files.whole import check_local
from affidavit.catalog.sources.reach import ANYTHING
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.errors import asks_for_whole_tables, engine_errors
from affidavit.engine.plan.external import ExternalTables
from affidavit.engine.plan.lakes import LakeSource
from affidavit.engine.plan.mending.planned import planned_in
from affidavit.engine.plan.runner import LocalRunner, Planned, rows_of
from affidavit.engine.plan.scanned import describe, listing, reads_rows
from affidavit.engine.plan.searched.ahead import ahead, begun, released
from affidavit.engine.plan.searched.rows import plan_rows
from affidavit.engine.plan.settings import QUERIES_ONLY
from affidavit.engine.plan.short.ways import short_rows
from affidavit.engine.plan.sizes.growth import grows, growth
from affidavit.engine.plan.state import OFF, PlanState
from affidavit.engine.result.result import Result, table_of
from affidavit.engine.scans.calls.embedding import CALL
from affidavit.engine.scans.resolve import names_in, of_lake, prepare_tables
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.engine.scans.temporary.tables import Temporaries
from affidavit.engine.statement.honoured import check_honoured
from affidavit.engine.statement.parameters import arrow_params
from affidavit.engine.statement.reading.naming import named
from affidavit.engine.statement.statement import DML_SCHEMA
from affidavit.engine.statement.tables.arguments import by_place
from affidavit.errors import AffidavitError, ExecutionError, SqlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from datafusion import DataFrame, SessionContext, SQLOptions

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.plan.runner import Plan, Runner
    from affidavit.engine.plan.tenant import Pair, TenantEngine
    from affidavit.engine.scans.calls.placed import Placed

VIEW_DEPTH_MAX: Final = 32


class Planner:
    """Plans the statements of one session.

    Args:
        engine: The tenant's.
        state: What the session has of its own; nothing by default.
        reach: What the session may reach; anything but a lake's own files by default.
        runner: Runs the plans of queries; by default this process.
    """

    def __init__(
        self,
        engine: TenantEngine,
        state: PlanState | None = None,
        *,
        reach: Reach = ANYTHING,
        runner: Runner | None = None,
    ) -> None:
        self.engine = engine
        self.attached, self.stores = engine.attached, engine.stores
        self.state = PlanState() if state is None else state
        self.hide = engine.contexts.hide
        self._reach = reach
        self.frames, self.temporaries = self.state.frames, self.state.temporaries
        self.functions = self.state.functions
        self._here = LocalRunner()
        self._runner = runner or self._here

    @property
    def _pair(self) -> Pair:
        settings = self.state.settings
        return self.engine.shared if settings is None else settings[1]

    @property
    def context(self) -> SessionContext:
        """What plans the session's statements: the tenant's context, until it sets something."""
        return self._pair.context

    def of_lake(self, *, frames: bool = False) -> Planner:
        """Return what plans for this session without temporary tables, and perhaps ``frames``."""
        kept = self.frames if frames else {}
        state = replace(self.state, frames=kept, temporaries=Temporaries())
        return Planner(self.engine, state, reach=self._reach, runner=self._runner)

    # --- planning ------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self, catalog: Catalog) -> Iterator[Snapshot]:
        """Open the snapshot that one statement reads."""
        committed = catalog.transactions.current() is None
        with catalog.read() as reader, self.at(catalog, reader, committed=committed) as snapshot:
            yield snapshot

    @contextmanager
    def at(self, catalog: Catalog, reader: Reader, *, committed: bool) -> Iterator[Snapshot]:
        """Open what one statement reads by a reader of the store, which is open already."""
        with Snapshot(catalog, reader, committed=committed, hide=self.hide) as snapshot:
            if not self._reach.limited:
                snapshot.lift_limits()
            snapshot.hold(self.temporaries)
            snapshot.push(filters=self.state.pushdown != OFF)
            yield snapshot

    def plan(
        self,
        text: str,
        params: Mapping[str, Any],
        snapshot: Snapshot,
        *,
        names: Collection[str],
        read_only: bool = False,
        narrow: bool = False,
    ) -> DataFrame:
        """Plan one statement that changes no context by being planned.

        ``names`` are the identifiers in the text, or more of them. ``read_only`` refuses whatever
        is no query, should it look like one. ``narrow`` plans for one partition.

        Raises:
            SqlError: It does not parse or plan.
            TableNotFoundError: It names a table that the tenant does not see.
        """
        values = arrow_params(params)
        snapshot.bind(values)
        self.note_calls(names, snapshot)
        with self._planning(snapshot):
            self._prepare_names(names, snapshot, text)
            options = QUERIES_ONLY if read_only else None
            frame = self._sql(text, values, snapshot, options, narrow=narrow)
            if snapshot.sizes or grows(text):
                growth(frame.logical_plan(), snapshot.sizes, snapshot.called)
            if snapshot.choosing:
                plan_rows(snapshot, self, params)
        snapshot.query.check()
        return frame

    def note_calls(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Note which of the caller's own code a statement calls that has these names."""
        snapshot.note_calls(name for name in names if name in self.functions or name == CALL)

    def set(self, text: str) -> None:
        """Run a SET or RESET, for this session alone.

        A statement that is planned meanwhile, or a view that it reads, has the settings from
        before or those from after; what was planned keeps those that it was planned with.
        """
        with engine_errors(None, SqlError), self.state.changing(self.engine) as contexts:
            for context in contexts:
                context.sql(text)

    def plan_create(
        self, text: str, params: Mapping[str, Any], snapshot: Snapshot, *, names: Collection[str]
    ) -> DataFrame:
        """Plan a CREATE TABLE and return the query for its rows, without creating anything.

        DataFusion runs a CREATE as soon as it is planned, but only plans what EXPLAIN is asked of.
        """
        frame = self.plan(f"EXPLAIN {text}", params, snapshot, names=names)
        made = LogicalPlan(frame.logical_plan().inputs()[0].to_variant().input()[0])
        return self.context.create_dataframe_from_logical_plan(made)

    def column_type(self, catalog: Catalog, column: str, sql_type: str) -> pa.Field:
        """Return a column of the Arrow type that DataFusion gives ``sql_type``."""
        with self.snapshot(catalog) as snapshot:
            create = f'CREATE TABLE "{DML_SCHEMA}".typed (c {sql_type})'  # no table of a user's
            frame = self.plan_create(create, {}, snapshot, names=())
            return pa.field(column, frame.schema().field(0).type)

    def check_external(self, create: str, location: str, snapshot: Snapshot) -> None:
        """Raise unless a CREATE EXTERNAL TABLE reads files at ``location`` that can be read."""
        table = parse_external(create)
        check_local(table.kind, table.location)
        text = create if table.is_plain and not table.options else table.sql
        plan = self.plan(f"EXPLAIN {text}", {}, snapshot, names=()).logical_plan()
        found = str(plan.inputs()[0].to_variant().location())
        if found != location:
            raise SqlError(f"the statement names {location!r} and would read {found!r}")
        with self._planning(snapshot):
            self.named_files.table(create, snapshot)

    def _sql(
        self,
        text: str,
        values: Mapping[str, Any],
        snapshot: Snapshot,
        options: SQLOptions | None,
        *,
        narrow: bool = False,
    ) -> DataFrame:
        check_honoured(text, self.state.dialect)  # as it is: errors have places in it
        meant, pair = self.meant(text, snapshot), self._pair
        context, given = pair.narrow if narrow else pair.context, {**values, **meant.keys}
        text = by_place(meant.text)
        with held():
            return planned_in(context, text, given, snapshot, options, pair.remembered)

    def meant(self, text: str, snapshot: Snapshot) -> Placed:
        """Return a text with its columns called as its author wrote them, put for plans.

        It asks models, sequences and its caller as plans do.
        """
        return self.engine.written(
            named(self.state.told(text)), snapshot, self.state.numbers, self._pair
        )

    @contextmanager
    def _planning(self, snapshot: Snapshot) -> Iterator[None]:
        with self.engine.provider.planning.of(snapshot), engine_errors(snapshot, SqlError):
            yield

    def prepare(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Plan the views and external tables among ``names``, for a statement planned elsewhere."""
        with self._planning(snapshot):
            self._prepare_names(names, snapshot)

    def _prepare_names(
        self, names: Collection[str], snapshot: Snapshot, text: str = "", depth: int = 0
    ) -> None:
        """Plan the views among ``names``: a provider cannot plan while DataFusion plans."""
        self.named_files.prepare(text, snapshot)
        if depth > VIEW_DEPTH_MAX:
            raise SqlError(f"views are nested more than {VIEW_DEPTH_MAX} deep")
        for key, table in list(self.frames.items()):  # another thread may attach meanwhile
            if key[1] in names:
                snapshot.prepared.setdefault(key, table)
        for name, source in list(self.attached.items()):
            if isinstance(source, LakeSource) and name in names:
                source.prepare(names, snapshot)
        texts = prepare_tables(snapshot, names)
        inner = [names_in(info) for info in texts]
        for each in inner:  # before any of them reads a table that another calls a function with
            self.note_calls(each, snapshot)
        for info, each in zip(texts, inner, strict=True):
            key = (info.schema, info.name)
            if key in snapshot.prepared:
                continue
            snapshot.prepared[key] = None  # a view that names itself finds nothing
            try:
                with engine_errors(snapshot, SqlError):
                    snapshot.prepared[key] = self._prepare(info, each, snapshot, depth)
            except AffidavitError as error:  # told once it is read: a column may be of that name
                snapshot.keep_unplanned(key, error)

    def _prepare(
        self, info: TableInfo, names: Collection[str], snapshot: Snapshot, depth: int
    ) -> Any:  # noqa: ANN401 - DataFusion's
        definition = info.definition
        assert isinstance(definition, SqlDefinition)
        if info.kind == VIEW.name:
            text = definition.sql
            self._prepare_names(names, snapshot, text, depth + 1)
            with of_lake(snapshot):
                frame = self._sql(text, {}, snapshot, QUERIES_ONLY)
            if snapshot.sizes or grows(text):
                name = (snapshot.called, info.schema, info.name)
                snapshot.sizes[name] = growth(frame.logical_plan(), snapshot.sizes, snapshot.called)
            return frame.into_view()
        return self.files(definition).table(definition.sql, snapshot, (info.schema, info.name))

    def files(self, definition: SqlDefinition) -> ExternalTables:
        """Return what plans a table of files, as far as it may reach."""
        return self._files(self._reach.of_made(definition.reach, *definition.paths))

    @property
    def named_files(self) -> ExternalTables:
        """What plans the files that a statement names where they are."""
        return self._files(self._reach)

    def _files(self, reach: Reach) -> ExternalTables:
        return ExternalTables(self.engine, self._pair, reach, self.state.given)

    # --- running -------------------------------------------------------------------------------

    def result(self, plan: Plan, snapshot: Snapshot, stack: ExitStack) -> Result:
        """Return the rows of a plan; ``stack`` holds the snapshot until they are read."""
        planned = self._planned(plan, snapshot)
        if not snapshot.is_scanned:
            stack.close()
        batches = released(planned, self._runner, done=stack.close)
        return rows_of(partial(self.schema_of, planned.frame, snapshot), batches, snapshot, stack)

    def short(
        self, text: str, params: Mapping[str, Any], snapshot: Snapshot, stack: ExitStack
    ) -> Result | None:
        """Return what :meth:`result` does if that needs no plan, and else ``None``."""
        functions = self.engine.functions
        found = short_rows(text, params, snapshot, self.state, functions, stack.close)
        return None if found is None else rows_of(*found, snapshot, stack)

    def _planned(self, plan: Plan, snapshot: Snapshot, *, is_out: bool = False) -> Planned:
        """Plan a statement that is going to run, and tell its gate what there is to say of it."""
        planned = Planned.at(snapshot, plan, self.state.cuts(self.context))
        level = snapshot.catalog.level_of(snapshot.reading)
        if at_least(level, READS) and reads_rows(planned.text):
            schema = partial(self.schema_of, planned.frame, snapshot)
            describe(
                planned, Facts(schema=schema, level=level, is_out=is_out),
                lambda: self.optimized(planned.frame, snapshot),
            )  # fmt: skip
        return planned

    def runs(self, frame: DataFrame, snapshot: Snapshot, *, begin: bool = False) -> DataFrame:
        """Return what runs here of a plan: sub-trees of it are answered by databases.

        If it is to ``begin``, small sides of joins are run, whose keys are sent.
        """
        planned = Planned.at(snapshot, lambda _: frame, self.state.cuts(self.context))
        return begun(planned, self._here) if begin else planned.runs

    def stream(self, plan: Plan, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        """Return the batches of a plan, which is made now and runs here with the first one."""
        return released(self._planned(plan, snapshot), self._here)

    def streamed(
        self, plan: Plan, snapshot: Snapshot
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Return what :meth:`stream` does, and the plan's columns."""
        planned = self._planned(plan, snapshot)
        return self.schema_of(planned.frame, snapshot), released(planned, self._here)

    def collect(self, plan: Plan, snapshot: Snapshot) -> pa.Table:
        """Return every row of a plan, which runs here."""
        planned = self._planned(plan, snapshot)
        batches = snapshot.catalog.lake.memory.gathered(released(planned, self._here))
        schema = batches[0].schema if len(batches) == 1 else self.schema_of(planned.frame, snapshot)
        return table_of(batches, schema)

    def write_out(self, plan: Plan, snapshot: Snapshot) -> pa.Table:
        """Return what DataFusion says of a plan by which it writes rows out of the lake itself.

        Nobody could hold them back, so the plan's searches run, and are on record, before it.
        """
        planned = self._planned(plan, snapshot, is_out=True)
        if snapshot.ahead:
            planned = self._physical(planned)
            list(snapshot.catalog.release(snapshot.reading, ahead(snapshot)))
        return table_of(
            list(released(planned, self._here)), self.schema_of(planned.frame, snapshot)
        )

    def _physical(self, planned: Planned) -> Planned:
        """Let DataFusion ask each table for what it reads, as when it runs the plan."""
        snapshot = planned.snapshot
        with engine_errors(snapshot, ExecutionError):
            try:
                planned.runs.execution_plan()
            except Exception as error:
                if not (snapshot.is_scanned and asks_for_whole_tables(error, snapshot.failure)):
                    raise
                snapshot.read_whole()
                snapshot.ahead.clear()
                planned = Planned.at(snapshot, planned.plan, self.state.cuts(self.context))
                planned.runs.execution_plan()
        return planned

    def collect_listing(self, plan: Plan, snapshot: Snapshot) -> pa.Table:
        """Return every row of a plan that reads ``information_schema``.

        DataFusion lists the catalog when the plan runs, so the snapshot stays in place until then.
        """
        place = self.engine.provider.planning.listing(snapshot)
        with place, engine_errors(snapshot, SqlError):
            return self.collect(partial(listing, plan), snapshot)

    def schema_of(self, frame: DataFrame, snapshot: Snapshot) -> pa.Schema:
        """Return the columns as they will come: DataFusion's own answer is from before coercion."""
        plan = self.optimized(frame, snapshot)
        return self.context.create_dataframe_from_logical_plan(plan).schema()

    @staticmethod
    def optimized(frame: DataFrame, snapshot: Snapshot) -> LogicalPlan:
        """Return a plan as DataFusion would run it; SqlError for what is only found wrong here."""
        with engine_errors(snapshot, SqlError), held():
            return frame.optimized_logical_plan()
