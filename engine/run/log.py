"""The log of SQL statements: a row each, written behind by up to a second.

A statement that fails to be logged does not fail; searches have records of their own, which are
never late. What a statement has of secrets, in its OPTIONS and URLs, is not logged.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model import clock
from affidavit.catalog.sources.buckets.options import SECRET_WORDS
from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.engine.result.result import Result, watch
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from affidavit.catalog.lake.catalog import Trace
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.sql.lexer import Token
    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.values.types import StoreValue

WAITING_MAX: Final = 20_000
"""How many rows may wait; past that the oldest are dropped."""

TEXT_LENGTH_MAX: Final = 100_000
_MASK: Final = "***"
_OPTIONS: Final = re.compile(r"\boptions\b", re.IGNORECASE)
_USERINFO: Final = re.compile(r"""(?<=://)(?:[^/?#'"\n]*@|[^/?#'"\n]*:(?!\d+[/?#'"\s])[^'"\n]*@)""")
"""What stands before a host; a password may have a slash."""

_QUOTES: Final = re.compile(r"""['"$]+""")

_COLUMNS: Final = columns_of(STATEMENTS)


class StatementLog:
    """Rows of ``audit.statements`` on their way to the store.

    Args:
        store: Where they go.
        poke: Called when there is something to write.
    """

    def __init__(self, store: Store, poke: Callable[[], None]) -> None:
        self._store = store
        self._poke = poke
        self._waiting: list[tuple[str, tuple[StoreValue, ...]]] = []
        # a result that is dropped half-read logs itself, maybe as garbage, while this is held
        self._queue = threading.RLock()
        self._flushing = threading.Lock()

    def run(
        self, identity: Identity, text: str, trace: Trace, execute: Callable[[], Result]
    ) -> Result:
        """Return what ``execute`` returns, and log how it went once its rows were read."""
        at_us, started = clock.now_us(), perf_counter_ns()

        def done(rows: int | None, error: BaseException | None) -> None:
            duration_us = (perf_counter_ns() - started) // 1000
            self._add(identity, text, trace, at_us, duration_us, rows, error)

        try:
            result = execute()
        except BaseException as error:
            done(None, error)
            raise
        watch(result, done)
        return result

    def _add(
        self,
        identity: Identity,
        text: object,
        trace: Trace,
        at_us: int,
        duration_us: int,
        rows: int | None,
        error: BaseException | None,
    ) -> None:
        said = "" if error is None else str(error)
        shown, told = without_secrets(text if isinstance(text, str) else repr(text), said)
        row = (
            clock.uuid7(at_us), at_us, _storable(identity.actor), _storable(identity.source),
            _storable(identity.workspace), _kind(text), _storable(shown[:TEXT_LENGTH_MAX]),
            _storable("\n".join(trace.read)),
            _storable("\n".join(trace.written)) if error is None else "",
            rows, duration_us, "ok" if error is None else "error",
            None if error is None else _storable(f"{type(error).__name__}: {told}"),
        )  # fmt: skip
        with self._queue:
            self._waiting.append((identity.tenant, row))
            del self._waiting[:-WAITING_MAX]
        self._poke()

    def flush_for(self, text: object) -> None:
        """Write what waits, if that can be done, where ``text`` reads the log."""
        if _reads_log(text):
            with suppress(AffidavitError):
                self.flush()

    def flush(self) -> bool:
        """Write what waits; returns whether anything is left."""
        with self._flushing:
            with self._queue:
                taken, self._waiting = self._waiting, []
            try:
                for tenant in dict.fromkeys(owner for owner, _ in taken):
                    with self._store.write(tenant) as writer:
                        rows = [row for owner, row in taken if owner == tenant]
                        writer.insert(STATEMENTS, _COLUMNS, rows)
                    taken = [each for each in taken if each[0] != tenant]
            finally:
                with self._queue:
                    self._waiting = taken + self._waiting
        return False


def _reads_log(text: object) -> bool:
    if not isinstance(text, str) or STATEMENTS.name not in text.lower():
        return False
    try:
        return {"audit", STATEMENTS.name} <= parse_statement(text).names()
    except AffidavitError:
        return False


def without_secrets(text: str, told: str = "") -> tuple[str, str]:
    """Return a statement and what its error told, without the secrets of OPTIONS and URLs."""
    clause = _OPTIONS.search(text)
    if clause is not None:
        try:
            values = list(_secret_values(tokenize(text)))
        except AffidavitError:  # where an option ends cannot be told, and the error repeats it
            values, text, told = [], f"{text[: clause.end()]} {_MASK}", _MASK
        for tokens in reversed(values):
            text = f"{text[: tokens[0].start]}{_MASK}{text[tokens[-1].end :]}"
            for part in {part for token in tokens for part in _QUOTES.split(token.text) if part}:
                told = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", _MASK, told)
    return _USERINFO.sub(_MASK + "@", text), _USERINFO.sub(_MASK + "@", told)


def _secret_values(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """Yield the values in OPTIONS clauses of the options whose names say that they are secrets."""
    clause: int | None = None
    is_secret = False
    value: list[Token] = []
    for token in tokens:
        if clause is None:
            clause = token.depth if token.keyword == "OPTIONS" else None
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


def _kind(text: object) -> str | None:
    try:
        return parse_statement(text).kind.value
    except AffidavitError:
        return None


def _storable(text: str) -> str:
    """Return ``text`` without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()
