"""A table's columns, in every form in which callers write a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel, Vector

from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from affidavit import Session


class Document(LanceModel):
    id: int
    vector: Vector(2)  # type: ignore[valid-type]


PAIRS = [("id", pa.int64()), ("vector", pa.list_(pa.float32(), 2))]
FORMS = [pa.schema(PAIRS), dict(PAIRS), PAIRS, [pa.field(*each) for each in PAIRS], Document]
WRONG = [{}, [], pa.schema([]), {"id": int}, ["id"], "id", 5, object(), int, [1]]


@pytest.mark.parametrize("schema", FORMS)
def test_a_schema_is_taken_in_any_form(session: Session, schema: Any) -> None:
    row = {"id": 1, "vector": [1.0, 2.0]}
    assert session.create_vector_table("v", schema=schema).insert(row) == 1
    assert session.create_table("m", schema=schema).insert(row) == 1
    assert session.create_table("n", [row], schema=schema).schema.names == ["id", "vector"]
    assert session.topics.register("t", schema).schema.names == ["id", "vector"]


@pytest.mark.parametrize("schema", WRONG)
def test_what_is_no_schema_is_refused(session: Session, schema: Any) -> None:
    for ask in (
        lambda: session.create_vector_table("v", schema=schema),
        lambda: session.create_table("m", schema=schema),
        lambda: session.topics.register("t", schema),
    ):
        with pytest.raises(SchemaMismatchError, match="schema="):
            ask()


@pytest.mark.parametrize("data", [[], {}, pa.table({}), iter(())])
def test_a_table_without_columns_is_refused(session: Session, data: Any) -> None:
    with pytest.raises(SchemaMismatchError, match="no columns"):
        session.create_table("m", data)
    assert session.tables().to_pylist() == []
