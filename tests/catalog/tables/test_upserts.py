"""An upsert of some columns keeps the others, of each row by itself."""

from __future__ import annotations

import pyarrow as pa
import pytest

from affidavit import errors
from affidavit.catalog.tables.upserts import parts


def rows(table) -> list[dict[str, object]]:
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])


@pytest.fixture
def things(session):
    session.sql(
        "CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR NOT NULL DEFAULT 'none', n INT "
        "DEFAULT 9 CHECK (n < 100), twice INT GENERATED ALWAYS AS (n * 2), no SERIAL)"
    )
    session.sql("INSERT INTO things (id, name, n) VALUES (1, 'one', 5), (2, 'two', 6)")
    return session.table("things")


def test_what_a_row_leaves_out_stays_and_a_new_row_has_its_default(session, things) -> None:
    """What was left out fell back to its default, or to NULL."""
    given = [{"id": 3}, {"id": 1, "name": "uno"}, {"id": 2, "n": 7}, {"id": 4, "n": None}]
    assert things.upsert(given) == 4
    assert rows(things) == [
        {"id": 1, "name": "uno", "n": 5, "twice": 10, "no": 1},
        {"id": 2, "name": "two", "n": 7, "twice": 14, "no": 2},
        {"id": 3, "name": "none", "n": 9, "twice": 18, "no": 3},
        {"id": 4, "name": "none", "n": None, "twice": None, "no": 4},
    ]
    frame = pa.table({"id": [1, 5], "n": pa.array([50, 60], pa.int64())})
    assert things.upsert(frame.to_reader()) == 2
    assert [row["n"] for row in rows(things)] == [50, 7, 9, None, 60]
    assert things.upsert(frame.schema.empty_table()) == 0
    with session.transaction():
        assert things.upsert({"id": 1, "name": "eins"}) == 1
    told = session.sql("SELECT count(*) AS n FROM journal WHERE field = 'name' AND entity_id = '1'")
    assert told.to_pylist() == [{"n": 2}]
    assert session.ledger.verify(data=True)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([{"id": 1, "n": 1}, {"id": 1, "name": "x"}], errors.ConstraintError),
        ([{"id": 1, "n": 100}], errors.ConstraintError),
        ([{"id": 1, "name": None}], errors.ConstraintError),
        ([{"id": 1, "twice": 3}], errors.ConstraintError),
        ([{"id": 1, "no": None}], errors.ConstraintError),
        ([{"n": 1}], errors.SchemaMismatchError),
        ([{"id": 1, "nope": 1}], errors.SchemaMismatchError),
        ([{"id": 1, "n": 2**40}], errors.SchemaMismatchError),
    ],
)
def test_what_cannot_be_upserted_changes_nothing(things, given, error) -> None:
    before = rows(things)
    with pytest.raises(error):
        things.upsert(given)
    assert rows(things) == before


def test_a_row_of_a_vector_table_keeps_what_it_leaves_out(session) -> None:
    """Its vector became NULL, and no search found it."""
    docs = session.create_vector_table(
        "docs", [{"id": at, "vector": [1.0, at], "title": "old", "n": at} for at in (1, 2)]
    )
    assert docs.upsert([{"id": 3, "title": "new"}, {"id": 1, "title": "new"}, {"id": 2, "n": 7}])
    assert docs.upsert(pa.table({"id": [2], "vector": [[3.0, 4.0]]})) == 1
    assert rows(docs) == [
        {"id": 1, "vector": [1.0, 1.0], "title": "new", "n": 1},
        {"id": 2, "vector": [3.0, 4.0], "title": "old", "n": 7},
        {"id": 3, "vector": None, "title": "new", "n": None},
    ]
    for given, error in (
        ([{"title": "x"}], errors.SchemaMismatchError),
        ([{"id": 1, "nope": 1}], errors.SchemaMismatchError),
        ([{"id": 1, "vector": [1.0]}], errors.SchemaMismatchError),
        ([{"id": 1, "n": 1}, {"id": 1, "title": "x"}], errors.ConstraintError),
    ):
        with pytest.raises(error):
            docs.upsert(given)
    assert docs.version == 3
    assert session.ledger.verify(data=True)


def test_a_null_that_is_given_is_named_before_anything_is_computed_of_it(session) -> None:
    session.sql("CREATE TABLE g (id INT PRIMARY KEY, x INT NOT NULL, y INT AS (x * 2) STORED)")
    session.sql("INSERT INTO g (id, x) VALUES (1, 2)")
    table = session.table("g")
    for write in (
        lambda: table.upsert([{"id": 1, "x": None}]),
        lambda: table.insert([{"id": 2, "x": None}]),
        lambda: session.sql("INSERT INTO g (id, x) VALUES (2, NULL)"),
        lambda: session.sql("UPDATE g SET x = NULL"),
    ):
        with pytest.raises(errors.ConstraintError, match="'x' of table 'g' is NOT NULL"):
            write()
    assert session.sql("SELECT x, y FROM g").to_pylist() == [{"x": 2, "y": 4}]


def test_many_rows_are_upserted_in_parts_as_one_change(session, monkeypatch) -> None:
    """All rows were looked at together: five million of them took 2.5 GB."""
    monkeypatch.setattr(parts, "PART_ROWS", 50)
    sizes = []
    upsert = parts.upsert_rows
    monkeypatch.setattr(
        parts, "upsert_rows", lambda *a, **k: sizes.append(a[3].num_rows) or upsert(*a, **k)
    )
    few = session.create_table(
        "few", pa.table({"id": range(0, 200, 2), "v": [1] * 100}), primary_key="id"
    )
    given = pa.table({"id": [*range(120)], "v": [2] * 120})
    assert few.upsert(given.to_reader(30)) == 120
    assert sizes == [50, 50, 20]
    assert few.to_arrow().sort_by("id").to_pylist() == [
        {"id": at, "v": 2 if at < 120 else 1} for at in range(200) if at < 120 or at % 2 == 0
    ]
    told = "SELECT action, count(*) AS n FROM journal WHERE entity_type = 'few' AND field IN ('v', '*') AND seq > $at GROUP BY action ORDER BY action"
    at = session.sql("SELECT max(seq) AS n FROM journal WHERE action = 'create'").to_pylist()[0][
        "n"
    ]
    assert [row["n"] for row in session.sql(told, at=at + 100)] == [60, 60]
    twice = pa.table({"id": [*range(500, 600), 500], "v": [3] * 101})
    with pytest.raises(errors.ConstraintError, match="id = 500"):
        few.upsert(twice.to_reader(30))
    assert few.count() == 160
    assert session.ledger.verify(data=True)


@pytest.mark.parametrize("rule", ["UNIQUE", "REFERENCES many (id)"])
def test_rows_that_may_stand_in_each_others_way_are_upserted_together(
    session, monkeypatch, rule
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    session.sql(f"CREATE TABLE many (id INT PRIMARY KEY, other INT {rule})")
    many = session.table("many")
    assert many.upsert(pa.table({"id": [1, 2, 3, 4], "other": [2, 3, 4, 1]}).to_reader(1)) == 4
    assert many.upsert(pa.table({"id": [1, 2, 3, 4], "other": [4, 1, 2, 3]}).to_reader(1)) == 4
    assert [row["other"] for row in rows(many)] == [4, 1, 2, 3]


def test_a_null_in_a_later_part_is_named_by_its_row_among_all(session, monkeypatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 50)
    session.sql("CREATE TABLE h (id INT PRIMARY KEY, x INT NOT NULL)")
    table = session.table("h")
    kinds = pa.schema([("id", pa.int32()), ("x", pa.int32())])
    given = pa.table({"id": [*range(120)], "x": [1] * 110 + [None] * 10}, kinds)
    with pytest.raises(errors.ConstraintError, match="row 110 has NULL: the one with id = 110"):
        table.upsert(given.to_reader(30))
    assert table.count() == 0
