"""A statement as DataFusion 54.1 answers it rightly: what it plans wrongly is written otherwise.

Each rewrite names what is wrong; ``tests/engine/statement/mended`` asks plain DataFusion for the
same and says when the rewrite can go. What cannot be written otherwise is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.mended.arithmetic import checked
from affidavit.engine.statement.mended.clauses import clauses, values
from affidavit.engine.statement.mended.derived import named
from affidavit.engine.statement.mended.into import created
from affidavit.engine.statement.mended.lists import renamed
from affidavit.engine.statement.mended.membership import membership
from affidavit.engine.statement.mended.numbers import floats
from affidavit.engine.statement.mended.places import word
from affidavit.engine.statement.mended.scopes import scoped
from affidavit.engine.statement.mended.sets import counted
from affidavit.engine.statement.mended.sides import swapped
from affidavit.engine.statement.statement import tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.mended.places import Edit, SchemaOf

_MAY_CHANGE: Final = re.compile(
    r"[-+*,]|[\w')]\s*=\s*[\w\"(]|\bsum\b|\d\.\d|\.\d|\d\.|\d[eE][+-]?\d|\bESCAPE\b|\bRECURSIVE\b|\bFILTER\b|regr_count|approx_distinct|"
    r"\bFROM\s*\(|\bEXISTS\b|\bIN\b|\bALL\b|\bVALUES\b.*\bSELECT\b|"
    r"\bDISTINCT\s+FROM\b|\bSELECT\b.*\bINTO\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a text has that may be written otherwise."""

Find: TypeAlias = "Callable[[str, Sequence[Token], int, SchemaOf], Iterable[Edit]]"
FindOne: TypeAlias = "Callable[[str, Sequence[Token], int, SchemaOf], Edit | None]"

REMEMBERED_LENGTH_MAX: Final = 10_000
"""A longer text is read whenever it comes."""

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
    here.edit(floats(here.tokens))
    here.edit(clauses(here.text, here.tokens))
    while here.edit(swapped(here.text, here.tokens)):
        pass
    if any(token.keyword in _QUERIES for token in here.tokens):
        here.repeat(_SETS, counted)
        here.repeat(_VALUES, lambda text, tokens, at, _: values(text, tokens, at))
        here.pass_over(_BRACKETS, membership)
        here.pass_over(_SELECTS, renamed)
        here.pass_over(_QUERIES, checked)
    return here.text


class _Text:
    """A statement that is edited, and its tokens."""

    def __init__(self, text: str, schema_of: SchemaOf) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self._schema_of = schema_of

    def edit(self, edits: Iterable[Edit]) -> bool:
        """Make edits, none of which is within another, and say whether there were any."""
        made = sorted(edits, reverse=True)
        for start, end, written in made:
            self.text = f"{self.text[:start]}{written}{self.text[end:]}"
        if made:
            self.tokens = tokenize(self.text)
        return bool(made)

    def repeat(self, words: frozenset[str], find: FindOne) -> None:
        """Make what is found at one of the words, until nothing is."""
        at = len(self.tokens)
        while at > 0:
            at -= 1
            if word(self.tokens, at) not in words:
                continue
            edit = find(self.text, self.tokens, at, self._asked_at(at))
            if edit is not None and self.edit([edit]):
                at = len(self.tokens)

    def pass_over(self, words: frozenset[str], find: FindOne | Find) -> None:
        """Make what is found at each of the words once.

        From the last one, so that what stands within another is done before it.
        """
        at = len(self.tokens)
        while at > 0:
            at -= 1
            if word(self.tokens, at) not in words:
                continue
            found = find(self.text, self.tokens, at, self._asked_at(at))
            edits = [found] if isinstance(found, tuple) else list(found or ())
            if self.edit(edits):
                first = min(start for start, _, _ in edits)
                at = min(at, sum(token.start < first for token in self.tokens))

    def _asked_at(self, at: int) -> SchemaOf:
        """Return what gives the columns of a query that stands alone at a place."""
        return lambda query: self._schema_of(scoped(self.text, self.tokens, at, query))
