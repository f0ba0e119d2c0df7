"""Numbers with a point that meet a float are floats.

They are decimals, which keep their digits; so is a parameter that is a ``Decimal``. But a float
that is compared with a decimal, or stands in one column with it, is brought to DECIMAL(30, 15) by
DataFusion 54.1, or DECIMAL(14, 7): what is smaller becomes 0, what is larger, and NaN, an error.
Its functions of lists take no decimal where a list is of floats. What a number meets is told from
the plan as it is once types are brought together.

Rules:
    - A number that meets no float stays a decimal, whatever the others of its statement meet.
    - A statement is planned :data:`PLANNED_MAX` times at most.
"""

from __future__ import annotations

import re
from functools import partial
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import pyarrow.types as pt

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.engine.plan.mending.remembered import Written
from affidavit.engine.statement.reading.walker import CLOSING, OPENING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from datafusion import DataFrame

    from affidavit.catalog.sql.lexer import Edit, Token

Plan: TypeAlias = "Callable[[str, Mapping[str, Any]], DataFrame]"
"""Plans a text with parameters."""

Answered: TypeAlias = "Callable[[Callable[[], Any]], Any]"
"""Returns what the planner answers, or what it says that it cannot plan, as an ``Exception``."""

_MAY_HAVE: Final = re.compile(r"\d\.|\.\d")
_ROWS: Final = re.compile(r"\s*INSERT\b(?!.*\b(?:SELECT|FROM|TABLE)\b)", re.IGNORECASE | re.DOTALL)
"""Rows of an INSERT: each value becomes its column's type, and meets no other."""

_FRAMES: Final = frozenset({"PRECEDING", "FOLLOWING"})
"""What stands behind a number of a window's frame, which must be written out."""

_LIST: Final = re.compile(r"(?:array|list)_", re.IGNORECASE)
"""How the functions begin that refuse a decimal where a list is of floats."""

_TYPE: Final = re.compile(r"\bDecimal(?:128|256)\((?:Some\(-?\d+\),|NULL,)?(\d+), ?(\d+)\)")

_MARK: Final = "CASE WHEN random() < {at} THEN {number} END"
"""A number that no optimizer computes, and that says which one it is; its type is the number's."""

_MARKED: Final = re.compile(
    r"CAST\((?:\(- )?CASE WHEN random\(\) < \w+\((\d+)\) THEN (?:(?! END).)* END\)? "
    r"AS Decimal(?:128|256)\((\d+), ?(\d+)\)\)"
)
"""Such a number, brought to another decimal, as DataFusion 54.1 prints it."""

_WHOLE, _DOUBLE, _REAL = 20, 15, 7
"""Digits before the point: of a BIGINT as a decimal, of a DOUBLE, and of a REAL."""

NARROWED_MAX: Final = 8
"""Of so many numbers of which the plan does not say what they meet each is looked at; more of them
are floats together or not at all."""

PLANNED_MAX: Final = 7 + NARROWED_MAX


def pointed(
    text: str, values: Mapping[str, Any], plan: Plan, answered: Answered
) -> tuple[Written, DataFrame]:
    """Return how a statement is planned, with numbers as floats where they meet some, and the plan.

    Args:
        text: The statement.
        values: Its parameters, as Arrow's scalars.
        plan: Plans one.
        answered: Asks for a plan.
    """
    given = {name for name, value in values.items() if pt.is_decimal(value.type)}
    if not given and (_MAY_HAVE.search(text) is None or _ROWS.match(text) is not None):
        return Written(text), plan(text, values)
    numbers = list(_numbers(tokenize(text), given))
    if not numbers:
        return Written(text), plan(text, values)
    return _Statement(text, values, numbers, plan, answered).planned()


def floats_met(frame: DataFrame, digits: int, answered: Answered) -> float:
    """Return how often a plan brings a float to a decimal.

    Args:
        frame: The plan.
        digits: How many digits a number of the statement has behind the point at most.
        answered: Asks what becomes of it.

    Whatever else is found wrong is said where the plan runs.
    """
    told = answered(partial(_told, frame))
    if isinstance(told, Exception):
        return inf if _is_of_decimals(told) else 0
    found = ((int(size), int(scale)) for size, scale in _TYPE.findall(told))
    return sum(_is_of_float(size, scale, digits) for size, scale in found)


def _told(frame: DataFrame) -> str:
    """Return a plan as it is printed once types are brought together."""
    text: str = frame.optimized_logical_plan().display_indent()
    return text


class _Number(NamedTuple):
    """A number that may be a float.

    Attributes:
        tokens: Where it stands: once if it is written out, as a parameter perhaps more often.
        parameter: Which parameter it is; empty if it is none.
        is_of_list: Whether it is in the bracket of a function of lists.
    """

    tokens: tuple[Token, ...]
    parameter: str
    is_of_list: bool


def _numbers(tokens: Sequence[Token], given: Iterable[str]) -> Iterator[_Number]:
    """Yield the numbers of a statement, and those of its parameters that are ``given`` decimals."""
    placed: dict[str, list[Token]] = {name: [] for name in given}
    of_lists = set[str]()
    is_of_list = [False]
    for at, token in enumerate(tokens):
        name = token.text[1:]
        if token.kind == "symbol" and token.text in OPENING:
            is_of_list.append(at > 0 and _LIST.match(tokens[at - 1].name or "") is not None)
        elif token.kind == "symbol" and token.text in CLOSING and len(is_of_list) > 1:
            is_of_list.pop()
        elif token.kind == "placeholder" and name in placed:
            placed[name].append(token)
            of_lists |= {name} if is_of_list[-1] else set()
        elif token.kind == "number" and "." in token.text and "e" not in token.text.lower():
            behind = tokens[at + 1].keyword if at + 1 < len(tokens) else ""
            if behind not in _FRAMES:
                yield _Number((token,), "", is_of_list[-1])
    for name, each in placed.items():
        yield _Number(tuple(each), name, name in of_lists)


class _Try(NamedTuple):
    """A statement planned with some numbers as floats.

    Attributes:
        floats: Which ones.
        frame: The plan, or why there is none.
        met: How often it brings a float to a decimal.
    """

    floats: frozenset[int]
    frame: DataFrame | Exception
    met: float


class _Statement:
    """A statement, and its numbers that may be floats."""

    def __init__(
        self,
        text: str,
        values: Mapping[str, Any],
        numbers: Sequence[_Number],
        plan: Plan,
        answered: Answered,
    ) -> None:
        self._text = text
        self._values = values
        self._numbers = numbers
        self._plan = plan
        self._answered = answered
        self._digits = max(self._digits_of(number) for number in numbers)

    def planned(self) -> tuple[Written, DataFrame]:
        exact = self._tried(frozenset())
        if isinstance(exact.frame, Exception) and not _is_of_decimals(exact.frame):
            raise exact.frame
        best = self._best(exact) if exact.met else exact
        if isinstance(best.frame, Exception):
            raise best.frame
        return Written(*self._with(best.floats), best.met, self._digits), best.frame

    def _best(self, exact: _Try) -> _Try:
        """Return the plan with as few floats as it takes; the exact one if none is better."""
        best, every = exact, frozenset(range(len(self._numbers)))
        of_lists = frozenset(at for at in every if self._numbers[at].is_of_list)
        for floats in (of_lists, every):
            if best.met == inf:
                best = self._better(best, floats)
        if 0 < best.met < inf:
            best = self._better(best, best.floats | self._marked(best.floats))
        return self._narrowed(best, every) if 0 < best.met < inf else best

    def _better(self, best: _Try, floats: frozenset[int]) -> _Try:
        tried = best if floats == best.floats else self._tried(floats)
        return tried if tried.met < best.met else best

    def _narrowed(self, best: _Try, every: frozenset[int]) -> _Try:
        """Try the numbers that nothing is known of, and leave out those that it is as well without.

        One may be part of what is brought together, or be read from a query within.
        """
        unknown = sorted(every - best.floats)
        now = self._tried(every) if unknown else best
        for at in unknown if len(unknown) <= NARROWED_MAX else ():
            without = self._tried(now.floats - {at})
            if without.met <= now.met:
                now = without
        return now if now.met < best.met else best

    def _tried(self, floats: frozenset[int]) -> _Try:
        written = Written(*self._with(floats))
        given = written.given(self._values)
        frame = self._answered(partial(self._plan, written.text, given))
        is_none = isinstance(frame, Exception)
        met = inf if is_none else floats_met(frame, self._digits, self._answered)
        return _Try(floats, frame, met)

    def _marked(self, floats: frozenset[int]) -> frozenset[int]:
        """Return which of the other numbers are brought to what a float is brought to.

        A query whose GROUP BY says the same as its columns says so only if equal ones are marked
        alike.
        """
        others = [at for at in range(len(self._numbers)) if at not in floats]
        alike = {self._shown(at): at for at in others}
        for marks in ({at: at for at in others}, {at: alike[self._shown(at)] for at in others}):
            text, names = self._with(floats, marks)
            given = Written(text, names).given(self._values)
            frame = self._answered(partial(self._plan, text, given))
            told = frame if isinstance(frame, Exception) else self._answered(partial(_told, frame))
            if not isinstance(told, Exception):
                found = {
                    int(mark)
                    for mark, size, scale in _MARKED.findall(told)
                    if _is_of_float(int(size), int(scale), self._digits)
                }
                return frozenset(at for at, mark in marks.items() if mark in found)
        return frozenset()

    def _with(
        self, floats: Iterable[int], marks: Mapping[int, int] = MappingProxyType({})
    ) -> tuple[str, frozenset[str]]:
        """Return the statement with some numbers as floats, and others marked.

        Of the numbers that are floats the parameters are given back by name.
        """
        edits: list[Edit] = []
        names = set[str]()
        for at in floats:
            number = self._numbers[at]
            if number.parameter:
                names.add(number.parameter)
            else:
                [token] = number.tokens
                edits.append((token.start, token.end, f"CAST('{token.text}' AS DOUBLE)"))
        for at, mark in marks.items():
            edits += [
                (token.start, token.end, _MARK.format(at=mark, number=token.text))
                for token in self._numbers[at].tokens
            ]
        return edited(self._text, edits), frozenset(names)

    def _shown(self, at: int) -> str:
        return self._numbers[at].parameter or self._numbers[at].tokens[0].text

    def _digits_of(self, number: _Number) -> int:
        """Return how many digits a number has behind the point."""
        if number.parameter:
            scale: int = self._values[number.parameter].type.scale
            return scale
        return len(number.tokens[0].text.partition(".")[2].replace("_", ""))


def _is_of_float(size: int, scale: int, digits: int) -> bool:
    """Return whether a decimal may be what DataFusion makes of a float and a number.

    Args:
        size: How many digits it has.
        scale: How many of them are behind the point.
        digits: How many a number of the statement has there at most.
    """
    if digits < scale and scale in {_DOUBLE, _REAL}:
        return True
    whole = size - scale
    if whole == _REAL:
        return scale >= _REAL
    return scale >= _DOUBLE and whole >= _DOUBLE and whole != _WHOLE


def _is_of_decimals(error: Exception) -> bool:
    return "Decimal" in str(error)
