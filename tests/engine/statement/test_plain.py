"""P19: other ways to write what DataFusion reads mean what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit.catalog.sql.lexer import Token, tokenize
from affidavit.engine.statement import plain
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    with affidavit.connect(tmp_path_factory.mktemp("plain") / "lake") as session:
        session.sql("CREATE TABLE two (id INT PRIMARY KEY, x INT)")
        session.sql("INSERT INTO two VALUES (1, 1), (2, 5)")
        yield session


@pytest.mark.parametrize("number", ["12abc", "1.5e", "1_000_", "0x", "0xG", "1__0"])
def test_p19_a_number_with_a_word_stuck_to_it_is_refused(session, number) -> None:
    with pytest.raises(SqlError, match=f"^{number} is no number: put a space between"):
        session.sql(f"SELECT {number}")


def test_p10_a_long_number_that_is_stored_keeps_its_digits(session) -> None:
    long = "9" * 55 + ".99999"
    session.sql("CREATE TABLE long (id INT PRIMARY KEY, n DECIMAL(60, 5), d DOUBLE)")
    session.sql(f"INSERT INTO long VALUES (1, {long}, {long}), (2, -{long}, 0.5), (3, 1.5, 1)")
    session.sql(f"UPDATE long SET n = {long} WHERE id = 3")
    found = session.sql("SELECT n, d FROM long ORDER BY id").to_pylist()
    assert [str(each["n"]) for each in found] == [long, f"-{long}", long]
    assert [each["d"] for each in found] == [1e55, 0.5, 1.0]
    tenth = "0.1000000000000000055511151231257827021181583404541015625"
    both = session.sql(
        f"SELECT {tenth} AS x UNION ALL SELECT 1e60 ORDER BY x"
    )  # floats, where nothing is stored
    assert [each["x"] for each in both.to_pylist()] == [0.1, 1e60]


def test_p19_numbers_are_numbers(session) -> None:
    got = session.sql("SELECT 1e3 AS a, .5 AS b, 1 x, '1_000' AS c, x'1F' AS d").to_pylist()
    assert got == [{"a": 1000.0, "b": 0.5, "x": 1, "c": "1_000", "d": b"\x1f"}]


@pytest.mark.parametrize(
    ("written", "value"),
    [("1_000", 1000), ("0xff", 255), ("0XFF_FF", 65535), ("1_0.2_5", 10.25), ("1_0e1_0", None)],
)
def test_p19_digits_may_be_grouped_and_hexadecimal(session, written, value) -> None:
    session.sql("CREATE OR REPLACE TABLE numbers (_000 INT DEFAULT 1_000, n DOUBLE)")
    if value is None:
        with pytest.raises(SqlError, match="is no number"):
            session.sql(f"SELECT {written}")
        return
    assert session.sql(f"SELECT {written} AS n").to_pylist() == [{"n": value}]
    session.sql(f"INSERT INTO numbers (n) VALUES ({written})")
    session.sql(f"UPDATE numbers SET n = n + {written} WHERE n = {written}")
    assert session.sql("FROM numbers").to_pylist() == [{"_000": 1000, "n": 2 * value}]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("FROM two", "SELECT * FROM two"),
        ("/* é */ FROM two\n WHERE x > 1", "SELECT * FROM two WHERE x > 1"),
        ("FROM two SELECT id", "SELECT id FROM two"),
        (
            "SELECT count(*)\nFROM (\n  FROM two, two b)",
            "SELECT count(*) FROM (SELECT * FROM two, two b)",
        ),
        ("WITH c AS (FROM two) FROM c ORDER BY id", "SELECT * FROM two ORDER BY id"),
        ("FROM two UNION ALL FROM two", "SELECT * FROM two UNION ALL SELECT * FROM two"),
    ],
)
def test_p19_from_may_come_first(session, text, same) -> None:
    assert session.sql(text).to_arrow().equals(session.sql(same).to_arrow())


@pytest.mark.parametrize(
    "text",
    [
        "SELECT trim(FROM x), extract(YEAR FROM d), substring(s FROM 2) FROM two",
        "SELECT a IS DISTINCT FROM b, (1) FROM c", "DELETE FROM two", "UPDATE a SET x = (1) FROM b",
        "WITH c AS (SELECT 1) SELECT (2) FROM c", "INSERT INTO t SELECT 1 FROM two",
        "SELECT verbose FROM two", "SELECT count(*) AS analyze FROM two", "SELECT 3 - 1 AS minus FROM two",
        "EXPLAIN DELETE FROM two", "EXPLAIN ANALYZE SELECT 1 FROM two", "SELECT minus FROM two",
        "SELECT DISTINCT a FROM b", "SELECT a AS name FROM b", "SELECT a AS all FROM b", "SELECT count(*) FROM (SELECT 1 FROM two)", "SHOW COLUMNS FROM two",
        "FROM two SELECT 1", "SELECT 'FROM 1_000'", 'SELECT a_1_000, "0x1", $1_000 FROM two',
    ],
)  # fmt: skip
def test_what_is_plain_stays_as_it_was_written(text) -> None:
    assert parse_statement(text).text == text


def test_an_insert_may_begin_its_query_with_from(session) -> None:
    session.sql("CREATE TABLE copied (id INT, x INT)")
    assert session.sql("INSERT INTO copied (id, x) FROM two").rows_affected == 2
    assert session.sql("INSERT INTO copied FROM two WHERE id = 1").rows_affected == 1
    session.sql("CREATE VIEW seen AS FROM copied")
    assert session.sql("EXPLAIN FROM seen").num_rows
    assert session.sql("SELECT 1 WHERE EXISTS (FROM seen)").num_rows == 1
    assert session.sql("FROM seen UNION FROM two").num_rows == 2


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("EXPLAIN FORMAT INDENT FROM two", "EXPLAIN FORMAT INDENT SELECT * FROM two"),
        ("DESCRIBE FROM two", "DESCRIBE SELECT * FROM two"),
        ("WITH x AS (FROM two) INSERT INTO two FROM x",
         "WITH x AS (SELECT * FROM two) INSERT INTO two SELECT * FROM x"),
        ("INSERT INTO t FROM two WHERE a IS DISTINCT FROM b",
         "INSERT INTO t SELECT * FROM two WHERE a IS DISTINCT FROM b"),
        ("PREPARE p AS FROM two", "PREPARE p AS SELECT * FROM two"),
    ],
)  # fmt: skip
def test_a_query_may_begin_with_from_wherever_it_stands(text, plain) -> None:
    assert parse_statement(text).text == plain


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT id FROM two WHERE id=1or id=2 ORDER BY id", [{"id": 1}, {"id": 2}]),
        ("SELECT CASE WHEN 1=1then 2else 3end AS n", [{"n": 2}]),
        ("SELECT 1 AS n LIMIT 5offset 0", [{"n": 1}]),
        ("SELECT $a1$x;y$a1$ AS n", [{"n": "x;y"}]),
    ],
)
def test_what_sticks_together_is_told_apart(session, text, rows) -> None:
    assert session.sql(text).to_pylist() == rows


def test_p12_a_number_of_more_than_64_bits_is_refused(session) -> None:
    assert session.sql(f"SELECT 0x{'f' * 16} AS n").to_pylist() == [{"n": 2**64 - 1}]
    for digits in ("1" + "0" * 16, "f" * 5_000):
        with pytest.raises(SqlError, match="has more than 64 bits"):
            session.sql(f"SELECT 0x{digits}")


class Counted(list[Token]):
    """Tokens that know how often they were looked at, one by one."""

    looks = 0

    def __getitem__(self, at):
        self.looks += 1
        return super().__getitem__(at)


@pytest.mark.parametrize("start", ["", "WITH c AS (SELECT 1) "])
def test_p21_each_token_is_looked_at_a_few_times(start) -> None:
    text = f"{start}SELECT {', '.join(['a IS DISTINCT FROM b'] * 2_000)} FROM t"
    tokens = Counted(tokenize(text))
    assert plain.plain(text, tokens) is text
    assert tokens.looks < 10 * len(tokens), "it grew with the square when each FROM looked back"


@pytest.mark.parametrize("name", ["नाम", "डेटा1_000", "a#b", "a$b$c", "f@g", "ÄPFEL", "ß", "x1_000"])
def test_a_name_has_every_letter_that_datafusion_takes(session, name) -> None:
    session.sql(f"CREATE OR REPLACE TABLE {name} (id INT PRIMARY KEY, n INT DEFAULT 5)")
    assert session.sql(f"INSERT INTO {name} (id) VALUES (1)").rows_affected == 1
    session.sql(f"UPDATE {name} SET n = n + 1 WHERE {name}.id = 1")
    assert session.sql(f"SELECT * FROM {name}").to_pylist() == [{"id": 1, "n": 6}]
    assert session.describe(f"SELECT * FROM {name}").parameters == {}
    session.sql(f"DROP TABLE {name}")


def test_the_log_has_what_was_written(session) -> None:
    session.sql("FROM two WHERE id < 1_000").to_arrow()
    logged = session.sql("SELECT text FROM audit.statements").to_pylist()
    assert {"text": "FROM two WHERE id < ?"} in logged
