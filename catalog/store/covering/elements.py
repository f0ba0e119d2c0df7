"""A row of a covered table as an element of its object's sum.

An element is the bytes 0x01, the name of the object, the row's identity where the table's order is
covered, and each column that is not NULL, by name: its name, a letter for what it holds, and its
value. Integers are 64 bits, little-endian; texts and bytes follow their length in 32 bits.

Rule:
    - A value is written down as what it is, and not as what its column should hold: what somebody
      else put there is another element.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.covering.multiset import MARK, element, elements_sum
from affidavit.catalog.store.protocol import ROWID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.store.protocol import StoreTable
    from affidavit.catalog.values.types import StoreValue

    Row = tuple[StoreValue, ...]

MANY_ROWS: Final = 16
"""From so many rows on they are written down column by column, in a third less time."""

ROWS_AT_ONCE: Final = 128
"""How many rows are written down together: large ones take their size again."""

ROW: Final = b"\x01"
OBJECT: Final = b"\x05"


def _integer(value: object) -> bytes:
    return b"i" + int(value).to_bytes(8, "little", signed=True)  # type: ignore[call-overload]


def _text(value: object) -> bytes:
    data = str.encode(value, "utf-8", "surrogatepass")  # type: ignore[arg-type]
    return b"t" + len(data).to_bytes(4, "little") + data


def _blob(value: object) -> bytes:
    data = bytes(value)  # type: ignore[call-overload]
    return b"b" + len(data).to_bytes(4, "little") + data


def _real(value: object) -> bytes:
    return b"r" + struct.pack("<d", value)  # none of ours: SQLite takes any value in any column


class _Writers(dict[type, "Callable[[object], bytes]"]):
    """How values are written, by their types; one of a caller's own as the one that it extends."""

    def __missing__(self, kind: type) -> Callable[[object], bytes]:
        self[kind] = found = next(self[base] for base in kind.__mro__ if base in self)
        return found


_WRITE: Final = _Writers(
    {int: _integer, str: _text, bytes: _blob, bytearray: _blob, memoryview: _blob, float: _real}
)


def named(text: str) -> bytes:
    """Return a name after its length in 16 bits."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(2, "little") + data


@lru_cache(maxsize=4096)
def _places(columns: tuple[str, ...], name: str) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return how the elements of an object begin, and the place of each column, by its name."""
    named_columns = [(columns.index(each), named(each)) for each in sorted(columns)]
    return MARK + ROW + named(name), [each for each in named_columns if each[1] != named(ROWID)]


def object_name(table: StoreTable, value: object = None) -> str:
    """Return what the object is called whose sum has the rows of ``table`` that share a value."""
    cover = table.cover
    return table.name if cover is None or cover.by is None else f"{table.name}/{value}"


def grouped(
    table: StoreTable, columns: Sequence[str], rows: Sequence[Row]
) -> dict[str, Sequence[Row]]:
    """Return rows by the name of the object that has them in its sum."""
    cover = table.cover
    if cover is None or cover.by is None:
        return {table.name: rows}
    at = columns.index(cover.by)
    if len(rows) == 1:
        return {object_name(table, rows[0][at]): rows}
    found: dict[object, list[Row]] = {}
    for row in rows:
        found.setdefault(row[at], []).append(row)
    return {object_name(table, value): members for value, members in found.items()}


def rows_sum(
    table: StoreTable, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> int:
    """Return the sum of rows of the object ``name``.

    ``columns`` has ``_rowid`` first where the table's order is covered.
    """
    start, places = _places(tuple(columns), name)
    is_ordered = table.cover is not None and table.cover.is_ordered
    total, source = 0, iter(rows)
    while some := list(islice(source, ROWS_AT_ONCE)):
        if len(some) >= MANY_ROWS:
            total += elements_sum(_written(some, start, places, is_ordered=is_ordered))
            continue
        for row in some:
            parts = [start, _WRITE[type(row[0])](row[0])] if is_ordered else [start]
            for at, written in places:
                value = row[at]
                if value is not None:
                    parts.append(written)
                    parts.append(_WRITE[type(value)](value))
            total += element(b"".join(parts))
    return total


def _written(
    rows: Sequence[Sequence[object]],
    start: bytes,
    places: Sequence[tuple[int, bytes]],
    *,
    is_ordered: bool,
) -> Iterator[bytes]:
    """Return the elements of rows, which are written down column by column."""
    columns = list(zip(*rows, strict=True))
    begun = _column(start, columns[0]) if is_ordered else [start] * len(rows)
    parts = [_column(written, columns[at]) for at, written in places]
    return map(b"".join, zip(begun, *parts, strict=True))


def _column(written: bytes, values: Sequence[object]) -> list[bytes]:
    """Return the values of a column, each after what it begins with; nothing for NULL."""
    kinds = set(map(type, values))
    if kinds == {int}:
        begun = written + b"i"
        return [begun + int.to_bytes(each, 8, "little", signed=True) for each in values]  # type: ignore[arg-type]  # all are
    if kinds == {str}:
        begun = written + b"t"
        texts = [str.encode(each, "utf-8", "surrogatepass") for each in values]  # type: ignore[arg-type]  # all are
        return [begun + len(each).to_bytes(4, "little") + each for each in texts]
    return [b"" if each is None else written + _WRITE[type(each)](each) for each in values]


def object_element(name: str, version: int, count: int, sha256: bytes) -> bytes:
    """Return the element that an object is of its tenant's sum, for its own sum's SHA-256."""
    numbers = struct.pack("<qq", version, count)
    return MARK + OBJECT + named(name) + numbers + sha256
