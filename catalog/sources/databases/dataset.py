"""A table of a database, as DataFusion scans it: whole, or in parts side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from affidavit.catalog.sources.databases.parts import Parts, ranges_of
from affidavit.catalog.sql.scan import Fragment, ScanDataset, rows_without_columns
from affidavit.catalog.store.forks import WORKING
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa
    import pyarrow.compute as pc

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.moment import Moment
    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.sent import SentQueries
    from affidavit.catalog.sources.databases.table import Select, SourceTable
    from affidavit.catalog.sources.databases.tops import Top
    from affidavit.catalog.sql.predicate import Predicate


def _nobody() -> None:
    """Return who is told of a moment."""


def _all() -> None:
    """Return that all rows are needed."""


class SourceDataset(ScanDataset):
    """A table of a source, or a range of its key.

    Args:
        database: The source.
        table: Its table.
        running: Returns where what the plan that runs has under way can be cancelled.
        fail: Told what a scan raises.
        sent: Told what is sent, and what came.
        moment: At which the statement reads the database.
        condition: The range, as SQL.
        lend: Where a range's connection comes from.
        told: Returns who wants to be told what the database calls the moment that is read, if
            anybody does.
        enough: Returns which first rows are all that the plan needs that is about to run; none
            where it only counts them, and ``None`` where it needs all.
        sends_filters: Whether conditions are sent.

    Attributes:
        database: The source.
        table: Its table.
        moment: At which the statement reads the database.
        moment_told: The same as ``told``.
    """

    def __init__(
        self,
        database: Database,
        table: SourceTable,
        running: Callable[[], Running],
        fail: Callable[[BaseException], None],
        sent: SentQueries,
        moment: Moment,
        *,
        condition: str = "",
        lend: Callable[[], AbstractContextManager[Any]] | None = None,
        told: Callable[[], Callable[[str], None] | None] = _nobody,
        enough: Callable[[], Sequence[Top] | None] = _all,
        sends_filters: bool = True,
    ) -> None:
        super().__init__(table.arrow_schema, fail)
        self.database = database
        self.table = table
        self._running = running
        self._sent = sent
        self.moment = moment
        self._condition = condition
        self._lend = lend
        self.moment_told = told
        self._enough = enough
        self._sends_filters = sends_filters

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        **rest: object,
    ) -> Any:  # noqa: ANN401 - what pyarrow's scanners have
        """Return what reads, and note what would be sent: planning asks too."""
        predicate = self.read_filter(filter)
        names = self.schema.names if columns is None else list(columns)
        select = self._select(names, predicate)
        text, is_sub_tree = _text(names, select), self.table.is_written
        self._sent.note(self.database.name, text, is_sub_tree=is_sub_tree)
        return super().scanner(columns, filter, **rest)

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[Fragment]:  # noqa: A002 - pyarrow's name
        """Yield what is read side by side: the one table, or ranges of its key."""
        self.moment.ask()
        predicate, enough = self.read_filter(filter), self._enough()
        if enough is not None:
            yield self._part(enough=lambda: enough)
            return
        try:
            ranges = ranges_of(self.database, self.table, predicate, self._running())
        except (SourceError, KeyboardInterrupt) as error:
            self._fail(error)
            raise
        if not ranges:
            yield self._part()
            return
        parts = Parts(self.database, self.table, len(ranges), self._running, self.moment)
        for number, condition in enumerate(ranges):
            yield self._part(condition=condition, lend=partial(parts.connection, number))

    def _part(self, **rest: Any) -> Fragment:  # noqa: ANN401 - what this class is made of
        """Return what is read for one plan, whatever others need of the table meanwhile."""
        part = SourceDataset(
            self.database, self.table, self._running, self._fail, self._sent, self.moment,
            told=self.moment_told, sends_filters=self._sends_filters, **rest,
        )  # fmt: skip
        return Fragment(part)

    def _select(self, columns: list[str], predicate: Predicate | None) -> Select:
        """Return what is sent for a scan."""
        select = self.database.select(self.table, columns, predicate)
        select = (select if self._sends_filters else select.whole).where(self._condition)
        tops = self._enough()
        return (self.database.first(select, tops) if tops else None) or select

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        select = self._select(columns, predicate)
        name, text = self.database.name, _text(columns, select)
        self._sent.count(name, text, None)
        lend = self._lend or (self.moment.connection if self.moment.is_shared else None)
        if _is_count(columns, select):
            rows = self.database.count(select, self._running(), lend, self.moment_told())
            return rows_without_columns(rows)
        batches = self.database.scan(
            select, predicate, columns, self._running(), lend, self.moment_told()
        )
        counted = self._sent.counted(name, text, batches)
        # all at once, so that the connection is free again before the plan leaves the scan
        return iter(list(counted)) if select.is_short else WORKING.steps(counted)


def _text(columns: Sequence[str], select: Select) -> str:
    """Return what is sent."""
    return select.text("count(*)" if _is_count(columns, select) else "")


def _is_count(columns: Sequence[str], select: Select) -> bool:
    """Return whether rows are only counted, which the database does as well."""
    return not columns and select.is_counted and not select.tops
