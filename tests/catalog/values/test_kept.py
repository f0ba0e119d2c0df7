"""Columns of types that no table keeps, as those that it does."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from affidavit.catalog.values.ingest import new_rows

VIEWS = pa.array([[1, 2], None, [], [3]], pa.list_view(pa.int64()))


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (VIEWS, pa.list_(pa.int64())),
        (VIEWS.slice(1, 2), pa.list_(pa.int64())),
        (VIEWS.slice(3), pa.list_(pa.int64())),
        (pa.array([[["a"], None], None], pa.list_view(pa.list_view(pa.string_view()))), None),
        (pa.array([[1]], pa.large_list_view(pa.int8())), pa.large_list(pa.int8())),
        (pc.run_end_encode(pa.array([1, 1, None, 2])), pa.int64()),
        (pc.run_end_encode(pa.array(["a", "a", None, "b"])).slice(1, 2), pa.string()),
        (pa.array([{"x": [1, None]}, None], pa.struct([("x", pa.list_view(pa.int64()))])), None),
    ],
    ids=str,
)
def test_runs_and_views_of_lists_are_their_values(array, kind) -> None:
    [batch] = new_rows(pa.table({"a": array}))
    found = batch.column(0)
    found.validate(full=True)
    assert found.to_pylist() == array.to_pylist()
    assert kind is None or found.type == kind


def test_they_go_into_a_table_and_come_out(session) -> None:
    data = pa.table(
        {"id": [1, 2, 3, 4], "v": VIEWS, "r": pc.run_end_encode(pa.array([7, 7, 8, 8]))}
    )
    session.create_table("t", data, primary_key="id")
    session.table("t").insert(data.set_column(0, "id", pa.array([5, 6, 7, 8])))
    assert session.sql("SELECT v, r FROM t WHERE id > 4 ORDER BY id").to_pylist() == [
        {"v": v, "r": r} for v, r in zip(VIEWS.to_pylist(), [7, 7, 8, 8], strict=True)
    ]
