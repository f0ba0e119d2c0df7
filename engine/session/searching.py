"""Searches that a session's method asks, resolved and run at one snapshot."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from affidavit.catalog.past.past import dataset_of
from affidavit.catalog.sql.binding import with_values
from affidavit.catalog.values.python.arguments import checked_text
from affidavit.engine.plan.searched.rows import rows_query
from affidavit.engine.scans.functions import refuse_elsewhere, require_vector
from affidavit.engine.search.options import BATCH_QUERIES_MAX, options_of
from affidavit.engine.search.request import asked_anew, build_request, filter_errors
from affidavit.engine.session.arguments import named_parameters
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.options import SearchOptions
    from affidavit.engine.search.request import CompletedSearch, Query, SearchRequest
    from affidavit.engine.search.searcher import Searcher
    from affidavit.engine.session.arguments import Params


class Asked(NamedTuple):
    """What a session's method is asked.

    Attributes:
        table: The table that is searched.
        queries: Vectors and texts that are looked for, a search each.
        k: How many rows each is to find.
        options: The options by name, unchecked.
        params: What the condition among them names.
    """

    table: str
    queries: Sequence[Query | None]
    k: int
    options: Mapping[str, object]
    params: Params | None

    def read(self) -> tuple[SearchOptions, Mapping[str, Any]]:
        """Return the options, the condition with the values of its parameters, and those.

        Raises:
            InvalidQueryError: An option cannot have its value, or ``params`` are not what ``where``
                names.
        """
        if self.params is None:
            return options_of(self.options), {}
        values = named_parameters(self.params, {})
        where = with_values(checked_text(self.options.get("where"), "where"), values)
        return options_of({**self.options, "where": where}), values


def check_batch(queries: Sequence[object]) -> None:
    """Raise InvalidQueryError if they are too many to be asked at once."""
    if len(queries) > BATCH_QUERIES_MAX:
        msg = f"there are {len(queries):,} queries, and {BATCH_QUERIES_MAX:,} are allowed at once"
        raise InvalidQueryError(msg)


def searched(
    catalog: Catalog,
    planner: Planner,
    searcher: Searcher,
    models: Models,
    asked: Asked,
) -> list[CompletedSearch]:
    """Run a search for each query that is asked, all of one version of the table.

    What they return may be released. The rows that a condition leaves are found once no hook has
    refused, and nothing is read any more while the searches are put on record.

    Raises:
        TableNotFoundError: There is no such table.
        InvalidQueryError: It cannot be searched here, or k, a query or an option cannot be used.
    """
    options, values = asked.read()
    refuse_elsewhere(asked.table, planner.attached)
    check_batch(asked.queries)
    with ExitStack() as reading:
        snapshot = reading.enter_context(planner.snapshot(catalog))
        requests = _requests(snapshot, models, asked, options)
        if not requests or requests[0].among is None:
            reading.close()
        else:
            _choose(planner, snapshot, requests[0], values, reading)
        return searcher.run_batch(requests) if requests else []


def _requests(
    snapshot: Snapshot, models: Models, asked: Asked, options: SearchOptions
) -> list[SearchRequest]:
    catalog, reader = snapshot.catalog, snapshot.reader
    info = catalog.get(reader, asked.table)
    require_vector(info)
    seen = catalog.ledger.last_seq(reader)
    info, dataset = dataset_of(catalog, reader, info, options.version)
    if not asked.queries:
        return []
    first = build_request(
        catalog, info, dataset, models, asked.queries[0], asked.k, options, journal_seq=seen
    )
    return [first, *(asked_anew(first, query, options, models) for query in asked.queries[1:])]


def _choose(
    planner: Planner,
    snapshot: Snapshot,
    request: SearchRequest,
    values: Mapping[str, Any],
    reading: ExitStack,
) -> None:
    """Plan the query for the rows that a condition leaves; it runs, and is on record, as any.

    The values of its parameters stand in the condition, and in the record by themselves.
    """
    assert request.among is not None
    with filter_errors(request.info.name, request.where):
        batches = planner.stream(rows_query(request, snapshot, planner, values), snapshot)

    def find() -> pa.ChunkedArray:
        with reading:
            found = snapshot.catalog.lake.memory.gathered(batches)
            return pa.chunked_array([each.column(0) for each in found], pa.uint64())

    request.among.find_by(find)
