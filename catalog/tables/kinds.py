"""What is done with a table by its kind: the handle on it, and how it is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import (
    EXTERNAL,
    MUTABLE,
    SEQUENCE,
    VECTOR,
    VIEW,
)
from affidavit.catalog.tables.constraints.sequences import refuse_asked
from affidavit.catalog.tables.mutable import MutableTable, drop_mutable
from affidavit.catalog.tables.vector import VectorTable
from affidavit.catalog.tables.vector_making import drop_vector
from affidavit.errors import TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer

HANDLES: Final[Mapping[str, type[MutableTable | VectorTable]]] = {
    MUTABLE.name: MutableTable,
    VECTOR.name: VectorTable,
}
"""The handle on a table of each kind that has rows here."""


def _nothing(_: Writer) -> None:
    """Do nothing before a table is dropped."""


def drop_table(
    catalog: Catalog, info: TableInfo, before: Callable[[Writer], None] = _nothing
) -> None:
    """Drop a table or view, and its rows; ``before`` is called in the same transaction.

    Raises:
        TableNotFoundError: It was dropped meanwhile.
        TransactionError: It cannot be dropped in a transaction.
        ReadOnlyError: It is another scope's.
    """
    DROPS[info.kind](catalog, info, before)


def _drop_in_store(
    drop: Callable[[Catalog, Writer, TableInfo], None],
) -> Callable[[Catalog, TableInfo, Callable[[Writer], None]], None]:
    def dropped(catalog: Catalog, info: TableInfo, before: Callable[[Writer], None]) -> None:
        with catalog.write() as writer:
            if catalog.by_id(writer, info.table_id) is None:
                raise TableNotFoundError(info.name)
            before(writer)
            drop(catalog, writer, info)

    return dropped


def _drop_text(catalog: Catalog, writer: Writer, info: TableInfo) -> None:
    catalog.forget(writer, info)
    catalog.announce(writer, catalog.change(info, "drop"))


def _drop_sequence(catalog: Catalog, writer: Writer, info: TableInfo) -> None:
    refuse_asked(catalog, writer, info)
    _drop_text(catalog, writer, info)


DROPS: Final[Mapping[str, Callable[[Catalog, TableInfo, Callable[[Writer], None]], None]]] = {
    MUTABLE.name: _drop_in_store(drop_mutable),
    VECTOR.name: drop_vector,
    VIEW.name: _drop_in_store(_drop_text),
    EXTERNAL.name: _drop_in_store(_drop_text),
    SEQUENCE.name: _drop_in_store(_drop_sequence),
}
"""How a table of each kind is dropped."""
