"""Aggregate and window functions as a database's SQL, where they give there what they give here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.subtrees.expressions import Call, ColumnAt, class_of
from affidavit.catalog.sources.subtrees.relations import Aggregation
from affidavit.catalog.sources.subtrees.values import (
    LARGE_BITS,
    OtherwiseError,
    Sql,
    is_whole,
    widens,
)

if TYPE_CHECKING:
    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.catalog.sources.subtrees.relations import Over, WindowFunction
    from affidavit.catalog.sources.subtrees.values import Values

AGGREGATES: Final = frozenset({"count", "sum", "avg", "min", "max"})
RANKS: Final = frozenset({"row_number", "rank", "dense_rank"})
SHIFTS: Final = frozenset({"lag", "lead"})
NTHS: Final = frozenset({"first_value", "last_value", "nth_value"})


class Aggregations:
    """Writes functions of several rows.

    Args:
        values: What writes expressions over their columns.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._speech = values.speech

    def aggregation(self, call: Aggregation, over: str = "") -> Sql:
        """Return an aggregate function as SQL.

        Args:
            call: The function.
            over: Which rows a window gives it, as SQL; empty for those of a group.

        Raises:
            OtherwiseError: It would not surely give the same there.
        """
        if call.argument is None:
            return Sql(self._said("count", "*", call, over), call.type)
        match call.name:
            case "count" if call.is_distinct:
                text = self._values.key(call.argument).text
            case "count":
                text = self._values.seen(self._values.value(call.argument)).text
            case "min" | "max" if class_of(call.type) != "truth":
                text = self._values.key(call.argument).text
                if class_of(call.type) == "text" and self._speech.text.startswith("CAST"):
                    raise OtherwiseError  # bytes
            case "sum":
                return self._sum(call, call.argument, over)
            case "avg":
                return self._average(call, call.argument, over)
            case _:
                raise OtherwiseError
        return Sql(self._said(call.name, text, call, over), call.type)

    def function(self, call: WindowFunction) -> Sql:
        """Return a window function as SQL.

        Raises:
            OtherwiseError: It would not surely give the same there.
        """
        over = self._over(call.over)
        if call.name in AGGREGATES:
            argument = call.arguments[0] if call.arguments else None
            return self.aggregation(
                Aggregation(call.name, argument, is_distinct=False, type=call.type), over
            )
        if call.name in RANKS:
            return Sql(f"{call.name}(){over}", call.type)
        return self._brought(call, over)

    def _said(self, name: str, text: str, call: Aggregation, over: str) -> str:
        """Return a call of a function, and which rows it is of."""
        distinct = "DISTINCT " if call.is_distinct else ""
        if call.condition is None:
            return f"{name}({distinct}{text}){over}"
        test = self._values.condition(call.condition)
        if self._speech.filters:
            return f"{name}({distinct}{text}) FILTER (WHERE {test}){over}"
        text = "1" if text == "*" else text
        return f"{name}({distinct}CASE WHEN {test} THEN {text} END){over}"

    def _sum(self, call: Aggregation, argument: Expression, over: str) -> Sql:
        value = self._values.value(_whole(argument))
        kind = class_of(value.type)
        is_exact = kind in {"integer", "decimal"}
        # floats are added in some order, and taken away again as a window moves on
        if not is_exact and (kind != "float" or call.is_distinct or over):
            raise OtherwiseError
        if call.is_distinct:
            value = self._values.compared(value)
        if over or not self._values.dialect.typed:
            value = self._values.seen(value)
        is_cut = class_of(call.type) == "integer" and not self._speech.sums_integers
        if kind == "integer" and is_cut and not _is_small(argument):
            raise OtherwiseError
        text = self._said("sum", value.text, call, over)
        if self._values.dialect.typed and is_exact:
            text = self._values.cast(text, call.type)
        return Sql(text, call.type, can_fail=value.can_fail)

    def _average(self, call: Aggregation, argument: Expression, over: str) -> Sql:
        if call.is_distinct:
            raise OtherwiseError
        if isinstance(argument, Call) and class_of(argument.type) == "float" and not over:
            return self._mean(call, argument)
        value = self._values.value(argument)
        kind = class_of(value.type)
        if kind == "float" and isinstance(argument, ColumnAt) and not over:
            return Sql(self._said("avg", value.text, call, over), call.type)
        if kind != "decimal" or not self._speech.averages:
            raise OtherwiseError
        if over:
            value = self._values.seen(value)
        scale = call.type.scale
        text = self._speech.averages.format(
            sum=self._said("sum", value.text, call, over),
            count=self._said("count", value.text, call, over),
            zeros="0" * scale, less="0" * (scale - 1),
        )  # fmt: skip
        return Sql(self._values.cast(text, call.type), call.type, can_fail=value.can_fail)

    def _mean(self, call: Aggregation, argument: Call) -> Sql:
        """Return an average of integers as floats, which hold each sum of theirs exactly."""
        if argument.name != "cast" or not self._speech.means:
            raise OtherwiseError
        value = self._values.value(argument.arguments[0])
        if class_of(value.type) != "integer":
            raise OtherwiseError
        size = self._said("sum", f"abs(CAST({value.text} AS BIGINT))", call, "")
        total, count = (self._said(name, value.text, call, "") for name in ("sum", "count"))
        text = self._speech.means.format(size=size, sum=total, count=count)
        return Sql(f"({text})", call.type, can_fail=value.can_fail)

    # --- windows ---------------------------------------------------------------------------------

    def _over(self, over: Over) -> str:
        parts = []
        if over.partition:
            keys = (self._values.key(each).text for each in over.partition)
            parts.append(f"PARTITION BY {', '.join(keys)}")
        if over.order:
            parts.append(f"ORDER BY {self._values.order(over.order)}")
        if over.frame:
            parts.append(over.frame)
        return f" OVER ({' '.join(parts)})"

    def _brought(self, call: WindowFunction, over: str) -> Sql:
        """Return a value of another row."""
        value, *rest = map(self._values.value, call.arguments)
        if value.type != call.type or class_of(call.type) not in self._speech.shifts:
            raise OtherwiseError
        shown = [self._values.seen(value).text, *(each.text for each in rest[:1])]
        for other in rest[1:]:  # what stands for a row that is not there
            if not self._speech.has_defaults:
                raise OtherwiseError
            is_typed = self._values.dialect.typed
            shown.append(self._values.cast(other.text, call.type) if is_typed else other.text)
        return Sql(f"{call.name}({', '.join(shown)}){over}", call.type, value.orders)


def _whole(expression: Expression) -> Expression:
    """Return an integer that is a decimal so that no sum of it is too large, as the integer."""
    if isinstance(expression, Call) and expression.name == "cast" and is_whole(expression.type):
        (inner,) = expression.arguments
        if class_of(inner.type) == "integer" and widens(inner.type, expression.type):
            return inner
    return expression


def _is_small(expression: Expression) -> bool:
    """Return whether an integer is such that no table has so many that their sum is too large."""
    if not isinstance(expression, Call) or expression.name != "cast":
        return False
    return bool(expression.arguments[0].type.bit_width < LARGE_BITS)
