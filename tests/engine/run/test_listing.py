"""What lists the catalog lists views too, as views, and reads none of them."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit

LISTING = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'main'"


def listed(session: affidavit.Session) -> dict[str, str]:
    return {row["table_name"]: row["table_type"] for row in session.sql(LISTING).to_pylist()}


def made(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE t (a INT, b VARCHAR)")
    session.sql("CREATE VIEW w AS SELECT a, b || 'x' AS c FROM t")
    session.sql("CREATE VIEW v AS SELECT c FROM w")
    return session


def test_a_view_is_a_view(session: affidavit.Session) -> None:
    """Tools that list the tables saw no view."""
    assert listed(made(session)) == {"t": "BASE TABLE", "w": "VIEW", "v": "VIEW"}
    shown = {row["table_name"] for row in session.sql("SHOW TABLES").to_pylist()}
    assert {"t", "w", "v"} <= shown


def test_its_columns_are_listed(session: affidavit.Session) -> None:
    made(session)
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'w'"
    assert [row["column_name"] for row in session.sql(query).to_pylist()] == ["a", "c"]


def test_views_are_listed_in_a_transaction(session: affidavit.Session) -> None:
    with made(session).transaction() as within:
        within.sql("CREATE VIEW u AS SELECT 1 AS n")
        assert listed(within)["u"] == "VIEW"
        assert listed(within)["w"] == "VIEW"


def test_a_view_that_cannot_be_planned_hides_no_other(session: affidavit.Session) -> None:
    made(session)
    session.sql("CREATE TABLE gone (a INT)")
    session.sql("CREATE VIEW broken AS SELECT a FROM gone")
    session.sql("DROP TABLE gone")
    assert listed(session) == {"t": "BASE TABLE", "w": "VIEW", "v": "VIEW"}


def test_a_view_beside_the_list_is_read(session: affidavit.Session) -> None:
    made(session).sql("INSERT INTO t VALUES (1, 'b')")
    query = "SELECT w.c FROM w, information_schema.tables AS i WHERE i.table_name = 'w'"
    assert session.sql(query).to_pylist() == [{"c": "bx"}]


def test_listing_a_view_reads_nothing_on_record(session: affidavit.Session) -> None:
    made(session).sql("ALTER TABLE t SET (audit = 'rows')")
    before = session.sql("SELECT count(*) AS n FROM audit.reads").to_pylist()
    listed(session)
    assert session.sql("SELECT count(*) AS n FROM audit.reads").to_pylist() == before


WITH_COLUMNS = "{} WHERE (SELECT count(*) FROM information_schema.columns) > 0"
"""The same list by a statement that lists columns too, for which each table is looked up whole."""


@pytest.mark.parametrize("name", ["tables", "views"])
def test_tables_are_listed_alike_with_and_without_their_columns(session, lake, name: str) -> None:
    text = f"SELECT * FROM information_schema.{name}"
    second = lake.parent / "second"
    affidavit.connect(second).close()
    with session.scope(tenant=None) as shared, session.scope(tenant="other") as other:
        shared.sql("CREATE TABLE everybodys (a INT)")
        other.sql("CREATE TABLE others (a INT)")
        made(session).sql("CREATE SCHEMA s")
        session.sql("CREATE TABLE s.t (id INT PRIMARY KEY, c VARCHAR)")
        session.sql("CREATE TEMP TABLE held (a INT)")
        session.sql("CREATE SEQUENCE q")
        session.attach("second", f"lake:///{second}")
        vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 0], pa.float32()), 2)
        session.create_vector_table("docs", pa.table({"id": [1], "vector": vectors}))
        for asked in (session, other):
            found = asked.sql(text).to_arrow()
            whole = asked.sql(WITH_COLUMNS.format(text)).to_arrow()
            assert found.schema.equals(whole.schema)
            assert sorted(map(str, found.to_pylist())) == sorted(map(str, whole.to_pylist()))
            names = set(found["table_name"].to_pylist())
            assert {"everybodys", "others" if asked is other else "docs"} <= names
            assert ("others" in names) is (asked is other)
        listing = "SELECT column_name FROM information_schema.columns WHERE table_name = 't'"
        assert session.sql(listing).num_rows == 4
        shown = session.sql("SHOW TABLES").to_pylist()
        every = session.sql("SELECT * FROM information_schema.tables").to_pylist()
        assert sorted(map(str, shown)) == sorted(map(str, every))


def test_what_the_engine_says_of_tables_is_of_its_moment(session: affidavit.Session) -> None:
    made(session).sql("CREATE TEMP TABLE held (a INT)")
    tables = session.sql("SELECT name, kind FROM system.tables")
    keys = session.sql("SELECT table_name FROM information_schema.table_constraints")
    session.sql("DROP TABLE held")
    session.sql("CREATE TABLE later (id INT PRIMARY KEY)")
    expected = {"t": "mutable", "w": "view", "v": "view", "held": "temporary"}
    assert {row["name"]: row["kind"] for row in tables.to_pylist()} == expected
    assert keys.to_pylist() == []
