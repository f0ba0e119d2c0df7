"""Numbers with a point are decimals, and keep their digits; those with an exponent are floats.

DataFusion 54.1 makes floats of both, or decimals of both. What it divides, or takes the power
or the average of, has four digits more than a decimal has: there they are floats, as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.mended.places import closing, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.mended.places import Edit

DIGITS_MAX: Final = 38
"""How many digits a decimal has at most."""

_ROUNDED: Final = frozenset({"power", "pow", "log", "avg", "mean", "median"})
"""Functions that give a decimal of a decimal, rounded."""

_ENDS: Final = frozenset(
    {",", "=", "<", ">", "<=", ">=", "<>", "!=", "AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "CASE",
     "END", "SELECT", "FROM", "WHERE", "ON", "BY", "HAVING", "QUALIFY", "AS", "IN", "BETWEEN",
     "IS", "LIMIT", "OFFSET", "SET", "VALUES", "UNION", "INTERSECT", "EXCEPT", "RETURNING", "[",
     "DISTINCT", "ALL", "ORDER", "GROUP"}
)  # fmt: skip
"""What an operation ends at."""

_NO_EXPRESSIONS: Final = frozenset({"INTERVAL", "TIMESTAMP", "SAMPLE"})


def floats(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield the numbers that are floats, as such."""
    lossy = _in_lossy(tokens)
    for at, token in enumerate(tokens):
        if token.kind != "number" or word(tokens, at - 1) in _NO_EXPRESSIONS:
            continue
        has_exponent = "e" in token.text.lower()
        if not has_exponent and "." not in token.text:
            continue
        if (
            has_exponent
            or at in lossy
            or sum(map(str.isdigit, token.text.lstrip("0"))) > DIGITS_MAX
        ):
            yield token.start, token.end, f"CAST('{token.text}' AS DOUBLE)"


def _in_lossy(tokens: Sequence[Token]) -> set[int]:
    """Return the places of what is divided, or an argument of a function that rounds."""
    found: set[int] = set()
    for at, token in enumerate(tokens):
        said = word(tokens, at)
        if said in {"/", "%"}:
            found.update(range(_begin(tokens, at), _end(tokens, at)))
        called = (tokens[at - 1].name or "").lower() if at else ""
        if (said == "(" and called in _ROUNDED) or (said == "[" and token.kind == "symbol"):
            found.update(range(at, closing(tokens, at)))
    return found


def _begin(tokens: Sequence[Token], at: int) -> int:
    level = tokens[at].depth
    while at > 0 and tokens[at - 1].depth >= level:
        if tokens[at - 1].depth == level and word(tokens, at - 1) in _ENDS:
            break
        at -= 1
    return at


def _end(tokens: Sequence[Token], at: int) -> int:
    level = tokens[at].depth
    at += 1
    while at < len(tokens) and tokens[at].depth >= level and word(tokens, at) not in {")", "]"}:
        if tokens[at].depth == level and word(tokens, at) in _ENDS:
            break
        at = closing(tokens, at) + 1 if word(tokens, at) in {"(", "["} else at + 1
    return at
