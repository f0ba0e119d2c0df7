"""Callers' own code, while a thread of a plan calls it.

Such a thread drives DataFusion's runtime, which panics where it is asked for another plan.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Here(threading.local):
    """What this thread calls, if it does."""

    what: str | None = None


_HERE: Final = _Here()


@contextmanager
def called(what: str) -> Iterator[None]:
    """Call code of a caller's in the block: it can run no statement on this thread."""
    outer, _HERE.what = _HERE.what, what
    try:
        yield
    finally:
        _HERE.what = outer


def refuse_within_call() -> None:
    """Raise ExecutionError if this thread calls code of a caller's for a plan."""
    what = _HERE.what
    if what is not None:
        msg = (
            f"{what} is called by a plan, whose thread can run no other statement: run it before, "
            "or in a thread of its own"
        )
        raise ExecutionError(msg)
