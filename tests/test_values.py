"""P10: what the journal writes down reads back to the exact value."""

from __future__ import annotations

import json
import math

import pyarrow as pa
from hypothesis import given, settings

from affidavit.catalog.values import from_json, json_texts
from tests.arrow_values import arrays, bits


def same(left: pa.Array, right: pa.Array) -> bool:
    """Bit for bit, but for what a NaN carries besides being one."""
    if pa.types.is_floating(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return all(
            repr(a) == repr(b) or (None not in (a, b) and math.isnan(a) and math.isnan(b))
            for a, b in pairs
        )
    return bits(left) == bits(right)


@given(arrays())
@settings(max_examples=600)
def test_p10_json_texts_read_back_to_the_values(array: pa.Array) -> None:
    for part in (array, array.slice(1), array.slice(0, 0)):
        texts = json_texts(part)
        read = from_json([json.loads(text) for text in texts], part.type)
        read.validate(full=True)
        assert read.type == part.type
        assert same(read, part) or pa.types.is_nested(part.type), texts
        if pa.types.is_nested(part.type):
            assert json_texts(read) == texts


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
