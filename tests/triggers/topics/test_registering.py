"""P10, P12: topics registered, named, listed and dropped."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa
import pytest
from tests.support.topics import SCHEMA, ids, row

from affidavit import errors
from affidavit.errors import UnsupportedTypeError

# --- registering ----------------------------------------------------------------------------------


def test_registering_again_with_the_same_schema_does_nothing(session, topics) -> None:
    first = topics.get("t")
    topics.publish("t", row(1))
    told = pa.schema(SCHEMA, metadata={"said": "by the way"})
    again = topics.register("t", told, {"new": "metadata"}, retain_events=1)
    assert again == first == topics.get("t")
    assert ids(session) == [1]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (pa.schema([("id", pa.int32()), *list(SCHEMA)[1:]]), ["'id'", "int64", "int32"]),
        (pa.schema([*list(SCHEMA), ("more", pa.int8())]), ["'more'", "'tag'"]),
        (pa.schema(list(SCHEMA)[:2]), ["'tag'"]),
        (pa.schema(list(SCHEMA)[::-1]), ["'id'", "'tag'"]),
        (SCHEMA.set(0, pa.field("id", pa.int64(), nullable=False)), ["'id'", "NOT NULL"]),
    ],
)
def test_p12_another_schema_is_a_conflict_that_names_the_column(topics, schema, words) -> None:
    with pytest.raises(errors.SchemaConflictError) as conflict:
        topics.register("t", schema)
    assert all(word in str(conflict.value) for word in words)
    assert topics.get("t").schema == SCHEMA


BAD_NAMES = ["", ".", "a.", ".a", "a..b", "a b.", "a/b", "a'b", 'a"b', "a\nb", "a\x00b", "\ud800", " a", "x" * 129,
     ".".join(["x" * 60] * 3), "раypal", None, 5, b"t"]  # fmt: skip


def test_p12_a_name_that_cannot_be_a_topics_leaves_nothing(session) -> None:
    for name in BAD_NAMES:
        with pytest.raises(errors.InvalidNameError):
            session.topics.register(name, SCHEMA)
        with pytest.raises(errors.AffidavitError):
            session.topics.publish(name, row(1))
        with pytest.raises(errors.TopicNotFoundError):
            session.topics.get(name)
        assert session.topics.list() == []


@pytest.mark.parametrize("name", ["affidavit.mine", "affidavit.audit.searches", "Affidavit.x"])
def test_affidavits_own_names_are_refused(session, name) -> None:
    for call in (
        lambda: session.topics.register(name, SCHEMA),
        lambda: session.topics.publish(name, row(1)),
        lambda: session.topics.drop(name),
    ):
        with pytest.raises(errors.ReservedNameError, match="affidavit"):
            call()


GOOD_NAMES = ["orders.eu.new", "with space", "Ünï.ok", "dead.тема", "日本", "a-b_c", "SELECT"]


def test_names_are_like_tables_and_dots_may_part_them(session) -> None:
    for name in GOOD_NAMES:
        session.topics.register(name, SCHEMA)
        assert session.topics.publish(name, row(1)) == 0
        assert session.sql(f'SELECT id FROM topics."{name}"').to_pylist() == [{"id": 1}]
        assert [topic.name for topic in session.topics.list()] == [name]
        session.topics.drop(name)


BAD_TYPES = [
        pa.dictionary(pa.int8(), pa.string()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.struct([("x", pa.dictionary(pa.int8(), pa.string()))]),
        pa.uuid(),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.dense_union([pa.field("x", pa.int8())]),
        pa.list_view(pa.int8()),
    ]  # fmt: skip


def test_p10_a_type_that_cannot_be_kept_is_refused_by_name(session) -> None:
    for kind in BAD_TYPES:
        with pytest.raises(UnsupportedTypeError, match="'bad'"):
            session.topics.register("t", pa.schema([("ok", pa.int8()), ("bad", kind)]))
        assert session.topics.list() == []


def test_p12_a_schema_needs_columns_with_names_of_their_own(session) -> None:
    one = pa.field("a", pa.int8())
    with pytest.raises(errors.InvalidNameError, match="'t'"):
        session.topics.register("t", pa.schema([one, one]))
    for schema in (pa.schema([]), {}, [], {"a": int}, "a", 5, None):
        with pytest.raises(errors.SchemaMismatchError, match="schema="):
            session.topics.register("t", schema)
    for name in ("_offset", "_row_index", "_produced_at", "_rowid", "*"):
        with pytest.raises(errors.ReservedNameError, match=name.replace("*", r"\*")):
            session.topics.register("t", pa.schema([(name, pa.int8())]))
    for name in ("", "a\x00"):
        with pytest.raises(errors.InvalidNameError):
            session.topics.register("t", pa.schema([(name, pa.int8())]))
    assert session.topics.list() == []


def test_metadata_is_what_json_holds(session) -> None:
    made = session.topics.register("t", SCHEMA, {"owner": "maria", "n": [1, None], 5: (1, 2)})
    assert made.metadata == {"owner": "maria", "n": [1, None], "5": [1, 2]}
    assert session.topics.get("t") == made
    for bad in ({"x": float("nan")}, {"x": object()}, "text", 5, {"x": "y" * 70_000}):
        with pytest.raises(errors.InvalidQueryError, match="metadata"):
            session.topics.register("u", SCHEMA, bad)


BAD_RETENTION = [
    *({"retain_events": bad} for bad in (0, -1, 1.5, True, "1", 2**70)),
    *({"retain_for": bad} for bad in (0, -1, True, "1", timedelta(0), 1e-9)),
    *({"retain_for": bad} for bad in (float("nan"), float("inf"), 1e300)),
]


def test_p12_retention_is_a_number_that_can_be_kept(session) -> None:
    for retention in BAD_RETENTION:
        with pytest.raises(errors.InvalidQueryError, match=next(iter(retention))):
            session.topics.register("t", SCHEMA, **retention)
    assert session.topics.list() == []


# --- dropping -------------------------------------------------------------------------------------


def test_a_dropped_topic_is_gone_with_its_log_and_consumers(session, topics) -> None:
    for n in range(3):
        topics.publish("t", row(n))
    topics.subscribe("t", consumer="c", timeout=0).next(0)
    topics.drop("t")
    with pytest.raises(errors.TopicNotFoundError):
        topics.get("t")
    with pytest.raises(errors.TableNotFoundError, match=r"topics\.t"):
        session.sql("SELECT * FROM topics.t").to_arrow()
    assert session.sql("SELECT * FROM system.consumers").to_pylist() == []
    with session._catalog().read() as reader:
        from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES, LOG

        assert [reader.count(each) for each in (LOG, CONSUMERS, DELIVERIES)] == [
            0,
            0,
            0,
        ]
    topics.register("t", pa.schema([("other", pa.int8())]))
    assert topics.publish("t", {"other": 1}) == 0


def test_a_drop_that_is_rolled_back_did_not_happen(session, topics) -> None:
    topics.publish("t", row(1))
    with pytest.raises(ZeroDivisionError), session.transaction():
        topics.drop("t")
        topics.register("t", pa.schema([("other", pa.int8())]))
        assert topics.publish("t", {"other": 1}) == 0
        raise ZeroDivisionError
    assert ids(session) == [1]
    assert topics.publish("t", row(2)) == 1


def test_the_journal_notes_what_is_registered_and_dropped(session, topics) -> None:
    topics.register("t", SCHEMA)
    topics.publish("t", row(1))
    topics.drop("t")
    noted = session.sql(
        "SELECT entity_id, action, new_value, actor FROM journal WHERE entity_type = 'topic'"
        " ORDER BY seq"
    ).to_pylist()
    assert [(r["entity_id"], r["action"], r["actor"]) for r in noted] == [
        ("t", "create", "tester"), ("t", "drop", "tester"),
    ]  # fmt: skip
    columns = {"id": "int64", "score": "double", "tag": "string"}
    assert json.loads(noted[0]["new_value"]) == {"columns": columns}
    assert session.ledger.verify()
