"""SQLite's errors, as those of affidavit."""

from __future__ import annotations

import sqlite3
from typing import Final

from affidavit.errors import (
    AffidavitError,
    ClosedError,
    ConstraintError,
    LakeError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
)

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CODE_MASK: Final = 0xFF


class translated:  # noqa: N801 - it reads as the function that it was, and costs a fifth
    """Raise what the block raised of SQLite's as an error that says ``what`` failed."""

    __slots__ = ("_timeout_s", "_what")

    def __init__(self, what: str, timeout_s: float) -> None:
        self._what = what
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise _ours(error, self._what, self._timeout_s) from error


def _ours(error: sqlite3.Error | UnicodeDecodeError, what: str, timeout_s: float) -> AffidavitError:
    said = f"{what}: {error}"
    if isinstance(error, sqlite3.IntegrityError):
        return ConstraintError(said)
    if isinstance(error, sqlite3.ProgrammingError):
        return ClosedError(f"{what}: the store was closed")
    code = getattr(error, "sqlite_errorcode", 0) & _CODE_MASK
    if code in _BUSY:
        return StoreBusyError("the store", timeout_s=timeout_s)
    if code == sqlite3.SQLITE_READONLY:
        return ReadOnlyError(f"{what}: the lake cannot be written: {error}")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}:
        return LakeError(said)
    return StoreError(said)
