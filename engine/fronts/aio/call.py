"""One call that a thread makes while a task awaits it.

Rules:
    - A task that is cancelled leaves the wait at once. The statements that its call began are
      stopped, and no others; a call that no thread has begun is not made.
    - What a call gives that nobody takes any more is undone, once, in a thread.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from affidavit.catalog.store.loops import serving
from affidavit.engine.session.work import cancelled
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from affidavit.catalog.lake.queries import Query
    from affidavit.engine.session.caller import Own

T = TypeVar("T")


class Call(Generic[T]):
    """A call of a session, and the future that it answers to.

    Args:
        own: What the session has of its own; ``None`` where there is none yet.
        loop: Whose task waits.
        make: The call.
        undo: Takes back what it gave, where nobody takes that.
    """

    def __init__(
        self,
        own: Own | None,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], T],
        undo: Callable[[T], object] | None = None,
    ) -> None:
        self.future: asyncio.Future[T] = loop.create_future()
        self._own = own
        self._loop = loop
        self._make: Callable[[], T] | None = make
        self._undo = undo
        self._queries: list[Query] = []
        self._given: list[T] = []
        self._is_given_up = False
        self._changing = threading.Lock()
        if own is not None:
            own.transactions.asked.begin()

    # --- in a thread ---------------------------------------------------------------------------

    def __call__(self) -> None:
        """Make the call, and answer."""
        make, self._make = self._make, None
        try:
            given = self._made(make)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self._tell(self._fail, error)
        else:
            self._give(given)

    def _made(self, make: Callable[[], T] | None) -> T:
        """Return what the call gives; before the task knows of it the call is at its end."""
        own = self._own
        telling = nullcontext() if own is None else own.work.telling(self._begun)
        try:
            if self._is_given_up or make is None:
                raise cancelled()
            with serving(self._loop), telling:
                return make()
        finally:
            if own is not None:
                own.transactions.asked.end()

    def _begun(self, query: Query) -> None:
        with self._changing:
            self._queries.append(query)
            if self._is_given_up:
                raise cancelled()

    def _give(self, given: T) -> None:
        with self._changing:
            wanted = not self._is_given_up
            if self._undo is not None:
                self._given.append(given)
        if not wanted or not self._tell(self._answer, given):
            self.take_back()

    def _tell(self, how: Callable[[Any], None], what: object) -> bool:
        """Answer in the loop; return whether it is there to be told."""
        try:
            self._loop.call_soon_threadsafe(how, what)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def take_back(self) -> None:
        """Undo what the call gave, if it gave anything that was not taken."""
        with self._changing:
            given, self._given = self._given, []
        for each in given:
            with suppress(AffidavitError):  # nobody is there to be told
                assert self._undo is not None
                self._undo(each)

    # --- in the loop ---------------------------------------------------------------------------

    def _answer(self, given: T) -> None:
        if not self.future.done():
            self.future.set_result(given)

    def _fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def taken(self) -> None:
        """Note that the task has what the call gave."""
        with self._changing:
            self._given.clear()

    def give_up(self) -> bool:
        """Stop what the call began; return whether it gave something that is to be taken back."""
        with self._changing:
            self._is_given_up = True
            queries = list(self._queries)
        for query in queries:
            query.stop(cancelled)
        return bool(self._given)
