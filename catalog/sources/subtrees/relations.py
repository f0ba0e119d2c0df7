"""Relations: what a sub-tree of a plan gives, of tables of one database.

They say what is wanted as DataFusion means it; :mod:`written` says it in a database's SQL, where
that means the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.catalog.sources.subtrees.expressions import Expression

INNER, LEFT, RIGHT, FULL, SEMI, ANTI = "inner", "left", "right", "full", "semi", "anti"
NOT_IN: Final = "not in"
"""An anti join that knows NULL: nothing is left where the right side has one."""

HALVES: Final = frozenset({SEMI, ANTI, NOT_IN})
"""Joins that give rows of the left side alone."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Columns of a table."""

    table: SourceTable
    columns: tuple[str, ...]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        return tuple(self.table.arrow_schema.field(name).type for name in self.columns)


@dataclass(frozen=True, slots=True)
class Filter:
    """The rows that meet a condition."""

    input: Relation
    condition: Expression

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        return self.input.types


@dataclass(frozen=True, slots=True)
class Project:
    """Expressions over each row."""

    input: Relation
    expressions: tuple[Expression, ...]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        return tuple(each.type for each in self.expressions)


@dataclass(frozen=True, slots=True)
class Join:
    """Pairs of rows that meet a condition; of semi and anti joins, rows of the left side.

    Attributes:
        left: The left side.
        right: The right side.
        kind: One of ``inner``, ``left``, ``right``, ``full``, ``semi``, ``anti`` and ``not in``.
        condition: What pairs meet; of ``not in``, that a value equals another.
    """

    left: Relation
    right: Relation
    kind: str
    condition: Expression | None

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        if self.kind in HALVES:
            return self.left.types
        return (*self.left.types, *self.right.types)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregate function.

    Attributes:
        name: ``count``, ``sum``, ``avg``, ``min`` or ``max``.
        argument: What it is of; ``None`` for rows, which are counted.
        is_distinct: Whether each value counts once.
        type: What it gives.
        condition: Which rows it is of; ``None`` for all.
    """

    name: str
    argument: Expression | None
    is_distinct: bool
    type: pa.DataType
    condition: Expression | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A row a group; one row where there are no keys."""

    input: Relation
    keys: tuple[Expression, ...]
    aggregations: tuple[Aggregation, ...]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns: the keys, then what is aggregated."""
        return (*(each.type for each in self.keys), *(each.type for each in self.aggregations))


@dataclass(frozen=True, slots=True)
class SortKey:
    """What rows are sorted by."""

    expression: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Over:
    """The rows that a window function is given for each row.

    Attributes:
        partition: What they have alike.
        order: What they are ordered by.
        frame: Which of them, as SQL says it; empty for a function that heeds no frame.
    """

    partition: tuple[Expression, ...]
    order: tuple[SortKey, ...]
    frame: str = ""


@dataclass(frozen=True, slots=True)
class WindowFunction:
    """A function that is given other rows too.

    Attributes:
        name: That of an aggregate function, ``row_number``, ``rank``, ``dense_rank``, ``lag``,
            ``lead``, ``first_value``, ``last_value`` or ``nth_value``.
        arguments: What it is given of each row; nothing where rows are counted.
        over: Which rows.
        type: What it gives.
    """

    name: str
    arguments: tuple[Expression, ...]
    over: Over
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class Window:
    """All columns of each row, and what functions give of other rows."""

    input: Relation
    functions: tuple[WindowFunction, ...]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns: those that there are, then those of the functions."""
        return (*self.input.types, *(each.type for each in self.functions))


@dataclass(frozen=True, slots=True)
class First:
    """The first rows in an order; any rows do where there is none."""

    input: Relation
    rows: int
    order: tuple[SortKey, ...] = ()

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        return self.input.types


@dataclass(frozen=True, slots=True)
class UnionAll:
    """The rows of several relations."""

    inputs: tuple[Relation, ...]

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        """The types of the columns."""
        return self.inputs[0].types


Relation: TypeAlias = "Scan | Filter | Project | Join | Aggregate | Window | First | UnionAll"
