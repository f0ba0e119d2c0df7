"""The process that something belongs to: a fork has none of its threads, and its end stops them."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Generator
from contextvars import copy_context
from queue import SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast
from weakref import WeakSet

from affidavit.errors import ClosedError, ForkedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Process:
    """The process that this is made in.

    Args:
        what: What belongs to it.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is that process, and no fork of it."""
        return os.getpid() == self._pid

    def refuse_forked(self) -> None:
        """Raise ForkedError if this is a fork of that process: who goes on may wait for ever."""
        if os.getpid() != self._pid:
            raise ForkedError(self._what)


class Left(Protocol):
    """What a fork has of its parent's, and is to leave to it."""

    def leave_to_parent(self) -> None:
        """Let nothing that happens here from now on change what is the parent's; waits for none."""


_LEFT: Final[WeakSet[Left]] = WeakSet()


def left_to_parent(what: Left) -> None:
    """Have a fork of this process leave something to it."""
    _LEFT.add(what)


def keep_for_ever(what: object) -> None:
    """Let nothing end the life of an object, not the end of the program either."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _leave() -> None:
    for each in list(_LEFT):
        each.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)


# --- the end of the program ----------------------------------------------------------------------


class Working:
    """What is done in this process, until the program is at its end.

    Python ends a thread that it does not wait for where that next asks for Python's lock. One that
    is in a library of another language then, as in DataFusion or Lance, takes the process with it.
    """

    def __init__(self) -> None:
        self._doing: set[object] = set()
        self._ends_in: int | None = None

    def begin(self) -> object:
        """Note that this thread begins something, and return what stands for it.

        Raises:
            ClosedError: The program is at its end, and this thread is not the one that ends it.
        """
        if self._ends_in is not None and self._ends_in != threading.get_ident():
            msg = "the program is at its end: join its threads before, or close the session"
            raise ClosedError(msg)
        begun = object()
        self._doing.add(begun)
        return begun

    def end(self, begun: object) -> None:
        """Note that it is done."""
        self._doing.discard(begun)

    def steps(self, given: Iterator[T]) -> Generator[T]:
        """Yield what an iterator gives, each step of which is something that is done."""
        try:
            while True:
                begun = self.begin()
                try:
                    found = next(given)
                except StopIteration:
                    return
                finally:
                    self.end(begun)
                yield found
        finally:
            if isinstance(given, Generator):
                given.close()

    def refuse_more(self) -> None:
        """Let no thread but this one begin anything from now on."""
        self._ends_in = threading.get_ident()

    @property
    def is_ending(self) -> bool:
        """Whether the program is at its end."""
        return self._ends_in is not None

    def wait(self, timeout_s: float, others: Callable[[], bool]) -> None:
        """Wait until nothing is done, and ``others`` says so too, but no longer than that."""
        until = monotonic() + timeout_s
        while (self._doing or others()) and monotonic() < until:
            sleep(0.002)


WORKING: Final = Working()


# --- calls of others' code ------------------------------------------------------------------------


class _Call(Generic[T]):
    """A call that one thread makes and another waits for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._context = make, copy_context()
        self._answered = threading.Lock()
        self._answered.acquire()
        self._given: T | None = None
        self._error: BaseException | None = None

    def make(self) -> bool:
        """Make it, and return whether it was answered: not one that the program's end came upon."""
        was_ending = WORKING.is_ending
        try:
            self._given = self._context.run(self._make)
        except BaseException as error:  # noqa: BLE001 - it is raised to who waits
            self._error = error
        if WORKING.is_ending and not was_ending:
            return False
        self._answered.release()
        return True

    def wait(self) -> T:
        """Return what it gave, or raise what it raised."""
        with self._answered:
            pass
        if self._error is not None:
            raise self._error
        return cast("T", self._given)


class _Caller:
    """A thread that makes calls, one at a time."""

    def __init__(self) -> None:
        self._calls = SimpleQueue[_Call[Any]]()
        threading.Thread(target=self._work, name="affidavit-apart", daemon=True).start()

    def _work(self) -> None:
        while self._calls.get().make():
            pass

    def wait(self, call: _Call[T]) -> T:
        """Have a call made, and return what it gave."""
        self._calls.put(call)
        return call.wait()


_IDLE: Final[deque[_Caller]] = deque()
"""As many as were ever needed at once: no more than threads that plans run on."""


def apart(make: Callable[[], T]) -> T:
    """Have a thread of Python's make a call of somebody's own code, and return what it gave.

    For threads of a library of another language. Python ends a thread that asks for its lock when
    the program is at its end, and where one has a function of Rust's below it that aborts the
    process. So such a thread does not ask: it waits here, if need be for ever, and the one that
    ends is Python's. The main thread, which ends the program, makes the call itself.
    """
    if threading.get_ident() == threading.main_thread().ident:
        return make()
    try:
        caller = _IDLE.pop()
    except IndexError:
        caller = _Caller()
    call = _Call(make)
    try:
        return caller.wait(call)
    finally:
        _IDLE.append(caller)
