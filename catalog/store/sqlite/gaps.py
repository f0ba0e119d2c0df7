"""What deleted values leave in a store's file, beside what ``secure_delete`` overwrites.

SQLite overwrites a row that is deleted. A row that moves within its page, or to another, leaves
bytes in the gap between a page's list of cells and its cells, which nothing overwrites before they
are needed. ``VACUUM`` writes every page anew, in time that is proportional to the file.

Source: https://www.sqlite.org/fileformat2.html#b_tree_pages, ``PRAGMA secure_delete``.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

REBUILT_BYTES_MAX: Final = 64 << 20
"""A file of up to this size is written anew whatever its bytes are: a third of a second."""
LOOKED_FOR_BYTES_MIN: Final = 6
"""Shorter texts stand in any large file."""


def may_have(path: Path, gone: Collection[str] | None) -> bool:
    """Return whether a store's file may have a text that was deleted; ``None`` is unknown texts."""
    size = path.stat().st_size
    if gone is None or size <= REBUILT_BYTES_MAX:
        return gone is None or bool(gone)
    wanted = [data for each in gone if len(data := each.encode()) >= LOOKED_FOR_BYTES_MIN]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
        return any(found.find(each) >= 0 for each in wanted)
