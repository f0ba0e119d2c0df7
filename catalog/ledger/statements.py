"""The log of statements under the ledger: a digest of its rows, in the signed head.

Rules:
    - Rows are covered in the transaction that writes them, and are only ever added.
    - Each row is kept with the digest of the log up to it, so that the first that is wrong can be
      told; what is signed is the last of these digests, and how many rows there are.
    - A column that the log is given later is to be in a row's bytes only where it is not NULL: the
      rows of before keep the bytes that they had.
    - Rows that stood there before the log was first covered are not covered. How many they are is
      signed with the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.verifier import LedgerProblem, Log
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.catalog.values.canonical import canonical, canonical_object
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.values.types import StoreValue

STATEMENT_COLUMNS: Final = columns_of(STATEMENTS)[:-1]
"""What a row says: all but its digest."""

_KEPT: Final = frozenset({str, int, type(None)})


def row_bytes(row: Sequence[StoreValue]) -> bytes:
    """Return a row as canonical JSON: an object that has a member for each column.

    Raises:
        LedgerProblem: It has a value that no row of the log has.
    """
    if not set(map(type, row)) <= _KEPT:
        raise LedgerProblem("it has a value that no row of the log has")
    try:
        members = {
            name: canonical(value) for name, value in zip(STATEMENT_COLUMNS, row, strict=True)
        }
    except InvalidQueryError as error:
        raise LedgerProblem(str(error)) from None
    return canonical_object(members)


def append_statements(
    writer: Writer,
    ledger: Ledger,
    rows: Sequence[tuple[Sequence[StoreValue], bytes]],
    *,
    now_us: int,
) -> None:
    """Add rows, each with its bytes, to the tenant's log, and sign that they are there.

    Raises:
        LedgerCorruptError: The ledger was changed by somebody else.
        MasterKeyError: The key is missing, or not this ledger's.
    """
    head = ledger.head(writer)
    log = None if head is None else head.log
    if log is None:
        log = Log(first=writer.count(STATEMENTS, own(ledger.tenant)))
    kept = []
    for row, written in rows:
        log = log.extended(written)
        kept.append((*row, log.digest))
    writer.insert(STATEMENTS, columns_of(STATEMENTS), kept)
    ledger.cover(writer, log, now_us=now_us)
