"""What callers hold is read as it is meant, or refused by an error of the tree."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pydantic
import pytest
from lancedb.pydantic import LanceModel, Vector

from affidavit.catalog.values.ingest import new_rows, to_reader
from affidavit.errors import AffidavitError, SchemaMismatchError, UnsupportedTypeError

ONE = uuid.UUID(int=7)
UTC = dt.UTC
DAY = dt.datetime(2024, 1, 2)


@dataclass
class Inner:
    x: int


@dataclass
class Person:
    id: int
    name: str
    inner: Inner | None = None


class Pair(NamedTuple):
    id: int
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str


class Document(LanceModel):
    id: int
    name: str
    vector: Vector(2)  # type: ignore[valid-type]


def read(data: object, schema: pa.Schema | None = None) -> pa.Table:
    return new_rows(data, schema).read_all()


@pytest.mark.parametrize(
    "rows",
    [
        [Person(1, "a"), Person(2, "b")],
        [Pair(1, "a"), Pair(2, "b")],
        [Model(id=1, name="a"), Model(id=2, name="b")],
        [Document(id=1, name="a", vector=[1, 2]), Document(id=2, name="b", vector=[1, 2])],
        [{"id": 1, "name": "a"}, Pair(2, "b")],
        (Model(id=1, name="a"), {"id": 2, "name": "b"}),
        iter([Person(1, "a"), Person(2, "b")]),
        {"id": [1, 2], "name": ["a", "b"]},
        {"id": np.array([1, 2]), "name": pd.Series(["a", "b"])},
        {"id": pa.array([1, 2]), "name": pl.Series(["a", "b"])},
        pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}),
        pl.DataFrame({"id": [1, 2], "name": ["a", "b"]}),
        pl.LazyFrame({"id": [1, 2], "name": ["a", "b"]}),
    ],
)
def test_rows_come_from_whatever_has_names(rows: object) -> None:
    found = read(rows).select(["id", "name"]).to_pylist()
    assert found == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]


@pytest.mark.parametrize("row", [Person(1, "a", Inner(3)), Pair(1, "a"), Model(id=1, name="a")])
def test_one_row_is_a_table_of_one_row(row: object) -> None:
    assert read(row).num_rows == 1


def test_a_dataclass_in_a_row_is_a_struct() -> None:
    assert read([Person(1, "a", Inner(3))])["inner"].to_pylist() == [{"x": 3}]


TABLE = pa.table({"a": [1, 2, 3]})


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.to_batches(),
        iter(TABLE.to_batches()),
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        pyarrow.dataset.dataset(TABLE),
        pyarrow.dataset.dataset(TABLE).scanner(),
    ],
)
def test_arrow_data_in_any_form_is_taken(data: object) -> None:
    assert read(data) == TABLE


CATEGORIES = [
    pl.DataFrame({"c": pl.Series(["a", None, "b"], dtype=pl.Categorical)}),
    pl.DataFrame({"c": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a"]))}),
    pl.DataFrame({"c": pl.Series(["x", "a", None, "b"], dtype=pl.Categorical)}).slice(1),
    pd.DataFrame({"c": pd.Categorical(["a", None, "b"])}),
    {"c": pl.Series(["a", None, "b"], dtype=pl.Categorical)},
    pa.table(pl.DataFrame({"c": pl.Series(["a", None, "b"], dtype=pl.Categorical)})),
]


@pytest.mark.parametrize("data", CATEGORIES)
def test_categories_are_text(data: object) -> None:
    found = read(data)
    assert found.schema.types == [pa.string()]
    assert found["c"].to_pylist() == ["a", None, "b"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pl.List(pl.Categorical), [["a", None], None, [], ["b"]]),
        (pl.Array(pl.Categorical, 2), [["a", None], None, ["b", "a"]]),
        (pl.Struct({"x": pl.Categorical}), [{"x": "a"}, {"x": None}, {"x": "b"}]),
        (pl.List(pl.Struct({"x": pl.Enum(["a", "b"])})), [[{"x": "a"}, {"x": "b"}], None, []]),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 2])
def test_categories_inside_are_text(kind: Any, values: list[Any], start: int) -> None:
    frame = pl.DataFrame({"c": pl.Series(values, dtype=kind)}).slice(start)
    found = read(frame)
    assert "dictionary" not in str(found.schema)
    found.validate(full=True)
    assert found["c"].to_pylist() == values[start:]


@pytest.mark.parametrize("start", [0, 1, 2])
def test_maps_with_dictionaries_of_views_are_text(start: int) -> None:
    kind = pa.map_(pa.string(), pa.dictionary(pa.int8(), pa.string_view()))
    values = [[("k", "a"), ("l", "b")], None, [], [("m", "b")]]
    words = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 1], pa.int8()), pa.array(["a", "b"], pa.string_view())
    )
    keys = pa.array(["k", "l", "m"])
    mask = pa.array([False, True, False, False])
    array = pa.MapArray.from_arrays(
        pa.array([0, 2, 2, 2, 3], pa.int32()), keys, words, kind, mask=mask
    )
    found = read(pa.table({"c": array}).slice(start))
    assert found["c"].to_pylist() == values[start:]


def test_a_dictionary_of_arrow_stays_one() -> None:
    """A schema that says dictionary is meant so: the column comes out as it came in."""
    table = pa.table({"c": pa.array(["a", "b"]).dictionary_encode()})
    assert read(table).schema == table.schema


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (pl.DataFrame({"o": pl.Series([{"k": 1}], dtype=pl.Object)}), "'o'.*Object"),
        ({"o": pl.Series([{"k": 1}], dtype=pl.Object)}, "'o'.*Object"),
        (pl.DataFrame({"i": pl.Series([1], dtype=pl.Int128)}), "'i'.*Int128"),
        (pl.DataFrame({"i": pl.Series([[1]], dtype=pl.List(pl.Int128))}), "'i'.*Int128"),
        (pl.Series("a", [1]), "to_frame"),
        (pd.Series([1], name="a"), "to_frame"),
        (pd.Index([1]), "to_frame"),
        (5, "got int"),
        ("text", "got str"),
        (b"bytes", "got bytes"),
        (Person, "got type"),
        (object(), "got object"),
        ([1, 2], "got int"),
        ([[1, 2]], "got list"),
        ([{"a": 1}, 5], "got int"),
        (np.eye(2), "got ndarray without names"),
        (np.zeros((2, 2, 2)), "got ndarray without names"),
        (np.array([1, 2]), "got int64"),
        ({"v": np.zeros((2, 2, 2))}, "'v' is an array of 3 dimensions"),
        ({"v": np.zeros((2, 0))}, "'v'.*no dimensions"),
        ([{"id": 1, "v": np.zeros((2, 2, 2))}], "'v'.*3 dimensions"),
        ({"a": [1, 2], "b": [1]}, "do not form a table"),
        ([{"a": object()}], "'a'"),
        ([{"a": 1}, {"a": "x"}], "'a'"),
        ([{1: 1, "1": 2}], "'1' stands twice"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "'a' stands twice"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "a"),
        ([pa.record_batch({"a": [1]}), pa.record_batch({"b": [1]})], "other columns"),
        ([pa.record_batch({"a": [1]}), 5], "other columns"),
    ],
)
def test_what_cannot_be_read_is_refused(data: object, told: str) -> None:
    with pytest.raises((SchemaMismatchError, UnsupportedTypeError), match=told):
        read(data)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_is_a_column_of_vectors(kind: str, order: Any) -> None:
    matrix = np.arange(6).reshape(3, 2).astype(kind, order=order)
    found = read({"id": [1, 2, 3], "v": matrix})
    assert found.schema.field("v").type.list_size == 2
    assert found["v"].to_pylist() == [[0, 1], [2, 3], [4, 5]]


def test_arrays_in_rows_are_lists() -> None:
    found = read([{"v": np.arange(2, dtype=np.float16), "m": np.eye(2)}])
    assert found.to_pylist() == [{"v": [0, 1], "m": [[1, 0], [0, 1]]}]


def test_numbers_of_numpy_are_no_columns() -> None:
    assert read({"id": np.int64(1), "v": [1.0, 2.0]}).to_pylist() == [{"id": 1, "v": [1.0, 2.0]}]


@pytest.mark.parametrize(
    ("data", "schema"),
    [
        ([{"u": ONE}], None),
        ([{"u": ONE}], pa.schema([("u", pa.string())])),
        ({"u": [ONE]}, None),
        ({"u": [ONE]}, pa.schema([("u", pa.string())])),
        (pa.table({"u": pa.array([ONE])}), None),
    ],
)
def test_uuids_are_text(data: object, schema: pa.Schema | None) -> None:
    assert read(data, schema).to_pylist() == [{"u": str(ONE)}]


def test_uuids_inside_and_beside_text_are_text() -> None:
    rows = [{"l": [ONE], "s": {"x": ONE}, "u": ONE}, {"l": None, "s": None, "u": "a"}]
    text = str(ONE)
    assert read(rows).to_pylist() == [
        {"l": [text], "s": {"x": text}, "u": text}, {"l": None, "s": None, "u": "a"}
    ]  # fmt: skip


AWARE = DAY.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "data",
    [
        [{"t": DAY}, {"t": AWARE}],
        [{"t": [DAY, AWARE]}],
        [{"t": {"x": DAY}}, {"t": {"x": AWARE}}],
        {"t": [AWARE, DAY]},
        {"t": np.array([AWARE, DAY], dtype=object)},
        pd.DataFrame({"t": [AWARE, DAY]}),
    ],
)
def test_naive_and_aware_datetimes_are_not_mixed(data: object) -> None:
    with pytest.raises(SchemaMismatchError, match="'t'.*time zone"):
        read(data)


def test_datetimes_of_several_zones_are_the_same_instants() -> None:
    there = AWARE.astimezone(dt.timezone(dt.timedelta(hours=5)))
    assert read([{"t": AWARE}, {"t": there}])["t"].to_pylist() == [AWARE, AWARE]


FRAME = pd.DataFrame({"a": [3, 4, 5]})


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (FRAME, ["a"]),
        (FRAME[1:], ["a"]),
        (FRAME.rename_axis("i"), ["i", "a"]),
        (FRAME.assign(b=1, c=2).set_index(["b", "c"]), ["b", "c", "a"]),
        (FRAME[FRAME["a"] > 9], ["a"]),
    ],
)
def test_an_index_with_names_is_columns(frame: pd.DataFrame, names: list[str]) -> None:
    assert read(frame).column_names == names


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.set_axis([7, 8, 9]),
        FRAME.iloc[[0, 2, 1]],
        FRAME.set_axis(pd.MultiIndex.from_tuples([(1, 2), (1, 3), (1, 4)], names=["x", None])),
        FRAME.rename_axis("a"),
    ],
)
def test_an_index_that_would_be_lost_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(SchemaMismatchError, match="reset_index|already exists"):
        read(frame)


def test_a_frame_that_is_compared_may_have_any_index() -> None:
    assert to_reader(FRAME.set_axis([7, 8, 9])).read_all()["a"].to_pylist() == [3, 4, 5]


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [Color.RED, 1j, object(), range(3), {1, 2}, lambda: 1, type])
def test_values_without_a_type_are_refused(value: object) -> None:
    try:
        read([{"a": value}])
    except AffidavitError as error:
        assert "'a'" in str(error)
