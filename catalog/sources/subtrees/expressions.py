"""Expressions over the columns of a relation, whose types are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pyarrow.types as pt

from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ColumnAt:
    """A column of the relation that an expression is over, by its place.

    Over a join the columns of the right side follow those of the left one.
    """

    at: int
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class Constant:
    """A value."""

    value: pa.Scalar

    @property
    def type(self) -> pa.DataType:
        """Its type."""
        return self.value.type


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator of arguments.

    Attributes:
        name: Its name, in lower case: an operator by its sign, and ``cast``, ``case`` (a condition
            and a value in turn, then what else it is), ``in``, ``like``, ``is null``, ``year``.
        arguments: What it is given.
        type: What it gives.
    """

    name: str
    arguments: tuple[Expression, ...]
    type: pa.DataType


Expression: TypeAlias = "ColumnAt | Constant | Call"


def columns_of(expression: Expression) -> Iterator[int]:
    """Yield the places of the columns that an expression names."""
    if isinstance(expression, ColumnAt):
        yield expression.at
    elif isinstance(expression, Call):
        for each in expression.arguments:
            yield from columns_of(each)


def _is_float(kind: pa.DataType) -> bool:
    return bool(pt.is_float32(kind) or pt.is_float64(kind))


_CLASSES = {
    "integer": pt.is_integer, "decimal": pt.is_decimal, "float": _is_float, "text": is_text,
    "date": pt.is_date32, "moment": pt.is_timestamp, "truth": pt.is_boolean,
}  # fmt: skip


def class_of(kind: pa.DataType) -> str:
    """Return which class of types one is of, as SQL compares them; empty for any other."""
    return next((name for name, holds in _CLASSES.items() if holds(kind)), "")
