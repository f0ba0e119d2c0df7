"""The table functions: searches, and the journal's as_of, changes and history.

A function's callback runs when a statement is planned, and has no effect: what it returns is read,
and a search recorded, when the plan runs.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import udtf
from datafusion.catalog import Table

from affidavit.catalog.journal.policies import policies_told
from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.model.moment import Moment, parse_moment
from affidavit.catalog.model.release import TableRead
from affidavit.catalog.past.past import dataset_of
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.predicate import columns_of
from affidavit.catalog.sql.scan import ScanDataset
from affidavit.catalog.store.forks import apart
from affidavit.catalog.tables.reading import strictest
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.engine.scans.calls.arguments import UNBOUND, asked_options, value_of, values_of
from affidavit.engine.scans.calls.passed import passed_query
from affidavit.engine.scans.journal import JournalDataset
from affidavit.engine.scans.past import ChangesDataset, past_at, past_table
from affidavit.engine.search.options import IN_SQL, options_of
from affidavit.engine.search.request import FailedSearch, build_request
from affidavit.engine.search.searcher import released
from affidavit.engine.statement.reading.functions import (
    SEARCHES,
    SOURCE_QUERY,
    TABLE_FUNCTIONS,
)
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from datafusion import SessionContext
    from lance import LanceDataset

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.calls.embedding import Embedding
    from affidavit.engine.scans.lake import LakeCatalog
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.scans.sources import Source
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.request import SearchRequest
    from affidavit.engine.search.searcher import Searcher

_Make: TypeAlias = "Callable[[Snapshot, dict[str, Any]], Table]"
"""Returns the table that a function's arguments mean."""

_NO_SEARCH: Final = (
    "a search leaves a record in the lake that it reads, so it is asked of a session on that lake"
)


class TableFunctions:
    """The table functions of one planner's statements.

    Args:
        provider: Knows the statement that is planned.
        searcher: Runs searches; ``None`` where none may be asked.
        models: What encodes text.
        attached: The sources by their names; their tables are not searched here.
        embedding: Knows what a query that is a call of embed() asks for.
    """

    def __init__(
        self,
        provider: LakeCatalog,
        searcher: Searcher | None,
        models: Models,
        attached: Mapping[str, Source],
        embedding: Embedding,
    ) -> None:
        self._embedding = embedding
        self._provider = provider
        self._searcher = searcher
        self._models = models
        self._attached = attached

    def register(self, context: SessionContext) -> None:
        """Let statements of ``context`` call them."""
        for name in SEARCHES:
            context.register_udtf(udtf(self._search_function(name), name))
        passed: _Make = partial(passed_query, self._attached)
        for name, make in {**_MADE, SOURCE_QUERY: passed}.items():
            context.register_udtf(udtf(self._table_function(name, make), name))

    def _search_function(self, name: str) -> Callable[..., Table]:
        def make(*given: Any) -> Table:  # noqa: ANN401 - DataFusion's expressions
            snapshot = self._provider.planning.snapshot
            assert snapshot is not None
            try:
                return self._search_table(snapshot, name, given)
            except Exception as error:
                snapshot.fail(error)
                raise

        return make

    def _table_function(self, name: str, make: _Make) -> Callable[..., Table]:
        arguments = TABLE_FUNCTIONS[name]

        def table(*given: Any) -> Table:  # noqa: ANN401 - DataFusion's expressions
            snapshot = self._provider.planning.snapshot
            assert snapshot is not None
            try:
                values = values_of(name, arguments, (), given, snapshot)
                missing = [label for label in arguments if label not in values]
                if missing and not (missing == ["moment"] and "version" in values):
                    msg = f"{name} takes ({', '.join(arguments)}), and {missing[0]} is not given"
                    raise InvalidQueryError(msg)
                return make(snapshot, values)
            except Exception as error:
                snapshot.fail(error)
                raise

        return table

    def _search_table(self, snapshot: Snapshot, name: str, given: tuple[Any, ...]) -> Table:
        arguments = SEARCHES[name]
        values = values_of(name, arguments, ("options", *IN_SQL), given, snapshot, self._value)
        missing = [label for label in arguments if label not in values]
        if missing:
            takes = f"({', '.join(arguments)} [, options])"
            msg = f"{name} takes {takes}, and {missing[0]} is not given"
            raise InvalidQueryError(msg)
        request = self.request(snapshot, name, values)
        assert self._searcher is not None
        return Table(SearchDataset(snapshot.choose(request), self._searcher, snapshot))

    def request(self, snapshot: Snapshot, name: str, values: dict[str, Any]) -> SearchRequest:
        """Return the search that a function's arguments mean, and note what it reads.

        Args:
            snapshot: The statement's.
            name: The function.
            values: Its arguments, of which those that it must have are there; they are taken out.

        Raises:
            AffidavitError: It cannot be searched here, or an argument cannot be used.
        """
        mode = name.removesuffix("_search")
        table = values.pop("table")
        if not isinstance(table, str):
            msg = f"{name}: table must be a name in quotes, got {table!r}"
            raise InvalidQueryError(msg)
        refuse_elsewhere(table, self._attached)
        if self._searcher is None:
            msg = f"a view of an attached lake calls {name}: {_NO_SEARCH}"
            raise InvalidQueryError(msg)
        schema, _, plain = table.rpartition(".")
        info = snapshot.catalog.get(snapshot.reader, plain, schema or MAIN_SCHEMA)
        require_vector(info)
        snapshot.note_present(info)
        text = values.pop("text", None)
        options = options_of({**asked_options(name, values), "mode": mode, "text": text})
        info, dataset = dataset_of(snapshot.catalog, snapshot.reader, info, options.version)
        snapshot.note_read(info, dataset.version)
        query = text if mode == "text" else values.pop("query")
        if query is UNBOUND:
            query = _any_vector(info, dataset, options.column)
        if isinstance(query, _Embedded):
            model, query = query.model, query.text
            if mode == "hybrid" and query not in {text, None}:  # the words are others
                query = self._models.encode(model, [query])[0]
            options = replace(options, model=model)
        return build_request(
            snapshot.catalog, info, dataset, self._models, query, values.pop("k"), options,
            journal_seq=snapshot.catalog.ledger.last_seq(snapshot.reader),
        )  # fmt: skip

    def search_here(self, snapshot: Snapshot, request: SearchRequest) -> SearchDataset | None:
        """Return a search that is read on the thread that asks; ``None`` where hooks are asked."""
        if self._searcher is None or self._searcher.has_hooks:
            return None
        return SearchDataset(request, self._searcher, snapshot, apart=False)

    def _value(self, function: str, label: str, expression: Any, snapshot: Snapshot) -> Any:  # noqa: ANN401 - any value
        """Return an argument's value; a query may be what a model makes of a text."""
        embedded = self._embedding.asked(expression, snapshot) if label == "query" else None
        if embedded is None:
            return value_of(function, label, expression, snapshot)
        return _Embedded(embedded[0], value_of(function, "text", embedded[1], snapshot))


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A query that is embed() of a text: the search asks the model, as it does for any text."""

    model: str
    text: str | None


class SearchDataset(ScanDataset):
    """A search as a table: it runs, with its hooks' ``before``, when the plan that reads it runs.

    It runs once, however many places of the plan read it, as those that name one CTE do:
    DataFusion asks each of them for its columns before any of them runs. What it did is queued
    before the first row is handed on; a gate puts it on record before a row leaves the plan.

    Args:
        request: The search.
        searcher: Runs it.
        snapshot: The statement's.
        apart: Whether the threads that read it are DataFusion's.
    """

    def __init__(
        self,
        request: SearchRequest,
        searcher: Searcher,
        snapshot: Snapshot,
        *,
        apart: bool = True,
    ) -> None:
        super().__init__(request.schema, snapshot.fail)
        self._apart = apart
        self._request = request
        self._searcher = searcher
        self._reading = snapshot.reading
        self._reading.expected.append(request)
        snapshot.ahead.append(self._run_ahead)
        self._needed: set[str] | None = None
        self._found: pa.Table | None = None
        self._searching = threading.Lock()

    def asked(self, columns: list[str], predicate: Predicate | None) -> None:
        """Note the columns that a place of the plan reads."""
        self._needed = (self._needed or set()) | _needed(columns, predicate)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield what the search found, then filtered and projected."""
        needed = {*_needed(columns, predicate), self._request.score_column}
        found = self._once(needed)
        kept = [name for name in found.column_names if name in needed]
        for batch in found.select(kept).to_batches():
            yield keep(predicate, batch).select(columns)

    def _once(self, needed: set[str]) -> pa.Table:
        """Return what the search found, by running it unless it ran with those columns before."""
        with self._searching:
            if self._found is None or not needed <= {*self._found.column_names}:
                self._found = self._search()
            return self._found

    def _run_ahead(self) -> None:
        """Search on the caller's thread, unless no place of the plan asked for it."""
        if self._needed is not None:
            self._once(self._needed)

    def _search(self) -> pa.Table:
        self._reading.begin()
        needed = self._needed or ()
        select = tuple(name for name in self._request.select if name in needed)
        request = replace(self._request, select=select)
        search = partial(self._searcher.attempt, request)
        done = apart(search) if self._apart else search()  # it calls hooks, and a model
        self._reading.queue(done)
        if isinstance(done, FailedSearch):
            raise done.error
        return released(done)


def _needed(columns: Collection[str], predicate: Predicate | None) -> set[str]:
    return {*columns, *(columns_of(predicate) if predicate is not None else ())}


def refuse_elsewhere(table: object, attached: Collection[str]) -> None:
    """Raise InvalidQueryError if a search is to be in an attached source."""
    if isinstance(table, str) and table.partition(".")[0] in attached and "." in table:
        msg = f"{table!r} is of an attached source: {_NO_SEARCH}"
        raise InvalidQueryError(msg)


def _as_of(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    schema, name = _table_name("as_of", given["table"])
    moment = _moment(snapshot, schema, name, given)
    table = past_at(snapshot, moment).table(name, schema)
    return past_table(snapshot, table, schema, ("", f"as_of {given}"))


def _moment(snapshot: Snapshot, schema: str, name: str, given: Mapping[str, Any]) -> Moment:
    """Return the moment that is meant: a version is a vector table's, and else an entry."""
    version = given.get("version")
    if version is None:
        return parse_moment(given["moment"])
    info = snapshot.catalog.find(snapshot.reader, name, schema)
    has_versions = info is not None and isinstance(info.definition, VectorDefinition)
    is_number = isinstance(version, int) and not isinstance(version, bool)
    return parse_moment(f"v{version}" if has_versions and is_number else version)


def _changes(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    schema, name = _table_name("changes", given["table"])
    newest = snapshot.catalog.ledger.last_seq(snapshot.reader) or 0
    first = _entry("from_seq", given["from_seq"])
    last = newest if given["to_seq"] is None else min(_entry("to_seq", given["to_seq"]), newest)
    if first > newest:
        msg = f"changes: entry {first} has not happened: the newest is {newest}"
        raise InvalidQueryError(msg)
    table = past_at(snapshot, Moment(seq=last)).table(name, schema)
    told = snapshot.note_past(table, schema, f"changes {given}")
    changes = ChangesDataset(snapshot, table, (first, last), told)
    return snapshot.scan(("", f"changes {given}"), changes)


def _entry(label: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"changes: {label} must be an entry's number, got {value!r}"
        raise InvalidQueryError(msg)
    return value


def _history(snapshot: Snapshot, given: dict[str, Any]) -> Table:
    schema, name = _table_name("history", given["table"])
    catalog, reader = snapshot.catalog, snapshot.reader
    info = catalog.find(reader, name, schema)
    told = TableRead(f"{schema}.{name}") if info is None else snapshot.note_read(info, info.version)
    # events are told by a name, which others have had, or have had since
    had = policies_told(catalog.journal, reader, pc.field("entity_type") == name)
    told.hold_to(strictest(catalog, reader), *had.values())
    noted = snapshot.reading.note(told)
    events = JournalDataset(snapshot, entity_type=name, told=noted)
    return snapshot.scan(("", f"history {given}"), events)


_MADE: Final[Mapping[str, _Make]] = {"as_of": _as_of, "changes": _changes, "history": _history}


def _table_name(function: str, given: object) -> tuple[str, str]:
    if not isinstance(given, str):
        msg = f"{function}: table must be a name in quotes, got {given!r}"
        raise InvalidQueryError(msg)
    schema, _, plain = given.rpartition(".")
    return schema or MAIN_SCHEMA, plain


def require_vector(info: TableInfo) -> None:
    """Raise InvalidQueryError unless ``info`` can be searched."""
    if not isinstance(info.definition, VectorDefinition):
        msg = f"table {info.name!r} is a {info.kind} table: only vector tables can be searched"
        raise InvalidQueryError(msg)


def _any_vector(
    info: TableInfo, dataset: LanceDataset, columns: Sequence[str] | None
) -> list[float]:
    """Return a vector that could be searched for, where the statement is only described."""
    named = [*(columns or ()), vector_definition(info).vector]
    kinds = [dataset.schema.field(name).type for name in named if name in dataset.schema.names]
    sizes = [kind.list_size for kind in kinds if hasattr(kind, "list_size")]
    return [1.0] * (sizes[0] if sizes else 1)  # build_request says what is wrong with others
