"""What a table function is given, by place or by name: literals, and the statement's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from affidavit.catalog.sql.binding import with_values
from affidavit.catalog.values.python.arguments import checked_text
from affidavit.engine.search.options import IN_SQL, params_of, parse_options
from affidavit.engine.statement.tables.arguments import NAMES
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from affidavit.engine.scans.snapshot import Snapshot

UNBOUND: Final = object()
"""Stands for the query of a search that is only described."""

_STAND_INS: Final[Mapping[str, tuple[object, pa.DataType | None]]] = {
    "query": (UNBOUND, pa.list_(pa.float32())),
    "text": ("text", pa.string()),
    "k": (1, pa.int64()),
    "options": ("{}", pa.string()),
    "version": (1, pa.int64()),
    "moment": (None, None),  # now, for an entry's number or a time
    "from_seq": (0, pa.int64()),
    "to_seq": (None, pa.int64()),
    **dict.fromkeys(("where", "params", "metric", "lineage", "model"), (None, pa.string())),
    **dict.fromkeys(("nprobes", "refine_factor"), (None, pa.int64())),
    "column": (None, pa.string()),
    "select": (None, pa.list_(pa.string())),
    "exact": (None, pa.bool_()),
}
"""What stands for each argument of a statement that is only described, and the argument's type.

No table's name is among them: without the table nobody can say what comes.
"""


Value: TypeAlias = "Callable[[str, str, Any, Snapshot], Any]"
"""Returns the value of an argument of a function, by its label."""


def values_of(
    function: str,
    arguments: Sequence[str],
    more: Sequence[str],
    given: Sequence[Any],
    snapshot: Snapshot,
    value: Value | None = None,
) -> dict[str, Any]:
    """Return the values that a function is given, by place or by name.

    Args:
        function: What it is called.
        arguments: Its arguments, in their order.
        more: What it takes besides: the first one by place, as all the others by name.
        given: DataFusion's expressions, the last of which may have the names.
        snapshot: The statement's.
        value: Returns an argument's value; :func:`value_of` by default.

    Raises:
        InvalidQueryError: There are too many, none is called so, or one is no literal.
    """
    value = value or value_of
    placed = [*arguments, *more[:1]]
    names = _names_in(given[-1]) if given else None
    if names is not None:
        given = given[:-1]
    labels = [
        name or (placed[at] if at < len(placed) else "")
        for at, name in enumerate(names or [""] * len(given))
    ]
    known = {*arguments, *more, *(("version",) if "moment" in arguments else ())}
    wrong = [label for label in labels if label not in known]
    if wrong or len(labels) > len({*labels}):
        takes = f"({', '.join(arguments)}{' [, options]' * bool(more)})"
        got = f"no argument {wrong[0]!r}" if wrong and wrong[0] else f"not {len(given)} of them"
        by_name = f" and by name {sorted(more)}" if more else ""
        msg = f"{function} takes {takes}{by_name}, {got}"
        raise InvalidQueryError(msg)
    return {
        label: value(function, label, expression, snapshot)
        for label, expression in zip(labels, given, strict=True)
    }


def _names_in(expression: Any) -> list[str] | None:  # noqa: ANN401 - DataFusion's
    """Return the names that a call's last argument has of the others, if it is one of ours."""
    if expression.variant_name() != "Literal":
        return None
    value = expression.python_value().as_py()
    if not isinstance(value, str) or not value.startswith(NAMES):
        return None
    return value.removeprefix(NAMES).split(",")


def asked_options(function: str, values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of a search out of its arguments, its condition with its parameters.

    Raises:
        InvalidQueryError: One is given twice, or ``params`` without a ``where`` that names them.
    """
    asked = parse_options(values.pop("options")) if "options" in values else {}
    for name in [name for name in values if name in IN_SQL]:
        if name in asked:
            raise InvalidQueryError(
                f"{function}: {name} is given twice, in the options and by name"
            )
        asked[name] = values.pop(name)
    params = asked.pop("params", None)
    if params is not None:
        where = checked_text(asked.get("where"), "where")
        asked["where"] = with_values(where, params_of(params))
    return asked


def value_of(function: str, label: str, expression: Any, snapshot: Snapshot) -> Any:  # noqa: ANN401 - any value
    """Return an argument's value.

    Raises:
        InvalidQueryError: It is no literal and no parameter, or the parameter has no value.
    """
    kind = expression.variant_name()
    if kind == "Placeholder":
        name = str(expression).removeprefix("Expr($").removesuffix(")")
        if name in snapshot.parameters:
            return snapshot.parameters[name].as_py()
        if snapshot.unbound is None or label not in _STAND_INS:
            msg = f"{function}: no value was given for ${name}"
            raise InvalidQueryError(msg)
        value, snapshot.unbound[name] = _STAND_INS[label]
        if label == "moment":
            return snapshot.catalog.ledger.last_seq(snapshot.reader) or 0
        return value
    try:
        return expression.python_value().as_py()
    except (TypeError, ValueError) as error:
        msg = (
            f"{function}: {label} must be a literal or a $parameter, got {str(expression)!r}; a "
            "name needs quotes, and columns of other tables cannot be passed"
        )
        raise InvalidQueryError(msg) from error
