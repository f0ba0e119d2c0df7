"""The disk: what is to survive a power cut, and where the folders of names lie."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.folder_names import chosen, is_plain, marked
from affidavit.catalog.sql.names import SHARED, SHARED_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS_KEPT: Final = 1024
"""Of how many folders it is remembered whether case counts there."""


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tenant_folder(parent: Path, tenant: str) -> Path:
    """Return where in ``parent`` the folder of a tenant is, as the store writes it."""
    return parent / SHARED_FOLDER if tenant == SHARED else folder_in(parent, tenant)


def folder_in(parent: Path, name: str, *, ending: str = "") -> Path:
    """Return where in ``parent`` the folder of a name is, or is to be.

    No other name has the same one, on a file system that tells no case apart either.
    """
    plain = parent / f"{name}{ending}"
    if is_plain(name) and not folds_case(parent):
        return plain
    own = parent / f"{marked(name)}{ending}"
    if own.exists():
        return own
    there: list[str] = []
    with suppress(OSError):  # then it is not there yet
        there = [each.name for each in parent.iterdir()]
    return parent / chosen(name, there, ending=ending)


@lru_cache(FOLDERS_KEPT)
def folds_case(folder: Path) -> bool:
    """Return whether names that differ in case alone are one in a folder, or the next that is."""
    for each in (folder, *folder.parents):
        other = each.with_name(each.name.swapcase()) if each.name else each
        if other != each and each.exists():
            return other.exists() and each.samefile(other)
    return False
