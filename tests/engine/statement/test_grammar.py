"""Where an expression, a list of tables and a query end: by grammar, not by what a word is."""

from __future__ import annotations

import pytest
import sqloxide
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalog.sql.lexer import Cursor, tokenize
from affidavit.engine.statement.grammar import skip_expression, skip_items, skip_ordering, skip_type
from affidavit.engine.statement.queries import skip_query, skip_tables
from affidavit.errors import SqlError

BEHIND = ("", "WHERE a", "FROM t", "RETURNING a", "WHEN MATCHED THEN DELETE", ", b = 1", "THEN x",
          "ON CONFLICT DO NOTHING", "NOT NULL", "LIMIT 1", "ORDER BY 1", ")")  # fmt: skip
"""What may stand behind an expression, and belongs to no expression."""

EXPRESSIONS = [
    "offset", "conflict + returning", "offset = 1 AND limit = 2", "a.b.c", '"a b"."c"', "t.*", "*",
    "-1", "+ - ~ a", "NOT NOT a", "NOT EXISTS (SELECT 1)", "(a, b) IN ((1, 2))", "a NOT IN (1, 2)",
    "a BETWEEN 1 AND 2 AND b NOT BETWEEN SYMMETRIC 3 AND 4", "a LIKE 'x' ESCAPE '!'",
    "a SIMILAR TO 'x'", "a NOT SIMILAR TO 'x'", "a IS NULL", "a IS NOT TRUE AND b", "a ISNULL",
    "a IS DISTINCT FROM b", "a IS NOT DISTINCT FROM b IS NULL", "CASE WHEN a THEN b END",
    "CASE a WHEN 1 THEN CASE WHEN b THEN c END ELSE d END + 1", "CAST(a AS INT)", "a::int[] || b",
    "a::timestamp with time zone AT TIME ZONE 'UTC'", "a::DOUBLE PRECISION", "a::numeric(3, 1) + 1",
    "DATE '2020-01-01' + INTERVAL '1 day'", "INTERVAL 1 DAY", "INTERVAL '1' YEAR TO MONTH", "TIMESTAMP WITH TIME ZONE '2020-01-01 00:00:00Z'", "ARRAY[1, 2][1]", "[1, 2]",
    "{'a': 1}", "count(*) FILTER (WHERE a) OVER (PARTITION BY b)", "first_value(a) IGNORE NULLS OVER w",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY a)", "f(a).b[1].c", "x'00'", "E'a\\'b'", "$$a$$",
    "$1 + ?", "a COLLATE x", "a ->> 'b' = 'c'", "a @> b", "a !~* 'x'", "a < ANY (ARRAY[1])", "filter",
    "over", "a - -1", "a * -b", "EXTRACT(YEAR FROM a)", "a IN (SELECT b FROM t WHERE c)",
    "1 = 1 OR a <=> b", "current_date", "date", "a AT TIME ZONE b || c",
]  # fmt: skip


def left(text: str, skip) -> str:
    cursor = Cursor(text, tokenize(text))
    skip(cursor)
    return cursor.rest()


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_ends_where_no_operator_follows(text, behind) -> None:
    if behind == ")":
        text = f"({text}"
        assert left(f"{text})", lambda c: (c.skip(), skip_expression(c))) == ")"
    else:
        assert left(f"{text} {behind}", skip_expression) == behind


ATOMS = st.sampled_from(["a", "offset", "1", "'x'", "$1", "f(a, b)", "(a)", "NULL", "t.a"])


def _built(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.sampled_from(
        ["AND", "OR", "+", "-", "=", "<>", "||", "LIKE", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]
    )
    return st.one_of(
        st.tuples(inner, two, inner).map(" ".join),
        inner.map("NOT {}".format),
        inner.map("- {}".format),
        inner.map("({})".format),
        inner.map("{} IS NOT NULL".format),
        inner.map("{}::int".format),
        st.tuples(inner, inner, inner).map(lambda x: "CASE WHEN {} THEN {} ELSE {} END".format(*x)),
        st.tuples(inner, inner).map(lambda x: "{} IN ({}, 1)".format(*x)),
        st.tuples(inner, inner, inner).map(lambda x: "{} BETWEEN {} AND {}".format(*x)),
    )


@given(st.recursive(ATOMS, _built, max_leaves=12), st.sampled_from(BEHIND[:-1]))
def test_p19_what_the_parser_takes_for_an_expression_is_one(text: str, behind: str) -> None:
    try:
        sqloxide.parse_sql(sql=f"SELECT {text}", dialect="generic")
    except ValueError:
        return  # the parser's precedence refuses a mix such as NOT before IN's left side
    assert left(f"{text} {behind}", skip_expression) == behind


@pytest.mark.parametrize(
    "text",
    ["", "WHERE a", ")", ",", "a +", "AND a", "a AND", "CASE WHEN a THEN b", "CASE a END x", "a IN",
     "a = WHERE", "f(a", "a BETWEEN", "a OVER", "NOT", "a ="],
)  # fmt: skip
def test_p12_what_is_no_expression_is_refused(text) -> None:
    if text == "CASE a END x":
        assert left(text, skip_expression) == "x"  # the planner's to refuse
        return
    with pytest.raises(SqlError, match="found|not closed|do not pair"):
        left(text, skip_expression)


@pytest.mark.parametrize(
    ("text", "skip"),
    [
        ("a AS offset, count(*) n, t.* EXCLUDE (a), b 'c'", skip_items),
        ("a DESC NULLS LAST, b + 1 ASC, offset", skip_ordering),
        ("a, b AS c (d, e), lake.main.t u LEFT OUTER JOIN v ON v.conflict = u.a", skip_tables),
        ("(SELECT 1) AS x NATURAL JOIN LATERAL unnest(a) y CROSS JOIN z", skip_tables),
        ("a JOIN b USING (id) JOIN c ON a.x IS DISTINCT FROM c.x, 'file.parquet' f", skip_tables),
        ("a TABLESAMPLE BERNOULLI (10) s, generate_series(1, 2) g(v)", skip_tables),
        ("VALUES (1, 2), ROW (3, 4)", skip_query),
        ("(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1 OFFSET 2 ROWS", skip_query),
        ("WITH RECURSIVE a (b) AS (SELECT 1), c AS NOT MATERIALIZED (SELECT 2) TABLE a", skip_query),
        ("SELECT DISTINCT ON (a) a, b FROM t JOIN u ON conflict = 1 WHERE offset > 1 GROUP BY 1, 2 "
         "HAVING count(*) > 1 WINDOW w AS (ORDER BY a), v AS () QUALIFY x = 1", skip_query),
        ("SELECT 1 EXCEPT DISTINCT SELECT 2 MINUS SELECT 3 FETCH FIRST 1 ROW ONLY", skip_query),
        ("SELECT a FROM t UNION ALL BY NAME SELECT b FROM u LIMIT 1, 2", skip_query),
        ("FROM t SELECT a", skip_query),
        ("STRUCT<a INT, b ARRAY<INT>>", skip_type),
        ("DECIMAL(3, 1)[]", skip_type),
        ("CHARACTER VARYING (10)", skip_type),
        ("TIMESTAMP (3) WITH TIME ZONE", skip_type),
        ("BIGINT UNSIGNED", skip_type),
        ("FLOAT[3]", skip_type),
    ],
)  # fmt: skip
@pytest.mark.parametrize("behind", ["", "RETURNING a", "ON CONFLICT DO NOTHING", "SET a = 1"])
def test_lists_tables_queries_and_types_end_where_they_do(text, skip, behind) -> None:
    if behind.startswith("ON") and skip is skip_tables:
        behind = "RETURNING a"  # behind a table, ON belongs to its JOIN
    assert left(f"{text} {behind}".strip(), skip) == behind


@pytest.mark.parametrize("text", ["", "SELECT", "VALUES", "VALUES 1", "WITH a SELECT 1",
                                  "WITH a AS SELECT 1", "SELECT a FROM", "SELECT a UNION", "a"])  # fmt: skip
def test_p12_what_is_no_query_is_refused(text) -> None:
    with pytest.raises(SqlError):
        left(text, skip_query)
