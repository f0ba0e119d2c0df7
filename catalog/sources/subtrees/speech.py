"""What of a database's SQL means what DataFusion means by it, beside its filters.

Rules:
    - What is not listed is not sent.
    - A value that the database has and DataFusion could not be given, as NaN in a numeric, is an
      error there where it would be read here: then the statement is answered here, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sources.subtrees.expressions import class_of
from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sources.databases.table import SourceColumn

ALL_JOINS: Final = frozenset({"inner", "left", "right", "full", "semi", "anti", "not in"})
COMPARED: Final = frozenset({"integer", "decimal", "text", "date", "moment", "truth"})
"""What is compared, sorted and grouped alike; floats are not: think of -0.0, and of NaN's sign.

They are compared with a number, where NaN is an error; not for being the same as zero.
"""


@dataclass(frozen=True, slots=True)
class Speech:
    """What a database is asked beside filters.

    Attributes:
        classes: The classes of types whose columns it is asked to compute with.
        types: What it calls a type, in a CAST.
        text: What a text stands in to be compared by its code points.
        joins: The kinds of joins that it is sent.
        is_by_rows: Whether it works row by row, by one thread.
        needs_key: Whether it finds rows by a key alone, and else compares each with each.
        counts_exactly: Whether an integer that is too large is an error, so that it computes them.
        averages: What an average of decimals is there, of their sum and number, cut to its digits
            as here; empty if none.
        means: What an average of integers is there, of the sum of their sizes, of their sum and of
            their number, as floats have it if they hold each sum exactly; an error if they do not.
        sums_integers: Whether a sum of integers of 64 bits that is too large is an error.
        fails_beyond: Whether a decimal without digits behind the point that is too large for an
            integer is an error.
        filters: Whether an aggregate function has FILTER.
        shifts: The classes of types whose values window functions bring from other rows.
        has_defaults: Whether LAG and LEAD take a value for rows that are not there.
        likes: Whether its LIKE heeds case, and knows ``_``.
        casts: Whether it computes with the texts of what has another type there.
        is_null_safe: How it says that two values are alike, NULL too.
        is_nan: How it says that a float is none; empty if it is asked nothing of floats.
        year: What the year of a date is there, where it is one of four digits.
        guards: What a column of a class stands in, so that a value that cannot be given is an
            error; of a class that is not listed, every value can.
        nulls: The same, so that such a value is NULL.
    """

    classes: frozenset[str]
    types: Mapping[str, str]
    text: str = "{}"
    joins: frozenset[str] = ALL_JOINS
    is_by_rows: bool = False
    needs_key: bool = False
    counts_exactly: bool = True
    averages: str = ""
    means: str = ""
    sums_integers: bool = True
    fails_beyond: bool = True
    filters: bool = True
    shifts: frozenset[str] = COMPARED | {"float"}
    has_defaults: bool = True
    likes: bool = True
    casts: bool = True
    is_null_safe: str = "{} IS NOT DISTINCT FROM {}"
    is_nan: str = ""
    year: str = ""
    guards: Mapping[str, str] = field(default_factory=dict)
    nulls: Mapping[str, str] = field(default_factory=dict)

    def has(self, column: SourceColumn) -> bool:
        """Return whether it computes with a column, or with the text of it, as DataFusion does."""
        is_cast = is_text(column.type) and column.expression and not column.mark and self.casts
        plain = column.compares and not column.expression
        return bool(plain or is_cast) and class_of(column.type) in self.classes

    def name_of(self, kind: pa.DataType) -> str | None:
        """Return what it calls a type."""
        if pa.types.is_decimal(kind):
            name = self.types.get("decimal")
            return name and f"{name}({kind.precision}, {kind.scale})"
        return self.types.get(str(kind))


_PLAIN_TYPES: Final = {
    "int8": "SMALLINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
    "bool": "BOOLEAN",
    "double": "DOUBLE PRECISION", "date32[day]": "DATE", "timestamp[us]": "TIMESTAMP",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip
_YEARS: Final = "{0} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'"

_BEYOND: Final = "{0} >= '294247-01-01' AND {0} < 'infinity'"
"""A moment that Arrow cannot count in microseconds."""

_MEANS: Final = (
    "CASE WHEN {{size}} <= 9007199254740992 THEN "
    "CAST(CAST({{sum}} AS BIGINT) AS DOUBLE PRECISION) / CAST({{count}} AS DOUBLE PRECISION) "
    "ELSE CAST(CAST({{size}} AS {text}) || ' is too large' AS INTEGER) END"
)

POSTGRESQL: Final = Speech(
    classes=COMPARED | {"float"},
    types={**_PLAIN_TYPES, "string": "TEXT", "string_view": "TEXT", "decimal": "NUMERIC"},
    text='{} COLLATE "C"',
    is_by_rows=True,
    # div() cuts the fraction off, exactly
    means=_MEANS.format(text="TEXT"),
    is_nan="{} = 'NaN'",
    averages="div({sum} * 1{zeros}, {count}) * 0.{less}1",
    year=(
        f"CASE WHEN {_YEARS} THEN CAST(EXTRACT(YEAR FROM {{0}}) AS INTEGER) "
        "ELSE CAST(CAST({0} AS TEXT) AS INTEGER) END"
    ),
    guards={
        "decimal": "CASE WHEN {0} = 'NaN' THEN CAST(CAST({0} AS INTEGER) AS NUMERIC) ELSE {0} END",
        "moment": (  # the text of a moment is no number, which is an error
            f"CASE WHEN {_BEYOND} THEN {{0}} + CAST(CAST({{0}} AS TEXT) AS INTEGER) * "
            "INTERVAL '1 day' ELSE {0} END"
        ),
    },
    nulls={
        "decimal": "NULLIF({0}, 'NaN')",
        "moment": f"CASE WHEN {_BEYOND} THEN NULL ELSE {{0}} END",
    },
)  # fmt: skip
DUCKDB: Final = Speech(
    classes=COMPARED | {"float"},
    types={
        **_PLAIN_TYPES, "int8": "TINYINT", "string": "VARCHAR", "string_view": "VARCHAR",
        "decimal": "DECIMAL",
    },
    means=_MEANS.format(text="VARCHAR"),
    is_nan="isnan({})",
    averages=(
        "CAST(CAST({sum} * 1{zeros} AS HUGEINT) // {count} AS DECIMAL(38, 0)) * 0.{less}1"
    ),
    year=(
        f"CASE WHEN {_YEARS} THEN CAST(EXTRACT(YEAR FROM {{0}}) AS INTEGER) "
        "ELSE CAST(CAST({0} AS VARCHAR) AS INTEGER) END"
    ),
)  # fmt: skip
_FAILS: Final = "abs(-9223372036854775808)"  # an integer overflow, which is an error
SQLITE: Final = Speech(
    classes=frozenset({"integer", "text"}),
    types={"int64": "INTEGER"},
    text="{} COLLATE BINARY",
    needs_key=True,
    counts_exactly=False,  # an integer that is too large becomes a float
    likes=False,
    is_null_safe="{} IS {}",
    guards={
        "integer": f"CASE WHEN typeof({{0}}) IN ('integer', 'null') THEN {{0}} ELSE {_FAILS} END",
        "text": f"CASE WHEN typeof({{0}}) IN ('text', 'null') THEN {{0}} ELSE {_FAILS} END",
    },
    nulls={
        "integer": "CASE WHEN typeof({0}) = 'integer' THEN {0} END",
        "text": "CASE WHEN typeof({0}) = 'text' THEN {0} END",
    },
)  # fmt: skip
MARIADB: Final = Speech(
    classes=frozenset({"integer", "decimal", "text"}),
    types={"int64": "SIGNED", "decimal": "DECIMAL"},
    text="CAST(CONVERT({} USING utf8mb4) AS BINARY)",
    joins=ALL_JOINS - {"full"},
    needs_key=True,
    counts_exactly=False,  # a product with an unsigned one is unsigned
    sums_integers=False,  # what is too large for an integer is cut to the largest
    fails_beyond=False,
    filters=False,
    shifts=frozenset({"integer", "decimal"}),
    has_defaults=False,
    likes=False,
    casts=False,  # it sorts by some bytes of a text alone
    is_null_safe="{} <=> {}",
)

SPEECHES: Final[Mapping[str, Speech]] = {
    "PostgreSQL": POSTGRESQL, "DuckDB": DUCKDB, "SQLite": SQLITE, "MariaDB": MARIADB,
}  # fmt: skip
"""By the name of a dialect."""
