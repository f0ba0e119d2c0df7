"""Rows by a whole key, read from their table without a plan.

Rules:
    - What is read here is what DataFusion would give: rows of a mutable table of the lake, as they
      are now, whose key is of whole numbers or texts and is given as such. All else is planned.
    - It goes through the same gate, and the same is on record and in the log. Where conditions are
      kept, which a plan tells, it is planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model.definition import MUTABLE
from affidavit.catalog.model.release import Facts
from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.tables.reading import is_recorded, wants_rows
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.values.types import is_text
from affidavit.engine.plan.errors import engine_errors
from affidavit.engine.plan.short.asked import Parameter, is_unicode
from affidavit.engine.scans.evidence.given import given_mutable
from affidavit.engine.scans.mutable import MutableDataset
from affidavit.engine.statement.parameters import arrow_params, row_of
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.sql.scan import ScanDataset
    from affidavit.engine.plan.short.asked import KeyedRead
    from affidavit.engine.scans.snapshot import Snapshot


def keyed_rows(
    asked: KeyedRead, params: Mapping[str, Any], snapshot: Snapshot, done: Callable[[], None]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]] | None:
    """Return the columns and rows that a statement asks for; ``None`` if it is to be planned.

    ``done`` is called once the rows were read.
    """
    info = _table(asked, snapshot)
    if info is None:
        return None
    columns = list(asked.columns or definition_of(info).schema.names)
    predicate = predicate_of(asked.key, params, info)
    names = {told for told in asked.key.values() if isinstance(told, Parameter)}
    if names != set(params):
        return None
    if predicate is None or not set(columns) <= set(definition_of(info).schema.names):
        return None
    snapshot.note_present(info)
    dataset = _noted(info, columns, params, snapshot)
    rows = _counted(dataset.scan(columns, predicate), snapshot, done)
    schema = pa.schema([dataset.schema.field(name) for name in columns])
    return schema, snapshot.catalog.release(snapshot.reading, rows)


def _table(asked: KeyedRead, snapshot: Snapshot) -> TableInfo | None:
    """Return the table, if it is one whose rows may be read without a plan."""
    catalog = snapshot.catalog
    if catalog.at is not None:
        return None
    info = catalog.find(snapshot.reader, asked.table, asked.schema)
    if info is None or info.kind != MUTABLE.name:
        return None
    return None if is_recorded(catalog, info) and catalog.keeps_queries else info


def _noted(
    info: TableInfo, columns: list[str], params: Mapping[str, Any], snapshot: Snapshot
) -> ScanDataset:
    """Note that columns of a table are read, and return what reads them."""
    catalog, reading = snapshot.catalog, snapshot.reading
    told = snapshot.note_read(info, info.version)
    dataset: ScanDataset = MutableDataset(snapshot, info)
    if not is_recorded(catalog, info):
        return dataset
    if wants_rows(catalog, info):
        dataset = given_mutable(info, dataset, told)
        if set(told.key) <= set(columns):
            told.are_at([columns.index(name) for name in told.key])
    schema = pa.schema([dataset.schema.field(name) for name in columns])
    reading.describe(
        Facts(
            row_of(arrow_params(params)), catalog.ledger.last_seq(snapshot.reader), lambda: schema,
            catalog.level_of(reading), is_ordered=False,
        )
    )  # fmt: skip
    told.see()
    told.note_scan(columns, ())
    return dataset


def predicate_of(
    key: Mapping[str, int | str | Parameter], params: Mapping[str, Any], info: TableInfo
) -> Predicate | None:
    """Return what the row of a key is; ``None`` if the key may be meant in another way.

    Args:
        key: What each column is, as a text names it.
        params: The values of its parameters.
        info: The table.
    """
    values, types = key_values(key, params, info), definition_of(info).types
    if values is None:
        return None
    parts = [Compare("=", name, pa.scalar(value, types[name])) for name, value in values.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def key_values(
    key: Mapping[str, int | str | Parameter], params: Mapping[str, Any], info: TableInfo
) -> dict[str, int | str] | None:
    """Return the values of a key likewise, whole numbers and texts."""
    definition = definition_of(info)
    if set(definition.primary_key) != set(key):
        return None
    found: dict[str, int | str] = {}
    for column, told in key.items():
        given = params.get(told) if isinstance(told, Parameter) else told
        value = _of_key(definition.types[column], given)
        if value is None:
            return None
        found[column] = value
    return found


def _of_key(kind: pa.DataType, value: object) -> int | str | None:
    """Return a value if a key's type has just that one."""
    if pt.is_integer(kind) and type(value) is int:
        bits = kind.bit_width - pt.is_signed_integer(kind)
        lowest = -(1 << bits) if pt.is_signed_integer(kind) else 0
        return value if lowest <= value < 1 << bits else None
    if not is_text(kind) or not isinstance(value, str):
        return None
    return value if is_unicode(value) else None


def _counted(
    rows: Iterator[pa.RecordBatch], snapshot: Snapshot, done: Callable[[], None]
) -> Iterator[pa.RecordBatch]:
    query = snapshot.query
    with engine_errors(snapshot, ExecutionError), query.active():
        for batch in rows:
            query.check()
            query.count(batch.num_rows)
            yield batch
    done()
