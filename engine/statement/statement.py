"""One SQL text, read once: whoever asks what a statement is asks :class:`Statement`.

It is made where a text comes in, and handed on. A text that is put together here, out of a
statement's parts, is for DataFusion alone, and is not read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from affidavit.catalog.sql.lexer import TEXT_LENGTH_MAX, Cursor, Token, tokenize
from affidavit.engine.statement.limits import check_size
from affidavit.engine.statement.plain import plain
from affidavit.engine.statement.queries import skip_with
from affidavit.engine.statement.spelling.arrows import arrows
from affidavit.engine.statement.spelling.shows import shown
from affidavit.errors import SqlError

DML_SCHEMA: Final = "_dml"
"""Where a statement finds the tables that exist for it alone."""

DML_TARGET: Final = "target"
"""What the table that a statement changes is called there."""

REMEMBERED_LENGTH_MAX: Final = 10_000
"""A longer text is read whenever it comes: its tokens take sixty times its memory."""


class Kind(Enum):
    """Who runs a statement."""

    QUERY = "query"
    EXPLAIN = "explain"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    TRUNCATE = "truncate"
    CREATE = "create"
    DROP = "drop"
    ALTER = "alter"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    COPY = "copy"
    PREPARE = "prepare"
    EXECUTE = "execute"
    DEALLOCATE = "deallocate"
    SETTING = "setting"
    SELECT_INTO = "select_into"
    COMMENT = "comment"
    SHOW_CREATE = "show_create"
    SUMMARIZE = "summarize"
    PRAGMA = "pragma"
    USE = "use"
    ATTACH = "attach"
    DETACH = "detach"


DML_KINDS: Final = frozenset({Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.MERGE, Kind.TRUNCATE})
"""Those that change rows."""

_FIRST_WORDS: Final = {
    "INSERT": Kind.INSERT,
    "REPLACE": Kind.INSERT,
    "UPDATE": Kind.UPDATE,
    "DELETE": Kind.DELETE,
    "MERGE": Kind.MERGE,
    "TRUNCATE": Kind.TRUNCATE,
    "CREATE": Kind.CREATE,
    "DROP": Kind.DROP,
    "ALTER": Kind.ALTER,
    "BEGIN": Kind.BEGIN,
    "COMMIT": Kind.COMMIT,
    "END": Kind.COMMIT,
    "ROLLBACK": Kind.ROLLBACK,
    "ABORT": Kind.ROLLBACK,
    "SAVEPOINT": Kind.SAVEPOINT,
    "RELEASE": Kind.RELEASE,
    "COPY": Kind.COPY,
    "PREPARE": Kind.PREPARE,
    "EXECUTE": Kind.EXECUTE,
    "DEALLOCATE": Kind.DEALLOCATE,
    "SET": Kind.SETTING,
    "RESET": Kind.SETTING,
    "EXPLAIN": Kind.EXPLAIN,
    "COMMENT": Kind.COMMENT,
    "SUMMARIZE": Kind.SUMMARIZE,
    "PRAGMA": Kind.PRAGMA,
    "USE": Kind.USE,
    "ATTACH": Kind.ATTACH,
    "DETACH": Kind.DETACH,
}
_DML: Final = {"INSERT", "UPDATE", "DELETE", "MERGE"}


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a statement's tokens; false if there are none.

    Attributes:
        whole: The text that they stand in.
        tokens: The tokens, side by side.
    """

    whole: str
    tokens: tuple[Token, ...]

    @classmethod
    def since(cls, start: int, cursor: Cursor) -> Part:
        """Return what stands from the token ``start`` up to the cursor."""
        return cls(cursor.text, tuple(cursor.tokens[start : cursor.at]))

    def __bool__(self) -> bool:
        return bool(self.tokens)

    @property
    def text(self) -> str:
        """The part as it was written."""
        return self.cursor().rest()

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names and numbers of its parameters, each once, in the order of the text."""
        found = (token.text[1:] for token in self.tokens if token.kind == "placeholder")
        return tuple(dict.fromkeys(filter(None, found)))

    @property
    def marks(self) -> int:
        """How many parameters are written ``?``."""
        return sum(token.kind == "placeholder" and token.text == "?" for token in self.tokens)

    @property
    def is_default(self) -> bool:
        """Whether it is DEFAULT VALUES."""
        return [token.keyword for token in self.tokens] == ["DEFAULT", "VALUES"]

    def cursor(self) -> Cursor:
        """Return a cursor at the first token, which ends with the last one."""
        return Cursor(self.whole, self.tokens)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without a trailing semicolon.

    Attributes:
        text: The statement, in :mod:`plain <affidavit.engine.statement.plain>` SQL.
        tokens: What it is made of.
        kind: Who runs it.
        names: Every identifier in it: a superset of the tables that it reads.
        placeholders: Its parameters, as :attr:`Part.placeholders` has them.
        marks: How many parameters are written ``?``.
    """

    text: str
    tokens: tuple[Token, ...]
    kind: Kind
    names: frozenset[str]
    placeholders: tuple[str, ...]
    marks: int

    @property
    def whole(self) -> Part:
        """All of it, as a part."""
        return Part(self.text, self.tokens)

    def cursor(self) -> Cursor:
        """Return a cursor at the first token."""
        return Cursor(self.text, self.tokens)

    @property
    def is_of_function(self) -> bool:
        """Whether a CREATE, ALTER or DROP is of a function."""
        words = [token.keyword for token in self.tokens[1:4]]
        named = words[:1] == ["FUNCTION"] or words == ["OR", "REPLACE", "FUNCTION"]
        return named and self.kind in {Kind.CREATE, Kind.ALTER, Kind.DROP}

    @property
    def reads_one_table(self) -> bool:
        """Whether an UPDATE or DELETE reads no table but the one that it changes."""
        others = {"SELECT", "USING", "WITH"} | ({"FROM"} if self.kind is Kind.UPDATE else set())
        alone = self.kind in {Kind.UPDATE, Kind.DELETE}
        return alone and not any(token.keyword in others for token in self.tokens)


def parse_statement(text: object) -> Statement:
    """Return the one statement that ``text`` holds; short texts that are repeated are read once.

    Raises:
        SqlError: There is none, or more than one, or it is too long or has no end.
    """
    if not isinstance(text, str):
        msg = f"expected one SQL statement as text, got {type(text).__name__}"
        raise SqlError(msg)
    if len(text) > TEXT_LENGTH_MAX:
        msg = (
            f"the statement has {len(text):,} characters, and {TEXT_LENGTH_MAX:,} are allowed: "
            "pass data as parameters, or insert it from Arrow"
        )
        raise SqlError(msg)
    return _remembered(text) if len(text) <= REMEMBERED_LENGTH_MAX else _read(text)


@lru_cache(maxsize=512)
def _remembered(text: str) -> Statement:
    return _read(text)


def _read(text: str) -> Statement:
    if "\x00" in text:
        raise SqlError(f"the statement has a NUL character at {text.index(chr(0))}")
    tokens = _one(text)
    for spelled in (shown, arrows):
        if (written := spelled(text, tokens)) is not text:
            text, tokens = written, _one(written)
    if (written := plain(text, tokens)) is not text:
        text, tokens = written, _one(written)
    names = frozenset(token.name for token in tokens if token.name is not None)
    whole = Part(text[: tokens[-1].end], tuple(tokens))
    return Statement(
        whole.whole, whole.tokens, _kind(tokens), names, whole.placeholders, whole.marks
    )


def _one(text: str) -> list[Token]:
    """Return the tokens of the one statement that ``text`` holds, if it is not too large."""
    tokens = tokenize(text)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        msg = "the statement is empty: expected one SQL statement"
        raise SqlError(msg)
    for token in tokens:
        if token.text == ";" and token.kind == "symbol":
            msg = (
                "several statements in one text: run them one by one, in session.transaction() "
                f"if they belong together; the second begins {text[token.end :].strip()[:40]!r}"
            )
            raise SqlError(msg)
    check_size(tokens)
    return tokens


def _kind(tokens: list[Token]) -> Kind:
    first = tokens[0].keyword
    if first == "START" and len(tokens) > 1 and tokens[1].keyword == "TRANSACTION":
        return Kind.BEGIN
    if first == "SHOW" and len(tokens) > 1 and tokens[1].keyword == "CREATE":
        return Kind.SHOW_CREATE
    kind = _after_with(tokens) if first == "WITH" else _FIRST_WORDS.get(first, Kind.QUERY)
    if kind is Kind.QUERY and any(t.keyword == "INTO" and t.depth == 0 for t in tokens):
        return Kind.SELECT_INTO
    return kind


def _after_with(tokens: list[Token]) -> Kind:
    """Return what a statement that begins with common table expressions is."""
    cursor = Cursor("", tokens)
    try:
        skip_with(cursor)
    except SqlError:
        return Kind.QUERY  # whose parser says what is wrong
    return _FIRST_WORDS[cursor.peek()] if cursor.peek() in _DML else Kind.QUERY
