"""What affidavit asks of a relational store, in words that every database has.

Rules:
    - A table's rows carry the tenant that wrote them and an identity, ``_rowid``, that grows with
      insertion. A reader sees its tenant's rows and the shared ones; a writer changes its own only.
    - A reader is one consistent snapshot; a writer is one transaction, serializable, and sees its
      own writes.
    - Values are 64-bit integers, text and bytes; comparisons are by number, code point and byte.
    - Nothing here or above speaks a dialect of SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.sql.predicate import And, Compare
from affidavit.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.holds import Holds
    from affidavit.catalog.values.types import Kind, StoreValue

ROWID: Final = "_rowid"
TENANT: Final = "_tenant"
CLOSED_TO_WRITERS: Final = (
    "this lake lies where nothing can be written: copy it to where it can be, and open the copy"
)

BATCH_ROWS: Final = 16_384
"""How many rows a scan hands over at a time."""


def own(tenant: str, *conditions: Predicate) -> And:
    """Return the predicate for a tenant's own rows alone, which meet ``conditions`` too."""
    return And((Compare("=", TENANT, tenant), *conditions))


@dataclass(frozen=True, slots=True)
class StoreColumn:
    """One column of a store table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class StoreIndex:
    """An index of a store table; a unique one takes any number of NULLs."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Cover:
    """Which of a table's rows are summed up together, for a signed head to state.

    Attributes:
        by: The column whose value they share; ``None`` for all rows of the table.
        leaves_out: The columns that may change without notice.
        is_ordered: Whether identities count, and so the order of rows.
    """

    by: str | None = None
    leaves_out: tuple[str, ...] = ()
    is_ordered: bool = False


@dataclass(frozen=True)  # without slots: what is derived is kept
class StoreTable:
    """A table of the store. ``_rowid`` and ``_tenant`` are there without being listed."""

    name: str
    columns: tuple[StoreColumn, ...]
    indexes: tuple[StoreIndex, ...] = ()
    cover: Cover | None = None

    @cached_property
    def covered(self) -> tuple[str, ...]:
        """The columns of a covered table that its sum has, ``_rowid`` first if it is one."""
        assert self.cover is not None
        names = (c.name for c in self.columns if c.name not in self.cover.leaves_out)
        return (ROWID, *names) if self.cover.is_ordered else tuple(names)


def columns_of(table: StoreTable) -> list[str]:
    """Return a store table's columns."""
    return [column.name for column in table.columns]


@dataclass(frozen=True, slots=True)
class Move:
    """What a transaction has changed of an object that is covered, and not summed up yet.

    Attributes:
        count: By how many rows it grew.
        total: By how much its sum did.
        is_anew: Whether nothing counts that it had before.
        is_gone: Whether there is none any more.
    """

    count: int = 0
    total: int = 0
    is_anew: bool = False
    is_gone: bool = False

    def and_rows(self, count: int, total: int) -> Move:
        """Return it with rows that came, or went."""
        return Move(self.count + count, self.total + total, self.is_anew, self.is_gone)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a lake's store is opened.

    Attributes:
        path: The file in the lake's folder, of a store that is a file there.
        locks: A folder for the files that stand for locks.
        durability: ``"full"`` survives power loss; ``"normal"`` survives a crash of the process
            and may lose the last commits when the power goes.
        busy_timeout_s: How long a writer waits for other writers.
        read_only: Refuse to write, and never create.
        lake_id: Which lake it is or is to be; ``was_made`` where it is there, and never made.
    """

    path: Path
    locks: Path
    durability: str = "full"
    busy_timeout_s: float = 30.0
    read_only: bool = False
    lake_id: str | None = None
    was_made: bool = False

    def __post_init__(self) -> None:
        check_durability(self.durability)


def check_durability(durability: object) -> None:
    """Raise LakeError unless ``durability`` is ``"full"`` or ``"normal"``."""
    if durability not in ("full", "normal"):
        msg = f"durability must be 'full' or 'normal', got {durability!r}"
        raise LakeError(msg)


@dataclass(frozen=True, slots=True)
class PutOff:
    """What a transaction has yet to write.

    Attributes:
        value: What it is, which nobody changes.
        tables: The names of the store tables that are wrong until it is written.
        write: Writes it.
    """

    value: object
    tables: frozenset[str]
    write: Callable[[], None]


class Reader(Protocol):
    """One consistent snapshot of what a tenant may see. Safe to share between threads."""

    def select(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
    ) -> list[tuple[StoreValue, ...]]:
        """Return the matching rows; ``where`` holds store values.

        ``descending`` turns the whole of ``order_by`` around.
        """

    def scan(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows lazily, as int64, string and binary columns."""

    def rows(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[list[tuple[StoreValue, ...]]]:
        """Yield the matching rows lazily, a list of them at a time, as they stand in the store."""

    def count(self, table: StoreTable, where: Predicate | None = None) -> int:
        """Return how many rows match."""

    def pending(self, key: str) -> object | None:
        """Return what was put off as ``key`` and is not written; of a snapshot there is nothing."""

    def faults(self, tables: Iterable[StoreTable], *, reads: bool = True) -> list[str]:
        """Return what is wrong with how the store keeps ``tables``, and what is there besides.

        Where nothing is, what is read by an index is what stands in the table; but for that, with
        ``reads`` left out, nothing is read but what the store says of itself.
        """


class Writer(Reader, Protocol):
    """One transaction: all of it happens at commit, or nothing.

    Attributes:
        memo: What whoever writes wants to know again in this transaction; forgotten when any of it
            is undone.
    """

    memo: dict[object, object]

    def moves(self) -> dict[str, Move]:
        """Return what has moved since the last time, by the name of the object."""

    def last_rowid(self) -> int:
        """Return the identity of the row that was inserted last, after those before it."""

    def create_table(self, table: StoreTable) -> None:
        """Create ``table`` with its indexes."""

    def drop_table(self, table: StoreTable) -> None:
        """Drop ``table`` and its rows."""

    def add_column(self, table: StoreTable, column: StoreColumn) -> None:
        """Add ``column``, NULL in every row."""

    def drop_column(self, table: StoreTable, column: str) -> None:
        """Drop ``column``, which no index uses."""

    def create_index(self, table: StoreTable, index: StoreIndex) -> None:
        """Create ``index``; ConstraintError if it is unique and the rows are not."""

    def drop_index(self, index: StoreIndex) -> None:
        """Drop ``index``."""

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        """Insert ``rows``; ``columns`` may include ``_rowid``.

        Raises:
            ConstraintError: A unique index has the values already.
        """

    def append(self, table: StoreTable, columns: Sequence[str], row: Sequence[StoreValue]) -> None:
        """Insert a row, with others that follow it: before the table is asked for, or the end.

        What keeps it from being inserted is raised then.
        """

    def put_off(self, key: str, what: PutOff) -> None:
        """Write ``what`` before its tables are read or written, or the end: once for all of a key.

        What raises then keeps all of this from being committed. A savepoint that is undone brings
        back what was put off before it.
        """

    def finish(self) -> None:
        """Write all that was put off, and what was appended, as the end does."""

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        """Set ``columns`` from each row, whose last value is the ``_rowid`` to change."""

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        """Delete the rows with these identities; those of a ``range`` that are there at once."""

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        """Set ``values`` in every matching row and return how many there were."""

    def increment(
        self, table: StoreTable, by: Mapping[str, int], where: Predicate | None
    ) -> list[tuple[int, ...]]:
        """Add to integer columns of every matching row, and return what each has there now."""

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        """Delete every matching row and return how many there were."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what the block wrote, and only that, if it raises."""

    def on_commit(self, key: str, call: Callable[[], object]) -> None:
        """Call ``call`` once all of this is committed, before the next transaction begins.

        It returns at once, and neither writes nor raises. Only the first of a ``key`` is called,
        and none that was asked for in a savepoint that was undone.
        """


class Watch(Protocol):
    """Tells of commits; for one thread."""

    def changed(self) -> bool:
        """Return whether there was a commit since the last time, in a few microseconds."""

    def close(self) -> None:
        """Release what this holds."""


class Store(Protocol):
    """A relational store that several processes may use at once.

    Attributes:
        holds: How long writers of this process held the write lock.
        is_closed_to_writers: Whether it was opened to be read and lies where nothing can be
            written: it takes no records either.
    """

    holds: Holds
    is_closed_to_writers: bool

    def read(self, tenant: str) -> AbstractContextManager[Reader]:
        """Open a snapshot for ``tenant``. Readers wait for no writer, but for changes of shape."""

    def write(
        self, tenant: str, *, record: bool = False, timeout_s: float | None = None
    ) -> AbstractContextManager[Writer]:
        """Open a transaction for ``tenant``: commit on leaving, roll back if the block raises.

        Args:
            tenant: Whose rows are written.
            record: It puts on record what was read, which a store that was opened to be read does
                too.
            timeout_s: How long it waits for other writers, if not as long as any.

        Raises:
            StoreBusyError: Other writers held the store for the whole timeout.
            ReadOnlyError: The store was opened to be read, or its file cannot be written.
        """

    def lock(
        self, name: str, *, timeout_s: float | None = None, record: bool = False
    ) -> AbstractContextManager[None]:
        """Hold the lock ``name`` against every thread and process; a crash releases it.

        Args:
            name: The lock.
            timeout_s: How long to wait for it, if not as long as writers wait.
            record: It is for what puts on record what was read, as :meth:`write` has it.

        Raises:
            StoreBusyError: It was held for ``timeout_s``; by default as long as writers wait.
        """

    def take_places(self, counter: str, count: int, least: int = 0) -> int:
        """Take ``count`` places of a counter, none before ``least``, and return the first.

        Durable when this returns, whatever transaction is open: no place is given twice, also where
        that is rolled back. Places begin with 0.
        """

    def give_places_back(self, counter: str, first: int, end: int) -> None:
        """Let the places from ``first`` on be taken again, if nobody took any from ``end`` on."""

    def hurry(self, timeout_s: float) -> None:
        """From now on wait no longer than this for other writers."""

    def scrub(self, gone: Collection[str] | None = ()) -> bool:
        """Overwrite what was deleted or replaced, and return whether that could be done.

        Texts that are ``gone`` leave no trace in what stays either; ``None`` is for texts that
        nobody knows any more.

        It cannot while a snapshot of before is open, in whichever process, and waits for its end
        as long as a writer does for others; they write meanwhile.
        """

    def tenants(self, table: StoreTable) -> list[str]:
        """Return every tenant that has rows in ``table``: for who keeps the whole store."""

    def watch(self) -> Watch:
        """Return what tells whether anybody, in whichever process, has committed since."""

    def close(self) -> None:
        """Release every connection."""
