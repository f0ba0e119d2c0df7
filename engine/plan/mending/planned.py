"""A statement planned so that it is answered rightly."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.sized import bounded
from affidavit.engine.plan.mending.alone import Alone, answered
from affidavit.engine.plan.mending.parameters import asked
from affidavit.engine.plan.mending.points import floats_met, pointed
from affidavit.engine.plan.mending.remembered import Remembered, Written, columns_of, key_of
from affidavit.engine.plan.mending.rights import filtered_rightly
from affidavit.engine.statement.mended.mended import mended
from affidavit.engine.statement.spelling.spelled import ordered, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import DataFrame, SessionContext, SQLOptions

    from affidavit.engine.scans.snapshot import Snapshot

_MOMENT: Final = re.compile(r"\b(?:now|today|current_|local)", re.IGNORECASE)
"""What has another value in each statement, which its plan may be another for."""


def planned_in(
    context: SessionContext,
    text: str,
    values: Mapping[str, Any],
    snapshot: Snapshot,
    options: SQLOptions | None,
    remembered: Remembered,
) -> DataFrame:
    """Return a context's plan of a statement, which changes nothing by being planned.

    Args:
        context: What plans it.
        text: The statement.
        values: Its parameters, as Arrow's scalars.
        snapshot: What it reads.
        options: What it may be; anything if ``None``.
        remembered: How statements were written for this context.

    Raises:
        SqlError: It cannot be written so.
    """
    planning = _Planning(context, text, values, snapshot, options)
    age, key = remembered.age, key_of(text, values)
    known = remembered.get(key)
    frame = None if known is None else planning.again(*known)
    if frame is None:
        written, frame = planning.written()
        if planning.has_asked(written):
            remembered.keep(key, written, columns_of(frame), age)
    return filtered_rightly(frame, context)


class _Planning:
    """One statement on its way to a plan."""

    def __init__(
        self,
        context: SessionContext,
        text: str,
        values: Mapping[str, Any],
        snapshot: Snapshot,
        options: SQLOptions | None,
    ) -> None:
        self._context = context
        self._text = text
        self._values = values
        self._options = options
        self._alone = Alone(context, values, snapshot)
        self._answered = partial(answered, snapshot)

    def has_asked(self, written: Written) -> bool:
        """Return whether the planner was asked how to write the statement."""
        return self._alone.asked or written.met is not None

    def written(self) -> tuple[Written, DataFrame]:
        """Return how the statement is planned, and its plan."""
        whole = mended(spelled(self._text), self._alone)
        whole = bounded(ordered(whole, self._alone))
        return pointed(whole, self._values, self._plan, self._answered)

    def again(self, written: Written, columns: bytes) -> DataFrame | None:
        """Return the plan of what was written for tables of such columns; ``None`` if it is not.

        What a parameter or the time of day makes of a condition may have hidden a float before.
        """
        given = written.given(self._values)
        frame = self._answered(lambda: self._plan(written.text, given))
        if isinstance(frame, Exception) or columns_of(frame) != columns:
            return None
        if written.met is not None and (self._values or _MOMENT.search(self._text) is not None):
            met = floats_met(frame, written.digits, self._answered)
            return None if met > written.met else frame
        return frame

    def _plan(self, text: str, values: Mapping[str, Any]) -> DataFrame:
        return asked(self._context, text, values, self._options)
