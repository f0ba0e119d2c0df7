"""P19: what is accepted is honoured, and the rest is refused by name.

Each optional clause is planned by DataFusion itself with and without: the same plan means that it
drops the clause.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from datafusion import SessionConfig, SessionContext

import affidavit
from affidavit.engine.statement import honoured
from affidavit.engine.statement.honoured import check_honoured
from affidavit.errors import SqlError

DROPPED = [
    # a query, the same without its clause, and what the error calls it
    ("SELECT id FROM a PREWHERE x > 3", "SELECT id FROM a", "PREWHERE"),
    ("SELECT id FROM a TABLESAMPLE BERNOULLI (0)", "SELECT id FROM a", "TABLESAMPLE"),
    ("SELECT id FROM a TABLESAMPLE (10 ROWS)", "SELECT id FROM a", "TABLESAMPLE"),
    ("SELECT id FROM a SAMPLE 0.1", "SELECT id FROM a", "TABLESAMPLE"),
    ("SELECT 1 FROM (SELECT 2) TABLESAMPLE (1)", "SELECT 1 FROM (SELECT 2)", "TABLESAMPLE"),
    ("SELECT x FROM a GROUP BY x WITH ROLLUP", "SELECT x FROM a GROUP BY x", "WITH ROLLUP"),
    ("SELECT x FROM a GROUP BY x WITH CUBE", "SELECT x FROM a GROUP BY x", "WITH CUBE"),
    ("SELECT x FROM a GROUP BY x WITH TOTALS", "SELECT x FROM a GROUP BY x", "WITH TOTALS"),
    ("SELECT x FROM a GROUP BY x GROUPING SETS ((x))", "SELECT x FROM a GROUP BY x", "GROUPING SETS"),
    ("SELECT id FROM a CONNECT BY PRIOR id = x", "SELECT id FROM a", "CONNECT BY"),
    ("SELECT id FROM a START WITH id = 1 CONNECT BY PRIOR id = x", "SELECT id FROM a", "CONNECT BY"),
    ("SELECT id FROM a PARTITION (p0)", "SELECT id FROM a", "PARTITION"),
    ("SELECT * FROM range(2) WITH ORDINALITY", "SELECT * FROM range(2)", "WITH ORDINALITY"),
    ("SELECT id FROM a FOR UPDATE", "SELECT id FROM a", "FOR UPDATE"),
    ("SELECT id FROM a FOR SHARE", "SELECT id FROM a", "FOR UPDATE"),
    ("SELECT id FROM a FOR UPDATE OF a NOWAIT", "SELECT id FROM a", "FOR UPDATE"),
    ("SELECT id FROM a FOR UPDATE SKIP LOCKED", "SELECT id FROM a", "FOR UPDATE"),
    ("SELECT id FROM a FOR XML AUTO", "SELECT id FROM a", "FOR"),
    ("SELECT id FROM a FOR JSON AUTO", "SELECT id FROM a", "FOR"),
    ("SELECT id FROM a FOR BROWSE", "SELECT id FROM a", "FOR"),
    ("SELECT id FROM a SETTINGS max_threads = 1", "SELECT id FROM a", "SETTINGS"),
    ("SELECT id FROM a FORMAT JSON", "SELECT id FROM a", "FORMAT"),
    ("SELECT id FROM a WITH (NOLOCK)", "SELECT id FROM a", "WITH"),
    ("SELECT * ILIKE 'i%' FROM a", "SELECT * FROM a", "ILIKE"),
    ("SELECT a.* ILIKE 'i%' FROM a", "SELECT a.* FROM a", "ILIKE"),
    ("SELECT a.id FROM a GLOBAL JOIN b ON a.id = b.id", "SELECT a.id FROM a JOIN b ON a.id = b.id", "GLOBAL"),
    ("SELECT abs(x) WITHIN GROUP (ORDER BY v) FROM a", "SELECT abs(x) FROM a", "WITHIN GROUP"),
    ("SELECT abs(DISTINCT x) FROM a", "SELECT abs(x) FROM a", "DISTINCT"),
    ("SELECT abs(x) FILTER (WHERE x > 3) FROM a", "SELECT abs(x) FROM a", "FILTER"),
    ("SELECT abs(x ORDER BY x) FROM a", "SELECT abs(x) FROM a", "ORDER BY"),
    ("SELECT abs(x) IGNORE NULLS FROM a", "SELECT abs(x) FROM a", "IGNORE NULLS"),
    ("SELECT sum(2)(x) FROM a", "SELECT sum(x) FROM a", r"f\(...\)\(...\)"),
    (
        "SELECT sum(x) OVER (w ORDER BY id) FROM a WINDOW w AS (PARTITION BY x)",
        "SELECT sum(x) OVER (ORDER BY id) FROM a",
        r"OVER \(window ...\)",
    ),
    ("CREATE TABLE t (v VARCHAR COLLATE nocase)", "CREATE TABLE t (v VARCHAR)", "COLLATE"),
    ("CREATE TABLE t (v VARCHAR CHARACTER SET utf8)", "CREATE TABLE t (v VARCHAR)", "CHARACTER SET"),
    ("CREATE TABLE t (t TIMESTAMP ON UPDATE now())", "CREATE TABLE t (t TIMESTAMP)", "ON UPDATE"),
    ("CREATE TABLE t (id INT INVISIBLE)", "CREATE TABLE t (id INT)", "INVISIBLE"),
    ("CREATE TABLE t (id INT PRIMARY KEY DEFERRABLE)", "CREATE TABLE t (id INT PRIMARY KEY)", "DEFERRABLE"),
    ("INSERT INTO b VALUES (1, 2) FORMAT JSON", "INSERT INTO b VALUES (1, 2)", "FORMAT"),
]  # fmt: skip

HONOURED = [
    "SELECT DISTINCT ON (x) id FROM a",
    "SELECT * EXCLUDE (id) FROM a",
    "SELECT * REPLACE (id + 1 AS id) FROM a",
    "SELECT count(DISTINCT x) FILTER (WHERE x > 3) FROM a",
    "SELECT first_value(x ORDER BY id DESC) IGNORE NULLS FROM a",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM a",
    "SELECT sum(x) OVER w FROM a WINDOW w AS (PARTITION BY x)",
    "SELECT lag(x) IGNORE NULLS OVER (ORDER BY id) FROM a",
    "SELECT x FROM a QUALIFY row_number() OVER (ORDER BY id) = 1",
    "SELECT x, count(*) FROM a GROUP BY ROLLUP (x)",
    "SELECT x, count(*) FROM a GROUP BY ALL ORDER BY x",
    "SELECT id FROM a |> LIMIT 1",
    "SELECT id FROM a NATURAL JOIN b",
    "SELECT a.id FROM a LEFT ANTI JOIN b ON a.id = b.id",
    "SELECT id FROM a UNION BY NAME SELECT id FROM b",
    "SELECT x <=> NULL, (x = 1) IS NOT TRUE FROM a",
    "SELECT v LIKE 'a\\%' ESCAPE '\\' FROM a",
    "SELECT id, FROM a LIMIT 1 OFFSET 1",
    "SELECT l[1:2:2] FROM a, LATERAL (SELECT 1)",
    "WITH RECURSIVE q AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM q WHERE n < 3) SELECT * FROM q",
    "FROM a SELECT id",
    "VALUES ROW(1), ROW(2)",
]


@pytest.fixture(scope="module")
def context() -> SessionContext:
    context = SessionContext(SessionConfig().with_information_schema(enabled=True))
    context.sql("CREATE TABLE a (id INT, x INT, v VARCHAR, l INT[]) AS VALUES (1, 1, 'p', [1])")
    context.sql("CREATE TABLE b (id INT, y INT) AS VALUES (1, 1)")
    return context


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    lake: Path = tmp_path_factory.mktemp("honoured") / "lake"
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE a (id INT PRIMARY KEY, x INT, v VARCHAR, l INT[])")
        session.sql("INSERT INTO a VALUES (1, 1, 'p', [1]), (2, 5, 'q', [2, 3])")
        session.sql("CREATE TABLE b (id INT PRIMARY KEY, y INT)")
        yield session


@pytest.mark.parametrize(("text", "without", "_words"), DROPPED, ids=[each[0] for each in DROPPED])
def test_p19_datafusion_drops_the_clause(context, text, without, _words) -> None:
    """What fails here is honoured by this version: take it from what is refused."""
    plans = [
        context.sql(f"EXPLAIN {each}").logical_plan().display_indent() for each in (text, without)
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(("text", "words"), [(each[0], each[2]) for each in DROPPED])
def test_p19_a_clause_that_is_dropped_is_refused_by_name(session, text, words) -> None:
    with pytest.raises(SqlError, match=f"^{words} is not supported"):
        session.sql(text)
    assert session.sql("SELECT name FROM system.tables ORDER BY name").to_pylist() == [
        {"name": "a"}, {"name": "b"},
    ]  # fmt: skip


@pytest.mark.parametrize("text", HONOURED)
def test_p19_what_is_honoured_is_answered(session, text) -> None:
    assert session.sql(text).to_arrow().num_columns


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN SELECT id FROM a PREWHERE x > 3",
        "PREPARE p AS SELECT id FROM a PREWHERE x > 3",
        "CREATE TABLE t AS SELECT id FROM a PREWHERE x > 3",
        "CREATE VIEW v AS SELECT id FROM a PREWHERE x > 3",
        "SELECT id INTO t FROM a PREWHERE x > 3",
        "INSERT INTO b SELECT id, x FROM a PREWHERE x > 3",
        "UPDATE b SET y = 1 WHERE id IN (SELECT id FROM a PREWHERE x > 3)",
        "UPDATE b SET y = (SELECT max(x) FROM a PREWHERE x > 3)",
        "DELETE FROM b WHERE id IN (SELECT id FROM a PREWHERE x > 3)",
        "MERGE INTO b USING (SELECT id FROM a PREWHERE x > 3) s ON b.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "WITH q AS (SELECT id FROM a PREWHERE x > 3) SELECT * FROM q",
        "SELECT (SELECT max(id) FROM a PREWHERE x > 3)",
        "SELECT id FROM b UNION SELECT id FROM a PREWHERE x > 3",
        "COPY (SELECT id FROM a PREWHERE x > 3) TO '{folder}/x.parquet'",
        "COPY (SELECT id FROM a PREWHERE x > 3) TO '{folder}/x' STORED AS PARQUET",
        "EXPLAIN FORMAT pgjson SELECT id FROM a PREWHERE x > 3",
    ],
)
def test_p19_it_is_refused_wherever_a_query_may_stand(session, tmp_path, text) -> None:
    with pytest.raises(SqlError, match="^PREWHERE is not supported: write WHERE"):
        session.sql(text.replace("{folder}", str(tmp_path))).to_arrow()
    assert session.sql("SELECT * FROM b").num_rows == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM a FINAL",
        "SELECT v COLLATE nocase FROM a",
        "SELECT l <=> l FROM a",
        "SELECT [1.0] <=> [2.0]",
        "ALTER TABLE b ADD COLUMN z INT COLLATE nocase",
        "ALTER TABLE b ADD COLUMN z INT GENERATED ALWAYS AS (id) VIRTUAL",
    ],
)
def test_p19_what_would_mean_something_else_is_refused(session, text) -> None:
    with pytest.raises(SqlError, match="is not supported"):
        session.sql(text).to_arrow()


def test_what_datafusion_explains_is_read(session, tmp_path) -> None:
    for text in ("EXPLAIN (SELECT 1)", "EXPLAIN (SELECT 1) UNION ALL (SELECT 2)", "EXPLAIN (VALUES (1))",
                 f"EXPLAIN COPY (SELECT 1) TO '{tmp_path}/x.parquet' STORED AS PARQUET"):  # fmt: skip
        assert session.sql(text).num_rows
    assert session.sql("SELECT 5 = ALL([1, 2]) AS a, 2 > ANY([1, 2]) AS b").to_pylist() == [
        {"a": False, "b": True}
    ]
    for text in ("EXPLAIN (SELECT 1 FROM a FOR UPDATE)", "EXPLAIN ANALYZE SELECT id FROM a FINAL"):
        with pytest.raises(SqlError, match="is not supported"):
            session.sql(text)


def test_p19_the_error_points_at_the_clause(session) -> None:
    with pytest.raises(SqlError) as caught:
        session.sql("SELECT id\nFROM a   PREWHERE x > 3\nORDER BY id")
    assert str(caught.value).splitlines()[1:] == ["  FROM a   PREWHERE x > 3", "           ^"]


def test_p19_the_place_is_that_of_the_clause_and_no_secret_is_near(session, tmp_path) -> None:
    with pytest.raises(SqlError) as caught:
        session.sql("SELECT 'PREWHERE', /* PREWHERE */ id FROM a PREWHERE x > 3")
    assert str(caught.value).splitlines()[2].index("^") == 2 + 40
    with pytest.raises(SqlError) as caught:
        session.sql(
            f"COPY (SELECT id FROM a FOR UPDATE) TO '{tmp_path}/x.csv' STORED AS CSV "
            "OPTIONS ('aws.secret_access_key' 'hidden')"
        )
    assert "hidden" not in str(caught.value)


def test_the_aggregates_are_datafusions(context) -> None:
    found = context.sql(
        "SELECT DISTINCT routine_name AS name FROM information_schema.routines "
        "WHERE function_type <> 'SCALAR'"
    ).to_pydict()["name"]
    assert set(found) == honoured.AGGREGATES


def test_every_field_that_is_listed_is_one_of_the_parsers() -> None:
    """A name that the parser does not have would let nothing through, and say nothing."""
    seen: dict[tuple[str, str], set[str]] = {}
    left: list[object] = [
        honoured.read(text)[1] for text in [*HONOURED, *(each[0] for each in DROPPED), *REST]
    ]
    while left:
        node = left.pop()
        if isinstance(node, dict) and node:
            fields = list(node)
            seen.setdefault((fields[0], fields[-1]), set()).update(fields)
        left += (
            node.values()
            if isinstance(node, dict)
            else node
            if isinstance(node, list | tuple)
            else ()
        )
    for shape, fields in honoured.HONOURED.items():
        assert fields <= seen.get(shape, set()), shape


REST = [
    "SELECT * FROM LATERAL f(1), unnest([1]) WITH OFFSET",
    "SELECT v COLLATE de FROM a ORDER BY v LIMIT 1 BY v",
    "CREATE TABLE t (a INT, b INT, UNIQUE (a), FOREIGN KEY (a) REFERENCES b (c))",
    "CREATE TABLE t (UNIQUE (a))",
]


def test_a_text_that_is_remembered_is_read_once(monkeypatch) -> None:
    read = []
    once = honoured.read
    monkeypatch.setattr(honoured, "read", lambda *given: read.append(given) or once(*given))
    for _ in range(3):
        check_honoured("SELECT 'read once'")
    assert len(read) == 1


def test_rows_of_literals_are_planned_and_hide_no_clause(session) -> None:
    rows = ", ".join(f"({at}, -{at}.5e0, 'it''s ), ({at}', NULL, TRUE)" for at in range(1000))
    found = session.sql(f"SELECT * FROM (VALUES {rows}) AS v (a, b, c, d, e) WHERE a = 999")
    assert found.to_pylist() == [{"a": 999, "b": -999.5, "c": "it's ), (999", "d": None, "e": True}]
    for hidden in (f"VALUES {rows}, (1, 2, abs(x) FILTER (WHERE true), 4, 5)",
                   f"SELECT * FROM (VALUES {rows}) v TABLESAMPLE (10)"):  # fmt: skip
        with pytest.raises(SqlError, match="is not supported"):
            session.sql(hidden)
