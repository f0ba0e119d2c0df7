"""How many threads DataFusion computes with."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import Final

from datafusion import SessionContext

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


@lru_cache(maxsize=1)
def start_workers() -> None:
    """Start DataFusion's threads, unless they were; how many there are is settled then."""
    with _STARTING:
        if VARIABLE in os.environ:
            _run()
            return
        os.environ[VARIABLE] = str(workers())
        try:
            _run()
        finally:
            del os.environ[VARIABLE]  # child processes and other libraries decide for themselves


_STARTING: Final = threading.Lock()


def _run() -> None:
    """Use both of the binding's runtimes: what plans, and what streams are computed by."""
    plan = RunningPlan(SessionContext().sql("SELECT 1").execute_stream())
    while plan.next() is not None:
        pass
