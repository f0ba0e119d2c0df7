"""What one statement read and wrote, noted while it is planned and run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affidavit.catalog.lake.queries import Query


@dataclass(frozen=True, slots=True)
class Trace:
    """The tables that one statement read and wrote, as ``schema.name@version``, in order.

    Attributes:
        read: Those that it read.
        written: Those that it wrote.
        query: The statement, as it runs.
    """

    read: dict[str, None] = field(default_factory=dict)
    written: dict[str, None] = field(default_factory=dict)
    query: Query | None = None

    def note_written(self, schema: str, table: str, version: int | None = None) -> None:
        """Note that a table was written, and the version that this made, where it says."""
        shown = "" if version is None else f"@{version}"
        self.written[f"{schema}.{table}{shown}"] = None
