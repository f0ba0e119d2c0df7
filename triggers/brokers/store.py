"""The broker of several processes that have nothing but the lake: they watch the store itself."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

from affidavit.errors import AffidavitError
from affidavit.triggers.brokers.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.store.protocol import Store
    from affidavit.triggers.brokers.protocol import Channel

QUICK_S: Final = 0.001
SLOW_S: Final = 0.004
"""How often the store is asked: while there are commits, and when there were none for a while."""

QUIET_S: Final = 1.0
_log = logging.getLogger("affidavit")


class StoreBroker:
    """Wakes every listener when any process has committed anything to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._near = MemoryBroker()
        self._wakes: list[Callable[[], None]] = []
        self._lock = threading.RLock()  # as in the memory broker
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def notify(self, channel: Channel) -> None:
        """Wake whoever listens in this process; the others see the commit."""
        self._near.notify(channel)

    def listen(self, channel: Channel, wake: Callable[[], None]) -> Callable[[], None]:
        """Wake ``wake`` at every commit, until what is returned is called."""
        end_near = self._near.listen(channel, wake)
        with self._lock:
            self._wakes.append(wake)
            self._wanted.set()
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="affidavit-store-broker", daemon=True
                )
                self._thread.start()

        def end() -> None:
            end_near()
            with self._lock:
                if wake in self._wakes:
                    self._wakes.remove(wake)
                if not self._wakes:
                    self._wanted.clear()

        return end

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._watch()
            except AffidavitError as error:
                _log.warning("the store cannot be watched, and is tried again: %s", error)
                self._closed.wait(QUIET_S)

    def _watch(self) -> None:
        watch = self._store.watch()
        try:
            quiet_since = monotonic()
            missed = True  # what was committed before the watch began
            while not self._closed.is_set():
                self._wanted.wait()
                if watch.changed() or missed:
                    missed = False
                    quiet_since = monotonic()
                    for wake in tuple(self._wakes):
                        wake()
                busy = monotonic() - quiet_since < QUIET_S
                self._closed.wait(QUICK_S if busy else SLOW_S)
        finally:
            watch.close()

    def close(self) -> None:
        """End every listening, and the thread."""
        self._near.close()
        self._closed.set()
        self._wanted.set()
        with self._lock:
            self._wakes.clear()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
