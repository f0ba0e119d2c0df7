"""The process that something belongs to: a fork has a copy of it, and none of its threads."""

from __future__ import annotations

import os

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
