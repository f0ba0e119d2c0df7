"""P10, P12: what is published comes out as it went in, or nothing is published."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from tests.support.arrow_values import arrays, bits
from tests.support.topics import SCHEMA, ids, offsets, row

import affidavit
from affidavit import errors
from affidavit.catalog.topics.log import EVENT_BYTES_MAX
from affidavit.errors import UnsupportedTypeError

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


def test_p8_p17_many_events_of_a_transaction_are_read_undone_and_stated_as_one_is(
    session, topics
) -> None:
    """What is written together is in the head's sums, in order, and gone where it is undone."""
    batch = THREE.combine_chunks().to_batches()[0]
    told = [row(1), batch.slice(0, 1), batch.slice(1, 2)]
    for each in told:
        topics.publish("t", each)
    topics.register("together", SCHEMA)
    with session.transaction():
        for number in range(600):
            assert topics.publish("together", told[number % 3]) == number
            if number == 300:
                assert len(offsets(session, "together")) == 301
                with pytest.raises(ZeroDivisionError), session.savepoint():
                    assert topics.publish("together", batch) == 301
                    raise ZeroDivisionError
    one_by_one = [each.data.to_pylist() for each in topics.replay("t")]
    assert [each.data.to_pylist() for each in topics.replay("together")] == one_by_one * 200
    with pytest.raises(ZeroDivisionError), session.transaction():
        topics.publish("together", batch)
        raise ZeroDivisionError
    assert offsets(session, "together") == list(range(600))
    assert session.verify_data().ok


def test_a_querys_result_is_published(session, topics) -> None:
    topics.publish("t", session.sql("SELECT 7 AS id, 1.0 AS score, 'x' AS tag"))
    session.sql("CREATE TABLE src (id BIGINT, score DOUBLE, tag VARCHAR) AS VALUES (8, 2.0, 'y')")
    with session.transaction():
        session.sql("INSERT INTO src VALUES (9, 3.0, 'z')")
        topics.publish("t", session.sql("SELECT * FROM src ORDER BY id"))
    assert ids(session) == [7, 8, 9]
    assert topics.publish("t", session.sql("SELECT * FROM topics.t")
                          .to_arrow().select(["id", "score", "tag"])) == 2  # fmt: skip


@pytest.mark.fuzz
@settings(max_examples=33)
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


@pytest.mark.slow
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
