"""The pyiceberg library: what of it is used, its private parts among it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sources.buckets.bucket import CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S
from affidavit.catalog.sources.files.iceberg_metadata import METADATA_FOLDER, newest_in
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from affidavit.catalog.sources.buckets.bucket import Bucket

# Private in pyiceberg 0.12, whose ArrowScan.to_record_batches makes a list of all the batches of a
# file before it gives the first; what it calls for each file gives them as they are read. Until
# there is a public call that does. Where a version has not these two, a file is read whole.
_READ_DELETES: Final = "_read_all_delete_files"
_STREAM_TASKS: Final = "_record_batches_from_scan_tasks_and_deletes"


class Library:
    """What of pyiceberg is used.

    Attributes:
        expressions: The words that its filters are made of.

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
        self.expressions = expressions
        self._arrow, self._noop = arrow, noop
        self._serializers, self._tables = serializers, table

    def table(
        self, metadata: str, properties: Mapping[str, str], check: Callable[[str], object]
    ) -> Any:  # noqa: ANN401 - its own
        """Return the table that a metadata file describes.

        What the file says of how files are read is not heeded, as pyiceberg would: it could name
        another host, or a module to import. ``check`` is asked of every file that is opened.
        """

        class Checked(self._arrow.PyArrowFileIO):  # type: ignore[name-defined,misc]
            def new_input(self, location: str) -> Any:  # noqa: ANN401 - pyiceberg's
                check(location)
                return super().new_input(location)

        io = Checked(dict(properties))
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
        scheme, netloc, path = io.parse_location(f"{folder}/{METADATA_FOLDER}")
        found = newest_in(io.fs_by_scheme(scheme, netloc), path)
        if found is None:
            msg = f"there is no Iceberg metadata in {folder!r}"
            raise SourceError(msg)
        return f"{folder}/{METADATA_FOLDER}/{found}"

    def read(
        self,
        table: Any,  # noqa: ANN401 - pyiceberg's
        columns: Any,  # noqa: ANN401 - as above
        row_filter: Any,  # noqa: ANN401 - as above
        task: Any,  # noqa: ANN401 - as above
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file that may match, as they are read where that can be done."""
        scan = self._arrow.ArrowScan(table.metadata, table.io, columns, row_filter)
        deletes = getattr(self._arrow, _READ_DELETES, None)
        stream = getattr(scan, _STREAM_TASKS, None)
        if deletes is None or stream is None:
            return scan.to_record_batches([task])
        return stream([task], deletes(table.io, [task]))


def properties_of(bucket: Bucket | None) -> dict[str, str]:
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
