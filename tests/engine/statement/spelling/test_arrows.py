"""The operators of JSON are calls, whatever stands around them."""

from __future__ import annotations

import pytest

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.spelling.arrows import arrows
from affidavit.errors import SqlError


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("SELECT j -> 'a'", "SELECT json_get(j , 'a')"),
        ("SELECT j->'a'->'b'->>0", """SELECT json_extract_string(j, '$."a"."b"."0"')"""),
        ("SELECT j -> 'a' -> -07 + 1", """SELECT json_extract(j , '$."a"."-7"') + 1"""),
        (
            "SELECT j->'it''s \\ \"x\"'->>'b'->'c'->>'d'",
            """SELECT json_extract_string(json_extract_string(j, '$."it''s \\\\ \\"x\\""."b"'),"""
            """ '$."c"."d"')""",
        ),
        ("SELECT j->$k->'b'->>'c'", """SELECT json_extract_string(json_get(j,$k), '$."b"."c"')"""),
        ("SELECT j->'a'->>$k", "SELECT json_get_text(json_get(j,'a'),$k)"),
        ("SELECT j->'a'->1.0->'b'", "SELECT json_get(json_get(json_get(j,'a'),1.0),'b')"),
        ("SELECT f(j->'a'->'b')->'c'", """SELECT json_get(f(json_extract(j, '$."a"."b"')),'c')"""),
        ("SELECT t.j->>-1 || 'x'", "SELECT json_get_text(t.j,-1) || 'x'"),
        ("SELECT 'x' || j ->> 'a'", "SELECT 'x' || json_get_text(j , 'a')"),
        ("SELECT j->>'n'::INT + 1", "SELECT json_get_text(j,'n')::INT + 1"),
        ("SELECT (j->'a')->>$k = ?", "SELECT json_get_text((json_get(j,'a')),$k) = ?"),
        ("SELECT f(j)->'a'", "SELECT json_get(f(j),'a')"),
        ("SELECT CAST(v AS VARCHAR)->'a'", "SELECT json_get(CAST(v AS VARCHAR),'a')"),
        ("SELECT j::VARCHAR(9)->'a'", "SELECT json_get(j::VARCHAR(9),'a')"),
        ("SELECT a[1]->'a'", "SELECT json_get(a[1],'a')"),
        ("SELECT CASE WHEN b THEN j END->'a'", "SELECT json_get(CASE WHEN b THEN j END,'a')"),
        (
            "WHERE x IN (j->>'a', j->>'b')",
            "WHERE x IN (json_get_text(j,'a'), json_get_text(j,'b'))",
        ),
        ("SELECT j->>lower(k)", "SELECT json_get_text(j,lower(k))"),
        ("SELECT f(j->'a')", "SELECT f(json_get(j,'a'))"),
        ("SELECT \"J\"->'a' AS \"x->'y'\"", "SELECT json_get(\"J\",'a') AS \"x->'y'\""),
        ("WHERE a = 1 AND j->>'k' IS NULL", "WHERE a = 1 AND json_get_text(j,'k') IS NULL"),
        ("WHERE b IN (j)->'a'", "WHERE b IN json_get((j),'a')"),
    ],
)
def test_each_binds_to_one_operand_on_each_side(given: str, written: str) -> None:
    given = f"{given} AS c"  # what is written otherwise is given its name
    assert arrows(given, tokenize(given)) == f"{written} AS c"


def test_a_column_is_called_as_it_was_written() -> None:
    text = "SELECT a, j->'a' FROM (SELECT j->>'b' || 1 FROM t) WHERE b->'c'"
    assert arrows(text, tokenize(text)) == (
        "SELECT a, json_get(j,'a') AS \"j -> 'a'\" "
        "FROM (SELECT json_get_text(j,'b') || 1 AS \"j ->> 'b' || 1\" FROM t) "
        "WHERE json_get(b,'c')"
    )


@pytest.mark.parametrize("text", ["SELECT f(l, x -> x + 1)", "SELECT f(l, (x, y) -> x + y)"])
def test_a_lambda_stays_one(text: str) -> None:
    assert arrows(text, tokenize(text)) == text


@pytest.mark.parametrize("text", ["SELECT j ->", "-> 'a'", "SELECT j -> , 1"])
def test_what_has_no_operand_is_refused(text: str) -> None:
    with pytest.raises(SqlError):
        arrows(text, tokenize(text))


def test_the_time_that_it_takes_is_linear() -> None:
    text = "SELECT j" + "->$k" * 5_000
    assert arrows(text, tokenize(text)).count("json_get(") == 5_000
    text = "SELECT j" + "->'a'" * 5_000
    assert arrows(text, tokenize(text)).count('."a"') == 5_000
