"""DROP ... CASCADE: what would be left without goes, and nothing else."""

from __future__ import annotations

import pytest
from tests.support.lakes import vectors

from affidavit import errors
from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.model.definition import VIEW, SqlDefinition
from affidavit.engine.statement.defining.relations import tables_of


def named(session) -> set[str]:
    return {f"{row['schema_name']}.{row['name']}" for row in session.tables().to_pylist()}


def test_views_go_that_read_the_table_and_no_others(session) -> None:
    """Every view went that had its name somewhere, as a column's or an alias."""
    for text in (
        "CREATE TABLE t (a INT)",
        "CREATE TABLE o (t INT, a INT)",
        "CREATE SCHEMA s",
        "CREATE TABLE s.t (a INT)",
        "CREATE VIEW reads AS SELECT * FROM o WHERE a IN (SELECT a FROM t)",
        "CREATE VIEW by_another AS SELECT 1 AS one FROM reads",
        "CREATE VIEW past AS SELECT * FROM as_of('t', 1)",
        "CREATE VIEW column_of AS SELECT t, o.a AS reads FROM o",
        "CREATE VIEW alias_of AS SELECT t.a FROM o AS t",
        "CREATE VIEW common AS WITH t AS (SELECT a FROM o) SELECT * FROM t",
        "CREATE VIEW of_schema AS SELECT * FROM s.t",
    ):
        session.sql(text)
    session.sql("DROP TABLE t CASCADE")
    assert named(session) == {
        "main.o", "s.t", "main.column_of", "main.alias_of", "main.common", "main.of_schema",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", {"main.t"}),
        ("WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM t) SELECT * FROM t", set()),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", set()),
        ('SELECT * FROM lake.main."T" JOIN away.main.u ON true', {"main.t"}),
        ("SELECT * FROM vector_search('s.docs', [1.0], 1), range(3)", {"s.docs"}),
        ("FROM t", {"main.t"}),
        ("SELECT * FROM as_of(moment => 1, table => 't'), source_query('u', 'x')", {"main.t"}),
        ("SELECT a # 1 FROM t", {"main.t"}),  # as PostgreSQL has it
    ],
)
def test_which_tables_a_query_reads(text, read) -> None:
    assert {".".join(each) for each in tables_of(text)} == read


def test_no_table_goes_while_nobody_can_tell_what_a_view_reads(session) -> None:
    """It was taken for a view that reads nothing."""
    catalog = session._catalog()
    session.sql("CREATE TABLE t (a INT)")
    with catalog.write() as writer:
        view = SqlDefinition(new_table_id(), "no query")
        catalog.define(writer, "odd", VIEW.name, view, schema="main")
    with pytest.raises(errors.SqlError, match="view 'odd'.*drop it first"):
        session.sql("DROP TABLE t CASCADE")
    session.sql("DROP VIEW odd")
    session.sql("DROP TABLE t CASCADE")
    assert named(session) == set()


def test_a_vector_table_goes_with_what_refers_to_it(session) -> None:
    """It is dropped in no transaction, and CASCADE began one."""
    session.create_vector_table("docs", vectors(2))
    session.sql("CREATE TABLE notes (doc BIGINT REFERENCES docs)")
    session.sql(
        "CREATE VIEW found AS SELECT * FROM vector_search('docs', [1, 0, 0, 0, 0, 0, 0, 0], 1)"
    )
    session.sql("DROP TABLE docs CASCADE")
    session.sql("INSERT INTO notes VALUES (7)")
    assert named(session) == {"main.notes"}


def test_a_sequence_takes_the_defaults_along_and_a_schema_all_that_is_in_it(session) -> None:
    for text in (
        "CREATE SCHEMA s",
        "CREATE SEQUENCE s.numbers",
        "CREATE SEQUENCE ids",
        "CREATE TABLE s.p (id BIGINT PRIMARY KEY DEFAULT 10 * nextval('s.numbers'))",
        "CREATE TABLE c (id BIGINT DEFAULT nextval('ids'), p BIGINT REFERENCES s.p, "
        "n BIGINT DEFAULT nextval('s.numbers'))",
        "CREATE VIEW over AS SELECT * FROM s.p",
        "CREATE VIEW s.under AS SELECT * FROM c",
    ):
        session.sql(text)
    with pytest.raises(errors.ConstraintError, match="DROP DEFAULT"):
        session.sql("DROP SEQUENCE ids")
    session.sql("DROP SEQUENCE ids CASCADE")
    session.sql("DROP SCHEMA s CASCADE")
    session.sql("INSERT INTO c (p) VALUES (4)")
    assert session.table("c").to_arrow().to_pylist() == [{"id": None, "p": 4, "n": None}]
    assert named(session) == {"main.c"}
    assert session.ledger.verify(data=True)
