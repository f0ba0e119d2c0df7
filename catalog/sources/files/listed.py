"""The local files of a table, as DataFusion lists them, and what their folders say."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

NULL_FOLDER: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of the rows whose partition is NULL."""


def data_files(location: str) -> list[Path]:
    """Return the files that have something in them: of a path, a pattern, or a folder.

    Of a folder those in it and in its partitions, ``name=value``.
    """
    place = location.removeprefix("file://")
    is_pattern = any(each in place for each in "*?[")
    found = glob(place, recursive=True) if is_pattern else [place]  # noqa: PTH207 - as it is written
    several = (_below(Path(each)) for each in sorted(found))
    return [path for paths in several for path in paths if path.stat().st_size]


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.is_file():
                yield each
            elif "=" in each.name:
                yield from _below(each)


def partition_of(path: Path, location: str) -> dict[str, str]:
    """Return what the folders of a file below a table's say of its rows, as it is written there.

    Of a pattern, or a file by itself, they say nothing.
    """
    root = Path(location.removeprefix("file://"))
    if not root.is_dir():
        return {}
    named = (each.partition("=") for each in path.parent.relative_to(root).parts)
    return {name: value for name, _, value in named}


def folder_value(written: str) -> str | None:
    """Return the value that a folder of a partition stands for: its name may have escapes."""
    return None if written == NULL_FOLDER else unquote(written)
