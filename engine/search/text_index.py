"""Full-text indexes of a vector table: how they part text, and whether they count what is there.

Rules:
    - BM25 weighs words by how many rows have them. Lance 14.0 goes on counting rows that were
      deleted after an index was built, and does not count those that came since. So where an index
      is not of exactly the rows that are there, a search asks one that is made of them, in memory.
    - Such an index is made once for a version, whoever asks and through whichever handle, under a
      lock of its own; those of all tables together have a limit.
    - A table of more than :data:`FRESH_ROWS_MAX` rows, or of longer texts than fit, is searched by
      what index it has: all rows are found, and words are weighed by the rows of when it was built
      until ``optimize()``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import lance
import pyarrow as pa

from affidavit.catalog.lake.vectors.text_indexes import (
    TEXT_INDEX,
    is_of_all_rows,
    options_of_index,
)
from affidavit.engine.search.among import ROW_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.engine.search.request import SearchRequest

FRESH_ROWS_MAX: Final = 100_000
"""Of so many rows an index is made in memory in about two seconds, for a version of a table."""

BYTES_PER_BYTE: Final = 3
"""What a text takes with its index, as measured: itself, and about twice as much."""

ENTRY_BYTES: Final = 1024
"""What is taken by knowing that one would be too large."""

FRESH_ID: Final = "row"
"""What holds the row ids of the table in an index in memory."""

FRESH_TEXT: Final = "text"


@dataclass(frozen=True, slots=True)
class TextIndex:
    """A full-text index of a column.

    Attributes:
        column: The column.
        options: How it parts text, as Lance's ``create_scalar_index`` and ``tokenize`` take it.
        has_positions: Whether it can be asked for words beside each other.
        is_exact: Whether it is of the rows that are there, and no others.
    """

    column: str
    options: Mapping[str, Any]
    has_positions: bool
    is_exact: bool

    def tokens(self, text: str, **options: Any) -> list[str]:  # noqa: ANN401 - as above
        """Return the words of a text as the index has them; ``options`` in place of its own."""
        return [token.text for token in lance.tokenize(text, **{**self.options, **options})]


def text_indexes(request: SearchRequest) -> dict[str, TextIndex]:
    """Return the full-text indexes of what is searched, by column."""
    found: dict[str, TextIndex] = request.indexes.texts.get(
        (request.info.table_id, request.version), lambda: (_described(request.dataset), 1)
    )
    return found


def _described(dataset: lance.LanceDataset) -> dict[str, TextIndex]:
    return {
        index.field_names[0]: TextIndex(
            index.field_names[0], options_of_index(dataset, index),
            bool(index.details.get("with_position")), is_of_all_rows(dataset, index),
        )
        for index in dataset.describe_indices()
        if index.index_type == TEXT_INDEX
    }  # fmt: skip


def fresh(request: SearchRequest, index: TextIndex) -> lance.LanceDataset | None:
    """Return a dataset in memory of the rows' ids and texts, indexed as ``index`` is.

    ``None`` if they are too many, or too long.
    """
    dataset, kept = request.dataset, request.indexes.fresh
    if dataset.count_rows() > FRESH_ROWS_MAX:
        return None
    options = json.dumps(dict(index.options), sort_keys=True)
    key = (request.info.table_id, request.version, index.column, options)
    made: _Fresh = kept.get(key, lambda: _made(dataset, index, kept.size_max))
    return made.dataset


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An index in memory; ``None`` where it would be too large."""

    dataset: lance.LanceDataset | None


def _made(dataset: lance.LanceDataset, index: TextIndex, size_max: int) -> tuple[_Fresh, int]:
    scanner = dataset.scanner(columns=[index.column], with_row_id=True)
    batches, size = [], ENTRY_BYTES
    for batch in scanner.to_batches():
        size += batch.nbytes * BYTES_PER_BYTE
        if size > size_max:
            return _Fresh(None), ENTRY_BYTES
        batches.append(batch)
    rows = pa.Table.from_batches(batches, scanner.projected_schema)
    texts = pa.table({FRESH_ID: rows[ROW_ID], FRESH_TEXT: rows[index.column]})
    made = lance.write_dataset(texts, f"memory://{uuid4().hex}")
    made.create_scalar_index(FRESH_TEXT, "INVERTED", with_position=True, **index.options)
    return _Fresh(made), size


def indexed_columns(
    indexes: Mapping[str, TextIndex], wanted: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns to look in: those wanted, or all that have an index."""
    return tuple(sorted(indexes)) if wanted is None else tuple(wanted)
