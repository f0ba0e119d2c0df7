"""SQL's grammar, as far as it says where an expression ends; queries are in ``queries``.

A word is an operator, an alias or the next clause by where it stands and not by what it is: after
an operand an expression goes on only with an operator, and after an operator only an operand can
come. So a column may be called ``offset`` or ``conflict``, and no WHEN of a CASE ends a clause.
What an expression means is the planner's to say; a bracket's inside is nobody's business here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.sql.lexer import Cursor

_NO_OPERANDS: Final = frozenset(
    {
        "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "UNION", "EXCEPT", "INTERSECT",
        "WHEN", "THEN", "ELSE", "END", "INTO", "ON", "AND", "OR", "IN", "IS", "AS",
        "USING", "LIKE", "BETWEEN", "JOIN",
    }
)  # fmt: skip
"""Words that no expression begins with."""

_NO_ALIASES: Final = _NO_OPERANDS | {
    "SET",
    "LIMIT", "OFFSET", "FETCH", "RETURNING", "WINDOW", "QUALIFY", "MINUS", "LEFT", "RIGHT",
    "FULL", "INNER", "CROSS", "NATURAL", "ASOF", "VALUES", "WITH", "FOR", "LATERAL", "SORT",
    "CLUSTER", "DISTRIBUTE", "TABLESAMPLE", "PREWHERE", "CONNECT", "START", "ANTI", "SEMI",
}  # fmt: skip
"""Words that are no name behind an expression or table without AS before them."""

_OPERATORS: Final = frozenset(
    {"AND", "OR", "XOR", "DIV", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP", "BETWEEN", "ESCAPE",
     "OVERLAPS"}
)  # fmt: skip
"""Words between two operands."""

BOOLEAN: Final = frozenset({"AND", "OR", "XOR"})
"""Those of them that bind least."""

_TESTS: Final = frozenset({"IN", "LIKE", "ILIKE", "RLIKE", "REGEXP", "BETWEEN", "SIMILAR"})
"""Words that may have NOT before them."""

_SYMBOLS: Final = frozenset("=<>+-*/%|&^#~!@?:") | {"<>", "!=", ">=", "<=", "||", "->", "->>"}
"""What operators are written with."""

_SIGNS: Final = frozenset("+-~!@")
"""What may stand before an operand."""

_UNITS: Final = frozenset(
    f"{unit}{many}"
    for unit in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND",
                 "MILLISECOND", "MICROSECOND", "NANOSECOND", "DECADE", "CENTURY")
    for many in ("", "S")
)  # fmt: skip

_SIZED: Final = frozenset(
    {"TIMESTAMP", "TIMESTAMPTZ", "TIME", "DATETIME", "DECIMAL", "NUMERIC", "VARCHAR", "CHAR"}
)
"""Types that may have a number in brackets before a text: ``TIMESTAMP(3) '2020-01-01'``."""

MAY_STICK: Final = _NO_ALIASES | _OPERATORS | _UNITS | {"L", "NOT", "ASC", "DESC", "DO", "ROWS"}
"""Words that a number may be stuck to: ``1or`` is 1 OR, and ``1L`` is 1."""

_OPENING: Final = frozenset("([{")


def read(cursor: Cursor, skip: Callable[[Cursor], None]) -> str:
    """Return the text that ``skip`` moves past."""
    start = cursor.at
    skip(cursor)
    return cursor.between(start, cursor.at)


def read_expression(cursor: Cursor) -> str:
    """Move past one expression, and return its text."""
    return read(cursor, skip_expression)


def skip_group(cursor: Cursor) -> None:
    """Move past a bracket and what stands in it."""
    if cursor.peek() not in _OPENING:
        raise SqlError(f"expected a bracket, found {cursor.found()}")
    level, last = cursor.tokens[cursor.at].depth, len(cursor.tokens)
    at = cursor.at + 1
    while at < last and cursor.tokens[at].depth > level:
        at += 1
    if at == last:
        raise SqlError(f"a bracket is not closed, found {_end(cursor)}")
    cursor.move(at + 1)


def _end(cursor: Cursor) -> str:
    cursor.move(len(cursor.tokens))
    return cursor.found()


def skip_listed(cursor: Cursor, skip: Callable[[Cursor], None]) -> None:
    """Move past one or more of what ``skip`` moves past, with commas between."""
    skip(cursor)
    while cursor.accept(","):
        skip(cursor)


# --- expressions -----------------------------------------------------------------------------


def skip_expression(cursor: Cursor) -> None:
    """Move past one expression: operands, with operators between.

    Raises:
        SqlError: None stands here.
    """
    skip_operand(cursor)
    while _skip_operator(cursor):
        skip_operand(cursor)


def skip_compared(cursor: Cursor) -> None:
    """Move past operands with operators between that bind more than AND, OR and XOR do."""
    skip_operand(cursor)
    while cursor.peek() not in BOOLEAN:
        is_between = "BETWEEN" in {cursor.peek(), cursor.peek(1)}
        if not _skip_operator(cursor):
            break
        skip_operand(cursor)
        if is_between and cursor.accept("AND"):
            skip_operand(cursor)


def skip_operand(cursor: Cursor) -> None:
    """Move past one operand, with its signs and what belongs to it."""
    while cursor.accept("NOT") or cursor.peek() in _SIGNS:
        cursor.skip(cursor.peek() in _SIGNS)
    token = cursor.token
    if token is None or cursor.peek() in _NO_OPERANDS:
        raise SqlError(f"expected an expression, found {cursor.found()}")
    if token.kind == "symbol":
        if token.text == "*":
            cursor.skip()
        elif token.text in _OPENING:
            skip_group(cursor)
        else:
            raise SqlError(f"expected an expression, found {cursor.found()}")
    elif token.name is None:
        cursor.skip()
        if token.kind == "number" and cursor.peek() == "L" and _touches(cursor):
            cursor.skip()
    elif token.keyword == "CASE":
        _skip_case(cursor)
    elif token.keyword == "INTERVAL":
        _skip_interval(cursor)
    else:
        skip_named(cursor)
    while _skip_behind(cursor):
        pass


def _skip_case(cursor: Cursor) -> None:
    cursor.expect("CASE")
    if cursor.peek() != "WHEN":
        skip_expression(cursor)
    while cursor.accept("WHEN"):
        skip_expression(cursor)
        cursor.expect("THEN")
        skip_expression(cursor)
    if cursor.accept("ELSE"):
        skip_expression(cursor)
    cursor.expect("END")


def _skip_interval(cursor: Cursor) -> None:
    cursor.expect("INTERVAL")
    skip_operand(cursor)
    if cursor.peek() in _UNITS:
        cursor.skip()
        if cursor.accept("TO"):
            cursor.skip()


def skip_named(cursor: Cursor) -> None:
    """Move past a name, a call, or a text with its type before it."""
    is_sized = cursor.peek() in _SIZED and cursor.peek(1) == "("
    cursor.skip()
    while cursor.accept("."):
        _skip_member(cursor)
    name_end = cursor.at
    if is_sized:
        skip_group(cursor)
    for words in (("WITH", "TIME", "ZONE"), ("WITHOUT", "TIME", "ZONE")):
        cursor.accept(*words)
    if cursor.token is not None and cursor.token.kind == "string":
        cursor.skip()
    elif is_sized:  # a function that is called as a type is
        cursor.move(name_end)


def _skip_member(cursor: Cursor) -> None:
    """Move past what a dot is before: a name, or the star."""
    if not cursor.accept("*"):
        cursor.name("a name")


def _skip_behind(cursor: Cursor) -> bool:
    """Move past one thing that belongs to the operand before it, and say whether there was one."""
    here = cursor.peek()
    if here in {"(", "["}:
        skip_group(cursor)
    elif here == ".":
        cursor.skip()
        _skip_member(cursor)
    elif here == "::":
        cursor.skip()
        skip_type(cursor)
    elif here in {"FILTER", "OVER"} and cursor.peek(1) == "(":
        cursor.skip()
    elif here == "OVER":
        cursor.skip()
        cursor.name("a window")
    elif here == "COLLATE":
        cursor.skip()
        skip_named(cursor)
    elif here == "IS":
        return _skip_is(cursor)
    else:
        behind = (("WITHIN", "GROUP"), ("IGNORE", "NULLS"), ("RESPECT", "NULLS"), ("ISNULL",),
                  ("NOTNULL",))  # fmt: skip
        return any(here == words[0] and cursor.accept(*words) for words in behind)
    return True


def _skip_is(cursor: Cursor) -> bool:
    """Move past IS NULL and the like; IS DISTINCT FROM is an operator."""
    ahead = 2 if cursor.peek(1) == "NOT" else 1
    if cursor.peek(ahead) == "DISTINCT":
        return False
    cursor.skip(ahead + 1)
    return True


def _skip_operator(cursor: Cursor) -> bool:
    """Move past one operator between operands, and say whether there was one."""
    here = cursor.peek()
    if here in _SYMBOLS:
        cursor.skip()
        while _goes_on(cursor):
            cursor.skip()
        return True
    ahead = int(here == "NOT" and cursor.peek(1) in _TESTS)
    if cursor.peek(ahead) == "SIMILAR":
        cursor.skip(ahead + 1)
        cursor.expect("TO")
    elif cursor.peek(ahead) in _OPERATORS:
        cursor.skip(ahead + 1)
        for word in ("SYMMETRIC", "ASYMMETRIC"):
            cursor.accept(word)
    else:
        operators = (("IS", "DISTINCT", "FROM"), ("IS", "NOT", "DISTINCT", "FROM"),
                     ("AT", "TIME", "ZONE"))  # fmt: skip
        return any(here == words[0] and cursor.accept(*words) for words in operators)
    return True


def _goes_on(cursor: Cursor) -> bool:
    """Whether the operator has another sign here: each of ``!~*`` is a token."""
    return cursor.peek() in _SYMBOLS and _touches(cursor)


def _touches(cursor: Cursor) -> bool:
    """Whether nothing stands between the token here and the one before."""
    token = cursor.token
    return token is not None and token.start == cursor.tokens[cursor.at - 1].end


def skip_type(cursor: Cursor) -> None:
    """Move past a type's name, with its arguments."""
    cursor.name("a type")
    while cursor.accept("."):
        cursor.name("a type")
    for word in ("PRECISION", "VARYING", "UNSIGNED"):
        cursor.accept(word)
    if cursor.accept("<"):
        opened = 1
        while opened and not cursor.done:
            opened += (cursor.peek() == "<") - (cursor.peek() == ">")
            cursor.skip()
    while cursor.peek() in {"(", "["}:
        skip_group(cursor)
    for words in (("WITH", "TIME", "ZONE"), ("WITHOUT", "TIME", "ZONE"), ("UNSIGNED",), ("ARRAY",)):
        cursor.accept(*words)
    while cursor.peek() == "[":
        skip_group(cursor)


def skip_items(cursor: Cursor) -> None:
    """Move past what a SELECT or RETURNING lists: expressions, with or without a name.

    A comma may follow the last one.
    """
    _skip_item(cursor)
    while cursor.accept(",") and not cursor.done and cursor.peek() not in _NO_OPERANDS | {")"}:
        _skip_item(cursor)


def _skip_item(cursor: Cursor) -> None:
    skip_expression(cursor)
    for word in ("EXCLUDE", "EXCEPT", "REPLACE", "RENAME"):
        if cursor.peek() == word and cursor.peek(1) == "(":
            cursor.skip()
            skip_group(cursor)
    skip_alias(cursor)


def skip_alias(cursor: Cursor) -> None:
    """Move past a name, with or without AS, if one stands here."""
    token = cursor.token
    if cursor.accept("AS"):
        cursor.skip()
    elif token is not None and (token.name is not None or token.kind == "string"):
        cursor.skip(token.keyword not in _NO_ALIASES)


def skip_ordering(cursor: Cursor) -> None:
    """Move past what ORDER BY lists."""
    skip_listed(cursor, _skip_ordered)


def _skip_ordered(cursor: Cursor) -> None:
    skip_expression(cursor)
    for words in (("ASC",), ("DESC",), ("NULLS", "FIRST"), ("NULLS", "LAST")):
        cursor.accept(*words)
