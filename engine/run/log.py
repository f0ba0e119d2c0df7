"""The log of SQL statements: a row each, written behind by up to a second.

A statement that fails to be logged does not fail; searches have records of their own, which are
never late. One in a transaction is logged once that is over, as :mod:`~affidavit.engine.run.
transacted` says. What of a statement is logged says :mod:`~affidavit.engine.statement.shown`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from affidavit.catalog.ledger.statements import LoggedRow, append_statements
from affidavit.catalog.model import clock
from affidavit.catalog.model.clock import uuid7
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.engine.result.result import Result, watch
from affidavit.engine.run.transacted import OK, Transacted, storable
from affidavit.engine.statement.shown import tokens_of
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    AffidavitError,
    LedgerCorruptError,
    MasterKeyError,
    StoreBusyError,
    WitnessError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.lake.trace import Trace
    from affidavit.catalog.ledger.guard import Guard
    from affidavit.catalog.ledger.ledgers import Ledgers
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.values.types import StoreValue
    from affidavit.engine.statement.shown import Shown
    from affidavit.engine.statement.statement import Statement

WAITING_MAX: Final = 20_000
"""How many rows may wait; past that the oldest are dropped."""

FLUSH_WAIT_S: Final = 1.0
"""How long who reads the log, and the housekeeper, wait for other writers."""

_NAMES: Final = frozenset({"audit", STATEMENTS.name})
"""What a statement names that reads the log."""


class StatementLog:
    """Rows of ``audit.statements`` on their way to the store.

    Args:
        store: Where they go.
        ledgers: What they are put under.
        guard: Checks a tenant's ledger before it is first written to.
        shown: What it has of statements and errors.
        wake: Called when there is something to write.
    """

    def __init__(
        self,
        store: Store,
        ledgers: Ledgers,
        guard: Guard,
        shown: Shown,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._shown = shown
        self._ledgers = ledgers
        self._guard = guard
        self._wake = wake
        self._waiting: list[tuple[str, tuple[StoreValue, ...]]] = []
        self._transacted: WeakKeyDictionary[Transaction, Transacted] = WeakKeyDictionary()
        # a result that is dropped half-read logs itself, maybe as garbage, while this is held
        self._queue = threading.RLock()
        self._flushing = threading.Lock()

    def follow(self, identity: Identity, transaction: Transaction) -> None:
        """Hold the rows of a caller's transaction until it is over, and tell how it ended."""
        held = Transacted(identity, transaction)
        with self._queue:
            self._transacted[transaction] = held
        transaction.on_end(partial(self._ended, held))

    def _ended(self, held: Transacted, committed: bool) -> None:  # noqa: FBT001 - as it is called
        with self._queue:
            self._queued(held.identity.tenant, held.end(committed=committed))
        self._wake()

    def run(
        self,
        identity: Identity,
        text: object,
        trace: Trace,
        execute: Callable[[Statement], Result],
        *,
        within: Transaction | None = None,
        may_flush: bool = False,
    ) -> Result:
        """Read a text, return what ``execute`` makes of it, and log it once its rows were read.

        ``within`` is the caller's transaction, if one is open. ``may_flush`` says that nothing is
        in the way of writing: then a statement that reads the log finds what ran before it, if that
        can be written.
        """
        with self._queue:
            held = None if within is None else self._transacted.get(within)
        asked = _Asked(identity, text, trace, held, self._shown)
        try:
            statement = asked.read()
            if may_flush and statement.names >= _NAMES:
                with suppress(AffidavitError):
                    self.flush_if_free()
            asked.begin()
            with asked.told():
                result = execute(statement)
        except BaseException as error:
            self._add(asked, None, error)
            raise
        watch(result, partial(self._add, asked))
        return result

    def _add(self, asked: _Asked, rows: int | None, error: BaseException | None) -> None:
        row, held = asked.row(rows, error), asked.held
        with self._queue:
            self._queued(asked.identity.tenant, [row] if held is None else held.add(row))
        self._wake()

    def _queued(self, tenant: str, rows: Iterable[tuple[StoreValue, ...]]) -> None:
        self._waiting += [(tenant, row) for row in rows]
        del self._waiting[:-WAITING_MAX]

    def flush_if_free(self) -> bool:
        """Write what waits, unless others write for long; returns whether anything is left."""
        try:
            return self.flush(timeout_s=FLUSH_WAIT_S)
        except StoreBusyError:
            return True

    def flush(self, *, timeout_s: float | None = None) -> bool:
        """Write what waits; returns whether anything is left.

        A tenant whose ledger takes none keeps its own rows waiting, and no other's.

        Raises:
            StoreBusyError: Others wrote for so long, or as long as any writer waits.
            LedgerCorruptError: Somebody changed the ledger that they are put under.
            MasterKeyError: It is signed with another key.
            WitnessError: It could not be held against its witness.
        """
        with self._flushing:
            with self._queue:
                taken, self._waiting = self._waiting, []
            left: dict[str, list[tuple[StoreValue, ...]]] = {}
            for owner, row in taken:
                left.setdefault(owner, []).append(row)
            failed: AffidavitError | None = None
            try:
                for tenant in list(left):
                    try:
                        self._write(tenant, left[tenant], timeout_s)
                        del left[tenant]
                    except (LedgerCorruptError, MasterKeyError, WitnessError) as error:
                        failed = failed or error
            finally:
                with self._queue:
                    kept = [(owner, row) for owner, rows in left.items() for row in rows]
                    self._waiting = kept + self._waiting
            if failed is not None:
                raise failed
        return False

    def _write(
        self, tenant: str, rows: Sequence[tuple[StoreValue, ...]], timeout_s: float | None
    ) -> None:
        self._guard.open(tenant)
        logged = map(LoggedRow.new, rows)
        written = [(row, row.bytes()) for row in logged]  # outside of the transaction
        with self._store.write(tenant, timeout_s=timeout_s) as writer:
            append_statements(writer, self._ledgers.of(tenant), written, now_us=clock.now_us())


class _Asked:
    """A text that somebody wants run, and how that goes."""

    def __init__(
        self,
        identity: Identity,
        text: object,
        trace: Trace,
        held: Transacted | None,
        shown: Shown,
    ) -> None:
        self.identity = identity
        self._shown = shown
        self.held = held
        self._text = text
        self._trace = trace
        self._statement: Statement | None = None
        self.begin()

    def read(self) -> Statement:
        """Return the statement that the text holds.

        Raises:
            SqlError: It holds none that can be read.
        """
        self._statement = parse_statement(self._text)
        return self._statement

    def begin(self) -> None:
        """Note that it is run from now on."""
        self._at_us, self._started_ns = clock.now_us(), perf_counter_ns()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Let its transaction know, in the block, that its end has a row if this brings it."""
        if self.held is None or self._statement is None:
            yield
            return
        self.held.says(self._statement.kind)
        try:
            yield
        finally:
            self.held.says(None)

    def row(self, rows: int | None, error: BaseException | None) -> tuple[StoreValue, ...]:
        """Return what the log says of it."""
        duration_us = (perf_counter_ns() - self._started_ns) // 1000
        identity, statement, trace = self.identity, self._statement, self._trace
        names = frozenset[str]() if statement is None else statement.names
        tokens = tokens_of(self._text, statement)
        text, told = self._shown.told(self._text, error, tokens, names)
        return (
            uuid7(self._at_us), self._at_us, storable(identity.actor), storable(identity.source),
            storable(identity.workspace), None if statement is None else statement.kind.value,
            storable(text), storable("\n".join(trace.read)),
            storable("\n".join(trace.written)) if error is None else "",
            rows, duration_us, OK if error is None else "error",
            None if told is None else storable(told),
        )  # fmt: skip
