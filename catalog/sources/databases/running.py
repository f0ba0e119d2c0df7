"""What a statement has under way in databases, and how that ends when the statement does."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGAIN_S: Final = 0.2
"""How soon a query is cancelled once more: one that has not quite begun does not notice."""

INSISTS_S: Final = 30.0
"""How long a query is cancelled that does not end."""


class Running:
    """The queries of one plan, and what it holds for those that are still to come.

    Attributes:
        is_over: Whether its rows are no longer wanted; nothing begins any more.
        is_cancelled: Whether it was told to stop before it was done.
    """

    def __init__(self) -> None:
        self.is_over = self.is_cancelled = False
        self._lock = threading.Lock()
        self._cancels: list[Callable[[], object]] = []
        self._held: list[Callable[[], object]] = []

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

    def cancel(self) -> None:
        """Stop all that runs, until none of it does."""
        self.is_cancelled = True
        self.finish()
        if self._cancel_once():
            # the program's end waits for it: a thread that came back from a library later would end
            # the process in the midst of it
            threading.Thread(target=self._insist, name="affidavit-cancel").start()

    def finish(self) -> None:
        """Release what is held."""
        with self._lock:
            self.is_over = True
            held, self._held = self._held, []
        for each in held:
            each()

    def _insist(self) -> None:
        done, until = threading.Event(), monotonic() + INSISTS_S
        while not done.wait(AGAIN_S) and self._cancel_once() and monotonic() < until:
            pass

    def _cancel_once(self) -> bool:
        """Cancel what runs, and return whether something did.

        Nothing is done, and so freed, in the midst of being cancelled: that would end the process.
        """
        with self._lock:
            for each in self._cancels:
                with suppress(Exception):  # such as that of a connection which has gone
                    each()
            return bool(self._cancels)
