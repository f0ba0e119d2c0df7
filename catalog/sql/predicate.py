"""Row filters: read from Arrow, pushed into the store, or evaluated here, always with SQL's NULL.

DataFusion hands a provider its filters as a ``pyarrow.compute.Expression`` and trusts that they
were applied exactly as it would have: Kleene logic, and floats compared by IEEE 754 totalOrder.
``Expression`` has no public accessors, so it is read through its serialised form: an Arrow IPC
schema whose metadata is the expression in prefix order.
"""

from __future__ import annotations

import ctypes
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.arrays import take
from affidavit.catalog.values.codecs import codec_for, encode_scalar
from affidavit.errors import UnsupportedPredicateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.values.types import StoreValue

_MOMENT: Final = pa.timestamp("us", "UTC")
IN_VALUES_MAX: Final = 1000
"""A longer IN list is evaluated here instead of being sent to the store."""


@dataclass(frozen=True, slots=True)
class Compare:
    """``column op value``; ``value`` is an Arrow scalar, or a store value once encoded."""

    op: str  # one of = != < <= > >=
    column: str
    value: object


@dataclass(frozen=True, slots=True)
class CompareColumns:
    """``left op right`` for two columns of one type."""

    op: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class In:
    """``column IN (values)``; a NULL among the values makes a miss NULL."""

    column: str
    values: tuple[object, ...]
    has_null: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS NULL``."""

    column: str


@dataclass(frozen=True, slots=True)
class IsTrue:
    """A boolean column by itself."""

    column: str


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE, FALSE or NULL."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Not:
    """``NOT operand``."""

    operand: Predicate


@dataclass(frozen=True, slots=True)
class And:
    """All operands, Kleene."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any operand, Kleene."""

    operands: tuple[Predicate, ...]


Predicate = Compare | CompareColumns | In | IsNull | IsTrue | Constant | Not | And | Or

_COMPARE: Final = {
    "equal": "=",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_FLIPPED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PYTHON: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_KERNELS: Final = {op: getattr(pc, name) for name, op in _COMPARE.items()}


# --- reading an expression ---------------------------------------------------------------------


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


# --- pushing it into a store -------------------------------------------------------------------


def conjuncts(predicate: Predicate) -> tuple[Predicate, ...]:
    """Return the predicates that ``predicate`` is the AND of."""
    if isinstance(predicate, And):
        return tuple(each for operand in predicate.operands for each in conjuncts(operand))
    return (predicate,)


def columns_of(predicate: Predicate) -> set[str]:
    """Return the names of the columns that ``predicate`` reads."""
    match predicate:
        case And(operands) | Or(operands):
            return set().union(*map(columns_of, operands))
        case Not(operand):
            return columns_of(operand)
        case CompareColumns(_, left, right):
            return {left, right}
        case Constant():
            return set()
        case Compare(column=name) | In(column=name) | IsNull(name) | IsTrue(name):
            return {name}


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


# --- evaluating it here ------------------------------------------------------------------------


def evaluate(predicate: Predicate, batch: pa.RecordBatch | pa.Table) -> pa.Array:
    """Return a boolean array, one value a row of ``batch``; NULL where SQL says unknown."""
    match predicate:
        case And(operands) | Or(operands):
            combine = pc.and_kleene if isinstance(predicate, And) else pc.or_kleene
            result = evaluate(operands[0], batch)
            for operand in operands[1:]:
                result = combine(result, evaluate(operand, batch))
            return result
        case Not(operand):
            return pc.invert(evaluate(operand, batch))
        case Constant(value):
            return pa.array([value], pa.bool_()).take(pa.array([0] * batch.num_rows, pa.int64()))
        case IsNull(column):
            return batch[column].is_null()
        case IsTrue(column):
            return batch[column]
        case Compare(op, column, value):
            return _compare(op, batch[column], value)
        case CompareColumns(op, left, right):
            return _compare(op, batch[left], batch[right])
        case In(column, values, has_null):
            return _evaluate_in(batch[column], values, has_null=has_null)


def _compare(op: str, left: pa.Array, right: Any) -> pa.Array:  # noqa: ANN401 - array or scalar
    """Return ``left op right``; ``right`` is an array like ``left``, or a scalar."""
    if not codec_for(left.type).ordered and op not in {"=", "!="}:
        return _compare_nested(op, left, right)
    stored = _encoded(left)
    if isinstance(right, pa.Scalar):
        return _KERNELS[op](stored, pa.scalar(encode_scalar(left.type, right), stored.type))
    return _KERNELS[op](stored, _encoded(right))


def _compare_nested(op: str, left: pa.Array, right: Any) -> pa.Array:  # noqa: ANN401 - as above
    """Compare element by element, NULL elements first, as DataFusion does."""
    other = pa.repeat(right, len(left)) if isinstance(right, pa.Scalar) else right
    answers = [
        None if a is None or b is None else _PYTHON[op](a, b)
        for a, b in zip(_sort_keys(left), _sort_keys(other), strict=True)
    ]
    return pa.array(answers, pa.bool_())


def _sort_keys(column: pa.Array | pa.ChunkedArray) -> list[tuple[Any, ...] | None]:
    """Return for each value something that compares as the value does; ``None`` for NULL."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pt.is_map(array.type):
        msg = f"values of type {array.type} have no order"
        raise UnsupportedPredicateError(msg)
    if pt.is_struct(array.type):
        fields = [_sort_keys(array.field(at)) for at in range(array.type.num_fields)]
        rows = zip(*fields, strict=True) if fields else [()] * len(array)
        found = [tuple(() if key is None else (key,) for key in row) for row in rows]
    elif pt.is_nested(array.type):
        found = [
            tuple(() if key is None else (key,) for key in _sort_keys(value.values))
            if value.is_valid
            else ()
            for value in array
        ]
    else:
        values = codec_for(array.type).values(array)
        return [None if value is None else (value,) for value in values]
    valid = array.is_valid().to_pylist()
    return [key if there else None for key, there in zip(found, valid, strict=True)]


def _encoded(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return codec_for(array.type).encode(array)


def _evaluate_in(
    column: pa.Array | pa.ChunkedArray, values: Sequence[object], *, has_null: bool
) -> pa.Array:
    stored = _encoded(column)
    bound = [encode_scalar(column.type, value) for value in values]
    hit = pc.is_in(stored, pa.array(bound, stored.type))
    unknown = pc.is_null(stored) if not has_null else pc.or_(pc.is_null(stored), pc.invert(hit))
    return pc.if_else(unknown, pa.scalar(None, pa.bool_()), hit)


def keep(predicate: Predicate | None, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of ``batch`` for which ``predicate`` is true."""
    if predicate is None:
        return batch
    selected = pc.indices_nonzero(pc.fill_null(evaluate(predicate, batch), fill_value=False))
    if len(selected) == batch.num_rows:
        return batch
    return take(batch, selected)
