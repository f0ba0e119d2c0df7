"""Topics: registered, published to, kept, read in SQL, dropped."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from tests.support.arrow_values import arrays, bits

import affidavit
from affidavit import errors
from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES, LOG
from affidavit.catalog.topics import log as topic_log
from affidavit.catalog.topics.log import EVENT_BYTES_MAX, evict_old
from affidavit.errors import UnsupportedTypeError

SCHEMA = pa.schema([("id", pa.int64()), ("score", pa.float64()), ("tag", pa.string())])


@pytest.fixture
def topics(session):
    session.topics.register("t", SCHEMA)
    return session.topics


class Clock:
    """The topics' clock, in seconds, as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def now_us(self) -> int:
        return int(self.now_s * 1_000_000)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(topic_log, "clock", made)
    return made


def row(number: int) -> dict[str, object]:
    return {"id": number, "score": number / 10, "tag": "a"}


def ids(session, name: str = "t", **options) -> list[int]:
    return [
        each for d in session.topics.replay(name, **options) for each in d.data["id"].to_pylist()
    ]


def offsets(session, name: str = "t", **options) -> list[int]:
    return [delivery.offset for delivery in session.topics.replay(name, **options)]


# --- registering ---------------------------------------------------------------------------------


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
    for schema in (pa.schema([]), pa.schema([one, one]), {"a": pa.int8()}, None):
        with pytest.raises(errors.InvalidNameError, match="'t'"):
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


# --- publishing ----------------------------------------------------------------------------------

THREE = pa.table(
    {"id": [1, 2, 3], "score": [0.1, None, 0.3], "tag": ["a", "b", None]}, schema=SCHEMA
)
SHAPES = {
    "table": lambda: THREE,
    "chunked table": lambda: pa.concat_tables([THREE.slice(0, 1), THREE.slice(1)]),
    "other order": lambda: THREE.select(["tag", "id", "score"]),
    "narrower types": lambda: THREE.set_column(0, "id", THREE["id"].cast(pa.int8())),
    "batch": lambda: THREE.combine_chunks().to_batches()[0],
    "sliced batch": lambda: pa.concat_tables([THREE] * 3).combine_chunks().to_batches()[0].slice(3, 3),
    "reader": lambda: THREE.to_reader(max_chunksize=1),
    "batches": lambda: iter(THREE.to_batches(max_chunksize=1)),
    "pandas": lambda: THREE.to_pandas(),
    "polars": lambda: pl.from_arrow(THREE),
    "lazy polars": lambda: pl.from_arrow(THREE).lazy(),
    "list of dicts": lambda: THREE.to_pylist(),
    "dict of columns": lambda: THREE.to_pydict(),
    "dict of arrays": lambda: {"id": np.array([1, 2, 3]), "score": [0.1, None, 0.3], "tag": pa.array(["a", "b", None])},
    "generator of dicts": lambda: (each for each in THREE.to_pylist()),
}  # fmt: skip


def test_whatever_holds_rows_is_published(topics) -> None:
    for number, (shape, data) in enumerate(SHAPES.items()):
        assert topics.publish("t", data()) == number
        (found,) = topics.replay("t", from_offset=number)
        assert found.data.to_pylist() == THREE.to_pylist(), shape
        assert found.data.schema == SCHEMA


def test_a_dict_is_one_row_and_a_missing_column_is_null(session, topics) -> None:
    topics.publish("t", {"id": 1})
    topics.publish("t", [{"tag": "x"}, {"id": 2}])
    assert [d.data.to_pylist() for d in topics.replay("t")] == [
        [{"id": 1, "score": None, "tag": None}],
        [{"id": None, "score": None, "tag": "x"}, {"id": 2, "score": None, "tag": None}],
    ]


def test_a_querys_result_is_published(session, topics) -> None:
    topics.publish("t", session.sql("SELECT 7 AS id, 1.0 AS score, 'x' AS tag"))
    session.sql("CREATE TABLE src (id BIGINT, score DOUBLE, tag VARCHAR) AS VALUES (8, 2.0, 'y')")
    with session.transaction():
        session.sql("INSERT INTO src VALUES (9, 3.0, 'z')")
        topics.publish("t", session.sql("SELECT * FROM src ORDER BY id"))
    assert ids(session) == [7, 8, 9]
    assert topics.publish("t", session.sql("SELECT * FROM topics.t")
                          .to_arrow().select(["id", "score", "tag"])) == 2  # fmt: skip


@settings(max_examples=100)
@given(column=arrays())
def test_p10_every_value_comes_out_as_it_went_in(session, column) -> None:
    """NULL, NaN, -0.0, extremes, nested: by replay and by SQL, alone and among other events."""
    batch = pa.RecordBatch.from_arrays([column], names=["v"])
    try:
        name = session.topics.register(f"t-{uuid4().hex}", batch.schema).name
    except UnsupportedTypeError:
        return
    if not len(column):
        with pytest.raises(errors.InvalidEventError):
            session.topics.publish(name, batch)
        return
    session.topics.publish(name, batch)
    session.topics.publish(name, batch.slice(len(column) - 1))
    whole, last = (d.data["v"].combine_chunks() for d in session.topics.replay(name))
    assert bits(whole) == bits(column)
    assert bits(last) == bits(column.slice(len(column) - 1))
    found = session.sql(f'SELECT v FROM topics."{name}" ORDER BY _offset, _row_index').to_arrow()
    again = pa.concat_arrays([column, column.slice(len(column) - 1)])
    assert bits(found["v"].combine_chunks()) == bits(again)


WRONG = [
        ({"id": "x"}, ["'id'", "int64"]),
        ({"id": 1.5}, ["'id'", "int64"]),
        ({"id": 2**63}, ["'id'", "int64"]),
        ({"nope": 1}, ["'nope'", "'t'", "'score'"]),
        ([{"id": 1}, {"id": 2, "nope": 1}], ["'nope'", "'t'"]),
        ([{"id": 1}, 5], ["dicts", "int"]),
        (pa.table({"id": ["1"]}), ["'id'", "int64", "string"]),
        (pa.table({"tag": [b"1"]}), ["'tag'", "string", "binary"]),
        (pa.table({"id": [1], "more": [1]}), ["'more'", "'t'"]),
        (pa.table([[1], [2]], names=["id", "id"]), ["id", "twice"]),
        (pd.DataFrame({"id": [1, "x"]}), ["pandas", "id"]),
        ({"id": [1, 2], "score": [1.0], "tag": ["a"]}, ["columns"]),
        (5, ["int"]),
        (None, ["NoneType"]),
        ("text", ["str"]),
    ]  # fmt: skip


def test_p12_the_wrong_schema_names_the_field_and_types_and_publishes_nothing(
    session, topics
) -> None:
    for data, words in WRONG:
        with pytest.raises(errors.SchemaMismatchError) as refused:
            topics.publish("t", data)
        assert all(word in str(refused.value) for word in words)
    assert topics.publish("t", row(1)) == 0


EMPTY = [[], {}, SCHEMA.empty_table(), pd.DataFrame({"id": []}), {"id": []}]  # fmt: skip


def test_p12_an_event_without_rows_is_refused(topics) -> None:
    for empty in EMPTY:
        with pytest.raises(errors.InvalidEventError, match="'t' needs at least one row"):
            topics.publish("t", empty)
    assert topics.publish("t", row(1)) == 0


def test_p12_null_is_refused_where_it_may_not_be(session) -> None:
    session.topics.register("n", pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    nulls = pa.array([None], pa.int64())
    for data in ({"id": None}, [{"id": 1}, {}], pa.table({"id": nulls}), pd.DataFrame({"x": []})):
        with pytest.raises((errors.SchemaMismatchError, errors.InvalidEventError)) as refused:
            session.topics.publish("n", data)
        assert "'n'" in str(refused.value)
    assert offsets(session, "n") == []


def test_p12_an_event_over_the_limit_is_refused_before_all_of_it_is_read(session) -> None:
    session.topics.register("b", pa.schema([("data", pa.binary())]))
    one = pa.record_batch({"data": [b"x" * (EVENT_BYTES_MAX // 4)]})
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield one

    with pytest.raises(errors.InvalidEventError, match=f"{EVENT_BYTES_MAX:,} are allowed"):
        session.topics.publish("b", endless())
    assert read < 10
    with pytest.raises(errors.InvalidEventError, match="in parts"):
        session.topics.publish("b", pa.Table.from_batches([one] * 4))
    assert session.topics.publish("b", pa.Table.from_batches([one] * 3)) == 0
    assert next(session.topics.replay("b")).data.num_rows == 3


def test_what_a_reader_raises_reaches_the_caller_and_publishes_nothing(session, topics) -> None:
    def broken():
        yield THREE.to_batches()[0]
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="own"):
        topics.publish("t", broken())
    with pytest.raises(errors.SchemaMismatchError, match="Divide by zero") as refused:
        topics.publish("t", session.sql("SELECT 1 / (1 - 1) AS id, 1.0 AS score, '' AS tag"))
    assert "Traceback" not in str(refused.value)
    assert topics.publish("t", row(1)) == 0


def test_p12_an_unknown_topic_is_named_with_those_there_are(topics) -> None:
    for call in (
        lambda: topics.publish("nope", row(1)),
        lambda: topics.get("nope"),
        lambda: topics.drop("nope"),
        lambda: topics.subscribe("nope"),
        lambda: topics.replay("nope"),
        lambda: topics.seek("nope", "c", 0),
    ):
        with pytest.raises(errors.TopicNotFoundError, match=r"'nope'.*'t'"):
            call()


def test_a_session_that_reads_publishes_nothing(lake, session, topics) -> None:
    topics.publish("t", row(1))
    session.sql("CREATE TABLE x (a INT)")
    past = session.at(session.journal.recent(1).to_pylist()[0]["seq"])
    with affidavit.connect(lake, read_only=True) as reader:
        for other in (reader, past):
            for call in (
                lambda other=other: other.topics.publish("t", row(2)),
                lambda other=other: other.topics.register("u", SCHEMA),
                lambda other=other: other.topics.drop("t"),
                lambda other=other: other.topics.subscribe("t", consumer="c"),
            ):
                with pytest.raises(errors.ReadOnlyError):
                    call()
        assert ids(reader) == [1]
        with session.transaction():
            topics.publish("t", row(2))
            with pytest.raises(errors.ReadOnlyError):
                past.topics.publish("t", row(3))
    assert ids(session) == [1, 2]


# --- offsets and transactions --------------------------------------------------------------------


def test_p8_an_event_is_seen_once_it_is_committed_and_not_after_a_rollback(
    lake, session, topics
) -> None:
    with affidavit.connect(lake) as other:
        with session.transaction():
            assert [topics.publish("t", row(n)) for n in range(3)] == [0, 1, 2]
            assert ids(other) == []
            assert ids(session) == [0, 1, 2], "the transaction sees what it wrote"
            assert session.sql("SELECT count(*) AS n FROM topics.t").to_pylist() == [{"n": 3}]
        assert ids(other) == [0, 1, 2]
        with pytest.raises(ZeroDivisionError), session.transaction():
            assert topics.publish("t", row(3)) == 3
            raise ZeroDivisionError
        session.sql("BEGIN")
        assert topics.publish("t", row(4)) == 3
        session.sql("ROLLBACK")
        assert ids(other) == ids(session) == [0, 1, 2]
        assert topics.publish("t", row(5)) == 3


def test_p8_offsets_have_no_gap_where_part_of_a_transaction_is_undone(session, topics) -> None:
    session.sql("CREATE TABLE k (id INT PRIMARY KEY)")

    class Refusing:
        def on_change(self, change, writer) -> None:
            topics.publish("t", row(100))
            raise RuntimeError("no")

    with session.transaction():
        assert topics.publish("t", row(0)) == 0
        with pytest.raises(errors.InvalidEventError):
            topics.publish("t", [])
        session.add_change_listener(Refusing())
        with pytest.raises(RuntimeError):
            session.sql("INSERT INTO k VALUES (1)")  # its savepoint undoes event 1
        assert topics.publish("t", row(1)) == 1
        topics.drop("t")
        topics.register("t", SCHEMA)
        assert topics.publish("t", row(2)) == 0
    assert [(d.offset, d.data["id"][0].as_py()) for d in topics.replay("t")] == [(0, 2)]


def test_a_replay_that_outlives_its_transaction_ends(session, topics) -> None:
    """It used to ask for ever for the events that had been rolled back."""
    topics.publish("t", row(0))
    session.sql("BEGIN")
    topics.publish("t", row(1))
    replay = topics.replay("t", from_offset=1)
    session.sql("ROLLBACK")
    assert list(replay) == []


def test_p8_offsets_go_on_after_reopening(lake) -> None:
    for opening in range(3):
        with affidavit.connect(lake) as session:
            session.topics.register("t", SCHEMA)
            assert session.topics.publish("t", row(opening)) == opening
            assert session.ledger.verify()
    with affidavit.connect(lake) as session:
        assert ids(session) == [0, 1, 2]


PUBLISHER = """
import sys, affidavit
with affidavit.connect(sys.argv[1], durability="normal") as session:
    for n in range(int(sys.argv[3])):
        try:
            with session.transaction():
                session.topics.publish("t", {"id": n, "tag": sys.argv[2]})
                if n % 5 == 4:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
"""


def test_p8_offsets_are_contiguous_across_threads_and_processes(lake, session, topics) -> None:
    """2 processes and 3 threads publish 30 events each and roll 6 of them back."""
    processes = [
        subprocess.Popen([sys.executable, "-c", PUBLISHER, str(lake), f"p{n}", "30"])
        for n in range(2)
    ]

    def publish(name: str) -> None:
        for n in range(30):
            try:
                with session.transaction():
                    topics.publish("t", {"id": n, "tag": name})
                    if n % 5 == 4:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass

    threads = [threading.Thread(target=publish, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    deliveries = list(topics.replay("t"))
    assert [d.offset for d in deliveries] == list(range(120))
    times = [d.produced_at for d in deliveries]
    assert times == sorted(times)
    by_publisher: dict[str, list[int]] = {}
    for each in deliveries:
        (only,) = each.data.to_pylist()
        by_publisher.setdefault(only["tag"], []).append(only["id"])
    assert by_publisher == {
        name: [n for n in range(30) if n % 5 != 4] for name in ("p0", "p1", "t0", "t1", "t2")
    }


def test_an_event_of_10_000_rows_is_one_row_of_the_log(session, topics) -> None:
    big = pa.table(
        {"id": range(10_000), "score": [0.5] * 10_000, "tag": ["x"] * 10_000}, schema=SCHEMA
    )
    assert topics.publish("t", big) == 0
    assert topics.publish("t", row(1)) == 1
    with session._catalog().read() as reader:
        assert reader.count(LOG) == 2
    found = session.sql("SELECT count(*) AS n, sum(id) AS s, max(_row_index) AS m FROM topics.t")
    assert found.to_pylist() == [{"n": 10_001, "s": sum(range(10_000)) + 1, "m": 9_999}]


# --- retention -----------------------------------------------------------------------------------


def test_the_newest_events_are_kept(session) -> None:
    session.topics.register("t", SCHEMA, retain_events=3)
    for n in range(10):
        assert session.topics.publish("t", row(n)) == n
    assert offsets(session, from_offset="beginning") == [7, 8, 9]
    for call in (session.topics.replay, session.topics.subscribe):
        with pytest.raises(errors.OffsetEvictedError, match="first that is kept is 7") as evicted:
            call("t", from_offset=6)
        assert evicted.value.first_offset == 7
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.topics.publish("t", row(10))
        raise ZeroDivisionError
    assert offsets(session, from_offset=7) == [7, 8, 9], "what was rolled back evicted nothing"
    assert session.sql("SELECT first_offset, next_offset FROM system.topics").to_pylist() == [
        {"first_offset": 7, "next_offset": 10}
    ]


def test_old_events_go_and_offsets_go_on(lake, clock) -> None:
    with affidavit.connect(lake) as session:
        session.topics.register("t", SCHEMA, retain_for=timedelta(seconds=10))
        for n in range(4):
            session.topics.publish("t", row(n))
            clock.now_s += 4
        assert offsets(session, from_offset="beginning") == [2, 3]
        assert session.sql("SELECT DISTINCT _offset AS o FROM topics.t ORDER BY o").to_pylist() == [
            {"o": 2}, {"o": 3},
        ]  # fmt: skip
        clock.now_s += 100
        for name in ("beginning", "now", 4):
            assert offsets(session, from_offset=name) == []
        with pytest.raises(errors.OffsetEvictedError) as evicted:
            session.topics.replay("t", from_offset=3)
        assert evicted.value.first_offset == 4
        assert session.sql("SELECT count(*) AS n FROM topics.t").to_pylist() == [{"n": 0}]
        evict_old(session._instance.lake.store)
        evict_old(session._instance.lake.store)
        with session._catalog().read() as reader:
            assert reader.select(LOG, ("offset", "data")) == [(3, None)]
    with affidavit.connect(lake) as session:
        assert offsets(session, from_offset="beginning") == []
        assert session.topics.publish("t", row(4)) == 4
        assert offsets(session, from_offset="beginning") == [4]
        clock.now_s += 5
        assert session.topics.publish("t", row(5)) == 5
        with session._catalog().read() as reader:
            assert reader.count(LOG) == 2
        clock.now_s -= 1_000  # a clock that is set back puts no event before another
        session.topics.publish("t", row(6))
        times = [d.produced_at for d in session.topics.replay("t", from_offset=4)]
        assert times == sorted(times)


def test_a_topic_may_be_kept_by_age_and_by_events(session, clock) -> None:
    session.topics.register("t", SCHEMA, retain_for=10, retain_events=2)
    for n in range(5):
        session.topics.publish("t", row(n))
    assert offsets(session, from_offset="beginning") == [3, 4]
    clock.now_s += 11
    session.topics.publish("t", row(5))
    assert offsets(session, from_offset="beginning") == [5]


# --- SQL -----------------------------------------------------------------------------------------


@pytest.fixture
def log(session, topics):
    """Six events of one to six rows, ten seconds apart."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topic_log, "clock", clock)
        for n in range(6):
            topics.publish(
                "t", [{"id": 10 * n + i, "score": i / 10, "tag": "ab"[i % 2]} for i in range(n + 1)]
            )
            clock.now_s += 10
    return session


def test_a_log_is_a_table_with_a_row_for_each_row_of_each_event(log) -> None:
    found = log.sql("SELECT * FROM topics.t").to_arrow()
    assert found.schema.names == ["_offset", "_row_index", "_produced_at", "id", "score", "tag"]
    assert found.schema.field("_produced_at").type == pa.timestamp("us", "UTC")
    places = [(r["_offset"], r["_row_index"]) for r in found.to_pylist()]
    assert places == [(n, i) for n in range(6) for i in range(n + 1)]
    assert [r["id"] for r in found.to_pylist()] == [10 * n + i for n, i in places]


FILTERS = [
        "_offset = 3", "_offset >= 2 AND _offset < 4", "_offset IN (1, 5, 99)", "_offset != 0", "NOT (_offset = 2)",
        "_offset > 2.5", "_offset BETWEEN 2 AND 3 OR id = 0", "_row_index = 2", "id > 40", "score < 0.2 AND tag = 'b'",
        "tag IS NULL", "_produced_at >= TIMESTAMP '2023-11-14T22:13:40Z'", "_produced_at IS NULL", "false", "_offset = id",
        "_offset > 9223372036854775806", "_offset = 3 AND _row_index IN (SELECT max(_row_index) FROM topics.t)",
    ]  # fmt: skip


def test_p11_filters_select_what_they_select_from_the_same_rows_as_a_table(log) -> None:
    log.sql("CREATE TABLE same AS SELECT * FROM topics.t")
    for where in FILTERS:
        query = "SELECT _offset, _row_index, id, tag FROM {} WHERE {} ORDER BY 1, 2"
        expected = log.sql(query.format("same", where)).to_pylist()
        assert log.sql(query.format("topics.t", where)).to_pylist() == expected
        counted = log.sql(f"SELECT count(*) AS n FROM topics.t WHERE {where}").to_pylist()
        assert counted == [{"n": len(expected)}]


def test_logs_are_projected_counted_joined_and_grouped(log) -> None:
    def rows(text: str) -> list[dict[str, object]]:
        return log.sql(text).to_pylist()

    assert rows("SELECT count(*) AS n FROM topics.t") == [{"n": 21}]
    assert rows("SELECT tag FROM topics.t WHERE _offset = 1 ORDER BY id") == [
        {"tag": "a"},
        {"tag": "b"},
    ]
    assert rows("SELECT max(_offset) AS o FROM topics.t WHERE tag = 'b'") == [{"o": 5}]
    assert rows("SELECT 1 AS one FROM topics.t LIMIT 2") == [{"one": 1}] * 2
    log.sql("CREATE TABLE people (id BIGINT, name VARCHAR) AS VALUES (20, 'ann'), (51, 'bob')")
    assert rows("SELECT name, _offset FROM topics.t JOIN people USING (id) ORDER BY name") == [
        {"name": "ann", "_offset": 2}, {"name": "bob", "_offset": 5},
    ]  # fmt: skip
    per_event = rows("SELECT _offset, count(*) AS n FROM topics.t GROUP BY _offset ORDER BY 1")
    assert per_event == [{"_offset": n, "n": n + 1} for n in range(6)]
    log.sql("CREATE VIEW late AS SELECT * FROM topics.t WHERE _offset > 4")
    assert rows("SELECT count(*) AS n FROM late") == [{"n": 6}]


def test_topics_are_listed(log) -> None:
    log.topics.register("a.b", SCHEMA, {"why": "test"}, retain_events=9, retain_for=1.5)
    tables = log.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'topics' ORDER BY 1"
    )
    assert [r["table_name"] for r in tables] == ["a.b", "t"]
    shown = {(r["table_schema"], r["table_name"]) for r in log.sql("SHOW TABLES")}
    assert {("topics", "t"), ("topics", "a.b")} <= shown
    columns = log.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 'a.b'")
    assert [r["column_name"] for r in columns] == [
        "_offset",
        "_row_index",
        "_produced_at",
        "id",
        "score",
        "tag",
    ]
    first, second = log.sql("SELECT * FROM system.topics").to_pylist()
    assert first == {
        "name": "a.b", "tenant": "default", "columns": ["id int64", "score double", "tag string"],
        "metadata": '{"why": "test"}', "first_offset": 0, "next_offset": 0, "retain_events": 9,
        "retain_seconds": 1.5,
    }  # fmt: skip
    assert (second["name"], second["next_offset"], second["retain_events"]) == ("t", 6, None)


WRITES = [
        "INSERT INTO topics.t VALUES (9, 9, now(), 1, 1.0, 'x')", "UPDATE topics.t SET id = 1", "DELETE FROM topics.t",
        "DROP TABLE topics.t", "TRUNCATE topics.t", "ALTER TABLE topics.t ADD COLUMN x INT", "ALTER TABLE topics.t RENAME TO x",
        "CREATE INDEX i ON topics.t (id)", "CREATE TABLE topics.x (a INT)", "CREATE VIEW topics.v AS SELECT 1",
        "CREATE SCHEMA topics", "DROP SCHEMA topics", "CREATE OR REPLACE TABLE topics.t AS SELECT 1 AS a",
        "MERGE INTO topics.t USING topics.t s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
    ]  # fmt: skip


def test_p12_logs_are_never_written_by_sql(log) -> None:
    for text in WRITES:
        before = log.sql("SELECT * FROM topics.t").to_pylist()
        with pytest.raises(errors.AffidavitError):
            log.sql(text)
        assert log.sql("SELECT * FROM topics.t").to_pylist() == before
        assert [topic.name for topic in log.topics.list()] == ["t"]


# --- dropping ------------------------------------------------------------------------------------


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
        assert [reader.count(each) for each in (LOG, CONSUMERS, DELIVERIES)] == [0, 0, 0]
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


# --- tenants -------------------------------------------------------------------------------------


@pytest.fixture
def tenants(session):
    """Tenants ``red`` and ``blue``, each with a topic of one name and one of its own, and a shared one."""
    for tenant in ("red", "blue", None):
        with session.scope(tenant=tenant) as scoped:
            for name in ("news",) if tenant is None else ("same", f"only-{tenant}"):
                scoped.topics.register(name, SCHEMA)
                for n in range({"red": 2, "blue": 5}.get(tenant, 3)):
                    scoped.topics.publish(name, {"id": n, "tag": f"{tenant}-secret"})
    return session


def test_p9_shared_topics_are_read_by_all_and_written_by_the_shared_scope(tenants) -> None:
    with tenants.scope(tenant="red") as red:
        assert ids(red, "news") == [0, 1, 2]
        assert red.sql("SELECT count(*) AS n FROM topics.news").to_pylist() == [{"n": 3}]
        assert red.topics.get("news").tenant == ""
        for call in (
            lambda: red.topics.publish("news", row(1)),
            lambda: red.topics.drop("news"),
        ):
            with pytest.raises(errors.ReadOnlyError, match="shared"):
                call()
        red.topics.register("news", pa.schema([("mine", pa.int8())]))  # hides the shared one
        assert red.topics.publish("news", {"mine": 1}) == 0
        assert offsets(red, "news") == [0]
    with tenants.scope(tenant="blue") as blue:
        assert ids(blue, "news") == [0, 1, 2]
        assert [d.tenant for d in blue.topics.replay("news")] == [None] * 3
    with tenants.scope(tenant="red") as red:
        red.topics.drop("news")
        assert ids(red, "news") == [0, 1, 2]
    with tenants.scope(tenant=None) as shared:
        assert shared.topics.publish("news", row(3)) == 3
        assert [topic.name for topic in shared.topics.list()] == ["news"]


def test_p9_topics_of_one_name_are_two(tenants) -> None:
    with tenants.scope(tenant="red") as red, tenants.scope(tenant="blue") as blue:
        assert (len(ids(red, "same")), len(ids(blue, "same"))) == (2, 5)
        assert red.topics.publish("same", row(1)) == 2
        red.topics.drop("same")
        assert blue.topics.publish("same", row(1)) == 5
        assert red.sql("SELECT name FROM system.topics ORDER BY name").to_pylist() == [
            {"name": "news"}, {"name": "only-red"},
        ]  # fmt: skip


def test_p9_another_tenants_topic_is_as_good_as_absent(tenants) -> None:
    """Each error is the one for a topic that nobody has, but for the name."""
    with tenants.scope(tenant="blue") as blue:
        blue.topics.subscribe("only-blue", consumer="worker").next(0)
    calls = [
        lambda red, name: red.topics.get(name),
        lambda red, name: red.topics.publish(name, row(1)),
        lambda red, name: red.topics.publish(name, {"wrong": 1}),
        lambda red, name: red.topics.drop(name),
        lambda red, name: red.topics.subscribe(name),
        lambda red, name: red.topics.subscribe(name, consumer="worker"),
        lambda red, name: red.topics.replay(name),
        lambda red, name: red.topics.seek(name, "worker", 0),
        lambda red, name: red.topics.drop_consumer(name, "worker"),
        lambda red, name: red.sql(f'SELECT * FROM topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'SELECT count(*) FROM topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'DESCRIBE topics."{name}"').to_arrow(),
        lambda red, name: red.sql(f'SELECT * FROM topics."blue.{name}"').to_arrow(),
    ]
    with tenants.scope(tenant="red") as red:
        for call in calls:
            said = []
            for name in ("only-blue", "only-none"):
                with pytest.raises(errors.AffidavitError) as refused:
                    call(red, name)
                said.append((type(refused.value), str(refused.value).replace(name, "?")))
            assert said[0] == said[1]
            assert "blue" not in said[0][1].replace("blue.?", "")
        for text in (
            "SELECT * FROM system.topics",
            "SELECT * FROM system.consumers",
            "SHOW TABLES",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM journal",
        ):
            assert "blue" not in str(red.sql(text).to_pylist())
        assert "blue" not in repr(red.topics)
        assert red.topics.register("only-blue", SCHEMA)  # its name tells nothing either
        assert red.topics.publish("only-blue", row(1)) == 0
    with tenants.scope(tenant="blue") as blue:
        assert ids(blue, "only-blue") == [0, 1, 2, 3, 4]
        (worker,) = blue.sql("SELECT name, lag FROM system.consumers").to_pylist()
        assert worker == {"name": "worker", "lag": 5}


def test_p9_a_transaction_of_one_tenant_takes_no_event_of_another(tenants) -> None:
    with tenants.scope(tenant="blue") as blue, tenants.scope(tenant="red") as red:
        with red.transaction(), pytest.raises(errors.TransactionError):
            blue.topics.publish("same", row(1))
        assert len(ids(blue, "same")) == 5
