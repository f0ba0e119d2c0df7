"""One rule for names: without quotes they are matched without case, in quotes they are exact."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit
from affidavit.errors import ColumnNotFoundError, NameNotFoundError, SqlError, TableNotFoundError


@pytest.fixture
def lake(session: affidavit.Session) -> affidavit.Session:
    data = pa.table({"Id": [1, 2], "Full Name": ["a b", "c"], "Age": [3, 4], "date": [5, 6]})
    session.create_table("People", data, primary_key="Id")
    session.create_table("twice", pa.table({"NAME": ["a"], "Name": ["b"], "x": [1]}))
    session.create_table("both", pa.table({"name": ["low"], "Name": ["high"]}))
    session.create_vector_table(
        "Docs", [{"Key": 1, "Vector": [1.0, 2.0], "Count": 4}], key="Key", vector="Vector"
    )
    return session


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT ID, age FROM PEOPLE ORDER BY iD", [{"Id": 1, "Age": 3}, {"Id": 2, "Age": 4}]),
        ('SELECT p.AGE, p."Full Name" AS n FROM people P WHERE P.id = 2', [{"Age": 4, "n": "c"}]),
        ("SELECT sum(Age) AS s FROM (SELECT Age FROM people) x", [{"s": 7}]),
        ("SELECT count(*) AS n, count FROM docs GROUP BY count", [{"n": 1, "Count": 4}]),
        ("SELECT a.age FROM people a JOIN People b USING (id) WHERE b.Id = 1", [{"Age": 3}]),
        ("SELECT CAST('2020-01-01' AS DATE) AS d, Date FROM people LIMIT 0", []),
        ("UPDATE people SET AGE = age + 1 WHERE id = 1 RETURNING age", [{"Age": 4}]),
        ("DELETE FROM people WHERE ID = 2 RETURNING id", [{"Id": 2}]),
        ("INSERT INTO people (id, AGE) VALUES (1, 9) ON CONFLICT (ID) DO UPDATE SET age = "
         "excluded.age RETURNING age", [{"Age": 9}]),
        ("UPDATE docs SET count = count + 1 WHERE key = 1 RETURNING count", [{"Count": 5}]),
        ("WITH c AS (SELECT id FROM people WHERE age = 3) SELECT * FROM c", [{"Id": 1}]),
        ("SELECT key FROM vector_search('Docs', [1.0, 2.0], 1)", [{"Key": 1}]),
        ("SELECT name FROM both", [{"name": "low"}]),
        ('SELECT "Name" FROM both', [{"Name": "high"}]),
    ],
)  # fmt: skip
def test_a_name_without_quotes_is_matched_without_case(lake, text, rows) -> None:
    assert lake.sql(text).to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('SELECT "age" FROM People', NameNotFoundError),
        ('SELECT * FROM "people"', TableNotFoundError),
        ('UPDATE People SET "age" = 1', ColumnNotFoundError),
        ("SELECT nothing FROM people", NameNotFoundError),
        ("SELECT * FROM persons", TableNotFoundError),
        ("SELECT '' FROM People WHERE \"AGE\" = 1", NameNotFoundError),
    ],
)
def test_a_name_in_quotes_is_exact(lake, text, error) -> None:
    with pytest.raises(error):
        lake.sql(text)


@pytest.mark.parametrize(
    "text",
    ["SELECT name FROM twice", "SELECT t.name FROM twice t", "UPDATE twice SET x = 2 WHERE name = ''",
     "UPDATE twice SET name = ''", "INSERT INTO twice (name) VALUES ('a')"],
)  # fmt: skip
def test_p12_an_ambiguous_name_is_refused(lake, text) -> None:
    with pytest.raises(SqlError, match='is ambiguous: write "NAME" or "Name", in quotes'):
        lake.sql(text)
    assert lake.sql('SELECT "x" FROM twice').to_pylist() == [{"x": 1}]


def test_handles_and_descriptions_follow_the_rule(lake) -> None:
    people = lake.table("People")
    assert people.update({"Age": 5}, where="AGE = 3 AND id = 1") == 1
    assert people.delete(where="age = 5") == 1
    assert lake.describe("SELECT age FROM people WHERE ID = $i").columns.names == ["Age"]


def test_a_statement_that_is_read_again_changes_rows_once(lake) -> None:
    for table, column in (("docs", "COUNT"), ("people", "AGE")):
        before = lake.sql(f"SELECT sum({column}) AS s FROM {table}").to_pylist()[0]["s"]
        found = lake.sql(f"UPDATE {table} SET {column} = {column} + 1 RETURNING {column}")
        after = lake.sql(f"SELECT sum({column}) AS s FROM {table}").to_pylist()[0]["s"]
        assert after - before == found.num_rows
