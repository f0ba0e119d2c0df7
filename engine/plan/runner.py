"""Who runs a plan, and gives its rows back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.cutting.cut import NOTHING, Cut, cut
from affidavit.engine.plan.cutting.keys import ROWS_MAX
from affidavit.engine.plan.errors import asks_for_whole_tables, engine_errors
from affidavit.engine.plan.nodes.origins import scans_in
from affidavit.engine.plan.nodes.tops import tops_of
from affidavit.engine.plan.running import RunningPlan
from affidavit.engine.plan.short.light import is_light
from affidavit.engine.result.result import Result
from affidavit.errors import ClosedError, ExecutionError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

    import pyarrow as pa
    from datafusion import DataFrame, RecordBatchStream, SessionContext

    from affidavit.catalog.lake.queries import Query
    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.tops import Top
    from affidavit.engine.scans.snapshot import Snapshot

READERS_MAX: Final = 8
"""So many answers of databases are read beside one plan; others as they are wanted."""

_EXPLAINED: Final = "Explain"
_CLOSED: Final = "the result was closed before all of its rows were read: run the statement again"

Plan: TypeAlias = "Callable[[Snapshot], DataFrame]"
"""Plans one statement at a snapshot: it may be asked again, and at another one."""


@dataclass(frozen=True)  # without slots: its text is kept
class Planned:
    """A statement that was planned, and runs once.

    Attributes:
        plan: What planned it.
        snapshot: What it reads.
        frame: Its plan.
        cut: Which of its sub-trees databases answer.
        enough: What of tables of databases is enough for it.
    """

    plan: Plan
    snapshot: Snapshot
    frame: DataFrame
    cut: Cut
    enough: Mapping[tuple[str, str, str], Sequence[Top]]

    @classmethod
    def at(cls, snapshot: Snapshot, plan: Plan, context: SessionContext | None = None) -> Planned:
        """Plan a statement at a snapshot; in a context it is cut for databases.

        Raises:
            SqlError: It does not parse or plan.
        """
        frame = plan(snapshot)
        optimised = cache(frame.optimized_logical_plan)
        found = NOTHING if context is None else cut(frame, optimised, snapshot, context)
        enough = tops_of(frame, optimised, snapshot, found.frame)
        snapshot.need(enough)
        return cls(plan, snapshot, frame, found, enough)

    @property
    def runs(self) -> DataFrame:
        """The plan that runs."""
        return self.frame if self.cut.frame is None else self.cut.frame

    @cached_property
    def text(self) -> str:
        """Its plan as DataFusion prints it, before it is optimised."""
        with held():
            text: str = self.frame.logical_plan().display_indent()
        return text


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
        Another thread ends the wait for a batch, and the plan, by stopping the snapshot's query or
        cancelling the snapshot.

        Raises:
            StatementTimeoutError: The statement has taken longer than it may.
            ClosedError: The snapshot was cancelled meanwhile.
        """
        snapshot = planned.snapshot
        query = snapshot.query
        with _cancelling(snapshot) as running, engine_errors(snapshot, ExecutionError):
            query.check()
            with query.active():  # DataFusion makes the physical plan, and asks our tables
                is_at_once = is_light(planned.text, snapshot)
            if is_at_once:
                yield from _at_once(planned, query)
                return
            frame = _keyed(planned, running)
            with query.active():
                plan = RunningPlan(_begun(planned, frame))
            running.hold(plan.stop)
            with query.running(running.cancel, lambda: plan.is_left or running.is_left):
                while (batch := _next(plan, query)) is not None:
                    query.count(batch.num_rows)
                    yield batch

    @staticmethod
    def begun(planned: Planned) -> DataFrame:
        """Return what is to run of a plan, once small sides of its joins have run."""
        with (
            _cancelling(planned.snapshot) as running,
            engine_errors(planned.snapshot, ExecutionError),
        ):
            return _keyed(planned, running)


def _at_once(planned: Planned, query: Query) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a plan that ends at once, computed here."""
    with query.active():
        stream = iter(_begun(planned, planned.runs))
        while True:
            query.check()
            with held():
                batch = next(stream, None)
            if batch is None:
                return
            rows = batch.to_pyarrow()
            query.count(rows.num_rows)
            yield rows


def _keyed(planned: Planned, running: Running) -> DataFrame:
    """Return what runs of a plan, once small sides of its joins have run that say what is asked."""
    keyed = planned.cut.keyed
    found = None if keyed is None else keyed(partial(_few, planned, running))
    return planned.runs if found is None else found


def _few(planned: Planned, running: Running, frame: DataFrame) -> list[pa.RecordBatch] | None:
    """Return the rows of a part of a plan; ``None`` if they are many, or tables are read whole."""
    query, found, left = planned.snapshot.query, [], ROWS_MAX
    try:
        with query.active(), held(), _asking(planned, frame):
            plan = RunningPlan(frame.execute_stream())
        running.hold(plan.stop)
        with query.running(running.cancel, lambda: plan.is_left):
            while (batch := _next(plan, query)) is not None:
                found.append(batch)
                left -= batch.num_rows
                if left < 0:
                    plan.stop()
                    return None
    except Exception as error:
        if not asks_for_whole_tables(error, planned.snapshot.failure):
            raise
        return None
    finally:
        running.end_readers()
    return found


def _begun(planned: Planned, frame: DataFrame) -> RecordBatchStream:
    """Return a plan's rows, none of which was computed."""
    snapshot = planned.snapshot
    try:
        with held(), _asking(planned, frame):
            return frame.execute_stream()
    except Exception as error:
        if not (snapshot.is_scanned and asks_for_whole_tables(error, snapshot.failure)):
            raise
    snapshot.read_whole()
    frame = planned.plan(snapshot)
    with held():
        return frame.execute_stream()


@contextmanager
def _asking(planned: Planned, frame: DataFrame) -> Iterator[None]:
    """Have tables asked for what is enough for this plan, and not for another of the statement.

    What databases answer of it is read from then on, side by side.
    """
    snapshot = planned.snapshot
    before, running = snapshot.need(planned.enough), snapshot.running
    running.found()  # of plans that were only made
    try:
        yield
    finally:
        snapshot.need(before)
    readers = running.found()
    if readers and not planned.text.startswith(_EXPLAINED) and _reads_more(frame):
        running.begin(readers[:READERS_MAX])


def _reads_more(frame: DataFrame) -> bool:
    """Return whether a plan reads more than one table."""
    return len(list(islice(scans_in(frame.logical_plan()), 2))) > 1


def _next(plan: RunningPlan, query: Query) -> pa.RecordBatch | None:
    """Return the next batch of a plan; ``None`` after the last.

    Raises:
        AffidavitError: It was stopped.
    """
    query.check()
    try:
        batch = plan.next(query.deadline)
    except TimeoutError:
        query.check()
        raise
    if batch is None and plan.is_stopped:
        query.check()
        raise ClosedError(_CLOSED)
    return batch


@contextmanager
def _cancelling(snapshot: Snapshot) -> Iterator[Running]:
    """End what runs for a plan that has its rows, is given up, or fails."""
    running = snapshot.begin_running()
    try:
        yield running
    except SourceError as error:
        if running.is_over:  # what was cancelled may tell so before the plan does
            snapshot.query.check()
            raise ClosedError(_CLOSED) from error
        running.cancel()
        raise
    except BaseException:
        running.cancel()
        raise
    finally:
        running.finish()


def rows_of(
    schema: pa.Schema | Callable[[], pa.Schema],
    batches: Iterator[pa.RecordBatch],
    snapshot: Snapshot,
    stack: ExitStack,
) -> Result:
    """Return rows as a result that is read from a snapshot; ``stack`` holds it until they are."""
    return Result(
        schema, batches, close=stack.close, cancel=snapshot.cancel, check=snapshot.query.check,
        keep=snapshot.catalog.lake.memory.gathered, receipt=lambda: snapshot.reading.receipt,
    )  # fmt: skip
