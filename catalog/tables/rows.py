"""Rows of mutable tables, read from a snapshot."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import And, Compare, In, Or
from affidavit.catalog.sql.pushdown import split
from affidavit.catalog.store.protocol import BATCH_ROWS, ROWID
from affidavit.catalog.values.arrays import take_rows
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.fit import fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

KEYS_MAX: Final = 500
"""How many keys one look-up asks the store for."""

ROWID_FIELD: Final = pa.field(ROWID, pa.int64(), nullable=False)


def definition_of(info: TableInfo) -> MutableDefinition:
    """Return the definition of a table that is known to be mutable."""
    assert isinstance(info.definition, MutableDefinition)
    return info.definition


# --- reading -------------------------------------------------------------------------------------


def read_rows(
    reader: Reader,
    info: TableInfo,
    columns: Sequence[str],
    predicate: Predicate | None = None,
    *,
    order_by: Sequence[str] = (ROWID,),
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield the matching rows of ``info``, oldest first; ``columns`` may include ``_rowid``."""
    definition = definition_of(info)
    types = {**definition.types, ROWID: pa.int64()}
    stored = {**definition.stored, ROWID: ROWID}
    pushed, left = split(predicate, types)
    needed = list(columns)
    if left is not None:
        needed += [n for n in definition.schema.names if n not in needed]
    schema = pa.schema(
        [ROWID_FIELD if name == ROWID else definition.schema.field(name) for name in needed]
    )
    where = None if pushed is None else rename_columns(pushed, stored)
    source = reader.scan(
        definition.store_table,
        [stored[name] for name in needed],
        where,
        order_by=[stored[name] for name in order_by],
        batch_rows=batch_rows,
    )
    for raw in source:
        if not needed:
            yield raw
            continue
        arrays = [
            codec_for(field.type).decode(column)
            for field, column in zip(schema, raw.columns, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        kept = keep(left, batch)
        yield kept if len(needed) == len(columns) else kept.select(list(columns))


def rename_columns(predicate: Predicate, names: dict[str, str]) -> Predicate:
    """Return ``predicate`` with every column called by its other name."""
    changed: dict[str, Any] = {}
    for field in fields(predicate):
        value = getattr(predicate, field.name)
        if field.name in {"column", "left", "right"}:
            changed[field.name] = names[value]
        elif field.name == "operand":
            changed[field.name] = rename_columns(value, names)
        elif field.name == "operands":
            changed[field.name] = tuple(rename_columns(each, names) for each in value)
    return replace(predicate, **changed)


def read_table(
    reader: Reader,
    info: TableInfo,
    columns: Sequence[str] | None = None,
    predicate: Predicate | None = None,
    *,
    order_by: Sequence[str] = (ROWID,),
) -> pa.Table:
    """Return the matching rows of ``info`` as one table."""
    schema = definition_of(info).schema
    names = schema.names if columns is None else columns
    wanted = pa.schema([ROWID_FIELD if name == ROWID else schema.field(name) for name in names])
    batches = read_rows(reader, info, names, predicate, order_by=order_by)
    return pa.Table.from_batches(batches, wanted)


def find_rows(
    reader: Reader, info: TableInfo, key: Sequence[str], rows: pa.Table
) -> dict[tuple[StoreValue, ...], int]:
    """Return the ``_rowid`` of every stored row whose ``key`` columns equal some row's.

    Keys are as the store keeps them; a key with a NULL equals nothing.
    """
    definition = definition_of(info)
    stored = [definition.stored[column] for column in key]
    wanted = [k for k in key_values(definition, key, rows) if None not in k]
    found: dict[tuple[StoreValue, ...], int] = {}
    for start in range(0, len(wanted), KEYS_MAX):
        part = wanted[start : start + KEYS_MAX]
        where: Predicate
        if len(stored) == 1:
            where = In(stored[0], tuple(values[0] for values in part))
        else:
            where = Or(
                tuple(
                    And(tuple(Compare("=", c, v) for c, v in zip(stored, values, strict=True)))
                    for values in part
                )
            )
        for rowid, *values in reader.select(definition.store_table, [ROWID, *stored], where):
            found[tuple(values)] = int(rowid)  # type: ignore[arg-type]
    return found


def stored_values(
    definition: MutableDefinition, column: str, rows: pa.Table | pa.RecordBatch
) -> list[StoreValue]:
    """Return a column of ``rows`` as the store keeps it, in the type that the table has."""
    array = rows[column]
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = definition.types[column]
    if array.type != kind:
        array = fit(array, kind, column=column, table=definition.table_id)
    return definition.codecs[column].values(array)


def key_values(
    definition: MutableDefinition, key: Sequence[str], rows: pa.Table | pa.RecordBatch
) -> list[tuple[StoreValue, ...]]:
    """Return each row's ``key`` columns as the store keeps them."""
    return list(zip(*(stored_values(definition, column, rows) for column in key), strict=True))


def rows_by_id(reader: Reader, info: TableInfo, rowids: Sequence[int]) -> pa.Table:
    """Return the rows with these identities, in this order."""
    names = [ROWID, *definition_of(info).schema.names]
    parts = [
        read_table(
            reader, info, names, In(ROWID, tuple(map(pa.scalar, rowids[at : at + KEYS_MAX])))
        )
        for at in range(0, len(rowids), KEYS_MAX)
    ]
    found = pa.concat_tables(parts)
    at_rowid = {rowid: at for at, rowid in enumerate(found[ROWID].to_pylist())}
    return take_rows(found.drop_columns([ROWID]), [at_rowid[rowid] for rowid in rowids])
