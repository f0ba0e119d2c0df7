"""A statement in plain SQL: what is only another way to write it, written as DataFusion reads it.

DataFusion 54.1 takes ``1_000`` for 1, called ``_000``, ``0xff`` for bytes, plans ``FROM t`` as
rows without columns, has no constraints in its ``information_schema``, and no ``AS OF``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.names import CATALOG, SYSTEM_SCHEMA
from affidavit.engine.statement.grammar import MAY_STICK
from affidavit.engine.statement.queries import skip_tables, skip_with
from affidavit.engine.statement.reading.naming import rewritten
from affidavit.engine.statement.tables.as_of import as_calls
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token

_ODD_NUMBER: Final = re.compile(r"_|^0[xX]")

CONSTRAINT_TABLES: Final = frozenset(
    {"table_constraints", "key_column_usage", "check_constraints", "referential_constraints",
     "constraint_column_usage"}
)  # fmt: skip
"""What DataFusion's ``information_schema`` lacks: the engine's own schema has it."""

LARGEST: Final = 2**64 - 1
"""The largest number that is written in hexadecimal digits."""

_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT", "MINUS"})

_NO_END: Final = frozenset({"SELECT", "DISTINCT", "ALL", "AS", ",", ".", "WHERE", "AND", "OR"})
"""What no query ends with: a word behind it is a name."""

_LETTERED: Final = re.compile(r"[\d.][^\W\d]")
_SCHEMA: Final = re.compile("information_schema", re.IGNORECASE)
_OF: Final = re.compile(r"\bof\b", re.IGNORECASE)

_EXPLAINING: Final = frozenset({"EXPLAIN", "DESCRIBE", "DESC"})


def plain(text: str, tokens: Sequence[Token]) -> str:
    """Return the statement in plain SQL; the text itself where it is that already.

    Raises:
        SqlError: A word is stuck to a number: ``12abc`` would be 12, called ``abc``; one in
            hexadecimal digits has more than 64 bits; or a table is read as of what is no literal.
    """
    edits: list[Edit] = []  # what a text has not in it is not looked for token by token
    if _LETTERED.search(text) is not None:
        edits += _numbers(tokens)
    if any(token.keyword == "FROM" for token in tokens):
        edits += _from_first(text, tokens)
    if _SCHEMA.search(text) is not None:
        edits += _constraint_tables(tokens)
    if _OF.search(text) is not None:
        edits += as_calls(text, tokens)
    return rewritten(text, tokens, edits)


def _constraint_tables(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield where ``information_schema`` is asked for a table that the engine has elsewhere."""
    for at, (schema, dot, table) in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        if schema.name != "information_schema" or dot.text != ".":
            continue
        catalog = tokens[at - 2].name if at and tokens[at - 1].text == "." else CATALOG
        if catalog == CATALOG and table.name in CONSTRAINT_TABLES:
            yield schema.start, schema.end, SYSTEM_SCHEMA


def _numbers(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield where a number is to be replaced, and with what."""
    for number, word in pairwise(tokens):
        stuck = number.kind == "number" and word.kind == "word" and number.end == word.start
        if stuck and word.keyword not in MAY_STICK:
            written = number.text + word.text
            raise SqlError(f"{written} is no number: put a space between, or quotes")
    for token in tokens:
        if token.kind == "number" and _ODD_NUMBER.search(token.text) is not None:
            yield token.start, token.end, _decimal(token.text)


def _decimal(written: str) -> str:
    digits = written.replace("_", "")
    if digits[:2] not in {"0x", "0X"}:
        return digits
    value = int(digits, 16)
    if value > LARGEST:
        raise SqlError(f"{written[:20]}... has more than 64 bits: write x'...' for bytes")
    return str(value)


def _from_first(text: str, tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield where a query begins with FROM and has no SELECT."""
    begins = _Begins(text, tokens)
    for at, token in enumerate(tokens):
        begins.pass_by(at, token)
        if token.keyword == "FROM" and begins.query(at, token):
            cursor = Cursor(text, tokens, at + 1)
            skip_tables(cursor)
            if cursor.peek() != "SELECT":
                yield token.start, token.start, "SELECT * "


class _Begins:
    """Finds the words FROM that a query begins with, in one pass over the tokens."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._starts = [0]  # of each bracket that is open
        self._clauses = [False]  # whether a clause was seen in it
        self._with_ends: dict[int, int] = {}

    def pass_by(self, at: int, token: Token) -> None:
        """Note the token there."""
        depth = max(token.depth, 0)  # where brackets do not pair, which is the parser's to say
        del self._starts[depth + 1 :], self._clauses[depth + 1 :]
        while len(self._starts) <= depth:
            self._starts.append(at)
            self._clauses.append(False)
        if token.keyword in {"SELECT", "VALUES", "SET"}:
            self._clauses[depth] = True

    def query(self, at: int, token: Token) -> bool:
        """Whether the FROM there is the first word of a query."""
        if not at:
            return True
        tokens, depth = self._tokens, max(token.depth, 0)
        before, second = tokens[at - 1], tokens[at - 2] if at > 1 else None
        seen, self._clauses[depth] = self._clauses[depth], True
        said = "" if second is None else second.keyword or second.text
        if before.text == "(":
            return said != "TRIM"
        if before.keyword in _SETS:
            return said not in _NO_END
        if before.keyword in {"ALL", "DISTINCT", "NAME"} and said in _SETS | {"BY"}:
            return True
        if before.keyword == "AS":
            return not seen and tokens[0].keyword in {"CREATE", "PREPARE"}
        return self._is_behind(at, depth, seen=seen)

    def _is_behind(self, at: int, depth: int, *, seen: bool) -> bool:
        """Whether it stands behind EXPLAIN, WITH or INSERT INTO, as their query."""
        start = self._starts[depth]
        first = self._tokens[start].keyword
        if first in _EXPLAINING:
            return self._is_explained(start + 1, at)
        if first == "WITH":
            start = self._end_of_with(start)
            if start == at:
                return True
            first = self._tokens[start].keyword if start < at else ""
        return first == "INSERT" and not seen

    def _is_explained(self, start: int, at: int) -> bool:
        while start < at and self._tokens[start].keyword in {"ANALYZE", "VERBOSE", "FORMAT"}:
            start += 1 + (self._tokens[start].keyword == "FORMAT")
        return start == at

    def _end_of_with(self, start: int) -> int:
        if start not in self._with_ends:
            cursor = Cursor(self._text, self._tokens, start)
            skip_with(cursor)
            self._with_ends[start] = cursor.at
        return self._with_ends[start]
