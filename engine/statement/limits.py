"""How large a statement may be (P21): counted in its tokens, before anything reads it as a tree.

A parser and a planner go down into what a chain of operators nests, a level a term, and a stack
ends somewhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sql.lexer import Token

OPERATORS_MAX: Final = 1000
"""How many operators one expression may have below each other: DataFusion 54.1 plans a sum of a
thousand terms in about a second, and takes the square of that for more."""

BRACKETS_MAX: Final = 200
"""How deep brackets may be nested; the parser goes 50 expressions deep into what users write, and
DataFusion as deep as this into what is written of that."""

REPARSED_MAX: Final = 16
"""How deep CAST and its like may be nested: where sqlparser 0.61 finds its end in them, it reads
each of them again as a function, with all that is in it, and so twice as often with each."""

TOO_DEEP: Final = (
    "the statement is nested too deep: expressions may be about 45 deep in each other, and queries "
    "about 20; make the inner ones tables of WITH, beside each other, or views"
)
"""What is said of a statement that the parser does not go down into."""

SETS_MAX: Final = 1000
"""How many times a statement may have UNION, INTERSECT or EXCEPT."""

JOINS_MAX: Final = 500
"""How many times a statement may have JOIN."""

TABLES_MAX: Final = 4000
"""How many tables a statement may read once each common table is put where it is named: DataFusion
54.1 plans one anew there, so that each which joins the one before to itself doubles the plan."""

WINDOWS_MAX: Final = 500
"""How many times a statement may have OVER: each window is a step of the plan, and a thousand of
them end DataFusion's stack."""

CUBE_MAX: Final = 12
"""How many columns CUBE may have, of all of a statement's: each doubles the groups."""

COMMON_TABLES_MAX: Final = 1000
"""How many tables WITH may define: DataFusion plans a chain in the square of its length."""

IN_VALUES_MAX: Final = 100_000
"""How many values one IN may list; more belong into a table."""

COLUMNS_MAX: Final = 20_000
"""How many columns one SELECT may list."""

IDENTIFIER_LENGTH_MAX: Final = 10_000
"""How long a name may be that a statement gives something: what is kept has limits of its own."""

_SETS: Final = {"UNION", "INTERSECT", "EXCEPT", "MINUS"}
_OPERATORS: Final = {"AND", "OR", "NOT", "IS", "IN", "LIKE", "ILIKE", "BETWEEN"}
_ENDS: Final = _SETS | {
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "ON", "WHEN", "THEN", "ELSE",
    "JOIN", "VALUES", "SET", "QUALIFY",
}  # fmt: skip
"""What ends an expression, besides a comma and the bracket that it stands in."""


@dataclass(slots=True)
class _Open:
    """What stands in a bracket so far.

    Attributes:
        chained: The operators of the expression that goes on.
        within: How deep its deepest bracket is.
        deepest: How deep the deepest of the expressions before is.
    """

    chained: int = 0
    within: int = 0
    deepest: int = 0

    def end(self) -> int:
        """End the expression, and return how deep the deepest is."""
        self.deepest = max(self.deepest, self.chained + self.within)
        self.chained = self.within = 0
        return self.deepest


_REPARSED: Final = frozenset(
    {"CAST", "TRY_CAST", "SAFE_CAST", "CONVERT", "SUBSTRING", "FLOOR", "CEIL", "POSITION",
     "OVERLAY", "ARRAY", "NOT"}
)  # fmt: skip


def check_reparsed(tokens: Sequence[Token]) -> None:
    """Refuse a statement that the parser would read over and over.

    Raises:
        SqlError: It would.
    """
    opened: list[bool] = []
    nested = 0
    for at, token in enumerate(tokens):
        if token.kind != "symbol":
            continue
        if token.text in "([{":
            opened.append(at > 0 and tokens[at - 1].keyword in _REPARSED)
            nested += opened[-1]
            if nested > REPARSED_MAX:
                raise SqlError(TOO_DEEP)
        elif token.text in ")]}" and opened:
            nested -= opened.pop()


def check_size(tokens: Sequence[Token]) -> None:
    """Refuse a statement that is too large to be planned.

    Raises:
        SqlError: It is; the message names the limit.
    """
    if (depth := _depth(tokens)) > OPERATORS_MAX:
        msg = (
            f"an expression has {depth:,} operators below each other, and {OPERATORS_MAX:,} are "
            "allowed: write IN (...), or bracket halves of the chain"
        )
        raise SqlError(msg)
    check_reparsed(tokens)
    words = Counter(token.keyword for token in tokens)
    sets = sum(words[word] for word in _SETS)
    for what, count, most in (("UNION", sets, SETS_MAX), ("JOIN", words["JOIN"], JOINS_MAX)):
        if count > most:
            raise SqlError(f"the statement has {what} {count:,} times, and {most:,} are allowed")
    _check_counts(tokens, words)
    if words["WITH"] and (read := _tables(tokens)) > TABLES_MAX:
        msg = (
            f"common tables that name each other make {read:,} tables of the statement, and "
            f"{TABLES_MAX:,} are allowed: make a table of what is joined to itself"
        )
        raise SqlError(msg)


def _check_counts(tokens: Sequence[Token], words: Counter[str]) -> None:
    """Refuse a statement that has too much of something beside each other."""
    longest = max((len(token.name) for token in tokens if token.name is not None), default=0)
    counts = [("a name", longest, IDENTIFIER_LENGTH_MAX, "characters")]
    counts.append(("the statement", words["OVER"], WINDOWS_MAX, "windows (OVER)"))
    if words["WITH"]:
        made = sum(token.text == "(" and _defines(tokens, at) is not None
                   for at, token in enumerate(tokens))  # fmt: skip
        counts.append(("the statement", made, COMMON_TABLES_MAX, "common tables"))
    if words["CUBE"]:
        cubes = sum(_listed(tokens, at) for at, t in enumerate(tokens) if t.keyword == "CUBE")
        counts.append(("CUBE", cubes, CUBE_MAX, "columns, each of which doubles the groups"))
    if len(tokens) > IN_VALUES_MAX and words["IN"]:
        most = max(_listed(tokens, at) for at, t in enumerate(tokens) if t.keyword == "IN")
        counts.append(("IN", most, IN_VALUES_MAX, "values: make a table of them"))
    if len(tokens) > COLUMNS_MAX:
        selects = (at for at, token in enumerate(tokens) if token.keyword == "SELECT")
        most = max((_columns(tokens, at) for at in selects), default=0)
        counts.append(("SELECT", most, COLUMNS_MAX, "columns: make lists of them"))
    for what, count, most, things in counts:
        if count > most:
            raise SqlError(f"{what} has {count:,} {things}, and {most:,} are allowed")


def _listed(tokens: Sequence[Token], at: int) -> int:
    """Return how many things the bracket lists that a word has behind it."""
    if at + 1 >= len(tokens) or tokens[at + 1].text != "(":
        return 0
    depth, count = tokens[at + 1].depth, 1
    for index in range(at + 2, len(tokens)):
        token = tokens[index]
        if token.depth == depth:
            break
        count += token.text == "," and token.depth == depth + 1
    return count


def _columns(tokens: Sequence[Token], at: int) -> int:
    """Return how many columns a SELECT lists."""
    depth, count = tokens[at].depth, 1
    for index in range(at + 1, len(tokens)):
        token = tokens[index]
        if token.depth < depth or (token.depth == depth and token.keyword in {"FROM", "SELECT"}):
            break
        count += token.text == "," and token.depth == depth
    return count


def _depth(tokens: Sequence[Token]) -> int:
    """Return how many operators the deepest expression has below each other, or more."""
    opened = [_Open()]
    for token in tokens:
        here = opened[-1]
        if token.kind != "symbol":
            here.chained += token.keyword in _OPERATORS
            if token.keyword in _ENDS:
                here.end()
        elif token.text in "([{":
            opened.append(_Open())
            if len(opened) > BRACKETS_MAX + 1:  # the statement itself is in none
                raise SqlError(f"brackets are nested more than {BRACKETS_MAX} deep")
        elif token.text in ")]}" and len(opened) > 1:
            opened.pop()
            opened[-1].within = max(opened[-1].within, here.end())
        elif token.text == ",":
            here.end()
        elif token.text != ".":
            here.chained += 1
    return sum(each.end() for each in opened)  # what nothing closes is the parser's to refuse


def _tables(tokens: Sequence[Token]) -> int:
    """Return how many tables are read if each common table is put where it is named, or more."""
    sizes: dict[str, int] = {}
    open_at: list[tuple[str, int]] = []  # common tables that are being defined, and their depth
    counted = [0]
    for at, token in enumerate(tokens):
        while open_at and token.text == ")" and token.depth == open_at[-1][1]:
            sizes[open_at.pop()[0]] = max(counted.pop(), 1)
        if token.text == "(" and (name := _defines(tokens, at)):
            open_at.append((name, token.depth))
            counted.append(0)
        elif token.name in sizes and not _is_qualifier(tokens, at):
            counted[-1] += sizes[token.name]
        elif token.keyword in {"FROM", "JOIN"}:
            counted[-1] += 1
    return sum(counted)


def _is_qualifier(tokens: Sequence[Token], at: int) -> bool:
    """Whether a name has a column behind it, or is one of a table."""
    around = (tokens[at - 1 : at], tokens[at + 1 : at + 2])
    return any(each.text == "." for side in around for each in side)


def _defines(tokens: Sequence[Token], at: int) -> str | None:
    """Return the common table whose query is in the bracket there."""
    at -= 1
    while at > 0 and tokens[at].keyword in {"NOT", "MATERIALIZED"}:
        at -= 1
    if at < 1 or tokens[at].keyword != "AS":
        return None
    if tokens[at - 1].text == ")":  # the names of its columns
        depth, at = tokens[at - 1].depth, at - 2
        while at > 0 and tokens[at].depth > depth:
            at -= 1
    return tokens[at - 1].name if at > 0 else None
