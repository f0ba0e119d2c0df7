"""Foreign keys: each row's key is there, and what goes takes along what it is said to."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit import errors

MANY = 100_000


def ids(session: affidavit.Session, table: str) -> list[object]:
    return [row["id"] for row in session.sql(f"SELECT id FROM {table} ORDER BY id").to_pylist()]


@pytest.fixture
def family(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE p (id INT PRIMARY KEY, n VARCHAR)")
    session.sql("CREATE TABLE c (id INT PRIMARY KEY, pid INT REFERENCES p ON DELETE CASCADE)")
    session.sql("INSERT INTO p VALUES (1, 'a'), (2, 'b')")
    session.sql("INSERT INTO c VALUES (10, 1), (11, 1), (20, 2), (30, NULL)")
    return session


def test_a_cascade_is_in_the_journal_and_in_the_past(family) -> None:
    [then] = family.sql("SELECT max(seq) AS n FROM journal").to_pylist()
    family.sql("DELETE FROM p WHERE id = 1")
    assert ids(family, "c") == [20, 30]
    told = family.sql(
        "SELECT entity_type, entity_id, action FROM journal WHERE action = 'delete' ORDER BY seq"
    )
    assert [tuple(row.values()) for row in told.to_pylist()] == [
        ("p", "1", "delete"), ("c", "10", "delete"), ("c", "11", "delete"),
    ]  # fmt: skip
    assert ids(family, f"as_of('c', {then['n']})") == [10, 11, 20, 30]
    assert family.ledger.verify(data=True)


def test_a_cascade_is_undone_with_its_transaction(family) -> None:
    with pytest.raises(ZeroDivisionError), family.transaction():
        family.sql("DELETE FROM p")
        assert ids(family, "c") == [30]
        raise ZeroDivisionError
    assert ids(family, "c") == [10, 11, 20, 30]
    with family.transaction():
        family.sql("SAVEPOINT here")
        family.sql("TRUNCATE p")
        family.sql("ROLLBACK TO here")
        family.sql("DELETE FROM p WHERE id = 2")
    assert ids(family, "c") == [10, 11, 30]
    assert family.ledger.verify(data=True)


def test_a_trigger_hears_of_what_a_cascade_deletes(family) -> None:
    seen: list[object] = []
    family.triggers.on("c", "delete", call=lambda delivery: seen.append(delivery.data.num_rows))
    family.sql("DELETE FROM p WHERE id = 1")
    family.close()
    assert sum(seen) in {0, 2}  # what was not heard of by then comes when the lake is opened next


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.sql("INSERT INTO c VALUES (1, 9)"),
        lambda s: s.sql("UPDATE c SET pid = 9 WHERE id = 10"),
        lambda s: s.table("c").insert([{"id": 1, "pid": 9}]),
        lambda s: s.table("c").upsert([{"id": 10, "pid": 9}]),
        lambda s: s.sql("ALTER TABLE c ADD COLUMN other INT DEFAULT 9 REFERENCES p"),
    ],
)
def test_no_way_of_writing_refers_to_what_is_not_there(family, write) -> None:
    with pytest.raises(errors.ConstraintError, match=r"foreign key 'c_\w+_fkey' of table 'c': ta"):
        write(family)
    assert ids(family, "c") == [10, 11, 20, 30]


def test_keys_of_several_columns_and_of_another_type_of_integer(session) -> None:
    session.sql("CREATE TABLE p (a BIGINT, b VARCHAR, n INT, PRIMARY KEY (a, b))")
    session.sql(
        "CREATE TABLE c (id INT PRIMARY KEY, x INT, y VARCHAR, FOREIGN KEY (y, x) "
        "REFERENCES p (b, a) ON UPDATE CASCADE ON DELETE SET NULL)"
    )
    session.sql("INSERT INTO p VALUES (1, 'a', 0), (2, 'a', 0), (1, 'b', 0)")
    session.sql("INSERT INTO c VALUES (1, 1, 'a'), (2, 2, 'a'), (3, NULL, 'z')")
    with pytest.raises(errors.ConstraintError, match="no row for y = 'b', x = 2"):
        session.sql("INSERT INTO c VALUES (4, 2, 'b')")
    session.sql("UPDATE p SET b = 'c' WHERE a = 1 AND b = 'a'")
    session.sql("DELETE FROM p WHERE a = 2")
    assert [tuple(row.values()) for row in session.sql("SELECT * FROM c ORDER BY id").to_pylist()] == [
        (1, 1, "c"), (2, None, None), (3, None, "z"),
    ]  # fmt: skip


def test_a_vector_tables_key_can_be_referred_to(session) -> None:
    session.create_vector_table("docs", vectors(5))
    session.sql(
        "CREATE TABLE notes (id INT PRIMARY KEY, doc BIGINT REFERENCES docs ON DELETE CASCADE)"
    )
    session.sql(
        "CREATE TABLE cites (id INT PRIMARY KEY, doc BIGINT REFERENCES docs(id) ON DELETE RESTRICT)"
    )
    session.sql("INSERT INTO notes VALUES (1, 0), (2, 1), (3, NULL)")
    session.sql("INSERT INTO cites VALUES (1, 2)")
    with pytest.raises(errors.ConstraintError, match="table 'docs' has no row for doc = 99"):
        session.sql("INSERT INTO notes VALUES (4, 99)")
    with pytest.raises(errors.ConstraintError, match="needed by foreign key 'cites_doc_fkey'"):
        session.sql("DELETE FROM docs WHERE id IN (0, 2)")
    assert ids(session, "docs") == [0, 1, 2, 3, 4]
    assert ids(session, "notes") == [1, 2, 3]
    session.table("docs").delete("id = 0")
    assert ids(session, "notes") == [2, 3]
    with pytest.raises(errors.ConstraintError, match="foreign key"):
        session.table("docs").restore(1)
    with pytest.raises(errors.ConstraintError, match="foreign key"):
        session.drop_table("docs")
    with pytest.raises(errors.ConstraintError, match="foreign key 'notes_doc_fkey'"):
        session.sql("ALTER TABLE docs RENAME COLUMN id TO key")
    assert session.ledger.verify(data=True)


@pytest.mark.parametrize(
    "text", ["DELETE FROM docs", "TRUNCATE docs", "DELETE FROM docs WHERE id = 1"]
)
def test_no_action_keeps_a_vector_tables_row_that_is_referred_to(session, text) -> None:
    """It was asked of the version before the deletion, which has every row; orphans were left."""
    session.create_vector_table("docs", vectors(3))
    session.sql("CREATE TABLE notes (doc BIGINT REFERENCES docs)")
    session.sql("INSERT INTO notes VALUES (1), (NULL)")
    with pytest.raises(errors.ConstraintError, match="'notes', where doc = 1"):
        session.sql(text)
    assert ids(session, "docs") == [0, 1, 2]
    session.sql("DELETE FROM docs WHERE id <> 1")
    session.sql("DELETE FROM notes")
    session.sql(text)
    assert ids(session, "docs") == []


def test_a_table_that_is_referred_to_is_dropped_with_cascade_alone(family) -> None:
    family.sql("CREATE VIEW seen AS SELECT * FROM p")
    for text in ("DROP TABLE p", "CREATE OR REPLACE TABLE p AS SELECT 1 AS id"):
        with pytest.raises(errors.ConstraintError, match="DROP CONSTRAINT c_pid_fkey"):
            family.sql(text)
    family.sql("DROP TABLE p CASCADE")
    family.sql("INSERT INTO c VALUES (1, 99)")
    names = family.sql("SELECT name FROM system.tables ORDER BY name").to_pylist()
    assert [row["name"] for row in names] == ["c"]


def test_several_tables_are_dropped_or_none(family) -> None:
    with pytest.raises(errors.TableNotFoundError):
        family.sql("DROP TABLE c, nope")
    assert ids(family, "c") == [10, 11, 20, 30]
    family.sql("DROP TABLE p, c")  # in whichever order
    assert family.tables().to_pylist() == []


def test_a_schema_goes_with_tables_that_refer_to_each_other(session) -> None:
    session.sql("CREATE SCHEMA s")
    session.sql("CREATE TABLE s.a (id INT PRIMARY KEY)")
    session.sql("CREATE TABLE s.b (id INT PRIMARY KEY, a INT REFERENCES s.a, b INT REFERENCES s.b)")
    session.sql("CREATE TABLE outside (id INT PRIMARY KEY, a INT REFERENCES s.a)")
    session.sql("DROP SCHEMA s CASCADE")
    session.sql("INSERT INTO outside VALUES (1, 1)")


def test_a_chain_of_any_length_goes_with_its_head(session) -> None:
    session.sql(
        "CREATE TABLE chain (id INT PRIMARY KEY, up INT REFERENCES chain(id) ON DELETE CASCADE)"
    )
    links = 1500  # deeper than Python's stack
    rows = {"id": range(links), "up": [None, *range(links - 1)]}
    session.table("chain").insert(pa.table(rows, session.table("chain").schema))
    session.sql("DELETE FROM chain WHERE id = 0")
    assert ids(session, "chain") == []


def test_a_hundred_thousand_rows_go_with_one(session) -> None:
    session.sql("CREATE TABLE p (id INT PRIMARY KEY)")
    session.sql("CREATE TABLE c (id INT PRIMARY KEY, pid INT REFERENCES p ON DELETE CASCADE)")
    session.sql("INSERT INTO p VALUES (1), (2)")
    session.sql(f"INSERT INTO c SELECT value, 1 + value % 2 FROM range({MANY * 2})")
    session.sql("DELETE FROM p WHERE id = 1")
    assert session.table("c").count() == MANY
    [deleted] = session.sql(
        "SELECT count(*) AS n FROM journal WHERE entity_type = 'c' AND action = 'delete'"
    ).to_pylist()
    assert deleted == {"n": MANY}


def test_two_that_write_at_once_leave_no_orphan(lake) -> None:
    """One deletes the parent while another refers to it: one of both is refused."""
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE p (id INT PRIMARY KEY)")
        session.sql("CREATE TABLE c (id INT PRIMARY KEY, pid INT REFERENCES p)")
        refused: list[BaseException] = []

        def insert(at: int) -> None:
            with affidavit.connect(lake, durability="normal") as other:
                try:
                    other.sql(f"INSERT INTO c VALUES ({at}, {at})")
                except errors.ConstraintError as error:
                    refused.append(error)

        for at in range(12):
            session.sql(f"INSERT INTO p VALUES ({at})")
            thread = threading.Thread(target=insert, args=(at,))
            thread.start()
            try:
                session.sql(f"DELETE FROM p WHERE id = {at}")
            except errors.ConstraintError as error:
                refused.append(error)
            thread.join()
        assert len(refused) == 12
        orphans = session.sql("SELECT count(*) AS n FROM c WHERE pid NOT IN (SELECT id FROM p)")
        assert orphans.to_pylist() == [{"n": 0}]


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("pid INT REFERENCES nope", errors.TableNotFoundError, "no table 'nope'"),
        ("pid VARCHAR REFERENCES p", errors.SchemaMismatchError, "has the type of what it refers"),
        ("pid INT REFERENCES p(n)", errors.ConstraintError, "are no key of table 'p'"),
        ("pid INT REFERENCES p ON DELETE SET DEFAULT", errors.SqlError, "SET DEFAULT is not supp"),
        ("pid INT NOT NULL REFERENCES p ON DELETE SET NULL", errors.ConstraintError, "NOT NULL"),
        ("pid INT REFERENCES p MATCH FULL", errors.SqlError, "MATCH FULL"),
        ("pid INT REFERENCES p DEFERRABLE", errors.SqlError, "DEFERRABLE is not supported"),
        ("pid INT, q INT, FOREIGN KEY (pid, q) REFERENCES p(id)", errors.SqlError, "cannot refer"),
        ("pid INT, FOREIGN KEY (q) REFERENCES p", errors.ColumnNotFoundError, "no column 'q'"),
        ("pid INT REFERENCES seen", errors.ConstraintError, "'seen' is a view, and has no key"),
        ("pid INT AS (1) REFERENCES p", errors.ConstraintError, "cannot be a foreign key"),
    ],
)
def test_a_key_that_cannot_be_is_refused_by_name(family, text, error, told) -> None:
    family.sql("CREATE VIEW seen AS SELECT * FROM p")
    with pytest.raises(error, match=told):
        family.sql(f"CREATE TABLE d (id INT PRIMARY KEY, {text})")


def test_a_shared_table_is_referred_to_by_its_own_scope_alone(session) -> None:
    with session.scope(tenant=None) as shared:
        shared.sql("CREATE TABLE kinds (id INT PRIMARY KEY)")
    with pytest.raises(errors.ReadOnlyError, match="'kinds' is shared"):
        session.sql("CREATE TABLE mine (k INT REFERENCES kinds)")


def test_integers_of_another_width_refer_and_are_refused_in_words(session) -> None:
    """A value that the other type has no place for was an error of Arrow's."""
    session.sql("CREATE TABLE small (id SMALLINT PRIMARY KEY)")
    session.sql("CREATE TABLE large (id BIGINT PRIMARY KEY, s BIGINT REFERENCES small)")
    session.sql("CREATE TABLE c (id SMALLINT REFERENCES large ON DELETE CASCADE ON UPDATE CASCADE)")
    session.sql("CREATE TABLE u (id BIGINT UNSIGNED PRIMARY KEY, s INT REFERENCES small)")
    session.sql("CREATE TABLE cu (id BIGINT REFERENCES u)")
    session.sql("INSERT INTO small VALUES (1)")
    session.sql("INSERT INTO large VALUES (1, 1), (70000, NULL), (2, NULL)")
    session.sql("INSERT INTO u VALUES (18446744073709551615, 1)")
    session.sql("INSERT INTO c VALUES (1), (2)")
    for text, told in (
        ("UPDATE large SET s = 70000 WHERE id = 2", "'small' has no row for s = 70000"),
        ("INSERT INTO cu VALUES (-1)", "'u' has no row for id = -1"),
        ("UPDATE large SET id = 80000 WHERE id = 1", "no place for {'id': 80000}"),
        ("DELETE FROM small", "'large', where s = 1"),
    ):
        with pytest.raises(errors.ConstraintError, match=told):
            session.sql(text)
    session.sql("UPDATE large SET id = 3 WHERE id = 1")
    session.sql("DELETE FROM large WHERE id <> 3")
    session.sql("DELETE FROM u")
    assert ids(session, "c") == [3]
    session.sql("CREATE VECTOR TABLE docs (id INT PRIMARY KEY, vector FLOAT[2])")
    session.sql("CREATE TABLE n (id BIGINT REFERENCES docs)")
    with pytest.raises(errors.ConstraintError, match="'docs' has no row for id = 99999999999"):
        session.sql("INSERT INTO n VALUES (99999999999)")


def test_texts_refer_to_texts_however_each_is_kept(session) -> None:
    """A column of CREATE TABLE could not refer to one of create_table: Arrow's types differ."""
    session.create_table("p", [{"id": "a"}, {"id": "b"}], primary_key=["id"])
    session.create_vector_table("docs", [{"id": "a", "vector": [1.0, 0.0]}])
    session.sql(
        "CREATE TABLE c (id VARCHAR REFERENCES p ON UPDATE CASCADE, d TEXT REFERENCES docs)"
    )
    session.sql("INSERT INTO c VALUES ('a', 'a'), ('b', NULL)")
    with pytest.raises(errors.ConstraintError, match="'docs' has no row for d = 'b'"):
        session.sql("UPDATE c SET d = 'b'")
    session.sql("UPDATE p SET id = id || '2'")
    assert ids(session, "c") == ["a2", "b2"]


UNIONED = "USING (SELECT 1 AS id, 2 AS up UNION ALL SELECT 2, 1) AS s ON chain.id = s.id "


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO chain VALUES (1, 2), (2, 1) ON CONFLICT (id) DO UPDATE SET up = excluded.up",
        "INSERT OR REPLACE INTO chain VALUES (1, 2), (2, 1)",
        f"MERGE INTO chain {UNIONED} WHEN MATCHED THEN UPDATE SET up = s.up "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.up)",
        lambda session: session.table("chain").upsert([{"id": 1, "up": 2}, {"id": 2, "up": 1}]),
    ],
)
def test_keys_are_asked_of_a_statement_once_all_of_it_is_written(session, write) -> None:
    """What it updated was asked before what it inserted was there."""
    session.sql("CREATE TABLE chain (id INT PRIMARY KEY, up INT REFERENCES chain)")
    session.sql("INSERT INTO chain VALUES (1, NULL)")
    session.sql(write) if isinstance(write, str) else write(session)
    assert session.sql("SELECT up FROM chain ORDER BY id").to_pylist() == [{"up": 2}, {"up": 1}]
    gone = "USING (SELECT 2 AS id) AS s ON chain.id = s.id WHEN MATCHED THEN DELETE"
    with pytest.raises(errors.ConstraintError, match="needed by foreign key"):
        session.sql(f"MERGE INTO chain {gone}")
    session.sql(f"MERGE INTO chain {gone} WHEN NOT MATCHED BY SOURCE THEN UPDATE SET up = 1")
    assert session.table("chain").to_arrow().to_pylist() == [{"id": 1, "up": 1}]
    assert session.ledger.verify(data=True)


def test_tables_that_refer_to_each_other_are_emptied_together(session) -> None:
    """The one that is referred to was emptied first where it was named first, and so refused."""
    session.sql("CREATE TABLE p (id INT PRIMARY KEY)")
    session.sql("CREATE TABLE c (id INT PRIMARY KEY, up INT REFERENCES p)")
    session.sql("CREATE TABLE further (id INT REFERENCES c)")
    session.sql("CREATE TEMP TABLE own AS SELECT 1 AS id")
    for text in ("p VALUES (1)", "c VALUES (2, 1)", "further VALUES (2)"):
        session.sql(f"INSERT INTO {text}")
    with pytest.raises(errors.ConstraintError, match="needed by foreign key"):
        session.sql("TRUNCATE own, p, c")
    assert ids(session, "p") == ids(session, "own") == [1]
    assert session.sql("TRUNCATE p, own, c, further").rows_affected == 4
    assert ids(session, "p") == ids(session, "c") == ids(session, "own") == []
