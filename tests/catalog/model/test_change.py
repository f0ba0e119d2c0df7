"""The seam: every mutation passes one place, once, with its images, and nothing on rollback."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.support.lakes import Recorder, vectors

import affidavit
from affidavit import errors


def images(change: affidavit.Change) -> tuple[object, object]:
    def shown(table: pa.Table | None) -> object:
        return (
            None if table is None else sorted(map(tuple, (r.values() for r in table.to_pylist())))
        )

    return shown(change.before), shown(change.after)


MUTATIONS = [
    ("INSERT INTO t VALUES (3, 'c')", [("insert", None, [(3, "c")])]),
    ("INSERT INTO t SELECT id + 5, v FROM t", [("insert", None, [(6, "a"), (7, "b")])]),
    ("UPDATE t SET v = 'z' WHERE id = 1", [("update", [(1, "a")], [(1, "z")])]),
    ("UPDATE t SET id = id + 1", [("update", [(1, "a"), (2, "b")], [(2, "a"), (3, "b")])]),
    ("DELETE FROM t WHERE id = 2", [("delete", [(2, "b")], None)]),
    ("TRUNCATE t", [("truncate", [(1, "a"), (2, "b")], None)]),
    (
        "INSERT INTO t VALUES (1, 'x'), (9, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
        [("update", [(1, "a")], [(1, "x")]), ("insert", None, [(9, "y")])],
    ),
    (
        "MERGE INTO t USING (SELECT 1 AS k UNION ALL SELECT 8) s ON t.id = s.k "
        "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.k, 'm')",
        [("delete", [(1, "a")], None), ("insert", None, [(8, "m")])],
    ),
    ("ALTER TABLE t ADD COLUMN w INT", [("alter", None, None)]),
    ("ALTER TABLE t RENAME COLUMN v TO u", [("alter", None, None)]),
    ("ALTER TABLE t RENAME TO u", [("alter", None, None)]),
    ("CREATE INDEX i ON t (v)", [("index", None, None)]),
    ("DROP TABLE t", [("drop", None, None)]),
    (
        "CREATE TABLE n AS SELECT * FROM t",
        [("create", None, None), ("insert", None, [(1, "a"), (2, "b")])],
    ),
    ("CREATE VIEW n AS SELECT 1 AS one", [("create", None, None)]),
    ("INSERT INTO t SELECT * FROM t WHERE false", []),
    ("DELETE FROM t WHERE false", []),
    ("UPDATE t SET v = 'z' WHERE false", []),
    ("SELECT * FROM t", []),
    ("EXPLAIN DELETE FROM t", []),
]


@pytest.fixture
def table(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR) AS VALUES (1, 'a'), (2, 'b')")


@pytest.mark.parametrize(("text", "expected"), MUTATIONS)
def test_every_mutation_of_a_mutable_table_is_seen_once(
    session, table, recorder: Recorder, text: str, expected: list
) -> None:
    session.sql(text)
    assert [(c.action, *images(c)) for c in recorder.changes] == expected
    assert all(
        c.rows == max(len(b or ()), len(a or ()))
        for c, (_, b, a) in zip(recorder.changes, expected, strict=True)
        if b or a
    )


@pytest.mark.parametrize(("text", "expected"), [m for m in MUTATIONS if m[1]])
def test_nothing_is_kept_when_a_listener_refuses_or_a_transaction_rolls_back(
    session, table, recorder: Recorder, text: str, expected: list
) -> None:
    recorder.refuse = expected[-1][0]
    with pytest.raises(RuntimeError, match="today"):
        session.sql(text)
    recorder.refuse = None
    assert session.table("t").to_arrow().to_pylist() == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
    session.sql("BEGIN")
    session.sql(text)
    session.sql("ROLLBACK")
    assert session.table("t").to_arrow().to_pylist() == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
    assert [r["name"] for r in session.tables()] == ["t"]


def test_what_a_listener_writes_is_committed_with_the_change(session, lake) -> None:
    """The writer that a listener is given is the mutation's own transaction."""
    from affidavit.catalog.store.protocol import StoreColumn, StoreTable
    from affidavit.catalog.values.types import Kind

    log = StoreTable("log", (StoreColumn("what", Kind.TEXT),))
    catalog = session._catalog()
    with catalog.write() as writer:
        writer.create_table(log)

    class Log:
        def on_change(self, change, writer) -> None:
            writer.insert(log, ("what",), [(change.action,)])

    session.add_change_listener(Log())
    session.create_table("t", [{"a": 1}])
    with pytest.raises(errors.SchemaMismatchError):
        session.table("t").insert([{"a": "x"}])
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.sql("DELETE FROM t")
        raise ZeroDivisionError
    with catalog.read() as reader:
        assert reader.select(log, ("what",)) == [("create",), ("insert",)]


def test_every_mutation_of_a_vector_table_is_seen_once(session, recorder: Recorder) -> None:
    docs = session.create_vector_table("docs", vectors(20))
    steps = [
        (lambda: docs.insert(vectors(2, start=50)), ["insert"], 2),
        (lambda: docs.upsert(vectors(3)), ["update"], 3),
        (lambda: docs.upsert(vectors(2, start=19)), ["update", "insert"], 1),
        (lambda: docs.update({"bucket": 99}, "id = 1"), ["update"], 1),
        (lambda: docs.delete("id IN (1, 2)"), ["delete"], 2),
        (lambda: session.sql("DELETE FROM docs WHERE false"), [], 0),
        (lambda: docs.tag("t"), ["tag"], 0),
        (lambda: docs.create_index("vector", "IVF_FLAT"), ["index"], 0),
        (lambda: docs.optimize(), ["optimize"], 0),
        (lambda: docs.restore("t"), ["restore"], 21),
        (lambda: session.sql("ALTER TABLE docs ADD COLUMN note VARCHAR DEFAULT 'n'"), ["alter"], 0),
        (lambda: session.sql("ALTER TABLE docs RENAME COLUMN note TO remark"), ["alter"], 0),
        (lambda: session.sql("ALTER TABLE docs DROP COLUMN remark"), ["alter"], 0),
        (lambda: session.sql("TRUNCATE docs"), ["delete"], 21),
        (lambda: session.drop_table("docs"), ["drop"], 0),
    ]
    assert recorder.actions == ["create", "insert"]
    for step, actions, rows in steps:
        recorder.changes.clear()
        step()
        assert recorder.actions == actions
        if actions and rows:
            assert recorder.changes[-1].rows == rows
        for change in recorder.changes:
            if change.action == "update":
                assert change.before["id"] == change.after["id"]
            if change.action in {"insert", "update", "delete"}:
                assert change.version_after == change.version_before + 1


@pytest.mark.parametrize(
    "action", ["insert", "update", "delete", "alter", "drop", "tag", "restore"]
)
def test_a_vector_table_is_unchanged_when_a_listener_refuses(
    session, docs, recorder, lake, action
) -> None:
    before, files = docs.to_arrow(), sorted(lake.rglob("*.lance"))
    recorder.refuse = action
    steps = {
        "insert": lambda: docs.insert(vectors(1, start=900)),
        "update": lambda: docs.update({"bucket": 1}, "id = 5"),
        "delete": lambda: docs.delete("id = 5"),
        "alter": lambda: session.sql("ALTER TABLE docs DROP COLUMN bucket"),
        "drop": lambda: session.drop_table("docs"),
        "tag": lambda: docs.tag("x"),
        "restore": lambda: docs.restore(1),
    }
    with pytest.raises(RuntimeError, match="today"):
        steps[action]()
    assert docs.to_arrow() == before
    assert docs.version == 1
    assert docs.tags() == {}
    assert sorted(lake.rglob("*.lance")) == files


def test_a_create_that_a_listener_refuses_leaves_nothing(session, recorder, lake) -> None:
    for action in ("create", "insert"):
        recorder.refuse = action
        with pytest.raises(RuntimeError):
            session.create_vector_table("v", vectors(3))
        with pytest.raises(RuntimeError):
            session.create_table("m", [{"a": 1}])
    recorder.refuse = None
    assert session.tables().num_rows == 0
    assert not list((lake / "vectors").rglob("*.lance"))
    session.create_vector_table("v", vectors(3))
