"""How much memory a process takes that changes, copies or joins all rows of a large table."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

import affidavit
from bench.harness import Bound, Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

ROWS: Final = 5_000_000
QUICK_ROWS: Final = 100_000
BLOCK: Final = 50_000
"""How many rows a source hands over at a time: none is ever whole in memory."""

GROWTH_MB: Final = 600
KB_A_MB: Final = 1e3
SCHEMA: Final = pa.schema([("id", pa.int64()), ("name", pa.string()), ("v", pa.float64())])


def blocks(rows: int, offset: float) -> pa.RecordBatchReader:
    """Return a stream of rows of three columns, ``id`` from 0 on."""

    def made() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, BLOCK):
            ids = pa.array(range(first, min(first + BLOCK, rows)), pa.int64())
            names = pc.binary_join_element_wise("item ", pc.cast(ids, pa.string()), "")
            values = pc.add(pc.cast(ids, pa.float64()), offset)
            yield pa.record_batch([ids, names, values], schema=SCHEMA)

    return pa.RecordBatchReader.from_batches(SCHEMA, made())


def _load(session: affidavit.Session, rows: int) -> None:
    session.create_table("t", schema=SCHEMA, primary_key="id").insert(blocks(rows, 0.5))


def _upsert(session: affidavit.Session, rows: int) -> None:
    session.table("t").upsert(blocks(rows, 7.5))


def _read(text: str) -> Callable[[affidavit.Session, int], None]:
    def read(session: affidavit.Session, rows: int) -> None:
        [(count,)] = [tuple(row.values()) for row in session.sql(text).to_pylist()]
        assert count == rows, f"{count} rows, not {rows}"

    return read


def _run(text: str) -> Callable[[affidavit.Session, int], None]:
    def run(session: affidavit.Session, rows: int) -> None:
        affected = session.sql(text).rows_affected
        assert affected in {rows, None}, f"{affected} rows, not {rows}"

    return run


def _past(session: affidavit.Session, rows: int) -> None:
    """Read the table as it was before any of its rows was changed."""
    first = "SELECT min(seq) AS seq FROM journal WHERE entity_type = 't' AND action = 'update'"
    seq = session.sql(first).to_pylist()[0]["seq"]
    _read(f"SELECT count(v) AS n FROM as_of('t', {seq - 1})")(session, rows)


STEPS: Final[dict[str, Callable[[affidavit.Session, int], None]]] = {
    "insert of a stream": _load,
    "CREATE TABLE AS SELECT": _run("CREATE TABLE u AS SELECT * FROM t"),
    "join with its copy": _read("SELECT count(*) AS n FROM t JOIN u ON t.id = u.id"),
    "UPDATE": _run("UPDATE t SET v = v + 1"),
    "upsert of a stream": _upsert,
    "as_of before the changes": _past,
    "DELETE": _run("DELETE FROM t WHERE v > 0"),
}
"""What is done in turn, each in a process of its own."""


def growing(plan: Plan) -> Iterator[Figure]:
    """Yield how the resident memory of a process grows, journaled, against that of a tenth."""
    rows = QUICK_ROWS if plan.quick else ROWS
    tenth, whole = _taken(plan, rows // 10), _taken(plan, rows)
    for step, told in whole.items():
        yield Figure(
            f"peak memory growth, {step}, {rows:,} rows", "MB", told["growth_mb"],
            tenth[step]["growth_mb"], "a tenth of the rows",
            (Bound("measured", "at most", GROWTH_MB),), {"seconds": told["seconds"]},
        )  # fmt: skip


def _taken(plan: Plan, rows: int) -> dict[str, dict[str, float]]:
    """Take each step with so many rows, and return what it told."""
    found = {}
    for step in STEPS:
        command = [sys.executable, "-m", "bench.growing", str(plan.folder / str(rows)), step]
        told = subprocess.run([*command, str(rows)], check=True, stdout=subprocess.PIPE, text=True)
        found[step] = json.loads(told.stdout)
    return found


def _peak_mb() -> float:
    """Return the peak of this process alone: ``ru_maxrss`` has that of who began it too."""
    with suppress(OSError), Path("/proc/self/status").open() as status:
        [told] = [line.split()[1] for line in status if line.startswith("VmHWM")]
        return int(told) / KB_A_MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KB_A_MB


def main(lake: str, step: str, rows: int) -> None:
    """Take one step and print by how much the peak of this process grew."""
    with affidavit.connect(lake) as session:
        session.sql("SELECT 1").to_arrow()
        before, started = _peak_mb(), perf_counter()
        STEPS[step](session, rows)
        told = {"growth_mb": round(_peak_mb() - before), "seconds": perf_counter() - started}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
