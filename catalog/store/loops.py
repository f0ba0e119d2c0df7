"""Which event loop waits for which thread: what blocks a loop must not wait for that loop's tasks.

Rules:
    - What cannot be told for certain is allowed: it waits as ever, and is told when that was long.
    - A loop is known here by the calls that threads make for its tasks, and by nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from affidavit.errors import TransactionError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

_serving: Final[dict[int, Hashable]] = {}
"""The threads that make a call for a task, and the loop of that task."""


@contextmanager
def serving(loop: Hashable) -> Iterator[None]:
    """Let this thread make a call that a task of ``loop`` waits for."""
    here = threading.get_ident()
    _serving[here] = loop
    try:
        yield
    finally:
        del _serving[here]


def _running() -> Hashable | None:
    """Return the loop that runs in this thread, and would stand still if the thread waited."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def refuse_own_turn(holder: int | None) -> None:
    """Raise TransactionError if the thread ``holder`` works for a task of this thread's loop."""
    loop = _running()
    if loop is not None and holder is not None and _serving.get(holder) is loop:
        msg = (
            "a task of this event loop is in the session's transaction, and a call that blocks "
            "would stop the loop that it runs in: await the async session, or use a scope() of "
            "your own"
        )
        raise TransactionError(msg)


class Asked:
    """Who asks in a session's transaction: whose tasks, and how many calls of theirs run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loops: set[Hashable] = set()
        self._calls = 0

    def forget(self) -> None:
        """Begin anew, with another transaction."""
        with self._lock:
            self._loops = set()

    def note(self) -> None:
        """Note that this thread asks: for a task, or for itself."""
        self._loops.add(_serving.get(threading.get_ident()))

    def begin(self) -> None:
        """Note a call that a task wants, before a thread makes it."""
        with self._lock:
            self._calls += 1

    def end(self) -> None:
        """Note that a call is at its end."""
        with self._lock:
            self._calls -= 1

    def is_only_for(self, loop: Hashable) -> bool:
        """Whether nobody but tasks of ``loop`` has asked, and no call of theirs runs."""
        with self._lock:
            return self._loops == {loop} and not self._calls


_writing: Final[WeakKeyDictionary[object, ref[Asked]]] = WeakKeyDictionary()
"""The stores whose writer is held by a transaction that a caller began, and who asks in it."""


def holds_writer(holds: object, asked: Asked | None) -> None:
    """Note who asks in the transaction that holds a store's writer; ``None`` once it is over.

    The store is known by its ``holds``, whatever is put around it.
    """
    if asked is None:
        _writing.pop(holds, None)
    else:
        _writing[holds] = ref(asked)


def refuse_own_writer(holds: object) -> None:
    """Raise TransactionError if only this thread's loop can end who holds the store's writer."""
    loop = _running()
    if loop is None:
        return
    found = _writing.get(holds)
    asked = None if found is None else found()
    if asked is not None and asked.is_only_for(loop):
        msg = (
            "a transaction of a task of this event loop holds the lake's writer, and a call that "
            "blocks would keep that task from ending it: await the async session instead"
        )
        raise TransactionError(msg)
