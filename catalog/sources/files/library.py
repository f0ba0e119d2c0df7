"""Tables that a library reads: its batches, fitted and filtered as DataFusion would have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import columns_of
from affidavit.catalog.sql.scan import ScanDataset, rows_without_columns
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.sources.buckets.bucket import Bucket
    from affidavit.catalog.sql.predicate import Predicate


@dataclass(frozen=True, slots=True)
class Opening:
    """What a library is to open.

    Attributes:
        location: The table's folder or metadata file.
        options: Those of the table's format.
        bucket: How its bucket is reached; ``None`` if it is in none.
        fail: Told what a scan raises.
        errors: Tells what the library raises as a SourceError.
        check: Raises where a file may not be read that the table's metadata names.
    """

    location: str
    options: Mapping[str, str]
    bucket: Bucket | None
    fail: Callable[[BaseException], None]
    errors: Callable[[], AbstractContextManager[None]]
    check: Callable[[str], object]

    def number(self, option: str) -> int | None:
        """Return an option that is a whole number, if it was given.

        Raises:
            SourceError: It is none.
        """
        given = self.options.get(option)
        if given is None:
            return None
        if not (given.isascii() and given.isdecimal()):
            msg = f"{option}= must be a whole number, got {given!r}"
            raise SourceError(msg)
        return int(given)


class LibraryDataset(ScanDataset):
    """A table at one version, read by a library.

    The library is handed a filter that may select more, and all of it is asked again here.

    Args:
        schema: The columns.
        refused: Those that cannot be read, and their types there: reading one is an error.
        version: The version, as its format numbers them.
        opening: What was opened.
    """

    def __init__(
        self,
        schema: pa.Schema,
        refused: Mapping[str, str],
        version: int,
        opening: Opening,
    ) -> None:
        super().__init__(schema, opening.fail)
        self.refused = refused
        self.version = version
        self._errors = opening.errors

    def count(self) -> int:
        """Return how many rows there are."""
        raise NotImplementedError

    def batches(
        self, columns: Sequence[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows that may match, with ``columns``, of which there is one at least."""
        raise NotImplementedError

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        others = sorted(columns_of(predicate) - set(columns)) if predicate is not None else []
        needed = [*columns, *others]
        for name in needed:
            if name in self.refused:
                msg = f"column {name!r} cannot be read, a {self.refused[name]}: name the others"
                with self._errors():
                    raise SourceError(msg)
        if not needed:
            with self._errors():
                rows = self.count()
            for batch in rows_without_columns(rows):
                yield keep(predicate, batch)
            return
        schema = pa.schema([self.schema.field(name) for name in needed])
        with self._errors():
            batches = iter(self.batches(needed, predicate))
        while True:
            with self._errors():
                batch = next(batches, None)
                if batch is None:
                    return
                fitted = _fitted(batch, schema)
            yield keep(predicate, fitted).select(columns)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of ``schema`` as their types."""
    arrays = []
    for field in schema:
        array = batch.column(field.name)
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
