"""What stands between a plan and its caller: rows are released once what was done for them is kept.

Whoever runs a plan, on whichever thread, only queues what it did; a gate on the caller's thread
takes the queue and puts it on record before it hands a batch on.

Rules:
    - What made a row is queued before the row is handed on: what is in a batch is in the queue.
    - Nothing is done for a statement that has no gate, and nothing new begins once it has closed.
    - What was begun before and ends later is not lost: it goes where the gate said.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from affidavit.catalog.model.policy import stricter
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import lance

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transactions import Transactions


class Asked(Protocol):
    """What somebody wants to be given."""

    @property
    def identity(self) -> Identity:
        """Who asks."""

    @property
    def kind(self) -> str:
        """What kind of statement it is, in lower case, or which door of a handle."""

    @property
    def text(self) -> str:
        """The statement, as others may see it."""

    @property
    def statement(self) -> str:
        """The statement as it was given, which nobody else sees."""

    @property
    def started_at_us(self) -> int:
        """When it was asked, in microseconds since the epoch."""

    @property
    def tables(self) -> dict[str, TableRead]:
        """What it reads, by name, as far as that is known."""

    def tell_once(self) -> bool:
        """Return whether nobody has told of its failure yet; from now on somebody has."""


@dataclass(slots=True)
class TableRead:
    """One table that a statement reads.

    Attributes:
        name: What it is called: ``schema.table``, ``source.schema.table``, a file.
        table_id: Its identity, if it is one of a lake.
        version: Its version, if it has one.
        lake_id: The lake that it is of, if that is another one.
        level: The table's own policy, if it has one.
        columns: The columns that are read of it; ``None`` where that is not known.
        filters: The conditions that it is read by, as SQL.
        key: The columns that are its key, where the policy wants the keys of rows; empty if it has
            none.
        names: Returns the names of rows that have the columns of the key, in their order.
        given: The names of the rows that were handed on, where the policy wants them.
        keys_at: Which columns of the result are its key, where they are.
        look: Returns what is to be said of what has no version: files, as they are now.
        source: What was said.
        told_of: The tables of whose rows it tells besides, by identity, as far as they were found.
        is_asked: Whether what scans it is to tell by which columns.
        dataset: What holds the version that is read, of a vector table of this lake: a clean-up
            spares it, once the read is on record.
    """

    name: str
    table_id: str | None = None
    version: int | None = None
    lake_id: str | None = None
    level: str | None = None
    columns: Sequence[str] | None = None
    filters: Sequence[str] = ()
    key: Sequence[str] = ()
    names: Callable[[pa.Table], Sequence[str | None]] | None = None
    given: dict[str, None] | None = None
    keys_at: Sequence[int] | None = None
    look: Callable[[], dict[str, Any] | None] | None = None
    source: dict[str, Any] | None = None
    is_asked: bool = False
    told_of: dict[str, TableRead] = field(default_factory=dict)
    dataset: lance.LanceDataset | None = None

    def tell_of(self, table_id: str, name: str, row: str) -> None:
        """Note that it tells of a row of another table, as the journal does."""
        told = self.told_of.get(table_id)
        if told is None:
            told = TableRead(name, table_id, given={}, keys_at=self.keys_at)
            told = self.told_of.setdefault(table_id, told)
        assert told.given is not None
        told.given[row] = None

    def see(self) -> None:
        """Look at what has no version, before it is read."""
        if self.look is not None and self.source is None:
            self.source = self.look()

    def moment_teller(self) -> Callable[[str], None] | None:
        """Return what is told the name of the moment that is read of a database, if it is wanted.

        Several places of a plan may read it, each at a moment of its own.
        """
        if self.source is None:
            return None
        names: list[str] = self.source.setdefault("snapshots", [])

        def tell(name: str) -> None:
            if name not in names:
                names.append(name)

        return tell

    def hold_version(self, dataset: lance.LanceDataset) -> None:
        """Keep what holds the version that is read."""
        self.dataset = dataset

    def hold_to(self, *levels: str | None) -> None:
        """Let the strictest of ``levels`` hold for it too."""
        self.level = stricter(self.level, *levels)

    def want_rows(
        self, key: Sequence[str], names: Callable[[pa.Table], Sequence[str | None]]
    ) -> None:
        """Let the names of the rows that are given be noted."""
        self.key, self.names, self.given = key, names, {}

    def are_at(self, places: Sequence[int]) -> None:
        """Note which columns of the result are its key: then they tell which rows were given."""
        self.keys_at = places

    def give(self, rows: pa.Table) -> None:
        """Note rows that were handed on, by the columns of the key."""
        if self.given is not None and self.names is not None:
            names: dict[Any, None] = dict.fromkeys(self.names(rows))
            names.pop(None, None)  # a key that is NULL names nothing
            self.given.update(names)

    def give_result(self, batch: pa.RecordBatch) -> None:
        """Note the rows that a batch of the result has, if it has their key."""
        if self.keys_at:
            columns = [batch.column(at) for at in self.keys_at]
            self.give(pa.Table.from_arrays(columns, names=list(self.key)))

    def be_asked(self) -> None:
        """Let what scans it tell by which columns: nothing else is going to."""
        self.is_asked = True

    def note_scan(self, columns: Sequence[str], filters: Sequence[str]) -> None:
        """Note columns and conditions that one place of a plan reads it by."""
        self.columns = sorted({*(self.columns or ()), *columns})
        self.filters = sorted({*self.filters, *filters})


@dataclass(slots=True)
class Facts:
    """What is known of a read before it runs.

    Attributes:
        parameters: The values that the statement was given, by name: a row of them.
        journal_seq: The last entry of the ledger when it began.
        schema: Returns the result's columns.
        level: What is to be on record of it.
        is_out: Whether the rows leave by themselves, as COPY writes them: they cannot be held.
        is_ordered: Whether the same rows would come in the same order again.
    """

    parameters: pa.RecordBatch | None = None
    journal_seq: int | None = None
    schema: Callable[[], pa.Schema] | None = None
    level: str = "off"
    is_out: bool = False
    is_ordered: bool = True


class Reading:
    """What one statement reads: what it is going to do, and what it did that is to be on record.

    Args:
        asked: Who asks for what.
        transactions: Those of the session that asks.

    Attributes:
        expected: What its plan may do, as its planning found out.
        given_up: Whether its caller closed the result, and so waits for what that takes.
        tables: What it reads, by name; what it reads of the past, apart from that.
        facts: What is known of it before it runs.
        receipt: What its caller may keep of its record, once that is complete.
    """

    def __init__(
        self, asked: Asked | None = None, transactions: Transactions | None = None
    ) -> None:
        self.asked = asked
        self.transactions = transactions
        self.tables: dict[str, TableRead] = {}
        self.facts = Facts()
        self.receipt: Any = None
        self.expected: list[object] = []
        self.given_up = False
        self._queue: deque[object] = deque()
        self._late: Callable[[object], None] | None = None
        self._is_open = False

    def note(self, table: TableRead, key: str | None = None) -> TableRead:
        """Note that a table is read, under its name; under ``key`` where it is read apart."""
        name = table.name if key is None else key
        noted = self.tables.setdefault(name, table)
        if self.asked is not None:
            self.asked.tables[name] = noted
        return noted

    def describe(self, facts: Facts) -> None:
        """Take what is known before it runs."""
        self.facts = facts

    def complete(self, receipt: object) -> None:
        """Take what the caller may keep: the record of what it was given is complete."""
        self.receipt = receipt

    # --- asked by the gate -----------------------------------------------------------------------

    def open(self, late: Callable[[object], None]) -> None:
        """Let the plan do what is to be on record; what ends too late for the gate goes to late."""
        self._late = late
        self._is_open = True

    def take(self) -> list[object]:
        """Return what was done since this was last asked, oldest first."""
        taken = []
        while self._queue:
            try:
                taken.append(self._queue.popleft())
            except IndexError:  # another thread took the last one
                break
        return taken

    def close(self) -> None:
        """Let nothing new begin; what is queued and not taken is late."""
        self._is_open = False
        self._hand_over()

    def give_up(self) -> None:
        """Note that the caller wants no more rows, and waits for what is done about it."""
        self.given_up = True

    # --- asked by what runs the plan -------------------------------------------------------------

    def begin(self) -> None:
        """Begin to do something that is to be on record.

        Raises:
            ClosedError: Nobody is there to put it on record, any more or at all.
        """
        if not self._is_open:
            msg = "the result was closed, or its plan is run past the gate that keeps its record"
            raise ClosedError(msg)

    def queue(self, done: object) -> None:
        """Queue what was done, before what came of it is handed on."""
        self._queue.append(done)
        if not self._is_open:  # asked after it was queued: either the gate finds it, or this does
            self._hand_over()

    def _hand_over(self) -> None:
        for each in self.take():
            assert self._late is not None
            self._late(each)


class Ending(Protocol):
    """Is told what leaves by a door that stays open, and puts its end on record.

    Safe to call from any thread, the garbage collector's too: it takes no lock.
    """

    def left(self, count: int = 1) -> None:
        """Note that something was handed over."""

    def end(self, *, is_wanted: bool) -> None:
        """Note that it is over; the first time counts.

        ``is_wanted`` if somebody closed it or it came to its end, and not if it was let go of.
        """


class Release(Protocol):
    """What hands the batches of a plan to whoever asked for them."""

    @property
    def floor(self) -> str:
        """What is put on record of everything, whatever the tables' own policies are."""

    @property
    def keeps_queries(self) -> bool:
        """Whether records have conditions and parameters, and not only that there are some."""

    def level_of(self, reading: Reading) -> str:
        """Return what is to be on record of a statement whose planning found out what it reads."""

    def announce(self, reading: Reading) -> Ending | None:
        """Put on record that rows are about to leave, and return what is told of their end.

        ``None`` where nobody wants that on record.

        Raises:
            AffidavitError: It cannot be put on record: there are no rows.
        """

    def tell(self, reading: Reading, count: int) -> None:
        """Put on record that somebody is told how many rows there are, and nothing of them.

        Raises:
            AffidavitError: It cannot be put on record: there is no count.
        """

    def release(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``batches``, each once what ``reading`` did for it is on record.

        Raises:
            AffidavitError: It cannot be put on record: there are no rows.
        """
