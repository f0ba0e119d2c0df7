"""What is remembered of segments that were read lately: their footers and indexes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pyarrow.dataset as pads

FOOTERS_BYTES: Final = 128 * 1024 * 1024
"""How much memory the footers of segments that were read lately may take."""

INDEXES_BYTES: Final = 96 * 1024 * 1024
"""And the indexes that were fetched from an object store."""

_FOOTER_GROWTH: Final = 12
"""How many times larger a footer is in memory, as measured."""

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """What was used last, as far as the budget goes. Safe across threads."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return what was put under ``key``, if it is still here."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep ``value``, which takes ``size`` bytes, until others need the room."""
        with self._lock:
            self._bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = (value, size)
            while self._bytes > self._budget_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]


class Footer:
    """What a segment's footer says, parsed once.

    Attributes:
        fragment: The file, as a scan takes it.
        metadata: The footer.
        ends: How many rows there are up to the end of each row group.
        spans: The first and last number in each; -1 where it says none.
    """

    def __init__(self, fragment: pads.ParquetFileFragment) -> None:
        self.fragment = fragment
        self.metadata = fragment.metadata
        groups = [self.metadata.row_group(at) for at in range(self.metadata.num_row_groups)]
        stated = [group.column(0).statistics for group in groups]
        self.ends = list(accumulate(group.num_rows for group in groups))
        self.spans = [(-1, -1) if each is None else (each.min, each.max) for each in stated]

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return int(self.metadata.serialized_size) * _FOOTER_GROWTH


class SegmentCache:
    """What a lake remembers of the segments that were read lately."""

    def __init__(self) -> None:
        self.footers: Recent[Footer] = Recent(FOOTERS_BYTES)
        self.indexes: Recent[bytes] = Recent(INDEXES_BYTES)
