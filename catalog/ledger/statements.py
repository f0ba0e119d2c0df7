"""The log of statements under the ledger: a digest of its rows, in the signed head.

Rules:
    - Rows are covered in the transaction that writes them, and are only ever added.
    - Each row is kept with the digest of the log up to it, so that the first that is wrong can be
      told; what is signed is the last of these digests, and how many rows there are.
    - A row commits to its text by a salted hash, so that the text can be let go and the digests
      hold. Rows of before there were salts have the text itself in their bytes.
    - Where rows, or texts without a salt, are let go, an entry of the ledger says what the digest
      was before and after them: there the log has a gap that is signed.
    - Rows that stood there before the log was first covered are not covered. How many they are is
      signed with the rest.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.commitments import SALT_BYTES
from affidavit.catalog.ledger.verifier import LedgerProblem, Log, commitment
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.catalog.values.canonical import canonical, canonical_object
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.values.types import StoreValue

_BESIDE: Final = ("digest", "salt", "committed")
STATEMENT_COLUMNS: Final = [name for name in columns_of(STATEMENTS) if name not in _BESIDE]
"""What a row says."""

TEXT: Final = "text"
UNREAD: Final = "erased"
"""What a row has for a commitment whose text its digest was made of, once the text is gone."""

_KEPT: Final = frozenset({str, int, type(None)})


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """A row of the log, before or after its text was let go.

    Attributes:
        said: Its columns, in the order of :data:`STATEMENT_COLUMNS`.
        salt: That of its text's commitment; ``None`` where the text was let go, or had none.
        committed: The commitment, where the text was let go.
    """

    said: Sequence[StoreValue]
    salt: bytes | None = None
    committed: str | None = None

    @classmethod
    def new(cls, said: Sequence[StoreValue]) -> LoggedRow:
        """Return a row with a salt of its own."""
        return cls(said, os.urandom(SALT_BYTES))

    @property
    def _text(self) -> StoreValue:
        return self.said[STATEMENT_COLUMNS.index(TEXT)]

    def bytes(self) -> bytes:
        """Return the row as canonical JSON: an object that has a member for each column.

        Raises:
            LedgerProblem: It has a value that no row of the log has.
        """
        if not set(map(type, self.said)) <= _KEPT or not isinstance(self.salt, bytes | None):
            raise LedgerProblem("it has a value that no row of the log has")
        if self.committed is not None and (self.salt, self._text) != (None, None):
            raise LedgerProblem("it has a text, and the commitment of one that was let go")
        try:
            members = {
                name: canonical(value)
                for name, value in zip(STATEMENT_COLUMNS, self.said, strict=True)
            }
            if self.committed is not None:
                members[TEXT] = canonical(self.committed)
            elif self.salt is not None:
                members[TEXT] = canonical(commitment(self.salt, TEXT, members[TEXT]))
        except InvalidQueryError as error:
            raise LedgerProblem(str(error)) from None
        return canonical_object(members)


def extended(log: Log, row: bytes) -> Log:
    """Return what a log is with one more row, given as its bytes.

    The digest of no rows is 32 zero bytes, and with each row SHA-256(digest || row).
    """
    return Log(log.first, log.rows + 1, hashlib.sha256(log.digest + row).digest())


def append_statements(
    writer: Writer,
    ledger: Ledger,
    rows: Sequence[tuple[LoggedRow, bytes]],
    *,
    now_us: int,
) -> None:
    """Add rows, each with its bytes, to the tenant's log, and sign that they are there.

    Raises:
        LedgerCorruptError: The ledger was changed by somebody else.
        MasterKeyError: The key is missing, or not this ledger's.
    """
    log = ledger.log_of(writer)
    if log is None:
        log = Log(first=writer.count(STATEMENTS, own(ledger.tenant)))
    kept = []
    for row, written in rows:
        log = extended(log, written)
        kept.append((*row.said, log.digest, row.salt, None))
    writer.insert(STATEMENTS, [*STATEMENT_COLUMNS, *_BESIDE], kept)
    ledger.cover(writer, log, now_us=now_us)
