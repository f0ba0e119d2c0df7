"""P21: what is too large is refused by a limit that has a name, and the process goes on."""

from __future__ import annotations

import pytest

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.limits import (
    BRACKETS_MAX,
    JOINS_MAX,
    OPERATORS_MAX,
    SETS_MAX,
    check_size,
)
from affidavit.errors import SqlError


def doubling(count: int) -> str:
    """Return a statement of common tables, each of which joins the one before to itself."""
    tables = ["c0 AS (SELECT 1 AS a)"]
    tables += [
        f"c{at} (a) AS (SELECT x.a FROM c{at - 1} x JOIN c{at - 1} y ON x.a = y.a)"
        for at in range(1, count)
    ]
    return f"WITH {', '.join(tables)} SELECT * FROM c{count - 1}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SELECT " + "+".join(["1"] * 12_000), "operators below each other, and 1,000 are allowed"),
        ("SELECT 1 WHERE " + " OR ".join(["1 = 1"] * 12_000), "operators below each other"),
        ("SELECT " + "NOT " * 5_000 + "true", "operators below each other"),
        ("SELECT " + "(" * 100_000, "brackets are nested more than 200 deep"),
        ("SELECT " + "(" * 5_000 + "1" + ")" * 5_000, "brackets are nested more than 200 deep"),
        ("SELECT " + "[" * 5_000 + "]" * 5_000, "brackets are nested more than 200 deep"),
        ("SELECT " + "CAST((" * 40 + "1" + ") AS INT)" * 40, "make the inner ones tables of WITH"),
        (" UNION ALL ".join(["SELECT 1"] * 5_000), "UNION 4,999 times, and 1,000 are allowed"),
        ("SELECT 1 FROM a" + " CROSS JOIN a" * 5_000, "JOIN 5,000 times, and 500 are allowed"),
        (doubling(25), "tables of the statement, and 4,000 are allowed"),
        ("SELECT " + "((1" + "+1" * 600 + ")" + "+1" * 600 + ")", "1,200 operators"),
    ],
    ids=[
        "sum",
        "or",
        "not",
        "unclosed",
        "brackets",
        "lists",
        "casts",
        "unions",
        "joins",
        "doubling",
        "nested",
    ],
)
def test_p21_what_is_too_large_is_refused(session, text, told) -> None:
    with pytest.raises(SqlError, match=told) as caught:
        session.sql(text).to_arrow()
    assert len(str(caught.value)) < 500
    assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "+".join(["1"] * OPERATORS_MAX) + " AS n",
        "SELECT " + ", ".join(f"1 + {at}" for at in range(2_000)),
        "SELECT 1 WHERE 2 IN (" + ", ".join(["1 + 1"] * 2_000) + ")",
        "VALUES " + ", ".join(["(1, -1)"] * 2_000),
        "SELECT CASE " + "WHEN 1 = 2 AND 1 = 3 THEN 1 " * 600 + "END",
        " UNION ALL ".join(["SELECT 1 + 1 WHERE 1 = 1"] * 500),
        doubling(9),
        "WITH a0 AS (SELECT 1 AS c0, 1 AS c1, 1 AS c2, 1 AS c3, 1 AS c4)"
        + "".join(
            f", a{at} AS (SELECT {', '.join(f'a{at - 1}.c{n}' for n in range(5))} FROM a{at - 1})"
            for at in range(1, 8)
        )
        + " SELECT a7.c0 FROM a7",
        "WITH c0 AS (SELECT 1 AS a)"
        + "".join(f", c{at} AS (SELECT a + 1 AS a FROM c{at - 1})" for at in range(1, 45))
        + " SELECT * FROM c44, c44 x, c3",
    ],
    ids=["sum", "columns", "in", "values", "case", "union", "doubling", "qualified", "chained"],
)
@pytest.mark.slow
def test_p21_what_is_wide_and_not_deep_is_answered(session, text) -> None:
    assert session.sql(text).to_arrow().num_rows


def test_the_same_limits_hold_for_conditions_of_handles(session) -> None:
    table = session.create_table("t", [{"id": 1, "n": 1}], primary_key="id")
    long = " OR ".join(f"id = {at}" for at in range(5_000))
    with pytest.raises(SqlError, match="operators below each other"):
        table.update({"n": 2}, where=long)
    with pytest.raises(SqlError, match="operators below each other"):
        table.delete(where=long)
    assert session.sql("SELECT n FROM t").to_pylist() == [{"n": 1}]


def test_the_limits_are_where_they_are_said_to_be() -> None:
    for chain, most in (("SELECT 1" + "+1" * OPERATORS_MAX, "+1"), ("SELECT 1" + " UNION SELECT 1" * SETS_MAX, " UNION SELECT 1"), ("SELECT 1 FROM a" + " CROSS JOIN a" * JOINS_MAX, " CROSS JOIN a")):  # fmt: skip
        check_size(tokenize(chain))
        with pytest.raises(SqlError, match="are allowed"):
            check_size(tokenize(chain + most))
    deepest = BRACKETS_MAX - 1
    check_size(tokenize("SELECT " + "(" * deepest + "1" + ")" * deepest))
