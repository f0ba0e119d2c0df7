"""The names of rows that events touched, numbered in the order in which they came.

Rules:
    - Few names are texts. Many that are all numbers are kept as such, in order, which takes a third
      of the memory of a table of texts by their hash; one that is no number makes all texts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    Numbers = np.ndarray[tuple[int], np.dtype[Any]]

UNKNOWN: Final = -1
"""What :meth:`Touched.find` gives for a name that no event had."""

TEXTS_MAX: Final = 1 << 16
"""So many names are kept as texts even if they are numbers."""

_BLOCK: Final = 1 << 17


class Touched:
    """Names, each with the number of those that came before it."""

    def __init__(self) -> None:
        self._texts = pa.array([], pa.string())
        self._may_be_numbers = True
        self._sorted: Numbers | None = None
        self._numbers: Numbers = np.zeros(0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._texts) if self._sorted is None else len(self._sorted)

    def add(self, names: pa.Array) -> Numbers:
        """Return the number of each name, a new one for a new name."""
        found = self.find(names)
        if (found == UNKNOWN).any():
            fresh = names.filter(pa.array(found == UNKNOWN)).unique()
            self._put(fresh)
            found = self.find(names)
        return found

    def find(self, names: pa.Array) -> Numbers:
        """Return the number of each name, ``UNKNOWN`` for one that did not come."""
        if self._sorted is None:
            found = pc.fill_null(pc.index_in(names, self._texts), UNKNOWN)
            known: Numbers = found.to_numpy(zero_copy_only=False)
            return known
        blocks = [names.slice(at, _BLOCK) for at in range(0, len(names), _BLOCK)]
        return np.concatenate([np.zeros(0, np.int32), *map(self._find_numbers, blocks)])

    def _find_numbers(self, names: pa.Array) -> Numbers:
        values = _as_numbers(names)
        if values is None or self._sorted is None:
            self._make_texts()
            return self.find(names)
        places = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        return np.where(self._sorted[places] == values, self._numbers[places], UNKNOWN)

    def names(self, at: Numbers) -> pa.Array:
        """Return the names that have these numbers."""
        return self._all_texts().take(pa.array(at)) if len(at) else self._texts[:0]

    def _put(self, fresh: pa.Array) -> None:
        values = None if self._sorted is None else _as_numbers(fresh)
        if self._sorted is None or values is None:
            self._make_texts()
            self._texts = pa.concat_arrays([self._texts, fresh])
            if self._may_be_numbers and len(self._texts) > TEXTS_MAX:
                self._make_numbers()
            return
        order = np.argsort(values)
        places = np.searchsorted(self._sorted, values[order])
        numbers = (len(self._numbers) + order).astype(np.int32)
        self._sorted = np.insert(self._sorted, places, values[order])
        self._numbers = np.insert(self._numbers, places, numbers)

    def _make_numbers(self) -> None:
        values = _as_numbers(self._texts)
        self._may_be_numbers = values is not None
        if values is not None:
            order = np.argsort(values)
            self._sorted, self._numbers = values[order], order.astype(np.int32)
            self._texts = self._texts[:0]

    def _make_texts(self) -> None:
        if self._sorted is not None:
            self._texts = self._all_texts()
            self._sorted, self._may_be_numbers = None, False

    def _all_texts(self) -> pa.Array:
        if self._sorted is None:
            return self._texts
        values = np.empty_like(self._sorted)
        values[self._numbers] = self._sorted
        return pa.array(values).cast(pa.string())


def _as_numbers(names: pa.Array) -> Numbers | None:
    """Return names as the numbers that they are written of, ``None`` if one is not."""
    try:
        values = names.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    if names.null_count or not values.cast(pa.string()).equals(names):
        return None
    found: Numbers = values.to_numpy()
    return found
