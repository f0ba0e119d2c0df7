"""Statements written otherwise, and asked of plain DataFusion: no lake is needed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from datafusion import SessionContext

from affidavit.engine.statement.mended.mended import mended

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

TABLES = {
    "t": "(VALUES (1, 10, 'x', 0.5), (2, 20, 'y', 1.5), (NULL, 30, 'z', 2.25)) AS v(a, c, s, d)",
    "u": "(VALUES (1, 5), (2, 6)) AS v(a, b)",
    "big": "(VALUES (1, 9223372036854775807), (2, 5)) AS v(id, n)",
}


@pytest.fixture(scope="package")
def schema_of() -> Callable[[str], pa.Schema | None]:
    """What a context says of a query over the tables; the context itself is ``context``."""
    context = SessionContext()
    for name, rows in TABLES.items():
        context.sql(f"CREATE TABLE {name} AS SELECT * FROM {rows}").collect()

    def asked(query: str) -> pa.Schema | None:
        try:
            return context.sql(query).schema()
        except Exception:
            return None

    asked.context = context  # type: ignore[attr-defined]
    return asked


@pytest.fixture(scope="package")
def answer(
    schema_of: Callable[[str], pa.Schema | None],
) -> Callable[[str], list[tuple[object, ...]]]:
    """What is answered to a statement that is written otherwise where it has to be."""

    def rows(text: str) -> list[tuple[object, ...]]:
        frame = schema_of.context.sql(mended(text, schema_of))  # type: ignore[attr-defined]
        found = [tuple(row.values()) for batch in frame.collect() for row in batch.to_pylist()]
        return sorted(found, key=lambda row: [(value is None, str(value)) for value in row])

    return rows
