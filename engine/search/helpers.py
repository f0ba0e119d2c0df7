"""Threads that ask Lance for one part of a search while its own thread asks for another.

Rules:
    - What they are given asks Lance alone: it takes no lock of the lake's and waits for no other
      of them, so that any number of searches may share the few there are.
    - They are kept: to start a thread takes as long as many a part does.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Given = TypeVar("Given")
Found = TypeVar("Found")

THREADS_MAX: Final = 16

_BY_PROCESS: Final[dict[int, ThreadPoolExecutor]] = {}
"""Those of this process; a child that was forked from it has none of its threads."""

_STARTING: Final = threading.Lock()


def at_once(ask: Callable[[Given], Found], parts: Sequence[Given]) -> list[Found]:
    """Return what ``ask`` gives for each of ``parts``, the first of them on the caller's thread.

    All have ended when this returns or raises; of several errors the first part's is raised.
    """
    asked = [_helpers().submit(ask, each) for each in parts[1:]]
    try:
        first = ask(parts[0])
    finally:
        wait(asked)
    return [first, *(each.result() for each in asked)]


def _helpers() -> ThreadPoolExecutor:
    with _STARTING:
        held = _BY_PROCESS.get(os.getpid())
        if held is None:
            held = ThreadPoolExecutor(THREADS_MAX, "affidavit-search")
            _BY_PROCESS.clear()
            _BY_PROCESS[os.getpid()] = held
        return held
