"""What whoever was given rows may keep: it says later whether a frame is what the engine gave."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    read_id: str
    seq: int | None
    salt: str
    result_sha256: str
