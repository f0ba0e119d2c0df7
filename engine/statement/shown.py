"""A statement, and what its error says, as others may see them: in the log, and while it runs.

Rules:
    - What is secret in options, named arguments and URLs is never shown.
    - Unless queries are stored, no literal is: numbers, texts of every kind and the words TRUE and
      FALSE become ``?``, an array of nothing else ``[?]``, and comments go. Names, functions,
      operators, NULL and parameters stay. A text that cannot be told apart is not shown, nor one in
      which something is stuck to a literal.
    - Of what an error says only its class is shown, whatever is stored: it may have values. It says
      all where that is about names alone which the statement has as names.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.options import SECRET_WORDS
from affidavit.catalog.sql.lexer import TEXT_LENGTH_MAX, tokenize
from affidavit.errors import (
    AffidavitError,
    ClosedError,
    ColumnNotFoundError,
    ConflictError,
    InvalidNameError,
    NameNotFoundError,
    StatementCancelledError,
    StatementTimeoutError,
    StoreBusyError,
    TableExistsError,
    TableNotFoundError,
)
from affidavit.screen import MASK, masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.statement import Statement

SHOWN_LENGTH_MAX: Final = 100_000
"""How much of a statement is shown."""

KNOWN_LENGTH_MAX: Final = 4096
"""A statement of up to so much is known again, and not read anew."""

_LITERAL: Final = "?"
_ARRAY: Final = re.compile(r"\[\s*[-+]?\s*\?(?:\s*,\s*[-+]?\s*\?)*\s*\]")
_LITERALS: Final = frozenset({"string", "number"})
_STUCK: Final = re.compile(r"""[\w'"`$@#]""")
"""What begins a name, a number or a text."""

_TRUTHS: Final = frozenset({"TRUE", "FALSE"})
_UNTOLD: Final = f"{MASK} (the statement has a secret, and what is wrong with it would repeat that)"
_SETTING: Final = re.compile(r"\s*SET\s+(.{1,200}?)(?:=|\bTO\b)", re.IGNORECASE | re.DOTALL)
_SAID: Final = re.compile(
    r"""((?<!['"])\b(?:PASSWORD|SECRET|IDENTIFIED\s+BY|AUTHORIZATION|CREDENTIALS?|"""
    r"""ATTACH(?:\s+DATABASE)?(?:\s+IF\s+NOT\s+EXISTS)?(?=\s*'[^']*[=@]))\b"""
    r"""\s*\(?\s*)(?:E?'(?:[^']|'')*'?|"(?:[^"]|"")*"?|\$\$.*?(?:\$\$|$))""",
    re.IGNORECASE | re.DOTALL,
)
"""A text after a word that says that it is a secret, or may have one."""

_OPTIONS: Final = re.compile(
    rf"""\b(?:options|copy|attach)\b|(?:{SECRET_WORDS.pattern})\w*['"]?\s*(?:=>|:=?|E?['$])""",
    re.IGNORECASE,
)
"""What may have a secret by its name."""

_WITH_OPTIONS: Final = frozenset({"COPY", "ATTACH"})
_QUOTES: Final = re.compile(r"""['"$]+""")

_OF_NAMES: Final = (TableNotFoundError, TableExistsError, InvalidNameError, NameNotFoundError)
"""Errors whose messages are about one name, and list others that there are."""

_OF_NOTHING: Final = (
    ClosedError, ConflictError, StatementCancelledError, StatementTimeoutError, StoreBusyError,
)  # fmt: skip
"""Errors whose messages have nothing of the statement's but names that were looked up."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown.

    Attributes:
        literals: Whether literals are shown.
    """

    literals: bool = False

    def text(self, given: object, tokens: Sequence[Token] | None = None) -> str:
        """Return a statement as it is shown; ``tokens`` are its own, if it was read before."""
        return self.told(given, None, tokens)[0]

    def told(
        self,
        given: object,
        error: BaseException | None,
        tokens: Sequence[Token] | None = None,
        names: frozenset[str] = frozenset(),
    ) -> tuple[str, str | None]:
        """Return a statement and what its error told, as they are shown.

        Args:
            given: The statement, or whatever was given for one.
            error: The error, if it failed.
            tokens: What the text is made of, if it was read before.
            names: The names in it.
        """
        text = given if isinstance(given, str) else repr(given)
        is_short = len(text) <= KNOWN_LENGTH_MAX
        if self.literals:
            text = _without_secrets(text) if is_short else without_secrets(text, "", tokens)[0]
            return text[:SHOWN_LENGTH_MAX], None if error is None else _only_names(error, names)
        if not isinstance(given, str):
            text = _LITERAL
        elif is_short:
            text = _known(text)
        else:
            text = _hidden(text, tokens)
        return text[:SHOWN_LENGTH_MAX], None if error is None else _only_names(error, names)


def tokens_of(text: object, statement: Statement | None) -> Sequence[Token] | None:
    """Return what a text is made of, if ``statement`` was read from it as it stands."""
    if statement is None or not isinstance(text, str) or not text.startswith(statement.text):
        return None
    return statement.tokens


def _hidden(text: str, tokens: Sequence[Token] | None = None) -> str:
    """Return a statement without literals, comments and secrets."""
    if has_secrets(text):  # which may stand without quotes
        text, tokens = without_secrets(text, "", tokens)[0], None
    return masked(without_literals(text, tokens))


_known: Final = lru_cache(maxsize=512)(_hidden)


@lru_cache(maxsize=512)
def _without_secrets(text: str) -> str:
    return without_secrets(text)[0]


# --- literals -------------------------------------------------------------------------------------


def without_literals(text: str, tokens: Sequence[Token] | None = None) -> str:
    """Return a statement with ``?`` for each literal, and without comments."""
    if tokens is None:
        try:
            tokens = tokenize(text) if len(text) <= TEXT_LENGTH_MAX else ()
        except AffidavitError:
            tokens = ()
        if not tokens:
            return MASK if text.strip() else ""
    if "--" in text or "/*" in text:
        text, tokens = _without_comments(text, tokens)
    parts: list[str] = []
    at = 0
    for kind, written, start, _, keyword, _ in tokens:
        if kind == "word" and written.count("$") > 1:
            return MASK  # a$$O'Brien$$: a name by the rules, and hardly meant as one
        if kind in _LITERALS or keyword in _TRUTHS:
            parts += (text[at:start], _LITERAL)
            at = start + len(written)
            if not keyword and _STUCK.match(text, at) is not None:
                return MASK  # 'O'Brien': what stands outside of the quotes was meant to be inside
    return _ARRAY.sub("[?]", "".join([*parts, text[at:]]).strip())


def _without_comments(text: str, tokens: Sequence[Token]) -> tuple[str, list[Token]]:
    """Return a statement with a space for each comment, and its tokens as they stand then."""
    parts: list[str] = []
    moved, at, length = [], 0, 0
    for token in tokens:
        gap = text[at : token.start]
        parts += (gap if not gap or gap.isspace() else " ", token.text)
        moved.append(token._replace(start=length + len(parts[-2])))
        length += len(parts[-2]) + len(token.text)
        at = token.end
    return "".join(parts), moved


def _only_names(error: BaseException, names: frozenset[str]) -> str:
    """Return an error's class, and what it says where that is about names of the statement."""
    if isinstance(error, ColumnNotFoundError):
        told = str(error.column).split(".")
    elif isinstance(error, _OF_NAMES):
        told = str(error.name).split(".")
    elif isinstance(error, _OF_NOTHING):
        told = []
    else:
        return type(error).__name__
    return f"{type(error).__name__}: {error}" if names.issuperset(told) else type(error).__name__


def has_secrets(text: str) -> bool:
    """Return whether a statement may have secrets."""
    found = _OPTIONS.search(text) or _SETTING.match(text) or _SAID.search(text)
    return found is not None or masked(text) != text


def hide_secrets(error: BaseException, text: object) -> None:
    """Take the secrets of a statement out of what its error says, and of what that came from."""
    if isinstance(error, AffidavitError) and isinstance(text, str) and has_secrets(text):
        error.hide(lambda told: without_secrets(text, told)[1])


@contextmanager
def without_secrets_of(text: object) -> Iterator[None]:
    """Take the secrets of a statement out of what the block raises."""
    try:
        yield
    except AffidavitError as error:
        hide_secrets(error, text)
        raise


# --- secrets --------------------------------------------------------------------------------------


def without_secrets(
    text: str, told: str = "", tokens: Sequence[Token] | None = None
) -> tuple[str, str]:
    """Return a statement and what its error told, without what is secret in them.

    Args:
        text: The statement.
        told: The error's message.
        tokens: What the text is made of, if it was read before.
    """
    assigned = _SETTING.match(text)
    if assigned is not None and SECRET_WORDS.search(assigned[1]) is not None:
        return masked(f"{text[: assigned.end()]} {MASK}"), _UNTOLD if told else ""
    hidden = [(found.end(1), found.end()) for found in _SAID.finditer(text)]
    clause = _OPTIONS.search(text)
    if hidden:
        told = _UNTOLD if told else ""
    if not hidden and clause is None:
        return masked(text), masked(told)
    try:
        tokens = tokenize(text) if tokens is None else tokens
    except AffidavitError:  # where an option ends cannot be told, and the error repeats it
        if clause is not None:
            text, told = f"{text[: clause.end()]} {MASK}", _UNTOLD if told else ""
        return masked(_without(text, hidden)), masked(told)
    ends = set(_ends(tokens))
    hidden = [span for span in hidden if span[0] not in ends]
    for value in _secret_values(tokens) if clause is not None else ():
        hidden.append((value[0].start, value[-1].end))
        for part in {part for token in value for part in _QUOTES.split(token.text) if part}:
            told = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", MASK, told)
    return masked(_without(text, hidden)), masked(told)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text with a mask for each span of it, and one for those that overlap."""
    pieces, at = list[str](), 0
    for start, end in sorted(spans):
        if start >= at:
            pieces += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _ends(tokens: Iterable[Token]) -> Iterator[int]:
    """Yield where the quotes stand that end a text: what is behind one of a name is no value."""
    for token in tokens:
        if token.kind in {"string", "quoted"}:
            yield token.end - (2 if token.text.startswith("$$") else 1)


def _secret_values(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Yield the values whose names say that they are secrets: of options, and of arguments."""
    clause: int | None = None
    is_secret = False
    value: list[Token] = []
    for at, token in enumerate(tokens):
        if clause is None:
            clause = token.depth if _opens_options(tokens, at) else None
            if clause is None and SECRET_WORDS.search(token.text) is not None:
                yield from _argument(tokens, at)
        elif (token.text, token.depth) in {(",", clause + 1), (")", clause)}:
            if value:
                yield value
            is_secret, value = False, []
            clause = None if token.text == ")" else clause
        elif is_secret:
            value.append(token)
        else:
            is_secret = SECRET_WORDS.search(token.text) is not None
    if value:
        yield value


def _opens_options(tokens: Sequence[Token], at: int) -> bool:
    """Return whether options stand in the bracket at a place: of OPTIONS, COPY or ATTACH."""
    if tokens[at].text != "(" or not at:
        return False
    if tokens[at].depth or tokens[0].keyword not in _WITH_OPTIONS:
        return tokens[at - 1].keyword == "OPTIONS"
    return tokens[at - 1].keyword != "COPY"  # behind which a query stands


def _argument(tokens: Sequence[Token], at: int) -> Iterator[Sequence[Token]]:
    """Yield the literal that is a name's: ``k => 'x'``, ``{'k': 'x'}``, ``k 'x'``."""
    value = at + 1
    while value < min(len(tokens), at + 3) and tokens[value].text in {"=>", ":", "="}:
        value += 1
    is_argument = value > at + 1 and tokens[at + 1].text != "="
    is_beside = value == at + 1 and tokens[at].kind == "word"
    if value < len(tokens) and (is_argument or is_beside) and tokens[value].kind in _LITERALS:
        yield tokens[value : value + 1]
