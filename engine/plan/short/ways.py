"""What needs no plan: a row for each form of statement that is read in a way of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affidavit.engine.plan.short.asked import keyed_read
from affidavit.engine.plan.short.found import found_rows
from affidavit.engine.plan.short.keyed import keyed_rows
from affidavit.engine.plan.short.sought import search_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from affidavit.engine.plan.state import PlanState
    from affidavit.engine.scans.functions import TableFunctions
    from affidavit.engine.scans.snapshot import Snapshot


def short_rows(
    text: str,
    params: Mapping[str, Any],
    snapshot: Snapshot,
    state: PlanState,
    functions: TableFunctions,
    done: Callable[[], None],
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]] | None:
    """Return the columns and rows that a statement asks for; ``None`` if it is to be planned.

    Args:
        text: The statement.
        params: Its parameters.
        snapshot: What it reads.
        state: What its session has of its own.
        functions: The table functions that it may call.
        done: Called once nothing more is read of the snapshot.
    """
    keyed = keyed_read(text)
    if keyed is not None and not state.hides(keyed.schema, keyed.table):
        return keyed_rows(keyed, params, snapshot, done)
    sought = search_read(text) if keyed is None and state.is_plain else None
    return None if sought is None else found_rows(sought, params, snapshot, functions, done)
