"""The broker inside one process: every session of a lake in it hears of every other's events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.triggers.brokers.protocol import Channel

_listening: Final[dict[tuple[str, str], list[Callable[[], None]]]] = {}
_lock: Final = threading.RLock()  # a listener that is collected ends its listening anywhere


class MemoryBroker:
    """Wakes the listeners of this process, whichever session they belong to."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], None]] = set()

    def notify(self, channel: Channel) -> None:
        """Wake whoever listens here."""
        for wake in tuple(_listening.get((channel.lake_id, channel.topic_id), ())):
            wake()

    def listen(self, channel: Channel, wake: Callable[[], None]) -> Callable[[], None]:
        """Wake ``wake`` at every event, until what is returned is called."""
        key = (channel.lake_id, channel.topic_id)
        with _lock:
            _listening.setdefault(key, []).append(wake)

        def end() -> None:
            with _lock:
                waiting = _listening.get(key, [])
                if wake in waiting:
                    waiting.remove(wake)
                if not waiting:
                    _listening.pop(key, None)
                self._ends.discard(end)

        self._ends.add(end)
        return end

    def close(self) -> None:
        """End every listening."""
        for end in tuple(self._ends):
            end()
