"""Tables in memory: DataFusion's own, over Arrow data, and what is read once it is asked for."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt
from datafusion import SessionConfig, SessionContext

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.scan import ScanDataset, project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from datafusion.catalog import Table

    from affidavit.catalog.sql.predicate import Predicate

_SQL_TYPES: Final = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "TINYINT UNSIGNED",
    pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INT UNSIGNED",
    pa.uint64(): "BIGINT UNSIGNED",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string_view(): "VARCHAR",
    pa.date32(): "DATE",
    pa.timestamp("ns"): "TIMESTAMP(9)",
    pa.time64("ns"): "TIME",
}


_IN_ORDER: Final = SessionConfig().with_target_partitions(1)
"""One partition: rows stay in the order in which they are given."""

_PLAIN: Final = re.compile("[^A-Z.]+")


def memory_table(data: pa.Table, primary_key: Sequence[str] = ()) -> Table:
    """Return DataFusion's own in-memory table over ``data``.

    A primary key lets a query group by it and select the other columns. DataFusion takes
    constraints only from DDL, so it is declared wherever each type has a name in SQL; and there
    DataFusion 54.1 looks columns up in lower case, and takes a dot for one between names.
    """
    context = SessionContext(_IN_ORDER)
    batches = data.to_batches() or [pa.RecordBatch.from_pylist([], schema=data.schema)]
    context.register_record_batches("t", [batches])
    types = [_sql_type(kind) for kind in data.schema.types]
    if primary_key and all(types) and all(map(_PLAIN.fullmatch, data.schema.names)):
        columns = [
            f"{quoted(field.name)} {kind}" + ("" if field.nullable else " NOT NULL")
            for kind, field in zip(types, data.schema, strict=True)
        ]
        keys = ", ".join(map(quoted, primary_key))
        text = f"CREATE TABLE k ({', '.join(columns)}, PRIMARY KEY ({keys})) AS SELECT * FROM t"
        context.sql(text)
        return context.table_provider("k")
    return context.table_provider("t")


def _sql_type(kind: pa.DataType) -> str | None:
    if pt.is_decimal128(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _SQL_TYPES.get(kind)


class LaterDataset(ScanDataset):
    """A table that is read into memory when a plan first asks for its rows.

    Args:
        schema: Its columns.
        read: Returns it; called once, by whichever thread runs the plan.
        fail: Told of what that raises.
    """

    def __init__(
        self, schema: pa.Schema, read: Callable[[], pa.Table], fail: Callable[[BaseException], None]
    ) -> None:
        super().__init__(schema, fail)
        self._read = read
        self._data: pa.Table | None = None
        self._reading = threading.Lock()

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        with self._reading:
            if self._data is None:
                self._data = self._read()
        return project(iter(self._data.to_batches()), columns, predicate)
