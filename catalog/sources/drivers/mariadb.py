"""MariaDB and MySQL, through adbcbridge and an ODBC driver of the machine's.

Rules:
    - MariaDB Connector/ODBC before 3.2 takes a whole result into memory before it gives a row. So
      what is large is read a page after the other by its integer key, at one moment.
    - Dates and times come as text, since the ODBC driver makes other dates of those that MariaDB
      keeps though they are none, such as 2020-00-10; here such a value is an error that names it.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from affidavit.catalog.sources.databases.adbc import batches_of, rows_of
from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.databases.driver import Driver, Insertion
from affidavit.catalog.sources.databases.pool import close
from affidavit.catalog.sources.drivers.finer import refuse_cut
from affidavit.catalog.sources.drivers.mariadb_tables import SORTED_BYTES, find_tables, found_column
from affidavit.catalog.sources.drivers.odbc import asks_for_tls, braced, connection_string
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select, SourceColumn, SourceTable

PAGE_ROWS: Final = 250_000
_NEEDED: Final = (
    "MySQL needs the extra, pip install 'affidavit[mysql]', and an ODBC driver of the machine's: "
    "on Debian apt-get install unixodbc odbc-mariadb"
)
_FRACTION: Final = re.compile(r"\((\d)\)")
_MODES: Final = (
    "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
    "ERROR_FOR_DIVISION_BY_ZERO"
)
_SETTINGS: Final = (
    "SET sql_select_limit = 18446744073709551615",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",  # else there is no snapshot
    "SET time_zone = '+00:00'",
    f"SET sql_mode = '{_MODES}'",
    f"SET max_sort_length = {SORTED_BYTES}",
)


class MariaDb(Driver):
    """A MariaDB or MySQL server; its databases are the schemas.

    Args:
        url: Where it is; with a path, of one database alone.
        password: The user's.
        numeric: What a decimal of more digits than Arrow's is given as; ``None`` for text.
    """

    dialect = Dialect(
        "MariaDB", booleans=False, floats="{}", nan=False, zoned="TIMESTAMP '{}'", quote="`",
        null_order=False, text_order="CAST(CONVERT({} USING utf8mb4) AS BINARY)",
    )  # fmt: skip

    def __init__(
        self, url: str, password: str | None, *, numeric: pa.DataType | None = None
    ) -> None:
        self._numeric = numeric
        self._database = unquote(urlsplit(url).path.removeprefix("/"))
        self._encrypts = asks_for_tls(url)
        self._string = connection_string(url, password)

    def connect(self, *, writing: bool = False) -> Any:  # noqa: ANN401 - an ADBC connection
        """Open a connection."""
        try:
            import adbcbridge  # noqa: PLC0415 - an optional library
        except ImportError as error:
            raise SourceError(_NEEDED) from error
        names = [each.name for each in adbcbridge.odbc_drivers()]
        found = [name for kind in ("maria", "mysql") for name in names if kind in name.lower()]
        if not found:
            raise SourceError(f"{_NEEDED}; the ODBC drivers here are {names}")
        text = f"Driver={braced(found[0])};{self._string}"
        connection = adbcbridge.connect(
            uri=text, autocommit=not writing, delegate="never", batch_size=16_384
        )
        try:
            # the ODBC driver goes on in the clear where a server has no TLS, unless it verifies
            if self._encrypts and not rows_of(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1]:
                raise SourceError("the URL asks for TLS, and the server has none")
            for each in _SETTINGS:
                rows_of(connection, each)
            rows_of(connection, f"SET SESSION TRANSACTION READ {'WRITE' if writing else 'ONLY'}")
        except BaseException:
            close(connection)
            raise
        return connection

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view that may be read."""
        return find_tables(connection, self._database, self.dialect, self._numeric)

    def query_columns(self, connection: Any, sql: str) -> tuple[SourceColumn, ...]:  # noqa: ANN401 - as above
        """Return the columns that a query gives, by the types that the ODBC driver tells."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM (\n{sql}\n) AS query LIMIT 0")
            given = cursor.fetch_record_batch().schema
        return tuple(found_column(field, self.dialect) for field in given)

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        select: Select,
        running: Running,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query; of a large one a page after the other."""
        table = select.table
        if (
            select.tops
            or not table.key
            or (table.rows or 0) < PAGE_ROWS
            or _expected(connection, select) < PAGE_ROWS
        ):
            yield from batches_of(connection, select.text(), select, running)
            return
        rows_of(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield from _pages(connection, select, running)
        rows_of(connection, "COMMIT")

    def insert(self, connection: Any, insertion: Insertion) -> None:  # noqa: ANN401 - as above
        """Insert rows in one transaction, where the table's engine has transactions."""
        text, kept = insertion.statement(self.dialect), 0
        with connection.cursor() as cursor, insertion.running.until_done(cursor.adbc_cancel):
            for batch in insertion.reader:
                _refuse_cut(insertion.columns, batch)
                cursor.executemany(text, batch)
                if cursor.rowcount != batch.num_rows:  # ODBC passes some errors on as warnings
                    told = [row[2] for row in rows_of(connection, "SHOW WARNINGS")]
                    raise SourceError("; ".join(told) or "it did not take every row")
                kept += batch.num_rows
        insertion.ready(kept)
        connection.commit()


def _refuse_cut(columns: Sequence[SourceColumn], batch: pa.RecordBatch) -> None:
    """Raise SourceError if a moment is finer than its column keeps, which would be cut."""
    for column, array in zip(columns, batch.columns, strict=True):
        if pa.types.is_timestamp(array.type):
            digits = _FRACTION.search(column.declared)
            refuse_cut(column, array, 10 ** (6 - int(digits[1] if digits else 0)))


def _pages(
    connection: Any,  # noqa: ANN401 - an ADBC connection
    select: Select,
    running: Running,
) -> Generator[pa.RecordBatch]:
    """Yield the rows of a query in the order of the key, a page's worth at a time."""
    key, names = select.table.key, list(select.columns)
    with_key = replace(select, columns=(*names, *(each for each in key if each not in names)))
    quoted = [select.dialect.quoted(each) for each in key]
    order = f"ORDER BY {', '.join(quoted)} LIMIT {PAGE_ROWS}"
    page, rows = with_key, PAGE_ROWS
    while rows == PAGE_ROWS:
        rows, last = 0, None
        with closing(batches_of(connection, page.text(also=order), page, running)) as found:
            for batch in found:
                rows += batch.num_rows
                last = batch.slice(batch.num_rows - 1)
                yield batch.select(names)
        if last is not None:
            page = with_key.where(_after(quoted, [last[name][0].as_py() for name in key]))


def _after(key: Sequence[str], values: Sequence[int]) -> str:
    """Return the condition that a key of several columns comes after ``values``."""
    if len(key) == 1:
        return f"{key[0]} > {values[0]}"
    rest = _after(key[1:], values[1:])
    return f"{key[0]} >= {values[0]} AND ({key[0]} > {values[0]} OR ({rest}))"


def _expected(connection: Any, select: Select) -> int:  # noqa: ANN401 - an ADBC connection
    """Return how many rows the server expects to look at for a query."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {select.text()}")
        at = [each[0].lower() for each in cursor.description].index("rows")
        return max((int(row[at] or 0) for row in cursor.fetchall()), default=0)
