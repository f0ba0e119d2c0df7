"""RIGHT JOIN, whose rows DataFusion 54.1 filters by a column of the wrong side.

What a hash join's rows have to meet is handed to its right side, where columns are looked up by
their names alone: ``WHERE x.v IS NULL`` leaves out the rows of which ``y.v`` is not NULL. Joined by
sorting, nothing is handed down. The optimiser makes such joins of FULL JOIN too.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

from datafusion.expr import Aggregate, Filter, Join, Sort

from affidavit.engine.plan.nodes.origins import variant

if TYPE_CHECKING:
    from datafusion import DataFrame, LogicalPlan, SessionContext

_SETTING: Final = "datafusion.optimizer.prefer_hash_join"
_MAY_BE: Final = re.compile(r"^ *(?:Right|Full) Join:", re.MULTILINE)
_QUERY: Final = re.compile(r"^ *Subquery:", re.MULTILINE)

_setting = threading.Lock()
"""Held while a context is set to sort: what is planned in it meanwhile is right, and slower."""


def filtered_rightly(frame: DataFrame, context: SessionContext) -> DataFrame:
    """Return a plan that a context made, whose joins are made by sorting if they have to be."""
    if _MAY_BE.search(frame.logical_plan().display_indent()) is None:
        return frame
    try:
        optimised = frame.optimized_logical_plan()
    except Exception:  # noqa: BLE001 - of many kinds: running the plan raises it again
        return frame
    if not is_filtered_by_name(optimised, context):
        return frame
    with _setting:
        context.sql(f"SET {_SETTING} = false")
        try:
            return context.create_dataframe_from_logical_plan(frame.logical_plan())
        finally:
            context.sql(f"SET {_SETTING} = true")


def is_filtered_by_name(plan: LogicalPlan, context: SessionContext) -> bool:
    """Return whether rows of a RIGHT JOIN may be filtered by a column of the wrong side.

    Args:
        plan: The optimised plan.
        context: What made it.
    """
    text = plan.display_indent()
    if "Right Join:" not in text:
        return False
    return _QUERY.search(text) is not None or _has_such(plan, context, is_filtered=False)


def _has_such(node: LogicalPlan, context: SessionContext, *, is_filtered: bool) -> bool:
    kind, inputs = variant(node), node.inputs()
    if isinstance(kind, Join) and str(kind.join_type()) == "Right" and is_filtered:
        left, right = (set(_names(each, context)) for each in inputs)
        if left & right:
            return True
    # joins, aggregates and first rows hand down what they find out while they run
    is_filtered |= isinstance(kind, Filter | Join | Aggregate)
    is_filtered |= isinstance(kind, Sort) and kind.get_fetch_val() is not None
    return any(_has_such(each, context, is_filtered=is_filtered) for each in inputs)


def _names(node: LogicalPlan, context: SessionContext) -> list[str]:
    return list(context.create_dataframe_from_logical_plan(node).schema().names)
