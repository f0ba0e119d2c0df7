"""The condition of a search: how large it may be, and as Lance reads it.

Rules:
    - It is counted in its tokens (P21) before anything reads it as a tree.
    - What is rendered for Lance is one expression of AND, OR, NOT and comparisons of a column with
      literals of its own kind. Lance compares those as DataFusion does; it would turn the literal
      of another kind into the column's type, where SQL turns the column's values.
    - What is not known to be answered alike is not rendered: its rows are found by SQL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow.types as pt

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import lance_name
from affidavit.catalog.sql.sized import check_written_out
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Token

CONDITION_LENGTH_MAX: Final = 100_000
CONDITION_BRACKETS_MAX: Final = 50
CONDITION_OPERATORS_MAX: Final = 200
"""How many operators may stand between two of AND, OR and commas: a sum of a thousand terms has
Lance 14.0 run out of stack, which ends the process; ten thousand times OR do not."""

_WORDS: Final = {"NOT", "IS", "IN", "LIKE", "ILIKE", "BETWEEN"}


def checked_condition(text: str) -> list[Token]:
    """Return the tokens of a condition that is not too large, nor would make too large a value.

    Raises:
        SqlError: It is; the message names the limit.
    """
    if len(text) > CONDITION_LENGTH_MAX:
        msg = f"it has {len(text):,} characters, and {CONDITION_LENGTH_MAX:,} are allowed"
        raise SqlError(msg)
    operators = 0
    tokens = tokenize(text)
    for token in tokens:
        if token.depth > CONDITION_BRACKETS_MAX:
            raise SqlError(f"brackets are nested more than {CONDITION_BRACKETS_MAX} deep")
        if token.keyword in {"AND", "OR"} or token.text == ",":
            operators = 0
            continue
        is_symbol = token.kind == "symbol" and token.text not in set("()[]{}.")
        operators += is_symbol or token.keyword in _WORDS
        if operators > CONDITION_OPERATORS_MAX:
            msg = (
                f"a comparison has more than {CONDITION_OPERATORS_MAX} operators: have the value "
                "computed in a column"
            )
            raise SqlError(msg)
    check_written_out(text)
    return tokens


# --- for Lance ------------------------------------------------------------------------------------

_COMPARE: Final = frozenset({"=", "<>", "!=", "<", "<=", ">", ">="})
_NO_OPERAND: Final = frozenset(
    {"NOT", "CASE", "CAST", "TRY_CAST", "EXISTS", "INTERVAL", "AND", "OR", "IN", "IS", "LIKE",
     "ILIKE", "BETWEEN", "SELECT", "EXTRACT", "ARRAY", "STRUCT", "ANY", "ALL", "SOME"}
)  # fmt: skip
LANCE_BITS: Final = 63
"""How many bits the largest integers have beside their sign."""

_INTEGER: Final = re.compile(r"\d{1,19}")


class _Operand(NamedTuple):
    """A column or a literal: ``kind`` is ``integer``, ``text``, ``boolean`` or ``other``."""

    kind: str
    text: str
    column: pa.DataType | None = None
    number: int = 0


class _OtherError(Exception):
    """It is not for Lance."""


def rendered(tokens: Sequence[Token], schema: pa.Schema) -> str | None:
    """Return the condition that the tokens are as Lance reads it; ``None`` if it may differ."""
    reader = _Reader(tokens, schema)
    try:
        text = reader.either()
    except _OtherError:
        return None
    return text if reader.at == len(tokens) else None


class _Reader:
    """One pass over the tokens of a condition."""

    def __init__(self, tokens: Sequence[Token], schema: pa.Schema) -> None:
        self.tokens = tokens
        self.at = 0
        self._schema = schema

    def _peek(self, ahead: int = 0) -> str:
        """Return the keyword or symbol here; nothing for what is neither, and at the end."""
        at = self.at + ahead
        if at >= len(self.tokens):
            return ""
        token = self.tokens[at]
        return token.keyword or (token.text if token.kind == "symbol" else "")

    def _accept(self, *words: str) -> bool:
        if all(self._peek(ahead) == word for ahead, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise _OtherError

    def either(self) -> str:
        """Read what OR joins."""
        parts = [self._both()]
        while self._accept("OR"):
            parts.append(self._both())
        return " OR ".join(parts)

    def _both(self) -> str:
        parts = [self._one()]
        while self._accept("AND"):
            parts.append(self._one())
        return " AND ".join(parts)

    def _one(self) -> str:
        if self._accept("NOT"):
            return f"(NOT {self._one()})"
        here = self.at
        if self._accept("("):
            try:
                inner = self.either()
                self._expect(")")
                if self._peek() in {"", "AND", "OR", ")"}:
                    return f"({inner})"
            except _OtherError:
                pass
            self.at = here
        return self._comparison()

    def _comparison(self) -> str:
        left = self._operand()
        if (symbol := self._peek()) in _COMPARE:
            self.at += 1
            right = self._operand()
            _check_alike(left, right)
            return f"{left.text} {symbol} {right.text}"
        if left.column is None:
            raise _OtherError
        if self._accept("IS"):
            negated = " NOT" * self._accept("NOT")
            self._expect("NULL")
            return f"{left.text} IS{negated} NULL"
        negated = "NOT " * self._accept("NOT")
        if self._accept("IN", "("):
            return f"({left.text} {negated}IN ({', '.join(self._listed(left))}))"
        if self._accept("BETWEEN"):
            low = self._literal(left)
            self._expect("AND")
            return f"({left.text} {negated}BETWEEN {low} AND {self._literal(left)})"
        raise _OtherError

    def _listed(self, column: _Operand) -> list[str]:
        values = [self._literal(column)]
        while self._accept(","):
            values.append(self._literal(column))
        self._expect(")")
        return values

    def _literal(self, column: _Operand) -> str:
        found = self._operand()
        if found.column is not None:
            raise _OtherError
        _check_alike(column, found)
        return found.text

    def _operand(self) -> _Operand:
        if self._accept("("):
            found = self._operand()
            self._expect(")")
            return found
        sign = "-" * self._accept("-")
        if self.at >= len(self.tokens):
            raise _OtherError
        token = self.tokens[self.at]
        self.at += 1
        if token.kind == "number":
            if _INTEGER.fullmatch(token.text) is None:  # SQL takes fractions for decimals
                raise _OtherError
            return _Operand("integer", f"{sign}{token.text}", number=int(f"{sign}{token.text}"))
        if sign:
            raise _OtherError
        if token.kind == "string" and token.text[0] == "'":
            return _Operand("text", token.text)
        if token.kind == "word" and token.keyword in {"TRUE", "FALSE"}:
            return _Operand("boolean", token.keyword)
        return self._column(token)

    def _column(self, token: Token) -> _Operand:
        is_call = self.at < len(self.tokens) and (
            self.tokens[self.at].text in {"(", ".", "[", "::"}
            or (
                self.tokens[self.at].kind in {"string", "number", "word", "quoted"}
                and self._peek() not in {"IS", "NOT", "IN", "BETWEEN", "AND", "OR"}
            )
        )
        if is_call or token.keyword in _NO_OPERAND or token.name is None:
            raise _OtherError
        at = self._schema.get_field_index(token.name)
        if at < 0:
            raise _OtherError
        kind = self._schema.field(at).type
        return _Operand(_kind(kind), lance_name(token.name), kind)


def _kind(found: pa.DataType) -> str:
    if pt.is_integer(found):
        return "integer"
    if pt.is_string(found) or pt.is_large_string(found):
        return "text"
    return "boolean" if pt.is_boolean(found) else "other"


def _check_alike(left: _Operand, right: _Operand) -> None:
    """Raise unless one is a column, and the other a literal of its kind or of its own type."""
    if left.column is not None and right.column is not None:
        is_same = left.kind in {"integer", "text"} and left.column == right.column
    else:
        column, literal = (left, right) if left.column is not None else (right, left)
        is_same = column.column is not None and column.kind == literal.kind
        if is_same and column.kind == "integer":
            assert column.column is not None
            bits = column.column.bit_width - pt.is_signed_integer(column.column)
            lowest = -(2**bits) if pt.is_signed_integer(column.column) else 0
            lowest += bits == LANCE_BITS  # which reads the digits before the sign
            is_same = lowest <= literal.number < 2**bits
    if not is_same:
        raise _OtherError
