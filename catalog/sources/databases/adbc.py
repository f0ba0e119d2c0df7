"""Reading and writing through ADBC (Arrow Database Connectivity)."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.databases.values import check_types, converted, fitted

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select
    from affidavit.catalog.sources.databases.values import Convert

GATHERED_ROWS: Final = 65_536
GATHERED_S: Final = 0.01
"""So many rows, or what came in this time, are fitted at once."""


def rows_of(
    connection: Any,  # noqa: ANN401 - ADBC's
    sql: str,
    running: Running | None = None,
) -> list[tuple[Any, ...]]:
    """Run a statement, which ``running`` may cancel, and return the rows that it gives."""
    with ExitStack() as opened:
        cursor = opened.enter_context(connection.cursor())
        if running is not None:
            opened.enter_context(running.until_done(cursor.adbc_cancel))
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return found


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield rows in larger batches: what is done for each takes as long as for many rows.

    The first comes as it is, and no row waits for others that take long.
    """
    some: list[pa.RecordBatch] = []
    rows, most, until = 0, 1, 0.0
    for batch in batches:
        if not some:
            until = monotonic() + GATHERED_S
        some.append(batch)
        rows += batch.num_rows
        if rows >= most or monotonic() > until:
            yield pa.concat_batches(some) if len(some) > 1 else some[0]
            some, rows, most = [], 0, min(2 * rows, GATHERED_ROWS)
    if some:
        yield pa.concat_batches(some) if len(some) > 1 else some[0]


def batches_of(
    connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
    sql: str,
    select: Select,
    running: Running,
    convert: Convert = converted,
) -> Generator[pa.RecordBatch]:
    """Yield the rows of a query; the query is cancelled if they are not all read.

    Args:
        connection: Where it is asked.
        sql: What is sent.
        select: What was asked.
        running: Where it can be cancelled.
        convert: Makes a column's type of what the driver gives.
    """
    cursor = connection.cursor()
    try:
        with running.until_done(cursor.adbc_cancel):
            cursor.execute(sql)
            reader = cursor.fetch_record_batch()
            check_types(reader.schema, select.schema)
            for batch in gathered(reader):
                yield fitted(batch, select, convert)
    except GeneratorExit:
        with suppress(Exception):
            cursor.adbc_cancel()
        raise
    finally:
        with suppress(Exception):
            cursor.close()
