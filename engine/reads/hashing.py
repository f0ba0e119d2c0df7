"""Hashing rows beside their caller, in a thread of their own."""

from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

QUEUE_MAX: Final = 4
"""How many batches wait to be hashed before their caller waits."""


class Hasher(Protocol[T_co]):
    """What is fed batches, and returns something at the end: either digest."""

    def add(self, batch: pa.RecordBatch, /) -> None:
        """Add a batch of rows."""

    def finish(self) -> T_co:
        """Return what all of them give."""


class _Work(Generic[T]):
    """What the thread and its owner have in common.

    The thread must not hold its owner: an owner that nobody holds any more ends the thread.
    """

    def __init__(self, hasher: Hasher[T]) -> None:
        self.hasher = hasher
        self.queue: SimpleQueue[pa.RecordBatch | None] = SimpleQueue()  # may be fed by a finalizer
        self.room = threading.Semaphore(QUEUE_MAX)
        self.is_dropped = False
        self.error: BaseException | None = None

    def run(self) -> None:
        while (batch := self.queue.get()) is not None:
            if self.error is None and not self.is_dropped:
                try:
                    self.hasher.add(batch)
                except BaseException as error:  # noqa: BLE001 - it is raised where it is asked for
                    self.error = error
            self.room.release()

    def drop(self) -> None:
        self.is_dropped = True
        self.queue.put(None)


class HashingThread(Generic[T]):
    """A hasher that works beside its caller, in one thread, a few batches behind.

    Hashing leaves the interpreter to others. A context manager: the thread ends with the block,
    with :meth:`finish`, and when nobody holds this any more. One caller at a time.
    """

    def __init__(self, hasher: Hasher[T]) -> None:
        self._work = _Work(hasher)
        self._is_open = True
        self._thread = threading.Thread(target=self._work.run, name="affidavit-digest", daemon=True)
        self._thread.start()
        self._dropped = weakref.finalize(self, self._work.drop)

    def add(self, batch: pa.RecordBatch) -> None:
        """Hand on a batch; wait while four are waiting.

        What the hasher raises is raised by :meth:`finish`; what is added after that is let go.

        Raises:
            ValueError: It is finished or closed.
        """
        self._check_open()
        self._work.room.acquire()
        self._work.queue.put(batch)

    def finish(self) -> T:
        """Wait until all batches are hashed, and return what the hasher returns.

        Raises:
            ValueError: It is finished or closed.
            UnsupportedTypeError, SchemaMismatchError: What the hasher says of a batch.
        """
        self._check_open()
        self._is_open = False
        self._work.queue.put(None)
        self._thread.join()
        self._dropped.detach()
        if self._work.error is not None:
            raise self._work.error
        return self._work.hasher.finish()

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "the hashing thread is finished or closed"
            raise ValueError(msg)

    def close(self) -> None:
        """End the thread; what waits to be hashed is let go. Closing twice is fine."""
        self._is_open = False
        self._dropped()
        self._thread.join()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
