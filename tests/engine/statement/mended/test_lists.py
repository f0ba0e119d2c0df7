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
