"""Group commit: what threads want to write at one time is written in one transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from affidavit.errors import StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ITEMS_MAX: Final = 256
"""How many callers' items one transaction takes."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _Ticket(Generic[Item, Outcome]):
    """One caller's item, and how committing it went the last time."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.done = False

    def committed(self, outcome: Outcome) -> None:
        self.outcome, self.error = outcome, None

    def failed(self, error: BaseException) -> None:
        self.error = error

    def settle(self) -> None:
        """Let nobody try it again."""
        self.done = True

    def result(self) -> Outcome:
        """Return the outcome, or raise what failed."""
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


class GroupCommit(Generic[Item, Outcome]):
    """Hands the items of waiting threads to ``commit`` together.

    The first thread to arrive commits for all that wait; the others find theirs done. Items keep
    the order in which they came. Where the store fails, it fails every thread whose item was in
    hand. Whatever else ``commit`` raises may be about one of the items: then each is committed by
    itself, and the error is that item's own.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Outcome]]) -> None:
        self._commit = commit
        self._waiting: list[_Ticket[Item, Outcome]] = []
        self._queue = threading.Lock()
        self._leader = threading.Lock()

    def submit(self, item: Item, *, wait_s: float | None = None) -> Outcome:
        """Commit ``item`` and return its outcome; when this returns it is durable.

        Args:
            item: What is to be committed.
            wait_s: How long it may wait for its turn; ``None`` for as long as that takes.

        Raises:
            StoreBusyError: Its turn did not come: it is not committed, and will not be.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item)
        with self._queue:
            self._waiting.append(ticket)
        if not self._leader.acquire(timeout=-1 if wait_s is None else wait_s):
            if self._withdraw(ticket):
                raise StoreBusyError("the store", timeout_s=wait_s or 0.0)
            self._leader.acquire()  # it is in the leader's hand, who is about to say
        try:
            while not ticket.done:
                self._lead()
        finally:
            self._leader.release()
        return ticket.result()

    def _withdraw(self, ticket: _Ticket[Item, Outcome]) -> bool:
        """Take an item back, unless somebody is committing it."""
        with self._queue:
            waits = ticket in self._waiting
            if waits:
                self._waiting.remove(ticket)
        return waits

    def _lead(self) -> None:
        """Commit the oldest waiting items."""
        with self._queue:
            batch, self._waiting = self._waiting[:ITEMS_MAX], self._waiting[ITEMS_MAX:]
        try:
            error = self._try(batch)
            if error is not None and not isinstance(error, StoreError) and len(batch) > 1:
                for ticket in batch:
                    self._try([ticket])
        except BaseException:
            for ticket in batch:
                if ticket.outcome is None:
                    ticket.failed(StoreError("the thread that committed was interrupted"))
            raise
        finally:
            for ticket in batch:
                ticket.settle()

    def _try(self, batch: Sequence[_Ticket[Item, Outcome]]) -> Exception | None:
        """Commit ``batch`` and note how that went on each ticket; return what was raised."""
        try:
            outcomes = self._commit([ticket.item for ticket in batch])
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.committed(outcome)
        except Exception as error:  # noqa: BLE001 - each of the waiting threads raises its own
            for ticket in batch:
                ticket.failed(error)
            return error
        return None
