"""What a database answers of a sub-tree, as DataFusion scans it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.sources.databases.dataset import SourceDataset
from affidavit.catalog.sources.databases.running import Running
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.scan import Fragment, ScanDataset
from affidavit.catalog.store.forks import WORKING, apart
from affidavit.engine.plan.cutting.beside import Beside
from affidavit.engine.plan.errors import engine_errors
from affidavit.errors import ExecutionError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pyarrow.compute as pc
    from datafusion import DataFrame

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

_log = logging.getLogger("affidavit")


class Answer(SourceDataset):
    """The rows of a sub-tree, of the database, or of this process where the database fails.

    Args:
        database: What is asked.
        table: The query.
        schema: Its columns, as DataFusion has them, by whatever names.
        snapshot: What the statement reads.
        here: The sub-tree as it was.
        told: Return who wants to be told the name of the moment that is read, a table each.
        condition: What of the rows is enough, as SQL.
        running: Where what is under way can be cancelled; by default with the statement.
    """

    def __init__(
        self,
        database: Database,
        table: SourceTable,
        schema: pa.Schema,
        snapshot: Snapshot,
        here: DataFrame,
        told: Sequence[Callable[[], Callable[[str], None] | None]],
        *,
        condition: str = "",
        running: Running | None = None,
    ) -> None:
        super().__init__(
            database, table, lambda: running or snapshot.running, snapshot.fail, snapshot.sent,
            snapshot.moment(database),
            condition=condition, told=partial(_all_told, told),
        )  # fmt: skip
        self._tells = told
        self._schema_ = pa.schema([each.with_name(f"c{at}") for at, each in enumerate(schema)])
        self._snapshot = snapshot
        self._here = here
        self._columns: list[str] = []

    def asked(self, columns: list[str], predicate: Predicate | None) -> None:
        """Note what a place of a plan reads, whose fragments are asked for next."""
        super().asked(columns, predicate)
        self._columns = columns

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[Fragment]:  # noqa: A002 - pyarrow's signature
        """Yield the one query."""
        self.moment.ask()
        running = Running()
        apart = Answer(
            self.database, self.table, self.schema, self._snapshot, self._here, self._tells,
            condition=self._condition, running=running,
        )  # fmt: skip
        reader = Beside(partial(apart.scan, self._columns, self.read_filter(filter)), running)
        self._snapshot.running.find(reader)
        place = _Place(self, reader, self._columns, self._snapshot.fail)
        yield Fragment(place)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Generator[pa.RecordBatch]:
        """Yield the matching rows."""
        is_begun = False
        try:
            for batch in super().scan(columns, predicate):
                is_begun = True
                yield batch
        except SourceError as error:
            if is_begun or self._running().is_over or self._snapshot.running.is_over:
                raise
            _log.info("a sub-tree is answered here: %s", error)
            yield from self._answered_here(columns, predicate)

    def _answered_here(
        self, columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        with engine_errors(self._snapshot, ExecutionError):  # in the words of the statement's own
            stream = apart(lambda: iter(self._here.execute_stream()))
            while (found := apart(lambda: next(stream, None))) is not None:
                batch = found.to_pyarrow()
                named = pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
                yield keep(predicate, named).select(columns)


class _Place(ScanDataset):
    """A place of one plan that reads an answer, which may be read beside the plan.

    Args:
        answer: What is read where it is wanted.
        reader: What can read it beside the plan.
        columns: What that reads of it.
        fail: Told what fails.
    """

    def __init__(
        self,
        answer: Answer,
        reader: Beside,
        columns: list[str],
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__(answer.schema, fail)
        self._answer = answer
        self._reader = reader
        self._columns = columns

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        if columns == self._columns and self._reader.take():
            return WORKING.steps(self._reader.batches())
        return self._answer.scan(columns, predicate)


def _all_told(
    told: Sequence[Callable[[], Callable[[str], None] | None]],
) -> Callable[[str], None] | None:
    """Return what tells everybody who wants to know; ``None`` if nobody does."""
    wants = [each for each in (ask() for ask in told) if each is not None]

    def tell(name: str) -> None:
        for each in wants:
            each(name)

    return tell if wants else None
