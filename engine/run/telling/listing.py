"""The views, for statements that list the catalog: DataFusion leaves out what has no columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.model.definition import VIEW, SqlDefinition
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    ColumnNotFoundError,
    InvalidQueryError,
    PathNotAllowedError,
    SourceError,
    SqlError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.scans.snapshot import Snapshot

LISTING_WORDS: Final = frozenset({"information_schema", "show"})
"""What a statement that lists the catalog names."""


_UNPLANNED: Final = (
    ColumnNotFoundError, InvalidQueryError, PathNotAllowedError, SourceError, SqlError,
    TableNotFoundError,
)  # fmt: skip
"""What a view says that cannot be planned any more."""


def offer_views(planner: Planner, snapshot: Snapshot) -> None:
    """Let a statement at a snapshot list every table and view that the tenant sees, unread.

    A view that cannot be planned any more is left out.
    """
    for info in snapshot.catalog.tables(snapshot.reader):
        key = (info.schema, info.name)
        snapshot.listed[key] = info
        if info.kind == VIEW.name and key not in snapshot.prepared:
            shape = _shape(planner, snapshot, info)
            if shape is not None:
                snapshot.prepared[key] = shape


def _shape(planner: Planner, snapshot: Snapshot, info: TableInfo) -> Any:  # noqa: ANN401 - DataFusion's
    """Return a view as DataFusion lists it, with its columns; ``None`` if they cannot be told.

    It is planned at a snapshot of its own, so that the statement has not looked up its tables, and
    it is not to be read.
    """
    definition = info.definition
    assert isinstance(definition, SqlDefinition)
    names = parse_statement(definition.sql).names
    with planner.of_lake().snapshot(snapshot.catalog) as apart:
        try:
            return planner.plan(definition.sql, {}, apart, names=names, read_only=True).into_view()
        except _UNPLANNED:
            return None
