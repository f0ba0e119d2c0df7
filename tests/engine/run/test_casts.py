"""A value that cannot be cast is told with its column and type, in no words of the engine's."""

from __future__ import annotations

from typing import Any

import pytest

import affidavit
from affidavit.errors import ExecutionError, SqlError

CASES = [
    ("INSERT INTO t (name, amount) VALUES ('x', 'abc')", "'amount': 'abc' cannot be cast to INT"),
    ("INSERT INTO t (amount) VALUES (3000000000)", "'amount': 3000000000 cannot .* INT"),
    ("INSERT INTO t (small) VALUES (300)", "'small': 300 cannot be cast to TINYINT"),
    ("INSERT INTO t (amount) SELECT a FROM u", "'amount': 'abc' cannot be cast to INT"),
    ("INSERT INTO u SELECT 'a', 'abc'", "'n': 'abc' cannot be cast to BIGINT"),
    ("INSERT INTO w SELECT 1, 'abc'", "'id' or 'amount': 'abc' cannot be cast to INT"),
    ("INSERT INTO t (amount) SELECT [1]", r"'amount': values of type List\(BIGINT\) cannot .* INT"),
    ("UPDATE t SET amount = 'abc'", "'amount': 'abc' cannot be cast to INT"),
    ("UPDATE t SET amount = u.a FROM u", "'amount': 'abc' cannot be cast to INT"),
    ("UPDATE t SET d = 'abc'", "'d': 'abc' cannot be cast to DATE"),
    ("UPDATE t SET ts = 'abc'", "'ts': 'abc' cannot be cast to TIMESTAMP"),
    ("UPDATE t SET m = 12345.5", r"'m': 12345\.50 cannot be cast to DECIMAL: the limit is 99\.99"),
    ("UPDATE t SET b = 'abc'", "'b': 'abc' cannot be cast to BOOLEAN"),
    ("UPDATE t SET f = 'abc'", "'f': 'abc' cannot be cast to DOUBLE"),
    (
        "MERGE INTO t USING u ON t.small = u.n WHEN MATCHED THEN UPDATE SET amount = u.a",
        "'amount': 'abc' cannot be cast to INT",
    ),
    ("SELECT CAST('abc' AS INT)", "^'abc' cannot be cast to INT$"),
    ("UPDATE t SET name = CAST('abc' AS INT)", "^'abc' cannot be cast to INT$"),
]
ENGINES = ("Optimizer rule", "caused by", "Arrow error", "Int32", "Int64", "Utf8", "Traceback")


@pytest.fixture
def tables(session: affidavit.Session) -> affidavit.Session:
    session.sql(
        "CREATE TABLE t (id INT, amount INT, small TINYINT, d DATE, ts TIMESTAMP, m DECIMAL(4,2), "
        "b BOOLEAN, f DOUBLE, name VARCHAR)"
    )
    session.sql("INSERT INTO t (id, small) VALUES (1, 1)")
    session.sql("CREATE TABLE u (a VARCHAR, n BIGINT)")
    session.sql("CREATE TABLE w (id INT, amount INT)")
    session.sql("INSERT INTO u VALUES ('abc', 1)")
    return session


@pytest.mark.parametrize(("text", "told"), CASES)
def test_a_cast_that_fails_is_told_plainly(tables: Any, text: str, told: str) -> None:
    """The name of an optimizer's rule was passed on, and the column was not."""
    with pytest.raises((ExecutionError, SqlError), match=told) as caught:
        tables.sql(text).to_arrow()
    assert not [each for each in ENGINES if each in str(caught.value)]
    assert tables.sql("SELECT id FROM t").to_pylist() == [{"id": 1}]


def test_a_parameter_that_cannot_be_cast_is_told_too(tables: Any) -> None:
    for text in ("UPDATE t SET amount = $1", "INSERT INTO t (amount) VALUES ($1)"):
        with pytest.raises(ExecutionError, match="'amount'.*'abc'"):
            tables.sql(text, ["abc"])
