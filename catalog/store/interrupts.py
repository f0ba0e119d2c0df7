"""Ctrl-C, held back while DataFusion asks us something on the thread that asked it.

Python raises KeyboardInterrupt between any two instructions of the main thread, also of a function
that DataFusion calls while it plans. What is raised there comes out as a text, as a panic, or not
at all where DataFusion takes an error for *no*. So it is raised once nobody of theirs is on the
stack: when DataFusion has answered, or where it waits and looks for signals itself.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what ``signal`` is made of
from contextlib import nullcontext
from signal import SIGINT
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType

    Handler = Callable[[int, FrameType | None], Any]

LOOKS_FOR_SIGNALS: Final = ("<string>", "<module>")
"""The file and name of the code that DataFusion's binding runs (``pass``) so that Python handles
its signals, in datafusion-python 54.1.0: what that raises comes out as it is."""

_get: Final = _signal.getsignal
_set: Final = _signal.signal
"""Those of ``signal`` turn each handler into an enumeration's member, in 5 us of a plan's 300."""


class _Held:
    """SIGINT as it was, and what came since.

    Wherever in these methods a signal comes, it is raised there or kept, and the handler is put
    back: what was before is noted after it was replaced, and put back before it is asked.
    """

    def __init__(self) -> None:
        self._before: Handler | None = None
        self._came: tuple[int, FrameType | None] | None = None

    @property
    def is_on(self) -> bool:
        """Whether a block holds signals back."""
        return self._before is not None

    def __enter__(self) -> None:
        before = _get(SIGINT)
        self._came = None
        if callable(before):
            _set(SIGINT, self.note)
            self._before = before

    def __exit__(self, *_: object) -> None:
        before, self._before = self._before, None
        if before is not None:
            _set(SIGINT, before)
            self._tell(before)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: later, unless DataFusion waits for nothing else."""
        self._came = number, frame
        if frame is not None:
            code = frame.f_code
            if (code.co_filename, code.co_name) == LOOKS_FOR_SIGNALS:
                self.deliver()

    def deliver(self) -> None:
        """Do what was held back, if something was."""
        if self._before is not None:
            self._tell(self._before)

    def _tell(self, before: Handler) -> None:
        came, self._came = self._came, None
        if came is not None:
            before(*came)


_HELD: Final = _Held()
_NOT_HELD: Final = nullcontext()


def held() -> AbstractContextManager[None]:
    """Hold Ctrl-C back in the block; it is raised where the block ends, whatever else was raised.

    Does nothing in other threads, where none is raised, in a block inside of such a block, or where
    the program handles none.
    """
    if get_ident() != main_thread().ident or _HELD.is_on:
        return _NOT_HELD
    return _HELD


def deliver() -> None:
    """Raise what is held back, if this is the main thread: for what waits inside such a block."""
    if get_ident() == main_thread().ident:
        _HELD.deliver()
