"""Attached databases: what can be named and read, joined with tables and searches."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


def test_one_statement_joins_all_sources_with_a_table_and_a_search(
    all_three: affidavit.Session,
) -> None:
    all_three.create_table("notes", [{"id": 1, "note": "first"}, {"id": 2, "note": "second"}])
    all_three.create_vector_table("docs", vectors(50))
    found = all_three.sql(
        "SELECT p.name, a.s, b.s AS t, n.note FROM pg.public.people p "
        "JOIN duck.main.a a ON a.id = p.id JOIN lite.main.b b ON b.id = p.id "
        "JOIN notes n ON n.id = p.id "
        "JOIN vector_search('docs', $q, 50) d ON d.id = p.id ORDER BY p.id",
        {"q": [1.0] * 8},
    ).to_pylist()
    assert found == [
        {"name": "Ada", "s": "n1", "t": "a", "note": "first"},
        {"name": "Grace", "s": "n2", "t": "b", "note": "second"},
    ]


@pytest.mark.parametrize(
    ("table", "rows"), [("pg.public.people", 3), ("duck.main.a", 5), ("lite.main.b", 3)]
)
def test_rows_are_counted_without_a_column(
    all_three: affidavit.Session, table: str, rows: int
) -> None:
    assert all_three.sql(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": rows}]
    assert all_three.sql(f"SELECT 1 AS one FROM {table}").to_arrow().num_rows == rows
    count = all_three.sql(f"SELECT count(*) AS n FROM {table} WHERE id = 2").to_pylist()
    assert count == [{"n": 1}]


def test_names_that_need_quotes_views_schemas_and_empty_tables(
    all_three: affidavit.Session,
) -> None:
    def rows(text: str) -> list[dict[str, object]]:
        return all_three.sql(text).to_pylist()

    assert rows('SELECT * FROM pg."Odd one"."Ta""b.le" WHERE "Co l" = 1 AND "qu""ote" > 1') == [
        {"Co l": 1, "select": "x", 'qu"ote': 2}
    ]
    assert rows("SELECT shout FROM pg.public.named WHERE id = 1") == [{"shout": "ADA"}]
    assert rows("SELECT * FROM pg.public.empty") == []
    assert rows('SELECT "C" FROM duck."Other"."T"') == [{"C": 7}]
    assert rows("SELECT count(*) AS n FROM duck.main.few") == [{"n": 2}]
    assert rows("SELECT s FROM lite.main.v WHERE s <> 'c'") == [{"s": "b"}]


def test_types_that_arrow_lacks_are_text(all_three: affidavit.Session) -> None:
    found = all_three.sql(
        "SELECT p, u, j, jb, m, l, t, ch, nan FROM pg.public.kinds WHERE m = 'glad' AND p > 9"
    )
    assert found.to_pylist() == [
        {
            "p": Decimal("9.50"),
            "u": "00000000-0000-0000-0000-000000000001",
            "j": '{"a": 1}',
            "jb": "[1]",
            "m": "glad",
            "l": [1, None, 3],
            "t": ["a", "b"],
            "ch": "ab",
            "nan": Decimal("1.25"),
        }
    ]
    found = all_three.sql("SELECT e, j, l, d, length(u) AS n FROM duck.main.kinds WHERE e = 'x'")
    assert found.to_pylist() == [{"e": "x", "j": "{}", "l": [1, 2], "d": Decimal("1.50"), "n": 36}]


@pytest.mark.parametrize(
    ("table", "column", "given"),
    [
        ("pg.public.kinds", "n", "1.5"),
        ("duck.main.kinds", "h", Decimal(1)),
        ("lite.main.b", "u", None),
    ],
)
def test_no_column_is_left_out(
    all_three: affidavit.Session, table: str, column: str, given: object
) -> None:
    assert column in all_three.sql(f"SELECT * FROM {table}").to_arrow().column_names
    assert all_three.sql(f"SELECT {column} FROM {table}").to_pylist()[0][column] == given
    all_three.sql(f"CREATE TABLE kept AS SELECT * FROM {table}")
    assert column in all_three.table("kept").schema.names


def test_postgresqls_infinities_are_the_greatest_and_the_least(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    """The driver adds the years between two epochs to them, and the sum runs over."""
    url = pg_server.database(
        "endless",
        "CREATE TABLE t (id int, d date, ts timestamp, tz timestamptz)",
        "INSERT INTO t VALUES (1, 'infinity', 'infinity', 'infinity'), (3, now(), now(), now()), "
        "(2, '-infinity', '-infinity', '-infinity'), (4, NULL, NULL, NULL)",
        "CREATE TABLE far (ts timestamp)",
        "INSERT INTO far VALUES ('294276-12-31')",
    )
    session.attach("pg", url)
    found = session.sql("SELECT * FROM pg.public.t WHERE id < 3 ORDER BY id").to_arrow()
    assert found["d"].combine_chunks().view(pa.int32()).to_pylist() == [2**31 - 1, 1 - 2**31]
    for name in ("ts", "tz"):
        assert found[name].combine_chunks().view(pa.int64()).to_pylist() == [2**63 - 1, 1 - 2**63]
    day = "arrow_cast('2100-01-01', 'Timestamp(Microsecond, None)')"
    for sign, ids in ((">", [1]), ("<", [2, 3])):
        rows = session.sql(f"SELECT id FROM pg.public.t WHERE ts {sign} {day} ORDER BY id")
        assert [each["id"] for each in rows.to_pylist()] == ids
    with pytest.raises(SourceError, match="'ts'"):
        session.sql("SELECT ts FROM pg.public.far").to_arrow()


def test_a_server_in_another_encoding_is_read_as_utf_8(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    pg_server.run(
        "DROP DATABASE IF EXISTS latin WITH (FORCE)",
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    pg_server.run(
        "SET client_encoding = 'UTF8'",
        "CREATE TABLE t AS SELECT 'é'::text AS s",
        database="latin",
    )
    session.attach("pg", pg_server.url("latin"))
    found = session.sql("SELECT s FROM pg.public.t WHERE s = 'é' AND s > 'z'").to_pylist()
    assert found == [{"s": "é"}]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT id, name FROM v RETURNING id, (SELECT count(*) FROM v) AS n",
        "INSERT INTO t SELECT id, name FROM v WHERE id = 1 "
        "ON CONFLICT (id) DO UPDATE SET name = (SELECT max(name) FROM v)",
        "UPDATE t SET name = v.name FROM v WHERE t.id = v.id RETURNING (SELECT count(*) FROM v) AS n",
        "DELETE FROM t USING v WHERE t.id = v.id RETURNING (SELECT count(*) FROM v) AS n",
        "MERGE INTO t USING v ON t.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)",
    ],
)
@pytest.mark.parametrize("view", ["VIEW", ""])
def test_a_statement_that_changes_rows_reads_a_source_as_often_as_it_likes(
    pg: affidavit.Session, statement: str, view: str
) -> None:
    if view:
        pg.sql("CREATE VIEW v AS SELECT id, name FROM pg.public.people WHERE name IS NOT NULL")
    else:
        pg.sql("CREATE TABLE v AS SELECT id, name FROM pg.public.people WHERE name IS NOT NULL")
    pg.create_table("t", [{"id": 1, "name": "old"}], primary_key="id")
    if statement.startswith("INSERT") and "CONFLICT" not in statement:
        pg.sql("DELETE FROM t")
    with pg.transaction():
        pg.sql(statement)
    assert pg.sql("SELECT count(*) AS n FROM t").to_pylist()[0]["n"] in {0, 1, 2}


@pytest.mark.parametrize(
    "where", ["(id = 1) = (name = 'Ada')", "id IN (NULL, 1)", "id BETWEEN NULL AND 3", "NULL"]
)
@pytest.mark.parametrize("table", ["pg.public.people", "v", "here", "of_here"])
def test_filters_that_no_provider_can_be_asked_are_asked_here(
    pg: affidavit.Session, where: str, table: str
) -> None:
    pg.sql("CREATE VIEW v AS SELECT id, name FROM pg.public.people")
    rows = [{"id": n, "name": {1: "Ada", 2: "Grace"}.get(n)} for n in range(1, 3000)]
    pg.create_table("here", rows, primary_key="id")
    pg.sql("CREATE VIEW of_here AS SELECT id, name FROM here")
    wanted = 0 if "NULL" in where and "IN" not in where else 1
    found = pg.sql(f"SELECT id FROM {table} WHERE {where} AND id < 2").to_pylist()
    assert len(found) == wanted


def test_the_log_of_statements_names_what_was_read(
    all_three: affidavit.Session, tmp_path: Path
) -> None:
    with affidavit.connect(tmp_path / "other") as other:
        other.sql("CREATE TABLE notes AS SELECT 1 AS id")
    all_three.attach("archive", f"lake:///{tmp_path / 'other'}")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "x.parquet")
    all_three.attach("files", tmp_path / "x.parquet")
    tables = ("pg.public.people", "duck.main.a", "lite.main.b", "archive.main.notes", "files")
    text = f"SELECT count(*) AS n FROM {', '.join(tables)}"
    all_three.sql(text).to_arrow()
    (found,) = all_three.sql(
        "SELECT tables_read FROM audit.statements WHERE text = $1", [text]
    ).to_pylist()
    assert {each.partition("@")[0] for each in found["tables_read"]} == {
        *tables[:4], "main.files",
    }  # fmt: skip
