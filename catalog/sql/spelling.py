"""Names in a text of SQL: which words are some, and how a table writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.catalog.sql.names import RESERVED_COLUMNS
from affidavit.catalog.sql.quoting import quoted
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token

KEYWORDS: Final = frozenset(
    {
        "ALL", "AND", "ANTI", "ANY", "AS", "ASC", "ASOF", "AT", "BETWEEN", "BIGINT", "BOOLEAN",
        "BY", "BYTEA", "CENTURY", "CENTURYS", "CLUSTER", "CONFLICT", "CONNECT", "CROSS", "CUBE",
        "CURRENT", "DAY", "DAYS", "DECADE", "DECADES", "DECIMAL", "DELETE", "DESC",
        "DISTRIBUTE", "DIV", "DO", "DOUBLE", "ELSE", "END", "ESCAPE", "EXCEPT", "EXCLUDED",
        "EXISTS", "FALSE", "FETCH", "FILTER", "FIRST", "FLOAT", "FOLLOWING", "FOR", "FROM",
        "FULL", "GROUP", "GROUPING", "GROUPS", "HAVING", "HOUR", "HOURS", "ILIKE", "IN",
        "INNER", "INSERT", "INT", "INTEGER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN", "L",
        "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT", "MATCHED", "MICROSECOND", "MICROSECONDS",
        "MILLISECOND", "MILLISECONDS", "MINUS", "MINUTE", "MINUTES", "MONTH", "MONTHS",
        "NANOSECOND", "NANOSECONDS", "NATURAL", "NOT", "NOTHING", "NULL", "NULLS", "NUMERIC",
        "OFFSET", "ON", "ONLY", "OR", "ORDER", "OUTER", "OVER", "OVERLAPS", "PARTITION",
        "PRECEDING", "PREWHERE", "QUALIFY", "QUARTER", "QUARTERS", "RANGE", "REAL", "RECURSIVE",
        "REGEXP", "RETURNING", "RIGHT", "RLIKE", "ROLLUP", "ROW", "ROWS", "SECOND", "SECONDS",
        "SELECT", "SEMI", "SET", "SETS", "SMALLINT", "SOME", "SORT", "SOURCE", "START",
        "TABLESAMPLE", "TARGET", "TEMPORARY", "TEXT", "THEN", "TIES", "TINYINT", "TRUE",
        "UNBOUNDED", "UNION", "UPDATE", "USING", "VALUES", "VARCHAR", "WEEK", "WEEKS", "WHEN",
        "WHERE", "WINDOW", "WITH", "XOR", "YEAR", "YEARS", "ZONE",
    }
)  # fmt: skip
"""Words that may be no name where they stand: a column that is called so is written in quotes."""

_QUERIES: Final = frozenset({"SELECT", "WITH", "VALUES", "FROM", "TABLE"})
"""What a query in brackets begins with."""


def as_columns(
    condition: str, tokens: Sequence[Token], columns: Iterable[str]
) -> tuple[str, Sequence[Token]]:
    """Return a condition over one table with its names as SQL reads them, and its tokens.

    It has no comment. What stands in a query in brackets is left to whoever plans it: its names are
    other tables'.

    Args:
        condition: The condition.
        tokens: What it is made of.
        columns: The table's columns.

    Raises:
        SqlError: A name could be several, a name in quotes is none, something follows, or it has a
            parameter.
    """
    exact = set(columns)
    _refuse_more(tokens)
    if "--" in condition or "/*" in condition:
        condition = _without_comments(tokens)
        tokens = tokenize(condition)
    meant = ((tokens[at], name) for at, name in _meant(tokens, exact))
    written = edited(condition, ((token.start, token.end, quoted(name)) for token, name in meant))
    return written, tokens if written is condition else tokenize(written)


def _meant(tokens: Sequence[Token], columns: set[str]) -> Iterator[tuple[int, str]]:
    """Yield where names stand that are to be written otherwise, and the columns that they mean."""
    for at in _outside(tokens):
        token = tokens[at]
        if token.name is None or (token.kind == "word" and token.name in columns):
            continue
        if token.name in RESERVED_COLUMNS:
            raise SqlError(f"no column {token.text}: rows are told by their keys")
        around = {each.text for each in (*tokens[max(at - 1, 0) : at], *tokens[at + 1 : at + 2])}
        if "." in around:
            continue
        if token.kind == "quoted":
            if token.name not in columns:
                raise SqlError(f"no column {token.text}: a text stands in single quotes")
        elif token.keyword not in KEYWORDS and is_name(tokens, at):
            meant = _alike(token, columns)
            if meant is not None:
                yield at, meant


def _outside(tokens: Sequence[Token]) -> Iterator[int]:
    """Yield where the tokens stand that are in no query in brackets."""
    query_depth: int | None = None
    for at, token in enumerate(tokens):
        if query_depth is not None and token.depth > query_depth:
            continue
        query_depth = None
        is_open = token.text == "(" and token.kind == "symbol"
        if is_open and at + 1 < len(tokens) and tokens[at + 1].keyword in _QUERIES:
            query_depth = token.depth
        yield at


def _refuse_more(tokens: Sequence[Token]) -> None:
    """Raise SqlError if a text is more than an expression, or takes values from elsewhere."""
    if any(
        (token.kind == "symbol" and (token.text == ";" or (token.text == "," and not token.depth)))
        or token.depth < 0
        for token in tokens
    ):
        msg = "a condition is one expression: nothing may follow it"
        raise SqlError(msg)
    for token in tokens:
        if token.kind == "placeholder":
            raise SqlError(
                f"a condition has no parameters but a search's: {token.text} has no value, so "
                "write it there, or give it by the search's params="
            )


def _without_comments(tokens: Sequence[Token]) -> str:
    """Return the text of tokens, with a space wherever something stands between two."""
    pieces, end = [], 0
    for token in tokens:
        pieces += [" " * (token.start > end), token.text]
        end = token.end
    return "".join(pieces).strip()


def _alike(token: Token, columns: set[str]) -> str | None:
    """Return the column that a name without quotes means, of which no column is written so."""
    alike = sorted(each for each in columns if each.casefold() == token.text.casefold())
    if len(alike) > 1:
        told = " or ".join(map(quoted, alike))
        raise SqlError(f"{token.text} is ambiguous: write {told}, in quotes")
    return alike[0] if alike else None


def is_name(tokens: Sequence[Token], at: int) -> bool:
    """Whether a word is no function, type or part of a literal."""
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    before = tokens[at - 1] if at else None
    if after is not None and (after.text == "(" or after.kind == "string"):
        return before is not None and before.keyword in {"INTO", "TABLE"}
    if before is None:
        return True
    if before.text == "::":
        return False
    return not (before.keyword == "AS" and after is not None and after.text == ")")


def as_names(expression: str, columns: Iterable[str]) -> str:
    """Return an expression over one table with its columns as DataFusion reads them.

    A name without quotes that differs from a column's in case alone means that column, and is put
    in quotes; what is no column's is left to whoever plans it.

    Raises:
        SqlError: A name could be several, or the text cannot be read.
    """
    exact = set(columns)
    tokens, edits = tokenize(expression), list[tuple[int, int, str]]()
    for at, token in enumerate(tokens):
        if token.kind != "word" or token.name in exact or not is_name(tokens, at):
            continue
        alike = sorted(each for each in exact if each.casefold() == token.text.casefold())
        if token.text in exact:
            alike = [token.text]
        if len(alike) > 1:
            told = " or ".join(map(quoted, alike))
            raise SqlError(f"{token.text} is ambiguous: write {told}, in quotes")
        if alike and (token.keyword not in KEYWORDS or token.text in exact):
            edits.append((token.start, token.end, quoted(alike[0])))
    return edited(expression, edits)
