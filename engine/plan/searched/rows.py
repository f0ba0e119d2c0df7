"""The conditions of searches, planned as queries for the rows that they leave.

A condition is planned after the statement that its search stands in, at the same snapshot, and runs
before it, on the caller's thread: a provider cannot plan while DataFusion plans, and a thread of
DataFusion's that waited for another plan could be the one that this needs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import lance
import pyarrow as pa
from datafusion.catalog import Table

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.runner import LocalRunner, Planned
from affidavit.engine.plan.scanned import note_scans
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.request import filter_errors
from affidavit.engine.statement.statement import DML_SCHEMA, parse_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from datafusion import DataFrame

    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.request import SearchRequest


class Plans(Protocol):
    """Plans a query at a snapshot."""

    def __call__(
        self, text: str, params: Mapping[str, Any], snapshot: Snapshot, *, names: Collection[str]
    ) -> DataFrame:
        """Return its plan."""


def rows_query(request: SearchRequest, snapshot: Snapshot) -> str:
    """Return the query for the rows that a search's condition leaves, and offer it its table."""
    name = f"searched_{len(snapshot.virtual)}"
    provider = lance.FFILanceTableProvider(request.dataset, with_row_id=True, with_row_addr=False)
    snapshot.virtual[name] = Table(provider)
    table = f"{quoted(DML_SCHEMA)}.{quoted(name)} AS {quoted(request.info.name)}"
    return f"SELECT {quoted(ROW_ID)} FROM {table} WHERE ({request.where}\n)"


def plan_rows(snapshot: Snapshot, plan: Plans, params: Mapping[str, Any]) -> None:
    """Plan what the searches of a statement ask by SQL, which was found while it was planned.

    ``params`` are the statement's.

    Raises:
        InvalidQueryError: A condition does not parse or plan.
    """
    while snapshot.choosing:
        request = snapshot.choosing.pop()
        assert request.among is not None
        with filter_errors(request.info.name, request.where):
            statement = parse_statement(rows_query(request, snapshot))
            again = partial(plan, statement.text, params, names=statement.names)
            planned = Planned.at(snapshot, again)
        request.among.find_by(partial(_found, planned))
        snapshot.first.append(request.among.rows)


def _found(planned: Planned) -> pa.ChunkedArray:
    """Run a condition; what it reads of other tables is told with the statement around it."""
    reading = planned.snapshot.reading
    if reading.tables:
        with held():
            note_scans(planned.frame.optimized_logical_plan(), reading)
    batches = LocalRunner().run(planned)
    return pa.chunked_array([batch.column(0) for batch in batches], pa.uint64())
