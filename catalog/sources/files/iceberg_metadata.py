"""The metadata file of an Iceberg table: the newest that its folder has, where no catalog says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyarrow import fs

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

METADATA_FOLDER: Final = "metadata"
METADATA_ENDING: Final = ".metadata.json"
_HINT: Final = "version-hint.text"
_VERSION: Final = re.compile(r"v?(\d+)(?:-[^/]*)?(?:\.gz)?\.metadata\.json")


def newest_metadata(names: Iterable[str]) -> str | None:
    """Return the metadata file of the highest version among ``names``; ``None`` if none has one.

    Raises:
        SourceError: Two have that version: a catalog knows which was committed, and no folder.
    """
    numbered = [(int(match[1]), name) for name in names if (match := _VERSION.fullmatch(name))]
    highest = max((number for number, _ in numbered), default=None)
    found = sorted(name for number, name in numbered if number == highest)
    if len(found) > 1:
        msg = f"{found} are of one version: attach the one that is meant"
        raise SourceError(msg)
    return found[0] if found else None


def is_iceberg(path: str) -> bool:
    """Return whether a local path is an Iceberg table's folder or metadata file."""
    if path.endswith(METADATA_ENDING):
        return True
    folder = Path(path) / METADATA_FOLDER
    return folder.is_dir() and any(folder.glob(f"*{METADATA_ENDING}"))


def newest_in(files: fs.FileSystem, folder: str) -> str | None:
    """Return the name of the newest metadata file in a folder; ``None`` if there is none.

    Raises:
        SourceError: It cannot be told.
    """
    listed = files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    names = {each.base_name for each in listed}
    if _HINT in names:
        with files.open_input_stream(f"{folder}/{_HINT}") as stream:
            hint = stream.read().decode().strip()
        hinted = hint if hint.endswith(METADATA_ENDING) else f"v{hint}{METADATA_ENDING}"
        if hinted in names:
            return hinted
    return newest_metadata(names)
