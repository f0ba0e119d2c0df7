"""The process that something belongs to: a fork has a copy of it, and none of its threads."""

from __future__ import annotations

import ctypes
import os
from typing import Final, Protocol
from weakref import WeakSet

from affidavit.errors import ForkedError


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
