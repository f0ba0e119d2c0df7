"""Plain rows are what the codecs and the JSON texts make of the same rows in Arrow."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.python.plain import TEXT_MAX, NotPlainError, Plain
from affidavit.catalog.values.text import json_texts

KINDS = {
    "i": pa.int64(), "b": pa.int8(), "u": pa.uint32(), "x": pa.float64(), "t": pa.bool_(),
    "s": pa.string(), "l": pa.large_string(), "m": pa.timestamp("us"), "d": pa.decimal128(9, 2),
}  # fmt: skip
SCHEMA = pa.schema(list(KINDS.items()))
PLAIN = Plain(SCHEMA, ["i"])
VALUES = {
    "i": st.integers(-(2**63), 2**63 - 1), "b": st.integers(-128, 127),
    "u": st.integers(0, 2**32 - 1),
    "x": st.floats(allow_nan=False) | st.integers(-(2**53), 2**53), "t": st.booleans(),
    "s": st.text(st.characters(codec="utf-8")), "l": st.text(st.characters(codec="utf-8")),
    "m": st.datetimes(), "d": st.none(),
}  # fmt: skip
ROWS = st.fixed_dictionaries(
    {"i": VALUES.pop("i")}, optional={name: st.none() | each for name, each in VALUES.items()}
)


@given(ROWS)
def test_a_plain_row_is_kept_and_told_as_arrow_has_it(row) -> None:
    kept, texts = PLAIN.row(row)
    arrays = [pa.array([row.get(name)], kind) for name, kind in KINDS.items()]
    assert kept == tuple(codec_for(each.type).values(each)[0] for each in arrays)
    assert list(map(type, kept)) == [type(codec_for(a.type).values(a)[0]) for a in arrays]
    assert texts == tuple(json_texts(each)[0] for each in arrays)
    assert PLAIN.told(kept) == texts


@pytest.mark.parametrize(
    "row",
    [
        {}, {"i": None}, {"i": True}, {"i": 2**63}, {"i": 1.0}, {"i": 1, "b": 128},
        {"i": 1, "u": -1}, {"i": 1, "x": float("nan")}, {"i": 1, "x": 2**53 + 1},
        {"i": 1, "x": True}, {"i": 1, "t": 1}, {"i": 1, "s": b"x"}, {"i": 1, "s": "\ud800"},
        {"i": 1, "s": "x" * (TEXT_MAX + 1)}, {"i": 1, "m": datetime(2020, 1, 1, tzinfo=UTC)},
        {"i": 1, "m": "2020-01-01"}, {"i": 1, "d": 1}, {"i": 1, "other": 1},
    ],
)  # fmt: skip
def test_what_arrow_converts_or_refuses_is_not_plain(row) -> None:
    with pytest.raises(NotPlainError):
        PLAIN.row(row)


@pytest.mark.parametrize("kept", [(1.0, *[None] * 8), (1, *[None] * 6, 2**62, None)])
def test_what_nobody_wrote_here_is_not_plain(kept) -> None:
    with pytest.raises(NotPlainError):
        PLAIN.told(kept)
