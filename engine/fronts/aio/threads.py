"""Threads that make the calls that a loop must not wait in.

Rules:
    - They are ours: a loop's own threads are few, and others fill them.
    - A thread that finds no work for a while ends. None keeps a program from its end.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LINGER_S: Final = 2.0
"""How long a thread waits for work before it ends."""


class Threads:
    """At most so many threads, which take jobs in the order in which they came.

    Args:
        name: What they are called.
        count_max: How many there are at most.
        linger_s: How long one waits for work before it ends.
    """

    def __init__(self, name: str, count_max: int, *, linger_s: float = LINGER_S) -> None:
        self._name = name
        self._count_max = count_max
        self._linger_s = linger_s
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._count = 0
        self._idle = 0
        self._ended = False

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread do ``job``, which raises nothing.

        Raises:
            RuntimeError: There is no thread, and the system starts none.
        """
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._count < self._count_max:
                self._start(job)

    def _start(self, job: Callable[[], None]) -> None:
        self._count += 1
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            self._count -= 1
            if not self._count:
                with suppress(ValueError):
                    self._jobs.remove(job)
                raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # what it holds is let go before the next one comes

    def _next(self) -> Callable[[], None] | None:
        """Return what is to be done next; ``None`` if this thread is to end."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._ended, self._linger_s)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._count -= 1
            return None

    def end(self) -> None:
        """Let each thread end once it finds no work; a job that comes later is still done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
