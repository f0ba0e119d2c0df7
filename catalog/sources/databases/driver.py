"""What is particular to one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pyarrow as pa

    from affidavit.catalog.sources.databases.dialect import Dialect
    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select, SourceColumn, SourceTable


@dataclass(frozen=True, slots=True)
class Insertion:
    """Rows for a table.

    Attributes:
        table: The table.
        reader: The rows, of some of its columns; the others get their defaults.
        ready: Called with how many rows there will be, when only the commit is left to be done;
            nothing is kept if it raises.
        running: Where what is under way can be cancelled.
    """

    table: SourceTable
    reader: pa.RecordBatchReader
    ready: Callable[[int], None]
    running: Running

    @property
    def columns(self) -> list[SourceColumn]:
        """The columns that are given."""
        return self.table.chosen(self.reader.schema.names)

    def values(self, names: Sequence[str]) -> str:
        """Return what is selected of columns ``names``, as what the table's columns take."""
        return ", ".join(
            f"CAST({name} AS {each.cast})" if each.cast else name
            for name, each in zip(names, self.columns, strict=True)
        )

    def statement(self, dialect: Dialect, query: str = "") -> str:
        """Return an INSERT of what ``query`` selects, or else of one parameter a column."""
        names = ", ".join(dialect.quoted(each.name) for each in self.columns)
        values = query or f"VALUES ({', '.join('?' * len(self.columns))})"
        return f"INSERT INTO {self.table.quoted(dialect)} ({names}) {values}"


class Driver(ABC):
    """One kind of database.

    Attributes:
        dialect: Its SQL, known for certain once there was a connection.
        idle_max: How many idle connections are kept.
        excludes_readers: Whether what is being read cannot be written.
        keeps_moments: Whether several connections can read what there was at one moment.
    """

    dialect: Dialect
    idle_max: ClassVar[int] = 8
    excludes_readers: ClassVar[bool] = False
    keeps_moments: ClassVar[bool] = False

    @abstractmethod
    def connect(self, *, writing: bool = False) -> Any:  # noqa: ANN401 - the library's own
        """Open a connection, which only reads unless it is opened for ``writing``."""

    @abstractmethod
    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view that may be read."""

    @abstractmethod
    def query_columns(
        self,
        connection: Any,  # noqa: ANN401 - as above
        sql: str,
    ) -> tuple[SourceColumn, ...]:
        """Return the columns that a query gives."""

    @abstractmethod
    def batches(
        self,
        connection: Any,  # noqa: ANN401 - as above
        select: Select,
        running: Running,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query with exactly its schema, as they come.

        A query whose rows are not all read is cancelled.
        """

    @abstractmethod
    def insert(self, connection: Any, insertion: Insertion) -> None:  # noqa: ANN401 - as above
        """Insert rows in one transaction, over a connection that was opened for writing."""

    def check(self, columns: Sequence[SourceColumn], batch: pa.RecordBatch) -> None:  # noqa: B027 - most can write what they are given
        """Raise SourceError if rows cannot be written to ``columns`` as they are."""

    def expected(
        self,
        connection: Any,  # noqa: ANN401, ARG002 - as above
        sql: str,  # noqa: ARG002 - as above
        running: Running,  # noqa: ARG002 - as above
    ) -> int | None:
        """Return how many rows the database expects a query to give, if it says."""
        return None

    # --- reading in parts ----------------------------------------------------------------------

    def ranges(
        self,
        connection: Any,  # noqa: ANN401, ARG002 - as above
        select: Select,  # noqa: ARG002 - as above
        running: Running,  # noqa: ARG002 - as above
    ) -> list[str]:
        """Return conditions that part a large query by its key, to be read side by side.

        An empty list stands for a query that is not parted.
        """
        return []

    def begin_snapshot(self, connection: Any) -> bool:  # noqa: ANN401, ARG002 - as above
        """Have a connection read what there is at one moment that has a name, if there are such."""
        return False

    def snapshot_name(self, connection: Any) -> str | None:  # noqa: ANN401, ARG002 - as above
        """Return what the database calls the moment that a connection reads, if it does."""
        return None

    def export_snapshot(self, connection: Any) -> str:  # noqa: ANN401 - as above
        """Have a connection read what there is at one moment, and return what joins it."""
        raise NotImplementedError

    def join_snapshot(self, connection: Any, name: str) -> None:  # noqa: ANN401 - as above
        """Have a connection read at a moment that another one keeps meanwhile."""
        raise NotImplementedError

    def end_snapshot(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Have a connection read what there is now, again."""
        raise NotImplementedError
