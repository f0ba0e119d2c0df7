"""The clauses of INSERT, ON CONFLICT, MERGE, RETURNING and TRUNCATE, as SQL has them."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import affidavit
from affidavit.errors import AffidavitError, ConstraintError, SqlError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def people(session: affidavit.Session) -> affidavit.Session:
    session.sql(
        "CREATE TABLE people (id INT PRIMARY KEY, mail VARCHAR UNIQUE, n INT DEFAULT 3 + 4, "
        "sum DECIMAL(18, 2) DEFAULT 1.5)"
    )
    session.sql("INSERT INTO people VALUES (1, 'a', 1, 1), (2, 'b', 2, 2), (3, NULL, 3, 3)")
    session.sql("CREATE TABLE news (id INT, name VARCHAR, extra INT)")
    session.sql("INSERT INTO news VALUES (1, 'anna', 10), (9, 'new', 20)")
    return session


def rows(session: affidavit.Session, text: str, **params: object) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in session.sql(text, **params).to_pylist()]


ONE, HALF = Decimal("1.00"), Decimal("1.50")


@pytest.mark.parametrize(
    ("text", "returned"),
    [
        ("VALUES (5, 'e', DEFAULT, DEFAULT), (6, 'f', 6, 2)", [(5, 7, HALF), (6, 6, Decimal(2))]),
        ("(id) VALUES (5)", [(5, 7, HALF)]),
        ("(sum, id) VALUES (DEFAULT, (SELECT max(id) + 1 FROM people))", [(4, 7, HALF)]),
        ("BY NAME SELECT 4 AS n, 5 AS id", [(5, 4, HALF)]),
        ("VALUES (5, 'e', 1, 1234567890123456.78)", [(5, 1, Decimal("1234567890123456.78"))]),
        ("VALUES (5, 'e', 1, 0.285)", [(5, 1, Decimal("0.29"))]),
    ],
)
def test_an_insert_gives_each_column_what_is_said_or_its_default(people, text, returned) -> None:
    assert rows(people, f"INSERT INTO people {text} RETURNING id, n, sum") == returned


def test_insert_default_values_gives_every_column_its_default(session) -> None:
    session.sql("CREATE TABLE settings (a INT DEFAULT 1, b INT)")
    assert rows(session, "INSERT INTO settings DEFAULT VALUES RETURNING *") == [(1, None)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("OR IGNORE INTO people (id, mail) VALUES (9, 'a'), (8, 'x'), (7, 'x'), (6, NULL)",
         [(1, "a"), (2, "b"), (3, None), (6, None), (8, "x")]),
        ("OR REPLACE INTO people (id, mail) VALUES (1, 'b'), (5, 'e')",
         [(1, "b"), (3, None), (5, "e")]),
        ("OR REPLACE INTO people (id, mail) VALUES (5, 'x'), (5, 'y')",
         [(1, "a"), (2, "b"), (3, None), (5, "y")]),
        ("INTO people (id, mail) VALUES (9, 'a'), (8, 'x') ON CONFLICT DO NOTHING",
         [(1, "a"), (2, "b"), (3, None), (8, "x")]),
        ("INTO people (id, mail) VALUES (9, 'a') ON CONFLICT DO UPDATE SET mail = 'hit'",
         [(1, "hit"), (2, "b"), (3, None)]),
        ("INTO people (id, mail) VALUES (7, NULL), (8, NULL) "
         "ON CONFLICT (mail) DO UPDATE SET mail = 'hit'",
         [(1, "a"), (2, "b"), (3, None), (7, None), (8, None)]),
    ],
)  # fmt: skip
def test_every_unique_key_may_conflict_and_null_never_does(people, text, left) -> None:
    people.sql(f"INSERT {text}")
    assert rows(people, "SELECT id, mail FROM people ORDER BY id") == left


def test_a_name_alone_in_do_update_is_of_the_row_that_is_there(people) -> None:
    text = (
        "INSERT INTO people (id, mail, n) VALUES (1, 'z', 100), (2, 'y', 200) ON CONFLICT (id) "
        "DO UPDATE SET n = n + excluded.n + (SELECT count(*) FROM news WHERE news.id = excluded.id), "
        "sum = DEFAULT WHERE n < 2 RETURNING id, mail, n, sum"
    )
    assert rows(people, text) == [(1, "a", 102, HALF)]


def test_rows_that_would_change_one_row_twice_are_refused(people) -> None:
    text = "INSERT INTO people (id, mail) VALUES (1, 'q'), (8, 'a') ON CONFLICT DO UPDATE SET n = 0"
    with pytest.raises(ConstraintError, match="change one row twice"):
        people.sql(text)


def test_an_upsert_of_some_columns_keeps_the_others_and_the_vector(session) -> None:
    rows_given = [{"id": 1, "name": "a", "vector": [1.0, 2.0]}]
    session.create_vector_table("docs", rows_given)
    session.sql(
        "INSERT INTO docs (id, name) VALUES (1, 'b') ON CONFLICT (id) DO UPDATE "
        "SET name = excluded.name || name"
    )
    assert session.sql("SELECT * FROM docs").to_pylist() == [
        {"id": 1, "name": "ba", "vector": [1.0, 2.0]}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("INSERT OR REPLACE INTO people VALUES (1, 'x', 1, 1) ON CONFLICT DO NOTHING", "one of them"),
        ("INSERT INTO people BY NAME (id) SELECT 1", "leave the list out"),
        ("INSERT INTO people (id) VALUES (1) ON CONFLICT (n) DO NOTHING", "names no unique key"),
        ("INSERT INTO news VALUES (1, 'x', 1) ON CONFLICT DO UPDATE SET extra = 1", "no unique key"),
        ("INSERT INTO people (id) VALUES (1) ON CONFLICT (id) WHERE id > 1 DO NOTHING", "partial"),
        ("INSERT INTO people (id) VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING", "key's columns"),
        ("INSERT INTO people VALUES (1, 2, 3, 4, DEFAULT)", "more values than columns"),
        (
            "MERGE INTO people USING news ON people.id = news.id "
            "WHEN NOT MATCHED BY SOURCE THEN UPDATE SET *",
            "no row of the source",
        ),
        ("TRUNCATE people, 5", "expected a table"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_clause(people, text, said) -> None:
    with pytest.raises(SqlError, match=said):
        people.sql(text)
    assert people.table("people").count() == 3


# --- RETURNING -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "returned"),
    [
        ("UPDATE people SET n = 0 FROM news WHERE news.id = people.id "
         "RETURNING people.id, news.name, extra + 1", [(1, "anna", 11)]),
        ("UPDATE people p SET n = 0 FROM news x WHERE x.id = p.id RETURNING id, n, x.id AS other",
         [(1, 0, 1)]),
        ("UPDATE people p SET n = 0 FROM news x WHERE x.id = p.id RETURNING x.*",
         [(1, "anna", 10)]),
        ("DELETE FROM people USING news JOIN news AS other USING (id) WHERE news.id = people.id "
         "RETURNING mail, other.extra", [("a", 10)]),
        ("WITH w AS (SELECT 2 AS k) DELETE FROM people USING w WHERE id = k RETURNING k, w.k + id AS s",
         [(2, 4)]),
    ],
)  # fmt: skip
def test_returning_names_the_columns_of_other_tables(people, text, returned) -> None:
    assert rows(people, text) == returned


def test_returning_of_an_update_is_in_the_order_of_the_rows(people) -> None:
    text = (
        "UPDATE people SET n = (SELECT extra FROM news WHERE news.id = people.id) RETURNING id, n"
    )
    assert rows(people, text) == [(1, 10), (2, None), (3, None)]


# --- MERGE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "returned"),
    [
        ("news x USING (id) WHEN MATCHED THEN UPDATE SET mail = x.name "
         "WHEN NOT MATCHED THEN INSERT (id, mail) VALUES (x.id, x.name) "
         "WHEN NOT MATCHED BY SOURCE AND n = 3 THEN DELETE "
         "RETURNING merge_action, people.id, mail, n, x.extra",
         [("DELETE", 3, None, 3, None), ("UPDATE", 1, "anna", 1, 10), ("INSERT", 9, "new", 7, 20)]),
        ("(VALUES (1, 'v'), (8, 'w')) AS v(id, mail) ON people.id = v.id "
         "WHEN MATCHED THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME "
         "RETURNING merge_action() AS did, people.*",
         [("UPDATE", 1, "v", 1, ONE), ("INSERT", 8, "w", 7, HALF)]),
        ("(SELECT 1 AS id, 'q' AS mail) s ON people.id = s.id WHEN MATCHED THEN UPDATE SET * "
         "RETURNING id, mail", [(1, "q")]),
        ("(SELECT 8 AS id, 'q' AS mail, 5 AS n, 2 AS sum) s ON people.id = s.id "
         "WHEN NOT MATCHED THEN INSERT * RETURNING id, n", [(8, 5)]),
        ("news ON people.id = news.id WHEN MATCHED AND EXISTS "
         "(SELECT 1 FROM news o WHERE o.extra = news.extra * 2) THEN UPDATE "
         "SET n = (SELECT max(extra) FROM news), sum = DEFAULT WHEN NOT MATCHED THEN DO NOTHING "
         "RETURNING id, n, sum", [(1, 20, HALF)]),
        ("news ON people.id = news.id WHEN MATCHED AND news.id IN (SELECT id FROM news) THEN UPDATE "
         "SET n = DEFAULT RETURNING id, n", [(1, 7)]),
    ],
)  # fmt: skip
def test_a_merge_does_what_each_when_says(people, text, returned) -> None:
    got = people.sql(f"MERGE INTO people USING {text}")
    assert [tuple(row.values()) for row in got.to_pylist()] == returned
    assert got.rows_affected == len(returned)


def test_a_merge_fails_where_a_when_says_so(people) -> None:
    with pytest.raises(ConstraintError, match="1 rows met WHEN"):
        people.sql("MERGE INTO people USING news ON people.id = news.id WHEN MATCHED THEN ERROR")


# --- the rest ------------------------------------------------------------------------------------


def test_truncate_empties_several_tables_in_one_commit(people) -> None:
    assert people.sql("TRUNCATE people, news").rows_affected == 5
    assert (people.table("people").count(), people.table("news").count()) == (0, 0)


def test_truncate_of_several_takes_no_vector_table(docs, people) -> None:
    with pytest.raises(SqlError, match="no vector table"):
        people.sql("TRUNCATE people, docs")
    assert people.table("people").count() == 3


class Letter(enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("DECIMAL(12, 2)", 5, Decimal("5.00")),
        ("DECIMAL(12, 2)", np.float64(2.5), Decimal("2.50")),
        ("DECIMAL(12, 2)", "7.25", Decimal("7.25")),
        ("DOUBLE", Decimal("1.5"), 1.5),
        ("BIGINT", np.int16(3), 3),
        ("VARCHAR", Letter.A, "a"),
        ("VARCHAR", uuid.UUID(int=5), str(uuid.UUID(int=5))),
        ("TIMESTAMP", dt.date(2020, 1, 2), dt.datetime(2020, 1, 2)),
        ("DATE", dt.datetime(2020, 1, 2, 3), dt.date(2020, 1, 2)),
        ("TIMESTAMP", np.datetime64("2020-01-02T03:04:05"), dt.datetime(2020, 1, 2, 3, 4, 5)),
    ],
)
def test_a_parameter_becomes_the_columns_type_by_insert_and_update(
    session, kind, given, kept
) -> None:
    session.sql(f"CREATE TABLE t (id INT PRIMARY KEY, x {kind})")
    assert rows(session, "INSERT INTO t VALUES (1, $x) RETURNING x", x=given) == [(kept,)]
    assert rows(session, "UPDATE t SET x = $x RETURNING x", x=given) == [(kept,)]


@pytest.mark.parametrize(
    ("condition", "given", "found"),
    [
        ("id IN $l", [2, 3, 7], [2, 3]),
        ("id IN ($l)", (1,), [1]),
        ("id NOT IN $l", [], [1, 2, 3]),
        ("id IN $l", [], []),
        ("id IN $l", np.array([3]), [3]),
        ("mail IN $l OR id = 3", ["b"], [2, 3]),
        ("id IN ($l)", 2, [2]),
    ],
)
def test_in_takes_a_list_as_a_parameter(people, condition, given, found) -> None:
    text = f"SELECT id FROM people WHERE {condition} ORDER BY id"
    assert [row[0] for row in rows(people, text, l=given)] == found


def test_returning_computes_of_columns_that_rows_were_joined_with(session) -> None:
    """A column beside a bracket was looked for among the target's alone."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR)")
    session.sql("CREATE TABLE o (id INT, name VARCHAR)")
    session.sql("INSERT INTO t VALUES (1, 'x')")
    session.sql("INSERT INTO o VALUES (1, 'joe')")
    [row] = session.sql(
        "UPDATE t SET a = name FROM o WHERE t.id = o.id RETURNING upper(name), (name) AS inner_, "
        "CAST(name AS VARCHAR) || a both, CASE WHEN name = 'joe' THEN 1 END name"
    ).to_pylist()
    assert row == {"upper(name)": "JOE", "inner_": "joe", "both": "joejoe", "name": 1}
    [row] = session.sql(
        "MERGE INTO t USING (SELECT 2 AS id, 'new' AS given) AS s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.given) RETURNING length(given), id"
    ).to_pylist()
    assert row == {"length(given)": 3, "id": 2}


def test_merge_action_is_a_column_and_no_text(session) -> None:
    """It was put in the place of its name wherever that stood, in quotes too."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY)")
    text = (
        "MERGE INTO {0} USING (SELECT 1 AS id) AS s ON {0}.id = s.id WHEN MATCHED THEN UPDATE SET "
        "id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id) RETURNING {1}"
    )
    told = "MERGE_ACTION (), 'merge_action()' AS word, lower(merge_action) AS small"
    assert session.sql(text.format("t", told)).to_pylist() == [
        {"merge_action": "INSERT", "word": "merge_action()", "small": "insert"}
    ]
    assert session.describe(text.format("t", told)).columns.names[:2] == ["merge_action", "word"]
    session.sql("CREATE TABLE own (id INT PRIMARY KEY, merge_action VARCHAR DEFAULT 'mine')")
    found = session.sql(text.format("own", "merge_action() AS did, own.*, merge_action AS again"))
    assert found.to_pylist() == [
        {"did": "INSERT", "id": 1, "merge_action": "mine", "again": "mine"}
    ]


def test_merge_leaves_generated_columns_to_the_table(session) -> None:
    session.sql("CREATE TABLE t (g INT GENERATED ALWAYS AS (a * 2), id INT PRIMARY KEY, a INT)")
    source = "MERGE INTO t USING (SELECT {} AS id, {} AS a) AS s ON t.id = s.id WHEN "
    for at, then in enumerate(
        (
            "NOT MATCHED THEN INSERT VALUES (s.id, s.a)",
            "NOT MATCHED THEN INSERT *",
            "NOT MATCHED THEN INSERT BY NAME",
            "NOT MATCHED THEN INSERT (a, g, id) VALUES (s.a, DEFAULT, s.id)",
        )
    ):
        assert session.describe(source.format(at, 1) + then).kind == "merge"
        session.sql(source.format(at, 1) + then)
    session.sql(source.format(0, 5) + "MATCHED THEN UPDATE BY POSITION")
    session.sql(source.format(1, 5) + "MATCHED THEN UPDATE SET g = DEFAULT, a = s.a")
    found = session.sql("SELECT id, a, g FROM t ORDER BY id").to_arrow().to_pydict()
    assert found == {"id": [0, 1, 2, 3], "a": [5, 5, 1, 1], "g": [10, 10, 2, 2]}
    with pytest.raises(ConstraintError, match="'g' of table 't' is generated"):
        session.sql(source.format(0, 5) + "MATCHED THEN UPDATE SET g = 1")
    described = session.describe("INSERT INTO t VALUES ($1, $2)")
    assert described.writes == {"main.t": ("id", "a")}


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t (id, a, a) VALUES (1, 2, 3)",
        "MERGE INTO t USING (SELECT 1 AS id) AS s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, a, a) VALUES (1, 2, 3)",
    ],
)
def test_a_column_that_is_named_twice_is_refused(session, text) -> None:
    """MERGE took the last of its values."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, a INT)")
    with pytest.raises(SqlError, match="column 'a' is named twice"):
        session.sql(text)


def test_a_when_sees_the_one_row_that_it_has(session) -> None:
    """A name of both tables was ambiguous, and a column of the row that is not there was NULL."""
    session.sql("CREATE TABLE t (id INT, n INT) AS VALUES (1, 10), (5, 50)")
    session.sql("CREATE TABLE s (id INT, n INT, m INT) AS VALUES (1, 7, 0), (2, 8, 0)")
    session.sql(
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = s.n "
        "WHEN NOT MATCHED AND n > (SELECT min(n) FROM t) - 5 THEN INSERT (id, n) VALUES (id, N + m) "
        "WHEN NOT MATCHED BY SOURCE AND n = 50 THEN UPDATE SET n = n + 1"
    )
    found = session.sql("SELECT id, n FROM t ORDER BY id").to_pylist()
    assert [tuple(row.values()) for row in found] == [(1, 7), (2, 8), (5, 51)]
    for when in (
        "NOT MATCHED THEN INSERT VALUES (s.id, t.n)",
        "NOT MATCHED AND t.n > 1 THEN INSERT VALUES (s.id, s.n)",
        "NOT MATCHED BY SOURCE THEN UPDATE SET n = s.n",
        "NOT MATCHED BY SOURCE AND s.n > 1 THEN DELETE",
    ):
        with pytest.raises(SqlError, match=r"has no row of the (target|source)"):
            session.sql(f"MERGE INTO t USING s ON t.id = s.id WHEN {when}")


def test_on_conflict_may_name_a_column_twice(session) -> None:
    session.sql("CREATE TABLE t (a INT, b INT, n INT, UNIQUE (a, b)) AS VALUES (1, 1, 0)")
    session.sql("INSERT INTO t VALUES (1, 1, 5) ON CONFLICT (b, a, b) DO UPDATE SET n = excluded.n")
    assert session.sql("SELECT n FROM t").to_pylist() == [{"n": 5}]


def test_a_fraction_is_cut_off_for_a_column_of_whole_numbers(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """Through every statement alike, and as CAST does; rows of a handle and texts are refused."""
    session.sql("CREATE TABLE w (id BIGINT PRIMARY KEY, n INT)")
    pq.write_table(pa.table({"id": [5], "n": [2.9]}), tmp_path / "w.parquet")
    given = [
        ("INSERT INTO w VALUES (1, 2.9), (2, 0), (3, 0)", {}),
        ("UPDATE w SET n = $n WHERE id = 2", {"n": 2.9}),
        ("MERGE INTO w USING (SELECT 3 AS id, 2.9 AS v) s ON w.id = s.id "
         "WHEN MATCHED THEN UPDATE SET n = v", {}),
        ("INSERT INTO w SELECT 4, CAST(2.9 AS DOUBLE)", {}),
        (f"COPY w FROM '{tmp_path / 'w.parquet'}'", {}),
        ("INSERT INTO w VALUES (6, 0)", {}),
        ("INSERT INTO w VALUES (6, 1) ON CONFLICT (id) DO UPDATE SET n = 2.9", {}),
        ("INSERT INTO w SELECT 7, CAST(2.9 AS INT)", {}),
    ]  # fmt: skip
    for text, params in given:
        session.sql(text, params)
    session.sql("INSERT INTO w VALUES (8, 0)")
    session.table("w").update({"n": 2.9}, where="id = 8")
    found = session.sql("SELECT id, n FROM w ORDER BY id").to_pylist()
    assert found == [{"id": at, "n": 2} for at in range(1, 9)]
    for refused in (
        lambda: session.sql("INSERT INTO w VALUES (9, '2.9')"),
        lambda: session.table("w").insert([{"id": 9, "n": 2.9}]),
    ):
        with pytest.raises(AffidavitError):
            refused()
