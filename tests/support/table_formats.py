"""Tables in the formats of others, held against what their own library reads."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from datafusion import SessionContext

import affidavit
from tests.support.optional import library

FILTERS = 25
START = datetime(2024, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
WORDS = ("", "a", "A", "ä", "zz", "it's", "\U0001f980", "a" * 60 + "b", "a" * 60 + "c")
FLOATS = (0.0, -0.0, 1.5, -1.5, 1e300, float("inf"), float("-inf"), float("nan"))


def rows(first: int, count: int, seed: int = 1) -> pa.Table:
    """Return rows with NULL, NaN and neighbours of bounds, so that files overlap a little."""
    draw = random.Random(seed + first)

    def some(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if draw.random() < 0.15 else v for v in values], kind)

    at = range(first, first + count)
    us = [START + timedelta(microseconds=i * 333 + draw.randrange(3)) for i in at]
    return pa.table(
        {
            "id": pa.array(at, pa.int64()),
            "n": some([i % 50 - 25 for i in at], pa.int32()),
            "s": some([draw.choice(WORDS) for _ in at], pa.string()),
            "f": some([draw.choice(FLOATS) for _ in at], pa.float64()),
            "d": some([date(2024, 1, 1) + timedelta(days=i // 40) for i in at], pa.date32()),
            "ts": some(us, pa.timestamp("us", "UTC")),
            "tn": some([each.replace(tzinfo=None) for each in us], pa.timestamp("us")),
            "c": some([Decimal(i) / 8 for i in at], pa.decimal128(12, 3)),
            "b": some([i % 2 == 0 for i in at], pa.bool_()),
            "raw": some([bytes([i % 256]) for i in at], pa.binary()),
            "l": some([[i, None] for i in at], pa.list_(pa.int64())),
            "p": some([draw.choice(WORDS[1:]) for _ in at], pa.string()),
        }
    )


def condition(draw: random.Random, data: pa.Table, depth: int = 3) -> str:
    """Return a random filter, whose values are mostly those of rows."""
    shape = draw.random() if depth else 1.0 - draw.random() / 2
    if shape < 0.25:
        return f"({condition(draw, data, depth - 1)} AND {condition(draw, data, depth - 1)})"
    if shape < 0.4:
        return f"({condition(draw, data, depth - 1)} OR {condition(draw, data, depth - 1)})"
    if shape < 0.5:
        return f"NOT ({condition(draw, data, depth - 1)})"
    column = draw.choice([name for name in data.column_names if name not in {"raw", "l"}])
    if shape < 0.57:
        return f"{column} IS {draw.choice(['', 'NOT '])}NULL"
    if column == "b":
        return draw.choice(["b", "b = false", "b <> true"])

    def value() -> str:
        found = data[column][draw.randrange(data.num_rows)].as_py()
        match found:
            case None:
                return "NULL"
            case bool() | int() | Decimal():
                return str(found)
            case float():
                return f"'{found!r}'::DOUBLE"
            case datetime():
                kind = (
                    'Timestamp(Microsecond, Some("UTC"))'
                    if found.tzinfo
                    else "Timestamp(Microsecond, None)"
                )
                return f"arrow_cast('{found:%Y-%m-%dT%H:%M:%S.%f}{'Z' if found.tzinfo else ''}', '{kind}')"
            case date():
                return f"DATE '{found}'"
        return "'" + found.replace("'", "''") + "'"

    if shape < 0.65:
        return f"{column} IN ({value()}, {value()})"
    if shape < 0.72:
        return f"{column} BETWEEN {value()} AND {value()}"
    return f"{column} {draw.choice(['=', '<>', '<', '<=', '>', '>='])} {value()}"


def assert_same(session: affidavit.Session, table: str, data: pa.Table, seed: int = 5) -> None:
    """Compare a table with what its library says is in it, under random filters."""
    plain = SessionContext()
    plain.register_record_batches("t", [data.combine_chunks().to_batches()])
    draw = random.Random(seed)
    whole = session.sql(f"SELECT * FROM {table} ORDER BY id").to_arrow()
    assert whole.column_names == data.column_names
    expected = data.sort_by("id")
    for name in data.column_names:
        # as text, since NaN is not equal to itself
        assert repr(whole[name].to_pylist()) == repr(expected[name].to_pylist()), name
    assert session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": data.num_rows}]
    for _ in range(FILTERS):
        where = condition(draw, data)
        text = (
            "SELECT id FROM {} WHERE "
            + where.replace("{", "{{").replace("}", "}}")
            + " ORDER BY id"
        )
        found = session.sql(text.format(table)).to_arrow()["id"].to_pylist()
        assert found == plain.sql(text.format("t")).to_arrow_table()["id"].to_pylist(), where


def count(session: affidavit.Session, table: str) -> int:
    found = session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()
    return int(found[0]["n"])


class Ice:
    """A catalog of the tests' own, over a folder."""

    def __init__(self, warehouse: Path) -> None:
        memory = library("pyiceberg.catalog.memory", "'pyiceberg[sql-sqlite]'")
        self.catalog = memory.InMemoryCatalog("tests", warehouse=warehouse.as_uri())
        self.catalog.create_namespace("main")
        self.warehouse = warehouse

    def table(self, name: str, schema: Any, **options: Any) -> Any:
        return self.catalog.create_table(f"main.{name}", schema=schema, **options)

    def folder(self, name: str, data: pa.Table) -> Path:
        """Make a table of some rows, and return where it is."""
        self.table(name, data.schema).append(data)
        return self.warehouse / "main" / name

    def close(self) -> None:
        self.catalog.engine.dispose()
