"""A text is read once, wherever it comes in; and what it is, is asked of the statement."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.sql import lexer
from affidavit.engine.run.executor import RUNS
from affidavit.engine.statement import statement as statements
from affidavit.engine.statement.grammar import skip_expression
from affidavit.engine.statement.parameters import numbered
from affidavit.engine.statement.statement import REMEMBERED_LENGTH_MAX, Kind, Part, parse_statement

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reads:
    """What was read since it was asked last: the texts that were parsed, and those tokenized."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.tokenized: list[str] = []

    def take(self) -> tuple[list[str], list[str]]:
        taken = (self.parsed, self.tokenized)
        self.__init__()
        return taken


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count what is parsed in every module that does, and what the lexer reads."""
    found = Reads()
    parse, tokens = statements.parse_statement, lexer._tokens
    lexer._recent.cache_clear()

    def parsing(text: object) -> object:
        found.parsed.append(str(text))
        return parse(text)

    def tokenizing(text: str) -> object:
        found.tokenized.append(text)
        return tokens(text)

    wrappers = {"parse_statement": (parse, parsing), "_tokens": (tokens, tokenizing)}
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("affidavit.")]
    for module in modules:
        for name, (own, wrapper) in wrappers.items():
            if getattr(module, name, None) is own:
                monkeypatch.setattr(module, name, wrapper)
    statements._remembered.cache_clear()
    return found


@pytest.fixture(params=["statements", "searches"])
def session(request: pytest.FixtureRequest, lake) -> Iterator[affidavit.Session]:
    """A session with the log of statements, and one without."""
    with affidavit.connect(lake, durability="normal", audit=request.param) as opened:
        opened.create_table("t", [{"a": 1, "b": 1}], primary_key="a")
        opened.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0], "n": 1}])
        yield opened


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("SELECT a, b FROM t WHERE a = 1", {}),
        ("SELECT a FROM t WHERE a = $1;", {"1": 1}),
        ("INSERT INTO t VALUES (2, 20)", {}),
        ("INSERT INTO t (a, b) SELECT a + 2, $b FROM t RETURNING a", {"b": 7}),
        ("INSERT INTO t VALUES (1, 5) ON CONFLICT (a) DO UPDATE SET b = excluded.b", {}),
        ("UPDATE t SET b = b + 1, a = a WHERE a = $1", {"1": 1}),
        ("UPDATE t SET (a, b) = (1, 2) WHERE a IN (SELECT a FROM t) RETURNING *", {}),
        ("DELETE FROM t WHERE a = 1", {}),
        ("MERGE INTO t USING docs ON t.a = docs.id WHEN MATCHED THEN UPDATE SET b = n", {}),
        ("TRUNCATE t", {}),
        ("INSERT INTO docs VALUES (2, [0.5, 0.5], 2)", {}),
        ("UPDATE docs SET n = 3 WHERE id = 1", {}),
        ("CREATE TABLE u (a BIGINT PRIMARY KEY, b BIGINT)", {}),
        ("SELECT a INTO v FROM t", {}),
        ("ALTER TABLE t ADD COLUMN c BIGINT", {}),
        ("DROP TABLE t", {}),
        ("BEGIN", {}),
    ],
)
def test_a_text_is_read_once(session, reads, text, params) -> None:
    """It was parsed at up to seven places: a lock was held while one and the same text was read."""
    session.sql(text, params).to_arrow()
    parsed, tokenized = reads.take()
    assert (parsed, tokenized[0]) == ([text], text)
    assert len(set(tokenized)) == len(tokenized)  # what is put together of it is read once as well


def test_a_text_that_cannot_be_read_is_parsed_once(session, reads) -> None:
    """The log looks for its literals once more: there is no statement that could have kept them."""
    with pytest.raises(errors.SqlError):
        session.sql("SELECT 1; SELECT 2")
    parsed, tokenized = reads.take()
    assert parsed == ["SELECT 1; SELECT 2"]
    assert tokenized in (parsed, parsed * 2)


def test_what_is_explained_is_read_once_too(session, reads) -> None:
    for inner in ("SELECT a FROM t", "DELETE FROM t"):
        session.sql(f"EXPLAIN {inner}").to_arrow()
        assert reads.take() == ([f"EXPLAIN {inner}", inner], [f"EXPLAIN {inner}", inner])


def test_the_text_of_a_view_is_read_once_for_whoever_reads_it(session, reads) -> None:
    session.sql("CREATE VIEW v AS SELECT a FROM t")
    assert reads.take()[1] == ["CREATE VIEW v AS SELECT a FROM t", "SELECT a FROM t"]
    for query in ("SELECT * FROM v", "SELECT v.a FROM v, t WHERE v.a = t.a AND v.a > 0"):
        session.sql(query).to_arrow()
        assert reads.take() == ([query, "SELECT a FROM t"], [query])


def test_a_prepared_statement_is_not_read_again(session, reads) -> None:
    session.sql("PREPARE p(BIGINT) AS SELECT a FROM t WHERE a = $1")
    reads.take()
    for at in range(2):
        assert session.sql(f"EXECUTE p({at})").num_rows == at
        values = f"SELECT CAST({at} AS BIGINT) AS c0"
        assert reads.take()[0] == [f"EXECUTE p({at})", values]


# --- what a statement is -------------------------------------------------------------------------


def test_every_kind_of_statement_is_run_by_somebody() -> None:
    assert set(RUNS) == set(Kind)


def test_a_statement_cannot_be_changed() -> None:
    statement = parse_statement("SELECT a FROM t")
    with pytest.raises(AttributeError):
        statement.text = "SELECT b FROM t"  # type: ignore[misc]
    cursor = statement.cursor()
    cursor.rest()
    assert statement.cursor().peek() == "SELECT"


def test_a_statements_names_are_a_superset_of_its_tables() -> None:
    statement = parse_statement('SELECT A.x, "Ü" FROM s.T AS a -- no\n;')
    assert statement.names == {"select", "a", "x", "Ü", "from", "s", "t", "as"}
    assert statement.text == 'SELECT A.x, "Ü" FROM s.T AS a'


@pytest.mark.parametrize(
    ("text", "of_function"),
    [
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", True),
        ("CREATE OR REPLACE FUNCTION f() RETURNS INT RETURN 1", True),
        ("DROP FUNCTION f", True),
        ("ALTER FUNCTION f", True),
        ("CREATE TABLE function (a INT)", False),
        ("SELECT function INTO g FROM f", False),
        ("SELECT a, function INTO g FROM f", False),
        ("SELECT function FROM f", False),
    ],
)  # fmt: skip
def test_a_definition_of_a_function_is_told_apart(text, of_function) -> None:
    assert parse_statement(text).is_of_function is of_function


def test_a_column_may_be_called_function(session) -> None:
    """SELECT ... INTO was taken for the definition of a function."""
    session.create_table("f", [{"function": 3}])
    assert session.sql("SELECT function INTO g FROM f").rows_affected == 1
    assert session.sql("SELECT * FROM g").to_pylist() == [{"function": 3}]


# --- parts and parameters ------------------------------------------------------------------------


def part(text: str) -> Part:
    return parse_statement(text).whole


def test_a_part_is_what_was_written() -> None:
    cursor = parse_statement("SELECT a /* b */ + 1, c FROM t").cursor()
    cursor.at = 1
    skip_expression(cursor)
    found = Part.since(1, cursor)
    assert found.text == "a /* b */ + 1"
    assert found
    assert not Part.since(cursor.at, cursor)
    assert Part.since(cursor.at, cursor).text == ""


@pytest.mark.parametrize(
    ("text", "params", "numbers", "given"),
    [
        ("$a, $b, $a", {"a": 1, "b": 2}, "$1, $2, $1", {"1": 1, "2": 2}),
        ("$2, $1", {"1": 1, "2": 2}, "$2, $1", {"1": 1, "2": 2}),
        ("$1, $a", {"1": 1, "a": 2}, "$1, $2", {"1": 1, "2": 2}),
        ("$a, '$b', $2", {"a": 1, "2": 2}, "$1, '$b', $2", {"1": 1, "2": 2}),
        ("$a", {"$a": 1}, "$1", {"1": 1}),
        ("$a", {"a": 1, "other": 2}, "$1", {"1": 1, "other": 2}),
        ("$a", {"a": 5, "1": 7}, "$2", {"2": 5, "1": 7}),
        ("?, ?", {"1": 1, "2": 2}, "$1, $2", {"1": 1, "2": 2}),
        ("$1, ?", {"1": 1, "2": 2}, "$1, $2", {"1": 1, "2": 2}),
        ("?, $a, ?", {"1": 1, "2": 2, "a": 3}, "$1, $3, $2", {"1": 1, "2": 2, "3": 3}),
    ],
)
def test_an_inserts_parameters_have_numbers(text, params, numbers, given) -> None:
    assert numbered([part(text)], params) == ([numbers], given)


def test_the_parts_of_an_insert_share_their_parameters() -> None:
    parts = [part("$b"), Part("", ()), part("$a, $b, ?")]
    texts, given = numbered(parts, {"a": 1, "b": 2, "1": 3})
    assert texts == ["$2", "", "$3, $2, $1"]
    assert given == {"3": 1, "2": 2, "1": 3}


def test_a_named_parameter_is_not_taken_for_a_number(session) -> None:
    """The values of $a and $1 were mixed up where only RETURNING named the second."""
    text = "INSERT INTO t VALUES ($a, 0) RETURNING a, b + $1 AS n"
    assert session.sql(text, {"a": 5, "1": 7}).to_pylist() == [{"a": 5, "n": 7}]


def test_question_marks_are_one_parameter_each(session) -> None:
    """Each of them was given the first value."""
    session.sql("INSERT INTO t VALUES (?, ?)", [5, 6])
    assert session.sql("SELECT b FROM t WHERE a = 5").to_pylist() == [{"b": 6}]


# --- what is remembered --------------------------------------------------------------------------


def test_a_short_text_is_remembered_and_a_long_one_is_not() -> None:
    """The tokens of 512 long texts would be kept for good."""
    short = "SELECT " + "1" * (REMEMBERED_LENGTH_MAX - 7)
    assert parse_statement(short) is parse_statement(short)
    assert parse_statement(short + "1") is not parse_statement(short + "1")
    assert parse_statement(short + "1") == parse_statement(short + "1")
