"""Python's values of Arrow's moments are the same whatever their unit, and whatever is installed."""

from __future__ import annotations

import datetime as dt
import warnings

import pyarrow as pa
import pytest

from affidavit.catalog.values.python.values import python_rows

STAMP, LATER = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
AT = dt.datetime(1970, 1, 1, 0, 0, 0, 5)


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [
        (STAMP, 5_000, AT),
        (LATER, 5_000, AT.replace(tzinfo=dt.UTC)),
        (pa.time64("ns"), 5_000, dt.time(0, 0, 0, 5)),
        (pa.duration("ns"), 5_000, dt.timedelta(microseconds=5)),
        (pa.list_(STAMP), [5_000, None], [AT, None]),
        (pa.list_(STAMP, 1), [5_000], [AT]),
        (pa.struct([("x", STAMP)]), {"x": 5_000}, {"x": AT}),
        (pa.map_(pa.string(), STAMP), [("k", 5_000)], [("k", AT)]),
        (pa.timestamp("s"), 0, AT.replace(microsecond=0)),
    ],
)
def test_a_moment_is_of_pythons_own_types(kind: pa.DataType, count: object, value: object) -> None:
    column = pa.array([None, count, None], kind)
    for table in (pa.table({"a": column}), pa.table({"a": column}).slice(1)):
        found = [row["a"] for row in python_rows(table)]
        assert found == [None, value, None][-table.num_rows :]
        assert {type(each) for each in found} == {type(None), type(value)}


def test_a_dictionary_of_moments_is_moments() -> None:
    column = pa.array([5_000, 5_000], STAMP).dictionary_encode()
    assert python_rows(pa.table({"a": column})) == [{"a": AT}, {"a": AT}]


@pytest.mark.parametrize("kind", [STAMP, pa.list_(STAMP)])
def test_nanoseconds_are_cut_off_with_a_warning(kind: pa.DataType) -> None:
    """Python has no place for them: who needs them is told where they are."""
    value = 5_999 if kind == STAMP else [5_999]
    with pytest.warns(UserWarning, match="to_arrow"):
        found = python_rows(pa.table({"a": pa.array([value], kind)}))
    assert found == [{"a": AT if kind == STAMP else [AT]}]


def test_what_is_exact_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        python_rows(pa.table({"a": pa.array([5_000], STAMP), "b": ["x"]}))
