"""Who is told that a topic has a new event, once it is committed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.topics.topic import Topic


class News:
    """The listeners to the topics of one lake. Safe across threads."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[Topic], None], ...] = ()
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[Topic], None]) -> None:
        """Have ``listener`` called after each commit that published to a topic."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def silence(self, listener: Callable[[Topic], None]) -> None:
        """Call ``listener`` no more."""
        with self._lock:
            self._listeners = tuple(each for each in self._listeners if each != listener)

    def published(self, topic: Topic) -> None:
        """Tell whoever listens that ``topic`` has a new event, which is committed."""
        for listener in self._listeners:
            listener(topic)
