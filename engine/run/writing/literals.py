"""Rows of VALUES that are read as they stand: literals and parameters that have a column's type.

Rules:
    - What is read here is what DataFusion makes of the same text. What it would compute, round,
      parse or cast in another way than these few is not here, and planned.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.values.python.plain import NotPlainError
from affidavit.catalog.values.types import is_text
from affidavit.engine.statement.parameters import arrow_params
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.run.scope import Params
    from affidavit.engine.statement.statement import Part

DIGITS_MAX: Final = 15
"""A number of so many digits is the same as a decimal and as a double."""

_WHOLE: Final = re.compile(r"\d{1,19}")
_POINTED: Final = re.compile(r"(\d{0,15})\.(\d{0,15})")
_NUMBER: Final = re.compile(r"\d{1,19}|(?=[\d.]{2,38}$)\d{1,19}\.\d{0,30}")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.(?:\d{3}|\d{6}))?")
YEAR_MIN: Final = 1700
YEAR_MAX: Final = 2200
"""The years of which nanoseconds are counted in 64 bits."""

_TYPED: Final = {
    "DATE": pt.is_date32,
    "TIMESTAMP": pt.is_timestamp,
}
"""What may stand before a text, and the columns that it is a value of as it stands."""

_TRUTHS: Final = {"TRUE": True, "FALSE": False}


class _PlannedError(Exception):
    """Something is there that is to be planned."""


def literal_rows(
    source: Part, given: Sequence[str], schema: pa.Schema, params: Params
) -> pa.RecordBatch | None:
    """Return the rows of a VALUES with NULL for what is not given; ``None`` if it is to be planned.

    Args:
        source: What follows INSERT INTO t (...).
        given: The columns that it gives, in their order.
        schema: The table's columns, which may be NULL here.
        params: The statement's.
    """
    columns = literal_columns(source, given, schema, params)
    if columns is None:
        return None
    try:
        arrays = {
            name: pa.array(values, schema.field(name).type) for name, values in columns.items()
        }
    except (AffidavitError, pa.ArrowException, OverflowError, ValueError):
        return None
    count = len(columns[given[0]])
    return pa.RecordBatch.from_arrays(
        [arrays.get(each.name, pa.nulls(count, each.type)) for each in schema], schema=schema
    )


def literal_columns(
    source: Part, given: Sequence[str], schema: pa.Schema, params: Params
) -> dict[str, list[Any]] | None:
    """Return the values of a VALUES by column; ``None`` if it is to be planned."""
    types = [schema.field(name).type for name in given]
    try:
        return dict(zip(given, _columns(source.tokens, types, params), strict=True))
    except (_PlannedError, AffidavitError, pa.ArrowException, OverflowError, ValueError):
        return None


def literal_value(text: str, kind: pa.DataType, params: Params) -> pa.Scalar | None:
    """Return the value for a column that an expression is as it stands; ``None`` to plan it."""
    try:
        return pa.array([_alone(text, kind, params)], kind)[0]
    except (_PlannedError, AffidavitError, pa.ArrowException, OverflowError, ValueError):
        return None


def plain_value(text: str, kind: pa.DataType, params: Params) -> object:
    """Return the same as a value of Python's.

    Raises:
        NotPlainError: It is to be planned.
    """
    try:
        return _alone(text, kind, params)
    except (_PlannedError, AffidavitError, pa.ArrowException, OverflowError, ValueError):
        raise NotPlainError from None


def _alone(text: str, kind: pa.DataType, params: Params) -> object:
    tokens = tokenize(text)
    is_negative = bool(tokens) and tokens[0].text == "-"
    if len(tokens) != 1 + is_negative:
        raise _PlannedError
    return _value(_reader(kind), kind, params, tokens[-1], is_negative=is_negative)


def _columns(
    tokens: Sequence[Token], types: Sequence[pa.DataType], params: Params
) -> list[list[Any]]:
    """Return the values of each column."""
    if not tokens or tokens[0].keyword != "VALUES":
        raise _PlannedError
    read = [partial(_value, _reader(kind), kind, params) for kind in types]
    columns: list[list[Any]] = [[] for _ in types]
    at, end, last = 1, len(tokens), len(types) - 1
    while at < end:
        if tokens[at].text != "(":
            raise _PlannedError
        at += 1
        for place, each in enumerate(read):
            before = tokens[at].keyword if at < end else ""
            is_negative = at < end and tokens[at].text == "-"
            is_typed = before in _TYPED and at + 1 < end and tokens[at + 1].kind == "string"
            if is_typed and not _TYPED[before](types[place]):
                raise _PlannedError
            at += is_negative or is_typed
            if at + 1 >= end or tokens[at + 1].text != (")" if place == last else ","):
                raise _PlannedError
            columns[place].append(each(tokens[at], is_negative=is_negative))
            at += 2
        if at < end and (tokens[at].text != "," or at + 1 == end):
            raise _PlannedError
        at += 1
    if at == 1:
        raise _PlannedError
    return columns


def _value(
    read: Callable[[str], Any],
    kind: pa.DataType,
    params: Params,
    token: Token,
    *,
    is_negative: bool,
) -> Any:  # noqa: ANN401 - any value
    if token.keyword == "NULL" and not is_negative:
        return None
    if token.kind == "placeholder" and not is_negative:
        name = token.text[1:]
        if name not in params:
            raise _PlannedError
        return _parameter(params[name], kind)
    if token.kind == "number":
        number = read(token.text)
        return -number if is_negative and number else number
    if is_negative:
        raise _PlannedError
    if pt.is_boolean(kind) and token.keyword in _TRUTHS:
        return _TRUTHS[token.keyword]
    if token.kind != "string" or token.text[0] != "'":
        raise _PlannedError
    if is_text(kind):
        return token.text[1:-1].replace("''", "'")
    return _moment(token.text[1:-1], kind)


def _reader(kind: pa.DataType) -> Callable[[str], Any]:
    """Return what reads a number for a column."""
    if pt.is_integer(kind):
        return _integer
    if pt.is_float64(kind):
        return _double
    if pt.is_decimal128(kind):
        return partial(_decimal, kind)
    return _refuse


def _refuse(_: str) -> None:
    raise _PlannedError


def _integer(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise _PlannedError
    return int(text)


def _double(text: str) -> float:
    """Return the double that is nearest to what is written."""
    if _NUMBER.fullmatch(text) is None:
        raise _PlannedError
    return float(text)


def _moment(text: str, kind: pa.DataType) -> dt.date:
    """Return a date or time that is written as all write it, and that every unit has."""
    if pt.is_date32(kind) and _DAY.fullmatch(text):
        return dt.date.fromisoformat(text)
    is_plain = pt.is_timestamp(kind) and kind.tz is None and kind.unit in {"us", "ns"}
    if not is_plain or not (_TIME.fullmatch(text) or _DAY.fullmatch(text)):
        raise _PlannedError
    moment = dt.datetime.fromisoformat(text)
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise _PlannedError
    return moment


def _decimal(kind: pa.DataType, text: str) -> Decimal:
    pointed = _POINTED.fullmatch(text)
    digits = len(text)
    if digits > DIGITS_MAX or (pointed is None and _WHOLE.fullmatch(text) is None):
        raise _PlannedError
    if pointed is not None and len(pointed[2]) > kind.scale:
        raise _PlannedError  # which is rounded
    return Decimal(text)


def _parameter(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - as above
    """Return a parameter's value for a column."""
    if value is None:
        return None
    is_whole = type(value) is int
    if is_whole and (pt.is_integer(kind) or pt.is_float64(kind)):
        return value
    if type(value) is float and pt.is_float64(kind):
        return value
    if type(value) is bool and pt.is_boolean(kind):
        return value
    if type(value) is str and is_text(kind):
        return value
    if pt.is_temporal(kind) or pt.is_binary(kind):
        scalar = arrow_params({"value": value})["value"]
        if scalar.type == kind:
            return value
    raise _PlannedError
