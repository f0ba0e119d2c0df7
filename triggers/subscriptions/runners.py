"""Runners: what runs for a session, each under a key, until it is replaced or all end."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

STOPPING_S: Final = 2.0
"""How long is waited for what is being done when it is to end."""


class Runs(Protocol):
    """Something that runs already when it is made."""

    def stop(self) -> None:
        """Begin nothing more; returns at once."""

    def wait(self, seconds: float) -> None:
        """Wait up to ``seconds`` for what is being done."""


class Runners:
    """The runners of one opened lake, each under a key."""

    def __init__(self) -> None:
        self._running: dict[Hashable, Runs] = {}

    def run(self, key: Hashable, begin: Callable[[], Runs]) -> None:
        """Let what ``begin`` begins run in place of what ran under ``key``, which ends before."""
        self.end(key)
        self._running[key] = begin()

    def end(self, key: Hashable) -> None:
        """End what runs under ``key``, if anything does."""
        running = self._running.pop(key, None)
        if running is not None:
            running.stop()
            running.wait(STOPPING_S)

    def close(self) -> None:
        """End all of them; they share the time that one of them would get."""
        runners = list(self._running.values())
        for runner in runners:
            runner.stop()
        until = monotonic() + STOPPING_S
        for runner in runners:
            runner.wait(until - monotonic())
