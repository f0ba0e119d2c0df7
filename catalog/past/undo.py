"""Undoing events: what rows were before them, column by column.

Rules:
    - Of the events after a moment only the first counts for each field of each row: its old value
      is what the moment saw. What comes after a row's first insert or delete does not count at all.
    - Rows are told apart by their names, columns by what the store calls them.
    - Parts are added oldest first; nothing is kept of an event that does not count.
    - What it costs grows with the rows that were touched: the others are only looked through once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.values.arrays import take, whole
from affidavit.catalog.values.text import read_objects, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.model.definition import MutableDefinition

    Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

Eras = list[tuple[int, "MutableDefinition"]]
"""From which event on a table had which definition."""

ROW_COLUMNS: Final = ["seq", "entity_id", "field", "action", "old_value"]
"""What is read of an event to undo it."""

UPDATE: Final = "update"
_NONE: Final = -1


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
        self._touched = pa.array([], pa.string())
        self._fields = fields
        self._starts = np.array([first for first, _ in eras], dtype=np.int64)
        self._stored = [definition.stored for _, definition in eras]
        self._first = np.full((0, len(fields)), _NONE, dtype=np.int64)
        self._whole = np.full(0, _NONE, dtype=np.int64)
        self._olds: list[pa.Array] = [pa.array([], pa.string())]
        self._eras: list[Numbers] = [np.zeros(0, dtype=np.int64)]
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
        found = pc.index_in(names, self._touched)
        if found.null_count:
            fresh = names.filter(found.is_null()).unique()
            self._touched = pa.concat_arrays([self._touched, fresh])
            more = np.full((len(fresh), len(self._fields)), _NONE, dtype=np.int64)
            self._first = np.concatenate([self._first, more])
            self._whole = np.concatenate([self._whole, np.full(len(fresh), _NONE)])
            found = pc.index_in(names, self._touched)
        return _numpy(found).astype(np.int64)

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
            self._eras.append(eras[at])
        self._kept += len(at)
        return np.arange(self._kept - len(at), self._kept)

    def rows(self, present: pa.Table) -> tuple[pa.Array, pa.Table]:
        """Return the names of the rows of then, and the rows, by what the store calls the columns.

        Args:
            present: The rows that there are now, in the order of their names; a column that there
                is no more is missing.
        """
        olds = pa.concat_arrays(self._olds)
        count = len(self._names)
        places, ordered = self._places()
        stays = np.full(count, True)
        stays[places[(self._whole != _NONE) & (places != _NONE)]] = False
        stayed = np.flatnonzero(stays)
        back, revived = self._revived(olds, ordered)
        kept = np.flatnonzero((places != _NONE) & (self._whole == _NONE))
        source = np.concatenate([stayed, count + np.arange(len(back))])
        chosen = np.concatenate([kept, back])  # of those that were touched
        at_place = np.concatenate(
            [np.searchsorted(stayed, places[kept]), len(stayed) + np.arange(len(back))]
        )
        arrays = []
        for at, (stored, field) in enumerate(self._fields.items()):
            first = self._first[chosen, at]
            changed = np.flatnonzero(first != _NONE)
            values = read_texts(olds.take(pa.array(first[changed])), field.type)
            taken = source.copy()
            taken[at_place[changed]] = count + len(back) + np.arange(len(changed))
            known = stored in present.schema.names
            now = whole(present[stored]) if known else pa.nulls(count, field.type)
            arrays.append(_taken([now, revived[at], values], taken))
        names = _taken([self._names, self._touched.take(pa.array(back))], source)
        schema = pa.schema([field.with_name(stored) for stored, field in self._fields.items()])
        return names, pa.Table.from_arrays(arrays, schema=schema)

    def _places(self) -> tuple[Numbers, Numbers]:
        """Return where each touched row is now, if it is, and the touched rows in that order."""
        found = pc.index_in(self._names, self._touched)
        at = np.flatnonzero(_numpy(found.is_valid()))
        places = np.full(len(self._touched), _NONE, dtype=np.int64)
        places[_numpy(found.drop_null())] = at
        gone = np.flatnonzero(places == _NONE)
        return places, np.concatenate([_numpy(found.drop_null()).astype(np.int64), gone])

    def _revived(self, olds: pa.Array, ordered: Numbers) -> tuple[Numbers, list[pa.Array]]:
        """Return the rows that were there before their first whole event, and what they were."""
        touched = ordered[self._whole[ordered] != _NONE]
        texts = olds.take(pa.array(self._whole[touched]))
        had = _numpy(texts.is_valid())  # an insert has no old row
        eras = np.concatenate(self._eras)[self._whole[touched]]
        rows = [touched[:0]]
        columns = [[pa.array([], field.type)] for field in self._fields.values()]
        for era, stored in enumerate(self._stored):
            chosen = had & (eras == era)
            if chosen.any():
                called = {store: name for name, store in stored.items()}
                kinds = {  # no column has such a name as those get that were not there yet
                    called.get(store, f"\0{store}"): each.type
                    for store, each in self._fields.items()
                }
                rows.append(touched[chosen])
                found = read_objects(texts.filter(pa.array(chosen)), kinds)
                for column, part in zip(columns, found, strict=True):
                    column.append(part)
        return np.concatenate(rows), [pa.concat_arrays(column) for column in columns]


def _put_first(into: Numbers, places: Numbers, values: Numbers) -> None:
    """Set each place to the first value that is meant for it."""
    into[places[::-1]] = values[::-1]  # numpy lets the last one win


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
