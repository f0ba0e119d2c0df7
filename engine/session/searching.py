"""Searches that a session's method asks, resolved at one snapshot."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from affidavit.catalog.past.past import dataset_of
from affidavit.catalog.sql.binding import with_values
from affidavit.catalog.values.python.arguments import checked_text
from affidavit.engine.plan.searched.rows import rows_query
from affidavit.engine.scans.functions import refuse_elsewhere, require_vector
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.engine.search.options import BATCH_QUERIES_MAX, options_of
from affidavit.engine.search.request import build_request, filter_errors
from affidavit.engine.session.arguments import named_parameters
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.options import SearchOptions
    from affidavit.engine.search.request import Query, SearchRequest
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


def requests_of(
    catalog: Catalog,
    planner: Planner,
    models: Models,
    table: str,
    queries: Sequence[Query | None],
    k: int,
    options: SearchOptions,
) -> list[SearchRequest]:
    """Return a request for each of ``queries``, all of one version of ``table``.

    Raises:
        TableNotFoundError: There is no such table.
        InvalidQueryError: It cannot be searched here, or k, a query or an option cannot be used.
    """
    refuse_elsewhere(table, planner.attached)
    check_batch(queries)
    with catalog.read() as reader:
        info = catalog.get(reader, table)
        require_vector(info)
        seen = catalog.ledger.last_seq(reader)
        info, dataset = dataset_of(catalog, reader, info, options.version)
        requests = [
            build_request(
                catalog.identity, info, dataset, models, query, k, options, journal_seq=seen
            )
            for query in queries
        ]  # fmt: skip
        among = requests[0].among if requests else None
        if among is not None:
            committed = catalog.transactions.current() is None
            with Snapshot(catalog, reader, committed=committed, hide=planner.hide) as at:
                _find_rows(planner, at, requests[0])
    return [replace(each, among=among, transactions=catalog.transactions) for each in requests]


def _find_rows(planner: Planner, snapshot: Snapshot, request: SearchRequest) -> None:
    """Find the rows that a condition leaves, as a query does: what it reads is on record."""
    assert request.among is not None
    with filter_errors(request.info.name, request.where):
        statement = parse_statement(rows_query(request, snapshot))
        plan = partial(planner.plan, statement.text, {}, names=statement.names, read_only=True)
        found = planner.collect(plan, snapshot)
    request.among.find_by(lambda: found.column(0))
