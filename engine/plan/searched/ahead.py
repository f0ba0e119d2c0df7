"""The batches of a plan, through its catalog's gate, once what has to come before it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.engine.plan.errors import engine_errors
from affidavit.engine.plan.scanned import reads_rows
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from datafusion import DataFrame

    from affidavit.engine.plan.runner import LocalRunner, Planned, Runner
    from affidavit.engine.scans.snapshot import Snapshot


def released(
    planned: Planned, runner: Runner, done: Callable[[], None] = lambda: None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a plan through its catalog's gate: no plan is run but through here.

    ``done`` is called once there are no more, before that is put on record: who waits for the
    store's writer reads nothing meanwhile, so that SQLite can begin its log anew.
    """
    snapshot = planned.snapshot
    return snapshot.catalog.release(snapshot.reading, _looked(planned, runner.run(planned), done))


def _looked(
    planned: Planned, batches: Iterator[pa.RecordBatch], done: Callable[[], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a plan, if what it reads may still be read."""
    snapshot = planned.snapshot
    for look in snapshot.looks:
        look()
    if snapshot.first and reads_rows(planned.text):
        for find in snapshot.first:
            find()
    yield from batches
    done()


def ahead(snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """Run what may be run before a plan; there are no rows of it."""
    with engine_errors(snapshot, ExecutionError):
        for each in (*snapshot.first, *snapshot.ahead):
            each()
    yield from ()


def begun(planned: Planned, runner: LocalRunner) -> DataFrame:
    """Return what is to run of a plan once small sides of its joins have, with their searches."""
    snapshot, found = planned.snapshot, []

    def begin() -> Iterator[pa.RecordBatch]:
        found.append(runner.begun(planned))
        yield from ()

    list(snapshot.catalog.release(snapshot.reading, begin()))
    return found[0]
