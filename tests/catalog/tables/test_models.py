"""A row of text without a vector is not stored where a model is to find it by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from affidavit import Session

SCHEMA = {"id": pa.int64(), "text": pa.string(), "vector": pa.list_(pa.float32(), 3)}


def encode(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0, 2.0] for text in texts]


@pytest.mark.parametrize("row", [{"id": 2, "text": "abc"}, {"id": 2, "text": "a", "vector": None}])
def test_a_row_without_a_vector_is_refused(session: Session, row: dict[str, object]) -> None:
    """A NULL vector was stored, which no search finds."""
    session.models.register("lengths", encode, version="1", dim=3)
    table = session.create_vector_table("v", schema=SCHEMA, model="lengths")
    table.insert([{"id": 1, "text": "a", "vector": [1.0, 1.0, 2.0]}])
    for ask in (
        lambda: table.insert([row]),
        lambda: table.upsert([row]),
        lambda: session.sql("INSERT INTO v (id, text) VALUES (2, 'abc')"),
        lambda: session.create_vector_table(
            "w", pa.Table.from_pylist([row], pa.schema(SCHEMA)), model="lengths"
        ),
    ):
        with pytest.raises(ConstraintError, match=r"row 0 for .*models\.encode\('lengths'"):
            ask()
    assert table.count() == 1
    table.insert([{**row, "vector": session.models.encode("lengths", ["abc"])[0]}])
    assert session.search("v", "abc", 1).to_pylist()[0]["id"] == 2


def test_a_table_without_a_model_may_have_no_vector(session: Session) -> None:
    table = session.create_vector_table("v", schema=SCHEMA)
    assert table.insert([{"id": 1, "text": "abc"}]) == 1
