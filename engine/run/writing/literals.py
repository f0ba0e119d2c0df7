"""Rows of VALUES that are read as they stand: literals and parameters that have a column's type.

Rules:
    - What is read here is what DataFusion makes of the same text. What it would compute, round,
      parse or cast in another way than these few is not here, and planned.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.lexer import tokenize
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
    types = [schema.field(name).type for name in given]
    try:
        columns = _columns(source.tokens, types, params)
        arrays = {
            name: pa.array(values, kind)
            for name, kind, values in zip(given, types, columns, strict=True)
        }
    except (_PlannedError, AffidavitError, pa.ArrowException, OverflowError, UnicodeError):
        return None
    count = len(columns[0])
    return pa.RecordBatch.from_arrays(
        [arrays.get(each.name, pa.nulls(count, each.type)) for each in schema], schema=schema
    )


def literal_value(text: str, kind: pa.DataType, params: Params) -> pa.Scalar | None:
    """Return the value for a column that an expression is as it stands; ``None`` to plan it."""
    try:
        tokens = tokenize(text)
        is_negative = bool(tokens) and tokens[0].text == "-"
        if len(tokens) != 1 + is_negative:
            return None
        values = [_value(_reader(kind), kind, params, tokens[-1], is_negative=is_negative)]
        if pt.is_float64(kind):
            _check_alike(values)
        return pa.array(values, kind)[0]
    except (_PlannedError, AffidavitError, pa.ArrowException, OverflowError, UnicodeError):
        return None


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
            is_negative = at < end and tokens[at].text == "-"
            at += is_negative
            if at + 1 >= end or tokens[at + 1].text != (")" if place == last else ","):
                raise _PlannedError
            columns[place].append(each(tokens[at], is_negative=is_negative))
            at += 2
        if at < end and (tokens[at].text != "," or at + 1 == end):
            raise _PlannedError
        at += 1
    if at == 1:
        raise _PlannedError
    for kind, values in zip(types, columns, strict=True):
        if pt.is_float64(kind):
            _check_alike(values)
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
    if token.kind == "string" and token.text[0] == "'" and is_text(kind):
        return token.text[1:-1].replace("''", "'")
    raise _PlannedError


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


def _double(text: str) -> Decimal | int:
    """Return a number that is a double: as it is written, for its digits count."""
    if _WHOLE.fullmatch(text) is not None:
        return int(text)
    if _POINTED.fullmatch(text) is None:
        raise _PlannedError
    return Decimal(text)


def _decimal(kind: pa.DataType, text: str) -> Decimal:
    pointed = _POINTED.fullmatch(text)
    digits = len(text)
    if digits > DIGITS_MAX or (pointed is None and _WHOLE.fullmatch(text) is None):
        raise _PlannedError
    if pointed is not None and len(pointed[2]) > kind.scale:
        raise _PlannedError  # which is rounded
    return Decimal(text)


def _check_alike(values: list[Any]) -> None:
    """Make doubles of numbers which are decimals of one scale first, where nothing is lost."""
    scale = max(
        (-int(each.as_tuple().exponent) for each in values if isinstance(each, Decimal)), default=0
    )
    for at, each in enumerate(values):
        if isinstance(each, Decimal | int):
            if abs(each) >= 10 ** (DIGITS_MAX - scale):
                raise _PlannedError
            values[at] = float(each)


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
