"""A statement's parameters and the values that came for them are the same, or one of them is named."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

import affidavit
from affidavit.engine.statement.parameters import arrow_params
from affidavit.errors import SqlError


@pytest.fixture
def table(session: affidavit.Session) -> affidavit.Session:
    session.create_table("t", [{"id": 1, "name": "a"}], primary_key="id")
    return session


@pytest.mark.parametrize(
    ("text", "params", "told"),
    [
        ("SELECT 1", {"timeout_s": 3}, r"no parameter \$timeout_s: it has none"),
        ("SELECT $a", {"a": 1, "b": 2}, r"no parameter \$b: it has \$a"),
        ("SELECT $1", [1, 2], r"2 values.*it has \$1"),
        ("SELECT ?", [1, 2], r"2 values.*it has \$1"),
        ("SELECT 1", [1], "1 values.*it has none"),
        ("SELECT $a + $b", {"a": 1}, r"\$b has no value: values came for \$a"),
        ("SELECT :a", {"a": 1}, r"no parameter \$a: it has none; write \$a, not :a"),
        ("SELECT %(a)s", {"a": 1}, r"; write \$a, not %\(a\)s"),
        ("SELECT %s", [1], r"; write \? or \$1, not %s"),
        ("SELECT id FROM t WHERE id IN $a", {"a": None}, r"a list, and \$a is None: pass a list"),
        ("SELECT id FROM t WHERE id IN $a", {"a": 5}, r"of type int: .* or write = \$a"),
        ("SELECT id FROM t WHERE name NOT IN ?", ["x"], r"\$1 is of type str"),
        ("DELETE FROM t WHERE (id, name) IN $a", {"a": [(1, "a", 2)]}, r"\$a .* a tuple of 2"),
        ("PREPARE p AS SELECT id FROM t WHERE id IN $1", None, r"write = ANY\(\$1\)"),
        ("SELECT $a", None, r"\$a has no value: none came"),
        ("SELECT ? + ?", [1], r"\$2 has no value"),
        ("SELECT ? + $a", {"a": 1}, r"\? stands beside \$a"),
        ("SELECT ? + $1", [1], r"\? stands beside \$1"),
        ("INSERT INTO t VALUES (?, $2)", [1, "a"], r"\? stands beside \$2"),
        ("INSERT INTO t VALUES ($1, $2)", [1], r"\$2 has no value"),
        ("UPDATE t SET name = $1", ["a", "b"], "2 values"),
        ("DELETE FROM t WHERE id = $id", {"ID": 1}, r"no parameter \$ID"),
        ("EXPLAIN SELECT $1", [1, 2], "2 values"),
        ("SET datafusion.execution.batch_size = 100", {"a": 1}, r"no parameter \$a"),
        ("DROP TABLE t", [1], "1 values"),
        ("BEGIN", {"a": 1}, r"no parameter \$a"),
    ],
)
def test_what_does_not_fit_is_named(
    table: affidavit.Session, text: str, params: Any, told: str
) -> None:
    """Values that were left over were dropped, and believed to be options."""
    with pytest.raises(SqlError, match=told):
        table.sql(text, params).to_arrow()
    assert table.sql("SELECT * FROM t").to_pylist() == [{"id": 1, "name": "a"}]


@pytest.mark.parametrize(
    ("text", "params", "found"),
    [
        ("SELECT ? + 1", [41], 42),
        ("SELECT ? || '?' || ?", ["a", "b"], "a?b"),
        ("SELECT name FROM t WHERE id = ? AND name = ?", (1, "a"), "a"),
        ("SELECT $b - $a", {"a": 1, "b": 3}, 2),
        ("SELECT $b - $a", {"$a": 1, "$b": 3}, 2),
        ("SELECT $1 - $1", [1], 0),
        ("SELECT name FROM t WHERE (id, name) IN $a", {"a": [(1, "a"), (2, None)]}, "a"),
        ("SELECT name FROM t WHERE (id, name) NOT IN $a", {"a": []}, "a"),
        ("SELECT count(*) FROM t WHERE (id, name) IN ($a)", {"a": [[1, "b"]]}, 0),
        ("SELECT $a - 1", {"a": 2**70}, 2**70 - 1),
        ("SELECT count(*) FROM t WHERE name = ?", [UUID(int=7)], 0),
    ],
)
def test_values_come_where_they_belong(
    table: affidavit.Session, text: str, params: Any, found: object
) -> None:
    assert [*table.sql(text, params).to_pylist()[0].values()] == [found]


def test_marks_are_taken_in_every_statement(table: affidavit.Session) -> None:
    table.sql("INSERT INTO t VALUES (?, ?)", [2, "b"])
    table.sql("INSERT INTO t SELECT ?, ?", [3, "c"])
    table.sql("UPDATE t SET name = ? WHERE id = ?", ["z", 2])
    table.sql("DELETE FROM t WHERE id = ?", [1])
    table.sql("MERGE INTO t USING (SELECT ? AS i) AS s ON t.id = s.i WHEN MATCHED THEN DELETE", [3])
    table.sql("PREPARE p AS SELECT name FROM t WHERE id = ?")
    assert table.sql("EXECUTE p(2)").to_pylist() == [{"name": "z"}]
    assert table.explain("SELECT name FROM t WHERE id = ?", [2])
    table.sql("CREATE TABLE u AS SELECT ? AS a", [5])
    assert table.sql("SELECT a FROM u").to_pylist() == [{"a": 5}]


def test_a_uuid_is_compared_with_text(session: affidavit.Session) -> None:
    one = UUID(int=7)
    session.create_table("u", [{"id": one}])
    assert session.sql("SELECT id FROM u WHERE id = $u", u=one).to_pylist() == [{"id": str(one)}]
    assert session.sql("SELECT id FROM u WHERE id IN (?)", [one]).num_rows == 1
    assert session.sql("SELECT id FROM u WHERE array_has($l, id)", l=[one]).num_rows == 1


@pytest.mark.parametrize("text", ["SELECT 1 IN $a", "SELECT 1 IN ($a)", "SELECT 1 WHERE 1 IN $a"])
def test_a_value_that_is_left_over_beside_a_list_is_refused(
    session: affidavit.Session, text: str
) -> None:
    with pytest.raises(SqlError, match=r"names no parameter \$b: it has \$a"):
        session.sql(text, a=[1, 2], b=3)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i4", "i8", "u2", "u8", ">f4", "?"])
def test_a_vector_is_bound_as_the_list_of_what_is_in_it(kind: str) -> None:
    whole = np.array([1, 0, 3, 1, 2], kind)
    for given in (whole, whole[::2], whole[:0]):
        values = arrow_params({"v": given, "w": list(given)})
        assert values["v"] == values["w"]
        assert values["v"].type == values["w"].type
    nothing = arrow_params({"v": np.array([np.nan, np.inf], "f8")})["v"]
    assert str(nothing.as_py()) == "[nan, inf]"
