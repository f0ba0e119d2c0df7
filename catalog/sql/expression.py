"""SQL where a value is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from affidavit.catalog.sql.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Expression:
    """An SQL expression over a row's columns, as in ``table.update({"n": expr("n + 1")}, ...)``."""

    sql: str


class Statements(Protocol):
    """What runs an SQL statement for a table handle: the session."""

    def run(self, text: str, params: Mapping[str, object]) -> int:
        """Run one DML statement and return how many rows it touched."""

    def defaults(
        self, schema: pa.Schema, expressions: Mapping[str, str], count: int
    ) -> dict[str, pa.Array]:
        """Return each column's default for so many rows, as the column's type."""


def update_text(
    schema: str, table: str, values: Mapping[str, object], where: str
) -> tuple[str, dict[str, object]]:
    """Return an UPDATE statement and its parameters, one a value that is no expression."""
    params: dict[str, object] = {}
    sets = []
    for at, (column, value) in enumerate(values.items()):
        if isinstance(value, Expression):
            sets.append(f"{quoted(column)} = ({value.sql})")
        else:
            params[f"set_{at}"] = value
            sets.append(f"{quoted(column)} = $set_{at}")
    name = f"{quoted(schema)}.{quoted(table)}"
    return f"UPDATE {name} SET {', '.join(sets)} WHERE {where}", params


def delete_text(schema: str, table: str, where: str) -> str:
    """Return a DELETE statement."""
    return f"DELETE FROM {quoted(schema)}.{quoted(table)} WHERE {where}"


def truncate_text(schema: str, table: str) -> str:
    """Return a TRUNCATE statement."""
    return f"TRUNCATE {quoted(schema)}.{quoted(table)}"
