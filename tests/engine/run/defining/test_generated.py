"""GENERATED ALWAYS AS (...): computed by every way of writing, and written by none."""

from __future__ import annotations

import pytest

import affidavit
from affidavit import errors

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, n INT, twice INT GENERATED ALWAYS AS (n * 2) STORED)"


def rows(session: affidavit.Session, table: str = "t") -> list[tuple[object, ...]]:
    found = session.sql(f"SELECT * FROM {table} ORDER BY id").to_pylist()
    return [tuple(row.values()) for row in found]


def test_every_way_of_writing_computes_it(session) -> None:
    session.sql(TABLE)
    session.sql("INSERT INTO t VALUES (1, 1), (2, NULL)")
    session.table("t").insert([{"id": 3, "n": 3}])
    session.table("t").upsert([{"id": 1, "n": 10}])
    session.table("t").update({"n": affidavit.expr("n + 1")}, "id = 3")
    session.sql("INSERT INTO t (id, n) VALUES (3, 0) ON CONFLICT (id) DO UPDATE SET n = 30")
    session.sql(
        "MERGE INTO t USING (SELECT 4 AS id) AS s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, 40)"
    )
    assert rows(session) == [(1, 10, 20), (2, None, None), (3, 30, 60), (4, 40, 80)]
    returned = session.sql("UPDATE t SET n = 5 WHERE id = 2 RETURNING twice")
    assert returned.to_pylist() == [{"twice": 10}]
    assert session.sql("INSERT INTO t (id) VALUES (9) RETURNING *").to_pylist() == [
        {"id": 9, "n": None, "twice": None}
    ]
    new = session.sql("SELECT new_value FROM journal WHERE entity_id = '4'").to_pylist()
    assert new == [{"new_value": '{"id":4,"n":40,"twice":80}'}]
    assert session.ledger.verify(data=True)


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.sql("INSERT INTO t (id, twice) VALUES (2, 3)"),
        lambda s: s.sql("UPDATE t SET twice = 3"),
        lambda s: s.table("t").insert([{"id": 2, "twice": 3}]),
        lambda s: s.table("t").update({"twice": 3}, "true"),
    ],
)
def test_it_cannot_be_written_to(session, write) -> None:
    session.sql(TABLE)
    session.sql("INSERT INTO t VALUES (1, 1)")
    with pytest.raises(errors.ConstraintError, match="column 'twice' of table 't' is generated"):
        write(session)
    assert rows(session) == [(1, 1, 2)]


def test_a_division_by_zero_is_an_error_and_nothing_is_lost(session) -> None:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT, part AS (100 / n))")
    session.sql("INSERT INTO t VALUES (1, 5)")
    for text in ("INSERT INTO t VALUES (2, 1), (3, 0)", "UPDATE t SET n = 0"):
        with pytest.raises(
            errors.ExecutionError, match="generated column 'part' of table 't'.*zero"
        ):
            session.sql(text)
    assert rows(session) == [(1, 5, 20)]
    with pytest.raises(errors.ExecutionError, match="generated column 'other'"):
        session.sql("ALTER TABLE t ADD COLUMN other INT GENERATED ALWAYS AS (1 / (n - 5))")
    assert rows(session) == [(1, 5, 20)]


def test_a_column_that_is_added_is_computed_for_the_rows_there_are(lake) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        session.sql("INSERT INTO t VALUES (1, 1), (2, 2)")
        session.sql("ALTER TABLE t ADD COLUMN s BIGINT GENERATED ALWAYS AS (n + 1) STORED")
        assert rows(session) == [(1, 1, 2), (2, 2, 3)]
        assert rows(session, "as_of('t', 3)") == [(1, 1), (2, 2)]
    with affidavit.connect(lake) as session:
        session.sql("UPDATE t SET n = 7 WHERE id = 1")
        assert rows(session) == [(1, 7, 8), (2, 2, 3)]
        assert session.ledger.verify(data=True)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("b INT AS (random())", "not the same at all times"),
        ("b INT AS (c)", "reads 'c', which is generated too"),
        ("b INT AS (b)", "reads 'b', which is generated too"),
        ("b INT AS ((SELECT 1))", "refused"),
        ("b INT AS (a) VIRTUAL", "VIRTUAL is not supported: write STORED"),
        ("b INT DEFAULT 1 GENERATED ALWAYS AS (a)", "choose one"),
        ("b INT AS (nope)", "there is no column nope"),
    ],
)
def test_an_expression_that_is_none_of_a_row_is_refused(session, column, told) -> None:
    with pytest.raises(errors.AffidavitError, match=told):
        session.sql(f"CREATE TABLE t (a INT, {column}, c INT AS (a))")
    assert session.tables().to_pylist() == []


def test_what_it_is_computed_of_stays(session) -> None:
    session.sql(TABLE)
    for change in ("DROP COLUMN n", "RENAME COLUMN n TO m", "ALTER COLUMN n TYPE BIGINT"):
        with pytest.raises(errors.ConstraintError, match="generated column 'twice' names it"):
            session.sql(f"ALTER TABLE t {change}")
    session.sql("ALTER TABLE t RENAME COLUMN twice TO double")
    session.sql("INSERT INTO t VALUES (1, 4)")
    assert session.sql("SELECT double FROM t").to_pylist() == [{"double": 8}]
    session.sql("ALTER TABLE t DROP COLUMN double")
    session.sql("ALTER TABLE t DROP COLUMN n")
