"""Many rows put in by their keys, a part at a time: what is made of all at once takes memory.

Rules:
    - It is one change, in one transaction: all of them, or none.
    - In parts only where one part's rows cannot stand in the way of another's: the key by which
      they are put in is the only one, it keeps its value, and no row refers to another.
    - That no key stands twice is known before anything is written. Where it cannot be told by
      their hashes alone, all rows are looked at together, and the key is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.spill import Spilled
from affidavit.catalog.tables.constraints.keys import check_not_null
from affidavit.catalog.tables.row_writing import PART_ROWS, as_table, upsert_rows
from affidavit.catalog.tables.rows import definition_of, key_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Writer


def upsert_batches(
    catalog: Catalog, writer: Writer, info: TableInfo, batches: Iterable[pa.RecordBatch]
) -> int:
    """Insert rows that are ready, or change those with their keys; return how many there were.

    Raises:
        ConstraintError: The table has no primary key, or two rows have the same one.
    """
    definition = definition_of(info)
    if isinstance(batches, Spilled) and _goes_in_parts(definition, batches):
        start = 0
        for part in _parts(batches):
            check_not_null(info.name, definition, part, start)
            start += part.num_rows
        return sum(
            upsert_rows(catalog, writer, info, part, are_ready=True) for part in _parts(batches)
        )
    rows = pa.Table.from_batches(batches, definition.schema)
    return upsert_rows(catalog, writer, info, rows, are_ready=True)


def _goes_in_parts(definition: MutableDefinition, batches: Spilled) -> bool:
    key = definition.primary_key
    if batches.num_rows <= PART_ROWS or definition.unique_keys != (key,):
        return False
    if definition.rules.foreign_keys or any(pt.is_floating(definition.types[c]) for c in key):
        return False
    hashes = np.empty(batches.num_rows, dtype=np.int64)
    at = 0
    for part in _parts(batches):
        for values in key_values(definition, key, part):
            hashes[at] = hash(values)
            at += 1
    hashes.sort()
    return not bool((hashes[1:] == hashes[:-1]).any())


def _parts(batches: Spilled) -> Iterator[pa.Table]:
    for batch in batches.grouped():
        for at in range(0, batch.num_rows, PART_ROWS):
            yield as_table(batch.slice(at, PART_ROWS))
