"""What Python, pandas and polars do not hold is an error that names the column, never a value."""

from __future__ import annotations

from datetime import date, time

import pyarrow as pa
import pytest

from affidavit.engine.result.result import Result
from affidavit.errors import ExecutionError

DAY_US = 86_400_000_000
LEAST = -(2**63)


def counted(count: int, kind: pa.DataType) -> pa.Array:
    wide = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array([count], wide).view(kind)


def given(column: pa.Array, how: str) -> object:
    return getattr(Result.of(pa.table({"ok": [1], "at": column})), how)()


@pytest.mark.parametrize(
    ("count", "kind", "refused"),
    [
        (2**31 - 1, pa.date32(), {"to_pylist", "to_pandas"}),
        (2**63 - 1, pa.timestamp("us"), {"to_pylist"}),
        (-(2**63 - 1), pa.timestamp("us", "UTC"), {"to_pylist"}),
        (LEAST, pa.timestamp("us"), {"to_pylist", "to_pandas"}),
        (253_402_300_800, pa.timestamp("s"), {"to_pylist"}),
        (DAY_US, pa.time64("us"), {"to_pylist", "to_pandas", "to_polars"}),
        (-1, pa.time64("us"), {"to_pylist", "to_pandas", "to_polars"}),
        (86_400, pa.time32("s"), {"to_pylist", "to_pandas", "to_polars"}),
        (2**63 - 1, pa.duration("s"), {"to_pylist"}),
    ],
)
def test_a_value_that_is_not_held_is_an_error_of_its_column(
    count: int, kind: pa.DataType, refused: set[str]
) -> None:
    for how in ("to_pylist", "to_pandas", "to_polars"):
        if how in refused:
            with pytest.raises(ExecutionError, match="column 'at'.*CAST"):
                given(counted(count, kind), how)
        else:
            assert len(given(counted(count, kind), how)) == 1


@pytest.mark.parametrize("how", ["to_pylist", "to_pandas", "to_polars"])
def test_it_is_found_wherever_it_is_nested(how: str) -> None:
    late = counted(DAY_US, pa.time64("us"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), late)
    fixed = pa.FixedSizeListArray.from_arrays(late, 1)
    struct = pa.StructArray.from_arrays([late], ["t"])
    maps = pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["k"]), late)
    for column in (lists, fixed, struct, maps):
        with pytest.raises(ExecutionError, match="column 'at'"):
            given(column, how)


def test_what_is_held_stays_as_it_is() -> None:
    table = pa.table({"t": [time(23, 59, 59), None], "d": [date(1, 1, 1), date(9999, 12, 31)]})
    assert Result.of(table).to_pylist() == table.to_pylist()
    assert list(Result.of(table).to_pandas()["d"]) == [date(1, 1, 1), date(9999, 12, 31)]
