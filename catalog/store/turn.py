"""Where a transaction stands that a caller began, and whose turn it is in it."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affidavit.catalog.store.transaction import Transaction


class Turn:
    """A lock that a thread may take again, and that another thread may give back for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None
        self._depth = 0

    def acquire(self, timeout_s: float) -> bool:
        """Take it, and return whether that could be done in time."""
        here = threading.get_ident()
        with self._changed:
            if self._owner != here:
                if not self._changed.wait_for(lambda: self._owner is None, timeout_s):
                    return False
                self._owner = here
            self._depth += 1
            return True

    def release(self) -> None:
        """Give it back, as often as it was taken."""
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._changed.notify()


class Place:
    """Where a transaction stands that a caller began.

    Attributes:
        begun: The transaction, if there is one.
        told: Why it is over, if nobody who asked for it was told yet.
        turn: Held by the statement that is in it.
    """

    def __init__(self) -> None:
        self.begun: Transaction | None = None
        self.told: str | None = None
        self.turn = Turn()
        self.used_at = monotonic()
        self.gone: threading.Event | None = None
        self.blocks = 0

    def take(self) -> Transaction | None:
        """Return the transaction, which stands here no longer."""
        taken, self.begun = self.begun, None
        gone, self.gone = self.gone, None
        if gone is not None:
            gone.set()
        return taken

    def watched(self) -> threading.Event:
        """Return what says that the transaction stands here no longer."""
        self.gone = threading.Event()
        return self.gone
