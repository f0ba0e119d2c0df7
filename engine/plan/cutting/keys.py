"""Keys of a join's small side, which are all that its large side is asked for.

A join of a hundred rows with five million of a database needs those alone that have one of a
hundred keys. So the small side runs first, if it has few rows, and the database is sent its keys.

Rules:
    - Rows are left out only where the join would leave them out: never of a side that is kept
      whole, as the left one of a LEFT JOIN.
    - Which side is small is guessed; one that turns out not to be is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt
from datafusion import Expr
from datafusion.expr import (
    Aggregate,
    Alias,
    Cast,
    Column,
    Filter,
    Join,
    Limit,
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
)

from affidavit.catalog.sources.subtrees.expressions import class_of
from affidavit.catalog.sql import predicate as p
from affidavit.engine.plan.cutting.reading.relations import is_not_in, limit_of, names_of
from affidavit.engine.plan.nodes.origins import variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from datafusion import LogicalPlan

    from affidavit.catalog.sources.databases.table import SourceColumn

    Count = Callable[[tuple[str | None, str | None, str]], int | None]

LIKELY_MAX: Final = 100_000
"""A side that is taken to have more rows is not run first."""

ROWS_MAX: Final = 200_000
"""A side that turns out to have more is run again, with the rest of the plan."""

KEYS_MAX: Final = 5_000
INTEGERS_MAX: Final = 100_000
"""A database is sent so many keys at most: of any type, and integers."""

LARGE: Final = 10_000
"""A table that has fewer rows is as well read whole."""

_LESS: Final = 4
TINY: Final = 1_000
TINY_LESS: Final = 100
"""A side of so few rows, so many times fewer than the other's, is run first in any case."""

_UNKNOWN: Final = 100_000.0
_KEPT: Final = 0.1
"""How much of its rows a group by keys is taken to leave, and a filter that nothing is known of."""

_EQUAL: Final = 0.05
_OTHER: Final = 0.3
_HAVING: Final = 0.01
_LEAST: Final = 0.001
"""How much conditions are taken to leave: that a column equals something, others, of groups."""

_ASKED: Final = frozenset({"integer", "text", "decimal", "date"})
_SIDES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "Inner": ((0, 1), (1, 0)), "Left": ((0, 1),), "Right": ((1, 0),), "LeftSemi": ((0, 1), (1, 0)),
    "LeftAnti": ((0, 1),),
}  # fmt: skip
"""Which side may be asked for the keys of which: the small one, then the large one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The values that a column of a node may have, for its rows to matter.

    Attributes:
        at: The column's place.
        values: The values.
    """

    at: int
    values: pa.Array

    def integers(self, kind: pa.DataType) -> list[int] | None:
        """Return those that a column of integers can hold; ``None`` if it is of another type."""
        if not pt.is_integer(kind) or not pt.is_integer(self.values.type):
            return None
        least, most = _bounds(kind)
        return [each for each in self.values.to_pylist() if least <= each <= most]

    def of(self, column: SourceColumn) -> p.In | None:
        """Return it as a condition on a column; ``None`` if it cannot be asked of that."""
        alike = class_of(column.type) == class_of(self.values.type)
        same = pt.is_string(column.type) or column.type == self.values.type
        if not alike or not same or len(self.values) > KEYS_MAX:
            return None
        return p.In(column.name, tuple(self.values))


@dataclass(frozen=True, slots=True)
class Pair:
    """What a join compares of its sides, where one's keys are to be sent for the other's.

    Attributes:
        small: Which input is to run first.
        large: Which is asked for the keys.
        key: What they are of the small one.
        at: The place of the large one's column.
        key_at: The place of the small one's column that the key is, in whichever type.
    """

    small: int
    large: int
    key: Expr
    at: int
    key_at: int | None


def pairs_of(node: LogicalPlan) -> Iterator[Pair]:
    """Yield what a join may send of one side to the other, the smallest side first."""
    join = variant(node)
    if not isinstance(join, Join) or join.null_equals_null() or is_not_in(node):
        return
    inputs = node.inputs()
    for small, large in _SIDES.get(str(join.join_type()), ()):
        for sides in join.on():
            at = _place(sides[large], inputs[large])
            if at is not None:
                key_at = _place(sides[small], inputs[small])
                yield Pair(small, large, Expr(sides[small]), at, key_at)


def _place(expression: Expr, node: LogicalPlan) -> int | None:
    """Return the place of the column of a node that an expression is, in whichever type."""
    found = variant(expression)
    while isinstance(found, Cast | Alias):
        found = variant(found.expr())
    if not isinstance(found, Column):
        return None
    relation, name = found.relation(), found.name()
    full, names = name if relation is None else f"{relation}.{name}", names_of(node)
    return names.index(full) if names.count(full) == 1 else None


def below(node: LogicalPlan, keys: Sequence[Keys]) -> list[tuple[Keys, ...]]:
    """Return what of each input of a node matters, where that is told by keys of the node."""
    inputs = node.inputs()
    found: list[list[Keys]] = [[] for _ in inputs]
    for each in keys:
        place = _below(node, inputs, each.at)
        if place is not None:
            found[place[0]].append(Keys(place[1], each.values))
    return [tuple(each) for each in found]


def _below(node: LogicalPlan, inputs: Sequence[LogicalPlan], at: int) -> tuple[int, int] | None:
    """Return which column of which input a column of a node is, if no row is made of several."""
    kind = variant(node)
    if isinstance(kind, Filter | SubqueryAlias):
        return 0, at
    if isinstance(kind, Projection):
        return _in_first(Expr(kind.projections()[at]), inputs)
    if isinstance(kind, Aggregate):
        groups = kind.group_by_exprs()
        return _in_first(Expr(groups[at]), inputs) if at < len(groups) else None
    if isinstance(kind, Join):
        how, width = str(kind.join_type()), len(names_of(inputs[0]))
        if at < width:
            return (0, at) if how in {"Inner", "Left", "LeftSemi", "LeftAnti"} else None
        return (1, at - width) if how in {"Inner", "Right"} else None
    return None


def _in_first(expression: Expr, inputs: Sequence[LogicalPlan]) -> tuple[int, int] | None:
    at = _place(expression, inputs[0])
    return None if at is None else (0, at)


def is_worth(
    small: LogicalPlan,
    large: LogicalPlan,
    count: Count,
    *,
    is_asked: bool,
) -> bool:
    """Return whether a side of a join is likely to be small, and the other large.

    A side that has a row for every one of its tables' leaves nothing out, but where it is tiny.
    ``is_asked`` says that the small side is asked for some keys itself.
    """
    (few, all_of_it), (many, whole) = size(small, count), size(large, count)
    few *= _KEPT if is_asked else 1.0
    if whole < LARGE or few * _LESS > many:
        return False
    is_tiny = few <= TINY and few * TINY_LESS <= many
    return is_tiny or (few <= LIKELY_MAX and few * _LESS <= all_of_it)


def distinct(columns: Sequence[pa.Array], kind: pa.DataType) -> pa.Array | None:
    """Return the values of a column, each once; ``None`` if they cannot be asked for.

    Without any, they are of the type ``kind``.
    """
    values = pa.chunked_array(columns, None if columns else kind).drop_null()
    if class_of(values.type) not in _ASKED:
        return None
    found = values.unique()
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _bounds(kind: pa.DataType) -> tuple[int, int]:
    bits = kind.bit_width
    if pt.is_unsigned_integer(kind):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


# --- how large a node is -------------------------------------------------------------------------


def size(node: LogicalPlan, count: Count) -> tuple[float, float]:
    """Return how many rows a node may give, and how many if it filtered none: a guess."""
    kind, inputs = variant(node), [size(each, count) for each in node.inputs()]
    if isinstance(kind, TableScan):
        return _of_scan(kind, count)
    if not inputs:
        return 1.0, 1.0
    rows, whole = inputs[0]
    if isinstance(kind, Filter):
        is_having = isinstance(variant(node.inputs()[0]), Aggregate)
        return rows * (_HAVING if is_having else _left([kind.predicate()])), whole
    if isinstance(kind, Aggregate):
        return (rows * _KEPT, whole) if kind.group_by_exprs() else (1.0, 1.0)
    if isinstance(kind, Sort) and kind.get_fetch_val() is not None:
        return min(rows, kind.get_fetch_val()), whole
    if isinstance(kind, Limit) and (limit := limit_of(node)) is not None:
        return min(rows, limit[1]), whole
    if isinstance(kind, Join):
        other, others = inputs[1]
        if "Semi" in str(kind.join_type()):
            return rows * min(1.0, other / max(others, 1.0)), whole
        found = rows * other
        if kind.on():  # each row of one side has one of the other's, which is the smaller table
            found /= max(min(whole, others), 1.0)
        return found, max(whole, others)
    return max(each[0] for each in inputs), max(each[1] for each in inputs)


def _of_scan(scan: TableScan, count: Count) -> tuple[float, float]:
    known = count(scan.fqn())
    rows = _UNKNOWN if known is None else float(known)
    if scan.table_name().endswith("()"):  # a search
        return 100.0, rows
    found = rows * _left(scan.filters())
    return (min(found, scan.fetch()) if scan.fetch() is not None else found), rows


def _left(conditions: Sequence[Expr]) -> float:
    """Return how much of its rows conditions leave: a guess."""
    left = 1.0
    for each in conditions:
        for part in str(each.canonical_name()).split(" AND "):
            is_equal = " = " in part and " OR " not in part
            left *= _EQUAL if is_equal else _OTHER
    return max(left, _LEAST)
