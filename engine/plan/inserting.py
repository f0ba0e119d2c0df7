"""The rows of an INSERT, as a query in its target's columns and types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from affidavit.engine.statement.statement import DML_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from datafusion import DataFrame

    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.scans.snapshot import Snapshot

_INTO: Final = f'INSERT INTO "{DML_SCHEMA}"."into"'
_VALUES_WITHIN: Final = re.compile(r"(?<!^)\bVALUES\b", re.IGNORECASE)
"""Perhaps: it may stand in a text, or be a name."""


def plan_insert(
    planner: Planner,
    columns: str,
    query: str,
    params: Mapping[str, Any],
    snapshot: Snapshot,
    *,
    names: Collection[str],
) -> DataFrame:
    """Return the rows that an INSERT has for the table ``into``, which the snapshot gives.

    DataFusion 54.1 takes each VALUES in an INSERT for rows of the target, also one that stands
    within a query: that query is planned by itself.

    Args:
        planner: What plans it.
        columns: The columns that are given, in brackets; empty for all.
        query: What gives them.
        params: The statement's parameters.
        snapshot: What it reads.
        names: The names of tables in it.
    """
    if _VALUES_WITHIN.search(query.strip()) is not None and not _is_values(query):
        given = planner.plan(query, params, snapshot, names=names)
        snapshot.virtual["given"] = given.into_view()
        query, params = f'SELECT * FROM "{DML_SCHEMA}"."given"', {}
    plan = planner.plan(f"{_INTO} {columns} {query}", params, snapshot, names=names).logical_plan()
    return planner.context.create_dataframe_from_logical_plan(plan.inputs()[0])


def _is_values(query: str) -> bool:
    return query.lstrip().upper().startswith("VALUES")
