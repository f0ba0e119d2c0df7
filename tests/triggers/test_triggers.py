"""P6, P7: a trigger's event exists exactly when its change does, and says what changed."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.engine.audit.appender import Appender
from affidavit.triggers.subscriptions import runners

if TYPE_CHECKING:
    from collections.abc import Callable

BIG = "new.total > 100 AND (old.total <= 100 OR old.total IS NULL)"


@pytest.fixture
def orders(session):
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY, total DOUBLE, who VARCHAR)")
    return session.table("orders")


def sent(session: affidavit.Session, topic: str) -> list[dict]:
    """Return the rows of every event of a topic."""
    return [row for delivery in session.topics.replay(topic) for row in delivery.data.to_pylist()]


def images(session: affidavit.Session, topic: str) -> list[tuple]:
    return [(row["action"], row["old"], row["new"]) for row in sent(session, topic)]


def eventually(check: Callable[[], object], *, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


# --- change triggers ------------------------------------------------------------------------------


def test_p6_an_event_says_what_changed_and_who_changed_it(session, orders) -> None:
    session.triggers.on("orders", ["insert", "update"], where=BIG, publish="big-orders")
    session.sql("INSERT INTO orders VALUES (1, 50, 'a'), (2, 500, 'b')")
    with session.scope(actor="maria") as scoped:
        scoped.sql("UPDATE orders SET total = 150 WHERE id = 1")
    session.sql("UPDATE orders SET total = 151 WHERE id = 1")
    first, second = sent(session, "big-orders")
    assert first["old"] is None
    assert first["new"] == {"id": 2, "total": 500.0, "who": "b"}
    assert (first["action"], first["table_name"], first["actor"]) == ("insert", "orders", "tester")
    assert second["old"] == {"id": 1, "total": 50.0, "who": "a"}
    assert second["new"] == {"id": 1, "total": 150.0, "who": "a"}
    assert (second["action"], second["actor"]) == ("update", "maria")


def test_p6_the_id_of_an_event_is_its_change_in_the_journal_and_the_trigger(
    session, orders
) -> None:
    made = session.triggers.on("orders", "insert", publish="new-orders", name="watch")
    session.sql("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b')")
    session.sql("INSERT INTO orders VALUES (3, 3, 'c')")
    journal = (
        session.sql("SELECT seq FROM journal WHERE action = 'insert' ORDER BY seq")
        .to_arrow()
        .to_pydict()
    )
    found = [(row["seq"], row["event_id"]) for row in sent(session, "new-orders")]
    one, _, three = journal["seq"]
    assert found == [(one, f"{one}-{made.name}")] * 2 + [(three, f"{three}-{made.name}")]
    assert [each.offset for each in session.topics.replay("new-orders")] == [0, 1]


def test_p6_what_is_rolled_back_sends_nothing(session, orders) -> None:
    session.triggers.on("orders", ["insert", "delete"], publish="seen")
    with pytest.raises(KeyError), session.transaction():
        session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
        assert len(sent(session, "seen")) == 1, "the transaction sees its own"
        raise KeyError
    with pytest.raises(errors.ConstraintError):
        session.sql("INSERT INTO orders VALUES (1, 1, 'a'), (1, 2, 'b')")
    assert sent(session, "seen") == []
    with session.transaction():
        session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
        with pytest.raises(errors.ConstraintError):
            session.sql("INSERT INTO orders VALUES (1, 2, 'b')")
        session.sql("DELETE FROM orders")
    assert [(row["action"], row["seq"] is not None) for row in sent(session, "seen")] == [
        ("insert", True),
        ("delete", True),
    ]
    assert [each.offset for each in session.topics.replay("seen")] == [0, 1]


def test_p8_nobody_sees_an_event_before_the_change_is_committed(session, orders) -> None:
    session.triggers.on("orders", "insert", publish="seen")
    with session.topics.subscribe("seen") as live:
        with session.transaction():
            session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
            other: list[object] = []
            thread = threading.Thread(target=lambda: other.append(live.next(0.05)))
            thread.start()
            thread.join()
            assert other == [None]
        delivery = live.next(10)
    assert delivery is not None
    assert delivery.data["new"].to_pylist() == [{"id": 1, "total": 1.0, "who": "a"}]


def test_every_way_to_change_rows_is_seen(session, orders) -> None:
    session.triggers.on("orders", ["insert", "update", "delete"], publish="seen")
    orders.insert({"id": 1, "total": 1.0, "who": "a"})
    orders.upsert([{"id": 1, "total": 2.0, "who": "a"}, {"id": 2, "total": 2.0, "who": "b"}])
    orders.update({"who": "c"}, "id = 2")
    session.attach("s", pa.table({"id": [2, 3], "total": [9.0, 3.0]}))
    session.sql(
        "MERGE INTO orders USING s ON orders.id = s.id "
        "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, total) VALUES (s.id, s.total)"
    )
    session.sql("INSERT INTO orders SELECT id + 10, total, who FROM orders WHERE id = 1")
    session.sql("TRUNCATE TABLE orders")

    def row(key: int, total: float, who: str | None) -> dict:
        return {"id": key, "total": total, "who": who}

    found = images(session, "seen")
    assert found[0] == ("insert", None, row(1, 1.0, "a"))
    assert sorted(found[1:3], key=lambda each: each[0]) == [
        ("insert", None, row(2, 2.0, "b")),
        ("update", row(1, 1.0, "a"), row(1, 2.0, "a")),
    ]
    assert found[3] == ("update", row(2, 2.0, "b"), row(2, 2.0, "c"))
    assert sorted(found[4:6], key=lambda each: each[0]) == [
        ("delete", row(2, 2.0, "c"), None),
        ("insert", None, row(3, 3.0, None)),
    ]
    assert found[6] == ("insert", None, row(11, 2.0, "a"))
    assert sorted(each[1]["id"] for each in found[7:]) == [1, 3, 11]
    assert {each[0] for each in found[7:]} == {"delete"}


def test_p7_vector_tables_have_triggers_too(session, docs) -> None:
    session.triggers.on(
        "docs",
        ["insert", "update", "delete"],
        where="coalesce(bucket, old.bucket) < 2",
        publish="seen",
    )
    docs.insert(vectors(10, start=1000).to_reader(max_chunksize=3))
    docs.upsert(vectors(1, start=1000, seed=8))
    session.sql("UPDATE docs SET bucket = 1 WHERE id = 1005")
    session.sql("DELETE FROM docs WHERE id >= 1000")
    found = [
        (row["action"], (row["new"] or row["old"])["id"], row["seq"])
        for delivery in session.topics.replay("seen")
        for row in sorted(
            delivery.data.to_pylist(), key=lambda row: (row["new"] or row["old"])["id"]
        )
    ]
    seqs = (
        session.sql("SELECT seq FROM journal WHERE entity_type = 'docs' ORDER BY seq DESC LIMIT 4")
        .to_arrow()
        .to_pydict()["seq"][::-1]
    )
    assert [each[:2] for each in found] == [
        ("insert", 1000), ("insert", 1001), ("update", 1000), ("update", 1005),
        ("delete", 1000), ("delete", 1001), ("delete", 1005),
    ]  # fmt: skip
    assert [each[2] for each in found] == [
        seqs[0], seqs[0], seqs[1], seqs[2], seqs[3], seqs[3], seqs[3],
    ]  # fmt: skip
    assert [each.offset for each in session.topics.replay("seen")] == [0, 1, 2, 3]


def test_p7_a_refused_change_of_a_vector_table_sends_nothing(session, docs) -> None:
    session.triggers.on("docs", "insert", publish="seen")
    with pytest.raises(errors.ConstraintError):
        docs.insert(vectors(5))
    assert sent(session, "seen") == []
    docs.insert(vectors(1, start=900))
    assert len(sent(session, "seen")) == 1


def test_a_predicate_that_fails_stops_the_change_and_names_the_trigger(session, orders) -> None:
    session.triggers.on(
        "orders", "insert", where="10 / CAST(total AS INT) > 1", publish="seen", name="bad"
    )
    session.sql("INSERT INTO orders VALUES (1, 5, 'a')")
    with pytest.raises(errors.ExecutionError, match="trigger 'bad'"):
        session.sql("INSERT INTO orders VALUES (2, 0, 'b')")
    assert orders.count() == 1
    assert len(sent(session, "seen")) == 1


def test_without_a_journal_events_have_no_number(lake) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.create_vector_table("docs", vectors(3))
        session.triggers.on("t", "insert", publish="seen")
        session.triggers.on("docs", "insert", publish="seen-docs")
        session.sql("INSERT INTO t VALUES (1)")
        session.table("docs").insert(vectors(1, start=9))
        assert [row["event_id"] for row in sent(session, "seen")] == [None]
        assert [row["new"]["id"] for row in sent(session, "seen-docs")] == [9]
        assert session.ledger.size == 0


_rows = st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(-2, 2)))
_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"), st.lists(_rows, min_size=1, max_size=3, unique_by=lambda r: r[0])
        ),
        st.tuples(st.just("delete"), st.integers(0, 4)),
        st.tuples(st.just("add"), st.integers(0, 4)),
        st.tuples(st.just("rollback"), st.integers(0, 4)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(steps=_steps)
def test_p6_a_table_can_be_made_again_from_its_events(tmp_path_factory, steps) -> None:
    with affidavit.connect(tmp_path_factory.mktemp("lake"), durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")
        session.triggers.on("t", ["insert", "update", "delete"], publish="all")
        session.triggers.on("t", ["insert", "update"], where="n > 0", publish="positive")
        table = session.table("t")
        for kind, what in steps:
            if kind == "upsert":
                table.upsert([{"id": key, "n": n} for key, n in what])
            elif kind == "delete":
                session.sql("DELETE FROM t WHERE id = $id", id=what)
            elif kind == "add":
                session.sql("UPDATE t SET n = n + 1 WHERE id >= $id", id=what)
            else:
                session.sql("BEGIN")
                session.sql("DELETE FROM t WHERE id <> $id", id=what)
                session.sql("ROLLBACK")
        made: dict[int, int | None] = {}
        positive = []
        for _, old, new in images(session, "all"):
            if old is not None:
                assert made.pop(old["id"]) == old["n"]
            if new is not None:
                assert new["id"] not in made
                made[new["id"]] = new["n"]
                positive += [new] if (new["n"] or 0) > 0 else []
        assert made == {row["id"]: row["n"] for row in table.to_arrow().to_pylist()}
        assert [new for _, _, new in images(session, "positive")] == positive
        assert session.ledger.verify()


# --- making and dropping them ---------------------------------------------------------------------


def test_the_same_trigger_again_does_nothing(session, orders) -> None:
    first = session.triggers.on("orders", "insert", publish="seen")
    assert session.triggers.on("orders", ["INSERT"], publish="seen") == first
    assert session.triggers.list() == [first]
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    assert len(sent(session, "seen")) == 1


def test_p12_another_trigger_of_the_name_is_refused(session, orders) -> None:
    session.triggers.on("orders", "insert", publish="seen", name="one")
    with pytest.raises(errors.TriggerExistsError, match="'one'"):
        session.triggers.on("orders", "delete", publish="seen", name="one")
    with pytest.raises(errors.TriggerExistsError):
        session.sql("CREATE TRIGGER one AFTER DELETE ON orders PUBLISH 'seen'")
    session.sql("CREATE TRIGGER IF NOT EXISTS one AFTER DELETE ON orders PUBLISH 'seen'")
    assert session.triggers.list()[0].actions == ("insert",)
    session.sql("CREATE OR REPLACE TRIGGER one AFTER DELETE ON orders PUBLISH 'seen'")
    assert session.triggers.list()[0].actions == ("delete",)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"action": "select", "publish": "x"}, errors.InvalidTriggerError, "'select'"),
        ({"action": [], "publish": "x"}, errors.InvalidTriggerError, "insert"),
        ({"action": 7, "publish": "x"}, errors.InvalidTriggerError, "7"),
        ({"action": "insert"}, errors.InvalidTriggerError, "one of publish"),
        ({"action": "insert", "publish": "x", "call": print}, errors.InvalidTriggerError, "one of"),
        ({"action": "insert", "call": "print"}, errors.InvalidTriggerError, "function"),
        ({"action": "insert", "publish": "affidavit.x"}, errors.ReservedNameError, "affidavit.x"),
        ({"action": "insert", "publish": "a/b"}, errors.InvalidNameError, "a/b"),
        ({"action": "insert", "publish": "x", "name": "a.b"}, errors.InvalidNameError, "a.b"),
        ({"action": "insert", "publish": "x", "where": "nope > 1"}, errors.UnsupportedPredicateError, "nope"),
        ({"action": "insert", "publish": "x", "where": "new.nope > 1"}, errors.UnsupportedPredicateError, "nope"),
        ({"action": "insert", "publish": "x", "where": "total"}, errors.UnsupportedPredicateError, "boolean"),
        ({"action": "insert", "publish": "x", "where": "random() > total"}, errors.UnsupportedPredicateError, "random"),
        ({"action": "insert", "publish": "taken"}, errors.SchemaConflictError, "'taken'"),
    ],
    ids=range(14),
)  # fmt: skip
def test_p12_a_trigger_that_cannot_be_made_leaves_nothing(
    session, orders, arguments, error, words
) -> None:
    session.topics.register("taken", pa.schema([("n", pa.int64())]))
    before = session.topics.list()
    with pytest.raises(error, match=words):
        session.triggers.on("orders", **arguments)
    assert session.triggers.list() == []
    assert session.topics.list() == before


def test_p12_triggers_are_on_tables_that_are_written_here(session, orders, tmp_path) -> None:
    session.sql("CREATE VIEW v AS SELECT * FROM orders")
    session.attach("frame", pa.table({"a": [1]}))
    for table, error in (
        ("v", errors.InvalidTriggerError),
        ("nope", errors.TableNotFoundError),
        ("frame", errors.TableNotFoundError),
        ("journal", errors.TableNotFoundError),
        ("audit.searches", errors.TableNotFoundError),
    ):
        with pytest.raises(error):
            session.triggers.on(table, "insert", publish="x")
        with pytest.raises(errors.AffidavitError):
            session.sql(f"CREATE TRIGGER t AFTER INSERT ON {table} PUBLISH 'x'")
    assert session.topics.list() == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TRIGGER",
        "CREATE TRIGGER t",
        "CREATE TRIGGER t AFTER",
        "CREATE TRIGGER t AFTER SELECT ON orders PUBLISH 'x'",
        "CREATE TRIGGER t BEFORE INSERT ON orders PUBLISH 'x'",
        "CREATE TRIGGER t AFTER INSERT ON orders",
        "CREATE TRIGGER t AFTER INSERT ON orders PUBLISH x",
        "CREATE TRIGGER t AFTER INSERT ON orders WHEN total > 1 PUBLISH 'x'",
        "CREATE TRIGGER t AFTER INSERT ON orders WHEN (total > 1 PUBLISH 'x'",
        "CREATE TRIGGER t AFTER INSERT ON orders WHEN () PUBLISH 'x'",
        "CREATE TRIGGER t AFTER INSERT ON orders PUBLISH 'x' AND MORE",
        "DROP TRIGGER",
        "DROP TRIGGER t u",
        "DROP TRIGGER nope",
    ],
)
def test_p12_sql_that_is_no_trigger_is_refused(session, orders, text: str) -> None:
    with pytest.raises(errors.AffidavitError):
        session.sql(text)
    assert session.triggers.list() == []
    assert session.topics.list() == []


def test_triggers_are_made_and_dropped_in_sql(session, orders) -> None:
    session.sql(
        'CREATE TRIGGER "Big" AFTER INSERT OR UPDATE ON main.orders FOR EACH ROW '
        "WHEN (new.total > 100 AND who IN ('a', 'it''s)')) PUBLISH 'big.orders'"
    )
    session.sql("INSERT INTO orders VALUES (1, 200, 'it''s)'), (2, 200, 'z')")
    assert [row["new"]["id"] for row in sent(session, "big.orders")] == [1]
    (shown,) = session.sql("SELECT * FROM system.triggers").to_pylist()
    del shown["created_at"]
    assert shown == {
        "name": "Big", "kind": "change", "table_name": "orders", "actions": ["insert", "update"],
        "predicate": "new.total > 100 AND who IN ('a', 'it''s)')", "topic": "big.orders",
        "callback": False,
    }  # fmt: skip
    session.sql('DROP TRIGGER "Big"')
    session.sql('DROP TRIGGER IF EXISTS "Big"')
    with pytest.raises(errors.TriggerNotFoundError, match="Big"):
        session.triggers.drop("Big")
    session.sql("INSERT INTO orders VALUES (3, 300, 'a')")
    assert len(sent(session, "big.orders")) == 1, "what was published stays"
    told = session.sql("SELECT action FROM journal WHERE entity_type = 'trigger' ORDER BY seq")
    assert told.to_arrow().to_pydict() == {"action": ["create", "drop"]}


def test_a_trigger_is_kept_by_the_lake(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.triggers.on("t", "insert", where="id > 1", publish="seen")
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("INSERT INTO t VALUES (1), (2)")
        assert [row["new"]["id"] for row in sent(session, "seen")] == [2]


def test_a_column_that_a_trigger_publishes_stays(session, orders, docs) -> None:
    session.triggers.on("orders", "insert", where="total > 0", publish="seen", name="watch")
    session.triggers.on("docs", "insert", publish="seen-docs", name="watch-docs")
    with pytest.raises(errors.InvalidTriggerError, match="'watch'"):
        session.sql("ALTER TABLE orders DROP COLUMN total")
    with pytest.raises(errors.InvalidTriggerError, match="'watch'"):
        session.sql("ALTER TABLE orders RENAME COLUMN total TO sum")
    with pytest.raises(errors.InvalidTriggerError, match="'watch-docs'"):
        session.sql("ALTER TABLE docs DROP COLUMN bucket")
    session.sql("ALTER TABLE orders ADD COLUMN note VARCHAR")
    session.sql("ALTER TABLE orders RENAME TO requests")
    session.sql("INSERT INTO requests VALUES (1, 2, 'a', 'b')")
    docs.insert(vectors(1, start=700))
    (row,) = sent(session, "seen")
    assert row["new"] == {"id": 1, "total": 2.0, "who": "a"}
    assert row["table_name"] == "requests"
    assert len(sent(session, "seen-docs")) == 1
    assert session.table("docs").schema.names == ["id", "text", "bucket", "vector"]


def test_triggers_go_with_their_table(session, orders, docs) -> None:
    session.triggers.on("orders", "insert", publish="seen")
    session.triggers.near("close", "docs", np.ones(8), 0.1, "close")
    session.sql("BEGIN")
    session.drop_table("orders")
    session.sql("ROLLBACK")
    assert len(session.triggers.list()) == 2
    session.drop_table("orders")
    session.drop_table("docs")
    assert session.triggers.list() == []
    session.sql("CREATE TABLE orders (id BIGINT)")
    session.sql("INSERT INTO orders VALUES (1)")
    assert sent(session, "seen") == []


def test_a_topic_that_a_trigger_publishes_to_stays(session, orders) -> None:
    session.triggers.on("orders", "insert", publish="seen", name="watch")
    with pytest.raises(errors.InvalidTriggerError, match="'watch'"):
        session.topics.drop("seen")
    session.triggers.drop("watch")
    session.topics.drop("seen")


def test_p9_triggers_are_one_tenants(session, orders) -> None:
    with session.scope(tenant=None) as shared:
        shared.sql("CREATE TABLE rates (id BIGINT PRIMARY KEY)")
    with pytest.raises(errors.ReadOnlyError, match="shared"):
        session.triggers.on("rates", "insert", publish="seen")
    session.triggers.on("orders", "insert", publish="seen", name="watch")
    with session.scope(tenant="red") as red:
        with pytest.raises(errors.TableNotFoundError):
            red.triggers.on("orders", "insert", publish="seen")
        assert red.triggers.list() == []
        assert red.sql("SELECT * FROM system.triggers").to_pylist() == []
        with pytest.raises(errors.TriggerNotFoundError) as caught:
            red.triggers.drop("watch")
        assert "known" not in str(caught.value)
        assert "none" in str(caught.value)
        red.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")
        red.triggers.on("orders", "delete", publish="seen", name="watch")
        red.sql("INSERT INTO orders VALUES (1)")
        red.sql("DELETE FROM orders")
        assert [row["action"] for row in sent(red, "seen")] == ["delete"]
    assert sent(session, "seen") == []


def test_a_session_that_reads_makes_no_triggers(lake, session, orders) -> None:
    with (
        affidavit.connect(lake, read_only=True) as reading,
        pytest.raises(errors.ReadOnlyError),
    ):
        reading.triggers.on("orders", "insert", publish="seen")
    with pytest.raises(errors.ReadOnlyError):
        session.at(session.ledger.size - 1).triggers.on("orders", "insert", publish="seen")


# --- callbacks ------------------------------------------------------------------------------------


def test_a_function_is_called_after_the_commit(session, orders) -> None:
    seen: list[tuple] = []

    def note(delivery: affidavit.Delivery) -> None:
        seen.append((delivery.data["new"].to_pylist(), orders.count()))

    session.triggers.on("orders", "insert", call=note)
    with session.transaction():
        session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
        time.sleep(0.05)
        assert seen == []
    eventually(lambda: seen)
    assert seen == [([{"id": 1, "total": 1.0, "who": "a"}], 1)]


def test_a_function_that_raises_harms_nobody_and_is_called_again(session, orders, caplog) -> None:
    attempts: list[int] = []

    def fail(delivery: affidavit.Delivery) -> None:
        attempts.append(delivery.attempts)
        raise ValueError("not today")

    session.triggers.on("orders", "insert", call=fail, name="fails", max_deliveries=3)
    with caplog.at_level(logging.WARNING, "affidavit"):
        assert session.sql("INSERT INTO orders VALUES (1, 1, 'a')").rows_affected == 1
        eventually(lambda: any(topic.name == "dead.fails" for topic in session.topics.list()))
    assert attempts == [1, 2, 3]
    (letter,) = sent(session, "dead.fails")
    assert letter["dead_offset"] == 0
    assert letter["dead_attempts"] == 3
    assert letter["dead_reason"] == "ValueError: not today"
    assert letter["new"]["id"] == 1
    assert "not today" in caplog.text


def test_a_function_that_hangs_is_left_behind(session, orders) -> None:
    release = threading.Event()
    done: list[int] = []

    def slow(delivery: affidavit.Delivery) -> None:
        if delivery.attempts == 1 and delivery.offset == 0:
            release.wait(30)
        done.append(delivery.offset)

    session.triggers.on("orders", "insert", call=slow, timeout=0.1)
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    session.sql("INSERT INTO orders VALUES (2, 1, 'a')")
    eventually(lambda: sorted(done) == [0, 1])
    release.set()


def test_what_happened_while_nobody_called_is_brought_later(lake) -> None:
    seen: list[int] = []

    def note(delivery: affidavit.Delivery) -> None:
        seen.extend(row["id"] for row in delivery.data["new"].to_pylist())

    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.triggers.on("t", "insert", call=note, name="note")
        session.sql("INSERT INTO t VALUES (1)")
        eventually(lambda: seen == [1])
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("INSERT INTO t VALUES (2)")
        session.sql("INSERT INTO t VALUES (3)")
        session.triggers.on("t", "insert", call=note, name="note")
        eventually(lambda: seen == [1, 2, 3])
        session.triggers.drop("note")
        session.sql("INSERT INTO t VALUES (4)")
        assert session.topics.list() == []
    assert seen == [1, 2, 3]


# --- standing searches ----------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_a_standing_search_finds_what_a_search_finds(session, metric: str) -> None:
    table = session.create_vector_table("docs", vectors(3), metric=metric)
    query = vectors(1, seed=11)["vector"][0].as_py()
    rows = vectors(200, start=100, seed=12)
    within = {"cosine": 0.8, "l2": 12.0, "dot": 0.5}[metric]
    session.triggers.near("close", "docs", query, within, "alerts")
    table.insert(rows)
    wanted = [
        (row["id"], row["_distance"])
        for row in session.search("docs", query, k=203, exact=True).to_pylist()
        if row["_distance"] <= within and row["id"] >= 100
    ]
    found = [(row["new"]["id"], row["distance"]) for row in sent(session, "alerts")]
    assert 3 < len(wanted) < 200
    assert [key for key, _ in found] == [key for key, _ in wanted]
    np.testing.assert_allclose([d for _, d in found], [d for _, d in wanted], rtol=1e-4, atol=1e-5)


def test_a_standing_search_sees_changed_rows_and_no_deleted_ones(session, docs) -> None:
    query = np.eye(8, dtype=np.float32)[0]
    session.triggers.near("close", "docs", query, 0.01, "alerts")
    near = {"id": 5, "text": "x", "bucket": 1, "vector": (query * 3).tolist()}
    docs.upsert([near])
    docs.upsert([{**near, "vector": np.ones(8, np.float32).tolist()}])
    docs.delete("id = 5")
    (row,) = sent(session, "alerts")
    assert (row["action"], row["new"]["id"]) == ("update", 5)
    assert row["distance"] == pytest.approx(0, abs=1e-6)


def test_p2_what_a_standing_search_finds_is_on_record_and_replayable(session, docs) -> None:
    query = docs.to_arrow()["vector"][0].as_py()
    session.triggers.near("close", "docs", query, 0.3, "alerts")
    before = len(session.audit.recent(100))
    docs.insert(vectors(50, start=500, seed=3))
    assert len(session.audit.recent(100)) == before + (1 if sent(session, "alerts") else 0)
    docs.insert(vectors(1, start=900))
    record = session.audit.recent(1)[0]
    assert record.top_k_result_ids == ["900"]
    assert record.query_lineage == {"trigger": "close", "within": 0.3}
    assert record.table_version == docs.version
    assert record.exact
    assert session.audit.verify(record)
    assert (
        session.audit.replay(record.query_id, query=query).outcome is affidavit.Outcome.REPRODUCED
    )
    assert session.ledger.verify()


def test_p1_a_find_that_cannot_be_recorded_stops_the_change(session, docs, monkeypatch) -> None:
    query = docs.to_arrow()["vector"][0].as_py()
    session.triggers.near("close", "docs", query, 0.3, "alerts")
    rows = docs.count()

    def fail(*_: object, **__: object) -> None:
        raise errors.StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Appender, "append", fail)
        with pytest.raises(errors.StoreError, match="the disk is full"):
            docs.insert(vectors(1, start=900))
    assert docs.count() == rows
    assert sent(session, "alerts") == []
    docs.insert(vectors(1, start=900))
    assert len(sent(session, "alerts")) == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"query": np.ones(7)}, errors.InvalidQueryError, "8 finite"),
        ({"query": [float("nan")] * 8}, errors.InvalidQueryError, "finite"),
        ({"query": np.zeros(8)}, errors.InvalidQueryError, "direction"),
        ({"within": float("inf")}, errors.InvalidQueryError, "distance"),
        ({"within": "near"}, errors.InvalidQueryError, "'near'"),
        ({"metric": "manhattan"}, errors.InvalidQueryError, "manhattan"),
        ({"column": "nope"}, errors.ColumnNotFoundError, "nope"),
        ({"column": "text"}, errors.SchemaMismatchError, "text"),
        ({"table": "nope"}, errors.TableNotFoundError, "nope"),
        ({"table": "plain"}, errors.InvalidTriggerError, "plain"),
        ({"publish": "affidavit.x"}, errors.ReservedNameError, "affidavit.x"),
    ],
    ids=range(11),
)
def test_p12_a_standing_search_that_cannot_be_asked(session, docs, changes, error, words) -> None:
    session.sql("CREATE TABLE plain (id BIGINT)")
    arguments = {
        "table": "docs",
        "query": np.ones(8),
        "within": 0.1,
        "publish": "alerts",
        **changes,
    }
    with pytest.raises(error, match=words):
        session.triggers.near("close", **arguments)
    assert session.triggers.list() == []


# --- the audit topic ------------------------------------------------------------------------------

AUDIT = "affidavit.audit.searches"


def test_every_record_is_an_event_that_a_stranger_can_check(session, docs) -> None:
    query = np.ones(8, np.float32)
    one = session.search("docs", query, k=3)
    many = session.search_batch("docs", [query, query * 2], k=2)
    session.sql("SELECT * FROM vector_search('docs', $q, 2)", q=query.tolist()).to_arrow()
    events = list(session.topics.replay(AUDIT))
    assert [each.data.num_rows for each in events] == [1, 2, 1]
    rows = sent(session, AUDIT)
    assert [row["query_id"] for row in rows][:3] == [each.query_id for each in (one, *many)]
    assert [row["k_requested"] for row in rows] == [3, 2, 2, 2]
    for row in rows:
        record = session.audit.get(row["query_id"])
        assert record.signature == row["signature"]
        assert json.loads(row["record"])["seq"] == row["seq"] == record.seq


def test_p1_without_the_event_there_is_no_record_and_no_rows(session, docs, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.StoreError("the disk is full")

    before = session.ledger.size
    with monkeypatch.context() as patched:
        patched.setattr("affidavit.engine.audit.topic.AuditTopics.publish", fail)
        with pytest.raises(errors.StoreError):
            session.search("docs", np.ones(8), k=3)
    assert session.ledger.size == before
    session.search("docs", np.ones(8), k=3)
    assert len(sent(session, AUDIT)) == 1


def test_the_audit_topic_is_live_filtered_and_its_own_tenants(session, docs) -> None:
    session.search("docs", np.ones(8), k=1)
    with session.topics.subscribe(AUDIT, where="k_requested > 2") as live:
        session.search("docs", np.ones(8), k=2)
        session.search("docs", np.ones(8), k=3)
        delivery = live.next(10)
    assert delivery is not None
    assert delivery.data["k_returned"].to_pylist() == [3]
    with session.scope(tenant="red") as red, pytest.raises(errors.TopicNotFoundError):
        list(red.topics.replay(AUDIT))


def test_nobody_else_publishes_to_affidavits_own_topics(session, docs) -> None:
    session.search("docs", np.ones(8), k=1)
    row = sent(session, AUDIT)[0]
    for attempt in (
        lambda: session.topics.publish(AUDIT, row),
        lambda: session.topics.publish("Affidavit.x", {"a": 1}),
        lambda: session.topics.drop(AUDIT),
        lambda: session.topics.register("affidavit.mine", pa.schema([("a", pa.int64())])),
        lambda: session.topics.register("affidavit", pa.schema([("a", pa.int64())])),
        lambda: session.sql(f'DELETE FROM topics."{AUDIT}"'),
        lambda: session.sql(f'UPDATE topics."{AUDIT}" SET seq = 1'),
        lambda: session.sql(f'INSERT INTO topics."{AUDIT}" (seq) VALUES (1)'),
        lambda: session.sql(f'DROP TABLE topics."{AUDIT}"'),
        lambda: session.sql("CREATE TABLE topics.mine (a BIGINT)"),
        lambda: session.topics.subscribe(AUDIT, consumer="c", dead_letter="affidavit.dead"),
    ):
        with pytest.raises(errors.ReservedNameError):
            attempt()
    assert [each["seq"] for each in sent(session, AUDIT)] == [row["seq"]]


# --- what a review found --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{"max_deliveries": 0}, {"timeout": 0}, {"timeout": float("nan")}, {"timeout": "x"}],
    ids=range(4),
)
def test_p12_a_callback_with_settings_that_make_no_sense_leaves_nothing(
    session, orders, given
) -> None:
    with pytest.raises(errors.InvalidQueryError, match=next(iter(given))):
        session.triggers.on("orders", "insert", call=print, **given)
    assert session.triggers.list() == []
    with session.transaction(), pytest.raises(errors.TransactionError):
        session.triggers.on("orders", "insert", call=print)
    assert session.triggers.list() == []


def test_a_function_can_be_brought_again_with_other_settings_and_to_a_renamed_table(
    session, orders
) -> None:
    first, second = [], []
    session.triggers.on("orders", "insert", call=lambda d: first.append(d.offset), name="note")
    session.sql("ALTER TABLE orders RENAME TO requests")
    session.triggers.on(
        "requests", "insert", call=lambda d: second.append(d.offset), name="note", timeout=5
    )
    session.sql("INSERT INTO requests VALUES (1, 1, 'a')")
    eventually(lambda: second == [0])
    assert first == []
    assert session.triggers.list()[0].table == "requests"


def test_an_update_that_changes_nothing_sends_nothing(session, orders) -> None:
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    session.triggers.on("orders", "update", publish="seen")
    session.sql("UPDATE orders SET who = 'a'")
    assert sent(session, "seen") == []
    session.sql("UPDATE orders SET who = 'b'")
    assert len(sent(session, "seen")) == 1


def test_what_is_too_large_for_one_event_is_published_in_parts(session, monkeypatch) -> None:
    monkeypatch.setattr("affidavit.triggers.rules.outbox.EVENT_BYTES", 4096)
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, body VARCHAR)")
    session.triggers.on("t", "insert", publish="seen", name="w")
    session.table("t").insert([{"id": at, "body": "x" * 100} for at in range(200)])
    assert [row["new"]["id"] for row in sent(session, "seen")] == list(range(200))
    ids = [delivery.data["event_id"][0].as_py() for delivery in session.topics.replay("seen")]
    seq = int(ids[0].split("-")[0])
    assert len(ids) > 3
    assert ids == [f"{seq}-w", *(f"{seq}-w-{part}" for part in range(1, len(ids)))]


def test_p12_a_text_is_no_vector(session, docs) -> None:
    with pytest.raises(errors.InvalidQueryError, match="vector"):
        session.triggers.near("close", "docs", "words", 0.1, "alerts")


def test_p6_a_late_acknowledgement_in_a_transaction_is_refused(session, orders) -> None:
    session.topics.register("work", pa.schema([("n", pa.int64())]))
    session.topics.publish("work", {"n": 1})
    with (
        session.topics.subscribe("work", consumer="c", ack_wait=0.05) as slow,
        session.topics.subscribe("work", consumer="c") as other,
    ):
        late = slow.next(10)
        again = other.next(10)
        assert late is not None
        assert again is not None
        with pytest.raises(errors.LeaseLostError), session.transaction():
            session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
            late.ack()
        with session.transaction():
            session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
            again.ack()
    assert orders.count() == 1


def test_what_a_function_has_taken_is_let_go(session, orders, monkeypatch) -> None:
    monkeypatch.setattr("affidavit.triggers.subscriptions.callbacks.TIDY_EVENTS", 4)
    taken: list[int] = []
    session.triggers.on("orders", "insert", call=lambda d: taken.append(d.offset), name="note")
    for at in range(10):
        session.sql("INSERT INTO orders VALUES ($id, 1, 'a')", id=at)
    eventually(lambda: len(taken) == 10)
    text = "SELECT first_offset FROM system.topics WHERE name = 'affidavit.triggers.note'"
    eventually(
        lambda: session.sql(text).to_pylist()[0]["first_offset"] in {7, 8}
    )  # the newest stays
    session.sql("INSERT INTO orders VALUES (99, 1, 'a')")
    eventually(lambda: taken == list(range(11)))


def test_a_topics_retention_can_be_changed(session, orders) -> None:
    session.triggers.on("orders", "insert", publish="seen")
    for at in range(5):
        session.sql("INSERT INTO orders VALUES ($id, 1, 'a')", id=at)
    session.topics.retain("seen", retain_events=2)
    assert [delivery.offset for delivery in session.topics.replay("seen", from_offset=3)] == [3, 4]
    with pytest.raises(errors.OffsetEvictedError):
        list(session.topics.replay("seen"))
    session.sql("INSERT INTO orders VALUES (9, 1, 'a')")
    assert session.topics.subscribe("seen", from_offset="beginning").next(5).offset == 4
    session.topics.retain("seen")
    session.sql("INSERT INTO orders VALUES (10, 1, 'a')")
    assert session.topics.subscribe("seen", from_offset="beginning").next(5).offset == 4
    with pytest.raises(errors.ReservedNameError):
        session.topics.retain("affidavit.audit.searches", retain_events=1)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"timeout": 6e8}, "timeout"),
        ({"name": "x" * 125}, "dead.x"),
        ({"name": "taken"}, "dead.taken"),
    ],
    ids=["timeout", "long-name", "dead-letters"],
)
def test_p12_a_callback_whose_consumer_cannot_be_made_leaves_no_trigger(
    session, orders, given, named
) -> None:
    """The trigger was committed first, and went on filling a topic that nobody read."""
    session.topics.register("dead.taken", pa.schema([("a", pa.int64())]))
    with pytest.raises(errors.AffidavitError, match=named):
        session.triggers.on("orders", "insert", call=print, **given)
    assert session.triggers.list() == []
    assert [topic.name for topic in session.topics.list()] == ["dead.taken"]


def test_a_function_is_called_again_once_the_store_is_free(lake, caplog) -> None:
    """A writer that held the store for longer than busy_timeout_s ended the callback for good."""
    seen: list[int] = []
    held = threading.Event()

    def note(delivery: affidavit.Delivery) -> None:
        held.wait()
        seen.append(delivery.offset)

    with (
        affidavit.connect(lake, busy_timeout_s=0.05, audit="searches") as session,
        affidavit.connect(lake) as other,
    ):
        other.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")
        session.triggers.on("orders", "insert", call=note, name="note")
        other.sql("INSERT INTO orders VALUES (1)")
        eventually(lambda: "affidavit-call-note" in {t.name for t in threading.enumerate()})
        with caplog.at_level(logging.WARNING, "affidavit"), other.transaction():
            other.sql("INSERT INTO orders VALUES (2)")
            held.set()
            eventually(lambda: "waits" in caplog.text)
        eventually(lambda: seen == [0, 1])


def test_a_drop_that_is_rolled_back_ends_no_callback(session, orders) -> None:
    seen: list[int] = []
    session.triggers.on("orders", "insert", call=lambda d: seen.append(d.offset), name="note")
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.triggers.drop("note")
        _ = 1 / 0
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    eventually(lambda: seen == [0])
    with session.transaction():
        session.triggers.drop("note")
    eventually(lambda: "affidavit-trigger-note" not in {t.name for t in threading.enumerate()})


def test_a_function_may_drop_its_trigger_and_close_the_session(lake) -> None:
    """Each waited for the call that it was made in."""
    done = threading.Event()
    took: list[float] = []
    session = affidavit.connect(lake)
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")

    def end(_: affidavit.Delivery) -> None:
        began = time.monotonic()
        session.triggers.drop("note")
        session.close()
        took.append(time.monotonic() - began)
        done.set()

    session.triggers.on("orders", "insert", call=end, name="note")
    session.sql("INSERT INTO orders VALUES (1)")
    assert done.wait(20)
    assert took[0] < runners.STOPPING_S


def test_closing_waits_once_for_all_calls(lake) -> None:
    """Every call that hung held up the end of the session by itself."""
    going, called = threading.Event(), threading.Semaphore(0)
    session = affidavit.connect(lake)
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")

    def hang(_: affidavit.Delivery) -> None:
        called.release()
        going.wait()

    for at in range(4):
        session.triggers.on("orders", "insert", call=hang, name=f"note{at}")
    session.sql("INSERT INTO orders VALUES (1)")
    for _ in range(4):
        assert called.acquire(timeout=20)
    began = time.monotonic()
    session.close()
    going.set()
    assert time.monotonic() - began < 2 * runners.STOPPING_S


def test_closing_while_another_writes_does_not_wait_for_consumers(lake) -> None:
    """What a consumer had in hand was given back with all the patience of a writer."""
    session = affidavit.connect(lake, busy_timeout_s=60)
    session.topics.register("t", pa.schema([("a", pa.int64())]))
    for at in range(20):
        session.topics.publish("t", {"a": at})
    with session.topics.subscribe("t", consumer="c") as subscription:
        for _ in range(10):
            subscription.next(20).ack()
        with affidavit.connect(lake) as other, other.transaction():
            other.topics.publish("t", {"a": 1})
            began = time.monotonic()
            session.close()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a", "b"], None]),
        (pa.large_list(pa.dictionary(pa.int8(), pa.string())), [["a"], None]),
        (pa.list_(pa.dictionary(pa.int8(), pa.string()), 2), [["a", "b"], None]),
        (pa.map_(pa.string(), pa.dictionary(pa.int8(), pa.string())), [[("k", "a")], None]),
        (pa.struct([("x", pa.dictionary(pa.int8(), pa.string()))]), [{"x": "a"}, None]),
        (pa.list_(pa.string_view()), [["a" * 40], None]),
        (pa.struct([pa.field("x", pa.int64(), nullable=False)]), [{"x": 1}, None]),
    ],
    ids=str,
)
def test_p10_images_have_nested_values_as_they_are(session, kind, values) -> None:
    """Inner dictionaries could not be read again, and some NULL structs not be written."""
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("value", kind)])
    table = session.create_table("nested", schema=schema, primary_key="id")
    session.triggers.on("nested", ["insert", "update", "delete"], publish="seen")
    table.insert(pa.table([[1, 2], pa.array(values, kind)], schema=schema))
    session.sql("UPDATE nested SET id = id + 10")
    session.sql("DELETE FROM nested")
    old, new = zip(*((row["old"], row["new"]) for row in sent(session, "seen")), strict=True)
    assert [image["value"] for image in new if image] == values * 2
    assert [image["value"] for image in old if image] == values * 2


def test_p1_the_audit_topic_outlives_a_statement_that_is_undone(session, docs) -> None:
    """The topic that the tenant's first search made was known after its savepoint was undone.

    Every later record was published to a topic that was not there.
    """
    session.sql("CREATE TABLE found (id BIGINT PRIMARY KEY)")
    session.sql("INSERT INTO found VALUES (1)")
    with session.transaction():
        with pytest.raises(errors.ConstraintError):
            session.sql("INSERT INTO found SELECT 1 FROM vector_search('docs', $q, 1)", q=[1.0] * 8)
        session.search("docs", [1.0] * 8, k=1)
    session.search("docs", [1.0] * 8, k=1)
    recorded = [record.query_id for record in session.audit.recent(10)]
    assert sorted(row["query_id"] for row in sent(session, AUDIT)) == sorted(recorded)


def test_a_column_that_a_trigger_publishes_is_not_restored_away(session, docs) -> None:
    """Every later change of the table failed for its triggers."""
    before = docs.version
    session.sql("ALTER TABLE docs ADD COLUMN stars BIGINT")
    session.triggers.on("docs", "insert", where="new.stars > 1", publish="seen")
    with pytest.raises(errors.InvalidTriggerError, match="'stars'"):
        session.table("docs").restore(before)
    assert "stars" in session.table("docs").schema.names
    session.triggers.drop("docs-insert-seen")
    session.table("docs").restore(before)
    assert "stars" not in session.table("docs").schema.names


def test_a_function_may_ask_for_an_event_again_or_give_it_up(session, orders) -> None:
    """It was acknowledged all the same when the function returned, and was lost."""
    seen: list[tuple[int, int]] = []

    def later(delivery: affidavit.Delivery) -> None:
        seen.append((delivery.offset, delivery.attempts))
        if delivery.offset:
            delivery.term("not mine")
        elif delivery.attempts < 3:
            delivery.nak(0.01)

    session.triggers.on("orders", "insert", call=later, name="note")
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    eventually(lambda: seen == [(0, 1), (0, 2), (0, 3)])
    session.sql("INSERT INTO orders VALUES (2, 1, 'a')")
    eventually(lambda: [topic for topic in session.topics.list() if topic.name == "dead.note"])
    assert [row["dead_reason"] for row in sent(session, "dead.note")] == ["not mine"]
    assert seen[3:] == [(1, 1)]


def test_p9_nobody_else_reads_the_shared_scopes_own_topics(lake) -> None:
    """A tenant that had not searched yet read the records of those who had in the shared scope."""
    with affidavit.connect(lake, tenant=None) as shared, affidavit.connect(lake) as session:
        shared.create_vector_table("docs", vectors(10))
        shared.triggers.on("docs", "insert", call=print, name="note")
        shared.search("docs", [1.0] * 8, k=1)
        own = [AUDIT, "affidavit.triggers.note"]
        assert [topic.name for topic in shared.topics.list()] == own
        assert session.topics.list() == []
        assert session.sql("SELECT * FROM system.topics").to_pylist() == []
        for name in own:
            with pytest.raises(errors.TopicNotFoundError):
                session.topics.replay(name)
            with pytest.raises(errors.TableNotFoundError):
                session.sql(f'SELECT * FROM topics."{name}"')
        session.search("docs", [1.0] * 8, k=1)
        assert [row["seq"] for row in sent(session, AUDIT)] == [1]
