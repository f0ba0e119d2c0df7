"""Searches that a session's method asks, resolved and run at one snapshot."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.past.past import dataset_of
from affidavit.catalog.sql.binding import with_values
from affidavit.catalog.values.python.arguments import checked_text
from affidavit.engine.plan.searched.rows import rows_query
from affidavit.engine.scans.functions import refuse_elsewhere, require_vector
from affidavit.engine.search.options import BATCH_QUERIES_MAX, options_of
from affidavit.engine.search.request import build_request, filter_errors
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


def asked_options(given: Mapping[str, object], params: Params | None) -> SearchOptions:
    """Return a search's options, its condition with the values of its parameters.

    Raises:
        InvalidQueryError: An option cannot have its value, or ``params`` are not what ``where``
            names.
    """
    if params is not None:
        where = checked_text(given.get("where"), "where")
        given = {**given, "where": with_values(where, named_parameters(params, {}))}
    return options_of(given)


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
    table: str,
    queries: Sequence[Query | None],
    k: int,
    options: SearchOptions,
) -> list[CompletedSearch]:
    """Run a search for each of ``queries``, all of one version of ``table``.

    What they return may be released. The rows that a condition leaves are found once no hook has
    refused, and nothing is read any more while the searches are put on record.

    Raises:
        TableNotFoundError: There is no such table.
        InvalidQueryError: It cannot be searched here, or k, a query or an option cannot be used.
    """
    refuse_elsewhere(table, planner.attached)
    check_batch(queries)
    with ExitStack() as reading:
        snapshot = reading.enter_context(planner.snapshot(catalog))
        requests = _requests(snapshot, models, table, queries, k, options)
        if not requests or requests[0].among is None:
            reading.close()
        else:
            _choose(planner, snapshot, requests[0], reading)
        return searcher.run_batch(requests) if requests else []


def _requests(
    snapshot: Snapshot,
    models: Models,
    table: str,
    queries: Sequence[Query | None],
    k: int,
    options: SearchOptions,
) -> list[SearchRequest]:
    catalog, reader = snapshot.catalog, snapshot.reader
    info = catalog.get(reader, table)
    require_vector(info)
    seen = catalog.ledger.last_seq(reader)
    info, dataset = dataset_of(catalog, reader, info, options.version)
    requests = [
        build_request(catalog, info, dataset, models, query, k, options, journal_seq=seen)
        for query in queries
    ]
    among = requests[0].among if requests else None
    return [replace(each, among=among) for each in requests]


def _choose(
    planner: Planner, snapshot: Snapshot, request: SearchRequest, reading: ExitStack
) -> None:
    """Plan the query for the rows that a condition leaves; it runs, and is on record, as any."""
    assert request.among is not None
    with filter_errors(request.info.name, request.where):
        batches = planner.stream(rows_query(request, snapshot, planner, {}), snapshot)

    def find() -> pa.ChunkedArray:
        with reading:
            found = snapshot.catalog.lake.memory.gathered(batches)
            return pa.chunked_array([each.column(0) for each in found], pa.uint64())

    request.among.find_by(find)
