"""Columns that are given no name are called as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit import errors
from affidavit.engine.statement.mended.mended import mended
from affidavit.engine.statement.reading.naming import NAME_LENGTH_MAX, named

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

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
    "first || LAST, range + Rows, current, upper(filter), row(1), (SELECT offset * 2 limit 1)": [
        "first || last", "range + rows", "current", "upper(filter)", "ROW(1)",
        "(SELECT offset * 2 LIMIT 1)",
    ],
    "last_value(a) ignore nulls over (order by a nulls last rows between current row and 1 "
    "following), percentile_cont(0.5) within group (order by a)": [
        "last_value(a) IGNORE NULLS OVER "
        "(ORDER BY a NULLS LAST ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY a)",
    ],
    "timestamp(3) '2020-01-01', DECIMAL (5,2) '1.5', f(3) 'x'": [
        "timestamp(3) '2020-01-01'", "decimal(5, 2) '1.5'", "'x'",
    ],
    "1.5e0 / 3, 'x' = s": ["1.5e0 / 3", "'x' = s"],
}  # fmt: skip


@pytest.mark.parametrize("listed", NAMES)
def test_a_column_is_called_as_its_author_wrote_it(listed: str) -> None:
    text = named(f"SELECT {listed} FROM u")
    parts = text.removeprefix("SELECT ").removesuffix(" FROM u")
    for name in NAMES[listed]:
        quoted = name.replace('"', '""')
        assert f' AS "{quoted}"' in parts or name in parts.replace(",", "").split()


def test_a_long_expression_has_a_short_name(schema_of: Callable[[str], pa.Schema | None]) -> None:
    text = f"SELECT {' + '.join(['a'] * 100)}, {' + '.join(['a'] * 101)} FROM u"
    names = schema_of(mended(named(text), schema_of)).names  # type: ignore[union-attr]
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
    assert answer(named(text))
    assert schema_of(mended(named(text), schema_of)).names == names  # type: ignore[union-attr]


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


WRITTEN = {
    "SELECT TIMESTAMP '2020-01-01', CAST(b AS timestamp), j->'a'->>'b', 1_000 + a, 0xff FROM w": [
        "timestamp '2020-01-01'", "CAST(b AS timestamp)", "j -> 'a' ->> 'b'", "1_000 + a", "0xff",
    ],
    "SELECT current_tenant() || 'x', upper(CURRENT_USER), version() WHERE TRUE": [
        "current_tenant() || 'x'", "upper(current_user)", "version()",
    ],
    "SELECT current_actor() UNION SELECT 'x'": ["current_actor()"],
    "SELECT DISTINCT j->'a' FROM w ORDER BY j->'a'": ["j -> 'a'"],
    "SELECT * FROM (SELECT EXISTS (FROM w), Name || 'x' FROM w)": [
        "EXISTS (FROM w)", "name || 'x'",
    ],
    "SELECT *, a + 1, a, a + 1 FROM w": [
        "a", "b", "j", "Name", "a + 1", "a + 1_1", "a_1", "a + 1_2",
    ],
    "SELECT nextval('s'), nextval('s'), repeat('x', a), x > 0.5 FROM w, (SELECT 1e0 AS x)": [
        "nextval('s')", "nextval('s')_1", "repeat('x', a)", "x > 0.5",
    ],
    "UPDATE w SET a = 2 RETURNING a + 1, j->'a', TIMESTAMP '2020-01-01', Name || 'x'": [
        "a + 1", "j -> 'a'", "timestamp '2020-01-01'", "name || 'x'",
    ],
    "WITH n AS (SELECT 2 AS k) DELETE FROM w USING n WHERE a = k RETURNING w.a + k, n.*": [
        "w.a + k", "k",
    ],
}  # fmt: skip


def test_names_come_from_what_was_written(session: affidavit.Session) -> None:
    """They did from what that was made of: ``json_get(j, 'a')``, or the tenant's own name."""
    session.sql(
        """CREATE TABLE w (a INT, b VARCHAR, j VARCHAR, "Name" VARCHAR, "a + 1" INT) """
        """AS VALUES (1, '2020-01-01', '{"a": {"b": 1}}', 'n', 7)"""
    )
    session.sql("CREATE SEQUENCE s")
    for text, names in WRITTEN.items():
        assert session.describe(text).columns.names == names, text
        assert session.sql(text).schema.names == names, text


def test_parameters_are_called_as_they_are_written(session: affidavit.Session) -> None:
    for text, params, names in (
        ("SELECT ? + 1, ?, ?", [1, 2, 3], ["? + 1", "?", "?_1"]),
        ("SELECT $x, $1 + 1", {"x": 1, "1": 1}, ["$x", "$1 + 1"]),
    ):
        assert session.sql(text, params).schema.names == names
        assert session.describe(text).columns.names == names
    assert session.sql("SELECT 1 IN $ids", {"ids": [1, 2]}).schema.names == ["1 IN $ids"]


def test_a_view_has_the_names_of_its_text(session: affidavit.Session) -> None:
    session.sql("CREATE VIEW v AS SELECT TIMESTAMP '2020-01-01', '{}'->'a', 1_000")
    names = ["timestamp '2020-01-01'", "'{}' -> 'a'", "1_000"]
    assert session.sql("SELECT * FROM v").schema.names == names
    [told] = session.sql("SHOW CREATE TABLE v").to_pylist()
    assert "SELECT TIMESTAMP '2020-01-01', json_get(" in told["definition"]
    session.sql("DROP VIEW v")
    session.sql(told["definition"])
    assert session.sql("SELECT * FROM v").schema.names == names
    session.sql("PREPARE p AS SELECT j->'a', $1 + 1 FROM (SELECT '{}' AS j)")
    assert session.sql("EXECUTE p(1)").schema.names == ["j -> 'a'", "$1 + 1"]


def test_an_error_has_the_place_in_what_was_written(session: affidavit.Session) -> None:
    with pytest.raises(errors.SqlError, match=r"found: x at Line: 1, Column: 42"):
        session.sql("SELECT 1 + 1, current_actor() || 's' FRM x")
