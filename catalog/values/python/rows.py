"""What callers hold as one row: a dict, or an object that has named fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final
from uuid import UUID

from affidavit.errors import SchemaMismatchError

ARRAY_DIMENSIONS_MAX: Final = 2
"""An array in a row is a list, or a list of lists."""


def row_of(given: object) -> Mapping[str, Any] | None:
    """Return the row that ``given`` is; ``None`` if it is none.

    A row is a mapping, an instance of a dataclass, a named tuple, or a pydantic model, of which
    LanceDB's are.
    """
    if isinstance(given, Mapping):
        return given
    if isinstance(given, type):
        return None
    if is_dataclass(given):
        return {field.name: getattr(given, field.name) for field in fields(given)}
    names = "_asdict" if isinstance(given, tuple) else "model_dump"
    dump = getattr(given, names, None)
    return dict(dump()) if callable(dump) else None


def rows_in(data: object) -> Sequence[Mapping[str, Any]] | None:
    """Return the rows of which ``data`` is one, or a list; ``None`` if it is neither.

    A mapping is a row unless all of its values are columns. An empty list has no rows.

    Raises:
        SchemaMismatchError: It is a list of rows, and something else.
    """
    if isinstance(data, Mapping):
        return [data] if any(not is_column(value) for value in data.values()) else None
    row = row_of(data)
    if row is not None:
        return [row]
    if not isinstance(data, list | tuple) or not data or row_of(data[0]) is None:
        return None
    return data if set(map(type, data)) == {dict} else [required_row(each) for each in data]


def required_row(given: object) -> Mapping[str, Any]:
    """Return the row that ``given`` is.

    Raises:
        SchemaMismatchError: It is none.
    """
    row = row_of(given)
    if row is None:
        msg = (
            "expected rows as dicts, dataclasses, named tuples or pydantic models, got "
            f"{type(given).__name__}"
        )
        raise SchemaMismatchError(msg)
    return row


def is_column(value: object) -> bool:
    """Return whether a value of a dict of columns can be one: many values, and no text or row."""
    if isinstance(value, str | bytes | bytearray) or getattr(value, "ndim", 1) == 0:
        return False
    many = isinstance(value, Sequence) or hasattr(value, "__array__")
    return (many or hasattr(value, "__arrow_c_array__")) and row_of(value) is None


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever stands in a row
    """Return a value as Arrow takes it: UUIDs as text, objects as dicts, arrays as lists.

    Raises:
        SchemaMismatchError: An array has more than two dimensions.
    """
    if isinstance(value, UUID):
        return str(value)
    dimensions = getattr(value, "ndim", 0)
    if dimensions > ARRAY_DIMENSIONS_MAX:
        msg = f"an array in a row has {dimensions} dimensions: expected one, or two"
        raise SchemaMismatchError(msg)
    if dimensions and hasattr(value, "tolist"):
        return plain(value.tolist())
    row = row_of(value)
    if row is not None:
        return {name: plain(each) for name, each in row.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
