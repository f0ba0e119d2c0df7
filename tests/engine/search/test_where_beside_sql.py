"""The ``where`` of a search means what the same WHERE means in SQL.

Conditions are grown from a grammar over columns of every kind; each is asked of a search and of
SQL, and both find the same rows, or both refuse. ``AFFIDAVIT_FUZZ`` says how many; the seed is the
number of the condition.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import affidavit
from affidavit.engine.search import among
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = int(os.environ.get("AFFIDAVIT_FUZZ", "100"))
ROWS = 40
ALL = 100
"""How many rows are asked for: more than there are."""

LITERALS = {
    "n": ["0", "3", "-2", "7.5", "'3'", "NULL", "12", "-1.0", "1e1", "2147483648", "id"],
    "big": ["0", "9223372036854775807", "-5", "'10'", "10.0", "NULL"],
    "tiny": ["0", "255", "256", "-1", "'7'", "7.0", "NULL"],
    "f": ["0.0", "1.5", "-0.5", "1", "'2.5'", "0.1", "NULL", "-0.0", "1e300"],
    "f32": ["0.1", "1.5", "-1", "'0.5'", "0.30000001"],
    "price": ["1.5", "0", "'2.25'", "-1", "3.125", "NULL", "100000"],
    "name": [
        "'ann'",
        "'Bob'",
        "''",
        "'it''s'",
        "'b%'",
        "NULL",
        "'3'",
        "3",
        'lower("Owner")',
        "'Ü'",
    ],
    '"Owner"': ["'ann'", "'bob'", "name", "'O'", "NULL"],
    "flag": ["true", "false", "NULL", "'true'", "1"],
    "day": ["'2024-01-05'", "DATE '2024-01-09'", "'2024-02-30'", "current_date", "NULL"],
    "at": [
        "'2024-01-05T12:00:00'",
        "'2024-01-05'",
        "TIMESTAMP '2024-01-07 12:00:00'",
        "day",
        "NULL",
    ],
    "z": [
        "'2024-01-05T12:00:00Z'",
        "'2024-01-05T13:00:00+01:00'",
        "TIMESTAMP '2024-01-07 12:00:00'",
    ],
}
COMPARE = ["=", "<>", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
OTHERS = [
    "substr(name, 1, 1) = 'a'", "extract(day FROM day) > 5", "CASE WHEN n > 3 THEN flag ELSE NOT flag END",
    "length(name) BETWEEN 2 AND 4", "name LIKE '%b%'", "name NOT LIKE 'a_n'", "name ILIKE 'B%'", "n % 3 = 1",
    "n + 1 > big", "abs(n) = 2", "CAST(name AS VARCHAR) = 'ann'", "id IN (SELECT id FROM other WHERE n > 2)",
    "EXISTS (SELECT 1 FROM other WHERE other.id = docs.id)", "n > (SELECT avg(n) FROM other)",
    "day + INTERVAL '1 day' > '2024-01-08'", "coalesce(name, 'x') = 'x'", "flag", "NOT flag", "flag IS TRUE",
    "flag IS NOT FALSE", "name IS NULL", "tags IS NOT NULL", "array_length(tags) = 2", "tags[1] = 'x'",
    "docs.n = 3", "round(f) = 2", "name || 'x' = 'annx'", "n IN (1, 2, NULL)", "n NOT IN (1, 2)",
    "n NOT IN (1, NULL)", "name IN ('ann', 'Bob')", "big IN (1, 2.0, '3')", "date_trunc('week', at) = '2024-01-08'",
    "name ~ '^[a-b]'", "nullif(n, 3) IS NULL", "1 = 1", "true", "false", "NULL", "n IS NOT NULL AND n = n",
    "n / 0 > 1", "CAST(name AS INT) = 3", "sum(n) > 1", "nope = 1", "day = name", "n ->> 'a' = 'b'",
]  # fmt: skip


def condition(random_: random.Random, depth: int = 2) -> str:
    """Return a condition."""
    made = random_.random()
    if depth and made < 0.35:
        joint = random_.choice([" AND ", " OR ", " AND NOT ", " or "])
        return joint.join(condition(random_, depth - 1) for _ in range(2))
    if depth and made < 0.5:
        return random_.choice(["({})", "NOT ({})", "(({}))"]).format(condition(random_, depth - 1))
    if made < 0.65:
        return random_.choice(OTHERS)
    column = random_.choice(list(LITERALS))
    values = [random_.choice(LITERALS[column]) for _ in range(3)]
    shape = random_.choice(
        ["{c} {o} {a}", "{c} {o} {a}", "{a} {o} {c}", "{c} BETWEEN {a} AND {b}", "{c} IN ({a}, {b}, {d})",
         "{c} NOT BETWEEN {a} AND {b}", "{c} IS NULL", "{c} IS NOT NULL", "{C} {o} {a} -- said", "{c}/* */{o}{a}"]
    )  # fmt: skip
    plain = column if column.startswith('"') else column.upper()
    return shape.format(
        c=column, C=plain, o=random_.choice(COMPARE), a=values[0], b=values[1], d=values[2]
    ) + ("\n" if "--" in shape else "")


def rows(random_: random.Random) -> pa.Table:
    """Return rows with a value of every kind, NULL in places."""

    def some(values: list[Any], kind: pa.DataType) -> pa.Array:
        made = [random_.choice([*values, None]) for _ in range(ROWS)]
        return pa.array(made, kind)

    days = [dt.date(2024, 1, at) for at in range(1, 12)]
    noon = [dt.datetime(2024, 1, at, 12) for at in range(1, 12)]
    return pa.table({
        "id": list(range(ROWS)), "vector": [[1.0, at / 9] for at in range(ROWS)],
        "n": some([-2, 0, 1, 2, 3, 7, 12], pa.int32()), "big": some([-5, 0, 1, 2, 3, 10, 2**63 - 1], pa.int64()),
        "tiny": some([0, 7, 255], pa.uint8()), "f": some([0.0, -0.0, 1.5, -0.5, 2.5, 0.1, float("nan")], pa.float64()),
        "f32": some([0.1, 0.3, 1.5, -1.0, 0.5], pa.float32()),
        "price": some([Decimal("1.50"), Decimal("0.00"), Decimal("2.25"), Decimal("-1.00")], pa.decimal128(9, 2)),
        "name": some(["ann", "Bob", "", "it's", "b%", "3", "bob", "Ü"], pa.string()),
        "Owner": some(["ann", "bob", "O"], pa.string()), "flag": some([True, False], pa.bool_()),
        "day": some(days, pa.date32()), "at": some(noon, pa.timestamp("us")),
        "z": some(noon, pa.timestamp("us", "UTC")), "tags": some([["x"], ["x", "y"], []], pa.list_(pa.string())),
    })  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    with affidavit.connect(
        tmp_path_factory.mktemp("lake") / "l", audit="off", durability="normal"
    ) as made:
        docs = made.create_vector_table("docs", rows(random.Random(0)))
        docs.create_index("vector", "IVF_FLAT", num_partitions=4)
        docs.delete("id % 13 = 5")
        docs.insert(rows(random.Random(1)).set_column(0, "id", pa.array(range(100, 100 + ROWS))))
        made.sql("CREATE TABLE other (id BIGINT PRIMARY KEY, n INT)")
        made.sql("INSERT INTO other SELECT id, n FROM docs WHERE id % 3 = 0")
        yield made


def found_by(ask: Any) -> object:
    """Return the ids that are found, or that it was refused."""
    try:
        return sorted(row["id"] for row in ask().to_pylist())
    except AffidavitError:
        return "refused"


def test_a_search_is_filtered_as_sql_is(asked: affidavit.Session, monkeypatch) -> None:
    differ = []
    for seed in range(COUNT):
        where = condition(random.Random(seed))
        # as if so few rows were too many to be listed, of every other one
        monkeypatch.setattr(among, "LISTED_MAX", 3 if seed % 2 else 10_000)
        want = found_by(lambda where=where: asked.sql(f"SELECT id FROM docs WHERE ({where})"))
        got = found_by(
            lambda where=where: asked.search("docs", [1.0, 0.0], ALL, where=where, select=["id"])
        )
        if got != want:
            differ.append((seed, where, want, got))
    assert not differ, differ[:5]


def test_the_table_functions_are_filtered_alike(asked: affidavit.Session) -> None:
    asked.table("docs").create_index("name", "FTS")
    for where in (*OTHERS[:12], "n = 3", "day > '2024-01-05'"):
        want = found_by(
            lambda where=where: asked.sql(f"SELECT id FROM docs WHERE ({where}) AND name = 'bob'")
        )
        for call in (
            "vector_search('docs', '[1, 0]', 100, where => $w)", "text_search('docs', 'bob', 100, where => $w)",
            "hybrid_search('docs', [1, 0], 'bob', 100, where => $w)",
        ):  # fmt: skip
            query = f"SELECT id FROM {call} WHERE name IN ('bob')"
            assert found_by(lambda query=query, where=where: asked.sql(query, w=where)) == want, (
                where,
                call,
            )
