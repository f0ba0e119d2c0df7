"""Which of DataFusion's threads compute, and have not paused since: what a stopped plan leaves.

DataFusion does not say when it lets go of a plan. A join that makes many rows of few looks for
nothing while it makes them, so it goes on although nobody is there to take them. A thread of
DataFusion's that comes to its end of something pauses, and the system counts that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")
"""Linux's; elsewhere nothing is known, and nothing shown."""

_WORKER: Final = "tokio-rt-worker"
"""What the threads of DataFusion 54.1's runtimes are called."""


def computing() -> dict[str, str]:
    """Return DataFusion's threads that compute at this moment, and how often each has paused."""
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
