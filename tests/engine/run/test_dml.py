"""P11: DML is right where DataFusion's own is not, and a statement happens whole or not at all."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors


@pytest.fixture(params=["mutable", "vector"])
def table(request: pytest.FixtureRequest, session: affidavit.Session) -> str:
    """A table ``t`` of ids 1 to 5 and names a to e, of either kind."""
    rows = [
        {"id": at, "name": name, "n": at * 10, "vector": [float(at), 1.0]}
        for at, name in enumerate("abcde", 1)
    ]
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("n", pa.int64()),
            pa.field("vector", pa.list_(pa.float32(), 2)),
        ]
    )
    if request.param == "mutable":
        session.create_table("t", rows, schema=schema, primary_key="id")
    else:
        session.create_vector_table("t", rows, schema=schema)
    session.create_table("other", [{"k": 2, "v": "two"}, {"k": 4, "v": "four"}])
    return "t"


def names(session: affidavit.Session) -> dict[int, str | None]:
    return {r["id"]: r["name"] for r in session.sql("SELECT id, name FROM t ORDER BY id")}


ALL = {1: "a", 2: "b", 3: "c", 4: "d", 5: "e"}


def test_update_takes_its_rows_from_a_subquery(session: affidavit.Session, table: str) -> None:
    result = session.sql("UPDATE t SET name = 'x' WHERE id IN (SELECT k FROM other)")
    assert result.rows_affected == 2
    assert result.to_pylist() == [{"count": 2}]
    assert names(session) == ALL | {2: "x", 4: "x"}


def test_update_sees_old_values_on_every_right_hand_side(session, table) -> None:
    session.sql("UPDATE t SET n = id, name = CAST(n AS VARCHAR) WHERE id = 3")
    assert session.sql("SELECT name, n FROM t WHERE id = 3").to_pylist() == [{"name": "30", "n": 3}]


def test_update_from_another_table_updates_each_row_once(session, table) -> None:
    session.sql("INSERT INTO other VALUES (2, 'second')")
    result = session.sql("UPDATE t SET name = o.v FROM other AS o WHERE o.k = t.id")
    assert result.rows_affected == 2
    assert names(session)[2] in {"two", "second"}
    assert names(session)[4] == "four"


def test_update_with_alias_and_tuple_assignment(session, table) -> None:
    session.sql("UPDATE t AS x SET (name, n) = (upper(x.name), x.n + 1) WHERE x.id = 1")
    assert session.sql("SELECT name, n FROM t WHERE id = 1").to_pylist() == [{"name": "A", "n": 11}]


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ("WHERE false", ALL),
        ("WHERE id IN (SELECT k FROM other)", {1: "a", 3: "c", 5: "e"}),
        ("WHERE NOT EXISTS (SELECT 1 FROM other WHERE k = t.id)", {2: "b", 4: "d"}),
        ("WHERE id = (SELECT max(k) FROM other)", {1: "a", 2: "b", 3: "c", 5: "e"}),
        ("ORDER BY id DESC LIMIT 2", {1: "a", 2: "b", 3: "c"}),
        ("", {}),
    ],
)
def test_delete_removes_what_its_condition_says(session, table, condition, left) -> None:
    """DataFusion's in-memory DELETE empties the table for each of these."""
    result = session.sql(f"DELETE FROM t {condition}")
    assert names(session) == left
    assert result.rows_affected == 5 - len(left)


def test_delete_using_and_returning(session, table) -> None:
    gone = session.sql(
        "DELETE FROM t USING other WHERE other.k = t.id RETURNING id, upper(name) AS u"
    )
    assert sorted((r["id"], r["u"]) for r in gone.to_pylist()) == [(2, "B"), (4, "D")]
    assert gone.rows_affected == 2


@pytest.mark.parametrize("statement", ["DELETE FROM t", "UPDATE t SET n = 0", "TRUNCATE TABLE t"])
def test_explain_of_dml_changes_nothing(session, table, statement) -> None:
    """DataFusion's in-memory tables delete rows when a DELETE is merely planned."""
    assert session.sql(f"EXPLAIN {statement}").to_pylist()[0]["plan_type"] == "logical_plan"
    assert names(session) == ALL
    with pytest.raises(errors.SqlError, match="EXPLAIN ANALYZE would run"):
        session.sql(f"EXPLAIN ANALYZE {statement}")
    assert names(session) == ALL


def test_insert_counts_fills_defaults_and_returns(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE d (id INT PRIMARY KEY, a INT DEFAULT 1 + 1, b VARCHAR DEFAULT 'x')")
    assert session.sql("INSERT INTO d (id) VALUES (1), (2)").to_pylist() == [{"count": 2}]
    rows = session.sql("INSERT INTO d (b, id) VALUES (NULL, 3) RETURNING *").to_pylist()
    assert rows == [{"id": 3, "a": 2, "b": None}]
    session.sql("UPDATE d SET b = DEFAULT WHERE id = 3")
    assert session.sql("SELECT b FROM d WHERE id = 3").to_pylist() == [{"b": "x"}]
    session.table("d").insert({"id": 4})
    assert session.sql("SELECT a, b FROM d WHERE id = 4").to_pylist() == [{"a": 2, "b": "x"}]


def test_insert_from_a_query_over_the_same_table(session, table) -> None:
    session.sql("INSERT INTO t SELECT id + 10, name, n, vector FROM t")
    assert len(names(session)) == 10


def test_on_conflict_do_nothing_and_do_update(session, table) -> None:
    values = "(1, 'new', 0, [1.0, 1.0]), (9, 'nine', 90, [9.0, 1.0])"
    assert session.sql(f"INSERT INTO t VALUES {values} ON CONFLICT DO NOTHING").rows_affected == 1
    assert names(session) == ALL | {9: "nine"}
    text = (
        f"INSERT INTO t VALUES {values} ON CONFLICT (id) DO UPDATE "
        "SET name = t.name || '+' || excluded.name, n = excluded.n WHERE t.id < 5 RETURNING id, name"
    )
    returned = session.sql(text).to_pylist()
    assert returned == [{"id": 1, "name": "a+new"}]
    assert names(session)[9] == "nine"


def test_on_conflict_refuses_to_change_one_row_twice(session, table) -> None:
    values = "(1, 'p', 0, [1.0, 1.0]), (1, 'q', 0, [1.0, 1.0])"
    with pytest.raises(errors.ConstraintError, match="twice"):
        session.sql(f"INSERT INTO t VALUES {values} ON CONFLICT (id) DO UPDATE SET name = 'z'")
    assert names(session) == ALL
    with pytest.raises(errors.SqlError, match="no unique key"):
        session.sql(f"INSERT INTO t VALUES {values} ON CONFLICT (name) DO NOTHING")


MERGE = """
MERGE INTO t USING (SELECT k, v FROM other UNION ALL SELECT 9, 'nine') AS s ON t.id = s.k
WHEN MATCHED AND s.k = 4 THEN DELETE
WHEN MATCHED THEN UPDATE SET name = s.v, n = t.n + 1
WHEN NOT MATCHED THEN INSERT (id, name, vector) VALUES (s.k, s.v, [1.0, 2.0])
WHEN NOT MATCHED BY SOURCE AND t.id = 5 THEN DELETE
"""


def test_merge_applies_the_first_clause_that_fits(session, table) -> None:
    assert session.sql(MERGE).rows_affected == 4
    assert names(session) == {1: "a", 2: "two", 3: "c", 9: "nine"}
    assert session.sql("SELECT n FROM t WHERE id = 2").to_pylist() == [{"n": 21}]


def test_merge_refuses_a_row_matched_twice(session, table) -> None:
    session.sql("INSERT INTO other VALUES (2, 'again')")
    with pytest.raises(errors.ExecutionError, match="more than once"):
        session.sql(
            "MERGE INTO t USING other o ON t.id = o.k WHEN MATCHED THEN UPDATE SET name = o.v"
        )
    assert names(session) == ALL


def test_truncate_empties(session, table) -> None:
    assert session.sql("TRUNCATE t").rows_affected == 5
    assert names(session) == {}


def test_a_statement_that_fails_half_way_leaves_nothing(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE u (id INT PRIMARY KEY, v INT) AS VALUES (1, 1), (2, 2), (3, 3)")
    for statement in (
        "INSERT INTO u VALUES (9, 9), (1, 1)",
        "INSERT INTO u VALUES (8, 8), (8, 8)",
        "UPDATE u SET id = 3 WHERE id < 3",
        "UPDATE u SET id = NULL WHERE id = 1",
    ):
        with pytest.raises(errors.ConstraintError):
            session.sql(statement)
        assert session.sql("SELECT sum(id) AS s, sum(v) AS v FROM u").to_pylist() == [
            {"s": 6, "v": 6}
        ]


def test_keys_may_be_swapped_in_one_update(session: affidavit.Session) -> None:
    """The final state is what must be unique: SQLite, row by row, refuses this."""
    session.sql("CREATE TABLE u (id INT PRIMARY KEY, v INT) AS VALUES (1, 1), (2, 2), (3, 3)")
    session.sql("UPDATE u SET id = id + 1")
    session.sql("UPDATE u SET id = 6 - id")
    assert session.sql("SELECT id, v FROM u ORDER BY v").to_pylist() == [
        {"id": 4, "v": 1},
        {"id": 3, "v": 2},
        {"id": 2, "v": 3},
    ]


def test_the_key_of_a_vector_table_cannot_be_updated(docs, session) -> None:
    with pytest.raises(errors.ConstraintError, match="key of vector table 'docs'"):
        session.sql("UPDATE docs SET id = id + 1000 WHERE id = 3")
    assert docs.count() == 300


def test_update_from_a_vector_search(session: affidavit.Session, docs) -> None:
    """The rows of a companion table that a search names are updated, exactly those."""
    session.sql("CREATE TABLE seen AS SELECT id, 0 AS hits FROM docs")
    query = docs.to_arrow()["vector"][17].as_py()
    changed = session.sql(
        "UPDATE seen SET hits = hits + 1 WHERE id IN (SELECT id FROM vector_search('docs', $q, 4))",
        q=query,
    )
    assert changed.rows_affected == 4
    assert session.sql("SELECT hits FROM seen WHERE id = 17").to_pylist() == [{"hits": 1}]


def test_unique_columns_are_kept_unique(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE u (id INT PRIMARY KEY, mail VARCHAR UNIQUE)")
    session.sql("INSERT INTO u VALUES (1, 'a'), (2, NULL), (3, NULL)")
    with pytest.raises(errors.ConstraintError, match="mail = 'a'"):
        session.sql("INSERT INTO u VALUES (4, 'a')")
    session.sql("INSERT INTO u VALUES (5, 'a') ON CONFLICT (mail) DO UPDATE SET id = 50")
    assert session.sql("SELECT id FROM u WHERE mail = 'a'").to_pylist() == [{"id": 50}]


@pytest.mark.slow
def test_transactions_commit_or_roll_back_together(session: affidavit.Session, lake) -> None:
    session.sql("CREATE TABLE a (n INT)")
    session.sql("CREATE TABLE b (n INT)")
    with session.transaction():
        session.sql("INSERT INTO a VALUES (1)")
        session.table("b").insert([{"n": 2}])
        assert session.sql("SELECT n FROM a").to_pylist() == [{"n": 1}]
        with affidavit.connect(lake) as other:
            assert other.table("a").count() == 0
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.sql("INSERT INTO a VALUES (3)")
        session.sql("DROP TABLE b")
        raise ZeroDivisionError
    assert session.table("a").count() == session.table("b").count() == 1
    session.sql("BEGIN")
    session.sql("DELETE FROM a")
    session.sql("CREATE TABLE c (n INT NOT NULL)")
    with pytest.raises(errors.ConstraintError):
        session.sql("INSERT INTO c VALUES (1), (NULL)")
    assert session.table("c").count() == 0
    assert session.sql("SELECT count(*) AS n FROM a").to_pylist() == [{"n": 0}]
    session.sql("ROLLBACK")
    assert session.table("a").count() == 1


def test_transactions_do_not_nest_and_must_begin(session: affidavit.Session) -> None:
    with pytest.raises(errors.TransactionError, match="without a transaction"):
        session.sql("COMMIT")
    session.sql("BEGIN")
    with pytest.raises(errors.TransactionError, match="open already"):
        session.sql("START TRANSACTION")
    with pytest.raises(errors.TransactionError, match="vector table"):
        session.create_vector_table("v", [{"id": 1, "vector": [1.0]}])
    session.sql("ROLLBACK")


def test_prepared_statements_read_the_tables_as_they_are(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE p (n INT) AS VALUES (1), (2)")
    session.sql("PREPARE q(INT) AS SELECT count(*) AS c FROM p WHERE n >= $1")
    session.sql("PREPARE add_(INT) AS INSERT INTO p VALUES ($1)")
    assert session.sql("EXECUTE q(1)").to_pylist() == [{"c": 2}]
    assert session.sql("EXECUTE add_(7)").rows_affected == 1
    assert session.sql("EXECUTE q(1)").to_pylist() == [{"c": 3}]
    session.sql("DEALLOCATE q")
    with pytest.raises(errors.SqlError, match="no prepared statement 'q'"):
        session.sql("EXECUTE q(1)")


def test_begin_outlives_the_async_task_that_said_it(session: affidavit.Session) -> None:
    """A transaction that BEGIN opened used to be lost with its task, its lock held for good."""
    import asyncio

    session.sql("CREATE TABLE t (a INT)")

    async def begin() -> None:
        session.sql("BEGIN")

    async def work() -> None:
        await asyncio.create_task(begin())
        session.sql("INSERT INTO t VALUES (1)")
        with pytest.raises(errors.TransactionError, match="open already"):
            session.sql("BEGIN")
        session.sql("ROLLBACK")

    asyncio.run(work())
    assert session.table("t").count() == 0


def test_p14_another_thread_is_part_of_its_sessions_transaction_alone(
    session: affidavit.Session,
) -> None:
    """It used to be the thread's, and so whoever's ran there next."""
    import asyncio

    session.sql("CREATE TABLE t (a INT)")

    async def work() -> tuple[int, int]:
        with session.transaction(), session.scope() as other:
            session.sql("INSERT INTO t VALUES (1)")
            inside = await asyncio.to_thread(lambda: session.table("t").count())
            return inside, await asyncio.to_thread(lambda: other.table("t").count())

    assert asyncio.run(work()) == (1, 0)
    assert session.table("t").count() == 1


def test_closing_rolls_back_what_nobody_ended(lake) -> None:
    session = affidavit.connect(lake)
    session.sql("CREATE TABLE t (a INT)")
    session.sql("BEGIN")
    session.sql("INSERT INTO t VALUES (1)")
    session.close()
    with affidavit.connect(lake) as again:
        assert again.table("t").count() == 0


def test_null_conflicts_with_nothing(session) -> None:
    session.sql("CREATE TABLE loose (k INT UNIQUE, n INT)")
    insert = "INSERT INTO loose VALUES (NULL, 1), (NULL, 2), (1, 3)"
    assert session.sql(f"{insert}, (1, 4) ON CONFLICT (k) DO NOTHING").rows_affected == 3
    assert session.sql(f"{insert} ON CONFLICT (k) DO UPDATE SET n = 9").rows_affected == 3
    found = session.sql("SELECT k, n FROM loose ORDER BY k, n").to_pylist()
    assert [tuple(row.values()) for row in found] == [(1, 9), *[(None, n) for n in (1, 1, 2, 2)]]


def test_on_conflict_do_nothing_is_about_every_unique_key(session) -> None:
    session.sql("CREATE TABLE keyed (id INT PRIMARY KEY, u INT UNIQUE)")
    insert = "INSERT INTO keyed VALUES (1, 1), (2, 1), (3, 2), (3, 3), (4, NULL), (5, NULL)"
    found = session.sql(f"{insert} ON CONFLICT DO NOTHING RETURNING id").to_pylist()
    assert [row["id"] for row in found] == [1, 3, 4, 5]
    assert session.sql("INSERT OR IGNORE INTO keyed VALUES (9, 1), (8, 9)").rows_affected == 1
    session.sql("CREATE TABLE keyless (a INT)")
    again = "INSERT INTO keyless VALUES (1), (1) ON CONFLICT DO NOTHING"
    assert session.sql(again).rows_affected == 2


def test_merge_gives_new_rows_their_defaults(session) -> None:
    session.sql("CREATE TABLE given (id INT PRIMARY KEY, n INT DEFAULT 5, m INT DEFAULT 2 + 1)")
    merge = "MERGE INTO given USING (VALUES (1)) v(k) ON given.id = v.k"
    session.sql(f"{merge} WHEN NOT MATCHED THEN INSERT (id, m) VALUES (v.k, 9)")
    assert session.sql("SELECT * FROM given").to_pylist() == [{"id": 1, "n": 5, "m": 9}]
    session.sql(f"{merge} WHEN MATCHED THEN UPDATE SET n = 7, m = DEFAULT")
    assert session.sql("SELECT * FROM given").to_pylist() == [{"id": 1, "n": 7, "m": 3}]


def test_p6_an_identity_that_was_a_rows_is_given_to_no_other(session) -> None:
    """The newest row was deleted, and the next one had its name: their events were one row's."""
    session.sql("CREATE TABLE named (a INT)")
    session.sql("INSERT INTO named VALUES (1), (2)")
    session.sql("DELETE FROM named WHERE a = 2")
    session.sql("INSERT INTO named VALUES (3)")
    session.sql("TRUNCATE named")
    session.table("named").insert([{"a": 4}])
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.sql("INSERT INTO named VALUES (5)")
        raise ZeroDivisionError
    session.sql("INSERT INTO named VALUES (6), (7)")
    made = session.sql(
        "SELECT entity_id FROM journal WHERE entity_type = 'named' AND action = 'insert'"
    ).to_pylist()
    assert [each["entity_id"] for each in made] == [f"row:{at}" for at in (1, 2, 3, 4, 5, 6)]
