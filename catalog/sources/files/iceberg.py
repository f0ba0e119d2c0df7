"""Iceberg tables without a catalog, through the pyiceberg library.

The table's newest metadata file is looked for in its folder at each statement. Files are read one
after the other, and a file's row groups as they are asked for.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt
from pyarrow import fs

from affidavit.catalog.sources.buckets.bucket import CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S
from affidavit.catalog.sources.files.library import LibraryDataset
from affidavit.catalog.sql import predicate as p
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.sources.buckets.bucket import Bucket
    from affidavit.catalog.sources.files.library import Opening
    from affidavit.catalog.sql.predicate import Predicate

METADATA_FOLDER: Final = "metadata"
METADATA_ENDING: Final = ".metadata.json"
_HINT: Final = "version-hint.text"
_VERSION: Final = re.compile(r"v?(\d+)(?:-[^/]*)?(?:\.gz)?\.metadata\.json")
DECIMAL_DIGITS_MAX: Final = 28
"""What Python's decimals keep: pyiceberg rounds longer ones."""

IN_VALUES_MAX: Final = 200
"""A longer IN list is not sent: pyiceberg's own planning asks no more values of a file either."""

_OPERATORS: Final = {
    "=": "EqualTo", "!=": "NotEqualTo", "<": "LessThan", "<=": "LessThanOrEqual",
    ">": "GreaterThan", ">=": "GreaterThanOrEqual",
}  # fmt: skip


def newest_metadata(names: Iterable[str]) -> str | None:
    """Return the metadata file of the highest version among ``names``; ``None`` if none has one.

    Raises:
        SourceError: Two have that version: a catalog knows which was committed, and no folder.
    """
    numbered = [(int(match[1]), name) for name in names if (match := _VERSION.fullmatch(name))]
    highest = max((number for number, _ in numbered), default=None)
    found = sorted(name for number, name in numbered if number == highest)
    if len(found) > 1:
        msg = f"{found} are of one version: attach the one that is meant"
        raise SourceError(msg)
    return found[0] if found else None


def is_iceberg(path: str) -> bool:
    """Return whether a local path is an Iceberg table's folder or metadata file."""
    if path.endswith(METADATA_ENDING):
        return True
    folder = Path(path) / METADATA_FOLDER
    return folder.is_dir() and any(folder.glob(f"*{METADATA_ENDING}"))


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
        schema = pa.schema([pa.field(n, t) for n, t in types.items() if t is not None])
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
            if same and each.initial_default is None
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
        row_filter = self._library.all_of(
            found
            for part in (p.conjuncts(predicate) if predicate is not None else ())
            if (found := self._library.condition(part, self._sent)) is not None
        )
        scan = self._table.scan(row_filter, tuple(columns), snapshot_id=self._snapshot_id)
        try:
            planned = list(scan.plan_files())
        except (TypeError, ValueError, ArithmeticError):
            # pyiceberg compares a partition's value that is NULL by order, and adds a day to the
            # last that there is
            row_filter = self._library.all_of(())
            planned = list(self._table.scan(snapshot_id=self._snapshot_id).plan_files())
        for task in planned:
            for batch in self._library.read(self._table, scan.projection(), row_filter, task):
                yield _plain(batch)


def _type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that values are given as; ``None`` if they cannot be."""
    if isinstance(kind, pa.ExtensionType) or kind == pa.uuid():
        return pa.string() if kind == pa.uuid() else None
    if pt.is_null(kind):
        return None
    return kind


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose UUIDs are text."""
    arrays = [
        pa.array([None if each is None else str(each) for each in column.to_pylist()], pa.string())
        if column.type == pa.uuid()
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


class Library:
    """What of pyiceberg is used.

    Raises:
        SourceError: It is not installed.
    """

    def __init__(self) -> None:
        try:
            from pyiceberg import expressions, serializers, table  # noqa: PLC0415 - optional
            from pyiceberg.catalog import noop  # noqa: PLC0415 - as above
            from pyiceberg.io import pyarrow as arrow  # noqa: PLC0415 - as above
        except ImportError as error:
            msg = "reading Iceberg tables needs pyiceberg: pip install 'affidavit[iceberg]'"
            raise SourceError(msg) from error
        self._expressions, self._arrow, self._noop = expressions, arrow, noop
        self._serializers, self._tables = serializers, table

    def table(self, metadata: str, properties: Mapping[str, str]) -> Any:  # noqa: ANN401 - its own
        """Return the table that a metadata file describes.

        What the file says of how files are read is not heeded, as pyiceberg would: it could name
        another host, or a module to import.
        """
        io = self._arrow.PyArrowFileIO(dict(properties))
        found = self._serializers.FromInputFile.table_metadata(io.new_input(metadata))
        catalog = self._noop.NoopCatalog("static")
        return self._tables.StaticTable(("static", metadata), found, metadata, io, catalog)

    def arrow_schema(self, columns: Any) -> pa.Schema:  # noqa: ANN401 - pyiceberg's schema
        """Return the columns as Arrow has them."""
        return self._arrow.schema_to_pyarrow(columns, include_field_ids=False)

    def newest(self, folder: str, properties: Mapping[str, str]) -> str:
        """Return the newest metadata file below a table's folder.

        Raises:
            SourceError: There is none, or it cannot be told.
        """
        io = self._arrow.PyArrowFileIO(dict(properties))
        scheme, netloc, path = io.parse_location(f"{folder.rstrip('/')}/{METADATA_FOLDER}")
        files = io.fs_by_scheme(scheme, netloc)
        listed = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        names = {each.base_name for each in listed}
        hinted = ""
        if _HINT in names:
            with files.open_input_stream(f"{path}/{_HINT}") as stream:
                hint = stream.read().decode().strip()
            hinted = hint if hint.endswith(METADATA_ENDING) else f"v{hint}{METADATA_ENDING}"
        found = hinted if hinted in names else newest_metadata(names)
        if found is None:
            msg = f"there is no Iceberg metadata in {folder!r}"
            raise SourceError(msg)
        return f"{folder.rstrip('/')}/{METADATA_FOLDER}/{found}"

    def read(
        self,
        table: Any,  # noqa: ANN401 - pyiceberg's
        columns: Any,  # noqa: ANN401 - as above
        row_filter: Any,  # noqa: ANN401 - as above
        task: Any,  # noqa: ANN401 - as above
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file that may match.

        pyiceberg's public function reads the file whole; what it calls itself does not.
        """
        scan = self._arrow.ArrowScan(table.metadata, table.io, columns, row_filter)
        deletes = getattr(self._arrow, "_read_all_delete_files", None)
        stream = getattr(scan, "_record_batches_from_scan_tasks_and_deletes", None)
        if deletes is None or stream is None:
            return scan.to_record_batches([task])
        return stream([task], deletes(table.io, [task]))

    # --- filters -------------------------------------------------------------------------------

    def all_of(self, conditions: Iterable[Any]) -> Any:  # noqa: ANN401 - pyiceberg's
        """Return conditions as one."""
        every = self._expressions.AlwaysTrue()
        for each in conditions:
            every = self._expressions.And(every, each)
        return every

    def condition(self, predicate: Predicate, types: Mapping[str, pa.DataType]) -> Any:  # noqa: ANN401 - as above
        """Return a condition that selects no less; ``None`` if there is none.

        Nothing is sent under NOT, and no floats: statistics leave NaN out.
        """
        e = self._expressions
        match predicate:
            case p.And(operands):
                sent = [
                    each for one in operands if (each := self.condition(one, types)) is not None
                ]
                return self.all_of(sent) if sent else None
            case p.Or(operands):
                sent = [self.condition(each, types) for each in operands]
                if not sent or any(each is None for each in sent):
                    return None
                found = sent[0]
                for each in sent[1:]:
                    found = e.Or(found, each)
                return found
            case p.Compare(op, column, value) if column in types:
                plain = _literal(types[column], value)
                return None if plain is None else getattr(e, _OPERATORS[op])(column, plain)
            case p.In(column, values) if column in types and 0 < len(values) <= IN_VALUES_MAX:
                plains = [_literal(types[column], value) for value in values]
                return None if None in plains else e.In(column, plains)
            case p.IsNull(column) if column in types:
                return e.IsNull(column)
            case p.Not(p.IsNull(column)) if column in types:
                return e.NotNull(column)
        return None


def _literal(kind: pa.DataType, value: object) -> object:
    """Return a value as pyiceberg takes it; ``None`` where it means something else there."""
    assert isinstance(value, pa.Scalar)
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):  # a moment that Python has no name for
        return None
    if value.type != kind and not (_is_text(kind) and _is_text(value.type)):
        return None
    if pt.is_integer(kind) or pt.is_date32(kind) or _is_text(kind):
        return plain
    if pt.is_timestamp(kind) and kind.unit == "us":
        return plain
    if pt.is_decimal(kind) and isinstance(plain, Decimal) and kind.precision <= DECIMAL_DIGITS_MAX:
        return plain.quantize(Decimal(1).scaleb(-kind.scale))
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _properties(bucket: Bucket | None) -> dict[str, str]:
    """Return how pyiceberg reaches a store."""
    if bucket is None:
        return {}
    if bucket.service.scheme != "s3":
        msg = f"{bucket.url}: Iceberg tables are read from files and s3:// only"
        raise SourceError(msg)
    known = {
        f"s3.{name.replace('_', '-')}": value
        for name, value in {**bucket.given, **bucket.way}.items()
        if name != "allow_http" and value
    }
    bounds = {
        "s3.connect-timeout": f"{CONNECT_TIMEOUT_S:g}",
        "s3.request-timeout": f"{REQUEST_TIMEOUT_S:g}",
    }
    return {**bounds, **known}


def open_iceberg(opening: Opening) -> IcebergDataset:
    """Return an Iceberg table as it is now, or as it was at ``snapshot_id``.

    Raises:
        SourceError: pyiceberg is not installed, or there is no such snapshot.
    """
    properties, library = _properties(opening.bucket), Library()
    location = opening.location.rstrip("/")
    is_file = location.endswith(METADATA_ENDING)
    metadata = location if is_file else library.newest(location, properties)
    found = library.table(metadata, properties)
    snapshot_id = opening.number("snapshot_id")
    if snapshot_id is not None and found.snapshot_by_id(snapshot_id) is None:
        known = [each.snapshot_id for each in found.snapshots()]
        msg = f"there is no snapshot {snapshot_id}; there are {known}"
        raise SourceError(msg)
    return IcebergDataset(library, found, snapshot_id, opening)
