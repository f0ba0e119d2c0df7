"""What a SELECT lists twice, as DataFusion calls things."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT *, a + 1 FROM w", ["a", "a + 1", "a + 1_1"]),
        ("SELECT w.*, a + 1, a, a + 1 FROM w", ["a", "a + 1", "a + 1_1", "a_1", "a + 1_2"]),
        ('SELECT a + 1, a AS "a + 1", * FROM w', ["a + 1_1", "a + 1_2", "a", "a + 1"]),
        ("SELECT *, A, w.a, a FROM w", ["a", "a + 1", "a_1", "a_2", "a_3"]),
        ("FROM w JOIN u ON a = b SELECT w.*, a + 1", ["a", "a + 1", "a + 1_1"]),
        ("SELECT *, b + 1, a AS c FROM w, u", ["a", "a + 1", "b", "b + 1", "c"]),
        ("SELECT *, (SELECT b FROM u WHERE b = a), a + 1 FROM w",
         ["a", "a + 1", "(SELECT b FROM u WHERE b = a)", "a + 1_1"]),
    ],
)  # fmt: skip
def test_what_a_star_has_as_well_is_numbered(session, text: str, names: list[str]) -> None:
    """What was computed kept the name of a table's column, and was refused."""
    session.sql('CREATE TABLE w (a INT, "a + 1" INT) AS VALUES (1, 2)')
    session.sql("CREATE TABLE u (b INT) AS VALUES (1)")
    assert session.sql(text).schema.names == names
    assert [*session.sql(f"SELECT * FROM ({text})").to_pylist()[0]] == names


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("a, t.a, T.A", {"a": 1, "a_1": 1, "a_2": 1}),
        ("a AS x, b AS x, b x", {"x": 1, "x_1": 2, "x_2": 2}),
        ('a, b AS a, 3 AS "A"', {"a": 1, "a_1": 2, "A": 3}),
        ("b AS a, t.a", {"a": 2, "a_1": 1}),
        ("a AS x, b AS x, 7 AS x_1", {"x": 1, "x_2": 2, "x_1": 7}),
        ("*, b + 1 AS a, t.b", {"a": 1, "b": 2, "a_1": 3, "b_1": 2}),
        ("a, max(b) AS a", {"a": 1, "a_1": 2}),
    ],
)
def test_what_is_called_alike_is_numbered(session, listed: str, found) -> None:
    """DataFusion 54.1 refuses a list in which a name stands twice."""
    session.sql("CREATE TABLE t (a INT, b INT) AS VALUES (1, 2)")
    text = f"SELECT {listed} FROM t {'GROUP BY a' if 'max' in listed else 'ORDER BY 1'}"
    assert session.sql(text).to_pylist() == [found]
    session.sql(f"CREATE TABLE u AS {text}")
    session.sql(f"CREATE VIEW v AS {text}")
    assert session.sql("SELECT * FROM u").to_pylist() == [found]
    assert session.sql("SELECT * FROM v").to_pylist() == [found]
    both = session.sql("SELECT t.a, x.a FROM t JOIN t AS x ON t.a = x.a").to_arrow()
    assert both.column_names == ["a", "a"]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("a, a::VARCHAR", {"a": 1, "a::varchar": "1"}),
        ("a, a::INT AS x, a + 1", {"a": 1, "x": 1, "a + 1": 2}),
    ],
)
def test_a_cast_is_called_as_it_is_written(session, listed: str, found) -> None:
    """DataFusion 54.1 refuses a list with both, and INSERT ... SELECT with it."""
    session.sql("CREATE TABLE t (a INT) AS VALUES (1)")
    assert session.sql(f"SELECT {listed} FROM t").to_pylist() == [found]
    session.sql("CREATE TABLE u (a INT, s VARCHAR)")
    session.sql("INSERT INTO u SELECT a, a::VARCHAR FROM t")
    assert session.sql("SELECT a, s FROM u").to_pylist() == [{"a": 1, "s": "1"}]
