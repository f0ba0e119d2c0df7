"""Predicates: what a row must be, as a tree, always with SQL's NULL."""

from __future__ import annotations

from dataclasses import dataclass


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
