"""How large the values of a plan may become, where each step makes them of those before.

``t || t`` doubles a text, and so does each common table, subquery or view that does it again:
twenty of them make a terabyte of a megabyte, and the memory for it is asked for at once, which ends
the process. What is not written out in the statement is taken for :data:`STORED_BYTES`: so a value
that is stored may be made larger by a factor, and larger ones than that are not seen here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from affidavit.catalog.sql.lexer import remembered
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.sql.sized import COUNTED, SIZED_BYTES_MAX
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datafusion import Expr, LogicalPlan

STORED_BYTES: Final = 64
"""What a value of a table is taken for."""

_GROWS: Final = re.compile(
    r"\|\||concat|repeat|replace|resize|pad\s*\(|range\s*\(|series\s*\(|make_(?:array|list)|\[|"
    r"(?:array|list)_(?:append|cat|join|prepend|push|to_string|union)",
    re.IGNORECASE,
)
"""What a text has that makes larger values of others."""

_COUNTED: Final = {name for name in COUNTED if name.endswith("repeat")}
"""What gives its first argument over and over; the others fill it up to a length."""

_FILLED: Final = {name: int(size) for name, size in COUNTED.items() if name not in _COUNTED}
_REPLACED: Final = {"replace", "regexp_replace"}
_JOINED: Final = {"array_to_string", "list_to_string", "array_join", "list_join"}
_RANGES: Final = {"range", "generate_series"}

_MADE: Final = {
    "Alias", "BinaryExpr", "Case", "Cast", "TryCast", "Not", "Negative", "IsNull", "IsNotNull",
    "IsTrue", "IsFalse", "IsUnknown", "IsNotTrue", "IsNotFalse", "IsNotUnknown", "Between", "Like",
    "SimilarTo", "InList", "ScalarFunction", "AggregateFunction",
}  # fmt: skip
"""The expressions that are made of others, as datafusion-python 54 calls them."""

Sizes: TypeAlias = dict[str, float]
"""How many bytes a column's values may have, by its name."""


Views: TypeAlias = "Mapping[tuple[str, str, str], Sizes]"
"""The same of views, by catalog, schema and name."""


@remembered
def grows(text: str) -> bool:
    """Return whether a statement may make larger values of others."""
    return _GROWS.search(text) is not None


def growth(plan: LogicalPlan, views: Views, called: str) -> Sizes:
    """Return how large the values of a plan's columns may become.

    Args:
        plan: As it was planned, before anything of it is computed.
        views: The same of the views that it reads.
        called: What the catalog of the plan's own tables is called among ``views``.

    Raises:
        SqlError: They may become too large.
    """
    left: list[tuple[LogicalPlan, int | None]] = [(plan, None)]
    done: list[Sizes] = []
    while left:
        node, count = left.pop()
        if count is None:
            inputs = node.inputs()
            left.append((node, len(inputs)))
            left += [(each, None) for each in inputs]
            continue
        found: Sizes = {}
        for sizes in done[len(done) - count :]:
            for name, size in sizes.items():
                found[name] = max(size, found.get(name, 0.0))
        del done[len(done) - count :]
        done.append(_of_node(node, found, views, called))
    return done[0]


def _of_node(plan: LogicalPlan, found: Sizes, views: Views, called: str) -> Sizes:
    """Return how large the values of a node's columns may become, by those of its inputs."""
    node = _variant(plan)
    if hasattr(node, "fqn"):
        catalog, schema, name = [CATALOG, MAIN_SCHEMA, *node.fqn()][-3:]
        return views.get((called if catalog == CATALOG else catalog, schema, name), {})
    if hasattr(node, "predicate"):
        _size(node.predicate(), found)
    if not hasattr(node, "projections"):
        return found
    return {each.schema_name().split(".")[-1]: _size(each, found) for each in node.projections()}


def _variant(node: LogicalPlan | Expr) -> Any:  # noqa: ANN401 - DataFusion's
    try:
        return node.to_variant()
    except ValueError:
        return None


def _size(expression: Expr, columns: Sizes) -> float:
    """Return how many bytes the values of an expression may have."""
    left: list[tuple[Expr, list[Expr] | None]] = [(expression, None)]
    done: list[float] = []
    while left:
        each, operands = left.pop()
        kind = each.variant_name()
        if kind not in _MADE:
            done.append(_of_leaf(each, kind, columns))
        elif operands is None:
            operands = each.rex_call_operands()
            left.append((each, operands))
            left += [(operand, None) for operand in reversed(operands)]
        else:
            begin = len(done) - len(operands)
            done[begin:] = [_checked(_made(each, kind, operands, done[begin:]))]
    return done[0]


def _of_leaf(expression: Expr, kind: str, columns: Sizes) -> float:
    if kind == "Column":
        return columns.get(_variant(expression).name().split(".")[-1], STORED_BYTES)
    if kind != "Literal":
        return STORED_BYTES
    value = _value(expression)
    return float(len(value)) if isinstance(value, str | bytes | list) else 8.0


def _checked(size: float) -> float:
    if size <= SIZED_BYTES_MAX:
        return size
    msg = (
        f"a value of the statement may become {size:,.0f} bytes long, and {SIZED_BYTES_MAX:,} are "
        "allowed: what makes a text or list of others is done too often over"
    )
    raise SqlError(msg)


def _made(expression: Expr, kind: str, operands: Sequence[Expr], sizes: Sequence[float]) -> float:
    """Return how large the value of an expression may be that is made of others."""
    if kind == "ScalarFunction":
        return _called(str(expression.rex_call_operator()), operands, sizes)
    if kind in {"Alias", "Case", "Cast", "TryCast", "AggregateFunction"}:
        return max(sizes, default=STORED_BYTES)
    return sum(sizes) if kind == "BinaryExpr" and expression.rex_call_operator() == "||" else 8.0


def _called(name: str, operands: Sequence[Expr], sizes: Sequence[float]) -> float:
    """Return how large a function's value may be."""
    if name in _COUNTED and len(operands) > 1:
        return sizes[0] * max(1.0, _number(operands[1]))
    if name in _FILLED and len(operands) > 1:
        return max(sizes[0], _FILLED[name] * _number(operands[1]))
    if name in _REPLACED and len(operands) > 2:  # noqa: PLR2004 - text, from, to
        factor = max(1.0, sizes[2] / max(1.0, sizes[1])) if _are_written(operands[1:3]) else 2.0
        return sizes[0] * factor + sizes[2]
    if name in _JOINED and len(operands) > 1:
        return sizes[0] * max(1.0, sizes[1])
    if name in _RANGES:
        return 8 * max(map(_number, operands), default=1.0)
    return sum(sizes)


def _are_written(operands: Sequence[Expr]) -> bool:
    return all(each.variant_name() == "Literal" for each in operands)


def _number(expression: Expr) -> float:
    """Return a number that is written out; what is not is bounded when it is computed."""
    value = _value(expression) if _are_written([expression]) else None
    return float(value) if isinstance(value, int) else 1.0


def _value(expression: Expr) -> object:
    """Return what a literal is; ``None`` where Python cannot tell."""
    try:
        value: Any = expression.python_value()
    except Exception:  # noqa: BLE001 - an interval or its like, which is no text
        return None
    return value.as_py() if hasattr(value, "as_py") else value
