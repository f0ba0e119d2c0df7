"""The process that something belongs to: a fork has none of its threads, and its end stops them."""

from __future__ import annotations

import ctypes
import os
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from affidavit.errors import ClosedError, ForkedError

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def refuse_more(self) -> None:
        """Let no thread but this one begin anything from now on."""
        self._ends_in = threading.get_ident()

    def wait(self, timeout_s: float, others: Callable[[], bool]) -> None:
        """Wait until nothing is done, and ``others`` says so too, but no longer than that."""
        until = monotonic() + timeout_s
        while (self._doing or others()) and monotonic() < until:
            sleep(0.002)


WORKING: Final = Working()
