"""P6, P7: a trigger's event exists exactly when its change does, and says what changed."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.lakes import vectors
from tests.support.published import images, sent

import affidavit
from affidavit import errors

BIG = "new.total > 100 AND (old.total <= 100 OR old.total IS NULL)"


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
@pytest.mark.slow
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


# --- what a review found --------------------------------------------------------------------------


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
