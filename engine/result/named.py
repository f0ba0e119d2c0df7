"""Rows by the names of their columns: as dicts, and as a polars frame."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from affidavit.catalog.values.python.libraries import require
from affidavit.catalog.values.python.values import python_rows
from affidavit.errors import SqlError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


def as_dicts(rows: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row as a dict.

    Raises:
        SqlError: Two columns have one name.
    """
    _refuse_twice(rows.schema, "a row as a dict")
    return python_rows(rows)


def as_polars(rows: pa.Table) -> pl.DataFrame:
    """Return rows as a polars frame.

    Raises:
        MissingLibraryError: polars is not installed.
        SqlError: Two columns have one name.
    """
    polars = require("polars", what="to_polars()")
    _refuse_twice(rows.schema, "a polars frame")
    frame: pl.DataFrame = polars.from_arrow(rows)
    return frame


def _refuse_twice(schema: pa.Schema, asked: str) -> None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        msg = (
            f"{asked} would lose a column, since {twice[0]!r} stands twice in the result: give one "
            "of the two another name with AS, or read to_arrow(), which has both"
        )
        raise SqlError(msg)
