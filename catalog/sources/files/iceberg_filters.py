"""Filters in pyiceberg's words: they select no less, and all of a filter is asked again here."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql import predicate as p
from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from affidavit.catalog.sql.predicate import Predicate

DECIMAL_DIGITS_MAX: Final = 28
"""What Python's decimals keep: pyiceberg rounds longer ones."""

IN_VALUES_MAX: Final = 200
"""A longer IN list is not sent: pyiceberg's own planning asks no more values of a file either."""

_OPERATORS: Final = {
    "=": "EqualTo", "!=": "NotEqualTo", "<": "LessThan", "<=": "LessThanOrEqual",
    ">": "GreaterThan", ">=": "GreaterThanOrEqual",
}  # fmt: skip


def row_filter(
    words: Any,  # noqa: ANN401 - the module pyiceberg.expressions
    predicate: Predicate | None,
    types: Mapping[str, pa.DataType],
) -> Any:  # noqa: ANN401 - pyiceberg's
    """Return a filter that selects no less than ``predicate``.

    Args:
        words: What filters are made of.
        predicate: What the rows must meet.
        types: The columns that pyiceberg may be asked of.
    """
    parts = p.conjuncts(predicate) if predicate is not None else ()
    found = (_condition(words, part, types) for part in parts)
    return _all_of(words, [each for each in found if each is not None])


def _all_of(words: Any, conditions: Iterable[Any]) -> Any:  # noqa: ANN401 - as above
    every = words.AlwaysTrue()
    for each in conditions:
        every = words.And(every, each)
    return every


def _condition(words: Any, predicate: Predicate, types: Mapping[str, pa.DataType]) -> Any:  # noqa: ANN401 - as above
    """Return a condition that selects no less; ``None`` if there is none.

    Nothing is sent under NOT, and no floats: statistics leave NaN out.
    """
    match predicate:
        case p.And(operands):
            found = (_condition(words, each, types) for each in operands)
            sent = [each for each in found if each is not None]
            return _all_of(words, sent) if sent else None
        case p.Or(operands):
            sent = [_condition(words, each, types) for each in operands]
            if not sent or any(each is None for each in sent):
                return None
            return reduce(words.Or, sent)
        case p.Compare(op, column, value) if column in types:
            plain = _literal(types[column], value)
            return None if plain is None else getattr(words, _OPERATORS[op])(column, plain)
        case p.In(column, values) if column in types and 0 < len(values) <= IN_VALUES_MAX:
            plains = [_literal(types[column], value) for value in values]
            return None if None in plains else words.In(column, plains)
        case p.IsNull(column) if column in types:
            return words.IsNull(column)
        case p.Not(p.IsNull(column)) if column in types:
            return words.NotNull(column)
    return None


def _literal(kind: pa.DataType, value: object) -> object:
    """Return a value as pyiceberg takes it; ``None`` where it means something else there."""
    assert isinstance(value, pa.Scalar)
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):  # a moment that Python has no name for
        return None
    if value.type != kind and not (is_text(kind) and is_text(value.type)):
        return None
    if pt.is_integer(kind) or pt.is_date32(kind) or is_text(kind):
        return plain
    if pt.is_timestamp(kind) and kind.unit == "us":
        return plain
    if pt.is_decimal(kind) and isinstance(plain, Decimal) and kind.precision <= DECIMAL_DIGITS_MAX:
        return plain.quantize(Decimal(1).scaleb(-kind.scale))
    return None
