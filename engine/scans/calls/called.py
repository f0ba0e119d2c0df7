"""Callers' own code, while a thread of a plan calls it.

Such a thread drives DataFusion's runtime, which panics where it is asked for another plan. The code
itself runs on a thread of Python's, which may end with the program.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

from affidavit.catalog.store.forks import apart
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_CALLED: Final[ContextVar[str | None]] = ContextVar("called", default=None)


def called(what: str, call: Callable[[], T]) -> T:
    """Return what code of a caller's gives: it can run no statement meanwhile."""

    def marked() -> T:
        outer = _CALLED.set(what)
        try:
            return call()
        finally:
            _CALLED.reset(outer)

    return apart(marked)


def refuse_within_call() -> None:
    """Raise ExecutionError if this thread calls code of a caller's for a plan."""
    what = _CALLED.get()
    if what is not None:
        msg = (
            f"{what} is called by a plan, whose thread can run no other statement: run it before, "
            "or in a thread of its own"
        )
        raise ExecutionError(msg)
