"""What a statement has under way in databases, and how that ends when the statement does."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.store.forks import Process
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AGAIN_S: Final = 0.2
"""How soon a query is cancelled once more: one that has not quite begun does not notice."""

INSISTS_S: Final = 30.0
"""How long a query is cancelled that does not end."""


class Reader(Protocol):
    """What reads rows beside the plan that wants them."""

    @property
    def is_left(self) -> bool:
        """Whether it was told to end, and has not."""

    def begin(self) -> None:
        """Begin to read."""

    def end(self) -> None:
        """End, from any thread and also where nothing was begun."""


class Running:
    """The queries of one plan, and what it holds for those that are still to come.

    Attributes:
        is_over: Whether its rows are no longer wanted; nothing begins any more.
        is_cancelled: Whether it was told to stop before it was done.
    """

    def __init__(self) -> None:
        self.is_over = self.is_cancelled = False
        # a result may be collected as garbage, and so given up, while this thread holds it
        self._lock = threading.RLock()
        self._process = Process("the statement")
        self._cancels: list[Callable[[], object]] = []
        self._held: list[Callable[[], object]] = []
        self._found: list[Reader] = []
        self._readers: list[Reader] = []

    @contextmanager
    def until_done(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Note that something runs which ``cancel`` stops.

        Raises:
            SourceError: Its rows are no longer wanted.
        """
        with self._lock:
            self.refuse_over()
            self._cancels.append(cancel)
        try:
            yield
        finally:
            with self._lock:
                self._cancels.remove(cancel)

    def hold(self, release: Callable[[], object]) -> None:
        """Note that something is held until the plan ends."""
        with self._lock:
            self._held.append(release)
        if self.is_over:
            self.finish()

    def refuse_over(self) -> None:
        """Raise SourceError if nothing may begin any more."""
        if self.is_over:
            raise SourceError("the statement has ended")

    # --- what reads beside the plan ------------------------------------------------------------

    def find(self, reader: Reader) -> None:
        """Note what a plan that is being made could have read beside it."""
        self._found.append(reader)

    def found(self) -> Sequence[Reader]:
        """Return what was found since this was asked last."""
        found, self._found = self._found, []
        return found

    def begin(self, readers: Sequence[Reader]) -> None:
        """Have them read, until this is over or :meth:`end_readers`."""
        with self._lock:
            self._readers += readers
        for each in readers:
            each.begin()
        if self.is_over:
            self.end_readers()

    def end_readers(self) -> None:
        """End what reads."""
        for each in list(self._readers):
            each.end()

    @property
    def is_left(self) -> bool:
        """Whether something reads on that was told to end."""
        return any(each.is_left for each in list(self._readers))

    # --- the end -------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop all that runs, until none of it does."""
        self.is_cancelled = True
        self.finish()
        if self._cancel_once():
            # the program's end waits for it: a thread that came back from a library later would end
            # the process in the midst of it
            threading.Thread(target=self._insist, name="affidavit-cancel").start()

    def finish(self) -> None:
        """Release what is held; a fork leaves it to its parent."""
        if not self._process.is_here:
            return
        with self._lock:
            self.is_over = True
            held, self._held = self._held, []
        for each in held:
            each()
        self.end_readers()  # the plan was stopped, so that it does not tell of them

    def _insist(self) -> None:
        done, until = threading.Event(), monotonic() + INSISTS_S
        while not done.wait(AGAIN_S) and self._cancel_once() and monotonic() < until:
            pass

    def _cancel_once(self) -> bool:
        """Cancel what runs, and return whether something did.

        Nothing is done, and so freed, in the midst of being cancelled: that would end the process.
        """
        if not self._process.is_here:  # the queries are its parent's
            return False
        with self._lock:
            for each in self._cancels:
                with suppress(Exception):  # such as that of a connection which has gone
                    each()
            return bool(self._cancels)
