"""Filters as Arrow writes them, read as predicates.

DataFusion hands a provider its filters as a ``pyarrow.compute.Expression``, which has no public
accessors, so it is read through its serialised form: an Arrow IPC schema whose metadata is the
expression in prefix order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sql.predicate import (
    And,
    Compare,
    CompareColumns,
    Constant,
    In,
    IsNull,
    IsTrue,
    Not,
    Or,
    Predicate,
)
from affidavit.errors import UnsupportedPredicateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow.compute as pc

_COMPARE: Final = {
    "equal": "=",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_FLIPPED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class _CSchema(ctypes.Structure):
    """The head of the Arrow C data interface's ``struct ArrowSchema``."""

    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", ctypes.c_void_p),
    )


def _metadata_pairs(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return the schema's metadata in order: ``Schema.metadata`` drops repeated keys."""
    capsule = schema.__arrow_c_schema__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    at = _CSchema.from_address(pointer(capsule, b"arrow_schema")).metadata

    def number() -> int:
        nonlocal at
        value = ctypes.c_int32.from_address(at).value
        at += 4
        return value

    def text() -> str:
        nonlocal at
        size = number()
        raw = ctypes.string_at(at, size)
        at += size
        return raw.decode()

    return [(text(), text()) for _ in range(number())] if at else []


@dataclass(frozen=True, slots=True)
class _Field:
    name: str


@dataclass(frozen=True, slots=True)
class _Literal:
    value: pa.Scalar


_Operand = Predicate | _Field | _Literal


class _Reader:
    """One pass over an expression in prefix order."""

    def __init__(self, expression: pc.Expression) -> None:
        _, (buffer,) = expression.__reduce__()
        with pa.ipc.open_file(buffer) as file:
            self._pairs = _metadata_pairs(file.schema)
            self._values = file.get_batch(0)
        self._at = 0

    def read(self) -> _Operand:
        key, value = self._next()
        if key == "field_ref":
            return _Field(value)
        if key == "literal":
            return _Literal(self._values.column(int(value))[0])
        if key != "call":
            msg = f"a filter has a {key}, which no provider can evaluate"
            raise UnsupportedPredicateError(msg)
        operands: list[_Operand] = []
        options: pa.Scalar | None = None
        while self._pairs[self._at][0] != "end":
            if self._pairs[self._at][0] == "options":
                options = self._values.column(int(self._next()[1]))[0]
            else:
                operands.append(self.read())
        self._next()
        return _call(value, operands, options)

    def _next(self) -> tuple[str, str]:
        pair = self._pairs[self._at]
        self._at += 1
        return pair


def read_expression(expression: pc.Expression | pa.Scalar) -> Predicate:
    """Return ``expression`` as a :data:`Predicate`; a constant filter arrives as a scalar.

    Raises:
        UnsupportedPredicateError: It has a part that DataFusion does not push down.
    """
    if isinstance(expression, pa.Scalar):
        return Constant(expression.as_py())
    return _predicate(_Reader(expression).read())


def _predicate(operand: _Operand) -> Predicate:
    if isinstance(operand, _Field):
        return IsTrue(operand.name)
    if isinstance(operand, _Literal):
        return Constant(operand.value.as_py())
    return operand


def _call(function: str, operands: Sequence[_Operand], options: pa.Scalar | None) -> Predicate:
    match function, operands:
        case (("and_kleene" | "or_kleene"), _):
            connect = And if function == "and_kleene" else Or
            return connect(tuple(_predicate(each) for each in operands))
        case "invert", [operand]:
            return Not(_predicate(operand))
        case "is_null", [_Field(name)]:
            return IsNull(name)
        case "is_valid", [_Field(name)]:
            return Not(IsNull(name))
        case "is_in", [_Field(name)] if options is not None:
            values = options["value_set"].values
            return In(name, tuple(values.drop_null()), has_null=values.null_count > 0)
        case _, [_Field(name), _Literal(value)] if function in _COMPARE:
            return Compare(_COMPARE[function], name, value)
        case _, [_Literal(value), _Field(name)] if function in _COMPARE:
            return Compare(_FLIPPED[_COMPARE[function]], name, value)
        case _, [_Field(left), _Field(right)] if function in _COMPARE:
            return CompareColumns(_COMPARE[function], left, right)
    msg = f"a filter calls {function}, which no provider can evaluate"
    raise UnsupportedPredicateError(msg)
