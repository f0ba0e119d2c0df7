"""Which formats files and tables have: a row each.

To add a format that a library reads, write what opens one (a
:class:`~affidavit.catalog.sources.files.library.LibraryDataset`) as a module of this room, and add
its row to :data:`FORMATS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.files.delta import is_delta, open_delta
from affidavit.catalog.sources.files.iceberg import open_iceberg
from affidavit.catalog.sources.files.iceberg_metadata import is_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.sources.files.library import LibraryDataset, Opening


def _holds_none(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Format:
    """One format of files or tables.

    Attributes:
        name: What follows STORED AS.
        endings: How its files may end, and the options that an ending stands for.
        options: Those that it takes, where a library reads it; DataFusion knows its own.
        detect: Returns whether a local path is a table of it.
        open: Opens a table; ``None`` where DataFusion reads it.
        is_written: Whether COPY writes it.
    """

    name: str
    endings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    detect: Callable[[str], bool] = _holds_none
    open: Callable[[Opening], LibraryDataset] | None = None
    is_written: bool = False


FORMATS: Final = {
    each.name: each
    for each in (
        Format("PARQUET", {"parquet": {}}, is_written=True),
        Format("CSV", {"csv": {}, "tsv": {"delimiter": "\t"}}, is_written=True),
        Format("JSON", {"json": {}, "ndjson": {}, "jsonl": {}}, is_written=True),
        Format("ARROW", {"arrow": {}, "feather": {}, "ipc": {}}, is_written=True),
        Format("AVRO", {"avro": {}}),
        Format("DELTA", options=("version",), detect=is_delta, open=open_delta),
        Format("ICEBERG", options=("snapshot_id",), detect=is_iceberg, open=open_iceberg),
    )
}


def format_named(name: str) -> tuple[str, Mapping[str, str]] | None:
    """Return the format that is called so, or whose files end so, and the options that it needs."""
    if name.upper() in FORMATS:
        return name.upper(), {}
    found = (each for each in FORMATS.values() if name.lower() in each.endings)
    return next(((each.name, each.endings[name.lower()]) for each in found), None)
