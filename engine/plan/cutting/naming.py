"""Columns of a frame, called by names that belong to relations.

DataFusion's projections can call a column ``orders.id``; its Python frames cannot say so, but their
expressions can be read from DataFusion's own bytes (``datafusion.proto``: ``AliasNode`` and
``TableReference``), which are put together here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datafusion import Expr, col

from affidavit.engine.plan.cutting.reading.messages import body, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datafusion import DataFrame, SessionContext

    Named = tuple[tuple[str, ...], str]

_ALIAS: Final = 2
_RELATION: Final = 3


def called(frame: DataFrame, names: Sequence[Named], context: SessionContext) -> DataFrame:
    """Return a frame's columns ``c0``, ``c1`` and so on by other names.

    Args:
        frame: The frame.
        names: What each belongs to, as the parts of that name, and what it is called.
        context: What reads the expressions.
    """
    return frame.select(
        *(_called(f"c{at}", relation, name, context) for at, (relation, name) in enumerate(names))
    )


def _called(column: str, relation: tuple[str, ...], name: str, context: SessionContext) -> Expr:
    plain = col(column).alias(name)
    if not relation:
        return plain
    alias = body(plain.to_bytes())
    parts = b"".join(field(at, part.encode()) for at, part in enumerate(relation, 1))
    reference = field(len(relation), parts)
    return Expr.from_bytes(field(_ALIAS, alias + field(_RELATION, reference)), context)
