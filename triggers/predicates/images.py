"""Predicates over changes: ``new.c``, ``old.c`` and ``c`` as the columns of one flat table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Token

IMAGES: Final = ("new", "old")
_BEFORE_OPERAND: Final = frozenset(
    "AND BETWEEN CASE DIV ELSE ESCAPE FOR FROM ILIKE IN LIKE NOT OR PLACING REGEXP RLIKE THEN TO "  # noqa: SIM905 - as above
    "WHEN".split()
)
_NO_COLUMN: Final = frozenset(["CASE", "FALSE", "NOT", "NULL", "TRUE", "WHEN"])


def with_images(text: str, tokens: list[Token], columns: set[str]) -> str:
    """Return ``text`` with the quoted name of its image for each column."""
    pieces, at = [], 0
    for position, token in enumerate(tokens):
        if not _is_operand(tokens, position):
            continue
        dot, field = [*tokens[position + 1 : position + 3], None, None][:2]
        name, last = None, token
        if token.name in columns:
            name = f"new.{token.name}"
        if dot and field and dot.text == "." and token.name in IMAGES and field.name in columns:
            name, last = f"{token.name}.{field.name}", field
        if name is not None:
            pieces += [text[at : token.start], quoted(name)]
            at = last.end
    return "".join([*pieces, text[at:]])


def _is_operand(tokens: list[Token], position: int) -> bool:
    """Return whether a column's name can stand here: where an operand may, and no other is."""
    token, after = tokens[position], tokens[position + 1 : position + 2]
    if token.name is None or token.keyword in _NO_COLUMN:
        return False
    if after and (after[0].text in {"(", "=>"} or after[0].kind == "string"):
        return False  # a function, the name of an argument, the type of a literal
    before = tokens[max(0, position - 2) : position]
    words = [each.keyword or each.text.upper() for each in before]
    if not before or words in (["IS", "NOT"], ["EXTRACT", "("]):
        return not before
    if before[-1].kind == "symbol":
        return words[-1] not in {")", "]", "}", ".", "::"}
    return before[-1].keyword in _BEFORE_OPERAND
