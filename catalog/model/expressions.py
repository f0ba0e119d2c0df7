"""What evaluates the expressions of tables, as the catalog asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Expressions(Protocol):
    """Evaluates SQL over the rows of one table; any number of threads may ask at once."""

    def condition(self, text: str, schema: pa.Schema) -> tuple[str, tuple[str, ...]]:
        """Return a condition over rows as it is kept, and the columns that it reads."""

    def expression(self, text: str, schema: pa.Schema) -> tuple[str, tuple[str, ...], pa.DataType]:
        """Return an expression as it is kept, the columns that it reads, and its type."""

    def first_false(
        self, sql: str, schema: pa.Schema, rows: pa.Table | pa.RecordBatch
    ) -> int | None:
        """Return the first row of which a condition is false, if there is one."""

    def is_quick(self, sql: str, schema: pa.Schema) -> bool:
        """Return whether a condition is asked of a few rows without any plan."""

    def values(
        self, sql: str, schema: pa.Schema, kind: pa.DataType, rows: pa.Table | pa.RecordBatch
    ) -> pa.Array:
        """Return the value of an expression for each row, as a type."""
