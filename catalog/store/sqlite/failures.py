"""SQLite's errors, as those of affidavit."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.errors import (
    ClosedError,
    ConstraintError,
    LakeError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CODE_MASK: Final = 0xFF


@contextmanager
def translated(what: str, timeout_s: float) -> Iterator[None]:
    """Raise what the block raised of SQLite's as an error that says ``what`` failed."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        msg = f"{what}: {error}"
        raise ConstraintError(msg) from error
    except sqlite3.ProgrammingError as error:
        msg = f"{what}: the store was closed"
        raise ClosedError(msg) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _CODE_MASK
        if code in _BUSY:
            raise StoreBusyError("the store", timeout_s=timeout_s) from error
        if code == sqlite3.SQLITE_READONLY:
            msg = f"{what}: the lake cannot be written: {error}"
            raise ReadOnlyError(msg) from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}:
            msg = f"{what}: {error}"
            raise LakeError(msg) from error
        msg = f"{what}: {error}"
        raise StoreError(msg) from error
