"""How numbers are given: the options of CREATE SEQUENCE and of an identity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.rules import Counter
from affidavit.engine.statement.honoured import unexpected
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Cursor


@dataclass(frozen=True, slots=True)
class NumberOptions:
    """How numbers are given, as far as it is said."""

    start: int | None = None
    increment: int = 1
    minimum: int | None = None
    maximum: int | None = None

    def counter(self, counter_id: str, bits: int = 64) -> Counter:
        """Return what gives them, for integers of so many bits.

        Raises:
            SqlError: The bounds contradict each other, or a number does not fit.
        """
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        up = self.increment > 0
        minimum = self.minimum if self.minimum is not None else (1 if up else low)
        maximum = self.maximum if self.maximum is not None else (high if up else -1)
        start = self.start if self.start is not None else (minimum if up else maximum)
        if self.minimum is None and up:
            minimum = min(minimum, start)
        if self.maximum is None and not up:
            maximum = max(maximum, start)
        if not self.increment:
            raise SqlError("INCREMENT BY 0 gives one number again and again: write another")
        if not low <= minimum <= start <= maximum <= high:
            msg = (
                f"the numbers of a sequence go from MINVALUE {minimum} by START {start} to "
                f"MAXVALUE {maximum}, within {low} to {high}"
            )
            raise SqlError(msg)
        return Counter(counter_id, start, self.increment, minimum, maximum)


def parse_options(cursor: Cursor, *, bracketed: bool = False) -> NumberOptions:
    """Move past how numbers are given; ``bracketed`` options stand in brackets, if there are any.

    Raises:
        SqlError: An option is not supported.
    """
    found = NumberOptions()
    if bracketed:
        if not cursor.accept("("):
            return found
        if (first := _numbers_only(cursor)) is not None:
            return first
    while not cursor.done and cursor.peek() != ")":
        found = _with_option(cursor, found, has_type=not bracketed)
    if bracketed:
        cursor.expect(")")
    return found


_NUMBERS: Final = {
    ("START", "WITH"): "start",
    ("START",): "start",
    ("INCREMENT", "BY"): "increment",
    ("INCREMENT",): "increment",
    ("MINVALUE",): "minimum",
    ("MAXVALUE",): "maximum",
}
"""The options that are a number, and what each is."""


def _with_option(cursor: Cursor, found: NumberOptions, *, has_type: bool) -> NumberOptions:
    """Move past one option, and return ``found`` with it."""
    for words, what in _NUMBERS.items():
        if cursor.accept(*words):
            return replace(found, **{what: _integer(cursor)})
    if any(cursor.accept("NO", word) for word in ("MINVALUE", "MAXVALUE", "CYCLE")):
        return found
    if cursor.accept("CACHE"):
        _integer(cursor)  # how many are taken ahead is ours to say
        return found
    if has_type and cursor.accept("AS"):
        cursor.name("a type")
        return found
    if cursor.peek() == "CYCLE":
        raise SqlError("CYCLE is not supported: no number is given twice")
    raise unexpected(cursor, "START, INCREMENT, MINVALUE, MAXVALUE or the end")


def _numbers_only(cursor: Cursor) -> NumberOptions | None:
    """Move past ``start, increment)``, as IDENTITY(1, 1) says it, if that stands here."""
    token = cursor.token
    if token is None or token.kind != "number":
        return None
    start = _integer(cursor)
    cursor.expect(",")
    found = NumberOptions(start, _integer(cursor))
    cursor.expect(")")
    return found


def _integer(cursor: Cursor) -> int:
    sign = -1 if cursor.accept("-") else 1
    token = cursor.token
    if token is None or token.kind != "number" or not token.text.isdigit():
        raise SqlError(f"expected a whole number, found {cursor.found()}")
    cursor.skip()
    return sign * int(token.text)
