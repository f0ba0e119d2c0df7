"""What others may see of a statement and its error: no literal, unless queries are stored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit import errors
from affidavit.catalog.sql.lexer import TEXT_LENGTH_MAX
from affidavit.engine.statement.shown import (
    SHOWN_LENGTH_MAX,
    Shown,
    hide_secrets,
    tokens_of,
    without_literals,
    without_secrets,
)
from affidavit.engine.statement.statement import parse_statement

SHOWN = [
    ("SELECT * FROM t WHERE a = 'O''Brien'", "SELECT * FROM t WHERE a = ?"),
    ("SELECT a FROM t WHERE b IN (1, 2.5e3, -7, .5)", "SELECT a FROM t WHERE b IN (?, ?, -?, ?)"),
    ("UPDATE t SET sick = TRUE, a = NULL WHERE b IS false", "UPDATE t SET sick = ?, a = NULL WHERE b IS ?"),
    ("SELECT DATE '2020-01-01', INTERVAL '1 day', INTERVAL 3 MONTH", "SELECT DATE ?, INTERVAL ?, INTERVAL ? MONTH"),
    ("SELECT E'a\\'b', X'ff', b'1', N'x', U&'x', $$d$$, $tag$ 'e' $tag$", "SELECT ?, ?, ?, ?, ?, ?, ?"),
    ("SELECT 1_000, 0xff, 1e5", "SELECT ?, ?, ?"),
    ("SELECT id FROM vector_search('docs', [1.0, -2.0,.5], 3)", "SELECT id FROM vector_search(?, [?], ?)"),
    ("SELECT [[1, 2], [3]], ARRAY['a'], [x, 1]", "SELECT [[?], [?]], ARRAY[?], [x, ?]"),
    ("INSERT INTO t VALUES (1, 'x'), ($1, ?), ($n, 2)", "INSERT INTO t VALUES (?, ?), ($1, ?), ($n, ?)"),
    ("SELECT a -- of John\n, b /* and /* of */ Jane */ FROM t -- end", "SELECT a , b FROM t"),
    ("SELECT\n  a,\n  b\nFROM t;", "SELECT\n  a,\n  b\nFROM t;"),
    ('SELECT "a b", `c` FROM "T"', 'SELECT "a b", `c` FROM "T"'),
    ("COPY t TO 's3://me:word@b/x.csv' OPTIONS ('format.null_value' 'NA')", "COPY t TO ? OPTIONS (? ?)"),
    ("COPY t TO 'x' OPTIONS (password hush, a b)", "COPY t TO ? OPTIONS (password ***, a b)"),
    ("CREATE EXTERNAL TABLE z STORED AS CSV LOCATION 'https://h/x?X-Amz-Signature=y'",
     "CREATE EXTERNAL TABLE z STORED AS CSV LOCATION ?"),
    ("SET datafusion.execution.batch_size = 4096", "SET datafusion.execution.batch_size = ?"),
    ("SELECT a->>'k', m['k'] FROM t LIMIT 10", "SELECT a->>?, m[?] FROM t LIMIT ?"),
    ("SELECT 'O'Brien Mc'Neil'", "***"), ("SELECT 12John", "***"), ("SELECT DATE'2020-01-01'", "SELECT DATE?"),
    ("SELECT 'no end", "***"), ("SELECT 1 /* no end", "***"), ("SELECT (1", "SELECT (?"),
    ("SELECT a$$John$$", "***"), ("SELECT a$b$John$b$", "***"), ("SELECT a$1", "SELECT a$1"),
    ("SELECT 1; SELECT 'x'", "SELECT ?; SELECT ?"), ("", ""), (" \n", ""), ("-- John", "***"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), SHOWN, ids=[text[:40] for text, _ in SHOWN])
def test_literals_and_comments_are_taken_out_of_a_statement(text: str, shown: str) -> None:
    assert Shown().text(text) == shown
    assert Shown().text(shown) == shown or shown.startswith("***")


@given(
    st.lists(
        st.sampled_from([
            "'hush''hush'", "E'hush\\'hush'", "$$hush$$", "$h$hush$h$", "X'hush'", "--hush\n", "/*hush*/",
            "4711", "4711.5e3", "0x4711", "[4711, 4711]", "a", '"b"', "(", ")", ",", "=", "?", " ",
            "\n", ";", "/", "-", "'hush", "/*hush", "$$hush",
        ]),
        max_size=12,
    )
)  # fmt: skip
def test_however_a_statement_is_put_together_no_literal_is_shown(parts: list[str]) -> None:
    for text in ("".join(parts), " ".join(parts)):
        shown = Shown().text(text)
        assert "hush" not in shown.replace("hushhush", "")
        assert "4711" not in re.sub(r"\ba\w+", "", shown)  # a0x4711 is a name


def test_a_statement_that_was_read_is_not_read_again() -> None:
    for text in ("SELECT 'x' AS a -- end", "SELECT 1;  ", "FROM t WHERE a < 1_000"):
        statement = parse_statement(text)
        tokens = tokens_of(text, statement)
        assert (tokens is None) == (not text.startswith(statement.text))
        assert without_literals(text, tokens).rstrip(";") == without_literals(text).rstrip(";")


FORMS = ["'{}'", '"{}"', "{}", "$${}$$", "E'{}'", "('{}')", "'{}"]


@pytest.mark.parametrize("value", FORMS)
@pytest.mark.parametrize("name", FORMS)
def test_a_secret_of_options_is_hidden_however_it_is_quoted(name: str, value: str) -> None:
    """Behind a name in quotes the quotes between it and its value were taken for the value."""
    for option in ("password", "x.secret", "api_key"):
        given = f"{name.format(option)} {value.format('Hush')}, 'region' 'eu'"
        text = f"CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://b/x' OPTIONS ({given})"
        try:
            tokens = tokens_of(text, parse_statement(text))
        except errors.SqlError:
            tokens = None
        for shown, error in (without_secrets(text, "not 'Hush'", each) for each in (tokens, None)):
            assert "Hush" not in shown + error
            if "('" not in name + value and "'{}" not in (name, value):
                assert shown.endswith(f"OPTIONS ({name.format(option)} ***, 'region' 'eu')")


def test_what_is_shown_has_an_end() -> None:
    long = "SELECT " + ", ".join(["x"] * SHOWN_LENGTH_MAX)
    assert Shown().text(long) == long[:SHOWN_LENGTH_MAX]
    assert Shown(literals=True).text(long) == long[:SHOWN_LENGTH_MAX]
    assert without_literals("x" * (TEXT_LENGTH_MAX + 1)) == "***"


def test_what_is_no_text_is_a_literal() -> None:
    assert Shown().text(4711) == "?"
    assert Shown(literals=True).text(4711) == "4711"


NAMES = frozenset({"t", "nope"})
TOLD = [
    (errors.TableNotFoundError("nope", known=["t"]), "TableNotFoundError: no table 'nope'; this session sees 't'"),
    (errors.TableNotFoundError("hush", known=["t"]), "TableNotFoundError"),
    (errors.TableExistsError("t"), "TableExistsError: a table 't' exists already: choose another name, or drop it first"),
    (errors.ColumnNotFoundError("nope", table="t", known=["a"]), "ColumnNotFoundError: table 't' has no column 'nope'; it has 'a'"),
    (errors.ColumnNotFoundError("hush", table="t", known=["a"]), "ColumnNotFoundError"),
    (errors.ColumnNotFoundError(["t"], table="t", known=["a"]), "ColumnNotFoundError"),
    (errors.ConflictError("'t' changed", names=["t"]), "ConflictError: 't' changed"),
    (errors.StatementCancelledError("the statement was cancelled"), "StatementCancelledError: the statement was cancelled"),
    (errors.ConstraintError("table 't' has a row with id = hush"), "ConstraintError"),
    (errors.SqlError("found: hush"), "SqlError"), (errors.ExecutionError("hush"), "ExecutionError"),
    (errors.SourceError("Key (name)=(hush) exists"), "SourceError"), (RuntimeError("hush"), "RuntimeError"),
    (KeyboardInterrupt(), "KeyboardInterrupt"), (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "told"), TOLD, ids=[str(told)[:40] for _, told in TOLD])
def test_an_error_tells_its_class_and_what_is_about_names_alone(error, told) -> None:
    assert Shown().told("SELECT 1", error, names=NAMES) == ("SELECT ?", told)
    # also where statements are kept: what an error says could not be let go of
    assert Shown(literals=True).told("SELECT 1", error, names=NAMES) == ("SELECT 1", told)


SECRETS = [
    ("COPY t TO 'x' (FORMAT csv, secret_access_key 'hush')", "COPY t TO 'x' (FORMAT csv, secret_access_key ***)"),
    ("COPY (SELECT key FROM t) TO 'x' (password hush, a b)", "COPY (SELECT key FROM t) TO 'x' (password ***, a b)"),
    ("COPY t FROM 'x' WITH (sas_token $$hush$$)", "COPY t FROM 'x' WITH (sas_token ***)"),
    ("ATTACH 'x' AS y (TYPE postgres, token = 'hush')", "ATTACH 'x' AS y (TYPE postgres, token ***)"),
    ("SELECT * FROM read_csv('x', secret_access_key => 'hush', n => 1)",
     "SELECT * FROM read_csv('x', secret_access_key => ***, n => 1)"),
    ("SELECT * FROM f(api_key := 'hush', b => {'password': 'hush', 'c': 'd'})",
     "SELECT * FROM f(api_key := ***, b => {'password': ***, 'c': 'd'})"),
    ("SELECT key, 'x' FROM t WHERE key = 'a' AND token IN ('b')", "SELECT key, 'x' FROM t WHERE key = 'a' AND token IN ('b')"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), SECRETS, ids=[text[:40] for text, _ in SECRETS])
def test_what_a_name_says_is_secret_is_not_kept_with_a_statement(text: str, shown: str) -> None:
    assert Shown(literals=True).text(text) == shown
    assert "hush" not in Shown().text(text)
    error = errors.SqlError("found: hush")
    if "hush" in text:
        hide_secrets(error, text)
        assert "hush" not in str(error)
