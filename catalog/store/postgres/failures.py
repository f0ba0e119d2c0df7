"""PostgreSQL's errors, as those of affidavit; without what the driver quotes of a URL."""

from __future__ import annotations

from typing import Final

from psycopg import Error, InterfaceError, OperationalError
from psycopg import errors as sql

from affidavit.errors import (
    AffidavitError,
    ConstraintError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
)

_BUSY: Final = (
    sql.LockNotAvailable,
    sql.DeadlockDetected,
    sql.SerializationFailure,
)
LOST: Final = (OperationalError, InterfaceError)
"""What the driver raises of a connection that is gone, and of others too."""


class translated:  # noqa: N801 - it reads as a function
    """Raise what the block raised of the driver's as an error that says ``what`` failed."""

    __slots__ = ("_timeout_s", "_what")

    def __init__(self, what: str, timeout_s: float) -> None:
        self._what = what
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Error | UnicodeDecodeError):
            raise ours(error, self._what, self._timeout_s) from error


def ours(error: Error | UnicodeDecodeError, what: str, timeout_s: float) -> AffidavitError:
    """Return what affidavit raises for an error of the driver's."""
    lines = str(error).strip().splitlines()
    said = f"{what}: {lines[0] if lines else type(error).__name__}"
    if isinstance(error, _BUSY):
        return StoreBusyError("the store", timeout_s=timeout_s)
    if isinstance(error, sql.IntegrityError):
        return ConstraintError(said)
    if isinstance(error, sql.ReadOnlySqlTransaction):
        return ReadOnlyError(f"{what}: the database cannot be written: {lines[0]}")
    return StoreError(said)
