"""What one session runs: begun with a time limit, and stopped or closed by whoever may."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakMethod

from affidavit.catalog.lake.queries import Query
from affidavit.catalog.lake.trace import Trace
from affidavit.engine.result.result import watch
from affidavit.engine.statement.shown import hide_secrets
from affidavit.errors import (
    ClosedError,
    InvalidQueryError,
    StatementCancelledError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.queries import Queries
    from affidavit.catalog.model.identity import Identity
    from affidavit.engine.result.result import Result
    from affidavit.engine.statement.shown import Shown


class Work:
    """The statements of one session.

    Args:
        queries: All those of the lake.
        shown: What others may see of them.
        failed: Called with a statement that was refused or failed, and why.
    """

    def __init__(
        self, queries: Queries, shown: Shown, failed: Callable[[Query, BaseException], None]
    ) -> None:
        self._failed = failed
        self.session = uuid4().hex
        self._shown = shown
        self._queries = queries
        self._told: dict[int, Callable[[Query], None]] = {}

    @contextmanager
    def telling(self, told: Callable[[Query], None]) -> Iterator[None]:
        """Tell of every statement that this thread begins in the block; what it raises ends it."""
        here = threading.get_ident()
        self._told[here] = told
        try:
            yield
        finally:
            del self._told[here]

    def run(
        self,
        identity: Identity,
        text: object,
        timeout: float | None,
        execute: Callable[[Trace], Result],
    ) -> Result:
        """Return what ``execute`` gives, as a statement that can be stopped until it was read.

        Raises:
            InvalidQueryError: ``timeout`` is no time.
            StatementTimeoutError: It took longer.
            StatementCancelledError: Somebody asked for that.
        """
        query = self._begun(identity, text, checked_timeout(timeout))
        with self.trying(query), query.active():
            result = execute(Trace(query=query))
        watch(result, partial(self._read, query))
        query.closes(WeakMethod(result.close))
        return result

    @contextmanager
    def of(self, catalog: Catalog, text: str) -> Iterator[Catalog]:
        """Run a statement that a table's handle makes, through the catalog that this yields."""
        query = self._begun(catalog.identity, text, None)
        with self.trying(query), query.active():
            yield catalog.traced(Trace(query=query))

    @contextmanager
    def trying(self, query: Query) -> Iterator[None]:
        """Let it be known if what the block does for a statement is refused or fails."""
        try:
            yield
        except BaseException as error:
            self._read(query, None, error)
            raise

    @contextmanager
    def asking(
        self, identity: Identity, kind: str, text: str, where: object = None
    ) -> Iterator[Trace]:
        """Do what is no statement in a block: it is listed, and what comes of it may be refused.

        ``where`` is a condition that it has, and is shown as a statement is.

        Raises:
            StatementCancelledError: Somebody asked for that; what was begun was done.
        """
        has = isinstance(where, str)
        query = Query(
            self._queries, identity, session=self.session, kind=kind,
            text=lambda: f"{text} WHERE {self._shown.text(where)}" if has else text,
            given=f"{text} WHERE {where}" if has else text,
        )  # fmt: skip
        with self.trying(self._known(query)), query.active():
            yield Trace(query=query)
            query.check()

    def _read(self, query: Query, _rows: int | None, error: BaseException | None) -> None:
        if error is not None:
            hide_secrets(error, query.statement)
        if error is not None and query.tell_once():
            self._failed(query, error)

    def _begun(self, identity: Identity, text: object, timeout_s: float | None) -> Query:
        query = Query(
            self._queries, identity, session=self.session,
            text=partial(self._shown.text, text), given=text, timeout_s=timeout_s,
        )  # fmt: skip
        return self._known(query)

    def _known(self, query: Query) -> Query:
        told = self._told.get(threading.get_ident())
        if told is not None:
            told(query)
        return self._queries.add(query)

    def cancel(self) -> int:
        """Stop what runs, and return how many statements that were."""
        self._queries.process.refuse_forked()
        return self._queries.stop(cancelled, session=self.session)

    def close(self) -> None:
        """Stop what runs, and close every result that was not read."""
        self._queries.close(closed, session=self.session)


def cancelled() -> StatementCancelledError:
    """Return what is told to who waits for a statement that was cancelled."""
    return StatementCancelledError("the statement was cancelled: run it again if it is wanted")


def closed() -> ClosedError:
    """Return what is told to who reads a result of a session that was closed."""
    return ClosedError(
        "the session was closed before all rows of its result were read: connect again, and run "
        "the statement again"
    )


def checked_timeout(timeout: object) -> float | None:
    """Return a time limit in seconds.

    Raises:
        InvalidQueryError: It is no number above 0.
    """
    if timeout is None:
        return None
    seconds = math.nan
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        with suppress(OverflowError):
            seconds = float(timeout)
    if not seconds > 0:
        msg = f"timeout= must be a number of seconds above 0, got {timeout!r}"
        raise InvalidQueryError(msg)
    return seconds if seconds <= threading.TIMEOUT_MAX else None
