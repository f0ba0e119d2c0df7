"""What a statement gives back to a task: batches that are awaited, each computed in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from affidavit.engine.fronts.aio.asking import Awaited
from affidavit.engine.result.named import as_dicts
from affidavit.engine.result.result import Result, SearchResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from affidavit.engine.fronts.aio.asking import Asker
    from affidavit.engine.reads.receipt import Receipt
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import SearchRequest

T = TypeVar("T")


class AsyncBatches:
    """The batches of a result, as an async iterator; each runs in a thread while it is awaited."""

    def __init__(self, asker: Asker, result: Result) -> None:
        self._asker = asker
        self._result = result
        self._source: Iterator[pa.RecordBatch] = result.batches()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        batch = await self._asker.read(self._next, self._result.close)
        if batch is None:
            raise StopAsyncIteration
        return batch

    def _next(self) -> pa.RecordBatch | None:
        return next(self._source, None)


class AsyncResult(Awaited[Result]):
    """The rows of one statement; an async context manager, and an async iterator of dicts.

    As :class:`~affidavit.Result`: a query runs when its rows are first asked for. Whoever is
    cancelled while they are read closes the result, which stops the query.
    """

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; known before the query runs."""
        return self._of.schema

    @property
    def receipt(self) -> Receipt | None:
        """What proves that these rows were the answer; ``None`` until every row was read."""
        return self._of.receipt

    @property
    def rows_affected(self) -> int | None:
        """How many rows a DML statement touched; ``None`` for a query."""
        return self._of.rows_affected

    def batches(self) -> AsyncBatches:
        """Return the rows as an async iterator, one batch in memory at a time.

        Raises:
            ClosedError: They were streamed before.
        """
        return AsyncBatches(self._asker, self._of)

    async def _read(self, call: Callable[[], T]) -> T:
        return await self._asker.read(call, self._of.close)

    async def to_arrow(self) -> pa.Table:
        """Return every row."""
        return await self._read(self._of.to_arrow)

    async def to_pandas(self) -> pd.DataFrame:
        """Return every row as a pandas frame; pandas must be installed."""
        return await self._read(self._of.to_pandas)

    async def to_polars(self) -> pl.DataFrame:
        """Return every row as a polars frame; polars must be installed."""
        return await self._read(self._of.to_polars)

    async def to_pylist(self) -> list[dict[str, Any]]:
        """Return every row as a dict."""
        return await self._read(self._of.to_pylist)

    async def num_rows(self) -> int:
        """Return how many rows there are; runs the query."""
        return await self._read(lambda: self._of.num_rows)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each row as a dict."""
        async for batch in self.batches():
            for row in as_dicts(batch):
                yield row

    async def close(self) -> None:
        """Release what the rows are read from, and stop the query. Rows that were read stay."""
        await self._asker.close(self._of.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()


class AsyncSearchResult(AsyncResult):
    """The rows of one search, nearest or best first; see :class:`~affidavit.SearchResult`."""

    def __init__(self, asker: Asker, of: SearchResult) -> None:
        super().__init__(asker, of)
        self._found = of

    @property
    def request(self) -> SearchRequest:
        """What was asked, resolved: model, version, metric."""
        return self._found.request

    @property
    def k_requested(self) -> int:
        """How many rows were asked for."""
        return self._found.k_requested

    @property
    def k_returned(self) -> int:
        """How many there are: fewer only if fewer match."""
        return self._found.k_returned

    @property
    def audit(self) -> SearchRecord | None:
        """The signed record of the search; ``None`` where audit is off."""
        return self._found.audit

    @property
    def query_id(self) -> str | None:
        """What the record is called; ``None`` where audit is off."""
        return self._found.query_id
