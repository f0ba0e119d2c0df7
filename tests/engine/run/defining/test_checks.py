"""CHECK, VARCHAR(n) and texts of a kind: met by every way of writing, or nothing is written."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors

TABLE = (
    "CREATE TABLE t (id INT PRIMARY KEY, n INT CHECK (n > 0), v VARCHAR(3), "
    "CONSTRAINT apart CHECK (n <> id OR v LIKE 'x%'))"
)
GOOD = [{"id": 1, "n": 5, "v": "abc"}]


def rows(session: affidavit.Session, table: str = "t") -> list[dict[str, object]]:
    return session.sql(f"SELECT * FROM {table} ORDER BY id").to_pylist()


@pytest.fixture
def kept(session: affidavit.Session) -> affidavit.Session:
    session.sql(TABLE)
    session.sql("INSERT INTO t VALUES (1, 5, 'abc')")
    return session


WRITES = {
    "insert": lambda s: s.sql("INSERT INTO t VALUES (2, 1, 'a'), (3, -1, 'a')"),
    "insert from": lambda s: s.sql("INSERT INTO t SELECT id + 1, -n, v FROM t"),
    "update": lambda s: s.sql("UPDATE t SET n = n - 10"),
    "update from": lambda s: s.sql("UPDATE t SET n = -u.n FROM t AS u WHERE u.id = t.id"),
    "upsert": lambda s: s.sql(
        "INSERT INTO t VALUES (1, 2, 'a') ON CONFLICT (id) DO UPDATE SET n = -1"
    ),
    "merge updates": lambda s: s.sql(
        "MERGE INTO t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = 0"
    ),
    "merge inserts": lambda s: s.sql(
        "MERGE INTO t USING (SELECT 7 AS id) AS s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, -7)"
    ),
    "handle inserts": lambda s: s.table("t").insert([{"id": 2, "n": -1, "v": "a"}]),
    "handle inserts many": lambda s: s.table("t").insert(
        pa.table({"id": pa.array(range(2, 500), pa.int32()), "n": pa.array([0] * 498, pa.int32())})
    ),
    "handle upserts": lambda s: s.table("t").upsert([{"id": 1, "n": -1, "v": "a"}]),
    "handle updates": lambda s: s.table("t").update({"n": -1}, "id = 1"),
}


@pytest.mark.parametrize("way", WRITES)
def test_no_way_of_writing_gets_past_a_check(kept, way) -> None:
    with pytest.raises(errors.ConstraintError, match="check 't_n_check' of table 't' is false"):
        WRITES[way](kept)
    assert rows(kept) == GOOD
    assert kept.ledger.verify(data=True)


@pytest.mark.parametrize("way", WRITES)
def test_nor_in_a_transaction_that_goes_on(kept, way) -> None:
    with kept.transaction():
        kept.sql("INSERT INTO t VALUES (100, 1, 'a')")
        with pytest.raises(errors.ConstraintError, match="t_n_check"):
            WRITES[way](kept)
    assert [row["id"] for row in rows(kept)] == [1, 100]


def test_what_is_unknown_of_a_row_is_no_fault_of_it(kept) -> None:
    kept.sql("INSERT INTO t VALUES (2, NULL, NULL), (3, 3, 'xy')")
    with pytest.raises(errors.ConstraintError, match=r"'apart'.*row 0: id = 4, n = 4, v = 'y'"):
        kept.sql("INSERT INTO t VALUES (4, 4, 'y')")


def test_a_check_that_cannot_be_computed_writes_nothing(session) -> None:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT, CHECK (10 / n > 1))")
    with pytest.raises(errors.ExecutionError, match="check 't_n_check' of table 't' cannot be c"):
        session.sql("INSERT INTO t VALUES (1, 2), (2, 0)")
    assert rows(session) == []


def test_texts_have_the_length_that_they_may_have(kept) -> None:
    kept.sql("INSERT INTO t VALUES (2, 1, 'äöü')")
    message = "column 'v' of table 't' takes 3 characters at most, and row 1 has 4"
    with pytest.raises(errors.ConstraintError, match=message):
        kept.sql("INSERT INTO t VALUES (3, 1, 'abc'), (4, 1, 'abcd')")
    with pytest.raises(errors.ConstraintError, match="takes 3 characters"):
        kept.sql("UPDATE t SET v = v || v")
    with pytest.raises(errors.ConstraintError, match="takes 2 characters"):
        kept.sql("CREATE TABLE u (a CHAR(2)) AS SELECT v FROM t")
    assert len(rows(kept)) == 2


def test_a_check_holds_after_reopening_and_renaming(lake) -> None:
    with affidavit.connect(lake) as session:
        session.sql(TABLE)
        session.sql("ALTER TABLE t RENAME TO u")
    with (
        affidavit.connect(lake) as session,
        pytest.raises(errors.ConstraintError, match="check 't_n_check' of table 'u'"),
    ):
        session.sql("INSERT INTO u VALUES (1, -1, 'a')")


def test_names_are_matched_without_case(session) -> None:
    session.create_table("t", schema=pa.schema([("id", pa.int64()), ("unitPrice", pa.float64())]))
    session.sql("ALTER TABLE t ADD CONSTRAINT priced CHECK (unitprice > 0)")
    session.sql("ALTER TABLE t ADD COLUMN taxed DOUBLE GENERATED ALWAYS AS (UNITPRICE * 2)")
    session.table("t").insert([{"id": 1, "unitPrice": 2.0}])
    assert rows(session) == [{"id": 1, "unitPrice": 2.0, "taxed": 4.0}]
    with pytest.raises(errors.ConstraintError, match="'priced'"):
        session.table("t").insert([{"id": 1, "unitPrice": -2.0}])


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("n > (SELECT 1)", "not a row's own value"),
        ("now() > TIMESTAMP '2020-01-01'", "not the same at all times"),
        ("random() < 1", "not the same at all times"),
        ("sum(n) > 1", "Aggregate"),
        ("missing > 1", "there is no column missing"),
        ("v", "predicate 'v' is refused"),
    ],
)
def test_a_condition_that_is_none_of_a_row_is_refused(session, condition, told) -> None:
    with pytest.raises(errors.SqlError, match=told):
        session.sql(f"CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR, CHECK ({condition}))")
    assert session.tables().to_pylist() == []


def test_a_condition_is_kept_without_values(session) -> None:
    with pytest.raises(errors.SqlError, match="a condition is kept without values"):
        session.sql("CREATE TABLE t (n INT, CHECK (n > $p))", p=1)


# --- added and dropped ---------------------------------------------------------------------------


def test_a_constraint_is_added_where_the_rows_meet_it(kept) -> None:
    with pytest.raises(errors.ConstraintError, match="check 'small' of table 't' is false of row"):
        kept.sql("ALTER TABLE t ADD CONSTRAINT small CHECK (n < 5)")
    kept.sql("ALTER TABLE t ADD CONSTRAINT small CHECK (n < 6)")
    with pytest.raises(errors.ConstraintError, match="small"):
        kept.sql("UPDATE t SET n = 6")
    with pytest.raises(errors.TableExistsError, match="a constraint 'small' exists"):
        kept.sql("ALTER TABLE t ADD CONSTRAINT small CHECK (n < 7)")
    kept.sql("ALTER TABLE t DROP CONSTRAINT small")
    kept.sql("UPDATE t SET n = 6")
    kept.sql("ALTER TABLE t ADD CONSTRAINT one UNIQUE (v)")
    with pytest.raises(errors.ConstraintError, match="has a row with v = 'abc' already"):
        kept.sql("INSERT INTO t VALUES (2, 5, 'abc')")
    kept.sql("ALTER TABLE t DROP CONSTRAINT one")
    kept.sql("INSERT INTO t VALUES (2, 5, 'abc')")
    with pytest.raises(errors.ConstraintError, match="cannot be unique"):
        kept.sql("ALTER TABLE t ADD CONSTRAINT one UNIQUE (v)")
    assert kept.sql("SELECT count(*) AS n FROM as_of('t', 2)").to_pylist() == [{"n": 1}]
    assert kept.ledger.verify(data=True)


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("DROP CONSTRAINT nope", errors.SqlError, "has no constraint 'nope'"),
        ("DROP CONSTRAINT t_pkey", errors.ConstraintError, "what its rows are called"),
        ("ADD PRIMARY KEY (v)", errors.SqlError, "ADD PRIMARY KEY is not supported"),
        ("ADD CONSTRAINT x EXCLUDE (v)", errors.SqlError, "expected PRIMARY KEY, UNIQUE, CHECK"),
        ("ADD CHECK (n > 0) DEFERRABLE", errors.SqlError, "DEFERRABLE is not supported"),
        ("DROP COLUMN n", errors.ConstraintError, "check 't_n_check', check 'apart' name it"),
        ("RENAME COLUMN v TO w", errors.ConstraintError, "check 'apart' names it"),
        ("ALTER COLUMN n TYPE BIGINT", errors.ConstraintError, "cannot be given another type"),
        ("ALTER COLUMN n SET NOT", errors.SqlError, "ALTER COLUMN cannot 'SET'"),
    ],
)
def test_what_cannot_be_altered_is_refused_by_name(kept, text, error, told) -> None:
    with pytest.raises(error, match=told):
        kept.sql(f"ALTER TABLE t {text}")
    assert rows(kept) == GOOD


def test_a_column_that_a_view_names_stays_as_it_is(kept) -> None:
    kept.sql("ALTER TABLE t ADD COLUMN w INT")
    kept.sql("CREATE VIEW seen AS SELECT id, w FROM t")
    for change in ("DROP COLUMN w", "RENAME COLUMN w TO x", "ALTER COLUMN w TYPE VARCHAR"):
        with pytest.raises(errors.ConstraintError, match="view 'seen' names it"):
            kept.sql(f"ALTER TABLE t {change}")
    kept.sql("DROP VIEW seen")
    kept.sql("ALTER TABLE t DROP COLUMN w")


def test_information_schema_lists_constraints(session) -> None:
    session.sql("CREATE TABLE p (id INT PRIMARY KEY, u INT UNIQUE)")
    session.sql(
        "CREATE TABLE c (id INT PRIMARY KEY, pid INT, CONSTRAINT up FOREIGN KEY (pid) REFERENCES p "
        "ON DELETE CASCADE, CONSTRAINT most CHECK (pid < 9))"
    )
    found = session.sql(
        "SELECT table_name, constraint_name, constraint_type FROM "
        "information_schema.table_constraints ORDER BY constraint_name"
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("c", "c_pkey", "PRIMARY KEY"),
        ("c", "most", "CHECK"),
        ("p", "p_pkey", "PRIMARY KEY"),
        ("p", "p_u_key", "UNIQUE"),
        ("c", "up", "FOREIGN KEY"),
    ]
    [check] = session.sql("SELECT * FROM lake.information_schema.check_constraints").to_pylist()
    assert (check["constraint_name"], check["check_clause"]) == ("most", "pid < 9")
    [key] = session.sql("FROM information_schema.referential_constraints").to_pylist()
    assert (key["unique_constraint_name"], key["delete_rule"]) == ("p_pkey", "CASCADE")
    used = session.sql(
        "SELECT k.column_name, u.table_name FROM information_schema.key_column_usage AS k JOIN "
        "information_schema.constraint_column_usage AS u USING (constraint_name) "
        "WHERE u.constraint_name = 'up'"
    )
    assert used.to_pylist() == [{"column_name": "pid", "table_name": "p"}]


def test_another_tenants_constraints_are_not_seen(session) -> None:
    session.sql(TABLE)
    with session.scope(tenant="other") as other:
        listed = other.sql("SELECT * FROM information_schema.table_constraints")
        assert listed.to_pylist() == []


# --- columns altered -----------------------------------------------------------------------------


def test_a_column_gets_another_type_and_the_past_stays_as_it_was(session) -> None:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR)")
    session.sql("INSERT INTO t VALUES (1, '12'), (2, NULL), (3, '7')")
    [then] = session.sql("SELECT max(seq) AS n FROM journal").to_pylist()
    session.sql("ALTER TABLE t ALTER COLUMN v TYPE BIGINT")
    assert [row["v"] for row in rows(session)] == [12, None, 7]
    session.sql("UPDATE t SET v = v + 1")
    session.sql("ALTER TABLE t ALTER COLUMN v SET DATA TYPE DOUBLE USING v / 2.0")
    assert [row["v"] for row in rows(session)] == [6.5, None, 4.0]
    assert [row["v"] for row in rows(session, f"as_of('t', {then['n']})")] == ["12", None, "7"]
    with pytest.raises(errors.AffidavitError, match="Cannot cast string 'x'"):
        session.sql("ALTER TABLE t ALTER COLUMN v TYPE DATE USING CAST('x' AS DATE)")
    session.sql("ALTER TABLE t ALTER COLUMN v TYPE VARCHAR(3)")
    with pytest.raises(errors.ConstraintError, match="takes 1 characters"):
        session.sql("ALTER TABLE t ALTER COLUMN v TYPE VARCHAR(1)")
    assert [row["v"] for row in rows(session)] == ["6.5", None, "4.0"]
    assert session.ledger.verify(data=True)


def test_null_and_defaults_come_and_go(kept) -> None:
    kept.sql("INSERT INTO t (id) VALUES (2)")
    with pytest.raises(errors.ConstraintError, match="column 'n' of table 't' is NOT NULL, and"):
        kept.sql("ALTER TABLE t ALTER COLUMN n SET NOT NULL")
    kept.sql("ALTER TABLE t ALTER n SET DEFAULT 3 + 4")
    kept.sql("UPDATE t SET n = 9 WHERE n IS NULL")
    kept.sql("ALTER TABLE t ALTER COLUMN n SET NOT NULL")
    kept.sql("INSERT INTO t (id) VALUES (3)")
    with pytest.raises(errors.ConstraintError, match="NOT NULL"):
        kept.sql("INSERT INTO t VALUES (4, NULL, 'a')")
    kept.sql("ALTER TABLE t ALTER COLUMN n DROP NOT NULL")
    kept.sql("ALTER TABLE t ALTER COLUMN n DROP DEFAULT")
    kept.sql("INSERT INTO t (id) VALUES (4)")
    assert [row["n"] for row in rows(kept)] == [5, 9, 7, None]
    with pytest.raises(errors.ConstraintError, match="is a key, or numbered"):
        kept.sql("ALTER TABLE t ALTER COLUMN id DROP NOT NULL")


# --- texts of a kind -----------------------------------------------------------------------------


def test_uuids_json_and_enums_are_texts_of_their_kind(session) -> None:
    session.sql(
        "CREATE TABLE k (id INT PRIMARY KEY, u UUID, j JSON, e ENUM ('low', 'high'), b BLOB, "
        "s STRUCT(a INT, b VARCHAR), h HUGEINT)"
    )
    session.sql(
        "INSERT INTO k (id, u, j, e, b) VALUES "
        "(1, 'A0EEBC999C0B4EF8BB6D6BB9BD380A11', '{\"a\": [1]}', 'low', x'00ff')"
    )
    [row] = rows(session, "k")
    assert row["u"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert (row["j"], row["e"], row["b"]) == ('{"a": [1]}', "low", b"\x00\xff")
    for column, text in (("u", "x"), ("j", "{"), ("j", "NaN"), ("e", "middle")):
        with pytest.raises(errors.ConstraintError, match=f"column '{column}' of table 'k': row 0"):
            session.table("k").insert([{"id": 2, column: text}])
    assert session.table("k").schema.field("h").type == pa.decimal128(38, 0)
