"""Parameters of which pyarrow makes no array reach a statement as they are."""

from __future__ import annotations

import pyarrow as pa
import pytest

LISTS = [
    pa.scalar(None, pa.list_(pa.int32())),
    pa.scalar(None, pa.list_(pa.float32(), 2)),
    pa.scalar(None, pa.map_(pa.string(), pa.int32())),
    pa.scalar([None, [1, None]], pa.list_(pa.list_(pa.int64()))),
    pa.scalar([("k", None)], pa.map_(pa.string(), pa.int32())),
    pa.scalar([2**62], pa.list_(pa.timestamp("ns"))),
]


@pytest.mark.parametrize("value", LISTS, ids=lambda each: str(each.type))
def test_a_list_that_is_null_or_has_lists_is_a_parameter(session, value: pa.Scalar) -> None:
    found = session.sql("SELECT $v AS v, $v IS NULL AS n", v=value).to_arrow()
    assert (found.schema.field("v").type, found["v"][0].equals(value)) == (value.type, True)
    assert found["n"].to_pylist() == [not value.is_valid]
    assert session.sql("SELECT 1 AS a WHERE $1 IS NULL", [value]).num_rows == (not value.is_valid)


def test_nothing_is_known_of_what_is_in_a_list_that_is_null(session) -> None:
    nothing = pa.scalar(None, pa.list_(pa.int64()))
    for asked in ("1 IN $i", "1 NOT IN $i", "1 IN ($i)"):
        assert session.sql(f"SELECT {asked} AS x", i=nothing).to_pylist() == [{"x": None}]
