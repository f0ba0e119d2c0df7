"""Which sub-trees are worth sending.

Rules:
    - What is sent does some work there: it joins or aggregates. Rows of one table are read by its
      scan, which reads large ones in parts, side by side.
    - No more rows may come than the tables have, as far as that is known: a join whose pairs are
      not found by a key of one of its sides may multiply them.
    - A database that compares each row with each, where it has no index, is sent no such join.
    - One that works row by row is sent no outer join that keeps all rows of a large table, each
      as a group of its own: as many rows are read here, by several threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.subtrees.expressions import Call, ColumnAt
from affidavit.catalog.sources.subtrees.relations import (
    FULL,
    HALVES,
    LEFT,
    RIGHT,
    Aggregate,
    Filter,
    First,
    Join,
    Project,
    Scan,
    UnionAll,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.catalog.sources.subtrees.relations import Relation


MANY: Final = 50_000
"""A table of so many rows is large."""


def works(relation: Relation) -> bool:
    """Return whether something is done there: rows are joined, aggregated, or chosen by others."""
    found = list(_all_of(relation))
    is_chosen = any(isinstance(each, Filter | First) and _is_windowed(each.input) for each in found)
    return is_chosen or any(isinstance(each, Join | Aggregate) for each in found)


def _is_windowed(relation: Relation) -> bool:
    while isinstance(relation, Filter | Project):
        relation = relation.input
    return isinstance(relation, Window)


def is_of_ends(relation: Relation) -> bool:
    """Return whether a table's least and greatest values are asked for, which an index has.

    Where each value is looked at for its type first, no index is used; first rows are.
    """
    while isinstance(relation, Project | Filter):
        relation = relation.input
    if not isinstance(relation, Aggregate) or relation.keys:
        return False
    return all(each.name in {"min", "max"} for each in relation.aggregations) and not any(
        isinstance(each, Join | Aggregate) for each in _all_of(relation.input)
    )


def scans_of(relation: Relation) -> Iterator[Scan]:
    """Yield the tables that a relation reads."""
    for each in _all_of(relation):
        if isinstance(each, Scan):
            yield each


def _all_of(relation: Relation) -> Iterator[Relation]:
    yield relation
    for each in inputs_of(relation):
        yield from _all_of(each)


def is_repeated(relation: Relation) -> bool:
    """Return whether it gives the same rows if it is asked for twice."""
    return not any(isinstance(each, First | Window) for each in _all_of(relation))


def may_grow(relation: Relation) -> bool:
    """Return whether more rows may come than the largest of its tables has."""
    match relation:
        case Aggregate() | First():
            return False
        case Join(left, right, kind) if kind not in HALVES:
            if may_grow(left) or may_grow(right) or kind == FULL:
                return True
            return not any(_is_found_by_key(relation, side) for side in (left, right))
    return any(may_grow(each) for each in inputs_of(relation))


def compares_each(relation: Relation) -> bool:
    """Return whether a join in it would compare each row with each, without a key's index."""
    if isinstance(relation, Join) and not _has_key(relation):
        return True
    return any(compares_each(each) for each in inputs_of(relation))


def keeps_many(relation: Relation) -> bool:
    """Return whether an outer join keeps all rows of a large table, which nothing puts together."""
    match relation:
        case Aggregate(below, keys):
            places = [each.at for each in keys if isinstance(each, ColumnAt)]
            while isinstance(below, Project):
                made = [below.expressions[at] for at in places]
                places = [each.at for each in made if isinstance(each, ColumnAt)]
                below = below.input
            if isinstance(below, Aggregate):
                return keeps_many(below)
            return isinstance(below, Join) and _is_kept_by(below, places)
        case Join():
            return _is_kept_by(relation, range(len(relation.types)))
        case Project() | First() | Window():
            return keeps_many(relation.input)
    return False


def _is_kept_by(join: Join, places: Iterable[int]) -> bool:
    """Return whether an outer join keeps a large table, whose key is among some columns."""
    if join.kind not in {LEFT, RIGHT}:
        return False
    kept, start = (join.left, 0) if join.kind == LEFT else (join.right, len(join.left.types))
    key, end = _key(kept), start + len(kept.types)
    columns = {_origin(kept, at - start) for at in places if start <= at < end}
    while isinstance(kept, Project):
        kept = kept.input
    is_large = isinstance(kept, Scan) and (kept.table.rows or 0) >= MANY
    return is_large and bool(key) and set(key) <= columns


def inputs_of(relation: Relation) -> tuple[Relation, ...]:
    """Return what a relation is made of."""
    match relation:
        case Scan():
            return ()
        case Join(left, right):
            return left, right
        case UnionAll(inputs):
            return inputs
        case Filter() | Project() | Aggregate() | Window() | First():
            return (relation.input,)


def _has_key(join: Join) -> bool:
    sides = (join.right,) if join.kind in HALVES | {"left"} else (join.left, join.right)
    return any(_is_found_by_key(join, side) for side in sides)


def _is_found_by_key(join: Join, side: Relation) -> bool:
    """Return whether a row of the other side finds one row of this side at most."""
    start = len(join.left.types) if side is join.right else 0
    if join.kind in HALVES and side is join.left:
        return False
    if _is_one_row(side):
        return True
    places = {at - start for at in _paired(join, start, len(side.types))}
    if isinstance(side, Aggregate) and side.keys:
        return set(range(len(side.keys))) <= places
    columns = {column for at in places if (column := _origin(side, at)) is not None}
    key = _key(side)
    return bool(key) and set(key) <= columns


def _is_one_row(relation: Relation) -> bool:
    while isinstance(relation, Filter | Project):
        relation = relation.input
    return isinstance(relation, Aggregate) and not relation.keys


def _paired(join: Join, start: int, width: int) -> Iterator[int]:
    """Yield the places of one side's columns that are to equal something of the other's."""
    for test in _conjuncts(join.condition):
        if isinstance(test, Call) and test.name == "=":
            for each, other in (test.arguments, test.arguments[::-1]):
                named = _widened(each)
                if not isinstance(named, ColumnAt) or _touches(other, start, width):
                    continue
                if start <= named.at < start + width:
                    yield named.at


def _widened(expression: Expression) -> Expression:
    """Return what a value was before it was given a type that has it too."""
    while isinstance(expression, Call) and expression.name == "cast":
        (expression,) = expression.arguments
    return expression


def _touches(expression: Expression, start: int, width: int) -> bool:
    if isinstance(expression, ColumnAt):
        return start <= expression.at < start + width
    return isinstance(expression, Call) and any(
        _touches(each, start, width) for each in expression.arguments
    )


def _conjuncts(condition: Expression | None) -> Iterator[Expression]:
    if isinstance(condition, Call) and condition.name == "and":
        for each in condition.arguments:
            yield from _conjuncts(each)
    elif condition is not None:
        yield condition


def _key(relation: Relation) -> tuple[str, ...]:
    """Return the key of the one table that a relation has rows of."""
    while isinstance(relation, Filter | Project | First | Window):
        relation = relation.input
    return relation.table.identity if isinstance(relation, Scan) else ()


def _origin(relation: Relation, at: int) -> str | None:
    """Return which column of that table a column is."""
    while isinstance(relation, Filter | Project | First | Window):
        if isinstance(relation, Window) and at >= len(relation.input.types):
            return None
        if isinstance(relation, Project):
            made = relation.expressions[at]
            if not isinstance(made, ColumnAt):
                return None
            at = made.at
        relation = relation.input
    return relation.columns[at] if isinstance(relation, Scan) else None
