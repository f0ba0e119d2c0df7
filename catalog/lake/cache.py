"""Arrow copies of unchanged tables, within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

BUDGET_BYTES: Final = 128 * 1024 * 1024


class CachedTable:
    """A whole table at one version, and what was built from it."""

    def __init__(self, version: int, data: pa.Table) -> None:
        self.version = version
        self.data = data
        self.provider: Any = None  # DataFusion's in-memory table over ``data``, once asked for

    def build(self, make: Callable[[pa.Table], object]) -> None:
        """Have the provider made, if it is not there yet."""
        if self.provider is None:
            self.provider = make(self.data)


class TableCache:
    """The least recently used tables leave when the budget is full. Safe across threads.

    Only committed versions may be put: an uncommitted version number can come back with other
    rows after a rollback.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self._tables: OrderedDict[str, CachedTable] = OrderedDict()
        self._too_large: dict[str, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, table_id: str, version: int) -> CachedTable | None:
        """Return the copy of ``table_id`` at exactly ``version``, if it is here."""
        with self._lock:
            cached = self._tables.get(table_id)
            if cached is None or cached.version != version:
                return None
            self._tables.move_to_end(table_id)
            return cached

    def put(self, table_id: str, version: int, data: pa.Table) -> CachedTable | None:
        """Keep ``data`` unless it is larger than the whole budget or older than what is here."""
        size = data.nbytes
        with self._lock:
            held = self._tables.get(table_id)
            if held is not None and held.version >= version:
                return held if held.version == version else None
            if size > self.budget_bytes:
                self._too_large[table_id] = version
                return None
            if held is not None:
                self._bytes -= self._tables.pop(table_id).data.nbytes
            while self._tables and self._bytes + size > self.budget_bytes:
                _, oldest = self._tables.popitem(last=False)
                self._bytes -= oldest.data.nbytes
            cached = CachedTable(version, data)
            self._tables[table_id] = cached
            self._bytes += size
            return cached

    def refuse(self, table_id: str, version: int) -> None:
        """Remember that ``table_id`` at ``version`` does not fit, so that nobody tries again."""
        with self._lock:
            self._too_large[table_id] = version

    def may_fit(self, table_id: str, version: int) -> bool:
        """Return whether nobody found ``table_id`` at ``version`` too large yet."""
        with self._lock:
            return self._too_large.get(table_id) != version
