"""What was sent to databases for one statement, and what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@dataclass(slots=True)
class Came:
    """What came of one query.

    Attributes:
        rows: So many rows; ``None`` until it was run.
        bytes: So many bytes of Arrow.
        is_sub_tree: Whether it answers a sub-tree of a plan, and not a table alone.
    """

    rows: int | None = None
    bytes: int = 0
    is_sub_tree: bool = False


class SentQueries:
    """The queries of one statement.

    Attributes:
        queries: What came of each, by source and SQL, in the order in which they were planned.
        kept: Why a sub-tree is not sent that might be, where something went wrong.
    """

    def __init__(self) -> None:
        self.queries: dict[tuple[str, str], Came] = {}
        self.kept: dict[str, None] = {}

    def keep(self, why: str) -> None:
        """Note why a sub-tree is not sent."""
        self.kept[why] = None

    def note(self, source: str, sql: str, *, is_sub_tree: bool = False) -> Came:
        """Note that a query is, or is to be, sent to a source; return what came of it."""
        return self.queries.setdefault((source, sql), Came(is_sub_tree=is_sub_tree))

    def count(self, source: str, sql: str, batch: pa.RecordBatch | None) -> None:
        """Note that rows came of a query; without a batch, that it is run."""
        came = self.note(source, sql)
        came.rows = (came.rows or 0) + (0 if batch is None else batch.num_rows)
        came.bytes += 0 if batch is None else batch.nbytes

    def counted(
        self, source: str, sql: str, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a query, and note them."""
        for batch in batches:
            self.count(source, sql, batch)
            yield batch
