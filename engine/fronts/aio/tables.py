"""Handles on tables whose methods are awaited."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from affidavit.catalog.tables.indexing import IVF
from affidavit.catalog.tables.mutable import MutableTable
from affidavit.catalog.tables.vector import VectorTable
from affidavit.engine.fronts.aio.asking import Awaited, awaited

if TYPE_CHECKING:
    import pyarrow as pa

Kind = TypeVar("Kind", MutableTable, VectorTable)


class _AsyncTable(Awaited[Kind]):
    """What both kinds of table have."""

    @property
    def name(self) -> str:
        """What the table is called."""
        return self._of.name

    @property
    def kind(self) -> str:
        """What kind of table it is."""
        return self._of.kind

    async def schema(self) -> pa.Schema:
        """Return the columns."""
        return await self._ask(lambda table: table.schema)

    async def audit(self) -> str | None:
        """Return what reads of the table leave on record: ``reads``, ``rows`` or none."""
        return await self._ask(lambda table: table.audit)

    async def set_audit(self, level: str | None) -> None:
        """Let reads of the table leave that on record, in every session."""
        await self._ask(lambda table: setattr(table, "audit", level))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class AsyncMutableTable(_AsyncTable[MutableTable]):
    """A mutable table by name; :class:`~affidavit.MutableTable`, awaited."""

    count = awaited(MutableTable.count)
    insert = awaited(MutableTable.insert)
    upsert = awaited(MutableTable.upsert)
    update = awaited(MutableTable.update)
    delete = awaited(MutableTable.delete)
    get = awaited(MutableTable.get)
    truncate = awaited(MutableTable.truncate)
    scan_after = awaited(MutableTable.scan_after)
    to_arrow = awaited(MutableTable.to_arrow)

    async def primary_key(self) -> tuple[str, ...]:
        """Return the key columns."""
        return await self._ask(lambda table: table.primary_key)


class AsyncVectorTable(_AsyncTable[VectorTable]):
    """A vector table by name; :class:`~affidavit.VectorTable`, awaited."""

    count = awaited(VectorTable.count)
    insert = awaited(VectorTable.insert)
    upsert = awaited(VectorTable.upsert)
    update = awaited(VectorTable.update)
    delete = awaited(VectorTable.delete)
    get = awaited(VectorTable.get)
    to_arrow = awaited(VectorTable.to_arrow)
    to_lance = awaited(VectorTable.to_lance)
    versions = awaited(VectorTable.versions)
    restore = awaited(VectorTable.restore)
    tag = awaited(VectorTable.tag)
    tags = awaited(VectorTable.tags)
    optimize = awaited(VectorTable.optimize)
    indexes = awaited(VectorTable.indexes)

    async def create_index(self, column: str, index_type: str = IVF, **options: Any) -> None:  # noqa: ANN401
        """Create an index; see :meth:`affidavit.VectorTable.create_index`."""
        await self._asker.ask(partial(self._of.create_index, column, index_type, **options))

    async def version(self) -> int:
        """Return the newest version's number."""
        return await self._ask(lambda table: table.version)

    async def key(self) -> str:
        """Return the column that identifies a row."""
        return await self._ask(lambda table: table.key)

    async def metric(self) -> str:
        """Return how vectors are compared."""
        return await self._ask(lambda table: table.metric)

    reembed = awaited(VectorTable.reembed)

    async def source(self) -> str | None:
        """Return the column whose text the model makes a vector of, for a row without."""
        return await self._ask(lambda table: table.source)

    async def model(self) -> str | None:
        """Return the embedding model that encodes queries given as text."""
        return await self._ask(lambda table: table.model)
