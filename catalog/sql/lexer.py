"""SQL text as tokens: enough to tell statements apart and to cut them into clauses.

DataFusion parses every expression and query; what its planner refuses, such as the clauses of MERGE
and RETURNING, is read here, and the pieces are handed on as they were written.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Made = TypeVar("Made")

Edit: TypeAlias = "tuple[int, int, str]"
"""From where to where of a text to put what."""

RECENT_LENGTH_MAX: Final = 4_096
"""A text of up to so much is kept for a while once it was read; its tokens take sixty times it."""

REMEMBERED_LENGTH_MAX: Final = 10_000
"""What is made of a longer text is made whenever that comes."""

REMEMBERED_MAX: Final = 512
"""Of how many texts that is kept."""

TEXT_LENGTH_MAX: Final = 1_000_000
"""A longer statement is refused: parameters are the place for data."""

_TOKEN: Final = re.compile(
    r"""
    (?:\s+|--[^\n]*)*
    (?:
      (?P<end>\Z)
    | (?P<comment>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*')
    | (?P<string>(?:[bBnNxX]|[uU]&)?'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<dollar>\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$)
    | (?P<placeholder>\$[A-Za-z0-9_]+|\?)
    | (?P<number>0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*
        |\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
    | (?P<word>(?:[A-Za-z_@\#]|[^\x00-\x7f\s])(?:[A-Za-z0-9_@\#$]|[^\x00-\x7f\s])*)
    | (?P<symbol><>|!=|>=|<=|\|\||::|=>|->>|->|.)
    )
    """,
    re.VERBOSE | re.DOTALL,
)


_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: ``word``, ``quoted``, ``string``, ``number``, ``placeholder`` or ``symbol``.
        text: As it stands in the statement.
        start: Where it begins in the statement.
        depth: How many brackets it stands in; a bracket itself counts as outside.
        keyword: A word in upper case; empty for anything else.
        name: The identifier that it is, as DataFusion normalizes it; ``None`` if it is none.
    """

    kind: str
    text: str
    start: int
    depth: int
    keyword: str = ""
    name: str | None = None

    @property
    def end(self) -> int:
        """Where it ends in the statement."""
        return self.start + len(self.text)


def remembered(make: Callable[[str], Made]) -> Callable[[str], Made]:
    """Return ``make``, which keeps what it made of short texts: statements come again and again."""
    kept = lru_cache(maxsize=REMEMBERED_MAX)(make)

    @wraps(make)
    def made(text: str) -> Made:
        return kept(text) if len(text) <= REMEMBERED_LENGTH_MAX else make(text)

    return made


def tokenize(text: str) -> list[Token]:
    """Return the tokens of ``text`` without comments and white space.

    Raises:
        SqlError: A string, name or comment does not end, or brackets do not pair up.
    """
    return list(_recent(text) if len(text) <= RECENT_LENGTH_MAX else _tokens(text))


@lru_cache(maxsize=64)
def _recent(text: str) -> tuple[Token, ...]:
    """Return the tokens of a text that others are going to ask for, as a statement is planned."""
    return tuple(_tokens(text))


def _tokens(text: str) -> Iterator[Token]:
    at, depth = 0, 0
    while (found := _TOKEN.match(text, at)) is not None and found.lastgroup != "end":
        kind = str(found.lastgroup)
        part, start, at = found[kind], found.start(kind), found.end()
        if kind == "symbol":
            if part in ")]}":
                depth -= 1
                yield Token(kind, part, start, depth)
            elif part in "([{":
                yield Token(kind, part, start, depth)
                depth += 1
            elif part in "'\"`":
                raise _unfinished("a quoted text", text, start)
            else:
                yield Token(kind, part, start, depth)
        elif kind == "word":
            yield Token(kind, part, start, depth, part.upper(), _normalized(part))
        elif kind == "quoted":
            yield Token(kind, part, start, depth, name=part[1:-1].replace('""', '"'))
        elif kind == "comment":
            at = _skip_comment(text, start)
        elif kind == "dollar":
            closing = text.find(part, at)
            if closing < 0:
                raise _unfinished("a dollar-quoted string", text, start)
            at = closing + len(part)
            yield Token("string", text[start:at], start, depth)
        else:
            yield Token("string" if kind == "escaped" else kind, part, start, depth)


def _normalized(name: str) -> str:
    """Return a name without quotes as DataFusion has it: in lower case, as far as it is ASCII."""
    return name.lower() if name.isascii() else name.translate(_ASCII_LOWER)


def _skip_comment(text: str, start: int) -> int:
    depth, at = 1, start + 2
    while depth:
        opening, closing = text.find("/*", at), text.find("*/", at)
        if closing < 0:
            raise _unfinished("a comment", text, start)
        if 0 <= opening < closing:
            depth, at = depth + 1, opening + 2
        else:
            depth, at = depth - 1, closing + 2
    return at


def _unfinished(what: str, text: str, start: int) -> SqlError:
    line = text.count("\n", 0, start) + 1
    return SqlError(f"{what} that begins in line {line} does not end: {text[start : start + 40]!r}")


class Cursor:
    """A place among the tokens of one statement."""

    def __init__(self, text: str, tokens: Sequence[Token], at: int = 0) -> None:
        self.text = text
        self.tokens = tokens
        self.at = at

    @property
    def done(self) -> bool:
        """Whether no token is left."""
        return self.at >= len(self.tokens)

    @property
    def token(self) -> Token | None:
        """The token here."""
        return None if self.done else self.tokens[self.at]

    def peek(self, ahead: int = 0) -> str:
        """Return the keyword here, or ``ahead`` of here; the symbol if it is one."""
        if self.at + ahead >= len(self.tokens):
            return ""
        token = self.tokens[self.at + ahead]
        return token.keyword or (token.text if token.kind == "symbol" else "")

    def move(self, at: int) -> None:
        """Stand at the token ``at``."""
        self.at = at

    def skip(self, count: int = 1) -> None:
        """Move past so many tokens, whatever they are."""
        self.at += count

    def accept(self, *words: str) -> bool:
        """Move past ``words`` if all of them stand here."""
        for ahead, word in enumerate(words):  # most are told apart by the first
            if self.peek(ahead) != word:
                return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        """Move past ``words``; SqlError if something else stands here."""
        if not self.accept(*words):
            raise SqlError(f"expected {' '.join(words)}, found {self.found()}")

    def found(self) -> str:
        """Return what stands here, for a message."""
        token = self.token
        return "the end of the statement" if token is None else repr(token.text)

    def name(self, what: str) -> str:
        """Move past one identifier and return it."""
        token = self.token
        found = None if token is None else token.name
        if found is None:
            raise SqlError(f"expected {what}, found {self.found()}")
        self.at += 1
        return found

    def literal(self, what: str) -> str:
        """Move past one text in quotes and return it."""
        token = self.token
        if token is None or token.kind != "string" or token.text[0] != "'":
            raise SqlError(f"expected {what}, found {self.found()}")
        self.at += 1
        return token.text[1:-1].replace("''", "'")

    def names(self, what: str) -> tuple[str, ...]:
        """Move past a bracketed list of identifiers and return them."""
        self.expect("(")
        found = [self.name(what)]
        while self.accept(","):
            found.append(self.name(what))
        self.expect(")")
        return tuple(found)

    def between(self, start: int, end: int) -> str:
        """Return the text of the tokens from ``start`` up to ``end``."""
        if start >= end:
            return ""
        return self.text[self.tokens[start].start : self.tokens[end - 1].end]

    def spaced(self, start: int, end: int | None = None) -> str:
        """Return the tokens from ``start`` up to ``end`` with single spaces and no comments."""
        return " ".join(token.text for token in self.tokens[start:end])

    def rest(self) -> str:
        """Move to the end and return the text up to it."""
        start, self.at = self.at, len(self.tokens)
        return self.between(start, self.at)


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with other pieces in it; the text itself if there are none.

    Args:
        text: The text.
        edits: From where to where stands what, of which none is within another. What is put at one
            place stands there in this order.
    """
    pieces, at = list[str](), 0
    for start, end, written in sorted(edits, key=_place):
        pieces += (text[at:start], written)
        at = end
    return "".join((*pieces, text[at:])) if pieces else text


def _place(edit: Edit) -> tuple[int, int]:
    return edit[:2]
