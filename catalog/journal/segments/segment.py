"""A sealed segment, as the store names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed segment, as the store names it.

    Attributes:
        first_seq: Its first row: an event, or another entry of the ledger.
        last_seq: Its last; entries in between that are of the other kind stand elsewhere.
        events: How many rows it has.
        first_at: The time of the earliest, in microseconds since the epoch.
        last_at: And of the latest.
        sha256: Of the file.
        root: The Merkle root over its rows' leaves.
        file: Its name in the tenant's folder.
        bytes: The file's size.
        dropped: Whether its rows were let go, and only their leaves kept.
    """

    first_seq: int
    last_seq: int
    events: int
    first_at: int
    last_at: int
    sha256: bytes
    root: bytes
    file: str
    bytes: int
    dropped: int = 0


_NAME: Final = re.compile(r"\d+-\d+(\.[0-9a-f]{8})?\.parquet")
"""What a segment's file is called: no other file is ever opened or removed as one."""


def segment_of(row: Sequence[object], whose: str) -> Segment:
    """Return the segment that a row of the store names, of the journal or ``whose`` it is.

    Raises:
        LedgerCorruptError: A column has a value that sealing never puts there.
    """
    kinds = (int, int, int, int, int, bytes, bytes, str, int, int)
    typed = all(type(value) is kind for value, kind in zip(row, kinds, strict=True))
    if not typed or not _NAME.fullmatch(str(row[7])):
        seq = row[0] if type(row[0]) is int else None
        msg = f"what the store says of segment {row[7]!r} of {whose} is unreadable"
        raise LedgerCorruptError(msg, seq=seq)
    return Segment(*row)  # type: ignore[arg-type]  # as was just checked
