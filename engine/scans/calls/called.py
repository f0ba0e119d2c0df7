"""Callers' own code, while a thread of a plan calls it.

Such a thread drives DataFusion's runtime, which panics where it is asked for another plan.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALLED: Final[ContextVar[str | None]] = ContextVar("called", default=None)


@contextmanager
def called(what: str) -> Iterator[None]:
    """Call code of a caller's in the block: it can run no statement on this thread."""
    outer = _CALLED.set(what)
    try:
        yield
    finally:
        _CALLED.reset(outer)


def refuse_within_call() -> None:
    """Raise ExecutionError if this thread calls code of a caller's for a plan."""
    what = _CALLED.get()
    if what is not None:
        msg = (
            f"{what} is called by a plan, whose thread can run no other statement: run it before, "
            "or in a thread of its own"
        )
        raise ExecutionError(msg)
