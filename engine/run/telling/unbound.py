"""What a plan says of itself before its parameters have values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.statement import parse_statement

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa
    from datafusion import DataFrame

    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.scans.snapshot import Snapshot

TYPED_PLACEHOLDER: Final = re.compile(r'Placeholder \{ id: "\$(\d+)", field: Some')
"""How the text of a plan of DataFusion 54.1 shows a parameter whose type is known."""


def plan_open(
    planner: Planner, text: str, snapshot: Snapshot, *, names: Collection[str]
) -> tuple[DataFrame, dict[str, pa.DataType | None]]:
    """Plan a query or INSERT whose parameters ``$1``, ``$2``... have no values yet.

    Returns:
        Its plan, and the type of each parameter that is known.
    """
    snapshot.leave_unbound()
    frame = planner.plan(f"EXPLAIN PREPARE open AS {text}", {}, snapshot, names=names)
    prepare = frame.logical_plan().inputs()[0]
    fields = prepare.to_variant().fields()
    typed = {int(number) for number in TYPED_PLACEHOLDER.findall(repr(prepare))}
    if len(typed) < len(fields):  # a plan's text does not show the plans inside expressions
        typed = {int(number) for number in parse_statement(text).placeholders}
    named = zip(sorted(typed), fields, strict=True) if len(typed) == len(fields) else ()
    inner = planner.context.create_dataframe_from_logical_plan(prepare.inputs()[0])
    return inner, (snapshot.unbound or {}) | {str(number): found.type for number, found in named}
