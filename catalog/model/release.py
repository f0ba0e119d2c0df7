"""What stands between a plan and its caller: rows are released once what was done for them is kept.

Whoever runs a plan, on whichever thread, only queues what it did; a gate on the caller's thread
takes the queue and puts it on record before it hands a batch on.

Rules:
    - What made a row is queued before the row is handed on: what is in a batch is in the queue.
    - Nothing is done for a statement that has no gate, and nothing new begins once it has closed.
    - What was begun before and ends later is not lost: it goes where the gate said.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa


class Reading:
    """What one statement reads: what it is going to do, and what it did that is to be on record.

    Attributes:
        expected: What its plan may do, as its planning found out.
        given_up: Whether its caller closed the result, and so waits for what that takes.
    """

    def __init__(self) -> None:
        self.expected: list[object] = []
        self.given_up = False
        self._queue: deque[object] = deque()
        self._late: Callable[[object], None] | None = None
        self._is_open = False

    # --- asked by the gate -----------------------------------------------------------------------

    def open(self, late: Callable[[object], None]) -> None:
        """Let the plan do what is to be on record; what ends too late for the gate goes to late."""
        self._late = late
        self._is_open = True

    def take(self) -> list[object]:
        """Return what was done since this was last asked, oldest first."""
        taken = []
        while self._queue:
            try:
                taken.append(self._queue.popleft())
            except IndexError:  # another thread took the last one
                break
        return taken

    def close(self) -> None:
        """Let nothing new begin; what is queued and not taken is late."""
        self._is_open = False
        self._hand_over()

    def give_up(self) -> None:
        """Note that the caller wants no more rows, and waits for what is done about it."""
        self.given_up = True

    # --- asked by what runs the plan -------------------------------------------------------------

    def begin(self) -> None:
        """Begin to do something that is to be on record.

        Raises:
            ClosedError: Nobody is there to put it on record, any more or at all.
        """
        if not self._is_open:
            msg = "the result was closed, or its plan is run past the gate that keeps its record"
            raise ClosedError(msg)

    def queue(self, done: object) -> None:
        """Queue what was done, before what came of it is handed on."""
        self._queue.append(done)
        if not self._is_open:  # asked after it was queued: either the gate finds it, or this does
            self._hand_over()

    def _hand_over(self) -> None:
        for each in self.take():
            assert self._late is not None
            self._late(each)


class Release(Protocol):
    """What hands the batches of a plan to whoever asked for them."""

    def release(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``batches``, each once what ``reading`` did for it is on record.

        Raises:
            AffidavitError: It cannot be put on record: there are no rows.
        """
