"""A statement as DataFusion 54.1 answers it rightly: what it plans wrongly is written otherwise.

Each rewrite names what is wrong; ``tests/engine/statement/mended`` asks plain DataFusion for the
same and says when the rewrite can go. What cannot be written otherwise is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.engine.statement.limits import check_reparsed
from affidavit.engine.statement.mended import moving
from affidavit.engine.statement.mended.arithmetic import checked, merged
from affidavit.engine.statement.mended.clauses import clauses, created, values
from affidavit.engine.statement.mended.derived import named
from affidavit.engine.statement.mended.lists import renamed
from affidavit.engine.statement.mended.membership import membership
from affidavit.engine.statement.mended.nulls import parted
from affidavit.engine.statement.mended.numbers import floats
from affidavit.engine.statement.mended.scopes import scoped
from affidavit.engine.statement.mended.sets import counted
from affidavit.engine.statement.mended.sides import swapped
from affidavit.engine.statement.reading.walker import Tokens
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf

_MAY_CHANGE: Final = re.compile(
    r"\bSELECT\b|[-+*,]|[\w')]\s*=\s*[\w\"(]|\d\.|\.\d|\d[eE][+-]?\d|\bESCAPE\b|\bDISTINCT\s+FROM\b",
    re.IGNORECASE,
)
"""What a text has that may be written otherwise."""

Find: TypeAlias = "Callable[[str, Tokens, int, SchemaOf], Iterable[Edit]]"
FindOne: TypeAlias = "Callable[[str, Tokens, int, SchemaOf], Edit | None]"

Found = TypeVar("Found")

REMEMBERED_LENGTH_MAX: Final = 10_000
"""A longer text is read whenever it comes."""

WRITTEN_LENGTH_MAX: Final = 100_000
WRITTEN_TIMES_MAX: Final = 20
"""A statement that becomes longer than both is refused: IN as a value is written four times, and
each that stands in another four times again."""

COUNTED_MAX: Final = 40
"""How many INTERSECT ALL and EXCEPT ALL may follow each other: each stands in the next one."""

_TOO_LONG: Final = (
    "IN and EXISTS whose value is asked for stand in each other too often: make a table of WITH of "
    "the inner query, or join it"
)
_TOO_MANY: Final = (
    f"more than {COUNTED_MAX} INTERSECT ALL or EXCEPT ALL follow each other: make a table of WITH "
    "of some of them"
)

_LITERAL: Final = r"\s*(?:-?\d{1,18}(?:\.\d{0,18})?|'(?:[^']|'')*'|NULL|TRUE|FALSE)\s*"
_ROW: Final = rf"\({_LITERAL}(?:,{_LITERAL})*\)"
_ROWS: Final = re.compile(
    rf"\s*INSERT\s+INTO\s[^()']*(?:\([^()']*\)\s*)?VALUES\s*{_ROW}(?:\s*,\s*{_ROW})*\s*",
    re.IGNORECASE,
)
"""Rows of literals: there is nothing in them to write otherwise."""

_SETS: Final = frozenset({"INTERSECT", "EXCEPT"})
_VALUES: Final = frozenset({"VALUES"})
_SELECTS: Final = frozenset({"SELECT"})
_QUERIES: Final = _VALUES | _SELECTS
_BRACKETS: Final = frozenset({"("})


def mended(text: str, schema_of: SchemaOf) -> str:
    """Return a statement that DataFusion answers rightly; the text itself where it does already.

    Args:
        text: The statement.
        schema_of: Returns the columns of a query that stands alone, ``None`` if it does not.

    Raises:
        SqlError: It cannot be written so.
    """
    if _MAY_CHANGE.search(text) is None or _ROWS.fullmatch(text) is not None:
        return text
    known = _remembered(text) if len(text) <= REMEMBERED_LENGTH_MAX else None
    return _mended(text, schema_of) if known is None else known


class _AskedError(Exception):
    """The planner would have been asked."""


@lru_cache(maxsize=1024)
def _remembered(text: str) -> str | None:
    """Return what is planned for a text, if nothing but the text says so."""

    def asked(query: str) -> pa.Schema | None:
        raise _AskedError(query)

    try:
        return _mended(text, asked)
    except _AskedError:
        return None


def _mended(text: str, schema_of: SchemaOf) -> str:
    here = _Text(text, schema_of)
    if any(token.keyword == "INTO" and not token.depth for token in here.tokens):
        here.edit(created(here.text, here.tokens))
    here.edit(named(here.tokens))
    here.edit(here.each(_SELECTS, renamed))
    here.edit(floats(here.tokens))
    here.edit(clauses(here.text, here.tokens))
    here.edit(parted(here.text, here.tokens))
    here.edit(moving.counted(here.text, here.tokens))
    while here.edit(swapped(here.text, here.tokens)):
        pass
    if any(token.keyword in _QUERIES for token in here.tokens):
        for _ in range(COUNTED_MAX + 1):
            if not here.pass_over(_SETS, counted):
                break
        else:
            raise SqlError(_TOO_MANY)
        here.pass_over(_VALUES, lambda text, tokens, at, _: values(text, tokens, at))
        here.pass_over(_BRACKETS, membership)
        if here.edit(merged(here.each(_QUERIES, checked))):
            check_reparsed(here.tokens)
    return here.text


class _Text:
    """A statement that is edited, and its tokens."""

    def __init__(self, text: str, schema_of: SchemaOf) -> None:
        self.text = text
        self.tokens = Tokens(tokenize(text))
        self._schema_of = schema_of
        self._length_max = max(WRITTEN_LENGTH_MAX, WRITTEN_TIMES_MAX * len(text))
        self._placed: tuple[str, frozenset[str]] = ("", frozenset())
        self._found = dict[int, list[int]]()

    def edit(self, edits: Iterable[Edit]) -> bool:
        """Make edits, none of which is within another, and say whether there were any.

        Raises:
            SqlError: The statement would be too long.
        """
        written = edited(self.text, edits)
        if written is self.text:
            return False
        if len(written) > self._length_max:
            raise SqlError(_TOO_LONG)
        self.text = written
        self.tokens = Tokens(tokenize(self.text))
        return True

    def pass_over(self, words: frozenset[str], find: FindOne | Find) -> bool:
        """Make what is found at each of the words once, and say whether anything was.

        What stands within another is done before it: the deepest brackets first. Of two in the
        same bracket that overlap, the last one is made.
        """
        has_changed = False
        for depth in range(max((token.depth for token in self.tokens), default=-1), -1, -1):
            made: list[Edit] = []
            first = len(self.text)
            for at in self._places(words).get(depth, ()):
                if self.tokens[at].start >= first:  # it stands in what is written otherwise
                    continue
                found = find(self.text, self.tokens, at, self._asked_at(at))
                edits = [found] if isinstance(found, tuple) else list(found or ())
                if edits and max(end for _, end, _ in edits) <= first:
                    made += edits
                    first = min(start for start, _, _ in edits)
            has_changed |= self.edit(made)
        return has_changed

    def each(self, words: frozenset[str], find: Callable[..., list[Found]]) -> list[Found]:
        """Return what is found at each of the words in the statement as it is."""
        places = [at for at, said in enumerate(self.tokens.words) if said in words]
        return [
            each for at in places for each in find(self.text, self.tokens, at, self._asked_at(at))
        ]

    def _places(self, words: frozenset[str]) -> dict[int, list[int]]:
        """Return where the words stand, by how deep, the last ones first."""
        if self._placed != (self.text, words):
            self._placed, self._found = (self.text, words), {}
            for at in range(len(self.tokens) - 1, -1, -1):
                if self.tokens.words[at] in words:
                    self._found.setdefault(self.tokens[at].depth, []).append(at)
        return self._found

    def _asked_at(self, at: int) -> SchemaOf:
        """Return what gives the columns of a query that stands alone at a place."""
        return lambda query: self._schema_of(scoped(self.text, self.tokens, at, query))
