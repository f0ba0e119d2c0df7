"""One rule for names: without quotes they are matched without case, in quotes they are exact."""

from __future__ import annotations

import pyarrow as pa
import pytest

import affidavit
from affidavit.errors import (
    ColumnNotFoundError,
    InvalidQueryError,
    NameNotFoundError,
    SqlError,
    TableNotFoundError,
)


@pytest.fixture
def people(session: affidavit.Session) -> affidavit.Session:
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
def test_a_name_without_quotes_is_matched_without_case(people, text, rows) -> None:
    assert people.sql(text).to_pylist() == rows


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
def test_a_name_in_quotes_is_exact(people, text, error) -> None:
    with pytest.raises(error):
        people.sql(text)


@pytest.mark.parametrize(
    "text",
    ["SELECT name FROM twice", "SELECT t.name FROM twice t", "UPDATE twice SET x = 2 WHERE name = ''",
     "UPDATE twice SET name = ''", "INSERT INTO twice (name) VALUES ('a')"],
)  # fmt: skip
def test_p12_an_ambiguous_name_is_refused(people, text) -> None:
    with pytest.raises(SqlError, match='is ambiguous: write "NAME" or "Name", in quotes'):
        people.sql(text)
    assert people.sql('SELECT "x" FROM twice').to_pylist() == [{"x": 1}]


def test_handles_and_descriptions_follow_the_rule(people) -> None:
    table = people.table("People")
    assert table.update({"Age": 5}, where="AGE = 3 AND id = 1") == 1
    assert table.delete(where="age = 5") == 1
    assert people.describe("SELECT age FROM people WHERE ID = $i").columns.names == ["Age"]


def test_a_statement_that_is_read_again_changes_rows_once(people) -> None:
    for table, column in (("docs", "COUNT"), ("people", "AGE")):
        before = people.sql(f"SELECT sum({column}) AS s FROM {table}").to_pylist()[0]["s"]
        found = people.sql(f"UPDATE {table} SET {column} = {column} + 1 RETURNING {column}")
        after = people.sql(f"SELECT sum({column}) AS s FROM {table}").to_pylist()[0]["s"]
        assert after - before == found.num_rows


@pytest.fixture
def pair(session: affidavit.Session) -> affidavit.Session:
    session.create_table("t1", pa.table({"id": [1, 2], "Name": ["a", "b"], "Full": [1, 2]}))
    session.create_table("t2", pa.table({"id": [1], "name": ["low"], "Name": ["high"]}))
    return session


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name FROM t1 UNION ALL SELECT name FROM t2",
        "SELECT name, (SELECT max(name) FROM t2) AS m FROM t1",
        "INSERT INTO t2 (id, name) SELECT id + 10, name FROM t1",
        "UPDATE t2 SET name = t1.name FROM t1 WHERE t1.id = t2.id",
        "MERGE INTO t2 USING t1 ON t1.id = t2.id WHEN MATCHED THEN UPDATE SET name = t1.name",
        "SELECT id AS name FROM t1 WHERE name = 'a'",
        "SELECT {name: 1} AS s FROM t1 WHERE name = 'a'",
        "SELECT full FROM t1",
    ],
)
def test_what_could_mean_something_else_is_not_matched(pair, text) -> None:
    before = pair.sql("SELECT * FROM t2").to_pylist()
    with pytest.raises(NameNotFoundError):
        pair.sql(text).to_pylist()
    assert pair.sql("SELECT * FROM t2").to_pylist() == before


def test_a_join_keeps_its_kind(pair) -> None:
    found = pair.sql(
        "SELECT t1.id AS a, t2.id AS b FROM t1 FULL JOIN t2 ON t1.ID = t2.id AND false"
    )
    assert found.num_rows == 3


def test_a_change_whose_returning_is_wrong_changes_nothing(people) -> None:
    for table, column in (("Docs", "Count"), ("People", "Age")):
        before = people.sql(f'SELECT * FROM "{table}"').to_pylist()
        for text in (f'UPDATE "{table}" SET "{column}" = 77 RETURNING bogus',
                     f'DELETE FROM "{table}" RETURNING bogus'):  # fmt: skip
            with pytest.raises(NameNotFoundError):
                people.sql(text)
        assert people.sql(f'SELECT * FROM "{table}"').to_pylist() == before


def test_a_table_with_a_key_and_capitals_is_read(session) -> None:
    session.sql('CREATE TABLE keyed ("Id" INT, "a.b" INT, PRIMARY KEY ("Id"))')
    session.sql("INSERT INTO keyed VALUES (1, 2)")
    assert session.sql("SELECT * FROM keyed").to_pylist() == [{"Id": 1, "a.b": 2}]
    assert session.sql("SELECT id FROM keyed").to_pylist() == [{"Id": 1}]


@pytest.mark.parametrize(
    "where", ["count = 4", "COUNT > 3 AND Key IN (1)", "`Count` = 4", "Count=4"]
)
def test_a_search_follows_the_rule(people, where) -> None:
    assert people.search("Docs", [1.0, 2.0], k=1, where=where).num_rows == 1
    options = f'{{"where": "{where}"}}'
    found = people.sql("SELECT Key FROM vector_search('Docs', [1.0, 2.0], 1, $o)", o=options)
    assert found.num_rows == 1
    assert people.search("Docs", [1.0, 2.0], k=1, where=f"NOT ({where})").num_rows == 0


def test_p12_an_ambiguous_name_in_a_search_is_refused(session) -> None:
    rows = [{"id": 1, "vector": [1.0, 2.0], "A": 1, "a": 2, "B": 1, "b": 2, "Bb": 3, "bB": 4}]
    session.create_vector_table("cases", rows)
    assert session.search("cases", [1.0, 2.0], where='a = 2 AND "A" = 1').num_rows == 1
    for where, found in (("A = 2", 1), ("A = 1", 0)):  # as in SQL, where it is the one in small
        assert session.search("cases", [1.0, 2.0], where=where).num_rows == found
        assert session.sql(f"SELECT id FROM cases WHERE {where}").num_rows == found
    with pytest.raises(InvalidQueryError, match="BB is ambiguous"):
        session.search("cases", [1.0, 2.0], where="BB = 3")


def test_p9_a_name_in_double_quotes_is_a_column_of_a_search_and_no_text(session) -> None:
    rows = [{"id": at, "vector": [1.0, 2.0], "owner": who} for at, who in enumerate(["ann", "bob"])]
    session.create_vector_table("notes", rows)

    def found(where: str) -> list[int]:
        return sorted(session.search("notes", [1.0, 2.0], where=where).to_arrow()["id"].to_pylist())

    assert found("\"owner\" = 'ann'") == [0]
    assert found("\"owner\" = 'ann' -- OR true\n AND id < 5 /* it */") == [0]
    assert found("id>=0/* a */AND--b\n\"owner\"!='bob'") == [0]
    for wrong, told in (
        ('"ann" = owner', "single quotes"),
        ("id = 0; DROP TABLE t", "nothing may"),
    ):
        with pytest.raises(InvalidQueryError, match=told):
            found(wrong)


def test_the_error_is_the_statements_own_where_a_view_cannot_be_planned(people) -> None:
    people.sql("CREATE TABLE gone (a INT)")
    people.sql("CREATE VIEW broken AS SELECT a FROM gone")
    people.sql("DROP TABLE gone")
    with pytest.raises(NameNotFoundError, match="No field named age"):
        people.sql('SELECT age FROM "People" AS broken WHERE "age" = 1')
