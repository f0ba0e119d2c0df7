"""The columns of a new table or topic, in whatever form callers write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from affidavit.errors import SchemaMismatchError

Columns: TypeAlias = pa.Schema | Mapping[str, Any] | Sequence[Any] | type
"""A schema as callers may write it; a type is one of LanceDB's models."""


def schema_of(given: object) -> pa.Schema:
    """Return the schema that is given: as Arrow's, a dict, a list, or one of LanceDB's models.

    Raises:
        SchemaMismatchError: It is none of these, or has no columns.
    """
    schema = _read(given)
    if not len(schema):
        msg = "schema= has no columns: name at least one"
        raise SchemaMismatchError(msg)
    return schema


def _read(given: object) -> pa.Schema:
    if isinstance(given, pa.Schema):
        return given
    to_arrow = getattr(given, "to_arrow_schema", None)
    try:
        if callable(to_arrow):
            made = to_arrow()
            if isinstance(made, pa.Schema):
                return made
        is_pairs = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        if is_pairs or isinstance(given, Mapping) or hasattr(given, "__arrow_c_schema__"):
            return pa.schema(given)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise SchemaMismatchError(_expected(given, f": {error}")) from error
    raise SchemaMismatchError(_expected(given))


def _expected(given: object, reason: str = "") -> str:
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    return (
        "schema= must be a pyarrow.Schema, a dict such as {'id': pyarrow.int64()}, a list of "
        f"pyarrow's fields or such pairs, or a LanceModel; got {name}{reason}"
    )
