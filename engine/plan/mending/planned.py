"""A statement planned so that it is answered rightly."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from affidavit.catalog.sql.sized import bounded
from affidavit.engine.plan.mending.alone import mended_in, schema_in
from affidavit.engine.plan.mending.parameters import asked
from affidavit.engine.plan.mending.points import pointed
from affidavit.engine.statement.spelling.spelled import ordered, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import DataFrame, SessionContext, SQLOptions

    from affidavit.engine.scans.snapshot import Snapshot


def planned_in(
    context: SessionContext,
    text: str,
    values: Mapping[str, Any],
    snapshot: Snapshot,
    options: SQLOptions | None,
) -> DataFrame:
    """Return a context's plan of a statement, which changes nothing by being planned.

    Raises:
        SqlError: It cannot be written so.
    """
    whole = mended_in(context, spelled(text), values, snapshot)
    whole = bounded(ordered(whole, partial(schema_in, context, values, snapshot)))

    def plan(each: str, given: Mapping[str, Any]) -> DataFrame:
        return asked(context, each, given, options)

    return pointed(whole, values, plan)
