"""What whoever was given rows may keep: it says later whether a frame is what the engine gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of one read.

    Attributes:
        read_id: Its record.
        seq: The record's number in the ledger; ``None`` while it waits for one, as it does beside
            somebody's open transaction.
        salt: What was hashed before the rows, in hexadecimal.
        result_sha256: The digest of the rows after the salt: what ``affidavit.digest(rows,
            bytes.fromhex(salt))`` returns.
        schema: The columns and types that the rows had: what a frame that keeps other types is
            read in. One that was made without it is held to frames as they are.
    """

    read_id: str
    seq: int | None
    salt: str
    result_sha256: str
    schema: pa.Schema | None = field(default=None, repr=False, compare=False)
