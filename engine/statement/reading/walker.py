"""A statement's tokens, read once: which bracket, clause and condition each of them stands in.

Rules:
    - What is asked of a place is answered by tables that one pass over the tokens makes, so that
      walking them takes time in proportion to their number, whatever stands beside what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.sql.lexer import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONDITIONS: Final = frozenset({"WHERE", "HAVING", "QUALIFY"})
"""Clauses that keep the rows for which a condition is true."""

BEGINS: Final = CONDITIONS | {
    "SELECT", "FROM", "ON", "BY", "SET", "VALUES", "WHEN", "THEN", "ELSE", "CASE", "LIMIT",
    "OFFSET", "RETURNING", "UNION", "INTERSECT", "EXCEPT", "DISTINCT", "ALL", "DISTINCT FROM",
}  # fmt: skip
"""What an expression begins behind, besides brackets, commas and operators."""

CONDITION_ENDS: Final = frozenset(
    {"", ")", "AND", "OR", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH", "WINDOW",
     "QUALIFY", "UNION", "INTERSECT", "EXCEPT", "RETURNING"}
)  # fmt: skip
"""What may stand behind a condition that is no operand of something else."""

OPENING: Final = frozenset("([{")
CLOSING: Final = frozenset(")]}")

_CLAUSES: Final = CONDITIONS | {
    "SELECT", "FROM", "JOIN", "ON", "BY", "VALUES", "USING", "SET", "RETURNING",
}  # fmt: skip
"""What a place is in that stands behind it."""

_PARTS: Final = (BEGINS | CONDITION_ENDS) - {"AND", "OR", "CASE", "", ")"}
"""What parts conditions of each other."""

NO_CALLS: Final = frozenset(
    {"ALL", "AND", "ANY", "AS", "ASC", "AT", "BETWEEN", "BY", "CASE", "CURRENT", "DESC", "DISTINCT",
     "DIV", "ELSE", "END", "ESCAPE", "EXCEPT", "EXISTS", "FILTER", "FIRST", "FOLLOWING", "FROM",
     "GROUP", "GROUPS", "HAVING", "IGNORE", "ILIKE", "IN", "INTERSECT", "INTERVAL", "IS", "JOIN",
     "LAST", "LIKE", "LIMIT", "NOT", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OVER", "PARTITION",
     "PRECEDING", "RANGE", "REGEXP", "RESPECT", "RLIKE", "ROWS", "SELECT", "SIMILAR", "SOME",
     "THEN", "TO", "UNBOUNDED", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WITH", "WITHIN",
     "XOR"}
)  # fmt: skip
"""Words of the grammar: a bracket behind them is no call."""

_BEFORE_TABLES: Final = frozenset({"FROM", "JOIN", "LATERAL", "USING", ","})

_WITH_FROM: Final = frozenset({"extract", "substring", "substr", "trim", "overlay"})
"""Functions that may have FROM where others have a comma."""

Span: TypeAlias = "tuple[int, int]"
"""The tokens from the first to before the second."""


class Tokens(list[Token]):
    """Tokens that know where they stand.

    Attributes:
        words: The keyword or symbol of each, or its kind: what begins a clause or a set elsewhere
            is given as what it is. The FROM of IS DISTINCT FROM is ``DISTINCT FROM``, that of
            ``extract(year FROM x)`` is ``,``, the EXCEPT of ``* EXCEPT (x)`` is ``EXCLUDE``, and
            the GROUP of WITHIN GROUP is ``WITHIN GROUP``.
        opens: Where the bracket opens that each stands in; -1 if it stands in none.
        pairs: Where a bracket's other half is; the number of tokens if it has none.
        clauses: Where the clause begins that each stands in, within its bracket; -1 if nowhere.
    """

    def __init__(self, tokens: Iterable[Token]) -> None:
        super().__init__(tokens)
        self.words: list[str] = []
        self.opens: list[int] = []
        self.pairs: dict[int, int] = {}
        self.clauses: list[int] = []
        self._segments: list[int] = []
        self._begins: list[int] = []
        self._ors: set[int] = set()
        self._read()

    def segment(self, at: int) -> tuple[int, bool]:
        """Return where the condition begins that a place is in, and whether it has OR in it.

        That is at the word before it, or at its bracket; -1 at the statement's beginning.
        """
        found = self._segments[at]
        return self._begins[found], found in self._ors

    def _read(self) -> None:
        """Make the tables. What is open: brackets, each CASE, and the condition that goes on."""
        brackets, clauses, segments = [-1], [-1], [self._segment(-1)]
        for at, token in enumerate(self):
            said = self._word(at, token, brackets[-1])
            if said in CLOSING and len(brackets) > 1:
                begun = brackets.pop()
                self.pairs[begun], self.pairs[at] = at, begun
                clauses.pop()
                while segments.pop() != -1:
                    pass
            elif said == "END" and segments[-2:-1] != [-1] and len(segments) > 1:
                segments.pop()
            self.words.append(said)
            self.opens.append(brackets[-1])
            self.clauses.append(clauses[-1])
            self._segments.append(segments[-1])
            if said in OPENING:
                brackets.append(at)
                clauses.append(-1)
                segments += [-1, self._segment(at)]
            elif said == "CASE":
                segments.append(self._segment(at))
            elif said in _PARTS:
                segments[-1] = self._segment(at)
            elif said == "OR":
                self._ors.add(segments[-1])
            elif said in CLOSING:
                self.pairs.setdefault(at, at)
            if said in _CLAUSES:
                clauses[-1] = at
        self.pairs |= {at: len(self) for at in brackets[1:]}

    def _segment(self, begin: int) -> int:
        self._begins.append(begin)
        return len(self._begins) - 1

    def _word(self, at: int, token: Token, bracket: int) -> str:
        if at and token.keyword == "FROM":
            if self.words[-1] == "DISTINCT" and self.words[-2:-1] in (["IS"], ["NOT"]):
                return "DISTINCT FROM"
            return "," if bracket > 0 and self[bracket - 1].name in _WITH_FROM else "FROM"
        if at and token.keyword == "EXCEPT" and self.words[-1] == "*":
            return "EXCLUDE"
        if at and token.keyword == "GROUP" and self.words[-1] == "WITHIN":
            return "WITHIN GROUP"
        return token.keyword or (token.text if token.kind == "symbol" else token.kind)


def word(tokens: Tokens, at: int) -> str:
    """Return the keyword or symbol at a place; empty if there is none."""
    return tokens.words[at] if 0 <= at < len(tokens) else ""


def closing(tokens: Tokens, at: int) -> int:
    """Return where the bracket that opens at a place is closed."""
    return tokens.pairs[at]


def opening(tokens: Tokens, at: int) -> int:
    """Return where the bracket opens that a place stands in; -1 if it stands in none."""
    return tokens.opens[at]


def siblings(tokens: Tokens, span: Span) -> Iterator[int]:
    """Yield the places of a span that stand in no bracket within it."""
    at, end = span
    while at < end:
        yield at
        at = closing(tokens, at) if tokens.words[at] in OPENING else at + 1


def in_from(tokens: Tokens, at: int) -> bool:
    """Return whether a table of FROM, or of USING, begins at a place."""
    before, said = word(tokens, at - 1), word(tokens, tokens.clauses[at])
    if before not in _BEFORE_TABLES:
        return False
    return said in {"FROM", "JOIN", "USING"} or (said == "ON" and before == ",")
