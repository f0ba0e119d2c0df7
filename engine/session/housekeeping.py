"""What a session does behind its callers' backs: little, often, and in one thread."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from affidavit.errors import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_S: Final = 0.5
_log = logging.getLogger("affidavit")


class Housekeeper:
    """Runs tasks in the background every so often while there is something to do.

    Args:
        interval_s: How long to wait between rounds.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        self._tasks: list[Callable[[], bool]] = []
        self._interval_s = interval_s
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def add(self, task: Callable[[], bool]) -> None:
        """Run ``task`` too, after the others.

        It does what is due and returns whether it should be asked again. One that raises is asked
        again, and logged, unless it waited in vain for who writes.
        """
        self._tasks.append(task)

    def wake(self) -> None:
        """Say that there is something to do."""
        if self._wanted.is_set():
            return
        self._wanted.set()
        with self._starting:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="affidavit-housekeeping", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait()
            if self._stopping.wait(self._interval_s):
                return
            self._wanted.clear()
            if self._round():
                self._wanted.set()

    def _round(self) -> bool:
        again = False
        for task in list(self._tasks):
            try:
                again = task() or again
            except StoreBusyError:
                again = True  # nothing is wrong: somebody writes for long
            except Exception:  # noqa: BLE001 - whatever it was, it is logged with its trace
                _log.exception("a background task failed, and is tried again")
                again = True
        return again

    def stop(self) -> None:
        """Stop the thread; what is left to do is the caller's."""
        self._stopping.set()
        self._wanted.set()
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
