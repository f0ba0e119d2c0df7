"""What a statement gives back: Arrow batches, streamed until somebody asks for all of them."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from affidavit.catalog.values.types import any_within, lacks_values
from affidavit.engine.result.display import ROWS_SHOWN_MAX, as_html, as_text, record_html
from affidavit.engine.result.named import as_dicts, as_pandas, as_polars
from affidavit.errors import ClosedError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    import polars as pl

    from affidavit.engine.reads.receipt import Receipt
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import SearchRequest


class Result:
    """The rows of one statement.

    A query runs when its rows are first asked for. ``batches()`` and iteration hold one batch at a
    time and can be had once; ``to_*()``, ``len()`` and ``num_rows`` read everything and keep it,
    for all threads that ask.

    Attributes:
        rows_affected: How many rows a DML statement touched; ``None`` for a query.
    """

    def __init__(
        self,
        schema: pa.Schema | Callable[[], pa.Schema],
        batches: Iterator[pa.RecordBatch],
        *,
        close: Callable[[], None] | None = None,
        cancel: Callable[[], None] | None = None,
        check: Callable[[], None] | None = None,
        receipt: Callable[[], Receipt | None] | None = None,
        keep: Callable[[Iterator[pa.RecordBatch]], list[pa.RecordBatch]] = list,
        rows_affected: int | None = None,
    ) -> None:
        self._schema = schema
        self._source = batches
        self._close = close
        self._cancel = cancel
        self._check = check
        self._receipt = receipt
        self._keep = keep
        self._head: list[pa.RecordBatch] = []
        self._table: pa.Table | None = None
        self._streamed = False
        self._complete = False
        self._closed = False
        self._reading = threading.RLock()
        self._held: object = None
        self.rows_affected = rows_affected

    @classmethod
    def of(
        cls,
        table: pa.Table,
        *,
        rows_affected: int | None = None,
        receipt: Callable[[], Receipt | None] | None = None,
    ) -> Result:
        """Return a result that has its rows already."""
        result = cls(table.schema, iter(()), receipt=receipt, rows_affected=rows_affected)
        result._table = table
        return result

    @property
    def receipt(self) -> Receipt | None:
        """What proves that these rows were the answer: see ``session.audit.check``.

        ``None`` until every row was read, and where no record was made of the read.
        """
        return None if self._receipt is None else self._receipt()

    # --- streaming -----------------------------------------------------------------------------

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; known before the query runs."""
        if self._table is not None:
            return self._table.schema
        if callable(self._schema):
            self._schema = self._schema()
        return self._schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, one batch in memory at a time.

        Raises:
            ClosedError: They were streamed before.
        """
        if self._table is not None:
            yield from self._table.to_batches()
            return
        self._refuse_streamed()
        self._streamed = True
        try:
            while self._head:
                yield self._head.pop(0)
            for batch in self._source:
                if batch.num_rows:
                    yield batch
            self._refuse_closed()
            self._complete = True
        finally:
            self.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            if self._check is not None:
                self._check()  # the session may have been closed, which tells more
            msg = "the result was closed before all of its rows were read: run the statement again"
            raise ClosedError(msg)

    def _refuse_streamed(self) -> None:
        if self._streamed:
            if not self._complete and self._check is not None:
                self._check()  # what ended it tells more
            msg = (
                "the rows were streamed already: run the statement again, or begin with to_arrow()"
            )
            raise ClosedError(msg)
        self._refuse_closed()

    def _peek(self) -> tuple[pa.Table, bool]:
        """Return the first rows and whether there are more, without losing any."""
        with self._reading:
            if self._table is None:
                self._refuse_streamed()
                while sum(batch.num_rows for batch in self._head) <= ROWS_SHOWN_MAX:
                    batch = next(self._source, None)
                    if batch is None:
                        self.to_arrow()
                        break
                    self._head.append(batch)
        if self._table is not None:
            return self._table, False
        return table_of(self._head, self.schema), True

    # --- everything ----------------------------------------------------------------------------

    def to_arrow(self) -> pa.Table:
        """Return every row."""
        with self._reading:
            if self._table is None:
                batches = self._keep(self.batches())
                schema = batches[0].schema if len(batches) == 1 else self.schema
                self._table = table_of(batches, schema)
            return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return every row as a pandas frame; pandas must be installed.

        Raises:
            ExecutionError: A column has a value that pandas does not hold; it is named.
        """
        return as_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """Return every row as a polars frame; polars must be installed.

        Raises:
            ExecutionError: A column has a type or a value that polars does not hold; it is named.
            SqlError: Two columns have one name.
        """
        return as_polars(self.to_arrow())

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return every row as a dict.

        A moment is a ``datetime``, whatever its unit: nanoseconds are cut off, with a warning.

        Raises:
            SqlError: Two columns have one name.
        """
        return as_dicts(self.to_arrow())

    @property
    def num_rows(self) -> int:
        """How many rows there are; runs the query."""
        return self.to_arrow().num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dict, as :meth:`to_pylist` has it."""
        for batch in self.batches():
            yield from as_dicts(batch)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as an Arrow C stream, lazily."""
        if self._table is not None:
            reader = self._table.to_reader()
        else:
            reader = pa.RecordBatchReader.from_batches(
                self.schema, map(partial(_as, self.schema), self.batches())
            )
        return reader.__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy every row, as a plain result: where they were read from stays here."""
        return _unpickled, (self.to_arrow(), self.rows_affected)

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Release what the rows are read from. Rows that were read stay.

        What runs in other databases is cancelled. A thread that is reading is told by an error.
        """
        self._closed = True
        close, self._close = self._close, None
        source, self._source = self._source, iter(())
        if self._cancel is not None:
            self._cancel()
        if hasattr(source, "close"):
            with suppress(ValueError):  # another thread reads
                source.close()
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        close = getattr(self, "_close", None)
        if close is not None:
            close()

    # --- showing -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._streamed and self._table is None:
            return f"{type(self).__name__}({', '.join(self.schema.names)}; streamed)"
        head, more = self._peek()
        return as_text(head, more=more) if head.num_columns else "OK"

    def _repr_html_(self) -> str:
        head, more = self._peek()
        return as_html(head, more=more) if head.num_columns else "OK"


class SearchResult(Result):
    """The rows of one search, nearest or best first.

    Attributes:
        request: What was asked, resolved: model, version, metric.
        k_requested: How many rows were asked for.
        k_returned: How many there are: fewer only if fewer match.
        audit: The signed record of the search; ``None`` where audit is off.
    """

    def __init__(self, table: pa.Table, request: SearchRequest, audit: SearchRecord | None) -> None:
        super().__init__(table.schema, iter(()))
        self._table = table
        self.request = request
        self.k_requested = request.k
        self.k_returned = table.num_rows
        self.audit = audit

    @property
    def query_id(self) -> str | None:
        """What the record is called; ``None`` where audit is off."""
        return None if self.audit is None else self.audit.query_id

    def _repr_html_(self) -> str:
        return super()._repr_html_() + ("" if self.audit is None else record_html(self.audit))


def _unpickled(table: pa.Table, rows_affected: int | None) -> Result:
    return Result.of(table, rows_affected=rows_affected)


def held_open(result: Result, session: object) -> Result:
    """Return ``result``, which keeps ``session`` from being closed for want of a name."""
    result._held = session  # noqa: SLF001 - this module's own
    return result


def watch(result: Result, done: Callable[[int | None, BaseException | None], None]) -> None:
    """Call ``done`` with the number of rows, or the error, once the rows of ``result`` were read.

    Rows that are never asked for belong to a query that never ran: then it is not called.
    """
    table, affected = result._table, result.rows_affected  # noqa: SLF001 - this module's own
    if table is not None:
        done(table.num_rows if affected is None else affected, None)
    else:
        result._source = _watched(result._source, done)  # noqa: SLF001 - as above


def _watched(
    source: Iterator[pa.RecordBatch], done: Callable[[int | None, BaseException | None], None]
) -> Iterator[pa.RecordBatch]:
    rows = 0
    failure: BaseException | None = None
    try:
        for batch in source:
            rows += batch.num_rows
            yield batch
    except GeneratorExit:
        raise
    except BaseException as error:
        failure = error
        raise
    finally:
        if hasattr(source, "close"):
            source.close()
        done(None if failure is not None else rows, failure)


def table_of(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return ``batches`` as one table with the plan's column names.

    A plan and its batches may differ in what may be NULL, and the parts of a UNION among
    themselves: a column may be NULL if any of them says so.
    """
    found = [schema, *(batch.schema for batch in batches)]
    fields = [
        pa.field(
            field.name,
            batches[0].schema.field(at).type if batches else field.type,
            nullable=any(each.field(at).nullable for each in found),
            metadata=field.metadata,
        )
        for at, field in enumerate(schema)
    ]
    whole = pa.schema(fields, metadata=schema.metadata)
    return pa.Table.from_batches([_as(whole, batch) for batch in batches], whole)


class Shape:
    """The columns of a plan's batches, found out as they come.

    A plan and its batches may differ in what may be NULL, and the parts of a UNION among
    themselves: a column may be NULL if any of them says so.

    Attributes:
        loose: The columns, of which each may be NULL: what every batch has.
    """

    def __init__(self, plan: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self._plan = plan
        self._first = next(batches, None)
        self._rest = batches
        self._found: list[pa.Schema] = []
        self._count = 0
        types = plan.types if self._first is None else self._first.schema.types
        fields = zip(plan, types, strict=True)
        self.loose = pa.schema([each.with_type(kind).with_nullable(True) for each, kind in fields])
        for each in self.loose:
            if any_within(each.type, lacks_values):
                raise UnsupportedTypeError(each.name, each.type)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches, once."""
        for batch in chain(() if self._first is None else (self._first,), self._rest):
            self._count += 1
            if batch.schema not in self._found:
                self._found.append(batch.schema)
            yield _as(self.loose, batch)

    @property
    def schema(self) -> pa.Schema:
        """The columns, now that every batch came."""
        found = self._found if self._count == 1 else [self._plan, *self._found]
        nullable = [any(each.field(at).nullable for each in found) for at in range(len(self.loose))]
        fields = zip(self.loose, nullable, strict=True)
        return pa.schema([each.with_nullable(may_be) for each, may_be in fields])


def _as(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    if not batch.num_columns:
        return batch
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
