"""What segments of one kind hold: events of a journal, or the other entries of a ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from affidavit.catalog.store.protocol import StoreTable

Postings: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint64]]"


def _nothing_wrong(_: pa.Table) -> str | None:
    return None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Form:
    """What the segments of one kind hold, and how it is written and named.

    Attributes:
        whose: What they are of, as messages have it.
        rows: What one calls their rows.
        schema: Their columns; the first is ``seq``, and one is ``leaf_hash``.
        time: The column that says when a row happened.
        told: A column that is NULL in a row of which only the leaf was kept.
        husk: The columns that are kept of such a row.
        group_rows: How many rows a row group has: a row that is found by the index costs reading
            so many, and fewer compress badly.
        postings: Returns what the index has of some rows, given the number of the first in its
            file: hash and row, unsorted.
        one_posting: Whether each row has one posting; else the index says itself where it ends.
        dictionaries: The columns that are written with a dictionary.
        statistics: The columns that row groups are passed over by.
        encodings: How other columns are written.
        level: How hard is compressed.
        plain: The columns that are not compressed, since that makes them no smaller.
        wrong: Returns what is wrong with some rows that neither leaves nor index tell.
        optional: The columns that a file is without in which all of them are NULL.
        segments: Where the store names the segments.
        leaves: Where it keeps leaves of sealed rows.
        lock: What the locks are called by which it is changed.
        is_of_reads: Whether sessions that only read leave some, and so seal them.
    """

    whose: str
    rows: str
    schema: pa.Schema
    time: str
    told: str
    husk: frozenset[str]
    group_rows: int
    postings: Callable[[pa.Table, int], Postings]
    one_posting: bool
    segments: StoreTable
    leaves: StoreTable
    lock: str
    is_of_reads: bool = False
    dictionaries: Sequence[str] = ()
    statistics: Sequence[str] = ()
    encodings: dict[str, str] = field(default_factory=dict)
    level: int | None = None
    plain: frozenset[str] = frozenset()
    wrong: Callable[[pa.Table], str | None] = _nothing_wrong
    optional: tuple[str, ...] = ()

    @property
    def least(self) -> pa.Schema:
        """The columns of a file whose rows have no value of the optional ones."""
        if not self.optional:
            return self.schema
        return pa.schema([each for each in self.schema if each.name not in self.optional])

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The names of the columns that a file may have."""
        return self.schema.names, self.least.names

    def has_optional(self, rows: pa.Table) -> bool:
        """Return whether a row has a value of an optional column."""
        return any(rows[name].null_count < rows.num_rows for name in self.optional)

    def completed(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Return ``columns`` of rows, optional ones that are not kept as NULL."""
        for name in self.optional:
            if name in columns and name not in rows.schema.names:
                none = pa.nulls(rows.num_rows, self.schema.field(name).type)
                rows = rows.append_column(name, none)
        return rows.select(list(columns))

    def husk_of(self, rows: pa.Table) -> pa.Table:
        """Return the numbers, times and leaves of rows without the rest: proofs need no more."""
        arrays = [
            rows[each.name] if each.name in self.husk else pa.nulls(rows.num_rows, each.type)
            for each in self.schema
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)
