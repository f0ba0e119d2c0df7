"""What the log of statements says of a caller's transaction.

Rules:
    - What a statement did is not known before its transaction is over: its row is held until then.
    - A row says ``rolled back`` of a statement that did not fail and was undone, with its
      transaction or by a savepoint; not of what nothing undoes, as SET, PREPARE and SAVEPOINT.
    - How a transaction ended is a row of its own, whoever ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import ref

from affidavit.catalog.ledger.statements import STATEMENT_COLUMNS
from affidavit.catalog.model import clock
from affidavit.catalog.model.clock import uuid7
from affidavit.engine.statement.statement import Kind

if TYPE_CHECKING:
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.values.types import StoreValue

HELD_MAX: Final = 20_000
"""How many rows of a transaction may be held; past that the oldest are dropped."""

OK: Final = "ok"
ROLLED_BACK: Final = "rolled back"
_STATUS: Final = STATEMENT_COLUMNS.index("status")
_KIND: Final = STATEMENT_COLUMNS.index("kind")
_ENDS: Final = (Kind.COMMIT.value, Kind.ROLLBACK.value)
_STAYS: Final = frozenset({
    each.value
    for each in (
        Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK, Kind.SAVEPOINT, Kind.RELEASE,
        Kind.SETTING, Kind.PREPARE, Kind.DEALLOCATE,
    )
})  # fmt: skip
"""What no rollback undoes."""


class _Held:
    """A row, and whether what it tells of was undone."""

    def __init__(self, row: tuple[StoreValue, ...]) -> None:
        self.row = row
        self.undone = False

    def undo(self) -> None:
        self.undone = True


class Transacted:
    """The rows of one transaction; whoever calls this holds the log's lock.

    Args:
        identity: Who began it.
        transaction: What it is.
    """

    def __init__(self, identity: Identity, transaction: Transaction) -> None:
        self.identity = identity
        self._transaction = ref(transaction)  # what holds on to it keeps what waits for its end
        self._rows: list[_Held] = []
        self._committed: bool | None = None
        self._said: str | None = None

    def says(self, kind: Kind | None) -> None:
        """Note which statement is run in it, which has a row of its own; ``None`` for none."""
        self._said = None if kind is None else kind.value

    def add(self, row: tuple[StoreValue, ...]) -> list[tuple[StoreValue, ...]]:
        """Hold a row; or return it as it is to be written, where it need not be held."""
        if self._committed is None:
            held = _Held(row)
            transaction = self._transaction()
            if transaction is not None:
                transaction.on_undo(held.undo)
            self._rows.append(held)
            del self._rows[:-HELD_MAX]
            return []
        return [row if self._committed else _undone(row)]

    def end(self, *, committed: bool) -> list[tuple[StoreValue, ...]]:
        """Return the rows, now that it is over, and one that says how it ended if none will."""
        self._committed = committed
        held, self._rows = self._rows, []
        rows = [_undone(each.row) if each.undone or not committed else each.row for each in held]
        ended = _ENDS[not committed]
        return rows if self._said == ended else [*rows, _row_of_end(self.identity, ended)]


def _row_of_end(identity: Identity, kind: str) -> tuple[StoreValue, ...]:
    """Return the row of a transaction's end that no statement asked for."""
    at_us = clock.now_us()
    who = (storable(identity.actor), storable(identity.source), storable(identity.workspace))
    return (uuid7(at_us), at_us, *who, kind, kind.upper(), "", "", 0, None, OK, None)


def storable(text: str) -> str:
    """Return ``text`` without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _undone(row: tuple[StoreValue, ...]) -> tuple[StoreValue, ...]:
    """Return a row that says that what it tells of was undone, unless it failed, or stays."""
    if row[_STATUS] != OK or row[_KIND] in _STAYS:
        return row
    return (*row[:_STATUS], ROLLED_BACK, *row[_STATUS + 1 :])
