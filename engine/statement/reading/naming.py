"""What a column is called that is computed and given no name: what its author wrote.

``a+1`` is ``a + 1``, and ``SUM( c )`` is ``sum(c)``: with one space where there may be one, names
without quotes in lower case, words of the grammar in upper case, and no longer than
:data:`NAME_LENGTH_MAX`. DataFusion 54.1 says ``lake.main.t.a + Int64(1)``.

Rules:
    - A statement is given its names before anything in it is written otherwise. Where that happens
      to what is kept, as a view is, only what changes is given its name there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, remembered, tokenize
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.reading.functions import MERGE_ACTION, OF_CALLER_WORDS
from affidavit.engine.statement.reading.lists import (
    clause_end,
    has_name,
    items_of,
    listed,
)
from affidavit.engine.statement.reading.places import clause, split
from affidavit.engine.statement.reading.walker import (
    CLOSING,
    NO_CALLS,
    OPENING,
    Tokens,
    closing,
    in_from,
    opening,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token
    from affidavit.engine.statement.reading.walker import Span

NAME_LENGTH_MAX: Final = 100
"""How much of an expression's text is its name."""

_MAY_LIST: Final = re.compile(r"\b(?:SELECT|RETURNING)\b", re.IGNORECASE)

_CHANGES: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "WITH", "RETURNING"})
_NO_RETURNING: Final = frozenset({"SELECT", "WHERE", "AND", "OR", "NOT", "BY", "ON"})
"""What a column stands behind that is called so."""

_CONSTANTS: Final = OF_CALLER_WORDS.keys() | {
    "TRUE", "FALSE", "NULL", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "DEFAULT",
}  # fmt: skip
"""Words that look like columns and are none."""

_COUNTS: Final = ("number", "placeholder", "ALL")
_AFTER: Final[Mapping[str, tuple[str, ...]]] = {
    "FIRST": ("NULLS",), "LAST": ("NULLS",), "NULLS": ("IGNORE", "RESPECT"), "OVER": (")", "NULLS"),
    "ROW": ("CURRENT",), "TO": ("SIMILAR",),
}  # fmt: skip
_UNTIL: Final[Mapping[str, tuple[str, ...]]] = {
    "AT": ("TIME",), "CURRENT": ("ROW",), "FILTER": ("(",), "IGNORE": ("NULLS",), "LIMIT": _COUNTS,
    "NULLS": ("FIRST", "LAST"), "OFFSET": _COUNTS, "PARTITION": ("BY",), "RESPECT": ("NULLS",),
    "ROW": ("(",), "WITHIN": ("WITHIN GROUP",),
}  # fmt: skip
"""Words that are of the grammar behind, or before, some others; elsewhere they are names."""

_IN_WINDOWS: Final = frozenset({"FOLLOWING", "GROUPS", "PRECEDING", "RANGE", "ROWS", "UNBOUNDED"})
"""Those that are of the grammar behind OVER."""

_UPPER: Final = (NO_CALLS | {"CAST", "TRY_CAST", "EXTRACT", "NULL"}) - {
    *_AFTER, *_UNTIL, *_IN_WINDOWS,
}  # fmt: skip
"""Words that are of the grammar wherever they stand."""

_SIGNS: Final = frozenset("+-~")
_OPERATORS: Final = frozenset("=<>+-*/%|&^#~!@?") | {"<>", "!=", ">=", "<=", "||", "->", "->>"}

_BEFORE_SIDES: Final = frozenset(
    {"", "UNION", "INTERSECT", "EXCEPT", "ALL", "DISTINCT", "AS", "MATERIALIZED", "EXPLAIN",
     "ANALYZE", "VERBOSE", "DESCRIBE", "DESC", "SUMMARIZE", "NAME", "COPY", "LATERAL"}
)  # fmt: skip
"""What a query in brackets stands behind whose columns somebody sees."""


@remembered
def named(text: str) -> str:
    """Return a statement with names for what its queries and its RETURNING compute.

    Where all have some it is the text itself.
    """
    if _MAY_LIST.search(text) is None:
        return text
    return edited(text, _names(text, Tokens(tokenize(text)), lambda *_: True))


def rewritten(text: str, tokens: Sequence[Token], edits: Iterable[Edit]) -> str:
    """Return a statement with other pieces in it whose columns are called as if it had not.

    Args:
        text: The statement.
        tokens: What it is made of.
        edits: What is put where, of which none is within another.
    """
    made = sorted(edits, key=lambda each: each[:2])
    if not made or _MAY_LIST.search(text) is None:
        return edited(text, made)
    starts = [start for start, _, _ in made]

    def changes(start: int, end: int) -> bool:
        return bisect_left(starts, start) < bisect_left(starts, end)

    names = [*_names(text, Tokens(tokens), changes)]
    instead = [(start, end) for start, end, _ in names if start < end]  # of ORDER BY
    made = [each for each in made if not any(s <= each[0] and each[1] <= e for s, e in instead)]
    return edited(text, [*made, *names])


def _names(text: str, tokens: Tokens, wanted: Callable[[int, int], bool]) -> Iterator[Edit]:
    """Yield names for what a statement lists and computes, of what is wanted in the text."""
    for at, said in enumerate(tokens.words):
        if said != "SELECT" and not _returns(tokens, at):
            continue
        span = listed(tokens, at)
        computed, taken = _computed(text, tokens, items_of(tokens, span))
        if not computed or not (is_seen(tokens, at) or len(computed) > 1):
            continue
        told = dict[str, str]()
        for edit, name, written in _given(tokens, computed, taken):
            start = tokens[written[0]].start
            if wanted(start, edit[0]):
                told[called(tokens, written)] = quoted(name)
                yield edit
        if told and word(tokens, at + 1) == "DISTINCT" and word(tokens, at + 2) != "ON":
            yield from _ordered(tokens, span, told)


def _returns(tokens: Tokens, at: int) -> bool:
    """Return whether the RETURNING of a statement that changes rows stands at a place."""
    if tokens.words[at] != "RETURNING" or tokens[at].depth or tokens.words[0] not in _CHANGES:
        return False
    before = tokens[at - 1]
    if at and before.kind == "symbol":
        return before.text in CLOSING
    return not at or before.keyword not in _NO_RETURNING


def _computed(text: str, tokens: Tokens, items: list[Span]) -> tuple[list[Span], set[str | None]]:
    """Return what is computed and has no name, and the names of the others."""
    computed = [
        item for item in items
        if not is_column(tokens, item) and not has_name(text, tokens, item)
    ]  # fmt: skip
    without = {*computed}
    return computed, {tokens[item[1] - 1].name for item in items if item not in without}


def _given(
    tokens: Tokens, items: list[Span], taken: set[str | None]
) -> Iterator[tuple[Edit, str, Span]]:
    """Yield for each thing what gives it its name, which nothing else of the list has, and that."""
    last = dict[str, int]()
    for item in items:
        told = called(tokens, item)
        name = told
        while name in taken:
            last[told] = last.get(told, 0) + 1
            name = f"{told}_{last[told]}"
        taken.add(name)
        end = tokens[item[1] - 1].end
        yield (end, end, f" AS {quoted(name)}"), name, item


def _ordered(tokens: Tokens, span: Span, told: dict[str, str]) -> Iterator[Edit]:
    """Yield what ORDER BY of a DISTINCT list says, by its name: no column of a table is seen."""
    bracket = tokens.opens[span[0]]
    end = len(tokens) if bracket < 0 else closing(tokens, bracket)
    at = clause(tokens, (span[1], end), "ORDER", "BY")
    if at < 0 or at + 2 >= end:
        return
    for start, stop in split(tokens, (at + 2, clause_end(tokens, at + 2))):
        until = stop
        while word(tokens, until - 1) in {"ASC", "DESC", "NULLS", "FIRST", "LAST"}:
            until -= 1
        name = told.get(called(tokens, (start, until))) if start < until else None
        if name is not None and "SELECT" not in tokens.words[start:until]:
            yield tokens[start].start, tokens[until - 1].end, name


def is_column(tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is a column, which has a name."""
    start, end = item
    if end == start + 1 and tokens[start].keyword in _CONSTANTS:
        return False
    if tokens[start].name == MERGE_ACTION and tokens.words[start + 1 : end] == ["(", ")"]:
        return True
    return all(
        token.text == "." if at % 2 else token.name is not None
        for at, token in enumerate(tokens[start:end])
    )


def is_seen(tokens: Tokens, at: int) -> bool:
    """Return whether somebody may name the columns of the SELECT at a place."""
    bracket = opening(tokens, at)
    while bracket >= 0 and word(tokens, bracket - 1) == "(":
        bracket = opening(tokens, bracket)
    if bracket < 0 or in_from(tokens, bracket):
        return True
    return word(tokens, bracket - 1) in _BEFORE_SIDES


def called(tokens: Tokens, item: Span) -> str:
    """Return what an expression is called."""
    start, end = item
    made: list[str] = []
    for at in range(start, end):
        if at > start and _is_apart(tokens, start, at):
            made.append(" ")
        made.append(_written(tokens, at))
    name = "".join(made)
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 3]}..."


def _written(tokens: Tokens, at: int) -> str:
    token = tokens[at]
    if token.kind != "word":
        return token.text
    return token.keyword if _is_grammar(tokens, at) else str(token.name)


def _is_grammar(tokens: Tokens, at: int) -> bool:
    """Whether a word is no name where it stands."""
    said = tokens[at].keyword
    if said in _IN_WINDOWS:
        return word(tokens, opening(tokens, at) - 1) == "OVER"
    if word(tokens, at - 1) in _AFTER.get(said, ()) or word(tokens, at + 1) in _UNTIL.get(said, ()):
        return True
    return said in _UPPER


def _is_apart(tokens: Tokens, start: int, at: int) -> bool:
    """Whether a space stands before the token at a place."""
    before, here = tokens[at - 1], tokens[at]
    if before.kind == "symbol" and (before.text in OPENING or before.text in {".", "::"}):
        return False
    if here.kind != "symbol":
        return not _is_sign(tokens, start, at - 1)
    if here.text in CLOSING or here.text in {",", ".", "::", ":"}:
        return False
    if here.text == "(":
        is_call = before.keyword not in NO_CALLS or not _is_grammar(tokens, at - 1)
        return before.name is None or not is_call
    if here.text == "[":
        return before.name is None and before.text not in CLOSING
    is_one = before.text in _OPERATORS and here.text in _OPERATORS - {"+", "-"}
    return not (is_one and before.end == here.start)


def _is_sign(tokens: Tokens, start: int, at: int) -> bool:
    """Whether a token is the sign of what is behind it, and stands between nothing."""
    if tokens[at].text not in _SIGNS or tokens[at].kind != "symbol":
        return False
    if at == start:
        return True
    before = tokens[at - 1]
    if before.kind == "symbol":
        return before.text not in CLOSING
    return before.keyword in NO_CALLS - {"END"} and _is_grammar(tokens, at - 1)
