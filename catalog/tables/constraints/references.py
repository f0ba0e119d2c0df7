"""Foreign keys, as who refers sees them: each row's key is there, or the row is not written.

Rules:
    - A key with a NULL in it refers to nothing.
    - Rows are looked for when all of a statement are written: one may refer to another of the same.
      Many that refer to another table are looked for on the way, which writes none of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.vectors.datasets import rows_with_keys
from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.tables.rows import find_rows, key_values
from affidavit.catalog.values.arrays import whole
from affidavit.errors import ConstraintError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import ForeignKey
    from affidavit.catalog.store.protocol import Reader

PENDING_MAX: Final = 100_000
"""So many keys wait to be looked for, unless they refer to their own table."""


class References:
    """The foreign keys of rows that one statement writes to a table: noted, and then looked for."""

    def __init__(self, catalog: Catalog, reader: Reader, info: TableInfo) -> None:
        assert isinstance(info.definition, MutableDefinition)
        self._catalog = catalog
        self._reader = reader
        self._info = info
        self._keys = info.definition.rules.foreign_keys
        self._pending: dict[str, list[pa.Table]] = {}

    def add(self, rows: pa.Table | pa.RecordBatch, columns: Collection[str] | None = None) -> None:
        """Take rows that were written; ``columns`` are those that changed, all by default."""
        for key in self._keys:
            if columns is not None and not set(columns) & set(key.columns):
                continue
            part = _distinct(key, rows)
            waiting = self._pending.setdefault(key.name, [])
            waiting.append(part)
            own = key.table_id == self._info.table_id
            if not own and sum(each.num_rows for each in waiting) > PENDING_MAX:
                self._check(key, self._pending.pop(key.name))

    def check(self) -> None:
        """Raise ConstraintError if a row refers to what is not there."""
        for key in self._keys:
            if key.name in self._pending:
                self._check(key, self._pending.pop(key.name))

    def _check(self, key: ForeignKey, parts: list[pa.Table]) -> None:
        wanted = pa.concat_tables(parts)
        if len(parts) > 1:
            wanted = wanted.group_by(wanted.schema.names, use_threads=False).aggregate([])
        if not wanted.num_rows:
            return
        parent = self._catalog.by_id(self._reader, key.table_id)
        if parent is None:
            msg = f"the table that foreign key {key.name!r} refers to is not there any more"
            raise StoreError(msg)
        at = first_missing(self._catalog, self._reader, parent, wanted)
        if at is not None:
            names = zip(key.columns, key.key, strict=True)
            told = ", ".join(f"{mine} = {wanted[its][at].as_py()!r}" for mine, its in names)
            msg = (
                f"foreign key {key.name!r} of table {self._info.name!r}: table {parent.name!r} has "
                f"no row for {told}"
            )
            raise ConstraintError(msg)


def check_references(catalog: Catalog, reader: Reader, info: TableInfo, rows: pa.Table) -> None:
    """Raise ConstraintError if one of ``rows`` of a table refers to what is not there."""
    found = References(catalog, reader, info)
    found.add(rows)
    found.check()


def _distinct(key: ForeignKey, rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return the keys that rows refer to, each once, under the names that the key has there."""
    names = list(key.key)
    pairs = zip(key.columns, names, strict=True)
    found = pa.table({its: without_views(rows[mine]) for mine, its in pairs})
    found = found.drop_null()
    if found.num_rows > 1:
        found = found.group_by(names, use_threads=False).aggregate([]).select(names)
    return found


def without_views(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of a key as one array of a type that Arrow's kernels know."""
    array = whole(column)
    if pt.is_string_view(array.type):
        return array.cast(pa.string())
    return array.cast(pa.binary()) if pt.is_binary_view(array.type) else array


def first_missing(
    catalog: Catalog, reader: Reader, parent: TableInfo, wanted: pa.Table
) -> int | None:
    """Return the first row of ``wanted`` whose key, its columns, no row of ``parent`` has."""
    key = wanted.schema.names
    if isinstance(parent.definition, VectorDefinition):
        dataset = catalog.lake.datasets.visible(parent)
        sought, outside = _possible(wanted, dataset.schema)
        found = rows_with_keys(dataset, key[0], whole(sought[key[0]]), key)
        there = set(found[key[0]].to_pylist())
        values = sought[key[0]].to_pylist()
        return next((at for at, value in enumerate(values) if value not in there), outside)
    definition = parent.definition
    assert isinstance(definition, MutableDefinition)
    sought, outside = _possible(wanted, definition.schema)
    stored = find_rows(reader, parent, key, sought)
    keys = key_values(definition, key, sought)
    return next((at for at, values in enumerate(keys) if values not in stored), outside)


def _possible(wanted: pa.Table, schema: pa.Schema) -> tuple[pa.Table, int | None]:
    """Return keys as another table's types, up to the first that it has no place for."""
    kinds = {name: schema.field(name).type for name in wanted.schema.names}
    possible = has_place(wanted, kinds)
    outside = None if possible.all() else int(np.argmin(possible))
    return as_types(wanted.slice(0, outside), kinds), outside


def has_place(keys: pa.Table, kinds: Mapping[str, pa.DataType]) -> np.ndarray[Any, Any]:
    """Return which keys can be had as other types: integers of another width may be too large."""
    possible = np.ones(keys.num_rows, dtype=bool)
    for name, kind in kinds.items():
        if pt.is_integer(kind) and keys[name].type != kind:
            bits = kind.bit_width
            low = 0 if pt.is_unsigned_integer(kind) else -(2 ** (bits - 1))
            place = range(low, low + 2**bits)
            possible &= np.fromiter((x in place for x in keys[name].to_pylist()), bool)
    return possible


def as_types(keys: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Return keys that have a place there as other types."""
    return pa.table({name: whole(keys[name]).cast(kind) for name, kind in kinds.items()})
