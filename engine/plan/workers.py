"""How many threads DataFusion computes with."""

from __future__ import annotations

import os
import threading
from typing import Final

from datafusion import SessionContext

from affidavit.catalog.store.forks import Process
from affidavit.engine.plan.running import RunningPlan

VARIABLE: Final = "TOKIO_WORKER_THREADS"
"""Where DataFusion's runtimes look, once, when they are first used."""

WORKERS_MIN: Final = 8
WORKERS_PER_CORE: Final = 4


def workers() -> int:
    """Return how many threads DataFusion is given, if the environment does not say.

    A plan that gives no row for long holds as many threads as there are cores, and whoever asks for
    anything meanwhile waits for one: with a thread a core, ``SELECT 1`` waited 0.7-4.5 s beside one
    join on two cores, and at most 0.01 s with eight.
    """
    return max(WORKERS_MIN, WORKERS_PER_CORE * (os.cpu_count() or 1))


class _Started:
    """Whether DataFusion's threads were started, and in which process."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.lock = threading.Lock()


_STARTED: Final = _Started()


def start_workers() -> None:
    """Start DataFusion's threads, unless they were; how many there are is settled then.

    Raises:
        ForkedError: They were started in the process that this one was forked from.
    """
    if _STARTED.process is not None:
        _STARTED.process.refuse_forked()
        return
    with _STARTED.lock:
        if _STARTED.process is not None:
            return
        chosen = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = chosen or str(workers())
        try:
            _run()
        finally:
            if chosen is None:  # child processes and other libraries decide for themselves
                del os.environ[VARIABLE]
        _STARTED.process = Process("the engine")


def _run() -> None:
    """Use both of the binding's runtimes: what plans, and what streams are computed by."""
    plan = RunningPlan(SessionContext().sql("SELECT 1").execute_stream())
    while plan.next() is not None:
        pass
