"""Counts that tell what no event does: how many rows match, of a change that changed nothing.

A statement that changes rows is told by its events. One that matches none, or leaves all that it
matched as they were, leaves none, and its count is an answer all the same: whoever may write could
ask for values by it. So it is a read of its target. So is what a statement gives to its caller's
own code, a function or a model, of its target's rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from affidavit.catalog.model.definition import MUTABLE
from affidavit.catalog.model.policy import READS, at_least
from affidavit.catalog.model.release import Facts, Reading, TableRead
from affidavit.catalog.tables.reading import is_recorded, key_of, names_of, wants_rows
from affidavit.catalog.values.digest import digest
from affidavit.engine.result.outcome import COUNT_SCHEMA
from affidavit.engine.statement.parameters import row_of

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.statement import Statement


class Asked(Protocol):
    """A statement that changes rows, and for whom."""

    @property
    def scope(self) -> Scope:
        """For whom."""

    @property
    def statement(self) -> Statement:
        """What was asked."""

    @property
    def every(self) -> bool:
        """Whether it reads its target."""


class Opened(Protocol):
    """A target that is read, and then written."""

    @property
    def info(self) -> TableInfo:
        """The table."""

    @property
    def catalog(self) -> Catalog:
        """Who writes it."""

    @property
    def unchanged(self) -> list[pa.Table]:
        """Where rows are noted that the statement matched and leaves as they are."""


def tell_calls(asked: Asked, info: TableInfo, snapshot: Snapshot) -> TableRead | None:
    """Return what is told of a target's rows, if the caller's own code is given some of them."""
    snapshot.note_target(info)
    asked.scope.planner.note_calls(asked.statement.names, snapshot)
    if not snapshot.calls or not asked.every:
        return None
    return snapshot.note_rows(info, info.data_version or info.version)


def note_unchanged(opened: Opened, before: pa.Table, after: pa.Table) -> None:
    """Note that a statement leaves all rows that it matched as they are, if anybody wants to know.

    NaN is the same as NaN, as it is for events.
    """
    info = opened.info
    wants = is_recorded(opened.catalog, info)
    if not wants or info.kind != MUTABLE.name or not before.num_rows:
        return
    if before.equals(after) or digest(before) == digest(after):
        opened.unchanged.append(before)


def tell_count(
    snapshot: Snapshot, info: TableInfo, result: Result, unchanged: pa.Table | None
) -> Result:
    """Return what a statement gives once it is on record, if its count is all that tells of it.

    Args:
        snapshot: What it read.
        info: Its target.
        result: What it gives. What RETURNING gives is on record already.
        unchanged: The rows that it matched and left as they were, where it did so with all.

    Raises:
        AffidavitError: It cannot be put on record: there is no count.
    """
    is_told = bool(result.rows_affected) and unchanged is None
    catalog = snapshot.catalog
    if is_told or catalog.gate is None or not result.schema.equals(COUNT_SCHEMA):
        return result
    told = TableRead(
        f"{info.schema}.{info.name}", info.table_id, info.data_version or info.version,
        level=info.audit,
    )  # fmt: skip
    reading = Reading(snapshot.query, catalog.transactions)
    reading.note(told)
    level = catalog.level_of(reading)
    if not at_least(level, READS):
        return result
    key = key_of(info)
    if wants_rows(catalog, info) and (unchanged is None or {*key} <= {*unchanged.schema.names}):
        told.want_rows(key, names_of(info))
        told.are_at(())
        if unchanged is not None:
            told.give(unchanged.select(list(key)))
    with catalog.read() as reader:
        last = catalog.ledger.last_seq(reader)
    reading.describe(Facts(row_of(snapshot.parameters), last, None, level))
    catalog.gate.tell(reading, result.rows_affected or 0)
    return result
