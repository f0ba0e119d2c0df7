"""What a database answers of a sub-tree, read by a thread beside the plan that wants it.

A join reads one of its sides, then the other, so that two databases would wait for each other.

Rules:
    - Nothing begins before the plan runs; what nobody takes rows of ends with the plan.
    - The thread reads ahead as far as the buffer goes, and then waits for who takes rows.
    - What fails is raised where the rows are taken, once. Rows of a reader that was ended are no
      end of the rows, but an error.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.forks import Process
from affidavit.catalog.store.interrupts import deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pyarrow as pa

    from affidavit.catalog.sources.databases.running import Running

BYTES_MAX: Final = 4 << 20
BATCHES_MAX: Final = 16
"""So much is read ahead at most, or one batch that is larger."""

POLL_S: Final = 0.1
"""How often the main thread looks for signals."""

NAME: Final = "affidavit-beside"


class Beside:
    """Rows that a thread reads.

    Args:
        read: Yields them.
        running: Where what ``read`` has under way can be cancelled: nothing else is.
    """

    def __init__(self, read: Callable[[], Generator[pa.RecordBatch]], running: Running) -> None:
        self._read = read
        self._running = running
        self._process = Process("the statement")
        # reentrant: the last who holds a result may be this thread, whose end ends the reader
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._batches: deque[pa.RecordBatch] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._is_taken = self._is_done = self._is_ended = False

    @property
    def is_left(self) -> bool:
        """Whether the thread was told to end, and has not."""
        return self._is_ended and self._thread is not None and self._thread.is_alive()

    # --- who takes the rows --------------------------------------------------------------------

    def take(self) -> bool:
        """Return whether :meth:`batches` is to be asked: it reads, and for nobody else."""
        with self._changed:
            was, self._is_taken = self._is_taken, True
            return not was and self._thread is not None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows.

        Raises:
            SourceError: The reader was ended before there were no more.
            BaseException: What ``read`` raised.
        """
        try:
            while (batch := self._next()) is not None:
                yield batch
        finally:
            self.end()

    def _next(self) -> pa.RecordBatch | None:
        longest = POLL_S if threading.current_thread() is threading.main_thread() else None
        with self._changed:
            while not (self._batches or self._is_done or self._is_ended):
                self._changed.wait(longest)
                if longest is not None:
                    deliver()
            if self._is_ended:
                self._running.refuse_over()
            if self._batches:
                batch = self._batches.popleft()
                self._bytes -= batch.nbytes
                self._changed.notify_all()
                return batch
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    # --- who reads them ------------------------------------------------------------------------

    def begin(self) -> None:
        """Have a thread read, unless somebody does already."""
        with self._changed:
            if self._is_taken or self._is_ended or self._thread is not None:
                return
            # no thread that the program's end waits for: that ends this one, and only then waits
            thread = threading.Thread(target=self._work, name=NAME, daemon=True)
            thread.start()
            self._thread = thread

    def end(self) -> None:
        """Let the thread end, and cancel what it waits for."""
        if not self._process.is_here:
            return
        with self._changed:
            self._is_ended = True
            self._batches.clear()
            self._changed.notify_all()
        self._running.cancel()

    def _work(self) -> None:
        try:
            with closing(self._read()) as batches:
                for batch in batches:
                    if not self._put(batch):
                        return
        except BaseException as error:  # noqa: BLE001 - it is raised to who takes the rows
            self._error = error
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _put(self, batch: pa.RecordBatch) -> bool:
        """Hand a batch over once there is room, and return whether more are wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_ended or self._has_room(batch))
            if not self._is_ended:
                self._batches.append(batch)
                self._bytes += batch.nbytes
                self._changed.notify_all()
            return not self._is_ended

    def _has_room(self, batch: pa.RecordBatch) -> bool:
        fits = self._bytes + batch.nbytes <= BYTES_MAX and len(self._batches) < BATCHES_MAX
        return fits or not self._batches
