"""Numbers with a point that meet a float are floats.

They are decimals, which keep their digits; so is a parameter that is a ``Decimal``. But a float
that is compared with a decimal, or stands in one column with it, is brought to DECIMAL(30, 15) by
DataFusion 54.1, or DECIMAL(14, 7): what is smaller becomes 0, what is larger, and NaN, an error.
Its functions of lists take no decimal where a list is of floats. What a number meets is told from
the plan as it is once types are brought together.

Rules:
    - A number that meets no float stays a decimal, whatever the others of its statement meet.
"""

from __future__ import annotations

import re
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.lexer import edited, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from datafusion import DataFrame

    from affidavit.catalog.sql.lexer import Token

Plan: TypeAlias = "Callable[[str, Mapping[str, Any]], DataFrame]"

_MAY_HAVE: Final = re.compile(r"\d\.|\.\d")
_ROWS: Final = re.compile(r"\s*INSERT\b(?!.*\b(?:SELECT|FROM|TABLE)\b)", re.IGNORECASE | re.DOTALL)
"""Rows of an INSERT: each value becomes its column's type, and meets no other."""

_TYPE: Final = re.compile(r"\bDecimal(?:128|256)\((?:Some\(-?\d+\),|NULL,)?(\d+), ?(\d+)\)")

_WHOLE, _DOUBLE, _REAL = 20, 15, 7
"""Digits before the point: of a BIGINT as a decimal, of a DOUBLE, and of a REAL."""

TRIED_MAX: Final = 64
"""How often a statement with numbers that meet floats is planned; then all of them are floats."""

TOGETHER_MAX: Final = 16
"""Of so many numbers that are floats together each is looked at."""


def pointed(text: str, values: Mapping[str, Any], plan: Plan) -> DataFrame:
    """Return the plan of a statement, with numbers as floats where they meet some.

    Args:
        text: The statement.
        values: Its parameters, as Arrow's scalars.
        plan: Plans one with parameters.
    """
    given = [name for name, value in values.items() if pt.is_decimal(value.type)]
    if not given and (_MAY_HAVE.search(text) is None or _ROWS.match(text) is not None):
        return plan(text, values)
    numbers: list[Token | str] = [
        token
        for token in tokenize(text)
        if token.kind == "number" and "." in token.text and "e" not in token.text.lower()
    ]
    numbers += given
    return _Statement(text, values, numbers, plan).planned() if numbers else plan(text, values)


class _Statement:
    """A statement, and its numbers that may be floats: written out, or parameters by name."""

    def __init__(
        self, text: str, values: Mapping[str, Any], numbers: Sequence[Token | str], plan: Plan
    ) -> None:
        self._text = text
        self._values = values
        self._numbers = numbers
        self._plan = plan
        self._digits = max(
            values[number].type.scale if isinstance(number, str) else _digits(number.text)
            for number in numbers
        )

    def planned(self) -> DataFrame:
        try:
            exact = self._plan(self._text, self._values)
        except Exception as error:
            found = self._with_floats(inf) if _is_of_decimals(error) else None
            if found is None:
                raise
            return found
        met = self._floats_met(exact)
        found = self._with_floats(met) if met else None
        return exact if found is None else found

    def _with_floats(self, met: float) -> DataFrame | None:
        """Return the plan with as few floats as it takes; ``None`` if they make it no better."""
        best, least, floats = None, met, frozenset[int]()
        for window in _windows(len(self._numbers)):
            here = floats.union(window)
            if not least or here == floats:
                continue
            tried, now = self._tried(here)
            if tried is None or now >= least:
                continue
            best, least, floats = tried, now, here
            for at in window if 1 < len(window) <= TOGETHER_MAX else ():
                tried, now = self._tried(floats - {at})
                if tried is not None and now <= least:
                    best, floats = tried, floats - {at}
        return best

    def _tried(self, floats: Collection[int]) -> tuple[DataFrame | None, float]:
        """Return the plan with some numbers as floats, and how many floats meet decimals there."""
        edits, values = list[tuple[int, int, str]](), dict(self._values)
        for number in (self._numbers[at] for at in floats):
            if isinstance(number, str):
                values[number] = values[number].cast(pa.float64())
            else:
                edits.append((number.start, number.end, f"CAST('{number.text}' AS DOUBLE)"))
        try:
            frame = self._plan(edited(self._text, edits), values)
        except Exception:  # noqa: BLE001 - whatever it is, the statement is no better so
            return None, inf
        return frame, self._floats_met(frame)

    def _floats_met(self, frame: DataFrame) -> float:
        """Return how often a plan brings a float to a decimal."""
        try:
            told = frame.optimized_logical_plan().display_indent()
        except Exception as error:  # noqa: BLE001 - what is found wrong is said where the plan runs
            return inf if _is_of_decimals(error) else 0
        found = ((int(size), int(scale)) for size, scale in _TYPE.findall(told))
        return sum(_is_of_float(size, scale, self._digits) for size, scale in found)


def _digits(text: str) -> int:
    """Return how many digits a number has behind the point."""
    return len(text.partition(".")[2].replace("_", ""))


def _windows(count: int) -> Iterator[range]:
    """Yield what may meet one float: numbers beside each other, as in IN, BETWEEN or VALUES."""
    sizes = sorted({*range(1, 9), *(1 << power for power in range(3, count.bit_length()))})
    each = (
        range(start, start + size)
        for start in range(count)
        for size in sizes
        if start + size <= count
    )
    yield from islice(each, TRIED_MAX)
    yield range(count)


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
