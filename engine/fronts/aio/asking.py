"""Which thread makes a session's calls, and what becomes of a task that waits for one.

Rules:
    - What all sessions of a lake ask at one time is bounded by :data:`CALLS_MAX`.
    - What a transaction asks has a thread of its own, and so has what ends it: those who wait for
      it to let the store's writer go may fill all others.
    - What closes something waits for no statement.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from copy import copy
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from affidavit.engine.fronts.aio.call import Call
from affidavit.engine.fronts.aio.threads import Threads
from affidavit.engine.session.caller import own_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from affidavit.engine.session.session import Session

CALLS_MAX: Final = 32
"""How many threads make the calls of one lake's sessions, but those inside of transactions."""

CLOSINGS_MAX: Final = 8
"""How many threads close what belongs to no open transaction."""

LEFT_AFTER_S: Final = 0.5
"""How long a task that is cancelled waits for what it began to be rolled back or closed."""

BEAT_S: Final = 0.2
"""How often a loop whose tasks wait for calls looks whether Ctrl-C was pressed."""

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
O = TypeVar("O")  # noqa: E741 - an object


class Shared:
    """The threads of all sessions of a lake.

    Attributes:
        calls: Those that make calls.
        closings: Those that close something.
    """

    def __init__(self) -> None:
        self.calls = Threads("affidavit-call", CALLS_MAX)
        self.closings = Threads("affidavit-call-closing", CLOSINGS_MAX)

    def end(self) -> None:
        """Let them end: the lake is closed."""
        self.calls.end()
        self.closings.end()


class Asker:
    """Makes the calls of one session in threads.

    Args:
        session: The session.
        shared: The threads of all sessions of the lake.
    """

    def __init__(self, session: Session, shared: Shared) -> None:
        self.session = session
        self._shared = shared
        self._inside = Threads("affidavit-call-inside", 1)
        self._ending = Threads("affidavit-call-ending", 1)

    def another(self, session: Session) -> Asker:
        """Return what makes the calls of another session of the lake."""
        return Asker(session, self._shared)

    def showing(self, session: Session) -> Asker:
        """Return what makes the calls of a session that shows what this one has of its own."""
        shown = copy(self)
        shown.session = session
        return shown

    @property
    def _is_inside(self) -> bool:
        return own_of(self.session).transactions.begun is not None

    def _threads(self) -> Threads:
        return self._inside if self._is_inside else self._shared.calls

    # --- calls ---------------------------------------------------------------------------------

    async def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call gives; if the task is cancelled, its statement is."""
        return await self._wait(self._threads(), partial(call, *args, **kwargs))

    async def open(self, call: Callable[[], T], undo: Callable[[T], object] | None) -> T:
        """Return what a call gives; ``undo`` takes it back if the task is gone by then."""
        return await self._wait(self._threads(), call, undo=undo)

    async def read(self, call: Callable[[], T], stop: Callable[[], object]) -> T:
        """Return what a call gives; ``stop`` ends it if the task is cancelled."""
        return await self._wait(self._threads(), call, stop=stop)

    async def _wait(
        self,
        threads: Threads,
        make: Callable[[], T],
        undo: Callable[[T], object] | None = None,
        stop: Callable[[], object] | None = None,
    ) -> T:
        call = Call(own_of(self.session), asyncio.get_running_loop(), make, undo)
        return await _answered(call, threads, self._ending, stop)

    # --- the end of something ------------------------------------------------------------------

    async def finish(self, call: Callable[[], None]) -> None:
        """Make a call that ends the session's transaction; a task that is cancelled leaves it."""
        await self._wait(self._ending, call)

    async def leave(self, call: Callable[[], T], *, briefly: bool = False) -> None:
        """Make a call that ends the session's transaction, whatever becomes of the task.

        Args:
            call: Ends it.
            briefly: Do not wait for long: the task is being cancelled.
        """
        await self._finish(self._ending, call, briefly=briefly)

    async def close(self, call: Callable[[], T], *, briefly: bool = False) -> None:
        """Make a call that closes something, whatever becomes of the task, and waits for nobody."""
        threads = self._ending if self._is_inside else self._shared.closings
        await self._finish(threads, call, briefly=briefly)

    async def _finish(self, threads: Threads, make: Callable[[], T], *, briefly: bool) -> None:
        call = Call(own_of(self.session), asyncio.get_running_loop(), make)
        call.future.add_done_callback(_seen)
        threads.submit(call)
        done, _ = await asyncio.wait([call.future], timeout=LEFT_AFTER_S if briefly else None)
        for each in done:
            each.result()

    def end(self, *, shared: bool) -> None:
        """Let the threads end: the session is closed, and the lake too if they were ``shared``."""
        self._inside.end()
        self._ending.end()
        if shared:
            self._shared.end()


async def opened(make: Callable[[], Session]) -> Asker:
    """Return what makes the calls of the session that ``make`` opens."""
    shared = Shared()
    call = Call(None, asyncio.get_running_loop(), make, undo=_closed)
    return Asker(await _answered(call, shared.calls, shared.closings), shared)


def _closed(session: Session) -> None:
    session.close()


async def _answered(
    call: Call[T], threads: Threads, ending: Threads, stop: Callable[[], object] | None = None
) -> T:
    """Return what a call gives that ``threads`` make; if the task is cancelled, end it."""
    threads.submit(call)
    beat = _Beat(asyncio.get_running_loop())
    try:
        given = await call.future
    except BaseException:
        if call.give_up():
            ending.submit(call.take_back)
        if stop is not None and call.future.cancelled():
            ending.submit(partial(_quietly, stop))
        raise
    finally:
        beat.end()
    call.taken()
    return given


class _Beat:
    """Wakes a loop now and then while a task of it waits for a call.

    A signal that comes right before the loop begins to wait wakes nobody: asyncio would see to it
    with the next event, and there may be none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._next = loop.call_later(BEAT_S, self._again)

    def _again(self) -> None:
        self._next = self._loop.call_later(BEAT_S, self._again)

    def end(self) -> None:
        """Let the loop wait as long as it likes."""
        self._next.cancel()


def _seen(future: asyncio.Future[Any]) -> None:
    """Look at what a call raised whose task did not wait for it."""
    if not future.cancelled():
        future.exception()


def _quietly(stop: Callable[[], object]) -> None:
    with suppress(Exception):  # whoever reads is told, and nobody else is there
        stop()


# --- an object whose methods are awaited ---------------------------------------------------------


class Awaited(Generic[O]):
    """An object of a session's, whose methods threads call.

    Args:
        asker: Makes the calls.
        of: The object.
    """

    def __init__(self, asker: Asker, of: O) -> None:
        self._asker = asker
        self._of = of

    async def _ask(
        self, method: Callable[Concatenate[O, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._asker.ask(method, self._of, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # the object's own may read the lake


def awaited(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a method that a task awaits, and a thread makes; all else is the method's own."""

    @wraps(method)
    async def call(self: Awaited[Any], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._ask(method, *args, **kwargs)

    return call


def awaited_as(
    method: Callable[Concatenate[Any, P], T],
    shown: Callable[[Asker, T], U],
    undo: Callable[[T], object] | None = None,
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, U]]:
    """Return a method that a task awaits, with what ``shown`` makes of what it gives.

    Args:
        method: The method.
        shown: Makes what the task gets.
        undo: Takes back what the method gave, if the task is gone by then.
    """

    @wraps(method)
    async def call(self: Awaited[Any], /, *args: P.args, **kwargs: P.kwargs) -> U:
        asker = self._asker
        return shown(asker, await asker.open(partial(method, self._of, *args, **kwargs), undo))

    return call


async def each(asker: Asker, iterator: Iterator[T]) -> AsyncIterator[T]:
    """Yield what an iterator gives, one at a time, each taken in a thread."""
    while (found := await asker.ask(_next, iterator)) is not None:
        yield found[0]


def _next(iterator: Iterator[T]) -> tuple[T] | None:
    for found in iterator:
        return (found,)
    return None
