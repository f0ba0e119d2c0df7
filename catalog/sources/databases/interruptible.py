"""Waiting for a database so that Ctrl-C, of which Python tells the main thread alone, ends it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, Self, TypeVar

from affidavit.catalog.store.interrupts import deliver

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
POLL_S: Final = 0.1
"""How often the main thread looks for signals: some libraries keep them from waking it."""


def call(function: Callable[[], T], cancel: Callable[[], object] = bool) -> T:
    """Return ``function()``, which Ctrl-C ends by ``cancel`` if that does anything."""
    with Interruptible(cancel) as waiting:
        return waiting.call(function)


class Interruptible:
    """Calls what may block in a library that knows nothing of Python's signals.

    Args:
        cancel: Ends what blocks.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._worker: ThreadPoolExecutor | None = None

    def call(self, function: Callable[[], T]) -> T:
        """Return ``function()``; the main thread has a helper call it, and waits.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; the call was cancelled, and has ended.
        """
        if threading.current_thread() is not threading.main_thread():
            return function()
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "affidavit-source")
        future = self._worker.submit(function)
        try:
            while not wait([future], POLL_S).done:
                deliver()
        except KeyboardInterrupt:
            self._cancel()
            wait([future])
            raise
        return future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.shutdown(wait=False)
