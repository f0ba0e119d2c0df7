"""A statement handed to DataFusion with its parameters.

Rules:
    - A list or map that is NULL, or has lists in it, is handed over in a struct: what pyarrow 26
      makes an array of, as DataFusion's binding does of each parameter, is no such value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.lexer import edited, tokenize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datafusion import DataFrame, SessionContext, SQLOptions

_WRAPPED: Final = "affidavit_value"


def asked(
    context: SessionContext, text: str, values: Mapping[str, Any], options: SQLOptions | None
) -> DataFrame:
    """Return a context's plan of a statement with its parameters' values."""
    wrapped = {name: _wrapped(value) for name, value in values.items() if _is_lost(value)}
    if wrapped:
        text = _taken_out(text, wrapped)
    return context.sql(text, options, param_values={**values, **wrapped} or None)


def _is_lost(value: Any) -> bool:  # noqa: ANN401 - whatever a caller gave
    """Return whether pyarrow makes no array of a value."""
    if not isinstance(value, pa.ListScalar):  # as a map is, and a list of a fixed size
        return False
    inner = value.type.item_type if pt.is_map(value.type) else value.type.value_type
    return not value.is_valid or pt.is_nested(inner)


def _wrapped(value: pa.Scalar) -> pa.Scalar:
    return pa.StructArray.from_arrays([pa.repeat(value, 1)], [_WRAPPED])[0]


def _taken_out(text: str, wrapped: Mapping[str, pa.Scalar]) -> str:
    """Return a statement that takes the values out of what they are wrapped in."""
    found = (token for token in tokenize(text) if token.kind == "placeholder")
    taken = f"['{_WRAPPED}']"
    return edited(text, ((t.end, t.end, taken) for t in found if t.text[1:] in wrapped))
