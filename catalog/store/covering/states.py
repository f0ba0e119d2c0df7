"""The sums of covered objects, as the store keeps them beside what they sum up.

Rules:
    - The sum over all of a tenant's objects is what its ledger's head states. An object's own sum
      is believed because it is in that one.
    - A tenant whose data was not covered before is summed up whole, once, from what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.covering.elements import grouped, object_element, rows_sum
from affidavit.catalog.store.covering.multiset import (
    MASK,
    SUM_BYTES,
    as_bytes,
    digest,
    element,
    of_bytes,
)
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import STATES
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Move, Reader, StoreTable, Writer
    from affidavit.catalog.values.types import StoreValue

_COLUMNS: Final = columns_of(STATES)

KNOWN_MAX: Final = 1024
"""How many states are known at most."""


@dataclass(frozen=True)  # without slots: its element is kept
class State:
    """What an object that is covered comes to.

    Attributes:
        name: The object: a store table, or those of its rows that share a value.
        version: How many entries the ledger had once it was last changed.
        rows: How many rows it has.
        total: Their sum.
    """

    name: str
    version: int
    rows: int
    total: int

    @cached_property
    def element(self) -> int:
        """What it is of its tenant's sum."""
        return element(object_element(self.name, self.version, self.rows, digest(self.total)))


def states(reader: Reader, tenant: str) -> list[State]:
    """Return the state of each of a tenant's objects."""
    rows = reader.select(STATES, _COLUMNS, own(tenant), order_by=("object",))
    return [_state(*row) for row in rows]


def _state(*row: object) -> State:
    """Return a state as it is kept.

    Raises:
        LedgerCorruptError: It is none: somebody else wrote it.
    """
    name, version, rows, kept = row
    if (
        isinstance(name, str)
        and isinstance(version, int)
        and isinstance(rows, int)
        and isinstance(kept, bytes)
        and len(kept) == SUM_BYTES
    ):
        return State(name, version, rows, of_bytes(kept))
    raise LedgerCorruptError(f"the kept sum of {name!r} is unreadable")


class Known:
    """The states that were read or written last, which hold as long as the tenant's sum does."""

    def __init__(self) -> None:
        self._total = -1
        self._states: dict[str, State | None] = {}

    def of(self, total: int) -> dict[str, State | None]:
        """Return what is known of states whose sum is ``total``; ``None`` for one that is not."""
        if total != self._total or len(self._states) > KNOWN_MAX:
            return {}
        return dict(self._states)

    def note(self, total: int, states: dict[str, State | None]) -> None:
        """Note the states whose sum is ``total``: some of them, as they were written."""
        self._total, self._states = total, states


def add_moves(
    writer: Writer,
    tenant: str,
    moves: Mapping[str, Move],
    total: int,
    known: Known,
    *,
    version: int,
) -> int:
    """Write down what moved, and return the tenant's sum, which was ``total``."""
    found = known.of(total)
    for name, move in moves.items():
        where = Compare("=", "object", name)
        was = found[name] if name in found else find_state(writer, tenant, name)
        rows, kept = move.count, move.total
        if was is not None:
            total -= was.element
            if not move.is_anew:
                rows, kept = rows + was.rows, kept + was.total
        if move.is_gone or (not rows and "/" in name):
            writer.delete_where(STATES, where)
            found[name] = None
            continue
        now = found[name] = State(name, version, rows, kept & MASK)
        total += now.element
        values: dict[str, StoreValue] = {"version": version, "rows": rows, "state": as_bytes(kept)}
        if was is None:
            writer.insert(STATES, _COLUMNS, [(name, *values.values())])
        else:
            writer.update_where(STATES, values, where)
    total &= MASK
    known.note(total, found)
    return total


def find_state(reader: Reader, tenant: str, name: str) -> State | None:
    """Return what an object of a tenant's comes to, if it is covered."""
    rows = reader.select(STATES, _COLUMNS, own(tenant, Compare("=", "object", name)))
    return _state(*rows[0]) if rows else None


def counted(
    reader: Reader,
    tenant: str,
    table: StoreTable,
    *conditions: Predicate,
    advance: Callable[[int], object] = lambda _: None,
) -> dict[str, tuple[int, int]]:
    """Return how many rows each object in ``table`` has, as it stands there, and their sum.

    ``conditions`` leave out others; ``advance`` is told how many rows were read.
    """
    cover, columns = table.cover, table.covered
    assert cover is not None
    found: dict[str, tuple[int, int]] = {table.name: (0, 0)} if cover.by is None else {}
    for page in reader.rows(table, columns, own(tenant, *conditions)):
        for name, members in grouped(table, columns, page).items():
            rows, kept = found.get(name, (0, 0))
            found[name] = (rows + len(members), kept + rows_sum(table, name, columns, members))
        advance(len(page))
    return found


def refuse_unstated(reader: Reader, tenant: str, table: StoreTable) -> None:
    """Raise LedgerCorruptError if a small table is not what its kept sums say."""
    for name, (rows, total) in counted(reader, tenant, table).items():
        state = find_state(reader, tenant, name)
        if state is None or (state.rows, state.total) != (rows, total & MASK):
            msg = f"{name} was put there or changed by somebody else: nothing is done with it"
            raise LedgerCorruptError(msg)


def begin(
    writer: Writer,
    tenant: str,
    tables: Iterable[StoreTable],
    moves: Mapping[str, Move],
    known: Known,
    *,
    version: int,
) -> int:
    """Sum up all that a tenant has in ``tables``, write it down, and return the tenant's sum.

    ``moves`` may have made objects that are not there: what nothing names yet.
    """
    writer.delete_where(STATES, own(tenant))
    made = [
        State(name, version, rows, kept & MASK)
        for table in tables
        for name, (rows, kept) in counted(writer, tenant, table).items()
    ]
    rows = [(each.name, version, each.rows, as_bytes(each.total)) for each in made]
    writer.insert(STATES, _COLUMNS, rows)
    names = {each.name for each in made}
    left = {name: each for name, each in moves.items() if each.is_anew and name not in names}
    total = sum(each.element for each in made) & MASK
    return add_moves(writer, tenant, left, total, known, version=version)
