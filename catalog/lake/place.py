"""Where a lake is: the folder that a path names, and what else may be in its place."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from affidavit.errors import LakeError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A scheme of two letters or more, since one is a drive; pathlib makes one slash of two."""

OWN_FOLDERS: Final = frozenset(
    {"certificates", "copies", "journal", "keys", "locks", "pending", "records", "vectors"}
)
OWN_PREFIXES: Final = ("catalog.db", ".")
"""What a lake that was begun has in its folder; names with a dot in front are anybody's."""

NAMES_SHOWN_MAX: Final = 3


def is_own_name(name: str) -> bool:
    """Return whether a lake calls something in its folder so."""
    return name in OWN_FOLDERS or name.startswith(OWN_PREFIXES)


def lake_folder(path: object) -> Path:
    """Return the folder that a lake's path names, absolute.

    A path is text, a path of :mod:`pathlib`, or a ``file:///`` URL.

    Raises:
        LakeError: It is no path of a folder on this machine, or cannot be looked at.
    """
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str):
        msg = f"a lake's path must be text or a pathlib.Path, got {type(given).__name__} {given!r}"
        raise LakeError(msg)
    if not given.strip() or "\x00" in given:
        msg = f"{given!r} cannot be a lake's folder: expected a non-empty path without NUL"
        raise LakeError(msg)
    if given.strip().lower() == ":memory:":
        msg = (
            "a lake is a folder, and none is in memory alone: give the path of a temporary one, as "
            "tempfile.TemporaryDirectory() makes"
        )
        raise LakeError(msg)
    try:
        folder = Path(_local(given)).expanduser().absolute()
        is_file = folder.exists() and not folder.is_dir()
    except (OSError, RuntimeError) as error:
        msg = f"{given!r} cannot be opened as a lake's folder: {error}"
        raise LakeError(msg) from error
    if is_file:
        msg = f"{given!r} is a file: a lake is a folder"
        raise LakeError(msg)
    return folder


def path_of(url: SplitResult) -> str | None:
    """Return the path of this machine that a ``file:`` URL names: always from the root.

    ``None`` if it is another URL, or names a host, a query or a fragment.
    """
    says_more = url.netloc not in {"", "localhost"} or url.query or url.fragment
    if url.scheme.lower() != "file" or says_more:
        return None
    return "/" + unquote(url.path).lstrip("/")


def _local(given: str) -> str:
    """Return the path of this machine that text names.

    Raises:
        LakeError: It is the URL of something else.
    """
    if _URL.match(given) is None:
        return given
    try:
        url = urlsplit(given)
    except ValueError as error:
        raise LakeError(f"{given!r} is no URL: {error}") from error
    found = path_of(url)
    if found is not None:
        return found
    msg = (
        f"{given!r} is the URL of something else, and a lake is a folder of this machine: give its "
        "path (journal_url= keeps a journal in a bucket, and session.attach reads files there)"
    )
    raise LakeError(msg)


def refuse_others(folder: Path) -> None:
    """Raise LakeError if a folder in which a lake is to be made has other things.

    Raises:
        OSError: It cannot be looked at.
    """
    names = sorted(each.name for each in folder.iterdir()) if folder.exists() else []
    others = [name for name in names if not is_own_name(name)]
    if not others:
        return
    shown = ", ".join(map(repr, others[:NAMES_SHOWN_MAX]))
    what = "has other things than a lake"
    if any(name.endswith(".lance") for name in others):
        what = "is a folder of LanceDB's, which has no lake"
    msg = (
        f"{str(folder)!r} {what} ({shown}{'...' if len(others) > NAMES_SHOWN_MAX else ''}): give "
        f"an empty folder, or one that is not there, such as {str(folder / 'lake')!r}"
    )
    raise LakeError(msg)
