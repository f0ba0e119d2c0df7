"""What lists the catalog lists views too, as views, and reads none of them."""

from __future__ import annotations

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
