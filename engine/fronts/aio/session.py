"""The session whose verbs are awaited.

Rules:
    - It does nothing itself: each verb is the session's own, called in a thread.
    - A task that is cancelled ends at once, and only the statement that it awaited is stopped. What
      had begun to be written is written; a transaction is rolled back by the block that it leaves.
    - No context variable: it goes from task to task, and a block may be left in another task.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

from affidavit.catalog.model.identity import UNSET
from affidavit.catalog.tables.vector import VectorTable
from affidavit.engine.fronts.aio.asking import Asker, Awaited, awaited, awaited_as
from affidavit.engine.fronts.aio.handles import (
    AsyncAudit,
    AsyncJournal,
    AsyncLedger,
    AsyncRetention,
    AsyncTopics,
    AsyncTriggers,
)
from affidavit.engine.fronts.aio.result import AsyncResult, AsyncSearchResult
from affidavit.engine.fronts.aio.tables import AsyncMutableTable, AsyncVectorTable
from affidavit.engine.result.result import Result
from affidavit.engine.session.session import Session
from affidavit.engine.statement.statement import parse_statement

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from affidavit.catalog.model.change import ChangeListener
    from affidavit.catalog.model.identity import Identity, _Unset
    from affidavit.catalog.tables.mutable import MutableTable
    from affidavit.engine.search.hooks import Hooks
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.request import Query
    from affidavit.engine.session.arguments import Params
    from affidavit.engine.session.given.functions import Functions

T = TypeVar("T")

_BEGINNINGS: Final = frozenset({"BEGIN", "START"})
"""What a statement starts with that begins a transaction."""


def _handle(
    asker: Asker, found: MutableTable | VectorTable
) -> AsyncMutableTable | AsyncVectorTable:
    if isinstance(found, VectorTable):
        return AsyncVectorTable(asker, found)
    return AsyncMutableTable(asker, found)


class AsyncSession(Awaited[Session]):
    """What :func:`aconnect` gives; an async context manager."""

    def __init__(self, asker: Asker) -> None:
        super().__init__(asker, asker.session)

    @property
    def blocking(self) -> Session:
        """The session itself, for a thread that may wait: the same transaction, the same state."""
        return self._of

    async def run(self, call: Callable[[Session], T]) -> T:
        """Return what ``call`` gives of the session itself, in a thread: for what has no verb."""
        return await self._ask(call)

    # --- who -----------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Who asks."""
        return self._of.identity

    @property
    def tenant(self) -> str | None:
        """Whose tables are seen and written; ``None`` for the shared scope."""
        return self._of.tenant

    @property
    def actor(self) -> str:
        """Who acts."""
        return self._of.actor

    @property
    def is_scoped(self) -> bool:
        """Whether another session made this one."""
        return self._of.is_scoped

    @property
    def closed(self) -> bool:
        """Whether this session, or the one that opened its lake, was closed."""
        return self._of.closed

    def scope(
        self,
        *,
        tenant: str | _Unset | None = UNSET,
        actor: str | None = None,
        source: str | None = None,
        workspace: str | None = None,
        reason: str | None = None,
        context: Mapping[str, Any] | None = None,
        allowed_paths: Iterable[str | os.PathLike[str]] | None = None,
        allowed_urls: Iterable[str] | None = None,
    ) -> AsyncSession:
        """Return a session of its own that acts for somebody else; close it, or use ``async with``.

        See :meth:`affidavit.Session.scope`.
        """
        scoped = self._of.scope(
            tenant=tenant, actor=actor, source=source, workspace=workspace, reason=reason,
            context=context, allowed_paths=allowed_paths, allowed_urls=allowed_urls,
        )  # fmt: skip
        return AsyncSession(self._asker.another(scoped))

    # --- SQL and search ------------------------------------------------------------------------

    async def sql(
        self,
        text: str,
        params: Params | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the statement's, which it tells apart
        **named: Any,  # noqa: ANN401 - any value
    ) -> AsyncResult:
        """Run one SQL statement; see :meth:`affidavit.Session.sql`."""
        run = partial(self._of.sql, text, params, timeout=timeout, **named)
        undo = partial(_take_back, self._of, text)
        return AsyncResult(self._asker, await self._asker.open(run, undo))

    explain = awaited(Session.explain)
    describe = awaited(Session.describe)
    search = awaited_as(Session.search, AsyncSearchResult)

    async def search_batch(
        self,
        table: str,
        queries: Iterable[Query | None],
        k: int = 10,
        **options: Any,  # noqa: ANN401 - those of a search
    ) -> list[AsyncSearchResult]:
        """Run many searches of one table at once; see :meth:`affidavit.Session.search_batch`."""
        run = partial(self._of.search_batch, table, queries, k, **options)
        return [AsyncSearchResult(self._asker, each) for each in await self._asker.ask(run)]

    async def cancel(self) -> int:
        """Stop the statements that this session runs; return how many they were."""
        return self._of.cancel()

    async def at(self, moment: object) -> AsyncSession:
        """Return a session on the lake as it was at a moment, which can be read and searched."""
        return AsyncSession(self._asker.showing(await self._ask(Session.at, moment)))

    # --- transactions --------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self, *, immediate: bool = False) -> AsyncIterator[AsyncSession]:
        """Commit what the block does to mutable tables, or roll all of it back if it raises.

        Yields the session, good for this transaction alone. Several tasks may be in it: one
        statement at a time is. See :meth:`affidavit.Session.transaction`.
        """
        async with self._entered(self._of.transaction(immediate=immediate)) as view:
            yield AsyncSession(self._asker.showing(view))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what the block did in the open transaction, and only that, if it raises."""
        async with self._entered(self._of.savepoint()):
            yield

    @asynccontextmanager
    async def _entered(self, block: AbstractContextManager[T]) -> AsyncIterator[T]:
        """Enter a block in a thread, and leave it in one, whatever becomes of the task."""
        given = await self._asker.open(block.__enter__, partial(_undo, block))
        try:
            yield given
        except BaseException as error:
            leave = partial(block.__exit__, type(error), error, error.__traceback__)
            cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
            await self._asker.leave(leave, briefly=cancelled)
            raise
        await self._asker.leave(partial(block.__exit__, None, None, None))

    async def begin(self, *, immediate: bool = False) -> None:
        """Begin a transaction, until :meth:`commit` or :meth:`rollback`."""
        begin = partial(self._of.begin, immediate=immediate)
        await self._asker.open(begin, lambda _: self._of.rollback())

    async def commit(self) -> None:
        """Keep what the open transaction did; see :meth:`affidavit.Session.commit`."""
        await self._asker.finish(self._of.commit)

    async def rollback(self) -> None:
        """Undo what the open transaction did; see :meth:`affidavit.Session.rollback`."""
        await self._asker.finish(self._of.rollback)

    # --- tables and other sources --------------------------------------------------------------

    table = awaited_as(Session.table, _handle)
    create_table = awaited_as(Session.create_table, AsyncMutableTable)
    create_vector_table = awaited_as(Session.create_vector_table, AsyncVectorTable)
    drop_table = awaited(Session.drop_table)
    tables = awaited_as(Session.tables, AsyncResult, Result.close)
    detach = awaited(Session.detach)
    verify_data = awaited(Session.verify_data)
    refresh = awaited(Session.refresh)
    erase = awaited(Session.erase)
    hold = awaited(Session.hold)
    release_hold = awaited(Session.release_hold)

    async def attach(self, name: str, source: object, **options: Any) -> None:  # noqa: ANN401
        """Make another source readable; see :meth:`affidavit.Session.attach`."""
        await self._asker.ask(partial(self._of.attach, name, source, **options))

    # --- what is kept apart --------------------------------------------------------------------

    @property
    def audit(self) -> AsyncAudit:
        """The records of searches."""
        return AsyncAudit(self._asker, self._of.audit)

    @property
    def ledger(self) -> AsyncLedger:
        """The tenant's ledger."""
        return AsyncLedger(self._asker, self._of.ledger)

    @property
    def journal(self) -> AsyncJournal:
        """The journal of every mutation."""
        return AsyncJournal(self._asker, self._of.journal)

    @property
    def retention(self) -> AsyncRetention:
        """For how long what is kept."""
        return AsyncRetention(self._asker, self._of.retention)

    @property
    def topics(self) -> AsyncTopics:
        """The topics."""
        return AsyncTopics(self._asker, self._of.topics)

    @property
    def triggers(self) -> AsyncTriggers:
        """What happens when rows change."""
        return AsyncTriggers(self._asker, self._of.triggers)

    @property
    def hooks(self) -> Hooks:
        """What sees every search, in the threads that run them."""
        return self._of.hooks

    @property
    def models(self) -> Models:
        """The embedding models that encode queries given as text, in such threads too."""
        return self._of.models

    @property
    def functions(self) -> Functions:
        """Python functions that this session's statements call, in the plan's threads."""
        return self._of.functions

    def add_change_listener(self, listener: ChangeListener) -> None:
        """Tell ``listener`` of every mutation, in the thread and transaction that makes it."""
        self._of.add_change_listener(listener)

    def remove_change_listener(self, listener: ChangeListener) -> None:
        """Stop telling ``listener``."""
        self._of.remove_change_listener(listener)

    # --- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Roll back what is open, stop what runs, and let go of the rest.

        Closing the session that :func:`aconnect` gave releases the lake, and closes every scope.

        Raises:
            TransactionError: This is inside a block of :meth:`transaction`.
        """
        await self._asker.close(self._of.close)
        self._asker.end(shared=not self._of.is_scoped)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        scoped = self._of.is_scoped
        await self._asker.close(
            partial(self._of.__exit__, None, None, None), briefly=cancelled and scoped
        )
        self._asker.end(shared=not scoped)

    def __reduce__(self) -> NoReturn:
        self._of.__reduce__()

    def __repr__(self) -> str:
        return f"Async{self._of!r}"


def _take_back(session: Session, text: str, result: Result) -> None:
    """Undo what a statement leaves open that nobody waits for any more."""
    result.close()
    if parse_statement(text).tokens[0].keyword in _BEGINNINGS:
        session.rollback()


def _undo(block: AbstractContextManager[T], _: T) -> None:
    """Leave a block that nobody is in any more."""
    error = asyncio.CancelledError()
    block.__exit__(type(error), error, None)
