"""Whether rows are what the engine gave, and if they are not, in what they differ.

Only hashes of the rows are kept: so a difference is told as far as these, the columns and the
number of rows tell it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from affidavit.catalog.values.digest import (
    CHUNK_ROWS,
    RowsDigest,
    rows_set_digest,
    schema_json,
)
from affidavit.catalog.values.ingest import to_reader
from affidavit.engine.reads.frames import is_read_twice, read_in
from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.reads.receipt import Receipt


class Checked(int):
    """Whether rows are what a receipt is of: ``True`` or ``False``, and why.

    It is equal to the one or the other, and as true. ``bool`` takes no subclass.

    Attributes:
        reason: In what they differ, in a sentence; empty where they are what was given.
    """

    reason: str

    def __new__(cls, reason: str = "") -> Self:
        """Return the answer: yes, unless there is a reason why not."""
        found = super().__new__(cls, not reason)
        found.reason = reason
        return found

    def __repr__(self) -> str:
        return "True" if self else f"False: {self.reason}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Given:
    """What a record says of the rows that were given.

    Attributes:
        salt: What was hashed before them.
        sha256: Their digest after it.
        columns: Their names and types as a digest has them; ``None`` if it was erased.
        rows: How many there were.
        set_sha256: Their digest in no order, if there is one.
    """

    salt: bytes
    sha256: str
    columns: Sequence[Sequence[Any]] | None
    rows: int | None
    set_sha256: str | None


def checked(given: Given, receipt: Receipt, rows: object) -> Checked:
    """Return whether ``rows`` are what was given."""
    if (receipt.salt, receipt.result_sha256) != (given.salt.hex(), given.sha256):
        return Checked("the receipt is not that of its record: its salt or digest was changed")
    found = _hashed(rows, given.salt)
    if found.finish().hex() == given.sha256:
        return Checked()
    columns = given.columns
    if isinstance(receipt.schema, pa.Schema):
        columns = json.loads(schema_json(receipt.schema))
    told = json.loads(found.schema_json)
    reason = _other_names(columns, told)
    if reason or found.rows != given.rows:
        many = f"{found.rows:,} rows are there, and {given.rows or 0:,} were given"
        return Checked(reason or many)
    if isinstance(receipt.schema, pa.Schema) and is_read_twice(rows):
        try:
            rows = read_in(rows, receipt.schema)
        except SchemaMismatchError as error:
            return Checked(str(error))
        found = _hashed(rows, given.salt)
        if found.finish().hex() == given.sha256:
            return Checked()
        told = columns
    return Checked(_other_types(columns, told) or _other_rows(given, receipt, found, rows))


def _hashed(rows: object, salt: bytes) -> RowsDigest:
    with to_reader(rows) as reader:
        found = RowsDigest(reader.schema, salt)
        for batch in reader:
            found.add(batch)
    found.finish()
    return found


def _other_names(columns: Sequence[Sequence[Any]] | None, told: Sequence[Sequence[Any]]) -> str:
    """Return in what the names of columns differ; ``?`` stands for one that is not kept."""
    if columns is None:
        return ""
    were, are = [name for name, _ in columns], [name for name, _ in told]
    if len(were) == len(are) and all(a in {b, "?"} for a, b in zip(were, are, strict=True)):
        return ""
    if "?" not in were:
        missing, added = Counter(were) - Counter(are), Counter(are) - Counter(were)
        if missing:
            return f"column {next(iter(missing))!r} is missing: {were} were given"
        if added:
            return f"column {next(iter(added))!r} was not given: {were} were"
        return f"the columns stand in another order: {were} were given, and these are {are}"
    return f"there are columns {are}, and {were} were given ('?' is one whose name is not kept)"


def _other_types(columns: Sequence[Sequence[Any]] | None, told: Sequence[Sequence[Any]]) -> str:
    """Return the first column that is of another type."""
    for (_, was), (name, now) in zip(columns or (), told, strict=False):
        if was != now:
            return f"column {name!r} is of type {_shown(now)}, and was given as {_shown(was)}"
    return ""


def _shown(kind: object) -> str:
    return kind if isinstance(kind, str) else json.dumps(kind)


def _other_rows(given: Given, receipt: Receipt, found: RowsDigest, rows: object) -> str:
    """Return which rows of the right columns and number are others, as far as can be told."""
    is_open = given.set_sha256 is not None and is_read_twice(rows)
    if is_open and rows_set_digest(rows) == given.set_sha256:
        return "the rows stand in another order: each of them was given"
    marks = list(zip(receipt.chunks, found.chunks, strict=False))
    for at, (was, now) in enumerate(marks):
        if was != now:
            last = min((at + 1) * CHUNK_ROWS, found.rows)
            return (
                f"of rows {at * CHUNK_ROWS + 1:,} to {last:,} some are others, or stand in another "
                "order; those before them are what was given"
            )
    return (
        f"of its {found.rows:,} rows some are others, or stand in another order; columns, types "
        "and the number of rows are what was given"
    )
