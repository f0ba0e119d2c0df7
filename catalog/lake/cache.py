"""Arrow copies of tables in memory, within a budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.store.protocol import ROWID

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from affidavit.catalog.model.definition import TableInfo

BUDGET_BYTES: Final = 128 * 1024 * 1024

IN_FILE_ROWS_MIN: Final = 50_000
"""Tables of so many rows are copied to a file too."""

BEHIND_MAX: Final = 256
"""By so many versions a file may be behind before another is written."""


class TableCopy:
    """A whole table at one version, and what was built from it.

    Args:
        info: The table, at that version.
        rows: Its rows by their identity, which is the first column.
        total: What the sum of the rows is, as it is signed; ``None`` where none is.
        in_file: Of which version there is a copy in a file, if there is one.
        size: How many bytes of memory it takes; a file that is mapped takes none.
    """

    def __init__(
        self,
        info: TableInfo,
        rows: pa.Table,
        total: int | None = None,
        *,
        in_file: int | None = None,
        size: int | None = None,
    ) -> None:
        self.info = info
        self.version = info.version
        self.rows = rows
        self.total = total
        self.in_file = in_file
        self.size = rows.nbytes if size is None else size
        self.provider: Any = None  # DataFusion's in-memory table over ``data``, once asked for

    @cached_property
    def data(self) -> pa.Table:
        """The rows without their identities."""
        return self.rows.drop_columns([ROWID])

    def note_file(self) -> None:
        """Note that a file has it as it is here."""
        self.in_file = self.version

    def build(self, make: Callable[[pa.Table], object]) -> None:
        """Have the provider made, if it is not there yet."""
        if self.provider is None:
            self.provider = make(self.data)


class TableCache:
    """The least recently used tables leave when the budget is full. Safe across threads.

    Only committed versions may be put: an uncommitted version number can come back with other
    rows after a rollback.

    Args:
        budget_bytes: How much it holds.
        on_put: Called once a copy came that a file may be made of.
    """

    def __init__(
        self, budget_bytes: int = BUDGET_BYTES, on_put: Callable[[], object] = lambda: None
    ) -> None:
        self.budget_bytes = budget_bytes
        self._on_put = on_put
        self._tables: OrderedDict[str, TableCopy] = OrderedDict()
        self._too_large: dict[str, int] = {}
        self._least: dict[str, int] = {}
        self._asked: set[str] = set()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, table_id: str, version: int) -> TableCopy | None:
        """Return the copy of ``table_id`` at exactly ``version``, if it is here."""
        found = self.newest(table_id)
        return found if found is not None and found.version == version else None

    def newest(self, table_id: str) -> TableCopy | None:
        """Return the copy of ``table_id``, whichever version it is of."""
        with self._lock:
            found = self._tables.get(table_id)
            if found is not None:
                self._tables.move_to_end(table_id)
            return found

    def put(self, copy: TableCopy) -> TableCopy | None:
        """Keep ``copy`` unless it is larger than the whole budget or older than what is here."""
        table_id = copy.info.table_id
        with self._lock:
            held = self._tables.get(table_id)
            if held is not None and held.version >= copy.version:
                return held if held.version == copy.version else None
            if copy.version < self._least.get(table_id, 0):
                return None
            if copy.size > self.budget_bytes:
                self._too_large[table_id] = copy.version
                return None
            self._forget(table_id)
            while self._tables and self._bytes + copy.size > self.budget_bytes:
                self._forget(next(iter(self._tables)))
            self._tables[table_id] = copy
            self._bytes += copy.size
        if copy.in_file is None and copy.rows.num_rows >= IN_FILE_ROWS_MIN:
            self._on_put()
        return copy

    def without_file(self) -> list[TableCopy]:
        """Return the copies of large tables that no file has, or one of long ago."""
        with self._lock:
            return [
                copy
                for copy in self._tables.values()
                if copy.rows.num_rows >= IN_FILE_ROWS_MIN
                and (copy.in_file is None or copy.version - copy.in_file > BEHIND_MAX)
            ]

    def _forget(self, table_id: str) -> None:
        held = self._tables.pop(table_id, None)
        self._bytes -= 0 if held is None else held.size

    def forget(self, table_id: str, version: int) -> None:
        """Let go of the copy of ``table_id``, and take none of a version before ``version``."""
        with self._lock:
            self._forget(table_id)
            self._least[table_id] = version

    def refuse(self, table_id: str, version: int) -> None:
        """Remember that ``table_id`` at ``version`` does not fit, so that nobody tries again."""
        with self._lock:
            self._too_large[table_id] = version

    def may_fit(self, table_id: str, version: int) -> bool:
        """Return whether nobody found ``table_id`` at ``version`` too large yet."""
        with self._lock:
            return self._too_large.get(table_id) != version

    def is_asked_again(self, table_id: str) -> bool:
        """Return whether this was asked of ``table_id`` before."""
        with self._lock:
            was_asked = table_id in self._asked
            self._asked.add(table_id)
            return was_asked
