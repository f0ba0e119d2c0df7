"""How much memory many tenants with a statement each take, in a process that does nothing else."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import psutil

import affidavit
from bench.harness import Bound, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

MB: Final = 1e6
LEAST_MB: Final = 0.1
"""Less is not told apart: a process may be smaller afterwards, too."""

WARMUP: Final = 100
"""How many tenants ask before it is measured: what is kept of a few is kept of all."""

STATEMENT: Final = "SELECT count(*) AS n, sum(value) AS total FROM t WHERE value > $value"


def tenants(plan: Plan) -> Iterator[Figure]:
    """Yield the growth of memory by tenants with a statement each, against one with as many."""
    count = plan.size(10_000)
    lake = str(plan.folder / "lake")
    with affidavit.connect(lake, tenant=None) as session:
        session.create_table("t", [{"id": at, "value": at * 2} for at in range(100)])
    many, one = _measured(lake, count, "many"), _measured(lake, count, "one")
    yield Figure(
        f"memory growth, {count:,} tenants, a statement each", "MB", many["growth_mb"],
        one["growth_mb"], "as many statements of one tenant", (Bound("measured", "at most", 100),),
        {"per_s": count / many["seconds"], "baseline_per_s": count / one["seconds"]},
    )  # fmt: skip


def _measured(lake: str, count: int, who: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.tenants", lake, str(count), who]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(told)
    return measured


def main(lake: str, count: int, who: str) -> None:
    """Ask ``count`` statements as ``many`` tenants or ``one``, and print what that took as JSON."""
    process = psutil.Process()
    with affidavit.connect(lake) as session:

        def ask(first: int, last: int) -> None:
            for at in range(first, last):
                tenant = f"tenant{at}" if who == "many" else "tenant"
                with session.scope(tenant=tenant, actor="reader") as scoped:
                    scoped.sql(STATEMENT, value=at).to_arrow()

        ask(0, WARMUP)
        gc.collect()
        before = process.memory_info().rss
        started = perf_counter()
        ask(WARMUP, WARMUP + count)
        seconds = perf_counter() - started
        gc.collect()
        growth_mb = max((process.memory_info().rss - before) / MB, LEAST_MB)
    print(json.dumps({"growth_mb": growth_mb, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
