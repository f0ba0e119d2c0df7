"""Which rows of a mutable table each version of it changed.

Rules:
    - An entry is of one version, and says which rows are not as the version before had them. Where
      a version has none, nobody knows: who has a copy of before reads the table anew.
    - Entries are not signed: who goes by them compares the sum of what comes out with the one that
      is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.tables import CHANGED_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer

    Ranges = np.ndarray[Any, np.dtype[np.int64]]

NOTED_ROWS_MIN: Final = 1024
"""Changes of tables with fewer rows are not noted: those are read anew."""

RANGES_MAX: Final = 16_384
"""Of a change in more places nothing is noted."""

ENTRIES_KEPT: Final = 1024
"""So many of the newest entries of a table are kept at least."""

_LET_GO_EVERY: Final = 64


def note_changed(writer: Writer, info: TableInfo, rowids: Sequence[int], version: int) -> None:
    """Note which rows ``version`` changed, which the table has just been given."""
    if info.row_count < NOTED_ROWS_MIN:
        return
    ranges = _ranges(rowids)
    if len(ranges) > RANGES_MAX:
        return
    entry = (info.table_id, version, ranges.astype("<i8").tobytes())
    writer.append(CHANGED_ROWS, ("table_id", "version", "rowids"), entry)
    if not version % _LET_GO_EVERY:
        is_table = Compare("=", "table_id", info.table_id)
        old = And((is_table, Compare("<=", "version", version - ENTRIES_KEPT)))
        writer.delete_where(CHANGED_ROWS, old)


def forget_changed(writer: Writer, table_id: str) -> None:
    """Let go of what is noted of a table."""
    writer.delete_where(CHANGED_ROWS, Compare("=", "table_id", table_id))


def changed_since(reader: Reader, info: TableInfo, version: int) -> Ranges | None:
    """Return the identities of all rows that changed after ``version``, ``None`` if unknown.

    Returns:
        The first of each range, and the one after its last; in order, and without overlap.
    """
    where = And((Compare("=", "table_id", info.table_id), Compare(">", "version", version)))
    entries = reader.select(CHANGED_ROWS, ("rowids",), where)
    if len(entries) != info.version - version:
        return None
    kept = b"".join(entry[0] for entry in entries)  # type: ignore[misc]  # each is bytes
    return _joined(np.frombuffer(kept, "<i8").reshape(-1, 2))


def _ranges(rowids: Sequence[int]) -> Ranges:
    if isinstance(rowids, range) and rowids.step == 1:
        return np.array([[rowids.start, rowids.stop]])
    if len(rowids) == 1:
        return np.array([[rowids[0], rowids[0] + 1]])
    each = np.sort(np.asarray(rowids, dtype=np.int64))
    starts = np.flatnonzero(np.diff(each, prepend=each[:1] - 2) > 1)
    ends = np.append(starts[1:], len(each)) - 1
    return np.stack([each[starts], each[ends] + 1], axis=1)


def _joined(ranges: Ranges) -> Ranges:
    """Return the same places without overlap, in order."""
    if len(ranges) < 2:  # noqa: PLR2004 - there is nothing to join
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    begins = np.append(True, ranges[1:, 0] > reach[:-1])
    return np.stack([ranges[begins, 0], reach[np.append(begins[1:], True)]], axis=1)
