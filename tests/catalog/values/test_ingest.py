"""Lists of dicts become one batch at once, or column by column: with the same result."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.values import ingest
from affidavit.errors import SchemaMismatchError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("small", pa.int8()),
        pa.field("share", pa.float32()),
        pa.field("name", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("price", pa.decimal128(9, 2)),
        pa.field("parts", pa.list_(pa.int16())),
        pa.field("pair", pa.struct([pa.field("a", pa.int32()), pa.field("b", pa.string())])),
    ]
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-200, 200), st.floats(), st.text(max_size=3),
    st.dates(), st.datetimes(timezones=st.just(dt.UTC)), st.decimals(-100, 100, places=2),
    st.lists(st.integers(-9, 9), max_size=3), st.binary(max_size=3),
    st.fixed_dictionaries({"a": st.integers(0, 9)}, optional={"b": st.text(max_size=2)}),
    st.builds(np.int64, st.integers(0, 9)), st.builds(np.float64, st.floats()),
)  # fmt: skip
ROWS = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(SCHEMA.names), VALUES, max_size=4),
        st.fixed_dictionaries(
            {"id": st.integers()},
            optional={
                "small": st.integers(-128, 127) | st.floats(), "share": st.floats(width=32),
                "name": st.text(), "day": st.dates(), "price": st.just(Decimal("1.25")),
                "at": st.datetimes(timezones=st.just(dt.UTC)), "parts": st.just([1, None]),
                "pair": st.just({"a": 1}),
            },
        ),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def outcome(rows: list[dict[str, Any]], optional: tuple[str, ...]) -> object:
    try:
        batch = ingest.schema_rows(rows, SCHEMA, table="t", optional=optional)
    except SchemaMismatchError as error:
        return str(error)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:  # where NaN is equal to itself
        stream.write_batch(batch)
    return batch.schema, sink.getvalue().to_pybytes()


@given(rows=ROWS, optional=st.sampled_from([(), ("small",), ("small", "name")]))
def test_rows_at_once_are_what_they_are_column_by_column(
    rows: list[dict[str, Any]], optional: tuple[str, ...]
) -> None:
    found = outcome(rows, optional)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "_at_once", lambda *_: None)
        assert outcome(rows, optional) == found


def test_a_float_never_loses_its_fraction_on_the_way_to_an_integer() -> None:
    with pytest.raises(SchemaMismatchError, match="'small'"):
        ingest.schema_rows([{"id": 1, "small": 1.5}], SCHEMA, table="t", optional=())
    whole = ingest.schema_rows([{"id": 1, "small": 2.0}], SCHEMA, table="t", optional=())
    assert whole["small"].to_pylist() == [2]
