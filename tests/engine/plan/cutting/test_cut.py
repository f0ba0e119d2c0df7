"""Sub-trees of plans that attached databases answer, and the rest of the plan here."""

from __future__ import annotations

import logging
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.catalog.sources.databases.conftest import run_duck

import affidavit
from affidavit.engine.plan.cutting import queries
from affidavit.errors import SourceError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

ORDERS, LINES = 2_000, 20_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    folder = tmp_path_factory.mktemp("cut")
    run_duck(
        folder / "x.duckdb",
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer INT, day DATE, total DECIMAL(12, 2), "
        "place VARCHAR, ratio DOUBLE)",
        "CREATE TABLE lines (order_id BIGINT, n INT, price DECIMAL(12, 2), part INT)",
        f"INSERT INTO orders SELECT i, i % 50, DATE '2024-01-01' + (i % 400)::INT, i * 1.25, "
        f"'place ' || (i % 7), i / 3.0 FROM range({ORDERS}) t(i)",
        f"INSERT INTO lines SELECT i % {ORDERS}, i % 5, i * 0.5, i % 997 FROM range({LINES}) t(i)",
        "CREATE TABLE loose (word VARCHAR COLLATE NOCASE)",
        "INSERT INTO loose VALUES ('a'), ('A')",
        "CREATE TABLE far (day DATE)",
        "INSERT INTO far VALUES ('20000-01-01'), ('2024-01-01')",
        'CREATE TABLE "do.t" AS SELECT order_id, part FROM lines',
        'CREATE TABLE "Odd ""one" ("c0" INT, "sel ect" VARCHAR)',
        """INSERT INTO "Odd ""one" VALUES (1, 'it''s'), (2, NULL)""",
    )
    with sqlite3.connect(folder / "x.db") as lite:
        lite.execute("CREATE TABLE places (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)")
        lite.executemany("INSERT INTO places VALUES (?, ?)", [(1, "a"), (2, "A"), (3, None)])
        lite.execute("CREATE TABLE mixed (n INT)")
        lite.executemany("INSERT INTO mixed VALUES (?)", [(1,), ("x",)])
    lite.close()
    with affidavit.connect(folder / "lake") as opened:
        opened.attach("d", f"duckdb://{folder / 'x.duckdb'}")
        opened.attach("lite", f"sqlite://{folder / 'x.db'}")
        opened.sql("CREATE TABLE wanted (id BIGINT PRIMARY KEY, why VARCHAR)")
        opened.sql("INSERT INTO wanted VALUES (3, 'first'), (77, 'second')")
        yield opened


def sent(session: affidavit.Session, text: str, *, analyze: bool = False) -> list[str]:
    """Return what a statement sends to databases."""
    told = session.explain(text, analyze=analyze)
    return [part.split("\n", 1)[1] for part in told.split("sent to ")[1:]]


def both_ways(session: affidavit.Session, text: str) -> list[dict[str, object]]:
    """Return a statement's rows, which are the same where nothing is sent but columns."""
    found = session.sql(text).to_arrow()
    session.sql("SET affidavit.pushdown = 'off'")
    try:
        here = session.sql(text).to_arrow()
    finally:
        session.sql("RESET affidavit.pushdown")
    assert found.schema == here.schema
    rows = found.to_pylist()
    assert sorted(map(repr, rows)) == sorted(map(repr, here.to_pylist()))
    return rows


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SELECT count(*) AS n, sum(price) AS s FROM d.main.lines WHERE n > 1", ["count(*)", "sum("]),
        (
            "SELECT o.place, sum(l.price) AS s FROM d.main.orders o JOIN d.main.lines l "
            "ON l.order_id = o.id WHERE o.day < DATE '2024-06-01' GROUP BY o.place",
            ["INNER JOIN", "GROUP BY", "DATE '2024-06-01'"],
        ),
        (
            "SELECT place, count(*) AS n FROM d.main.orders GROUP BY place ORDER BY n DESC, place LIMIT 3",
            ["ORDER BY", "LIMIT 3"],
        ),
        (
            "SELECT count(*) AS n FROM d.main.orders o WHERE EXISTS (SELECT 1 FROM d.main.lines l "
            "WHERE l.order_id = o.id AND l.part = 5)",
            ["EXISTS ("],
        ),
        (
            "SELECT count(*) AS n FROM d.main.orders o WHERE NOT EXISTS (SELECT 1 FROM d.main.lines l "
            "WHERE l.order_id = o.id AND l.part = 5)",
            ["NOT EXISTS ("],
        ),
        ("SELECT extract(year FROM day) AS y, avg(total) AS a FROM d.main.orders GROUP BY y", ["//"]),
        (
            "SELECT count(*) AS n FROM d.main.orders WHERE total > (SELECT avg(total) FROM d.main.orders)",
            ["INNER JOIN (SELECT"],
        ),
        ("SELECT DISTINCT customer FROM d.main.orders", ["GROUP BY"]),
        (
            "SELECT customer, count(*) AS n FROM (SELECT customer FROM d.main.orders UNION ALL "
            "SELECT n FROM d.main.lines) u GROUP BY customer",
            ["UNION ALL"],
        ),
        (
            'SELECT t."sel ect", count(*) AS "c0" FROM d.main."Odd ""one" t GROUP BY t."sel ect"',
            ['"Odd ""one"', '"sel ect"'],
        ),
        ("SELECT count(*) AS n, min(id) AS m FROM lite.main.places WHERE name = 'a'", ["COLLATE BINARY"]),
    ],
)  # fmt: skip
def test_a_sub_tree_is_one_query_and_gives_what_is_computed_here(
    session: affidavit.Session, text: str, parts: list[str]
) -> None:
    (query,) = sent(session, text)
    assert ("rows expected" in query) == ("d.main" in text), "SQLite does not say"
    assert [each for each in parts if each not in query] == []
    assert both_ways(session, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT word, count(*) AS n FROM d.main.loose GROUP BY word",  # equal there, not here
        "SELECT ratio, count(*) AS n FROM d.main.orders GROUP BY ratio",  # -0.0, and NaN's sign
        "SELECT count(*) AS n FROM d.main.orders WHERE ratio >= 0",
        "SELECT sum(total / 3) AS s FROM d.main.orders",  # digits of a quotient
        "SELECT upper(place) AS p, count(*) AS n FROM d.main.orders GROUP BY p",
        "SELECT o.id, l.part FROM d.main.orders o JOIN d.main.lines l ON l.n = o.customer AND o.id < 9",
        "SELECT a.id FROM lite.main.places a WHERE EXISTS "
        "(SELECT 1 FROM lite.main.mixed b WHERE b.n = a.id AND b.n < 2)",  # no index
    ],
)
def test_what_may_mean_something_else_or_would_lose_is_computed_here(
    session: affidavit.Session, text: str
) -> None:
    assert not any(" AS c0" in query for query in sent(session, text))


def test_what_fails_there_and_not_here_is_answered_here(
    session: affidavit.Session, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="affidavit"):
        found = session.sql(
            "SELECT extract(year FROM day) AS y, count(*) AS n FROM d.main.far GROUP BY y ORDER BY y"
        ).to_pylist()
    assert found == [{"y": 2024, "n": 1}, {"y": 20000, "n": 1}]
    assert "answered here" in caplog.text


def test_a_value_of_another_type_is_the_error_that_it_is_here(session: affidavit.Session) -> None:
    with pytest.raises(SourceError, match="'x', a str"):
        session.sql("SELECT count(n) AS n, sum(n) AS s FROM lite.main.mixed").to_arrow()


def test_keys_of_a_small_side_are_all_that_a_large_one_is_asked_for(
    session: affidavit.Session,
) -> None:
    text = "SELECT w.why, l.price FROM wanted w JOIN d.main.lines l ON l.order_id = w.id"
    (query,) = sent(session, text, analyze=True)
    assert "IN (3,77)" in query or "IN (77,3)" in query
    assert f"rows expected; {2 * LINES // ORDERS:,} rows, " in query
    assert len(both_ways(session, text)) == 2 * LINES // ORDERS


@pytest.mark.parametrize(
    ("kind", "rows"), [("LEFT JOIN", 2), ("RIGHT JOIN", LINES), ("FULL JOIN", LINES + 2)]
)
def test_keys_leave_out_no_row_of_a_side_that_is_kept_whole(
    session: affidavit.Session, kind: str, rows: int
) -> None:
    text = (
        f"SELECT w.id, l.price FROM (SELECT id + 100000 AS id FROM wanted) w "
        f"{kind} d.main.lines l ON l.order_id = w.id"
    )
    assert len(both_ways(session, text)) == rows


def test_the_rest_of_a_plan_is_over_what_several_databases_answer(
    session: affidavit.Session,
) -> None:
    text = (
        "SELECT p.name, q.n, q.s FROM lite.main.places p JOIN (SELECT customer, count(*) AS n, "
        "sum(total) AS s FROM d.main.orders GROUP BY customer) q ON q.customer = p.id "
        "ORDER BY p.id"
    )
    found = both_ways(session, text)
    assert [each["n"] for each in found] == [ORDERS // 50] * 3
    assert isinstance(found[0]["s"], Decimal)
    assert any("GROUP BY" in query for query in sent(session, text))


def test_a_dot_in_the_name_of_a_table_is_no_part_of_a_name(session: affidavit.Session) -> None:
    text = 'SELECT "do.t".part, w.why FROM wanted w JOIN d.main."do.t" ON "do.t".order_id = w.id'
    (query,) = sent(session, text, analyze=True)
    assert '"main"."do.t"' in query
    assert "IN (" in query
    assert len(both_ways(session, text)) == 2 * LINES // ORDERS


def test_a_setting_says_what_databases_are_asked_to_do(session: affidavit.Session) -> None:
    text = "SELECT count(*) AS n, sum(price) AS s FROM d.main.lines WHERE n > 1"
    try:
        session.sql("SET affidavit.pushdown = 'filters'")
        assert sent(session, text) == ['SELECT "price", "n" FROM "main"."lines" WHERE ("n" > 1)']
        session.sql("SET affidavit.pushdown TO off")
        assert sent(session, text) == ['SELECT "price", "n" FROM "main"."lines"']
        assert session.sql("SHOW affidavit.pushdown").to_pylist() == [
            {"name": "affidavit.pushdown", "value": "off"}
        ]
        with pytest.raises(SqlError, match="one of full, filters, off, got 'most'"):
            session.sql("SET affidavit.pushdown = 'most'")
    finally:
        session.sql("RESET affidavit.pushdown")
    assert session.sql("SHOW affidavit.pushdown").to_pylist()[0]["value"] == "full"


def test_a_read_on_record_tells_the_tables_and_columns_that_it_read(tmp_path: Path) -> None:
    run_duck(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (a INT, b INT, c INT)",
        "INSERT INTO t VALUES (1, 2, 3)",
    )
    told = {}
    for pushdown in ("full", "off"):
        with affidavit.connect(tmp_path / pushdown, audit="reads") as session:
            session.attach("d", f"duckdb://{tmp_path / 'x.duckdb'}")
            session.sql(f"SET affidavit.pushdown = '{pushdown}'")
            found = session.sql("SELECT a, sum(b) AS s FROM d.main.t WHERE c > 0 GROUP BY a")
            assert found.to_pylist() == [{"a": 1, "s": 2}]
            rows = session.sql("SELECT * FROM audit.reads").to_pylist()
            told[pushdown] = [
                {key: value for key, value in row.items() if key in {"tables", "statement"}}
                for row in rows
            ]
    assert told["full"] == told["off"]
    assert told["full"]


def test_columns_that_are_given_as_text_are_grouped_and_compared_as_that(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "texts",
        "CREATE TABLE t (id int PRIMARY KEY, c char(4), u uuid, n numeric(5, 2), at timestamp)",
        "INSERT INTO t SELECT i, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'A ' END, "
        "md5((i % 4)::text)::uuid, i, timestamp '2024-01-01' + i * interval '1 day' "
        "FROM generate_series(1, 40) i",
    )
    session.attach("texts", url)
    for text in (
        "SELECT c, count(*) AS n FROM texts.public.t GROUP BY c",
        "SELECT count(*) AS n, max(a.u) AS u FROM texts.public.t a JOIN texts.public.t b "
        "ON a.u = b.u AND a.c = 'a' WHERE b.id < 9",
        "SELECT count(DISTINCT at) AS n, min(at) AS a, avg(n) AS v FROM texts.public.t WHERE c = 'A'",
    ):
        assert any(" AS c0" in query for query in sent(session, text)), text
        assert both_ways(session, text)
    filtered = sent(session, "SELECT id FROM texts.public.t WHERE c = 'a'")
    assert filtered == ['SELECT "id", "c"::text FROM "public"."t" WHERE ("c" = \'a\')']
    session.detach("texts")


def test_a_small_side_without_rows_leaves_nothing_to_be_asked_for(
    session: affidavit.Session,
) -> None:
    text = (
        "SELECT w.why, l.price FROM wanted w JOIN d.main.lines l ON l.order_id = w.id "
        "WHERE w.why = 'none'"
    )
    (query,) = sent(session, text, analyze=True)
    assert "1 = 0" in query
    assert both_ways(session, text) == []


def test_a_fault_of_the_cutter_is_told_and_the_plan_runs_as_it_was(
    session: affidavit.Session, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a value of somebody's")

    text = "SELECT customer, count(*) AS n FROM d.main.orders WHERE place <> 'x' GROUP BY customer"
    wanted = both_ways(session, text)
    monkeypatch.setattr(queries, "called", broken)
    assert session.sql(text).to_arrow().num_rows == len(wanted)
    why = "columns of an answer could not be called as they were (KeyError)"
    assert f"not sent:\n{why}" in session.explain(text)
    assert set(faults) == {f"a sub-tree is not sent to its database: {why}"}
    faults.clear()


def test_an_outer_join_of_all_rows_of_a_large_table_is_made_here(
    pg_server: PgServer, tmp_path: Path
) -> None:
    url = pg_server.database(
        "outer_joins",
        "CREATE TABLE people (id bigint PRIMARY KEY, place int)",
        "CREATE TABLE bought (id bigint PRIMARY KEY, person bigint)",
        "INSERT INTO people SELECT i, i % 7 FROM generate_series(1, 60000) i",
        "INSERT INTO bought SELECT i, i * 3 FROM generate_series(1, 30000) i",
        "ANALYZE people",
        "ANALYZE bought",
    )
    joined = "pg.public.people p LEFT JOIN pg.public.bought b ON b.person = p.id"
    each = f"SELECT p.id, count(b.id) AS n FROM {joined}"
    with affidavit.connect(tmp_path / "lake") as session:
        session.attach("pg", url)
        for text in (
            f"{each} GROUP BY p.id",
            f"SELECT n, count(*) AS c FROM ({each} GROUP BY p.id) q GROUP BY n",
            f"SELECT p.id, p.place, b.id AS bought FROM {joined}",
        ):
            assert not any(" JOIN " in query for query in sent(session, text)), text
        for text in (
            f"{each} WHERE p.place = 3 GROUP BY p.id",  # few are kept
            f"SELECT p.place, count(b.id) AS n FROM {joined} GROUP BY p.place",  # few groups
        ):
            assert any(" JOIN " in query for query in sent(session, text)), text
