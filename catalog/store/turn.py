"""Where a transaction stands that a caller began, and whose turn it is in it."""

from __future__ import annotations

import threading
import weakref
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.settled import Baton, Held

if TYPE_CHECKING:
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.errors import AffidavitError


HELD_FACTOR: Final = 10
"""How many times as long as it may do nothing a transaction may keep others from writing."""

AFTER_OTHERS_S: Final = 0.0005
"""How long who comes again lets those take the turn who waited for it meanwhile."""


class Turn:
    """A lock that its holder's thread may take again, and any thread may give back.

    Who gives it back and comes again at once does not keep it from those who wait.
    """

    def __init__(self) -> None:
        self._baton = Baton()
        self._holder: tuple[int, weakref.ref[Held]] | None = None
        self._waiting: set[int] = set()

    def take(self, timeout_s: float) -> Held | None:
        """Return what stands for the lock, or for having it already; ``None`` if not in time."""
        here, holder = threading.get_ident(), self._holder
        if holder is not None and holder[0] == here:
            held = holder[1]()
            if held is not None and held.is_holding:
                return Held()
        if self._waiting:
            sleep(AFTER_OTHERS_S)
        held = self._baton.take(0) or self._awaited(here, timeout_s)
        if held is not None:
            self._holder = here, weakref.ref(held)
        return held

    def _awaited(self, here: int, timeout_s: float) -> Held | None:
        if timeout_s <= 0:
            return None
        try:
            self._waiting.add(here)
            return self._baton.take(timeout_s)
        finally:
            self._waiting.discard(here)

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
        turn: Held by the statement that is in it.
        blocks: How many blocks were entered in it and not left.
    """

    def __init__(self) -> None:
        self.begun: Transaction | None = None
        self.turn = Turn()
        self.blocks = 0
        self._told: AffidavitError | None = None
        self._used_at = self._changed_at = monotonic()
        self._gone: threading.Event | None = None

    def put(self, transaction: Transaction) -> None:
        """Let a transaction stand here."""
        self.begun = transaction
        self.touch()

    def touch(self) -> None:
        """Note that the transaction is used."""
        self._used_at = monotonic()

    def left_s(self, idle_s: float) -> float:
        """Return how long it may go on that may do nothing for ``idle_s``."""
        now_s = monotonic()
        return min(idle_s - (now_s - self._used_at), HELD_FACTOR * idle_s - self._held_s(now_s))

    def overstayed(self, idle_s: float) -> str:
        """Return what it did for too long."""
        now_s = monotonic()
        if now_s - self._used_at < idle_s:
            return f"for {self._held_s(now_s):.3g} s in all"
        return f"and did nothing for {idle_s:g} s"

    def _held_s(self, now_s: float) -> float:
        return now_s - self._changed_at

    def enter_block(self) -> None:
        """Note that a block was entered."""
        self.blocks += 1

    def leave_block(self) -> None:
        """Note that a block was left."""
        self.blocks -= 1

    def take(self, why: AffidavitError | None = None) -> Transaction | None:
        """Return the transaction, which stands here no longer; the next to ask is told ``why``."""
        taken, self.begun = self.begun, None
        gone, self._gone = self._gone, None
        if gone is not None:
            gone.set()
        if why is not None and taken is not None:
            self._told = why
        return taken

    def tell(self) -> None:
        """Raise why a transaction is over, if nobody who asked for it knows."""
        told, self._told = self._told, None
        if told is not None:
            raise told

    def watched(self) -> threading.Event:
        """Return what says that the transaction stands here no longer."""
        self._gone = threading.Event()
        self._changed_at = monotonic()
        return self._gone
