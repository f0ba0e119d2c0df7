"""Rows as Python has them: as dicts, and as frames of pandas and polars."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from affidavit.catalog.values.python.held import refuse_unheld, told
from affidavit.catalog.values.python.libraries import require
from affidavit.catalog.values.python.values import python_rows
from affidavit.errors import SqlError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def as_dicts(rows: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row as a dict.

    Raises:
        ExecutionError: A column has a value that Python does not hold.
        SqlError: Two columns have one name.
    """
    _refuse_twice(rows.schema, "a row as a dict")
    return python_rows(rows)


def as_pandas(rows: pa.Table) -> pd.DataFrame:
    """Return rows as a pandas frame.

    Raises:
        ExecutionError: A column has a value that pandas does not hold.
        MissingLibraryError: pandas is not installed.
    """
    require("pandas", what="to_pandas()")
    refuse_unheld(rows, "pandas")
    with told(rows, "pandas", lambda column: column.to_pandas()):
        return rows.to_pandas()


def as_polars(rows: pa.Table) -> pl.DataFrame:
    """Return rows as a polars frame.

    Raises:
        ExecutionError: A column has a value that polars does not hold.
        MissingLibraryError: polars is not installed.
        SqlError: Two columns have one name.
    """
    polars = require("polars", what="to_polars()")
    _refuse_twice(rows.schema, "a polars frame")
    refuse_unheld(rows, "polars")
    with told(rows, "polars", polars.from_arrow, polars.exceptions.PolarsError):
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
