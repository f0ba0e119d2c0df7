"""Iceberg tables without a catalog, through the pyiceberg library.

The table's newest metadata file is looked for in its folder at each statement. Files are read one
after the other, and a file's row groups as they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sources.files.iceberg_filters import row_filter
from affidavit.catalog.sources.files.iceberg_library import Library, properties_of
from affidavit.catalog.sources.files.iceberg_metadata import METADATA_ENDING
from affidavit.catalog.sources.files.library import LibraryDataset
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sources.files.library import Opening
    from affidavit.catalog.sql.predicate import Predicate


class IcebergDataset(LibraryDataset):
    """An Iceberg table at one snapshot."""

    def __init__(
        self,
        library: Library,
        table: Any,  # noqa: ANN401 - a pyiceberg StaticTable
        snapshot_id: int | None,
        opening: Opening,
    ) -> None:
        self._library, self._table, self._snapshot_id = library, table, snapshot_id
        columns = table.scan(snapshot_id=snapshot_id).projection()
        shown = library.arrow_schema(columns)
        types = {field.name: _type(field.type) for field in shown}
        schema = pa.schema([pa.field(n, t or pa.string()) for n, t in types.items()])
        refused = {
            each.name: str(each.field_type) for each in columns.fields if types[each.name] is None
        }
        current = table.current_snapshot()
        version = snapshot_id or (0 if current is None else int(current.snapshot_id))
        super().__init__(schema, refused, version, opening)
        # pyiceberg reads filters by the names of today: of another schema they are not sent; nor
        # are lists, maps and structs, for which it has no filters
        same = columns.schema_id == table.schema().schema_id
        self._sent = {
            each.name: types[each.name]
            for each in columns.fields
            if same and each.initial_default is None and each.name not in refused
            if types[each.name] == shown.field(each.name).type
            if not pt.is_nested(types[each.name])
        }

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._table.scan(snapshot_id=self._snapshot_id).count())

    def batches(
        self, columns: Sequence[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows that may match, a file at a time."""
        words = self._library.expressions
        sent = row_filter(words, predicate, self._sent)
        scan = self._table.scan(sent, tuple(columns), snapshot_id=self._snapshot_id)
        try:
            planned = list(scan.plan_files())
        except (TypeError, ValueError, ArithmeticError):
            # pyiceberg compares a partition's value that is NULL by order, and adds a day to the
            # last that there is
            sent = row_filter(words, None, {})
            planned = list(self._table.scan(snapshot_id=self._snapshot_id).plan_files())
        for task in planned:
            for batch in self._library.read(self._table, scan.projection(), sent, task):
                yield _plain(batch)


def _type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that values are given as; ``None`` if they cannot be."""
    if isinstance(kind, pa.ExtensionType) or kind == pa.uuid():
        return pa.string() if kind == pa.uuid() else None
    return pa.string() if pt.is_null(kind) else kind  # a type that is not known yet has no values


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose UUIDs are text."""
    arrays = [
        pa.array([None if each is None else str(each) for each in column.to_pylist()], pa.string())
        if column.type == pa.uuid()
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def open_iceberg(opening: Opening) -> IcebergDataset:
    """Return an Iceberg table as it is now, or as it was at ``snapshot_id``.

    Raises:
        SourceError: pyiceberg is not installed, or there is no such snapshot.
    """
    properties, library = properties_of(opening.bucket), Library()
    location = opening.location.rstrip("/")
    is_file = location.endswith(METADATA_ENDING)
    metadata = location if is_file else library.newest(location, properties)
    found = library.table(metadata, properties, opening.check)
    snapshot_id = opening.number("snapshot_id")
    if snapshot_id is not None and found.snapshot_by_id(snapshot_id) is None:
        known = [each.snapshot_id for each in found.snapshots()]
        msg = f"there is no snapshot {snapshot_id}; there are {known}"
        raise SourceError(msg)
    return IcebergDataset(library, found, snapshot_id, opening)
