"""The conditions of searches, planned as queries for the rows that they leave.

A condition is planned after the statement that its search stands in, at the same snapshot, and runs
before it, on the caller's thread: a provider cannot plan while DataFusion plans, and a thread of
DataFusion's that waited for another plan could be the one that this needs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.errors import engine_errors
from affidavit.engine.plan.runner import LocalRunner, Planned
from affidavit.engine.plan.scanned import note_scans
from affidavit.engine.search.among import ROW_ID
from affidavit.engine.search.request import filter_errors
from affidavit.engine.statement.statement import DML_SCHEMA, parse_statement
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from datafusion import DataFrame

    from affidavit.engine.plan.runner import Plan
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.search.request import SearchRequest


class Plans(Protocol):
    """What plans a session's statements."""

    def note_calls(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Note which of the caller's own code a statement calls that has these names."""

    def plan(
        self,
        text: str,
        params: Mapping[str, Any],
        snapshot: Snapshot,
        *,
        names: Collection[str],
        read_only: bool = False,
    ) -> DataFrame:
        """Return a statement's plan."""


def rows_query(
    request: SearchRequest, snapshot: Snapshot, plans: Plans, params: Mapping[str, Any]
) -> Plan:
    """Return what plans the query for the rows that a search's condition leaves.

    The table that it reads is offered to it. What the condition gives to the caller's own code of
    the table's rows is told; who is told of a row by the search alone finds it in its record.
    """
    key = (DML_SCHEMA, f"searched_{len(snapshot.virtual)}")
    name, dataset = quoted(request.info.name), request.dataset
    text = (
        f"SELECT {quoted(ROW_ID)} FROM {'.'.join(map(quoted, key))} AS {name} "
        f"WHERE ({request.where}\n)"
    )
    statement = parse_statement(text)
    plans.note_calls(statement.names, snapshot)
    told = snapshot.note_rows(request.info, request.version) if snapshot.calls else None
    snapshot.virtual[key[1]] = snapshot.lance(key, dataset, told, with_ids=True)

    def plan(at: Snapshot) -> DataFrame:
        return plans.plan(statement.text, params, at, names=statement.names, read_only=True)

    return plan


def plan_rows(snapshot: Snapshot, plans: Plans, params: Mapping[str, Any]) -> None:
    """Plan what the searches of a statement ask by SQL, which was found while it was planned.

    ``params`` are the statement's.

    Raises:
        InvalidQueryError: A condition does not parse or plan.
    """
    while snapshot.choosing:
        request = snapshot.choosing.pop()
        assert request.among is not None
        with filter_errors(request.info.name, request.where):
            planned = Planned.at(snapshot, rows_query(request, snapshot, plans, params))
        request.among.find_by(partial(_found, planned))
        snapshot.first.append(request.among.rows)


def _found(planned: Planned) -> pa.ChunkedArray:
    """Run a condition; what it reads of other tables is told with the statement around it."""
    reading = planned.snapshot.reading
    if reading.tables:
        with engine_errors(planned.snapshot, ExecutionError), held():
            note_scans(planned.frame.optimized_logical_plan(), reading)
    batches = LocalRunner().run(planned)
    return pa.chunked_array([batch.column(0) for batch in batches], pa.uint64())
