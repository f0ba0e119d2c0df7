"""P10: what the journal writes down reads back to the exact value."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arrow_values import arrays, bits, sound_arrays

from affidavit.catalog.journal.events import row_texts
from affidavit.catalog.values.text import (
    from_json,
    json_array,
    json_texts,
    read_objects,
    read_texts,
)
from affidavit.catalog.values.types import FEW_ROWS_MAX


def same(left: pa.Array, right: pa.Array) -> bool:
    """Bit for bit, but for what a NaN carries besides being one."""
    if pa.types.is_floating(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return all(
            repr(a) == repr(b) or (None not in (a, b) and math.isnan(a) and math.isnan(b))
            for a, b in pairs
        )
    return bits(left) == bits(right)


@pytest.mark.fuzz
@given(arrays())
@settings(max_examples=200)
def test_p10_json_texts_read_back_to_the_values(array: pa.Array) -> None:
    for part in (array, array.slice(1), array.slice(0, 0)):
        texts = json_texts(part)
        read = from_json([json.loads(text) for text in texts], part.type)
        read.validate(full=True)
        assert read.type == part.type
        assert same(read, part) or pa.types.is_nested(part.type), texts
        if pa.types.is_nested(part.type):
            assert json_texts(read) == texts


@pytest.mark.fuzz
@given(sound_arrays())
@settings(max_examples=100)
def test_p10_many_values_are_written_and_read_as_few_are(array: pa.Array) -> None:
    texts = json_array(array)
    texts.validate(full=True)
    assert texts.to_pylist() == [
        text for at in range(len(array)) for text in json_texts(array.slice(at, 1))
    ]
    assert json_array(pa.chunked_array([array, array.slice(1)])).to_pylist() == [
        *json_texts(array),
        *json_texts(array.slice(1)),
    ]
    read = read_texts(texts, array.type)
    read.validate(full=True)
    assert read.type == array.type
    assert json_texts(read) == json_texts(array)
    assert bits(read) == bits(
        from_json([json.loads(text) for text in texts.to_pylist()], array.type)
    )
    erased = read_texts(pa.array([None, *texts.to_pylist()], pa.string()), array.type)
    assert (erased[0].as_py(), json_texts(erased)[1:]) == (None, json_texts(array))


@pytest.mark.fuzz
@given(st.lists(sound_arrays(), min_size=1, max_size=3))
@settings(max_examples=66)
def test_p10_objects_are_read_as_columns(columns: list[pa.Array]) -> None:
    count = min(map(len, columns))
    table = pa.table({f"c\u00fc.{at} %s": each.slice(0, count) for at, each in enumerate(columns)})
    texts = pa.array(row_texts(table), pa.string())
    assert [*map(json.loads, texts.to_pylist())] == [*map(json.loads, many_row_texts(table))]
    kinds = dict(zip(table.schema.names, table.schema.types, strict=True))
    found = read_objects(texts, {**kinds, "missing": pa.int8()})
    assert found.pop().to_pylist() == [None] * count
    for array, part in zip(found, columns, strict=True):
        array.validate(full=True)
        assert array.type == part.type
        assert json_texts(array) == json_texts(part.slice(0, count))


def many_row_texts(table: pa.Table) -> list[str]:
    """What rows are written as where there are many of them."""
    times = FEW_ROWS_MAX + 1
    return row_texts(pa.concat_tables([table] * times))[: table.num_rows]


@given(
    st.lists(
        st.floats()
        | st.sampled_from([0.0, -0.0, 1e9, 1e10, 1e16, 1e-4, 9.9e-5, 12345678.5])
        | st.floats(-1e11, 1e11)
        | st.integers(-(10**11), 10**11).map(float)
        | st.none()
    )
)
def test_p10_floats_are_written_as_python_writes_them(values: list[float | None]) -> None:
    array = pa.array(values, pa.float64())
    assert json_array(array).to_pylist() == [
        json_texts(pa.array([value], pa.float64()))[0] for value in values
    ]


def test_values_are_written_as_people_write_them() -> None:
    shown = {
        "moment": pa.array([1_700_000_000_123_456], pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([19_000], pa.date32()),
        "price": pa.array([1.5], pa.float64()),
        "odd": pa.array([float("nan")]),
        "text": pa.array(['O\'Neil "x"']),
        "bytes": pa.array([b"\x00\x01"]),
        "list": pa.array([[1, None]]),
    }
    assert {name: json_texts(array)[0] for name, array in shown.items()} == {
        "moment": '"2023-11-14 22:13:20.123456"',
        "day": '"2022-01-08"',
        "price": "1.5",
        "odd": '"NaN"',
        "text": '"O\'Neil \\"x\\""',
        "bytes": '"AAE="',
        "list": "[1,null]",
    }


def test_p10_intervals_are_written_and_read_back() -> None:
    """A table with a column of them could not be written where a journal was kept."""
    kind = pa.month_day_nano_interval()
    few = pa.array([pa.MonthDayNano([1, -2, 3]), None], kind)
    for array in (few, pa.concat_arrays([few] * (FEW_ROWS_MAX + 1))):
        texts = json_texts(array)
        assert texts[:2] == ["[1, -2, 3]", "null"]
        assert from_json([json.loads(text) for text in texts], kind).equals(array)
        assert read_texts(pa.array(texts), kind).equals(array)
        table = pa.table({"span": array})
        (read,) = read_objects(pa.array(row_texts(table), pa.string()), {"span": kind})
        assert read.equals(array)
