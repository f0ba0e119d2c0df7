"""The row of a key that an UPDATE or DELETE is about, read without a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.engine.plan.short.asked import keyed_where
from affidavit.engine.plan.short.keyed import predicate_of
from affidavit.engine.run.writing.literals import literal_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.engine.run.target import OpenTarget
    from affidavit.engine.statement.clauses import Delete, Update


def keyed_row(
    clauses: Update | Delete, sets: Mapping[str, str], names: Mapping[str, str], opened: OpenTarget
) -> pa.Table | None:
    """Return the row with its identity, and what is set beside it; ``None`` if that is planned.

    Args:
        clauses: What the statement says.
        sets: What it sets each column to.
        names: What the new values of each are called.
        opened: The target.
    """
    if not opened.asked.scope.planner.state.is_generic:
        return None
    key, stored = keyed_where(clauses.rest), opened.stored
    if key is None or stored is None or clauses.prefix or clauses.source or clauses.returning:
        return None
    params = opened.asked.params
    predicate = predicate_of(key, params, opened.info)
    values = {
        name: literal_value(sets[column], opened.schema.field(column).type, params)
        for column, name in names.items()
    }
    if predicate is None or None in values.values():
        return None
    batches = list(stored.scan(stored.schema.names, predicate))
    rows = pa.Table.from_batches(batches, stored.schema)
    opened.snapshot.query.count(len(rows))
    for name, value in values.items():
        rows = rows.append_column(name, pa.repeat(value, len(rows)))
    return rows
