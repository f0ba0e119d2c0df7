"""What runs on a lake in this process: every statement that is not at its end, and how it is ended.

Rules:
    - What stops a statement wins once: who works for it is told the first reason.
    - A statement is active while somebody works for it: while it is planned and written, and from
      the first of its rows that is asked for until the last. What is not active is not stopped.
    - Nothing is stopped or closed under a lock: what ends a statement may be asked by the garbage
      collector, in the midst of anything.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakSet

from affidavit.catalog.model import clock
from affidavit.catalog.store.forks import Process
from affidavit.errors import StatementTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from weakref import WeakMethod

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.model.release import TableRead
    from affidavit.errors import AffidavitError


class Query:
    """One statement, from when it is asked until the last of its rows was read.

    Args:
        queries: Where it is known.
        identity: Who asks.
        session: The session that runs it.
        text: Returns the statement as others may see it.
        given: What was given for one, where that is another.
        timeout_s: How long it may take, all in all.

    Attributes:
        started_at_us: When it was asked.
        deadline: Until when it may run, by the monotonic clock.
        rows: How many rows its plans have given so far.
        kind: What kind of statement it is, once it was read.
        tables: What it reads, by name, as far as its planning has found that out.
    """

    def __init__(
        self,
        queries: Queries,
        identity: Identity,
        *,
        session: str = "",
        text: Callable[[], str] = str,
        timeout_s: float | None = None,
        kind: str = "",
        given: object = None,
    ) -> None:
        self.identity = identity
        self.session = session
        self.started_at_us = clock.now_us()
        self.deadline = None if timeout_s is None else monotonic() + timeout_s
        self.rows = 0
        self.kind = kind
        self.tables: dict[str, TableRead] = {}
        self._given = given
        self._is_told = False
        self._queries = queries
        self._text = text
        self._timeout_s = timeout_s
        self._waits_for: list[str] = []
        self._stopped: Callable[[], AffidavitError] | None = None
        self._stops: list[Callable[[], object]] = []
        self._left: list[Callable[[], bool]] = []
        self._result: WeakMethod[Callable[[], None]] | None = None

    @cached_property
    def id(self) -> str:
        """What it is called."""
        return uuid4().hex

    @property
    def text(self) -> str:
        """The statement, as others may see it."""
        return self._text()

    @property
    def statement(self) -> str:
        """The statement as it was given, which nobody else sees."""
        return self._given if isinstance(self._given, str) else self.text

    @property
    def is_stopping(self) -> bool:
        """Whether it was stopped."""
        return self._stopped is not None

    @property
    def is_left(self) -> bool:
        """Whether something that was stopped has not come to its end."""
        return any(is_left() for is_left in self._left)

    # --- at work -------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work for the statement in the block."""
        try:
            self._queries.enter(self)  # an interrupt may come before, in between, or after
            yield
        finally:
            self._queries.leave(self)

    @contextmanager
    def running(self, stop: Callable[[], object], is_left: Callable[[], bool]) -> Iterator[None]:
        """Run something for the statement that ``stop`` ends.

        Args:
            stop: Ends it, from any thread; it may be called again.
            is_left: Whether it goes on although it was stopped.
        """
        self._stops.append(stop)
        self._left.append(is_left)
        try:
            with self.active():
                self.check()
                yield
        finally:
            self._stops.remove(stop)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Call a caller's own code in the block; if the time limit ends meanwhile, say which."""
        self._waits_for.append(what)
        try:
            yield
        finally:
            self._waits_for.remove(what)

    def check(self) -> None:
        """Raise why the statement is not to go on, if it is not.

        Raises:
            StatementTimeoutError: It has taken longer than it may.
            ForkedError: This is a fork of the process that asked it.
            AffidavitError: It was stopped.
        """
        self._queries.process.refuse_forked()
        if self._stopped is None and self.deadline is not None and monotonic() >= self.deadline:
            timeout_s, waits_for = self._timeout_s, next(iter(self._waits_for), "")
            assert timeout_s is not None
            self.stop(lambda: StatementTimeoutError(timeout_s, waits_for))
        if self._stopped is not None:
            raise self._stopped()

    def read_as(self, kind: str) -> None:
        """Note what kind of statement it is; of those that it runs itself, the first counts."""
        self.kind = self.kind or kind

    def tell_once(self) -> bool:
        """Return whether nobody has told of its failure yet; from now on somebody has."""
        told, self._is_told = self._is_told, True
        return not told

    def count(self, rows: int) -> None:
        """Count rows that a plan gave."""
        self.rows += rows

    # --- ended ---------------------------------------------------------------------------------

    def stop(self, why: Callable[[], AffidavitError]) -> None:
        """Stop the statement; who works for it is told ``why``."""
        self._stopped = self._stopped or why
        for stop in list(self._stops):
            stop()

    def closes(self, close: WeakMethod[Callable[[], None]]) -> None:
        """Take what closes the result, for when the session is closed."""
        self._result = close

    def close(self, why: Callable[[], AffidavitError]) -> None:
        """Stop the statement, and close its result, whoever holds it."""
        self.stop(why)
        close = None if self._result is None else self._result()
        if close is not None:
            close()


class Queries:
    """The statements of one lake that this process knows.

    Attributes:
        process: The process that runs them.
    """

    def __init__(self) -> None:
        self.process = Process("the session")
        # a result may be collected as garbage, and so left, while this thread holds it
        self._lock = threading.RLock()
        self._known: WeakSet[Query] = WeakSet()
        self._active: dict[Query, int] = {}

    def add(self, query: Query) -> Query:
        """Know of a statement as long as somebody holds it."""
        with self._lock:
            self._known.add(query)
        return query

    def enter(self, query: Query) -> None:
        """Note that one more works for a statement."""
        with self._lock:
            self._active[query] = self._active.get(query, 0) + 1

    def leave(self, query: Query) -> None:
        """Note that one less works for a statement; one that was stopped stays while it is left."""
        with self._lock:
            users = self._active.get(query, 0) - 1
            self._active[query] = max(users, 0)
            if users <= 0:
                self._forget()

    def active(self, *, session: str | None = None) -> list[Query]:
        """Return the statements that somebody works for, or that do not end although stopped."""
        with self._lock:
            self._forget()
            found = list(self._active)
        return [each for each in found if session in {None, each.session}]

    @property
    def is_busy(self) -> bool:
        """Whether somebody works for a statement, or one does not end although it was stopped."""
        with self._lock:
            self._forget()
            return bool(self._active)

    def _forget(self) -> None:
        for query, users in list(self._active.items()):
            if not users and not query.is_left:
                del self._active[query]

    def stop(self, why: Callable[[], AffidavitError], *, session: str) -> int:
        """Stop what a session runs, and return how many statements that were."""
        stopped = [each for each in self.active(session=session) if not each.is_stopping]
        for query in stopped:
            query.stop(why)
        return len(stopped)

    def close(self, why: Callable[[], AffidavitError], *, session: str | None = None) -> None:
        """Stop every statement, or a session's, and close their results."""
        with self._lock:
            known = [*self._known, *self._active]
        for query in dict.fromkeys(known):
            if session in {None, query.session}:
                with suppress(ValueError):  # a generator that another thread is just ending
                    query.close(why)
