"""Every door that takes rows takes them in the same forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel, Vector

from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from affidavit import Session

ONE = UUID(int=1)
SCHEMA = {"id": pa.int64(), "name": pa.string(), "vector": pa.list_(pa.float32(), 2)}


@dataclass
class Data:
    id: int
    name: str | UUID
    vector: Any


class Named(NamedTuple):
    id: int
    name: str
    vector: list[float]


class Document(LanceModel):
    id: int
    name: str
    vector: Vector(2)  # type: ignore[valid-type]


FORMS = {
    "dataclass": Data(1, ONE, [1.0, 2.0]),
    "dataclasses": [Data(1, ONE, np.array([1.0, 2.0]))],
    "named tuples": (Named(1, str(ONE), [1.0, 2.0]),),
    "models": [Document(id=1, name=str(ONE), vector=[1.0, 2.0])],
    "dicts": [{"id": 1, "name": ONE, "vector": np.array([1.0, 2.0], np.float16)}],
    "columns": {"id": [1], "name": [ONE], "vector": np.array([[1.0, 2.0]])},
    "pandas": pd.DataFrame({"id": [1], "name": [str(ONE)], "vector": [[1.0, 2.0]]}),
    "indexed": pd.DataFrame({"name": [str(ONE)], "vector": [[1.0, 2.0]]}, pd.Index([1], name="id")),
    "polars": pl.DataFrame(
        {"id": [1], "name": pl.Series([str(ONE)], dtype=pl.Categorical), "vector": [[1.0, 2.0]]}
    ),
}
ROW = {"id": 1, "name": str(ONE), "vector": [1.0, 2.0]}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_table_and_a_topic_take_rows_in_any_form(session: Session, form: str) -> None:
    data = FORMS[form]
    mutable = session.create_table("m", schema=SCHEMA, primary_key="id")
    vector = session.create_vector_table("v", schema=SCHEMA)
    session.topics.register("t", SCHEMA)
    for table in (mutable, vector):
        assert table.insert(data) == 1
        assert table.upsert(data) == 1
        assert table.to_arrow().to_pylist() == [ROW]
    assert session.topics.publish("t", data) == 0
    assert session.sql("SELECT id, name, vector FROM topics.t").to_pylist() == [ROW]
    session.create_table("n", data)
    session.attach("f", data)
    for name in ("n", "f"):
        found = session.sql(f"SELECT id, name, vector FROM {name} WHERE name = $u", u=ONE)
        assert found.to_pylist() == [ROW]


@pytest.mark.parametrize("data", ["text", 5, [5], pl.Series([1]), np.eye(2), object()])
def test_what_is_no_rows_is_refused_by_every_door(session: Session, data: Any) -> None:
    mutable = session.create_table("m", schema=SCHEMA)
    vector = session.create_vector_table("v", schema=SCHEMA)
    session.topics.register("t", SCHEMA)
    for ask in (
        mutable.insert, vector.insert, vector.upsert, lambda data: session.topics.publish("t", data),
        lambda data: session.create_table("n", data),
        lambda data: session.create_vector_table("w", data),
    ):  # fmt: skip
        with pytest.raises(SchemaMismatchError):
            ask(data)
