"""Who runs a plan, and gives its rows back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from affidavit.engine.plan.errors import asks_for_whole_tables, engine_errors
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from datafusion import DataFrame

    from affidavit.engine.scans.snapshot import Snapshot

Plan: TypeAlias = "Callable[[Snapshot], DataFrame]"
"""Plans one statement at a snapshot: it may be asked again, and at another one."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A statement that was planned, and runs once.

    Attributes:
        plan: What planned it.
        snapshot: What it reads.
        frame: Its plan.
    """

    plan: Plan
    snapshot: Snapshot
    frame: DataFrame

    @classmethod
    def at(cls, snapshot: Snapshot, plan: Plan) -> Planned:
        """Plan a statement at a snapshot.

        Raises:
            SqlError: It does not parse or plan.
        """
        return cls(plan, snapshot, plan(snapshot))


class Runner(Protocol):
    """What runs a plan."""

    def run(self, planned: Planned) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a plan, which runs with the first one.

        Raises:
            ExecutionError: It failed; what a provider or hook raised is raised as it was.
        """


class LocalRunner:
    """Runs plans in this process."""

    def run(self, planned: Planned) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a plan, which runs with the first one.

        Where a filter could not be handed to a table, the tables are read whole, and planned again.
        """
        snapshot = planned.snapshot
        with _cancelling(snapshot), engine_errors(snapshot, ExecutionError):
            try:
                stream = planned.frame.execute_stream()
            except Exception as error:
                if not (snapshot.is_scanned and asks_for_whole_tables(error, snapshot.failure)):
                    raise
                snapshot.read_whole()
                stream = planned.plan(snapshot).execute_stream()
            for batch in stream:
                yield batch.to_pyarrow()


@contextmanager
def _cancelling(snapshot: Snapshot) -> Iterator[None]:
    """End what sources do for a plan that has its rows, is given up, or fails."""
    running = snapshot.begin_running()
    try:
        yield
    except BaseException:
        running.cancel()
        raise
    finally:
        running.finish()
