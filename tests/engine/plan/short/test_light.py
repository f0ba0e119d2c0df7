"""Which plans run on the thread that asks: those that are known to end at once, and no others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from affidavit.engine.plan.short import light
from affidavit.engine.plan.short.light import is_light
from affidavit.engine.statement.statement import parse_statement

if TYPE_CHECKING:
    import affidavit

LIGHT = [
    "SELECT 1",
    "SELECT a, a + 1, CAST(a AS INT) AS c, -a FROM t WHERE a = 5 AND b IS NOT NULL OR a IN (1, 2)",
    "SELECT u.a FROM main.t AS u WHERE b LIKE 'x%' LIMIT 3",
    "SELECT * FROM lake.main.t WHERE a BETWEEN 1 AND 3",
    "SELECT count(*) FROM t",
    "SELECT b, count(DISTINCT a), avg(a) FROM t WHERE a > 3 GROUP BY b HAVING max(a) > 5",
    "SELECT a, b FROM t ORDER BY a DESC LIMIT 5",
    "SELECT DISTINCT a FROM t",
]
HEAVY = [
    "SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b)",
    "SELECT a, b, count(*) FROM t GROUP BY ROLLUP (a, b)",
    "SELECT a, b, count(*) FROM t GROUP BY GROUPING SETS ((a), (b))",
    "SELECT array_agg(a) FROM t",
    "SELECT sum(a) OVER (ORDER BY a) FROM t",
    "SELECT count(*) FROM joined",
    "SELECT count(*) FROM (SELECT t.a FROM t, t AS u) AS v",
    "SELECT t.a FROM t, t AS u",
    "SELECT a FROM t WHERE a = (SELECT max(a) FROM t)",
    "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM t AS u WHERE u.a = t.a)",
    "SELECT a FROM t ORDER BY repeat(b, 1000)",
    "SELECT row_number() OVER () FROM t",
    "SELECT a FROM t UNION ALL SELECT a FROM t",
    "SELECT repeat('x', 3)",
    "SELECT range(0, 5)",
    "SELECT unnest([1, 2])",
    "SELECT * FROM generate_series(1, 3) AS t",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
    "SELECT * FROM joined",
    "SELECT * FROM frame",
    "SELECT * FROM docs",
    "SELECT * FROM vector_search('docs', [1.0, 0.0], 1)",
    "SELECT * FROM system.tables",
    "SELECT * FROM audit.statements",
    "SELECT a FROM as_of('t', 1)",
    "SELECT 'a text\n  Projection: of lines\nand more' FROM t",
]


@pytest.fixture
def filled(session: affidavit.Session) -> affidavit.Session:
    session.create_table("t", [{"a": at, "b": f"x{at}"} for at in range(50)], primary_key="a")
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}])
    session.sql("CREATE VIEW joined AS SELECT t.a FROM t CROSS JOIN t AS u")
    session.attach("frame", pa.table({"a": [1]}))
    return session


def light_is(session: affidavit.Session, text: str) -> bool:
    scope, statement = session._executor(), parse_statement(text)
    with scope.planner.snapshot(scope.catalog) as snapshot:
        plan = partial(scope.planner.plan, text, {}, names=statement.names)
        return is_light(plan(snapshot).logical_plan().display_indent(), snapshot)


@pytest.mark.parametrize("text", LIGHT)
def test_what_reads_few_rows_and_makes_no_more_is_light(filled, text: str) -> None:
    assert light_is(filled, text)


@pytest.mark.parametrize("text", HEAVY)
def test_what_makes_rows_or_cannot_be_told_is_not(filled, text: str) -> None:
    assert not light_is(filled, text)


def test_a_table_of_many_rows_is_not(filled, monkeypatch) -> None:
    monkeypatch.setattr(light, "ROWS_MAX", 49)
    assert not light_is(filled, LIGHT[1])


@pytest.mark.parametrize("text", [*LIGHT, *HEAVY])
def test_rows_are_the_same_either_way(filled, monkeypatch, text: str) -> None:
    found = filled.sql(text).to_arrow()
    monkeypatch.setattr("affidavit.engine.plan.runner.is_light", lambda *of: not is_light(*of))
    again = filled.sql(text).to_arrow()
    assert again.schema == found.schema
    if "audit." not in text:
        assert sorted(map(str, again.to_pylist())) == sorted(map(str, found.to_pylist()))


def test_changes_by_key_are_what_they_were(filled) -> None:
    assert filled.sql("INSERT INTO t VALUES (100, 'new')").rows_affected == 1
    assert filled.sql("UPDATE t SET b = 'old' WHERE a = 100").rows_affected == 1
    assert filled.sql("SELECT b FROM t WHERE a = 100").to_pylist() == [{"b": "old"}]
    assert filled.sql("DELETE FROM t WHERE a = 100").rows_affected == 1
    assert filled.sql("SELECT b FROM t WHERE a = 100").to_pylist() == []
