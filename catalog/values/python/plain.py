"""Rows of Python's own plain values, as a store keeps them and as JSON, without Arrow.

Rule:
    - What is here is what the codecs and :mod:`~affidavit.catalog.values.text` make of the same
      values in Arrow. What they would convert, round or refuse is not, and takes that way.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.codecs import float_bits, float_of_bits
from affidavit.catalog.values.text import NULL, float_text, quoted_json
from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from affidavit.catalog.values.types import StoreValue

    Read: TypeAlias = Callable[[Any], tuple[StoreValue, str]]
    """Returns a value as the store keeps it and as JSON text; raises NotPlainError."""

    Tell: TypeAlias = Callable[[Any], str]
    """Returns what the store keeps as JSON text; raises NotPlainError."""

    Row: TypeAlias = tuple[tuple[StoreValue, ...], tuple[str, ...]]
    """The values of a row as the store keeps them, and as JSON texts."""

Value = TypeVar("Value")

TEXT_MAX: Final = 64 * 1024
"""A longer text is not plain."""

EXACT_MAX: Final = 2**53
"""Up to here a double is every integer."""


_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - Arrow's own have no zone either
_MICROSECOND: Final = timedelta(microseconds=1)
_TRUTHS: Final = {False: "false", True: "true"}


class NotPlainError(Exception):
    """A value that is converted or refused elsewhere. No caller ever sees it."""


class Plain:
    """How the rows of a schema are read.

    Args:
        schema: The columns.
        needed: The columns that take no NULL.
    """

    def __init__(self, schema: pa.Schema, needed: Collection[str]) -> None:
        self._columns = {each.name: _reader(each.type) for each in schema}
        self._needed = frozenset(needed)
        names = [json.dumps(name, ensure_ascii=False).replace("%", "%%") for name in schema.names]
        self._template = "{" + ",".join(f"{name}:%s" for name in names) + "}"

    def value(self, name: str, value: object) -> tuple[StoreValue, str]:
        """Return a column's value as the store keeps it, and as JSON text.

        Raises:
            NotPlainError: It is not plain, or NULL where that cannot be.
        """
        if value is not None:
            return self._columns[name][0](value)
        if name in self._needed:
            raise NotPlainError
        return None, NULL

    def row(self, given: Mapping[str, Any]) -> Row:
        """Return a row, NULL for what is not given.

        Raises:
            NotPlainError: Something in it is not plain, or a column needs a value.
        """
        if not given.keys() <= self._columns.keys():
            raise NotPlainError
        kept, texts = zip(
            *(self.value(each, given.get(each)) for each in self._columns), strict=True
        )
        return kept, texts

    def told(self, kept: Sequence[StoreValue]) -> tuple[str, ...]:
        """Return a row that the store keeps as JSON texts.

        Raises:
            NotPlainError: A value is not plain.
        """
        columns = zip(self._columns.values(), kept, strict=True)
        return tuple(NULL if value is None else tell(value) for (_, tell), value in columns)

    def text(self, texts: Sequence[str]) -> str:
        """Return a row as one JSON object."""
        return self._template % tuple(texts)


def _reader(kind: pa.DataType) -> tuple[Read, Tell]:
    """Return what reads a value of a type, and what tells one that the store keeps."""
    if pt.is_integer(kind) and not pt.is_uint64(kind):
        signed, bits = pt.is_signed_integer(kind), kind.bit_width
        low, high = -(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1
        return partial(_integer, low, high), _told_integer
    if pt.is_float64(kind):
        return _double, _told_double
    if pt.is_boolean(kind):
        return _truth, _told_truth
    if pt.is_timestamp(kind) and kind.unit == "us" and kind.tz is None:
        return _moment, _told_moment
    return (_text, _told_text) if is_text(kind) else (_refuse, _refuse)


def _refuse(_: object) -> NoReturn:
    raise NotPlainError


def _of_type(kind: type[Value], value: object) -> Value:
    if type(value) is not kind:
        raise NotPlainError
    return value


def _integer(low: int, high: int, value: object) -> tuple[int, str]:
    number = _of_type(int, value)
    if not low <= number <= high:
        raise NotPlainError
    return number, str(number)


def _told_integer(kept: object) -> str:
    return str(_of_type(int, kept))


def _double(value: object) -> tuple[int, str]:
    if type(value) is int and -EXACT_MAX <= value <= EXACT_MAX:
        value = float(value)
    number = _of_type(float, value)
    if number != number:  # noqa: PLR0124 - of NaN there are many
        raise NotPlainError
    return float_bits(number), float_text(number)


def _told_double(kept: object) -> str:
    return float_text(float_of_bits(_of_type(int, kept)))


def _truth(value: object) -> tuple[int, str]:
    is_true = _of_type(bool, value)
    return int(is_true), _TRUTHS[is_true]


def _told_truth(kept: object) -> str:
    return _TRUTHS[bool(_of_type(int, kept))]


def _moment(value: object) -> tuple[int, str]:
    moment = _of_type(datetime, value)
    if moment.tzinfo is not None:
        raise NotPlainError
    return (moment - _EPOCH) // _MICROSECOND, _moment_text(moment)


def _told_moment(kept: object) -> str:
    try:
        return _moment_text(_EPOCH + _of_type(int, kept) * _MICROSECOND)
    except OverflowError:
        raise NotPlainError from None


def _moment_text(moment: datetime) -> str:
    return f'"{moment.isoformat(" ", "microseconds")}"'


def _text(value: object) -> tuple[str, str]:
    text = _of_type(str, value)
    return text, _told_text(text)


def _told_text(kept: object) -> str:
    text = _of_type(str, kept)
    if len(text) > TEXT_MAX:
        raise NotPlainError
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotPlainError from None
    return quoted_json(text)
