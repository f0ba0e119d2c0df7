"""The first rows of a table in an order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """A column that rows are ordered by.

    Attributes:
        column: Its name.
        descending: Whether the greatest comes first.
        nulls_first: Whether NULL comes before all values.
    """

    column: str
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class Top:
    """The first rows of a table in an order, which are all that a plan needs of it.

    Attributes:
        rows: How many.
        order: The order; any rows do where there is none.
        present: A column that is not NULL in them.
    """

    rows: int
    order: tuple[Order, ...] = ()
    present: str | None = None
