"""P9, P12: triggers made, kept, refused and dropped, and what they keep in place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.published import sent

import affidavit
from affidavit import errors


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


def test_p12_the_journal_has_the_statement_that_makes_such_a_trigger(session, orders) -> None:
    session.triggers.on("orders", "insert", call=print, name="called")
    told = {"where": "new.total > 1 -- much", "name": "one", "publish": "seen"}
    made = session.triggers.on("orders", ["insert", "update"], **told)
    query = "SELECT new_value ->> 'sql' AS sql FROM journal WHERE entity_type = 'trigger'"
    _, sql = [each["sql"] for each in session.sql(query).to_pylist()]
    session.sql("DROP TRIGGER one")
    session.sql(sql)
    again = session.triggers.list()[-1]
    assert (again.name, again.actions, again.topic) == (made.name, made.actions, made.topic)
    assert again.where is not None
    assert "new.total > 1" in again.where


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


# --- what a review found --------------------------------------------------------------------------


def test_a_topics_retention_can_be_changed(session, orders) -> None:
    session.triggers.on("orders", "insert", publish="seen")
    for at in range(5):
        session.sql("INSERT INTO orders VALUES ($id, 1, 'a')", id=at)
    session.topics.retain("seen", retain_events=2)
    assert [delivery.offset for delivery in session.topics.replay("seen", from_offset=3)] == [3, 4]
    with pytest.raises(errors.OffsetEvictedError):
        list(session.topics.replay("seen", from_offset=0))
    assert [delivery.offset for delivery in session.topics.replay("seen")] == [3, 4]
    session.sql("INSERT INTO orders VALUES (9, 1, 'a')")
    assert session.topics.subscribe("seen", from_offset="beginning").next(5).offset == 4
    session.topics.retain("seen")
    session.sql("INSERT INTO orders VALUES (10, 1, 'a')")
    assert session.topics.subscribe("seen", from_offset="beginning").next(5).offset == 4
    with pytest.raises(errors.TopicNotFoundError):
        session.topics.retain("affidavit.audit.searches", retain_events=1)


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
