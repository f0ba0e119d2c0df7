"""A plan that runs: its batches are waited for in a way that the wait, and the plan, can be ended.

DataFusion's iterator computes on the thread that asks it, where nothing gets through to a join that
gives no row for an hour, and goes on when it is dropped. Asked as a coroutine asks, it computes on
threads of its own, and stops for good once what asked is cancelled and nobody holds the stream.

What it is asked by is no event loop of asyncio's, but all that its binding wants of one: something
to be answered to. A loop in a thread of its own takes 240-300 us for a batch, since a request and
its answer each pass a pipe and wake a thread twice; this takes 50-60, and works within a running
loop too, as in a notebook. Asking for a batch before it is wanted saves none of that: what is left
is threads that wake each other, and hand Python's lock over.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from datafusion import SessionConfig

from affidavit.catalog.store.interrupts import held

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from datafusion import RecordBatchStream

_THREADS: Final = Path("/proc/self/task")
"""Linux's; elsewhere nothing is known, and nothing shown."""

_WORKER: Final = "tokio-rt-worker"
"""What the threads of DataFusion 54.1's runtimes are called."""

POLL_S: Final = 0.1
"""How often the main thread looks for signals: one that another thread was sent wakes nobody."""


class RunningPlan:
    """The batches of a plan, each computed when it is asked for.

    Args:
        stream: The plan, which begins with the first batch.
    """

    def __init__(self, stream: RecordBatchStream) -> None:
        self._stream = stream.rbs
        self._coming: _Answer | None = None
        self._left: Callable[[], object] | None = None
        self._computed: dict[str, str] = {}
        self.is_stopped = False

    def next(self, deadline: float | None = None) -> pa.RecordBatch | None:
        """Return the next batch; ``None`` after the last, or once this was stopped.

        Args:
            deadline: Until when to wait, by the monotonic clock.

        Raises:
            TimeoutError: It is past the deadline; the plan computes on.
            BaseException: What DataFusion raises.
        """
        with held():  # what was asked is known, and the loop put back, before Ctrl-C is raised
            answer = self._coming = self._coming or _ask(self._stream)
        if self.is_stopped:  # another thread may have done so before there was what it cancels
            answer.cancel()
        batch = answer.wait(deadline)
        self._coming = None
        return None if batch is None else batch.to_pyarrow()

    def stop(self) -> None:
        """End the plan, from any thread; who waits for a batch gets ``None`` at once."""
        self.is_stopped = True
        answer, self._coming = self._coming, None
        self._stream = _ENDED
        if answer is not None:
            self._computed = computing()
            self._left = ref(answer)
            answer.cancel()

    @property
    def is_left(self) -> bool:
        """Whether DataFusion was told to stop, and has not.

        It holds on to what it was asked, or a thread that computed then has not paused since: then
        it may have been another plan's, which ends soon unless it was told to stop as well.
        """
        if self._left is None:
            return False
        SessionConfig()  # what its threads let go without Python's lock is let go in any next call
        self._computed = (
            dict(self._computed.items() & computing().items()) if self._computed else {}
        )
        return bool(self._computed) or self._left() is not None


# --- how DataFusion is asked ---------------------------------------------------------------------


def _ask(stream: Any) -> _Answer:  # noqa: ANN401 - DataFusion's
    """Have a stream compute its next batch, and return what it will answer to."""
    outer = asyncio._get_running_loop()  # noqa: SLF001 - asyncio's, for who implements a loop
    try:
        asyncio._set_running_loop(_LOOP)  # type: ignore[arg-type]  # noqa: SLF001 - as above
        answer: _Answer = stream.__anext__()
    finally:
        asyncio._set_running_loop(outer)  # noqa: SLF001 - as above
    return answer


class _Answer:
    """What a stream answers to: datafusion-python 54.1.0 takes it for a future of asyncio's."""

    def __init__(self) -> None:
        self._ready = threading.Lock()
        self._ready.acquire()
        self._claimed = threading.Lock()
        self._batch: Any = None
        self._error: BaseException | None = None
        self._is_cancelled = False
        self._on_cancel: list[Callable[[_Answer], object]] = []

    # --- for who asked

    def wait(self, deadline: float | None) -> Any:  # noqa: ANN401 - DataFusion's
        """Return the batch; ``None`` after the last, or if this was cancelled.

        Raises:
            TimeoutError: It is past the deadline.
        """
        longest = POLL_S if threading.current_thread() is threading.main_thread() else -1
        while not self._ready.acquire(timeout=_sooner(longest, deadline)):
            if deadline is not None and monotonic() >= deadline:
                raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._batch

    def cancel(self) -> None:
        """Answer that there is nothing, and have DataFusion told so, unless it was quicker."""
        if self._claimed.acquire(blocking=False):
            self._is_cancelled = True
            for call in self._on_cancel:
                call(self)
            self._ready.release()

    # --- for DataFusion

    def add_done_callback(self, call: Callable[[_Answer], object]) -> None:
        """Have DataFusion told if this is cancelled."""
        self._on_cancel.append(call)

    def cancelled(self) -> bool:
        """Return whether nobody wants the answer any more."""
        return self._is_cancelled

    def set_result(self, batch: object) -> None:
        """Take the next batch."""
        if self._claimed.acquire(blocking=False):
            self._batch = batch
            self._ready.release()

    def set_exception(self, error: BaseException) -> None:
        """Take what failed; that there are no more batches is told this way as well."""
        if self._claimed.acquire(blocking=False):
            self._error = None if isinstance(error, StopAsyncIteration) else error
            self._ready.release()


def _sooner(longest_s: float, deadline: float | None) -> float:
    """Return how long to wait, -1 for as long as it takes."""
    if deadline is None:
        return longest_s
    left_s = max(deadline - monotonic(), 0)
    return left_s if longest_s < 0 else min(left_s, longest_s)


class _Loop:
    """What datafusion-python 54.1.0 takes for asyncio's running loop while it is asked."""

    create_future = _Answer

    @staticmethod
    def call_soon_threadsafe(
        call: Callable[..., object],
        *args: object,
        context: object = None,  # noqa: ARG004 - asyncio's signature
    ) -> None:
        """Let DataFusion answer, on its own thread."""
        call(*args)


_LOOP: Final = _Loop()


class _Ended:
    """The stream of a plan that was stopped."""

    def __anext__(self) -> _Answer:
        answer = _Answer()
        answer.cancel()
        return answer


_ENDED: Final = _Ended()


def computing() -> dict[str, str]:
    """Return DataFusion's threads that compute at this moment, and how often each has paused.

    DataFusion does not say when it lets go of a plan. A join that makes many rows of few looks for
    nothing while it makes them, so it goes on although nobody is there to take them. A thread of
    DataFusion's that comes to its end of something pauses, and the system counts that.
    """
    found = {}
    for path in _THREADS.glob("*/status"):
        try:
            lines = path.read_text().splitlines()
        except OSError:  # it has just ended
            continue
        told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if told["Name"] == _WORKER and told["State"].startswith("R"):
            found[path.parent.name] = told["voluntary_ctxt_switches"]
    return found
