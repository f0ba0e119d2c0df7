"""Floats are compared by databases as here: each NaN by its sign, and each zero by its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.catalog.sources.databases.conftest import run_duck

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

MADE = (
    "CREATE TABLE plain (id INT, x DOUBLE PRECISION, y REAL)",
    "INSERT INTO plain VALUES (1, 1.5, 0.1), (2, -0.0, -0.0), (3, 0.0, 0.0), (4, NULL, NULL), "
    "(5, 'infinity', '-infinity'), (6, -2.25, 16777216), (7, 2.5e-308, 1e-40), (8, 0.1, 0.3)",
    "CREATE TABLE bad AS SELECT * FROM plain",
    "INSERT INTO bad VALUES (9, 'NaN', 'NaN'), (10, -CAST('NaN' AS DOUBLE PRECISION), 1)",
)
NUMBERS = ("0", "0.0", "-0.0", "0.1", "1.5", "-2.25", "1e308", "16777216")
SAFE = {"x > 0.0", "0.0 < y", "x <= 0.0", "y > 0.1", "x = 1.5", "1.5 <> y", "x < -2.25", "id > 1.5"}


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory, pg_server: PgServer
) -> Iterator[affidavit.Session]:
    folder: Path = tmp_path_factory.mktemp("floats")
    run_duck(folder / "x.duckdb", *MADE)
    with affidavit.connect(folder / "lake") as opened:
        opened.attach("d", f"duckdb://{folder / 'x.duckdb'}")
        opened.attach("pg", pg_server.database("floats", *MADE))
        yield opened


def asked(table: str, condition: str) -> str:
    return f"SELECT count(*) AS n, sum(id) AS s FROM {table} WHERE {condition}"


CONDITIONS = [
    f"{column} {sign} {number}" if is_first else f"{number} {sign} {column}"
    for column in ("x", "y")
    for sign in ("=", "<>", "<", "<=", ">", ">=")
    for number in NUMBERS
    for is_first in (True, False)
]
CONDITIONS += [f"NOT ({each})" for each in CONDITIONS[::5]]
CONDITIONS += ["x BETWEEN -2.25 AND 1.5", "x IN (0.0, 1.5)", "x > y", "x = y", "x + 1 > 1.5"]
CONDITIONS += ["CASE WHEN x > 0.1 THEN 0.5 ELSE y END > 0.2", "coalesce(x, 0.5) > 0.2"]


def without(session: affidavit.Session, text: str) -> list[dict[str, object]]:
    session.sql("SET affidavit.pushdown = 'off'")
    try:
        return session.sql(text).to_pylist()
    finally:
        session.sql("RESET affidavit.pushdown")


@pytest.mark.parametrize("schema", ["d.main", "pg.public"])
def test_p11_a_float_is_compared_with_a_number_as_here(
    session: affidavit.Session, schema: str
) -> None:
    for start in range(0, len(CONDITIONS), 25):
        # each condition by itself: what is true, and what is unknown
        sums = ", ".join(
            f"sum(CASE WHEN {each} THEN id ELSE 0 END) AS a{at}, count(NOT ({each})) AS n{at}"
            for at, each in enumerate(CONDITIONS[start : start + 25])
        )
        text = f"SELECT {sums} FROM {schema}.plain"
        assert session.sql(text).to_pylist() == without(session, text)
    for condition in CONDITIONS[::19]:
        for table in ("plain", "bad"):
            text = asked(f"{schema}.{table}", condition)
            assert session.sql(text).to_pylist() == without(session, text), text


@pytest.mark.parametrize("schema", ["d.main", "pg.public"])
@pytest.mark.parametrize("condition", sorted(SAFE))
def test_such_a_condition_is_sent(session: affidavit.Session, schema: str, condition: str) -> None:
    assert "count(*)" in session.explain(asked(f"{schema}.plain", condition)).split("sent to ")[1]


@pytest.mark.parametrize("condition", ["x >= 0.0", "x = 0.0", "0.0 > x", "x > y", "x IN (0.0)"])
def test_what_two_zeros_tell_apart_is_computed_here(
    session: affidavit.Session, condition: str
) -> None:
    told = session.explain(asked("d.main.plain", condition)).split("sent to ")[1]
    assert "count(*)" not in told
