"""Texts of a kind: UUIDs, JSON, and the values of an enum."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.values.arrays import whole
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UUID_KIND: Final = "uuid"
JSON_KIND: Final = "json"
_UUID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
"""How a UUID is kept."""


def of_kind(
    kind: str | tuple[str, ...], values: pa.Array | pa.ChunkedArray, *, column: str, table: str
) -> pa.Array:
    """Return texts as they are kept, once each was found to be of ``kind``.

    Raises:
        ConstraintError: One is not.
    """
    array = whole(values)
    plain = array.cast(pa.large_string())  # views have no kernels
    if isinstance(kind, tuple):
        known = pc.is_in(plain, pa.array(kind, plain.type))
        wrong = pc.and_(plain.is_valid(), pc.invert(known))
        at = pc.index(wrong, value=True).as_py()
        if at >= 0:
            told = f"none of {', '.join(map(repr, kind))}"
            raise _wrong(column, table, at, array[at].as_py(), told)
        return array
    return _KINDS[kind](plain, column, table).cast(array.type)


def _uuids(array: pa.Array, column: str, table: str) -> pa.Array:
    if pc.all(pc.match_substring_regex(array, _UUID)).as_py() is not False:
        return array
    return _each(array, lambda text: str(UUID(text)), "no UUID", column, table)


def _jsons(array: pa.Array, column: str, table: str) -> pa.Array:
    def checked(text: str) -> str:
        json.loads(text, parse_constant=_refuse_constant)
        return text

    return _each(array, checked, "no JSON", column, table)


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def _each(
    array: pa.Array, read: Callable[[str], str], told: str, column: str, table: str
) -> pa.Array:
    kept: list[str | None] = []
    for at, text in enumerate(array.to_pylist()):
        try:
            kept.append(None if text is None else read(text))
        except (ValueError, RecursionError) as error:
            raise _wrong(column, table, at, text, told) from error
    return pa.array(kept, array.type)


def _wrong(column: str, table: str, at: int, value: object, told: str) -> ConstraintError:
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN_MAX else f"{shown[:SHOWN_MAX]}..."
    return ConstraintError(f"column {column!r} of table {table!r}: row {at} has {shown}, {told}")


SHOWN_MAX: Final = 100
_KINDS: Final[Mapping[str, Callable[[pa.Array, str, str], pa.Array]]] = {
    UUID_KIND: _uuids,
    JSON_KIND: _jsons,
}
"""What reads the texts of each kind that has a name."""
