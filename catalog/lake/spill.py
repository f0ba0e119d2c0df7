"""Rows that are read once and written later: in memory, or in a file where they are many.

Rules:
    - The file lies in the lake's staging folder and is removed on every way out; what a crash
      leaves there is removed by who opens the lake next.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.lake.lake import Lake

MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
"""How much is held in memory; more goes to a file."""

BATCH_ROWS_MAX: Final = 65_536
"""How many rows of a file are handed on as one batch."""


class Spilled:
    """Record batches of one schema, in the order in which they came; read as often as one likes.

    Attributes:
        schema: Their columns.
        num_rows: How many rows they have.
    """

    def __init__(
        self,
        schema: pa.Schema,
        memory: list[pa.RecordBatch],
        file: Path | None = None,
        num_rows: int | None = None,
    ) -> None:
        self.schema = schema
        self.num_rows = sum(map(len, memory)) if num_rows is None else num_rows
        self._memory = memory
        self._file = file

    @property
    def is_in_file(self) -> bool:
        """Whether they were too many for memory."""
        return self._file is not None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._file is None:
            yield from self._memory
            return
        with _file_errors(), pa.memory_map(str(self._file)) as source:
            reader = pa.ipc.open_file(source)
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at)

    @property
    def table(self) -> pa.Table:
        """All of them in memory, or mapped into it."""
        return pa.Table.from_batches(self, self.schema)

    def grouped(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in as few batches as may be: one, if they are in memory."""
        parts: list[pa.RecordBatch] = []
        rows = 0
        for batch in self:
            parts.append(batch)
            rows += batch.num_rows
            if self.is_in_file and rows >= BATCH_ROWS_MAX:
                yield from _together(parts, self.schema)
                parts, rows = [], 0
        yield from _together(parts, self.schema)


def _together(parts: list[pa.RecordBatch], schema: pa.Schema) -> list[pa.RecordBatch]:
    if len(parts) == 1:
        return parts
    return pa.Table.from_batches(parts, schema).combine_chunks().to_batches()


@contextmanager
def spilled(lake: Lake, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[Spilled]:
    """Read ``batches`` to their end, and yield them; they are gone after the block.

    What is held in memory is of the lake's; where none is left, the file is begun earlier.

    Raises:
        LakeError: The file cannot be written.
    """
    memory: list[pa.RecordBatch] = []
    source = iter(batches)
    with lake.memory.hold() as hold:
        for batch in source:
            memory.append(batch)
            if hold.size + batch.nbytes > MEMORY_BYTES_MAX or not hold.may_add(batch.nbytes):
                break
        else:
            yield Spilled(schema, memory)
            return
    with lake.folders.staging() as folder:
        file = folder / "rows.arrow"
        with _file_errors():
            folder.mkdir()
        rows = _write(file, schema, chain(memory, source))
        memory.clear()
        yield Spilled(schema, [], file, rows)


def _write(file: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Write ``batches`` and return how many rows they have."""
    rows = 0
    with ExitStack() as stack:
        with _file_errors():
            sink = stack.enter_context(pa.OSFile(str(file), "wb"))
            writer = stack.enter_context(pa.ipc.new_file(sink, schema))
        for batch in batches:  # whose errors are their own
            with _file_errors():
                writer.write_batch(batch)
            rows += batch.num_rows
        with _file_errors():
            stack.close()
    return rows


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"rows that were too many for memory cannot be kept in the lake's folder: {error}"
        raise LakeError(msg) from error
