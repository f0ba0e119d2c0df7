"""IN and EXISTS over a query, as SQL means them where NULLs and aggregates are about.

DataFusion 54.1 plans both as joins. Its anti join knows NULL, but the conditions that stand beside
NOT IN are handed to the list as well, and take its NULL away; its mark join, for what stands under
OR or NOT, knows no NULL at all; and a correlated aggregate has no row where it has no input.

Rules:
    - A query is written once where what it gives is only compared, and thrice where it must be told
      whether IN is false or unknown; a search is never written twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.mended.scalars import item_of, scalar
from affidavit.engine.statement.reading.functions import SEARCHES
from affidavit.engine.statement.reading.places import (
    COUNTED,
    Stands,
    aggregates,
    between,
    clause,
    is_query,
    operand_before,
    split,
    stands,
)
from affidavit.engine.statement.reading.walker import Tokens, closing, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Span

_LIST: Final = '"__listed"'
_APART: Final = (
    'SELECT "__1" FROM (SELECT "__1", row_number() OVER () AS "__number" '
    'FROM ({}) AS "__listed"("__1")) AS "__apart" WHERE "__number" > 0'
)
"""A list of which no filter from outside takes NULL away: none is handed through a window."""

_NO_COLUMN: Final = "(CASE WHEN ({0}) IS NOT NULL THEN ({0}) END)"
"""The same value, of which no condition of a column is handed to what it is compared with."""

_OTHERS: Final = (
    "GROUP", "HAVING", "ORDER", "WINDOW", "QUALIFY", "LIMIT", "OFFSET", "FETCH", "UNION",
    "INTERSECT", "EXCEPT",
)  # fmt: skip
"""Clauses that a condition more cannot stand behind."""

_ASIDE: Final = frozenset({"LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT"})


def membership(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> Edit | None:
    """Return how IN or EXISTS is to be written whose query's bracket opens at a place."""
    before = word(tokens, at - 1)
    if not is_query(tokens, at):
        return None
    query = (at + 1, closing(tokens, at))
    if before == "IN":
        return _In(text, tokens, at, schema_of).edit()
    if before == "EXISTS":
        return _exists(text, tokens, query, schema_of)
    return scalar(text, tokens, query, schema_of)


# --- IN ------------------------------------------------------------------------------------------


class _In:
    """One ``x [NOT] IN (query)``; the query's bracket opens at ``at``."""

    def __init__(self, text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> None:
        self._text = text
        self._tokens = tokens
        self._schema_of = schema_of
        self._is_negated = word(tokens, at - 2) == "NOT"
        behind = at - 1 - self._is_negated
        start = operand_before(tokens, behind)
        self._end = closing(tokens, at) + 1
        self._query = (at + 1, self._end - 1)
        self._sql = between(text, tokens, self._query)
        operand = (start, behind)
        self._operands = [between(text, tokens, each) for each in _row(tokens, operand)]
        inside = {*tokens.words[start:behind]}
        if "SELECT" in inside and inside & {"IN", "EXISTS"}:
            msg = (
                "a query before IN that has IN or EXISTS itself is not supported: join it with FROM"
            )
            raise SqlError(msg)
        if word(tokens, start - 1) == "NOT":  # which is said of all of it: NOT x IN (...)
            start -= 1
            self._is_negated = not self._is_negated
        self._span = (start, self._end)

    def edit(self) -> Edit | None:
        written = self._written()
        if written is None:
            return None
        start, end = self._span
        return self._tokens[start].start, self._tokens[end - 1].end, written

    def _written(self) -> str | None:
        place = stands(self._tokens, self._span)
        is_row = len(self._operands) > 1
        is_alone = self._searches() or self._schema_of(self._sql) is not None
        if not is_row and not is_alone and aggregates(self._tokens, self._query):
            sign = "<>" if self._is_negated else "="
            return f"({self._operands[0]}) {sign} ({self._sql})"
        if place in {Stands.CONJUNCT, Stands.POSITIVE}:
            if not self._is_negated:
                return f"EXISTS ({self._listed(self._all('='))})" if is_row else None
            if is_row or not is_alone or place is Stands.POSITIVE:
                return f"NOT EXISTS ({self._listed(self._differs())})"
            return f"{_NO_COLUMN.format(self._operands[0])} NOT IN ({_APART.format(self._sql)})"
        return self._valued(is_filtering=place is Stands.FILTERING)

    def _searches(self) -> bool:
        start, end = self._query
        return any(token.name in SEARCHES for token in self._tokens[start:end])

    def _valued(self, *, is_filtering: bool) -> str:
        """Return it as an expression that is true, false or NULL."""
        if self._searches():
            msg = (
                "IN (SELECT ...) over a search is not supported here: join the search's rows, or "
                "let IN stand alone or beside AND in WHERE"
            )
            raise SqlError(msg)
        found, unknown = self._all("="), f"({self._all('=')}) IS NULL"
        if is_filtering:
            is_in, may_be = (f"EXISTS ({self._listed(each)})" for each in (found, unknown))
        elif len(self._operands) == 1:
            return self._counted()
        else:
            is_in, may_be = (f"{self._count(each)} > 0" for each in (found, unknown))
        yes, no = ("FALSE", "TRUE") if self._is_negated else ("TRUE", "FALSE")
        return f"(CASE WHEN {is_in} THEN {yes} WHEN {may_be} THEN NULL ELSE {no} END)"

    def _counted(self) -> str:
        """Return the same of one column by counts: a SELECT list takes no EXISTS."""
        key, column = self._operands[0], '"__1"'
        yes, no = ("FALSE", "TRUE") if self._is_negated else ("TRUE", "FALSE")
        return (
            f"(CASE WHEN {self._count('TRUE')} = 0 THEN {no} WHEN ({key}) IS NULL THEN NULL "
            f"WHEN {self._count(self._all('='))} > 0 THEN {yes} "
            f"WHEN {self._count(f'{column} IS NULL')} > 0 THEN NULL ELSE {no} END)"
        )

    def _all(self, sign: str) -> str:
        pairs = enumerate(self._operands, 1)
        return " AND ".join(f'"__{at}" {sign} ({each})' for at, each in pairs)

    def _differs(self) -> str:
        pairs = enumerate(self._operands, 1)
        told = " OR ".join(f'"__{at}" <> ({each})' for at, each in pairs)
        return f"({told}) IS NOT TRUE"

    def _from(self, condition: str) -> str:
        columns = ", ".join(f'"__{at}"' for at in range(1, len(self._operands) + 1))
        return f"FROM ({self._sql}) AS {_LIST}({columns}) WHERE {condition}"

    def _listed(self, condition: str) -> str:
        return self._inlined(condition) or f"SELECT 1 {self._from(condition)}"

    def _inlined(self, condition: str) -> str | None:
        """Return the query itself with a condition more, if no name means another thing there.

        DataFusion plans few queries that name the row outside from within a table of FROM.
        """
        tokens, query = self._tokens, self._query
        begins = clause(tokens, query, "FROM")
        if (
            word(tokens, query[0]) != "SELECT"
            or begins < 0
            or self._schema_of(self._sql) is not None
        ):
            return None
        if any(clause(tokens, query, each) >= 0 for each in _OTHERS) or aggregates(tokens, query):
            return None
        items = split(tokens, (query[0] + 1, begins))
        if len(items) != len(self._operands) or word(tokens, query[0] + 1) in {"DISTINCT", "*"}:
            return None
        where = clause(tokens, query, "WHERE")
        tables = self._text[
            tokens[begins].start : tokens[(where if where >= 0 else query[1]) - 1].end
        ]
        inner = self._schema_of(f"SELECT * {tables}")
        if inner is None or self._caught(inner.names, tables):
            return None
        for at, item in enumerate(items, 1):
            value = item_of(self._text, tokens, item[0])
            condition = condition.replace(f'"__{at}"', f"({value})")
        if where >= 0:
            said = self._text[tokens[where + 1].start : tokens[query[1] - 1].end]
            condition = f"({said}) AND ({condition})"
        return f"SELECT 1 {tables} WHERE {condition}"

    def _caught(self, columns: Sequence[str], tables: str) -> bool:
        """Whether a name of the operands would be one of the query's own, were it written there.

        A name is told by its first part, as one of a column, and by each but the last, as one of a
        table.
        """
        named, listed = {column.lower() for column in columns}, Tokens(tokenize(tables))
        called = {
            token.name.lower()
            for at, token in enumerate(listed)
            if token.name is not None and word(listed, at + 1) != "."
        }
        for operand in self._operands:
            tokens = Tokens(tokenize(operand))
            for at, token in enumerate(tokens):
                if token.name is None:
                    continue
                name = token.name.lower()
                if name in named and word(tokens, at - 1) != ".":
                    return True
                if name in called and word(tokens, at + 1) == ".":
                    return True
        return False

    def _count(self, condition: str) -> str:
        return f"(SELECT count(*) {self._from(condition)})"


def _row(tokens: Tokens, operand: Span) -> list[Span]:
    """Return the values of a row, or the one operand."""
    start, end = operand
    if word(tokens, start) == "ROW" and word(tokens, start + 1) == "(":
        start += 1
    is_bracket = word(tokens, start) == "(" and closing(tokens, start) == end - 1
    if is_bracket and not is_query(tokens, start):
        inner = split(tokens, (start + 1, end - 1))
        if len(inner) > 1:
            return inner
    return [operand]


# --- EXISTS --------------------------------------------------------------------------------------


def _exists(text: str, tokens: Tokens, query: Span, schema_of: SchemaOf) -> Edit | None:
    start, end = query
    place = (tokens[start - 2].start, tokens[end].end)
    sql = between(text, tokens, query)
    span = (start - 2 - (word(tokens, start - 3) == "NOT"), end + 1)
    is_aggregate = aggregates(tokens, query)
    begins = clause(tokens, query, "FROM")
    if stands(tokens, span) is Stands.VALUE and not is_aggregate:
        rows = f"FROM ({sql}) AS {_LIST}"
        if begins >= 0 and not any(clause(tokens, query, each) >= 0 for each in _OTHERS):
            rows = between(text, tokens, (begins, end))
        return *place, f"{COUNTED}{rows}) > 0)"
    skips = clause(tokens, query, "OFFSET") >= 0
    if not (is_aggregate or skips) or schema_of(sql) is not None:
        return None
    if skips or any(clause(tokens, query, each) >= 0 for each in _ASIDE):
        msg = (
            "EXISTS over a query that names the row outside takes no OFFSET, and no LIMIT or UNION "
            "beside an aggregate: leave them out, or join and count"
        )
        raise SqlError(msg)
    having = clause(tokens, query, "HAVING")
    if begins < 0:
        return None
    rows = between(text, tokens, (begins, end if having < 0 else having))
    if having < 0:
        return *place, f"((SELECT count(*) {rows}) >= 0)"
    told = between(text, tokens, (having + 1, end))
    return *place, f"(SELECT CASE WHEN ({told}) THEN TRUE ELSE FALSE END {rows})"
