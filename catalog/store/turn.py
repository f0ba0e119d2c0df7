"""Where a transaction stands that a caller began, and whose turn it is in it."""

from __future__ import annotations

import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING

from affidavit.catalog.store.settled import Baton, Held

if TYPE_CHECKING:
    from affidavit.catalog.store.transaction import Transaction


class Turn:
    """A lock that its holder's thread may take again, and any thread may give back."""

    def __init__(self) -> None:
        self._baton = Baton()
        self._holder: tuple[int, weakref.ref[Held]] | None = None

    def take(self, timeout_s: float) -> Held | None:
        """Return what stands for the lock, or for having it already; ``None`` if not in time."""
        here, holder = threading.get_ident(), self._holder
        if holder is not None and holder[0] == here:
            held = holder[1]()
            if held is not None and held.is_holding:
                return Held()
        held = self._baton.take(timeout_s)
        if held is not None:
            self._holder = here, weakref.ref(held)
        return held

    @property
    def holder(self) -> int | None:
        """The thread that has it, as far as that is known."""
        holder = self._holder
        held = None if holder is None else holder[1]()
        return holder[0] if holder is not None and held is not None and held.is_holding else None


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
