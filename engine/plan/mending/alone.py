"""What a query would give that stands alone, asked while the statement around it is planned."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from affidavit.engine.plan.settings import QUERIES_ONLY
from affidavit.engine.statement.mended.mended import mended

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from datafusion import SessionContext


def mended_in(context: SessionContext, text: str, values: Mapping[str, Any]) -> str:
    """Return a statement that a context answers rightly.

    Raises:
        SqlError: It cannot be written so.
    """
    return mended(text, partial(schema_in, context, values))


def schema_in(context: SessionContext, values: Mapping[str, Any], query: str) -> pa.Schema | None:
    """Return the columns of a query; ``None`` if it names what is only around it."""
    try:
        frame = context.sql(query, QUERIES_ONLY, param_values=dict(values) or None)
    except Exception:  # noqa: BLE001 - whatever DataFusion or a provider says of it
        return None
    return frame.schema()
