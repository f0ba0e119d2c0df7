"""A query in brackets, for its one value, that names the row outside.

DataFusion 54.1 plans it if it aggregates, for then it has one row. So one that does not is made to:
it gives the first value, and fails where there is a second row, as SQL has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import read_expression
from affidavit.engine.statement.reading.places import aggregates, between, clause, is_query, split
from affidavit.engine.statement.reading.walker import closing, in_from, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Span, Tokens

SEVERAL: Final = "a query in brackets gave several rows where one value is wanted"

AGGREGATED: Final = (
    "a query in FROM that names the row outside and aggregates has one row, always: aggregate in "
    "the query around it, or join with GROUP BY and coalesce()"
)
"""DataFusion 54.1 has no row where there is nothing to aggregate, or does not plan it."""

_OTHERS: Final = (
    "GROUP", "HAVING", "UNION", "INTERSECT", "EXCEPT", "OFFSET", "FETCH", "WINDOW", "QUALIFY",
)  # fmt: skip
_NO_VALUES: Final = frozenset({"AS", "FROM", "JOIN", "LATERAL", "IN", "EXISTS", "INTO", "ALL",
                               "ANY", "SOME", "UNION", "INTERSECT", "EXCEPT", ""})  # fmt: skip


def scalar(text: str, tokens: Tokens, query: Span, schema_of: SchemaOf) -> Edit | None:
    """Return how the query is to be written, if it is one of these."""
    start, end = query
    before = word(tokens, start - 2)
    if word(tokens, start) != "SELECT" or before in _NO_VALUES or in_from(tokens, start - 1):
        return None
    begins = clause(tokens, query, "FROM")
    one_row = begins >= 0 and _has_one_row(text, tokens, (begins, end), schema_of)
    if one_row and (
        aggregates(tokens, query) or word(tokens, closing(tokens, begins + 1) + 1) != ")"
    ):
        raise SqlError(AGGREGATED)
    if one_row or word(tokens, start + 1) in {"DISTINCT", "ALL"} or aggregates(tokens, query):
        return None
    if begins < 0 or any(clause(tokens, query, each) >= 0 for each in _OTHERS):
        return None
    if len(split(tokens, (start + 1, begins))) != 1:
        return None
    sql = text[tokens[start].start : tokens[end - 1].end]
    if schema_of(sql) is not None:
        return None
    ordered, limited = clause(tokens, query, "ORDER", "BY"), clause(tokens, query, "LIMIT")
    if limited >= 0 and (word(tokens, limited + 1), limited + 2) != ("number", end):
        return None
    if limited >= 0 and tokens[limited + 1].text != "1":
        return None
    value = item_of(text, tokens, start + 1)
    order, last = "", min(each for each in (ordered, limited, end) if each >= 0)
    if ordered >= 0:
        stop = limited if limited >= 0 else end
        order = f" {text[tokens[ordered].start : tokens[stop - 1].end]}"
    rows = text[tokens[begins].start : tokens[last - 1].end]
    first = f"first_value({value}{order})"
    if limited < 0:
        first = (
            f"CASE WHEN CAST(CASE WHEN count(*) <= 1 THEN 'true' ELSE '{SEVERAL}' END AS BOOLEAN) "
            f"THEN {first} END"
        )
    return tokens[start].start, tokens[end - 1].end, f"SELECT {first} {rows}"


def _has_one_row(text: str, tokens: Tokens, rows: Span, schema_of: SchemaOf) -> bool:
    """Return whether FROM begins with a query that aggregates, and names the row outside.

    That has one row where there is nothing to aggregate too, and its values are no NULL.
    """
    if word(tokens, rows[0] + 1) != "(" or not is_query(tokens, rows[0] + 1):
        return False
    start, end = rows[0] + 2, closing(tokens, rows[0] + 1)
    if end > rows[1]:
        return False
    if schema_of(between(text, tokens, (start, end))) is not None:
        return False
    begins = clause(tokens, (start, end), "FROM")
    return aggregates(tokens, (start, end)) or (
        begins >= 0 and _has_one_row(text, tokens, (begins, end), schema_of)
    )


def item_of(text: str, tokens: Tokens, at: int) -> str:
    """Return the expression that begins at a place, without a name behind it."""
    return read_expression(Cursor(text, tokens, at))
