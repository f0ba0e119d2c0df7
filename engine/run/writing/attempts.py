"""A statement that is tried with no lock held, and again where others came before it."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING, Final

from affidavit.engine.run.writing.still import MovedError
from affidavit.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.engine.result.result import Result

ATTEMPTS_MAX: Final = 3
"""How often a statement is tried with no lock held."""

PAUSE_S: Final = 0.001
"""How long it waits before the second time, and twice as long before each time after."""


def attempted(
    catalog: Catalog,
    name: str,
    at_snapshot: Callable[[], Result],
    under_lock: Callable[[], Result],
) -> Result:
    """Return what a statement gives that reads, and then writes what it made of that.

    Args:
        catalog: Who runs it.
        name: The table that it writes.
        at_snapshot: Reads with no lock held, and raises MovedError where that is no longer so when
            it writes.
        under_lock: Reads and writes under the lock of the table's writers: what the last attempt
            does, and what every statement does in a transaction that the caller has open, whose
            own changes it is to see.

    Raises:
        ConflictError: Others changed what it reads each time that it was tried.
    """
    if catalog.transactions.current() is not None:
        return under_lock()
    for attempt in range(ATTEMPTS_MAX):
        try:
            return at_snapshot()
        except MovedError:
            if catalog.trace is not None:
                catalog.trace.read.clear()
            sleep(PAUSE_S * 2**attempt)
    catalog.lake.store.holds.note_planned()
    try:
        return under_lock()
    except MovedError:
        msg = (
            f"what the statement reads beside {name!r} was changed by others while it ran, "
            f"{ATTEMPTS_MAX + 1} times: nothing was written, try again"
        )
        raise ConflictError(msg) from None
