"""Predicates handed to a store: over the values as it keeps them, as far as it means the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sql.predicate import And, Compare, CompareColumns, In, Not, Or, conjuncts
from affidavit.catalog.values.codecs import codec_for, encode_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.values.types import StoreValue

_MOMENT: Final = pa.timestamp("us", "UTC")
IN_VALUES_MAX: Final = 1000
"""A longer IN list is evaluated here instead of being sent to the store."""


def encode(predicate: Predicate, types: Mapping[str, pa.DataType]) -> Predicate | None:
    """Return ``predicate`` over the store's encoded values, or ``None`` if it must stay here."""
    match predicate:
        case And(operands) | Or(operands):
            encoded = [encode(each, types) for each in operands]
            parts = tuple(each for each in encoded if each is not None)
            return type(predicate)(parts) if len(parts) == len(operands) else None
        case Not(operand):
            inner = encode(operand, types)
            return None if inner is None else Not(inner)
        case Compare(op, column, value):
            if not (codec_for(types[column]).ordered or op in {"=", "!="}):
                return None
            return Compare(op, column, encode_scalar(types[column], value))
        case In(column, values, has_null):
            if len(values) > IN_VALUES_MAX:
                return None
            return In(column, tuple(encode_scalar(types[column], v) for v in values), has_null)
        case CompareColumns(op, left, _):
            ordered = codec_for(types[left]).ordered or op in {"=", "!="}
            return predicate if ordered else None
        case _:
            return predicate


def split(
    predicate: Predicate | None, types: Mapping[str, pa.DataType]
) -> tuple[Predicate | None, Predicate | None]:
    """Return what the store evaluates, encoded, and what is left to evaluate here.

    Their conjunction selects the rows that ``predicate`` selects.
    """
    pushed: list[Predicate] = []
    left: list[Predicate] = []
    for part in conjuncts(predicate) if predicate is not None else ():
        encoded = encode(part, types)
        if encoded is None:
            left.append(part)
        else:
            pushed.append(encoded)
    return (And(tuple(pushed)) if pushed else None, And(tuple(left)) if left else None)


def narrowing(predicate: Predicate | None, columns: Mapping[str, str]) -> tuple[Predicate, ...]:
    """Return the parts of ``predicate`` that a store table of affidavit's own can apply.

    ``columns`` maps a column to the store's column of the same values, which stands there plainly.
    """
    found: list[Predicate] = []
    for part in conjuncts(predicate) if predicate is not None else ():
        match part:
            case Compare(op, column, value) if column in columns:
                plain = _plain(value)
                if plain is not None:
                    found.append(Compare(op, columns[column], plain))
            case In(column, values, _) if column in columns:
                plains = tuple(_plain(value) for value in values)
                if None not in plains:
                    found.append(In(columns[column], plains))
    return tuple(found)


def _plain(value: object) -> int | str | None:
    """Return an Arrow scalar as the store has it; ``None`` where it has nothing like it."""
    assert isinstance(value, pa.Scalar)
    if pa.types.is_timestamp(value.type):
        try:
            return int(value.cast(_MOMENT).value)
        except (pa.ArrowException, TypeError):
            return None
    plain = value.as_py()
    return plain if isinstance(plain, int | str) and not isinstance(plain, bool) else None


def bound_values(predicate: Predicate) -> Iterator[StoreValue]:
    """Yield the values of an encoded predicate, in the order in which it is written."""
    match predicate:
        case And(operands) | Or(operands):
            for operand in operands:
                yield from bound_values(operand)
        case Not(operand):
            yield from bound_values(operand)
        case Compare(value=value):
            yield value  # type: ignore[misc]  # an encoded predicate holds store values
        case In(values=values):
            yield from values  # type: ignore[misc]  # as above
