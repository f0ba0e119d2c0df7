"""How long the store's write lock is held: what every other writer of a lake waits for."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final

HOLD_MAX_S: Final = 0.05
"""A hold of the write lock that is longer is counted."""


class Holds:
    """What one process knows of how its writers held the write lock.

    Attributes:
        long: How many held it for more than :data:`HOLD_MAX_S`.
        longest_s: The longest.
        planned: How many statements were planned under it, since what they read was changed by
            others each time before.
    """

    def __init__(self) -> None:
        self.long = 0
        self.longest_s = 0.0
        self.planned = 0
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def lasts_s(self) -> float:
        """For how long a writer of this process has had the lock, or waited for other processes."""
        since = self._since
        return 0.0 if since is None else monotonic() - since

    def begin(self) -> None:
        """Note that one of this process is the one who writes."""
        self._since = monotonic()

    def end(self) -> None:
        """Note that it is no longer."""
        self._since = None

    def note(self, held_s: float) -> None:
        """Note that it was held for so long."""
        if held_s <= HOLD_MAX_S:
            return
        with self._lock:
            self.long += 1
            self.longest_s = max(self.longest_s, held_s)

    def note_planned(self) -> None:
        """Note that a statement is going to be planned under it."""
        with self._lock:
            self.planned += 1
