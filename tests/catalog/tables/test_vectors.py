"""Vectors that no search could find are refused in every column, or left out where that is asked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import affidavit
from affidavit import errors

TYPE = pa.list_(pa.float32(), 2)
SCHEMA = pa.schema([("id", pa.int64()), ("vector", TYPE), ("other", TYPE)])
BAD = [
    ([float("nan"), 1.0], "NaN or infinity"),
    ([1.0, float("-inf")], "NaN or infinity"),
    ([0.0, 0.0], "zero vector"),
    ([1e-25, 1e-25], "square leaves float32"),
    ([2e19, 0.0], "square leaves float32"),
]


def rows(bad: list[float], column: str) -> list[dict[str, Any]]:
    good = {"vector": [1.0, 0.0], "other": [0.0, 1.0]}
    return [{"id": 7, **good}, {"id": 8, **good, column: bad}, {"id": 9, **good}]


@pytest.fixture
def table(session: affidavit.Session) -> affidavit.VectorTable:
    return session.create_vector_table("docs", schema=SCHEMA)


@pytest.mark.parametrize("column", ["vector", "other"])
@pytest.mark.parametrize(("bad", "told"), BAD)
def test_a_bad_vector_is_refused_wherever_it_is_written(session, table, column, bad, told) -> None:
    """Only the first column was checked; cosine of a very short vector gave -inf."""
    data = pa.Table.from_pylist(rows(bad, column), SCHEMA)
    session.attach("frame", data)
    words = rf"column '{column}'.*\(id = 8\).*{told}"
    for write in (
        lambda: session.create_vector_table("made", data),
        lambda: table.insert(data),
        lambda: table.upsert(data),
        lambda: session.sql("INSERT INTO docs SELECT * FROM frame"),
    ):
        with pytest.raises(errors.ConstraintError, match=words):
            write()
    assert table.count() == 0
    table.insert(rows([1.0, 1.0], column))
    with pytest.raises(errors.ConstraintError, match=words):
        table.update({column: bad}, "id = 8")
    with pytest.raises(errors.InvalidQueryError, match=told):
        session.search("docs", bad, column=column)
    with pytest.raises(errors.InvalidQueryError, match=f"{told}|finite numbers"):
        session.triggers.near("t", "docs", query=bad, within=1.0, publish="near", column=column)


def test_a_bad_value_of_a_new_column_is_refused(session, table) -> None:
    table.insert(rows([1.0, 1.0], "other"))
    for value in ("[0.0, 0.0]", "[1e-25, 1e-25]"):
        with pytest.raises(errors.ConstraintError, match="column 'third'.*its value"):
            session.sql(f"ALTER TABLE docs ADD COLUMN third FLOAT[2] DEFAULT {value}")
    session.sql("ALTER TABLE docs ADD COLUMN third FLOAT[2] DEFAULT [1.0, 0.5]")
    assert session.search("docs", [1.0, 0.5], column="third", k=9).num_rows == 3


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_zero_has_a_distance_but_no_direction(session, metric) -> None:
    made = session.create_vector_table(metric, rows([0.0, 0.0], "vector"), metric=metric)
    assert session.search(metric, [0.0, 0.0], k=9).num_rows == 3
    with pytest.raises(errors.ConstraintError, match="square leaves"):
        made.insert(rows([1e-25, 0.0], "vector"))


@pytest.mark.parametrize("length", [1.1e-15, 1e-5, 1e5, 8.8e18])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_vectors_of_every_length_that_is_taken_are_ranked_right(session, metric, length) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(50, 4)).astype("f4")
    vectors *= np.float32(length) / np.linalg.norm(vectors, axis=1, keepdims=True)
    data = [{"id": at, "vector": each.tolist()} for at, each in enumerate(vectors)]
    session.create_vector_table("docs", data, metric=metric)
    found = session.search("docs", vectors[3], k=50).to_pylist()
    exact = vectors.astype("f8") / length
    way = ((exact - exact[3]) ** 2).sum(axis=1)
    assert [row["id"] for row in found[:10]] == np.argsort(way, kind="stable")[:10].tolist()
    assert all(np.isfinite(row["_distance"]) for row in found)


@pytest.mark.parametrize(("bad", "_"), [*BAD, ([1.0], ""), ([1.0, 2.0, 3.0], "")])
@pytest.mark.parametrize("column", ["vector", "other"])
def test_bad_vectors_may_be_dropped_or_nulled(session, table, bad, _, column) -> None:
    data = pa.Table.from_pylist(
        rows(bad, column), pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float64())), ("other", pa.list_(pa.float64()))])
    )  # fmt: skip
    assert table.insert(data, on_bad_vectors="drop") == 2
    assert table.upsert(data, on_bad_vectors="null") == 3
    found = {row["id"]: row[column] for row in table.to_arrow().to_pylist()}
    assert [at for at, value in found.items() if value is None] == [8]
    typed = data if len(bad) == 2 else None
    if typed is not None:
        made = session.create_vector_table("made", typed.cast(SCHEMA), on_bad_vectors="drop")
        assert made.count() == 2


def test_p12_what_becomes_of_bad_vectors_is_one_of_three(session, table) -> None:
    for write in (table.insert, table.upsert):
        with pytest.raises(errors.InvalidQueryError, match="on_bad_vectors must be one of"):
            write([], on_bad_vectors="fill")
    with pytest.raises(errors.InvalidQueryError, match="on_bad_vectors"):
        session.create_vector_table("x", rows([1.0, 1.0], "other"), on_bad_vectors="ignore")


# --- rows by their keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vector", "mutable"])
def test_rows_are_had_and_deleted_by_their_keys(session, kind: str) -> None:
    data = [{"id": f"k{at}'", "n": at, "vector": [1.0, float(at)]} for at in range(900)]
    if kind == "vector":
        table: Any = session.create_vector_table("t", data)
    else:
        session.sql("CREATE TABLE t (id VARCHAR PRIMARY KEY, n INT)")
        table = session.table("t")
        table.insert([{"id": row["id"], "n": row["n"]} for row in data])

    def numbers(keys: object) -> list[int]:
        return sorted(row["n"] for row in table.get(keys).to_pylist())

    assert numbers("k3'") == [3]
    assert numbers(["k3'", "k5'", "nope", "k3'"]) == [3, 5]
    assert numbers([]) == []
    assert numbers(pa.array(["k1'"])) == [1]
    assert numbers({"id": "k2'"}) == [2]
    assert numbers(f"k{at}'" for at in range(0, 900, 2)) == list(range(0, 900, 2))
    assert table.delete(keys=["k3'", "nope"]) == 1
    assert table.delete(keys=[]) == 0
    assert table.delete(keys=[f"k{at}'" for at in range(400)]) == 399
    assert table.delete("n = 400") == 1
    assert table.count() == 499
    for bad in (None, [None], [{"nope": 1}], [("a", "b")], [{}], range(10_001)):
        with pytest.raises(errors.InvalidQueryError, match="a key of table 't'|at once"):
            table.get(bad)
    for call in ({}, {"where": "true", "keys": ["a"]}):
        with pytest.raises(errors.InvalidQueryError, match="where= or keys="):
            table.delete(**call)


def test_keys_of_several_columns_are_tuples_or_dicts(session) -> None:
    session.sql("CREATE TABLE t (day DATE, n INT, x INT, PRIMARY KEY (day, n))")
    table = session.table("t")
    days = [dt.date(2024, 1, 1) + dt.timedelta(at) for at in range(400)]
    table.insert([{"day": day, "n": at, "x": at} for at, day in enumerate(days)])
    assert table.get((days[3], 3)).to_pylist() == [{"day": days[3], "n": 3, "x": 3}]
    assert table.get([(days[3], 4), {"n": 5, "day": days[5]}]).num_rows == 1
    assert table.get([(day, at) for at, day in enumerate(days)]).num_rows == 400
    assert table.delete(keys=[(day, at) for at, day in enumerate(days[:350])]) == 350
    with pytest.raises(errors.InvalidQueryError, match=r"columns \['day', 'n'\]"):
        table.get([days[0]])
    session.sql("CREATE TABLE loose (n INT)")
    with pytest.raises(errors.ConstraintError, match="no primary key"):
        session.table("loose").get([1])


@pytest.mark.parametrize("how", ["before", "emptied"])
def test_a_text_index_of_no_rows_finds_those_that_come(session, how: str) -> None:
    rows = [{"id": 1, "body": "a cat", "vector": [1.0, 0.0]}]
    table = session.create_vector_table("e", rows)
    table.delete("id = 1")
    table.create_index("body", "FTS")
    assert session.search("e", "cat", mode="text").num_rows == 0
    table.insert(rows)
    assert session.search("e", "cat", mode="text").num_rows == 1
    if how == "emptied":
        table.delete("id = 1")
        assert session.search("e", "cat", mode="text").num_rows == 0


def test_a_version_without_a_column_that_is_needed_is_not_restored(session) -> None:
    table = session.create_vector_table("e", [{"id": 1, "body": "x", "vector": [1.0, 0.0]}])
    session.sql("ALTER TABLE e RENAME COLUMN id TO key")
    with pytest.raises(errors.InvalidQueryError, match=r"has no columns \['key'\]"):
        table.restore(1)
    table.insert([{"key": 2, "body": "y", "vector": [0.0, 1.0]}])
    assert session.search("e", [0.0, 1.0], k=1).to_pylist()[0]["key"] == 2


def test_the_least_integer_is_compared_in_a_search(session) -> None:
    session.create_vector_table("e", [{"id": 1, "vector": [1.0, 0.0]}])
    for where in ("id < -9223372036854775808", "id = -9223372036854775808"):
        assert session.search("e", [1.0, 0.0], where=where).num_rows == 0
