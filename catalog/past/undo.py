"""Undoing events: what rows were before them, column by column.

Rules:
    - Of the events after a moment only the first counts for each field of each row: its old value
      is what the moment saw. What comes after a row's first insert or delete does not count at all.
    - Rows are told apart by their names, columns by what the store calls them.
    - Rows are put together in blocks: beside the result there is little at any time.
    - Parts are added oldest first; nothing is kept of an event that does not count.
    - What it costs grows with the rows that were touched: the others are only looked through once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.past.touched import UNKNOWN, Touched
from affidavit.catalog.values.arrays import take, whole
from affidavit.catalog.values.text import read_objects, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.past.touched import Numbers

Eras = list[tuple[int, "MutableDefinition"]]
"""From which event on a table had which definition."""

ROW_COLUMNS: Final = ["seq", "entity_id", "field", "action", "old_value"]
"""What is read of an event to undo it."""

UPDATE: Final = "update"
_NONE: Final = -1

BLOCK_ROWS: Final = 1 << 17
"""So many rows are put together at a time."""


def stored_at(eras: Eras, seq: int) -> Mapping[str, str]:
    """Return what the store called each column when event ``seq`` happened."""
    for first, definition in reversed(eras):
        if first <= seq:
            return definition.stored
    return eras[0][1].stored


class Undo:
    """The events that count of those after a moment.

    Args:
        names: What the rows are called that there are now.
        fields: The columns that are asked for, under the names that the store has for them.
        eras: The table's definitions.
    """

    def __init__(self, names: pa.Array, fields: Mapping[str, pa.Field], eras: Eras) -> None:
        self._names = names
        self._touched = Touched()
        self._fields = fields
        self._starts = np.array([first for first, _ in eras], dtype=np.int64)
        self._stored = [definition.stored for _, definition in eras]
        self._first = np.full((0, len(fields)), _NONE, dtype=np.int32)
        self._whole = np.full(0, _NONE, dtype=np.int32)
        self._olds: list[pa.Array] = [pa.array([], pa.string())]
        self._begins = [0]
        self._eras: list[Numbers] = [np.zeros(0, dtype=np.uint8)]
        self._kept = 0

    def add(self, part: pa.Table) -> None:
        """Add inserts, deletes and updates of rows; a table's other events may not be there."""
        part = part.combine_chunks()
        rows = self._rows(whole(part["entity_id"]))
        eras = np.searchsorted(self._starts, part["seq"].to_numpy(), side="right") - 1
        eras = np.maximum(eras, 0)
        columns = self._columns(whole(part["field"]), eras)
        at: Numbers = np.arange(part.num_rows)
        is_whole = _numpy(pc.not_equal(part["action"], UPDATE))
        ends = np.full(len(self._whole), part.num_rows)
        _put_first(ends, rows[is_whole], at[is_whole])
        counts = ~is_whole & (columns != _NONE) & (self._whole[rows] == _NONE) & (at < ends[rows])
        ends[ends == part.num_rows] = _NONE
        wholes = ends[(self._whole == _NONE) & (ends != _NONE)]

        places = rows * len(self._fields) + columns
        flat = self._first.reshape(-1)
        new = at[counts]
        new = new[flat[places[new]] == _NONE]
        _put_first(flat, places[new], new)
        new = new[flat[places[new]] == new]
        flat[places[new]] = self._keep(part, new, eras)
        self._whole[rows[wholes]] = self._keep(part, wholes, eras)

    def _rows(self, names: pa.Array) -> Numbers:
        """Return the touched row that each name stands for, a new one for a new name."""
        found = self._touched.add(names)
        more = len(self._touched) - len(self._whole)
        if more:
            fresh = np.full((more, len(self._fields)), _NONE, dtype=np.int32)
            self._first = np.concatenate([self._first, fresh])
            self._whole = np.concatenate([self._whole, np.full(more, _NONE, dtype=np.int32)])
        return found.astype(np.int64)

    def _columns(self, names: pa.Array, eras: Numbers) -> Numbers:
        """Return the place of each event's column, if it is asked for."""
        coded = names.dictionary_encode()
        words = coded.dictionary.to_pylist()
        places = {stored: at for at, stored in enumerate(self._fields)}
        known = np.array(
            [
                [places.get(stored.get(word, ""), _NONE) for word in words]
                for stored in self._stored
            ],
            dtype=np.int64,
        )
        found: Numbers = known[eras, coded.indices.to_numpy()]
        return found

    def _keep(self, part: pa.Table, at: Numbers, eras: Numbers) -> Numbers:
        """Keep the events ``at``, and return where."""
        if len(at):
            self._olds.append(whole(part["old_value"].take(pa.array(at))))
            self._begins.append(self._kept)
            self._eras.append(eras[at].astype(np.min_scalar_type(len(self._starts))))
        self._kept += len(at)
        return np.arange(self._kept - len(at), self._kept, dtype=np.int32)

    def rows(self, present: pa.Table) -> tuple[pa.Array, pa.Table]:
        """Return the names of the rows of then, and the rows, by what the store calls the columns.

        Args:
            present: The rows that there are now, in the order of their names; a column that there
                is no more is missing.
        """
        numbers = self._touched.find(self._names)
        known = numbers != UNKNOWN
        is_whole = np.full(len(numbers), False)
        is_whole[known] = self._whole[numbers[known]] != _NONE
        if not (self._whole != _NONE).any():
            self._touched = Touched()  # no row comes back: no name is asked for any more
        parts = [[pa.array([], field.type)] for field in self._fields.values()]
        for at in range(0, len(numbers), BLOCK_ROWS):
            these = slice(at, at + BLOCK_ROWS)
            self._add_stayed(parts, present[these], numbers[these], ~is_whole[these])
        back = self._add_revived(parts, self._ended(numbers[is_whole]))
        names = self._names
        if is_whole.any() or len(back):
            stayed = names.filter(pa.array(~is_whole))
            names = pa.concat_arrays([stayed, self._touched.names(back)])
        arrays = [_joined(column) for column in parts]
        schema = pa.schema([field.with_name(stored) for stored, field in self._fields.items()])
        return names, pa.Table.from_arrays(arrays, schema=schema)

    def _add_stayed(
        self, parts: Sequence[list[pa.Array]], present: pa.Table, rows: Numbers, stays: Numbers
    ) -> None:
        """Add those rows of now that were the same rows then, with the values of then."""
        at = np.flatnonzero(stays)
        for place, (stored, field) in enumerate(self._fields.items()):
            known = stored in present.schema.names
            now = whole(present[stored]) if known else pa.nulls(len(rows), field.type)
            parts[place].append(self._values(place, field.type, now, at, rows[at]))

    def _values(
        self, place: int, kind: pa.DataType, now: pa.Array, at: Numbers, rows: Numbers
    ) -> pa.Array:
        """Return a column's values at ``at`` of ``now``, or what the events of ``rows`` say."""
        first = np.full(len(rows), _NONE, dtype=np.int32)
        is_touched = rows != UNKNOWN
        first[is_touched] = self._first[rows[is_touched], place]
        changed = np.flatnonzero(first != _NONE)
        values = read_texts(self._texts(first[changed]), kind)
        source = at.copy()
        source[changed] = len(now) + np.arange(len(changed))
        return _taken([now, values], source)

    def _texts(self, events: Numbers) -> pa.Array:
        """Return the old values of events that were kept, which stay where they are."""
        parts = np.searchsorted(self._begins, events, side="right") - 1
        found, order = [self._olds[0][:0]], np.argsort(parts, kind="stable")
        for part in np.unique(parts):
            places = events[parts == part] - self._begins[part]
            found.append(self._olds[part].take(pa.array(places)))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_arrays(found).take(pa.array(back))

    def _ended(self, ended: Numbers) -> Numbers:
        """Return ``ended`` and then the rows with a whole event that are gone now."""
        is_gone = self._whole != _NONE
        is_gone[ended] = False
        return np.concatenate([ended, np.flatnonzero(is_gone)])

    def _add_revived(self, parts: Sequence[list[pa.Array]], ended: Numbers) -> Numbers:
        """Add the rows that were there before their first whole event, and return which."""
        eras = np.concatenate(self._eras)[self._whole[ended]]
        back = [ended[:0]]
        for era, stored in enumerate(self._stored):
            called = {store: name for name, store in stored.items()}
            kinds = {  # no column has such a name as those get that were not there yet
                called.get(store, f"\0{store}"): each.type for store, each in self._fields.items()
            }
            chosen = ended[eras == era]
            for at in range(0, len(chosen), BLOCK_ROWS):
                rows = chosen[at : at + BLOCK_ROWS]
                texts = self._texts(self._whole[rows])
                had = texts.is_valid()  # an insert has no old row
                rows, texts = rows[_numpy(had)], texts.filter(had)
                if len(rows):
                    back.append(rows)
                    self._add_objects(parts, read_objects(texts, kinds), rows)
        return np.concatenate(back)

    def _add_objects(
        self, parts: Sequence[list[pa.Array]], found: Sequence[pa.Array], rows: Numbers
    ) -> None:
        at = np.arange(len(rows))
        for place, (field, now) in enumerate(zip(self._fields.values(), found, strict=True)):
            parts[place].append(self._values(place, field.type, now, at, rows))


def _put_first(into: Numbers, places: Numbers, values: Numbers) -> None:
    """Set each place to the first value that is meant for it."""
    into[places[::-1]] = values[::-1]  # numpy lets the last one win


def _joined(parts: list[pa.Array]) -> pa.Array:
    """Return parts of a column in one piece; they are let go."""
    joined = pa.concat_arrays(parts)
    parts.clear()
    return joined


def _taken(parts: Sequence[pa.Array], source: Numbers) -> pa.Array:
    """Return the values at ``source`` of ``parts``, one after the other."""
    filled = [part for part in parts if len(part)]
    joined = pa.concat_arrays(filled) if len(filled) > 1 else (filled or parts)[0]
    if len(source) == len(joined) and np.array_equal(source, np.arange(len(joined))):
        return joined
    batch = pa.RecordBatch.from_arrays([joined], ["_"])
    return take(batch, pa.array(source)).column(0)


def _numpy(column: pa.Array | pa.ChunkedArray) -> Any:  # noqa: ANN401 - of numbers or booleans
    return (
        column.to_numpy()
        if isinstance(column, pa.ChunkedArray)
        else column.to_numpy(zero_copy_only=False)
    )
