"""News of topics: whom a lake tells that a topic has a new event.

Rules:
    - The news is told after the commit: what a listener reads then has the event.
    - Listeners may come and go in any thread, also while they are told; no lock is held meanwhile.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.topics.topic import Topic


class News:
    """Who is told of new events."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[Topic], None], ...] = ()
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[Topic], None]) -> None:
        """Call ``listener`` with each topic that has new events, in the thread that committed them.

        It returns soon and raises nothing: the events are there, whatever becomes of the news.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def silence(self, listener: Callable[[Topic], None]) -> None:
        """Call ``listener`` no more; it may be one that does not listen."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)

    def published(self, topic: Topic) -> None:
        """Tell who listens that ``topic`` has a new event, which is committed."""
        for listener in self._listeners:
            listener(topic)
