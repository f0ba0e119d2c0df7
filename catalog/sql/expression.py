"""SQL where a value is expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from affidavit.catalog.sql.quoting import quoted
from affidavit.errors import ConstraintError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Expression:
    """An SQL expression over a row's columns, as in ``table.update({"n": expr("n + 1")}, ...)``."""

    sql: str


class Rows(Protocol):
    """The rows of a query."""

    @property
    def num_rows(self) -> int:
        """How many there are."""

    def to_arrow(self) -> pa.Table:
        """Return them as a table."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return them as dicts."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield a dict a row."""


class Statements(Protocol):
    """What runs an SQL statement for a table handle: the session."""

    def run(self, text: str, params: Mapping[str, object]) -> int:
        """Run one DML statement and return how many rows it touched."""

    def rows(self, text: str, params: Mapping[str, object]) -> Rows:
        """Run one query, and return its rows."""

    def defaults(
        self, schema: pa.Schema, expressions: Mapping[str, str], count: int
    ) -> dict[str, pa.Array]:
        """Return each column's default for so many rows, as the column's type."""


def update_text(
    schema: str,
    table: str,
    values: Mapping[str, object],
    where: str,
    given: Mapping[str, object] = MappingProxyType({}),
) -> tuple[str, dict[str, object]]:
    """Return an UPDATE statement and its parameters: those ``given``, and one for each value."""
    params, prefix, sets = dict(given), "set_", []
    while any(name.startswith(prefix) for name in given):
        prefix += "_"
    for at, (column, value) in enumerate(values.items()):
        if isinstance(value, Expression):
            sets.append(f"{quoted(column)} = ({value.sql})")
        else:
            params[f"{prefix}{at}"] = value
            sets.append(f"{quoted(column)} = ${prefix}{at}")
    name = f"{quoted(schema)}.{quoted(table)}"
    return f"UPDATE {name} SET {', '.join(sets)} WHERE {where}", params


def select_text(schema: str, table: str, where: str) -> str:
    """Return a query for whole rows."""
    return f"SELECT * FROM {quoted(schema)}.{quoted(table)} WHERE {where}"


def delete_text(schema: str, table: str, where: str) -> str:
    """Return a DELETE statement."""
    return f"DELETE FROM {quoted(schema)}.{quoted(table)} WHERE {where}"


def truncate_text(schema: str, table: str) -> str:
    """Return a TRUNCATE statement."""
    return f"TRUNCATE {quoted(schema)}.{quoted(table)}"


# --- rows by their keys ---------------------------------------------------------------------------

KEY_VALUES_MAX: Final = 10_000
"""How many values the keys of one call may have: a statement has no more parameters."""

LISTED_MAX: Final = 300
"""Of more keys of several columns a table of them is joined to the rows."""


def condition_of(
    keys: object, columns: Sequence[str], table: str
) -> tuple[str, dict[str, Any]] | None:
    """Return a condition and its parameters; ``None`` for no keys.

    Args:
        keys: A key, or a list of them; of a key of several columns a tuple or a dict each.
        columns: The key's columns.
        table: The table's name.

    Raises:
        ConstraintError: The table has no key.
        InvalidQueryError: A key is NULL, or has other columns.
    """
    if not columns:
        msg = f"table {table!r} has no primary key: name rows by where="
        raise ConstraintError(msg)
    rows = [_values(key, columns, table) for key in _listed(keys, columns)]
    if not rows:
        return None
    return _written_out(rows, [quoted(column) for column in columns])


def _listed(keys: object, columns: Sequence[str]) -> list[object]:
    """Return the keys one by one; a text, number, dict, or tuple of a wide key is a single one."""
    is_single = isinstance(keys, str | bytes | Mapping) or not isinstance(keys, Iterable)
    if is_single or (len(columns) > 1 and isinstance(keys, tuple)):
        return [keys]
    found = keys.to_pylist() if hasattr(keys, "to_pylist") else list(keys)  # type: ignore[call-overload]  # checked above
    if len(found) * len(columns) > KEY_VALUES_MAX:
        msg = (
            f"there are {len(found):,} keys, and {KEY_VALUES_MAX // len(columns):,} are allowed at "
            "once: name fewer at a time, or the rows by where="
        )
        raise InvalidQueryError(msg)
    return list(found)


def _values(key: object, columns: Sequence[str], table: str) -> tuple[Any, ...]:
    if isinstance(key, Mapping):
        values = tuple(key.get(column) for column in columns) if len(key) == len(columns) else ()
    elif len(columns) > 1:
        values = tuple(key) if isinstance(key, tuple | list) else ()
    else:
        values = () if isinstance(key, list | tuple | set) else (key,)
    if len(values) != len(columns) or any(value is None for value in values):
        msg = f"a key of table {table!r} has the columns {list(columns)}, got {key!r}"
        raise InvalidQueryError(msg)
    return tuple(_plain(value) for value in values)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number of numpy's, or whatever else a key is
    return value.item() if hasattr(value, "item") else value


def _written_out(
    rows: Sequence[tuple[Any, ...]], columns: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    width = len(columns)
    params = {f"k{at}": value for at, value in enumerate(chain.from_iterable(rows))}
    places = [[f"$k{at * width + i}" for i in range(width)] for at in range(len(rows))]
    if width == 1:
        return f"{columns[0]} IN ({', '.join(place for [place] in places)})", params
    if len(rows) <= LISTED_MAX:
        each = (zip(columns, place, strict=True) for place in places)
        told = (" AND ".join(f"{name} = {value}" for name, value in one) for one in each)
        return " OR ".join(f"({one})" for one in told), params
    listed = ", ".join(f"({', '.join(place)})" for place in places)
    own = "affidavit_key"  # a name of the table's own would be the inner one's
    while any(own in column.casefold() for column in columns):
        own += "_"
    names = [f"{own}_{at}" for at in range(width)]
    joined = " AND ".join(f"{own}.{at} = {name}" for at, name in zip(names, columns, strict=True))
    made = f"(VALUES {listed}) AS {own} ({', '.join(names)})"
    return f"EXISTS (SELECT 1 FROM {made} WHERE {joined})", params
