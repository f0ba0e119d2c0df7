"""Delta tables, through the deltalake library's own engine.

deltalake brings a DataFusion of its own, which reads what Delta has: deletion vectors, renamed
columns, columns that were added later. Its table provider is of another DataFusion than ours, and
its pyarrow dataset refuses the first two, so SQL is sent to it and batches come back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.sources.buckets.bucket import (
    CONNECT_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    RETRIES_MAX,
)
from affidavit.catalog.sources.databases.dialect import Dialect, Sent
from affidavit.catalog.sources.files.library import LibraryDataset
from affidavit.catalog.sql import predicate as p
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from affidavit.catalog.sources.buckets.bucket import Bucket
    from affidavit.catalog.sources.files.library import Opening
    from affidavit.catalog.sql.predicate import Predicate

LOG_FOLDER: Final = "_delta_log"
OPTION_NAMES: Final = {
    "region": "aws_region", "endpoint": "aws_endpoint_url", "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key", "session_token": "aws_session_token",
    "service_account_path": "google_service_account", "account": "azure_storage_account_name",
    "access_key": "azure_storage_account_key", "bearer_token": "azure_storage_token",
    "client_id": "azure_storage_client_id", "client_secret": "azure_storage_client_secret",
    "tenant_id": "azure_storage_tenant_id", "sas_token": "azure_storage_sas_token",
    "use_emulator": "azure_storage_use_emulator", "allow_http": "allow_http",
}  # fmt: skip
"""What deltalake calls the options of object stores."""

_ELSEWHERE: Final = r"^/|:|\.\.|%|\\\\"
_TABLE: Final = "t"
_STATISTICS_US: Final = 1000
"""How far a moment in a file's statistics may be from the value: they are cut to milliseconds."""


class DeltaDialect(Dialect):
    """What a Delta table is asked: only where its files' statistics cannot mislead.

    Statistics leave NaN out, write decimals as floats, and cut moments.
    """

    def condition(self, predicate: Predicate, types: Mapping[str, pa.DataType]) -> Sent | None:
        """Return a condition as SQL; ``None`` if it cannot be sent."""
        match predicate:
            case p.Compare(op, column, value) if pt.is_timestamp(types.get(column, pa.null())):
                return self._compare_moment(op, column, types[column], value)
            case p.In(column) if pt.is_timestamp(types.get(column, pa.null())):
                return None
        return super().condition(predicate, types)

    def _compare_moment(
        self, op: str, column: str, kind: pa.DataType, value: object
    ) -> Sent | None:
        assert isinstance(value, pa.Scalar)
        if op == "!=" or not value.is_valid or kind.unit != "us" or value.type != kind:
            return None
        at, name = value.value, self.quoted(column)
        least, most = max(at - _STATISTICS_US, -(2**63) + 1), min(at + _STATISTICS_US, 2**63 - 1)
        zone = "None" if kind.tz is None else f'Some("{kind.tz}")'
        parts = [(">=", least)] * (op in {"=", ">", ">="}) + [("<=", most)] * (
            op in {"=", "<", "<="}
        )
        text = " AND ".join(
            f"{name} {sign} arrow_cast({bound}, 'Timestamp(Microsecond, {zone})')"
            for sign, bound in parts
        )
        return Sent(text, exact=False)


_DIALECT: Final = DeltaDialect("Delta", decimals=False, text_order="")


class DeltaDataset(LibraryDataset):
    """A Delta table at one version."""

    def __init__(
        self,
        table: Any,  # noqa: ANN401 - a deltalake.DeltaTable
        schema: pa.Schema,
        query: Callable[[], Any],
        opening: Opening,
    ) -> None:
        super().__init__(schema, {}, int(table.version()), opening)
        self._table = table
        self._query = query

    def count(self) -> int:
        """Return how many rows there are."""
        batches = self._run(f"SELECT count(*) AS n FROM {_TABLE}")
        return int(next(iter(batches))["n"][0].as_py())

    def batches(
        self, columns: Sequence[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows that may match."""
        names = ", ".join(map(_DIALECT.quoted, columns))
        types = {field.name: field.type for field in self.schema}
        conditions = [f"({each})" for each in _DIALECT.conditions(predicate, types)]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._run(f"SELECT {names} FROM {_TABLE}{where}")

    def _run(self, sql: str) -> Iterator[pa.RecordBatch]:
        found = self._query().register(_TABLE, self._table).execute(sql)
        return iter(pa.RecordBatchReader.from_stream(found))


def _options(bucket: Bucket | None) -> dict[str, str] | None:
    """Return how deltalake reaches a store."""
    if bucket is None:
        return None
    bounds = {
        "connect_timeout": f"{CONNECT_TIMEOUT_S:g}s", "timeout": f"{REQUEST_TIMEOUT_S:g}s",
        "max_retries": str(RETRIES_MAX), "retry_timeout": f"{REQUEST_TIMEOUT_S:g}s",
    }  # fmt: skip
    known = {**bucket.given, **bucket.way}
    return {**bounds, **{OPTION_NAMES[name]: value for name, value in known.items()}}


def is_delta(path: str) -> bool:
    """Return whether a local path is a Delta table's folder."""
    return (Path(path) / LOG_FOLDER).is_dir()


def _named_elsewhere(table: Any, location: str) -> Iterator[str]:  # noqa: ANN401 - a DeltaTable
    """Yield the files that a table's log names by more than a name below its folder."""
    paths = pa.chunked_array(pa.table(table.get_add_actions())["path"]).cast(pa.string())
    for path in paths.filter(pc.match_substring_regex(paths, _ELSEWHERE)).to_pylist():
        named = unquote(path).replace("\\", "/")
        yield named if ":" in named or named.startswith("/") else f"{location}/{named}"


def open_delta(opening: Opening) -> DeltaDataset:
    """Return a Delta table as it is now, or as it was at ``version``.

    Raises:
        SourceError: deltalake is not installed.
    """
    try:
        import deltalake  # noqa: PLC0415 - an optional library
    except ImportError as error:
        msg = "reading Delta tables needs deltalake: pip install 'affidavit[delta]'"
        raise SourceError(msg) from error
    found = deltalake.DeltaTable(
        opening.location.rstrip("/"),
        version=opening.number("version"),
        storage_options=_options(opening.bucket),
    )
    for file in _named_elsewhere(found, opening.location):
        opening.check(file)
    schema = pa.schema(found.schema().to_arrow())
    plain = pa.schema([pa.field(each.name, each.type) for each in schema])
    return DeltaDataset(found, plain, deltalake.QueryBuilder, opening)
