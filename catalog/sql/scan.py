"""Tables that are read by a function of ours: what DataFusion scans as a ``pyarrow`` dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.dataset as pads

from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.filter import read_expression
from affidavit.errors import UnsupportedPredicateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow.compute as pc

    from affidavit.catalog.sql.predicate import Predicate


@dataclass(frozen=True, slots=True)
class End:
    """The rows at one end of an order that a plan wants, which sorts and cuts what it is given.

    Attributes:
        rows: So many of them at least, if there are as many.
        is_last: Whether they are the last ones.
    """

    rows: int
    is_last: bool


class _Scanner:
    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self.projected_schema = schema
        self.to_batches = batches


class Fragment:
    """What DataFusion reads as one partition."""

    def __init__(self, dataset: ScanDataset) -> None:
        self._dataset = dataset

    def scanner(
        self,
        schema: pa.Schema | None = None,  # noqa: ARG002 - DataFusion passes the whole schema
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        batch_size: int | None = None,  # noqa: ARG002 - batches come as the store hands them over
    ) -> _Scanner:
        """Return what reads the partition."""
        return self._dataset.scanner(columns, filter)


class Told(Protocol):
    """What is put on record of a table that is read."""

    @property
    def is_asked(self) -> bool:
        """Whether what scans it is to tell by which columns."""

    def note_scan(self, columns: Sequence[str], filters: Sequence[str]) -> None:
        """Note columns and conditions that one place of a plan reads it by."""


class ScanDataset(pads.Dataset):  # type: ignore[misc]  # pyarrow's classes are untyped
    """A table that DataFusion scans by calling :meth:`scan` once an execution.

    DataFusion's planning asks for the projected schema only; its execution iterates the one
    fragment. A filter that it hands over is trusted to have been applied.

    Attributes:
        told: What is put on record of the table, if it is.
        ordered_by: The column in whose order its rows can be read, from either end; ``None`` if
            there is none. Rows of one value of it come in one batch.
        end: The matching rows that are wanted, by that order; ``None`` for all.
    """

    ordered_by: str | None = None

    def __init__(self, schema: pa.Schema, fail: Callable[[BaseException], None]) -> None:
        self._schema_ = schema
        self._fail = fail
        self.told: Told | None = None
        self.end: End | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._schema_

    def tell(self, told: Told | None) -> None:
        """Take what is put on record of the table."""
        self.told = told

    def want(self, end: End | None) -> None:
        """Take which of the matching rows are wanted; more may be given."""
        self.end = end

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows with exactly ``columns``; of those that are wanted, at least."""
        raise NotImplementedError

    def asked(self, columns: list[str], predicate: Predicate | None) -> None:  # noqa: ARG002 - for who overrides it
        """Note what a place of a plan reads: told once for each place before any of them is run."""
        if self.told is not None and self.told.is_asked:
            self.told.note_scan(columns, ())

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        **_: object,
    ) -> _Scanner:
        """Return what reads ``columns`` of the rows that match ``filter``."""
        names = self._schema_.names if columns is None else list(columns)
        schema = pa.schema([self._schema_.field(name) for name in names])
        predicate = self.read_filter(filter)
        self.asked(names, predicate)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from self.scan(names, predicate)
            except (Exception, KeyboardInterrupt) as error:
                self._fail(error)
                raise

        return _Scanner(schema, batches)

    def read_filter(self, filter: pc.Expression | None) -> Predicate | None:  # noqa: A002 - pyarrow's name
        """Return a filter that can be asked.

        Raises:
            UnsupportedPredicateError: It cannot; the table must be read whole.
        """
        try:
            return None if filter is None else read_expression(filter)
        except UnsupportedPredicateError as error:
            self._fail(error)
            raise

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[Fragment]:  # noqa: A002, ARG002 - pyarrow's signature
        """Yield the one fragment."""
        yield Fragment(self)


class ArrowDataset(ScanDataset):
    """A table in memory."""

    def __init__(self, data: pa.Table, fail: Callable[[BaseException], None]) -> None:
        super().__init__(data.schema, fail)
        self._data = data

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        return project(iter(self._data.to_batches()), columns, predicate)


def enough(batches: Iterator[pa.RecordBatch], end: End | None) -> Iterator[pa.RecordBatch]:
    """Yield batches until the rows are there that are wanted; they begin at that end."""
    left = None if end is None else end.rows
    for batch in batches:
        yield batch
        if left is not None:
            left -= batch.num_rows
            if left <= 0:
                return


def rows_without_columns(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield one batch of so many rows and no columns."""
    yield pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["_"]).select([])


def project(
    batches: Iterator[pa.RecordBatch], columns: list[str], predicate: Predicate | None
) -> Iterator[pa.RecordBatch]:
    """Yield ``columns`` of the matching rows of each batch."""
    for batch in batches:
        yield keep(predicate, batch).select(columns)
