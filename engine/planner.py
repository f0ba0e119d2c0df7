"""DataFusion, as one tenant uses it: planning at a snapshot, and running plans as results."""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from datafusion import LogicalPlan, SessionConfig, SessionContext, SQLOptions, udtf
from datafusion.catalog import Table

from affidavit.catalog.definition import SqlDefinition
from affidavit.catalog.lexer import tokenize
from affidavit.catalog.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.providers import DML_SCHEMA, ChangesDataset, LakeCatalog, Snapshot
from affidavit.catalog.system import JournalDataset
from affidavit.catalog.timetravel import Moment, dataset_of, parse_moment
from affidavit.engine.request import build_request, parse_options
from affidavit.engine.result import Result, table_of
from affidavit.engine.search import SearchDataset
from affidavit.engine.sources import SourceCatalog
from affidavit.engine.statement import parse_statement
from affidavit.errors import (
    AffidavitError,
    ExecutionError,
    InvalidQueryError,
    SqlError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from datafusion import DataFrame

    from affidavit.catalog.catalog import Catalog
    from affidavit.catalog.definition import TableInfo
    from affidavit.catalog.sources.database import Database
    from affidavit.engine.models import Models
    from affidavit.engine.search import Searcher

VIEW_DEPTH_MAX: Final = 32
TABLE_FUNCTIONS: Final = {
    "vector_search": ("vector", ("table", "query", "k")),
    "text_search": ("text", ("table", "text", "k")),
    "hybrid_search": ("hybrid", ("table", "query", "text", "k")),
}
QUERIES_ONLY: Final = (
    SQLOptions()
    .with_allow_ddl(allow=False)
    .with_allow_dml(allow=False)
    .with_allow_statements(allow=False)
)
_CONSTANT_FILTER: Final = "unsupported operand type"
_NO_FIELD: Final = re.compile(r"No field named (?:[^ ]*\.)?\"?([^. \"]+)\"?\.")
_MISSING: Final = re.compile(r"table '([^']*)' not found")
_PREFIXES: Final = re.compile(
    r"^(DataFusion error: |Arrow error: |External error: |SQL error: |Error during planning: )+"
)


_SETTINGS: Final = {"datafusion.catalog.create_default_catalog_and_schema": "false"}
_ONE_PARTITION: Final = {
    "datafusion.execution.target_partitions": "1",
    "datafusion.optimizer.enable_round_robin_repartition": "false",
}


def _config(settings: Mapping[str, str]) -> SessionConfig:
    return (
        SessionConfig({**_SETTINGS, **settings})
        .with_default_catalog_and_schema(CATALOG, MAIN_SCHEMA)
        .with_information_schema(enabled=True)
    )


class Planner:
    """The DataFusion context of one tenant in one session."""

    def __init__(self, catalog: Catalog, searcher: Searcher, models: Models) -> None:
        self._searcher = searcher
        self._models = models
        self._lock = threading.RLock()
        self.provider = LakeCatalog(catalog)
        self.context = self._context({})
        # a statement over the rows of one table is planned in two thirds of the time without
        # anything to spread over partitions
        self._narrow = self._context(_ONE_PARTITION)
        self.sources: dict[tuple[str, str], Any] = {}
        self.databases: dict[str, Database] = {}
        self.prepared: dict[str, tuple[str, tuple[str, ...]]] = {}

    def attach(self, database: Database) -> None:
        """Let statements name the tables of a database."""
        self._catalogs(database.name, database)
        self.databases[database.name] = database

    def detach(self, name: str) -> Database | None:
        """Forget a database, and return it."""
        found = self.databases.pop(name, None)
        if found is not None:
            self._catalogs(name, None)
        return found

    def _catalogs(self, name: str, database: Database | None) -> None:
        for context in (self.context, self._narrow):
            context.register_catalog_provider(name, SourceCatalog(database, self.provider))

    def _context(self, settings: Mapping[str, str]) -> SessionContext:
        context = SessionContext(_config(settings))
        context.register_catalog_provider(CATALOG, self.provider)
        for name, (mode, arguments) in TABLE_FUNCTIONS.items():
            context.register_udtf(udtf(self._table_function(name, mode, arguments), name))
        for name, make in JOURNAL_FUNCTIONS.items():
            context.register_udtf(udtf(self._journal_function(name, *make), name))
        return context

    # --- planning ------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self, catalog: Catalog) -> Iterator[Snapshot]:
        """Open the snapshot that one statement reads."""
        committed = catalog.transactions.current() is None
        with catalog.read() as reader:
            yield Snapshot(catalog, reader, committed=committed)

    def plan(
        self,
        text: str,
        params: Mapping[str, Any],
        snapshot: Snapshot,
        *,
        read_only: bool = False,
        names: Collection[str] | None = None,
        narrow: bool = False,
    ) -> DataFrame:
        """Plan one query, or any statement that DataFusion runs by itself.

        ``read_only`` refuses whatever is no query, should it look like one. ``names`` are the
        identifiers in the text, if they are known already. ``narrow`` plans for one partition.

        Raises:
            SqlError: It does not parse or plan.
            TableNotFoundError: It names a table that the tenant does not see.
        """
        values = arrow_params(params)
        snapshot.parameters = values
        with self._lock, self._planning(snapshot):
            self._prepare_names(parse_statement(text).names() if names is None else names, snapshot)
            options = QUERIES_ONLY if read_only else None
            return self._sql(text, values, options, self._narrow if narrow else self.context)

    def set(self, text: str) -> None:
        """Run a SET or RESET."""
        with self._lock, engine_errors(None, SqlError):
            for context in (self._narrow, self.context):
                context.sql(text)

    def plan_insert(
        self, text: str, snapshot: Snapshot, params: Mapping[str, Any] | None = None
    ) -> DataFrame:
        """Plan an INSERT and return the query for its rows, in the table's columns and types."""
        frame = self.plan(*numbered(text, params or {}), snapshot=snapshot)
        rows = frame.logical_plan().inputs()[0]
        return self.context.create_dataframe_from_logical_plan(rows)

    def plan_create(
        self, text: str, snapshot: Snapshot, params: Mapping[str, Any] | None = None
    ) -> DataFrame:
        """Plan a CREATE TABLE and return the query for its rows, without creating anything.

        DataFusion runs a CREATE as soon as it is planned, but only plans what EXPLAIN is asked of.
        """
        frame = self.plan(f"EXPLAIN {text}", params or {}, snapshot)
        create = frame.logical_plan().inputs()[0].to_variant()
        return self.context.create_dataframe_from_logical_plan(LogicalPlan(create.input()[0]))

    def column_type(self, catalog: Catalog, column: str, sql_type: str) -> pa.Field:
        """Return a column of the Arrow type that DataFusion gives ``sql_type``."""
        with self.snapshot(catalog) as snapshot:
            create = f'CREATE TABLE "{DML_SCHEMA}".typed (c {sql_type})'  # no table of a user's
            frame = self.plan_create(create, snapshot)
            return pa.field(column, frame.schema().field(0).type)

    def check_external(self, create: str, location: str, snapshot: Snapshot) -> None:
        """Raise unless a CREATE EXTERNAL TABLE reads files at ``location`` that can be read."""
        planned = self.plan(f"EXPLAIN {create}", {}, snapshot).logical_plan().inputs()[0]
        found = str(planned.to_variant().location())
        if found != location:
            raise SqlError(f"the statement names {location!r} and would read {found!r}")
        with self._lock, self._planning(snapshot):
            self.capture(create)

    def _sql(
        self,
        text: str,
        values: Mapping[str, Any],
        options: SQLOptions | None = None,
        context: SessionContext | None = None,
    ) -> DataFrame:
        chosen = context or self.context
        return chosen.sql(text, options, param_values=dict(values) or None)

    @contextmanager
    def _planning(self, snapshot: Snapshot) -> Iterator[None]:
        outer, self.provider.snapshot = self.provider.snapshot, snapshot
        try:
            with engine_errors(snapshot, SqlError):
                yield
        finally:
            self.provider.snapshot = outer

    def _prepare_names(self, names: Collection[str], snapshot: Snapshot, depth: int = 0) -> None:
        """Plan the views among ``names``: a provider cannot plan while DataFusion plans."""
        if depth > VIEW_DEPTH_MAX:
            msg = f"views are nested more than {VIEW_DEPTH_MAX} deep"
            raise SqlError(msg)
        for key, table in self.sources.items():
            if key[1] in names:
                snapshot.prepared.setdefault(key, table)
        for info in snapshot.prepare(names):
            key = (info.schema, info.name)
            if key not in snapshot.prepared:
                snapshot.prepared[key] = None  # a view that names itself finds nothing
                snapshot.prepared[key] = self._prepare(info, snapshot, depth)

    def _prepare(self, info: TableInfo, snapshot: Snapshot, depth: int) -> Any:  # noqa: ANN401 - DataFusion's
        definition = info.definition
        assert isinstance(definition, SqlDefinition)
        if info.kind == "view":
            self._prepare_names(parse_statement(definition.sql).names(), snapshot, depth + 1)
            return self._sql(definition.sql, {}).into_view()
        return self.capture(definition.sql)

    def capture(self, create: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Run a CREATE EXTERNAL TABLE and return the table instead of registering it."""
        made: list[Any] = []
        self.provider.on_register = lambda _name, table: made.append(table)
        try:
            self.context.sql(create)
        finally:
            self.provider.on_register = None
        if not made:
            msg = f"the statement made no table: {create}"
            raise SqlError(msg)
        return made[0]

    # --- running -------------------------------------------------------------------------------

    def result(self, plan: Callable[[], DataFrame], snapshot: Snapshot, stack: ExitStack) -> Result:
        """Return the rows of a plan; ``stack`` holds the snapshot until they are read."""
        frame = plan()
        if not snapshot.scans:
            stack.close()
        batches = self._run(frame, plan, snapshot)
        return Result(lambda: self._schema_of(frame), batches, close=stack.close)

    def collect(self, plan: Callable[[], DataFrame], snapshot: Snapshot) -> pa.Table:
        """Return every row of a plan."""
        frame = plan()
        batches = list(self._run(frame, plan, snapshot))
        schema = batches[0].schema if len(batches) == 1 else self._schema_of(frame)
        return table_of(batches, schema)

    def collect_listing(self, plan: Callable[[], DataFrame], snapshot: Snapshot) -> pa.Table:
        """Return every row of a plan that reads ``information_schema``.

        DataFusion lists the catalog when the plan runs, so the snapshot stays in place until then.
        """
        with self._lock, self._planning(snapshot):
            return self.collect(plan, snapshot)

    def _schema_of(self, frame: DataFrame) -> pa.Schema:
        """Return the columns as they will come: DataFusion's own answer is from before coercion."""
        optimized = frame.optimized_logical_plan()
        return self.context.create_dataframe_from_logical_plan(optimized).schema()

    def _run(
        self, frame: DataFrame, plan: Callable[[], DataFrame], snapshot: Snapshot
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of ``frame``, whose plan runs with the first one.

        datafusion-python joins the filters that it hands to a table with Python's ``&``, which
        fails where one of them is a constant: then the tables are read whole, and planned again.

        Raises:
            ExecutionError: DataFusion failed; what a provider or hook raised is raised as it was.
        """
        snapshot.run_here()
        with engine_errors(snapshot, ExecutionError):
            try:
                stream = frame.execute_stream()
            except Exception as error:
                if _CONSTANT_FILTER not in str(error) or not snapshot.scans:
                    raise
                snapshot.read_whole()
                stream = plan().execute_stream()
            for batch in stream:
                yield batch.to_pyarrow()

    # --- table functions -----------------------------------------------------------------------

    def _table_function(
        self, name: str, mode: str, arguments: tuple[str, ...]
    ) -> Callable[..., Table]:
        def make(*given: Any) -> Table:  # noqa: ANN401 - DataFusion's expressions
            snapshot = self.provider.snapshot
            assert snapshot is not None
            try:
                return self._search_table(snapshot, name, mode, arguments, given)
            except Exception as error:
                snapshot.fail(error)
                raise

        return make

    def _journal_function(
        self,
        name: str,
        arguments: tuple[str, ...],
        make: Callable[[Snapshot, dict[str, Any]], Table],
    ) -> Callable[..., Table]:
        def table(*given: Any) -> Table:  # noqa: ANN401 - DataFusion's expressions
            snapshot = self.provider.snapshot
            assert snapshot is not None
            try:
                if len(given) != len(arguments):
                    msg = f"{name} takes ({', '.join(arguments)}), got {len(given)} arguments"
                    raise InvalidQueryError(msg)
                values = {
                    label: _argument(name, label, expression, snapshot.parameters)
                    for label, expression in zip(arguments, given, strict=True)
                }
                return make(snapshot, values)
            except Exception as error:
                snapshot.fail(error)
                raise

        return table

    def _search_table(
        self,
        snapshot: Snapshot,
        name: str,
        mode: str,
        arguments: tuple[str, ...],
        given: tuple[Any, ...],
    ) -> Table:
        if len(given) not in {len(arguments), len(arguments) + 1}:
            msg = f"{name} takes ({', '.join(arguments)} [, options]), got {len(given)} arguments"
            raise InvalidQueryError(msg)
        labels = [*arguments, "options"]
        values = {
            label: _argument(name, label, expression, snapshot.parameters)
            for label, expression in zip(labels, given, strict=False)
        }
        table = values.pop("table")
        if not isinstance(table, str):
            msg = f"{name}: table must be a name in quotes, got {table!r}"
            raise InvalidQueryError(msg)
        schema, _, plain = table.rpartition(".")
        info = snapshot.catalog.get(snapshot.reader, plain, schema or MAIN_SCHEMA)
        require_vector(info)
        options = parse_options(values.pop("options")) if "options" in values else {}
        version = options.pop("version", None)
        info, dataset = dataset_of(snapshot.catalog, snapshot.reader, info, version)
        snapshot.note_read(info, dataset.version)
        text = values.pop("text", None)
        query = text if mode == "text" else values.pop("query")
        request = build_request(
            snapshot.catalog.identity, info, dataset, self._models, query, values.pop("k"),
            mode=mode, text=text, encode=False,
            journal_seq=snapshot.catalog.ledger.last_seq(snapshot.reader), **options,
        )  # fmt: skip
        return Table(SearchDataset(request, self._searcher, snapshot))


def _as_of(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    schema, name = _table_name("as_of", given["table"])
    return snapshot.past_table(snapshot.past(parse_moment(given["moment"])).table(name, schema))


def _changes(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    schema, name = _table_name("changes", given["table"])
    newest = snapshot.catalog.ledger.last_seq(snapshot.reader) or 0
    first = _entry("from_seq", given["from_seq"])
    last = newest if given["to_seq"] is None else min(_entry("to_seq", given["to_seq"]), newest)
    if first > newest:
        msg = f"changes: entry {first} has not happened: the newest is {newest}"
        raise InvalidQueryError(msg)
    table = snapshot.past(Moment(seq=last)).table(name, schema)
    return snapshot.scanned(ChangesDataset(snapshot, table, first, last))


def _entry(label: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"changes: {label} must be an entry's number, got {value!r}"
        raise InvalidQueryError(msg)
    return value


def _history(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    _, name = _table_name("history", given["table"])
    return snapshot.scanned(JournalDataset(snapshot, entity_type=name))


JOURNAL_FUNCTIONS: Final = {
    "as_of": (("table", "moment"), _as_of),
    "changes": (("table", "from_seq", "to_seq"), _changes),
    "history": (("table",), _history),
}
"""The table functions over the journal: their arguments, and what makes the table."""


def _table_name(function: str, given: object) -> tuple[str, str]:
    if not isinstance(given, str):
        msg = f"{function}: table must be a name in quotes, got {given!r}"
        raise InvalidQueryError(msg)
    schema, _, plain = given.rpartition(".")
    return schema or MAIN_SCHEMA, plain


def require_vector(info: TableInfo) -> None:
    """Raise InvalidQueryError unless ``info`` can be searched."""
    if info.kind != "vector":
        msg = f"table {info.name!r} is a {info.kind} table: only vector tables can be searched"
        raise InvalidQueryError(msg)


def _argument(function: str, label: str, expression: Any, params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any value
    kind = expression.variant_name()
    if kind == "Placeholder":
        name = str(expression).removeprefix("Expr($").removesuffix(")")
        if name not in params:
            msg = f"{function}: no value was given for ${name}"
            raise InvalidQueryError(msg)
        return params[name].as_py()
    try:
        return expression.python_value().as_py()
    except (TypeError, ValueError) as error:
        msg = (
            f"{function}: {label} must be a literal or a $parameter, got {str(expression)!r}; a "
            "name needs quotes, and columns of other tables cannot be passed"
        )
        raise InvalidQueryError(msg) from error


@contextmanager
def engine_errors(snapshot: Snapshot | None, kind: type[AffidavitError]) -> Iterator[None]:
    """Turn what DataFusion raises into this tree.

    DataFusion passes a provider's error on as text; the snapshot kept the error itself.
    """
    try:
        yield
    except AffidavitError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        failure = None if snapshot is None else snapshot.failure
        if isinstance(failure, AffidavitError):
            raise failure from None
        text = _PREFIXES.sub("", str(error))
        missing = _MISSING.search(text)
        if missing is not None and snapshot is not None and snapshot.missing:
            known = [info.name for info in snapshot.catalog.tables(snapshot.reader)]
            raise TableNotFoundError(snapshot.missing[-1], known=known) from error
        field = _NO_FIELD.search(text)
        if field is not None and snapshot is not None and field[1] in snapshot.refused:
            told = snapshot.refused[field[1]]
            raise kind(f"column {field[1]!r} cannot be read: its type is {told} there") from error
        raise kind(text.strip() or type(error).__name__) from (failure or error)


def arrow_params(params: Mapping[str, Any]) -> dict[str, pa.Scalar]:
    """Return parameters as Arrow scalars: vectors as lists, big numbers as what holds them.

    Raises:
        InvalidQueryError: A value has no Arrow type.
    """
    return {name.removeprefix("$"): _scalar(name, value) for name, value in params.items()}


def numbered(text: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return ``text`` with ``$1``, ``$2``... for its named parameters, and the parameters so.

    DataFusion reads no other placeholder among an INSERT's VALUES.
    """
    names = list(dict.fromkeys(t.text[1:] for t in tokenize(text) if t.kind == "placeholder"))
    taken = {int(name) for name in names if name.isdigit()}
    free = (number for number in count(1) if number not in taken)
    renamed = {name: name if name.isdigit() else str(next(free)) for name in names}
    pieces, at = [], 0
    for token in tokenize(text):
        if token.kind == "placeholder":
            pieces += [text[at : token.start], f"${renamed[token.text[1:]]}"]
            at = token.end
    given = {name.removeprefix("$"): value for name, value in params.items()}
    return "".join([*pieces, text[at:]]), {renamed.get(n, n): v for n, v in given.items()}


def _scalar(name: str, value: Any) -> pa.Scalar:  # noqa: ANN401 - whatever callers pass
    if isinstance(value, pa.Scalar):
        return value
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_pylist()
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1:
        value = list(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        value = pa.scalar(value, pa.uint64()) if value < 2**64 else value
        if isinstance(value, pa.Scalar):
            return value
    try:
        return pa.scalar(value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        msg = f"parameter ${name} cannot be passed: {type(value).__name__}: {error}"
        raise InvalidQueryError(msg) from error
