"""Rows that a handle gives, released as those of a statement are: on record, where they are to be.

A row is named in a record as the journal, or a search's record, names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.journal.events import entity_ids
from affidavit.catalog.journal.policies import policies_told
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.model.policy import READS, ROWS, at_least, stricter
from affidavit.catalog.model.release import Facts, Reading, TableRead
from affidavit.catalog.store.protocol import ROWID
from affidavit.errors import InvalidQueryError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.model.release import Ending
    from affidavit.catalog.store.protocol import Reader


@dataclass(frozen=True, slots=True)
class Door:
    """What a handle is asked, as a statement would be.

    Attributes:
        identity: Who asks.
        kind: The door, such as ``to_arrow``.
        text: The call, without its values.
        started_at_us: When it was asked, in microseconds since the epoch.
        tables: What it reads, by name.
    """

    identity: Identity
    kind: str
    text: str
    started_at_us: int
    tables: dict[str, TableRead] = field(default_factory=dict)

    def tell_once(self) -> bool:
        """Leave it to who made the call to tell of its failure."""
        return True

    @property
    def statement(self) -> str:
        """The same."""
        return self.text


def wants_rows(catalog: Catalog, info: TableInfo) -> bool:
    """Return whether the rows that are given of a table are to be on record."""
    return stricter(catalog.floor, info.audit) == ROWS


def is_recorded(catalog: Catalog, info: TableInfo) -> bool:
    """Return whether reads of a table are on record."""
    return at_least(stricter(catalog.floor, info.audit), READS)


def key_of(info: TableInfo) -> tuple[str, ...]:
    """Return the columns by which a table's rows are named."""
    definition = info.definition
    if isinstance(definition, VectorDefinition):
        return (definition.key,)
    assert isinstance(definition, MutableDefinition)
    return definition.primary_key or (ROWID,)


def names_of(info: TableInfo) -> Callable[[pa.Table], Sequence[str | None]]:
    """Return what names a table's rows by the columns of their key."""
    definition = info.definition
    if isinstance(definition, MutableDefinition):
        return partial(_mutable_names, definition)
    return _vector_names


def _mutable_names(definition: MutableDefinition, rows: pa.Table) -> list[str | None]:
    rowids = () if definition.primary_key else rows[ROWID].to_pylist()
    return [*entity_ids(definition, rows, rowids)]


def _vector_names(rows: pa.Table) -> list[str | None]:
    return [None if each is None else str(each) for each in rows.column(0).to_pylist()]


def given(
    catalog: Catalog,
    reader: Reader,
    info: TableInfo,
    door: str,
    read: Callable[[Sequence[str]], pa.Table],
    columns: Sequence[str],
    dataset: lance.LanceDataset | None = None,
) -> pa.Table:
    """Return rows of a table that a handle gives, once they are on record.

    Args:
        catalog: Who asks.
        reader: The snapshot that is read.
        info: The table.
        door: The handle's method.
        read: Returns the rows with the columns that it is given.
        columns: The columns that the caller gets.
        dataset: The version of a vector table that is read.
    """
    shown = f"{info.schema}.{info.name}"
    told = TableRead(
        shown, info.table_id, info.version if dataset is None else int(dataset.version),
        level=info.audit, columns=columns, dataset=dataset,
    )  # fmt: skip
    if not wants_rows(catalog, info):
        return released(catalog, reader, told, door, lambda: read(columns))
    told.want_rows(key_of(info), names_of(info))
    told.are_at(())

    def noted() -> pa.Table:
        rows = read([*columns, *(name for name in told.key if name not in columns)])
        told.give(rows.select(list(told.key)))
        return rows.select(list(columns))

    return released(catalog, reader, told, door, noted)


def released(
    catalog: Catalog, reader: Reader, told: TableRead, door: str, read: Callable[[], pa.Table]
) -> pa.Table:
    """Return rows that a handle reads of one table, once they are on record."""
    asked = Door(catalog.identity, door, f"{told.name}.{door}()", clock.now_us())
    reading = Reading(asked, catalog.transactions)
    reading.note(told)
    level = catalog.level_of(reading)
    if not at_least(level, READS):
        return read()
    last = catalog.ledger.last_seq(reader)
    rows = read()
    reading.describe(Facts(None, last, lambda: rows.schema, level))
    return pa.Table.from_batches(catalog.release(reading, iter(rows.to_batches())), rows.schema)


def announced(catalog: Catalog, reader: Reader, told: TableRead, door: str) -> Ending | None:
    """Put on record that rows are about to leave, and return what is told of their end."""
    asked = Door(catalog.identity, door, f"{told.name}.{door}()", clock.now_us())
    reading = Reading(asked, catalog.transactions)
    reading.note(told)
    level = catalog.level_of(reading)
    reading.describe(Facts(None, catalog.ledger.last_seq(reader), None, level))
    return None if catalog.gate is None else catalog.gate.announce(reading)


def strictest(catalog: Catalog, reader: Reader) -> str | None:
    """Return the strictest policy of a table of the tenant's: what tells of all of them has it.

    Those that were dropped count: what they held is told as well.
    """
    levels = levels_of(catalog, reader)
    if levels is None:
        return ROWS
    had = {*levels.values()} - {None}
    return stricter(*had) if had else None


def levels_of(catalog: Catalog, reader: Reader) -> dict[str, str | None] | None:
    """Return the policy of each table of the tenant's that is or was, by its identity.

    ``None`` where what they were cannot be read: then they are as strict as they could be.
    """
    try:
        levels = policies_told(catalog.journal, reader)
    except LedgerCorruptError:
        return None
    levels.update((info.table_id, info.audit) for info in catalog.tables(reader))
    return levels


def refuse_unseen(catalog: Catalog, info: TableInfo, door: str) -> None:
    """Raise InvalidQueryError if rows would leave by a door that keeps no record of them."""
    if is_recorded(catalog, info):
        level = stricter(catalog.floor, info.audit)
        msg = (
            f"{door} of {info.name!r} would give rows that are not on record, as its policy "
            f"{level!r} wants: read it with to_arrow() or in SQL"
        )
        raise InvalidQueryError(msg)
