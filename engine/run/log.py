"""The log of SQL statements: a row each, written behind by up to a second.

A statement that fails to be logged does not fail; searches have records of their own, which are
never late. One in a transaction is logged once that is over, as :mod:`~affidavit.engine.run.
transacted` says. What a statement has of secrets, in its OPTIONS and URLs, is not logged.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from affidavit.catalog.ledger.statements import append_statements, row_bytes
from affidavit.catalog.model import clock
from affidavit.catalog.model.clock import uuid7
from affidavit.catalog.sources.buckets.options import SECRET_WORDS
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.engine.result.result import Result, watch
from affidavit.engine.run.transacted import OK, Transacted, storable
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import AffidavitError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.lake.trace import Trace
    from affidavit.catalog.ledger.guard import Guard
    from affidavit.catalog.ledger.ledgers import Ledgers
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.sql.lexer import Token
    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.values.types import StoreValue
    from affidavit.engine.statement.statement import Statement

WAITING_MAX: Final = 20_000
"""How many rows may wait; past that the oldest are dropped."""

FLUSH_WAIT_S: Final = 1.0
"""How long who reads the log, and the housekeeper, wait for other writers."""

TEXT_LENGTH_MAX: Final = 100_000
_MASK: Final = "***"
_OPTIONS: Final = re.compile(r"\boptions\b", re.IGNORECASE)
_USERINFO: Final = re.compile(r"""(?<=://)(?:[^/?#'"\n]*@|[^/?#'"\n]*:(?!\d+[/?#'"\s])[^'"\n]*@)""")
"""What stands before a host; a password may have a slash."""

_QUOTES: Final = re.compile(r"""['"$]+""")

_NAMES: Final = frozenset({"audit", STATEMENTS.name})
"""What a statement names that reads the log."""


class StatementLog:
    """Rows of ``audit.statements`` on their way to the store.

    Args:
        store: Where they go.
        ledgers: What they are put under.
        guard: Checks a tenant's ledger before it is first written to.
        wake: Called when there is something to write.
    """

    def __init__(
        self, store: Store, ledgers: Ledgers, guard: Guard, wake: Callable[[], None]
    ) -> None:
        self._store = store
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
        asked = _Asked(identity, text, trace, held)
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

        Raises:
            StoreBusyError: Others wrote for so long, or as long as any writer waits.
            LedgerCorruptError: Somebody changed the ledger that they are put under.
        """
        with self._flushing:
            with self._queue:
                taken, self._waiting = self._waiting, []
            try:
                for tenant in dict.fromkeys(owner for owner, _ in taken):
                    self._guard.open(tenant)
                    rows = [(row, row_bytes(row)) for owner, row in taken if owner == tenant]
                    with self._store.write(tenant, timeout_s=timeout_s) as writer:
                        append_statements(
                            writer, self._ledgers.of(tenant), rows, now_us=clock.now_us()
                        )
                    taken = [each for each in taken if each[0] != tenant]
            finally:
                with self._queue:
                    self._waiting = taken + self._waiting
        return False


class _Asked:
    """A text that somebody wants run, and how that goes."""

    def __init__(
        self, identity: Identity, text: object, trace: Trace, held: Transacted | None
    ) -> None:
        self.identity = identity
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
        text = self._text if isinstance(self._text, str) else repr(self._text)
        tokens = statement.tokens if statement is not None and statement.text in text else None
        said = "" if error is None else str(error)
        shown, told = without_secrets(text, said, tokens)
        return (
            uuid7(self._at_us), self._at_us, storable(identity.actor), storable(identity.source),
            storable(identity.workspace), None if statement is None else statement.kind.value,
            storable(shown[:TEXT_LENGTH_MAX]), storable("\n".join(trace.read)),
            storable("\n".join(trace.written)) if error is None else "",
            rows, duration_us, OK if error is None else "error",
            None if error is None else storable(f"{type(error).__name__}: {told}"),
        )  # fmt: skip


def without_secrets(
    text: str, told: str = "", tokens: Sequence[Token] | None = None
) -> tuple[str, str]:
    """Return a statement and what its error told, without the secrets of OPTIONS and URLs.

    Args:
        text: The statement.
        told: The error's message.
        tokens: What the text is made of, if it was read before.
    """
    clause = _OPTIONS.search(text)
    if clause is not None:
        try:
            values = list(_secret_values(tokenize(text) if tokens is None else tokens))
        except AffidavitError:  # where an option ends cannot be told, and the error repeats it
            values, text, told = [], f"{text[: clause.end()]} {_MASK}", _MASK
        for value in reversed(values):
            text = f"{text[: value[0].start]}{_MASK}{text[value[-1].end :]}"
            for part in {part for token in value for part in _QUOTES.split(token.text) if part}:
                told = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", _MASK, told)
    return _USERINFO.sub(_MASK + "@", text), _USERINFO.sub(_MASK + "@", told)


def _secret_values(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """Yield the values in OPTIONS clauses of the options whose names say that they are secrets."""
    clause: int | None = None
    is_secret = False
    value: list[Token] = []
    for token in tokens:
        if clause is None:
            clause = token.depth if token.keyword == "OPTIONS" else None
        elif (token.text, token.depth) in {(",", clause + 1), (")", clause)}:
            if value:
                yield value
            is_secret, value = False, []
            clause = None if token.text == ")" else clause
        elif is_secret:
            value.append(token)
        else:
            is_secret = SECRET_WORDS.search(token.text) is not None
    if value:
        yield value
