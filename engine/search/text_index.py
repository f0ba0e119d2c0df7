"""Full-text indexes of a vector table: how they part text, and whether they count what is there.

Rules:
    - BM25 weighs words by how many rows have them. Lance 14.0 goes on counting rows that were
      deleted after an index was built, and does not count those that came since. So where an index
      is not of exactly the rows that are there, a search asks one that is made of them, in memory,
      and is let go with the handle on that version of the table.
    - A table of more than :data:`FRESH_ROWS_MAX` rows is searched by what index it has: all rows
      are found, and words are weighed by the rows of when it was built until ``optimize()``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

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

FRESH_ROWS_MAX: Final = 100_000
"""Of so many rows an index is made in memory in about two seconds, for a version of a table."""

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


def text_indexes(dataset: lance.LanceDataset) -> dict[str, TextIndex]:
    """Return the full-text indexes of a dataset, by column."""
    with _knowing:
        known = _INDEXES.get(dataset)
    if known is None:
        known = {
            index.field_names[0]: TextIndex(
                index.field_names[0], options_of_index(dataset, index),
                bool(index.details.get("with_position")), is_of_all_rows(dataset, index),
            )
            for index in dataset.describe_indices()
            if index.index_type == TEXT_INDEX
        }  # fmt: skip
        with _knowing:
            _INDEXES[dataset] = known
    return known


def fresh(dataset: lance.LanceDataset, index: TextIndex) -> lance.LanceDataset:
    """Return a dataset in memory of the rows' ids and texts, indexed as ``index`` is."""
    with _making:  # many threads that search a new version make it once
        made = _FRESH.setdefault(dataset, {})
        if index.column not in made:
            made[index.column] = _made(dataset, index)
        return made[index.column]


def _made(dataset: lance.LanceDataset, index: TextIndex) -> lance.LanceDataset:
    rows = dataset.scanner(columns=[index.column], with_row_id=True).to_table()
    texts = pa.table({FRESH_ID: rows[ROW_ID], FRESH_TEXT: rows[index.column]})
    made = lance.write_dataset(texts, f"memory://{uuid4().hex}")
    made.create_scalar_index(FRESH_TEXT, "INVERTED", with_position=True, **index.options)
    return made


def indexed_columns(
    indexes: Mapping[str, TextIndex], wanted: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns to look in: those wanted, or all that have an index."""
    return tuple(sorted(indexes)) if wanted is None else tuple(wanted)


_knowing: Final = threading.Lock()
_making: Final = threading.Lock()
_INDEXES: Final[WeakKeyDictionary[lance.LanceDataset, dict[str, TextIndex]]] = WeakKeyDictionary()
_FRESH: Final[WeakKeyDictionary[lance.LanceDataset, dict[str, lance.LanceDataset]]] = (
    WeakKeyDictionary()
)
