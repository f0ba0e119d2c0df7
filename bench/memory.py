"""How much memory streaming a table takes, in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self

import psutil

import affidavit
from bench.harness import Bound, Figure
from bench.samples import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

MB: Final = 1e6
SAMPLE_INTERVAL_S: Final = 0.005


class PeakMemory:
    """A context manager that samples this process's resident memory in a thread.

    Attributes:
        growth_mb: The highest sample less the first one.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = 0
        self._highest = 0

    @property
    def growth_mb(self) -> float:
        """The highest sample less the first one, in megabytes."""
        return (self._highest - self._first) / MB

    def _sample(self) -> int:
        self._highest = max(self._highest, int(self._process.memory_info().rss))
        return self._highest

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL_S):
            self._sample()

    def __enter__(self) -> Self:
        self._first = self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample()


def stream(plan: Plan) -> Iterator[Figure]:
    """Yield the growth of memory while a table is streamed, against that of holding it whole."""
    rows = plan.size(5_000_000)
    lake = str(plan.folder / "lake")
    with affidavit.connect(lake, journal=False) as session:
        session.create_table("t", events(rows), primary_key="id")
    streamed, whole = measure(lake, "batches"), measure(lake, "to_arrow")
    yield Figure(
        f"peak memory growth, streaming {rows:,} rows", "MB", streamed["growth_mb"],
        whole["growth_mb"], "to_arrow() of the same", (Bound("measured", "at most", 300),),
        {"rows_per_s": rows / streamed["seconds"]},
    )  # fmt: skip
    assert streamed["rows"] == whole["rows"] == rows


def measure(lake: str, how: str, query: str = "SELECT * FROM t") -> dict[str, Any]:
    """Return what a query takes, streamed in ``batches`` or whole by ``to_arrow``."""
    command = [sys.executable, "-m", "bench.memory", lake, how, query]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(told)
    return measured


def main(lake: str, how: str, query: str) -> None:
    """Run the query and print what that took as JSON."""
    with affidavit.connect(lake, read_only=True) as session:
        session.sql("SELECT 1").to_arrow()
        with PeakMemory() as peak:
            started = perf_counter()
            result = session.sql(query)
            rows = (
                sum(batch.num_rows for batch in result.batches())
                if how == "batches"
                else result.to_arrow().num_rows
            )
            seconds = perf_counter() - started
    print(json.dumps({"growth_mb": peak.growth_mb, "rows": rows, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
