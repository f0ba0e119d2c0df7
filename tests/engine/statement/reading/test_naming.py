"""Columns that are given no name are called as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from affidavit.engine.statement.mended.mended import mended
from affidavit.engine.statement.reading.naming import NAME_LENGTH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    import affidavit

NAMES = {
    "a+1, SUM( a ) , count( * ), Upper(s)": ["a + 1", "sum(a)", "count(*)", "upper(s)"],
    "-a, - 1, a*-1, 2 - 1, 'x''y', 1.50, NULL, TRUE": [
        "-a", "-1", "a * -1", "2 - 1", "'x''y'", "1.50", "NULL", "true",
    ],
    "a, u.a, a AS b, a c": ["a", "a", "b", "c"],
    "case when a>1 then 'x' else s end": ["CASE WHEN a > 1 THEN 'x' ELSE s END"],
    "a::int, cast(a as int), [1,2][1], {'a':1}, f(a) in(1,2)": [
        "a::int", "CAST(a AS int)", "[1, 2][1]", "{'a': 1}", "f(a) IN (1, 2)",
    ],
    "rank() over(partition by s order by a), max(a) filter(where a > 0)": [
        "rank() OVER (PARTITION BY s ORDER BY a)", "max(a) FILTER (WHERE a > 0)",
    ],
    's !~* \'x\', a<<1, a is distinct from 2, "Odd"||s, (select max(a) from u)': [
        "s !~* 'x'", "a << 1", "a IS DISTINCT FROM 2", '"Odd" || s', "(SELECT max(a) FROM u)",
    ],
    'a + 1, a+1, s AS "a + 1"': ["a + 1_1", "a + 1_2", "a + 1"],
    "s, s, a": ["s", "s_1", "a"],
    "1.5e0 / 3, 'x' = s": ["1.5e0 / 3", "'x' = s"],
}  # fmt: skip


@pytest.mark.parametrize("listed", NAMES)
def test_a_column_is_called_as_its_author_wrote_it(listed: str) -> None:
    columns = pa.schema([("c0", pa.string())])
    text = mended(f"SELECT {listed} FROM u", lambda _: columns)
    parts = text.removeprefix("SELECT ").removesuffix(" FROM u")
    for name in NAMES[listed]:
        quoted = name.replace('"', '""')
        assert f' AS "{quoted}"' in parts or name in parts.replace(",", "").split()


def test_a_long_expression_has_a_short_name(schema_of: Callable[[str], pa.Schema | None]) -> None:
    text = f"SELECT {' + '.join(['a'] * 100)}, {' + '.join(['a'] * 101)} FROM u"
    names = schema_of(mended(text, schema_of)).names  # type: ignore[union-attr]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= NAME_LENGTH_MAX + 2


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('SELECT "sum(c)" FROM (SELECT sum(c) FROM t) WHERE "sum(c)" > 0', ["sum(c)"]),
        ("WITH w AS (SELECT count(*), max(a) FROM t) SELECT * FROM w", ["count(*)", "max(a)"]),
        ("SELECT a + 1 FROM t UNION SELECT 7 ORDER BY 1", ["a + 1"]),
        ("(SELECT a + 1 FROM t) EXCEPT ALL (SELECT 7)", ["a + 1"]),
        ("SELECT DISTINCT a + 1 FROM t ORDER BY a + 1 DESC", ["a + 1"]),
        ("SELECT a + 1 FROM t GROUP BY a + 1 HAVING sum(c) > 0 ORDER BY a + 1", ["a + 1"]),
        ("SELECT sum(n * 0) FROM big", ["sum(n * 0)"]),
        ("SELECT EXISTS (SELECT 1), EXISTS (SELECT 2)",
         ["EXISTS (SELECT 1)", "EXISTS (SELECT 2)"]),
        ("SELECT a IN (SELECT a FROM u) FROM t", ["a IN (SELECT a FROM u)"]),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c) AS p, sum(c), sum(c) FROM t",
         ["p", "sum(c)", "sum(c)_1"]),
    ],
)  # fmt: skip
def test_names_are_the_same_wherever_a_query_stands(
    schema_of: Callable[[str], pa.Schema | None],
    answer: Callable[[str], object],
    text: str,
    names: list[str],
) -> None:
    assert answer(text)
    assert schema_of(mended(text, schema_of)).names == names  # type: ignore[union-attr]


def test_names_are_kept_by_tables_views_and_records(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE u AS SELECT 1 AS a, 5 AS b")
    session.sql("CREATE TABLE made AS SELECT a + 1, count(*) FROM u GROUP BY a")
    session.sql("CREATE VIEW seen AS SELECT sum(b) FROM u")
    session.sql("CREATE SEQUENCE s")
    assert session.sql("SELECT * FROM made").to_pylist() == [{"a + 1": 2, "count(*)": 1}]
    assert session.sql('SELECT "sum(b)" FROM seen').to_pylist() == [{"sum(b)": 5}]
    assert session.describe("SELECT a + 1 FROM u").columns.names == ["a + 1"]
    assert session.sql("SELECT nextval('s') + 1, a + $x FROM u", x=2).to_pylist() == [
        {"nextval('s') + 1": 2, "a + $x": 3}
    ]
    returned = session.sql("INSERT INTO u VALUES (9, 9) RETURNING a + 1")
    assert returned.to_pylist() == [{"a + 1": 10}]
