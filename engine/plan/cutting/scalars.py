"""Queries within expressions that give one value, as joins.

DataFusion 54 leaves such a query in its expression, where datafusion-python gives no way to it, and
it can be set to make a join of it. A join says nothing where the query gives more rows than one, so
that is done only where each is an aggregate without groups, which gives one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from datafusion import SessionContext

if TYPE_CHECKING:
    import pyarrow as pa
    from datafusion import DataFrame, LogicalPlan

_SETTING: Final = "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery"
_ONE_ROW: Final = re.compile(
    r"^ *Subquery:\n(?: *(?:Projection|SubqueryAlias): [^\n]*\n)* *Aggregate: groupBy=\[\[\]\]",
    re.MULTILINE,
)


def joined(frame: DataFrame, plan: LogicalPlan, context: SessionContext) -> LogicalPlan:
    """Return the optimised plan of a frame, with such queries as joins where that is the same."""
    text = plan.display_indent()
    queries = len(re.findall(r"^ *Subquery:$", text, re.MULTILINE))
    if not queries or len(_ONE_ROW.findall(text)) != queries:
        return plan
    config = context.copied_config().set(_SETTING, "false")
    apart = SessionContext(config)
    written = apart.create_dataframe_from_logical_plan(frame.logical_plan())
    made = written.optimized_logical_plan()
    # a join's columns may be NULL where a count that is shown is never
    is_same = _schema(made, context).equals(_schema(plan, context))
    return made if is_same else plan


def _schema(plan: LogicalPlan, context: SessionContext) -> pa.Schema:
    return context.create_dataframe_from_logical_plan(plan).schema()
